# SPDX-License-Identifier: Apache-2.0
# Sourced by bash: the newest containerd, and what critest needs, by their Go modules, built once and kept in CACHE.
#   newest_containerd CACHE    containerd, ctr and its runc shim in CACHE/go/usr/bin; a line "SKIP ..." and 1 when they cannot be had
#   newest_critest CACHE       runc in CACHE/runc, critest.test in CACHE/critest
newest=v2.3.4
newest_containerd() {
	local module=github.com/containerd/containerd/v2/cmd
	[ -x "$1/go/usr/bin/containerd" ] && return
	command -v go >/dev/null || { echo "SKIP containerd $newest: Go is not installed"; return 1; }
	GOBIN=$1/go/usr/bin go install -tags "no_btrfs no_devmapper no_zfs" $module/containerd@$newest $module/ctr@$newest \
		$module/containerd-shim-runc-v2@$newest || { echo "SKIP containerd $newest: it does not build"; return 1; }
}
newest_critest() {
	local tools=sigs.k8s.io/cri-tools version=v1.37.0
	[ -x "$1/runc/runc" ] || GOBIN=$1/runc go install -tags seccomp github.com/opencontainers/runc@v1.5.1 || return
	[ -x "$1/critest/critest.test" ] && return
	mkdir -p "$1/critest"
	(cd "$1/critest" && rm -f go.mod go.sum && go mod init husk.test/critest && echo "package critest" >critest_test.go &&
		go get -t $tools/cmd/critest@$version && go test -c -o critest.test $tools/cmd/critest)
}
