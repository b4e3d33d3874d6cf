#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds kubelet, kube-apiserver, kubectl, etcd and helm by their Go modules into CACHE/bin and prints that directory. The first time takes
# some fifteen minutes of two cores; what was built is kept in ${XDG_CACHE_HOME:-/var/cache}/husk-kubernetes, by Kubernetes' version.
#
# k8s.io/kubernetes names its staging modules by folders of its own repository, which a module does not contain: each
# is replaced by the version published with the release, v0.X.Y for v1.X.Y.
set -euo pipefail
version=${KUBERNETES_VERSION:-v1.35.4}
cache=${XDG_CACHE_HOME:-/var/cache}/husk-kubernetes/$version
staging=v0.${version#v1.}
command -v go >/dev/null || { echo "Go is not installed" >&2; exit 77; }
mkdir -p "$cache/bin" "$cache/src"
missing=()
for program in kubelet kube-apiserver kubectl; do
	[ -x "$cache/bin/$program" ] || missing+=("k8s.io/kubernetes/cmd/$program")
done
[ -x "$cache/bin/etcd" ] || missing+=(go.etcd.io/etcd/server/v3)
if [ ${#missing[@]} -gt 0 ]; then
	cd "$cache/src"
	mod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
	[ -r "$mod" ] || { echo "k8s.io/kubernetes $version cannot be had" >&2; exit 77; }
	etcd=$(awk '$1 == "go.etcd.io/etcd/server/v3" { print $2 }' "$mod")
	{
		printf 'module husk.local/kubernetes\n\n%s\n\n' "$(grep '^go ' "$mod")"
		printf 'require (\n\tk8s.io/kubernetes %s\n\tgo.etcd.io/etcd/server/v3 %s\n)\n\nreplace (\n' "$version" "$etcd"
		sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|\t\1 => \1 $staging|p" "$mod"
		printf ')\n'
	} >go.mod
	printf 'package tools\n\nimport (\n' >tools.go
	printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' kubelet kube-apiserver kubectl >>tools.go
	printf '\t_ "go.etcd.io/etcd/server/v3"\n)\n' >>tools.go
	go mod tidy -e >tidy.log 2>&1 || { tail -n 20 tidy.log >&2; exit 1; }
	set_version="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
	for package in "${missing[@]}"; do
		name=${package##*/}
		[ "$name" != v3 ] || name=etcd
		echo "building $name $version" >&2
		CGO_ENABLED=0 nice go build -trimpath -ldflags "-s -w $set_version" -o "$cache/bin/$name" "$package"
	done
fi
if [ ! -x "$cache/bin/helm" ]; then
	echo "building helm" >&2
	(cd / && CGO_ENABLED=0 GOBIN=$cache/bin nice go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@${HELM_VERSION:-v3.22.0}") >"$cache/helm.log" 2>&1 ||
		{ tail -n 20 "$cache/helm.log" >&2; exit 1; }
fi
echo "$cache/bin"
