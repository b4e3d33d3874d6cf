/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/rootfs_mounts.c — the mounts that Task.Create sends for the root: a snapshotter's overlay, a bind, a block
 * device, or several.
 *
 * In: s->rootfs_mounts. Out: s->rootfs_fd, a detached tree, or (by mount(2)) a mount at root.path in our own namespace.
 * Never in the host's. The usual single mount is never attached here; only one that goes on top of another (`target`)
 * needs a place for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/idmap.h"
#include "oci/mount_fs.h"
#include "oci/mount_opts.h"
#include "oci/path.h"
#include "oci/rootfs.h"
#include "oci/setup.h"

struct job { /* one of the mounts */
	const struct oci_rootfs_mount *m;
	struct oci_mount_flags f;
	const char *uidmap, *gidmap; /* containerd's own options: NULL when not given */
	struct oci_fs fs;
};

static int failed(const struct oci_setup *s, const struct job *j, int r, const struct oci_fs_log *log, struct hk_err *err)
{
	bool has_log = log && log->text[0] != '\0';

	return hk_fail(err, HK_INTERNAL, -r, "mount rootfs %s %s on %s%s%s%s%s", j->m->type ? j->m->type : "bind",
	    j->m->source ? j->m->source : "", s->rootfs, j->m->target ? j->m->target : "", has_log ? " (" : "",
	    has_log ? log->text : "", has_log ? ")" : "");
}

/* containerd's mount library takes some words for itself (mount/mount_linux.go); the kernel must not see them. */
static int parse(struct oci_setup *s, struct job *j, struct hk_err *err)
{
	struct oci_strv own = { .v = hk_arena_array(&s->arena, j->m->options.n + 1, sizeof(*own.v)) };
	int r;

	if (!own.v)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "rootfs mount options");
	for (size_t i = 0; i < j->m->options.n; i++) {
		const char *word = j->m->options.v[i];

		if (hk_has_prefix(word, "uidmap="))
			j->uidmap = word + strlen("uidmap=");
		else if (hk_has_prefix(word, "gidmap="))
			j->gidmap = word + strlen("gidmap=");
		else if (!hk_has_prefix(word, "X-containerd."))
			own.v[own.n++] = word;
	}
	r = oci_mount_opts_parse(j->m->type, &own, &s->arena, &j->f, err);
	if (r < 0)
		return hk_wrap(err, "mount rootfs %s", j->m->type ? j->m->type : "bind");
	j->f.bind |= hk_streq(j->m->type, "bind") || hk_streq(j->m->type, "rbind");
	j->fs = (struct oci_fs){
		.type = j->m->type,
		.source = j->m->source,
		.sb_words = j->f.sb_words,
		.n_sb_words = j->f.n_sb_words,
		.data = j->f.data.v,
		.n_data = j->f.data.n,
		.attrs = j->f.attr_set,
		.ms_flags = j->f.ms_set,
		.sb_readonly = j->f.sb_readonly,
	};
	return 0;
}

/* "0:100000:65536,65536:7:1" */
static int parse_maps(struct hk_arena *arena, const char *text, struct oci_idmaps *ret)
{
	size_t n = 1;
	char *copy = hk_arena_strdup(arena, text), *save = NULL;

	for (const char *p = text; *p; p++)
		n += *p == ',';
	ret->v = hk_arena_array(arena, n, sizeof(*ret->v));
	if (!copy || !ret->v)
		return -ENOMEM;
	ret->n = 0;
	for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		uint32_t *out[3] = { &ret->v[ret->n].container_id, &ret->v[ret->n].host_id, &ret->v[ret->n].size };
		char *in = NULL;

		for (int i = 0; i < 3; i++) {
			const char *number = strtok_r(i == 0 ? item : NULL, ":", &in);
			uint64_t v;

			if (!number || hk_parse_u64(number, &v) < 0 || v > UINT32_MAX)
				return -EINVAL;
			*out[i] = (uint32_t)v;
		}
		ret->n++;
	}
	return ret->n > 0 ? 0 : -EINVAL;
}

