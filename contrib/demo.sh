#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# husk's main job in one command, on a fresh Debian 12 or 13 as root: builds husk, starts a private containerd, runs a pod through
# io.containerd.husk.v2 and shows from the kernel what a pod is. Removes all it made; ends non-zero if anything shown is not so.
# HUSK_BIN=/usr/bin contrib/demo.sh shows what is installed there, and builds and installs nothing.
#   demo.sh --pauseless    the same without a pause image, through CRI and containerd 2.3 (built by its Go module, once, if there is none on PATH)
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$PWD

if [ "$(id -u)" != 0 ]; then
	echo "demo.sh makes namespaces, cgroups and mounts: run it as root" >&2
	exit 1
fi
bold=$(tput bold 2>/dev/null || true) dim=$(tput dim 2>/dev/null || true) off=$(tput sgr0 2>/dev/null || true)
[ -t 1 ] || bold='' dim='' off=''
failed=0
title() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
say() { printf '  %s\n' "$*"; }
check() { # check TEXT COMMAND...: a line with its mark; a failed one is counted
	local text=$1
	shift
	if "$@" >/dev/null 2>&1; then printf '  ✓ %s\n' "$text"; else
		printf '  ✗ %s\n' "$text"
		failed=$((failed + 1))
	fi
}
same() { [ "$1" = "$2" ]; }
differs() { [ "$1" != "$2" ]; }
within() { [ "$1" -le "$2" ]; }

if [ -n "${HUSK_BIN:-}" ]; then
	title "What is installed in $HUSK_BIN"
	bin=$HUSK_BIN
else
	title "Packages and build"
	./contrib/debian-deps.sh build demo
	cmake --preset release >/dev/null
	cmake --build --preset release -j "$(nproc)" --target containerd-shim-husk-v2 husk-init | tail -n 1 | sed 's/^/  /'
	bin=$repo/build/release/bin
fi
init=$bin/husk-init
[ -x "$init" ] || init=$(dirname "$bin")/libexec/husk/husk-init
say "husk $("$bin/containerd-shim-husk-v2" -v | awk '/Version/ { print $2 }'): containerd-shim-husk-v2, $(stat -c %s "$bin/containerd-shim-husk-v2") bytes; husk-init, $(stat -c %s "$init") bytes"

if [ "${1:-}" = --pauseless ]; then
	title "Pods without a pause image"
	./contrib/debian-deps.sh test
	. tests/lib/newest.sh
	case $(containerd --version | awk '{ sub(/^v/, "", $3); print $3 }') in
	1.* | 2.[012].*) # their own sandbox controller crashes without a pause image
		cache=${XDG_CACHE_HOME:-/var/cache}/husk-matrix
		newest_containerd "$cache" || exit 77
		PATH=$cache/go/usr/bin:$PATH
		;;
	esac
	CONTAINERD=$(command -v containerd) HUSK_BIN=$bin exec /usr/bin/python3 contrib/demo_pauseless.py
fi

