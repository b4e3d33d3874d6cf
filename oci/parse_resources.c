/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse_resources.c — linux.resources, and the same object of Task.Update, into struct oci_resources. Nothing is
 * converted here: the cgroup files own the formulas. Words that become part of a cgroup file's name or of a line
 * written to one are checked here, since an update has no validate step. runtime-spec 1.3, config-linux.md "Control
 * groups".
 */
#include <errno.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/parse.h"

/* ---- devices ---- */

static int parse_rule_type(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = { { "", 'a' }, { "a", 'a' }, { "b", 'b' }, { "c", 'c' } };
	uint64_t type;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &type);

	if (r == 0)
		*(char *)dst = (char)type;
	return r;
}

/* Any negative number means all, as -1 does. */
static int parse_rule_number(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int64_t n;
	int r = oci_dec_i64_in(d, v, INT64_MIN, UINT32_MAX, &n);

	if (r == 0)
		*(int64_t *)dst = n < 0 ? -1 : n;
	return r;
}

static int parse_access(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rule *rule = dst;
	int r = oci_dec_expect(d, v, OCI_JSON_STRING);

	for (uint32_t i = 0; r == 0 && i < v->n; i++) {
		if (v->text[i] == 'r')
			rule->read = true;
		else if (v->text[i] == 'w')
			rule->write = true;
		else if (v->text[i] == 'm')
			rule->mknod = true;
		else
			r = oci_json_fail_word(v, d->err, "unknown access");
	}
	return r;
}

static int parse_rule(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_dev_rule, allow, "allow", oci_dec_bool),
		OCI_FIELD(struct oci_dev_rule, type, "type", parse_rule_type),
		OCI_FIELD(struct oci_dev_rule, major, "major", parse_rule_number),
		OCI_FIELD(struct oci_dev_rule, minor, "minor", parse_rule_number),
		OCI_FIELD_SELF("access", parse_access),
	};
	struct oci_dev_rule *rule = dst;
	int r;

	rule->type = 'a';
	rule->major = rule->minor = -1;
	r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), rule);
	if (r < 0 || rule->read || rule->write || rule->mknod)
		return r;
	/*
	 * No access named: all of it to deny, or with type "a", where the kernel looks at nothing else. To allow it
	 * must be said.
	 */
	if (rule->allow && rule->type != 'a')
		return oci_json_fail_missing(v, "access", d->err);
	rule->read = rule->write = rule->mknod = true;
	return 0;
}

static int parse_rules(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_resources *res = dst;

	return oci_dec_array(d, v, parse_rule, sizeof(*res->devices), (void **)&res->devices, &res->n_devices);
}

/* ---- memory, cpu, pids ---- */

static int parse_swappiness(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_opt_u64 *opt = dst;
	int r = oci_dec_u64_in(d, v, 200, &opt->v); /* 100 before Linux 5.8 */

	if (r == 0)
		opt->is_set = true;
	return r;
}

static int parse_memory(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_resources, memory.limit, "limit", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, memory.reservation, "reservation", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, memory.swap, "swap", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, memory.kernel, "kernel", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, memory.kernel_tcp, "kernelTCP", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, memory.swappiness, "swappiness", parse_swappiness),
		OCI_FIELD(struct oci_resources, memory.disable_oom_killer, "disableOOMKiller", oci_dec_opt_bool),
		OCI_FIELD(struct oci_resources, memory.use_hierarchy, "useHierarchy", oci_dec_opt_bool),
		OCI_FIELD(struct oci_resources, memory.check_before_update, "checkBeforeUpdate", oci_dec_opt_bool),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* A cpuset list is one value of one write: "0-3,8", "0-31:2/4", "all". */
static int parse_cpuset(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	const char **s = dst;
	int r = oci_dec_opt_str(d, v, s);

	if (r == 0 && *s && (*s)[strspn(*s, "0123456789,-:/Nal ")] != '\0')
		return oci_json_fail_word(v, d->err, "not a list of numbers:");
	return r;
}

static int parse_idle(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_opt_i64 *opt = dst;
	int r = oci_dec_i64_in(d, v, 0, 1, &opt->v);

	if (r == 0)
		opt->is_set = true;
	return r;
}

