/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text to tree: structure, exact numbers, limits, and errors that name the place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/json.h"

static int parse(const char *text, size_t len, struct hk_arena *arena, const struct oci_json **ret, struct hk_err *err)
{
	return oci_json_parse(text, len, NULL, arena, ret, err);
}

static const struct oci_json *parse_ok(const char *text, struct hk_arena *arena)
{
	const struct oci_json *root = NULL;
	struct hk_err err = { 0 };

	if (parse(text, strlen(text), arena, &root, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return root;
}

static void test_tree(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	const struct oci_json *root = parse_ok(
				  " {\"a\":[1,\"x\\u0041\\n\",true,null,{}],\"b\":{\"c\":\"d\"}} \n\t", &arena),
			      *v;

	(void)state;
	assert_int_equal(root->type, OCI_JSON_OBJECT);
	assert_int_equal(root->n, 2);
	v = oci_json_get(root, "a");
	assert_int_equal(v->type, OCI_JSON_ARRAY);
	assert_int_equal(v->n, 5);
	v = v->first;
	assert_int_equal(v->type, OCI_JSON_NUMBER);
	v = v->next;
	assert_true(oci_json_is_word(v, "xA\n"));
	v = v->next;
	assert_true(v->type == OCI_JSON_BOOL && v->boolean);
	assert_int_equal(v->next->type, OCI_JSON_NULL);
	assert_int_equal(v->next->next->type, OCI_JSON_OBJECT);
	assert_null(v->next->next->first);
	assert_true(oci_json_is_word(oci_json_get(oci_json_get(root, "b"), "c"), "d"));
	assert_null(oci_json_get(root, "c"));
}

static void test_last_duplicate_wins(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	const struct oci_json *root = parse_ok("{\"a\":1,\"b\":2,\"a\":3,\"b\":null}", &arena);
	uint64_t n = 0;

	(void)state;
	assert_int_equal(oci_json_u64(oci_json_get(root, "a"), &n), 0);
	assert_int_equal(n, 3);
	assert_null(oci_json_get(root, "b")); /* null reads as absent */
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int u_result;
		uint64_t u;
		int i_result;
		int64_t i;
	} cases[] = {
		{ "0", 0, 0, 0, 0 },
		{ "18446744073709551615", 0, UINT64_MAX, -ERANGE, 0 },
		{ "18446744073709551616", -ERANGE, 0, -ERANGE, 0 },
		{ "9223372036854775807", 0, INT64_MAX, 0, INT64_MAX },
		{ "9223372036854775808", 0, UINT64_C(9223372036854775808), -ERANGE, 0 },
		{ "-9223372036854775808", -ERANGE, 0, 0, INT64_MIN },
		{ "-9223372036854775809", -ERANGE, 0, -ERANGE, 0 },
		{ "9007199254740993", 0, UINT64_C(9007199254740993), 0,
		    INT64_C(9007199254740993) }, /* no double has it */
		{ "1.0", -EINVAL, 0, -EINVAL, 0 },
		{ "1e3", -EINVAL, 0, -EINVAL, 0 },
		{ "-1.5", -EINVAL, 0, -EINVAL, 0 },
		{ "1111111111111111111111111111111111111111", -ERANGE, 0, -ERANGE, 0 },
		{ "1111111111111111111111111111111111111.111", -EINVAL, 0, -EINVAL, 0 },
		{ "\"1\"", -EINVAL, 0, -EINVAL, 0 },
		{ "true", -EINVAL, 0, -EINVAL, 0 },
	};

	(void)state;
	for (size_t k = 0; k < HK_ARRAY_SIZE(cases); k++) {
		hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
		const struct oci_json *v;
		uint64_t u = 0;
		int64_t i = 0;
		char text[80];

		(void)snprintf(text, sizeof(text), "{\"n\":%s}", cases[k].text);
		v = oci_json_get(parse_ok(text, &arena), "n");
		if (oci_json_u64(v, &u) != cases[k].u_result || u != cases[k].u)
			fail_msg("u64 of %s", cases[k].text);
		if (oci_json_i64(v, &i) != cases[k].i_result || i != cases[k].i)
			fail_msg("i64 of %s", cases[k].text);
	}
}

static void test_syntax_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "JSON line 1 column 1: premature EOF" }, { "   \n", "JSON line 2 column 1: premature EOF" },
		{ "[]", "JSON line 1 column 2: expected an object" },
		{ "\"x\"", "JSON line 1 column 4: expected an object" },
		{ "{} {}", "JSON line 1 column 5: trailing garbage" }, { "{}x", "JSON line 1 column " },
		{ "{\"a\":1,}", "JSON line 1 column " }, { "{\"a\" 1}", "JSON line 1 column " },
		{ "{\n \"a\": tru\n}", "JSON line 2 column " }, { "{\"a\":01}", "JSON line 1 column " },
		{ "{\"a\":\"\x01\"}", "JSON line 1 column " }, { "{\"a\":\"\\x\"}", "JSON line 1 column " },
		{ "{\"a\":1", "JSON line 1 column 7: premature EOF" }, { "{/* no comments */}", "JSON line 1 column " },
		{ "{\"a\":\"\xff\"}", "JSON line 1 column 7: invalid UTF-8" },
		{ "{\"a\":\n\"\xc0\x80\"}", "JSON line 2 column 2: invalid UTF-8" },       /* overlong NUL */
		{ "{\"a\":\"\xed\xa0\x80\"}", "JSON line 1 column 7: invalid UTF-8" },     /* surrogate */
		{ "{\"a\":\"\xf4\x90\x80\x80\"}", "JSON line 1 column 7: invalid UTF-8" }, /* > U+10FFFF */
		{ "{\"a\":\"\xf0\x8f\xbf\xbf\"}", "JSON line 1 column 7: invalid UTF-8" }, /* overlong */
		{ "{\"a\":\"\xe2\x82\"}", "JSON line 1 column 7: invalid UTF-8" },         /* cut short */
		{ "{\"a\":\"\\udc00\"}", "JSON line 1 column 7: half of a surrogate pair" },
		{ "{\"a\":\"\\ud83d\\u0041\"}", "JSON line 1 column 7: half of a surrogate pair" },
		{ "{\"a\":\"x\\ud83d\\\\Rd\"}", "JSON line 1 column 8: half of a surrogate pair" },
		{ "{\"a\":\"\\ud83d", "JSON line 1 column 7: half of a surrogate pair" },
		{ "\xef\xbb\xbf{}", "JSON line 1 column " },                               /* byte order mark */
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
		const struct oci_json *root = NULL;
		struct hk_err err = { 0 };

		if (parse(cases[i].text, strlen(cases[i].text), &arena, &root, &err) != -EINVAL)
			fail_msg("accepted: %s", cases[i].text);
		assert_null(root);
		assert_int_equal(err.kind, HK_INVALID);
		if (strncmp(err.text, cases[i].error, strlen(cases[i].error)) != 0 || strchr(err.text, '\n'))
			fail_msg("%s: got \"%s\", want \"%s\"", cases[i].text, err.text, cases[i].error);
	}
}

