/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/record.c — see record.h. */
#include "oci/base/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

enum { DEPTH_MAX = 16, PATH_SIZE = 200, NUMBER_SIZE = 24 };

/* ---- writing ---- */

static void begin_line(struct hk_record *r, const char *name)
{
	if (r->text.n == 0)
		hk_text_put(&r->text, HK_RECORD_FORMAT "\n");
	for (int i = 0; i < r->depth; i++)
		hk_text_put(&r->text, "\t");
	hk_text_put(&r->text, name);
	hk_text_put(&r->text, " ");
}

void hk_record_begin(struct hk_record *r, const char *name)
{
	begin_line(r, name);
	hk_text_put(&r->text, "{\n");
	r->depth++;
}

void hk_record_end(struct hk_record *r)
{
	r->depth--;
	for (int i = 0; i < r->depth; i++)
		hk_text_put(&r->text, "\t");
	hk_text_put(&r->text, "}\n");
}

void hk_record_num(struct hk_record *r, const char *name, int64_t v)
{
	begin_line(r, name);
	hk_text_fmt(&r->text, "%" PRId64 "\n", v);
}

void hk_record_bool(struct hk_record *r, const char *name, bool v)
{
	if (v)
		hk_record_num(r, name, 1);
}

static void put_bytes(struct hk_record *r, const char *name, const void *bytes, size_t len)
{
	begin_line(r, name);
	hk_text_fmt(&r->text, "\"%zu:", len);
	hk_text_put_n(&r->text, bytes, len);
	hk_text_put(&r->text, "\n");
}

void hk_record_str(struct hk_record *r, const char *name, const char *s)
{
	if (s)
		put_bytes(r, name, s, strlen(s));
}

void hk_record_bytes(struct hk_record *r, const char *name, const void *bytes, size_t len)
{
	if (bytes && len > 0)
		put_bytes(r, name, bytes, len);
}

static bool append(int **v, size_t *n, int fd)
{
	int *more = realloc(*v, (*n + 1) * sizeof(*more));

	if (!more)
		return false;
	*v = more;
	more[(*n)++] = fd;
	return true;
}

static void put_fd(struct hk_record *r, const char *name, char mark, int fd)
{
	r->failed = !append(&r->fds, &r->n_fds, fd) || r->failed;
	begin_line(r, name);
	hk_text_fmt(&r->text, "%c%d\n", mark, fd);
}

void hk_record_fd(struct hk_record *r, const char *name, int fd)
{
	if (fd >= 0)
		put_fd(r, name, '#', fd);
}

void hk_record_own_fd(struct hk_record *r, const char *name, int *take_fd)
{
	hk_autofd fd = hk_take_fd(take_fd);

	if (fd < 0)
		return;
	if (!append(&r->own, &r->n_own, fd)) {
		r->failed = true;
		return;
	}
	put_fd(r, name, '~', fd);
	fd = -1;
}

int hk_record_memfd(struct hk_record *r, const char *name, int *ret_fd)
{
	hk_autofd fd = -1;
	int rc;

	if (r->failed || r->text.failed)
		return -ENOMEM;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	rc = hk_write_full(fd, r->text.v, r->text.n);
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		rc = -errno;
	if (rc == 0)
		*ret_fd = hk_take_fd(&fd);
	return rc;
}

void hk_record_done(struct hk_record *r)
{
	for (size_t i = 0; i < r->n_own; i++)
		(void)hk_close(r->own[i]);
	free(r->own);
	free(r->fds);
	hk_text_done(&r->text);
	*r = (struct hk_record){ 0 };
}

/* ---- reading: the tree ---- */

enum kind { RECORD, NUMBER, STRING, DESCRIPTOR };
static const char *const kind_names[] = { "a record", "a number", "a string", "a descriptor" };

struct document {
	struct hk_err err;
	bool failed;
};
struct hk_value {
	struct document *doc;
	const struct hk_value *parent;
	struct hk_value *next, *first, *last; /* members of a record, in order */
	const char *name;
	enum kind kind;
	bool is_own;    /* a descriptor for the reading alone */
	int64_t number; /* also of a descriptor */
	char *bytes;    /* NUL-terminated */
	size_t len;
};

struct parser {
	char *at, *end;
	unsigned line;
	struct hk_arena *arena;
	struct hk_value *open; /* the innermost record */
	int depth;
};

static int bad(const struct parser *p, const char *what, struct hk_err *err)
{
	return hk_fail_text(err, HK_INVALID, EPROTO, "state, line %u: %s", p->line, what);
}

