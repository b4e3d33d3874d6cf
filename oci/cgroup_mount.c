/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_mount.c — what /sys/fs/cgroup is inside a container.
 *
 * On a unified host a cgroup2 mount, rooted at the container's own cgroup by its cgroup namespace; without such a
 * namespace a bind of the host's. With v1 hierarchies the layout that programs of that time look for: a tmpfs, one
 * directory for each hierarchy showing the container's own cgroup, and links for the controllers that share one. "ro"
 * holds for all of it.
 */
#include "oci/cgroup_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/mount_fs.h"
#include "oci/path.h"
#include "oci/setup.h"

static int bind_dir(const char *path, const struct oci_mount_flags *f, bool recursive, int dst, int *ret_tree)
{
	hk_autofd tree = -1;
	int r = oci_tree_clone(AT_FDCWD, path, recursive ? AT_RECURSIVE : 0, &tree);

	if (r >= 0)
		r = oci_tree_setattr_only(tree, f->attr_set, f->attr_clr, recursive);
	if (r >= 0) /* what the host mounts there later is not for the container */
		r = oci_tree_propagate(-1, tree, MS_PRIVATE | (recursive ? MS_REC : 0UL));
	if (r >= 0)
		r = oci_tree_attach(tree, dst);
	if (r >= 0)
		*ret_tree = hk_take_fd(&tree);
	return r;
}

/* By mount(2), where the tree calls are missing. */
static int bind_dir_classic(const char *path, const struct oci_mount_flags *f, int dirfd, const char *name)
{
	hk_autofd src = open(path, O_PATH | O_CLOEXEC);
	hk_autofd dst = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	hk_autofd top = -1;
	int r;

	if (src < 0 || dst < 0)
		return -errno;
	r = oci_tree_bind(-1, src, dst, false, NULL);
	if (r < 0)
		return r;
	top = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return top < 0 ? -errno : oci_tree_setattr(-1, top, f->attr_set, f->attr_clr, false);
}

/* "cpu" -> "cpu,cpuacct" and so on. */
static int link_names(int dirfd, const char *name)
{
	char one[NAME_MAX + 1];

	for (const char *p = name; *p; p += *p == ',') {
		size_t n = strcspn(p, ",");

		if (n < sizeof(one) && n != strlen(name)) {
			memcpy(one, p, n);
			one[n] = '\0';
			if (symlinkat(name, dirfd, one) < 0 && errno != EEXIST)
				return -errno;
		}
		p += n;
	}
	return 0;
}

static int mount_hierarchy(const struct oci_setup *s, size_t i, const struct cg_hier *h, int dirfd)
{
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	const char *slash = strrchr(h->mount, '/');
	const char *name = slash ? slash + 1 : h->mount;
	hk_autofd dst = -1, tree = -1;
	char path[PATH_MAX];
	int r = cg_abs(h, oci_cgroup_path(s->cgroup), path);

	if (r < 0)
		return r;
	if (access(path, F_OK) < 0) /* a hierarchy that the container has no cgroup in */
		return errno == ENOENT ? 0 : -errno;
	if (mkdirat(dirfd, name, 0755) < 0)
		return -errno;
	dst = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	if (dst < 0)
		return -errno;
	r = bind_dir(path, f, false, dst, &tree);
	if (oci_mount_is_absent(r))
		r = bind_dir_classic(path, f, dirfd, name);
	return r < 0 ? r : link_names(dirfd, name);
}

