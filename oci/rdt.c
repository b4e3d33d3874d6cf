/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/rdt.c — config-linux.md "IntelRdt": directories of the resctrl file system (Documentation/filesystems/resctrl.rst)
 * are classes of service; a process belongs to one by its number in `tasks`, and what it clones follows it. In comes
 * linux.intelRdt and the container's id. A class that the spec names by closID belongs to whoever runs the node and is
 * never removed; one named by the container's id, and its monitoring group, end with the container.
 */
#include "oci/rdt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "oci/spec.h"

enum { DIR_MODE = 0755, SCHEMATA_MAX = 64 << 10 };

struct oci_rdt {
	struct oci_rdt_fs fs; /* root is owned */
	char group[PATH_MAX];
	char mon[PATH_MAX]; /* "" = none */
	bool is_group_made; /* by this, as opposed to found */
	bool is_group_ours;
};

int oci_rdt_find(char *buf, size_t size, struct oci_rdt_fs *ret)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	int r = -ENOENT;

	while (f && r == -ENOENT && (m = getmntent(f)))
		if (strcmp(m->mnt_type, "resctrl") == 0)
			r = hk_fmt(buf, size, "%s", m->mnt_dir);
	if (f)
		(void)endmntent(f);
	if (r < 0)
		return r;
	*ret = (struct oci_rdt_fs){ .root = buf, .make = mkdir, .remove = rmdir };
	return 0;
}

/* ---- errors ---- */

/* The kernel's own words, if it has some. */
static int fail_rdt(const struct oci_rdt *r, struct hk_err *err, int code, const char *what, const char *path)
{
	char file[PATH_MAX + 32], status[256];
	size_t len;

	(void)hk_fmt(file, sizeof(file), "%s/info/last_cmd_status", r->fs.root);
	if (hk_read_file_at(AT_FDCWD, file, status, sizeof(status)) <= 0 || hk_streq(status, "ok"))
		status[0] = '\0';
	len = strcspn(status, "\n");
	if (code == ENOSPC && len == 0)
		return hk_fail(err, HK_EXHAUSTED, code, "linux.intelRdt: %s %s (no group is left)", what, path);
	return hk_fail(err, HK_INTERNAL, code, "linux.intelRdt: %s %s%s%.*s%s", what, path, len ? " (" : "", (int)len, status,
	    len ? ")" : "");
}

static int write_at(const struct oci_rdt *r, const char *dir, const char *file, const char *text, struct hk_err *err)
{
	char path[PATH_MAX + 32], what[64];
	int rc;

	(void)hk_fmt(path, sizeof(path), "%s/%s", dir, file);
	rc = hk_write_file_at(AT_FDCWD, path, text);
	if (rc == 0)
		return 0;
	(void)snprintf(what, sizeof(what), "write %.*s to", (int)strcspn(text, "\n"), text);
	return fail_rdt(r, err, -rc, what, path);
}

/* ---- schemata ---- */

static bool has_schema(const struct oci_intel_rdt *spec)
{
	return spec->l3_cache_schema || spec->mem_bw_schema || spec->schemata.n > 0;
}

/* A line for itself, as the kernel refuses the same domain twice in one write and the later line shall win. */
static int write_schema(const struct oci_rdt *r, const char *schema, struct hk_err *err)
{
	hk_autofree char *line = NULL;

	if (!schema || !*schema)
		return 0;
	if (asprintf(&line, "%s\n", schema) < 0) {
		line = NULL;
		return hk_fail(err, HK_INTERNAL, ENOMEM, "linux.intelRdt");
	}
	return write_at(r, r->group, "schemata", line, err);
}

static int write_schemata(const struct oci_rdt *r, const struct oci_intel_rdt *spec, struct hk_err *err)
{
	int rc = write_schema(r, spec->l3_cache_schema, err);

	if (rc == 0)
		rc = write_schema(r, spec->mem_bw_schema, err);
	for (size_t i = 0; rc == 0 && i < spec->schemata.n; i++)
		rc = write_schema(r, spec->schemata.v[i], err);
	return rc;
}

