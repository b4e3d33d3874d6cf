/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_v1.c — linux.resources into the files of the v1 controllers, one controller and directory at a time.
 * Only what is named is written. Where the kernel checks two files against each other the order follows from the values in force.
 */
#include "oci/cgroup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "oci/cgroup_calc.h"

#define LIMIT_FILE "memory.limit_in_bytes"
#define MEMSW_FILE "memory.memsw.limit_in_bytes"

/* Without swap accounting "no limit" and "no swap" hold anyway. */
static bool is_moot_swap(int64_t limit, int64_t swap)
{
	return swap < 0 || swap == limit;
}

static int write_swap(struct cg_dir *d, int64_t limit, int64_t swap, struct hk_err *err)
{
	char buf[CG_NUM_MAX];
	int r;

	(void)hk_fmt(buf, sizeof(buf), "%lld", (long long)swap);
	r = cg_dir_write(d, MEMSW_FILE, buf);
	if (r == 0 || (r == -ENOENT && !d->is_absent && is_moot_swap(limit, swap)))
		return 0;
	return cg_write_failed(d, MEMSW_FILE, buf, r, err);
}

/* Both limits: the kernel wants limit <= memsw at every moment, so the one that makes room goes first. */
static int write_memory_and_swap(struct cg_dir *d, int64_t limit, int64_t swap, struct hk_err *err)
{
	uint64_t old_limit = 0, old_swap = 0;
	bool has_old = cg_read_u64(d, LIMIT_FILE, &old_limit) == 0;
	bool has_old_swap = cg_read_u64(d, MEMSW_FILE, &old_swap) == 0;
	bool swap_first = swap < 0 || (has_old && old_limit < (uint64_t)swap);
	char buf[CG_NUM_MAX];
	int r;

	if (swap_first) {
		r = write_swap(d, limit, swap, err);
		if (r == 0)
			r = cg_write_i64(d, LIMIT_FILE, limit, err);
		if (r < 0 && has_old_swap) { /* refused means refused: the old pair stays */
			(void)hk_fmt(buf, sizeof(buf), "%llu", (unsigned long long)old_swap);
			(void)cg_dir_write(d, MEMSW_FILE, buf);
		}
		return r;
	}
	r = cg_write_i64(d, LIMIT_FILE, limit, err);
	if (r == 0)
		r = write_swap(d, limit, swap, err);
	if (r < 0 && has_old) {
		(void)hk_fmt(buf, sizeof(buf), "%llu", (unsigned long long)old_limit);
		(void)cg_dir_write(d, LIMIT_FILE, buf);
	}
	return r;
}

/* 0 means "not given" for the sizes, as in runc; -1 is no limit. */
static int write_memory_limits(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	int64_t limit = r->memory.limit.is_set ? r->memory.limit.v : 0;
	int64_t swap = r->memory.swap.is_set ? r->memory.swap.v : 0;

	if (limit < 0 && swap == 0)
		swap = -1; /* memory without limit under a memory+swap limit is refused by the kernel */
	if (limit > 0 && swap > 0 && swap < limit)
		return hk_fail_text(err, HK_INVALID, EINVAL, "memory.swap %lld is memory plus swap and cannot be below memory.limit %lld",
		    (long long)swap, (long long)limit);
	if (limit != 0 && swap != 0)
		return write_memory_and_swap(d, limit, swap, err);
	if (limit != 0)
		return cg_write_i64(d, LIMIT_FILE, limit, err);
	return swap != 0 ? write_swap(d, 0, swap, err) : 0;
}

