#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every kill for memory is told, once, of the right container and before its exit, however soon it comes: HUSK_TEST_OOMS containers
(default 30) with each cgroup driver this machine has, half of them killed themselves at once, half ending just after a child was. Without
containerd."""
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position

ROOT = "/sys/fs/cgroup"
MIB = 1 << 20
COUNT = int(os.environ.get("HUSK_TEST_OOMS", "30"))
HAS_SYSTEMD = os.path.isdir("/run/systemd/system") and os.path.exists(f"{ROOT}/cgroup.procs") and os.path.exists(f"{shim.BIN}/husk-systemd")
GREEDY = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
PARENT = ["sh", "-c", " ".join(GREEDY) + "; exit 3"]


def limited(where=None, limit=2 * MIB):
    def change(c):
        c["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
        if where:
            c["linux"]["cgroupsPath"] = where
    return change


class OomTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.name = os.path.basename(self.pod.dir).replace("-", "")

    def topics(self, cid):
        return [topic.rsplit("/", 1)[1] for topic, event in self.pod.events.log if event["container_id"] == cid]

    def unit(self, cid):
        """(cgroupsPath, its cgroup) of a slice that is this test's alone."""
        self.addCleanup(subprocess.run, ["systemctl", "stop", f"husktest{self.name}.slice"], check=False, capture_output=True)
        return f"husktest{self.name}.slice:husk:{cid}", f"{ROOT}/husktest{self.name}.slice/husk-{cid}.scope"

    def told(self, cid, *topics):
        self.pod.events.wait_for(lambda _log: "delete" in self.topics(cid))
        self.assertEqual([t for t in self.topics(cid) if t not in ("paused", "resumed")], list(topics))

    def many(self, where):
        quickest = 1e9
        for n in range(COUNT):
            cid, args, status = (f"c{n}", GREEDY, 137) if n % 2 else (f"c{n}", PARENT, 3)
            self.pod.create(cid, args, change=limited(where(cid)))
            begin = time.monotonic()
            self.pod.call("Start", id=cid)
            self.assertEqual(self.pod.call("Wait", id=cid, timeout=120)["exit_status"], status)
            quickest = min(quickest, time.monotonic() - begin)
            self.pod.call("Delete", id=cid)
            self.told(cid, "create", "start", "oom", "exit", "delete")
        print(f"{COUNT} of {COUNT} told; the quickest was over {quickest * 1000:.1f} ms after Start was called")

    def test_cgroupfs(self):
        self.many(lambda cid: None)

    @unittest.skipUnless(HAS_SYSTEMD, "systemd does not run this machine with cgroup v2")
    def test_systemd(self):
        self.many(lambda cid: self.unit(cid)[0])

    @unittest.skipUnless(HAS_SYSTEMD, "systemd does not run this machine with cgroup v2")
    def test_the_scope_is_gone_before_the_shim_looks(self):
        """The shim sleeps while the kernel kills and systemd cleans up. A neighbour of the same slice ends likewise, but of itself."""
        wait = "while [ ! -e /go ]; do sleep 0.1; done; "
        for cid, args in (("killed", wait + "exec " + " ".join(GREEDY)), ("child", wait + " ".join(GREEDY) + "; exit 3"), ("other", wait + "exit 4")):
            self.pod.run(cid, ["sh", "-c", args], change=limited(self.unit(cid)[0], 8 * MIB))
        self.pod.run("stays", ["sleep", "1000"], change=limited(self.unit("stays")[0]))
        for cid, status, topics in (("killed", 137, ["oom"]), ("other", 4, []), ("child", 3, ["oom"])):
            mine = f"{self.pod.rootfs}/go"
            path = self.unit(cid)[1]
            others = [c for c in ("killed", "other", "child") if c != cid and os.path.exists(self.unit(c)[1])]
            for other in others:  # only one may go on
                self.pod.call("Pause", id=other)
            os.kill(self.pod.shim_pid, signal.SIGSTOP)
            try:
                with open(mine, "w", encoding="ascii"):
                    shim.eventually(lambda path=path: not os.path.exists(path), timeout=60, what=f"end of {path}")
            finally:
                os.unlink(mine)
                os.kill(self.pod.shim_pid, signal.SIGCONT)
            self.assertEqual(self.pod.call("Wait", id=cid, timeout=60)["exit_status"], status)
            self.pod.call("Delete", id=cid)
            self.told(cid, "create", "start", *topics, "exit", "delete")
            for other in others:
                self.pod.call("Resume", id=other)
        self.assertEqual(self.topics("stays"), ["create", "start"])
        self.pod.finish("stays")


if __name__ == "__main__":
    shim.require()
    unittest.main()
