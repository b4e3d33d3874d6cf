/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/pod.h — what is timed: the life of a pod, its containers and execs, as containerd would drive it, from `start` to Shutdown. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/client.h"

struct bench_peer {
	char name[32];
	char binary[256];  /* the shim */
	char service[64];
	char address[128]; /* containerd's, which there need not be */
	char path[512];    /* "PATH=...", where the shim finds its runtime */
};

struct bench_pod {
	struct bench_conn conn;
	char id[64];
	char socket[160];
	int pidfd; /* of the shim */
	pid_t shim_pid, init_pid;
	unsigned n_execs;
};

struct bench_times { /* of bench_pod_new, one after the other */
	uint64_t start, connect, create, run;
};

/* The end that takes every shim's events, as containerd's does; in a process of its own that ends with this one. Sets TTRPC_ADDRESS. */
void bench_take_events(const char *path);

/* procs: a cgroup.procs file that `start` enters first, or NULL. */
void bench_pod_new(const struct bench_peer *peer, struct bench_pod *p, const char *id, const char *bundle, const char *procs,
    struct bench_times *ret);
/* Create and Start of one more container: the time of both. */
uint64_t bench_container_new(struct bench_pod *p, const char *id, const char *bundle, uint64_t *ret_create);
/* Create alone, with stdout and, unless it has a terminal, stderr. */
struct bench_stdio {
	const char *out, *err;
	bool is_terminal;
};
void bench_container_create(struct bench_pod *p, const char *id, const char *bundle, const struct bench_stdio *io);
/* Exec, Start, Wait, Delete. process: config.json's process object. fifos: a directory to make stdout's and stderr's in, or NULL. */
uint64_t bench_exec(struct bench_pod *p, const char *id, const char *process, const char *fifos);
uint64_t bench_stats(struct bench_pod *p, const char *id);
/* From SIGKILL to the answer of a Wait that was there before. */
uint64_t bench_kill(struct bench_pod *p, const char *id);
/* Start, then Wait until it has ended by itself. */
void bench_run_to_end(struct bench_pod *p, const char *id);
uint64_t bench_delete(struct bench_pod *p, const char *id);
/* Shutdown until the shim's process is gone. */
uint64_t bench_pod_end(struct bench_pod *p);
