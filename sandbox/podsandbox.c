/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/podsandbox.c — a sandbox's life without a pause image: created (files), ready (its process runs, where one is needed), stopped (exit
 * told, cgroup gone), removed (with whatever was left in the pod). Its exit is told once, to whom waits for it; there are no events,
 * containerd makes them of our answers.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/store.h"

enum { KILL_AFTER_MS = 1000, WHY_SIZE = 64, PATH_SIZE = 4096 };

static void go_on(struct sbx_podsandbox *b);

static struct sbx_podsandbox *find(struct sbx_pod *p, const char *id, struct hk_err *err)
{
	if (p->sandbox && hk_streq(p->sandbox->id, id))
		return p->sandbox;
	(void)hk_fail_text(err, HK_NOT_FOUND, ENOENT, "sandbox %.80s", id);
	return NULL;
}

int sbx_pod_note_cgroup(struct sbx_pod *p, const char *shim_cgroup)
{
	return store_write_shim(p->dir, getpid(), p->socket, shim_cgroup);
}

bool sbx_has_sandbox(const struct sbx_pod *p)
{
	return p->sandbox != NULL;
}

/* ---- birth and end of the record ---- */

static void sandbox_free(struct sbx_podsandbox *b)
{
	hk_timer_cancel(&b->kill_timer);
	hk_child_done(&b->child);
	oci_container_free(b->oci);
	(void)hk_close(b->userns_fd);
	free(b->id);
	free(b->bundle);
	free(b->cgroup_parent);
	free(b->config);
	free(b->why);
	free(b);
}

static void sandbox_free_p(struct sbx_podsandbox **b)
{
	if (*b)
		sandbox_free(*b);
}

static void on_kill_timer(void *owner);

/* For husk-init, the nodes of /dev and nothing else. Root of the pod's user namespace sets it up and must be able to. */
void sandbox_set_rootfs(struct sbx_podsandbox *b)
{
	const char *const options[] = { "mode=755", "size=64k", "nr_inodes=64", b->rootfs_owner[0], b->rootfs_owner[1] };

	memcpy(b->rootfs_options, options, sizeof(options));
	b->rootfs = (struct oci_rootfs_mount){ .type = "tmpfs", .source = "tmpfs",
		.options = { .v = b->rootfs_options, .n = HK_ARRAY_SIZE(options) } };
}

struct sbx_podsandbox *sandbox_blank(struct sbx_pod *p)
{
	struct sbx_podsandbox *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->pod = p;
	b->userns_fd = -1;
	hk_list_init(&b->waiters);
	hk_list_init(&b->stops);
	hk_list_init(&b->shutdowns);
	hk_child_init(&b->child);
	hk_timer_init(&b->kill_timer, on_kill_timer, b);
	return b;
}

static struct sbx_podsandbox *sandbox_new(struct sbx_pod *p, const struct sbx_sandbox_config *c)
{
	struct sbx_podsandbox *b = sandbox_blank(p);
	char why[WHY_SIZE];

	if (!b)
		return NULL;
	sandbox_why(c, why, sizeof(why));
	(void)hk_fmt(b->rootfs_owner[0], sizeof(b->rootfs_owner[0]), "uid=%u", sandbox_root_of(c, &c->uids));
	(void)hk_fmt(b->rootfs_owner[1], sizeof(b->rootfs_owner[1]), "gid=%u", sandbox_root_of(c, &c->gids));
	sandbox_set_rootfs(b);
	b->has_process = why[0] != '\0';
	b->has_shm = c->ipc != SBX_NS_NODE;
	b->id = strdup(c->id);
	b->bundle = strdup(c->bundle);
	b->cgroup_parent = strdup(c->cgroup_parent);
	b->why = strdup(why);
	if (b->id && b->bundle && b->cgroup_parent && b->why)
		return b;
	sandbox_free(b);
	return NULL;
}

static int check(const struct sbx_pod *p, const struct sbx_sandbox_config *c, struct hk_err *err)
{
	if (!hk_is_valid_id(c->id))
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid sandbox id", c->id);
	if (c->bundle[0] != '/' || strchr(c->bundle, '\n'))
		return hk_fail_text(err, HK_INVALID, EINVAL, "bundle \"%.200s\" is not an absolute path", c->bundle);
	if (p->sandbox)
		return hk_fail_text(err, HK_EXISTS, EEXIST, "sandbox %s", p->sandbox->id);
	if (c->has_userns && (c->uids.n == 0 || c->gids.n == 0))
		return hk_fail_text(err, HK_INVALID, EINVAL, "sandbox %s: a user namespace without id mappings", c->id);
	return 0;
}

