/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/dispatch.h — the server side of ttrpc without the socket: frames in, handler calls and Response frames out.
 *
 * A handler gets a struct ttrpc_call and answers it exactly once with ttrpc_call_reply or ttrpc_call_fail, at once or
 * later, in any order; that ends (frees) the call. The request message is valid only until the handler returns. When
 * the connection goes away first, the call becomes an orphan: its answer goes nowhere, and its owner is told if it
 * asked.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/envelope.h"

struct ttrpc_buf;
struct ttrpc_frame;
struct ttrpc_call;
struct ttrpc_session;

typedef void ttrpc_handler_fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request);
/* The connection of `call` is gone. The owner forgets what waits for it and answers it (into nothing) to free it. */
typedef void ttrpc_orphan_fn(void *arg, struct ttrpc_call *call);
/* Takes one frame to write; NULL = no memory for an answer: drop the connection, but not from inside the sink. */
typedef void ttrpc_sink_fn(void *owner, struct ttrpc_buf *take_frame);

struct ttrpc_method {
	const char *name;
	const ProtobufCMessageDescriptor *request; /* payloads are unpacked here, once for all handlers */
	ttrpc_handler_fn *fn;
};
/* Two names of one service (containerd.task.v2.Task and .v3.Task) are two rows with the same table. */
struct ttrpc_service {
	const char *name;
	const struct ttrpc_method *methods;
	size_t n_methods;
	void *ctx; /* first argument of the handlers */
};
enum { TTRPC_PARKED_MAX = 16384 };
struct ttrpc_server {
	const struct ttrpc_service *services;
	size_t n_services;
	size_t max_calls; /* unanswered on live connections; beyond it a request gets ResourceExhausted */
	size_t n_calls;
	size_t n_parked;  /* of them not counted: see ttrpc_call_park */
};

/* One connection. */
struct ttrpc_session {
	struct ttrpc_server *server;
	ttrpc_sink_fn *sink;
	void *owner;
	uint64_t now_ns; /* CLOCK_MONOTONIC, for the owner to set before an input */
	uint32_t last_stream;
	struct ttrpc_call *calls; /* unanswered */
};

void ttrpc_session_init(struct ttrpc_session *s, struct ttrpc_server *server, ttrpc_sink_fn *sink, void *owner);
/* Acts on one frame: wrong stream ids, unknown names and bad bytes are answered, unknown frame types ignored. */
void ttrpc_session_input(struct ttrpc_session *s, const struct ttrpc_frame *f);
/*
 * An unanswered call that came before this process was replaced by another version of itself: made again in a new session. _again runs its handler, with a
 * request of the given bytes; _resume gives the bare call to whoever will answer it. NULL: no such method, or no memory, and that was its answer.
 */
struct ttrpc_past_call {
	const char *service, *method;
	uint32_t stream;
	int64_t timeout_ns; /* what is left of it; 0 = none */
	const uint8_t *payload;
	size_t payload_len;
};
void ttrpc_session_again(struct ttrpc_session *s, const struct ttrpc_past_call *p);
struct ttrpc_call *ttrpc_session_resume(struct ttrpc_session *s, const struct ttrpc_past_call *p);
/* Orphans every unanswered call (and calls their ttrpc_orphan_fn). The sink is not called again. */
void ttrpc_session_done(struct ttrpc_session *s);

struct ttrpc_call {
	/* for handlers, read only */
	const char *service; /* from the tables */
	const char *method;
	int64_t timeout_ns;      /* relative to now, > 0; 0 = no deadline */
	const char *traceparent; /* "" when absent, or too long to be one */
	uint64_t since_ns;       /* ttrpc_session.now_ns when it came */
	/* private to dispatch.c */
	struct ttrpc_session *session; /* NULL = orphan */
	uint32_t stream;
	struct ttrpc_call *next, **link;
	ttrpc_orphan_fn *on_orphan;
	void *arg;
	bool is_parked;
};

/* Success; msg NULL = google.protobuf.Empty. An answer over 4 MiB becomes ResourceExhausted. Frees the call. */
void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *msg);
/* The same with a message that is packed already; borrowed. */
void ttrpc_call_reply_bytes(struct ttrpc_call *call, const uint8_t *payload, size_t len);
/* Failure; code must not be TTRPC_OK. Frees the call. */
void ttrpc_call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text);
/*
 * The call waits for something that may never come (Task.Wait), and ttrpc has no cancel: clients that gave up leave it behind. So it no longer
 * counts as in flight, up to TTRPC_PARKED_MAX of them.
 */
void ttrpc_call_park(struct ttrpc_call *call);
/* Asks to be told when the connection goes away (never from inside this call). */
void ttrpc_call_on_orphan(struct ttrpc_call *call, ttrpc_orphan_fn *fn, void *arg);
bool ttrpc_call_is_orphan(const struct ttrpc_call *call);
