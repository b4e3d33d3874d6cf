#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""This machine's own systemd as PID 1 of a container: it comes up, runs units with cgroups of its own, execs join it, and it stops cleanly
on the signal it asks for. Its files are this machine's, under an overlay. Without containerd."""
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
SYSTEMD = "/lib/systemd/systemd"
SIGRTMIN_3 = 37  # "halt", says systemd(1)
EVERYTHING = [f"CAP_{name}" for name in (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL MKNOD NET_ADMIN NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID "
    "SYS_ADMIN SYS_CHROOT SYS_PTRACE SYS_RESOURCE").split()]


class NestedTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.rootfs = f"{self.pod.dir}/machine"
        for name in ("machine", "over"):
            os.mkdir(f"{self.pod.dir}/{name}")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{self.pod.dir}/over"], check=True)
        self.addCleanup(subprocess.run, ["umount", f"{self.pod.dir}/over"], check=True)
        for name in ("upper/etc/systemd/system", "work"):
            os.makedirs(f"{self.pod.dir}/over/{name}")
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir=/,upperdir={self.pod.dir}/over/upper,workdir={self.pod.dir}/over/work", self.rootfs], check=True)
        self.addCleanup(subprocess.run, ["umount", self.rootfs], check=True)

    def change(self, c):
        c["root"]["path"] = self.rootfs
        c["process"].update(terminal=False, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=oci"], noNewPrivileges=False,
                            capabilities={k: EVERYTHING for k in ("bounding", "effective", "permitted")})
        c["linux"]["namespaces"].append({"type": "cgroup"})
        c["linux"].update(maskedPaths=[], readonlyPaths=[])
        c["mounts"] += [{"destination": d, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=755"]} for d in ("/run", "/tmp")]
        c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "rw"]})

    def sh(self, script, timeout=60):
        """(exit status, output)"""
        eid = f"e{len(self.pod.output)}"
        self.pod.exec("c", eid, ["/bin/sh", "-c", script], noNewPrivileges=False, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                      capabilities={k: EVERYTHING for k in ("bounding", "effective", "permitted")})
        self.pod.call("Start", id="c", exec_id=eid)
        status = self.pod.call("Wait", timeout * SLOW, id="c", exec_id=eid).get("exit_status", 0)
        out = self.pod.output[eid].text() + self.pod.errors[eid].text()
        self.pod.call("Delete", id="c", exec_id=eid)
        return status, out.strip()

    def wait_for_systemd(self):
        """Not by execs alone: one in the container's own cgroup, in the moment that systemd makes it an inner one, is in systemd's way."""
        def is_inner():
            with open(f"/sys/fs/cgroup{self.pod.cgroup_of('c')}/cgroup.subtree_control", encoding="ascii") as f:
                return f.read().strip()
        shim.eventually(is_inner, 60 * SLOW, "controllers below the container's cgroup")
        shim.eventually(lambda: self.sh("systemctl is-system-running")[1] in ("running", "degraded"), 120 * SLOW, "systemd inside")

    def test_systemd_as_pid_1(self):
        self.pod.run("c", [SYSTEMD, "--unit=basic.target"], change=self.change)
        self.wait_for_systemd()
        self.assertEqual(self.sh("cat /proc/1/comm")[1], "systemd")
        # Where its init is, there goes an exec: the container's own cgroup is an inner one by now.
        self.assertRegex(self.sh("cat /proc/self/cgroup")[1], r"(?m)^0::/init\.scope$")
        self.assertEqual(self.sh("systemd-run --quiet --wait --collect -p MemoryMax=64M -p TasksMax=33 "
                                 "sh -c 'cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/pids.max >/tmp/max; exit 7'"), (7, ""))
        self.assertEqual(self.sh("cat /tmp/max")[1], "33")
        self.assertEqual(self.sh("systemd-run --quiet --unit=lasting sleep 100000; systemctl is-active lasting"), (0, "active"))
        inner = f"/sys/fs/cgroup{self.pod.cgroup_of('c')}/system.slice/lasting.service"
        self.assertTrue(os.path.isdir(inner))
        self.pod.call("Pause", id="c")
        self.pod.call("Resume", id="c")
        self.pod.call("Kill", id="c", signal=SIGRTMIN_3)
        self.assertEqual(self.pod.call("Wait", 90 * SLOW, id="c").get("exit_status", 0), 0)
        self.pod.call("Delete", id="c")
        self.assertFalse(os.path.exists(f"/sys/fs/cgroup{self.pod.cgroup_of('c')}"))

    def test_systemd_killed_with_all_it_runs(self):
        self.pod.run("c", [SYSTEMD, "--unit=basic.target"], change=self.change)
        self.wait_for_systemd()
        self.assertEqual(self.sh("systemd-run --quiet --unit=lasting sleep 100000"), (0, ""))
        with open(f"/sys/fs/cgroup{self.pod.cgroup_of('c')}/system.slice/lasting.service/cgroup.procs", encoding="ascii") as f:
            pid = int(f.read())
        self.pod.finish("c")
        self.assertFalse(shim.is_alive(pid))
        self.assertFalse(os.path.exists(f"/sys/fs/cgroup{self.pod.cgroup_of('c')}"))


if __name__ == "__main__":
    shim.require()
    if not os.path.exists("/sys/fs/cgroup/cgroup.procs"):
        print("SKIP: systemd in a container wants cgroup v2")
        sys.exit(shim.SKIP)
    if not os.path.isdir("/run/systemd/system") or not os.path.exists(SYSTEMD) or not shutil.which("systemctl"):
        print("SKIP: systemd does not run this machine (tests/run.sh --vm has one that it does)")
        sys.exit(shim.SKIP)
    unittest.main()
