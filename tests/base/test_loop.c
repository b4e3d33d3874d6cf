/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop and the reaper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/loop.h"
#include "tests/lib/needs.h"

struct pipe_source {
	struct hk_loop *loop;
	struct hk_source src;
	int fds[2];
	int runs;
	struct pipe_source *removes; /* freed by this one's callback */
	char *trace;
	char name;
};

static void on_pipe(void *owner, uint32_t events)
{
	struct pipe_source *p = owner;

	assert_true(events & EPOLLIN);
	p->runs++;
	if (p->trace)
		p->trace[strlen(p->trace)] = p->name;
	if (p->removes) {
		hk_source_del(p->loop, &p->removes->src);
		(void)hk_close(p->removes->fds[0]);
		(void)hk_close(p->removes->fds[1]);
		free(p->removes);
		p->removes = NULL;
	}
	hk_source_del(p->loop, &p->src);
}

static struct pipe_source *ready_pipe(struct hk_loop *l, enum hk_pass pass, char name, char *trace)
{
	struct pipe_source *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->loop = l;
	p->name = name;
	p->trace = trace;
	assert_int_equal(pipe2(p->fds, O_CLOEXEC), 0);
	assert_int_equal(write(p->fds[1], "x", 1), 1);
	hk_source_init(&p->src, pass, on_pipe, p);
	assert_int_equal(hk_source_add(l, &p->src, p->fds[0], EPOLLIN), 0);
	assert_int_equal(hk_source_add(l, &p->src, p->fds[0], EPOLLIN), -EEXIST);
	return p;
}

static void free_pipe(struct pipe_source *p)
{
	hk_source_del(p->loop, &p->src);
	(void)hk_close(p->fds[0]);
	(void)hk_close(p->fds[1]);
	free(p);
}

static void test_passes_run_in_order(void **state)
{
	struct hk_loop l;
	char trace[8] = "";
	struct pipe_source *p[3];

	(void)state;
	assert_int_equal(hk_loop_init(&l), 0);
	p[0] = ready_pipe(&l, HK_PASS_EXIT, 'e', trace);
	p[1] = ready_pipe(&l, HK_PASS_RPC, 'r', trace);
	p[2] = ready_pipe(&l, HK_PASS_IO, 'i', trace);
	assert_int_equal(hk_loop_once(&l, 0), 0);
	assert_string_equal(trace, "ire");
	for (int i = 0; i < 3; i++)
		free_pipe(p[i]);
	hk_loop_done(&l);
}

/* Both are ready in one batch; whichever runs first frees the other, which must not run. */
static void test_a_callback_may_free_another_source_of_its_batch(void **state)
{
	struct hk_loop l;
	struct pipe_source *a, *b;

	(void)state;
	assert_int_equal(hk_loop_init(&l), 0);
	a = ready_pipe(&l, HK_PASS_IO, 'a', NULL);
	b = ready_pipe(&l, HK_PASS_RPC, 'b', NULL);
	a->removes = b;
	assert_int_equal(hk_loop_once(&l, 0), 0);
	assert_int_equal(a->runs, 1);
	assert_int_equal(hk_loop_once(&l, 0), 0);
	assert_int_equal(a->runs, 1);
	free_pipe(a);
	hk_loop_done(&l);
}

struct timed {
	struct hk_loop *loop;
	struct hk_timer timer;
	int runs, again;
	char *trace;
	char name;
};

static void on_timer(void *owner)
{
	struct timed *t = owner;

	t->runs++;
	if (t->trace)
		t->trace[strlen(t->trace)] = t->name;
	if (t->again-- > 0)
		hk_timer_set(t->loop, &t->timer, 0);
}

static void test_timers(void **state)
{
	struct hk_loop l;
	char trace[8] = "";
	struct timed t[3] = { { .name = 'c', .trace = trace }, { .name = 'a', .trace = trace }, { .name = 'b', .trace = trace } };
	const unsigned delays[] = { 30, 0, 10 };
	const uint64_t begin = hk_now_ns();

	(void)state;
	assert_int_equal(hk_loop_init(&l), 0);
	for (int i = 0; i < 3; i++) {
		t[i].loop = &l;
		hk_timer_init(&t[i].timer, on_timer, &t[i]);
		assert_false(hk_timer_is_armed(&t[i].timer));
		hk_timer_set(&l, &t[i].timer, delays[i]);
	}
	while (t[0].runs == 0)
		assert_int_equal(hk_loop_once(&l, -1), 0);
	assert_string_equal(trace, "abc");
	assert_true(hk_now_ns() - begin >= 30000000U);
	/* A timer that re-arms itself with delay 0 runs once a turn. */
	t[1].again = 3;
	hk_timer_set(&l, &t[1].timer, 0);
	for (int i = 1; i <= 4; i++) {
		while (t[1].runs < 1 + i)
			assert_int_equal(hk_loop_once(&l, -1), 0);
		assert_int_equal(t[1].runs, 1 + i);
	}
	assert_false(hk_timer_is_armed(&t[1].timer));
	hk_timer_set(&l, &t[2].timer, UINT64_MAX); /* never, not at once */
	assert_int_equal(hk_loop_once(&l, 5), 0);
	assert_int_equal(t[2].runs, 1);
	hk_timer_set(&l, &t[2].timer, 0);
	hk_timer_cancel(&t[2].timer);
	assert_int_equal(hk_loop_once(&l, 5), 0);
	assert_int_equal(t[2].runs, 1);
	hk_loop_done(&l);
}

