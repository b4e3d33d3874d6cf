/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/path_walk.c — resolves and makes a path below a root without trusting any component.
 *
 * Each component is opened O_PATH|O_NOFOLLOW from the descriptor of the directory before it, links are read and put in
 * front of what is left, ".." goes back to the descriptor we came from (not to whatever the kernel calls the parent by
 * then), an absolute link goes back to the root. So no rename by a neighbour can lead outside (CVE-2021-30465,
 * CVE-2024-45310). Owns every fd on its stack.
 */
#include "oci/path_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"

enum { MAX_DEPTH = 128, MAX_LINKS = 40, MAX_RACES = 16 };

struct walk {
	int rootfd; /* borrowed */
	const struct oci_walk_opts *o;
	int dirs[MAX_DEPTH]; /* owned; the directory at work is dirs[n - 1], or the root when n == 0 */
	size_t n;
	unsigned links;
	unsigned races; /* of the component at work: found, made, gone again */
	char left[PATH_MAX]; /* what is still to be resolved */
};

static void walk_reset(struct walk *w)
{
	while (w->n > 0)
		hk_close(w->dirs[--w->n]);
}

static int walk_at(const struct walk *w)
{
	return w->n > 0 ? w->dirs[w->n - 1] : w->rootfd;
}

/*
 * Cuts the first component off w->left; *ret_last tells that nothing but slashes follows it, *ret_slash that there
 * was one.
 */
static bool next_component(struct walk *w, char name[NAME_MAX + 1], bool *ret_last, bool *ret_slash)
{
	const char *p = w->left + strspn(w->left, "/");
	size_t len = strcspn(p, "/");
	const char *rest = p + len;

	if (len == 0 || len > NAME_MAX) {
		name[0] = '\0';
		return len == 0;
	}
	memcpy(name, p, len);
	name[len] = '\0';
	*ret_slash = *rest == '/';
	rest += strspn(rest, "/");
	*ret_last = *rest == '\0';
	memmove(w->left, rest, strlen(rest) + 1);
	return true;
}

/*
 * What the kernel's RESOLVE_NO_MAGICLINKS refuses: procfs links that are no text but a jump (fd/N, exe, cwd, root,
 * ns/x).
 */
static bool is_magic_link(int linkfd, const char *name)
{
	static const char *const plain[] = { "self", "thread-self", "mounts", "net" };
	struct statfs sfs;

	if (fstatfs(linkfd, &sfs) < 0)
		return true;
	if (sfs.f_type != PROC_SUPER_MAGIC)
		return false;
	for (size_t i = 0; i < HK_ARRAY_SIZE(plain); i++)
		if (strcmp(name, plain[i]) == 0)
			return false;
	return true;
}

static int follow_link(struct walk *w, int linkfd, const char *name, bool had_slash)
{
	char text[PATH_MAX];
	char joined[PATH_MAX];
	ssize_t len;
	int r;

	if (++w->links > MAX_LINKS || is_magic_link(linkfd, name))
		return -ELOOP;
	len = readlinkat(linkfd, "", text, sizeof(text) - 1);
	if (len < 0)
		return -errno;
	if (len == 0)
		return -ENOENT;
	text[len] = '\0';
	r = hk_fmt(joined, sizeof(joined), "%s%s%s", text, had_slash ? "/" : "", w->left);
	if (r < 0)
		return r;
	memcpy(w->left, joined, (size_t)r + 1);
	if (text[0] == '/')
		walk_reset(w);
	return 0;
}

static int push_dir(struct walk *w, int *take_fd)
{
	if (w->n == MAX_DEPTH)
		return -ENAMETOOLONG;
	w->dirs[w->n++] = hk_take_fd(take_fd);
	return 0;
}

/* Makes the missing `name`. EEXIST is a neighbour who was quicker: the caller looks again. */
static int make_missing(struct walk *w, const char *name, bool is_last)
{
	int at = walk_at(w);

	if (w->o->make == OCI_WALK_OPEN)
		return -ENOENT;
	if (++w->races > MAX_RACES)
		return -EAGAIN;
	if (w->o->make == OCI_WALK_MKFILE && is_last) {
		hk_autofd fd = openat(at, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY | O_CLOEXEC, w->o->mode);

		return fd < 0 && errno != EEXIST ? -errno : 0;
	}
	if (mkdirat(at, name, w->o->make == OCI_WALK_MKFILE ? 0755 : w->o->mode) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/*
 * The object is found as an O_PATH fd; gives it with the flags asked. By name only for a non-link in a directory we
 * hold.
 */
static int finish(const struct walk *w, int fd, const char *name, int *ret_fd)
{
	struct stat a, b;
	hk_autofd real = -1;

	if (name) /* a link put here since is refused by O_NOFOLLOW, another object by the comparison below */
		real = openat(walk_at(w), name, w->o->open_flags | O_NOFOLLOW | O_CLOEXEC);
	else
		real = openat(fd, ".", w->o->open_flags | O_CLOEXEC);
	if (real < 0)
		return -errno;
	if (fstat(real, &b) < 0 || fstat(fd, &a) < 0)
		return -errno;
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return -EAGAIN;
	*ret_fd = hk_take_fd(&real);
	return 0;
}

/* One component. 1: go on, 0: done (*ret_fd), -errno. */
static int step(struct walk *w, int *ret_fd)
{
	char name[NAME_MAX + 1];
	bool is_last = false, had_slash = false;
	hk_autofd fd = -1;
	struct stat st;
	int r;

	if (!next_component(w, name, &is_last, &had_slash))
		return -ENAMETOOLONG;
	if (name[0] == '\0' && w->n > 0 && (w->o->open_flags & O_PATH)) { /* nothing left: the directory we stand in */
		*ret_fd = w->dirs[--w->n];
		return 0;
	}
	if (name[0] == '\0')
		return finish(w, walk_at(w), NULL, ret_fd);
	if (strcmp(name, ".") == 0)
		return 1;
	if (strcmp(name, "..") == 0) { /* above the root is the root */
		if (w->n > 0)
			hk_close(w->dirs[--w->n]);
		return 1;
	}
	for (w->races = 0;;) {
		fd = openat(walk_at(w), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			break;
		if (errno != ENOENT)
			return -errno;
		r = make_missing(w, name, is_last);
		if (r < 0)
			return r;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode) && !(is_last && !had_slash && (w->o->open_flags & O_NOFOLLOW))) {
		r = follow_link(w, fd, name, had_slash);
		return r < 0 ? r : 1;
	}
	if (S_ISDIR(st.st_mode)) {
		r = push_dir(w, &fd);
		return r < 0 ? r : 1;
	}
	if (!is_last || had_slash || (w->o->open_flags & O_DIRECTORY))
		return -ENOTDIR;
	if (!(w->o->open_flags & O_PATH))
		return finish(w, fd, name, ret_fd);
	*ret_fd = hk_take_fd(&fd);
	return 0;
}

int oci_walk(int rootfd, const char *path, const struct oci_walk_opts *o, int *ret_fd)
{
	struct walk w = { .rootfd = rootfd, .o = o };
	int r = hk_fmt(w.left, sizeof(w.left), "%s", path);

	while (r >= 0) {
		r = step(&w, ret_fd);
		if (r == 0)
			break;
	}
	walk_reset(&w);
	return r;
}
