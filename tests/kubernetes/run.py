#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real kubelet, first alone with static pods, then with kube-apiserver and etcd, on a containerd whose pods run by husk.

The programs are built by tests/kubernetes/build.sh. All of it runs in mount and network namespaces of its own and a temporary directory,
and what is left at the end (processes, shims, cgroups, sockets, mounts) fails the test. Prints what a pod cost. What contrib/kubernetes has is what
runs: the example pod, the RuntimeClass, the DaemonSet, the Helm chart and both images.
"""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../e2e")]
import daemon  # pylint: disable=wrong-import-position
import test_install  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

HUSK = os.path.join(daemon.BIN, "husk")
CONTRIB = os.path.join(daemon.REPO, "contrib/kubernetes")
NEWEST = os.path.join(os.environ.get("XDG_CACHE_HOME", "/var/cache"), "husk-matrix/go/usr/bin")
ADDRESS, CGROUP = "10.97.0.1", "husk-kubernetes"
SLOW = daemon.SLOW
# What kubelet wants of these and would write: it finds them so, and this machine's stay as they are.
SYSCTLS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
           "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}
CNI = {"cniVersion": "0.4.0", "name": "husk-k8s", "plugins": [
    {"type": "bridge", "bridge": "husk-k8s0", "isGateway": True, "ipMasq": False,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.98.0.0/24"}]]}}]}
KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
staticPodPath: {dir}/manifests
containerRuntimeEndpoint: unix://{dir}/c.sock
podLogsDir: {dir}/podlogs
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failSwapOn: false
failCgroupV1: false
enforceNodeAllocatable: []
evictionHard: {{memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}}
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
resolvConf: ""
syncFrequency: 1s
fileCheckFrequency: 1s
nodeStatusUpdateFrequency: 4s
serializeImagePulls: false
imageMinimumGCAge: 24h
imageMaximumGCAge: 0s
"""
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: husk-test}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def programs():
    done = subprocess.run([os.path.join(HERE, "build.sh")], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 77:
        skip("kubelet cannot be built here")
    if done.returncode:
        sys.exit("kubelet does not build")
    return done.stdout.strip()


def index(tar):
    """The name of an image archive's image."""
    with tarfile.open(tar) as f:
        return json.load(f.extractfile("index.json"))["manifests"][0]["annotations"]["io.containerd.image.name"]


class Node:
    """containerd and kubelet, and with `api` a control plane of etcd and kube-apiserver."""

    def __init__(self, binaries, default_runtime, api=False):
        self.bin, self.api = binaries, api
        self.containerd = daemon.Daemon(cri=True)
        self.dir = self.containerd.dir
        with open(f"{self.dir}/config.toml", encoding="utf-8") as f:
            text = f.read().replace('default_runtime_name = "husk"', f'default_runtime_name = "{default_runtime}"')
        # The images of contrib/kubernetes/image.sh: its pause image is the pods'.
        subprocess.run([f"{CONTRIB}/image.sh", self.dir, os.path.dirname(daemon.BIN)], check=True)
        self.images = {name: index(f"{self.dir}/{name}.tar") for name in ("husk-install", "husk-pause")}
        text = text.replace(daemon.PAUSE, self.images["husk-pause"])
        with open(f"{self.dir}/config.toml", "w", encoding="utf-8") as f:
            f.write(text)
        CNI["plugins"][0]["ipam"]["dataDir"] = f"{self.dir}/ipam"
        with open(f"{self.dir}/cni/10-test.conflist", "w", encoding="utf-8") as f:
            json.dump(CNI, f)
        for name in ("manifests", "podlogs", "kubelet"):
            os.mkdir(f"{self.dir}/{name}")
        self.write("kubelet.yaml", KUBELET.format(dir=self.dir, cgroup=CGROUP))
        self.write("kubeconfig", KUBECONFIG.format())
        self.write("tokens.csv", 'husk-test,admin,admin,"system:masters"\n')
        self.processes = []

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w", encoding="utf-8") as f:
            f.write(text)

    def run(self, program, *args):
        with open(f"{self.dir}/{program}.log", "ab") as log:
            self.processes.append(subprocess.Popen([f"{self.bin}/{program}", *args], stdout=log, stderr=log, cwd=self.dir))

    def start(self):
        self.containerd.start()
        self.containerd.import_images(ns="k8s.io")
        for name in self.images:
            self.containerd.ctr("image", "import", f"{self.dir}/{name}.tar", ns="k8s.io")
        if self.api:
            self.start_api()
        flags = ["--kubeconfig", f"{self.dir}/kubeconfig", "--node-labels", "husk.io/runtime=true"] if self.api else []
        self.run("kubelet", "--config", f"{self.dir}/kubelet.yaml", "--root-dir", f"{self.dir}/kubelet", "--cert-dir", f"{self.dir}/pki",
                 "--hostname-override", "node", "--node-ip", ADDRESS, *flags)
        eventually(lambda: self.http("/healthz") == b"ok", 120 * SLOW, "kubelet's health")

    def start_api(self):
        subprocess.run(["openssl", "genrsa", "-out", f"{self.dir}/sa.key", "2048"], check=True, capture_output=True)
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        self.run("etcd", "--data-dir", f"{self.dir}/etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync")
        self.run("kube-apiserver", "--etcd-servers", client, "--cert-dir", f"{self.dir}/apiserver", "--bind-address", "0.0.0.0",
                 "--advertise-address", ADDRESS, "--allow-privileged", "--secure-port", "6443", "--authorization-mode", "AlwaysAllow", "--token-auth-file",
                 f"{self.dir}/tokens.csv", "--disable-admission-plugins", "ServiceAccount", "--service-cluster-ip-range", "10.96.0.0/24",
                 "--service-account-issuer", "https://kubernetes", "--service-account-key-file", f"{self.dir}/sa.key",
                 "--service-account-signing-key-file", f"{self.dir}/sa.key", "--endpoint-reconciler-type", "none",
                 "--kubelet-preferred-address-types", "InternalIP")
        eventually(lambda: self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok", 120 * SLOW, "kube-apiserver")

    def http(self, path):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:10250{path}", context=context, timeout=5) as answer:
                return answer.read()
        except OSError:
            return b""

    def pods(self):
        """{name: pod} as kubelet has them."""
        return {p["metadata"]["name"]: p for p in (json.loads(self.http("/pods") or "{}").get("items") or [])}

    def kubectl(self, *args, check=True, timeout=60, **kwargs):
        done = subprocess.run([f"{self.bin}/kubectl", "--kubeconfig", f"{self.dir}/kubeconfig", *args], capture_output=True, text=True,
                              timeout=timeout * SLOW, check=False, **kwargs)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.containerd.remove_all()
        self.containerd.stop()

    def tail(self, program, lines=30):
        with contextlib.suppress(FileNotFoundError), open(f"{self.dir}/{program}.log", encoding="utf-8", errors="replace") as f:
            print(f"--- {program} ---", *f.readlines()[-lines:], sep="\n", file=sys.stderr)


def husk_pods():
    """{pod's name: what `husk ps` says of it}."""
    return {p["pod"]: p for p in json.loads(subprocess.run([HUSK, "ps", "--json"], capture_output=True, text=True, check=True).stdout)}


def statuses(pod):
    status = pod.get("status", {})
    return {c["name"]: c for c in status.get("containerStatuses", []) + status.get("initContainerStatuses", [])}


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def container(name, script, **fields):
    return {"name": name, "image": daemon.BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script], **fields}


def pod(name, containers, **spec):
    """A pod's manifest; a sidecar is an init container that restarts."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": containers, "terminationGracePeriodSeconds": 5, **spec}}


TRAP = "trap 'echo told to stop; exit 0' TERM; while :; do sleep 0.2; done"
ON_HUSK = {"nodeName": "node", "runtimeClassName": "husk"}


def example():
    """contrib/kubernetes/pod.yaml with an image that is here."""
    with open(f"{CONTRIB}/pod.yaml", encoding="utf-8") as f:
        return f.read().replace("busybox:1.36", daemon.BUSYBOX)


def crashing(**spec):
    return pod("crashing", [container("c", "echo attempt; exit 3")], **spec)


class KubernetesTest(unittest.TestCase):
    default_runtime, api = "husk", False

    @classmethod
    def setUpClass(cls):
        cls.node = Node(BINARIES, cls.default_runtime, cls.api)
        try:
            cls.node.start()
        except BaseException:
            cls.show()
            cls.node.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.node.stop()
        try:
            with open("/proc/self/mountinfo", encoding="utf-8") as f:
                mounts = [m for m in f if cls.node.dir in m and "/kubelet/pods/" in m]
            left = {"shims": glob.glob("/run/husk/*/*/*"), "sockets": glob.glob("/run/containerd/s/*"), "mounts": mounts}
            if any(left.values()):
                raise AssertionError(f"left on the node: {left}")
        finally:
            for path in glob.glob("/run/netns/cni-*"):
                subprocess.run(["ip", "netns", "delete", os.path.basename(path)], check=False)
            shutil.rmtree(cls.node.dir, ignore_errors=True)

    @classmethod
    def show(cls):
        for program in ("etcd", "kube-apiserver", "kubelet", "containerd"):
            cls.node.tail(program)

    def until(self, predicate, seconds, what):
        try:
            return eventually(predicate, seconds * SLOW, what)
        except AssertionError:
            self.show()
            raise

    def cost(self, name):
        shim = husk_pods()[name]["shim"]
        print(f"pod {name}: shim {shim['anonymousBytes'] >> 10} KiB of its own, PSS {shim['pssBytes'] >> 10} KiB, RSS {shim['rssBytes'] >> 10} KiB",
              file=sys.stderr)
        self.assertLess(shim["anonymousBytes"], 300 << 10)


class Alone(KubernetesTest):
    """Static pods; every pod runs by husk since that is containerd's default."""

    def test_static_pods(self):
        # A RuntimeClass is an object of the API server, which is not there.
        self.node.write("manifests/example.yaml", example().replace("  runtimeClassName: husk\n", ""))
        self.node.write("manifests/crashing.json", json.dumps(crashing()))
        self.until(lambda: is_ready(self.node.pods().get("husk-example-node", {})), 60, "static pod ready")
        running = statuses(self.node.pods()["husk-example-node"])
        self.assertEqual(running["prepare"]["state"]["terminated"]["exitCode"], 0)
        self.assertIn("running", running["clock"]["state"])
        self.until(lambda: statuses(self.node.pods().get("crashing-node", {})).get("c", {}).get("restartCount", 0) >= 2, 90, "second restart")
        crashed = statuses(self.node.pods()["crashing-node"])["c"]
        self.assertEqual(crashed["lastState"]["terminated"]["exitCode"], 3)
        time.sleep(12)  # a probe
        self.assertEqual(statuses(self.node.pods()["husk-example-node"])["web"]["restartCount"], 0)
        mine = husk_pods()["husk-example-node"]
        self.assertEqual(sorted(c["name"] for c in mine["containers"] if c["state"] == "running"), ["(sandbox)", "clock", "web"])
        namespaces = {os.readlink(f"/proc/{c['pid']}/ns/pid") for c in mine["containers"] if c["state"] == "running"}
        self.assertEqual(len(namespaces), 1)
        self.cost("husk-example-node")
        measured = subprocess.run([f"{CONTRIB}/overhead.sh", "2"], env={**os.environ, "PATH": f"{daemon.BIN}:{os.environ['PATH']}"},
                                  stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertRegex(measured, r"(?m)^husk-example-node +\d+")
        with open(f"{CONTRIB}/runtimeclass.yaml", encoding="utf-8") as f:
            self.assertIn("memory: " + re.search(r"podFixed: { memory: (\w+), cpu: \w+ }", measured)[1] + "\n", f.read())
        shims = [p["shim"]["pid"] for p in husk_pods().values()]
        for path in glob.glob(f"{self.node.dir}/manifests/*"):
            os.unlink(path)
        self.until(lambda: not husk_pods(), 60, "end of the pods")
        self.until(lambda: not any(map(is_alive, shims)), 10, "end of the shims")


class Cluster(KubernetesTest):
    """With an API server: pods choose husk by their RuntimeClass, all others run by runc."""
    default_runtime, api = "runc", True

    def apply(self, *documents):
        self.node.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))

    def get(self, name):
        done = self.node.kubectl("get", "pod", name, "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def exec(self, *args, **kwargs):
        return self.node.kubectl("exec", *args, **kwargs)

    def delete(self, name):
        """Deletes a pod with its grace: how long that takes, in seconds."""
        begin = time.monotonic()
        self.node.kubectl("delete", "pod", name, "--wait=false")
        self.until(lambda: not self.get(name), 90, "deletion of the pod")
        return time.monotonic() - begin

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            eventually(lambda: cls.node.kubectl("get", "node", "node", check=False).returncode == 0, 60 * SLOW, "the node's registration")
            cls.node.kubectl("apply", "-f", f"{CONTRIB}/runtimeclass.yaml")
        except BaseException:
            cls.show()
            cls.tearDownClass()
            raise

    def tearDown(self):
        pids = [p["shim"]["pid"] for p in husk_pods().values()]
        self.node.kubectl("delete", "pod", "--all", "--wait=true", timeout=120)
        self.until(lambda: not husk_pods(), 30, "end of the pods")
        self.until(lambda: not any(map(is_alive, pids)), 10, "end of the shims")

    def test_a_runtime_class_picks_husk(self):
        self.node.kubectl("apply", "-f", "-", input=example())
        self.apply(pod("plain", [container("c", TRAP)], nodeName="node"))
        self.bind("husk-example")
        self.until(lambda: is_ready(self.get("husk-example")) and is_ready(self.get("plain")), 90, "pods ready")
        self.assertIn("husk-example", husk_pods())
        self.assertNotIn("plain", husk_pods())
        self.assertEqual(self.get("husk-example")["spec"]["overhead"]["memory"], "1Mi")
        self.assertIn("prepared", self.exec("husk-example", "-c", "web", "--", "wget", "-qO-", "localhost:8080").stdout)
        # Shared process namespace: all see each other, and PID 1 is the pod's, not a container's.
        seen = self.exec("husk-example", "-c", "web", "--", "ps").stdout
        self.assertIn("date", seen)
        self.assertRegex(seen, r"(?m)^ *1 .*pause")
        self.assertEqual(self.exec("husk-example", "-c", "web", "--", "sh", "-c", "exit 7", check=False).returncode, 7)
        fed = self.exec("-i", "husk-example", "-c", "clock", "--", "sh", "-c", "tr a-z A-Z", input="through stdin\n").stdout
        self.assertEqual(fed, "THROUGH STDIN\n")
        self.cost("husk-example")
        self.assertEqual(statuses(self.get("husk-example"))["web"]["restartCount"], 0)

    def bind(self, name):
        """The scheduler's part, which is not there."""
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"apiVersion": "v1", "kind": "Node", "name": "node"}}
        self.node.kubectl("create", "--raw", f"/api/v1/namespaces/default/pods/{name}/binding", "-f", "-", input=json.dumps(binding))

    def test_crashes_and_probes(self):
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
        self.apply(crashing(**ON_HUSK), pod("sick", [container("c", "sleep 1000", livenessProbe=probe)], **{**ON_HUSK, "terminationGracePeriodSeconds": 1}))
        self.until(lambda: statuses(self.get("crashing")).get("c", {}).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
                   90, "a crash loop")
        self.until(lambda: statuses(self.get("crashing"))["c"]["restartCount"] >= 2, 90, "second restart")
        self.assertEqual(statuses(self.get("crashing"))["c"]["lastState"]["terminated"]["exitCode"], 3)
        # While it restarts, kubelet may look for a container that it has just removed: that is its own affair.
        self.until(lambda: self.node.kubectl("logs", "crashing", "--previous", check=False).stdout == "attempt\n", 30, "the last one's log")
        self.until(lambda: statuses(self.get("sick")).get("c", {}).get("restartCount", 0) >= 1, 60, "a restart for the liveness probe")
        self.assertEqual(statuses(self.get("sick"))["c"]["lastState"]["terminated"]["exitCode"], 137)

    def test_deletion_with_grace(self):
        self.apply(pod("polite", [container("c", TRAP)], **{**ON_HUSK, "terminationGracePeriodSeconds": 60}),
                   pod("stubborn", [container("c", "trap '' TERM; while :; do sleep 0.2; done")], **{**ON_HUSK, "terminationGracePeriodSeconds": 4}))
        self.until(lambda: is_ready(self.get("polite")) and is_ready(self.get("stubborn")), 90, "pods ready")
        follow = subprocess.Popen([f"{self.node.bin}/kubectl", "--kubeconfig", f"{self.node.dir}/kubeconfig", "logs", "-f", "polite"],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        took = self.delete("polite")
        self.assertIn("told to stop", follow.communicate(timeout=60 * SLOW)[0])
        self.assertLess(took, 30 * SLOW)  # by its own exit, not by its grace of a minute
        took = self.delete("stubborn")
        self.assertGreater(took, 3.5)
        self.assertLess(took, 30 * SLOW)

    def test_the_installer(self):
        """The DaemonSet as it is and as the chart makes it are the same and what the API takes; its pod, by husk itself, puts husk into a node's root."""
        self.node.kubectl("apply", "--dry-run=server", "-f", f"{CONTRIB}/daemonset.yaml")
        chart = f"{CONTRIB}/helm/husk"
        helm = [f"{self.node.bin}/helm", "--kubeconfig", f"{self.node.dir}/kubeconfig"]
        subprocess.run([*helm, "lint", "--strict", "--quiet", chart], check=True)

        def rendered(*values):
            text = subprocess.run([*helm, "template", "husk", chart, "--namespace", "kube-system", *values], stdout=subprocess.PIPE, text=True, check=True).stdout
            out = json.loads(self.node.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=text).stdout)
            return {d["kind"]: d for d in out.get("items", [out])}
        plain = rendered()
        by_hand = json.loads(self.node.kubectl("apply", "--dry-run=server", "-o", "json", "-f", f"{CONTRIB}/daemonset.yaml").stdout)
        self.assertEqual(plain["DaemonSet"]["spec"], by_hand["spec"])
        by_hand = json.loads(self.node.kubectl("get", "runtimeclass", "husk", "-o", "json").stdout)
        self.assertEqual({k: plain["RuntimeClass"][k] for k in ("handler", "overhead", "scheduling")}, {k: by_hand[k] for k in ("handler", "overhead", "scheduling")})
        self.assertNotIn("RuntimeClass", rendered("--set", "runtimeClass.create=false"))
        self.assertEqual(rendered("--set", "runtimeClass.name=tiny")["RuntimeClass"]["metadata"]["name"], "tiny")

        spec = rendered("--set", "restartContainerd=false")["DaemonSet"]["spec"]["template"]["spec"]
        self.assertEqual(spec["initContainers"][0]["image"].split("/")[-1], self.node.images["husk-install"].split("/")[-1])
        root = test_install.Root(self, config=test_install.DEBIAN)
        spec["volumes"][0]["hostPath"]["path"] = root.path
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "installer"}, "spec": {**spec, **ON_HUSK, "restartPolicy": "Always"}})
        self.until(lambda: is_ready(self.get("installer")), 90, "the installer's pod")
        said = self.node.kubectl("logs", "installer", "-c", "install").stdout
        self.assertIn("change    /etc/containerd/config.toml", said)
        self.assertTrue(all(root.has(p) for p in test_install.PROGRAMS), said)
        self.assertIsNotNone(re.search("runtime_type = ['\"]io.containerd.husk.v2['\"]", root.dump()), said)
        self.assertLess(self.delete("installer"), 20 * SLOW)  # husk-init ends when told to: before its grace of half a minute


