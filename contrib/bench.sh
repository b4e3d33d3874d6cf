#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# husk beside its peers and beside the kernel's bare calls, on this machine, as root: what a pod and an exec cost.
#
#   contrib/bench.sh             everything, about 10 minutes on two cores; leave the machine alone meanwhile
#   contrib/bench.sh --quick     the same with few repetitions, about 2 minutes
#   contrib/bench.sh --readme    everything, and the tables and the plot go into the README
#   contrib/bench.sh --profile   each step of a create and an exec with its time, and their system calls
#   contrib/bench.sh --vm        a short one in the virtual machine of tests/vm: cgroup v2 alone, crun too; only ratios mean anything there
#
# Peers: containerd-shim-runc-v2 and runc from Debian; where Go and cargo are, also their newest versions and the Rust shim, built once and
# kept in ${XDG_CACHE_HOME:-/var/cache}/husk-bench. Results: build/bench/bench.md, bench.json, bench.svg.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD cache=${XDG_CACHE_HOME:-/var/cache}/husk-bench out=$PWD/build/bench
shim=v2.3.4 runc=v1.5.1 rust=0.2.0

[ "$(id -u)" = 0 ] || { echo "bench.sh makes namespaces, cgroups and mounts: run it as root" >&2; exit 1; }
./contrib/debian-deps.sh build demo test
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target containerd-shim-husk-v2 husk-init bench-programs | tail -n 1

if [ "${1:-}" = --vm ]; then
	shift
	./contrib/debian-deps.sh vm
	exec ./tests/vm/run.sh trixie "$repo/build/release" -- "/usr/bin/python3 -u tests/bench/bench.py --build $repo/build/release --out /tmp/bench --size vm $*"
fi
mkdir -p "$cache"
if command -v go >/dev/null && [ ! -x "$cache/go/runc" ]; then
	echo "building containerd-shim-runc-v2 $shim and runc $runc"
	GOBIN=$cache/go go install -tags "no_btrfs no_devmapper no_zfs" "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@$shim" >"$cache/go.log" 2>&1 &&
		GOBIN=$cache/go go install -tags seccomp "github.com/opencontainers/runc@$runc" >>"$cache/go.log" 2>&1 ||
		echo "SKIP the newest Go shim and runc: $cache/go.log"
fi
if command -v cargo >/dev/null && [ ! -x "$cache/rust/bin/containerd-shim-runc-v2-rs" ]; then
	echo "building the Rust shim (crate containerd-runc-shim)"
	cargo install --quiet containerd-runc-shim --version "$rust" --root "$cache/rust" >"$cache/cargo.log" 2>&1 || echo "SKIP the Rust shim: $cache/cargo.log"
fi
export HUSK_BIN=$repo/build/release/bin PYTHONDONTWRITEBYTECODE=1
# Bundles, sockets and state live below /run, which is memory on a node; where it is not, it is for us alone.
# shellcheck disable=SC2016
exec unshare --mount --propagation private sh -c '[ "$(stat -f -c %T /run)" = tmpfs ] || mount -t tmpfs -o mode=755 husk-bench /run; exec "$@"' sh \
	/usr/bin/python3 -u tests/bench/bench.py --build "$repo/build/release" --out "$out" --runc-new "$cache/go" --rust "$cache/rust/bin/containerd-shim-runc-v2-rs" "$@"