# ---- what the demo makes carries its directory or its namespace in its name: so the end can prove that nothing is left ----
dir=$(mktemp -d /tmp/husk-demo.XXXXXX)
ns=husk-demo-$$
list_mounts() { grep -F -e "$dir" -e "$ns" /proc/self/mountinfo || true; }
list_cgroups() { find /sys/fs/cgroup -type d -path "*$ns*" 2>/dev/null | sort; }
list_sockets() { awk 'NR > 1 { print $8 }' /proc/net/unix | grep -F -e "$dir" -e "${shim_socket:-$dir}" || true; }
socket_of() { # the named socket that a process listens on: its fds' inodes, looked up in the kernel's list
	local inodes
	inodes=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' 2>/dev/null | tr -dc '0-9\n' | paste -sd'|')
	awk -v want="^($inodes)\$" '$7 ~ want && $8 ~ /^\// { print $8; exit }' /proc/net/unix
}
list_procs() { # every process that was started by the demo carries its directory or its namespace in its command line, or is a pod's
	local p
	for p in /proc/[0-9]*; do
		{ tr '\0' ' ' <"$p/cmdline" | grep -qE "$ns|pod1-" && echo "${p#/proc/}"; } 2>/dev/null
	done || true
}
pids_of_pod='' shim_socket=''
containerd_pid='' events_pid='' attached_pid=''
ctr() { command ctr -a "$dir/c.sock" -n "$ns" "$@"; }
cleanup() {
	local id
	trap - EXIT
	set +e
	if [ -n "$containerd_pid" ] && kill -0 "$containerd_pid" 2>/dev/null; then
		for id in $(ctr tasks ls -q 2>/dev/null); do ctr tasks rm -f "$id" >/dev/null 2>&1; done
		for id in $(ctr containers ls -q 2>/dev/null); do ctr containers rm "$id" >/dev/null 2>&1; done
		[ -n "$attached_pid" ] && wait "$attached_pid" 2>/dev/null
		[ -n "$events_pid" ] && kill "$events_pid" 2>/dev/null && wait "$events_pid" 2>/dev/null
		kill "$containerd_pid" && wait "$containerd_pid" 2>/dev/null
	fi
	for path in $(list_cgroups | sort -r); do rmdir "$path" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT

title "A private containerd ($(containerd --version | awk '{ print $3 }')), with Debian's package and husk's shim on its PATH"
cat >"$dir/config.toml" <<CONFIG
version = 2
root = "$dir/root"
state = "$dir/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$dir/c.sock"
CONFIG
PATH=$bin:$PATH containerd --config "$dir/config.toml" >"$dir/containerd.log" 2>&1 &
containerd_pid=$!
for _ in $(seq 100); do
	ctr version >/dev/null 2>&1 && break
	sleep 0.1
done
ctr version >/dev/null || { tail -n 20 "$dir/containerd.log"; exit 1; }
image=docker.io/library/busybox:husk pause=docker.io/library/husk-pause:demo
python3 contrib/oci_image.py "$dir/busybox.tar" busybox $image
python3 contrib/oci_image.py "$dir/pause.tar" pause $pause "$init"
ctr image import "$dir/busybox.tar" >/dev/null
ctr image import "$dir/pause.tar" >/dev/null
say "images: $image (from busybox-static), $pause (husk-init alone)"
env ctr -a "$dir/c.sock" -n "$ns" events >"$dir/events" 2>&1 &
events_pid=$!

title "The pod: a sandbox first, then two containers in its namespaces"
pod=pod1-sandbox
run() { ctr run -d --runtime io.containerd.husk.v2 --annotation io.containerd.runc.v2.group=$pod "$@"; }
pid_of() { ctr tasks ls | awk -v id="$1" '$1 == id { print $2 }'; }
run $pause $pod
sandbox=$(pid_of $pod)
mkdir "$dir/volume"
join=(--with-ns "network:/proc/$sandbox/ns/net" --with-ns "ipc:/proc/$sandbox/ns/ipc" --with-ns "uts:/proc/$sandbox/ns/uts"
	--mount "type=bind,src=$dir/volume,dst=/volume,options=rbind:rw")
# This one stays attached, as a log reader does.
env ctr -a "$dir/c.sock" -n "$ns" run --runtime io.containerd.husk.v2 --annotation io.containerd.runc.v2.group=$pod "${join[@]}" --seccomp \
	--memory-limit 67108864 $image pod1-writer \
	sh -c 'echo "written by pid $$ of the writer" >/volume/note; echo "writer: ready"; exec sleep 1000' >"$dir/writer.log" 2>&1 &
attached_pid=$!
run "${join[@]}" --seccomp $image pod1-reader sleep 1000
for _ in $(seq 50); do
	grep -q ready "$dir/writer.log" && break
	sleep 0.1
done
writer=$(pid_of pod1-writer) reader=$(pid_of pod1-reader)
pids_of_pod="$sandbox $writer $reader"
ctr tasks ls | sed 's/^/  /'

title "What the kernel says"
nsid() { readlink "/proc/$1/ns/$2"; }
for kind in net ipc uts; do
	for who in $writer $reader; do
		check "$kind of pid $who is the sandbox's: $(nsid "$who" $kind)" same "$(nsid "$sandbox" $kind)" "$(nsid "$who" $kind)"
	done
done
check "mnt differs: $(nsid "$sandbox" mnt), $(nsid "$writer" mnt), $(nsid "$reader" mnt)" \
	test "$(printf '%s\n' "$(nsid "$sandbox" mnt)" "$(nsid "$writer" mnt)" "$(nsid "$reader" mnt)" | sort -u | wc -l)" = 3
check "net is not this machine's" differs "$(nsid "$sandbox" net)" "$(nsid self net)"
cgroup_of() { grep -E ':(memory|):' "/proc/$1/cgroup" | head -n 1 | cut -d: -f3; }
check "each has its own cgroup: $(cgroup_of "$writer"), $(cgroup_of "$reader")" differs "$(cgroup_of "$writer")" "$(cgroup_of "$reader")"
limit=$({ cat /sys/fs/cgroup{/memory,}"$(cgroup_of "$writer")"/memory.{limit_in_bytes,max} || true; } 2>/dev/null | head -n 1)
check "the writer's memory limit is $limit bytes" same "$limit" 67108864
check "the default seccomp profile is loaded: Seccomp $(awk '/^Seccomp:/ { print $2 }' "/proc/$writer/status")" \
	same "$(awk '/^Seccomp:/ { print $2 }' "/proc/$writer/status")" 2

title "One shim serves all three"
shim=$(awk '/^PPid:/ { print $2 }' "/proc/$sandbox/status")
for who in $writer $reader; do
	check "parent of $who is shim $shim" same "$shim" "$(awk '/^PPid:/ { print $2 }' "/proc/$who/status")"
done
shim_socket=$(socket_of "$shim")
check "its socket, for all three: $shim_socket" test -S "$shim_socket"
threads=$(awk '/^Threads:/ { print $2 }' "/proc/$shim/status")
check "threads: $threads" same "$threads" 1
sleep 2 # at rest: what a create needed has gone back to the kernel by then
anon=$(awk '/^Anonymous:/ { print $2 }' "/proc/$shim/smaps_rollup")
swap=$(awk '/^Swap:/ { print $2 }' "/proc/$shim/smaps_rollup")
fds=$(ls "/proc/$shim/fd" | wc -l)
check "anonymous memory for a pod of three containers, at rest: $((anon + swap)) KiB (aim: at most 200), $fds fds" within $((anon + swap)) 200
say "RSS $(awk '/^Rss:/ { print $2 }' "/proc/$shim/smaps_rollup") KiB, PSS $(awk '/^Pss:/ { print $2 }' "/proc/$shim/smaps_rollup") KiB, of which the program's own pages are shared by every pod of a node"

title "An exec, a shared volume, logs"
out=$(ctr tasks exec --exec-id e1 pod1-reader hostname)
check "exec in the reader: hostname is '$out'" test -n "$out"
out=$(ctr tasks exec --exec-id e2 pod1-reader cat /volume/note)
check "the reader reads what the writer wrote: '$out'" test -n "$out"
check "the writer's log came through its FIFO: '$(cat "$dir/writer.log")'" grep -q "writer: ready" "$dir/writer.log"

title "An exit, told once"
set +e
ctr run --rm --runtime io.containerd.husk.v2 --annotation io.containerd.runc.v2.group=$pod "${join[@]}" $image pod1-job sh -c 'echo working; exit 42' >"$dir/job.log" 2>&1
code=$?
set -e
check "a third container exits with 42, ctr says $code" same $code 42
check "its output: '$(head -n 1 "$dir/job.log")'" grep -qx working "$dir/job.log"
for _ in $(seq 50); do
	grep -q '/tasks/delete.*pod1-job' "$dir/events" && break
	sleep 0.1
done
say "${dim}$(grep '/tasks/exit.*pod1-job' "$dir/events" | head -n 1)${off}"
check "containerd received its exit once, with the code" test "$(grep -c '/tasks/exit.*"container_id":"pod1-job".*"exit_status":42' "$dir/events")" = 1
order=$(grep 'pod1-job' "$dir/events" | grep -o '/tasks/[a-z-]*' | tr '\n' ' ')
check "in order: $order" same "$order" "/tasks/create /tasks/start /tasks/exit /tasks/delete "

title "The end: everything is removed"
for id in pod1-reader pod1-writer $pod; do
	ctr tasks kill -s SIGKILL $id
	for _ in $(seq 50); do
		ctr tasks ls | awk -v id="$id" '$1 == id { print $3 }' | grep -q STOPPED && break
		sleep 0.1
	done
	ctr tasks rm $id >/dev/null 2>&1 || true
	ctr containers rm $id
done
for _ in $(seq 50); do
	[ -e "/proc/$shim" ] || break
	sleep 0.1
done
check "the shim is gone" test ! -e "/proc/$shim"
for pid in $pids_of_pod; do check "process $pid is gone" test ! -e "/proc/$pid"; done
check "no cgroup of the pod is left" test -z "$(list_cgroups)"
check "no process of the demo's namespace is left" test -z "$(list_procs | grep -vxE "$containerd_pid|$events_pid|$$")"
cleanup
check "no mount is left" test -z "$(list_mounts)"
check "no socket is left" test -z "$(list_sockets)" -a ! -e "$shim_socket"
check "no state file is left" test -z "$(find /run/husk -path "*/$ns/*" 2>/dev/null)"

echo
if [ $failed -eq 0 ]; then echo "${bold}All of it is so.${off}"; else
	echo "${bold}$failed of the above are not so.${off}"
	exit 1
fi
