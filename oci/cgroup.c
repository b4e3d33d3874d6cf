/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup.c — a container's cgroup from its making to its removal: which hierarchy gets what, in which order, and what is undone when
 * a step fails. Files are written by cgroup_v1.c and cgroup_v2.c, device filters by cgroup_bpf.c; processes are cgroup_procs.c's.
 */
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_bpf.h"
#include "oci/cgroup_priv.h"
#include "oci/spec.h"

int cg_open_on(const struct cg_host *host, const char *cgroups_path, const char *id, struct oci_cgroup **ret, struct hk_err *err)
{
	struct oci_cgroup *cg = calloc(1, sizeof(*cg));
	int r;

	if (!cg)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "cgroup");
	cg->host = host;
	cg->v2_fd = -1;
	if (cgroups_path && cg_is_unit_form(cgroups_path))
		r = cg_unit_parse(cgroups_path, &cg->unit, &cg->path, err);
	else
		r = cg_resolve_path(cgroups_path, id, &cg->path, err);
	if (r < 0) {
		free(cg);
		return r;
	}
	/* A unit that is there already is another container's: ours is new. */
	if (cg_host_v2(host) && !cg->unit.name) {
		int fd = cg_open_leaf(cg_host_v2(host), cg->path);

		if (fd >= 0) /* made by an earlier process */
			cg->v2_fd = fd;
	}
	*ret = cg;
	return 0;
}

int oci_cgroup_open(const char *cgroups_path, const char *id, struct oci_cgroup **ret, struct hk_err *err)
{
	const struct cg_host *host = cg_host_get();

	if (!host)
		return hk_fail(err, HK_INTERNAL, errno, "read the cgroup mounts of the host");
	if (host->n == 0)
		return hk_fail_text(err, HK_UNSUPPORTED, ENOENT, "no cgroup hierarchy is mounted on this host");
	return cg_open_on(host, cgroups_path, id, ret, err);
}

void oci_cgroup_free(struct oci_cgroup *cg)
{
	if (!cg)
		return;
	hk_close(cg->v2_fd);
	cg_unit_done(&cg->unit);
	free(cg->path);
	free(cg);
}

const char *oci_cgroup_path(const struct oci_cgroup *cg)
{
	return cg->path;
}

bool oci_cgroup_is_unit(const struct oci_cgroup *cg)
{
	return cg->unit.name != NULL;
}

int oci_cgroup_clone_fd(const struct oci_cgroup *cg)
{
	return cg->v2_fd;
}

bool oci_cgroup_is_v2_alone(const struct oci_cgroup *cg)
{
	return cg->host->mode == OCI_CGROUP_UNIFIED;
}

void oci_cgroup_undo(struct oci_cgroup *cg)
{
	cg->v2_fd = hk_close(cg->v2_fd);
	for (size_t i = cg->host->n; i > 0; i--) {
		if (cg->made_from[i - 1])
			cg_tree_unmake(&cg->host->h[i - 1], cg->path, cg->made_from[i - 1] - 1U);
		cg->made_from[i - 1] = 0;
	}
}

/* 0, or -EEXIST with nothing said. */
static int make_one(struct oci_cgroup *cg, size_t i, struct hk_err *err)
{
	size_t kept = 0;
	int r = cg_tree_make(&cg->host->h[i], cg->path, &kept);

	if (r == 0)
		cg->made_from[i] = (uint16_t)(kept + 1);
	else if (r != -EEXIST)
		return hk_fail(err, HK_INTERNAL, -r, "make cgroup %s%s", cg->host->h[i].mount, cg->path);
	return r;
}

static bool has_processes(const struct oci_cgroup *cg, uint32_t where)
{
	for (size_t i = 0; i < cg->host->n; i++) {
		hk_autofd fd = where & 1U << i ? cg_open_leaf(&cg->host->h[i], cg->path) : -1;
		int r = fd < 0 ? fd : cg_tree_populated(fd, cg->host->h[i].is_v2);

		if (where & 1U << i && r != 0 && r != -ENOENT && r != -ENODEV)
			return true; /* also when it cannot be told */
	}
	return false;
}

/*
 * A leaf that is there without processes was left by a crash: made anew, so that neither its limits nor its frozen state reach the
 * container. One the kernel does not let go is taken as it is.
 */
static int make_all(struct oci_cgroup *cg, struct hk_err *err)
{
	uint32_t existed = 0;
	int r;

	for (size_t i = 0; i < cg->host->n; i++) {
		r = cg->made_from[i] ? 0 : make_one(cg, i, err);
		if (r == -EEXIST)
			existed |= 1U << i;
		else if (r < 0)
			return r;
	}
	if (has_processes(cg, existed))
		return hk_fail_text(err, HK_BAD_STATE, EBUSY, "cgroup %s exists and has processes", cg->path);
	for (size_t i = 0; existed != 0 && i < cg->host->n; i++) {
		if (!(existed & 1U << i) || cg_tree_remove(&cg->host->h[i], cg->path) < 0)
			continue;
		r = make_one(cg, i, err);
		if (r < 0 && r != -EEXIST)
			return r;
	}
	return 0;
}

