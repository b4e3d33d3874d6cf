/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/spawn.h — turns the `start` process' listening socket into a running server: a detached process of our own program, run from a
 * read-only image of it, which has said that it serves.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

struct hk_err;

struct shim_spawn {
	const char *ns, *id, *address, *group;
	const char *bundle; /* absolute; the server's cwd */
	bool debug;
	int listener;            /* borrowed */
	const char *shim_cgroup; /* NULL or "": stay in the caller's; "pod": a leaf of its own in the pod's (oci/cgroup_shim.h) */
};

/* A server that has not said yet whether it serves. */
struct shim_birth {
	pid_t pid;
	int ready; /* owned by shim_spawn_await; where it will say so */
};

/*
 * Returns when its program runs, or with the reason why it does not. The server has /dev/null as 0 to 2, a session of its own, this process'
 * environment, and an oom_score_adj one above that of our parent, which is containerd.
 */
int shim_spawn(const struct shim_spawn *s, struct shim_birth *ret, struct hk_err *err);
/* Returns when it serves, or with the reason why there is no server (its process is gone then). */
int shim_spawn_await(struct shim_birth *b, struct hk_err *err);

/* The server's side: tells `start` that it serves (text NULL) or why it does not, and closes the fd. Without a `start` a no-op. */
void shim_spawn_ready(int *take_fd, const char *text);
