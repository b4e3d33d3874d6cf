#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Task service method by method: what each answers in every state of a container and of an exec, by code and by the words that clients
know; signals; deadlines; who does not die. The shim alone, over its socket."""
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from podtest import *  # pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.procs")
OK = None
EXEC = {"exec_id": "x", "spec": {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()}}
UPDATE = {"resources": {"type_url": shim.RESOURCES_TYPE, "value": b"{}"}}

# method: its fields beside the ids, and for each state the code and text of the refusal (OK = it is answered). "-" = not asked.
INIT = {
    "Start": ({}, {"created": "-", "running": (9, "^cannot start a running process$"), "paused": (9, "^cannot start a running process$"),
                   "stopped": (9, "^cannot start a stopped process$")}),
    "Delete": ({}, {"created": "-", "running": (9, "^cannot delete a running process$"), "paused": (9, "^cannot delete a running process$"),
                    "stopped": "-"}),
    "State": ({}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "Connect": ({}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "Pids": ({}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "Stats": ({}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "Exec": (EXEC, {"created": OK, "running": OK, "paused": (9, "^cannot exec in a paused state$"), "stopped": (9, "^cannot exec in a stopped state$")}),
    "Kill": ({"signal": 0}, {"created": OK, "running": OK, "paused": OK, "stopped": (5, "^process already finished: not found$")}),
    "Pause": ({}, {"created": (9, "^cannot pause task in created state$"), "running": "-", "paused": (9, "^cannot pause a paused container$"),
                   "stopped": (9, "^cannot pause a stopped container$")}),
    "Resume": ({}, {"created": (9, "^cannot resume task in created state$"), "running": (9, "^cannot resume a running process$"), "paused": "-",
                    "stopped": (9, "^cannot resume a stopped container$")}),
    "Update": (UPDATE, {"created": OK, "running": OK, "paused": OK, "stopped": (9, "^cannot update a stopped container$")}),
    "CloseIO": ({"stdin": True}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "ResizePty": ({"width": 80, "height": 24}, {"created": OK, "running": OK, "paused": OK, "stopped": OK}),
    "Checkpoint": ({"path": "/nowhere"}, {"created": (9, "^cannot checkpoint a created container$"), "running": "-", "paused": "-",
                                          "stopped": (9, "^cannot checkpoint a stopped container$")}),
    "Wait": ({}, {"created": "-", "running": "-", "paused": "-", "stopped": OK}),
}
OF_EXEC = {
    "Start": ({}, {"new": "-", "running": (9, "^cannot start a running process$"), "stopped": (9, "^cannot start a stopped process$")}),
    "Delete": ({}, {"new": "-", "running": (9, "^cannot delete a running process$"), "stopped": "-"}),
    "State": ({}, {"new": OK, "running": OK, "stopped": OK}),
    "Kill": ({"signal": 0}, {"new": (9, "^process not created$"), "running": OK, "stopped": (5, "^process already finished: not found$")}),
    "CloseIO": ({"stdin": True}, {"new": OK, "running": OK, "stopped": OK}),
    "ResizePty": ({"width": 80, "height": 24}, {"new": OK, "running": OK, "stopped": (9, "^cannot resize a stopped container$")}),
    "Wait": ({}, {"new": "-", "running": "-", "stopped": OK}),
}


class States(PodTest):
    def ask(self, state, table, **ids):
        for method, (values, wanted) in table.items():
            if wanted[state] == "-":
                continue
            with self.subTest(method=method, state=state, **ids):
                if wanted[state] is OK:
                    self.pod.call(method, **ids, **values)
                else:
                    self.fails(*wanted[state], method, **ids, **values)
            if method == "Exec" and wanted[state] is OK:
                self.pod.call("Delete", id=ids["id"], exec_id="x")

    def test_of_a_container(self):
        pod = self.pod
        pid = pod.create("c", ["sleep", "1000"])
        self.ask("created", INIT, id="c")
        pod.call("Start", id="c")
        self.ask("running", INIT, id="c")
        pod.call("Pause", id="c")
        self.ask("paused", INIT, id="c")
        self.assertEqual(pod.call("State", id="c")["status"], PAUSED)
        pod.call("Resume", id="c")
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        self.ask("stopped", INIT, id="c")
        self.assertEqual([p["pid"] for p in pod.call("Pids", id="c")["processes"]], [pid], "else a restarted containerd forgets its exit code")
        self.assertEqual(pod.call("State", id="c")["status"], STOPPED)
        pod.call("Delete", id="c")
        self.assert_topics("c", [("create", ""), ("exec-added", "x"), ("start", ""), ("exec-added", "x"), ("paused", ""), ("resumed", ""),
                                 ("exit", ""), ("delete", "")])

    def test_of_an_exec(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        pod.exec("c", "e", ["sleep", "1000"])
        self.ask("new", OF_EXEC, id="c", exec_id="e")
        pod.call("Start", id="c", exec_id="e")
        self.ask("running", OF_EXEC, id="c", exec_id="e")
        pod.call("Pause", id="c")
        self.assertEqual(pod.call("State", id="c", exec_id="e")["status"], PAUSED)
        pod.exec_refused = lambda: pod.exec("c", "f", ["true"])
        self.assert_fails(PRECONDITION, "^cannot exec in a paused state$", pod.exec_refused)
        pod.call("Resume", id="c")
        self.assertEqual(pod.call("State", id="c", exec_id="e")["status"], RUNNING)
        pod.call("Kill", id="c", exec_id="e", signal=9)
        pod.call("Wait", id="c", exec_id="e")
        self.ask("stopped", OF_EXEC, id="c", exec_id="e")
        for method, (values, _) in OF_EXEC.items():
            with self.subTest(method=method):
                self.fails(NOT_FOUND, "^process does not exist nobody: not found$", method, id="c", exec_id="nobody", **values)
        # Undeleted execs go with their container.
        pod.exec("c", "n", ["true"])
        pod.finish("c")
        self.fails(NOT_FOUND, "not created: not found$", "State", id="c", exec_id="e")

    def test_answers_in_full(self):
        """Each field of State, of a process that has all of them."""
        pod = self.pod
        begin = time.time()
        pod.run("c", ["sh", "-c", "exit 3"], stdin=True)
        pod.call("Wait", id="c")
        state = pod.call("State", id="c")
        bundle = pod.bundles["c"]
        self.assertTrue(begin - 1 <= state["exited_at"]["seconds"] <= time.time() + 1)
        self.assertEqual({k: v for k, v in state.items() if k not in ("pid", "exited_at")},
                         {"id": "c", "bundle": bundle, "status": STOPPED, "stdin": f"{bundle}/stdin", "stdout": f"{bundle}/stdout",
                          "stderr": f"{bundle}/stderr", "terminal": False, "exit_status": 3, "exec_id": ""})
        pod.run("d", ["sleep", "1000"])
        pod.exec("d", "e", ["cat"], stdin=True, terminal=True)
        pid = pod.call("Start", id="d", exec_id="e")["pid"]
        self.assertEqual(pod.call("State", id="d", exec_id="e"),
                         {"id": "e", "bundle": pod.bundles["d"], "pid": pid, "status": RUNNING, "stdin": f"{pod.dir}/e.in",
                          "stdout": f"{pod.dir}/e.out", "stderr": "", "terminal": True, "exit_status": 0, "exited_at": None, "exec_id": ""})
        self.assertEqual(pod.call("Connect", id="nobody"), {"shim_pid": pod.shim_pid, "task_pid": 0, "version": ""})

    def test_deadlines(self):
        """What comes too late is refused whole with code 4; a deadline that is tiny or absurd ends a Wait, and of nothing else is more than begun."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        pod.create("d", ["sleep", "1000"])
        for nanos in (-1, -(1 << 63)):
            for method in ("State", "Start", "Delete", "Kill", "Exec", "Wait"):
                self.assert_fails(DEADLINE, "deadline", lambda m=method, n=nanos: pod.client.start_task(m, timeout_nano=n, id="d").result(10))
        self.assertEqual(pod.call("State", id="d")["status"], CREATED)
        pod.call("Delete", id="d")
        for nanos in (1, 1000, (1 << 63) - 1):
            for method, (values, wanted) in INIT.items():
                if wanted["running"] != OK:
                    continue
                with self.subTest(method=method, nanos=nanos):
                    pod.client.start_task(method, timeout_nano=nanos, id="c", **values).result(10)
                    if method == "Exec":
                        pod.call("Delete", id="c", exec_id="x")
        self.assert_fails(DEADLINE, "deadline", lambda: pod.client.start_task("Wait", timeout_nano=1, id="c").result(10))
        pod.client.start_task("Create", timeout_nano=1, **pod.request("d", ["sleep", "1000"])).result(10)
        pod.client.start_task("Start", timeout_nano=1, id="d").result(10)
        pod.call("Kill", id="d", signal=9)
        pod.call("Wait", id="d")
        pod.client.start_task("Delete", timeout_nano=1, id="d").result(10)
        self.fails(NOT_FOUND, "not found$", "State", id="d")


