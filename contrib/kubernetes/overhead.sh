#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a pod of husk's costs on this node beyond its containers, for a RuntimeClass's overhead.podFixed: for each pod the shim's own memory (anonymous
# pages and their swap), that of the sandbox container's cgroup, and the shim's CPU over ten seconds. Run it while pods are in use as usual.
#   overhead.sh [SECONDS]
set -euo pipefail
seconds=${1:-10}
command -v jq >/dev/null || { echo "overhead.sh needs jq" >&2; exit 1; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat" 2>/dev/null || echo 0; }
list=$(husk ps --json | jq -r '.[] | select(.shim.state == "serving") | [.shim.pid, .shim.anonymousBytes,
	([.containers[] | select(.name == "(sandbox)") | .memoryBytes] | add // 0), (if .pod == "" then .group else .pod end)] | @tsv')
[ -n "$list" ] || { echo "no pod of husk's runs on this node" >&2; exit 1; }
declare -A before
while read -r pid _; do before[$pid]=$(ticks "$pid"); done <<<"$list"
sleep "$seconds"
hz=$(getconf CLK_TCK) most_memory=0 most_cpu=0
printf '%-40s %10s %12s %10s\n' POD "SHIM KiB" "SANDBOX KiB" "CPU milli"
while read -r pid shim sandbox name; do
	cpu=$((($(ticks "$pid") - before[$pid]) * 1000 / hz / seconds))
	printf '%-40s %10d %12d %10d\n' "$name" $((shim / 1024)) $((sandbox / 1024)) "$cpu"
	[ $((shim + sandbox)) -le $most_memory ] || most_memory=$((shim + sandbox))
	[ "$cpu" -le $most_cpu ] || most_cpu=$cpu
done <<<"$list"
echo "overhead: { podFixed: { memory: $(((most_memory + 1048575) / 1048576))Mi, cpu: $((most_cpu + 1))m } }"
