/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cgroup_bpf.c — the device filter is run by a small interpreter and compared with a plain reading of the rules: for each access bit
 * the last matching rule decides. That the kernel takes the program is test_root_cgroup.c's part.
 */
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/cgroup_bpf.h"
#include "oci/cgroup_calc.h"

enum { M = BPF_DEVCG_ACC_MKNOD, R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE };

static uint64_t load_ctx(const struct bpf_cgroup_dev_ctx *ctx, int16_t off)
{
	uint32_t v;

	assert_true(off >= 0 && (size_t)off + sizeof(v) <= sizeof(*ctx));
	memcpy(&v, (const char *)ctx + off, sizeof(v));
	return v;
}

/* Knows the instructions the generator may use and refuses all others, jumps backwards and jumps out of the program. */
static int run(const struct bpf_insn *p, size_t n, const struct bpf_cgroup_dev_ctx *ctx)
{
	uint64_t reg[11] = { 0 };

	for (size_t pc = 0; pc < n; pc++) {
		const struct bpf_insn *i = &p[pc];
		uint64_t imm = (uint32_t)i->imm;
		bool jump = false;

		switch (i->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_int_equal(i->src_reg, BPF_REG_1);
			reg[i->dst_reg] = load_ctx(ctx, i->off);
			break;
		case BPF_ALU | BPF_MOV | BPF_X:
			reg[i->dst_reg] = (uint32_t)reg[i->src_reg];
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			reg[i->dst_reg] = (uint32_t)reg[i->dst_reg] & imm;
			break;
		case BPF_ALU | BPF_RSH | BPF_K:
			reg[i->dst_reg] = (uint32_t)reg[i->dst_reg] >> imm;
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			reg[i->dst_reg] = (uint64_t)(int64_t)i->imm;
			break;
		case BPF_JMP32 | BPF_JNE | BPF_K:
			jump = (uint32_t)reg[i->dst_reg] != imm;
			break;
		case BPF_JMP32 | BPF_JEQ | BPF_K:
			jump = (uint32_t)reg[i->dst_reg] == imm;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)reg[0];
		default:
			fail_msg("unexpected instruction 0x%x at %zu", i->code, pc);
		}
		if (jump) {
			assert_true(i->off > 0);
			pc += (size_t)i->off;
		}
	}
	fail_msg("the program ran past its end");
	return -1;
}

static bool covers(const struct oci_dev_rule *r, char type, int64_t major, int64_t minor, int bit)
{
	int bits = (r->mknod ? M : 0) | (r->read ? R : 0) | (r->write ? W : 0);

	return (r->type == 'a' || r->type == type) && (r->major < 0 || r->major == major) && (r->minor < 0 || r->minor == minor) &&
	    (bits & bit) != 0;
}

static int by_reading(const struct oci_dev_rule *v, size_t n, char type, int64_t major, int64_t minor, int access)
{
	for (int bit = 1; bit <= 4; bit <<= 1) {
		bool is_allowed = false;

		if (!(access & bit))
			continue;
		for (size_t i = 0; i < n; i++) {
			if (covers(&v[i], type, major, minor, bit))
				is_allowed = v[i].allow;
		}
		if (!is_allowed)
			return 0;
	}
	return 1;
}

