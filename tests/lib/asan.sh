#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# asan.sh BUILD_DIR: the unit, fuzz and root tests of a sanitized build; skipped (77) where it was not built.
set -euo pipefail
if [ ! -e "$1/bin/containerd-shim-husk-v2" ]; then
	echo "SKIP: no sanitized build in $1 (cmake --preset asan && cmake --build --preset asan)"
	exit 77
fi
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
exec ctest --test-dir "$1" -L 'unit|fuzz|root' -j "$(nproc)" --output-on-failure --no-tests=error
