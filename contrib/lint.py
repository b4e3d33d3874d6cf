#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the tree against its own rules: who may include whom, sizes, forbidden calls, and that the README's tour names every file.

  lint.py               checks the repository this script stands in
  lint.py --self-test   makes a bad tree for each rule and fails unless the rule fires
"""
import os
import re
import subprocess
import sys
import tempfile

MAX_C_LINES, MAX_H_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 600, 150, 80, 5
LAYERS = {  # folder -> prefixes of project headers it may include
    "oci/base": ("oci/base/",),
    "oci": ("oci/",),
    "sandbox": ("oci/oci.h", "oci/base/", "sandbox/"),
    "proto": ("proto/",),
    "shim": ("oci/oci.h", "oci/base/", "sandbox/sandbox.h", "sandbox/carry.h", "sandbox/view.h", "proto/", "shim/", "husk_version.h"),
}
ALSO = {"oci": ("husk_version.h",), "proto": ("husk_version.h",)}
FORBIDDEN_CALLS = ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi", "atol", "alloca", "system", "popen", "tmpnam", "mktemp")
WAIT_CALLS = ("waitid", "waitpid", "wait4", "wait3")
IO_CALLS = ("open", "openat", "read", "write", "send", "sendmsg", "recv", "recvmsg", "socket", "connect", "accept4", "poll", "epoll_wait")
IO_HEADERS = ("unistd.h", "sys/socket.h", "sys/epoll.h", "fcntl.h", "poll.h")
SPDX_FILES = (".c", ".h", ".py", ".sh", ".proto", ".cmake", "CMakeLists.txt")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def strip_code(text):
    """The text with comments and string contents blanked, line numbers kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0)) if m.group(0)[0] == "/" else '""' + " " * (len(m.group(0)) - 2)
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", blank, text, flags=re.S)


