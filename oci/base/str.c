/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/str.c — see str.h. */
#include "oci/base/str.h"

#include <errno.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ID_LEN = 76 }; /* containerd's identifiers */

int hk_fmt(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : len;
}

int hk_parse_u64(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10U, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

int hk_parse_i64(const char *s, int64_t *ret)
{
	const bool negative = *s == '-';
	uint64_t v;
	int r = hk_parse_u64(s + negative, &v);

	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*ret = negative ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int hk_parse_size(const char *s, uint64_t *ret)
{
	static const char units[] = "KMG";
	const size_t len = strlen(s);
	const char *unit = len > 1 ? strchr(units, s[len - 1]) : NULL;
	const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char digits[24];
	uint64_t v;
	int r;

	if (len >= sizeof(digits))
		return -ERANGE;
	memcpy(digits, s, len + 1);
	if (unit)
		digits[len - 1] = '\0';
	r = hk_parse_u64(digits, &v);
	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX >> shift)
		return -ERANGE;
	*ret = v << shift;
	return 0;
}

bool hk_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool hk_has_suffix(const char *s, const char *suffix)
{
	const size_t len = strlen(s), n = strlen(suffix);

	return len >= n && memcmp(s + len - n, suffix, n) == 0;
}

bool hk_streq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool hk_is_valid_id(const char *s)
{
	const size_t len = s ? strlen(s) : 0;

	if (len == 0 || len > MAX_ID_LEN || *s == '.' || *s == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && !strchr("_+.-", s[i]))
			return false;
	return true;
}

bool hk_flat_key_u64(const char *text, const char *key, uint64_t *ret)
{
	const size_t n = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char number[24];
		size_t len;

		if (strncmp(line, key, n) != 0 || line[n] != ' ')
			continue;
		len = strcspn(line + n + 1, " \n");
		if (len == 0 || len >= sizeof(number))
			return false;
		memcpy(number, line + n + 1, len);
		number[len] = '\0';
		return hk_parse_u64(number, ret) == 0;
	}
	return false;
}

void hk_hex(const uint8_t *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * n] = '\0';
}

void hk_sha256(const void *buf, size_t len, uint8_t out[32])
{
	SHA2_CTX ctx;

	SHA256Init(&ctx);
	SHA256Update(&ctx, buf, len);
	SHA256Final(out, &ctx);
}
