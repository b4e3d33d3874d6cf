/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/sandbox.c — the pod: finds containers and processes for the requests that need no waiting, and tells events. What takes time lives
 * with its noun: container*.c, exec.c, freeze.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/checkpoint.h"
#include "sandbox/pod.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/stdio.h"
#include "sandbox/store.h"

enum { MAX_EXECS = 4096 };

struct sbx_pod *pod_new(const struct sbx_pod_opts *o)
{
	struct sbx_pod *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->loop = o->loop;
	p->reaper = o->reaper;
	p->on_event = o->on_event;
	p->arg = o->arg;
	hk_list_init(&p->containers);
	hk_list_init(&p->oom_slices);
	hk_list_init(&p->oom_levels);
	p->run_dir = strdup(o->run_dir);
	p->ns = strdup(o->ns);
	p->socket = strdup(o->socket);
	p->dir = store_dir(o->state_dir, o->ns, o->group);
	p->engine = (struct oci_engine){ .loop = o->loop, .reaper = o->reaper, .run_dir = p->run_dir,
		.in_child = o->in_child, .in_child_arg = o->arg };
	if (p->run_dir && p->ns && p->socket && p->dir)
		return p;
	free(p->run_dir);
	free(p->ns);
	free(p->socket);
	free(p->dir);
	free(p);
	return NULL;
}

/* Not that of a successor: a shim that still has events to tell may have been followed by another of its group. socket NULL: whatever it is. */
static bool is_dir_of(const char *dir, pid_t pid, const char *socket)
{
	hk_autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store_shim shim;
	bool is_its;

	if (fd < 0 || store_read_shim(fd, &shim) < 0)
		return false;
	is_its = shim.pid == pid && (!socket || (hk_streq(shim.socket, socket) && !shim.cgroup));
	store_shim_done(&shim);
	return is_its;
}

static int record(const struct sbx_pod *p, const char *cgroup)
{
	const bool is_done = (!cgroup || !*cgroup) && is_dir_of(p->dir, getpid(), p->socket);

	return is_done ? 0 : store_write_shim(p->dir, getpid(), p->socket, cgroup);
}

void sbx_pod_record(const struct sbx_pod_opts *o, pid_t server)
{
	hk_autofree char *dir = store_dir(o->state_dir, o->ns, o->group);

	if (dir)
		(void)store_write_shim(dir, server, o->socket, o->shim_cgroup);
}

void sbx_pod_unrecord(const struct sbx_pod_opts *o, pid_t server)
{
	hk_autofree char *dir = store_dir(o->state_dir, o->ns, o->group);

	if (dir && is_dir_of(dir, server, o->socket))
		store_remove_dir(dir);
}

int sbx_pod_new(const struct sbx_pod_opts *o, struct sbx_pod **ret, struct hk_err *err)
{
	struct sbx_pod *p;
	int r;

	if (!hk_is_valid_id(o->ns))
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid namespace", o->ns);
	p = pod_new(o);
	if (!p)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "pod %s", o->group);
	r = record(p, o->shim_cgroup);
	if (r < 0) {
		sbx_pod_free(p);
		return hk_fail(err, HK_INTERNAL, -r, "state directory of pod %s", o->group);
	}
	*ret = p;
	return 0;
}

void sbx_pod_forget(struct sbx_pod *p)
{
	/* With containers left, `delete` will need the state files. */
	if (hk_list_is_empty(&p->containers) && !p->sandbox && p->dir && is_dir_of(p->dir, getpid(), NULL))
		store_remove_dir(p->dir);
}

void sbx_pod_free(struct sbx_pod *p)
{
	struct hk_err err;

	if (!p)
		return;
	(void)hk_fail_text(&err, HK_UNAVAILABLE, ESHUTDOWN, "the shim is going away");
	sbx_pod_forget(p);
	sbx_pod_expect(p, NULL);
	sandbox_abandon(p, &err);
	hk_list_for_safe(n, next, &p->containers) {
		container_abandon(hk_container_of(n, struct sbx_container, node), &err);
		container_free(hk_container_of(n, struct sbx_container, node));
	}
	free(p->run_dir);
	free(p->ns);
	free(p->socket);
	free(p->dir);
	free(p);
}

void sbx_pod_expect(struct sbx_pod *p, const char *bundle)
{
	oci_draft_free(p->draft);
	p->draft = bundle ? oci_draft_new(bundle, p->run_dir) : NULL;
}

size_t sbx_pod_count(const struct sbx_pod *p)
{
	size_t n = 0;

	hk_list_for(pos, &p->containers)
		n++;
	return n;
}

