/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse_linux.c — `linux` of config.json into struct oci_spec: namespaces, mappings, time offsets, devices,
 * sysctl, paths, labels, memory policy, RDT, network devices. Resources and seccomp have files of their own.
 * runtime-spec 1.3, config-linux.md.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/parse.h"

#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING (1 << 13)
#endif
enum { HUSK_MPOL_WEIGHTED_INTERLEAVE = 6 }; /* Linux 6.9 */
enum { HUSK_PER_LINUX32 = 8 };
enum { MAX_MAJOR = 0xfff, MAX_MINOR = 0xfffff }; /* the kernel's dev_t: 12 and 20 bits */

/* ---- namespaces ---- */

static const struct oci_word ns_words[] = {
	[OCI_NS_USER] = { "user", OCI_NS_USER },
	[OCI_NS_CGROUP] = { "cgroup", OCI_NS_CGROUP },
	[OCI_NS_IPC] = { "ipc", OCI_NS_IPC },
	[OCI_NS_UTS] = { "uts", OCI_NS_UTS },
	[OCI_NS_NET] = { "network", OCI_NS_NET },
	[OCI_NS_PID] = { "pid", OCI_NS_PID },
	[OCI_NS_MNT] = { "mount", OCI_NS_MNT },
	[OCI_NS_TIME] = { "time", OCI_NS_TIME },
};

const char *oci_ns_word(int ns)
{
	return ns_words[ns].word;
}

static int parse_ns_path(const struct oci_dec *d, const struct oci_json *v, const char **ret)
{
	int r = oci_dec_opt_str(d, v, ret);

	if (r == 0 && *ret && **ret != '/')
		return oci_json_fail_word(v, d->err, "not an absolute path");
	return r;
}

static int parse_namespaces(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;
	const struct oci_json *type, *path;
	uint64_t ns;
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	for (const struct oci_json *e = v->first; r == 0 && e; e = e->next) {
		r = oci_dec_expect(d, e, OCI_JSON_OBJECT);
		if (r < 0)
			return r;
		type = oci_json_get(e, "type");
		if (!type)
			return oci_json_fail_missing(e, "type", d->err);
		r = oci_dec_word(d, type, ns_words, HK_ARRAY_SIZE(ns_words), &ns);
		if (r < 0)
			return r;
		if (s->ns[ns].is_set)
			return oci_json_fail_word(type, d->err, "namespace given twice:");
		s->ns[ns].is_set = true;
		path = oci_json_get(e, "path");
		if (path)
			r = parse_ns_path(d, path, &s->ns[ns].path);
	}
	return r;
}

struct time_offset {
	struct oci_opt_i64 *s, *ns;
};

static int parse_time_offset(const struct oci_dec *d, const struct oci_json *v, const struct time_offset *t)
{
	const struct oci_json *secs, *nanosecs;
	int r = oci_dec_expect(d, v, OCI_JSON_OBJECT);

	if (r < 0)
		return r;
	secs = oci_json_get(v, "secs");
	nanosecs = oci_json_get(v, "nanosecs");
	if (secs)
		r = oci_dec_i64(d, secs, &t->s->v);
	if (r == 0 && nanosecs)
		r = oci_dec_i64_in(d, nanosecs, 0, 999999999, &t->ns->v);
	t->s->is_set = t->ns->is_set = true;
	return r;
}

/* A map with two possible keys: another clock would be an unknown value, not an unknown field. */
static int parse_time_offsets(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;
	const struct oci_json **m;
	size_t n;
	int r = oci_dec_members(d, v, &m, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (oci_json_is_key(m[i], "boottime"))
			r = parse_time_offset(
			    d, m[i], &(struct time_offset){ &s->time_boottime_s, &s->time_boottime_ns });
		else if (oci_json_is_key(m[i], "monotonic"))
			r = parse_time_offset(
			    d, m[i], &(struct time_offset){ &s->time_monotonic_s, &s->time_monotonic_ns });
		else
			r = oci_json_fail(m[i], d->err, "unknown clock");
	}
	return r;
}

/* ---- devices ---- */

static int parse_device_type(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = { { "c", 'c' }, { "b", 'b' }, { "p", 'p' }, { "u", 'c' } };
	uint64_t type;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &type);

	if (r == 0)
		*(char *)dst = (char)type;
	return r;
}

static int parse_major(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_i64_in(d, v, 0, MAX_MAJOR, dst);
}

static int parse_minor(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_i64_in(d, v, 0, MAX_MINOR, dst);
}

static int parse_abs_path(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = oci_dec_str(d, v, dst);

	if (r == 0 && **(const char **)dst != '/')
		return oci_json_fail_word(v, d->err, "not an absolute path");
	return r;
}

