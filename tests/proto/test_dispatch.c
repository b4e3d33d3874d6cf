/* SPDX-License-Identifier: Apache-2.0 */
/* The server's rules: names, stream ids, bad bytes, answers in any order and after the connection's end. */
#include "proto/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/names.h"
#include "proto/task.pb-c.h"

enum { MAX_OUT = 8 };

/* A server with one service under two names; `hold` keeps calls open, `sink` keeps what was sent. */
struct fixture {
	struct ttrpc_server server;
	struct ttrpc_service services[2];
	struct ttrpc_session session;
	struct ttrpc_call *held[MAX_OUT];
	int n_held;
	int n_orphans;
	char last_id[32];
	char last_trace[32];
	const char *last_service;
	int64_t last_timeout_ns;
	struct ttrpc_buf *out[MAX_OUT];
	int n_out;
	int n_no_memory;
};

static void on_start(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	const Husk__Task__StartRequest *rq = (const void *)request;
	struct fixture *f = ctx;
	Husk__Task__StartResponse m;

	husk__task__start_response__init(&m);
	m.pid = 42;
	(void)strncpy(f->last_id, rq->id, sizeof(f->last_id) - 1);
	(void)strncpy(f->last_trace, call->traceparent, sizeof(f->last_trace) - 1);
	f->last_service = call->service;
	f->last_timeout_ns = call->timeout_ns;
	ttrpc_call_reply(call, &m.base);
}

static void on_wait(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct fixture *f = ctx;

	(void)request;
	f->held[f->n_held++] = call;
}

static void on_kill(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	(void)ctx;
	(void)request;
	ttrpc_call_fail(call, TTRPC_NOT_FOUND, "process already finished: not found");
}

static const struct ttrpc_method methods[] = {
	{ "Start", &husk__task__start_request__descriptor, on_start },
	{ "Wait", &husk__task__wait_request__descriptor, on_wait },
	{ "Kill", &husk__task__kill_request__descriptor, on_kill },
};

static void sink(void *owner, struct ttrpc_buf *take_frame)
{
	struct fixture *f = owner;

	if (!take_frame) {
		f->n_no_memory++;
		return;
	}
	assert_true(f->n_out < MAX_OUT);
	f->out[f->n_out++] = take_frame;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->services[0] = (struct ttrpc_service){ TTRPC_SERVICE_TASK_V2, methods, 3, f };
	f->services[1] = (struct ttrpc_service){ TTRPC_SERVICE_TASK_V3, methods, 3, f };
	f->server = (struct ttrpc_server){ .services = f->services, .n_services = 2, .max_calls = 4 };
	ttrpc_session_init(&f->session, &f->server, sink, f);
	*state = f;
	return 0;
}

static void clear_out(struct fixture *f)
{
	for (int i = 0; i < f->n_out; i++)
		ttrpc_buf_free(f->out[i]);
	f->n_out = 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ttrpc_session_done(&f->session);
	for (int i = 0; i < f->n_held; i++)
		ttrpc_call_reply(f->held[i], NULL);
	clear_out(f);
	assert_int_equal(f->n_no_memory, 0);
	free(f);
	return 0;
}

static void input(struct fixture *f, uint8_t type, uint8_t flags, uint32_t stream, const uint8_t *payload, size_t len)
{
	const struct ttrpc_frame frame = {
		.len = (uint32_t)len, .stream = stream, .type = type, .flags = flags, .payload = payload
	};

	ttrpc_session_input(&f->session, &frame);
}

/* A request for service.method with id "c1". */
static void request(struct fixture *f, uint32_t stream, const char *service, const char *method, int64_t timeout_ns)
{
	const struct ttrpc_request rq = {
		.service = service,
		.method = method,
		.payload = (const uint8_t *)"\x0a\x02" "c1",
		.payload_len = 4,
		.timeout_ns = timeout_ns,
	};
	struct ttrpc_buf *b;

	assert_int_equal(ttrpc_request_encode(&rq, "k8s.io", stream, &b), 0);
	input(f, TTRPC_REQUEST, 0, stream, b->data + TTRPC_HEADER_BYTES, b->len - TTRPC_HEADER_BYTES);
	ttrpc_buf_free(b);
}

