#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shim over its own socket, without containerd: every Task method with its status codes, bytes that no client sends, and the events in
their order. One shim for each test."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from podtest import *  # pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

class Lifecycle(PodTest):
    def test_create_to_delete(self):
        pod = self.pod
        for service in (ttrpc.TASK_V2, ttrpc.TASK_V3):
            with self.subTest(service=service):
                pod.client = pod.connect(service)
                cid = "c" + service.split(".")[2]
                pid = pod.create(cid, ["sleep", "1000"])
                self.assertTrue(is_alive(pid))
                state = pod.call("State", id=cid)
                self.assertEqual((state["status"], state["pid"], state["bundle"]), (CREATED, pid, pod.bundles[cid]))
                self.assertEqual(state["stdout"], f"{pod.bundles[cid]}/stdout")
                self.assertIsNone(state["exited_at"])
                self.assertEqual(pod.call("Connect", id=cid), {"shim_pid": pod.shim_pid, "task_pid": pid, "version": ""})
                wait = pod.client.start_task("Wait", id=cid)
                self.assertEqual(pod.call("Start", id=cid)["pid"], pid)
                self.assertEqual(pod.call("State", id=cid)["status"], RUNNING)
                pod.call("Kill", id=cid, signal=9)
                exited = wait.result()
                self.assertEqual(exited["exit_status"], 137)
                self.assertLess(abs(exited["exited_at"]["seconds"] - time.time()), 60)
                state = pod.call("State", id=cid)
                self.assertEqual((state["status"], state["exit_status"], state["exited_at"]), (STOPPED, 137, exited["exited_at"]))
                self.assertEqual(pod.call("Connect", id=cid)["task_pid"], pid)
                self.assertEqual(pod.output[cid].text(), "")
                self.assertEqual(pod.call("Delete", id=cid), {"pid": pid, **exited})
                self.fails(NOT_FOUND, "not found$", "State", id=cid)
                self.fails(NOT_FOUND, "not found$", "Delete", id=cid)
                self.fails(NOT_FOUND, "not found$", "Wait", id=cid)
                self.assertEqual(pod.call("Connect", id=cid)["task_pid"], 0)
                self.assert_topics(cid, [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])
        envelope = pod.events.envelopes[0]
        self.assertEqual((envelope["namespace"], envelope["topic"]), (shim.NAMESPACE, "/tasks/create"))
        self.assertLess(abs(envelope["timestamp"]["seconds"] - time.time()), 60)
        create = pod.events.log[0][1]
        self.assertEqual((create["bundle"], create["io"]["stdout"]), (pod.bundles["cv2"], f"{pod.bundles['cv2']}/stdout"))

    def test_exit_codes_and_output(self):
        rows = [("echo out; echo err >&2; exit 7", 7, "out\n", "err\n"), ("kill -SEGV $$", 139, "", "Segmentation fault\n"), ("kill -9 $$", 137, "", "Killed\n"),
                ("exit 0", 0, "", ""), ("printf last", 0, "last", ""), ("seq 1 20000", 0, "".join(f"{i}\n" for i in range(1, 20001)), "")]
        for i, (script, status, out, err) in enumerate(rows):
            with self.subTest(script=script):
                cid = f"c{i}"
                # A private pid namespace's init ignores signals from inside, so the shell that dies is its child.
                self.pod.run(cid, ["sh", "-c", f"sh -c '{script}'; exit $?"])
                self.assertEqual(self.pod.call("Wait", id=cid)["exit_status"], status)
                self.assertEqual((self.pod.output[cid].text(), self.pod.errors[cid].text()), (out, err))
                self.assertEqual(self.pod.call("Delete", id=cid)["exit_status"], status)

    def test_fast_exits_keep_their_order(self):
        for i in range(20):
            cid = f"f{i}"
            self.pod.run(cid, ["echo", cid])
            self.assertEqual(self.pod.call("Wait", id=cid)["exit_status"], 0)
            self.assertEqual(self.pod.output[cid].text(), f"{cid}\n")
            self.pod.call("Delete", id=cid)
        for i in range(20):
            self.assert_topics(f"f{i}", [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])

    def test_rootfs_mounts(self):
        """The rootfs comes as mounts of Create and is gone after Delete; what is written goes where the mount says."""
        pod = self.pod
        os.makedirs(f"{pod.dir}/c/rootfs")  # as containerd does

        def change(document):
            document["root"]["path"] = "rootfs"
        pod.run("c", ["sh", "-c", "ls /bin/busybox && echo x > /tmp/made"], change=change,
                rootfs=[{"type": "bind", "source": pod.rootfs, "options": ["rbind", "rw"]}])
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 0)
        self.assertEqual(pod.output["c"].text(), "/bin/busybox\n")
        pod.call("Delete", id="c")
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            self.assertNotIn(pod.bundles["c"], f.read())
        os.rmdir(f"{pod.bundles['c']}/rootfs")  # empty, else containerd could not remove the bundle
        self.assertTrue(os.path.exists(f"{pod.rootfs}/tmp/made"))
        self.assert_topics("c", [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])
        self.assertEqual(pod.events.log[0][1]["rootfs"],
                         [{"type": "bind", "source": pod.rootfs, "target": "", "options": ["rbind", "rw"]}])

    def test_wrong_moments(self):
        pod = self.pod
        pod.create("c", ["sleep", "1000"])
        self.fails(EXISTS, "already exists$", "Create", **pod.request("c", ["true"]))
        pod.call("Start", id="c")
        self.fails(PRECONDITION, "running", "Start", id="c")
        self.fails(PRECONDITION, "cannot delete a running process", "Delete", id="c")
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        self.fails(INVALID, "99", "Kill", id="c", signal=99)
        pod.call("Kill", id="c", signal=0)
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        self.fails(PRECONDITION, "stopped", "Start", id="c")
        self.fails(NOT_FOUND, "process already finished: not found", "Kill", id="c", signal=9)
        pod.call("ResizePty", id="c", width=80, height=24)
        pod.call("Delete", id="c")
        for method in ("Start", "State", "Delete", "Kill", "Wait", "Pids", "Pause", "Resume", "Stats", "Update", "CloseIO", "ResizePty",
                       "Checkpoint"):
            for cid in ("c", "", "../../etc", "x" * 5000):
                with self.subTest(method=method, id=cid[:10]):
                    self.fails(NOT_FOUND, "container not created.*: not found$|: not found$", method, id=cid)
        self.fails(NOT_FOUND, "container not created", "Exec", id="c", exec_id="e", spec={"type_url": "x", "value": b"{}"})

    def test_delete_of_a_created_container(self):
        pid = self.pod.create("c", ["sleep", "1000"])
        self.assertEqual(self.pod.call("Delete", id="c")["pid"], pid)
        self.assertFalse(is_alive(pid))
        self.assert_topics("c", [("create", ""), ("exit", ""), ("delete", "")])