static void test_good_utf8(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	const char *word = "\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf";
	char text[80];

	(void)state;
	(void)snprintf(text, sizeof(text), "{\"k\":\"%s\"}", word);
	assert_true(oci_json_is_word(oci_json_get(parse_ok(text, &arena), "k"), word));
}

/* "{"a":[[[ … ]]]}" with `depth` containers, the root included. */
static char *nested(unsigned depth, size_t *ret_len)
{
	char *text = malloc(2UL * depth + 8), *p = text;

	assert_non_null(text);
	p = stpcpy(p, "{\"a\":");
	memset(p, '[', depth - 1);
	p += depth - 1;
	memset(p, ']', depth - 1);
	p += depth - 1;
	*p++ = '}';
	*ret_len = (size_t)(p - text);
	return text;
}

static void test_depth(void **state)
{
	static const struct {
		unsigned depth;
		int result;
	} cases[] = { { 2, 0 }, { OCI_JSON_MAX_DEPTH, 0 }, { OCI_JSON_MAX_DEPTH + 1, -EINVAL }, { 100000, -EINVAL } };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		for (int only = 0; only < 2; only++) {
			const struct oci_json_opts opts = { .only = only ? "b" : NULL };
			hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
			const struct oci_json *root = NULL;
			struct hk_err err = { 0 };
			size_t len;
			hk_autofree char *text = nested(cases[i].depth, &len);

			assert_int_equal(oci_json_parse(text, len, &opts, &arena, &root, &err), cases[i].result);
			if (cases[i].result < 0)
				assert_non_null(strstr(err.text, "nested too deeply"));
		}
	}
}

static void test_too_many_values(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { .limit_bytes = 2 * OCI_JSON_ARENA_BYTES };
	const struct oci_json *root = NULL;
	struct hk_err err = { 0 }; /* and twice the memory, since AddressSanitizer has a gap after each piece */
	size_t n = OCI_JSON_MAX_NODES, len = 5 + 2 * n;
	hk_autofree char *text = malloc(len + 16);

	(void)state;
	assert_non_null(text);
	memcpy(text, "{\"a\":[", 6);
	for (size_t i = 0; i < n; i++)
		memcpy(text + 6 + 2 * i, "0,", 2);
	memcpy(text + 6 + 2 * n - 1, "]}", 2);
	len = 6 + 2 * n + 1;
	assert_int_equal(parse(text, len, &arena, &root, &err), -EINVAL);
	assert_non_null(strstr(err.text, "too many values"));
	/* Two values fewer (the root and the array count too) are at the limit. */
	memcpy(text + 6 + 2 * (n - 2) - 1, "]}", 2);
	assert_int_equal(parse(text, 6 + 2 * (n - 2) + 1, &arena, &root, &err), 0);
	assert_int_equal(root->first->n, n - 2);
}

