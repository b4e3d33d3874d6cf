/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup_calc.c — the formulas between config.json and cgroup files, against the values runc's and crun's published formulas give. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/cgroup_calc.h"

static void test_cpu_weight(void **state)
{
	static const struct {
		uint64_t shares, weight;
	} rows[] = {
		{ 0, 0 }, { 1, 1 }, { 2, 1 }, { 3, 2 }, { 10, 4 }, { 100, 17 }, { 128, 21 }, { 256, 35 }, { 512, 59 }, { 1023, 100 },
		{ 1024, 100 }, { 1025, 101 }, { 2048, 174 }, { 4096, 303 }, { 8192, 532 }, { 10240, 639 }, { 65536, 3023 },
		{ 262143, 10000 }, { 262144, 10000 }, { 262145, 10000 }, { UINT64_MAX, 10000 },
	};
	uint64_t last = 0;

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		if (cg_cpu_weight(rows[i].shares) != rows[i].weight)
			fail_msg("%llu shares give %llu, wanted %llu", (unsigned long long)rows[i].shares,
			    (unsigned long long)cg_cpu_weight(rows[i].shares), (unsigned long long)rows[i].weight);
	}
	for (uint64_t s = 1; s <= 262144; s++) { /* more shares are never less weight, and all are in the kernel's range */
		uint64_t w = cg_cpu_weight(s);

		assert_true(w >= last && w >= 1 && w <= 10000);
		last = w;
	}
}

static void test_io_weight(void **state)
{
	(void)state;
	assert_int_equal(cg_io_weight(0), 0);
	assert_int_equal(cg_io_weight(10), 1);
	assert_int_equal(cg_io_weight(100), 910);
	assert_int_equal(cg_io_weight(500), 4950);
	assert_int_equal(cg_io_weight(1000), 10000);
	assert_int_equal(cg_io_weight(5000), 10000);
}

