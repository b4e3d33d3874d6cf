#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# criu.sh: prints a directory whose criu works on this kernel: the machine's own, else that of Debian's sid, unpacked with its libraries
# below ${XDG_CACHE_HOME:-/var/cache}/husk-criu. (Debian 12's 3.17 cannot read the vdso of kernels from 6.16 on.) Exit 1 and a reason otherwise.
set -euo pipefail
. "$(dirname "$0")/suite.sh"
cache=${XDG_CACHE_HOME:-/var/cache}/husk-criu
works() { "$1" check >/dev/null 2>&1; }

own=$(PATH=$PATH:/usr/sbin:/sbin command -v criu || true)
if [ -n "$own" ] && works "$own"; then
	dirname "$own"
	exit
fi
if ! [ -x "$cache/bin/criu" ]; then
	mkdir -p "$cache/bin"
	suite_unpack "$cache" sid "$cache/root" criu libc6 libbsd0 libmd0 libgnutls30t64 libnet9 libnftables1 libnl-3-200 libprotobuf-c1 libuuid1 \
		libcompel1 libjansson4 libmnl0 libnftnl11 libgmp10 libnettle8t64 libhogweed6t64 libtasn1-6 libidn2-0 libunistring5 libp11-kit0 \
		libedit2 libtinfo6 libxtables12 libffi8 libzstd1 zlib1g libbrotli1 libcap2 || exit 1
	cat >"$cache/bin/criu.new" <<-EOF
		#!/bin/sh
		exec $cache/root/usr/lib64/ld-linux-x86-64.so.2 --library-path $cache/root/usr/lib/x86_64-linux-gnu $cache/root/usr/sbin/criu "\$@"
	EOF
	chmod 755 "$cache/bin/criu.new"
	mv "$cache/bin/criu.new" "$cache/bin/criu"
fi
if works "$cache/bin/criu"; then
	echo "$cache/bin"
	exit
fi
echo "SKIP: no criu that works on this kernel: $("$cache/bin/criu" check 2>&1 | tail -n 1)"
exit 1
