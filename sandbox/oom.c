/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/oom.c — watches the oom_kill counter of a container's cgroup. It is compared with what it was when the watch began, so a cgroup's
 * past is not told again; kills that come together are told once. Where systemd may remove the cgroup first, see oom_slice.c; whose
 * limit it was, oom_level.c.
 */
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/record.h"
#include "sandbox/carry_priv.h"
#include "sandbox/pod.h"

enum { AGAIN_MS = 20 };

void oom_tell(struct sbx_container *c)
{
	oom_level_judge(c);
	if (c->state != CT_CREATING) /* else it was a set-up process, whose end is the Create's error */
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

/* ---- an upgrade ---- */

/* The descriptor goes along: what it has heard and not told is in it. */
void oom_save(const struct sbx_container *c, struct hk_record *to)
{
	hk_record_begin(to, "oom");
	hk_record_bool(to, "is_watched", c->is_oom_watched);
	hk_record_bool(to, "is_lost", c->is_oom_lost);
	hk_record_bool(to, "is_sliced", c->oom_slice != NULL);
	hk_record_fd(to, "fd", c->oom_fd);
	hk_record_num(to, "events", c->oom_src.fd >= 0 ? (int64_t)c->oom_src.events : 0);
	hk_record_num(to, "kills", (int64_t)c->oom.kills);
	hk_record_num(to, "hits", (int64_t)c->oom.hits);
	hk_record_num(to, "heard", (int64_t)c->oom_heard);
	hk_record_num(to, "own", c->oom_own.n);
	hk_record_num(to, "own_last_ns", (int64_t)c->oom_own.last_ns);
	hk_record_num(to, "levels", c->n_oom_levels);
	hk_record_num(to, "limit", c->oom_limit);
	hk_record_num(to, "limit_len", (int64_t)c->oom_limit_len);
	hk_record_end(to);
}

int oom_load(struct sbx_container *c, const struct hk_value *from)
{
	const struct hk_value *v = hk_value_need(from, "oom");
	const size_t path_len = strlen(oci_cgroup_path(oci_container_cgroup(c->oci)));
	uint32_t events;

	if (!v)
		return 0;
	c->is_oom_watched = hk_value_bool(v, "is_watched");
	c->is_oom_lost = hk_value_bool(v, "is_lost");
	c->oom_fd = hk_value_fd_or(v, "fd");
	c->oom = (struct oci_oom){ .kills = (uint64_t)hk_value_num_or(v, "kills", 0), .hits = (uint64_t)hk_value_num_or(v, "hits", 0) };
	c->oom_heard = (uint64_t)hk_value_num_or(v, "heard", 0);
	c->oom_own = (struct oom_hits){ .n = hk_value_num_or(v, "own", 0), .last_ns = (uint64_t)hk_value_num_or(v, "own_last_ns", 0) };
	c->n_oom_levels = (unsigned)hk_value_num_or(v, "levels", 0);
	c->oom_limit = hk_value_num_or(v, "limit", 0) > SBX_LIMIT_NODE ? SBX_LIMIT_UNKNOWN : (enum sbx_limit)hk_value_num_or(v, "limit", 0);
	c->oom_limit_len = (size_t)hk_value_num_or(v, "limit_len", 0) > path_len ? path_len : (size_t)hk_value_num_or(v, "limit_len", 0);
	c->oom_slice = hk_value_bool(v, "is_sliced") ? oom_slice_of(c) : NULL;
	if (c->is_oom_watched)
		hk_timer_set(c->pod->loop, &c->oom_timer, 0);
	events = (uint32_t)hk_value_num_or(v, "events", 0);
	c->oom_src.events = events;
	return c->oom_fd < 0 || !events ? 0 : hk_source_add(c->pod->loop, &c->oom_src, c->oom_fd, events);
}
