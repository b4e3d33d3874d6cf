#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""husk behind the command line that OCI tools expect of a runtime: create, start, state, kill, delete. Each command speaks ttrpc to the
shim that `create` starts, so what answers is the product. RUNTIME=tests/lib/ocicli.py of runtime-tools' programs; HUSK_BIN names the build.

A stream that is a file is handed over as file://; a pipe or a terminal's console is copied by a process of its own that ends with the stream.
"""
import argparse
import array
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import tty

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ttrpc  # pylint: disable=wrong-import-position

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIM = os.path.join(os.environ.get("HUSK_BIN", os.path.join(REPO, "build/release/bin")), "containerd-shim-husk-v2")
NAMESPACE = "oci"
RUNC_OPTIONS = "containerd.runc.v1.Options"
STATUS = {1: "created", 2: "running", 3: "stopped", 4: "paused", 5: "paused"}  # of containerd's types.Status
SLOW_CALL = 300  # hooks have times of their own


class Refused(Exception):
    """Told on stderr, with exit status 1."""


class Container:
    """What is remembered of one between commands: <root>/<id>.json."""

    def __init__(self, root, cid):
        if not cid:
            raise Refused("a container id is needed")
        if not re.fullmatch(r"[A-Za-z0-9_+.-]+", cid) or cid.startswith("."):
            raise Refused(f"invalid container id {cid!r}")
        self.id, self.root, self.path = cid, root, f"{root}/{cid}.json"
        self.facts = {}
        self.client = None

    def load(self):
        try:
            with open(self.path, encoding="utf-8") as f:
                self.facts = json.load(f)
        except FileNotFoundError:
            raise Refused(f"container {self.id!r} does not exist") from None
        return self

    def save(self, **facts):
        self.facts.update(facts)
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            json.dump(self.facts, f)
        os.rename(self.path + ".new", self.path)

    def reserve(self):
        """The id is this container's from now on, or somebody else's already."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise Refused(f"container {self.id!r} exists already") from None

    def forget(self):
        os.unlink(self.path)

    def shim(self, action, *flags):
        return subprocess.run([SHIM, "-namespace", NAMESPACE, "-address", f"{self.root}/sock", "-publish-binary", "/bin/false", "-id", self.id,
                               *flags, action], cwd=self.facts["bundle"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)

    def call(self, method, timeout=60, **values):
        if self.client is None:
            self.client = ttrpc.Client(self.facts["address"])
        return self.client.task(method, timeout, **values)

    def state(self):
        """(status, pid) as the runtime-spec words it."""
        try:
            reply = self.call("State", id=self.id)
        except (OSError, ttrpc.Error):
            return "stopped", 0
        status = STATUS.get(reply["status"], "creating")
        return status, 0 if status == "stopped" else reply["pid"]

    def end_shim(self):
        try:
            self.call("Shutdown", id=self.id, now=True)
            self.client.reader.join(10)  # it closes the connection when it is gone
        except OSError:
            pass
        self.shim("delete", "-bundle", self.facts["bundle"])


# ---- streams ----
def copy(source, sink):
    try:
        while part := os.read(source, 65536):
            while part:
                part = part[os.write(sink, part):]
    except OSError:
        pass  # a terminal's other end is gone


def keep(jobs, directory):
    """A process apart that copies until every stream has ended: [(from, to)], each a descriptor or the path of a FIFO."""
    if os.fork() != 0:
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)

    def run(source, sink):
        copy(os.open(source, os.O_RDONLY) if isinstance(source, str) else source, os.open(sink, os.O_WRONLY) if isinstance(sink, str) else sink)

    threads = [threading.Thread(target=run, args=job, daemon=isinstance(job[1], str)) for job in jobs]  # input has no end of its own
    for t in threads:
        t.start()
    for t in threads:
        if not t.daemon:
            t.join()
    subprocess.run(["rm", "-rf", directory], check=False)
    os._exit(0)


def fifo(directory, name):
    path = f"{directory}/{name}"
    os.mkfifo(path, 0o600)
    return path


