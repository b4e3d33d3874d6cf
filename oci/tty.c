/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/tty.c — a terminal from the container's own devpts.
 *
 * The other end is taken with TIOCGPTPEER from the master that we hold, never by the name /dev/pts/N, which a neighbour
 * sharing /dev could swap for a file of procfs and have it bound on /dev/console, writable, before the masks
 * (CVE-2025-52565). The ptmx itself is opened only after its descriptor has proved to be one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/files.h"
#include "oci/mount_fs.h"
#include "oci/path.h"
#include "oci/setup.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static bool is_on_devpts(int fd)
{
	struct statfs sfs;

	return fstatfs(fd, &sfs) == 0 && sfs.f_type == DEVPTS_SUPER_MAGIC;
}

static int check_ptmx(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return is_on_devpts(fd) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) ? 0 : -ENOTTY;
}

/*
 * The ptmx of the devpts at /dev/pts: char 5:2 on a file system of that kind. Without a procfs of our own (exec: the
 * container's cannot be trusted with a descriptor's name) it is opened by name again, without waiting, and checked again.
 */
static int open_ptmx(int procfd, int rootfd, int *ret_fd)
{
	hk_autofd fd = -1, real = -1;
	int r = oci_path_open_in(rootfd, "/dev/pts/ptmx", O_PATH | O_NOFOLLOW, &fd);

	if (r >= 0)
		r = check_ptmx(fd);
	if (r < 0)
		return r;
	if (procfd >= 0)
		return oci_path_reopen(procfd, fd, O_RDWR | O_NOCTTY, ret_fd);
	r = oci_path_open_in(rootfd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, &real);
	if (r >= 0)
		r = check_ptmx(real);
	if (r >= 0)
		r = hk_set_nonblock(real, false);
	if (r < 0)
		return r;
	*ret_fd = hk_take_fd(&real);
	return 0;
}

static int open_pair(int procfd, int rootfd, int *ret_master, int *ret_slave, struct hk_err *err)
{
	hk_autofd master = -1, slave = -1;
	int unlock = 0;
	int r = open_ptmx(procfd, rootfd, &master);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open /dev/pts/ptmx of the container");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open the terminal's other end");
	if (!is_on_devpts(slave))
		return hk_fail(err, HK_INTERNAL, ENOTTY, "check the terminal's other end");
	*ret_master = hk_take_fd(&master);
	*ret_slave = hk_take_fd(&slave);
	return 0;
}

/* /dev/console as a file to be mounted on: a link there is the image's, and goes away. */
static int open_console_point(int rootfd, int *ret_fd)
{
	hk_autofd dev = -1;
	const char *name;
	struct stat st;
	int r = oci_path_parent_in(rootfd, "/dev/console", 0755, &dev, &name);

	if (r < 0)
		return r;
	for (int i = 0; i < 4; i++) {
		hk_autofd fd = openat(dev, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0) {
			if (fstat(fd, &st) < 0)
				return -errno;
			if (!S_ISLNK(st.st_mode)) {
				*ret_fd = hk_take_fd(&fd);
				return 0;
			}
			if (unlinkat(dev, name, 0) < 0 && errno != ENOENT)
				return -errno;
		} else if (errno != ENOENT) {
			return -errno;
		}
		fd = fd >= 0 ? hk_close(fd) : -1;
		fd = openat(dev, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY | O_CLOEXEC, 0666);
		if (fd < 0 && errno != EEXIST)
			return -errno;
	}
	return -EAGAIN; /* somebody keeps changing it */
}

int oci_console_create(struct oci_setup *s, struct hk_err *err)
{
	const struct oci_process *p = &s->spec->process;
	hk_autofd master = -1, slave = -1, dst = -1, src = -1;
	int r;

	if (!s->terminal)
		return 0;
	r = open_pair(s->proc_fd, s->rootfs_fd, &master, &slave, err);
	if (r < 0)
		return r;
	if (p->console_rows || p->console_cols) {
		struct winsize ws = { .ws_row = p->console_rows, .ws_col = p->console_cols };

		if (ioctl(master, TIOCSWINSZ, &ws) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "set the terminal's size");
	}
	/*
	 * The user alone: devpts has set the group (gid=5, tty). An id without a mapping is told when it is taken
	 * on.
	 */
	if (p->uid != 0 && fchown(slave, p->uid, (gid_t)-1) < 0 && errno != EINVAL)
		return hk_fail(err, HK_INTERNAL, errno, "give the terminal to user %u", p->uid);
	r = open_console_point(s->rootfs_fd, &dst);
	if (r >= 0 && hk_is_broken(HK_DEFENCE_CONSOLE_PEER))
		r = hk_naive_pts(s->rootfs_fd, master, &src);
	if (r >= 0)
		r = oci_tree_bind(-1, src >= 0 ? src : slave, dst, false, NULL);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "mount the terminal on /dev/console");
	s->console_master = hk_take_fd(&master);
	s->console_slave = hk_take_fd(&slave);
	return 0;
}

int oci_tty_open(int rootfd, int *ret_master, int *ret_slave, struct hk_err *err)
{
	return open_pair(-1, rootfd, ret_master, ret_slave, err);
}

int oci_tty_adopt(int slave_fd, unsigned rows, unsigned cols, struct hk_err *err)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	if ((rows || cols) && ioctl(slave_fd, TIOCSWINSZ, &ws) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set the terminal's size");
	if (ioctl(slave_fd, TIOCSCTTY, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make the terminal the controlling one");
	for (int i = 0; i < 3; i++)
		if (dup2(slave_fd, i) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "put the terminal on descriptor %d", i);
	return 0;
}
