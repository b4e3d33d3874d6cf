#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: images.py OUT.tar HUSK_INIT: one OCI archive with stand-ins for the images that critest asks for by name, from busybox-static, the programs
beside this file and husk-init as the pause. All have one layer; they differ by their configuration."""
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
E2E, STAGING = "registry.k8s.io/e2e-test-images/", "gcr.io/k8s-staging-cri-tools/"
# names, command, user, and what else makes a digest of its own
IMAGES = [
    ([E2E + "busybox:1.29-2", "registry.local/busybox:latest"], ["sh"], "", ""),
    ([f"registry.k8s.io/pause:{v}" for v in ("3.6", "3.8", "3.9", "3.10", "3.10.1", "3.10.2")], ["/pause"], "", "pause"),
    ([E2E + "nginx:1.14-2"], ["nginx", "80"], "", "nginx"),
    ([E2E + "httpd:2.4.39-4"], ["nginx", "80"], "", "httpd"),
    ([E2E + "nonewprivs:1.3"], ["/bin/nnp"], "", "nnp"),
    ([STAGING + "hostnet-nginx-amd64:latest"], ["nginx", "12003"], "", "hostnet"),
    ([STAGING + "test-image-user-uid:latest"], ["sh"], "1002", ""),
    ([STAGING + "test-image-user-username:latest"], ["sh"], "www-data", ""),
    ([STAGING + "test-image-user-uid-group:latest"], ["sh"], "1003:1004", ""),
    ([STAGING + "test-image-user-username-group:latest"], ["sh"], "www-data:100", ""),
    ([STAGING + "test-image-predefined-group:latest"], ["sh"], "1000", "group"),
    *[([STAGING + f"test-image-{i}:latest"], ["sh"], "", f"image {i}") for i in (1, 2, 3)],
    ([STAGING + f"test-image-tags:{i}" for i in (1, 2, 3)], ["sh"], "", "tags"),
    ([STAGING + "test-image-latest:latest", STAGING + "test-image-tag:test", STAGING + "test-image-tag:all"], ["sh"], "", "latest"),
]
USERS = [("root", 0, "/root"), ("www-data", 33, "/var/www"), ("nobody", 65534, "/home"), ("default-user", 1000, "/home")]
GROUPS = ["root:x:0:", "www-data:x:33:", "nobody:x:65534:", "default-user:x:1000:", "group-defined-in-image:x:50000:default-user"]
# What this busybox lacks, or what must only exist.
SCRIPTS = {"ipcs": 'cat /proc/sysvipc/shm', "pgrep": 'pidof "$1"', "master": "true"}


def make_root(root, husk_init):
    for d in "bin etc proc sys dev tmp root home run mnt var/run var/www usr/share/nginx/html".split():
        os.makedirs(f"{root}/{d}")
    os.chmod(f"{root}/tmp", 0o1777)
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for applet in subprocess.check_output(["/bin/busybox", "--list"], text=True).split():
        if applet != "busybox":
            os.link(f"{root}/bin/busybox", f"{root}/bin/{applet}")
    for name, text in SCRIPTS.items():
        if not os.path.exists(f"{root}/bin/{name}"):
            with open(f"{root}/bin/{name}", "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(f"{root}/bin/{name}", 0o755)
    for name in ("nginx", "nnp"):
        subprocess.run(["cc", "-O2", "-static", "-o", f"{root}/bin/{name}", f"{HERE}/{name}.c"], check=True)
    os.chmod(f"{root}/bin/nnp", 0o4755)
    shutil.copy(husk_init, f"{root}/pause")
    with open(f"{root}/etc/passwd", "w", encoding="utf-8") as f:
        f.writelines(f"{n}:x:{i}:{i}::{home}:/bin/sh\n" for n, i, home in USERS)
    with open(f"{root}/etc/group", "w", encoding="utf-8") as f:
        f.writelines(f"{line}\n" for line in GROUPS)


def own(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


class Archive:
    def __init__(self):
        self.blobs, self.index = {}, []

    def put(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"digest": f"sha256:{digest}", "size": len(data), "mediaType": f"application/vnd.oci.image.{media_type}"}

    def image(self, names, layer, command, user, author):
        config = {"architecture": ARCH, "os": "linux", "created": "2020-01-01T00:00:00Z", "author": author,
                  "config": {"Env": ["PATH=/bin:/usr/bin:/sbin"], "Entrypoint" if author == "pause" else "Cmd": command, "User": user},
                  "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}, "history": [{"created": "2020-01-01T00:00:00Z"}]}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.put(json.dumps(config).encode(), "config.v1+json"), "layers": [layer]}
        entry = self.put(json.dumps(manifest).encode(), "manifest.v1+json")
        self.index += [{**entry, "platform": {"architecture": ARCH, "os": "linux"},
                        "annotations": {"io.containerd.image.name": n, "org.opencontainers.image.ref.name": n.rsplit(":", 1)[1]}} for n in names]

    def write(self, path):
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps({"schemaVersion": 2, "manifests": self.index}).encode()}
        files.update({f"blobs/sha256/{d}": data for d, data in self.blobs.items()})
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def main():
    out, husk_init = sys.argv[1:]
    buffer, archive = io.BytesIO(), Archive()
    with tempfile.TemporaryDirectory() as root:
        make_root(root, husk_init)
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(root, arcname=".", filter=own)
    layer = archive.put(buffer.getvalue(), "layer.v1.tar")
    for names, command, user, author in IMAGES:
        archive.image(names, layer, command, user, author)
    archive.write(out)


if __name__ == "__main__":
    main()
