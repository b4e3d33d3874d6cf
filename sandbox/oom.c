/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/oom.c — watches the oom_kill counter of a container's cgroup. It is compared with what it was when the watch began, so a cgroup's
 * past is not told again; kills that come together are told once. Where systemd may remove the cgroup first, see oom_slice.c; whose
 * limit it was, oom_level.c.
 */
#include "oci/base/auto.h"
#include "sandbox/pod.h"

enum { AGAIN_MS = 20 };

void oom_tell(struct sbx_container *c)
{
	oom_level_judge(c);
	pod_tell(c, SBX_EV_OOM, &c->init);
}

/* v1's word that its limit, or one above, was hit: before the kill. */
static int hear(struct sbx_container *c)
{
	const int r = oci_cgroup_limit_hits(c->oom_fd, EPOLLIN, &c->oom_heard);

	oom_level_heard(c, c->oom_heard);
	return r;
}

int oom_look_own(struct sbx_container *c, struct oci_oom *grown)
{
	struct oci_oom now;
	bool is_killed;
	int r = oci_cgroup_oom_count(oci_container_cgroup(c->oci), &now);

	if (r < 0)
		return r;
	if (now.hits > c->oom.hits)
		oom_level_heard(c, now.hits);
	is_killed = now.kills > c->oom.kills;
	grown->kills += now.kills - c->oom.kills;
	grown->hits += now.hits - c->oom.hits;
	c->oom = now;
	if (is_killed) {
		if (c->oom_fd >= 0 && (c->oom_src.events & EPOLLIN))
			(void)hear(c);
		oom_tell(c);
	}
	return 0;
}

void oom_look(struct sbx_container *c)
{
	struct oci_oom grown = { 0 };

	if (c->oom_slice)
		oom_slice_settle(c->oom_slice);
	else if (c->is_oom_watched)
		(void)oom_look_own(c, &grown);
}

/* An event is what makes memory.events or the eventfd quiet again, so it is read even though only the counter counts. */
static void on_event(void *owner, uint32_t events)
{
	struct sbx_container *c = owner;
	const bool is_v2 = c->oom_src.events & EPOLLPRI;
	const uint64_t before = c->oom.kills;
	uint64_t hits;
	const bool is_gone = (is_v2 ? oci_cgroup_limit_hits(c->oom_fd, EPOLLPRI, &hits) : hear(c)) < 0;

	(void)events;
	if (is_gone)
		hk_source_del(c->pod->loop, &c->oom_src);
	oom_look(c);
	if (is_gone)
		return;
	if (!is_v2 && c->oom.kills == before) /* v1 tells before it kills: the counter may be a moment behind */
		hk_timer_set(c->pod->loop, &c->oom_timer, AGAIN_MS);
}

static void on_again(void *owner)
{
	oom_look(owner);
}

void oom_init(struct sbx_container *c)
{
	c->oom_fd = -1;
	hk_source_init(&c->oom_src, HK_PASS_IO, on_event, c);
	hk_timer_init(&c->oom_timer, on_again, c);
}

void oom_watch(struct sbx_container *c)
{
	const struct oci_cgroup *cg = oci_container_cgroup(c->oci);
	uint32_t events;

	if (!cg || oci_cgroup_oom_count(cg, &c->oom) < 0)
		return; /* no memory controller: nothing to watch */
	c->is_oom_watched = true;
	if (oci_cgroup_oom_open(cg, &c->oom_fd, &events) < 0)
		c->oom_fd = -1; /* the look at the exit remains */
	else if (hk_source_add(c->pod->loop, &c->oom_src, c->oom_fd, events) < 0)
		c->oom_fd = hk_close(c->oom_fd);
	oom_level_join(c);
	oom_slice_join(c);
}

void oom_unwatch(struct sbx_container *c)
{
	hk_source_del(c->pod->loop, &c->oom_src);
	hk_timer_cancel(&c->oom_timer);
	c->oom_fd = hk_close(c->oom_fd);
	c->is_oom_watched = false;
	oom_level_leave(c);
	oom_slice_leave(c);
}
