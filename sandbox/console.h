/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/console.h — copies between a pty master and the client's two FIFOs. Buffers exist only while one side is slower than the
 * other (bounded: what is in them stops the reading). The master is owned, the FIFO ends are borrowed; all are non-blocking.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/base/loop.h"

typedef void console_end_fn(void *owner);

struct console_buf { /* heap while it holds something */
	char *data;
	size_t at, len;
};
struct console {
	struct hk_loop *loop;
	int master; /* owned; -1 after the end */
	int in, out; /* borrowed; -1 = none */
	struct hk_source on_master, on_in, on_out;
	struct console_buf to_out, to_master;
	bool is_hung_up; /* no slave is open just now: EIO, which is no end as long as the process lives */
	bool is_exited, in_ended;
	int rounds_left; /* after the exit: how much more is read, so that a grandchild which writes for ever has an end */
	console_end_fn *fn;
	void *owner;
};

void console_init(struct console *c, struct hk_loop *l, console_end_fn *fn, void *owner);
/* Takes *take_master. fn runs once, after console_exited, when all that could be read has arrived in `out`. */
int console_start(struct console *c, int *take_master, int in, int out);
/* Copies len > 0 bytes into an empty buffer; -ENOMEM. */
int console_keep(struct console_buf *b, const void *data, size_t len);
/* An earlier image of the shim has read and written before: all fields are as they were then, the master is taken on success. */
int console_take_over(struct console *c);
/* The process is dead: what is readable now is the last. */
void console_exited(struct console *c);
int console_resize(struct console *c, uint16_t cols, uint16_t rows);
/* Closes without an end. */
void console_done(struct console *c);
