/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/checkpoint.c — Task.Checkpoint, and the Start of a container that was created from a checkpoint. What CRIU says when it fails goes
 * to the client; its whole log stays in the work directory, which is gone after a success.
 */
#include "sandbox/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/stdio.h"

enum { LOG_SIZE = 4096 };

struct sbx_checkpointing { /* of a running container: from the request to its answer */
	struct sbx_done done;
	char *work_dir;
};
struct sbx_restore { /* of a created one: until its init runs, or it is deleted */
	char *image_dir, *work_dir;
};

/* <bundle>/work is containerd's scratch place on a disk; a bundle made by hand has none. */
static char *default_work_dir(const struct sbx_container *c)
{
	char *dir = NULL;
	char work[PATH_MAX];
	bool has_work = hk_fmt(work, sizeof(work), "%s/work", c->bundle) >= 0 && access(work, F_OK) == 0;

	return asprintf(&dir, "%s%s/criu-work", c->bundle, has_work ? "/work" : "") < 0 ? NULL : dir;
}

static char *work_dir_of(const struct sbx_container *c, const char *wish)
{
	return wish && *wish ? strdup(wish) : default_work_dir(c);
}

static void fail_with_log(struct sbx_done done, const char *work_dir, const char *log, const struct hk_err *err)
{
	char path[PATH_MAX], text[LOG_SIZE] = "";
	struct hk_err mine = *err;

	if (err->kind == HK_INTERNAL && hk_fmt(path, sizeof(path), "%s/%s", work_dir, log) >= 0) {
		oci_criu_log(path, text, sizeof(text));
		if (text[0])
			(void)hk_fail_text(&mine, err->kind, err->code, "%.400s (%.400s)", err->text, path);
	}
	done.fn(done.arg, &(struct sbx_reply){ .detail = text }, &mine);
}

/* ---- dump ---- */

static struct sbx_done take_checkpoint(struct sbx_container *c, char **ret_work_dir)
{
	struct sbx_checkpointing *k = hk_take_ptr(c->checkpointing);
	const struct sbx_done done = k->done;

	*ret_work_dir = k->work_dir;
	free(k);
	return done;
}

static void on_dumped(void *arg, const struct hk_err *err)
{
	static const struct sbx_reply nothing;
	struct sbx_container *c = arg;
	hk_autofree char *work_dir = NULL;
	const struct sbx_done done = take_checkpoint(c, &work_dir);

	if (err) {
		fail_with_log(done, work_dir, OCI_CRIU_DUMP_LOG, err);
		return;
	}
	(void)hk_rm_rf(AT_FDCWD, work_dir);
	done.fn(done.arg, &nothing, NULL);
}

static int begin(struct sbx_container *c, const struct sbx_checkpoint *r, struct hk_err *err)
{
	struct oci_checkpoint_opts o = {
		.image_dir = r->path,
		.leave_running = !r->exit,
		.open_tcp = r->open_tcp,
		.external_unix_sockets = r->external_unix_sockets,
		.file_locks = r->file_locks,
		.empty_namespaces = r->empty_namespaces,
		.cgroups_mode = r->cgroups_mode,
	};
	struct sbx_checkpointing *k;

	if (ct_step(&c->state, CE_CHECKPOINT, err) < 0)
		return -EINVAL;
	if (c->checkpointing)
		return hk_fail_text(err, HK_BAD_STATE, EALREADY, "a checkpoint of %s is under way already", c->id);
	if (c->init.terminal) /* its other end is ours, and no process of the container's */
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "checkpoint of %s: it has a terminal", c->id);
	k = calloc(1, sizeof(*k));
	if (k)
		k->work_dir = work_dir_of(c, r->work_path);
	if (!k || !k->work_dir) {
		free(k);
		return hk_fail(err, HK_INTERNAL, ENOMEM, "checkpoint %s", c->id);
	}
	o.work_dir = k->work_dir;
	c->checkpointing = k;
	return oci_checkpoint(c->oci, &o, on_dumped, c, err);
}

