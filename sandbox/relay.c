/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/relay.c — see relay.h. */
#include "sandbox/relay.h"

#include <errno.h>
#include <fcntl.h>
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

/* EAGAIN of splice(2) does not say which side it means: bytes in the source mean a full target. */
static int wait_again(struct relay *r)
{
	int n = 0;

	if (ioctl(r->from, FIONREAD, &n) == 0 && n > 0)
		return wait_for(r, &r->out, r->to, EPOLLOUT);
	return wait_for(r, &r->in, r->from, EPOLLIN);
}

void relay_pump(struct relay *r)
{
	int code;

	if (r->is_done || r->from < 0)
		return;
	for (int i = 0; i < ROUNDS; i++) {
		const int want = r->is_last && r->left < CHUNK ? r->left : CHUNK;
		ssize_t n = want == 0 ? 0 : splice(r->from, NULL, r->to, NULL, (size_t)want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n > 0)
			r->left -= r->is_last ? (int)n : 0;
		if (n > 0 || (n < 0 && errno == EINTR))
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		finish(r, n == 0 ? 0 : -errno);
		return;
	}
	code = wait_again(r);
	if (code < 0)
		finish(r, code);
}

void relay_end_here(struct relay *r)
{
	if (r->is_done || r->from < 0 || r->is_last)
		return;
	r->is_last = true;
	if (ioctl(r->from, FIONREAD, &r->left) < 0)
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
