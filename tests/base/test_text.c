/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, strings, numbers, ids and the arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/base/str.h"

static void test_fail_names_object_and_errno(void **state)
{
	struct hk_err err;

	(void)state;
	assert_int_equal(hk_fail(&err, HK_INTERNAL, EPERM, "mount %s on %s", "proc", "/proc"), -EPERM);
	assert_string_equal(err.text, "mount proc on /proc: EPERM");
	assert_int_equal(hk_wrap(&err, "create %s", "a1"), -EPERM);
	assert_string_equal(err.text, "create a1: mount proc on /proc: EPERM");
	assert_int_equal(err.kind, HK_INTERNAL);
	assert_int_equal(hk_fail_text(&err, HK_NOT_FOUND, ENOENT, "process does not exist %s", "e1"), -ENOENT);
	assert_string_equal(err.text, "process does not exist e1");
	assert_int_equal(hk_fail(NULL, HK_INTERNAL, EIO, "nobody listens"), -EIO);
	assert_string_equal(hk_errno_name(100000), "E100000");
}

static void test_long_texts_are_cut_not_overrun(void **state)
{
	char longer[3000];
	struct hk_err err;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(hk_fail(&err, HK_INVALID, EINVAL, "%s", longer), -EINVAL);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(hk_wrap(&err, "%s", longer), -EINVAL);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_int_equal(hk_wrap(&err, "short"), -EINVAL);
	assert_memory_equal(err.text, "short: xxx", 10);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t v;
	} rows[] = {
		{ "0", 0, 0 }, { "18446744073709551615", 0, UINT64_MAX }, { "18446744073709551616", -ERANGE, 0 }, { "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 }, { "+1", -EINVAL, 0 }, { " 1", -EINVAL, 0 }, { "1 ", -EINVAL, 0 }, { "0x10", -EINVAL, 0 },
		{ "99999999999999999999999", -ERANGE, 0 }, { "007", 0, 7 },
	};
	int64_t i = 0;

	(void)state;
	for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		uint64_t v = 0;

		assert_int_equal(hk_parse_u64(rows[n].text, &v), rows[n].r);
		assert_true(v == rows[n].v);
	}
	assert_int_equal(hk_parse_i64("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(hk_parse_i64("9223372036854775808", &i), -ERANGE);
	assert_int_equal(hk_parse_i64("-9223372036854775809", &i), -ERANGE);
	assert_int_equal(hk_parse_i64("-", &i), -EINVAL);
}

static void test_ids(void **state)
{
	static const char *const good[] = { "a", "A1", "pod_1+x.y-z", "0123456789" };
	static const char *const bad[] = { "", ".", "..", ".hidden", "-flag", "a/b", "../x", "a b", "a\nb", "ü", "a:b" };
	char id[78];

	(void)state;
	for (size_t n = 0; n < sizeof(good) / sizeof(good[0]); n++)
		assert_true(hk_is_valid_id(good[n]));
	for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++)
		assert_false(hk_is_valid_id(bad[n]));
	assert_false(hk_is_valid_id(NULL));
	memset(id, 'a', sizeof(id) - 1);
	id[77] = '\0';
	assert_false(hk_is_valid_id(id));
	id[76] = '\0';
	assert_true(hk_is_valid_id(id));
}

static void test_small_strings(void **state)
{
	uint64_t v = 0;
	uint8_t digest[32];
	char hex[65], buf[4];

	(void)state;
	assert_int_equal(hk_fmt(buf, sizeof(buf), "%d", 123), 3);
	assert_int_equal(hk_fmt(buf, sizeof(buf), "%d", 1234), -ENAMETOOLONG);
	assert_true(hk_has_prefix("abc", "ab") && !hk_has_prefix("a", "ab"));
	assert_true(hk_has_suffix("abc", "bc") && !hk_has_suffix("c", "bc"));
	assert_true(hk_streq(NULL, NULL) && !hk_streq("a", NULL) && hk_streq("a", "a"));
	assert_true(hk_flat_key_u64("low 1\noom 2\noom_kill 3\n", "oom_kill", &v));
	assert_int_equal(v, 3);
	assert_true(hk_flat_key_u64("low 1\noom 2", "oom", &v));
	assert_int_equal(v, 2);
	assert_false(hk_flat_key_u64("oom_kill 3\n", "oom", &v));
	assert_false(hk_flat_key_u64("oom\n", "oom", &v));
	/* FIPS 180-2, appendix B.1 */
	hk_sha256("abc", 3, digest);
	hk_hex(digest, sizeof(digest), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_arena(void **state)
{
	struct hk_arena a = { .limit_bytes = 1 << 20 };
	char *first, *big;

	(void)state;
	first = hk_arena_printf(&a, "%s-%d", "x", 7);
	assert_string_equal(first, "x-7");
	assert_string_equal(hk_arena_strndup(&a, "abcdef", 3), "abc");
	for (int i = 0; i < 1000; i++) {
		unsigned char *p = hk_arena_alloc(&a, 100);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		for (int k = 0; k < 100; k++)
			assert_int_equal(p[k], 0);
		memset(p, 0xff, 100);
	}
	big = hk_arena_alloc(&a, 200000);
	assert_non_null(big);
	assert_string_equal(first, "x-7");
	assert_null(hk_arena_alloc(&a, 1 << 20)); /* over the limit */
	assert_null(hk_arena_array(&a, SIZE_MAX / 2, 16));
	assert_null(hk_arena_alloc(&a, SIZE_MAX));
	hk_arena_done(&a);
	assert_int_equal(a.total_bytes, 0);
	assert_non_null(hk_arena_alloc(&a, 1)); /* usable again */
	hk_arena_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_names_object_and_errno), cmocka_unit_test(test_long_texts_are_cut_not_overrun),
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_ids), cmocka_unit_test(test_small_strings),
		cmocka_unit_test(test_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
