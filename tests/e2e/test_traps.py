#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between containerd and its shims, with a real daemon and its CRI service: the daemon stopped, killed or slow at the wrong
moment, the shim or the sandbox killed behind its back, runc's pods beside husk's. tests/TRAPS.md says which trap is shown where."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
from pods import CriTest, eventually, main, version  # pylint: disable=wrong-import-position
from daemon import BUSYBOX, HUSK  # pylint: disable=wrong-import-position
from shim import is_alive  # pylint: disable=wrong-import-position

MIB = 1 << 20


def mounts(text):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return [line for line in f if text in line]


class TrapCase(CriTest):
    def restart(self, between=lambda: None, sig=signal.SIGTERM):
        from cri import Cri  # pylint: disable=import-outside-toplevel
        self.daemon.stop(sig)
        between()
        self.daemon.start()
        type(self).cri.close()
        type(self).cri = Cri(self.daemon.address)

        self.assertTrue(eventually(self.is_served, 30), "the CRI service of the new daemon")

    def shims(self, ids):
        """The servers of these pods."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    text = f.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "containerd-shim-husk-v2" in text and self.daemon.address in text and any(f" {i} " in text for i in ids) and is_alive(int(pid)):
                found.append(int(pid))
        return found

    def assert_nothing_left(self, *ids):
        """No shim, mount, bundle and cgroup of these any more."""
        def left():
            found = {"shims": self.shims(ids), "mounts": [line for i in ids for line in mounts(i)],
                     "bundles": [b for i in ids for b in self.find(f"{self.daemon.dir}/state", i)],
                     "cgroups": [c for i in ids for c in self.find("/sys/fs/cgroup", i)]}
            return {k: v for k, v in found.items() if v}
        if not eventually(lambda: not left(), 20):
            self.assertEqual(left(), {})

    @staticmethod
    def find(top, name):
        return [os.path.join(path, d) for path, dirs, _ in os.walk(top) for d in dirs if name in d and "sandboxes" not in path]


class Restarts(TrapCase):
    def test_an_exit_while_the_daemon_is_away(self):
        """Trap 40: a container ends with 7 during the outage; it is 7 afterwards, not 255. Killed and stopped daemons alike."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=sig):
                pod = self.pod(f"away{sig}", network="NODE")
                c = self.container(pod, f"c{sig}", ["sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 7"])
                other = self.container(pod, f"d{sig}", ["sleep", "1000"])
                pid, other_pid = self.pid(c), self.pid(other)

                def meanwhile(pid=pid):
                    with open(f"/proc/{pid}/root/go", "w", encoding="ascii"):
                        pass
                    self.assertTrue(eventually(lambda: not is_alive(pid)))
                self.restart(meanwhile, sig)
                status = self.status(c)
                self.assertEqual((status.state, status.exit_code, status.reason), (self.pb.CONTAINER_EXITED, 7, "Error"))
                self.assertEqual(self.status(other).state, self.pb.CONTAINER_RUNNING)
                self.assertEqual(self.pid(other), other_pid)
                self.assertEqual(self.sh(other, "echo here; exit 3"), (3, "here\n", ""))
                self.remove_pod(pod[0])
                self.assert_nothing_left(pod[0], c, other)

    def test_output_over_a_restart(self):
        """
        Trap 51: 10 MB of numbered lines over two restarts; the log has each of them once, but for what the daemon had read and not yet written when it
        was ended. Nobody else takes bytes out of the FIFO (the shim has it open and does not read; with a reader of our own not one is lost:
        test_stdio.py, AwayReader), and a copy that husk kept could not know how much of it is in the log: it would have lines told twice.
        """
        pod = self.pod("lines", network="NODE")
        count = 300000
        c = self.container(pod, "lines", ["sh", "-c", f"i=0; while [ $i -lt 30 ]; do seq $((1000001+i*{count // 30})) $((1000000+(i+1)*{count // 30})) | "
                                          "sed 's/$/ 0123456789012345678901234/'; i=$((i+1)); sleep 0.1; done"])
        self.restart()
        self.restart(sig=signal.SIGKILL)
        self.assertTrue(eventually(lambda: self.status(c).state == self.pb.CONTAINER_EXITED, 120))
        self.assertEqual(self.status(c).exit_code, 0)
        with open(f"{self.logs}/lines.log", encoding="utf-8") as f:
            # A daemon that dies may have written half of a line: it is told as such (P), and what it had read and not written is lost with it.
            text = "".join(line.split(" ", 3)[3].rstrip("\n") + ("\n" if line.split(" ", 3)[2] == "F" else "") for line in f if line.count(" ") >= 3)
        numbers = [int(line.split(" ")[0]) for line in text.splitlines() if re.match(r"^\d{7} \d{25}$", line)]
        self.assertEqual(len(numbers), len(set(numbers)), "no line twice")
        lost = count - len(numbers)
        print(f"{lost} of {count} lines were in the memory of a daemon that was stopped or killed", file=sys.stderr)
        # What containerd has read is its own; more than its buffers (32 KiB a stream and pipe) twice over would be ours.
        self.assertLess(lost, 10000)
        gaps = sum(b != a + 1 for a, b in zip(numbers, numbers[1:]))
        self.assertLessEqual(gaps, 2, "one for each daemon that ended")
        self.assertEqual(numbers[-1], 1000000 + count)

    def test_updated_and_removed_afterwards(self):
        """Trap 63: nothing is given again after a restart, and all that an update and a removal need is there."""
        pod = self.pod("again", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], resources={"memory_limit_in_bytes": 64 * MIB})
        self.restart(sig=signal.SIGKILL)
        self.cri.UpdateContainerResources(container_id=c, linux={"memory_limit_in_bytes": 48 * MIB})
        values = set()
        for top in self.find("/sys/fs/cgroup", c):
            for name in ("memory.max", "memory.limit_in_bytes"):
                if os.path.exists(f"{top}/{name}"):
                    with open(f"{top}/{name}", encoding="ascii") as f:
                        values.add(f.read().strip())
        self.assertEqual(values, {str(48 * MIB)})
        self.remove_pod(pod[0])
        self.assert_nothing_left(pod[0], c)

    def test_a_shim_that_is_slow_to_answer(self):
        """Trap 41: stopped for 3 s around a restart, the shim is waited for and not taken for dead."""
        pod = self.pod("slow", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        server, pid = self.shim_pid(c), self.pid(c)

        def meanwhile():
            os.kill(server, signal.SIGSTOP)
            threading.Timer(3, os.kill, (server, signal.SIGCONT)).start()
        self.restart(meanwhile)
        self.assertEqual(self.status(c).state, self.pb.CONTAINER_RUNNING)
        self.assertEqual(self.pid(c), pid)
        self.assertTrue(is_alive(server) and is_alive(pid))
        self.assertEqual(self.sh(c, "echo well")[1], "well\n")

    def test_events_of_an_outage(self):
        """Trap 58: an exit while the daemon is away is told by the next one, once, after nothing that came later."""
        self.daemon.import_images()
        self.daemon.ctr("run", "-d", "--runtime", HUSK, BUSYBOX, "e1", "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 5")
        self.addCleanup(daemon.remove_cgroups, "default")
        self.addCleanup(lambda: (self.daemon.ctr("tasks", "rm", "-f", "e1", check=False), self.daemon.ctr("containers", "rm", "e1", check=False)))
        pid = int(self.daemon.ctr("tasks", "ls").stdout.splitlines()[1].split()[1])
        log = f"{self.daemon.dir}/events"
        watcher = None

        def meanwhile():
            nonlocal watcher
            with open(f"/proc/{pid}/root/go", "w", encoding="ascii"):
                pass
            self.assertTrue(eventually(lambda: not is_alive(pid)))
            # Its client tries until the daemon is there, so that it hears what the shim sends first.
            watcher = subprocess.Popen(["sh", "-c", f"until ctr -a {self.daemon.address} events >> {log} 2>/dev/null; do sleep 0.02; done"],
                                       start_new_session=True)
        self.restart(meanwhile)
        time.sleep(6)  # the shim's own pauses between its attempts
        self.daemon.ctr("tasks", "rm", "e1", check=False)
        time.sleep(1)
        os.killpg(watcher.pid, signal.SIGKILL)
        watcher.wait()
        with open(log, encoding="utf-8") as f:
            told = [(re.search(r"/tasks/([a-z-]+)", line).group(1), json.loads(line[line.index("{"):])) for line in f if "/tasks/" in line and '"e1"' in line]
        self.assertEqual([topic for topic, _ in told][-1:], ["delete"])
        exits = [e for topic, e in told if topic == "exit"]
        self.assertLessEqual(len(exits), 1, "never twice")
        if exits:  # a client may still have been too late for it
            self.assertEqual(exits[0]["exit_status"], 5)


class Killed(TrapCase):
    def pod_of_three(self, name, **pod):
        sandbox = self.pod(name, network="NODE", **pod)
        containers = [self.container(sandbox, f"{name}{i}", ["sh", "-c", "sleep 1000 & exec sleep 1000"]) for i in range(3)]
        return sandbox, containers

    def test_a_shim_with_three_containers(self):
        """Traps 15 and 65: the daemon calls `delete` for the sandbox alone; all of the pod ends. By SIGKILL and by SIGTERM."""
        for sig in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=sig):
                sandbox, containers = self.pod_of_three(f"three{sig}")
                pids = [self.pid(c) for c in containers]
                os.kill(self.shim_pid(containers[0]), sig)
                for pid in pids:
                    self.assertTrue(eventually(lambda pid=pid: not is_alive(pid)))
                self.assertTrue(eventually(lambda cs=containers: all(self.status(c).state == self.pb.CONTAINER_EXITED for c in cs)))
                self.remove_pod(sandbox[0])
                self.assert_nothing_left(sandbox[0], *containers)

    def test_the_sandbox(self):
        """Trap 37: the pause process is killed; afterwards no Shutdown comes that finds no container, and the shim ends all the same."""
        sandbox, containers = self.pod_of_three("nopause")
        os.kill(self.pid(sandbox[0]), signal.SIGKILL)
        self.assertTrue(eventually(lambda: self.cri.PodSandboxStatus(pod_sandbox_id=sandbox[0]).status.state != 0))
        self.remove_pod(sandbox[0])
        self.assert_nothing_left(sandbox[0], *containers)

    def test_an_init_while_it_is_removed(self):
        """Trap 32: the init dies by another hand in the very moment: Kill is answered "not found", Wait ends, the removal too."""
        pod = self.pod("race", network="NODE")
        for i in range(10):
            c = self.container(pod, f"r{i}", ["sleep", "1000"])
            pid = self.pid(c)
            killer = threading.Timer(i / 500, lambda pid=pid: is_alive(pid) and os.kill(pid, signal.SIGKILL))
            killer.start()
            begin = time.monotonic()
            self.cri.StopContainer(container_id=c, timeout=0)
            self.cri.RemoveContainer(container_id=c)
            self.assertLess(time.monotonic() - begin, 8 * daemon.SLOW)
            killer.cancel()
            killer.join()

    def test_bundles_go(self):
        """Trap 16: nothing is left on a rootfs that would keep the daemon from removing its bundle."""
        self.daemon.import_images()
        self.addCleanup(daemon.remove_cgroups, "default")
        # Whole words: the machine's own cgroups may have hexadecimal names.
        ids = [f"bundle-goes-{i}" for i in range(5)]
        for i in ids:
            self.daemon.ctr("run", "--rm", "--runtime", HUSK, BUSYBOX, i, "sh", "-c", "echo x > /made; mkdir -p /proc/x 2>/dev/null; true")
        self.assert_nothing_left(*ids)
        with open(self.daemon.log, encoding="utf-8", errors="replace") as f:
            self.assertEqual([line for line in f if "failed to remove bundle" in line or "failed to unmount" in line], [])


