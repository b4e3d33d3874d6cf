#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stdio through the real shim: every form, byte by byte, with readers that come late or go away, sinks that break, and processes that an
exec leaves behind. HUSK_SOAK=1 widens the table of sizes to 2^10 ... 2^27."""
import json
import os
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

SLOW = float(os.environ.get("HUSK_TEST_SLOW", "1"))
SOAK = os.environ.get("HUSK_SOAK") == "1"
EXPONENTS = range(10, 28) if SOAK else (10, 12, 13, 14, 16, 17, 20)
# Without PATH, as loggers have it. The first line of the log: arguments, environment, and what is open.
LOGGER = """#!/bin/sh
{setup}
exec 5>&-
/bin/cat <&3 >{log}
/bin/cat <&4 >{log}.err
"""


def executable(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def times_out(seconds):
    return seconds * SLOW


class StdioTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)
        self.n = 0

    def name(self, prefix):
        self.n += 1
        return f"{prefix}{self.n}"

    def exec(self, cid, args, eid=None, **values):
        """Exec and Start with any paths; the exec's id."""
        eid = eid or self.name("e")
        spec = {"type_url": shim.PROCESS_TYPE, "value": shim.json.dumps(shim.process(args)).encode()}
        self.pod.call("Exec", id=cid, exec_id=eid, spec=spec, **values)
        self.pod.call("Start", id=cid, exec_id=eid)
        return eid

    def logger(self, log, setup=":"):
        return "binary://" + executable(f"{log}.sh", LOGGER.format(setup=setup, log=log))


class Sizes(StdioTest):
    """2^k - 1, 2^k and 2^k + 1 bytes, the last line not terminated, through every way that output can take."""

    def setUp(self):
        super().setUp()
        self.data = os.urandom((1 << max(EXPONENTS)) + 1)
        with open(f"{self.pod.rootfs}/data", "wb") as f:
            f.write(self.data)
        self.pod.run("c", ["sleep", "100000"])

    def run_one(self, way, is_exec, size):
        """What arrived."""
        pod, name = self.pod, self.name("s")
        command = f"exec head -c {size} /data"
        path = f"{pod.dir}/{name}.out"
        values = {"terminal": way == "terminal"}
        if way in ("fifo", "terminal"):
            reader = shim.Reader(path)
            self.addCleanup(reader.release)
            values["stdout"] = path
        elif way == "file":
            values["stdout"] = values["stderr"] = f"file://{path}"
        else:
            values["stdout"] = values["stderr"] = self.logger(path)
        args = ["sh", "-c", f"stty raw; {command}" if way == "terminal" else command]
        if is_exec:
            eid = self.exec("c", args, name, **values)
            target = {"id": "c", "exec_id": eid}
        else:
            pod.call("Create", id=name, bundle=pod.bundle(name, args), **values)
            target = {"id": name}
            pod.call("Start", **target)
        self.assertEqual(pod.call("Wait", timeout=times_out(120), **target)["exit_status"], 0)
        # As a client does: EOF first, then Delete.
        got = reader.bytes(times_out(60)) if way in ("fifo", "terminal") else None
        pod.call("Delete", **target)
        if got is None:
            got = read(path)
            os.unlink(path)
        return got

    def table(self, way):
        for is_exec in (False, True):
            for k in EXPONENTS:
                for size in ((1 << k) - 1, 1 << k, (1 << k) + 1):
                    got = self.run_one(way, is_exec, size)
                    is_same = got == memoryview(self.data)[:size]
                    self.assertEqual((way, is_exec, len(got), is_same), (way, is_exec, size, True))
        print(f"{way}: {6 * len(EXPONENTS)} sizes up to {max(EXPONENTS)} bits are byte-exact", file=sys.stderr)

    def test_fifo(self):
        self.table("fifo")

    def test_terminal(self):
        self.table("terminal")

    def test_file(self):
        self.table("file")

    def test_logger(self):
        self.table("logger")

    def test_stdin(self):
        """The other direction, with a client that closes its end and then says so."""
        pod = self.pod
        for is_exec in (False, True):
            for k in EXPONENTS:
                for size in ((1 << k) - 1, 1 << k, (1 << k) + 1):
                    name = self.name("s")
                    out, path = shim.Reader(f"{pod.dir}/{name}.out"), f"{pod.dir}/{name}.in"
                    self.addCleanup(out.release)
                    os.mkfifo(path)
                    values = {"stdin": path, "stdout": out.path}
                    if is_exec:
                        target = {"id": "c", "exec_id": self.exec("c", ["cat"], name, **values)}
                    else:
                        pod.call("Create", id=name, bundle=pod.bundle(name, ["cat"]), **values)
                        pod.call("Start", id=name)
                        target = {"id": name}
                    with open(path, "wb", buffering=0) as f:
                        view = memoryview(self.data)[:size]
                        while view:
                            view = view[f.write(view):]
                    pod.call("CloseIO", stdin=True, **target)
                    self.assertEqual(pod.call("Wait", timeout=times_out(120), **target)["exit_status"], 0)
                    got = out.bytes(times_out(60))
                    self.assertEqual((is_exec, len(got), got == memoryview(self.data)[:size]), (is_exec, size, True))
                    pod.call("Delete", **target)


