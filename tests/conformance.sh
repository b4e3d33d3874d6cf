#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# critest, Kubernetes' own tests of the Container Runtime Interface, against containerd 2.3.4: with runc, with husk, and with husk and no pause image. Ends non-zero
# if runc passes a test that husk fails. What is built for it by Go is kept in ${XDG_CACHE_HOME:-/var/cache}/husk-matrix.
#
#   tests/conformance.sh [HANDLER...]        on this machine: all tests that need no registry
#   tests/conformance.sh --vm [HANDLER...]   in a virtual machine with cgroup v2 and every cgroup made by systemd: the one that kills for memory, which
#                                            containerd's own CI leaves out; HUSK_TEST_FOCUS=REGEX for others
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
mkdir -p "$cache"
. tests/lib/newest.sh
vm=
[ "${1:-}" != --vm ] || { vm=1; shift; }
./contrib/debian-deps.sh build demo test ${vm:+vm}
newest_containerd "$cache" || exit 77
newest_critest "$cache"
cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
if [ -n "$vm" ]; then
	# There is neither Go, nor a compiler, nor a network in the machine: all is made here and handed over.
	HUSK_VM_EXTRA=$PWD/build/release/vm/critest
	rm -rf "$HUSK_VM_EXTRA" && mkdir -p "$HUSK_VM_EXTRA/critest" "$HUSK_VM_EXTRA/runc" "$HUSK_VM_EXTRA/go/usr"
	cp -a "$cache/go/usr/bin" "$HUSK_VM_EXTRA/go/usr"
	cp -a "$cache/runc/runc" "$HUSK_VM_EXTRA/runc"
	cp -a "$cache/critest/critest.test" "$HUSK_VM_EXTRA/critest"
	/usr/bin/python3 tests/conformance/images.py "$HUSK_VM_EXTRA/critest/images.tar" build/release/bin/husk-init
	export HUSK_VM_EXTRA
	exec ./tests/vm/run.sh trixie build/release -- "HUSK_TEST_CGROUP=systemd HUSK_TEST_FOCUS='${HUSK_TEST_FOCUS:-OOM}'" \
		/usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/conformance/run.py "$HUSK_VM_EXTRA" "$@"
fi
HUSK_BIN=$PWD/build/release/bin exec /usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/conformance/run.py "$cache" "$@"
