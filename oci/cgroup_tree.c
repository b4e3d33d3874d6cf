/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_tree.c — the directories of one hierarchy: made, opened, walked for pids, removed. Paths here are clean (cgroup_path.c);
 * the container may own what is below its leaf, so a walk trusts neither names nor depth.
 */
#include "oci/cgroup_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

/*
 * On a parent that husk made: whichever shim removes the last child, this one or another, now or after a crash, takes it along. A shim may
 * be killed while the kernel makes it, so the directory above says first whom we are about to make.
 */
#define MADE_XATTR "trusted.husk.made"
#define MAKING_XATTR "trusted.husk.making."

enum {
	MAX_DEPTH = 128, /* of a walk: one fd each */
	MAX_STEPS = 100000, /* of a removal: somebody may make cgroups as fast as we remove them */
	MAX_PROCS_FILE = 16 << 20,
};

int cg_abs(const struct cg_hier *h, const char *path, char *buf)
{
	int r = hk_fmt(buf, PATH_MAX, "%s%s", strcmp(h->mount, "/") == 0 ? "" : h->mount, path);

	return r < 0 ? r : 0;
}

int cg_open_leaf(const struct cg_hier *h, const char *path)
{
	const struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	char abs[PATH_MAX];
	int fd, r = cg_abs(h, path, abs);

	if (r < 0)
		return r;
	/* Both parts are free of "." and "..", so without links nothing can lead out. */
	do
		fd = (int)syscall(SYS_openat2, AT_FDCWD, abs, &how, sizeof(how));
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open(abs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cg_pids_add(struct cg_pids *pids, pid_t pid)
{
	if (pids->n == pids->cap) {
		size_t cap = pids->cap ? pids->cap * 2 : 16;
		pid_t *v = reallocarray(pids->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		pids->v = v;
		pids->cap = cap;
	}
	pids->v[pids->n++] = pid;
	return 0;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

void cg_pids_sort(struct cg_pids *pids)
{
	size_t n = 0;

	if (pids->n == 0)
		return;
	qsort(pids->v, pids->n, sizeof(*pids->v), compare_pids);
	for (size_t i = 0; i < pids->n; i++) {
		if (n == 0 || pids->v[i] != pids->v[n - 1])
			pids->v[n++] = pids->v[i];
	}
	pids->n = n;
}

void cg_pids_done(struct cg_pids *pids)
{
	free(pids->v);
	*pids = (struct cg_pids){ 0 };
}

static int read_procs(int dirfd, struct cg_pids *pids)
{
	hk_autofree char *text = NULL;
	size_t len;
	int r = hk_read_file_alloc(dirfd, "cgroup.procs", MAX_PROCS_FILE, &text, &len);

	if (r == -EOPNOTSUPP) /* a threaded cgroup: its processes are told by the domain above */
		return 0;
	if (r < 0)
		return r;
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t pid;

		/* 0 is a process outside our pid namespace: nobody we could name. */
		if (hk_parse_u64(line, &pid) < 0 || pid == 0 || pid > INT_MAX)
			continue;
		r = cg_pids_add(pids, (pid_t)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

/* kernfs counts subdirectories in st_nlink, so a leaf costs one fstat and no listing. */
static bool is_leaf(int dirfd)
{
	struct stat st;

	return fstat(dirfd, &st) == 0 && st.st_nlink == 2;
}

static bool is_child(int dirfd, const struct dirent *e)
{
	struct stat st;

	if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
		return false;
	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static DIR *list_dir(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		hk_close(fd);
	return dir;
}

/* All names at once, each with its NUL, so that no listing stays open while the walk is deeper down. */
static int child_names(int dirfd, char **ret, size_t *ret_len)
{
	hk_autodir dir = list_dir(dirfd);
	hk_autofree char *names = NULL;
	size_t len = 0;

	if (!dir)
		return -errno;
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		size_t n = strlen(e->d_name) + 1;
		char *grown;

		if (!is_child(dirfd, e))
			continue;
		grown = realloc(names, len + n);
		if (!grown)
			return -ENOMEM;
		names = grown;
		memcpy(names + len, e->d_name, n);
		len += n;
	}
	*ret = hk_take_ptr(names);
	*ret_len = len;
	return 0;
}

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

typedef int visit_fn(int dirfd, void *arg);

/* Calls fn on dirfd and all below until it answers other than 0. Recursion is bounded by MAX_DEPTH. */
static int walk(int dirfd, visit_fn *fn, void *arg, int depth)
{
	hk_autofree char *names = NULL;
	size_t len = 0;
	int r = fn(dirfd, arg);

	if (r != 0 || is_leaf(dirfd))
		return is_gone(r) ? 0 : r;
	if (depth == MAX_DEPTH)
		return -ELOOP;
	r = child_names(dirfd, &names, &len);
	for (size_t at = 0; r == 0 && at < len; at += strlen(names + at) + 1) {
		hk_autofd fd = openat(dirfd, names + at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			r = walk(fd, fn, arg, depth + 1);
		else if (!is_gone(-errno))
			r = -errno;
	}
	return is_gone(r) ? 0 : r;
}

static int visit_pids(int dirfd, void *arg)
{
	return read_procs(dirfd, arg);
}

int cg_tree_pids(int dirfd, struct cg_pids *pids)
{
	return walk(dirfd, visit_pids, pids, 0);
}

static int visit_populated(int dirfd, void *arg)
{
	char buf[16];
	ssize_t n;
	hk_autofd fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	(void)arg;
	if (fd < 0)
		return -errno;
	do
		n = read(fd, buf, sizeof(buf));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	return n > 0;
}

int cg_tree_populated(int dirfd, bool is_v2)
{
	char buf[256];
	uint64_t v;
	ssize_t n;

	if (!is_v2)
		return walk(dirfd, visit_populated, NULL, 0);
	n = hk_read_file_at(dirfd, "cgroup.events", buf, sizeof(buf));
	if (n < 0)
		return is_gone((int)n) ? 0 : (int)n;
	return hk_flat_key_u64(buf, "populated", &v) ? v != 0 : -EBADMSG;
}

/* The first child of dirfd: 1 and its name, 0 when there is none. */
static int first_child(int dirfd, char name[NAME_MAX + 1])
{
	hk_autodir dir = is_leaf(dirfd) ? NULL : list_dir(dirfd);

	for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
		if (is_child(dirfd, e))
			return hk_fmt(name, NAME_MAX + 1, "%s", e->d_name) < 0 ? -ENAMETOOLONG : 1;
	}
	return 0;
}

/* Depth first with one fd however deep the container nested its cgroups: down by name, up by "..". */
int cg_tree_clear(int dirfd)
{
	char name[NAME_MAX + 1];
	hk_autofd at = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int depth = 0, r, next;

	if (at < 0)
		return is_gone(-errno) ? 0 : -errno;
	for (int step = 0; step < MAX_STEPS; step++) {
		r = first_child(at, name);
		if (r < 0 || (r == 0 && depth == 0))
			return r;
		if (r == 1 && (unlinkat(at, name, AT_REMOVEDIR) == 0 || is_gone(-errno)))
			continue;
		next = openat(at, r == 1 ? name : "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		depth += r == 1 ? 1 : -1;
		hk_close(at);
		at = next;
		/* No child of its own and yet not removable: processes, or the kernel is still burying them. */
		if (r == 1 && first_child(at, name) == 0)
			return -EBUSY;
	}
	return -EBUSY;
}

/* The directory above and the name of its mark for this one. */
static int making_mark(const char *abs, char *ret_above, char *ret_mark)
{
	const char *slash = strrchr(abs, '/');

	if (!slash || hk_fmt(ret_above, PATH_MAX, "%.*s", (int)(slash - abs), abs) < 0)
		return -ENAMETOOLONG;
	return hk_fmt(ret_mark, XATTR_NAME_MAX + 1, MAKING_XATTR "%s", slash + 1) < 0 ? -ENAMETOOLONG : 0;
}

/* Without marks the parent stays, which is little harm: so none of them can fail us. */
static int make_parent(const char *abs)
{
	char above[PATH_MAX], mark[XATTR_NAME_MAX + 1];
	bool is_marked;
	int r;

	if (access(abs, F_OK) == 0)
		return -EEXIST;
	is_marked = making_mark(abs, above, mark) == 0 && setxattr(above, mark, "1", 1, 0) == 0;
	r = mkdir(abs, 0755) < 0 ? -errno : 0;
	if (r == 0)
		(void)setxattr(abs, MADE_XATTR, "1", 1, 0);
	if (is_marked)
		(void)removexattr(above, mark);
	return r;
}

static bool is_ours(const char *abs)
{
	char above[PATH_MAX], mark[XATTR_NAME_MAX + 1];

	return getxattr(abs, MADE_XATTR, NULL, 0) >= 0 || (making_mark(abs, above, mark) == 0 && getxattr(above, mark, NULL, 0) >= 0);
}

void cg_tree_unmake(const struct cg_hier *h, const char *path, size_t kept_len)
{
	char abs[PATH_MAX];
	size_t base, len;

	if (cg_abs(h, path, abs) < 0)
		return;
	base = strlen(abs) - strlen(path);
	for (len = strlen(path); len > kept_len; len = (size_t)(strrchr(abs, '/') - abs) - base) {
		abs[base + len] = '\0';
		if (rmdir(abs) < 0 && errno != ENOENT)
			return; /* in use by somebody else, or the root */
	}
}

int cg_tree_make(const struct cg_hier *h, const char *path, size_t *ret_kept_len)
{
	char abs[PATH_MAX];
	size_t base, kept = strlen(path);
	int r = cg_abs(h, path, abs);

	if (r < 0)
		return r;
	if (mkdir(abs, 0755) == 0) {
		*ret_kept_len = (size_t)(strrchr(path, '/') - path);
		return 0;
	}
	if (errno != ENOENT)
		return -errno;
	base = strlen(abs) - strlen(path);
	/* Twice: another shim that gives up on its own container may take a parent away between two steps. */
	for (int tries = 0; tries < 3; tries++) {
		bool has_made = false;

		r = 0;
		for (char *p = abs + base + 1; r == 0 && p; p = *p ? p + 1 : NULL) {
			char *end = p + strcspn(p, "/"), was = *end;

			*end = '\0';
			r = was != '\0' ? make_parent(abs) : mkdir(abs, 0755) < 0 ? -errno : 0;
			if (r == 0 && !has_made)
				kept = (size_t)(p - 1 - abs) - base;
			has_made = has_made || r == 0;
			if (r == -EEXIST && was != '\0')
				r = 0;
			*end = was;
			p = end;
		}
		if (r != -ENOENT)
			break;
	}
	if (r == 0)
		*ret_kept_len = kept;
	else if (r != -EEXIST) /* a leaf that is there is another's */
		cg_tree_unmake(h, path, kept);
	return r;
}

int cg_tree_remove(const struct cg_hier *h, const char *path)
{
	char abs[PATH_MAX];
	int r = cg_abs(h, path, abs);

	if (r < 0)
		return r;
	/* Most have nothing below and no process: one call. */
	if (rmdir(abs) == 0 || is_gone(-errno))
		return 0;
	if (errno == EBUSY || errno == ENOTEMPTY) {
		hk_autofd leaf = cg_open_leaf(h, path);

		r = leaf < 0 ? leaf : cg_tree_clear(leaf);
		if (r < 0)
			return is_gone(r) ? 0 : r;
		if (rmdir(abs) == 0 || is_gone(-errno))
			return 0;
	}
	return -errno;
}

void cg_tree_remove_parents(const struct cg_hier *h, const char *path)
{
	char abs[PATH_MAX], above[PATH_MAX], mark[XATTR_NAME_MAX + 1];
	size_t base;

	if (cg_abs(h, path, abs) < 0)
		return;
	base = strlen(abs) - strlen(path);
	for (char *slash = strrchr(abs, '/'); slash > abs + base; slash = strrchr(abs, '/')) {
		*slash = '\0';
		/* One that is not there may still be about to be made, above one that is. */
		if (access(abs, F_OK) == 0 && (!is_ours(abs) || rmdir(abs) < 0))
			return; /* the caller's own, or in use */
		if (making_mark(abs, above, mark) == 0)
			(void)removexattr(above, mark);
	}
}
