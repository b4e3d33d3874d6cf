/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/sandbox_svc.c — see sandbox_svc.h. Who asks for a sandbox that is gone gets the answer that lets containerd finish: "not ready" from
 * SandboxStatus, since it passes a NotFound on to the kubelet there; success from ShutdownSandbox; NotFound from the rest.
 */
#include "shim/sandbox_svc.h"

#include <errno.h>
#include <sys/utsname.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "sandbox/sandbox.h"
#include "shim/convert_sandbox.h"
#include "shim/life.h"
#include "shim/task.h"

void sandbox_create(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_auto(convert_sandbox_done) struct convert_sandbox c = { 0 };
	struct hk_err err;
	int r;

	if (!shim_life_creating(s->life)) {
		r = hk_fail_text(&err, HK_UNAVAILABLE, ESHUTDOWN, "shim is shutting down");
	} else {
		r = convert_sandbox(request, &c, &err);
		if (r == 0)
			r = shim_life_enter(s->life, c.config.cgroup_parent, &err);
		if (r == 0)
			r = sbx_sandbox_create(s->pod, &c.config, &err);
		shim_life_created(s->life);
	}
	task_answer(s, call, &ids, r, &err);
}

void sandbox_start(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_sandbox_started, "start sandbox");

	if (done.fn)
		sbx_sandbox_start(s->pod, ids.id, done);
}

void sandbox_platform(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct utsname u = { 0 };

	(void)ctx;
	(void)request;
	(void)uname(&u); /* fails for a bad address only */
	convert_reply_platform(call, u.machine);
}

/* The time limit has no use: what is asked for here is a SIGKILL for all but a process of our own, which ends at once. */
void sandbox_stop(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_empty, "stop sandbox");

	if (done.fn)
		sbx_sandbox_stop(s->pod, ids.id, done);
}

void sandbox_wait(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_sandbox_waited, NULL);

	if (!done.fn)
		return;
	ttrpc_call_park(call);
	sbx_sandbox_wait(s->pod, ids.id, done);
}

void sandbox_status(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_sandbox_status status = { .id = ids.id, .why = "" };

	(void)sbx_sandbox_status(s->pod, ids.id, &status, NULL);
	convert_reply_sandbox_status(call, &status, convert_is_verbose(request));
}

void sandbox_ping(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_sandbox_status status;
	struct hk_err err;

	task_answer(s, call, &ids, sbx_sandbox_status(s->pod, ids.id, &status, &err), &err);
}

void sandbox_shutdown(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	struct sbx_done done = task_op(s, call, &ids, convert_reply_empty, "shut down sandbox");

	if (!done.fn)
		return;
	task_op_after(done, shim_life_shutdown_sandbox);
	sbx_sandbox_shutdown(s->pod, ids.id, done);
}

void sandbox_metrics(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct task_service *s = ctx;
	const struct convert_ids ids = convert_ids(request);
	hk_auto(oci_stats_done) struct oci_stats stats = { 0 };
	struct oci_cgroup *cg = NULL;
	struct hk_err err;

	if (sbx_sandbox_cgroup(s->pod, ids.id, &cg, &err) < 0 || oci_cgroup_stats(cg, &stats, &err) < 0)
		task_fail(s, call, &ids, &err, NULL);
	else
		convert_reply_sandbox_metrics(call, ids.id, &stats);
	oci_cgroup_free(cg);
}
