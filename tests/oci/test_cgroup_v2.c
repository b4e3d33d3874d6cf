/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cgroup_v2.c — linux.resources as the files of cgroup v2, written into a directory of empty files that stands for a cgroup: a file
 * the kernel would not have is not there, and a write that would create one fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"

#define SET(value) { .is_set = true, .v = (value) }

struct fake {
	char path[64];
	struct cg_dir d;
};

static void put(struct fake *f, const char *file, const char *text)
{
	hk_autofd dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	hk_autofd fd = openat(dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
}

static void expect(struct fake *f, const char *file, const char *wanted)
{
	char buf[256];
	ssize_t n = cg_read(&f->d, file, buf, sizeof(buf));

	if (!wanted) {
		assert_int_equal(n, -ENOENT);
		return;
	}
	if (n < 0 || strcmp(buf, wanted) != 0)
		fail_msg("%s holds \"%s\", wanted \"%s\"", file, n < 0 ? hk_errno_name((int)-n) : buf, wanted);
}

/* Empty files, by name. */
static void begin(struct fake *f, const char *const *files, size_t n)
{
	(void)hk_fmt(f->path, sizeof(f->path), "/tmp/husk-v2XXXXXX");
	assert_non_null(mkdtemp(f->path));
	for (size_t i = 0; i < n; i++)
		put(f, files[i], "");
	cg_dir_init(&f->d, NULL, f->path);
	f->d.is_absent = false;
}

static void end(struct fake *f)
{
	cg_dir_done(&f->d);
	assert_int_equal(hk_rm_rf(AT_FDCWD, f->path), 0);
}

#define BEGIN(f, ...)                                                        \
	do {                                                                 \
		static const char *const names_[] = { __VA_ARGS__ };         \
		begin(&(f), names_, HK_ARRAY_SIZE(names_));                  \
	} while (0)

static void write_ok(struct fake *f, enum cg_ctl ctl, const struct oci_resources *r)
{
	struct hk_err err = { 0 };

	if (cg_v2_write(ctl, &f->d, r, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_memory(void **state)
{
	struct oci_resources r = { .memory = { .limit = SET(1000), .swap = SET(3000), .reservation = SET(500),
					       .swappiness = SET(10), .disable_oom_killer = SET(1) } };
	struct oci_resources no_swap = { .memory = { .limit = SET(1000), .swap = SET(1000) } };
	struct oci_resources unlimited = { .memory = { .limit = SET(-1) } };
	struct oci_resources nothing = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "memory.max", "memory.low", "memory.swap.max");
	write_ok(&f, CG_MEMORY, &r);
	expect(&f, "memory.max", "1000");
	expect(&f, "memory.low", "500");
	expect(&f, "memory.swap.max", "2000");
	end(&f);
	BEGIN(f, "memory.max", "memory.swap.max");
	write_ok(&f, CG_MEMORY, &no_swap);
	expect(&f, "memory.swap.max", "0"); /* literally: an empty string would be taken as 0 by luck */
	end(&f);
	BEGIN(f, "memory.max", "memory.swap.max");
	write_ok(&f, CG_MEMORY, &unlimited);
	expect(&f, "memory.max", "max");
	expect(&f, "memory.swap.max", "max");
	end(&f);
	BEGIN(f, "memory.max");
	write_ok(&f, CG_MEMORY, &nothing);
	write_ok(&f, CG_MEMORY, &unlimited); /* no swap accounting: "no limit" and "none" hold anyway */
	write_ok(&f, CG_MEMORY, &no_swap);
	end(&f);
}

static void test_memory_errors(void **state)
{
	struct oci_resources with_swap = { .memory = { .limit = SET(1000), .swap = SET(3000) } };
	struct oci_resources below = { .memory = { .limit = SET(1000), .swap = SET(999) } };
	struct oci_resources alone = { .memory = { .swap = SET(3000) } };
	struct hk_err err = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "memory.max");
	assert_int_equal(cg_v2_write(CG_MEMORY, &f.d, &with_swap, &err), -ENOENT);
	assert_non_null(strstr(err.text, "memory.swap.max"));
	assert_int_equal(cg_v2_write(CG_MEMORY, &f.d, &below, &err), -EINVAL);
	assert_int_equal(err.kind, HK_INVALID);
	put(&f, "memory.max", "max\n");
	assert_int_equal(cg_v2_write(CG_MEMORY, &f.d, &alone, &err), -EINVAL);
	assert_non_null(strstr(err.text, "needs a memory.limit"));
	/* An update of the swap alone builds on the limit in force. */
	put(&f, "memory.max", "1000\n");
	put(&f, "memory.swap.max", "");
	write_ok(&f, CG_MEMORY, &alone);
	expect(&f, "memory.swap.max", "2000");
	end(&f);
}

static void test_check_before_update(void **state)
{
	struct oci_resources r = { .memory = { .limit = SET(1000), .swap = SET(1500), .check_before_update = SET(1) } };
	struct hk_err err = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "memory.max");
	assert_int_equal(cg_v2_check_memory(&f.d, &r, &err), 0); /* what cannot be read cannot object */
	put(&f, "memory.current", "999\n");
	put(&f, "memory.swap.current", "500\n");
	assert_int_equal(cg_v2_check_memory(&f.d, &r, &err), 0);
	put(&f, "memory.current", "1000\n");
	assert_int_equal(cg_v2_check_memory(&f.d, &r, &err), -EBUSY);
	assert_non_null(strstr(err.text, "1000 bytes in use"));
	put(&f, "memory.current", "1\n");
	put(&f, "memory.swap.current", "501\n");
	assert_int_equal(cg_v2_check_memory(&f.d, &r, &err), -EBUSY);
	r.memory.check_before_update.v = 0;
	assert_int_equal(cg_v2_check_memory(&f.d, &r, &err), 0);
	end(&f);
}

static void test_cpu(void **state)
{
	struct oci_resources r = { .cpu = { .shares = SET(1024), .quota = SET(50000), .period = SET(100000), .burst = SET(1000) } };
	struct oci_resources idle = { .cpu = { .shares = SET(1024), .idle = SET(1) } };
	struct oci_resources period = { .cpu = { .period = SET(200000) } };
	struct fake f;

	(void)state;
	BEGIN(f, "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle");
	write_ok(&f, CG_CPU, &r);
	expect(&f, "cpu.weight", "100");
	expect(&f, "cpu.max", "50000 100000");
	expect(&f, "cpu.max.burst", "1000");
	expect(&f, "cpu.idle", "");
	write_ok(&f, CG_CPU, &period);
	expect(&f, "cpu.max", "50000 200000"); /* the quota in force stays */
	end(&f);
	BEGIN(f, "cpu.weight", "cpu.idle");
	write_ok(&f, CG_CPU, &idle);
	expect(&f, "cpu.idle", "1");
	expect(&f, "cpu.weight", ""); /* an idle group refuses a weight */
	end(&f);
}

static void test_pids_and_cpuset(void **state)
{
	struct oci_resources r = { .pids_limit = SET(100), .cpu = { .cpus = "0-3,7", .mems = "0" } };
	struct oci_resources zero = { .pids_limit = SET(0) }, none = { .pids_limit = SET(-1) };
	struct fake f;

	(void)state;
	BEGIN(f, "pids.max", "cpuset.cpus", "cpuset.mems");
	write_ok(&f, CG_PIDS, &r);
	write_ok(&f, CG_CPUSET, &r);
	expect(&f, "pids.max", "100");
	expect(&f, "cpuset.cpus", "0-3,7");
	expect(&f, "cpuset.mems", "0");
	put(&f, "pids.max", "");
	write_ok(&f, CG_PIDS, &zero);
	expect(&f, "pids.max", "1");
	put(&f, "pids.max", "");
	write_ok(&f, CG_PIDS, &none);
	expect(&f, "pids.max", "max");
	end(&f);
}

static void test_io(void **state)
{
	struct oci_dev_rate weight = { .major = 8, .minor = 0, .rate = 1000, .has_rate = true }, rate = { .major = 8, .minor = 16, .rate = 0 };
	struct oci_resources bfq = { .block_io = { .weight = SET(500) } };
	struct oci_resources device = { .block_io = { .weight_device = { &weight, 1 } } };
	struct oci_resources max = { .block_io = { .write_iops = { &rate, 1 } } };
	struct hk_err err = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "io.bfq.weight", "io.max");
	write_ok(&f, CG_IO, &bfq);
	expect(&f, "io.bfq.weight", "500");
	write_ok(&f, CG_IO, &max);
	expect(&f, "io.max", "8:16 wiops=max");
	end(&f);
	BEGIN(f, "io.weight");
	write_ok(&f, CG_IO, &bfq);
	expect(&f, "io.weight", "4950");
	put(&f, "io.weight", "");
	write_ok(&f, CG_IO, &device);
	expect(&f, "io.weight", "8:0 10000");
	assert_int_equal(cg_v2_write(CG_IO, &f.d, &max, &err), -ENOENT);
	assert_non_null(strstr(err.text, "io.max"));
	end(&f);
}

