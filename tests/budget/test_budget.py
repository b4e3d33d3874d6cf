#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a create, an exec and a Stats cost where no clock is involved: calls, allocations, forks, mounts, fds, bytes of memory.

The numbers in budget.json are upper limits, by the kind of cgroups the host has. Calls are counted by the shim of tests/faults, which knows
each call that the product's own objects make, in all its processes; memory and fds are those of the shim that is installed.

  test_budget.py             fails for what has grown, and says what could be lowered
  test_budget.py --update    measures, and writes the numbers of this kind of host
"""
import collections
import json
import os
import re
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
import shim  # noqa: E402
from shim import Pod  # noqa: E402

COUNTING = os.path.join(os.path.dirname(shim.BIN), "tests/faults/containerd-shim-husk-v2")
BUDGET = f"{HERE}/budget.json"
HEADER, SITE = struct.Struct("IIII"), struct.Struct("QQIIII")
SITES = 4096
SYS_CLONE3 = 435
REPEATS = 6  # the least of them is what the work costs; the rest is what else went on in the loop
SETTLE_S = 2.5 * float(os.environ.get("HUSK_TEST_SLOW", "1"))
with open(f"{os.path.dirname(HERE)}/faults/faults.c", encoding="utf-8") as source:
    CALLS = re.findall(r"^\tX\(([a-z0-9_]+), ", source.read(), re.M)
ALLOCATIONS = {"malloc", "calloc", "realloc", "reallocarray", "strdup", "strndup"}
MOUNTS = {"mount", "fsmount", "open_tree", "move_mount"}
# How often the loop looks at a socket, and whether two messages come at once, is a matter of time.
BY_CHANCE = {"recv", "send", "recvmsg", "epoll_ctl"}


def counts(path):
    """{what: how often so far} over every process of the pod."""
    with open(path, "rb") as f:
        data = f.read()
    _, n, _, _ = HEADER.unpack_from(data)
    calls = struct.unpack_from(f"{len(CALLS)}I", data, HEADER.size + SITES * SITE.size)
    found = collections.Counter()
    for name, count in zip(CALLS, calls):
        if name in ALLOCATIONS:
            found["allocations"] += count
        elif name not in BY_CHANCE:
            found["calls"] += count
        if name in MOUNTS:
            found["mounts"] += count
        if name == "fork":
            found["forks"] += count
    for i in range(n):
        _, _, call, number, count, _ = SITE.unpack_from(data, HEADER.size + i * SITE.size)
        if CALLS[call] == "syscall" and number == SYS_CLONE3:
            found["forks"] += count
    return found


def least(path, fn):
    """What one fn() costs."""
    best = None
    for i in range(REPEATS):
        before = counts(path)
        fn(i)
        time.sleep(0.05)
        after = counts(path)
        cost = {k: after[k] - before[k] for k in ("calls", "allocations", "forks", "mounts")}
        best = cost if best is None else {k: min(best[k], cost[k]) for k in cost}
    return best


def with_profile(document):
    """A filter, as nearly every container has one; compiled by the first and cached for the rest."""
    document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}]}


def count_calls():
    installed, shim.SHIM = shim.SHIM, COUNTING
    table = f"/run/husk-budget-{os.getpid()}"
    try:
        with Pod(env={"HUSK_FAULT_TABLE": table}) as pod:
            pod.run(pod.name, ["sleep", "1000"], change=with_profile)

            def create(i):
                pod.create(f"c{i}", ["sleep", "1000"], change=with_profile)
                pod.call("Start", id=f"c{i}")

            def run_exec(i):
                pod.exec(pod.name, f"e{i}", ["true"])
                pod.call("Start", id=pod.name, exec_id=f"e{i}")
                pod.call("Wait", id=pod.name, exec_id=f"e{i}")
                pod.call("Delete", id=pod.name, exec_id=f"e{i}")

            result = {"create": least(table, create), "exec": least(table, run_exec), "stats": least(table, lambda i: pod.call("Stats", id=pod.name))}
            for i in range(REPEATS):
                pod.finish(f"c{i}")
            pod.finish(pod.name)
            return result
    finally:
        shim.SHIM = installed
        if os.path.exists(table):
            os.unlink(table)


def resident(pid):
    time.sleep(SETTLE_S)
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith("kB\n")}
    return kib["Anonymous"] + kib["Swap"], len(os.listdir(f"/proc/{pid}/fd"))


def count_memory():
    """KiB and fds of a pod with its sandbox alone, what each further container adds, and what 300 execs leave."""
    with Pod() as pod:
        pod.run(pod.name, ["sleep", "1000"], change=with_profile)
        first, first_fds = resident(pod.shim_pid)
        for i in range(8):
            pod.run(f"c{i}", ["sleep", "1000"], change=with_profile)
        full, full_fds = resident(pod.shim_pid)
        for i in range(300):
            pod.exec(pod.name, f"e{i}", ["true"])
            for method in ("Start", "Wait", "Delete"):
                pod.call(method, id=pod.name, exec_id=f"e{i}")
        last, last_fds = resident(pod.shim_pid)
        for i in range(8):
            pod.finish(f"c{i}")
        pod.finish(pod.name)
    return {"pod": {"anonymous KiB": first, "fds": first_fds},
            "8 containers": {"anonymous KiB": full - first, "fds": full_fds - first_fds},
            "300 execs": {"anonymous KiB": last - full, "fds": last_fds - full_fds}}


def kind_of_host():
    top = "/sys/fs/cgroup"
    if os.path.exists(f"{top}/cgroup.procs"):
        return "v2"
    return f"v1, {sum(os.path.isdir(f'{top}/{d}') and not os.path.islink(f'{top}/{d}') for d in os.listdir(top))} hierarchies"


def main(update):
    shim.require()
    if not os.path.exists(COUNTING):
        print(f"SKIP: no {COUNTING}")
        return shim.SKIP
    with open(BUDGET, encoding="utf-8") as f:
        budget = json.load(f)
    kind = kind_of_host()
    measured = count_calls()
    if os.environ.get("HUSK_STATIC") == "ON" or update:  # what the dynamic linker takes is no budget of ours
        measured.update(count_memory())
    if update:
        # Pages come and go with the order of frees, and some reads with what the loop finds in one turn: so few are no growth.
        for what in measured.values():
            for key, slack in (("anonymous KiB", 8), ("calls", 4), ("allocations", 2)):
                if key in what:
                    what[key] += slack
        budget[kind] = measured
        with open(BUDGET, "w", encoding="utf-8") as f:
            json.dump(budget, f, indent=1, sort_keys=True)
            f.write("\n")
    if kind not in budget:
        print(f"SKIP: budget.json has no numbers for {kind}: {sys.argv[0]} --update makes them")
        return shim.SKIP
    failures = 0
    for what, costs in measured.items():
        for key, value in costs.items():
            limit = budget[kind][what][key]
            word = "GROWN" if value > limit else "could be lowered" if value < 0.95 * limit - 8 else ""
            failures += value > limit
            print(f"{what:14} {key:14} {value:6} of {limit:6} {word}")
    print(f"{failures} of {kind} have grown")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))
