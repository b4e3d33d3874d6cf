/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/json.c — the only file that sees yajl: its callbacks build a tree of struct oci_json.
 * The text comes from containerd and is not trusted: depth, nodes and bytes are bounded, and the text and its \u escapes
 * are checked to be UTF-8 here, because yajl lets overlong forms and surrogates pass.
 */
#include "oci/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/base/list.h"

struct open_node { /* an array or object that is not closed yet */
	struct oci_json *node;
	struct oci_json *last; /* its last child */
};

struct builder {
	const char *text;
	size_t len;
	struct hk_arena *arena;
	const struct oci_json_opts *opts;
	struct oci_json *root;
	struct open_node open[OCI_JSON_MAX_DEPTH];
	unsigned depth;
	unsigned skip_depth; /* > 0: inside a member that is not wanted, this many containers deep */
	bool skip_next;
	size_t n_nodes;
	const char *key;
	size_t key_len;
	int failed; /* errno of a callback that stopped the parse */
	const char *why;
	struct hk_list blocks; /* struct block: what yajl has allocated */
	jmp_buf no_memory;
};

/* ---- memory for yajl, which uses what it is given without a look: without memory it never comes back from here ---- */

struct block {
	struct hk_list node;
	size_t size;
	max_align_t bytes[];
};

