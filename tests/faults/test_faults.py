#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every call of a pod's life that can fail, failing: test_faults.py [--pauseless] [--stride N] [--offset N] [--jobs N] [--call NAME]
[--only N [--repeat N]] [-v]

Runs the life of a pod again and again, each time with another call of the shim's or of a set-up child's failing (faults.c says how): the first
place that makes one, the second, and so on until a life passes without reaching the N-th. Whatever fails, the request fails with a text or
succeeds; the same life in the same shim succeeds afterwards; each process that was told to start is told to exit once; and at the end no process,
mount, cgroup, socket, file and no descriptor of the shim is left. --stride takes every N-th place only (what ctest does), --call walks the calls of
one name instead of the places. --pauseless is a pod whose sandbox is husk's own, by the Sandbox service: its shim ends with it, so the same life
afterwards is that of a new one with the same id."""
import argparse
import collections
import concurrent.futures
import glob
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [f"{TESTS}/lib", f"{TESTS}/e2e"]
import shim  # noqa: E402
import ttrpc  # noqa: E402
from shim import Pod, eventually, is_alive  # noqa: E402
from test_sandbox import Sandbox  # noqa: E402

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
SITES_WANTED = {False: 150, True: 300}  # --pauseless reaches most of a pod's and its own
HEADER, SITE = struct.Struct("IIII"), struct.Struct("QQIIII")
NOT_FOUND, DEADLINE = 5, 4
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults.c"), encoding="utf-8") as source:
    CALLS = re.findall(r"^\tX\(([a-z0-9_]+), ", source.read(), re.M)

Site = collections.namedtuple("Site", "at caller call number count pid")


class Bad(Exception):
    """What must not be, whatever failed."""


class Table:
    """What the processes of one pod have counted."""

    def __init__(self, path):
        self.path = path

    def read(self):
        with open(self.path, "rb") as f:
            data = f.read()
        _, n, _, fired = HEADER.unpack_from(data)
        return [Site(*SITE.unpack_from(data, HEADER.size + i * SITE.size)) for i in range(n)], fired

    def fired(self):
        with open(self.path, "rb") as f:
            return HEADER.unpack(f.read(HEADER.size))[3]


def resolve(sites):
    """{site: "openat in hk_read_file_at (oci/base/fd.c:91) from ..."}"""
    addresses = sorted({a - 1 for s in sites for a in (s.at, s.caller) if a})
    out = subprocess.run(["addr2line", "-f", "-e", shim.SHIM, *map(hex, addresses)], capture_output=True, text=True, check=True).stdout.splitlines()
    where = {a: (out[2 * i], re.sub(r"^.*?/((oci|sandbox|shim|proto)/)", r"\1", out[2 * i + 1]).split(" ")[0]) for i, a in enumerate(addresses)}
    names = {}
    for s in sites:
        call = f"syscall {s.number}" if CALLS[s.call] == "syscall" else CALLS[s.call]
        (function, line), (caller, _) = where[s.at - 1], where.get(s.caller - 1, ("", ""))
        names[s] = f"{call} in {function} ({line})" + (f" from {caller}" if caller not in ("", "??") else "")
    return names


def hook(path, *words):
    return {"path": shim.BUSYBOX, "args": ["sh", "-c", f"cat >/dev/null; echo {' '.join(words)} >>{path}"]}


def rich(pod, document):
    """Most of what a config.json can ask for."""
    linux = document["linux"]
    document["hooks"] = {"createRuntime": [hook(f"{pod.dir}/hooks", "createRuntime")], "poststart": [hook(f"{pod.dir}/hooks", "poststart")],
                         "poststop": [hook(f"{pod.dir}/hooks", "poststop")]}
    document["mounts"] += [{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "size=1m"]},
                           {"destination": "/data", "type": "bind", "source": f"{pod.dir}/data", "options": ["rbind", "ro"]},
                           {"destination": "/etc/name", "type": "bind", "source": f"{pod.dir}/name", "options": ["bind"]},
                           {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]
    document["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    document["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    document["process"]["oomScoreAdj"] = 100
    linux["namespaces"].append({"type": "cgroup"})
    linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    linux["resources"].update(memory={"limit": 64 << 20}, cpu={"shares": 512, "quota": 50000, "period": 100000}, pids={"limit": 100})
    linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}]}


def userns(document):
    document["linux"]["namespaces"].append({"type": "user"})
    document["linux"].update(uidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}],
                             gidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}])
    document["mounts"] = [m for m in document["mounts"] if m["destination"] != "/sys"]


class Life(Pod):
    """A pod whose shim has a fault in it. Every request goes through attempt()."""

    def __init__(self, what, verbose=False):
        self.what, self.verbose = what, verbose
        self.failures, self.waits = [], []
        self.table = self.log_fd = None
        self.strict = False
        super().__init__(env={"HUSK_FAULT": what})

    def start(self, bundle, cid):
        """May fail once, and then leaves nothing."""
        self.table = Table(f"{self.dir}.faults")  # outlives the directory
        self.env["HUSK_FAULT_TABLE"] = self.table.path
        self.log_fd = os.open(f"{bundle}/log", os.O_RDONLY | os.O_NONBLOCK)
        for path in ("data", "name"):
            os.makedirs(f"{self.dir}/{path}", exist_ok=True) if path == "data" else open(f"{self.dir}/{path}", "w").close()
        try:
            return super().start(bundle, cid)
        except AssertionError as e:
            self.failed("start", str(e))
        # As containerd does: the bundle goes, and a server that nobody was told of ends by itself.
        os.rename(bundle, f"{bundle}.old")
        self.check_left(["socket", "processes"], 15)
        os.rename(f"{bundle}.old", bundle)
        return super().start(bundle, cid)

    def connect(self, service=ttrpc.TASK_V3):
        for _ in range(3):
            try:
                client = super().connect(service)
                client.task("Connect", 15 * SLOW, id=self.name)
                return client
            except (ttrpc.Error, ConnectionError, BrokenPipeError) as e:
                self.failed("Connect", str(e))
        raise Bad("nobody answers Connect")

    def log(self, *words):
        if self.verbose:
            print(f"  {self.what}:", *words, flush=True)

    def failed(self, what, text):
        self.log(f"{what} failed: {text}")
        if self.strict:
            raise Bad(f"{what} failed after the fault was over: {text}")
        if not self.table.fired():
            raise Bad(f"{what} failed without a fault: {text}")
        if not re.search(r"\bE[A-Z0-9]{2,}\b|EOFError|Broken pipe|memory|is gone|unmarshalling|exit status|ended|refused|closed|lost|died|Errno|cannot|failed|input/output error", text):
            raise Bad(f"{what} failed with no clear text: {text!r}")
        self.failures.append(f"{what}: {text}")

    def ask(self, method, **values):
        return self.client.task(method, 15 * SLOW, **values)

    def attempt(self, method, **values):
        """The answer, or None when the fault made it fail."""
        begin = time.monotonic()
        try:
            return self.ask(method, **values)
        except ttrpc.Error as e:
            if e.code == NOT_FOUND and self.failures:
                return None  # a consequence
            self.failed(f"{method} {values.get('exec_id') or values.get('id')}", f"[{e.code}] {e.message}")
        except (ConnectionError, OSError) as e:
            self.failed(method, f"connection closed: {e}")
            if not is_alive(self.shim_pid):
                raise Bad(f"the shim died of it: {self.crash_line()}") from e
            self.client = self.connect()
        except TimeoutError as e:
            raise Bad(f"{method} hangs, fault {self.where()}") from e
        finally:
            if time.monotonic() - begin > 5 * SLOW:
                self.log(f"{method} took {time.monotonic() - begin:.1f} s")
        return None

    def crash_line(self):
        try:
            return os.read(self.log_fd, 1 << 16).decode(errors="replace")[-2000:]
        except BlockingIOError:
            return "(no log)"

    def where(self):
        sites, fired = self.table.read()
        return resolve([sites[fired - 1]])[sites[fired - 1]] if fired else "none"

    # ---- a life ----
    def process(self, cid, eid, args, **flags):
        base = f"{self.dir}/{eid}"
        self.output[eid] = self.fifo(f"{base}.out")
        values = {"id": cid, "exec_id": eid, "stdout": f"{base}.out", **flags,
                  "spec": {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(args)).encode()}}
        if self.attempt("Exec", **values) is None:
            self.output[eid].release()
            return
        if self.attempt("Start", id=cid, exec_id=eid) is not None:
            self.attempt("Wait", id=cid, exec_id=eid)
        self.attempt("Delete", id=cid, exec_id=eid) or self.attempt("Delete", id=cid, exec_id=eid)
        self.output[eid].release()

    def end(self, cid):
        for _ in range(2):  # the second time whatever was refused by the fault
            self.attempt("Kill", id=cid, signal=9, all=True)
            if self.state(cid) is None:
                return
            self.attempt("Wait", id=cid)
            if self.attempt("Delete", id=cid) is not None:
                return
        if self.state(cid) is not None:
            raise Bad(f"{cid} cannot be deleted: {self.failures}")

    def state(self, cid):
        for _ in range(2):
            try:
                return self.client.task("State", 15 * SLOW, id=cid)
            except ttrpc.Error as e:
                if e.code == NOT_FOUND:
                    return None
                self.failed("State", e.message)
            except ConnectionError:
                self.client = self.connect()
        return None

    def container(self, cid, args, inside, **more):
        values = self.request(cid, args, **more)
        if self.attempt("Create", **values) is not None:
            if self.attempt("Start", id=cid) is not None:
                inside(cid)
        self.end(cid)
        self.check_waits()
        for reader in (self.output[cid], self.errors.get(cid)):
            if reader:
                reader.release()

    def upgrade(self, cid):
        """The shim is replaced by the same program, with a call that waits: the new one comes, or the old one is as it was."""
        path = os.path.realpath(shim.SHIM).encode()
        self.waits.append((self.client, self.client.start_task("Wait", id=cid)))
        try:
            self.client.start_call("husk.node.Node", "Upgrade", b"\x0a" + bytes([len(path) & 127 | 128, len(path) >> 7]) + path).result(30 * SLOW)
        except ttrpc.Error as e:
            self.failed("Upgrade", e.message)
        except ConnectionError as e:
            self.failed("Upgrade", f"connection closed: {e}")
            if not is_alive(self.shim_pid):
                raise Bad(f"the shim died of an upgrade: {self.crash_line()}") from e
            self.client = self.connect()
        except TimeoutError as e:
            raise Bad(f"Upgrade hangs, fault {self.where()}") from e

    def check_waits(self):
        """Each has one answer, unless its connection was the fault's."""
        waits, self.waits = self.waits, []
        for client, wait in waits:
            try:
                wait.result(15 * SLOW)
            except (ttrpc.Error, ConnectionError) as e:
                self.failed("Wait of before the upgrade", str(e))
            except TimeoutError:
                raise Bad(f"a Wait of before the upgrade has no answer, fault {self.where()}") from None
            if client.surplus:
                raise Bad(f"answers that nobody asked for: {client.surplus}")

    def inside(self, cid):
        self.process(cid, "e1", ["echo", "out"])
        self.upgrade(cid)
        self.process(cid, "e2", ["stty"], terminal=True)
        for method in ("Pids", "Stats", "Pause", "Resume", "State", "CloseIO", "Connect"):
            self.attempt(method, id=cid)
        self.attempt("Resume", id=cid) if self.failures and self.state(cid)["status"] in (4, 5) else None
        resources = {"cpu": {"shares": 256}, "memory": {"limit": 32 << 20}}
        self.attempt("Update", id=cid, resources={"type_url": shim.RESOURCES_TYPE, "value": json.dumps(resources).encode()})

    def live(self):
        self.container("c1", ["sleep", "1000"], self.inside, change=lambda d: rich(self, d))
        self.container("c2", ["sh", "-c", "exec sleep 1000"], lambda cid: self.attempt("ResizePty", id=cid, width=80, height=25), change=userns, terminal=True)

    # ---- afterwards ----
    def fds(self):
        def name(fd):
            try:
                return re.sub(r"\d+", "N", os.readlink(f"/proc/{self.shim_pid}/fd/{fd}"))
            except FileNotFoundError:
                return None
        return collections.Counter(filter(None, map(name, os.listdir(f"/proc/{self.shim_pid}/fd"))))

    def check_fds(self, before):
        """As many as before, but for the connections."""
        def more():
            found = self.fds() - before
            found = {k: v for k, v in found.items() if not k.startswith("socket:") or v > 1}
            return found
        try:
            eventually(lambda: not more(), 5 * SLOW)
        except AssertionError:
            raise Bad(f"descriptors of the shim left: {more()}") from None

    def check_events(self):
        """One exit for each start, of containers and execs."""
        def counts(topics, key):
            return collections.Counter((e["container_id"], e.get(key) or e["container_id"], e["pid"]) for t, e in self.events.log if t in topics)
        started = counts(("/tasks/start",), "none") + counts(("/tasks/exec-started",), "exec_id")

        def lacking():
            exits = counts(("/tasks/exit",), "id")
            return {k for k in started if exits[k] != 1} | {k for k, n in exits.items() if n != 1}
        try:
            eventually(lambda: not lacking(), 6 * SLOW)
        except AssertionError:
            raise Bad(f"exits lost or doubled: {lacking()}") from None

    def left(self):
        found = {"processes": [], "cgroups": list(self.cgroups()), "mounts": []}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if self.grpc.encode() in f.read() and is_alive(pid):
                        found["processes"].append(int(pid))
            except OSError:
                pass
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            found["mounts"] = [line for line in f if self.dir in line]
        digest = hashlib.sha256(self.grpc.encode()).hexdigest()[:16]
        found["files"] = [os.path.join(p, n) for p, _, names in os.walk(f"/run/husk/{digest}") for n in names]
        key = hashlib.sha256(f"{self.grpc}/{shim.NAMESPACE}/{self.name}".encode()).hexdigest()
        found["socket"] = glob.glob(f"/run/containerd/s/{key}")  # a lock may stay: whoever holds it last removes it
        return {k: v for k, v in found.items() if v}

    def check_left(self, kinds=None, seconds=5):
        def some():
            return {k: v for k, v in self.left().items() if not kinds or k in kinds}
        try:
            eventually(lambda: not some(), seconds * SLOW)
        except AssertionError:
            raise Bad(f"left behind: {some()}") from None

    def shutdown(self):
        if self.attempt("Shutdown", id="pod") is None:
            self.attempt("Shutdown", id="pod")
        try:
            eventually(lambda: not is_alive(self.shim_pid), 15 * SLOW)
        except AssertionError:
            raise Bad("the shim does not end") from None

    def run_delete(self):
        for cid in (c for c in ("c1", "c2", "pod") if c in self.bundles):
            done = self.command(cid, "delete", "-bundle", self.bundles[cid], cwd="/", stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                self.failed("delete", done.stderr.decode())
                done = self.command(cid, "delete", "-bundle", self.bundles[cid], cwd="/", stdin=subprocess.DEVNULL)
                if done.returncode != 0:
                    raise Bad(f"delete fails again: {done}")

    def whole(self):
        before = self.fds()
        self.live()
        self.check_events()
        if self.table.fired():
            failures, self.failures, self.strict = self.failures, [], True
            self.live()
            self.failures, self.strict = failures, False
            self.check_events()
        self.check_fds(before)
        self.shutdown()
        self.run_delete()
        self.check_left()


class Pauseless(Life, Sandbox):
    def start(self, bundle, cid):
        if os.path.exists(f"{bundle}/config.json"):
            os.unlink(f"{bundle}/config.json")
        return super().start(bundle, cid)

    def ask(self, method, **values):
        if method in BOX:
            return self.box(method, 15 * SLOW, **values)
        return super().ask(method, **values)

    def live(self):
        if self.attempt("CreateSandbox", **self.box_request(sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})) is not None:
            started = self.attempt("StartSandbox")
            if started is not None:
                self.inside_box(started["pid"])
        self.attempt("ShutdownSandbox") or self.attempt("ShutdownSandbox")

    def inside_box(self, pid):
        for method in BOX[4:]:
            self.attempt(method)
        self.container("c1", ["sleep", "1000"], self.inside, change=self.join(pid, "network", "ipc", "uts", private=("mount", "pid", "cgroup")))
        wait = self.start_box("WaitSandbox")
        if self.attempt("StopSandbox") is None and self.attempt("StopSandbox") is None:
            return
        try:
            wait.result(15 * SLOW)
        except ttrpc.Error as e:
            self.failed("WaitSandbox", e.message)
        except ConnectionError as e:
            self.failed("WaitSandbox", f"connection closed: {e}")
        except TimeoutError:
            raise Bad("WaitSandbox does not end with the sandbox") from None

    def one_life(self):
        self.live()
        self.check_events()
        try:
            eventually(lambda: not is_alive(self.shim_pid), 15 * SLOW)
        except AssertionError:
            raise Bad("the shim does not end") from None
        self.run_delete()
        self.check_left()

    def whole(self):
        self.one_life()
        if not self.table.fired():
            return
        failures, self.failures, self.strict = self.failures, [], True
        self.address = self.start(self.bundles["pod"], "pod")
        self.client = self.connect()
        self.shim_pid = self.client.task("Connect", id="pod")["shim_pid"]
        self.one_life()
        self.failures = failures


