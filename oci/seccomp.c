/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp.c — linux.seccomp to a BPF program: libseccomp's rules, with a preamble of our own in front of it, folded (seccomp_fold.c). Runs
 * in a short-lived child: libseccomp takes 10 ms and a megabyte for containerd's default profile.
 *
 * The preamble: a profile that denies by default answers EPERM to a system call that is younger than the profile, and
 * a C library that probes for it takes that for a real refusal instead of using the older call. So numbers above the
 * highest one that the profile names get ENOSYS, per architecture, before the profile itself is asked. (man 2 seccomp;
 * linux/audit.h)
 */
#include "oci/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/spec_linux.h"

enum {
	MAX_ARCHS = 24,
	PREAMBLE_PER_ARCH = 8,
	N_ARGS = 6,
	X32_BIT = 0x40000000,
	ARM_PRIVATE = 0x0f0000, /* set_tls, cacheflush, ... live far above the table */
};

struct arch_max {
	uint32_t arch; /* SCMP_ARCH_*: the AUDIT_ARCH_* value but for x32, which shares x86_64's */
	uint32_t max;
};

static bool is_denying(uint32_t action)
{
	uint32_t kind = action & SECCOMP_RET_ACTION_FULL;

	return kind == SECCOMP_RET_ERRNO || kind == SECCOMP_RET_KILL_PROCESS || kind == SECCOMP_RET_KILL_THREAD ||
	       kind == SECCOMP_RET_TRAP;
}

/*
 * The same argument twice in one rule cannot be ANDed by libseccomp: such a rule becomes one rule per condition,
 * as in runc.
 */
static bool has_twice(const struct oci_seccomp_rule *r)
{
	unsigned seen = 0;

	for (size_t i = 0; i < r->n_args; i++) {
		if (seen & (1U << r->args[i].index))
			return true;
		seen |= 1U << r->args[i].index;
	}
	return false;
}

static int add_calls(scmp_filter_ctx ctx, const struct oci_seccomp_rule *r, int nr, const struct scmp_arg_cmp *cmp)
{
	int rc = 0;

	if (!has_twice(r))
		return seccomp_rule_add_array(ctx, r->action, nr, (unsigned)r->n_args, cmp);
	for (size_t i = 0; rc == 0 && i < r->n_args; i++)
		rc = seccomp_rule_add_array(ctx, r->action, nr, 1, &cmp[i]);
	return rc;
}

static int add_rule(
    scmp_filter_ctx ctx, const struct oci_seccomp *s, const struct oci_seccomp_rule *r, struct hk_err *err)
{
	struct scmp_arg_cmp cmp[2 * N_ARGS];

	if (r->action == s->default_action)
		return 0; /* says nothing new, and libseccomp refuses it */
	if (r->n_args > HK_ARRAY_SIZE(cmp))
		return hk_fail_text(
		    err, HK_INVALID, E2BIG, "linux.seccomp: more than %zu conditions in a rule", HK_ARRAY_SIZE(cmp));
	for (size_t i = 0; i < r->n_args; i++) {
		const struct oci_seccomp_arg *a = &r->args[i];

		if (a->index >= N_ARGS)
			return hk_fail_text(err, HK_INVALID, EINVAL, "linux.seccomp: argument index %u", a->index);
		cmp[i] = SCMP_CMP64(a->index, (enum scmp_compare)a->op, a->value, a->value_two);
	}
	for (size_t i = 0; i < r->names.n; i++) {
		int nr = seccomp_syscall_resolve_name(r->names.v[i]);
		int rc;

		if (nr == __NR_SCMP_ERROR) /* newer or older than this library: profiles are written for many kernels */
			continue;
		rc = add_calls(ctx, r, nr, cmp);
		if (rc < 0)
			return hk_fail(err, HK_INTERNAL, -rc, "linux.seccomp: rule for %s", r->names.v[i]);
	}
	return 0;
}

static int add_archs(scmp_filter_ctx ctx, const struct oci_seccomp *s, struct hk_err *err)
{
	for (size_t i = 0; i < s->n_archs; i++) {
		int rc = seccomp_arch_add(ctx, s->archs[i]);

		if (rc < 0 && rc != -EEXIST)
			return hk_fail(err, HK_INTERNAL, -rc, "linux.seccomp: add architecture %#x", s->archs[i]);
	}
	return 0;
}

static int add_all(scmp_filter_ctx ctx, const struct oci_seccomp *s, struct hk_err *err)
{
	int r;

	/* Loading is ours, later and in another process. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 0);
	r = add_archs(ctx, s, err);
	for (size_t i = 0; r == 0 && i < s->n_rules; i++)
		r = add_rule(ctx, s, &s->rules[i], err);
	return r;
}

/* ---- the preamble ---- */

static uint32_t highest(const struct oci_seccomp *s, uint32_t arch)
{
	uint32_t max = 0;

	for (size_t i = 0; i < s->n_rules; i++) {
		for (size_t k = 0; k < s->rules[i].names.n; k++) {
			int nr = seccomp_syscall_resolve_name_arch(arch, s->rules[i].names.v[k]);

			/* Negative: unknown, or a pseudo number that this architecture does not have. */
			if (nr < 0 || (arch == SCMP_ARCH_ARM && nr >= ARM_PRIVATE))
				continue;
			if ((uint32_t)nr > max)
				max = (uint32_t)nr;
		}
	}
	return max;
}

static size_t collect(const struct oci_seccomp *s, struct arch_max *v)
{
	size_t n = 0;

	v[n++].arch = seccomp_arch_native();
	for (size_t i = 0; i < s->n_archs && n < MAX_ARCHS; i++) {
		bool known = s->archs[i] == SCMP_ARCH_NATIVE;

		for (size_t k = 0; k < n; k++)
			known |= v[k].arch == s->archs[i];
		if (!known)
			v[n++].arch = s->archs[i];
	}
	for (size_t i = 0; i < n; i++)
		v[i].max = highest(s, v[i].arch);
	return n;
}

static uint32_t max_of(const struct arch_max *v, size_t n, uint32_t arch)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].arch == arch)
			return v[i].max;
	return 0;
}