class AwayReader(StdioTest):
    """The daemon is stopped while a process writes: it waits, goes on with the next reader, and not a byte is lost or told twice."""
    LINES = 400000  # about 2.7 MB, 40 times what a pipe holds

    def read_in_parts(self, path, is_over):
        """Takes some, goes away, comes back, as often as needed; then to EOF."""
        got, round_ = bytearray(), 0
        while True:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.set_blocking(fd, True)
            try:
                budget = 150000 + 7777 * round_ if round_ < 8 else 1 << 40
                while budget > 0:
                    part = os.read(fd, min(budget, 65536))
                    if not part:
                        return bytes(got)
                    got += part
                    budget -= len(part)
            finally:
                os.close(fd)
            round_ += 1
            self.assertFalse(is_over() and round_ < 2, "it did not wait for a reader")
            time.sleep(0.1)

    def check(self, terminal, is_exec):
        pod, name = self.pod, self.name("a")
        path = f"{pod.dir}/{name}.out"
        os.mkfifo(path)
        args = ["sh", "-c", ("stty raw; " if terminal else "") + f"exec seq 1 {self.LINES}"]
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if is_exec:
            target = {"id": "c", "exec_id": self.exec("c", args, name, stdout=path, terminal=terminal)}
        else:
            pod.call("Create", id=name, bundle=pod.bundle(name, args), stdout=path, terminal=terminal)
            pod.call("Start", id=name)
            target = {"id": name}
        os.close(first)  # before a byte was read
        wait = pod.client.start_task("Wait", **target)
        time.sleep(0.2)
        got = self.read_in_parts(path, wait.done.is_set)
        self.assertEqual(wait.result(times_out(30))["exit_status"], 0)
        want = "".join(f"{i}\n" for i in range(1, self.LINES + 1)).encode()
        self.assertEqual((len(got), got == want), (len(want), True))
        pod.call("Delete", **target)

    def test_init_and_exec(self):
        self.pod.run("c", ["sleep", "100000"])
        for terminal in (False, True):
            for is_exec in (False, True):
                with self.subTest(terminal=terminal, is_exec=is_exec):
                    self.check(terminal, is_exec)

    def spill(self, size, seconds):
        """A container that says 1 MB a second for so long, a part in each tenth of one, while nobody reads. What is then read; what it counted, and how late it was."""
        pod, name = self.pod, self.name("s")
        path, counted = f"{pod.dir}/{name}.out", f"{pod.rootfs}/{name}"
        os.mkfifo(path)
        script = f"i=0; while [ $i -lt {seconds * 10} ]; do i=$((i+1)); seq $((i*100000)) $((i*100000+14284)); echo $i >/{name}; sleep 0.1; done; exec sleep 1000"
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        bundle = pod.bundle(name, ["sh", "-c", script], change=lambda c: c["annotations"].update({"husk.io/stdio-spill": size}))
        pod.call("Create", id=name, bundle=bundle, stdout=path)
        pod.call("Start", id=name)
        os.close(first)
        begin = time.monotonic()
        eventually(lambda: os.path.exists(counted) and read(counted).split() == [str(seconds * 10).encode()], times_out(5 * seconds), "end of what it says")
        took = time.monotonic() - begin
        back = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        got, end = bytearray(), time.monotonic() + times_out(30)
        quiet = 0
        while quiet < 20 and time.monotonic() < end:
            try:
                part = os.read(back, 1 << 20)
            except BlockingIOError:
                part = b""
            got += part
            quiet = 0 if part else quiet + 1
            time.sleep(0 if part else 0.02)
        why = json.loads(subprocess.run([f"{shim.BIN}/husk", "why", "--json", name], capture_output=True, check=True).stdout)[0]
        pod.finish(name)
        os.close(back)
        want = b"".join(b"%d\n" % n for i in range(1, seconds * 10 + 1) for n in range(i * 100000, i * 100000 + 14285))
        return bytes(got), want, next(c["droppedBytes"] for c in why["containers"] if c["id"] == name), took

    def test_an_outage_that_it_does_not_wait_for(self):
        """R14: husk.io/stdio-spill keeps what is said meanwhile, in order; what is beyond it is dropped from the end, and counted."""
        seconds = 60 if SOAK else 4
        got, want, dropped, took = self.spill("128M", seconds)
        print(f"{len(want)} bytes said in {took:.1f} s to nobody, all of them read afterwards", file=sys.stderr)
        self.assertEqual((len(got), got == want, dropped), (len(want), True, 0))
        got, want, dropped, took = self.spill("1M", seconds)
        print(f"{len(want)} bytes said in {took:.1f} s to nobody, {len(got)} kept of 1 MiB and a FIFO, {dropped} dropped", file=sys.stderr)
        self.assertEqual((len(got) + dropped, want.startswith(got)), (len(want), True))
        self.assertGreaterEqual(len(got), 1 << 20)
        self.assertLess(len(got), (1 << 20) + 3 * 65536)

    def test_a_spill_of_no_size(self):
        with self.assertRaisesRegex(ttrpc.Error, "annotation husk.io/stdio-spill \"much\": not a number of bytes"):
            self.pod.call("Create", id="x", bundle=self.pod.bundle("x", ["true"], change=lambda c: c["annotations"].update({"husk.io/stdio-spill": "much"})))

    def test_stderr_is_opened_first(self):
        """A client that stands still in its open of stderr before it comes to stdout."""
        pod = self.pod
        for is_exec in (False, True):
            name = self.name("o")
            out, err = f"{pod.dir}/{name}.out", f"{pod.dir}/{name}.err"
            os.mkfifo(out)
            os.mkfifo(err)
            got = {}

            def client(out=out, err=err, got=got):
                with open(err, "rb") as e, open(out, "rb") as o:
                    got["out"], got["err"] = o.read(), e.read()
            thread = threading.Thread(target=client)
            thread.start()
            args = ["sh", "-c", "echo out; echo err >&2"]
            if is_exec:
                pod.run("c", ["sleep", "1000"])
                self.exec("c", args, name, stdout=out, stderr=err)
            else:
                pod.call("Create", id=name, bundle=pod.bundle(name, args), stdout=out, stderr=err)
                pod.call("Start", id=name)
            thread.join(times_out(10))
            self.assertEqual(got, {"out": b"out\n", "err": b"err\n"})