static int open_maps(struct oci_setup *s, const struct job *j, int *ret_userns, struct hk_err *err)
{
	struct oci_idmaps uid, gid;

	if (!j->uidmap || !j->gidmap || parse_maps(&s->arena, j->uidmap, &uid) < 0 || parse_maps(&s->arena, j->gidmap, &gid) < 0)
		return hk_fail(err, HK_INVALID, EINVAL, "id mappings of rootfs mount (uidmap=%s, gidmap=%s)",
		    j->uidmap ? j->uidmap : "", j->gidmap ? j->gidmap : "");
	return oci_idmap_userns_open(&uid, &gid, ret_userns, err);
}

/*
 * One layer, mapped, on itself: the overlay made after it looks the name up and finds the mapped one. In our
 * namespace only.
 */
static int map_layer(const char *path, int userns)
{
	hk_autofd tree = -1, dst = -1;
	int r = oci_tree_clone(AT_FDCWD, path, 0, &tree);

	if (r >= 0)
		r = oci_idmap_set(tree, userns, false);
	if (r < 0)
		return r;
	dst = open(path, O_PATH | O_CLOEXEC);
	return dst < 0 ? -errno : oci_tree_attach(tree, dst);
}

/* An overlay is mapped by its lower layers (Linux 5.19); its upper one is the container's own already. */
static int map_layers(struct oci_setup *s, const struct job *j, struct hk_err *err)
{
	hk_autofd userns = -1;
	int r = open_maps(s, j, &userns, err);

	for (size_t i = 0; r >= 0 && i < j->f.data.n; i++) {
		char *copy, *save = NULL;

		if (!hk_has_prefix(j->f.data.v[i], "lowerdir="))
			continue;
		copy = hk_arena_strdup(&s->arena, j->f.data.v[i] + strlen("lowerdir="));
		if (!copy)
			return hk_fail(err, HK_INTERNAL, ENOMEM, "rootfs layers");
		for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
			r = map_layer(dir, userns);
			if (r < 0)
				return hk_fail(err, HK_INTERNAL, -r, "map ids of rootfs layer %s", dir);
		}
	}
	return r;
}

/* Length of the directory, slash included, that all layers are in. */
static size_t common_dir(const char *layers)
{
	size_t len = strcspn(layers, ":"), dir = 0;

	for (const char *p = layers; *p; p += *p == ':') {
		size_t n = strcspn(p, ":"), i = 0;

		while (i < n && i < len && p[i] == layers[i])
			i++;
		len = i;
		p += n;
	}
	for (size_t i = 0; i < len; i++)
		if (layers[i] == '/')
			dir = i + 1;
	return dir;
}

/*
 * mount(2) takes one page of options, which some forty layers fill. Relative to the directory they share they are a few
 * bytes each; from there we mount, as containerd does.
 */
static int mount_compact(struct oci_setup *s, const struct job *j, int dst)
{
	const char **data = hk_arena_array(&s->arena, j->fs.n_data + 1, sizeof(*data));
	struct oci_fs fs = j->fs;
	const char *dir = NULL;
	hk_autofd cwd = -1;
	int r;

	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < fs.n_data; i++) {
		const char *layers = fs.data[i] + strlen("lowerdir=");
		size_t skip;
		char *out;

		data[i] = fs.data[i];
		if (!hk_has_prefix(fs.data[i], "lowerdir=") || strchr(layers, '\\'))
			continue;
		skip = common_dir(layers);
		out = hk_arena_strdup(&s->arena, fs.data[i]);
		dir = hk_arena_strndup(&s->arena, layers, skip);
		if (!out || !dir)
			return -ENOMEM;
		data[i] = out;
		out += strlen("lowerdir=");
		for (const char *p = layers; *p;) {
			size_t n = strcspn(p, ":");

			memcpy(out, p + skip, n - skip);
			out += n - skip;
			p += n;
			if (*p == ':')
				*out++ = *p++;
		}
		*out = '\0';
	}
	if (!dir || dir[0] == '\0')
		return -E2BIG;
	fs.data = data;
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd < 0 || chdir(dir) < 0)
		return -errno;
	r = oci_fs_mount_on(&fs, -1, dst);
	return fchdir(cwd) < 0 ? -errno : r;
}

