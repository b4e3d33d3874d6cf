#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`husk upgrade`: a running shim replaced in place. R22: same pid, sockets and FIFOs kept, a pending Wait survives, a hundred upgrades under log load lose
nothing. What must be true of everything here: byte-exact output, each call answered once, each exit told once, in order, no descriptor and no memory more."""
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import daemon  # pylint: disable=wrong-import-position
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position
from test_sandbox import Sandbox  # pylint: disable=wrong-import-position

HUSK = os.path.join(shim.BIN, "husk")
OTHERS = os.path.join(os.path.dirname(shim.BIN), "tests/upgrade")
NEXT, FAILING = (f"{OTHERS}/{name}/containerd-shim-husk-v2" for name in ("next", "failing"))
SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
ROUNDS = int(os.environ.get("HUSK_TEST_UPGRADES", "100"))
GROWTH_KIB = 16
LOG_LINES = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo {name} line $i; done; echo {name} end $i"
LOGGER = """#!/bin/sh
exec 5>&-
exec cat <&3 >{log}
"""


def run_husk(*args):
    return subprocess.run([HUSK, *args], capture_output=True, text=True, timeout=60 * SLOW, check=False)


def upgrade(pod, binary=None, is_refused=False):
    """One `husk upgrade POD`: its row."""
    done = run_husk("upgrade", "--json", *(["--binary", binary] if binary else []), pod.name)
    if done.returncode != int(is_refused) or not done.stdout:
        raise AssertionError(f"husk upgrade: {done}")
    row = json.loads(done.stdout)[0]
    if row["upgraded"] == is_refused or row["pid"] != pod.shim_pid:
        raise AssertionError(f"husk upgrade: {row}")
    return row


def descriptors(pid):
    """What each is: kinds of their targets, counted. Not the program's own mount, which goes a second after a start."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}").rstrip("0123456789[]")
        except OSError:
            continue
        if target != "/":
            found[target] = found.get(target, 0) + 1
    return found


def settled(pid, expected=None):
    """The descriptors once they are as expected, or have not changed for a while: the tool's own connection ends a moment after its answer."""
    end, last = time.monotonic() + 5 * SLOW, None
    while time.monotonic() < end:
        now = descriptors(pid)
        if now == (expected or last):
            return now
        last = now
        time.sleep(0.1)
    return last


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def ask(pod, path, timeout_ms=0, client=None):
    """The call itself, to be waited for by the caller."""
    payload = b"\x0a" + varint(len(path)) + path.encode() + (b"\x10" + varint(timeout_ms) if timeout_ms else b"")
    return (client or pod.client).start_call("husk.node.Node", "Upgrade", payload)


class UpgradeTest(unittest.TestCase):
    def setUp(self):
        self.pod = self.make_pod()
        self.addCleanup(self.pod.close)

    def make_pod(self):
        return shim.Pod("upgraded-pod")

    def check_lines(self, data, name):
        """Every line from the first to the one that the last names: none lost, none doubled, none cut."""
        lines = bytes(data).decode().splitlines()
        last = int(lines[-1].rsplit(" ", 1)[1])
        self.assertEqual(lines[-1], f"{name} end {last}")
        self.assertEqual(len(lines), last + 1)
        for i, line in enumerate(lines[:-1], 1):
            if line != f"{name} line {i}":
                self.fail(f"line {i} of {name} is {line!r}")
        return last

    def exits(self, cid=None, eid=None):
        return [e for topic, e in self.pod.events.log if topic == "/tasks/exit" and cid in (None, e["container_id"]) and eid in (None, e["id"])]

    def told(self, n, **which):
        self.assertTrue(self.pod.events.wait_for(lambda _: len(self.exits(**which)) >= n, 10 * SLOW), self.pod.events.log)
        time.sleep(0.1)
        self.assertEqual(len(self.exits(**which)), n, self.pod.events.log)

    def no_surplus(self):
        for client in self.pod.clients:
            self.assertEqual(client.surplus, [])


