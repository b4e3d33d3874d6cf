#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same source in two directories of other names and lengths, built at other times: the same package, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d /tmp/husk-reproducible.XXXXXX)
[ -n "${HUSK_KEEP:-}" ] || trap 'rm -rf "$dir"' EXIT
export SOURCE_DATE_EPOCH=1700000000 CCACHE_DISABLE=1 HUSK_REVISION=test
unset CMAKE_C_COMPILER_LAUNCHER
mkdir "$dir/source"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir/source"
for name in one another-one-with-a-longer-name; do
	mkdir -p "$dir/$name/out"
	cp -r "$dir/source" "$dir/$name/tree"
	(cd "$dir/$name/tree" && TZ=$([ $name = one ] && echo UTC || echo Asia/Shanghai) ./contrib/package.sh ../out build-$name >../log 2>&1) ||
		{ tail -n 30 "$dir/$name/log"; exit 1; }
	sha256sum "$dir/$name"/out/*.deb | sed "s|$dir/||"
done
for deb in "$dir"/one/out/*.deb; do
	cmp "$deb" "$dir/another-one-with-a-longer-name/out/${deb##*/}"
	# No directory of the machine that built it is in it.
	dpkg-deb -x "$deb" "$dir/files"
done
if grep -rlF "$dir" "$dir/files"; then
	echo "the path of the build is in the files above"
	exit 1
fi
echo "byte for byte the same"