/* The one answer waiting is for `stream` with `code` and, if given, `text`. */
static void assert_answer(struct fixture *f, uint32_t stream, enum ttrpc_code code, const char *text)
{
	struct ttrpc_response r;
	const uint8_t *d;

	assert_int_equal(f->n_out, 1);
	d = f->out[0]->data;
	assert_int_equal(d[8], TTRPC_RESPONSE);
	assert_int_equal(d[7] | d[6] << 8, stream);
	assert_int_equal(ttrpc_response_decode(&r, d + TTRPC_HEADER_BYTES, f->out[0]->len - TTRPC_HEADER_BYTES), 0);
	assert_int_equal(r.code, code);
	if (text)
		assert_string_equal(r.message, text);
	if (code != TTRPC_OK)
		assert_int_equal(r.payload_len, 0);
	ttrpc_response_done(&r);
	clear_out(f);
}

static void test_both_service_names(void **state)
{
	struct fixture *f = *state;

	request(f, 1, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_int_equal(f->out[0]->len, TTRPC_HEADER_BYTES + 4);
	assert_memory_equal(f->out[0]->data + TTRPC_HEADER_BYTES, "\x12\x02\x08\x2a", 4);
	assert_string_equal(f->last_id, "c1");
	assert_string_equal(f->last_service, TTRPC_SERVICE_TASK_V2);
	assert_answer(f, 1, TTRPC_OK, "");
	request(f, 3, TTRPC_SERVICE_TASK_V3, "Start", 7);
	assert_string_equal(f->last_service, TTRPC_SERVICE_TASK_V3);
	assert_int_equal(f->last_timeout_ns, 7);
	assert_answer(f, 3, TTRPC_OK, "");
	assert_int_equal(f->server.n_calls, 0);
}

static void test_failure(void **state)
{
	struct fixture *f = *state;

	request(f, 1, TTRPC_SERVICE_TASK_V2, "Kill", 0);
	assert_answer(f, 1, TTRPC_NOT_FOUND, "process already finished: not found");
}

static void test_unknown_names(void **state)
{
	struct fixture *f = *state;

	request(f, 1, "foo.Bar", "Start", 0);
	assert_answer(f, 1, TTRPC_UNIMPLEMENTED, "service foo.Bar");
	request(f, 3, TTRPC_SERVICE_TASK_V2, "Baz", 0);
	assert_answer(f, 3, TTRPC_UNIMPLEMENTED, "method Baz");
	request(f, 5, "", "", 0);
	assert_answer(f, 5, TTRPC_UNIMPLEMENTED, "service ");
	request(f, 7, "/" TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 7, TTRPC_UNIMPLEMENTED, NULL);
	request(f, 9, TTRPC_SERVICE_TASK_V2, "start", 0);
	assert_answer(f, 9, TTRPC_UNIMPLEMENTED, "method start");
}

static void test_malformed(void **state)
{
	static const char bad_payload[] = "\x0a\x17" TTRPC_SERVICE_TASK_V2 "\x12\x05Start\x1a\x02\x0a\x09";
	struct fixture *f = *state;

	input(f, TTRPC_REQUEST, 0, 1, (const uint8_t *)"\x0a\x09x", 3);
	assert_answer(f, 1, TTRPC_INVALID_ARGUMENT, NULL);
	input(f, TTRPC_REQUEST, 0, 3, (const uint8_t *)bad_payload, sizeof(bad_payload) - 1);
	assert_answer(f, 3, TTRPC_INTERNAL, "error unmarshalling payload");
	/* the connection is as good as before */
	request(f, 5, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 5, TTRPC_OK, NULL);
}

static void test_stream_ids(void **state)
{
	struct fixture *f = *state;

	request(f, 2, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 2, TTRPC_INVALID_ARGUMENT, NULL);
	request(f, 0, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 0, TTRPC_INVALID_ARGUMENT, NULL);
	request(f, 5, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 5, TTRPC_OK, NULL);
	request(f, 5, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 5, TTRPC_INVALID_ARGUMENT, NULL);
	request(f, 3, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 3, TTRPC_INVALID_ARGUMENT, NULL);
	request(f, 7, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 7, TTRPC_OK, NULL);
}

static void test_data_and_unknown_types(void **state)
{
	struct fixture *f = *state;

	input(f, TTRPC_DATA, 0, 9, (const uint8_t *)"x", 1);
	assert_answer(f, 9, TTRPC_INVALID_ARGUMENT, NULL);
	input(f, TTRPC_DATA, 0, 4, NULL, 0);
	assert_answer(f, 4, TTRPC_INVALID_ARGUMENT, NULL);
	input(f, 0, 0, 11, NULL, 0);
	input(f, TTRPC_RESPONSE, 0, 11, NULL, 0);
	input(f, 200, 0xff, 12, (const uint8_t *)"x", 1);
	assert_int_equal(f->n_out, 0);
	/* Data must not have moved the last stream id */
	request(f, 3, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 3, TTRPC_OK, NULL);
	/* no second Response for a stream that was answered */
	input(f, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, 3, NULL, 0);
	assert_int_equal(f->n_out, 0);
}

static void test_streaming(void **state)
{
	static const char rq[] = "\x0a\x17" TTRPC_SERVICE_TASK_V2 "\x12\x05Start";
	struct fixture *f = *state;

	input(f, TTRPC_REQUEST, TTRPC_REMOTE_OPEN, 1, (const uint8_t *)rq, sizeof(rq) - 1);
	assert_answer(f, 1, TTRPC_UNIMPLEMENTED, "streaming call of unary method Start");
	input(f, TTRPC_REQUEST, TTRPC_REMOTE_CLOSED, 3, (const uint8_t *)rq, sizeof(rq) - 1);
	assert_answer(f, 3, TTRPC_OK, NULL);
	request(f, 5, "containerd.services.streaming.v1.Streaming", "Stream", 0);
	assert_answer(f, 5, TTRPC_UNIMPLEMENTED, "service containerd.services.streaming.v1.Streaming");
}

static void test_oversize(void **state)
{
	const struct ttrpc_frame big = { .len = TTRPC_PAYLOAD_MAX + 1, .stream = 7, .type = TTRPC_REQUEST, .is_skipped = true };
	struct fixture *f = *state;

	ttrpc_session_input(&f->session, &big);
	assert_answer(f, 7, TTRPC_RESOURCE_EXHAUSTED, "message length 4194305 exceeds the maximum message size of 4194304");
	request(f, 9, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 9, TTRPC_OK, NULL);
}

static void test_out_of_order(void **state)
{
	struct fixture *f = *state;

	request(f, 1, TTRPC_SERVICE_TASK_V2, "Wait", 0);
	request(f, 3, TTRPC_SERVICE_TASK_V2, "Wait", 0);
	assert_int_equal(f->n_out, 0);
	assert_int_equal(f->server.n_calls, 2);
	request(f, 5, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 5, TTRPC_OK, NULL);
	ttrpc_call_reply(f->held[1], NULL);
	assert_answer(f, 3, TTRPC_OK, NULL);
	ttrpc_call_fail(f->held[0], TTRPC_DEADLINE_EXCEEDED, "late");
	assert_answer(f, 1, TTRPC_DEADLINE_EXCEEDED, "late");
	f->n_held = 0;
	assert_int_equal(f->server.n_calls, 0);
}

static void test_deadline_over_before_it_came(void **state)
{
	struct fixture *f = *state;

	request(f, 1, TTRPC_SERVICE_TASK_V2, "Wait", -1);
	assert_answer(f, 1, TTRPC_DEADLINE_EXCEEDED, NULL);
	assert_int_equal(f->n_held, 0);
}

static void test_too_many_calls(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 4; i++)
		request(f, 2 * i + 1, TTRPC_SERVICE_TASK_V2, "Wait", 0);
	assert_int_equal(f->n_out, 0);
	request(f, 9, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 9, TTRPC_RESOURCE_EXHAUSTED, NULL);
	ttrpc_call_reply(f->held[--f->n_held], NULL);
	assert_answer(f, 7, TTRPC_OK, NULL);
	request(f, 11, TTRPC_SERVICE_TASK_V2, "Start", 0);
	assert_answer(f, 11, TTRPC_OK, NULL);
}

