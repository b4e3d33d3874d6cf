/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/teardown.c — the ends of a launch, good and bad. A launch that fails is taken apart in this order: the processes
 * are killed and reaped (the middle one first, since only then the page tells for sure whether there is another), the
 * cgroup of a create is removed with retries, poststop hooks run where earlier hooks did, and last the caller is told:
 * nothing is left by then.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/cgroup_systemd.h"
#include "oci/launch.h"
#include "oci/notify.h"
#include "oci/rdt.h"

enum { RETRY_MAX_MS = 100 };

int oci_pidfd_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

void oci_pidfd_kill(int pidfd)
{
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

void oci_launch_close(struct oci_launch *l)
{
	hk_source_del(l->c->engine->loop, &l->src);
	l->sock = hk_close(l->sock);
	oci_notify_abort(l->notify);
	l->notify = NULL;
}

void oci_launch_free(struct oci_launch *l)
{
	hk_timer_cancel(&l->timer);
	oci_launch_close(l);
	if (l->hooks)
		oci_hooks_abort(l->hooks);
	oci_helper_abort(l->helper);
	hk_child_done(&l->first);
	hk_child_done(&l->final);
	hk_reaper_release(&l->hold_first);
	hk_reaper_release(&l->hold_final);
	(void)hk_close(l->first_pidfd);
	(void)hk_close(l->console_fd);
	oci_job_free(l->job);
	oci_page_free(l->page);
	hk_list_remove(&l->node);
	if (l->c->init == l)
		l->c->init = NULL;
	free(l);
}

static bool is_alive(const struct hk_child *c)
{
	return c->pid != 0 && !c->is_dead;
}

void oci_launch_end(struct oci_launch *l)
{
	if (!is_alive(&l->first)) {
		oci_launch_free(l);
		return;
	}
	l->state = LS_LINGERING;
	oci_launch_close(l);
	hk_timer_cancel(&l->timer);
	if (l->c->init == l)
		l->c->init = NULL;
}

void oci_launch_started(struct oci_launch *l, const struct hk_err *err)
{
	struct oci_container *c = l->c;
	oci_done_fn *fn = l->started;
	void *arg = l->arg;
	struct hk_err copy = { 0 };

	if (err)
		copy = *err;
	oci_launch_end(l);
	oci_container_drop_spec(c);
	fn(arg, err ? &copy : NULL);
}

static void failed_for_good(struct oci_launch *l)
{
	oci_launch_fn *fn = l->fn;
	void *arg = l->arg;
	struct hk_err err = l->err;

	oci_launch_free(l);
	fn(arg, NULL, &err);
}

static void on_poststop(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;

	(void)err; /* poststop hooks cannot fail anything any more */
	l->hooks = NULL;
	failed_for_good(l);
}

static void run_poststop(struct oci_launch *l)
{
	if (!l->is_hooked || oci_container_poststop(l->c, on_poststop, l, &l->hooks) < 0)
		failed_for_good(l);
}

static void on_unit_stopped(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;

	(void)err; /* its cgroup is gone: systemd ends it by itself */
	l->helper = NULL;
	run_poststop(l);
}

static void cgroup_removed(struct oci_launch *l)
{
	if (!l->is_unit_ours || oci_unit_stop(l->c->engine, l->c->cgroup, on_unit_stopped, l, &l->helper, NULL) < 0)
		run_poststop(l);
}

static void remove_cgroup(struct oci_launch *l)
{
	/* Of a unit that was not made, or is another's, nothing may be removed. */
	bool is_ours = !l->is_exec && l->c->cgroup && (l->is_unit_ours || !oci_cgroup_is_unit(l->c->cgroup));
	int r = is_ours && !l->is_cgroup_begun ? oci_cgroup_remove(l->c->cgroup, NULL) : 0;

	if (l->is_cgroup_begun)
		oci_cgroup_undo(l->c->cgroup);
	if (r != -EBUSY || hk_now_ns() >= l->fail_by_ns) {
		if (!l->is_exec)
			oci_rdt_remove(l->c->rdt);
		cgroup_removed(l);
		return;
	}
	(void)oci_cgroup_signal_all(l->c->cgroup, SIGKILL, NULL);
	hk_timer_set(l->c->engine->loop, &l->timer, l->retry_ms);
	l->retry_ms = l->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : l->retry_ms * 2;
}

static void on_final_exit(void *owner, const struct hk_exit *x);

/* False when there is no final process beside the first. */
static bool kill_final(struct oci_launch *l)
{
	pid_t pid = l->page ? l->page->final_pid : 0;
	int pidfd = pid > 0 ? oci_pidfd_open(pid) : -1;

	if (pidfd < 0)
		return false;
	oci_pidfd_kill(pidfd);
	return hk_child_watch(l->c->engine->reaper, &l->final, pid, &pidfd, on_final_exit, l) == 0;
}

/* The next step of taking apart; comes again with every exit and every tick. */
static void tear_down(struct oci_launch *l)
{
	if (is_alive(&l->first) || is_alive(&l->final))
		return;
	if (l->final.pid == 0 && kill_final(l))
		return;
	hk_timer_cancel(&l->timer); /* that of oci_launch_fail may still be due, when the exit came in the same turn: poststop hooks run once */
	remove_cgroup(l);
}

static void on_final_exit(void *owner, const struct hk_exit *x)
{
	(void)x;
	tear_down(owner);
}

void oci_launch_first_exit(void *owner, const struct hk_exit *x)
{
	struct oci_launch *l = owner;

	(void)x;
	if (l->state == LS_FAILING)
		tear_down(l);
	else if (l->state == LS_LINGERING)
		oci_launch_free(l);
}

/* True when the launch is beyond the point where its process is ours to kill. */
static bool fail_late(struct oci_launch *l, const struct hk_err *err)
{
	switch (l->state) {
	case LS_STARTING:
	case LS_POSTSTART:
		/* It may be half way through its last steps or its hooks, or have a filter that nobody listens to. */
		if (err->kind == HK_DEADLINE || l->state == LS_POSTSTART || l->notify)
			(void)oci_cgroup_signal_all(l->c->cgroup, SIGKILL, NULL);
		oci_launch_started(l, err);
		return true;
	case LS_CREATED: /* oci_start will find no socket */
		oci_launch_close(l);
		return true;
	case LS_FAILING: /* the first error wins: what comes after it is its consequence */
	case LS_LINGERING:
		return true;
	case LS_COMPILING:
	case LS_SETTING_UP:
	case LS_SCOPE:
	case LS_HOOKS:
	case LS_N_STATES:
		break;
	}
	return false;
}

void oci_launch_fail(struct oci_launch *l, const struct hk_err *err)
{
	if (fail_late(l, err))
		return;
	l->err = *err;
	l->state = LS_FAILING;
	l->retry_ms = 1;
	l->fail_by_ns = hk_now_ns() + OCI_REMOVE_TIMEOUT_MS * 1000000ULL;
	oci_launch_close(l);
	if (l->hooks) {
		oci_hooks_abort(l->hooks);
		l->hooks = NULL;
	}
	oci_helper_abort(l->helper);
	l->helper = NULL;
	if (l->first_pidfd >= 0) { /* not watched so far */
		oci_pidfd_kill(l->first_pidfd);
		(void)hk_child_watch(
		    l->c->engine->reaper, &l->first, l->first_pid, &l->first_pidfd, oci_launch_first_exit, l);
	}
	(void)hk_child_kill(&l->first, SIGKILL);
	/* By the timer, so that the caller is never told before its call has returned. */
	hk_timer_set(l->c->engine->loop, &l->timer, 0);
}

void oci_launch_fail_step(struct oci_launch *l, enum hk_kind kind, int code, const char *what)
{
	unsigned step = l->page ? l->page->step : OCI_STEP_SPAWN;
	struct hk_err err;

	(void)hk_fail_text(&err, kind, code, "%s in step \"%s\"", what, oci_step_name(step));
	err.step = oci_step_name(step);
	oci_launch_fail(l, &err);
}

void oci_launch_timer(void *owner)
{
	struct oci_launch *l = owner;

	if (l->state == LS_FAILING)
		tear_down(l);
	else
		oci_launch_fail_step(l, HK_DEADLINE, ETIMEDOUT, "set-up did not finish in time,");
}

void oci_launch_abort(struct oci_launch *l)
{
	pid_t pid = l->page ? l->page->final_pid : 0;
	int pidfd;

	if (l->state == LS_SETTING_UP || l->state == LS_SCOPE || l->state == LS_HOOKS || l->state == LS_FAILING) {
		if (l->first_pidfd >= 0)
			oci_pidfd_kill(l->first_pidfd);
		(void)hk_child_kill(&l->first, SIGKILL);
		(void)hk_child_kill(&l->final, SIGKILL);
		pidfd = pid > 0 && l->final.pid == 0 ? oci_pidfd_open(pid) : -1;
		if (pidfd >= 0)
			oci_pidfd_kill(pidfd);
		(void)hk_close(pidfd);
	}
	oci_launch_free(l);
}
