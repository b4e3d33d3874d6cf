/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/container.c — a container's life from its start to its told exit. The exit of the init is the last one told: execs come first,
 * and before it the OOM that may have caused it. Its creation and deletion are in container_create.c and container_delete.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "sandbox/carry_priv.h"
#include "sandbox/checkpoint.h"
#include "sandbox/pod.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/stdio.h"
#include "sandbox/store.h"

enum { KILL_MIN_MS = 1, KILL_MAX_MS = 100, KILL_TIMEOUT_MS = 10000 };

/*
 * What the init's death does not end by itself: processes in a pid namespace that others share. Again and again until the cgroup is empty,
 * since a fork may slip through a round and an exec may just be on its way in.
 */
static void kill_the_rest(void *owner)
{
	struct sbx_container *c = owner;
	struct oci_cgroup *cg = oci_container_cgroup(c->oci);
	const bool is_empty = oci_cgroup_is_empty(cg);
	struct hk_err err;

	if (is_empty && !execs_are_alive(c))
		sbx_stdio_exited(c->init.io);
	if (!execs_are_alive(c) && (is_empty || hk_now_ns() >= c->kill_until_ns))
		return;
	if (oci_cgroup_signal_all(cg, SIGKILL, &err) < 0)
		log_debug("kill what is left of the container", LOG_STR("id", c->id), LOG_STR("err", err.text));
	hk_timer_set(c->pod->loop, &c->kill_timer, c->kill_delay_ms);
	c->kill_delay_ms = c->kill_delay_ms * 2 > KILL_MAX_MS ? KILL_MAX_MS : c->kill_delay_ms * 2;
}

struct sbx_container *container_new(struct sbx_pod *p, const char *id, const char *bundle)
{
	struct sbx_container *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->pod = p;
	c->state = CT_CREATING;
	hk_list_init(&c->node);
	hk_list_init(&c->execs);
	process_init(&c->init, c);
	hk_timer_init(&c->kill_timer, kill_the_rest, c);
	oom_init(c);
	freeze_init(c);
	c->id = strdup(id);
	c->bundle = strdup(bundle);
	if (!c->id || !c->bundle) {
		container_free(c);
		return NULL;
	}
	hk_list_append(&p->containers, &c->node);
	return c;
}

static void fail_if_any(struct sbx_done *d, const struct hk_err *err)
{
	const struct sbx_done copy = *d;

	*d = (struct sbx_done){ 0 };
	if (copy.fn)
		done_fail(copy, err);
}

void container_free(struct sbx_container *c)
{
	struct sbx_pod *pod = c->pod;
	struct hk_err err;

	hk_list_remove(&c->node);
	(void)hk_fail_text(&err, HK_NOT_FOUND, ENOENT, "container %s was deleted meanwhile", c->id ? c->id : "");
	fail_if_any(&c->update_done, &err);
	checkpoint_abandon(c, &err);
	restore_forget(c);
	stats_drop(c);
	hk_list_for_safe(n, next, &c->execs)
		exec_free(hk_container_of(n, struct sbx_process, node));
	hk_timer_cancel(&c->kill_timer);
	hk_timer_cancel(&c->freeze_timer);
	oom_unwatch(c);
	process_done(&c->init);
	oci_container_free(c->oci);
	free(c->id);
	free(c->bundle);
	free(c);
	sandbox_container_gone(pod);
}

void container_abandon(struct sbx_container *c, const struct hk_err *err)
{
	create_abandon(c, err);
	fail_if_any(&c->start, err);
	fail_if_any(&c->freeze_done, err);
	fail_if_any(&c->update_done, err);
	sbx_stdio_abandon(c->init.io);
	checkpoint_abandon(c, err);
	calls_answer(&c->init.waiters, NULL, err);
	calls_answer(&c->init.deletes, NULL, err);
	hk_list_for(n, &c->execs) {
		struct sbx_process *proc = hk_container_of(n, struct sbx_process, node);

		fail_if_any(&proc->start, err);
		sbx_stdio_abandon(proc->io);
		calls_answer(&proc->waiters, NULL, err);
		calls_answer(&proc->deletes, NULL, err);
	}
}

