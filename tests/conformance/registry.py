# SPDX-License-Identifier: Apache-2.0
"""A registry that has what an OCI archive has, for tests that pull: of the distribution protocol what a client needs to read.

    registry = Registry("images.tar", "hosts.d")   # containerd's config_path: every registry is this one
    registry.close()
"""
import http.server
import json
import os
import tarfile
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, with_body):
        repository, _, rest = self.path.split("?")[0].removeprefix("/v2/").rpartition("/manifests/")
        if repository:
            found = self.server.manifests.get((repository, rest)) or next((m for m in self.server.manifests.values() if m["digest"] == rest), None)
            digest, kind = (found["digest"], found["mediaType"]) if found else (None, None)
        else:
            digest, kind = self.path.split("?")[0].rpartition("/blobs/")[2], "application/octet-stream"
        data = b"{}" if self.path == "/v2/" else self.server.blobs.get(digest)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        if data is not None and self.path != "/v2/":
            self.send_header("Content-Type", kind)
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if with_body and data:
            self.wfile.write(data)

    def do_GET(self):  # pylint: disable=invalid-name
        self.answer(True)

    def do_HEAD(self):  # pylint: disable=invalid-name
        self.answer(False)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


class Registry:
    def __init__(self, archive, hosts):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        with tarfile.open(archive) as tar:
            self.server.blobs = {"sha256:" + os.path.basename(m.name): tar.extractfile(m).read() for m in tar if m.name.startswith("blobs/sha256/")}
            index = json.load(tar.extractfile("index.json"))["manifests"]
        names = [(m["annotations"]["io.containerd.image.name"].partition("/")[2].rpartition(":"), m) for m in index]
        self.server.manifests = {(repository, tag): m for (repository, _, tag), m in names}
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        os.makedirs(f"{hosts}/_default")
        with open(f"{hosts}/_default/hosts.toml", "w", encoding="utf-8") as f:
            f.write(f'server = "{address}"\n[host."{address}"]\n  capabilities = ["pull", "resolve"]\n')
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
