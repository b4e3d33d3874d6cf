#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The ctr and CRI tests against several containerd versions: Debian's own, those of Debian's trixie and sid suites (unpacked, not installed; they
# are Go programs that run on any libc), and 2.3.4 by its Go module where Go is. What was fetched is kept in ${XDG_CACHE_HOME:-/var/cache}/husk-matrix.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
newest=v2.3.4
mkdir -p "$cache"

. tests/lib/suite.sh
fetch_debian() { # fetch_debian SUITE: containerd and ctr of that suite below $cache/SUITE
	[ -x "$cache/$1/usr/bin/containerd" ] || suite_unpack "$cache" "$1" "$cache/$1" containerd
}
fetch_go() {
	[ -x "$cache/go/usr/bin/containerd" ] && return
	command -v go >/dev/null || { echo "SKIP $newest: Go is not installed"; return 1; }
	local module=github.com/containerd/containerd/v2/cmd
	GOBIN=$cache/go/usr/bin go install -tags "no_btrfs no_devmapper no_zfs" $module/containerd@$newest $module/ctr@$newest \
		$module/containerd-shim-runc-v2@$newest || { echo "SKIP $newest: it does not build"; return 1; }
}

failed=0
run() { # run DIRECTORY: both suites with that directory's containerd and ctr first in PATH
	local test version
	version=$("$1/containerd" --version | awk '{ print $3 }')
	for test in ctr cri; do
		if PATH=$1:$PATH CONTAINERD=$1/containerd HUSK_BIN=$repo/build/release/bin HUSK_TEST_RUNTIMES=io.containerd.husk.v2 \
			/usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/e2e/test_$test.py >"$cache/$test.log" 2>&1; then
			echo "containerd $version, $test: $(awk '/^Ran / { print $2 }' "$cache/$test.log") passed"
		else
			failed=1
			echo "containerd $version, $test: FAILED"
			tail -n 40 "$cache/$test.log"
		fi
	done
}

./contrib/debian-deps.sh build demo test
cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
run /usr/bin
for suite in trixie sid; do
	if fetch_debian $suite; then run "$cache/$suite/usr/bin"; fi
done
if fetch_go; then run "$cache/go/usr/bin"; fi
exit $failed