static void test_hugetlb_and_rdma(void **state)
{
	struct oci_hugepage page = { .page_size = "2MB", .limit = 4194304 }, bad = { .page_size = "../2MB", .limit = 1 };
	struct oci_rdma dev = { .device = "mlx5_1", .has_handles = true, .handles = 3 };
	struct oci_resources r = { .hugepages = &page, .n_hugepages = 1, .rdma = &dev, .n_rdma = 1 };
	struct hk_err err = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "hugetlb.2MB.max", "rdma.max");
	write_ok(&f, CG_HUGETLB, &r); /* without the rsvd file of 5.7 */
	write_ok(&f, CG_RDMA, &r);
	expect(&f, "hugetlb.2MB.max", "4194304");
	expect(&f, "rdma.max", "mlx5_1 hca_handle=3");
	put(&f, "hugetlb.2MB.rsvd.max", "");
	write_ok(&f, CG_HUGETLB, &r);
	expect(&f, "hugetlb.2MB.rsvd.max", "4194304");
	r.hugepages = &bad;
	assert_int_equal(cg_v2_write(CG_HUGETLB, &f.d, &r, &err), -EINVAL);
	assert_non_null(strstr(err.text, "hugepageLimits[0]"));
	end(&f);
}

static void test_unified(void **state)
{
	struct oci_kv good[] = { { "memory.high", "1000" }, { "memory.oom.group", "1" } };
	static const char *const refused[] = { "cgroup.freeze", "cgroup.kill", "cgroup.procs", "../memory.high", "a/b.c", "memory", ".x", "x." };
	struct oci_resources r = { .unified = { good, 2 } };
	struct hk_err err = { 0 };
	struct fake f;

	(void)state;
	BEGIN(f, "memory.high", "memory.oom.group", "cgroup.freeze");
	assert_int_equal(cg_v2_write_unified(&f.d, &r, &err), 0);
	expect(&f, "memory.high", "1000");
	expect(&f, "memory.oom.group", "1");
	for (size_t i = 0; i < HK_ARRAY_SIZE(refused); i++) {
		struct oci_kv kv = { refused[i], "1" };
		struct oci_resources bad = { .unified = { &kv, 1 } };

		assert_true(cg_v2_write_unified(&f.d, &bad, &err) < 0);
		assert_int_equal(err.kind, HK_INVALID);
	}
	expect(&f, "cgroup.freeze", "");
	good[0].key = "misc.max";
	assert_int_equal(cg_v2_write_unified(&f.d, &r, &err), -ENOENT);
	assert_non_null(strstr(err.text, "misc.max"));
	end(&f);
}

