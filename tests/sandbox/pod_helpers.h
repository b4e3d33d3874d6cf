/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/sandbox/pod_helpers.h — what a test that plays containerd asks and sees: answers, events, and FIFOs in a temporary directory,
 * whose reading ends it holds.
 */
#pragma once
#include "tests/sandbox/world.h"

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
		hk_reaper_sweep(&world.reaper); /* as the server does at SIGCHLD: a process that is not reaped is not gone */
	}
	fail_msg("no EOF after %zu bytes", got);
	return 0;
}
