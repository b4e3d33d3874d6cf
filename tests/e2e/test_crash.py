#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is left when somebody dies at the wrong moment: containerd, the shim, an init, a reader. No exit is lost, nothing stays behind, and
the ids can be used again."""
import concurrent.futures
import ctypes
import glob
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from daemon import BUSYBOX, HUSK, SLOW  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position
from test_exits import Fuse  # pylint: disable=wrong-import-position

NOT_FOUND, PRECONDITION = 5, 9


def cmdlines():
    """{pid: argv as one string} of every process alive."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                text = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text and is_alive(pid):
            found[int(pid)] = text
    return found


def cgroups(name):
    """The directories of that path in every hierarchy, and of all below it."""
    tops = ["/sys/fs/cgroup"] + glob.glob("/sys/fs/cgroup/*/")
    return sorted({path for top in tops for path, _, _ in os.walk(os.path.join(top, name.strip("/")))})


def mounts(text):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return [line for line in f if text in line]


def state_files(grpc_address):
    top = "/run/husk/" + hashlib.sha256(grpc_address.encode()).hexdigest()[:16]
    return sorted(os.path.join(path, name) for path, _, names in os.walk(top) for name in names)


def line_of(pipe, seconds=20 * SLOW):
    """The next line, which must come: read byte by byte, so that nothing waits in a buffer that the limit does not see."""
    line, end = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError(f"no line within {seconds} s, so far {line!r}")
        byte = os.read(pipe.fileno(), 1)
        if not byte:
            break
        line += byte
    return line


@unittest.skipIf(shim.DRIVER == "systemd", "ctr makes its cgroups without systemd: the run with the other driver has these")
class DaemonTest(unittest.TestCase):
    def setUp(self):
        self.daemon = daemon.Daemon()
        self.addCleanup(daemon.remove_cgroups, "default")
        self.addCleanup(lambda: self.daemon.__exit__(None, None, None))
        self.daemon.start()
        self.daemon.import_images()
        self.bundles = f"{self.daemon.dir}/state/io.containerd.runtime.v2.task/default"

    def ctr(self, *args, **kw):
        return self.daemon.ctr(*args, **kw)

    def start(self, cid, *command, flags=()):
        self.ctr("run", "-d", "--runtime", HUSK, *flags, BUSYBOX, cid, *command)
        return self.pid(cid)

    def tasks(self):
        return {row[0]: (int(row[1]), row[2]) for row in map(str.split, self.ctr("tasks", "ls").stdout.splitlines()[1:])}

    def pid(self, cid):
        return self.tasks()[cid][0]

    def shims(self):
        """The shim servers of this daemon; their setup children look the same."""
        return [pid for pid, text in cmdlines().items() if "containerd-shim-husk-v2" in text and self.daemon.address in text]

    def address(self, cid):
        with open(f"{self.bundles}/{cid}/address", encoding="utf-8") as f:
            return f.read()

    def left(self, *cids):
        """Whatever still speaks of these containers."""
        bundles = [b for b in os.listdir(self.bundles) if b.lstrip(".") in cids]
        return {"processes": self.shims(), "bundles": bundles, "cgroups": [p for c in cids for p in cgroups(f"default/{c}")],
                "mounts": mounts(self.bundles), "state files": state_files(self.daemon.address)}

    def assert_nothing_left(self, *cids, seconds=5):
        try:
            eventually(lambda: not any(self.left(*cids).values()), seconds * SLOW)
        except AssertionError:
            self.assertEqual({k: v for k, v in self.left(*cids).items() if v}, {})