class BadCreates(PodTest):
    def create_fails(self, code, pattern, cid="bad", change=None, args=("true",), **more):
        pod = self.pod
        values = pod.request(cid if "/" not in cid and cid else "x", list(args), change=change)
        values.update(id=cid, **more)
        self.fails(code, pattern, "Create", **values)
        self.fails(NOT_FOUND, "not found$", "State", id=cid)
        self.assertEqual(cgroup_files(pod, cid, "tasks") + cgroup_files(pod, cid, "cgroup.procs"), [])

    def test_each_has_a_clear_error(self):
        pod = self.pod
        neighbour = pod.run("good", ["sleep", "1000"])

        def set_in(*path, value):
            def change(document):
                for key in path[:-1]:
                    document = document[key]
                document[path[-1]] = value
            return change
        failed = "^OCI runtime create failed: .*"
        self.create_fails(INVALID, "not a valid container id", cid="..")
        self.create_fails(INVALID, "not a valid container id", cid="a/../b")
        self.create_fails(INVALID, "not a valid container id", cid="")
        self.create_fails(INVALID, "not a valid container id", cid="x" * 77)
        self.create_fails(INVALID, "not an absolute path", bundle="relative")
        self.create_fails(INVALID, "options of unknown type", options={"type_url": "foo.Bar", "value": b""})
        self.create_fails(INVALID, "options", options={"type_url": "containerd.runc.v1.Options", "value": b"\x0a"})
        for row in ((("process",), [], "process"), (("process", "args"), [], "args"), (("process", "cwd"), "relative", "cwd"),
                    (("linux", "namespaces"), [{"type": "nope"}], "namespaces"), (("mounts",), [{"destination": 7}], "mounts"),
                    (("root", "path"), f"{pod.dir}/missing", "missing"),
                    (("linux", "namespaces"), [{"type": "mount"}, {"type": "uts"}, {"type": "network", "path": f"{pod.dir}/no-ns"}], "no-ns")):
            with self.subTest(path=row[0]):
                with self.assertRaises(ttrpc.Error) as caught:
                    pod.call("Create", **pod.request("bad", ["true"], change=set_in(*row[0], value=row[1])))
                self.assertIn(caught.exception.code, (UNKNOWN, INVALID))
                self.assertRegex(caught.exception.message, failed + row[2])
                self.fails(NOT_FOUND, "not found$", "State", id="bad")
        for text in ("{\"ociVersion\":", "[]", "", "[" * 100000, None):
            with self.subTest(text=text and text[:20]):
                values = pod.request("bad", ["true"])
                os.unlink(f"{pod.bundles['bad']}/config.json")
                if text is not None:
                    with open(f"{pod.bundles['bad']}/config.json", "w", encoding="utf-8") as f:
                        f.write(text)
                with self.assertRaises(ttrpc.Error) as caught:
                    pod.call("Create", **values)
                self.assertRegex(caught.exception.message, failed + "config.json")
        # All that left the shim and its neighbour unharmed, and no event.
        self.assertEqual(pod.call("State", id="good")["pid"], neighbour)
        self.assertTrue(is_alive(pod.shim_pid))
        self.assertEqual(self.topics("bad"), [])
        # And the id is free.
        pod.run("bad", ["true"])
        self.assertEqual(pod.call("Wait", id="bad")["exit_status"], 0)

    def test_no_process(self):
        """runtime-spec, config.md: it is required when start is called, and not before."""
        self.pod.create("c", ["true"], change=lambda d: d.pop("process"))
        with self.assertRaisesRegex(ttrpc.Error, "process"):
            self.pod.call("Start", id="c")
        self.pod.call("Delete", id="c")

    def test_program_that_does_not_exist(self):
        pod = self.pod
        for i, program in enumerate(("nope", "/nope", "/etc")):
            with self.subTest(program=program):
                cid = f"c{i}"
                with self.assertRaises(ttrpc.Error) as caught:
                    pod.run(cid, [program])
                self.assertEqual(caught.exception.code, UNKNOWN)
                self.assertRegex(caught.exception.message, "^OCI runtime (create|start) failed: ")
                self.assertRegex(caught.exception.message, f'exec: "{program}"|{program}')
                try:
                    pod.finish(cid)
                except ttrpc.Error as e:
                    self.assertEqual(e.code, NOT_FOUND)
                self.fails(NOT_FOUND, "not found$", "State", id=cid)


