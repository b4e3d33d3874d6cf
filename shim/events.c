/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/events.c — the publisher. Events come in as protobuf messages, wait as the bytes of a ForwardRequest, and go out
 * over one connection with one call in flight. Any failure closes the connection and leaves the head where it is; only
 * an answer of InvalidArgument, which would be the same for ever, gives an event up. An answer lost with its connection
 * means that the event is sent again: containerd may see it twice, never not at all.
 */
#include "shim/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/log.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "proto/envelope.h"
#include "proto/events.pb-c.h"
#include "proto/names.h"

enum { RESERVE_BYTES = 640 }; /* two ids of 76 bytes, twice, and what is around them */
enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000, CALL_TIMEOUT_MS = 5000 };

struct topic {
	const char *name;
	const char *type_url;
	bool is_kept; /* never dropped: Docker and nerdctl track processes by these */
};
static const struct topic topics[SHIM_N_TOPICS] = {
	[SHIM_TASK_CREATE] = { "/tasks/create", "containerd.events.TaskCreate", false },
	[SHIM_TASK_START] = { "/tasks/start", "containerd.events.TaskStart", true },
	[SHIM_TASK_EXIT] = { "/tasks/exit", "containerd.events.TaskExit", true },
	[SHIM_TASK_DELETE] = { "/tasks/delete", "containerd.events.TaskDelete", false },
	[SHIM_TASK_OOM] = { "/tasks/oom", "containerd.events.TaskOOM", false },
	[SHIM_TASK_EXEC_ADDED] = { "/tasks/exec-added", "containerd.events.TaskExecAdded", false },
	[SHIM_TASK_EXEC_STARTED] = { "/tasks/exec-started", "containerd.events.TaskExecStarted", true },
	[SHIM_TASK_PAUSED] = { "/tasks/paused", "containerd.events.TaskPaused", false },
	[SHIM_TASK_RESUMED] = { "/tasks/resumed", "containerd.events.TaskResumed", false },
	[SHIM_TASK_CHECKPOINTED] = { "/tasks/checkpointed", "containerd.events.TaskCheckpointed", false },
};

struct event {
	struct hk_list node; /* in shim_events.queue */
	const struct topic *topic;
	size_t len;
	uint8_t bytes[]; /* ForwardRequest */
};

static struct event *head(const struct shim_events *e)
{
	return hk_container_of(e->queue.next, struct event, node);
}

static void refill(struct shim_events *e)
{
	if (!e->reserve && e->addr.sun_path[0])
		e->reserve = malloc(sizeof(*e->reserve) + RESERVE_BYTES);
}

static void event_free(struct shim_events *e, struct event *ev)
{
	hk_list_remove(&ev->node);
	e->n_queued--;
	if (!ev->topic->is_kept)
		e->n_droppable--;
	free(ev);
	refill(e);
}

static void pop(struct shim_events *e)
{
	event_free(e, head(e));
	if (e->n_queued > 0)
		return;
	if (e->n_dropped > 0)
		log_warn("events were dropped while containerd was away", LOG_INT("count", e->n_dropped));
	e->n_dropped = 0;
	if (e->on_flushed)
		hk_timer_set(e->loop, &e->flush_timer, 0);
}

static void disconnect(struct shim_events *e)
{
	e->is_in_flight = false;
	hk_timer_cancel(&e->timer);
	hk_source_del(e->loop, &e->src);
	e->fd = hk_close(e->fd);
	ttrpc_reader_done(&e->reader);
	ttrpc_buf_free(e->out);
	e->out = NULL;
	ttrpc_client_done(&e->client, "connection closed");
}

