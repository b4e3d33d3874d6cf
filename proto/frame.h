/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/frame.h — ttrpc messages as bytes: a 10-byte header (length, stream id, type, flags; big-endian) and a payload.
 * The reader takes bytes as they come and gives whole frames; it holds memory only while a payload is incomplete. A
 * payload over the limit is skipped to its last byte and reported by its stream id, and the connection stays usable.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TTRPC_HEADER_BYTES = 10, TTRPC_PAYLOAD_MAX = 4 << 20 };
enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };
enum ttrpc_flag { TTRPC_REMOTE_CLOSED = 1, TTRPC_REMOTE_OPEN = 2, TTRPC_NO_DATA = 4 };

struct ttrpc_frame {
	uint32_t len; /* as in the header, also when the payload was skipped */
	uint32_t stream;
	uint8_t type; /* enum ttrpc_type, or a value nobody knows yet */
	uint8_t flags;
	bool is_skipped;        /* payload over the limit, or no memory for it: answer ResourceExhausted */
	const uint8_t *payload; /* borrowed; NULL when len is 0 or is_skipped */
};

/* Zero-initialised. */
struct ttrpc_reader {
	uint8_t head[TTRPC_HEADER_BYTES];
	uint8_t n_head;
	bool is_skipping;
	bool is_delivered; /* buf was handed out by the last ttrpc_reader_next */
	uint32_t done;     /* payload bytes seen so far */
	uint8_t *buf;      /* owned; the payload, when it did not come in one piece */
};

/*
 * Takes bytes from *data up to the end of one frame and moves *data and *len past them. True: *ret is a frame, its
 * payload valid until the next call on this reader and as long as the bytes given. False: all bytes were taken, more
 * are needed.
 */
bool ttrpc_reader_next(struct ttrpc_reader *r, const uint8_t **data, size_t *len, struct ttrpc_frame *ret);
/* True between frames: an end of the connection here is a clean one. */
bool ttrpc_reader_is_idle(const struct ttrpc_reader *r);
void ttrpc_reader_done(struct ttrpc_reader *r);
/*
 * A half-read frame in another reader: the head, what of the payload had come (NULL when it is skipped), and how much that was. False: no memory, or
 * more than there can be.
 */
struct ttrpc_half {
	const uint8_t *head, *payload;
	size_t n_head, done;
	bool is_skipping;
};
struct ttrpc_half ttrpc_reader_half(const struct ttrpc_reader *r);
bool ttrpc_reader_resume(struct ttrpc_reader *r, const struct ttrpc_half *h);

/* One message ready to be written, header first. Whoever holds it frees it. */
struct ttrpc_buf {
	struct ttrpc_buf *next; /* for the holder's queue */
	size_t len;             /* of data */
	size_t sent;            /* for the holder: bytes of data already written */
	uint8_t data[];
};
/* Room for a payload of len bytes at data + TTRPC_HEADER_BYTES; the header is filled in. NULL: no memory or over the
 * limit. */
struct ttrpc_buf *ttrpc_buf_new(enum ttrpc_type type, uint8_t flags, uint32_t stream, size_t len);
void ttrpc_buf_free(struct ttrpc_buf *b);
