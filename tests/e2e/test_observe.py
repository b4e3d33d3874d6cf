#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a shim tells about itself: log lines in containerd's form, its state on SIGUSR1, its last words, the trace that a request belongs to; and
that no reader of the log, or none, ever holds it up."""
import os
import re
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
WORD = re.compile(r'(\w+)=("(?:\\.|[^"\\])*"|[^" ]*)(?: |$)')
TRACES = [f"00-{i:032x}-{i:016x}-01" for i in (0xa1, 0xa2, 0xa3)]


def fields(line):
    """{key: value} of a logrus line, which must be nothing else."""
    out, at = {}, 0
    while at < len(line):
        m = WORD.match(line, at)
        assert m, f"no logrus line: {line[at:]!r} in {line!r}"
        value = m[2]
        out[m[1]] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = m.end()
    return out


class Log:
    """containerd's end of a shim's log."""

    def __init__(self, pod):
        self.fd = os.open(f"{pod.bundles[pod.name]}/log", os.O_RDONLY | os.O_NONBLOCK)
        self.text = b""

    def lines(self):
        try:
            while part := os.read(self.fd, 1 << 16):
                self.text += part
        except BlockingIOError:
            pass
        return [fields(line) for line in self.text.decode().split("\n")[:-1]]

    def wait_for(self, **wanted):
        def found():
            return [line for line in self.lines() if all(line.get(k) == v for k, v in wanted.items())]
        return eventually(found, 10 * SLOW, f"log line with {wanted}")[0]

    def close(self):
        os.close(self.fd)


class ObserveTest(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.log = Log(self.pod)
        self.addCleanup(self.log.close)


class Lines(ObserveTest):
    def test_life(self):
        pod = self.pod
        pod.run("c", ["true"])
        pod.call("Wait", id="c")
        pod.call("Delete", id="c")
        about = [line for line in self.log.lines() if line.get("id") == "c"]
        self.assertEqual([line["msg"] for line in about], ["container created", "container started", "container exited", "container deleted"])
        for line in about:
            self.assertEqual((line["namespace"], line["level"]), (shim.NAMESPACE, "info"))
            self.assertRegex(line["time"], r"^20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{9}Z$")

    def test_failure(self):
        """id, namespace, the step of the set-up, errno, how long it took, and the trace."""
        pod = self.pod
        pod.client.traceparent = TRACES[0]
        with self.assertRaises(ttrpc.Error):
            pod.create("c", ["true"], change=lambda d: d["mounts"].append({"destination": "/x", "type": "bind", "source": "/nowhere"}))
        line = self.log.wait_for(msg="request failed", id="c")
        self.assertEqual({k: line[k] for k in ("level", "method", "namespace", "errno", "traceparent")},
                         {"level": "error", "method": "Create", "namespace": shim.NAMESPACE, "errno": "ENOENT", "traceparent": TRACES[0]})
        self.assertIn(line["step"], ("prepare mounts", "mounts"))
        self.assertGreater(int(line["dur_us"]), 0)
        self.assertIn("/nowhere", line["err"])


class Debug(unittest.TestCase):
    def test_durations(self):
        """With -debug, how long each request took that had something to wait for."""
        class DebugPod(shim.Pod):
            def command(self, cid, action, *flags, **kwargs):
                return super().command(cid, action, "-debug", *flags, **kwargs)
        with DebugPod() as pod:
            log = Log(pod)
            self.addCleanup(log.close)
            pod.client.traceparent = TRACES[1]
            pod.run("c", ["sleep", "0.2"])
            pod.call("Wait", id="c")
            pod.call("Delete", id="c")
            done = {line["method"]: line for line in log.lines() if line["msg"] == "request done"}
            self.assertEqual(set(done), {"Create", "Start", "Wait", "Delete"})
            for line in done.values():
                self.assertEqual((line["id"], line["traceparent"], line["namespace"]), ("c", TRACES[1], shim.NAMESPACE))
            self.assertTrue(50000 < int(done["Wait"]["dur_us"]) < 20000000 * SLOW, done)


class Trace(ObserveTest):
    def test_hooks(self):
        """Each hook has the TRACEPARENT of the request that runs it, beside its own environment and unless that has one."""
        pod = self.pod

        def hook(name, env=None):
            words = {"path": shim.BUSYBOX, "args": ["sh", "-c", f"cat >/dev/null; echo {name} $TRACEPARENT $MORE >>{pod.dir}/hooks"]}
            return {**words, "env": env} if env else words

        def change(document):
            document["hooks"] = {"createRuntime": [hook("createRuntime"), hook("own", ["TRACEPARENT=own"])],
                                 "poststart": [hook("poststart", ["MORE=more"])], "poststop": [hook("poststop")],
                                 "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo $TRACEPARENT >/tmp/trace"]}]}
        pod.client.traceparent = TRACES[0]
        pod.create("c", ["sleep", "1000"], change=change)
        pod.client.traceparent = TRACES[1]
        pod.call("Start", id="c")
        pod.client.traceparent = None
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        pod.client.traceparent = TRACES[2]
        pod.call("Delete", id="c")
        with open(f"{pod.dir}/hooks", encoding="utf-8") as f:
            told = f.read().splitlines()
        self.assertEqual(told, [f"createRuntime {TRACES[0]}", "own own", f"poststart {TRACES[1]} more", f"poststop {TRACES[2]}"])

    def test_in_the_container(self):
        pod = self.pod
        pod.client.traceparent = TRACES[0]
        pod.create("c", ["cat", "/tmp/trace"], change=lambda d: d.update(hooks={"startContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", "echo $TRACEPARENT >/tmp/trace"]}]}))
        pod.call("Start", id="c")
        self.assertEqual(pod.output["c"].text(), f"{TRACES[0]}\n")

    def test_what_is_no_trace(self):
        pod = self.pod
        for bad in ("", "x" * 55, TRACES[0].upper(), TRACES[0] + "-more", TRACES[0].replace("-", "0")):
            pod.client.traceparent = bad
            hook = {"path": shim.BUSYBOX, "args": ["sh", "-c", f"echo trace $TRACEPARENT >{pod.dir}/hook"]}
            pod.create("c", ["true"], change=lambda d, h=hook: d.update(hooks={"createRuntime": [h]}))
            with open(f"{pod.dir}/hook", encoding="utf-8") as f:
                self.assertEqual(f.read(), "trace\n", bad)
            pod.finish("c")


class Crash(ObserveTest):
    def crash(self, number):
        pod, name = self.pod, signal.Signals(number).name
        pid = pod.run("c", ["sleep", "1000"])
        os.kill(pod.shim_pid, number)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        line = self.log.wait_for(msg="shim crashed")
        with open(shim.SHIM, "rb") as f:
            note = re.search(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0(.{20})", f.read(), re.S)  # NT_GNU_BUILD_ID, a SHA-1
        self.assertEqual((line["level"], line["signal"], line["build_id"]), ("fatal", name, note[1].hex()))
        self.assertEqual(int(line["sender"]), os.getpid())
        self.assertRegex(line["pc"], "^0x[0-9a-f]+$")
        self.assertEqual((line["namespace"], int(line["pid"])), (shim.NAMESPACE, pod.shim_pid))
        self.assertEqual(line["recent"], "create c; start c")
        self.assertEqual(pod.delete("c")["exit_status"], 137)
        self.assertFalse(is_alive(pid))

    def test_of_each_signal(self):
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
            with self.subTest(signal=number):
                self.crash(number)
            self.doCleanups()
            self.setUp()


class Dump(ObserveTest):
    def dump(self):
        seen = len(self.log.lines())
        os.kill(self.pod.shim_pid, signal.SIGUSR1)
        eventually(lambda: any(line["msg"] == "descriptor" and line["fd"] == "4" for line in self.log.lines()[seen:]), what="dump")
        time.sleep(0.1)
        return self.log.lines()[seen:]

    def test_everything(self):
        pod = self.pod
        pid = pod.run("c", ["sleep", "1000"])
        pod.exec("c", "e", ["sleep", "1000"])
        exec_pid = pod.call("Start", id="c", exec_id="e")["pid"]
        waits = [pod.client.start_task("Wait", id="c"), pod.client.start_task("Wait", id="c", exec_id="e")]
        with self.assertRaises(ttrpc.Error):
            pod.call("Create", id="c", bundle=pod.bundles["c"])
        for i in range(100):  # more than is remembered
            pod.exec("c", f"e{i}", ["true"])
            pod.call("Delete", id="c", exec_id=f"e{i}")
        pod.events.close()  # events have to wait
        pod.run("d", ["true"])
        pod.call("Wait", id="d")
        lines = self.dump()

        def of(msg, **wanted):
            return [line for line in lines if line["msg"] == msg and all(line.get(k) == v for k, v in wanted.items())]
        state, = of("state of the shim")
        self.assertEqual((state["group"], state["containers"], state["connections"], int(state["pid"])), ("pod", "2", "1", pod.shim_pid))
        self.assertEqual((state["waits"], state["events_head"], state["events_dropped"]), ("2", "/tasks/create", "0"))
        self.assertEqual(state["events_queued"], "3")
        self.assertEqual(of("container", id="c")[0]["pid"], str(pid))
        self.assertEqual(of("container", id="c")[0]["waiters"], "1")
        self.assertEqual(of("container", id="d")[0]["state"], "stopped")
        self.assertEqual(of("exec", id="c", exec_id="e")[0]["pid"], str(exec_pid))
        self.assertEqual({line["exec_id"] for line in of("call without an answer", method="Wait", id="c")}, {"", "e"})
        self.assertIn("already exists", of("past error", method="Create", id="c")[0]["err"])
        self.assertEqual(len(of("past event")), 64)
        self.assertEqual(of("past event")[-1]["event"], "exit")
        fds = {line["fd"]: line["target"] for line in of("descriptor")}
        self.assertEqual(int(state["fds"]), len(fds))
        self.assertEqual(fds, {fd: os.readlink(f"/proc/{pod.shim_pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pod.shim_pid}/fd")})
        for line in lines:
            self.assertEqual(line["namespace"], shim.NAMESPACE)
        pod.call("Kill", id="c", signal=9)
        for wait in waits:
            wait.result()


class Reader(ObserveTest):
    def assert_works(self):
        pod = self.pod
        for i in range(3):
            begin = time.monotonic()
            pod.run(f"c{i}", ["true"])
            pod.call("Wait", id=f"c{i}")
            pod.call("Delete", id=f"c{i}")
            os.kill(pod.shim_pid, signal.SIGUSR1)
            self.assertLess(time.monotonic() - begin, 5 * SLOW)
        self.assertTrue(is_alive(pod.shim_pid))

    def fill(self):
        fd = os.open(f"{self.pod.bundles['pod']}/log", os.O_WRONLY | os.O_NONBLOCK)
        try:
            for size in (4096, 1):
                try:
                    while os.write(fd, b"x" * (size - 1) + b"\n"):
                        pass
                except BlockingIOError:
                    pass
        finally:
            os.close(fd)

    def test_full(self):
        """A reader that does not read: lines are dropped, counted, and the next that fits says how many."""
        self.fill()
        self.assert_works()
        os.read(self.log.fd, 1 << 20)
        self.pod.run("d", ["true"])
        lines = [line for line in self.log.text.split(b"\n")]
        self.assertEqual(lines, [b""])
        self.log.wait_for(msg="container created", id="d")
        self.assertGreater(max(int(line.get("dropped", 0)) for line in self.log.lines()), 3)

    def test_no_reader(self):
        os.close(self.log.fd)
        self.assert_works()
        self.log.fd = os.open(f"{self.pod.bundles['pod']}/log", os.O_RDONLY | os.O_NONBLOCK)
        self.assertEqual(self.log.wait_for(msg="container created", id="c0")["level"], "info")

    def test_reader_gone_and_back(self):
        for i in range(3):
            os.close(self.log.fd)
            self.pod.run(f"d{i}", ["true"])
            self.log.fd = os.open(f"{self.pod.bundles['pod']}/log", os.O_RDONLY | os.O_NONBLOCK)
        self.assert_works()
        self.log.wait_for(msg="container created", id="d2")

    def test_a_megabyte_of_failures(self):
        """Trap 60: without a reader, more than a FIFO holds."""
        os.close(self.log.fd)
        for i in range(1500):
            with self.assertRaises(ttrpc.Error):
                self.pod.call("Create", id="c", bundle="relative/" + "x" * 700)
        self.assert_works()
        self.log.fd = os.open(f"{self.pod.bundles['pod']}/log", os.O_RDONLY | os.O_NONBLOCK)
        self.assertTrue(self.log.lines())


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
