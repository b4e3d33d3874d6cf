#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The validation programs of github.com/opencontainers/runtime-tools, each run with Debian's runc and with husk (lib/ocicli.py), as a table.

    tests/e2e/oci_validation.py [PROGRAM...]      fails where husk fails what runc passes

They are built by the Go module's client below ${XDG_CACHE_HOME:-/var/cache}/husk-oci-validation, once a version (OCI_VALIDATION_VERSION).
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shim  # pylint: disable=wrong-import-position

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = os.environ.get("OCI_VALIDATION_VERSION", "v0.9.1-0.20251114084447-edf4cb3d2116")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "husk-oci-validation", VERSION)
ADAPTER = os.path.join(shim.REPO, "tests/lib/ocicli.py")
TIMEOUT = 120


def go(*args):
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    return subprocess.run(["go", *args], cwd=f"{CACHE}/build", env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def build():
    """The programs, runtimetest and the root file system they unpack, all in CACHE/bin."""
    if os.path.exists(f"{CACHE}/complete"):
        return
    print(f"building {MODULE} {VERSION} in {CACHE}", flush=True)
    os.makedirs(f"{CACHE}/build", exist_ok=True)
    with open(f"{CACHE}/build/go.mod", "w", encoding="utf-8") as f:
        f.write("module husk-oci-validation\n\ngo 1.21\n")
    go("get", f"{MODULE}/cmd/runtimetest@{VERSION}")
    programs = [p for p in go("list", f"{MODULE}/validation/...").split() if not p.endswith("/util")]
    go("build", "-ldflags", "-s -w", "-o", f"{CACHE}/bin/", f"{MODULE}/cmd/runtimetest", *programs)
    shutil.copy(f"{go('list', '-m', '-f', '{{.Dir}}', MODULE).strip()}/rootfs-amd64.tar.gz", f"{CACHE}/bin")
    with open(f"{CACHE}/complete", "w", encoding="utf-8"):
        pass


def run(program, runtime):
    """{description: passed} of a program's TAP lines, its skips left out; what it prints besides and an end that is none count as failed."""
    try:
        done = subprocess.run([f"{CACHE}/bin/{program}"], cwd=f"{CACHE}/bin", env={**os.environ, "RUNTIME": runtime}, timeout=TIMEOUT,
                              capture_output=True, text=True, errors="replace", check=False)
        out, problems = done.stdout, [] if done.returncode == 0 else [f"exit status {done.returncode}: {done.stderr.strip()[-300:]}"]
    except subprocess.TimeoutExpired as e:
        out, problems = (e.stdout or b"").decode(errors="replace"), [f"no end within {TIMEOUT} s"]
    lines, skips, seen = {}, [], {}
    for ok, text in re.findall(r"^(ok|not ok) \d+ ?-? ?(.*)$", out, re.M):
        if re.search(r"# *(SKIP|TO" r"DO)", text):  # TAP's directives
            skips.append(text.replace("# SKIP ", "").strip())
            continue
        seen[text] = seen.get(text, 0) + 1
        lines[text if seen[text] == 1 else f"{text} ({seen[text]})"] = ok == "ok"
    if not lines and not skips and not problems:  # some tell nothing but the error, and nothing at all when there is none
        told = re.search(r'"error": "(.*)"', out)
        lines = {told[1].split("\\n")[0] if told else "no error is told": not told}
    return lines, skips, problems, out


def cell(lines, skips, problems):
    if problems:
        return f"{sum(lines.values())}/{len(lines)} + error"
    return f"{sum(lines.values())}/{len(lines)}" if lines else f"skip ({skips[0][:40]})"


def main():
    shim.require()
    for need in ("go", "runc"):
        if not shutil.which(need):
            print(f"SKIP: {need} is not installed")
            sys.exit(shim.SKIP)
    build()
    programs = sys.argv[1:] or sorted(p for p in os.listdir(f"{CACHE}/bin") if p != "runtimetest" and not p.startswith("rootfs"))
    version = subprocess.run(["runc", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    print(f"| {'program':32} | {'runc ' + version:22} | {'husk':22} |\n|{'-' * 34}|{'-' * 24}|{'-' * 24}|", flush=True)
    worse, better, notes = 0, 0, []
    for program in programs:
        theirs, ours = run(program, "runc"), run(program, ADAPTER)
        print(f"| {program:32} | {cell(*theirs[:3]):22} | {cell(*ours[:3]):22} |", flush=True)
        lost = [d for d, ok in theirs[0].items() if ok and not ours[0].get(d)]
        won = [d for d, ok in ours[0].items() if ok and theirs[0].get(d) is False]
        if ours[2] and not theirs[2]:
            lost += ours[2]
        worse, better = worse + len(lost), better + len(won)
        notes += [f"{program}: only runc passes: {d}" for d in lost[:5]] + [f"{program}: only husk passes: {d}" for d in won]
        notes += [f"{program}: both fail: {d}" for d, ok in ours[0].items() if not ok and d not in lost]
        notes += [f"{program}: {p}" for p in ours[2] if p not in lost]
        if os.environ.get("VERBOSE"):
            notes += [ours[3]]
    print("\n".join(["", *notes, "", f"{len(programs)} programs of {MODULE} {VERSION}: husk passes {better} checks that runc fails, "
                     f"and fails {worse} that runc passes"]))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
