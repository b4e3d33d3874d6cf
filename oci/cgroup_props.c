/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_props.c — what systemd is told about a container's unit: linux.resources as unit properties, one for each file that systemd
 * writes too, with the value our own code writes there. So whatever makes systemd write again (daemon-reload, a change of a
 * neighbour) changes nothing. cgroup v2; cgroup_props_v1.c has v1. org.freedesktop.systemd1(5) and systemd.resource-control(5) have the names and types.
 *
 * Without a property stay: devices (with the policy "auto" systemd has no filter of its own, and none but ours decides), hugetlb, rdma,
 * burst, rates and weights of single block devices: systemd touches none that it has not been told of.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_calc.h"
#include "oci/cgroup_unit.h"

enum {
	DEFAULT_PERIOD_US = 100000,
	US_PER_S = 1000000,
	QUOTA_STEP_US = 10000, /* one percent of a second */
	MIN_QUOTA_US = 1000, /* the kernel's */
	CPUSET_MAX = 8192, /* more bits than any kernel is built for */
};

void cg_props_done(struct cg_props *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->v[i]);
	free(p->v);
	*p = (struct cg_props){ 0 };
}

static size_t name_len(const char *prop)
{
	return strcspn(prop, "@ ");
}

/* Takes *take_prop. */
static int put(struct cg_props *p, char *take_prop)
{
	size_t len = name_len(take_prop);
	char **v;

	for (size_t i = 0; i < p->n; i++) {
		if (name_len(p->v[i]) == len && memcmp(p->v[i], take_prop, len) == 0) {
			free(p->v[i]);
			p->v[i] = take_prop;
			return 0;
		}
	}
	v = reallocarray(p->v, p->n + 2, sizeof(*v));
	if (!v) {
		free(take_prop);
		return -ENOMEM;
	}
	p->v = v;
	v[p->n++] = take_prop;
	v[p->n] = NULL;
	return 0;
}

int cg_props_add(struct cg_props *p, const char *fmt, ...)
{
	char *prop;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&prop, fmt, ap);
	va_end(ap);
	return r < 0 ? -ENOMEM : put(p, prop);
}

/* UINT64_MAX is systemd's "infinity" for every limit. */
static int add_limit(struct cg_props *p, const char *name, int64_t v)
{
	return cg_props_add(p, "%s t %llu", name, v < 0 ? (unsigned long long)UINT64_MAX : (unsigned long long)v);
}

static int oom(struct hk_err *err)
{
	return hk_fail(err, HK_INTERNAL, ENOMEM, "properties of the systemd unit");
}

int cg_props_unit(struct cg_props *p, const struct cg_unit *u, const char *id, pid_t pid, struct hk_err *err)
{
	static const char *const both[] = {
		"MemoryAccounting b true", "CPUAccounting b true", "IOAccounting b true", "TasksAccounting b true",
		"DefaultDependencies b false",	       /* or a shutdown would stop containers before their daemon */
		"CollectMode@236 s inactive-or-failed" /* one that failed does not stand in the way of the next of its name */
	};
	bool is_slice = hk_has_suffix(u->name, ".slice");
	int r = cg_props_add(p, "Description s husk container %s", id);

	if (is_slice) {
		r |= cg_props_add(p, "Wants as %s", u->slice);
	} else {
		r |= cg_props_add(p, "Slice s %s", u->slice);
		r |= cg_props_add(p, "Delegate b true"); /* what is below, and the files above, are ours to write */
		r |= cg_props_add(p, "PIDs au %d", (int)pid);
	}
	for (size_t i = 0; i < HK_ARRAY_SIZE(both); i++)
		r |= cg_props_add(p, "%s", both[i]);
	return r ? oom(err) : 0;
}

/* ---- resources ---- */

static bool is_quota_usable(int64_t quota)
{
	return quota > 0 && quota <= INT64_MAX / US_PER_S;
}

static uint64_t quota_per_sec(int64_t quota, uint64_t period)
{
	uint64_t us = (((uint64_t)quota * US_PER_S) + period - 1) / period;

	return (us + QUOTA_STEP_US - 1) / QUOTA_STEP_US * QUOTA_STEP_US;
}

