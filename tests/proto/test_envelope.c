/* SPDX-License-Identifier: Apache-2.0 */
/* The ttrpc envelopes against bytes written by hand, and the bound on what a hostile payload may allocate. */
#include "proto/envelope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/task.pb-c.h"

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

static void assert_frame(const struct ttrpc_buf *b, uint8_t type, uint8_t stream, const char *payload, size_t len)
{
	const uint8_t header[] = { 0, 0, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0, stream, type, 0 };

	assert_int_equal(b->len, TTRPC_HEADER_BYTES + len);
	assert_memory_equal(b->data, header, sizeof(header));
	assert_memory_equal(b->data + TTRPC_HEADER_BYTES, payload, len);
}

static void test_request_decode(void **state)
{
	static const char bytes[] = "\x0a\x03svc\x12\x04Kill\x1a\x02\xff\x00\x20\x80\x94\xeb\xdc\x03"
		"\x2a\x06\x0a\x01k\x12\x01v\x2a\x11\x0a\x0btraceparent\x12\x02t1\x7a\x03xyz";
	struct ttrpc_request r;

	(void)state;
	assert_int_equal(ttrpc_request_decode(&r, BYTES(bytes)), 0);
	assert_string_equal(r.service, "svc");
	assert_string_equal(r.method, "Kill");
	assert_int_equal(r.payload_len, 2);
	assert_memory_equal(r.payload, "\xff\x00", 2);
	assert_int_equal(r.timeout_ns, 1000000000);
	assert_string_equal(r.traceparent, "t1");
	ttrpc_request_done(&r);
	ttrpc_request_done(&r);
}

static void test_request_decode_empty_and_negative(void **state)
{
	struct ttrpc_request r;

	(void)state;
	assert_int_equal(ttrpc_request_decode(&r, NULL, 0), 0);
	assert_string_equal(r.service, "");
	assert_string_equal(r.method, "");
	assert_string_equal(r.traceparent, "");
	assert_int_equal(r.payload_len, 0);
	assert_int_equal(r.timeout_ns, 0);
	ttrpc_request_done(&r);
	assert_int_equal(ttrpc_request_decode(&r, BYTES("\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), 0);
	assert_int_equal(r.timeout_ns, -1);
	ttrpc_request_done(&r);
}

static void test_request_decode_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x0a\x05xy", 4 },             /* string longer than the message */
		{ "\x0a", 1 },                   /* tag only */
		{ "\xff\xff\xff\xff\xff\xff", 6 }, /* endless tag */
		{ "\x0a\xff\xff\xff\xff\x0f", 6 }, /* 4 GiB string */
		{ "\x20\xff", 2 },               /* unfinished varint */
		{ "\x2a\x02\x0a\x09", 4 },       /* bad bytes inside metadata */
		{ "\x08\x01", 2 },               /* service as a varint */
	};
	struct ttrpc_request r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ttrpc_request_decode(&r, (const uint8_t *)bad[i].bytes, bad[i].len), -EBADMSG);
}

static void test_request_encode(void **state)
{
	static const char want[] = "\x0a\x01s\x12\x01m\x1a\x02xy\x20\x05\x2a\x21\x0a\x1a"
		"containerd-namespace-ttrpc\x12\x03k8s";
	const struct ttrpc_request rq = {
		.service = "s", .method = "m", .payload = (const uint8_t *)"xy", .payload_len = 2, .timeout_ns = 5
	};
	struct ttrpc_buf *b;

	(void)state;
	assert_int_equal(ttrpc_request_encode(&rq, "k8s", 3, &b), 0);
	assert_frame(b, TTRPC_REQUEST, 3, want, sizeof(want) - 1);
	ttrpc_buf_free(b);
	assert_int_equal(ttrpc_request_encode(&rq, NULL, 5, &b), 0);
	assert_frame(b, TTRPC_REQUEST, 5, want, 12);
	ttrpc_buf_free(b);
}

static void test_response_success(void **state)
{
	Husk__Task__StartResponse m;
	struct ttrpc_buf *b;

	(void)state;
	husk__task__start_response__init(&m);
	m.pid = 300;
	assert_int_equal(ttrpc_response_encode(&m.base, 7, &b), 0);
	assert_frame(b, TTRPC_RESPONSE, 7, "\x12\x03\x08\xac\x02", 5);
	ttrpc_buf_free(b);
	assert_int_equal(ttrpc_response_encode(NULL, 9, &b), 0);
	assert_frame(b, TTRPC_RESPONSE, 9, "", 0);
	ttrpc_buf_free(b);
}

static void test_response_error_has_no_payload(void **state)
{
	struct ttrpc_buf *b;

	(void)state;
	assert_int_equal(ttrpc_response_encode_error(TTRPC_NOT_FOUND, "x: not found", 1, &b), 0);
	assert_frame(b, TTRPC_RESPONSE, 1, "\x0a\x10\x08\x05\x12\x0cx: not found", 18);
	ttrpc_buf_free(b);
}

static void test_error_text_is_utf8(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "plain", "plain" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8b", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8b" },
		{ "a\xff" "b", "a?b" },
		{ "cut\xe2\x82", "cut??" },
		{ "\xc0\xaf", "??" },          /* overlong */
		{ "\xe0\x80\x80", "???" },     /* overlong */
		{ "\xed\xa0\x80", "???" },     /* surrogate */
		{ "\xf4\x90\x80\x80", "????" }, /* above U+10FFFF */
		{ "\xf0\x8f\xbf\xbf", "????" },
		{ "\x80", "?" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ttrpc_response r;
		struct ttrpc_buf *b;

		assert_int_equal(ttrpc_response_encode_error(TTRPC_UNKNOWN, rows[i].in, 1, &b), 0);
		assert_int_equal(ttrpc_response_decode(&r, b->data + TTRPC_HEADER_BYTES, b->len - TTRPC_HEADER_BYTES), 0);
		assert_string_equal(r.message, rows[i].out);
		ttrpc_response_done(&r);
		ttrpc_buf_free(b);
	}
}

