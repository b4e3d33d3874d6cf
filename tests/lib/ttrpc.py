# SPDX-License-Identifier: Apache-2.0
"""A ttrpc client, a containerd events server and a protobuf wire codec for tests, from nothing but the standard library.

    c = Client("/run/containerd/s/...")
    pid = c.task("Create", id="a", bundle="/b", stdin="", stdout="", stderr="")["pid"]
    wait = c.start_task("Wait", id="a"); c.task("Kill", id="a", signal=9); print(wait.result(5)["exit_status"])

Messages are dicts. An answer with an error status raises Error, whose code is the gRPC number.
"""
import os
import socket
import struct
import threading
import time

from daemon import SLOW

REQUEST, RESPONSE, DATA = 1, 2, 3
MAX_PAYLOAD = 4 << 20
HEADER = struct.Struct(">IIBB")
TASK_V2, TASK_V3 = "containerd.task.v2.Task", "containerd.task.v3.Task"
SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"

# name: "field:kind ..." with numbers counted from 1, or set by field=N:kind. Kinds: s string, y bytes, u unsigned, i int64, b bool,
# a message's name; * in front = repeated.
MESSAGES = {
    "Empty": "",
    "Any": "type_url:s value:y",
    "Timestamp": "seconds:i nanos:i",
    "Mount": "type:s source:s target:s options:*s",
    "Entry": "key:s value:s",
    "Request": "service:s method:s payload:y timeout_nano:i metadata:*Entry",
    "Status": "code:i message:s details:*Any",
    "Response": "status:Status payload:y",
    "CreateTaskRequest": "id:s bundle:s rootfs:*Mount terminal:b stdin:s stdout:s stderr:s checkpoint:s parent_checkpoint:s options:Any",
    "CreateTaskResponse": "pid:u",
    "StartRequest": "id:s exec_id:s",
    "StartResponse": "pid:u",
    "StateRequest": "id:s exec_id:s",
    "StateResponse": "id:s bundle:s pid:u status:u stdin:s stdout:s stderr:s terminal:b exit_status:u exited_at:Timestamp exec_id:s",
    "DeleteRequest": "id:s exec_id:s",
    "DeleteResponse": "pid:u exit_status:u exited_at:Timestamp",
    "ExecProcessRequest": "id:s exec_id:s terminal:b stdin:s stdout:s stderr:s spec:Any",
    "KillRequest": "id:s exec_id:s signal:u all:b",
    "WaitRequest": "id:s exec_id:s",
    "WaitResponse": "exit_status:u exited_at:Timestamp",
    "ConnectRequest": "id:s",
    "ConnectResponse": "shim_pid:u task_pid:u version:s",
    "ShutdownRequest": "id:s now:b",
    "PidsRequest": "id:s",
    "PidsResponse": "processes:*ProcessInfo",
    "ProcessInfo": "pid:u info:Any",
    "ProcessDetails": "exec_id:s",
    "CloseIORequest": "id:s exec_id:s stdin:b",
    "ResizePtyRequest": "id:s exec_id:s width:u height:u",
    "PauseRequest": "id:s",
    "ResumeRequest": "id:s",
    "StatsRequest": "id:s",
    "StatsResponse": "stats:Any",
    "UpdateTaskRequest": "id:s resources:Any annotations:*Entry",
    "CheckpointTaskRequest": "id:s path:s options:Any",
    "CheckpointOptions": "exit:b open_tcp:b external_unix_sockets:b terminal:b file_locks:b empty_namespaces:*s cgroups_mode:s image_path:s "
                         "work_path:s parent_path:s",
    "CreateSandboxRequest": "sandbox_id:s bundle_path:s rootfs:*Mount options:Any netns_path:s annotations:*Entry",
    "SandboxRequest": "sandbox_id:s",
    "StartSandboxResponse": "pid:u created_at:Timestamp spec:Any",
    "PlatformResponse": "platform:Platform",
    "Platform": "os:s architecture:s variant:s os_version:s os_features:*s",
    "StopSandboxRequest": "sandbox_id:s timeout_secs:u",
    "SandboxStatusRequest": "sandbox_id:s verbose:b",
    "SandboxStatusResponse": "sandbox_id:s pid:u state:s info:*Entry created_at:Timestamp exited_at:Timestamp extra:Any",
    "SandboxMetricsResponse": "metrics:Metric",
    "Metric": "timestamp:Timestamp id:s data:Any",
    "PodSandboxConfig": "metadata:PodMetadata hostname:s log_directory:s dns_config:DNSConfig labels=6:*Entry annotations=7:*Entry "
                        "linux=8:LinuxPod",
    "PodMetadata": "name:s uid:s namespace:s attempt:u",
    "DNSConfig": "servers:*s searches:*s options:*s",
    "LinuxPod": "cgroup_parent:s security_context:PodSecurity sysctls:*Entry",
    "PodSecurity": "namespace_options:NamespaceOption",
    "NamespaceOption": "network:u pid:u ipc:u target_id:s userns_options:UserNamespace",
    "UserNamespace": "mode:u uids:*IDMapping gids:*IDMapping",
    "IDMapping": "host_id:u container_id:u length:u",
    "BootstrapParams": "instance_id:s namespace:s log_level:i containerd_version:s ttrpc_address:s grpc_address:s binary:s "
                       "extensions:*Extension socket_dir:s",
    "Extension": "value:Any",
    "BootstrapResult": "version:i address:s protocol:s",
    "RuntimeInfo": "name:s version:RuntimeVersion options:Any features:Any annotations:*Entry",
    "RuntimeVersion": "version:s revision:s",
    "RuncOptions": "no_pivot_root:b no_new_keyring:b shim_cgroup:s io_uid:u io_gid:u systemd_cgroup=9:b criu_image_path:s criu_work_path:s",
    "RuntimeOptions": "type_url:s config_path:s config_body:y",
    "ForwardRequest": "envelope:Envelope",
    "Envelope": "timestamp:Timestamp namespace:s topic:s event:Any",
    "TaskIO": "stdin:s stdout:s stderr:s terminal:b",
    "containerd.events.TaskCreate": "container_id:s bundle:s rootfs:*Mount io:TaskIO checkpoint:s pid:u",
    "containerd.events.TaskStart": "container_id:s pid:u",
    "containerd.events.TaskExit": "container_id:s id:s pid:u exit_status:u exited_at:Timestamp",
    "containerd.events.TaskDelete": "container_id:s pid:u exit_status:u exited_at:Timestamp id:s",
    "containerd.events.TaskOOM": "container_id:s",
    "containerd.events.TaskExecAdded": "container_id:s exec_id:s",
    "containerd.events.TaskExecStarted": "container_id:s exec_id:s pid:u",
    "containerd.events.TaskPaused": "container_id:s",
    "containerd.events.TaskResumed": "container_id:s",
}
METHODS = {
    "Create": ("CreateTaskRequest", "CreateTaskResponse"), "Start": ("StartRequest", "StartResponse"),
    "State": ("StateRequest", "StateResponse"), "Delete": ("DeleteRequest", "DeleteResponse"),
    "Exec": ("ExecProcessRequest", "Empty"), "Kill": ("KillRequest", "Empty"), "Wait": ("WaitRequest", "WaitResponse"),
    "Connect": ("ConnectRequest", "ConnectResponse"), "Shutdown": ("ShutdownRequest", "Empty"),
    "Pids": ("PidsRequest", "PidsResponse"), "CloseIO": ("CloseIORequest", "Empty"), "ResizePty": ("ResizePtyRequest", "Empty"),
    "Pause": ("PauseRequest", "Empty"), "Resume": ("ResumeRequest", "Empty"), "Stats": ("StatsRequest", "StatsResponse"),
    "CreateSandbox": ("CreateSandboxRequest", "Empty"), "StartSandbox": ("SandboxRequest", "StartSandboxResponse"),
    "Platform": ("SandboxRequest", "PlatformResponse"), "StopSandbox": ("StopSandboxRequest", "Empty"),
    "WaitSandbox": ("SandboxRequest", "WaitResponse"), "SandboxStatus": ("SandboxStatusRequest", "SandboxStatusResponse"),
    "PingSandbox": ("SandboxRequest", "Empty"), "ShutdownSandbox": ("SandboxRequest", "Empty"),
    "SandboxMetrics": ("SandboxRequest", "SandboxMetricsResponse"),
    "Update": ("UpdateTaskRequest", "Empty"), "Checkpoint": ("CheckpointTaskRequest", "Empty"),
}


