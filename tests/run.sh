#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds husk and runs every test this machine can run.
#
#   tests/run.sh             everything: lint, unit, root, attack, containerd, and unit + root again under ASan and UBSan
#   tests/run.sh -L unit     only one ctest label (any further words go to ctest)
#   tests/run.sh --vm ...    the same, and root and containerd again in a virtual machine: pure cgroup v2, systemd, Debian 13's
#                            kernel, containerd and runc (--vm=bookworm: Debian 12's; --vm=bookworm-v1: with cgroup v1);
#                            "--vm -L vm" runs nothing but that
#   tests/run.sh --oci-validation [PROGRAM...]   runtime-tools' validation programs with runc and with husk, as a table
#   tests/run.sh --soak      10,000 execs and 2,000 pods and what they leave, 1,000 OOM kills, all sizes of output (tests/soak.sh)
#   tests/run.sh --matrix    the ctr and CRI tests against containerd 1.6, 1.7, 2.1 and 2.3 (tests/matrix.sh)
#   tests/run.sh --conformance   critest against containerd 2.3 with runc, with husk, and with husk and no pause image (tests/conformance.sh);
#                            --conformance --vm: its kill for memory in a virtual machine, in cgroups that systemd makes
#   tests/run.sh --faults    every call of a pod's life that can fail, and a kill -9 at every border of every request: all points, not some; the latter
#                            once more through CRI with containerd 2.3, where Go is
#   tests/run.sh --versions [COMMIT]   shims of an older build with the programs of this one, and the other way round (tests/versions.sh)
#   tests/run.sh --kubernetes   a real kubelet alone, then with kube-apiserver and etcd (tests/kubernetes; builds them once, by Go)
#   tests/run.sh --package   the Debian package built twice and compared, then installed in clean Debian 12 and 13 roots (tests/package)
#   tests/run.sh --arm64     cross-built, unit tests under qemu-user (contrib/arm64.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

vm= faults=
case ${1:-} in
--matrix) exec ./tests/matrix.sh ;;
--soak)
	./contrib/debian-deps.sh build demo test
	cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
	exec ./tests/soak.sh
	;;
--versions) shift; exec ./tests/versions.sh "$@" ;;
--conformance) shift; exec ./tests/conformance.sh "$@" ;;
--oci-validation)
	shift
	./contrib/debian-deps.sh build demo test
	cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
	exec /usr/bin/python3 tests/e2e/oci_validation.py "$@"
	;;
--faults) export HUSK_TEST_STRIDE=1; faults=1; shift; set -- -L '^(faults|lifecycle)$' "$@" ;;
--kubernetes)
	shift
	./contrib/debian-deps.sh build demo test
	cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
	exec /usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/kubernetes/run.py "$@"
	;;
--package)
	shift
	./contrib/debian-deps.sh build vm
	./tests/package/reproducible.sh
	exec ./tests/package/debian.sh "$@"
	;;
--arm64) shift; exec ./contrib/arm64.sh "$@" ;;
--vm) vm=trixie; shift ;;
--vm=*) vm=${1#--vm=}; shift ;;
esac
./contrib/debian-deps.sh build demo test ${vm:+vm}

jobs=$(nproc)
echo "== build (release)"
cmake --preset release -DHUSK_VM="$vm" >/dev/null
cmake --build --preset release -j "$jobs" | tail -n 1
if [ $# -eq 0 ]; then
	echo "== build (asan)"
	cmake --preset asan >/dev/null
	cmake --build --preset asan -j "$jobs" | tail -n 1
fi

echo "== test"
# Unit tests run side by side; those that look at the whole machine (root, containerd) are marked RUN_SERIAL.
failed=0 log=build/release/ctest.log
ctest --test-dir build/release -j "$jobs" --output-on-failure --no-tests=error ${HUSK_TEST_RETRY:+--repeat until-pass:2} "$@" | tee "$log" || failed=$?
python3 tests/lib/skips.py build/release
again=$(sed -n 's/.*Test *#[0-9]*: \([^ ]*\) .*\*\*\*\(Failed\|Timeout\|Exception\).*/  \1/p; s/^\tnot at the first try: /  vm: /p' "$log" | sort -u)
[ -z "${HUSK_TEST_RETRY:-}" ] || [ -z "$again" ] || printf '\nnot passed at the first try:\n%s\n' "$again"
if [ -n "$faults" ]; then
	. tests/lib/newest.sh
	cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
	newest_containerd "$cache" || exit $failed
	for handler in husk husk-pauseless; do
		echo "== deaths through CRI, containerd $newest, $handler"
		PATH=$cache/go/usr/bin:$PATH CONTAINERD=$cache/go/usr/bin/containerd HUSK_BIN=$PWD/build/release/tests/faults HUSK_TEST_HANDLER=$handler \
			/usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/faults/test_lifecycle_cri.py || failed=$?
	done
fi
exit $failed