static int write_memory(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	int rc = 0;

	if (r->memory.use_hierarchy.is_set)
		rc = cg_write_i64(d, "memory.use_hierarchy", r->memory.use_hierarchy.v, err);
	/* Before a limit can be hit. */
	if (rc == 0 && r->memory.disable_oom_killer.is_set)
		rc = cg_write_i64(d, "memory.oom_control", r->memory.disable_oom_killer.v, err);
	if (rc == 0)
		rc = write_memory_limits(d, r, err);
	if (rc == 0 && r->memory.reservation.is_set && r->memory.reservation.v != 0)
		rc = cg_write_i64(d, "memory.soft_limit_in_bytes", r->memory.reservation.v, err);
	if (rc == 0 && r->memory.swappiness.is_set)
		rc = cg_write_u64(d, "memory.swappiness", r->memory.swappiness.v, err);
	if (rc == 0 && (r->memory.kernel.is_set || r->memory.kernel_tcp.is_set))
		log_debug("kernel memory limits have no effect any more", LOG_STR("cgroup", d->path));
	return rc;
}

/* Two files the kernel checks against each other: in this order, or the other when the first is refused for the other's old value. */
static int write_pair(struct cg_dir *d, const char *const file[2], const char *const value[2], struct hk_err *err)
{
	int r = cg_dir_write(d, file[0], value[0]);

	if (r == -EINVAL) {
		r = cg_write(d, file[1], value[1], err);
		return r < 0 ? r : cg_write(d, file[0], value[0], err);
	}
	if (r < 0)
		return cg_write_failed(d, file[0], value[0], r, err);
	return cg_write(d, file[1], value[1], err);
}

static int write_quota(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	const char *const file[2] = { "cpu.cfs_period_us", "cpu.cfs_quota_us" };
	char period[CG_NUM_MAX], quota[CG_NUM_MAX];
	const char *const value[2] = { period, quota };

	(void)hk_fmt(period, sizeof(period), "%llu", (unsigned long long)(r->cpu.period.v ? r->cpu.period.v : 100000));
	(void)hk_fmt(quota, sizeof(quota), "%lld", (long long)(r->cpu.quota.v > 0 ? r->cpu.quota.v : -1));
	if (r->cpu.period.is_set && r->cpu.quota.is_set)
		return write_pair(d, file, value, err);
	if (r->cpu.period.is_set)
		return cg_write(d, file[0], period, err);
	return r->cpu.quota.is_set ? cg_write(d, file[1], quota, err) : 0;
}

/* The burst may not exceed the quota: before it when that shrinks, after it when that grows. */
static int write_quota_and_burst(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char burst[CG_NUM_MAX];
	int rc;

	if (!r->cpu.burst.is_set)
		return write_quota(d, r, err);
	(void)hk_fmt(burst, sizeof(burst), "%llu", (unsigned long long)r->cpu.burst.v);
	rc = cg_dir_write(d, "cpu.cfs_burst_us", burst);
	if (rc < 0 && rc != -EINVAL)
		return cg_write_failed(d, "cpu.cfs_burst_us", burst, rc, err);
	if (rc == 0)
		return write_quota(d, r, err);
	rc = write_quota(d, r, err);
	return rc < 0 ? rc : cg_write(d, "cpu.cfs_burst_us", burst, err);
}

static int write_realtime(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	const char *const file[2] = { "cpu.rt_period_us", "cpu.rt_runtime_us" };
	char period[CG_NUM_MAX], runtime[CG_NUM_MAX];
	const char *const value[2] = { period, runtime };

	(void)hk_fmt(period, sizeof(period), "%llu", (unsigned long long)r->cpu.realtime_period.v);
	(void)hk_fmt(runtime, sizeof(runtime), "%lld", (long long)r->cpu.realtime_runtime.v);
	if (r->cpu.realtime_period.is_set && r->cpu.realtime_runtime.is_set)
		return write_pair(d, file, value, err);
	if (r->cpu.realtime_period.is_set)
		return cg_write(d, file[0], period, err);
	return r->cpu.realtime_runtime.is_set ? cg_write(d, file[1], runtime, err) : 0;
}