static struct block *block_of(void *p)
{
	return (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
}

static void yajl_done(void *ctx, void *p)
{
	(void)ctx;
	if (!p)
		return;
	hk_list_remove(&block_of(p)->node);
	free(block_of(p));
}

static void *yajl_new(void *ctx, size_t size)
{
	struct builder *b = ctx;
	struct block *k = size < OCI_JSON_MAX_BYTES * 4UL ? malloc(sizeof(*k) + size) : NULL;

	if (!k)
		longjmp(b->no_memory, 1);
	k->size = size;
	hk_list_init(&k->node);
	hk_list_append(&b->blocks, &k->node);
	return k->bytes;
}

static void *yajl_more(void *ctx, void *p, size_t size)
{
	void *more = yajl_new(ctx, size);

	if (p)
		memcpy(more, p, block_of(p)->size < size ? block_of(p)->size : size);
	yajl_done(ctx, p);
	return more;
}

static int stop(struct builder *b, int code, const char *why)
{
	b->failed = code;
	b->why = why;
	return 0;
}

/*
 * What yajl hands over is ours to keep only where it points into the text; unescaped strings are in a buffer of its
 * own.
 */
static const char *keep(struct builder *b, const char *s, size_t len)
{
	uintptr_t at = (uintptr_t)s, text = (uintptr_t)b->text;

	if (at >= text && at + len <= text + b->len)
		return s;
	return hk_arena_strndup(b->arena, s, len);
}

/* Returns false to stop; *ret stays NULL for a value that is skipped. */
static bool add(struct builder *b, enum oci_json_type type, struct oci_json **ret)
{
	struct open_node *in = b->depth > 0 ? &b->open[b->depth - 1] : NULL;
	struct oci_json *v;

	if (++b->n_nodes > OCI_JSON_MAX_NODES)
		return stop(b, E2BIG, "too many values");
	if (b->skip_depth > 0)
		return true;
	if (b->skip_next) {
		b->skip_next = false;
		return true;
	}
	if (!in && type != OCI_JSON_OBJECT)
		return stop(b, EINVAL, "expected an object");
	v = hk_arena_alloc(b->arena, sizeof(*v));
	if (!v)
		return stop(b, ENOMEM, "no memory");
	v->type = type;
	v->seq = (uint32_t)b->n_nodes;
	if (!in) {
		b->root = v;
	} else {
		v->parent = in->node;
		v->key = b->key;
		v->key_len = (uint32_t)b->key_len;
		if (in->last)
			in->last->next = v;
		else
			in->node->first = v;
		in->last = v;
		in->node->n++;
	}
	b->key = NULL;
	b->key_len = 0;
	*ret = v;
	return true;
}

static int on_text(struct builder *b, enum oci_json_type type, const char *s, size_t len)
{
	struct oci_json *v = NULL;

	if (!add(b, type, &v))
		return 0;
	if (!v)
		return 1;
	v->text = keep(b, s, len);
	if (!v->text)
		return stop(b, ENOMEM, "no memory");
	v->n = (uint32_t)len;
	return 1;
}

static int on_null(void *ctx)
{
	struct oci_json *v = NULL;

	return add(ctx, OCI_JSON_NULL, &v);
}

static int on_boolean(void *ctx, int boolean)
{
	struct oci_json *v = NULL;

	if (!add(ctx, OCI_JSON_BOOL, &v))
		return 0;
	if (v)
		v->boolean = boolean != 0;
	return 1;
}

static int on_number(void *ctx, const char *s, size_t len)
{
	return on_text(ctx, OCI_JSON_NUMBER, s, len);
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	return on_text(ctx, OCI_JSON_STRING, (const char *)s, len);
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
	struct builder *b = ctx;

	if (b->skip_depth > 0)
		return 1;
	b->key = keep(b, (const char *)s, len);
	b->key_len = len;
	if (!b->key)
		return stop(b, ENOMEM, "no memory");
	if (b->depth == 1 && b->opts->only)
		b->skip_next = strlen(b->opts->only) != len || memcmp(b->opts->only, s, len) != 0;
	return 1;
}

static int on_open(struct builder *b, enum oci_json_type type)
{
	struct oci_json *v = NULL;

	if (b->depth + b->skip_depth >= OCI_JSON_MAX_DEPTH)
		return stop(b, E2BIG, "nested too deeply");
	if (!add(b, type, &v))
		return 0;
	if (!v)
		b->skip_depth++;
	else
		b->open[b->depth++] = (struct open_node){ .node = v };
	return 1;
}

static int on_start_object(void *ctx)
{
	return on_open(ctx, OCI_JSON_OBJECT);
}

static int on_start_array(void *ctx)
{
	return on_open(ctx, OCI_JSON_ARRAY);
}

static int on_end(void *ctx)
{
	struct builder *b = ctx;

	if (b->skip_depth > 0)
		b->skip_depth--;
	else
		b->depth--;
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_map_key = on_key,
	.yajl_start_map = on_start_object,
	.yajl_end_map = on_end,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end,
};

/*
 * Length of the well-formed UTF-8 sequence at s (RFC 3629: no overlong forms, surrogates or > U+10FFFF), 0 when it is
 * not one.
 */
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t n;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (left < n || s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

/* The offset of the first byte that is no UTF-8, or len. */
static size_t utf8_prefix(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t at = 0, n;
	uint64_t word;

	while (at < len) {
		while (len - at >= sizeof(word)) { /* plain ASCII, eight at a time */
			memcpy(&word, s + at, sizeof(word));
			if (word & UINT64_C(0x8080808080808080))
				break;
			at += sizeof(word);
		}
		if (at == len)
			break;
		if (s[at] < 0x80) {
			at++;
			continue;
		}
		n = utf8_sequence(s + at, len - at);
		if (n == 0)
			return at;
		at += n;
	}
	return len;
}

/* The number of four hexadecimal digits, -1 when they are none. */
static int hex4(const char *s, size_t left)
{
	int v = 0;

	if (left < 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		const char c = s[i], low = (char)(c | 0x20);

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if (low >= 'a' && low <= 'f')
			v = v * 16 + (low - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/*
 * The offset of the first escape that is one half of a surrogate pair without the other, or len. yajl makes three bytes
 * that are no UTF-8 of a second half, takes whatever escape follows a first half for the second one, and as upstream
 * released it loses its place behind a first half and aborts. A backslash outside of strings it refuses itself.
 */
static size_t surrogate_prefix(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while ((p = memchr(p, '\\', (size_t)(end - p))) && end - p >= 2) {
		int first = p[1] == 'u' ? hex4(p + 2, (size_t)(end - p - 2)) : -1, second = -1;

		if (first < 0xd800 || first > 0xdfff) {
			p += 2;
			continue;
		}
		if (first < 0xdc00 && end - p >= 8 && p[6] == '\\' && p[7] == 'u')
			second = hex4(p + 8, (size_t)(end - p - 8));
		if (second < 0xdc00 || second > 0xdfff)
			return (size_t)(p - text);
		p += 12;
	}
	return len;
}

static int fail_at(const char *text, size_t at, const char *why, struct hk_err *err)
{
	size_t line = 1, start = 0;

	for (size_t i = 0; i < at; i++) {
		if (text[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	return hk_fail_text(err, HK_INVALID, EINVAL, "JSON line %zu column %zu: %s", line, at - start + 1, why);
}

/* yajl's text is "parse error: unallowed token at this point in JSON text\n"; the part that tells something is kept. */
static int fail_syntax(yajl_handle h, const struct builder *b, size_t at, struct hk_err *err)
{
	static const char *const noise[] = { "lexical error: ", "parse error: " };
	unsigned char *msg = yajl_get_error(h, 0, NULL, 0);
	char why[128] = "syntax error";

	if (msg) {
		const char *s = (const char *)msg;

		for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++) {
			if (strncmp(s, noise[i], strlen(noise[i])) == 0)
				s += strlen(noise[i]);
		}
		(void)snprintf(why, sizeof(why), "%.*s", (int)strcspn(s, "\n"), s);
		yajl_free_error(h, msg);
	}
	return fail_at(b->text, at, why, err);
}

static int parse(struct builder *b, struct hk_err *err)
{
	yajl_alloc_funcs funcs = { .malloc = yajl_new, .realloc = yajl_more, .free = yajl_done, .ctx = b };
	yajl_handle h = yajl_alloc(&callbacks, &funcs, b);
	yajl_status st;
	size_t at;
	int r = 0;

	(void)yajl_config(h, yajl_dont_validate_strings, 1); /* utf8_prefix is stricter */
	st = yajl_parse(h, (const unsigned char *)b->text, b->len);
	at = yajl_get_bytes_consumed(h);
	if (st == yajl_status_ok) {
		st = yajl_complete_parse(h);
		at = b->len; /* what it now misses would be at the end */
	}
	if (b->failed == ENOMEM)
		r = hk_fail(err, HK_EXHAUSTED, ENOMEM, "parse JSON");
	else if (b->failed)
		r = fail_at(b->text, at, b->why, err);
	else if (st != yajl_status_ok)
		r = fail_syntax(h, b, at, err);
	yajl_free(h);
	return r;
}

static int run(struct builder *b, struct hk_err *err)
{
	hk_list_init(&b->blocks);
	if (setjmp(b->no_memory) == 0)
		return parse(b, err);
	hk_list_for_safe(n, next, &b->blocks)
		free(hk_container_of(n, struct block, node));
	return hk_fail(err, HK_EXHAUSTED, ENOMEM, "parse JSON");
}

int oci_json_parse(const char *text, size_t len, const struct oci_json_opts *opts, struct hk_arena *arena,
    const struct oci_json **ret, struct hk_err *err)
{
	static const struct oci_json_opts none = { NULL, NULL };
	struct builder b = { .text = text, .len = len, .arena = arena, .opts = opts ? opts : &none };
	size_t ok;
	int r;

	if (len > OCI_JSON_MAX_BYTES)
		return hk_fail_text(err, HK_INVALID, E2BIG, "JSON: %zu bytes are too many", len);
	ok = utf8_prefix(text, len);
	if (ok < len)
		return fail_at(text, ok, "invalid UTF-8", err);
	ok = surrogate_prefix(text, len);
	if (ok < len)
		return fail_at(text, ok, "half of a surrogate pair", err);
	r = run(&b, err);
	if (r < 0)
		return r;
	b.root->key = b.opts->root_name;
	b.root->key_len = b.opts->root_name ? (uint32_t)strlen(b.opts->root_name) : 0;
	*ret = b.root;
	return 0;
}
