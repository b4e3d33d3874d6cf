/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hooks.c — runs lists of hooks, one process after the other: on the loop for the shim, whose other containers go
 * on meanwhile; and blocking for the set-up child, which has nothing else to do. A hook is over when it has exited,
 * not when its output ends: a daemon it leaves behind may hold the pipe for ever.
 */
#include "oci/hooks.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/hook_proc.h"
#include "oci/launch.h"

enum { MS_PER_S = 1000, NS_PER_MS = 1000000 };

struct oci_hook_run { /* heap: from the first hook to the callback */
	const struct oci_container *c;
	struct oci_hook_job job;
	struct oci_hook_state state; /* its strings are the container's */
	size_t list, index;
	struct oci_hook_proc proc;
	struct hk_child child;
	struct hk_source in, out;
	struct hk_timer timer;
	bool is_late;
	oci_hook_fn *fn;
	void *arg;
	struct hk_err err;
};

static const struct oci_hook *current(const struct oci_hook_run *r)
{
	return &r->job.lists[r->list]->v[r->index];
}

static struct hk_loop *loop_of(const struct oci_hook_run *r)
{
	return r->c->engine->loop;
}

static void release_proc(struct oci_hook_run *r)
{
	hk_timer_cancel(&r->timer);
	hk_source_del(loop_of(r), &r->in);
	hk_source_del(loop_of(r), &r->out);
	hk_child_done(&r->child);
	oci_hook_close(&r->proc);
	r->proc.pid = 0;
}

static void finish(struct oci_hook_run *r, bool failed)
{
	oci_hook_fn *fn = r->fn;
	void *arg = r->arg;
	struct hk_err err = r->err;

	release_proc(r);
	free(r);
	fn(arg, failed ? &err : NULL);
}

/* Moves on to the next hook there is; false at the end. */
static bool next(struct oci_hook_run *r)
{
	while (r->list < OCI_HOOK_LISTS) {
		if (r->job.lists[r->list] && r->index < r->job.lists[r->list]->n)
			return true;
		r->list++;
		r->index = 0;
	}
	return false;
}

/* Both may close their fd, and a fd must leave epoll first: a copy in some child would keep its events coming. */
static void on_in(void *owner, uint32_t events)
{
	struct oci_hook_run *r = owner;

	(void)events;
	hk_source_del(loop_of(r), &r->in);
	oci_hook_feed(&r->proc);
	if (r->proc.in >= 0)
		(void)hk_source_add(loop_of(r), &r->in, r->proc.in, EPOLLOUT);
}

static void on_out(void *owner, uint32_t events)
{
	struct oci_hook_run *r = owner;

	(void)events;
	hk_source_del(loop_of(r), &r->out);
	oci_hook_drain(&r->proc);
	if (r->proc.out >= 0)
		(void)hk_source_add(loop_of(r), &r->out, r->proc.out, EPOLLIN);
}

static void on_timer(void *owner);
static void on_hook_exit(void *owner, const struct hk_exit *x);

static int start_one(struct oci_hook_run *r)
{
	const struct oci_hook *h = current(r);
	int rc = oci_hook_spawn(&r->proc, h, &r->state, NULL, r->c->bundle, &r->err);

	if (rc < 0)
		return rc;
	rc = hk_child_watch(r->c->engine->reaper, &r->child, r->proc.pid, &r->proc.pidfd, on_hook_exit, r);
	if (rc == 0)
		rc = hk_source_add(loop_of(r), &r->out, r->proc.out, EPOLLIN);
	if (rc == 0 && r->proc.in >= 0)
		rc = hk_source_add(loop_of(r), &r->in, r->proc.in, EPOLLOUT);
	if (rc < 0) {
		oci_hook_kill(&r->proc);
		return hk_fail(&r->err, HK_INTERNAL, -rc, "watch hook %s", h->path);
	}
	if (h->has_timeout)
		hk_timer_set(loop_of(r), &r->timer, (uint64_t)h->timeout_s * MS_PER_S);
	return 0;
}

static void go_on(struct oci_hook_run *r)
{
	for (;;) {
		if (!next(r)) {
			finish(r, false);
			return;
		}
		if (start_one(r) == 0)
			return;
		if (!r->job.keeps_going) {
			finish(r, true);
			return;
		}
		release_proc(r);
		r->index++;
	}
}

