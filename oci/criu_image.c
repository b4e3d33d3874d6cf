/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/criu_image.c — what a container has that is not its own: bind mounts, files of the host's /dev that mask others, cgroup hierarchies,
 * stdio, namespaces joined by path. CRIU leaves those out of its images under names; a text file beside the images keeps what the restore
 * must know to give each of them again, from another bundle and perhaps on another machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/criu.h"
#include "oci/mount_opts.h"
#include "oci/mountinfo.h"
#include "oci/path.h"
#include "oci/spec.h"

#define FILE_NAME "husk-outside"
#define FORMAT_LINE "husk 1"
enum { MOUNTINFO_MAX = 16 << 20, FILE_MAX = 1 << 20, MAX_MOUNTS = 1 << 17 };

static const struct {
	unsigned bit;
	enum oci_ns ns;
	const char *name;
} joins[] = {
	{ OCI_CRIU_NET, OCI_NS_NET, "net" },
	{ OCI_CRIU_PID, OCI_NS_PID, "pid" },
	{ OCI_CRIU_IPC, OCI_NS_IPC, "ipc" },
	{ OCI_CRIU_UTS, OCI_NS_UTS, "uts" },
};
static const char *const from_names[] = { [OCI_CRIU_BIND] = "bind", [OCI_CRIU_DEV] = "dev", [OCI_CRIU_CGROUP] = "cgroup" };

/* ---- of a live container ---- */

struct walk {
	struct hk_arena *a;
	const struct oci_spec *spec;
	struct oci_criu_image *out;
	struct oci_mountinfo *all;
	size_t n;
	int *spec_ids; /* the mount that each of the spec's has become, -1 = none */
	int rootfd;
};

static bool is_bind(const struct oci_mount *m)
{
	if (hk_streq(m->type, "bind") || hk_streq(m->type, "rbind"))
		return true;
	for (size_t i = 0; i < m->options.n; i++)
		if (hk_streq(m->options.v[i], "bind") || hk_streq(m->options.v[i], "rbind"))
			return true;
	return false;
}

/* fdinfo has a number for what the fd lies on, mountinfo the same one. */
static int mount_id(const char *fdinfo)
{
	char text[1024];
	const char *at;

	if (hk_read_file_at(AT_FDCWD, fdinfo, text, sizeof(text)) < 0)
		return -1;
	at = strstr(text, "mnt_id:");
	return at ? (int)strtol(at + strlen("mnt_id:"), NULL, 10) : -1;
}

static void find_spec_mounts(struct walk *w)
{
	for (size_t i = 0; i < w->spec->n_mounts; i++) {
		hk_autofd fd = -1;
		char name[40];

		w->spec_ids[i] = -1;
		if (oci_path_open_in(w->rootfd, w->spec->mounts[i].destination, O_PATH, &fd) < 0)
			continue;
		(void)hk_fmt(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
		w->spec_ids[i] = mount_id(name);
	}
}

/* The last one wins: it lies on top. NULL: the mount is none of the spec's. */
static const struct oci_mount *spec_mount(const struct walk *w, int id)
{
	for (size_t i = w->spec->n_mounts; i > 0; i--)
		if (w->spec_ids[i - 1] == id)
			return &w->spec->mounts[i - 1];
	return NULL;
}

static const struct oci_mountinfo *by_id(const struct walk *w, int id)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->all[i].id == id)
			return &w->all[i];
	return NULL;
}

static int add(struct walk *w, struct oci_criu_mount m, struct hk_err *err)
{
	struct oci_criu_image *out = w->out;

	if (out->n_mounts == out->cap_mounts) {
		const size_t cap = out->cap_mounts ? out->cap_mounts * 2 : 32;
		struct oci_criu_mount *v = hk_arena_array(w->a, cap, sizeof(*v));

		if (!v)
			return hk_fail(err, HK_INTERNAL, ENOMEM, "mounts");
		if (out->n_mounts > 0)
			memcpy(v, out->mounts, out->n_mounts * sizeof(*v));
		out->mounts = v;
		out->cap_mounts = cap;
	}
	out->mounts[out->n_mounts++] = m;
	return 0;
}

/* A mount below a bind of the spec's came with it (rbind): the bind. NULL otherwise. */
static const struct oci_mountinfo *bind_above(const struct walk *w, const struct oci_mountinfo *m, const struct oci_mount **ret_spec)
{
	for (int depth = 0; depth < 1000; depth++) {
		m = by_id(w, m->parent);
		if (!m)
			return NULL;
		*ret_spec = spec_mount(w, m->id);
		if (*ret_spec)
			return is_bind(*ret_spec) ? m : NULL;
	}
	return NULL;
}