class DaemonKilled(DaemonTest):
    def test_exit_and_stdio_over_a_restart(self):
        """kill -9 of the daemon; meanwhile one container ends with 7, one goes on writing."""
        log = f"{self.daemon.dir}/c1.log"
        wait = "while [ ! -e /go ]; do sleep 0.05; done"
        one = self.start("c1", "sh", "-c", f"echo one; {wait}; echo two; exit 7", flags=["--log-uri", f"file://{log}"])
        two = self.start("c2", "sh", "-c", f"{wait}; echo second; rm /go; {wait}; echo third; exec sleep 1000")
        root = f"/proc/{two}/root"
        self.daemon.stop(signal.SIGKILL)
        for path in (f"/proc/{one}/root/go", f"{root}/go"):
            with open(path, "w", encoding="utf-8"):
                pass
        eventually(lambda: not is_alive(one), what="end of c1")
        eventually(lambda: not os.path.exists(f"{root}/go"), what="writing without a daemon")
        self.daemon.start()
        self.assertEqual(self.tasks(), {"c1": (one, "STOPPED"), "c2": (two, "RUNNING")})
        with ttrpc.Client(self.address("c1"), ttrpc.TASK_V2) as client:
            self.assertEqual(client.task("Wait", id="c1")["exit_status"], 7)
        self.assertIn("code 7", self.ctr("tasks", "rm", "c1", check=False).stderr)
        with open(log, encoding="utf-8") as f:
            self.assertEqual(f.read(), "one\ntwo\n")
        r = self.ctr("tasks", "exec", "--exec-id", "e", "c2", "sh", "-c", "echo out; exit 4", check=False)
        self.assertEqual((r.returncode, r.stdout), (4, "out\n"))
        attached = subprocess.Popen(["ctr", "-a", self.daemon.address, "tasks", "attach", "c2"], stdout=subprocess.PIPE)
        self.addCleanup(attached.kill)
        self.assertEqual(line_of(attached.stdout), b"second\n")  # kept while nobody read
        with open(f"{root}/go", "w", encoding="utf-8"):
            pass
        self.assertEqual(line_of(attached.stdout), b"third\n")
        self.ctr("tasks", "kill", "-s", "SIGKILL", "c2")
        self.assertEqual(attached.wait(20 * SLOW), 137)
        attached.stdout.close()
        self.ctr("tasks", "rm", "-f", "c2", check=False)
        self.ctr("containers", "rm", "c1", "c2")
        self.assert_nothing_left("c1", "c2")

    def test_stopped_between_delete_and_shutdown(self):
        """Nobody will ever send the Shutdown: the shim sees by itself that it is forgotten once its bundle is gone."""
        for delay in (0, 0.001, 0.002, 0.003, 0.004, 0.006):
            self.start("c1", "sleep", "1000")
            rm = subprocess.Popen(["ctr", "-a", self.daemon.address, "tasks", "rm", "-f", "c1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            eventually(lambda: not cgroups("default/c1"), what="end of the container")
            time.sleep(delay)
            self.daemon.stop()
            rm.wait(60 * SLOW)
            for name in ("c1", ".c1"):  # which the daemon had no time to do
                shutil.rmtree(f"{self.bundles}/{name}", ignore_errors=True)
            self.daemon.start()  # which takes the events that it has missed
            eventually(lambda: not self.shims(), 15 * SLOW, "end of the shim")
            self.ctr("containers", "rm", "c1", check=False)
        self.assert_nothing_left("c1")


class ShimKilled(DaemonTest):
    def group(self):
        """Three containers of one pod; c3 shares the pid namespace of c1."""
        flags = ["--annotation", "io.containerd.runc.v2.group=c1"]
        pids = [self.start("c1", "sleep", "1000", flags=flags), self.start("c2", "sh", "-c", "sleep 1000 & exec sleep 1000", flags=flags)]
        pids.append(self.start("c3", "sh", "-c", "(trap '' TERM HUP; sleep 1000) & exec sleep 1000",
                               flags=[*flags, "--with-ns", f"pid:/proc/{pids[0]}/ns/pid"]))
        self.assertEqual(len(self.shims()), 1)
        self.assertEqual({os.readlink(f"/proc/{p}/ns/pid") for p in (pids[0], pids[2])}, {os.readlink(f"/proc/{pids[0]}/ns/pid")})
        return pids

    def processes(self):
        found = set()
        for path in cgroups("default"):
            with open(f"{path}/cgroup.procs", encoding="utf-8") as f:
                found |= set(map(int, f.read().split()))
        return found

    def test_of_a_pod(self):
        for _ in range(2):  # the second time with the same ids
            self.group()
            pids = self.processes()
            self.assertEqual(len(pids), 5)
            sockets = {self.address(c)[7:] for c in ("c1", "c2", "c3")}
            self.assertEqual(len(sockets), 1)
            os.kill(self.shims()[0], signal.SIGKILL)
            for pid in pids:
                eventually(lambda pid=pid: not is_alive(pid), 10 * SLOW, f"end of {pids}")
            for cid in ("c1", "c2", "c3"):
                self.ctr("tasks", "rm", "-f", cid, check=False)
                self.ctr("containers", "rm", cid)
            self.assert_nothing_left("c1", "c2", "c3")
            self.assertFalse(os.path.exists(sockets.pop()))

    def test_while_the_daemon_is_away(self):
        """Both are killed; the new daemon finds a socket that nobody serves."""
        pids = self.group()
        server = self.shims()[0]
        self.daemon.stop(signal.SIGKILL)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: not self.shims(), what="end of the shim")
        self.assertTrue(all(map(is_alive, pids)))
        self.daemon.start()
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid), 10 * SLOW, "end of the containers")
        for cid in ("c1", "c2", "c3"):
            self.ctr("containers", "rm", cid)
        self.assert_nothing_left("c1", "c2", "c3")
        self.assertEqual(self.ctr("run", "--rm", "--runtime", HUSK, BUSYBOX, "c1", "echo", "again").stdout, "again\n")

    RUNS = 100 if SLOW < 10 else 40  # an emulated machine takes a minute for a hundred

    def test_a_hundred_runs(self):
        """Ten at a time: a hundred exits, and no shim that stays. Half of them are over before their client looks: it cancels its reading of
        a FIFO that it has not finished opening when the task is gone, so the output is judged for those that take a moment."""
        def run(i):
            script = f"echo {i}; sleep 0.2; exit {i}" if i % 2 else f"exit {i}"
            return self.ctr("run", "--rm", "--runtime", HUSK, BUSYBOX, f"r{i}", "sh", "-c", script, check=False)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            results = list(pool.map(run, range(self.RUNS)))
        self.assertEqual([(r.returncode, r.stdout) for r in results], [(i, f"{i}\n" if i % 2 else "") for i in range(self.RUNS)],
                         [r.stderr for r in results if r.stderr])
        self.assert_nothing_left(*(f"r{i}" for i in range(self.RUNS)))
        self.assertEqual(self.ctr("containers", "ls", "-q").stdout, "")


