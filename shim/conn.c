/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/conn.c — accepted sockets between the loop and proto/. Bytes read go through a frame reader into the
 * connection's session; frames from the session are written at once as far as the socket takes them and wait in a list
 * otherwise. A connection is freed only by its own event or by shim_listener_done: a failed write merely shuts the
 * socket down, since it may happen deep inside a handler, and the hang-up event does the rest.
 */
#include "shim/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "oci/base/record.h"
#include "proto/frame.h"

enum {
	/* One recv: a few requests, on the stack, so an idle connection has no buffer; a Start costs milliseconds. */
	READ_BYTES = 512,
	READS_PER_TURN = 256,    /* then the other sources get their turn, ... */
	TURN_NS = 2000000,       /* ... or after this */
	QUEUE_PAUSE = 256 << 10, /* no more requests from a peer that leaves this much unread */
	QUEUE_MAX = 16 << 20,    /* late answers of calls already taken: beyond it the peer is given up */
	ACCEPT_RETRY_MS = 200,
	SURPLUS_MS = 5000,
};

struct conn {
	struct hk_list node; /* in shim_listener.conns */
	struct shim_listener *listener;
	struct hk_source src;
	int fd; /* owned */
	bool is_dead;
	bool is_surplus; /* one too many: a closed socket would tell containerd that the shim is dead, so it is told what it is */
	struct ttrpc_reader reader;
	struct ttrpc_session session;
	struct ttrpc_buf *out_head, **out_tail;
	size_t out_bytes;
};

static void drop_queue(struct conn *c)
{
	while (c->out_head) {
		struct ttrpc_buf *b = c->out_head;

		c->out_head = b->next;
		ttrpc_buf_free(b);
	}
	c->out_tail = &c->out_head;
	c->out_bytes = 0;
}

static void conn_free(struct conn *c)
{
	struct shim_listener *l = c->listener;

	hk_source_del(l->loop, &c->src);
	hk_list_remove(&c->node);
	if (c->is_surplus)
		l->n_surplus--;
	else
		l->n_conns--;
	/* The sink is silent from here; owners of open calls are told and may answer them into nothing. */
	c->is_dead = true;
	ttrpc_session_done(&c->session);
	ttrpc_reader_done(&c->reader);
	drop_queue(c);
	c->fd = hk_close(c->fd);
	free(c);
}

static void conn_kill(struct conn *c)
{
	c->is_dead = true;
	drop_queue(c);
	/* Gives EPOLLHUP, which cannot be masked. */
	(void)shutdown(c->fd, SHUT_RDWR);
}

static void set_events(struct conn *c)
{
	uint32_t events = (c->out_bytes < QUEUE_PAUSE && !c->listener->is_held ? EPOLLIN : 0) | (c->out_head ? EPOLLOUT : 0);

	if (c->is_dead || c->src.events == events)
		return;
	if (hk_source_mod(c->listener->loop, &c->src, events) < 0)
		conn_kill(c);
}

static void flush(struct conn *c)
{
	while (c->out_head) {
		struct ttrpc_buf *b = c->out_head;
		ssize_t n = send(c->fd, b->data + b->sent, b->len - b->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			conn_kill(c);
			return;
		}
		b->sent += (size_t)n;
		c->out_bytes -= (size_t)n;
		if (b->sent < b->len)
			continue;
		c->out_head = b->next;
		if (!c->out_head)
			c->out_tail = &c->out_head;
		ttrpc_buf_free(b);
	}
}

static void on_frame_out(void *owner, struct ttrpc_buf *take_frame)
{
	struct conn *c = owner;

	if (c->is_dead) {
		ttrpc_buf_free(take_frame);
		return;
	}
	if (!take_frame) {
		log_error("no memory for an answer, connection dropped");
		conn_kill(c);
		return;
	}
	*c->out_tail = take_frame;
	c->out_tail = &take_frame->next;
	c->out_bytes += take_frame->len;
	/* When something waits already the socket is full: writing now would only cost a call. */
	if (c->out_head == take_frame)
		flush(c);
	if (c->out_bytes > QUEUE_MAX) {
		log_warn("peer does not read its answers, connection dropped", LOG_INT("bytes", c->out_bytes));
		conn_kill(c);
	}
	set_events(c);
}

static void refuse(struct conn *c, const struct ttrpc_frame *f)
{
	struct ttrpc_buf *frame = NULL;

	if (f->type != TTRPC_REQUEST)
		return;
	(void)ttrpc_response_encode_error(TTRPC_RESOURCE_EXHAUSTED, "too many connections", f->stream, &frame);
	on_frame_out(c, frame);
}

static void input(struct conn *c, const struct ttrpc_frame *f)
{
	if (c->is_surplus)
		refuse(c, f);
	else
		ttrpc_session_input(&c->session, f);
}

