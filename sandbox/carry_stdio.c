/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/carry_stdio.c — a process's streams over an upgrade. What is in pipes and FIFOs stays there, under the same descriptors; what a terminal's
 * copier has read and not yet written goes along. The copying begins again by itself: everything is ready, or will be, as the new loop sees it.
 */
#include <errno.h>

#include "oci/base/record.h"
#include "sandbox/carry_priv.h"
#include "sandbox/stdio_priv.h"

HK_RECORD_WHOLE(struct sbx_stdio, 216);
HK_RECORD_WHOLE(struct console, 192);
HK_RECORD_WHOLE(struct relay, 112);

enum { BUFFER_MAX = 1 << 20 }; /* no copier keeps more than a chunk */

const char *stdio_busy(const struct sbx_stdio *s)
{
	if (!s)
		return NULL;
	if (s->opening)
		return "its stdio is being opened";
	if (s->drained)
		return "its last output is on its way";
	return logger_busy(s->logger);
}

/* ---- saving ---- */

static void save_console(const struct console *c, struct hk_record *to)
{
	hk_record_begin(to, "console");
	hk_record_fd(to, "master", c->master);
	hk_record_bytes(to, "to_out", c->to_out.data ? c->to_out.data + c->to_out.at : NULL, c->to_out.len - c->to_out.at);
	hk_record_bytes(to, "to_master", c->to_master.data ? c->to_master.data + c->to_master.at : NULL, c->to_master.len - c->to_master.at);
	hk_record_bool(to, "is_exited", c->is_exited);
	hk_record_bool(to, "in_ended", c->in_ended);
	hk_record_num(to, "rounds_left", c->rounds_left);
	hk_record_end(to);
}

static void save_copy(const struct stdio_copy *c, struct hk_record *to)
{
	hk_record_begin(to, "copy");
	hk_record_num(to, "stream", c->stream);
	hk_record_fd(to, "pipe", c->pipe);
	hk_record_bool(to, "is_done", c->relay.is_done);
	hk_record_bool(to, "is_last", c->relay.is_last);
	hk_record_num(to, "left", c->relay.left);
	if (c->spill) {
		hk_record_begin(to, "spill");
		hk_record_fd(to, "file", c->spill->fd);
		hk_record_num(to, "head", (int64_t)c->spill->head);
		hk_record_num(to, "tail", (int64_t)c->spill->tail);
		hk_record_num(to, "cap", (int64_t)c->spill->cap);
		hk_record_num(to, "dropped", (int64_t)c->spill->dropped);
		hk_record_str(to, "id", c->spill->id);
		hk_record_end(to);
	}
	hk_record_end(to);
}

void stdio_save(const struct sbx_stdio *s, struct hk_record *to)
{
	if (!s)
		return;
	hk_record_begin(to, "stdio");
	hk_record_bool(to, "terminal", s->terminal);
	hk_record_bool(to, "is_exec", s->is_exec);
	hk_record_bool(to, "is_exited", s->is_exited);
	hk_record_fd(to, "stdin_reader", s->stdin_reader);
	hk_record_fd(to, "keeper", s->keeper);
	hk_record_fd(to, "stdout", s->holder[1]);
	hk_record_fd(to, "stderr", s->holder[2]);
	carry_timer(to, "linger", &s->linger);
	hk_record_num(to, "linger_ms", s->linger_ms);
	for (int i = 0; i < 3; i++)
		if (s->copy[i])
			save_copy(s->copy[i], to);
	if (s->console)
		save_console(s->console, to);
	logger_save(s->logger, to);
	hk_record_end(to);
}

/* ---- loading ---- */

static int load_buffer(const struct hk_value *from, const char *name, struct console_buf *b)
{
	size_t len;
	const void *bytes = hk_value_bytes(from, name, &len);

	if (!bytes)
		return 0;
	return len > BUFFER_MAX ? -E2BIG : console_keep(b, bytes, len);
}

