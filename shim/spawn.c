/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/spawn.c — fork, set up, execveat of an image that nobody can write. The server answers through a pipe: one zero byte, or a text, or (death) nothing.
 */
#include "shim/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "oci/oci.h"
#include "shim/cmd.h"
#include "shim/image.h"

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif
#ifndef PR_SCHED_CORE_CREATE
#define PR_SCHED_CORE_CREATE 1
#endif
enum { READY_TIMEOUT_MS = 10000, FIRST_FREE_FD = 10, OOM_SCORE_MAX = 1000, SCHED_CORE_PROCESS_GROUP = 2 };

/* What the child needs, made before the fork. */
struct launch {
	const struct shim_spawn *spawn;
	int image;     /* owned */
	int ready;     /* owned; the pipe's write end */
	int oom_score; /* to set; below -1000 = leave */
	char self[4096];
	struct oci_cgroup *cgroup; /* owned; NULL = stay */
	char pod_leaf[4096];       /* "" = none: ShimCgroup "pod" */
	bool is_pod_later;
};

static void launch_done(struct launch *l)
{
	l->image = hk_close(l->image);
	l->ready = hk_close(l->ready);
	oci_cgroup_free(l->cgroup);
}

static int parent_oom_score(void)
{
	char path[64], text[32];
	int64_t score;

	if (hk_fmt(path, sizeof(path), "/proc/%d/oom_score_adj", (int)getppid()) < 0 ||
	    hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) <= 0 || hk_parse_i64(text, &score) < 0)
		return -OOM_SCORE_MAX - 1;
	return score < OOM_SCORE_MAX ? (int)score + 1 : OOM_SCORE_MAX;
}

static bool has_document(const char *bundle)
{
	char path[4096];

	return hk_fmt(path, sizeof(path), "%s/config.json", bundle) > 0 && access(path, F_OK) == 0;
}

static int prepare(const struct shim_spawn *s, struct launch *ret, struct hk_err *err)
{
	ssize_t n = readlink("/proc/self/exe", ret->self, sizeof(ret->self) - 1);
	int r;

	ret->spawn = s;
	/* "/" is what a server run from the clone sees; only a whole path helps a reader of ps. */
	if (n <= 1)
		(void)hk_fmt(ret->self, sizeof(ret->self), SHIM_PROGRAM);
	else
		ret->self[n] = '\0';
	ret->oom_score = parent_oom_score();
	ret->is_pod_later = hk_streq(s->shim_cgroup, "pod") && !has_document(s->bundle);
	if (ret->is_pod_later) {
		r = 0; /* a pod without a pause image: CreateSandbox says where (shim/sandbox_svc.c) */
	} else if (hk_streq(s->shim_cgroup, "pod")) {
		r = oci_shim_cgroup_path(s->bundle, s->group, ret->pod_leaf, sizeof(ret->pod_leaf), err);
		if (r < 0)
			return r;
	} else if (s->shim_cgroup && s->shim_cgroup[0]) {
		r = oci_cgroup_open(s->shim_cgroup, s->id, &ret->cgroup, err);
		if (r < 0)
			return hk_wrap(err, "shim cgroup");
	}
	r = shim_image_open("/proc/self/exe", &ret->image);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make an image of %s that nobody can write", SHIM_PROGRAM) : 0;
}

/* ---- the child ---- */

static int place(const struct launch *l, struct hk_err *err)
{
	char text[16];
	int r;

	/* Refused without CAP_SYS_RESOURCE when it would lower the value: then the daemon's own value stays, which is no harm. */
	if (l->oom_score >= -OOM_SCORE_MAX && hk_fmt(text, sizeof(text), "%d", l->oom_score) > 0)
		(void)hk_write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
	if (l->cgroup) {
		r = oci_cgroup_enter(l->cgroup, 0, false, err);
		if (r < 0)
			return hk_wrap(err, "shim cgroup %s", l->spawn->shim_cgroup);
	}
	if (l->pod_leaf[0]) {
		r = oci_shim_cgroup_enter(l->pod_leaf, err);
		if (r < 0)
			return r;
	}
	/* containerd sets it when sched_core is on: a core scheduling cookie for the pod. */
	if (getenv("SCHED_CORE") && prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCHED_CORE_PROCESS_GROUP, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "enable core scheduling");
	return 0;
}