void cg_unit_settle_cpu(struct oci_resources *r, const char *current)
{
	struct oci_opt_i64 *quota = &r->cpu.quota;
	struct oci_opt_u64 *period = &r->cpu.period;
	long long q = -1;
	unsigned long long p = DEFAULT_PERIOD_US;

	if (!quota->is_set && !period->is_set)
		return;
	if (current && sscanf(current, "max %llu", &p) != 1 && sscanf(current, "%lld %llu", &q, &p) != 2) {
		q = -1;
		p = DEFAULT_PERIOD_US;
	}
	if (!quota->is_set)
		*quota = (struct oci_opt_i64){ .is_set = true, .v = q };
	if (!period->is_set || period->v == 0)
		*period = (struct oci_opt_u64){ .is_set = true, .v = p ? p : DEFAULT_PERIOD_US };
	/* What the kernel refuses is left for it to refuse, as without systemd. */
	if (quota->v >= MIN_QUOTA_US && is_quota_usable(quota->v) && period->v <= US_PER_S)
		quota->v = (int64_t)(quota_per_sec(quota->v, period->v) * period->v / US_PER_S);
}

int cg_props_add_quota(struct cg_props *p, int64_t quota, uint64_t period)
{
	int r = cg_props_add(p, "CPUQuotaPeriodUSec@242 t %llu", (unsigned long long)period);

	return r | add_limit(p, "CPUQuotaPerSecUSec", is_quota_usable(quota) ? (int64_t)quota_per_sec(quota, period) : -1);
}

static int add_cpu(struct cg_props *p, const struct oci_resources *r)
{
	bool is_idle = r->cpu.idle.is_set && r->cpu.idle.v != 0;
	int rc = 0;

	if (is_idle)
		rc |= cg_props_add(p, "CPUWeight@252 t 0"); /* systemd's word for cpu.idle */
	else if (r->cpu.shares.is_set && r->cpu.shares.v != 0)
		rc |= cg_props_add(p, "CPUWeight t %llu", (unsigned long long)cg_cpu_weight(r->cpu.shares.v));
	if (r->cpu.quota.is_set && r->cpu.period.is_set && r->cpu.period.v != 0)
		rc |= cg_props_add_quota(p, r->cpu.quota.v, r->cpu.period.v);
	return rc;
}

/* "0-2,8" as systemd's bit array, lowest byte first: 0701. -EINVAL for no list; the kernel then says so of the file. */
static int add_cpuset(struct cg_props *p, const char *name, const char *list)
{
	uint8_t bits[CPUSET_MAX / 8] = { 0 };
	char hex[2 * sizeof(bits) + 1];
	size_t top = 0;

	for (const char *s = list; *s;) {
		unsigned int from, to;
		int n = 0;

		if (sscanf(s, " %u%n", &from, &n) != 1)
			return -EINVAL;
		s += n;
		to = from;
		if (*s == '-' && sscanf(s, "-%u%n", &to, &n) == 1)
			s += n;
		if (from > to || to >= CPUSET_MAX)
			return -EINVAL;
		for (unsigned int i = from; i <= to; i++)
			bits[i / 8] = (uint8_t)(bits[i / 8] | 1U << i % 8);
		top = to / 8 + 1 > top ? to / 8 + 1 : top;
		s += strspn(s, " \n");
		if (*s && *s != ',')
			return -EINVAL;
		s += *s == ',';
	}
	hk_hex(bits, top, hex);
	return cg_props_add(p, "%s@244 ay %s", name, hex);
}

static int add_memory(struct cg_props *p, const struct oci_resources *r)
{
	int64_t swap;
	int rc = 0;

	if (r->memory.limit.is_set && r->memory.limit.v != 0)
		rc |= add_limit(p, "MemoryMax", r->memory.limit.v);
	if (r->memory.reservation.is_set && r->memory.reservation.v != 0)
		rc |= add_limit(p, "MemoryLow", r->memory.reservation.v);
	if (cg_swap_max(&r->memory.limit, &r->memory.swap, &swap) == CG_SWAP_SET) /* errors are told where the file is written */
		rc |= add_limit(p, "MemorySwapMax", swap);
	return rc;
}

/*
 * systemd writes io.weight as it is and io.bfq.weight by a scale of its own (1..100 as it is, above 9900 steps on 900). The container's
 * weight goes to the one that is there, bfq's first.
 */
static uint64_t io_weight(uint64_t weight, bool has_bfq)
{
	if (!has_bfq)
		return cg_io_weight(weight);
	return weight <= 100 ? weight : 100 + (weight - 100) * 11;
}