int sbx_sandbox_create(struct sbx_pod *p, const struct sbx_sandbox_config *c, struct hk_err *err)
{
	hk_auto(sandbox_free_p) struct sbx_podsandbox *b = NULL;
	char program[PATH_SIZE];
	int r = check(p, c, err);

	if (r < 0)
		return r;
	b = sandbox_new(p, c);
	if (!b)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "sandbox %s", c->id);
	if (b->has_process) {
		r = oci_program_find("husk-init", program, sizeof(program), err);
		if (r == 0)
			r = sandbox_userns_open(c, &b->userns_fd, err);
		if (r == 0)
			r = sandbox_spec(c, program, b->userns_fd, &b->config, &b->config_len, err);
	}
	if (r == 0)
		r = sandbox_files_make(p->dir, c, err);
	if (r < 0)
		return hk_wrap(err, "sandbox %s", c->id);
	p->sandbox = hk_take_ptr(b);
	return 0;
}

/* ---- its exit ---- */

static struct sbx_reply reply_of(const struct sbx_podsandbox *b)
{
	struct sbx_reply r = { .pid = b->pid };

	if (b->is_told) {
		r.exit_status = (uint32_t)b->x.status;
		r.exited_at = b->x.at;
	}
	return r;
}

static void tell_exit(struct sbx_podsandbox *b)
{
	struct sbx_reply r;

	if (b->is_told)
		return;
	if (b->x.at.tv_sec == 0)
		(void)clock_gettime(CLOCK_REALTIME, &b->x.at);
	b->is_told = true;
	log_info("sandbox ended", LOG_STR("id", b->id), LOG_INT("status", b->x.status));
	r = reply_of(b);
	calls_answer(&b->waiters, &r, NULL);
}

static void on_exit_of_process(void *owner, const struct hk_exit *x)
{
	struct sbx_podsandbox *b = owner;

	hk_timer_cancel(&b->kill_timer);
	b->x = *x;
	if (b->state == SB_READY || b->state == SB_STOPPING)
		(void)sb_step(&b->state, SE_DEAD, NULL);
	go_on(b); /* while it is starting its start is told first */
}

int sandbox_take_over(struct sbx_podsandbox *b, const struct hk_value *child)
{
	return carry_read_child(b->pod->reaper, child, &b->child, on_exit_of_process, b);
}

/* ---- start ---- */

static void start_failed(struct sbx_podsandbox *b, const struct hk_err *err)
{
	const struct sbx_done done = b->start;
	const struct hk_err copy = *err;

	b->start = (struct sbx_done){ 0 };
	b->pid = 0;
	b->x = (struct hk_exit){ 0 };
	hk_child_done(&b->child);
	hk_child_init(&b->child);
	store_remove_container(b->pod->dir, b->id);
	(void)sb_step(&b->state, SE_START_FAILED, NULL);
	done_fail(done, &copy);
	go_on(b);
}

static void started(struct sbx_podsandbox *b)
{
	const struct sbx_done done = b->start;
	struct sbx_reply reply = { .pid = b->pid };

	b->start = (struct sbx_done){ 0 };
	(void)clock_gettime(CLOCK_REALTIME, &b->created_at);
	reply.started_at = b->created_at;
	(void)sb_step(&b->state, SE_STARTED, NULL);
	log_info("sandbox started", LOG_STR("id", b->id), LOG_INT("pid", b->pid));
	done.fn(done.arg, &reply, NULL);
	free(hk_take_ptr(b->config));
	b->userns_fd = hk_close(b->userns_fd);
	if (b->child.is_dead)
		(void)sb_step(&b->state, SE_DEAD, NULL);
	go_on(b);
}

struct undo {
	struct sbx_podsandbox *b;
	struct hk_err err;
};

static void on_undone(void *arg, const struct hk_err *remove_err)
{
	struct undo *u = arg;
	struct sbx_podsandbox *b = u->b;
	const struct hk_err err = u->err;

	if (remove_err)
		log_warn("undo the start of a sandbox", LOG_STR("id", b->id), LOG_STR("err", remove_err->text));
	free(u);
	oci_container_free(hk_take_ptr(b->oci));
	start_failed(b, &err);
}

/* The process exists and cannot be kept. */
static void undo(struct sbx_podsandbox *b, const struct hk_err *err)
{
	struct undo *u = calloc(1, sizeof(*u));

	(void)oci_cgroup_signal_all(oci_container_cgroup(b->oci), SIGKILL, NULL);
	if (u) {
		u->b = b;
		u->err = *err;
		if (oci_remove(b->oci, on_undone, u, NULL) == 0)
			return;
		free(u);
	}
	oci_container_free(hk_take_ptr(b->oci));
	start_failed(b, err);
}

static void on_started(void *arg, const struct hk_err *err)
{
	struct sbx_podsandbox *b = arg;

	if (err)
		undo(b, err);
	else
		started(b);
}

