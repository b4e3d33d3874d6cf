/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/convert_stats.c — struct oci_stats to the Metrics message of the host's cgroup version, in the Any that Task.Stats answers.
 * Everything a message points to lives in one arena until it is packed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "proto/cgroup1.pb-c.h"
#include "proto/cgroup2.pb-c.h"
#include "proto/dispatch.h"
#include "proto/names.h"
#include "proto/task.pb-c.h"
#include "shim/convert.h"

/* From the arena, initialised; NULL without memory. */
#define NEW(arena, type, init)                                           \
	({                                                               \
		type *new_ = hk_arena_alloc(arena, sizeof(type));        \
		if (new_)                                                \
			init(new_);                                      \
		new_;                                                    \
	})
/* An array of n pointers to initialised messages; NULL without memory or for n == 0. */
#define NEW_LIST(arena, type, init, n)                                              \
	({                                                                          \
		size_t n_ = (n);                                                    \
		type **list_ = n_ ? hk_arena_array(arena, n_, sizeof(type *)) : NULL; \
		type *items_ = list_ ? hk_arena_array(arena, n_, sizeof(type)) : NULL; \
		for (size_t i_ = 0; items_ && i_ < n_; i_++) {                      \
			init(&items_[i_]);                                          \
			list_[i_] = &items_[i_];                                    \
		}                                                                   \
		items_ ? list_ : NULL;                                              \
	})

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* ---- v2 ---- */

static Husk__Cgroup2__PSIData *psi_line2(struct hk_arena *a, const struct oci_psi_line *s)
{
	Husk__Cgroup2__PSIData *m = NEW(a, Husk__Cgroup2__PSIData, husk__cgroup2__psidata__init);

	if (!m)
		return NULL;
	m->avg10 = s->avg10;
	m->avg60 = s->avg60;
	m->avg300 = s->avg300;
	m->total = s->total;
	return m;
}

static Husk__Cgroup2__PSIStats *psi2(struct hk_arena *a, const struct oci_psi *s)
{
	Husk__Cgroup2__PSIStats *m;

	if (!s->is_set)
		return NULL;
	m = NEW(a, Husk__Cgroup2__PSIStats, husk__cgroup2__psistats__init);
	if (!m)
		return NULL;
	m->some = psi_line2(a, &s->some);
	if (s->has_full)
		m->full = psi_line2(a, &s->full);
	return m;
}

/* The two messages have the same fields. */
#define NETWORK(arena, from, out, type, init)                                            \
	do {                                                                             \
		(out)->network = NEW_LIST(arena, type, init, (from)->n_net);             \
		(out)->n_network = (out)->network ? (from)->n_net : 0;                   \
		for (size_t k_ = 0; k_ < (out)->n_network; k_++) {                       \
			const struct oci_net_stat *s_ = &(from)->net[k_];                \
			type *m_ = (out)->network[k_];                                   \
                                                                                         \
			m_->name = str(s_->name);                                        \
			m_->rx_bytes = s_->rx_bytes;                                     \
			m_->rx_packets = s_->rx_packets;                                 \
			m_->rx_errors = s_->rx_errors;                                   \
			m_->rx_dropped = s_->rx_dropped;                                 \
			m_->tx_bytes = s_->tx_bytes;                                     \
			m_->tx_packets = s_->tx_packets;                                 \
			m_->tx_errors = s_->tx_errors;                                   \
			m_->tx_dropped = s_->tx_dropped;                                 \
		}                                                                        \
	} while (0)

#define COPY(name) m->name = s->name;
#define COPY2(name, key) m->name = s->name;
#define COPY_TOTAL(name, key) m->total_##name = s->total_##name;

static Husk__Cgroup2__CPUStat *cpu2(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v2.cpu) *s = &all->v2.cpu;
	Husk__Cgroup2__CPUStat *m = NEW(a, Husk__Cgroup2__CPUStat, husk__cgroup2__cpustat__init);

	if (!m)
		return NULL;
	OCI_V2_CPU_STAT(COPY)
	m->psi = psi2(a, &s->psi);
	return m;
}

static Husk__Cgroup2__MemoryStat *memory2(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v2.memory) *s = &all->v2.memory;
	Husk__Cgroup2__MemoryStat *m = NEW(a, Husk__Cgroup2__MemoryStat, husk__cgroup2__memory_stat__init);

	if (!m)
		return NULL;
	OCI_V2_MEMORY_STAT(COPY)
	OCI_V2_MEMORY_FILES(COPY2)
	m->psi = psi2(a, &s->psi);
	return m;
}

