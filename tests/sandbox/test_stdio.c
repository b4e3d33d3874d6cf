/* SPDX-License-Identifier: Apache-2.0 */
/* FIFOs of an init and of an exec; this test plays containerd (their other ends) and the process (the fds it would get). */
#include "tests/sandbox/stdio_helpers.h"

static void test_init_gets_the_fifo_and_the_client_its_eof(void **state)
{
	const struct sbx_stdio_opts o = options("", out_path, err_path);
	int out = reader_of(out_path), err = reader_of(err_path), p1, p2;
	struct sbx_stdio *s = open_now(&o);
	char buf[16];

	(void)state;
	assert_int_equal(sbx_stdio_fds(s)[0], -1);
	p1 = child_copy(s, 1);
	p2 = child_copy(s, 2);
	assert_int_equal(fcntl(p1, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(p1, F_GETFL) & O_ACCMODE, O_WRONLY);
	launched(s);
	assert_int_equal(sbx_stdio_fds(s)[1], -1);
	assert_int_equal(write(p1, "out", 3), 3);
	assert_int_equal(write(p2, "err", 3), 3);
	(void)hk_close(p1);
	(void)hk_close(p2);
	sbx_stdio_exited(s);
	turn(20);
	/* The bytes are unread, so no end is closed: the client is not at EOF but at its bytes. */
	assert_int_equal(read(out, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "out", 3);
	assert_int_equal(read(out, buf, sizeof(buf)), -1);
	assert_int_equal(errno, EAGAIN);
	turn(150);
	assert_true(at_eof(out));
	assert_int_equal(read(err, buf, sizeof(buf)), 3);
	turn(150);
	assert_true(at_eof(err));
	sbx_stdio_free(s);
	(void)hk_close(out);
	(void)hk_close(err);
}

static void test_nothing_written_means_eof_at_once(void **state)
{
	const struct sbx_stdio_opts o = options("", out_path, out_path);
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_now(&o);

	(void)state;
	/* stdout and stderr are one path: one open, two fds of it. */
	assert_true(sbx_stdio_fds(s)[2] >= 0);
	p = child_copy(s, 2);
	launched(s);
	(void)hk_close(p);
	sbx_stdio_exited(s);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_last_bytes_wait_for_a_daemon_that_is_away(void **state)
{
	const struct sbx_stdio_opts o = options("", out_path, "");
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_now(&o);
	char buf[16];

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	(void)hk_close(out); /* containerd stops */
	assert_int_equal(write(p, "last", 4), 4); /* and no SIGPIPE, no EPIPE */
	(void)hk_close(p);
	sbx_stdio_exited(s);
	turn(250);
	out = reader_of(out_path); /* containerd is back */
	assert_int_equal(read(out, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "last", 4);
	turn(150);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_delete_is_eof_in_any_case(void **state)
{
	const struct sbx_stdio_opts o = options("", out_path, "");
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_now(&o);
	char buf[16];

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	assert_int_equal(write(p, "x", 1), 1);
	(void)hk_close(p);
	sbx_stdio_exited(s);
	sbx_stdio_free(s);
	assert_int_equal(read(out, buf, sizeof(buf)), 1);
	assert_true(at_eof(out));
	(void)hk_close(out);
}

static void test_without_a_reader_the_open_waits_then_fails(void **state)
{
	const struct sbx_stdio_opts o = options("", out_path, "");
	struct sbx_stdio *s = NULL;
	struct result r = { 0 };
	struct hk_err err;
	int out;

	(void)state;
	assert_int_equal(sbx_stdio_open(&o, on_ready, &r, &s, &err), 0);
	assert_int_equal(r.calls, 0);
	turn(500);
	assert_int_equal(r.calls, 1);
	assert_true(r.failed);
	assert_int_equal(r.err.kind, HK_DEADLINE);
	assert_non_null(strstr(r.err.text, out_path));
	sbx_stdio_free(s);

	/* One that comes late is in time. */
	r = (struct result){ 0 };
	assert_int_equal(sbx_stdio_open(&o, on_ready, &r, &s, &err), 0);
	turn(50);
	assert_int_equal(r.calls, 0);
	out = reader_of(out_path);
	turn(100);
	assert_int_equal(r.calls, 1);
	assert_false(r.failed);
	sbx_stdio_free(s);
	(void)hk_close(out);

	/* And one whose request is taken back never calls. */
	r = (struct result){ 0 };
	assert_int_equal(sbx_stdio_open(&o, on_ready, &r, &s, &err), 0);
	sbx_stdio_free(s);
	turn(100);
	assert_int_equal(r.calls, 0);
}

static void test_stdin_of_an_init(void **state)
{
	const struct sbx_stdio_opts o = options(in_path, "", "");
	struct sbx_stdio *s = open_now(&o);
	int p = child_copy(s, 0), client;
	struct pollfd pfd = { .fd = p, .events = POLLIN };
	char buf[16];

	(void)state;
	launched(s);
	client = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(client >= 0);
	assert_int_equal(write(client, "one", 3), 3);
	assert_int_equal(read(p, buf, sizeof(buf)), 3);
	(void)hk_close(client);
	assert_int_equal(poll(&pfd, 1, 20), 0); /* a client that detaches is no EOF */
	client = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(write(client, "two", 3), 3);
	sbx_stdio_close_stdin(s);
	sbx_stdio_close_stdin(s);
	assert_int_equal(read(p, buf, sizeof(buf)), 3);
	assert_int_equal(poll(&pfd, 1, 20), 0); /* the client's writer is still there */
	(void)hk_close(client);
	assert_true(at_eof(p));
	(void)hk_close(p);
	/* The process is gone and the client writes on: no SIGPIPE before Delete. */
	client = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(client >= 0);
	assert_int_equal(write(client, "three", 5), 5);
	(void)hk_close(client);
	sbx_stdio_free(s);
}

/* ---- exec ---- */

static struct sbx_stdio *open_exec(const char *in, const char *out, const char *err)
{
	struct sbx_stdio_opts o = options(in, out, err);

	o.is_exec = true;
	return open_now(&o);
}

enum { BULK = 1 << 20 };

static void test_a_slow_reader_gets_every_byte_of_an_exec(void **state)
{
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_exec("", out_path, "");
	size_t sent = 0, got = 0;
	bool has_exited = false;

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	assert_int_equal(hk_set_nonblock(p, true), 0);
	for (int i = 0; got < BULK; i++) {
		unsigned char buf[5000];
		ssize_t n;

		for (size_t k = 0; k < sizeof(buf); k++)
			buf[k] = (unsigned char)((sent + k) * 7 / 3);
		n = sent < BULK ? write(p, buf, sizeof(buf) < BULK - sent ? sizeof(buf) : BULK - sent) : 0;
		if (n > 0)
			sent += (size_t)n;
		if (sent == BULK && !has_exited) {
			has_exited = true;
			(void)hk_close(p);
			sbx_stdio_exited(s);
		}
		assert_int_equal(hk_loop_once(&loop, 0), 0);
		if (i % 3)
			continue;
		n = read(out, buf, 1777);
		assert_false(n == 0);
		for (ssize_t k = 0; k < n; k++)
			assert_int_equal(buf[k], (unsigned char)((got + (size_t)k) * 7 / 3));
		got += n > 0 ? (size_t)n : 0;
		assert_true(i < 1000000);
	}
	assert_int_equal(got, BULK);
	turn(20);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_eof_of_an_exec_comes_with_the_exit(void **state)
{
	int out = reader_of(out_path), p, drained = 0;
	struct sbx_stdio *s = open_exec("", out_path, "");
	char buf[16];

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	assert_int_equal(write(p, "end", 3), 3);
	(void)hk_close(p);
	sbx_stdio_exited(s); /* no turn of the loop: what was written is there and the ends are closed */
	assert_int_equal(read(out, buf, sizeof(buf)), 3);
	assert_true(at_eof(out));
	sbx_stdio_drain(s, 1000, on_drained, &drained);
	assert_int_equal(drained, 1);
	sbx_stdio_free(s);
	(void)hk_close(out);
}

/* The client is away when an exec ends: its last bytes wait for the next one, which then has its EOF. */
static void test_last_bytes_of_an_exec_wait_for_a_client(void **state)
{
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_exec("", out_path, "");
	char buf[16];

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	(void)hk_close(out);
	assert_int_equal(write(p, "last", 4), 4);
	(void)hk_close(p);
	sbx_stdio_exited(s);
	turn(50);
	out = reader_of(out_path);
	assert_int_equal(read(out, buf, sizeof(buf)), 4);
	turn(150);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_a_grandchild_keeps_an_exec_open_until_delete(void **state)
{
	int out = reader_of(out_path), p, drained = 0;
	struct sbx_stdio *s = open_exec("", out_path, "");
	char buf[16];

	(void)state;
	p = child_copy(s, 1);
	launched(s);
	sbx_stdio_exited(s);
	assert_int_equal(write(p, "late", 4), 4);
	turn(10);
	assert_int_equal(read(out, buf, sizeof(buf)), 4);
	sbx_stdio_drain(s, 60, on_drained, &drained);
	turn(20);
	assert_int_equal(drained, 0);
	turn(80);
	assert_int_equal(drained, 1);
	sbx_stdio_free(s);
	assert_true(at_eof(out));
	(void)hk_close(p);
	(void)hk_close(out);
}

/* Cut off: what it wrote before still arrives at a client that comes later, what it writes afterwards does not. */
static void test_a_grandchild_is_hung_up_on(void **state)
{
	struct sbx_stdio *s;
	char buf[16], big[100000];
	int out = reader_of(out_path), p, got = 0;

	(void)state;
	s = open_exec("", out_path, "");
	p = child_copy(s, 1);
	launched(s);
	(void)hk_close(out); /* the client is away: one pipe's worth is in the FIFO, the rest in the exec's pipe */
	memset(big, 'x', sizeof(big));
	for (int sent = 0; sent < (int)sizeof(big); turn(1)) {
		ssize_t n = write(p, big, sizeof(big) - (size_t)sent > 4096 ? 4096 : sizeof(big) - (size_t)sent);

		assert_true(n > 0);
		sent += (int)n;
	}
	sbx_stdio_exited(s);
	sbx_stdio_hang_up(s);
	assert_int_equal(write(p, "late", 4), 4);
	out = reader_of(out_path);
	for (int i = 0; i < 200; i++) {
		char part[5000];
		ssize_t n = read(out, part, sizeof(part));

		got += n > 0 ? (int)n : 0;
		if (n == 0)
			break;
		turn(5);
	}
	assert_int_equal(got, sizeof(big));
	assert_true(at_eof(out));
	for (int i = 0; i < 5000 && write(p, "late", 4) == 4; i++) /* the last close is a child's, which takes its time */
		turn(1);
	assert_int_equal(write(p, "late", 4), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(read(out, buf, sizeof(buf)), 0);
	(void)hk_close(p);
	(void)hk_close(out);
	sbx_stdio_free(s);
}

/* A client that opens stderr before stdout stands still in its open until we have opened ours. */
static void test_the_readers_come_in_any_order(void **state)
{
	struct sbx_stdio_opts o = options("", out_path, err_path);
	struct result r = { 0 };
	struct sbx_stdio *s;
	struct hk_err err = { 0 };
	int out, e = reader_of(err_path), probe;

	(void)state;
	o.reader_wait_ms = 60000;
	assert_int_equal(sbx_stdio_open(&o, on_ready, &r, &s, &err), 0);
	turn(20);
	assert_int_equal(r.calls, 0);
	(void)hk_close(e); /* ours is there: */
	probe = open(err_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(probe >= 0);
	(void)hk_close(probe);
	e = reader_of(err_path);
	out = reader_of(out_path);
	for (int i = 0; i < 1000 && r.calls == 0; i++)
		turn(10);
	assert_int_equal(r.calls, 1);
	assert_false(r.failed);
	sbx_stdio_free(s);
	(void)hk_close(out);
	(void)hk_close(e);
}

static void test_stdin_of_an_exec(void **state)
{
	struct sbx_stdio *s = open_exec(in_path, "", "");
	int p = child_copy(s, 0), client = open(in_path, O_WRONLY | O_CLOEXEC);
	size_t sent = 0, got = 0;

	(void)state;
	launched(s);
	assert_int_equal(hk_set_nonblock(p, true), 0);
	assert_int_equal(hk_set_nonblock(client, true), 0);
	sbx_stdio_close_stdin(s); /* at once: what the client still sends counts */
	for (int i = 0; got < BULK; i++) {
		char buf[4096] = { 0 };
		ssize_t n = sent < BULK ? write(client, buf, sizeof(buf)) : 0;

		sent += n > 0 ? (size_t)n : 0;
		assert_int_equal(hk_loop_once(&loop, 0), 0);
		n = read(p, buf, 3000);
		assert_false(n == 0);
		got += n > 0 ? (size_t)n : 0;
		assert_true(i < 1000000);
	}
	turn(10);
	assert_int_equal(read(p, &(char){ 0 }, 1), -1);
	assert_int_equal(errno, EAGAIN);
	(void)hk_close(client);
	for (int i = 0; i < 500 && !at_eof(p); i++)
		turn(10);
	assert_true(at_eof(p));
	(void)hk_close(p);
	sbx_stdio_free(s);
}

static void test_an_exec_that_reads_no_stdin(void **state)
{
	struct sbx_stdio *s = open_exec(in_path, "", "");
	int p = child_copy(s, 0), client = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	(void)state;
	launched(s);
	(void)hk_close(p); /* EPIPE for the relay */
	assert_int_equal(write(client, "nobody reads this", 17), 17);
	turn(10);
	assert_int_equal(write(client, "nor this", 8), 8); /* the client does not get SIGPIPE */
	turn(10);
	(void)hk_close(client);
	sbx_stdio_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init_gets_the_fifo_and_the_client_its_eof),
		cmocka_unit_test(test_nothing_written_means_eof_at_once),
		cmocka_unit_test(test_last_bytes_wait_for_a_daemon_that_is_away),
		cmocka_unit_test(test_delete_is_eof_in_any_case),
		cmocka_unit_test(test_without_a_reader_the_open_waits_then_fails),
		cmocka_unit_test(test_stdin_of_an_init),
		cmocka_unit_test(test_a_slow_reader_gets_every_byte_of_an_exec),
		cmocka_unit_test(test_eof_of_an_exec_comes_with_the_exit),
		cmocka_unit_test(test_last_bytes_of_an_exec_wait_for_a_client),
		cmocka_unit_test(test_a_grandchild_keeps_an_exec_open_until_delete),
		cmocka_unit_test(test_a_grandchild_is_hung_up_on),
		cmocka_unit_test(test_the_readers_come_in_any_order),
		cmocka_unit_test(test_stdin_of_an_exec),
		cmocka_unit_test(test_an_exec_that_reads_no_stdin),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
