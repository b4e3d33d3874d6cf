/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/validate.c — the spec as a whole: version, root, process, RDT, seccomp.
 * In: a parsed spec; out: 0, and from then on the spec is const, or the first rule that is broken.
 */
#include "oci/validate.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/seccomp.h"
#include "oci/spec.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

static int fail(struct hk_err *err, const char *text)
{
	return hk_fail_text(err, HK_INVALID, EINVAL, "%s", text);
}

/* Semantic versions 1.x: a newer minor adds fields, and unknown fields are ignored. */
static int check_version(const struct oci_spec *s, struct hk_err *err)
{
	const char *v = s->version;
	size_t minor, patch;

	if (hk_has_prefix(v, "1.")) {
		minor = strspn(v + 2, "0123456789");
		v += 2 + minor;
		patch = *v == '.' ? strspn(v + 1, "0123456789") : 0;
		if (minor > 0 && patch > 0 && (v[1 + patch] == '\0' || v[1 + patch] == '-' || v[1 + patch] == '+'))
			return 0;
	}
	return hk_fail_text(err, HK_INVALID, EINVAL, "ociVersion: \"%.40s\" is not a version 1.x.y", s->version);
}

/* ---- process ---- */

static int check_env(const struct oci_process *p, struct hk_err *err)
{
	for (size_t i = 0; i < p->env.n; i++) {
		const char *eq = strchr(p->env.v[i], '=');

		if (!eq || eq == p->env.v[i])
			return hk_fail_text(
			    err, HK_INVALID, EINVAL, "process.env[%zu]: \"%.100s\" is not NAME=VALUE", i, p->env.v[i]);
	}
	return 0;
}

static int check_scheduler(const struct oci_scheduler *s, struct hk_err *err)
{
	bool is_realtime = s->policy == SCHED_FIFO || s->policy == SCHED_RR;
	bool is_deadline = s->policy == SCHED_DEADLINE;

	if (!s->is_set)
		return 0;
	if (s->nice < -20 || s->nice > 19)
		return hk_fail_text(err, HK_INVALID, EINVAL, "process.scheduler.nice: %d is not in -20..19", s->nice);
	if (is_realtime ? s->priority < 1 || s->priority > 99 : s->priority != 0)
		return hk_fail_text(err, HK_INVALID, EINVAL,
		    "process.scheduler.priority: %d is not in %s of this policy", s->priority,
		    is_realtime ? "1..99" : "0..0");
	if (!is_deadline && (s->runtime || s->deadline || s->period))
		return fail(err, "process.scheduler: runtime, deadline and period are for SCHED_DEADLINE");
	/* sched(7): runtime <= deadline <= period, where 0 for the period means the deadline. */
	if (is_deadline && (s->runtime == 0 || s->runtime > s->deadline || (s->period && s->deadline > s->period)))
		return fail(err, "process.scheduler: not 0 < runtime <= deadline <= period");
	return 0;
}

int oci_process_validate(const struct oci_process *p, struct hk_err *err)
{
	int r;

	if (p->args.n == 0)
		return fail(err, "process.args: missing or empty");
	if (p->cwd[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "process.cwd: \"%.100s\" is not an absolute path", p->cwd);
	if (strlen(p->cwd) >= PATH_MAX)
		return fail(err, "process.cwd: path is too long");
	r = check_env(p, err);
	return r < 0 ? r : check_scheduler(&p->scheduler, err);
}

/* ---- linux ---- */

/* One line each; what is in it the kernel judges. */
static int check_schemata(const struct oci_intel_rdt *rdt, struct hk_err *err)
{
	if (rdt->l3_cache_schema && strchr(rdt->l3_cache_schema, '\n'))
		return fail(err, "linux.intelRdt.l3CacheSchema: more than one line");
	if (rdt->mem_bw_schema && (strchr(rdt->mem_bw_schema, '\n') || !hk_has_prefix(rdt->mem_bw_schema, "MB:")))
		return fail(err, "linux.intelRdt.memBwSchema: not one line that begins with \"MB:\"");
	for (size_t i = 0; i < rdt->schemata.n; i++)
		if (strchr(rdt->schemata.v[i], '\n'))
			return hk_fail_text(err, HK_INVALID, EINVAL, "linux.intelRdt.schemata[%zu]: more than one line", i);
	return 0;
}

/* config-linux.md "IntelRdt": a directory of resctrl's root; "/" alone is that root. */
static int check_rdt(const struct oci_intel_rdt *rdt, struct hk_err *err)
{
	const char *id = rdt->clos_id;

	if (!id || strcmp(id, "/") == 0)
		return check_schemata(rdt, err);
	if (strcmp(id, ".") == 0 || strcmp(id, "..") == 0 || strpbrk(id, "/\n") || strlen(id) > NAME_MAX)
		return hk_fail_text(
		    err, HK_INVALID, EINVAL, "linux.intelRdt.closID: \"%.100s\" is not a directory's name", id);
	return check_schemata(rdt, err);
}

/* The cgroup's path is joined to the hierarchy's root; ".." would leave it. */
static int check_cgroups_path(const struct oci_spec *s, struct hk_err *err)
{
	for (const char *p = s->cgroups_path; p && *p; p += strcspn(p, "/")) {
		p += strspn(p, "/");
		if (strcspn(p, "/") == 2 && p[0] == '.' && p[1] == '.')
			return hk_fail_text(
			    err, HK_INVALID, EINVAL, "linux.cgroupsPath: \"%.200s\" contains \"..\"", s->cgroups_path);
	}
	return 0;
}

int oci_spec_validate(const struct oci_spec *s, struct hk_err *err)
{
	int r = check_version(s, err);

	if (r == 0 && (!s->root_path || !*s->root_path))
		r = fail(err, "root.path: missing or empty");
	if (r == 0 && s->has_process)
		r = oci_process_validate(&s->process, err);
	if (r == 0)
		r = oci_validate_namespaces(s, err);
	if (r == 0)
		r = oci_validate_mounts(s, err);
	if (r == 0)
		r = oci_validate_sysctl(s, err);
	if (r == 0)
		r = check_rdt(&s->intel_rdt, err);
	if (r == 0)
		r = oci_seccomp_check(&s->seccomp, err);
	if (r == 0)
		r = check_cgroups_path(s, err);
	return r;
}
