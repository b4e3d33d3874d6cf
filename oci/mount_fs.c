/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_fs.c — fsopen, fsconfig, fsmount, open_tree, move_mount and mount_setattr, each with what mount(2) can do
 * in its place.
 *
 * In: descriptors and options. Out: detached or attached mounts as O_PATH descriptors, owned by the caller. mount(2)
 * gets its target as /proc/self/fd/N: a name that leads to the object resolved before, whatever was renamed since.
 * The call that is missing says so. Only move_mount is asked ahead, once: a detached mount is worth nothing without it.
 */
#include "oci/mount_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"

enum { FD_NAME_MAX = 40 };

static const struct {
	uint64_t attr;
	unsigned long ms;
} attr_ms[] = {
	{ MOUNT_ATTR_RDONLY, MS_RDONLY },
	{ MOUNT_ATTR_NOSUID, MS_NOSUID },
	{ MOUNT_ATTR_NODEV, MS_NODEV },
	{ MOUNT_ATTR_NOEXEC, MS_NOEXEC },
	{ MOUNT_ATTR_NODIRATIME, MS_NODIRATIME },
	{ MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW },
};

bool oci_mount_is_absent(int r)
{
	return r == -ENOSYS || r == -EPERM;
}

unsigned long oci_attrs_to_ms(uint64_t attrs)
{
	unsigned long ms = 0;

	for (size_t i = 0; i < HK_ARRAY_SIZE(attr_ms); i++)
		if (attrs & attr_ms[i].attr)
			ms |= attr_ms[i].ms;
	switch (attrs & MOUNT_ATTR__ATIME) {
	case MOUNT_ATTR_NOATIME:
		return ms | MS_NOATIME;
	case MOUNT_ATTR_STRICTATIME:
		return ms | MS_STRICTATIME;
	default:
		return ms;
	}
}

/* The name of what fd holds; with a procfs of our own it is relative to that, and we go there. */
static int fd_name(int procfd, int fd, char name[FD_NAME_MAX])
{
	int r = hk_fmt(name, FD_NAME_MAX, procfd >= 0 ? "self/fd/%d" : "/proc/self/fd/%d", fd);

	if (r >= 0 && procfd >= 0 && fchdir(procfd) < 0)
		return -errno;
	return r;
}

static bool is_omitted(const struct oci_fs *f, const char *word)
{
	return f->omit_prefix && hk_has_prefix(word, f->omit_prefix);
}

/* The last message of the context, without its "e " mark of severity (fsopen(2)). */
static void read_log(int fsfd, struct oci_fs_log *log)
{
	char buf[sizeof(log->text)];
	ssize_t n;

	while ((n = read(fsfd, buf, sizeof(buf) - 1)) > 0) {
		buf[n] = '\0';
		if (buf[n - 1] == '\n')
			buf[n - 1] = '\0';
		(void)hk_fmt(log->text, sizeof(log->text), "%s", hk_has_prefix(buf, "e ") ? buf + 2 : buf);
	}
}