void sbx_checkpoint(struct sbx_pod *p, const char *id, const struct sbx_checkpoint *r, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_container *c = pod_find(p, id, &err);
	const bool was_busy = c && c->checkpointing;

	if (!c) {
		done_fail(done, &err);
	} else if (begin(c, r, &err) < 0) {
		if (!was_busy)
			checkpoint_forget(c);
		done_fail(done, &err);
	} else {
		c->checkpointing->done = done;
	}
}

void checkpoint_abandon(struct sbx_container *c, const struct hk_err *err)
{
	hk_autofree char *work_dir = NULL;
	struct sbx_done done;

	if (!c->checkpointing)
		return;
	done = take_checkpoint(c, &work_dir);
	done_fail(done, err);
}

void checkpoint_forget(struct sbx_container *c)
{
	if (c->checkpointing)
		free(c->checkpointing->work_dir);
	free(c->checkpointing);
	c->checkpointing = NULL;
}

/* ---- restore ---- */

int restore_remember(struct sbx_container *c, const struct sbx_create *r)
{
	struct sbx_restore *k;

	if (!r->checkpoint || !*r->checkpoint)
		return 0;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	c->restore = k;
	k->image_dir = strdup(r->checkpoint);
	k->work_dir = work_dir_of(c, r->criu_work_path);
	return k->image_dir && k->work_dir ? 0 : -ENOMEM;
}

const char *restore_image(const struct sbx_container *c)
{
	return c->restore ? c->restore->image_dir : NULL;
}

void restore_forget(struct sbx_container *c)
{
	if (c->restore) {
		free(c->restore->image_dir);
		free(c->restore->work_dir);
	}
	free(c->restore);
	c->restore = NULL;
}

static void start_failed(struct sbx_container *c, const struct hk_err *err)
{
	const struct sbx_done done = c->start;

	c->start = (struct sbx_done){ 0 };
	(void)ct_step(&c->state, CE_START_FAILED, NULL);
	fail_with_log(done, c->restore->work_dir, OCI_CRIU_RESTORE_LOG, err);
	container_delete_next(c);
}

static void on_restored(void *arg, const struct oci_launched *l, const struct hk_err *restore_err)
{
	struct sbx_container *c = arg;
	int no_console = -1;
	struct sbx_reply reply;
	struct sbx_done done;
	struct hk_err err;

	if (restore_err) {
		start_failed(c, restore_err);
		return;
	}
	if (container_watch_init(c, l, &err) < 0) {
		(void)oci_cgroup_signal_all(oci_container_cgroup(c->oci), SIGKILL, NULL);
		start_failed(c, &err);
		return;
	}
	sbx_stdio_launched(c->init.io, &no_console, oci_container_host_uid(c->oci), oci_container_host_gid(c->oci));
	(void)hk_rm_rf(AT_FDCWD, c->restore->work_dir);
	restore_forget(c);
	container_remember(c, oci_cgroup_path(oci_container_cgroup(c->oci)));
	oom_watch(c);
	(void)ct_step(&c->state, CE_STARTED, NULL);
	pod_tell(c, SBX_EV_START, &c->init);
	reply = process_reply(&c->init);
	done = c->start;
	c->start = (struct sbx_done){ 0 };
	done.fn(done.arg, &reply, NULL);
	container_settle(c);
}

int restore_start(struct sbx_container *c, struct hk_err *err)
{
	const int *fds = sbx_stdio_fds(c->init.io);

	return oci_restore(c->oci,
	    &(struct oci_restore_opts){
		.image_dir = c->restore->image_dir, .work_dir = c->restore->work_dir, .stdio = { fds[0], fds[1], fds[2] } },
	    on_restored, c, err);
}

void restore_give_up(struct sbx_container *c, int sig)
{
	struct hk_exit x = { .status = 128 + sig, .was_signaled = true };

	(void)clock_gettime(CLOCK_REALTIME, &x.at);
	restore_forget(c);
	c->init.x = x;
	(void)proc_step(&c->init.state, PE_START, NULL);
	(void)proc_step(&c->init.state, PE_RUNS, NULL);
	(void)proc_step(&c->init.state, PE_DIED, NULL);
	sbx_stdio_exited(c->init.io);
	container_settle(c);
}