class BrokenSinks(StdioTest):
    """Whoever writes into a sink that is full or gone is told so by the kernel, and is never blocked for ever."""

    def test_a_full_file_system(self):
        pod = self.pod
        where = f"{pod.dir}/full"
        os.mkdir(where)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", where], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", where], check=False)
        script = "head -c 1000000 /dev/zero; echo $? >/tmp/status; exec sleep 1000"
        pod.run("c", ["sh", "-c", f"mount; {script}"], stdout=f"file://{where}/log", stderr=f"file://{where}/log")
        eventually(lambda: os.path.exists(f"{pod.rootfs}/tmp/status"), times_out(10), "the writer was told")
        self.assertEqual(read(f"{pod.rootfs}/tmp/status"), b"1\n")
        self.assertEqual(pod.call("State", id="c")["status"], 2)
        eid = self.exec("c", ["head", "-c", "1000000", "/dev/zero"], stdout=f"file://{where}/log2", stderr=f"file://{where}/log2")
        self.assertEqual(pod.call("Wait", id="c", exec_id=eid)["exit_status"], 1)
        pod.call("Delete", id="c", exec_id=eid)
        pod.finish("c")

    def test_a_logger_that_dies(self):
        pod = self.pod
        for terminal in (False, True):
            cid = self.name("c")
            log = f"{pod.dir}/{cid}.log"
            uri = self.logger(log, setup=f"echo $$ >{log}.pid; exec 5>&-; exec /bin/cat <&3 >{log}")
            args = ["sh", "-c", "trap '' PIPE; while [ ! -e /tmp/go ]; do sleep 0.02; done; head -c 1000000 /dev/zero; echo $? >/tmp/status; rm /tmp/go; exec sleep 1000"]
            pod.call("Create", id=cid, bundle=pod.bundle(cid, args), stdout=uri, stderr=uri, terminal=terminal)
            pod.call("Start", id=cid)
            logger = int(eventually(lambda log=log: os.path.exists(f"{log}.pid") and read(f"{log}.pid"), what="the logger"))
            os.kill(logger, 9)
            eventually(lambda logger=logger: not is_alive(logger), what="end of the logger")
            with open(f"{pod.rootfs}/tmp/go", "w", encoding="utf-8"):
                pass
            eventually(lambda: not os.path.exists(f"{pod.rootfs}/tmp/go"), times_out(10), "the writer went on")
            self.assertEqual(read(f"{pod.rootfs}/tmp/status"), b"0\n" if terminal else b"1\n")
            begin = time.monotonic()
            pod.finish(cid)
            self.assertLess(time.monotonic() - begin, times_out(1))


