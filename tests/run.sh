#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, builds husk and runs every test this machine can run.
#
#   tests/run.sh             everything: lint, unit, root, containerd, and unit + root again under ASan and UBSan
#   tests/run.sh -L unit     only one ctest label (any further words go to ctest)
set -euo pipefail
cd "$(dirname "$0")/.."

./contrib/debian-deps.sh build demo test

jobs=$(nproc)
echo "== build (release)"
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" | tail -n 1
if [ $# -eq 0 ]; then
	echo "== build (asan)"
	cmake --preset asan >/dev/null
	cmake --build --preset asan -j "$jobs" | tail -n 1
fi

echo "== test"
# Unit tests run side by side; those that look at the whole machine (root, containerd) are marked RUN_SERIAL.
ctest --test-dir build/release -j "$jobs" --output-on-failure --no-tests=error "$@"
