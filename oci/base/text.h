/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/text.h — a text that grows on the heap, and JSON strings in it. Failures (no memory) are remembered and told once, at the end:
 * struct hk_text t = { 0 }; hk_text_put(&t, ...); ...; hk_text_take(&t, &s, &len).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_text {
	char *v; /* owned until taken; NUL-terminated once something was put */
	size_t n, room;
	bool failed;
};

void hk_text_put(struct hk_text *t, const char *s);
void hk_text_put_n(struct hk_text *t, const char *s, size_t len);
void hk_text_fmt(struct hk_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "s" with JSON's escapes and quotes; NULL is "". */
void hk_text_json(struct hk_text *t, const char *s);
/* ,"name":"value" */
void hk_text_json_field(struct hk_text *t, const char *name, const char *value);
/* -ENOMEM if anything failed, and then nothing is left to free. */
int hk_text_take(struct hk_text *t, char **ret, size_t *ret_len);
void hk_text_done(struct hk_text *t);
