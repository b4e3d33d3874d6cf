#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the kernel makes of linux.resources, on cgroup v1 and v2 alike: limits in the files, devices, OOM, freezing, counters, and the
container's own view of its cgroup. Without containerd."""
import glob
import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.procs")
MIB = 1 << 20


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def resources(**values):
    return lambda c: c["linux"]["resources"].update(values)


def own_cgroup(option):
    def change(c):
        c["linux"]["namespaces"].append({"type": "cgroup"})
        c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", option]})
    return change


class ResourcesTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)

    def files(self, cid, name):
        """{path: text} of one cgroup file, in whichever hierarchy has it."""
        where = self.pod.cgroup_of(cid)
        paths = glob.glob(f"/sys/fs/cgroup{where}/{name}") + glob.glob(f"/sys/fs/cgroup/*{where}/{name}")
        found = {}
        for path in {os.path.realpath(p) for p in paths}:
            found[path] = read(path)
        return found

    def need(self, cid, name):
        if not self.files(cid, name):
            self.pod.finish(cid)
            self.skipTest(f"this host has no {name}")

    def topics(self, cid):
        return [topic.rsplit("/", 1)[1] for topic, event in self.pod.events.log if event["container_id"] == cid]

    def expect(self, cid, *topics):
        self.assertTrue(self.pod.events.wait_for(lambda _log: self.topics(cid)[-1:] == [topics[-1]]), self.topics(cid))
        self.assertEqual(self.topics(cid), list(topics))

    def test_files(self):
        block = next((read(p) for p in sorted(glob.glob("/sys/block/[vs]d?/dev"))), None)
        change = {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}, "pids": {"limit": 77},
                  "cpu": {"quota": 50000, "period": 100000, "cpus": "0", "mems": "0"}}
        if block:
            major, minor = map(int, block.split(":"))
            change["blockIO"] = {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": MIB}]}
        if UNIFIED:
            change["unified"] = {"memory.high": str(48 * MIB)}
        self.pod.run("c", ["sleep", "1000"], change=resources(**change))
        want = {"pids.max": "77", "cpuset.cpus": "0", "cpuset.mems": "0"}
        if UNIFIED:
            want.update({"memory.max": str(64 * MIB), "memory.low": str(32 * MIB), "memory.high": str(48 * MIB), "cpu.max": "50000 100000"})
        else:
            want.update({"memory.limit_in_bytes": str(64 * MIB), "memory.soft_limit_in_bytes": str(32 * MIB), "cpu.cfs_quota_us": "50000",
                         "cpu.cfs_period_us": "100000"})
        if block:
            want.update({"io.max": f"{block} rbps={MIB} wbps=max riops=max wiops=max"} if UNIFIED else
                        {"blkio.throttle.read_bps_device": f"{block} {MIB}"})
        seen = {name: set(self.files("c", name).values()) for name in want}
        self.assertEqual({n: v for n, v in seen.items() if v}, {n: {v} for n, v in want.items() if seen[n]})
        if UNIFIED:
            self.assertTrue(all(seen.values()), f"systemd's root has every controller: {seen}")
        # A second limit below what is in use now, then back up.
        for limit in (32 * MIB, 128 * MIB):
            self.pod.call("Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps({"memory": {"limit": limit}}).encode()})
            self.assertEqual(set(self.files("c", "memory.max" if UNIFIED else "memory.limit_in_bytes").values()) - {str(limit)}, set())
        self.pod.finish("c")

    def test_a_refused_limit_leaves_nothing(self):
        """On v1 the init works on its first steps by then."""
        if shim.DRIVER == "systemd":
            self.skipTest("systemd rounds this quota up to what the kernel takes")
        with self.assertRaises(ttrpc.Error) as e:
            self.pod.create("refusedlimit", ["true"], change=resources(cpu={"quota": 7}))
        self.assertIn("cpu.", e.exception.message)
        self.assertEqual([p for p in self.pod.cgroups() if "refusedlimit" in p], [])
        self.pod.run("refusedlimit", ["true"])  # the name is free
        self.pod.finish("refusedlimit")

    def test_a_cgroup_of_somebody_else_is_let_alone(self):
        path = f"{self.pod.cgroup}/othersgroup"
        root = "/sys/fs/cgroup" if UNIFIED else "/sys/fs/cgroup/devices"
        if shim.DRIVER == "systemd" or not os.path.isdir(root):
            self.skipTest("cgroups by name, and v2 alone or v1's devices")
        self.pod.run("neighbour", ["sleep", "1000"])  # the directory above is there
        os.mkdir(root + path)
        with subprocess.Popen(["sleep", "1000"]) as other:
            try:
                with open(f"{root}{path}/cgroup.procs", "w", encoding="ascii") as f:
                    f.write(str(other.pid))
                with self.assertRaises(ttrpc.Error) as e:
                    self.pod.create("othersgroup", ["true"])
                self.assertIn("exists and has processes", e.exception.message)
                self.assertIsNone(other.poll())
                self.assertEqual([p for p in self.pod.cgroups() if "othersgroup" in p], [root + path])
            finally:
                other.kill()
                other.wait()
                os.rmdir(root + path)
        self.pod.finish("neighbour")

    def test_oom_of_the_init(self):
        self.pod.create("c", ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"], change=resources(memory={"limit": 16 * MIB, "swap": 16 * MIB}))
        self.need("c", "memory.max" if UNIFIED else "memory.limit_in_bytes")
        self.pod.call("Start", id="c")
        self.assertEqual(self.pod.call("Wait", id="c", timeout=60)["exit_status"], 137)
        self.pod.call("Delete", id="c")
        self.expect("c", "create", "start", "oom", "exit", "delete")

    def test_oom_of_a_child(self):
        self.pod.create("c", ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?; exec sleep 1000"],
                        change=resources(memory={"limit": 16 * MIB, "swap": 16 * MIB}))
        self.need("c", "memory.max" if UNIFIED else "memory.limit_in_bytes")
        self.pod.call("Start", id="c")
        self.pod.output["c"].wait_for(b"137\n", 60)
        self.expect("c", "create", "start", "oom")
        self.assertEqual(self.pod.call("State", id="c")["status"], 2)
        self.pod.finish("c")
        self.expect("c", "create", "start", "oom", "exit", "delete")

    def test_devices(self):
        """/dev/kmsg (1:11) with a rule for reading and without: any node may be made, only what is allowed opened."""
        script = """busybox mknod /dev/kmsg c 1 11 && echo made
for d in null zero full random urandom kmsg; do
  (: < /dev/$d) 2>/dev/null && echo "read $d"; (: >> /dev/$d) 2>/dev/null && echo "write $d"; done"""
        default = ["made", *(f"{how} {d}" for d in ("null", "zero", "full", "random", "urandom") for how in ("read", "write"))]
        rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
        for count, want in ((1, default), (2, [*default, "read kmsg"])):
            def change(c, count=count):
                c["linux"]["resources"]["devices"] = rules[:count]
                for names in c["process"]["capabilities"].values():
                    names += ["CAP_MKNOD", "CAP_SYSLOG"]
            cid = f"c{count}"
            self.pod.run(cid, ["sh", "-c", script], change=change)
            self.pod.call("Wait", id=cid)
            self.assertEqual(self.pod.output[cid].text().splitlines(), want, self.pod.errors[cid].text())
            self.pod.call("Delete", id=cid)

    def test_freezing(self):
        pid = self.pod.run("c", ["sh", "-c", "while :; do :; done"])
        self.need("c", "cgroup.freeze" if UNIFIED else "freezer.state")

        def ticks():
            with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
        shim.eventually(ticks, what="a busy container")
        self.pod.call("Pause", id="c")
        before = ticks()
        time.sleep(0.3)
        self.assertEqual(ticks(), before)
        self.pod.call("Resume", id="c")
        shim.eventually(lambda: ticks() > before, what="a busy container")
        self.pod.finish("c")

    def test_stats(self):
        self.pod.run("c", ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo done; exec sleep 1000"],
                     change=resources(memory={"limit": 64 * MIB}, pids={"limit": 77}))
        self.pod.output["c"].wait_for(b"done\n")
        stats = dict(ttrpc.wire(self.pod.call("Stats", id="c")["stats"]["value"]))
        # io.containerd.cgroups.v1.Metrics: 2 pids, 3 cpu, 4 memory. v2.Metrics: 1 pids, 2 cpu, 4 memory. pids: 1 current, 2 limit.
        pids = dict(ttrpc.wire(stats.get(1 if UNIFIED else 2, b"")))
        self.need("c", "pids.max")
        self.assertEqual(pids, {1: 1, 2: 77})
        if UNIFIED:
            self.assertGreater(dict(ttrpc.wire(stats[2]))[1], 0)  # usage_usec
            memory = dict(ttrpc.wire(stats[4]))
            self.assertEqual(memory[33], 64 * MIB)  # usage_limit
            self.assertGreater(memory[32], 0)  # usage
        self.pod.finish("c")

    def test_own_view(self):
        self.pod.run("c", ["sh", "-c", "cat /proc/self/cgroup; echo x > /sys/fs/cgroup/cgroup.procs || echo read-only; exec sleep 1000"],
                     change=own_cgroup("ro"))
        self.pod.output["c"].wait_for(b"read-only\n")
        lines = bytes(self.pod.output["c"].data).decode().splitlines()[:-1]
        self.assertEqual({line.split(":", 2)[2] for line in lines}, {"/"})
        self.pod.exec("c", "e", ["sh", "-c", "cat /proc/self/cgroup"])
        self.pod.call("Start", id="c", exec_id="e")
        self.assertEqual(self.pod.output["e"].text().splitlines(), lines)
        self.pod.finish("c")

    @unittest.skipUnless(UNIFIED, "needs cgroup v2 alone")
    def test_a_manager_inside(self):
        """As systemd in a container: it moves itself into a cgroup below and turns controllers on. Execs follow it; the end removes all."""
        script = """cd /sys/fs/cgroup && mkdir init app app/deep && echo 1 > init/cgroup.procs && echo +pids +memory > cgroup.subtree_control || exit 1
cat cgroup.type; cat /proc/self/cgroup; cat app/pids.max; exec sleep 1000"""
        self.pod.run("c", ["sh", "-c", script], change=own_cgroup("rw"))
        self.pod.output["c"].wait_for(b"\nmax\n")
        self.assertEqual(bytes(self.pod.output["c"].data).decode().split(), ["domain", "0::/init", "max"])
        self.pod.exec("c", "e", ["sh", "-c", "cat /proc/self/cgroup; echo 0 > /sys/fs/cgroup/app/deep/cgroup.procs; exec sleep 1000"])
        pid = self.pod.call("Start", id="c", exec_id="e")["pid"]
        self.pod.output["e"].wait_for(b"0::/init\n")
        self.assertIn(pid, [p["pid"] for p in self.pod.call("Pids", id="c")["processes"]])
        self.pod.call("Pause", id="c")
        self.pod.call("Resume", id="c")
        self.pod.finish("c")
        self.assertFalse(os.path.exists(f"/sys/fs/cgroup{self.pod.cgroup_of('c')}"))

    @unittest.skipUnless(UNIFIED, "needs cgroup v2 alone")
    def test_a_manager_in_a_user_namespace(self):
        """The cgroup belongs to the user that root is, but for its limits."""
        def change(c):
            own_cgroup("rw")(c)
            c["linux"]["namespaces"].append({"type": "user"})
            c["linux"].update({k: [{"containerID": 0, "hostID": 100000, "size": 65536}] for k in ("uidMappings", "gidMappings")})
        script = """cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && echo +pids > cgroup.subtree_control && echo made
(echo 5 > pids.max) 2>/dev/null || echo refused"""
        self.pod.run("c", ["sh", "-c", script], change=change)
        self.pod.call("Wait", id="c")
        self.assertEqual((self.pod.output["c"].text(), self.pod.errors["c"].text()), ("made\nrefused\n", ""))
        self.pod.call("Delete", id="c")
        self.pod.run("d", ["sh", "-c", "mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused"], change=lambda c: (change(c), c["mounts"][-1]["options"].append("ro")))
        self.pod.call("Wait", id="d")
        self.assertEqual(self.pod.output["d"].text(), "refused\n")
        self.pod.call("Delete", id="d")

    @unittest.skipUnless(UNIFIED, "needs cgroup v2 alone")
    def test_options_of_the_host_stay(self):
        """A cgroup2 mount without a cgroup namespace is one more mount of the host's superblock: its options are the host's."""
        def options():
            with open("/proc/self/mountinfo", encoding="ascii") as f:
                return next(line.split()[-1] for line in f if line.split()[4] == "/sys/fs/cgroup")
        before = options()
        self.pod.run("c", ["sh", "-c", "cat /sys/fs/cgroup/cgroup.controllers"], change=lambda c: c["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]}))
        self.pod.call("Wait", id="c")
        self.assertIn("memory", self.pod.output["c"].text())
        self.pod.call("Delete", id="c")
        self.assertEqual(options(), before)


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
