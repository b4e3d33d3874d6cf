#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes: tests/fuzz/run.sh SECONDS [TARGET ...] builds the libFuzzer programs (preset `fuzz`, needs clang) and runs each target, or those
# named, for that long, from its corpus in the tree, as many at a time as there are processors (HUSK_FUZZ_JOBS: so many). What it finds new
# stays in build/fuzz/corpus/TARGET; a crashing input is written to build/fuzz/TARGET.crash-*: fix the code and keep the input, made
# small, in tests/fuzz/corpus/TARGET. Ends non-zero if a target failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# -lt 1 ] || ! [[ $1 =~ ^[0-9]+$ ]]; then
	sed -n '3,7s/^# //p' tests/fuzz/run.sh >&2
	exit 2
fi
seconds=$1
shift
./contrib/debian-deps.sh build
if ! echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
	clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null; then
	echo "fuzzing needs clang and its runtimes: on Debian the packages clang and libclang-rt-<its version>-dev" >&2
	exit 1
fi
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz | tail -n 1
if [ $# -eq 0 ]; then
	for source in tests/fuzz/fuzz_*.c; do
		name=${source##*/fuzz_}
		set -- "$@" "${name%.c}"
	done
fi
TMPDIR=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) # memory: some targets write files for every input
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

fuzz() {
	local name=$1 new=build/fuzz/corpus/$1 dict=tests/fuzz/dict/$1.dict log=build/fuzz/$1.log
	mkdir -p "$new"
	options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=16384 -print_final_stats=1 -artifact_prefix="build/fuzz/$name.")
	[ -e "$dict" ] && options+=("-dict=$dict")
	if "build/fuzz/fuzz/fuzz-$name" "${options[@]}" "$new" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
		printf '%-14s %s executions in %s s, coverage %s\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
			"$seconds" "$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)"
	else
		printf '%-14s FAILED, see %s\n' "$name" "$log"
		grep -E 'broken promise|ERROR:|runtime error|SUMMARY|Test unit written' "$log" || tail -n 5 "$log"
		return 1
	fi
}

failed=0
running=0
for name in "$@"; do
	if [ "$running" -ge "${HUSK_FUZZ_JOBS:-$(nproc)}" ]; then
		wait -n || failed=1
		running=$((running - 1))
	fi
	fuzz "$name" &
	running=$((running + 1))
done
for ((; running > 0; running--)); do
	wait -n || failed=1
done
exit $failed
