/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/child.h — the processes whose parent we are, and the only place that reaps.
 *
 * A watched child is reaped when its pidfd becomes readable (pass EXIT) and its callback runs once. Anything else that dies
 * below us (orphans handed over by PR_SET_CHILD_SUBREAPER) is reaped by hk_reaper_sweep, which the owner of the SIGCHLD
 * signalfd calls; a watched child found there takes the same way as by its pidfd, and one that is held is left alone.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "oci/base/list.h"
#include "oci/base/loop.h"

struct hk_exit {
	int status; /* exit code, or 128 + signal; 255 when it was reaped before it was watched */
	bool was_signaled;
	struct timespec at; /* CLOCK_REALTIME, taken when reaped */
};
typedef void hk_child_fn(void *owner, const struct hk_exit *x);

struct hk_reaper {
	struct hk_loop *loop;
	struct hk_list children, holds;
	struct hk_timer sweep; /* what a hold kept from it */
	bool is_held_up;
};
enum { HK_HOLD_WHOEVER = -1 }; /* a pid that is not known until it is watched: then nobody unknown is reaped meanwhile */
/* A child that will be watched, but not yet: a process may live and end between its birth and the moment the loop hears of it. */
struct hk_hold {
	struct hk_list node;
	const volatile pid_t *pid; /* borrowed; 0 in there = not born */
	struct hk_reaper *reaper;
};
struct hk_child {
	pid_t pid;    /* in our pid namespace; 0 = not watched */
	int pidfd;    /* owned until done; -1 = none. Stays open (and sends to nobody) after the exit */
	bool is_dead; /* reaped: signals answer -ESRCH */
	struct hk_source src;
	struct hk_list node;
	struct hk_reaper *reaper;
	hk_child_fn *fn;
	void *owner;
};

struct hk_child_was {
	pid_t pid;
	int pidfd;
	bool is_dead;
};

void hk_reaper_init(struct hk_reaper *r, struct hk_loop *l);
/* Reaps whatever is dead; never blocks. */
void hk_reaper_sweep(struct hk_reaper *r);

/* Before the loop runs again. */
void hk_reaper_hold(struct hk_reaper *r, struct hk_hold *h, const volatile pid_t *pid);
/* Once it is watched, or within the same callback; nothing if it is not held (zeroed or released). Else it is the sweep's. */
void hk_reaper_release(struct hk_hold *h);

void hk_child_init(struct hk_child *c);
/* Takes *take_pidfd (set to -1, also on failure). The exit may already have happened: fn still runs from the loop, not from here. */
int hk_child_watch(struct hk_reaper *r, struct hk_child *c, pid_t pid, int *take_pidfd, hk_child_fn *fn, void *owner);
/*
 * The same for a child of an earlier image of this process (live upgrade); `is_dead`: it was told already. The pidfd is taken on success only, for who
 * fails goes back to that image.
 */
int hk_child_take_over(struct hk_reaper *r, struct hk_child *c, const struct hk_child_was *was, hk_child_fn *fn, void *owner);
/* pidfd_send_signal; -ESRCH once dead, -EINVAL for a number that is no signal. */
int hk_child_kill(const struct hk_child *c, int sig);
/* Waits for a child that nobody watches. For short-lived helpers and in the process that becomes a container; ret may be NULL. */
int hk_wait_blocking(pid_t pid, struct hk_exit *ret);
/* Stops watching and closes the pidfd. A child still alive is later reaped by the sweep. */
void hk_child_done(struct hk_child *c);
