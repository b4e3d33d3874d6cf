/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/launch.c — the shim's side of a create, a start and an exec: a state machine on the loop, fed by the child's
 * messages (oci/sync.h). In comes a job; out goes a process, or an error after which nothing is left of it
 * (oci/teardown.c). Every wait has a deadline; the kernel objects of a launch (socket, page, child, pidfd) belong to
 * it until they are handed over.
 */
#include "oci/launch.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/limits.h"
#include "oci/namespaces.h"
#include "oci/netdev.h"
#include "oci/notify.h"
#include "oci/unit.h"

static const char *const state_names[LS_N_STATES] = {
	[LS_COMPILING] = "compiling",
	[LS_SETTING_UP] = "setting up",
	[LS_SCOPE] = "waiting for systemd",
	[LS_HOOKS] = "hooks",
	[LS_CREATED] = "created",
	[LS_STARTING] = "starting",
	[LS_POSTSTART] = "poststart",
	[LS_FAILING] = "failing",
	[LS_LINGERING] = "lingering",
};

/* ---- success ---- */

/* The pid and a pidfd of the final process: our own unreaped child, so the number is still its. */
static int take_process(struct oci_launch *l, struct oci_launched *ret)
{
	int pidfd;

	if (l->first_pidfd >= 0) {
		ret->pid = l->first_pid;
		ret->pidfd = hk_take_fd(&l->first_pidfd);
	} else {
		ret->pid = l->page->final_pid;
		pidfd = ret->pid > 0 ? oci_pidfd_open(ret->pid) : -ESRCH;
		if (pidfd < 0)
			return pidfd;
		ret->pidfd = pidfd;
	}
	ret->console_fd = hk_take_fd(&l->console_fd);
	hk_reaper_release(&l->hold_first);
	hk_reaper_release(&l->hold_final);
	return 0;
}

static void exec_done(struct oci_launch *l)
{
	struct oci_launched got = { .pidfd = -1, .console_fd = -1 };
	oci_launch_fn *fn = l->fn;
	void *arg = l->arg;
	int r = take_process(l, &got);

	if (r < 0) {
		oci_launch_fail_step(l, HK_INTERNAL, -r, "the new process was lost");
		return;
	}
	oci_timing_mark(&l->times, OCI_MARK_CREATED);
	oci_timing_tell(l);
	oci_launch_end(l);
	fn(arg, &got, NULL);
}

static void on_created(struct oci_launch *l, const struct oci_msg *m)
{
	struct oci_container *c = l->c;
	struct oci_launched got = { .pidfd = -1, .console_fd = -1 };
	struct hk_err err = { 0 };
	int at = -1, r = take_process(l, &got);

	(void)m;
	if (r < 0) {
		oci_launch_fail_step(l, HK_INTERNAL, -r, "the init was lost");
		return;
	}
	/*
	 * Raising a hard limit takes the host's CAP_SYS_RESOURCE: nobody inside a user namespace can, and outside
	 * the init has done it.
	 */
	r = c->in_userns ? oci_rlimits_apply(got.pid, &c->spec->process, &at, &err) : 0;
	if (r < 0) {
		if (l->first.pid == 0)
			l->first_pidfd = hk_take_fd(&got.pidfd); /* no middle process: it is ours to kill again */
		(void)hk_close(got.pidfd);
		(void)hk_close(got.console_fd);
		(void)hk_wrap(&err, "process.rlimits[%d]", at);
		oci_launch_fail(l, &err);
		return;
	}
	c->init_pid = got.pid;
	oci_timing_mark(&l->times, OCI_MARK_CREATED);
	l->state = LS_CREATED;
	hk_timer_cancel(&l->timer);
	l->fn(l->arg, &got, NULL);
}

static void on_poststart(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;

	l->hooks = NULL;
	if (err)
		oci_launch_fail(l, err);
	else
		oci_launch_started(l, NULL);
}

