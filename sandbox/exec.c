/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/exec.c — one more process in a container, from Start to Delete. A failed start leaves the record as it was (deletable, its
 * waiters released with nothing); a started one is told before its exit, since its pidfd is watched only after that.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/pod.h"
#include "sandbox/stdio.h"

enum { DRAIN_MS = 1000, LINGER_MAX_S = 86400, TREE_MIN_MS = 1, TREE_MAX_MS = 100, TREE_TIMEOUT_MS = 10000 };

/* ---- husk.io/exec-kill-tree: what an exec has started ends with it ---- */

static void finish_delete(struct sbx_process *proc);

static bool wants_tree(const struct sbx_container *c)
{
	const char *s = oci_container_annotation(c->oci, "husk.io/exec-kill-tree");

	return hk_streq(s, "true") || hk_streq(s, "1");
}

/* Again and again, since a fork may slip through a round. What cannot die stays to the container's own end. */
static void end_tree(void *owner)
{
	struct sbx_process *proc = owner;

	if (oci_cgroup_sub_end(oci_container_cgroup(proc->c->oci), proc->exec_id) == 0 || hk_now_ns() >= proc->tree_until_ns) {
		proc->has_tree = false;
		if (proc->is_drained)
			finish_delete(proc);
		return;
	}
	hk_timer_set(proc->c->pod->loop, &proc->tree_timer, proc->tree_delay_ms);
	proc->tree_delay_ms = proc->tree_delay_ms * 2 > TREE_MAX_MS ? TREE_MAX_MS : proc->tree_delay_ms * 2;
}

static void begin_end_of_tree(struct sbx_process *proc)
{
	if (!proc->has_tree)
		return;
	proc->tree_delay_ms = TREE_MIN_MS;
	proc->tree_until_ns = hk_now_ns() + TREE_TIMEOUT_MS * 1000000ULL;
	hk_timer_init(&proc->tree_timer, end_tree, proc);
	end_tree(proc);
}

/* ---- start and exit ---- */

static void start_failed(struct sbx_process *proc, const struct hk_err *err)
{
	static const struct sbx_reply nothing;
	struct sbx_container *c = proc->c;
	struct sbx_done done = proc->start;
	const struct hk_err copy = *err;

	proc->start = (struct sbx_done){ 0 };
	(void)proc_step(&proc->state, PE_FAILED, NULL);
	proc->is_failed = true;
	proc->is_opening = false;
	begin_end_of_tree(proc);
	sbx_stdio_free(proc->io);
	proc->io = NULL;
	calls_answer(&proc->waiters, &nothing, NULL);
	done_fail(done, &copy);
	container_settle(c);
}

static void on_linger_over(void *owner)
{
	struct sbx_process *proc = owner;

	if (proc->state == PROC_TOLD && proc->io) /* a Delete has its own limit */
		sbx_stdio_hang_up(proc->io);
}

/*
 * husk.io/exec-linger=SECONDS: how long a process that the exec left behind may keep its output open. Without it, until Delete, as
 * containerd's own shim does.
 */
static void begin_linger(struct sbx_process *proc)
{
	const char *s = oci_container_annotation(proc->c->oci, "husk.io/exec-linger");
	uint64_t seconds;

	if (!s || hk_parse_u64(s, &seconds) < 0 || seconds > LINGER_MAX_S)
		return;
	hk_timer_init(&proc->linger, on_linger_over, proc);
	hk_timer_set(proc->c->pod->loop, &proc->linger, seconds * 1000);
}

static void on_exit_of_exec(void *owner, const struct hk_exit *x)
{
	struct sbx_process *proc = owner;

	proc->x = *x;
	(void)proc_step(&proc->state, PE_DIED, NULL);
	begin_end_of_tree(proc);
	sbx_stdio_exited(proc->io);
	begin_linger(proc);
	if (x->status == 128 + SIGKILL)
		oom_look(proc->c); /* what ended it is told before its end */
	process_tell_exit(proc);
	container_settle(proc->c);
}

int exec_take_over(struct sbx_process *proc, const struct hk_value *child)
{
	return carry_read_child(proc->c->pod->reaper, child, &proc->child, on_exit_of_exec, proc);
}

void exec_take_over_timers(struct sbx_process *proc, const struct hk_value *from)
{
	struct hk_loop *loop = proc->c->pod->loop;
	uint64_t left_ms;

	hk_timer_init(&proc->linger, on_linger_over, proc);
	if (carry_time_left(from, "linger", &left_ms))
		hk_timer_set(loop, &proc->linger, left_ms);
	hk_timer_init(&proc->tree_timer, end_tree, proc);
	if (carry_time_left(from, "tree_timer", &left_ms))
		hk_timer_set(loop, &proc->tree_timer, left_ms);
}

static void on_launched(void *arg, const struct oci_launched *l, const struct hk_err *launch_err)
{
	struct sbx_process *proc = arg;
	struct sbx_container *c = proc->c;
	struct sbx_done done = proc->start;
	struct sbx_reply reply;
	struct hk_err err;
	int pidfd, console, r;

	if (launch_err) {
		start_failed(proc, launch_err);
		return;
	}
	pidfd = l->pidfd;
	console = l->console_fd;
	/* Its stdio was chown'ed by itself, before it gave up the right to. */
	sbx_stdio_launched(proc->io, &console, (uid_t)-1, (gid_t)-1);
	r = hk_child_watch(c->pod->reaper, &proc->child, l->pid, &pidfd, on_exit_of_exec, proc);
	if (r < 0) {
		(void)kill(l->pid, SIGKILL); /* our unreaped child: the number is still its */
		(void)hk_fail(&err, HK_INTERNAL, -r, "watch exec %s", proc->exec_id);
		start_failed(proc, &err);
		return;
	}
	proc->pid = (uint32_t)l->pid;
	proc->start = (struct sbx_done){ 0 };
	free(proc->spec_json);
	proc->spec_json = NULL;
	(void)proc_step(&proc->state, PE_RUNS, NULL);
	pod_tell(c, SBX_EV_EXEC_STARTED, proc);
	reply = process_reply(proc);
	done.fn(done.arg, &reply, NULL);
}

