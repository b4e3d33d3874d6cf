/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/wire.h — protobuf written field by field, for answers whose descriptors would cost every shim more memory than they are worth: a table
 * of pointers is relocated at the start of a static-pie, so it is private to each. Fields with the value 0 or "" are left out, as proto3 has it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised. After a failure (no memory) everything is ignored; look at is_failed once, at the end. */
struct wire {
	uint8_t *bytes; /* owned */
	size_t len, size;
	bool is_failed;
};

void wire_u64(struct wire *w, uint32_t field, uint64_t v);
/* Bytes that are no UTF-8 become '?'; NULL is "". */
void wire_str(struct wire *w, uint32_t field, const char *s);
/* What is written until wire_end(w, start) is a message in that field. */
size_t wire_begin(struct wire *w, uint32_t field);
void wire_end(struct wire *w, size_t start);
void wire_done(struct wire *w);