/* Producers copy st_mode, whose file type bits are not the mode's. */
static int parse_file_mode(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_device *dev = dst;
	uint64_t mode;
	int r = oci_dec_u64_in(d, v, UINT32_MAX, &mode);

	if (r < 0)
		return r;
	dev->has_mode = true;
	dev->mode = (uint32_t)mode & 07777;
	return 0;
}

static int parse_owner(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t id;
	int r = oci_dec_u64_in(d, v, UINT32_MAX - 1, &id); /* -1 is "leave" to chown(2) */

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)id;
	return r;
}

static int parse_device(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_device, type, "type", parse_device_type),
		OCI_FIELD_REQ(struct oci_device, path, "path", parse_abs_path),
		OCI_FIELD(struct oci_device, major, "major", parse_major),
		OCI_FIELD(struct oci_device, minor, "minor", parse_minor),
		OCI_FIELD_SELF("fileMode", parse_file_mode),
		OCI_FIELD(struct oci_device, uid, "uid", parse_owner),
		OCI_FIELD(struct oci_device, gid, "gid", parse_owner),
	};
	struct oci_device *dev = dst;
	int r;

	dev->major = dev->minor = -1;
	r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dev);
	if (r < 0)
		return r;
	if (dev->type != 'p' && dev->major < 0)
		return oci_json_fail_missing(v, "major", d->err);
	if (dev->type != 'p' && dev->minor < 0)
		return oci_json_fail_missing(v, "minor", d->err);
	if (dev->major < 0)
		dev->major = 0;
	if (dev->minor < 0)
		dev->minor = 0;
	return 0;
}

static int parse_devices(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;

	return oci_dec_array(d, v, parse_device, sizeof(*s->devices), (void **)&s->devices, &s->n_devices);
}

/* ---- the rest ---- */

static int parse_propagation(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	enum { RECURSIVE = 0x100 };
	static const struct oci_word words[] = {
		{ "", OCI_PROP_NONE },
		{ "private", OCI_PROP_PRIVATE },
		{ "rprivate", OCI_PROP_PRIVATE | RECURSIVE },
		{ "slave", OCI_PROP_SLAVE },
		{ "rslave", OCI_PROP_SLAVE | RECURSIVE },
		{ "shared", OCI_PROP_SHARED },
		{ "rshared", OCI_PROP_SHARED | RECURSIVE },
		{ "unbindable", OCI_PROP_UNBINDABLE },
		{ "runbindable", OCI_PROP_UNBINDABLE | RECURSIVE },
	};
	struct oci_spec *s = dst;
	uint64_t p;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &p);

	if (r < 0)
		return r;
	s->rootfs_propagation = (enum oci_propagation)(p & ~(uint64_t)RECURSIVE);
	s->rootfs_propagation_recursive = (p & RECURSIVE) != 0;
	return 0;
}

static int parse_path_list(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = oci_dec_strv(d, v, dst);

	if (r < 0)
		return r;
	for (const struct oci_json *e = v->first; e; e = e->next) {
		if (e->n == 0 || e->text[0] != '/')
			return oci_json_fail_word(e, d->err, "not an absolute path");
	}
	return 0;
}

static int parse_intel_rdt(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_intel_rdt, clos_id, "closID", oci_dec_opt_str),
		OCI_FIELD(struct oci_intel_rdt, l3_cache_schema, "l3CacheSchema", oci_dec_opt_str),
		OCI_FIELD(struct oci_intel_rdt, mem_bw_schema, "memBwSchema", oci_dec_opt_str),
		OCI_FIELD(struct oci_intel_rdt, schemata, "schemata", oci_dec_strv),
		OCI_FIELD(struct oci_intel_rdt, enable_monitoring, "enableMonitoring", oci_dec_bool),
	};
	struct oci_intel_rdt *rdt = dst;

	rdt->is_set = true;
	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), rdt);
}

/* `flags` has no known values (config-linux.md "Personality"): read past. */
static int parse_personality(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = { { "LINUX", 0 }, { "LINUX32", HUSK_PER_LINUX32 } };
	struct oci_spec *s = dst;
	const struct oci_json *domain;
	uint64_t p;
	int r = oci_dec_expect(d, v, OCI_JSON_OBJECT);

	if (r < 0)
		return r;
	domain = oci_json_get(v, "domain");
	if (!domain)
		return oci_json_fail_missing(v, "domain", d->err);
	r = oci_dec_word(d, domain, words, HK_ARRAY_SIZE(words), &p);
	if (r < 0)
		return r;
	s->has_personality = true;
	s->personality = (uint32_t)p;
	return 0;
}

