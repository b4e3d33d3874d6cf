/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup_unit.c — the systemd driver without a bus: names, places, properties as data. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/cgroup_unit.h"
#include "oci/spec.h"

static void test_forms(void **state)
{
	(void)state;
	assert_true(cg_is_unit_form("system.slice:cri:a"));
	assert_true(cg_is_unit_form("::a"));
	assert_false(cg_is_unit_form("/a:b:c"));
	assert_false(cg_is_unit_form("a:b"));
	assert_false(cg_is_unit_form("a:b:c:d"));
	assert_false(cg_is_unit_form(""));
}

static void test_slices(void **state)
{
	static const struct {
		const char *slice, *path; /* NULL: none */
	} rows[] = {
		{ "-.slice", "" },
		{ "a.slice", "/a.slice" },
		{ "a-b.slice", "/a.slice/a-b.slice" },
		{ "kubepods-burstable-pod1_2.slice",
		    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice" },
		{ "", NULL },
		{ ".slice", NULL },
		{ "a", NULL },
		{ "a.scope", NULL },
		{ "-a.slice", NULL },
		{ "a-.slice", NULL },
		{ "a--b.slice", NULL },
		{ "a/b.slice", NULL },
		{ "../a.slice", NULL },
		{ "a.b.slice", NULL },
		{ "a b.slice", NULL },
	};
	char buf[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		if (cg_slice_path(rows[i].slice, buf) < 0) {
			if (rows[i].path)
				fail_msg("%s is a slice", rows[i].slice);
			continue;
		}
		if (!rows[i].path)
			fail_msg("%s is no slice", rows[i].slice);
		assert_string_equal(buf, rows[i].path);
	}
}

static void test_units(void **state)
{
	static const struct {
		const char *given, *name, *slice, *path;
	} rows[] = {
		{ "system.slice:cri-containerd:a1", "cri-containerd-a1.scope", "system.slice",
		    "/system.slice/cri-containerd-a1.scope" },
		{ ":husk:a1", "husk-a1.scope", "system.slice", "/system.slice/husk-a1.scope" },
		{ "-:husk:a1", "husk-a1.scope", "-.slice", "/husk-a1.scope" },
		{ "a-b.slice:p:n", "p-n.scope", "a-b.slice", "/a.slice/a-b.slice/p-n.scope" },
		{ "a.slice::n", "n.scope", "a.slice", "/a.slice/n.scope" },
		{ "a.slice:p:a-b.slice", "a-b.slice", "a.slice", "/a.slice/a-b.slice" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct cg_unit u = { 0 };
		struct hk_err err = { 0 };
		char *path = NULL;

		if (cg_unit_parse(rows[i].given, &u, &path, &err) < 0)
			fail_msg("%s: %s", rows[i].given, err.text);
		assert_string_equal(u.name, rows[i].name);
		assert_string_equal(u.slice, rows[i].slice);
		assert_string_equal(path, rows[i].path);
		assert_true(cg_is_unit_path(path));
		free(path);
		cg_unit_done(&u);
	}
}

static void test_bad_units(void **state)
{
	static const struct {
		const char *given, *text;
	} rows[] = {
		{ "system.slice:husk:", "no name" },
		{ "::", "no name" },
		{ "system:husk:a", "no slice" },
		{ "a--b.slice:husk:a", "no slice" },
		{ "a/b.slice:husk:a", "no slice" },
		{ "../x.slice:husk:a", "no slice" },
		{ "system.slice:husk:../../x", "unit name" },
		{ "system.slice:hu sk:a", "unit name" },
		{ "system.slice:husk:a\nb", "unit name" },
		{ "a.slice::a--b.slice", "no slice" },
		{ "a.slice::-.slice", "no slice" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct cg_unit u = { 0 };
		struct hk_err err = { 0 };
		char *path = NULL;

		assert_int_equal(cg_unit_parse(rows[i].given, &u, &path, &err), -EINVAL);
		assert_null(path);
		assert_null(u.name);
		assert_int_equal(err.kind, HK_INVALID);
		if (!strstr(err.text, rows[i].text))
			fail_msg("%s: %s", rows[i].given, err.text);
	}
}

/* What `delete` may ask systemd to stop after a crash. */
static void test_unit_paths(void **state)
{
	static const char *const no[] = { "/husk/a1", "/a.scope/b", "/b.slice/x.scope/inner", "/a.slice/a.scope/b.scope", "/b.slice/a-b.slice", "/system.slice/containerd.service",
		"/a-b.slice/x.scope", "x.scope", "", "/" };

	(void)state;
	assert_true(cg_is_unit_path("/x.scope"));
	assert_true(cg_is_unit_path("/a.slice/a-b.slice/x.scope"));
	assert_true(cg_is_unit_path("/a.slice/a-b.slice"));
	for (size_t i = 0; i < HK_ARRAY_SIZE(no); i++)
		if (cg_is_unit_path(no[i]))
			fail_msg("%s is no unit's", no[i]);
}

/* All properties in one string. */
static void expect(const struct cg_props *p, const char *wanted)
{
	char all[4096] = "";
	size_t len = 0;

	for (size_t i = 0; i < p->n; i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i ? "; " : "", p->v[i]);
	assert_string_equal(all, wanted);
}

static void test_unit_properties(void **state)
{
	char scope[] = "husk-a.scope", slice[] = "a-b.slice", home[] = "a.slice";
	struct cg_unit u = { .name = scope, .slice = home };
	struct cg_props p = { 0 };
	struct hk_err err;

	(void)state;
	assert_int_equal(cg_props_unit(&p, &u, "a", 4711, &err), 0);
	expect(&p, "Description s husk container a; Slice s a.slice; Delegate b true; PIDs au 4711; MemoryAccounting b true; "
		   "CPUAccounting b true; IOAccounting b true; TasksAccounting b true; DefaultDependencies b false; "
		   "CollectMode@236 s inactive-or-failed");
	cg_props_done(&p);
	u.name = slice; /* a slice takes neither processes nor delegation */
	assert_int_equal(cg_props_unit(&p, &u, "a", 4711, &err), 0);
	expect(&p, "Description s husk container a; Wants as a.slice; MemoryAccounting b true; CPUAccounting b true; "
		   "IOAccounting b true; TasksAccounting b true; DefaultDependencies b false; CollectMode@236 s inactive-or-failed");
	cg_props_done(&p);
}

/* The resources of a JSON text as properties, after settling against `current`. */
static void expect_resources(const char *json, bool has_bfq, const char *current, const char *wanted)
{
	struct hk_arena arena = { .limit_bytes = 1 << 20 };
	struct oci_resources r = { 0 };
	struct cg_props p = { 0 };
	struct hk_err err = { 0 };

	if (oci_resources_parse(json, strlen(json), &arena, &r, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	cg_unit_settle_cpu(&r, current);
	if (cg_props_resources(&p, &r, has_bfq, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	expect(&p, wanted);
	cg_props_done(&p);
	hk_arena_done(&arena);
}

/* Names and types as in org.freedesktop.systemd1(5) of 252, values as runc sends them on v1. */
static void test_resources_v1(void **state)
{
	struct oci_dev_rule rules[] = {
		{ .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true },
		{ .allow = true, .type = 'c', .major = 10, .minor = 229, .read = true, .write = true },
		{ .allow = true, .type = 'b', .major = 8, .minor = -1, .read = true },
		{ .allow = true, .type = 'a', .major = -1, .minor = -1, .mknod = true },
	};
	struct oci_resources r = { .memory.limit = { .is_set = true, .v = 1 << 20 }, .cpu.shares = { .is_set = true, .v = 1 },
		.cpu.quota = { .is_set = true, .v = 33333 }, .block_io.weight = { .is_set = true, .v = 500 },
		.pids_limit = { .is_set = true, .v = -1 }, .devices = rules, .n_devices = 4 };
	struct cg_props p = { 0 };
	struct hk_err err = { 0 };

	(void)state;
	cg_unit_settle_cpu(&r, "max 50000");
	assert_int_equal(cg_props_resources_v1(&p, &r, &err), 0);
	expect(&p, "MemoryLimit t 1048576; CPUShares t 2; CPUQuotaPeriodUSec@242 t 50000; CPUQuotaPerSecUSec t 670000; "
		   "BlockIOWeight t 500; TasksMax t 18446744073709551615");
	cg_props_done(&p);
	assert_int_equal(cg_props_devices_v1(&p, &r, &err), 0);
	assert_int_equal(p.n, 2);
	assert_string_equal(p.v[0], "DevicePolicy s strict");
	/* The spec's rules in order, then what every container has. */
	assert_true(strncmp(p.v[1], "DeviceAllow a(ss) /dev/char/10:229 rw block-8 r char-* m block-* m ", 67) == 0);
	assert_non_null(strstr(p.v[1], " /dev/char/1:3 rwm"));
	assert_non_null(strstr(p.v[1], " char-136 rwm"));
	cg_props_done(&p);
	rules[0].allow = true;
	r.n_devices = 1;
	assert_int_equal(cg_props_devices_v1(&p, &r, &err), 0);
	expect(&p, "DevicePolicy s auto");
	cg_props_done(&p);
}

static void test_resources(void **state)
{
	(void)state;
	expect_resources("{}", false, NULL, "");
	expect_resources("{\"memory\":{\"limit\":1000,\"reservation\":500,\"swap\":1500}}", false, NULL,
	    "MemoryMax t 1000; MemoryLow t 500; MemorySwapMax t 500");
	expect_resources("{\"memory\":{\"limit\":-1}}", false, NULL, "MemoryMax t 18446744073709551615; MemorySwapMax t 18446744073709551615");
	expect_resources("{\"pids\":{\"limit\":0}}", false, NULL, "TasksMax t 1");
	expect_resources("{\"pids\":{\"limit\":-1}}", false, NULL, "TasksMax t 18446744073709551615");
	expect_resources("{\"cpu\":{\"shares\":1024}}", false, NULL, "CPUWeight t 100");
	expect_resources("{\"cpu\":{\"shares\":1024,\"idle\":1}}", false, NULL, "CPUWeight@252 t 0");
	expect_resources("{\"cpu\":{\"cpus\":\"0-2,8\",\"mems\":\"1\"}}", false, NULL, "AllowedCPUs@244 ay 0701; AllowedMemoryNodes@244 ay 02");
	expect_resources("{\"blockIO\":{\"weight\":500}}", false, NULL, "IOWeight t 4950");
	expect_resources("{\"blockIO\":{\"weight\":500}}", true, NULL, "IOWeight t 4500"); /* of which systemd makes 500 for bfq again */
	expect_resources("{\"blockIO\":{\"weight\":50}}", true, NULL, "IOWeight t 50");
}

static void test_quota(void **state)
{
	(void)state;
	expect_resources("{\"cpu\":{\"quota\":50000,\"period\":100000}}", false, NULL, "CPUQuotaPeriodUSec@242 t 100000; CPUQuotaPerSecUSec t 500000");
	expect_resources("{\"cpu\":{\"quota\":33333}}", false, NULL, "CPUQuotaPeriodUSec@242 t 100000; CPUQuotaPerSecUSec t 340000");
	expect_resources("{\"cpu\":{\"quota\":-1}}", false, "50000 20000",
	    "CPUQuotaPeriodUSec@242 t 20000; CPUQuotaPerSecUSec t 18446744073709551615");
	expect_resources("{\"cpu\":{\"period\":50000}}", false, "5000 10000", "CPUQuotaPeriodUSec@242 t 50000; CPUQuotaPerSecUSec t 100000");
	expect_resources("{\"cpu\":{\"period\":50000}}", false, "max 10000",
	    "CPUQuotaPeriodUSec@242 t 50000; CPUQuotaPerSecUSec t 18446744073709551615");
	expect_resources("{\"cpu\":{\"quota\":9223372036854775807}}", false, NULL,
	    "CPUQuotaPeriodUSec@242 t 100000; CPUQuotaPerSecUSec t 18446744073709551615");
}

/* The file is written with what systemd makes of the property: quota per second * period, in whole percents. */
static void test_quota_is_rounded_for_the_file(void **state)
{
	static const struct {
		int64_t quota, wanted;
		uint64_t period;
	} rows[] = { { 50000, 50000, 100000 }, { 33333, 34000, 100000 }, { 5001, 5500, 50000 }, { 10001, 12000, 300000 }, { 1500, 10000, 1000000 },
		{ -1, -1, 100000 }, { 250000, 250000, 100000 }, { 1000, 1000, 100000 }, { 999, 999, 100000 }, { 1, 1, 100000 } };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct oci_resources r = { 0 };

		r.cpu.quota = (struct oci_opt_i64){ .is_set = true, .v = rows[i].quota };
		r.cpu.period = (struct oci_opt_u64){ .is_set = true, .v = rows[i].period };
		for (int again = 0; again < 2; again++) { /* the second time changes nothing */
			cg_unit_settle_cpu(&r, NULL);
			assert_int_equal(r.cpu.quota.v, rows[i].wanted);
			assert_int_equal(r.cpu.period.v, rows[i].period);
		}
	}
}

static void test_unified(void **state)
{
	(void)state;
	expect_resources("{\"unified\":{\"memory.high\":\"max\",\"memory.min\":\"7\",\"pids.max\":\"5\",\"cpu.weight\":\"77\"}}", false, NULL,
	    "CPUWeight t 77; MemoryHigh t 18446744073709551615; MemoryMin@240 t 7; TasksMax t 5");
	expect_resources("{\"unified\":{\"cpu.max\":\"12345 100000\"}}", false, NULL,
	    "CPUQuotaPeriodUSec@242 t 100000; CPUQuotaPerSecUSec t 130000");
	expect_resources("{\"unified\":{\"cpuset.cpus\":\"0,9\",\"io.weight\":\"default 50\",\"cpu.idle\":\"1\"}}", false, NULL,
	    "CPUWeight@252 t 0; AllowedCPUs@244 ay 0102; IOWeight t 50");
	/* It overrides, in the same place. */
	expect_resources("{\"memory\":{\"limit\":1000},\"pids\":{\"limit\":3},\"unified\":{\"memory.max\":\"2000\"}}", false, NULL,
	    "MemoryMax t 2000; TasksMax t 3");
	/* Files that systemd does not know are ours alone. */
	expect_resources("{\"unified\":{\"memory.oom.group\":\"1\",\"io.max\":\"8:0 rbps=1\"}}", false, NULL, "");
}

static void test_bad_cpuset(void **state)
{
	static const char *const bad[] = { "a", "0-", "3-1", "0,,1", "99999", "0 1", "-1" };
	struct cg_props p = { 0 };
	struct hk_err err;

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		struct oci_resources r = { 0 };

		r.cpu.cpus = bad[i];
		if (cg_props_resources(&p, &r, false, &err) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
		assert_int_equal(err.kind, HK_INVALID);
		cg_props_done(&p);
	}
}

static int annotate(const char *name, const char *value, struct cg_props *p, struct hk_err *err)
{
	struct oci_kv kv = { .key = name, .value = value };
	const struct oci_kvs kvs = { .v = &kv, .n = 1 };

	return cg_props_annotations(p, &kvs, err);
}

static void test_annotations(void **state)
{
	static const struct {
		const char *name, *value, *wanted; /* NULL: refused */
	} rows[] = {
		{ "io.kubernetes.cri.sandbox-id", "x", "" },
		{ "org.systemd.property.TimeoutStopUSec", "uint64 5000000", "TimeoutStopUSec t 5000000" },
		{ "org.systemd.property.TimeoutStopSec", "5", "TimeoutStopUSec t 5000000" },
		{ "org.systemd.property.KillSignal", "int32 9", "KillSignal i 9" },
		{ "org.systemd.property.CollectMode", "'inactive'", "CollectMode s inactive" },
		{ "org.systemd.property.Description", "\"two words\"", "Description s two words" },
		{ "org.systemd.property.SendSIGHUP", "true", "SendSIGHUP b true" },
		{ "org.systemd.property.After", "['a.service', 'b.target']", "After as a.service b.target" },
		{ "org.systemd.property.After", "@as []", "After as " },
		{ "org.systemd.property.SendSIGHUP", "yes", NULL },
		{ "org.systemd.property.KillSignal", "'9'", NULL },
		{ "org.systemd.property.KillSignal", "-1", NULL },
		{ "org.systemd.property.TimeoutStopSec", "18446744073709551615", NULL },
		{ "org.systemd.property.CollectMode", "inactive", NULL },
		{ "org.systemd.property.CollectMode", "'a'b'", NULL },
		{ "org.systemd.property.CollectMode", "'", NULL },
		{ "org.systemd.property.After", "['a.service'", NULL },
		{ "org.systemd.property.After", "['a' 'b']", NULL },
		{ "org.systemd.property.After", "", NULL },
		{ "org.systemd.property.Requires", "['reboot.target']", NULL },
		{ "org.systemd.property.Slice", "'-.slice'", NULL },
		{ "org.systemd.property.MemoryMax", "uint64 1", NULL },
		{ "org.systemd.property.", "1", NULL },
		{ "org.systemd.property.Sec", "1", NULL },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct cg_props p = { 0 };
		struct hk_err err = { 0 };
		int r = annotate(rows[i].name, rows[i].value, &p, &err);

		if (rows[i].wanted && r < 0)
			fail_msg("%s: %s", rows[i].name, err.text);
		else if (rows[i].wanted)
			expect(&p, rows[i].wanted);
		else if (r != -EINVAL || !strstr(err.text, rows[i].name))
			fail_msg("%s %s: %d %s", rows[i].name, rows[i].value, r, err.text);
		cg_props_done(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_bad_units),
		cmocka_unit_test(test_unit_paths),
		cmocka_unit_test(test_unit_properties),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_resources_v1),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_quota_is_rounded_for_the_file),
		cmocka_unit_test(test_unified),
		cmocka_unit_test(test_bad_cpuset),
		cmocka_unit_test(test_annotations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
