/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/masks.c — linux.readonlyPaths and linux.maskedPaths, after the pivot.
 *
 * Each path is resolved once below the root and covered by descriptor. A path that does not exist needs no cover. Files
 * get the host's /dev/null (s->devnull_fd, a detached mount checked to be 1:3 in oci_mounts_prepare), never the
 * container's: that one may be a link to what the mask should hide (CVE-2025-31133). Directories share one empty
 * read-only tmpfs: Kubernetes masks a directory for each CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/files.h"
#include "oci/mount_fs.h"
#include "oci/mounts.h"
#include "oci/path.h"
#include "oci/setup.h"

struct cover { /* a mount that is put over many places: the first time itself, then copies of it */
	int fd; /* owned */
	bool is_attached;
};

static bool is_missing(int r)
{
	return r == -ENOENT || r == -ENOTDIR;
}

static int make_readonly(const struct oci_setup *s, const char *path, struct hk_err *err)
{
	hk_autofd dst = -1, tree = -1;
	int r = oci_path_open_in(s->rootfs_fd, path, O_PATH, &dst);

	if (is_missing(r))
		return 0;
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open read-only path %s", path);
	r = oci_tree_clone(dst, "", AT_RECURSIVE, &tree);
	/* Recursive, or /proc/sys/fs/binfmt_misc would stay writable below /proc/sys. */
	if (r >= 0)
		r = oci_tree_setattr(s->proc_fd, tree, MOUNT_ATTR_RDONLY, 0, true);
	if (r >= 0)
		r = oci_tree_attach(tree, dst);
	if (oci_mount_is_absent(r) || r == -EOPNOTSUPP) {
		tree = tree >= 0 ? hk_close(tree) : -1;
		r = oci_tree_bind(s->proc_fd, dst, dst, true, &tree);
		if (r >= 0 && tree < 0)
			r = oci_path_open_in(s->rootfs_fd, path, O_PATH, &tree);
		if (r >= 0)
			r = oci_tree_setattr(s->proc_fd, tree, MOUNT_ATTR_RDONLY, 0, false);
	}
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make %s read-only", path);
	return 0;
}

static int cover_put(const struct oci_setup *s, struct cover *c, int dst)
{
	int r;

	if (c->is_attached)
		return oci_tree_bind(s->proc_fd, c->fd, dst, false, NULL);
	r = oci_tree_attach(c->fd, dst);
	if (r >= 0)
		c->is_attached = true;
	return r;
}

static const char *const empty_data[] = { "nr_blocks=1", "nr_inodes=1", "mode=0555" };
static const struct oci_fs empty_fs = {
	.type = "tmpfs",
	.source = "tmpfs",
	.data = empty_data,
	.n_data = HK_ARRAY_SIZE(empty_data),
	.attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	.ms_flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
};

/*
 * Where open_tree or move_mount is missing there is no detached null: the container's, if what the descriptor holds
 * is 1:3.
 */
static int cover_file_classic(const struct oci_setup *s, int dst)
{
	hk_autofd fd = -1;
	struct stat st;
	int r = oci_path_open_in(s->rootfs_fd, "/dev/null", O_PATH | O_NOFOLLOW, &fd);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!oci_is_devnull(&st))
		return -ENODEV;
	return oci_tree_bind(s->proc_fd, fd, dst, false, NULL);
}

static int mask_dir(const struct oci_setup *s, int dst, struct cover *dir)
{
	int r = dir->fd >= 0 ? 0 : oci_fs_open(&empty_fs, &dir->fd, NULL);

	if (r >= 0)
		r = cover_put(s, dir, dst);
	return oci_mount_is_absent(r) ? oci_fs_mount_on(&empty_fs, s->proc_fd, dst) : r;
}

static int mask_one(const struct oci_setup *s, const char *path, struct cover *null, struct cover *dir)
{
	hk_autofd dst = -1;
	struct stat st;
	int r = oci_path_open_in(s->rootfs_fd, path, O_PATH, &dst);

	if (is_missing(r))
		return 0;
	if (r < 0)
		return r;
	if (fstat(dst, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return mask_dir(s, dst, dir);
	if (hk_is_broken(HK_DEFENCE_MASK_NULL)) {
		hk_autofd fd = -1;

		r = hk_naive_open(s->rootfs_fd, "/dev/null", O_PATH, false, &fd);
		return r < 0 ? r : oci_tree_bind(s->proc_fd, fd, dst, false, NULL);
	}
	r = null->fd >= 0 ? cover_put(s, null, dst) : -ENOSYS;
	return oci_mount_is_absent(r) || r == -EINVAL ? cover_file_classic(s, dst) : r;
}

int oci_masks_apply(struct oci_setup *s, struct hk_err *err)
{
	const struct oci_strv *ro = &s->spec->readonly_paths, *masked = &s->spec->masked_paths;
	struct cover null = { .fd = s->devnull_fd };
	struct cover dir = { .fd = -1 };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ro->n; i++) {
		s->at = (int)i;
		r = make_readonly(s, ro->v[i], err);
	}
	for (size_t i = 0; r >= 0 && i < masked->n; i++) {
		s->at = (int)i;
		r = mask_one(s, masked->v[i], &null, &dir);
		if (r < 0)
			(void)hk_fail(err, HK_INTERNAL, -r, "mask %s", masked->v[i]);
	}
	if (dir.fd >= 0)
		hk_close(dir.fd);
	return r;
}
