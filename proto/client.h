/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/client.h — the client side of one ttrpc connection without the socket: makes Request frames, matches Responses
 * to calls by their stream id, ends calls whose deadline is over. Times are whatever clock the caller uses, in
 * nanoseconds.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#include "proto/envelope.h"

struct ttrpc_buf;
struct ttrpc_frame;
struct ttrpc_pending;

/* The call's end, exactly once. res is valid meanwhile only; a deadline and a lost connection are codes 4 and 14. */
typedef void ttrpc_result_fn(void *arg, const struct ttrpc_response *res);

struct ttrpc_client {
	uint32_t next_stream; /* odd */
	struct ttrpc_pending *pending;
};
/* What to call. */
struct ttrpc_outcall {
	const char *service;
	const char *method;
	const char *ns;         /* sent as metadata; NULL = none */
	const uint8_t *payload; /* borrowed */
	size_t payload_len;
	uint64_t now_ns;
	uint64_t timeout_ns; /* 0 = none; also told to the server */
};

void ttrpc_client_init(struct ttrpc_client *c);
/* Makes the frame to send and remembers fn. -EMSGSIZE, -ENOMEM; -EOVERFLOW when stream ids are used up (reconnect). */
int ttrpc_client_call(struct ttrpc_client *c, const struct ttrpc_outcall *call, ttrpc_result_fn *fn, void *arg,
    struct ttrpc_buf **ret_frame);
/* A frame from the server. Answers to unknown streams are ignored; -EPROTO for a Response that is no ttrpc.Response. */
int ttrpc_client_input(struct ttrpc_client *c, const struct ttrpc_frame *f);
/* The earliest deadline, 0 = none. */
uint64_t ttrpc_client_deadline_ns(const struct ttrpc_client *c);
/* Ends the calls whose deadline is at or before now_ns with DeadlineExceeded. */
void ttrpc_client_expire(struct ttrpc_client *c, uint64_t now_ns);
/* The connection is gone: ends every call with Unavailable and `text`. The client can be used again after _init. */
void ttrpc_client_done(struct ttrpc_client *c, const char *text);
