/* SPDX-License-Identifier: Apache-2.0 */
/* The server's sockets on a real loop: framing over the wire, limits, peers that vanish, do not read, or are not us. */
#include "shim/conn.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/log.h"
#include "proto/frame.h"
#include "proto/task.pb-c.h"

enum { MAX_HELD = 64, BIG = 1 << 20, MEDIUM = 64 << 10 };

struct fixture {
	char dir[40];
	struct sockaddr_un addr;
	struct hk_loop loop;
	struct ttrpc_server server;
	struct ttrpc_service service;
	struct shim_listener listener;
	struct ttrpc_call *held[MAX_HELD];
	int n_held;
	int n_orphans;
	int n_started;
	int n_fds;
	size_t answer_len; /* of Stats */
	uint8_t *bytes;
};

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_start(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct fixture *f = ctx;

	(void)request;
	f->n_started++;
	ttrpc_call_reply(call, NULL);
}

static void forget_call(void *arg, struct ttrpc_call *call)
{
	struct fixture *f = arg;

	f->n_orphans++;
	for (int i = 0; i < f->n_held; i++)
		if (f->held[i] == call)
			f->held[i] = f->held[--f->n_held];
	ttrpc_call_fail(call, TTRPC_CANCELED, "gone");
}

static void on_wait(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct fixture *f = ctx;

	(void)request;
	assert_true(f->n_held < MAX_HELD);
	ttrpc_call_on_orphan(call, forget_call, f);
	f->held[f->n_held++] = call;
}

static void reply_bytes(struct fixture *f, struct ttrpc_call *call, size_t len)
{
	Husk__Task__StatsResponse m;
	Husk__Types__Any any;

	husk__task__stats_response__init(&m);
	husk__types__any__init(&any);
	any.value.data = f->bytes;
	any.value.len = len;
	m.stats = &any;
	ttrpc_call_reply(call, &m.base);
}

static void on_stats(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	struct fixture *f = ctx;

	(void)request;
	f->n_started++;
	reply_bytes(f, call, f->answer_len);
}

