#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the two images of husk, as archives for `ctr images import` or `skopeo copy oci-archive:`, without a builder or a network:
#   image.sh DIR [BUILD]    DIR/husk-install.tar  the static programs alone: what the DaemonSet runs
#                           DIR/husk-pause.tar    husk-init alone: a pause image of a few KiB
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1 build=${2:-build/release}
version=$(sed -n 's/^project(husk VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
python3 contrib/oci_image.py "$out/husk-install.tar" install "docker.io/library/husk-install:$version" "$build/bin"
python3 contrib/oci_image.py "$out/husk-pause.tar" pause "docker.io/library/husk-pause:$version" "$build/bin/husk-init"
