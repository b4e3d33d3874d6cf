#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The package in a clean Debian: debian.sh [SUITE...] (bookworm trixie). Each in a root made by mmdebstrap, kept in
# ${XDG_CACHE_HOME:-/var/cache}/husk-package: `apt install ./husk_*.deb`, the demo with what it installed, `husk install` and what it undoes, removal.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-/var/cache}/husk-package
[ "$(id -u)" = 0 ] || { echo "SKIP: needs root"; exit 77; }
command -v mmdebstrap >/dev/null || { echo "SKIP: mmdebstrap is not installed (contrib/debian-deps.sh vm)"; exit 77; }
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir "$work/deb"
./contrib/package.sh "$work/deb" >/dev/null
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
inside() { # inside ROOT COMMAND: in a mount namespace of its own, on a root that is a mount, with the kernel's file systems and this machine's cgroups
	unshare --mount --propagation private bash -ec '
		mount --bind "$1" "$1"
		mount -t proc proc "$1/proc"
		mount --rbind /sys "$1/sys"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs tmpfs "$1/run"
		mkdir -p "$1/tmp"
		mount -t tmpfs tmpfs "$1/tmp"
		exec chroot "$1" /bin/bash -ec "$2"' inside "$@"
}
for suite in ${*:-bookworm trixie}; do
	tar=$cache/$suite.tar
	if [ ! -e "$tar" ]; then
		# A mirror that does not answer shall fail the test, not hold it up.
		timeout 1200 mmdebstrap --quiet --format=tar --variant=minbase --include=containerd,busybox-static,python3,iproute2,procps,libsystemd0 \
			--aptopt='Acquire::Retries "3"' --aptopt='Acquire::http::Timeout "30"' --aptopt='Acquire::https::Timeout "30"' \
			"$suite" "$tar.new" ${mirror:+"$mirror"} </dev/null
		mv "$tar.new" "$tar"
	fi
	root=$work/$suite
	mkdir "$root"
	tar -C "$root" -xf "$tar"
	mkdir -p "$root/src"
	git ls-files -z contrib | xargs -0 cp --parents -t "$root/src"
	cp "$work"/deb/husk_*.deb "$root/src/"
	echo "== $suite"
	inside "$root" '
		export DEBIAN_FRONTEND=noninteractive
		printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
		apt-get install -y -qq --no-install-recommends /src/husk_*.deb >/dev/null
		dpkg -l husk | tail -n 1
		husk version
		HUSK_BIN=/usr/bin /src/contrib/demo.sh >/tmp/demo.log 2>&1 || { cat /tmp/demo.log; exit 1; }
		tail -n 3 /tmp/demo.log
		before=$(cat /etc/containerd/config.toml 2>/dev/null | sha256sum)
		husk install
		containerd config dump | grep -q "runtimes.*husk"
		husk install --uninstall
		[ "$(cat /etc/containerd/config.toml 2>/dev/null | sha256sum)" = "$before" ]
		[ -x /usr/bin/containerd-shim-husk-v2 ]
		apt-get remove -y -qq husk >/dev/null
		[ ! -e /usr/bin/husk ]
		! find / -xdev -name "*husk*" -not -path "/src/*" -not -path "/proc/*" -not -path "/var/lib/dpkg/*" -not -path "/var/log/*" | grep .'
	echo "$suite: installed, demo, configured, undone, removed"
	rm -rf --one-file-system "$root"
done
