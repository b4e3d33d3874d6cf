/* SPDX-License-Identifier: Apache-2.0 */
/* oci/copyup.h — the tmpcopyup option: a directory's contents into a new, not yet visible tmpfs. Private to oci/. */
#pragma once

/*
 * Copies all below src_fd (O_PATH directory) into dst_fd, with owner, mode, times and extended attributes; does not
 * leave the file system of src_fd. Sockets and fifos are made anew, devices only where mknod is allowed. -errno.
 */
int oci_copyup(int src_fd, int dst_fd);
