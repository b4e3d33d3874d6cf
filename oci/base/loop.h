/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/loop.h — the one event loop: epoll, timers by the epoll timeout, three passes a batch.
 *
 * Sources and timers are embedded in their owners; the loop allocates nothing and never closes an fd. Removing a source or
 * freeing its owner inside any callback is safe: the rest of the batch is blanked. Callbacks must not block.
 * Passes: bytes first (IO), then requests (RPC), then process exits (EXIT), so that output which was readable when its
 * process died is relayed before the death is told.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "oci/base/list.h"

enum hk_pass { HK_PASS_IO, HK_PASS_RPC, HK_PASS_EXIT, HK_N_PASSES };
enum { HK_LOOP_BATCH = 32 };

typedef void hk_source_fn(void *owner, uint32_t events);
typedef void hk_timer_fn(void *owner);

struct hk_source {
	int fd; /* borrowed; -1 = not added */
	uint32_t events;
	enum hk_pass pass;
	hk_source_fn *fn;
	void *owner;
};
struct hk_timer {
	struct hk_list node; /* in hk_loop.timers, sorted by due_ns */
	uint64_t due_ns;     /* CLOCK_MONOTONIC; 0 = not armed */
	hk_timer_fn *fn;
	void *owner;
};
struct hk_loop {
	int epfd; /* owned */
	bool stop;
	bool exits_wait; /* the last batch was full: its exits were left for this one */
	int n_batch;
	struct epoll_event batch[HK_LOOP_BATCH];
	struct hk_list timers;
};

int hk_loop_init(struct hk_loop *l);
void hk_loop_done(struct hk_loop *l);
/* Runs until hk_loop_stop; 0, or -errno when epoll itself fails. */
int hk_loop_run(struct hk_loop *l);
/* One batch, waiting at most timeout_ms (-1 = until something happens). For tests and drains. */
int hk_loop_once(struct hk_loop *l, int timeout_ms);
void hk_loop_stop(struct hk_loop *l);

/* Prepares *s (not yet watched). */
void hk_source_init(struct hk_source *s, enum hk_pass pass, hk_source_fn *fn, void *owner);
/* Watches fd for EPOLL* events, level triggered; -EEXIST if s is already added. */
int hk_source_add(struct hk_loop *l, struct hk_source *s, int fd, uint32_t events);
int hk_source_mod(struct hk_loop *l, struct hk_source *s, uint32_t events);
/* Stops watching; harmless when not added. Call before closing the fd. */
void hk_source_del(struct hk_loop *l, struct hk_source *s);

void hk_timer_init(struct hk_timer *t, hk_timer_fn *fn, void *owner);
/* (Re)arms; delay 0 runs it in the next turn, after the current batch. */
void hk_timer_set(struct hk_loop *l, struct hk_timer *t, uint64_t delay_ms);
void hk_timer_cancel(struct hk_timer *t);
bool hk_timer_is_armed(const struct hk_timer *t);
/* Until an armed one is due, rounded up. */
uint64_t hk_timer_left_ms(const struct hk_timer *t);
uint64_t hk_now_ns(void); /* CLOCK_MONOTONIC */
