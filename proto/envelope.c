/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/envelope.c — the two ttrpc envelopes by protobuf-c, and the bounded unpacker used for everything that comes
 * from outside. What is decoded owns its copy; what is encoded is a whole frame.
 */
#include "proto/envelope.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/ttrpc.pb-c.h"

/* A 4 MiB payload of bytes or strings unpacks to about its own size; 16 MiB leaves room for many small messages too. */
enum { UNPACK_LIMIT_BYTES = 16 << 20 };

static void *bounded_alloc(void *data, size_t size)
{
	size_t *left = data;

	if (size > *left)
		return NULL;
	*left -= size;
	/* protobuf-c takes NULL for out of memory, also where malloc(0) may give it. */
	return malloc(size ? size : 1);
}

static void bounded_free(void *data, void *p)
{
	(void)data;
	free(p);
}

/* A varint at bytes + *at; false at its end. Only the low 64 bits count. */
static bool read_varint(const uint8_t *bytes, size_t len, size_t *at, uint64_t *ret)
{
	uint64_t n = 0;

	for (unsigned int shift = 0; *at < len && shift < 70; shift += 7) {
		uint8_t b = bytes[(*at)++];

		if (shift < 64)
			n |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80) {
			*ret = n;
			return true;
		}
	}
	return false;
}

/*
 * A string comes out of protobuf-c as a C string, so one with a NUL byte would be read as another, shorter one: the id
 * "a\0b" as that of container "a". True when every string of the message, at any depth, is whole.
 */
static bool is_text_whole(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len)
{
	static const size_t fixed_size[8] = { [1] = 8, [5] = 4 };
	const ProtobufCFieldDescriptor *f;
	uint64_t tag, n;

	for (size_t at = 0; at < len;) {
		if (!read_varint(bytes, len, &at, &tag))
			return false;
		n = fixed_size[tag & 7];
		if (n == 0 && !read_varint(bytes, len, &at, &n)) /* the value itself, or the length of what follows */
			return false;
		if ((tag & 7) == 0)
			continue;
		if (n > len - at)
			return false;
		f = (tag & 7) == 2 ? protobuf_c_message_descriptor_get_field(type, (unsigned int)(tag >> 3)) : NULL;
		if (f && f->type == PROTOBUF_C_TYPE_STRING && memchr(bytes + at, '\0', n))
			return false;
		if (f && f->type == PROTOBUF_C_TYPE_MESSAGE && !is_text_whole(f->descriptor, bytes + at, n))
			return false;
		at += n;
	}
	return true;
}

ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len)
{
	size_t left = UNPACK_LIMIT_BYTES;
	ProtobufCAllocator allocator = { .alloc = bounded_alloc, .free = bounded_free, .allocator_data = &left };
	ProtobufCMessage *msg = protobuf_c_message_unpack(type, &allocator, len, bytes);

	if (msg && !is_text_whole(type, bytes, len)) {
		protobuf_c_message_free_unpacked(msg, NULL);
		return NULL;
	}
	return msg;
}

int ttrpc_pack(const ProtobufCMessage *msg, uint8_t **ret, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint8_t *bytes = malloc(len ? len : 1);

	if (!bytes)
		return -ENOMEM;
	(void)protobuf_c_message_pack(msg, bytes);
	*ret = bytes;
	*ret_len = len;
	return 0;
}

/* Length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), 0 when it is none. */
static size_t utf8_sequence(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	n = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (u[0] == 0xe0)
		low = 0xa0;
	else if (u[0] == 0xed)
		high = 0x9f;
	else if (u[0] == 0xf0)
		low = 0x90;
	else if (u[0] == 0xf4)
		high = 0x8f;
	if (u[1] < low || u[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (u[i] < 0x80 || u[i] > 0xbf)
			return 0;
	return n;
}

void ttrpc_make_utf8(char *s)
{
	while (*s) {
		size_t n = utf8_sequence(s);

		if (n == 0) {
			*s = '?';
			n = 1;
		}
		s += n;
	}
}

/* A descriptor-driven pack of `msg` straight into a frame. */
static int pack_frame(const ProtobufCMessage *msg, enum ttrpc_type type, uint32_t stream, struct ttrpc_buf **ret)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	struct ttrpc_buf *b;

	if (len > TTRPC_PAYLOAD_MAX)
		return -EMSGSIZE;
	b = ttrpc_buf_new(type, 0, stream, len);
	if (!b)
		return -ENOMEM;
	(void)protobuf_c_message_pack(msg, b->data + TTRPC_HEADER_BYTES);
	*ret = b;
	return 0;
}

static ProtobufCBinaryData borrow(const uint8_t *bytes, size_t len)
{
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)bytes };
}