static int add_io(struct cg_props *p, const struct oci_resources *r, bool has_bfq)
{
	uint64_t w = r->block_io.weight.is_set ? r->block_io.weight.v : 0;

	if (w == 0)
		return 0;
	return cg_props_add(p, "IOWeight t %llu", (unsigned long long)io_weight(w, has_bfq));
}

/* Values of other forms are the kernel's to refuse. */
static int add_number(struct cg_props *p, const char *name, const char *value)
{
	uint64_t v = UINT64_MAX;

	if (hk_has_prefix(value, "default "))
		value += strlen("default ");
	if (strcmp(value, "max") != 0 && hk_parse_u64(value, &v) < 0)
		return 0;
	return cg_props_add(p, "%s t %llu", name, (unsigned long long)v);
}

static int add_unified(struct cg_props *p, const struct oci_kv *kv)
{
	static const struct {
		const char *file, *name;
	} numbers[] = {
		{ "cpu.weight", "CPUWeight" },	     { "io.weight", "IOWeight" },	    { "memory.high", "MemoryHigh" },
		{ "memory.low", "MemoryLow" },	     { "memory.max", "MemoryMax" },	    { "memory.min", "MemoryMin@240" },
		{ "memory.swap.max", "MemorySwapMax" }, { "memory.zswap.max", "MemoryZSwapMax@253" }, { "pids.max", "TasksMax" },
	};
	struct oci_resources cpu = { 0 };

	for (size_t i = 0; i < HK_ARRAY_SIZE(numbers); i++)
		if (strcmp(kv->key, numbers[i].file) == 0)
			return add_number(p, numbers[i].name, kv->value);
	if (strcmp(kv->key, "cpu.idle") == 0)
		return strcmp(kv->value, "1") == 0 ? cg_props_add(p, "CPUWeight@252 t 0") : 0;
	if (strcmp(kv->key, "cpuset.cpus") == 0)
		return add_cpuset(p, "AllowedCPUs", kv->value) == -ENOMEM ? -ENOMEM : 0;
	if (strcmp(kv->key, "cpuset.mems") == 0)
		return add_cpuset(p, "AllowedMemoryNodes", kv->value) == -ENOMEM ? -ENOMEM : 0;
	if (strcmp(kv->key, "cpu.max") != 0)
		return 0;
	cpu.cpu.period.is_set = true; /* of 0: taken from the text */
	cg_unit_settle_cpu(&cpu, kv->value);
	return cg_props_add_quota(p, cpu.cpu.quota.v, cpu.cpu.period.v);
}

int cg_props_resources(struct cg_props *p, const struct oci_resources *r, bool has_bfq, struct hk_err *err)
{
	int rc = add_memory(p, r) | add_cpu(p, r) | add_io(p, r, has_bfq);

	if (r->pids_limit.is_set)
		rc |= add_limit(p, "TasksMax", r->pids_limit.v == 0 ? 1 : r->pids_limit.v);
	if (rc == 0 && r->cpu.cpus && *r->cpu.cpus)
		rc = add_cpuset(p, "AllowedCPUs", r->cpu.cpus);
	if (rc == 0 && r->cpu.mems && *r->cpu.mems)
		rc = add_cpuset(p, "AllowedMemoryNodes", r->cpu.mems);
	if (rc == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "cpu.cpus \"%.100s\" or cpu.mems \"%.100s\" is no list of numbers",
		    r->cpu.cpus ? r->cpu.cpus : "", r->cpu.mems ? r->cpu.mems : "");
	for (size_t i = 0; rc == 0 && i < r->unified.n; i++)
		rc = add_unified(p, &r->unified.v[i]);
	return rc ? oom(err) : 0;
}

/* ---- annotations ---- */

#define ANNOTATION_PREFIX "org.systemd.property."

/*
 * A pod's author may write annotations: what starts or stops other units (Requires, Conflicts, OnFailure), moves the container (Slice) or
 * contradicts its resources is not among them.
 */
static const struct {
	const char *name, *signature;
} allowed[] = {
	{ "After", "as" },
	{ "Before", "as" },
	{ "CollectMode", "s" },
	{ "DefaultDependencies", "b" },
	{ "Description", "s" },
	{ "Documentation", "as" },
	{ "IPAccounting", "b" },
	{ "KillMode", "s" },
	{ "KillSignal", "i" },
	{ "ManagedOOMMemoryPressure", "s" },
	{ "ManagedOOMMemoryPressureLimit", "u" },
	{ "ManagedOOMPreference", "s" },
	{ "ManagedOOMSwap", "s" },
	{ "OOMPolicy", "s" },
	{ "RuntimeMaxUSec", "t" },
	{ "SendSIGHUP", "b" },
	{ "SendSIGKILL", "b" },
	{ "TimeoutStopUSec", "t" },
};