struct sbx_container *pod_find_any(struct sbx_pod *p, const char *id)
{
	hk_list_for(n, &p->containers) {
		struct sbx_container *c = hk_container_of(n, struct sbx_container, node);

		if (hk_streq(c->id, id))
			return c;
	}
	return NULL;
}

struct sbx_container *pod_find(struct sbx_pod *p, const char *id, struct hk_err *err)
{
	struct sbx_container *c = pod_find_any(p, id);

	if (c && c->state != CT_CREATING)
		return c;
	(void)hk_fail_text(err, HK_NOT_FOUND, ENOENT, "container not created");
	return NULL;
}

struct sbx_process *pod_find_process(struct sbx_pod *p, const char *id, const char *exec_id, struct hk_err *err)
{
	struct sbx_container *c = pod_find(p, id, err);

	if (!c)
		return NULL;
	if (!exec_id || !*exec_id)
		return &c->init;
	hk_list_for(n, &c->execs) {
		struct sbx_process *proc = hk_container_of(n, struct sbx_process, node);

		if (hk_streq(proc->exec_id, exec_id))
			return proc;
	}
	(void)hk_fail_text(err, HK_NOT_FOUND, ENOENT, "process does not exist %.80s", exec_id);
	return NULL;
}

void pod_tell(struct sbx_container *c, enum sbx_event_type type, const struct sbx_process *proc)
{
	const struct sbx_reply r = process_reply(proc);
	struct sbx_event ev = {
		.type = type,
		.id = c->id,
		.exec_id = proc->exec_id ? proc->exec_id : "",
		.pid = proc->pid,
		.exit_status = r.exit_status,
		.exited_at = r.exited_at,
	};

	if (type == SBX_EV_OOM) {
		ev.limit = c->oom_limit;
		ev.limit_cgroup = oci_cgroup_path(oci_container_cgroup(c->oci));
		ev.limit_cgroup_len = c->oom_limit_len;
	}
	c->pod->on_event(c->pod->arg, &ev);
}

const char *sbx_limit_name(enum sbx_limit limit)
{
	static const char *const names[] = {
		[SBX_LIMIT_UNKNOWN] = "", [SBX_LIMIT_CONTAINER] = "container", [SBX_LIMIT_POD] = "pod", [SBX_LIMIT_NODE] = "node"
	};

	return names[limit];
}

/* ---- calls ---- */

void done_fail(struct sbx_done done, const struct hk_err *err)
{
	done.fn(done.arg, NULL, err);
}

static struct sbx_call *call_new(struct sbx_done done)
{
	struct sbx_call *call = calloc(1, sizeof(*call));
	struct hk_err err;

	if (!call) {
		(void)hk_fail(&err, HK_INTERNAL, ENOMEM, "remember the request");
		done_fail(done, &err);
		return NULL;
	}
	call->done = done;
	hk_list_init(&call->node);
	hk_list_init(&call->timer.node);
	return call;
}

bool calls_add(struct hk_list *calls, struct sbx_done done)
{
	struct sbx_call *call = call_new(done);

	if (!call)
		return false;
	hk_list_append(calls, &call->node);
	return true;
}

static struct sbx_done call_take(struct sbx_call *call)
{
	struct sbx_done done = call->done;

	hk_list_remove(&call->node);
	hk_timer_cancel(&call->timer);
	free(call);
	return done;
}

void calls_answer(struct hk_list *calls, const struct sbx_reply *reply, const struct hk_err *err)
{
	while (!hk_list_is_empty(calls)) {
		struct sbx_done done = call_take(hk_container_of(calls->next, struct sbx_call, node));

		done.fn(done.arg, err ? NULL : reply, err);
	}
}

static void on_wait_timeout(void *owner)
{
	struct sbx_done done = call_take(owner);
	struct hk_err err;

	(void)hk_fail_text(&err, HK_DEADLINE, ETIMEDOUT, "context deadline exceeded");
	done_fail(done, &err);
}

void sbx_wait(struct sbx_pod *p, const char *id, const char *exec_id, int64_t timeout_ms, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_process *proc = pod_find_process(p, id, exec_id, &err);
	struct sbx_call *call;

	if (!proc) {
		done_fail(done, &err);
		return;
	}
	if (proc->state >= PROC_TOLD || proc->is_failed) {
		const struct sbx_reply r = process_reply(proc);

		done.fn(done.arg, &r, NULL);
		return;
	}
	call = call_new(done);
	if (!call)
		return;
	hk_list_append(&proc->waiters, &call->node);
	hk_timer_init(&call->timer, on_wait_timeout, call);
	if (timeout_ms >= 0)
		hk_timer_set(p->loop, &call->timer, (uint64_t)timeout_ms);
}

