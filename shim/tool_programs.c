/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_programs.c — see tool_programs.h. A program in use is replaced by rename, never written to: it runs on, the next start takes the new one. */
#include "shim/tool_programs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "shim/cmd.h"

enum { PATH_SIZE = 4200, COPY_BYTES = 1 << 24, COMPARE_BYTES = 64 << 10 };

struct source {
	const char *name, *folder; /* below the prefix */
	bool is_needed;
};
static const struct source sources[PROGRAMS_MAX] = {
	{ SHIM_PROGRAM, "bin", true },
	{ "husk", "bin", true },
	{ "husk-init", "libexec/husk", true },
	{ "husk-systemd", "libexec/husk", false }, /* not in every build */
};

static int open_source(const char *dir, const char *name)
{
	static const char *const places[] = { "", "/../libexec/husk", "/../bin" };
	char path[PATH_SIZE + 64];

	for (size_t i = 0; i < HK_ARRAY_SIZE(places); i++) {
		int fd = -1;

		if (hk_fmt(path, sizeof(path), "%s%s/%s", dir, places[i], name) > 0)
			fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

/* Debian's and everybody's /usr/bin and /usr/sbin: containerd looks there, and a package manager owns them. */
static bool is_packaged(const char *dir)
{
	return hk_streq(dir, "/usr/bin") || hk_streq(dir, "/usr/sbin");
}

int programs_find(const char *prefix, bool is_other_root, struct programs *ret, struct hk_err *err)
{
	char dir[PATH_SIZE];
	const ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	if (len <= 0)
		return hk_fail(err, HK_INTERNAL, errno, "find this program");
	dir[len] = '\0';
	*strrchr(dir, '/') = '\0';
	ret->is_in_place = !is_other_root && is_packaged(dir);
	for (size_t i = 0; i < PROGRAMS_MAX; i++) {
		struct program *p = &ret->v[ret->n];
		const int fd = open_source(dir, sources[i].name);

		if (fd < 0 && !sources[i].is_needed)
			continue;
		if (fd < 0)
			return hk_fail_text(err, HK_NOT_FOUND, ENOENT, "%s is not beside this program in %s", sources[i].name, dir);
		p->fd = fd;
		ret->n++;
		if (hk_fmt(p->target, sizeof(p->target), "%s/%s/%s", prefix, sources[i].folder, sources[i].name) < 0 || prefix[0] != '/')
			return hk_fail_text(err, HK_INVALID, EINVAL, "prefix %.100s is not an absolute path, or too long", prefix);
	}
	return 0;
}

void programs_done(struct programs *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->v[i].fd = hk_close(p->v[i].fd);
	p->n = 0;
}

static bool is_same(int fd, const char *path)
{
	hk_autofd other = open(path, O_RDONLY | O_CLOEXEC);
	static char a[COMPARE_BYTES], b[COMPARE_BYTES];
	struct stat x, y;
	off_t at = 0;

	if (other < 0 || fstat(fd, &x) < 0 || fstat(other, &y) < 0 || x.st_size != y.st_size || (y.st_mode & 0777) != 0755)
		return false;
	while (at < x.st_size) {
		const ssize_t n = pread(fd, a, sizeof(a), at);

		if (n <= 0 || pread(other, b, (size_t)n, at) != n || memcmp(a, b, (size_t)n) != 0)
			return false;
		at += n;
	}
	return true;
}

static int copy(int from, const char *path)
{
	hk_autofd to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0755);
	off_t at = 0;
	ssize_t n;

	if (to < 0)
		return -errno;
	do
		n = sendfile(to, from, &at, COPY_BYTES);
	while (n > 0);
	/* On the disk before the name points to it: a node that loses power has the old program or the new one. */
	return n < 0 || fchmod(to, 0755) < 0 || fsync(to) < 0 ? -errno : 0;
}

static int install_one(const struct program *p, struct hk_err *err)
{
	char dir[sizeof(p->target)], temporary[sizeof(p->target) + 8];
	int r;

	(void)hk_fmt(dir, sizeof(dir), "%s", p->target);
	*strrchr(dir, '/') = '\0';
	r = hk_mkdir_p(AT_FDCWD, dir, 0755);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make %s", dir);
	(void)hk_fmt(temporary, sizeof(temporary), "%s.new~", p->target);
	(void)unlink(temporary); /* of one that was killed */
	r = copy(p->fd, temporary);
	if (r == 0 && rename(temporary, p->target) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(temporary);
		return hk_fail(err, HK_INTERNAL, -r, "write %s", p->target);
	}
	return 0;
}

int programs_install(const struct programs *p, bool is_dry, struct hk_err *err)
{
	for (size_t i = 0; i < p->n && !p->is_in_place; i++) {
		const struct program *one = &p->v[i];
		const bool is_there = access(one->target, F_OK) == 0, is_unchanged = is_there && is_same(one->fd, one->target);
		int r = 0;

		(void)printf("%s %s\n", is_unchanged ? "unchanged" : is_there ? "replace  " : "install  ", one->target);
		if (!is_unchanged && !is_dry)
			r = install_one(one, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int programs_remove(const struct programs *p, bool is_dry, struct hk_err *err)
{
	for (size_t i = 0; i < p->n && !p->is_in_place; i++) {
		char dir[sizeof(p->v[i].target)];

		if (access(p->v[i].target, F_OK) < 0)
			continue;
		(void)printf("remove    %s\n", p->v[i].target);
		if (is_dry)
			continue;
		if (unlink(p->v[i].target) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "remove %s", p->v[i].target);
		(void)hk_fmt(dir, sizeof(dir), "%s", p->v[i].target);
		*strrchr(dir, '/') = '\0';
		if (hk_has_suffix(dir, "/husk"))
			(void)rmdir(dir); /* ours, once it is empty */
	}
	return 0;
}
