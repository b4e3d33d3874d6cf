/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/upgrade.h — a running shim replaced by another version of itself: same pid, descriptors, calls without an answer, queued events. This is the side
 * that goes; the one that comes is shim/resume.h.
 *
 * In order, each step refused with a text and without a trace: the file is a regular one of root's that others cannot write, and knows the state's format;
 * nothing is half done in the pod (creates, starts, deletes end first, requests wait in their sockets meanwhile, never more than a second at a stretch);
 * the new program takes the whole state over in a child, as a rehearsal that touches nothing; execve. What comes after that, the new program
 * answers for: it goes back to the old one if it fails.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hk_loop;
struct hk_reaper;
struct node_service;
struct sbx_pod;
struct shim_events;
struct shim_flags;
struct shim_history;
struct shim_life;
struct shim_listener;
struct task_service;
struct ttrpc_call;
struct upgrade_run;

/* What goes along. */
struct shim_upgrade {
	const struct shim_flags *flags;
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	const struct sbx_pod *pod;
	struct shim_events *events;
	const struct shim_history *history;
	struct shim_life *life;
	struct shim_listener *listener;
	const struct task_service *task;
	struct node_service *node;
	int log_fd; /* borrowed */
	struct upgrade_run *run; /* owned; NULL = none is under way */
};

/* The first four bytes of ours tell a shim that can be upgraded from any other program, which must not be run to find out. */
#define SHIM_TAKES_STATE "husk-shim takes "

struct shim_upgrade_request {
	const char *path; /* of the program; borrowed */
	uint64_t timeout_ms; /* for what is half done; 0 = the default */
};
/* Ends the call: with a failure from here, or with the facts of shim/resume.h from the program that has come. */
void shim_upgrade(struct shim_upgrade *u, struct ttrpc_call *call, const struct shim_upgrade_request *r);
/* The shim ends. */
void shim_upgrade_done(struct shim_upgrade *u);