/* ---- requests that are answered at once ---- */

static enum sbx_status status_of(const struct sbx_process *proc)
{
	const enum sbx_status pod_wide = ct_status(proc->c->state);

	if (proc->state >= PROC_TOLD && proc->state != PROC_DELETING)
		return SBX_STOPPED;
	if (!proc->exec_id)
		return pod_wide;
	switch (proc->state) {
	case PROC_NEW:
	case PROC_STARTING:
		return SBX_CREATED;
	case PROC_RUNNING:
	case PROC_DEAD: /* told in this very turn */
		return pod_wide == SBX_PAUSED || pod_wide == SBX_PAUSING ? pod_wide : SBX_RUNNING;
	case PROC_TOLD:
	case PROC_DELETING:
	case PROC_N_STATES:
		break;
	}
	return SBX_STOPPED;
}

int sbx_state(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_state *ret, struct hk_err *err)
{
	struct sbx_process *proc = pod_find_process(p, id, exec_id, err);
	struct sbx_reply r;

	if (!proc)
		return -ENOENT;
	r = process_reply(proc);
	*ret = (struct sbx_state){
		.id = proc->exec_id ? proc->exec_id : proc->c->id,
		.bundle = proc->c->bundle,
		.stdin_path = proc->paths[0],
		.stdout_path = proc->paths[1],
		.stderr_path = proc->paths[2],
		.pid = proc->pid,
		.status = status_of(proc),
		.terminal = proc->terminal,
		.exit_status = r.exit_status,
		.exited_at = r.exited_at,
	};
	return 0;
}

uint32_t sbx_init_pid(struct sbx_pod *p, const char *id)
{
	const struct sbx_container *c = pod_find_any(p, id);

	return c ? c->init.pid : 0;
}

static const char *exec_of_pid(const struct sbx_container *c, pid_t pid)
{
	hk_list_for(n, &c->execs) {
		const struct sbx_process *proc = hk_container_of(n, struct sbx_process, node);

		if (proc->state == PROC_RUNNING && proc->pid == (uint32_t)pid)
			return proc->exec_id;
	}
	return NULL;
}

int sbx_pids(struct sbx_pod *p, const char *id, struct sbx_pid **ret, size_t *ret_n, struct hk_err *err)
{
	struct sbx_container *c = pod_find(p, id, err);
	hk_autofree pid_t *pids = NULL;
	struct sbx_pid *out;
	size_t n = 0;
	int r;

	if (!c)
		return -ENOENT;
	r = oci_cgroup_pids(oci_container_cgroup(c->oci), &pids, &n);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "list the processes of %s", id);
	out = calloc(n + 1, sizeof(*out));
	if (!out)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "list the processes of %s", id);
	for (size_t i = 0; i < n; i++)
		out[i] = (struct sbx_pid){ .pid = pids[i], .exec_id = exec_of_pid(c, pids[i]) };
	/* A stopped task must not look empty, or a restarting containerd takes its shim for a leak and its exit code is lost. */
	if (n == 0 && c->init.pid != 0)
		out[n++].pid = (pid_t)c->init.pid;
	*ret = out;
	*ret_n = n;
	return 0;
}

int sbx_close_stdin(struct sbx_pod *p, const char *id, const char *exec_id, struct hk_err *err)
{
	struct sbx_process *proc = pod_find_process(p, id, exec_id, err);

	if (!proc)
		return -ENOENT;
	proc->is_stdin_closed = true;
	if (proc->io)
		sbx_stdio_close_stdin(proc->io);
	return 0;
}

int sbx_resize(struct sbx_pod *p, const char *id, const char *exec_id, uint16_t cols, uint16_t rows, struct hk_err *err)
{
	struct sbx_process *proc = pod_find_process(p, id, exec_id, err);
	int r;

	if (!proc)
		return -ENOENT;
	if (proc->exec_id && proc->state >= PROC_DEAD)
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, "cannot resize a stopped container");
	r = proc->io ? sbx_stdio_resize(proc->io, cols, rows) : 0;
	/* An init that has just ended has no terminal any more; a client that resizes meanwhile is right all the same. */
	return r < 0 && proc->state < PROC_DEAD ? hk_fail(err, HK_INTERNAL, -r, "resize the terminal of %s", id) : 0;
}