def isolate():
    """Network with one address, and the sysctls as kubelet wants them."""
    subprocess.run("ip link set lo up; ip link add husk-node type bridge; ip address add %s/32 dev husk-node; ip link set husk-node up; "
                   "ip route add default dev husk-node" % ADDRESS, shell=True, check=True)
    work = tempfile.mkdtemp(prefix="husk-sysctl-")
    for name, value in SYSCTLS.items():
        path = f"{work}/{name.replace('/', '-')}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"{value}\n")
        subprocess.run(["mount", "--bind", path, f"/proc/sys/{name}"], check=True)
    shutil.rmtree(work)


def remove_cgroup():
    tops = [""] if os.path.exists("/sys/fs/cgroup/cgroup.procs") else os.listdir("/sys/fs/cgroup")
    for top in tops:
        for path, _, _ in os.walk(os.path.join("/sys/fs/cgroup", top, CGROUP), topdown=False):
            os.rmdir(path)


if __name__ == "__main__":
    daemon.require()
    if os.environ.get("HUSK_TEST_ISOLATED") != "1":
        BINARIES = programs()
        newest = {"CONTAINERD": f"{NEWEST}/containerd", "PATH": f"{NEWEST}:{os.environ['PATH']}"} if os.path.exists(f"{NEWEST}/containerd") else {}
        sys.exit(subprocess.run(["unshare", "--mount", "--net", "--propagation", "private", "/usr/bin/python3", os.path.abspath(__file__), *sys.argv[1:]],
                                env={**os.environ, **newest, "HUSK_TEST_ISOLATED": "1", "HUSK_KUBERNETES": BINARIES}, check=False).returncode)
    BINARIES = os.environ["HUSK_KUBERNETES"]
    isolate()
    for top in [""] if os.path.exists("/sys/fs/cgroup/cgroup.procs") else os.listdir("/sys/fs/cgroup"):
        if os.path.isdir(f"/sys/fs/cgroup/{top}") and not os.path.islink(f"/sys/fs/cgroup/{top}"):
            os.makedirs(f"/sys/fs/cgroup/{top}/{CGROUP}", exist_ok=True)
    try:
        unittest.main(verbosity=2)
    finally:
        remove_cgroup()
