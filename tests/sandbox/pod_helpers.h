/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/sandbox/pod_helpers.h — a pod on a loop, with its events written down as lines and its answers kept. The test plays containerd:
 * FIFOs in a temporary directory, whose reading ends it holds.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"

struct world {
	char top[64], run_dir[96];
	struct hk_loop loop;
	struct hk_reaper reaper;
	struct sbx_pod *pod;
	char events[65536]; /* "exit c1/e1 137;" ... */
	size_t n_events;    /* bytes */
};
static struct world world;

struct answer {
	int calls;
	bool failed;
	struct hk_err err;
	struct sbx_reply reply;
};

static inline void on_answer(void *arg, const struct sbx_reply *reply, const struct hk_err *err)
{
	struct answer *a = arg;

	a->calls++;
	a->failed = err != NULL;
	if (err)
		a->err = *err;
	else
		a->reply = *reply;
}

static inline struct sbx_done to(struct answer *a)
{
	*a = (struct answer){ 0 };
	return (struct sbx_done){ .fn = on_answer, .arg = a };
}

static inline void on_event(void *arg, const struct sbx_event *ev)
{
	static const char *const names[] = {
		[SBX_EV_CREATE] = "create", [SBX_EV_START] = "start", [SBX_EV_EXIT] = "exit", [SBX_EV_DELETE] = "delete",
		[SBX_EV_OOM] = "oom", [SBX_EV_EXEC_ADDED] = "exec-added", [SBX_EV_EXEC_STARTED] = "exec-started",
		[SBX_EV_PAUSED] = "paused", [SBX_EV_RESUMED] = "resumed",
	};
	struct world *w = arg;
	char status[16] = "";
	int n;

	if (ev->type == SBX_EV_EXIT) {
		(void)snprintf(status, sizeof(status), " %u", ev->exit_status);
		assert_true(ev->exited_at.tv_sec > 0);
	}
	assert_true(ev->type == SBX_EV_EXEC_ADDED || ev->pid != 0);
	n = snprintf(w->events + w->n_events, sizeof(w->events) - w->n_events, "%s %s%s%s%s;", names[ev->type], ev->id,
	    *ev->exec_id ? "/" : "", ev->exec_id, status);
	w->n_events += (size_t)n;
	assert_true(w->n_events < sizeof(w->events));
}

/* What happened since the last call. */
static inline void assert_events(const char *expected)
{
	assert_string_equal(world.events, expected);
	world.n_events = 0;
	world.events[0] = '\0';
}

static inline void turn(int ms)
{
	const uint64_t end = hk_now_ns() + (uint64_t)ms * 1000000;

	do {
		assert_int_equal(hk_loop_once(&world.loop, 1), 0);
	} while (hk_now_ns() < end);
}

static inline void answered(struct answer *a)
{
	for (int i = 0; i < 10000 && a->calls == 0; i++)
		assert_int_equal(hk_loop_once(&world.loop, 1), 0);
	assert_int_equal(a->calls, 1);
}

static inline void succeeded(struct answer *a)
{
	answered(a);
	if (a->failed)
		fail_msg("failed: %s", a->err.text);
}

static inline void refused(struct answer *a, enum hk_kind kind, const char *text)
{
	answered(a);
	assert_true(a->failed);
	assert_string_equal(a->err.text, text);
	assert_int_equal(a->err.kind, kind);
}

static inline void pod_open(void)
{
	const struct sbx_pod_opts o = { .loop = &world.loop, .reaper = &world.reaper, .run_dir = world.run_dir, .state_dir = world.run_dir, .ns = "test",
		.group = "group", .socket = "/nonexistent/husk-test.sock", .on_event = on_event, .arg = &world };
	struct hk_err err = { 0 };

	if (sbx_pod_new(&o, &world.pod, &err) < 0)
		fail_msg("%s", err.text);
}

static inline int world_set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(world.top, sizeof(world.top), "/tmp/husk-pod-XXXXXX");
	if (!mkdtemp(world.top) || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 || hk_loop_init(&world.loop) < 0)
		return -1;
	(void)snprintf(world.run_dir, sizeof(world.run_dir), "%s/run", world.top);
	hk_reaper_init(&world.reaper, &world.loop);
	pod_open();
	return 0;
}

static inline int world_tear_down(void **state)
{
	char path[128];
	int left;

	(void)state;
	sbx_pod_free(world.pod);
	hk_reaper_sweep(&world.reaper);
	(void)snprintf(path, sizeof(path), "%s/test", world.run_dir);
	left = access(path, F_OK) == 0; /* an empty pod takes its state directory with it */
	hk_loop_done(&world.loop);
	return hk_rm_rf(AT_FDCWD, world.top) < 0 || left;
}

/* A FIFO and, if asked, its reading end. */
static inline const char *fifo(const char *name, char path[128], int *ret_reader)
{
	(void)snprintf(path, 128, "%s/%s", world.top, name);
	if (mkfifo(path, 0700) < 0)
		assert_int_equal(errno, EEXIST);
	if (ret_reader) {
		*ret_reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		assert_true(*ret_reader >= 0);
	}
	return path;
}

/* Reads to EOF, as a client does before it sends Delete; NUL-terminated. */
static inline size_t read_to_eof(int fd, char *buf, size_t size)
{
	size_t got = 0;

	for (int i = 0; i < 5000; i++) {
		ssize_t n = read(fd, buf + got, size - 1 - got);

		if (n == 0) {
			buf[got] = '\0';
			return got;
		}
		got += n > 0 ? (size_t)n : 0;
		if (n < 0)
			assert_int_equal(hk_loop_once(&world.loop, 1), 0);
	}
	fail_msg("no EOF after %zu bytes", got);
	return 0;
}
