# SPDX-License-Identifier: Apache-2.0
# Sourced by bash: packages of another Debian suite, unpacked into a directory; nothing is installed, now or later, from that suite.
#   suite_unpack CACHE SUITE DIR PACKAGE...    a line "SKIP ..." and 1 when they cannot be had
suite_unpack() {
	local cache=$1 suite=$2 dir=$3 base=/etc/apt/sources.list.d/debian.sources work options
	shift 3
	[ -r $base ] || { echo "SKIP $suite: no $base to derive the suite from"; return 1; }
	# Of the mirror this machine uses already, in lists of their own, for these calls alone.
	mkdir -p "$cache/apt/$suite.d" "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
	options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$cache/apt/$suite.d" -o "Dir::State::lists=$cache/apt/lists"
		-o "Dir::Cache=$cache/apt/cache" -o APT::Sandbox::User=root)
	awk -v suite="$suite" 'BEGIN { RS = ""; FS = "\n" } NR == 1 { gsub(/Suites:[^\n]*/, "Suites: " suite); print }' $base \
		>"$cache/apt/$suite.d/suite.sources"
	apt-get "${options[@]}" update -qq || { echo "SKIP $suite: its package list cannot be had"; return 1; }
	work=$(mktemp -d "$cache/making-XXXXXX")
	if (cd "$work" && apt-get "${options[@]}" download "${@/%//$suite}" >/dev/null && for p in *.deb; do dpkg -x "$p" root; done); then
		rm -rf "$dir" && mv "$work/root" "$dir" && rm -rf "$work"
		return 0
	fi
	rm -rf "$work"
	echo "SKIP $suite: no $*"
	return 1
}