def fields(name):
    """[(number, field, kind, repeated)] of a message."""
    out, number = [], 0
    for word in MESSAGES[name].split():
        field, kind = word.split(":")
        number += 1
        if "=" in field:
            field, text = field.split("=")
            number = int(text)
        out.append((number, field, kind.lstrip("*"), kind.startswith("*")))
    return out


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(name, **values):
    known = {f: (n, k, r) for n, f, k, r in fields(name)}
    out = bytearray()
    for field, value in values.items():
        number, kind, repeated = known[field]
        for v in value if repeated else [value]:
            if kind in ("u", "i", "b"):
                if v:
                    out += varint(number << 3) + varint(int(v))
                continue
            if kind == "s":
                v = v.encode()
            elif kind != "y":
                v = encode(kind, **v)
            elif not v:
                continue
            if v or repeated or kind not in ("s", "y"):
                out += varint(number << 3 | 2) + varint(len(v)) + v
    return bytes(out)


def read_varint(data, at):
    n = shift = 0
    while True:
        byte = data[at]
        at += 1
        n |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return n, at


def wire(data):
    """Yields (number, value) with ints and bytes: the message without knowing its type."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
        elif key & 7 == 2:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise ValueError("truncated message")
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {key & 7}")
        yield key >> 3, value


def decode(name, data):
    """A dict with every field: absent ones have their zero value, absent messages None."""
    table = {n: (f, k, r) for n, f, k, r in fields(name)}
    zero = {"s": "", "y": b"", "u": 0, "i": 0, "b": False}
    out = {f: [] if r else zero.get(k) for f, k, r in table.values()}
    for number, value in wire(data):
        if number not in table:
            continue
        field, kind, repeated = table[number]
        if kind == "i":
            value = value - (1 << 64) if value >> 63 else value
        elif kind == "b":
            value = bool(value)
        elif kind == "s":
            value = value.decode()
        elif kind not in ("u", "y"):
            value = decode(kind, value)
        if repeated:
            out[field].append(value)
        else:
            out[field] = value
    return out


class Error(Exception):
    """An answer with a status; payload_len is what came with it, which must be 0."""

    def __init__(self, code, message, payload_len=0):
        super().__init__(f"[{code}] {message}")
        self.code, self.message, self.payload_len = code, message, payload_len


class Call:
    """The future answer of one request."""

    def __init__(self, response):
        self.response = response
        self.done = threading.Event()
        self.value = self.error = None

    def result(self, timeout=20 * SLOW):
        if not self.done.wait(timeout):
            raise TimeoutError("no answer")
        if self.error:
            raise self.error
        return self.value


def frame(stream, kind, payload, flags=0):
    return HEADER.pack(len(payload), stream, kind, flags) + payload


def recv_exactly(sock, size):
    out = bytearray()
    while len(out) < size:
        part = sock.recv(min(size - len(out), 1 << 16))
        if not part:
            raise EOFError
        out += part
    return bytes(out)


class Client:
    def __init__(self, path, service=TASK_V3):
        self.service = service
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path.replace("unix://", ""))
        self.next_stream = 1
        self.lock = threading.Lock()
        self.calls = {}
        self.surplus = []  # answers that nobody asked for
        self.traceparent = None  # metadata of every call from now on
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while True:
                size, stream, kind, _flags = HEADER.unpack(recv_exactly(self.sock, HEADER.size))
                payload = recv_exactly(self.sock, size)
                with self.lock:
                    call = self.calls.pop(stream, None)
                if call is None or kind != RESPONSE:
                    self.surplus.append((stream, kind, payload))
                    continue
                self._finish(call, payload)
        except (EOFError, OSError, ValueError) as e:
            with self.lock:
                calls, self.calls = list(self.calls.values()), {}
            for call in calls:
                call.error = ConnectionError(f"connection closed: {e!r}")
                call.done.set()

    @staticmethod
    def _finish(call, payload):
        try:
            response = decode("Response", payload)
            status = response["status"]
            if status and status["code"]:
                call.error = Error(status["code"], status["message"], len(response["payload"]))
            else:
                call.value = decode(call.response, response["payload"]) if call.response else response["payload"]
        except (ValueError, IndexError, UnicodeDecodeError) as e:
            call.error = e
        call.done.set()

    def start_bytes(self, payload, response=None, stream=None):
        """Sends a Request frame with any payload; stream None takes the next id."""
        call = Call(response)
        with self.lock:
            if stream is None:
                stream = self.next_stream
                self.next_stream += 2
            self.calls[stream] = call
            self.sock.sendall(frame(stream, REQUEST, payload))
        return call

    def start_call(self, service, method, payload=b"", response=None, timeout_nano=0):
        metadata = [{"key": "containerd-namespace-ttrpc", "value": "test"}]
        if self.traceparent:
            metadata.append({"key": "traceparent", "value": self.traceparent})
        request = encode("Request", service=service, method=method, payload=payload, timeout_nano=timeout_nano, metadata=metadata)
        return self.start_bytes(request, response)

    def start_task(self, method, timeout_nano=0, **values):
        request, response = METHODS[method]
        return self.start_call(self.service, method, encode(request, **values), response, timeout_nano)

    def task(self, method, timeout=20 * SLOW, **values):
        return self.start_task(method, **values).result(timeout)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reader.join(5)
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Events:
    """Stands in for containerd's ttrpc socket: takes Events.Forward and keeps [(topic, event dict)] in order of arrival."""

    def __init__(self, path):
        self.path = path
        self.log, self.envelopes, self.problems = [], [], []
        self.answered = 0
        self.changed = threading.Condition()
        self.connections = []
        self.listener = None
        self.open()

    def open(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            self.connections.append(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        try:
            while True:
                size, stream, _kind, _flags = HEADER.unpack(recv_exactly(conn, HEADER.size))
                request = decode("Request", recv_exactly(conn, size))
                if (request["service"], request["method"]) != ("containerd.services.events.ttrpc.v1.Events", "Forward"):
                    self.problems.append(f"unexpected call {request['service']}/{request['method']}")
                envelope = decode("ForwardRequest", request["payload"])["envelope"]
                event = decode(envelope["event"]["type_url"], envelope["event"]["value"])
                with self.changed:
                    self.envelopes.append(envelope)
                    self.log.append((envelope["topic"], event))
                    self.changed.notify_all()
                conn.sendall(frame(stream, RESPONSE, b""))
                with self.changed:
                    self.answered += 1
                    self.changed.notify_all()
        except (EOFError, OSError):
            conn.close()
        except (KeyError, TypeError, ValueError) as e:
            self.problems.append(f"bad event: {e!r}")
            conn.close()

    def wait_for(self, predicate, timeout=10 * SLOW):
        """True once predicate(log) holds."""
        end = time.monotonic() + timeout
        with self.changed:
            while not predicate(self.log):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(left)
        return True

    def close(self):
        """As a daemon that goes away, between two events: open() brings it back at the same path."""
        # An event whose answer is lost comes again, rightly; the tests count.
        self.wait_for(lambda log: self.answered == len(log), 1)
        if self.listener:
            # Wakes the accept() of the thread, which a close alone does not.
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
        for conn in self.connections:
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections = []
        if os.path.exists(self.path):
            os.unlink(self.path)
