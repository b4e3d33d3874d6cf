#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shims of an older build and the programs of this one, and the other way round: versions.sh [COMMIT]. The older one (by default the commit before the last
# change of the state file's form) is built in a work tree of its own, which is gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=${1:-$(git log -n 1 --format=%H -- sandbox/store.c)^}
./contrib/debian-deps.sh build demo test
cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1
older=$(mktemp -d "${TMPDIR:-/tmp}/husk-versions-XXXXXX")
trap 'git worktree remove --force "$older/tree"; rm -rf "$older"' EXIT
git worktree add -q --detach "$older/tree" "$commit"
echo "== the older build: $(git log -n 1 --format='%h of %cs: %s' "$commit")"
(cd "$older/tree" && cmake --preset release >/dev/null && cmake --build --preset release | tail -n 1)
HUSK_BIN=$PWD/build/release/bin HUSK_OTHER_BIN=$older/tree/build/release/bin /usr/bin/python3 tests/lib/leakcheck.py -- /usr/bin/python3 tests/e2e/test_versions.py
