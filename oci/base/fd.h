/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/fd.h — reading, writing and passing file descriptors. Mechanism only: 0 or a count on success, -errno on failure.
 * All fds made here are CLOEXEC.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct hk_err;

/* One write(2); a short write is -EIO. For procfs, cgroupfs and sysctl files, where a second write means another value. */
int hk_write_once(int fd, const void *buf, size_t len);
/* Writes all, retrying EINTR and short writes. For regular files and blocking pipes. */
int hk_write_full(int fd, const void *buf, size_t len);
/* Reads to EOF into buf and NUL-terminates; returns the length, -EFBIG when it does not fit in size - 1. */
ssize_t hk_read_all(int fd, char *buf, size_t size);
/* openat + hk_write_once of a string; O_WRONLY|O_CLOEXEC|O_NOFOLLOW. */
int hk_write_file_at(int dirfd, const char *path, const char *value);
/* openat + hk_read_all; a trailing newline is cut. Returns the length or -errno. */
ssize_t hk_read_file_at(int dirfd, const char *path, char *buf, size_t size);
/* Reads a whole file of at most `limit` bytes into malloc'ed, NUL-terminated memory: *ret (caller frees), *ret_len. */
int hk_read_file_alloc(int dirfd, const char *path, size_t limit, char **ret, size_t *ret_len);

/* SOCK_SEQPACKET|SOCK_CLOEXEC pair. */
int hk_socketpair(int ret[2]);
/* One datagram with up to 8 fds (borrowed). MSG_NOSIGNAL; flags may add MSG_DONTWAIT. */
int hk_send_fds(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags);
/* One datagram; fds arrive CLOEXEC in ret_fds (at most max_fds; surplus are closed). Returns bytes
 * (0 = EOF) or -errno; -EMSGSIZE for a datagram longer than len. */
ssize_t hk_recv_fds(int sock, void *buf, size_t len, int *ret_fds, size_t max_fds, size_t *ret_n_fds, int flags);

/*
 * Who listens at that path: 1 somebody, also one too busy to accept; 0 nobody; -errno when that cannot be told, which is no death. *ret_fd (may
 * be NULL) is the connection (non-blocking), or -1.
 */
int hk_socket_look(const char *path, int *ret_fd);

/*
 * hk_close for a pipe whose last close might wait for whoever is at its other end: a short-lived child does that one, which the reaper reaps.
 * Without a child to be had it is ours. Returns -1.
 */
int hk_close_apart(int fd);
/* Marks every fd from `first` up CLOEXEC (close_range, or a walk of /proc/self/fd where the kernel lacks it). */
int hk_cloexec_from(int first);
int hk_set_nonblock(int fd, bool on);
/* mkdir -p below dirfd with mode for new components; an existing directory is fine. Not for paths inside a rootfs. */
int hk_mkdir_p(int dirfd, const char *path, mode_t mode);
/* Writes path atomically (temporary name + rename). */
int hk_write_file_atomic(int dirfd, const char *path, const void *buf, size_t len, mode_t mode);
/* Removes path and all below, not following links. Missing is fine; -EXDEV at a mount point, path itself included. */
int hk_rm_rf(int dirfd, const char *path);
