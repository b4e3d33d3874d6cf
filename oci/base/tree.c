/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/tree.c — directories and whole files of the host (never of a container): the second half of fd.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

enum { MAX_DEPTH = 64 };

int hk_mkdir_p(int dirfd, const char *path, mode_t mode)
{
	char part[PATH_MAX];
	const int len = hk_fmt(part, sizeof(part), "%s", path);
	struct stat st;

	if (len < 0)
		return len;
	for (char *p = part + 1; len > 0; p++) {
		const char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdirat(dirfd, part, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	if (fstatat(dirfd, path, &st, 0) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int hk_write_file_atomic(int dirfd, const char *path, const void *buf, size_t len, mode_t mode)
{
	char temp[PATH_MAX];
	hk_autofd fd = -1;
	int r = hk_fmt(temp, sizeof(temp), "%s.%d~", path, (int)getpid());

	if (r < 0)
		return r;
	(void)unlinkat(dirfd, temp, 0); /* left by a process that died here and had our pid */
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = fchmod(fd, mode) < 0 ? -errno : hk_write_full(fd, buf, len);
	if (r == 0 && renameat(dirfd, temp, dirfd, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dirfd, temp, 0);
	return r;
}

/* The subdirectory, unless it is a mount point: what is mounted there is not ours to remove. */
static int open_subdir(int dirfd, const char *name)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV };
	long fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* before 5.6, or filtered: the device number has to do */
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return (int)fd;
}

static int remove_below(int fd, dev_t dev, int depth)
{
	hk_autodir d = NULL;
	int r = 0;

	if (depth > MAX_DEPTH) {
		(void)hk_close(fd);
		return -ELOOP;
	}
	d = fdopendir(fd);
	if (!d) {
		(void)hk_close(fd);
		return -errno;
	}
	for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
		struct stat st;
		int child;

		if (hk_streq(e->d_name, ".") || hk_streq(e->d_name, ".."))
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!S_ISDIR(st.st_mode)) {
			r = unlinkat(dirfd(d), e->d_name, 0) < 0 && errno != ENOENT ? -errno : 0;
			continue;
		}
		if (st.st_dev != dev)
			return -EXDEV;
		child = open_subdir(dirfd(d), e->d_name);
		r = child < 0 ? -errno : remove_below(child, dev, depth + 1);
		if (r == 0 && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			r = -errno;
	}
	return r;
}

/* Opens the directory that holds path and points *ret_name at its last component (inside `copy`, PATH_MAX bytes). */
static int open_parent(int dirfd, const char *path, char *copy, const char **ret_name)
{
	int len = hk_fmt(copy, PATH_MAX, "%s", path);
	char *slash;
	int fd;

	if (len < 0)
		return len;
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	*ret_name = slash ? slash + 1 : copy;
	if (hk_streq(*ret_name, "") || hk_streq(*ret_name, ".") || hk_streq(*ret_name, ".."))
		return -EINVAL;
	fd = openat(dirfd, !slash ? "." : slash == copy ? "/" : copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int hk_rm_rf(int dirfd, const char *path)
{
	char copy[PATH_MAX];
	const char *name = NULL;
	hk_autofd parent = open_parent(dirfd, path, copy, &name);
	struct stat st, above;
	int fd, r;

	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (fstat(parent, &above) < 0)
		return -errno;
	if (st.st_dev != above.st_dev)
		return -EXDEV; /* path itself is a mount point: a rootfs, a volume */
	fd = open_subdir(parent, name);
	if (fd < 0)
		return -errno;
	r = remove_below(fd, st.st_dev, 0);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}
