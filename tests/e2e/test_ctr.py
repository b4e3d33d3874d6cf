#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every `ctr task` verb through a real containerd. Each case runs with husk and with the runc shim: what a user sees must be the same.
(HUSK_TEST_RUNTIMES=io.containerd.husk.v2 leaves the peer out.)"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
from daemon import BUSYBOX  # pylint: disable=wrong-import-position

RUNTIMES = os.environ.get("HUSK_TEST_RUNTIMES", f"{daemon.HUSK} {daemon.RUNC}").split()


def each_runtime(test):
    def run(self):
        for runtime in RUNTIMES:
            with self.subTest(runtime=runtime):
                self.runtime, self.tag = runtime, runtime.split(".")[2]
                test(self)
    run.__doc__ = test.__doc__
    return run


def processes_of(directory):
    """Of that daemon: what names its directory (itself, its shims), and what is in a cgroup of ctr's. Others of the machine come and go as they like."""
    found = []
    for pid in (d for d in os.listdir("/proc") if d.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f, open(f"/proc/{pid}/cgroup", encoding="utf-8") as g:
                if directory.encode() in f.read() or ":/default/" in g.read():
                    found.append(int(pid))
        except OSError:
            continue
    return found


def in_terminal(command, keys=b"", seconds=20):
    """Runs the command on a terminal of ours, types `keys` once it has printed a prompt ('$ ' or '# ') and gives what it showed and its code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    shown, typed, end = b"", not keys, time.monotonic() + seconds * daemon.SLOW
    while time.monotonic() < end:
        if fd in select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        if not typed and re.search(rb"[$#] ", shown):
            os.write(fd, keys)
            typed = True
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(fd)
    return shown.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class CtrTest(unittest.TestCase):
    runtime, tag = daemon.HUSK, "husk"

    @classmethod
    def setUpClass(cls):
        cls.daemon = daemon.Daemon()
        cls.addClassCleanup(daemon.remove_cgroups, "default")  # `ctr run` puts containers into /default/ID
        cls.addClassCleanup(lambda: cls.daemon.__exit__(None, None, None))
        cls.daemon.start()
        cls.daemon.import_images()

    def ctr(self, *args, **kw):
        return self.daemon.ctr(*args, **kw)

    def run_args(self, name, *flags):
        return ["run", "--runtime", self.runtime, *flags, BUSYBOX, f"{name}-{self.tag}"]

    def start(self, name, *command, flags=()):
        """A detached container, removed at the end of the test."""
        cid = f"{name}-{self.tag}"
        self.ctr(*self.run_args(name, "-d", *flags), *command)
        self.addCleanup(self.remove, cid)
        return cid

    def remove(self, cid):
        self.ctr("tasks", "rm", "-f", cid, check=False)
        self.ctr("containers", "rm", cid, check=False)

    def task(self, cid):
        for line in self.ctr("tasks", "ls").stdout.splitlines()[1:]:
            name, pid, status = line.split()
            if name == cid:
                return int(pid), status
        return None

    def until(self, cid, status, seconds=10):
        end = time.monotonic() + seconds * daemon.SLOW
        while time.monotonic() < end:
            if (self.task(cid) or (0, None))[1] == status:
                return
            time.sleep(0.02)
        self.fail(f"{cid} is {self.task(cid)}, not {status}")

    @each_runtime
    def test_run_output_and_exit_code(self):
        r = self.ctr(*self.run_args("run", "--rm"), "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (3, "out\n", "err\n"))

    @each_runtime
    def test_signal_exit_codes(self):
        for name, code in (("SEGV", 139), ("TERM", 143), ("KILL", 137)):
            r = self.ctr(*self.run_args(f"sig{name.lower()}", "--rm"), "sh", "-c", f"sh -c 'kill -{name} $$'; exit $?", check=False)
            self.assertEqual(r.returncode, code, name)

    @each_runtime
    def test_stdin_reaches_its_end(self):
        data = "".join(f"line {i}\n" for i in range(20000))
        r = self.ctr(*self.run_args("stdin", "--rm"), "wc", "-c", input=data)
        self.assertEqual(r.stdout.strip(), str(len(data)))

    @each_runtime
    def test_big_output_is_whole(self):
        for size in (65535, 65536, 65537, 4 << 20):
            r = self.ctr(*self.run_args(f"big{size}", "--rm"), "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x")
            self.assertEqual(len(r.stdout), size)

    @each_runtime
    def test_terminal(self):
        command = ["ctr", "-a", self.daemon.address, *self.run_args("tty", "--rm", "-t"), "sh"]
        shown, code = in_terminal(command, b"tty; stty size >/dev/null && echo size-ok; echo $((40+2)); exit 9\n")
        self.assertIn("/dev/pts/0", shown)
        self.assertIn("size-ok", shown)
        self.assertIn("42", shown)
        self.assertEqual(code, 9)

    def test_terminal_last_bytes(self):
        # Without the peer: on a busy machine containerd 1.6's own shim loses some of them (5 runs of 40).
        command = ["ctr", "-a", self.daemon.address, *self.run_args("ttylast", "--rm", "-t"), "sh", "-c", "printf %65536d 1"]
        shown, code = in_terminal(command)
        self.assertEqual((len(shown), code), (65536, 0))

    @each_runtime
    def test_exec(self):
        cid = self.start("exec", "sleep", "1000")
        r = self.ctr("tasks", "exec", "--exec-id", "e1", cid, "sh", "-c", "echo out; echo err >&2; exit 4", check=False)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (4, "out\n", "err\n"))
        r = self.ctr("tasks", "exec", "--exec-id", "e2", cid, "wc", "-c", input="x" * 300000)
        self.assertEqual(r.stdout.strip(), "300000")
        r = self.ctr("tasks", "exec", "--exec-id", "e3", "--cwd", "/tmp", "--user", "1000", cid, "sh", "-c", "pwd; id -u")
        self.assertEqual(r.stdout.split(), ["/tmp", "1000"])

    @each_runtime
    def test_exec_terminal(self):
        cid = self.start("exectty", "sleep", "1000")
        command = ["ctr", "-a", self.daemon.address, "tasks", "exec", "-t", "--exec-id", "t1", cid, "sh"]
        shown, code = in_terminal(command, b"tty; echo $((40+2)); exit 6\n")
        self.assertIn("/dev/pts/", shown)
        self.assertIn("42", shown)
        self.assertEqual(code, 6)

    @each_runtime
    def test_exec_of_a_missing_program(self):
        cid = self.start("execmiss", "sleep", "1000")
        for program, words in (("nosuch", r"executable file not found in \$PATH"), ("/no/such", "no such file or directory")):
            r = self.ctr("tasks", "exec", "--exec-id", "x", cid, program, check=False)
            self.assertNotEqual(r.returncode, 0)
            self.assertRegex(r.stderr, words)
        self.assertEqual(self.ctr("tasks", "exec", "--exec-id", "x", cid, "echo", "well").stdout, "well\n")

    @each_runtime
    def test_run_of_a_missing_program(self):
        r = self.ctr(*self.run_args("miss"), "nosuch", check=False)
        self.addCleanup(self.remove, f"miss-{self.tag}")
        self.assertNotEqual(r.returncode, 0)
        self.assertRegex(r.stderr, r"exec: \"nosuch\": executable file not found in \$PATH")
        self.assertIsNone(self.task(f"miss-{self.tag}"))

    @each_runtime
    def test_kill(self):
        for name, code in (("SIGKILL", 137), ("SIGUSR1", 138)):
            cid = self.start(f"kill{name.lower()}", "sh", "-c", "trap 'exit 138' USR1; while :; do sleep 0.05; done")
            time.sleep(0.2)
            self.ctr("tasks", "kill", "-s", name, cid)
            self.until(cid, "STOPPED")
            r = self.ctr("tasks", "rm", cid, check=False)
            self.assertIn(str(code), r.stdout + r.stderr)
            self.assertIsNone(self.task(cid))

    @each_runtime
    def test_pause_resume(self):
        cid = self.start("pause", "sh", "-c", "while :; do echo x; sleep 0.02; done", flags=["--null-io"])
        pid, _ = self.task(cid)
        self.ctr("tasks", "pause", cid)
        self.assertEqual(self.task(cid), (pid, "PAUSED"))
        r = self.ctr("tasks", "exec", "--exec-id", "p", cid, "true", check=False)
        self.assertIn("paused", r.stderr)
        self.ctr("tasks", "resume", cid)
        self.assertEqual(self.task(cid), (pid, "RUNNING"))
        self.assertEqual(self.ctr("tasks", "exec", "--exec-id", "q", cid, "echo", "awake").stdout, "awake\n")
        self.ctr("tasks", "pause", cid)
        self.ctr("tasks", "kill", "-s", "SIGKILL", cid)
        self.until(cid, "STOPPED")

    @each_runtime
    def test_ps_and_ls(self):
        cid = self.start("ps", "sh", "-c", "sleep 1000 & exec sleep 1001")
        time.sleep(0.2)
        pids = sorted(int(line.split()[0]) for line in self.ctr("tasks", "ps", cid).stdout.splitlines()[1:])
        self.assertEqual(len(pids), 2)
        self.assertIn(self.task(cid)[0], pids)
        self.assertEqual(self.task(cid)[1], "RUNNING")

    @each_runtime
    def test_metrics(self):
        cid = self.start("metrics", "sleep", "1000", flags=["--memory-limit", "67108864"])
        out = self.ctr("tasks", "metrics", "--format", "json", cid).stdout
        self.assertIn("67108864", out)

    @each_runtime
    def test_create_start_attach_wait(self):
        cid = f"steps-{self.tag}"
        self.ctr("containers", "create", "--runtime", self.runtime, BUSYBOX, cid, "ls", "/nosuch", "/etc/passwd")
        self.addCleanup(self.remove, cid)
        r = self.ctr("tasks", "start", cid, check=False)
        self.assertEqual((r.returncode, r.stdout), (1, "/etc/passwd\n"))

    @each_runtime
    def test_delete_running_is_refused(self):
        cid = self.start("delrun", "sleep", "1000")
        self.assertNotEqual(self.ctr("tasks", "rm", cid, check=False).returncode, 0)
        self.assertEqual(self.task(cid)[1], "RUNNING")

    @each_runtime
    def test_same_id_again(self):
        for _ in range(3):
            self.assertEqual(self.ctr(*self.run_args("again", "--rm"), "echo", "hi").stdout, "hi\n")

    @each_runtime
    def test_net_host_env_cwd_user_readonly_mount(self):
        r = self.ctr(*self.run_args("flags", "--rm", "--net-host", "--env", "A=1", "--cwd", "/tmp", "--read-only", "--mount",
                                    f"type=bind,src={self.daemon.dir},dst=/host,options=rbind:ro"),
                     "sh", "-c", "echo $A; pwd; touch /x 2>&1; touch /host/x 2>&1; readlink /proc/self/ns/net")
        lines = r.stdout.splitlines()
        self.assertEqual(lines[:2], ["1", "/tmp"])
        self.assertEqual(sum("Read-only file system" in line for line in lines), 2)
        self.assertEqual(lines[-1], os.readlink("/proc/self/ns/net"))

    @each_runtime
    def test_privileged(self):
        r = self.ctr(*self.run_args("priv", "--rm", "--privileged"), "grep", "CapEff", "/proc/self/status")
        with open("/proc/self/status", encoding="ascii") as f:
            mine = next(line for line in f if line.startswith("CapEff"))
        self.assertEqual(r.stdout.split(), mine.split())

    @each_runtime
    def test_user_namespace(self):
        r = self.ctr(*self.run_args("userns", "--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--remap-labels=false"),
                     "sh", "-c", "id -u; cat /proc/self/uid_map", check=False)
        self.assertEqual((r.returncode, r.stdout.split()), (0, ["0", "0", "100000", "65536"]), r.stderr)


class HuskOnlyTest(CtrTest):
    """What has no peer: counts over many runs, and one shim for a whole pod."""

    def test_two_hundred_runs_leave_nothing(self):
        def counts():
            with open("/proc/self/mountinfo", encoding="utf-8") as f:
                return len(processes_of(self.daemon.dir)), len(f.readlines())
        before = counts()
        log = f"{self.daemon.dir}/events"
        with open(log, "w", encoding="utf-8") as f:
            events = subprocess.Popen(["ctr", "-a", self.daemon.address, "events"], stdout=f)
        self.addCleanup(events.wait)
        self.addCleanup(events.terminate)
        time.sleep(0.3)
        rounds = max(20, int(200 / daemon.SLOW))
        for i in range(rounds):
            r = self.ctr("run", "--rm", "--runtime", daemon.HUSK, BUSYBOX, f"r{i}", "echo", f"hi {i}")
            self.assertEqual(r.stdout, f"hi {i}\n")
        time.sleep(0.5)
        events.terminate()
        events.wait()
        exits = {}
        with open(log, encoding="utf-8") as f:
            lines = f.read().splitlines()
        for line in lines:
            topic, _, body = line.partition("{")
            if "/tasks/" in topic:
                cid = json.loads("{" + body)["container_id"]
                exits.setdefault(cid, []).append(re.search(r"/tasks/([a-z-]+)", topic).group(1))
        self.assertEqual(len(exits), rounds)
        for cid, topics in exits.items():
            self.assertEqual(topics, ["create", "start", "exit", "delete"], cid)
        end = time.monotonic() + 5 * daemon.SLOW
        while counts()[0] > before[0] and time.monotonic() < end:
            time.sleep(0.05)
        after = counts()
        self.assertLessEqual(after[0], before[0])
        self.assertEqual(after[1], before[1])

    def test_pod_has_one_shim(self):
        group = "io.containerd.runc.v2.group=pod-a"
        first = self.start("pod-a", "sleep", "1000", flags=["--annotation", group])
        pid = self.task(first)[0]
        second = self.start("pod-b", "sleep", "1000", flags=["--annotation", group, "--with-ns", f"network:/proc/{pid}/ns/net",
                                                            "--with-ns", f"ipc:/proc/{pid}/ns/ipc", "--with-ns", f"uts:/proc/{pid}/ns/uts"])
        third = self.start("pod-c", "sleep", "1000", flags=["--annotation", group, "--with-ns", f"pid:/proc/{pid}/ns/pid"])
        pids = [self.task(c)[0] for c in (first, second, third)]

        def stat(p, n):
            with open(f"/proc/{p}/stat", encoding="ascii") as f:
                return f.read().rsplit(")", 1)[1].split()[n]
        self.assertEqual(len({stat(p, 1) for p in pids}), 1)
        with open(f"/proc/{stat(pid, 1)}/status", encoding="ascii") as f:
            self.assertIn("Threads:\t1\n", f.read())
        for kind in ("net", "ipc", "uts"):
            self.assertEqual(os.readlink(f"/proc/{pids[0]}/ns/{kind}"), os.readlink(f"/proc/{pids[1]}/ns/{kind}"))
        self.assertEqual(os.readlink(f"/proc/{pids[0]}/ns/pid"), os.readlink(f"/proc/{pids[2]}/ns/pid"))


def load_tests(loader, _tests, _pattern):
    suite = loader.loadTestsFromTestCase(CtrTest)
    suite.addTests(HuskOnlyTest(name) for name in loader.getTestCaseNames(HuskOnlyTest) if name not in dir(CtrTest))
    return suite


if __name__ == "__main__":
    daemon.require()
    unittest.main(verbosity=2)
