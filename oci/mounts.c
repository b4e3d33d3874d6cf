/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mounts.c — the spec's mounts, in order: binds here, new file systems in mount_new.c.
 *
 * Sources are opened as detached trees with the host's names and privileges and get their attributes there, where
 * nobody sees them half done; inside a user namespace they could not be cleared any more. A destination is resolved
 * once, to the descriptor that the tree is then moved on: no name is looked up twice, so no neighbour can swap it in
 * between (CVE-2021-30465, CVE-2024-45310).
 */
#include "oci/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/files.h"
#include "oci/idmap.h"
#include "oci/mount_fs.h"
#include "oci/path.h"
#include "oci/path_walk.h"
#include "oci/setup.h"

static const unsigned long all_propagation = MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE;

int oci_mounts_parse(struct oci_setup *s, struct hk_err *err)
{
	const struct oci_spec *spec = s->spec;

	s->srcs = hk_arena_array(&s->arena, spec->n_mounts ? spec->n_mounts : 1, sizeof(*s->srcs));
	if (!s->srcs)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "list of mounts");
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const struct oci_mount *m = &spec->mounts[i];
		int r;

		s->at = (int)i;
		s->srcs[i].tree_fd = -1;
		r = oci_mount_opts_parse(m->type, &m->options, &s->arena, &s->srcs[i].flags, err);
		if (r < 0)
			return hk_wrap(err, "mount on %s", m->destination);
		if (oci_mount_is_dest(m->destination, "/"))
			return hk_fail_text(err, HK_INVALID, EINVAL, "mount on /: the container's root cannot be mounted over");
	}
	return 0;
}

bool oci_mounts_has_bind(const struct oci_setup *s, const char *dest)
{
	for (size_t i = 0; i < s->spec->n_mounts; i++)
		if (s->srcs[i].flags.bind && oci_mount_is_dest(s->spec->mounts[i].destination, dest))
			return true;
	return false;
}

static bool is_bind(const struct oci_mount_src *src)
{
	return src->flags.bind && !src->flags.remount;
}

static int source_path(const struct oci_setup *s, const struct oci_mount *m, char ret[PATH_MAX])
{
	if (!m->source || m->source[0] == '\0')
		return -EINVAL;
	return hk_fmt(ret, PATH_MAX, "%s%s%s", m->source[0] == '/' ? "" : s->bundle, m->source[0] == '/' ? "" : "/", m->source);
}

static int bind_failed(const struct oci_mount *m, int r, struct hk_err *err)
{
	return hk_fail(err, r == -EINVAL && !m->source ? HK_INVALID : HK_INTERNAL, -r, "mount bind %s on %s",
	    m->source ? m->source : "(no source)", m->destination);
}

/* The tree's own flags: what the options name is changed, everything else stays as it is on the source. */
static int set_flags(int procfd, int tree_fd, const struct oci_mount_flags *f)
{
	int r = oci_tree_setattr(procfd, tree_fd, f->attr_set, f->attr_clr, false);

	return r < 0 ? r : oci_tree_setattr(procfd, tree_fd, f->rec_attr_set, f->rec_attr_clr, true);
}

static bool asks_shared(const struct oci_mount_flags *f)
{
	for (size_t i = 0; i < f->n_propagation; i++)
		if (f->propagation[i] & MS_SHARED)
			return true;
	return false;
}

/*
 * Whether it is to be a peer of the host's mount: only where rootfsPropagation asks for that too, as containerd writes it for Kubernetes'
 * Bidirectional. Without it the host's mounts reach the volume, and those on it nobody outside (as runc).
 */
static bool wants_shared(const struct oci_setup *s, const struct oci_mount_src *src)
{
	return s->spec->rootfs_propagation == OCI_PROP_SHARED && (src->flags.n_propagation == 0 || asks_shared(&src->flags));
}

