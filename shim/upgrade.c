/* SPDX-License-Identifier: Apache-2.0 */
/* shim/upgrade.c — see upgrade.h. */
#include "shim/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "proto/dispatch.h"
#include "sandbox/carry.h"
#include "shim/cmd.h"
#include "shim/conn.h"
#include "shim/convert.h"
#include "shim/events.h"
#include "shim/history.h"
#include "shim/image.h"
#include "shim/life.h"
#include "shim/node.h"
#include "shim/resume.h"
#include "shim/task.h"

enum {
	TIMEOUT_MS = 15000,     /* for what is half done to end */
	HOLD_MS = 1000,         /* so long may a request wait ... */
	BREATH_MS = 200,        /* ... before all of them have their turn */
	LOOK_MIN_MS = 1,
	LOOK_MAX_MS = 20,
	REHEARSAL_MS = 5000,
	PROGRAM_MAX = 64 << 20, /* bytes of a program that is looked at */
	CHUNK = 64 << 10,
	NS_PER_MS = 1000000
};

static const char mark[] = SHIM_TAKES_STATE HK_RECORD_FORMAT;

struct upgrade_run { /* heap */
	struct shim_upgrade *u;
	struct ttrpc_call *call; /* NULL once whoever asked has gone */
	char path[PATH_MAX];
	int image;     /* owned: the new program as nobody can write it */
	int exe;       /* owned: our own, to come back to */
	int exe_copy;  /* its number in the state that was written last */
	struct hk_timer timer; /* the next look; the rehearsal's deadline */
	uint64_t until_ns, hold_until_ns, held_ns;
	unsigned look_ms;
	bool is_rehearsed, is_held, is_late;
	struct hk_child child; /* the rehearsal */
	int verdict;           /* owned: what it says */
	char why[300];         /* what is half done */
};

static void run_free(struct upgrade_run *run)
{
	hk_timer_cancel(&run->timer);
	hk_child_done(&run->child);
	(void)hk_close(run->verdict);
	(void)hk_close(run->image);
	(void)hk_close(run->exe);
	run->u->run = NULL;
	free(run);
}

static void hold(struct upgrade_run *run, bool is_held)
{
	if (run->is_held == is_held)
		return;
	run->is_held = is_held;
	if (is_held)
		run->held_ns = hk_now_ns();
	shim_events_hold(run->u->events, is_held);
	shim_listener_hold(run->u->listener, is_held);
}

/* Everything goes on as before. */
static void give_up(struct upgrade_run *run, const struct hk_err *err)
{
	struct ttrpc_call *call = run->call;

	log_warn("upgrade refused", LOG_STR("path", run->path), LOG_STR("err", err->text));
	hold(run, false);
	run_free(run);
	if (call)
		convert_fail(call, err, NULL, NULL);
}

/* ---- the file ---- */

