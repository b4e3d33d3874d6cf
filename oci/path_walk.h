/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/path_walk.h — the walk of a path by hand, one component at a time, that never leaves its root. Private to oci/;
 * callers of oci/path.h need it only where they know already that something is missing.
 */
#pragma once
#include <sys/types.h>

enum oci_walk_make { OCI_WALK_OPEN, OCI_WALK_MKDIR, OCI_WALK_MKFILE };

struct oci_walk_opts {
	int open_flags; /* of the last component; without O_CREAT. O_NOFOLLOW leaves a last link unfollowed, as open(2) does */
	enum oci_walk_make make; /* what is missing: an error, a directory, or a file below directories */
	mode_t mode;    /* of what is made (directories on the way to a file: 0755) */
};

/* *ret_fd: the object, CLOEXEC. -ELOOP: too many links, or a magic link; -ENAMETOOLONG: deeper than the walk goes. */
int oci_walk(int rootfd, const char *path, const struct oci_walk_opts *o, int *ret_fd);
