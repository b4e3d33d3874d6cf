/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse_seccomp.c — linux.seccomp into struct oci_seccomp: words become libseccomp's constants, names stay
 * strings (a name this kernel or library does not know is for the compiler of the filter to leave out). runtime-spec
 * 1.3, config-linux.md "Seccomp".
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/parse.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/*
 * Architectures of the spec which an older libseccomp does not know: no machine it was built for runs them, so they
 * are left out.
 */
#ifndef SCMP_ARCH_LOONGARCH64
#define SCMP_ARCH_LOONGARCH64 0
#endif
#ifndef SCMP_ARCH_M68K
#define SCMP_ARCH_M68K 0
#endif
#ifndef SCMP_ARCH_SH
#define SCMP_ARCH_SH 0
#endif
#ifndef SCMP_ARCH_SHEB
#define SCMP_ARCH_SHEB 0
#endif

enum { MAX_ERRNO = 4095, MAX_TRACE = 0xffff }; /* the kernel cuts a larger errno; the tracer's message has 16 bits */

static const struct oci_word actions[] = {
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
};
static const struct oci_word operators[] = {
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
};
static const struct oci_word archs[] = {
	{ "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64 },
	{ "SCMP_ARCH_ARM", SCMP_ARCH_ARM },
	{ "SCMP_ARCH_LOONGARCH64", SCMP_ARCH_LOONGARCH64 },
	{ "SCMP_ARCH_M68K", SCMP_ARCH_M68K },
	{ "SCMP_ARCH_MIPS", SCMP_ARCH_MIPS },
	{ "SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64 },
	{ "SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32 },
	{ "SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL },
	{ "SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64 },
	{ "SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32 },
	{ "SCMP_ARCH_PARISC", SCMP_ARCH_PARISC },
	{ "SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64 },
	{ "SCMP_ARCH_PPC", SCMP_ARCH_PPC },
	{ "SCMP_ARCH_PPC64", SCMP_ARCH_PPC64 },
	{ "SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE },
	{ "SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64 },
	{ "SCMP_ARCH_S390", SCMP_ARCH_S390 },
	{ "SCMP_ARCH_S390X", SCMP_ARCH_S390X },
	{ "SCMP_ARCH_SH", SCMP_ARCH_SH },
	{ "SCMP_ARCH_SHEB", SCMP_ARCH_SHEB },
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
};
static const struct oci_word flags[] = {
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV },
};

const struct oci_word *oci_seccomp_word(enum oci_seccomp_words list, size_t i)
{
	static const struct {
		const struct oci_word *v;
		size_t n;
	} lists[] = {
		[OCI_SECCOMP_ACTIONS] = { actions, HK_ARRAY_SIZE(actions) },
		[OCI_SECCOMP_OPERATORS] = { operators, HK_ARRAY_SIZE(operators) },
		[OCI_SECCOMP_ARCHS] = { archs, HK_ARRAY_SIZE(archs) },
		[OCI_SECCOMP_FLAGS] = { flags, HK_ARRAY_SIZE(flags) },
	};

	return i < lists[list].n ? &lists[list].v[i] : NULL;
}

/* Action word plus optional errno into one value; ERRNO and TRACE without a number give EPERM. */
static int fold_action(
    const struct oci_dec *d, const struct oci_json *word, const struct oci_json *number, uint32_t *ret)
{
	uint64_t action, value = EPERM;
	bool is_errno, is_trace;
	int r = oci_dec_word(d, word, actions, HK_ARRAY_SIZE(actions), &action);

	if (r < 0)
		return r;
	is_errno = action == SCMP_ACT_ERRNO(0);
	is_trace = action == SCMP_ACT_TRACE(0);
	if (!is_errno && !is_trace) {
		if (number)
			return oci_json_fail(number, d->err, "action %.*s takes no errno", (int)word->n, word->text);
		*ret = (uint32_t)action;
		return 0;
	}
	if (number) {
		r = oci_dec_u64_in(d, number, is_errno ? MAX_ERRNO : MAX_TRACE, &value);
		if (r < 0)
			return r;
	}
	*ret = is_errno ? SCMP_ACT_ERRNO((uint32_t)value) : SCMP_ACT_TRACE((uint32_t)value);
	return 0;
}

static int parse_op(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t op;
	int r = oci_dec_word(d, v, operators, HK_ARRAY_SIZE(operators), &op);

	if (r == 0)
		*(int *)dst = (int)op;
	return r;
}

static int parse_index(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t n;
	int r = oci_dec_u64_in(d, v, 5, &n); /* a system call has six arguments */

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)n;
	return r;
}

static int parse_arg(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_seccomp_arg, index, "index", parse_index),
		OCI_FIELD_REQ(struct oci_seccomp_arg, value, "value", oci_dec_u64),
		OCI_FIELD(struct oci_seccomp_arg, value_two, "valueTwo", oci_dec_u64),
		OCI_FIELD_REQ(struct oci_seccomp_arg, op, "op", parse_op),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_args(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_seccomp_rule *rule = dst;

	return oci_dec_array(d, v, parse_arg, sizeof(*rule->args), (void **)&rule->args, &rule->n_args);
}

static int parse_names(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = oci_dec_strv(d, v, dst);

	if (r == 0 && v->n == 0)
		return oci_json_fail(v, d->err, "must name at least one system call");
	return r;
}

static int parse_rule(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_seccomp_rule, names, "names", parse_names),
		OCI_FIELD_SELF("args", parse_args),
	};
	struct oci_seccomp_rule *rule = dst;
	const struct oci_json *action;
	int r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), rule);

	if (r < 0)
		return r;
	action = oci_json_get(v, "action");
	if (!action)
		return oci_json_fail_missing(v, "action", d->err);
	return fold_action(d, action, oci_json_get(v, "errnoRet"), &rule->action);
}

static int parse_rules(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_seccomp *s = dst;

	return oci_dec_array(d, v, parse_rule, sizeof(*s->rules), (void **)&s->rules, &s->n_rules);
}

static bool has_arch(const struct oci_seccomp *s, uint32_t arch)
{
	for (size_t i = 0; i < s->n_archs; i++) {
		if (s->archs[i] == arch)
			return true;
	}
	return false;
}

static int parse_archs(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_seccomp *s = dst;
	uint64_t arch;
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	if (r < 0)
		return r;
	s->archs = hk_arena_array(d->arena, HK_ARRAY_SIZE(archs), sizeof(*s->archs));
	if (!s->archs)
		return oci_dec_no_memory(d);
	for (const struct oci_json *e = v->first; e; e = e->next) {
		r = oci_dec_word(d, e, archs, HK_ARRAY_SIZE(archs), &arch);
		if (r < 0)
			return r;
		if (arch != 0 && !has_arch(s, (uint32_t)arch))
			s->archs[s->n_archs++] = (uint32_t)arch;
	}
	return 0;
}

/* TSYNC speaks to other threads, and the process that loads the filter has one. */
static int parse_flags(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_seccomp *s = dst;
	uint64_t set;
	int r = oci_dec_flags(d, v, flags, HK_ARRAY_SIZE(flags), &set);

	if (r < 0)
		return r;
	s->has_flags = true;
	s->flags = (uint32_t)(set & ~(uint64_t)SECCOMP_FILTER_FLAG_TSYNC);
	return 0;
}

int oci_parse_seccomp(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_SELF("architectures", parse_archs),
		OCI_FIELD_SELF("flags", parse_flags),
		OCI_FIELD_SELF("syscalls", parse_rules),
		OCI_FIELD(struct oci_seccomp, listener_path, "listenerPath", oci_dec_opt_str),
		OCI_FIELD(struct oci_seccomp, listener_metadata, "listenerMetadata", oci_dec_opt_str),
	};
	struct oci_seccomp *s = dst;
	const struct oci_json *action;
	int r;

	s->is_set = true;
	/* Without the member, as runc and crun do; an empty list means none. The kernel's own default since 5.16. */
	s->flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), s);
	if (r < 0)
		return r;
	action = oci_json_get(v, "defaultAction");
	if (!action)
		return oci_json_fail_missing(v, "defaultAction", d->err);
	return fold_action(d, action, oci_json_get(v, "defaultErrnoRet"), &s->default_action);
}
