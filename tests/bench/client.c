/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/client.c — see client.h. Frames and messages are proto/'s own; what is added to a call is one write and one read. */
#include "tests/bench/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/envelope.h"

uint64_t bench_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void bench_fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("bench-driver: ", stderr);
	(void)vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

void bench_connect(struct bench_conn *c, const char *path, const char *service)
{
	const struct timeval patience = { .tv_sec = 20 };
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	*c = (struct bench_conn){ .service = service, .next_stream = 1 };
	if (strlen(path) >= sizeof(a.sun_path))
		bench_fail("socket path %s is too long", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		bench_fail("connect %s: %s", path, strerror(errno));
	if (setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		bench_fail("timeout: %s", strerror(errno));
}

void bench_close(struct bench_conn *c)
{
	(void)close(c->fd);
	ttrpc_reader_done(&c->reader);
	for (int i = 0; i < BENCH_OPEN_MAX; i++)
		free(c->early[i].payload);
}

uint32_t bench_send(struct bench_conn *c, const char *method, const ProtobufCMessage *msg)
{
	struct ttrpc_request rq = { .service = c->service, .method = method };
	uint32_t stream = c->next_stream;
	struct ttrpc_buf *frame = NULL;
	uint8_t *payload = NULL;

	c->next_stream += 2;
	if (ttrpc_pack(msg, &payload, &rq.payload_len) < 0)
		bench_fail("%s: no memory", method);
	rq.payload = payload;
	if (ttrpc_request_encode(&rq, "bench", stream, &frame) < 0 ||
	    send(c->fd, frame->data, frame->len, MSG_NOSIGNAL) != (ssize_t)frame->len)
		bench_fail("%s: the request could not be sent", method);
	ttrpc_buf_free(frame);
	free(payload);
	return stream;
}

static void keep(struct bench_conn *c, const struct ttrpc_frame *f, uint64_t at_ns)
{
	for (int i = 0; i < BENCH_OPEN_MAX; i++) {
		struct bench_answer *a = &c->early[i];

		if (a->stream != 0)
			continue;
		*a = (struct bench_answer){
			.stream = f->stream, .at_ns = at_ns, .payload = malloc(f->len + 1), .len = f->len
		};
		if (!a->payload)
			bench_fail("no memory");
		if (f->len > 0)
			memcpy(a->payload, f->payload, f->len);
		return;
	}
	bench_fail("too many answers that nobody waits for");
}

static void read_some(struct bench_conn *c)
{
	uint8_t bytes[16 << 10];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
	uint64_t at_ns = bench_now_ns();
	const uint8_t *data = bytes;
	size_t left = n > 0 ? (size_t)n : 0;
	struct ttrpc_frame frame;

	if (n <= 0)
		bench_fail(n < 0 && errno == EAGAIN ? "no answer within 20 s" : "the shim has closed the connection");
	while (ttrpc_reader_next(&c->reader, &data, &left, &frame))
		if (frame.type == TTRPC_RESPONSE)
			keep(c, &frame, at_ns);
}

static struct bench_answer *find(struct bench_conn *c, uint32_t stream)
{
	for (int i = 0; i < BENCH_OPEN_MAX; i++)
		if (c->early[i].stream == stream)
			return &c->early[i];
	return NULL;
}

uint64_t bench_wait(
    struct bench_conn *c, uint32_t stream, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
	struct bench_answer *a;
	struct ttrpc_response res;
	uint64_t at_ns;

	while (!(a = find(c, stream)))
		read_some(c);
	at_ns = a->at_ns;
	if (ttrpc_response_decode(&res, a->payload, a->len) < 0)
		bench_fail("an answer that is none");
	if (res.code != TTRPC_OK)
		bench_fail("the shim answers: %s", res.message);
	if (ret) {
		*ret = ttrpc_unpack(type, res.payload, res.payload_len);
		if (!*ret)
			bench_fail("an answer that cannot be read");
	}
	ttrpc_response_done(&res);
	free(a->payload);
	*a = (struct bench_answer){ 0 };
	return at_ns;
}

uint64_t bench_call(struct bench_conn *c, const char *method, const ProtobufCMessage *msg)
{
	return bench_wait(c, bench_send(c, method, msg), NULL, NULL);
}
