/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/container_create.c — Task.Create: stdio first (a reader may have to come), then the engine's create, then the state file, the OOM
 * watch and the event. Until the end the record is known to a second Create and to a Delete only; a failure leaves nothing of it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/str.h"
#include "sandbox/checkpoint.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/stdio.h"
#include "sandbox/store.h"

/* The request, kept over the asynchronous steps. */
struct sbx_creating {
	struct hk_arena arena; /* owns all strings below */
	struct sbx_create r;
	struct sbx_done done;
	struct hk_err err; /* of a failure that came after the engine's part */
	bool is_kept; /* state file and watch for kills are done */
};

static const char *keep(struct hk_arena *a, const char *s, bool *ok)
{
	char *copy = s ? hk_arena_strdup(a, s) : NULL;

	*ok = *ok && (copy || !s);
	return copy;
}

static bool keep_mounts(struct hk_arena *a, struct sbx_create *r)
{
	struct oci_rootfs_mount *m = hk_arena_array(a, r->n_rootfs + 1, sizeof(*m));
	bool ok = m != NULL;

	for (size_t i = 0; ok && i < r->n_rootfs; i++) {
		const struct oci_rootfs_mount *from = &r->rootfs[i];

		m[i].type = keep(a, from->type, &ok);
		m[i].source = keep(a, from->source, &ok);
		m[i].target = keep(a, from->target, &ok);
		m[i].options.n = from->options.n;
		m[i].options.v = hk_arena_array(a, from->options.n + 1, sizeof(char *));
		ok = ok && m[i].options.v;
		for (size_t k = 0; ok && k < from->options.n; k++)
			m[i].options.v[k] = keep(a, from->options.v[k], &ok);
	}
	r->rootfs = m;
	return ok;
}

static struct sbx_creating *creating_new(const struct sbx_create *r, struct sbx_done done)
{
	struct sbx_creating *k = calloc(1, sizeof(*k));
	bool ok = k != NULL;

	if (!k)
		return NULL;
	k->r = *r;
	k->done = done;
	k->r.id = keep(&k->arena, r->id, &ok);
	k->r.bundle = keep(&k->arena, r->bundle, &ok);
	k->r.stdin_path = keep(&k->arena, r->stdin_path, &ok);
	k->r.stdout_path = keep(&k->arena, r->stdout_path, &ok);
	k->r.stderr_path = keep(&k->arena, r->stderr_path, &ok);
	k->r.traceparent = keep(&k->arena, r->traceparent, &ok);
	if (!ok || !keep_mounts(&k->arena, &k->r)) {
		hk_arena_done(&k->arena);
		free(k);
		return NULL;
	}
	return k;
}

static void creating_free(struct sbx_creating *k)
{
	hk_arena_done(&k->arena);
	free(k);
}

static void create_failed(struct sbx_container *c, const struct hk_err *err)
{
	struct sbx_creating *k = hk_take_ptr(c->creating);
	struct sbx_done done = k->done;
	const struct hk_err copy = *err;

	store_remove_container(c->pod->dir, c->id);
	creating_free(k);
	container_free(c); /* a Delete that waits is told NOT_FOUND */
	done_fail(done, &copy);
}

void create_abandon(struct sbx_container *c, const struct hk_err *err)
{
	struct sbx_creating *k = hk_take_ptr(c->creating);
	struct sbx_done done;

	if (!k)
		return;
	done = k->done;
	creating_free(k);
	done_fail(done, err);
}

static void tell_created(struct sbx_container *c, const struct sbx_create *r)
{
	const struct sbx_event ev = {
		.type = SBX_EV_CREATE,
		.id = c->id,
		.exec_id = "",
		.pid = c->init.pid,
		.checkpoint = restore_image(c),
		.bundle = c->bundle,
		.stdin_path = c->init.paths[0],
		.stdout_path = c->init.paths[1],
		.stderr_path = c->init.paths[2],
		.terminal = c->init.terminal,
		.rootfs = r->rootfs,
		.n_rootfs = r->n_rootfs,
	};

	c->pod->on_event(c->pod->arg, &ev);
}

