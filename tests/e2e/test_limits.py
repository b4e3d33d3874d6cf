#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Where something runs out: descriptors, memory, room below /run, processes; and limits of our own for a client that is broken or hostile. Each
is a clear error for the one who asked, and no damage: what runs goes on, and the same request succeeds once there is room again."""
import json
import os
import resource
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
EXHAUSTED, UNKNOWN = 8, 2
TRUE = {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()}


class LimitTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)

    def fails(self, code, text, method, **values):
        with self.assertRaises(ttrpc.Error) as caught:
            self.pod.call(method, **values)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertRegex(caught.exception.message, text)
        return caught.exception

    def works(self, cid="works"):
        pod = self.pod
        pod.run(cid, ["echo", "well"])
        self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 0)
        self.assertEqual(pod.output[cid].text(), "well\n")
        pod.call("Delete", id=cid)


class Client(LimitTest):
    def test_4096_execs(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        calls = [pod.client.start_task("Exec", id="c", exec_id=f"e{i}", spec=TRUE) for i in range(1000)]
        for part in range(5):
            for call in calls:
                call.result()
            calls = [pod.client.start_task("Exec", id="c", exec_id=f"e{i}", spec=TRUE) for i in range(1000 * (part + 1), min(1000 * (part + 2), 4096))]
        for call in calls:
            call.result()
        self.fails(EXHAUSTED, "4096 execs", "Exec", id="c", exec_id="more", spec=TRUE)
        pod.call("Delete", id="c", exec_id="e7")
        pod.call("Exec", id="c", exec_id="more", spec=TRUE)
        pod.call("Start", id="c", exec_id="more")
        self.assertEqual(pod.call("Wait", id="c", exec_id="more")["exit_status"], 0)
        self.fails(EXHAUSTED, "4096 execs", "Exec", id="c", exec_id="another", spec=TRUE)
        pod.run("d", ["sleep", "1000"])  # another container has its own
        pod.call("Exec", id="d", exec_id="e", spec=TRUE)
        self.assertEqual(pod.finish("d")["exit_status"], 137)
        self.assertEqual(pod.finish("c")["exit_status"], 137)

    def test_1024_calls_in_flight(self):
        """Starts of execs whose FIFOs nobody reads are calls that last; the 1025th is refused, and so is a Create, but nothing else breaks."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        waiting = []
        for i in range(1024):
            os.mkfifo(f"{pod.dir}/f{i}")
            pod.call("Exec", id="c", exec_id=f"e{i}", stdout=f"{pod.dir}/f{i}", spec=TRUE)
            waiting.append(pod.client.start_task("Start", id="c", exec_id=f"e{i}"))
        pod_state = self.fails(EXHAUSTED, "too many calls in flight", "State", id="c")
        self.assertEqual(pod_state.payload_len, 0)
        self.fails(EXHAUSTED, "too many calls in flight", "Start", id="c", exec_id="e0")
        other = pod.connect()
        with self.assertRaises(ttrpc.Error) as caught:
            other.task("Connect", id="c")
        self.assertEqual(caught.exception.code, EXHAUSTED)
        for i in range(1024):
            os.close(os.open(f"{pod.dir}/f{i}", os.O_RDONLY | os.O_NONBLOCK))
        for call in waiting:
            try:
                call.result(60 * SLOW)
            except ttrpc.Error:
                pass  # its reader is gone again
        self.assertEqual(other.task("State", id="c")["status"], 2)
        self.assertEqual(pod.finish("c")["exit_status"], 137)

    def test_64_connections(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        clients = [pod.connect() for _ in range(63)]  # and the pod's own
        for client in clients:
            self.assertEqual(client.task("State", id="c")["status"], 2)
        surplus = [ttrpc.Client(pod.address) for _ in range(5)]
        for client in surplus:
            for _ in range(2):
                with self.assertRaises(ttrpc.Error) as caught:
                    client.task("Kill", id="c", signal=9)
                self.assertEqual(caught.exception.code, EXHAUSTED)
                self.assertIn("too many connections", caught.exception.message)
        for client in surplus:
            client.close()
        clients.pop().close()
        eventually(lambda: self.can_connect(), 5 * SLOW, "a free connection")
        self.assertEqual(pod.call("State", id="c")["status"], 2)

    def can_connect(self):
        with ttrpc.Client(self.pod.address) as client:
            try:
                return client.task("Connect", id="c")["task_pid"] > 0
            except (ttrpc.Error, ConnectionError):
                return False


class Machine(LimitTest):
    def limit(self, kind, value):
        soft, hard = resource.prlimit(self.pod.shim_pid, kind)
        resource.prlimit(self.pod.shim_pid, kind, (value, hard))
        return lambda: resource.prlimit(self.pod.shim_pid, kind, (soft, hard))

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.pod.shim_pid}/fd"))

    def test_descriptors(self):
        """EMFILE at each number from none to enough: every refusal names it, none leaves a descriptor, a process or a cgroup."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        out = f"{pod.dir}/out"
        os.mkfifo(out)
        reader = os.open(out, os.O_RDWR)
        self.addCleanup(os.close, reader)
        before, refused = self.count_fds(), 0
        top = max(map(int, os.listdir(f"/proc/{pod.shim_pid}/fd"))) + 1
        for more in range(0, 24):
            restore = self.limit(resource.RLIMIT_NOFILE, top + more)
            try:
                pod.call("Create", id="d", bundle=pod.bundle("d", ["true"]), stdout=out, stderr=out)
            except ttrpc.Error as e:
                refused += 1
                self.assertRegex(e.message, "EMFILE")
                restore()
                eventually(lambda: self.count_fds() == before, 5 * SLOW, f"{before} descriptors, {more} more allowed: {e}")
                continue
            restore()
            pod.finish("d")
        self.assertGreater(refused, 3)
        self.works()
        self.assertEqual(pod.call("State", id="c")["status"], 2)
        restore = self.limit(resource.RLIMIT_NOFILE, top)
        late = ttrpc.Client(pod.address)  # cannot be accepted now
        call = late.start_task("Connect", id="c")
        time.sleep(0.3)
        restore()
        self.assertEqual(call.result(5 * SLOW)["shim_pid"], pod.shim_pid)
        late.close()

    def test_memory(self):
        """ENOMEM for whatever is larger than what is there: an address space that cannot grow."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        with open(f"/proc/{pod.shim_pid}/statm", encoding="utf-8") as f:
            size = int(f.read().split()[0]) * 4096
        restore = self.limit(resource.RLIMIT_AS, size)
        big = {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"], env=["X=" + "y" * 3000000])).encode()}
        failures = 0
        for method, values in (("Exec", {"id": "c", "exec_id": "big", "spec": big}), ("Create", pod.request("d", ["true"]))):
            try:
                pod.call(method, **values)
            except ttrpc.Error as e:
                failures += 1
                self.assertRegex(e.message, "ENOMEM|memory|unmarshal", f"{method}: {e}")
            except ConnectionError:
                failures += 1
                pod.client = pod.connect()
        restore()
        self.assertTrue(is_alive(pod.shim_pid))
        self.assertGreater(failures, 0)
        for reader in (pod.output["d"], pod.errors["d"]):
            reader.release()
        self.assertEqual(pod.call("State", id="c")["status"], 2)
        self.works()

    def test_processes(self):
        """pids.max of the container: an exec that has no room is told so, and has left nothing."""
        pod = self.pod
        pod.run("c", ["sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000"],
                change=lambda d: d["linux"]["resources"].update(pids={"limit": 3}))
        eventually(lambda: len(pod.call("Pids", id="c")["processes"]) == 3, what="three processes")
        before = self.count_fds()
        for i in range(5):
            pod.call("Exec", id="c", exec_id=f"e{i}", spec=TRUE)
            self.fails(UNKNOWN, "EAGAIN", "Start", id="c", exec_id=f"e{i}")
            pod.call("Delete", id="c", exec_id=f"e{i}")
        self.assertEqual(self.count_fds(), before)
        self.assertEqual(len(pod.call("Pids", id="c")["processes"]), 3)
        self.assertEqual(pod.finish("c")["exit_status"], 137)


class FullRun(unittest.TestCase):
    """/run/husk without room, in a mount namespace of its own."""
    MARK = "HUSK_TEST_FULL_RUN"

    def test_full(self):
        if os.environ.get(self.MARK) != "1":
            done = subprocess.run(["unshare", "--mount", "--propagation", "private", sys.executable, os.path.abspath(__file__), "FullRun"],
                                  env={**os.environ, self.MARK: "1"}, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return
        os.makedirs("/run/husk", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", "/run/husk"], check=True)
        with shim.Pod() as pod:
            pod.run("c", ["sleep", "1000"])
            with open("/run/husk/ballast", "wb", buffering=0) as f:
                try:
                    while f.write(b"x" * 4096) == 4096:
                        pass
                except OSError:
                    pass
            with self.assertRaises(ttrpc.Error) as caught:
                pod.create("d", ["true"])
            self.assertRegex(caught.exception.message, "state file.*ENOSPC")
            self.assertEqual(pod.call("State", id="c")["status"], 2)
            with self.assertRaises(ttrpc.Error):
                pod.call("State", id="d")
            start = pod.command("e", "start", cwd=pod.bundle("e", ["true"], change=lambda d: d.update(annotations={})), stdin=subprocess.DEVNULL)
            self.assertNotEqual(start.returncode, 0)
            self.assertIn(b"ENOSPC", start.stderr)
            os.unlink("/run/husk/ballast")
            pod.run("d", ["true"])
            self.assertEqual(pod.call("Wait", id="d")["exit_status"], 0)
            pod.call("Delete", id="d")
            self.assertEqual(pod.finish("c")["exit_status"], 137)


class Teardown(LimitTest):
    def test_poststop_runs_once(self):
        """Of a Create that fails late, while the shim is busy: the failure and the end of its process are found in one turn of the loop."""
        pod, marks = self.pod, f"{self.pod.dir}/hooks"
        runs = {name: [{"path": shim.BUSYBOX, "args": ["sh", "-c", script]}] for name, script in (
            ("createRuntime", "true"), ("createContainer", f"echo > {marks}.go; sleep 0.2"), ("poststop", f"echo poststop >>{marks}"))}
        for i in range(5):
            call = pod.client.start_task("Create", id="c", bundle=pod.bundle("c", ["nothing"], change=lambda d: d.update(hooks=runs)))
            eventually(lambda: os.path.exists(f"{marks}.go"), what="the hook")
            os.kill(pod.shim_pid, signal.SIGSTOP)
            time.sleep(0.5 * SLOW)
            os.kill(pod.shim_pid, signal.SIGCONT)
            with self.assertRaises(ttrpc.Error) as caught:
                call.result()
            self.assertIn("nothing", caught.exception.message)
            os.unlink(f"{marks}.go")
            time.sleep(0.1)
            with open(marks, encoding="utf-8") as f:
                self.assertEqual(len(f.readlines()), i + 1)
        self.works()


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
