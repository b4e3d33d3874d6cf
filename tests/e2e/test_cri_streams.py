#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exec, Attach and PortForward through containerd's streaming server, terminals and their size, logs and their reopening."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from pods import CriTest, eventually, main, read  # pylint: disable=wrong-import-position
from stream import RESIZE, STDERR, STDIN, STDOUT, Stream  # pylint: disable=wrong-import-position


class Streams(CriTest):
    def setUp(self):
        self.pod_ = self.pod("streams" + self.id().rsplit("_", 1)[1])

    def test_exec_stream(self):
        c = self.container(self.pod_, "c", ["sleep", "1000"])
        with Stream(self.cri.Exec(container_id=c, cmd=["sh", "-c", "read x; echo got $x; echo err >&2; exit 3"], stdin=True, stdout=True,
                                  stderr=True).url) as s:
            s.send(STDIN, b"hello\n")
            self.assertEqual(s.status(), 3)
            self.assertEqual((s.channels[STDOUT], s.channels[STDERR]), (b"got hello\n", b"err\n"))

    def test_exec_with_a_terminal_and_resize(self):
        c = self.container(self.pod_, "c", ["sleep", "1000"])
        with Stream(self.cri.Exec(container_id=c, cmd=["sh"], tty=True, stdin=True, stdout=True).url) as s:
            s.send(RESIZE, b'{"Width":123,"Height":45}')
            s.send(STDIN, b"until [ \"$(stty size)\" = '45 123' ]; do sleep 0.05; done; echo si\"\"zed\n")
            s.read_until(STDOUT, b"sized\r\n")
            s.send(STDIN, b"exit 4\n")
            self.assertEqual(s.status(), 4)

    def test_attach(self):
        c = self.create(self.pod_, "c", ["sh", "-c", "while read x; do echo got $x; done"], stdin=True)
        self.cri.StartContainer(container_id=c)
        with Stream(self.cri.Attach(container_id=c, stdin=True, stdout=True, stderr=True).url) as s:
            s.send(STDIN, b"one\n")
            s.read_until(STDOUT, b"got one\n")
        with Stream(self.cri.Attach(container_id=c, stdin=True, stdout=True, stderr=True).url) as s:
            s.send(STDIN, b"two\n")
            s.read_until(STDOUT, b"got two\n")

    def test_port_forward(self):
        self.container(self.pod_, "c", ["sh", "-c", "while :; do (read x; echo answer to $x) <&0 | nc -l -p 5000 -e sh -c 'read x; echo answer to $x'; done"])
        end = time.monotonic() + 10
        while True:
            try:
                with Stream(f"{self.cri.PortForward(pod_sandbox_id=self.pod_[0], port=[5000]).url}?port=5000") as s:  # a URL is good for once
                    s.read_until(0, b"\x88\x13")  # the port, little-endian, on the data channel
                    s.send(0, b"me\n")
                    s.read_until(0, b"answer to me\n")
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise

    def test_exec_sync_with_a_time_limit(self):
        import grpc  # pylint: disable=import-outside-toplevel
        c = self.container(self.pod_, "c", ["sleep", "1000"])
        with self.assertRaises(grpc.RpcError) as e:
            self.cri.ExecSync(container_id=c, cmd=["sleep", "77"], timeout=1)
        self.assertEqual(e.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertTrue(eventually(lambda: "sleep 77" not in self.sh(c, "ps -o args")[1]))

    def test_logs_and_their_reopening(self):
        c = self.container(self.pod_, "lines", ["sh", "-c", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"])
        log = f"{self.logs}/lines.log"
        self.assertTrue(eventually(lambda: os.path.exists(log) and "line 3" in read(log)))
        os.rename(log, f"{log}.1")
        self.cri.ReopenContainerLog(container_id=c)
        self.assertTrue(eventually(lambda: os.path.exists(log) and read(log).count("\n") > 3))
        self.cri.StopContainer(container_id=c, timeout=0)
        numbers = [int(line.rsplit(" ", 1)[1]) for line in (read(f"{log}.1") + read(log)).splitlines()]
        self.assertEqual(numbers, list(range(len(numbers))), "not a line lost or doubled")


if __name__ == "__main__":
    main()
