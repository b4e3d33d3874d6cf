/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse_process.c — `process` of config.json, and process.json of an exec, into struct oci_process.
 * runtime-spec 1.3, config.md "Process", "POSIX process" and "Linux Process".
 */
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/limits.h"
#include "oci/parse.h"

#ifndef SCHED_DEADLINE /* glibc names it since 2.40 or so; linux/sched.h cannot be included with sched.h */
#define SCHED_DEADLINE 6
#endif
enum { HUSK_SCHED_ISO = 4 }; /* reserved by the kernel, known to the runtime-spec */

static int parse_console_size(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;
	const struct oci_json *height, *width;
	uint64_t rows = 0, cols = 0; /* struct winsize is 16 bits wide */
	int r = oci_dec_expect(d, v, OCI_JSON_OBJECT);

	if (r < 0)
		return r;
	height = oci_json_get(v, "height");
	width = oci_json_get(v, "width");
	if (height)
		r = oci_dec_u64_in(d, height, UINT16_MAX, &rows);
	if (r == 0 && width)
		r = oci_dec_u64_in(d, width, UINT16_MAX, &cols);
	if (r < 0)
		return r;
	p->console_rows = (uint16_t)rows;
	p->console_cols = (uint16_t)cols;
	return 0;
}

/* 2^32-1 means "do not change" to setresuid(2) and chown(2): the process would keep the runtime's own id. */
static int parse_id(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t id = 0;
	int r;

	/* Exact: "1000:x" or 2^32, cut short, would be another user, or root (CVE-2026-30892). */
	if (hk_is_broken(HK_DEFENCE_STRICT_ID)) {
		*(uint32_t *)dst = hk_naive_id(v->text, v->n);
		return 0;
	}
	r = oci_dec_u64_in(d, v, UINT32_MAX - 1, &id);
	if (r == 0)
		*(uint32_t *)dst = (uint32_t)id;
	return r;
}

static int parse_umask(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;
	uint64_t mask;
	int r = oci_dec_u64_in(d, v, 0777, &mask);

	if (r < 0)
		return r;
	p->has_umask = true;
	p->umask = (uint32_t)mask;
	return 0;
}

static int parse_gids(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;

	return oci_dec_array(
	    d, v, parse_id, sizeof(*p->additional_gids), (void **)&p->additional_gids, &p->n_additional_gids);
}

static int parse_user(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_process, uid, "uid", parse_id),
		OCI_FIELD(struct oci_process, gid, "gid", parse_id),
		OCI_FIELD_SELF("umask", parse_umask),
		OCI_FIELD_SELF("additionalGids", parse_gids),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* ---- capabilities ---- */

/* Only the spec's form: libcap itself would take numbers and lower case too. */
static bool is_cap_name(const char *s)
{
	return strncmp(s, "CAP_", 4) == 0 && s[4] && s[4 + strspn(s + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == '\0';
}

/*
 * config.md, "Linux Process": a capability that the kernel does not have MUST be warned of, and is no error. Profiles
 * are newer than kernels.
 */
static int parse_cap_set(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	uint64_t set = 0;
	cap_value_t bit;
	char name[32];
	int r = oci_dec_expect(d, v, OCI_JSON_ARRAY);

	if (r < 0)
		return r;
	for (const struct oci_json *e = v->first; e; e = e->next) {
		r = oci_dec_expect(d, e, OCI_JSON_STRING);
		if (r < 0)
			return r;
		(void)snprintf(name, sizeof(name), "%.*s", e->n < sizeof(name) ? (int)e->n : 0, e->text);
		if (strlen(name) != e->n || !is_cap_name(name) || cap_from_name(name, &bit) != 0 ||
		    bit >= cap_max_bits()) {
			log_warn("capability unknown to this kernel is left out", LOG_STR("name", name));
			continue;
		}
		set |= UINT64_C(1) << bit;
	}
	*(uint64_t *)dst = set;
	return 0;
}

/* clang-format off */
#define CAP_SET(set, key_) \
	{ .key = (key_), .fn = parse_cap_set, .offset = offsetof(struct oci_process, caps) + (set) * sizeof(uint64_t) }
/* clang-format on */
static int parse_capabilities(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		CAP_SET(OCI_CAP_BOUNDING, "bounding"),
		CAP_SET(OCI_CAP_EFFECTIVE, "effective"),
		CAP_SET(OCI_CAP_INHERITABLE, "inheritable"),
		CAP_SET(OCI_CAP_PERMITTED, "permitted"),
		CAP_SET(OCI_CAP_AMBIENT, "ambient"),
	};
	struct oci_process *p = dst;

	p->has_capabilities = true;
	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), p);
}