static Husk__Cgroup2__MemoryEvents *memory_events2(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v2.memory_events) *s = &all->v2.memory_events;
	Husk__Cgroup2__MemoryEvents *m = NEW(a, Husk__Cgroup2__MemoryEvents, husk__cgroup2__memory_events__init);

	if (!m)
		return NULL;
	OCI_V2_MEMORY_EVENTS(COPY)
	return m;
}

static Husk__Cgroup2__IOStat *io2(struct hk_arena *a, const struct oci_stats *all)
{
	Husk__Cgroup2__IOStat *out = NEW(a, Husk__Cgroup2__IOStat, husk__cgroup2__iostat__init);

	if (!out)
		return NULL;
	out->usage = NEW_LIST(a, Husk__Cgroup2__IOEntry, husk__cgroup2__ioentry__init, all->v2.n_io);
	out->n_usage = out->usage ? all->v2.n_io : 0;
	for (size_t i = 0; i < out->n_usage; i++) {
		const struct oci_io_stat *s = &all->v2.io[i];
		Husk__Cgroup2__IOEntry *m = out->usage[i];

		COPY(major) COPY(minor) COPY(rbytes) COPY(wbytes) COPY(rios) COPY(wios)
	}
	out->psi = psi2(a, &all->v2.io_psi);
	return out;
}

static size_t rdma_list2(struct hk_arena *a, const struct oci_rdma_stats *from, Husk__Cgroup2__RdmaEntry ***ret)
{
	*ret = NEW_LIST(a, Husk__Cgroup2__RdmaEntry, husk__cgroup2__rdma_entry__init, from->n);
	for (size_t i = 0; *ret && i < from->n; i++) {
		(*ret)[i]->device = str(from->v[i].device);
		(*ret)[i]->hca_handles = from->v[i].hca_handles;
		(*ret)[i]->hca_objects = from->v[i].hca_objects;
	}
	return *ret ? from->n : 0;
}

static Husk__Cgroup2__RdmaStat *rdma2(struct hk_arena *a, const struct oci_stats *all)
{
	Husk__Cgroup2__RdmaStat *m = NEW(a, Husk__Cgroup2__RdmaStat, husk__cgroup2__rdma_stat__init);

	if (!m)
		return NULL;
	m->n_current = rdma_list2(a, &all->rdma_current, &m->current);
	m->n_limit = rdma_list2(a, &all->rdma_limit, &m->limit);
	return m;
}

static void hugetlb2(struct hk_arena *a, const struct oci_stats *all, Husk__Cgroup2__Metrics *out)
{
	out->hugetlb = NEW_LIST(a, Husk__Cgroup2__HugeTlbStat, husk__cgroup2__huge_tlb_stat__init, all->n_hugetlb);
	out->n_hugetlb = out->hugetlb ? all->n_hugetlb : 0;
	for (size_t i = 0; i < out->n_hugetlb; i++) {
		const struct oci_hugetlb_stat *s = &all->hugetlb[i];
		Husk__Cgroup2__HugeTlbStat *m = out->hugetlb[i];

		COPY(current) COPY(max) COPY(failcnt)
		m->pagesize = str(s->pagesize);
	}
}

static int pack2(struct hk_arena *a, const struct oci_stats *s, uint8_t **ret, size_t *ret_len)
{
	Husk__Cgroup2__Metrics m;

	husk__cgroup2__metrics__init(&m);
	if (s->has_pids) {
		m.pids = NEW(a, Husk__Cgroup2__PidsStat, husk__cgroup2__pids_stat__init);
		if (m.pids) {
			m.pids->current = s->pids_current;
			m.pids->limit = s->pids_limit;
		}
	}
	m.cpu = s->has_cpu ? cpu2(a, s) : NULL;
	m.memory = s->has_memory ? memory2(a, s) : NULL;
	m.memory_events = s->v2.has_memory_events ? memory_events2(a, s) : NULL;
	m.io = s->v2.has_io ? io2(a, s) : NULL;
	m.rdma = s->has_rdma ? rdma2(a, s) : NULL;
	hugetlb2(a, s, &m);
	NETWORK(a, s, &m, Husk__Cgroup2__NetworkStat, husk__cgroup2__network_stat__init);
	return ttrpc_pack(&m.base, ret, ret_len);
}

