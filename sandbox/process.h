/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/process.h — an init or an exec, and the requests that wait for something of it. Private to sandbox/. */
#pragma once
#include "oci/base/child.h"
#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "sandbox/sandbox.h"
#include "sandbox/state.h"

struct sbx_container;
struct sbx_stdio;

/* Requests that wait for the same end. */
struct sbx_call {
	struct hk_list node;
	struct sbx_done done;
	/* Wait only */
	struct hk_loop *loop;
	struct hk_timer timer;
};

struct sbx_process { /* the init, embedded in its container, or an exec (heap) */
	struct hk_list node; /* in container.execs */
	struct sbx_container *c;
	enum proc_state state;
	char *exec_id; /* NULL = the init */
	char *paths[3];
	bool terminal;
	bool is_failed;  /* exec: its start failed; a Wait is answered with nothing */
	bool is_opening; /* exec: waits for readers of its FIFOs, the engine knows nothing of it yet */
	bool is_stdin_closed; /* CloseIO came before the start */
	struct sbx_stdio *io;
	struct hk_child child;
	uint32_t pid;    /* 0 = none yet; stays after the exit */
	struct hk_exit x; /* once state is PROC_DEAD or later */
	struct hk_list waiters; /* struct sbx_call */
	struct hk_list deletes; /* struct sbx_call */
	uint64_t killed_ns;     /* kill.c: the first SIGKILL; 0 = none yet */
	int end_signal;         /* kill.c: the signal that ended an init that was not started; 0 = none */
	struct hk_timer stuck;
	/* an exec between Exec and Start */
	char *spec_json;
	size_t spec_json_len;
	struct sbx_done start;
	struct hk_timer linger; /* an exec that has ended while somebody still holds its output */
	/* an exec with a cgroup of its own (husk.io/exec-kill-tree) */
	bool has_tree;   /* its end has not been seen yet */
	bool is_drained; /* a Delete waits for that end alone */
	struct hk_timer tree_timer;
	uint64_t tree_until_ns;
	unsigned tree_delay_ms;
};

/* ---- process.c ---- */
void process_init(struct sbx_process *proc, struct sbx_container *c);
/* Copies the stdio strings; -ENOMEM. */
int process_set_paths(struct sbx_process *proc, const char *const paths[3], bool terminal);
void process_done(struct sbx_process *proc);
struct sbx_reply process_reply(const struct sbx_process *proc);
/* The exit is a fact now: answers the waiters, then the event. */
void process_tell_exit(struct sbx_process *proc);

/* ---- exec.c ---- */
void exec_start(struct sbx_process *proc, struct sbx_done done);
void exec_delete(struct sbx_process *proc, struct sbx_done done);
void exec_free(struct sbx_process *proc);
/* An exec is starting or running. */
bool execs_are_alive(const struct sbx_container *c);
/* The init is dead: an exec that still waits for its FIFOs' readers will never start. */
void execs_refuse_opening(struct sbx_container *c);
