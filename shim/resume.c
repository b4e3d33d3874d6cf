/* SPDX-License-Identifier: Apache-2.0 */
/* shim/resume.c — see resume.h. */
#include "shim/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/loop.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "proto/dispatch.h"
#include "proto/wire.h"
#include "shim/conn.h"
#include "shim/convert.h"
#include "shim/flags.h"
#include "shim/node.h"

enum { STATE_MAX = 256 << 20, NUMBER_SIZE = 16, NS_PER_MS = 1000000, FIELD_ID = 1, FIELD_EXEC_ID };

/* ---- execve ---- */

static char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

int shim_resume_exec(int image, const char *path, const struct shim_flags *f, const struct shim_resume_fds *fds)
{
	char state[2 * NUMBER_SIZE], verdict[NUMBER_SIZE];
	char *argv[20] = { word(path), word("-namespace"), word(f->ns), word("-id"), word(f->id), word("-address"), word(f->address),
		word("-group"), word(f->group), word("-bundle"), word(f->bundle), word("-resume"), state };
	int n = 13;

	(void)hk_fmt(state, sizeof(state), "%d:%d", fds->state, fds->exe);
	(void)hk_fmt(verdict, sizeof(verdict), "%d", fds->verdict);
	if (f->debug)
		argv[n++] = word("-debug");
	if (f->pod_cgroup)
		argv[n++] = word("-pod-cgroup");
	if (fds->verdict >= 0) {
		argv[n++] = word("-rehearse");
		argv[n++] = verdict;
	}
	(void)syscall(SYS_execveat, image, "", argv, environ, AT_EMPTY_PATH);
	return -errno;
}

/* ---- reading ---- */

static int fd_of(const char *text)
{
	uint64_t fd;

	return text[0] && hk_parse_u64(text, &fd) == 0 && fd <= INT32_MAX ? (int)fd : -1;
}

static int set_cloexec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* STATE:EXE */
static void take_fds(struct shim_resume *r, const char *words)
{
	char state[NUMBER_SIZE] = "";
	const char *colon = strchr(words, ':');

	if (!colon || hk_fmt(state, sizeof(state), "%.*s", (int)(colon - words), words) < 0)
		return;
	r->state = fd_of(state);
	r->exe = fd_of(colon + 1);
}

/* Private, since parsing cuts it up in place. */
static int map(struct shim_resume *r)
{
	struct stat st;
	void *p;

	if (fstat(r->state, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > STATE_MAX)
		return -EFBIG;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, r->state, 0);
	if (p == MAP_FAILED)
		return -errno;
	r->text = p;
	r->len = (size_t)st.st_size;
	return 0;
}

int shim_resume_open(const struct shim_flags *f, struct shim_resume *ret, struct hk_err *err)
{
	int r;

	*ret = (struct shim_resume){ .flags = f, .state = -1, .exe = -1, .verdict = fd_of(f->rehearse) };
	take_fds(ret, f->resume);
	if (set_cloexec(ret->state) < 0 || set_cloexec(ret->exe) < 0 || (f->rehearse[0] && set_cloexec(ret->verdict) < 0))
		return hk_fail(err, HK_INVALID, errno, "-resume and -rehearse are given by `husk upgrade`, not by hand");
	r = map(ret);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read the state");
	r = hk_value_parse(ret->text, ret->len, &ret->arena, &ret->top, err);
	if (r < 0)
		return r;
	r = hk_value_cloexec(ret->top, true);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "take the descriptors") : 0;
}

/* ---- when it fails ---- */

_Noreturn void shim_resume_say(const struct shim_resume *r, const struct hk_err *err)
{
	const char *text = err ? err->text : SHIM_RESUME_OK;

	if (r->verdict >= 0)
		(void)hk_write_full(r->verdict, text, strlen(text));
	_exit(err ? 1 : 0); /* nothing is freed: it is not ours */
}

/* The same text once more (the mapping is cut up), with a line at its end that says what went wrong. */
static int copy_state(const struct shim_resume *r, const struct hk_err *why, int *ret_fd)
{
	hk_autofd fd = memfd_create("husk-state", MFD_CLOEXEC);
	char line[sizeof(why->text) + 32], chunk[4096];
	off_t at = 0;
	ssize_t n;
	int rc;

	if (fd < 0)
		return -errno;
	while ((n = pread(r->state, chunk, sizeof(chunk), at)) > 0) {
		rc = hk_write_full(fd, chunk, (size_t)n);
		if (rc < 0)
			return rc;
		at += n;
	}
	rc = hk_fmt(line, sizeof(line), "refused \"%zu:%s\n", strlen(why->text), why->text);
	if (rc > 0)
		rc = hk_write_full(fd, line, strlen(line));
	if (rc < 0)
		return rc;
	*ret_fd = hk_take_fd(&fd);
	return 0;
}