/* ---- v1 ---- */

static Husk__Cgroup1__CPUStat *cpu1(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v1.cpu) *s = &all->v1.cpu;
	Husk__Cgroup1__CPUStat *m = NEW(a, Husk__Cgroup1__CPUStat, husk__cgroup1__cpustat__init);

	if (!m)
		return NULL;
	m->usage = s->has_usage ? NEW(a, Husk__Cgroup1__CPUUsage, husk__cgroup1__cpuusage__init) : NULL;
	if (m->usage) {
		m->usage->total = s->total;
		m->usage->kernel = s->kernel;
		m->usage->user = s->user;
		m->usage->n_per_cpu = s->n_per_cpu;
		m->usage->per_cpu = s->per_cpu;
	}
	m->throttling = s->has_throttling ? NEW(a, Husk__Cgroup1__Throttle, husk__cgroup1__throttle__init) : NULL;
	if (m->throttling) {
		m->throttling->periods = s->periods;
		m->throttling->throttled_periods = s->throttled_periods;
		m->throttling->throttled_time = s->throttled_time;
	}
	return m;
}

static Husk__Cgroup1__MemoryEntry *memory_entry1(struct hk_arena *a, const struct oci_memory_entry *s)
{
	Husk__Cgroup1__MemoryEntry *m = NEW(a, Husk__Cgroup1__MemoryEntry, husk__cgroup1__memory_entry__init);

	if (!m)
		return NULL;
	COPY(limit) COPY(usage) COPY(max) COPY(failcnt)
	return m;
}

static Husk__Cgroup1__MemoryStat *memory1(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v1.memory) *s = &all->v1.memory;
	Husk__Cgroup1__MemoryStat *m = NEW(a, Husk__Cgroup1__MemoryStat, husk__cgroup1__memory_stat__init);

	if (!m)
		return NULL;
	OCI_V1_MEMORY_STAT(COPY2)
	OCI_V1_MEMORY_STAT(COPY_TOTAL)
	COPY(hierarchical_memory_limit) COPY(hierarchical_swap_limit)
	m->usage = memory_entry1(a, &s->usage);
	m->swap = s->has_swap ? memory_entry1(a, &s->swap) : NULL;
	m->kernel = s->has_kernel ? memory_entry1(a, &s->kernel) : NULL;
	m->kernel_tcp = s->has_kernel_tcp ? memory_entry1(a, &s->kernel_tcp) : NULL;
	return m;
}

static size_t blkio_list1(struct hk_arena *a, const struct oci_blkio_list *from, Husk__Cgroup1__BlkIOEntry ***ret)
{
	*ret = NEW_LIST(a, Husk__Cgroup1__BlkIOEntry, husk__cgroup1__blk_ioentry__init, from->n);
	for (size_t i = 0; *ret && i < from->n; i++) {
		const struct oci_blkio_entry *s = &from->v[i];
		Husk__Cgroup1__BlkIOEntry *m = (*ret)[i];

		COPY(major) COPY(minor) COPY(value)
		m->op = str(s->op);
		m->device = str(s->device);
	}
	return *ret ? from->n : 0;
}

static Husk__Cgroup1__BlkIOStat *blkio1(struct hk_arena *a, const struct oci_stats *all)
{
	Husk__Cgroup1__BlkIOStat *m = NEW(a, Husk__Cgroup1__BlkIOStat, husk__cgroup1__blk_iostat__init);
	const struct oci_blkio_list *s = all->v1.blkio;

	if (!m)
		return NULL;
#define LIST(kind, field) m->n_##field = blkio_list1(a, &s[kind], &m->field);
	LIST(OCI_BLKIO_SERVICE_BYTES, io_service_bytes_recursive)
	LIST(OCI_BLKIO_SERVICED, io_serviced_recursive)
	LIST(OCI_BLKIO_QUEUED, io_queued_recursive)
	LIST(OCI_BLKIO_SERVICE_TIME, io_service_time_recursive)
	LIST(OCI_BLKIO_WAIT_TIME, io_wait_time_recursive)
	LIST(OCI_BLKIO_MERGED, io_merged_recursive)
	LIST(OCI_BLKIO_TIME, io_time_recursive)
	LIST(OCI_BLKIO_SECTORS, sectors_recursive)
#undef LIST
	return m;
}

