/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_procs.c — the processes of a container's cgroup: listed, frozen, signalled; and its statistics. A process is the container's
 * when any hierarchy says so.
 */
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

static int collect(const struct oci_cgroup *cg, struct cg_pids *pids)
{
	for (size_t i = 0; i < cg->host->n; i++) {
		hk_autofd fd = cg_open_leaf(&cg->host->h[i], cg->path);
		int r = fd < 0 ? fd : cg_tree_pids(fd, pids);

		if (r < 0 && !is_gone(r))
			return r;
	}
	cg_pids_sort(pids);
	return 0;
}

int oci_cgroup_pids(const struct oci_cgroup *cg, pid_t **ret, size_t *ret_n)
{
	hk_auto(cg_pids_done) struct cg_pids pids = { 0 };
	int r = collect(cg, &pids);

	if (r < 0)
		return r;
	*ret_n = pids.n;
	*ret = hk_take_ptr(pids.v);
	return 0;
}

bool oci_cgroup_is_empty(const struct oci_cgroup *cg)
{
	for (size_t i = 0; i < cg->host->n; i++) {
		const struct cg_hier *h = &cg->host->h[i];
		hk_autofd fd = cg_open_leaf(h, cg->path);
		int r = fd < 0 ? fd : cg_tree_populated(fd, h->is_v2);

		if (r != 0 && !is_gone(r))
			return false; /* also when it cannot be told */
	}
	return true;
}

/* Where freezing is done: v1's freezer, or v2's own file where there is none. */
static bool freezer_dir(const struct oci_cgroup *cg, struct cg_dir *ret, bool *ret_is_v1)
{
	const struct cg_hier *h = cg_host_find(cg->host, CG_FREEZER);

	*ret_is_v1 = h != NULL;
	if (!h)
		h = cg_host_v2(cg->host);
	cg_dir_init(ret, h, cg->path);
	return h != NULL;
}

static int write_frozen(const struct oci_cgroup *cg, bool frozen, struct hk_err *err)
{
	struct cg_dir d;
	bool is_v1;
	int r;

	if (!freezer_dir(cg, &d, &is_v1))
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "this host has no cgroup freezer");
	if (is_v1)
		r = cg_write(&d, "freezer.state", frozen ? "FROZEN" : "THAWED", err);
	else
		r = cg_write(&d, "cgroup.freeze", frozen ? "1" : "0", err);
	cg_dir_done(&d);
	return r;
}

int oci_cgroup_freezer_path(const struct oci_cgroup *cg, char *buf)
{
	const struct cg_hier *h = cg_host_find(cg->host, CG_FREEZER);

	if (!h)
		h = cg_host_v2(cg->host);
	return h ? cg_abs(h, cg->path, buf) : -ENOENT;
}

int oci_cgroup_freeze(struct oci_cgroup *cg, bool frozen, struct hk_err *err)
{
	return write_frozen(cg, frozen, err);
}

/* self_freezing: an ancestor's freeze is not this container's pause. */
static int frozen_v1(struct cg_dir *d)
{
	char state[32];
	uint64_t self;
	ssize_t n;
	int r = cg_read_u64(d, "freezer.self_freezing", &self);

	if (r < 0 || self == 0)
		return r;
	n = cg_read(d, "freezer.state", state, sizeof(state));
	if (n < 0)
		return (int)n;
	if (strcmp(state, "FROZEN") == 0)
		return 1;
	/* A task that was between states when the order came is only caught by giving it again. */
	(void)cg_dir_write(d, "freezer.state", "FROZEN");
	return 0;
}

static int frozen_v2(struct cg_dir *d)
{
	char events[256];
	uint64_t v = 0;
	ssize_t n;
	int r = cg_read_u64(d, "cgroup.freeze", &v);

	if (r < 0 || v == 0)
		return r;
	n = cg_read(d, "cgroup.events", events, sizeof(events));
	if (n < 0)
		return (int)n;
	return hk_flat_key_u64(events, "frozen", &v) && v != 0;
}