/* mount(2) on root.path, in our namespace. */
static int mount_classic(struct oci_setup *s, const struct job *j, int *ret_root)
{
	hk_autofd dst = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd, r;

	if (dst < 0)
		return -errno;
	r = oci_fs_mount_on(&j->fs, -1, dst);
	if (r == -E2BIG)
		r = mount_compact(s, j, dst);
	if (r < 0)
		return r;
	fd = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_root = fd;
	return 0;
}

/* -ENOSYS, and nothing said: the kernel has no detached trees, or cannot set their flags. */
static int open_bind(struct oci_setup *s, const struct job *j, int *ret_tree, struct hk_err *err)
{
	hk_autofd tree = -1, userns = -1;
	int r;

	if (!j->m->source)
		return hk_fail(err, HK_INVALID, EINVAL, "rootfs bind mount without source");
	r = oci_tree_clone(AT_FDCWD, j->m->source, j->f.rbind ? AT_RECURSIVE : 0, &tree);
	if (r >= 0 && (j->uidmap || j->gidmap)) {
		int ur = open_maps(s, j, &userns, err);

		if (ur < 0)
			return ur;
		r = oci_idmap_set(tree, userns, false);
	}
	if (r >= 0)
		r = oci_tree_setattr_only(tree, j->f.attr_set, j->f.attr_clr, false);
	if (r >= 0)
		r = oci_tree_setattr_only(tree, j->f.rec_attr_set, j->f.rec_attr_clr, true);
	if (oci_mount_is_absent(r) && userns < 0)
		return -ENOSYS;
	if (r < 0)
		return failed(s, j, r, NULL, err);
	*ret_tree = hk_take_fd(&tree);
	return 0;
}

