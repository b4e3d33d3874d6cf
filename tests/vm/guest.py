#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Inside the virtual machine: runs the tests of `ctest --show-only=json-v1`, one after the other: guest.py TESTS.json [REGEX].

What ctest itself would do (command, environment, timeout, skip code), without installing cmake there. Timeouts are HUSK_TEST_SLOW times as long.
"""
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))


def version(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
    except (OSError, IndexError):
        return f"no {command[0]}"


def run(test):
    """(seconds, exit code or None for a timeout, output)"""
    properties = {p["name"]: p["value"] for p in test["properties"]}
    env = dict(os.environ, **dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", [])))
    start = time.monotonic()
    process = subprocess.Popen(test["command"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    try:
        out, code = process.communicate(timeout=properties.get("TIMEOUT", 120) * SLOW)[0], process.returncode
    except subprocess.TimeoutExpired:
        # leakcheck hands a SIGTERM on to its test and then cleans up after it.
        process.terminate()
        try:
            out = process.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out = process.communicate()[0]
        code = None
    return time.monotonic() - start, code, out.decode(errors="replace")


def main(path, regex=""):
    with open(path, encoding="utf-8") as f:
        tests = [t for t in json.load(f)["tests"] if re.search(regex, t["name"])]
    with open("/proc/1/comm", encoding="ascii") as f:
        init = f.read().strip()
    fstype = version("stat", "-f", "-c", "%T", "/sys/fs/cgroup")
    print(f"{platform.release()}, PID 1 {init}, cgroups {fstype}; {version('containerd', '--version')}; {version('runc', '--version')}")
    failed, skipped = [], []
    for number, test in enumerate(tests, 1):
        seconds, code, out = run(test)
        if code == 0:
            word = "Passed"
        elif code == 77:
            word = "***Skipped"
            skipped.append(test["name"])
        else:
            word = "***Timeout" if code is None else f"***Failed (exit {code})"
            failed.append(test["name"])
        print(f"{number:3}/{len(tests)} {test['name']} {'.' * max(3, 40 - len(test['name']))} {word} {seconds:8.2f} sec")
        if code != 0:
            print(out)
    print(f"{len(tests) - len(failed) - len(skipped)} of {len(tests)} tests passed in the machine, {len(skipped)} skipped, {len(failed)} failed")
    for name in failed:
        print(f"\tfailed: {name}")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