class Signals(PodTest):
    @staticmethod
    def no_pid_namespace(document):
        document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != "pid"]

    def test_numbers(self):
        pod = self.pod
        pod.run("c", ["sh", "-c", "trap 'echo usr1' USR1; trap 'echo rt64' 64; echo ready; while :; do sleep 0.05; done"])
        pod.output["c"].wait_for(b"ready\n")
        for number in (0, 1 << 31, 65, 99, (1 << 32) - 1):
            if number == 0:
                pod.call("Kill", id="c", signal=0)
            else:
                self.fails(INVALID, "is not a signal", "Kill", id="c", signal=number)
                self.fails(INVALID, "is not a signal", "Kill", id="c", signal=number, all=True)
        for ids in {"id": "nobody"}, {"id": "c", "exec_id": "nobody"}:
            self.fails(NOT_FOUND, "not found$", "Kill", signal=(1 << 32) - 1, **ids)  # as from runc's shim: who, before what
        pod.call("Kill", id="c", signal=10)
        pod.output["c"].wait_for(b"usr1\n")
        pod.call("Kill", id="c", signal=64)
        pod.output["c"].wait_for(b"rt64\n")
        pod.call("Kill", id="c", signal=0, all=True)
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)

    def test_all_reaches_the_cgroup_and_no_further(self):
        """In the host's pid namespace: the init, its grandchildren and the execs, but no neighbour."""
        pod = self.pod
        pod.run("n", ["sleep", "1000"], change=self.no_pid_namespace)
        neighbour = pod.call("State", id="n")["pid"]
        pod.run("c", ["sh", "-c", "(trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait) & exec sleep 1000"], change=self.no_pid_namespace)
        pod.output["c"].wait_for(b"ready\n")
        pod.exec("c", "e", ["sleep", "1000"])
        pod.call("Start", id="c", exec_id="e")
        wait = pod.client.start_task("Wait", id="c", exec_id="e")
        eventually(lambda: len(pod.call("Pids", id="c")["processes"]) == 5, what="five processes")
        pids = [p["pid"] for p in pod.call("Pids", id="c")["processes"]]
        pod.call("Kill", id="c", signal=9, all=True)
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
        self.assertEqual(wait.result()["exit_status"], 137)
        eventually(lambda: not any(map(is_alive, pids)), what="end of all")  # a grandchild has its SIGKILL, and may need a moment
        self.assertTrue(is_alive(neighbour))
        pod.call("Delete", id="c")
        # Without `all`, to the init alone; what is left of the container ends with it all the same.
        pod.run("d", ["sh", "-c", "sleep 1000 & echo ready; exec sleep 1000"], change=self.no_pid_namespace)
        pod.output["d"].wait_for(b"ready\n")
        pids = [p["pid"] for p in pod.call("Pids", id="d")["processes"]]
        pod.call("Kill", id="d", signal=9)
        self.assertEqual(pod.call("Wait", id="d")["exit_status"], 137)
        eventually(lambda: not any(map(is_alive, pids)), what="end of all")

    def test_frozen(self):
        pod = self.pod
        for cid, values in (("one", {"signal": 9}), ("all", {"signal": 9, "all": True})):
            pod.run(cid, ["sleep", "1000"])
            pod.call("Pause", id=cid)
            pod.call("Kill", id=cid, **values)
            self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 137)
            pod.call("Delete", id=cid)

    def test_created(self):
        """The init that waits for its start dies of a signal, and its exit is told."""
        pod = self.pod
        pid = pod.create("c", ["sleep", "1000"])
        pod.call("Kill", id="c", signal=9)
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
        self.assertFalse(is_alive(pid))
        self.fails(PRECONDITION, "stopped", "Start", id="c")
        pod.call("Delete", id="c")
        self.assert_topics("c", [("create", ""), ("exit", ""), ("delete", "")])

    def test_created_by_other_signals(self):
        """What ends a program by default ends a container that is not started, in a pid namespace of its own or not; runc's shim does so too."""
        pod = self.pod
        for number in (15, 2, 1, 3, 6, 10, 13):
            for change, all_ in (None, False), (self.no_pid_namespace, False), (None, True):
                with self.subTest(signal=number, own_namespace=change is None, all=all_):
                    cid = f"created-{number}-{change is None}-{all_}".lower()
                    pod.create(cid, ["sleep", "1000"], change=change)
                    pod.call("Kill", id=cid, signal=number, all=all_)
                    if number in (10, 13):
                        self.assertEqual(pod.call("State", id=cid)["status"], CREATED)
                    else:
                        self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 128 + number)
                        self.fails(PRECONDITION, "stopped", "Start", id=cid)
                    pod.call("Delete", id=cid)

    def test_one_that_cannot_die(self):
        """A process in a frozen parent cgroup of v1 takes no SIGKILL. Delete fails after its time, says who it is and where it stands, and can be
        repeated; meanwhile nothing else waits."""
        pod = self.pod
        if UNIFIED or not os.path.isdir("/sys/fs/cgroup/freezer"):
            self.skipTest("v2 kills what is frozen")
        pod.run("c", ["sh", "-c", "sleep 1000 & echo ready; exec sleep 1000"], change=self.no_pid_namespace)
        pod.output["c"].wait_for(b"ready\n")
        init = pod.call("State", id="c")["pid"]
        other = next(p["pid"] for p in pod.call("Pids", id="c")["processes"] if p["pid"] != init)
        jail = f"/sys/fs/cgroup/freezer{pod.cgroup_of('c')}/jail"
        os.mkdir(jail)

        def name():
            with open(f"/proc/{other}/comm", encoding="ascii") as f:
                return f.read()
        eventually(lambda: name() == "sleep\n", what="the shell's child is sleep")
        try:
            with open(f"{jail}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(other))
            with open(f"{jail}/freezer.state", "w", encoding="ascii") as f:
                f.write("FROZEN")
            pod.call("Kill", id="c", signal=9)
            pod.call("Wait", id="c", timeout=30)
            call = pod.client.start_task("Delete", id="c")
            while not call.done.is_set():
                for method in ("State", "Stats", "Connect", "Pids"):
                    begin = time.monotonic()
                    pod.call(method, id="c")
                    self.assertLess(time.monotonic() - begin, 1, method)
                time.sleep(0.2)
            self.assert_fails(UNKNOWN, rf"remove cgroup .*: pid {other} \(sleep\) is in state D at \w+.*EBUSY", call.result)
        finally:
            with open(f"{jail}/freezer.state", "w", encoding="ascii") as f:
                f.write("THAWED")
        pod.call("Delete", id="c")
        self.assertFalse(is_alive(other))


class Answers(PodTest):
    """What containerd's own shims get wrong."""

    def test_slow_hooks_hold_nobody_up(self):
        """A createRuntime hook of 2 s: State, Connect, Wait and Stats of everything answer at once; a poststart hook is no part of Create."""
        pod = self.pod
        pod.run("n", ["sleep", "1000"])

        def hooks(**lists):
            return lambda d: d.update(hooks={k: [{"path": shim.BUSYBOX, "args": ["sh", "-c", v]}] for k, v in lists.items()})
        create = pod.client.start_task("Create", **pod.request("c", ["sleep", "1000"], change=hooks(createRuntime="sleep 2")))
        time.sleep(0.3)
        slowest = 0.0
        while not create.done.is_set():
            for method in ("State", "Connect", "Stats", "Pids"):
                begin = time.monotonic()
                pod.call(method, id="n")
                slowest = max(slowest, time.monotonic() - begin)
            self.assert_fails(DEADLINE, "deadline", lambda: pod.client.start_task("Wait", timeout_nano=1_000_000, id="n").result())
            pod.call("Connect", id="c")
            time.sleep(0.01)
        create.result()
        print(f"slowest of State, Connect, Stats, Pids beside a hook: {slowest * 1000:.1f} ms", file=sys.stderr)
        self.assertLess(slowest, 0.5)
        begin = time.monotonic()
        pod.create("p", ["sleep", "1000"], change=hooks(poststart=f"echo > {pod.dir}/ran; sleep 1"))
        self.assertLess(time.monotonic() - begin, 0.9)
        self.assertFalse(os.path.exists(f"{pod.dir}/ran"))
        pod.call("Start", id="p")
        self.assertTrue(os.path.exists(f"{pod.dir}/ran"))

    def test_update_without_resources(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        self.fails(INVALID, "without resources", "Update", id="c")
        self.fails(INVALID, "without resources", "Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": b""})
        pod.call("Update", id="c", annotations=[{"key": "a", "value": "b"}], **UPDATE)
        self.assertTrue(is_alive(pod.shim_pid))

    def test_two_hundred_execs_at_once(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        fds = len(os.listdir(f"/proc/{pod.shim_pid}/fd"))
        begin = time.monotonic()
        for i in range(200):
            pod.exec("c", f"e{i}", ["sh", "-c", f"echo {i}; exit {i % 100}"])
        waits = [pod.client.start_task("Wait", id="c", exec_id=f"e{i}") for i in range(200)]
        starts = [pod.client.start_task("Start", id="c", exec_id=f"e{i}") for i in range(200)]
        for start in starts:
            start.result(60)
        self.assertEqual([w.result(60)["exit_status"] for w in waits], [i % 100 for i in range(200)])
        self.assertEqual([pod.output[f"e{i}"].text() for i in range(200)], [f"{i}\n" for i in range(200)])
        for i in range(200):
            pod.call("Delete", id="c", exec_id=f"e{i}")
        print(f"200 execs at once: {time.monotonic() - begin:.2f} s", file=sys.stderr)
        eventually(lambda: len(os.listdir(f"/proc/{pod.shim_pid}/fd")) <= fds, what="the fds of before")

    def test_a_log_without_a_reader(self):
        """Nobody reads the log FIFO, then it is full, then it is gone: the shim goes on."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        for _ in range(2):
            for _ in range(400):
                self.fails(INVALID, "is not a signal", "Kill", id="c", signal=99)  # one line of error each
            os.kill(pod.shim_pid, 10)  # SIGUSR1: many lines
            begin = time.monotonic()
            self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
            self.assertLess(time.monotonic() - begin, 1)
            for cid in pod.bundles:
                if os.path.exists(f"{pod.bundles[cid]}/log"):
                    os.unlink(f"{pod.bundles[cid]}/log")
        self.assertTrue(is_alive(pod.shim_pid))

    def test_a_failed_exec_leaks_nothing(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        pod.exec("c", "w", ["true"])
        pod.call("Start", id="c", exec_id="w")
        pod.call("Wait", id="c", exec_id="w")
        pod.call("Delete", id="c", exec_id="w")
        fds = len(os.listdir(f"/proc/{pod.shim_pid}/fd"))
        for i in range(100):
            pod.exec("c", "e", ["/nonexistent"], terminal=i % 2 == 1)
            self.fails(UNKNOWN, "no such file or directory", "Start", id="c", exec_id="e")
            pod.call("Delete", id="c", exec_id="e")
        self.assertEqual(len(pod.call("Pids", id="c")["processes"]), 1)
        eventually(lambda: len(os.listdir(f"/proc/{pod.shim_pid}/fd")) <= fds, what="the fds of before")

    def test_no_zombies(self):
        """A daemon made by double fork in a container without a pid namespace comes to the shim, which reaps it; its own children's numbers are
        never taken for a container's."""
        pod = self.pod
        pod.run("c", ["sh", "-c", "for i in 1 2 3 4 5; do (sh -c 'sleep 0.2; exit 9' &) ; done; echo done; exec sleep 1000"],
                change=Signals.no_pid_namespace)
        pod.output["c"].wait_for(b"done\n")
        with open(f"{pod.dir}/children", "w", encoding="ascii"):
            pass

        def children():
            return subprocess.run(["ps", "--ppid", str(pod.shim_pid), "-o", "pid=,stat="], capture_output=True, text=True, check=False).stdout.split("\n")
        eventually(lambda: len([c for c in children() if c.strip()]) == 1, what="the orphans reaped")
        self.assertEqual([c for c in children() if " Z" in c], [])
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        pod.finish("c")
        self.assert_topics("c", [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])


class Budget(PodTest):
    @staticmethod
    def is_traced(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return "TracerPid:\t0\n" not in f.read()

    def test_what_an_exec_costs_in_calls(self):
        """Ten execs of `true` under strace: two clones each, no mount, no file made, no socket, and nothing that talks to anybody but containerd."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        log = f"{pod.dir}/strace"
        forbidden = ["mount", "umount2", "fsopen", "fsmount", "open_tree", "move_mount", "mount_setattr", "pivot_root", "mkdirat", "mkdir", "mknodat", "mknod",
                     "unlinkat", "unlink", "rename", "renameat2", "memfd_create", "inotify_init1", "socket", "connect", "bind"]
        with subprocess.Popen(["strace", "-f", "-qq", "-o", log, "-e", "trace=clone,clone3,fork,vfork,execve,openat,openat2," + ",".join(forbidden), "-p",
                               str(pod.shim_pid)], stderr=subprocess.PIPE) as tracer:
            eventually(lambda: self.is_traced(pod.shim_pid), what="strace")
            for i in range(10):
                values = {"id": "c", "exec_id": f"e{i}"}
                pod.call("Exec", spec=EXEC["spec"], **values)
                pod.call("Start", **values)
                self.assertEqual(pod.call("Wait", **values)["exit_status"], 0)
                pod.call("Delete", **values)
            tracer.terminate()
            tracer.wait()
        with open(log, encoding="utf-8", errors="replace") as f:
            calls = [line.split(None, 1)[1] for line in f if len(line.split(None, 1)) > 1]
        bad = [c for c in calls if c.split("(")[0] in forbidden or "O_CREAT" in c or "O_WRONLY" in c and "/proc/" not in c and "cgroup" not in c]
        self.assertEqual(bad, [])
        clones = [c for c in calls if c.split("(")[0] in ("clone", "clone3", "fork", "vfork")]
        self.assertEqual(len(clones), 20, clones[:6])
        self.assertEqual(len([c for c in calls if c.startswith("execve(") and "resumed" not in c]), 10, "the program itself and no other")


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
