/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_events.c — `husk events [-f] [POD]`: the histories of all shims in order of time, then (-f) what comes. Each shim is followed by a
 * process of our own that asks "what is later than N?", which the shim answers when there is something: nothing polls, nothing is missed
 * unless more than the history holds happens in one turn of the shim. New pods are looked for once a second.
 */
#include "shim/tool_events.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "proto/names.h"
#include "shim/tool.h"

enum { LOOK_S = 1, FOLLOW_MAX = 2048, POD_WIDTH = 30 };

static void time_text(int64_t at_ns, char buf[40])
{
	const time_t s = (time_t)(at_ns / 1000000000);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&s, &tm);
	n = strftime(buf, 40, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)hk_fmt(buf + n, 40 - n, ".%03uZ", (unsigned)(at_ns / 1000000 % 1000));
}

void tool_print_event(const Husk__Node__Event *e, const char *pod)
{
	char at[40];

	time_text(e->at_ns, at);
	(void)printf("%s  ", at);
	if (pod)
		(void)printf("%-*s  ", POD_WIDTH, pod);
	(void)printf("%-12s %s%s%s", e->what, e->id, e->exec_id[0] ? " exec " : "", e->exec_id);
	if (e->pid)
		(void)printf(" pid %u", e->pid);
	if (hk_streq(e->what, "exit"))
		(void)printf(" status %u", e->status);
	if (e->detail[0])
		(void)printf(" limit of the %s", e->detail);
	(void)printf("%s%s\n", e->text[0] ? " failed: " : "", e->text);
}

void tool_json_event(struct json *j, const Husk__Node__Event *e, const char *pod)
{
	char at[40];

	time_text(e->at_ns, at);
	json_begin(j, NULL, '{');
	json_u64(j, "seq", e->seq);
	json_str(j, "time", at);
	if (pod)
		json_str(j, "pod", pod);
	json_str(j, "what", e->what);
	json_str(j, "id", e->id);
	json_str(j, "execId", e->exec_id);
	json_u64(j, "pid", e->pid);
	json_u64(j, "status", e->status);
	json_str(j, "error", e->text);
	json_str(j, "detail", e->detail);
	json_end(j, '}');
}

/* One line an event, so that two writers never mix. */
static void print_one(const struct tool_options *o, const Husk__Node__Event *e, const char *pod)
{
	struct json j = { .f = stdout };

	if (o->json) {
		tool_json_event(&j, e, pod);
		(void)fputc('\n', stdout);
	} else {
		tool_print_event(e, pod);
	}
}

/* ---- what has been ---- */

struct line {
	const Husk__Node__Event *e;
	const struct tool_shim *s;
};

static int by_time(const void *a, const void *b)
{
	const Husk__Node__Event *x = ((const struct line *)a)->e, *y = ((const struct line *)b)->e;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static bool is_wanted(const struct tool_options *o, const struct tool_shim *s)
{
	return s->state && (!o->what[0] || tool_shim_matches(s, o->what));
}

/* What is to come may be of a pod that is not there yet; what was is not. */
static int refuse_nobody(const struct tool_options *o, const struct tool_shims *l)
{
	if (l->n == 0 && !o->what[0]) {
		tool_no_pod();
		return 0;
	}
	for (size_t i = 0; i < l->n; i++)
		if (is_wanted(o, &l->v[i]))
			return 0;
	return o->what[0] ? tool_nobody("events", o->what, l) : 0;
}

static int print_past(const struct tool_options *o, const struct tool_shims *l)
{
	hk_autofree struct line *lines = NULL;
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += is_wanted(o, &l->v[i]) ? l->v[i].state->n_events : 0;
	lines = calloc(n + 1, sizeof(*lines));
	if (!lines)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < l->n; i++)
		for (size_t k = 0; is_wanted(o, &l->v[i]) && k < l->v[i].state->n_events; k++)
			lines[n++] = (struct line){ l->v[i].state->events[k], &l->v[i] };
	qsort(lines, n, sizeof(*lines), by_time);
	for (size_t i = 0; i < n; i++) {
		char name[300];

		print_one(o, lines[i].e, tool_shim_name(lines[i].s, name, sizeof(name)));
	}
	(void)fflush(stdout);
	return 0;
}

