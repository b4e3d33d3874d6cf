/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_new.c — the spec's mounts that are a file system of their own, each with what its type needs.
 *
 * They are made in the container's namespaces (a procfs shows the pid namespace of who mounts it, a sysfs the network,
 * an mqueue the IPC namespace) as detached mounts, and then moved on the destination's descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_mount.h"
#include "oci/copyup.h"
#include "oci/mount_fs.h"
#include "oci/mounts.h"
#include "oci/path.h"
#include "oci/setup.h"

static bool is_type(const struct oci_mount *m, const char *type)
{
	return hk_streq(m->type, type);
}

bool oci_mount_new_is_late_readonly(const struct oci_mount *m, const struct oci_mount_flags *f)
{
	return !f->bind && (f->attr_set & MOUNT_ATTR_RDONLY) &&
	    (is_type(m, "tmpfs") || oci_mount_is_dest(m->destination, "/dev"));
}

static void fill(struct oci_fs *fs, const struct oci_mount *m, const struct oci_mount_flags *f)
{
	bool is_late = oci_mount_new_is_late_readonly(m, f);

	*fs = (struct oci_fs){
		.type = m->type,
		.source = m->source,
		.sb_words = f->sb_words,
		.n_sb_words = f->n_sb_words,
		.data = f->data.v,
		.n_data = f->data.n,
		.attrs = f->attr_set & ~(is_late ? (uint64_t)MOUNT_ATTR_RDONLY : 0),
		.ms_flags = f->ms_set & ~(is_late ? (unsigned long)MS_RDONLY : 0),
		.sb_readonly = f->sb_readonly && !is_late,
	};
}

static int fs_failed(const struct oci_mount *m, int r, const struct oci_fs_log *log, struct hk_err *err)
{
	bool has_log = log && log->text[0] != '\0';

	return hk_fail(err, r == -ENODEV ? HK_UNSUPPORTED : HK_INTERNAL, -r, "mount %s on %s%s%s%s", m->type, m->destination,
	    has_log ? " (" : "", has_log ? log->text : "", has_log ? ")" : "");
}

/* The private procfs of oci/procfs.c is the same instance: a copy of its mount saves making a superblock. */
static int clone_proc(const struct oci_setup *s, const struct oci_mount_flags *f, int dst, int *ret_tree)
{
	static const uint64_t own = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	hk_autofd tree = -1;
	int r;

	if (!s->proc_is_fresh || f->data.n > 0 || f->n_sb_words > 0 || f->sb_readonly)
		return -ENOSYS;
	r = oci_tree_clone(s->proc_fd, "", 0, &tree);
	if (r >= 0)
		r = oci_tree_setattr_only(tree, f->attr_set & ~own,
		    (own & ~f->attr_set) | (f->attr_clr & ~own & ~f->attr_set), false);
	if (r >= 0)
		r = oci_tree_attach(tree, dst);
	if (r < 0)
		return r;
	*ret_tree = hk_take_fd(&tree);
	return 0;
}

/*
 * /sys of the host, where a user namespace that does not own the network namespace gets no sysfs of its own; all
 * flags are kept.
 */
static int bind_sys(const struct oci_mount_flags *f, int dst, int *ret_tree)
{
	hk_autofd tree = -1;
	int r = oci_tree_clone(AT_FDCWD, "/sys", AT_RECURSIVE, &tree);

	if (r >= 0)
		r = oci_tree_setattr_only(tree, f->attr_set, 0, true);
	if (r >= 0)
		r = oci_tree_attach(tree, dst);
	if (r < 0)
		return r;
	*ret_tree = hk_take_fd(&tree);
	return 0;
}

/* A tmpfs takes the mode of the directory it covers, unless a mode was asked for; one just made for it has no say. */
static int inherit_mode(struct oci_fs *fs, int dst, bool existed, char *buf, size_t size)
{
	struct stat st;

	if (!existed)
		return 0;
	for (size_t i = 0; i < fs->n_data; i++)
		if (hk_has_prefix(fs->data[i], "mode="))
			return 0;
	if (fstat(dst, &st) < 0)
		return -errno;
	if (hk_fmt(buf, size, "mode=%03o", st.st_mode & 07777U) < 0)
		return -EINVAL;
	fs->extra[0] = buf;
	return 0;
}

/* By mount(2) it is filled where it lies, through the descriptor of what it covers: nobody else is in this namespace yet. */
static int copyup_classic(const struct oci_setup *s, const struct oci_mount *m, const struct oci_fs *fs, int dst)
{
	hk_autofd top = -1;
	int r = oci_fs_mount_on(fs, -1, dst);

	if (r >= 0)
		r = oci_path_open_in(s->rootfs_fd, m->destination, O_RDONLY | O_DIRECTORY, &top);
	return r < 0 ? r : oci_copyup(dst, top);
}

