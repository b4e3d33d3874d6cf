# SPDX-License-Identifier: Apache-2.0
"""A private containerd for tests: own root, state, sockets and configuration in a temporary directory, gone at the end.

    with Daemon() as d:
        d.import_busybox()
        print(d.ctr("run", "--rm", "--runtime", HUSK, BUSYBOX, "c1", "echo", "hi").stdout)

The build's bin directory stands first in the daemon's PATH: that is where it finds containerd-shim-husk-v2. HUSK_BIN names it,
CONTAINERD the daemon to use, HUSK_TEST_SLOW multiplies how long things may take.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("HUSK_BIN", os.path.join(REPO, "build/release/bin"))
# ctr 2.2 and newer says on stderr what its daemon deprecates: not a part of what a container says.
os.environ.setdefault("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1")
CONTAINERD = os.environ.get("CONTAINERD", shutil.which("containerd") or "")
HUSK = "io.containerd.husk.v2"
RUNC = "io.containerd.runc.v2"
BUSYBOX = "docker.io/library/busybox:husk"
PAUSE = "registry.k8s.io/pause:husk"
SKIP = 77
SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))  # how many times longer than here things may take: an emulated machine

CONFIG = """
version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"{disabled}]
[grpc]
  address = "{dir}/c.sock"
[debug]
  level = "{level}"
{cri}
"""
CRI = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "husk"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk]
      runtime_type = "io.containerd.husk.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk-pauseless]
      runtime_type = "io.containerd.husk.v2"
      sandboxer = "shim"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIP)


def require():
    """Exits with a skip where a real daemon cannot run."""
    if os.geteuid() != 0:
        skip("needs root")
    if not CONTAINERD:
        skip("containerd is not installed")
    if not os.path.exists(os.path.join(BIN, "containerd-shim-husk-v2")):
        sys.exit(f"no containerd-shim-husk-v2 in {BIN}: build first, or set HUSK_BIN")


def remove_cgroups(name):
    """rmdir of <hierarchy>/name, which must be empty by now, in every hierarchy."""
    tops = [""] if os.path.exists("/sys/fs/cgroup/cgroup.procs") else os.listdir("/sys/fs/cgroup")
    for top in tops:
        path = os.path.join("/sys/fs/cgroup", top, name)
        if os.path.isdir(path):
            os.rmdir(path)


class Daemon:
    def __init__(self, cri=False, level="info"):
        self.dir = tempfile.mkdtemp(prefix="husk-test-")
        os.chmod(self.dir, 0o711)  # a user namespace's root must get through to its rootfs
        self.address = f"{self.dir}/c.sock"
        self.log = f"{self.dir}/containerd.log"
        self.cri = cri
        os.mkdir(f"{self.dir}/cni")
        with open(f"{self.dir}/config.toml", "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=self.dir, level=level, disabled="" if cri else ', "io.containerd.grpc.v1.cri"',
                                  cri=CRI.format(dir=self.dir, pause=PAUSE) if cri else ""))
        self.process = None
        self.env = {}  # more of the environment

    def start(self):
        env = dict(os.environ, **self.env, PATH=f"{BIN}:{os.environ['PATH']}")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([CONTAINERD, "--config", f"{self.dir}/config.toml"], stdout=log, stderr=log, env=env)
        end = time.monotonic() + 60 * SLOW
        while subprocess.run(["ctr", "-a", self.address, "version"], capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"containerd did not start:\n{self.log_tail()}")
            time.sleep(0.1)

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(30 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(RuntimeError, None, None)
            raise
        return self

    def __exit__(self, kind, value, tb):
        if self.process:
            self.remove_all()
        self.stop()
        if kind is not None and kind is not SystemExit:
            print(f"--- containerd's log, last lines ---\n{self.log_tail()}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self, lines=40):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def ctr(self, *args, ns="default", check=True, **kw):
        kw.setdefault("timeout", 120 * SLOW)
        r = subprocess.run(["ctr", "-a", self.address, "-n", ns, *args], capture_output=True, text=True, check=False, **kw)
        if check and r.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(args)}: exit {r.returncode}\n{r.stdout}{r.stderr}")
        return r

    def import_images(self, ns="default"):
        tool = os.path.join(REPO, "contrib/oci_image.py")
        for kind, name, extra in (("busybox", BUSYBOX, []), ("pause", PAUSE, [os.path.join(BIN, "husk-init")])):
            tar = f"{self.dir}/{kind}.tar"
            subprocess.run(["/usr/bin/python3", tool, tar, kind, name, *extra], check=True)
            self.ctr("image", "import", tar, ns=ns)
            os.unlink(tar)

    def remove_all(self):
        for ns in ("default", "k8s.io"):
            # A pod's containers first: the Go shim does not end if its sandbox goes before them.
            sandboxes = self.ctr("containers", "ls", "-q", 'labels."io.cri-containerd.kind"==sandbox', ns=ns, check=False).stdout.split()
            for task in sorted(self.ctr("tasks", "ls", "-q", ns=ns, check=False).stdout.split(), key=lambda t, last=frozenset(sandboxes): t in last):
                self.ctr("tasks", "rm", "-f", task, ns=ns, check=False)
            for c in self.ctr("containers", "ls", "-q", ns=ns, check=False).stdout.split():
                self.ctr("containers", "rm", c, ns=ns, check=False)