static void retry_later(struct shim_events *e, const char *what, const char *why)
{
	disconnect(e);
	if (e->backoff_ms == BACKOFF_MIN_MS)
		log_warn("event not taken by containerd, will retry", LOG_STR("topic", head(e)->topic->name),
		    LOG_STR("step", what), LOG_STR("err", why));
	hk_timer_set(e->loop, &e->timer, e->backoff_ms);
	e->backoff_ms = e->backoff_ms * 2 < BACKOFF_MAX_MS ? e->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* The answer to the head. Whoever fed the client looks for the next event afterwards. */
static void on_result(void *arg, const struct ttrpc_response *res)
{
	struct shim_events *e = arg;

	if (!e->is_in_flight)
		return;
	if (res->code != TTRPC_OK && res->code != TTRPC_INVALID_ARGUMENT) {
		retry_later(e, "forward", res->message);
		return;
	}
	if (res->code == TTRPC_INVALID_ARGUMENT)
		log_error("event refused by containerd", LOG_STR("topic", head(e)->topic->name),
		    LOG_STR("err", res->message));
	e->has_taken = true;
	e->is_in_flight = false;
	e->backoff_ms = BACKOFF_MIN_MS;
	hk_timer_cancel(&e->timer);
	pop(e);
}

static int connect_now(struct shim_events *e)
{
	/* A Unix socket connects at once or not at all: there is no EINPROGRESS, a full backlog is EAGAIN. */
	hk_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&e->addr, sizeof(e->addr)) < 0)
		return -errno;
	r = hk_source_add(e->loop, &e->src, fd, EPOLLIN);
	if (r < 0)
		return r;
	e->fd = hk_take_fd(&fd);
	ttrpc_client_init(&e->client);
	return 0;
}

