/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/stdio.c — the life of a process's streams after and around their opening: launch, copying, exit, end.
 *
 * The holder of an output FIFO is O_RDWR: a restart of containerd leaves the FIFO with a reader, so no writer gets EPIPE. It is closed when
 * the process is dead and the FIFO is empty, since the last descriptor's end is the end of the bytes in it; and not later, because
 * a client waits for EOF before it sends Delete. No poll event tells of a FIFO read empty, so a timer asks.
 */
#include "sandbox/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/stdio_priv.h"

enum { OPEN_RETRY_MS = 5, OPEN_RETRY_MAX_MS = 50, LINGER_MIN_MS = 1, LINGER_MAX_MS = 100 };

/* ---- drained? ---- */

static bool is_copied(const struct sbx_stdio *s)
{
	if (s->console)
		return false;
	for (int i = 1; i < 3; i++)
		if (s->copy[i] && !s->copy[i]->relay.is_done)
			return false;
	return true;
}

static void on_logger_end(void *owner);

static void check_drained(struct sbx_stdio *s)
{
	sbx_stdio_drained_fn *fn = s->drained;

	if (!fn || (!is_copied(s) && !s->is_late))
		return;
	if (s->logger) { /* its input ends when all of it is there; its own end comes back here */
		logger_end(s->logger, on_logger_end, s);
		return;
	}
	s->drained = NULL;
	hk_timer_cancel(&s->drain);
	fn(s->drain_owner);
}

static void on_logger_end(void *owner)
{
	struct sbx_stdio *s = owner;

	s->logger = NULL;
	check_drained(s);
}

static void on_drain_over(void *owner)
{
	struct sbx_stdio *s = owner;

	s->is_late = true;
	check_drained(s);
}

void sbx_stdio_drain(struct sbx_stdio *s, uint32_t timeout_ms, sbx_stdio_drained_fn *fn, void *arg)
{
	s->drained = fn;
	s->drain_owner = arg;
	hk_timer_set(s->loop, &s->drain, timeout_ms);
	check_drained(s);
}

/* ---- FIFO ends that nobody writes to any more ---- */

/* FIONREAD would wait for the pipe's lock (sandbox/relay.h). */
static bool has_bytes(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

static void on_linger(void *owner)
{
	struct sbx_stdio *s = owner;
	bool is_left = false;

	for (int i = 1; i < 3; i++) {
		if (s->holder[i] < 0 || (s->copy[i] && !s->copy[i]->relay.is_done))
			continue;
		if (!has_bytes(s->holder[i]))
			s->holder[i] = hk_close(s->holder[i]);
		else
			is_left = true;
	}
	if (is_left) {
		hk_timer_set(s->loop, &s->linger, s->linger_ms);
		s->linger_ms = s->linger_ms * 2 > LINGER_MAX_MS ? LINGER_MAX_MS : s->linger_ms * 2;
	}
	check_drained(s); /* what is in a FIFO has gone its way; may free s */
}

/* ---- copies ---- */

static void on_console_end(void *owner)
{
	struct sbx_stdio *s = owner;

	free(s->console);
	s->console = NULL;
	on_linger(s);
}

static int reopen(int fd, int flags)
{
	char path[32];

	(void)hk_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_CLOEXEC);
}

/*
 * Gives the end of an exec's FIFO up if its bytes have, or need, no other owner: they are gone with the last descriptor. Whether a client reads is
 * seen only without our own read end: a lone writer then polls POLLERR.
 */
static void release_holder(int *holder)
{
	struct pollfd p = { .events = POLLOUT };

	if (!has_bytes(*holder)) {
		*holder = hk_close(*holder);
		return;
	}
	p.fd = reopen(*holder, O_WRONLY);
	if (p.fd < 0)
		return;
	(void)hk_close(*holder);
	*holder = poll(&p, 1, 0) == 1 && (p.revents & POLLERR) ? reopen(p.fd, O_RDWR) : -1;
	(void)hk_close(p.fd);
}

/*
 * Closing a pipe waits for its lock as well, and who is left at the other end may hold it: then the last close is a child's.
 */
static void close_pipe(int *fd)
{
	struct pollfd p = { .fd = *fd };

	if (*fd >= 0 && (poll(&p, 1, 0) != 1 || !(p.revents & (POLLHUP | POLLERR))))
		*fd = hk_close_apart(*fd);
	*fd = hk_close(*fd);
}

static void on_copy_end(void *owner, int r)
{
	struct stdio_copy *c = owner;
	struct sbx_stdio *s = c->s;

	(void)r; /* a target that is gone, as an end: the FIFO's reader stays until Delete, so that the client does not get SIGPIPE */
	if (c->stream > 0) {
		release_holder(&s->holder[c->stream]);
		s->linger_ms = LINGER_MIN_MS;
		if (s->holder[c->stream] >= 0)
			hk_timer_set(s->loop, &s->linger, s->linger_ms);
	}
	close_pipe(&c->pipe);
	check_drained(s);
}

