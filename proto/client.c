/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/client.c — outgoing ttrpc calls. Each pending call is one small allocation, unlinked before its result is told,
 * so a result function may make the next call.
 */
#include "proto/client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proto/frame.h"

struct ttrpc_pending {
	struct ttrpc_pending *next;
	uint32_t stream;
	uint64_t deadline_ns; /* 0 = none */
	ttrpc_result_fn *fn;
	void *arg;
};

void ttrpc_client_init(struct ttrpc_client *c)
{
	*c = (struct ttrpc_client){ .next_stream = 1 };
}

int ttrpc_client_call(struct ttrpc_client *c, const struct ttrpc_outcall *call, ttrpc_result_fn *fn, void *arg,
    struct ttrpc_buf **ret_frame)
{
	const struct ttrpc_request rq = {
		.service = call->service,
		.method = call->method,
		.payload = call->payload,
		.payload_len = call->payload_len,
		.timeout_ns = (int64_t)call->timeout_ns,
	};
	struct ttrpc_pending *p;
	int r;

	if (c->next_stream > UINT32_MAX - 2)
		return -EOVERFLOW;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	r = ttrpc_request_encode(&rq, call->ns, c->next_stream, ret_frame);
	if (r < 0) {
		free(p);
		return r;
	}
	p->stream = c->next_stream;
	p->deadline_ns = call->timeout_ns ? call->now_ns + call->timeout_ns : 0;
	p->fn = fn;
	p->arg = arg;
	p->next = c->pending;
	c->pending = p;
	c->next_stream += 2;
	return 0;
}

static void end(struct ttrpc_pending **link, const struct ttrpc_response *res)
{
	struct ttrpc_pending *p = *link;
	ttrpc_result_fn *fn = p->fn;
	void *arg = p->arg;

	*link = p->next;
	free(p);
	fn(arg, res);
}

static void end_with(struct ttrpc_pending **link, enum ttrpc_code code, const char *text)
{
	const struct ttrpc_response res = { .code = code, .message = text };

	end(link, &res);
}

int ttrpc_client_input(struct ttrpc_client *c, const struct ttrpc_frame *f)
{
	struct ttrpc_pending **link = &c->pending;
	struct ttrpc_response res;

	if (f->type != TTRPC_RESPONSE)
		return 0;
	while (*link && (*link)->stream != f->stream)
		link = &(*link)->next;
	if (!*link)
		return 0;
	if (f->is_skipped) {
		end_with(link, TTRPC_RESOURCE_EXHAUSTED, "answer exceeds the maximum message size");
		return 0;
	}
	if (ttrpc_response_decode(&res, f->payload, f->len) < 0)
		return -EPROTO;
	end(link, &res);
	ttrpc_response_done(&res);
	return 0;
}

uint64_t ttrpc_client_deadline_ns(const struct ttrpc_client *c)
{
	uint64_t first = 0;

	for (const struct ttrpc_pending *p = c->pending; p; p = p->next)
		if (p->deadline_ns && (!first || p->deadline_ns < first))
			first = p->deadline_ns;
	return first;
}

void ttrpc_client_expire(struct ttrpc_client *c, uint64_t now_ns)
{
	struct ttrpc_pending **link = &c->pending;

	while (*link) {
		if (!(*link)->deadline_ns || (*link)->deadline_ns > now_ns) {
			link = &(*link)->next;
			continue;
		}
		end_with(link, TTRPC_DEADLINE_EXCEEDED, "deadline exceeded");
		/* The result function may have made calls, which stand at the front of the list. */
		link = &c->pending;
	}
}

void ttrpc_client_done(struct ttrpc_client *c, const char *text)
{
	/* A result function that calls again would make this endless: only what is there now is ended. */
	struct ttrpc_pending *list = c->pending;

	c->pending = NULL;
	while (list)
		end_with(&list, TTRPC_UNAVAILABLE, text);
}