BOX = ("CreateSandbox", "StartSandbox", "StopSandbox", "ShutdownSandbox", "Platform", "SandboxStatus", "PingSandbox", "SandboxMetrics")


def one(what, options, verbose=False):
    """(what, sites, fired site or None, failures, problem or None)"""
    life = None
    try:
        life = (Pauseless if options.pauseless else Life).__new__(Pauseless if options.pauseless else Life)
        life.__init__(what, verbose or options.verbose)
        life.whole()
        problem = None
    except Bad as e:
        problem = str(e)
    except Exception as e:  # pylint: disable=broad-except
        problem = f"{type(e).__name__}: {e}"
    sites, fired = [], 0
    try:
        sites, fired = life.table.read()
    except (OSError, struct.error, AttributeError):
        pass
    try:
        life.close()
    except Exception as e:  # pylint: disable=broad-except
        problem = problem or f"at the end: {e}"
    if life.log_fd is not None:
        os.close(life.log_fd)
    if life.table and os.path.exists(life.table.path):
        os.unlink(life.table.path)
    return what, sites, sites[fired - 1] if fired else None, life.failures, problem


def walk(options):
    """Runs until a life has passed without reaching the fault; yields every result."""
    n = 1 + options.offset
    options.jobs = min(options.jobs, 8)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        while True:
            batch = [f"{options.call}:{n + i * options.stride}" for i in range(2 * options.jobs)]
            results = list(pool.map(lambda what: one(what, options), batch))
            yield from results
            if any(fired is None for _, _, fired, _, _ in results):
                return
            n += len(batch) * options.stride


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pauseless", action="store_true")
    parser.add_argument("--stride", type=int, default=int(os.environ.get("HUSK_TEST_STRIDE", "4")))
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--call", default="site")
    parser.add_argument("--only", type=int, help="the N-th alone, --repeat times")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    shim.require()
    begin, reached, problems, runs = time.monotonic(), set(), [], 0
    results = (one(f"{options.call}:{options.only}", options, verbose=True) for _ in range(options.repeat)) if options.only else walk(options)
    for what, sites, fired, failures, problem in results:
        runs += 1
        reached |= {s._replace(count=0, pid=0) for s in sites}
        name = next(iter(resolve([fired]).values())) if fired else "not reached"
        if problem or options.verbose:
            print(f"{what}: {name}: {'; '.join(failures) or 'no request failed'}", flush=True)
        if problem:
            problems.append((what, name, problem))
            print(f"  PROBLEM: {problem}", flush=True)
    names = sorted(set(resolve(reached).values()))
    print(f"{len(names)} call sites reached:", *names, sep="\n  ")
    print(f"{runs} lives in {time.monotonic() - begin:.0f} s, {len(names)} call sites, {len(problems)} problems")
    for what, name, problem in problems:
        print(f"  {what}: {name}: {problem}")
    wanted = SITES_WANTED[options.pauseless]
    if not options.only and len(names) < wanted:
        sys.exit(f"only {len(names)} call sites were reached, {wanted} are wanted")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
