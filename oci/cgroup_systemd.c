/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_systemd.c — runs husk-systemd for the systemd driver: names and properties (oci/cgroup_unit.h) become its arguments, its
 * verdict comes back through oci/helper.c. Nothing of it waits but oci_unit_stop_path.
 */
#include "oci/cgroup_systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "oci/cgroup_calc.h"
#include "oci/cgroup_priv.h"
#include "oci/oci.h"

#define PROGRAM "husk-systemd"
enum { DEFAULT_SHARES = 1024 };

int oci_unit_check(struct hk_err *err)
{
	char program[PATH_MAX];

	if (access("/run/systemd/system", F_OK) < 0) /* sd_booted(3) */
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP,
		    "the systemd cgroup driver, which this form chooses, needs a host that systemd runs");
	if (oci_program_find(PROGRAM, program, sizeof(program), err) < 0)
		return hk_wrap(err, "the systemd cgroup driver");
	return 0;
}

struct call {
	const char *verb, *unit;
	const struct cg_props *props; /* may be NULL */
	uint32_t timeout_ms;
};

static int run(
    const struct oci_engine *e, const struct call *c, oci_helper_fn *fn, void *arg, struct oci_helper **ret, struct hk_err *err)
{
	enum { FIXED = 3 };
	char program[PATH_MAX];
	size_t n = c->props ? c->props->n : 0;
	hk_autofree const char **argv = calloc(FIXED + n + 1, sizeof(*argv));
	struct oci_helper_job job = { .comm = PROGRAM, .what = PROGRAM, .timeout_ms = c->timeout_ms, .argv = argv };
	int r = argv ? oci_program_find(PROGRAM, program, sizeof(program), err) : hk_fail(err, HK_INTERNAL, ENOMEM, "run " PROGRAM);

	if (r < 0)
		return r;
	argv[0] = program;
	argv[1] = c->verb;
	argv[2] = c->unit;
	for (size_t i = 0; i < n; i++)
		argv[FIXED + i] = c->props->v[i];
	return oci_helper_run(e, &job, fn, arg, ret, err);
}

/* The root has no such file, and our own cgroup may not be there yet. */
static bool has_bfq(const struct oci_cgroup *cg)
{
	hk_autofd fd = cg_open_leaf(cg_host_v2(cg->host), "/system.slice");

	return fd >= 0 && faccessat(fd, "io.bfq.weight", F_OK, 0) == 0;
}

static bool is_v1(const struct oci_cgroup *cg)
{
	return cg->host->mode != OCI_CGROUP_UNIFIED;
}

/* What v1 has in two files, in the form of cpu.max. */
static void settle_cpu_v1(struct cg_dir *d, struct oci_resources *r)
{
	char quota[CG_NUM_MAX], period[CG_NUM_MAX], text[2 * CG_NUM_MAX + 2];
	bool has_both = cg_read(d, "cpu.cfs_quota_us", quota, sizeof(quota)) > 0 && cg_read(d, "cpu.cfs_period_us", period, sizeof(period)) > 0;

	if (has_both)
		(void)hk_fmt(text, sizeof(text), "%s %s", quota[0] == '-' ? "max" : quota, period);
	cg_unit_settle_cpu(r, has_both ? text : NULL);
}

static int add_resources(struct cg_props *p, const struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	return is_v1(cg) ? cg_props_resources_v1(p, r, err) : cg_props_resources(p, r, has_bfq(cg), err);
}

