/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/test_convert_stats.c — statistics of both cgroup versions as containerd reads them: type URL, fields and what is absent.
 * with: exchange.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "oci/base/auto.h"
#include "oci/oci.h"
#include "proto/cgroup1.pb-c.h"
#include "proto/cgroup2.pb-c.h"
#include "proto/task.pb-c.h"
#include "shim/convert.h"
#include "tests/shim/exchange.h"

static void reply_stats(struct ttrpc_call *call, const void *arg)
{
	convert_reply_stats(call, arg);
}

static Husk__Task__StatsResponse *ask_stats(struct convert_exchange *x, const char *type)
{
	Husk__Task__StatsResponse *m;

	convert_run(x, "Stats");
	assert_int_equal(x->code, TTRPC_OK);
	m = husk__task__stats_response__unpack(NULL, x->len, x->payload);
	assert_non_null(m);
	assert_string_equal(m->stats->type_url, type);
	return m;
}

static void stats_v2(void **state)
{
	struct oci_io_stat io[] = { { 8, 0, 1, 2, 3, 4 }, { 8, 16, 5, 6, 7, 8 } };
	struct oci_hugetlb_stat huge[] = { { "2MB", 1, UINT64_MAX, 3 } };
	struct oci_rdma_stat rdma[] = { { "mlx5_0", 3, UINT32_MAX } };
	struct oci_net_stat net[] = { { "lo", 1, 2, 3, 4, 5, 6, 7, 8 }, { "eth0", 9, 0, 0, 0, 0, 0, 0, UINT64_MAX } };
	struct oci_stats s = { .has_pids = true, .has_cpu = true, .has_memory = true, .has_rdma = true, .pids_current = 4,
		.pids_limit = UINT64_MAX, .rdma_current = { rdma, 1 }, .hugetlb = huge, .n_hugetlb = 1, .net = net, .n_net = 2 };
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_stats, .arg = &s };
	Husk__Task__StatsResponse *r;
	Husk__Cgroup2__Metrics *m;

	(void)state;
	s.v2.cpu.usage_usec = 100;
	s.v2.cpu.burst_usec = 9;
	s.v2.cpu.psi = (struct oci_psi){ .is_set = true, .some = { 0.5, 1.5, 2.5, 77 } };
	s.v2.memory.anon = 11;
	s.v2.memory.thp_collapse_alloc = 31;
	s.v2.memory.usage = 32;
	s.v2.memory.usage_limit = UINT64_MAX;
	s.v2.memory_events.oom_kill = 2;
	s.v2.has_memory_events = s.v2.has_io = true;
	s.v2.io = io;
	s.v2.n_io = 2;
	r = ask_stats(&x, "io.containerd.cgroups.v2.Metrics");
	m = husk__cgroup2__metrics__unpack(NULL, r->stats->value.len, r->stats->value.data);
	assert_non_null(m);
	assert_int_equal(m->pids->current, 4);
	assert_true(m->pids->limit == UINT64_MAX);
	assert_int_equal(m->cpu->usage_usec, 100);
	assert_int_equal(m->cpu->burst_usec, 9);
	assert_true(m->cpu->psi->some->avg60 == 1.5);
	assert_int_equal(m->cpu->psi->some->total, 77);
	assert_null(m->cpu->psi->full);
	assert_int_equal(m->memory->anon, 11);
	assert_int_equal(m->memory->thp_collapse_alloc, 31);
	assert_int_equal(m->memory->usage, 32);
	assert_true(m->memory->usage_limit == UINT64_MAX);
	assert_null(m->memory->psi);
	assert_int_equal(m->memory_events->oom_kill, 2);
	assert_int_equal(m->n_network, 2);
	assert_string_equal(m->network[0]->name, "lo");
	assert_int_equal(m->network[0]->rx_dropped, 4);
	assert_int_equal(m->network[0]->tx_packets, 6);
	assert_string_equal(m->network[1]->name, "eth0");
	assert_true(m->network[1]->tx_dropped == UINT64_MAX);
	assert_int_equal(m->io->n_usage, 2);
	assert_int_equal(m->io->usage[1]->minor, 16);
	assert_int_equal(m->io->usage[1]->wios, 8);
	assert_string_equal(m->hugetlb[0]->pagesize, "2MB");
	assert_true(m->hugetlb[0]->max == UINT64_MAX);
	assert_int_equal(m->rdma->n_current, 1);
	assert_int_equal(m->rdma->n_limit, 0);
	assert_string_equal(m->rdma->current[0]->device, "mlx5_0");
	husk__cgroup2__metrics__free_unpacked(m, NULL);
	husk__task__stats_response__free_unpacked(r, NULL);
}

