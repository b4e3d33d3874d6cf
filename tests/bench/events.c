/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/events.c — the daemon's end of every shim's events: takes each, answers it, looks at none. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/envelope.h"
#include "proto/frame.h"
#include "tests/bench/pod.h"

struct peer {
	int fd;
	struct ttrpc_reader reader;
};

static void answer(const struct peer *p, const struct ttrpc_frame *f)
{
	struct ttrpc_buf *b = NULL;

	if (f->type != TTRPC_REQUEST || ttrpc_response_encode(NULL, f->stream, &b) < 0)
		return;
	(void)send(p->fd, b->data, b->len, MSG_NOSIGNAL);
	ttrpc_buf_free(b);
}

static void serve(struct peer *p)
{
	uint8_t bytes[8 << 10];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), 0);
	const uint8_t *data = bytes;
	size_t left = n > 0 ? (size_t)n : 0;
	struct ttrpc_frame f;

	while (ttrpc_reader_next(&p->reader, &data, &left, &f))
		answer(p, &f);
	if (n > 0)
		return;
	ttrpc_reader_done(&p->reader);
	(void)close(p->fd);
	free(p);
}

static _Noreturn void run(int listener)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };

	(void)epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &ev);
	while (epoll_wait(epfd, &ev, 1, -1) >= 0 || errno == EINTR) {
		struct peer *p = ev.data.ptr;

		if (p) {
			serve(p);
			continue;
		}
		p = calloc(1, sizeof(*p));
		if (!p || (p->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
			free(p);
			continue;
		}
		ev = (struct epoll_event){ .events = EPOLLIN, .data.ptr = p };
		(void)epoll_ctl(epfd, EPOLL_CTL_ADD, p->fd, &ev);
	}
	_exit(1);
}

void bench_take_events(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		bench_fail("events socket %s", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1024) < 0 ||
	    setenv("TTRPC_ADDRESS", path, 1) < 0)
		bench_fail("events socket %s: %s", path, strerror(errno));
	if (fork() == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		run(fd);
	}
	(void)close(fd);
}
