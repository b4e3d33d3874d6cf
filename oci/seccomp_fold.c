/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_fold.c — a filter's same verdicts by fewer instructions. libseccomp's program asks for each number by itself; the kernel's time to load
 * a filter, at each create and exec, is that of its length. Here every verdict is looked up by running the program, neighbours that agree become one
 * range, and a binary search over the ranges is written. What inspects arguments is copied as it is. Program in, program out; a shape that is not
 * understood stays as it was.
 *
 * Why this is exact: until it reads an argument (or ends), a program knows the architecture and the number only, and only compares them with
 * constants. So its way is the same for all numbers between two neighbouring constants, and for all architectures that it does not name.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/seccomp.h"

enum { ARCHS_MAX = 32, NEAR = 200, NONE = 0xffff };

#define STMT(c, value) ((struct sock_filter){ .code = (c), .k = (value) })
#define JUMP(c, value, t, f) ((struct sock_filter){ .code = (c), .jt = (t), .jf = (f), .k = (value) })
static const uint16_t ld_abs = BPF_LD | BPF_W | BPF_ABS, jeq = BPF_JMP | BPF_JEQ | BPF_K, jgt = BPF_JMP | BPF_JGT | BPF_K,
		      jge = BPF_JMP | BPF_JGE | BPF_K, ja = BPF_JMP | BPF_JA, ret_k = BPF_RET | BPF_K;

/* Where a walk ended: an answer, or the instruction that begins to read arguments. */
struct verdict {
	bool is_code;
	uint32_t v;
};
struct range {
	uint32_t from; /* up to the next one's */
	struct verdict to;
};

struct fold {
	const struct sock_filter *in;
	size_t n;
	uint32_t archs[ARCHS_MAX]; /* that the program names */
	size_t n_archs;
	uint32_t *edges; /* numbers at which its way may change, ascending */
	size_t n_edges;
	struct range *ranges; /* of one architecture; n_edges of room */
	struct sock_filter *out; /* written from its end, since jumps go forward only */
	uint16_t at;             /* the first instruction so far */
	uint16_t *copied;        /* where an instruction of `in` is in `out` */
};

static void fold_done(struct fold *f)
{
	free(f->edges);
	free(f->ranges);
	free(f->out);
	free(f->copied);
}

static int note_arch(struct fold *f, uint32_t arch)
{
	for (size_t i = 0; i < f->n_archs; i++)
		if (f->archs[i] == arch)
			return 0;
	if (f->n_archs == ARCHS_MAX)
		return -E2BIG;
	f->archs[f->n_archs++] = arch;
	return 0;
}

static bool is_taken(const struct sock_filter *i, uint32_t a)
{
	return i->code == jeq ? a == i->k : i->code == jgt ? a > i->k : a >= i->k;
}

/* The way of one call. -ENOTSUP: it does what no program of libseccomp's does before it reads an argument. */
static int walk(struct fold *f, uint32_t arch, uint32_t nr, struct verdict *ret)
{
	uint32_t a = 0;
	bool holds_arch = false;

	for (size_t pc = 0; pc < f->n; pc++) {
		const struct sock_filter *i = &f->in[pc];

		if (i->code == ret_k) {
			*ret = (struct verdict){ .v = i->k };
			return 0;
		} else if (i->code == ld_abs && i->k != offsetof(struct seccomp_data, arch) && i->k != offsetof(struct seccomp_data, nr)) {
			*ret = (struct verdict){ .is_code = true, .v = (uint32_t)pc };
			return 0;
		} else if (i->code == ld_abs) {
			holds_arch = i->k == offsetof(struct seccomp_data, arch);
			a = holds_arch ? arch : nr;
		} else if (i->code == ja) {
			pc += i->k;
		} else if (i->code == jeq || (!holds_arch && (i->code == jgt || i->code == jge))) {
			if (holds_arch && note_arch(f, i->k) < 0)
				return -ENOTSUP;
			pc += is_taken(i, a) ? i->jt : i->jf;
		} else {
			return -ENOTSUP;
		}
	}
	return -ENOTSUP;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Every constant and its successor: more than there are, which costs nothing but a walk each. */
static int find_edges(struct fold *f)
{
	size_t n = 0;

	f->edges = calloc(2 * f->n + 1, sizeof(*f->edges));
	f->ranges = calloc(2 * f->n + 1, sizeof(*f->ranges));
	if (!f->edges || !f->ranges)
		return -ENOMEM;
	f->edges[n++] = 0;
	for (size_t i = 0; i < f->n; i++) {
		if (BPF_CLASS(f->in[i].code) != BPF_JMP || f->in[i].code == ja)
			continue;
		f->edges[n++] = f->in[i].k;
		if (f->in[i].k < UINT32_MAX)
			f->edges[n++] = f->in[i].k + 1;
	}
	qsort(f->edges, n, sizeof(*f->edges), compare);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || f->edges[i] != f->edges[f->n_edges - 1])
			f->edges[f->n_edges++] = f->edges[i];
	return 0;
}

static int find_ranges(struct fold *f, uint32_t arch, size_t *ret_n)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_edges; i++) {
		struct verdict v;
		int r = walk(f, arch, f->edges[i], &v);

		if (r < 0)
			return r;
		if (n == 0 || f->ranges[n - 1].to.is_code != v.is_code || f->ranges[n - 1].to.v != v.v)
			f->ranges[n++] = (struct range){ .from = f->edges[i], .to = v };
	}
	*ret_n = n;
	return 0;
}

/* ---- writing; `at` 0 = no room, and everything after that is void ---- */

static uint16_t emit(struct fold *f, struct sock_filter i)
{
	if (f->at > 0)
		f->out[--f->at] = i;
	return f->at;
}