static int config_string(int fsfd, const char *key, const char *value)
{
	if (strlen(value) > OCI_FSCONFIG_MAX)
		return -ENOSYS;
	return fsconfig(fsfd, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/*
 * lowerdir of an overlay with many layers is longer than a string of fsconfig; since Linux 6.7 each layer can be told
 * by itself. A backslash protects a colon or itself there, and not in lowerdir+.
 */
static int config_lowerdirs(int fsfd, const char *value)
{
	char layer[OCI_FSCONFIG_MAX + 1];
	size_t n = 0;

	for (const char *p = value;; p++) {
		if (*p == ':' || *p == '\0') {
			layer[n] = '\0';
			/* "::" starts data-only layers, which have a key of their own: leave those to mount(2). */
			if (n == 0 || fsconfig(fsfd, FSCONFIG_SET_STRING, "lowerdir+", layer, 0) < 0)
				return -ENOSYS;
			n = 0;
			if (*p == '\0')
				return 0;
			continue;
		}
		if (*p == '\\' && p[1] != '\0')
			p++;
		if (n == OCI_FSCONFIG_MAX)
			return -ENOSYS;
		layer[n++] = *p;
	}
}

static int config_word(int fsfd, const struct oci_fs *f, const char *word)
{
	const char *eq = strchr(word, '=');
	char key[64];

	if (is_omitted(f, word))
		return 0;
	if (!eq)
		return fsconfig(fsfd, FSCONFIG_SET_FLAG, word, NULL, 0) < 0 ? -errno : 0;
	if (hk_fmt(key, sizeof(key), "%.*s", (int)(eq - word), word) < 0)
		return -EINVAL;
	if (strcmp(f->type, "overlay") == 0 && strcmp(key, "lowerdir") == 0 && strlen(eq + 1) > OCI_FSCONFIG_MAX)
		return config_lowerdirs(fsfd, eq + 1);
	return config_string(fsfd, key, eq + 1);
}

static int config_all(int fsfd, const struct oci_fs *f)
{
	int r = 0;

	if (f->source && f->source[0] != '\0')
		r = config_string(fsfd, "source", f->source);
	if (r >= 0 && f->sb_readonly)
		r = config_word(fsfd, f, "ro");
	for (size_t i = 0; r >= 0 && i < f->n_sb_words; i++)
		r = config_word(fsfd, f, f->sb_words[i]);
	for (size_t i = 0; r >= 0 && i < f->n_data; i++)
		r = config_word(fsfd, f, f->data[i]);
	for (size_t i = 0; r >= 0 && i < HK_ARRAY_SIZE(f->extra); i++)
		if (f->extra[i])
			r = config_word(fsfd, f, f->extra[i]);
	if (r >= 0 && fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = -errno;
	return r;
}

/* With nothing to move the answer is EBADF, or that there is no such call. A child asks for itself: it lives for one container. */
static int check_move(void)
{
	static int answer = 1;

	if (answer > 0)
		answer = move_mount(-1, "", -1, "", MOVE_MOUNT_F_EMPTY_PATH) < 0 && (errno == ENOSYS || errno == EPERM) ? -ENOSYS : 0;
	return answer;
}

int oci_fs_open(const struct oci_fs *f, int *ret_tree_fd, struct oci_fs_log *log)
{
	hk_autofd fsfd = -1, fd = -1;
	int r = check_move();

	if (r < 0)
		return r;
	fsfd = fsopen(f->type, FSOPEN_CLOEXEC);
	if (fsfd < 0)
		return -errno;
	r = config_all(fsfd, f);
	if (r < 0) {
		if (log)
			read_log(fsfd, log);
		return r;
	}
	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, (unsigned)f->attrs);
	if (fd < 0) {
		r = -errno;
		if (log)
			read_log(fsfd, log);
		return r;
	}
	*ret_tree_fd = hk_take_fd(&fd);
	return 0;
}

static void append_word(const struct oci_fs *f, char *data, size_t size, const char *word)
{
	size_t used = strlen(data);
	const char *comma = used ? "," : "";
	const char *value = strchr(word, '=');

	if (is_omitted(f, word))
		return;
	/* A label has commas of its own (s0:c1,c2), which mount(2) wants in quotes and fsconfig(2) does not. */
	if (value && hk_has_prefix(word, "context=") && value[1] != '"')
		(void)hk_fmt(data + used, size - used, "%s%.*s=\"%s\"", comma, (int)(value - word), word, value + 1);
	else
		(void)hk_fmt(data + used, size - used, "%s%s", comma, word);
}

/* The options as mount(2) wants them, in heap memory. */
static int join_data(const struct oci_fs *f, char **ret)
{
	size_t size = 1;
	char *data;

	for (size_t i = 0; i < f->n_data; i++)
		size += strlen(f->data[i]) + 4;
	for (size_t i = 0; i < HK_ARRAY_SIZE(f->extra); i++)
		size += f->extra[i] ? strlen(f->extra[i]) + 4 : 0;
	data = calloc(1, size);
	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_data; i++)
		append_word(f, data, size, f->data[i]);
	for (size_t i = 0; i < HK_ARRAY_SIZE(f->extra); i++)
		if (f->extra[i])
			append_word(f, data, size, f->extra[i]);
	*ret = data;
	return 0;
}

int oci_fs_mount_on(const struct oci_fs *f, int procfd, int dst_fd)
{
	hk_autofree char *data = NULL;
	char name[FD_NAME_MAX];
	long page = sysconf(_SC_PAGESIZE);
	int r = join_data(f, &data);

	if (r < 0)
		return r;
	if (strlen(data) >= (size_t)page) /* the kernel would cut it silently: mount(2) */
		return -E2BIG;
	r = fd_name(procfd, dst_fd, name);
	if (r < 0)
		return r;
	if (mount(f->source ? f->source : "none", name, f->type, f->ms_flags | (f->sb_readonly ? MS_RDONLY : 0), data) < 0)
		return -errno;
	return 0;
}

int oci_fs_attach(const struct oci_fs *f, int dst_fd, int *ret_tree_fd, struct oci_fs_log *log)
{
	hk_autofd fd = -1;
	int r = oci_fs_open(f, &fd, log);

	if (r >= 0)
		r = oci_tree_attach(fd, dst_fd);
	if (r >= 0) {
		*ret_tree_fd = hk_take_fd(&fd);
		return 0;
	}
	if (!oci_mount_is_absent(r))
		return r;
	r = oci_fs_mount_on(f, -1, dst_fd);
	if (r < 0)
		return r;
	if (log)
		log->text[0] = '\0';
	*ret_tree_fd = -1;
	return 0;
}

int oci_tree_clone(int dirfd, const char *path, unsigned flags, int *ret_tree_fd)
{
	int fd, r = check_move();

	if (r < 0)
		return r;
	fd = open_tree(dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (path[0] ? 0U : (unsigned)AT_EMPTY_PATH) | flags);
	if (fd < 0)
		return -errno;
	*ret_tree_fd = fd;
	return 0;
}

int oci_tree_attach(int tree_fd, int dst_fd)
{
	if (move_mount(tree_fd, "", dst_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

int oci_tree_bind(int procfd, int src_fd, int dst_fd, bool recursive, int *ret_tree_fd)
{
	char src[FD_NAME_MAX], dst[FD_NAME_MAX];
	hk_autofd fd = -1;
	int r = oci_tree_clone(src_fd, "", recursive ? AT_RECURSIVE : 0, &fd);

	if (r >= 0)
		r = oci_tree_attach(fd, dst_fd);
	if (r >= 0) {
		if (ret_tree_fd)
			*ret_tree_fd = hk_take_fd(&fd);
		return 0;
	}
	if (!oci_mount_is_absent(r))
		return r;
	r = fd_name(procfd, src_fd, src);
	if (r >= 0)
		r = fd_name(procfd, dst_fd, dst);
	if (r < 0)
		return r;
	if (mount(src, dst, NULL, MS_BIND | (recursive ? MS_REC : 0UL), NULL) < 0)
		return -errno;
	if (ret_tree_fd)
		*ret_tree_fd = -1;
	return 0;
}

static int remount_bind(int procfd, int fd, uint64_t set, uint64_t clr)
{
	static const struct {
		unsigned long st, ms;
	} st_ms[] = {
		{ ST_RDONLY, MS_RDONLY }, { ST_NOSUID, MS_NOSUID }, { ST_NODEV, MS_NODEV }, { ST_NOEXEC, MS_NOEXEC },
		{ ST_NOATIME, MS_NOATIME }, { ST_NODIRATIME, MS_NODIRATIME }, { ST_RELATIME, MS_RELATIME },
	};
	unsigned long flags = 0;
	struct statvfs vfs;
	char name[FD_NAME_MAX];
	int r;

	if (fstatvfs(fd, &vfs) < 0)
		return -errno;
	for (size_t i = 0; i < HK_ARRAY_SIZE(st_ms); i++)
		if (vfs.f_flag & st_ms[i].st)
			flags |= st_ms[i].ms;
	flags &= ~oci_attrs_to_ms(clr & ~(uint64_t)MOUNT_ATTR__ATIME);
	if (clr & MOUNT_ATTR__ATIME)
		flags &= ~(unsigned long)(MS_NOATIME | MS_RELATIME);
	flags |= oci_attrs_to_ms(set);
	r = fd_name(procfd, fd, name);
	if (r < 0)
		return r;
	return mount(NULL, name, NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0 ? -errno : 0;
}

int oci_tree_setattr_only(int fd, uint64_t set, uint64_t clr, bool recursive)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clr };

	if (set == 0 && clr == 0)
		return 0;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0U), &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

int oci_tree_setattr(int procfd, int fd, uint64_t set, uint64_t clr, bool recursive)
{
	int r = oci_tree_setattr_only(fd, set, clr, recursive);

	if (r != -ENOSYS)
		return r;
	return recursive ? -EOPNOTSUPP : remount_bind(procfd, fd, set, clr);
}

int oci_tree_propagate(int procfd, int fd, unsigned long ms_flag)
{
	struct mount_attr attr = { .propagation = ms_flag & ~(unsigned long)MS_REC };
	char name[FD_NAME_MAX];
	int r;

	if (mount_setattr(fd, "", AT_EMPTY_PATH | (ms_flag & MS_REC ? AT_RECURSIVE : 0U), &attr, sizeof(attr)) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	r = fd_name(procfd, fd, name);
	if (r < 0)
		return r;
	return mount(NULL, name, NULL, ms_flag, NULL) < 0 ? -errno : 0;
}

int oci_tree_remount(int procfd, int fd, unsigned long ms_flags, const char *data)
{
	char name[FD_NAME_MAX];
	int r = fd_name(procfd, fd, name);

	if (r < 0)
		return r;
	return mount(NULL, name, NULL, MS_REMOUNT | ms_flags, data) < 0 ? -errno : 0;
}