/* A limit whose controller the host lacks names the file; one that asks for nothing passes. */
static void test_absent(void **state)
{
	struct oci_resources r = { .pids_limit = SET(5), .memory = { .limit = SET(1000), .swap = SET(1000) } };
	struct oci_resources nothing = { 0 };
	struct hk_err err = { 0 };
	struct cg_dir d;

	(void)state;
	cg_dir_init(&d, NULL, "/x");
	assert_int_equal(cg_v2_write(CG_PIDS, &d, &nothing, &err), 0);
	assert_int_equal(cg_v2_write(CG_PIDS, &d, &r, &err), -ENOENT);
	assert_int_equal(err.kind, HK_UNSUPPORTED);
	assert_non_null(strstr(err.text, "pids.max"));
	assert_int_equal(cg_v2_write(CG_MEMORY, &d, &r, &err), -ENOENT);
	assert_int_equal(cg_v1_write(CG_MEMORY, &d, &r, &err), -ENOENT);
	assert_non_null(strstr(err.text, "memory."));
	cg_dir_done(&d);
}

/* Controllers are switched on in every ancestor, never in the leaf; a parent is ready when it gives all that are asked for. */
static void test_enable(void **state)
{
	struct fake root, mid, leaf;
	struct cg_hier h = { .is_v2 = true };
	int ready;

	(void)state;
	BEGIN(root, "cgroup.subtree_control");
	(void)hk_fmt(mid.path, sizeof(mid.path), "%s/a", root.path);
	(void)hk_fmt(leaf.path, sizeof(leaf.path), "%s/a/b", root.path);
	assert_int_equal(mkdir(mid.path, 0755), 0);
	assert_int_equal(mkdir(leaf.path, 0755), 0);
	put(&mid, "cgroup.subtree_control", "");
	put(&leaf, "cgroup.subtree_control", "");
	put(&leaf, "cgroup.controllers", "cpu pids\n");
	cg_dir_init(&mid.d, NULL, mid.path);
	cg_dir_init(&leaf.d, NULL, leaf.path);
	mid.d.is_absent = leaf.d.is_absent = false;
	h.mount = root.path;
	assert_int_equal(cg_v2_enable(&h, "/a/b", CG_BIT(CG_CPU) | CG_BIT(CG_MEMORY) | CG_BIT(CG_PIDS) | CG_BIT(CG_IO), NULL), 0);
	/* Also what the leaf has: another may just be giving it, and the write waits for that. */
	expect(&root, "cgroup.subtree_control", "+cpu +memory +io +pids");
	expect(&mid, "cgroup.subtree_control", "+cpu +memory +io +pids");
	expect(&leaf, "cgroup.subtree_control", "");
	put(&mid, "cgroup.subtree_control", "cpu pids\n");
	assert_int_equal(cg_v2_open_ready(&h, "/a/b", CG_BIT(CG_PIDS) | CG_BIT(CG_MEMORY)), -1);
	assert_int_equal(cg_v2_open_ready(&h, "/no/such", CG_BIT(CG_PIDS)), -1);
	put(&root, "cgroup.subtree_control", "cpu\n");
	assert_int_equal(cg_v2_open_ready(&h, "/b", CG_BIT(CG_PIDS)), -1);
	ready = cg_v2_open_ready(&h, "/a/b", CG_BIT(CG_PIDS));
	assert_int_equal(faccessat(ready, "b", F_OK, 0), 0);
	hk_close(ready);
	cg_dir_done(&mid.d);
	cg_dir_done(&leaf.d);
	end(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_errors),
		cmocka_unit_test(test_check_before_update),
		cmocka_unit_test(test_cpu),
		cmocka_unit_test(test_pids_and_cpuset),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_hugetlb_and_rdma),
		cmocka_unit_test(test_unified),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_enable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
