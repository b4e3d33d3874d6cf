#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One test's result in the virtual machine, as a ctest test of its own: result.py LOG NAME. Prints what the test printed there; exits
with 0 (passed), 77 (skipped) or 1 (failed, or never run)."""
import re
import sys

CODES = {"passed": 0, "skipped": 77, "failed": 1}


def main(log, name):
    with open(log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    found = re.search(rf"^husk-vm: test {re.escape(name)}\n(.*?)^husk-vm: result (\w+)$", text, re.M | re.S)
    if not found:
        print(f"{name} was not run in the machine: see {log}")
        return 1
    print(found.group(1), end="")
    return CODES.get(found.group(2), 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