/* The text up to `stop`, which is replaced by a NUL; NULL when it does not come. */
static char *cut(struct parser *p, char stop, size_t max)
{
	const size_t left = (size_t)(p->end - p->at);
	char *from = p->at, *to = memchr(from, stop, left < max ? left : max);

	if (!to)
		return NULL;
	*to = '\0';
	p->at = to + 1;
	return from;
}

static struct hk_value *add(struct parser *p, const char *name, enum kind kind)
{
	struct hk_value *v = hk_arena_alloc(p->arena, sizeof(*v));

	if (!v)
		return NULL;
	v->doc = p->open->doc;
	v->parent = p->open;
	v->name = name;
	v->kind = kind;
	if (p->open->last)
		p->open->last->next = v;
	else
		p->open->first = v;
	p->open->last = v;
	return v;
}

static int parse_number(struct parser *p, struct hk_value *v, struct hk_err *err)
{
	const char *text = cut(p, '\n', NUMBER_SIZE);

	if (!text || hk_parse_i64(text, &v->number) < 0)
		return bad(p, "not a number", err);
	if (v->kind == DESCRIPTOR && (v->number < 0 || v->number > INT32_MAX))
		return bad(p, "not a descriptor", err);
	return 0;
}

static int parse_string(struct parser *p, struct hk_value *v, struct hk_err *err)
{
	const char *text = cut(p, ':', NUMBER_SIZE);
	uint64_t len;

	if (!text || hk_parse_u64(text, &len) < 0 || len >= (uint64_t)(p->end - p->at) || p->at[len] != '\n')
		return bad(p, "not a string of the length it says", err);
	v->bytes = p->at;
	v->len = (size_t)len;
	p->at += len;
	*p->at++ = '\0';
	return 0;
}

static int parse_value(struct parser *p, const char *name, struct hk_err *err)
{
	const char mark = p->at < p->end ? *p->at : '\0';
	const enum kind kind = mark == '{' ? RECORD : mark == '"' ? STRING : mark == '#' || mark == '~' ? DESCRIPTOR : NUMBER;
	struct hk_value *v = add(p, name, kind);

	if (!v)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "read the state");
	v->is_own = mark == '~';
	p->at += kind != NUMBER;
	if (kind == STRING)
		return parse_string(p, v, err);
	if (kind != RECORD)
		return parse_number(p, v, err);
	if (p->at == p->end || *p->at != '\n' || ++p->depth > DEPTH_MAX)
		return bad(p, "not a record", err);
	p->at++;
	p->open = v;
	return 0;
}

static int parse_line(struct parser *p, struct hk_err *err)
{
	char *name;

	while (p->at < p->end && *p->at == '\t')
		p->at++;
	if (p->end - p->at >= 2 && p->at[0] == '}' && p->at[1] == '\n') {
		if (p->depth-- == 0)
			return bad(p, "the end of no record", err);
		p->open = (struct hk_value *)(uintptr_t)p->open->parent;
		p->at += 2;
		return 0;
	}
	name = cut(p, ' ', PATH_SIZE);
	if (!name || !*name || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
		return bad(p, "no name", err);
	return parse_value(p, name, err);
}

int hk_value_parse(char *text, size_t len, struct hk_arena *arena, const struct hk_value **ret, struct hk_err *err)
{
	static const char first[] = HK_RECORD_FORMAT "\n";
	struct parser p = { .at = text, .end = text + len, .line = 1, .arena = arena };
	struct hk_value *top = hk_arena_alloc(arena, sizeof(*top));
	int r = 0;

	if (top)
		top->doc = hk_arena_alloc(arena, sizeof(*top->doc));
	if (!top || !top->doc)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "read the state");
	if (len < sizeof(first) - 1 || memcmp(text, first, sizeof(first) - 1) != 0)
		return hk_fail_text(err, HK_INVALID, EPROTO, "the state is not of the format \"" HK_RECORD_FORMAT "\"");
	top->name = "";
	p.open = top;
	for (p.at += sizeof(first) - 1; r == 0 && p.at < p.end; p.line++)
		r = parse_line(&p, err);
	if (r == 0 && p.depth > 0)
		r = bad(&p, "a record has no end", err);
	if (r == 0)
		*ret = top;
	return r;
}

/* ---- reading: values ---- */

static void path_of(const struct hk_value *v, char *buf, size_t size)
{
	char above[PATH_SIZE] = "";

	if (v->parent && v->parent->name[0])
		path_of(v->parent, above, sizeof(above));
	(void)hk_fmt(buf, size, "%s%s%s", above, above[0] ? "." : "", v->name);
}