static int open_source(struct oci_setup *s, size_t i, struct oci_idmap_cache *cache, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	struct oci_mount_src *src = &s->srcs[i];
	const struct oci_mount_flags *f = &src->flags;
	bool wants_idmap = f->idmap || m->uid_mappings.n > 0 || m->gid_mappings.n > 0;
	hk_autofd tree = -1;
	char path[PATH_MAX];
	int r = source_path(s, m, path);

	s->at = (int)i;
	if (r >= 0)
		r = oci_tree_clone(AT_FDCWD, path, f->rbind ? AT_RECURSIVE : 0, &tree);
	if (oci_mount_is_absent(r) && wants_shared(s, src)) /* made after / became a slave it would never reach the host */
		return hk_fail(err, HK_UNSUPPORTED, -r, "keep mount bind %s on %s shared with the host (Linux 5.2)", path, m->destination);
	if (oci_mount_is_absent(r) && !wants_idmap)
		return 0; /* by mount(2), at its turn */
	if (r < 0)
		return bind_failed(m, r, err);
	if (wants_idmap) {
		r = oci_idmap_mount(s->spec, m, f->ridmap, tree, cache, err);
		if (r < 0)
			return r;
	}
	r = oci_tree_setattr_only(tree, f->attr_set, f->attr_clr, false);
	if (r >= 0)
		r = oci_tree_setattr_only(tree, f->rec_attr_set, f->rec_attr_clr, true);
	if (r == -ENOSYS && (f->rec_attr_set || f->rec_attr_clr))
		return hk_fail(err, HK_UNSUPPORTED, ENOSYS, "set recursive flags of mount bind %s on %s (Linux 5.12)", path,
		    m->destination);
	if (r == -ENOSYS)
		return 0; /* by mount(2) and a remount, at its turn */
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "set flags of mount bind %s on %s", path, m->destination);
	src->tree_fd = hk_take_fd(&tree);
	return 0;
}

/*
 * Copies made after / became a slave are slaves of it for ever, so these are opened before; detached, they are not touched by what happens
 * to /.
 */
int oci_mounts_open_shared(struct oci_setup *s, struct hk_err *err)
{
	struct oci_idmap_cache cache = OCI_IDMAP_CACHE_INIT;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->spec->n_mounts; i++)
		if (is_bind(&s->srcs[i]) && wants_shared(s, &s->srcs[i]))
			r = open_source(s, i, &cache, err);
	oci_idmap_cache_done(&cache);
	return r;
}

/* The host's /dev/null as a detached mount: an fd into the old root would be dead after the pivot (oci/masks.c). */
static int open_devnull(struct oci_setup *s, struct hk_err *err)
{
	hk_autofd fd = -1;
	struct stat st;
	int r;

	if (s->spec->masked_paths.n == 0)
		return 0;
	r = oci_tree_clone(AT_FDCWD, "/dev/null", AT_SYMLINK_NOFOLLOW, &fd);
	if (oci_mount_is_absent(r))
		return 0; /* masks.c knows another way */
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open the host's /dev/null");
	if (fstat(fd, &st) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stat the host's /dev/null");
	if (!oci_is_devnull(&st)) /* CVE-2025-31133 */
		return hk_fail(err, HK_INTERNAL, ENODEV, "the host's /dev/null is not the null device");
	/* What the host may mount on its node later does not follow. Before 5.12 it cannot be said of a detached mount. */
	(void)oci_tree_propagate(-1, fd, MS_PRIVATE);
	if (s->devnull_fd >= 0)
		hk_close(s->devnull_fd);
	s->devnull_fd = hk_take_fd(&fd);
	return 0;
}

/* Who will be root of a user namespace opens all now, with the host's rights; else each at its turn, after what is mounted before it. */
int oci_mounts_prepare(struct oci_setup *s, struct hk_err *err)
{
	struct oci_idmap_cache cache = OCI_IDMAP_CACHE_INIT;
	int r = open_devnull(s, err);

	if (!s->in_userns)
		return r;
	for (size_t i = 0; r >= 0 && i < s->spec->n_mounts; i++)
		if (is_bind(&s->srcs[i]) && s->srcs[i].tree_fd < 0)
			r = open_source(s, i, &cache, err);
	oci_idmap_cache_done(&cache);
	return r;
}

int oci_mounts_open_dest(const struct oci_setup *s, const char *dest, bool is_dir, bool *ret_existed, int *ret_fd)
{
	int r = oci_path_open_in(s->rootfs_fd, dest, O_PATH, ret_fd);

	if (r >= 0 && hk_is_broken(HK_DEFENCE_MOUNT_DEST))
		(void)hk_naive_open(s->rootfs_fd, dest, O_PATH, false, ret_fd); /* as if the look before were good for ever */
	if (r == -ENOENT && hk_is_broken(HK_DEFENCE_MKDIR_INSIDE))
		return hk_naive_open(s->rootfs_fd, dest, O_PATH, true, ret_fd);
	if (ret_existed)
		*ret_existed = r >= 0;
	if (r != -ENOENT)
		return r;
	return oci_walk(s->rootfs_fd, dest,
	    &(struct oci_walk_opts){
	        .open_flags = O_PATH,
	        .make = is_dir ? OCI_WALK_MKDIR : OCI_WALK_MKFILE,
	        .mode = is_dir ? 0755 : 0644,
	    },
	    ret_fd);
}

static int propagate(const struct oci_setup *s, const struct oci_mount *m, const struct oci_mount_flags *f, int tree_fd,
    struct hk_err *err)
{
	static const unsigned long private_tree = MS_PRIVATE | MS_REC;
	bool is_default = f->n_propagation == 0 && f->bind && s->spec->rootfs_propagation == OCI_PROP_PRIVATE &&
	    s->spec->rootfs_propagation_recursive;
	const unsigned long *v = is_default ? &private_tree : f->propagation;
	size_t n = is_default ? 1 : f->n_propagation;

	for (size_t i = 0; i < n; i++) {
		int r = oci_tree_propagate(-1, tree_fd, v[i]);

		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "set propagation %#lx of mount on %s", v[i] & all_propagation,
			    m->destination);
	}
	return 0;
}

