/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/relay.c — see relay.h. */
#include "sandbox/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

void relay_pump(struct relay *r)
{
	int code = CAN_MOVE;

	if (r->is_done || r->from < 0)
		return;
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
	r->from = from;
	r->to = to;
	return wait_for(r, &r->in, from, EPOLLIN);
}

void relay_stop(struct relay *r)
{
	hk_source_del(r->loop, &r->in);
	hk_source_del(r->loop, &r->out);
	r->from = r->to = -1;
}
