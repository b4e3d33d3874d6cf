#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a pod may ask for, through containerd's CRI service: namespaces, volumes, ids, profiles, networks, streams, logs, ends. One test a behaviour: their
names become the rows of the table in tests/README.md (tests/lib/cri_table.py)."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
from pods import CNI, PAUSELESS, USERNS, CriTest, eventually, main, memory_limit, ns, read, version  # pylint: disable=wrong-import-position


class Namespaces(CriTest):
    def test_host_pid_and_host_ipc(self):
        pod = self.pod("hostpid", network="NODE", pid="NODE", ipc="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        for kind in ("net", "pid", "ipc", "uts"):
            self.assertEqual(ns(self.pid(c), kind), ns("self", kind), kind)
        if PAUSELESS:
            self.assertEqual(self.sandbox_pid(pod), self.shim_pid(c), "nothing to hold: no process")

    def test_container_of_the_pod_s_pids_in_a_pod_that_shares_none(self):
        pod = self.pod("pids", pid="CONTAINER")
        c = self.container(pod, "c", ["sleep", "1000"], security={"namespace_options": {"pid": "POD"}})
        self.assertNotEqual(ns(self.pid(c), "pid"), ns("self", "pid"), "never the node's")

    def test_debug_container_in_another_s_pid_namespace(self):
        pod = self.pod("debug", network="NODE")
        target = self.container(pod, "app", ["sh", "-c", "sleep 1234"])
        debug = self.container(pod, "debug", ["sleep", "1000"], security={
            "namespace_options": {"network": "NODE", "pid": "TARGET", "target_id": target}})
        self.assertEqual(ns(self.pid(debug), "pid"), ns(self.pid(target), "pid"))
        self.assertIn("sleep 1234", self.sh(debug, "ps -o args")[1])
        self.cri.StopContainer(container_id=debug, timeout=0)
        self.assertEqual(self.status(target).state, self.pb.CONTAINER_RUNNING)

    def test_orphans_of_a_shared_pid_namespace_are_reaped(self):
        pod = self.pod("reap", network="NODE", pid="POD")
        c = self.container(pod, "c", ["sh", "-c", "for i in 1 2 3 4; do (sleep 0.2 &); done; exec sleep 1000"])
        time.sleep(1.3)
        self.assertNotIn("Z", self.sh(c, "ps -o stat | tail -n +2")[1])

    def test_sysctls(self):
        pod = self.pod("sysctl", sysctls={"net.ipv4.ip_local_port_range": "40000 40100", "kernel.shm_rmid_forced": "1"})
        c = self.container(pod, "c", ["sleep", "1000"])
        self.assertEqual(self.sh(c, "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced")[1], "40000\t40100\n1\n")

    def test_user_namespace_with_an_id_mapped_volume(self):
        if version() < (2, 0):
            self.skipTest("containerd 2.0 is the first to have them")
        volume = f"{self.daemon.dir}/idmap"
        os.makedirs(volume)
        os.chmod(volume, 0o777)
        pod = self.pod("userns", userns=True)
        mapping = [self.pb.IDMapping(container_id=0, host_id=USERNS, length=65536)]
        c = self.container(pod, "c", ["sleep", "1000"], mounts=[
            {"container_path": "/volume", "host_path": volume, "uidMappings": mapping, "gidMappings": mapping}])
        self.assertEqual(read(f"/proc/{self.pid(c)}/uid_map").split(), ["0", str(USERNS), "65536"])
        self.assertEqual(self.sh(c, "id -u; echo x >/volume/x; stat -c %u /volume/x; stat -c %u /etc/hostname"), (0, "0\n0\n0\n", ""))
        self.assertEqual(os.stat(f"{volume}/x").st_uid, 0, "what root of the pod writes belongs to the volume's root")
        self.assertNotEqual(self.sh(c, "mount -o remount,rw /proc/sys 2>/dev/null; echo 1 >/proc/sys/kernel/sysrq")[0], 0)

    def test_port_mapping(self):
        if len(CNI["plugins"]) < 2:
            self.skipTest("iptables is not installed")
        pod = self.pod("ports", port_mappings=[{"container_port": 8080, "host_port": 18080}])
        ip = self.cri.PodSandboxStatus(pod_sandbox_id=pod[0]).status.network.ip
        self.container(pod, "c", ["sh", "-c", "while :; do echo served | nc -l -p 8080; done"])
        address = subprocess.run(["ip", "-4", "-o", "addr", "show", "dev", "husk-test0"], capture_output=True, text=True, check=True).stdout.split()[3]
        for host, port in ((ip, 8080), (address.split("/")[0], 18080)):
            self.assertTrue(eventually(lambda host=host, port=port: self.fetch(host, port) == b"served\n"), f"{host}:{port}")

    @staticmethod
    def fetch(host, port):
        try:
            with socket.create_connection((host, port), 2) as s:
                return s.recv(100)
        except OSError:
            return None


class Files(CriTest):
    def test_sidecars_share_network_and_volume(self):
        pod = self.pod("sidecar")
        volume = f"{self.daemon.dir}/shared"
        os.makedirs(volume)
        mounts = [{"container_path": "/volume", "host_path": volume}]
        init = self.container(pod, "init", ["sh", "-c", "echo config >/volume/config"], mounts=mounts)
        self.assertTrue(eventually(lambda: self.status(init).state == self.pb.CONTAINER_EXITED))
        self.assertEqual(self.status(init).exit_code, 0)
        self.container(pod, "app", ["httpd", "-f", "-p", "127.0.0.1:7000", "-h", "/volume"], mounts=mounts)
        sidecar = self.container(pod, "sidecar", ["sleep", "1000"], mounts=[{**mounts[0], "readonly": True}])
        self.assertTrue(eventually(lambda: self.sh(sidecar, "wget -qO- http://127.0.0.1:7000/config")[1] == "config\n"))
        self.assertNotEqual(self.sh(sidecar, "touch /volume/x")[0], 0)

    def test_volumes_of_every_propagation(self):
        volume = f"{self.daemon.dir}/propagation"
        os.makedirs(f"{volume}/by-host")
        os.makedirs(f"{volume}/by-pod")
        subprocess.run(["mount", "--bind", volume, volume], check=True)
        self.addCleanup(subprocess.run, ["umount", "-R", volume], check=True)
        subprocess.run(["mount", "--make-rshared", volume], check=True)
        pod = self.pod("propagation", network="NODE", privileged=True)
        c = {kind: self.container(pod, kind.lower().replace("_", "-"), ["sleep", "1000"], security={"privileged": True},
                                  mounts=[{"container_path": "/v", "host_path": volume, "propagation": f"PROPAGATION_{kind}"}])
             for kind in ("PRIVATE", "HOST_TO_CONTAINER", "BIDIRECTIONAL")}
        subprocess.run(["mount", "-t", "tmpfs", "none", f"{volume}/by-host"], check=True)
        with open(f"{volume}/by-host/file", "w", encoding="utf-8"):
            pass
        seen = {kind: self.sh(each, "ls /v/by-host")[1] for kind, each in c.items()}
        self.assertEqual(seen, {"PRIVATE": "", "HOST_TO_CONTAINER": "file\n", "BIDIRECTIONAL": "file\n"})
        for each in c.values():
            self.assertEqual(self.sh(each, "mount -t tmpfs none /v/by-pod && touch /v/by-pod/mine")[0], 0)
        self.assertEqual(os.listdir(f"{volume}/by-pod"), ["mine"])

    def test_hostname_hosts_and_resolv_conf(self):
        pod = self.pod("names", dns_config={"servers": ["10.9.8.7"], "searches": ["svc.local"], "options": ["ndots:5"]})
        c = self.container(pod, "c", ["sleep", "1000"])
        self.assertEqual(self.sh(c, "hostname; cat /etc/hostname /etc/resolv.conf")[1],
                         "names\nnames\nsearch svc.local\nnameserver 10.9.8.7\noptions ndots:5\n")
        self.assertEqual(self.sh(c, "test -f /etc/hosts")[0], 0)

    def test_shared_memory(self):
        pod = self.pod("shm")
        a, b = (self.container(pod, name, ["sleep", "1000"]) for name in "ab")
        self.sh(a, "echo note >/dev/shm/note")
        self.assertEqual(self.sh(b, "cat /dev/shm/note")[1], "note\n")
        self.assertEqual(ns(self.pid(a), "ipc"), ns(self.pid(b), "ipc"))

    def test_image_volume(self):
        if version() < (2, 1):
            self.skipTest("containerd 2.1 is the first to have them")
        pod = self.pod("imagevolume", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], mounts=[
            {"container_path": "/image", "image": {"image": daemon.BUSYBOX}, "readonly": True}])
        self.assertEqual(self.sh(c, "/image/bin/busybox echo from the image")[1], "from the image\n")
        self.assertNotEqual(self.sh(c, "touch /image/x")[0], 0)