/* ---- limits ---- */

static int parse_rlimit_type(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = {
		{ "RLIMIT_AS", RLIMIT_AS },
		{ "RLIMIT_CORE", RLIMIT_CORE },
		{ "RLIMIT_CPU", RLIMIT_CPU },
		{ "RLIMIT_DATA", RLIMIT_DATA },
		{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
		{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
		{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
		{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
		{ "RLIMIT_NICE", RLIMIT_NICE },
		{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
		{ "RLIMIT_NPROC", RLIMIT_NPROC },
		{ "RLIMIT_RSS", RLIMIT_RSS },
		{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
		{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
		{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
		{ "RLIMIT_STACK", RLIMIT_STACK },
	};
	uint64_t resource;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &resource);

	if (r == 0)
		*(int *)dst = (int)resource;
	return r;
}

static int parse_rlimit(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_rlimit, resource, "type", parse_rlimit_type),
		OCI_FIELD_REQ(struct oci_rlimit, soft, "soft", oci_dec_u64),
		OCI_FIELD_REQ(struct oci_rlimit, hard, "hard", oci_dec_u64),
	};
	struct oci_rlimit *l = dst;
	int r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), l);

	if (r == 0 && l->soft > l->hard)
		return oci_json_fail(v, d->err, "soft limit is above the hard limit");
	return r;
}

static int parse_rlimits(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;
	const struct oci_json *e = v->type == OCI_JSON_ARRAY ? v->first : NULL;
	uint32_t seen = 0;
	int r = oci_dec_array(d, v, parse_rlimit, sizeof(*p->rlimits), (void **)&p->rlimits, &p->n_rlimits);

	for (size_t i = 0; r == 0 && i < p->n_rlimits; i++, e = e->next) {
		uint32_t bit = UINT32_C(1) << p->rlimits[i].resource;

		if (seen & bit)
			return oci_json_fail_word(oci_json_get(e, "type"), d->err, "given twice:");
		seen |= bit;
	}
	return r;
}

static int parse_oom_score_adj(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;
	int64_t n;
	int r = oci_dec_i64_in(d, v, -1000, 1000, &n);

	if (r < 0)
		return r;
	p->has_oom_score_adj = true;
	p->oom_score_adj = (int)n;
	return 0;
}

static int parse_no_new_privileges(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_process *p = dst;

	p->has_no_new_privileges = true;
	return oci_dec_bool(d, v, &p->no_new_privileges);
}

/* ---- scheduling ---- */

static int parse_policy(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = {
		{ "SCHED_OTHER", SCHED_OTHER },
		{ "SCHED_FIFO", SCHED_FIFO },
		{ "SCHED_RR", SCHED_RR },
		{ "SCHED_BATCH", SCHED_BATCH },
		{ "SCHED_ISO", HUSK_SCHED_ISO },
		{ "SCHED_IDLE", SCHED_IDLE },
		{ "SCHED_DEADLINE", SCHED_DEADLINE },
	};
	uint64_t policy;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &policy);

	if (r == 0)
		*(uint32_t *)dst = (uint32_t)policy;
	return r;
}

static int parse_sched_flags(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = {
		/* include/uapi/linux/sched.h */
		{ "SCHED_FLAG_RESET_ON_FORK", 0x01 },
		{ "SCHED_FLAG_RECLAIM", 0x02 },
		{ "SCHED_FLAG_DL_OVERRUN", 0x04 },
		{ "SCHED_FLAG_KEEP_POLICY", 0x08 },
		{ "SCHED_FLAG_KEEP_PARAMS", 0x10 },
		{ "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
		{ "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 },
	};

	return oci_dec_flags(d, v, words, HK_ARRAY_SIZE(words), dst);
}

static int parse_scheduler(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_scheduler, policy, "policy", parse_policy),
		OCI_FIELD(struct oci_scheduler, nice, "nice", oci_dec_i32),
		OCI_FIELD(struct oci_scheduler, priority, "priority", oci_dec_i32),
		OCI_FIELD(struct oci_scheduler, flags, "flags", parse_sched_flags),
		OCI_FIELD(struct oci_scheduler, runtime, "runtime", oci_dec_u64),
		OCI_FIELD(struct oci_scheduler, deadline, "deadline", oci_dec_u64),
		OCI_FIELD(struct oci_scheduler, period, "period", oci_dec_u64),
	};
	struct oci_scheduler *s = dst;

	s->is_set = true;
	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), s);
}

