/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/stdio_open.c — from the strings of a request to open fds. An output FIFO is opened write-only first, which succeeds once a reader is
 * there: opened earlier, the bytes of a process that is fast would die with its end. Waiting for the reader is a timer, not a block.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "sandbox/stdio_priv.h"

static const char *const stream_names[3] = { "stdin", "stdout", "stderr" };

enum scheme { SCHEME_NONE, SCHEME_PLAIN, SCHEME_FIFO, SCHEME_FILE, SCHEME_BINARY, SCHEME_BINARY_V2, SCHEME_UNKNOWN };

static enum scheme parse(const char *uri, const char **ret_path)
{
	static const struct {
		const char *prefix;
		enum scheme scheme;
	} known[] = {
		{ "fifo://", SCHEME_FIFO }, { "file://", SCHEME_FILE }, { "binary://", SCHEME_BINARY }, { "binary-v2://", SCHEME_BINARY_V2 },
	};

	*ret_path = uri;
	if (!uri || !*uri)
		return SCHEME_NONE;
	for (size_t i = 0; i < HK_ARRAY_SIZE(known); i++) {
		if (hk_has_prefix(uri, known[i].prefix)) {
			*ret_path = uri + strlen(known[i].prefix);
			return known[i].scheme;
		}
	}
	return uri[0] != '/' && strstr(uri, "://") ? SCHEME_UNKNOWN : SCHEME_PLAIN;
}

/* Another description of the same FIFO, whatever has become of its name. */
static int reopen(int fd, int flags)
{
	char path[64];
	int r = hk_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);

	if (r < 0)
		return r;
	r = open(path, flags | O_CLOEXEC | O_NOCTTY);
	return r < 0 ? -errno : r;
}

static bool is_fifo(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* One who reads is there: the holder, and what the process gets. Takes *take_fd. */
static int take_output(struct sbx_stdio *s, int stream, int *take_fd)
{
	hk_autofd fd = hk_take_fd(take_fd);
	int r = reopen(fd, O_RDWR | O_NONBLOCK);

	if (r < 0)
		return r;
	s->holder[stream] = r;
	if (s->terminal)
		return 0;
	if (s->is_exec)
		return stdio_make_pipe(s, stream);
	r = hk_set_nonblock(fd, false);
	if (r == 0)
		s->child[stream] = hk_take_fd(&fd);
	return r;
}

/* 1 done, 0 no reader yet. */
static int open_output_fifo(struct sbx_stdio *s, int stream, const char *path, struct hk_err *err)
{
	hk_autofd fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0 && errno == ENXIO)
		return 0;
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s FIFO %s", stream_names[stream], path);
	if (!is_fifo(fd))
		return hk_fail(err, HK_INVALID, EINVAL, "%s %s is not a FIFO", stream_names[stream], path);
	r = take_output(s, stream, &fd);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "set up %s from FIFO %s", stream_names[stream], path) : 1;
}

static int make_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	hk_autofree char *dir = NULL;

	if (!slash || slash == path)
		return 0;
	dir = strndup(path, (size_t)(slash - path));
	return dir ? hk_mkdir_p(AT_FDCWD, dir, 0755) : -ENOMEM;
}

static int open_file(struct sbx_stdio *s, int stream, const char *path, int create, struct hk_err *err)
{
	const int flags = stream == 0 ? O_RDONLY : O_WRONLY | O_APPEND | create;
	int fd;

	if (s->terminal)
		return hk_fail_text(err, HK_UNSUPPORTED, EINVAL, "%s %s: a terminal's output goes to a FIFO only",
		    stream_names[stream], path);
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s file %s", stream_names[stream], path);
	(void)hk_set_nonblock(fd, false);
	s->child[stream] = fd;
	return 1;
}

static int open_stdin_fifo(struct sbx_stdio *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY), r;

	if (fd < 0)
		return -errno;
	s->stdin_reader = fd;
	s->keeper = reopen(fd, O_WRONLY | O_NONBLOCK);
	if (s->keeper < 0)
		return s->keeper;
	if (s->terminal)
		return 1;
	if (s->is_exec) {
		r = stdio_make_pipe(s, 0);
		return r < 0 ? r : 1;
	}
	fd = reopen(s->stdin_reader, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	s->child[0] = fd;
	r = hk_set_nonblock(fd, false);
	return r < 0 ? r : 1;
}

