#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shims of one build met by the programs of another, both ways, as after a package's upgrade and after its downgrade: `start` finds the running shim and
says what it speaks, `delete` hurts nothing of it and, once it is dead, ends all of it by its state files; the tool sees it. HUSK_OTHER_BIN names
the other build (tests/versions.sh makes one); a shim.Pod is of HUSK_BIN."""
import json
import os
import signal
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position
from test_crash import cgroups, state_files  # pylint: disable=wrong-import-position

OTHER = os.environ.get("HUSK_OTHER_BIN", "")
SHIM = "containerd-shim-husk-v2"


class Other(shim.Pod):
    """Its shim is of one build, the commands run beside it of another."""

    def __init__(self, mine, others):
        self.program, self.others = f"{mine}/{SHIM}", f"{others}/{SHIM}"
        super().__init__()
        self.program = self.others  # from here on

    def tool(self, *args):
        return subprocess.run([f"{os.path.dirname(self.others)}/husk", *args], capture_output=True, text=True, check=True, timeout=60).stdout


class Versions(unittest.TestCase):
    def meet(self, mine, others):
        pod = Other(mine, others)
        self.addCleanup(pod.close)
        with open(f"/proc/{pod.shim_pid}/cmdline", "rb") as f:
            self.assertTrue(f.read().startswith(f"{mine}/{SHIM}".encode()))
        pids = {cid: pod.run(cid, ["sleep", "1000"]) for cid in ("pod", "a", "b")}
        # Another container of the pod, in the old dialect and in the new.
        bundle = pod.bundle("c", ["true"])
        self.assertEqual(pod.start(bundle, "c"), pod.address)
        params = ttrpc.encode("BootstrapParams", instance_id="c", namespace=shim.NAMESPACE, grpc_address=pod.grpc)
        result = ttrpc.decode("BootstrapResult", pod.command("c", "start", cwd=bundle, input=params).stdout)
        self.assertEqual((result["address"], result["version"]), (pod.address, 3))
        self.assertEqual(pod.client.task("Connect", id="a"), {"shim_pid": pod.shim_pid, "task_pid": pids["a"], "version": ""})
        # An ordinary teardown of one of them, and the tool.
        self.assertEqual(pod.finish("b")["exit_status"], 137)
        pod.delete("b")
        if os.path.exists(f"{others}/husk"):
            self.look(pod, "running" if os.path.exists(f"{mine}/husk") else "alive")  # a shim from before the tool is known by its state files alone
        # A crash.
        os.kill(pod.shim_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        reply = pod.delete("pod")
        self.assertEqual((reply["pid"], reply["exit_status"]), (pids["pod"], 137))
        self.assertEqual([p for p in pids.values() if is_alive(p)], [])
        self.assertEqual((cgroups(pod.cgroup), state_files(pod.grpc)), ([], []))
        self.assertFalse(os.path.exists(pod.address[7:]) and stat.S_ISSOCK(os.stat(pod.address[7:]).st_mode))
        # The same id again, now all of the other build.
        self.assertEqual(pod.start(pod.bundles["pod"], "pod"), pod.address)
        pod.client = pod.connect()
        pod.shim_pid = pod.client.task("Connect", id="pod")["shim_pid"]
        pod.run("pod", ["sleep", "1000"])
        pod.finish("pod")

    def look(self, pod, state):
        found = next(p for p in json.loads(pod.tool("ps", "--json")) if p["shim"]["pid"] == pod.shim_pid)
        self.assertEqual({c["id"]: c["state"] for c in found["containers"]}, {"pod": state, "a": state})
        self.assertIn(f"shim {pod.shim_pid}" if state == "running" else f"its shim, pid {pod.shim_pid}, listens", pod.tool("why", "a"))

    def test_a_shim_of_the_other_build(self):
        self.meet(OTHER, shim.BIN)

    def test_programs_of_the_other_build(self):
        self.meet(shim.BIN, OTHER)


if __name__ == "__main__":
    shim.require()
    if not OTHER:
        print("SKIP: HUSK_OTHER_BIN names no other build (tests/versions.sh)")
        sys.exit(shim.SKIP)
    unittest.main(verbosity=2)
