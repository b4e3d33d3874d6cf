/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/console.c — see console.h. */
#include "sandbox/console.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"

enum { CHUNK = 16384, ROUNDS = 16, LAST_ROUNDS = 256 };

static void pump(struct console *c);

int console_keep(struct console_buf *b, const void *data, size_t len)
{
	b->data = malloc(len);
	if (!b->data)
		return -ENOMEM;
	memcpy(b->data, data, len);
	b->at = 0;
	b->len = len;
	return 0;
}

/* Writes what fits. 0, -ENOMEM when the rest cannot be kept, -errno of the target. */
static int put(struct console_buf *b, int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		data += n;
		len -= (size_t)n;
	}
	return len == 0 ? 0 : console_keep(b, data, len);
}

static void drop(struct console_buf *b)
{
	free(b->data);
	*b = (struct console_buf){ 0 };
}

/* Writes on what was left. True when nothing is left any more. */
static bool flush(struct console_buf *b, int fd)
{
	while (b->data && b->at < b->len) {
		ssize_t n = write(fd, b->data + b->at, b->len - b->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			break; /* the target is gone: its bytes are nobody's */
		b->at += (size_t)n;
	}
	drop(b);
	return true;
}

static void finish(struct console *c)
{
	console_done(c);
	c->fn(c->owner);
}

/* Master -> FIFO. False when there is no more for now. */
static bool copy_out(struct console *c)
{
	char chunk[CHUNK];
	ssize_t n;

	if (c->to_out.data)
		return false;
	n = read(c->master, chunk, sizeof(chunk));
	if (n < 0 && errno == EINTR)
		return true;
	c->is_hung_up = n == 0 || (n < 0 && errno != EAGAIN);
	if (n <= 0)
		return false;
	if (c->out >= 0)
		(void)put(&c->to_out, c->out, chunk, (size_t)n);
	/* The kernel refills its 4 KiB in a worker of its own, which may wait for this processor. */
	(void)sched_yield();
	return true;
}

/* FIFO -> master. */
static bool copy_in(struct console *c)
{
	char chunk[CHUNK / 4]; /* n_tty takes 4 KiB at a time */
	ssize_t n;

	if (c->in < 0 || c->in_ended || c->is_exited || c->to_master.data)
		return false;
	n = read(c->in, chunk, sizeof(chunk));
	if (n < 0 && errno == EINTR)
		return true;
	if (n == 0)
		c->in_ended = true; /* every writer is gone, our keeper too */
	if (n <= 0)
		return false;
	(void)put(&c->to_master, c->master, chunk, (size_t)n);
	return true;
}

static void watch(struct console *c, struct hk_source *s, int fd, uint32_t events)
{
	if (events == 0)
		hk_source_del(c->loop, s);
	else if (s->fd >= 0)
		(void)hk_source_mod(c->loop, s, events);
	else
		(void)hk_source_add(c->loop, s, fd, events);
}

/*
 * Edge-triggered wherever a hang-up would else spin: a master without an open slave says EPOLLHUP for as long as that lasts, asked or not.
 */
static void watch_all(struct console *c)
{
	const bool reads = !c->to_out.data;
	uint32_t m = (reads ? EPOLLIN : 0U) | (c->to_master.data ? EPOLLOUT : 0U);

	if (!reads || c->is_hung_up)
		m |= EPOLLET;
	watch(c, &c->on_master, c->master, m);
	if (c->out >= 0)
		watch(c, &c->on_out, c->out, c->to_out.data ? EPOLLOUT : 0U);
	if (c->in >= 0)
		watch(c, &c->on_in, c->in, c->to_master.data || c->in_ended || c->is_exited ? 0U : EPOLLIN);
}

static void pump(struct console *c)
{
	int i = 0;

	if (c->master < 0)
		return;
	(void)(c->to_master.data && flush(&c->to_master, c->master));
	if (!c->to_out.data || flush(&c->to_out, c->out))
		while (i < ROUNDS && copy_out(c))
			i++;
	for (int k = 0; k < ROUNDS && copy_in(c); k++)
		;
	if (c->is_exited) {
		c->rounds_left -= i;
		if (!c->to_out.data && (i < ROUNDS || c->rounds_left <= 0)) {
			finish(c);
			return;
		}
	}
	watch_all(c);
}

static void on_ready(void *owner, uint32_t events)
{
	(void)events;
	pump(owner);
}

void console_init(struct console *c, struct hk_loop *l, console_end_fn *fn, void *owner)
{
	*c = (struct console){ .loop = l, .master = -1, .in = -1, .out = -1, .fn = fn, .owner = owner };
	hk_source_init(&c->on_master, HK_PASS_IO, on_ready, c);
	hk_source_init(&c->on_in, HK_PASS_IO, on_ready, c);
	hk_source_init(&c->on_out, HK_PASS_IO, on_ready, c);
}

int console_start(struct console *c, int *take_master, int in, int out)
{
	int r = hk_set_nonblock(*take_master, true);

	c->master = hk_take_fd(take_master);
	c->in = in;
	c->out = out;
	if (r == 0)
		r = hk_source_add(c->loop, &c->on_master, c->master, EPOLLIN);
	if (r < 0) {
		console_done(c);
		return r;
	}
	watch_all(c);
	return 0;
}

int console_take_over(struct console *c)
{
	/* Level-triggered once, so that a hang-up of meanwhile is seen. */
	int r = hk_source_add(c->loop, &c->on_master, c->master, EPOLLIN);

	if (r == 0)
		watch_all(c);
	return r;
}

void console_exited(struct console *c)
{
	if (c->is_exited)
		return;
	c->is_exited = true;
	c->rounds_left = LAST_ROUNDS;
	drop(&c->to_master);
	pump(c);
}

int console_resize(struct console *c, uint16_t cols, uint16_t rows)
{
	struct winsize w = { .ws_col = cols, .ws_row = rows };

	if (c->master < 0)
		return 0;
	return ioctl(c->master, TIOCSWINSZ, &w) < 0 ? -errno : 0;
}

void console_done(struct console *c)
{
	hk_source_del(c->loop, &c->on_master);
	hk_source_del(c->loop, &c->on_in);
	hk_source_del(c->loop, &c->on_out);
	drop(&c->to_out);
	drop(&c->to_master);
	c->master = hk_close(c->master);
}
