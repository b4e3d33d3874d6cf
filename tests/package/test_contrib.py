#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What contrib/ has and no other test runs: the images are what they say and the same bytes each time, the AppArmor profile is one to AppArmor's parser
(which needs no kernel for that; e2e/cri_pods runs a container by it where there is one)."""
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import unittest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARSER = shutil.which("apparmor_parser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
BUILD = os.environ.get("HUSK_BUILD", os.path.join(REPO, "build/release"))


def contents(archive):
    """(image's configuration, {file of its layer: (mode, bytes)}) of an OCI archive with one manifest."""
    with tarfile.open(archive) as tar:
        def blob(descriptor):
            return tar.extractfile("blobs/" + descriptor["digest"].replace(":", "/")).read()
        manifest = json.loads(blob(json.load(tar.extractfile("index.json"))["manifests"][0]))
        with tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][0]))) as layer:
            files = {m.name: (m.mode, layer.extractfile(m).read()) for m in layer if m.isfile()}
        return json.loads(blob(manifest["config"])), files


class Contrib(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="husk-contrib-")
        self.addCleanup(shutil.rmtree, self.dir)

    def program(self, name):
        with open(f"{BUILD}/bin/{name}", "rb") as f:
            return 0o755, f.read()

    def test_images(self):
        for out in ("one", "two"):
            os.mkdir(f"{self.dir}/{out}")
            subprocess.run([f"{REPO}/contrib/kubernetes/image.sh", f"{self.dir}/{out}", BUILD], cwd="/", check=True)
        config, files = contents(f"{self.dir}/one/husk-pause.tar")
        self.assertEqual(files, {"pause": self.program("husk-init")})
        self.assertEqual(config["config"], {"Entrypoint": ["/pause"]})
        machine = subprocess.run(["readelf", "-h", f"{BUILD}/bin/husk-init"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(config["architecture"], "arm64" if "AArch64" in machine else "amd64")
        config, files = contents(f"{self.dir}/one/husk-install.tar")
        self.assertEqual(config["config"], {"Entrypoint": ["/bin/husk"]})
        wanted = {"bin/husk", "bin/containerd-shim-husk-v2", "libexec/husk/husk-init"}
        if os.path.exists(f"{BUILD}/bin/husk-systemd"):
            wanted.add("libexec/husk/husk-systemd")
        self.assertEqual(files, {name: self.program(os.path.basename(name)) for name in wanted})
        for name in ("husk-pause", "husk-install"):
            with open(f"{self.dir}/one/{name}.tar", "rb") as one, open(f"{self.dir}/two/{name}.tar", "rb") as two:
                self.assertEqual(one.read(), two.read())

    @unittest.skipUnless(PARSER, "apparmor_parser is not installed")
    def test_apparmor_profile(self):
        done = subprocess.run([PARSER, "--skip-kernel-load", "--skip-cache", "--stdout", f"{REPO}/contrib/apparmor/husk-pod"],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"husk-pod", done.stdout)


if __name__ == "__main__":
    unittest.main()
