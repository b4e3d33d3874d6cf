/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/rootfs.c — from root.path to "/": the root as a mount of its own, put in place, pivoted to, made final.
 *
 * The root is held as a descriptor of a (at first detached) tree from the first step on; root.path is looked up once,
 * and after that it is only the place where the tree hangs, so that hooks find it there. All of our namespace is a
 * slave of the host's before anything is mounted: nothing we mount or unmount reaches the host, and the mount that ours
 * hangs on is shared with nobody.
 */
#include "oci/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/files.h"
#include "oci/mount_fs.h"
#include "oci/mountinfo.h"
#include "oci/mounts.h"
#include "oci/namespaces.h"
#include "oci/path.h"
#include "oci/setup.h"

enum { MOUNTINFO_MAX = 16 << 20 };

static void set_root(struct oci_setup *s, int *take_fd)
{
	if (s->rootfs_fd >= 0)
		hk_close(s->rootfs_fd);
	s->rootfs_fd = hk_take_fd(take_fd);
}

int oci_rootfs_open_dir(struct oci_setup *s, struct hk_err *err)
{
	char path[PATH_MAX];
	hk_autofd fd = -1;
	int r = hk_fmt(path, sizeof(path), "%s/.", s->rootfs); /* "/.": a directory, or ENOTDIR */

	if (r >= 0)
		r = oci_tree_clone(AT_FDCWD, path, AT_RECURSIVE, &fd);
	if (oci_mount_is_absent(r)) {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	if (r < 0)
		return hk_fail(err, r == -ENOENT || r == -ENOTDIR ? HK_INVALID : HK_INTERNAL, -r, "rootfs %s", s->rootfs);
	set_root(s, &fd);
	return 0;
}

/* Who enters a mount namespace is at its root, also where it was in already. */
static int go_to_top(struct hk_err *err)
{
	hk_autofd ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

	if (ns < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open /proc/self/ns/mnt");
	return oci_ns_return(ns, err);
}

/*
 * A shim below a chroot is not at its namespace's root. A pivot from there would leave the machine's whole tree around the container's, and
 * every exec, which enters the namespace, in that. So the mounts outside are slaves as well, and the pivot is made from the top; the paths of
 * the spec are the chroot's until then.
 */
static int enslave(struct oci_setup *s, struct hk_err *err)
{
	hk_autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statx ours, top;
	int r;

	if (root < 0 || statx(root, "", AT_EMPTY_PATH, STATX_MNT_ID, &ours) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open /");
	r = go_to_top(err);
	if (r < 0)
		return r;
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make / a slave of the host's mounts");
	if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &top) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stat /");
	s->is_chrooted = top.stx_mnt_id != ours.stx_mnt_id;
	if (s->is_chrooted && (fchdir(root) < 0 || chroot(".") < 0))
		return hk_fail(err, HK_INTERNAL, errno, "return to the shim's root");
	return 0;
}

int oci_rootfs_prepare(struct oci_setup *s, struct hk_err *err)
{
	int r = oci_mounts_parse(s, err);

	if (r >= 0)
		r = oci_mounts_open_shared(s, err);
	if (r >= 0)
		r = enslave(s, err);
	if (r < 0)
		return r;
	return s->n_rootfs_mounts > 0 ? oci_rootfs_mounts_open(s, err) : oci_rootfs_open_dir(s, err);
}

/* By mount(2): what root.path shows is bound on itself. */
static int attach_classic(struct oci_setup *s)
{
	hk_autofd fd = -1;

	if (mount(s->rootfs, s->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	fd = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	set_root(s, &fd);
	return 0;
}

static int move_to(int tree_fd, const char *path)
{
	if (move_mount(tree_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
		return -errno;
	return 0;
}

int oci_rootfs_attach(struct oci_setup *s, struct hk_err *err)
{
	int r = move_to(s->rootfs_fd, s->rootfs);
	bool is_deep;

	/*
	 * Root of a user namespace may not be let into the bundle's directories; any other place will do, / is
	 * always there.
	 */
	if (r == -EACCES)
		r = move_to(s->rootfs_fd, "/");
	if (oci_mount_is_absent(r) || r == -EINVAL || r == -ELOOP)
		r = attach_classic(s);
	/*
	 * The root itself follows nothing that happens below root.path on the host, whatever rootfsPropagation says (as
	 * runc's does); what is mounted below it there stays a slave. The parent needs nothing: it has been no member
	 * of a peer group since oci_rootfs_prepare.
	 */
	is_deep = s->spec->rootfs_propagation == OCI_PROP_PRIVATE && s->spec->rootfs_propagation_recursive;
	if (r >= 0)
		r = oci_tree_propagate(-1, s->rootfs_fd, MS_PRIVATE | (is_deep ? MS_REC : 0UL));
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "attach rootfs %s", s->rootfs) : 0;
}

int oci_rootfs_make_cwd(struct oci_setup *s, struct hk_err *err)
{
	const char *cwd = s->spec->process.cwd;
	hk_autofd fd = -1;
	int r;

	if (!s->spec->has_process || !cwd || hk_streq(cwd, "/") || hk_is_broken(HK_DEFENCE_CWD_INSIDE))
		return 0;
	/* No magic links: a cwd of /proc/self/fd/N is a way out (CVE-2024-21626). */
	r = oci_path_mkdir_in(s->rootfs_fd, cwd, 0755, &fd);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make working directory %s", cwd) : 0;
}

/* Takes a whole proc or sysfs of the host away, or covers it where it is locked. */
static int hide(const struct oci_mountinfo *m, const char *root)
{
	size_t len = strlen(root);

	if (!hk_streq(m->type, "proc") && !hk_streq(m->type, "sysfs"))
		return 0;
	if (!hk_streq(m->root, "/") || (strncmp(m->target, root, len) == 0 && (m->target[len] == '/' || m->target[len] == '\0')))
		return 0;
	if (umount2(m->target, MNT_DETACH) == 0 || errno == ENOENT || errno == EACCES)
		return 0;
	return mount("tmpfs", m->target, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1") < 0 ? -errno : 0;
}

/*
 * Without a pivot the host's mounts stay below ours. A whole procfs or sysfs there is what the kernel asks for before
 * it lets a container mount one without masks: all of the host's go.
 */
static int hide_host_procs(const struct oci_setup *s)
{
	hk_autofree char *text = NULL;
	char root[PATH_MAX], name[40];
	struct oci_mountinfo m;
	size_t len;
	ssize_t n;
	int r;

	(void)hk_fmt(name, sizeof(name), "/proc/self/fd/%d", s->rootfs_fd);
	n = readlink(name, root, sizeof(root) - 1);
	if (n < 0)
		return -errno;
	root[n] = '\0';
	r = hk_read_file_alloc(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &len);
	for (char *pos = text; r >= 0 && oci_mountinfo_next(&pos, &m);)
		r = hide(&m, root);
	return r;
}

/* For a host whose root is the initramfs, which pivot_root(2) refuses. */
static int move_root(const struct oci_setup *s, struct hk_err *err)
{
	int r = hide_host_procs(s);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "hide the host's proc and sysfs");
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "move rootfs to /");
	if (chroot(".") < 0)
		return hk_fail(err, HK_INTERNAL, errno, "chroot to rootfs");
	return 0;
}

int oci_rootfs_pivot(struct oci_setup *s, struct hk_err *err)
{
	int r = s->is_chrooted ? go_to_top(err) : 0;

	if (r < 0)
		return r;
	if (fchdir(s->rootfs_fd) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "chdir to rootfs");
	if (s->no_pivot) {
		r = move_root(s, err);
		if (r < 0)
			return r;
	} else {
		/* The old root comes to lie on the new one, at "." and "/" (pivot_root(2), "pivot_root(".", ".")"). */
		if (syscall(SYS_pivot_root, ".", ".") < 0)
			return hk_fail(err, HK_INTERNAL, errno, "pivot_root to %s", s->rootfs);
		/* A slave of the host's since oci_rootfs_prepare: the host's mounts do not follow. */
		if (umount2(".", MNT_DETACH) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "detach the old root");
	}
	if (chdir("/") < 0)
		return hk_fail(err, HK_INTERNAL, errno, "chdir to /");
	return 0;
}

/*
 * Shared and unbindable must wait for the pivot, which refuses a shared root. With "r" they reach every mount, and the
 * ones that asked for something else get it back in oci_mounts_finish. Slave is what all mounts are at most already,
 * but for those that asked to be shared.
 */
static int propagate_root(const struct oci_setup *s)
{
	unsigned long rec = s->spec->rootfs_propagation_recursive ? MS_REC : 0UL;

	switch (s->spec->rootfs_propagation) {
	case OCI_PROP_SHARED:
		return oci_tree_propagate(s->proc_fd, s->rootfs_fd, MS_SHARED | rec);
	case OCI_PROP_UNBINDABLE:
		return oci_tree_propagate(s->proc_fd, s->rootfs_fd, MS_UNBINDABLE | rec);
	case OCI_PROP_SLAVE:
		return oci_tree_propagate(s->proc_fd, s->rootfs_fd, MS_SLAVE);
	case OCI_PROP_PRIVATE:
	case OCI_PROP_NONE:
		break;
	}
	return 0;
}

int oci_rootfs_finish(struct oci_setup *s, struct hk_err *err)
{
	int r = propagate_root(s);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "set propagation of the root");
	r = oci_mounts_finish(s, err);
	if (r < 0)
		return r;
	if (s->spec->root_readonly)
		r = oci_tree_setattr(s->proc_fd, s->rootfs_fd, MOUNT_ATTR_RDONLY, 0, false);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make the root read-only");
	if (chdir("/") < 0) /* mount(2) by descriptor leaves it */
		return hk_fail(err, HK_INTERNAL, errno, "chdir to /");
	return 0;
}

/*
 * runc mounts a container without a mount namespace into the host's own table. Here the tree is made in a namespace of the set-up's, as
 * always, and taken along as a detached copy: the process is in the host's namespace and its root in none, so that nothing of it is ever
 * seen, kept busy or left behind out there. It ends with the last process that stands in it.
 */
int oci_rootfs_leave(struct oci_setup *s, struct hk_err *err)
{
	hk_autofd tree = -1;
	int r;

	if (s->host_mnt_fd < 0)
		return 0;
	r = oci_tree_clone(AT_FDCWD, "/", AT_RECURSIVE, &tree);
	if (r < 0)
		return hk_fail(err, r == -ENOSYS ? HK_UNSUPPORTED : HK_INTERNAL, -r, "copy the root, as there is no mount namespace");
	r = oci_ns_return(s->host_mnt_fd, err);
	if (r < 0)
		return r;
	s->host_mnt_fd = hk_close(s->host_mnt_fd);
	if (fchdir(tree) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return hk_fail(err, HK_INTERNAL, errno, "chroot to rootfs");
	set_root(s, &tree);
	return 0;
}
