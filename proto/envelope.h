/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/envelope.h — ttrpc.Request and ttrpc.Response between payload bytes and plain structs; the gRPC status codes.
 * A Response carries a payload or an error status, never both: the Go client decodes the payload first and would report
 * a decoding error instead of ours.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

struct ttrpc_buf;

/* protobuf-c's fields are not const, but what it packs it only reads: for filling a message with borrowed strings. */
static inline char *ttrpc_str(const char *s)
{
	return (char *)(uintptr_t)s;
}

enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_ABORTED = 10,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
};

struct ttrpc_request {
	const char *service;
	const char *method;
	const uint8_t *payload; /* borrowed from the decoded bytes' copy, or from the caller when encoding */
	size_t payload_len;
	int64_t timeout_ns;      /* 0 = none; negative = already over when it was sent */
	const char *traceparent; /* "" when absent; not encoded */
	void *unpacked;          /* owns what the pointers above point to; NULL when encoding */
};

/* 0, or -EBADMSG. On success the caller ends with ttrpc_request_done. */
int ttrpc_request_decode(struct ttrpc_request *ret, const uint8_t *bytes, size_t len);
void ttrpc_request_done(struct ttrpc_request *r);
/* A whole frame; -EMSGSIZE over the limit, -ENOMEM. `metadata_ns` is sent as containerd-namespace-ttrpc unless NULL. */
int ttrpc_request_encode(
    const struct ttrpc_request *r, const char *metadata_ns, uint32_t stream, struct ttrpc_buf **ret);

struct ttrpc_response {
	enum ttrpc_code code;
	const char *message; /* "" unless code says error */
	const uint8_t *payload;
	size_t payload_len;
	void *unpacked;
};

int ttrpc_response_decode(struct ttrpc_response *ret, const uint8_t *bytes, size_t len);
void ttrpc_response_done(struct ttrpc_response *r);
/* Success: `msg` (NULL = google.protobuf.Empty) in a whole frame; -EMSGSIZE over the limit, -ENOMEM. */
int ttrpc_response_encode(const ProtobufCMessage *msg, uint32_t stream, struct ttrpc_buf **ret);
/* The same with a message that is packed already. */
int ttrpc_response_encode_bytes(const uint8_t *payload, size_t len, uint32_t stream, struct ttrpc_buf **ret);
/* Failure. Bytes of `text` that are no UTF-8 become '?': a Go client refuses a whole message for one of them. */
int ttrpc_response_encode_error(enum ttrpc_code code, const char *text, uint32_t stream, struct ttrpc_buf **ret);

/* In place: bytes that are no UTF-8 become '?'. */
void ttrpc_make_utf8(char *s);

/*
 * protobuf_c_message_unpack with a bound on what it may allocate: 4 MiB of empty repeated messages would otherwise
 * become hundreds. NULL when malformed, over it, or with a NUL byte in a string, which would cut it short. Free with
 * protobuf_c_message_free_unpacked(m, NULL).
 */
ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len);
/* Serialised into malloc'ed memory (never NULL on success, also for 0 bytes); -ENOMEM. */
int ttrpc_pack(const ProtobufCMessage *msg, uint8_t **ret, size_t *ret_len);