class Execs(PodTest):
    def setUp(self):
        super().setUp()
        self.pod.run("c", ["sleep", "1000"])

    def test_exec(self):
        pod = self.pod
        pod.exec("c", "e1", ["sh", "-c", "echo out; echo err >&2; exit 3"])
        state = pod.call("State", id="c", exec_id="e1")
        self.assertEqual((state["id"], state["status"], state["pid"]), ("e1", CREATED, 0))
        self.fails(PRECONDITION, "process not created", "Kill", id="c", exec_id="e1", signal=9)
        waits = [pod.client.start_task("Wait", id="c", exec_id="e1") for _ in range(5)]
        time.sleep(0.1)
        self.assertFalse(any(w.done.is_set() for w in waits))
        pid = pod.call("Start", id="c", exec_id="e1")["pid"]
        self.assertGreater(pid, 1)
        self.assertEqual([w.result()["exit_status"] for w in waits], [3] * 5)
        self.assertEqual((pod.output["e1"].text(), pod.errors["e1"].text()), ("out\n", "err\n"))
        state = pod.call("State", id="c", exec_id="e1")
        self.assertEqual((state["status"], state["exit_status"], state["pid"]), (STOPPED, 3, pid))
        self.fails(NOT_FOUND, "process already finished", "Kill", id="c", exec_id="e1", signal=9)
        # The id stays taken until Delete.
        self.fails(EXISTS, "already exists$", "Exec", id="c", exec_id="e1", spec={"type_url": "x", "value": b"{\"args\":[\"true\"],\"cwd\":\"/\"}"})
        self.assertEqual(pod.call("Delete", id="c", exec_id="e1")["exit_status"], 3)
        self.fails(NOT_FOUND, "process does not exist e1: not found", "State", id="c", exec_id="e1")
        pod.exec("c", "e1", ["true"])
        pod.call("Start", id="c", exec_id="e1")
        self.assertEqual(pod.call("Wait", id="c", exec_id="e1")["exit_status"], 0)
        pod.call("Delete", id="c", exec_id="e1")
        self.assert_topics("c", [("create", ""), ("start", "")] + [("exec-added", "e1"), ("exec-started", "e1"), ("exit", "e1")] * 2)

    def test_failed_start(self):
        pod = self.pod
        fds = len(os.listdir(f"/proc/{pod.shim_pid}/fd"))
        for i in range(10):
            pod.exec("c", "e", [("nope", "/nope")[i % 2]])
            wait = pod.client.start_task("Wait", id="c", exec_id="e")
            self.fails(UNKNOWN, "^OCI runtime exec failed: .*nope", "Start", id="c", exec_id="e")
            wait.result(5)
            pod.call("Delete", id="c", exec_id="e")
        self.assertEqual(len(pod.call("Pids", id="c")["processes"]), 1)
        eventually(lambda: len(os.listdir(f"/proc/{pod.shim_pid}/fd")) <= fds, what="fds of failed execs closed")
        pod.exec("c", "e", ["nope"])
        self.fails(UNKNOWN, "executable file not found in \\$PATH", "Start", id="c", exec_id="e")

    def test_bad_specs(self):
        for value in (b"", b"{", b"[]", b"{}", b"{\"args\":[]}", b"{\"args\":7}", b"\xff\xfe"):
            with self.subTest(value=value):
                self.fails(INVALID, ".", "Exec", id="c", exec_id="e", spec={"type_url": shim.PROCESS_TYPE, "value": value})
        self.fails(INVALID, "not a valid exec id", "Exec", id="c", exec_id="../e", spec={"type_url": "x", "value": b"{}"})
        self.fails(INVALID, "not a valid exec id", "Exec", id="c", exec_id="", spec={"type_url": "x", "value": b"{}"})
        self.fails(INVALID, ".", "Exec", id="c", exec_id="e")
        self.fails(NOT_FOUND, "process does not exist e", "State", id="c", exec_id="e")

    def test_pids(self):
        pod = self.pod
        pod.exec("c", "e1", ["sleep", "1000"])
        pid = pod.call("Start", id="c", exec_id="e1")["pid"]
        init = pod.call("State", id="c")["pid"]
        found = {p["pid"]: p["info"] for p in pod.call("Pids", id="c")["processes"]}
        self.assertEqual(set(found), {init, pid})
        self.assertIsNone(found[init])
        self.assertEqual(found[pid]["type_url"], "containerd.runc.v1.ProcessDetails")
        self.assertEqual(ttrpc.decode("ProcessDetails", found[pid]["value"]), {"exec_id": "e1"})

    def test_init_exit_comes_last(self):
        pod = self.pod

        def host_pid(document):
            document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != "pid"]
        pod.run("h", ["sleep", "1000"], change=host_pid)
        for cid in ("c", "h"):
            with self.subTest(id=cid):
                eid = f"x{cid}"
                pod.exec(cid, eid, ["sleep", "1000"])
                pid = pod.call("Start", id=cid, exec_id=eid)["pid"]
                wait = pod.client.start_task("Wait", id=cid, exec_id=eid)
                pod.call("Kill", id=cid, signal=9)
                self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 137)
                self.assertTrue(wait.done.wait(1), "the exec's Wait ends before the init's")
                self.assertFalse(is_alive(pid))
                self.assert_topics(cid, [("create", ""), ("start", ""), ("exec-added", eid), ("exec-started", eid), ("exit", eid), ("exit", "")])
                pod.exec_refused = lambda cid=cid: pod.exec(cid, "late", ["true"])
                with self.assertRaises(ttrpc.Error) as caught:
                    pod.exec_refused()
                    pod.call("Start", id=cid, exec_id="late")
                self.assertEqual(caught.exception.code, PRECONDITION)
                pod.call("Delete", id=cid)

    def test_stdin(self):
        pod = self.pod
        pod.exec("c", "e", ["cat"], stdin=True)
        pod.call("Start", id="c", exec_id="e")
        data = os.urandom(1 << 20)
        with open(f"{pod.dir}/e.in", "wb", buffering=0) as f:
            f.write(data)
            pod.call("CloseIO", id="c", exec_id="e", stdin=True)
            pod.call("CloseIO", id="c", exec_id="e", stdin=True)
        self.assertEqual(pod.call("Wait", id="c", exec_id="e")["exit_status"], 0)
        self.assertEqual(pod.output["e"].bytes(), data)

    def test_terminal(self):
        pod = self.pod
        pod.exec("c", "e", ["sh", "-c", "stty size; read x; stty size; echo got $x"], stdin=True, terminal=True)
        pod.call("ResizePty", id="c", exec_id="e", width=1, height=1)
        pod.call("Start", id="c", exec_id="e")
        pod.output["e"].wait_for(b"\r\n")
        pod.call("ResizePty", id="c", exec_id="e", width=91, height=37)
        self.fails(INVALID, "too large", "ResizePty", id="c", exec_id="e", width=65536, height=1)
        with open(f"{pod.dir}/e.in", "wb", buffering=0) as f:
            f.write(b"abc\n")
            self.assertEqual(pod.call("Wait", id="c", exec_id="e")["exit_status"], 0)
        self.assertRegex(pod.output["e"].text(), "37 91\r\ngot abc\r\n$")