/* Freezing an ancestor freezes what is born below: the init would stop before it could say a word, and its creator would wait. */
int oci_cgroup_check_thawed(const struct oci_cgroup *cg, struct hk_err *err)
{
	const struct cg_hier *freezer = cg_host_find(cg->host, CG_FREEZER);
	struct cg_dir d;
	char buf[256];
	uint64_t v = 0;
	bool is_frozen;

	if (freezer) {
		cg_dir_init(&d, freezer, cg->path);
		is_frozen = cg_read(&d, "freezer.state", buf, sizeof(buf)) > 0 && strcmp(buf, "THAWED") != 0;
	} else if (cg_host_v2(cg->host)) {
		cg_dir_init(&d, cg_host_v2(cg->host), cg->path);
		is_frozen = cg_read(&d, "cgroup.events", buf, sizeof(buf)) > 0 && hk_flat_key_u64(buf, "frozen", &v) && v != 0;
	} else {
		return 0;
	}
	cg_dir_done(&d);
	return is_frozen ? hk_fail_text(err, HK_BAD_STATE, EBUSY, "cgroup %s or one above it is frozen", cg->path) : 0;
}

/* The controllers of v2 that the leaf shall have. */
static uint32_t v2_wanted(const struct oci_cgroup *cg, const struct oci_resources *r)
{
	const struct cg_hier *v2 = cg_host_v2(cg->host);
	uint32_t ctls = v2 ? v2->ctls : 0;

	if (cg->host->mode == OCI_CGROUP_HYBRID || cg->unit.name) { /* not ours to arrange, unless something is asked that nobody else gives */
		if (r->n_hugepages == 0)
			ctls &= ~CG_BIT(CG_HUGETLB);
		if (r->n_rdma == 0)
			ctls &= ~CG_BIT(CG_RDMA);
	}
	return ctls;
}

/* `ready` (-1: none) is a parent that gave all controllers before the leaf was made: it has them then. */
static int prepare_v2(struct oci_cgroup *cg, const struct oci_resources *r, int ready, struct hk_err *err)
{
	const struct cg_hier *v2 = cg_host_v2(cg->host);
	uint32_t ctls = v2_wanted(cg, r);
	int fd = -1;

	if (!v2)
		return 0;
	if (ready >= 0) /* fails if that parent has gone meanwhile and the leaf is in another of its name */
		fd = openat(ready, strrchr(cg->path, '/') + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		ctls = 0;
	else
		fd = cg_open_leaf(v2, cg->path);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, -fd, "open cgroup %s%s", v2->mount, cg->path);
	hk_close(cg->v2_fd);
	cg->v2_fd = fd;
	return ctls ? cg_v2_enable(v2, cg->path, ctls, err) : 0;
}

static int write_ctl(struct oci_cgroup *cg, enum cg_ctl ctl, const struct oci_resources *r, struct hk_err *err)
{
	const struct cg_hier *h = cg_host_find(cg->host, ctl);
	bool is_v2 = h ? h->is_v2 : cg->host->mode == OCI_CGROUP_UNIFIED;
	struct cg_dir d;
	int rc;

	cg_dir_init(&d, h, cg->path);
	if (h && h->is_v2)
		d.fd = cg->v2_fd; /* lent */
	rc = is_v2 ? cg_v2_write(ctl, &d, r, err) : cg_v1_write(ctl, &d, r, err);
	if (d.fd != cg->v2_fd)
		cg_dir_done(&d);
	return rc;
}

static int write_unified(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	struct cg_dir d;
	int rc;

	if (r->unified.n == 0)
		return 0;
	if (!cg_host_v2(cg->host))
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "linux.resources.unified needs cgroup v2, which this host does not have");
	cg_dir_init(&d, cg_host_v2(cg->host), cg->path);
	rc = cg_v2_write_unified(&d, r, err);
	cg_dir_done(&d);
	return rc;
}

/* v1's controller, or a filter program where only v2 is there to take it. */
static int write_devices(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	const struct cg_hier *v2 = cg_host_v2(cg->host);
	hk_autofd fd = -1;

	if (cg_host_find(cg->host, CG_DEVICES) || !v2)
		return write_ctl(cg, CG_DEVICES, r, err);
	fd = cg_open_leaf(v2, cg->path);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, -fd, "open cgroup %s%s", v2->mount, cg->path);
	return cg_bpf_apply(fd, r->devices, r->n_devices, err);
}

