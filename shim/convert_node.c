/* SPDX-License-Identifier: Apache-2.0 */
/* shim/convert_node.c — what the shim knows of itself as the messages of proto/node.proto, written field by field (proto/wire.h says why). */
#include <limits.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/oci.h"
#include "proto/node.pb-c.h"
#include "proto/wire.h"
#include "sandbox/view.h"
#include "shim/conn.h"
#include "shim/events.h"
#include "shim/history.h"
#include "shim/node.h"
#include "shim/task.h"
#include "shim/upgrade.h"

#define POD_NAME "io.kubernetes.cri.sandbox-name"
#define POD_NAMESPACE "io.kubernetes.cri.sandbox-namespace"
#define CONTAINER_NAME "io.kubernetes.cri.container-name"
#define CONTAINER_TYPE "io.kubernetes.cri.container-type"

/* The numbers of node.proto. */
enum { EVENTS_EVENTS = 1 };
enum { UPGRADE_PID = 1, UPGRADE_VERSION, UPGRADE_REVISION, UPGRADE_OLD_VERSION, UPGRADE_OLD_REVISION, UPGRADE_HELD_MS };
enum { STATE_PID = 1, STATE_VERSION, STATE_REVISION, STATE_GROUP, STATE_NAMESPACE, STATE_POD, STATE_POD_NAMESPACE, STATE_CONNECTIONS,
	STATE_EVENTS_QUEUED, STATE_EVENTS_DROPPED, STATE_CONTAINERS, STATE_CALLS, STATE_EVENTS };
enum { CT_ID = 1, CT_BUNDLE, CT_STATE, CT_PID, CT_EXIT_STATUS, CT_WAITERS, CT_WAITS_FOR, CT_OOM_KILLS, CT_NAME, CT_EXECS, CT_MEMORY_BYTES,
	CT_MEMORY_LIMIT, CT_CPU_USEC, CT_PIDS, CT_OOM_LIMIT, CT_OOM_LIMIT_CGROUP, CT_DROPPED_BYTES };
enum { EXEC_ID = 1, EXEC_STATE, EXEC_PID, EXEC_EXIT_STATUS, EXEC_WAITERS };
enum { CALL_METHOD = 1, CALL_ID, CALL_EXEC_ID, CALL_AGE_MS };
enum { EVENT_SEQ = 1, EVENT_AT_NS, EVENT_WHAT, EVENT_ID, EVENT_EXEC_ID, EVENT_PID, EVENT_STATUS, EVENT_TEXT, EVENT_DETAIL };

static void reply(struct ttrpc_call *call, const struct wire *w)
{
	if (w->is_failed)
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
	else
		ttrpc_call_reply_bytes(call, w->bytes, w->len);
}

/* ---- events ---- */

struct event_list {
	struct wire *w;
	uint32_t field;
};

static void add_event(void *arg, const struct history_event *ev, const struct history_error *e)
{
	const struct event_list *l = arg;
	const struct history_head *head = ev ? &ev->head : &e->head;
	const size_t at = wire_begin(l->w, l->field);

	wire_u64(l->w, EVENT_SEQ, head->seq);
	wire_u64(l->w, EVENT_AT_NS, head->at_s * UINT64_C(1000000000) + head->at_ms * UINT64_C(1000000));
	wire_str(l->w, EVENT_WHAT, ev ? shim_history_name(head->type) : e->method);
	wire_str(l->w, EVENT_ID, head->id);
	wire_str(l->w, EVENT_EXEC_ID, head->exec_id);
	wire_u64(l->w, EVENT_PID, ev ? ev->pid : 0);
	wire_u64(l->w, EVENT_STATUS, ev && head->type != SBX_EV_OOM ? head->status : 0);
	wire_str(l->w, EVENT_TEXT, ev ? "" : e->text);
	wire_str(l->w, EVENT_DETAIL, ev && head->type == SBX_EV_OOM ? sbx_limit_name(head->status) : "");
	wire_end(l->w, at);
}

uint32_t convert_node_after(const ProtobufCMessage *request)
{
	const uint64_t after = ((const Husk__Node__EventsRequest *)request)->after;

	return after > UINT32_MAX ? UINT32_MAX : (uint32_t)after;
}

void convert_reply_node_events(struct ttrpc_call *call, const struct shim_history *h, uint32_t after)
{
	hk_auto(wire_done) struct wire w = { 0 };
	struct event_list l = { &w, EVENTS_EVENTS };

	shim_history_each(h, after, add_event, &l);
	reply(call, &w);
}

/* ---- upgrade ---- */

struct shim_upgrade_request convert_node_upgrade(const ProtobufCMessage *request)
{
	const Husk__Node__UpgradeRequest *r = (const Husk__Node__UpgradeRequest *)request;

	return (struct shim_upgrade_request){ .path = r->path, .timeout_ms = r->timeout_ms };
}

void convert_reply_node_upgraded(struct ttrpc_call *call, const struct node_upgraded *u)
{
	hk_auto(wire_done) struct wire w = { 0 };

	wire_u64(&w, UPGRADE_PID, (uint64_t)getpid());
	wire_str(&w, UPGRADE_VERSION, HUSK_VERSION);
	wire_str(&w, UPGRADE_REVISION, HUSK_REVISION);
	wire_str(&w, UPGRADE_OLD_VERSION, u->old_version);
	wire_str(&w, UPGRADE_OLD_REVISION, u->old_revision);
	wire_u64(&w, UPGRADE_HELD_MS, u->held_ms);
	reply(call, &w);
}

/* ---- state ---- */

struct build {
	struct wire w;
	size_t container; /* where the open one began; 0 = none */
	const char *pod, *pod_namespace; /* borrowed from a container */
};

