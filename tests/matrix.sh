#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The ctr and CRI tests against several containerd versions: Debian's own, those of Debian's trixie and sid suites (unpacked, not installed; they
# are Go programs that run on any libc), and 2.3.4 by its Go module where Go is. What was fetched is kept in ${XDG_CACHE_HOME:-/var/cache}/husk-matrix.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
mkdir -p "$cache"

. tests/lib/suite.sh
. tests/lib/newest.sh
fetch_debian() { # fetch_debian SUITE: containerd and ctr of that suite below $cache/SUITE
	[ -x "$cache/$1/usr/bin/containerd" ] || suite_unpack "$cache" "$1" "$cache/$1" containerd
}
failed=0 logs=$cache/logs
rm -rf "$logs" && mkdir -p "$logs"
run_test() { # run_test DIRECTORY HANDLER TEST: with that directory's containerd and ctr first in PATH
	local version log
	version=$("$1/containerd" --version | awk '{ sub(/^v/, "", $3); sub(/[~+].*/, "", $3); print $3 }')
	log=$logs/$version.$2.$3.log
	if PATH=$1:$PATH CONTAINERD=$1/containerd HUSK_BIN=$repo/build/release/bin HUSK_TEST_RUNTIMES=io.containerd.husk.v2 HUSK_TEST_HANDLER=$2 \
		/usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 "tests/e2e/test_$3.py" >"$log" 2>&1; then
		echo "containerd $version, $2, $3: $(awk '/^Ran / { print $2 }' "$log") passed"
	else
		failed=1
		echo "containerd $version, $2, $3: FAILED"
		tail -n 40 "$log"
	fi
}
run() { # run DIRECTORY
	local test
	for test in ctr cri cri_pods cri_streams traps; do run_test "$1" husk $test; done
	# Up to 2.2 containerd itself crashes on sandboxer = "shim": it takes a sandbox without a document for one with (NewBundle).
	case $("$1/containerd" --version | awk '{ sub(/^v/, "", $3); print $3 }') in
	1.* | 2.[012].*) return ;;
	esac
	for test in cri cri_pods cri_streams; do run_test "$1" husk-pauseless $test; done
}

./contrib/debian-deps.sh build demo test
cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
run /usr/bin
for suite in trixie sid; do
	if fetch_debian $suite; then run "$cache/$suite/usr/bin"; fi
done
if newest_containerd "$cache"; then run "$cache/go/usr/bin"; fi
tests/lib/cri_table.py tests/README.md "$logs" "Commit $(git rev-parse --short HEAD), $(date -I), kernel $(uname -r | cut -d. -f1,2)."
exit $failed
