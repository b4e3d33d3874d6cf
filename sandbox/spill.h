/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/spill.h — output that nobody reads at the moment, in the order it came: a file in memory that a pipe is spliced into and out of again. What is
 * beyond `cap` is dropped, and counted.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spill {
	int fd; /* owned */
	uint64_t head, tail; /* what is between is kept; they never begin anew */
	uint64_t cap;
	uint64_t dropped; /* ever */
	char id[80]; /* of the container, for the log */
	bool is_dropping;
};

/* fd: a file of its own, or -1 for a new one; taken, also on failure. cap in bytes. NULL + errno. */
struct spill *spill_new(int fd, uint64_t cap, const char *id);
void spill_free(struct spill *s); /* accepts NULL */
bool spill_is_empty(const struct spill *s);
/* From the pipe `from`, which has bytes, at most `max`: as many are gone from there. 0 at its end, -errno. */
ssize_t spill_put(struct spill *s, int from, size_t max);
/* Into the pipe `to`, which has room; -EAGAIN. */
ssize_t spill_take(struct spill *s, int to);