static void init_runs(struct oci_launch *l)
{
	struct oci_container *c = l->c;
	struct oci_hook_state state = {
		.version = c->spec->version,
		.id = c->id,
		.status = "running",
		.bundle = c->bundle,
		.pid = c->init_pid,
		.annotations = &c->spec->annotations,
		.traceparent = c->traceparent,
	};
	struct oci_hook_job job = {
		.lists = { &c->spec->hooks[OCI_HOOK_POSTSTART] }, .kind = { "poststart" }, .state = &state
	};
	struct hk_err err;

	oci_timing_mark(&l->times, OCI_MARK_RUNS);
	oci_timing_tell(l);
	l->state = LS_POSTSTART;
	hk_timer_cancel(&l->timer);
	oci_launch_close(l);
	if (c->spec->hooks[OCI_HOOK_POSTSTART].n == 0)
		oci_launch_started(l, NULL);
	else if (oci_hooks_run(c, &job, on_poststart, l, &l->hooks, &err) < 0)
		oci_launch_fail(l, &err);
}

/* ---- messages ---- */

static void on_want_map(struct oci_launch *l, const struct oci_msg *m)
{
	struct hk_err err;
	int r = oci_ns_settle_maps(l->first_pid, l->c->spec, &err);

	(void)m;
	if (r == 0) {
		r = oci_sync_send(l->sock, OCI_MSG_DONE, 0, -1);
		if (r < 0)
			(void)hk_fail(&err, HK_INTERNAL, -r, "answer the set-up process");
	}
	if (r < 0)
		oci_launch_fail(l, &err);
}

static void on_runtime_hooks(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;

	l->hooks = NULL;
	if (err) {
		oci_launch_fail(l, err);
		return;
	}
	l->state = LS_SETTING_UP;
	hk_timer_set(l->c->engine->loop, &l->timer, OCI_LAUNCH_TIMEOUT_MS);
	if (oci_sync_send(l->sock, OCI_MSG_DONE, 0, -1) < 0)
		oci_launch_fail_step(l, HK_INTERNAL, EPIPE, "the set-up process died");
}

static void on_want_hooks(struct oci_launch *l, const struct oci_msg *m)
{
	struct oci_container *c = l->c;
	struct oci_hook_state state = {
		.version = c->spec->version,
		.id = c->id,
		.status = "creating",
		.bundle = c->bundle,
		.pid = l->first_pidfd >= 0 ? l->first_pid : l->page->final_pid,
		.annotations = &c->spec->annotations,
		.traceparent = c->traceparent,
	};
	struct oci_hook_job job = {
		.lists = { &c->spec->hooks[OCI_HOOK_PRESTART], &c->spec->hooks[OCI_HOOK_CREATE_RUNTIME] },
		.kind = { "prestart", "createRuntime" },
		.state = &state,
	};
	struct hk_err err;

	(void)m;
	hk_timer_cancel(&l->timer); /* hooks have times of their own */
	l->state = LS_HOOKS;
	l->is_hooked = true;
	if (oci_hooks_run(c, &job, on_runtime_hooks, l, &l->hooks, &err) < 0)
		oci_launch_fail(l, &err);
}

static void on_want_scope(struct oci_launch *l, const struct oci_msg *m)
{
	(void)m;
	oci_unit_begin(l);
}

static void on_net_devices(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;

	l->helper = NULL;
	if (err)
		oci_launch_fail(l, err);
	else if (oci_sync_send(l->sock, OCI_MSG_DONE, 0, -1) < 0)
		oci_launch_fail_step(l, HK_INTERNAL, EPIPE, "the set-up process died");
}

static void on_want_net(struct oci_launch *l, const struct oci_msg *m)
{
	pid_t pid = l->first_pidfd >= 0 ? l->first_pid : l->page->final_pid;
	struct hk_err err;

	(void)m;
	if (oci_netdev_run(l->c->engine, l->c->spec, pid, on_net_devices, l, &l->helper, &err) < 0)
		oci_launch_fail(l, &err);
}

static void on_want_agent(struct oci_launch *l, const struct oci_msg *m)
{
	(void)m;
	oci_notify_begin(l);
}

