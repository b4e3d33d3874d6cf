# SPDX-License-Identifier: Apache-2.0
"""What is measured, row by row: every function takes the Bench and fills its results; peers take turns within each round, so that a busy
moment of the machine meets all of them."""
import contextlib
import glob
import os
import re
import signal
import statistics
import subprocess
import time

from bundles import Bundles

TASK_V2, TASK_V3 = "containerd.task.v2.Task", "containerd.task.v3.Task"
TICKS = os.sysconf("SC_CLK_TCK")
GIB = 1 << 30
GROWTH_RUNS, FLOOR_PODS = 3, 30
SETTLE_S = 1.5  # the shim gives memory back a second after the last thing that happened


class Peer:
    def __init__(self, name, title, binary, service=TASK_V2, path=None):
        self.name, self.title, self.binary, self.service, self.path = name, title, binary, service, path
        self.cannot = set()  # of FEATURES
        self.failures = 0


FEATURES = ("container", "fifos", "stdout", "terminal", "binary", "file")


class Driver:
    """bench-driver: one command a line, times in nanoseconds."""

    def __init__(self, program, events):
        # What a containerd that systemd runs hands to its shims; the driver adds TTRPC_ADDRESS.
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "MAX_SHIM_VERSION": "2", "NAMESPACE": "bench"}
        self.process = subprocess.Popen([program, events], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = line.split()
        if not line.endswith("\n") or answer[0] != "ok":
            raise RuntimeError(f"bench-driver ended at: {' '.join(map(str, words))[:100]}")
        return [int(v) for v in answer[1:]]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Bench:
    """A driver of its own for each peer: one that hangs takes nobody else along."""

    def __init__(self, top, programs, peers, document):
        self.top, self.programs, self.peers = top, programs, peers
        self.bundles = Bundles(top, f"{programs}/bench-payload", document)
        self.drivers, self.pods, self.n_drivers = {}, {}, 0
        for peer in peers:
            self.begin(peer)
        self.samples = {}  # row -> peer -> [ns]
        self.figures = {}  # row -> peer -> number
        self.n = 0

    def begin(self, peer):
        self.n_drivers += 1
        drive = Driver(f"{self.programs}/bench-driver", f"{self.top}/events{self.n_drivers}")
        drive("peer", peer.name, peer.binary, peer.service, f"{self.top}/containerd.sock", peer.path or "-")
        drive("process", self.bundles.process("true"))
        self.drivers[peer.name] = drive

    def drive(self, command, *words):
        """Of a peer, of a pod that it has made, or (`plain`) of nobody."""
        if command == "pod":
            self.pods[words[1]] = self.drivers[words[0]]
        elif command == "parallel":
            for i in range(words[1]):
                self.pods[f"{os.path.basename(words[2])}-{i}"] = self.drivers[words[0]]
        drive = self.drivers.get(words[0]) or self.pods.get(words[0]) or self.drivers[self.peers[0].name]
        return drive(command, *words)

    @contextlib.contextmanager
    def trying(self, peer, feature=None):
        """A peer other than husk may fail: it goes on without that feature, and the third time the run without the peer."""
        before = shims(peer)
        try:
            yield
        except RuntimeError as e:
            if peer.name == "husk":
                raise
            if feature:
                peer.cannot.add(feature)
                raise
            print(f"{peer.title} failed: {e}", flush=True)
            for pid in shims(peer) - before:
                os.kill(pid, signal.SIGKILL)
            self.begin(peer)
            peer.failures += 1
            if peer.failures == 3:
                self.peers.remove(peer)

    def add(self, row, who, values):
        self.samples.setdefault(row, {}).setdefault(who, []).extend(values)

    def figure(self, row, who, value):
        self.figures.setdefault(row, {})[who] = value

    def name(self, prefix="p"):
        self.n += 1
        return f"{os.path.basename(self.top)[-8:]}-{prefix}{self.n}"

    def numbers(self, program, *args):
        """What a program of the floor prints, line by line."""
        out = subprocess.run([f"{self.programs}/{program}", *map(str, args)], stdout=subprocess.PIPE, text=True, check=True).stdout
        return [[int(v) for v in line.split()] for line in out.splitlines()]

    @property
    def filter(self):
        return f"{self.top}/filter"

    @property
    def husk_filter(self):
        return f"{self.top}/husk-filter"

    # ---- a pod's life ----
    def pod(self, peer, change=None, procs="-", name=None):
        """(name, the four times, shim's pid)"""
        name = name or self.name()
        times = self.drive("pod", peer.name, name, self.bundles.make(name, "pause", change=change), procs)
        return name, times[:4], times[4]

    def end(self, name, containers=()):
        """Kills and deletes the containers, then the pod's own, then the shim: (kill to Wait, Delete, Shutdown until gone)."""
        for c in containers:
            self.drive("kill", name, c)
            self.drive("delete", name, c)
        return self.drive("kill", name, name)[0], self.drive("delete", name, name)[0], self.drive("end", name)[0]

    def forget(self):
        """What the pods so far had on disk; cgroups that a runtime left stay visible to the end."""
        self.bundles.forget()

    def close(self):
        for drive in self.drivers.values():
            drive.close()
        self.bundles.forget()
        remove_cgroups(self.bundles.cgroup)


def shims(peer):
    """Pids of the peer's shims that the benchmark has started, such as one that hangs leaves behind."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words[0] == peer.binary.encode() and b"bench" in words:
            found.add(int(pid))
    return found


def cgroup_roots():
    top = "/sys/fs/cgroup"
    return [top] if os.path.exists(f"{top}/cgroup.procs") else [f"{top}/{d}" for d in sorted(os.listdir(top)) if os.path.isdir(f"{top}/{d}")
                                                                 and not os.path.islink(f"{top}/{d}")]


def remove_cgroups(path):
    """With whatever a runtime that failed has left in them."""
    for root in cgroup_roots():
        for procs in glob.glob(f"{root}{path}/**/cgroup.procs", recursive=True):
            with open(procs, encoding="ascii") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
                    time.sleep(0.1)
    for root in cgroup_roots():
        for found, _, _ in sorted(os.walk(root + path), reverse=True):
            try:
                os.rmdir(found)
            except OSError as e:
                print(f"left behind: {found}: {e.strerror}")


def cpu_ticks(pid):
    """utime, stime and the same of all children that were waited for: every process an exec makes comes to be a child of the shim's."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return sum(int(v) for v in f.read().rsplit(")", 1)[1].split()[11:15])


def status(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
        return dict(line.split(":", 1) for line in f.read().splitlines())


def memory(pid):
    """KiB of smaps_rollup's fields, page tables, threads, fds."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith("kB\n")}
    s = status(pid)
    return {"anonymous": kib["Anonymous"] + kib["Swap"], "rss": kib["Rss"], "pss": kib["Pss"], "private dirty": kib["Private_Dirty"],
            "page tables": int(s["VmPTE"].split()[0]), "threads": int(s["Threads"]), "fds": len(os.listdir(f"/proc/{pid}/fd"))}


def inotify_count(pid):
    return sum(os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:inotify" for fd in os.listdir(f"/proc/{pid}/fd"))


# ---- the rows ----

def life(b, rounds, execs, floors):
    """Pod ready, containers 2 and 10, exec, Stats, kill, Delete, Shutdown; beside them the kernel's floor."""
    for i in range(rounds):
        add_floor(b, "exec of true", "exec", floors)
        for make, enter, remove in b.numbers("bench-cgroups", 2, b.bundles.cgroup.lstrip("/") + "-floor"):
            b.add("cgroup made and entered, no runtime", "floor", [make + enter])
            b.add("cgroup removed, no runtime", "floor", [remove])
        for peer in list(b.peers):
            add_floor(b, "pod ready", "pod", 1)  # as seldom as theirs, by a process as new: caches that are warm by then would be the floor's alone
            with b.trying(peer):
                one_life(b, peer, execs, 2 if i % 4 else 10)
        b.forget()


def floor_ns(b, what, n, filter_):
    return [v[0] for v in b.numbers("bench-floor", what, n, b.bundles.rootfs, filter_)]


def add_floor(b, row, what, n):
    for title, filter_ in ((row, b.filter), (f"{row}, husk's filter", b.husk_filter)):
        b.add(title, "floor", floor_ns(b, what, n, filter_))


def one_life(b, peer, execs, last):
    name, times, _ = b.pod(peer)
    b.add("pod ready", peer.name, [sum(times)])
    for part, value in zip(("start", "connect", "Create", "Start"), times):
        b.add(f"of it {part}", peer.name, [value])
    more = []
    for k in range(2, 2 if "container" in peer.cannot else last + 1):
        more.append(b.name("c"))
        times = b.drive("container", name, more[-1], b.bundles.make(more[-1], "pause"))
        if k in (2, 10):
            b.add(f"container {k} of a pod", peer.name, [sum(times)])
    b.add("exec of true", peer.name, b.drive("exec", name, name, execs, "-"))
    if "fifos" not in peer.cannot:
        with b.trying(peer, "fifos"):
            b.add("exec of true with two FIFOs", peer.name, b.drive("exec", name, name, execs, fifo_dir(b, peer)))
    b.add("Stats", peer.name, b.drive("stats", name, name, execs))
    for row, value in zip(("kill to Wait", "Delete", "Shutdown until gone"), b.end(name, more)):
        b.add(row, peer.name, [value])


def fifo_dir(b, peer):
    path = f"{b.top}/fifos-{peer.name}-{peer.failures}"
    os.makedirs(path, exist_ok=True)
    return path


def exec_cpu(b, n):
    """CPU of everything that an exec of true makes run, the driver's own left out."""
    for peer in list(b.peers):
        with b.trying(peer):
            name, _, pid = b.pod(peer)
            b.drive("exec", name, name, 5, "-")
            before = cpu_ticks(pid)
            count = n if peer.name == "husk" else max(10, n // 10)
            b.drive("exec", name, name, count, "-")
            b.figure("CPU of an exec of true, ms", peer.name, (cpu_ticks(pid) - before) * 1000 / TICKS / count)
            b.end(name)
    b.forget()


def cold_filter(b, rounds):
    """The first pod of a node: the profile is not compiled yet."""
    husk = b.peers[0]
    for _ in range(rounds):
        for path in glob.glob("/run/husk/seccomp/[0-9a-f]*"):
            os.unlink(path)
        name, times, _ = b.pod(husk)
        b.add("pod ready, filter cache cold", husk.name, [sum(times)])
        b.end(name)
    b.forget()


def parallel(b, counts, repeats):
    for n in counts:
        for _ in range(repeats):
            for peer in list(b.peers):
                with b.trying(peer):
                    base = b.name("at-once")
                    for i in range(n):
                        b.bundles.make(f"{base}-{i}", "pause")
                    times = b.drive("parallel", peer.name, n, f"{b.top}/{base}")
                    b.add(f"{n} pods at once, the last is ready", peer.name, [times[0]])
                    for i in range(n):
                        b.end(f"{base}-{i}")
                    b.forget()


def kernel_memory(cgroup):
    """Bytes that the kernel keeps for the shims (not the containers): v1's counter or v2's."""
    for path, key in (("/sys/fs/cgroup/memory", None), ("/sys/fs/cgroup", "kernel")):
        try:
            if key is None:
                with open(f"{path}{cgroup}/memory.kmem.usage_in_bytes", encoding="ascii") as f:
                    return int(f.read())
            with open(f"{path}{cgroup}/memory.stat", encoding="ascii") as f:
                return dict((k, int(v)) for k, v in (line.split() for line in f))[key]
        except (OSError, KeyError):
            continue
    return None


def shims_cgroup(b, peer):
    """A memory cgroup for the shims alone; its cgroup.procs file."""
    path = f"{b.bundles.cgroup}-shims-{peer.name}"
    root = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
    os.makedirs(root + path, exist_ok=True)
    return path, f"{root}{path}/cgroup.procs"


def memory_at(b, peer, n, shims):
    """One line of the memory table: medians over the pods alive, sums of nothing."""
    pids = [pid for _, pid in shims]
    time.sleep(SETTLE_S)
    step = max(1, len(pids) // 25)
    each = [memory(pid) for pid in pids[::step]]
    for key in each[0]:
        b.figure(f"memory, {n} pods: {key}", peer.name, statistics.median(m[key] for m in each))


def many(b, peer, counts, change=None, beside=lambda: None):
    """Pods up to the last of `counts`, memory at each; [seconds of each pod], taken down again after beside()."""
    path, procs = shims_cgroup(b, peer)
    empty = kernel_memory(path)
    pods, times, full = [], [], None
    for n in range(1, counts[-1] + 1):
        name, t, pid = b.pod(peer, change=change, procs=procs)
        pods.append((name, pid))
        times.append(sum(t))
        if n in counts:
            memory_at(b, peer, n, pods)
            full = kernel_memory(path)
            if full is not None:
                b.figure(f"memory, {n} pods: kernel, per pod", peer.name, (full - (empty or 0)) / 1024 / n)
    beside()
    for name, _ in pods:
        b.end(name)
    b.forget()
    remove_cgroups(path)
    return times


def edge_ratio(times):
    n = min(50, len(times) // 2)
    return statistics.median(times[-n:]) / statistics.median(times[:n])


def growth_of_given(b, counts):
    """(husk's last pods against its first, the floor's pod beside all of them against before them): the kernel's own part in it."""
    medians = []

    def some_floor():
        medians.append(statistics.median(ns for _ in range(FLOOR_PODS) for ns in floor_ns(b, "pod", 1, b.filter)))
    some_floor()
    times = many(b, b.peers[0], counts, b.bundles.join_net("/run/netns/husk-bench"), some_floor)
    return edge_ratio(times), medians[1] / medians[0]


def scale(b, counts, peer_counts):
    """Memory at 1, 10, 100, 500 pods, and what the 500th costs against the first: with a given network namespace and with new ones."""
    last = counts[-1]
    row = f"the last of {last} pods against the first"
    subprocess.run(["ip", "netns", "add", "husk-bench"], check=True)
    try:
        # Fifty pods take a third of a second: whether the machine was quick just then is as much as what is asked for.
        runs = [growth_of_given(b, counts) for _ in range(GROWTH_RUNS)]
    finally:
        subprocess.run(["ip", "netns", "del", "husk-bench"], check=True)
    for who, ratios in zip(("husk", "floor"), zip(*runs)):
        b.figure(f"{row}, given network namespace", who, statistics.median(ratios))
    settle_net()
    keep = subprocess.Popen([f"{b.programs}/bench-floor", "keep", str(last), b.bundles.rootfs, b.filter],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    floor = [int(keep.stdout.readline()) for _ in range(last)]
    keep.stdin.close()
    keep.wait()
    b.figure(f"{row}, new network namespaces", "floor", edge_ratio(floor))
    settle_net()
    b.figure(f"{row}, new network namespaces", "husk", edge_ratio(many(b, b.peers[0], [last])))
    settle_net()
    for peer in list(b.peers[1:]):
        with b.trying(peer):
            times = many(b, peer, [n for n in counts if n <= peer_counts])
            b.figure(f"the last of {len(times)} pods against the first, new network namespaces", peer.name, edge_ratio(times))
            settle_net()


def settle_net():
    """The kernel buries network namespaces slowly and holds up who makes new ones meanwhile."""
    def alive():
        with open("/proc/slabinfo", encoding="ascii") as f:
            return next((int(line.split()[1]) for line in f if line.startswith("net_namespace ")), 0)
    last, same = alive(), 0
    for _ in range(120):
        time.sleep(0.5)
        now = alive()
        same = same + 1 if now >= last else 0
        last = now
        if same == 4:
            return


def growth(b, execs, peer_execs):
    """Anonymous memory and fds of one pod before and after that many execs, and with a second container."""
    for peer in list(b.peers):
        with b.trying(peer):
            name, _, pid = b.pod(peer)
            b.drive("exec", name, name, 60, "-")
            time.sleep(SETTLE_S)
            before = memory(pid)
            n = execs if peer.name == "husk" else peer_execs
            for _ in range(n // 50):
                b.drive("exec", name, name, 50, "-")
            time.sleep(SETTLE_S)
            after = memory(pid)
            b.figure(f"anonymous KiB more after {n} execs", peer.name, after["anonymous"] - before["anonymous"])
            b.figure(f"fds more after {n} execs", peer.name, after["fds"] - before["fds"])
            more = []
            for _ in range(0 if "container" in peer.cannot else 10):
                c = b.name("c")
                more.append(c)
                b.drive("container", name, c, b.bundles.make(c, "pause"))
            time.sleep(SETTLE_S)
            last = memory(pid)
            b.figure("anonymous KiB of each further container", peer.name, (last["anonymous"] - after["anonymous"]) / 10)
            b.figure("fds of each further container", peer.name, (last["fds"] - after["fds"]) / 10)
            b.figure("inotify instances", peer.name, inotify_count(pid))
            b.end(name, more)
    b.forget()


def switches(pid):
    """How often any of its threads has been given the processor."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            total += sum(int(v) for v in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
    return total


def wakeups(b, seconds):
    """Of every peer's shim at once, while nobody asks anything."""
    pods = []
    for peer in list(b.peers):
        with b.trying(peer):
            name, _, pid = b.pod(peer)
            pods.append((peer, name, pid))
    time.sleep(SETTLE_S + 1)
    before = [switches(pid) for _, _, pid in pods]
    time.sleep(seconds)
    for (peer, _, pid), n in zip(pods, before):
        b.figure(f"wake-ups of an idle pod in {seconds} s", peer.name, switches(pid) - n)
    for peer, name, _ in pods:
        with b.trying(peer):
            b.end(name)
    b.forget()


def own_cpu(pid):
    """Seconds of the process itself, without its children."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return sum(int(v) for v in f.read().rsplit(")", 1)[1].split()[11:13]) / TICKS


def stream(b, peer, row, size, out, fifo="-", terminal=False):
    """One container that writes `size` bytes to `out`: throughput, and the shim's own CPU."""
    name, _, pid = b.pod(peer)
    c = b.name("s")

    def change(document):
        document["process"]["terminal"] = terminal
    bundle = b.bundles.make(c, "write", str(size), change=change)
    if fifo != "-":
        os.mkfifo(fifo, 0o600)
    before = own_cpu(pid)
    ns, n_bytes = b.drive("stream", name, c, bundle, out, fifo, int(terminal))
    used = own_cpu(pid) - before
    if fifo != "-":
        os.unlink(fifo)
        if n_bytes != size:
            raise RuntimeError(f"{row} by {peer.name}: {n_bytes} of {size} bytes came through")
    b.add(f"{row}, MiB/s", peer.name, [size / (1 << 20) / (ns / 1e9)])
    b.add(f"{row}, shim's CPU a GiB, s", peer.name, [used * GIB / size])
    b.end(name)


def to_fifo(b, peer, size):
    fifo = f"{b.top}/stdout.fifo"
    stream(b, peer, "stdout to a FIFO", size, fifo, fifo)


def to_terminal(b, peer, size):
    fifo = f"{b.top}/stdout.fifo"
    stream(b, peer, "stdout by a terminal", size // 4, fifo, fifo, terminal=True)


def to_logger(b, peer, size):
    stream(b, peer, "stdout to binary://", size, f"binary://{b.programs}/bench-payload?sink=1")


def to_file(b, peer, size):
    log = f"{b.top}/stdout.log"
    stream(b, peer, "stdout to file://", size // 2, f"file://{log}")
    os.unlink(log)


@contextlib.contextmanager
def floor_cgroup(b):
    """The name of a cgroup like a container's, in all hierarchies: what a byte costs depends on it, since its kernel memory is counted."""
    name = b.bundles.cgroup.lstrip("/") + "-floor"
    paths = [f"{root}/{name}" for root in cgroup_roots()]
    for path in paths:
        os.mkdir(path)
    try:
        yield name
    finally:
        for path in paths:
            os.rmdir(path)


def without_shim(b, size, cgroup):
    fifo = f"{b.top}/stdout.fifo"
    os.mkfifo(fifo, 0o600)
    ns, _ = b.drive("plain", f"{b.programs}/bench-payload", size, fifo, cgroup)
    os.unlink(fifo)
    return ns


def stdout(b, rounds, size):
    """One writer's bytes to where its client wants them: a FIFO, a terminal, a logger, a file; and to a FIFO and a logger without any shim."""
    for _ in range(rounds):
        with floor_cgroup(b) as cgroup:
            for row, where in (("stdout to a FIFO, MiB/s", cgroup), ("stdout to a FIFO by nobody's container, MiB/s", "-")):
                b.add(row, "floor", [size / (1 << 20) / (without_shim(b, size, where) / 1e9)])
            (ns,) = b.drive("pipe", f"{b.programs}/bench-payload", size, cgroup)
            b.add("stdout to binary://, MiB/s", "floor", [size / (1 << 20) / (ns / 1e9)])
        for peer in list(b.peers):
            for feature, fn in (("stdout", to_fifo), ("terminal", to_terminal), ("binary", to_logger), ("file", to_file)):
                if feature not in peer.cannot and peer in b.peers:
                    with b.trying(peer), b.trying(peer, feature):
                        fn(b, peer, size)
        b.forget()


def short_life(b, peer):
    name, _, _ = b.pod(peer)
    b.drive("exec", name, name, 1, "-")
    b.drive("stats", name, name, 1)
    b.end(name)


def with_containers(b, peer):
    name, _, _ = b.pod(peer)
    more = [b.name("c") for _ in range(9)]
    for c in more:
        b.drive("container", name, c, b.bundles.make(c, "pause"))
    b.end(name, more)


def with_fifos(b, peer):
    name, _, _ = b.pod(peer)
    b.drive("exec", name, name, 5, fifo_dir(b, peer))
    b.end(name)


TRIES = {"life": short_life, "container": with_containers, "fifos": with_fifos,
         "stdout": lambda b, peer: to_fifo(b, peer, 1 << 20), "terminal": lambda b, peer: to_terminal(b, peer, 1 << 20),
         "binary": lambda b, peer: to_logger(b, peer, 1 << 20), "file": lambda b, peer: to_file(b, peer, 1 << 20)}
