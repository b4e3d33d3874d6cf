/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/procfs.c — the procfs that the engine itself writes through.
 *
 * Sysctls and security labels are written below s->proc_fd and nowhere else. A container's /proc may be a tmpfs, have
 * something mounted over one file, or be reached by a symlink (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: the
 * write goes to a harmless file, or to a harmful one); an own, detached instance has no name that a neighbour could
 * mount on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/files.h"
#include "oci/mount_fs.h"
#include "oci/setup.h"

enum { PROC_ROOT_INO = 1 };

/* The host's /proc may itself be covered: what we take must be procfs, and its root. */
static int check_is_procfs(int fd)
{
	struct statfs sfs;
	struct stat st;

	if (fstatfs(fd, &sfs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	return sfs.f_type == PROC_SUPER_MAGIC && st.st_ino == PROC_ROOT_INO ? 0 : -EXDEV;
}

int oci_procfs_open(struct oci_setup *s, struct hk_err *err)
{
	static const struct oci_fs fs = {
		.type = "proc",
		.source = "proc", /* what mountinfo shows; the container's /proc is a copy of this mount */
		.attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	};
	hk_autofd fd = -1;
	int r = oci_fs_open(&fs, &fd, NULL);

	s->proc_is_fresh = r == 0;
	/*
	 * In a user namespace a new instance is EPERM where no procfs is fully visible: a bare copy of /proc has no
	 * overmounts either.
	 */
	if (r < 0)
		r = oci_tree_clone(AT_FDCWD, "/proc", 0, &fd);
	if (r < 0) {
		fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return hk_fail(err, HK_INTERNAL, errno, "open /proc");
	}
	if (!s->proc_is_fresh) {
		r = check_is_procfs(fd);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "check that /proc is procfs");
	}
	if (s->proc_fd >= 0)
		hk_close(s->proc_fd);
	s->proc_fd = hk_take_fd(&fd);
	return 0;
}
