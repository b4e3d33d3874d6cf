/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/stdio_priv.h — what stdio.c (life), stdio_open.c (opening) and logger.c share. */
#pragma once
#include "oci/base/child.h"
#include "oci/base/loop.h"
#include "sandbox/console.h"
#include "sandbox/relay.h"
#include "sandbox/spill.h"
#include "sandbox/stdio.h"

struct hk_err;
struct logger;

/* What an exec or a terminal needs and an init without one does not. */
struct stdio_copy {
	struct sbx_stdio *s;
	int stream;      /* 0, 1, 2 */
	int pipe;        /* owned: our end */
	struct spill *spill; /* owned; NULL = a reader that is away stops the process */
	struct relay relay;
};

struct sbx_stdio {
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	bool terminal, is_exec, is_exited;
	int child[3];    /* owned until the launch: the process's ends */
	int stdin_reader; /* owned: so that a client that still writes never gets SIGPIPE */
	int keeper;      /* owned: our writer on stdin's FIFO, until CloseIO */
	int holder[3];   /* owned, 1 and 2: O_RDWR on the output FIFOs */
	struct stdio_copy *copy[3]; /* owned, exec only */
	struct console *console;    /* owned, terminal only */
	struct logger *logger;      /* owned */
	struct stdio_opening *opening; /* owned while opening */
	struct hk_timer linger;     /* after the exit: are the FIFOs read to their end? */
	uint32_t linger_ms;
	struct hk_timer drain;      /* sbx_stdio_drain's deadline */
	bool is_late;               /* it has passed */
	sbx_stdio_drained_fn *drained;
	void *drain_owner;
};

struct stdio_opening { /* gone once everything is open */
	struct sbx_stdio *s;
	struct sbx_stdio_opts o;
	sbx_stdio_ready_fn *fn;
	void *arg;
	struct hk_timer timer;
	uint64_t deadline_ns;
	uint32_t retry_ms;
	bool is_open[3];
};

/* stdio_open.c: tries what is not open yet. 1 = all open, 0 = a reader or a logger is waited for, -errno. */
int stdio_open_streams(struct sbx_stdio *s, struct hk_err *err);
/* stdio.c: the logger reads, or (err) never will. */
void stdio_logger_ready(void *owner, const struct hk_err *err);
/* stdio.c: without streams; without a pipe; a console that copies nothing yet, as s->console. NULL: no memory. */
struct sbx_stdio *stdio_new(const struct sbx_stdio_opts *o);
struct stdio_copy *stdio_copy_new(struct sbx_stdio *s, int stream);
struct console *stdio_console_new(struct sbx_stdio *s);
/* stdio.c: an exec's pipe for `stream`; our end goes to copy[], the process's to child[]. */
int stdio_make_pipe(struct sbx_stdio *s, int stream);

/*
 * logger.c — a binary:// logger: a child of the shim that reads the process's output from pipes of its own. `fn` tells when it is ready.
 * ret_out are the pipes' write ends; the logger keeps others of its own, since what ends its input is Delete, not the process.
 */
struct logger_opts {
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	const char *uri, *ns, *id;
	bool must_call_ready; /* binary-v2 */
	sbx_stdio_ready_fn *fn;
	void *owner;
};
int logger_spawn(const struct logger_opts *o, int ret_out[2], struct logger **ret, struct hk_err *err);
/*
 * Its input is at its end: it is left to read the rest, then asked to end, then killed. Frees itself; fn runs once, also before this returns.
 * A second call changes nothing.
 */
typedef void logger_end_fn(void *owner);
void logger_end(struct logger *l, logger_end_fn *fn, void *owner);
/* At once, without a word; frees itself when it is dead. Accepts NULL, as the next. */
void logger_kill(struct logger *l);
/* It stays, we do not: frees the struct alone. */
void logger_forget(struct logger *l);
