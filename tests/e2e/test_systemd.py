#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The systemd cgroup driver against the systemd that runs this machine (the virtual machine's, usually): units, their properties and the
files, before and after daemon-reload; what a create, a failed create, an update, a delete and a crash leave. Without containerd."""
import concurrent.futures
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
# A copy, so that a test can take husk-systemd away.
ORIGIN = os.environ.get("HUSK_BIN", "build/release/bin")
COPY = tempfile.mkdtemp(prefix="husk-bin-")
os.environ["HUSK_BIN"] = COPY
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
import units  # pylint: disable=wrong-import-position
from daemon import SLOW  # pylint: disable=wrong-import-position
from units import read, show, systemctl  # pylint: disable=wrong-import-position

ROOT = "/sys/fs/cgroup"
MIB = 1 << 20
INFINITY = "infinity"
HELPER = os.path.join(COPY, "husk-systemd")


def cgroup_of(pid):
    return next(line[3:] for line in read(f"/proc/{pid}/cgroup").split("\n") if line.startswith("0::"))


def placed(where, annotations=None, **resources):
    def change(c):
        c["linux"]["cgroupsPath"] = where
        c["linux"]["resources"].update(resources)
        c["annotations"].update(annotations or {})
    return change


class SystemdTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.name = os.path.basename(self.pod.dir)
        self.unit = f"husk-{self.name}.scope"
        self.path = f"/system.slice/{self.unit}"
        self.where = f"system.slice:husk:{self.name}"

    def file(self, name, path=None):
        return read(f"{ROOT}{path or self.path}/{name}")

    def is_gone(self, unit=None, path=None):
        self.assertFalse(os.path.exists(f"{ROOT}{path or self.path}"))
        self.assertEqual(show(unit or self.unit, "LoadState"), "not-found")

    def update(self, **resources):
        self.pod.call("Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps(resources).encode()})

    def compare(self, files, properties):
        """What is in the files and in the unit, and again after systemd has read everything anew."""
        for turn in ("made", "after daemon-reload", "after another change"):
            self.assertEqual({n: self.file(n) for n in files}, files, turn)
            self.assertEqual({n: show(self.unit, n) for n in properties}, properties, turn)
            if turn == "made":
                self.assertEqual(systemctl("daemon-reload").returncode, 0)
            else: # makes systemd write the unit's files once more
                self.assertEqual(systemctl("set-property", "--runtime", self.unit, "MemoryHigh=infinity").returncode, 0)

    def test_properties_and_files(self):
        pid = self.pod.run("c", ["sleep", "1000"], change=placed(
            self.where, memory={"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}, pids={"limit": 77},
            cpu={"shares": 512, "quota": 33333, "period": 100000, "cpus": "0", "mems": "0"}, blockIO={"weight": 500}))
        self.assertEqual(cgroup_of(pid), self.path)
        has_bfq = os.path.exists(f"{ROOT}{self.path}/io.bfq.weight")
        files = {"memory.max": str(64 * MIB), "memory.low": str(32 * MIB), "memory.swap.max": str(32 * MIB), "pids.max": "77", "cpu.weight": "59",
                 "cpu.max": "34000 100000", "cpuset.cpus": "0", "cpuset.mems": "0", **({"io.bfq.weight": "default 500"} if has_bfq else {})}
        if not has_bfq and os.path.exists(f"{ROOT}{self.path}/io.weight"):
            files["io.weight"] = "default 4950"
        properties = {"MemoryMax": str(64 * MIB), "MemoryLow": str(32 * MIB), "MemorySwapMax": str(32 * MIB), "TasksMax": "77", "CPUWeight": "59",
                      "CPUQuotaPerSecUSec": "340ms", "CPUQuotaPeriodUSec": "100ms", "AllowedCPUs": "0", "AllowedMemoryNodes": "0", "Delegate": "yes",
                      "Slice": "system.slice", "Description": "husk container c", "DefaultDependencies": "no", "CollectMode": "inactive-or-failed"}
        self.compare(files, properties)
        self.update(memory={"limit": 128 * MIB, "swap": -1}, pids={"limit": -1}, cpu={"shares": 1024, "quota": -1})
        files.update({"memory.max": str(128 * MIB), "memory.swap.max": "max", "pids.max": "max", "cpu.weight": "100", "cpu.max": "max 100000"})
        properties.update({"MemoryMax": str(128 * MIB), "MemorySwapMax": INFINITY, "TasksMax": INFINITY, "CPUWeight": "100",
                           "CPUQuotaPerSecUSec": INFINITY})
        self.compare(files, properties)
        self.update(cpu={"period": 50000, "quota": 5001})
        files["cpu.max"] = "5500 50000"
        properties.update(CPUQuotaPerSecUSec="110ms", CPUQuotaPeriodUSec="50ms")
        self.compare(files, properties)
        self.pod.finish("c")
        self.is_gone()

    def test_unified_and_idle(self):
        self.pod.run("c", ["sleep", "1000"], change=placed(self.where, unified={
            "memory.high": str(48 * MIB), "memory.min": str(MIB), "cpu.max": "12345 100000", "cpu.idle": "1", "pids.max": "50"}))
        self.assertEqual({n: self.file(n) for n in ("memory.high", "cpu.max", "cpu.idle")},
                         {"memory.high": str(48 * MIB), "cpu.max": "13000 100000", "cpu.idle": "1"})
        self.assertEqual([show(self.unit, n) for n in ("MemoryHigh", "MemoryMin", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax")],
                         [str(48 * MIB), str(MIB), "130ms", "idle", "50"])
        self.update(cpu={"idle": 0})
        self.assertEqual((self.file("cpu.idle"), self.file("cpu.weight"), show(self.unit, "CPUWeight")), ("0", "100", "100"))
        self.pod.finish("c")
        self.is_gone()

    def test_devices_stay_filtered(self):
        """daemon-reload takes no device filter away, and systemd has none of its own."""
        self.pod.run("c", ["sh", "-c", "while :; do (: < /dev/kmsg) 2>/dev/null && echo open || echo refused; sleep 0.2; done"],
                     change=lambda c: (placed(self.where)(c), [s.append("CAP_MKNOD") for s in c["process"]["capabilities"].values()],
                                       c["linux"].update(devices=[{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}])))
        self.pod.output["c"].wait_for(b"refused\n")
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", self.unit, "MemoryHigh=infinity")
        time.sleep(1)
        self.pod.finish("c")
        self.assertNotIn("open", self.pod.output["c"].text())

    def test_one_session_a_create_and_no_library_in_the_shim(self):
        self.pod.run("c", ["sleep", "1000"], change=placed(self.where))
        os.rename(HELPER, HELPER + ".away")
        try:
            self.pod.exec("c", "e", ["cat", "/proc/self/cgroup"])
            self.pod.call("Start", id="c", exec_id="e")
            self.pod.call("Wait", id="c", exec_id="e")
            self.assertEqual(self.pod.output["e"].text().strip(), f"0::{self.path}")
            self.pod.call("Delete", id="c", exec_id="e")
            self.assertEqual(self.pod.call("State", id="c")["status"], 2)
            self.pod.call("Stats", id="c")
            self.pod.call("Pause", id="c")
            self.pod.call("Resume", id="c")
            with self.assertRaisesRegex(ttrpc.Error, "husk-systemd"):
                self.pod.create("d", ["true"], change=placed(self.where + "d"))
        finally:
            os.rename(HELPER + ".away", HELPER)
        self.assertNotIn("systemd", read(f"/proc/{self.pod.shim_pid}/maps"))
        self.pod.finish("c")
        self.is_gone()

    def test_sessions_are_counted(self):
        """Each connection to the bus, seen by its system call: one for a create, an update and a delete, none for anything else."""
        trace = f"{COPY}/trace"
        os.rename(HELPER, HELPER + ".true")
        with open(HELPER, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nexec strace -qq -f -o {trace}.$$ -e trace=connect {HELPER}.true "$@"\n')
        os.chmod(HELPER, 0o755)

        def connections(call, *args, **kwargs):
            call(*args, **kwargs)
            found = []
            for path in glob.glob(f"{trace}.*"):
                with open(path, encoding="ascii") as f:
                    found += [line for line in f if "AF_UNIX" in line and "EINPROGRESS" not in line]
                os.unlink(path)
            return len(found)

        def run_exec():
            self.pod.exec("c", "e", ["true"])
            self.pod.call("Start", id="c", exec_id="e")
            self.pod.call("Wait", id="c", exec_id="e")
            self.pod.call("Delete", id="c", exec_id="e")
        try:
            self.assertEqual(connections(self.pod.run, "c", ["sleep", "1000"], change=placed(self.where)), 1)
            for method in ("State", "Stats", "Pids", "Pause", "Resume"):
                self.assertEqual(connections(self.pod.call, method, id="c"), 0, method)
            self.assertEqual(connections(run_exec), 0)
            self.assertEqual(connections(self.update, pids={"limit": 5}), 1)
            self.assertLessEqual(connections(self.pod.finish, "c"), 1)
        finally:
            os.rename(HELPER + ".true", HELPER)
        self.is_gone()

    def test_an_update_changes_only_what_it_names(self):
        pid = self.pod.run("c", ["sh", "-c", "x=a; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do x=$x$x; done; echo grown; "
                                             "exec 3<&0; while :; do sleep 1; done"], change=placed(
            self.where, memory={"limit": 64 * MIB, "swap": 64 * MIB}, pids={"limit": 77}, cpu={"shares": 512, "quota": 50000, "period": 100000}))
        self.pod.output["c"].wait_for(b"grown\n", 60)
        files = {"memory.max": str(64 * MIB), "memory.swap.max": "0", "pids.max": "77", "cpu.weight": "59", "cpu.max": "50000 100000"}
        properties = {"MemoryMax": str(64 * MIB), "MemorySwapMax": "0", "TasksMax": "77", "CPUWeight": "59", "CPUQuotaPerSecUSec": "500ms"}
        for change, file, prop in (
                ({"pids": {"limit": 50}}, {"pids.max": "50"}, {"TasksMax": "50"}),
                ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}, {"CPUWeight": "100"}),
                ({"cpu": {"quota": 20000}}, {"cpu.max": "20000 100000"}, {"CPUQuotaPerSecUSec": "200ms"}),
                ({"memory": {"reservation": 8 * MIB}}, {"memory.low": str(8 * MIB)}, {"MemoryLow": str(8 * MIB)}),
                ({"memory": {"limit": 96 * MIB, "swap": 96 * MIB}}, {"memory.max": str(96 * MIB)}, {"MemoryMax": str(96 * MIB)})):
            self.update(**change)
            files.update(file)
            properties.update(prop)
            self.compare(files, properties)
        # A limit below what is in use would be the container's death: refused, with all the rest that came with it.
        with self.assertRaisesRegex(ttrpc.Error, "memory"):
            self.update(memory={"limit": MIB, "swap": MIB, "checkBeforeUpdate": True}, pids={"limit": 9}, cpu={"shares": 2})
        self.compare(files, properties)
        self.assertTrue(shim.is_alive(pid))
        self.pod.finish("c")
        self.is_gone()

    def test_cgroup_namespace_and_inner_cgroups(self):
        def change(c):
            placed(self.where)(c)
            c["linux"]["namespaces"].append({"type": "cgroup"})
            c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "rw"]})
        self.pod.run("c", ["sh", "-c", "cat /proc/self/cgroup; busybox mkdir /sys/fs/cgroup/inner; echo $$ > /sys/fs/cgroup/inner/cgroup.procs; "
                                       "cat /proc/self/cgroup; exec sleep 1000"], change=change)
        self.pod.output["c"].wait_for(b"0::/\n0::/inner\n")
        self.pod.exec("c", "e", ["true"])
        self.pod.call("Start", id="c", exec_id="e")
        self.assertEqual(self.pod.call("Wait", id="c", exec_id="e").get("exit_status", 0), 0)
        self.pod.call("Delete", id="c", exec_id="e")
        self.pod.finish("c")
        self.is_gone()

    def test_nested_slices_and_annotations(self):
        slices = "husktest-pod1.slice"
        self.addCleanup(systemctl, "stop", "husktest.slice")
        pid = self.pod.run("c", ["sleep", "1000"], change=placed(f"{slices}:husk:{self.name}", {
            "org.systemd.property.TimeoutStopSec": "uint64 7", "org.systemd.property.KillSignal": "9"}))
        path = f"/husktest.slice/husktest-pod1.slice/{self.unit}"
        self.assertEqual(cgroup_of(pid), path)
        self.assertEqual([show(self.unit, n) for n in ("Slice", "TimeoutStopUSec", "KillSignal")], [slices, "7s", "9"])
        self.pod.finish("c")
        self.is_gone(path=path)
        self.assertTrue(os.path.isdir(f"{ROOT}/husktest.slice"), "the pod's slice is its maker's")

    def test_slice_as_the_container(self):
        unit = "husktest2-c.slice"
        self.addCleanup(systemctl, "stop", "husktest2.slice")
        pid = self.pod.run("c", ["sleep", "1000"], change=placed(f"husktest2.slice::{unit}", pids={"limit": 9}))
        path = f"/husktest2.slice/{unit}"
        self.assertEqual((cgroup_of(pid), self.file("pids.max", path), show(unit, "TasksMax")), (path, "9", "9"))
        self.pod.finish("c")
        self.assertFalse(os.path.exists(f"{ROOT}{path}"))

    def test_refused(self):
        for where, annotations, text in (
                ("system:husk:a", {}, "no slice"), ("a--b.slice:husk:a", {}, "no slice"), ("system.slice:husk:", {}, "no name"),
                ("system.slice:husk:a/b", {}, "unit name"), (self.where, {"org.systemd.property.Requires": "['reboot.target']"}, "may not be set"),
                (self.where, {"org.systemd.property.KillSignal": "'x'"}, "D-Bus type i")):
            with self.assertRaisesRegex(ttrpc.Error, text):
                self.pod.create("c", ["true"], change=placed(where, annotations))
            self.is_gone()

    def test_a_failed_create_leaves_no_unit(self):
        with self.assertRaisesRegex(ttrpc.Error, "/no/such"):
            self.pod.create("c", ["/no/such"], change=placed(self.where))
        self.is_gone()
        with self.assertRaisesRegex(ttrpc.Error, "pids.max|cpuset"): # systemd takes the property, the file is refused
            self.pod.create("c", ["true"], change=placed(self.where, cpu={"cpus": "4000"}))
        self.is_gone()

    def test_somebody_elses_unit_is_left_alone(self):
        with subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit={self.unit}", "--slice=system.slice", "sleep", "1000"]) as other:
            try:
                shim.eventually(lambda: os.path.exists(f"{ROOT}{self.path}") and self.file("cgroup.procs"), what="the other unit")
                with self.assertRaisesRegex(ttrpc.Error, self.unit):
                    self.pod.create("c", ["true"], change=placed(self.where))
                self.assertIsNone(other.poll())
                self.assertEqual(show(self.unit, "ActiveState"), "active")
            finally:
                other.kill()
        shim.eventually(lambda: not os.path.exists(f"{ROOT}{self.path}"), what="end of the other unit")

    def test_a_failed_unit_of_the_name_is_replaced(self):
        subprocess.run(["systemd-run", "--quiet", "--scope", f"--unit={self.unit}", "--slice=system.slice", "-p", "RuntimeMaxSec=1", "sleep", "1000"],
                       check=False)
        shim.eventually(lambda: show(self.unit, "ActiveState") == "failed", what="a failed unit")
        pid = self.pod.run("c", ["sleep", "1000"], change=placed(self.where))
        self.assertEqual(cgroup_of(pid), self.path)
        self.pod.finish("c")
        self.is_gone()

    def test_oom(self):
        self.pod.create("c", ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"],
                        change=placed(self.where, memory={"limit": 16 * MIB, "swap": 16 * MIB}))
        self.pod.call("Start", id="c")
        self.assertEqual(self.pod.call("Wait", id="c", timeout=60)["exit_status"], 137)
        self.pod.call("Delete", id="c")
        self.is_gone()
        self.assertTrue(self.pod.events.wait_for(lambda log: any(t.endswith("delete") for t, _ in log)))
        self.assertIn("oom", [t.rsplit("/", 1)[1] for t, _ in self.pod.events.log])

    def test_a_crash_of_the_shim(self):
        pid = self.pod.run("c", ["sleep", "1000"], change=placed(self.where))
        os.kill(self.pod.shim_pid, signal.SIGKILL)
        shim.eventually(lambda: not shim.is_alive(self.pod.shim_pid), what="end of the shim")
        self.assertEqual(show(self.unit, "ActiveState"), "active")
        self.assertEqual(self.pod.delete("c")["exit_status"], 137)
        self.assertFalse(shim.is_alive(pid))
        self.is_gone()


class Storm(unittest.TestCase):
    """HUSK_TEST_STARTS containers (default 60) started at once, those of a pod in its slice: systemd answers others meanwhile, and holds what was
    asked for."""
    EACH = 10
    PODS = int(os.environ.get("HUSK_TEST_STARTS", "60")) // EACH

    def setUp(self):
        self.pods = [shim.Pod(f"pod{n}") for n in range(self.PODS)]
        for pod in self.pods:
            self.addCleanup(systemctl, "stop", self.slice(pod))
            self.addCleanup(pod.close)

    @staticmethod
    def slice(pod):
        return f"husktest{os.path.basename(pod.dir).replace('-', '')}.slice"

    @staticmethod
    def name(pod, n):
        return f"{os.path.basename(pod.dir)}-{n}"

    def start_all(self, where):
        """Each Create is under way before the first is answered."""
        creates = []
        for n in range(self.EACH):
            for pod in self.pods:
                cid = self.name(pod, n)
                bundle = pod.bundle(cid, ["sleep", "1000"], placed(where(pod, n), pids={"limit": 50 + n}))
                creates.append((pod, cid, pod.client.start_task("Create", id=cid, bundle=bundle)))
        starts = []
        for pod, cid, create in creates:
            create.result(120 * SLOW)
            starts.append(pod.client.start_task("Start", id=cid))
        for start in starts:
            start.result(120 * SLOW)

    @staticmethod
    def read_once():
        begin = time.monotonic()
        subprocess.run(["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "NNames"],
                       check=True, capture_output=True)
        return time.monotonic() - begin

    def reads_during(self, work):
        """How long each read from systemd took while work ran, in milliseconds, in order of length."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done, took = pool.submit(work), []
            while not done.done():
                took.append(self.read_once() * 1000)
            done.result()
        return sorted(took)

    def finish_all(self):
        calls = [(pod, self.name(pod, n)) for pod in self.pods for n in range(self.EACH)]
        for method, fields in (("Kill", {"signal": 9, "all": True}), ("Wait", {}), ("Delete", {})):
            for call in [pod.client.start_task(method, id=cid, **fields) for pod, cid in calls]:
                call.result(120 * SLOW)

    def test_all_at_once(self):
        quiet = sorted(self.read_once() * 1000 for _ in range(50))
        beside = self.reads_during(lambda: self.start_all(lambda pod, n: f"{pod.cgroup}/{self.name(pod, n)}"))
        self.finish_all()
        during = self.reads_during(lambda: self.start_all(lambda pod, n: f"{self.slice(pod)}:husk:{self.name(pod, n)}"))
        for what, took in (("quiet", quiet), ("beside starts without systemd", beside), ("beside starts with it", during)):
            print(f"{what}: {len(took)} reads, median {took[len(took) // 2]:.0f} ms, p99 {took[int(len(took) * .99)]:.0f} ms")
        self.assertLess(during[len(during) // 2], 2 * beside[len(beside) // 2])
        self.assertEqual(systemctl("daemon-reload").returncode, 0)
        for pod in self.pods:
            for n in range(self.EACH):
                unit = f"husk-{self.name(pod, n)}.scope"
                self.assertEqual(read(f"{ROOT}/{self.slice(pod)}/{unit}/pids.max"), str(50 + n))
        self.finish_all()


if __name__ == "__main__":
    try:
        if not units.IS_HERE:
            print("SKIP: systemd does not run this machine (tests/run.sh --vm has one that it does)")
            sys.exit(shim.SKIP)
        if not os.path.exists(f"{ROOT}/cgroup.procs"):
            print("SKIP: cgroup v1")
            sys.exit(shim.SKIP)
        for program in os.listdir(ORIGIN):
            shutil.copy(os.path.join(ORIGIN, program), COPY)
        shim.require()
        if not os.path.exists(HELPER):
            print("SKIP: husk-systemd was not built (libsystemd-dev)")
            sys.exit(shim.SKIP)
        unittest.main()
    finally:
        shutil.rmtree(COPY, ignore_errors=True)
