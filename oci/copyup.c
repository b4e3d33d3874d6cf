/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/copyup.c — copies a directory tree by descriptors, for tmpcopyup.
 *
 * The source belongs to an image or a volume and may change meanwhile: every entry is opened O_NOFOLLOW from its
 * directory's descriptor, and only then asked what it is. The destination is a tmpfs nobody else has.
 */
#include "oci/copyup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

enum { MAX_DEPTH = 128, COPY_CHUNK = 128 * 1024 };

static int copy_dir(int src, int dst, dev_t dev, unsigned depth);

static int copy_data(int src, int dst)
{
	hk_autofree char *buf = NULL;

	for (;;) {
		ssize_t n = copy_file_range(src, NULL, dst, NULL, 1 << 30, 0);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			break; /* between two kinds of file system: by hand, from where it stopped */
	}
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(src, buf, COPY_CHUNK);
		int r;

		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = hk_write_full(dst, buf, (size_t)n);
		if (r < 0)
			return r;
	}
}

/*
 * Best effort for names that a tmpfs does not take (user.*, before 6.6); a capability or ACL that is lost is an
 * error.
 */
static int copy_xattrs(int src, int dst)
{
	char names[4096], value[4096];
	ssize_t n = flistxattr(src, names, sizeof(names));

	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t len = fgetxattr(src, p, value, sizeof(value));

		if (len < 0 && errno != ENODATA)
			return -errno;
		if (len >= 0 && fsetxattr(dst, p, value, (size_t)len, 0) < 0 && errno != EOPNOTSUPP && errno != EPERM)
			return -errno;
	}
	return 0;
}

/* Owner first: chown takes setuid bits away. */
static int copy_meta(int src, int dst, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r;

	if (fchown(dst, st->st_uid, st->st_gid) < 0 || fchmod(dst, st->st_mode & 07777) < 0)
		return -errno;
	r = copy_xattrs(src, dst);
	if (r < 0)
		return r;
	return futimens(dst, times) < 0 ? -errno : 0;
}

static int copy_link(int srcdir, int dstdir, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	char target[PATH_MAX];
	ssize_t n = readlinkat(srcdir, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, dstdir, name) < 0 || fchownat(dstdir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(dstdir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_special(int dstdir, const char *name, const struct stat *st)
{
	if (mknodat(dstdir, name, st->st_mode, st->st_rdev) < 0)
		return errno == EPERM ? 0 : -errno;
	return fchownat(dstdir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entry(int srcdir, int dstdir, const char *name, dev_t dev, unsigned depth)
{
	hk_autofd src = -1, dst = -1;
	struct stat st, now;
	int r;

	if (fstatat(srcdir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISLNK(st.st_mode))
		return copy_link(srcdir, dstdir, name, &st);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return copy_special(dstdir, name, &st);
	src = openat(srcdir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (S_ISDIR(st.st_mode) ? O_DIRECTORY : 0));
	if (src < 0 || fstat(src, &now) < 0)
		return -errno;
	if ((now.st_mode & S_IFMT) != (st.st_mode & S_IFMT))
		return -EAGAIN;
	if (S_ISDIR(now.st_mode)) {
		if (mkdirat(dstdir, name, 0700) < 0)
			return -errno;
		dst = openat(dstdir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dst < 0)
			return -errno;
		r = now.st_dev == dev ? copy_dir(src, dst, dev, depth + 1) : 0; /* of a mount, only its place */
	} else {
		dst = openat(dstdir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (dst < 0)
			return -errno;
		r = copy_data(src, dst);
	}
	return r < 0 ? r : copy_meta(src, dst, &now);
}

static int copy_dir(int src, int dst, dev_t dev, unsigned depth)
{
	int fd = depth > MAX_DEPTH ? -1 : openat(src, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	hk_autodir dir = NULL;
	struct dirent *e;
	int r = 0;

	if (depth > MAX_DEPTH)
		return -ENAMETOOLONG;
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		hk_close(fd);
		return r;
	}
	while (r >= 0) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			return -errno;
		if (!hk_streq(e->d_name, ".") && !hk_streq(e->d_name, ".."))
			r = copy_entry(src, dst, e->d_name, dev, depth);
	}
	return r;
}

int oci_copyup(int src_fd, int dst_fd)
{
	struct stat st;

	if (fstat(src_fd, &st) < 0)
		return -errno;
	return copy_dir(src_fd, dst_fd, st.st_dev, 0);
}
