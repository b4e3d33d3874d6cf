/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_v2.c — linux.resources into the files of cgroup v2: controllers enabled on the way down, then values written.
 * Only what is named is written. What v2 has no file for (swappiness, OOM killer off, kernel memory, leaf weights, net_cls, real time) has
 * no effect, as under runc.
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

/* Some kernels are built without swap: "no limit" and "no swap" hold there anyway. */
static int write_swap(struct cg_dir *d, int64_t swap, struct hk_err *err)
{
	char buf[CG_NUM_MAX];
	int r;

	cg_limit_text(swap, buf);
	r = cg_dir_write(d, "memory.swap.max", buf);
	if (r == 0 || (r == -ENOENT && !d->is_absent && swap <= 0))
		return 0;
	return cg_write_failed(d, "memory.swap.max", buf, r, err);
}

/*
 * O_NONBLOCK: since 6.16 the limit is set without the kernel reclaiming (for seconds, in a process that must answer); the next
 * allocation of the container pays instead. Older kernels ignore the flag.
 */
static int write_memory_max(struct cg_dir *d, int64_t limit, struct hk_err *err)
{
	char buf[CG_NUM_MAX];
	int dirfd = cg_dir_fd(d), r;

	cg_limit_text(limit, buf);
	if (dirfd < 0) {
		r = dirfd;
	} else {
		hk_autofd fd = openat(dirfd, "memory.max", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

		r = fd < 0 ? -errno : hk_write_once(fd, buf, strlen(buf));
	}
	return r < 0 ? cg_write_failed(d, "memory.max", buf, r, err) : 0;
}

/* An update may name the swap alone: the memory limit it builds on is then the one in force. */
static void limit_in_force(struct cg_dir *d, const struct oci_resources *r, struct oci_opt_i64 *ret)
{
	uint64_t v;

	*ret = r->memory.limit;
	if ((!ret->is_set || ret->v == 0) && r->memory.swap.is_set && r->memory.swap.v > 0 && cg_read_u64(d, "memory.max", &v) == 0 &&
	    v <= INT64_MAX)
		*ret = (struct oci_opt_i64){ .is_set = true, .v = (int64_t)v };
}

static int swap_of(struct cg_dir *d, const struct oci_resources *r, int64_t *ret_swap, bool *ret_is_set, struct hk_err *err)
{
	struct oci_opt_i64 limit;

	*ret_is_set = false;
	limit_in_force(d, r, &limit);
	switch (cg_swap_max(&limit, &r->memory.swap, ret_swap)) {
	case CG_SWAP_UNSET:
		return 0;
	case CG_SWAP_SET:
		*ret_is_set = true;
		return 0;
	case CG_SWAP_NO_LIMIT:
		return hk_fail_text(err, HK_INVALID, EINVAL, "memory.swap is memory plus swap and needs a memory.limit");
	case CG_SWAP_BELOW_LIMIT:
		break;
	}
	return hk_fail_text(err, HK_INVALID, EINVAL, "memory.swap %lld is memory plus swap and cannot be below memory.limit %lld",
	    (long long)r->memory.swap.v, (long long)limit.v);
}

int cg_v2_check_memory(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	uint64_t usage;
	int64_t swap;
	bool has_swap;
	int rc;

	if (!r->memory.check_before_update.is_set || !r->memory.check_before_update.v)
		return 0;
	rc = swap_of(d, r, &swap, &has_swap, err);
	if (rc < 0)
		return rc;
	/* A file that cannot be read cannot speak against the update. */
	if (r->memory.limit.is_set && r->memory.limit.v > 0 && cg_read_u64(d, "memory.current", &usage) == 0 &&
	    (uint64_t)r->memory.limit.v <= usage)
		return hk_fail_text(err, HK_INVALID, EBUSY, "memory.limit %lld is not above the %llu bytes in use",
		    (long long)r->memory.limit.v, (unsigned long long)usage);
	if (has_swap && swap >= 0 && cg_read_u64(d, "memory.swap.current", &usage) == 0 && usage > (uint64_t)swap)
		return hk_fail_text(err, HK_INVALID, EBUSY, "memory.swap leaves %lld bytes of swap and %llu are in use", (long long)swap,
		    (unsigned long long)usage);
	return 0;
}

static int write_memory(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char buf[CG_NUM_MAX];
	int64_t swap = 0;
	bool has_swap;
	int rc = swap_of(d, r, &swap, &has_swap, err);

	/* v2 checks no limit against another: any order works, growing or shrinking. */
	if (rc == 0 && has_swap)
		rc = write_swap(d, swap, err);
	if (rc == 0 && r->memory.reservation.is_set && r->memory.reservation.v != 0) {
		cg_limit_text(r->memory.reservation.v, buf);
		rc = cg_write(d, "memory.low", buf, err);
	}
	if (rc == 0 && r->memory.limit.is_set && r->memory.limit.v != 0)
		rc = write_memory_max(d, r->memory.limit.v, err);
	if (rc == 0 && (r->memory.swappiness.is_set || r->memory.kernel.is_set || r->memory.kernel_tcp.is_set ||
			   (r->memory.disable_oom_killer.is_set && r->memory.disable_oom_killer.v)))
		log_debug("swappiness, kernel memory and OOM killer settings have no effect on cgroup v2", LOG_STR("cgroup", d->path));
	return rc;
}

static int write_cpu_max(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char buf[CG_NUM_MAX], current[CG_NUM_MAX];
	bool has_current = false;

	if (!r->cpu.quota.is_set && !r->cpu.period.is_set)
		return 0;
	if (!r->cpu.quota.is_set)
		has_current = cg_read(d, "cpu.max", current, sizeof(current)) > 0;
	(void)cg_cpu_max(&r->cpu.quota, &r->cpu.period, has_current ? current : NULL, buf);
	return cg_write(d, "cpu.max", buf, err);
}

static int write_cpu_max_and_burst(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char burst[CG_NUM_MAX];
	int rc;

	if (!r->cpu.burst.is_set)
		return write_cpu_max(d, r, err);
	/* The burst may not exceed the quota: before it when that shrinks, after it when that grows. */
	(void)hk_fmt(burst, sizeof(burst), "%llu", (unsigned long long)r->cpu.burst.v);
	rc = cg_dir_write(d, "cpu.max.burst", burst);
	if (rc < 0 && rc != -EINVAL)
		return cg_write_failed(d, "cpu.max.burst", burst, rc, err);
	if (rc == 0)
		return write_cpu_max(d, r, err);
	rc = write_cpu_max(d, r, err);
	return rc < 0 ? rc : cg_write(d, "cpu.max.burst", burst, err);
}

static int write_cpu(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	bool is_idle = r->cpu.idle.is_set && r->cpu.idle.v != 0;
	int rc = 0;

	if (r->cpu.idle.is_set && !is_idle) /* an idle group refuses a weight */
		rc = cg_write_i64(d, "cpu.idle", 0, err);
	if (rc == 0 && !is_idle && r->cpu.shares.is_set && r->cpu.shares.v != 0)
		rc = cg_write_u64(d, "cpu.weight", cg_cpu_weight(r->cpu.shares.v), err);
	if (rc == 0 && is_idle)
		rc = cg_write_i64(d, "cpu.idle", r->cpu.idle.v, err);
	return rc < 0 ? rc : write_cpu_max_and_burst(d, r, err);
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
	/* 0 would forbid the init itself (it is born in the cgroup); 1 is the same for all that comes after it. */
	cg_limit_text(r->pids_limit.v == 0 ? 1 : r->pids_limit.v, buf);
	return cg_write(d, "pids.max", buf, err);
}

/* BFQ's file takes the number as it is; without BFQ, io.weight (io.cost) has another scale. */
static int write_io_weight(struct cg_dir *d, const struct oci_dev_rate *dev, uint64_t weight, struct hk_err *err)
{
	char line[2 * CG_NUM_MAX];
	int rc;

	if (dev)
		(void)cg_dev_line(dev, weight, line, sizeof(line));
	else
		(void)hk_fmt(line, sizeof(line), "%llu", (unsigned long long)weight);
	rc = cg_dir_write(d, "io.bfq.weight", line);
	if (rc == 0)
		return 0;
	if (rc != -ENOENT)
		return cg_write_failed(d, "io.bfq.weight", line, rc, err);
	if (dev)
		(void)cg_dev_line(dev, cg_io_weight(weight), line, sizeof(line));
	else
		(void)hk_fmt(line, sizeof(line), "%llu", (unsigned long long)cg_io_weight(weight));
	return cg_write(d, "io.weight", line, err);
}

/* One key a write: a line the kernel refuses is then named exactly. */
static int write_io_max(struct cg_dir *d, const char *key, const struct oci_dev_rates *rates, struct hk_err *err)
{
	char line[3 * CG_NUM_MAX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < rates->n; i++) {
		(void)cg_io_max_line(&rates->v[i], key, line, sizeof(line));
		rc = cg_write(d, "io.max", line, err);
	}
	return rc;
}

static int write_io(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	const struct oci_dev_rates *w = &r->block_io.weight_device;
	int rc = 0;

	if (r->block_io.weight.is_set && r->block_io.weight.v != 0)
		rc = write_io_weight(d, NULL, r->block_io.weight.v, err);
	for (size_t i = 0; rc == 0 && i < w->n; i++) {
		if (w->v[i].has_rate && w->v[i].rate != 0)
			rc = write_io_weight(d, &w->v[i], w->v[i].rate, err);
	}
	if (rc == 0)
		rc = write_io_max(d, "rbps", &r->block_io.read_bps, err);
	if (rc == 0)
		rc = write_io_max(d, "wbps", &r->block_io.write_bps, err);
	if (rc == 0)
		rc = write_io_max(d, "riops", &r->block_io.read_iops, err);
	if (rc == 0)
		rc = write_io_max(d, "wiops", &r->block_io.write_iops, err);
	return rc;
}

static int write_hugetlb(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	char file[80], num[CG_NUM_MAX];
	int rc;

	for (size_t i = 0; i < r->n_hugepages; i++) {
		const struct oci_hugepage *h = &r->hugepages[i];

		if (cg_hugetlb_file(h->page_size, "max", file, sizeof(file)) < 0)
			return hk_fail_text(err, HK_INVALID, EINVAL, "hugepageLimits[%zu].pageSize \"%s\" is no size", i, h->page_size);
		rc = cg_write_u64(d, file, h->limit, err);
		if (rc < 0)
			return rc;
		(void)cg_hugetlb_file(h->page_size, "rsvd.max", file, sizeof(file));
		(void)hk_fmt(num, sizeof(num), "%llu", (unsigned long long)h->limit);
		rc = cg_dir_write(d, file, num);
		if (rc < 0 && rc != -ENOENT)
			return cg_write_failed(d, file, num, rc, err);
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

typedef int writer_fn(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);

int cg_v2_write(enum cg_ctl ctl, struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	static writer_fn *const writers[CG_N_CTLS] = {
		[CG_CPU] = write_cpu,
		[CG_CPUSET] = write_cpuset,
		[CG_MEMORY] = write_memory,
		[CG_IO] = write_io,
		[CG_PIDS] = write_pids,
		[CG_HUGETLB] = write_hugetlb,
		[CG_RDMA] = write_rdma,
	};

	return writers[ctl] ? writers[ctl](d, r, err) : 0;
}

/* Keys are file names of the leaf. Freezing, killing and moving processes are husk's to do, so cgroup.* is not for the spec. */
static int check_unified_key(const char *key, struct hk_err *err)
{
	if (strchr(key, '/') || !strchr(key, '.') || key[0] == '.' || key[strlen(key) - 1] == '.')
		return hk_fail_text(err, HK_INVALID, EINVAL, "unified: \"%s\" is not of the form CONTROLLER.PARAMETER", key);
	if (hk_has_prefix(key, "cgroup."))
		return hk_fail_text(err, HK_INVALID, EPERM, "unified: \"%s\" is not a resource and may not be set", key);
	return 0;
}

static int write_lines(struct cg_dir *d, const char *file, const char *value, struct hk_err *err)
{
	hk_autofree char *copy = strdup(value);
	char *save = NULL;
	int r = copy ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "unified: %s", file);

	/* The kernel takes one line a write, such as one device of io.max. */
	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = cg_write(d, file, line, err);
	return r;
}

int cg_v2_write_unified(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->unified.n; i++)
		rc = check_unified_key(r->unified.v[i].key, err);
	for (size_t i = 0; rc == 0 && i < r->unified.n; i++)
		rc = write_lines(d, r->unified.v[i].key, r->unified.v[i].value, err);
	return rc;
}

/* "+cpu +memory" of the bits; "" for none. */
static void ctl_words(uint32_t ctls, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < CG_N_CTLS; i++) {
		int n;

		if (!(ctls & CG_BIT(i)) || !cg_v2_ctl_name(i))
			continue;
		n = hk_fmt(buf + len, size - len, "%s+%s", len ? " " : "", cg_v2_ctl_name(i));
		if (n > 0)
			len += (size_t)n;
	}
}