/* A Wait whose client has given up stays for ever; it must not use up the calls in flight. */
static void test_parked_calls_do_not_count(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 8; i++) {
		request(f, 2 * i + 1, TTRPC_SERVICE_TASK_V3, "Wait", 0);
		assert_int_equal(f->n_out, 0);
		ttrpc_call_park(f->held[i]);
		ttrpc_call_park(f->held[i]); /* once is enough */
	}
	assert_int_equal(f->server.n_calls, 0);
	assert_int_equal(f->server.n_parked, 8);
	ttrpc_call_reply(f->held[--f->n_held], NULL);
	assert_int_equal(f->server.n_parked, 7);
	ttrpc_session_done(&f->session);
	assert_int_equal(f->server.n_parked, 0);
	assert_int_equal(f->server.n_calls, 0);
	ttrpc_call_park(f->held[0]); /* an orphan: nothing to count */
	assert_int_equal(f->server.n_parked, 0);
}

static void test_large_answer(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = calloc(1, TTRPC_PAYLOAD_MAX);
	Husk__Task__StatsResponse m;
	Husk__Types__Any any;

	assert_non_null(bytes);
	husk__task__stats_response__init(&m);
	husk__types__any__init(&any);
	any.value.data = bytes;
	any.value.len = TTRPC_PAYLOAD_MAX;
	m.stats = &any;
	request(f, 1, TTRPC_SERVICE_TASK_V2, "Wait", 0);
	ttrpc_call_reply(f->held[--f->n_held], &m.base);
	assert_answer(f, 1, TTRPC_RESOURCE_EXHAUSTED, NULL);
	free(bytes);
}

