/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/freeze.c — Task.Pause and Resume. The cgroup is asked once and then looked at with growing intervals: freezing takes as long as
 * the slowest system call of the container does. What does not freeze in time thaws again.
 */
#include <errno.h>

#include "oci/base/err.h"
#include "sandbox/pod.h"

enum { FREEZE_TIMEOUT_MS = 10000, LOOK_MAX_MS = 50 };

static void finish(struct sbx_container *c, enum ct_event event, const struct hk_err *err)
{
	const struct sbx_reply reply = { .pid = c->init.pid };
	struct sbx_done done = c->freeze_done;

	c->freeze_done = (struct sbx_done){ 0 };
	hk_timer_cancel(&c->freeze_timer);
	(void)ct_step(&c->state, event, NULL);
	if (err) {
		done_fail(done, err);
		return;
	}
	pod_tell(c, c->freeze_want ? SBX_EV_PAUSED : SBX_EV_RESUMED, &c->init);
	done.fn(done.arg, &reply, NULL);
}

static void look(void *owner)
{
	struct sbx_container *c = owner;
	const int r = oci_cgroup_frozen(oci_container_cgroup(c->oci));
	struct hk_err err;

	if (r == (c->freeze_want ? 1 : 0)) {
		finish(c, c->freeze_want ? CE_PAUSED : CE_RESUMED, NULL);
		return;
	}
	if (r >= 0 && hk_now_ns() < c->freeze_until_ns) {
		hk_timer_set(c->pod->loop, &c->freeze_timer, c->freeze_delay_ms);
		c->freeze_delay_ms = c->freeze_delay_ms * 2 > LOOK_MAX_MS ? LOOK_MAX_MS : c->freeze_delay_ms * 2;
		return;
	}
	if (r < 0)
		(void)hk_fail(&err, HK_INTERNAL, -r, "%s %s", c->freeze_want ? "pause" : "resume", c->id);
	else
		(void)hk_fail_text(&err, HK_DEADLINE, ETIMEDOUT, "%s %s: the cgroup did not %s within %d s",
		    c->freeze_want ? "pause" : "resume", c->id, c->freeze_want ? "freeze" : "thaw", FREEZE_TIMEOUT_MS / 1000);
	if (c->freeze_want)
		(void)oci_cgroup_freeze(oci_container_cgroup(c->oci), false, NULL);
	finish(c, c->freeze_want ? CE_PAUSE_FAILED : CE_RESUME_FAILED, &err);
}

void freeze_init(struct sbx_container *c)
{
	hk_timer_init(&c->freeze_timer, look, c);
}

static void begin(struct sbx_pod *p, const char *id, bool frozen, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_container *c = pod_find(p, id, &err);

	if (c && c->checkpointing) { /* CRIU freezes and thaws as it needs */
		(void)hk_fail_text(&err, HK_BAD_STATE, EBUSY, "cannot %s container %s while it is checkpointed", frozen ? "pause" : "resume", c->id);
		c = NULL;
	}
	if (!c || ct_step(&c->state, frozen ? CE_PAUSE : CE_RESUME, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	c->freeze_want = frozen;
	c->freeze_done = done;
	c->freeze_delay_ms = 1;
	c->freeze_until_ns = hk_now_ns() + FREEZE_TIMEOUT_MS * 1000000ULL;
	if (oci_cgroup_freeze(oci_container_cgroup(c->oci), frozen, &err) < 0)
		finish(c, frozen ? CE_PAUSE_FAILED : CE_RESUME_FAILED, &err);
	else
		look(c);
}

void sbx_pause(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	begin(p, id, true, done);
}

void sbx_resume(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	begin(p, id, false, done);
}

void freeze_abandon(struct sbx_container *c)
{
	struct sbx_done done = c->freeze_done;
	struct hk_err err;

	if (c->state != CT_PAUSING && c->state != CT_PAUSED && c->state != CT_RESUMING)
		return;
	hk_timer_cancel(&c->freeze_timer);
	(void)oci_cgroup_freeze(oci_container_cgroup(c->oci), false, NULL); /* or its other processes could not die */
	c->freeze_done = (struct sbx_done){ 0 };
	if (!done.fn)
		return;
	(void)hk_fail_text(&err, HK_BAD_STATE, ESRCH, "the init of %s ended meanwhile", c->id);
	done_fail(done, &err);
}