int ttrpc_request_decode(struct ttrpc_request *ret, const uint8_t *bytes, size_t len)
{
	Husk__Ttrpc__Request *m = (void *)ttrpc_unpack(&husk__ttrpc__request__descriptor, bytes, len);
	const char *traceparent = "";

	if (!m)
		return -EBADMSG;
	for (size_t i = 0; i < m->n_metadata; i++)
		if (strcmp(m->metadata[i]->key, "traceparent") == 0)
			traceparent = m->metadata[i]->value;
	*ret = (struct ttrpc_request){
		.service = m->service,
		.method = m->method,
		.payload = m->payload.data,
		.payload_len = m->payload.len,
		.timeout_ns = m->timeout_nano,
		.traceparent = traceparent,
		.unpacked = m,
	};
	return 0;
}

void ttrpc_request_done(struct ttrpc_request *r)
{
	if (r->unpacked)
		protobuf_c_message_free_unpacked(r->unpacked, NULL);
	*r = (struct ttrpc_request){ 0 };
}

int ttrpc_request_encode(
    const struct ttrpc_request *r, const char *metadata_ns, uint32_t stream, struct ttrpc_buf **ret)
{
	Husk__Ttrpc__Request m;
	Husk__Ttrpc__KeyValue kv;
	Husk__Ttrpc__KeyValue *metadata[] = { &kv };

	husk__ttrpc__request__init(&m);
	husk__ttrpc__key_value__init(&kv);
	m.service = ttrpc_str(r->service);
	m.method = ttrpc_str(r->method);
	m.payload = borrow(r->payload, r->payload_len);
	m.timeout_nano = r->timeout_ns;
	if (metadata_ns) {
		kv.key = ttrpc_str("containerd-namespace-ttrpc");
		kv.value = ttrpc_str(metadata_ns);
		m.n_metadata = 1;
		m.metadata = metadata;
	}
	return pack_frame(&m.base, TTRPC_REQUEST, stream, ret);
}

int ttrpc_response_decode(struct ttrpc_response *ret, const uint8_t *bytes, size_t len)
{
	Husk__Ttrpc__Response *m = (void *)ttrpc_unpack(&husk__ttrpc__response__descriptor, bytes, len);

	if (!m)
		return -EBADMSG;
	*ret = (struct ttrpc_response){
		.code = m->status ? (enum ttrpc_code)m->status->code : TTRPC_OK,
		.message = m->status ? m->status->message : "",
		.payload = m->payload.data,
		.payload_len = m->payload.len,
		.unpacked = m,
	};
	return 0;
}

void ttrpc_response_done(struct ttrpc_response *r)
{
	if (r->unpacked)
		protobuf_c_message_free_unpacked(r->unpacked, NULL);
	*r = (struct ttrpc_response){ 0 };
}

int ttrpc_response_encode_bytes(const uint8_t *payload, size_t len, uint32_t stream, struct ttrpc_buf **ret)
{
	Husk__Ttrpc__Response m;

	husk__ttrpc__response__init(&m);
	m.payload = borrow(payload, len);
	return pack_frame(&m.base, TTRPC_RESPONSE, stream, ret);
}

int ttrpc_response_encode(const ProtobufCMessage *msg, uint32_t stream, struct ttrpc_buf **ret)
{
	uint8_t *payload = NULL;
	size_t len = 0;
	int r = 0;

	if (msg && protobuf_c_message_get_packed_size(msg) > TTRPC_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (msg)
		r = ttrpc_pack(msg, &payload, &len);
	if (r == 0)
		r = ttrpc_response_encode_bytes(payload, len, stream, ret);
	free(payload);
	return r;
}

int ttrpc_response_encode_error(enum ttrpc_code code, const char *text, uint32_t stream, struct ttrpc_buf **ret)
{
	Husk__Ttrpc__Response m;
	Husk__Ttrpc__Status status;
	int r;

	husk__ttrpc__response__init(&m);
	husk__ttrpc__status__init(&status);
	status.code = (int32_t)code;
	status.message = strdup(text);
	if (!status.message)
		return -ENOMEM;
	ttrpc_make_utf8(status.message);
	m.status = &status;
	r = pack_frame(&m.base, TTRPC_RESPONSE, stream, ret);
	free(status.message);
	return r;
}