/* False when the connection is at its end. */
static bool read_some(struct conn *c)
{
	const uint64_t until_ns = hk_now_ns() + TURN_NS;
	uint8_t bytes[READ_BYTES];

	for (int i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		const uint8_t *data = bytes;
		struct ttrpc_frame frame;
		size_t left;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		left = (size_t)n;
		c->session.now_ns = hk_now_ns();
		while (!c->is_dead && ttrpc_reader_next(&c->reader, &data, &left, &frame))
			input(c, &frame);
		if (c->is_dead)
			return false;
		if ((size_t)n < sizeof(bytes) || c->out_bytes >= QUEUE_PAUSE || c->listener->is_held || hk_now_ns() >= until_ns)
			return true;
	}
	return true;
}

static void on_conn(void *owner, uint32_t events)
{
	struct conn *c = owner;

	if (c->is_dead) {
		conn_free(c);
		return;
	}
	if (events & EPOLLOUT)
		flush(c);
	/*
	 * EPOLLHUP: the peer has closed both ways. Requests it sent before are still read and done (a Kill needs no
	 * reader of its answer), unless its answers are in the way; then there is nobody to take them.
	 */
	if (!c->is_dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !read_some(c)) {
		conn_free(c);
		return;
	}
	if (!c->is_dead && (events & (EPOLLHUP | EPOLLERR)) && c->out_bytes >= QUEUE_PAUSE)
		conn_kill(c);
	set_events(c);
}

static bool is_peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (peer.uid == geteuid() && peer.gid == getegid())
		return true;
	log_warn("connection refused: peer is another user", LOG_INT("pid", peer.pid), LOG_INT("uid", peer.uid),
	    LOG_INT("gid", peer.gid));
	return false;
}

/* Takes the socket on success. */
static int conn_new(struct shim_listener *l, int fd, bool is_surplus, struct conn **ret)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->listener = l;
	c->is_surplus = is_surplus;
	c->out_tail = &c->out_head;
	hk_source_init(&c->src, HK_PASS_RPC, on_conn, c);
	r = hk_source_add(l->loop, &c->src, fd, l->is_held ? 0 : EPOLLIN);
	if (r < 0) {
		free(c);
		return r;
	}
	c->fd = fd;
	ttrpc_session_init(&c->session, l->server, on_frame_out, c);
	hk_list_append(&l->conns, &c->node);
	if (!is_surplus)
		l->n_conns++;
	else if (l->n_surplus++ == 0)
		hk_timer_set(l->loop, &l->surplus, SURPLUS_MS);
	*ret = c;
	return 0;
}

int shim_listener_adopt(struct shim_listener *l, int *take_fd)
{
	hk_autofd fd = hk_take_fd(take_fd);
	struct conn *c;
	int r;

	/* The socket is the whole authority: who may connect may run anything as root. */
	if (!is_peer_allowed(fd))
		return -EPERM;
	if (l->n_conns >= SHIM_CONN_MAX)
		log_warn("connection refused: too many", LOG_INT("limit", SHIM_CONN_MAX));
	if (l->n_conns >= SHIM_CONN_MAX && l->n_surplus >= SHIM_SURPLUS_MAX)
		return -EMFILE;
	r = conn_new(l, fd, l->n_conns >= SHIM_CONN_MAX, &c);
	if (r < 0)
		return r;
	fd = -1;
	l->n_heard++;
	return 0;
}

static void on_accept_retry(void *owner)
{
	struct shim_listener *l = owner;

	if (l->fd >= 0 && !l->is_held && l->src.fd < 0 && hk_source_add(l->loop, &l->src, l->fd, EPOLLIN) < 0)
		hk_timer_set(l->loop, &l->retry, ACCEPT_RETRY_MS);
}