/* Memory first: of all limits it is the one that may be refused, and an update should then have changed nothing. */
static int write_limits(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	static const enum cg_ctl order[] = { CG_MEMORY, CG_PIDS, CG_IO, CG_CPU, CG_CPUSET, CG_HUGETLB, CG_RDMA, CG_NET_CLS, CG_NET_PRIO };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < HK_ARRAY_SIZE(order); i++)
		rc = write_ctl(cg, order[i], r, err);
	return rc < 0 ? rc : write_unified(cg, r, err); /* last: it overrides */
}

int oci_cgroup_create(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	const struct cg_hier *cpuset = cg_host_find(cg->host, CG_CPUSET);
	uint32_t wanted = v2_wanted(cg, r);
	hk_autofd ready = wanted ? cg_v2_open_ready(cg_host_v2(cg->host), cg->path, wanted) : -1;
	int rc = make_all(cg, err);

	if (rc == 0)
		rc = prepare_v2(cg, r, ready, err);
	if (rc == 0)
		rc = oci_cgroup_check_thawed(cg, err);
	if (rc == 0 && cpuset && !cpuset->is_v2)
		rc = cg_v1_cpuset_inherit(cpuset, cg->path, err);
	if (rc == 0)
		rc = write_limits(cg, r, err);
	if (rc == 0)
		rc = write_devices(cg, r, err);
	if (rc < 0 && !cg->is_begun)
		oci_cgroup_undo(cg);
	return rc;
}

int oci_cgroup_begin(struct oci_cgroup *cg, struct hk_err *err)
{
	const struct cg_hier *v2 = cg_host_v2(cg->host);
	int r, fd;

	if (cg->host->mode == OCI_CGROUP_UNIFIED || cg->unit.name)
		return 0;
	if (v2) {
		r = make_one(cg, (size_t)(v2 - cg->host->h), err);
		if (r < 0) /* one that is there is looked at before anybody is born in it */
			return r == -EEXIST ? 0 : r;
		fd = cg_open_leaf(v2, cg->path);
		cg->v2_fd = fd < 0 ? -1 : fd;
	}
	cg->is_begun = true;
	return 1;
}

/* systemd keeps cpu.max in percents: a value given by its file name is rounded like one given by quota and period. */
static int write_unified_cpu(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	const char *given = cg_host_v2(cg->host) ? oci_kvs_get(&r->unified, "cpu.max") : NULL;
	struct oci_resources cpu = { 0 };

	if (!given || !cg->unit.name)
		return 0;
	cpu.cpu.period.is_set = true;
	cg_unit_settle_cpu(&cpu, given);
	return write_ctl(cg, CG_CPU, &cpu, err);
}

/* On v1 systemd has made the unit's directory for the controllers it knows; the others are made like any container's. */
static int make_missing(struct oci_cgroup *cg, struct hk_err *err)
{
	const struct cg_hier *cpuset = cg_host_find(cg->host, CG_CPUSET);

	if (cg->host->mode == OCI_CGROUP_UNIFIED)
		return 0;
	for (size_t i = 0; i < cg->host->n; i++) {
		int r = make_one(cg, i, err);

		if (r < 0 && r != -EEXIST)
			return r;
	}
	return cpuset && !cpuset->is_v2 ? cg_v1_cpuset_inherit(cpuset, cg->path, err) : 0;
}

int oci_cgroup_adopt(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	struct oci_resources settled = *r;
	int rc = make_missing(cg, err);

	cg_unit_settle_cpu(&settled, NULL);
	if (rc == 0)
		rc = prepare_v2(cg, r, -1, err); /* no such directory: systemd runs below a prefix of its own and has made it elsewhere */
	if (rc == 0)
		rc = oci_cgroup_check_thawed(cg, err);
	if (rc == 0)
		rc = write_limits(cg, &settled, err);
	if (rc == 0)
		rc = write_unified_cpu(cg, r, err);
	return rc < 0 ? rc : write_devices(cg, r, err);
}

/*
 * Device rules are left alone, as by runc: containerd sends the whole list again with each update, v1 cannot exchange it in one step, and
 * a container that finds /dev/null closed for a moment breaks.
 */
int oci_cgroup_update(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err)
{
	const struct cg_hier *memory = cg_host_find(cg->host, CG_MEMORY);
	int rc;

	if (memory && memory->is_v2) {
		struct cg_dir d;

		cg_dir_init(&d, memory, cg->path);
		rc = cg_v2_check_memory(&d, r, err);
		cg_dir_done(&d);
		if (rc < 0)
			return rc;
	}
	rc = write_limits(cg, r, err);
	return rc < 0 ? rc : write_unified_cpu(cg, r, err);
}