static const struct ttrpc_method methods[] = {
	{ "Start", &husk__task__start_request__descriptor, on_start },
	{ "Wait", &husk__task__wait_request__descriptor, on_wait },
	{ "Stats", &husk__task__stats_request__descriptor, on_stats },
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	hk_log_init(-1, HK_LOG_ERROR);
	f->n_fds = count_fds();
	f->bytes = calloc(1, BIG);
	assert_non_null(f->bytes);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-test-conn-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->addr.sun_family = AF_UNIX;
	(void)snprintf(f->addr.sun_path, sizeof(f->addr.sun_path), "%s/s", f->dir);
	assert_int_equal(hk_loop_init(&f->loop), 0);
	f->service = (struct ttrpc_service){ "t.Task", methods, 3, f };
	f->server = (struct ttrpc_server){ .services = &f->service, .n_services = 1, .max_calls = SHIM_CALLS_MAX };
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(shim_listener_init(&f->listener, &f->loop, &f->server, &fd), 0);
	assert_int_equal(fd, -1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	shim_listener_done(&f->listener);
	assert_int_equal(f->listener.n_conns, 0);
	assert_int_equal(f->n_held, 0);
	assert_int_equal(f->server.n_calls, 0);
	hk_loop_done(&f->loop);
	(void)unlink(f->addr.sun_path);
	assert_int_equal(rmdir(f->dir), 0);
	assert_int_equal(count_fds(), f->n_fds);
	free(f->bytes);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		assert_int_equal(hk_loop_once(&f->loop, 0), 0);
}

static int dial(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	turn(f);
	return fd;
}

static struct ttrpc_buf *request(uint32_t stream, const char *method)
{
	const struct ttrpc_request rq = { .service = "t.Task", .method = method };
	struct ttrpc_buf *b;

	assert_int_equal(ttrpc_request_encode(&rq, NULL, stream, &b), 0);
	return b;
}

static void ask(struct fixture *f, int fd, uint32_t stream, const char *method)
{
	struct ttrpc_buf *b = request(stream, method);

	assert_int_equal(send(fd, b->data, b->len, MSG_NOSIGNAL), (ssize_t)b->len);
	ttrpc_buf_free(b);
	turn(f);
}

/* Reads one whole answer. Its stream id; -1 at EOF; -2 when there is none. */
static int answer(struct fixture *f, int fd, enum ttrpc_code *ret_code, size_t *ret_len)
{
	uint8_t header[TTRPC_HEADER_BYTES];
	struct ttrpc_response r;
	size_t len, got = 0;
	uint8_t *payload;
	ssize_t n;

	turn(f);
	n = recv(fd, header, sizeof(header), 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? -2 : -1;
	assert_int_equal(n, sizeof(header));
	assert_int_equal(header[8], TTRPC_RESPONSE);
	len = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
	payload = malloc(len + 1);
	assert_non_null(payload);
	for (int tries = 0; got < len && tries < 1000; tries++) {
		n = recv(fd, payload + got, len - got, 0);
		got += n > 0 ? (size_t)n : 0;
		turn(f);
	}
	assert_int_equal(got, len);
	assert_int_equal(ttrpc_response_decode(&r, payload, len), 0);
	*ret_code = r.code;
	if (ret_len)
		*ret_len = r.payload_len;
	ttrpc_response_done(&r);
	free(payload);
	return header[6] << 8 | header[7];
}

static void assert_answer(struct fixture *f, int fd, int stream, enum ttrpc_code code)
{
	enum ttrpc_code got = TTRPC_ABORTED;

	assert_int_equal(answer(f, fd, &got, NULL), stream);
	assert_int_equal(got, code);
}

static void assert_no_answer(struct fixture *f, int fd)
{
	enum ttrpc_code code;

	assert_int_equal(answer(f, fd, &code, NULL), -2);
}

static void assert_eof(struct fixture *f, int fd)
{
	enum ttrpc_code code;

	assert_int_equal(answer(f, fd, &code, NULL), -1);
}

static void test_calls(void **state)
{
	struct fixture *f = *state;
	int a = dial(f), b = dial(f);

	assert_int_equal(f->listener.n_conns, 2);
	ask(f, a, 1, "Wait");
	ask(f, a, 3, "Start");
	ask(f, b, 1, "Start");
	ask(f, b, 3, "Nope");
	assert_answer(f, a, 3, TTRPC_OK);
	assert_answer(f, b, 1, TTRPC_OK);
	assert_answer(f, b, 3, TTRPC_UNIMPLEMENTED);
	ttrpc_call_fail(f->held[--f->n_held], TTRPC_NOT_FOUND, "x");
	assert_answer(f, a, 1, TTRPC_NOT_FOUND);
	assert_true(shim_listener_is_flushed(&f->listener));
	close(a);
	close(b);
	turn(f);
	assert_int_equal(f->listener.n_conns, 0);
}

static void test_bytes_one_by_one_and_many_at_once(void **state)
{
	struct ttrpc_buf *b1 = request(1, "Start"), *b3 = request(3, "Start"), *b5 = request(5, "Start");
	struct fixture *f = *state;
	int fd = dial(f);
	uint8_t both[200];

	for (size_t i = 0; i < b1->len; i++) {
		assert_no_answer(f, fd);
		assert_int_equal(send(fd, b1->data + i, 1, 0), 1);
		turn(f);
	}
	assert_answer(f, fd, 1, TTRPC_OK);
	memcpy(both, b3->data, b3->len);
	memcpy(both + b3->len, b5->data, b5->len);
	assert_int_equal(send(fd, both, b3->len + b5->len, 0), (ssize_t)(b3->len + b5->len));
	assert_answer(f, fd, 3, TTRPC_OK);
	assert_answer(f, fd, 5, TTRPC_OK);
	ttrpc_buf_free(b1);
	ttrpc_buf_free(b3);
	ttrpc_buf_free(b5);
	close(fd);
}

static void test_peer_vanishes(void **state)
{
	struct fixture *f = *state;
	int half_header = dial(f), half_frame = dial(f), waiting = dial(f), other = dial(f);

	ask(f, other, 1, "Wait");
	assert_int_equal(send(half_header, "\0\0", 2, 0), 2);
	assert_int_equal(send(half_frame, "\0\0\1\0\0\0\0\1\1\0ab", 12, 0), 12);
	ask(f, waiting, 1, "Wait");
	ask(f, waiting, 3, "Wait");
	assert_int_equal(f->n_held, 3);
	close(half_header);
	close(half_frame);
	close(waiting);
	turn(f);
	assert_int_equal(f->listener.n_conns, 1);
	assert_int_equal(f->n_orphans, 2);
	assert_int_equal(f->n_held, 1);
	ttrpc_call_reply(f->held[--f->n_held], NULL);
	assert_answer(f, other, 1, TTRPC_OK);
	close(other);
}

static void test_request_of_a_peer_that_left_is_done(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	struct ttrpc_buf *b = request(1, "Start");

	assert_int_equal(send(fd, b->data, b->len, 0), (ssize_t)b->len);
	close(fd);
	ttrpc_buf_free(b);
	turn(f);
	assert_int_equal(f->n_started, 1);
	assert_int_equal(f->listener.n_conns, 0);
}

static void send_all(struct fixture *f, int fd, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(fd, bytes + at, len - at, MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		turn(f);
	}
}

static void test_five_mib_frame(void **state)
{
	static const uint8_t header[] = { 0, 0x50, 0, 0, 0, 0, 0, 1, 1, 0 };
	struct fixture *f = *state;
	int fd = dial(f);

	send_all(f, fd, header, sizeof(header));
	for (int i = 0; i < 5; i++)
		send_all(f, fd, f->bytes, BIG);
	assert_answer(f, fd, 1, TTRPC_RESOURCE_EXHAUSTED);
	ask(f, fd, 3, "Start");
	assert_answer(f, fd, 3, TTRPC_OK);
	close(fd);
}

static void test_big_answer_is_whole(void **state)
{
	struct fixture *f = *state;
	enum ttrpc_code code;
	int fd = dial(f);
	size_t len;

	f->answer_len = BIG;
	ask(f, fd, 1, "Stats");
	assert_false(shim_listener_is_flushed(&f->listener));
	ask(f, fd, 3, "Start");
	assert_int_equal(answer(f, fd, &code, &len), 1);
	assert_true(len > BIG);
	assert_answer(f, fd, 3, TTRPC_OK);
	assert_true(shim_listener_is_flushed(&f->listener));
	close(fd);
}

/* Requests stop being taken while answers pile up, and go on when they are read. */
static void test_slow_reader_is_paused(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f), other = dial(f);
	enum ttrpc_code code;

	f->answer_len = MEDIUM;
	for (uint32_t i = 0; i < 100; i++)
		ask(f, fd, 2 * i + 1, "Stats");
	assert_true(f->n_started > 3);
	assert_true(f->n_started < 30);
	ask(f, other, 1, "Start");
	assert_answer(f, other, 1, TTRPC_OK);
	for (int i = 0; i < 100; i++)
		assert_int_equal(answer(f, fd, &code, NULL), 2 * i + 1);
	assert_int_equal(f->n_started, 101);
	close(fd);
	close(other);
}

/* Answers to calls taken long ago cannot be held back: at 16 MiB the connection goes. */
static void test_peer_that_never_reads_is_dropped(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f), other = dial(f);

	ask(f, other, 1, "Wait");
	for (uint32_t i = 0; i < 40; i++)
		ask(f, fd, 2 * i + 1, "Wait");
	assert_int_equal(f->n_held, 41);
	for (int i = 0; i < 20; i++)
		reply_bytes(f, f->held[--f->n_held], BIG);
	/* nothing is freed before the loop turns: a handler may still hold calls of that connection */
	assert_int_equal(f->listener.n_conns, 2);
	turn(f);
	assert_int_equal(f->listener.n_conns, 1);
	assert_int_equal(f->n_orphans, 20);
	assert_int_equal(f->n_held, 1);
	ttrpc_call_reply(f->held[--f->n_held], NULL);
	assert_answer(f, other, 1, TTRPC_OK);
	close(fd);
	close(other);
}

