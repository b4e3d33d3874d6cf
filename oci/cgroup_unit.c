/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_unit.c — slice:prefix:name in, the names of systemd's unit and of its cgroup out. systemd.slice(5) and systemd.unit(5) have the
 * rules: a slice's place follows from its name, each dash being one level.
 */
#include "oci/cgroup_unit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"

#define SLICE_SUFFIX ".slice"
#define ROOT_SLICE "-.slice"
#define DEFAULT_SLICE "system.slice"
enum { UNIT_NAME_MAX = 255 };

bool cg_is_unit_form(const char *p)
{
	const char *first = strchr(p, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;

	return p[0] != '/' && second && !strchr(second + 1, ':');
}

static bool is_unit_name(const char *s)
{
	static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\";
	size_t len = strlen(s);

	return len > 0 && len <= UNIT_NAME_MAX && strspn(s, valid) == len;
}

int cg_slice_path(const char *slice, char *buf)
{
	size_t len = strlen(slice), stem, at = 0;

	buf[0] = '\0';
	if (strcmp(slice, ROOT_SLICE) == 0)
		return 0;
	if (!is_unit_name(slice) || !hk_has_suffix(slice, SLICE_SUFFIX) || len == strlen(SLICE_SUFFIX))
		return -EINVAL;
	stem = len - strlen(SLICE_SUFFIX);
	/* Dots before the suffix could only be meant as another type of unit; an empty level is no name. */
	if (memchr(slice, '.', stem) || slice[0] == '-' || slice[stem - 1] == '-' || strstr(slice, "--"))
		return -EINVAL;
	for (size_t i = 1; i <= stem; i++) {
		int n;

		if (i < stem && slice[i] != '-')
			continue;
		n = hk_fmt(buf + at, PATH_MAX - at, "/%.*s" SLICE_SUFFIX, (int)i, slice);
		if (n < 0)
			return -EINVAL;
		at += (size_t)n;
	}
	return 0;
}

static int bad(struct hk_err *err, const char *cgroups_path, const char *why)
{
	return hk_fail_text(err, HK_INVALID, EINVAL, "cgroupsPath \"%.300s\": %s", cgroups_path, why);
}

/* name.slice is a slice that holds the container itself; anything else becomes a scope, named as runc names it. */
static int make_names(const char *slice, const char *prefix, const char *name, struct cg_unit *ret)
{
	const char *home = strcmp(slice, "-") == 0 ? ROOT_SLICE : *slice ? slice : DEFAULT_SLICE;
	int r;

	ret->slice = strdup(home);
	if (hk_has_suffix(name, SLICE_SUFFIX))
		r = asprintf(&ret->name, "%s", name);
	else
		r = asprintf(&ret->name, "%s%s%s.scope", prefix, *prefix ? "-" : "", name);
	if (r < 0)
		ret->name = NULL;
	return ret->slice && ret->name ? 0 : -ENOMEM;
}

static int make_path(const struct cg_unit *u, const char *cgroups_path, char **ret, struct hk_err *err)
{
	char dir[PATH_MAX];
	char *path = NULL;
	int r;

	if (!is_unit_name(u->name))
		return bad(err, cgroups_path, "prefix and name do not make a unit name of systemd");
	if (cg_slice_path(u->slice, dir) < 0)
		return bad(err, cgroups_path, "the part before the first colon is no slice");
	if (hk_has_suffix(u->name, SLICE_SUFFIX)) {
		if (cg_slice_path(u->name, dir) < 0 || !*dir)
			return bad(err, cgroups_path, "the part after the last colon is no slice");
		r = asprintf(&path, "%s", dir);
	} else {
		r = asprintf(&path, "%s/%s", dir, u->name);
	}
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "cgroupsPath");
	*ret = path;
	return 0;
}

int cg_unit_parse(const char *cgroups_path, struct cg_unit *ret, char **ret_path, struct hk_err *err)
{
	hk_auto(cg_unit_done) struct cg_unit u = { 0 };
	hk_autofree char *slice = strdup(cgroups_path);
	char *prefix, *name;
	int r;

	if (!slice)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "cgroupsPath");
	prefix = strchr(slice, ':');
	*prefix++ = '\0';
	name = strchr(prefix, ':');
	*name++ = '\0';
	if (!*name)
		return bad(err, cgroups_path, "there is no name after the last colon");
	r = make_names(slice, prefix, name, &u);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "cgroupsPath");
	r = make_path(&u, cgroups_path, ret_path, err);
	if (r == 0 && ret) {
		*ret = u;
		u = (struct cg_unit){ 0 }; /* moved out */
	}
	return r;
}

bool cg_is_unit_path(const char *path)
{
	char dir[PATH_MAX], wanted[PATH_MAX];
	const char *name = strrchr(path, '/'), *slice;

	if (!name || !is_unit_name(name + 1) || hk_fmt(dir, sizeof(dir), "%.*s", (int)(name - path), path) < 0)
		return false;
	if (hk_has_suffix(name, SLICE_SUFFIX))
		return cg_slice_path(name + 1, wanted) == 0 && strcmp(path, wanted) == 0;
	slice = strrchr(dir, '/');
	return hk_has_suffix(name, ".scope") && cg_slice_path(slice ? slice + 1 : ROOT_SLICE, wanted) == 0 && strcmp(dir, wanted) == 0;
}

void cg_unit_done(struct cg_unit *u)
{
	free(u->name);
	free(u->slice);
	*u = (struct cg_unit){ 0 };
}