static int spawn_logger(struct sbx_stdio *s, const char *uri, enum scheme scheme, struct hk_err *err)
{
	const struct sbx_stdio_opts *o = &s->opening->o;
	const struct logger_opts lo = {
		.loop = s->loop,
		.reaper = s->reaper,
		.uri = uri,
		.ns = o->ns,
		.id = o->id,
		.must_call_ready = scheme == SCHEME_BINARY_V2,
		.fn = stdio_logger_ready,
		.owner = s,
	};

	int out[2], r = logger_spawn(&lo, out, &s->logger, err);

	if (r < 0)
		return r;
	if (!s->terminal) {
		s->child[1] = out[0];
		s->child[2] = out[1];
		return 0;
	}
	/* A terminal has one stream: the logger's second stays empty. */
	s->holder[1] = out[0];
	(void)hk_close(out[1]);
	r = hk_set_nonblock(out[0], true);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "set up the terminal's logging binary") : 0;
}

/* As stdout, once that is open. */
static int duplicate(struct sbx_stdio *s)
{
	if (!s->opening->is_open[1])
		return 0;
	if (s->child[1] < 0)
		return 1;
	s->child[2] = fcntl(s->child[1], F_DUPFD_CLOEXEC, 0);
	return s->child[2] < 0 ? -errno : 1;
}

static int open_stream(struct sbx_stdio *s, int stream, struct hk_err *err)
{
	const char *uri = s->opening->o.paths[stream], *path;
	const enum scheme scheme = parse(uri, &path);
	struct stat st;
	int r;

	if (scheme == SCHEME_UNKNOWN)
		return hk_fail_text(err, HK_INVALID, EINVAL, "unknown STDIO scheme %.*s", (int)(strstr(uri, "://") - uri), uri);
	if (scheme == SCHEME_NONE || (s->terminal && stream == 2) || (s->logger && stream == 2))
		return 1;
	if (stream == 2 && hk_streq(uri, s->opening->o.paths[1])) {
		r = duplicate(s);
		return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "set up stderr like stdout") : r;
	}
	if (stream == 2 && (scheme == SCHEME_BINARY || scheme == SCHEME_BINARY_V2))
		return hk_fail_text(err, HK_INVALID, EINVAL, "stderr %s: a logging binary takes both streams, by stdout's URI", uri);
	if (scheme == SCHEME_BINARY || scheme == SCHEME_BINARY_V2)
		return stream == 0 ? 1 : spawn_logger(s, path, scheme, err);
	if (scheme == SCHEME_FILE) {
		r = make_parent(path);
		return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make the directory of %s", path) : open_file(s, stream, path, O_CREAT, err);
	}
	/* As upstream's shim: only file:// makes a file. A FIFO that is not there is the client's mistake, not a log's name. */
	if (scheme == SCHEME_PLAIN && stat(path, &st) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s %s", stream_names[stream], path);
	if (scheme == SCHEME_PLAIN && !S_ISFIFO(st.st_mode))
		return open_file(s, stream, path, 0, err);
	if (stream > 0)
		return open_output_fifo(s, stream, path, err);
	r = open_stdin_fifo(s, path);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "open stdin FIFO %s", path) : r;
}

/* Each by itself: whose reader comes first is the client's business, and one that opens stderr first waits there for us. */
int stdio_open_streams(struct sbx_stdio *s, struct hk_err *err)
{
	struct stdio_opening *op = s->opening;
	int waits_for = -1;

	for (int i = 0; i < 3; i++) {
		int r = op->is_open[i] ? 1 : open_stream(s, i, err);

		if (r < 0)
			return r;
		op->is_open[i] = r == 1 || (i == 1 && s->logger);
		if (!op->is_open[i] && waits_for < 0)
			waits_for = i;
	}
	if (waits_for < 0)
		return s->logger ? 0 : 1; /* the logger tells by itself when it is ready */
	if (hk_now_ns() >= op->deadline_ns)
		return hk_fail_text(err, HK_DEADLINE, ETIMEDOUT, "%s FIFO %s: nobody opened it for reading in time",
		    stream_names[waits_for], op->o.paths[waits_for]);
	return 0;
}