struct stdio_copy *stdio_copy_new(struct sbx_stdio *s, int stream)
{
	struct stdio_copy *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->s = s;
	c->stream = stream;
	c->pipe = -1;
	relay_init(&c->relay, s->loop, on_copy_end, c);
	return c;
}

int stdio_make_pipe(struct sbx_stdio *s, int stream)
{
	struct stdio_copy *c;
	int fds[2], ours = stream == 0 ? 1 : 0, r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = hk_set_nonblock(fds[ours], true);
	c = r < 0 ? NULL : stdio_copy_new(s, stream);
	if (!c) {
		(void)hk_close(fds[0]);
		(void)hk_close(fds[1]);
		return r < 0 ? r : -ENOMEM;
	}
	c->pipe = fds[ours];
	s->copy[stream] = c;
	s->child[stream] = fds[!ours];
	return 0;
}

static void free_copy(struct stdio_copy *c)
{
	if (!c)
		return;
	relay_stop(&c->relay);
	close_pipe(&c->pipe);
	spill_free(c->spill);
	free(c);
}

int sbx_stdio_spill(struct sbx_stdio *s, uint64_t cap, const char *id)
{
	const bool is_one = s->holder[1] >= 0 && s->holder[2] < 0 && s->child[2] >= 0; /* stderr is stdout's copy */
	int r = 0;

	if (s->terminal || s->is_exec || s->logger)
		return 0;
	for (int i = 1; i < 3 && r == 0; i++) {
		if (s->holder[i] < 0)
			continue;
		s->child[i] = hk_close(s->child[i]);
		r = stdio_make_pipe(s, i);
		if (r < 0)
			break;
		s->copy[i]->spill = s->copy[i]->relay.spill = spill_new(-1, cap, id);
		if (!s->copy[i]->spill)
			r = -errno;
	}
	if (r < 0 || !is_one)
		return r;
	(void)hk_close(s->child[2]);
	s->child[2] = fcntl(s->child[1], F_DUPFD_CLOEXEC, 0);
	return s->child[2] < 0 ? -errno : 0;
}

uint64_t sbx_stdio_dropped(const struct sbx_stdio *s)
{
	uint64_t n = 0;

	for (int i = 1; s && i < 3; i++)
		n += s->copy[i] && s->copy[i]->spill ? s->copy[i]->spill->dropped : 0;
	return n;
}

