/* SPDX-License-Identifier: Apache-2.0 */
/* tests/shim/exchange.c — see exchange.h. */
#include "tests/shim/exchange.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/task.pb-c.h"

static void handler(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct convert_exchange *x = ctx;

	(void)request;
	x->reply(call, x->arg);
}

static void on_frame(void *owner, struct ttrpc_buf *take_frame)
{
	struct convert_exchange *x = owner;
	struct ttrpc_response r;

	assert_non_null(take_frame);
	assert_int_equal(ttrpc_response_decode(&r, take_frame->data + TTRPC_HEADER_BYTES, take_frame->len - TTRPC_HEADER_BYTES), 0);
	x->n_answers++;
	x->code = r.code;
	(void)snprintf(x->text, sizeof(x->text), "%s", r.message);
	x->len = r.payload_len;
	x->payload = malloc(r.payload_len + 1);
	assert_non_null(x->payload);
	if (r.payload_len)
		memcpy(x->payload, r.payload, r.payload_len);
	ttrpc_response_done(&r);
	ttrpc_buf_free(take_frame);
}

void convert_exchange_done(struct convert_exchange *x)
{
	free(x->payload);
}

void convert_run(struct convert_exchange *x, const char *method)
{
	const struct ttrpc_method methods[] = { { method, &husk__task__connect_request__descriptor, handler } };
	const struct ttrpc_service service = { "s", methods, 1, x };
	struct ttrpc_server server = { .services = &service, .n_services = 1, .max_calls = 8 };
	const struct ttrpc_request request = { .service = "s", .method = method };
	struct ttrpc_session session;
	struct ttrpc_reader reader = { 0 };
	struct ttrpc_buf *buf;
	struct ttrpc_frame frame;
	const uint8_t *data;
	size_t len;

	ttrpc_session_init(&session, &server, on_frame, x);
	assert_int_equal(ttrpc_request_encode(&request, NULL, 1, &buf), 0);
	data = buf->data;
	len = buf->len;
	assert_true(ttrpc_reader_next(&reader, &data, &len, &frame));
	ttrpc_session_input(&session, &frame);
	ttrpc_session_done(&session);
	ttrpc_reader_done(&reader);
	ttrpc_buf_free(buf);
	assert_int_equal(x->n_answers, 1);
}
