#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the README, its Chinese sister and the pages below contrib/docs tell people to type: each command runs, or (what builds, tests and installs)
is there with the options it is told with; and each link leads to a file."""
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position

REPO = shim.REPO
PAGES = [f"{REPO}/README.md", f"{REPO}/SECURITY.md", *sorted(glob.glob(f"{REPO}/contrib/docs/*.md"))]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def commands():
    """(page, words) of every line in a block without a language, comments cut; && makes two."""
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", read(page), re.M | re.S):
            for line in block.splitlines():
                for part in re.split(r"&&", line):
                    first = re.match(r" *([\w./-]+)", part)
                    if first and first[1].split("/")[-1] in KNOWN:  # not a line of a drawing
                        yield os.path.relpath(page, REPO), shlex.split(part, comments=True)


def run_husk(words):
    done = subprocess.run([os.path.join(shim.BIN, "husk"), *words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 and words[0] != "doctor":  # which judges the machine
        raise AssertionError(f"husk {words}: {done.stdout}{done.stderr}")


def check_husk(words):
    if words[1] == "install":  # tests/e2e/test_install.py does it; here nothing may change
        done = subprocess.run([os.path.join(shim.BIN, "husk"), *words[1:], "--dry-run"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 1) and "usage:" not in done.stderr, done
        return
    if words[1:] == ["events", "-f"]:
        words = words[:-1]  # it has no end
    run_husk(["readme-pod" if w == "POD" else w for w in words[1:]])


def check_cmake(words):
    if "--preset" in words:
        presets = json.loads(read(f"{REPO}/CMakePresets.json"))
        kind = "buildPresets" if "--build" in words else "configurePresets"
        assert words[words.index("--preset") + 1] in [p["name"] for p in presets[kind]], words


def check_script(words):
    path = f"{REPO}/{words[0]}"
    assert os.access(path, os.X_OK), path
    for option in (w.split("=")[0] for w in words[1:] if w.startswith("--")):
        assert option in read(path), (path, option)


KNOWN = {"husk": check_husk, "cmake": check_cmake, "demo.sh": check_script, "run.sh": check_script}


class Readme(unittest.TestCase):
    def test_commands(self):
        seen = 0
        with shim.Pod("readme-pod") as pod:
            pod.run("readme-pod", ["sleep", "1000"])
            for page, words in commands():
                with self.subTest(page=page, command=" ".join(words)):
                    KNOWN[words[0].split("/")[-1]](words)
                    seen += 1
        self.assertGreater(seen, 10)

    def test_links_and_files(self):
        for page in PAGES:
            text = read(page)
            for target in re.findall(r"\]\(([^)#:]+)\)", text):
                with self.subTest(page=page, link=target):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(page), target)))
            for target in re.findall(r"`((?:\./)?(?:contrib|tests)/[\w./-]+)", text):
                with self.subTest(page=page, file=target):
                    self.assertTrue(glob.glob(f"{REPO}/{target.rstrip('.')}*"), target)


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
