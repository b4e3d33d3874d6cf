#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same bundle run by a peer (Debian's runc, or what HUSK_TEST_PEER names: crun) and by husk, through the same containerd: what a process
sees from inside, and what the cgroup files say from outside, must be the same. A difference is allowed only where ALLOWED names it, with its reason."""
import copy
import difflib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import daemon  # pylint: disable=wrong-import-position

PEER = os.environ.get("HUSK_TEST_PEER", "runc")
RUNTIMES = {"runc": [daemon.RUNC], "crun": [daemon.RUNC, "--runc-binary", shutil.which("crun") or "crun"],
            "husk": [os.environ.get("HUSK_TEST_RUNTIME", daemon.HUSK)]}

# What differs and may: (peers, pattern, replacement, why both are right). Applied to every fact and file of both sides.
ALLOWED = [
    ("crun", r"^(mount \S+ \S+ \S+)( (shared|master):N| unbindable)+ - ", r"\1 - ",
     "config-linux.md, Rootfs Mount Propagation, names no default: crun's is rprivate, also for binds that ask for another; runc as husk"),
    ("runc crun", r"^mount \S+ (/proc/\w+|/sys/\w+|/etc/passwd) r[wo],\S+( master:N)? - (devtmpfs|tmpfs) .*", r"mount mask \1",
     "masks: husk binds the null device of the host, verified, not the container's own (CVE-2025-31133), and one sealed tmpfs (nr_inodes=1)"),
    ("runc crun", r"^(mount / /mnt/b/doc .* - tmpfs tmpfs rw,size=1024k),mode=755$", r"\1",
     "config.md, Mounts: a tmpfs without mode has that of the directory it covers; the peers give it by chmod, husk as an option"),
    ("runc crun", r"^masked (\S+) d\S+ 0$", r"masked \1 empty directory", "the sealed tmpfs of a masked directory has mode 0555; the peers leave 1777"),
    ("runc crun", r"^(mount / /sys .* - sysfs sysfs) r[wo]$", r"\1", "ro of sysfs is a flag of the mount; the peers set it on the superblock as well"),
    ("runc", r"^(mount / /sys/fs/cgroup) (rw|ro)(,\S+ - tmpfs) (tmpfs|cgroup) .*", r"\1\3",
     "runc 1.1 leaves the tmpfs above the v1 hierarchies writable although the mount says ro"),
    ("runc crun", r"^(mount / /sys/fs/cgroup \S+) - cgroup2 .*", r"\1 - cgroup2",
     "without a cgroup namespace husk binds the host's mount; the peers mount anew, which takes nsdelegate away from the host"),
    ("runc", r"^(mount / /sys/fs/cgroup/\S+ \S+) - cgroup \w+ ", r"\1 - cgroup ", "the name that stands for a source: runc's is the hierarchy's"),
    ("runc crun", r"^(mount (\S+ /|/version /mnt/version) ro)(,nosuid)?(,nodev)?(,noexec)?(,| )", r"\1\6",
     "the peers' remount that makes a root or a bind read-only drops what its source forbids; husk only adds, as mount_setattr does"),
    ("runc crun", r"^file cpu.weight (20|59)$", "file cpu.weight of 512 shares",
     "runc 1.1 and crun 1.21: linear; husk: the formula of the kernel's 1024 to 100, as runc 1.3.2 and crun 1.23"),
    ("runc crun", r"^(owner \S+) (0|65534):65534$", r"\1 of a user namespace",
     "config-linux.md, Cgroup ownership: husk gives a cgroup that is mounted writable to its user; runc does so with the systemd driver alone, crun not always"),
    ("crun", r"^(owner \S+) 0:0$", r"\1 of a user namespace", "the same section asks for the user alone; where crun gives it, it does so to the group too"),
    ("runc crun", r"^(dev drwxrwxrwt root) +(root|65534) +(\d+ mqueue)$", r"\1 \3", "group of /dev/mqueue in a user namespace: 0 here, unmapped with the peers"),
    ("crun", r"^(mount (ROOTFS\S* /\S*|/\w+ /dev/\w+|/ /dev(?= \S+ - devtmpfs)) r[wo])(,nosuid)?(,nodev|,noexec)?(,relatime)? - (dev)?tmpfs ", r"\1 - tmpfs ",
     "crun 1.21 drops what the root's own mount and /dev of the host forbid, and adds nosuid and noexec to devices bound into a user namespace; runc as husk"),
    ("crun", r"^env HOME=(/root)?$", "env HOME=", "an empty HOME: crun keeps it, husk and runc take the one of the user's passwd entry"),
]

PROBE = r"""
grep -E '^(Umask|State|Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap...|SigBlk|SigIgn|Cpus_allowed_list|NSpid|NSsid|NSpgid|CoreDumping|THP_enabled):' /proc/self/status | sed 's/^/status /'
sed -n '2,$s/^/limit /p' /proc/self/limits
sed -E 's/^[0-9]+ [0-9]+ [0-9]+:[0-9]+ //; s/(shared|master|propagate_from):[0-9]+/\1:N/g; s/^/mount /' /proc/self/mountinfo
ls -l /dev /dev/deep 2>/dev/null | sed -E 's/ [A-Z][a-z]{2} +[0-9]+ +[0-9:]+ / /; s/^(d.{9}) +[0-9]+ /\1 /; s/^/dev /'
ls -ld / /dev /proc /sys /tmp /dev/shm /run 2>/dev/null | sed -E 's/^(.{10}) +[0-9]+ /\1 /; s/ +[0-9]+ +[A-Z][a-z]{2} +[0-9]+ +[0-9:]+ / /; s/^/dir /'
env | sort | sed 's/^/env /'
for k in cgroup ipc mnt net pid user uts time; do echo "ns $k $(readlink /proc/self/ns/$k)"; done
sed -E 's/^/cgroup /; s/-(husk|runc|crun)$/-X/' /proc/self/cgroup
for f in kernel/hostname kernel/domainname net/ipv4/ip_forward kernel/msgmax kernel/shmmax net/ipv4/ping_group_range; do echo "sysctl $f $(cat /proc/sys/$f 2>&1)"; done
cat /proc/self/uid_map /proc/self/gid_map 2>/dev/null | sed 's/^/map /'
echo "oom $(cat /proc/self/oom_score_adj)"
echo "cwd $(pwd)"
echo "fds $(ls /proc/self/fd | sort -n | tr '\n' ' ')"
for p in /proc/timer_list /proc/keys /sys/firmware /proc/acpi /proc/scsi; do echo "masked $p $(ls -ld $p 2>&1 | cut -c1-10) $(ls -A $p 2>/dev/null | wc -l)"; done
for p in /proc/sys/kernel/domainname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do ( : >> $p ) 2>/dev/null && echo "writable $p"; done
( : > /written ) 2>/dev/null && echo "writable /" && rm -f /written
echo "tty $(tty 2>&1)"
for f in . cgroup.procs cgroup.subtree_control cgroup.threads memory.max memory.oom.group memory.reclaim; do
  [ -e /sys/fs/cgroup/$f ] && echo "owner $f $(stat -c %u:%g /sys/fs/cgroup/$f)"; done
