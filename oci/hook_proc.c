/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hook_proc.c — one hook's process. It gets the state on stdin, one pipe for stdout and stderr, a process group of
 * its own, and nothing else of the engine: no fd, no signal mask, no environment but the one configured.
 */
#include "oci/hook_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/namespaces.h"

enum { EXIT_CANNOT_EXEC = 127 };

/* In the child. The hook's own TRACEPARENT, if it was configured with one, stays. */
static char *const *with_trace(char *const *env, const char *traceparent)
{
	static const char key[] = "TRACEPARENT=";
	size_t n = 0, size = sizeof(key) + strlen(traceparent);
	char **more, *var;

	for (; env[n]; n++)
		if (hk_has_prefix(env[n], key))
			return env;
	more = calloc(n + 2, sizeof(*more));
	var = malloc(size);
	if (!more || !var)
		return env; /* it runs all the same */
	(void)hk_fmt(var, size, "%s%s", key, traceparent);
	memcpy(more, env, n * sizeof(*more));
	more[n] = var;
	return more;
}

/* What the process is born with. */
struct birth {
	const struct oci_hook *hook;
	char *const *env;
	const char *cwd, *traceparent;
	int in, out;
};

static _Noreturn void run(const struct birth *b)
{
	const struct oci_hook *h = b->hook;
	char *const none[] = { NULL };
	char *const argv0[] = { (char *)(uintptr_t)h->path, NULL };
	char *const *argv = h->args.n > 0 ? (char *const *)(uintptr_t)h->args.v : argv0;
	char *const *envp = h->env.n > 0 ? (char *const *)(uintptr_t)h->env.v : b->env ? b->env : none;
	sigset_t empty;
	char text[512];

	sigemptyset(&empty);
	(void)sigprocmask(SIG_SETMASK, &empty, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)setpgid(0, 0);
	/* It lies outside of the container's cgroup: nobody else would end it if we are killed. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* The shim keeps 0 to 2 open, so the pipes lie above and nothing is overwritten before its turn. */
	if (dup2(b->in, STDIN_FILENO) < 0 || dup2(b->out, STDOUT_FILENO) < 0 || dup2(b->out, STDERR_FILENO) < 0)
		_exit(EXIT_CANNOT_EXEC);
	if (b->traceparent && *b->traceparent)
		envp = with_trace(envp, b->traceparent);
	if (hk_cloexec_from(STDERR_FILENO + 1) == 0 && (!b->cwd || chdir(b->cwd) == 0))
		(void)execve(h->path, argv, envp);
	if (hk_fmt(text, sizeof(text), "exec %.400s: %s", h->path, strerror(errno)) > 0)
		(void)hk_write_full(STDERR_FILENO, text, strlen(text));
	_exit(EXIT_CANNOT_EXEC);
}

int oci_hook_spawn(struct oci_hook_proc *p, const struct oci_hook *h, const struct oci_hook_state *state,
    char *const *env, const char *cwd, struct hk_err *err)
{
	struct oci_clone c = { .cgroup_fd = -1, .ret_pidfd = &p->pidfd, .exit_signal = SIGCHLD };
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, r = 0;

	memset(p, 0, sizeof(*p));
	p->pidfd = p->in = p->out = -1;
	if (oci_hook_state_json(state, &p->state, &p->len) < 0)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "state for hook %s", h->path);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || hk_set_nonblock(in[1], true) < 0 ||
	    hk_set_nonblock(out[0], true) < 0)
		r = -errno;
	if (r == 0) {
		p->pid = oci_clone(&c);
		if (p->pid == 0)
			run(&(struct birth){ h, env, cwd, state->traceparent, in[0], out[1] });
		r = p->pid < 0 ? p->pid : 0;
	}
	(void)hk_close(in[0]);
	(void)hk_close(out[1]);
	p->in = in[1];
	p->out = out[0];
	if (r < 0) {
		oci_hook_close(p);
		return hk_fail(err, HK_INTERNAL, -r, "start hook %s", h->path);
	}
	(void)setpgid(p->pid, p->pid); /* both sides, so that a kill right now meets the group */
	oci_hook_feed(p);
	return 0;
}

void oci_hook_feed(struct oci_hook_proc *p)
{
	while (p->in >= 0 && p->written < p->len) {
		ssize_t n = write(p->in, p->state + p->written, p->len - p->written);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* EPIPE: it does not want the state */
		p->written += (size_t)n;
	}
	p->in = hk_close(p->in);
}

void oci_hook_drain(struct oci_hook_proc *p)
{
	char buf[1024];

	while (p->out >= 0) {
		ssize_t n = read(p->out, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			p->out = hk_close(p->out);
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			p->tail[p->n_out++ % OCI_HOOK_TAIL] = buf[i];
	}
}

void oci_hook_kill(const struct oci_hook_proc *p)
{
	if (p->pid > 0)
		(void)kill(-p->pid, SIGKILL); /* not reaped yet, so the group's number is its own */
}

void oci_hook_close(struct oci_hook_proc *p)
{
	p->in = hk_close(p->in);
	p->out = hk_close(p->out);
	p->pidfd = hk_close(p->pidfd);
	free(p->state);
	p->state = NULL;
}

const char *oci_hook_why(int status, bool was_signaled, char buf[32])
{
	(void)hk_fmt(
	    buf, 32, was_signaled ? "killed by signal %d" : "exit status %d", was_signaled ? status - 128 : status);
	return buf;
}

int oci_hook_fail(const struct oci_hook_proc *p, const char *kind, size_t index, const char *path, const char *why,
    struct hk_err *err)
{
	enum { SHOWN = 700 }; /* what an error text has room for: the end tells more than the beginning */
	size_t have = p->n_out < OCI_HOOK_TAIL ? p->n_out : OCI_HOOK_TAIL;
	size_t n = have < SHOWN ? have : SHOWN;
	char words[SHOWN + 1];

	for (size_t i = 0; i < n; i++) {
		char c = p->tail[(p->n_out - n + i) % OCI_HOOK_TAIL];

		words[i] = c == '\n' || ((unsigned char)c >= 0x20 && c != 0x7f) ? c : '?';
	}
	while (n > 0 && words[n - 1] == '\n')
		n--;
	words[n] = 0;
	return hk_fail_text(
	    err, HK_INTERNAL, ECANCELED, "%s hook[%zu] %.150s: %s%s%s", kind, index, path, why, n ? ": " : "", words);
}
