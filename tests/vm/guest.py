#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Inside the virtual machine: runs the tests of `ctest --show-only=json-v1`, one after the other: guest.py TESTS.json [REGEX].

What ctest itself would do (command, environment, timeout, skip code), without installing cmake there. Timeouts are three times as long: enough for
what is slow there, and a test that hangs leaves time for the others. A test labelled `drivers` is run once more as NAME+systemd, its containers
in units of systemd (HUSK_TEST_CGROUP). With HUSK_TEST_RETRY what fails has a second try. Each test's lines begin with "husk-vm: test NAME" and
end with "husk-vm: result passed|skipped|failed"; tests/vm/result.py reads them.
"""
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import skips  # pylint: disable=wrong-import-position

SLOW = 3


def version(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
    except (OSError, IndexError):
        return f"no {command[0]}"


def variants(tests):
    """[(name, test, environment)]"""
    for test in tests:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        env = dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", []))
        yield test["name"], test, env
        if "drivers" in properties.get("LABELS", []):
            yield test["name"] + "+systemd", test, dict(env, HUSK_TEST_CGROUP="systemd")


def run(test, env):
    """(seconds, exit code or None for a timeout, output)"""
    timeout = next((p["value"] for p in test["properties"] if p["name"] == "TIMEOUT"), 120)
    start = time.monotonic()
    process = subprocess.Popen(test["command"], env=dict(os.environ, **env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out, code = process.communicate(timeout=timeout * SLOW)[0], process.returncode
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
        tests = [v for v in variants(json.load(f)["tests"]) if re.search(regex, v[0])]
    with open("/proc/1/comm", encoding="ascii") as f:
        init = f.read().strip()
    fstype = version("stat", "-f", "-c", "%T", "/sys/fs/cgroup")
    print(f"{platform.release()}, {version('systemctl', '--version') if init == 'systemd' else 'PID 1 ' + init}, cgroups {fstype}; "
          f"{version('containerd', '--version')}; {version('runc', '--version')}; {version('crun', '--version')}")
    failed, skipped, again = [], [], []
    for number, (name, test, env) in enumerate(tests, 1):
        print(f"husk-vm: test {name}")
        seconds, code, out = run(test, env)
        if code not in (0, 77) and os.environ.get("HUSK_TEST_RETRY"):
            print(f"{out}\n{name} failed and is run once more")
            again.append(name)
            seconds, code, out = run(test, env)
        if code == 0:
            word, result = "Passed", "passed"
        elif code == 77:
            word, result = "***Skipped", "skipped"
            skipped.append(name)
        else:
            word, result = "***Timeout" if code is None else f"***Failed (exit {code})", "failed"
            failed.append(name)
        if code != 0:
            print(out.rstrip("\n"))
        else:  # ends with why something of it was not run
            print("".join(f"SKIP: {reason}\n" for reason in skips.reasons(out)), end="")
        print(f"{number:3}/{len(tests)} {name} {'.' * max(3, 40 - len(name))} {word} {seconds:8.2f} sec")
        print(f"husk-vm: result {result}")
    print(f"{len(tests) - len(failed) - len(skipped)} of {len(tests)} tests passed in the machine, {len(skipped)} skipped, {len(failed)} failed")
    for name in failed:
        print(f"\tfailed: {name}")
    for name in again:
        print(f"\tnot at the first try: {name}")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
