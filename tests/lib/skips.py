#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the last ctest run skipped, and why: skips.py BUILD_DIR. A whole test (exit 77, "SKIP: reason") and parts of one that passed
(unittest's and cmocka's words)."""
import re
import sys


def reasons(text):
    """One line each, without doubles, in order."""
    found = re.findall(r"^SKIP: (.*)$", text, re.M)
    found += [f"{what}: {why}" for what, why in re.findall(r"^(.*?) ?\.\.\. skipped ['\"](.*)['\"]$", text, re.M)]
    found += re.findall(r"^\[  SKIPPED \] (\w+)$", text, re.M)
    return list(dict.fromkeys(found))


def main(build):
    with open(f"{build}/Testing/Temporary/LastTest.log", encoding="utf-8", errors="replace") as f:
        tests = re.findall(r"^\d+/\d+ Test: (.*?)\n.*?^Output:\n-+\n(.*?)^<end of output>", f.read(), re.M | re.S)
    # A virtual machine's own output repeats what each of its tests says.
    lines = [f"{name}: {reason}" for name, text in tests for reason in reasons(text.split("husk-vm: begin")[0])]
    if lines:
        print("\nskipped, with reasons:", *lines, sep="\n  ")


if __name__ == "__main__":
    main(*sys.argv[1:])