static void on_init_exit(void *owner, const struct hk_exit *x)
{
	struct sbx_container *c = owner;

	stats_keep(c);
	c->init.x = *x;
	if (c->init.end_signal && x->status == 128 + SIGKILL)
		c->init.x.status = 128 + c->init.end_signal;
	(void)proc_step(&c->init.state, PE_DIED, NULL);
	if (oci_container_has_private_pidns(c->oci)) /* else kill_the_rest sees when it is alone */
		sbx_stdio_exited(c->init.io);
	container_settle(c);
}

int container_record(const struct sbx_container *c, const char *cgroup, pid_t pid)
{
	const struct store_record rec = { .id = c->id, .bundle = c->bundle, .cgroup = cgroup, .pid = pid };

	return store_write_container(c->pod->dir, &rec);
}

void container_remember(const struct sbx_container *c, const char *cgroup)
{
	if (container_record(c, cgroup, (pid_t)c->init.pid) < 0)
		log_warn("the state file could not be written: `delete` after a crash will not know all", LOG_STR("id", c->id));
}

int container_watch_init(struct sbx_container *c, const struct oci_launched *l, struct hk_err *err)
{
	int pidfd = l->pidfd;
	int r = hk_child_watch(c->pod->reaper, &c->init.child, l->pid, &pidfd, on_init_exit, c);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "watch the init of %s", c->id);
	c->init.pid = (uint32_t)l->pid;
	(void)proc_step(&c->init.state, PE_START, NULL);
	(void)proc_step(&c->init.state, PE_RUNS, NULL);
	return 0;
}

int container_take_over(struct sbx_container *c, const struct hk_value *child)
{
	return carry_read_child(c->pod->reaper, child, &c->init.child, on_init_exit, c);
}

void container_settle(struct sbx_container *c)
{
	if (c->init.state != PROC_DEAD || c->state == CT_CREATING || c->state == CT_STARTING)
		return;
	if (c->state != CT_STOPPING) {
		freeze_abandon(c);
		(void)ct_step(&c->state, CE_INIT_DEAD, NULL);
		c->kill_until_ns = hk_now_ns() + KILL_TIMEOUT_MS * 1000000ULL;
		c->kill_delay_ms = KILL_MIN_MS;
		if (!oci_container_has_private_pidns(c->oci))
			kill_the_rest(c);
		execs_refuse_opening(c); /* each comes back here */
	}
	if (c->state != CT_STOPPING || execs_are_alive(c))
		return;
	(void)ct_step(&c->state, CE_STOPPED, NULL);
	oom_look(c);
	oom_unwatch(c);
	process_tell_exit(&c->init);
	container_delete_next(c);
}

static void on_started(void *arg, const struct hk_err *start_err)
{
	struct sbx_container *c = arg;
	struct sbx_done done = c->start;
	const struct sbx_reply reply = { .pid = c->init.pid };
	struct hk_err copy;

	c->start = (struct sbx_done){ 0 };
	if (start_err) {
		copy = *start_err;
		(void)ct_step(&c->state, CE_START_FAILED, NULL);
		done_fail(done, &copy);
	} else {
		(void)ct_step(&c->state, CE_STARTED, NULL);
		pod_tell(c, SBX_EV_START, &c->init);
		done.fn(done.arg, &reply, NULL);
	}
	container_settle(c); /* it may be dead already */
}

void container_start(struct sbx_container *c, struct sbx_done done)
{
	struct hk_err err;

	if (ct_step(&c->state, CE_START, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	c->start = done;
	if ((c->restore ? restore_start(c, &err) : oci_start(c->oci, on_started, c, &err)) < 0) {
		c->start = (struct sbx_done){ 0 };
		(void)ct_step(&c->state, CE_START_FAILED, NULL);
		done_fail(done, &err);
		container_settle(c);
	}
}
