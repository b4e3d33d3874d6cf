/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/task.c — the handlers. A call that sandbox/ ends later is kept in a struct op, which also knows how to answer it. Every failure is
 * logged here once, at the moment it is answered; texts that users see ("OCI runtime create failed: ...") are those of runc.
 */
#include "shim/task.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"
#include "shim/convert.h"
#include "shim/history.h"
#include "shim/life.h"

enum { NS_PER_US = 1000 };

#define CREATE_FAILED "OCI runtime create failed"
#define START_FAILED "OCI runtime start failed"
#define EXEC_FAILED "OCI runtime exec failed"
#define CHECKPOINT_FAILED "OCI runtime checkpoint failed"

struct op {
	struct hk_list node; /* in task_service.pending */
	uint64_t since_ns;
	struct task_service *service;
	struct ttrpc_call *call;
	task_reply_fn *reply;
	task_after_fn *after;    /* NULL = nothing; runs whatever became of the call */
	const char *prefix; /* of the error text */
	char id[80], exec_id[80]; /* for the log */
};

/* err NULL: it succeeded. */
static void log_request(enum hk_level level, const struct ttrpc_call *call, const struct convert_ids *ids, const struct hk_err *err)
{
	const struct hk_kv all[] = { LOG_STR("method", call->method), LOG_STR("id", ids->id), LOG_STR("exec_id", ids->exec_id),
		LOG_STR("step", err ? err->step : NULL), LOG_STR("errno", err ? hk_errno_name(err->code) : NULL),
		LOG_INT("dur_us", (hk_now_ns() - call->since_ns) / NS_PER_US), LOG_STR("traceparent", call->traceparent),
		LOG_STR("err", err ? err->text : NULL) };
	struct hk_kv kv[HK_ARRAY_SIZE(all)];
	int n = 0;

	for (size_t i = 0; i < HK_ARRAY_SIZE(all); i++)
		if (all[i].type != HK_KV_STR || (all[i].s && all[i].s[0]))
			kv[n++] = all[i];
	hk_log(level, err ? "request failed" : "request done", kv, n);
}

struct failure {
	const struct hk_err *err;
	const char *prefix, *detail; /* NULL = none */
};

static void fail_with(struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, const struct failure *f)
{
	const struct hk_err *err = f->err;
	/* The first two are answers, not failures: containerd asks for what may be gone, and lets waits run out. */
	bool is_routine = err->kind == HK_NOT_FOUND || err->kind == HK_DEADLINE;

	log_request(is_routine ? HK_LOG_DEBUG : HK_LOG_ERROR, call, ids, err);
	if (!is_routine && s->history)
		shim_history_error(s->history, &(struct history_failure){ call->method, ids->id, ids->exec_id, err->text });
	convert_fail(call, err, f->prefix, f->detail);
}

void task_fail(
    struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, const struct hk_err *err, const char *prefix)
{
	fail_with(s, call, ids, &(struct failure){ err, prefix, NULL });
}

static void on_done(void *arg, const struct sbx_reply *reply, const struct hk_err *err)
{
	static const struct sbx_reply nothing;
	struct op *op = arg;
	const struct convert_ids ids = { op->id, op->exec_id };

	if (err)
		fail_with(op->service, op->call, &ids, &(struct failure){ err, op->prefix, reply ? reply->detail : NULL });
	else if (hk_log_enabled(HK_LOG_DEBUG))
		log_request(HK_LOG_DEBUG, op->call, &ids, NULL);
	if (!err)
		op->reply(op->call, reply ? reply : &nothing);
	if (op->after)
		op->after(op->service->life);
	hk_list_remove(&op->node);
	free(op);
}

struct sbx_done task_op(struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, task_reply_fn *reply,
    const char *prefix)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return (struct sbx_done){ 0 };
	}
	op->service = s;
	op->since_ns = hk_now_ns();
	hk_list_append(&s->pending, &op->node);
	op->call = call;
	op->reply = reply;
	op->prefix = prefix;
	/* A longer id is nobody's; its first bytes are enough for the log. */
	(void)hk_fmt(op->id, sizeof(op->id), "%.76s", ids->id);
	(void)hk_fmt(op->exec_id, sizeof(op->exec_id), "%.76s", ids->exec_id);
	return (struct sbx_done){ .fn = on_done, .arg = op };
}

void task_op_after(struct sbx_done done, task_after_fn *after)
{
	((struct op *)done.arg)->after = after;
}

void task_each_pending(const struct task_service *s, task_pending_fn *fn, void *arg)
{
	const uint64_t now = hk_now_ns();

	hk_list_for(n, &s->pending) {
		const struct op *op = hk_container_of(n, struct op, node);

		fn(arg, &(struct task_pending){ op->call->method, op->id, op->exec_id, (now - op->since_ns) / 1000000, op->call });
	}
}

void task_answer(struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, int r, const struct hk_err *err)
{
	if (r < 0)
		task_fail(s, call, ids, err, NULL);
	else
		convert_reply_empty(call, NULL);
}

/* ---- create to delete ---- */