static int remember(const struct sbx_podsandbox *b, const char *cgroup)
{
	const struct store_record rec = { .id = b->id, .bundle = b->bundle, .cgroup = cgroup, .pid = (pid_t)b->pid };

	return store_write_container(b->pod->dir, &rec);
}

static int on_cgroup(void *arg, const char *cgroup, struct hk_err *err)
{
	int r = remember(arg, cgroup);

	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write the state file") : 0;
}

static void on_created(void *arg, const struct oci_launched *l, const struct hk_err *err)
{
	struct sbx_podsandbox *b = arg;
	struct hk_err own;
	int pidfd, r;

	if (err) {
		const struct hk_err copy = *err;

		oci_container_free(hk_take_ptr(b->oci));
		start_failed(b, &copy);
		return;
	}
	pidfd = l->pidfd;
	b->pid = (uint32_t)l->pid;
	r = hk_child_watch(b->pod->reaper, &b->child, l->pid, &pidfd, on_exit_of_process, b);
	if (r < 0)
		(void)hk_fail(&own, HK_INTERNAL, -r, "watch the process of sandbox %s", b->id);
	else if (remember(b, oci_cgroup_path(oci_container_cgroup(b->oci))) < 0)
		log_warn("the state file could not be written: `delete` after a crash will not know all", LOG_STR("id", b->id));
	if (r < 0 || oci_start(b->oci, on_started, b, &own) < 0)
		undo(b, &own);
}

static int launch(struct sbx_podsandbox *b, struct hk_err *err)
{
	const struct oci_pod_part pod = { .config_json = b->config, .config_json_len = b->config_len };
	const struct oci_create_opts o = { .id = b->id, .bundle = b->bundle, .pod = &pod, .rootfs = &b->rootfs, .n_rootfs = 1, .stdio = { -1, -1, -1 }, .on_cgroup = on_cgroup };

	return oci_create(&b->pod->engine, &o, on_created, b, &b->oci, err);
}

