#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark behind contrib/bench.sh: husk beside its peers and the kernel's floor, on the same bundles in the same run.

  bench.py --build BUILD-DIR --out DIR [--size full|quick|vm] [--quick] [--readme] [--profile] [--runc-new DIR] [--rust BINARY]
"""
import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bundles  # noqa: E402  pylint: disable=wrong-import-position
import measure  # noqa: E402  pylint: disable=wrong-import-position
import report  # noqa: E402  pylint: disable=wrong-import-position
from bundles import daemon  # noqa: E402  pylint: disable=wrong-import-position

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# One column per setting: what runs how often. A full run takes about 10 minutes on two cores.
SIZES = {
    "full": {"rounds": 40, "execs": 5, "floors": 5, "cpu": 400, "cold": 10, "parallel": ([1, 2, 4, 8, 16, 32, 64], 2), "scale": ([1, 10, 100, 500], 100),
             "growth": (10000, 200), "idle": 60, "stdout": (15, 1 << 28), "ctr": 12},
    "quick": {"rounds": 8, "execs": 5, "floors": 5, "cpu": 100, "cold": 2, "parallel": ([1, 8], 1), "scale": ([1, 10, 40], 10),
              "growth": (500, 50), "idle": 5, "stdout": (3, 1 << 27), "ctr": 3},
    "vm": {"rounds": 6, "execs": 4, "floors": 5, "cpu": 40, "cold": 1, "parallel": ([1, 4], 1), "scale": ([1, 10], 10),
           "growth": (200, 50), "idle": 20, "stdout": (1, 1 << 24), "ctr": 2},
}


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0].strip()
    except (OSError, IndexError):
        return ""


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    with open("/proc/meminfo", encoding="ascii") as f:
        kib = int(f.readline().split()[1])
    mode = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.procs") else f"v1, {len(measure.cgroup_roots())} hierarchies"
    virtual = first_line("systemd-detect-virt")
    with open("/proc/loadavg", encoding="ascii") as f:
        load = f.read().split()[0]
    return (f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}{f' ({virtual})' if virtual not in ('', 'none') else ''}, "
            f"{kib >> 20} GiB, Linux {platform.release()}, cgroups {mode}, {first_line('sh', '-c', '. /etc/os-release; echo $PRETTY_NAME')}, "
            f"load {load} at the start")


def find_peers(args):
    peers = [measure.Peer("husk", "husk", f"{args.build}/bin/containerd-shim-husk-v2")]
    go = shutil.which("containerd-shim-runc-v2")
    runc = re.sub(r"^runc version ", "", first_line("runc", "--version"))
    if go and runc:
        version = re.sub(r"~.*", "", first_line("containerd", "--version").split()[2])
        peers.append(measure.Peer("runc", f"Go shim {version}, runc {runc.split('+')[0]}", go))
    if args.runc_new and os.path.exists(f"{args.runc_new}/runc"):
        peers.append(measure.Peer("runc-new", "Go shim 2.3.4, runc 1.5.1", f"{args.runc_new}/containerd-shim-runc-v2", measure.TASK_V3,
                                  f"{args.runc_new}:{os.environ['PATH']}"))
    if args.rust and os.path.exists(args.rust):
        peers.append(measure.Peer("rust", "Rust shim, runc", args.rust, measure.TASK_V3))
    crun = shutil.which("crun")
    if crun and go:
        # The Go shim takes whatever is called runc on its PATH.
        os.makedirs(f"{args.out}/crun", exist_ok=True)
        link = f"{args.out}/crun/runc"
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(crun, link)
        peers.append(measure.Peer("crun", f"Go shim, crun {first_line('crun', '--version').split()[-1]}", go, measure.TASK_V2,
                                  f"{args.out}/crun:{os.environ['PATH']}"))
    return peers


def try_peer(top, programs, peer, document):
    """Each thing once and small: what a peer cannot do here is left out of its column and said; without a whole life it is no peer."""
    for feature, fn in measure.TRIES.items():
        b = measure.Bench(tempfile.mkdtemp(dir=top), programs, [peer], document)
        pids = measure.shims(peer)
        try:
            fn(b, peer)
        except RuntimeError as e:
            say(f"SKIP {peer.title}, {feature}: {e}")
            if peer.name == "husk":
                raise
            peer.cannot.add(feature)
        finally:
            for pid in measure.shims(peer) - pids:
                os.kill(pid, signal.SIGKILL)
            b.close()
    return "life" not in peer.cannot


def through_ctr(b, n):
    """The same through a private containerd of this machine's, with its own client: what a person sees."""
    with daemon.Daemon() as d:
        d.import_images()
        runtimes = {"husk": daemon.HUSK, "runc": daemon.RUNC}
        for i in range(n + 1):
            for who, runtime in runtimes.items():
                name = f"{who}{i}"
                t0 = time.monotonic_ns()
                d.ctr("run", "-d", "--seccomp", "--runtime", runtime, daemon.BUSYBOX, name, "sleep", "1000")
                t1 = time.monotonic_ns()
                d.ctr("tasks", "exec", "--exec-id", "e", name, "true")
                t2 = time.monotonic_ns()
                d.ctr("tasks", "rm", "-f", name)
                t3 = time.monotonic_ns()
                d.ctr("containers", "rm", name)
                if i > 0:
                    b.add("ctr run -d", who, [t1 - t0])
                    b.add("ctr tasks exec true", who, [t2 - t1])
                    b.add("ctr tasks rm -f", who, [t3 - t2])