class Containers(PodTest):
    def test_pause(self):
        pod = self.pod
        pod.create("c", ["sleep", "1000"])
        self.fails(PRECONDITION, "cannot pause", "Pause", id="c")
        pod.call("Start", id="c")
        self.fails(PRECONDITION, "cannot resume", "Resume", id="c")
        pod.call("Pause", id="c")
        self.assertEqual(pod.call("State", id="c")["status"], PAUSED)
        with self.assertRaises(ttrpc.Error) as caught:
            pod.exec("c", "e", ["true"])
        self.assertEqual(caught.exception.code, PRECONDITION)
        pod.call("Resume", id="c")
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        pod.call("Pause", id="c")
        pod.call("Kill", id="c", signal=9)
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
        pod.call("Delete", id="c")
        self.assert_topics("c", [("create", ""), ("start", ""), ("paused", ""), ("resumed", ""), ("paused", ""), ("exit", ""), ("delete", "")])

    def test_stats_and_update(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        stats = pod.call("Stats", id="c")["stats"]
        unified = os.path.exists("/sys/fs/cgroup/cgroup.procs")
        self.assertEqual(stats["type_url"], f"io.containerd.cgroups.v{2 if unified else 1}.Metrics")
        numbers = {n for n, _ in ttrpc.wire(stats["value"])}
        self.assertTrue(numbers & {1, 2, 3, 4}, numbers)
        files = cgroup_files(pod, "c", "pids.max")
        self.fails(INVALID, ".", "Update", id="c")
        self.fails(INVALID, ".", "Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": b"{"})
        if not files:
            self.skipTest("this host has no pids controller")
        pod.call("Update", id="c", resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps({"pids": {"limit": 77}}).encode()})
        for path in files:
            with open(path, encoding="utf-8") as f:
                self.assertEqual(f.read(), "77\n")
        # After the exit the counters are still there, until Delete.
        pod.call("Kill", id="c", signal=9)
        pod.call("Wait", id="c")
        self.assertEqual(pod.call("Stats", id="c")["stats"]["type_url"], stats["type_url"])
        pod.call("Delete", id="c")
        self.fails(NOT_FOUND, "not found$", "Stats", id="c")

    def test_stdin_and_close(self):
        pod = self.pod
        pod.run("c", ["cat"], stdin=True)
        with open(f"{pod.bundles['c']}/stdin", "wb", buffering=0) as f:
            f.write(b"first\n")
            pod.output["c"].wait_for(b"first\n")
        # The client is away: no EOF as long as the shim keeps its own writer.
        with open(f"{pod.bundles['c']}/stdin", "wb", buffering=0) as f:
            f.write(b"second\n")
            pod.output["c"].wait_for(b"second\n")
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        pod.call("CloseIO", id="c")  # without the flag nothing is closed
        time.sleep(0.1)
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        pod.call("CloseIO", id="c", stdin=True)
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 0)
        self.assertEqual(pod.output["c"].text(), "first\nsecond\n")

    def test_terminal(self):
        pod = self.pod
        pod.run("c", ["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo tty; read x; stty size; echo got $x"], stdin=True, terminal=True)
        pod.output["c"].wait_for(b"tty\r\n")
        pod.call("ResizePty", id="c", width=132, height=50)
        with open(f"{pod.bundles['c']}/stdin", "wb", buffering=0) as f:
            f.write(b"abc\n")
            self.assertEqual(pod.call("Wait", id="c")["exit_status"], 0)
        self.assertRegex(pod.output["c"].text(), "tty\r\n(abc\r\n)?50 132\r\ngot abc\r\n$")
        self.assertTrue(pod.call("State", id="c")["terminal"])

    def test_stdio_forms(self):
        """Nothing at all, stdout alone, a plain file."""
        pod = self.pod
        for cid, values in (("none", {"stdout": "", "stderr": ""}), ("out", {"stderr": ""})):
            pod.run(cid, ["sh", "-c", "echo x; echo y >&2"], **values)
            self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 0)
        self.assertEqual(pod.output["out"].text(), "x\n")
        log = f"{pod.dir}/made/here.log"
        pod.run("file", ["sh", "-c", "echo x; echo y >&2"], stdout=f"file://{log}", stderr=f"file://{log}")
        self.assertEqual(pod.call("Wait", id="file")["exit_status"], 0)
        pod.call("Delete", id="file")
        with open(log, encoding="utf-8") as f:
            self.assertEqual(sorted(f.read().split()), ["x", "y"])
        self.assertRaises(ttrpc.Error, pod.run, "what", ["true"], stdout="gopher://x", stderr="gopher://x")