static void test_response_decode(void **state)
{
	struct ttrpc_response r;

	(void)state;
	assert_int_equal(ttrpc_response_decode(&r, NULL, 0), 0);
	assert_int_equal(r.code, TTRPC_OK);
	assert_string_equal(r.message, "");
	ttrpc_response_done(&r);
	/* status with a code, a message and details (an Any), then a payload */
	assert_int_equal(ttrpc_response_decode(&r, BYTES("\x0a\x0a\x08\x05\x12\x01n\x1a\x03\x0a\x01t\x12\x01p")), 0);
	assert_int_equal(r.code, TTRPC_NOT_FOUND);
	assert_string_equal(r.message, "n");
	assert_int_equal(r.payload_len, 1);
	assert_int_equal(r.payload[0], 'p');
	ttrpc_response_done(&r);
	assert_int_equal(ttrpc_response_decode(&r, BYTES("\x0a\x7f")), -EBADMSG);
}

static void test_too_large(void **state)
{
	const size_t len = TTRPC_PAYLOAD_MAX;
	uint8_t *bytes = calloc(1, len);
	Husk__Task__StatsResponse m;
	Husk__Types__Any any;
	struct ttrpc_request rq = { .service = "s", .method = "m", .payload = bytes, .payload_len = len };
	struct ttrpc_buf *b;

	(void)state;
	assert_non_null(bytes);
	husk__task__stats_response__init(&m);
	husk__types__any__init(&any);
	any.value.data = bytes;
	any.value.len = len;
	m.stats = &any;
	assert_int_equal(ttrpc_response_encode(&m.base, 1, &b), -EMSGSIZE);
	assert_int_equal(ttrpc_request_encode(&rq, NULL, 1, &b), -EMSGSIZE);
	rq.payload_len = len - 11; /* 6 bytes of names, 5 of the payload's tag and length */
	assert_int_equal(ttrpc_request_encode(&rq, NULL, 1, &b), 0);
	assert_int_equal(b->len, TTRPC_HEADER_BYTES + (size_t)TTRPC_PAYLOAD_MAX);
	ttrpc_buf_free(b);
	free(bytes);
}

/* The same two bytes over and over: an empty Mount each. */
static ProtobufCMessage *unpack_mounts(size_t n)
{
	uint8_t *bytes = malloc(n * 2);
	ProtobufCMessage *m;

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++) {
		bytes[2 * i] = 0x1a;
		bytes[2 * i + 1] = 0;
	}
	m = ttrpc_unpack(&husk__task__create_task_request__descriptor, bytes, n * 2);
	free(bytes);
	return m;
}

static void test_unpack_is_bounded(void **state)
{
	ProtobufCMessage *m = unpack_mounts(10000);

	(void)state;
	assert_non_null(m);
	assert_int_equal(((Husk__Task__CreateTaskRequest *)m)->n_rootfs, 10000);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_null(unpack_mounts(TTRPC_PAYLOAD_MAX / 2));
}

/* A C string would end at the NUL: the id "c\0x" must not be taken for container "c". */
static void test_unpack_refuses_nul_in_text(void **state)
{
	const ProtobufCMessageDescriptor *kill = &husk__task__kill_request__descriptor, *create = &husk__task__create_task_request__descriptor;
	ProtobufCMessage *m;

	(void)state;
	assert_null(ttrpc_unpack(kill, BYTES("\x0a\x03" "c\0x\x18\x09")));
	assert_null(ttrpc_unpack(kill, BYTES("\x18\x09\x0a\x01\0")));
	assert_null(ttrpc_unpack(kill, BYTES("\x0a\x02" "c\0\x0a\x01" "c"))); /* the last one counts, all must be whole */
	assert_null(ttrpc_unpack(create, BYTES("\x1a\x05\x12\x03" "a\0b")));    /* rootfs.source */
	assert_null(ttrpc_unpack(create, BYTES("\x1a\x05\x22\x03" "a\0b")));    /* one of rootfs.options */
	/* In bytes, in an unknown field and in numbers it is one byte like others. */
	m = ttrpc_unpack(create, BYTES("\x52\x05\x12\x03" "a\0b\xfa\x01\x01\0\xf9\x01\0\0\0\0\0\0\0\0\xfd\x01\0\0\0\0\x20\0\x0a\x01" "c"));
	assert_non_null(m);
	assert_string_equal(((Husk__Task__CreateTaskRequest *)m)->id, "c");
	assert_int_equal(((Husk__Task__CreateTaskRequest *)m)->options->value.len, 3);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void test_pack_of_nothing(void **state)
{
	Husk__Task__DeleteResponse m;
	uint8_t *bytes = NULL;
	size_t len = 1;

	(void)state;
	husk__task__delete_response__init(&m);
	assert_int_equal(ttrpc_pack(&m.base, &bytes, &len), 0);
	assert_non_null(bytes);
	assert_int_equal(len, 0);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_decode),
		cmocka_unit_test(test_request_decode_empty_and_negative),
		cmocka_unit_test(test_request_decode_malformed),
		cmocka_unit_test(test_request_encode),
		cmocka_unit_test(test_response_success),
		cmocka_unit_test(test_response_error_has_no_payload),
		cmocka_unit_test(test_error_text_is_utf8),
		cmocka_unit_test(test_response_decode),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_unpack_is_bounded),
		cmocka_unit_test(test_unpack_refuses_nul_in_text),
		cmocka_unit_test(test_pack_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
