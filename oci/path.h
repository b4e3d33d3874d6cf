/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/path.h — names inside a rootfs. Nothing else in oci/ may resolve a container's path: a hostile image can make any component a
 * symlink, and a neighbour that shares a volume can swap it meanwhile (CVE-2021-30465, CVE-2024-45310). Each call resolves once,
 * below rootfd (openat2 RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS; a checked walk where the kernel lacks it), and gives an fd.
 * 0 or fd semantics: the fd is returned in *ret_fd, O_CLOEXEC; -errno on failure.
 */
#pragma once
#include <sys/types.h>

int oci_path_open_in(int rootfd, const char *path, int flags, int *ret_fd);
/* mkdir -p, component by component; *ret_fd is O_PATH|O_DIRECTORY of the last. New components get `mode` and root:root. Dangling symlinks
 * inside the root are followed to where they point (images rely on it). */
int oci_path_mkdir_in(int rootfd, const char *path, mode_t mode, int *ret_fd);
/* Parent directories as above, then an empty regular file unless something is there already; *ret_fd is O_PATH of it. */
int oci_path_mkfile_in(int rootfd, const char *path, mode_t mode, int *ret_fd);
/* Splits into the fd of the (made) parent directory and the borrowed last component; -EINVAL for "/", "..", "." */
int oci_path_parent_in(int rootfd, const char *path, mode_t mode, int *ret_dirfd, const char **ret_name);
/* A new O_* description of the object behind an O_PATH fd, through the given procfs (-1 = /proc). */
int oci_path_reopen(int procfd, int fd, int flags, int *ret_fd);
