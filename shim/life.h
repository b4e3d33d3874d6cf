/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/life.h — when the server ends: at Shutdown once no container is left, at SIGTERM, or when containerd has forgotten it. It ends
 * in order: no new connection, events out (at most 5 s if containerd has never taken one, or after a signal), answers written, socket gone.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/base/loop.h"
#include "shim/socket.h"

struct hk_err;
struct sbx_pod;
struct shim_events;
struct shim_listener;

struct shim_life {
	struct hk_loop *loop;
	struct sbx_pod *pod;
	struct shim_events *events;
	struct shim_listener *listener;
	char *cgroup;      /* owned: of our own in the pod's, to be taken away at the end; NULL = none */
	const char *group; /* of the shim */
	bool wants_cgroup; /* at CreateSandbox */
	const char *bundle; /* of the first container, "" = unknown */
	uint64_t idle_look_ms; /* 0 = the default of a second */
	char socket[SHIM_SOCKET_PATH_MAX];
	dev_t socket_dev; /* of our own socket file: a path may be somebody else's by the time we end */
	ino_t socket_ino;
	unsigned int n_creating;
	bool shutdown_wanted; /* asked while containers were left */
	bool lingers;         /* at the end, until its clients have gone */
	bool is_ending;
	bool is_stopped; /* by a signal: whatever waits then has a few seconds */
	uint64_t n_heard; /* the listener's, at the last look */
	unsigned int n_idle, n_forgotten; /* looks in a row that found no container; no bundle and no client either */
	unsigned int n_flush;
	struct hk_timer idle;
	struct hk_timer check;
	struct hk_timer flush;
};

/* Finds out l->socket: the file that listener_fd is bound to, "" when there is none. */
void shim_life_name(struct shim_life *l, int listener_fd);
/* After shim_life_name; loop, pod, events, listener and bundle are set by the caller. */
void shim_life_init(struct shim_life *l);
/* CreateSandbox has named the pod's cgroup: we go there if we are to (ShimCgroup "pod"). The state file knows it when this returns. */
int shim_life_enter(struct shim_life *l, const char *pod, struct hk_err *err);
/* A Create came; false: too late, we are ending. Each true is followed by one shim_life_created, whatever became of it. */
bool shim_life_creating(struct shim_life *l);
void shim_life_created(struct shim_life *l);
/* Shutdown was asked for, and is about to be answered: with nothing left, the names are gone when this returns. */
void shim_life_shutdown(struct shim_life *l);
/* The same for ShutdownSandbox, whose client must not see the end of the connection before it has taken the answer. */
void shim_life_shutdown_sandbox(struct shim_life *l);
/* A container may be gone. */
void shim_life_deleted(struct shim_life *l);
/* SIGTERM: end now, containers go on. */
void shim_life_stop(struct shim_life *l);
void shim_life_done(struct shim_life *l);
