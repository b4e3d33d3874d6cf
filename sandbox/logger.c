/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/logger.c — binary:// and binary-v2:// loggers, as containerd defines them (pkg/shim's logging.Run on the other side): fd 3 is
 * the process's stdout, fd 4 its stderr, fd 5 is closed or written to when the logger is ready; nothing else is open but /dev/null on 0-2,
 * and the environment has two variables. Its end is Delete's: the input ends, what is in the pipes is left to it, then SIGTERM, then SIGKILL. So
 * the log is whole when Delete is answered, and nothing stays behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/stdio_priv.h"

enum {
	READY_MS = 30000,
	LAST_READ_MS = 1000, /* to read what is in the pipes */
	PIPE_BYTES = 256 << 10,
	LAST_WORD_MS = 250,  /* after that, to see the end of it and go */
	TERM_MS = 12000,
	LOOK_MAX_MS = 50,
	MAX_ARGS = 128
};

struct logger {
	struct hk_loop *loop;
	struct hk_child child;
	struct hk_source ready;
	struct hk_timer timer; /* for readiness, later for the end */
	int ready_fd;          /* owned until it is ready */
	int input[2];          /* owned: our own write ends, so that only Delete is the end of the output; then read ends, to see what is left */
	bool must_call_ready, is_ending, is_killed;
	uint64_t term_ns;      /* is_ending: when it gets SIGTERM at the latest */
	uint32_t look_ms;
	sbx_stdio_ready_fn *fn;    /* NULL once told */
	logger_end_fn *ended;
	void *owner;
};

static void on_ready(void *owner, uint32_t events);
static void on_unready(void *owner);

static struct logger *logger_new(struct hk_loop *loop)
{
	struct logger *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->loop = loop;
	l->ready_fd = l->input[0] = l->input[1] = -1;
	hk_child_init(&l->child);
	hk_source_init(&l->ready, HK_PASS_RPC, on_ready, l);
	hk_timer_init(&l->timer, on_unready, l);
	return l;
}

static void logger_free(struct logger *l)
{
	hk_source_del(l->loop, &l->ready);
	hk_timer_cancel(&l->timer);
	hk_child_done(&l->child);
	(void)hk_close(l->ready_fd);
	(void)hk_close(l->input[0]);
	(void)hk_close(l->input[1]);
	free(l);
}

/* ---- readiness ---- */

static void tell(struct logger *l, const struct hk_err *err)
{
	sbx_stdio_ready_fn *fn = l->fn;

	hk_source_del(l->loop, &l->ready);
	hk_timer_cancel(&l->timer);
	l->ready_fd = hk_close(l->ready_fd);
	l->fn = NULL;
	if (fn)
		fn(l->owner, err);
}

static void on_ready(void *owner, uint32_t events)
{
	struct logger *l = owner;
	struct hk_err err;
	char byte;
	ssize_t n = read(l->ready_fd, &byte, 1);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 && l->must_call_ready) {
		(void)hk_fail_text(&err, HK_INTERNAL, EPIPE, "logging binary did not call ready");
		tell(l, &err);
		return;
	}
	tell(l, NULL);
}

static void on_unready(void *owner)
{
	struct logger *l = owner;
	struct hk_err err;

	(void)hk_fail_text(&err, HK_DEADLINE, ETIMEDOUT, "logging binary was not ready within %d s", READY_MS / 1000);
	tell(l, &err);
}

/* ---- the end ---- */

static void on_exit_of(void *owner, const struct hk_exit *x)
{
	struct logger *l = owner;
	logger_end_fn *ended = l->ended;
	void *arg = l->owner;

	(void)x; /* not a container's exit: no event */
	if (!l->is_ending && !l->is_killed)
		return;
	logger_free(l);
	if (ended)
		ended(arg);
}

static void on_term_over(void *owner)
{
	struct logger *l = owner;

	(void)hk_child_kill(&l->child, SIGKILL);
}

static bool has_input(const struct logger *l)
{
	int n;

	for (int i = 0; i < 2; i++)
		if (l->input[i] >= 0 && ioctl(l->input[i], FIONREAD, &n) == 0 && n > 0)
			return true;
	return false;
}

/* No poll event tells that somebody else has read a pipe empty. */
static void on_look(void *owner)
{
	struct logger *l = owner;
	const uint64_t now = hk_now_ns(), soon = now + LAST_WORD_MS * 1000000ULL;

	if (now >= l->term_ns) {
		(void)hk_child_kill(&l->child, SIGTERM);
		hk_timer_init(&l->timer, on_term_over, l);
		hk_timer_set(l->loop, &l->timer, TERM_MS);
		return;
	}
	if (!has_input(l) && l->term_ns > soon)
		l->term_ns = soon;
	hk_timer_set(l->loop, &l->timer, l->look_ms);
	l->look_ms = l->look_ms * 2 > LOOK_MAX_MS ? LOOK_MAX_MS : l->look_ms * 2;
}

