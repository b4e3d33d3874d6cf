# SPDX-License-Identifier: Apache-2.0
"""The bundles of the benchmark: the config.json that the machine's containerd itself writes for `ctr run --seccomp`, with another root and program.

Every peer and every row uses the same; only cgroupsPath differs.
"""
import copy
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


def write_filter(path):
    """The newest filter of the node's cache, without its header, for the floor."""
    newest = max(glob.glob("/run/husk/seccomp/[0-9a-f]*"), key=os.path.getmtime)
    with open(newest, "rb") as f:
        data = f.read()
    n = FILTER_HEADER.unpack_from(data)[2]
    with open(path, "wb") as f:
        f.write(data[FILTER_HEADER.size:FILTER_HEADER.size + 8 * n])
    return n