static size_t rdma_list1(struct hk_arena *a, const struct oci_rdma_stats *from, Husk__Cgroup1__RdmaEntry ***ret)
{
	*ret = NEW_LIST(a, Husk__Cgroup1__RdmaEntry, husk__cgroup1__rdma_entry__init, from->n);
	for (size_t i = 0; *ret && i < from->n; i++) {
		(*ret)[i]->device = str(from->v[i].device);
		(*ret)[i]->hca_handles = from->v[i].hca_handles;
		(*ret)[i]->hca_objects = from->v[i].hca_objects;
	}
	return *ret ? from->n : 0;
}

static Husk__Cgroup1__RdmaStat *rdma1(struct hk_arena *a, const struct oci_stats *all)
{
	Husk__Cgroup1__RdmaStat *m = NEW(a, Husk__Cgroup1__RdmaStat, husk__cgroup1__rdma_stat__init);

	if (!m)
		return NULL;
	m->n_current = rdma_list1(a, &all->rdma_current, &m->current);
	m->n_limit = rdma_list1(a, &all->rdma_limit, &m->limit);
	return m;
}

static void hugetlb1(struct hk_arena *a, const struct oci_stats *all, Husk__Cgroup1__Metrics *out)
{
	out->hugetlb = NEW_LIST(a, Husk__Cgroup1__HugetlbStat, husk__cgroup1__hugetlb_stat__init, all->n_hugetlb);
	out->n_hugetlb = out->hugetlb ? all->n_hugetlb : 0;
	for (size_t i = 0; i < out->n_hugetlb; i++) {
		const struct oci_hugetlb_stat *s = &all->hugetlb[i];
		Husk__Cgroup1__HugetlbStat *m = out->hugetlb[i];

		COPY(max) COPY(failcnt)
		m->usage = s->current;
		m->pagesize = str(s->pagesize);
	}
}

static Husk__Cgroup1__MemoryOomControl *oom_control1(struct hk_arena *a, const struct oci_stats *all)
{
	const __typeof__(all->v1.oom_control) *s = &all->v1.oom_control;
	Husk__Cgroup1__MemoryOomControl *m = NEW(a, Husk__Cgroup1__MemoryOomControl, husk__cgroup1__memory_oom_control__init);

	if (!m)
		return NULL;
	COPY(oom_kill_disable) COPY(under_oom) COPY(oom_kill)
	return m;
}

static int pack1(struct hk_arena *a, const struct oci_stats *s, uint8_t **ret, size_t *ret_len)
{
	Husk__Cgroup1__Metrics m;

	husk__cgroup1__metrics__init(&m);
	if (s->has_pids) {
		m.pids = NEW(a, Husk__Cgroup1__PidsStat, husk__cgroup1__pids_stat__init);
		if (m.pids) {
			m.pids->current = s->pids_current;
			m.pids->limit = s->pids_limit;
		}
	}
	m.cpu = s->has_cpu ? cpu1(a, s) : NULL;
	m.memory = s->has_memory ? memory1(a, s) : NULL;
	m.memory_oom_control = s->v1.has_oom_control ? oom_control1(a, s) : NULL;
	m.blkio = s->v1.has_blkio ? blkio1(a, s) : NULL;
	m.rdma = s->has_rdma ? rdma1(a, s) : NULL;
	hugetlb1(a, s, &m);
	NETWORK(a, s, &m, Husk__Cgroup1__NetworkStat, husk__cgroup1__network_stat__init);
	return ttrpc_pack(&m.base, ret, ret_len);
}

int convert_stats(const struct oci_stats *s, struct hk_arena *arena, char **ret_type, uint8_t **ret, size_t *ret_len)
{
	*ret_type = str(s->is_v1 ? TYPE_CGROUP1_METRICS : TYPE_CGROUP2_METRICS);
	return s->is_v1 ? pack1(arena, s, ret, ret_len) : pack2(arena, s, ret, ret_len);
}

void convert_reply_stats(struct ttrpc_call *call, const struct oci_stats *s)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	hk_autofree uint8_t *bytes = NULL;
	Husk__Task__StatsResponse m;
	Husk__Types__Any any;

	husk__task__stats_response__init(&m);
	husk__types__any__init(&any);
	if (convert_stats(s, &arena, &any.type_url, &bytes, &any.value.len) < 0) {
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	any.value.data = bytes;
	m.stats = &any;
	ttrpc_call_reply(call, &m.base);
}
