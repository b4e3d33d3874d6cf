/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_sub.c — a cgroup inside a container's for one exec and all that it starts, so that they can be ended together. It has no
 * controllers of its own: limits and counters stay the container's. On v2 that is a child cgroup, on v1 one of the freezer's hierarchy
 * alone: being frozen, listed and killed is all it is for.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/cgroup_priv.h"

static const struct cg_hier *hierarchy(const struct oci_cgroup *cg)
{
	const struct cg_hier *freezer = cg_host_find(cg->host, CG_FREEZER);

	return freezer ? freezer : cg_host_v2(cg->host);
}

static int path_of(const struct oci_cgroup *cg, const char *name, char *buf)
{
	int r = hk_is_valid_id(name) ? hk_fmt(buf, PATH_MAX, "%s/husk-exec-%s", cg->path, name) : -EINVAL;

	return r < 0 ? r : 0;
}

int oci_cgroup_sub_make(const struct oci_cgroup *cg, const char *name, int *ret_fd, struct hk_err *err)
{
	const struct cg_hier *h = hierarchy(cg);
	char path[PATH_MAX], abs[PATH_MAX];
	int fd, r;

	if (!h)
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "this host has neither cgroup v2 nor v1's freezer");
	r = path_of(cg, name, path);
	if (r == 0)
		r = cg_abs(h, path, abs);
	/* One that is there is of an earlier exec of this name, whose processes would not die. */
	if (r == 0 && mkdir(abs, 0755) < 0 && errno != EEXIST)
		r = -errno;
	fd = r < 0 ? r : cg_open_leaf(h, path);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, -fd, "make cgroup %s%s/husk-exec-%s", h->mount, cg->path, name);
	*ret_fd = fd;
	return 0;
}

static void freeze(int dirfd, bool is_v2, bool frozen)
{
	if (is_v2)
		(void)hk_write_file_at(dirfd, "cgroup.freeze", frozen ? "1" : "0");
	else
		(void)hk_write_file_at(dirfd, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

/* Frozen, nobody forks between the listing and the signal, and no pid is reused. */
static void kill_all(int dirfd, bool is_v2)
{
	hk_auto(cg_pids_done) struct cg_pids pids = { 0 };

	if (is_v2 && hk_write_file_at(dirfd, "cgroup.kill", "1") == 0)
		return;
	freeze(dirfd, is_v2, true);
	if (cg_tree_pids(dirfd, &pids) == 0)
		for (size_t i = 0; i < pids.n; i++)
			(void)kill(pids.v[i], SIGKILL);
	freeze(dirfd, is_v2, false);
}

int oci_cgroup_sub_end(const struct oci_cgroup *cg, const char *name)
{
	const struct cg_hier *h = hierarchy(cg);
	char path[PATH_MAX];
	hk_autofd fd = -1;
	int r = h ? path_of(cg, name, path) : -ENOENT;

	if (r == 0)
		fd = cg_open_leaf(h, path);
	if (fd < 0)
		return 0; /* there is none */
	if (cg_tree_populated(fd, h->is_v2) != 0)
		kill_all(fd, h->is_v2);
	r = cg_tree_populated(fd, h->is_v2);
	return r == 0 ? cg_tree_remove(h, path) : r < 0 ? r : -EBUSY;
}
