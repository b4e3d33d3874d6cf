/* SPDX-License-Identifier: Apache-2.0 */
/* oci/cgroup_shim.c — see cgroup_shim.h. */
#include "oci/cgroup_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/spec.h"

#define LEAF "husk-shim-"
enum { COUNTED = CG_BIT(CG_MEMORY) | CG_BIT(CG_CPU) | CG_BIT(CG_CPUACCT) | CG_BIT(CG_PIDS), PROC_FILE = 16384 };

static void free_cgroup(struct oci_cgroup **cg)
{
	oci_cgroup_free(*cg);
}

int oci_shim_cgroup_path(const char *bundle, const char *group, char *buf, size_t size, struct hk_err *err)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	hk_auto(free_cgroup) struct oci_cgroup *cg = NULL;
	const char *text = NULL, *path, *slash;
	int r = oci_cgroups_path_read(bundle, &arena, &text, err);

	if (r < 0)
		return r;
	if (!text)
		return hk_fail_text(err, HK_INVALID, EINVAL, "ShimCgroup \"pod\": %.200s has no linux.cgroupsPath in its config.json", bundle);
	r = oci_cgroup_open(text, group, &cg, err);
	if (r < 0)
		return r;
	path = oci_cgroup_path(cg);
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return hk_fail_text(err, HK_INVALID, EINVAL, "ShimCgroup \"pod\": there is no cgroup above %.200s", path);
	r = hk_fmt(buf, size, "%.*s/" LEAF "%s", (int)(slash - path), path, group);
	return r < 0 ? hk_fail(err, HK_INVALID, -r, "ShimCgroup \"pod\"") : 0;
}

int oci_shim_cgroup_in(const char *pod, const char *group, char *buf, size_t size, struct hk_err *err)
{
	hk_auto(free_cgroup) struct oci_cgroup *cg = NULL;
	int r = pod[0] ? oci_cgroup_open(pod, group, &cg, err) : hk_fail_text(err, HK_INVALID, EINVAL, "ShimCgroup \"pod\": the pod has no cgroup");

	if (r < 0)
		return r;
	r = hk_fmt(buf, size, "%s/" LEAF "%s", oci_cgroup_path(cg), group);
	return r < 0 ? hk_fail(err, HK_INVALID, -r, "ShimCgroup \"pod\"") : 0;
}

static bool counts(const struct cg_host *host, const struct cg_hier *h)
{
	return h->is_v2 ? host->mode == OCI_CGROUP_UNIFIED : (h->ctls & COUNTED) != 0;
}

static int move(const struct cg_hier *h, const char *path)
{
	hk_autofd fd = cg_open_leaf(h, path);

	return fd < 0 ? fd : hk_write_file_at(fd, "cgroup.procs", "0");
}

int oci_shim_cgroup_enter(const char *path, struct hk_err *err)
{
	const struct cg_host *host = cg_host_get();
	int r = host ? 0 : -errno;

	for (size_t i = 0; r == 0 && i < host->n; i++) {
		const struct cg_hier *h = &host->h[i];
		size_t kept;

		if (!counts(host, h))
			continue;
		r = cg_tree_make(h, path, &kept);
		if (r == 0 || r == -EEXIST)
			r = move(h, path);
	}
	if (r == 0)
		return 0;
	oci_shim_cgroup_leave(path);
	return hk_fail(err, HK_INTERNAL, -r, "put the shim into cgroup %s", path);
}

bool oci_shim_cgroup_find(const char *group, char *buf, size_t size)
{
	hk_autofree char *text = NULL;
	char leaf[PATH_MAX];
	size_t len;

	if (hk_fmt(leaf, sizeof(leaf), "/" LEAF "%s", group) < 0 ||
	    hk_read_file_alloc(AT_FDCWD, "/proc/self/cgroup", PROC_FILE, &text, &len) < 0)
		return false;
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = strchr(line, '/');

		if (path && hk_has_suffix(path, leaf))
			return hk_fmt(buf, size, "%s", path) >= 0;
	}
	return false;
}

void oci_shim_cgroup_leave(const char *path)
{
	const struct cg_host *host = cg_host_get();

	for (size_t i = 0; host && i < host->n; i++) {
		const struct cg_hier *h = &host->h[i];

		if (!counts(host, h))
			continue;
		(void)move(h, "");
		if (cg_tree_remove(h, path) == 0)
			cg_tree_remove_parents(h, path);
	}
}
