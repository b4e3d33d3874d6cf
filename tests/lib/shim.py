# SPDX-License-Identifier: Apache-2.0
"""A pod without containerd: starts the built shim for a group, speaks ttrpc to it, and takes its events.

    with Pod() as pod:
        pod.create("c1", ["sh", "-c", "echo hi"]); pod.call("Start", id="c1")
        print(pod.output["c1"].text(), pod.call("Wait", id="c1")["exit_status"])

Leaving the block ends everything made in it: containers, shim, cgroups, mounts, directories, also when the test failed.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import ttrpc
from daemon import SLOW

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("HUSK_BIN", os.path.join(REPO, "build/release/bin"))
SHIM = os.path.join(BIN, "containerd-shim-husk-v2")
BUSYBOX = shutil.which("busybox") or "/bin/busybox"
NAMESPACE = "husk-test"
APPLETS = "sh cat echo sleep true false kill id stty ps env ls head seq printf trap test dd yes wc tr hostname readlink".split()
DRIVER = os.environ.get("HUSK_TEST_CGROUP", "cgroupfs")  # or systemd: containers in scopes of a slice of their pod's own
SKIP = 77
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"]


def require():
    """Exits with a skip where the engine cannot run."""
    if os.geteuid() != 0:
        print("SKIP: needs root")
        sys.exit(SKIP)
    if not os.access(BUSYBOX, os.X_OK):
        print("SKIP: busybox is not installed")
        sys.exit(SKIP)
    if not os.path.exists(SHIM):
        sys.exit(f"no {SHIM}: build first, or set HUSK_BIN")


def eventually(predicate, timeout=10 * SLOW, what="condition"):
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Reader:
    """Reads a FIFO to its end as a client of containerd does: a blocking open in a thread of its own."""

    def __init__(self, path):
        self.path, self.data = path, bytearray()
        os.mkfifo(path, 0o600)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            with open(self.path, "rb", buffering=0) as f:
                while part := f.read(65536):
                    self.data += part
        except FileNotFoundError:
            pass  # replaced by another before anybody opened it

    def bytes(self, timeout=10 * SLOW):
        """Everything up to EOF, which must come."""
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise AssertionError(f"no EOF on {self.path} within {timeout} s, so far {bytes(self.data[-200:])!r}")
        return bytes(self.data)

    def text(self, timeout=10 * SLOW):
        return self.bytes(timeout).decode(errors="replace")

    def wait_for(self, needle, timeout=10 * SLOW):
        eventually(lambda: needle in bytes(self.data), timeout, f"{needle!r} in {self.path}")

    def release(self):
        """Lets the thread go when nobody ever opened the other end."""
        if self.thread.is_alive():
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass
            self.thread.join(2)


def process(args, **changes):
    return {"args": args, "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": True,
            "capabilities": {k: CAPABILITIES for k in ("bounding", "effective", "permitted")}, **changes}


def spec(rootfs, args, cgroup):
    mounts = [("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]), ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
              ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
              ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])]
    return {
        "ociVersion": "1.1.0", "root": {"path": rootfs}, "hostname": "husk", "process": process(args),
        "mounts": [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in mounts],
        "linux": {"cgroupsPath": cgroup, "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
                  "resources": {"devices": [{"allow": False, "access": "rwm"}]},
                  "maskedPaths": ["/proc/kcore", "/proc/keys"], "readonlyPaths": ["/proc/sys"]},
    }


class Pod:
    program = None  # another than SHIM

    def __init__(self, name="pod", env=None):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="husk-pod-")
        os.chmod(self.dir, 0o711)
        base = os.path.basename(self.dir)
        self.cgroup = f"/husktest{base.replace('-', '')}.slice" if DRIVER == "systemd" else f"/husk-test-{base}"
        self.grpc = f"{self.dir}/c.sock"
        self.events = ttrpc.Events(f"{self.dir}/c.sock.ttrpc")
        self.env = {**os.environ, "TTRPC_ADDRESS": self.events.path, **(env or {})}
        self.rootfs = f"{self.dir}/rootfs"
        self.output, self.errors, self.bundles, self.clients = {}, {}, {}, []
        self.shim_pid = None
        self._make_rootfs()
        try:
            self.address = self.start(self.bundle(name, ["true"]), name)
            self.client = self.connect()
            self.shim_pid = self.client.task("Connect", id=name)["shim_pid"]
        except BaseException:
            self.close()
            raise

    def _make_rootfs(self):
        for d in ("bin", "proc", "dev", "sys", "tmp", "etc"):
            os.makedirs(f"{self.rootfs}/{d}")
        shutil.copy(BUSYBOX, f"{self.rootfs}/bin/busybox")
        for name in APPLETS:
            os.symlink("busybox", f"{self.rootfs}/bin/{name}")

    # ---- the shim ----
    def command(self, cid, action, *flags, **kwargs):
        return subprocess.run([self.program or SHIM, "-namespace", NAMESPACE, "-address", self.grpc, "-publish-binary", "/bin/false", "-id", cid, *flags, action],
                              env=self.env, capture_output=True, timeout=20 * SLOW, check=False, **kwargs)

    def start(self, bundle, cid):
        done = self.command(cid, "start", cwd=bundle, stdin=subprocess.DEVNULL)
        if done.returncode != 0 or done.stderr or not done.stdout.startswith(b"unix:///"):
            raise AssertionError(f"start: {done}")
        return done.stdout.decode()

    def connect(self, service=ttrpc.TASK_V3):
        client = ttrpc.Client(self.address, service)
        self.clients.append(client)
        return client

    def call(self, method, timeout=20 * SLOW, **values):
        return self.client.task(method, timeout, **values)

    def delete(self, cid):
        """The `delete` command, as containerd runs it after a crash or a teardown."""
        done = self.command(cid, "delete", "-bundle", self.bundles[cid], cwd=self.dir, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise AssertionError(f"delete: {done}")
        return ttrpc.decode("DeleteResponse", done.stdout)

    # ---- containers ----
    def bundle(self, cid, args, change=None):
        path = f"{self.dir}/{cid}"
        os.makedirs(path, exist_ok=True)
        self.bundles[cid] = path
        document = spec(self.rootfs, args, f"{self.cgroup[1:]}:husk:{cid}" if DRIVER == "systemd" else f"{self.cgroup}/{cid}")
        document["annotations"] = {"io.kubernetes.cri.sandbox-id": self.name}
        if change:
            change(document)
        with open(f"{path}/config.json", "w", encoding="utf-8") as f:
            json.dump(document, f)
        if not os.path.exists(f"{path}/log"):
            os.mkfifo(f"{path}/log", 0o600)
        return path

    def cgroup_of(self, cid):
        return f"{self.cgroup}/husk-{cid}.scope" if DRIVER == "systemd" else f"{self.cgroup}/{cid}"

    def request(self, cid, args, change=None, stdin=False, terminal=False, **more):
        """The fields of a Create; stdout and stderr are FIFOs whose readers are pod.output[cid] and pod.errors[cid]."""
        bundle = self.bundle(cid, args, change)
        self.output[cid] = self.fifo(f"{bundle}/stdout")
        values = {"id": cid, "bundle": bundle, "terminal": terminal, "stdout": f"{bundle}/stdout"}
        if not terminal:
            self.errors[cid] = self.fifo(f"{bundle}/stderr")
            values["stderr"] = f"{bundle}/stderr"
        if stdin:
            os.mkfifo(f"{bundle}/stdin", 0o600)
            values["stdin"] = f"{bundle}/stdin"
        values.update(more)
        return values

    @staticmethod
    def fifo(path):
        if os.path.exists(path):
            os.unlink(path)
        return Reader(path)

    def create(self, cid, args, **kwargs):
        return self.call("Create", **self.request(cid, args, **kwargs))["pid"]

    def run(self, cid, args, **kwargs):
        pid = self.create(cid, args, **kwargs)
        self.call("Start", id=cid)
        return pid

    def exec(self, cid, eid, args, stdin=False, terminal=False, **changes):
        """Registers an exec; its output is pod.output[eid]."""
        base = f"{self.dir}/{eid}"
        self.output[eid] = self.fifo(f"{base}.out")
        values = {"id": cid, "exec_id": eid, "stdout": f"{base}.out", "terminal": terminal,
                  "spec": {"type_url": PROCESS_TYPE, "value": json.dumps(process(args, **changes)).encode()}}
        if not terminal:
            self.errors[eid] = self.fifo(f"{base}.err")
            values["stderr"] = f"{base}.err"
        if stdin:
            os.mkfifo(f"{base}.in", 0o600)
            values["stdin"] = f"{base}.in"
        self.call("Exec", **values)

    def finish(self, cid):
        """Kills, waits, deletes."""
        try:
            self.call("Kill", id=cid, signal=9, all=True)
        except ttrpc.Error as e:
            if e.code != 5:
                raise
        self.call("Wait", id=cid)
        return self.call("Delete", id=cid)

    def anonymous_kib(self):
        with open(f"/proc/{self.shim_pid}/smaps_rollup", encoding="utf-8") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:"))

    # ---- the end ----
    def close(self):
        for client in self.clients:
            client.close()
        if self.shim_pid and is_alive(self.shim_pid):
            os.kill(self.shim_pid, signal.SIGKILL)
            eventually(lambda: not is_alive(self.shim_pid), what="end of the shim")
        try:
            for cid in self.bundles:
                self.command(cid, "delete", "-bundle", self.bundles[cid], cwd="/", stdin=subprocess.DEVNULL)
        finally:
            # Whatever is wrong with the program under test, nothing of it stays.
            self.events.close()
            for reader in [*self.output.values(), *self.errors.values()]:
                reader.release()
            self._kill_cgroups()
            if DRIVER == "systemd":
                subprocess.run(["systemctl", "stop", self.cgroup[1:]], capture_output=True, check=False)
            self._remove_cgroups()
            shutil.rmtree(self.dir, ignore_errors=True)

    def cgroups(self):
        root = "/sys/fs/cgroup"
        for top in [""] if os.path.exists(f"{root}/cgroup.procs") else os.listdir(root):
            for path, _, _ in sorted(os.walk(os.path.join(root, top, self.cgroup.lstrip("/"))), reverse=True):
                yield path

    def _kill_cgroups(self):
        for path in self.cgroups():
            with open(f"{path}/cgroup.procs", encoding="utf-8") as f:
                for pid in map(int, f.read().split()):
                    os.kill(pid, signal.SIGKILL)
                    eventually(lambda pid=pid: not is_alive(pid), what="end of a container")

    def _remove_cgroups(self):
        for path in self.cgroups():
            try:
                os.rmdir(path)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
