#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input as a table: each row is told with its code and a text that names the thing, and after each row the pod is what it was: the
healthy container answers an exec, the shim holds no descriptor more, no process, mount, cgroup or file is left, and the id is free.

Codes are gRPC's. What the shim can judge by the request alone is InvalidArgument; what the kernel or the rootfs refuses is Unknown, as
every failure of the runc shim is. Words that users and tools match on ("executable file not found in $PATH") are runc's."""
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually  # pylint: disable=wrong-import-position

UNKNOWN, INVALID, NOT_FOUND, EXISTS, EXHAUSTED, PRECONDITION, UNIMPLEMENTED, INTERNAL = 2, 3, 5, 6, 8, 9, 12, 13
SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
GONE = object()  # as a value: the member is removed
MOUNT, UTS = {"type": "mount"}, {"type": "uts"}
USERNS = {"linux.namespaces": [MOUNT, {"type": "pid"}, {"type": "user"}],
          "linux.uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}],
          "linux.gidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000}], "hostname": GONE}


def mount(destination="/tmp/m", kind="tmpfs", source="x", options=()):
    return {"mounts.+": {"destination": destination, "type": kind, "source": source, "options": list(options)}}


def seccomp(**members):
    return {"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", **members}}


def device(**members):
    return {"linux.devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, **members}]}


# What config.json says, the code, what the text must say. Paths are those of the document, "+" appends; "{dir}" is the pod's directory.
CONFIG = [
    # a document that is not one
    ("{\"ociVersion\":", INVALID, r"config\.json: JSON line 1 column \d+"),
    ("", INVALID, r"config\.json"),
    ("[]", INVALID, r"config\.json: JSON line 1 column 2: expected an object"),
    ("7", INVALID, r"config\.json: JSON line 1 column 2: expected an object"),
    ("[" * 100000, INVALID, r"config\.json: "),
    ("{} x", INVALID, r"config\.json: JSON line 1"),
    ("{\"ociVersion\": \"1.0.0\\u0000\"}", INVALID, r"config\.json: ociVersion: .*NUL"),
    ("\xff\xfe{}", INVALID, r"config\.json: JSON line 1"),
    (GONE, UNKNOWN, r"read {dir}/bad/config\.json: ENOENT"),
    # members that must be there
    ({"ociVersion": GONE}, INVALID, r"ociVersion: missing"),
    ({"root": GONE}, INVALID, r"root\.path: missing"),
    ({"root.path": GONE}, INVALID, r"root\.path: missing"),
    ({"root.path": ""}, INVALID, r"root\.path: missing"),
    ({"process.args": GONE}, INVALID, r"process\.args: missing"),
    ({"process.args": []}, INVALID, r"process\.args: missing or empty"),
    ({"process.cwd": GONE}, INVALID, r"process\.cwd: missing"),
    ({"mounts.0.destination": GONE}, INVALID, r"mounts\[0\]\.destination: missing"),
    ({"mounts.0.type": GONE}, INVALID, r"mounts\[0\] on /proc: type is missing"),
    ({"linux.namespaces.0.type": GONE}, INVALID, r"linux\.namespaces\[0\]\.type: missing"),
    ({**USERNS, "linux.namespaces": [UTS, {"type": "user"}]}, INVALID, r"linux\.namespaces: the mount namespace is missing"),
    ({"linux.resources.devices.0.allow": GONE}, INVALID, r"linux\.resources\.devices\[0\]\.allow: missing"),
    ({"process.rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1}]}, INVALID, r"process\.rlimits\[0\]\.hard: missing"),
    ({"linux.seccomp": {}}, INVALID, r"linux\.seccomp\.defaultAction: missing"),
    (device(path=GONE), INVALID, r"linux\.devices\[0\]\.path: missing"),
    # wrong types and values
    ({"ociVersion": "2.0.0"}, INVALID, r"ociVersion: \"2\.0\.0\""),
    ({"ociVersion": 1}, INVALID, r"ociVersion: expected a string, got a number"),
    ({"process": []}, INVALID, r"process: expected an object, got an array"),
    ({"process.args": "true"}, INVALID, r"process\.args: expected an array, got a string"),
    ({"process.args": ["true", 7]}, INVALID, r"process\.args\[1\]: expected a string, got a number"),
    ({"process.args": ["tr\0ue"]}, INVALID, r"process\.args\[0\]: contains a NUL byte"),
    ({"process.user.uid": -1}, INVALID, r"process\.user\.uid: -1"),
    ({"process.user.uid": "root"}, INVALID, r"process\.user\.uid: expected a number, got a string"),
    ({"process.user.uid": 4294967296}, INVALID, r"process\.user\.uid: 4294967296 is out of range"),
    ({"process.cwd": "relative"}, INVALID, r"process\.cwd: \"relative\" is not an absolute path"),
    ({"process.env": ["PATH"]}, INVALID, r"process\.env\[0\]: \"PATH\""),
    ({"process.env": ["=x"]}, INVALID, r"process\.env\[0\]: \"=x\""),
    ({"process.terminal": "yes"}, INVALID, r"process\.terminal: expected a boolean, got a string"),
    ({"process.oomScoreAdj": 1.5}, INVALID, r"process\.oomScoreAdj: expected an integer, got 1\.5"),
    ({"process.oomScoreAdj": 1001}, INVALID, r"process\.oomScoreAdj"),
    ({"process.noNewPrivileges": None, "mounts": 7}, INVALID, r"mounts: expected an array, got a number"),
    ({"mounts.0.destination": 7}, INVALID, r"mounts\[0\]\.destination: expected a string"),
    ({"mounts.0.options": "ro"}, INVALID, r"mounts\[0\]\.options: expected an array"),
    ({"linux": []}, INVALID, r"linux: expected an object"),
    ({"linux.maskedPaths": "/proc"}, INVALID, r"linux\.maskedPaths: expected an array"),
    ({"annotations.x": 7}, INVALID, r"annotations.*expected a string, got a number"),
    ({"hostname": "x" * 65}, INVALID, r"hostname: longer than 64 bytes"),
    # the rootfs
    ({"root.path": "{dir}/missing"}, INVALID, r"rootfs {dir}/missing: ENOENT"),
    ({"root.path": "{dir}/rootfs/bin/busybox"}, INVALID, r"rootfs {dir}/rootfs/bin/busybox: ENOTDIR"),
    ({"root.path": "missing"}, INVALID, r"rootfs {dir}/bad/missing: ENOENT"),
    # the program
    ({"process.args": ["nope"]}, UNKNOWN, r'exec: "nope": executable file not found in \$PATH'),
    ({"process.args": ["/nope"]}, UNKNOWN, r'exec: "/nope": stat /nope: no such file or directory'),
    ({"process.args": ["./nope"]}, UNKNOWN, r'exec: "\./nope": stat \./nope: no such file or directory'),
    ({"process.args": ["/bin/nope/x"]}, UNKNOWN, r'exec: "/bin/nope/x": stat /bin/nope/x: no such file or directory'),
    ({"process.args": ["/bin/busybox/x"]}, UNKNOWN, r'exec: "/bin/busybox/x": stat /bin/busybox/x: not a directory'),
    ({"process.args": ["/etc/plain"]}, UNKNOWN, r'exec: "/etc/plain": permission denied'),
    ({"process.args": ["/etc"]}, UNKNOWN, r'exec: "/etc": (is a directory|permission denied)'),
    ({"process.args": [""]}, UNKNOWN, r'exec: "": executable file not found in \$PATH'),
    ({"process.args": ["plain"], "process.env": ["PATH=/etc"]}, UNKNOWN, r'exec: "plain": (executable file not found in \$PATH|permission denied)'),
    ({"process.args": ["/" + "x" * 5000]}, INVALID, r"file name too long"),
    ({"process.cwd": "/bin/busybox"}, UNKNOWN, r"working directory /bin/busybox: ENOTDIR"),
    ({"process.cwd": "/etc/loop"}, UNKNOWN, r"working directory /etc/loop: ELOOP"),
    # namespaces
    ({"linux.namespaces": [MOUNT, UTS, {"type": "network", "path": "{dir}/no-ns"}]}, INVALID, r"network namespace {dir}/no-ns: ENOENT"),
    ({"linux.namespaces": [MOUNT, UTS, {"type": "network", "path": "/proc/self/ns/uts"}]}, INVALID,
     r"network namespace /proc/self/ns/uts: is a uts namespace"),
    ({"linux.namespaces": [MOUNT, UTS, {"type": "network", "path": "/etc/passwd"}]}, INVALID, r"network namespace /etc/passwd: not a namespace"),
    ({"linux.namespaces": [MOUNT, UTS, {"type": "network", "path": "/proc"}]}, INVALID, r"network namespace /proc: not a namespace"),
    ({"linux.namespaces": [MOUNT, UTS, {"type": "network", "path": "ns/net"}]}, INVALID, r"linux\.namespaces\[2\]\.path: .*absolute"),
    ({"linux.namespaces.+": {"type": "nope"}}, INVALID, r"linux\.namespaces\[5\]\.type: unknown value \"nope\""),
    ({"linux.namespaces.+": {"type": "pid"}}, INVALID, r"linux\.namespaces\[5\].*pid"),
    ({"linux.namespaces": [MOUNT]}, INVALID, r"hostname: needs the uts namespace"),
    # mounts
    (mount(kind="nosuchfs"), UNKNOWN, r"mount nosuchfs on /tmp/m: ENODEV"),
    (mount(options=["nosuchoption=1"]), UNKNOWN, r"/tmp/m"),
    (mount(kind="bind", source="{dir}/missing", options=["bind"]), UNKNOWN, r"{dir}/missing.* /tmp/m: ENOENT"),
    (mount(kind="bind", source="{dir}/rootfs/etc/plain", destination="/bin", options=["bind"]), UNKNOWN, r"{dir}/rootfs/etc/plain on /bin: EISDIR"),
    (mount(kind="bind", source="{dir}", options=["bind", "nosiud"]), INVALID, r"mounts\[4\] on /tmp/m: option \"nosiud\""),
    (mount(destination="/"), INVALID, r"mounts\[4\] on /: destination is the root"),
    (mount(destination="/proc/1/x"), INVALID, r"mounts\[4\] on /proc/1/x: .*inside /proc"),
    (mount(destination="/a/../proc/sys"), INVALID, r"mounts\[4\] on /a/\.\./proc/sys: .*inside /proc"),
    (mount(destination="/link-to-proc/sys"), INVALID, r"/link-to-proc/sys"),
    (mount(destination="/etc/loop/x"), UNKNOWN, r"/etc/loop/x: ELOOP"),
    (mount(destination="/etc/plain/x"), UNKNOWN, r"/etc/plain/x: ENOTDIR"),
    # the kernel's parameters
    ({"linux.sysctl": {"kernel.nosuch": "1"}}, INVALID, r'linux\.sysctl\["kernel\.nosuch"\]'),
    ({"linux.sysctl": {"vm.swappiness": "1"}}, INVALID, r'linux\.sysctl\["vm\.swappiness"\]: not in a namespace'),
    ({"linux.sysctl": {"net.nosuch": "1"}}, UNKNOWN, r"sysctl net\.nosuch: ENOENT"),
    ({"linux.sysctl": {"net.ipv4.ip_forward": "many"}}, UNKNOWN, r'write "many" to sysctl net\.ipv4\.ip_forward: EINVAL'),
    ({"linux.sysctl": {"net/../kernel/core_pattern": "|/x"}}, INVALID, r"linux\.sysctl\[.*: not "),
    ({"linux.sysctl": {"net.ipv4.ip_forward": 1}}, INVALID, r"linux\.sysctl.*ip_forward.*expected a string, got a number"),
    # identity
    ({"process.capabilities.effective": "CAP_KILL"}, INVALID, r"process\.capabilities\.effective: expected an array"),
    ({"process.rlimits": [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]}, INVALID, r"process\.rlimits\[0\]\.type: .*RLIMIT_NOPE"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, INVALID, r"process\.rlimits\[0\]"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2}, INVALID, r"process\.rlimits\[1\].*RLIMIT_CORE"),
    ({**USERNS, "process.user.uid": 5000}, INVALID, r"process\.user\.uid: 5000 is not in linux\.uidMappings"),
    ({**USERNS, "linux.gidMappings": []}, INVALID, r"linux\.gidMappings: missing"),
    ({"linux.uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}, INVALID, r"linux\.uidMappings: needs the user namespace"),
    # seccomp
    (seccomp(defaultAction="SCMP_ACT_NOPE"), INVALID, r"linux\.seccomp\.defaultAction: .*SCMP_ACT_NOPE"),
    (seccomp(architectures=["SCMP_ARCH_NOPE"]), INVALID, r"linux\.seccomp\.architectures\[0\]: .*SCMP_ARCH_NOPE"),
    (seccomp(syscalls=[{"names": ["kill"], "action": "NOPE"}]), INVALID, r"linux\.seccomp\.syscalls\[0\]\.action: .*NOPE"),
    (seccomp(syscalls=[{"action": "SCMP_ACT_ERRNO"}]), INVALID, r"linux\.seccomp\.syscalls\[0\]\.names: missing"),
    (seccomp(syscalls=[{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]), INVALID,
     r"linux\.seccomp\.syscalls\[0\]\.args\[0\]\.index: 9"),
    # cgroups and devices
    ({"linux.resources.devices": [{"allow": True, "type": "z", "access": "r"}]}, INVALID, r"linux\.resources\.devices\[0\]\.type: .*\"z\""),
    ({"linux.resources.devices": [{"allow": True, "type": "c", "access": "q"}]}, INVALID, r"linux\.resources\.devices\[0\]\.access: .*q"),
    ({"linux.resources.devices": [{"allow": "no"}]}, INVALID, r"linux\.resources\.devices\[0\]\.allow: expected a boolean"),
    (device(type="q"), INVALID, r"linux\.devices\[0\]\.type: .*\"q\""),
    (device(path="relative"), INVALID, r"linux\.devices\[0\]\.path"),
    (device(path="/dev/../../etc/../etc"), INVALID, r"/dev/\.\./\.\./etc/\.\./etc"),
    ({"linux.resources.memory": {"limit": "1G"}}, INVALID, r"linux\.resources\.memory\.limit: expected a number, got a string"),
    ({"linux.resources.cpu": {"cpus": "0-x"}}, (INVALID, UNKNOWN), r"cpus"),
    ({"linux.cgroupsPath": "/a/../../b"}, INVALID, r'linux\.cgroupsPath: "/a/\.\./\.\./b" contains "\.\."'),
    ({"linux.cgroupsPath": "/husk-test/line\nbreak"}, INVALID, r"cgroupsPath"),
    ({"linux.cgroupsPath": "a:b:c"}, INVALID, r"cgroupsPath \"a:b:c\": .* no slice"),
    ({"linux.cgroupsPath": "/"}, INVALID, r"cgroupsPath \"/\" names no cgroup"),
]
CONFIG_AT_START = [
    ({"process.args": ["/etc/empty"]}, UNKNOWN, r"exec /etc/empty: exec format error"),
    ({"process.args": ["/etc/script"]}, UNKNOWN, r"exec /etc/script: no such file or directory"),
]

# Fields of the Create request, the code, the text; "{dir}" as above.
CREATE = [
    *(({"id": i}, INVALID, r"not a valid container id") for i in ("..", ".", "/", "a/b", "a/../b", "", "x" * 200, "x" * 77, "a b", ".a", "a\n", "ä")),
    ({"bundle": ""}, INVALID, r'bundle "" is not an absolute path'),
    ({"bundle": "bad"}, INVALID, r'bundle "bad" is not an absolute path'),
    ({"bundle": "{dir}/missing"}, UNKNOWN, r"read {dir}/missing/config\.json: ENOENT"),
    ({"bundle": "{dir}/rootfs/etc/plain"}, UNKNOWN, r"read {dir}/rootfs/etc/plain/config\.json: ENOTDIR"),
    ({"stdout": "{dir}/nofifo"}, UNKNOWN, r"open stdout {dir}/nofifo: ENOENT"),
    ({"stderr": "{dir}/none/nofifo"}, UNKNOWN, r"open stderr {dir}/none/nofifo: ENOENT"),
    ({"stdin": "{dir}/nofifo"}, UNKNOWN, r"open stdin {dir}/nofifo: ENOENT"),
    ({"stdout": "{dir}"}, UNKNOWN, r"open stdout file {dir}: EISDIR"),
    ({"stdout": "fifo://{dir}/rootfs/etc/plain"}, INVALID, r"stdout {dir}/rootfs/etc/plain is not a FIFO"),
    ({"stdout": "file:///proc/none/x"}, UNKNOWN, r"/proc/none/x: ENOENT"),
    ({"stdout": "gopher://x"}, INVALID, r"unknown STDIO scheme gopher"),
    ({"stdin": "://"}, INVALID, r"unknown STDIO scheme"),
    ({"stdout": "binary:///no/such/logger"}, UNKNOWN, r"/no/such/logger"),
    ({"stderr": "binary:///bin/true"}, INVALID, r"stderr binary:///bin/true: a logging binary takes both"),
    ({"rootfs": [{"type": "nosuchfs", "source": "x"}]}, UNKNOWN, r"mount rootfs nosuchfs .*: ENODEV"),
    ({"rootfs": [{"type": "bind", "source": "{dir}/missing", "options": ["rbind"]}]}, UNKNOWN, r"mount rootfs bind {dir}/missing on .*: ENOENT"),
    ({"rootfs": [{"type": "overlay", "source": "overlay", "options": ["lowerdir={dir}/missing:{dir}/gone"]}]}, UNKNOWN, r"mount rootfs overlay .*: ENOENT"),
    ({"rootfs": [{"source": "x"}]}, INVALID, r"rootfs mount without type"),
    ({"options": {"type_url": "foo.Bar", "value": b""}}, INVALID, r"options of unknown type.*foo\.Bar"),
    ({"options": {"type_url": "containerd.runc.v1.Options", "value": b"\x0a"}}, INVALID, r"options"),
    ({"checkpoint": "{dir}"}, *((INVALID, r"read {dir}/husk-outside: ENOENT") if shutil.which("criu") else (UNKNOWN, "criu is not installed: no such program"))),
]

# Of an exec in the healthy container: changes to the process document (or the document's text), code, text. The second table fails at Start.
EXEC = [
    *((text, INVALID, r"JSON line 1|expected an object|missing") for text in ("", "{", "[]", "7", "{} x", "\xff\xfe", "[" * 100000)),
    ({"args": GONE}, INVALID, r"process\.args"),
    ({"args": []}, INVALID, r"process\.args"),
    ({"args": "true"}, INVALID, r"args: expected an array, got a string"),
    ({"args": [7]}, INVALID, r"args\[0\]: expected a string, got a number"),
    ({"cwd": GONE}, INVALID, r"process\.cwd"),
    ({"cwd": "relative"}, INVALID, r"process\.cwd"),
    ({"env": ["x"]}, INVALID, r"process\.env\[0\]: \"x\""),
    ({"user": {"uid": "nobody"}}, INVALID, r"user\.uid: expected a number, got a string"),
    ({"user": {"uid": 4294967295}}, INVALID, r"user\.uid: 4294967295"),
    ({"user": {"gid": 4294967295}}, INVALID, r"user\.gid: 4294967295"),
    ({"user": {"additionalGids": [4294967295]}}, INVALID, r"user\.additionalGids\[0\]: 4294967295"),
    ({"rlimits": [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]}, INVALID, r"rlimits\[0\]\.type: .*RLIMIT_NOPE"),
]
EXEC_START = [
    ({"args": ["nope"]}, UNKNOWN, r'exec: "nope": executable file not found in \$PATH'),
    ({"args": ["/nope"]}, UNKNOWN, r'exec: "/nope": stat /nope: no such file or directory'),
    ({"args": ["/etc/plain"]}, UNKNOWN, r'exec: "/etc/plain": permission denied'),
    ({"args": ["/etc/empty"]}, UNKNOWN, r"exec /etc/empty: exec format error"),
    ({"cwd": "/missing"}, INVALID, r"process\.cwd /missing: ENOENT"),
    ({"cwd": "/bin/busybox"}, INVALID, r"process\.cwd /bin/busybox: ENOTDIR"),
]
# Fields of the Exec request.
EXEC_REQUEST = [
    *(({"exec_id": i}, INVALID, r"not a valid exec id") for i in ("..", "/", "", "a/b", "x" * 200)),
    *(({"id": i}, NOT_FOUND, r"container not created: not found") for i in ("", "..", "nobody", "x" * 200)),
    ({"spec": GONE}, INVALID, r"JSON|spec"),
    ({"stdout": "gopher://x"}, INVALID, r"unknown STDIO scheme gopher"),
    ({"stdout": "{dir}/nofifo"}, UNKNOWN, r"open stdout {dir}/nofifo: ENOENT"),
    ({"stdin": "{dir}/nofifo"}, UNKNOWN, r"open stdin {dir}/nofifo: ENOENT"),
]


def filled(value, directory):
    """The value with the pod's directory in place and absent members left out."""
    if isinstance(value, str):
        return value.replace("{dir}", directory)
    if isinstance(value, list):
        return [filled(v, directory) for v in value]
    if isinstance(value, dict):
        return {k: filled(v, directory) for k, v in value.items() if v is not GONE}
    return value


def edit(document, edits, directory):
    for path, value in edits.items():
        *parents, last = path.split(".")
        at = document
        for key in parents:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        if isinstance(at, list) and last == "+":
            at.append(filled(value, directory))
            continue
        key = int(last) if isinstance(at, list) else last
        if value is GONE:
            at.pop(key)
        else:
            at[key] = filled(value, directory)


def descendants(pid):
    found = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
            children = list(map(int, f.read().split()))
    except OSError:
        return found
    for child in children:
        found += [child, *descendants(child)]
    return found


class BadInput(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.pod = pod = shim.Pod()
        cls.addClassCleanup(pod.close)
        etc = f"{pod.rootfs}/etc"
        for name, text, mode in (("plain", "x\n", 0o644), ("empty", "", 0o755), ("script", "#!/nope\n", 0o755)):
            with open(f"{etc}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
            os.chmod(f"{etc}/{name}", mode)
        os.symlink("loop", f"{etc}/loop")
        os.symlink("proc", f"{pod.rootfs}/link-to-proc")
        os.mkdir(f"{pod.rootfs}/tmp/m")
        os.makedirs(f"{pod.rootfs}{os.path.dirname(pod.dir)}", exist_ok=True)
        cls.state_dir = "/run/husk/" + hashlib.sha256(pod.grpc.encode()).hexdigest()[:16]
        cls.init = pod.run("good", ["sleep", "1000"])
        pod.bundle("bad", ["true"])
        cls.before = None
        cls.count = 0

    def setUp(self):
        if type(self).before is None:
            self.assert_usable()
            time.sleep(0.5)  # what the first use makes for a moment is gone
            type(self).before = self.snapshot()

    # ---- what must be as before ----
    def snapshot(self):
        pod = self.pod
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            mounts = [line for line in f if pod.dir in line]
        tops = [""] if os.path.exists("/sys/fs/cgroup/cgroup.procs") else os.listdir("/sys/fs/cgroup")
        return {
            "fds": len(os.listdir(f"/proc/{pod.shim_pid}/fd")),
            "processes": descendants(pod.shim_pid),
            "mounts": mounts,
            "cgroups": sorted(path for top in tops for path, _, _ in os.walk(f"/sys/fs/cgroup/{top}{pod.cgroup}")),
            "files": sorted(os.path.join(path, n) for top in (pod.dir, self.state_dir) for path, dirs, names in os.walk(top) for n in dirs + names),
        }

    def assert_usable(self):
        """An exec in the healthy container, and the id taken, run and given back."""
        pod = self.pod
        type(self).count += 1
        eid = f"e{self.count}"
        pod.call("Exec", id="good", exec_id=eid, spec={"type_url": shim.PROCESS_TYPE, "value": json.dumps(shim.process(["true"])).encode()})
        pod.call("Start", id="good", exec_id=eid)
        self.assertEqual(pod.call("Wait", id="good", exec_id=eid)["exit_status"], 0)
        pod.call("Delete", id="good", exec_id=eid)
        pod.call("Create", id="bad", bundle=pod.bundle("bad", ["true"]))
        pod.call("Start", id="bad")
        self.assertEqual(pod.call("Wait", id="bad")["exit_status"], 0)
        pod.call("Delete", id="bad")

    def assert_unharmed(self):
        self.assert_usable()
        self.assertEqual(self.pod.call("State", id="good")["pid"], self.init)
        try:
            eventually(lambda: self.snapshot() == self.before, 3 * SLOW)
        except AssertionError:
            self.assertEqual(self.snapshot(), self.before)

    def assert_fails(self, code, pattern, call):
        with self.assertRaises(ttrpc.Error) as caught:
            call()
        e = caught.exception
        self.assertIn(e.code, code if isinstance(code, tuple) else (code,), e)
        self.assertRegex(e.message, pattern.replace("{dir}", re.escape(self.pod.dir)))
        self.assertEqual(e.payload_len, 0, "an error must come without a payload")
        self.assertLess(len(e.message), 1000)

    @contextlib.contextmanager
    def row(self, what):
        text = "no file" if what is GONE else what if isinstance(what, str) else repr({k: "GONE" if v is GONE else v for k, v in what.items()})
        with self.subTest(text[:150]):
            try:
                yield
                self.assert_unharmed()
            except BaseException:
                self.take_away()  # one bad row, one failure
                raise

    def take_away(self):
        for values in ({"id": "good", "exec_id": "bad"}, {"id": "bad"}):
            for method, more in (("Kill", {"signal": 9}), ("Wait", {"timeout": 2}), ("Delete", {})):
                with contextlib.suppress(ttrpc.Error, TimeoutError):
                    self.pod.call(method, **values, **more)

    # ---- the tables ----
    def config(self, what):
        """The bundle "bad" with the row's config.json."""
        path = f"{self.pod.bundle('bad', ['true'])}/config.json"
        if isinstance(what, dict):
            with open(path, encoding="utf-8") as f:
                document = json.load(f)
            edit(document, what, self.pod.dir)
            what = json.dumps(document)
        os.unlink(path)
        if what is not GONE:
            with open(path, "w", encoding="latin-1") as f:
                f.write(what)

    def test_config(self):
        for what, code, pattern in CONFIG:
            with self.row(what):
                self.config(what)
                self.assert_fails(code, f"^OCI runtime create failed: .*{pattern}",
                                  lambda: self.pod.call("Create", id="bad", bundle=self.pod.bundles["bad"]))
                self.assert_fails(NOT_FOUND, "not found$", lambda: self.pod.call("State", id="bad"))

    def test_config_at_start(self):
        """What only execve(2) can tell comes at Start; the container is then a stopped one."""
        for what, code, pattern in CONFIG_AT_START:
            with self.row(what):
                self.config(what)
                self.pod.call("Create", id="bad", bundle=self.pod.bundles["bad"])
                self.assert_fails(code, f"^OCI runtime start failed: .*{pattern}", lambda: self.pod.call("Start", id="bad"))
                self.assertNotEqual(self.pod.call("Wait", id="bad", timeout=5)["exit_status"], 0)
                self.pod.call("Delete", id="bad")

    def test_create_request(self):
        for what, code, pattern in CREATE:
            with self.row(what):
                values = {"id": "bad", "bundle": self.pod.bundle("bad", ["true"]), **filled(what, self.pod.dir)}
                self.assert_fails(code, pattern, lambda values=values: self.pod.call("Create", **values))
                self.assert_fails(NOT_FOUND, "not found$", lambda values=values: self.pod.call("State", id=values["id"]))

    def exec_values(self, what):
        if isinstance(what, dict):
            document = shim.process(["true"])
            edit(document, what, self.pod.dir)
            what = json.dumps(document)
        return {"id": "good", "exec_id": "bad", "spec": {"type_url": shim.PROCESS_TYPE, "value": what.encode("latin-1")}}

    def test_exec(self):
        for what, code, pattern in EXEC:
            with self.row(what):
                self.assert_fails(code, pattern, lambda what=what: self.pod.call("Exec", **self.exec_values(what)))
                self.assert_fails(NOT_FOUND, "process does not exist bad: not found", lambda: self.pod.call("State", id="good", exec_id="bad"))

    def exec_fails_at_start(self, code, pattern):
        """A failed start releases who waits, and leaves a record that Delete takes."""
        wait = self.pod.client.start_task("Wait", id="good", exec_id="bad")
        self.assert_fails(code, f"^OCI runtime exec failed: .*{pattern}", lambda: self.pod.call("Start", id="good", exec_id="bad"))
        self.assertEqual(wait.result(5), {"exit_status": 0, "exited_at": None})
        self.pod.call("Delete", id="good", exec_id="bad")

    def test_exec_start(self):
        for what, code, pattern in EXEC_START:
            with self.row(what):
                self.pod.call("Exec", **self.exec_values(what))
                self.exec_fails_at_start(code, pattern)

    def test_exec_request(self):
        for what, code, pattern in EXEC_REQUEST:
            with self.row(what):
                values = filled({**self.exec_values({}), **what}, self.pod.dir)
                if "stdout" not in values and "stdin" not in values:
                    self.assert_fails(code, pattern, lambda values=values: self.pod.call("Exec", **values))
                    continue
                self.pod.call("Exec", **values)
                self.exec_fails_at_start(code, pattern)

    def test_exec_of_an_unmapped_user(self):
        pod = self.pod
        os.chmod(pod.rootfs, 0o755)

        def change(document):
            edit(document, USERNS, pod.dir)
        with self.row("exec of an unmapped user"):
            pod.call("Create", id="user", bundle=pod.bundle("user", ["sleep", "1000"], change=change))
            pod.call("Start", id="user")
            for field in ("uid", "gid"):
                pod.call("Exec", id="user", exec_id="bad", spec={"type_url": shim.PROCESS_TYPE, "value": json.dumps(
                    shim.process(["true"], user={"uid": 0, "gid": 0, field: 5000})).encode()})
                self.assert_fails((UNKNOWN, INVALID), f"^OCI runtime exec failed: .*{field}.*5000", lambda: pod.call("Start", id="user", exec_id="bad"))
                pod.call("Delete", id="user", exec_id="bad")
            pod.finish("user")
            shutil.rmtree(pod.bundles.pop("user"))

    # ---- what is no error, but must do no harm ----
    def run_to_end(self, args, edits):
        """Exit status and output of "bad" made from the document with these changes."""
        pod = self.pod
        pod.run("bad", args, change=lambda d: edit(d, edits, pod.dir))
        status = pod.call("Wait", id="bad")["exit_status"]
        text = pod.output["bad"].text() + pod.errors["bad"].text()
        pod.call("Delete", id="bad")
        for name in ("stdout", "stderr"):
            os.unlink(f"{pod.bundles['bad']}/{name}")
        return status, text

    def test_links_stay_inside(self):
        """A destination whose way leads out of the rootfs is taken as the container sees it: below its own root."""
        pod = self.pod
        outside = f"{pod.dir}/outside"
        inside = f"{pod.rootfs}{outside}"
        for link, destination in ((outside, "/out/new"), ("../../../../../../.." + outside, "/out/new"), (outside, "/out"),
                                  (outside + "/gone", "/out/x")):
            for source, kind, options in (("x", "tmpfs", []), (f"{pod.rootfs}/etc/plain", "bind", ["bind"]), (f"{pod.rootfs}/etc", "bind", ["rbind"])):
                with self.row(f"{link} {destination} {kind} {source}"):
                    os.mkdir(outside)
                    os.symlink(link, f"{pod.rootfs}/out")
                    status, text = self.run_to_end(["cat", "/proc/self/mountinfo"], mount(destination, kind, source, options))
                    self.assertEqual((status, os.listdir(outside)), (0, []), text)
                    points = [line.split()[4] for line in text.splitlines()]
                    self.assertTrue([p for p in points if p.startswith(outside)], points)
                    self.assertTrue(os.path.lexists(inside))
                    os.unlink(f"{pod.rootfs}/out")
                    os.rmdir(outside)
                    shutil.rmtree(f"{pod.rootfs}{pod.dir}")

    def test_words_of_a_newer_kernel(self):
        """The spec wants a warning, not a failure, for a capability that this kernel does not know; unknown members are ignored."""
        for edits in ({"process.capabilities.bounding": ["CAP_NOPE"]}, {"x-unknown": {"a": [1]}}, {"linux.x-unknown": 7}, {"ociVersion": "1.99.0"},
                      seccomp(syscalls=[{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}])):
            with self.row(edits):
                self.assertEqual(self.run_to_end(["true"], edits), (0, ""))

    # ---- bytes ----
    def raw(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.settimeout(10)
        sock.connect(self.pod.address[7:])
        return sock

    def answer(self, sock):
        size, stream, kind, _ = ttrpc.HEADER.unpack(ttrpc.recv_exactly(sock, ttrpc.HEADER.size))
        self.assertEqual(kind, ttrpc.RESPONSE)
        return stream, ttrpc.decode("Response", ttrpc.recv_exactly(sock, size))["status"]

    def test_truncated_frames(self):
        """A client that goes away in the middle of what it says."""
        whole = ttrpc.frame(1, ttrpc.REQUEST, ttrpc.encode("Request", service=ttrpc.TASK_V3, method="Kill",
                                                           payload=ttrpc.encode("KillRequest", id="good", signal=9)))
        for size in (*range(1, 12), len(whole) // 2, len(whole) - 1):
            with self.row(f"{size} of {len(whole)} bytes"):
                sock = self.raw()
                sock.sendall(whole[:size])
                sock.close()
        with self.row("a header that promises 4 GiB"):
            sock = self.raw()
            sock.sendall(ttrpc.HEADER.pack(0xFFFFFFFF, 1, ttrpc.REQUEST, 0) + bytes(100000))
            self.assertEqual(self.pod.call("State", id="good")["pid"], self.init)
            sock.close()

    def test_frames(self):
        """Each gets an answer on its stream, and the same connection goes on."""
        def request(service=ttrpc.TASK_V3, method="State", payload=b""):
            return ttrpc.encode("Request", service=service, method=method, payload=payload)
        kill = ttrpc.encode("KillRequest", id="good", signal=9)
        table = (
            ("5 MiB", bytes(5 << 20), EXHAUSTED, r"5242880.*4194304|4194304.*5242880"),
            ("4 MiB and a byte", bytes((4 << 20) + 1), EXHAUSTED, "4194305"),
            ("4 MiB of nothing", bytes(4 << 20), INVALID, "."),
            ("no request", b"\xff\xff", INVALID, "."),
            ("an empty request", b"", UNIMPLEMENTED, "^service $"),
            ("an unknown service", request(service="foo.Bar"), UNIMPLEMENTED, "^service foo.Bar$"),
            ("the gRPC form of a name", request(service="/" + ttrpc.TASK_V3), UNIMPLEMENTED, "^service /"),
            ("an unknown method", request(method="Nope"), UNIMPLEMENTED, "^method Nope$"),
            ("a method in small letters", request(method="kill", payload=kill), UNIMPLEMENTED, "^method kill$"),
            ("a long method", request(method="K" * 100000), UNIMPLEMENTED, "^method K"),
            ("a garbage payload", request(method="Kill", payload=b"\xff\xff\xff"), INTERNAL, "payload"),
            ("a truncated payload", request(method="Kill", payload=kill[:-1]), INTERNAL, "payload"),
            ("a wrong wire type", request(method="Kill", payload=b"\x08\x01"), INTERNAL, "payload"),
            ("an id that is no text", request(method="State", payload=b"\x0a\x02\xff\xfe"), NOT_FOUND, "container not created"),
            ("an id with a NUL byte", request(method="Kill", payload=b"\x0a\x06good\0x\x18\x09"), INTERNAL, "payload"),
            ("an id of 3 MiB", request(method="State", payload=ttrpc.encode("StateRequest", id="x" * (3 << 20))), NOT_FOUND, "container not created"),
            ("a Create of nothing", request(method="Create"), INVALID, "not a valid container id"),
        )
        for what, payload, code, pattern in table:
            with self.row(what):
                with contextlib.closing(self.raw()) as sock:
                    for stream in (1, 3):
                        sock.sendall(ttrpc.frame(stream, ttrpc.REQUEST, payload))
                        got, status = self.answer(sock)
                        self.assertEqual((got, status and status["code"]), (stream, code), status)
                        self.assertRegex(status["message"], pattern)
                        self.assertLess(len(status["message"]), 1000)
                    sock.sendall(ttrpc.frame(5, ttrpc.REQUEST, request(method="State", payload=ttrpc.encode("StateRequest", id="good"))))
                    self.assertEqual(self.answer(sock), (5, None))


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
