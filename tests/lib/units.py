# SPDX-License-Identifier: Apache-2.0
"""The systemd that runs this machine, asked by a test: what a unit's properties are, beside what is in its cgroup's files."""
import os
import subprocess

IS_HERE = os.path.isdir("/run/systemd/system")


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def systemctl(*args):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)


def show(unit, name):
    return systemctl("show", "--value", "-p", name, unit).stdout.strip()