static int parse_cpu(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_resources, cpu.shares, "shares", oci_dec_opt_u64),
		OCI_FIELD(struct oci_resources, cpu.quota, "quota", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, cpu.burst, "burst", oci_dec_opt_u64),
		OCI_FIELD(struct oci_resources, cpu.period, "period", oci_dec_opt_u64),
		OCI_FIELD(struct oci_resources, cpu.realtime_runtime, "realtimeRuntime", oci_dec_opt_i64),
		OCI_FIELD(struct oci_resources, cpu.realtime_period, "realtimePeriod", oci_dec_opt_u64),
		OCI_FIELD(struct oci_resources, cpu.idle, "idle", parse_idle),
		OCI_FIELD(struct oci_resources, cpu.cpus, "cpus", parse_cpuset),
		OCI_FIELD(struct oci_resources, cpu.mems, "mems", parse_cpuset),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_pids(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = { OCI_FIELD(
	    struct oci_resources, pids_limit, "limit", oci_dec_opt_i64) };

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* ---- block I/O ---- */

static int parse_dev_number(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_i64_in(d, v, 0, UINT32_MAX, dst);
}

static int parse_weight(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rate *rate = dst;

	rate->has_rate = true;
	return oci_dec_u64_in(d, v, UINT16_MAX, &rate->rate);
}

static int parse_leaf_weight(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rate *rate = dst;

	rate->has_leaf = true;
	return oci_dec_u64_in(d, v, UINT16_MAX, &rate->leaf);
}

static int parse_rate(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rate *rate = dst;

	rate->has_rate = true;
	return oci_dec_u64(d, v, &rate->rate);
}

static int parse_weight_device(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_dev_rate, major, "major", parse_dev_number),
		OCI_FIELD_REQ(struct oci_dev_rate, minor, "minor", parse_dev_number),
		OCI_FIELD_SELF("weight", parse_weight),
		OCI_FIELD_SELF("leafWeight", parse_leaf_weight),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_weight_devices(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rates *rates = dst;

	return oci_dec_array(d, v, parse_weight_device, sizeof(*rates->v), (void **)&rates->v, &rates->n);
}

static int parse_rate_device(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_dev_rate, major, "major", parse_dev_number),
		OCI_FIELD_REQ(struct oci_dev_rate, minor, "minor", parse_dev_number),
		OCI_FIELD_SELF_REQ("rate", parse_rate),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_rate_devices(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_dev_rates *rates = dst;

	return oci_dec_array(d, v, parse_rate_device, sizeof(*rates->v), (void **)&rates->v, &rates->n);
}

static int parse_block_io(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_resources, block_io.weight, "weight", oci_dec_opt_u16),
		OCI_FIELD(struct oci_resources, block_io.leaf_weight, "leafWeight", oci_dec_opt_u16),
		OCI_FIELD(struct oci_resources, block_io.weight_device, "weightDevice", parse_weight_devices),
		OCI_FIELD(struct oci_resources, block_io.read_bps, "throttleReadBpsDevice", parse_rate_devices),
		OCI_FIELD(struct oci_resources, block_io.write_bps, "throttleWriteBpsDevice", parse_rate_devices),
		OCI_FIELD(struct oci_resources, block_io.read_iops, "throttleReadIOPSDevice", parse_rate_devices),
		OCI_FIELD(struct oci_resources, block_io.write_iops, "throttleWriteIOPSDevice", parse_rate_devices),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* ---- huge pages, network, rdma, unified ---- */

/* "2MB", "64KB", "1GB": it becomes part of a file name. */
static int parse_page_size(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	const char *s;
	size_t digits;
	int r = oci_dec_str(d, v, &s);

	if (r < 0)
		return r;
	digits = strspn(s, "0123456789");
	if (digits == 0 || s[0] == '0' || !s[digits] || !strchr("KMGTP", s[digits]) || strcmp(s + digits + 1, "B") != 0)
		return oci_json_fail_word(v, d->err, "not a page size like \"2MB\":");
	*(const char **)dst = s;
	return 0;
}

static int parse_hugepage(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_hugepage, page_size, "pageSize", parse_page_size),
		OCI_FIELD_REQ(struct oci_hugepage, limit, "limit", oci_dec_u64),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_hugepages(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_resources *res = dst;

	return oci_dec_array(
	    d, v, parse_hugepage, sizeof(*res->hugepages), (void **)&res->hugepages, &res->n_hugepages);
}

static int parse_class_id(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_resources *res = dst;

	res->has_class_id = true;
	return oci_dec_u32(d, v, &res->class_id);
}

static int parse_priority(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint32_t prio;
	char *s;
	int r = oci_dec_u32(d, v, &prio);

	if (r < 0)
		return r;
	s = hk_arena_printf(d->arena, "%u", prio);
	if (!s)
		return oci_dec_no_memory(d);
	*(const char **)dst = s;
	return 0;
}

static int parse_interface(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_kv, key, "name", oci_dec_name_str),
		OCI_FIELD_REQ(struct oci_kv, value, "priority", parse_priority),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_interfaces(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_kvs *kvs = dst;

	return oci_dec_array(d, v, parse_interface, sizeof(*kvs->v), (void **)&kvs->v, &kvs->n);
}

static int parse_network(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_SELF("classID", parse_class_id),
		OCI_FIELD(struct oci_resources, net_priorities, "priorities", parse_interfaces),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_handles(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_rdma *rdma = dst;

	rdma->has_handles = true;
	return oci_dec_u32(d, v, &rdma->handles);
}

static int parse_objects(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_rdma *rdma = dst;

	rdma->has_objects = true;
	return oci_dec_u32(d, v, &rdma->objects);
}

/* Is the key fit to be a word in a line, or a file's name? */
static bool is_plain_name(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s <= ' ' || *s == 0x7f || *s == '/')
			return false;
	}
	return true;
}