def console(directory, socket_path):
    """The master of a new terminal to whoever listens, its slave's bytes to and from the shim's FIFOs."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(socket_path)
        s.sendmsg([b"console"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
    os.close(master)
    values = {"stdin": fifo(directory, "stdin"), "stdout": fifo(directory, "stdout"), "terminal": True}
    return values, [(slave, values["stdin"]), (values["stdout"], slave)]


def streams(directory):
    values, jobs = {}, []
    for fd, name in ((1, "stdout"), (2, "stderr")):
        st = os.fstat(fd)
        if stat.S_ISREG(st.st_mode):
            values[name] = "file://" + os.readlink(f"/proc/self/fd/{fd}")
        elif os.path.realpath(f"/proc/self/fd/{fd}") != "/dev/null":
            values[name] = fifo(directory, name)
            jobs.append((values[name], os.dup(fd)))
    return values, jobs


# ---- commands ----
def create(args):
    c = Container(args.root, args.id)
    bundle = os.path.realpath(args.bundle)
    with open(f"{bundle}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    c.reserve()
    c.facts = {"bundle": bundle}
    try:
        started = c.shim("start")
        if started.returncode != 0:
            raise Refused(started.stderr.decode().strip())
        # What the state is to tell is what was there at create: later edits have no effect.
        c.save(address=started.stdout.decode(), version=config.get("ociVersion", ""), annotations=config.get("annotations") or {})
        directory = tempfile.mkdtemp(prefix=".io-", dir=args.root)
        terminal = bool((config.get("process") or {}).get("terminal"))
        if terminal and not args.console_socket:
            raise Refused("process.terminal: --console-socket is needed")
        values, jobs = console(directory, args.console_socket) if terminal else streams(directory)
        if jobs:
            keep(jobs, directory)
        else:
            os.rmdir(directory)
        options = ttrpc.encode("RuncOptions", no_pivot_root=args.no_pivot, no_new_keyring=args.no_new_keyring)
        pid = c.call("Create", SLOW_CALL, id=c.id, bundle=bundle, options={"type_url": RUNC_OPTIONS, "value": options}, **values)["pid"]
    except BaseException:
        if c.facts.get("address"):
            c.end_shim()
        c.forget()
        raise
    if args.pid_file:
        with open(args.pid_file + ".new", "w", encoding="utf-8") as f:
            f.write(str(pid))
        os.rename(args.pid_file + ".new", args.pid_file)


def start(args):
    c = Container(args.root, args.id).load()
    c.call("Start", SLOW_CALL, id=c.id)


def state(args):
    c = Container(args.root, args.id).load()
    status, pid = c.state()
    document = {"ociVersion": c.facts["version"], "id": c.id, "status": status, "pid": pid, "bundle": c.facts["bundle"]}
    if c.facts["annotations"]:
        document["annotations"] = c.facts["annotations"]
    print(json.dumps(document, indent=2))


def signal_number(word):
    if word.isdigit():
        return int(word)
    name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
    try:
        return signal.Signals[name].value
    except KeyError:
        raise Refused(f"unknown signal {word!r}") from None


def kill(args):
    c = Container(args.root, args.id).load()
    c.call("Kill", id=c.id, signal=signal_number(args.signal), all=args.all)


def delete(args):
    try:
        c = Container(args.root, args.id).load()
    except Refused:
        if args.force and args.id:
            return
        raise
    status, _ = c.state()
    if status != "stopped" and not args.force:
        raise Refused(f"cannot delete container {c.id!r}: it is {status}, not stopped")
    if status != "stopped":
        c.call("Kill", id=c.id, signal=signal.SIGKILL, all=True)
        c.call("Wait", id=c.id)
    try:
        c.call("Delete", SLOW_CALL, id=c.id)
    except OSError:
        pass  # a dead shim: its `delete` below cleans up
    c.end_shim()
    c.forget()


def main():
    p = argparse.ArgumentParser(prog="ocicli.py")
    p.add_argument("--root", default="/run/husk-oci")
    for ignored in ("--log", "--log-format"):
        p.add_argument(ignored)
    p.add_argument("--debug", action="store_true")
    sub = p.add_subparsers(required=True)
    for run in (create, start, state, kill, delete):
        s = sub.add_parser(run.__name__)
        s.set_defaults(run=run)
        s.add_argument("id", nargs="?")
        if run is create:
            s.add_argument("--bundle", "-b", default=".")
            s.add_argument("--pid-file")
            s.add_argument("--console-socket")
            s.add_argument("--no-pivot", action="store_true")
            s.add_argument("--no-new-keyring", action="store_true")
        elif run is kill:
            s.add_argument("signal", nargs="?", default="TERM")
            s.add_argument("--all", "-a", action="store_true")
        elif run is delete:
            s.add_argument("--force", "-f", action="store_true")
    args = p.parse_args()
    try:
        args.run(args)
    except (Refused, ttrpc.Error, OSError, ValueError, TimeoutError) as e:
        print(f"ocicli: {e}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
