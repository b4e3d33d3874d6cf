/* SPDX-License-Identifier: Apache-2.0 */
/* proto/wire.c — see wire.h. A nested message's length is not known before its end: four bytes are kept for it, which is a legal varint. */
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

#include "proto/envelope.h"

enum { VARINT = 0, BYTES = 2, VARINT_MAX = 10, LENGTH_BYTES = 4, FIRST_SIZE = 1024 };

static uint8_t *grow(struct wire *w, size_t n)
{
	size_t size = w->size ? w->size : FIRST_SIZE;
	uint8_t *bytes;

	if (w->is_failed)
		return NULL;
	while (size - w->len < n)
		size *= 2;
	if (size != w->size) {
		bytes = realloc(w->bytes, size);
		if (!bytes) {
			w->is_failed = true;
			return NULL;
		}
		w->bytes = bytes;
		w->size = size;
	}
	w->len += n;
	return w->bytes + w->len - n;
}

static void varint(struct wire *w, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];
	size_t n = 0;
	uint8_t *at;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	at = grow(w, n);
	if (at)
		memcpy(at, bytes, n);
}

void wire_u64(struct wire *w, uint32_t field, uint64_t v)
{
	if (v == 0)
		return;
	varint(w, (uint64_t)field << 3 | VARINT);
	varint(w, v);
}

void wire_str(struct wire *w, uint32_t field, const char *s)
{
	const size_t len = s ? strlen(s) : 0;
	uint8_t *at;

	if (len == 0)
		return;
	varint(w, (uint64_t)field << 3 | BYTES);
	varint(w, len);
	at = grow(w, len + 1); /* with a NUL for the check */
	if (!at)
		return;
	memcpy(at, s, len + 1);
	ttrpc_make_utf8((char *)at);
	w->len--;
}

size_t wire_begin(struct wire *w, uint32_t field)
{
	varint(w, (uint64_t)field << 3 | BYTES);
	(void)grow(w, LENGTH_BYTES);
	return w->len;
}

void wire_end(struct wire *w, size_t start)
{
	uint8_t *at;
	size_t len;

	if (w->is_failed)
		return;
	at = w->bytes + start - LENGTH_BYTES;
	len = w->len - start;
	if (len >= (size_t)1 << (7 * LENGTH_BYTES)) {
		w->is_failed = true;
		return;
	}
	for (int i = 0; i < LENGTH_BYTES; i++, len >>= 7)
		at[i] = (uint8_t)((len & 0x7f) | (i < LENGTH_BYTES - 1 ? 0x80 : 0));
}

void wire_done(struct wire *w)
{
	free(w->bytes);
	*w = (struct wire){ 0 };
}
