#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A shim whose own root is not its mount namespace's, as below a chroot'ed containerd: what joins a container is in the container. The chroot is
this machine's tree once more, in a mount namespace of the test's own. Without containerd."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position

ENTER = 'mount --make-rprivate / && mount --rbind / "$1" && shift && exec chroot "$DIR" "$@"'


def outside(*command):
    """A command at the root of this mount namespace, whose mounts it shows whole."""
    return subprocess.run(["nsenter", f"--mount=/proc/{os.getpid()}/ns/mnt", *command], stdout=subprocess.PIPE, text=True, check=True).stdout


def count_mounts(pid):
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as f:
        return len(f.readlines())


class ChrootTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)

    def sh(self, script):
        self.pod.exec("c", "e", ["sh", "-c", script])
        self.pod.call("Start", id="c", exec_id="e")
        self.pod.call("Wait", id="c", exec_id="e")
        self.pod.call("Delete", id="c", exec_id="e")
        return self.pod.output["e"].text() + self.pod.errors["e"].text()

    def check(self, propagation):
        outside("mount", f"--make-r{propagation}", "/")
        before = outside("cat", "/proc/self/mountinfo")
        pid = self.pod.run("c", ["sleep", "1000"])
        self.assertEqual(sorted(self.sh("ls /").split()), sorted(os.listdir(self.pod.rootfs)))
        # The container keeps no mount of the host's, nor did one come to the host's table or go from it.
        self.assertEqual(int(self.sh("cat /proc/self/mountinfo | wc -l")), count_mounts(pid))
        self.assertEqual(outside("cat", "/proc/self/mountinfo"), before)
        self.pod.finish("c")

    def test_where_mounts_are_shared(self):
        self.check("shared")

    def test_where_mounts_are_private(self):
        self.check("private")


if __name__ == "__main__":
    shim.require()
    if os.environ.get("HUSK_TEST_CHROOT") != "1":
        with tempfile.TemporaryDirectory(prefix="husk-chroot-") as top:
            sys.exit(subprocess.run(["unshare", "--mount", "sh", "-ec", ENTER, "sh", top, sys.executable, os.path.abspath(__file__), *sys.argv[1:]],
                                    env={**os.environ, "HUSK_TEST_CHROOT": "1", "DIR": top}, check=False).returncode)
    unittest.main()
