/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_mount.h — a mount of type "cgroup" in the container, whatever the host's hierarchies are. Private to
 * oci/.
 */
#pragma once
#include <stddef.h>

struct hk_err;
struct oci_setup;

/*
 * v2: a cgroup2 file system, or a bind of what the host has. v1 and hybrid: a tmpfs with the container's own cgroup of
 * each hierarchy bound below it and links for controllers that are mounted together. Mount i of the spec, on the
 * resolved dst_fd; *ret_tree_fd as of oci_fs_attach.
 */
int oci_cgroup_mount(struct oci_setup *s, size_t i, int dst_fd, int *ret_tree_fd, struct hk_err *err);
