#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every kill for memory is told, once, of the right container and before its exit, however soon it comes: HUSK_TEST_OOMS containers
(default 30) with each cgroup driver this machine has, half of them killed themselves at once, half ending just after a child was. And whose
limit it was. Without containerd."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import units  # pylint: disable=wrong-import-position

ROOT = "/sys/fs/cgroup"
MIB = 1 << 20
COUNT = int(os.environ.get("HUSK_TEST_OOMS", "30"))
HAS_SYSTEMD = units.IS_HERE and os.path.exists(f"{ROOT}/cgroup.procs") and os.path.exists(f"{shim.BIN}/husk-systemd")
GREEDY = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]
PARENT = ["sh", "-c", " ".join(GREEDY) + "; exit 3"]


def limited(where=None, limit=2 * MIB):
    def change(c):
        c["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
        if where:
            c["linux"]["cgroupsPath"] = where
    return change


class PodTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.name = os.path.basename(self.pod.dir).replace("-", "")

    def topics(self, cid):
        return [topic.rsplit("/", 1)[1] for topic, event in self.pod.events.log if event["container_id"] == cid]

    def told(self, cid, *topics):
        self.pod.events.wait_for(lambda _log: "delete" in self.topics(cid))
        self.assertEqual([t for t in self.topics(cid) if t not in ("paused", "resumed")], list(topics))


class OomTest(PodTest):
    def unit(self, cid):
        """(cgroupsPath, its cgroup) of a slice that is this test's alone."""
        self.addCleanup(units.systemctl, "stop", f"husktest{self.name}.slice")
        return f"husktest{self.name}.slice:husk:{cid}", f"{ROOT}/husktest{self.name}.slice/husk-{cid}.scope"

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


class WhoseLimit(PodTest):
    """The container's, its pod's, one above that pods share, or the machine's: in the log, in `husk why` and in `husk events`."""
    by_systemd = False

    def setUp(self):
        super().setUp()
        if self.by_systemd:
            self.top, self.inner = f"husktest{self.name}.slice", f"husktest{self.name}-inner.slice"
            self.addCleanup(units.systemctl, "stop", self.top)
            self.above = f"/{self.top}/{self.inner}"
        else:
            self.top = self.pod.cgroup[1:]
            self.above = f"{self.pod.cgroup}/inner"

    def change(self, cid, limit=None, score=None):
        def change(c):
            c["linux"]["cgroupsPath"] = f"{self.inner}:husk:{cid}" if self.by_systemd else f"{self.above}/{cid}"
            if limit:
                c["linux"]["resources"]["memory"] = {"limit": limit, "swap": limit}
            if score:
                c["process"]["oomScoreAdj"] = score
        return change

    def path(self, cid):
        return f"{self.above}/husk-{cid}.scope" if self.by_systemd else f"{self.above}/{cid}"

    @staticmethod
    def limit(path, value):
        file = f"{ROOT}{path}/memory.max" if os.path.exists(f"{ROOT}/cgroup.procs") else f"{ROOT}/memory{path}/memory.limit_in_bytes"
        with open(file, "w", encoding="ascii") as f:
            f.write(str(value))

    def log_lines(self):
        fd = os.open(f"{self.pod.dir}/{self.pod.name}/log", os.O_RDONLY | os.O_NONBLOCK)
        try:
            return [line for line in os.read(fd, 1 << 20).decode().splitlines() if "ran out of memory" in line]
        finally:
            os.close(fd)

    def killed(self, cid, name, cgroup, **more):
        self.pod.create(cid, more.pop("args", GREEDY), change=self.change(cid, **more))
        self.pod.call("Start", id=cid)
        if cid == "machine":
            with open("/proc/sysrq-trigger", "w", encoding="ascii") as f:
                f.write("f")
        self.assertEqual(self.pod.call("Wait", id=cid, timeout=120)["exit_status"], 137)
        line = self.log_lines()
        self.assertEqual(len(line), 1, line)
        self.assertIn(f"level=warning msg=\"container ran out of memory\" id={cid} limit={name}" + (f" cgroup={cgroup}" if cgroup else " "), line[0] + " ")
        found = self.husk("why", "--json", cid)[0]["containers"][0]
        self.assertEqual((found["oomKills"] > 0, found["oomLimit"], found["oomLimitCgroup"]), (True, name, cgroup))
        text = subprocess.run([f"{shim.BIN}/husk", "why", cid], capture_output=True, text=True, check=True).stdout
        self.assertIn(f"the last at the {name}'s limit, of cgroup {cgroup}" if cgroup else f"the last since the {name} had none left", text)
        self.assertIn(f"oom          {cid} pid", text)
        self.assertIn(f"limit of the {name}", text)
        self.pod.call("Delete", id=cid)
        self.told(cid, "create", "start", "oom", "exit", "delete")

    @staticmethod
    def husk(*args):
        return json.loads(subprocess.run([f"{shim.BIN}/husk", *args], capture_output=True, text=True, check=True).stdout)

    def test_each(self):
        self.pod.run("stays", ["sleep", "1000"], change=self.change("stays"))
        self.log_lines()
        self.killed("own", "container", self.path("own"), limit=2 * MIB)
        self.limit(self.above, 16 * MIB)
        self.killed("pods", "pod", self.above)
        self.killed("ownagain", "container", self.path("ownagain"), limit=2 * MIB)
        self.limit(self.above, 1 << 30)
        self.limit(f"/{self.top}", 16 * MIB)
        self.killed("nodes", "node", f"/{self.top}")
        self.limit(f"/{self.top}", 1 << 30)
        self.assertEqual(self.topics("stays"), ["create", "start"])
        self.pod.finish("stays")

    @unittest.skipUnless(os.uname().nodename == "husk-vm", "makes the kernel look for somebody to kill: in a machine of its own alone")
    def test_the_machine(self):
        self.pod.run("stays", ["sleep", "1000"], change=self.change("stays"))
        self.log_lines()
        time.sleep(6)  # what was hit is forgotten by then
        self.killed("machine", "node", "", args=["sleep", "1000"], score=1000)
        self.pod.finish("stays")


@unittest.skipUnless(HAS_SYSTEMD, "systemd does not run this machine with cgroup v2")
class WhoseLimitOfUnits(WhoseLimit):
    by_systemd = True


if __name__ == "__main__":
    shim.require()
    unittest.main()