static int check_create(const struct sbx_create *c, struct hk_err *err)
{
	if (!hk_is_valid_id(c->id))
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid container id", c->id);
	if (c->bundle[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "bundle \"%.200s\" is not an absolute path", c->bundle);
	return 0;
}

void task_create(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_auto(convert_create_done) struct convert_create c = { 0 };
	struct sbx_done done;
	struct hk_err err;

	if (convert_create(request, &c, &err) < 0 || check_create(&c.request, &err) < 0) {
		task_fail(s, call, &ids, &err, NULL);
		return;
	}
	done = task_op(s, call, &ids, convert_reply_created, CREATE_FAILED);
	if (!done.fn)
		return;
	if (!shim_life_creating(s->life)) {
		(void)hk_fail_text(&err, HK_UNAVAILABLE, ESHUTDOWN, "shim is shutting down");
		done.fn(done.arg, NULL, &err);
		return;
	}
	task_op_after(done, shim_life_created);
	c.request.traceparent = call->traceparent;
	sbx_create(s->pod, &c.request, done);
}

void task_start(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_started, ids.exec_id[0] ? EXEC_FAILED : START_FAILED);

	if (!done.fn)
		return;
	if (!ids.exec_id[0])
		sbx_trace(s->pod, ids.id, call->traceparent);
	sbx_start(s->pod, ids.id, ids.exec_id, done);
}

void task_state(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_state state;
	struct hk_err err;

	if (sbx_state(s->pod, ids.id, ids.exec_id, &state, &err) < 0)
		task_fail(s, call, &ids, &err, NULL);
	else
		convert_reply_state(call, &state);
}

void task_wait(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	/* Rounded up: an answer of "too late" must not come early. */
	int64_t timeout_ms = call->timeout_ns > 0 ? (call->timeout_ns - 1) / 1000000 + 1 : -1;
	struct sbx_done done = task_op(s, call, &ids, convert_reply_waited, NULL);

	if (!done.fn)
		return;
	ttrpc_call_park(call);
	sbx_wait(s->pod, ids.id, ids.exec_id, timeout_ms, done);
}

void task_delete(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_deleted, NULL);

	if (!done.fn)
		return;
	task_op_after(done, shim_life_deleted);
	if (!ids.exec_id[0])
		sbx_trace(s->pod, ids.id, call->traceparent);
	sbx_delete(s->pod, ids.id, ids.exec_id, done);
}

void task_kill(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	const struct convert_kill k = convert_kill(request);
	/* What is no signal is told after who is not there: clients take "not found" for done. */
	const int sig = k.signal > INT_MAX ? -1 : (int)k.signal;
	struct hk_err err;
	int r = sbx_kill(s->pod, ids.id, ids.exec_id, sig, k.all, &err);

	task_answer(s, call, &ids, r, &err);
}

void task_connect(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);

	convert_reply_connected(call, (uint32_t)getpid(), sbx_init_pid(s->pod, ids.id));
}

void task_shutdown(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;

	(void)request;
	/* With no container left the end has begun when the answer goes out, which it still does. */
	shim_life_shutdown(s->life);
	convert_reply_empty(call, NULL);
}

/* ---- inside a container ---- */

void task_exec(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	const struct sbx_exec e = convert_exec(request);
	struct hk_err err;
	int r;

	if (!hk_is_valid_id(e.exec_id))
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid exec id", e.exec_id);
	else
		r = sbx_exec(s->pod, &e, &err);
	task_answer(s, call, &ids, r, &err);
}

void task_pids(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_autofree struct sbx_pid *pids = NULL;
	struct hk_err err;
	size_t n = 0;

	if (sbx_pids(s->pod, ids.id, &pids, &n, &err) < 0)
		task_fail(s, call, &ids, &err, NULL);
	else
		convert_reply_pids(call, pids, n);
}

void task_close_io(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_state state;
	struct hk_err err;
	int r;

	/* Without the flag there is nothing to close, but the process must exist as for any other method. */
	if (convert_close_stdin(request))
		r = sbx_close_stdin(s->pod, ids.id, ids.exec_id, &err);
	else
		r = sbx_state(s->pod, ids.id, ids.exec_id, &state, &err);
	task_answer(s, call, &ids, r, &err);
}

void task_resize_pty(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	const struct convert_size size = convert_resize(request);
	struct hk_err err;
	int r;

	if (size.width > UINT16_MAX || size.height > UINT16_MAX)
		r = hk_fail_text(&err, HK_INVALID, EINVAL, "terminal size %ux%u is too large", size.width, size.height);
	else
		r = sbx_resize(s->pod, ids.id, ids.exec_id, (uint16_t)size.width, (uint16_t)size.height, &err);
	task_answer(s, call, &ids, r, &err);
}

/* ---- a whole container ---- */

void task_pause(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_empty, NULL);

	if (done.fn)
		sbx_pause(s->pod, ids.id, done);
}

void task_resume(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_empty, NULL);

	if (done.fn)
		sbx_resume(s->pod, ids.id, done);
}

void task_stats(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_auto(oci_stats_done) struct oci_stats stats = { 0 };
	const struct oci_stats *found;
	struct hk_err err;

	if (sbx_stats(s->pod, ids.id, &stats, &found, &err) < 0)
		task_fail(s, call, &ids, &err, NULL);
	else
		convert_reply_stats(call, found);
}

void task_update(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_empty, NULL);
	size_t len;
	const char *json = convert_resources(request, &len);

	if (done.fn)
		sbx_update(s->pod, ids.id, json, len, done);
}

void task_checkpoint(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_auto(convert_checkpoint_done) struct convert_checkpoint c = { 0 };
	struct sbx_done done;
	struct hk_err err;

	if (convert_checkpoint(request, &c, &err) < 0) {
		task_fail(s, call, &ids, &err, NULL);
		return;
	}
	done = task_op(s, call, &ids, convert_reply_empty, CHECKPOINT_FAILED);
	if (done.fn)
		sbx_checkpoint(s->pod, ids.id, &c.request, done);
}