class Loggers(StdioTest):
    @staticmethod
    def probe(log):
        """Each into a file of its own: a pipeline of the shell's would be among its descriptors."""
        return f'echo "$0 $*" >{log}.args; /usr/bin/env >{log}.env; /bin/ls -l /proc/$$/fd >{log}.fds'

    def test_what_it_gets(self):
        pod = self.pod
        for is_exec in (False, True):
            if is_exec:
                pod.run("main", ["sleep", "1000"])
            cid = self.name("c")
            log = f"{pod.dir}/{cid}.log"
            uri = self.logger(log, setup=self.probe(log)) + "?b=2&a=1&b=3&%20c=d+e&f"
            args = ["sh", "-c", "echo out; echo err >&2"]
            if is_exec:
                target = {"id": "main", "exec_id": self.exec("main", args, cid, stdout=uri, stderr=uri)}
            else:
                pod.call("Create", id=cid, bundle=pod.bundle(cid, args), stdout=uri, stderr=uri)
                target = {"id": cid}
                pod.call("Start", **target)
            self.assertEqual(pod.call("Wait", **target)["exit_status"], 0)
            self.assertEqual(read(f"{log}.args").decode(), f"{log}.sh b 2 a 1  c d e f \n")
            env = {line.split("=")[0]: line.partition("=")[2] for line in read(f"{log}.env").decode().splitlines()}
            for name in ("PWD", "OLDPWD", "SHLVL", "_"):  # the shell's own
                env.pop(name, None)
            self.assertEqual(env, {"CONTAINER_ID": cid, "CONTAINER_NAMESPACE": shim.NAMESPACE})
            fds = {int(line.split()[8]): line.split()[10] for line in read(f"{log}.fds").decode().splitlines() if "->" in line}
            fds = {k: v for k, v in fds.items() if k < 10}  # above: the script itself
            self.assertEqual((fds[0], fds[2], set(fds)), ("/dev/null", "/dev/null", {0, 1, 2, 3, 4, 5}), fds)
            self.assertTrue(all(fds[i].startswith("pipe:") for i in (3, 4, 5)) and len({fds[i] for i in (3, 4, 5)}) == 3, fds)
            # The end of its input is Delete, and what it wrote is there when Delete is answered.
            time.sleep(0.1)
            self.assertFalse(os.path.exists(f"{log}.err"))
            pod.call("Delete", **target)
            self.assertEqual((read(log), read(f"{log}.err")), (b"out\n", b"err\n"))

    def test_terminal(self):
        pod = self.pod
        log = f"{pod.dir}/t.log"
        os.mkfifo(f"{pod.dir}/t.in")
        uri = self.logger(log)
        pod.call("Create", id="t", bundle=pod.bundle("t", ["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo tty; read x; echo got $x"]),
                 stdin=f"{pod.dir}/t.in", stdout=uri, stderr=uri, terminal=True)
        pod.call("Start", id="t")
        with open(f"{pod.dir}/t.in", "wb", buffering=0) as f:
            f.write(b"abc\n")
            self.assertEqual(pod.call("Wait", id="t")["exit_status"], 0)
        pod.call("Delete", id="t")
        self.assertRegex(read(log), rb"^(abc\r\n)?tty\r\n(abc\r\n)?got abc\r\n$")
        self.assertEqual(read(f"{log}.err"), b"")

    def test_readiness(self):
        """Nothing runs before the logger is ready; binary-v2 wants a word, binary is content with an end."""
        pod = self.pod
        for scheme, setup, fails in (("binary", "/bin/sleep 0.3", False), ("binary", "exit 1", False), ("binary-v2", "exit 1", True),
                                     ("binary-v2", "/bin/sleep 0.3; exec 5>&-", True), ("binary-v2", "/bin/sleep 0.3; echo >&5", False)):
            with self.subTest(scheme=scheme, setup=setup):
                cid = self.name("r")
                uri = self.logger(f"{pod.dir}/{cid}.log", setup=setup).replace("binary:", scheme + ":")
                begin = time.monotonic()
                values = {"id": cid, "bundle": pod.bundle(cid, ["true"]), "stdout": uri, "stderr": uri}
                if fails:
                    with self.assertRaises(ttrpc.Error) as caught:
                        pod.call("Create", **values)
                    self.assertIn("logging binary did not call ready", caught.exception.message)
                else:
                    pod.call("Create", **values)
                    took = time.monotonic() - begin
                    self.assertGreaterEqual(took, 0.3 if "sleep" in setup else 0)
                    self.assertLess(took, times_out(0.3 if "sleep" not in setup else 2))
                    pod.finish(cid)
        with self.assertRaises(ttrpc.Error) as caught:
            pod.call("Create", id="none", bundle=pod.bundle("none", ["true"]), stdout="binary:///nonexistent/logger")
        self.assertIn("/nonexistent/logger", caught.exception.message)

    def end_of(self, setup):
        """Seconds until Delete was answered, and whether the logger lived on."""
        pod, cid = self.pod, self.name("k")
        log = f"{pod.dir}/{cid}.log"
        uri = "binary://" + executable(f"{log}.sh", f"#!/bin/sh\necho $$ >{log}.pid\nexec 5>&-\n{setup}\n")
        pod.call("Create", id=cid, bundle=pod.bundle(cid, ["true"]), stdout=uri, stderr=uri)
        pod.call("Start", id=cid)
        pod.call("Wait", id=cid)
        logger = int(eventually(lambda: os.path.exists(f"{log}.pid") and read(f"{log}.pid"), what="the logger"))
        begin = time.monotonic()
        pod.call("Delete", id=cid, timeout=times_out(30))
        return time.monotonic() - begin, is_alive(logger)

    def test_one_that_does_not_end(self):
        log = f"{self.pod.dir}/term"
        seconds, lives = self.end_of(f"trap 'echo >{log}; exit 0' TERM; while :; do /bin/sleep 0.02; done")
        self.assertFalse(lives)
        self.assertTrue(os.path.exists(log))
        self.assertLess(seconds, times_out(3))
        # Deaf to everything: meanwhile the shim answers everybody else.
        result = []
        thread = threading.Thread(target=lambda: result.extend(self.end_of("trap '' TERM; while :; do /bin/sleep 0.02; done")))
        thread.start()
        other = self.pod.connect()
        while thread.is_alive():
            begin = time.monotonic()
            other.task("Connect", id="pod")
            self.assertLess(time.monotonic() - begin, times_out(0.5))
            time.sleep(0.2)
        seconds, lives = result
        self.assertFalse(lives)
        self.assertTrue(12 <= seconds < times_out(15), seconds)


