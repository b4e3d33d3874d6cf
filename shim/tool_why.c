/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_why.c — `husk why POD|CONTAINER`: what it waits for. The shim tells its part (state machines, pending calls, history), the kernel the
 * rest: which process sleeps without being killable, and in which function.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "proto/names.h"
#include "proto/task.pb-c.h"
#include "shim/tool.h"
#include "shim/tool_events.h"
#include "shim/tool_proc.h"

enum { ANSWER_MS = 3000, OLD_CALL_MS = 1000 };

struct why {
	const struct tool_options *o;
	struct json j; /* with --json */
};

static void say(const struct why *w, const char *text)
{
	if (!w->o->json)
		(void)printf("  %s\n", text);
}

/* ---- processes ---- */

static void stuck_process(struct why *w, uint32_t pid)
{
	struct tool_process p;
	char line[512];

	if (!tool_process_of(pid, &p) || p.state != 'D')
		return;
	(void)hk_fmt(line, sizeof(line), "process %u (%s) is in state D, which no signal ends: it waits in the kernel in %s%s%s", pid, p.name,
	    p.wchan[0] ? p.wchan : "an unnamed place", p.stack[0] ? "; stack " : "", p.stack);
	say(w, line);
	if (!w->o->json)
		return;
	json_begin(&w->j, NULL, '{');
	json_u64(&w->j, "pid", pid);
	json_str(&w->j, "name", p.name);
	json_str(&w->j, "wchan", p.wchan);
	json_str(&w->j, "stack", p.stack);
	json_end(&w->j, '}');
}

/* Of the whole cgroup, as the shim lists it. */
static void stuck_processes(struct why *w, const struct tool_shim *s, const Husk__Node__Container *c)
{
	Husk__Task__PidsRequest request;
	const struct tool_call call = { .socket = s->socket, .service = TTRPC_SERVICE_TASK_V3, .method = "Pids", .request = &request.base,
		.answer = &husk__task__pids_response__descriptor, .timeout_ms = ANSWER_MS };
	ProtobufCMessage *answer = NULL;
	char text[128];

	husk__task__pids_request__init(&request);
	request.id = c->id;
	if (w->o->json)
		json_begin(&w->j, "uninterruptible", '[');
	if (tool_call(&call, &answer, text, sizeof(text)) == 0) {
		const Husk__Task__PidsResponse *pids = (const Husk__Task__PidsResponse *)answer;

		for (size_t i = 0; i < pids->n_processes; i++)
			stuck_process(w, pids->processes[i]->pid);
		protobuf_c_message_free_unpacked(answer, NULL);
	} else {
		stuck_process(w, c->pid);
	}
	if (w->o->json)
		json_end(&w->j, ']');
}

/* ---- what the shim says ---- */

static void oom_part(const struct why *w, const Husk__Node__Container *c)
{
	char line[512], reason[400] = "";

	if (c->oom_kills == 0)
		return;
	if (c->oom_limit_cgroup[0])
		(void)hk_fmt(reason, sizeof(reason), "; the last at the %s's limit, of cgroup %.300s", c->oom_limit, c->oom_limit_cgroup);
	else if (c->oom_limit[0])
		(void)hk_fmt(reason, sizeof(reason), "; the last since the %s had none left", c->oom_limit);
	(void)hk_fmt(line, sizeof(line), "%" PRIu64 " process(es) of it were killed for want of memory%s", c->oom_kills, reason);
	say(w, line);
}

static void container_part(struct why *w, const struct tool_shim *s, const Husk__Node__Container *c)
{
	char line[512];
	struct tool_process p;

	if (w->o->json) {
		json_begin(&w->j, NULL, '{');
		json_str(&w->j, "id", c->id);
		json_str(&w->j, "name", c->name);
		json_str(&w->j, "state", c->state);
		json_str(&w->j, "waitsFor", c->waits_for);
		json_u64(&w->j, "exitStatus", c->exit_status);
		json_u64(&w->j, "oomKills", c->oom_kills);
		json_u64(&w->j, "droppedBytes", c->dropped_bytes);
		json_str(&w->j, "oomLimit", c->oom_limit);
		json_str(&w->j, "oomLimitCgroup", c->oom_limit_cgroup);
	} else {
		(void)printf("\ncontainer %.13s%s%s: %s", c->id, c->name[0] ? " " : "", c->name, c->state);
		(void)(hk_streq(c->state, "stopped") ? printf(", exit status %u\n", c->exit_status) : printf(", pid %u\n", c->pid));
	}
	if (c->waits_for[0]) {
		(void)hk_fmt(line, sizeof(line), "waits for %.400s", c->waits_for);
		say(w, line);
	}
	if (tool_process_of(c->pid, &p) && p.state == 'T')
		say(w, "its init is stopped (SIGSTOP or a tracer)");
	oom_part(w, c);
	if (c->dropped_bytes) {
		(void)hk_fmt(line, sizeof(line), "%" PRIu64 " bytes of its output were dropped: nobody read it, and what husk.io/stdio-spill keeps was full", c->dropped_bytes);
		say(w, line);
	}
	for (size_t i = 0; i < c->n_execs; i++) {
		(void)hk_fmt(line, sizeof(line), "exec %.40s: %s, pid %u", c->execs[i]->exec_id, c->execs[i]->state, c->execs[i]->pid);
		say(w, line);
	}
	stuck_processes(w, s, c);
	if (w->o->json)
		json_end(&w->j, '}');
}

