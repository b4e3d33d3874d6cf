/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz.h — what the fuzz targets share. A target is one tests/fuzz/fuzz_<name>.c with LLVMFuzzerTestOneInput; libFuzzer calls it
 * with what it invents (preset `fuzz`), replay.c with the files of tests/fuzz/corpus/<name>/ (ctest label `fuzz`, any compiler).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct hk_err;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise of the code under test; ends the program where it is broken. */
#define FUZZ_CHECK(cond)                                                                                 \
	do {                                                                                             \
		if (!(cond)) {                                                                           \
			(void)fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                                         \
		}                                                                                        \
	} while (0)

/* The unread rest of an input. */
struct fuzz_in {
	const uint8_t *p;
	size_t len;
};
/* 0 when there is nothing left. */
uint8_t fuzz_byte(struct fuzz_in *in);
/* Up to the next `end` (taken, not returned) or the end: heap, NUL-terminated; NULL when nothing is left. */
char *fuzz_word(struct fuzz_in *in, char end);
/* All that is left: heap, NUL-terminated. */
char *fuzz_rest(struct fuzz_in *in);
/* The next len bytes, or fewer: a heap copy of exactly that size, so that reading past it is seen. */
uint8_t *fuzz_bytes(struct fuzz_in *in, size_t *len);

/* RFC 3629, without a NUL byte being special. */
bool fuzz_is_utf8(const void *bytes, size_t len);

/* r < 0 and *err go together: the code, a kind of the list, a text. */
void fuzz_check_err(int r, const struct hk_err *err);

/* One directory a process, made at the first call and removed at exit: its dirfd. */
int fuzz_dir(void);
/* Makes or replaces a file; NULL removes it. */
void fuzz_file(int dirfd, const char *name, const void *bytes, size_t len);
