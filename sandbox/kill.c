/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/kill.c — Task.Kill, and what is said of a process that SIGKILL does not end: a process in state D dies when the kernel lets it, and
 * nobody learns why a pod does not go away unless its name and place are told. Once in the log, and to whoever kills it again.
 */
#include <errno.h>
#include <signal.h>

#include "oci/base/err.h"
#include "oci/base/log.h"
#include "sandbox/carry_priv.h"
#include "sandbox/checkpoint.h"
#include "sandbox/pod.h"

enum { STUCK_MS = 5000 };

static int signal_failed(int r, int sig, struct hk_err *err)
{
	if (r == -ESRCH)
		return hk_fail_text(err, HK_NOT_FOUND, ESRCH, "process already finished");
	if (r == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "%d is not a signal", sig);
	return hk_fail(err, HK_INTERNAL, -r, "send signal %d", sig);
}

static void on_stuck(void *owner)
{
	const struct sbx_process *proc = owner;
	char text[200];

	if (proc->state == PROC_RUNNING && oci_cgroup_stuck(oci_container_cgroup(proc->c->oci), text, sizeof(text)))
		log_warn("killed, but does not die", LOG_STR("id", proc->c->id), LOG_STR("exec_id", proc->exec_id ? proc->exec_id : ""),
		    LOG_STR("err", text));
}

void kill_take_over(struct sbx_process *proc, uint64_t left_ms)
{
	hk_timer_init(&proc->stuck, on_stuck, proc);
	hk_timer_set(proc->c->pod->loop, &proc->stuck, left_ms);
}

/* SIGKILL was sent, perhaps not for the first time. */
static int judge(struct sbx_process *proc, struct hk_err *err)
{
	const uint64_t now = hk_now_ns();
	char text[200];

	if (proc->killed_ns == 0) {
		proc->killed_ns = now;
		hk_timer_init(&proc->stuck, on_stuck, proc);
		hk_timer_set(proc->c->pod->loop, &proc->stuck, STUCK_MS);
	}
	if (now - proc->killed_ns < STUCK_MS * 1000000ULL || !oci_cgroup_stuck(oci_container_cgroup(proc->c->oci), text, sizeof(text)))
		return 0;
	return hk_fail_text(err, HK_INTERNAL, EBUSY, "killed %llu s ago, but %s", (unsigned long long)((now - proc->killed_ns) / 1000000000U), text);
}

static bool is_freezing(enum ct_state s)
{
	return s == CT_PAUSING || s == CT_PAUSED || s == CT_RESUMING;
}

/*
 * Where the program is not there yet, what ends a program by default ends the container, as with runc. The set-up child would not die of it: it
 * is PID 1 of its namespace, and has the shim's signals blocked.
 */
static bool ends_created(const struct sbx_process *proc, int sig)
{
	if (proc->exec_id || proc->c->state != CT_CREATED)
		return false;
	return sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT || sig == SIGABRT;
}

static int send_it(struct sbx_process *proc, int sig, bool all, struct hk_err *err)
{
	const struct sbx_container *c = proc->c;
	int r;

	if (ends_created(proc, sig)) {
		proc->end_signal = sig;
		sig = SIGKILL;
	}
	/* A frozen process dies only when its cgroup is killed or thawed. */
	if (!proc->exec_id && (all || (sig == SIGKILL && is_freezing(c->state))))
		return oci_cgroup_signal_all(oci_container_cgroup(c->oci), sig, err);
	r = hk_child_kill(&proc->child, sig);
	return r < 0 ? signal_failed(r, sig, err) : 0;
}

int sbx_kill(struct sbx_pod *p, const char *id, const char *exec_id, int sig, bool all, struct hk_err *err)
{
	struct sbx_process *proc = pod_find_process(p, id, exec_id, err);
	int r;

	if (!proc)
		return -ENOENT;
	if (proc->exec_id && (proc->state == PROC_NEW || proc->state == PROC_STARTING))
		return hk_fail_text(err, HK_BAD_STATE, ESRCH, "process not created");
	if (proc->state >= PROC_DEAD)
		return signal_failed(-ESRCH, sig, err);
	if (sig < 0 || sig > SIGRTMAX)
		return signal_failed(-EINVAL, sig, err);
	if (!proc->exec_id && proc->c->restore) { /* nobody is there yet to take it */
		if (proc->c->state != CT_CREATED || (sig != SIGKILL && sig != SIGTERM))
			return hk_fail_text(err, HK_BAD_STATE, ESRCH, "process not created");
		restore_give_up(proc->c, sig);
		return 0;
	}
	r = send_it(proc, sig, all, err);
	return r == 0 && sig == SIGKILL ? judge(proc, err) : r;
}
