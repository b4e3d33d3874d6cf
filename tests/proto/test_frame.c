/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: every way to cut the bytes, limits at and one over 4 MiB, empty payloads, what is held in between. */
#include "proto/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t two_frames[] = {
	0, 0, 0, 3, 0, 0, 0, 1, 1, 0, 'a', 'b', 'c', /* Request, stream 1 */
	0, 0, 0, 0, 0, 0, 1, 3, 2, 0,                /* Response, stream 259, empty */
	0, 0, 0, 1, 0xff, 0, 0, 5, 9, 7, 'z',        /* unknown type, flags 7 */
};

struct seen {
	struct ttrpc_frame f[4];
	uint8_t last[4];
	int n;
};

static void drain(struct ttrpc_reader *r, const uint8_t *data, size_t len, struct seen *s)
{
	struct ttrpc_frame f;

	while (ttrpc_reader_next(r, &data, &len, &f)) {
		assert_true(s->n < 4);
		if (f.len > 0 && !f.is_skipped)
			s->last[s->n] = f.payload[f.len - 1];
		s->f[s->n++] = f;
	}
	assert_int_equal(len, 0);
}

static void check_two_frames(const struct seen *s)
{
	assert_int_equal(s->n, 3);
	assert_int_equal(s->f[0].len, 3);
	assert_int_equal(s->f[0].stream, 1);
	assert_int_equal(s->f[0].type, TTRPC_REQUEST);
	assert_int_equal(s->last[0], 'c');
	assert_int_equal(s->f[1].len, 0);
	assert_int_equal(s->f[1].stream, 259);
	assert_int_equal(s->f[1].type, TTRPC_RESPONSE);
	assert_null(s->f[1].payload);
	assert_int_equal(s->f[2].stream, 0xff000005);
	assert_int_equal(s->f[2].type, 9);
	assert_int_equal(s->f[2].flags, 7);
	assert_int_equal(s->last[2], 'z');
}

static void test_every_split(void **state)
{
	const size_t n = sizeof(two_frames);

	(void)state;
	for (size_t a = 0; a <= n; a++)
		for (size_t b = a; b <= n; b++) {
			struct ttrpc_reader r = { 0 };
			struct seen s = { .n = 0 };

			drain(&r, two_frames, a, &s);
			drain(&r, two_frames + a, b - a, &s);
			drain(&r, two_frames + b, n - b, &s);
			check_two_frames(&s);
			assert_true(ttrpc_reader_is_idle(&r));
			ttrpc_reader_done(&r);
		}
}

static void test_byte_by_byte(void **state)
{
	struct ttrpc_reader r = { 0 };
	struct seen s = { .n = 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(two_frames); i++)
		drain(&r, two_frames + i, 1, &s);
	check_two_frames(&s);
	ttrpc_reader_done(&r);
}

static void test_whole_payload_is_not_copied(void **state)
{
	struct ttrpc_reader r = { 0 };
	const uint8_t *data = two_frames;
	size_t len = sizeof(two_frames);
	struct ttrpc_frame f;

	(void)state;
	assert_true(ttrpc_reader_next(&r, &data, &len, &f));
	assert_ptr_equal(f.payload, two_frames + TTRPC_HEADER_BYTES);
	assert_null(r.buf);
	ttrpc_reader_done(&r);
}

static void test_split_payload_is_given_back(void **state)
{
	struct ttrpc_reader r = { 0 };
	const uint8_t *data = two_frames;
	size_t len = 12;
	struct ttrpc_frame f;

	(void)state;
	assert_false(ttrpc_reader_next(&r, &data, &len, &f));
	assert_non_null(r.buf);
	assert_false(ttrpc_reader_is_idle(&r));
	len = 1;
	assert_true(ttrpc_reader_next(&r, &data, &len, &f));
	assert_memory_equal(f.payload, "abc", 3);
	assert_false(ttrpc_reader_next(&r, &data, &len, &f));
	assert_null(r.buf);
	ttrpc_reader_done(&r);
}

static void test_half_header_is_not_idle(void **state)
{
	struct ttrpc_reader r = { 0 };
	struct seen s = { .n = 0 };

	(void)state;
	assert_true(ttrpc_reader_is_idle(&r));
	drain(&r, two_frames, 2, &s);
	assert_int_equal(s.n, 0);
	assert_false(ttrpc_reader_is_idle(&r));
	ttrpc_reader_done(&r);
}

/* A frame of len bytes of payload followed by a small one, fed in pieces of step bytes. */
static void feed_big(uint32_t len, size_t step, bool is_skipped)
{
	const size_t total = TTRPC_HEADER_BYTES + (size_t)len + TTRPC_HEADER_BYTES;
	const uint8_t header[] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, 0, 0,
		0, 7, 1, 0 };
	const uint8_t next[] = { 0, 0, 0, 0, 0, 0, 0, 9, 1, 0 };
	struct ttrpc_reader r = { 0 };
	struct seen s = { .n = 0 };
	uint8_t *bytes = calloc(1, total);

	assert_non_null(bytes);
	memcpy(bytes, header, sizeof(header));
	memcpy(bytes + total - sizeof(next), next, sizeof(next));
	bytes[total - sizeof(next) - 1] = 'e';
	for (size_t at = 0; at < total; at += step) {
		drain(&r, bytes + at, total - at < step ? total - at : step, &s);
		if (is_skipped)
			assert_null(r.buf);
	}
	assert_int_equal(s.n, 2);
	assert_int_equal(s.f[0].len, len);
	assert_int_equal(s.f[0].stream, 7);
	assert_int_equal(s.f[0].is_skipped, is_skipped);
	assert_int_equal(s.last[0], is_skipped ? 0 : 'e');
	assert_int_equal(s.f[1].stream, 9);
	assert_false(s.f[1].is_skipped);
	ttrpc_reader_done(&r);
	free(bytes);
}

