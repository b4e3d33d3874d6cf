#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the root and containerd tests of a build in a virtual machine: pure cgroup v2, systemd as PID 1, Debian's newer kernel, containerd and runc.
#
#   tests/vm/run.sh MACHINE BUILD-DIR [REGEX]     REGEX: only tests whose name matches
#   tests/vm/run.sh MACHINE BUILD-DIR -- COMMAND  a shell command in the source tree instead of the tests
#   tests/vm/run.sh --fixture MACHINE BUILD-DIR   for ctest: success is that all tests were run; tests/vm/result.py tells how each ended
#
# Of the tests: those of the labels root, containerd and vm-too. HUSK_VM_EXTRA: one more directory to have there.
# HUSK_VM_ARGS: more words for qemu (`-qmp unix:/tmp/vm.qmp,server=on,wait=off`: who must measure beside it can stop the machine by that).
# MACHINE: trixie, bookworm, or bookworm-v1 (Debian 12 with systemd on cgroup v1). Plain qemu emulates the processor (5 to 15 times slower than
# the host), so that no /dev/kvm and no privilege is needed; there is no network. What was printed stays in BUILD-DIR/vm/MACHINE.log.
# Exit code: that of the tests; 77 where qemu or mmdebstrap is not installed, but 1 if HUSK_VM_REQUIRED is set (CI).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
fixture=
[ "$1" = --fixture ] && { fixture=1; shift; }
machine=$1
build=$(cd "$2" && pwd)
shift 2
hierarchy=1
case $machine in
trixie | bookworm) ;;
bookworm-v1) hierarchy=0 ;;
*) echo "run.sh: unknown machine '$machine' (trixie, bookworm, bookworm-v1)" >&2; exit 2 ;;
esac
for tool in qemu-system-x86_64 mmdebstrap mke2fs setpriv; do
	command -v $tool >/dev/null && continue
	[ -z "${HUSK_VM_REQUIRED:-}" ] || { echo "$tool is not installed (contrib/debian-deps.sh vm)"; exit 1; }
	echo "SKIP: $tool is not installed (contrib/debian-deps.sh vm)"
	exit 77
done
image=$("$here/image.sh" "${machine%-v1}")
mkdir -p "$build/vm"
log=$build/vm/$machine.log

work=$(mktemp -d "${TMPDIR:-/tmp}/husk-vm-XXXXXX")
trap 'rm -rf "$work"' EXIT
# In the machine everything stands at the same paths as here: the tests have them compiled in.
mkdir -p "$work/disk/tree$source" "$work/disk/tree$build/tests"
cp -a "$source/tests" "$source/contrib" "$work/disk/tree$source"
cp -a "$build/bin" "$work/disk/tree$build"
[ ! -d "$build/tests/faults" ] || cp -a "$build/tests/faults" "$work/disk/tree$build/tests" # budget/pod counts by it
[ ! -d "$build/tests/upgrade" ] || cp -a "$build/tests/upgrade" "$work/disk/tree$build/tests" # what is upgraded to
[ ! -d "$build/bench" ] || cp -a "$build/bench" "$work/disk/tree$build" # contrib/bench.sh --vm
find "$build/tests" -maxdepth 1 -type f -perm -u+x -exec cp -a -t "$work/disk/tree$build/tests" {} +
ctest --test-dir "$build" --show-only=json-v1 -L "^(root|containerd|vm-too)\$" >"$work/disk/tests.json"
extra=(${HUSK_VM_EXTRA:+"$HUSK_VM_EXTRA"})
criu=${XDG_CACHE_HOME:-/var/cache}/husk-criu # Debian 12 and 13 have none; what tests/lib/criu.sh has unpacked here works there too
[ ! -x "$criu/bin/criu" ] || extra+=("$criu/bin" "$criu/root")
for path in "${extra[@]}"; do
	mkdir -p "$work/disk/tree$path"
	cp -a "$path/." "$work/disk/tree$path"
done
cat >"$work/disk/job" <<EOF
printf "\\nhusk-vm: begin\\n"
for path in $(printf "'%s' " "$source" "$build" "${extra[@]}"); do
	mkdir -p "\$path" && mount --bind "/job/tree\$path" "\$path" || exit 1
done
cd '$source' || exit 1
# The peer's side of test_ctr.py has been seen on the host; test_differential.py compares here.
export HUSK_TEST_SLOW=${HUSK_VM_SLOW:-10} HUSK_TEST_OOMS=${HUSK_TEST_OOMS:-20} HUSK_TEST_STARTS=${HUSK_TEST_STARTS:-60} HUSK_TEST_UPGRADES=${HUSK_TEST_UPGRADES:-10} HUSK_TEST_RETRY=${HUSK_TEST_RETRY:-} HUSK_TEST_RUNTIMES=io.containerd.husk.v2 HUSK_BIN='$build/bin' PYTHONDONTWRITEBYTECODE=1 TERM=dumb
EOF
if [ "${1:-}" = -- ]; then
	shift
	echo "$*" >>"$work/disk/job"
else
	echo "exec /usr/bin/python3 -u tests/vm/guest.py /job/tests.json '${1:-}'" >>"$work/disk/job"
fi
mke2fs -q -t ext4 -d "$work/disk" "$work/job.img" "$((192 + $(du -sm "$work/disk" | cut -f1) * 5 / 4))M" >/dev/null

read -ra more <<<"${HUSK_VM_ARGS:-}"
boot() {
	: >"$work/console"
	# pdeathsig: a machine whose test was killed ends with it.
	setpriv --pdeathsig KILL qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "$(nproc)" -m 3072 -no-reboot -nodefaults -net none \
		-display none -serial "file:$work/console" -kernel "$image/vmlinuz" -initrd "$image/initrd.img" \
		-append "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 panic=-1 random.trust_cpu=on systemd.unified_cgroup_hierarchy=$hierarchy" \
		-drive "file=$image/root.img,if=virtio,format=raw,snapshot=on" -drive "file=$work/job.img,if=virtio,format=raw,snapshot=on" \
		"${more[@]}" </dev/null &
	qemu=$!
	# The boot's own lines are shown only where it did not reach the tests.
	tail -n +1 -s 0.2 -f --pid=$qemu "$work/console" | sed -u -n 's/\r//g; /^husk-vm: begin/,/^husk-vm: exit/p' | tee "$log"
	wait $qemu || true
	grep -q '^husk-vm: begin' "$log"
}
# The emulator sometimes loses a kernel that patches its own code on one processor while the other runs it (int3 in the first seconds).
for attempt in 1 2 3; do
	boot && break
	grep -q 'Kernel panic' "$work/console" || break
	echo "the machine's kernel panicked before the tests began (boot $attempt of 3)"
done
code=$(sed -n 's/\r//g; s/^husk-vm: exit //p' "$work/console" | tail -n 1)
if [ -z "$code" ]; then
	tail -n 30 "$work/console"
	echo "the machine ended without telling an exit code"
	exit 1
fi
[ -n "$fixture" ] && [ "$code" = 1 ] && grep -q '^[0-9]* of [0-9]* tests passed in the machine' "$log" && exit 0
exit "$code"