class Owners(StdioTest):
    """Who is not root may open its /dev/stdout again, by the id of its spec or by the one that the client names."""

    def test_reopen(self):
        pod = self.pod
        script = "echo plain; echo again >/dev/stdout; echo err >/dev/stderr; echo fd >/proc/self/fd/1"

        def as_user(uid):
            def change(document):
                document["process"]["user"] = {"uid": uid, "gid": uid}
                document["process"]["capabilities"] = {}
            return change
        for uid, options in ((0, None), (1000, None), (1000, {"io_uid": 1000, "io_gid": 1000})):
            cid = self.name("u")
            more = {"options": {"type_url": "containerd.runc.v1.Options", "value": ttrpc.encode("RuncOptions", **options)}} if options else {}
            pod.run(cid, ["sh", "-c", script], change=as_user(uid), **more)
            self.assertEqual(pod.call("Wait", id=cid)["exit_status"], 0, uid)
            self.assertEqual((pod.output[cid].text(), pod.errors[cid].text()), ("plain\nagain\nfd\n", "err\n"))
            owner = os.stat(pod.output[cid].path)
            self.assertEqual((owner.st_uid, owner.st_gid), (uid, uid))
        pod.run("c", ["sleep", "1000"])
        pod.exec("c", "e", ["sh", "-c", script], user={"uid": 1000, "gid": 1000}, capabilities={})
        pod.call("Start", id="c", exec_id="e")
        self.assertEqual(pod.call("Wait", id="c", exec_id="e")["exit_status"], 0)
        self.assertEqual((pod.output["e"].text(), pod.errors["e"].text()), ("plain\nagain\nfd\n", "err\n"))