static int ask(const struct bpf_insn *p, size_t n, char type, uint32_t major, uint32_t minor, int access)
{
	struct bpf_cgroup_dev_ctx ctx = {
		.access_type = (uint32_t)access << 16 | (type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
		.major = major,
		.minor = minor,
	};

	return run(p, n, &ctx);
}

static void compare_all(const struct oci_dev_rule *v, size_t n)
{
	static const uint32_t numbers[] = { 0, 1, 3, 8, 10, 136, 200, 229, 0x7fffffff, 0x80000000, 0xffffffff };
	hk_autofree struct bpf_insn *p = NULL;
	size_t len = 0;

	assert_int_equal(cg_bpf_generate(v, n, &p, &len), 0);
	for (size_t t = 0; t < 2; t++) {
		for (size_t a = 0; a < HK_ARRAY_SIZE(numbers); a++) {
			for (size_t b = 0; b < HK_ARRAY_SIZE(numbers); b++) {
				for (int access = 1; access < 8; access++) {
					char type = "bc"[t];

					if (ask(p, len, type, numbers[a], numbers[b], access) !=
					    by_reading(v, n, type, numbers[a], numbers[b], access))
						fail_msg("%c %u:%u access %d differs", type, numbers[a], numbers[b], access);
				}
			}
		}
	}
}

#define RULE(yes, t, ma, mi, bits)                                                                                            \
	{ .allow = (yes), .type = (t), .major = (ma), .minor = (mi), .read = ((bits)&R) != 0, .write = ((bits)&W) != 0,       \
		.mknod = ((bits)&M) != 0 }

static void test_by_hand(void **state)
{
	const struct oci_dev_rule v[] = {
		RULE(false, 'a', -1, -1, R | W | M),
		RULE(true, 'c', 1, 3, R | W | M),
		RULE(true, 'c', 10, -1, R | W),
		RULE(false, 'c', 10, 229, W),
		RULE(true, 'c', -1, -1, M),
	};
	hk_autofree struct bpf_insn *p = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(cg_bpf_generate(v, HK_ARRAY_SIZE(v), &p, &n), 0);
	assert_int_equal(ask(p, n, 'c', 1, 3, R | W), 1);
	assert_int_equal(ask(p, n, 'b', 1, 3, R), 0);
	assert_int_equal(ask(p, n, 'c', 10, 229, R), 1);
	assert_int_equal(ask(p, n, 'c', 10, 229, W), 0);
	assert_int_equal(ask(p, n, 'c', 10, 229, R | W), 0); /* part of what is asked is denied */
	assert_int_equal(ask(p, n, 'c', 10, 200, R | W | M), 1); /* granted by two rules together */
	assert_int_equal(ask(p, n, 'c', 8, 0, M), 1);
	assert_int_equal(ask(p, n, 'c', 8, 0, M | R), 0);
	compare_all(v, HK_ARRAY_SIZE(v));
}

static void test_ends(void **state)
{
	const struct oci_dev_rule all[] = { RULE(true, 'c', 1, 3, R), RULE(true, 'a', -1, -1, R | W | M) };
	const struct oci_dev_rule none[] = { RULE(true, 'a', -1, -1, R | W | M), RULE(false, 'a', -1, -1, R | W | M) };
	hk_autofree struct bpf_insn *p = NULL, *q = NULL, *e = NULL;
	size_t n = 0, n_all = 0;

	(void)state;
	assert_int_equal(cg_bpf_generate(all, 2, &p, &n_all), 0);
	assert_int_equal(ask(p, n_all, 'b', 8, 0, R | W | M), 1);
	assert_int_equal(cg_bpf_generate(none, 2, &q, &n), 0);
	assert_int_equal(n, n_all); /* what stands before a rule for everything is not in the program: it could not be reached */
	assert_int_equal(ask(q, n, 'c', 1, 3, R), 0);
	assert_int_equal(cg_bpf_generate(NULL, 0, &e, &n), 0);
	assert_int_equal(ask(e, n, 'c', 1, 3, R), 0); /* no rule: denied */
}

static void test_defaults(void **state)
{
	struct oci_dev_rule *v = NULL;
	size_t n = 0, bad = 0;

	(void)state;
	assert_int_equal(cg_device_rules(NULL, 0, &v, &n, &bad), 0);
	compare_all(v, n);
	free(v);
}

static void test_random(void **state)
{
	static const int64_t numbers[] = { -1, 0, 1, 3, 8, 10, 136, 200, 229, 0x80000000LL, 0xffffffffLL };
	struct oci_dev_rule v[12];
	uint32_t seed = 12345;

	(void)state;
	for (int round = 0; round < 300; round++) {
		size_t n;

		seed = seed * 1664525 + 1013904223;
		n = (seed >> 8) % (HK_ARRAY_SIZE(v) + 1);
		for (size_t i = 0; i < n; i++) {
			uint32_t x = seed = seed * 1664525 + 1013904223;
			int bits = 1 + (int)(x >> 10) % 7;

			v[i] = (struct oci_dev_rule)RULE((x >> 9) & 1, "abc"[(x >> 14) % 3], numbers[(x >> 17) % HK_ARRAY_SIZE(numbers)],
			    numbers[(x >> 23) % HK_ARRAY_SIZE(numbers)], bits);
		}
		compare_all(v, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