struct death {
	int runs;
	struct hk_exit x;
	struct hk_child *forget; /* done by the callback itself */
};

static void on_death(void *owner, const struct hk_exit *x)
{
	struct death *d = owner;

	d->runs++;
	d->x = *x;
	if (d->forget)
		hk_child_done(d->forget);
}

static pid_t child_that(int code, int sig)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (sig)
			(void)raise(sig);
		_exit(code);
	}
	return pid;
}

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	assert_true(fd >= 0);
	return fd;
}

static void watch(struct hk_reaper *r, struct hk_child *c, pid_t pid, struct death *d)
{
	int fd = pidfd_of(pid);

	assert_int_equal(hk_child_watch(r, c, pid, &fd, on_death, d), 0);
	assert_int_equal(fd, -1);
}

static void test_exit_and_signal_are_told_once(void **state)
{
	static const struct {
		int code, sig, status;
	} rows[] = { { 0, 0, 0 }, { 7, 0, 7 }, { 255, 0, 255 }, { 0, SIGKILL, 137 }, { 0, SIGTERM, 143 } };
	struct hk_loop l;
	struct hk_reaper r;

	(void)state;
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct hk_child c;
		struct death d = { 0 };

		watch(&r, &c, child_that(rows[i].code, rows[i].sig), &d);
		while (d.runs == 0)
			assert_int_equal(hk_loop_once(&l, 1000), 0);
		hk_reaper_sweep(&r);
		assert_int_equal(hk_loop_once(&l, 0), 0);
		assert_int_equal(d.runs, 1);
		assert_int_equal(d.x.status, rows[i].status);
		assert_int_equal(d.x.was_signaled, rows[i].sig != 0);
		assert_true(d.x.at.tv_sec > 1600000000);
		assert_int_equal(hk_child_kill(&c, 0), -ESRCH);
		hk_child_done(&c);
	}
	hk_loop_done(&l);
}

/* A child whose own child outlives it: the orphan comes to us (subreaper), dies when we close the pipe, and is nobody's we know. */
static pid_t parent_of_an_orphan(const int p[2])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (fork() == 0) {
			char byte;

			(void)close(p[1]);
			_exit(read(p[0], &byte, 1) == 0 ? 0 : 1);
		}
		_exit(9);
	}
	return pid;
}

static void test_sweep_routes_known_and_reaps_orphans(void **state)
{
	struct hk_loop l;
	struct hk_reaper r;
	struct hk_child c;
	struct death d = { .forget = &c };
	siginfo_t si;
	int p[2];

	(void)state;
	needs_subreaper();
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	watch(&r, &c, parent_of_an_orphan(p), &d);
	while (d.runs == 0) { /* found by the sweep, not by the loop */
		hk_reaper_sweep(&r);
		(void)usleep(1000);
	}
	assert_int_equal(d.x.status, 9);
	assert_int_equal(waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT), 0); /* the orphan is ours now, and alive */
	(void)hk_close(p[0]);
	(void)hk_close(p[1]);
	for (int i = 0; i < 5000 && waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
		hk_reaper_sweep(&r);
		(void)usleep(1000);
	}
	assert_int_equal(waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(d.runs, 1);
	hk_loop_done(&l);
}

/* An exec's process is the shim's own by CLONE_PARENT before the shim has heard of it, so a sweep may find it first. */
static void test_a_child_swept_before_it_was_watched_is_told_all_the_same(void **state)
{
	struct hk_loop l;
	struct hk_reaper r;
	struct hk_child c;
	struct death d = { 0 };
	siginfo_t si;
	pid_t pid = child_that(3, 0);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	(void)state;
	assert_true(pidfd >= 0);
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	hk_reaper_sweep(&r);
	assert_int_equal(hk_child_watch(&r, &c, pid, &pidfd, on_death, &d), 0);
	assert_int_equal(pidfd, -1);
	assert_int_equal(d.runs, 0);
	assert_int_equal(hk_loop_once(&l, 1000), 0);
	assert_int_equal(hk_loop_once(&l, 0), 0);
	assert_int_equal(d.runs, 1);
	assert_int_equal(d.x.status, 255);
	assert_false(d.x.was_signaled);
	hk_child_done(&c);
	hk_loop_done(&l);
}

