# SPDX-License-Identifier: Apache-2.0
"""A client for CRI's streaming server (Exec, Attach, PortForward): WebSocket with Kubernetes' channels, from the standard library.

    with Stream(url) as s:
        s.send(STDIN, b"hello\\n"); print(s.read_until(STDOUT, b"hello"))
"""
import base64
import json
import os
import socket
import struct
import urllib.parse

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class Stream:
    def __init__(self, url, timeout=20):
        u = urllib.parse.urlparse(url)
        self.sock = socket.create_connection((u.hostname, u.port), timeout)
        self.sock.settimeout(timeout)
        self.buffer = b""
        self.channels = {}
        self.is_open = True
        self.sock.sendall((f"GET {u.path}{'?' + u.query if u.query else ''} HTTP/1.1\r\nHost: {u.netloc}\r\nUpgrade: websocket\r\n"
                           f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\nOrigin: http://localhost\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"no upgrade: {head.decode()}")

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def _take(self, n):
        while len(self.buffer) < n:
            self._more()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def _frame(self, opcode, data):
        mask = os.urandom(4)
        n = len(data)
        length = bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack(">H", n)
        self.sock.sendall(bytes([0x80 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def send(self, channel, data):
        self._frame(BINARY, bytes([channel]) + data)

    def step(self):
        """Takes one frame; False at the end."""
        if not self.is_open:
            return False
        try:
            first, n = self._take(2)
            if n & 0x7F == 126:
                n = struct.unpack(">H", self._take(2))[0]
            elif n & 0x7F == 127:
                n = struct.unpack(">Q", self._take(8))[0]
            data = self._take(n)
        except (EOFError, ConnectionResetError):
            self.is_open = False
            return False
        if first & 0xF == PING:
            self._frame(PONG, data)
        elif first & 0xF == CLOSE:
            self.is_open = False
            return False
        elif data:
            self.channels[data[0]] = self.channels.get(data[0], b"") + data[1:]
        return True

    def read_until(self, channel, needle):
        while needle not in self.channels.get(channel, b""):
            if not self.step():
                raise AssertionError(f"{needle!r} did not come on channel {channel}: {self.channels}")
        return self.channels[channel]

    def read_all(self):
        while self.step():
            pass
        return self.channels

    def status(self):
        """What the error channel says at the end: the exit code, 0 for success."""
        self.read_all()
        status = json.loads(self.channels[ERROR])
        if status["status"] == "Success":
            return 0
        return int(next(c["message"] for c in status["details"]["causes"] if c["reason"] == "ExitCode"))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