/* A bind by mount(2) on `dst`, which `name` leads to from `dirfd` afterwards; flags are its second step. */
static int bind_classic(const struct job *j, int dst, int dirfd, const char *name, int *ret_fd)
{
	hk_autofd fd = -1;
	char path[40];
	int r;

	(void)hk_fmt(path, sizeof(path), "/proc/self/fd/%d", dst);
	if (mount(j->m->source, path, NULL, MS_BIND | (j->f.rbind ? MS_REC : 0UL), NULL) < 0)
		return -errno;
	r = dirfd == AT_FDCWD ? 0 : oci_path_open_in(dirfd, name, O_PATH, &fd);
	if (dirfd == AT_FDCWD) {
		fd = open(name, O_PATH | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	if (r >= 0)
		r = oci_tree_setattr(-1, fd, j->f.attr_set, j->f.attr_clr, false);
	if (r >= 0)
		r = oci_tree_setattr(-1, fd, j->f.rec_attr_set, j->f.rec_attr_clr, true);
	if (r >= 0)
		*ret_fd = hk_take_fd(&fd);
	return r;
}

static int bind_root_classic(struct oci_setup *s, const struct job *j, int *ret_root)
{
	hk_autofd dst = open(s->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return dst < 0 ? -errno : bind_classic(j, dst, AT_FDCWD, s->rootfs, ret_root);
}

/* A mount that is the root itself. *ret_attached: it is in our namespace already, at root.path. */
static int open_root(struct oci_setup *s, const struct job *j, int *ret_tree, bool *ret_attached, struct hk_err *err)
{
	struct oci_fs_log log = { .text = "" };
	int r;

	*ret_attached = false;
	if (j->f.bind) {
		r = open_bind(s, j, ret_tree, err);
		if (r != -ENOSYS || j->uidmap || j->gidmap)
			return r;
		r = bind_root_classic(s, j, ret_tree);
		*ret_attached = r >= 0;
		return r < 0 ? failed(s, j, r, NULL, err) : 0;
	}
	if (!j->m->type || j->m->type[0] == '\0')
		return hk_fail(err, HK_INVALID, EINVAL, "rootfs mount without type");
	if (j->uidmap || j->gidmap) {
		r = map_layers(s, j, err);
		if (r < 0)
			return r;
	}
	r = oci_fs_open(&j->fs, ret_tree, &log);
	if (oci_mount_is_absent(r)) {
		r = mount_classic(s, j, ret_tree);
		*ret_attached = r >= 0;
		log.text[0] = r >= 0 ? '\0' : log.text[0];
	}
	return r < 0 ? failed(s, j, r, &log, err) : 0;
}

static int mount_target(struct oci_setup *s, const struct job *j, struct hk_err *err)
{
	struct oci_fs_log log = { .text = "" };
	hk_autofd tree = -1, dst = -1;
	struct stat st = { .st_mode = S_IFDIR };
	int r = j->f.bind ? open_bind(s, j, &tree, err) : 0;
	bool is_classic = r == -ENOSYS && !j->uidmap && !j->gidmap;

	if (r < 0 && !is_classic)
		return r;
	if (is_classic ? stat(j->m->source, &st) < 0 : tree >= 0 && fstat(tree, &st) < 0)
		return failed(s, j, -errno, NULL, err);
	r = S_ISDIR(st.st_mode) ? oci_path_mkdir_in(s->rootfs_fd, j->m->target, 0755, &dst) :
	                          oci_path_mkfile_in(s->rootfs_fd, j->m->target, 0644, &dst);
	if (r >= 0 && is_classic)
		r = bind_classic(j, dst, s->rootfs_fd, j->m->target, &tree);
	else if (r >= 0)
		r = tree >= 0 ? oci_tree_attach(tree, dst) : oci_fs_attach(&j->fs, dst, &tree, &log);
	return r < 0 ? failed(s, j, r, &log, err) : 0;
}

static bool has_target(const struct oci_rootfs_mount *m)
{
	return m->target && m->target[strspn(m->target, "/")] != '\0';
}

/* Before Linux 6.15 nothing can be mounted on a detached tree: root.path in our namespace is the place. */
static int attach_here(struct oci_setup *s)
{
	if (move_mount(s->rootfs_fd, "", AT_FDCWD, s->rootfs, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
		return -errno;
	return 0;
}

int oci_rootfs_mounts_open(struct oci_setup *s, struct hk_err *err)
{
	bool is_attached = false;
	hk_autofd copy = -1;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->n_rootfs_mounts; i++) {
		struct job j = { .m = &s->rootfs_mounts[i] };

		s->at = (int)i;
		r = parse(s, &j, err);
		if (r >= 0 && !has_target(j.m)) {
			hk_autofd tree = -1;

			r = open_root(s, &j, &tree, &is_attached, err);
			if (r >= 0 && s->rootfs_fd >= 0)
				hk_close(s->rootfs_fd);
			if (r >= 0)
				s->rootfs_fd = hk_take_fd(&tree);
			continue;
		}
		if (r >= 0 && s->rootfs_fd < 0)
			r = oci_rootfs_open_dir(s, err);
		if (r >= 0 && !is_attached) {
			r = attach_here(s);
			if (r < 0)
				return hk_fail(err, HK_INTERNAL, -r, "attach rootfs %s", s->rootfs);
			is_attached = true;
		}
		if (r >= 0)
			r = mount_target(s, &j, err);
	}
	if (r < 0 || !is_attached)
		return r;
	/*
	 * A detached copy, fit for another mount namespace; without open_tree, oci_rootfs_attach binds root.path on
	 * itself.
	 */
	r = oci_tree_clone(s->rootfs_fd, "", AT_RECURSIVE, &copy);
	if (r >= 0) {
		hk_close(s->rootfs_fd);
		s->rootfs_fd = hk_take_fd(&copy);
	}
	return r < 0 && !oci_mount_is_absent(r) ? hk_fail(err, HK_INTERNAL, -r, "copy rootfs %s", s->rootfs) : 0;
}
