/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_calc.c — the formulas between config.json and the cgroup files: numbers and rules in, text and numbers out.
 * log2 and exp are done here by hand: libm would be one more library in a process that counts its pages.
 */
#include "oci/cgroup_calc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"

static double log2_u64(uint64_t v)
{
	int whole = 63 - __builtin_clzll(v);
	double x = (double)v / (double)(1ULL << whole); /* 1 <= x < 2 */
	double frac = 0, bit = 0.5;

	/* Squaring doubles the logarithm: each step gives one more binary digit. */
	for (int i = 0; i < 52; i++) {
		x *= x;
		if (x >= 2) {
			x /= 2;
			frac += bit;
		}
		bit /= 2;
	}
	return whole + frac;
}

static double pow10_small(double y)
{
	const double ln2 = 0.693147180559945309417, ln10 = 2.302585092994045684018;
	double z = y * ln10;
	int whole = (int)(z / ln2);
	double f = z - whole * ln2, term = 1, sum = 1;

	for (int i = 1; i < 25; i++) {
		term *= f / i;
		sum += term;
	}
	return sum * (double)(1ULL << whole);
}

uint64_t cg_cpu_weight(uint64_t shares)
{
	double l, w;
	uint64_t n;

	if (shares == 0)
		return 0;
	if (shares <= 2)
		return 1;
	if (shares >= 262144)
		return 10000;
	l = log2_u64(shares);
	/* 7/34 of the published formula is 126/612: one division leaves the fixed points (2, 1024, 262144) exact. */
	w = pow10_small((l * l + 125 * l - 126) / 612);
	n = (uint64_t)w;
	return w - (double)n > 1e-9 ? n + 1 : n;
}

uint64_t cg_io_weight(uint64_t blkio_weight)
{
	if (blkio_weight == 0)
		return 0;
	if (blkio_weight <= 10)
		return 1;
	if (blkio_weight >= 1000)
		return 10000;
	return 1 + (blkio_weight - 10) * 9999 / 990;
}

void cg_limit_text(int64_t v, char buf[CG_NUM_MAX])
{
	if (v < 0)
		(void)hk_fmt(buf, CG_NUM_MAX, "max");
	else
		(void)hk_fmt(buf, CG_NUM_MAX, "%lld", (long long)v);
}

int cg_cpu_max(const struct oci_opt_i64 *quota, const struct oci_opt_u64 *period, const char *current, char buf[CG_NUM_MAX])
{
	char q[CG_NUM_MAX] = "max";
	uint64_t p = period->is_set && period->v != 0 ? period->v : 100000;
	size_t len;
	int r;

	if (quota->is_set && quota->v > 0)
		cg_limit_text(quota->v, q);
	if (!quota->is_set && current) { /* the quota in force stays */
		len = strcspn(current, " \n");
		if (len > 0 && len < sizeof(q)) {
			memcpy(q, current, len);
			q[len] = '\0';
		}
	}
	if (period->is_set)
		r = hk_fmt(buf, CG_NUM_MAX, "%s %llu", q, (unsigned long long)p);
	else
		r = hk_fmt(buf, CG_NUM_MAX, "%s", q);
	return r < 0 ? r : 0;
}

enum cg_swap cg_swap_max(const struct oci_opt_i64 *limit, const struct oci_opt_i64 *swap, int64_t *ret_swap)
{
	int64_t mem = limit->is_set ? limit->v : 0;
	int64_t total = swap->is_set ? swap->v : 0;

	/* As on v1, where "no memory limit" takes the limit of both away. 0 is "not given", as in runc. */
	if ((mem < 0 && total == 0) || total < 0) {
		*ret_swap = -1;
		return CG_SWAP_SET;
	}
	if (total == 0)
		return CG_SWAP_UNSET;
	if (mem < 0) {
		*ret_swap = total;
		return CG_SWAP_SET;
	}
	if (mem == 0)
		return CG_SWAP_NO_LIMIT;
	if (total < mem)
		return CG_SWAP_BELOW_LIMIT;
	*ret_swap = total - mem;
	return CG_SWAP_SET;
}

