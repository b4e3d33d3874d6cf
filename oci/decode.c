/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/decode.c — reads JSON values into plain fields. In: nodes of oci/json.h; out: fields, strings and arrays in the
 * arena. It knows JSON's types and C's, and nothing of the runtime-spec.
 */
#include "oci/decode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/spec_resources.h"

int oci_dec_no_memory(const struct oci_dec *d)
{
	return hk_fail(d->err, HK_EXHAUSTED, ENOMEM, "read JSON document");
}

int oci_dec_expect(const struct oci_dec *d, const struct oci_json *v, enum oci_json_type t)
{
	if (v->type == t)
		return 0;
	return oci_json_fail(v, d->err, "expected %s, got %s", oci_json_type_name(t), oci_json_type_name(v->type));
}

/* Two passes: the last of equal members is known only at the end, and a reader must not see the earlier ones. */
int oci_dec_object(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_field *fields, size_t n, void *dst)
{
	const struct oci_json *found[OCI_DEC_MAX_FIELDS] = { NULL };
	int r = oci_dec_expect(d, v, OCI_JSON_OBJECT);

	assert(n <= OCI_DEC_MAX_FIELDS);
	if (r < 0)
		return r;
	for (const struct oci_json *m = v->first; m; m = m->next) {
		for (size_t i = 0; i < n; i++) {
			if (oci_json_is_key(m, fields[i].key)) {
				found[i] = m;
				break;
			}
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (!found[i] || found[i]->type == OCI_JSON_NULL) {
			if (fields[i].is_required)
				return oci_json_fail_missing(v, fields[i].key, d->err);
			continue;
		}
		r = fields[i].fn(d, found[i], (char *)dst + fields[i].offset);
		if (r < 0)
			return r;
	}
	return 0;
}

int oci_dec_array(
    const struct oci_dec *d, const struct oci_json *v, oci_dec_fn *fn, size_t size, void **ret, size_t *ret_n)
{
	char *array;
	size_t i = 0;
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	if (r < 0 || v->n == 0)
		return r;
	array = hk_arena_array(d->arena, v->n, size);
	if (!array)
		return oci_dec_no_memory(d);
	for (const struct oci_json *e = v->first; e; e = e->next, i++) {
		r = fn(d, e, array + i * size);
		if (r < 0)
			return r;
	}
	*ret = array;
	*ret_n = v->n;
	return 0;
}

/* What goes to the kernel ends at a NUL, so one inside would make the checked string another than the used one. */
static int check_text(const struct oci_dec *d, const struct oci_json *v)
{
	int r = oci_dec_expect(d, v, OCI_JSON_STRING);

	if (r == 0 && v->n > 0 && memchr(v->text, '\0', v->n))
		return oci_json_fail(v, d->err, "contains a NUL byte");
	return r;
}

int oci_dec_str(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	char *s;
	int r = check_text(d, v);

	if (r < 0)
		return r;
	s = hk_arena_strndup(d->arena, v->text, v->n);
	if (!s)
		return oci_dec_no_memory(d);
	*(const char **)dst = s;
	return 0;
}

int oci_dec_opt_str(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	if (v->type == OCI_JSON_STRING && v->n == 0)
		return 0;
	return oci_dec_str(d, v, dst);
}

/* Names that become part of a file's name or of a line of words written to the kernel. */
int oci_dec_name_str(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = check_text(d, v);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < v->n; i++) {
		unsigned char c = (unsigned char)v->text[i];

		if (c <= ' ' || c == 0x7f || c == '/')
			return oci_json_fail_word(v, d->err, "invalid name");
	}
	if (v->n == 0)
		return oci_json_fail(v, d->err, "empty name");
	return oci_dec_str(d, v, dst);
}

int oci_dec_bool(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = oci_dec_expect(d, v, OCI_JSON_BOOL);

	if (r == 0)
		*(bool *)dst = v->boolean;
	return r;
}

static int fail_number(const struct oci_dec *d, const struct oci_json *v, int r)
{
	if (v->type != OCI_JSON_NUMBER)
		return oci_dec_expect(d, v, OCI_JSON_NUMBER);
	if (r == -ERANGE)
		return oci_json_fail(v, d->err, "%.*s is out of range", v->n < 40 ? (int)v->n : 40, v->text);
	return oci_json_fail(v, d->err, "expected an integer, got %.*s", v->n < 40 ? (int)v->n : 40, v->text);
}

int oci_dec_u64_in(const struct oci_dec *d, const struct oci_json *v, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;
	int r = oci_json_u64(v, &n);

	if (r == 0 && n > max)
		r = -ERANGE;
	if (r < 0)
		return fail_number(d, v, r);
	*ret = n;
	return 0;
}

int oci_dec_i64_in(const struct oci_dec *d, const struct oci_json *v, int64_t min, int64_t max, int64_t *ret)
{
	int64_t n = 0;
	int r = oci_json_i64(v, &n);

	if (r == 0 && (n < min || n > max))
		r = -ERANGE;
	if (r < 0)
		return fail_number(d, v, r);
	*ret = n;
	return 0;
}

int oci_dec_u32(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t n = 0;
	int r = oci_dec_u64_in(d, v, UINT32_MAX, &n);

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)n;
	return r;
}

int oci_dec_i32(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int64_t n = 0;
	int r = oci_dec_i64_in(d, v, INT32_MIN, INT32_MAX, &n);

	if (r == 0)
		*(int32_t *)dst = (int32_t)n;
	return r;
}