static void stats_v1(void **state)
{
	struct oci_blkio_entry entries[] = { { "Read", "/dev/sda", 8, 0, 4096 } };
	uint64_t per_cpu[] = { 1, 2 };
	struct oci_stats s = { .is_v1 = true, .has_pids = true, .has_cpu = true, .has_memory = true, .pids_current = 4 };
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_stats, .arg = &s };
	Husk__Task__StatsResponse *r;
	Husk__Cgroup1__Metrics *m;

	(void)state;
	s.v1.cpu.has_usage = true;
	s.v1.cpu.total = 3;
	s.v1.cpu.per_cpu = per_cpu;
	s.v1.cpu.n_per_cpu = 2;
	s.v1.memory.pg_pg_in = 7;
	s.v1.memory.total_unevictable = 32;
	s.v1.memory.hierarchical_memory_limit = 16;
	s.v1.memory.usage = (struct oci_memory_entry){ 1, 2, 3, 4 };
	s.v1.oom_control.oom_kill = 5;
	s.v1.has_oom_control = s.v1.has_blkio = true;
	s.v1.blkio[OCI_BLKIO_SERVICED] = (struct oci_blkio_list){ entries, 1 };
	r = ask_stats(&x, "io.containerd.cgroups.v1.Metrics");
	m = husk__cgroup1__metrics__unpack(NULL, r->stats->value.len, r->stats->value.data);
	assert_non_null(m);
	assert_int_equal(m->cpu->usage->total, 3);
	assert_int_equal(m->cpu->usage->n_per_cpu, 2);
	assert_int_equal(m->cpu->usage->per_cpu[1], 2);
	assert_null(m->cpu->throttling);
	assert_int_equal(m->memory->pg_pg_in, 7);
	assert_int_equal(m->memory->total_unevictable, 32);
	assert_int_equal(m->memory->hierarchical_memory_limit, 16);
	assert_int_equal(m->memory->usage->failcnt, 4);
	assert_null(m->memory->swap);
	assert_int_equal(m->memory_oom_control->oom_kill, 5);
	assert_int_equal(m->blkio->n_io_serviced_recursive, 1);
	assert_int_equal(m->blkio->n_io_service_bytes_recursive, 0);
	assert_string_equal(m->blkio->io_serviced_recursive[0]->op, "Read");
	assert_int_equal(m->blkio->io_serviced_recursive[0]->value, 4096);
	husk__cgroup1__metrics__free_unpacked(m, NULL);
	husk__task__stats_response__free_unpacked(r, NULL);
}

/* Nothing readable is still an answer: a wrong type would fail the statistics of the whole node. */
static void stats_empty(void **state)
{
	struct oci_stats s = { 0 };
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_stats, .arg = &s };
	Husk__Task__StatsResponse *r;

	(void)state;
	r = ask_stats(&x, "io.containerd.cgroups.v2.Metrics");
	assert_int_equal(r->stats->value.len, 0);
	husk__task__stats_response__free_unpacked(r, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stats_v2),
		cmocka_unit_test(stats_v1),
		cmocka_unit_test(stats_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
