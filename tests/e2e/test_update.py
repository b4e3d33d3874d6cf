#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Task.Update beside `runc update`: two containers of the same spec get the same documents one after the other, and after each all files of their
cgroups that can be written are compared byte for byte. Then what runc has no word for: nothing named, all named again, below what is in use."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from podtest import *  # pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.procs")
RUNC = os.environ.get("RUNC", shutil.which("runc") or "")
MIB = 1 << 20
# Not limits: orders, memberships, and what the kernel sets while it works.
NO_LIMITS = {"cgroup.procs", "tasks", "cgroup.threads", "cgroup.event_control", "memory.force_empty", "memory.pressure_level", "memory.reclaim", "cgroup.kill",
             "cgroup.subtree_control", "cgroup.pressure", "memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes", "memory.kmem.max_usage_in_bytes",
             "memory.kmem.tcp.max_usage_in_bytes", "memory.failcnt", "memory.memsw.failcnt", "memory.kmem.failcnt", "memory.kmem.tcp.failcnt", "cpuacct.usage",
             "memory.peak", "memory.swap.peak", "memory.pressure", "cpu.pressure", "io.pressure", "irq.pressure", "memory.oom_control", "cgroup.freeze",
             "cgroup.max.depth", "cgroup.max.descendants", "cgroup.type", "memory.kmem.limit_in_bytes"}
BASE = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 100}, "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "devices": [{"allow": False, "access": "rwm"}]}
# In this order; each is what one update names.
UPDATES = [
    {"memory": {"limit": 128 * MIB}},
    {"memory": {"limit": 32 * MIB}},
    {"memory": {"reservation": 16 * MIB}},
    {"memory": {"limit": 48 * MIB, "swap": 96 * MIB}},
    {"memory": {"limit": 96 * MIB, "swap": 192 * MIB}},   # both grow past the old swap
    {"memory": {"limit": 24 * MIB, "swap": 24 * MIB}},    # both shrink below the old limit; no swap at all
    {"memory": {"limit": 64 * MIB, "swap": -1}},
    {"memory": {"limit": -1, "swap": -1}},
    {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 128 * MIB}},
    {"cpu": {"shares": 2}},
    {"cpu": {"shares": 1024}},
    {"cpu": {"shares": 262144}},
    {"cpu": {"quota": 20000}},
    {"cpu": {"period": 50000}},
    {"cpu": {"quota": 200000, "period": 100000}},
    {"cpu": {"quota": -1}},
    {"cpu": {"quota": 1000, "period": 1000}},
    {"cpu": {"quota": 100000, "period": 1000000}},
    {"cpu": {"cpus": "0-1"}},
    {"cpu": {"cpus": "1", "mems": "0"}},
    {"pids": {"limit": 7}},
    {"pids": {"limit": -1}},
    {"cpu": {"shares": 300, "quota": 30000, "period": 60000, "cpus": "0"}, "memory": {"limit": 40 * MIB, "swap": 80 * MIB}, "pids": {"limit": 50}},
    {},
]
# What runc 1.3.2 and newer make of cpu.shares on v2 (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value); older ones use a straight line.
WEIGHTS = {2: 1, 300: 39, 512: 59, 1024: 100, 262144: 10000}


