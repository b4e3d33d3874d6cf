/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_call.c — one call over a connection of its own, waiting for its answer. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "proto/client.h"
#include "proto/frame.h"
#include "shim/tool.h"

struct wait {
	const struct tool_call *what;
	struct ttrpc_client client;
	struct ttrpc_reader reader;
	ProtobufCMessage *answer; /* owned */
	char *text;
	size_t size;
	int r;
	bool is_done;
};

static void on_result(void *arg, const struct ttrpc_response *res)
{
	struct wait *w = arg;

	w->is_done = true;
	if (res->code == TTRPC_OK) {
		w->answer = ttrpc_unpack(w->what->answer, res->payload, res->payload_len);
		w->r = w->answer ? 0 : -EBADMSG;
		(void)hk_fmt(w->text, w->size, "%s", w->answer ? "" : "malformed answer");
		return;
	}
	w->r = res->code == TTRPC_UNIMPLEMENTED ? -ENOSYS : -EIO;
	(void)hk_fmt(w->text, w->size, "%.*s", (int)w->size - 1, res->message);
}

static void receive(struct wait *w, int fd)
{
	uint8_t bytes[8192];
	const ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	const uint8_t *data = bytes;
	struct ttrpc_frame frame;
	size_t left;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ttrpc_client_done(&w->client, "the shim closed the connection");
		return;
	}
	left = (size_t)n;
	while (!w->is_done && ttrpc_reader_next(&w->reader, &data, &left, &frame))
		(void)ttrpc_client_input(&w->client, &frame);
}

/* The frame is small beside a socket's buffer. */
static int send_all(int fd, const struct ttrpc_buf *b)
{
	return send(fd, b->data, b->len, MSG_NOSIGNAL) == (ssize_t)b->len ? 0 : -EPIPE;
}

static void await(struct wait *w, int fd)
{
	const uint64_t end = hk_now_ns() + (uint64_t)w->what->timeout_ms * 1000000;

	while (!w->is_done) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		const uint64_t now = hk_now_ns();

		if (w->what->timeout_ms >= 0 && now >= end) {
			ttrpc_client_done(&w->client, "no answer");
			return;
		}
		if (poll(&p, 1, w->what->timeout_ms < 0 ? -1 : (int)((end - now) / 1000000) + 1) > 0)
			receive(w, fd);
	}
}

int tool_call(const struct tool_call *c, ProtobufCMessage **ret, char *text, size_t size)
{
	struct ttrpc_outcall call = { .service = c->service, .method = c->method };
	struct wait w = { .what = c, .text = text, .size = size, .r = -EIO };
	hk_autofree uint8_t *payload = NULL;
	struct ttrpc_buf *frame = NULL;
	hk_autofd fd = -1;
	int r;

	if (hk_socket_look(c->socket, &fd) <= 0 || fd < 0) {
		(void)hk_fmt(text, size, "nobody listens on %s", c->socket);
		return -ECONNREFUSED;
	}
	r = c->request ? ttrpc_pack(c->request, &payload, &call.payload_len) : 0;
	call.payload = payload;
	ttrpc_client_init(&w.client);
	if (r == 0)
		r = ttrpc_client_call(&w.client, &call, on_result, &w, &frame);
	if (r == 0)
		r = send_all(fd, frame);
	if (r < 0)
		(void)hk_fmt(text, size, "ask the shim: %s", hk_errno_name(-r));
	else
		await(&w, fd);
	ttrpc_buf_free(frame);
	ttrpc_reader_done(&w.reader);
	if (!w.is_done)
		ttrpc_client_done(&w.client, "not sent");
	if (r == 0)
		r = w.r;
	if (r == 0)
		*ret = w.answer;
	return r;
}