static void on_updated(void *arg, const struct hk_err *err)
{
	struct sbx_container *c = arg;
	const struct sbx_reply reply = { .pid = c->init.pid };
	const struct sbx_done done = c->update_done;

	c->update_done = (struct sbx_done){ 0 };
	if (err)
		done_fail(done, err);
	else
		done.fn(done.arg, &reply, NULL);
}

/* As oci_update. */
static int begin_update(struct sbx_container *c, const char *id, const char *json, size_t len, struct hk_err *err)
{
	struct hk_arena arena = { .limit_bytes = 8 << 20 };
	struct oci_resources resources = { 0 };
	int r;

	if (!c)
		return -ENOENT;
	if (len == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "update of %s without resources", id);
	r = ct_step(&c->state, CE_UPDATE, err);
	if (r == 0)
		r = oci_resources_parse(json, len, &arena, &resources, err);
	if (r == 0)
		r = oci_update(c->oci, &resources, on_updated, c, err);
	hk_arena_done(&arena);
	return r;
}

void sbx_update(struct sbx_pod *p, const char *id, const char *json, size_t len, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_container *c = pod_find(p, id, &err);
	const struct sbx_reply reply = { .pid = c ? c->init.pid : 0 };
	int r = begin_update(c, id, json, len, &err);

	if (r < 0)
		done_fail(done, &err);
	else if (r == 0)
		done.fn(done.arg, &reply, NULL);
	else
		c->update_done = done;
}

void sbx_trace(struct sbx_pod *p, const char *id, const char *traceparent)
{
	struct sbx_container *c = pod_find_any(p, id);

	if (c && c->oci)
		oci_container_trace(c->oci, traceparent);
}

static int copy_string(char **to, const char *from, size_t len)
{
	*to = malloc(len + 1);
	if (!*to)
		return -ENOMEM;
	memcpy(*to, from, len);
	(*to)[len] = '\0';
	return 0;
}

int sbx_exec(struct sbx_pod *p, const struct sbx_exec *r, struct hk_err *err)
{
	struct sbx_container *c = pod_find(p, r->id, err);
	const char *const paths[3] = { r->stdin_path, r->stdout_path, r->stderr_path };
	struct sbx_process *proc;
	size_t n = 0;

	if (!c)
		return -ENOENT;
	hk_list_for(pos, &c->execs) {
		if (hk_streq(hk_container_of(pos, struct sbx_process, node)->exec_id, r->exec_id))
			return hk_fail_text(err, HK_EXISTS, EEXIST, "exec %s of container %s already exists", r->exec_id, c->id);
		n++;
	}
	if (!hk_is_valid_id(r->exec_id))
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" is not a valid exec id", r->exec_id);
	if (n >= MAX_EXECS)
		return hk_fail_text(err, HK_EXHAUSTED, EAGAIN, "container %s has %d execs already", c->id, MAX_EXECS);
	if (ct_step(&c->state, CE_EXEC, err) < 0)
		return -EINVAL;
	if (oci_exec_check(r->spec_json, r->spec_json_len, err) < 0)
		return -EINVAL;
	proc = calloc(1, sizeof(*proc));
	if (!proc)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "exec %s", r->exec_id);
	process_init(proc, c);
	if (process_set_paths(proc, paths, r->terminal) < 0 || copy_string(&proc->exec_id, r->exec_id, strlen(r->exec_id)) < 0 ||
	    copy_string(&proc->spec_json, r->spec_json, r->spec_json_len) < 0) {
		exec_free(proc);
		return hk_fail(err, HK_INTERNAL, ENOMEM, "exec %s", r->exec_id);
	}
	proc->spec_json_len = r->spec_json_len;
	hk_list_append(&c->execs, &proc->node);
	pod_tell(c, SBX_EV_EXEC_ADDED, proc);
	return 0;
}

/* ---- requests that take time: to their noun ---- */

void sbx_start(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_done done)
{
	struct hk_err err;
	struct sbx_process *proc = pod_find_process(p, id, exec_id, &err);

	if (!proc)
		done_fail(done, &err);
	else if (proc->exec_id)
		exec_start(proc, done);
	else
		container_start(proc->c, done);
}

void sbx_delete(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_done done)
{
	struct sbx_container *creating = pod_find_any(p, id);
	struct hk_err err;
	struct sbx_process *proc;

	if (creating && creating->state == CT_CREATING && (!exec_id || !*exec_id)) {
		(void)calls_add(&creating->init.deletes, done);
		return;
	}
	proc = pod_find_process(p, id, exec_id, &err);
	if (!proc)
		done_fail(done, &err);
	else if (proc->exec_id)
		exec_delete(proc, done);
	else
		container_delete(proc->c, done);
}
