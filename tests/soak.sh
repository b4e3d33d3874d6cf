#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What takes too long for every run: 10,000 execs and 2,000 pods with what they leave, 1,000 OOM kills, the whole table of sizes. About half
# an hour; needs root. Prints lines for tests/README.md.
set -uo pipefail
cd "$(dirname "$0")/.."
export HUSK_BIN=${HUSK_BIN:-$PWD/build/release/bin} HUSK_SOAK=1
failed=0
run() {
	echo "== $*"
	/usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 "$@" || failed=1
}
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date +%F), kernel $(uname -r), $(nproc) CPUs"
run tests/e2e/soak.py
run tests/e2e/test_exits.py Oom.test_every_one_is_told
run tests/e2e/test_stdio.py Sizes
exit $failed