class UnderLoad(UpgradeTest):
    def slow_reader(self, path, pause):
        """Its FIFO is full most of the time, so that an upgrade finds bytes between here and there."""
        data = bytearray()
        os.mkfifo(path, 0o600)

        def read():
            with open(path, "rb", buffering=0) as f:
                while part := f.read(4096):
                    data.extend(part)
                    time.sleep(pause if not os.path.exists(f"{self.pod.rootfs}/stop") else 0)
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return data, thread

    def start_writers(self):
        """An init and an exec by FIFOs, each also through a terminal, and an init with a logging binary: {name: where its bytes are}."""
        pod, found = self.pod, {}
        names = {"fifo": {}, "tty": {"terminal": True}, "exec": {}, "exectty": {"terminal": True}, "logger": {}}
        for name, values in names.items():
            args = ["sh", "-c", ("stty raw; " if values else "") + LOG_LINES.format(name=name)]
            if name == "logger":
                log = f"{pod.dir}/logger.log"
                with open(f"{log}.sh", "w", encoding="utf-8") as f:
                    f.write(LOGGER.format(log=log))
                os.chmod(f"{log}.sh", 0o755)
                pod.call("Create", id=name, bundle=pod.bundle(name, args), stdout=f"binary://{log}.sh", stderr=f"binary://{log}.sh")
                found[name] = log
            elif name.startswith("exec"):
                path = f"{pod.dir}/{name}.fifo"
                found[name] = self.slow_reader(path, 0.002)
                spec = json.dumps(shim.process(args)).encode()
                pod.call("Exec", id="host", exec_id=name, stdout=path, spec={"type_url": shim.PROCESS_TYPE, "value": spec}, **values)
                pod.call("Start", id="host", exec_id=name)
                continue
            else:
                path = f"{pod.dir}/{name}.fifo"
                found[name] = self.slow_reader(path, 0.002)
                pod.call("Create", id=name, bundle=pod.bundle(name, args), stdout=path, **values)
            pod.call("Start", id=name)
        return found

    def targets(self, writers):
        return {name: {"id": "host", "exec_id": name} if name.startswith("exec") else {"id": name} for name in writers}

    def test_a_hundred_lose_nothing(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        writers = self.start_writers()
        targets = self.targets(writers)
        clients = {name: pod.connect() for name in writers}
        waits = {name: clients[name].start_task("Wait", **target) for name, target in targets.items()}
        upgrade(pod)
        time.sleep(2.5 * SLOW)  # what a start needs for itself is given back
        before, fds = pod.anonymous_kib(), settled(pod.shim_pid)
        held = []
        for i in range(ROUNDS):
            held.append(upgrade(pod)["heldMilliseconds"])
            if i % 10 == 0:
                self.assertEqual(pod.call("State", id="tty")["status"], 2)
        time.sleep(2.5 * SLOW)
        self.assertLessEqual(pod.anonymous_kib(), before + GROWTH_KIB)
        self.assertEqual(settled(pod.shim_pid, fds), fds)
        for wait in waits.values():
            self.assertFalse(wait.done.is_set())
        with open(f"{pod.rootfs}/stop", "w", encoding="utf-8"):
            pass
        for name, wait in waits.items():
            self.assertEqual(wait.result(30 * SLOW)["exit_status"], 0, name)
        for target in targets.values():
            pod.call("Delete", timeout=30 * SLOW, **target)
        lines = {}
        for name, where in writers.items():
            if name == "logger":
                with open(where, "rb") as f:
                    data = f.read()
            else:
                where[1].join(30 * SLOW)
                self.assertFalse(where[1].is_alive(), f"no EOF on {name}")
                data = where[0]
            lines[name] = self.check_lines(data, name)
        self.told(len(writers))
        self.no_surplus()
        held.sort()
        print(f"{ROUNDS} upgrades: requests held {held[len(held) // 2]} ms (median), {held[-1]} ms (most); lines {lines}; anonymous {before} KiB before, "
              f"{pod.anonymous_kib()} KiB after", file=sys.stderr)
        pod.finish("host")

    def test_execs_and_exits_meanwhile(self):
        """Short processes come and go all the time: each start is answered, each exit told once and after its start."""
        pod, failures, stop = self.pod, [], threading.Event()
        pod.run("host", ["sleep", "100000"])

        def probe(k):
            client, n = pod.connect(), 0
            try:
                while not stop.is_set():
                    eid = f"probe-{k}-{n}"
                    spec = json.dumps(shim.process(["sh", "-c", f"exit {n % 100}"])).encode()
                    client.task("Exec", 30 * SLOW, id="host", exec_id=eid, spec={"type_url": shim.PROCESS_TYPE, "value": spec})
                    client.task("Start", 30 * SLOW, id="host", exec_id=eid)
                    status = client.task("Wait", 30 * SLOW, id="host", exec_id=eid)["exit_status"]
                    deleted = client.task("Delete", 30 * SLOW, id="host", exec_id=eid)["exit_status"]
                    if (status, deleted) != (n % 100, n % 100):
                        failures.append((eid, status, deleted))
                    n += 1
            except Exception as e:  # pylint: disable=broad-except
                failures.append((k, n, repr(e)))
            counts[k] = n
        counts = {}
        threads = [threading.Thread(target=probe, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        for _ in range(30):
            upgrade(pod)
        stop.set()
        for t in threads:
            t.join(60 * SLOW)
        self.assertEqual(failures, [])
        self.told(sum(counts.values()))
        seen = {}
        for topic, e in pod.events.log:
            if e.get("exec_id", "").startswith("probe") or e.get("id", "").startswith("probe"):
                seen.setdefault(e.get("exec_id") or e["id"], []).append(topic.rsplit("/", 1)[1])
        for eid, topics in seen.items():
            self.assertEqual(topics, ["exec-added", "exec-started", "exit"], eid)
        self.no_surplus()
        print(f"30 upgrades under {sum(counts.values())} execs", file=sys.stderr)
        pod.finish("host")

    def test_exits_at_the_very_moment(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        for i in range(20):
            cid = f"mayfly-{i}"
            pid = pod.run(cid, ["sleep", "1000"])
            wait = pod.client.start_task("Wait", id=cid)
            killer = threading.Timer(0.0005 * (i % 8), os.kill, (pid, signal.SIGKILL))
            killer.start()
            upgrade(pod)
            killer.join()
            self.assertEqual(wait.result(10 * SLOW)["exit_status"], 137)
            self.assertEqual(pod.call("Delete", id=cid)["exit_status"], 137)
            self.told(1, cid=cid)
        self.no_surplus()
        pod.finish("host")


class Kept(UpgradeTest):
    """What is in a shim, one thing at a time."""

    def test_events_while_containerd_is_away(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        self.assertTrue(pod.events.wait_for(lambda log: any(t == "/tasks/start" for t, _ in log), 10))
        pod.events.close()
        for i in range(20):
            pod.exec("host", f"away-{i}", ["sh", "-c", f"exit {i}"])
            pod.call("Start", id="host", exec_id=f"away-{i}")
            pod.call("Wait", id="host", exec_id=f"away-{i}")
            if i % 5 == 0:
                upgrade(pod)
        upgrade(pod)
        pod.events.open()
        self.told(20)
        self.assertEqual([(e["id"], e["exit_status"]) for e in self.exits()], [(f"away-{i}", i) for i in range(20)])
        for i in range(20):
            pod.call("Delete", id="host", exec_id=f"away-{i}")
        pod.finish("host")

    def test_created_and_not_started(self):
        pod, marks = self.pod, {}

        def hooks(document):
            for kind in ("poststart", "poststop"):
                marks[kind] = f"{pod.dir}/{kind}"
                document.setdefault("hooks", {})[kind] = [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{marks[kind]}"]}]
            document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}]}
        pid = pod.create("waiting", ["sh", "-c", "echo ran; exit 7"], change=hooks)
        wait = pod.client.start_task("Wait", id="waiting")
        for _ in range(3):
            upgrade(pod)
        self.assertEqual(pod.call("State", id="waiting")["status"], 1)
        self.assertEqual(pod.call("Start", id="waiting")["pid"], pid)
        self.assertEqual(wait.result(10 * SLOW)["exit_status"], 7)
        upgrade(pod)  # stopped, with a hook of its end to come
        self.assertEqual(pod.call("Delete", id="waiting")["exit_status"], 7)
        self.assertEqual(pod.output["waiting"].text(), "ran\n")
        for kind, status in (("poststart", "running"), ("poststop", "stopped")):
            with open(marks[kind], encoding="utf-8") as f:
                state = json.loads(f.read())
            self.assertEqual((state["id"], state["status"]), ("waiting", status))
        pid = pod.create("never", ["true"])
        upgrade(pod)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(pod.call("Wait", id="never")["exit_status"], 137)
        with self.assertRaises(ttrpc.Error):
            pod.call("Start", id="never")
        pod.call("Delete", id="never")
        self.told(2)

    def test_every_state(self):
        """Paused, stopped, an exec that was not started, one that has ended: as before, and able to go on."""
        pod = self.pod
        pod.run("frozen", ["sleep", "100000"])
        pod.call("Pause", id="frozen")
        pod.run("over", ["sh", "-c", "exit 3"])
        pod.call("Wait", id="over")
        pod.run("host", ["sleep", "100000"])
        pod.exec("host", "added", ["sh", "-c", "echo late; exit 4"])
        pod.exec("host", "ended", ["sh", "-c", "exit 5"])
        pod.call("Start", id="host", exec_id="ended")
        ended_at = pod.call("Wait", id="host", exec_id="ended")["exited_at"]
        states = [{"id": "frozen"}, {"id": "over"}, {"id": "host"}, {"id": "host", "exec_id": "added"}, {"id": "host", "exec_id": "ended"}]
        before = [pod.call("State", **s) for s in states]
        for _ in range(3):
            upgrade(pod)
        self.assertEqual([pod.call("State", **s) for s in states], before)
        self.assertEqual([s["status"] for s in before], [4, 3, 2, 1, 3])
        pod.call("Resume", id="frozen")
        self.assertEqual(pod.call("State", id="frozen")["status"], 2)
        pod.call("Start", id="host", exec_id="added")
        self.assertEqual(pod.call("Wait", id="host", exec_id="added")["exit_status"], 4)
        pod.call("Delete", id="host", exec_id="added")
        self.assertEqual(pod.output["added"].text(), "late\n")
        self.assertEqual(pod.call("Wait", id="host", exec_id="ended"), {"exit_status": 5, "exited_at": ended_at})
        self.assertEqual(pod.call("Delete", id="host", exec_id="ended")["exited_at"], ended_at)
        self.assertEqual(pod.call("Delete", id="over")["exit_status"], 3)
        self.assertGreater(len(pod.call("Pids", id="host")["processes"]), 0)
        self.assertTrue(pod.call("Stats", id="host")["stats"]["value"])
        pod.call("Update", id="host", resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps({"pids": {"limit": 77}}).encode()})
        with self.assertRaises(ttrpc.Error) as caught:
            pod.call("Start", id="host")
        self.assertIn("cannot start a running process", caught.exception.message)
        for cid in ("frozen", "host"):
            pod.finish(cid)

    def test_an_exec_has_what_its_container_has(self):
        """What of the document an exec needs later: asked before and after, of a container with as much of it as there is."""
        pod = self.pod

        def change(document):
            process = document["process"]
            process.update({"oomScoreAdj": 321, "noNewPrivileges": True, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]})
            process["user"]["umask"] = 0o27
            process["capabilities"] = {k: ["CAP_KILL", "CAP_CHOWN"] for k in ("bounding", "effective", "permitted")}
            document["annotations"]["husk.io/exec-linger"] = "1"
            document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
        pod.run("host", ["sleep", "100000"], change=change)
        script = ("umask; cat /proc/self/oom_score_adj; grep -E 'open files' /proc/self/limits; grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; "
                  "mkdir /tmp/x 2>&1; cat /proc/self/cgroup; ls -l /proc/self/ns | wc -l; readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/mnt; hostname")
        plain = shim.process(["sh", "-c", script])
        for key in ("capabilities", "noNewPrivileges"):
            plain.pop(key)
        answers = []
        for i in range(3):
            path = f"{pod.dir}/same-{i}"
            pod.output[path] = pod.fifo(path)
            pod.call("Exec", id="host", exec_id=f"same-{i}", stdout=path, stderr=path, spec={"type_url": shim.PROCESS_TYPE, "value": json.dumps(plain).encode()})
            pod.call("Start", id="host", exec_id=f"same-{i}")
            pod.call("Wait", id="host", exec_id=f"same-{i}")
            pod.call("Delete", id="host", exec_id=f"same-{i}")
            answers.append(pod.output[path].text())
            upgrade(pod)
        self.assertIn("0027\n321\n", answers[0])
        self.assertIn("Operation not permitted", answers[0])
        self.assertEqual(answers[1:], answers[:1] * 2)
        pod.finish("host")

    def test_stdin(self):
        """Bytes on their way to an init, an exec and a terminal; the end of them afterwards."""
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        writers = {}
        for name, is_exec, terminal in (("cat", False, False), ("execcat", True, False), ("ttycat", False, True)):
            args = ["sh", "-c", ("stty raw -echo; echo ready; " if terminal else "") + ("exec head -c 400006" if terminal else "exec cat")]
            if is_exec:
                pod.exec("host", name, args, stdin=True)
                target, fifo = {"id": "host", "exec_id": name}, f"{pod.dir}/{name}.in"
            else:
                pod.create(name, args, stdin=True, terminal=terminal)
                target, fifo = {"id": name}, f"{pod.dir}/{name}/stdin"
            pod.call("Start", **target)
            if terminal:
                pod.output[name].wait_for(b"ready")
            writers[name] = (target, open(fifo, "wb", buffering=0))
        sent = b""
        for i in range(20):
            part = (b"%05d" % i) * 4000
            sent += part
            for _, f in writers.values():
                f.write(part)
            upgrade(pod)
        for name, (target, f) in writers.items():
            f.write(b"\nlast\n")
            f.close()
            pod.call("CloseIO", stdin=True, **target)
            self.assertEqual(pod.call("Wait", timeout=30 * SLOW, **target)["exit_status"], 0, name)
            pod.call("Delete", timeout=30 * SLOW, **target)
            got = pod.output[name].bytes(30 * SLOW)
            self.assertEqual(got.removeprefix(b"ready\n") == sent + b"\nlast\n", True, (name, len(got), len(sent)))
        pod.finish("host")

    def test_output_that_nobody_reads(self):
        """husk.io/stdio-spill: what is kept of it, and the count of what is not, go along."""
        pod = self.pod
        path = f"{pod.dir}/kept.out"
        os.mkfifo(path)
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        pod.call("Create", id="kept", stdout=path, bundle=pod.bundle(
            "kept", ["sh", "-c", "seq 1 100000; while [ ! -e /go ]; do sleep 0.05; done; echo last"],
            change=lambda c: c["annotations"].update({"husk.io/stdio-spill": "200000"})))
        pod.call("Start", id="kept")
        os.close(first)

        def dropped():
            why = json.loads(run_husk("why", "--json", "kept").stdout)[0]
            return next(c["droppedBytes"] for c in why["containers"] if c["id"] == "kept")
        said = b"".join(b"%d\n" % i for i in range(1, 100001))
        eventually(lambda: dropped() >= len(said) - 200000 - 131072, 10 * SLOW, "the end of what it says")
        time.sleep(0.2)
        before = dropped()
        upgrade(pod)
        self.assertEqual(dropped(), before)
        got = bytearray()
        with open(path, "rb", buffering=0) as f:
            while len(got) < len(said) - before:
                got += f.read(65536)
            self.assertTrue(said.startswith(got))
            with open(f"{pod.rootfs}/go", "w", encoding="ascii"):
                pass
            self.assertEqual(f.read(100), b"last\n")
            self.assertEqual(pod.call("Wait", id="kept")["exit_status"], 0)
            self.assertEqual(f.read(1), b"")
        pod.call("Delete", id="kept")

    def test_half_a_request_and_answers_that_nobody_reads(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        half, lazy = (socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2))
        for s in (half, lazy):
            self.addCleanup(s.close)
            s.connect(pod.address.replace("unix://", ""))
        payload = ttrpc.encode("Request", service=ttrpc.TASK_V3, method="State", payload=ttrpc.encode("StateRequest", id="host"))
        request = ttrpc.frame(1, ttrpc.REQUEST, payload)
        # One connection has sent a part of a frame at each upgrade; the other asks more than its socket takes answers for.
        for n in range(0, len(request), 7):
            half.sendall(request[n:n + 7])
            upgrade(pod)
        asked = 0
        lazy.settimeout(0.2)
        try:
            while asked < 20000:
                lazy.sendall(ttrpc.frame(2 * asked + 1, ttrpc.REQUEST, payload))
                asked += 1
        except TimeoutError:
            self.fail("the shim does not read") if asked < 100 else None
        cut = asked  # that frame may be there in part
        upgrade(pod)
        upgrade(pod)
        half.settimeout(10 * SLOW)
        size, stream, kind, _ = ttrpc.HEADER.unpack(ttrpc.recv_exactly(half, ttrpc.HEADER.size))
        state = ttrpc.decode("StateResponse", ttrpc.decode("Response", ttrpc.recv_exactly(half, size))["payload"])
        self.assertEqual((stream, kind, state["id"], state["status"]), (1, ttrpc.RESPONSE, "host", 2))
        lazy.settimeout(10 * SLOW)
        for i in range(cut):
            size, stream, kind, _ = ttrpc.HEADER.unpack(ttrpc.recv_exactly(lazy, ttrpc.HEADER.size))
            ttrpc.recv_exactly(lazy, size)
            if (stream, kind) != (2 * i + 1, ttrpc.RESPONSE):
                self.fail(f"answer {i} has stream {stream}")
            if i == cut // 2:
                upgrade(pod)
        lazy.close()
        half.close()
        pod.finish("host")

    def test_a_wait_with_a_deadline(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        begin = time.monotonic()
        wait = pod.client.start_call(ttrpc.TASK_V3, "Wait", ttrpc.encode("WaitRequest", id="host"), "WaitResponse", timeout_nano=1_500_000_000)
        upgrade(pod)
        upgrade(pod)
        with self.assertRaises(ttrpc.Error) as caught:
            wait.result(20 * SLOW)
        self.assertEqual(caught.exception.code, 4)
        self.assertGreaterEqual(time.monotonic() - begin, 1.5)
        pod.finish("host")

    def test_kills_for_memory(self):
        """Each told once, before and after, none again."""
        pod = self.pod

        def limit(document):
            document["linux"]["resources"]["memory"] = {"limit": 32 << 20}
        pod.run("host", ["sleep", "100000"], change=limit)

        def eat(eid):
            pod.exec("host", eid, ["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"])
            pod.call("Start", id="host", exec_id=eid)
            status = pod.call("Wait", id="host", exec_id=eid)["exit_status"]
            pod.call("Delete", id="host", exec_id=eid)
            return status
        for i in range(3):
            self.assertEqual(eat(f"eater-{i}"), 137)
            upgrade(pod)
            ooms = lambda: [e for topic, e in pod.events.log if topic == "/tasks/oom"]  # pylint: disable=unnecessary-lambda-assignment
            self.assertTrue(pod.events.wait_for(lambda _, n=i + 1: len(ooms()) >= n, 10 * SLOW))
            time.sleep(0.2)
            self.assertEqual(len(ooms()), i + 1)
        self.assertEqual(json.loads(run_husk("ps", "--json").stdout)[0]["containers"][0]["oomKills"], 3)
        pod.finish("host")

    def test_husk_itself(self):
        """Its history, its followers and its numbers go on."""
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        with self.assertRaises(ttrpc.Error):
            pod.call("Start", id="host")
        before = [(e["what"], e["id"], e.get("error")) for e in json.loads(run_husk("why", "--json", pod.name).stdout)[0]["events"]]
        with subprocess.Popen([HUSK, "events", "-f", "--json"], stdout=subprocess.PIPE, text=True) as follower:
            try:
                for line in follower.stdout:
                    if json.loads(line)["what"] == "Start":
                        break
                time.sleep(1.2)
                for i in range(3):
                    upgrade(pod)
                    pod.exec("host", f"seen-{i}", ["true"])
                    pod.call("Start", id="host", exec_id=f"seen-{i}")
                    pod.call("Wait", id="host", exec_id=f"seen-{i}")
                    pod.call("Delete", id="host", exec_id=f"seen-{i}")
                seen = []
                for line in follower.stdout:
                    event = json.loads(line)
                    seen.append((event["what"], event["execId"]))
                    if seen[-1] == ("exit", "seen-2"):
                        break
            finally:
                follower.kill()
        self.assertEqual(seen, [(what, f"seen-{i}") for i in range(3) for what in ("exec-added", "exec-started", "exit")])
        after = [(e["what"], e["id"], e.get("error")) for e in json.loads(run_husk("why", "--json", pod.name).stdout)[0]["events"]]
        self.assertEqual(after[:len(before)], before)
        self.assertIn(("Start", "host", "cannot start a running process"), after)
        pod.finish("host")

    def test_a_shim_that_dies_later(self):
        """Its state files are those of before: `delete` leaves nothing."""
        pod = self.pod
        pid = pod.run("host", ["sleep", "100000"])
        upgrade(pod)
        os.kill(pod.shim_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertEqual((pod.delete("host")["pid"], is_alive(pid)), (pid, False))

    def test_the_end(self):
        """Shutdown after an upgrade: the same end as without one."""
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        upgrade(pod)
        pod.finish("host")
        upgrade(pod)
        pod.call("Shutdown", id="host")
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertFalse(os.path.exists(pod.address.replace("unix://", "")))


class Pauseless(UpgradeTest):
    def make_pod(self):
        return Sandbox("upgraded-box")

    def test_sandbox(self):
        pod = self.pod
        pid = pod.run_box()
        wait = pod.start_box("WaitSandbox")
        pod.run("worker", ["sh", "-c", "hostname; sleep 100000"], change=pod.join(pid, "network", "ipc", "uts"))
        status = pod.box("SandboxStatus")
        for _ in range(5):
            upgrade(pod)
        self.assertEqual(pod.box("SandboxStatus"), status)
        pod.run("second", ["hostname"], change=pod.join(pid, "network", "ipc", "uts"))
        pod.call("Wait", id="second")
        pod.call("Delete", id="second")
        self.assertEqual(pod.output["second"].text(), "web-0\n")
        self.assertFalse(wait.done.is_set())
        pod.box("StopSandbox")
        self.assertIn("exit_status", wait.result(10 * SLOW))
        pod.call("Wait", id="worker")
        pod.call("Delete", id="worker")
        upgrade(pod)
        pod.box("ShutdownSandbox")
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.no_surplus()

    def test_created_and_ended_between_two(self):
        """An upgrade between CreateSandbox and StartSandbox; a death that comes with one."""
        pod = self.pod
        pod.create_box()
        upgrade(pod)
        pid = pod.box("StartSandbox")["pid"]
        wait = pod.start_box("WaitSandbox")
        os.kill(pid, signal.SIGKILL)
        upgrade(pod)
        self.assertEqual(wait.result(10 * SLOW)["exit_status"], 137)
        self.assertEqual(pod.box("SandboxStatus")["state"], "SANDBOX_NOTREADY")
        pod.box("ShutdownSandbox")
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")


class Programs(UpgradeTest):
    """Which program may come."""

    def test_it_cannot_be_written(self):
        """CVE-2019-5736: what /proc/PID/exe of an upgraded shim leads to is on a read-only mount of its own, whatever the installed file is."""
        self.pod.run("host", ["sleep", "100000"])
        path = self.program("copy", open(shim.SHIM, "rb").read())  # pylint: disable=consider-using-with
        upgrade(self.pod, path)
        with self.assertRaises(OSError) as caught:  # with O_TRUNC the mount is asked first, before the kernel says that it runs (ETXTBSY)
            os.close(os.open(f"/proc/{self.pod.shim_pid}/exe", os.O_RDWR | os.O_TRUNC))
        self.assertEqual(caught.exception.errno, errno.EROFS)
        os.unlink(path)  # and it needs the name no more
        upgrade(self.pod)
        self.pod.finish("host")

    def test_what_a_server_is(self):
        """Session, signals, capabilities, core dumps, OOM score and cgroups of the process are those of one that was born as it is."""
        def facts():
            with open(f"/proc/{self.pod.shim_pid}/status", encoding="utf-8") as f:
                kept = [line for line in f if line.startswith(("Name", "Uid", "Gid", "Groups", "Sig", "Shd", "Cap", "NoNewPrivs", "Umask", "NSpid", "Threads"))
                        and not line.startswith("SigQ")]
            with open(f"/proc/{self.pod.shim_pid}/stat", encoding="utf-8") as f:
                kept += f.read().rpartition(")")[2].split()[1:5]
            for name in ("oom_score_adj", "cgroup", "coredump_filter"):
                with open(f"/proc/{self.pod.shim_pid}/{name}", encoding="utf-8") as f:
                    kept.append(f.read())
            return kept, os.readlink(f"/proc/{self.pod.shim_pid}/cwd"), os.readlink(f"/proc/{self.pod.shim_pid}/ns/mnt")
        self.pod.run("host", ["sleep", "100000"])
        before = facts()
        upgrade(self.pod)
        self.assertEqual(facts(), before)
        # An orphan of the container's is still ours to reap, and the children were not told anything new.
        self.pod.exec("host", "parent", ["sh", "-c", "sleep 0.2 & exit 0"])
        self.pod.call("Start", id="host", exec_id="parent")
        self.pod.call("Wait", id="host", exec_id="parent")
        upgrade(self.pod)
        time.sleep(0.5)
        children = subprocess.run(["ps", "-o", "stat=", "--ppid", str(self.pod.shim_pid)], capture_output=True, text=True, check=False).stdout.split()
        self.assertEqual([s for s in children if s.startswith("Z")], [])
        self.pod.call("Delete", id="host", exec_id="parent")
        self.pod.finish("host")

    def test_another_version(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        pod.exec("host", "across", ["sh", "-c", "read x; echo got $x; exit 9"], stdin=True)
        pod.call("Start", id="host", exec_id="across")
        wait = pod.client.start_task("Wait", id="host", exec_id="across")
        row = upgrade(pod, NEXT)
        self.assertEqual((row["to"], row["toRevision"]), ("99.0.0", "next"))
        self.assertNotEqual(row["from"], "99.0.0")
        table = run_husk("ps")
        self.assertRegex(table.stdout, r"99\.0\.0 \(next\), husk is \S+")
        found = [p for p in json.loads(run_husk("ps", "--json").stdout) if p["group"] == pod.name][0]["shim"]
        self.assertEqual((found["version"], found["revision"], found["isCurrent"]), ("99.0.0", "next", False))
        with open(f"/proc/{pod.shim_pid}/cmdline", "rb") as f:
            words = f.read().split(b"\0")
        self.assertEqual((words[0].decode(), words[-3]), (NEXT, b"-resume"))
        row = upgrade(pod)  # and back, without its stopping
        self.assertEqual((row["from"], row["to"] != "99.0.0"), ("99.0.0", True))
        found = [p for p in json.loads(run_husk("ps", "--json").stdout) if p["group"] == pod.name][0]["shim"]
        self.assertTrue(found["isCurrent"])
        with open(f"{pod.dir}/across.in", "wb") as f:
            f.write(b"it\n")
        self.assertEqual(wait.result(10 * SLOW)["exit_status"], 9)
        pod.call("Delete", id="host", exec_id="across")
        self.assertEqual(pod.output["across"].text(), "got it\n")
        pod.finish("host")

    def refused(self, path, reason):
        begin = settled(self.pod.shim_pid)
        row = upgrade(self.pod, path, is_refused=True)
        self.assertIn(reason, row["reason"])
        self.assertEqual(self.pod.call("State", id="host")["status"], 2)
        self.assertEqual(settled(self.pod.shim_pid, begin), begin)
        with open(f"/proc/{self.pod.shim_pid}/cmdline", "rb") as f:
            self.assertNotIn(b"-resume", f.read().split(b"\0"))

    def program(self, name, data, mode=0o755):
        path = f"{self.pod.dir}/{name}"
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def test_refused_before_anything_is_given_up(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        wait = pod.client.start_task("Wait", id="host")
        with open(shim.SHIM, "rb") as f:
            real = f.read()
        mark = b"husk-shim takes husk-state 1"
        self.assertEqual(real.count(mark), 1)
        trace = f"{pod.dir}/was-run"
        self.refused("/bin/busybox", "is not a shim of husk's")
        self.refused(HUSK, "is not a shim of husk's")  # a program of husk's, but not this one
        self.refused(self.program("script", f"#!/bin/sh\necho run >{trace}\n".encode()), "is not a shim of husk's")
        self.refused(self.program("other-format", real.replace(mark, mark[:-1] + b"2")), "is not a shim of husk's")
        self.refused(self.program("not-executable", real, 0o644), "is not a program")
        self.refused(self.program("group-writable", real, 0o775), "can be written by others")
        self.refused(self.program("world-writable", real, 0o757), "can be written by others")
        self.refused(self.program("setgid", real, 0o2755), "set-group-id")
        stranger = self.program("of-another-user", real)
        os.chown(stranger, 12345, 0)
        self.refused(stranger, "can be written by others")
        self.refused(pod.dir, "is not a program")
        os.mkfifo(f"{pod.dir}/fifo", 0o755)
        self.refused(f"{pod.dir}/fifo", "is not a program")
        # It has the mark, and does not do what the mark says: another program, one that hangs, half a file.
        with open(shim.BUSYBOX, "rb") as f:
            busybox = f.read()  # which applet it is says its name
        self.refused(self.program("true", busybox + mark), "cannot take the state: it ended with status 0")
        self.refused(self.program("half", real[:len(real) // 10] + mark), "cannot take the state")
        begin = time.monotonic()
        self.refused(self.program("yes", busybox + mark), "did not take the state within 5 s")
        self.assertLess(time.monotonic() - begin, 15 * SLOW)
        self.assertFalse(os.path.exists(trace))
        for path in ("relative/path", "/nonexistent/shim", "/" + "x" * 5000):
            with self.assertRaises(ttrpc.Error):
                ask(pod, path).result(10 * SLOW)
        self.assertFalse(wait.done.is_set())
        upgrade(pod)  # a refusal is no obstacle
        pod.finish("host")
        wait.result(10)

    def test_one_that_fails_after_execve(self):
        """The old program comes back, with everything, and says so."""
        pod = self.pod
        pod.run("host", ["sh", "-c", LOG_LINES.format(name="host")])
        pod.run("tty", ["sh", "-c", "stty raw; " + LOG_LINES.format(name="tty")], terminal=True)
        waiting = pod.create("waiting", ["true"])
        wait = pod.client.start_task("Wait", id="host")
        pod.exec("host", "later", ["sh", "-c", "exit 6"])
        fds = None
        for _ in range(10):
            row = upgrade(pod, FAILING, is_refused=True)
            self.assertIn("take the events over: ENOMEM", row["reason"])
            fds = fds or settled(pod.shim_pid)
        self.assertEqual(settled(pod.shim_pid, fds), fds)
        found = [p for p in json.loads(run_husk("ps", "--json").stdout) if p["group"] == pod.name][0]["shim"]
        self.assertTrue(found["isCurrent"])
        upgrade(pod, NEXT)
        pod.call("Start", id="host", exec_id="later")
        self.assertEqual(pod.call("Wait", id="host", exec_id="later")["exit_status"], 6)
        pod.call("Delete", id="host", exec_id="later")
        self.assertEqual(pod.call("Start", id="waiting")["pid"], waiting)
        pod.call("Wait", id="waiting")
        pod.call("Delete", id="waiting")
        with open(f"{pod.rootfs}/stop", "w", encoding="utf-8"):
            pass
        self.assertEqual(wait.result(30 * SLOW)["exit_status"], 0)
        pod.call("Wait", id="tty")
        for name in ("host", "tty"):
            pod.call("Delete", id=name)
            self.check_lines(pod.output[name].bytes(30 * SLOW), name)
        self.no_surplus()


class Busy(UpgradeTest):
    def test_what_does_not_end_in_time(self):
        """An exec waits for the reader of its FIFO: the upgrade is refused with that, and meanwhile nobody waits longer than a second."""
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        fifo = f"{pod.dir}/nobody"
        os.mkfifo(fifo)
        pod.call("Exec", id="host", exec_id="stuck", stdout=fifo, spec={"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()})
        start = pod.client.start_task("Start", id="host", exec_id="stuck")
        eventually(lambda: json.loads(run_husk("why", "--json", "host").stdout)[0]["calls"], what="pending call")
        asked = ask(pod, os.path.realpath(shim.SHIM), 3000)
        with self.assertRaises(ttrpc.Error) as caught:
            ask(pod, os.path.realpath(shim.SHIM), client=pod.connect()).result(10 * SLOW)
        self.assertIn("an upgrade is under way", caught.exception.message)
        slowest, client = 0, pod.connect()
        while not asked.done.is_set():
            begin = time.monotonic()
            client.task("State", 10 * SLOW, id="host")
            slowest = max(slowest, time.monotonic() - begin)
        with self.assertRaises(ttrpc.Error) as caught:
            asked.result(1)
        self.assertIn("still busy: exec stuck of container host: it waits for readers of its stdio", caught.exception.message)
        self.assertLess(slowest, 1.2 * SLOW)
        with open(fifo, "rb", buffering=0):
            start.result(10 * SLOW)
            pod.call("Wait", id="host", exec_id="stuck")
            pod.call("Delete", id="host", exec_id="stuck")
        upgrade(pod)
        pod.finish("host")

    def test_a_slow_create_is_waited_for(self):
        pod = self.pod

        def hook(document):
            document["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1.5"]}]}
        create = pod.client.start_task("Create", **pod.request("slow", ["sleep", "100000"], change=hook))
        eventually(lambda: json.loads(run_husk("why", "--json", pod.name).stdout)[0]["calls"], what="pending call")
        asked = ask(pod, os.path.realpath(shim.SHIM), client=pod.connect())
        asked.result(15 * SLOW)
        self.assertTrue(create.done.is_set())
        self.assertEqual(pod.call("State", id="slow")["pid"], create.result(1)["pid"])
        pod.call("Start", id="slow")
        pod.finish("slow")

    def test_whoever_asked_has_gone(self):
        pod = self.pod
        pod.run("host", ["sleep", "100000"])
        for _ in range(5):
            client = pod.connect()
            ask(pod, os.path.realpath(shim.SHIM), client=client)
            client.close()
            self.assertEqual(pod.call("State", id="host")["status"], 2)
        upgrade(pod)
        pod.finish("host")


class Tool(unittest.TestCase):
    def test_all(self):
        with shim.Pod("first-upgraded") as one, shim.Pod("second-upgraded") as two:
            for pod in (one, two):
                pod.run(f"in-{pod.name}", ["sleep", "100000"])
            os.kill(two.shim_pid, signal.SIGKILL)
            eventually(lambda: not is_alive(two.shim_pid), what="end of the shim")
            done = run_husk("upgrade", "--all")
            lines = done.stdout.splitlines()
            self.assertEqual(done.returncode, 0, done)
            self.assertEqual(lines[0].split(), ["POD", "SHIM", "FROM", "TO", "HELD", "RESULT"])
            self.assertRegex(done.stdout, rf"first-upgraded +{one.shim_pid} .* upgraded")
            self.assertRegex(done.stdout, r"second-upgraded .* nobody listens")
            done = run_husk("upgrade", "--all", "--binary", "/bin/busybox")
            self.assertEqual(done.returncode, 1)
            self.assertIn("is not a shim of husk's", done.stdout)
            done = run_husk("upgrade", "second-upgraded")
            self.assertEqual(done.returncode, 1)
            done = run_husk("upgrade", "in-first-upgraded")  # by a container of it
            self.assertEqual(done.returncode, 0, done)

    def test_words(self):
        for args, reason in ((["upgrade"], "name a pod, or give --all"), (["upgrade", "--all", "x"], "name a pod, or give --all"),
                             (["upgrade", "no-such-pod"], "no pod or container \"no-such-pod\""), (["upgrade", "--all", "--binary", "/nonexistent"], "find /nonexistent")):
            done = run_husk(*args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(reason, done.stderr)
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", HUSK, "upgrade", "--all"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("only root may replace a shim", done.stderr)


class Containerd(unittest.TestCase):
    """The daemon notices nothing: its connection, its Wait and its restart are as before."""

    def test_with_a_daemon(self):
        if not daemon.CONTAINERD:
            self.skipTest("containerd is not installed")
        with daemon.Daemon() as d:
            d.import_images()
            d.ctr("run", "-d", "--runtime", daemon.HUSK, daemon.BUSYBOX, "upg-task", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
            shim_pid = [p["shim"]["pid"] for p in json.loads(run_husk("ps", "--json").stdout) if p["group"] == "upg-task"][0]
            waiting = subprocess.Popen(["ctr", "-a", d.address, "tasks", "attach", "upg-task"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            try:
                for i in range(10):
                    done = run_husk("upgrade", "--all", "--json")
                    self.assertEqual(done.returncode, 0, done)
                    self.assertEqual([r["pid"] for r in json.loads(done.stdout) if r["group"] == "upg-task"], [shim_pid])
                    # Not over at once: ctr itself may give up the output of an exec that is.
                    self.assertEqual(d.ctr("tasks", "exec", "--exec-id", f"upg-exec-{i}", "upg-task", "sh", "-c", "echo hello; sleep 0.2").stdout, "hello\n")
                d.stop()
                self.assertEqual(run_husk("upgrade", "upg-task").returncode, 0)
                d.start()
                self.assertRegex(d.ctr("tasks", "ls").stdout, r"upg-task +\d+ +RUNNING")
                self.assertEqual(run_husk("upgrade", "upg-task").returncode, 0)
                d.ctr("tasks", "kill", "-s", "KILL", "upg-task")
                eventually(lambda: "STOPPED" in d.ctr("tasks", "ls").stdout, 20 * SLOW, "the exit")
                self.assertRegex(d.ctr("tasks", "rm", "upg-task").stderr, "upg-task exit with non-zero exit code 137")
                d.ctr("containers", "rm", "upg-task")
                eventually(lambda: not is_alive(shim_pid), 20 * SLOW, "the end of the shim")
            finally:
                waiting.kill()
                waiting.wait()


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