class Beside(TrapCase):
    def test_stats_of_both_runtimes(self):
        """Trap 42: one undecodable answer would fail the whole node's list."""
        pods = [self.pod(f"stats{handler}", network="NODE", handler=handler) for handler in ("husk", "runc")]
        containers = [self.container(pod, f"stats{i}", ["sleep", "1000"]) for i, pod in enumerate(pods)]

        def listed():
            stats = {s.attributes.id: s for s in self.cri.ListContainerStats().stats}
            return all(c in stats and stats[c].memory.usage_bytes.value > 0 for c in containers)
        self.assertTrue(eventually(listed, 20), "both containers, with their memory")
        stopped = self.container(pods[0], "statsx", ["true"])
        self.assertTrue(eventually(lambda: self.status(stopped).state == self.pb.CONTAINER_EXITED))
        self.assertTrue(eventually(listed, 20), "an exited one disturbs nobody")

    def test_killed_for_memory(self):
        """Trap 43: the reason of a container that the kernel killed is OOMKilled each time, also in its first moments."""
        pod = self.pod("oom", network="NODE")
        for i in range(10):
            c = self.container(pod, f"oom{i}", ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"], resources={"memory_limit_in_bytes": 16 * MIB})
            self.assertTrue(eventually(lambda c=c: self.status(c).state == self.pb.CONTAINER_EXITED, 20))
            self.assertTrue(eventually(lambda c=c: self.status(c).reason == "OOMKilled", 5), (i, self.status(c).reason, self.status(c).exit_code))
            self.assertEqual(self.status(c).exit_code, 137)

    def test_checkpoint_where_it_is_not_possible(self):
        """Trap 46: without a criu that works the container runs on, awake."""
        self.daemon.import_images()
        self.addCleanup(daemon.remove_cgroups, "default")
        self.daemon.ctr("run", "-d", "--runtime", HUSK, BUSYBOX, "k1", "sh", "-c", "while :; do date > /now; sleep 0.02; done")
        self.addCleanup(lambda: (self.daemon.ctr("tasks", "rm", "-f", "k1", check=False), self.daemon.ctr("containers", "rm", "k1", check=False)))
        done = self.daemon.ctr("tasks", "checkpoint", "--image-path", f"{self.daemon.dir}/images", "k1", check=False)
        row = self.daemon.ctr("tasks", "ls").stdout.splitlines()[1].split()
        if done.returncode == 0:
            self.skipTest("criu works here")
        self.assertRegex(done.stderr, "criu")
        self.assertEqual((row[0], row[2]), ("k1", "RUNNING"))
        path = f"/proc/{row[1]}/root/now"
        before = os.stat(path).st_mtime_ns
        self.assertTrue(eventually(lambda: os.stat(path).st_mtime_ns != before), "resumed")

    def test_features(self):
        """Trap 12, as far as a daemon's own command shows it: the document has what decides about user namespaces."""
        if version() < (2, 0):
            self.skipTest("containerd before 2.0 asks for no features")
        out = self.daemon.ctr("plugins", "inspect-runtime", "--runtime", HUSK).stdout
        features = json.loads(out)["Features"]
        self.assertIn("user", features["linux"]["namespaces"])
        self.assertIn("enabled", features["linux"]["mountExtensions"]["idmap"])
        self.assertIn("rro", features["mountOptions"])


class OptionsTable(TrapCase):
    @classmethod
    def setUpClass(cls):
        plain = daemon.CRI
        head = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk'
        daemon.CRI = plain.replace(f'{head}]', f'{head}.options]\n      SystemdCgroup = false\n    {head}]')
        try:
            super().setUpClass()
        finally:
            daemon.CRI = plain

    def test_with_user_namespaces(self):
        """Trap 62: a daemon that sets io_uid cannot read an options table of another type than runc's. It is the daemon that says so, and no
        container, mount or process comes of it; without a user namespace the same table is fine."""
        import grpc  # pylint: disable=import-outside-toplevel
        pod = self.pod("plain", network="NODE")
        self.assertEqual(self.sh(self.container(pod, "plain", ["sleep", "1000"]), "echo well")[1], "well\n")
        if version() < (2, 1):
            self.skipTest("this daemon does not set io_uid")
        pod = sandbox = None
        with self.assertRaises(grpc.RpcError) as caught:
            pod = sandbox = self.pod("userns", userns=True)
            self.container(pod, "userns", ["sleep", "1000"])
        self.assertIn("can't unmarshal type", caught.exception.details())
        self.assertIn("runtimeoptions.v1.Options", caught.exception.details())
        if sandbox:
            self.remove_pod(sandbox[0])


if __name__ == "__main__":
    main()
