/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/relay.c — see relay.h. */
#include "sandbox/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sandbox/spill.h"

enum { CHUNK = 1 << 16, ROUNDS = 16 }; /* one source may move 1 MiB before the others have their turn */

static void finish(struct relay *r, int code)
{
	relay_stop(r);
	r->is_done = true;
	r->fn(r->owner, code);
}

static int wait_for(struct relay *r, struct hk_source *which, int fd, uint32_t events)
{
	struct hk_source *other = which == &r->in ? &r->out : &r->in;

	/* The one not waited for is taken away: level-triggered, it would spin. */
	hk_source_del(r->loop, other);
	return which->fd >= 0 ? 0 : hk_source_add(r->loop, which, fd, events);
}

enum { WAITS, CAN_MOVE, AT_END };

/* WAITS: for what is missing, bytes or room. */
static int look(struct relay *r)
{
	struct pollfd p[2] = { { .fd = r->from, .events = POLLIN }, { .fd = r->to, .events = POLLOUT } };

	if (poll(p, 2, 0) < 0)
		return errno == EINTR ? CAN_MOVE : -errno;
	if (!p[0].revents)
		return wait_for(r, &r->in, r->from, EPOLLIN);
	if (!(p[0].revents & POLLIN))
		return AT_END;
	return p[1].revents ? CAN_MOVE : wait_for(r, &r->out, r->to, EPOLLOUT);
}

/* One turn with a spill: old bytes first, then new ones past it or into it. True: there may be more. */
static bool move_spilling(struct relay *r, bool *at_end)
{
	struct pollfd p[2] = { { .fd = r->from, .events = POLLIN }, { .fd = r->to, .events = POLLOUT } };
	const size_t want = r->is_last && r->left < CHUNK ? (size_t)r->left : CHUNK;
	bool has_moved = false;
	ssize_t n;

	if (poll(p, 2, 0) < 0)
		return errno == EINTR;
	if (!spill_is_empty(r->spill) && p[1].revents)
		has_moved = spill_take(r->spill, r->to) > 0;
	*at_end = want == 0 || (p[0].revents && !(p[0].revents & POLLIN));
	if (*at_end || !p[0].revents)
		return has_moved;
	n = spill_is_empty(r->spill) && p[1].revents ? splice(r->from, NULL, r->to, NULL, want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK) : -1;
	if (n < 0)
		n = spill_put(r->spill, r->from, want);
	*at_end = n == 0;
	if (n > 0 && r->is_last)
		r->left -= (int)n;
	return has_moved || n > 0;
}

static int watch(struct relay *r, struct hk_source *s, int fd, uint32_t events, bool is_wanted)
{
	if (!is_wanted)
		hk_source_del(r->loop, s);
	return !is_wanted || s->fd >= 0 ? 0 : hk_source_add(r->loop, s, fd, events);
}

static void pump_spilling(struct relay *r)
{
	bool at_end = false;
	int code;

	for (int i = 0; i < ROUNDS && move_spilling(r, &at_end); i++)
		;
	if (at_end && spill_is_empty(r->spill)) {
		finish(r, 0);
		return;
	}
	code = watch(r, &r->in, r->from, EPOLLIN, !at_end);
	if (code == 0)
		code = watch(r, &r->out, r->to, EPOLLOUT, !spill_is_empty(r->spill));
	if (code < 0)
		finish(r, code);
}

void relay_pump(struct relay *r)
{
	int code = CAN_MOVE;

	if (r->is_done || r->from < 0)
		return;
	if (r->spill) {
		pump_spilling(r);
		return;
	}
	for (int i = 0; i < ROUNDS && code == CAN_MOVE; i++) {
		const int want = r->is_last && r->left < CHUNK ? r->left : CHUNK;
		ssize_t n;

		code = want > 0 ? look(r) : AT_END;
		if (code != CAN_MOVE)
			break;
		n = splice(r->from, NULL, r->to, NULL, (size_t)want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n > 0)
			r->left -= r->is_last ? (int)n : 0;
		else if (n == 0 || (errno != EINTR && errno != EAGAIN))
			code = n == 0 ? AT_END : -errno;
	}
	if (code == CAN_MOVE) /* the others' turn; then there is more at once */
		code = wait_for(r, &r->in, r->from, EPOLLIN);
	if (code == AT_END || code < 0)
		finish(r, code == AT_END ? 0 : code);
}

void relay_end_here(struct relay *r)
{
	struct pollfd p = { .fd = r->from, .events = POLLIN };

	if (r->is_done || r->from < 0 || r->is_last)
		return;
	r->is_last = true;
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLIN) || ioctl(r->from, FIONREAD, &r->left) < 0)
		r->left = 0;
	relay_pump(r);
}

static void on_ready(void *owner, uint32_t events)
{
	(void)events;
	relay_pump(owner);
}

void relay_init(struct relay *r, struct hk_loop *l, relay_end_fn *fn, void *owner)
{
	*r = (struct relay){ .loop = l, .from = -1, .to = -1, .fn = fn, .owner = owner };
	hk_source_init(&r->in, HK_PASS_IO, on_ready, r);
	hk_source_init(&r->out, HK_PASS_IO, on_ready, r);
}

int relay_start(struct relay *r, int from, int to)
{
	int code;

	r->from = from;
	r->to = to;
	code = wait_for(r, &r->in, from, EPOLLIN);
	if (code == 0 && r->spill) /* one that was taken over has something in it */
		code = watch(r, &r->out, to, EPOLLOUT, !spill_is_empty(r->spill));
	return code;
}

void relay_stop(struct relay *r)
{
	hk_source_del(r->loop, &r->in);
	hk_source_del(r->loop, &r->out);
	r->from = r->to = -1;
}
