/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/record.h — what a process hands to the one that takes its place (live upgrade): named values in named records, as text.
 *
 *   husk-state 1            the format; another first line is another format
 *   container {             a record; one of the same name again is the next of a list
 *     id "3:web             a string by its length: any bytes
 *     pid 4711              a number
 *     pidfd #9              a descriptor that crosses execve under this number
 *     page ~12              one that is open for the reading alone
 *   }
 *
 * A reader takes what it knows by name and ignores the rest, so that either side may be the newer one; what it cannot do without and does not
 * find is remembered as the record's one error, to be asked for once, at the end.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/base/text.h"

struct hk_arena;
struct hk_err;

#define HK_RECORD_FORMAT "husk-state 1"

/* Who adds a field to a struct that crosses an upgrade thinks of its save and its load, or finds that it needs none, and then says the new size. */
#define HK_RECORD_WHOLE(type, bytes) \
	_Static_assert(sizeof(void *) != 8 || sizeof(type) == (bytes), #type " has changed: is the new field saved and loaded for an upgrade?")

/* ---- writing: zero-initialised; a failure (no memory) is told by hk_record_end ---- */
struct hk_record {
	struct hk_text text;
	int *fds; /* owned; the numbers of all descriptors in it */
	size_t n_fds;
	int *own; /* owned, with its descriptors: those made for it alone */
	size_t n_own;
	int depth;
	bool failed;
};
void hk_record_begin(struct hk_record *r, const char *name);
void hk_record_end(struct hk_record *r);
void hk_record_num(struct hk_record *r, const char *name, int64_t v);
void hk_record_bool(struct hk_record *r, const char *name, bool v); /* false is left out */
void hk_record_str(struct hk_record *r, const char *name, const char *s); /* NULL is left out */
void hk_record_bytes(struct hk_record *r, const char *name, const void *bytes, size_t len); /* so is nothing */
void hk_record_fd(struct hk_record *r, const char *name, int fd); /* borrowed; -1 is left out */
/* One that is open for the record's sake: closed by hk_record_done here, by hk_value_close there. */
void hk_record_own_fd(struct hk_record *r, const char *name, int *take_fd);
/* A sealed memfd with all of it, CLOEXEC. */
int hk_record_memfd(struct hk_record *r, const char *name, int *ret_fd);
void hk_record_done(struct hk_record *r);

/* ---- reading ---- */
struct hk_value; /* a record, or a value in one; lives in the arena and borrows from the text */

/* Cuts the text up in place; *ret is the outermost record. HK_INVALID with the line's number. */
int hk_value_parse(char *text, size_t len, struct hk_arena *arena, const struct hk_value **ret, struct hk_err *err);
/* The first record or value of that name, NULL when there is none; then the next of the same name. */
const struct hk_value *hk_value_get(const struct hk_value *in, const char *name);
const struct hk_value *hk_value_next(const struct hk_value *v);
/* Of a value that must be there and of that kind: else 0, "" or -1, and the error. */
int64_t hk_value_num(const struct hk_value *in, const char *name);
const char *hk_value_str(const struct hk_value *in, const char *name);
int hk_value_fd(const struct hk_value *in, const char *name);
const struct hk_value *hk_value_need(const struct hk_value *in, const char *name); /* a record */
/* Of one that may be absent; of a wrong kind is an error too. */
int64_t hk_value_num_or(const struct hk_value *in, const char *name, int64_t otherwise);
bool hk_value_bool(const struct hk_value *in, const char *name);
int64_t hk_value_num_of(const struct hk_value *v); /* of an element of a list */
const void *hk_value_bytes_of(const struct hk_value *v, size_t *ret_len);
const char *hk_value_str_or(const struct hk_value *in, const char *name, const char *otherwise);
const void *hk_value_bytes(const struct hk_value *in, const char *name, size_t *ret_len); /* NULL and 0 */
int hk_value_fd_or(const struct hk_value *in, const char *name);                          /* -1 */
/* A fact that the caller finds wrong: the first one counts. */
void hk_value_wrong(const struct hk_value *in, const char *name, const char *what);
/* 0, or the first error of the whole text: HK_INVALID "pod.container.pid is missing". */
int hk_value_check(const struct hk_value *any, struct hk_err *err);
/* Every descriptor in it: CLOEXEC on or off. -EBADF: one is not open. */
int hk_value_cloexec(const struct hk_value *top, bool on);
/* Those that were open for the reading alone, at its end. */
void hk_value_close(const struct hk_value *top);