int cg_hugetlb_file(const char *page_size, const char *what, char *buf, size_t size)
{
	size_t digits;
	int r;

	if (!page_size)
		return -EINVAL;
	digits = strspn(page_size, "0123456789");
	/* The name becomes part of a file name: nothing but the kernel's own form gets there. */
	if (digits == 0 || digits > 10 || !page_size[digits] || !strchr("KMG", page_size[digits]) || strcmp(page_size + digits + 1, "B") != 0)
		return -EINVAL;
	r = hk_fmt(buf, size, "hugetlb.%s.%s", page_size, what);
	return r < 0 ? r : 0;
}

int cg_hugetlb_name(uint64_t kb, char *buf, size_t size)
{
	unsigned long long v = kb;
	int r;

	if (kb >= 1 << 20)
		r = hk_fmt(buf, size, "%lluGB", v >> 20);
	else if (kb >= 1 << 10)
		r = hk_fmt(buf, size, "%lluMB", v >> 10);
	else
		r = hk_fmt(buf, size, "%lluKB", v);
	return r < 0 ? r : 0;
}

int cg_dev_line(const struct oci_dev_rate *d, uint64_t value, char *buf, size_t size)
{
	int r = hk_fmt(buf, size, "%lld:%lld %llu", (long long)d->major, (long long)d->minor, (unsigned long long)value);

	return r < 0 ? r : 0;
}

int cg_io_max_line(const struct oci_dev_rate *d, const char *key, char *buf, size_t size)
{
	long long major = d->major, minor = d->minor;
	int r;

	if (d->rate == 0) /* the kernel calls 0 EINVAL here, where v1's 0 removes the limit */
		r = hk_fmt(buf, size, "%lld:%lld %s=max", major, minor, key);
	else
		r = hk_fmt(buf, size, "%lld:%lld %s=%llu", major, minor, key, (unsigned long long)d->rate);
	return r < 0 ? r : 0;
}

int cg_rdma_line(const struct oci_rdma *r, char *buf, size_t size)
{
	char handles[CG_NUM_MAX] = "", objects[CG_NUM_MAX] = "";
	int n;

	if (r->has_handles)
		(void)hk_fmt(handles, sizeof(handles), " hca_handle=%u", r->handles);
	if (r->has_objects)
		(void)hk_fmt(objects, sizeof(objects), " hca_object=%u", r->objects);
	n = hk_fmt(buf, size, "%s%s%s", r->device, handles, objects);
	return n < 0 ? n : 0;
}

/* What every container may use: mknod of anything (it cannot be opened), the nodes of /dev, ptys, and tun, which users came to expect. */
static const struct oci_dev_rule default_rules[] = {
	{ .allow = true, .type = 'c', .major = -1, .minor = -1, .mknod = true },
	{ .allow = true, .type = 'b', .major = -1, .minor = -1, .mknod = true },
	{ .allow = true, .type = 'c', .major = 1, .minor = 3, .read = true, .write = true, .mknod = true },   /* null */
	{ .allow = true, .type = 'c', .major = 1, .minor = 5, .read = true, .write = true, .mknod = true },   /* zero */
	{ .allow = true, .type = 'c', .major = 1, .minor = 7, .read = true, .write = true, .mknod = true },   /* full */
	{ .allow = true, .type = 'c', .major = 1, .minor = 8, .read = true, .write = true, .mknod = true },   /* random */
	{ .allow = true, .type = 'c', .major = 1, .minor = 9, .read = true, .write = true, .mknod = true },   /* urandom */
	{ .allow = true, .type = 'c', .major = 5, .minor = 0, .read = true, .write = true, .mknod = true },   /* tty */
	{ .allow = true, .type = 'c', .major = 5, .minor = 2, .read = true, .write = true, .mknod = true },   /* ptmx */
	{ .allow = true, .type = 'c', .major = 136, .minor = -1, .read = true, .write = true, .mknod = true }, /* pts */
	{ .allow = true, .type = 'c', .major = 10, .minor = 200, .read = true, .write = true, .mknod = true }, /* tun */
};

