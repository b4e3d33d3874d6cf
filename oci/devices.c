/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/devices.c — the device nodes and links that every container has, and linux.devices.
 *
 * /dev is resolved once, inside the root; all that follows goes by that descriptor. An image whose /dev is a link to
 * ../../x would else have nodes and links made outside (CVE-2026-41579, CVE-2026-47766). In a user namespace mknod is
 * not allowed: the host's nodes are bound. A /dev that is the host's own, bound by the spec, is left as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/files.h"
#include "oci/mount_fs.h"
#include "oci/mounts.h"
#include "oci/path.h"
#include "oci/setup.h"

struct node {
	const char *path; /* on the host, for a bind */
	mode_t type;      /* S_IFCHR, S_IFBLK, S_IFIFO */
	mode_t mode;      /* permission bits */
	dev_t rdev;
	uid_t uid;
	gid_t gid;
	bool may_replace; /* what else has the name goes away; of linux.devices it is an error */
};

/* runtime-spec, "Default Devices" */
static const struct {
	const char *name;
	unsigned major, minor;
} defaults[] = {
	{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *target, *name;
} links[] = {
	{ "/proc/self/fd", "fd" },
	{ "/proc/self/fd/0", "stdin" },
	{ "/proc/self/fd/1", "stdout" },
	{ "/proc/self/fd/2", "stderr" },
};

bool oci_is_devnull(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static bool is_node(const struct stat *st, const struct node *n)
{
	return (st->st_mode & S_IFMT) == n->type && (n->type == S_IFIFO || st->st_rdev == n->rdev);
}

/*
 * Owner and mode of a node that was found or just made, by a descriptor of it: a name could be another file's by
 * now.
 */
static int adjust(const struct oci_setup *s, int dirfd, const char *name, const struct node *n)
{
	hk_autofd fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char self[40];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!is_node(&st, n))
		return -EEXIST;
	if ((st.st_uid != n->uid || st.st_gid != n->gid) &&
	    fchownat(fd, "", n->uid, n->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	(void)hk_fmt(self, sizeof(self), "self/fd/%d", fd);
	if ((st.st_mode & 07777) != n->mode && fchmodat(s->proc_fd, self, n->mode, 0) < 0)
		return -errno;
	return 0;
}

/* The host's node on an empty file. */
static int bind_node(int dirfd, const char *name, const struct node *n)
{
	hk_autofd src = open(n->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	hk_autofd dst = -1;
	struct stat st;

	if (src < 0 || fstat(src, &st) < 0)
		return -errno;
	if (!is_node(&st, n))
		return -ENODEV;
	dst = openat(dirfd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY | O_CLOEXEC, 0666);
	if (dst < 0 && errno == EEXIST)
		dst = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (dst < 0)
		return -errno;
	if (fstat(dst, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return is_node(&st, n) ? 0 : -EEXIST;
	return oci_tree_bind(-1, src, dst, false, NULL);
}

static int make_node(const struct oci_setup *s, int dirfd, const char *name, const struct node *n)
{
	struct stat st;
	int r = 0;

	if (s->in_userns && n->type != S_IFIFO)
		return bind_node(dirfd, name, n);
	if (mknodat(dirfd, name, n->type | n->mode, n->rdev) < 0)
		r = -errno;
	if (r == -EPERM) /* a user namespace around the host itself */
		return bind_node(dirfd, name, n);
	if (r == -EEXIST && n->may_replace) {
		if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !is_node(&st, n)) {
			if (unlinkat(dirfd, name, 0) < 0)
				return -errno;
			r = mknodat(dirfd, name, n->type | n->mode, n->rdev) < 0 ? -errno : 0;
		}
	}
	if (r < 0 && r != -EEXIST)
		return r;
	/* What was just made in a directory without default ACL is as asked; one look tells. */
	if (r == 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_node(&st, n) && (st.st_mode & 07777) == n->mode &&
	    st.st_uid == n->uid && st.st_gid == n->gid)
		return 0;
	return adjust(s, dirfd, name, n);
}

static int make_defaults(const struct oci_setup *s, int dev, struct hk_err *err)
{
	char host[32];

	for (size_t i = 0; i < HK_ARRAY_SIZE(defaults); i++) {
		const struct node n = {
			.path = host,
			.type = S_IFCHR,
			.mode = 0666,
			.rdev = makedev(defaults[i].major, defaults[i].minor),
			.may_replace = true,
		};
		int r;

		(void)hk_fmt(host, sizeof(host), "/dev/%s", defaults[i].name);
		r = make_node(s, dev, defaults[i].name, &n);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "make default device %s", host);
	}
	return 0;
}

static int make_link(int dev, const char *target, const char *name, struct hk_err *err)
{
	if (symlinkat(target, dev, name) < 0 && errno != EEXIST)
		return hk_fail(err, HK_INTERNAL, errno, "make link /dev/%s", name);
	return 0;
}

/* /dev/ptmx must be the container's own devpts, whatever node the image or a tmpfs has there. */
static int make_ptmx(int dev, struct hk_err *err)
{
	if (symlinkat("pts/ptmx", dev, "ptmx") == 0)
		return 0;
	if (errno != EEXIST || unlinkat(dev, "ptmx", 0) < 0 || symlinkat("pts/ptmx", dev, "ptmx") < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make link /dev/ptmx");
	return 0;
}

static int make_links(const struct oci_setup *s, int dev, struct hk_err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < HK_ARRAY_SIZE(links); i++)
		r = make_link(dev, links[i].target, links[i].name, err);
	if (r >= 0 && faccessat(s->proc_fd, "kcore", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = make_link(dev, "/proc/kcore", "core", err);
	return r < 0 ? r : make_ptmx(dev, err);
}

/* The name directly in /dev, or NULL. */
static const char *name_in_dev(const char *path)
{
	const char *name = hk_has_prefix(path, "/dev/") ? path + strlen("/dev/") : NULL;

	return name && name[0] != '\0' && name[0] != '.' && !strchr(name, '/') ? name : NULL;
}

static int make_listed(const struct oci_setup *s, const struct oci_device *d, int dev, struct hk_err *err)
{
	const struct node n = {
		.path = d->path,
		.type = d->type == 'b' ? S_IFBLK : d->type == 'p' ? S_IFIFO : S_IFCHR,
		.mode = (d->has_mode ? d->mode : 0666) & 07777, /* some callers leave S_IFCHR in fileMode */
		.rdev = d->type == 'p' ? 0 : makedev((unsigned)d->major, (unsigned)d->minor),
		.uid = d->uid,
		.gid = d->gid,
	};
	const char *name = name_in_dev(d->path);
	hk_autofd dir = -1;
	int r = 0;

	if (!name)
		r = oci_path_parent_in(s->rootfs_fd, d->path, 0755, &dir, &name);
	if (r >= 0)
		r = make_node(s, dir >= 0 ? dir : dev, name, &n);
	if (r == -EEXIST)
		return hk_fail(err, HK_INVALID, EEXIST, "make device %s: something else is there", d->path);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make device %s", d->path) : 0;
}

int oci_devices_create(struct oci_setup *s, struct hk_err *err)
{
	hk_autofd dev = -1;
	int r;

	if (oci_mounts_has_bind(s, "/dev"))
		return 0;
	r = hk_is_broken(HK_DEFENCE_DEV_INSIDE) ? hk_naive_open(s->rootfs_fd, "/dev", O_PATH | O_DIRECTORY, true, &dev)
						: oci_path_mkdir_in(s->rootfs_fd, "/dev", 0755, &dev);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open /dev of the container");
	r = make_defaults(s, dev, err);
	if (r >= 0)
		r = make_links(s, dev, err);
	for (size_t i = 0; r >= 0 && i < s->spec->n_devices; i++) {
		if (hk_streq(s->spec->devices[i].path, "/dev/ptmx"))
			continue; /* a privileged container lists the host's; its own is the link made above */
		s->at = (int)i;
		r = make_listed(s, &s->spec->devices[i], dev, err);
	}
	return r;
}