class Sandbox(PodTest):
    def test_three_containers_one_shim(self):
        pod = self.pod
        first = pod.run("pod", ["sleep", "1000"])

        def join(document):
            document["linux"]["namespaces"] = [{"type": t, "path": f"/proc/{first}/ns/{p}"} for t, p in
                                               (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))] + [{"type": "mount"}, {"type": "pid"}]
            del document["hostname"]
        pids = [first]
        for cid in ("a", "b"):
            bundle = pod.bundle(cid, ["true"], change=join)
            self.assertEqual(pod.start(bundle, cid), pod.address)
            with open(f"{bundle}/address", encoding="utf-8") as f:
                self.assertEqual(f.read(), pod.address)
            pids.append(pod.run(cid, ["sleep", "1000"], change=join))
        for ns, distinct in (("net", 1), ("ipc", 1), ("uts", 1), ("mnt", 3), ("pid", 3)):
            self.assertEqual(len({os.readlink(f"/proc/{p}/ns/{ns}") for p in pids}), distinct, ns)
        self.assertEqual([pod.call("Connect", id=i)["task_pid"] for i in ("pod", "a", "b")], pids)
        print(f"anonymous memory of the shim with three containers: {pod.anonymous_kib()} KiB", file=sys.stderr)
        # The first container and its bundle go; the others live on, `delete` beside them is harmless, and a new one can come.
        pod.finish("pod")
        pod.delete("pod")
        subprocess.run(["rm", "-r", pod.bundles["pod"]], check=True)
        self.assertTrue(is_alive(pids[1]) and is_alive(pids[2]))
        pod.exec("a", "e", ["hostname"])
        pod.call("Start", id="a", exec_id="e")
        self.assertEqual(pod.output["e"].text(), "husk\n")
        pod.run("late", ["true"])
        self.assertEqual(pod.call("Wait", id="late")["exit_status"], 0)

    def test_shutdown(self):
        pod = self.pod
        pod.run("a", ["sleep", "1000"])
        pod.run("b", ["sleep", "1000"])
        pod.call("Shutdown", id="pod")
        pod.finish("a")
        # Forgotten by the next Create.
        pod.run("c", ["sleep", "1000"])
        pod.finish("b")
        pod.finish("c")
        time.sleep(0.3)
        self.assertTrue(is_alive(pod.shim_pid))
        # Remembered until the last container is deleted.
        pod.run("d", ["sleep", "1000"])
        pod.call("Shutdown", id="pod")
        time.sleep(0.3)
        self.assertTrue(is_alive(pod.shim_pid))
        pod.finish("d")
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertFalse(os.path.exists(pod.address[7:]))
        self.assert_topics("d", [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])

    def test_failed_create_then_shutdown(self):
        pod = self.pod
        self.fails(INVALID, "not a valid", "Create", id="..", bundle=pod.dir)
        with self.assertRaises(ttrpc.Error):
            pod.create("x", ["true"], change=lambda d: d["root"].update(path="/nonexistent"))
        self.fails(NOT_FOUND, "not found", "Delete", id="x")
        self.assertTrue(is_alive(pod.shim_pid))
        pod.call("Shutdown", id="x")
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")

    def test_sigterm_leaves_containers(self):
        pod = self.pod
        pid = pod.run("c", ["sleep", "1000"])
        os.kill(pod.shim_pid, signal.SIGTERM)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertFalse(os.path.exists(pod.address[7:]))
        self.assertTrue(is_alive(pid))
        self.assertEqual(pod.delete("c")["exit_status"], 137)
        eventually(lambda: not is_alive(pid), what="end of the container")
        self.assertEqual(cgroup_files(pod, "c", "cgroup.procs"), [])

    def test_delete_after_sigkill(self):
        """One `delete` for the sandbox's id takes the whole pod, since containerd calls no other."""
        pod = self.pod
        pids = [pod.run(cid, ["sleep", "1000"]) for cid in ("pod", "a", "b")]
        os.kill(pod.shim_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertTrue(os.path.exists(pod.address[7:]))
        begin = time.monotonic()
        reply = pod.delete("pod")
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual((reply["pid"], reply["exit_status"]), (pids[0], 137))
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid), what="end of the containers")
        for cid in ("pod", "a", "b"):
            self.assertEqual(cgroup_files(pod, cid, "cgroup.procs"), [])
        self.assertFalse(os.path.exists(pod.address[7:]))
        for cid in ("pod", "a", "a"):
            pod.delete(cid)


