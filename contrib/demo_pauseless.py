#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The second half of `contrib/demo.sh --pauseless`: three pods of two containers each without a pause image, through containerd's CRI service. CONTAINERD and
HUSK_BIN say which programs. Ends non-zero if anything shown is not so."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/lib"))
import daemon  # pylint: disable=wrong-import-position
import pods  # pylint: disable=wrong-import-position

FAILED = []


def check(text, is_so):
    print(f"  {'✓' if is_so else '✗'} {text}")
    if not is_so:
        FAILED.append(text)


def rollup(pid, key):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key))


def name(pid):
    return pods.read(f"/proc/{pid}/comm").strip()


class Demo(pods.CriTest):
    """unittest's class for its set-up and clean-up; nothing runs it as a test."""

    def run_pod(self, title, why, **modes):
        print(f"\n{title}")
        pod = self.pod(title.split(":")[0].split(" ")[-1], **modes)
        a = self.container(pod, "a", ["sh", "-c", "echo hello >/dev/shm/note; exec sleep 1000"])
        b = self.container(pod, "b", ["sleep", "1000"])
        info = self.cri.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True).info
        pid, husk = json.loads(info["info"])["pid"], json.loads(info["husk"])
        shim = self.shim_pid(a)
        print(f"  containerd knows the pod by pid {pid}: {husk['process']}. {why}")
        if husk["process"] == "husk-init":
            check(f"pid {pid} is husk-init ({os.path.getsize(daemon.BIN + '/husk-init')} bytes), holds {husk['holds']}, costs "
                  f"{rollup(pid, 'Anonymous:')} KiB of memory of its own",
                  name(pid) == "husk-init" and pods.ns(pid, "pid") != pods.ns("self", "pid"))
        else:
            check(f"pid {pid} is the shim itself: no process but the two containers'", pid == shim and husk["holds"] == "")
        kinds = ["net", "ipc", "uts"] + (["pid"] if modes.get("pid") == "POD" else [])
        check(f"both containers are in its {', '.join(kinds)} namespaces",
              all(pods.ns(self.pid(c), k) == pods.ns(pid, k) for c in (a, b) for k in kinds))
        if modes.get("ipc") != "NODE":
            check("what one writes to /dev/shm the other reads", pods.eventually(lambda: self.sh(b, "cat /dev/shm/note")[1] == "hello\n"))
        check("each has the pod's hostname, hosts and resolv.conf", self.sh(b, "cat /etc/hostname /etc/hosts /etc/resolv.conf >/dev/null")[0] == 0)
        check(f"one shim, one thread, {rollup(shim, 'Anonymous:')} KiB of its own", pods.read(f"/proc/{shim}/status").count("Threads:\t1") == 1)
        self.cri.StopPodSandbox(pod_sandbox_id=pod[0])
        self.cri.RemovePodSandbox(pod_sandbox_id=pod[0])
        check("removed: no process, no mount, no cgroup", pods.eventually(lambda: not os.path.exists(f"/proc/{shim}")) and
              pod[0] not in pods.read("/proc/self/mountinfo") and
              not subprocess.run(["find", "/sys/fs/cgroup", "-name", pod[0]], capture_output=True, text=True, check=True).stdout)

    def runTest(self):  # pylint: disable=invalid-name
        print(f"containerd {pods.version()[0]}.{pods.version()[1]}, `sandboxer = \"shim\"`; no image is there but the containers' own and the one that containerd insists on")
        self.run_pod("A pod of its own: network, IPC and host name shared", "Network, IPC and host name need a process to be found by.")
        self.run_pod("A pod that shares its pids: the same, and one pid namespace", "PID 1 must reap what others leave.", pid="POD")
        self.run_pod("A pod on the node: network, IPC and pids are the node's", "There is nothing to hold.", network="NODE", ipc="NODE", pid="NODE")


def main():
    if os.environ.get("HUSK_TEST_NETNS") != "1":
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv]
        return subprocess.run(command, env=dict(os.environ, HUSK_TEST_NETNS="1", HUSK_TEST_HANDLER="husk-pauseless"), check=False).returncode
    try:
        Demo.setUpClass()
        demo = Demo()
        try:
            demo.runTest()
        finally:
            demo.doCleanups()
    finally:
        Demo.doClassCleanups()
    return bool(FAILED)


if __name__ == "__main__":
    sys.exit(main())
