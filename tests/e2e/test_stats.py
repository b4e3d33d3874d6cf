#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Task.Stats field by field against the files of the container's own cgroup, read here by the numbers of io.containerd.cgroups.v1.Metrics and
v2.Metrics: of a frozen container, so that nothing moves in between. And after the exit, until Delete."""
import glob
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from podtest import *  # pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import
from shim import is_alive  # pylint: disable=wrong-import-position

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.procs")
MAX = (1 << 64) - 1
MIB = 1 << 20
V1_MEMORY = ("cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon inactive_file active_file "
             "unevictable").split()
V2_MEMORY = ("anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon inactive_file active_file "
             "unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault workingset_refault workingset_activate workingset_nodereclaim pgrefill "
             "pgscan pgsteal pgactivate pgdeactivate pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc").split()
V2_CPU = {1: "usage_usec", 2: "user_usec", 3: "system_usec", 4: "nr_periods", 5: "nr_throttled", 6: "throttled_usec", 8: "nr_bursts", 9: "burst_usec"}
V2_EVENTS = {1: "low", 2: "high", 3: "max", 4: "oom", 5: "oom_kill", 6: "oom_group_kill"}
IO_KEYS = ("rbytes", "wbytes", "rios", "wios")
# The kernel counts these itself while we read, or splits one sum anew each time it is asked.
MOVING = {"v1": {"usage"}, "v2": {32, 36}}


def message(data):
    """{field: value or [values]}; numbers and bytes."""
    out = {}
    for number, value in ttrpc.wire(data):
        out.setdefault(number, []).append(value)
    return {n: v[0] if len(v) == 1 else v for n, v in out.items()}


def many(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def packed(value):
    """A repeated varint field, packed."""
    out, at = [], 0
    while at < len(value):
        n, at = ttrpc.read_varint(value, at)
        out.append(n)
    return out


class Files:
    """The container's cgroup files, in whichever hierarchy has them."""

    def __init__(self, pod, cid):
        where = pod.cgroup_of(cid)
        # A hybrid host's v2 tree comes last: its cpu.stat and the like are not what v1 counts.
        self.dirs = [d for d in [f"/sys/fs/cgroup{where}", *(f"{top}{where}" for top in sorted(
            glob.glob("/sys/fs/cgroup/*"), key=lambda top: os.path.exists(f"{top}/cgroup.controllers")))] if os.path.isdir(d)]

    def text(self, name):
        for d in self.dirs:
            try:
                with open(f"{d}/{name}", encoding="ascii") as f:
                    return f.read()
            except OSError:
                continue
        return None

    def number(self, name):
        text = self.text(name)
        return None if text is None else MAX if text.strip() == "max" else int(text)

    def keys(self, name):
        return {line.split()[0]: int(line.split()[1]) for line in (self.text(name) or "").splitlines()}

    def pressure(self, name):
        """{1: some, 2: full}, each {1: avg10, 2: avg60, 3: avg300, 4: total}."""
        out = {}
        for line in (self.text(name) or "").splitlines():
            kind, *words = line.split()
            values = dict(w.split("=") for w in words)
            out[1 if kind == "some" else 2] = {1: float(values["avg10"]), 2: float(values["avg60"]), 3: float(values["avg300"]), 4: int(values["total"])}
        return out