class Wire(PodTest):
    def raw(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.connect(self.pod.address[7:])
        sock.settimeout(10)
        return sock

    def answer(self, sock):
        size, stream, kind, _ = ttrpc.HEADER.unpack(ttrpc.recv_exactly(sock, 10))
        self.assertEqual(kind, ttrpc.RESPONSE)
        return stream, ttrpc.decode("Response", ttrpc.recv_exactly(sock, size))

    def assert_usable(self, sock, stream):
        sock.sendall(ttrpc.frame(stream, ttrpc.REQUEST, ttrpc.encode("Request", service=ttrpc.TASK_V3, method="Connect")))
        got, response = self.answer(sock)
        self.assertEqual(got, stream)
        self.assertEqual(ttrpc.decode("ConnectResponse", response["payload"])["shim_pid"], self.pod.shim_pid)

    def test_unknown_names(self):
        client = self.pod.client
        self.assert_fails(UNIMPLEMENTED, "^service foo.Bar$", lambda: client.start_call("foo.Bar", "Baz").result())
        self.assert_fails(UNIMPLEMENTED, "^method Baz$", lambda: client.start_call(ttrpc.TASK_V3, "Baz").result())
        self.assert_fails(UNIMPLEMENTED, "^service ", lambda: client.start_call("containerd.services.streaming.v1.Streaming", "Stream").result())
        self.assertEqual(self.pod.call("Connect", id="x")["shim_pid"], self.pod.shim_pid)

    def test_frame_sizes(self):
        for size, code in ((ttrpc.MAX_PAYLOAD, None), (ttrpc.MAX_PAYLOAD + 1, EXHAUSTED), (5 << 20, EXHAUSTED)):
            with self.subTest(size=size):
                sock = self.raw()
                head = ttrpc.encode("Request", service=ttrpc.TASK_V3, method="Connect")
                filler = size - len(head)
                # An unknown field that fills the rest: tag, length as a padded varint, bytes.
                body = head + b"\x7a" + self.padded(filler - 6) + bytes(filler - 6)
                self.assertEqual(len(body), size)
                sock.sendall(ttrpc.frame(1, ttrpc.REQUEST, body))
                stream, response = self.answer(sock)
                self.assertEqual((stream, response["status"] and response["status"]["code"]), (1, code))
                self.assert_usable(sock, 3)

    @staticmethod
    def padded(n):
        """A varint of exactly five bytes."""
        return bytes([n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14 & 0x7F | 0x80, n >> 21 & 0x7F | 0x80, n >> 28])

    def test_broken_frames(self):
        pod = self.pod
        for data in (b"\0\0", b"\0" * 9, ttrpc.HEADER.pack(100, 1, 1, 0) + b"abc", ttrpc.HEADER.pack(0xFFFFFFFF, 1, 1, 0) + b"x" * 1000,
                     os.urandom(10000)):
            sock = self.raw()
            sock.sendall(data)
            sock.close()
            self.assertEqual(pod.call("Connect", id="x")["shim_pid"], pod.shim_pid)
        sock = self.raw()
        sock.sendall(ttrpc.frame(1, ttrpc.REQUEST, b""))  # no service
        self.assertEqual(self.answer(sock)[1]["status"]["code"], UNIMPLEMENTED)
        sock.sendall(ttrpc.frame(3, ttrpc.REQUEST, b"\xff\xff"))
        self.assertEqual(self.answer(sock)[1]["status"]["code"], INVALID)
        sock.sendall(ttrpc.frame(5, ttrpc.REQUEST, ttrpc.encode("Request", service=ttrpc.TASK_V2, method="Kill", payload=b"\xff\xff")))
        self.assertEqual(self.answer(sock)[1]["status"]["code"], INTERNAL)
        sock.sendall(ttrpc.frame(6, ttrpc.REQUEST, b""))  # even: a server's id
        self.assertEqual(self.answer(sock)[1]["status"]["code"], INVALID)
        sock.sendall(ttrpc.frame(3, ttrpc.REQUEST, b""))  # used before
        self.assertEqual(self.answer(sock)[1]["status"]["code"], INVALID)
        sock.sendall(ttrpc.frame(7, 9, b"a type from the future"))
        self.assert_usable(sock, 9)

    def test_byte_by_byte(self):
        sock = self.raw()
        for byte in ttrpc.frame(1, ttrpc.REQUEST, ttrpc.encode("Request", service=ttrpc.TASK_V3, method="Connect")):
            sock.sendall(bytes([byte]))
        self.assertEqual(self.answer(sock)[0], 1)

    def test_waits(self):
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        waits = [pod.client.start_task("Wait", id="c") for _ in range(50)]
        other = pod.connect(ttrpc.TASK_V2).start_task("Wait", id="c")
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        self.assert_fails(DEADLINE, ".", lambda: pod.client.start_task("Wait", timeout_nano=-1, id="c").result())
        begin = time.monotonic()
        self.assert_fails(DEADLINE, ".", lambda: pod.client.start_task("Wait", timeout_nano=200_000_000, id="c").result())
        self.assertTrue(0.2 <= time.monotonic() - begin < 2)
        self.assertFalse(any(w.done.is_set() for w in waits))
        gone = ttrpc.Client(pod.address)  # a client that vanishes while it waits
        gone.start_task("Wait", id="c")
        gone.close()
        pod.call("Kill", id="c", signal=15)
        pod.call("Kill", id="c", signal=9)
        self.assertEqual({w.result()["exit_status"] for w in [*waits, other]}, {137})
        self.assertEqual(pod.client.start_task("Wait", timeout_nano=1_000_000_000, id="c").result()["exit_status"], 137)
        self.assertEqual(pod.client.surplus, [])

    def test_wait_during_delete(self):
        pod = self.pod
        pod.create("c", ["sleep", "1000"])
        wait = pod.client.start_task("Wait", id="c")
        pod.call("Delete", id="c")
        self.assertEqual(wait.result()["exit_status"], 137)

    def test_another_user_is_refused(self):
        os.chmod(self.pod.address[7:], 0o666)
        script = ("import socket,sys,os\n"
                  "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(5)\n"
                  "try: sys.exit(len(s.recv(1)))\n"
                  "except ConnectionResetError: sys.exit(0)\n")
        directory = os.path.dirname(self.pod.address[7:])
        before = os.stat(directory).st_mode & 0o777
        os.chmod(directory, 0o755)
        parent = os.stat(os.path.dirname(directory)).st_mode & 0o777
        os.chmod(os.path.dirname(directory), 0o755)
        try:
            done = subprocess.run(["/usr/bin/python3", "-c", script, self.pod.address[7:]], user=1000, group=1000, extra_groups=[],
                                  capture_output=True, check=False, timeout=20)
        finally:
            os.chmod(directory, before)
            os.chmod(os.path.dirname(directory), parent)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(self.pod.call("Connect", id="x")["shim_pid"], self.pod.shim_pid)


class EventDelivery(PodTest):
    def test_daemon_away(self):
        """What happened while containerd was away arrives once it is back: once, and in order."""
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        self.assert_topics("c", [("create", ""), ("start", "")])
        pod.events.close()
        pod.exec("c", "e", ["true"])
        pod.call("Start", id="c", exec_id="e")
        pod.call("Wait", id="c", exec_id="e")
        pod.finish("c")
        for i in range(3):
            pod.run(f"n{i}", ["true"])
            pod.call("Wait", id=f"n{i}")
        pod.events.open()
        self.assert_topics("c", [("create", ""), ("start", ""), ("exec-added", "e"), ("exec-started", "e"), ("exit", "e"), ("exit", ""), ("delete", "")])
        for i in range(3):
            self.assert_topics(f"n{i}", [("create", ""), ("start", ""), ("exit", "")])

    def test_values(self):
        pod = self.pod
        pid = pod.run("c", ["sh", "-c", "exit 5"])
        exited = pod.call("Wait", id="c")
        pod.call("Delete", id="c")
        self.assert_topics("c", [("create", ""), ("start", ""), ("exit", ""), ("delete", "")])
        events = dict(pod.events.log)
        self.assertEqual(events["/tasks/create"]["pid"], pid)
        self.assertEqual(events["/tasks/start"], {"container_id": "c", "pid": pid})
        self.assertEqual(events["/tasks/exit"], {"container_id": "c", "id": "c", "pid": pid, **exited})
        self.assertEqual(events["/tasks/delete"], {"container_id": "c", "id": "", "pid": pid, **exited})

    def test_log_and_dump(self):
        """Lines for a person who reads containerd's log: few, and one for each object on SIGUSR1."""
        pod = self.pod
        fd = os.open(f"{pod.bundles['pod']}/log", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        pod.run("c", ["true"])
        pod.call("Wait", id="c")
        pod.call("Delete", id="c")
        lines = os.read(fd, 1 << 16).decode().splitlines()
        about = [line for line in lines if re.search(r"\bid=c\b", line)]
        self.assertTrue(1 <= len(about) <= 6, lines)
        for line in lines:
            self.assertRegex(line, r'^time="[^"]+" level=(info|warning|warn|debug|error) msg=')
        pod.run("d", ["sleep", "1000"])
        os.kill(pod.shim_pid, signal.SIGUSR1)
        shown = b""

        def dumped():
            nonlocal shown
            try:
                shown += os.read(fd, 1 << 16)
            except BlockingIOError:
                pass
            return b"state of the shim" in shown and re.search(rb"id=d\b", shown.split(b"state of the shim", 1)[1])
        eventually(dumped, what="dump")
        self.assertTrue(is_alive(pod.shim_pid))


class Nowhere(unittest.TestCase):
    def test_no_daemon_at_all(self):
        """A publisher that leads nowhere holds nothing up."""
        with shim.Pod(env={"TTRPC_ADDRESS": "/nowhere/at/all.sock"}) as pod:
            begin = time.monotonic()
            pod.run("c", ["true"])
            self.assertEqual(pod.call("Wait", id="c")["exit_status"], 0)
            pod.call("Delete", id="c")
            self.assertLess(time.monotonic() - begin, 2)
            pod.call("Shutdown", id="c")
            eventually(lambda: not is_alive(pod.shim_pid), 8, "end of the shim")


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