static int consider(struct walk *w, const struct oci_mountinfo *m, struct hk_err *err)
{
	const struct oci_mount *s = spec_mount(w, m->id);
	const char *slash = strrchr(m->target, '/');
	const struct oci_mountinfo *above;

	if (s && is_bind(s))
		return add(w, (struct oci_criu_mount){ OCI_CRIU_BIND, m->target, s->destination, "" }, err);
	if (hk_streq(m->type, "devtmpfs") && !hk_streq(m->root, "/"))
		return add(w, (struct oci_criu_mount){ OCI_CRIU_DEV, m->target, m->root, "" }, err);
	if (hk_streq(m->type, "cgroup"))
		return add(w, (struct oci_criu_mount){ OCI_CRIU_CGROUP, m->target, slash ? slash + 1 : "", "" }, err);
	above = s ? NULL : bind_above(w, m, &s);
	if (above && hk_has_prefix(m->target, above->target))
		return add(w, (struct oci_criu_mount){ OCI_CRIU_BIND, m->target, s->destination, m->target + strlen(above->target) }, err);
	return 0;
}

static int read_mounts(struct walk *w, pid_t init, struct hk_err *err)
{
	char path[64], *text = NULL, *pos;
	struct oci_mountinfo m;
	size_t len;
	int r;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/mountinfo", (int)init);
	r = hk_read_file_alloc(AT_FDCWD, path, MOUNTINFO_MAX, &text, &len); /* kept: the process becomes criu */
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read %s", path);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		w->n++;
	w->all = hk_arena_array(w->a, w->n + 1, sizeof(*w->all));
	w->spec_ids = hk_arena_array(w->a, w->spec->n_mounts + 1, sizeof(*w->spec_ids));
	if (!w->all || !w->spec_ids)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "mounts");
	w->n = 0;
	for (pos = text; oci_mountinfo_next(&pos, &m);)
		w->all[w->n++] = m;
	return 0;
}

/* What fds 0 to 2 have open that no mount of the container leads to. CRIU names a file by its mount and inode, a pipe by its inode. */
static int name_stdio(struct walk *w, pid_t init, struct hk_err *err)
{
	for (int i = 0; i < 3; i++) {
		char path[64], link[64] = "";
		struct stat st;
		int id;

		(void)hk_fmt(path, sizeof(path), "/proc/%d/fd/%d", (int)init, i);
		if (stat(path, &st) < 0)
			continue; /* closed by itself */
		(void)!readlink(path, link, sizeof(link) - 1);
		(void)hk_fmt(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)init, i);
		id = mount_id(path);
		if (hk_has_prefix(link, "pipe:["))
			w->out->stdio[i] = hk_arena_printf(w->a, "pipe[%llu]", (unsigned long long)st.st_ino);
		else if (id >= 0 && !by_id(w, id))
			w->out->stdio[i] = hk_arena_printf(w->a, "file[%x:%llx]", (unsigned)id, (unsigned long long)st.st_ino);
		else
			continue;
		if (!w->out->stdio[i])
			return hk_fail(err, HK_INTERNAL, ENOMEM, "stdio");
	}
	return 0;
}

int oci_criu_collect(pid_t init, const struct oci_spec *spec, struct hk_arena *a, struct oci_criu_image *ret, struct hk_err *err)
{
	struct walk w = { .a = a, .spec = spec, .out = ret };
	hk_autofd root = -1;
	char path[64];
	int r;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/root", (int)init);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s", path);
	w.rootfd = root;
	r = read_mounts(&w, init, err);
	if (r < 0)
		return r;
	find_spec_mounts(&w);
	for (size_t i = 0; r >= 0 && i < w.n; i++)
		if (!hk_streq(w.all[i].target, "/"))
			r = consider(&w, &w.all[i], err);
	for (size_t i = 0; i < HK_ARRAY_SIZE(joins); i++)
		if (spec->ns[joins[i].ns].is_set && spec->ns[joins[i].ns].path)
			ret->joined |= joins[i].bit;
	return r < 0 ? r : name_stdio(&w, init, err);
}

/* ---- the file ---- */