/* Where open_tree is missing: mount(2), and then the flags by a remount. */
static int attach_bind_classic(struct oci_setup *s, size_t i, int dst, int src_fd, int *ret_tree)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	hk_autofd tree = -1;
	int r = oci_tree_bind(-1, src_fd, dst, f->rbind, &tree);

	/*
	 * The one place that resolves twice: still below the root, so the worst that a swap gains is a flag on its
	 * own mount.
	 */
	if (r >= 0 && tree < 0)
		r = oci_path_open_in(s->rootfs_fd, m->destination, O_PATH, &tree);
	if (r >= 0)
		r = set_flags(-1, tree, f);
	if (r >= 0)
		*ret_tree = hk_take_fd(&tree);
	return r;
}

/* The kernel says EINVAL for a file on a directory and the other way round. */
static int explain(int r, int a, int b)
{
	struct stat sa, sb;

	if (r == -EINVAL && fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && S_ISDIR(sa.st_mode) != S_ISDIR(sb.st_mode))
		return S_ISDIR(sa.st_mode) ? -ENOTDIR : -EISDIR;
	return r;
}

/*
 * mountinfo lists mounts by age since Linux 6.8, and config.md has them made in the listed order: one that was opened early is copied. Where
 * a detached tree cannot be (before 6.15), its place in the list is all that is wrong.
 */
static void renew_tree(struct oci_mount_src *src)
{
	hk_autofd fd = -1;

	if (oci_tree_clone(src->tree_fd, "", src->flags.rbind ? AT_RECURSIVE : 0, &fd) < 0)
		return;
	hk_close(src->tree_fd);
	src->tree_fd = hk_take_fd(&fd);
}

