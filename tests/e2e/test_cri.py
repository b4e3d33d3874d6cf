#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pods through containerd's CRI service, as the kubelet makes them: host network and CNI bridge, two containers, ExecSync, logs,
resources, stop and remove."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
from pods import PAUSELESS, CriTest, eventually, main, memory_limit, ns, read  # pylint: disable=wrong-import-position


class Pods(CriTest):
    def test_host_network_pod(self):
        pod = self.pod("hostnet", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        self.assertEqual(ns(self.pid(c), "net"), ns("self", "net"))
        self.assertEqual(self.sh(c, "echo out; echo err >&2; exit 3"), (3, "out\n", "err\n"))

    def test_bridge_pod_of_two_containers(self):
        pod = self.pod("bridge", sysctls={"net.ipv4.ip_forward": "1"})
        ip = self.cri.PodSandboxStatus(pod_sandbox_id=pod[0]).status.network.ip
        self.assertRegex(ip, r"^10\.213\.0\.\d+$")
        volume = f"{self.daemon.dir}/volume"
        os.makedirs(volume, exist_ok=True)
        mounts = [{"container_path": "/volume", "host_path": volume}]
        a = self.container(pod, "a", ["sh", "-c", "echo from-a > /volume/note; exec sleep 1000"], mounts=mounts,
                           resources={"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512})
        b = self.container(pod, "b", ["sleep", "1000"], mounts=mounts)
        sandbox, pa, pb = self.sandbox_pid(pod), self.pid(a), self.pid(b)
        for kind in ("net", "ipc", "uts"):
            self.assertEqual({ns(pa, kind), ns(pb, kind)}, {ns(sandbox, kind)}, kind)
        for kind in ("mnt", "pid"):
            self.assertEqual(len({ns(pa, kind), ns(pb, kind), ns(sandbox, kind)}), 3, kind)
        self.assertTrue(eventually(lambda: self.sh(b, "cat /volume/note") == (0, "from-a\n", "")))
        self.assertIn(ip, self.sh(a, "ip addr show eth0")[1])
        self.assertEqual(self.sh(a, "hostname")[1], "bridge\n")
        self.assertEqual(self.sh(b, "cat /proc/sys/net/ipv4/ip_forward")[1], "1\n")
        self.assertEqual(self.sh(a, "ping -c 1 -W 5 10.213.0.1 >/dev/null && echo pong")[1], "pong\n")
        parents = {read(f"/proc/{p}/stat").rsplit(")", 1)[1].split()[1] for p in (sandbox, pa, pb)}
        self.assertEqual(len(parents), 1, "one shim serves the whole pod")

    def test_logs_and_exit_code(self):
        pod = self.pod("logs", network="NODE")
        c = self.container(pod, "job", ["sh", "-c", "echo one; echo two >&2; exit 7"])
        self.assertTrue(eventually(lambda: self.status(c).state == self.pb.CONTAINER_EXITED))
        self.assertEqual((self.status(c).exit_code, self.status(c).reason), (7, "Error"))
        lines = [line.split(" ", 1)[1] for line in read(f"{self.logs}/job.log").splitlines()]
        self.assertEqual(sorted(lines), ["stderr F two", "stdout F one"])

    def test_stop_with_grace_and_without(self):
        pod = self.pod("stop", network="NODE")
        polite = self.container(pod, "polite", ["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"])
        stubborn = self.container(pod, "stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
        time.sleep(0.3)
        self.cri.StopContainer(container_id=polite, timeout=10)
        self.assertEqual(self.status(polite).exit_code, 5)
        self.cri.StopContainer(container_id=stubborn, timeout=1)
        self.assertEqual(self.status(stubborn).exit_code, 137)

    def test_shared_pid_namespace(self):
        pod = self.pod("sharedpid", pid="POD")
        a = self.container(pod, "a", ["sleep", "1001"])
        b = self.container(pod, "b", ["sleep", "1002"])
        code, out, _ = self.sh(b, "ps -o pid,args")
        self.assertEqual(code, 0)
        self.assertIn("1 /husk-init" if PAUSELESS else "1 /pause", " ".join(out.split()))
        self.assertIn("sleep 1001", out)
        self.sh(b, "(sleep 0.1 &)")
        self.assertTrue(eventually(lambda: " Z" not in self.sh(b, "ps -o pid,stat,args")[1]), "husk-init reaps orphans")
        self.cri.StopContainer(container_id=a, timeout=0)
        self.assertEqual(self.status(a).exit_code, 137)
        self.assertEqual(self.status(b).state, self.pb.CONTAINER_RUNNING)

    def test_security_context(self):
        pod = self.pod("security", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], security={
            "run_as_user": {"value": 1000}, "supplemental_groups": [2000, 3000], "readonly_rootfs": True, "no_new_privs": True,
            "capabilities": {"drop_capabilities": ["ALL"]}, "masked_paths": ["/proc/timer_list", "/sys/firmware"],
            "readonly_paths": ["/proc/sys"]})
        status = dict(line.split(":\t", 1) for line in self.sh(c, "cat /proc/self/status")[1].splitlines() if ":\t" in line)
        self.assertEqual(status["Uid"].split(), ["1000"] * 4)
        self.assertEqual(set(status["Groups"].split()) & {"2000", "3000"}, {"2000", "3000"})
        self.assertEqual((status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]),
                         ("0" * 16, "0" * 16, "1", "2"))
        self.assertNotEqual(self.sh(c, "touch /x")[0], 0)
        self.assertNotEqual(self.sh(c, "echo 1 > /proc/sys/kernel/domainname")[0], 0)
        self.assertRegex(self.sh(c, "ls -l /proc/timer_list")[1], r"^c.* 1, +3 ")  # masked by the null device

    def test_update_and_stats(self):
        pod = self.pod("update", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], resources={"memory_limit_in_bytes": 64 << 20})
        self.cri.UpdateContainerResources(container_id=c, linux={"memory_limit_in_bytes": 32 << 20})
        self.assertEqual(memory_limit(c), [str(32 << 20)])
        stats = self.cri.ContainerStats(container_id=c).stats
        self.assertGreater(stats.memory.usage_bytes.value, 0)

    def test_exec_failures_are_told(self):
        pod = self.pod("execfail", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        import grpc  # pylint: disable=import-outside-toplevel
        with self.assertRaises(grpc.RpcError) as e:
            self.cri.ExecSync(container_id=c, cmd=["/nonexistent"], timeout=int(5 * daemon.SLOW))
        self.assertIn("no such file or directory", e.exception.details())
        self.assertEqual(self.sh(c, "echo still here")[1], "still here\n")

    def test_exec_timeout(self):
        pod = self.pod("exectimeout", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        import grpc  # pylint: disable=import-outside-toplevel
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as e:
            self.cri.ExecSync(container_id=c, cmd=["sleep", "60"], timeout=1)
        self.assertEqual(e.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - began, 20 * daemon.SLOW)

    def test_container_restarts_in_its_pod(self):
        pod = self.pod("restart", network="NODE")
        for attempt in range(3):
            c = self.container(pod, f"c{attempt}", ["sh", "-c", f"exit {attempt}"])
            self.assertTrue(eventually(lambda: self.status(c).state == self.pb.CONTAINER_EXITED))
            self.assertEqual(self.status(c).exit_code, attempt)
            self.cri.RemoveContainer(container_id=c)


if __name__ == "__main__":
    main()