#define STMT(c, value) ((struct sock_filter){ .code = (c), .k = (value) })
#define JUMP(c, value, t, f) ((struct sock_filter){ .code = (c), .jt = (t), .jf = (f), .k = (value) })
static const uint16_t ld_abs = BPF_LD | BPF_W | BPF_ABS, jeq = BPF_JMP | BPF_JEQ | BPF_K,
		      jge = BPF_JMP | BPF_JGE | BPF_K, jgt = BPF_JMP | BPF_JGT | BPF_K, ja = BPF_JMP | BPF_JA,
		      ret_k = BPF_RET | BPF_K;

/*
 * One block: A holds the architecture at its start and, if it is another one, at its end. `end` instructions behind
 * the block begins the filter proper, which loads for itself.
 */
static size_t block(
    struct sock_filter *out, const struct arch_max *m, uint32_t special, uint32_t special_max, uint32_t end)
{
	uint32_t answer = SECCOMP_RET_ERRNO | ENOSYS;

	out[0] = JUMP(jeq, m->arch, 0, PREAMBLE_PER_ARCH - 1);
	out[1] = STMT(ld_abs, offsetof(struct seccomp_data, nr));
	out[2] = JUMP(jge, special, 2, 0); /* numbers with a range of their own */
	out[3] = JUMP(jgt, m->max, 3, 0);
	out[4] = STMT(ja, end + 3);
	out[5] = JUMP(jgt, special_max, 1, 0);
	out[6] = STMT(ja, end + 1);
	out[7] = STMT(ret_k, answer);
	return PREAMBLE_PER_ARCH;
}

static size_t preamble(const struct oci_seccomp *s, struct sock_filter *out)
{
	struct arch_max v[MAX_ARCHS];
	size_t n = collect(s, v), n_blocks = 0, at = 0;

	for (size_t i = 0; i < n; i++)
		n_blocks += v[i].arch != SCMP_ARCH_X32 && v[i].max > 0;
	if (n_blocks == 0)
		return 0;
	out[at++] = STMT(ld_abs, offsetof(struct seccomp_data, arch));
	for (size_t i = 0; i < n; i++) {
		uint32_t special = UINT32_MAX, special_max = UINT32_MAX;

		if (v[i].arch == SCMP_ARCH_X32 || v[i].max == 0)
			continue;
		if (v[i].arch == SCMP_ARCH_X86_64) {
			uint32_t x32 = max_of(v, n, SCMP_ARCH_X32);

			special = X32_BIT;
			special_max =
			    x32 > X32_BIT ? x32 : UINT32_MAX; /* x32 not in the profile: libseccomp's verdict stands */
		} else if (v[i].arch == SCMP_ARCH_ARM) {
			special = ARM_PRIVATE;
		}
		n_blocks--;
		at += block(out + at, &v[i], special, special_max, (uint32_t)n_blocks * PREAMBLE_PER_ARCH);
	}
	return at;
}

/* ---- the program ---- */

static int export(scmp_filter_ctx ctx, struct sock_filter *out, size_t max, size_t *ret_n, struct hk_err *err)
{
	hk_autofd fd = memfd_create("husk-seccomp", MFD_CLOEXEC);
	struct stat st;
	ssize_t n;
	int r;

	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "memfd for the seccomp filter");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "linux.seccomp: make the BPF program");
	if (fstat(fd, &st) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "fstat of the seccomp filter");
	if ((size_t)st.st_size > max * sizeof(*out))
		return hk_fail_text(
		    err, HK_INVALID, E2BIG, "linux.seccomp: the program has more than %d instructions", OCI_BPF_MAX);
	n = pread(fd, out, (size_t)st.st_size, 0);
	if (n != st.st_size)
		return hk_fail(err, HK_INTERNAL, n < 0 ? errno : EIO, "read the seccomp filter");
	*ret_n = (size_t)n / sizeof(*out);
	return 0;
}

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

int oci_seccomp_build(const struct oci_seccomp *s, struct oci_bpf *ret, struct hk_err *err)
{
	hk_auto(release) scmp_filter_ctx ctx = seccomp_init(s->default_action);
	hk_autofree struct sock_filter *out = calloc(OCI_BPF_MAX, sizeof(*out));
	size_t at, n = 0;
	int r;

	if (!ctx || !out)
		return hk_fail(err, ctx ? HK_INTERNAL : HK_INVALID, ctx ? ENOMEM : EINVAL,
		    "linux.seccomp.defaultAction %#x", s->default_action);
	r = add_all(ctx, s, err);
	if (r < 0)
		return r;
	at = is_denying(s->default_action) ? preamble(s, out) : 0;
	r = export(ctx, out + at, OCI_BPF_MAX - at, &n, err);
	if (r < 0)
		return r;
	*ret = (struct oci_bpf){ .insns = hk_take_ptr(out), .n = at + n };
	r = oci_seccomp_fold(ret);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "linux.seccomp: shorten the BPF program") : 0;
}
