/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/remove.c — the end of a container whose init is dead: what is left in its cgroup is killed, the cgroup removed
 * with retries, the poststop hooks run. oci_remove does it on the loop for the server; oci_cleanup waits, for the
 * `delete` command, and also unmounts what a dead shim may have left on the host.
 */
#include "oci/remove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "oci/cgroup_systemd.h"
#include "oci/launch.h"
#include "oci/mountinfo.h"
#include "oci/rdt.h"

enum { RETRY_MAX_MS = 100, MOUNTINFO_LIMIT = 16 << 20, NS_PER_MS = 1000000 };

struct oci_removal {
	struct oci_container *c;
	oci_done_fn *fn;
	void *arg;
	struct hk_timer timer;
	struct oci_hook_run *hooks;
	struct oci_helper *helper; /* asks systemd, unmounts */
	uint64_t until_ns;
	uint32_t retry_ms;
};

/* One round: kill, remove. -EBUSY: again later. */
static int remove_round(struct oci_cgroup *cg, struct hk_err *err)
{
	int r = oci_cgroup_remove(cg, err);

	if (r != -EBUSY)
		return r;
	/*
	 * Whoever is in there outlived the init (a shared pid namespace) or is still dying. A fork bomb needs more
	 * than one round.
	 */
	(void)oci_cgroup_signal_all(cg, SIGKILL, NULL);
	return oci_cgroup_is_empty(cg) ? oci_cgroup_remove(cg, err) : -EBUSY;
}

static void finish(struct oci_removal *r, const struct hk_err *err)
{
	oci_done_fn *fn = r->fn;
	void *arg = r->arg;
	struct hk_err copy = { 0 };

	if (err)
		copy = *err;
	oci_removal_abort(r);
	fn(arg, err ? &copy : NULL);
}

/* ---- the rootfs on the host ---- */

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == 0 || path[len] == '/');
}

/*
 * The last mount on or below dir in mountinfo's order, which lists parents before children: unmount that and ask
 * again.
 */
static int unmount_last(const char *dir, bool *ret_any)
{
	hk_autofree char *text = NULL;
	struct oci_mountinfo m;
	const char *last = NULL;
	size_t len;
	int r = hk_read_file_alloc(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_LIMIT, &text, &len);

	for (char *pos = text; r >= 0 && oci_mountinfo_next(&pos, &m);)
		if (is_below(m.target, dir))
			last = m.target;
	*ret_any = last != NULL;
	if (last && umount2(last, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return -errno;
	return r;
}

static int unmount_below(const char *dir, struct hk_err *err)
{
	enum { ROUNDS = 10000 }; /* every round takes one away; others may mount meanwhile */
	hk_autofree char *real = realpath(dir, NULL);
	bool any = true;
	int r = 0;

	if (!real)
		return errno == ENOENT || errno == ENOTDIR ? 0 : hk_fail(err, HK_INTERNAL, errno, "resolve %s", dir);
	if (strcmp(real, "/") == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "%s is the host's root", dir);
	for (int i = 0; any && r == 0 && i < ROUNDS; i++)
		r = unmount_last(real, &any);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "unmount below %s", real) : 0;
}

static int unmount_work(void *arg, struct hk_err *err)
{
	const struct oci_container *c = arg;

	return unmount_below(c->host_rootfs, err);
}

static void on_unmounted(void *arg, const struct hk_err *err)
{
	struct oci_removal *r = arg;

	r->helper = NULL;
	if (!err) {
		free(r->c->host_rootfs);
		r->c->host_rootfs = NULL;
	}
	finish(r, err);
}

/* In a helper: an unmount waits for its file system, which may be a dead server's. */
static void unmount_rootfs(struct oci_removal *r)
{
	const struct oci_helper_job job = {
		.comm = "husk-umount", .what = "unmounting the rootfs", .timeout_ms = OCI_REMOVE_TIMEOUT_MS, .work = unmount_work, .arg = r->c
	};
	struct hk_err err;

	if (!r->c->host_rootfs)
		finish(r, NULL);
	else if (oci_helper_run(r->c->engine, &job, on_unmounted, r, &r->helper, &err) < 0)
		finish(r, &err);
}

static void on_poststop(void *arg, const struct hk_err *err)
{
	struct oci_removal *r = arg;

	(void)err; /* they warn and go on; the container is gone either way */
	r->hooks = NULL;
	if (r->c->spec) {
		oci_spec_free(r->c->spec); /* a second removal runs no hooks */
		r->c->spec = NULL;
	}
	unmount_rootfs(r);
}

static void run_poststop(struct oci_removal *r)
{
	oci_rdt_remove(r->c->rdt);
	if (oci_container_poststop(r->c, on_poststop, r, &r->hooks) < 0)
		unmount_rootfs(r);
}

/* Of a unit without processes and cgroup nothing is left but its name, which systemd itself drops sooner or later. */
static void unit_failed(struct oci_removal *r, const struct hk_err *err)
{
	log_warn("the systemd unit of a removed container", LOG_STR("id", r->c->id), LOG_STR("err", err->text));
	run_poststop(r);
}

static void on_unit_stopped(void *arg, const struct hk_err *err)
{
	struct oci_removal *r = arg;

	r->helper = NULL;
	if (err)
		unit_failed(r, err);
	else
		run_poststop(r);
}

static void on_tick(void *owner)
{
	struct oci_removal *r = owner;
	struct hk_err err = { 0 };
	int rc = remove_round(r->c->cgroup, &err);

	if (rc == -EBUSY && hk_now_ns() < r->until_ns) {
		hk_timer_set(r->c->engine->loop, &r->timer, r->retry_ms);
		r->retry_ms = r->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : r->retry_ms * 2;
		return;
	}
	if (rc < 0) {
		char stuck[160];

		if (oci_cgroup_stuck(r->c->cgroup, stuck, sizeof(stuck)))
			(void)hk_fail(&err, HK_INTERNAL, -rc, "remove cgroup %.48s: %s", oci_cgroup_path(r->c->cgroup), stuck);
		else if (err.code == 0)
			(void)hk_fail(&err, HK_INTERNAL, -rc, "remove cgroup %s", oci_cgroup_path(r->c->cgroup));
		finish(r, &err);
		return;
	}
	if (!oci_cgroup_is_unit(r->c->cgroup))
		run_poststop(r);
	else if (oci_unit_stop(r->c->engine, r->c->cgroup, on_unit_stopped, r, &r->helper, &err) < 0)
		unit_failed(r, &err);
}

int oci_remove(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	struct oci_removal *r;

	if (c->removal)
		return hk_fail_text(err, HK_BAD_STATE, EALREADY, "the container is being removed already");
	r = calloc(1, sizeof(*r));
	if (!r)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "removal");
	*r = (struct oci_removal){ .c = c, .fn = fn, .arg = arg, .retry_ms = 1 };
	r->until_ns = hk_now_ns() + OCI_REMOVE_TIMEOUT_MS * (uint64_t)NS_PER_MS;
	c->removal = r;
	hk_timer_init(&r->timer, on_tick, r);
	hk_timer_set(c->engine->loop, &r->timer, 0);
	return 0;
}