static void on_listener(void *owner, uint32_t events)
{
	struct shim_listener *l = owner;
	int fd;

	(void)events;
	while ((fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		(void)shim_listener_adopt(l, &fd);
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* Out of fds or memory: the pending connection keeps the socket readable, so look away for a moment. */
	log_warn("accept failed", LOG_INT("errno", errno));
	hk_source_del(l->loop, &l->src);
	hk_timer_set(l->loop, &l->retry, ACCEPT_RETRY_MS);
}

/* They have been told by now; whoever still has not asked anything only holds a descriptor of ours. */
static void on_surplus(void *owner)
{
	struct shim_listener *l = owner;

	hk_list_for_safe(node, next, &l->conns) {
		struct conn *c = hk_container_of(node, struct conn, node);

		if (c->is_surplus)
			conn_free(c);
	}
}

static void prepare(struct shim_listener *l, struct hk_loop *loop, struct ttrpc_server *server)
{
	*l = (struct shim_listener){ .loop = loop, .server = server, .fd = -1 };
	hk_list_init(&l->conns);
	hk_source_init(&l->src, HK_PASS_RPC, on_listener, l);
	hk_timer_init(&l->retry, on_accept_retry, l);
	hk_timer_init(&l->surplus, on_surplus, l);
}

int shim_listener_init(struct shim_listener *l, struct hk_loop *loop, struct ttrpc_server *server, int *take_fd)
{
	hk_autofd fd = hk_take_fd(take_fd);
	int r;

	prepare(l, loop, server);
	r = hk_set_nonblock(fd, true);
	if (r < 0)
		return r;
	r = hk_source_add(loop, &l->src, fd, EPOLLIN);
	if (r < 0)
		return r;
	l->fd = hk_take_fd(&fd);
	return 0;
}

/* ---- an upgrade ---- */

void shim_listener_hold(struct shim_listener *l, bool is_held)
{
	l->is_held = is_held;
	if (is_held)
		hk_source_del(l->loop, &l->src);
	else
		on_accept_retry(l);
	hk_list_for(node, &l->conns)
		set_events(hk_container_of(node, struct conn, node));
}

static void save_conn(const struct conn *c, struct hk_record *to)
{
	const struct ttrpc_half half = ttrpc_reader_half(&c->reader);

	hk_record_begin(to, "connection");
	hk_record_fd(to, "fd", c->fd);
	hk_record_bool(to, "is_surplus", c->is_surplus);
	hk_record_num(to, "last_stream", c->session.last_stream);
	hk_record_bytes(to, "head", half.head, half.n_head);
	hk_record_num(to, "done", (int64_t)half.done);
	hk_record_bytes(to, "payload", half.payload, half.payload ? half.done : 0);
	hk_record_bool(to, "is_skipping", half.is_skipping);
	for (const struct ttrpc_buf *b = c->out_head; b; b = b->next)
		hk_record_bytes(to, "out", b->data + b->sent, b->len - b->sent);
	hk_record_end(to);
}

void shim_listener_save(const struct shim_listener *l, struct hk_record *to)
{
	hk_record_fd(to, "listener", l->fd);
	hk_list_for(node, &l->conns) {
		const struct conn *c = hk_container_of(node, struct conn, node);

		if (!c->is_dead)
			save_conn(c, to);
	}
}

/* A frame's buffer with only the rest of it; the header that comes with the buffer is written over. */
static int load_out(struct conn *c, const struct hk_value *v)
{
	size_t len;
	const void *bytes = hk_value_bytes_of(v, &len);
	struct ttrpc_buf *b = len ? ttrpc_buf_new(TTRPC_RESPONSE, 0, 0, len) : NULL;

	if (!b)
		return len ? -ENOMEM : 0;
	memcpy(b->data, bytes, len);
	b->len = len;
	*c->out_tail = b;
	c->out_tail = &b->next;
	c->out_bytes += len;
	return 0;
}

static int load_conn(struct shim_listener *l, const struct hk_value *from)
{
	struct ttrpc_half half = { .done = (size_t)hk_value_num_or(from, "done", 0), .is_skipping = hk_value_bool(from, "is_skipping") };
	const int fd = hk_value_fd(from, "fd");
	struct conn *c;
	size_t n;
	int r = fd < 0 ? -EBADF : conn_new(l, fd, hk_value_bool(from, "is_surplus"), &c);

	if (r < 0)
		return r;
	c->session.last_stream = (uint32_t)hk_value_num(from, "last_stream");
	half.head = hk_value_bytes(from, "head", &half.n_head);
	half.payload = hk_value_bytes(from, "payload", &n);
	if (half.payload && n != half.done)
		hk_value_wrong(from, "payload", "has another length");
	else if (!ttrpc_reader_resume(&c->reader, &half))
		r = -ENOMEM;
	for (const struct hk_value *v = hk_value_get(from, "out"); r == 0 && v; v = hk_value_next(v))
		r = load_out(c, v);
	return r;
}

int shim_listener_load(struct shim_listener *l, struct hk_loop *loop, struct ttrpc_server *server, const struct hk_value *from)
{
	int r = 0;

	prepare(l, loop, server);
	l->fd = hk_value_fd(from, "listener");
	l->is_held = true;
	for (const struct hk_value *v = hk_value_get(from, "connection"); r == 0 && v; v = hk_value_next(v))
		r = load_conn(l, v);
	return r;
}

int shim_conn_number(const struct ttrpc_session *s)
{
	return ((const struct conn *)s->owner)->fd;
}

struct ttrpc_session *shim_conn_session(const struct shim_listener *l, int number)
{
	hk_list_for(node, &l->conns) {
		struct conn *c = hk_container_of(node, struct conn, node);

		if (c->fd == number)
			return &c->session;
	}
	return NULL;
}

void shim_listener_stop(struct shim_listener *l)
{
	hk_timer_cancel(&l->retry);
	hk_source_del(l->loop, &l->src);
	l->fd = hk_close(l->fd);
}

void shim_listener_leave(const struct shim_listener *l)
{
	(void)hk_close(l->fd);
	hk_list_for(node, &l->conns)
		(void)hk_close(hk_container_of(node, struct conn, node)->fd);
}

bool shim_listener_is_flushed(const struct shim_listener *l)
{
	hk_list_for(node, &l->conns) {
		if (hk_container_of(node, struct conn, node)->out_head)
			return false;
	}
	return true;
}

void shim_listener_done(struct shim_listener *l)
{
	shim_listener_stop(l);
	hk_timer_cancel(&l->surplus);
	while (!hk_list_is_empty(&l->conns))
		conn_free(hk_container_of(l->conns.next, struct conn, node));
}