/* Nothing is made yet, nobody has a pid: whatever kills the shim from here on, `delete` finds the cgroup. */
static int on_cgroup(void *arg, const char *cgroup, struct hk_err *err)
{
	int r = container_record(arg, cgroup, 0);

	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write the state file") : 0;
}

/*
 * husk.io/stdio-spill=BYTES (K, M or G behind it): so much output of each stream is kept while nobody reads it, so that the container need not wait for
 * a daemon that is away.
 */
static int on_spec(void *arg, const struct oci_container *oci, int stdio[3], struct hk_err *err)
{
	struct sbx_container *c = arg;
	const char *s = oci_container_annotation(oci, "husk.io/stdio-spill");
	uint64_t cap;
	int r;

	if (!s)
		return 0;
	if (hk_parse_size(s, &cap) < 0 || cap == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "annotation husk.io/stdio-spill \"%.40s\": not a number of bytes", s);
	r = sbx_stdio_spill(c->init.io, cap, c->id);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "keep output of %s for a reader that is away", c->id);
	memcpy(stdio, sbx_stdio_fds(c->init.io), 3 * sizeof(*stdio));
	return 0;
}

static void on_undone(void *arg, const struct hk_err *remove_err)
{
	struct sbx_container *c = arg;
	const struct hk_err err = c->creating->err;

	if (remove_err)
		log_warn("undo a create", LOG_STR("id", c->id), LOG_STR("err", remove_err->text));
	create_failed(c, &err);
}

/* The init exists and cannot be kept. */
static void undo(struct sbx_container *c, const struct hk_err *err)
{
	c->creating->err = *err;
	(void)oci_cgroup_signal_all(oci_container_cgroup(c->oci), SIGKILL, NULL);
	if (oci_remove(c->oci, on_undone, c, NULL) < 0)
		on_undone(c, NULL);
}

/* The init exists. */
static int adopt(struct sbx_container *c, const struct oci_launched *l, struct hk_err *err)
{
	const struct sbx_create *r = &c->creating->r;
	int console = l->console_fd;

	if (r->has_io_owner)
		sbx_stdio_launched(c->init.io, &console, r->io_uid, r->io_gid);
	else
		sbx_stdio_launched(c->init.io, &console, oci_container_host_uid(c->oci), oci_container_host_gid(c->oci));
	if (container_watch_init(c, l, err) < 0)
		return -err->code;
	if (!c->creating->is_kept) {
		container_remember(c, oci_cgroup_path(oci_container_cgroup(c->oci)));
		oom_watch(c);
	}
	return 0;
}

static void on_created(void *arg, const struct oci_launched *l, const struct hk_err *launch_err)
{
	struct sbx_container *c = arg;
	struct sbx_creating *k = c->creating;
	const struct sbx_reply reply = { .pid = launch_err ? 0 : (uint32_t)l->pid };
	struct sbx_done done = k->done;
	struct hk_err err;

	if (launch_err) {
		create_failed(c, launch_err);
		return;
	}
	if (!c->restore && adopt(c, l, &err) < 0) {
		undo(c, &err);
		return;
	}
	(void)ct_step(&c->state, CE_CREATED, NULL);
	tell_created(c, &k->r);
	c->creating = NULL;
	creating_free(k);
	done.fn(done.arg, &reply, NULL);
	container_settle(c);
	container_delete_next(c);
}

/* What a sandbox without a pause image gives; none otherwise. */
static int pod_mounts(struct sbx_container *c, struct oci_pod_mount mounts[SANDBOX_MOUNTS_MAX], size_t *ret_n)
{
	const struct sbx_podsandbox *b = c->pod->sandbox;
	const int n = b ? sandbox_files_mounts(c->pod->dir, b->has_shm, &c->creating->arena, mounts) : 0;

	*ret_n = n < 0 ? 0 : (size_t)n;
	return n < 0 ? n : 0;
}

/* While the init still works: what there would else be to do when it is heard. */
static void keep_early(struct sbx_container *c)
{
	const pid_t pid = oci_container_early_pid(c->oci);

	if (pid == 0 || c->restore || container_record(c, oci_cgroup_path(oci_container_cgroup(c->oci)), pid) < 0)
		return;
	oom_watch(c);
	c->creating->is_kept = true;
}