class DeafFuse(Fuse):
    LOOKUP, READ = -1, Fuse.LOOKUP  # what is never answered is its READ


class Delete(unittest.TestCase):
    """The `delete` command by hand."""

    def assert_gone(self, pod):
        def left():
            inside = [p for p in cgroups(pod.cgroup) if not p.endswith(".slice")]  # a slice is the kubelet's to remove
            found = {"processes": [p for p, text in cmdlines().items() if pod.grpc in text], "cgroups": inside, "mounts": mounts(pod.dir),
                     "state files": state_files(pod.grpc), "socket": [pod.address] if os.path.exists(pod.address[7:]) else []}
            return {k: v for k, v in found.items() if v}
        try:
            eventually(lambda: not left(), 5 * SLOW)
        except AssertionError:
            self.assertEqual(left(), {})

    def test_beside_a_live_shim(self):
        with shim.Pod() as pod:
            pids = {cid: pod.run(cid, ["sleep", "1000"]) for cid in ("pod", "a", "b")}
            pod.create("c", ["sleep", "1000"])
            for cid in ("a", "pod", "c", "a"):
                done = pod.command(cid, "delete", "-bundle", pod.bundles[cid], cwd="/", stdin=subprocess.DEVNULL)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                ttrpc.decode("DeleteResponse", done.stdout)
            pod.bundles["unknown"] = f"{pod.dir}/unknown"
            self.assertEqual(pod.delete("unknown")["pid"], 0)
            for cid, pid in pids.items():
                self.assertEqual(pod.call("State", id=cid)["pid"], pid)
                self.assertTrue(is_alive(pid))
                pod.exec(cid, f"e{cid}", ["echo", cid])
                pod.call("Start", id=cid, exec_id=f"e{cid}")
                self.assertEqual(pod.output[f"e{cid}"].text(), f"{cid}\n")
            pod.call("Start", id="c")
            for cid in ("a", "b", "c", "pod"):
                self.assertEqual(pod.finish(cid)["exit_status"], 137)

    def test_three_times_in_an_emptied_bundle(self):
        with shim.Pod() as pod:
            pid = pod.run("c", ["sleep", "1000"])
            os.kill(pod.shim_pid, signal.SIGKILL)
            eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
            for path in os.listdir(pod.bundles["c"]):
                os.unlink(f"{pod.bundles['c']}/{path}")
            for i in range(3):
                done = pod.command("c", "delete", "-bundle", pod.bundles["c"], cwd=pod.bundles["c"], stdin=subprocess.DEVNULL)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                reply = ttrpc.decode("DeleteResponse", done.stdout)
                self.assertEqual((reply["pid"], reply["exit_status"]), (pid, 137) if i == 0 else (0, 0))
            self.assertFalse(is_alive(pid))
            self.assert_gone(pod)

    def kill_during_create(self, delay, hooks):
        with shim.Pod() as pod:
            os.makedirs(f"{pod.dir}/c/rootfs")
            marker = f"{pod.dir}/hook"

            def change(document):
                document["root"]["path"] = "rootfs"
                if hooks:  # the rootfs is then on the host, for the hook to see
                    document["hooks"] = {"createRuntime": [{"path": shim.BUSYBOX, "args": ["sh", "-c", f"echo > {marker}; exec {shim.BUSYBOX} sleep 1000"]}]}
            values = pod.request("c", ["sleep", "1000"], change=change, rootfs=[{"type": "bind", "source": pod.rootfs, "options": ["rbind", "rw"]}])
            pod.client.start_task("Create", **values)
            if hooks:
                eventually(lambda: os.path.exists(marker), what="the hook")
            time.sleep(delay)
            os.kill(pod.shim_pid, signal.SIGKILL)
            eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
            for cid in ("c", "pod"):  # containerd calls it for the container it made, the pod's first one here
                pod.delete(cid)
            self.assert_gone(pod)
            self.assertEqual(os.listdir(f"{pod.dir}/c/rootfs"), [])

    def test_somebody_else_has_its_socket_open(self):
        """As a child in a mount that hangs has: whose shim is dead has none, whoever may still listen."""
        libc = ctypes.CDLL(None, use_errno=True)
        with shim.Pod() as pod:
            pid = pod.run("c", ["sleep", "1000"])
            pidfd = os.pidfd_open(pod.shim_pid)
            kept = [libc.syscall(438, pidfd, n, 0) for n in range(3, 24)]  # pidfd_getfd
            os.kill(pod.shim_pid, signal.SIGKILL)
            eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
            try:
                with ttrpc.Client(pod.address):
                    pass  # it is accepted, and nobody will ever answer
                self.assertEqual(pod.delete("c")["pid"], pid)
                self.assertFalse(is_alive(pid))
                self.assertEqual(state_files(pod.grpc), [])
            finally:
                for fd in [pidfd, *(k for k in kept if k >= 0)]:
                    os.close(fd)
            pod.delete("c")
            self.assert_gone(pod)

    def test_a_set_up_that_hangs_keeps_nothing_of_its_shim(self):
        """A child in state D, in a mount's file system: whoever waits for the shim is told of its death at once, and the rest of the pod is ended."""
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse")
        with shim.Pod() as pod:
            pid = pod.run("pod", ["sleep", "1000"])
            try:
                fuse = DeafFuse(f"{pod.dir}/fuse")
            except OSError as e:
                self.skipTest(f"cannot mount FUSE: {e}")
            try:
                waits = [client.start_task("Wait", id="pod") for client in (pod.client, pod.connect())]
                mount = {"destination": "/mnt", "type": "bind", "source": f"{fuse.where}/file", "options": ["rbind"]}
                waits.append(pod.client.start_task("Create", **pod.request("c", ["true"], change=lambda c: c["mounts"].append(mount))))
                self.assertTrue(fuse.asked.wait(10 * SLOW))
                os.kill(pod.shim_pid, signal.SIGKILL)
                for wait in waits:
                    with self.assertRaises(ConnectionError):
                        wait.result(2 * SLOW)
                pod.command("pod", "delete", "-bundle", pod.bundles["pod"], cwd="/", stdin=subprocess.DEVNULL)  # fails for the one that hangs
                self.assertFalse(is_alive(pid))
            finally:
                fuse.abort()
            pod.delete("pod")
            self.assert_gone(pod)

    def test_shim_killed_during_create(self):
        for i in range(40):
            with self.subTest(milliseconds=i / 2):
                self.kill_during_create(i / 2000, hooks=False)

    def test_shim_killed_during_hooks(self):
        self.kill_during_create(0.01, hooks=True)