/* "0::<path>" of /proc/<pid>/cgroup, as a path below the mount point; false when the process is not below our leaf. */
static bool v2_path_of(const struct oci_cgroup *cg, const struct cg_hier *v2, pid_t pid, char *buf, size_t size)
{
	char file[32];
	hk_autofree char *text = NULL;
	char *save = NULL;
	size_t len, root = strcmp(v2->root, "/") == 0 ? 0 : strlen(v2->root), leaf = strlen(cg->path);

	(void)hk_fmt(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	if (hk_read_file_alloc(AT_FDCWD, file, 1 << 20, &text, &len) < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *path = line + 3;

		if (!hk_has_prefix(line, "0::"))
			continue;
		if (strncmp(path, v2->root, root) != 0)
			return false;
		path += root;
		/* The container may have named its cgroups as it likes; a deleted one ends in " (deleted)" and fails to open. */
		return strncmp(path, cg->path, leaf) == 0 && path[leaf] == '/' && hk_fmt(buf, size, "%s", path) >= 0;
	}
	return false;
}

/*
 * On v1 by "tasks": a thread that moves itself needs no lock against forks of its group, while a write to cgroup.procs waits for a grace
 * period of RCU (milliseconds, and more on a busy machine). We are one thread, so both mean the same.
 */
static int enter_one(const struct oci_cgroup *cg, const struct cg_hier *h, int held, pid_t init_pid, struct hk_err *err)
{
	char file[PATH_MAX], init_path[PATH_MAX];
	int r = hk_fmt(file, sizeof(file), "%s%s/%s", held < 0 ? h->mount : ".", cg->path, h->is_v2 ? "cgroup.procs" : "tasks");

	if (r >= 0)
		r = hk_write_file_at(held < 0 ? AT_FDCWD : held, file, "0");
	/* A container that runs its own cgroups (systemd, a container engine) may have no process in an inner one: go where its init went. */
	if (h->is_v2 && (r == -EBUSY || r == -EOPNOTSUPP) && init_pid > 0 && v2_path_of(cg, h, init_pid, init_path, sizeof(init_path))) {
		struct cg_dir d;

		cg_dir_init(&d, h, init_path);
		r = cg_dir_write(&d, "cgroup.procs", "0");
		cg_dir_done(&d);
	}
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "enter cgroup %s%s", h->mount, cg->path) : 0;
}

int oci_cgroup_enter(const struct oci_cgroup *cg, pid_t init_pid, bool is_in_v2, struct hk_err *err)
{
	for (size_t i = 0; i < cg->host->n; i++) {
		const struct cg_hier *h = &cg->host->h[i];
		int r = h->is_v2 && is_in_v2 ? 0 : enter_one(cg, h, -1, init_pid, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int oci_cgroup_hold(const struct oci_cgroup *cg, int ret_fds[OCI_CGROUP_HOLD_MAX], bool is_in_v2, struct hk_err *err)
{
	for (size_t i = 0; i < cg->host->n; i++) {
		bool is_entered = cg->host->h[i].is_v2 && is_in_v2;

		ret_fds[i] = is_entered ? -1 : open(cg->host->h[i].mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (ret_fds[i] < 0 && !is_entered)
			return hk_fail(err, HK_INTERNAL, errno, "open %s", cg->host->h[i].mount);
	}
	return 0;
}

int oci_cgroup_enter_held(const struct oci_cgroup *cg, int fds[OCI_CGROUP_HOLD_MAX], bool is_in_v2, struct hk_err *err)
{
	int r = 0;

	for (size_t i = 0; i < cg->host->n; i++) {
		const struct cg_hier *h = &cg->host->h[i];

		if (r == 0 && !(h->is_v2 && is_in_v2))
			r = enter_one(cg, h, fds[i], 0, err);
		fds[i] = hk_close(fds[i]);
	}
	return r;
}

/* Parents that husk made go too, once nobody else uses them; those that were there are the caller's. */
int oci_cgroup_remove(struct oci_cgroup *cg, struct hk_err *err)
{
	int first = 0;
	const char *where = "";

	for (size_t i = 0; i < cg->host->n; i++) {
		int r = cg_tree_remove(&cg->host->h[i], cg->path);

		if (r < 0 && first == 0) {
			first = r;
			where = cg->host->h[i].mount;
		}
		if (r == 0)
			cg_tree_remove_parents(&cg->host->h[i], cg->path);
	}
	if (first < 0)
		return hk_fail(err, HK_INTERNAL, -first, "remove cgroup %s%s", where, cg->path);
	cg->v2_fd = hk_close(cg->v2_fd);
	return 0;
}