def profile(b, args):
    """Each step of one create and one exec, by the engine's own clock, medians of 15; then the system calls of one of each."""
    wrapper = f"{args.out}/husk-debug"
    with open(wrapper, "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\nexec {args.build}/bin/containerd-shim-husk-v2 -debug "$@"\n')
    os.chmod(wrapper, 0o755)
    debug, found = measure.Peer("debug", "debug", wrapper), {}
    b.begin(debug)
    for _ in range(15):
        name, times, _ = b.pod(debug)
        for part, value in zip(("start", "connect", "Create", "Start"), times):
            found.setdefault(("pod ready", part), []).append(value / 1000)
        b.drive("exec", name, name, 4, "-")
        b.end(name)
        for fd in b.bundles.logs:
            collect(os.read(fd, 1 << 16).decode(errors="replace"), found)
        b.forget()
    last = None
    for (what, step), values in sorted(found.items(), key=lambda item: ["pod ready", "create", "exec"].index(item[0][0])):
        if what != last:
            print(f"\n{what}, microseconds: median (least)")
            last = what
        print(f"  {step:34} {report.median(values):8.0f} ({min(values):.0f})")
    if shutil.which("strace"):
        name, _, pid = b.pod(b.peers[0])
        for what in ("create and start of a container", "exec of true"):
            trace = subprocess.Popen(["strace", "-f", "-c", "-S", "calls", "-U", "name,calls,errors", "-p", str(pid)], stderr=subprocess.PIPE, text=True)
            time.sleep(0.5)
            if what.startswith("create"):
                b.drive("container", name, "traced", b.bundles.make("traced", "pause"))
            else:
                b.drive("exec", name, name, 1, "-")
            trace.terminate()
            print(f"\nsystem calls of the shim and its children, {what}:\n{trace.communicate()[1]}")
        b.end(name, ["traced"])


def collect(text, found):
    for line in text.splitlines():
        m = re.search(r'msg="(create|exec) timed"', line)
        if not m:
            continue
        for key, value in re.findall(r"(\w+)_us=(\d+)", line):
            found.setdefault((m[1], {"parse": "config.json or process", "cgroup": "cgroup made and limited", "clone": "clone3", "child": "child's steps until ready",
                                     "start": "from Start to execve"}[key]), []).append(int(value))
        for step in re.search(r'steps="(.*?)"', line)[1].split("; "):
            key, value = step.split("=")
            found.setdefault((m[1], "  " + key), []).append(int(value))


def run(b, size):
    say("a pod's life, exec, Stats, kill, Delete, Shutdown")
    measure.life(b, size["rounds"], size["execs"], size["floors"])
    say("CPU of an exec; the first pod of a node")
    measure.exec_cpu(b, size["cpu"])
    measure.cold_filter(b, size["cold"])
    say("stdout")
    measure.stdout(b, *size["stdout"])
    say("growth over execs and containers")
    measure.growth(b, *size["growth"])
    say("an idle pod")
    measure.wakeups(b, size["idle"])
    say("pods at once")
    measure.parallel(b, *size["parallel"])
    say("many pods")
    measure.scale(b, *size["scale"])
    say("through containerd with ctr")
    through_ctr(b, size["ctr"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--size", choices=SIZES, default="full")
    p.add_argument("--quick", dest="size", action="store_const", const="quick")
    p.add_argument("--readme", action="store_true")
    p.add_argument("--profile", action="store_true")
    p.add_argument("--runc-new")
    p.add_argument("--rust")
    args = p.parse_args()
    os.makedirs(args.out, exist_ok=True)
    about = machine()
    say("containerd writes the model bundle")
    document, _ = bundles.default_document()
    top = tempfile.mkdtemp(prefix="husk-bench-", dir="/run")  # where containerd's bundles are: memory
    is_mounted = os.statvfs(top).f_flag & os.ST_NOEXEC  # newer systemd's /run runs nothing, and the root filesystem is in there
    if is_mounted:
        subprocess.run(["mount", "-t", "tmpfs", "husk-bench", top], check=True)
    os.chmod(top, 0o711)
    programs = f"{args.build}/bench"
    try:
        peers = [peer for peer in find_peers(args) if args.profile and peer.name == "husk" or not args.profile and try_peer(top, programs, peer, document)]
        b = measure.Bench(top, programs, peers, document)
        n = bundles.write_filter(b.filter, document["linux"]["seccomp"]), bundles.write_husk_filter(b.husk_filter)
        if args.profile:
            profile(b, args)
            b.close()
            return 0
        start = time.monotonic()
        try:
            run(b, SIZES[args.size])
        finally:
            b.close()
        names = {peer.name: peer.title for peer in peers}
        result = {"date": time.strftime("%Y-%m-%d"), "machine": about, "filter": n, "seconds": int(time.monotonic() - start),
                  "revision": first_line("git", "-C", REPO, "rev-parse", "--short", "HEAD"), "options": {"full": "", "quick": " --quick", "vm": " --vm"}[args.size],
                  "names": {"husk": names.pop("husk"), "floor": "bare kernel calls", **names}, "samples": b.samples, "figures": b.figures,
                  "aims": report.Aims(b.samples, b.figures, names).judge()}
        report.write(result, args.out)
        if args.readme:
            report.update_repository(REPO, result)
        print(report.markdown(result))
        say(f"{result['seconds']} s; {args.out}/bench.md, bench.json, bench.svg")
        return 0
    finally:
        if is_mounted:
            subprocess.run(["umount", top], check=False)
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