@unittest.skipIf(shim.DRIVER == "systemd", "a minute of waiting that has to do with no cgroup")
class Idle(unittest.TestCase):
    def test_a_shim_without_tasks_ends(self):
        """R8: after a minute, unless there is a task, or somebody who may still say something."""
        pods = {name: shim.Pod(name) for name in ("deserted", "connected", "busy")}
        for pod in pods.values():
            self.addCleanup(pod.close)
            for cid in (pod.name, "second"):
                pod.run(cid, ["sleep", "1000"])
                if pod.name != "busy":
                    pod.finish(cid)
        pods["deserted"].events.wait_for(lambda log: sum(topic == "/tasks/delete" for topic, _ in log) == 2)
        for name in ("deserted", "busy"):
            pods[name].client.close()
        begin = time.monotonic()
        eventually(lambda: not is_alive(pods["deserted"].shim_pid), 70 * SLOW, "end of the shim that nobody knows")
        self.assertGreater(time.monotonic() - begin, 55)
        self.assertEqual((os.path.exists(pods["deserted"].address[7:]), state_files(pods["deserted"].grpc)), (False, []))
        time.sleep(3)
        for name in ("connected", "busy"):
            self.assertTrue(is_alive(pods[name].shim_pid), name)
        self.assertEqual(pods["connected"].call("Connect", id="connected")["task_pid"], 0)


