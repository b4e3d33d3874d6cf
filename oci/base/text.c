/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/text.c — see text.h. */
#include "oci/base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PRINTABLE = 0x20 };

static bool make_room(struct hk_text *t, size_t len)
{
	const size_t room = (t->n + len + 1) * 2;
	char *v;

	if (t->failed || t->n + len + 1 <= t->room)
		return !t->failed;
	v = realloc(t->v, room);
	t->failed = v == NULL;
	if (v) {
		t->v = v;
		t->room = room;
	}
	return v != NULL;
}

void hk_text_put_n(struct hk_text *t, const char *s, size_t len)
{
	if (!make_room(t, len))
		return;
	memcpy(t->v + t->n, s, len);
	t->n += len;
	t->v[t->n] = '\0';
}

void hk_text_put(struct hk_text *t, const char *s)
{
	hk_text_put_n(t, s, strlen(s));
}

void hk_text_fmt(struct hk_text *t, const char *fmt, ...)
{
	va_list ap, again;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	if (len >= 0 && make_room(t, (size_t)len)) {
		(void)vsnprintf(t->v + t->n, (size_t)len + 1, fmt, again);
		t->n += (size_t)len;
	}
	va_end(again);
	va_end(ap);
}

void hk_text_json(struct hk_text *t, const char *s)
{
	hk_text_put(t, "\"");
	for (; s && *s; s++) {
		const unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			hk_text_put(t, "\\");
		if (c < FIRST_PRINTABLE)
			hk_text_fmt(t, "\\u%04x", c);
		else
			hk_text_put_n(t, s, 1);
	}
	hk_text_put(t, "\"");
}

void hk_text_json_field(struct hk_text *t, const char *name, const char *value)
{
	hk_text_put(t, ",");
	hk_text_json(t, name);
	hk_text_put(t, ":");
	hk_text_json(t, value);
}

int hk_text_take(struct hk_text *t, char **ret, size_t *ret_len)
{
	if (t->failed || !t->v) {
		hk_text_done(t);
		return -ENOMEM;
	}
	*ret = t->v;
	*ret_len = t->n;
	*t = (struct hk_text){ 0 };
	return 0;
}

void hk_text_done(struct hk_text *t)
{
	free(t->v);
	*t = (struct hk_text){ 0 };
}