static const char *skip_type(const char *s)
{
	static const char *const types[] = { "uint64", "int64", "uint32", "int32", "@as", "@t", "@u", "@i", "@s" };

	s += strspn(s, " ");
	for (size_t i = 0; i < HK_ARRAY_SIZE(types); i++)
		if (hk_has_prefix(s, types[i]) && s[strlen(types[i])] == ' ')
			return s + strlen(types[i]) + strspn(s + strlen(types[i]), " ");
	return s;
}

/* A GVariant string without escapes, '...' or "...": its end, or NULL. */
static const char *quoted_end(const char *s)
{
	const char *end = *s == '\'' || *s == '"' ? strchr(s + 1, *s) : NULL;

	return end && !memchr(s, '\\', (size_t)(end - s)) ? end : NULL;
}

static bool string_value(const char *s, char *buf, size_t size)
{
	const char *end = quoted_end(s);

	return end && end[1] == '\0' && hk_fmt(buf, size, "%.*s", (int)(end - s - 1), s + 1) >= 0;
}

/* ['a', 'b'] into "a b". */
static bool strings_value(const char *s, char *buf, size_t size)
{
	size_t len = 0;

	if (*s++ != '[')
		return false;
	buf[0] = '\0';
	for (s += strspn(s, " "); *s != ']'; s += strspn(s, " ")) {
		const char *end = quoted_end(s);
		int n;

		if (!end || memchr(s, ' ', (size_t)(end - s)))
			return false;
		n = hk_fmt(buf + len, size - len, "%s%.*s", len ? " " : "", (int)(end - s - 1), s + 1);
		if (n < 0)
			return false;
		len += (size_t)n;
		s = end + 1 + strspn(end + 1, " ");
		if (*s == ',')
			s++;
		else if (*s != ']')
			return false;
	}
	return s[1 + strspn(s + 1, " ")] == '\0';
}

static bool number_value(const char *s, char signature, uint64_t factor, char *buf, size_t size)
{
	uint64_t v, max = signature == 't' ? UINT64_MAX : signature == 'u' ? UINT32_MAX : INT32_MAX;

	return hk_parse_u64(s, &v) == 0 && v <= max / factor && hk_fmt(buf, size, "%llu", (unsigned long long)(v * factor)) >= 0;
}

static int add_annotation(struct cg_props *p, const struct oci_kv *kv, struct hk_err *err)
{
	char name[64], value[4096];
	const char *given = kv->key + strlen(ANNOTATION_PREFIX), *signature = NULL, *text = skip_type(kv->value);
	uint64_t factor = 1;
	bool ok;

	(void)hk_fmt(name, sizeof(name), "%s", given);
	if (hk_has_suffix(name, "Sec") && !hk_has_suffix(name, "USec")) { /* as in unit files, where times are seconds */
		factor = US_PER_S;
		(void)hk_fmt(name, sizeof(name), "%.*sUSec", (int)(strlen(given) - strlen("Sec")), given);
	}
	for (size_t i = 0; i < HK_ARRAY_SIZE(allowed); i++)
		if (strcmp(allowed[i].name, name) == 0)
			signature = allowed[i].signature;
	if (!signature)
		return hk_fail_text(err, HK_INVALID, EINVAL, "annotation %.200s: this property may not be set by an annotation", kv->key);
	if (signature[0] == 'b')
		ok = (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) && hk_fmt(value, sizeof(value), "%s", text) >= 0;
	else if (signature[0] == 's')
		ok = string_value(text, value, sizeof(value));
	else if (signature[0] == 'a')
		ok = strings_value(text, value, sizeof(value));
	else
		ok = number_value(text, signature[0], factor, value, sizeof(value));
	if (!ok)
		return hk_fail_text(err, HK_INVALID, EINVAL, "annotation %.200s: \"%.200s\" is no value of D-Bus type %s", kv->key, kv->value,
		    signature);
	return cg_props_add(p, "%s %s %s", name, signature, value) ? oom(err) : 0;
}

int cg_props_annotations(struct cg_props *p, const struct oci_kvs *annotations, struct hk_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < annotations->n; i++)
		if (hk_has_prefix(annotations->v[i].key, ANNOTATION_PREFIX))
			r = add_annotation(p, &annotations->v[i], err);
	return r;
}