static int read_end(int fd)
{
	char path[32];

	(void)hk_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* Nobody is told that it is ready any more. */
static void disarm(struct logger *l)
{
	l->fn = NULL;
	hk_source_del(l->loop, &l->ready);
	hk_timer_cancel(&l->timer);
	l->ready_fd = hk_close(l->ready_fd);
}

static bool is_alive(const struct logger *l)
{
	return l->child.pid != 0 && !l->child.is_dead;
}

void logger_end(struct logger *l, logger_end_fn *fn, void *owner)
{
	if (l->is_ending)
		return;
	disarm(l);
	for (int i = 0; i < 2; i++) {
		int fd = l->input[i] < 0 ? -1 : read_end(l->input[i]);

		(void)hk_close(l->input[i]);
		l->input[i] = fd;
	}
	l->is_ending = true;
	if (!is_alive(l)) {
		logger_free(l);
		fn(owner);
		return;
	}
	l->ended = fn;
	l->owner = owner;
	l->look_ms = 1;
	l->term_ns = hk_now_ns() + LAST_READ_MS * 1000000ULL;
	hk_timer_init(&l->timer, on_look, l);
	on_look(l);
}

void logger_kill(struct logger *l)
{
	if (!l)
		return;
	disarm(l);
	l->is_killed = true;
	l->ended = NULL;
	if (hk_child_kill(&l->child, SIGKILL) < 0)
		logger_free(l);
}

void logger_forget(struct logger *l)
{
	if (l)
		logger_free(l);
}

/* ---- an upgrade of the shim ---- */

const char *logger_busy(const struct logger *l)
{
	if (!l)
		return NULL;
	if (l->fn || l->ready_fd >= 0)
		return "its logging binary is not ready yet";
	return l->is_ending || l->is_killed ? "its logging binary is ending" : NULL;
}

void logger_save(const struct logger *l, struct hk_record *to)
{
	if (!l)
		return;
	hk_record_begin(to, "logger");
	carry_child(to, &l->child);
	hk_record_fd(to, "stdout", l->input[0]);
	hk_record_fd(to, "stderr", l->input[1]);
	hk_record_end(to);
}

int logger_load(const struct sbx_pod *p, const struct hk_value *from, struct logger **ret)
{
	const struct hk_value *child = hk_value_need(from, "child");
	struct logger *l = logger_new(p->loop);

	if (!l)
		return -ENOMEM;
	l->input[0] = hk_value_fd_or(from, "stdout");
	l->input[1] = hk_value_fd_or(from, "stderr");
	*ret = l;
	return child ? carry_read_child(p->reaper, child, &l->child, on_exit_of, l) : 0;
}

/* ---- the command line ---- */

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A URL's text without its escapes. */
static char *unescape(struct hk_arena *a, const char *s, size_t len, bool is_query)
{
	char *out = hk_arena_alloc(a, len + 1), *to = out;

	for (size_t i = 0; out && i < len; i++) {
		int hi = s[i] == '%' && i + 2 < len ? hex_of(s[i + 1]) : -1;
		int lo = hi >= 0 ? hex_of(s[i + 2]) : -1;

		if (lo >= 0) {
			*to++ = (char)(hi * 16 + lo);
			i += 2;
		} else {
			*to++ = is_query && s[i] == '+' ? ' ' : s[i];
		}
	}
	return out;
}

/* argv: the path, then for each key of the query in its order the key and its first value. */
static int make_argv(struct hk_arena *a, const char *uri, char *argv[MAX_ARGS])
{
	size_t path_len = strcspn(uri, "?#"), n = 0;
	const char *q = uri[path_len] == '?' ? uri + path_len + 1 : "";

	argv[n++] = unescape(a, uri, path_len, false);
	if (!argv[0])
		return -ENOMEM;
	while (*q && *q != '#') {
		size_t len = strcspn(q, "&#"), key_len = strcspn(q, "=&#");
		bool is_known = false;
		char *key = unescape(a, q, key_len, true);
		char *value = key_len < len ? unescape(a, q + key_len + 1, len - key_len - 1, true) : unescape(a, "", 0, true);

		if (!key || !value)
			return -ENOMEM;
		for (size_t i = 1; i + 1 < n; i += 2)
			is_known = is_known || strcmp(argv[i], key) == 0;
		if (len > 0 && !is_known) {
			if (n + 3 > MAX_ARGS)
				return -E2BIG;
			argv[n++] = key;
			argv[n++] = value;
		}
		q += len;
		if (*q == '&')
			q++;
	}
	argv[n] = NULL;
	return 0;
}

/* ---- spawning ---- */

static int spawn(char *const argv[], char *const env[], const int fds[3], pid_t *ret)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (posix_spawn_file_actions_init(&fa) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&at) != 0) {
		(void)posix_spawn_file_actions_destroy(&fa);
		return -ENOMEM;
	}
	r = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	for (int i = 1; r == 0 && i < 3; i++)
		r = posix_spawn_file_actions_adddup2(&fa, 0, i);
	for (int i = 0; r == 0 && i < 3; i++)
		r = posix_spawn_file_actions_adddup2(&fa, fds[i], 3 + i);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&at, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&at, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (r == 0)
		r = posix_spawn(ret, argv[0], &fa, &at, argv, env);
	(void)posix_spawn_file_actions_destroy(&fa);
	(void)posix_spawnattr_destroy(&at);
	return -r;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = hk_close(fds[i]);
}