static void test_cpu_max(void **state)
{
	static const struct {
		struct oci_opt_i64 quota;
		struct oci_opt_u64 period;
		const char *current, *wanted;
	} rows[] = {
		{ { true, 50000 }, { true, 100000 }, NULL, "50000 100000" },
		{ { true, 50000 }, { true, 0 }, NULL, "50000 100000" },
		{ { true, 50000 }, { false, 0 }, "max 20000", "50000" }, /* the period in force stays */
		{ { true, -1 }, { true, 20000 }, NULL, "max 20000" },
		{ { true, 0 }, { false, 0 }, NULL, "max" },
		{ { false, 0 }, { true, 20000 }, "50000 100000", "50000 20000" }, /* the quota in force stays */
		{ { false, 0 }, { true, 20000 }, "max 100000\n", "max 20000" },
		{ { false, 0 }, { true, 20000 }, NULL, "max 20000" },
		{ { true, INT64_MAX }, { true, UINT64_MAX }, NULL, "9223372036854775807 18446744073709551615" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		char buf[CG_NUM_MAX];

		assert_int_equal(cg_cpu_max(&rows[i].quota, &rows[i].period, rows[i].current, buf), 0);
		assert_string_equal(buf, rows[i].wanted);
	}
}

static void test_swap(void **state)
{
	static const struct {
		struct oci_opt_i64 limit, swap;
		enum cg_swap kind;
		int64_t value;
	} rows[] = {
		{ { false, 0 }, { false, 0 }, CG_SWAP_UNSET, 0 },
		{ { true, 1000 }, { false, 0 }, CG_SWAP_UNSET, 0 },
		{ { true, 1000 }, { true, 0 }, CG_SWAP_UNSET, 0 },
		{ { true, 1000 }, { true, 1000 }, CG_SWAP_SET, 0 }, /* CRI's "no swap" */
		{ { true, 1000 }, { true, 3000 }, CG_SWAP_SET, 2000 },
		{ { true, 1000 }, { true, -1 }, CG_SWAP_SET, -1 },
		{ { false, 0 }, { true, -1 }, CG_SWAP_SET, -1 },
		{ { true, -1 }, { false, 0 }, CG_SWAP_SET, -1 },
		{ { true, -1 }, { true, 0 }, CG_SWAP_SET, -1 },
		{ { true, -1 }, { true, 3000 }, CG_SWAP_SET, 3000 },
		{ { false, 0 }, { true, 3000 }, CG_SWAP_NO_LIMIT, 0 },
		{ { true, 0 }, { true, 3000 }, CG_SWAP_NO_LIMIT, 0 },
		{ { true, 3000 }, { true, 2999 }, CG_SWAP_BELOW_LIMIT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		int64_t v = 0;

		assert_int_equal(cg_swap_max(&rows[i].limit, &rows[i].swap, &v), rows[i].kind);
		assert_int_equal(v, rows[i].value);
	}
}

static void test_lines(void **state)
{
	const struct oci_dev_rate rate = { .major = 8, .minor = 16, .rate = 1048576 }, none = { .major = 8, .minor = 0 };
	const struct oci_rdma both = { .device = "mlx5_1", .has_handles = true, .handles = 3, .has_objects = true, .objects = 7 };
	const struct oci_rdma one = { .device = "mlx4_0", .has_objects = true, .objects = 0 };
	char buf[96];

	(void)state;
	assert_int_equal(cg_io_max_line(&rate, "rbps", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "8:16 rbps=1048576");
	assert_int_equal(cg_io_max_line(&none, "wiops", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "8:0 wiops=max");
	assert_int_equal(cg_dev_line(&none, 0, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "8:0 0");
	assert_int_equal(cg_rdma_line(&both, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "mlx5_1 hca_handle=3 hca_object=7");
	assert_int_equal(cg_rdma_line(&one, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "mlx4_0 hca_object=0");
	assert_true(cg_rdma_line(&both, buf, 8) < 0);
	cg_limit_text(-1, buf);
	assert_string_equal(buf, "max");
	cg_limit_text(0, buf);
	assert_string_equal(buf, "0");
}

static void test_hugetlb(void **state)
{
	static const char *const bad[] = { "", "MB", "2", "2M", "2MBB", "2mb", "-2MB", "2MB/../x", "../2MB", "2 MB", "99999999999MB" };
	char buf[96];

	(void)state;
	assert_int_equal(cg_hugetlb_file("2MB", "max", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "hugetlb.2MB.max");
	assert_int_equal(cg_hugetlb_file("64KB", "rsvd.max", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "hugetlb.64KB.rsvd.max");
	assert_int_equal(cg_hugetlb_file(NULL, "max", buf, sizeof(buf)), -EINVAL);
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++)
		assert_int_equal(cg_hugetlb_file(bad[i], "max", buf, sizeof(buf)), -EINVAL);
	assert_int_equal(cg_hugetlb_name(64, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "64KB");
	assert_int_equal(cg_hugetlb_name(2048, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "2MB");
	assert_int_equal(cg_hugetlb_name(1048576, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "1GB");
}

#define RULE(yes, t, ma, mi, r, w, m) { .allow = (yes), .type = (t), .major = (ma), .minor = (mi), .read = (r), .write = (w), .mknod = (m) }
#define DENY_ALL RULE(false, 'a', -1, -1, true, true, true)
#define ALLOW_ALL RULE(true, 'a', -1, -1, true, true, true)

static void test_device_rules(void **state)
{
	const struct oci_dev_rule typical[] = { DENY_ALL, RULE(true, 'c', 10, 229, true, true, false) };
	const struct oci_dev_rule privileged[] = { DENY_ALL, RULE(true, 'c', 1, 3, true, true, true), ALLOW_ALL };
	const struct oci_dev_rule partly[] = { ALLOW_ALL, RULE(false, 'c', 10, 229, true, true, true) };
	const struct oci_dev_rule bad[] = { DENY_ALL, RULE(true, 'x', 1, 3, true, true, true) };
	const struct oci_dev_rule no_access[] = { RULE(true, 'c', 1, 3, false, false, false) };
	const struct oci_dev_rule huge[] = { RULE(true, 'c', 1LL << 32, 3, true, false, false) };
	struct oci_dev_rule *v = NULL;
	size_t n = 0, where = 99, n_default;

	(void)state;
	assert_int_equal(cg_device_rules(NULL, 0, &v, &n_default, &where), 0); /* no list: nothing but the defaults */
	assert_true(cg_device_is_all(&v[0]) && !v[0].allow);
	free(v);
	assert_int_equal(cg_device_rules(typical, 2, &v, &n, &where), 0);
	assert_int_equal(n, n_default + 1);
	assert_true(cg_device_is_all(&v[0]) && !v[0].allow);
	assert_int_equal(v[1].minor, 229); /* the spec's rules, then the defaults */
	assert_true(v[n - 1].allow && v[n - 1].major == 10 && v[n - 1].minor == 200);
	free(v);
	assert_int_equal(cg_device_rules(privileged, 3, &v, &n, &where), 0);
	assert_int_equal(n, 1);
	assert_true(v[0].allow);
	free(v);
	assert_int_equal(cg_device_rules(partly, 2, &v, &n, &where), 0);
	assert_true(v[0].allow && !v[1].allow && n == n_default + 1);
	free(v);
	assert_int_equal(cg_device_rules(bad, 2, &v, &n, &where), -EINVAL);
	assert_int_equal(where, 1);
	assert_int_equal(cg_device_rules(no_access, 1, &v, &n, &where), -EINVAL);
	assert_int_equal(cg_device_rules(huge, 1, &v, &n, &where), -EINVAL);
}

static void test_device_lines(void **state)
{
	const struct oci_dev_rule one = RULE(true, 'c', 1, 3, true, true, true), any = RULE(true, 'a', -1, -1, false, false, true);
	char buf[96];

	(void)state;
	assert_int_equal(cg_device_line(&one, 'c', buf, sizeof(buf)), 0);
	assert_string_equal(buf, "c 1:3 rwm");
	assert_int_equal(cg_device_line(&any, 'b', buf, sizeof(buf)), 0);
	assert_string_equal(buf, "b *:* m");
	assert_int_equal(cg_device_line(&any, 'a', buf, sizeof(buf)), 0);
	assert_string_equal(buf, "a");
}

static void test_v1_conflict(void **state)
{
	const struct oci_dev_rule void_deny[] = { DENY_ALL, RULE(true, 'c', 10, -1, true, true, true), RULE(false, 'c', 10, 229, true, true, true) };
	const struct oci_dev_rule exact[] = { DENY_ALL, RULE(true, 'c', 10, 229, true, true, true), RULE(false, 'c', 10, 229, false, true, false) };
	const struct oci_dev_rule apart[] = { DENY_ALL, RULE(true, 'c', 10, -1, true, false, false), RULE(false, 'c', 10, 229, false, true, false) };
	const struct oci_dev_rule from_all[] = { ALLOW_ALL, RULE(false, 'c', 10, 229, true, true, true), RULE(true, 'c', -1, -1, false, false, true) };

	(void)state;
	assert_int_equal(cg_device_v1_conflict(void_deny, 3), 2);
	assert_int_equal(cg_device_v1_conflict(exact, 3), -1);
	assert_int_equal(cg_device_v1_conflict(apart, 3), -1);
	assert_int_equal(cg_device_v1_conflict(from_all, 3), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_weight),
		cmocka_unit_test(test_io_weight),
		cmocka_unit_test(test_cpu_max),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_hugetlb),
		cmocka_unit_test(test_device_rules),
		cmocka_unit_test(test_device_lines),
		cmocka_unit_test(test_v1_conflict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