/* ---- what comes ---- */

static uint64_t last_seq(const struct tool_shim *s)
{
	return s->state->n_events ? s->state->events[s->state->n_events - 1]->seq : 0;
}

/* In a process of its own: until the shim is gone. */
static void follow(const struct tool_options *o, const struct tool_shim *s, uint64_t after)
{
	Husk__Node__EventsRequest request;
	const struct tool_call call = { .socket = s->socket, .service = TTRPC_SERVICE_NODE, .method = "Events", .request = &request.base,
		.answer = &husk__node__events_response__descriptor, .timeout_ms = -1 };
	ProtobufCMessage *answer = NULL;
	char name[300], text[128];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)tool_shim_name(s, name, sizeof(name));
	husk__node__events_request__init(&request);
	for (request.after = after; tool_call(&call, &answer, text, sizeof(text)) == 0;) {
		const Husk__Node__EventsResponse *m = (const Husk__Node__EventsResponse *)answer;

		if (m->n_events && m->events[0]->seq > request.after + 1)
			(void)fprintf(stderr, "husk: %" PRIu64 " older events of %s were not kept\n", m->events[0]->seq - request.after - 1, name);
		for (size_t i = 0; i < m->n_events; i++) {
			print_one(o, m->events[i], name);
			request.after = m->events[i]->seq;
		}
		protobuf_c_message_free_unpacked(answer, NULL);
		if (fflush(stdout) != 0)
			break;
	}
	_exit(0);
}

struct followed {
	char *sockets[FOLLOW_MAX]; /* owned */
	size_t n;
};

static bool is_followed(const struct followed *f, const char *socket)
{
	for (size_t i = 0; i < f->n; i++)
		if (hk_streq(f->sockets[i], socket))
			return true;
	return false;
}

/* `is_first`: their past has been printed. */
static void follow_new(const struct tool_options *o, const struct tool_shims *l, struct followed *f, bool is_first)
{
	for (size_t i = 0; i < l->n && f->n < FOLLOW_MAX; i++) {
		const struct tool_shim *s = &l->v[i];

		if (!is_wanted(o, s) || is_followed(f, s->socket))
			continue;
		f->sockets[f->n++] = strdup(s->socket);
		if (fork() == 0)
			follow(o, s, is_first ? last_seq(s) : 0);
	}
}

/* A socket's name comes again when a group does: who is gone is no longer followed. */
static void forget_gone(const struct tool_shims *l, struct followed *f)
{
	for (size_t i = 0; i < f->n;) {
		bool is_there = false;

		for (size_t k = 0; k < l->n; k++)
			is_there |= hk_streq(l->v[k].socket, f->sockets[i]) && !l->v[k].is_dead;
		if (is_there) {
			i++;
			continue;
		}
		free(f->sockets[i]);
		f->sockets[i] = f->sockets[--f->n];
	}
}

/* `husk events -f | head`: only the followers write. */
static bool is_reader_gone(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int tool_events(const struct tool_options *o)
{
	hk_autofree struct followed *f = calloc(1, sizeof(*f));
	struct hk_err err;

	(void)signal(SIGCHLD, SIG_IGN); /* nobody asks how a follower ended */
	for (bool is_first = true;; is_first = false) {
		hk_auto(tool_shims_done) struct tool_shims l = { 0 };

		if (!f || tool_shims_get(o, &l, &err) < 0)
			return tool_fail(f ? &err : &(struct hk_err){ .code = ENOMEM, .text = "out of memory" });
		if (is_first)
			(void)print_past(o, &l);
		if (!o->follow)
			return refuse_nobody(o, &l);
		forget_gone(&l, f);
		follow_new(o, &l, f, is_first);
		if (is_reader_gone())
			return 0;
		(void)sleep(LOOK_S);
	}
}
