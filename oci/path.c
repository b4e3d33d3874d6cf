/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/path.c — resolves a container's path below its root, once, to a descriptor.
 *
 * In: a root fd and a name that a hostile image or neighbour chose. Out: an fd the caller owns. openat2 does the common
 * case in one call; what it cannot do (make what is missing, or run where a seccomp filter hides it) is done by
 * oci_walk (oci/path_walk.c).
 */
#include "oci/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/path_walk.h"

enum { RESOLVE_TRIES = 64 };

static int try_openat2(int rootfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	/* EAGAIN: a rename or mount anywhere raced with a ".." in the path (openat2(2)); trying again is the remedy. */
	for (int i = 0; i < RESOLVE_TRIES; i++) {
		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

/* A seccomp filter around us answers either way for a call it does not know. */
static bool is_absent(int r)
{
	return r == -ENOSYS || r == -EPERM;
}

int oci_path_open_in(int rootfd, const char *path, int flags, int *ret_fd)
{
	int fd;

	if (path[0] == '\0')
		path = "/";
	fd = try_openat2(rootfd, path, flags);
	if (is_absent(fd))
		return oci_walk(rootfd, path, &(struct oci_walk_opts){ .open_flags = flags }, ret_fd);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static int make_in(int rootfd, const char *path, const struct oci_walk_opts *o, int *ret_fd)
{
	int r = oci_path_open_in(rootfd, path, o->open_flags, ret_fd);

	/* ENOENT is also what openat2 says of a dangling link, which the walk follows to where it points. */
	return r == -ENOENT ? oci_walk(rootfd, path, o, ret_fd) : r;
}

int oci_path_mkdir_in(int rootfd, const char *path, mode_t mode, int *ret_fd)
{
	return make_in(rootfd, path,
	    &(struct oci_walk_opts){ .open_flags = O_PATH | O_DIRECTORY, .make = OCI_WALK_MKDIR, .mode = mode }, ret_fd);
}

int oci_path_mkfile_in(int rootfd, const char *path, mode_t mode, int *ret_fd)
{
	return make_in(rootfd, path, &(struct oci_walk_opts){ .open_flags = O_PATH, .make = OCI_WALK_MKFILE, .mode = mode },
	    ret_fd);
}

int oci_path_parent_in(int rootfd, const char *path, mode_t mode, int *ret_dirfd, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	hk_autofree char *parent = NULL;
	int r;

	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	parent = strndup(path, (size_t)(name - path));
	if (!parent)
		return -ENOMEM;
	r = oci_path_mkdir_in(rootfd, parent, mode, ret_dirfd);
	if (r < 0)
		return r;
	*ret_name = name;
	return 0;
}

int oci_path_reopen(int procfd, int fd, int flags, int *ret_fd)
{
	char name[48];
	int r;

	if (procfd >= 0)
		r = hk_fmt(name, sizeof(name), "self/fd/%d", fd);
	else
		r = hk_fmt(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (r < 0)
		return r;
	r = openat(procfd >= 0 ? procfd : AT_FDCWD, name, flags | O_CLOEXEC);
	if (r < 0)
		return -errno;
	*ret_fd = r;
	return 0;
}