void shim_resume_back(const struct shim_resume *r, const struct hk_err *why)
{
	const char *program = r->top ? hk_value_str_or(r->top, "program", "") : "";
	hk_autofd copy = -1;
	struct shim_resume_fds fds = { .state = r->state, .exe = r->exe, .verdict = -1 };

	if (r->state < 0 || r->exe < 0 || (r->top && hk_value_get(r->top, "refused")))
		return;
	if (copy_state(r, why, &copy) == 0) /* else it will not know why, and call it an upgrade */
		fds.state = copy;
	if (fcntl(fds.state, F_SETFD, 0) < 0 || fcntl(fds.exe, F_SETFD, 0) < 0 || (r->top && hk_value_cloexec(r->top, false) < 0))
		return;
	(void)shim_resume_exec(fds.exe, program[0] ? program : program_invocation_name, r->flags, &fds);
}

/* ---- when it has not ---- */

static struct ttrpc_past_call call_of(const struct hk_value *v)
{
	return (struct ttrpc_past_call){ .service = hk_value_str_or(v, "service", ""), .method = hk_value_str_or(v, "method", ""),
		.stream = (uint32_t)hk_value_num_or(v, "stream", 0), .timeout_ns = hk_value_num_or(v, "timeout_ns", 0) };
}

static void again(const struct shim_listener *l, const struct hk_value *v)
{
	struct ttrpc_session *s = shim_conn_session(l, (int)hk_value_num_or(v, "connection", -1));
	hk_auto(wire_done) struct wire w = { 0 };
	struct ttrpc_past_call c = call_of(v);
	struct ttrpc_call *call;

	if (!s)
		return;
	/* Every request that can be made again has its ids there. */
	wire_str(&w, FIELD_ID, hk_value_str_or(v, "id", ""));
	wire_str(&w, FIELD_EXEC_ID, hk_value_str_or(v, "exec_id", ""));
	c.payload = w.bytes;
	c.payload_len = w.len;
	s->now_ns = hk_now_ns();
	if (!w.is_failed) {
		ttrpc_session_again(s, &c);
		return;
	}
	call = ttrpc_session_resume(s, &c);
	if (call)
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void answer(const struct shim_resume *r, const struct shim_listener *l)
{
	const struct hk_value *v = hk_value_get(r->top, "asked");
	const char *refused = hk_value_str_or(r->top, "refused", NULL);
	struct ttrpc_session *s = v ? shim_conn_session(l, (int)hk_value_num_or(v, "connection", -1)) : NULL;
	const struct node_upgraded facts = { .old_version = hk_value_str_or(r->top, "version", ""),
		.old_revision = hk_value_str_or(r->top, "revision", ""),
		.held_ms = (hk_now_ns() - (uint64_t)hk_value_num_or(r->top, "held_ns", 0)) / NS_PER_MS };
	const struct ttrpc_past_call c = v ? call_of(v) : (struct ttrpc_past_call){ 0 };
	struct ttrpc_call *call = s ? ttrpc_session_resume(s, &c) : NULL;

	if (refused)
		log_warn("upgrade failed, and is undone", LOG_STR("err", refused));
	else
		log_info("shim upgraded", LOG_STR("version", HUSK_VERSION), LOG_STR("revision", HUSK_REVISION), LOG_STR("from", facts.old_version),
		    LOG_STR("from_revision", facts.old_revision), LOG_INT("held_ms", facts.held_ms));
	if (call && refused)
		ttrpc_call_fail(call, TTRPC_ABORTED, refused);
	else if (call)
		convert_reply_node_upgraded(call, &facts);
}

void shim_resume_finish(struct shim_resume *r, struct shim_listener *l)
{
	for (const struct hk_value *v = hk_value_get(r->top, "call"); v; v = hk_value_next(v))
		again(l, v);
	answer(r, l);
	shim_listener_hold(l, false);
	hk_value_close(r->top);
	hk_arena_done(&r->arena);
	(void)munmap(r->text, r->len);
	r->state = hk_close(r->state);
}