static void on_failed(struct oci_launch *l, const struct oci_msg *m)
{
	struct hk_err err;

	oci_sync_to_err(m, &err);
	oci_launch_fail(l, &err);
}

static void on_eof(struct oci_launch *l, const struct oci_msg *m)
{
	(void)m;
	if (l->page->failed.type == OCI_MSG_FAILED)
		on_failed(l, &l->page->failed);
	else if (l->page->step != OCI_STEP_EXEC)
		oci_launch_fail_step(l, HK_INTERNAL, EPIPE, "the set-up process died");
	else if (l->is_exec)
		exec_done(l);
	else
		init_runs(l);
}

/* Killed while it waited for its start: its owner sees the exit; oci_start finds no socket. */
static void on_eof_created(struct oci_launch *l, const struct oci_msg *m)
{
	(void)m;
	oci_launch_close(l);
}

typedef void on_msg_fn(struct oci_launch *l, const struct oci_msg *m);
static on_msg_fn *const table[LS_N_STATES][OCI_N_MSGS] = { /* message 0 is EOF */
	[LS_SETTING_UP] = {
		[0] = on_eof,
		[OCI_MSG_WANT_SCOPE] = on_want_scope,
		[OCI_MSG_WANT_MAP] = on_want_map,
		[OCI_MSG_WANT_NET] = on_want_net,
		[OCI_MSG_WANT_HOOKS] = on_want_hooks,
		[OCI_MSG_WANT_AGENT] = on_want_agent,
		[OCI_MSG_CREATED] = on_created,
		[OCI_MSG_FAILED] = on_failed,
	},
	[LS_SCOPE] = { [0] = on_eof, [OCI_MSG_FAILED] = on_failed },
	[LS_HOOKS] = { [0] = on_eof, [OCI_MSG_FAILED] = on_failed },
	[LS_CREATED] = { [0] = on_eof_created, [OCI_MSG_FAILED] = on_eof_created },
	[LS_STARTING] = { [0] = on_eof, [OCI_MSG_FAILED] = on_failed, [OCI_MSG_WANT_AGENT] = on_want_agent },
};

static bool take_console(struct oci_launch *l, const struct oci_msg *m, int *take_fd)
{
	if (m->type != OCI_MSG_FDS || m->value != OCI_FDS_CONSOLE || l->state != LS_SETTING_UP || l->console_fd >= 0 ||
	    *take_fd < 0)
		return false;
	l->console_fd = hk_take_fd(take_fd);
	return true;
}

/*
 * What ends the launch may lie behind a console that came in the same turn, and must be seen in it: in the turn's last
 * pass exits are reaped, and an exec that is not handed over by then would lose its own.
 */
static void on_socket(void *owner, uint32_t events)
{
	struct oci_launch *l = owner;
	struct oci_msg m = { 0 };
	struct hk_err err;
	int r;

	(void)events;
	do {
		hk_autofd fd = -1;

		r = oci_sync_recv(l->sock, &m, &fd, MSG_DONTWAIT);
		if (r == 1 && take_console(l, &m, &fd))
			continue;
		break;
	} while (true);
	if (r == -EAGAIN)
		return;
	if (r >= 0 && table[l->state][r ? m.type : 0]) {
		table[l->state][r ? m.type : 0](l, &m);
		return;
	}
	(void)hk_fail(&err, HK_INTERNAL, r < 0 ? -r : EPROTO, "message %u of the set-up process while %s", m.type,
	    state_names[l->state]);
	oci_launch_fail(l, &err);
}

/* ---- beginning ---- */

/*
 * What a kernel or a cgroup says that cannot have a process born into it; entering from inside tells the true
 * reason.
 */
static bool is_cgroup_refusal(int r)
{
	return r == -EBUSY || r == -EOPNOTSUPP || r == -EACCES || r == -EINVAL || r == -E2BIG || r == -ENODEV ||
	       r == -ENOENT || r == -ENOSYS;
}

