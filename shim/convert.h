/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/convert.h — the border between protobuf messages and plain structs. Only convert*.c see both sides.
 *
 * Requests come as the ProtobufCMessage that proto/dispatch made for the method; what is taken out of them is borrowed and lives as
 * long as they do. Replies and failures end the call. Nothing here decides anything.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/base/err.h"
#include "proto/envelope.h"
#include "proto/options.h"
#include "sandbox/sandbox.h"

struct oci_stats;
struct shim_events;
struct ttrpc_call;

/* ---- requests ---- */
/* Every Task request names a container, most may name an exec; "" = not given. */
struct convert_ids {
	const char *id;
	const char *exec_id;
};
struct convert_ids convert_ids(const ProtobufCMessage *m);

struct convert_create {
	struct sbx_create request;
	struct oci_rootfs_mount *mounts; /* owned */
	const char **words;              /* owned; all mounts' options, each list with its NULL */
	struct rt_options options;       /* owned */
};
/* Options of a wrong form or an unknown type are HK_INVALID. End with convert_create_done on success. */
int convert_create(const ProtobufCMessage *m, struct convert_create *ret, struct hk_err *err);
void convert_create_done(struct convert_create *c);

struct convert_checkpoint {
	struct sbx_checkpoint request;
	ProtobufCMessage *options; /* owned; the request's strings are its */
};
int convert_checkpoint(const ProtobufCMessage *m, struct convert_checkpoint *ret, struct hk_err *err);
void convert_checkpoint_done(struct convert_checkpoint *c);

struct sbx_exec convert_exec(const ProtobufCMessage *m);
struct convert_kill {
	uint32_t signal;
	bool all;
};
struct convert_kill convert_kill(const ProtobufCMessage *m);
struct convert_size {
	uint32_t width, height;
};
struct convert_size convert_resize(const ProtobufCMessage *m);
bool convert_close_stdin(const ProtobufCMessage *m);
/* The LinuxResources JSON; NULL and 0 when absent. */
const char *convert_resources(const ProtobufCMessage *m, size_t *ret_len);

/* ---- replies ---- */
void convert_reply_created(struct ttrpc_call *call, const struct sbx_reply *r);
void convert_reply_started(struct ttrpc_call *call, const struct sbx_reply *r);
void convert_reply_waited(struct ttrpc_call *call, const struct sbx_reply *r);
void convert_reply_deleted(struct ttrpc_call *call, const struct sbx_reply *r);
void convert_reply_empty(struct ttrpc_call *call, const struct sbx_reply *r); /* r may be NULL */
void convert_reply_state(struct ttrpc_call *call, const struct sbx_state *s);
void convert_reply_pids(struct ttrpc_call *call, const struct sbx_pid *pids, size_t n);
void convert_reply_connected(struct ttrpc_call *call, uint32_t shim_pid, uint32_t task_pid);
void convert_reply_stats(struct ttrpc_call *call, const struct oci_stats *s);

/* For the other convert_*.c. Fills a Husk__Types__Timestamp; NULL for zero, which means "not yet": containerd reads the epoch then. */
void *convert_timestamp(const struct timespec *at, void *buf);
/* Metrics as an Any: *ret is heap, *ret_type is not. */
int convert_stats(const struct oci_stats *s, struct hk_arena *arena, char **ret_type, uint8_t **ret, size_t *ret_len);

/* ---- errors ---- */
/*
 * Never Unimplemented from Create or Connect: containerd would take the whole shim for a version 2 one. And never NotFound from Create: what
 * is missing there is a file, not the container that the client asked for.
 */
enum ttrpc_code convert_code(enum hk_kind kind, const char *method);
/*
 * The text as containerd's clients know it: "<prefix>: " (may be NULL) before a failure of the runtime itself, not before a wrong id or a wrong
 * moment; ": not found" and ": already exists" at the end of those classes, which containerd strips.
 */
void convert_text(const struct hk_err *err, const char *method, const char *prefix, char *ret, size_t size);
/* detail: lines that follow the text; NULL or "" = none. */
void convert_fail(struct ttrpc_call *call, const struct hk_err *err, const char *prefix, const char *detail);

/* ---- events ---- */
void convert_event(struct shim_events *events, const struct sbx_event *ev);
