/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/arena.c — see arena.h. Chunks grow from 64 KiB; a larger request gets a chunk of its own size. Under AddressSanitizer only what was
 * handed out may be touched, to the byte, with a gap after each piece.
 */
#include "oci/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ARENA_ASAN)
#include <sanitizer/asan_interface.h>
enum { GAP = 16 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

enum { CHUNK_BYTES = 64 * 1024, ALIGN = 16 };

struct hk_arena_chunk {
	struct hk_arena_chunk *next;
	size_t size, used; /* both with this header */
};

static struct hk_arena_chunk *chunk_new(struct hk_arena *a, size_t need)
{
	size_t size = CHUNK_BYTES;
	struct hk_arena_chunk *c;

	while (size < need)
		size *= 2;
	if (a->limit_bytes && (size > a->limit_bytes || a->total_bytes > a->limit_bytes - size))
		return NULL;
	c = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		return NULL;
	c->size = size;
	c->used = (sizeof(*c) + ALIGN - 1) / ALIGN * ALIGN;
	c->next = a->head;
	a->head = c;
	a->total_bytes += size;
	ASAN_POISON_MEMORY_REGION((char *)c + c->used, size - c->used);
	return c;
}

void *hk_arena_alloc(struct hk_arena *a, size_t size)
{
	struct hk_arena_chunk *c = a->head;
	const size_t asked = size;
	void *p;

	if (size > SIZE_MAX / 4)
		return NULL;
	size = (size + GAP + ALIGN - 1) / ALIGN * ALIGN;
	if (!c || c->size - c->used < size) {
		c = chunk_new(a, size + sizeof(*c) + ALIGN);
		if (!c)
			return NULL;
	}
	p = (char *)c + c->used; /* fresh anonymous memory: zero already */
	c->used += size;
	ASAN_UNPOISON_MEMORY_REGION(p, asked);
	return p;
}

void *hk_arena_array(struct hk_arena *a, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return hk_arena_alloc(a, bytes);
}

char *hk_arena_strndup(struct hk_arena *a, const char *s, size_t len)
{
	char *p = len < SIZE_MAX / 4 ? hk_arena_alloc(a, len + 1) : NULL;

	if (p)
		memcpy(p, s, len);
	return p;
}

char *hk_arena_strdup(struct hk_arena *a, const char *s)
{
	return hk_arena_strndup(a, s, strlen(s));
}

char *hk_arena_printf(struct hk_arena *a, const char *fmt, ...)
{
	va_list ap;
	int len;
	char *p;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return NULL;
	p = hk_arena_alloc(a, (size_t)len + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return p;
}

void hk_arena_done(struct hk_arena *a)
{
	while (a->head) {
		struct hk_arena_chunk *next = a->head->next;

		ASAN_UNPOISON_MEMORY_REGION(a->head, a->head->size); /* the addresses may come back to somebody else */
		(void)munmap(a->head, a->head->size);
		a->head = next;
	}
	a->total_bytes = 0;
}
