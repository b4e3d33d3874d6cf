#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are missing: debian-deps.sh build|demo|test|arm64|vm [...]. Says what it does, asks nothing.
set -euo pipefail
build=(gcc cmake ninja-build pkg-config libprotobuf-c-dev protobuf-c-compiler libseccomp-dev libcap-dev libyajl-dev libmd-dev libsystemd-dev)
demo=(containerd busybox-static python3-minimal python3 iproute2)
test=(clang clang-tidy clang-format libcmocka-dev runc python3-grpcio python3-grpc-tools containernetworking-plugins iptables jq strace procps apparmor)
arm64=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user file)
vm=(qemu-system-x86 mmdebstrap e2fsprogs)
want=()
for set in "$@"; do
	case $set in
	build) want+=("${build[@]}") ;;
	demo) want+=("${demo[@]}") ;;
	test) want+=("${test[@]}") ;;
	arm64) want+=("${arm64[@]}") ;;
	vm) want+=("${vm[@]}") ;;
	*) echo "debian-deps.sh: unknown set '$set' (build, demo, test, arm64, vm)" >&2; exit 2 ;;
	esac
done
missing=()
for p in "${want[@]}"; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo "these Debian packages are missing and only root can install them: ${missing[*]}" >&2
	exit 1
fi
echo "installing from Debian: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A package's own service (containerd.service) shall not start on this machine: the demo and the tests run a private daemon.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
fi
trap '[ -z "$made" ] || rm -f $policy' EXIT
log=$(mktemp)
options=(-qq -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o DPkg::Lock::Timeout=300)
if ! { apt-get "${options[@]}" update && apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "apt-get could not install them; its log is $log" >&2
	exit 1
fi
rm -f "$log"
