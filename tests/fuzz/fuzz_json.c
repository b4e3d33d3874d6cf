/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_json.c — any text to the JSON tree: bounded, all strings UTF-8, and every node has a path for an error. */
#include "oci/json.h"

#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "tests/fuzz/fuzz.h"

static void check_node(const struct oci_json *v, unsigned int depth)
{
	struct hk_err err = { 0 };
	uint64_t u;
	int64_t i;
	uint32_t n = 0;

	FUZZ_CHECK(depth <= OCI_JSON_MAX_DEPTH);
	FUZZ_CHECK(!v->key || fuzz_is_utf8(v->key, v->key_len));
	FUZZ_CHECK(v->type != OCI_JSON_STRING || (v->text && fuzz_is_utf8(v->text, v->n)));
	if (oci_json_u64(v, &u) == 0 && u <= INT64_MAX)
		FUZZ_CHECK(oci_json_i64(v, &i) == 0 && (uint64_t)i == u);
	fuzz_check_err(oci_json_fail(v, &err, "x"), &err);
	if (v->type == OCI_JSON_STRING)
		fuzz_check_err(oci_json_fail_word(v, &err, "x"), &err);
	if (v->type != OCI_JSON_ARRAY && v->type != OCI_JSON_OBJECT)
		return;
	for (const struct oci_json *e = v->first; e; e = e->next, n++) {
		FUZZ_CHECK(e->parent == v && (v->type != OCI_JSON_OBJECT || e->key));
		check_node(e, depth + 1);
	}
	FUZZ_CHECK(n == v->n);
}

static void parse(const uint8_t *data, size_t size, const struct oci_json_opts *opts)
{
	struct hk_arena arena = { 0 };
	const struct oci_json *root;
	struct hk_err err = { 0 };
	int r = oci_json_parse((const char *)data, size, opts, &arena, &root, &err);

	if (r < 0)
		fuzz_check_err(r, &err);
	else
		check_node(root, 1);
	FUZZ_CHECK(r < 0 || fuzz_is_utf8(data, size));
	hk_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	parse(data, size, NULL);
	parse(data, size, &(const struct oci_json_opts){ .root_name = "process", .only = "a" });
	return 0;
}