int oci_cgroup_frozen(const struct oci_cgroup *cg)
{
	struct cg_dir d;
	bool is_v1;
	int r;

	if (!freezer_dir(cg, &d, &is_v1))
		return 0;
	r = is_v1 ? frozen_v1(&d) : frozen_v2(&d);
	cg_dir_done(&d);
	return r;
}

static int signal_each(const struct oci_cgroup *cg, int sig, struct hk_err *err)
{
	hk_auto(cg_pids_done) struct cg_pids pids = { 0 };
	int r = collect(cg, &pids), first = 0;

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "list the processes of cgroup %s", cg->path);
	for (size_t i = 0; i < pids.n; i++) {
		if (pids.v[i] != getpid() && kill(pids.v[i], sig) < 0 && errno != ESRCH && first == 0)
			first = errno;
	}
	return first ? hk_fail(err, HK_INTERNAL, first, "signal the processes of cgroup %s", cg->path) : 0;
}

/* cgroup.kill (5.14) gets every process at once, forking or frozen. */
static bool kill_by_v2(const struct oci_cgroup *cg)
{
	struct cg_dir d;
	int r;

	if (!cg_host_v2(cg->host))
		return false;
	cg_dir_init(&d, cg_host_v2(cg->host), cg->path);
	r = cg_dir_write(&d, "cgroup.kill", "1");
	cg_dir_done(&d);
	return r == 0;
}

int oci_cgroup_signal_all(struct oci_cgroup *cg, int sig, struct hk_err *err)
{
	bool is_killed;
	int r;

	if (sig != SIGKILL)
		return signal_each(cg, sig, err);
	is_killed = kill_by_v2(cg);
	if (is_killed && cg->host->mode == OCI_CGROUP_UNIFIED)
		return 0;
	/* Frozen, nobody forks between the listing and the signal, and no pid is reused. Best effort: without a freezer it takes rounds. */
	if (!is_killed)
		(void)write_frozen(cg, true, NULL);
	r = signal_each(cg, SIGKILL, err);
	/* v1 delivers SIGKILL only to the thawed; this also ends a pause. */
	(void)write_frozen(cg, false, NULL);
	return r;
}

static int stats_of(const struct oci_cgroup *cg, enum cg_ctl ctl, struct oci_stats *s, bool *ret_has_any)
{
	const struct cg_hier *h = cg_host_find(cg->host, ctl);
	hk_autofd fd = h ? cg_open_leaf(h, cg->path) : -1;

	if (fd < 0)
		return 0;
	*ret_has_any = true;
	if (ctl == CG_HUGETLB)
		return cg_stats_hugetlb(fd, h->is_v2, "/sys/kernel/mm/hugepages", s);
	if (ctl == CG_RDMA)
		return cg_stats_rdma(fd, s);
	return h->is_v2 ? 0 : cg_stats_v1(ctl, fd, s);
}

int oci_cgroup_stats(const struct oci_cgroup *cg, struct oci_stats *ret, struct hk_err *err)
{
	hk_auto(oci_stats_done) struct oci_stats s = { .is_v1 = cg->host->mode != OCI_CGROUP_UNIFIED };
	bool has_any = false;
	int r = 0;

	if (!s.is_v1) {
		hk_autofd fd = cg_open_leaf(cg_host_v2(cg->host), cg->path);

		has_any = fd >= 0;
		r = fd < 0 ? 0 : cg_stats_v2(fd, &s);
	}
	for (unsigned int ctl = 0; r == 0 && ctl < CG_N_CTLS; ctl++) {
		if (ctl == CG_HUGETLB || ctl == CG_RDMA || s.is_v1)
			r = stats_of(cg, (enum cg_ctl)ctl, &s, &has_any);
	}
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read the statistics of cgroup %s", cg->path);
	if (!has_any)
		return hk_fail_text(err, HK_NOT_FOUND, ENOENT, "cgroup %s does not exist", cg->path);
	*ret = s;
	s = (struct oci_stats){ 0 }; /* moved out */
	return 0;
}