/* A pipe; the end that the logger gets is above 10, out of the way of the places 3 to 5 it is put on. */
static int make_pipe(int theirs, int fds[2])
{
	int high, r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	high = fcntl(fds[theirs], F_DUPFD_CLOEXEC, 10);
	r = high < 0 ? -errno : 0;
	(void)hk_close(fds[theirs]);
	fds[theirs] = high;
	if (r < 0)
		fds[!theirs] = hk_close(fds[!theirs]);
	return r;
}

/* With the 64 KiB that a pipe has by itself a writer and a logger that move as much at a time take turns in sleeping. */
static int make_output_pipe(int fds[2])
{
	int r = make_pipe(0, fds);

	if (r == 0)
		(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* EPERM, EBUSY: it stays as it is */
	return r;
}

/* fds: stdout, stderr and readiness, each [read, write]. */
static int make_pipes(int fds[3][2])
{
	int r = make_output_pipe(fds[0]);

	if (r == 0)
		r = make_output_pipe(fds[1]);
	if (r == 0)
		r = make_pipe(1, fds[2]);
	if (r == 0)
		r = hk_set_nonblock(fds[2][0], true);
	return r;
}

static int start(struct logger *l, const struct logger_opts *o, int fds[3][2], struct hk_err *err)
{
	hk_auto(hk_arena_done) struct hk_arena a = { 0 };
	const int theirs[3] = { fds[0][0], fds[1][0], fds[2][1] };
	char *argv[MAX_ARGS], *env[3] = { NULL };
	int r = make_argv(&a, o->uri, argv), pidfd;
	pid_t pid;

	if (r < 0)
		return hk_fail(err, HK_INVALID, -r, "arguments of logging binary %s", o->uri);
	env[0] = hk_arena_printf(&a, "CONTAINER_ID=%s", o->id);
	env[1] = hk_arena_printf(&a, "CONTAINER_NAMESPACE=%s", o->ns);
	if (!env[0] || !env[1])
		return hk_fail(err, HK_INTERNAL, ENOMEM, "environment of logging binary %s", argv[0]);
	r = spawn(argv, env, theirs, &pid);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "start logging binary %s", argv[0]);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = pidfd < 0 ? -errno : hk_child_watch(o->reaper, &l->child, pid, &pidfd, on_exit_of, l);
	if (r < 0) {
		(void)kill(pid, SIGKILL); /* our unreaped child: the number is its */
		return hk_fail(err, HK_INTERNAL, -r, "watch logging binary %s", argv[0]);
	}
	return 0;
}

int logger_spawn(const struct logger_opts *o, int ret_out[2], struct logger **ret, struct hk_err *err)
{
	int fds[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, r = make_pipes(fds);
	struct logger *l = r < 0 ? NULL : logger_new(o->loop);

	if (!l) {
		close_all(&fds[0][0], 6);
		return hk_fail(err, HK_INTERNAL, r < 0 ? -r : ENOMEM, "pipes of a logging binary");
	}
	l->must_call_ready = o->must_call_ready;
	l->fn = o->fn;
	l->owner = o->owner;
	r = start(l, o, fds, err);
	close_all(&fds[2][1], 1);
	for (int i = 0; r == 0 && i < 2; i++) {
		l->input[i] = fcntl(fds[i][1], F_DUPFD_CLOEXEC, 0);
		if (l->input[i] < 0)
			r = hk_fail(err, HK_INTERNAL, errno, "keep a logging binary's input");
	}
	if (r == 0) {
		l->ready_fd = hk_take_fd(&fds[2][0]);
		r = hk_source_add(l->loop, &l->ready, l->ready_fd, EPOLLIN);
		if (r < 0)
			(void)hk_fail(err, HK_INTERNAL, -r, "watch a logging binary");
	}
	if (r < 0) {
		close_all(&fds[0][0], 6);
		logger_kill(l);
		return r;
	}
	close_all(&fds[0][0], 1);
	close_all(&fds[1][0], 1);
	hk_timer_set(l->loop, &l->timer, READY_MS);
	ret_out[0] = fds[0][1];
	ret_out[1] = fds[1][1];
	*ret = l;
	return 0;
}