static uint32_t distance(const struct fold *f, uint16_t label)
{
	return label - (uint32_t)f->at; /* from an instruction that goes before `at` */
}

/* A conditional jump reaches 255 instructions: from farther by one of its own. */
static uint16_t near(struct fold *f, uint16_t label)
{
	return distance(f, label) <= NEAR ? label : emit(f, STMT(ja, distance(f, label)));
}

static void emit_jump(struct fold *f, uint16_t code, uint32_t k, const uint16_t to[2])
{
	uint16_t no = near(f, to[1]), yes = near(f, to[0]);

	(void)emit(f, JUMP(code, k, (uint8_t)distance(f, yes), (uint8_t)distance(f, no)));
}

static uint16_t emit_answer(struct fold *f, uint32_t answer)
{
	for (uint32_t i = f->at; i < OCI_BPF_MAX && i - f->at <= NEAR / 2; i++)
		if (f->out[i].code == ret_k && f->out[i].k == answer)
			return (uint16_t)i;
	return emit(f, STMT(ret_k, answer));
}

/* The instruction and all that follows it. Each is written once; recursion is as deep as the program is long. */
static uint16_t emit_copy(struct fold *f, size_t pc)
{
	const struct sock_filter *i;
	uint16_t to[2];

	if (pc >= f->n)
		return f->at = 0;
	if (f->copied[pc] != NONE)
		return f->copied[pc];
	i = &f->in[pc];
	if (i->code == ja)
		return f->copied[pc] = emit_copy(f, pc + 1 + i->k);
	if (BPF_CLASS(i->code) == BPF_RET)
		return f->copied[pc] = emit(f, *i);
	if (BPF_CLASS(i->code) == BPF_JMP) {
		to[1] = emit_copy(f, pc + 1 + i->jf);
		to[0] = emit_copy(f, pc + 1 + i->jt);
		emit_jump(f, i->code, i->k, to);
		return f->copied[pc] = f->at;
	}
	to[0] = emit_copy(f, pc + 1);
	if (to[0] != f->at)
		(void)emit(f, STMT(ja, distance(f, to[0])));
	return f->copied[pc] = emit(f, *i);
}

static uint16_t emit_search(struct fold *f, const struct range *v, size_t n)
{
	uint16_t to[2];

	if (n == 1)
		return v[0].to.is_code ? emit_copy(f, v[0].to.v) : emit_answer(f, v[0].to.v);
	to[0] = emit_search(f, v + n / 2, n - n / 2);
	to[1] = emit_search(f, v, n / 2);
	emit_jump(f, jge, v[n / 2].from, to);
	return f->at;
}

static int emit_arch(struct fold *f, uint32_t arch, uint16_t *ret)
{
	size_t n;
	int r = find_ranges(f, arch, &n);

	if (r < 0)
		return r;
	*ret = emit_search(f, f->ranges, n);
	if (n > 1) {
		if (*ret != f->at)
			(void)emit(f, STMT(ja, distance(f, *ret)));
		*ret = emit(f, STMT(ld_abs, offsetof(struct seccomp_data, nr)));
	}
	return 0;
}

/* An architecture that the program does not name. */
static uint32_t unnamed(const struct fold *f)
{
	for (uint32_t arch = 0;; arch++) {
		bool is_named = false;

		for (size_t i = 0; i < f->n_archs; i++)
			is_named |= f->archs[i] == arch;
		if (!is_named)
			return arch;
	}
}

static int emit_all(struct fold *f)
{
	uint16_t labels[ARCHS_MAX], to[2];
	size_t n, named = f->n_archs;
	int r = emit_arch(f, unnamed(f), &to[1]);

	for (size_t i = named; r == 0 && i > 0; i--)
		r = emit_arch(f, f->archs[i - 1], &labels[i - 1]);
	/* One that was named only now has not been asked about. */
	if (r < 0 || f->n_archs != named)
		return r < 0 ? r : -ENOTSUP;
	for (n = named; n > 0; n--) {
		to[0] = labels[n - 1];
		emit_jump(f, jeq, f->archs[n - 1], to);
		to[1] = f->at;
	}
	if (to[1] != f->at)
		(void)emit(f, STMT(ja, distance(f, to[1])));
	(void)emit(f, STMT(ld_abs, offsetof(struct seccomp_data, arch)));
	return f->at == 0 ? -E2BIG : 0;
}

int oci_seccomp_fold(struct oci_bpf *bpf)
{
	hk_auto(fold_done) struct fold f = { .in = bpf->insns, .n = bpf->n, .at = OCI_BPF_MAX };
	size_t n;
	int r = find_edges(&f);

	f.out = calloc(OCI_BPF_MAX, sizeof(*f.out));
	f.copied = malloc(bpf->n * sizeof(*f.copied));
	if (r < 0 || !f.out || !f.copied)
		return -ENOMEM;
	memset(f.copied, 0xff, bpf->n * sizeof(*f.copied));
	/* First without writing: which architectures there are. */
	for (size_t i = 0, seen = ARCHS_MAX + 1; r == 0 && seen != f.n_archs; i++) {
		seen = f.n_archs;
		r = find_ranges(&f, unnamed(&f), &n);
		for (size_t k = 0; r == 0 && k < f.n_archs; k++)
			r = find_ranges(&f, f.archs[k], &n);
	}
	if (r == 0)
		r = emit_all(&f);
	n = OCI_BPF_MAX - (size_t)f.at;
	if (r < 0 || n >= bpf->n)
		return r == -ENOMEM ? r : 0;
	memcpy(bpf->insns, f.out + f.at, n * sizeof(*f.out));
	bpf->n = n;
	return 0;
}
