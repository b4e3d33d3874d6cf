/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what is written is read again, what is unknown is passed over, what is missing or wrong has a name. */
#include "oci/base/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"

static const struct hk_value *parse(struct hk_arena *a, const char *text, struct hk_err *err)
{
	char *copy = hk_arena_strdup(a, text);
	const struct hk_value *top = NULL;

	assert_non_null(copy);
	return hk_value_parse(copy, strlen(copy), a, &top, err) == 0 ? top : NULL;
}

static void write_all(struct hk_record *r)
{
	static const char bytes[] = { 'a', '\n', '\0', '}', '"' };

	hk_record_begin(r, "container");
	hk_record_str(r, "id", "a1");
	hk_record_str(r, "nothing", NULL);
	hk_record_str(r, "empty", "");
	hk_record_num(r, "least", INT64_MIN);
	hk_record_num(r, "most", INT64_MAX);
	hk_record_bool(r, "yes", true);
	hk_record_bool(r, "no", false);
	hk_record_bytes(r, "bytes", bytes, sizeof(bytes));
	hk_record_bytes(r, "none", NULL, 7);
	hk_record_begin(r, "init");
	hk_record_num(r, "pid", 42);
	hk_record_end(r);
	hk_record_end(r);
	hk_record_begin(r, "container");
	hk_record_str(r, "id", "b2\n\tid \"2:x");
	hk_record_end(r);
}

static void test_what_is_written_is_read(void **state)
{
	struct hk_record r = { 0 };
	struct hk_arena a = { 0 };
	const struct hk_value *top, *c;
	const char *bytes;
	struct hk_err err;
	size_t len;

	(void)state;
	write_all(&r);
	assert_int_equal(hk_value_parse(r.text.v, r.text.n, &a, &top, &err), 0);
	c = hk_value_get(top, "container");
	assert_string_equal(hk_value_str(c, "id"), "a1");
	assert_string_equal(hk_value_str(c, "empty"), "");
	assert_null(hk_value_str_or(c, "nothing", NULL));
	assert_true(hk_value_num(c, "least") == INT64_MIN && hk_value_num(c, "most") == INT64_MAX);
	assert_true(hk_value_bool(c, "yes"));
	assert_false(hk_value_bool(c, "no"));
	bytes = hk_value_bytes(c, "bytes", &len);
	assert_int_equal(len, 5);
	assert_memory_equal(bytes, "a\n\0}\"", 5);
	assert_null(hk_value_bytes(c, "none", &len));
	assert_int_equal(hk_value_num(hk_value_need(c, "init"), "pid"), 42);
	c = hk_value_next(c);
	assert_string_equal(hk_value_str(c, "id"), "b2\n\tid \"2:x");
	assert_null(hk_value_next(c));
	assert_int_equal(hk_value_check(top, &err), 0);
	hk_record_done(&r);
	hk_arena_done(&a);
}

/* A newer version writes more; an older one does without. */
static void test_unknown_and_absent(void **state)
{
	struct hk_arena a = { 0 };
	struct hk_err err;
	const struct hk_value *top = parse(&a, "husk-state 1\nfuture {\nx {\ny \"1:z\n}\n}\nid \"2:a1\nfuture2 #3\n", &err);

	(void)state;
	assert_non_null(top);
	assert_string_equal(hk_value_str(top, "id"), "a1");
	assert_int_equal(hk_value_num_or(top, "absent", -7), -7);
	assert_int_equal(hk_value_fd_or(top, "absent"), -1);
	assert_int_equal(hk_value_check(top, &err), 0);
	hk_arena_done(&a);
}

static void expect_error(const char *text, void (*ask)(const struct hk_value *top), const char *wanted)
{
	struct hk_arena a = { 0 };
	struct hk_err err = { .text = "" };
	const struct hk_value *top = parse(&a, text, &err);

	assert_non_null(top);
	ask(top);
	assert_int_equal(hk_value_check(top, &err), -EPROTO);
	assert_int_equal(err.kind, HK_INVALID);
	assert_string_equal(err.text, wanted);
	hk_arena_done(&a);
}

static void ask_missing(const struct hk_value *top)
{
	assert_int_equal(hk_value_num(hk_value_need(hk_value_need(top, "pod"), "init"), "pid"), 0);
	assert_string_equal(hk_value_str(top, "later"), ""); /* the first error is the one that is told */
}

static void ask_kind(const struct hk_value *top)
{
	assert_int_equal(hk_value_fd(top, "pid"), -1);
}

