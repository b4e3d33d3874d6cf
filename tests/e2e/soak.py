#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shim over time: 10,000 execs in one container, then 2,000 pods, each from `start` to the end of its shim. What it holds before and after,
counted: anonymous memory, descriptors, and the machine's mounts, cgroups, sockets, state files and processes.

    soak.py [EXECS [PODS]]

Ends non-zero if anything has grown (memory: by more than a tenth and 64 KiB)."""
import concurrent.futures
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import leakcheck  # pylint: disable=wrong-import-position
import shim  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

THREADS, WARM_UP = 4, 200


def processes():
    """Below the one that started us: leakcheck is a subreaper, so a shim comes to it when its parent has ended."""
    parents = {}
    for d in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{d}/stat", encoding="utf-8", errors="replace") as f:
                parents[int(d)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found = 0
    for pid in parents:
        while pid in parents and pid != os.getppid():
            pid = parents[pid]
        found += pid == os.getppid()
    return found


def machine():
    return {"mounts": len(leakcheck.mounts()), "cgroups": len(leakcheck.cgroups()), "sockets": len(leakcheck.sockets()),
            "state files": len(leakcheck.files()), "processes": processes()}


def of_shim(pod):
    time.sleep(1.5)  # memory is given back a second after the last thing that happened
    return {"Anonymous KiB": pod.anonymous_kib(), "descriptors": len(os.listdir(f"/proc/{pod.shim_pid}/fd")),
            "children": len(open(f"/proc/{pod.shim_pid}/task/{pod.shim_pid}/children", encoding="utf-8").read().split())}


def execs(pod, first, n):
    local = threading.local()
    spec = {"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["echo", "x" * 100])).encode()}

    def one(i):
        if not hasattr(local, "client"):
            local.client = pod.connect()
        eid, path = f"e{i}", f"{pod.dir}/e{i}.out"
        reader = shim.Reader(path)
        local.client.task("Exec", id="c", exec_id=eid, spec=spec, stdout=path)
        local.client.task("Start", id="c", exec_id=eid)
        status = local.client.task("Wait", id="c", exec_id=eid)["exit_status"]
        out = reader.bytes(30)
        local.client.task("Delete", id="c", exec_id=eid)
        os.unlink(path)
        return (status, len(out)) == (0, 101)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        good = sum(pool.map(one, range(first, first + n)))
    while len(pod.clients) > 1:
        pod.clients.pop().close()
    return good


def one_pod(_):
    with shim.Pod() as pod:
        pod.run("pod", ["sleep", "1000"])
        pod.run("app", ["sh", "-c", "echo hello; exit 7"])
        good = pod.call("Wait", id="app")["exit_status"] == 7 and pod.output["app"].text(30) == "hello\n"
        pod.call("Delete", id="app")
        pod.finish("pod")
        pod.call("Shutdown", id="pod")
        eventually(lambda: not is_alive(pod.shim_pid), 30, "end of the shim")
        exits = [e["id"] for topic, e in pod.events.log if topic == "/tasks/exit"]
        return good and sorted(exits) == ["app", "pod"]


def compare(before, after):
    bad = []
    for key, was in before.items():
        limit = max(was * 1.1, was + 64) if "KiB" in key else was
        bad += [key] if after[key] > limit else []
        print(f"  {key}: {was} before, {after[key]} after{'   GROWN' if key in bad else ''}")
    return bad


def main(n_execs, n_pods):
    bad = []
    with shim.Pod() as pod:
        pod.run("c", ["sleep", "100000"])
        execs(pod, 0, WARM_UP)
        before, begin = of_shim(pod), time.monotonic()
        good = execs(pod, WARM_UP, n_execs)
        print(f"{n_execs} execs in {time.monotonic() - begin:.0f} s, {good} with their output and status")
        bad += compare(before, of_shim(pod)) + (["execs"] if good < n_execs else [])
        eventually(lambda: sum(t == "/tasks/exit" for t, _ in pod.events.log) >= WARM_UP + n_execs, 30, "the exits' events")
        ids = [e["id"] for t, e in pod.events.log if t == "/tasks/exit"]
        bad += ["exits"] if len(ids) != len(set(ids)) or len(ids) != WARM_UP + n_execs else []
    before, begin = machine(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        good = sum(pool.map(one_pod, range(n_pods)))
    print(f"{n_pods} pods in {time.monotonic() - begin:.0f} s, {good} with their output, status and exits")
    time.sleep(1)
    bad += compare(before, machine()) + (["pods"] if good < n_pods else [])
    if bad:
        sys.exit(f"FAILED: {', '.join(bad)}")


if __name__ == "__main__":
    shim.require()
    main(*(int(a) for a in (sys.argv[1:] + ["10000", "2000"][len(sys.argv) - 1:])))
