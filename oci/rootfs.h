/* SPDX-License-Identifier: Apache-2.0 */
/* oci/rootfs.h — between rootfs.c and rootfs_mounts.c. Private to oci/. */
#pragma once

struct hk_err;
struct oci_setup;

/* root.path as a detached tree in s->rootfs_fd (where open_tree is missing: the directory itself). */
int oci_rootfs_open_dir(struct oci_setup *s, struct hk_err *err);
/* Task.Create's rootfs mounts; s->rootfs_fd is the detached tree of what they make (as above). */
int oci_rootfs_mounts_open(struct oci_setup *s, struct hk_err *err);