int oci_dec_u64(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_u64_in(d, v, UINT64_MAX, dst);
}

int oci_dec_i64(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_i64_in(d, v, INT64_MIN, INT64_MAX, dst);
}

static int opt_u64_in(const struct oci_dec *d, const struct oci_json *v, uint64_t max, struct oci_opt_u64 *opt)
{
	int r = oci_dec_u64_in(d, v, max, &opt->v);

	if (r == 0)
		opt->is_set = true;
	return r;
}

int oci_dec_opt_u64(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return opt_u64_in(d, v, UINT64_MAX, dst);
}

int oci_dec_opt_u16(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return opt_u64_in(d, v, UINT16_MAX, dst);
}

int oci_dec_opt_i64(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_opt_i64 *opt = dst;
	int r = oci_dec_i64(d, v, &opt->v);

	if (r == 0)
		opt->is_set = true;
	return r;
}

int oci_dec_opt_bool(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	bool b;
	int r = oci_dec_bool(d, v, &b);

	if (r == 0)
		*(struct oci_opt_i64 *)dst = (struct oci_opt_i64){ .is_set = true, .v = b };
	return r;
}

/* All strings of the vector go into one block: a seccomp profile has hundreds of short ones. */
int oci_dec_strv(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	size_t bytes = 0, i = 0;
	const char **array;
	char *at;
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	if (r < 0)
		return r;
	for (const struct oci_json *e = v->first; e; e = e->next) {
		r = check_text(d, e);
		if (r < 0)
			return r;
		bytes += (size_t)e->n + 1;
	}
	array = hk_arena_array(d->arena, (size_t)v->n + 1, sizeof(*array));
	at = hk_arena_alloc(d->arena, bytes ? bytes : 1);
	if (!array || !at)
		return oci_dec_no_memory(d);
	for (const struct oci_json *e = v->first; e; e = e->next) {
		memcpy(at, e->text, e->n);
		array[i++] = at;
		at += e->n + 1; /* arena memory is zeroed */
	}
	*(struct oci_strv *)dst = (struct oci_strv){ .v = array, .n = v->n };
	return 0;
}

static int compare_keys(const void *x, const void *y)
{
	const struct oci_json *a = *(const struct oci_json *const *)x, *b = *(const struct oci_json *const *)y;
	uint32_t n = a->key_len < b->key_len ? a->key_len : b->key_len;
	int c = n ? memcmp(a->key, b->key, n) : 0;

	if (c != 0)
		return c;
	if (a->key_len != b->key_len)
		return a->key_len < b->key_len ? -1 : 1;
	return a->seq < b->seq ? -1 : 1;
}

int oci_dec_members(const struct oci_dec *d, const struct oci_json *v, const struct oci_json ***ret, size_t *ret_n)
{
	const struct oci_json **m;
	size_t n = 0, out = 0;
	int r = oci_dec_expect(d, v, OCI_JSON_OBJECT);

	if (r < 0)
		return r;
	m = hk_arena_array(d->arena, (size_t)v->n + 1, sizeof(*m));
	if (!m)
		return oci_dec_no_memory(d);
	for (const struct oci_json *e = v->first; e; e = e->next)
		m[n++] = e;
	qsort(m, n, sizeof(*m), compare_keys);
	for (size_t i = 0; i < n; i++) {
		if (m[i]->key_len > 0 && memchr(m[i]->key, '\0', m[i]->key_len))
			return oci_json_fail(m[i], d->err, "key contains a NUL byte");
		if (i + 1 < n && m[i]->key_len == m[i + 1]->key_len &&
		    memcmp(m[i]->key, m[i + 1]->key, m[i]->key_len) == 0)
			continue;
		if (m[i]->type != OCI_JSON_NULL)
			m[out++] = m[i];
	}
	*ret = m;
	*ret_n = out;
	return 0;
}

int oci_dec_key(const struct oci_dec *d, const struct oci_json *v, const char **ret)
{
	char *s = hk_arena_strndup(d->arena, v->key, v->key_len);

	if (!s)
		return oci_dec_no_memory(d);
	*ret = s;
	return 0;
}

int oci_dec_kvs(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	const struct oci_json **m;
	struct oci_kv *kv;
	size_t n;
	int r = oci_dec_members(d, v, &m, &n);

	if (r < 0)
		return r;
	kv = hk_arena_array(d->arena, n + 1, sizeof(*kv));
	if (!kv)
		return oci_dec_no_memory(d);
	for (size_t i = 0; i < n; i++) {
		r = oci_dec_key(d, m[i], &kv[i].key);
		if (r == 0)
			r = oci_dec_str(d, m[i], &kv[i].value);
		if (r < 0)
			return r;
	}
	*(struct oci_kvs *)dst = (struct oci_kvs){ .v = kv, .n = n };
	return 0;
}

int oci_dec_word(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_word *words, size_t n, uint64_t *ret)
{
	int r = oci_dec_expect(d, v, OCI_JSON_STRING);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (oci_json_is_word(v, words[i].word)) {
			*ret = words[i].value;
			return 0;
		}
	}
	return oci_json_fail_word(v, d->err, "unknown value");
}

int oci_dec_flags(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_word *words, size_t n, uint64_t *ret)
{
	uint64_t flags = 0, one;
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	if (r < 0)
		return r;
	for (const struct oci_json *e = v->first; e; e = e->next) {
		r = oci_dec_word(d, e, words, n, &one);
		if (r < 0)
			return r;
		flags |= one;
	}
	*ret = flags;
	return 0;
}
