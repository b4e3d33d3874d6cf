/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/json_value.c — reading a node of the JSON tree: members, exact integers, and errors with the node's path.
 * Paths are made only when something is wrong, by walking up the tree: "linux.seccomp.syscalls[3].action".
 */
#include "oci/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "oci/base/err.h"
#include "oci/base/str.h"

enum { PATH_BYTES = 256, SEGMENT_BYTES = 80 };

bool oci_json_is_key(const struct oci_json *v, const char *key)
{
	return v->key && strlen(key) == v->key_len && memcmp(key, v->key, v->key_len) == 0;
}

bool oci_json_is_word(const struct oci_json *v, const char *word)
{
	return v->type == OCI_JSON_STRING && strlen(word) == v->n && memcmp(word, v->text, v->n) == 0;
}

const struct oci_json *oci_json_get(const struct oci_json *object, const char *key)
{
	const struct oci_json *found = NULL;

	for (const struct oci_json *v = object->first; v; v = v->next) {
		if (oci_json_is_key(v, key))
			found = v;
	}
	return found && found->type != OCI_JSON_NULL ? found : NULL;
}

/* yajl has checked the grammar; what is left to refuse is a fraction, an exponent and a value out of range. */
static int number_text(const struct oci_json *v, char *buf, size_t size)
{
	if (v->type != OCI_JSON_NUMBER)
		return -EINVAL;
	if (v->n >= size)
		return memchr(v->text, '.', v->n) || memchr(v->text, 'e', v->n) || memchr(v->text, 'E', v->n) ? -EINVAL
													      : -ERANGE;
	memcpy(buf, v->text, v->n);
	buf[v->n] = '\0';
	return 0;
}

int oci_json_u64(const struct oci_json *v, uint64_t *ret)
{
	char buf[32];
	int r = number_text(v, buf, sizeof(buf));

	if (r < 0)
		return r;
	if (buf[0] == '-')
		return buf[1 + strspn(buf + 1, "0123456789")] == '\0' ? -ERANGE : -EINVAL;
	return hk_parse_u64(buf, ret);
}

int oci_json_i64(const struct oci_json *v, int64_t *ret)
{
	char buf[32];
	int r = number_text(v, buf, sizeof(buf));

	return r < 0 ? r : hk_parse_i64(buf, ret);
}

const char *oci_json_type_name(enum oci_json_type t)
{
	static const char *const names[] = {
		[OCI_JSON_NULL] = "null",
		[OCI_JSON_BOOL] = "a boolean",
		[OCI_JSON_NUMBER] = "a number",
		[OCI_JSON_STRING] = "a string",
		[OCI_JSON_ARRAY] = "an array",
		[OCI_JSON_OBJECT] = "an object",
	};

	return names[t];
}

/* Bytes from outside, made fit for a log line: at most size - 1, control characters and quotes replaced. */
static void printable(char *buf, size_t size, const char *s, size_t len)
{
	bool cut = len > size - 1;
	size_t n = cut ? size - 4 : len;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		buf[i] = c < 0x20 || c == 0x7f || c == '"' || c == '\\' ? '?' : (char)c;
	}
	/* Do not leave half of a character before the dots. */
	while (cut && n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	(void)snprintf(buf + n, size - n, "%s", cut ? "..." : "");
}

static bool is_plain_key(const struct oci_json *v)
{
	for (uint32_t i = 0; i < v->key_len; i++) {
		char c = v->key[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
			c == '-'))
			return false;
	}
	return v->key_len > 0;
}

static void segment(char *buf, size_t size, const struct oci_json *v)
{
	char key[SEGMENT_BYTES - 8];
	unsigned index = 0;

	if (v->parent && v->parent->type == OCI_JSON_ARRAY) {
		for (const struct oci_json *w = v->parent->first; w != v; w = w->next)
			index++;
		(void)snprintf(buf, size, "[%u]", index);
		return;
	}
	printable(key, sizeof(key), v->key, v->key_len);
	if (!v->parent || (is_plain_key(v) && !v->parent->parent && !v->parent->key))
		(void)snprintf(buf, size, "%s", key);
	else if (is_plain_key(v))
		(void)snprintf(buf, size, ".%s", key);
	else
		(void)snprintf(buf, size, "[\"%s\"]", key);
}

/* Fills from the end, since the walk goes up; what does not fit is cut at the front, where it tells least. */
static const char *path_of(const struct oci_json *v, char *buf, size_t size)
{
	size_t at = size - 1;

	buf[at] = '\0';
	for (; v && (v->parent || v->key); v = v->parent) {
		char seg[SEGMENT_BYTES];
		size_t len;

		segment(seg, sizeof(seg), v);
		len = strlen(seg);
		if (len + 3 > at) {
			at -= 3;
			memcpy(buf + at, "...", 3);
			break;
		}
		at -= len;
		memcpy(buf + at, seg, len);
	}
	return buf[at] ? buf + at : "document";
}

int oci_json_fail(const struct oci_json *v, struct hk_err *err, const char *fmt, ...)
{
	char path[PATH_BYTES], what[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return hk_fail_text(err, HK_INVALID, EINVAL, "%s: %s", path_of(v, path, sizeof(path)), what);
}

int oci_json_fail_missing(const struct oci_json *object, const char *key, struct hk_err *err)
{
	struct oci_json absent = { .parent = object, .key = key, .key_len = (uint32_t)strlen(key) };

	return oci_json_fail(&absent, err, "missing");
}

int oci_json_fail_word(const struct oci_json *v, struct hk_err *err, const char *what)
{
	char word[100];

	printable(word, sizeof(word), v->text, v->n);
	return oci_json_fail(v, err, "%s \"%s\"", what, word);
}