static void add_usage(struct wire *w, const struct oci_container *oci)
{
	/* v1 says "none" by the largest whole page, of up to 64 KiB. */
	const uint64_t none = INT64_MAX - (64 << 10);
	hk_auto(oci_stats_done) struct oci_stats s = { 0 };
	const struct oci_cgroup *cg = oci ? oci_container_cgroup(oci) : NULL;
	uint64_t limit;

	if (!cg || oci_cgroup_stats(cg, &s, NULL) < 0)
		return;
	limit = s.is_v1 ? s.v1.memory.usage.limit : s.v2.memory.usage_limit;
	wire_u64(w, CT_MEMORY_BYTES, s.is_v1 ? s.v1.memory.usage.usage : s.v2.memory.usage);
	wire_u64(w, CT_MEMORY_LIMIT, limit >= none ? 0 : limit);
	wire_u64(w, CT_CPU_USEC, s.is_v1 ? s.v1.cpu.total / 1000 : s.v2.cpu.usage_usec);
	wire_u64(w, CT_PIDS, s.pids_current);
}

static void add_oom_limit(struct wire *w, const struct sbx_view *v)
{
	char path[PATH_MAX];

	wire_str(w, CT_OOM_LIMIT, sbx_limit_name(v->oom_limit));
	if (v->oom_limit_cgroup_len == 0)
		return;
	(void)hk_fmt(path, sizeof(path), "%.*s", (int)v->oom_limit_cgroup_len, oci_cgroup_path(oci_container_cgroup(v->oci)));
	wire_str(w, CT_OOM_LIMIT_CGROUP, path);
}

static const char *annotation(const struct oci_container *oci, const char *key)
{
	const char *s = oci ? oci_container_annotation(oci, key) : NULL;

	return s ? s : "";
}

static void end_container(struct build *b)
{
	if (b->container)
		wire_end(&b->w, b->container);
	b->container = 0;
}

static void add_container(struct build *b, const struct sbx_view *v)
{
	const bool is_sandbox = hk_streq(annotation(v->oci, CONTAINER_TYPE), "sandbox");
	struct wire *w = &b->w;

	end_container(b);
	b->container = wire_begin(w, STATE_CONTAINERS);
	wire_str(w, CT_ID, v->id);
	wire_str(w, CT_BUNDLE, v->bundle);
	wire_str(w, CT_STATE, v->state);
	wire_u64(w, CT_PID, v->pid);
	wire_u64(w, CT_EXIT_STATUS, v->exit_status);
	wire_u64(w, CT_WAITERS, v->n_waiters);
	wire_str(w, CT_WAITS_FOR, v->waits_for);
	wire_u64(w, CT_OOM_KILLS, v->oom_kills);
	add_oom_limit(w, v);
	wire_u64(w, CT_DROPPED_BYTES, v->dropped_bytes);
	wire_str(w, CT_NAME, is_sandbox ? "(sandbox)" : annotation(v->oci, CONTAINER_NAME));
	add_usage(w, v->oci);
	if (!annotation(v->oci, POD_NAME)[0])
		return;
	b->pod = annotation(v->oci, POD_NAME);
	b->pod_namespace = annotation(v->oci, POD_NAMESPACE);
}

static void add_view(void *arg, const struct sbx_view *v)
{
	struct build *b = arg;
	size_t at;

	if (!v->exec_id) {
		add_container(b, v);
		return;
	}
	at = wire_begin(&b->w, CT_EXECS);
	wire_str(&b->w, EXEC_ID, v->exec_id);
	wire_str(&b->w, EXEC_STATE, v->state);
	wire_u64(&b->w, EXEC_PID, v->pid);
	wire_u64(&b->w, EXEC_EXIT_STATUS, v->exit_status);
	wire_u64(&b->w, EXEC_WAITERS, v->n_waiters);
	wire_end(&b->w, at);
}

static void add_call(void *arg, const struct task_pending *p)
{
	struct build *b = arg;
	const size_t at = wire_begin(&b->w, STATE_CALLS);

	wire_str(&b->w, CALL_METHOD, p->method);
	wire_str(&b->w, CALL_ID, p->id);
	wire_str(&b->w, CALL_EXEC_ID, p->exec_id);
	wire_u64(&b->w, CALL_AGE_MS, p->age_ms);
	wire_end(&b->w, at);
}

static void build_done(struct build *b)
{
	wire_done(&b->w);
}

void convert_reply_node_state(struct ttrpc_call *call, const struct node_service *n)
{
	hk_auto(build_done) struct build b = { .container = 0 };
	struct event_list events = { &b.w, STATE_EVENTS };

	wire_u64(&b.w, STATE_PID, (uint64_t)getpid());
	wire_str(&b.w, STATE_VERSION, HUSK_VERSION);
	wire_str(&b.w, STATE_REVISION, HUSK_REVISION);
	wire_str(&b.w, STATE_GROUP, n->group);
	wire_str(&b.w, STATE_NAMESPACE, n->ns);
	wire_u64(&b.w, STATE_CONNECTIONS, n->listener->n_conns);
	wire_u64(&b.w, STATE_EVENTS_QUEUED, n->events->n_queued);
	wire_u64(&b.w, STATE_EVENTS_DROPPED, n->events->n_dropped);
	sbx_each(n->pod, add_view, &b);
	end_container(&b);
	wire_str(&b.w, STATE_POD, b.pod);
	wire_str(&b.w, STATE_POD_NAMESPACE, b.pod_namespace);
	task_each_pending(n->task, add_call, &b);
	shim_history_each(n->history, 0, add_event, &events);
	reply(call, &b.w);
}