static void test_arena_limit(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { .limit_bytes = 128 * 1024 };
	const struct oci_json *root = NULL;
	struct hk_err err = { 0 };
	size_t n = 100000;
	hk_autofree char *text = malloc(2 * n + 16);

	(void)state;
	assert_non_null(text);
	memcpy(text, "{\"a\":[", 6);
	for (size_t i = 0; i < n; i++)
		memcpy(text + 6 + 2 * i, "0,", 2);
	memcpy(text + 6 + 2 * n - 1, "]}", 2);
	assert_int_equal(parse(text, 6 + 2 * n + 1, &arena, &root, &err), -ENOMEM);
	assert_int_equal(err.kind, HK_EXHAUSTED);
	assert_null(root);
}

static void test_too_long(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	const struct oci_json *root = NULL;
	struct hk_err err = { 0 };
	size_t len = OCI_JSON_MAX_BYTES + 1;
	hk_autofree char *text = malloc(len);

	(void)state;
	assert_non_null(text);
	memset(text, ' ', len);
	memcpy(text, "{}", 2);
	assert_int_equal(parse(text, len, &arena, &root, &err), -E2BIG);
	assert_int_equal(parse(text, len - 1, &arena, &root, &err), 0);
}

/* Values that are not wanted are checked, and not kept. */
static void test_only(void **state)
{
	static const struct oci_json_opts opts = { .only = "b" };
	static const char text[] = "{\"a\":{\"b\":[1,{\"b\":2}]},\"b\":{\"c\":3},\"d\":[[]],\"b2\":1,\"e\":null}";
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	const struct oci_json *root = NULL;
	struct hk_err err = { 0 };
	uint64_t n = 0;

	(void)state;
	assert_int_equal(oci_json_parse(text, sizeof(text) - 1, &opts, &arena, &root, &err), 0);
	assert_int_equal(root->n, 1);
	assert_int_equal(oci_json_u64(oci_json_get(oci_json_get(root, "b"), "c"), &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(oci_json_parse("{\"a\":[1,},\"b\":1}", 16, &opts, &arena, &root, &err), -EINVAL);
}

static void test_paths(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	static const struct oci_json_opts named = { .root_name = "process" };
	const char *text = "{\"a\":{\"b\":[0,{\"net.ipv4\":\"x\"}],\"\":1,\"q\\\"\\n\":2}}";
	const struct oci_json *root = NULL, *a, *b;
	struct hk_err err = { 0 };

	(void)state;
	root = parse_ok(text, &arena);
	a = oci_json_get(root, "a");
	b = oci_json_get(a, "b");
	assert_int_equal(oci_json_fail(b->first->next->first, &err, "no %s", "good"), -EINVAL);
	assert_string_equal(err.text, "a.b[1][\"net.ipv4\"]: no good");
	assert_int_equal(err.kind, HK_INVALID);
	(void)oci_json_fail(b->next, &err, "x");
	assert_string_equal(err.text, "a[\"\"]: x");
	(void)oci_json_fail(b->next->next, &err, "x");
	assert_string_equal(err.text, "a[\"q??\"]: x");
	(void)oci_json_fail_missing(a, "c", &err);
	assert_string_equal(err.text, "a.c: missing");
	(void)oci_json_fail_missing(root, "c", &err);
	assert_string_equal(err.text, "c: missing");
	(void)oci_json_fail(root, &err, "x");
	assert_string_equal(err.text, "document: x");
	assert_int_equal(oci_json_parse(text, strlen(text), &named, &arena, &root, &err), 0);
	(void)oci_json_fail(oci_json_get(root, "a"), &err, "x");
	assert_string_equal(err.text, "process.a: x");
	(void)oci_json_fail(root, &err, "x");
	assert_string_equal(err.text, "process: x");
}

/* A hostile key or value must neither overflow the text nor put a second line into the log. */
static void test_long_words(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct hk_err err = { 0 };
	char *text = malloc(20000), *p = text;
	const struct oci_json *v;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < 10; i++) {
		p = stpcpy(p, "{\"");
		memset(p, 'k', 900);
		p += 900;
		p = stpcpy(p, "\":");
	}
	p = stpcpy(p, "\"");
	for (int i = 0; i < 300; i++)
		p = stpcpy(p, "\xe2\x82\xac\\n");
	p = stpcpy(p, "\"");
	for (int i = 0; i < 10; i++)
		p = stpcpy(p, "}");
	v = parse_ok(text, &arena);
	while (v->type == OCI_JSON_OBJECT)
		v = v->first;
	(void)oci_json_fail_word(v, &err, "unknown value");
	assert_true(strlen(err.text) < 400);
	assert_null(strchr(err.text, '\n'));
	assert_non_null(strstr(err.text, "unknown value \"\xe2\x82\xac?"));
	assert_int_equal(strncmp(err.text, "...", 3), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_last_duplicate_wins),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_syntax_errors),
		cmocka_unit_test(test_good_utf8),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_too_many_values),
		cmocka_unit_test(test_arena_limit),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_only),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_long_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