static int attach_bind(struct oci_setup *s, size_t i, struct oci_idmap_cache *cache, int *ret_tree, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	struct oci_mount_src *src = &s->srcs[i];
	hk_autofd dst = -1, src_fd = -1;
	char path[PATH_MAX];
	struct stat st;
	int r = 0;

	if (src->tree_fd >= 0)
		renew_tree(src);
	else if (!s->in_userns)
		r = open_source(s, i, cache, err);
	if (r < 0)
		return r;
	r = oci_path_open_in(s->rootfs_fd, m->destination, O_PATH, &dst);
	if (src->tree_fd < 0) {
		int fr = source_path(s, m, path);

		src_fd = fr < 0 ? -1 : open(path, O_PATH | O_CLOEXEC);
		if (src_fd < 0)
			return bind_failed(m, fr < 0 ? fr : -errno, err);
	}
	if (r == -ENOENT) {
		if (fstat(src->tree_fd >= 0 ? src->tree_fd : src_fd, &st) < 0)
			return bind_failed(m, -errno, err);
		r = oci_mounts_open_dest(s, m->destination, S_ISDIR(st.st_mode), NULL, &dst);
	}
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make mount destination %s", m->destination);
	r = oci_mount_guard_proc(s, i, dst, err);
	if (r < 0)
		return r;
	if (hk_is_broken(HK_DEFENCE_BIND_SOURCE) && source_path(s, m, path) >= 0)
		(void)oci_tree_clone(AT_FDCWD, path, AT_RECURSIVE, &src->tree_fd);
	if (src->tree_fd >= 0) {
		r = explain(oci_tree_attach(src->tree_fd, dst), src->tree_fd, dst);
		if (r >= 0)
			*ret_tree = hk_take_fd(&src->tree_fd);
	} else {
		r = attach_bind_classic(s, i, dst, src_fd, ret_tree);
	}
	return r < 0 ? bind_failed(m, r, err) : 0;
}

static int remount(struct oci_setup *s, size_t i, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	hk_autofd dst = -1;
	int r = oci_path_open_in(s->rootfs_fd, m->destination, O_PATH, &dst);

	if (r >= 0 && f->bind)
		r = set_flags(-1, dst, f);
	else if (r >= 0)
		r = oci_tree_remount(-1, dst, f->ms_set, f->data_str);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "remount %s", m->destination);
	return propagate(s, m, f, dst, err);
}

/* What oci_mounts_finish comes back to stays open. */
static bool is_kept(const struct oci_setup *s, size_t i)
{
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	bool root_is_recursive = s->spec->rootfs_propagation_recursive &&
	    (s->spec->rootfs_propagation == OCI_PROP_SHARED || s->spec->rootfs_propagation == OCI_PROP_UNBINDABLE);

	return (root_is_recursive && f->n_propagation > 0) || oci_mount_new_is_late_readonly(&s->spec->mounts[i], f);
}

static int attach_one(struct oci_setup *s, size_t i, struct oci_idmap_cache *cache, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	hk_autofd tree = -1;
	int r;

	if (f->remount)
		return remount(s, i, err);
	r = f->bind ? attach_bind(s, i, cache, &tree, err) : oci_mount_new_attach(s, i, &tree, err);
	if (r < 0)
		return r;
	if (tree < 0 && (f->n_propagation > 0 || is_kept(s, i))) { /* mount(2) gave no descriptor: as attach_bind_classic */
		r = oci_path_open_in(s->rootfs_fd, m->destination, O_PATH, &tree);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "open mount on %s", m->destination);
	}
	r = propagate(s, m, f, tree, err);
	if (r >= 0 && is_kept(s, i))
		s->srcs[i].tree_fd = hk_take_fd(&tree);
	return r;
}

int oci_mounts_attach(struct oci_setup *s, struct hk_err *err)
{
	struct oci_idmap_cache cache = OCI_IDMAP_CACHE_INIT;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->spec->n_mounts; i++) {
		s->at = (int)i;
		r = attach_one(s, i, &cache, err);
	}
	oci_idmap_cache_done(&cache);
	return r;
}

int oci_mounts_finish(struct oci_setup *s, struct hk_err *err)
{
	for (size_t i = 0; i < s->spec->n_mounts; i++) {
		const struct oci_mount *m = &s->spec->mounts[i];
		struct oci_mount_src *src = &s->srcs[i];
		int r = 0;

		if (src->tree_fd < 0)
			continue;
		s->at = (int)i;
		for (size_t k = 0; r >= 0 && k < src->flags.n_propagation; k++)
			r = oci_tree_propagate(s->proc_fd, src->tree_fd, src->flags.propagation[k]);
		if (r >= 0 && oci_mount_new_is_late_readonly(m, &src->flags))
			r = oci_tree_setattr(s->proc_fd, src->tree_fd, MOUNT_ATTR_RDONLY, 0, false);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "make mount on %s final", m->destination);
		src->tree_fd = hk_close(src->tree_fd);
	}
	return 0;
}
