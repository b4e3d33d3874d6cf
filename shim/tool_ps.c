/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_ps.c — `husk ps`: every pod with its shim, containers and execs, and the memory they hold. */
#include <inttypes.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "shim/tool.h"
#include "shim/tool_proc.h"

enum { SHORT_ID = 13 };

static void add_row(struct table *t, const char *const *cells)
{
	table_add(t, cells, 9);
}

static void age_text(uint32_t pid, char buf[16])
{
	struct tool_process p;

	(void)hk_fmt(buf, 16, "-");
	if (tool_process_of(pid, &p))
		(void)text_age(p.age_s, buf);
}

static void pid_text(uint32_t pid, char buf[16])
{
	(void)hk_fmt(buf, 16, pid ? "%u" : "-", pid);
}

/* Of the build that this tool is of; another one is what `husk upgrade` is for. */
static bool is_current(const struct tool_shim *s)
{
	return s->state && hk_streq(s->state->version, HUSK_VERSION) && hk_streq(s->state->revision, HUSK_REVISION);
}

static void shim_row(struct table *t, const struct tool_shim *s)
{
	const struct tool_memory m = tool_memory_of(s->is_dead ? 0 : s->pid);
	char name[300], pid[16], age[16], memory[16] = "-", note[160];

	pid_text(s->pid, pid);
	age_text(s->is_dead ? 0 : s->pid, age);
	if (m.rss)
		(void)text_bytes(m.anonymous, memory);
	if (!s->state)
		(void)hk_fmt(note, sizeof(note), "%s", s->reason);
	else if (is_current(s))
		(void)hk_fmt(note, sizeof(note), "%.60s", s->state->version);
	else
		(void)hk_fmt(note, sizeof(note), "%.40s (%.40s), husk is " HUSK_VERSION " (" HUSK_REVISION ")", s->state->version, s->state->revision);
	add_row(t, (const char *const[]){ tool_shim_name(s, name, sizeof(name)), "", "(shim)", s->is_dead ? "dead" : s->state ? "serving" : "mute",
		pid, age, memory, "", note });
}

static void container_rows(struct table *t, const Husk__Node__Container *c)
{
	char id[SHORT_ID + 1], pid[16], age[16], memory[16], limit[16] = "-", note[160] = "";
	const bool is_over = hk_streq(c->state, "stopped") || hk_streq(c->state, "deleted");

	(void)hk_fmt(id, sizeof(id), "%.*s", SHORT_ID, c->id);
	pid_text(c->pid, pid);
	age_text(is_over ? 0 : c->pid, age);
	(void)text_bytes(c->memory_bytes, memory);
	if (c->memory_limit)
		(void)text_bytes(c->memory_limit, limit);
	if (is_over)
		(void)hk_fmt(note, sizeof(note), "exit %u", c->exit_status);
	else if (c->waits_for[0])
		(void)hk_fmt(note, sizeof(note), "waits for %.140s", c->waits_for);
	else if (c->oom_kills)
		(void)hk_fmt(note, sizeof(note), "%" PRIu64 " OOM kill%s", c->oom_kills, c->oom_kills == 1 ? "" : "s");
	add_row(t, (const char *const[]){ "", id, c->name[0] ? c->name : "-", c->state, pid, age, memory, limit, note });
	for (size_t i = 0; i < c->n_execs; i++) {
		const Husk__Node__Process *e = c->execs[i];
		char text[96];

		pid_text(e->pid, pid);
		age_text(hk_streq(e->state, "running") ? e->pid : 0, age);
		(void)hk_fmt(text, sizeof(text), "exec %.12s", e->exec_id);
		add_row(t, (const char *const[]){ "", "", text, e->state, pid, age, "", "", "" });
	}
}

