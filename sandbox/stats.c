/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/stats.c — Task.Stats. After the exit it must go on: containerd asks for oom_kill then to tell why a container ended. A cgroup of our
 * own stays until Delete; systemd removes its scope with the last process, so the counters are read once more before that.
 */
#include <errno.h>
#include <stdlib.h>

#include "oci/base/err.h"
#include "sandbox/pod.h"

/* Nothing could be read any more: what the OOM watch knows is still true. */
static void fill_from_watch(const struct sbx_container *c, struct oci_stats *s)
{
	if (s->is_v1)
		return;
	s->v2.has_memory_events = true;
	if (s->v2.memory_events.oom_kill < c->oom.kills)
		s->v2.memory_events.oom_kill = c->oom.kills;
}

void stats_keep(struct sbx_container *c)
{
	struct oci_cgroup *cg = oci_container_cgroup(c->oci);

	if (c->stats || !oci_cgroup_is_unit(cg))
		return;
	c->stats = calloc(1, sizeof(*c->stats));
	if (c->stats && oci_cgroup_stats(cg, c->stats, NULL) < 0)
		*c->stats = (struct oci_stats){ 0 };
}

void stats_drop(struct sbx_container *c)
{
	if (c->stats)
		oci_stats_done(c->stats);
	free(c->stats);
	c->stats = NULL;
}

int sbx_stats(struct sbx_pod *p, const char *id, struct oci_stats *buf, const struct oci_stats **ret, struct hk_err *err)
{
	struct sbx_container *c = pod_find(p, id, err);
	int r;

	if (!c)
		return -ENOENT;
	if (c->stats) { /* it has ended */
		fill_from_watch(c, c->stats);
		*ret = c->stats;
		return 0;
	}
	r = oci_cgroup_stats(oci_container_cgroup(c->oci), buf, err);
	if (r < 0)
		return r;
	if (c->init.state < PROC_DEAD)
		(void)oci_container_net_stats(c->oci, buf); /* its processes may be gone this very moment */
	*ret = buf;
	return 0;
}
