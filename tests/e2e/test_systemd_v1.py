#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The systemd cgroup driver where systemd itself runs on cgroup v1 or hybrid (until 255): one unit, its cgroup in every hierarchy, properties and
files that agree before and after daemon-reload, devices that stay filtered, nothing left. Without containerd."""
import glob
import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
import units  # pylint: disable=wrong-import-position
from units import read, show, systemctl  # pylint: disable=wrong-import-position

ROOT = "/sys/fs/cgroup"
MIB = 1 << 20


def cgroups_of(text):
    """The paths in all hierarchies but misc, which runc does not use on v1 either."""
    return {line.split(":", 2)[2] for line in text.split("\n") if line and line.split(":")[1] != "misc"}


class SystemdV1Test(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        name = os.path.basename(self.pod.dir)
        self.unit, self.where = f"husk-{name}.scope", f"system.slice:husk:{name}"
        self.path = f"/system.slice/{self.unit}"

    def placed(self, **resources):
        def change(c):
            c["linux"]["cgroupsPath"] = self.where
            c["linux"]["resources"].update(resources)
        return change

    def file(self, controller, name):
        return read(f"{ROOT}/{controller}{self.path}/{name}")

    def update(self, **resources):
        self.pod.call("Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps(resources).encode()})

    def is_gone(self):
        self.assertEqual(glob.glob(f"{ROOT}/*{self.path}"), [])
        self.assertEqual(show(self.unit, "LoadState"), "not-found")

    def compare(self, files, properties):
        for turn in ("made", "after daemon-reload", "after another change"):
            self.assertEqual({f: self.file(*f.split(":")) for f in files}, files, turn)
            self.assertEqual({n: show(self.unit, n) for n in properties}, properties, turn)
            if turn == "made":
                self.assertEqual(systemctl("daemon-reload").returncode, 0)
            else:
                self.assertEqual(systemctl("set-property", "--runtime", self.unit, "Description=husk container c").returncode, 0)

    def test_properties_and_files(self):
        pid = self.pod.run("c", ["sleep", "1000"], change=self.placed(
            memory={"limit": 64 * MIB}, pids={"limit": 77}, cpu={"shares": 512, "quota": 33333, "period": 100000, "cpus": "0"}))
        self.assertEqual(cgroups_of(read(f"/proc/{pid}/cgroup")), {self.path}, read(f"/proc/{pid}/cgroup"))
        devices = self.file("devices", "devices.list")
        files = {"memory:memory.limit_in_bytes": str(64 * MIB), "pids:pids.max": "77", "cpu:cpu.shares": "512", "cpu:cpu.cfs_quota_us": "34000",
                 "cpu:cpu.cfs_period_us": "100000", "cpuset:cpuset.cpus": "0", "devices:devices.list": devices}
        properties = {"MemoryLimit": str(64 * MIB), "TasksMax": "77", "CPUShares": "512", "CPUQuotaPerSecUSec": "340ms", "Delegate": "yes",
                      "DevicePolicy": "strict", "Slice": "system.slice", "Description": "husk container c"}
        self.assertIn("c 1:3 rwm", devices)
        self.assertNotIn("a *:* rwm", devices)
        self.compare(files, properties)
        self.update(memory={"limit": 128 * MIB}, pids={"limit": -1}, cpu={"shares": 1024, "quota": -1})
        files.update({"memory:memory.limit_in_bytes": str(128 * MIB), "pids:pids.max": "max", "cpu:cpu.shares": "1024", "cpu:cpu.cfs_quota_us": "-1"})
        properties.update({"MemoryLimit": str(128 * MIB), "TasksMax": "infinity", "CPUShares": "1024", "CPUQuotaPerSecUSec": "infinity"})
        self.compare(files, properties)
        self.pod.exec("c", "e", ["cat", "/proc/self/cgroup"])
        self.pod.call("Start", id="c", exec_id="e")
        self.pod.call("Wait", id="c", exec_id="e")
        self.assertEqual(cgroups_of(self.pod.output["e"].text()), {self.path})
        self.pod.call("Delete", id="c", exec_id="e")
        self.pod.call("Pause", id="c")
        self.assertEqual(self.file("freezer", "freezer.state"), "FROZEN")
        self.pod.call("Resume", id="c")
        self.pod.finish("c")
        self.is_gone()

    def test_devices_stay_filtered_and_open(self):
        """What it may open it may open at every moment, what not at none."""
        self.pod.run("c", ["sh", "-c", "while :; do (: < /dev/kmsg) 2>/dev/null && echo kmsg; (: < /dev/null) 2>/dev/null || echo null; done"],
                     change=lambda c: (self.placed()(c), [s.append("CAP_MKNOD") for s in c["process"]["capabilities"].values()],
                                       c["linux"].update(devices=[{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}])))
        systemctl("daemon-reload")
        self.update(pids={"limit": 50})
        systemctl("set-property", "--runtime", self.unit, "CPUShares=100")
        time.sleep(1)
        self.pod.finish("c")
        self.assertEqual(self.pod.output["c"].text(), "")
        self.is_gone()

    def test_a_failed_create_leaves_no_unit(self):
        with self.assertRaisesRegex(ttrpc.Error, "/no/such"):
            self.pod.create("c", ["/no/such"], change=self.placed())
        self.is_gone()

    def test_a_crash_of_the_shim(self):
        pid = self.pod.run("c", ["sleep", "1000"], change=self.placed())
        os.kill(self.pod.shim_pid, 9)
        shim.eventually(lambda: not shim.is_alive(self.pod.shim_pid), what="end of the shim")
        self.assertEqual(self.pod.delete("c")["exit_status"], 137)
        self.assertFalse(shim.is_alive(pid))
        self.is_gone()


if __name__ == "__main__":
    shim.require()
    if not units.IS_HERE:
        print("SKIP: systemd does not run this machine (tests/run.sh --vm=bookworm-v1 has one that it does)")
        sys.exit(shim.SKIP)
    if os.path.exists(f"{ROOT}/cgroup.procs"):
        print("SKIP: cgroup v2 alone (tests/run.sh --vm=bookworm-v1)")
        sys.exit(shim.SKIP)
    unittest.main()
