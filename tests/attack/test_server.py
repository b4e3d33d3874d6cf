#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on the server, by containers of a real shim: test_server.py ROW. As in tests/attack/attack.h, HUSK_BREAK=<defence> turns one defence
off, in a shim that is built for it (HUSK_BIN)."""
import ctypes
import errno
import glob
import hashlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import shim  # noqa: E402
from shim import Pod, eventually, is_alive  # noqa: E402

# containerd's default for a container of Kubernetes
DEFAULT_CAPABILITIES = [f"CAP_{c}" for c in ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
                                             "SYS_CHROOT KILL AUDIT_WRITE").split()]
TINY_LIMIT = 512 << 10


def script(pod, name, text):
    path = f"{pod.rootfs}/bin/{name}"
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return [f"/bin/{name}"]


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def copy_libraries(pod):
    """What a program that is not static needs to run in the image."""
    done = subprocess.run(["ldd", shim.SHIM], capture_output=True, text=True, check=False)
    for word in done.stdout.split():
        if word.startswith("/") and os.path.exists(word):
            os.makedirs(pod.rootfs + os.path.dirname(word), exist_ok=True)
            shutil.copy(word, pod.rootfs + word)


HOLD = r"""
while :; do
    for p in /proc/[0-9]*; do
        case $(readlink $p/exe) in
        ""|*busybox) ;;
        *) if (: <$p/exe) 2>/dev/null; then exec 9<$p/exe; break 2; fi;;
        esac
    done
done
echo holding
while [ ! -e /tmp/go ]; do sleep 0.1; done
for i in $(seq 20); do
    if (printf overwritten >/proc/self/fd/9) 2>/tmp/why; then echo overwritten; break; fi
    sleep 0.05
done
cat /tmp/why
echo tried
"""


class OldKernelPod(Pod):
    """Its shim runs where open_tree and mount_setattr answer ENOSYS, as before Linux 5.2 and 5.12."""
    @staticmethod
    def forbid():
        calls = (428, 442)  # the same number on every architecture
        load, jump_equal, answer = 0x20, 0x15, 0x06
        code = [(load, 0, 0, 0)] + [(jump_equal, len(calls) - i, 0, call) for i, call in enumerate(calls)]
        code += [(answer, 0, 0, 0x7fff0000), (answer, 0, 0, 0x00050000 | errno.ENOSYS)]  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
        fprog = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
        if ctypes.CDLL(None).prctl(22, 2, fprog, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            raise OSError("no seccomp filter")

    def command(self, cid, action, *flags, **kwargs):
        return super().command(cid, action, *flags, preexec_fn=self.forbid, **kwargs)


def exe_overwrite(pod_type=Pod):
    """CVE-2019-5736: a container runs /proc/self/exe, which is the engine; another of its processes holds that file and writes to it
    as soon as nobody runs it any more, so that the next container of the node starts the attacker's program."""
    own = shutil.copytree(shim.BIN, f"/tmp/husk-attack-bin-{os.getpid()}")
    program = f"{own}/containerd-shim-husk-v2"
    shim.SHIM = program  # a copy of our own: with the defence off it will be destroyed
    before = digest(program)
    try:
        with pod_type() as pod:
            copy_libraries(pod)
            pod.run("c1", script(pod, "hold", HOLD))
            pod.exec("c1", "e1", ["/proc/self/exe", "-namespace", "n", "-id", "i", "-address", "/a", "start"], stdin=True)
            stdin = os.open(f"{pod.dir}/e1.in", os.O_RDWR)
            try:
                pod.call("Start", id="c1", exec_id="e1")  # reads its stdin, and so stays
                pod.output["c1"].wait_for(b"holding")
                pod.call("Kill", id="c1", exec_id="e1", signal=signal.SIGKILL)
                pod.call("Wait", id="c1", exec_id="e1")
            finally:
                os.close(stdin)
            os.kill(pod.shim_pid, signal.SIGKILL)  # the last process that runs the file
            eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
            with open(f"{pod.rootfs}/tmp/go", "w", encoding="utf-8"):
                pass
            pod.output["c1"].wait_for(b"tried")
            print(bytes(pod.output["c1"].data).decode())
            changed = digest(program) != before
            shutil.copy(f"{shim.BIN}/containerd-shim-husk-v2", f"{program}.new")
            os.replace(f"{program}.new", program)
            return changed
    finally:
        shutil.rmtree(own)


PEEP = r"""
for f in environ maps auxv stack syscall; do cat $1/$f >/dev/null 2>&1 && echo "read $f"; done
(: <$1/mem) 2>/dev/null && echo "read mem"
(: >>$1/mem) 2>/dev/null && echo "written mem"
(echo 1 >$1/timerslack_ns) 2>/dev/null && echo "written timerslack_ns"
for f in exe cwd root fd/0 fd/3 ns/mnt map_files; do [ -e $1/$f/. ] || [ -e $1/$f ] && readlink $1/$f; done
/bin/tracer ${1#/proc/}
read -r name <$1/comm && echo "seen $name"
"""