/* Each goes to its place over a free number, since it may stand where another must go. */
static int arrange_fds(int listener, int ready, int image, struct hk_err *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open /dev/null");
	null = fcntl(null, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	listener = fcntl(listener, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	if (null < 0 || listener < 0 || ready < 0)
		return hk_fail(err, HK_INTERNAL, errno, "arrange file descriptors");
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "arrange file descriptors");
	if (dup2(listener, SHIM_FD_LISTENER) < 0 || dup2(ready, SHIM_FD_READY) < 0 || dup2(image, SHIM_FD_IMAGE) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "arrange file descriptors");
	return hk_cloexec_from(SHIM_FD_IMAGE + 1);
}

static char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

static int run(const struct launch *l, int image, struct hk_err *err)
{
	const struct shim_spawn *s = l->spawn;
	char *argv[] = { word(l->self), word("-namespace"), word(s->ns), word("-id"), word(s->id), word("-address"),
		word(s->address), word("-group"), word(s->group), word("-bundle"), word(s->bundle),
		NULL, NULL, NULL };
	int n = 11;

	if (s->debug)
		argv[n++] = word("-debug");
	if (l->is_pod_later)
		argv[n++] = word("-pod-cgroup");

	(void)syscall(SYS_execveat, image, "", argv, environ, AT_EMPTY_PATH);
	return hk_fail(err, HK_INTERNAL, errno, "execute %s", l->self);
}

static _Noreturn void child(const struct launch *l)
{
	struct hk_err err = { 0 };
	/* Copies out of the way of the fds that the server is born with. */
	int image = fcntl(l->image, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	int ready = fcntl(l->ready, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (place(l, &err) == 0 && arrange_fds(l->spawn->listener, ready, image, &err) == 0)
		(void)run(l, image, &err);
	(void)hk_write_full(ready, err.text, strlen(err.text));
	_exit(1);
}

/* ---- the parent ---- */

/* Without a copy of our memory: there is nothing for us to do until the server's image has taken its place. */
static pid_t give_birth(const struct launch *l)
{
	pid_t pid = vfork();

	if (pid == 0)
		child(l);
	return pid;
}

struct await {
	struct hk_loop loop;
	struct hk_reaper reaper;
	struct hk_child child;
	struct hk_source src;
	struct hk_timer deadline;
	int fd; /* borrowed; the pipe's read end */
	char text[sizeof(((struct hk_err *)NULL)->text)];
	size_t len;
	bool serves, is_dead, is_late;
	int code; /* of a failed read */
	struct hk_exit exit;
};

/* It can say no more: it is ending, or will never be of use. */
static void lose(struct await *a, int code)
{
	if (code == EINTR)
		return;
	a->code = code;
	hk_source_del(&a->loop, &a->src);
	(void)hk_child_kill(&a->child, SIGKILL);
}

static void on_ready(void *owner, uint32_t events)
{
	struct await *a = owner;
	ssize_t n = read(a->fd, a->text + a->len, sizeof(a->text) - 1 - a->len);

	(void)events;
	if (n > 0 && a->text[0] == '\0')
		a->serves = true;
	else if (n > 0)
		a->len += (size_t)n;
	else
		lose(a, n < 0 ? errno : 0);
}

static void on_death(void *owner, const struct hk_exit *x)
{
	struct await *a = owner;

	a->is_dead = true;
	a->exit = *x;
}

static void on_deadline(void *owner)
{
	struct await *a = owner;

	a->is_late = true;
	(void)hk_child_kill(&a->child, SIGKILL);
}

static int await_init(struct await *a, pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int r;

	a->fd = fd;
	hk_child_init(&a->child);
	hk_source_init(&a->src, HK_PASS_IO, on_ready, a);
	hk_timer_init(&a->deadline, on_deadline, a);
	if (pidfd < 0)
		return -errno;
	r = hk_loop_init(&a->loop);
	if (r < 0) {
		hk_close(pidfd);
		return r;
	}
	hk_reaper_init(&a->reaper, &a->loop);
	r = hk_child_watch(&a->reaper, &a->child, pid, &pidfd, on_death, a);
	if (r == 0)
		r = hk_source_add(&a->loop, &a->src, fd, EPOLLIN);
	if (r == 0)
		hk_timer_set(&a->loop, &a->deadline, READY_TIMEOUT_MS);
	return r;
}

static int await_verdict(const struct await *a, struct hk_err *err)
{
	if (a->serves)
		return 0;
	if (a->is_late)
		return hk_fail_text(err, HK_DEADLINE, ETIMEDOUT, "server did not start within %d ms", READY_TIMEOUT_MS);
	if (a->len > 0)
		return hk_fail_text(err, HK_INTERNAL, EIO, "start server: %s", a->text);
	if (a->code)
		return hk_fail(err, HK_INTERNAL, a->code, "hear from the server");
	return hk_fail_text(err, HK_INTERNAL, EIO, "server ended at start with status %d", a->exit.status);
}

/* Bytes come before the death in a batch (HK_PASS_IO), so a text is whole when the death is seen. */
int shim_spawn_await(struct shim_birth *b, struct hk_err *err)
{
	struct await a = { .loop = { .epfd = -1 } };
	hk_autofd ready = hk_take_fd(&b->ready);
	int r = await_init(&a, b->pid, ready);

	while (r == 0 && !a.serves && !a.is_dead)
		r = hk_loop_once(&a.loop, -1);
	if (r < 0)
		(void)kill(b->pid, SIGKILL);
	r = r < 0 ? hk_fail(err, HK_INTERNAL, -r, "watch the server") : await_verdict(&a, err);
	hk_child_done(&a.child);
	if (a.loop.epfd >= 0)
		hk_loop_done(&a.loop);
	return r;
}

int shim_spawn(const struct shim_spawn *s, struct shim_birth *ret, struct hk_err *err)
{
	hk_auto(launch_done) struct launch l = { .image = -1, .ready = -1 };
	int pipefd[2];
	int r;

	r = prepare(s, &l, err);
	if (r < 0)
		return r;
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make pipe");
	ret->ready = pipefd[0];
	l.ready = pipefd[1];
	ret->pid = give_birth(&l);
	if (ret->pid < 0) {
		r = hk_fail(err, HK_INTERNAL, errno, "fork the server");
		ret->ready = hk_close(ret->ready);
	}
	return r;
}

void shim_spawn_ready(int *take_fd, const char *text)
{
	hk_autofd fd = hk_take_fd(take_fd);

	if (fd < 0)
		return;
	/* When `start` was killed meanwhile nobody reads this; the idle rule decides about us then. */
	(void)hk_write_full(fd, text ? text : "", text ? strlen(text) : 1);
}
