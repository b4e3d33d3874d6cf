#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: run.py CACHE [HANDLER...]: critest against one private containerd, once with each runtime handler, side by side. CACHE has containerd in go/usr/bin,
runc in runc/ and critest.test in critest/ (tests/conformance.sh puts them there). Ends non-zero if runc passes a test that a husk handler fails, or if no test ran.
HUSK_TEST_FOCUS=REGEX: only some tests. HUSK_TEST_CGROUP=systemd: in cgroups that systemd makes."""
import contextlib
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.abspath(sys.argv[1])
HANDLERS = sys.argv[2:] or ["runc", "husk", "husk-pauseless"]
os.environ.update(PATH=f"{CACHE}/go/usr/bin:{CACHE}/runc:{os.environ['PATH']}", CONTAINERD=f"{CACHE}/go/usr/bin/containerd")
sys.path.insert(0, f"{HERE}/../lib")
import daemon  # pylint: disable=wrong-import-position
from registry import Registry  # pylint: disable=wrong-import-position

# What is about the pulling of images, which no runtime has a part in. What pulls one to use it has a registry of stand-ins (registry.py).
SKIP = "Image Manager|ImageID|Image Consistency|image_|public image|pull"
SYSTEMD = os.environ.get("HUSK_TEST_CGROUP") == "systemd"
# critest asks containerd for the driver, which looks for this option of any handler and then names a slice: that is what makes husk ask systemd too.
RUNC_OPTIONS = """
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
"""
CNI = {"cniVersion": "0.4.0", "name": "husk-critest", "plugins": [
    {"type": "bridge", "bridge": "husk-cri0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.214.0.0/24"}]], "dataDir": None}},
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]}


def critest(d, handler, log):
    """{test: passed?} of those that ran."""
    report = f"{d.dir}/{handler}.json"
    command = [f"{CACHE}/critest/critest.test", f"-runtime-endpoint=unix://{d.address}", f"-image-endpoint=unix://{d.address}",
               f"-runtime-handler={handler}", "-test.timeout=0", f"-ginkgo.skip={SKIP}", "-ginkgo.no-color", f"-ginkgo.json-report={report}",
               *(f"-ginkgo.focus={focus}" for focus in [os.environ.get("HUSK_TEST_FOCUS")] if focus)]
    with open(log, "wb") as f:
        subprocess.run(command, stdout=f, stderr=f, cwd=d.dir, check=False, timeout=3000)
    with open(report, encoding="utf-8") as f:
        specs = json.load(f)[0]["SpecReports"]
    return {" ".join([*s["ContainerHierarchyTexts"], s["LeafNodeText"]]): s["State"] == "passed"
            for s in specs if s["LeafNodeType"] == "It" and s["State"] not in ("skipped", "pending")}


def main():
    if os.environ.get("HUSK_TEST_NETNS") != "1":
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && sysctl -qw net.ipv4.ip_forward=1 && exec "$@"', "sh", sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env=dict(os.environ, HUSK_TEST_NETNS="1"), check=False).returncode)
    d = daemon.Daemon(cri=True)
    images = f"{CACHE}/critest/images.tar"  # made before, for a machine without a compiler
    if not os.path.exists(images):
        images = f"{d.dir}/all.tar"
        subprocess.run([sys.executable, f"{HERE}/images.py", images, f"{daemon.BIN}/husk-init"], check=True)
    registry = Registry(images, f"{d.dir}/hosts.d")
    with open(f"{d.dir}/config.toml", "a", encoding="utf-8") as f:
        f.write(f'[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "{d.dir}/hosts.d"\n')
        f.write(RUNC_OPTIONS if SYSTEMD else "")
    with d:
        CNI["plugins"][0]["ipam"]["dataDir"] = f"{d.dir}/ipam"
        with open(f"{d.dir}/cni/10-critest.conflist", "w", encoding="utf-8") as f:
            json.dump(CNI, f)
        d.import_images(ns="k8s.io")
        d.ctr("image", "import", "--all-platforms", images, ns="k8s.io")
        results = {h: critest(d, h, f"{CACHE}/critest/{h}.log") for h in HANDLERS}
    registry.close()
    with contextlib.suppress(OSError):  # of containers without a parent's name; somebody else's may be in it
        daemon.remove_cgroups("k8s.io")
    if SYSTEMD:
        subprocess.run(["systemctl", "stop", "test.slice"], check=False, capture_output=True)
    worse = {}
    for handler, r in results.items():
        print(f"{handler}: {sum(r.values())} of {len(r)} passed")
        worse[handler] = sorted(t for t, ok in r.items() if not ok and results[HANDLERS[0]].get(t))
    for name in sorted({t for r in results.values() for t, ok in r.items() if not ok}):
        print(f"  {'  '.join(('passed' if r[name] else 'failed') if name in r else 'no run' for r in results.values())}  {re.sub(r'^.k8s.io. ', '', name)}")
    bad = [f"{h}: {t}" for h, tests in worse.items() for t in tests]
    print("\n".join([f"{HANDLERS[0]} passes and this fails: {line}" for line in bad] or [f"every test that {HANDLERS[0]} passes is passed"]))
    return bool(bad) or not all(results.values())


if __name__ == "__main__":
    sys.exit(main())
