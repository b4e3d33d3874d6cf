/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_path.c — linux.cgroupsPath in, one clean absolute path out, the same below each hierarchy's mount point.
 * A relative path is taken below husk's own base: the shim's own cgroup differs between hierarchies and with how containerd was started.
 */
#include "oci/cgroup_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"

/* Appends the components of `p` to out, which never gets shorter than `floor`. */
static int append_clean(char *out, size_t floor, const char *p)
{
	size_t len = strlen(out);

	while (*(p += strspn(p, "/"))) {
		size_t n = strcspn(p, "/");

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			if (len <= floor)
				return -EINVAL;
			while (out[--len] != '/')
				;
			out[len] = '\0';
		} else if (!(n == 1 && p[0] == '.')) {
			if (n > NAME_MAX || len + 1 + n >= PATH_MAX - 256)
				return -ENAMETOOLONG;
			out[len++] = '/';
			memcpy(out + len, p, n);
			len += n;
			out[len] = '\0';
		}
		p += n;
	}
	return len > floor ? 0 : -EISDIR;
}

int cg_resolve_path(const char *cgroups_path, const char *id, char **ret, struct hk_err *err)
{
	char out[PATH_MAX] = "";
	const char *p = cgroups_path && *cgroups_path ? cgroups_path : id;
	size_t floor = 0;
	char *copy;
	int r;

	if (cgroups_path && cg_is_unit_form(cgroups_path))
		return cg_unit_parse(cgroups_path, NULL, ret, err);
	if (strchr(p, '\n')) /* would break /proc/PID/cgroup; the kernel refuses it too */
		return hk_fail_text(err, HK_INVALID, EINVAL, "cgroupsPath has a line break");
	if (p[0] != '/' || p == id) {
		floor = strlen(CG_DEFAULT_BASE);
		memcpy(out, CG_DEFAULT_BASE, floor + 1);
	}
	r = append_clean(out, floor, p);
	if (r == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "cgroupsPath \"%s\" leaves the cgroup root by \"..\"", p);
	if (r == -EISDIR)
		return hk_fail_text(err, HK_INVALID, EINVAL, "cgroupsPath \"%s\" names no cgroup below the root", p);
	if (r < 0)
		return hk_fail_text(err, HK_INVALID, -r, "cgroupsPath is too long");
	copy = strdup(out);
	if (!copy)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "cgroupsPath");
	*ret = copy;
	return 0;
}