static void on_stdio(void *arg, const struct hk_err *io_err)
{
	struct sbx_container *c = arg;
	struct sbx_pod *pod = c->pod;
	const struct sbx_create *r = &c->creating->r;
	const int *fds = sbx_stdio_fds(c->init.io);
	struct oci_pod_mount mounts[SANDBOX_MOUNTS_MAX];
	struct hk_err err;
	size_t n_mounts;

	if (io_err) {
		create_failed(c, io_err);
		return;
	}
	if (pod_mounts(c, mounts, &n_mounts) < 0) {
		(void)hk_fail(&err, HK_INTERNAL, ENOMEM, "create %s", c->id);
		create_failed(c, &err);
		return;
	}
	if (oci_create(&pod->engine,
	        &(struct oci_create_opts){
	            .id = c->id,
	            .bundle = c->bundle,
	            .draft = pod->draft,
	            .pod = &(const struct oci_pod_part){ .mounts = mounts, .n_mounts = n_mounts },
	            .rootfs = r->rootfs,
	            .n_rootfs = r->n_rootfs,
	            .terminal = r->terminal,
	            .stdio = { fds[0], fds[1], fds[2] },
	            .no_pivot = r->no_pivot,
	            .no_new_keyring = r->no_new_keyring,
	            .traceparent = r->traceparent,
	            .checkpoint = restore_image(c),
	            .on_spec = on_spec,
	            .on_cgroup = on_cgroup,
	        },
	        on_created, c, &c->oci, &err) < 0)
		create_failed(c, &err);
	else
		keep_early(c);
	sbx_pod_expect(pod, NULL);
}

static int check(struct sbx_pod *p, const struct sbx_create *r, struct hk_err *err)
{
	if (!hk_is_valid_id(r->id))
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid container id", r->id ? r->id : "");
	if (!r->bundle || r->bundle[0] != '/' || strchr(r->bundle, '\n'))
		return hk_fail_text(err, HK_INVALID, EINVAL, "bundle \"%.200s\" is not an absolute path", r->bundle ? r->bundle : "");
	if (pod_find_any(p, r->id))
		return hk_fail_text(err, HK_EXISTS, EEXIST, "container %s already exists", r->id);
	if (p->sandbox && p->sandbox->state != SB_READY)
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, "sandbox %s is not running", p->sandbox->id);
	if (r->checkpoint && *r->checkpoint && r->checkpoint[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "checkpoint \"%.200s\" is not an absolute path", r->checkpoint);
	if (r->checkpoint && *r->checkpoint && r->terminal)
		return hk_fail_text(err, HK_UNSUPPORTED, EOPNOTSUPP, "restore of %s: a terminal cannot be restored", r->id);
	return 0;
}

void sbx_create(struct sbx_pod *p, const struct sbx_create *r, struct sbx_done done)
{
	const char *const paths[3] = { r->stdin_path, r->stdout_path, r->stderr_path };
	struct sbx_container *c;
	struct hk_err err;

	if (check(p, r, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	c = container_new(p, r->id, r->bundle);
	if (c)
		c->creating = creating_new(r, done);
	if (!c || !c->creating || process_set_paths(&c->init, paths, r->terminal) < 0 || restore_remember(c, r) < 0) {
		(void)hk_fail(&err, HK_INTERNAL, ENOMEM, "create %s", r->id);
		if (c && c->creating)
			creating_free(hk_take_ptr(c->creating));
		if (c)
			container_free(c);
		done_fail(done, &err);
		return;
	}
	if (sbx_stdio_open(
		&(struct sbx_stdio_opts){
		    .loop = p->loop,
		    .reaper = p->reaper,
		    .paths = { c->init.paths[0], c->init.paths[1], c->init.paths[2] },
		    .terminal = r->terminal,
		    .id = c->id,
		    .ns = p->ns,
		},
		on_stdio, c, &c->init.io, &err) < 0)
		create_failed(c, &err);
}
