/* SPDX-License-Identifier: Apache-2.0 */
/* shim/node.c — see node.h. */
#include "shim/node.h"

#include <stdlib.h>

#include "proto/envelope.h"
#include "proto/node.pb-c.h"
#include "shim/history.h"
#include "shim/upgrade.h"

struct watcher {
	struct hk_list node; /* in node_service.watchers */
	struct ttrpc_call *call;
	uint32_t after;
};

static void answer(struct watcher *w, const struct shim_history *h)
{
	hk_list_remove(&w->node);
	convert_reply_node_events(w->call, h, w->after);
	free(w);
}

static void on_told(void *owner)
{
	struct node_service *n = owner;

	hk_list_for_safe(pos, next, &n->watchers)
		answer(hk_container_of(pos, struct watcher, node), n->history);
}

/* The tool was ended by ^C. */
static void on_orphan(void *arg, struct ttrpc_call *call)
{
	struct watcher *w = arg;

	hk_list_remove(&w->node);
	free(w);
	ttrpc_call_fail(call, TTRPC_CANCELED, "connection closed");
}

static void node_state(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	(void)request;
	convert_reply_node_state(call, ctx);
}

static void node_events(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct node_service *n = ctx;
	const uint32_t after = convert_node_after(request);
	struct watcher *w;

	/* A number that was never given is another shim's, before this one took its place: from the beginning. */
	if (after != n->history->last_seq) {
		convert_reply_node_events(call, n->history, after > n->history->last_seq ? 0 : after);
		return;
	}
	w = calloc(1, sizeof(*w));
	if (!w) {
		ttrpc_call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	w->call = call;
	w->after = after;
	hk_list_append(&n->watchers, &w->node);
	ttrpc_call_park(call);
	ttrpc_call_on_orphan(call, on_orphan, w);
}

static void node_upgrade(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct node_service *n = ctx;
	const struct shim_upgrade_request r = convert_node_upgrade(request);

	shim_upgrade(n->upgrade, call, &r);
}

const struct ttrpc_method node_methods[NODE_N_METHODS] = {
	{ "State", &husk__node__state_request__descriptor, node_state },
	{ "Events", &husk__node__events_request__descriptor, node_events },
	{ "Upgrade", &husk__node__upgrade_request__descriptor, node_upgrade },
};

void node_init(struct node_service *n)
{
	hk_list_init(&n->watchers);
	hk_timer_init(&n->told, on_told, n);
}

void node_tell(struct node_service *n, struct hk_loop *loop)
{
	if (!hk_list_is_empty(&n->watchers))
		hk_timer_set(loop, &n->told, 0);
}

void node_answer(struct node_service *n)
{
	on_told(n);
}

void node_done(struct node_service *n)
{
	hk_timer_cancel(&n->told);
	on_told(n);
}