static bool is_device_rule(const struct oci_dev_rule *r)
{
	return (r->type == 'a' || r->type == 'b' || r->type == 'c') && r->major >= -1 && r->major <= UINT32_MAX &&
	    r->minor >= -1 && r->minor <= UINT32_MAX && (r->read || r->write || r->mknod);
}

int cg_device_is_all(const struct oci_dev_rule *r)
{
	return r->type == 'a' && r->major == -1 && r->minor == -1 && r->read && r->write && r->mknod;
}

int cg_device_rules(const struct oci_dev_rule *v, size_t n, struct oci_dev_rule **ret, size_t *ret_n, size_t *ret_bad)
{
	const struct oci_dev_rule deny_all = { .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true };
	hk_autofree struct oci_dev_rule *out = NULL;
	size_t m = 0, from = 0;

	if (n > 100000)
		return -E2BIG;
	for (size_t i = 0; i < n; i++) {
		if (!is_device_rule(&v[i])) {
			*ret_bad = i;
			return -EINVAL;
		}
		if (cg_device_is_all(&v[i]))
			from = i; /* what came before has no say any more */
	}
	out = calloc(n - from + 1 + HK_ARRAY_SIZE(default_rules), sizeof(*out));
	if (!out)
		return -ENOMEM;
	if (n == 0 || !cg_device_is_all(&v[from]))
		out[m++] = deny_all;
	for (size_t i = from; i < n; i++)
		out[m++] = v[i];
	if (!(m == 1 && out[0].allow)) { /* nothing to add to "all" */
		memcpy(out + m, default_rules, sizeof(default_rules));
		m += HK_ARRAY_SIZE(default_rules);
	}
	*ret = hk_take_ptr(out);
	*ret_n = m;
	return 0;
}

static void device_number(int64_t v, char buf[CG_NUM_MAX])
{
	if (v < 0)
		(void)hk_fmt(buf, CG_NUM_MAX, "*");
	else
		(void)hk_fmt(buf, CG_NUM_MAX, "%lld", (long long)v);
}

int cg_device_line(const struct oci_dev_rule *r, char type, char *buf, size_t size)
{
	char major[CG_NUM_MAX], minor[CG_NUM_MAX];
	int n;

	if (type == 'a') {
		n = hk_fmt(buf, size, "a");
		return n < 0 ? n : 0;
	}
	device_number(r->major, major);
	device_number(r->minor, minor);
	n = hk_fmt(buf, size, "%c %s:%s %s%s%s", type, major, minor, r->read ? "r" : "", r->write ? "w" : "", r->mknod ? "m" : "");
	return n < 0 ? n : 0;
}

static bool same_access(const struct oci_dev_rule *a, const struct oci_dev_rule *b)
{
	return (a->read && b->read) || (a->write && b->write) || (a->mknod && b->mknod);
}

static bool overlaps(const struct oci_dev_rule *a, const struct oci_dev_rule *b)
{
	return (a->type == 'a' || b->type == 'a' || a->type == b->type) && (a->major < 0 || b->major < 0 || a->major == b->major) &&
	    (a->minor < 0 || b->minor < 0 || a->minor == b->minor) && same_access(a, b);
}

static bool same_devices(const struct oci_dev_rule *a, const struct oci_dev_rule *b)
{
	return (a->type == b->type || a->type == 'a' || b->type == 'a') && a->major == b->major && a->minor == b->minor;
}

long cg_device_v1_conflict(const struct oci_dev_rule *v, size_t n)
{
	bool is_allow_all = false;
	size_t base = 0;

	for (size_t i = 0; i < n; i++) {
		if (cg_device_is_all(&v[i])) {
			is_allow_all = v[i].allow;
			base = i + 1;
			continue;
		}
		/* After "allow all" a deny is an exception of its own. A void allow is only stricter than asked: let it be. */
		if (v[i].allow || is_allow_all)
			continue;
		for (size_t j = base; j < i; j++) {
			if (v[j].allow && overlaps(&v[i], &v[j]) && !same_devices(&v[i], &v[j]))
				return (long)i;
		}
	}
	return -1;
}