class Tree:
    def __init__(self, root):
        self.root, self.problems = root, []
        if os.path.isdir(f"{root}/.git"):
            out = subprocess.check_output(["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"], text=True)
            names = out.split("\n")
        else:
            names = [os.path.relpath(os.path.join(d, n), root) for d, _, ns in os.walk(root) for n in ns]
            names = [n for n in names if not n.startswith("build/")]
        self.files = sorted(n for n in set(names) if n and os.path.isfile(f"{root}/{n}"))

    def text(self, name):
        with open(f"{self.root}/{name}", encoding="utf-8", errors="replace") as f:
            return f.read()

    def complain(self, name, line, what):
        self.problems.append(f"{name}:{line}: {what}")

    def sources(self, *endings, within=("oci", "sandbox", "proto", "shim")):
        return [f for f in self.files if f.endswith(endings) and f.split("/")[0] in within]

    # ---- the rules ----
    def layers(self):
        for name in self.sources(".c", ".h"):
            folder = "oci/base" if name.startswith("oci/base/") else name.split("/")[0]
            allowed = LAYERS[folder] + ALSO.get(folder, ())
            for m in INCLUDE.finditer(self.text(name)):
                if m[1] == '"' and not m[2].startswith(allowed):
                    self.complain(name, self.line_of(name, m.start()), f"{folder}/ may not include \"{m[2]}\"")

    def one_converter(self):
        for name in self.sources(".c", ".h", within=("shim",)):
            includes = {m[2] for m in INCLUDE.finditer(self.text(name))}
            if not os.path.basename(name).startswith("convert") and "sandbox/sandbox.h" in includes \
                    and any(i.endswith(".pb-c.h") for i in includes):
                self.complain(name, 1, "only shim/convert*.c may see both messages (.pb-c.h) and sandbox/sandbox.h")

    def proto_has_no_io(self):
        for name in self.sources(".c", ".h", within=("proto",)):
            for m in INCLUDE.finditer(self.text(name)):
                if m[2] in IO_HEADERS:
                    self.complain(name, self.line_of(name, m.start()), f"proto/ is free of I/O: <{m[2]}>")
            self.calls(name, IO_CALLS, "proto/ is free of I/O: {}()")

    def foreign_words(self):
        for folder, words in (("oci", ("protobuf", "ttrpc")), ("sandbox", ("protobuf", "ttrpc"))):
            for name in self.sources(".c", ".h", within=(folder,)):
                code = strip_code(self.text(name)).lower()
                for word in words:
                    for m in re.finditer(word, code):
                        self.complain(name, code.count("\n", 0, m.start()) + 1, f"{folder}/ knows nothing of {word}")

    def forbidden_calls(self):
        for name in self.sources(".c", ".h", within=("oci", "sandbox", "proto", "shim", "tests")):
            self.calls(name, FORBIDDEN_CALLS, "{}() is not used here (style: bounded strings, strict numbers, no shell)")
            if name not in ("oci/base/child.c", "sandbox/init.c") and not name.startswith("tests/"):
                self.calls(name, WAIT_CALLS, "{}() belongs to oci/base/child.c alone")

    def calls(self, name, names, message):
        code = strip_code(self.text(name))
        for m in re.finditer(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(", code):
            self.complain(name, code.count("\n", 0, m.start()) + 1, message.format(m[1]))

    def sizes(self):
        for name in self.sources(".c", ".h", within=("oci", "sandbox", "proto", "shim", "tests")):
            lines = self.text(name).split("\n")
            limit = MAX_H_LINES if name.endswith(".h") else MAX_C_LINES
            if len(lines) - 1 > limit:
                self.complain(name, limit + 1, f"{len(lines) - 1} lines, at most {limit}: split it")
            start = None
            for n, line in enumerate(lines, 1):
                if line == "{":
                    start = n
                elif line == "}" and start:
                    if n - start - 1 > MAX_FUNCTION_LINES:
                        self.complain(name, start, f"a function of {n - start - 1} lines, at most {MAX_FUNCTION_LINES}")
                    start = None

    def parameters(self):
        for name in self.sources(".c", ".h"):
            code = strip_code(self.text(name))
            for m in re.finditer(r"^[a-z][\w \t*]*?\b(\w+)\(([^(){};]*)\)\s*(?:\{|;|__attribute__)", code, re.M):
                # Not counted: the error, outputs, what a callback needs (function and its argument), the length that goes with a pointer.
                every = m[2].split(",")
                params = [p for i, p in enumerate(every) if p.strip() not in ("", "void") and "struct hk_err *" not in p
                          and not (i and "*" in every[i - 1] and re.fullmatch(r"size_t (len|size|n|n_\w+|\w+_len)", p.strip()))
                          and not re.search(r"\bret_?\w*$|\*ret\b|_fn \*|\bvoid \*(arg|owner)\b|\.\.\.", p.strip())]
                if len(params) > MAX_PARAMETERS:
                    self.complain(name, code.count("\n", 0, m.start()) + 1,
                                  f"{m[1]} takes {len(params)} inputs, at most {MAX_PARAMETERS}: pass a struct")

    def spdx(self):
        for name in self.files:
            if name.endswith(SPDX_FILES) and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(self.text(name).split("\n")[:2]):
                self.complain(name, 1, "no SPDX line at the top")

    def unfinished(self):
        for name in self.sources(".c", ".h", ".py", ".sh", ".proto", within=("oci", "sandbox", "proto", "shim", "tests", "contrib")):
            if name == "contrib/lint.py":
                continue
            for n, line in enumerate(self.text(name).split("\n"), 1):
                if re.search(r"\b(TODO(?!\(#\d+\))|FIXME|XXX)\b", line):
                    self.complain(name, n, "unfinished: " + line.strip()[:60])

    def top_level(self):
        allowed = {"CMakeLists.txt", "CMakePresets.json", "shim", "oci", "sandbox", "proto", "tests", "contrib", "README.md", "LICENSE",
                   "CHANGELOG.md", "SECURITY.md"}
        for top in sorted({f.split("/")[0] for f in self.files} - allowed):
            if not top.startswith("."):
                self.complain(top, 1, "not one of the agreed top-level names")

    def tour(self):
        if "README.md" not in self.files:
            return
        m = re.search(r"^## How the code is laid out$(.*?)(?=^## |\Z)", self.text("README.md"), re.M | re.S)
        if not m:
            self.complain("README.md", 1, "no section \"How the code is laid out\"")
            return
        named = set(re.findall(r"[\w/]+\.[ch]\b", m[1]))
        for name in self.sources(".c"):
            if name not in named and os.path.basename(name) not in named:
                self.complain(name, 1, "not named in the README's section \"How the code is laid out\"")
        known = set(self.files) | {os.path.basename(f) for f in self.files}
        for name in sorted(named - known):
            self.complain("README.md", self.line_of("README.md", m.start()), f"names {name}, which does not exist")

    def line_of(self, name, offset):
        return self.text(name).count("\n", 0, offset) + 1

    def check(self):
        for rule in (self.layers, self.one_converter, self.proto_has_no_io, self.foreign_words, self.forbidden_calls, self.sizes,
                     self.parameters, self.spdx, self.unfinished, self.top_level, self.tour):
            rule()
        return self.problems


SPDX_C = "/* SPDX-License-Identifier: Apache-2.0 */\n"
BAD = {  # one small tree a rule: what must be found in the complaint
    "may not include": {"oci/a.c": SPDX_C + '#include "sandbox/sandbox.h"\n'},
    "may not include \"oci/launch.h\"": {"sandbox/a.c": SPDX_C + '#include "oci/launch.h"\n'},
    "only shim/convert": {"shim/task.c": SPDX_C + '#include "proto/task.pb-c.h"\n#include "sandbox/sandbox.h"\n'},
    "free of I/O: <unistd.h>": {"proto/a.c": SPDX_C + "#include <unistd.h>\n"},
    "free of I/O: read()": {"proto/a.c": SPDX_C + "static long f(void)\n{\n\treturn read(0, 0, 0);\n}\n"},
    "knows nothing of ttrpc": {"sandbox/a.c": SPDX_C + "int ttrpc_x;\n"},
    "strcpy() is not used": {"oci/a.c": SPDX_C + "void f(char *a)\n{\n\tstrcpy(a, \"\");\n}\n"},
    "waitpid() belongs": {"oci/a.c": SPDX_C + "void f(void)\n{\n\twaitpid(1, 0, 0);\n}\n"},
    "601 lines": {"oci/a.c": SPDX_C + "\n" * 600},
    "a function of 81 lines": {"oci/a.c": SPDX_C + "void f(void)\n{\n" + "\t;\n" * 81 + "}\n"},
    "takes 6 inputs": {"oci/a.c": SPDX_C + "int f(int a, int b, int c, int d, int e, int g);\n"},
    "no SPDX line": {"oci/a.c": "int a;\n"},
    "unfinished": {"oci/a.c": SPDX_C + "/* TODO: all */\n"},
    "not one of the agreed": {"src/a.txt": "x"},
    "not named in the README": {"README.md": "## How the code is laid out\nnothing\n", "oci/a.c": SPDX_C},
    "names oci/gone.c": {"README.md": "## How the code is laid out\noci/gone.c\n"},
}


def self_test():
    failures = 0
    for expected, files in BAD.items():
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                os.makedirs(os.path.dirname(f"{root}/{name}") or root, exist_ok=True)
                with open(f"{root}/{name}", "w", encoding="utf-8") as f:
                    f.write(text)
            found = Tree(root).check()
            if not any(expected in problem for problem in found):
                print(f"the rule for {expected!r} did not fire: {found}")
                failures += 1
    print(f"{len(BAD) - failures} of {len(BAD)} rules fire on a bad tree")
    return failures != 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    problems = Tree(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))).check()
    print(*problems, sep="\n")
    print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return len(problems) != 0


if __name__ == "__main__":
    sys.exit(main())