static void ask_nul(const struct hk_value *top)
{
	assert_string_equal(hk_value_str(top, "id"), "");
}

static void ask_own(const struct hk_value *top)
{
	hk_value_wrong(top, "state", "is unknown");
}

static void test_errors_name_the_place(void **state)
{
	(void)state;
	expect_error("husk-state 1\npod {\ninit {\nx 1\n}\n}\n", ask_missing, "pod.init.pid is missing");
	expect_error("husk-state 1\npid 5\n", ask_kind, "pid is not a descriptor");
	expect_error("husk-state 1\nstate \"1:x\n", ask_own, "state is unknown");
}

static void test_a_string_with_a_nul(void **state)
{
	static const char text[] = "husk-state 1\nid \"3:a\0b\n";
	struct hk_arena a = { 0 };
	const struct hk_value *top;
	struct hk_err err;
	char copy[sizeof(text)];

	(void)state;
	memcpy(copy, text, sizeof(text));
	assert_int_equal(hk_value_parse(copy, sizeof(text) - 1, &a, &top, &err), 0);
	ask_nul(top);
	assert_int_equal(hk_value_check(top, &err), -EPROTO);
	hk_arena_done(&a);
}

static void test_bad_texts(void **state)
{
	static const char *const bad[] = {
		"", "husk-state 2\n", "husk-state 1", "husk-state 1\n}\n", "husk-state 1\nx {\n", "husk-state 1\nx {y\n", "husk-state 1\nx\n",
		"husk-state 1\nx 1", "husk-state 1\nx 1x\n", "husk-state 1\nx 99999999999999999999\n", "husk-state 1\nx #-1\n", "husk-state 1\nx #4294967296\n",
		"husk-state 1\nx \"5:abc\n", "husk-state 1\nx \"3:abcd\n", "husk-state 1\nx \"18446744073709551615:a\n", "husk-state 1\nX 1\n",
		"husk-state 1\na{{{ 1\n", "husk-state 1\nx \"\n",
	};
	struct hk_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hk_arena a = { 0 };

		if (parse(&a, bad[i], &err))
			fail_msg("\"%s\" was taken", bad[i]);
		assert_int_equal(err.kind, HK_INVALID);
		hk_arena_done(&a);
	}
}

static void test_depth_has_an_end(void **state)
{
	char text[13 + 100 * 4 + 1] = "husk-state 1\n";
	struct hk_arena a = { 0 };
	struct hk_err err;

	(void)state;
	for (int i = 0; i < 100; i++)
		memcpy(text + 13 + i * 4, "x {\n", 4);
	assert_null(parse(&a, text, &err));
	hk_arena_done(&a);
}

/* The numbers stay; one that was open for the record alone is closed on both sides. */
static void test_descriptors(void **state)
{
	struct hk_record r = { 0 };
	struct hk_arena a = { 0 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), own = open("/dev/null", O_RDONLY | O_CLOEXEC), state_fd, copy = -1;
	const struct hk_value *top;
	struct hk_err err;
	char text[200];
	ssize_t n;

	(void)state;
	copy = own;
	hk_record_fd(&r, "none", -1);
	hk_record_fd(&r, "kept", fd);
	hk_record_own_fd(&r, "own", &own);
	assert_int_equal(own, -1);
	assert_int_equal(r.n_fds, 2);
	assert_int_equal(hk_record_memfd(&r, "test", &state_fd), 0);
	assert_true(write(state_fd, "x", 1) < 0); /* sealed */
	n = pread(state_fd, text, sizeof(text), 0);
	assert_true(n > 0);
	assert_int_equal(hk_value_parse(text, (size_t)n, &a, &top, &err), 0);
	assert_int_equal(hk_value_fd(top, "kept"), fd);
	assert_int_equal(hk_value_fd(top, "own"), copy);
	assert_int_equal(hk_value_cloexec(top, false), 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(hk_value_cloexec(top, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	r.n_own = 0; /* as in another process: there it is the reader's */
	hk_value_close(top);
	assert_true(fcntl(copy, F_GETFD) < 0);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(hk_value_cloexec(top, true), -EBADF);
	hk_record_done(&r);
	hk_arena_done(&a);
	(void)close(fd);
	(void)close(state_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_unknown_and_absent),
		cmocka_unit_test(test_errors_name_the_place),
		cmocka_unit_test(test_a_string_with_a_nul),
		cmocka_unit_test(test_bad_texts),
		cmocka_unit_test(test_depth_has_an_end),
		cmocka_unit_test(test_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
