#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of containerd, of the shim and of both at every border of every request of a pod's life: test_lifecycle.py [--stride N] [--jobs N]
[--only POINT] [-v]

A first life, through a real containerd and ctr, tells which borders there are: before and after each call of the Task service, each event that is
forwarded, each `start` and `delete` (tests/faults/calls.c). Then one life a point: a border and who dies there. Afterwards the daemon is started
again if it died, what runs is ended by ctr as an operator would, and nothing is left: no process, mount, cgroup, socket, bundle, state file.
Every exit was taken by a daemon exactly once while the shim lived (after its death the daemon makes up its own), with the right status."""
import argparse
import collections
import concurrent.futures
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import daemon  # noqa: E402
import shim  # noqa: E402
import ttrpc  # noqa: E402
from daemon import BUSYBOX, HUSK, SLOW  # noqa: E402
from shim import eventually, is_alive  # noqa: E402

POINTS_WANTED = 200
VICTIMS = ("daemon", "shim", "both")
GROUP = "io.containerd.runc.v2.group"
STATUS = 7
STATES = 8
ENDS_ON_TERM = f"trap 'exit {STATUS}' TERM; echo > /ready; while :; do sleep 0.05; done"


class Bad(Exception):
    """What must not be."""


class Worker:
    """A daemon of its own, and one pod after the other in it."""

    def __init__(self, number):
        self.number = number
        self.dir = tempfile.mkdtemp(prefix="husk-lifecycle-")
        self.daemon = self.make_daemon()
        self.daemon.env["HUSK_BOUNDARY"] = self.dir
        self.n = 0
        try:
            self.start()
            self.import_images()
        except BaseException:
            self.close()
            raise

    def make_daemon(self):
        return daemon.Daemon()

    def import_images(self):
        self.daemon.import_images()

    def start(self):
        self.daemon.start()
        self.write("daemon", str(self.daemon.process.pid))

    def write(self, name, text):
        with open(f"{self.dir}/{name}.new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(f"{self.dir}/{name}.new", f"{self.dir}/{name}")

    def log(self):
        """[(border, pid, what)] of this life."""
        try:
            with open(f"{self.dir}/log", encoding="utf-8") as f:
                lines = [line.rstrip("\n").split(" ", 4) for line in f]
        except FileNotFoundError:
            return []
        return [(f"{when} {method} {n}", int(pid), what) for when, method, n, pid, what in lines]

    def ctr(self, *args):
        return self.daemon.ctr(*args, check=False)

    def is_hit(self):
        return not os.path.exists(f"{self.dir}/kill")

    def states(self):
        """{id: (pid, state)}"""
        rows = [row.split() for row in self.ctr("tasks", "ls").stdout.splitlines()[1:]]
        return {row[0]: (int(row[1]), row[2]) for row in rows}

    # ---- one life ----
    def ids(self):
        """The daemons have the same cgroups."""
        return f"w{self.number}p{self.n}a", f"w{self.number}p{self.n}b"

    def steps(self, a, b):
        run = ("run", "-d", "--runtime", HUSK, "--annotation", f"{GROUP}={a}", BUSYBOX)
        return [(*run, a, "sleep", "1000"), (*run, b, "sh", "-c", ENDS_ON_TERM), ("tasks", "exec", "--exec-id", "e", b, "sh", "-c", "exit 3"),
                ("tasks", "ps", b), ("tasks", "metrics", b), ("tasks", "pause", b), ("tasks", "resume", b), ("tasks", "kill", "-s", "SIGTERM", b),
                ("tasks", "rm", b), ("tasks", "kill", "-s", "SIGKILL", a), ("tasks", "rm", a), ("containers", "rm", b), ("containers", "rm", a)]

    def live(self, a, b):
        """Until the border where somebody dies, or to the end."""
        for step in self.steps(a, b):
            if step[:2] == ("tasks", "rm"):
                self.wait_stopped(step[2])
            r = self.ctr(*step)
            if self.is_hit():
                return
            if step[:2] == ("tasks", "rm") and step[2] == b and f"code {STATUS}" not in r.stderr:
                raise Bad(f"{step}: {r}")
            if r.returncode not in (0, 3) and not (step[1] == "rm" and "code" in r.stderr):
                raise Bad(f"{step} failed though nobody was killed: {r.stderr}")
            if "/ready" in step[-1]:
                pid = self.states().get(b, (0, ""))[0]
                eventually(lambda p=pid: self.is_hit() or os.path.exists(f"/proc/{p}/root/ready"), 10 * SLOW, "the container's trap")
            if self.is_hit():
                return

    def wait_stopped(self, cid):
        try:
            eventually(lambda: self.is_hit() or self.states().get(cid, (0, ""))[1] != "RUNNING", 10 * SLOW)
        except AssertionError:
            raise Bad(f"{cid} does not stop: {self.states()}") from None

    def one(self, border, victim):
        self.n += 1
        a, b = self.ids()
        for name in ("log", "kill"):
            if os.path.exists(f"{self.dir}/{name}"):
                os.unlink(f"{self.dir}/{name}")
        self.write("kill", f"{border} {victim}")
        self.live(a, b)
        hit = self.is_hit()
        if not hit and border != "none":
            time.sleep(0.5)  # the last borders come after the last answer
            hit = self.is_hit()
        self.recover(a, b, victim if hit else None)
        self.check_left(a, b)
        self.check_exits(victim if hit else None)
        return hit

    def recover(self, a, b, victim):
        """What an operator does, or the kubelet."""
        if victim in ("daemon", "both"):
            self.daemon.process.wait(20)
            self.start()
        if victim == "daemon":
            state = self.states().get(b, (0, ""))
            if state[1] == "PAUSED":
                self.ctr("tasks", "resume", b)
            if state[1] in ("RUNNING", "PAUSED") and os.path.exists(f"/proc/{state[0]}/root/ready"):
                self.ctr("tasks", "kill", "-s", "SIGTERM", b)
                self.wait_state(b, "STOPPED")
        for cid in (b, a):
            for _ in range(3):
                if cid not in self.states():
                    break
                self.ctr("tasks", "kill", "-s", "SIGKILL", cid)
                self.ctr("tasks", "rm", "-f", cid)
            self.ctr("containers", "rm", cid)
        left = {cid: state for cid, state in self.states().items() if cid in (a, b)}
        if left:
            raise Bad(f"tasks that cannot be removed: {left}")

    def wait_state(self, cid, wanted):
        try:
            eventually(lambda: self.states().get(cid, (0, wanted))[1] == wanted, 10 * SLOW)
        except AssertionError:
            raise Bad(f"{cid} is not {wanted}: {self.states()}") from None

    # ---- what must be true then ----
    def shims(self):
        """["PID COMMAND"]"""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    text = f.read()
            except OSError:
                continue
            if b"containerd-shim-husk-v2" in text and self.daemon.address.encode() in text and is_alive(pid):
                found.append(f"{pid} {text}")
        return found

    def left(self, a, b):
        found = collections.defaultdict(list, processes=self.shims())
        for cid in (a, b):
            found["cgroups"] += [p for p in glob.glob(f"/sys/fs/cgroup/**/default/{cid}", recursive=True)]
            found["bundles"] += glob.glob(f"{self.daemon.dir}/state/io.containerd.runtime.v2.task/default/{cid}")
            key = hashlib.sha256(f"{self.daemon.address}/default/{cid}".encode()).hexdigest()
            found["sockets"] += glob.glob(f"/run/containerd/s/{key}")
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            found["mounts"] = [line for line in f if f"/default/{a}/" in line or f"/default/{b}/" in line]
        top = "/run/husk/" + hashlib.sha256(self.daemon.address.encode()).hexdigest()[:16]
        found["files"] = [os.path.join(p, n) for p, _, names in os.walk(top) for n in names]
        return {k: v for k, v in found.items() if v}

    def check_left(self, a, b):
        try:
            eventually(lambda: not self.left(a, b), 15 * SLOW)
        except AssertionError:
            raise Bad(f"left behind: {self.left(a, b)}") from None

    def events(self):
        """[(topic, event)] that a daemon has taken."""
        out = []
        for border, _, what in self.log():
            if border.startswith("after Forward"):
                envelope = ttrpc.decode("ForwardRequest", bytes.fromhex(what))["envelope"]
                out.append((envelope["topic"], ttrpc.decode(envelope["event"]["type_url"], envelope["event"]["value"])))
        return out

    def check_exits(self, victim):
        events = self.events()
        exits = collections.Counter((e["container_id"], e["id"], e["pid"]) for t, e in events if t == "/tasks/exit")
        doubled = [k for k, n in exits.items() if n > 1]
        if doubled:
            raise Bad(f"exits told twice: {doubled}")
        if victim in ("shim", "both"):
            return  # what its shim did not come to tell, the daemon has made up
        started = {(e["container_id"], e.get("exec_id") or e["container_id"], e["pid"]) for t, e in events
                   if t in ("/tasks/start", "/tasks/exec-started")}
        if started - set(exits):
            raise Bad(f"exits lost: {started - set(exits)}")
        for t, e in events:
            if t == "/tasks/exit" and e["exit_status"] not in self.statuses(e):
                raise Bad(f"wrong status: {e}")

    def statuses(self, event):
        return (3,) if event["id"] == "e" else (STATUS, 137)

    def scrub(self):
        """After a problem: what is left of it shall not be the next point's."""
        self.daemon.stop()
        top = "/run/husk/" + hashlib.sha256(self.daemon.address.encode()).hexdigest()[:16]
        for cid in self.ids():
            left = self.left(cid, cid)
            for pid in [line.split(" ")[0] for line in left.get("processes", [])]:
                kill(pid)
            for path in left.get("cgroups", []):
                with open(f"{path}/cgroup.procs", encoding="utf-8") as f:
                    for pid in f.read().split():
                        kill(pid)
            for path in left.get("sockets", []):
                if os.path.exists(path):
                    os.unlink(path)
            for path in left.get("cgroups", []):
                eventually(lambda p=path: not remove_dir(p), 5 * SLOW)
            for path in left.get("bundles", []):
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(top, ignore_errors=True)
        self.start()
        for cid in self.ids():
            self.ctr("tasks", "rm", "-f", cid)
            self.ctr("containers", "rm", cid)

    def close(self):
        if self.daemon.process:
            self.daemon.remove_all()
        self.daemon.stop()
        shutil.rmtree(self.daemon.dir, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def kill(pid):
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        pass


def remove_dir(path):
    """True while it does not go."""
    try:
        os.rmdir(path)
    except OSError:
        return os.path.exists(path)
    return False


def points_of(log):
    """Each border once, in order; the same border of another process (each `delete`) is the first one's. How often ctr asks for the State while
    it waits is not the same in every life."""
    seen = list(dict.fromkeys(border for border, _, _ in log if "State" not in border or int(border.split()[2]) <= STATES))
    return [(border, victim) for border in seen for victim in VICTIMS]


def main(worker_type=Worker, points_wanted=POINTS_WANTED):
    """The exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stride", type=int, default=int(os.environ.get("HUSK_TEST_STRIDE", "2")))
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--only", help="such as: before Create 1 daemon")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    shim.require()
    daemon.require()
    begin = time.monotonic()
    workers, problems, hits = [], [], 0
    try:
        for _ in range(1 if options.only else options.jobs):
            workers.append(worker_type(len(workers)))
        workers[0].one("none", "none")
        points = points_of(workers[0].log())
        print(f"{len(points)} points in a life of {len(points) // len(VICTIMS)} borders, first life after {time.monotonic() - begin:.1f} s", flush=True)
        mine = [tuple(options.only.rsplit(" ", 1))] if options.only else points[::options.stride]

        def run(worker, part):
            out = []
            for border, victim in part:
                try:
                    out.append((border, victim, worker.one(border, victim), None))
                except Exception as e:  # pylint: disable=broad-except
                    out.append((border, victim, True, f"{type(e).__name__}: {e}"))
                    if options.only or options.verbose:
                        print(f"--- {border}, {victim}: {e}\n" + "\n".join(f"{b} {p} {w[:100]}" for b, p, w in worker.log()), flush=True)
                    worker.scrub()
                if options.verbose:
                    print(*out[-1], flush=True)
            return out
        with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
            for out in pool.map(lambda i: run(workers[i], mine[i::len(workers)]), range(len(workers))):
                hits += sum(hit for _, _, hit, _ in out)
                problems += [(border, victim, problem) for border, victim, _, problem in out if problem]
    finally:
        for worker in workers:
            worker.close()
        if worker_type is Worker:
            daemon.remove_cgroups("default")
    print(f"{len(mine)} points, {hits} reached, {len(problems)} problems in {time.monotonic() - begin:.0f} s")
    for problem in problems:
        print("  " + ": ".join(problem))
    if not options.only and len(points) < points_wanted:
        print(f"{len(points)} points, {points_wanted} are wanted")
        return 1
    if hits < 0.9 * len(mine):
        print("too many borders were not reached again")
        return 1
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
