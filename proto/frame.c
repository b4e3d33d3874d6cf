/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/frame.c — ttrpc framing. Bytes in, frames out, and the header of what goes out. A payload that arrives in one
 * piece is handed on where it lies; only one that is split gets a buffer, which is freed before the next frame.
 */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void take(const uint8_t **data, size_t *len, size_t n)
{
	*data += n;
	*len -= n;
}

static void reset(struct ttrpc_reader *r)
{
	free(r->buf);
	*r = (struct ttrpc_reader){ 0 };
}

/* The payload's next bytes; returns where the whole payload lies once it is complete, NULL before. */
static const uint8_t *collect(struct ttrpc_reader *r, const uint8_t **data, size_t *len, uint32_t want)
{
	const uint8_t *start = *data;
	size_t n = min_size(*len, want - r->done);

	if (r->done == 0 && n == want) {
		take(data, len, n);
		r->done = want;
		return start;
	}
	if (!r->buf && !r->is_skipping) {
		/* The sender waits for an answer whatever our memory is: no room is treated as too large. */
		r->buf = malloc(want);
		r->is_skipping = !r->buf;
	}
	if (r->buf)
		memcpy(r->buf + r->done, start, n);
	take(data, len, n);
	r->done += (uint32_t)n;
	return r->buf && r->done == want ? r->buf : NULL;
}

bool ttrpc_reader_next(struct ttrpc_reader *r, const uint8_t **data, size_t *len, struct ttrpc_frame *ret)
{
	const uint8_t *payload = NULL;
	uint32_t want;
	size_t n;

	if (r->is_delivered)
		reset(r);
	n = min_size(*len, (size_t)(TTRPC_HEADER_BYTES - r->n_head));
	if (n > 0) {
		memcpy(r->head + r->n_head, *data, n);
		r->n_head = (uint8_t)(r->n_head + n);
		take(data, len, n);
	}
	if (r->n_head < TTRPC_HEADER_BYTES)
		return false;

	want = get_be32(r->head);
	if (want > TTRPC_PAYLOAD_MAX)
		r->is_skipping = true;
	if (r->is_skipping) {
		n = min_size(*len, want - r->done);
		take(data, len, n);
		r->done += (uint32_t)n;
	} else if (want > 0 && *len > 0) {
		payload = collect(r, data, len, want);
	}
	if (r->done < want)
		return false;

	r->is_delivered = true;
	*ret = (struct ttrpc_frame){
		.len = want,
		.stream = get_be32(r->head + 4),
		.type = r->head[8],
		.flags = r->head[9],
		.is_skipped = r->is_skipping,
		.payload = payload,
	};
	return true;
}

bool ttrpc_reader_is_idle(const struct ttrpc_reader *r)
{
	return r->is_delivered || r->n_head == 0;
}

void ttrpc_reader_done(struct ttrpc_reader *r)
{
	reset(r);
}

struct ttrpc_half ttrpc_reader_half(const struct ttrpc_reader *r)
{
	if (ttrpc_reader_is_idle(r))
		return (struct ttrpc_half){ 0 };
	return (struct ttrpc_half){ .head = r->head, .payload = r->buf, .n_head = r->n_head, .done = r->done, .is_skipping = r->is_skipping };
}

bool ttrpc_reader_resume(struct ttrpc_reader *r, const struct ttrpc_half *h)
{
	uint32_t want;

	*r = (struct ttrpc_reader){ 0 };
	if (h->n_head > TTRPC_HEADER_BYTES)
		return false;
	if (h->n_head > 0)
		memcpy(r->head, h->head, h->n_head);
	r->n_head = (uint8_t)h->n_head;
	if (h->n_head < TTRPC_HEADER_BYTES)
		return h->done == 0;
	want = get_be32(r->head);
	if (h->done >= want && h->done > 0)
		return false;
	r->is_skipping = h->is_skipping;
	r->done = (uint32_t)h->done;
	if (h->done == 0 || h->is_skipping)
		return true;
	r->buf = h->payload && want <= TTRPC_PAYLOAD_MAX ? malloc(want) : NULL;
	if (r->buf)
		memcpy(r->buf, h->payload, h->done);
	return r->buf != NULL;
}

struct ttrpc_buf *ttrpc_buf_new(enum ttrpc_type type, uint8_t flags, uint32_t stream, size_t len)
{
	struct ttrpc_buf *b;

	if (len > TTRPC_PAYLOAD_MAX)
		return NULL;
	b = malloc(sizeof(*b) + TTRPC_HEADER_BYTES + len);
	if (!b)
		return NULL;
	*b = (struct ttrpc_buf){ .len = TTRPC_HEADER_BYTES + len };
	put_be32(b->data, (uint32_t)len);
	put_be32(b->data + 4, stream);
	b->data[8] = (uint8_t)type;
	b->data[9] = flags;
	return b;
}

void ttrpc_buf_free(struct ttrpc_buf *b)
{
	free(b);
}