static int copyup_tmpfs(struct oci_setup *s, size_t i, const struct oci_fs *fs, int dst, int *ret_tree)
{
	struct oci_fs_log log = { .text = "" };
	hk_autofd tree = -1;
	int r;

	/* Filled before anybody sees it; no directory of the host is used on the way. */
	r = oci_fs_open(fs, &tree, &log);
	if (oci_mount_is_absent(r))
		return copyup_classic(s, &s->spec->mounts[i], fs, dst);
	if (r >= 0)
		r = oci_copyup(dst, tree);
	if (r >= 0)
		r = oci_tree_attach(tree, dst);
	if (r >= 0)
		*ret_tree = hk_take_fd(&tree);
	return r;
}

/*
 * procfs and sysfs only on a real directory: a link would lead the mount, and what relies on it, elsewhere
 * (CVE-2019-19921, CVE-2023-27561).
 */
static int open_real_dir(const struct oci_setup *s, const struct oci_mount *m, int *ret_fd)
{
	int r = oci_path_open_in(s->rootfs_fd, m->destination, O_PATH | O_NOFOLLOW | O_DIRECTORY, ret_fd);

	return r == -ENOENT ? oci_path_mkdir_in(s->rootfs_fd, m->destination, 0755, ret_fd) : r;
}

static int attach_by_type(struct oci_setup *s, size_t i, int dst, bool existed, int *ret_tree, struct oci_fs_log *log)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	const struct oci_mount_flags *f = &s->srcs[i].flags;
	const char *label = s->spec->mount_label;
	char mode[16], context[300];
	struct oci_fs fs;
	int r = 0;

	fill(&fs, m, f);
	if (is_type(m, "proc")) {
		r = clone_proc(s, f, dst, ret_tree);
		return r < 0 ? oci_fs_attach(&fs, dst, ret_tree, log) : r;
	}
	if (is_type(m, "sysfs")) {
		r = oci_fs_attach(&fs, dst, ret_tree, log);
		return r == -EPERM ? bind_sys(f, dst, ret_tree) : r;
	}
	if (label && label[0] != '\0' && !is_type(m, "mqueue")) {
		r = hk_fmt(context, sizeof(context), "context=%s", label);
		fs.extra[1] = context;
	}
	if (r >= 0 && is_type(m, "tmpfs"))
		r = inherit_mode(&fs, dst, existed, mode, sizeof(mode));
	if (r < 0)
		return r;
	if (is_type(m, "tmpfs") && f->tmpcopyup)
		return copyup_tmpfs(s, i, &fs, dst, ret_tree);
	r = oci_fs_attach(&fs, dst, ret_tree, log);
	if (r == -EINVAL && s->in_userns && is_type(m, "devpts")) { /* gid 5 (tty) has no id in the container's maps */
		fs.omit_prefix = "gid=";
		r = oci_fs_attach(&fs, dst, ret_tree, log);
	}
	return r;
}

int oci_mount_new_attach(struct oci_setup *s, size_t i, int *ret_tree_fd, struct hk_err *err)
{
	const struct oci_mount *m = &s->spec->mounts[i];
	bool is_strict = (is_type(m, "proc") || is_type(m, "sysfs")) && !hk_is_broken(HK_DEFENCE_PROC_REAL_DIR);
	struct oci_fs_log log = { .text = "" };
	hk_autofd dst = -1;
	bool existed = false;
	int r;

	if (!m->type || m->type[0] == '\0')
		return hk_fail_text(err, HK_INVALID, EINVAL, "mount on %s: no type, and not a bind", m->destination);
	r = is_strict ? open_real_dir(s, m, &dst) : oci_mounts_open_dest(s, m->destination, true, &existed, &dst);
	if (is_strict && r == -ENOTDIR)
		return hk_fail(err, HK_INVALID, ENOTDIR, "mount %s on %s: it must be a directory, not a link", m->type, m->destination);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make mount destination %s", m->destination);
	r = oci_mount_guard_proc(s, i, dst, err);
	if (r < 0)
		return r;
	if (is_type(m, "cgroup") || is_type(m, "cgroup2"))
		return oci_cgroup_mount(s, i, dst, ret_tree_fd, err);
	r = attach_by_type(s, i, dst, existed, ret_tree_fd, &log);
	return r < 0 ? fs_failed(m, r, &log, err) : 0;
}
