/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/arena.h — many small allocations with one life, freed at once.
 * Chunks are anonymous mappings, so that hk_arena_done gives every byte back to the kernel (a pod's memory does not grow
 * with the size of the config.json it once parsed). An arena is zero-initialised: struct hk_arena a = { 0 }.
 */
#pragma once
#include <stddef.h>

struct hk_arena_chunk;
struct hk_arena {
	struct hk_arena_chunk *head;
	size_t total_bytes;
	size_t limit_bytes; /* 0 = none; reaching it makes allocations fail */
};

/* Zeroed, 16-byte aligned; NULL when out of memory or over the limit. */
void *hk_arena_alloc(struct hk_arena *a, size_t size);
/* n * size with overflow check. */
void *hk_arena_array(struct hk_arena *a, size_t n, size_t size);
char *hk_arena_strndup(struct hk_arena *a, const char *s, size_t len);
char *hk_arena_strdup(struct hk_arena *a, const char *s);
char *hk_arena_printf(struct hk_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hk_arena_done(struct hk_arena *a);