void hk_value_wrong(const struct hk_value *in, const char *name, const char *what)
{
	char path[PATH_SIZE];

	if (in->doc->failed)
		return;
	path_of(in, path, sizeof(path));
	in->doc->failed = true;
	(void)hk_fail_text(&in->doc->err, HK_INVALID, EPROTO, "%s%s%s %s", path, path[0] ? "." : "", name, what);
}

int hk_value_check(const struct hk_value *any, struct hk_err *err)
{
	if (!any->doc->failed)
		return 0;
	if (err)
		*err = any->doc->err;
	return -any->doc->err.code;
}

static const struct hk_value *find(const struct hk_value *v, const char *name)
{
	while (v && strcmp(v->name, name) != 0)
		v = v->next;
	return v;
}

const struct hk_value *hk_value_get(const struct hk_value *in, const char *name)
{
	return find(in->first, name);
}

const struct hk_value *hk_value_next(const struct hk_value *v)
{
	return find(v->next, v->name);
}

static const struct hk_value *get(const struct hk_value *in, const char *name, enum kind kind, bool is_needed)
{
	const struct hk_value *v = hk_value_get(in, name);
	char what[40];

	if (v && v->kind != kind) {
		(void)hk_fmt(what, sizeof(what), "is not %s", kind_names[kind]);
		hk_value_wrong(in, name, what);
		return NULL;
	}
	if (!v && is_needed)
		hk_value_wrong(in, name, "is missing");
	return v;
}

const struct hk_value *hk_value_need(const struct hk_value *in, const char *name)
{
	return get(in, name, RECORD, true);
}

int64_t hk_value_num(const struct hk_value *in, const char *name)
{
	const struct hk_value *v = get(in, name, NUMBER, true);

	return v ? v->number : 0;
}

int64_t hk_value_num_or(const struct hk_value *in, const char *name, int64_t otherwise)
{
	const struct hk_value *v = get(in, name, NUMBER, false);

	return v ? v->number : otherwise;
}

int64_t hk_value_num_of(const struct hk_value *v)
{
	if (v->kind != NUMBER)
		hk_value_wrong(v->parent, v->name, "is not a number");
	return v->number;
}

const void *hk_value_bytes_of(const struct hk_value *v, size_t *ret_len)
{
	if (v->kind != STRING)
		hk_value_wrong(v->parent, v->name, "is not a string");
	*ret_len = v->kind == STRING ? v->len : 0;
	return v->bytes;
}

bool hk_value_bool(const struct hk_value *in, const char *name)
{
	return hk_value_num_or(in, name, 0) != 0;
}

static const char *string_of(const struct hk_value *in, const struct hk_value *v, const char *otherwise)
{
	if (!v)
		return otherwise;
	if (strlen(v->bytes) == v->len)
		return v->bytes;
	hk_value_wrong(in, v->name, "has a NUL in it");
	return otherwise;
}

const char *hk_value_str(const struct hk_value *in, const char *name)
{
	return string_of(in, get(in, name, STRING, true), "");
}

const char *hk_value_str_or(const struct hk_value *in, const char *name, const char *otherwise)
{
	return string_of(in, get(in, name, STRING, false), otherwise);
}

const void *hk_value_bytes(const struct hk_value *in, const char *name, size_t *ret_len)
{
	const struct hk_value *v = get(in, name, STRING, false);

	*ret_len = v ? v->len : 0;
	return v && v->len ? v->bytes : NULL;
}

int hk_value_fd(const struct hk_value *in, const char *name)
{
	const struct hk_value *v = get(in, name, DESCRIPTOR, true);

	return v ? (int)v->number : -1;
}

int hk_value_fd_or(const struct hk_value *in, const char *name)
{
	const struct hk_value *v = get(in, name, DESCRIPTOR, false);

	return v ? (int)v->number : -1;
}

int hk_value_cloexec(const struct hk_value *top, bool on)
{
	for (const struct hk_value *v = top->first; v; v = v->next) {
		int r = v->kind == RECORD ? hk_value_cloexec(v, on) : 0;

		if (v->kind == DESCRIPTOR && fcntl((int)v->number, F_SETFD, on ? FD_CLOEXEC : 0) < 0)
			r = -errno;
		if (r < 0)
			return r;
	}
	return 0;
}

void hk_value_close(const struct hk_value *top)
{
	for (const struct hk_value *v = top->first; v; v = v->next) {
		if (v->kind == RECORD)
			hk_value_close(v);
		else if (v->kind == DESCRIPTOR && v->is_own)
			(void)hk_close((int)v->number);
	}
}