static void test_too_many_connections(void **state)
{
	struct fixture *f = *state;
	int fds[SHIM_CONN_MAX], surplus[SHIM_SURPLUS_MAX], extra;

	for (int i = 0; i < SHIM_CONN_MAX; i++)
		fds[i] = dial(f);
	assert_int_equal(f->listener.n_conns, SHIM_CONN_MAX);
	/* The 65th is told, for as long as it asks; a 17th of that kind is not even that. */
	for (int i = 0; i < SHIM_SURPLUS_MAX; i++)
		surplus[i] = dial(f);
	extra = dial(f);
	assert_eof(f, extra);
	close(extra);
	assert_int_equal(f->listener.n_conns, SHIM_CONN_MAX);
	assert_int_equal(f->listener.n_surplus, SHIM_SURPLUS_MAX);
	for (int stream = 1; stream < 7; stream += 2) {
		ask(f, surplus[0], (uint32_t)stream, "Start");
		assert_answer(f, surplus[0], stream, TTRPC_RESOURCE_EXHAUSTED);
	}
	close(surplus[0]);
	turn(f);
	assert_int_equal(f->listener.n_surplus, SHIM_SURPLUS_MAX - 1);
	/* And not for ever. */
	hk_timer_set(&f->loop, &f->listener.surplus, 0);
	turn(f);
	assert_int_equal(f->listener.n_surplus, 0);
	for (int i = 1; i < SHIM_SURPLUS_MAX; i++) {
		assert_eof(f, surplus[i]);
		close(surplus[i]);
	}
	close(fds[0]);
	turn(f);
	fds[0] = dial(f);
	ask(f, fds[0], 1, "Start");
	assert_answer(f, fds[0], 1, TTRPC_OK);
	for (int i = 0; i < SHIM_CONN_MAX; i++)
		close(fds[i]);
}