static int parse_rdma(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_SELF("hcaHandles", parse_handles),
		OCI_FIELD_SELF("hcaObjects", parse_objects),
	};
	struct oci_resources *res = dst;
	const struct oci_json **m;
	size_t n;
	int r = oci_dec_members(d, v, &m, &n);

	if (r < 0 || n == 0)
		return r;
	res->rdma = hk_arena_array(d->arena, n, sizeof(*res->rdma));
	if (!res->rdma)
		return oci_dec_no_memory(d);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = oci_dec_key(d, m[i], &res->rdma[i].device);
		if (r == 0 && (!*res->rdma[i].device || !is_plain_name(res->rdma[i].device)))
			return oci_json_fail(m[i], d->err, "invalid device name");
		if (r == 0)
			r = oci_dec_object(d, m[i], fields, HK_ARRAY_SIZE(fields), &res->rdma[i]);
	}
	res->n_rdma = n;
	return r;
}

/*
 * A key is a file of the container's cgroup: one path component "controller.parameter". "cgroup." files are husk's own
 * (processes, freezer, kill) and would undermine what it knows of the container.
 */
static int parse_unified(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_kvs *kvs = dst;
	int r = oci_dec_kvs(d, v, kvs);

	for (size_t i = 0; r == 0 && i < kvs->n; i++) {
		const char *key = kvs->v[i].key, *dot = strchr(key, '.');

		if (!dot || dot == key || !dot[1] || !is_plain_name(key) || hk_has_prefix(key, "cgroup.")) {
			for (const struct oci_json *m = v->first; m; m = m->next) {
				if (oci_json_is_key(m, key))
					return oci_json_fail(m, d->err, "not a file of a cgroup controller");
			}
		}
	}
	return r;
}

int oci_parse_resources(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_SELF("devices", parse_rules),
		OCI_FIELD_SELF("memory", parse_memory),
		OCI_FIELD_SELF("cpu", parse_cpu),
		OCI_FIELD_SELF("pids", parse_pids),
		OCI_FIELD_SELF("blockIO", parse_block_io),
		OCI_FIELD_SELF("hugepageLimits", parse_hugepages),
		OCI_FIELD_SELF("network", parse_network),
		OCI_FIELD_SELF("rdma", parse_rdma),
		OCI_FIELD(struct oci_resources, unified, "unified", parse_unified),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}
