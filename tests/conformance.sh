#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# critest, Kubernetes' own tests of the Container Runtime Interface, against containerd 2.3.4: with runc, with husk, and with husk and no pause image. Ends non-zero
# if runc passes a test that husk fails. What is built for it by Go is kept in ${XDG_CACHE_HOME:-/var/cache}/husk-matrix.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
mkdir -p "$cache"
. tests/lib/newest.sh
./contrib/debian-deps.sh build demo test
newest_containerd "$cache" || exit 77
newest_critest "$cache"
cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
HUSK_BIN=$PWD/build/release/bin exec /usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/conformance/run.py "$cache" "$@"