static const struct oci_word mpol_modes[] = {
	{ "MPOL_BIND", MPOL_BIND },
	{ "MPOL_DEFAULT", MPOL_DEFAULT },
	{ "MPOL_INTERLEAVE", MPOL_INTERLEAVE },
	{ "MPOL_LOCAL", MPOL_LOCAL },
	{ "MPOL_PREFERRED", MPOL_PREFERRED },
	{ "MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY },
	{ "MPOL_WEIGHTED_INTERLEAVE", HUSK_MPOL_WEIGHTED_INTERLEAVE },
};
static const struct oci_word mpol_flags[] = {
	{ "MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING },
	{ "MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES },
	{ "MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES },
};

const struct oci_word *oci_mpol_mode(size_t i)
{
	return i < HK_ARRAY_SIZE(mpol_modes) ? &mpol_modes[i] : NULL;
}

const struct oci_word *oci_mpol_flag(size_t i)
{
	return i < HK_ARRAY_SIZE(mpol_flags) ? &mpol_flags[i] : NULL;
}

static int parse_mpol_mode(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t mode;
	int r = oci_dec_word(d, v, mpol_modes, HK_ARRAY_SIZE(mpol_modes), &mode);

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)mode;
	return r;
}

static int parse_mpol_flags(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t flags;
	int r = oci_dec_flags(d, v, mpol_flags, HK_ARRAY_SIZE(mpol_flags), &flags);

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)flags;
	return r;
}

static int parse_memory_policy(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_memory_policy, mode, "mode", parse_mpol_mode),
		OCI_FIELD(struct oci_memory_policy, flags, "flags", parse_mpol_flags),
		OCI_FIELD(struct oci_memory_policy, nodes, "nodes", oci_dec_opt_str),
	};
	struct oci_memory_policy *p = dst;

	p->is_set = true;
	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), p);
}

/* dev_valid_name() of the kernel: shorter than IFNAMSIZ, not "." or "..", no '/', ':' or blanks. */
static bool is_ifname(const char *s, size_t len)
{
	if (len == 0 || len > 15 || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '/' || s[i] == ':' || s[i] == '\0' || isspace((unsigned char)s[i]))
			return false;
	}
	return true;
}

static int parse_net_devices(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;
	const struct oci_json **m, *name;
	size_t n;
	int r = oci_dec_members(d, v, &m, &n);

	if (r < 0 || n == 0)
		return r;
	s->net_devices = hk_arena_array(d->arena, n, sizeof(*s->net_devices));
	if (!s->net_devices)
		return oci_dec_no_memory(d);
	for (; s->n_net_devices < n; s->n_net_devices++) {
		const struct oci_json *e = m[s->n_net_devices];
		struct oci_net_device *dev = &s->net_devices[s->n_net_devices];

		if (!is_ifname(e->key, e->key_len))
			return oci_json_fail(e, d->err, "not the name of a network interface");
		r = oci_dec_expect(d, e, OCI_JSON_OBJECT);
		if (r == 0)
			r = oci_dec_key(d, e, &dev->host_name);
		name = r == 0 ? oci_json_get(e, "name") : NULL;
		if (name)
			r = oci_dec_opt_str(d, name, &dev->name);
		if (r < 0)
			return r;
		if (dev->name && !is_ifname(dev->name, strlen(dev->name)))
			return oci_json_fail_word(name, d->err, "not the name of a network interface:");
	}
	return 0;
}

int oci_parse_linux(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_SELF("namespaces", parse_namespaces),
		OCI_FIELD(struct oci_spec, uid_mappings, "uidMappings", oci_parse_idmaps),
		OCI_FIELD(struct oci_spec, gid_mappings, "gidMappings", oci_parse_idmaps),
		OCI_FIELD_SELF("timeOffsets", parse_time_offsets),
		OCI_FIELD_SELF("devices", parse_devices),
		OCI_FIELD(struct oci_spec, sysctl, "sysctl", oci_dec_kvs),
		OCI_FIELD(struct oci_spec, cgroups_path, "cgroupsPath", oci_dec_opt_str),
		OCI_FIELD(struct oci_spec, resources, "resources", oci_parse_resources),
		OCI_FIELD_SELF("rootfsPropagation", parse_propagation),
		OCI_FIELD(struct oci_spec, seccomp, "seccomp", oci_parse_seccomp),
		OCI_FIELD(struct oci_spec, masked_paths, "maskedPaths", parse_path_list),
		OCI_FIELD(struct oci_spec, readonly_paths, "readonlyPaths", parse_path_list),
		OCI_FIELD(struct oci_spec, mount_label, "mountLabel", oci_dec_opt_str),
		OCI_FIELD(struct oci_spec, intel_rdt, "intelRdt", parse_intel_rdt),
		OCI_FIELD_SELF("personality", parse_personality),
		OCI_FIELD(struct oci_spec, memory_policy, "memoryPolicy", parse_memory_policy),
		OCI_FIELD_SELF("netDevices", parse_net_devices),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}
