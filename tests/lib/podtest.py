# SPDX-License-Identifier: Apache-2.0
"""A test case with one shim of its own, and the numbers of ttrpc statuses and task states."""
import os
import unittest

import shim
import ttrpc

INVALID, DEADLINE, NOT_FOUND, EXISTS, EXHAUSTED, PRECONDITION, UNIMPLEMENTED, INTERNAL, UNKNOWN = 3, 4, 5, 6, 8, 9, 12, 13, 2
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4


def cgroup_files(pod, cid, name):
    """The file in every hierarchy that has it."""
    found = []
    for top, _, files in os.walk("/sys/fs/cgroup"):
        if top.endswith(pod.cgroup_of(cid)) and name in files:
            found.append(os.path.join(top, name))
    return found


class PodTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.pod = shim.Pod()
        self.addCleanup(self.pod.close)

    def assert_fails(self, code, pattern, call):
        with self.assertRaises(ttrpc.Error) as caught:
            call()
        e = caught.exception
        self.assertEqual(e.code, code, e)
        self.assertRegex(e.message, pattern)
        self.assertEqual(e.payload_len, 0, "an error must come without a payload")

    def fails(self, code, pattern, method, **values):
        self.assert_fails(code, pattern, lambda: self.pod.call(method, **values))

    def topics(self, cid):
        """[(topic, exec id)] of the container, in order of arrival."""
        out = []
        for topic, e in self.pod.events.log:
            if e["container_id"] == cid:
                exec_id = e.get("exec_id") or (e["id"] if e.get("id") != cid else "") if "exec_id" in e or "id" in e else ""
                out.append((topic.split("/")[-1], exec_id))
        return out

    def assert_topics(self, cid, expected):
        self.pod.events.wait_for(lambda _: len(self.topics(cid)) >= len(expected))
        self.assertEqual(self.topics(cid), expected)
        self.assertEqual(self.pod.events.problems, [])