static int write_cpu(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	bool is_idle = r->cpu.idle.is_set && r->cpu.idle.v != 0;
	int rc = 0;

	if (r->cpu.idle.is_set && !is_idle) /* an idle group refuses shares */
		rc = cg_write_i64(d, "cpu.idle", 0, err);
	if (rc == 0 && !is_idle && r->cpu.shares.is_set && r->cpu.shares.v != 0)
		rc = cg_write_u64(d, "cpu.shares", r->cpu.shares.v, err);
	if (rc == 0 && is_idle)
		rc = cg_write_i64(d, "cpu.idle", r->cpu.idle.v, err);
	if (rc == 0)
		rc = write_realtime(d, r, err);
	return rc < 0 ? rc : write_quota_and_burst(d, r, err);
}

static int write_cpuset(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	int rc = 0;

	if (r->cpu.cpus && *r->cpu.cpus)
		rc = cg_write(d, "cpuset.cpus", r->cpu.cpus, err);
	if (rc == 0 && r->cpu.mems && *r->cpu.mems)
		rc = cg_write(d, "cpuset.mems", r->cpu.mems, err);
	return rc;
}

static int write_pids(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char buf[CG_NUM_MAX];

	if (!r->pids_limit.is_set)
		return 0;
	/* 0 would forbid the init itself; 1 is the same for all that comes after it. */
	cg_limit_text(r->pids_limit.v == 0 ? 1 : r->pids_limit.v, buf);
	return cg_write(d, "pids.max", buf, err);
}

/* CFQ's file, or BFQ's since 5.0 has no CFQ. */
static int write_either(struct cg_dir *d, const char *file, const char *bfq_file, const char *value, struct hk_err *err)
{
	int r = cg_dir_write(d, file, value);

	if (r == -ENOENT)
		return cg_write(d, bfq_file, value, err);
	return r < 0 ? cg_write_failed(d, file, value, r, err) : 0;
}

static int write_weight_devices(struct cg_dir *d, const struct oci_dev_rates *rates, struct hk_err *err)
{
	char line[2 * CG_NUM_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < rates->n; i++) {
		if (rates->v[i].has_rate && rates->v[i].rate != 0) {
			(void)cg_dev_line(&rates->v[i], rates->v[i].rate, line, sizeof(line));
			rc = write_either(d, "blkio.weight_device", "blkio.bfq.weight_device", line, err);
		}
		if (rc == 0 && rates->v[i].has_leaf && rates->v[i].leaf != 0) {
			(void)cg_dev_line(&rates->v[i], rates->v[i].leaf, line, sizeof(line));
			rc = cg_write(d, "blkio.leaf_weight_device", line, err);
		}
	}
	return rc;
}

static int write_rates(struct cg_dir *d, const char *file, const struct oci_dev_rates *rates, struct hk_err *err)
{
	char line[2 * CG_NUM_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < rates->n; i++) {
		(void)cg_dev_line(&rates->v[i], rates->v[i].rate, line, sizeof(line));
		rc = cg_write(d, file, line, err);
	}
	return rc;
}

static int write_blkio(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char num[CG_NUM_MAX];
	int rc = 0;

	if (r->block_io.weight.is_set && r->block_io.weight.v != 0) {
		(void)hk_fmt(num, sizeof(num), "%llu", (unsigned long long)r->block_io.weight.v);
		rc = write_either(d, "blkio.weight", "blkio.bfq.weight", num, err);
	}
	if (rc == 0 && r->block_io.leaf_weight.is_set && r->block_io.leaf_weight.v != 0)
		rc = cg_write_u64(d, "blkio.leaf_weight", r->block_io.leaf_weight.v, err);
	if (rc == 0)
		rc = write_weight_devices(d, &r->block_io.weight_device, err);
	if (rc == 0)
		rc = write_rates(d, "blkio.throttle.read_bps_device", &r->block_io.read_bps, err);
	if (rc == 0)
		rc = write_rates(d, "blkio.throttle.write_bps_device", &r->block_io.write_bps, err);
	if (rc == 0)
		rc = write_rates(d, "blkio.throttle.read_iops_device", &r->block_io.read_iops, err);
	if (rc == 0)
		rc = write_rates(d, "blkio.throttle.write_iops_device", &r->block_io.write_iops, err);
	return rc;
}

