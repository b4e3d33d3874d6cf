/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/stdio.h — the three streams of one process, from the client's paths to the fds its execve gets, and their end.
 *
 * An init gets a description of the FIFO itself; an exec gets pipes that are spliced into the FIFOs; a terminal's master is copied.
 * FIFOs, files and loggers are all opened by sbx_stdio_open; nothing here blocks, and nothing is dropped but beyond sbx_stdio_spill's cap.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct hk_err;
struct hk_loop;
struct hk_reaper;
struct sbx_stdio;

enum { SBX_READER_WAIT_MS = 30000 };

/* err == NULL: ready for the launch. */
typedef void sbx_stdio_ready_fn(void *arg, const struct hk_err *err);
typedef void sbx_stdio_drained_fn(void *arg);

struct sbx_stdio_opts {
	struct hk_loop *loop;
	struct hk_reaper *reaper; /* of loggers */
	const char *paths[3];     /* NULL or "" = none; borrowed until fn runs */
	bool terminal, is_exec;
	const char *ns, *id;      /* for a logger's environment; borrowed as paths */
	uint32_t reader_wait_ms;  /* 0 = SBX_READER_WAIT_MS */
};

/*
 * fn runs once when all is open or failed, before this returns or from the loop, unless sbx_stdio_free comes first; *ret is the caller's
 * before that. A negative return: fn never runs and there is nothing to free.
 */
int sbx_stdio_open(const struct sbx_stdio_opts *o, sbx_stdio_ready_fn *fn, void *arg, struct sbx_stdio **ret, struct hk_err *err);
/*
 * Before the launch: output for a FIFO goes through the shim, which keeps up to `cap` bytes of each stream while nobody reads, so that the process need
 * not wait; what is more is dropped. `id` is for the log. Nothing for terminals, files and loggers. 0 or -errno.
 */
int sbx_stdio_spill(struct sbx_stdio *s, uint64_t cap, const char *id);
/* So many bytes of both streams. */
uint64_t sbx_stdio_dropped(const struct sbx_stdio *s);
/* The process's ends, borrowed; -1 = /dev/null. */
const int *sbx_stdio_fds(const struct sbx_stdio *s);
/*
 * The process has its copies: who may reopen /dev/stdout is set (best effort; -1 = leave), ours are closed and the copying begins. Takes
 * *take_console (-1 = none). When even that fails, the client gets EOF at once and the process goes on.
 */
void sbx_stdio_launched(struct sbx_stdio *s, int *take_console, uid_t uid, gid_t gid);
/*
 * The process is dead: what is readable goes out now; the FIFOs' ends follow as soon as that loses nothing. For an init: and nobody else of its
 * container lives, since closing a FIFO waits for whoever splices into it. Again: nothing.
 */
void sbx_stdio_exited(struct sbx_stdio *s);
/* After sbx_stdio_exited: whoever still holds the output is cut off. What was written until now goes its way; the client's EOF follows. */
void sbx_stdio_hang_up(struct sbx_stdio *s);
/* Task.CloseIO: our own writer on stdin goes; what is in the FIFO still arrives. */
void sbx_stdio_close_stdin(struct sbx_stdio *s);
/* 0 without a terminal. */
int sbx_stdio_resize(struct sbx_stdio *s, uint16_t cols, uint16_t rows);
/*
 * The end: fn runs once, when all output has gone its way (perhaps before this returns) or after timeout_ms, and a logger has ended: by itself
 * at the end of its input, at SIGTERM, or at SIGKILL 12 s later. fn may free s.
 */
void sbx_stdio_drain(struct sbx_stdio *s, uint32_t timeout_ms, sbx_stdio_drained_fn *fn, void *arg);
/* We go, the process stays: so does its logger. */
void sbx_stdio_abandon(struct sbx_stdio *s);
/* Closes every end at once; the client's readers see EOF. A logger that has not ended is killed: its process never ran. Accepts NULL. */
void sbx_stdio_free(struct sbx_stdio *s);
