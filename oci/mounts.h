/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mounts.h — what the files of the container's tree share about the spec's mounts. Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;
struct stat;
struct oci_mount;
struct oci_mount_flags;
struct oci_setup;

/* Makes s->srcs and reads all option words. */
int oci_mounts_parse(struct oci_setup *s, struct hk_err *err);
/* Opens bind sources that shall stay peers of the host's mounts: before / becomes a slave (see mounts.c). */
int oci_mounts_open_shared(struct oci_setup *s, struct hk_err *err);
/*
 * After the pivot: read-only flags that had to wait, and propagation asked for one mount, which the root's had
 * overwritten.
 */
int oci_mounts_finish(struct oci_setup *s, struct hk_err *err);
/* The spec binds something of the host on `dest`. */
bool oci_mounts_has_bind(const struct oci_setup *s, const char *dest);
/* Makes the destination in the rootfs if it is missing: a directory, or a file. *ret_existed may be NULL. */
int oci_mounts_open_dest(const struct oci_setup *s, const char *dest, bool is_dir, bool *ret_existed, int *ret_fd);

/* devices.c — a character device 1:3. */
bool oci_is_devnull(const struct stat *st);

/* mount_new.c — one mount of a file system (not a bind) on its destination. *ret_tree_fd as of oci_fs_attach. */
int oci_mount_new_attach(struct oci_setup *s, size_t i, int *ret_tree_fd, struct hk_err *err);
/* The read-only flag waits for oci_mounts_finish: /dev needs its nodes first. */
bool oci_mount_new_is_late_readonly(const struct oci_mount *m, const struct oci_mount_flags *f);

/*
 * mount_guard.c — refuses what would cover the container's /proc (see there). dst_fd: what the destination was
 * resolved to.
 */
int oci_mount_guard_proc(const struct oci_setup *s, size_t i, int dst_fd, struct hk_err *err);
/* The path with single slashes and without "." components equals `want`. */
bool oci_mount_is_dest(const char *path, const char *want);
