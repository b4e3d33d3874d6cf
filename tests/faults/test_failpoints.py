#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The annotations io.containerd.runtime.v2.shim.failpoint.METHOD, as containerd's own integration tests set them, in the shim of the tests; and
that no installed program knows them, or a fault point."""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import shim  # pylint: disable=wrong-import-position
import ttrpc  # pylint: disable=wrong-import-position
from shim import eventually, is_alive  # pylint: disable=wrong-import-position

PREFIX = "io.containerd.runtime.v2.shim.failpoint."
UNKNOWN = 2


class FailingPod(shim.Pod):
    def __init__(self, **terms):
        self.terms = {PREFIX + method: text for method, text in terms.items()}
        super().__init__()

    def bundle(self, cid, args, change=None):
        def annotate(document):
            if cid == self.name:  # the bundle that the server is started in
                document["annotations"].update(self.terms)
            if change:
                change(document)
        return super().bundle(cid, args, annotate)


class Failpoints(unittest.TestCase):
    def fails(self, pod, text, method, **values):
        with self.assertRaises(ttrpc.Error) as caught:
            pod.call(method, **values)
        self.assertEqual((caught.exception.code, caught.exception.message), (UNKNOWN, text))

    def test_error(self):
        with FailingPod(Create="1*error(you-shall-not-pass!)", Delete="1*off->2*error(sorry)") as pod:
            self.fails(pod, "you-shall-not-pass!", "Create", id="c", bundle=pod.bundle("c", ["sleep", "1000"]))
            for cid in ("c", "d"):
                pod.run(cid, ["true"])
                pod.call("Wait", id=cid)
            pod.call("Delete", id="c")
            for _ in range(2):
                self.fails(pod, "sorry", "Delete", id="d")
            pod.call("Delete", id="d")

    def test_delay(self):
        """Of one call, and nobody else's."""
        with FailingPod(Kill="1*delay(1500)->1*error(done)") as pod:
            pod.run("c", ["sleep", "1000"])
            begin = time.monotonic()
            kill = pod.client.start_task("Kill", id="c", signal=9)
            for _ in range(10):
                self.assertEqual(pod.call("State", id="c")["status"], 2)
            self.assertLess(time.monotonic() - begin, 1)
            kill.result()
            self.assertGreaterEqual(time.monotonic() - begin, 1.5)
            self.assertEqual(pod.call("Wait", id="c")["exit_status"], 137)
            self.fails(pod, "done", "Kill", id="c", signal=9)

    def test_cascade(self):
        with FailingPod(State="5*delay(100)->1*panic(boom)") as pod:
            log = os.open(f"{pod.bundles['pod']}/log", os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, log)
            pod.run("c", ["sleep", "1000"])
            begin = time.monotonic()
            for _ in range(5):
                pod.call("State", id="c")
            self.assertGreaterEqual(time.monotonic() - begin, 0.5)
            with self.assertRaises(ConnectionError):
                pod.call("State", id="c")
            eventually(lambda: not is_alive(pod.shim_pid), what="end of the shim")
            self.assertIn(b"msg=panic err=boom", os.read(log, 1 << 16))
            self.assertEqual(pod.delete("c")["exit_status"], 137)

    def test_not_in_the_program(self):
        """What is installed has none of it; the shim of the tests does."""
        words = (b"HUSK_FAULT", b"HUSK_BOUNDARY", b"shim.failpoint")
        with open(shim.SHIM, "rb") as f:
            own = f.read()
        installed = os.path.join(os.path.dirname(os.path.realpath(shim.SHIM)), "../../bin")
        names = [n for n in os.listdir(installed) if os.path.isfile(f"{installed}/{n}")]
        self.assertIn("containerd-shim-husk-v2", names)
        for word in words:
            self.assertIn(word, own)
            for name in names:
                with open(f"{installed}/{name}", "rb") as f:
                    self.assertNotIn(word, f.read(), name)


if __name__ == "__main__":
    shim.require()
    unittest.main(verbosity=2)
