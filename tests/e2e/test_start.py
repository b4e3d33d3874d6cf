#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The commands that containerd runs, by hand and byte for byte: `start` in its old and its new dialect, `-info`, `-v`; the socket that `start`
makes; and the forms in which runtime options reach a Create."""
import hashlib
import json
import os
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from podtest import *  # pylint: disable=wrong-import-position,wildcard-import,unused-wildcard-import
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

RUNC_OPTIONS, RUNTIME_OPTIONS = "containerd.runc.v1.Options", "runtimeoptions.v1.Options"


class Start(PodTest):
    """Beside the pod of each test, whose own start is like any other."""

    def run_start(self, cid, stdin=b"", cwd=None, flags=(), **kwargs):
        """(stdout, stderr) of a successful start; what it began ends with the test."""
        bundle = cwd or self.pod.bundle(cid, ["true"], change=lambda d: d.pop("annotations"))
        self.pod.bundles[cid] = bundle
        done = subprocess.run([shim.SHIM, "-namespace", shim.NAMESPACE, "-address", self.pod.grpc, "-publish-binary", "/bin/false", "-id", cid, *flags, "start"],
                              input=stdin, cwd=bundle, env=self.pod.env, timeout=20, check=False, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs})
        self.assertEqual(done.returncode, 0, done)
        return done.stdout, done.stderr

    def server(self, address):
        """The pid of who listens there; killed at the end of the test."""
        client = ttrpc.Client(address)
        pid = client.task("Connect", id="x")["shim_pid"]
        client.close()

        def end():
            if is_alive(pid):
                os.kill(pid, 15)
            eventually(lambda: not is_alive(pid), what="end of the shim")
        self.addCleanup(end)
        return pid

    def address_of(self, group, directory="/run/containerd/s"):
        name = hashlib.sha256(f"{self.pod.grpc}/{shim.NAMESPACE}/{group}".encode()).hexdigest()
        return f"unix://{directory}/{name}"

    def test_the_address_alone(self):
        """Trap 1: stderr is the same buffer for the daemon; nothing but the address may be in it."""
        out, _ = self.run_start("a", stderr=subprocess.STDOUT)
        self.assertEqual(out.decode(), self.address_of("a"))
        self.server(out.decode())
        with open(f"{self.pod.bundles['a']}/address", encoding="ascii") as f:
            self.assertEqual(f.read(), out.decode())

    def test_a_document_changed_before_create(self):
        """The server has read it by then, while `start` still answered: what counts is what Create finds, be it of the same length."""
        path = f"{self.pod.bundles['pod']}/config.json"
        with open(path, "r+", encoding="utf-8") as f:
            text = f.read()
            f.seek(0)
            f.write(text.replace('"args": ["true"]', '"args": ["test"]'))  # which ends with 1, having nothing to test
        self.pod.call("Create", id="pod", bundle=self.pod.bundles["pod"])
        self.pod.call("Start", id="pod")
        self.assertEqual(self.pod.call("Wait", id="pod")["exit_status"], 1)
        self.pod.call("Delete", id="pod")

    def test_a_server_that_cannot_begin(self):
        """Its reason is the answer, and neither a socket nor the file that says where it listens is left."""
        bundle = self.pod.bundle("unborn", ["true"], change=lambda d: d.pop("annotations"))
        address = self.address_of("unborn")[len("unix://"):]
        done = subprocess.run([shim.SHIM, "-namespace", shim.NAMESPACE, "-address", self.pod.grpc, "-publish-binary", "/bin/false", "-id", "unborn", "start"],
                              stdin=subprocess.DEVNULL, cwd=bundle, env={**self.pod.env, "TTRPC_ADDRESS": "/" + 200 * "x"}, capture_output=True, timeout=20, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), "start server: TTRPC_ADDRESS /xxx")
        self.assertEqual([p for p in (f"{bundle}/address", address, f"{address}.lock") if os.path.lexists(p)], [])

    def test_in_a_pipe(self):
        """Trap 2: the daemon reads to the end of the pipe, so the server must not hold it."""
        bundle = self.pod.bundle("a", ["true"], change=lambda d: d.pop("annotations"))
        self.pod.bundles["a"] = bundle
        line = f"{shim.SHIM} -namespace {shim.NAMESPACE} -address {self.pod.grpc} -publish-binary /bin/false -id a start 2>&1 | cat"
        out = subprocess.run(["sh", "-c", line], cwd=bundle, env=self.pod.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=5, check=True).stdout
        self.server(out.decode())

    def test_stdin(self):
        """Traps 3 and 4: nothing, /dev/null, closed; options of every kind, some of which parse as BootstrapParams too."""
        options = [ttrpc.encode("Any", type_url=RUNC_OPTIONS, value=ttrpc.encode("RuncOptions", systemd_cgroup=True)),
                   ttrpc.encode("Any", type_url=RUNC_OPTIONS, value=ttrpc.encode("RuncOptions", io_uid=100000)),
                   ttrpc.encode("Any", type_url=f"type.googleapis.com/{RUNC_OPTIONS}", value=b""),
                   ttrpc.encode("Any", type_url=RUNTIME_OPTIONS, value=ttrpc.encode("RuntimeOptions", config_body=b"SystemdCgroup = true\n"))]
        for i, stdin in enumerate([b"", *options]):
            with self.subTest(stdin=stdin):
                out, err = self.run_start(f"s{i}", stdin=stdin)
                self.assertEqual((out.decode(), err), (self.address_of(f"s{i}"), b""))
                self.server(out.decode())
        line = f"{shim.SHIM} -namespace {shim.NAMESPACE} -address {self.pod.grpc} -publish-binary /bin/false -id c start <&-"
        self.pod.bundles["c"] = self.pod.bundle("c", ["true"], change=lambda d: d.pop("annotations"))
        out = subprocess.run(["sh", "-c", line], cwd=self.pod.bundles["c"], env=self.pod.env, capture_output=True, timeout=10, check=True).stdout
        self.server(out.decode())

    def bootstrap(self, cid, **more):
        return ttrpc.encode("BootstrapParams", instance_id=cid, namespace=shim.NAMESPACE, containerd_version="2.3.4", ttrpc_address=self.pod.events.path,
                            grpc_address=self.pod.grpc, binary="/bin/false", **more)

    def test_the_new_dialect(self):
        """R1: answered in the form it was asked in."""
        out, err = self.run_start("a", stdin=self.bootstrap("a"))
        result = ttrpc.decode("BootstrapResult", out)
        self.assertEqual((result["version"], result["protocol"], err), (3, "ttrpc", b""))
        self.assertEqual(result["address"], self.address_of("a"))
        pid = self.server(result["address"])
        # The same group again, in both dialects: the running one, and nobody new.
        again = ttrpc.decode("BootstrapResult", self.run_start("a", stdin=self.bootstrap("a"))[0])
        self.assertEqual(again, result)
        self.assertEqual(self.run_start("a")[0].decode(), result["address"])
        self.assertEqual(self.server(result["address"]), pid)

    def test_a_socket_directory(self):
        """Trap 10: the daemon's directory, 42 characters at most; modes; no path that is too long."""
        directory = self.pod.dir + "/" + "s" * (41 - len(self.pod.dir))
        self.assertEqual(len(directory), 42)
        out, _ = self.run_start("a", stdin=self.bootstrap("a", socket_dir=directory))
        address = ttrpc.decode("BootstrapResult", out)["address"]
        self.assertEqual(address, self.address_of("a", directory))
        self.server(address)
        self.assertLessEqual(len(address[7:]), 107)
        self.assertEqual(stat.S_IMODE(os.stat(address[7:]).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.pod.address[7:]).st_mode), 0o600)

    def test_without_a_document(self):
        """Trap 9: a sandbox of the shim's own has no config.json; the group is the id then."""
        bundle = f"{self.pod.dir}/empty"
        os.mkdir(bundle)
        out, err = self.run_start("a", cwd=bundle)
        self.assertEqual((out.decode(), err), (self.address_of("a"), b""))
        self.server(out.decode())

    def test_after_a_dead_server(self):
        """Traps 7 and 8: its socket and its state file are still there, and the pid in it is somebody else's by now."""
        pod = self.pod
        os.kill(pod.shim_pid, 9)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        self.assertTrue(os.path.exists(pod.address[7:]))
        top = "/run/husk/" + hashlib.sha256(pod.grpc.encode()).hexdigest()[:16]
        for path, _, names in os.walk(top):
            for name in names:
                with open(f"{path}/{name}", encoding="utf-8") as f:
                    text = f.read()
                with open(f"{path}/{name}", "w", encoding="utf-8") as f:
                    f.write(text.replace(f"pid {pod.shim_pid}\n", f"pid {os.getpid()}\n"))
        self.assertEqual(pod.start(pod.bundles[pod.name], pod.name), pod.address)
        self.assertNotEqual(self.server(pod.address), pod.shim_pid)

    def test_twenty_at_once(self):
        """Trap 6: over the stale socket of a dead shim, too, one server comes of it."""
        pod = self.pod
        os.kill(pod.shim_pid, 9)
        eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
        command = [shim.SHIM, "-namespace", shim.NAMESPACE, "-address", pod.grpc, "-publish-binary", "/bin/false", "-id", pod.name, "start"]
        starts = [subprocess.Popen(command, cwd=pod.bundles[pod.name], env=pod.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                  for _ in range(20)]
        self.assertEqual({(p.communicate(timeout=20)[0].decode(), p.returncode) for p in starts}, {(pod.address, 0)})
        self.server(pod.address)
        servers = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if pod.grpc.encode() in words and b"start" not in words and is_alive(int(pid)):
                servers.append(pid)
        self.assertEqual(len(servers), 1)


class Info(unittest.TestCase):
    def run_bare(self, flag, stdin=b""):
        done = subprocess.run([shim.SHIM, flag], input=stdin, cwd="/", env={}, capture_output=True, timeout=10, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def test_version(self):
        """Trap 11: without a namespace, an environment, anything."""
        self.assertRegex(self.run_bare("-v").decode(), r"husk|[0-9]+\.[0-9]+")
        self.assertEqual(self.run_bare("-v"), self.run_bare("--version"))

    def test_features(self):
        """Traps 11 and 12: what containerd would crash without, and what the kubelet asks for."""
        for stdin in (b"", ttrpc.encode("Any", type_url=RUNC_OPTIONS, value=b"")):
            info = ttrpc.decode("RuntimeInfo", self.run_bare("-info", stdin))
            self.assertTrue(info["name"] and info["version"]["version"])
            self.assertEqual(info["features"]["type_url"], "types.containerd.io/opencontainers/runtime-spec/1/features/Features")
            features = json.loads(info["features"]["value"])
            self.assertIn("user", features["linux"]["namespaces"])
            self.assertIsInstance(features["linux"]["mountExtensions"]["idmap"]["enabled"], bool)
            self.assertIn("rro", features["mountOptions"])
            if stdin:
                self.assertEqual(info["options"]["type_url"], RUNC_OPTIONS)


class Options(PodTest):
    def test_forms(self):
        """Trap 61: absent, TOML, and runc's message, for the same runtime."""
        forms = {"none": {}, "toml": {"type_url": RUNTIME_OPTIONS, "value": ttrpc.encode("RuntimeOptions", config_body=b"SystemdCgroup = false\nBinaryName = \"x\"\n")},
                 "runc": {"type_url": RUNC_OPTIONS, "value": ttrpc.encode("RuncOptions", io_uid=1000, io_gid=1000)},
                 "prefixed": {"type_url": f"type.googleapis.com/{RUNC_OPTIONS}", "value": b""}}
        for cid, options in forms.items():
            with self.subTest(form=cid):
                more = {"options": options} if options else {}
                self.pod.run(cid, ["sh", "-c", "stat -c %u:%g /proc/self/fd/1 2>/dev/null || busybox stat -L -c %u:%g /proc/self/fd/1; exit 4"], **more)
                self.assertEqual(self.pod.call("Wait", id=cid)["exit_status"], 4)
                if cid == "runc":
                    self.assertEqual(os.stat(f"{self.pod.bundles[cid]}/stdout").st_uid, 1000)
                self.pod.call("Delete", id=cid)


class OwnCgroup(PodTest):
    """ShimCgroup = "pod": the kernel counts the shim to the pod, and nothing of that is left, however the shim ends."""

    run_start, server = Start.run_start, Start.server
    OPTIONS = (("runtime", lambda: ttrpc.encode("Any", type_url=RUNTIME_OPTIONS, value=ttrpc.encode("RuntimeOptions", config_body=b'ShimCgroup = "pod"\n'))),
               ("runc", lambda: ttrpc.encode("Any", type_url=RUNC_OPTIONS, value=ttrpc.encode("RuncOptions", shim_cgroup="pod"))))

    def places(self, pid):
        """{controllers: path} of v1's counting hierarchies, or of v2."""
        found = {}
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
            for line in f:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if {"memory", "cpu", "cpuacct", "pids"} & set(controllers.split(",")) or (not controllers and os.path.exists("/sys/fs/cgroup/cgroup.procs")):
                    found[controllers] = path
        return found

    def directories(self, path):
        root = "/sys/fs/cgroup"
        tops = [root] if os.path.exists(f"{root}/cgroup.procs") else [f"{root}/{d}" for d in os.listdir(root)]
        return [f"{top}{path}" for top in tops if os.path.isdir(f"{top}{path}")]

    def begin(self, cid, options):
        """The pid and the path of a shim that was started so."""
        out, err = self.run_start(cid, stdin=options)
        self.assertEqual(err, b"")
        pid = self.server(out.decode())
        path = f"{os.path.dirname(self.pod.cgroup_of(cid))}/husk-shim-{cid}"
        self.assertEqual(set(self.places(pid).values()), {path})
        return pid, path, out.decode()

    def test_counted_to_the_pod_and_removed_at_the_end(self):
        for name, options in self.OPTIONS:
            with self.subTest(form=name):
                cid = f"own-{name}"
                pid, path, address = self.begin(cid, options())
                leaf = next(d for d in self.directories(path) if os.path.exists(f"{d}/memory.usage_in_bytes") or os.path.exists(f"{d}/memory.current")
                            or os.path.exists(f"{os.path.dirname(d)}/memory.current"))
                usage = next(f"{d}/{n}" for d in (leaf, os.path.dirname(leaf)) for n in ("memory.usage_in_bytes", "memory.current") if os.path.exists(f"{d}/{n}"))
                with open(usage, encoding="ascii") as f:
                    self.assertGreater(int(f.read()), 64 << 10)  # its pages were made there, not moved
                client = ttrpc.Client(address)
                bundle = self.pod.bundle(cid, ["sleep", "1000"], change=lambda d: d.pop("annotations"))
                inside = client.task("Create", id=cid, bundle=bundle)["pid"]
                client.task("Start", id=cid)
                self.assertNotIn(path, self.places(inside).values())
                done = subprocess.run([f"{shim.BIN}/husk", "upgrade", cid], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done)
                self.assertEqual(set(self.places(pid).values()), {path})
                client.task("Kill", id=cid, signal=9)
                client.task("Wait", id=cid)
                client.task("Delete", id=cid)
                client.task("Shutdown", id=cid)
                client.close()
                eventually(lambda pid=pid: not is_alive(pid), what="end of the shim")
                self.assertEqual(self.directories(path), [])

    def test_after_a_crash(self):
        pid, path, _ = self.begin("own-crash", self.OPTIONS[0][1]())
        self.assertNotEqual(self.directories(path), [])
        os.kill(pid, 9)
        eventually(lambda: not is_alive(pid), what="end of the shim")
        self.pod.delete("own-crash")
        self.assertEqual(self.directories(path), [])

    def test_a_pod_without_a_pause_image(self):
        """Its cgroup is known at CreateSandbox: the shim goes there then."""
        bundle = f"{self.pod.dir}/own-box"
        os.mkdir(bundle)
        os.mkfifo(f"{bundle}/log")
        out, _ = self.run_start("own-box", stdin=self.OPTIONS[0][1](), cwd=bundle)
        pid = self.server(out.decode())
        path = f"{self.pod.cgroup_of('any').rsplit('/', 1)[0]}/husk-shim-own-box"
        self.assertNotIn(path, self.places(pid).values())
        parent = self.pod.cgroup_of("any").rsplit("/", 1)[0]
        config = ttrpc.encode("PodSandboxConfig", linux={"cgroup_parent": parent, "security_context": {"namespace_options": {"network": 2, "pid": 2, "ipc": 2}}})
        client = ttrpc.Client(out.decode())

        def box(method, **values):
            request, response = ttrpc.METHODS[method]
            return client.start_call(ttrpc.SANDBOX, method, ttrpc.encode(request, sandbox_id="own-box", **values), response).result(20)
        box("CreateSandbox", bundle_path=bundle, options={"type_url": "runtime.v1.PodSandboxConfig", "value": config})
        self.assertEqual(set(self.places(pid).values()), {path})
        box("StartSandbox")
        box("StopSandbox")
        box("ShutdownSandbox")
        client.close()
        eventually(lambda: not is_alive(pid), what="end of the shim")
        self.assertEqual(self.directories(path), [])

    def test_without_a_pods_cgroup(self):
        """A document that names none, or one right below the root: told, and nothing is begun."""
        for path, reason in ((None, "has no linux.cgroupsPath"), ("/top-of-all", "there is no cgroup above")):
            def change(document, path=path):
                document.pop("annotations")
                document["linux"]["cgroupsPath"] = path
            bundle = self.pod.bundle("own-none", ["true"], change=change)
            done = subprocess.run([shim.SHIM, "-namespace", shim.NAMESPACE, "-address", self.pod.grpc, "-publish-binary", "/bin/false", "-id", "own-none", "start"],
                                  input=self.OPTIONS[0][1](), cwd=bundle, env=self.pod.env, capture_output=True, timeout=20, check=False)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(reason, done.stderr.decode())


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