static pid_t clone_first(struct oci_launch *l)
{
	struct oci_job *j = l->job;
	const bool is_v2_alone = oci_cgroup_is_v2_alone(l->c->cgroup);
	uint64_t mask = j->is_exec ? 0 : j->clone_mask;
	struct oci_clone c = { .cgroup_fd = -1, .ret_pidfd = &l->first_pidfd, .exit_signal = SIGCHLD };
	pid_t pid;

	if (j->needs_middle) /* a user namespace's mounts are prepared outside of it, in a mount namespace of M's own */
		mask = !j->is_exec && j->s.in_userns ? CLONE_NEWNS : 0;
	if (!(j->is_exec && j->process->exec_cpu_affinity_initial))
		c.cgroup_fd = is_v2_alone && j->tree_fd >= 0 ? j->tree_fd : oci_cgroup_clone_fd(l->c->cgroup);
	if (c.cgroup_fd >= 0 && is_v2_alone) {
		c.flags = mask;
		pid = oci_clone(&c);
		if (pid >= 0 || !is_cgroup_refusal(pid))
			return pid;
		c.cgroup_fd = -1;
	}
	j->enters_cgroup = true;
	j->late_cgroupns = (mask & CLONE_NEWCGROUP) != 0;
	/* The kernel's longest work for a pod; where the shim makes the cgroup meanwhile it is not to wait for that. */
	j->late_netns = j->is_cgroup_begun && (mask & CLONE_NEWNET);
	c.flags = mask & ~(uint64_t)(CLONE_NEWCGROUP | (j->late_netns ? CLONE_NEWNET : 0));
	if (c.cgroup_fd >= 0) { /* hybrid: the v2 part by birth, which waits for nobody; v1's from inside */
		j->is_in_v2 = true;
		pid = oci_clone(&c);
		if (pid >= 0 || !is_cgroup_refusal(pid))
			return pid;
		j->is_in_v2 = false;
	}
	c.cgroup_fd = -1;
	return oci_clone(&c);
}

/* What a v1 host's kernel needs the longest for, while the child is at its first steps on another processor. */
static void make_cgroup(struct oci_launch *l)
{
	struct hk_err err;

	if (oci_container_make_cgroup(l->c, &err) < 0) {
		oci_launch_fail(l, &err);
		return;
	}
	l->is_cgroup_begun = false;
	l->is_cgroup_early = true;
	(void)oci_sync_send(l->sock, OCI_MSG_MADE, 0, -1); /* who has died is told by the end of the socket */
}

/* The pair of sockets and the clone. The child never comes back from here. */
static int spawn(struct oci_launch *l, struct hk_err *err)
{
	struct oci_job *j = l->job;
	int pair[2], r;
	pid_t pid;

	l->page = j->page = oci_page_new();
	if (!l->page)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "map the step page");
	r = hk_socketpair(pair);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "socketpair");
	l->sock = pair[0];
	j->s.sync_fd = pair[1];
	l->page->step_from_ns = l->times.at_ns[OCI_MARK_BEGIN] ? hk_now_ns() : 0;
	pid = clone_first(l);
	if (pid == 0) {
		(void)hk_close(pair[0]); /* else the child would never see the shim's end of it close */
		oci_engine_in_child(l->c->engine);
		if (j->is_exec)
			oci_child_exec(j);
		oci_child_create(j);
	}
	(void)hk_close(pair[1]);
	if (pid < 0)
		return hk_fail(err, HK_INTERNAL, -pid, "clone the set-up process");
	oci_timing_mark(&l->times, OCI_MARK_CLONED);
	l->first_pid = pid;
	hk_reaper_hold(l->c->engine->reaper, &l->hold_first, &l->first_pid);
	hk_reaper_hold(l->c->engine->reaper, &l->hold_final, &l->page->final_pid);
	r = hk_source_add(l->c->engine->loop, &l->src, l->sock, EPOLLIN);
	if (r == 0 && j->needs_middle)
		r = hk_child_watch(l->c->engine->reaper, &l->first, pid, &l->first_pidfd, oci_launch_first_exit, l);
	oci_job_free(j);
	l->job = NULL;
	l->state = LS_SETTING_UP;
	hk_timer_set(l->c->engine->loop, &l->timer, OCI_LAUNCH_TIMEOUT_MS);
	if (r < 0) { /* too late for a plain error return: a child runs */
		struct hk_err later;

		(void)hk_fail(&later, HK_INTERNAL, -r, "watch the set-up process");
		oci_launch_fail(l, &later);
	} else if (l->is_cgroup_begun) {
		make_cgroup(l);
	}
	return 0;
}