echo "keyring $(sed -n 's/^.*keyring *//p' /proc/keys 2>/dev/null | grep -q _ses && echo seen)"
echo "loginuid $(cat /proc/self/loginuid 2>/dev/null) lo $(ip addr show lo 2>/dev/null | grep -c 'UP')"
echo "pgrp $(awk '{print ($5 == $1), ($6 == $1)}' /proc/1/stat)"
"""

CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]
BASE = {
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]}, "args": ["sh", "-c", PROBE], "cwd": "/",
                "env": ["PATH=/bin:/sbin", "A=1"], "noNewPrivileges": True,
                "capabilities": {k: CAPS for k in ("bounding", "effective", "permitted")},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
    "root": {"path": None},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}],
    "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}, "cgroupsPath": None,
              "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
              "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
              "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]},
}


def seccomp():
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["mount", "umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}


def variant(change):
    def make(rootfs):
        c = copy.deepcopy(BASE)
        c["root"]["path"] = rootfs
        change(c)
        return c
    return make


def namespaces(c, *kinds):
    c["linux"]["namespaces"] = [{"type": k} for k in kinds]


def bind(*options, destination="/mnt/b", source="/usr/share"):
    return lambda c: c["mounts"].append({"destination": destination, "type": "bind", "source": source, "options": list(options)})


def tmpfs(*options, destination="/mnt/t"):
    return lambda c: c["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)})


def mounted(destination, *options):
    """Other options for one of the base's mounts."""
    return lambda c: next(m for m in c["mounts"] if m["destination"] == destination).update(options=list(options))


