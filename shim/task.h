/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/task.h — the Task service: one set of handlers for containerd.task.v2.Task and containerd.task.v3.Task, whose messages are the
 * same bytes. A handler checks what only the border can know, hands plain structs to sandbox/ and answers when that is done.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "oci/base/list.h"
#include "proto/dispatch.h"
#include "sandbox/sandbox.h"

struct convert_ids;
struct hk_err;
struct sbx_pod;
struct shim_history;
struct shim_life;

/* The handlers' ctx. */
struct task_service {
	struct sbx_pod *pod;
	struct shim_life *life;
	struct shim_history *history; /* NULL = failures are logged only */
	struct hk_list pending;       /* calls that sandbox/ will end */
};

/* A call without an answer so far. */
struct task_pending {
	const char *method, *id, *exec_id;
	uint64_t age_ms;
	const struct ttrpc_call *call;
};
typedef void task_pending_fn(void *arg, const struct task_pending *p);
void task_each_pending(const struct task_service *s, task_pending_fn *fn, void *arg);

/* name in the protocol, handler, request message in C */
#define TASK_METHODS(X)                                          \
	X(Create, task_create, create_task_request)              \
	X(Start, task_start, start_request)                      \
	X(State, task_state, state_request)                      \
	X(Delete, task_delete, delete_request)                   \
	X(Exec, task_exec, exec_process_request)                 \
	X(Kill, task_kill, kill_request)                         \
	X(Wait, task_wait, wait_request)                         \
	X(Connect, task_connect, connect_request)                \
	X(Shutdown, task_shutdown, shutdown_request)             \
	X(Pids, task_pids, pids_request)                         \
	X(CloseIO, task_close_io, close_iorequest)               \
	X(ResizePty, task_resize_pty, resize_pty_request)        \
	X(Pause, task_pause, pause_request)                      \
	X(Resume, task_resume, resume_request)                   \
	X(Stats, task_stats, stats_request)                      \
	X(Update, task_update, update_task_request)              \
	X(Checkpoint, task_checkpoint, checkpoint_task_request)

#define TASK_HANDLER(name, fn, message) void fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request);
TASK_METHODS(TASK_HANDLER)
#undef TASK_HANDLER

enum { TASK_N_METHODS = 17 };
extern const struct ttrpc_method task_methods[TASK_N_METHODS];

/* ---- for every service whose calls sandbox/ ends ---- */
typedef void task_reply_fn(struct ttrpc_call *call, const struct sbx_reply *r);
typedef void task_after_fn(struct shim_life *life);
/* What sandbox/ shall call at the end; fn NULL: no memory, the call is answered. */
struct sbx_done task_op(struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, task_reply_fn *reply,
    const char *prefix);
/* Runs after the answer, whatever became of the call. */
void task_op_after(struct sbx_done done, task_after_fn *after);
void task_fail(
    struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, const struct hk_err *err, const char *prefix);
/* Ends a call that needed no waiting. */
void task_answer(struct task_service *s, struct ttrpc_call *call, const struct convert_ids *ids, int r, const struct hk_err *err);
