/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/events.h — task events to containerd: an ordered queue, sent one at a time by Events.Forward over ttrpc.
 *
 * The head stays until containerd has taken it, over any number of its restarts (back-off 100 ms to 5 s, for ever), so
 * the order is total. Starts and exits are never dropped; of the others at most 4096 wait, then the oldest goes and is
 * counted. Publishing only appends: it never blocks and never fails a request.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "proto/client.h"
#include "proto/frame.h"

struct hk_record;
struct hk_value;

enum { SHIM_EVENTS_DROPPABLE_MAX = 4096 };

/* The topic decides the type URL: publish the message of the same name from proto/events.proto. */
enum shim_topic {
	SHIM_TASK_CREATE,
	SHIM_TASK_START,
	SHIM_TASK_EXIT,
	SHIM_TASK_DELETE,
	SHIM_TASK_OOM,
	SHIM_TASK_EXEC_ADDED,
	SHIM_TASK_EXEC_STARTED,
	SHIM_TASK_PAUSED,
	SHIM_TASK_RESUMED,
	SHIM_TASK_CHECKPOINTED,
	SHIM_N_TOPICS
};

/* True: everything was taken. False: the time was over first. */
typedef void shim_flushed_fn(void *arg, bool is_complete);

struct shim_events {
	struct hk_loop *loop;
	char *ns;                /* owned */
	struct sockaddr_un addr; /* empty path = none known */
	bool has_warned, has_taken;
	bool is_held; /* the next event waits */
	/* queue */
	struct hk_list queue;
	size_t n_queued;
	size_t n_droppable;
	uint64_t n_dropped;
	struct event *reserve; /* owned; memory for one that may not be lost */
	/* connection */
	int fd;            /* owned; -1 = none */
	bool is_in_flight; /* the head is with containerd */
	struct hk_source src;
	struct hk_timer timer; /* the head's deadline while in flight, else the back-off */
	uint64_t backoff_ms;   /* the next one */
	struct ttrpc_client client;
	struct ttrpc_reader reader;
	struct ttrpc_buf *out;
	/* flush */
	struct hk_timer flush_timer;
	shim_flushed_fn *on_flushed;
	void *flush_arg;
};

/* `address`: a path, unix://path, or NULL/"" (one warning, events are dropped). -EINVAL: not absolute, or too long. */
int shim_events_init(struct shim_events *e, struct hk_loop *loop, const char *address, const char *ns);
/* Queues the event with the present time. The message is encoded here and not kept. */
void shim_events_publish(struct shim_events *e, enum shim_topic topic, const ProtobufCMessage *event);
bool shim_events_is_idle(const struct shim_events *e);
/* Containerd has taken one, so it exists, though it may be away just now. */
bool shim_events_has_taken(const struct shim_events *e);
/* The topic of the event that is next, "" when none is. */
const char *shim_events_head(const struct shim_events *e);
/* Calls fn once from the loop: when the queue is empty, or after timeout_ms. For the shutdown. One at a time. */
void shim_events_flush(struct shim_events *e, uint64_t timeout_ms, shim_flushed_fn *fn, void *arg);
/* Sends none any more until it is held no longer; the one under way is waited for (is_in_flight). */
void shim_events_hold(struct shim_events *e, bool is_held);
/* Over an upgrade: the queue, in its order. A load goes into a fresh one, which is held then; -ENOMEM. */
void shim_events_save(const struct shim_events *e, struct hk_record *to);
int shim_events_load(struct shim_events *e, const struct hk_value *from);
/* Drops what is queued. */
void shim_events_done(struct shim_events *e);