void sbx_sandbox_start(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_podsandbox *b = find(p, id, &err);

	if (!b || sb_step(&b->state, SE_START, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	b->start = done;
	if (!b->has_process) {
		b->pid = (uint32_t)getpid();
		started(b);
	} else if (launch(b, &err) < 0) {
		start_failed(b, &err);
	}
}

/* ---- stop ---- */

static void kill_containers(const struct sbx_pod *p)
{
	hk_list_for(n, &p->containers) {
		const struct sbx_container *c = hk_container_of(n, struct sbx_container, node);
		struct hk_err err;

		if (c->state == CT_CREATING || c->state >= CT_STOPPED)
			continue;
		if (oci_cgroup_signal_all(oci_container_cgroup(c->oci), SIGKILL, &err) < 0)
			log_warn("kill a container of a stopped sandbox", LOG_STR("id", c->id), LOG_STR("err", err.text));
	}
}

/* It did not end by itself, or something keeps it frozen. */
static void on_kill_timer(void *owner)
{
	struct sbx_podsandbox *b = owner;

	(void)oci_cgroup_signal_all(oci_container_cgroup(b->oci), SIGKILL, NULL);
}

static void begin_stop(struct sbx_podsandbox *b)
{
	const bool is_ready = b->state == SB_READY;

	(void)sb_step(&b->state, SE_STOP, NULL);
	kill_containers(b->pod);
	if (is_ready && b->has_process) {
		(void)hk_child_kill(&b->child, SIGTERM);
		hk_timer_set(b->pod->loop, &b->kill_timer, KILL_AFTER_MS);
	}
}

static void on_removed(void *arg, const struct hk_err *err)
{
	struct sbx_podsandbox *b = arg;

	b->is_removing = false;
	if (err) { /* the record stays: it can be stopped again */
		const struct hk_err copy = *err;

		calls_answer(&b->stops, NULL, &copy);
		calls_answer(&b->shutdowns, NULL, &copy);
		return;
	}
	oci_container_free(hk_take_ptr(b->oci));
	store_remove_container(b->pod->dir, b->id);
	go_on(b);
}

static void remove_process(struct sbx_podsandbox *b)
{
	struct hk_err err;

	if (b->is_removing)
		return;
	b->is_removing = true;
	if (oci_remove(b->oci, on_removed, b, &err) < 0)
		on_removed(b, &err);
}

/* ---- removal ---- */

static void forget(void *arg, const struct sbx_reply *reply, const struct hk_err *err)
{
	(void)arg;
	(void)reply;
	if (err && err->kind != HK_NOT_FOUND)
		log_warn("delete a container of a removed sandbox", LOG_STR("err", err->text));
}

static void delete_containers(struct sbx_pod *p)
{
	hk_list_for_safe(n, next, &p->containers) {
		struct sbx_container *c = hk_container_of(n, struct sbx_container, node);

		if (calls_add(&c->init.deletes, (struct sbx_done){ .fn = forget }))
			container_delete_next(c);
	}
}

/* True: the record is gone. */
static bool finish_removal(struct sbx_podsandbox *b)
{
	struct hk_list shutdowns;

	if (b->state != SB_REMOVING || !hk_list_is_empty(&b->pod->containers))
		return false;
	sandbox_files_remove(b->pod->dir);
	b->pod->sandbox = NULL;
	hk_list_init(&shutdowns);
	while (!hk_list_is_empty(&b->shutdowns)) {
		struct hk_list *n = b->shutdowns.next;

		hk_list_remove(n);
		hk_list_append(&shutdowns, n);
	}
	sandbox_free(b);
	calls_answer(&shutdowns, &(const struct sbx_reply){ 0 }, NULL);
	return true;
}

void sandbox_container_gone(struct sbx_pod *p)
{
	if (p->sandbox)
		(void)finish_removal(p->sandbox);
}

/* Whatever has just happened: the next step towards what was asked for. */
static void go_on(struct sbx_podsandbox *b)
{
	const bool is_shut_down = !hk_list_is_empty(&b->shutdowns);
	struct sbx_reply r;

	if (b->state == SB_STARTING)
		return;
	if ((b->state == SB_CREATED || b->state == SB_READY) && (is_shut_down || !hk_list_is_empty(&b->stops)))
		begin_stop(b);
	if (b->state == SB_STOPPING) {
		if (b->oci && !b->child.is_dead)
			return;
		tell_exit(b);
		if (b->oci) {
			remove_process(b);
			return;
		}
		sandbox_files_unmount(b->pod->dir);
		(void)sb_step(&b->state, SE_GONE, NULL);
	}
	if (b->state < SB_STOPPED)
		return;
	r = reply_of(b);
	calls_answer(&b->stops, &r, NULL);
	if (is_shut_down && b->state == SB_STOPPED) {
		(void)sb_step(&b->state, SE_REMOVE, NULL);
		delete_containers(b->pod);
	}
	(void)finish_removal(b);
}

void sbx_sandbox_stop(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_podsandbox *b = find(p, id, &err);

	if (!b)
		done_fail(done, &err);
	else if (calls_add(&b->stops, done))
		go_on(b);
}

void sbx_sandbox_shutdown(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	struct sbx_podsandbox *b = p->sandbox;

	/* Asked for again, or after a CreateSandbox that failed. */
	if (!b || (id && !hk_streq(b->id, id)))
		done.fn(done.arg, &(const struct sbx_reply){ 0 }, NULL);
	else if (calls_add(&b->shutdowns, done))
		go_on(b);
}

/* ---- questions ---- */

void sbx_sandbox_wait(struct sbx_pod *p, const char *id, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_podsandbox *b = find(p, id, &err);

	if (!b) {
		done_fail(done, &err);
	} else if (b->is_told) {
		const struct sbx_reply r = reply_of(b);

		done.fn(done.arg, &r, NULL);
	} else {
		(void)calls_add(&b->waiters, done);
	}
}

int sbx_sandbox_status(struct sbx_pod *p, const char *id, struct sbx_sandbox_status *ret, struct hk_err *err)
{
	const struct sbx_podsandbox *b = find(p, id, err);
	bool is_ready;

	if (!b)
		return -ENOENT;
	is_ready = b->state == SB_READY && !b->child.is_dead;
	*ret = (struct sbx_sandbox_status){
		.id = b->id,
		.is_ready = is_ready,
		.pid = is_ready ? b->pid : 0,
		.has_process = b->has_process,
		.why = b->why,
		.created_at = b->created_at,
		.exited_at = reply_of(b).exited_at,
	};
	return 0;
}

int sbx_sandbox_cgroup(struct sbx_pod *p, const char *id, struct oci_cgroup **ret, struct hk_err *err)
{
	const struct sbx_podsandbox *b = find(p, id, err);

	if (!b)
		return -ENOENT;
	if (b->cgroup_parent[0])
		return oci_cgroup_open(b->cgroup_parent, b->id, ret, err);
	if (!b->oci)
		return hk_fail_text(err, HK_BAD_STATE, ENOENT, "sandbox %s has no cgroup", b->id);
	return oci_cgroup_open(oci_cgroup_path(oci_container_cgroup(b->oci)), b->id, ret, err);
}

void sandbox_abandon(struct sbx_pod *p, const struct hk_err *err)
{
	struct sbx_podsandbox *b = hk_take_ptr(p->sandbox);

	if (!b)
		return;
	if (b->start.fn)
		done_fail(b->start, err);
	calls_answer(&b->waiters, NULL, err);
	calls_answer(&b->stops, NULL, err);
	calls_answer(&b->shutdowns, NULL, err);
	sandbox_free(b);
}