void oci_removal_abort(struct oci_removal *r)
{
	if (!r)
		return;
	hk_timer_cancel(&r->timer);
	if (r->hooks)
		oci_hooks_abort(r->hooks);
	oci_helper_abort(r->helper);
	r->c->removal = NULL;
	free(r);
}

/* ---- for `delete` ---- */

static uint32_t left_ms(uint64_t until_ns)
{
	enum { LEAST_MS = 500 };
	uint64_t now = hk_now_ns(), left = now < until_ns ? (until_ns - now) / NS_PER_MS : 0;

	return left < LEAST_MS ? LEAST_MS : (uint32_t)left;
}

int oci_cleanup(const char *cgroup_path, const char *id, const char *rootfs, int timeout_ms, struct hk_err *err)
{
	struct oci_cgroup *cg = NULL;
	uint64_t until = hk_now_ns() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * NS_PER_MS;
	long wait_ms = 1;
	char resctrl[PATH_MAX];
	struct oci_rdt_fs rdt;
	int r = oci_cgroup_open(cgroup_path, id, &cg, err);

	if (r == 0) {
		while ((r = remove_round(cg, err)) == -EBUSY && hk_now_ns() < until) {
			struct timespec ts = { .tv_nsec = wait_ms * NS_PER_MS };

			(void)nanosleep(&ts, NULL);
			wait_ms = wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : wait_ms * 2;
		}
		if (r == -EBUSY)
			r = hk_fail(err, HK_DEADLINE, EBUSY, "remove cgroup %s", oci_cgroup_path(cg));
		else if (r == 0) /* best effort: without cgroup and processes a unit ends by itself */
			(void)oci_unit_stop_path(oci_cgroup_path(cg), left_ms(until), NULL);
		oci_cgroup_free(cg);
	}
	if (oci_rdt_find(resctrl, sizeof(resctrl), &rdt) == 0)
		oci_rdt_cleanup(&rdt, id);
	if (rootfs && *rootfs) {
		int r2 = unmount_below(rootfs, r < 0 ? NULL : err);

		if (r == 0)
			r = r2;
	}
	return r;
}
