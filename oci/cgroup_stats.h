/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_stats.h — what Task.Stats reports, read from cgroup files into plain structs. Field names are those of containerd's
 * io.containerd.cgroups.v1/v2.Metrics, so that the lists below also serve the conversion. "max" is UINT64_MAX.
 * A zeroed struct is empty; oci_stats_done frees the arrays. Not here: network and (v1) cgroup_stats, which no shim fills.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* v2 memory.stat: key = field. The workingset keys are split into _anon and _file since 5.9: then the field is their sum. */
#define OCI_V2_MEMORY_STAT(X)                                                                                    \
	X(anon) X(file) X(kernel_stack) X(slab) X(sock) X(shmem) X(file_mapped) X(file_dirty) X(file_writeback)  \
	X(anon_thp) X(inactive_anon) X(active_anon) X(inactive_file) X(active_file) X(unevictable)               \
	X(slab_reclaimable) X(slab_unreclaimable) X(pgfault) X(pgmajfault) X(workingset_refault)                 \
	X(workingset_activate) X(workingset_nodereclaim) X(pgrefill) X(pgscan) X(pgsteal) X(pgactivate)          \
	X(pgdeactivate) X(pglazyfree) X(pglazyfreed) X(thp_fault_alloc) X(thp_collapse_alloc)
/* v2 memory: field, file. Absent: 0. */
#define OCI_V2_MEMORY_FILES(X)                                                                                   \
	X(usage, "memory.current") X(usage_limit, "memory.max") X(swap_usage, "memory.swap.current")             \
	X(swap_limit, "memory.swap.max") X(max_usage, "memory.peak") X(swap_max_usage, "memory.swap.peak")
#define OCI_V2_MEMORY_EVENTS(X) X(low) X(high) X(max) X(oom) X(oom_kill) X(oom_group_kill)
#define OCI_V2_CPU_STAT(X)                                                                                       \
	X(usage_usec) X(user_usec) X(system_usec) X(nr_periods) X(nr_throttled) X(throttled_usec) X(nr_bursts) X(burst_usec)
/* v1 memory.stat: field, key; each also with total_ in front of both. */
#define OCI_V1_MEMORY_STAT(X)                                                                                    \
	X(cache, "cache") X(rss, "rss") X(rss_huge, "rss_huge") X(mapped_file, "mapped_file") X(dirty, "dirty")  \
	X(writeback, "writeback") X(pg_pg_in, "pgpgin") X(pg_pg_out, "pgpgout") X(pg_fault, "pgfault")           \
	X(pg_maj_fault, "pgmajfault") X(inactive_anon, "inactive_anon") X(active_anon, "active_anon")            \
	X(inactive_file, "inactive_file") X(active_file, "active_file") X(unevictable, "unevictable")

#define OCI_STAT_FIELD(name) uint64_t name;
#define OCI_STAT_FIELD2(name, key) uint64_t name;
#define OCI_STAT_FIELD_TOTAL(name, key) uint64_t total_##name;

struct oci_psi_line {
	double avg10, avg60, avg300;
	uint64_t total;
};
struct oci_psi {
	bool is_set, has_full; /* is_set: the file was there and readable */
	struct oci_psi_line some, full;
};
struct oci_rdma_stat {
	char device[64];
	uint32_t hca_handles, hca_objects; /* "max" is UINT32_MAX */
};
struct oci_rdma_stats {
	struct oci_rdma_stat *v; /* owned */
	size_t n;
};
struct oci_hugetlb_stat {
	char pagesize[16];
	uint64_t current, max, failcnt; /* v1: usage, max_usage, failcnt */
};
struct oci_io_stat {
	uint64_t major, minor, rbytes, wbytes, rios, wios;
};
struct oci_blkio_entry {
	char op[16], device[64]; /* device: "/dev/sda", "" when unknown */
	uint64_t major, minor, value;
};
struct oci_blkio_list {
	struct oci_blkio_entry *v; /* owned */
	size_t n;
};
struct oci_net_stat {
	char name[16];
	uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped;
};
struct oci_memory_entry {
	uint64_t limit, usage, max, failcnt;
};

struct oci_stats_v2 {
	struct {
		OCI_V2_CPU_STAT(OCI_STAT_FIELD)
		struct oci_psi psi;
	} cpu;
	struct {
		OCI_V2_MEMORY_STAT(OCI_STAT_FIELD)
		OCI_V2_MEMORY_FILES(OCI_STAT_FIELD2)
		struct oci_psi psi;
	} memory;
	struct {
		OCI_V2_MEMORY_EVENTS(OCI_STAT_FIELD)
	} memory_events;
	struct oci_io_stat *io; /* owned */
	size_t n_io;
	struct oci_psi io_psi;
	bool has_memory_events, has_io;
};
enum oci_blkio_kind { /* order of the message's fields 1-8 */
	OCI_BLKIO_SERVICE_BYTES,
	OCI_BLKIO_SERVICED,
	OCI_BLKIO_QUEUED,
	OCI_BLKIO_SERVICE_TIME,
	OCI_BLKIO_WAIT_TIME,
	OCI_BLKIO_MERGED,
	OCI_BLKIO_TIME,
	OCI_BLKIO_SECTORS,
	OCI_N_BLKIO
};
struct oci_stats_v1 {
	struct {
		uint64_t total, kernel, user; /* ns */
		uint64_t *per_cpu;            /* owned */
		size_t n_per_cpu;
		uint64_t periods, throttled_periods, throttled_time;
		bool has_usage, has_throttling;
	} cpu;
	struct {
		OCI_V1_MEMORY_STAT(OCI_STAT_FIELD2)
		uint64_t hierarchical_memory_limit, hierarchical_swap_limit;
		OCI_V1_MEMORY_STAT(OCI_STAT_FIELD_TOTAL)
		struct oci_memory_entry usage, swap, kernel, kernel_tcp;
		bool has_swap, has_kernel, has_kernel_tcp;
	} memory;
	struct {
		uint64_t oom_kill_disable, under_oom, oom_kill;
	} oom_control;
	struct oci_blkio_list blkio[OCI_N_BLKIO];
	bool has_oom_control, has_blkio;
};
struct oci_stats {
	bool is_v1; /* which Metrics message: `v1` or `v2` below */
	bool has_pids, has_cpu, has_memory, has_rdma;
	uint64_t pids_current, pids_limit; /* "max": UINT64_MAX on v2, 0 on v1 as containerd's own reader has it */
	struct oci_rdma_stats rdma_current, rdma_limit;
	struct oci_hugetlb_stat *hugetlb; /* owned */
	size_t n_hugetlb;
	struct oci_net_stat *net; /* owned; by oci_container_net_stats */
	size_t n_net;
	union {
		struct oci_stats_v2 v2;
		struct oci_stats_v1 v1;
	};
};

void oci_stats_done(struct oci_stats *s);

struct oci_container;
/*
 * Adds the interfaces of the container's network namespace, if that is not the host's, to what oci_cgroup_stats has filled. -errno: its init
 * is gone.
 */
int oci_container_net_stats(const struct oci_container *c, struct oci_stats *s);
/* The text of a net/dev file, cut up in place; into s->net. */
int oci_net_stats_parse(char *text, struct oci_stats *s);