static void print_table(const struct tool_shims *l)
{
	hk_auto(table_done) struct table t = { 0 };

	add_row(&t, (const char *const[]){ "POD", "CONTAINER", "NAME", "STATE", "PID", "AGE", "MEMORY", "LIMIT", "NOTE" });
	for (size_t i = 0; i < l->n; i++) {
		const struct tool_shim *s = &l->v[i];

		shim_row(&t, s);
		for (size_t k = 0; s->state && k < s->state->n_containers; k++)
			container_rows(&t, s->state->containers[k]);
		for (size_t k = 0; k < s->n_orphans; k++) {
			char id[SHORT_ID + 1], pid[16], age[16];

			(void)hk_fmt(id, sizeof(id), "%.*s", SHORT_ID, s->orphans[k].id);
			pid_text(s->orphans[k].pid, pid);
			age_text(s->orphans[k].pid, age);
			add_row(&t, (const char *const[]){ "", id, "-", s->orphans[k].pid ? "alive" : "dead", pid, age, "", "", "as its state file has it" });
		}
	}
	table_print(&t, stdout);
}

static void json_container(struct json *j, const Husk__Node__Container *c)
{
	struct tool_process p;

	json_begin(j, NULL, '{');
	json_str(j, "id", c->id);
	json_str(j, "name", c->name);
	json_str(j, "state", c->state);
	json_u64(j, "pid", c->pid);
	json_u64(j, "exitStatus", c->exit_status);
	if (tool_process_of(c->pid, &p))
		json_u64(j, "ageSeconds", p.age_s);
	json_u64(j, "memoryBytes", c->memory_bytes);
	json_u64(j, "memoryLimitBytes", c->memory_limit);
	json_u64(j, "cpuMicroseconds", c->cpu_usec);
	json_u64(j, "processes", c->pids);
	json_u64(j, "oomKills", c->oom_kills);
	json_str(j, "oomLimit", c->oom_limit);
	json_str(j, "waitsFor", c->waits_for);
	json_str(j, "bundle", c->bundle);
	json_begin(j, "execs", '[');
	for (size_t i = 0; i < c->n_execs; i++) {
		json_begin(j, NULL, '{');
		json_str(j, "id", c->execs[i]->exec_id);
		json_str(j, "state", c->execs[i]->state);
		json_u64(j, "pid", c->execs[i]->pid);
		json_u64(j, "exitStatus", c->execs[i]->exit_status);
		json_end(j, '}');
	}
	json_end(j, ']');
	json_end(j, '}');
}

static void json_shim(struct json *j, const struct tool_shim *s)
{
	const struct tool_memory m = tool_memory_of(s->is_dead ? 0 : s->pid);

	json_begin(j, NULL, '{');
	json_str(j, "group", s->group);
	json_str(j, "namespace", s->ns);
	json_str(j, "pod", s->state ? s->state->pod : "");
	json_str(j, "podNamespace", s->state ? s->state->pod_namespace : "");
	json_begin(j, "shim", '{');
	json_u64(j, "pid", s->pid);
	json_str(j, "state", s->is_dead ? "dead" : s->state ? "serving" : "mute");
	json_str(j, "reason", s->reason);
	json_str(j, "version", s->state ? s->state->version : "");
	json_str(j, "revision", s->state ? s->state->revision : "");
	json_bool(j, "isCurrent", is_current(s));
	json_str(j, "socket", s->socket);
	json_u64(j, "anonymousBytes", m.anonymous);
	json_u64(j, "pssBytes", m.pss);
	json_u64(j, "rssBytes", m.rss);
	json_end(j, '}');
	json_begin(j, "containers", '[');
	for (size_t i = 0; s->state && i < s->state->n_containers; i++)
		json_container(j, s->state->containers[i]);
	for (size_t i = 0; i < s->n_orphans; i++) {
		json_begin(j, NULL, '{');
		json_str(j, "id", s->orphans[i].id);
		json_str(j, "state", s->orphans[i].pid ? "alive" : "dead");
		json_u64(j, "pid", s->orphans[i].pid);
		json_end(j, '}');
	}
	json_end(j, ']');
	json_end(j, '}');
}

int tool_ps(const struct tool_options *o)
{
	hk_auto(tool_shims_done) struct tool_shims l = { 0 };
	struct hk_err err;

	if (tool_shims_get(o, &l, &err) < 0)
		return tool_fail(&err);
	if (o->json) {
		struct json j = { .f = stdout };

		json_begin(&j, NULL, '[');
		for (size_t i = 0; i < l.n; i++)
			json_shim(&j, &l.v[i]);
		json_end(&j, ']');
		(void)fputc('\n', stdout);
		return 0;
	}
	if (l.n == 0)
		tool_no_pod();
	else
		print_table(&l);
	return 0;
}
