/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/loop.c — see loop.h. A batch is dispatched in three passes; an entry is blanked (data.ptr = NULL) once it has run or when its
 * source is removed, so a callback may free any source, its own included.
 */
#include "oci/base/loop.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"

enum { NS_PER_MS = 1000000 };
/* Nearly 300 years: what is meant as "never" must not wrap to "now". */
#define MAX_DELAY_MS (UINT64_MAX / NS_PER_MS / 2)

uint64_t hk_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

int hk_loop_init(struct hk_loop *l)
{
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->stop = false;
	l->exits_wait = false;
	l->n_batch = 0;
	hk_list_init(&l->timers);
	return 0;
}

void hk_loop_done(struct hk_loop *l)
{
	l->epfd = hk_close(l->epfd);
}

void hk_loop_stop(struct hk_loop *l)
{
	l->stop = true;
}

static struct hk_timer *timer_of(struct hk_list *node)
{
	return hk_container_of(node, struct hk_timer, node);
}

/* Rounded up, so that a wake-up is never too early and spins. */
static int wait_ms(const struct hk_loop *l, int timeout_ms)
{
	uint64_t now, due, ms;

	if (hk_list_is_empty(&l->timers))
		return timeout_ms;
	now = hk_now_ns();
	due = timer_of(l->timers.next)->due_ns;
	ms = due <= now ? 0 : (due - now + NS_PER_MS - 1) / NS_PER_MS;
	if (ms > INT_MAX)
		ms = INT_MAX;
	return timeout_ms >= 0 && (uint64_t)timeout_ms < ms ? timeout_ms : (int)ms;
}

/* Only timers due before the turn began: one that re-arms itself with delay 0 waits for the next turn. */
static void run_timers(struct hk_loop *l)
{
	const uint64_t now = hk_now_ns();

	while (!hk_list_is_empty(&l->timers)) {
		struct hk_timer *t = timer_of(l->timers.next);

		if (t->due_ns > now)
			break;
		hk_timer_cancel(t);
		t->fn(t->owner);
	}
}

/*
 * A full batch may have left bytes behind that were ready before an exit in it. So exits wait for one more batch, which begins where
 * this one ended; for one only, lest busy streams keep them for ever.
 */
static int n_passes(struct hk_loop *l)
{
	l->exits_wait = l->n_batch == HK_LOOP_BATCH && !l->exits_wait;
	return l->exits_wait ? HK_PASS_EXIT : HK_N_PASSES;
}

static void dispatch(struct hk_loop *l)
{
	int n = n_passes(l);

	for (int pass = 0; pass < n; pass++) {
		for (int i = 0; i < l->n_batch; i++) {
			struct hk_source *s = l->batch[i].data.ptr;

			if (!s || (int)s->pass != pass)
				continue;
			l->batch[i].data.ptr = NULL;
			s->fn(s->owner, l->batch[i].events);
		}
	}
	l->n_batch = 0;
}

int hk_loop_once(struct hk_loop *l, int timeout_ms)
{
	int n = epoll_wait(l->epfd, l->batch, HK_LOOP_BATCH, wait_ms(l, timeout_ms));

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	l->n_batch = n;
	dispatch(l);
	if (!hk_list_is_empty(&l->timers))
		run_timers(l);
	return 0;
}

int hk_loop_run(struct hk_loop *l)
{
	int r = 0;

	l->stop = false;
	while (!l->stop && r == 0)
		r = hk_loop_once(l, -1);
	return r;
}

void hk_source_init(struct hk_source *s, enum hk_pass pass, hk_source_fn *fn, void *owner)
{
	*s = (struct hk_source){ .fd = -1, .pass = pass, .fn = fn, .owner = owner };
}

int hk_source_add(struct hk_loop *l, struct hk_source *s, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->fd >= 0)
		return -EEXIST;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	s->fd = fd;
	s->events = events;
	return 0;
}

int hk_source_mod(struct hk_loop *l, struct hk_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->fd < 0)
		return -ENOENT;
	if (s->events == events)
		return 0;
	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return -errno;
	s->events = events;
	return 0;
}

void hk_source_del(struct hk_loop *l, struct hk_source *s)
{
	if (s->fd < 0)
		return;
	(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->fd = -1;
	for (int i = 0; i < l->n_batch; i++)
		if (l->batch[i].data.ptr == s)
			l->batch[i].data.ptr = NULL;
}

void hk_timer_init(struct hk_timer *t, hk_timer_fn *fn, void *owner)
{
	*t = (struct hk_timer){ .fn = fn, .owner = owner };
	hk_list_init(&t->node);
}

void hk_timer_set(struct hk_loop *l, struct hk_timer *t, uint64_t delay_ms)
{
	struct hk_list *at = &l->timers;

	hk_list_remove(&t->node);
	if (delay_ms > MAX_DELAY_MS)
		delay_ms = MAX_DELAY_MS;
	/* At least one ns ahead: a timer armed inside a timer's callback runs in the next turn. */
	t->due_ns = hk_now_ns() + delay_ms * NS_PER_MS + 1;
	hk_list_for(n, &l->timers) {
		if (timer_of(n)->due_ns > t->due_ns) {
			at = n;
			break;
		}
	}
	hk_list_append(at, &t->node); /* in front of the first that is due later */
}

void hk_timer_cancel(struct hk_timer *t)
{
	hk_list_remove(&t->node);
	t->due_ns = 0;
}

uint64_t hk_timer_left_ms(const struct hk_timer *t)
{
	const uint64_t now = hk_now_ns();

	return t->due_ns > now ? (t->due_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
}

bool hk_timer_is_armed(const struct hk_timer *t)
{
	return t->due_ns != 0;
}
