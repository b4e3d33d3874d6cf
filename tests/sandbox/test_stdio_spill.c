/* SPDX-License-Identifier: Apache-2.0 */
/* Output that is kept while nobody reads it (husk.io/stdio-spill): the writer never waits, what was kept arrives whole and in order, the rest is counted. */
#include "tests/sandbox/stdio_helpers.h"

enum { PIPE_BYTES = 1 << 16 };

/* A byte of the stream at place `at`: no power of two divides its period. */
static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 31 % 251);
}

static struct sbx_stdio *open_spilling(const char *out, const char *err, uint64_t cap, int *ret_p)
{
	struct sbx_stdio_opts o = options("", out, err);
	struct sbx_stdio *s = open_now(&o);

	assert_int_equal(sbx_stdio_spill(s, cap, "c1"), 0);
	*ret_p = child_copy(s, 1);
	assert_int_equal(hk_set_nonblock(*ret_p, true), 0);
	return s;
}

/* Writes all of it with a loop that turns; false: the pipe stayed full for a second. */
static bool feed(int fd, size_t *sent, size_t total)
{
	unsigned char buf[4099];
	int waits = 0;

	while (*sent < total && waits < 1000) {
		size_t len = sizeof(buf) < total - *sent ? sizeof(buf) : total - *sent;
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			buf[i] = pattern(*sent + i);
		n = write(fd, buf, len);
		assert_true(n > 0 || errno == EAGAIN);
		*sent += n > 0 ? (size_t)n : 0;
		waits = n > 0 ? 0 : waits + 1;
		turn(n > 0 ? 0 : 1);
	}
	return *sent == total;
}

/* Reads until `until` bytes have come or there is EOF; `skipped` were lost before. */
static void take(int fd, size_t *got, size_t until, size_t skipped)
{
	unsigned char buf[5003];

	for (int waits = 0; *got < until && waits < 2000; waits++) {
		ssize_t n = read(fd, buf, sizeof(buf) < until - *got ? sizeof(buf) : until - *got);

		if (n == 0)
			return;
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], pattern(*got + skipped + (size_t)i));
		*got += n > 0 ? (size_t)n : 0;
		waits = n > 0 ? 0 : waits;
		turn(n > 0 ? 0 : 1);
	}
}

static void test_a_reader_that_comes_back_gets_all(void **state)
{
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_spilling(out_path, "", 4 << 20, &p);
	size_t sent = 0, got = 0;

	(void)state;
	launched(s);
	assert_true(feed(p, &sent, 10000));
	take(out, &got, 10000, 0);
	for (int i = 1; i <= 3; i++) { /* away, back, away... */
		(void)hk_close(out);
		assert_true(feed(p, &sent, (size_t)i * 900001));
		out = reader_of(out_path);
		take(out, &got, sent - (i == 3 ? 1 : 300000), 0); /* the next outage begins with some of it still kept */
	}
	(void)hk_close(p);
	sbx_stdio_exited(s);
	take(out, &got, sent, 0);
	assert_int_equal(got, sent);
	assert_int_equal(sbx_stdio_dropped(s), 0);
	turn(150);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_beyond_the_cap_it_is_dropped_and_counted(void **state)
{
	int out = reader_of(out_path), p;
	struct sbx_stdio *s = open_spilling(out_path, "", 100000, &p);
	size_t sent = 0, got = 0, kept;

	(void)state;
	launched(s);
	(void)hk_close(out);
	assert_true(feed(p, &sent, 2 << 20)); /* it never waits */
	turn(20);
	kept = sent - sbx_stdio_dropped(s);
	assert_in_range(kept, 100000 + PIPE_BYTES / 2, 100000 + 2 * PIPE_BYTES);
	out = reader_of(out_path);
	take(out, &got, kept, 0);
	assert_int_equal(got, kept);
	assert_true(feed(p, &sent, (2 << 20) + 5000)); /* and goes on where it has come to */
	take(out, &got, kept + 5000, sent - 5000 - kept);
	assert_int_equal(got, kept + 5000);
	(void)hk_close(p);
	sbx_stdio_exited(s);
	turn(150);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

/* The last words of a process that ended while nobody read, and one FIFO for both streams. */
static void test_an_end_while_nobody_reads(void **state)
{
	int out = reader_of(out_path), p, e, drained = 0;
	struct sbx_stdio *s = open_spilling(out_path, out_path, 1 << 20, &p);
	size_t sent = 0, got = 0;
	char text[8];

	(void)state;
	e = child_copy(s, 2);
	launched(s);
	(void)hk_close(out);
	assert_true(feed(p, &sent, 300000));
	assert_int_equal(write(e, "!", 1), 1);
	(void)hk_close(p);
	(void)hk_close(e);
	sbx_stdio_exited(s);
	turn(50);
	out = reader_of(out_path);
	sbx_stdio_drain(s, 5000, on_drained, &drained);
	assert_int_equal(drained, 0);
	take(out, &got, sent, 0);
	assert_int_equal(got, sent);
	for (int i = 0; i < 100 && read(out, text, sizeof(text)) < 0; i++)
		turn(1);
	assert_int_equal(text[0], '!');
	for (int i = 0; i < 500 && (!at_eof(out) || drained == 0); i++)
		turn(1);
	assert_int_equal(drained, 1);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

/* Nothing is kept for what is no FIFO, and nobody wakes up without need. */
static void test_at_rest(void **state)
{
	int out = reader_of(out_path), p, turns = 0;
	struct sbx_stdio *s = open_spilling(out_path, "", 1 << 20, &p);
	const uint64_t begin = hk_now_ns();
	size_t sent = 0;

	(void)state;
	launched(s);
	(void)hk_close(out);
	assert_true(feed(p, &sent, 200000));
	turn(50);
	while (hk_now_ns() - begin < 400000000 && ++turns)
		assert_int_equal(hk_loop_once(&loop, 100), 0);
	assert_in_range(turns, 0, 12);
	sbx_stdio_free(s);
	(void)hk_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_reader_that_comes_back_gets_all),
		cmocka_unit_test(test_beyond_the_cap_it_is_dropped_and_counted),
		cmocka_unit_test(test_an_end_while_nobody_reads),
		cmocka_unit_test(test_at_rest),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
