/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup_stats.c — stat files as kernels write them, laid into a temporary directory, become the numbers of Task.Stats. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"
#include "oci/oci.h"

struct file {
	const char *name, *text;
};

static int lay_out(char *base, const struct file *files, size_t n)
{
	int dir;

	assert_non_null(mkdtemp(base));
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	for (size_t i = 0; i < n; i++) {
		hk_autofd fd = openat(dir, files[i].name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

		assert_true(fd >= 0);
		assert_int_equal(hk_write_full(fd, files[i].text, strlen(files[i].text)), 0);
	}
	return dir;
}

static const struct file v2_files[] = {
	{ "pids.current", "3\n" },
	{ "pids.max", "max\n" },
	{ "cpu.stat", "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnice_usec 0\nnr_periods 7\nnr_throttled 2\nthrottled_usec 55\nnr_bursts 1\nburst_usec 9\n" },
	{ "cpu.pressure", "some avg10=1.25 avg60=0.50 avg300=12.00 total=4711\nfull avg10=0.00 avg60=0.01 avg300=0.10 total=17\n" },
	{ "memory.stat", "anon 11\nfile 12\nkernel 99\nkernel_stack 13\nslab 14\nsock 15\nshmem 16\nfile_mapped 17\nfile_dirty 18\n"
			 "file_writeback 19\nanon_thp 20\ninactive_anon 21\nactive_anon 22\ninactive_file 23\nactive_file 24\nunevictable 25\n"
			 "slab_reclaimable 26\nslab_unreclaimable 27\nworkingset_refault_anon 100\nworkingset_refault_file 200\n"
			 "workingset_activate_anon 1\nworkingset_activate_file 2\nworkingset_nodereclaim 30\npgscan 32\npgsteal 33\n"
			 "pgfault 28\npgmajfault 29\npgrefill 31\npgactivate 34\npgdeactivate 35\npglazyfree 36\npglazyfreed 37\n"
			 "thp_fault_alloc 38\nthp_collapse_alloc 39\n" },
	{ "memory.current", "1000\n" },
	{ "memory.max", "max\n" },
	{ "memory.swap.current", "5\n" },
	{ "memory.swap.max", "0\n" },
	{ "memory.peak", "2000\n" },
	{ "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n" },
	{ "memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" },
	{ "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n253:1 rbytes=18446744073709551615 wbytes=0 rios=0 wios=0\nnonsense\n" },
	{ "rdma.current", "mlx5_1 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=1 hca_object=3\n" },
	{ "rdma.max", "mlx5_1 hca_handle=3 hca_object=max\n" },
	{ "hugetlb.2MB.current", "4194304\n" },
	{ "hugetlb.2MB.max", "max\n" },
	{ "hugetlb.2MB.events", "max 12\n" },
};

static void test_v2(void **state)
{
	char base[] = "/tmp/husk-statsXXXXXX", sizes[] = "/tmp/husk-sizesXXXXXX";
	hk_auto(oci_stats_done) struct oci_stats s = { 0 };
	hk_autofd dir = lay_out(base, v2_files, HK_ARRAY_SIZE(v2_files));
	const struct file size_dirs[] = { { "hugepages-2048kB", "" }, { "hugepages-1048576kB", "" }, { "other", "" } };
	hk_autofd sizes_dir = lay_out(sizes, size_dirs, HK_ARRAY_SIZE(size_dirs));

	(void)state;
	(void)sizes_dir;
	assert_int_equal(cg_stats_v2(dir, &s), 0);
	assert_true(s.has_pids && s.has_cpu && s.has_memory && s.v2.has_memory_events && s.v2.has_io);
	assert_int_equal(s.pids_current, 3);
	assert_true(s.pids_limit == UINT64_MAX);
	assert_int_equal(s.v2.cpu.usage_usec, 100);
	assert_int_equal(s.v2.cpu.throttled_usec, 55);
	assert_int_equal(s.v2.cpu.burst_usec, 9);
	assert_true(s.v2.cpu.psi.is_set && s.v2.cpu.psi.has_full);
	assert_true(s.v2.cpu.psi.some.avg10 == 1.25 && s.v2.cpu.psi.some.avg60 == 0.5 && s.v2.cpu.psi.some.avg300 == 12.0);
	assert_int_equal(s.v2.cpu.psi.some.total, 4711);
	assert_true(s.v2.cpu.psi.full.avg60 == 0.01 && s.v2.cpu.psi.full.total == 17);
	assert_int_equal(s.v2.memory.anon, 11);
	assert_int_equal(s.v2.memory.file, 12);
	assert_int_equal(s.v2.memory.pgmajfault, 29);
	assert_int_equal(s.v2.memory.pglazyfreed, 37);
	assert_int_equal(s.v2.memory.thp_collapse_alloc, 39);
	assert_int_equal(s.v2.memory.workingset_refault, 300);
	assert_int_equal(s.v2.memory.workingset_activate, 3);
	assert_int_equal(s.v2.memory.usage, 1000);
	assert_true(s.v2.memory.usage_limit == UINT64_MAX);
	assert_int_equal(s.v2.memory.swap_limit, 0);
	assert_int_equal(s.v2.memory.max_usage, 2000);
	assert_int_equal(s.v2.memory.swap_max_usage, 0); /* no such file */
	assert_int_equal(s.v2.memory_events.oom_kill, 5);
	assert_int_equal(s.v2.memory_events.oom_group_kill, 6);
	assert_int_equal(s.v2.n_io, 2); /* a device that counts nothing is left out */
	assert_int_equal(s.v2.io[0].wios, 4);
	assert_int_equal(s.v2.io[1].major, 253);
	assert_true(s.v2.io[1].rbytes == UINT64_MAX);
	assert_false(s.v2.io_psi.is_set);
	assert_int_equal(cg_stats_rdma(dir, &s), 0);
	assert_true(s.has_rdma);
	assert_int_equal(s.rdma_current.n, 2);
	assert_string_equal(s.rdma_current.v[0].device, "mlx5_1");
	assert_int_equal(s.rdma_current.v[1].hca_objects, 3);
	assert_true(s.rdma_limit.v[0].hca_objects == UINT32_MAX);
	assert_int_equal(cg_stats_hugetlb(dir, true, sizes, &s), 0);
	assert_int_equal(s.n_hugetlb, 1);
	assert_string_equal(s.hugetlb[0].pagesize, "2MB");
	assert_int_equal(s.hugetlb[0].current, 4194304);
	assert_true(s.hugetlb[0].max == UINT64_MAX);
	assert_int_equal(s.hugetlb[0].failcnt, 12);
	assert_int_equal(hk_rm_rf(AT_FDCWD, base), 0);
	assert_int_equal(hk_rm_rf(AT_FDCWD, sizes), 0);
}

static const struct file v1_files[] = {
	{ "pids.current", "2\n" },
	{ "pids.max", "max\n" },
	{ "cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 1000\n" },
	{ "cpuacct.usage", "123456789\n" },
	{ "cpuacct.stat", "user 3\nsystem 4\n" },
	{ "cpuacct.usage_percpu", "100 200 300 \n" },
	{ "memory.stat", "cache 1\nrss 2\nrss_huge 3\nmapped_file 4\ndirty 5\nwriteback 6\npgpgin 7\npgpgout 8\npgfault 9\npgmajfault 10\n"
			 "inactive_anon 11\nactive_anon 12\ninactive_file 13\nactive_file 14\nunevictable 15\n"
			 "hierarchical_memory_limit 16\nhierarchical_memsw_limit 17\ntotal_cache 101\ntotal_rss 102\ntotal_unevictable 115\n" },
	{ "memory.usage_in_bytes", "1000\n" },
	{ "memory.limit_in_bytes", "9223372036854771712\n" },
	{ "memory.max_usage_in_bytes", "2000\n" },
	{ "memory.failcnt", "7\n" },
	{ "memory.memsw.usage_in_bytes", "1001\n" },
	{ "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n" },
	{ "blkio.bfq.io_service_bytes_recursive", "Total 0\n" },
	{ "blkio.throttle.io_service_bytes", "8:0 Read 4096\n8:0 Write 0\n8:0 Total 4096\nTotal 4096\n" },
	{ "blkio.throttle.io_serviced", "8:0 Read 1\n999:9 1\nbroken line that is no entry\nTotal 1\n" },
	{ "hugetlb.2MB.usage_in_bytes", "1\n" },
	{ "hugetlb.2MB.max_usage_in_bytes", "2\n" },
	{ "hugetlb.2MB.failcnt", "3\n" },
};

static void test_v1(void **state)
{
	char base[] = "/tmp/husk-statsXXXXXX";
	hk_auto(oci_stats_done) struct oci_stats s = { .is_v1 = true };
	hk_autofd dir = lay_out(base, v1_files, HK_ARRAY_SIZE(v1_files));
	const uint64_t tick = 1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK);

	(void)state;
	for (int ctl = 0; ctl < CG_N_CTLS; ctl++)
		assert_int_equal(cg_stats_v1((enum cg_ctl)ctl, dir, &s), 0);
	assert_true(s.has_pids && s.has_cpu && s.has_memory);
	assert_false(s.has_rdma);
	assert_int_equal(s.pids_limit, 0); /* v1's "max", as containerd's reader has it */
	assert_int_equal(s.v1.cpu.total, 123456789);
	assert_true(s.v1.cpu.user == 3 * tick && s.v1.cpu.kernel == 4 * tick);
	assert_int_equal(s.v1.cpu.n_per_cpu, 3);
	assert_int_equal(s.v1.cpu.per_cpu[2], 300);
	assert_true(s.v1.cpu.has_throttling);
	assert_int_equal(s.v1.cpu.throttled_time, 1000);
	assert_int_equal(s.v1.memory.cache, 1);
	assert_int_equal(s.v1.memory.pg_pg_in, 7);
	assert_int_equal(s.v1.memory.unevictable, 15);
	assert_int_equal(s.v1.memory.hierarchical_swap_limit, 17);
	assert_int_equal(s.v1.memory.total_cache, 101);
	assert_int_equal(s.v1.memory.total_unevictable, 115);
	assert_true(s.v1.memory.usage.limit == 9223372036854771712ULL);
	assert_int_equal(s.v1.memory.usage.max, 2000);
	assert_int_equal(s.v1.memory.usage.failcnt, 7);
	assert_true(s.v1.memory.has_swap && !s.v1.memory.has_kernel && !s.v1.memory.has_kernel_tcp);
	assert_true(s.v1.has_oom_control);
	assert_int_equal(s.v1.oom_control.under_oom, 1);
	assert_int_equal(s.v1.oom_control.oom_kill, 3);
	/* BFQ counts nothing, so the throttling layer's numbers are told. */
	assert_int_equal(s.v1.blkio[OCI_BLKIO_SERVICE_BYTES].n, 3);
	assert_string_equal(s.v1.blkio[OCI_BLKIO_SERVICE_BYTES].v[0].op, "Read");
	assert_int_equal(s.v1.blkio[OCI_BLKIO_SERVICE_BYTES].v[0].value, 4096);
	assert_int_equal(s.v1.blkio[OCI_BLKIO_SERVICED].n, 2);
	assert_string_equal(s.v1.blkio[OCI_BLKIO_SERVICED].v[1].op, "");
	assert_string_equal(s.v1.blkio[OCI_BLKIO_SERVICED].v[1].device, "");
	assert_int_equal(s.v1.blkio[OCI_BLKIO_SERVICED].v[1].major, 999);
	assert_int_equal(s.v1.blkio[OCI_BLKIO_TIME].n, 0);
	assert_int_equal(hk_rm_rf(AT_FDCWD, base), 0);
}

