/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/str.h — bounded formatting and strict number parsing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* snprintf that tells truncation: the length, or -ENAMETOOLONG. */
int hk_fmt(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Whole string, base 10, no sign, no blanks; -EINVAL or -ERANGE otherwise. */
int hk_parse_u64(const char *s, uint64_t *ret);
int hk_parse_i64(const char *s, int64_t *ret);
/* "64", "64K", "64M", "64G": powers of 1024; at most INT64_MAX. */
int hk_parse_size(const char *s, uint64_t *ret);
bool hk_has_prefix(const char *s, const char *prefix);
bool hk_has_suffix(const char *s, const char *suffix);
bool hk_streq(const char *a, const char *b); /* NULL equals NULL only */
/* [A-Za-z0-9_+.-], 1 to 76 bytes, not starting with '.' or '-': container and exec ids (no path traversal). */
bool hk_is_valid_id(const char *s);
/* Finds "key value\n" in the text of a flat-keyed cgroup or proc file; false when absent. */
bool hk_flat_key_u64(const char *text, const char *key, uint64_t *ret);
/* Lower-case hex of n bytes into out (2n + 1 bytes). */
void hk_hex(const uint8_t *bytes, size_t n, char *out);
/* SHA-256 by libmd; out is 32 bytes. */
void hk_sha256(const void *buf, size_t len, uint8_t out[32]);
