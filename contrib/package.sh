#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian package: package.sh DIR [BUILD]. The same source gives the same bytes, wherever it lies and whoever builds it: no time but
# SOURCE_DATE_EPOCH (of the last commit unless it is set), no path, no user goes into it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "$1") build=${2:-build/package}
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s)
	export SOURCE_DATE_EPOCH
fi
umask 022
revision=${HUSK_REVISION:-$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)}
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -g -DHUSK_RELEASE" -DHUSK_STATIC=ON \
	-DCMAKE_INSTALL_PREFIX=/usr -DHUSK_REVISION="$revision" >/dev/null
cmake --build "$build" --target programs | tail -n 1
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$build/cpack" >"$build/cpack.log" 2>&1 || { cat "$build/cpack.log" >&2; exit 1; }
rm -f "$out"/husk_*.deb
cp "$build"/cpack/husk_*.deb "$out/"
ls "$out"/husk_*.deb