/* A cgroup without any of the files: all zero, nothing fails. */
static void test_empty(void **state)
{
	char base[] = "/tmp/husk-statsXXXXXX";
	hk_autofd dir = lay_out(base, NULL, 0);
	hk_auto(oci_stats_done) struct oci_stats s = { 0 };

	(void)state;
	assert_int_equal(cg_stats_v2(dir, &s), 0);
	assert_int_equal(cg_stats_rdma(dir, &s), 0);
	assert_int_equal(cg_stats_hugetlb(dir, true, "/nonexistent", &s), 0);
	assert_false(s.has_pids || s.has_cpu || s.has_memory || s.has_rdma || s.v2.has_io || s.v2.has_memory_events);
	assert_int_equal(s.n_hugetlb, 0);
	assert_int_equal(hk_rm_rf(AT_FDCWD, base), 0);
}

/* As Linux 6.18 writes it; names go up to the colon, which an old alias may have too. */
static void network_interfaces(void **state)
{
	char text[] = "Inter-|   Receive                                                |  Transmit\n"
		      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
		      "    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0\n"
		      "  eth0: 18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
		      "eth0:1:12 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
		      "broken: 1 2 3\n";
	hk_auto(oci_stats_done) struct oci_stats s = { 0 };

	(void)state;
	assert_int_equal(oci_net_stats_parse(text, &s), 0);
	assert_int_equal(s.n_net, 3);
	assert_string_equal(s.net[0].name, "lo");
	assert_int_equal(s.net[0].tx_bytes, 1000);
	assert_string_equal(s.net[1].name, "eth0");
	assert_true(s.net[1].rx_bytes == UINT64_MAX);
	assert_int_equal(s.net[1].rx_packets, 2);
	assert_int_equal(s.net[1].rx_errors, 3);
	assert_int_equal(s.net[1].rx_dropped, 4);
	assert_int_equal(s.net[1].tx_bytes, 9);
	assert_int_equal(s.net[1].tx_packets, 10);
	assert_int_equal(s.net[1].tx_errors, 11);
	assert_int_equal(s.net[1].tx_dropped, 12);
	assert_string_equal(s.net[2].name, "eth0:1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(network_interfaces),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
