/* SPDX-License-Identifier: Apache-2.0 */
/* Outgoing calls: stream ids, matching, deadlines, and the end of the connection. */
#include "proto/client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/frame.h"

struct result {
	int n;
	enum ttrpc_code code;
	struct ttrpc_client *again; /* make another call from inside the result */
};

static void on_result(void *arg, const struct ttrpc_response *res);

static uint32_t call(struct ttrpc_client *c, uint64_t now_ns, uint64_t timeout_ns, struct result *res)
{
	const struct ttrpc_outcall oc = {
		.service = "s", .method = "m", .now_ns = now_ns, .timeout_ns = timeout_ns
	};
	struct ttrpc_buf *b;
	uint32_t stream;

	assert_int_equal(ttrpc_client_call(c, &oc, on_result, res, &b), 0);
	assert_int_equal(b->data[8], TTRPC_REQUEST);
	stream = (uint32_t)(b->data[6] << 8 | b->data[7]);
	ttrpc_buf_free(b);
	return stream;
}

static void on_result(void *arg, const struct ttrpc_response *res)
{
	struct result *r = arg;

	r->n++;
	r->code = res->code;
	if (r->again) {
		struct ttrpc_client *c = r->again;

		r->again = NULL;
		(void)call(c, 0, 0, r);
	}
}

static void answer(struct ttrpc_client *c, uint32_t stream, enum ttrpc_code code)
{
	struct ttrpc_frame f = { .stream = stream, .type = TTRPC_RESPONSE };
	struct ttrpc_buf *b;

	assert_int_equal(ttrpc_response_encode_error(code, "x", stream, &b), 0);
	f.len = (uint32_t)(b->len - TTRPC_HEADER_BYTES);
	f.payload = b->data + TTRPC_HEADER_BYTES;
	assert_int_equal(ttrpc_client_input(c, &f), 0);
	ttrpc_buf_free(b);
}

static void test_matching(void **state)
{
	struct result r[3] = { { 0 } };
	struct ttrpc_client c;

	(void)state;
	ttrpc_client_init(&c);
	assert_int_equal(call(&c, 0, 0, &r[0]), 1);
	assert_int_equal(call(&c, 0, 0, &r[1]), 3);
	assert_int_equal(call(&c, 0, 0, &r[2]), 5);
	answer(&c, 3, TTRPC_NOT_FOUND);
	assert_int_equal(r[1].n, 1);
	assert_int_equal(r[1].code, TTRPC_NOT_FOUND);
	answer(&c, 3, TTRPC_NOT_FOUND);  /* twice */
	answer(&c, 99, TTRPC_NOT_FOUND); /* never asked */
	assert_int_equal(r[1].n, 1);
	ttrpc_client_done(&c, "closed");
	assert_int_equal(r[0].n, 1);
	assert_int_equal(r[0].code, TTRPC_UNAVAILABLE);
	assert_int_equal(r[2].n, 1);
}

static void test_bad_frames(void **state)
{
	struct ttrpc_frame f = { .stream = 1, .type = TTRPC_DATA };
	struct result r = { 0 };
	struct ttrpc_client c;

	(void)state;
	ttrpc_client_init(&c);
	(void)call(&c, 0, 0, &r);
	assert_int_equal(ttrpc_client_input(&c, &f), 0);
	assert_int_equal(r.n, 0);
	f.type = TTRPC_RESPONSE;
	f.payload = (const uint8_t *)"\x0a\x09";
	f.len = 2;
	assert_int_equal(ttrpc_client_input(&c, &f), -EPROTO);
	f = (struct ttrpc_frame){ .stream = 1, .type = TTRPC_RESPONSE, .len = 1u << 30, .is_skipped = true };
	assert_int_equal(ttrpc_client_input(&c, &f), 0);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.code, TTRPC_RESOURCE_EXHAUSTED);
	ttrpc_client_done(&c, "closed");
	assert_int_equal(r.n, 1);
}

static void test_empty_response_is_success(void **state)
{
	const struct ttrpc_frame f = { .stream = 1, .type = TTRPC_RESPONSE };
	struct result r = { .code = TTRPC_INTERNAL };
	struct ttrpc_client c;

	(void)state;
	ttrpc_client_init(&c);
	(void)call(&c, 0, 0, &r);
	assert_int_equal(ttrpc_client_input(&c, &f), 0);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.code, TTRPC_OK);
}

static void test_deadlines(void **state)
{
	struct result r[3] = { { 0 } };
	struct ttrpc_client c;

	(void)state;
	ttrpc_client_init(&c);
	assert_int_equal(ttrpc_client_deadline_ns(&c), 0);
	(void)call(&c, 1000, 0, &r[0]);
	assert_int_equal(ttrpc_client_deadline_ns(&c), 0);
	(void)call(&c, 1000, 500, &r[1]);
	(void)call(&c, 1000, 50, &r[2]);
	assert_int_equal(ttrpc_client_deadline_ns(&c), 1050);
	ttrpc_client_expire(&c, 1049);
	assert_int_equal(r[2].n, 0);
	r[2].again = &c;
	ttrpc_client_expire(&c, 1050);
	assert_int_equal(r[2].n, 1);
	assert_int_equal(r[2].code, TTRPC_DEADLINE_EXCEEDED);
	assert_int_equal(ttrpc_client_deadline_ns(&c), 1500);
	ttrpc_client_expire(&c, 2000);
	assert_int_equal(r[1].n, 1);
	assert_int_equal(r[0].n, 0);
	ttrpc_client_done(&c, "closed");
	assert_int_equal(r[0].n, 1);
	assert_int_equal(r[2].n, 2);
}

static void test_streams_run_out(void **state)
{
	const struct ttrpc_outcall oc = { .service = "s", .method = "m" };
	struct result r = { 0 };
	struct ttrpc_client c;
	struct ttrpc_buf *b;

	(void)state;
	ttrpc_client_init(&c);
	c.next_stream = UINT32_MAX - 2;
	assert_int_equal(ttrpc_client_call(&c, &oc, on_result, &r, &b), 0);
	ttrpc_buf_free(b);
	assert_int_equal(ttrpc_client_call(&c, &oc, on_result, &r, &b), -EOVERFLOW);
	ttrpc_client_done(&c, "closed");
	assert_int_equal(r.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_empty_response_is_success),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_streams_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
