/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_seccomp.c — linux.seccomp to a BPF program, which must be one that the kernel's checker would take: seccomp(2), bpf_check_classic. */
#include "oci/seccomp.h"

#include <linux/filter.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/parse.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_NAMES = 64, MAX_RULES = 24, SECCOMP_DATA_BYTES = 64 };

static void check_program(const struct oci_bpf *bpf)
{
	FUZZ_CHECK(bpf->insns && bpf->n > 0 && bpf->n <= OCI_BPF_MAX);
	for (size_t i = 0; i < bpf->n; i++) {
		const struct sock_filter *f = &bpf->insns[i];

		if (f->code == (BPF_JMP | BPF_JA))
			FUZZ_CHECK(f->k < bpf->n - i - 1);
		else if (BPF_CLASS(f->code) == BPF_JMP)
			FUZZ_CHECK(i + 1 + f->jt < bpf->n && i + 1 + f->jf < bpf->n);
		else if (f->code == (BPF_LD | BPF_W | BPF_ABS))
			FUZZ_CHECK(f->k % 4 == 0 && f->k < SECCOMP_DATA_BYTES);
	}
	FUZZ_CHECK(BPF_CLASS(bpf->insns[bpf->n - 1].code) == BPF_RET);
}

/* libseccomp's time grows with the product of rules, names and architectures: the fuzzer shall not look for that. */
static bool is_small(const struct oci_seccomp *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_rules; i++)
		n += s->rules[i].names.n;
	return n <= MAX_NAMES && s->n_rules <= MAX_RULES && s->n_archs <= 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct oci_json_opts opts = { .root_name = "linux.seccomp" };
	struct hk_arena arena = { 0 };
	struct oci_seccomp s = { 0 };
	struct oci_bpf bpf = { 0 };
	struct hk_err err = { 0 };
	int r = oci_parse_document((const char *)data, size, &opts, &arena, oci_parse_seccomp, &s, &err);

	if (r == 0)
		r = oci_seccomp_check(&s, &err);
	if (r == 0 && is_small(&s))
		r = oci_seccomp_build(&s, &bpf, &err);
	if (r < 0)
		fuzz_check_err(r, &err);
	else if (bpf.insns)
		check_program(&bpf);
	free(bpf.insns);
	(void)oci_seccomp_flags(&s);
	hk_arena_done(&arena);
	return 0;
}
