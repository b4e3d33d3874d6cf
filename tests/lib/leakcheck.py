#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one test and fails it if it leaves anything behind: leakcheck.py [--processes-only] -- COMMAND ...

Left behind means: a process below this one (it is a subreaper, so orphans come to it), a mount of this mount namespace, a cgroup, a
named unix socket, a network namespace, or a file of husk's or containerd's run directories, that was not there before. The processes, and
of the rest what carries husk's name, are then removed, so that one bad test does not fail the next. Exit 77 (skip) passes through. (File descriptors are counted inside each C test: tests/lib/fdcheck.c.) Unit tests make processes at most, and run side by side
with whatever else the machine does: --processes-only.
"""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))  # as for the tests' own waits
WATCHED_DIRS = ("/run/husk", "/run/containerd/s", "/run/netns", "/var/run/netns")


def mounts():
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            fields = line.split()
            found[fields[0]] = fields[4]
    return found


def cgroups():
    found = set()
    roots = ["/sys/fs/cgroup"] if os.path.exists("/sys/fs/cgroup/cgroup.procs") else \
        [os.path.join("/sys/fs/cgroup", d) for d in os.listdir("/sys/fs/cgroup")] if os.path.isdir("/sys/fs/cgroup") else []
    for root in roots:
        for path, _, _ in os.walk(root):
            found.add(path)
    return found


def strangers(paths):
    """Those of these cgroups with a live process in or below them that is not below us: others on this machine made them meanwhile."""
    found, ours = set(), children().keys() if paths else ()
    for path in paths:
        try:
            with open(os.path.join(path, "cgroup.procs"), encoding="ascii") as f:
                pids = {int(line) for line in f}
        except OSError:
            continue
        if pids - ours:
            found.update(p for p in paths if path == p or path.startswith(p + "/"))
    return found


def sockets():
    found = set()
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        next(f)
        for line in f:
            fields = line.split()
            if len(fields) > 7:
                found.add(fields[7])
    return found


def files():
    found = set()
    for top in WATCHED_DIRS:
        for path, _, names in os.walk(top):
            # The directories themselves, the lock files in the socket folder and the filter cache are the node's, not a test's.
            found.update(os.path.join(path, n) for n in names
                         if not n.endswith(".lock") and not path.startswith("/run/husk/seccomp"))
    return found


def children():
    """Live processes whose chain of parents reaches us; zombies of ours are reaped on the way."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return {}
        if pid == 0:
            break
    parent, comm = {}, {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat", encoding="utf-8", errors="replace") as f:
                    text = f.read()
            except OSError:
                continue
            comm[int(d)] = text[text.index("(") + 1:text.rindex(")")]
            parent[int(d)] = int(text[text.rindex(")") + 2:].split()[1])
    ours = {}
    for pid in parent:
        p = pid
        while p > 1 and p in parent:
            p = parent[p]
            if p == os.getpid():
                ours[pid] = comm[pid]
                break
    return ours


def settled(probe, before, seconds=3.0):
    """What is new compared with before, once it stops shrinking or the time is over: the kernel frees some things a little late."""
    end = time.monotonic() + seconds * SLOW
    while True:
        new = {k: v for k, v in probe().items() if k not in before} if isinstance(before, dict) else probe() - before
        if not new or time.monotonic() > end:
            return new
        time.sleep(0.05)


def clean(left_processes, left_mounts, left_cgroups, left_files):
    for pid in left_processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    settled(children, {})
    # Only what is surely ours: on a machine in use, others make mounts and cgroups meanwhile.
    for target in sorted((t for t in left_mounts.values() if "husk" in t), reverse=True):
        subprocess.run(["umount", "-l", target], check=False, stderr=subprocess.DEVNULL)
    for path in sorted((c for c in left_cgroups if "husk" in c), reverse=True):
        try:
            os.rmdir(path)
        except OSError:
            pass
    for path in (f for f in left_files if f.startswith("/run/husk/")):
        try:
            os.unlink(path)
        except OSError:
            pass


def main(argv):
    command = argv[argv.index("--") + 1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("leakcheck: cannot become a subreaper")
    probes = () if "--processes-only" in argv[:argv.index("--")] else (mounts, cgroups, sockets, files)
    before = [probe() for probe in probes]
    test = subprocess.Popen(command)
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda n, _frame: test.send_signal(n))
    while True:  # orphans of the test (shims are some) come to us, and are reaped as the host's init would
        pid, status = os.waitpid(-1, 0)
        if pid == test.pid:
            break
    status = os.waitstatus_to_exitcode(status)

    left = settled(children, {})
    mnt, cg, sock, fil = [settled(p, b) for p, b in zip(probes, before)] or ({}, set(), set(), set())
    cg -= strangers(cg)
    report = [f"process {p} ({c})" for p, c in sorted(left.items())]
    report += [f"mount {t}" for t in sorted(mnt.values())]
    report += [f"cgroup {c}" for c in sorted(cg)] + [f"socket {s}" for s in sorted(sock)] + [f"file {f}" for f in sorted(fil)]
    clean(left, mnt, cg, fil)
    if status not in (0, 77):
        print(f"\nto run it alone: {' '.join(command)}", file=sys.stderr)
    if report:
        print("left behind by the test:", *report, sep="\n  ", file=sys.stderr)
        return status if status not in (0, 77) else 99
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv))