/* The directory in which the hierarchies' directories are made; reachable because the tmpfs is attached. */
static int open_top(const struct oci_setup *s, size_t i, int tree)
{
	int fd = -1;
	int r;

	if (tree >= 0) {
		fd = openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	r = oci_path_open_in(s->rootfs_fd, s->spec->mounts[i].destination, O_PATH | O_DIRECTORY, &fd);
	return r < 0 ? r : fd;
}

/*
 * The whole file system has one superblock, and a mount made in the first cgroup namespace sets its options anew: the
 * host's nsdelegate and memory_recursiveprot would be gone (apply_cgroup_root_flags() in kernel/cgroup/cgroup.c).
 */
static bool in_first_cgroupns(const struct oci_setup *s)
{
	enum { CGROUP_NS_FIRST_INO = (int)0xEFFFFFFBU }; /* CGROUP_NS_INIT_INO of linux/nsfs.h */
	struct stat st;

	if (fstatat(s->proc_fd, "self/ns/cgroup", &st, 0) < 0)
		return !s->spec->ns[OCI_NS_CGROUP].is_set;
	return st.st_ino == (ino_t)(unsigned)CGROUP_NS_FIRST_INO;
}

static int bind_v2(const struct oci_setup *s, size_t i, const char *path, int dst, int *ret_tree)
{
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	hk_autofd src = -1, top = -1;
	int r = bind_dir(path, f, true, dst, ret_tree);

	if (!oci_mount_is_absent(r))
		return r;
	src = open(path, O_PATH | O_CLOEXEC);
	if (src < 0)
		return -errno;
	r = oci_tree_bind(s->proc_fd, src, dst, false, NULL);
	if (r >= 0)
		r = top = open_top(s, i, -1);
	if (r >= 0)
		r = oci_tree_setattr(s->proc_fd, top, f->attr_set, f->attr_clr, false);
	if (r < 0)
		return r;
	*ret_tree = -1;
	return 0;
}

static int mount_v2(const struct oci_setup *s, size_t i, const struct cg_hier *h, int dst, int *ret_tree)
{
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	const struct oci_fs fs = {
		.type = "cgroup2",
		.source = "cgroup",
		.data = f->data.v,
		.n_data = f->data.n,
		.attrs = f->attr_set,
		.ms_flags = f->ms_set,
	};
	const char *top = "/";
	char path[PATH_MAX];
	int r;

	if (!in_first_cgroupns(s)) {
		r = oci_fs_attach(&fs, dst, ret_tree, NULL);
		if (r != -EPERM && r != -EBUSY)
			return r;
		/* A user namespace that does not own the cgroup namespace: the host's mount, at our own cgroup if the spec
		 * wants to see no more. */
		if (s->spec->ns[OCI_NS_CGROUP].is_set)
			top = oci_cgroup_path(s->cgroup);
	}
	r = cg_abs(h, top, path);
	return r < 0 ? r : bind_v2(s, i, path, dst, ret_tree);
}

static int mount_v1(struct oci_setup *s, size_t i, const struct cg_host *host, int dst, int *ret_tree)
{
	static const char *const data[] = { "mode=755" };
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	const struct oci_fs fs = {
		.type = "tmpfs",
		.source = "cgroup",
		.data = data,
		.n_data = 1,
		.attrs = f->attr_set & ~(uint64_t)MOUNT_ATTR_RDONLY,
		.ms_flags = f->ms_set & ~(unsigned long)MS_RDONLY,
	};
	hk_autofd tree = -1, top = -1;
	int r = oci_fs_attach(&fs, dst, &tree, NULL);

	if (r >= 0)
		r = top = open_top(s, i, tree);
	for (size_t k = 0; r >= 0 && k < host->n; k++)
		if (!host->h[k].is_v2)
			r = mount_hierarchy(s, i, &host->h[k], top);
	if (r >= 0 && (f->attr_set & MOUNT_ATTR_RDONLY))
		r = oci_tree_setattr(-1, top, MOUNT_ATTR_RDONLY, 0, false);
	if (r < 0)
		return r;
	*ret_tree = hk_take_fd(&tree);
	return 0;
}

int oci_cgroup_mount(struct oci_setup *s, size_t i, int dst_fd, int *ret_tree_fd, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct cg_host *host = cg_host_get();
	const struct cg_hier *v2;
	int r;

	if (!host)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "mount %s on %s", m->type, m->destination);
	v2 = cg_host_v2(host);
	if (v2 && (host->mode == OCI_CGROUP_UNIFIED || hk_streq(m->type, "cgroup2")))
		r = mount_v2(s, i, v2, dst_fd, ret_tree_fd);
	else
		r = s->cgroup ? mount_v1(s, i, host, dst_fd, ret_tree_fd) : -ENOENT;
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "mount %s on %s", m->type, m->destination) : 0;
}