class LeftBehind(StdioTest):
    """`sh -c 'sleep 1000 &'` as an exec: the grandchild holds stdout."""

    def leave(self, cid, script="sleep 1000 & echo up", terminal=False):
        """(exec id, seconds from the leader's exit to the answer of Wait)"""
        pod, eid = self.pod, self.name("e")
        pod.exec(cid, eid, ["sh", "-c", script], terminal=terminal)
        wait = pod.client.start_task("Wait", id=cid, exec_id=eid)
        pod.call("Start", id=cid, exec_id=eid)
        done = wait.result(times_out(10))
        at = done["exited_at"]
        return eid, time.time() - (at["seconds"] + at["nanos"] / 1e9), at

    def with_annotation(self, cid, **annotations):
        def change(document):
            document["annotations"].update({f"husk.io/{k.replace('_', '-')}": v for k, v in annotations.items()})
        self.pod.run(cid, ["sleep", "100000"], change=change)

    def processes(self, cid):
        return len(self.pod.call("Pids", id=cid)["processes"])

    def test_wait_and_delete(self):
        pod = self.pod
        pod.run("c", ["sleep", "100000"])
        waits, deletes = [], []
        for _ in range(10):
            eid, late, _ = self.leave("c")
            waits.append(late)
            pod.output[eid].wait_for(b"up\n")
            begin = time.monotonic()
            pod.call("Delete", id="c", exec_id=eid)
            deletes.append(time.monotonic() - begin)
            self.assertEqual(pod.output[eid].text(1), "up\n")
        self.assertLess(sorted(waits)[5], times_out(0.05), waits)
        self.assertLess(max(deletes), times_out(1.5), deletes)
        self.assertEqual(self.processes("c"), 11)  # by default they live on, as with runc
        print(f"Wait {1000 * sorted(waits)[5]:.1f} ms after the leader's exit, Delete after {sorted(deletes)[5]:.2f} s (medians)", file=sys.stderr)

    def test_linger(self):
        pod = self.pod
        self.with_annotation("c", exec_linger="1")
        eid, _, _ = self.leave("c", "(sleep 0.3; echo late; sleep 1000) & echo up")
        begin = time.monotonic()
        self.assertEqual(pod.output[eid].text(times_out(5)), "up\nlate\n")
        self.assertTrue(0.5 < time.monotonic() - begin < times_out(3))
        begin = time.monotonic()
        pod.call("Delete", id="c", exec_id=eid)
        self.assertLess(time.monotonic() - begin, times_out(0.3))

    def kill_tree(self, cid):
        pod = self.pod
        for script, terminal in (("sleep 1000 & sleep 1000 & echo up", False), ("(setsid sleep 1000 &) ; (sleep 1000 & sleep 1000) & echo up", False),
                                 ("sleep 1000 & echo up", True)):
            eid, late, _ = self.leave(cid, script, terminal)
            self.assertEqual(pod.output[eid].text(times_out(2)).strip(), "up")  # EOF without a Delete
            self.assertLess(late, times_out(0.5))
            eventually(lambda: self.processes(cid) == 1, times_out(5), "end of the tree")
            pod.call("Delete", id=cid, exec_id=eid)
        # An exec that is still running is not touched by another's end.
        runs = self.name("e")
        pod.exec(cid, runs, ["sh", "-c", "sleep 1000 & exec sleep 1000"])
        pod.call("Start", id=cid, exec_id=runs)
        eid, _, _ = self.leave(cid)
        pod.call("Delete", id=cid, exec_id=eid)
        self.assertEqual(self.processes(cid), 3)
        pod.call("Kill", id=cid, exec_id=runs, signal=9)
        self.assertEqual(pod.call("Wait", id=cid, exec_id=runs)["exit_status"], 137)
        eventually(lambda: self.processes(cid) == 1, times_out(5), "end of the tree")
        pod.call("Delete", id=cid, exec_id=runs)
        # A start that fails leaves no cgroup.
        pod.exec(cid, "bad", ["/nope"])
        with self.assertRaises(ttrpc.Error):
            pod.call("Start", id=cid, exec_id="bad")
        pod.call("Delete", id=cid, exec_id="bad")
        left = [path for top, _, _ in os.walk("/sys/fs/cgroup") for path in [top] if f"{pod.cgroup}/{cid}/" in top]
        self.assertEqual(left, [])

    def test_kill_tree(self):
        self.with_annotation("c", exec_kill_tree="true")
        self.kill_tree("c")
        # Also with the container paused in between, and with a fork bomb (as far as pids.max lets it).
        pod = self.pod

        def change(document):
            document["annotations"]["husk.io/exec-kill-tree"] = "true"
            document["linux"]["resources"]["pids"] = {"limit": 60}
        pod.run("bomb", ["sleep", "100000"], change=change)
        eid = self.name("e")
        pod.exec("bomb", eid, ["sh", "-c", "f() { f | f & }; f; sleep 0.3"])
        pod.call("Start", id="bomb", exec_id=eid)
        pod.call("Wait", id="bomb", exec_id=eid)
        eventually(lambda: self.processes("bomb") == 1, times_out(10), "end of the fork bomb")
        pod.call("Delete", id="bomb", exec_id=eid)
        self.assertEqual(pod.finish("bomb")["exit_status"], 137)

    def test_container_delete(self):
        """The init's own child on stdout, in a pid namespace that it shares with the host."""
        pod = self.pod

        def host_pid(document):
            document["linux"]["namespaces"] = [n for n in document["linux"]["namespaces"] if n["type"] != "pid"]
        pod.run("h", ["sh", "-c", "setsid sleep 1000 & setsid sleep 1000 & echo up"], change=host_pid)
        begin = time.monotonic()
        self.assertEqual(pod.call("Wait", id="h")["exit_status"], 0)
        self.assertEqual(pod.output["h"].text(times_out(2)), "up\n")
        pod.call("Delete", id="h")
        self.assertLess(time.monotonic() - begin, times_out(0.3))


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