def is_runc_linear():
    words = subprocess.run([RUNC, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return UNIFIED and tuple(map(int, re.findall(r"\d+", words[2])[:3])) < (1, 3, 2)


def directories(path):
    found = {os.path.realpath(d) for d in [f"/sys/fs/cgroup{path}", *glob.glob(f"/sys/fs/cgroup/*{path}")] if os.path.isdir(d)}
    return sorted(found)


def limits(path):
    """{hierarchy and file: text} of everything that can be written."""
    out = {}
    for top in directories(path):
        for name in os.listdir(top):
            file = f"{top}/{name}"
            if name in NO_LIMITS or not os.path.isfile(file) or not os.stat(file).st_mode & 0o200 or not os.stat(file).st_mode & 0o400:
                continue
            try:
                with open(file, encoding="ascii") as f:
                    out[f"{top[len('/sys/fs/cgroup'):-len(path)]}:{name}"] = f.read()
            except OSError:
                pass
    return out


class Update(PodTest):
    def base(self, document):
        document["linux"]["resources"].update(json.loads(json.dumps(BASE)))

    def update(self, cid, resources, **more):
        self.pod.call("Update", id=cid, resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps(resources).encode()}, **more)

    def test_beside_runc(self):
        if not RUNC:
            self.skipTest("runc is not installed")
        pod = self.pod
        pod.run("h", ["sleep", "1000"], change=self.base)
        bundle = pod.bundle("r", ["sleep", "1000"], change=self.base)
        runc = [RUNC, "--root", f"{pod.dir}/runc", *(["--systemd-cgroup"] if shim.DRIVER == "systemd" else [])]
        subprocess.run([*runc, "run", "-d", "--bundle", bundle, "r"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [*runc, "delete", "-f", "r"], check=True)
        is_linear, shares = is_runc_linear(), BASE["cpu"]["shares"]

        def both():
            ours, theirs = limits(pod.cgroup_of("h")), limits(pod.cgroup_of("r"))
            if is_linear:
                theirs[":cpu.weight"] = f"{WEIGHTS[shares]}\n"
                for files in (ours, theirs):
                    del files[":cpu.weight.nice"]  # the same number in other words
            return ours, theirs
        self.assertEqual(*both(), "as created")
        self.assertGreater(len(both()[0]), 10)
        for resources in UPDATES:
            shares = resources.get("cpu", {}).get("shares", shares)
            with self.subTest(resources=resources):
                done = subprocess.run([*runc, "update", "-r", "-", "r"], input=json.dumps(resources), text=True, capture_output=True, check=False)
                try:
                    self.update("h", resources)
                    said = None
                except ttrpc.Error as e:
                    said = e
                self.assertEqual(said is None, done.returncode == 0, (said, done.stderr))
                self.assertEqual(*both())

    def test_nothing_and_everything(self):
        """Unset is not zero; a document that names everything, twice; annotations, which change nothing."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"], change=self.base)
        before = limits(pod.cgroup_of("c"))
        for resources in ({}, {"memory": {}, "cpu": {}, "pids": None, "blockIO": None, "hugepageLimits": [], "network": None, "rdma": {}, "unified": {}}, BASE,
                          BASE):
            self.update("c", resources, annotations=[{"key": "a", "value": "b"}])
            self.assertEqual(limits(pod.cgroup_of("c")), before, resources)
        if UNIFIED:
            self.update("c", {"unified": {"memory.high": str(48 * MIB), "pids.max": "33"}})
            after = limits(pod.cgroup_of("c"))
            self.assertEqual({k.split(":")[1]: v for k, v in after.items() if before[k] != v}, {"memory.high": f"{48 * MIB}\n", "pids.max": "33\n"})
        # As the CRI sends it after `crictl update --memory`: the whole, one number changed.
        whole = json.loads(json.dumps(BASE))
        whole["memory"]["limit"] = 72 * MIB
        changed = limits(pod.cgroup_of("c"))
        self.update("c", whole)
        names = {k.split(":")[1] for k, v in limits(pod.cgroup_of("c")).items() if changed[k] != v}
        self.assertIn(names, ({"memory.max"}, {"memory.limit_in_bytes"}, {"memory.max", "pids.max"}))

    def test_below_what_is_in_use(self):
        """A limit that the kernel cannot bring the container under is refused, and every value is as it was."""
        pod = self.pod

        def change(document):
            self.base(document)
            document["linux"]["resources"]["memory"]["swap"] = 64 * MIB
            document["mounts"].append({"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]})
        pod.run("c", ["sh", "-c", "head -c 20000000 /dev/zero > /full/x; echo ready; exec sleep 1000"], change=change)
        pod.output["c"].wait_for(b"ready\n")
        before = limits(pod.cgroup_of("c"))
        if UNIFIED:
            whole = {"memory": {"limit": 4 * MIB, "swap": 4 * MIB, "checkBeforeUpdate": True}, "pids": {"limit": 9}}
        else:
            whole = {"memory": {"limit": 4 * MIB, "swap": 4 * MIB}, "pids": {"limit": 9}}
        with self.assertRaises(ttrpc.Error) as caught:
            self.update("c", whole)
        self.assertRegex(caught.exception.message, "memory|limit_in_bytes")
        after = limits(pod.cgroup_of("c"))
        self.assertEqual({k: v for k, v in after.items() if "memory" in k}, {k: v for k, v in before.items() if "memory" in k})
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)

    def test_what_is_no_update(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"], change=self.base)
        before = limits(pod.cgroup_of("c"))
        for text in (b"", b"{", b"[]", b"7", b'"x"', b'{"memory": 7}', b'{"memory": {"limit": "x"}}', b'{"cpu": {"cpus": "nope"}}', b'{"cpu": {"quota": 1}}',
                     b'{"pids": {"limit": 1.5}}', b"\xff"):
            with self.subTest(text=text), self.assertRaises(ttrpc.Error) as caught:
                pod.call("Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": text})
            self.assertIn(caught.exception.code, (INVALID, UNKNOWN))
        self.assertEqual(limits(pod.cgroup_of("c")), before)


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
