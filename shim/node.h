/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/node.h — husk.node.Node, our own service beside containerd's, asked by the tool `husk`: State tells everything at once, Events answers
 * when there is a later one, Upgrade replaces the shim. All but that one only read.
 */
#pragma once
#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "proto/dispatch.h"

struct sbx_pod;
struct shim_events;
struct shim_history;
struct shim_listener;
struct shim_upgrade;
struct shim_upgrade_request;
struct task_service;

/* The handlers' ctx, also where convert_node.c finds all that State tells. */
struct node_service {
	const char *ns, *group;
	const struct sbx_pod *pod;
	const struct shim_events *events;
	const struct shim_history *history;
	const struct shim_listener *listener;
	const struct task_service *task;
	struct shim_upgrade *upgrade;
	struct hk_list watchers; /* Events calls that wait */
	struct hk_timer told;
};

enum { NODE_N_METHODS = 3 };
extern const struct ttrpc_method node_methods[NODE_N_METHODS];

void node_init(struct node_service *n);
/* The history has grown: watchers are answered in the next turn of the loop, with all that happened in this one. */
void node_tell(struct node_service *n, struct hk_loop *loop);
/* Answers who waits, with nothing new: they ask again. */
void node_answer(struct node_service *n);
/* The same for good, so that nothing is left of them. */
void node_done(struct node_service *n);

/* convert_node.c */
void convert_reply_node_state(struct ttrpc_call *call, const struct node_service *n);
void convert_reply_node_events(struct ttrpc_call *call, const struct shim_history *h, uint32_t after);
uint32_t convert_node_after(const ProtobufCMessage *request);
struct shim_upgrade_request convert_node_upgrade(const ProtobufCMessage *request); /* shim/upgrade.h */
struct node_upgraded {
	const char *old_version, *old_revision;
	uint64_t held_ms;
};
void convert_reply_node_upgraded(struct ttrpc_call *call, const struct node_upgraded *u);