static void on_stdio(void *arg, const struct hk_err *io_err)
{
	struct sbx_process *proc = arg;
	struct sbx_container *c = proc->c;
	const int *fds = sbx_stdio_fds(proc->io);
	struct hk_err err;
	int r;

	proc->is_opening = false;
	if (io_err) {
		start_failed(proc, io_err);
		return;
	}
	if (proc->is_stdin_closed)
		sbx_stdio_close_stdin(proc->io);
	/* The readers may have kept us waiting while the container went on. */
	if (c->state == CT_STOPPING || c->state == CT_STOPPED || c->init.state >= PROC_DEAD) {
		(void)hk_fail_text(&err, HK_BAD_STATE, ESRCH, "container %s init process is not running", c->id);
		start_failed(proc, &err);
		return;
	}
	proc->has_tree = wants_tree(c);
	r = oci_exec(c->oci,
	    &(struct oci_exec_opts){
		.tree = proc->has_tree ? proc->exec_id : NULL,
		.process_json = proc->spec_json,
		.process_json_len = proc->spec_json_len,
		.terminal = proc->terminal,
		.stdio = { fds[0], fds[1], fds[2] },
		.init_pidfd = c->init.child.pidfd,
		.init_pid = (pid_t)c->init.pid,
	    },
	    on_launched, proc, &err);
	if (r < 0)
		start_failed(proc, &err);
}

void exec_start(struct sbx_process *proc, struct sbx_done done)
{
	struct sbx_container *c = proc->c;
	struct hk_err err;

	if (c->state == CT_STOPPING || c->state == CT_STOPPED || c->state == CT_DELETING || c->init.state >= PROC_DEAD || c->restore) {
		(void)hk_fail_text(&err, HK_BAD_STATE, ESRCH, "container %s init process is not running", c->id);
		done_fail(done, &err);
		return;
	}
	if (c->checkpointing) {
		(void)hk_fail_text(&err, HK_BAD_STATE, EBUSY, "cannot start an exec in container %s while it is checkpointed", c->id);
		done_fail(done, &err);
		return;
	}
	if (ct_step(&c->state, CE_EXEC_START, &err) < 0 || proc_step(&proc->state, PE_START, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	proc->start = done;
	proc->is_failed = false;
	proc->is_opening = true;
	if (sbx_stdio_open(
		&(struct sbx_stdio_opts){
		    .loop = c->pod->loop,
		    .reaper = c->pod->reaper,
		    .paths = { proc->paths[0], proc->paths[1], proc->paths[2] },
		    .terminal = proc->terminal,
		    .is_exec = true,
		    .id = proc->exec_id,
		    .ns = c->pod->ns,
		},
		on_stdio, proc, &proc->io, &err) < 0)
		start_failed(proc, &err);
}

bool execs_are_alive(const struct sbx_container *c)
{
	hk_list_for(n, &c->execs) {
		const struct sbx_process *proc = hk_container_of(n, struct sbx_process, node);

		if (proc->state == PROC_STARTING || proc->state == PROC_RUNNING)
			return true;
	}
	return false;
}

void execs_refuse_opening(struct sbx_container *c)
{
	struct hk_err err;

	(void)hk_fail_text(&err, HK_BAD_STATE, ESRCH, "container %s init process is not running", c->id);
	/* From the start after each: a refusal may settle the container, or have its client delete the exec. */
	for (struct hk_list *n = c->execs.next; n != &c->execs;) {
		struct sbx_process *proc = hk_container_of(n, struct sbx_process, node);

		n = n->next;
		if (proc->is_opening) {
			start_failed(proc, &err);
			n = c->execs.next;
		}
	}
}

void exec_free(struct sbx_process *proc)
{
	hk_list_remove(&proc->node);
	process_done(proc);
	free(proc);
}

static void finish_delete(struct sbx_process *proc)
{
	const struct sbx_reply r = process_reply(proc);

	hk_list_remove(&proc->node);
	calls_answer(&proc->deletes, &r, NULL);
	exec_free(proc);
}

static void on_drained(void *arg)
{
	struct sbx_process *proc = arg;

	/* The client shall have its EOF before it has its answer. */
	sbx_stdio_free(proc->io);
	proc->io = NULL;
	proc->is_drained = true;
	if (!proc->has_tree)
		finish_delete(proc);
	else if (proc->tree_until_ns > hk_now_ns() + DRAIN_MS * 1000000ULL)
		proc->tree_until_ns = hk_now_ns() + DRAIN_MS * 1000000ULL;
}

void exec_delete(struct sbx_process *proc, struct sbx_done done)
{
	struct hk_err err;

	if (proc->state == PROC_DELETING) {
		(void)calls_add(&proc->deletes, done);
		return;
	}
	if (proc_step(&proc->state, PE_DELETE, &err) < 0) {
		done_fail(done, &err);
		return;
	}
	if (!calls_add(&proc->deletes, done)) {
		exec_free(proc);
		return;
	}
	if (proc->io)
		sbx_stdio_drain(proc->io, DRAIN_MS, on_drained, proc);
	else
		on_drained(proc);
}
