/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/validate_mounts.c — rules of mounts: options, id mappings, and what may lie over /proc.
 * A mount over a file of /proc can lie to the engine's own writes and hide what masked paths protect (CVE-2019-16884,
 * CVE-2019-19921), so only whole proc file systems and the files lxcfs imitates are let through.
 */
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/mount_opts.h"
#include "oci/parse.h"
#include "oci/validate.h"

/* "/a/./b//../c" to "/a/c". False when it does not fit. */
static bool clean_path(const char *path, char *out, size_t size)
{
	size_t len = 0;

	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			if (len + n + 2 > size)
				return false;
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return true;
}

/* Is the path the root of a proc file system, all of it? */
static bool is_procfs_root(const char *path)
{
	enum { PROC_ROOT_INO = 1 };
	struct statfs fs;
	struct stat st;

	return path && path[0] == '/' && statfs(path, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC &&
	       stat(path, &st) == 0 && st.st_ino == PROC_ROOT_INO;
}

int oci_mount_check_proc(const char *destination, const struct oci_mount *m, struct hk_err *err)
{
	static const char *const allowed[] = {
		"cpuinfo",
		"diskstats",
		"loadavg",
		"meminfo",
		"slabinfo",
		"stat",
		"swaps",
		"sys/crypto/fips_enabled",
		"sys/kernel/ns_last_pid",
		"uptime",
	};
	char path[PATH_MAX];
	const char *below;

	if (!clean_path(destination, path, sizeof(path)))
		return hk_fail_text(err, HK_INVALID, EINVAL, "path is too long");
	if (!hk_has_prefix(path, "/proc"))
		return 0;
	below = path + strlen("/proc");
	if (*below == '\0') {
		if (hk_streq(m->type, "proc") || is_procfs_root(m->source))
			return 0;
		return hk_fail_text(err, HK_INVALID, EINVAL, "only a proc file system may be mounted on /proc");
	}
	if (*below != '/')
		return 0;
	for (size_t i = 0; i < HK_ARRAY_SIZE(allowed); i++) {
		if (strcmp(below + 1, allowed[i]) == 0)
			return 0;
	}
	return hk_fail_text(err, HK_INVALID, EINVAL, "%.200s: inside /proc", path);
}

/*
 * "idmap" without mappings means the container's own; mappings without it are a request all the same (CRI sends them
 * so).
 */
static int check_idmap(
    const struct oci_spec *s, const struct oci_mount *m, const struct oci_mount_flags *f, struct hk_err *err)
{
	if ((m->uid_mappings.n > 0) != (m->gid_mappings.n > 0))
		return hk_fail_text(err, HK_INVALID, EINVAL, "uidMappings and gidMappings need each other");
	if (f->idmap && m->uid_mappings.n == 0 && !s->ns[OCI_NS_USER].is_set)
		return hk_fail_text(err, HK_INVALID, EINVAL, "option idmap needs mappings or the user namespace");
	return 0;
}

static int check_mount(
    const struct oci_spec *s, const struct oci_mount *m, struct hk_arena *scratch, struct hk_err *err)
{
	struct oci_mount_flags flags;
	char path[PATH_MAX];
	int r;

	if (!clean_path(m->destination, path, sizeof(path)))
		return hk_fail_text(err, HK_INVALID, EINVAL, "destination is too long");
	if (strcmp(path, "/") == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "destination is the root of the container");
	r = oci_mount_opts_parse(m->type, &m->options, scratch, &flags, err);
	if (r < 0)
		return r;
	if (flags.bind && !m->source)
		return hk_fail_text(err, HK_INVALID, EINVAL, "a bind mount needs a source");
	if (!flags.bind && !flags.remount && !m->type)
		return hk_fail_text(err, HK_INVALID, EINVAL, "type is missing");
	r = check_idmap(s, m, &flags, err);
	return r < 0 ? r : oci_mount_check_proc(path, m, err);
}

int oci_validate_mounts(const struct oci_spec *s, struct hk_err *err)
{
	hk_auto(hk_arena_done) struct hk_arena scratch = { .limit_bytes = OCI_JSON_ARENA_BYTES };

	for (size_t i = 0; i < s->n_mounts; i++) {
		if (check_mount(s, &s->mounts[i], &scratch, err) < 0)
			return hk_wrap(err, "mounts[%zu] on %.200s", i, s->mounts[i].destination);
	}
	return 0;
}
