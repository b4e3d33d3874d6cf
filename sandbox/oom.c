/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/oom.c — watches the oom_kill counter of a container's cgroup. It is compared with what it was when the watch began, so a cgroup's
 * past is not told again; kills that come together are told once. Where systemd may remove the cgroup first, see oom_slice.c.
 */
#include <errno.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "sandbox/pod.h"

enum { AGAIN_MS = 20 };

int oom_look_own(struct sbx_container *c, uint64_t *grown)
{
	uint64_t now;
	int r = oci_cgroup_oom_kills(oci_container_cgroup(c->oci), &now);

	if (r < 0 || now <= c->oom_kills)
		return r;
	*grown += now - c->oom_kills;
	c->oom_kills = now;
	pod_tell(c, SBX_EV_OOM, &c->init);
	return 0;
}

void oom_look(struct sbx_container *c)
{
	uint64_t grown = 0;

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
	const uint64_t before = c->oom_kills;
	char text[512];
	const ssize_t n = is_v2 ? pread(c->oom_fd, text, sizeof(text), 0) : read(c->oom_fd, text, sizeof(uint64_t));
	const bool is_gone = n < 0 && errno != EAGAIN && errno != EINTR; /* ENODEV */

	(void)events;
	if (is_gone)
		hk_source_del(c->pod->loop, &c->oom_src);
	oom_look(c);
	if (is_gone)
		return;
	if (!is_v2 && c->oom_kills == before) /* v1 tells before it kills: the counter may be a moment behind */
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

	if (!cg || oci_cgroup_oom_kills(cg, &c->oom_kills) < 0)
		return; /* no memory controller: nothing to watch */
	c->is_oom_watched = true;
	oom_slice_join(c);
	if (oci_cgroup_oom_open(cg, &c->oom_fd, &events) < 0)
		c->oom_fd = -1; /* the look at the exit remains */
	else if (hk_source_add(c->pod->loop, &c->oom_src, c->oom_fd, events) < 0)
		c->oom_fd = hk_close(c->oom_fd);
}

void oom_unwatch(struct sbx_container *c)
{
	hk_source_del(c->pod->loop, &c->oom_src);
	hk_timer_cancel(&c->oom_timer);
	c->oom_fd = hk_close(c->oom_fd);
	c->is_oom_watched = false;
	oom_slice_leave(c);
}
