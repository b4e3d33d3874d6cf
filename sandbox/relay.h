/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/relay.h — moves bytes from one pipe or FIFO into another with splice(2): nothing is copied, nothing is kept here, nothing is
 * dropped. A full target stops the reading of the source until there is room, unless there is a spill to keep what comes meanwhile. The fds are
 * borrowed and non-blocking.
 *
 * A call on a pipe waits for the pipe's lock, O_NONBLOCK or not, and a process that splices a file into it holds that for as long as the file
 * system takes. poll(2) does not wait: so it is asked first, and nothing is tried that it does not promise. What remains: bytes are there, poll
 * says so, and the lock is taken by then or a moment later, by somebody who writes a little and at once splices from what hangs. No call tries
 * that lock; only another thread or process could do the waiting, for every burst of output of every exec. An init's FIFOs are not read here.
 */
#pragma once
#include <stdbool.h>

#include "oci/base/loop.h"

struct spill;

/* r: 0 = the source is at its end and all of it has arrived, else -errno of the target. Runs once; may free the relay. */
typedef void relay_end_fn(void *owner, int r);

struct relay {
	struct hk_loop *loop;
	int from, to;
	struct hk_source in, out; /* at most one is added at a time */
	struct spill *spill; /* borrowed; NULL = none */
	bool is_done, is_last;
	int left; /* is_last: what is still to move */
	relay_end_fn *fn;
	void *owner;
};

void relay_init(struct relay *r, struct hk_loop *l, relay_end_fn *fn, void *owner);
/* 0 or -errno of epoll. */
int relay_start(struct relay *r, int from, int to);
/* Moves what can be moved now; may run the end. */
void relay_pump(struct relay *r);
/* What is in the source now is the last of it: the end comes when that has arrived, whoever may still write. May run the end. */
void relay_end_here(struct relay *r);
/* Stops without an end. Call before the fds are closed; harmless when not started. */
void relay_stop(struct relay *r);
