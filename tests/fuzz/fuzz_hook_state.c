/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_hook_state.c — the state document for hooks is JSON whatever the strings in it are. The input: strings, each ended by a NUL: id,
 * bundle, then keys and values of annotations.
 */
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/hooks.h"
#include "oci/json.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_KVS = 8 };

static void check_text(const struct oci_json *object, const char *key, const char *want)
{
	const struct oci_json *v = oci_json_get(object, key);

	FUZZ_CHECK(v && oci_json_is_word(v, want));
}

static void check_document(const char *json, size_t len, const struct oci_hook_state *s)
{
	struct hk_arena arena = { 0 };
	const struct oci_json *root, *annotations;
	struct hk_err err;

	FUZZ_CHECK(oci_json_parse(json, len, NULL, &arena, &root, &err) == 0);
	check_text(root, "id", s->id);
	check_text(root, "bundle", s->bundle);
	annotations = oci_json_get(root, "annotations");
	FUZZ_CHECK((annotations != NULL) == (s->annotations->n > 0));
	for (size_t i = 0; i < s->annotations->n; i++) {
		bool is_last = true; /* of a key given twice */

		for (size_t k = i + 1; k < s->annotations->n; k++)
			is_last &= strcmp(s->annotations->v[i].key, s->annotations->v[k].key) != 0;
		if (is_last)
			check_text(annotations, s->annotations->v[i].key, s->annotations->v[i].value);
	}
	hk_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	hk_autofree char *id = fuzz_word(&in, '\0'), *bundle = fuzz_word(&in, '\0'), *json = NULL;
	struct oci_kv kv[MAX_KVS];
	struct oci_kvs kvs = { .v = kv };
	const struct oci_hook_state s = { .version = "1.2.0",
		.id = id ? id : "",
		.status = "created",
		.bundle = bundle ? bundle : "",
		.pid = (pid_t)size,
		.annotations = &kvs };
	size_t len = 0;
	char *key;

	while (kvs.n < MAX_KVS && (key = fuzz_word(&in, '\0'))) {
		char *value = fuzz_word(&in, '\0');

		if (!value) {
			free(key);
			break;
		}
		kv[kvs.n++] = (struct oci_kv){ key, value };
	}
	FUZZ_CHECK(oci_hook_state_json(&s, &json, &len) == 0);
	FUZZ_CHECK(strlen(json) == len);
	if (fuzz_is_utf8(data, size))
		check_document(json, len, &s);
	for (size_t i = 0; i < kvs.n; i++) {
		free((char *)(uintptr_t)kv[i].key);
		free((char *)(uintptr_t)kv[i].value);
	}
	return 0;
}