static void on_compiled(void *arg, const struct hk_err *err)
{
	struct oci_launch *l = arg;
	struct oci_container *c = l->c;
	struct hk_err mine;
	int r;

	l->helper = NULL;
	if (err) {
		oci_launch_fail(l, err);
		return;
	}
	r = oci_seccomp_cache_find(c->engine->run_dir, &c->spec->seccomp, &c->seccomp.fd, &l->job->bpf);
	if (r < 0)
		r = hk_fail(&mine, HK_INTERNAL, -r, "read the compiled seccomp filter");
	else
		r = spawn(l, &mine);
	if (r < 0)
		oci_launch_fail(l, &mine);
}

static struct oci_launch *launch_new(struct oci_container *c)
{
	struct oci_launch *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->c = c;
	l->sock = l->first_pidfd = l->console_fd = -1;
	hk_source_init(&l->src, HK_PASS_IO, on_socket, l);
	hk_timer_init(&l->timer, oci_launch_timer, l);
	hk_child_init(&l->first);
	hk_child_init(&l->final);
	hk_list_append(&c->launches, &l->node);
	return l;
}

int oci_launch_resume(struct oci_container *c, int sock, struct oci_page *page)
{
	struct oci_launch *l = launch_new(c);
	int r;

	if (!l)
		return -ENOMEM;
	l->page = page;
	l->state = LS_CREATED;
	c->init = l;
	r = sock < 0 ? 0 : hk_source_add(c->engine->loop, &l->src, sock, EPOLLIN);
	if (r == 0)
		l->sock = sock;
	return r;
}

int oci_launch_begin(
    struct oci_container *c, struct oci_job **take_job, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	struct oci_job *j = hk_take_ptr(*take_job);
	struct oci_launch *l = launch_new(c);
	int r;

	if (!l) {
		oci_job_free(j);
		return hk_fail(err, HK_INTERNAL, ENOMEM, "launch");
	}
	l->job = j;
	l->is_exec = j->is_exec;
	l->is_cgroup_begun = j->is_cgroup_begun;
	l->fn = fn;
	l->arg = arg;
	l->times = j->times;
	if (!l->is_exec)
		c->init = l;
	if (!l->is_exec && c->spec->seccomp.is_set && !j->bpf.insns) {
		l->state = LS_COMPILING;
		r = oci_seccomp_compile(c->engine, &c->spec->seccomp, on_compiled, l, &l->helper, err);
	} else {
		r = spawn(l, err);
	}
	if (r < 0)
		oci_launch_free(l);
	return r;
}

int oci_launch_start(struct oci_launch *l, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	int r;

	if (!l || l->state != LS_CREATED)
		return hk_fail_text(
		    err, HK_BAD_STATE, EINVAL, "cannot start: the container is not in the created state");
	r = l->sock < 0 ? -EPIPE : oci_sync_send(l->sock, OCI_MSG_GO, 0, -1);
	if (r < 0)
		return hk_fail_text(err, HK_BAD_STATE, -r, "cannot start: the container's init has ended");
	oci_timing_mark(&l->times, OCI_MARK_GO);
	l->state = LS_STARTING;
	l->started = fn;
	l->arg = arg;
	if (l->c->spec->hooks[OCI_HOOK_START_CONTAINER].n == 0)
		hk_timer_set(l->c->engine->loop, &l->timer, OCI_LAUNCH_TIMEOUT_MS);
	return 0;
}
