#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Properties of config.json and process.json that Debian's runc does not know or gets wrong, each seen from inside; what is expected is said
by the runtime-spec (config.md, config-linux.md, runtime.md). Without containerd."""
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.procs")
ALL_CPUS = sorted(os.sched_getaffinity(0))
CAP_SYS_RESOURCE = 24


def has_cap(bit):
    with open("/proc/self/status", encoding="ascii") as f:
        return bool(int(next(line for line in f if line.startswith("CapPrm")).split()[1], 16) >> bit & 1)


def kernel_at_least(major, minor):
    return tuple(int(n) for n in os.uname().release.split(".")[:2] if n.isdigit()) >= (major, minor)


HIDDEN = set(os.environ.get("HUSK_NOSYS", "").split(","))  # by tests/lib/nosys.c
# A bind that stays a peer of the host's mount takes open_tree: there is no older way.
HAS_PEERS = not HIDDEN & {"open_tree", "move_mount"}


def need(*calls):
    """Skips a test of what has no older way, where one of the calls is hidden."""
    return unittest.skipIf(HIDDEN & set(calls), f"{', '.join(calls)} hidden")


def proc(**values):
    return lambda c: c["process"].update(values)


def linux(**values):
    return lambda c: c["linux"].update(values)


def mounted(destination, source, *options, kind="bind"):
    return lambda c: c["mounts"].append({"destination": destination, "type": kind, "source": source, "options": list(options)})


def namespace(*kinds):
    return lambda c: c["linux"]["namespaces"].extend({"type": k} for k in kinds)


def user_namespace(c):
    namespace("user")(c)
    c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}], gidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}])


def both(*changes):
    def change(c):
        for one in changes:
            one(c)
    return change


@contextlib.contextmanager
def host_mount(directory, *options):
    """A tmpfs of the host's on `directory`, gone at the end."""
    subprocess.run(["mount", "-t", "tmpfs", *(["-o", ",".join(options)] if options else []), "husk-test", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


class SpecTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.pod = shim.Pod()
        cls.addClassCleanup(cls.pod.close)
        cls.count = 0
        applets = subprocess.run([shim.BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for name in set(applets) - set(os.listdir(f"{cls.pod.rootfs}/bin")):
            os.symlink("busybox", f"{cls.pod.rootfs}/bin/{name}")
        os.mkdir(f"{cls.pod.rootfs}/host")

    def new_id(self):
        type(self).count += 1
        return f"s{self.count}"

    def said(self, script, change=None, expect_status=0, **kwargs):
        """What a container says that runs the script."""
        cid = self.new_id()
        self.pod.run(cid, ["sh", "-c", script], change=change, **kwargs)
        status = self.pod.call("Wait", id=cid)["exit_status"]
        self.pod.call("Delete", id=cid)
        out, errors = self.pod.output[cid].text(), "" if kwargs.get("terminal") else self.pod.errors[cid].text()
        self.assertEqual(status, expect_status, f"{out}{errors}")
        return out.replace("\r\n", "\n")

    def refused(self, change, text, script="true"):
        cid = self.new_id()
        with self.assertRaises(ttrpc.Error) as caught:
            self.pod.create(cid, ["sh", "-c", script], change=change)
        self.assertIn(text, caught.exception.message)

    def own_host_dir(self):
        directory = tempfile.mkdtemp(prefix="husk-spec-")
        os.chmod(directory, 0o755)
        self.addCleanup(shutil.rmtree, directory)
        return directory

    # ---- process ----
    def test_home_is_of_the_containers_passwd(self):
        passwd = f"{self.pod.rootfs}/etc/passwd"
        self.addCleanup(lambda: os.path.lexists(passwd) and os.unlink(passwd))
        with open(passwd, "w", encoding="ascii") as f:
            f.write("root:x:0:0::/root-of-the-image:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n")
        user = {"uid": 1000, "gid": 1000}
        self.assertEqual(self.said("echo $HOME"), "/root-of-the-image\n")
        self.assertEqual(self.said("echo $HOME", proc(user=user)), "/home/u\n")
        self.assertEqual(self.said("echo $HOME", proc(user={"uid": 4711, "gid": 0})), "/\n")
        self.assertEqual(self.said("echo $HOME", proc(env=["PATH=/bin", "HOME=/given"], user=user)), "/given\n")
        self.assertEqual(self.said("echo $HOME", proc(env=["PATH=/bin", "HOME="], user=user)), "/home/u\n")
        os.unlink(passwd)
        self.assertEqual(self.said("echo $HOME"), "/\n")
        os.mkfifo(passwd)  # must not be waited for
        self.assertEqual(self.said("echo $HOME"), "/\n")

    def test_env(self):
        said = self.said("env", proc(env=["PATH=/bin", "A=1", "B=2", "A=3", "EMPTY=", "EQ=a=b", "HOME=/h"]))
        self.assertEqual(sorted(line for line in said.splitlines() if not line.startswith(("SHLVL", "PWD"))),
                         ["A=3", "B=2", "EMPTY=", "EQ=a=b", "HOME=/h", "PATH=/bin"])
        self.refused(proc(env=["PATH=/bin", "NOVALUE"]), "process.env[1]")
        self.refused(proc(env=["PATH=/bin", "A=1\0B=2"]), "process.env[1]")
        self.refused(proc(env=["=x"]), "process.env[0]")
        self.refused(proc(args=["sh", "-c", "a\0b"]), "process.args[2]")

    def test_names(self):
        said = self.said("hostname; cat /proc/sys/kernel/domainname", lambda c: c.update(hostname="one", domainname="two.example"))
        self.assertEqual(said, "one\ntwo.example\n")
        self.refused(lambda c: (c.update(domainname="x"), c.pop("hostname"), c["linux"].update(namespaces=[{"type": "mount"}])), "domainname")

    def test_scheduler(self):
        nice, policy = 18, 40  # fields of proc_pid_stat(5), from 0
        fields = self.said("exec cat /proc/self/stat", proc(scheduler={"policy": "SCHED_BATCH", "nice": 5})).split()
        self.assertEqual((fields[nice], fields[policy]), ("5", "3"))
        fields = self.said("exec cat /proc/self/stat", proc(scheduler={"policy": "SCHED_IDLE"})).split()
        self.assertEqual(fields[policy], "5")
        fields = self.said("exec cat /proc/self/stat", proc(scheduler={"policy": "SCHED_OTHER", "nice": -3})).split()
        self.assertEqual((fields[nice], fields[policy]), ("-3", "0"))
        self.refused(proc(scheduler={"policy": "SCHED_FAST"}), "process.scheduler.policy")
        self.refused(proc(scheduler={"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}), "process.scheduler.flags[0]")
        self.refused(proc(scheduler={"policy": "SCHED_FIFO", "priority": 100}), "process.scheduler.priority")

    def test_io_priority(self):
        self.assertEqual(self.said("ionice -p $$", proc(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6})), "best-effort: prio 6\n")
        self.assertEqual(self.said("ionice -p $$", proc(ioPriority={"class": "IOPRIO_CLASS_IDLE"})), "idle\n")
        self.refused(proc(ioPriority={"class": "IOPRIO_CLASS_X"}), "process.ioPriority.class")
        self.refused(proc(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}), "process.ioPriority.priority")

    def test_personality(self):
        self.assertEqual(self.said("uname -m", linux(personality={"domain": "LINUX32"})), "i686\n")
        self.assertEqual(self.said("uname -m", linux(personality={"domain": "LINUX"})), os.uname().machine + "\n")
        self.refused(linux(personality={"domain": "BSD"}), "linux.personality.domain")

    def test_memory_policy(self):
        self.said("true", linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}))
        self.said("true", linux(memoryPolicy={"mode": "MPOL_DEFAULT", "nodes": ""}))
        if os.path.exists("/proc/self/numa_maps"):
            self.assertIn("bind:0", self.said("exec cat /proc/self/numa_maps", linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"})))
        self.refused(linux(memoryPolicy={"mode": "MPOL_X"}), "linux.memoryPolicy.mode")

    def test_rlimits(self):
        said = self.said("ulimit -n; ulimit -Hn; ulimit -c", proc(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                                                                           {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        self.assertEqual(said, "100\n200\n0\n")
        self.refused(proc(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), "process.rlimits[0].type")
        self.refused(proc(rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]), "process.rlimits[0]")
        self.refused(proc(rlimits=[{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2), "process.rlimits[1]")

    @unittest.skipUnless(has_cap(CAP_SYS_RESOURCE), "root has no CAP_SYS_RESOURCE here")
    def test_rlimits_above_the_shims_own(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
        try:
            pod = shim.Pod("low")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.addCleanup(pod.close)
        limits = proc(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 4000, "hard": 5000}])
        for cid, change in (("plain", limits), ("userns", both(limits, user_namespace))):
            pod.run(cid, ["sh", "-c", "ulimit -n; ulimit -Hn; exec sleep 1000"], change=change)
            pod.output[cid].wait_for(b"4000\n5000\n")
            pod.exec(cid, f"{cid}-x", ["sh", "-c", "ulimit -n; ulimit -Hn"], rlimits=[{"type": "RLIMIT_NOFILE", "soft": 4001, "hard": 5001}])
            pod.call("Start", id=cid, exec_id=f"{cid}-x")
            pod.output[f"{cid}-x"].wait_for(b"4001\n5001\n")

    def test_oom_score_adj(self):
        self.assertEqual(self.said("cat /proc/self/oom_score_adj", proc(oomScoreAdj=700)), "700\n")
        self.refused(proc(oomScoreAdj=1001), "process.oomScoreAdj")

    def test_an_exec_has_of_its_container_what_it_does_not_say(self):
        """As with runc: else it would have the shim's own limits, score and mask."""
        cid, cpu = self.new_id(), str(ALL_CPUS[-1])
        self.pod.run(cid, ["sleep", "1000"], change=proc(
            oomScoreAdj=700, user={"uid": 0, "gid": 0, "umask": 0o27}, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
            scheduler={"policy": "SCHED_BATCH", "nice": 3}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}, execCPUAffinity={"final": cpu}))
        script = ("cat /proc/self/oom_score_adj; umask; ulimit -n; ulimit -Hn; busybox ionice; "
                  "busybox sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status; busybox awk '{print $19, $41}' /proc/self/stat")  # nice, policy
        own = {"oomScoreAdj": 800, "user": {"uid": 0, "gid": 0, "umask": 0o77}, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
               "scheduler": {"policy": "SCHED_OTHER", "nice": 4}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 2},
               "execCPUAffinity": {"final": str(ALL_CPUS[0])}}
        for more, expected in (({}, f"700\n0027\n100\n200\nbest-effort: prio 6\n{cpu}\n3 {os.SCHED_BATCH}\n"),
                               (own, f"800\n0077\n50\n60\nbest-effort: prio 2\n{ALL_CPUS[0]}\n4 {os.SCHED_OTHER}\n")):
            eid = self.new_id()
            self.pod.exec(cid, eid, ["sh", "-c", script], **more)
            self.pod.call("Start", id=cid, exec_id=eid)
            self.assertEqual(self.pod.output[eid].text(), expected, self.pod.errors[eid].text())
        self.pod.finish(cid)

    def test_affinity_of_execs_is_checked_at_the_create(self):
        self.refused(proc(execCPUAffinity={"initial": "0", "final": "many"}), "process.execCPUAffinity.final: not a list of CPUs")
        self.refused(proc(execCPUAffinity={"initial": "3-1"}), "process.execCPUAffinity.initial: not a list of CPUs")

    def test_console_size(self):
        self.assertEqual(self.said("stty size", proc(terminal=True, consoleSize={"height": 33, "width": 77}), terminal=True), "33 77\n")

    def test_unknown_capabilities_are_warned_of(self):
        caps = {k: ["CAP_CHOWN", "CAP_OF_TOMORROW", "chown"] for k in ("bounding", "effective", "permitted")}
        self.assertIn("CapEff:\t0000000000000001\n", self.said("grep CapEff /proc/self/status", proc(capabilities=caps)))

    def test_capabilities_that_nobody_here_has_are_no_error(self):
        # config.md: "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be granted"
        every = [f"CAP_{n}" for n in "CHOWN SYS_RESOURCE SYS_ADMIN SYS_BOOT MKNOD AUDIT_READ BPF PERFMON".split()]
        self.said("true", proc(capabilities={k: every for k in ("bounding", "effective", "permitted", "inheritable", "ambient")}))

    def test_affinity_is_not_the_shims(self):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {ALL_CPUS[0]})
        try:
            pod = shim.Pod("pinned")
        finally:
            os.sched_setaffinity(0, before)
        self.addCleanup(pod.close)
        pod.run("a", ["sh", "-c", "busybox grep Cpus_allowed_list /proc/self/status; exec sleep 1000"])
        with open("/proc/self/status", encoding="ascii") as f:
            everything = next(line for line in f if line.startswith("Cpus_allowed_list")).encode()
        pod.output["a"].wait_for(everything)
        for n, (given, want) in enumerate((({}, everything), ({"execCPUAffinity": {"initial": str(ALL_CPUS[0])}}, everything),
                                           ({"execCPUAffinity": {"final": str(ALL_CPUS[-1])}}, b"Cpus_allowed_list:\t%d\n" % ALL_CPUS[-1]))):
            pod.exec("a", f"x{n}", ["busybox", "grep", "Cpus_allowed_list", "/proc/self/status"], **given)
            pod.call("Start", id="a", exec_id=f"x{n}")
            pod.output[f"x{n}"].wait_for(want)

    # ---- process is absent (runtime.md, "Start") ----
    def test_no_process_is_an_error_of_start(self):
        cid = self.new_id()
        self.pod.create(cid, [], change=lambda c: c.pop("process"))
        self.assertEqual(self.pod.call("State", id=cid)["status"], 1)
        with self.assertRaises(ttrpc.Error) as caught:
            self.pod.call("Start", id=cid)
        self.assertIn("process: config.json has none to start", caught.exception.message)
        self.pod.call("Wait", id=cid)
        self.assertEqual(self.pod.call("State", id=cid)["status"], 3)
        self.pod.call("Delete", id=cid)

    # ---- a filter may forbid what the set-up itself asks the kernel ----
    def test_filter_without_the_set_ups_own_calls(self):
        filtered = linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getcwd", "faccessat2", "faccessat", "access", "close_range"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]})
        for nnp in (False, True):
            self.assertEqual(self.said("echo up", both(filtered, proc(noNewPrivileges=nnp, cwd="/tmp"))), "up\n")

    def test_filter_that_lets_no_failure_be_told(self):
        """The program cannot be run, and the filter that is loaded by then allows no message: the Start fails all the same."""
        def change(c):
            both(linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["sendmsg", "sendto", "sendmmsg", "write"], "action": "SCMP_ACT_ERRNO"}]}), proc(noNewPrivileges=True))(c)
        with open(f"{self.pod.rootfs}/bin/empty", "w", encoding="ascii") as f:
            os.fchmod(f.fileno(), 0o755)
        for cid in (self.new_id(), self.new_id()):
            self.pod.create(cid, ["/bin/empty"], change=change)
            with self.assertRaises(ttrpc.Error) as caught:
                self.pod.call("Start", id=cid)
            self.assertIn("exec /bin/empty: exec format error", caught.exception.message)
            self.pod.call("Delete", id=cid)

    # ---- mounts ----
    def mount_lines(self, change, where="/host"):
        """{mount point: (flags, propagation fields)} of the container's mounts on and below `where`."""
        found = {}
        for line in self.said("cat /proc/self/mountinfo", change).splitlines():
            words = line.split()
            if words[4] == where or words[4].startswith(where + "/"):
                found[words[4]] = set(words[5].split(",")), [w.split(":")[0] for w in words[6:words.index("-")]]
        return found

    @need("mount_setattr")
    def test_recursive_flags(self):
        if not kernel_at_least(5, 12):
            self.skipTest("mount_setattr is of Linux 5.12")
        directory = self.own_host_dir()
        with host_mount(directory):
            os.mkdir(f"{directory}/sub")
            with host_mount(f"{directory}/sub"):
                for words, top, sub in ((["rro"], "ro", "ro"), (["ro"], "ro", "rw"), (["rnosuid"], "nosuid", "nosuid"), (["rnodev"], "nodev", "nodev"),
                                        (["rnoexec"], "noexec", "noexec"), (["rnoatime"], "noatime", "noatime"), (["rnodiratime"], "nodiratime", "nodiratime"),
                                        (["rnoatime", "rrelatime"], "relatime", "relatime")):
                    found = self.mount_lines(mounted("/host", directory, "rbind", *words))
                    self.assertIn(top, found["/host"][0], words)
                    self.assertIn(sub, found["/host/sub"][0], words)
                found = self.mount_lines(mounted("/host", directory, "rbind", "rstrictatime"))
                self.assertFalse({"noatime", "relatime"} & found["/host/sub"][0])
                os.symlink("target", f"{directory}/sub/link")
                with open(f"{directory}/sub/target", "w", encoding="ascii") as f:
                    f.write("seen\n")
                self.assertEqual(self.said("cat /host/sub/link", mounted("/host", directory, "rbind")), "seen\n")
                if kernel_at_least(5, 14):
                    self.said("! cat /host/sub/link", mounted("/host", directory, "rbind", "rnosymfollow"))

    @need("mount_setattr")
    def test_recursive_flags_are_taken_back(self):
        directory = self.own_host_dir()
        with host_mount(directory):
            os.mkdir(f"{directory}/sub")
            with host_mount(f"{directory}/sub", "nosuid", "nodev", "noexec"):
                found = self.mount_lines(mounted("/host", directory, "rbind", "rsuid", "rdev", "rexec"))
                self.assertFalse({"nosuid", "nodev", "noexec"} & found["/host/sub"][0])
                found = self.mount_lines(mounted("/host", directory, "rbind"))
                self.assertTrue({"nosuid", "nodev", "noexec"} <= found["/host/sub"][0])

    def test_propagation_of_binds(self):
        directory = self.own_host_dir()
        with host_mount(directory):
            subprocess.run(["mount", "--make-shared", directory], check=True)
            os.mkdir(f"{directory}/sub")
            with host_mount(f"{directory}/sub"):
                subprocess.run(["mount", "--make-shared", f"{directory}/sub"], check=True)
                for words, top, sub in ((["private"], [], ["master"]), (["rprivate"], [], []), (["slave"], ["master"], ["master"]),
                                        (["rslave"], ["master"], ["master"]), (["rshared"], ["shared", "master"], ["shared", "master"]),
                                        (["unbindable"], ["unbindable"], ["master"]), (["runbindable"], ["unbindable"], ["unbindable"])):
                    found = self.mount_lines(mounted("/host", directory, "rbind", *words))
                    self.assertEqual((found["/host"][1], found["/host/sub"][1]), (top, sub), words)
                if HAS_PEERS:
                    found = self.mount_lines(both(mounted("/host", directory, "rbind", "rshared"), linux(rootfsPropagation="rshared")))
                    self.assertEqual((found["/host"][1], found["/host/sub"][1]), (["shared"], ["shared"]))

    def test_shared_reaches_the_host_and_slave_does_not(self):
        """Both words are needed, as with runc: containerd writes both for Kubernetes' Bidirectional."""
        directory = self.own_host_dir()
        with host_mount(directory):
            subprocess.run(["mount", "--make-shared", directory], check=True)
            rows = [("rslave", "", False), ("rprivate", "", False), ("rshared", "", False), *([("rshared", "rshared", True)] if HAS_PEERS else [])]
            for word, root, arrives in rows:
                os.makedirs(f"{directory}/{word}", exist_ok=True)
                caps = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
                cid = self.new_id()
                self.pod.run(cid, ["sh", "-c", f"mount -t tmpfs x /host/{word} && echo up && exec sleep 1000"],
                             change=both(mounted("/host", directory, "rbind", word), proc(capabilities=caps), linux(rootfsPropagation=root)))
                self.pod.output[cid].wait_for(b"up\n")
                self.assertEqual(os.path.ismount(f"{directory}/{word}"), arrives, (word, root))
                self.pod.finish(cid)
                if arrives:
                    subprocess.run(["umount", f"{directory}/{word}"], check=True)

    @unittest.skipIf(HAS_PEERS, "open_tree is there")
    def test_shared_without_open_tree_is_refused(self):
        self.refused(both(mounted("/host", self.own_host_dir(), "rbind", "rshared"), linux(rootfsPropagation="rshared")), "shared with the host (Linux 5.2)")

    def test_rootfs_propagation(self):
        for word, want in (("private", []), ("rprivate", []), ("slave", []), ("rslave", []), ("shared", ["shared"]), ("rshared", ["shared"]),
                           ("unbindable", ["unbindable"]), ("runbindable", ["unbindable"])):
            root = self.mount_lines(linux(rootfsPropagation=word), "/")["/"]
            self.assertEqual([w for w in root[1] if w != "master"], want, word)
        self.refused(linux(rootfsPropagation="sideways"), "linux.rootfsPropagation")

    @need("open_tree", "move_mount")
    def test_mounts_are_listed_in_order(self):
        directory = self.own_host_dir()
        changes = both(mounted("/host/1", "tmpfs", kind="tmpfs"), mounted("/host/2", directory, "rbind", "rshared"), mounted("/host/3", "tmpfs", kind="tmpfs"),
                       mounted("/host/4", directory, "bind", "ro"))
        said = self.said("cat /proc/self/mountinfo", changes)
        points = [line.split()[4] for line in said.splitlines()]
        if kernel_at_least(6, 15):
            self.assertEqual([p for p in points if p.startswith("/host/")], ["/host/1", "/host/2", "/host/3", "/host/4"])

    def test_tmpfs_takes_its_directorys_mode(self):
        os.makedirs(f"{self.pod.rootfs}/moded", exist_ok=True)
        os.chmod(f"{self.pod.rootfs}/moded", 0o750)
        self.assertEqual(self.said("stat -c %a /moded", mounted("/moded", "tmpfs", kind="tmpfs")), "750\n")
        self.assertEqual(self.said("stat -c %a /moded", mounted("/moded", "tmpfs", "mode=1777", kind="tmpfs")), "1777\n")
        self.assertEqual(self.said("stat -c %a /made/new", mounted("/made/new", "tmpfs", kind="tmpfs")), "1777\n")

    def test_tmpcopyup(self):
        os.makedirs(f"{self.pod.rootfs}/up/d", exist_ok=True)
        with open(f"{self.pod.rootfs}/up/d/f", "w", encoding="ascii") as f:
            f.write("kept\n")
        os.chmod(f"{self.pod.rootfs}/up/d/f", 0o640)
        said = self.said("cat /up/d/f; stat -c %a /up/d/f; echo x >/up/d/f; stat -f -c %T /up", mounted("/up", "tmpfs", "tmpcopyup", kind="tmpfs"))
        self.assertEqual(said, "kept\n640\ntmpfs\n")
        with open(f"{self.pod.rootfs}/up/d/f", encoding="ascii") as f:
            self.assertEqual(f.read(), "kept\n")

    def test_sources_below_the_bundle(self):
        def change(c):
            cid = f"s{self.count}"
            os.makedirs(f"{self.pod.dir}/{cid}/vol", exist_ok=True)
            with open(f"{self.pod.dir}/{cid}/vol/f", "w", encoding="ascii") as f:
                f.write("of the bundle\n")
            mounted("/host", "vol", "bind")(c)
            mounted("/etc/made/here", "vol/f", "bind")(c)
        self.assertEqual(self.said("cat /host/f /etc/made/here", change), "of the bundle\nof the bundle\n")

    def test_locked_flags_of_a_user_namespace(self):
        directory = self.own_host_dir()
        with host_mount(directory, "nosuid", "nodev", "noexec", "mode=755"):
            found = self.mount_lines(both(user_namespace, mounted("/host", directory, "rbind", "ro")))
            self.assertTrue({"ro", "nosuid", "nodev", "noexec"} <= found["/host"][0])

    @need("mount_setattr", "open_tree", "move_mount")
    def test_mapped_mounts_without_a_user_namespace(self):
        if not kernel_at_least(6, 3):
            self.skipTest("a tmpfs can be mapped since Linux 6.3")
        directory = self.own_host_dir()
        maps = {f"{k}Mappings": [{"containerID": 0, "hostID": 5000, "size": 1000}] for k in ("uid", "gid")}

        def change(c):
            c["mounts"].append({"destination": "/host", "type": "bind", "source": directory, "options": ["bind"], **maps})
        with host_mount(directory):
            with open(f"{directory}/f", "w", encoding="ascii"):
                pass
            self.assertEqual(self.said("stat -c %u:%g /host/f", change), "5000:5000\n")

    # ---- namespaces ----
    def test_time_namespace(self):
        offsets = {"monotonic": {"secs": 7200, "nanosecs": 5}, "boottime": {"secs": 864000}}
        said = self.said("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime", both(namespace("time"), linux(timeOffsets=offsets)))
        self.assertRegex(said, r"monotonic\s+7200\s+5\nboottime\s+864000\s+0\n")
        with open("/proc/uptime", encoding="ascii") as f:
            self.assertLess(abs(int(said.split()[-1]) - 864000 - float(f.read().split()[0])), 60)
        self.refused(linux(timeOffsets=offsets), "linux.timeOffsets")

    def test_namespaces_by_path(self):
        for kind, file in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup"), ("time", "time"), ("user", "user")):
            def change(c, kind=kind, file=file):
                c.pop("hostname", None)
                c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != kind] + [{"type": kind, "path": f"/proc/self/ns/{file}"}]
                if kind == "user":  # of our own: the kernel lets nobody join what he is in
                    c["linux"]["namespaces"][-1]["path"] = f"/proc/{keeper}/ns/user"
            if kind == "user":
                cid = self.new_id()
                keeper = self.pod.run(cid, ["sleep", "1000"], change=user_namespace)
                with open(f"/proc/{keeper}/uid_map", encoding="ascii") as f:
                    self.assertEqual(self.said("cat /proc/self/uid_map", change).split(), f.read().split())
                self.pod.finish(cid)
                continue
            self.assertEqual(self.said(f"readlink /proc/self/ns/{file}", change), os.readlink(f"/proc/self/ns/{file}") + "\n")

    @need("open_tree", "move_mount")
    def test_user_namespace_that_is_not_let_into_the_bundle(self):
        os.chmod(self.pod.dir, 0o700)
        self.addCleanup(os.chmod, self.pod.dir, 0o711)
        self.assertEqual(self.said("cat /proc/self/uid_map; ls -d /bin/busybox", user_namespace).split(), ["0", "100000", "65536", "/bin/busybox"])

    @need("open_tree", "move_mount")
    def test_no_mount_namespace(self):
        """config-linux.md, "namespaces": one that is not listed is the runtime's own. The root is the container's all the same."""
        before = open("/proc/self/mountinfo", encoding="utf-8").read()
        cid = self.new_id()
        self.pod.run(cid, ["sh", "-c", "echo $(ls -d /proc/1 /dev/null) $(cat /proc/sys/kernel/hostname); exec sleep 1000"],
                     change=lambda c: c["linux"].update(namespaces=[{"type": t} for t in ("pid", "uts")]))
        pid = self.pod.call("State", id=cid)["pid"]
        self.pod.output[cid].wait_for(b"/dev/null /proc/1 husk\n")
        self.assertEqual(os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink("/proc/self/ns/mnt"))
        self.pod.exec(cid, "n1", ["sh", "-c", "ls -d /bin/busybox /proc/1; ls / | wc -l"])
        self.pod.call("Start", id=cid, exec_id="n1")
        self.pod.call("Wait", id=cid, exec_id="n1")
        self.assertEqual(self.pod.output["n1"].text().splitlines()[:2], ["/bin/busybox", "/proc/1"])
        self.pod.call("Delete", id=cid, exec_id="n1")
        self.assertEqual(open("/proc/self/mountinfo", encoding="utf-8").read(), before, "nothing of it is the host's")
        self.pod.finish(cid)
        self.refused(lambda c: (user_namespace(c), c["linux"].update(namespaces=[{"type": "user"}, {"type": "pid"}, {"type": "uts"}])), "mount namespace")

    # ---- exec ----
    def test_exec_in_created_state(self):
        cid = self.new_id()
        self.pod.create(cid, ["sleep", "1000"])
        self.pod.exec(cid, "early", ["sh", "-c", "echo early; cat /proc/1/comm"])
        self.pod.call("Start", id=cid, exec_id="early")
        self.assertEqual(self.pod.call("Wait", id=cid, exec_id="early")["exit_status"], 0)
        self.assertEqual(self.pod.output["early"].text().splitlines()[0], "early")
        self.assertEqual(self.pod.call("State", id=cid)["status"], 1)
        self.pod.call("Start", id=cid)
        self.pod.finish(cid)

    def test_frozen_ancestor_is_told(self):
        """Neither an init nor an exec could say a word in there: refused at once, not after a deadline."""
        top = f"/sys/fs/cgroup/{'' if UNIFIED else 'freezer'}/husk-test-frozen-{os.getpid()}"
        file, freeze, thaw = ("cgroup.freeze", "1", "0") if UNIFIED else ("freezer.state", "FROZEN", "THAWED")

        def below(c):
            c["linux"]["cgroupsPath"] = f"/{os.path.basename(top)}/c"
        cid = self.new_id()
        self.pod.run(cid, ["sleep", "1000"], change=below)
        self.pod.exec(cid, "frozen", ["true"])

        def write(word):
            with open(f"{top}/{file}", "w", encoding="ascii") as f:
                f.write(word)
        write(freeze)
        if UNIFIED:  # takes effect a moment later
            shim.eventually(lambda: "frozen 1" in open(f"{top}/c/cgroup.events", encoding="ascii").read(), what="freeze")
        try:
            with self.assertRaises(ttrpc.Error) as caught:
                self.pod.call("Start", id=cid, exec_id="frozen")
            self.assertIn("frozen", caught.exception.message)

            def beside(c):
                c["linux"]["cgroupsPath"] = f"/{os.path.basename(top)}/d"
            self.refused(beside, "frozen")
        finally:
            write(thaw)
        self.pod.exec(cid, "thawed", ["true"])
        self.pod.call("Start", id=cid, exec_id="thawed")
        self.assertEqual(self.pod.call("Wait", id=cid, exec_id="thawed")["exit_status"], 0)
        self.pod.finish(cid)

    @unittest.skipUnless(UNIFIED, "only cgroup v2 forbids processes in inner cgroups")
    def test_exec_beside_cgroups_of_the_containers_own(self):
        cid = self.new_id()
        self.pod.run(cid, ["sh", "-c", "cd /sys/fs/cgroup && mkdir init.scope && echo 1 >init.scope/cgroup.procs && "
                           "echo +memory +pids >cgroup.subtree_control && echo up && exec sleep 1000"],
                     change=both(namespace("cgroup"), mounted("/sys/fs/cgroup", "cgroup", "rw", kind="cgroup")))
        self.pod.output[cid].wait_for(b"up\n")
        self.pod.exec(cid, "inner", ["cat", "/proc/self/cgroup"])
        self.pod.call("Start", id=cid, exec_id="inner")
        self.assertEqual(self.pod.call("Wait", id=cid, exec_id="inner")["exit_status"], 0)
        self.assertEqual(self.pod.output["inner"].text(), "0::/init.scope\n")
        self.pod.finish(cid)

    # ---- the features document ----
    def test_features_are_probed(self):
        out = subprocess.run([shim.SHIM, "-info"], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
        document = json.loads(ttrpc.decode("RuntimeInfo", out)["features"]["value"])
        has_setattr = kernel_at_least(5, 12) and "mount_setattr" not in HIDDEN
        self.assertEqual(document["linux"]["mountExtensions"]["idmap"]["enabled"], has_setattr)
        for word in ("rro", "rnosuid", "ridmap", "idmap", "rstrictatime"):
            self.assertEqual(word in document["mountOptions"], has_setattr, word)
        for word in ("ro", "rbind", "rprivate", "rslave", "tmpcopyup"):
            self.assertIn(word, document["mountOptions"])
        known = {"network" if f == "net" else "mount" if f == "mnt" else f for f in os.listdir("/proc/self/ns") if "_" not in f}
        self.assertEqual(set(document["linux"]["namespaces"]), known)
        with open("/proc/filesystems", encoding="ascii") as f:
            kinds = f.read().split()
        self.assertEqual((document["linux"]["cgroup"]["v1"], document["linux"]["cgroup"]["v2"]), ("cgroup" in kinds, "cgroup2" in kinds))

    # ---- values and fields ----
    def test_unknown_values_are_told_by_their_path(self):
        for change, text in (
                (lambda c: c["linux"]["namespaces"].append({"type": "moon"}), "linux.namespaces[5].type"),
                (lambda c: c["linux"]["namespaces"].append({"type": "pid"}), "linux.namespaces[5].type"),
                (linux(devices=[{"type": "z", "path": "/dev/z", "major": 1, "minor": 1}]), "linux.devices[0].type"),
                (linux(seccomp={"defaultAction": "SCMP_ACT_MAYBE"}), "linux.seccomp.defaultAction"),
                (linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}), "linux.seccomp.architectures[0]"),
                (linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}), "linux.seccomp.flags[0]"),
                (linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_X"}]}]}),
                 "linux.seccomp.syscalls[0].args[0].op"),
                (linux(timeOffsets={"realtime": {"secs": 1}}), "linux.timeOffsets.realtime"),
                (lambda c: c.update(ociVersion="2.0.0"), "ociVersion"),
                (lambda c: c["process"].update(cwd="relative"), "process.cwd"),
                (lambda c: c["process"]["user"].update(uid="0"), "process.user.uid"),
                (lambda c: c["process"]["user"].update(uid=-1), "process.user.uid")):
            self.refused(change, text)

    def test_unknown_fields_are_ignored(self):
        def change(c):
            for part in (c, c["process"], c["process"]["user"], c["root"], c["linux"], c["linux"]["resources"], c["mounts"][0],
                         c["linux"]["namespaces"][0]):
                part["of.tomorrow"] = {"deep": [1, {"er": None}]}
            c["ociVersion"] = "1.99.0-dev"
        self.assertEqual(self.said("echo fine", change), "fine\n")

    def test_config_is_read_at_create(self):
        cid = self.new_id()
        self.pod.create(cid, ["sh", "-c", "echo first"])
        with open(f"{self.pod.bundles[cid]}/config.json", "w", encoding="ascii") as f:
            json.dump({}, f)
        self.pod.call("Start", id=cid)
        self.pod.call("Wait", id=cid)
        self.pod.call("Delete", id=cid)
        self.assertEqual(self.pod.output[cid].text(), "first\n")


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