static void enable_in(const struct cg_hier *h, const char *path, uint32_t ctls)
{
	char words[256];
	struct cg_dir d;

	cg_dir_init(&d, h, path);
	ctl_words(ctls, words, sizeof(words));
	/* One controller that cannot be had fails the whole line; a limit that needs it will say so by its missing file. */
	if (cg_dir_write(&d, "cgroup.subtree_control", words) < 0) {
		for (unsigned int i = 0; i < CG_N_CTLS; i++) {
			ctl_words(ctls & CG_BIT(i), words, sizeof(words));
			if (words[0])
				(void)cg_dir_write(&d, "cgroup.subtree_control", words);
		}
	}
	cg_dir_done(&d);
}

/* A leaf below a threaded cgroup takes processes only as a threaded one, and knows no memory or io. */
static int check_type(struct cg_dir *leaf, struct hk_err *err)
{
	char type[64];

	if (cg_read(leaf, "cgroup.type", type, sizeof(type)) < 0 || strcmp(type, "domain invalid") != 0)
		return 0;
	return cg_write(leaf, "cgroup.type", "threaded", err);
}

/*
 * To be asked before the leaf is made. The kernel says that a controller is there before it has made the controller's files in the children, both
 * under its lock; a mkdir waits for that lock, a look at the new leaf would not: another shim may just be enabling them.
 */
int cg_v2_open_ready(const struct cg_hier *h, const char *path, uint32_t ctls)
{
	int len = (int)(strrchr(path, '/') - path);
	char above[PATH_MAX], have[512];
	struct cg_dir d;

	(void)hk_fmt(above, sizeof(above), "%.*s", len ? len : 1, path);
	cg_dir_init(&d, h, above);
	if (cg_read(&d, "cgroup.subtree_control", have, sizeof(have)) < 0 || (ctls & ~cg_v2_ctls(have)) != 0)
		cg_dir_done(&d);
	return d.fd;
}

/* Written also where the files say that all is there: the write waits for whoever is just enabling them. */
int cg_v2_enable(const struct cg_hier *h, const char *path, uint32_t ctls, struct hk_err *err)
{
	char prefix[PATH_MAX];
	struct cg_dir leaf;
	int r;

	for (size_t at = 0; path[at]; at++) {
		if (path[at] != '/')
			continue;
		(void)hk_fmt(prefix, sizeof(prefix), "%.*s", at == 0 ? 1 : (int)at, path);
		enable_in(h, prefix, ctls);
	}
	cg_dir_init(&leaf, h, path);
	r = check_type(&leaf, err);
	cg_dir_done(&leaf);
	return r;
}
