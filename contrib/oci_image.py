#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes an OCI image archive (for `ctr images import`) out of local files, without a network or a builder.

  oci_image.py OUT.tar busybox NAME            a shell image from Debian's busybox-static
  oci_image.py OUT.tar pause NAME HUSK_INIT    a pause image whose only file is husk-init
  oci_image.py OUT.tar install NAME BIN        husk's programs alone, for `husk install` in a DaemonSet
"""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

ARCHS = {62: "amd64", 183: "arm64"}  # by an ELF file's e_machine
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Layer:
    """A tar layer whose bytes depend on its content alone (no times, no owners)."""

    def __init__(self):
        self.buf = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buf, mode="w", format=tarfile.USTAR_FORMAT)

    def _info(self, name, mode, kind):
        t = tarfile.TarInfo(name)
        t.mode, t.type = mode, kind
        return t

    def dir(self, name, mode=0o755):
        self.tar.addfile(self._info(name, mode, tarfile.DIRTYPE))

    def file(self, name, data, mode=0o644):
        t = self._info(name, mode, tarfile.REGTYPE)
        t.size = len(data)
        self.tar.addfile(t, io.BytesIO(data))

    def hardlink(self, name, target):
        t = self._info(name, 0o755, tarfile.LNKTYPE)
        t.linkname = target
        self.tar.addfile(t)

    def bytes(self):
        self.tar.close()
        return self.buf.getvalue()


def arch_of(program):
    with open(program, "rb") as f:
        return ARCHS[int.from_bytes(f.read(20)[18:], "little")]


def busybox_layer():
    layer = Layer()
    for d in ("bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "var"):
        layer.dir(d)
    layer.dir("tmp", 0o1777)
    with open("/bin/busybox", "rb") as f:
        layer.file("bin/busybox", f.read(), 0o755)
    for applet in subprocess.check_output(["/bin/busybox", "--list"], text=True).split():
        if applet != "busybox":
            layer.hardlink(f"bin/{applet}", "bin/busybox")
    layer.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    layer.file("etc/group", b"root:x:0:\nuser:x:1000:\n")
    return layer.bytes()


def pause_layer(husk_init):
    layer = Layer()
    with open(husk_init, "rb") as f:
        layer.file("pause", f.read(), 0o755)
    return layer.bytes()


def install_layer(build):
    layer = Layer()
    for d in ("bin", "dev", "libexec", "libexec/husk", "node", "proc", "sys", "tmp"):
        layer.dir(d)
    for name, folder in (("husk", "bin"), ("containerd-shim-husk-v2", "bin"), ("husk-init", "libexec/husk"), ("husk-systemd", "libexec/husk")):
        if os.path.exists(f"{build}/{name}"):  # husk-systemd is not in every build
            with open(f"{build}/{name}", "rb") as f:
                layer.file(f"{folder}/{name}", f.read(), 0o755)
    return layer.bytes()


def write_archive(out, name, arch, layer, config):
    blobs = {}

    def put(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layer_desc = put(layer, LAYER)
    config_desc = put(json.dumps({
        "architecture": arch, "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_desc["digest"]]},
    }).encode(), CONFIG)
    manifest_desc = put(json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config_desc, "layers": [layer_desc],
    }).encode(), MANIFEST)
    manifest_desc["platform"] = {"architecture": arch, "os": "linux"}
    manifest_desc["annotations"] = {"io.containerd.image.name": name,
                                    "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1]}
    with tarfile.open(out, "w") as tar:
        def add(path, data):
            t = tarfile.TarInfo(path)
            t.size = len(data)
            tar.addfile(t, io.BytesIO(data))
        add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest_desc]}).encode())
        for digest, data in blobs.items():
            add(f"blobs/sha256/{digest}", data)


def main(argv):
    if len(argv) == 4 and argv[2] == "busybox":
        write_archive(argv[1], argv[3], arch_of("/bin/busybox"), busybox_layer(), {"Env": ["PATH=/bin"], "Cmd": ["sh"]})
    elif len(argv) == 5 and argv[2] == "pause":
        write_archive(argv[1], argv[3], arch_of(argv[4]), pause_layer(argv[4]), {"Entrypoint": ["/pause"]})
    elif len(argv) == 5 and argv[2] == "install":
        write_archive(argv[1], argv[3], arch_of(f"{argv[4]}/husk"), install_layer(argv[4]), {"Entrypoint": ["/bin/husk"]})
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
