#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tool `husk` against live pods, dead shims and none at all: tables, --json, what it says without root."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

HUSK = os.path.join(shim.BIN, "husk")
SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))


def husk(*args, status=0):
    done = subprocess.run([HUSK, *args], capture_output=True, text=True, timeout=60 * SLOW, check=False)
    if done.returncode != status:
        raise AssertionError(f"husk {' '.join(args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def pods(*names):
    return {p["group"]: p for p in json.loads(husk("ps", "--json")) if p["group"] in names}


class Tool(unittest.TestCase):
    def setUp(self):
        self.pod = shim.Pod("tool-pod")
        self.addCleanup(self.pod.close)
        self.pod.run("tool-pod", ["sleep", "1000"])

    def test_ps(self):
        pid = self.pod.run("worker", ["sh", "-c", "exit 3"])
        self.pod.call("Wait", id="worker")
        self.pod.run("two", ["sleep", "1000"])
        self.pod.exec("two", "probe", ["sleep", "1000"])
        exec_pid = self.pod.call("Start", id="two", exec_id="probe")["pid"]
        found = pods("tool-pod")["tool-pod"]
        self.assertEqual(found["namespace"], shim.NAMESPACE)
        self.assertEqual((found["shim"]["pid"], found["shim"]["state"]), (self.pod.shim_pid, "serving"))
        self.assertEqual(found["shim"]["anonymousBytes"], self.pod.anonymous_kib() << 10)
        by_id = {c["id"]: c for c in found["containers"]}
        self.assertEqual(sorted(by_id), ["tool-pod", "two", "worker"])
        self.assertEqual((by_id["worker"]["state"], by_id["worker"]["pid"], by_id["worker"]["exitStatus"]), ("stopped", pid, 3))
        self.assertEqual(by_id["two"]["state"], "running")
        self.assertGreater(by_id["two"]["memoryBytes"], 0)
        self.assertEqual(by_id["two"]["processes"], 2)
        self.assertEqual([(e["id"], e["state"], e["pid"]) for e in by_id["two"]["execs"]], [("probe", "running", exec_pid)])
        table = husk("ps").splitlines()
        self.assertEqual(table[0].split(), ["POD", "CONTAINER", "NAME", "STATE", "PID", "AGE", "MEMORY", "LIMIT", "NOTE"])
        self.assertTrue(any(re.search(rf"\(shim\) +serving +{self.pod.shim_pid}\b", line) for line in table), table)
        self.assertTrue(any(re.search(rf"worker .*stopped +{pid}\b.*exit 3", line) for line in table), table)
        self.assertTrue(any(re.search(rf"exec probe +running +{exec_pid}\b", line) for line in table), table)

    def test_kubernetes_names(self):
        def annotate(document):
            document["annotations"].update({"io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop",
                                            "io.kubernetes.cri.container-name": "nginx", "io.kubernetes.cri.container-type": "container"})
        self.pod.run("c", ["sleep", "1000"], change=annotate)
        found = pods("tool-pod")["tool-pod"]
        self.assertEqual((found["podNamespace"], found["pod"]), ("shop", "web-0"))
        self.assertIn("nginx", [c["name"] for c in found["containers"]])
        for name in ("shop/web-0", "web-0", "nginx", "tool-p"):
            self.assertIn("shop/web-0", husk("why", name), name)

    def test_top(self):
        self.pod.run("busy", ["sh", "-c", "while :; do :; done"])
        rows = {r["container"]: r for r in json.loads(husk("top", "--json")) if r["pod"] == "tool-pod"}
        self.assertGreater(rows["busy"]["cpuPermille"], rows["tool-pod"]["cpuPermille"])
        self.assertGreater(rows["busy"]["cpuPermille"], 10)
        self.assertEqual(husk("top", "--once").split()[:3], ["POD", "CONTAINER", "STATE"])

    def test_why(self):
        self.pod.run("c", ["sleep", "1000"])
        with self.assertRaises(ttrpc.Error):
            self.pod.call("Start", id="c")
        wait = self.pod.client.start_task("Wait", id="c")
        text = husk("why", "c")
        self.assertIn("cannot start a running process", text)
        self.assertIn("Wait: 1", text)
        document = json.loads(husk("why", "--json", "c"))[0]
        self.assertEqual([c["method"] for c in document["calls"]], ["Wait"])
        self.assertEqual([e["what"] for e in document["events"] if e["id"] == "c"], ["create", "start", "Start"])
        self.pod.finish("c")
        wait.result(10)
        events = [e for e in json.loads(husk("why", "--json", "tool-pod"))[0]["events"] if e["id"] == "c"]
        self.assertEqual([(e["what"], e["status"]) for e in events[-2:]], [("exit", 137), ("delete", 137)])

    def test_why_names_what_a_create_waits_for(self):
        """Nobody reads the FIFO: the exec cannot start, and the tool says which call waits, on what, for how long."""
        self.pod.run("c", ["sleep", "1000"])
        fifo = f"{self.pod.dir}/nobody"
        os.mkfifo(fifo)
        self.pod.call("Exec", id="c", exec_id="e", stdout=fifo, terminal=False,
                      spec={"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()})
        start = self.pod.client.start_task("Start", id="c", exec_id="e")
        eventually(lambda: json.loads(husk("why", "--json", "c"))[0]["calls"], what="pending call")
        call = json.loads(husk("why", "--json", "c"))[0]["calls"][0]
        self.assertEqual((call["method"], call["id"], call["execId"]), ("Start", "c", "e"))
        self.assertRegex(husk("why", "c"), r"Start c exec e, for \d+ ms")
        with open(fifo, "rb", buffering=0):
            start.result(10)
            self.pod.call("Wait", id="c", exec_id="e")
            self.pod.call("Delete", id="c", exec_id="e")

    def test_why_names_a_process_that_nothing_ends(self):
        """A parent in vfork(2) sleeps uninterruptibly until its child lets go."""
        python = "/usr/bin/python3"
        # clone(CLONE_VFORK | SIGCHLD): the child pauses.
        program = "import ctypes, signal; ctypes.CDLL(None).syscall(56, 0x4011, 0, 0, 0, 0) or signal.pause()"
        self.assertTrue(os.path.exists(python))

        def host_files(document):
            document["mounts"] += [{"destination": d, "type": "bind", "source": d, "options": ["rbind", "ro"]}
                                   for d in ("/usr", "/lib64", "/lib") if os.path.exists(d)]
        if os.uname().machine != "x86_64":
            self.skipTest("the number of clone(2) is that of x86-64")
        self.pod.run("stuck", [python, "-S", "-c", program], change=host_files)
        eventually(lambda: json.loads(husk("why", "--json", "stuck"))[0]["containers"][0]["uninterruptible"], 20 * SLOW, "state D")
        stuck = json.loads(husk("why", "--json", "stuck"))[0]["containers"][0]["uninterruptible"][0]
        self.assertEqual(stuck["name"], "python3")
        self.assertRegex(husk("why", "stuck"), r"process \d+ \(python3\) is in state D, which no signal ends: it waits in the kernel in \S+")

    def test_events(self):
        follower = subprocess.Popen([HUSK, "events", "-f", "--json"], stdout=subprocess.PIPE, text=True)
        try:
            seen = []
            for line in follower.stdout:
                seen.append(json.loads(line))
                if seen[-1]["id"] == "tool-pod" and seen[-1]["what"] == "start":
                    break
            time.sleep(1.2)  # the follower of the pod is there
            for _ in range(5):
                self.pod.run("c", ["true"])
                self.pod.call("Wait", id="c")
                self.pod.call("Delete", id="c")
            with shim.Pod("second-pod") as second:  # appears while it is followed
                second.run("second-pod", ["sleep", "1000"])
                for line in follower.stdout:
                    seen.append(json.loads(line))
                    if seen[-1]["pod"] == "second-pod" and seen[-1]["what"] == "start":
                        break
        finally:
            follower.kill()
            follower.wait()
            follower.stdout.close()
        told = [e["what"] for e in seen if e["id"] == "c"]
        self.assertEqual(told, ["create", "start", "exit", "delete"] * 5)
        numbers = [e["seq"] for e in seen if e["pod"] == "tool-pod"]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_dead_shim(self):
        pid = self.pod.run("c", ["sleep", "1000"])
        os.kill(self.pod.shim_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(self.pod.shim_pid), what="end of the shim")
        found = pods("tool-pod")["tool-pod"]
        self.assertEqual(found["shim"]["state"], "dead")
        self.assertIn((pid, "alive"), [(c["pid"], c["state"]) for c in found["containers"]])
        self.assertIn(f"shim, pid {self.pod.shim_pid}, is dead", husk("why", "tool-pod"))
        doctor = {c["check"]: c for c in json.loads(subprocess.run([HUSK, "doctor", "--json"], capture_output=True, text=True, check=False).stdout)}
        self.assertEqual(doctor["pods"]["verdict"], "warning")
        self.assertIn("1 with a dead shim", doctor["pods"]["found"])

    def test_mute_shim(self):
        os.kill(self.pod.shim_pid, signal.SIGSTOP)
        self.addCleanup(os.kill, self.pod.shim_pid, signal.SIGCONT)
        found = pods("tool-pod")["tool-pod"]
        self.assertEqual((found["shim"]["state"], found["shim"]["reason"]), ("mute", "no answer"))
        for command in ("why", "events"):
            done = subprocess.run([HUSK, command, "somebody"], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"husk: {command}: nobody says \"somebody\" is theirs, but \d+ shims? gives? no answer")

    def test_deleted_container(self):
        """As Kubernetes does with one that ended: what happened to it is still told, by its id."""
        self.pod.run("crashed", ["sh", "-c", "exit 3"])
        self.pod.call("Wait", id="crashed")
        self.pod.call("Delete", id="crashed")
        said = husk("why", "crashed")
        self.assertRegex(said, r"exit +crashed pid \d+ status 3")
        self.assertRegex(husk("events", "cras"), r"tool-pod +delete +crashed")


class Alone(unittest.TestCase):
    def test_no_pod(self):
        self.assertEqual(json.loads(husk("ps", "--json", "--run-dir", "/nonexistent")), [])
        done = subprocess.run([HUSK, "ps", "--run-dir", "/nonexistent"], capture_output=True, text=True, check=True)
        self.assertEqual((done.stdout, done.stderr), ("", "husk: no pod of husk's runs on this node\n"))
        done = subprocess.run([HUSK, "why", "x", "--run-dir", "/nonexistent"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, 'husk: why: no pod or container "x" of husk\'s on this node (`husk ps` lists them)\n'))
        for command in (["top", "--once"], ["events"]):
            done = subprocess.run([HUSK, *command, "--run-dir", "/nonexistent"], capture_output=True, text=True, check=True)
            self.assertEqual((done.stdout, done.stderr), ("", "husk: no pod of husk's runs on this node\n"))

    def test_without_root(self):
        os.makedirs("/run/husk", 0o700, exist_ok=True)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for command in (["ps"], ["top"], ["why", "x"], ["events"]):
            # The program by its fd: a build tree may lie below a directory that nobody else may enter.
            with open(HUSK, "rb") as f:
                done = subprocess.run([*drop, f"/proc/self/fd/{f.fileno()}", *command], capture_output=True, text=True, check=False,
                                      pass_fds=[f.fileno()])
            self.assertEqual((done.returncode, done.stderr), (1, "husk: /run/husk is readable by root only: run this as root\n"), command)

    def test_wrong_command_line(self):
        for args in ([], ["nonsense"], ["ps", "a", "b"], ["--nonsense", "ps"], ["why", "a", "b"], ["ps", "a"], ["install", "--json"],
                     ["install", "--dry-run", "--once"], ["ps", "--dry-run"], ["doctor", "x"], ["top", "-f"], ["version", "x"]):
            done = subprocess.run([HUSK, *args], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn("usage: husk COMMAND", done.stderr)
            self.assertEqual(done.stdout, "", args)
            self.assertTrue(done.stderr.startswith(("husk: ", "usage: ")), done.stderr)
        self.assertIn("usage: husk COMMAND", husk("--help"))
        self.assertRegex(husk("version"), r"^husk \d+\.\d+\.\d+")

    def test_doctor(self):
        done = subprocess.run([HUSK, "doctor", "--json"], capture_output=True, text=True, check=False)
        checks = {c["check"]: c for c in json.loads(done.stdout)}
        self.assertEqual(checks["kernel"]["found"].split()[1].rstrip(","), os.uname().release)
        self.assertEqual(checks["openat2"]["verdict"], "ok")
        self.assertEqual(done.returncode, 1 if any(c["verdict"] == "broken" for c in checks.values()) else 0)
        is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        self.assertIn("version 2" if is_v2 else "version 1", checks["cgroups"]["found"])
        # With the shim on PATH that is in order, without it the tool says so.
        daemon_runs = subprocess.run(["pgrep", "-x", "containerd"], capture_output=True, check=False).returncode == 0
        if not daemon_runs:
            with_path = subprocess.run([HUSK, "doctor", "--json"], capture_output=True, text=True, check=False,
                                       env={**os.environ, "PATH": f"{shim.BIN}:{os.environ['PATH']}"})
            found = {c["check"]: c for c in json.loads(with_path.stdout)}
            self.assertEqual(found["shim"]["verdict"], "ok")


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