/* Held, it keeps its exit for the watch to come; who lies behind it is reaped when it is released. */
static void test_a_held_child_is_not_swept(void **state)
{
	struct hk_loop l;
	struct hk_reaper r;
	struct hk_child c;
	struct hk_hold h, unborn = { 0 };
	struct death d = { 0 };
	siginfo_t si;
	pid_t none = 0, held = child_that(3, 0), other = child_that(4, 0);
	int pidfd = pidfd_of(held);

	(void)state;
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	hk_reaper_release(&unborn);
	hk_reaper_hold(&r, &unborn, &none);
	hk_reaper_hold(&r, &h, &held);
	assert_int_equal(waitid(P_PID, (id_t)held, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(waitid(P_PID, (id_t)other, &si, WEXITED | WNOWAIT), 0);
	hk_reaper_sweep(&r);
	assert_int_equal(waitid(P_PID, (id_t)held, &si, WEXITED | WNOWAIT | WNOHANG), 0);
	hk_reaper_release(&h);
	hk_reaper_release(&h);
	assert_int_equal(hk_child_watch(&r, &c, held, &pidfd, on_death, &d), 0);
	while (waitid(P_PID, (id_t)other, &si, WEXITED | WNOWAIT | WNOHANG) == 0 || d.runs == 0)
		assert_int_equal(hk_loop_once(&l, 1000), 0);
	assert_int_equal(d.runs, 1);
	assert_int_equal(d.x.status, 3);
	hk_child_done(&c);
	hk_reaper_release(&unborn);
	/* Released and watched by nobody, it is one of those that the sweep is for. */
	held = child_that(5, 0);
	hk_reaper_hold(&r, &h, &held);
	hk_reaper_release(&h);
	assert_int_equal(waitid(P_PID, (id_t)held, &si, WEXITED | WNOWAIT), 0);
	hk_reaper_sweep(&r);
	assert_int_equal(waitid(P_PID, (id_t)held, &si, WEXITED | WNOHANG), -1);
	hk_loop_done(&l);
}

static void test_waiting_for_one_child_by_its_pid(void **state)
{
	struct hk_exit x;
	const pid_t pid = child_that(7, 0);

	(void)state;
	assert_int_equal(hk_wait_blocking(child_that(0, SIGKILL), &x), 0);
	assert_int_equal(x.status, 128 + SIGKILL);
	assert_true(x.was_signaled);
	assert_int_equal(hk_wait_blocking(pid, NULL), 0);
	assert_int_equal(hk_wait_blocking(pid, &x), -ECHILD);
	assert_int_equal(x.status, 128 + SIGKILL); /* untouched */
}

/* A child cloned without an exit signal is one that only __WALL waits for. */
static void test_a_child_without_an_exit_signal_is_reaped(void **state)
{
	struct hk_loop l;
	struct hk_reaper r;
	struct hk_child c;
	struct death d = { 0 };
	pid_t pid = (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, NULL);

	(void)state;
	needs(pid >= 0 || errno != EINVAL, "clone without an exit signal");
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(5);
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	watch(&r, &c, pid, &d);
	assert_int_equal(hk_loop_once(&l, 1000), 0);
	assert_int_equal(d.runs, 1);
	assert_int_equal(d.x.status, 5);
	hk_child_done(&c);
	hk_loop_done(&l);
}

static void test_done_while_alive_leaves_it_to_the_sweep(void **state)
{
	struct hk_loop l;
	struct hk_reaper r;
	struct hk_child c;
	struct death d = { 0 };
	siginfo_t si;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	assert_int_equal(hk_loop_init(&l), 0);
	hk_reaper_init(&r, &l);
	watch(&r, &c, pid, &d);
	assert_int_equal(hk_child_kill(&c, 0), 0);
	assert_int_equal(hk_child_kill(&c, 1000), -EINVAL);
	assert_int_equal(hk_child_kill(&c, SIGKILL), 0);
	hk_child_done(&c);
	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0) {
		hk_reaper_sweep(&r);
		(void)usleep(1000);
	}
	assert_int_equal(d.runs, 0);
	hk_loop_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passes_run_in_order), cmocka_unit_test(test_a_callback_may_free_another_source_of_its_batch),
		cmocka_unit_test(test_timers), cmocka_unit_test(test_exit_and_signal_are_told_once),
		cmocka_unit_test(test_sweep_routes_known_and_reaps_orphans),
		cmocka_unit_test(test_a_child_swept_before_it_was_watched_is_told_all_the_same),
		cmocka_unit_test(test_a_held_child_is_not_swept),
		cmocka_unit_test(test_waiting_for_one_child_by_its_pid),
		cmocka_unit_test(test_a_child_without_an_exit_signal_is_reaped),
		cmocka_unit_test(test_done_while_alive_leaves_it_to_the_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