static int parse_io_class(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_word words[] = {
		{ "IOPRIO_CLASS_RT", IOPRIO_CLASS_RT },
		{ "IOPRIO_CLASS_BE", IOPRIO_CLASS_BE },
		{ "IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE },
	};
	uint64_t class;
	int r = oci_dec_word(d, v, words, HK_ARRAY_SIZE(words), &class);

	if (r == 0)
		*(int *)dst = (int)class;
	return r;
}

static int parse_io_level(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int64_t n;
	int r = oci_dec_i64_in(d, v, 0, 7, &n);

	if (r == 0)
		*(int *)dst = (int)n;
	return r;
}

static int parse_io_priority(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_process, io_priority_class, "class", parse_io_class),
		OCI_FIELD(struct oci_process, io_priority, "priority", parse_io_level),
	};
	struct oci_process *p = dst;

	p->has_io_priority = true;
	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), p);
}

/* Only an exec uses them, and should not be the first to find out. */
static int parse_cpus(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	const char **list = dst;
	int r = oci_dec_opt_str(d, v, dst);

	if (r == 0 && *list)
		r = oci_cpu_list_check(*list) < 0 ? oci_json_fail_word(v, d->err, "not a list of CPUs:") : 0;
	return r;
}

static int parse_affinity(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_process, exec_cpu_affinity_initial, "initial", parse_cpus),
		OCI_FIELD(struct oci_process, exec_cpu_affinity_final, "final", parse_cpus),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

int oci_parse_process(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD(struct oci_process, terminal, "terminal", oci_dec_bool),
		OCI_FIELD_SELF("consoleSize", parse_console_size),
		OCI_FIELD_SELF("user", parse_user),
		OCI_FIELD(struct oci_process, args, "args", oci_dec_strv),
		OCI_FIELD(struct oci_process, env, "env", oci_dec_strv),
		OCI_FIELD_REQ(struct oci_process, cwd, "cwd", oci_dec_str),
		OCI_FIELD_SELF("capabilities", parse_capabilities),
		OCI_FIELD_SELF("rlimits", parse_rlimits),
		OCI_FIELD_SELF("noNewPrivileges", parse_no_new_privileges),
		OCI_FIELD_SELF("oomScoreAdj", parse_oom_score_adj),
		OCI_FIELD(struct oci_process, apparmor_profile, "apparmorProfile", oci_dec_opt_str),
		OCI_FIELD(struct oci_process, selinux_label, "selinuxLabel", oci_dec_opt_str),
		OCI_FIELD(struct oci_process, scheduler, "scheduler", parse_scheduler),
		OCI_FIELD_SELF("ioPriority", parse_io_priority),
		OCI_FIELD_SELF("execCPUAffinity", parse_affinity),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}