static void on_hook_exit(void *owner, const struct hk_exit *x)
{
	struct oci_hook_run *r = owner;
	char why[32];

	hk_source_del(loop_of(r), &r->in);
	hk_source_del(loop_of(r), &r->out);
	oci_hook_drain(&r->proc);
	if (x->status == 0 && !x->was_signaled) {
		release_proc(r);
		r->index++;
		go_on(r);
		return;
	}
	(void)oci_hook_fail(&r->proc, r->job.kind[r->list], r->index, current(r)->path,
	    r->is_late ? "did not finish in time" : oci_hook_why(x->status, x->was_signaled, why), &r->err);
	if (!r->job.keeps_going) {
		finish(r, true);
		return;
	}
	release_proc(r);
	r->is_late = false;
	r->index++;
	go_on(r);
}

/* Also the first turn: hooks begin from the loop, so that fn never runs before oci_hooks_run has returned. */
static void on_timer(void *owner)
{
	struct oci_hook_run *r = owner;

	if (r->proc.pid == 0) {
		go_on(r);
		return;
	}
	r->is_late = true;
	oci_hook_kill(&r->proc);
}

int oci_hooks_run(const struct oci_container *c, const struct oci_hook_job *job, oci_hook_fn *fn, void *arg,
    struct oci_hook_run **ret, struct hk_err *err)
{
	struct oci_hook_run *r = calloc(1, sizeof(*r));

	if (!r)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "run hooks");
	r->c = c;
	r->job = *job;
	r->state = *job->state;
	r->fn = fn;
	r->arg = arg;
	r->proc.pidfd = r->proc.in = r->proc.out = -1;
	hk_child_init(&r->child);
	hk_source_init(&r->in, HK_PASS_IO, on_in, r);
	hk_source_init(&r->out, HK_PASS_IO, on_out, r);
	hk_timer_init(&r->timer, on_timer, r);
	hk_timer_set(loop_of(r), &r->timer, 0);
	*ret = r;
	return 0;
}

void oci_hooks_abort(struct oci_hook_run *r)
{
	oci_hook_kill(&r->proc);
	release_proc(r);
	free(r);
}

/* ---- in the set-up child ---- */

static int left_ms(uint64_t until_ns)
{
	uint64_t now = hk_now_ns();

	return until_ns == 0 ? -1 : now >= until_ns ? 0 : (int)((until_ns - now) / NS_PER_MS) + 1;
}

/* Feeds and drains until the hook is dead; true when its time was up. */
static bool attend(struct oci_hook_proc *p, uint64_t until_ns)
{
	bool late = false;

	for (;;) {
		struct pollfd v[3] = {
			{ .fd = p->pidfd, .events = POLLIN },
			{ .fd = p->in, .events = POLLOUT },
			{ .fd = p->out, .events = POLLIN },
		};
		int n = poll(v, HK_ARRAY_SIZE(v), late ? -1 : left_ms(until_ns));

		if (n == 0 && !late) {
			late = true;
			oci_hook_kill(p);
		}
		if (v[1].revents)
			oci_hook_feed(p);
		if (v[2].revents)
			oci_hook_drain(p);
		if (v[0].revents)
			return late;
	}
}

static int run_here(const struct oci_hook *h, size_t index, const char *kind, const struct oci_hook_state *state,
    char *const *env, struct hk_err *err)
{
	struct oci_hook_proc p;
	uint64_t until = h->has_timeout ? hk_now_ns() + (uint64_t)h->timeout_s * MS_PER_S * NS_PER_MS : 0;
	struct hk_exit x = { 0 };
	char why[32];
	int r = oci_hook_spawn(&p, h, state, env, NULL, err);
	bool late;

	if (r < 0)
		return r;
	late = attend(&p, until);
	r = hk_wait_blocking(p.pid, &x);
	oci_hook_drain(&p);
	if (r < 0)
		r = hk_fail(err, HK_INTERNAL, -r, "wait for hook %s", h->path);
	else if (x.status != 0)
		r = oci_hook_fail(&p, kind, index, h->path,
		    late ? "did not finish in time" : oci_hook_why(x.status, x.was_signaled, why), err);
	oci_hook_close(&p);
	return r;
}

int oci_hooks_run_here(const struct oci_hooks *hooks, const char *kind, const struct oci_hook_state *state,
    char *const *env, struct hk_err *err)
{
	int r = 0;

	(void)signal(SIGPIPE, SIG_IGN); /* a hook may close its stdin unread */
	for (size_t i = 0; r == 0 && i < hooks->n; i++)
		r = run_here(&hooks->v[i], i, kind, state, env, err);
	return r;
}