class Identity(CriTest):
    def status_of(self, container):
        return dict(line.split(":\t", 1) for line in self.sh(container, "cat /proc/self/status")[1].splitlines() if ":\t" in line)

    def test_run_as_and_supplemental_groups(self):
        pod = self.pod("ids", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], security={
            "run_as_user": {"value": 1234}, "run_as_group": {"value": 4321}, "supplemental_groups": [5, 6]})
        self.assertEqual(self.sh(c, "id -u; id -g")[1], "1234\n4321\n")
        self.assertEqual(set(self.status_of(c)["Groups"].split()), {"4321", "5", "6"})
        by_name = self.container(pod, "n", ["sleep", "1000"], security={"run_as_username": "root"})
        self.assertEqual(self.sh(by_name, "id -u")[1], "0\n")

    def test_read_only_root(self):
        pod = self.pod("readonly")
        c = self.container(pod, "c", ["sleep", "1000"], security={"readonly_rootfs": True})
        self.assertIn("Read-only", self.sh(c, "touch /x")[2])
        self.assertNotEqual(self.sh(c, "echo x >>/etc/hosts")[0], 0)
        self.assertEqual(self.sh(c, "touch /dev/shm/x")[0], 0)

    def test_seccomp_profiles(self):
        path = f"{self.daemon.dir}/no-mkdir.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}, f)
        pod = self.pod("seccomp", network="NODE")
        profiles = {"default": {"profile_type": "RuntimeDefault"}, "unconfined": {"profile_type": "Unconfined"},
                    "localhost": {"profile_type": "Localhost", "localhost_ref": path}}
        c = {name: self.container(pod, name, ["sleep", "1000"], security={"seccomp": profile}) for name, profile in profiles.items()}
        self.assertEqual({name: self.status_of(each)["Seccomp"] for name, each in c.items()},
                         {"default": "2", "unconfined": "0", "localhost": "2"})
        self.assertEqual(self.sh(c["default"], "mkdir /tmp/d")[0], 0)
        self.assertIn("not permitted", self.sh(c["localhost"], "mkdir /tmp/d")[2])
        self.assertIn("not permitted", self.sh(c["default"], "unshare -U true")[2])

    def require_apparmor(self):
        if not os.path.exists("/sys/module/apparmor/parameters/enabled") or read("/sys/module/apparmor/parameters/enabled") != "Y\n":
            self.skipTest("AppArmor is not enabled here")
        if not os.path.exists("/sbin/apparmor_parser"):  # containerd asks for the same file
            self.skipTest("apparmor_parser is not installed")

    def test_apparmor_profile(self):
        self.require_apparmor()
        pod = self.pod("apparmor", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"])
        self.assertEqual(self.sh(c, "cat /proc/self/attr/current")[1], "cri-containerd.apparmor.d (enforce)\n")

    def test_apparmor_profile_of_contrib(self):
        self.require_apparmor()
        profile = os.path.join(daemon.REPO, "contrib/apparmor/husk-pod")
        subprocess.run(["apparmor_parser", "--replace", "--skip-cache", profile], check=True)
        self.addCleanup(subprocess.run, ["apparmor_parser", "--remove", profile], check=True)
        pod = self.pod("apparmor", network="NODE")
        security = {"apparmor": {"profile_type": "Localhost", "localhost_ref": "husk-pod"}, "no_new_privs": True}
        c = self.container(pod, "c", ["sleep", "1000"], security={**security, "privileged": False, "capabilities": {"add_capabilities": ["ALL"]}})
        self.assertEqual(self.sh(c, "cat /proc/self/attr/current")[1], "husk-pod (enforce)\n")
        with open(f"/proc/{self.pid(c)}/attr/current", encoding="utf-8") as f:
            self.assertEqual(f.read(), "husk-pod (enforce)\n")
        self.assertEqual(self.sh(c, "echo works >/tmp/f && cat /tmp/f && kill -0 1"), (0, "works\n", ""))
        for command in ("mount -t tmpfs tmpfs /tmp", "echo h >/proc/sysrq-trigger", "head -c 1 /proc/kcore"):
            status, _, err = self.sh(c, command)
            self.assertNotEqual(status, 0, command)
            self.assertRegex(err, "(?i)denied", command)
        self.cri.StopContainer(container_id=c, timeout=0)
        self.assertEqual(self.status(c).exit_code, 137)


class Resources(CriTest):
    def test_in_place_update(self):
        pod = self.pod("update", network="NODE")
        c = self.container(pod, "c", ["sleep", "1000"], resources={"memory_limit_in_bytes": 64 << 20})
        for limit in (32 << 20, 128 << 20):
            self.cri.UpdateContainerResources(container_id=c, linux={"memory_limit_in_bytes": limit})
            self.assertEqual(memory_limit(c), [str(limit)])

    def test_stats_of_container_and_pod(self):
        pod = self.pod("stats")
        c = self.container(pod, "c", ["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000"])
        self.assertTrue(eventually(lambda: self.cri.ContainerStats(container_id=c).stats.cpu.usage_core_nano_seconds.value > 0))
        self.assertGreater(self.cri.ContainerStats(container_id=c).stats.memory.usage_bytes.value, 0)
        self.assertTrue(eventually(lambda: self.cri.PodSandboxStats(pod_sandbox_id=pod[0]).stats.linux.memory.usage_bytes.value > 0))


class Ends(CriTest):
    def test_custom_stop_signal(self):
        if version() < (2, 2):
            self.skipTest("containerd 2.2 is the first to take one from the pod")
        pod = self.pod("signal", network="NODE")
        c = self.container(pod, "traps", ["sh", "-c", "trap 'exit 9' USR1; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"],
                           stop_signal="SIGNAL_SIGUSR1")
        self.assertTrue(eventually(lambda: os.path.exists(f"{self.logs}/traps.log") and "ready" in read(f"{self.logs}/traps.log")))
        self.cri.StopContainer(container_id=c, timeout=10)
        self.assertEqual(self.status(c).exit_code, 9)

    def test_pod_with_stuck_processes_is_removed(self):
        pod = self.pod("stuck", pid="POD")
        deaf = self.container(pod, "deaf", ["sh", "-c", "trap '' TERM HUP INT; (trap '' TERM; sleep 1000) & while :; do sleep 1; done"])
        stopped = self.container(pod, "stopped", ["sh", "-c", "kill -STOP $$; sleep 1000"])
        frozen = self.container(pod, "frozen", ["sleep", "1000"])
        self.daemon.ctr("tasks", "pause", frozen, ns="k8s.io")
        pids = [self.pid(c) for c in (deaf, stopped, frozen)]
        began = time.monotonic()
        self.cri.StopPodSandbox(pod_sandbox_id=pod[0])
        self.cri.RemovePodSandbox(pod_sandbox_id=pod[0])
        self.assertLess(time.monotonic() - began, 20 * daemon.SLOW)
        self.assertEqual([p for p in pids if os.path.exists(f"/proc/{p}")], [])

    def test_sandbox_that_is_killed(self):
        pod = self.pod("killed")
        c = self.container(pod, "c", ["sleep", "1000"])
        os.kill(self.sandbox_pid(pod), signal.SIGKILL)
        self.assertTrue(eventually(lambda: self.cri.PodSandboxStatus(pod_sandbox_id=pod[0]).status.state == self.pb.SANDBOX_NOTREADY))
        self.cri.StopPodSandbox(pod_sandbox_id=pod[0])
        self.assertEqual(self.status(c).state, self.pb.CONTAINER_EXITED)

    def test_daemon_restart(self):
        pod = self.pod("restart")
        c = self.container(pod, "c", ["sleep", "1000"])
        before = self.sandbox_pid(pod)
        ends = self.container(pod, "e", ["sh", "-c", "sleep 1; exit 6"])
        self.restart_daemon(2)
        status = self.cri.PodSandboxStatus(pod_sandbox_id=pod[0]).status
        self.assertEqual((status.state, self.sandbox_pid(pod)), (self.pb.SANDBOX_READY, before))
        self.assertEqual(self.sh(c, "echo alive")[1], "alive\n")
        self.assertTrue(eventually(lambda: self.status(ends).state == self.pb.CONTAINER_EXITED))
        self.assertEqual(self.status(ends).exit_code, 6)
        d = self.container(pod, "d", ["sleep", "1000"])
        self.assertEqual(ns(self.pid(d), "net"), ns(self.pid(c), "net"))
        if PAUSELESS:
            self.assertEqual(self.sh(d, "cat /etc/hostname")[1], "restart\n")


if __name__ == "__main__":
    main()