void oci_unit_settle(const struct oci_cgroup *cg, struct oci_resources *r)
{
	const struct cg_hier *cpu = cg_host_find(cg->host, CG_CPU), *memory = cg_host_find(cg->host, CG_MEMORY);
	char text[CG_NUM_MAX];
	uint64_t v = 0;
	struct cg_dir d;

	cg_dir_init(&d, cpu, cg->path);
	if (cpu && cpu->is_v2) {
		/* Out of the idle class the kernel gives the default weight; the property must say so, or it would put it back. */
		if (r->cpu.idle.is_set && r->cpu.idle.v == 0 && !r->cpu.shares.is_set && cg_read_u64(&d, "cpu.idle", &v) == 0 && v != 0)
			r->cpu.shares = (struct oci_opt_u64){ .is_set = true, .v = DEFAULT_SHARES };
		cg_unit_settle_cpu(r, cg_read(&d, "cpu.max", text, sizeof(text)) > 0 ? text : NULL);
	} else if (cpu) {
		settle_cpu_v1(&d, r);
	}
	cg_dir_done(&d);
	cg_dir_init(&d, memory, cg->path);
	if (memory && memory->is_v2 && (!r->memory.limit.is_set || r->memory.limit.v == 0) && r->memory.swap.is_set &&
	    r->memory.swap.v > 0 && cg_read_u64(&d, "memory.max", &v) == 0 && v <= INT64_MAX)
		r->memory.limit = (struct oci_opt_i64){ .is_set = true, .v = (int64_t)v };
	cg_dir_done(&d);
}

int oci_unit_start(const struct oci_engine *e, const struct oci_cgroup *cg, const struct oci_unit_start *o, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err)
{
	hk_auto(cg_props_done) struct cg_props props = { 0 };
	const struct call c = { .verb = "start", .unit = cg->unit.name, .props = &props, .timeout_ms = OCI_UNIT_TIMEOUT_MS };
	struct oci_resources settled = *o->resources;
	int r = cg_props_unit(&props, &cg->unit, o->id, o->pid, err);

	cg_unit_settle_cpu(&settled, NULL);
	if (r == 0)
		r = add_resources(&props, cg, &settled, err);
	if (r == 0 && is_v1(cg))
		r = cg_props_devices_v1(&props, &settled, err);
	if (r == 0)
		r = cg_props_annotations(&props, o->annotations, err);
	return r < 0 ? r : run(e, &c, fn, arg, ret, err);
}

int oci_unit_update(const struct oci_engine *e, const struct oci_cgroup *cg, const struct oci_resources *r, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err)
{
	hk_auto(cg_props_done) struct cg_props props = { 0 };
	const struct call c = { .verb = "update", .unit = cg->unit.name, .props = &props, .timeout_ms = OCI_UNIT_TIMEOUT_MS };
	int rc = add_resources(&props, cg, r, err);

	return rc < 0 ? rc : run(e, &c, fn, arg, ret, err);
}

int oci_unit_stop(const struct oci_engine *e, const struct oci_cgroup *cg, oci_helper_fn *fn, void *arg, struct oci_helper **ret,
    struct hk_err *err)
{
	const struct call c = { .verb = "stop", .unit = cg->unit.name, .timeout_ms = OCI_UNIT_TIMEOUT_MS };

	return run(e, &c, fn, arg, ret, err);
}

/* ---- for `delete` ---- */

struct await {
	bool is_done;
	int r;
	struct hk_err err;
};

static void on_stopped(void *arg, const struct hk_err *err)
{
	struct await *a = arg;

	a->is_done = true;
	if (err) {
		a->r = -err->code;
		a->err = *err;
	}
}

int oci_unit_stop_path(const char *cgroup_path, uint32_t timeout_ms, struct hk_err *err)
{
	const char *slash = strrchr(cgroup_path, '/');
	const struct call c = { .verb = "stop", .unit = slash ? slash + 1 : cgroup_path, .timeout_ms = timeout_ms };
	struct await a = { 0 };
	struct hk_loop loop;
	struct hk_reaper reaper;
	const struct oci_engine e = { .loop = &loop, .reaper = &reaper };
	struct oci_helper *helper = NULL;
	int r;

	if (!cg_is_unit_path(cgroup_path) || oci_unit_check(NULL) < 0)
		return 0;
	r = hk_loop_init(&loop);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "stop unit %s", c.unit);
	hk_reaper_init(&reaper, &loop);
	r = run(&e, &c, on_stopped, &a, &helper, err);
	while (r == 0 && !a.is_done)
		r = hk_loop_once(&loop, -1);
	if (r == 0 && a.r < 0) {
		r = a.r;
		if (err)
			*err = a.err;
	} else if (r < 0 && helper && !a.is_done) {
		oci_helper_abort(helper);
	}
	hk_loop_done(&loop);
	return r;
}
