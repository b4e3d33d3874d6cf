/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_guard.c — what may be mounted on or below the container's /proc.
 *
 * The engine itself writes through a procfs of its own, but programs in the container trust /proc too, and an image's
 * volume over it once switched off AppArmor (CVE-2019-16884, CVE-2025-52881). So: a new procfs or a bind of a procfs
 * root on /proc itself, and below it the files that lxcfs is known to replace. The destination counts as it was
 * resolved: a link that leads to /proc is /proc.
 */
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/mounts.h"
#include "oci/setup.h"

enum { PROC_ROOT_INO = 1 };

static const char *const replaceable[] = {
	"/proc/cpuinfo",
	"/proc/diskstats",
	"/proc/meminfo",
	"/proc/stat",
	"/proc/swaps",
	"/proc/uptime",
	"/proc/loadavg",
	"/proc/slabinfo",
	"/proc/sys/kernel/ns_last_pid",
	"/proc/sys/crypto/fips_enabled",
};

/*
 * Single slashes, no ".", no slash at the end; always a leading slash. ".." stays: such a name is judged by what it
 * resolves to.
 */
static int clean(const char *path, char *ret, size_t size)
{
	size_t len = 0;

	for (;;) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 0)
			break;
		if (!(n == 1 && path[0] == '.')) {
			if (len + n + 2 > size)
				return -ENAMETOOLONG;
			ret[len++] = '/';
			memcpy(ret + len, path, n);
			len += n;
		}
		path += n;
	}
	if (len == 0)
		ret[len++] = '/';
	ret[len] = '\0';
	return 0;
}

bool oci_mount_is_dest(const char *path, const char *want)
{
	char buf[PATH_MAX];

	return clean(path, buf, sizeof(buf)) == 0 && strcmp(buf, want) == 0;
}

static bool is_procfs(int fd)
{
	struct statfs sfs;

	return fstatfs(fd, &sfs) == 0 && sfs.f_type == PROC_SUPER_MAGIC;
}

static bool is_procfs_root(int fd)
{
	struct stat st;

	return is_procfs(fd) && fstat(fd, &st) == 0 && st.st_ino == PROC_ROOT_INO;
}

static int fd_path(int fd, char *ret, size_t size)
{
	char name[40];
	ssize_t n;

	(void)hk_fmt(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, ret, size - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	return 0;
}

/* The resolved destination as a path of the container; false when the kernel cannot tell. */
static bool resolved_path(const struct oci_setup *s, int dst_fd, char ret[PATH_MAX])
{
	char root[PATH_MAX], full[PATH_MAX];

	if (fd_path(s->rootfs_fd, root, sizeof(root)) < 0 || fd_path(dst_fd, full, sizeof(full)) < 0)
		return false;
	if (strcmp(root, "/") == 0)
		root[0] = '\0';
	if (!hk_has_prefix(full, root))
		return false;
	return clean(full + strlen(root), ret, PATH_MAX) == 0;
}

int oci_mount_guard_proc(const struct oci_setup *s, size_t i, int dst_fd, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct oci_mount_src *src = &s->srcs[i];
	char path[PATH_MAX];

	if (hk_is_broken(HK_DEFENCE_PROC_GUARD))
		return 0;
	if (clean(m->destination, path, sizeof(path)) < 0)
		return hk_fail(err, HK_INVALID, ENAMETOOLONG, "mount destination %.200s", m->destination);
	if (is_procfs(dst_fd) && !resolved_path(s, dst_fd, path))
		return hk_fail(err, HK_INTERNAL, EXDEV, "tell where %s leads to", m->destination);
	if (strcmp(path, "/proc") == 0) {
		if (src->flags.bind ? src->tree_fd >= 0 && is_procfs_root(src->tree_fd) : hk_streq(m->type, "proc"))
			return 0;
	} else if (!hk_has_prefix(path, "/proc/")) {
		return 0;
	}
	for (size_t k = 0; src->flags.bind && k < HK_ARRAY_SIZE(replaceable); k++)
		if (strcmp(path, replaceable[k]) == 0)
			return 0;
	return hk_fail_text(err, HK_INVALID, EPERM, "mount on %s: %s must not be covered", m->destination, path);
}
