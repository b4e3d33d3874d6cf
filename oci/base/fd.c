/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/fd.c — see fd.h and, for hk_close, auto.h. */
#include "oci/base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"

enum { MAX_FDS = 8, FIRST_READ = 4096 };

int hk_close(int fd)
{
	const int saved = errno;

	if (fd >= 0 && close(fd) < 0)
		assert(errno != EBADF); /* a double close: the fd may be someone else's by now */
	errno = saved;
	return -1;
}

int hk_write_once(int fd, const void *buf, size_t len)
{
	ssize_t n = write(fd, buf, len);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int hk_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t hk_read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len == size)
			return -EFBIG;
		if (n == 0)
			break;
	}
	buf[len] = '\0';
	return (ssize_t)len;
}

int hk_write_file_at(int dirfd, const char *path, const char *value)
{
	hk_autofd fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	return hk_write_once(fd, value, strlen(value));
}

ssize_t hk_read_file_at(int dirfd, const char *path, char *buf, size_t size)
{
	hk_autofd fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = hk_read_all(fd, buf, size);
	if (n > 0 && buf[n - 1] == '\n')
		buf[--n] = '\0';
	return n;
}

/* Reads to EOF into *buf, which grows by doubling up to limit + 1 bytes; returns the length. */
static ssize_t read_growing(int fd, char **buf, size_t size, size_t limit)
{
	size_t len = 0;

	for (;;) {
		char *bigger = realloc(*buf, size + 1); /* one byte for the NUL */
		ssize_t n;

		if (!bigger)
			return -ENOMEM;
		*buf = bigger;
		do {
			n = read(fd, *buf + len, size - len);
			if (n < 0 && errno != EINTR)
				return -errno;
			len += n > 0 ? (size_t)n : 0;
		} while (n != 0 && len < size);
		if (n == 0)
			break;
		if (size > limit)
			return -EFBIG;
		size = size > limit / 2 ? limit + 1 : size * 2;
	}
	(*buf)[len] = '\0';
	return len > limit ? -EFBIG : (ssize_t)len;
}

int hk_read_file_alloc(int dirfd, const char *path, size_t limit, char **ret, size_t *ret_len)
{
	/* O_NONBLOCK: a FIFO put in place of a file must not stop the loop. */
	hk_autofd fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	hk_autofree char *buf = NULL;
	struct stat st;
	size_t size = FIRST_READ;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit)
		return -EFBIG;
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		size = (size_t)st.st_size + 1; /* room to see the end at once; procfs and cgroupfs tell no size */
	n = read_growing(fd, &buf, size, limit);
	if (n < 0)
		return (int)n;
	*ret = hk_take_ptr(buf);
	*ret_len = (size_t)n;
	return 0;
}

int hk_socketpair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

int hk_send_fds(int sock, const void *buf, size_t len, const int *fds, size_t n_fds, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds > MAX_FDS)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

/* Keeps the first max_fds, closes the rest: a peer cannot fill our table. */
static size_t take_fds(struct msghdr *msg, int *ret_fds, size_t max_fds)
{
	size_t kept = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		const size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (kept < max_fds)
				ret_fds[kept++] = fd;
			else
				(void)hk_close(fd);
		}
	}
	return kept;
}

ssize_t hk_recv_fds(int sock, void *buf, size_t len, int *ret_fds, size_t max_fds, size_t *ret_n_fds, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)
	};
	size_t n_fds;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	n_fds = take_fds(&msg, ret_fds, max_fds);
	if (msg.msg_flags & MSG_TRUNC) {
		for (size_t i = 0; i < n_fds; i++)
			(void)hk_close(ret_fds[i]);
		return -EMSGSIZE; /* a longer datagram than agreed is not the agreed one cut short */
	}
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return n;
}

int hk_socket_look(const char *path, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	hk_autofd fd = -1;

	if (ret_fd)
		*ret_fd = -1;
	if (hk_fmt(addr.sun_path, sizeof(addr.sun_path), "%s", path) < 0)
		return 0; /* nobody can */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR || errno == EPROTOTYPE)
			return 0;
		return errno == EAGAIN ? 1 : -errno; /* EAGAIN: its backlog is full, unix(7) */
	}
	if (ret_fd)
		*ret_fd = hk_take_fd(&fd);
	return 1;
}

int hk_set_nonblock(int fd, bool on)
{
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

/*
 * One by one by number, not by /proc/self/fd: a container's /proc may be anything, and a directory that leaves a name out would leak that fd
 * (CVE-2024-21626). Numbers are given lowest first, so none is higher than there ever were at once.
 */
enum { HIGHEST_FD = 1 << 16 };

int hk_cloexec_from(int first)
{
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
	if (syscall(SYS_close_range, (unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return 0;
	/* ENOSYS before 5.9, EINVAL for the flag before 5.11, EPERM under a foreign seccomp filter. */
	for (int fd = first; fd < HIGHEST_FD; fd++)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

int hk_close_apart(int fd)
{
	int gate[2];
	pid_t pid;
	char c;

	if (pipe2(gate, O_CLOEXEC) < 0)
		return hk_close(fd);
	pid = fork();
	if (pid == 0) {
		/* Nothing else may be held up by us, should this take long. */
		if (dup2(gate[0], 0) < 0 || dup2(fd, 1) < 0 || syscall(SYS_close_range, 2U, ~0U, 0) < 0)
			_exit(1);
		(void)!read(0, &c, 1);
		_exit(0);
	}
	(void)hk_close(fd);
	(void)hk_close(gate[0]);
	(void)hk_close(gate[1]);
	return -1;
}
