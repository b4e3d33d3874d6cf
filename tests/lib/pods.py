# SPDX-License-Identifier: Apache-2.0
"""Pods through containerd's CRI service, as the kubelet makes them: what the test_cri*.py share.

HUSK_TEST_HANDLER is the runtime handler: husk (a pause image), husk-pauseless (the sandbox is the shim's: containerd 2.3 and newer) or runc. The daemon
runs in a network namespace of its own, so that CNI's bridge is not this machine's.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest

import daemon

IS_SYSTEMD = os.environ.get("HUSK_TEST_CGROUP") == "systemd"  # a parent that is a slice makes containerd ask for units
PARENT = "huskcritest.slice" if IS_SYSTEMD else "husk-cri-test"
HANDLER = os.environ.get("HUSK_TEST_HANDLER", "husk")
PAUSELESS = HANDLER == "husk-pauseless"
USERNS = 100000  # the first of the 65536 host ids of a pod with a user namespace
CNI = {"cniVersion": "0.4.0", "name": "husk-test", "plugins": [
    {"type": "bridge", "bridge": "husk-test0", "isGateway": True, "ipMasq": False,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.213.0.0/24"}]], "dataDir": None}}]}
if shutil.which("iptables"):
    CNI["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})


def version():
    """(2, 3) of containerd 2.3.4."""
    words = subprocess.run([daemon.CONTAINERD, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return tuple(int(n) for n in re.match(r"v?(\d+)\.(\d+)", words[2]).groups())


def eventually(probe, seconds=10):
    end = time.monotonic() + seconds * daemon.SLOW
    while time.monotonic() < end:
        if probe():
            return True
        time.sleep(0.05)
    return False


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def ns(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def remove_parent():
    """The pods' parent: the kubelet's to make and remove."""
    if IS_SYSTEMD:
        subprocess.run(["systemctl", "stop", PARENT], check=True)
    else:
        daemon.remove_cgroups(PARENT)


def memory_limit(container):
    path = f"{PARENT}/cri-containerd-{container}.scope" if IS_SYSTEMD else f"{PARENT}/{container}"
    return [read(p).strip() for p in (f"/sys/fs/cgroup/memory/{path}/memory.limit_in_bytes", f"/sys/fs/cgroup/{path}/memory.max")
            if os.path.exists(p)]


class CriTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        from cri import Cri, pb  # pylint: disable=import-outside-toplevel
        cls.pb = pb
        cls.daemon = daemon.Daemon(cri=True)
        cls.addClassCleanup(remove_parent)
        cls.addClassCleanup(lambda: cls.daemon.__exit__(None, None, None))
        CNI["plugins"][0]["ipam"]["dataDir"] = f"{cls.daemon.dir}/ipam"
        with open(f"{cls.daemon.dir}/cni/10-test.conflist", "w", encoding="utf-8") as f:
            json.dump(CNI, f)
        cls.daemon.start()
        cls.daemon.import_images(ns="k8s.io")
        cls.cri = Cri(cls.daemon.address)
        cls.addClassCleanup(cls.cri.close)
        cls.logs = f"{cls.daemon.dir}/logs"
        os.mkdir(cls.logs)

    def pod(self, name, network="POD", pid="CONTAINER", ipc="POD", sysctls=None, userns=False, privileged=False, handler=HANDLER, **fields):
        options = self.pb.NamespaceOption(network=network, pid=pid, ipc=ipc)
        if userns:
            options.userns_options.CopyFrom(self.userns())
        config = self.pb.PodSandboxConfig(
            metadata={"name": name, "uid": f"uid-{name}", "namespace": "test"}, hostname="" if network == "NODE" else name,
            log_directory=self.logs,
            linux={"cgroup_parent": f"/{PARENT}", "sysctls": sysctls or {},
                   "security_context": {"namespace_options": options, "privileged": privileged}}, **fields)
        sandbox = self.cri.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id
        self.addCleanup(self.remove_pod, sandbox)
        return sandbox, config

    def remove_pod(self, sandbox):
        import grpc  # pylint: disable=import-outside-toplevel
        try:
            self.cri.StopPodSandbox(pod_sandbox_id=sandbox)
            self.cri.RemovePodSandbox(pod_sandbox_id=sandbox)
        except grpc.RpcError as e:
            if "not found" not in e.details():  # a test removed it itself
                raise

    def userns(self):
        mapping = [self.pb.IDMapping(container_id=0, host_id=USERNS, length=65536)]
        return self.pb.UserNamespace(mode="POD", uids=mapping, gids=mapping)

    def create(self, pod, name, command, security=None, resources=None, **fields):
        sandbox, config = pod
        context = {"namespace_options": config.linux.security_context.namespace_options, "seccomp": {"profile_type": "RuntimeDefault"}}
        return self.cri.CreateContainer(pod_sandbox_id=sandbox, sandbox_config=config, config=self.pb.ContainerConfig(
            metadata={"name": name}, image={"image": daemon.BUSYBOX}, command=command, log_path=f"{name}.log",
            linux={"resources": resources or {}, "security_context": {**context, **(security or {})}}, **fields)).container_id

    def container(self, pod, name, command, **fields):
        container = self.create(pod, name, command, **fields)
        self.cri.StartContainer(container_id=container)
        return container

    def sandbox_pid(self, pod):
        return json.loads(self.cri.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True).info["info"])["pid"]

    def shim_pid(self, container):
        return int(read(f"/proc/{self.pid(container)}/stat").rsplit(")", 1)[1].split()[1])

    def sh(self, container, script, timeout=10):
        r = self.cri.ExecSync(container_id=container, cmd=["sh", "-c", script], timeout=int(timeout * daemon.SLOW))
        return r.exit_code, r.stdout.decode(), r.stderr.decode()

    def status(self, container):
        return self.cri.ContainerStatus(container_id=container).status

    def pid(self, container):
        out = self.daemon.ctr("tasks", "ls", ns="k8s.io").stdout
        return next(int(line.split()[1]) for line in out.splitlines() if line.startswith(container))

    def restart_daemon(self, away):
        self.daemon.stop()
        time.sleep(away)
        self.daemon.start()
        self.assertTrue(eventually(self.is_served), "CRI after a restart")

    def is_served(self):
        import grpc  # pylint: disable=import-outside-toplevel
        try:
            return self.cri.Version().runtime_name == "containerd"
        except grpc.RpcError:  # "server is not initialized yet"
            return False


def main():
    """The test programs' main: skips, or runs itself again in a network of its own, or runs the tests."""
    daemon.require()
    try:
        import grpc, grpc_tools  # pylint: disable=unused-import,import-outside-toplevel,multiple-imports
    except ImportError:
        daemon.skip("python3-grpcio and python3-grpc-tools are not installed")
    if not os.path.exists("/usr/lib/cni/bridge"):
        daemon.skip("containernetworking-plugins is not installed")
    if os.environ.get("HUSK_TEST_NETNS") != "1":
        # A network of our own: CNI's bridge and addresses are never this machine's.
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env=dict(os.environ, HUSK_TEST_NETNS="1"), check=False).returncode)
    unittest.main(verbosity=2)