/* Writes what it can of the request; -errno when the connection is broken. */
static int flush_out(struct shim_events *e)
{
	while (e->out && e->out->sent < e->out->len) {
		ssize_t n =
		    send(e->fd, e->out->data + e->out->sent, e->out->len - e->out->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return hk_source_mod(e->loop, &e->src, EPOLLIN | EPOLLOUT);
		if (n < 0)
			return -errno;
		e->out->sent += (size_t)n;
	}
	if (!e->out)
		return 0;
	ttrpc_buf_free(e->out);
	e->out = NULL;
	return e->src.events == EPOLLIN ? 0 : hk_source_mod(e->loop, &e->src, EPOLLIN);
}

static int send_head(struct shim_events *e)
{
	const struct ttrpc_outcall call = {
		.service = TTRPC_SERVICE_EVENTS,
		.method = "Forward",
		.ns = e->ns,
		.payload = head(e)->bytes,
		.payload_len = head(e)->len,
		.now_ns = hk_now_ns(),
		.timeout_ns = CALL_TIMEOUT_MS * UINT64_C(1000000),
	};
	int r = ttrpc_client_call(&e->client, &call, on_result, e, &e->out);

	if (r < 0)
		return r;
	e->is_in_flight = true;
	hk_timer_set(e->loop, &e->timer, CALL_TIMEOUT_MS);
	return flush_out(e);
}

/* Sends the head unless one is in flight or a back-off runs. */
static void pump(struct shim_events *e)
{
	int r = 0;

	if (e->n_queued == 0 || e->is_in_flight || e->is_held || hk_timer_is_armed(&e->timer))
		return;
	if (e->fd < 0)
		r = connect_now(e);
	if (r < 0) {
		retry_later(e, "connect", hk_errno_name(-r));
		return;
	}
	r = send_head(e);
	if (r < 0)
		retry_later(e, "send", hk_errno_name(-r));
}

static void on_timer(void *owner)
{
	struct shim_events *e = owner;

	if (e->is_in_flight)
		retry_later(e, "forward", "deadline exceeded");
	else
		pump(e);
}

static void on_hangup(struct shim_events *e, const char *why)
{
	if (e->is_in_flight)
		retry_later(e, "forward", why);
	else
		disconnect(e);
}

static void read_answers(struct shim_events *e)
{
	uint8_t bytes[1024];
	ssize_t n = recv(e->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	const uint8_t *data = bytes;
	struct ttrpc_frame frame;
	size_t left;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		on_hangup(e, n < 0 ? hk_errno_name(errno) : "connection closed");
		return;
	}
	left = (size_t)n;
	/* A result may have closed the connection; it is not opened again before pump(). */
	while (e->fd >= 0 && ttrpc_reader_next(&e->reader, &data, &left, &frame))
		if (ttrpc_client_input(&e->client, &frame) < 0)
			on_hangup(e, "malformed answer");
}

static void on_socket(void *owner, uint32_t events)
{
	struct shim_events *e = owner;

	if (events & EPOLLOUT) {
		int r = flush_out(e);

		if (r < 0) {
			on_hangup(e, hk_errno_name(-r));
			return;
		}
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_answers(e);
	pump(e);
}

static void on_flush_timer(void *owner)
{
	struct shim_events *e = owner;
	shim_flushed_fn *fn = e->on_flushed;

	e->on_flushed = NULL;
	if (fn)
		fn(e->flush_arg, shim_events_is_idle(e));
}

int shim_events_init(struct shim_events *e, struct hk_loop *loop, const char *address, const char *ns)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (address && hk_has_prefix(address, "unix://"))
		address += strlen("unix://");
	if (address && (address[0] == '\0' || address[0] == '/')) {
		if (hk_fmt(addr.sun_path, sizeof(addr.sun_path), "%s", address) < 0)
			return -EINVAL;
	} else if (address) {
		return -EINVAL;
	}
	*e = (struct shim_events){ .loop = loop, .addr = addr, .fd = -1, .backoff_ms = BACKOFF_MIN_MS };
	e->ns = strdup(ns);
	if (!e->ns)
		return -ENOMEM;
	hk_list_init(&e->queue);
	hk_source_init(&e->src, HK_PASS_RPC, on_socket, e);
	hk_timer_init(&e->timer, on_timer, e);
	hk_timer_init(&e->flush_timer, on_flush_timer, e);
	ttrpc_client_init(&e->client);
	refill(e);
	return e->reserve || !addr.sun_path[0] ? 0 : -ENOMEM;
}

/*
 * An event that may not be lost takes the reserve where there is no memory: made in good times, made again as soon as there is some. One is enough
 * for what a malloc here and there refuses; an exit has at most some 400 bytes.
 */
static struct event *event_alloc(struct shim_events *e, const struct topic *topic, size_t len)
{
	struct event *ev = malloc(sizeof(*ev) + len);

	if (!ev && topic->is_kept && len <= RESERVE_BYTES)
		ev = hk_take_ptr(e->reserve);
	return ev;
}

static struct event *event_new(struct shim_events *e, const struct topic *topic, const ProtobufCMessage *msg)
{
	Husk__Events__ForwardRequest rq;
	Husk__Events__Envelope envelope;
	Husk__Types__Timestamp at;
	Husk__Types__Any any;
	struct timespec now;
	struct event *ev;
	size_t inner, len;

	husk__events__forward_request__init(&rq);
	husk__events__envelope__init(&envelope);
	husk__types__timestamp__init(&at);
	husk__types__any__init(&any);
	inner = protobuf_c_message_get_packed_size(msg);
	any.value.len = inner;
	any.type_url = ttrpc_str(topic->type_url);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	at.seconds = now.tv_sec;
	at.nanos = (int32_t)now.tv_nsec;
	envelope.timestamp = &at;
	envelope.namespace_ = e->ns;
	envelope.topic = ttrpc_str(topic->name);
	envelope.event = &any;
	rq.envelope = &envelope;

	len = protobuf_c_message_get_packed_size(&rq.base);
	ev = event_alloc(e, topic, len + inner);
	if (!ev)
		return NULL;
	/* The message behind the place of the request, which gets a copy of it. */
	any.value.data = ev->bytes + len;
	(void)protobuf_c_message_pack(msg, any.value.data);
	ev->topic = topic;
	ev->len = protobuf_c_message_pack(&rq.base, ev->bytes);
	return ev;
}

/* Gives up the oldest event that may be given up; the one in flight may already be taken. */
static void drop_oldest(struct shim_events *e)
{
	hk_list_for(node, &e->queue) {
		struct event *ev = hk_container_of(node, struct event, node);

		if (ev->topic->is_kept || (e->is_in_flight && ev == head(e)))
			continue;
		event_free(e, ev);
		e->n_dropped++;
		return;
	}
}

void shim_events_publish(struct shim_events *e, enum shim_topic topic, const ProtobufCMessage *event)
{
	struct event *ev;

	if (e->addr.sun_path[0] == '\0') {
		if (!e->has_warned)
			log_warn("no TTRPC_ADDRESS: events are not published");
		e->has_warned = true;
		return;
	}
	ev = event_new(e, &topics[topic], event);
	if (!ev) {
		log_error("no memory for an event", LOG_STR("topic", topics[topic].name));
		return;
	}
	refill(e);
	hk_list_append(&e->queue, &ev->node);
	e->n_queued++;
	if (!ev->topic->is_kept && ++e->n_droppable > SHIM_EVENTS_DROPPABLE_MAX)
		drop_oldest(e);
	pump(e);
}

bool shim_events_has_taken(const struct shim_events *e)
{
	return e->has_taken;
}

bool shim_events_is_idle(const struct shim_events *e)
{
	return e->n_queued == 0;
}

const char *shim_events_head(const struct shim_events *e)
{
	return e->n_queued ? head(e)->topic->name : "";
}

void shim_events_flush(struct shim_events *e, uint64_t timeout_ms, shim_flushed_fn *fn, void *arg)
{
	e->on_flushed = fn;
	e->flush_arg = arg;
	hk_timer_set(e->loop, &e->flush_timer, e->n_queued ? timeout_ms : 0);
	if (e->n_queued > 0 && !e->is_in_flight) {
		/* Time is short: try now rather than at the end of the back-off. */
		hk_timer_cancel(&e->timer);
		e->backoff_ms = BACKOFF_MIN_MS;
		pump(e);
	}
}

/* ---- an upgrade ---- */

HK_RECORD_WHOLE(struct shim_events, 384);

void shim_events_hold(struct shim_events *e, bool is_held)
{
	e->is_held = is_held;
	if (!is_held)
		pump(e);
}

void shim_events_save(const struct shim_events *e, struct hk_record *to)
{
	hk_record_bool(to, "has_taken", e->has_taken);
	hk_record_bool(to, "has_warned", e->has_warned);
	hk_record_num(to, "dropped", (int64_t)e->n_dropped);
	hk_record_num(to, "backoff_ms", (int64_t)e->backoff_ms);
	if (hk_timer_is_armed(&e->timer))
		hk_record_num(to, "backoff_left", (int64_t)hk_timer_left_ms(&e->timer));
	hk_list_for(node, &e->queue) {
		const struct event *ev = hk_container_of(node, struct event, node);

		hk_record_begin(to, "event");
		hk_record_str(to, "topic", ev->topic->name);
		hk_record_bytes(to, "request", ev->bytes, ev->len);
		hk_record_end(to);
	}
}

static const struct topic *topic_of(const struct hk_value *from)
{
	const char *name = hk_value_str(from, "topic");

	for (size_t i = 0; i < SHIM_N_TOPICS; i++)
		if (strcmp(topics[i].name, name) == 0)
			return &topics[i];
	/* Of a version that has more of them: containerd knows it by its bytes, and it is not ours to drop. */
	return &topics[SHIM_TASK_EXIT];
}

static int load_event(struct shim_events *e, const struct hk_value *from)
{
	const struct topic *topic = topic_of(from);
	struct event *ev;
	size_t len;
	const void *bytes = hk_value_bytes(from, "request", &len);

	if (!bytes) {
		hk_value_wrong(from, "request", "is missing");
		return 0;
	}
	ev = malloc(sizeof(*ev) + len);
	if (!ev)
		return -ENOMEM;
	ev->topic = topic;
	ev->len = len;
	memcpy(ev->bytes, bytes, len);
	hk_list_append(&e->queue, &ev->node);
	e->n_queued++;
	e->n_droppable += !topic->is_kept;
	return 0;
}

int shim_events_load(struct shim_events *e, const struct hk_value *from)
{
	const int64_t left = hk_value_num_or(from, "backoff_left", -1), backoff = hk_value_num_or(from, "backoff_ms", BACKOFF_MIN_MS);
	int r = 0;

	e->is_held = true;
	e->has_taken = hk_value_bool(from, "has_taken");
	e->has_warned = hk_value_bool(from, "has_warned");
	e->n_dropped = (uint64_t)hk_value_num_or(from, "dropped", 0);
	if (backoff >= BACKOFF_MIN_MS && backoff <= BACKOFF_MAX_MS)
		e->backoff_ms = (uint64_t)backoff;
	if (left >= 0)
		hk_timer_set(e->loop, &e->timer, (uint64_t)left);
	for (const struct hk_value *v = hk_value_get(from, "event"); r == 0 && v; v = hk_value_next(v))
		r = load_event(e, v);
	return r;
}

void shim_events_done(struct shim_events *e)
{
	hk_timer_cancel(&e->flush_timer);
	disconnect(e);
	while (e->n_queued > 0)
		event_free(e, head(e));
	free(e->reserve);
	e->reserve = NULL;
	free(e->ns);
	e->ns = NULL;
}