def user_namespace(c, *more, maps=((0, 100000, 65536),)):
    namespaces(c, "pid", "ipc", "uts", "mount", "network", "user", *more)
    ranges = [{"containerID": a, "hostID": b, "size": n} for a, b, n in maps]
    c["linux"].update(uidMappings=ranges, gidMappings=ranges)


def all_of(*changes):
    return lambda c: [change(c) for change in changes]


def without_mount(c, destination):
    c["mounts"] = [m for m in c["mounts"] if m["destination"] != destination]


CASES = {
    "base": lambda c: None,
    "readonly": lambda c: c["root"].update(readonly=True),
    "user": lambda c: c["process"]["user"].update(uid=1000, gid=1000, additionalGids=[2000, 3000]),
    "user-cap-ambient": lambda c: (c["process"]["user"].update(uid=1000, gid=1000),
                                   c["process"]["capabilities"].update(inheritable=["CAP_NET_RAW"], ambient=["CAP_NET_RAW"])),
    "no-caps": lambda c: c["process"].update(capabilities={}),
    "caps-absent": lambda c: c["process"].pop("capabilities"),
    "new-privileges": lambda c: c["process"].update(noNewPrivileges=False),
    "umask": lambda c: c["process"]["user"].update(umask=0o77),
    "cwd-made": lambda c: c["process"].update(cwd="/made/here"),
    "rlimits": lambda c: c["process"].update(rlimits=[{"type": f"RLIMIT_{t}", "soft": s, "hard": h} for t, s, h in (
        ("NOFILE", 512, 600), ("CORE", 0, 0), ("NPROC", 900, 1000), ("STACK", 4 << 20, 8 << 20), ("AS", 1 << 40, 1 << 40), ("MEMLOCK", 1 << 16, 1 << 16))]),
    "oom": lambda c: c["process"].update(oomScoreAdj=500),
    "hostname": lambda c: c.update(hostname="differential"),
    "host-net": lambda c: namespaces(c, "pid", "ipc", "uts", "mount"),
    "host-pid": lambda c: namespaces(c, "ipc", "uts", "mount", "network"),
    "cgroupns": lambda c: namespaces(c, "pid", "ipc", "uts", "mount", "network", "cgroup"),
    "cgroup-mount": lambda c: c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                                                  "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
    "sysctl": lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "65530", "net.ipv4.ping_group_range": "0 100"}),
    "env-duplicates": lambda c: c["process"].update(env=["PATH=/bin:/sbin", "A=1", "B=2", "A=3", "EMPTY=", "HOME="]),
    "no-masks": lambda c: c["linux"].update(maskedPaths=[], readonlyPaths=[]),
    "seccomp": lambda c: c["linux"].update(seccomp=seccomp()),
    "seccomp-new-privileges": lambda c: (c["linux"].update(seccomp=seccomp()), c["process"].update(noNewPrivileges=False)),
    "device": lambda c: c["linux"].update(devices=[
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600}]),
    "bind-rw": lambda c: c["mounts"].append({"destination": "/mnt/b", "type": "bind", "source": "/usr/share", "options": ["rbind", "rw"]}),
    "bind-ro": lambda c: c["mounts"].append({"destination": "/mnt/b", "type": "bind", "source": "/usr/share", "options": ["bind", "ro", "nosuid", "nodev"]}),
    "bind-file": lambda c: c["mounts"].append({"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "ro"]}),
    "bind-slave": lambda c: c["mounts"].append({"destination": "/mnt/b", "type": "bind", "source": "/usr/share", "options": ["rbind", "rslave"]}),
    "bind-private": lambda c: c["mounts"].append({"destination": "/mnt/b", "type": "bind", "source": "/usr/share", "options": ["rbind", "rprivate", "noexec"]}),
    "tmpfs-options": lambda c: c["mounts"].append({"destination": "/mnt/t", "type": "tmpfs", "source": "tmpfs",
                                                   "options": ["noatime", "nodev", "mode=0750", "size=1m", "uid=5", "gid=6"]}),
    "rootfs-slave": lambda c: c["linux"].update(rootfsPropagation="rslave"),
    "rootfs-private": lambda c: c["linux"].update(rootfsPropagation="private"),
    "terminal-less-dev": lambda c: without_mount(c, "/dev/mqueue"),
    "resources": lambda c: c["linux"]["resources"].update({
        "memory": {"limit": 64 << 20, "reservation": 32 << 20}, "pids": {"limit": 77},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"}, "blockIO": {"weight": 500}}),
    "resources-unlimited": lambda c: c["linux"]["resources"].update({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}),
    "device-rules": lambda c: c["linux"]["resources"].update(devices=[
        {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "access": "r"}]),
    "user-namespace": lambda c: (namespaces(c, "pid", "ipc", "uts", "mount", "network", "user"),
                                 c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}],
                                                   gidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}])),
    "user-namespace-own-cgroup": lambda c: (
        namespaces(c, "pid", "ipc", "uts", "mount", "network", "user", "cgroup"),
        c["linux"].update(uidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}], gidMappings=[{"containerID": 0, "hostID": 100000, "size": 65536}]),
        c["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "rw"]})),
    # ---- namespaces ----
    "host-ipc": lambda c: namespaces(c, "pid", "uts", "mount", "network"),
    "host-uts": lambda c: namespaces(c, "pid", "ipc", "mount", "network"),
    "mount-namespace-alone": lambda c: (namespaces(c, "mount"), c["linux"].pop("sysctl", None)),
    "cgroupns-mount": all_of(lambda c: namespaces(c, "pid", "ipc", "uts", "mount", "network", "cgroup"), lambda c: c["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]})),
    # ---- the process ----
    "user-with-permitted-caps": all_of(lambda c: c["process"]["user"].update(uid=1000, gid=1000), lambda c: c["process"]["capabilities"].update(
        inheritable=["CAP_CHOWN", "CAP_KILL"])),
    "caps-bounding-alone": lambda c: c["process"].update(capabilities={"bounding": CAPS}),
    "caps-few": lambda c: c["process"].update(capabilities={k: ["CAP_CHOWN", "CAP_SETUID"] for k in ("bounding", "effective", "permitted")}),
    "groups-many": lambda c: c["process"]["user"].update(additionalGids=list(range(3000, 3032))),
    "umask-zero": lambda c: c["process"]["user"].update(umask=0),
    "env-path-lookup": lambda c: c["process"].update(env=["PATH=/no/such:/bin:/sbin", "A=1"]),
    "cwd-user": lambda c: (c["process"].update(cwd="/made/by/root"), c["process"]["user"].update(uid=1000, gid=1000)),
    "hostname-longest": lambda c: c.update(hostname="h" * 63),
    "rlimits-one": lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_NPROC", "soft": 10000, "hard": 10000}]),
    "oom-zero": lambda c: c["process"].update(oomScoreAdj=0),
    "seccomp-of-an-argument": lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}),
    "seccomp-log": lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_LOG"}),
    # ---- mounts ----
    "bind-shared": bind("rbind", "rshared"),
    "bind-unbindable": bind("bind", "unbindable"),
    "bind-times": bind("rbind", "noatime", "nodiratime"),
    "bind-strictatime": bind("rbind", "strictatime"),
    "bind-all-flags": bind("rbind", "ro", "nosuid", "nodev", "noexec", "relatime"),
    "bind-onto-made-file": bind("bind", "ro", destination="/mnt/deep/er/file", source="/etc/hostname"),
    "bind-then-tmpfs-on-it": all_of(bind("rbind"), tmpfs("size=1m", destination="/mnt/b/doc")),
    "bind-of-proc-file": bind("bind", "ro", destination="/mnt/version", source="/proc/version"),
    "tmpfs-read-only": tmpfs("ro", "nosuid", "nodev", "noexec"),
    "tmpfs-propagation": tmpfs("size=1m", "rprivate"),
    "tmpfs-on-directory-with-mode": tmpfs("size=1m", destination="/tmp"),
    "proc-hidepid": mounted("/proc", "nosuid", "noexec", "nodev", "hidepid=2"),
    "sysfs-writable": mounted("/sys", "nosuid", "noexec", "nodev"),
    "dev-small": mounted("/dev", "nosuid", "strictatime", "mode=755", "size=64k"),
    "dev-noexec": mounted("/dev", "nosuid", "noexec", "mode=755"),
    "dev-of-the-host": all_of(lambda c: c.update(mounts=[m for m in c["mounts"] if not m["destination"].startswith("/dev")]), bind("rbind", destination="/dev", source="/dev")),
    "readonly-with-cwd": lambda c: (c["root"].update(readonly=True), c["process"].update(cwd="/made/ro")),
    "rootfs-recursively-private": lambda c: c["linux"].update(rootfsPropagation="rprivate"),
    "masks-of-files-and-directories": lambda c: c["linux"].update(maskedPaths=["/etc/passwd", "/sys/kernel", "/no/such", "/proc/timer_list"]),
    "readonly-paths-of-the-root": lambda c: c["linux"].update(readonlyPaths=["/bin", "/proc/sys", "/no/such"]),
    # ---- devices, sysctl, resources ----
    "device-block": lambda c: c["linux"].update(devices=[{"path": "/dev/blk", "type": "b", "major": 7, "minor": 7, "fileMode": 0o600}]),
    "sysctl-mqueue": lambda c: c["linux"].update(sysctl={"fs.mqueue.msg_max": "20", "kernel.shm_rmid_forced": "1"}),
    "shares-least": lambda c: c["linux"]["resources"].update(cpu={"shares": 2}),
    "shares-most": lambda c: c["linux"]["resources"].update(cpu={"shares": 262144}),
    "quota-alone": lambda c: c["linux"]["resources"].update(cpu={"quota": 20000}),
    "memory-alone": lambda c: c["linux"]["resources"].update(memory={"limit": 32 << 20}),
    "pids-few": lambda c: c["linux"]["resources"].update(pids={"limit": 20}),
    # ---- user namespaces ----
    "user-namespace-user": all_of(user_namespace, lambda c: c["process"]["user"].update(uid=1000, gid=1000)),
    "user-namespace-readonly": all_of(user_namespace, lambda c: c["root"].update(readonly=True)),
    "user-namespace-bind": all_of(user_namespace, bind("rbind", "ro", "nosuid", destination="/tmp")),
    "user-namespace-tmpfs": all_of(user_namespace, tmpfs("mode=1777", "size=1m", "uid=3", "gid=4", destination="/tmp")),
    "user-namespace-two-ranges": lambda c: user_namespace(c, maps=((0, 100000, 1000), (1000, 300000, 64000))),
    "user-namespace-sysctl": all_of(user_namespace, lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "65530"})),
}