static int load_console(struct sbx_stdio *s, const struct hk_value *from)
{
	struct console *c = stdio_console_new(s);
	int r = c ? load_buffer(from, "to_out", &c->to_out) : -ENOMEM;

	if (r == 0)
		r = load_buffer(from, "to_master", &c->to_master);
	if (r < 0)
		return r;
	c->is_exited = hk_value_bool(from, "is_exited");
	c->in_ended = hk_value_bool(from, "in_ended");
	c->rounds_left = (int)hk_value_num_or(from, "rounds_left", 0);
	c->master = hk_value_fd(from, "master");
	c->in = s->stdin_reader;
	c->out = s->holder[1];
	return hk_value_check(from, NULL) < 0 ? 0 : console_take_over(c);
}

static int load_spill(struct stdio_copy *c, const struct hk_value *from)
{
	struct spill *s;

	if (!from)
		return 0;
	s = spill_new(hk_value_fd(from, "file"), (uint64_t)hk_value_num(from, "cap"), hk_value_str(from, "id"));
	if (!s)
		return -ENOMEM;
	c->spill = c->relay.spill = s;
	s->head = (uint64_t)hk_value_num(from, "head");
	s->tail = (uint64_t)hk_value_num(from, "tail");
	s->dropped = (uint64_t)hk_value_num(from, "dropped");
	return 0;
}

static int load_copy(struct sbx_stdio *s, const struct hk_value *from)
{
	const int64_t stream = hk_value_num(from, "stream");
	struct stdio_copy *c;
	int r;

	if (stream < 0 || stream > 2 || s->copy[stream]) {
		hk_value_wrong(from, "stream", "is none, or twice");
		return 0;
	}
	c = stdio_copy_new(s, (int)stream);
	if (!c)
		return -ENOMEM;
	s->copy[stream] = c;
	c->pipe = hk_value_fd_or(from, "pipe");
	c->relay.is_done = hk_value_bool(from, "is_done");
	r = load_spill(c, hk_value_get(from, "spill"));
	if (r == 0 && !c->relay.is_done)
		r = stream == 0 ? relay_start(&c->relay, s->stdin_reader, c->pipe) : relay_start(&c->relay, c->pipe, s->holder[stream]);
	c->relay.is_last = hk_value_bool(from, "is_last");
	c->relay.left = (int)hk_value_num_or(from, "left", 0);
	return r;
}

static int load(struct sbx_stdio *s, const struct sbx_pod *p, const struct hk_value *from)
{
	const struct hk_value *console = hk_value_get(from, "console"), *logger = hk_value_get(from, "logger");
	uint64_t left_ms;
	int r = 0;

	s->is_exited = hk_value_bool(from, "is_exited");
	s->stdin_reader = hk_value_fd_or(from, "stdin_reader");
	s->keeper = hk_value_fd_or(from, "keeper");
	s->holder[1] = hk_value_fd_or(from, "stdout");
	s->holder[2] = hk_value_fd_or(from, "stderr");
	s->linger_ms = (uint32_t)hk_value_num_or(from, "linger_ms", 1);
	if (carry_time_left(from, "linger", &left_ms))
		hk_timer_set(s->loop, &s->linger, left_ms);
	for (const struct hk_value *v = hk_value_get(from, "copy"); r == 0 && v; v = hk_value_next(v))
		r = load_copy(s, v);
	if (r == 0 && console)
		r = load_console(s, console);
	if (r == 0 && logger)
		r = logger_load(p, logger, &s->logger);
	return r;
}

int stdio_load(const struct sbx_pod *p, const struct hk_value *from, struct sbx_stdio **ret)
{
	const struct hk_value *v = hk_value_get(from, "stdio");
	const struct sbx_stdio_opts o = { .loop = p->loop, .reaper = p->reaper, .terminal = v && hk_value_bool(v, "terminal"),
		.is_exec = v && hk_value_bool(v, "is_exec") };
	struct sbx_stdio *s = v ? stdio_new(&o) : NULL;

	if (!v)
		return 0;
	if (!s)
		return -ENOMEM;
	*ret = s;
	return load(s, p, v);
}
