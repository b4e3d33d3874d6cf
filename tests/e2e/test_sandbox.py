#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Sandbox service by hand, as containerd 2 calls it with `sandboxer = "shim"`: a pod without a pause image, from CreateSandbox to
ShutdownSandbox, with containers of the Task service in it. Expected values: shim-protocol, CRI, and what containerd does for a pause container."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position

POD, CONTAINER, NODE = 0, 1, 2
CONFIG_TYPE = "runtime.v1.PodSandboxConfig"
KINDS = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "user": "user"}


def ns(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def mounts_of(text):
    return [line for line in read("/proc/self/mountinfo").splitlines() if text in line]


class Sandbox(shim.Pod):
    """A shim started in an empty bundle, and the calls of the Sandbox service."""

    def __init__(self, name="pod", **more):
        super().__init__(name, **more)
        # Pod's own bundle has a config.json; a sandbox's has none.
        if os.path.exists(f"{self.bundles[name]}/config.json"):
            os.unlink(f"{self.bundles[name]}/config.json")

    def box(self, method, timeout=20, **values):
        return self.start_box(method, **values).result(timeout)

    def start_box(self, method, client=None, **values):
        request, response = ttrpc.METHODS[method]
        payload = ttrpc.encode(request, sandbox_id=self.name, **values)
        return (client or self.client).start_call(ttrpc.SANDBOX, method, payload, response)

    def box_request(self, netns="", hostname="web-0", sysctls=None, dns=None, userns=None, **modes):
        """The fields of a CreateSandbox."""
        options = {"network": POD, "pid": CONTAINER, "ipc": POD, **modes}
        if userns:
            mapping = {"container_id": 0, "host_id": userns, "length": 65536}
            options["userns_options"] = {"mode": POD, "uids": [mapping], "gids": [mapping]}
        config = ttrpc.encode("PodSandboxConfig", hostname=hostname, **({"dns_config": dns} if dns else {}), linux={
            "cgroup_parent": self.cgroup, "security_context": {"namespace_options": options},
            "sysctls": [{"key": k, "value": v} for k, v in (sysctls or {}).items()]})
        return {"bundle_path": self.bundles[self.name], "netns_path": netns, "options": {"type_url": CONFIG_TYPE, "value": config}}

    def create_box(self, **config):
        self.box("CreateSandbox", **self.box_request(**config))

    def run_box(self, **config):
        self.create_box(**config)
        return self.box("StartSandbox")["pid"]

    def join(self, pid, *kinds, private=("mount",), change=None):
        """What containerd writes into a container's document: the sandbox's namespaces by its pid."""
        def edit(document):
            document.pop("hostname")
            document["linux"]["namespaces"] = ([{"type": k, "path": f"/proc/{pid}/ns/{KINDS[k]}"} for k in kinds] +
                                               [{"type": k} for k in private])
            document["mounts"].append({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                                       "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]})
            if change:
                change(document)
        return edit

    def state_dir(self):
        found = [os.path.join(d, self.name) for d, names, _ in os.walk("/run/husk") if self.name in names]
        return found[0] if found else None

    def result_of(self, cid, args, edit):
        self.run(cid, args, change=edit)
        status = self.call("Wait", id=cid)["exit_status"]
        text = self.output[cid].text()
        errors = self.errors[cid].text()
        self.call("Delete", id=cid)
        return status, text, errors


class SandboxTest(unittest.TestCase):
    def setUp(self):
        self.pod = Sandbox()
        self.addCleanup(self.pod.close)

    def assert_ends(self):
        shim.eventually(lambda: not shim.is_alive(self.pod.shim_pid), what="end of the shim")
        self.assertIsNone(self.pod.state_dir())
        self.assertEqual(mounts_of("/.pod/"), [])
        # A slice is the kubelet's to remove: systemd makes it for the first scope in it.
        self.assertEqual([d for d in self.pod.cgroups() if os.path.isdir(d) and not d.endswith(".slice")], [])

    def refused(self, code, method, **values):
        with self.assertRaises(ttrpc.Error) as e:
            self.pod.box(method, **values)
        self.assertEqual(e.exception.code, code, e.exception)


class Life(SandboxTest):
    def test_from_create_to_shutdown(self):
        p = self.pod
        began = time.time()
        pid = p.run_box()
        wait = p.start_box("WaitSandbox", client=p.connect())
        status = p.box("SandboxStatus")
        self.assertEqual((status["sandbox_id"], status["pid"], status["state"], status["info"]), (p.name, pid, "SANDBOX_READY", []))
        self.assertLess(abs(status["created_at"]["seconds"] - began), 10)
        self.assertEqual(p.box("Platform")["platform"]["os"], "linux")
        self.assertEqual(p.box("Platform")["platform"]["architecture"], {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine])
        p.box("PingSandbox")
        metrics = p.box("SandboxMetrics")["metrics"]
        self.assertRegex(metrics["data"]["type_url"], r"^io\.containerd\.cgroups\.v[12]\.Metrics$")
        self.assertEqual(metrics["id"], p.name)
        # A restarting containerd asks for the sandbox's id as if it were a task.
        self.assertEqual(p.call("Connect", id=p.name), {"shim_pid": p.shim_pid, "task_pid": 0, "version": ""})
        self.assertEqual(self.code_of("Pids", id=p.name), 5)
        self.assertFalse(wait.done.is_set(), "WaitSandbox must not answer early")
        p.box("StopSandbox", timeout_secs=0)
        p.box("StopSandbox")
        self.assertEqual(wait.result(5)["exit_status"], 0)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))
        status = p.box("SandboxStatus", verbose=True)
        self.assertEqual((status["pid"], status["state"]), (0, "SANDBOX_NOTREADY"))
        self.assertEqual(status["exited_at"], wait.result()["exited_at"])
        self.assertEqual(p.box("WaitSandbox"), wait.result())
        p.box("ShutdownSandbox")
        self.assert_ends()
        self.assertEqual(p.events.log, [], "events of a sandbox are containerd's to tell")

    def code_of(self, method, **values):
        with self.assertRaises(ttrpc.Error) as e:
            self.pod.call(method, **values)
        return e.exception.code

    def test_verbose_status_is_what_crictl_shows(self):
        p = self.pod
        pid = p.run_box(pid=POD)
        info = {e["key"]: json.loads(e["value"]) for e in p.box("SandboxStatus", verbose=True)["info"]}
        self.assertEqual((info["info"]["pid"], info["info"]["processStatus"]), (pid, "running"))
        self.assertEqual({n["type"]: n["path"] for n in info["info"]["runtimeSpec"]["linux"]["namespaces"]},
                         {k: f"/proc/{pid}/ns/{KINDS[k]}" for k in ("network", "uts", "ipc", "pid")})
        self.assertEqual(info["husk"], {"process": "husk-init", "holds": "network uts ipc pid"})

    def test_dump_names_the_sandbox(self):
        p = self.pod
        log = os.open(f"{p.bundles[p.name]}/log", os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, log)
        pid = p.run_box()
        os.kill(p.shim_pid, signal.SIGUSR1)
        text = b""
        end = time.monotonic() + 10
        while f"id={p.name} state=ready pid={pid}".encode() not in text and time.monotonic() < end:
            try:
                text += os.read(log, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        self.assertIn(f"id={p.name} state=ready pid={pid}", text.decode())

    def test_moments_that_are_wrong(self):
        p = self.pod
        for method in ("StartSandbox", "StopSandbox", "WaitSandbox", "PingSandbox", "SandboxMetrics"):
            self.refused(5, method)
        self.assertEqual(p.box("SandboxStatus")["state"], "SANDBOX_NOTREADY")
        p.create_box()
        self.refused(6, "CreateSandbox", bundle_path=p.bundles[p.name])
        self.assertEqual(p.box("SandboxStatus")["state"], "SANDBOX_NOTREADY")
        with self.assertRaises(ttrpc.Error) as e:
            p.create("c", ["true"])
        self.assertEqual((e.exception.code, str(e.exception).count("is not running")), (9, 1))
        p.box("StartSandbox")
        self.refused(9, "StartSandbox")
        p.box("StopSandbox")
        self.refused(9, "StartSandbox")
        p.box("ShutdownSandbox")
        self.assert_ends()

    def test_never_started(self):
        self.pod.create_box()
        wait = self.pod.start_box("WaitSandbox")
        self.pod.box("ShutdownSandbox")
        wait.result(5)
        self.assert_ends()

    def test_refused_and_shut_down_all_the_same(self):
        """CreateSandbox or StartSandbox fails: containerd calls ShutdownSandbox, and nothing may be left."""
        for config, words in (({"netns": "/nowhere"}, "/nowhere"), ({"sysctls": {"kernel.no_such": "1"}}, "kernel.no_such"),
                              ({"network": NODE, "sysctls": {"net.ipv4.ip_forward": "1"}}, "net.ipv4.ip_forward")):
            with self.subTest(words):
                pod = self.pod if words == "/nowhere" else Sandbox()
                self.addCleanup(pod.close)
                self.pod = pod
                with self.assertRaises(ttrpc.Error) as e:
                    pod.run_box(**config)
                self.assertIn(words, str(e.exception))
                self.assertEqual(pod.box("SandboxStatus")["state"], "SANDBOX_NOTREADY")
                pod.box("ShutdownSandbox")
                self.assert_ends()

    def test_options_of_another_kind(self):
        p = self.pod
        self.refused(3, "CreateSandbox", bundle_path=p.bundles[p.name], options={"type_url": "a.b.C", "value": b""})
        self.refused(3, "CreateSandbox", bundle_path=p.bundles[p.name], options={"type_url": CONFIG_TYPE, "value": b"\xff\xff"})
        for mode in (CONTAINER, 3):
            value = ttrpc.encode("PodSandboxConfig", linux={"security_context": {"namespace_options": {"userns_options": {"mode": mode}}}})
            self.refused(3, "CreateSandbox", bundle_path=p.bundles[p.name], options={"type_url": CONFIG_TYPE, "value": value})
        # Without any: a pod of its own, as CRI's defaults are.
        p.box("CreateSandbox", bundle_path=p.bundles[p.name])
        pid = p.box("StartSandbox")["pid"]
        self.assertNotEqual(ns(pid, "net"), ns("self", "net"))
        p.box("ShutdownSandbox")
        shim.eventually(lambda: not shim.is_alive(p.shim_pid), what="end of the shim")

    def test_its_process_is_killed(self):
        """The exit is told once, and containers with pids of their own go on until somebody stops them."""
        p = self.pod
        pid = p.run_box()
        c = p.run("c", ["sleep", "1000"], change=p.join(pid, "network", "ipc", "uts", private=("mount", "pid")))
        wait = p.start_box("WaitSandbox")
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(wait.result(5)["exit_status"], 137)
        self.assertEqual(p.box("SandboxStatus")["state"], "SANDBOX_NOTREADY")
        self.assertTrue(shim.is_alive(c))
        p.finish("c")
        p.box("StopSandbox")
        p.box("ShutdownSandbox")
        self.assert_ends()

    def test_shutdown_takes_what_is_left(self):
        p = self.pod
        pid = p.run_box(pid=POD)
        running = p.run("a", ["sleep", "1000"], change=p.join(pid, "network", "ipc", "uts", "pid"))
        stubborn = p.run("b", ["sh", "-c", "trap '' TERM; kill -STOP $$"], change=p.join(pid, "network", "ipc", "uts", private=("mount", "pid")))
        created = p.create("c", ["true"], change=p.join(pid, "network", "ipc", "uts", private=("mount", "pid")))
        p.call("Pause", id="a")
        p.box("ShutdownSandbox")
        for each in (pid, running, stubborn, created):
            self.assertFalse(shim.is_alive(each))
        self.assert_ends()
        self.assertEqual([(t, e["container_id"]) for t, e in p.events.log if t == "/tasks/exit" and e["container_id"] == p.name], [])
        exits = sorted(e["container_id"] for t, e in p.events.log if t == "/tasks/exit")
        self.assertEqual(exits, ["a", "b", "c"])

    def test_version_2_daemons_shut_down_the_task_service(self):
        """containerd 2.1 knows us by version 2 and sends Task.Shutdown behind each container: the sandbox is no reason to end."""
        p = self.pod
        pid = p.run_box()
        p.run("c", ["true"], change=p.join(pid, "network", "ipc", "uts"))
        p.call("Wait", id="c")
        p.call("Delete", id="c")
        p.call("Shutdown", id="c")
        time.sleep(0.3)
        self.assertEqual(p.box("SandboxStatus")["state"], "SANDBOX_READY")
        p.box("StopSandbox")
        p.box("ShutdownSandbox")
        self.assert_ends()

    def test_a_client_away(self):
        """A daemon's restart: connections end, the sandbox does not, and the next one is told everything."""
        p = self.pod
        pid = p.run_box()
        p.start_box("WaitSandbox")
        p.client.close()
        p.client = p.connect()
        self.assertEqual(p.box("SandboxStatus")["pid"], pid)
        wait = p.start_box("WaitSandbox")
        p.box("StopSandbox")
        self.assertEqual(wait.result(5)["exit_status"], 0)

    def test_sigkill_of_the_shim(self):
        p = self.pod
        pid = p.run_box()
        c = p.run("c", ["sleep", "1000"], change=p.join(pid, "network", "ipc", "uts", private=("mount", "pid")))
        self.assertEqual(len(mounts_of("/.pod/shm")), 1)
        os.kill(p.shim_pid, signal.SIGKILL)
        shim.eventually(lambda: not shim.is_alive(p.shim_pid), what="end of the shim")
        reply = p.delete(p.name)
        self.assertEqual((reply["pid"], reply["exit_status"]), (pid, 137))
        for each in (pid, c):
            shim.eventually(lambda each=each: not shim.is_alive(each), what="end of the pod")
        self.assert_ends()
        p.delete(p.name)

    def test_sigkill_of_the_shim_without_a_process(self):
        p = self.pod
        self.assertEqual(p.run_box(network=NODE, ipc=NODE, pid=NODE), p.shim_pid)
        os.kill(p.shim_pid, signal.SIGKILL)
        shim.eventually(lambda: not shim.is_alive(p.shim_pid), what="end of the shim")
        p.delete(p.name)
        self.assert_ends()

    def test_forgotten(self):
        """The bundle is gone and nobody is connected: containerd has lost the record (2.1 does, when the pause image cannot be pulled)."""
        p = self.pod
        pid = p.run_box()
        shutil.rmtree(p.bundles.pop(p.name))
        time.sleep(4)
        self.assertTrue(shim.is_alive(p.shim_pid), "somebody is connected")
        p.client.close()
        shim.eventually(lambda: not shim.is_alive(pid), what="end of the sandbox")
        self.assert_ends()


class Namespaces(SandboxTest):
    def test_own_ones(self):
        pid = self.pod.run_box()
        self.assertEqual(read(f"/proc/{pid}/comm"), "husk-init\n")
        for kind in ("net", "ipc", "uts", "mnt", "pid"):
            self.assertNotEqual(ns(pid, kind), ns("self", kind), kind)
        self.assertEqual(ns(pid, "user"), ns("self", "user"))
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        self.assertEqual((status["Uid"].split()[0], status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]),
                         ("65535", "0" * 16, "0" * 16, "1", "2"))
        self.assertEqual(os.listdir(f"/proc/{pid}/fd"), ["0", "1", "2"])

    def test_given_network_namespace(self):
        p = self.pod
        path = f"{p.dir}/netns"
        open(path, "w", encoding="utf-8").close()
        subprocess.run(["unshare", "--net", "mount", "--bind", "/proc/self/ns/net", path], check=True)
        self.addCleanup(subprocess.run, ["umount", path], check=True)
        pid = p.run_box(netns=path)
        self.assertEqual(os.stat(f"/proc/{pid}/ns/net").st_ino, os.stat(path).st_ino)
        p.box("StopSandbox")
        p.box("ShutdownSandbox")

    def test_nothing_to_hold(self):
        """Network, IPC and pids are the node's: no process, and the pid that containerd needs is the shim's own."""
        p = self.pod
        pid = p.run_box(network=NODE, ipc=NODE, pid=NODE)
        self.assertEqual(pid, p.shim_pid)
        self.assertEqual(read(f"/proc/{p.shim_pid}/task/{p.shim_pid}/children"), "")
        wait = p.start_box("WaitSandbox")
        c = p.run("c", ["sleep", "1000"], change=p.join(pid, "network", "ipc", "uts", private=("mount", "pid")))
        for kind in ("net", "ipc", "uts"):
            self.assertEqual(ns(c, kind), ns("self", kind), kind)
        info = {e["key"]: json.loads(e["value"]) for e in p.box("SandboxStatus", verbose=True)["info"]}
        self.assertEqual(info["husk"], {"process": "the shim", "holds": ""})
        p.finish("c")
        self.assertFalse(wait.done.is_set())
        p.box("StopSandbox")
        self.assertEqual(wait.result(5)["exit_status"], 0)
        p.box("ShutdownSandbox")
        self.assert_ends()

    def test_pids_of_the_node_only_for_a_pod_that_asks(self):
        """containerd gives the sandbox's pid namespace to any container that says POD, in a pod that said otherwise too."""
        for i, modes in enumerate(({"pid": CONTAINER}, {"network": NODE, "ipc": NODE, "pid": CONTAINER}, {"network": NODE, "ipc": NODE, "pid": POD})):
            with self.subTest(modes):
                pod = Sandbox(f"private-{i}")  # the name of a scope is the node's
                self.addCleanup(pod.close)
                pid = pod.run_box(**modes)
                self.assertNotEqual(ns(pid, "pid"), ns("self", "pid"))
        self.assertEqual(ns(self.pod.run_box(pid=NODE), "pid"), ns("self", "pid"))

    def test_host_network_with_an_ipc_namespace(self):
        pid = self.pod.run_box(network=NODE)
        self.assertEqual((ns(pid, "net"), ns(pid, "uts")), (ns("self", "net"), ns("self", "uts")))
        self.assertNotEqual(ns(pid, "ipc"), ns("self", "ipc"))

    def test_shared_pid_namespace(self):
        p = self.pod
        pid = p.run_box(pid=POD)
        self.assertNotEqual(ns(pid, "pid"), ns("self", "pid"))
        join = p.join(pid, "network", "ipc", "uts", "pid")
        p.run("a", ["sleep", "1001"], change=join)
        status, text, _ = p.result_of("b", ["sh", "-c", "ps -o pid,args"], join)
        self.assertEqual(status, 0)
        self.assertRegex(text, r"(?m)^ *1 /husk-init$")
        self.assertIn("sleep 1001", text)

    def test_orphans_are_reaped_within_a_second(self):
        p = self.pod
        pid = p.run_box(pid=POD)
        p.run("a", ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 & ) ; done; exec sleep 1000"],
              change=p.join(pid, "network", "ipc", "uts", "pid"))
        time.sleep(1.1)
        theirs = [d for d in os.listdir("/proc") if d.isdigit() and self.is_in(d, ns(pid, "pid"))]
        self.assertEqual(sorted(read(f"/proc/{d}/comm").strip() for d in theirs), ["husk-init", "sleep"])

    @staticmethod
    def is_in(pid, pidns):
        try:
            return ns(pid, "pid") == pidns
        except OSError:
            return False

    def test_end_of_a_shared_pid_namespace(self):
        p = self.pod
        pid = p.run_box(pid=POD)
        c = p.run("a", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], change=p.join(pid, "network", "ipc", "uts", "pid"))
        p.box("StopSandbox")
        self.assertFalse(shim.is_alive(pid) or shim.is_alive(c))
        self.assertEqual(p.call("Wait", id="a")["exit_status"], 137)

    @unittest.skipIf({"mount_setattr", "all"} & set(os.environ.get("HUSK_NOSYS", "").split(",")),
                     "mount_setattr hidden: containerd gives user namespaces where it maps ids by it")
    def test_user_namespace(self):
        p = self.pod
        pid = p.run_box(userns=100000)
        self.assertEqual(read(f"/proc/{pid}/uid_map").split(), ["0", "100000", "65536"])
        self.assertEqual(read(f"/proc/{pid}/status").split("Uid:")[1].split()[0], "165535")

        for d, _, names in os.walk(p.rootfs):  # as a snapshot for a user namespace is
            for name in (".", *names):
                os.chown(f"{d}/{name}", 100000, 100000, follow_symlinks=False)

        def maps(document):
            for kind in ("uidMappings", "gidMappings"):
                document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        status, text, errors = p.result_of("c", ["sh", "-c", "echo more >>/etc/hosts && ls -ln /etc/hosts | head -1 && echo x >/dev/shm/x"],
                                           p.join(pid, "user", "network", "ipc", "uts", private=("mount", "pid"), change=maps))
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(text.split()[2:4], ["0", "0"])

    def test_network_namespace_of_a_user_namespace(self):
        """containerd makes the network namespace below a user namespace of its own with the pod's maps: the sandbox must be in that one."""
        p = self.pod
        path = f"{p.dir}/netns"
        open(path, "w", encoding="utf-8").close()
        holder = subprocess.Popen(["unshare", "--user", "--net", "sleep", "1000"])
        self.addCleanup(lambda: (holder.kill(), holder.wait()))
        shim.eventually(lambda: ns(holder.pid, "net") != ns("self", "net"), what="namespaces")
        for kind in ("gid", "uid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w", encoding="utf-8") as f:
                f.write("0 200000 65536\n")
        subprocess.run(["mount", "--bind", f"/proc/{holder.pid}/ns/net", path], check=True)
        self.addCleanup(subprocess.run, ["umount", path], check=True)
        pid = p.run_box(netns=path, userns=200000)
        self.assertEqual((ns(pid, "user"), ns(pid, "net")), (ns(holder.pid, "user"), ns(holder.pid, "net")))
        p.box("StopSandbox")
        p.box("ShutdownSandbox")


