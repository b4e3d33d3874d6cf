/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_top.c — `husk top`: containers by the CPU they used since the last look. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "shim/tool.h"

enum { TOP_PERIOD_S = 2, TOP_MAX = 4096 };

struct sample {
	char id[80];
	uint64_t cpu_usec;
};
struct top {
	struct sample before[TOP_MAX], now[TOP_MAX];
	size_t n_before, n_now;
	uint64_t at_ns;
};

/* Tenths of a percent of one CPU since the last look. */
static uint64_t load_of(struct top *t, const Husk__Node__Container *c, uint64_t ns)
{
	uint64_t load = 0;

	if (t->n_now < TOP_MAX) {
		struct sample *s = &t->now[t->n_now++];

		(void)hk_fmt(s->id, sizeof(s->id), "%.79s", c->id);
		s->cpu_usec = c->cpu_usec;
	}
	for (size_t i = 0; i < t->n_before && ns > 0; i++)
		if (hk_streq(t->before[i].id, c->id) && c->cpu_usec > t->before[i].cpu_usec)
			load = (c->cpu_usec - t->before[i].cpu_usec) * UINT64_C(1000000) / ns;
	return load;
}

struct top_row {
	char pod[120], name[80], id[80], state[16];
	uint64_t load, memory, limit, pids;
};

static int by_load(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;

	if (x->load != y->load)
		return x->load < y->load ? 1 : -1;
	return x->memory == y->memory ? 0 : x->memory < y->memory ? 1 : -1;
}

static size_t fill_top(struct top *t, const struct tool_shims *l, struct top_row *rows)
{
	const uint64_t now = hk_now_ns(), ns = t->at_ns ? now - t->at_ns : 0;
	size_t n = 0;

	t->at_ns = now;
	t->n_now = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct tool_shim *s = &l->v[i];

		for (size_t k = 0; s->state && k < s->state->n_containers && n < TOP_MAX; k++) {
			const Husk__Node__Container *c = s->state->containers[k];
			struct top_row *r = &rows[n++];
			char name[300];

			(void)hk_fmt(r->pod, sizeof(r->pod), "%.119s", tool_shim_name(s, name, sizeof(name)));
			(void)hk_fmt(r->id, sizeof(r->id), "%.79s", c->id);
			(void)hk_fmt(r->name, sizeof(r->name), "%.13s", c->name[0] ? c->name : c->id);
			(void)hk_fmt(r->state, sizeof(r->state), "%.15s", c->state);
			r->load = load_of(t, c, ns);
			r->memory = c->memory_bytes;
			r->limit = c->memory_limit;
			r->pids = c->pids;
		}
	}
	memcpy(t->before, t->now, t->n_now * sizeof(t->now[0]));
	t->n_before = t->n_now;
	qsort(rows, n, sizeof(*rows), by_load);
	return n;
}

static void print_top(const struct top_row *rows, size_t n, bool json)
{
	static const char *const heads[] = { "POD", "CONTAINER", "STATE", "CPU%", "MEMORY", "LIMIT", "PIDS" };
	hk_auto(table_done) struct table t = { 0 };
	struct json j = { .f = stdout };

	if (json)
		json_begin(&j, NULL, '[');
	else
		table_add(&t, heads, HK_ARRAY_SIZE(heads));
	for (size_t i = 0; i < n; i++) {
		const struct top_row *r = &rows[i];
		char load[32], memory[16], limit[16] = "-", pids[32];

		if (json) {
			json_begin(&j, NULL, '{');
			json_str(&j, "pod", r->pod);
			json_str(&j, "container", r->name);
			json_str(&j, "id", r->id);
			json_str(&j, "state", r->state);
			json_u64(&j, "cpuPermille", r->load);
			json_u64(&j, "memoryBytes", r->memory);
			json_u64(&j, "memoryLimitBytes", r->limit);
			json_u64(&j, "processes", r->pids);
			json_end(&j, '}');
			continue;
		}
		(void)hk_fmt(load, sizeof(load), "%" PRIu64 ".%u", r->load / 10, (unsigned)(r->load % 10));
		(void)hk_fmt(pids, sizeof(pids), "%" PRIu64, r->pids);
		if (r->limit)
			(void)text_bytes(r->limit, limit);
		table_add(&t, (const char *const[]){ r->pod, r->name, r->state, load, text_bytes(r->memory, memory), limit, pids },
		    HK_ARRAY_SIZE(heads));
	}
	if (json)
		json_end(&j, ']');
	table_print(&t, stdout);
	(void)fputs(json ? "\n" : "", stdout);
	(void)fflush(stdout);
}

int tool_top(const struct tool_options *o)
{
	const bool is_screen = isatty(STDOUT_FILENO) && !o->json;
	hk_autofree struct top *t = calloc(1, sizeof(*t));
	hk_autofree struct top_row *rows = calloc(TOP_MAX, sizeof(*rows));
	struct hk_err err;

	if (!t || !rows) {
		(void)hk_fail(&err, HK_INTERNAL, ENOMEM, "look at the pods");
		return tool_fail(&err);
	}
	/* A load needs two looks; where nobody watches, that is all. */
	for (int turn = 0;; turn++) {
		hk_auto(tool_shims_done) struct tool_shims l = { 0 };
		size_t n;

		if (tool_shims_get(o, &l, &err) < 0)
			return tool_fail(&err);
		if (l.n == 0 && !o->json && (!is_screen || o->once)) {
			tool_no_pod();
			return 0;
		}
		n = fill_top(t, &l, rows);
		if (is_screen && !o->once)
			(void)fputs("\033[H\033[J", stdout);
		if (turn > 0 || (is_screen && !o->once))
			print_top(rows, n, o->json);
		if (turn > 0 && (!is_screen || o->once))
			return 0;
		(void)sleep(TOP_PERIOD_S);
	}
}
