/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/dispatch.c — from a frame to the handler of its method, and from a handler's answer to a Response frame. A call
 * is one small allocation, listed in its session while it is unanswered. Codes and texts are those of the reference
 * server: containerd falls back from Task v3 to v2, and probes for streaming, by Unimplemented.
 */
#include "proto/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

enum { TRACEPARENT_LEN = 55 }; /* of W3C's version 00: 00-<32 hex>-<16 hex>-<2 hex> */

void ttrpc_session_init(struct ttrpc_session *s, struct ttrpc_server *server, ttrpc_sink_fn *sink, void *owner)
{
	*s = (struct ttrpc_session){ .server = server, .sink = sink, .owner = owner };
}

static void refuse(struct ttrpc_session *s, uint32_t stream, enum ttrpc_code code, const char *text)
{
	struct ttrpc_buf *frame = NULL;

	(void)ttrpc_response_encode_error(code, text, stream, &frame);
	s->sink(s->owner, frame);
}

static void refuse_name(struct ttrpc_session *s, uint32_t stream, const char *what, const char *name)
{
	char text[200];

	(void)snprintf(text, sizeof(text), "%s %s", what, name);
	refuse(s, stream, TTRPC_UNIMPLEMENTED, text);
}

static const struct ttrpc_service *find_service(const struct ttrpc_server *server, const char *name)
{
	for (size_t i = 0; i < server->n_services; i++)
		if (strcmp(server->services[i].name, name) == 0)
			return &server->services[i];
	return NULL;
}

static const struct ttrpc_method *find_method(const struct ttrpc_service *service, const char *name)
{
	for (size_t i = 0; i < service->n_methods; i++)
		if (strcmp(service->methods[i].name, name) == 0)
			return &service->methods[i];
	return NULL;
}

static struct ttrpc_call *call_new(struct ttrpc_session *s, uint32_t stream, const char *traceparent)
{
	const size_t len = strlen(traceparent) <= TRACEPARENT_LEN ? strlen(traceparent) : 0;
	struct ttrpc_call *c = calloc(1, sizeof(*c) + len + 1); /* few have one, so only they pay for it */

	if (!c)
		return NULL;
	c->traceparent = memcpy(c + 1, traceparent, len);
	c->since_ns = s->now_ns;
	c->session = s;
	c->stream = stream;
	c->next = s->calls;
	c->link = &s->calls;
	if (c->next)
		c->next->link = &c->next;
	s->calls = c;
	s->server->n_calls++;
	return c;
}

static void call_unlink(struct ttrpc_call *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (c->is_parked)
		c->session->server->n_parked--;
	else
		c->session->server->n_calls--;
	c->session = NULL;
}