static void calls_part(struct why *w, const Husk__Node__StateResponse *m)
{
	char line[300];
	size_t n_waits = 0;

	if (w->o->json)
		json_begin(&w->j, "calls", '[');
	else if (m->n_calls)
		(void)printf("\npending calls\n");
	for (size_t i = 0; i < m->n_calls; i++) {
		const Husk__Node__Call *c = m->calls[i];

		if (w->o->json) {
			json_begin(&w->j, NULL, '{');
			json_str(&w->j, "method", c->method);
			json_str(&w->j, "id", c->id);
			json_str(&w->j, "execId", c->exec_id);
			json_u64(&w->j, "ageMs", c->age_ms);
			json_end(&w->j, '}');
		} else if (hk_streq(c->method, "Wait")) {
			n_waits++; /* containerd has one for each process all its life */
		} else {
			(void)hk_fmt(line, sizeof(line), "%s %.13s%s%.13s, for %" PRIu64 " ms%s", c->method, c->id, c->exec_id[0] ? " exec " : "",
			    c->exec_id, c->age_ms, c->age_ms > OLD_CALL_MS ? ": this is what the daemon waits for" : "");
			say(w, line);
		}
	}
	if (w->o->json)
		json_end(&w->j, ']');
	if (n_waits) {
		(void)hk_fmt(line, sizeof(line), "Wait: %zu, which is containerd waiting for exits, as it does all the time", n_waits);
		say(w, line);
	}
}

static void history_part(struct why *w, const Husk__Node__StateResponse *m)
{
	char line[200];

	if (m->events_queued) {
		(void)hk_fmt(line, sizeof(line), "%" PRIu64 " events wait for containerd, which does not take them (is it running?)", m->events_queued);
		say(w, line);
	}
	if (m->events_dropped) {
		(void)hk_fmt(line, sizeof(line), "%" PRIu64 " events that nobody tracks processes by were dropped meanwhile", m->events_dropped);
		say(w, line);
	}
	if (!w->o->json) {
		(void)printf("\nlast events and failed requests%s\n", m->n_events ? "" : ": none");
		for (size_t i = 0; i < m->n_events; i++)
			tool_print_event(m->events[i], NULL);
		return;
	}
	json_u64(&w->j, "eventsQueued", m->events_queued);
	json_u64(&w->j, "eventsDropped", m->events_dropped);
	json_begin(&w->j, "events", '[');
	for (size_t i = 0; i < m->n_events; i++)
		tool_json_event(&w->j, m->events[i], NULL);
	json_end(&w->j, ']');
}

static void dead_part(struct why *w, const struct tool_shim *s)
{
	char line[400];

	(void)hk_fmt(line, sizeof(line), s->is_dead ? "its shim, pid %u, is dead" : "its shim, pid %u, listens but gives no answer: %s", s->pid,
	    s->reason);
	say(w, line);
	for (size_t i = 0; i < s->n_orphans; i++) {
		(void)hk_fmt(line, sizeof(line), "container %.13s: its init, pid %u, %s", s->orphans[i].id, s->orphans[i].pid,
		    s->orphans[i].pid ? "is still alive" : "is gone");
		say(w, line);
	}
	if (s->is_dead)
		say(w, "containerd runs `containerd-shim-husk-v2 delete` when it notices, or at its next start; that kills and removes all of it");
	if (!w->o->json)
		return;
	json_str(&w->j, "reason", s->is_dead ? "the shim is dead" : s->reason);
	json_begin(&w->j, "orphans", '[');
	for (size_t i = 0; i < s->n_orphans; i++) {
		json_begin(&w->j, NULL, '{');
		json_str(&w->j, "id", s->orphans[i].id);
		json_u64(&w->j, "pid", s->orphans[i].pid);
		json_end(&w->j, '}');
	}
	json_end(&w->j, ']');
}

static void pod_part(struct why *w, const struct tool_shim *s)
{
	char name[300];
	bool is_one = false;

	(void)tool_shim_name(s, name, sizeof(name));
	if (w->o->json) {
		json_begin(&w->j, NULL, '{');
		json_str(&w->j, "pod", name);
		json_u64(&w->j, "shimPid", s->pid);
	} else {
		(void)printf("pod %s (group %.13s, namespace %s), shim %u%s%s\n", name, s->group, s->ns, s->pid, s->state ? ", version " : "",
		    s->state ? s->state->version : "");
	}
	if (s->state) {
		for (size_t i = 0; i < s->state->n_containers; i++)
			is_one |= tool_container_matches(s->state->containers[i], w->o->what) && !hk_has_prefix(s->group, w->o->what);
		if (w->o->json)
			json_begin(&w->j, "containers", '[');
		for (size_t i = 0; i < s->state->n_containers; i++)
			if (!is_one || tool_container_matches(s->state->containers[i], w->o->what))
				container_part(w, s, s->state->containers[i]);
		if (w->o->json)
			json_end(&w->j, ']');
		calls_part(w, s->state);
		history_part(w, s->state);
	} else {
		dead_part(w, s);
	}
	if (w->o->json)
		json_end(&w->j, '}');
}

int tool_why(const struct tool_options *o)
{
	hk_auto(tool_shims_done) struct tool_shims l = { 0 };
	struct why w = { .o = o, .j = { .f = stdout } };
	struct hk_err err;
	size_t n = 0;

	if (!o->what[0]) {
		(void)hk_fail_text(&err, HK_INVALID, EINVAL, "why: name a pod or a container (`husk ps` lists them)");
		return tool_fail(&err);
	}
	if (tool_shims_get(o, &l, &err) < 0)
		return tool_fail(&err);
	if (o->json)
		json_begin(&w.j, NULL, '[');
	for (size_t i = 0; i < l.n; i++) {
		if (!tool_shim_matches(&l.v[i], o->what))
			continue;
		pod_part(&w, &l.v[i]);
		n++;
	}
	if (o->json) {
		json_end(&w.j, ']');
		(void)fputc('\n', stdout);
	}
	return n > 0 ? 0 : tool_nobody("why", o->what, &l);
}