CGROUP_FILES = ("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us",
                "cpuset.cpus", "cpuset.mems", "blkio.weight", "blkio.bfq.weight", "devices.list", "memory.swappiness", "memory.max", "cpu.max",
                "cpu.weight", "io.weight", "memory.low")


def allowed(line):
    for peers, pattern, to, _why in ALLOWED:
        if PEER in peers.split():
            line = re.sub(pattern, to, line)
    return line


def facts(text, rootfs):
    # mountinfo names it from the top of its file system.
    text = re.sub(rf"\S*{re.escape('/'.join(rootfs.rsplit('/', 2)[1:]))}", "ROOTFS", text)
    host = {k: os.readlink(f"/proc/self/ns/{k}") for k in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time")}
    found = []
    for line in text.splitlines():
        m = re.match(r"ns (\w+) (\S+)$", line)
        if m:
            line = f"ns {m[1]} {'host' if m[2] == host[m[1]] else 'own'}"
        m = re.match(r"status (NS\w+):\s(.*)", line)
        if m:
            line = f"levels {m[1]} {len(m[2].split())}"
        found.append(re.sub(r"\bdiff-[a-z-]+-(husk|runc|crun)\b", "diff-X", allowed(line).rstrip()))
    # The kernel lists mounts by age: the order in which a runtime makes them is its own affair.
    return [line for line in found if not line.startswith("mount ")] + sorted(line for line in found if line.startswith("mount "))


class DifferentialTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = daemon.Daemon()
        cls.addClassCleanup(daemon.remove_cgroups, "diff")
        cls.addClassCleanup(lambda: cls.daemon.__exit__(None, None, None))
        cls.daemon.start()
        tool = os.path.join(daemon.REPO, "contrib/oci_image.py")
        for who in (PEER, "husk"):
            subprocess.run(["/usr/bin/python3", "-c", f"import sys; sys.path.insert(0, {os.path.dirname(tool)!r}); import oci_image, io, tarfile;"
                            f" tarfile.open(fileobj=io.BytesIO(oci_image.busybox_layer())).extractall({cls.rootfs(who)!r})"], check=True)

    @classmethod
    def rootfs(cls, who):
        return f"{cls.daemon.dir}/rootfs-{who}"

    def launch(self, case, who):
        """The client, and where what its container says goes."""
        cid = f"diff-{case}-{who}"
        config = variant(CASES[case])(self.rootfs(who))
        config["linux"]["cgroupsPath"] = f"/diff/{cid}"
        # The probe's output, then a pause in which the cgroup files are read from outside.
        config["process"]["args"][2] += "\necho END\nexec sleep 1000\n"
        path = f"{self.daemon.dir}/config-{cid}.json"
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        out = f"{self.daemon.dir}/out-{cid}"
        with open(out, "w", encoding="utf-8") as f:
            return subprocess.Popen(["ctr", "-a", self.daemon.address, "run", "--rm", "--runtime", *RUNTIMES[who], "--config", path, cid],
                                    stdout=f, stderr=f, stdin=subprocess.DEVNULL), out

    def inside(self, case, who, ctr, out):
        end = time.monotonic() + 20 * daemon.SLOW
        text = ""
        while "END\n" not in text and time.monotonic() < end and ctr.poll() is None:
            time.sleep(0.02)
            with open(out, encoding="utf-8", errors="replace") as f:
                text = f.read()
        self.assertIn("END\n", text, f"{case} by {who}")
        return facts(text[:text.index("END\n")], self.rootfs(who))

    @staticmethod
    def directories(case, who):
        return glob.glob(f"/sys/fs/cgroup/*/diff/diff-{case}-{who}") + glob.glob(f"/sys/fs/cgroup/diff/diff-{case}-{who}")

    def outside(self, case, who):
        lines = []
        for directory in self.directories(case, who):
            for name in CGROUP_FILES:
                if os.path.exists(f"{directory}/{name}"):
                    with open(f"{directory}/{name}", encoding="utf-8") as f:
                        lines += [allowed(f"file {name} {line}") for line in f.read().splitlines()]
        return sorted(lines)

    def end(self, case, who, ctr):
        """By the death of its init, after which its client removes all: a ctr more would cost more than the container."""
        for directory in self.directories(case, who)[:1]:
            with open(f"{directory}/cgroup.procs", encoding="utf-8") as f:
                for pid in f.read().split():
                    os.kill(int(pid), signal.SIGKILL)
        try:
            ctr.wait(30 * daemon.SLOW)
        finally:
            ctr.kill()
            for made in ("made", "mnt"):
                shutil.rmtree(f"{self.rootfs(who)}/{made}", ignore_errors=True)

    def compare(self, case):
        """Both at once: they meet nowhere, and the machine may have two processors."""
        ctrs = {who: self.launch(case, who) for who in (PEER, "husk")}
        try:
            inside = {who: self.inside(case, who, *ctrs[who]) for who in ctrs}
            outside = {who: self.outside(case, who) for who in ctrs}
        finally:
            for who, (ctr, _) in ctrs.items():
                self.end(case, who, ctr)
        for where, found in (("inside", inside), ("cgroup files", outside)):
            differences = list(difflib.unified_diff(found[PEER], found["husk"], PEER, "husk", n=0, lineterm=""))
            self.assertEqual(differences, [], where)


def add(case):
    setattr(DifferentialTest, f"test_{case.replace('-', '_')}", lambda self: self.compare(case))


for name in CASES:
    add(name)

if __name__ == "__main__":
    daemon.require()
    if PEER == "crun" and not os.path.exists("/sys/fs/cgroup/cgroup.procs"):
        daemon.skip("cgroup v1: crun is compared on v2 (tests/run.sh --vm)")
    if not shutil.which(PEER):
        daemon.skip(f"{PEER} is not installed: nothing to compare with")
    unittest.main(verbosity=2)
