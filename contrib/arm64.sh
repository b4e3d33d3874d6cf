#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Cross-builds husk for arm64 (build/arm64) and runs the unit tests under qemu-user. The libraries of that architecture are unpacked below
# ${XDG_CACHE_HOME:-/var/cache}/husk-arm64, not installed: this machine's own packages stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
./contrib/debian-deps.sh build test arm64
cache=${XDG_CACHE_HOME:-/var/cache}/husk-arm64
sysroot=$cache/sysroot
packages=(libprotobuf-c-dev libprotobuf-c1 libseccomp-dev libseccomp2 libcap-dev libcap2 libyajl-dev libyajl2 libmd-dev libmd0 libcmocka-dev libcmocka0)
if [ ! -e "$sysroot/complete" ]; then
	mkdir -p "$cache/lists/partial" "$cache/apt/archives/partial" "$sysroot"
	apt_options=(-o "Dir::State::lists=$cache/lists" -o "Dir::Cache=$cache/apt" -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root)
	apt-get "${apt_options[@]}" update -qq
	(cd "$cache" && rm -f ./*.deb && apt-get "${apt_options[@]}" download -qq "${packages[@]}")
	for deb in "$cache"/*.deb; do dpkg -x "$deb" "$sysroot"; done
	rm -f "$cache"/*.deb
	touch "$sysroot/complete"
fi
export HUSK_SYSROOT=$sysroot
cmake -S . -B build/arm64 -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/contrib/cmake/arm64.cmake" -DCMAKE_BUILD_TYPE=Release \
	-DCMAKE_C_FLAGS_RELEASE="-O2 -g -DHUSK_RELEASE" -DHUSK_STATIC=ON -DHUSK_WERROR=ON >/dev/null
log=$(mktemp)
cmake --build build/arm64 -j "$(nproc)" >"$log" 2>&1 || { grep -E 'error|undefined|FAILED' "$log" >&2 || tail -n 20 "$log" >&2; exit 1; }
rm -f "$log"
file build/arm64/bin/containerd-shim-husk-v2 build/arm64/bin/husk-init 2>/dev/null | cut -d, -f1-4 || true
ctest --test-dir build/arm64 -L '^unit$' -j "$(nproc)" --output-on-failure --no-tests=error "$@"
