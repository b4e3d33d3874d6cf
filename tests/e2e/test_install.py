#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`husk install` in root directories with every containerd that this machine has, then for real: in a mount namespace of its own, over this
machine's /etc/containerd and /usr/local, and a pod through the installed runtime."""
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position
import shim  # pylint: disable=wrong-import-position

HUSK = os.path.join(shim.BIN, "husk")
MATRIX = os.path.join(os.environ.get("XDG_CACHE_HOME", "/var/cache"), "husk-matrix")
PROGRAMS = ["usr/local/bin/containerd-shim-husk-v2", "usr/local/bin/husk", "usr/local/libexec/husk/husk-init"]
CONFIG = "etc/containerd/config.toml"
DROP_IN = "etc/containerd/conf.d/50-husk.toml"
DEBIAN = """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.example/pause:1"
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni" """
OTHER = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.other]
  runtime_type = "io.containerd.runc.v2"
"""
NEW = """version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other]
  runtime_type = 'io.containerd.runc.v2'
"""


def containerds():
    """{version: path} of Debian's own and of those that tests/matrix.sh has fetched."""
    found = {}
    for path in [daemon.CONTAINERD, *sorted(glob.glob(f"{MATRIX}/*/usr/bin/containerd"))]:
        if path:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            found.setdefault(re.search(r"\bv?(\d+\.\d+\.\d+)", text)[1], path)
    return found


