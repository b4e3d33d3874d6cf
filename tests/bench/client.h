/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/bench/client.h — a blocking ttrpc connection to a shim. Several calls may be open; the time of each answer is taken when its bytes
 * are read. Whatever goes wrong ends the program with a text: a benchmark that goes on after an error measures nothing.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/frame.h"

enum { BENCH_OPEN_MAX = 8 };

struct bench_answer {
	uint32_t stream; /* 0 = free */
	uint64_t at_ns;
	uint8_t *payload; /* owned */
	size_t len;
};

struct bench_conn {
	int fd;
	const char *service; /* borrowed */
	uint32_t next_stream;
	struct ttrpc_reader reader;
	struct bench_answer early[BENCH_OPEN_MAX]; /* answers that nobody has waited for yet */
};

uint64_t bench_now_ns(void);
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_connect(struct bench_conn *c, const char *path, const char *service);
void bench_close(struct bench_conn *c);
/* The stream to wait for. */
uint32_t bench_send(struct bench_conn *c, const char *method, const ProtobufCMessage *msg);
/* When it was answered. ret: the message to unpack, NULL = nobody asks; free with protobuf_c_message_free_unpacked. */
uint64_t bench_wait(
    struct bench_conn *c, uint32_t stream, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
/* Both. */
uint64_t bench_call(struct bench_conn *c, const char *method, const ProtobufCMessage *msg);