/* Frees the call by answering it, as an owner would, and one that nobody asked about. */
static void on_orphan(void *arg, struct ttrpc_call *call)
{
	struct fixture *f = arg;

	assert_true(ttrpc_call_is_orphan(call));
	f->n_orphans++;
	ttrpc_call_fail(call, TTRPC_CANCELED, "connection closed");
}

static void test_orphans(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 3; i++)
		request(f, 2 * i + 1, TTRPC_SERVICE_TASK_V2, "Wait", 0);
	ttrpc_call_on_orphan(f->held[0], on_orphan, f);
	ttrpc_call_on_orphan(f->held[2], on_orphan, f);
	assert_false(ttrpc_call_is_orphan(f->held[1]));
	ttrpc_session_done(&f->session);
	assert_int_equal(f->n_orphans, 2);
	assert_int_equal(f->server.n_calls, 0);
	assert_true(ttrpc_call_is_orphan(f->held[1]));
	ttrpc_call_reply(f->held[1], NULL);
	f->n_held = 0;
	assert_int_equal(f->n_out, 0);
}

static void test_traceparent(void **state)
{
	static const char rq[] = "\x0a\x17" TTRPC_SERVICE_TASK_V2 "\x12\x05Start\x2a\x10\x0a\x0btraceparent\x12\x01t";
	struct fixture *f = *state;

	input(f, TTRPC_REQUEST, 0, 1, (const uint8_t *)rq, sizeof(rq) - 1);
	assert_answer(f, 1, TTRPC_OK, NULL);
	assert_string_equal(f->last_trace, "t");
}