static int check_file(int fd, const char *path, struct hk_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "look at %s", path);
	if (!S_ISREG(st.st_mode) || !(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
		return hk_fail_text(err, HK_INVALID, EACCES, "%s is not a program", path);
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return hk_fail_text(err, HK_INVALID, EPERM, "%s can be written by others than root", path);
	/* Another group would not be let in by itself: shim/conn.c. */
	if (st.st_mode & (S_ISUID | S_ISGID))
		return hk_fail_text(err, HK_INVALID, EPERM, "%s is set-user-id or set-group-id", path);
	return st.st_size > PROGRAM_MAX ? hk_fail_text(err, HK_INVALID, EFBIG, "%s is too large to be a shim", path) : 0;
}

/* Read, not run: whatever else the file may be is not for us to find out by trying. */
static int find_mark(int fd, const char *path, struct hk_err *err)
{
	hk_autofree char *buf = malloc(CHUNK + sizeof(mark));
	size_t kept = 0;

	if (!buf)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "read %s", path);
	for (;;) {
		ssize_t n = read(fd, buf + kept, CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hk_fail(err, HK_INTERNAL, errno, "read %s", path);
		if (n == 0)
			return hk_fail_text(err, HK_INVALID, ENOEXEC, "%s is not a shim of husk's that takes a state of the format \"%s\"", path, HK_RECORD_FORMAT);
		if (memmem(buf, kept + (size_t)n, mark, sizeof(mark) - 1))
			return 0;
		n += (ssize_t)kept;
		kept = (size_t)n < sizeof(mark) ? (size_t)n : sizeof(mark);
		memmove(buf, buf + n - kept, kept);
	}
}

static int open_program(struct upgrade_run *run, struct hk_err *err)
{
	hk_autofd fd = -1;
	char link[64];
	int r;

	if (run->path[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.200s\" is not an absolute path", run->path);
	fd = open(run->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return hk_fail(err, errno == ENOENT ? HK_INVALID : HK_INTERNAL, errno, "open %s", run->path);
	r = check_file(fd, run->path, err);
	if (r == 0)
		r = find_mark(fd, run->path, err);
	if (r < 0)
		return r;
	(void)hk_fmt(link, sizeof(link), "/proc/self/fd/%d", fd);
	r = shim_image_open(link, &run->image);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "make an image of %s that nobody can write", run->path);
	run->exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	return run->exe < 0 ? hk_fail(err, HK_INTERNAL, errno, "open the program that runs now") : 0;
}

/* ---- is anything half done? ---- */

/* Calls that are made again: what they wait for is in the pod. */
static bool is_again(const char *method)
{
	return hk_streq(method, "Wait") || hk_streq(method, "WaitSandbox") || hk_streq(method, "Delete");
}

struct survey {
	const struct upgrade_run *run;
	size_t n;
	char *why;
	size_t size;
	bool is_busy;
};

static void on_pending(void *arg, const struct task_pending *p)
{
	struct survey *s = arg;

	if (ttrpc_call_is_orphan(p->call))
		return;
	s->n++;
	if (is_again(p->method) || s->is_busy)
		return;
	s->is_busy = true;
	(void)hk_fmt(s->why, s->size, "%s of %s%s%s is under way", p->method, p->id, p->exec_id[0] ? ", exec " : "", p->exec_id);
}

static bool is_quiet(struct upgrade_run *run)
{
	const struct shim_upgrade *u = run->u;
	struct survey s = { .run = run, .n = run->call ? 1 : 0, .why = run->why, .size = sizeof(run->why) };

	node_answer(u->node); /* what has no answer must be what can be made again */
	if (sbx_busy(u->pod, run->why, sizeof(run->why)))
		return false;
	task_each_pending(u->task, on_pending, &s);
	if (s.is_busy)
		return false;
	(void)hk_fmt(run->why, sizeof(run->why), "a request is under way");
	if (u->life->n_creating > 0 || s.n != u->listener->server->n_calls + u->listener->server->n_parked)
		return false;
	(void)hk_fmt(run->why, sizeof(run->why), "containerd is taking an event");
	return !u->events->is_in_flight;
}

/* ---- the state ---- */

HK_RECORD_WHOLE(struct shim_life, 352);
HK_RECORD_WHOLE(struct ttrpc_call, 96);

static void save_call(struct hk_record *to, const struct ttrpc_call *call, const char *id, const char *exec_id)
{
	const uint64_t age_ns = hk_now_ns() - call->since_ns;

	hk_record_num(to, "connection", shim_conn_number(call->session));
	hk_record_num(to, "stream", call->stream);
	hk_record_str(to, "service", call->service);
	hk_record_str(to, "method", call->method);
	hk_record_str(to, "id", id);
	hk_record_str(to, "exec_id", exec_id);
	if (call->timeout_ns > 0)
		hk_record_num(to, "timeout_ns", (uint64_t)call->timeout_ns > age_ns ? call->timeout_ns - (int64_t)age_ns : 1);
}

static void save_pending(void *arg, const struct task_pending *p)
{
	if (ttrpc_call_is_orphan(p->call))
		return;
	hk_record_begin(arg, "call");
	save_call(arg, p->call, p->id, p->exec_id);
	hk_record_end(arg);
}

static int save(struct upgrade_run *run, struct hk_record *to, struct hk_err *err)
{
	const struct shim_upgrade *u = run->u;
	int exe = fcntl(run->exe, F_DUPFD_CLOEXEC, 0), r;

	if (exe < 0)
		return hk_fail(err, HK_INTERNAL, errno, "write the state");
	run->exe_copy = exe;
	hk_record_str(to, "version", HUSK_VERSION);
	hk_record_str(to, "revision", HUSK_REVISION);
	hk_record_str(to, "program", program_invocation_name);
	hk_record_own_fd(to, "exe", &exe);
	hk_record_num(to, "held_ns", (int64_t)run->held_ns);
	hk_record_fd(to, "log", u->log_fd);
	hk_record_bool(to, "shutdown_wanted", u->life->shutdown_wanted);
	hk_record_bool(to, "lingers", u->life->lingers);
	hk_record_begin(to, "events");
	shim_events_save(u->events, to);
	hk_record_end(to);
	hk_record_begin(to, "history");
	shim_history_save(u->history, to);
	hk_record_end(to);
	shim_listener_save(u->listener, to);
	task_each_pending(u->task, save_pending, to);
	if (run->call) {
		hk_record_begin(to, "asked");
		save_call(to, run->call, NULL, NULL);
		hk_record_end(to);
	}
	hk_record_begin(to, "pod");
	r = sbx_pod_save(u->pod, to, err);
	hk_record_end(to);
	return r;
}

static int save_to_memory(struct upgrade_run *run, struct hk_record *rec, int *ret_fd, struct hk_err *err)
{
	int r = save(run, rec, err);

	if (r < 0)
		return r;
	r = hk_record_memfd(rec, "husk-state", ret_fd);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write the state") : 0;
}

/* ---- execve ---- */

static int let_through(const struct hk_record *rec, int state, bool is_through)
{
	const int flags = is_through ? 0 : FD_CLOEXEC;
	int r = fcntl(state, F_SETFD, flags) < 0 ? -errno : 0;

	for (size_t i = 0; i < rec->n_fds; i++)
		if (fcntl(rec->fds[i], F_SETFD, flags) < 0)
			r = -errno;
	return r;
}

/* Only returns when there was no execve. */
static void leave(struct upgrade_run *run)
{
	hk_auto(hk_record_done) struct hk_record rec = { 0 };
	hk_autofd state = -1;
	struct hk_err err;
	int r = save_to_memory(run, &rec, &state, &err);

	if (r == 0) {
		log_info("upgrade: the new program takes over", LOG_STR("path", run->path), LOG_INT("state_bytes", rec.text.n));
		r = let_through(&rec, state, true);
		if (r == 0)
			r = shim_resume_exec(run->image, run->path, run->u->flags, &(const struct shim_resume_fds){ .state = state, .exe = run->exe_copy, .verdict = -1 });
		(void)let_through(&rec, state, false);
		(void)hk_fail(&err, HK_INTERNAL, -r, "execute %s", run->path);
	}
	give_up(run, &err);
}

/* ---- the rehearsal ---- */

static void look(void *owner);

static int read_verdict(const struct upgrade_run *run, const struct hk_exit *x, struct hk_err *err)
{
	char text[sizeof(err->text)] = "";
	const ssize_t n = read(run->verdict, text, sizeof(text) - 1);

	if (run->is_late)
		return hk_fail_text(err, HK_DEADLINE, ETIMEDOUT, "%s did not take the state within %d s", run->path, REHEARSAL_MS / 1000);
	if (n > 0 && hk_streq(text, SHIM_RESUME_OK) && x->status == 0)
		return 0;
	if (n > 0)
		return hk_fail_text(err, HK_INVALID, EPROTO, "%s cannot take the state: %.700s", run->path, text);
	return hk_fail_text(err, HK_INVALID, EPROTO, "%s cannot take the state: it ended with status %d", run->path, x->status);
}

static void on_rehearsed(void *owner, const struct hk_exit *x)
{
	struct upgrade_run *run = owner;
	struct hk_err err;

	if (read_verdict(run, x, &err) < 0) {
		give_up(run, &err);
		return;
	}
	hk_child_done(&run->child);
	run->verdict = hk_close(run->verdict);
	run->is_rehearsed = true;
	run->look_ms = LOOK_MIN_MS;
	hk_timer_cancel(&run->timer);
	hk_timer_init(&run->timer, look, run);
	hk_timer_set(run->u->loop, &run->timer, 0); /* after what else has come in this turn */
}

static void on_rehearsal_late(void *owner)
{
	struct upgrade_run *run = owner;

	run->is_late = true;
	(void)hk_child_kill(&run->child, SIGKILL);
}

static _Noreturn void act(const struct upgrade_run *run, const struct hk_record *rec, const struct shim_resume_fds *fds)
{
	char text[64];
	int r = let_through(rec, fds->state, true);

	if (r == 0 && fcntl(fds->verdict, F_SETFD, 0) < 0)
		r = -errno;
	if (r == 0)
		r = shim_resume_exec(run->image, run->path, run->u->flags, fds);
	if (hk_fmt(text, sizeof(text), "execute it: %s", hk_errno_name(-r)) > 0)
		(void)hk_write_full(fds->verdict, text, strlen(text));
	_exit(1);
}

/* With descriptors of its own, on our memory until execve. */
static pid_t give_birth(const struct upgrade_run *run, const struct hk_record *rec, const struct shim_resume_fds *fds)
{
	pid_t pid = vfork();

	if (pid == 0)
		act(run, rec, fds);
	return pid;
}

static int rehearse(struct upgrade_run *run, struct hk_err *err)
{
	hk_auto(hk_record_done) struct hk_record rec = { 0 };
	hk_autofd state = -1, said = -1;
	int pipefd[2], pidfd, r = save_to_memory(run, &rec, &state, err);
	pid_t pid;

	if (r < 0)
		return r;
	if (pipe2(pipefd, O_CLOEXEC | O_NONBLOCK) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make a pipe");
	run->verdict = pipefd[0];
	said = pipefd[1];
	pid = give_birth(run, &rec, &(const struct shim_resume_fds){ .state = state, .exe = run->exe_copy, .verdict = said });
	if (pid < 0)
		return hk_fail(err, HK_INTERNAL, errno, "fork the rehearsal");
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = pidfd < 0 ? -errno : hk_child_watch(run->u->reaper, &run->child, pid, &pidfd, on_rehearsed, run);
	if (r < 0) {
		(void)kill(pid, SIGKILL); /* our unreaped child: the number is its */
		return hk_fail(err, HK_INTERNAL, -r, "watch the rehearsal");
	}
	hk_timer_init(&run->timer, on_rehearsal_late, run);
	hk_timer_set(run->u->loop, &run->timer, REHEARSAL_MS);
	return 0;
}

/* ---- the way there ---- */

static void wait_on(struct upgrade_run *run)
{
	const uint64_t now = hk_now_ns();
	struct hk_err err;

	if (now >= run->until_ns) {
		(void)hk_fail_text(&err, HK_DEADLINE, EBUSY, "still busy: %s", run->why);
		give_up(run, &err);
		return;
	}
	if (now >= run->hold_until_ns) {
		hold(run, false);
		run->look_ms = LOOK_MIN_MS;
		hk_timer_set(run->u->loop, &run->timer, BREATH_MS);
		return;
	}
	hk_timer_set(run->u->loop, &run->timer, run->look_ms);
	run->look_ms = run->look_ms * 2 > LOOK_MAX_MS ? LOOK_MAX_MS : run->look_ms * 2;
}

static void look(void *owner)
{
	struct upgrade_run *run = owner;
	struct hk_err err;

	if (run->u->life->is_ending) {
		(void)hk_fail_text(&err, HK_UNAVAILABLE, ESHUTDOWN, "shim is shutting down");
		give_up(run, &err);
		return;
	}
	if (!run->is_held) {
		hold(run, true);
		run->hold_until_ns = hk_now_ns() + HOLD_MS * (uint64_t)NS_PER_MS;
	}
	if (!is_quiet(run))
		wait_on(run);
	else if (run->is_rehearsed)
		leave(run);
	else if (rehearse(run, &err) < 0)
		give_up(run, &err);
}

static void on_orphan(void *arg, struct ttrpc_call *call)
{
	struct upgrade_run *run = arg;

	run->call = NULL; /* the upgrade goes on */
	ttrpc_call_fail(call, TTRPC_CANCELED, "connection closed");
}

static struct upgrade_run *run_new(struct shim_upgrade *u, const struct shim_upgrade_request *r)
{
	struct upgrade_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->u = u;
	run->image = run->exe = run->verdict = -1;
	run->look_ms = LOOK_MIN_MS;
	run->until_ns = hk_now_ns() + (r->timeout_ms ? r->timeout_ms : TIMEOUT_MS) * NS_PER_MS;
	hk_child_init(&run->child);
	hk_timer_init(&run->timer, look, run);
	u->run = run;
	return run;
}

void shim_upgrade(struct shim_upgrade *u, struct ttrpc_call *call, const struct shim_upgrade_request *r)
{
	struct upgrade_run *run = u->run ? NULL : run_new(u, r);
	struct hk_err err;

	if (!run) {
		ttrpc_call_fail(call, u->run ? TTRPC_FAILED_PRECONDITION : TTRPC_RESOURCE_EXHAUSTED,
		    u->run ? "an upgrade is under way" : "out of memory");
		return;
	}
	run->call = call;
	if (hk_fmt(run->path, sizeof(run->path), "%s", r->path) < 0)
		(void)hk_fail_text(&err, HK_INVALID, ENAMETOOLONG, "the path of the program is too long");
	else if (open_program(run, &err) == 0) {
		ttrpc_call_park(call);
		ttrpc_call_on_orphan(call, on_orphan, run);
		hk_timer_set(u->loop, &run->timer, 0); /* outside of every handler */
		return;
	}
	give_up(run, &err);
}

void shim_upgrade_done(struct shim_upgrade *u)
{
	struct hk_err err;

	if (!u->run)
		return;
	(void)hk_fail_text(&err, HK_UNAVAILABLE, ESHUTDOWN, "shim is shutting down");
	give_up(u->run, &err);
}