static void test_limit(void **state)
{
	(void)state;
	feed_big(TTRPC_PAYLOAD_MAX, 65521, false);
	feed_big(TTRPC_PAYLOAD_MAX, SIZE_MAX / 4, false);
	feed_big(TTRPC_PAYLOAD_MAX + 1, 65521, true);
	feed_big(TTRPC_PAYLOAD_MAX + 1, SIZE_MAX / 4, true);
	feed_big(5 << 20, 4096, true);
}

static void test_huge_length_holds_nothing(void **state)
{
	static const uint8_t header[] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1, 0, 'x', 'y' };
	struct ttrpc_reader r = { 0 };
	struct seen s = { .n = 0 };

	(void)state;
	drain(&r, header, sizeof(header), &s);
	assert_int_equal(s.n, 0);
	assert_null(r.buf);
	ttrpc_reader_done(&r);
}

/* The rest of a frame, read by another reader than its beginning: cut at every place. */
static void test_half_goes_on_elsewhere(void **state)
{
	static const uint8_t bytes[] = { 0, 0, 0, 5, 0, 0, 0, 7, 1, 2, 'h', 'e', 'l', 'l', 'o' };

	(void)state;
	for (size_t cut = 0; cut < sizeof(bytes); cut++) {
		struct ttrpc_reader before = { 0 }, after = { .done = 99 };
		const uint8_t *data = bytes;
		struct ttrpc_frame frame;
		size_t left = cut;
		struct ttrpc_half half;

		assert_false(ttrpc_reader_next(&before, &data, &left, &frame));
		half = ttrpc_reader_half(&before);
		assert_true(ttrpc_reader_resume(&after, &half));
		ttrpc_reader_done(&before);
		data = bytes + cut;
		left = sizeof(bytes) - cut;
		assert_true(ttrpc_reader_next(&after, &data, &left, &frame));
		assert_int_equal(frame.stream, 7);
		assert_int_equal(frame.len, 5);
		assert_memory_equal(frame.payload, "hello", 5);
		ttrpc_reader_done(&after);
	}
}

static void test_half_of_one_too_large(void **state)
{
	static const uint8_t header[] = { 0, 0x50, 0, 0, 0, 0, 0, 9, 1, 0, 'x', 'y' };
	struct ttrpc_reader before = { 0 }, after = { 0 };
	const uint8_t *data = header;
	uint8_t *rest = calloc(1, 0x500000);
	struct ttrpc_frame frame;
	size_t left = sizeof(header);
	struct ttrpc_half half;

	(void)state;
	assert_non_null(rest);
	assert_false(ttrpc_reader_next(&before, &data, &left, &frame));
	half = ttrpc_reader_half(&before);
	assert_true(half.is_skipping && half.done == 2 && !half.payload);
	assert_true(ttrpc_reader_resume(&after, &half));
	data = rest;
	left = 0x500000 - 2;
	assert_true(ttrpc_reader_next(&after, &data, &left, &frame));
	assert_true(frame.is_skipped && frame.stream == 9 && left == 0);
	ttrpc_reader_done(&before);
	ttrpc_reader_done(&after);
	free(rest);
}

/* It comes from another process: never believed. */
static void test_half_that_cannot_be(void **state)
{
	static const uint8_t head[] = { 0, 0, 0, 5, 0, 0, 0, 7, 1, 2, 0 };
	const struct ttrpc_half bad[] = { { .head = head, .n_head = 11 }, { .head = head, .n_head = 4, .done = 1 },
		{ .head = head, .n_head = 10, .payload = head, .done = 5 }, { .head = head, .n_head = 10, .payload = NULL, .done = 3 } };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ttrpc_reader r = { 0 };

		assert_false(ttrpc_reader_resume(&r, &bad[i]));
		ttrpc_reader_done(&r);
	}
}

static void test_buf_header(void **state)
{
	static const uint8_t want[] = { 0, 1, 2, 3, 0x10, 0x20, 0x30, 0x41, 2, 4 };
	struct ttrpc_buf *b = ttrpc_buf_new(TTRPC_RESPONSE, TTRPC_NO_DATA, 0x10203041, 0x010203);

	(void)state;
	assert_non_null(b);
	assert_int_equal(b->len, TTRPC_HEADER_BYTES + 0x010203);
	assert_int_equal(b->sent, 0);
	assert_memory_equal(b->data, want, sizeof(want));
	ttrpc_buf_free(b);
	assert_null(ttrpc_buf_new(TTRPC_RESPONSE, 0, 1, TTRPC_PAYLOAD_MAX + 1));
	b = ttrpc_buf_new(TTRPC_RESPONSE, 0, 1, TTRPC_PAYLOAD_MAX);
	assert_non_null(b);
	ttrpc_buf_free(b);
	ttrpc_buf_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_whole_payload_is_not_copied),
		cmocka_unit_test(test_split_payload_is_given_back),
		cmocka_unit_test(test_half_header_is_not_idle),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_huge_length_holds_nothing),
		cmocka_unit_test(test_half_goes_on_elsewhere),
		cmocka_unit_test(test_half_of_one_too_large),
		cmocka_unit_test(test_half_that_cannot_be),
		cmocka_unit_test(test_buf_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