class Files(SandboxTest):
    def script(self, text, box=None, change=None):
        p = self.pod
        pid = p.run_box(**(box or {}))
        return p.result_of("c", ["sh", "-c", text], p.join(pid, "network", "ipc", "uts", change=change))

    def test_hostname_hosts_and_resolv_conf(self):
        dns = {"servers": ["10.1.2.3", "fd00::1"], "searches": ["a.local", "b.local"], "options": ["ndots:5", "edns0"]}
        status, text, _ = self.script("hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts", {"dns": dns, "hostname": "web-7"})
        hosts = read("/etc/hosts") if os.path.exists("/etc/hosts") else "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        self.assertEqual((status, text), (0, "web-7\nweb-7\nsearch a.local b.local\nnameserver 10.1.2.3\nnameserver fd00::1\n"
                                             "options ndots:5 edns0\n" + hosts))

    def test_without_dns_the_node_s(self):
        expected = read("/etc/resolv.conf") if os.path.exists("/etc/resolv.conf") else ""
        self.assertEqual(self.script("cat /etc/resolv.conf")[1], expected)

    def test_read_only_with_a_read_only_root(self):
        def read_only(document):
            document["root"]["readonly"] = True
        status, text, _ = self.script("echo x 2>/dev/null >>/etc/hosts || echo refused; echo y >/dev/shm/y && echo shm", change=read_only)
        self.assertEqual((status, text), (0, "refused\nshm\n"))

    def test_the_container_s_own_mounts_win(self):
        p = self.pod
        with open(f"{p.dir}/my-hosts", "w", encoding="utf-8") as f:
            f.write("1.2.3.4 mine\n")

        def own(document):
            document["mounts"].append({"destination": "/etc/hosts", "type": "bind", "source": f"{p.dir}/my-hosts", "options": ["rbind", "ro"]})
        self.assertEqual(self.script("cat /etc/hosts", change=own)[1], "1.2.3.4 mine\n")

    def test_shm_is_shared(self):
        p = self.pod
        pid = p.run_box()
        join = p.join(pid, "network", "ipc", "uts")
        self.assertEqual(p.result_of("a", ["sh", "-c", "echo hello >/dev/shm/note"], join)[0], 0)
        status, text, _ = p.result_of("b", ["sh", "-c", "cat /dev/shm/note; grep ' /dev/shm ' /proc/mounts"], join)
        self.assertEqual(status, 0)
        self.assertRegex(text, r"^hello\nshm /dev/shm tmpfs rw,nosuid,nodev,noexec,.*size=65536k")

    def test_sysctls_and_their_defaults(self):
        status, text, _ = self.script(
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range",
            {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234"}})
        self.assertEqual((status, text), (0, "1\n1234\n0\n0\t2147483647\n"))


class Reaper(SandboxTest):
    """husk.io/init puts husk-init under a container that does not reap."""

    @staticmethod
    def wanted(document):
        document["annotations"]["husk.io/init"] = "true"

    def test_reaps_and_passes_the_status_on(self):
        p = self.pod
        status, text, _ = p.result_of("c", ["sh", "-c", "ps -o pid,args | head -3; exit 7"], self.wanted)
        self.assertEqual(status, 7)
        self.assertRegex(text, r"(?m)^ *1 husk-init /bin/sh sh -c ")
        self.assertEqual(p.result_of("d", ["sh", "-c", "kill -9 $$"], self.wanted)[0], 137)

    def test_orphans(self):
        p = self.pod
        p.run("c", ["sh", "-c", "for i in 1 2 3 4; do (sleep 0.05 &); done; exec sleep 1000"], change=self.wanted)
        time.sleep(1.05)
        pids = [str(e["pid"]) for e in p.call("Pids", id="c")["processes"]]
        self.assertEqual(sorted(read(f"/proc/{d}/comm").strip() for d in pids), ["husk-init", "sleep"])

    def test_signals(self):
        p = self.pod
        p.run("c", ["sh", "-c", "trap 'echo usr1' USR1; trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done"], change=self.wanted)
        p.output["c"].wait_for(b"ready")
        p.call("Kill", id="c", signal=signal.SIGUSR1)
        p.output["c"].wait_for(b"usr1")
        p.call("Kill", id="c", signal=signal.SIGTERM)
        self.assertEqual(p.call("Wait", id="c")["exit_status"], 3)

    def test_a_missing_program_is_told_as_ever(self):
        with self.assertRaises(ttrpc.Error) as e:
            self.pod.create("c", ["no-such-program"], change=self.wanted)
        self.assertIn('exec: "no-such-program": executable file not found in $PATH', str(e.exception))

    def test_nobody_writes_it(self):
        status, _, errors = self.pod.result_of("c", ["sh", "-c", "echo x >/dev/husk-init"], self.wanted)
        self.assertNotEqual(status, 0)
        self.assertIn("Read-only file system", errors)

    def test_only_true_or_false(self):
        def odd(document):
            document["annotations"]["husk.io/init"] = "yes"
        with self.assertRaises(ttrpc.Error) as e:
            self.pod.create("c", ["true"], change=odd)
        self.assertIn("neither true nor false", str(e.exception))


def main():
    shim.require()
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