/* The method is known: unpack the payload and run the handler, which owns the call from then on. */
static void run(struct ttrpc_session *s, uint32_t stream, const struct ttrpc_service *service,
    const struct ttrpc_method *method, const struct ttrpc_request *rq)
{
	ProtobufCMessage *msg;
	struct ttrpc_call *c;

	if (rq->timeout_ns < 0) {
		refuse(s, stream, TTRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
		return;
	}
	if (s->server->n_calls >= s->server->max_calls) {
		refuse(s, stream, TTRPC_RESOURCE_EXHAUSTED, "too many calls in flight");
		return;
	}
	msg = ttrpc_unpack(method->request, rq->payload, rq->payload_len);
	if (!msg) {
		refuse(s, stream, TTRPC_INTERNAL, "error unmarshalling payload");
		return;
	}
	c = call_new(s, stream, rq->traceparent);
	if (!c) {
		refuse(s, stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		protobuf_c_message_free_unpacked(msg, NULL);
		return;
	}
	c->service = service->name;
	c->method = method->name;
	c->timeout_ns = rq->timeout_ns;
	method->fn(service->ctx, c, msg);
	protobuf_c_message_free_unpacked(msg, NULL);
}

static const struct ttrpc_method *find(struct ttrpc_session *s, const struct ttrpc_past_call *p, const struct ttrpc_service **ret)
{
	const struct ttrpc_method *method;

	*ret = find_service(s->server, p->service);
	method = *ret ? find_method(*ret, p->method) : NULL;
	if (!method)
		refuse_name(s, p->stream, "method", p->method);
	return method;
}

void ttrpc_session_again(struct ttrpc_session *s, const struct ttrpc_past_call *p)
{
	const struct ttrpc_request rq = { .service = p->service, .method = p->method, .payload = p->payload, .payload_len = p->payload_len,
		.timeout_ns = p->timeout_ns, .traceparent = "" };
	const struct ttrpc_service *service;
	const struct ttrpc_method *method = find(s, p, &service);

	if (method)
		run(s, p->stream, service, method, &rq);
}

struct ttrpc_call *ttrpc_session_resume(struct ttrpc_session *s, const struct ttrpc_past_call *p)
{
	const struct ttrpc_service *service;
	const struct ttrpc_method *method = find(s, p, &service);
	struct ttrpc_call *c = method ? call_new(s, p->stream, "") : NULL;

	if (method && !c)
		refuse(s, p->stream, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
	if (!c)
		return NULL;
	c->service = service->name;
	c->method = method->name;
	return c;
}

static void on_request(struct ttrpc_session *s, const struct ttrpc_frame *f)
{
	const struct ttrpc_service *service;
	const struct ttrpc_method *method;
	struct ttrpc_request rq;

	if (f->stream <= s->last_stream) {
		refuse(s, f->stream, TTRPC_INVALID_ARGUMENT, "stream id cannot be re-used and must increment");
		return;
	}
	s->last_stream = f->stream;
	if (ttrpc_request_decode(&rq, f->payload, f->len) < 0) {
		refuse(s, f->stream, TTRPC_INVALID_ARGUMENT, "error unmarshalling ttrpc request");
		return;
	}
	service = find_service(s->server, rq.service);
	method = service ? find_method(service, rq.method) : NULL;
	if (!service)
		refuse_name(s, f->stream, "service", rq.service);
	else if (!method)
		refuse_name(s, f->stream, "method", rq.method);
	else if (f->flags & TTRPC_REMOTE_OPEN)
		refuse_name(s, f->stream, "streaming call of unary method", rq.method);
	else
		run(s, f->stream, service, method, &rq);
	ttrpc_request_done(&rq);
}

void ttrpc_session_input(struct ttrpc_session *s, const struct ttrpc_frame *f)
{
	char text[80];

	if (f->is_skipped) {
		if (f->len > TTRPC_PAYLOAD_MAX)
			(void)snprintf(text, sizeof(text), "message length %u exceeds the maximum message size of %d", f->len,
			    TTRPC_PAYLOAD_MAX);
		else
			(void)snprintf(text, sizeof(text), "out of memory for a message of %u bytes", f->len);
		refuse(s, f->stream, TTRPC_RESOURCE_EXHAUSTED, text);
		return;
	}
	if (f->type != TTRPC_REQUEST && f->type != TTRPC_DATA)
		return;
	if (f->stream % 2 == 0) {
		refuse(s, f->stream, TTRPC_INVALID_ARGUMENT, "stream id must be odd for client initiated streams");
		return;
	}
	if (f->type == TTRPC_REQUEST)
		on_request(s, f);
	else if (f->stream > s->last_stream)
		refuse(s, f->stream, TTRPC_INVALID_ARGUMENT, "stream id is not active");
	/*
	 * Data for a stream that was opened belongs to a streaming call, which was refused (or will be answered). A
	 * second Response for it could block the client's receive loop, which buffers one message a stream.
	 */
}

void ttrpc_session_done(struct ttrpc_session *s)
{
	struct ttrpc_call *c;

	/* An owner may answer other calls of this session from its callback, so the list is read anew each time. */
	while ((c = s->calls)) {
		call_unlink(c);
		if (c->on_orphan)
			c->on_orphan(c->arg, c);
	}
}

static void call_end(struct ttrpc_call *call, struct ttrpc_buf *frame)
{
	struct ttrpc_session *s = call->session;

	call_unlink(call);
	free(call);
	s->sink(s->owner, frame);
}

static void reply_end(struct ttrpc_call *call, int r, struct ttrpc_buf *frame)
{
	if (r == -EMSGSIZE)
		(void)ttrpc_response_encode_error(
		    TTRPC_RESOURCE_EXHAUSTED, "answer exceeds the maximum message size", call->stream, &frame);
	call_end(call, frame);
}

void ttrpc_call_reply(struct ttrpc_call *call, const ProtobufCMessage *msg)
{
	struct ttrpc_buf *frame = NULL;
	int r;

	if (!call->session) {
		free(call);
		return;
	}
	r = ttrpc_response_encode(msg, call->stream, &frame);
	reply_end(call, r, frame);
}

void ttrpc_call_reply_bytes(struct ttrpc_call *call, const uint8_t *payload, size_t len)
{
	struct ttrpc_buf *frame = NULL;
	int r;

	if (!call->session) {
		free(call);
		return;
	}
	r = ttrpc_response_encode_bytes(payload, len, call->stream, &frame);
	reply_end(call, r, frame);
}

void ttrpc_call_fail(struct ttrpc_call *call, enum ttrpc_code code, const char *text)
{
	struct ttrpc_buf *frame = NULL;

	assert(code != TTRPC_OK);
	if (!call->session) {
		free(call);
		return;
	}
	(void)ttrpc_response_encode_error(code, text, call->stream, &frame);
	call_end(call, frame);
}

void ttrpc_call_park(struct ttrpc_call *call)
{
	struct ttrpc_server *server = call->session ? call->session->server : NULL;

	if (!server || call->is_parked || server->n_parked >= TTRPC_PARKED_MAX)
		return;
	call->is_parked = true;
	server->n_parked++;
	server->n_calls--;
}

void ttrpc_call_on_orphan(struct ttrpc_call *call, ttrpc_orphan_fn *fn, void *arg)
{
	call->on_orphan = fn;
	call->arg = arg;
}

bool ttrpc_call_is_orphan(const struct ttrpc_call *call)
{
	return !call->session;
}
