/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_compile.c — runs oci_seccomp_build in a child, so that neither its time nor its memory is the shim's,
 * and waits on the loop. The program comes back through the cache file; an error comes by a message of oci/sync.h.
 */
#include <errno.h>
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
#include "oci/seccomp.h"
#include "oci/sync.h"

struct oci_seccomp_compile {
	const struct oci_engine *engine;
	int sock; /* owned */
	struct hk_child child;
	struct hk_timer timer;
	bool is_late;
	oci_seccomp_fn *fn;
	void *arg;
};

static _Noreturn void run_child(int sock, const struct oci_engine *e, const struct oci_seccomp *s)
{
	struct oci_bpf bpf = { 0 };
	struct hk_err err = { 0 };
	char key[65];
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)prctl(PR_SET_NAME, "husk:seccomp", 0, 0, 0);
	r = oci_seccomp_build(s, &bpf, &err);
	if (r == 0) {
		r = oci_seccomp_key(s, key);
		r = r < 0 ? hk_fail(&err, HK_INTERNAL, -r, "linux.seccomp")
			  : oci_seccomp_cache_write(e->run_dir, key, &bpf, &err);
	}
	if (r < 0)
		oci_sync_fail(sock, OCI_STEP_SECCOMP, -1, &err);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void on_exit_of(void *owner, const struct hk_exit *x)
{
	struct oci_seccomp_compile *c = owner;
	oci_seccomp_fn *fn = c->fn;
	void *arg = c->arg;
	hk_autofd fd = -1;
	struct oci_msg m;
	struct hk_err err;
	bool ok = x->status == 0 && !x->was_signaled;

	if (!ok && oci_sync_recv(c->sock, &m, &fd, MSG_DONTWAIT) == 1 && m.type == OCI_MSG_FAILED)
		oci_sync_to_err(&m, &err);
	else if (!ok && c->is_late)
		(void)hk_fail_text(
		    &err, HK_DEADLINE, ETIMEDOUT, "compiling the seccomp profile did not finish in time");
	else if (!ok)
		(void)hk_fail_text(
		    &err, HK_INTERNAL, EIO, "compiling the seccomp profile ended with status %d", x->status);
	oci_seccomp_compile_abort(c);
	fn(arg, ok ? NULL : &err);
}

static void on_timer(void *owner)
{
	struct oci_seccomp_compile *c = owner;

	c->is_late = true;
	(void)hk_child_kill(&c->child, SIGKILL);
}

int oci_seccomp_compile(const struct oci_engine *e, const struct oci_seccomp *s, oci_seccomp_fn *fn, void *arg,
    struct oci_seccomp_compile **ret, struct hk_err *err)
{
	struct oci_seccomp_compile *c = calloc(1, sizeof(*c));
	hk_autofd pidfd = -1, theirs = -1;
	struct oci_clone clone = { .cgroup_fd = -1, .ret_pidfd = &pidfd, .exit_signal = SIGCHLD };
	int pair[2], r;
	pid_t pid;

	if (!c)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "compile the seccomp profile");
	*c = (struct oci_seccomp_compile){ .engine = e, .sock = -1, .fn = fn, .arg = arg };
	hk_child_init(&c->child);
	hk_timer_init(&c->timer, on_timer, c);
	r = hk_socketpair(pair);
	if (r == 0) {
		c->sock = pair[0];
		theirs = pair[1];
		pid = oci_clone(&clone);
		if (pid == 0)
			run_child(theirs, e, s);
		r = pid < 0 ? pid : hk_child_watch(e->reaper, &c->child, pid, &pidfd, on_exit_of, c);
	}
	if (r < 0) {
		oci_seccomp_compile_abort(c);
		return hk_fail(err, HK_INTERNAL, -r, "start compiling the seccomp profile");
	}
	hk_timer_set(e->loop, &c->timer, OCI_SECCOMP_TIMEOUT_MS);
	*ret = c;
	return 0;
}

void oci_seccomp_compile_abort(struct oci_seccomp_compile *c)
{
	hk_timer_cancel(&c->timer);
	(void)hk_child_kill(&c->child, SIGKILL);
	hk_child_done(&c->child);
	(void)hk_close(c->sock);
	free(c);
}
