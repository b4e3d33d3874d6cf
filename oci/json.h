/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/json.h — JSON text to a tree, and errors that name the place in it. Private to oci/.
 *
 * The tree borrows from the text (strings without escapes, all numbers), the rest lives in the caller's arena: both
 * must outlive it. Numbers stay text, so 64-bit values are exact. A key given twice: the last one counts. `null`
 * reads as absent.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hk_arena;
struct hk_err;

enum {
	OCI_JSON_MAX_BYTES = 16 << 20, /* of text: containerd's messages end at 4 MiB */
	OCI_JSON_MAX_DEPTH = 64,
	OCI_JSON_MAX_NODES = 1 << 19,
	OCI_JSON_ARENA_BYTES = 64 << 20, /* limit for any arena fed from JSON */
};

enum oci_json_type { OCI_JSON_NULL, OCI_JSON_BOOL, OCI_JSON_NUMBER, OCI_JSON_STRING, OCI_JSON_ARRAY, OCI_JSON_OBJECT };

struct oci_json {
	const struct oci_json *parent, *next;
	union {
		const char *text;             /* STRING, NUMBER: n bytes, not NUL-terminated */
		const struct oci_json *first; /* ARRAY, OBJECT: n children in order of appearance */
	};
	const char *key; /* of a member of an object; of the root: what paths start with, or NULL */
	uint32_t key_len;
	uint32_t n;
	enum oci_json_type type : 8;
	bool boolean;
	uint32_t seq; /* order of appearance in the text */
};

struct oci_json_opts {
	const char *root_name; /* NULL: paths start at the members of the root object */
	const char *only;      /* not NULL: keep only this member of the root (all is still checked) */
};

/* The text must be one object and nothing but blanks after it. `opts` may be NULL. */
int oci_json_parse(const char *text, size_t len, const struct oci_json_opts *opts, struct hk_arena *arena,
    const struct oci_json **ret, struct hk_err *err);

/* The last member called `key` that is not null, or NULL. `object` must be one. */
const struct oci_json *oci_json_get(const struct oci_json *object, const char *key);
bool oci_json_is_key(const struct oci_json *v, const char *key);
bool oci_json_is_word(const struct oci_json *v, const char *word);

/* Exact integers; -EINVAL: not a decimal integer, -ERANGE. */
int oci_json_u64(const struct oci_json *v, uint64_t *ret);
int oci_json_i64(const struct oci_json *v, int64_t *ret);

/* "expected" texts: "a string", "an array" … */
const char *oci_json_type_name(enum oci_json_type t);

/* HK_INVALID "<path of v>: <formatted>"; returns -EINVAL. */
int oci_json_fail(const struct oci_json *v, struct hk_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a member that is not there. */
int oci_json_fail_missing(const struct oci_json *object, const char *key, struct hk_err *err);
/* "<path>: <what> \"<the string>\"", shortened and made printable: the text goes to logs and terminals. */
int oci_json_fail_word(const struct oci_json *v, struct hk_err *err, const char *what);