class Root:
    """A directory to chroot to with a containerd in it."""

    def __init__(self, test, containerd=daemon.CONTAINERD, config=None):
        self.path = tempfile.mkdtemp(prefix="husk-install-")
        test.addCleanup(shutil.rmtree, self.path)
        self.copy(containerd, "usr/bin/containerd")
        for lib in set(re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", containerd], capture_output=True, text=True, check=False).stdout)):
            self.copy(lib, lib.lstrip("/"))
        os.makedirs(f"{self.path}/proc")
        if config is not None:
            self.write(CONFIG, config)

    def copy(self, source, name):
        os.makedirs(os.path.dirname(f"{self.path}/{name}"), exist_ok=True)
        shutil.copy(source, f"{self.path}/{name}")

    def write(self, name, text):
        os.makedirs(os.path.dirname(f"{self.path}/{name}"), exist_ok=True)
        with open(f"{self.path}/{name}", "w", encoding="utf-8") as f:
            f.write(text)

    def read(self, name):
        try:
            with open(f"{self.path}/{name}", encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def has(self, name):
        return os.path.exists(f"{self.path}/{name}")

    def husk(self, *args, status=0):
        done = subprocess.run([HUSK, "install", "--root", self.path, *args], capture_output=True, text=True, timeout=120 * daemon.SLOW, check=False)
        if done.returncode != status:
            raise AssertionError(f"husk install {args}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def dump(self):
        """What containerd makes of its configuration; 1.x refuses a missing one."""
        return subprocess.run(["chroot", self.path, "containerd", "config", "dump" if self.has(CONFIG) else "default"],
                              capture_output=True, text=True, check=True).stdout

    def files(self):
        """Every file with its bytes' length and mode, links and all."""
        return sorted((os.path.relpath(os.path.join(d, n), self.path), os.lstat(os.path.join(d, n)).st_size, os.lstat(os.path.join(d, n)).st_mode)
                      for d, _, names in os.walk(self.path) for n in names)


class InRoot(unittest.TestCase):
    def test_every_containerd(self):
        """Fresh, twice, uninstalled; with a configuration and without one. What containerd says of it is the proof."""
        for version, path in containerds().items():
            is_new = version.startswith("2.")
            default = subprocess.run([path, "config", "default"], capture_output=True, text=True, check=True).stdout
            for config in (None, DEBIAN, default, OTHER, NEW if is_new else DEBIAN + "\n"):
                with self.subTest(version=version, config=config and config[:11]):
                    root = Root(self, path, config)
                    before, first = root.dump(), root.files()
                    said = root.husk()
                    self.assertIn(f"found     containerd {version}", said)
                    self.assertTrue(all(root.has(p) for p in PROGRAMS), said)
                    after = root.dump()
                    self.assertRegex(after, r"runtimes\.'?\"?husk")
                    table = after[re.search(r"runtimes\.'?\"?husk'?\"?\]", after).end():]
                    table = table[:re.search(r"^ *\[", table, re.M).start()] if re.search(r"^ *\[", table, re.M) else table
                    self.assertRegex(table, "runtime_type = ['\"]io.containerd.husk.v2['\"]")
                    self.assertRegex(table, r"pod_annotations = \[['\"]husk.io/\*['\"]\]")
                    lost = [line for line in before.splitlines() if line not in after.splitlines() and not line.startswith("imports")]
                    self.assertEqual(lost, [])
                    self.assertEqual(root.has(DROP_IN), is_new and config is default and "/etc/containerd/conf.d/" in default, said)
                    second = root.files()
                    said = root.husk()
                    self.assertEqual(root.files(), second)
                    self.assertEqual(re.findall(r"^(?!found|then)(\w+)", said, re.M), ["unchanged"] * (said.count("unchanged")))
                    root.husk("--uninstall")
                    self.assertEqual(root.files(), first)
                    if config is not None:
                        self.assertEqual(root.read(CONFIG).rstrip("\n"), config.rstrip("\n"))
                    self.assertEqual(root.dump(), before)

    def test_dry_run(self):
        root = Root(self, config=DEBIAN)
        before = root.files()
        said = root.husk("--dry-run")
        self.assertEqual(root.files(), before)
        self.assertIn("install   /usr/local/bin/containerd-shim-husk-v2", said)
        self.assertIn('runtime_type = "io.containerd.husk.v2"', said)
        root.husk()
        before = root.files()
        said = root.husk("--dry-run", "--uninstall")
        self.assertEqual(root.files(), before)
        self.assertIn("remove    /usr/local/bin/containerd-shim-husk-v2", said)

    def test_upgrade_of_a_program_that_runs(self):
        """No ETXTBSY, the running one goes on, the next start is the new one."""
        root = Root(self, config=DEBIAN)
        root.husk()
        target = f"{root.path}/{PROGRAMS[0]}"
        shutil.copy(shim.BUSYBOX, target)  # an older version of it, say
        with subprocess.Popen(["sleep", "1000"], executable=target) as running:
            time.sleep(0.2)
            said = root.husk()
            self.assertIn("replace   /usr/local/bin/containerd-shim-husk-v2", said)
            self.assertIsNone(running.poll())
            running.kill()
        with open(target, "rb") as f, open(shim.SHIM, "rb") as g:
            self.assertEqual(f.read(), g.read())
        self.assertEqual(os.stat(target).st_mode & 0o7777, 0o755)
        self.assertFalse(glob.glob(f"{root.path}/usr/local/bin/*~"))

    def test_refusals_change_nothing(self):
        no_containerd = Root(self, config=DEBIAN)
        os.unlink(f"{no_containerd.path}/usr/bin/containerd")
        old = Root(self, config='disabled_plugins = ["cri"]\n')  # as Docker's package has it: version 1
        broken = Root(self, config="version = 2\n[plugins\n")
        for root, text in ((no_containerd, "no containerd is installed here"), (broken, "containerd refuses its configuration as it is"),
                           (old, "is of version 1, in which husk cannot be named")):
            before = root.files()
            self.assertIn(text, root.husk(status=1))
            self.assertEqual(root.files(), before, text)

    def test_a_table_of_the_owners_is_left_alone(self):
        config = DEBIAN + '\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk]\n  runtime_type = "io.containerd.husk.v2"\n'
        root = Root(self, config=config)
        self.assertIn(f"unchanged /{CONFIG}", root.husk())
        self.assertEqual(root.read(CONFIG), config)

    def test_links_stay_inside(self):
        """The root's own absolute links mean its own files."""
        root = Root(self, config=DEBIAN)
        os.makedirs(f"{root.path}/opt/conf")
        os.rename(f"{root.path}/{CONFIG}", f"{root.path}/opt/conf/real.toml")
        os.symlink("/opt/conf", f"{root.path}/etc/containerd/conf")
        os.rmdir(f"{root.path}/usr/local") if root.has("usr/local") else None
        os.makedirs(f"{root.path}/opt/local")
        os.symlink("/opt/local", f"{root.path}/usr/local")
        root.write(CONFIG, DEBIAN)
        root.husk()
        self.assertTrue(root.has("opt/local/bin/containerd-shim-husk-v2"))

    def k3s(self, version, files):
        root = Root(self)
        os.unlink(f"{root.path}/usr/bin/containerd")
        root.copy(shim.BUSYBOX, "bin/sh")
        root.write("usr/bin/containerd", f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'containerd github.com/k3s-io/containerd v{version}-k3s1 abc'\n")
        os.chmod(f"{root.path}/usr/bin/containerd", 0o755)
        base = "var/lib/rancher/k3s/agent/etc/containerd"
        for name in files:
            root.write(f"{base}/{name}", "") if not name.endswith("/") else os.makedirs(f"{root.path}/{base}/{name}")
        return root, base

    def test_k3s(self):
        root, base = self.k3s("2.0.5", ["config.toml"])
        said = root.husk()
        template = root.read(f"{base}/config-v3.toml.tmpl")
        self.assertTrue(template.startswith('{{ template "base" . }}\n'), template)
        self.assertIn('[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.husk]', template)
        self.assertIn("systemctl restart k3s", said)
        root.husk("--uninstall")
        self.assertNotIn("husk", root.read(f"{base}/config-v3.toml.tmpl"))
        root, base = self.k3s("2.1.4", ["config.toml", "config-v3.toml.d/"])
        root.husk()
        self.assertTrue(root.read(f"{base}/config-v3.toml.d/50-husk.toml").startswith("version = 3\n"))
        root, base = self.k3s("1.7.27", ["config.toml"])
        root.husk()
        self.assertIn('[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk]', root.read(f"{base}/config.toml.tmpl"))

    def test_contrib_has_the_same_tables(self):
        for version, containerd_version in ((2, "1."), (3, "2.")):
            path = next((p for v, p in containerds().items() if v.startswith(containerd_version)), None)
            if not path:
                continue
            root = Root(self, path)
            text = root.husk("--dry-run")
            with open(f"{shim.REPO}/contrib/containerd/husk-v{version}.toml", encoding="utf-8") as f:
                self.assertIn(f.read(), text)


ISOLATED = "HUSK_TEST_ISOLATED"


class ForReal(unittest.TestCase):
    def test_pod_through_the_installed_runtime(self):
        """Over this machine's own /etc/containerd and /usr/local, in a mount namespace that ends with the test."""
        done = subprocess.run(["unshare", "--mount", "--net", "--propagation", "private", "/usr/bin/python3", os.path.abspath(__file__)],
                              env={**os.environ, ISOLATED: "1"}, timeout=240 * daemon.SLOW, check=False)
        self.assertEqual(done.returncode, 0)


def overlay(path, work):
    for d in ("up", "work"):
        os.makedirs(f"{work}/{d}")
    subprocess.run(["mount", "-t", "overlay", "husk-test", "-o", f"lowerdir={path},upperdir={work}/up,workdir={work}/work", path], check=True)


def isolated():
    """The inside of ForReal: install, start the daemon on the installed configuration, run a pod, upgrade under it, uninstall."""
    from cri import Cri, pb  # pylint: disable=import-outside-toplevel
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    work = tempfile.mkdtemp(prefix="husk-install-")
    subprocess.run(["mount", "-t", "tmpfs", "husk-test", work], check=True)
    os.chmod(work, 0o711)
    os.makedirs("/etc/containerd", exist_ok=True)
    overlay("/etc/containerd", f"{work}/etc")
    overlay("/usr/local", f"{work}/local")
    owner = daemon.CRI.format(dir=work, pause=daemon.PAUSE)
    owner = owner[:owner.index('    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.husk]')].replace('default_runtime_name = "husk"', "")
    with open("/etc/containerd/config.toml", "w", encoding="utf-8") as f:
        f.write(daemon.CONFIG.format(dir=work, level="info", disabled="", cri=owner))
    os.makedirs(f"{work}/cni")
    subprocess.run([HUSK, "install"], check=True)
    d = daemon.Daemon(cri=True)
    shutil.rmtree(d.dir)
    d.dir, d.address, d.log = work, f"{work}/c.sock", f"{work}/log"
    env = {**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    doctor = {c["check"]: c for c in json.loads(subprocess.run([HUSK, "doctor", "--json"], capture_output=True, text=True, env=env, check=False).stdout)}
    assert doctor["runtime husk"]["verdict"] == "ok", doctor
    assert doctor["shim"]["found"] == "/usr/local/bin/containerd-shim-husk-v2", doctor
    with open(d.log, "ab") as log:
        d.process = subprocess.Popen([daemon.CONTAINERD], stdout=log, stderr=log, env=env)
    try:
        shim.eventually(lambda: subprocess.run(["ctr", "-a", d.address, "version"], capture_output=True, check=False).returncode == 0, 60 * daemon.SLOW)
        d.import_images(ns="k8s.io")
        cri = Cri(d.address)
        config = pb.PodSandboxConfig(metadata={"name": "p", "uid": "u", "namespace": "test"}, log_directory=work,
                                     linux={"cgroup_parent": "/husk-install-test", "security_context": {"namespace_options": {"network": "NODE"}}})
        sandbox = cri.RunPodSandbox(config=config, runtime_handler="husk").pod_sandbox_id
        container = cri.CreateContainer(pod_sandbox_id=sandbox, sandbox_config=config, config=pb.ContainerConfig(
            metadata={"name": "c"}, image={"image": daemon.BUSYBOX}, command=["sleep", "1000"], log_path="c.log",
            linux={"security_context": {"namespace_options": {"network": "NODE"}}})).container_id
        cri.StartContainer(container_id=container)
        found = json.loads(subprocess.run([HUSK, "ps", "--json"], capture_output=True, text=True, check=True).stdout)
        assert [p["pod"] for p in found if p["group"] == sandbox] == ["p"], found
        # An upgrade under the pod: the program is replaced while it runs, the pod goes on and is served.
        with open("/usr/local/bin/containerd-shim-husk-v2", "rb") as f:
            old = os.fstat(f.fileno()).st_ino
        other = "/usr/local/bin/other"
        shutil.copy(shim.SHIM, other)
        with open(other, "ab") as f:
            f.write(b"\0")
        os.rename(other, "/usr/local/bin/containerd-shim-husk-v2")
        said = subprocess.run([HUSK, "install"], capture_output=True, text=True, check=True).stdout
        assert "replace   /usr/local/bin/containerd-shim-husk-v2" in said, said
        assert os.stat("/usr/local/bin/containerd-shim-husk-v2").st_ino != old
        assert cri.ExecSync(container_id=container, cmd=["echo", "hi"], timeout=10).stdout == b"hi\n"
        # Uninstall under the pod is refused: containerd would have nothing to end it with.
        refused = subprocess.run([HUSK, "install", "--uninstall"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and "1 pod of husk's on this node" in refused.stderr, refused
        assert os.path.exists("/usr/local/bin/containerd-shim-husk-v2")
        cri.StopPodSandbox(pod_sandbox_id=sandbox)
        cri.RemovePodSandbox(pod_sandbox_id=sandbox)
        cri.close()
        shim.eventually(lambda: not glob.glob("/run/husk/*/k8s.io/*"), 10 * daemon.SLOW)
        subprocess.run([HUSK, "install", "--uninstall"], check=True)
        assert not os.path.exists("/usr/local/bin/containerd-shim-husk-v2")
    except BaseException:
        print(d.log_tail(), file=sys.stderr)
        raise
    finally:
        d.remove_all()
        d.stop()
        daemon.remove_cgroups("husk-install-test")
        for path in ("/usr/local", "/etc/containerd", work):
            subprocess.run(["umount", "-l", path], check=False)
        os.rmdir(work)


def systemctl(*args):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=True).stdout.strip()


@unittest.skipUnless(socket.gethostname() == "husk-vm", "changes the machine for good: tests/run.sh --vm")
class OnAMachine(unittest.TestCase):
    """With containerd.service and this machine's own paths, as an operator and as the DaemonSet (--root) do it."""
    CONFIG = "/etc/containerd/config.toml"
    OWNERS = f'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "{daemon.PAUSE}"\n'

    def setUp(self):
        with open(self.CONFIG, "w", encoding="utf-8") as f:
            f.write(self.OWNERS)
        if os.path.islink("/etc/systemd/system/containerd.service"):  # the tests' machine does not start its own
            os.unlink("/etc/systemd/system/containerd.service")
        systemctl("daemon-reload")
        systemctl("restart", "containerd")
        self.daemon = daemon.Daemon()  # for its images, and to talk to the service
        self.addCleanup(shutil.rmtree, self.daemon.dir)
        self.addCleanup(systemctl, "stop", "containerd")
        self.addCleanup(self.daemon.remove_all)
        self.daemon.address = "/run/containerd/containerd.sock"

    def husk(self, *args):
        """Says what it did; containerd is up again after it."""
        before = systemctl("show", "--property", "MainPID", "--value", "containerd")
        said = subprocess.run([HUSK, "install", "--restart", *args], capture_output=True, text=True, check=True).stdout
        self.assertIn("restarted containerd", said)
        self.assertNotEqual(systemctl("show", "--property", "MainPID", "--value", "containerd"), before)
        return said

    def pod(self):
        """(client, sandbox, container) through the service's own CRI."""
        from cri import Cri, pb  # pylint: disable=import-outside-toplevel
        cri = Cri(self.daemon.address)
        self.addCleanup(cri.close)
        linux = {"security_context": {"namespace_options": {"network": "NODE"}}}
        config = pb.PodSandboxConfig(metadata={"name": "machine", "uid": "u", "namespace": "test"}, log_directory=self.daemon.dir, linux=linux)
        sandbox = cri.RunPodSandbox(config=config, runtime_handler="husk").pod_sandbox_id
        container = cri.CreateContainer(pod_sandbox_id=sandbox, sandbox_config=config, config=pb.ContainerConfig(
            metadata={"name": "c"}, image={"image": daemon.BUSYBOX}, command=["sleep", "1000"], linux=linux)).container_id
        cri.StartContainer(container_id=container)
        return cri, sandbox, container

    def check(self, *root):
        said = self.husk(*root)
        self.assertIn("change    /etc/containerd/config.toml", said)
        self.daemon.import_images(ns="k8s.io")
        cri, sandbox, container = self.pod()
        shown = json.loads(subprocess.run(["/usr/local/bin/husk", "ps", "--json"], capture_output=True, text=True, check=True).stdout)
        self.assertEqual([p["pod"] for p in shown], ["machine"])
        pid = shown[0]["shim"]["pid"]
        # Twice, and an upgrade: the pod goes on over both restarts, under the same shim.
        self.assertNotRegex(self.husk(*root), "(?m)^(change|write|replace|install)")
        shutil.copy(shim.BUSYBOX, "/usr/local/bin/other")
        os.rename("/usr/local/bin/other", "/usr/local/bin/containerd-shim-husk-v2")
        self.assertIn("replace   /usr/local/bin/containerd-shim-husk-v2", self.husk(*root))
        self.assertEqual(cri.ExecSync(container_id=container, cmd=["echo", "hi"], timeout=10).stdout, b"hi\n")
        self.assertTrue(shim.is_alive(pid))
        refused = subprocess.run([HUSK, "install", *root, "--uninstall"], capture_output=True, text=True, check=False)
        self.assertEqual(refused.returncode, 1, refused)
        self.assertIn("1 pod of husk's on this node", refused.stderr)
        cri.StopPodSandbox(pod_sandbox_id=sandbox)
        cri.RemovePodSandbox(pod_sandbox_id=sandbox)
        shim.eventually(lambda: not shim.is_alive(pid), 10 * daemon.SLOW)
        self.husk(*root, "--uninstall")
        self.assertFalse(any(os.path.exists(f"/{p}") for p in PROGRAMS))
        with open(self.CONFIG, encoding="utf-8") as f:
            self.assertEqual(f.read(), self.OWNERS)

    def test_as_an_operator_does(self):
        self.check()

    def test_as_the_daemon_set_does(self):
        """From another mount namespace, in which the node's root is a directory."""
        node = tempfile.mkdtemp(prefix="husk-node-")
        self.addCleanup(os.rmdir, node)
        subprocess.run(["mount", "--rbind", "/", node], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", node], check=True)
        subprocess.run(["mount", "--make-rslave", node], check=True)
        self.check("--root", node)


if __name__ == "__main__":
    daemon.require()
    if os.environ.get(ISOLATED):
        isolated()
    else:
        unittest.main(verbosity=2)