static void test_too_many_calls(void **state)
{
	struct fixture *f = *state;
	int a = dial(f), b = dial(f);

	f->server.max_calls = 2;
	ask(f, a, 1, "Wait");
	ask(f, b, 1, "Wait");
	ask(f, b, 3, "Start");
	assert_answer(f, b, 3, TTRPC_RESOURCE_EXHAUSTED);
	close(a);
	turn(f);
	ask(f, b, 5, "Start");
	assert_answer(f, b, 5, TTRPC_OK);
	close(b);
	turn(f);
	assert_int_equal(f->n_orphans, 2);
}

/* Connects as another user; 0 when the server closed without a byte. */
static int stranger(const struct sockaddr_un *addr, uid_t uid, gid_t gid)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	if (fd < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return 2;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return 3;
	return recv(fd, &byte, 1, 0) == 0 ? 0 : 4;
}

static void test_other_users_are_refused(void **state)
{
	static const struct {
		uid_t uid;
		gid_t gid;
	} rows[] = { { 1000, 1000 }, { 1000, 0 }, { 0, 1000 } };
	struct fixture *f = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(chmod(f->addr.sun_path, 0777), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(stranger(&f->addr, rows[i].uid, rows[i].gid));
		while (waitpid(pid, &status, WNOHANG) == 0)
			assert_int_equal(hk_loop_once(&f->loop, 10), 0);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		assert_int_equal(f->listener.n_conns, 0);
	}
}

static void test_stop(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f), late = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	shim_listener_stop(&f->listener);
	assert_int_equal(connect(late, (struct sockaddr *)&f->addr, sizeof(f->addr)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	ask(f, fd, 1, "Start");
	assert_answer(f, fd, 1, TTRPC_OK);
	close(fd);
	close(late);
}

static void test_done_with_calls_open(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	ask(f, fd, 1, "Wait");
	shim_listener_done(&f->listener);
	assert_int_equal(f->n_orphans, 1);
	assert_eof(f, fd);
	close(fd);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_calls),
		T(test_bytes_one_by_one_and_many_at_once),
		T(test_peer_vanishes),
		T(test_request_of_a_peer_that_left_is_done),
		T(test_five_mib_frame),
		T(test_big_answer_is_whole),
		T(test_slow_reader_is_paused),
		T(test_peer_that_never_reads_is_dropped),
		T(test_too_many_connections),
		T(test_too_many_calls),
		T(test_other_users_are_refused),
		T(test_stop),
		T(test_done_with_calls_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