def server_in_host_pid_namespace():
    """Root of a default container sees the server in the host's pid namespace, but cannot read, write or trace it."""
    with Pod() as pod:
        def change(document):
            linux = document["linux"]
            linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "pid"]
            document["process"]["capabilities"] = {k: DEFAULT_CAPABILITIES for k in ("bounding", "effective", "permitted")}
        shutil.copy(f"{shim.BIN}/tracer", f"{pod.rootfs}/bin/tracer")
        pod.run("c1", [*script(pod, "peep", PEEP), f"/proc/{pod.shim_pid}"], change=change)
        text = pod.output["c1"].text()
        pod.finish("c1")
    lines = text.split("\n")
    assert lines[-3:] == ["tried", "seen husk-shim", ""], text
    print(text)
    return len(lines) > 3


def tiny_memory_limit():
    """The engine's own part must fit into a container's limit: `true` runs in 512 KiB, and as an exec, whose
    container has the kernel's memory for namespaces and a first process already, in twice that."""
    with Pod() as pod:
        def limit(document, factor=1):
            document["linux"]["resources"]["memory"] = {"limit": factor * TINY_LIMIT}
        for i in range(20):
            pod.run(f"t{i}", ["true"], change=limit)
            status = pod.call("Wait", id=f"t{i}").get("exit_status", 0)
            assert status == 0, f"true ended with {status}"
            pod.call("Delete", id=f"t{i}")
        pod.run("c1", ["sleep", "100"], change=lambda document: limit(document, 2))
        for i in range(5):
            time.sleep(0.5)  # the kernel gives back what an ended process had only after a while, about 100 KiB each
            pod.exec("c1", f"e{i}", ["true"])
            pod.call("Start", id="c1", exec_id=f"e{i}")
            status = pod.call("Wait", id="c1", exec_id=f"e{i}").get("exit_status", 0)
            assert status == 0, f"true ended with {status} as an exec"
            pod.call("Delete", id="c1", exec_id=f"e{i}")
        pod.finish("c1")


def no_switch_in_the_program():
    """Neither the switch nor a defence's name is in what is installed; it ignores the variable; and the test's own shim does have it."""
    with open(shim.SHIM, "rb") as f:
        installed = f.read()
    with open(os.path.join(shim.BIN, "../tests/breakable/containerd-shim-husk-v2"), "rb") as f:
        breakable = f.read()
    assert b"HUSK_BREAK" in breakable and b"readonly-image" in breakable
    assert b"HUSK_BREAK" not in installed and b"readonly-image" not in installed


def every_defence_has_a_row():
    """Each switch has an attack that needs it, each attack a line in the README, and neither has any that does not exist."""
    def read(path):
        with open(path, encoding="utf-8") as f:
            return f.read()
    defences = set(re.findall(r'^\tX\(\w+, "([a-z-]+)"\)', read(f"{shim.REPO}/oci/base/breakable.h"), re.M))
    rows = [m for path in glob.glob(f"{shim.REPO}/tests/attack/test_*") for m in re.findall(r'ROW[A-Z_]*\("([a-z0-9-]+)", "([a-z-]+)"', read(path))]
    table = read(f"{shim.REPO}/README.md").split("\n## Security\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`attack/([a-z0-9-]+)`", table))
    assert defences == {defence for _, defence in rows}, defences ^ {defence for _, defence in rows}
    assert named == {row for row, _ in rows} | set(CHECKS), named ^ ({row for row, _ in rows} | set(CHECKS))


def ROW(row, defence, succeeds, stopped_by=None):
    return row, (defence, succeeds, stopped_by)


ROWS = dict([
    ROW("exe-overwrite", "readonly-image", exe_overwrite),
    ROW("exe-overwrite-old-kernel", "readonly-image", lambda: exe_overwrite(OldKernelPod)),
    ROW("server-in-host-pid-namespace", "server-non-dumpable", server_in_host_pid_namespace,
        "the kernel: who lacks CAP_SYS_PTRACE traces nobody who has more capabilities than himself, ptrace(2)"),
])
CHECKS = {"tiny-memory-limit": tiny_memory_limit, "no-switch-in-the-program": no_switch_in_the_program,
          "every-defence-has-a-row": every_defence_has_a_row}


def main(name):
    shim.require()
    if name in CHECKS:
        CHECKS[name]()
        return
    defence, succeeds, stopped_by = ROWS[name]
    off = os.environ.get("HUSK_BREAK")
    assert off in (None, defence), f"{name} is about {defence}"
    outcome = succeeds()
    print(f"{name} with the defence {defence!r} {'off' if off else 'on'}: the attack {'succeeds' if outcome else 'fails'}")
    if off and stopped_by:
        print(f"stopped all the same by {stopped_by}")
    assert outcome == bool(off and not stopped_by)


if __name__ == "__main__":
    main(sys.argv[1])
