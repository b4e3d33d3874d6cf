/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/probe.c — one Task v3 Connect, which no shim fails, sent to the shim that owns the socket. Only Unimplemented means
 * version 2: a shim of our own kind always speaks 3, so one too busy to answer is taken for that.
 */
#include "shim/probe.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

#include "oci/base/auto.h"
#include "oci/base/loop.h"
#include "proto/client.h"
#include "proto/frame.h"
#include "proto/names.h"

enum { TIMEOUT_NS = 1000000000, VERSION_OLD = 2, VERSION_NEW = 3 };

struct probe {
	struct ttrpc_client client;
	struct ttrpc_reader reader;
	enum ttrpc_code code;
	bool is_done;
};

static void on_result(void *arg, const struct ttrpc_response *res)
{
	struct probe *p = arg;

	p->code = res->code;
	p->is_done = true;
}

/* Bytes as far as the socket has them; false at its end. */
static bool receive(struct probe *p, int fd)
{
	uint8_t bytes[1024];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	const uint8_t *data = bytes;
	struct ttrpc_frame frame;
	size_t left;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	left = (size_t)n;
	while (!p->is_done && ttrpc_reader_next(&p->reader, &data, &left, &frame))
		(void)ttrpc_client_input(&p->client, &frame);
	return n > 0;
}

int shim_probe_version(int fd)
{
	uint64_t end = hk_now_ns() + TIMEOUT_NS;
	/* ConnectRequest of an empty id is no bytes. */
	const struct ttrpc_outcall call = { .service = TTRPC_SERVICE_TASK_V3, .method = "Connect" };
	struct probe p = { .code = TTRPC_OK };
	struct ttrpc_buf *frame = NULL;

	ttrpc_client_init(&p.client);
	if (ttrpc_client_call(&p.client, &call, on_result, &p, &frame) < 0)
		return VERSION_NEW;
	/* A fresh socket's buffer takes these few bytes whole. */
	if (send(fd, frame->data, frame->len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)frame->len) {
		while (!p.is_done && hk_now_ns() < end) {
			struct pollfd pfd = { .fd = fd, .events = POLLIN };

			if (poll(&pfd, 1, (int)((end - hk_now_ns()) / 1000000) + 1) < 0 && errno != EINTR)
				break;
			if (pfd.revents && !receive(&p, fd))
				break;
		}
	}
	ttrpc_buf_free(frame);
	ttrpc_reader_done(&p.reader);
	if (!p.is_done)
		ttrpc_client_done(&p.client, "no answer");
	return p.code == TTRPC_UNIMPLEMENTED ? VERSION_OLD : VERSION_NEW;
}
