/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/spec_resources.h — linux.resources of config.json; the same struct serves Task.Update. Part of oci/spec.h.
 */
#pragma once
#include "oci/spec_process.h"

struct oci_dev_rule {
	bool allow;
	char type; /* 'a', 'b', 'c' */
	int64_t major, minor; /* -1 = any */
	bool read, write, mknod;
};
struct oci_dev_rate { /* also weight devices: rate = weight, leaf = leafWeight */
	int64_t major, minor;
	uint64_t rate, leaf;
	bool has_rate, has_leaf;
};
struct oci_dev_rates {
	struct oci_dev_rate *v;
	size_t n;
};
struct oci_hugepage {
	const char *page_size;
	uint64_t limit;
};
struct oci_rdma {
	const char *device;
	bool has_handles, has_objects;
	uint32_t handles, objects;
};
struct oci_opt_i64 {
	bool is_set;
	int64_t v;
};
struct oci_opt_u64 {
	bool is_set;
	uint64_t v;
};
struct oci_resources {
	struct oci_dev_rule *devices;
	size_t n_devices;
	struct {
		struct oci_opt_i64 limit, reservation, swap, kernel, kernel_tcp;
		struct oci_opt_u64 swappiness;
		struct oci_opt_i64 disable_oom_killer, use_hierarchy, check_before_update; /* 0 or 1 */
	} memory;
	struct {
		struct oci_opt_u64 shares, period, burst, realtime_period;
		struct oci_opt_i64 quota, realtime_runtime, idle;
		const char *cpus, *mems;
	} cpu;
	struct oci_opt_i64 pids_limit;
	struct {
		struct oci_opt_u64 weight, leaf_weight;
		struct oci_dev_rates weight_device, read_bps, write_bps, read_iops, write_iops;
	} block_io;
	struct oci_hugepage *hugepages;
	size_t n_hugepages;
	bool has_class_id;
	uint32_t class_id;
	struct oci_kvs net_priorities; /* interface -> priority */
	struct oci_rdma *rdma;
	size_t n_rdma;
	struct oci_kvs unified;        /* sorted by key */
};