class Exits(unittest.TestCase):
    def test_execs_and_the_death_of_the_init(self):
        """200 execs, 20 at a time, the init killed in the middle: each exec that was started has one exit, and the init's is the last."""
        for namespaces in (None, ("ipc", "uts", "mount")):
            with self.subTest(namespaces=namespaces), shim.Pod() as pod:
                self.storm(pod, lambda d, n=namespaces: n and d["linux"].update(namespaces=[{"type": t} for t in n]))

    def storm(self, pod, change):
        pod.run("c", ["sleep", "1000"], change=change)
        spec = {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()}
        clients, killed = threading.local(), threading.Event()
        started, statuses = [], {}

        def one(i):
            if not hasattr(clients, "mine"):
                clients.mine = pod.connect()
            eid = f"e{i}"
            if i == 100:
                killed.set()
                pod.call("Kill", id="c", signal=9)
            try:
                clients.mine.task("Exec", id="c", exec_id=eid, spec=spec)
                wait = clients.mine.start_task("Wait", id="c", exec_id=eid)
                clients.mine.task("Start", id="c", exec_id=eid)
                started.append(eid)
                statuses[eid] = wait.result(20)["exit_status"]
            except ttrpc.Error as e:
                # Refused before, or lost on its way in; both are told as such.
                self.assertTrue(killed.is_set() and (e.code == PRECONDITION or e.message.startswith("OCI runtime exec failed")), e)
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(one, range(200)))
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
        pod.call("Delete", id="c")
        self.assertTrue(pod.events.wait_for(lambda log: log and log[-1][0] == "/tasks/delete"))
        log = pod.events.log
        told = [e["exec_id"] for topic, e in log if topic == "/tasks/exec-started"]
        exits = [e["id"] for topic, e in log if topic == "/tasks/exit"]
        self.assertGreaterEqual(len(told), 40)
        self.assertEqual(set(started), set(told))
        self.assertEqual(exits[-1], "c")
        self.assertEqual(sorted(exits[:-1]), sorted(told))
        self.assertEqual(set(statuses), set(told))
        self.assertLessEqual(set(statuses.values()), {0, 137})
        for eid in told:  # none before its start
            topics = [topic for topic, e in log if e.get("exec_id", e.get("id")) == eid]
            self.assertEqual(topics, ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"])

    def test_a_late_reader_loses_nothing(self):
        """The reader comes 300 ms late: after Create, or once more after the exit (a client that was restarted)."""
        text = "".join(f"line {i}\n" for i in range(6000))  # less than a pipe holds
        with shim.Pod() as pod:
            with open(f"{pod.rootfs}/etc/text", "w", encoding="utf-8") as f:
                f.write(text)

            def one(i):
                cid, path = f"c{i}", f"{pod.dir}/out{i}"
                os.mkfifo(path)
                client = pod.connect()
                first = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if i % 2 else None
                create = client.start_task("Create", id=cid, bundle=pod.bundle(cid, ["cat", "/etc/text"]), stdout=path)
                if first is None:
                    time.sleep(0.3)
                    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                create.result()
                client.task("Start", id=cid)
                os.close(first)
                self.assertEqual(client.task("Wait", id=cid)["exit_status"], 0)
                time.sleep(0.3)
                with open(path, encoding="utf-8") as f:
                    got = f.read()
                client.task("Delete", id=cid)
                return got
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                for i, got in enumerate(pool.map(one, range(50))):
                    self.assertEqual((i, len(got), got == text), (i, len(text), True))


if __name__ == "__main__":
    shim.require()
    daemon.require()
    unittest.main(verbosity=2)