static int start_copies(struct sbx_stdio *s)
{
	for (int i = 0; i < 3; i++) {
		struct stdio_copy *c = s->copy[i];
		int r = 0;

		if (c)
			r = i == 0 ? relay_start(&c->relay, s->stdin_reader, c->pipe) : relay_start(&c->relay, c->pipe, s->holder[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- life ---- */

const int *sbx_stdio_fds(const struct sbx_stdio *s)
{
	return s->child;
}

/*
 * FIFOs and pipes only: a client may have named /dev/null or another device of the host. EPERM and EROFS of a strange file system are no
 * reason to fail a container: it then cannot reopen /dev/stdout.
 */
static void own(const struct sbx_stdio *s, uid_t uid, gid_t gid)
{
	struct stat st;

	for (int i = 0; i < 3; i++)
		if (s->child[i] >= 0 && fstat(s->child[i], &st) == 0 && S_ISFIFO(st.st_mode))
			(void)!fchown(s->child[i], uid, gid);
}

struct console *stdio_console_new(struct sbx_stdio *s)
{
	s->console = malloc(sizeof(*s->console));
	if (s->console)
		console_init(s->console, s->loop, on_console_end, s);
	return s->console;
}

static int start_console(struct sbx_stdio *s, int *take_console)
{
	if (!stdio_console_new(s)) {
		*take_console = hk_close(*take_console);
		return -ENOMEM;
	}
	return console_start(s->console, take_console, s->stdin_reader, s->holder[1]);
}

/* Nothing will be copied any more: as if all had been. */
static void give_up(struct sbx_stdio *s)
{
	if (s->console)
		console_done(s->console);
	free(s->console);
	s->console = NULL;
	for (int i = 0; i < 3; i++) {
		free_copy(s->copy[i]);
		s->copy[i] = NULL;
		s->holder[i] = hk_close(s->holder[i]);
	}
}

void sbx_stdio_launched(struct sbx_stdio *s, int *take_console, uid_t uid, gid_t gid)
{
	int r;

	if (uid != (uid_t)-1 || gid != (gid_t)-1)
		own(s, uid, gid);
	for (int i = 0; i < 3; i++)
		s->child[i] = hk_close(s->child[i]);
	r = *take_console >= 0 ? start_console(s, take_console) : start_copies(s);
	if (r < 0) {
		log_warn("stdio cannot be copied", LOG_STR("err", hk_errno_name(-r)));
		give_up(s);
	}
}

void sbx_stdio_exited(struct sbx_stdio *s)
{
	if (!s || s->is_exited)
		return;
	s->is_exited = true;
	s->linger_ms = LINGER_MIN_MS;
	if (s->console)
		console_exited(s->console);
	else if (!s->is_exec)
		on_linger(s);
	for (int i = 1; i < 3; i++)
		if (s->copy[i])
			relay_pump(&s->copy[i]->relay);
}

void sbx_stdio_hang_up(struct sbx_stdio *s)
{
	for (int i = 1; i < 3; i++)
		if (s->copy[i])
			relay_end_here(&s->copy[i]->relay);
	if (s->logger)
		logger_end(s->logger, on_logger_end, s);
}

void sbx_stdio_close_stdin(struct sbx_stdio *s)
{
	s->keeper = hk_close(s->keeper);
}

int sbx_stdio_resize(struct sbx_stdio *s, uint16_t cols, uint16_t rows)
{
	return s->console ? console_resize(s->console, cols, rows) : 0;
}

/* ---- opening ---- */

static void end_opening(struct sbx_stdio *s)
{
	if (!s->opening)
		return;
	hk_timer_cancel(&s->opening->timer);
	free(s->opening);
	s->opening = NULL;
}

void stdio_logger_ready(void *owner, const struct hk_err *err)
{
	struct sbx_stdio *s = owner;
	sbx_stdio_ready_fn *fn = s->opening->fn;
	void *arg = s->opening->arg;

	end_opening(s);
	fn(arg, err);
}

static void on_retry(void *owner)
{
	struct stdio_opening *op = owner;
	struct sbx_stdio *s = op->s;
	sbx_stdio_ready_fn *fn = op->fn;
	void *arg = op->arg;
	struct hk_err err;
	int r = stdio_open_streams(s, &err);

	if (r == 0) {
		if (s->logger)
			return;
		op->retry_ms = op->retry_ms * 2 > OPEN_RETRY_MAX_MS ? OPEN_RETRY_MAX_MS : op->retry_ms * 2;
		hk_timer_set(s->loop, &op->timer, op->retry_ms);
		return;
	}
	end_opening(s);
	fn(arg, r < 0 ? &err : NULL);
}

struct sbx_stdio *stdio_new(const struct sbx_stdio_opts *o)
{
	struct sbx_stdio *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = o->loop;
	s->reaper = o->reaper;
	s->terminal = o->terminal;
	s->is_exec = o->is_exec;
	s->stdin_reader = s->keeper = -1;
	for (int i = 0; i < 3; i++)
		s->child[i] = s->holder[i] = -1;
	hk_timer_init(&s->linger, on_linger, s);
	hk_timer_init(&s->drain, on_drain_over, s);
	return s;
}

static bool begin_opening(struct sbx_stdio *s, const struct sbx_stdio_opts *o)
{
	s->opening = calloc(1, sizeof(*s->opening));
	if (!s->opening)
		return false;
	*s->opening = (struct stdio_opening){ .s = s, .o = *o, .retry_ms = OPEN_RETRY_MS };
	hk_timer_init(&s->opening->timer, on_retry, s->opening);
	return true;
}

int sbx_stdio_open(const struct sbx_stdio_opts *o, sbx_stdio_ready_fn *fn, void *arg, struct sbx_stdio **ret, struct hk_err *err)
{
	const uint32_t wait_ms = o->reader_wait_ms ? o->reader_wait_ms : SBX_READER_WAIT_MS;
	struct sbx_stdio *s = stdio_new(o);
	int r;

	if (!s || !begin_opening(s, o)) {
		free(s);
		return hk_fail(err, HK_INTERNAL, ENOMEM, "stdio");
	}
	s->opening->fn = fn;
	s->opening->arg = arg;
	s->opening->deadline_ns = hk_now_ns() + wait_ms * 1000000ULL;
	r = stdio_open_streams(s, err);
	if (r < 0) {
		sbx_stdio_free(s);
		return r;
	}
	*ret = s;
	if (r == 1) {
		end_opening(s);
		fn(arg, NULL);
	} else if (!s->logger) {
		hk_timer_set(s->loop, &s->opening->timer, s->opening->retry_ms);
	}
	return 0;
}

void sbx_stdio_abandon(struct sbx_stdio *s)
{
	if (s)
		logger_forget(hk_take_ptr(s->logger));
}

void sbx_stdio_free(struct sbx_stdio *s)
{
	if (!s)
		return;
	end_opening(s);
	hk_timer_cancel(&s->linger);
	hk_timer_cancel(&s->drain);
	if (s->console) {
		console_done(s->console);
		free(s->console);
	}
	for (int i = 0; i < 3; i++) {
		if (s->copy[i])
			relay_stop(&s->copy[i]->relay);
		(void)hk_close(s->child[i]);
		(void)hk_close(s->holder[i]);
	}
	(void)hk_close(s->keeper);
	(void)hk_close(s->stdin_reader);
	for (int i = 0; i < 3; i++) /* after the FIFOs' ends: a child that closes one of these has copies of all for a moment */
		free_copy(s->copy[i]);
	logger_kill(s->logger);
	free(s);
}
