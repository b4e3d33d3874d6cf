#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian a virtual machine boots, or finds it made: image.sh trixie|bookworm. Prints the directory with root.img, vmlinuz, initrd.img.
# Its name is the hash of all that decides its contents (this file), so a change of the package list makes a new one. Outside the tree, kept.
set -euo pipefail
suite=$1
case $suite in trixie | bookworm) ;; *) echo "image.sh: unknown suite '$suite' (trixie, bookworm)" >&2; exit 2 ;; esac
packages=(linux-image-cloud-amd64 initramfs-tools systemd systemd-sysv udev dbus kmod containerd runc crun busybox-static python3 python3-grpcio
	python3-grpc-tools containernetworking-plugins iptables iproute2 procps strace libcmocka0 apparmor)
# The mirror and the proxy that this machine's apt uses.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | awk '$1 ~ /\/debian\/?$/ && $2 == "main" && !n++ { print $1 }')
[ -n "$mirror" ] || { echo "image.sh: apt on this machine knows no Debian mirror (apt-get update?)" >&2; exit 1; }
proxy=$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)
eval "$proxy"
[ -z "${proxy:-}" ] || export http_proxy="$proxy"

cache=${HUSK_VM_CACHE:-${XDG_CACHE_HOME:-/var/cache}/husk-vm}
image=$cache/$suite-$(sha256sum "$0" | cut -c1-16)
[ -e "$image/root.img" ] && { echo "$image"; exit 0; }

echo "== vm: making the $suite image (once; about a minute)" >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/making-XXXXXX")
trap 'rm -rf "$work"' EXIT
include=$(IFS=,; echo "${packages[*]}")
# A mirror that does not answer shall fail the test that asked for the image, not hold it up.
if ! timeout 1200 mmdebstrap --variant=minbase --include="$include" --aptopt='Acquire::Retries "3"' --aptopt='Acquire::http::Timeout "30"' \
	--aptopt='Acquire::https::Timeout "30"' "$suite" "$work/root" "$mirror" >"$work/log" 2>&1; then
	tail -n 20 "$work/log" >&2
	echo "image.sh: $suite could not be installed from $mirror" >&2
	exit 1
fi
etc=$work/root/etc
# The job disk holds a script "job"; what it prints goes to the serial line, its exit code last. Nothing else writes there.
cat >"$work/root/usr/sbin/husk-job" <<'EOF'
#!/bin/sh
dmesg -n 1
mkdir -p /job && mount /dev/vdb /job && sh /job/job
echo "husk-vm: exit $?"
sleep 1
exec systemctl --no-block poweroff --force
EOF
chmod 755 "$work/root/usr/sbin/husk-job"
cat >"$etc/systemd/system/husk-job.service" <<'EOF'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/sbin/husk-job
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TasksMax=infinity
TimeoutStartSec=infinity
EOF
mkdir -p "$etc/systemd/system/default.target.wants"
ln -s ../husk-job.service "$etc/systemd/system/default.target.wants/husk-job.service"
for unit in serial-getty@ttyS0.service getty@tty1.service containerd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
	e2scrub_all.timer systemd-timesyncd.service systemd-networkd.service apparmor.service; do
	ln -sf /dev/null "$etc/systemd/system/$unit"
done
echo husk-vm >"$etc/hostname"
echo "127.0.0.1 localhost husk-vm" >"$etc/hosts"
cp "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/initrd.img"
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/boot/* "$work"/root/var/lib/apt/lists/*
mke2fs -q -t ext4 -d "$work/root" "$work/root.img" 3G >>"$work/log" 2>&1
rm -rf "$work/root"
mkdir -p "$image"
mv "$work/vmlinuz" "$work/initrd.img" "$image"
mv "$work/root.img" "$image" # last: it says that the image is whole
echo "$image"
