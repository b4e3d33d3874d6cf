#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Task.Checkpoint and the restore by Create and Start, with a real criu (tests/lib/criu.sh finds one that works on this kernel); what is told
where it is missing, fails or hangs."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

INVALID, NOT_FOUND, PRECONDITION, UNIMPLEMENTED, UNKNOWN = 3, 5, 9, 12, 2
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
OPTIONS = "containerd.runc.v1.CheckpointOptions"
# Counts without an end: what comes after a restore must go on where the checkpoint was.
COUNTER = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done"


def options(**values):
    return {"type_url": OPTIONS, "value": ttrpc.encode("CheckpointOptions", **values)}


def ticks(data):
    return [int(n) for n in re.findall(rb"^tick (\d+)$", bytes(data), re.M)]


def mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return any(line.split()[4] == path for line in f)


class CheckpointTest(unittest.TestCase):
    directory = None  # of the criu to use

    def start_pod(self, path):
        self.pod = shim.Pod(env={"PATH": path})
        self.addCleanup(self.pod.close)
        self.images = f"{self.pod.dir}/images"

    def own_rootfs(self, **more):
        """A rootfs that comes as a mount of Create, as containerd's do, and what else a test changes."""
        def change(document):
            document["root"]["path"] = "rootfs"
            for key, value in more.items():
                document[key] = document.get(key, []) + value
        return {"change": change, "rootfs": [{"type": "bind", "source": self.pod.rootfs, "options": ["rbind", "rw"]}]}

    def run_counter(self, cid, **more):
        os.makedirs(f"{self.pod.dir}/{cid}/rootfs", exist_ok=True)
        pid = self.pod.run(cid, ["sh", "-c", COUNTER], **self.own_rootfs(**more))
        self.pod.output[cid].wait_for(b"tick 3\n")
        return pid

    def create_from(self, images, cid, **more):
        os.makedirs(f"{self.pod.dir}/{cid}/rootfs", exist_ok=True)
        return self.pod.create(cid, ["sh", "-c", COUNTER], checkpoint=images, **self.own_rootfs(**more))

    def fails(self, code, pattern, method, **values):
        with self.assertRaises(ttrpc.Error) as caught:
            self.pod.call(method, **values)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertRegex(caught.exception.message, pattern)
        self.assertEqual(caught.exception.payload_len, 0)
        return caught.exception.message

    def topics(self, cid):
        return [topic.rsplit("/", 1)[1] for topic, e in self.pod.events.log if e["container_id"] == cid]