/* Every byte of a frame replaced by every value, fed to reader and session: at most one answer, and nothing held on to. */
static void test_mutations(void **state)
{
	const struct ttrpc_request rq = {
		.service = TTRPC_SERVICE_TASK_V3, .method = "Start", .payload = (const uint8_t *)"\x0a\x02" "c1", .payload_len = 4
	};
	struct fixture *f = *state;
	struct ttrpc_buf *b;

	assert_int_equal(ttrpc_request_encode(&rq, "k8s.io", 1, &b), 0);
	for (size_t at = 0; at < b->len; at++)
		for (int value = 0; value < 256; value++) {
			const uint8_t was = b->data[at], *data = b->data;
			struct ttrpc_reader reader = { 0 };
			struct ttrpc_frame frame;
			size_t len = b->len;

			b->data[at] = (uint8_t)value;
			ttrpc_session_init(&f->session, &f->server, sink, f);
			while (ttrpc_reader_next(&reader, &data, &len, &frame))
				ttrpc_session_input(&f->session, &frame);
			b->data[at] = was;
			/* a shorter length cuts the frame, so that its rest is read as more frames */
			if (at >= 4)
				assert_true(f->n_out <= 1);
			clear_out(f);
			assert_int_equal(f->server.n_calls, 0);
			ttrpc_reader_done(&reader);
			ttrpc_session_done(&f->session);
		}
	ttrpc_buf_free(b);
}

/* A call of a session in another process: its handler runs again, or its owner gets it, and the answer has the old stream. */
static void test_calls_of_before(void **state)
{
	const struct ttrpc_past_call again = { .service = TTRPC_SERVICE_TASK_V2, .method = "Start", .stream = 33, .timeout_ns = 5,
		.payload = (const uint8_t *)"\x0a\x02" "c7", .payload_len = 4 };
	struct ttrpc_past_call unknown = again;
	struct fixture *f = *state;
	struct ttrpc_call *call;

	ttrpc_session_again(&f->session, &again);
	assert_answer(f, 33, TTRPC_OK, NULL);
	assert_string_equal(f->last_id, "c7");
	assert_int_equal(f->last_timeout_ns, 5);
	clear_out(f);
	unknown.method = "Gone";
	ttrpc_session_again(&f->session, &unknown);
	assert_answer(f, 33, TTRPC_UNIMPLEMENTED, "method Gone");
	clear_out(f);
	call = ttrpc_session_resume(&f->session, &(const struct ttrpc_past_call){ .service = TTRPC_SERVICE_TASK_V3, .method = "Wait", .stream = 35 });
	assert_non_null(call);
	assert_int_equal(f->server.n_calls, 1);
	assert_int_equal(f->n_held, 0);
	ttrpc_call_fail(call, TTRPC_ABORTED, "undone");
	assert_answer(f, 35, TTRPC_ABORTED, "undone");
	assert_int_equal(f->server.n_calls, 0);
	clear_out(f);
	assert_null(ttrpc_session_resume(&f->session, &unknown));
	assert_answer(f, 33, TTRPC_UNIMPLEMENTED, "method Gone");
	clear_out(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_both_service_names),
		T(test_failure),
		T(test_unknown_names),
		T(test_malformed),
		T(test_stream_ids),
		T(test_data_and_unknown_types),
		T(test_streaming),
		T(test_oversize),
		T(test_out_of_order),
		T(test_deadline_over_before_it_came),
		T(test_too_many_calls),
		T(test_parked_calls_do_not_count),
		T(test_large_answer),
		T(test_orphans),
		T(test_traceparent),
		T(test_mutations),
		cmocka_unit_test_setup_teardown(test_calls_of_before, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