static int write_hugetlb(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char file[80], num[CG_NUM_MAX];
	int rc;

	for (size_t i = 0; i < r->n_hugepages; i++) {
		const struct oci_hugepage *h = &r->hugepages[i];

		if (cg_hugetlb_file(h->page_size, "limit_in_bytes", file, sizeof(file)) < 0)
			return hk_fail_text(err, HK_INVALID, EINVAL, "hugepageLimits[%zu].pageSize \"%s\" is no size", i, h->page_size);
		rc = cg_write_u64(d, file, h->limit, err);
		if (rc < 0)
			return rc;
		(void)cg_hugetlb_file(h->page_size, "rsvd.limit_in_bytes", file, sizeof(file));
		(void)hk_fmt(num, sizeof(num), "%llu", (unsigned long long)h->limit);
		rc = cg_dir_write(d, file, num);
		if (rc < 0 && rc != -ENOENT) /* the file came with 5.7 */
			return cg_write_failed(d, file, num, rc, err);
	}
	return 0;
}

static int write_net_cls(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	return r->has_class_id ? cg_write_u64(d, "net_cls.classid", r->class_id, err) : 0;
}

static int write_net_prio(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char line[80];
	int rc;

	for (size_t i = 0; i < r->net_priorities.n; i++) {
		const struct oci_kv *kv = &r->net_priorities.v[i];

		if (hk_fmt(line, sizeof(line), "%s %s", kv->key, kv->value) < 0)
			return hk_fail_text(err, HK_INVALID, EINVAL, "network.priorities: interface name \"%s\" is too long", kv->key);
		rc = cg_write(d, "net_prio.ifpriomap", line, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int write_rdma(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char line[160];
	int rc;

	for (size_t i = 0; i < r->n_rdma; i++) {
		if (cg_rdma_line(&r->rdma[i], line, sizeof(line)) < 0)
			return hk_fail_text(err, HK_INVALID, EINVAL, "rdma: device name \"%s\" is too long", r->rdma[i].device);
		rc = cg_write(d, "rdma.max", line, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* One rule per write; the two files stay open for the list. */
static int write_device_list(struct cg_dir *d, const struct oci_dev_rule *v, size_t n, struct hk_err *err)
{
	static const char *const names[2] = { "devices.deny", "devices.allow" };
	hk_autofd deny = -1;
	hk_autofd allow = -1;
	int dirfd = cg_dir_fd(d);
	char line[4 * CG_NUM_MAX];

	if (dirfd < 0)
		return cg_write_failed(d, names[0], "the device list", dirfd, err);
	deny = openat(dirfd, names[0] + (d->no_prefix ? strlen("devices.") : 0), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	allow = openat(dirfd, names[1] + (d->no_prefix ? strlen("devices.") : 0), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (deny < 0 || allow < 0)
		return cg_write_failed(d, names[deny >= 0], "the device list", -errno, err);
	for (size_t i = 0; i < n; i++) {
		/* The kernel takes "a" for every device and access whatever follows it: anything less is said of 'b' and 'c'. */
		const char *types = cg_device_is_all(&v[i]) ? "a" : v[i].type == 'a' ? "bc" : v[i].type == 'b' ? "b" : "c";

		for (; *types; types++) {
			int rc;

			(void)cg_device_line(&v[i], *types, line, sizeof(line));
			rc = hk_write_once(v[i].allow ? allow : deny, line, strlen(line));
			if (rc < 0)
				return cg_write_failed(d, names[v[i].allow], line, rc, err);
		}
	}
	return 0;
}

static int write_devices(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	hk_autofree struct oci_dev_rule *v = NULL;
	size_t n = 0, bad = 0;
	long conflict;
	int rc;

	rc = cg_device_rules(r->devices, r->n_devices, &v, &n, &bad);
	if (rc == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.resources.devices[%zu] is not a valid rule", bad);
	if (rc < 0)
		return hk_fail(err, HK_INTERNAL, -rc, "device rules");
	conflict = cg_device_v1_conflict(v, n);
	if (conflict >= 0) {
		char line[4 * CG_NUM_MAX];
		const char type = v[conflict].type;

		(void)cg_device_line(&v[conflict], (char)(type == 'a' ? 'c' : type), line, sizeof(line));
		return hk_fail_text(err, HK_UNSUPPORTED, EINVAL,
		    "linux.resources.devices: cgroup v1 cannot deny \"%s\" out of a wider rule that allows it", line);
	}
	return write_device_list(d, v, n, err);
}

typedef int writer_fn(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);

int cg_v1_write(enum cg_ctl ctl, struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	static writer_fn *const writers[CG_N_CTLS] = {
		[CG_CPU] = write_cpu,
		[CG_CPUSET] = write_cpuset,
		[CG_MEMORY] = write_memory,
		[CG_DEVICES] = write_devices,
		[CG_IO] = write_blkio,
		[CG_PIDS] = write_pids,
		[CG_HUGETLB] = write_hugetlb,
		[CG_NET_CLS] = write_net_cls,
		[CG_NET_PRIO] = write_net_prio,
		[CG_RDMA] = write_rdma,
	};

	return writers[ctl] ? writers[ctl](d, r, err) : 0;
}

static int cpuset_fill(struct cg_dir *d, struct cg_dir *parent, const char *file, bool *ret_retry, struct hk_err *err)
{
	char have[4096], from[4096];
	ssize_t n = cg_read(d, file, have, sizeof(have));

	if (n < 0)
		return hk_fail(err, HK_INTERNAL, (int)-n, "read %s%s/%s", d->mount, d->path, file);
	if (n > 0)
		return 0;
	n = cg_read(parent, file, from, sizeof(from));
	if (n < 0)
		return hk_fail(err, HK_INTERNAL, (int)-n, "read %s%s/%s", parent->mount, parent->path, file);
	if (n == 0) {
		*ret_retry = true;
		return 0;
	}
	return cg_write(d, file, from, err);
}

/* Fills the directory that the first `len` bytes of path name from the one above it. */
static int cpuset_inherit_one(const struct cg_hier *h, const char *path, size_t len, bool *ret_retry, struct hk_err *err)
{
	char child[PATH_MAX], above[PATH_MAX];
	struct cg_dir d, parent;
	char *slash;
	int r;

	(void)hk_fmt(child, sizeof(child), "%.*s", (int)len, path);
	(void)hk_fmt(above, sizeof(above), "%s", child);
	slash = strrchr(above, '/');
	slash[slash == above] = '\0';
	cg_dir_init(&d, h, child);
	cg_dir_init(&parent, h, above);
	r = cpuset_fill(&d, &parent, "cpuset.cpus", ret_retry, err);
	if (r == 0)
		r = cpuset_fill(&d, &parent, "cpuset.mems", ret_retry, err);
	cg_dir_done(&d);
	cg_dir_done(&parent);
	return r;
}

int cg_v1_cpuset_inherit(const struct cg_hier *h, const char *path, struct hk_err *err)
{
	bool is_parent_empty = false, dummy = false;
	size_t len = strlen(path);
	int r = cpuset_inherit_one(h, path, len, &is_parent_empty, err);

	/* Usually the parent has values and one turn is enough; else fill from the top. */
	for (size_t at = 1; r == 0 && is_parent_empty && at <= len; at++) {
		if (path[at] == '/' || path[at] == '\0')
			r = cpuset_inherit_one(h, path, at, &dummy, err);
	}
	return r;
}
