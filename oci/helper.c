/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/helper.c — a function, or another program, run in a child of the shim, waited for on the loop, with a deadline. An
 * error comes back by a message of oci/sync.h, success by the exit status; all else that the work makes is in the
 * kernel or in files.
 */
#include "oci/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/namespaces.h"
#include "oci/oci.h"
#include "oci/sync.h"

struct oci_helper {
	const struct oci_engine *engine;
	const char *what;
	int sock; /* owned */
	struct hk_child child;
	struct hk_timer timer;
	bool is_late;
	oci_helper_fn *fn;
	void *arg;
};

static int run_program(int *sock, const char *const *argv, struct hk_err *err)
{
	char *const env[] = { NULL };
	sigset_t none;
	int r;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (*sock == OCI_HELPER_SOCK ? fcntl(*sock, F_SETFD, 0) < 0 : dup2(*sock, OCI_HELPER_SOCK) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "hand the socket to %s", argv[0]);
	*sock = OCI_HELPER_SOCK;
	r = hk_cloexec_from(OCI_HELPER_SOCK + 1);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "mark fds close-on-exec");
	(void)execve(argv[0], (char *const *)(uintptr_t)argv, env);
	return hk_fail(err, HK_INTERNAL, errno, "execute %s", argv[0]);
}

void oci_engine_in_child(const struct oci_engine *e)
{
	if (e->in_child)
		e->in_child(e->in_child_arg);
}

static _Noreturn void run_child(const struct oci_engine *e, int sock, const struct oci_helper_job *job)
{
	struct hk_err err = { 0 };
	int r;

	oci_engine_in_child(e);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)prctl(PR_SET_NAME, job->comm, 0, 0, 0);
	r = job->argv ? run_program(&sock, job->argv, &err) : job->work(job->arg, &err);
	if (r < 0)
		oci_sync_fail(sock, 0, -1, &err);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void on_exit_of(void *owner, const struct hk_exit *x)
{
	struct oci_helper *h = owner;
	oci_helper_fn *fn = h->fn;
	void *arg = h->arg;
	hk_autofd fd = -1;
	struct oci_msg m;
	struct hk_err err;
	bool ok = x->status == 0 && !x->was_signaled;

	if (!ok && oci_sync_recv(h->sock, &m, &fd, MSG_DONTWAIT) == 1 && m.type == OCI_MSG_FAILED)
		oci_sync_to_err(&m, &err);
	else if (!ok && h->is_late)
		(void)hk_fail_text(&err, HK_DEADLINE, ETIMEDOUT, "%s did not finish in time", h->what);
	else if (!ok)
		(void)hk_fail_text(&err, HK_INTERNAL, EIO, "%s ended with status %d", h->what, x->status);
	err.step = NULL; /* its work is no step of a set-up */
	oci_helper_abort(h);
	fn(arg, ok ? NULL : &err);
}

static void on_timer(void *owner)
{
	struct oci_helper *h = owner;

	h->is_late = true;
	(void)hk_child_kill(&h->child, SIGKILL);
}

int oci_helper_run(const struct oci_engine *e, const struct oci_helper_job *job, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err)
{
	struct oci_helper *h = calloc(1, sizeof(*h));
	hk_autofd pidfd = -1, theirs = -1;
	struct oci_clone clone = { .cgroup_fd = -1, .ret_pidfd = &pidfd, .exit_signal = SIGCHLD };
	int pair[2], r;
	pid_t pid;

	if (!h)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "start %s", job->what);
	*h = (struct oci_helper){ .engine = e, .what = job->what, .sock = -1, .fn = fn, .arg = arg };
	hk_child_init(&h->child);
	hk_timer_init(&h->timer, on_timer, h);
	r = hk_socketpair(pair);
	if (r == 0) {
		h->sock = pair[0];
		theirs = pair[1];
		pid = oci_clone(&clone);
		if (pid == 0)
			run_child(e, theirs, job);
		r = pid < 0 ? pid : hk_child_watch(e->reaper, &h->child, pid, &pidfd, on_exit_of, h);
	}
	if (r < 0) {
		oci_helper_abort(h);
		return hk_fail(err, HK_INTERNAL, -r, "start %s", job->what);
	}
	hk_timer_set(e->loop, &h->timer, job->timeout_ms);
	*ret = h;
	return 0;
}

pid_t oci_helper_pid(const struct oci_helper *h)
{
	return h->child.pid;
}

void oci_helper_abort(struct oci_helper *h)
{
	if (!h)
		return;
	hk_timer_cancel(&h->timer);
	(void)hk_child_kill(&h->child, SIGKILL);
	hk_child_done(&h->child);
	(void)hk_close(h->sock);
	free(h);
}
