/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/decode.h — JSON values into fields of plain structs, by tables. Private to oci/parse*.c.
 *
 * A table row names a member, the reader of its value and the place in the struct. Members without a row are ignored;
 * null is absent; of a member given twice the last counts. Strings and arrays are copied to d->arena. Readers fail
 * with the JSON path.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/json.h"
#include "oci/spec_process.h"

struct hk_arena;
struct hk_err;

struct oci_dec {
	struct hk_arena *arena;
	struct hk_err *err;
};
typedef int oci_dec_fn(const struct oci_dec *d, const struct oci_json *v, void *dst);

enum { OCI_DEC_MAX_FIELDS = 32 };
struct oci_field {
	const char *key;
	oci_dec_fn *fn;
	size_t offset;
	bool is_required;
};
/* clang-format off */
#define OCI_FIELD(T, member, key_, fn_) { .key = (key_), .fn = (fn_), .offset = offsetof(T, member) }
#define OCI_FIELD_REQ(T, member, key_, fn_) \
	{ .key = (key_), .fn = (fn_), .offset = offsetof(T, member), .is_required = true }
/* The reader is handed the whole struct: a value that fills more than one field. */
#define OCI_FIELD_SELF(key_, fn_) { .key = (key_), .fn = (fn_) }
#define OCI_FIELD_SELF_REQ(key_, fn_) { .key = (key_), .fn = (fn_), .is_required = true }
/* clang-format on */

int oci_dec_object(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_field *fields, size_t n, void *dst);
/* An array of elements of `size` bytes, each read by fn into zeroed memory; an empty array gives NULL and 0. */
int oci_dec_array(
    const struct oci_dec *d, const struct oci_json *v, oci_dec_fn *fn, size_t size, void **ret, size_t *ret_n);
/* Refuses all types but t. */
int oci_dec_expect(const struct oci_dec *d, const struct oci_json *v, enum oci_json_type t);
int oci_dec_no_memory(const struct oci_dec *d);

/* Readers; the type of *dst is in the name or in the comment. */
/* const char *; a NUL inside is refused */
int oci_dec_str(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* the same; "" gives NULL */
int oci_dec_opt_str(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* the same; blanks, controls and '/' are refused */
int oci_dec_name_str(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_bool(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_u32(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_i32(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_u64(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_i64(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_opt_u64 */
int oci_dec_opt_u64(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_opt_u64 of 16 bits */
int oci_dec_opt_u16(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_opt_i64 */
int oci_dec_opt_i64(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_opt_i64: 0 or 1 */
int oci_dec_opt_bool(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_strv */
int oci_dec_strv(const struct oci_dec *d, const struct oci_json *v, void *dst);
/* struct oci_kvs, sorted by key */
int oci_dec_kvs(const struct oci_dec *d, const struct oci_json *v, void *dst);
int oci_dec_u64_in(const struct oci_dec *d, const struct oci_json *v, uint64_t max, uint64_t *ret);
int oci_dec_i64_in(const struct oci_dec *d, const struct oci_json *v, int64_t min, int64_t max, int64_t *ret);

/* A closed list of words. */
struct oci_word {
	const char *word;
	uint64_t value;
};
/* Others are refused: "unknown value \"SCMP_ACT_X\"". */
int oci_dec_word(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_word *words, size_t n, uint64_t *ret);
/* An array of words: their values or'ed. */
int oci_dec_flags(
    const struct oci_dec *d, const struct oci_json *v, const struct oci_word *words, size_t n, uint64_t *ret);
/* The members of a map in the order of their keys, the last of equal keys only: *ret has *ret_n entries in d->arena. */
int oci_dec_members(const struct oci_dec *d, const struct oci_json *v, const struct oci_json ***ret, size_t *ret_n);
/* A member's key as a string of its own. */
int oci_dec_key(const struct oci_dec *d, const struct oci_json *v, const char **ret);
