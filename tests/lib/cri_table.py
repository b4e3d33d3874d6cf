#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: cri_table.py README LOG_DIR [COMMENT]: the table of CRI behaviours x containerd x sandboxer in README, between its two marks, from the logs that
tests/matrix.sh has left as LOG_DIR/VERSION.HANDLER.TEST.log. A column for each version and handler, a row for each test."""
import os
import re
import sys

BEGIN, END = "<!-- cri-table: made by tests/matrix.sh -->", "<!-- end of cri-table -->"
WORDS = {"ok": "✓", "FAIL": "✗", "ERROR": "✗", "skipped": "–"}
SANDBOXERS = {"husk": "pause image", "husk-pauseless": "shim"}


def results(path):
    """{test: word} of unittest's verbose output; a docstring's line may stand between the name and the word."""
    out, name = {}, None
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if m := re.match(r"test_(\w+) \(", line):
                name = m.group(1)
            if name and (m := re.search(r"\.\.\. (ok|FAIL|ERROR|skipped)", line)):
                out[name] = WORDS[m.group(1)]
                name = None
    return out


def main():
    readme, logs = sys.argv[1:3]
    columns = {}
    for file in sorted(os.listdir(logs)):
        if m := re.match(r"(\d[\w.]*?)\.(husk|husk-pauseless)\.(cri\w*)\.log$", file):
            columns.setdefault((m.group(1), m.group(2)), {}).update(results(f"{logs}/{file}"))
    keys = sorted(columns, key=lambda k: ([int(n) for n in k[0].split(".")], k[1]))
    names = sorted({n for c in columns.values() for n in c})
    lines = [BEGIN, *sys.argv[3:], "", "| behaviour | " + " | ".join(f"{v}, {SANDBOXERS[h]}" for v, h in keys) + " |", "|---|" + "---|" * len(keys)]
    lines += ["| " + n.replace("_s_", "'s ").replace("_", " ") + " | " + " | ".join(columns[k].get(n, " ") for k in keys) + " |" for n in names]
    with open(readme, encoding="utf-8") as f:
        text = f.read()
    head, rest = text.split(BEGIN)
    with open(readme, "w", encoding="utf-8") as f:
        f.write(head + "\n".join([*lines, END]) + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
