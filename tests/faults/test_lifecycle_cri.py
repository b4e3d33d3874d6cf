#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_lifecycle.py through CRI, as the kubelet lives with a daemon that dies: kill -9 of containerd, of the shim and of both at every border of every
request of a pod's life, from RunPodSandbox to RemovePodSandbox. HUSK_TEST_HANDLER says which pod: husk (a pause image) or, with containerd 2.3,
husk-pauseless (the Sandbox service). Afterwards the daemon is started again if it died, the pod is stopped and removed as often as that takes, and
nothing is left of it. A containerd that has seen a shim die never quite gets over it: the bundle of a container that was being started stays (from 2.0 on), and a pod of
the Sandbox service cannot be removed ("ttrpc: closed"). So there too it is started again, and must be content then. The same options."""
import glob
import hashlib
import os
import re
import shutil
import sys
import time

import test_lifecycle as base
from test_lifecycle import ENDS_ON_TERM, STATUS, Bad, Worker

import daemon  # pylint: disable=wrong-import-order
import pods  # pylint: disable=wrong-import-order
from shim import eventually  # pylint: disable=wrong-import-order

HANDLER = pods.HANDLER
BUNDLES = ("io.containerd.runtime.v2.task", "io.containerd.sandbox.controller.v1.shim")
RECOVERY = 40  # seconds that the kubelet has to try again


class CriWorker(Worker):
    def make_daemon(self):
        self.parent = f"husk-cri-life-{self.number}"
        d = daemon.Daemon(cri=True)
        with open(f"{d.dir}/config.toml", "a", encoding="utf-8") as f:  # several daemons would want the one socket of NRI
            f.write('[plugins."io.containerd.nri.v1.nri"]\n  disable = true\n')
        return d

    def import_images(self):
        self.daemon.import_images(ns="k8s.io")

    def start(self):
        from cri import Cri, pb  # pylint: disable=import-outside-toplevel
        super().start()
        self.pb, self.cri = pb, Cri(self.daemon.address)
        eventually(lambda: self.ask("Version") is not None, 20 * daemon.SLOW, "CRI after a start")

    def ask(self, method, **fields):
        """The answer, or None for an error, whose text is then self.error."""
        import grpc  # pylint: disable=import-outside-toplevel
        try:
            return getattr(self.cri, method)(**fields)
        except grpc.RpcError as e:
            self.error = f"{method}: {e.code()}: {e.details()}"
            return None

    def live(self, a, b):
        """Until the border where somebody dies, or to the end."""
        def do(method, **fields):
            answer = self.ask(method, **fields)
            if self.is_hit():
                raise StopIteration
            if answer is None:
                raise Bad(f"failed though nobody was killed: {self.error}")
            return answer
        try:
            self.steps_of_a_pod(do, a)
        except StopIteration:
            pass

    def steps_of_a_pod(self, do, name):
        pb = self.pb
        config = pb.PodSandboxConfig(
            metadata={"name": name, "uid": f"uid-{name}", "namespace": "test"}, log_directory=f"{self.daemon.dir}/logs",
            linux={"cgroup_parent": f"/{self.parent}", "security_context": {"namespace_options": pb.NamespaceOption(network="NODE", pid="CONTAINER", ipc="POD")}})
        pod = do("RunPodSandbox", config=config, runtime_handler=HANDLER).pod_sandbox_id
        ct = do("CreateContainer", pod_sandbox_id=pod, sandbox_config=config, config=pb.ContainerConfig(
            metadata={"name": "c"}, image={"image": daemon.BUSYBOX}, command=["sh", "-c", ENDS_ON_TERM], log_path="c.log",
            linux={"security_context": {"namespace_options": config.linux.security_context.namespace_options}})).container_id
        do("StartContainer", container_id=ct)
        do("PodSandboxStatus", pod_sandbox_id=pod)
        code = do("ExecSync", container_id=ct, cmd=["sh", "-c", "while [ ! -e /ready ]; do sleep 0.05; done; exit 3"], timeout=30).exit_code
        if code != 3:
            raise Bad(f"the exec ended with {code}")
        do("ContainerStats", container_id=ct)
        do("UpdateContainerResources", container_id=ct, linux={"cpu_shares": 256})
        do("StopContainer", container_id=ct, timeout=20)
        status = do("ContainerStatus", container_id=ct).status
        if status.exit_code != STATUS:
            raise Bad(f"the container ended with {status.exit_code}")
        do("RemoveContainer", container_id=ct)
        do("StopPodSandbox", pod_sandbox_id=pod)
        do("RemovePodSandbox", pod_sandbox_id=pod)

    def recover(self, a, b, victim):
        """As the kubelet does: what is there is stopped and removed until it is gone."""
        if victim in ("daemon", "both"):
            self.daemon.process.wait(20)
            self.start_again()
        elif victim == "shim" and pods.version() >= (2, 0):
            if not self.remove_pods(3 if pods.PAUSELESS else RECOVERY) and not pods.PAUSELESS:
                raise Bad(f"a pod cannot be removed: {self.error}")
            self.daemon.stop()
            self.start_again()
        if not self.remove_pods(RECOVERY):
            raise Bad(f"a pod cannot be removed: {self.error}")

    def start_again(self):
        self.cri.close()
        self.start()

    def remove_pods(self, seconds):
        """Whether none is left."""
        end = time.monotonic() + seconds * daemon.SLOW
        while True:
            listed = self.ask("ListPodSandbox")
            if listed is not None and not listed.items:
                return True
            for item in listed.items if listed else []:
                if self.ask("StopPodSandbox", pod_sandbox_id=item.id) is not None:
                    self.ask("RemovePodSandbox", pod_sandbox_id=item.id)
            if time.monotonic() > end:
                return False
            time.sleep(0.2)

    # ---- what must be true then: the daemon has no pod, so nothing at all is anybody's ----
    def left(self, a, b):
        found = {"processes": self.shims(), "bundles": [], "mounts": [], "cgroups": []}
        for kind in BUNDLES:
            found["bundles"] += glob.glob(f"{self.daemon.dir}/state/{kind}/k8s.io/*")
        found["cgroups"] = [p for p in glob.glob(f"/sys/fs/cgroup/**/{self.parent}/*", recursive=True) if os.path.isdir(p)]
        found["sockets"] = [p for p in self.sockets() if os.path.exists(p)]
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            found["mounts"] = [line for line in f if f"{self.daemon.dir}/state/" in line]
        top = "/run/husk/" + hashlib.sha256(self.daemon.address.encode()).hexdigest()[:16]
        found["files"] = [os.path.join(p, n) for p, _, names in os.walk(top) for n in names]
        return {k: v for k, v in found.items() if v}

    def sockets(self):
        """Of the pods of this life, by the ids of its log."""
        ids = {pod for _, _, what in self.log() for pod in re.findall(r"\b[0-9a-f]{64}\b", what)}
        return [f"/run/containerd/s/{hashlib.sha256(f'{self.daemon.address}/k8s.io/{pod}'.encode()).hexdigest()}" for pod in ids]

    def statuses(self, event):
        return (STATUS, 137) if event["id"] == event["container_id"] else (3, 137)

    def scrub(self):
        self.daemon.stop()
        left = self.left("", "")
        for pid in [line.split(" ")[0] for line in left.get("processes", [])]:
            base.kill(pid)
        for path in left.get("cgroups", []):
            with open(f"{path}/cgroup.procs", encoding="utf-8") as f:
                for pid in f.read().split():
                    base.kill(pid)
        for path in left.get("cgroups", []):
            eventually(lambda p=path: not base.remove_dir(p), 5 * daemon.SLOW)
        shutil.rmtree("/run/husk/" + hashlib.sha256(self.daemon.address.encode()).hexdigest()[:16], ignore_errors=True)
        self.start()
        self.recover("", "", None)

    def close(self):
        super().close()
        daemon.remove_cgroups(self.parent)


def require():
    try:
        import grpc, grpc_tools  # pylint: disable=unused-import,import-outside-toplevel,multiple-imports
    except ImportError:
        daemon.skip("python3-grpcio and python3-grpc-tools are not installed")
    if pods.PAUSELESS and pods.version() < (2, 3):
        daemon.skip("containerd 2.3 is the first to live with sandboxer = \"shim\"")


if __name__ == "__main__":
    daemon.require()
    require()
    sys.exit(base.main(CriWorker, points_wanted=150))