/* Fields are cut by blanks, lines by newlines; either in a name is written as mountinfo does. An empty field is "-". */
static void put(FILE *f, const char *s)
{
	(void)fputs(*s ? " " : " -", f);
	for (; *s; s++) {
		if (*s == ' ' || *s == '\n' || *s == '\t' || *s == '\\' || *s == '-')
			(void)fprintf(f, "\\%03o", (unsigned char)*s);
		else
			(void)fputc(*s, f);
	}
}

int oci_criu_image_write(const char *dir, const struct oci_criu_image *m, struct hk_err *err)
{
	hk_autofree char *text = NULL, *path = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int r = -ENOMEM;

	if (f) {
		(void)fputs(FORMAT_LINE "\n", f);
		for (size_t i = 0; i < m->n_mounts; i++) {
			(void)fputs(from_names[m->mounts[i].from], f);
			put(f, m->mounts[i].target);
			put(f, m->mounts[i].what);
			put(f, m->mounts[i].rest);
			(void)fputc('\n', f);
		}
		for (int i = 0; i < 3; i++)
			if (m->stdio[i])
				(void)fprintf(f, "fd %d %s\n", i, m->stdio[i]);
		for (size_t i = 0; i < HK_ARRAY_SIZE(joins); i++)
			if (m->joined & joins[i].bit)
				(void)fprintf(f, "ns %s\n", joins[i].name);
		r = fclose(f) == 0 ? 0 : -ENOMEM;
	}
	if (r == 0 && asprintf(&path, "%s/" FILE_NAME, dir) < 0) {
		path = NULL;
		r = -ENOMEM;
	}
	if (r == 0)
		r = hk_write_file_atomic(AT_FDCWD, path, text, len, 0600);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write %s/" FILE_NAME, dir) : 0;
}

static char *field(char **save)
{
	char *s = strtok_r(NULL, " ", save), *to = s;

	if (s && strcmp(s, "-") == 0)
		*s = '\0';
	for (char *p = s; p && *p; to++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] && p[3]) {
			*to = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 4;
		} else {
			*to = *p++;
		}
	}
	if (to)
		*to = '\0';
	return s;
}

/* 1 = understood. Everything is the arena's, or the text's, which lives as long. */
static int read_line(struct walk *w, char *line, struct hk_err *err)
{
	char *save = NULL, *key = strtok_r(line, " ", &save), *a = field(&save), *b = field(&save), *c = field(&save);

	if (!key || !a)
		return 0;
	if (hk_streq(key, "fd") && b && a[0] >= '0' && a[0] <= '2' && !a[1]) {
		w->out->stdio[a[0] - '0'] = b;
		return 1;
	}
	for (size_t i = 0; hk_streq(key, "ns") && i < HK_ARRAY_SIZE(joins); i++)
		if (hk_streq(a, joins[i].name)) {
			w->out->joined |= joins[i].bit;
			return 1;
		}
	for (size_t i = 0; b && c && i < HK_ARRAY_SIZE(from_names); i++)
		if (hk_streq(key, from_names[i])) {
			int r = w->out->n_mounts < MAX_MOUNTS ? add(w, (struct oci_criu_mount){ (enum oci_criu_from)i, a, b, c }, err) : 0;

			return r < 0 ? r : 1;
		}
	return 0;
}

int oci_criu_image_read(const char *dir, struct hk_arena *a, struct oci_criu_image *ret, struct hk_err *err)
{
	struct walk w = { .a = a, .out = ret };
	hk_autofree char *text = NULL;
	char *path = hk_arena_printf(a, "%s/" FILE_NAME, dir), *copy, *save = NULL, *line;
	size_t len;
	int r = path ? hk_read_file_alloc(AT_FDCWD, path, FILE_MAX, &text, &len) : -ENOMEM;

	if (r < 0)
		return hk_fail(err, r == -ENOENT ? HK_INVALID : HK_INTERNAL, -r, "read %s", path ? path : dir);
	copy = hk_arena_strndup(a, text, len);
	line = copy ? strtok_r(copy, "\n", &save) : NULL;
	if (!hk_streq(line, FORMAT_LINE))
		return hk_fail_text(err, HK_INVALID, EPROTO, "%s is not of the form \"%s\"", path, FORMAT_LINE);
	while ((line = strtok_r(NULL, "\n", &save))) {
		r = read_line(&w, line, err);
		if (r < 0)
			return r;
		if (r == 0)
			return hk_fail_text(err, HK_INVALID, EPROTO, "%s has a line that is not understood", path);
	}
	return 0;
}