class Criu(CheckpointTest):
    def setUp(self):
        done = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib/criu.sh")], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(done.stdout.strip() or done.stderr.strip())
        self.start_pod(f"{done.stdout.strip()}:{os.environ['PATH']}")

    def test_out_and_in_again(self):
        pod = self.pod
        volume = f"{pod.dir}/volume"
        os.mkdir(volume)
        subprocess.run(["mount", "-t", "tmpfs", "husk-test", volume], check=True)
        self.addCleanup(subprocess.run, ["umount", volume], check=True)
        os.mkdir(f"{volume}/below")
        mounts = [{"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rw", "rslave"]},
                  {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]},
                  {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "size=1m"]}]
        pid = self.run_counter("c", mounts=mounts)
        pod.call("Pause", id="c")  # as containerd does
        pod.call("Checkpoint", timeout=60, id="c", path=self.images, options=options(exit=True))
        self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
        self.assertFalse(is_alive(pid))
        before = ticks(pod.output["c"].bytes())
        pod.call("Delete", id="c")
        self.assertTrue(pod.events.wait_for(lambda _log: self.topics("c")[-1:] == ["delete"]))
        self.assertEqual(self.topics("c"), ["create", "start", "paused", "exit", "delete"])
        self.assertFalse(os.path.exists(f"{pod.dir}/c/criu-work"))

        # Another id, another bundle, other FIFOs, another source of the volume.
        other = f"{pod.dir}/other"
        os.mkdir(other)
        mounts[0]["source"] = other
        self.assertEqual(self.create_from(self.images, "d", mounts=mounts), 0)
        self.assertTrue(mounted(f"{pod.dir}/d/rootfs"), "containerd adds the changed files there before Start")
        state = pod.call("State", id="d")
        self.assertEqual((state["status"], state["pid"]), (CREATED, 0))
        self.assertEqual(pod.call("Connect", id="d")["task_pid"], 0)
        wait = pod.client.start_task("Wait", id="d")
        pid = pod.call("Start", timeout=60, id="d")["pid"]
        self.assertTrue(is_alive(pid))
        self.assertEqual(pod.call("State", id="d")["status"], RUNNING)
        self.assertEqual(pod.call("Connect", id="d")["task_pid"], pid)
        pod.output["d"].wait_for(b"tick %d\n" % (before[-1] + 5))
        got = ticks(pod.output["d"].data)
        self.assertLessEqual(got[0], before[-1] + 1)
        self.assertGreaterEqual(got[0], before[-1])
        self.assertEqual(got, list(range(got[0], got[0] + len(got))))
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            self.assertEqual(int(f.read().rsplit(")", 1)[1].split()[1]), pod.shim_pid)
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
            self.assertIn(pod.cgroup_of("d"), f.read())
        self.assertEqual({p["pid"] for p in pod.call("Pids", id="d")["processes"]} & {pid}, {pid})
        with open(f"/proc/{pid}/root/volume/x", "w", encoding="ascii"):
            pass
        self.assertEqual(os.listdir(other), ["x"])
        # It is a container like any other: exec, pause, stats, exit.
        pod.exec("d", "e", ["sh", "-c", "cat /proc/1/comm; exit 5"])
        pod.call("Start", id="d", exec_id="e")
        self.assertEqual(pod.call("Wait", id="d", exec_id="e")["exit_status"], 5)
        self.assertEqual(pod.output["e"].text(), "sh\n")
        pod.call("Pause", id="d")
        pod.call("Resume", id="d")
        pod.call("Stats", id="d")
        pod.call("Kill", id="d", signal=9)
        self.assertEqual(wait.result()["exit_status"], 137)
        pod.output["d"].bytes()
        self.assertEqual(pod.call("Delete", id="d")["pid"], pid)
        self.assertFalse(mounted(f"{pod.dir}/d/rootfs"))
        os.rmdir(f"{pod.dir}/d/rootfs")
        self.assertTrue(pod.events.wait_for(lambda _log: self.topics("d")[-1:] == ["delete"]))
        self.assertEqual(self.topics("d"), ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "exit", "delete"])
        create = next(e for topic, e in pod.events.log if topic == "/tasks/create" and e["container_id"] == "d")
        self.assertEqual((create["checkpoint"], create["pid"]), (self.images, 0))

    def test_left_running(self):
        """Without `exit` the container goes on, paused or not as it was; everything else is answered meanwhile."""
        pod = self.pod
        pid = self.run_counter("c")
        call = pod.client.start_task("Checkpoint", id="c", path=self.images)
        slowest = 0.0
        while not call.done.is_set():
            begin = time.monotonic()
            self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
            pod.call("Connect", id="c")
            slowest = max(slowest, time.monotonic() - begin)
            time.sleep(0.005)
        call.result()
        print(f"slowest State and Connect during a checkpoint: {slowest * 1000:.1f} ms", file=sys.stderr)
        self.assertTrue(is_alive(pid))
        last = ticks(pod.output["c"].data)[-1]
        pod.output["c"].wait_for(b"tick %d\n" % (last + 5))
        pod.call("Pause", id="c")
        pod.call("Checkpoint", timeout=60, id="c", path=f"{self.images}2", options=options(cgroups_mode="ignore", file_locks=True, open_tcp=True))
        self.assertEqual(pod.call("State", id="c")["status"], PAUSED)
        time.sleep(0.3)
        seen = len(pod.output["c"].data)
        time.sleep(0.3)
        self.assertEqual(len(pod.output["c"].data), seen, "still frozen")
        pod.call("Resume", id="c")
        eventually(lambda: len(pod.output["c"].data) > seen, what="output after Resume")
        pod.finish("c")
        self.assertTrue(pod.events.wait_for(lambda _log: self.topics("c")[-1:] == ["delete"]))
        self.assertEqual(self.topics("c"), ["create", "start", "paused", "resumed", "exit", "delete"])

    def test_pod_namespaces(self):
        """A container of a pod comes back into another pod's network, IPC and UTS namespaces."""
        pod = self.pod
        joined = (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
        sandboxes = [pod.run(s, ["sleep", "1000"]) for s in ("s1", "s2")]

        def join(sandbox, values):
            inner = values["change"]

            def change(document):
                inner(document)
                del document["hostname"]
                document["linux"]["namespaces"] = [{"type": t, "path": f"/proc/{sandbox}/ns/{p}"} for t, p in joined] + [{"type": t} for t in ("mount", "pid")]
            return {**values, "change": change}
        os.makedirs(f"{pod.dir}/c/rootfs")
        os.makedirs(f"{pod.dir}/d/rootfs")
        pod.run("c", ["sh", "-c", COUNTER], **join(sandboxes[0], self.own_rootfs()))
        pod.output["c"].wait_for(b"tick 3\n")
        pod.call("Checkpoint", timeout=60, id="c", path=self.images, options=options(exit=True))
        pod.call("Wait", id="c")
        pod.call("Delete", id="c")
        pod.create("d", ["sh", "-c", COUNTER], checkpoint=self.images, **join(sandboxes[1], self.own_rootfs()))
        pid = pod.call("Start", timeout=60, id="d")["pid"]
        for _, ns in joined:
            self.assertEqual(os.readlink(f"/proc/{pid}/ns/{ns}"), os.readlink(f"/proc/{sandboxes[1]}/ns/{ns}"), ns)
        pod.output["d"].wait_for(b"tick ")
        for cid in ("d", "s1", "s2"):
            pod.finish(cid)

    def test_failures_say_what_criu_said(self):
        """A socket that leads out of the container cannot be dumped: the end of CRIU's log is in the answer, the container lives on."""
        pod = self.pod
        os.makedirs(f"{pod.dir}/c/rootfs")
        pid = pod.run("c", ["sh", "-c", "echo ready; busybox nc -l -p 7777 -e cat & sleep 0.3; busybox nc 127.0.0.1 7777 < /dev/zero > /dev/null"],
                      **self.own_rootfs())
        pod.output["c"].wait_for(b"ready\n")
        time.sleep(1)
        text = self.fails(UNKNOWN, "OCI runtime checkpoint failed: criu dump ended with status 1", "Checkpoint", timeout=60, id="c", path=self.images)
        lines = text.splitlines()[1:]
        self.assertEqual(len(lines), 20)
        self.assertTrue(any("Error (" in line for line in lines), text)
        with open(f"{pod.dir}/c/criu-work/dump.log", encoding="utf-8", errors="replace") as f:
            self.assertEqual([line.rstrip("\n") for line in f.read().rstrip("\n").split("\n")[-20:]], lines)
        self.assertTrue(is_alive(pid))
        self.assertEqual(pod.call("State", id="c")["status"], RUNNING)
        pod.finish("c")
        # And a restore from images that are none.
        self.run_counter("g")
        pod.call("Checkpoint", timeout=60, id="g", path=f"{self.images}3", options=options(exit=True))
        pod.call("Wait", id="g")
        pod.call("Delete", id="g")
        os.unlink(f"{self.images}3/inventory.img")
        self.create_from(f"{self.images}3", "d")
        self.fails(UNKNOWN, r"OCI runtime start failed: criu restore ended with status 1.*\n(.*\n)*.*Error \(", "Start", timeout=60, id="d")
        self.assertEqual(pod.call("State", id="d")["status"], CREATED)
        self.assertEqual(pod.call("Pids", id="d")["processes"], [])
        pod.call("Delete", id="d")
        self.assertFalse(mounted(f"{pod.dir}/d/rootfs"))

    def test_created_and_never_started(self):
        pod = self.pod
        self.run_counter("c")
        pod.call("Checkpoint", timeout=60, id="c", path=self.images)
        for cid, end in (("d", lambda: None), ("k", lambda: pod.call("Kill", id="k", signal=9))):
            self.create_from(self.images, cid)
            wait = pod.client.start_task("Wait", id=cid)
            self.fails(PRECONDITION, "process not created", "Kill", id=cid, signal=0)
            self.fails(PRECONDITION, "cannot pause|cannot checkpoint", "Checkpoint", id=cid, path=self.images)
            end()
            self.assertEqual(pod.call("Delete", id=cid), {"pid": 0, **wait.result()})
            self.assertEqual(wait.result()["exit_status"], 137)
            self.assertFalse(mounted(f"{pod.dir}/{cid}/rootfs"))
            self.assertTrue(pod.events.wait_for(lambda _log, cid=cid: self.topics(cid)[-1:] == ["delete"]))
            self.assertEqual(self.topics(cid), ["create", "exit", "delete"])
        pod.finish("c")

    def test_delete_command_after_a_crash(self):
        """The shim dies with one container created from a checkpoint and one restored: `delete` unmounts and ends both."""
        pod = self.pod
        self.run_counter("c")
        pod.call("Checkpoint", timeout=60, id="c", path=self.images, options=options(exit=True))
        pod.call("Wait", id="c")
        pod.call("Delete", id="c")
        self.create_from(self.images, "d")
        self.create_from(self.images, "e")
        pid = pod.call("Start", timeout=60, id="e")["pid"]
        os.kill(pod.shim_pid, 9)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertEqual(pod.delete("e")["exit_status"], 137)
        self.assertFalse(is_alive(pid))
        for cid in ("d", "e"):
            self.assertFalse(mounted(f"{pod.dir}/{cid}/rootfs"))


class NoCriu(CheckpointTest):
    """Programs of that name which do nothing, hang, or are missing."""

    def setUp(self):
        self.bin = tempfile.mkdtemp(prefix="husk-bin-")
        self.addCleanup(shutil.rmtree, self.bin)

    def fake(self, script):
        with open(f"{self.bin}/criu", "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{script}\n")
        os.chmod(f"{self.bin}/criu", 0o755)
        self.start_pod(f"{self.bin}:{os.environ['PATH']}")

    def test_missing(self):
        self.start_pod(self.bin)
        pid = self.pod.run("c", ["sleep", "1000"])
        self.fails(UNIMPLEMENTED, "criu is not installed", "Checkpoint", id="c", path=self.images)
        self.assertEqual(self.pod.call("State", id="c")["status"], RUNNING)
        self.assertTrue(is_alive(pid))
        # From Create never Unimplemented: containerd would fall back to Task v2 for the whole shim.
        self.fails(UNKNOWN, "criu is not installed", "Create", **self.pod.request("d", ["true"], checkpoint=self.images))
        self.fails(NOT_FOUND, "not found", "State", id="d")

    def test_arguments_and_options(self):
        self.fake('echo "$@" > "$(dirname "$0")/args"; env > "$(dirname "$0")/env"; ls -l /proc/self/fd > "$(dirname "$0")/fds"')
        pod = self.pod
        pid = pod.run("c", ["sleep", "1000"])
        pod.call("Checkpoint", id="c", path=self.images, options=options(
            exit=False, open_tcp=True, external_unix_sockets=True, file_locks=True, empty_namespaces=["network"], cgroups_mode="strict",
            work_path=f"{pod.dir}/w"))
        with open(f"{self.bin}/args", encoding="utf-8") as f:
            args = f.read().split()
        for word in ("--leave-running", "--tcp-established", "--ext-unix-sk", "--file-locks", "--manage-cgroups=strict"):
            self.assertIn(word, args)
        self.assertEqual(args[:3], ["dump", "--tree", str(pid)])
        self.assertEqual(args[args.index("--empty-ns") + 1], "net")
        self.assertEqual(args[args.index("--work-dir") + 1], f"{pod.dir}/w")
        self.assertEqual(args[args.index("--images-dir") + 1], self.images)
        self.assertIn("mnt[/proc/keys]:/proc/keys", args)
        with open(f"{self.bin}/env", encoding="utf-8") as f:
            self.assertEqual({line.split("=")[0] for line in f} - {"PWD", "SHLVL", "_", "OLDPWD"}, {"PATH"})
        with open(f"{self.bin}/fds", encoding="utf-8") as f:
            self.assertLessEqual({line.split()[8] for line in f.read().splitlines()[1:]}, {"0", "1", "2", "3"})
        pod.call("Checkpoint", id="c", path=self.images, options=options(exit=True))
        with open(f"{self.bin}/args", encoding="utf-8") as f:
            self.assertNotIn("--leave-running", f.read())
        self.fails(INVALID, "cgroups mode", "Checkpoint", id="c", path=self.images, options=options(cgroups_mode="nope"))
        self.fails(INVALID, "not absolute", "Checkpoint", id="c", path="images")
        self.fails(INVALID, "unknown type", "Checkpoint", id="c", path=self.images, options={"type_url": "foo.Bar", "value": b""})
        self.fails(INVALID, "malformed", "Checkpoint", id="c", path=self.images, options={"type_url": OPTIONS, "value": b"\xff"})
        pod.run("t", ["sh"], terminal=True, stdin=True)
        self.fails(UNIMPLEMENTED, "terminal", "Checkpoint", id="t", path=self.images)

    def test_one_that_hangs(self):
        """A criu that does not end holds nobody up; the container's end, and the shim's, end it."""
        self.fake('echo $$ > "$(dirname "$0")/pid"; exec sleep 1000')
        pod = self.pod
        pod.run("c", ["sleep", "1000"])
        call = pod.client.start_task("Checkpoint", id="c", path=self.images)
        eventually(lambda: os.path.exists(f"{self.bin}/pid") and os.path.getsize(f"{self.bin}/pid"), what="criu")
        with open(f"{self.bin}/pid", encoding="ascii") as f:
            criu = int(f.read())
        for method in ("State", "Pids", "Stats", "Connect"):
            begin = time.monotonic()
            pod.call(method, id="c")
            self.assertLess(time.monotonic() - begin, 1, method)
        self.fails(PRECONDITION, "under way", "Checkpoint", id="c", path=self.images)
        self.fails(PRECONDITION, "while it is checkpointed", "Pause", id="c")
        pod.exec("c", "e", ["true"])
        self.fails(PRECONDITION, "while it is checkpointed", "Start", id="c", exec_id="e")
        self.assertFalse(call.done.is_set())
        self.assertTrue(is_alive(criu))
        pod.finish("c")
        with self.assertRaises(ttrpc.Error) as caught:
            call.result()
        self.assertEqual(caught.exception.code, NOT_FOUND)
        eventually(lambda: not is_alive(criu), what="end of criu")

    def test_bad_restores(self):
        self.fake("exit 0")
        pod = self.pod
        self.fails(INVALID, "not an absolute path", "Create", **pod.request("d", ["true"], checkpoint="images"))
        self.fails(INVALID, "images/husk-outside: ENOENT", "Create", **pod.request("d", ["true"], checkpoint=self.images))
        os.makedirs(self.images)
        for text in ("", "husk 2\n", "husk 1\nfd 7 x\n", "husk 1\nbind /a\n", "husk 1\n\n \n"):
            with open(f"{self.images}/husk-outside", "w", encoding="ascii") as f:
                f.write(text)
            self.fails(INVALID, "husk-outside", "Create", **pod.request("d", ["true"], checkpoint=self.images))
        with open(f"{self.images}/husk-outside", "w", encoding="ascii") as f:
            f.write("husk 1\nbind /gone /gone -\n")
        pod.create("d", ["true"], checkpoint=self.images)
        self.fails(INVALID, "bind mount on /gone", "Start", id="d")
        pod.call("Delete", id="d")
        self.fails(UNKNOWN, "terminal", "Create", **pod.request("t", ["true"], checkpoint=self.images, terminal=True))


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