static const char *skip_blanks(const char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

/* The kernel pads masks with zeros and percentages with blanks to the width of the widest. */
static bool is_same_value(const char *a, size_t a_len, const char *b, size_t b_len)
{
	for (; a_len > 1 && (*a == '0' || *a == ' '); a_len--)
		a++;
	for (; b_len > 1 && (*b == '0' || *b == ' '); b_len--)
		b++;
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/* "1=f" in "0=ff;1=0f". */
static bool has_domain(const char *line, const char *domain, size_t len)
{
	const char *eq = memchr(domain, '=', len);
	size_t key = eq ? (size_t)(eq - domain) + 1 : 0;

	for (line = skip_blanks(line); key && *line && *line != '\n'; line = skip_blanks(line)) {
		size_t n = strcspn(line, ";\n");

		if (n > key && strncmp(line, domain, key) == 0)
			return is_same_value(line + key, n - key, domain + key, len - key);
		line += n;
		line += *line == ';';
	}
	return false;
}

/* The rest of the line of resource "L3:", or NULL. */
static const char *find_line(const char *text, const char *name, size_t len)
{
	while (*text) {
		text = skip_blanks(text);
		if (strncmp(text, name, len) == 0)
			return text + len;
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return NULL;
}

static bool is_in(const char *text, const char *schema)
{
	const char *colon = strchr(schema, ':'), *line;

	line = colon ? find_line(text, schema, (size_t)(colon - schema) + 1) : NULL;
	if (!line)
		return false;
	for (const char *d = skip_blanks(colon + 1); *d; d = skip_blanks(d)) {
		size_t n = strcspn(d, ";");

		if (n > 0 && !has_domain(line, d, n))
			return false;
		d += n;
		d += *d == ';';
	}
	return true;
}

/* What the kernel reads back differs from what was written by zeros, order and blanks. */
static int compare(const struct oci_rdt *r, const struct oci_intel_rdt *spec, struct hk_err *err)
{
	const char *bad = NULL;
	hk_autofree char *text = NULL;
	char path[PATH_MAX + 32];
	size_t len;
	int rc;

	(void)hk_fmt(path, sizeof(path), "%s/schemata", r->group);
	rc = hk_read_file_alloc(AT_FDCWD, path, SCHEMATA_MAX, &text, &len);
	if (rc < 0)
		return fail_rdt(r, err, -rc, "read", path);
	if (spec->l3_cache_schema && !is_in(text, spec->l3_cache_schema))
		bad = spec->l3_cache_schema;
	else if (spec->mem_bw_schema && !is_in(text, spec->mem_bw_schema))
		bad = spec->mem_bw_schema;
	for (size_t i = 0; !bad && i < spec->schemata.n; i++)
		if (!is_in(text, spec->schemata.v[i]))
			bad = spec->schemata.v[i];
	return !bad ? 0
		    : hk_fail_text(err, HK_INVALID, EINVAL, "linux.intelRdt: closID \"%s\" exists, and its schemata are not \"%s\"",
			  spec->clos_id, bad);
}

/* ---- groups ---- */

static int make_group(struct oci_rdt *r, const struct oci_intel_rdt *spec, struct hk_err *err)
{
	bool is_named = spec->clos_id && *spec->clos_id;
	struct stat st;

	if (is_named && !has_schema(spec)) {
		if (stat(r->group, &st) < 0)
			return hk_fail(err, HK_INVALID, errno, "linux.intelRdt: closID \"%s\" without a schema must exist",
			    spec->clos_id);
		return 0;
	}
	if (r->fs.make(r->group, DIR_MODE) == 0) {
		r->is_group_made = true;
		r->is_group_ours = !is_named;
		return write_schemata(r, spec, err);
	}
	if (errno != EEXIST)
		return fail_rdt(r, err, errno, "make", r->group);
	return is_named ? compare(r, spec, err) : write_schemata(r, spec, err);
}

static int make_mon(struct oci_rdt *r, const char *id, struct hk_err *err)
{
	if (hk_fmt(r->mon, sizeof(r->mon), "%s/mon_groups/%s", r->group, id) < 0)
		return hk_fail(err, HK_INVALID, ENAMETOOLONG, "linux.intelRdt: %s", r->group);
	if (r->fs.make(r->mon, DIR_MODE) < 0 && errno != EEXIST) {
		int rc = fail_rdt(r, err, errno, "make", r->mon);

		r->mon[0] = '\0';
		return rc;
	}
	return 0;
}

int oci_rdt_create(const struct oci_rdt_fs *fs, const struct oci_intel_rdt *spec, const char *id, struct oci_rdt **ret,
    struct hk_err *err)
{
	const char *name = spec->clos_id && *spec->clos_id ? spec->clos_id : id;
	struct oci_rdt *r = calloc(1, sizeof(*r));
	int rc;

	if (!r || !(r->fs.root = strdup(fs->root))) {
		free(r);
		return hk_fail(err, HK_INTERNAL, ENOMEM, "linux.intelRdt");
	}
	r->fs.make = fs->make;
	r->fs.remove = fs->remove;
	rc = hk_fmt(r->group, sizeof(r->group), "%s%s%s", fs->root, *name == '/' ? "" : "/", *name == '/' ? "" : name);
	rc = rc < 0 ? hk_fail(err, HK_INVALID, ENAMETOOLONG, "linux.intelRdt") : make_group(r, spec, err);
	if (rc == 0 && spec->enable_monitoring)
		rc = make_mon(r, id, err);
	if (rc < 0) { /* nobody is in it so far */
		r->is_group_ours = r->is_group_made;
		oci_rdt_remove(r);
		oci_rdt_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int oci_rdt_enter(const struct oci_rdt *r, bool is_exec, struct hk_err *err)
{
	char pid[16];
	int rc;

	(void)hk_fmt(pid, sizeof(pid), "%d", getpid()); /* read by the kernel in the writer's pid namespace */
	rc = write_at(r, r->group, "tasks", pid, err);
	if (rc == 0 && r->mon[0])
		rc = write_at(r, r->mon, "tasks", pid, err);
	return rc == -ENOENT && is_exec ? 0 : rc;
}

void oci_rdt_remove(const struct oci_rdt *r)
{
	if (r && r->mon[0])
		(void)r->fs.remove(r->mon);
	if (r && r->is_group_ours)
		(void)r->fs.remove(r->group);
}

void oci_rdt_free(struct oci_rdt *r)
{
	if (!r)
		return;
	free((void *)(uintptr_t)r->fs.root);
	free(r);
}

void oci_rdt_save(const struct oci_rdt *r, struct hk_record *to)
{
	if (!r)
		return;
	hk_record_begin(to, "rdt");
	hk_record_str(to, "root", r->fs.root);
	hk_record_str(to, "group", r->group);
	hk_record_str(to, "mon", r->mon);
	hk_record_bool(to, "is_group_made", r->is_group_made);
	hk_record_bool(to, "is_group_ours", r->is_group_ours);
	hk_record_end(to);
}

int oci_rdt_load(const struct hk_value *from, struct oci_rdt **ret)
{
	struct oci_rdt *r = from ? calloc(1, sizeof(*r)) : NULL;

	if (!from)
		return 0;
	if (!r)
		return -ENOMEM;
	r->fs = (struct oci_rdt_fs){ .root = strdup(hk_value_str(from, "root")), .make = mkdir, .remove = rmdir };
	if (!r->fs.root)
		return -ENOMEM;
	if (hk_fmt(r->group, sizeof(r->group), "%s", hk_value_str(from, "group")) < 0 ||
	    hk_fmt(r->mon, sizeof(r->mon), "%s", hk_value_str_or(from, "mon", "")) < 0)
		hk_value_wrong(from, "group", "is too long");
	r->is_group_made = hk_value_bool(from, "is_group_made");
	r->is_group_ours = hk_value_bool(from, "is_group_ours");
	*ret = r;
	return 0;
}

/* Which class it had nobody remembers: its monitoring group may be in any. */
void oci_rdt_cleanup(const struct oci_rdt_fs *fs, const char *id)
{
	hk_autodir d = opendir(fs->root);
	char path[PATH_MAX];

	if (!hk_is_valid_id(id))
		return;
	if (hk_fmt(path, sizeof(path), "%s/mon_groups/%s", fs->root, id) >= 0)
		(void)fs->remove(path);
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		if (e->d_name[0] != '.' && hk_fmt(path, sizeof(path), "%s/%s/mon_groups/%s", fs->root, e->d_name, id) >= 0)
			(void)fs->remove(path);
	if (hk_fmt(path, sizeof(path), "%s/%s", fs->root, id) >= 0)
		(void)fs->remove(path);
}
