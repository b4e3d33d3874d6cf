/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sandbox/stdio_helpers.h — three FIFOs, a loop, and streams that are open: what the tests of stdio begin with. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "sandbox/stdio.h"

static char top[] = "/tmp/husk-stdio-XXXXXX";
static char in_path[64], out_path[64], err_path[64];
static struct hk_loop loop;
static struct hk_reaper reaper;

struct result {
	int calls;
	struct hk_err err;
	bool failed;
};

static inline void on_ready(void *arg, const struct hk_err *err)
{
	struct result *r = arg;

	r->calls++;
	r->failed = err != NULL;
	if (err)
		r->err = *err;
}

static inline void on_drained(void *arg)
{
	(*(int *)arg)++;
}

static inline struct sbx_stdio_opts options(const char *in, const char *out, const char *err)
{
	return (struct sbx_stdio_opts){
		.loop = &loop, .reaper = &reaper, .paths = { in, out, err }, .ns = "ns1", .id = "c1", .reader_wait_ms = 300
	};
}

static inline struct sbx_stdio *open_now(const struct sbx_stdio_opts *o)
{
	struct sbx_stdio *s = NULL;
	struct result r = { 0 };
	struct hk_err err = { 0 };

	assert_int_equal(sbx_stdio_open(o, on_ready, &r, &s, &err), 0);
	for (int i = 0; i < 100 && r.calls == 0; i++)
		assert_int_equal(hk_loop_once(&loop, 10), 0);
	assert_int_equal(r.calls, 1);
	assert_false(r.failed);
	return s;
}

static inline void turn(int ms)
{
	const uint64_t end = hk_now_ns() + (uint64_t)ms * 1000000;

	do {
		assert_int_equal(hk_loop_once(&loop, 1), 0);
	} while (hk_now_ns() < end);
}

static inline int reader_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* The process's copy of fd i: what it holds after the launch. */
static inline int child_copy(const struct sbx_stdio *s, int i)
{
	int fd = fcntl(sbx_stdio_fds(s)[i], F_DUPFD_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static inline void launched(struct sbx_stdio *s)
{
	int none = -1;

	sbx_stdio_launched(s, &none, (uid_t)-1, (gid_t)-1);
}

static inline bool at_eof(int fd)
{
	char c;

	return read(fd, &c, 1) == 0;
}

static inline int set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(top))
		return -1;
	(void)snprintf(in_path, sizeof(in_path), "%s/in", top);
	(void)snprintf(out_path, sizeof(out_path), "%s/out", top);
	(void)snprintf(err_path, sizeof(err_path), "%s/err", top);
	if (mkfifo(in_path, 0700) < 0 || mkfifo(out_path, 0700) < 0 || mkfifo(err_path, 0700) < 0 || hk_loop_init(&loop) < 0)
		return -1;
	hk_reaper_init(&reaper, &loop);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	hk_loop_done(&loop);
	return hk_rm_rf(AT_FDCWD, top);
}