class Stats(PodTest):
    def setUp(self):
        super().setUp()
        self.pod.run("c", ["sh", "-c", "head -c 4000000 /dev/zero > /tmp/x; echo ready; exec sleep 1000"], change=self.limits)
        self.pod.output["c"].wait_for(b"ready\n")
        self.addCleanup(lambda: os.path.exists(f"{self.pod.rootfs}/tmp/x") and os.unlink(f"{self.pod.rootfs}/tmp/x"))
        self.files = Files(self.pod, "c")

    @staticmethod
    def limits(document):
        document["linux"]["resources"].update({"memory": {"limit": 64 * MIB}, "pids": {"limit": 77}, "cpu": {"quota": 50000, "period": 100000}})

    def stats(self):
        any_ = self.pod.call("Stats", id="c")["stats"]
        self.assertEqual(any_["type_url"], f"io.containerd.cgroups.v{2 if UNIFIED else 1}.Metrics")
        return message(any_["value"])

    @staticmethod
    def used(m):
        return message(m[2])[1] if UNIFIED else message(message(m[3])[1])[1]

    def frozen_stats(self):
        """(what the shim answers, {file: its numbers}): a frozen container's pages still go from one list of the kernel's to another, and a last period of its
        quota ends, so between two looks that agree."""
        self.send()
        self.pod.call("Pause", id="c")
        for _ in range(20):
            before = {name: self.files.keys(name) for name in ("memory.stat", "cpu.stat")}
            stats = self.stats()
            if before == {name: self.files.keys(name) for name in before}:
                return stats, before
        return self.fail("memory.stat and cpu.stat of a frozen container are never twice the same")

    def compare(self, got, wanted, what, moving=()):
        """got: {field: number}; wanted: {field: number or None where this kernel has no such file}. Zero is not sent."""
        for field, value in wanted.items():
            if value is None:
                self.assertNotIn(field, got, f"{what}.{field}")
            elif field in moving:
                self.assertTrue(value / 2 <= got.get(field, 0) <= value * 2 + MIB, (what, field, got.get(field), value))
            else:
                self.assertEqual(got.get(field, 0), value, f"{what}.{field}")
        self.assertLessEqual(set(got), set(wanted), f"{what} has fields that the files do not explain")

    def send(self):
        """Something through the container's lo."""
        script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor _ in range(100): s.sendto(bytes(1400), ('127.0.0.1', 9))"
        pid = self.pod.call("State", id="c")["pid"]
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "/usr/bin/python3", "-c", f"{script}"], check=False, stderr=subprocess.DEVNULL)

    def check_network(self, entries):
        pid = self.pod.call("State", id="c")["pid"]
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as f:
            lines = [line.replace(":", " ").split() for line in f.read().splitlines()[2:]]
        self.assertEqual([message(e)[1].decode() for e in entries], [line[0] for line in lines])
        for entry, line in zip(map(message, entries), lines):
            v = list(map(int, line[1:]))
            self.compare({k: n for k, n in entry.items() if k != 1}, dict(zip(range(2, 10), v[:4] + v[8:12])), line[0])
        lo = next(line for line in lines if line[0] == "lo")
        self.assertGreater(int(lo[1]), 1000, "the bytes that went through its lo")

    @unittest.skipIf(UNIFIED, "needs cgroup v1")
    def test_v1(self):
        (m, stats), files = self.frozen_stats(), self.files
        self.compare(message(m[2]), {1: files.number("pids.current"), 2: 77}, "pids")
        if files.number("cpuacct.usage") is not None:
            usage = message(message(m[3])[1])
            ticks = files.keys("cpuacct.stat")
            self.compare({k: v for k, v in usage.items() if k != 4}, {1: files.number("cpuacct.usage"), 2: ticks["system"] * 10 ** 7, 3: ticks["user"] * 10 ** 7},
                         "cpu.usage")
            self.assertEqual(packed(usage[4]), list(map(int, files.text("cpuacct.usage_percpu").split())))
        throttle = stats["cpu.stat"]
        self.compare(message(message(m[3]).get(2, b"")), dict(zip((1, 2, 3), (throttle[k] for k in ("nr_periods", "nr_throttled", "throttled_time")))), "throttling")
        memory, stat = message(m[4]), stats["memory.stat"]
        wanted = {i + 1: stat.get(k, 0) for i, k in enumerate(V1_MEMORY)} | {i + 18: stat.get(f"total_{k}", 0) for i, k in enumerate(V1_MEMORY)}
        wanted.update({16: stat["hierarchical_memory_limit"], 17: stat.get("hierarchical_memsw_limit", 0)})
        self.compare({k: v for k, v in memory.items() if k < 33}, wanted, "memory")
        for field, prefix in ((33, "memory"), (34, "memory.memsw"), (35, "memory.kmem"), (36, "memory.kmem.tcp")):
            names = [f"{prefix}.{n}" for n in ("limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt")]
            if files.number(names[1]) is None:
                self.assertNotIn(field, memory)
            else:
                self.compare(message(memory[field]), {i + 1: files.number(n) for i, n in enumerate(names)}, prefix, moving=(2, 3))
        self.assertEqual(message(memory[33])[1], 64 * MIB)
        control = files.keys("memory.oom_control")
        self.compare(message(m.get(9, b"")), {i + 1: control.get(k, 0) for i, k in enumerate(("oom_kill_disable", "under_oom", "oom_kill"))}, "oom_control")
        blkio = message(m.get(5, b""))
        for field, name in ((1, "blkio.throttle.io_service_bytes_recursive"), (2, "blkio.throttle.io_serviced_recursive")):
            rows = [line.split() for line in (files.text(name) or "").splitlines() if len(line.split()) == 3]
            got = sorted((f"{e.get(3, 0)}:{e.get(4, 0)}", e[1].decode(), e.get(5, 0)) for e in map(message, many(blkio.get(field))))
            self.assertEqual(got, sorted((dev, op, int(n)) for dev, op, n in rows), name)
        self.check_hugetlb(many(m.get(1)), usage=1, limit=2, fails=3, size=4)
        self.check_network(many(m.get(7)))

    @unittest.skipUnless(UNIFIED, "needs cgroup v2 alone")
    def test_v2(self):
        (m, stats), files = self.frozen_stats(), self.files
        self.compare(message(m[1]), {1: files.number("pids.current"), 2: 77}, "pids")
        cpu, stat = message(m[2]), stats["cpu.stat"]
        self.compare({k: v for k, v in cpu.items() if k != 7}, {n: stat.get(k, 0) for n, k in V2_CPU.items()}, "cpu")
        memory, stat = message(m[4]), stats["memory.stat"]
        wanted = {i + 1: stat.get(k, 0) for i, k in enumerate(V2_MEMORY)}
        wanted[20] = stat.get("workingset_refault", 0) or stat.get("workingset_refault_anon", 0) + stat.get("workingset_refault_file", 0)
        wanted[21] = stat.get("workingset_activate", 0) or stat.get("workingset_activate_anon", 0) + stat.get("workingset_activate_file", 0)
        wanted.update({32: files.number("memory.current"), 33: 64 * MIB, 34: files.number("memory.swap.current") or 0, 35: files.number("memory.swap.max") or 0,
                       36: files.number("memory.peak") or 0, 37: files.number("memory.swap.peak") or 0})
        self.compare({k: v for k, v in memory.items() if k != 38}, wanted, "memory", moving=MOVING["v2"])
        events = files.keys("memory.events")
        self.compare(message(m.get(8, b"")), {n: events.get(k, 0) for n, k in V2_EVENTS.items()}, "memory_events")
        io = message(m.get(6, b""))
        rows = sorted((line.split()[0], *(int(dict(w.split("=") for w in line.split()[1:]).get(k, 0)) for k in IO_KEYS))
                      for line in (files.text("io.stat") or "").splitlines())
        self.assertEqual(sorted((f"{e.get(1, 0)}:{e.get(2, 0)}", *(e.get(n, 0) for n in (3, 4, 5, 6))) for e in map(message, many(io.get(1)))), rows)
        for name, data in (("cpu", cpu.get(7)), ("memory", memory.get(38)), ("io", io.get(2))):
            self.check_pressure(name, data)
        self.check_hugetlb(many(m.get(7)), usage=1, limit=2, fails=4, size=3)
        self.check_network(many(m.get(9)))

    def check_pressure(self, name, data):
        wanted = self.files.pressure(f"{name}.pressure")
        if not wanted:
            self.assertIsNone(data)
            return
        got = message(data)
        self.assertEqual(set(got), set(wanted))
        for kind, values in wanted.items():
            line = message(got[kind])
            self.assertEqual(line.get(4, 0), values[4], f"{name}.pressure total")
            for field in (1, 2, 3):  # averages decay while we look
                self.assertAlmostEqual(struct.unpack("<d", line[field])[0] if field in line else 0.0, values[field], delta=5.0)

    def check_hugetlb(self, entries, usage, limit, fails, size):
        names = {os.path.basename(p).split(".")[1] for d in self.files.dirs for p in glob.glob(f"{d}/hugetlb.*.*") if ".rsvd." not in p}
        self.assertEqual({message(e)[size].decode() for e in entries}, names)
        for entry in map(message, entries):
            base = f"hugetlb.{entry[size].decode()}"
            current, most = ("current", "max") if self.files.text(f"{base}.current") else ("usage_in_bytes", "max_usage_in_bytes")
            failed = self.files.keys(f"{base}.events").get("max", 0) if current == "current" else self.files.number(f"{base}.failcnt")
            self.compare({k: v for k, v in entry.items() if k != size},
                         {usage: self.files.number(f"{base}.{current}"), limit: self.files.number(f"{base}.{most}"), fails: failed}, base)

    def test_after_the_exit(self):
        """The counters stay until Delete: containerd looks there for the reason of an exit."""
        pod = self.pod
        before, _ = self.frozen_stats()
        pod.call("Resume", id="c")
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        after = self.stats()
        self.assertEqual(set(after) - {7 if not UNIFIED else 9}, set(before) - {7 if not UNIFIED else 9})
        self.assertGreaterEqual(self.used(after), self.used(before))
        self.assertEqual(message(after[1 if UNIFIED else 2]), {2: 77})
        pod.call("Delete", id="c")
        self.fails(NOT_FOUND, "not created: not found$", "Stats", id="c")

    def test_of_what_is_gone(self):
        """Somebody has removed the cgroup of a stopped container: not found, and no other code, which containerd passes over. systemd
        removes its scope always: the counters of the end are kept then."""
        pod = self.pod
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        for path in self.files.dirs:
            shim.eventually(lambda path=path: not os.path.isdir(path) or self.gone(path), what=f"rmdir {path}")
        if shim.DRIVER == "systemd":
            self.assertGreater(self.used(self.stats()), 0)
            return
        self.fails(NOT_FOUND, "cgroup .* does not exist: not found$", "Stats", id="c")
        pod.call("Delete", id="c")
        self.assertTrue(is_alive(pod.shim_pid))

    @staticmethod
    def gone(path):
        try:
            os.rmdir(path)
        except OSError:
            return False
        return True


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
