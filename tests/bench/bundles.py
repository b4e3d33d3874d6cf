# SPDX-License-Identifier: Apache-2.0
"""The bundles of the benchmark: the config.json that the machine's containerd itself writes for `ctr run --seccomp`, with another root and program.

Every peer and every row uses the same; only cgroupsPath differs.
"""
import copy
import ctypes
import errno
import glob
import json
import os
import shutil
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import daemon  # noqa: E402  pylint: disable=wrong-import-position

FILTER_HEADER = struct.Struct("8sII32s")  # oci/seccomp_cache.c


class Bundles:
    def __init__(self, top, payload, document):
        self.top, self.document = top, document
        self.rootfs = f"{top}/rootfs"
        for d in ("bin", "proc", "dev", "sys", "run", "etc", "tmp"):
            os.makedirs(f"{self.rootfs}/{d}", exist_ok=True)
        shutil.copy(payload, f"{self.rootfs}/bin/payload")
        self.logs, self.made = [], []
        self.cgroup = f"/husk-bench-{os.path.basename(top)}"

    def process(self, *args):
        return json.dumps(dict(self.document["process"], args=["/bin/payload", *args], terminal=False), separators=(",", ":"))

    def make(self, name, *args, change=None):
        """A bundle whose program is the payload with these words; the directory."""
        document = copy.deepcopy(self.document)
        document["process"] = json.loads(self.process(*args))
        document["root"] = {"path": self.rootfs, "readonly": False}
        document["linux"]["cgroupsPath"] = f"{self.cgroup}/{name.replace('/', '-')}"
        if change:
            change(document)
        path = f"{self.top}/{name}"
        os.makedirs(path)
        self.made.append(path)
        with open(f"{path}/config.json", "w", encoding="utf-8") as f:
            json.dump(document, f)
        # The daemon's end of the shim's log; the Go shim ends where there is none.
        os.mkfifo(f"{path}/log", 0o600)
        self.logs.append(os.open(f"{path}/log", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        return path

    def forget(self):
        """All bundles so far; cgroups that a runtime has left stay visible to the end."""
        while self.logs:
            os.close(self.logs.pop())
        while self.made:
            shutil.rmtree(self.made.pop())

    def join_net(self, path):
        """A change for `make`: a given network namespace, as in CRI."""
        def change(document):
            for ns in document["linux"]["namespaces"]:
                if ns["type"] == "network":
                    ns["path"] = path
        return change


def default_document():
    """What containerd writes for a container with its default profile, all six kinds of namespaces new."""
    with daemon.Daemon() as d:
        d.import_images()
        d.ctr("run", "-d", "--seccomp", "--runtime", daemon.HUSK, daemon.BUSYBOX, "model", "sleep", "1000")
        (path,) = glob.glob(f"{d.dir}/state/*/default/model/config.json")
        with open(path, encoding="utf-8") as f:
            document = json.load(f)
        d.ctr("tasks", "rm", "-f", "model")
        version = d.ctr("version").stdout
    kinds = {ns["type"] for ns in document["linux"]["namespaces"]}
    document["linux"]["namespaces"] += [{"type": t} for t in ("cgroup",) if t not in kinds]
    document["mounts"] = [m for m in document["mounts"] if m["destination"] not in ("/etc/resolv.conf", "/etc/hosts")]
    return document, version


ACTIONS = {"SCMP_ACT_ALLOW": 0x7fff0000, "SCMP_ACT_LOG": 0x7ffc0000, "SCMP_ACT_TRACE": 0x7ff00000, "SCMP_ACT_ERRNO": 0x00050000,
           "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000}
ARCHS = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E, "SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028}
OPS = {op: i + 1 for i, op in enumerate(f"SCMP_CMP_{o}" for o in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))}


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def action(name, error):
    value = ACTIONS[name]
    return ctypes.c_uint32(value | (errno.EPERM if error is None else error) if name == "SCMP_ACT_ERRNO" else value)


def write_husk_filter(path):
    """The newest filter of the node's cache, without its header."""
    newest = max(glob.glob("/run/husk/seccomp/[0-9a-f]*"), key=os.path.getmtime)
    with open(newest, "rb") as f:
        data = f.read()
    n = FILTER_HEADER.unpack_from(data)[2]
    with open(path, "wb") as f:
        f.write(data[FILTER_HEADER.size:FILTER_HEADER.size + 8 * n])
    return n


def write_filter(path, profile):
    """The profile as libseccomp makes it, which is what runc loads and the floor too; the number of instructions."""
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    ctx = ctypes.c_void_p(lib.seccomp_init(action(profile["defaultAction"], profile.get("defaultErrnoRet"))))
    for arch in profile.get("architectures", ()):
        lib.seccomp_arch_add(ctx, ctypes.c_uint32(ARCHS[arch]))
    for rule in profile["syscalls"]:
        args = [Compare(a["index"], OPS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args") or ()]
        for name in rule["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number != -1:
                lib.seccomp_rule_add_array(ctx, action(rule["action"], rule.get("errnoRet")), number, len(args), (Compare * len(args))(*args))
    with open(path, "wb") as f:
        if lib.seccomp_export_bpf(ctx, f.fileno()) != 0:
            raise RuntimeError("libseccomp exports no program")
    lib.seccomp_release(ctx)
    return os.path.getsize(path) // 8
