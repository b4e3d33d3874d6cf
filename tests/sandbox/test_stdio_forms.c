/* SPDX-License-Identifier: Apache-2.0 */
/* Stdio that is no plain FIFO: files, other schemes, terminals, logging binaries. */
#include "tests/sandbox/stdio_helpers.h"
#include "tests/lib/needs.h"

static void test_files(void **state)
{
	char uri[120], path[100], text[16];
	struct sbx_stdio_opts o;
	struct sbx_stdio *s;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/logs/c1/out.log", top);
	(void)snprintf(uri, sizeof(uri), "file://%s", path);
	o = options("", uri, uri);
	for (int i = 0; i < 2; i++) { /* the second appends */
		s = open_now(&o);
		assert_int_equal(write(sbx_stdio_fds(s)[1], "a", 1), 1);
		assert_int_equal(write(sbx_stdio_fds(s)[2], "b", 1), 1);
		launched(s);
		sbx_stdio_exited(s);
		sbx_stdio_free(s);
	}
	assert_int_equal(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)), 4);
	assert_string_equal(text, "abab");
}

static void test_schemes(void **state)
{
	char fifo_uri[100];
	struct sbx_stdio_opts o = options("", "gopher://x/y", "");
	struct sbx_stdio *s;
	struct result r = { 0 };
	struct hk_err err = { 0 };
	int out;

	(void)state;
	assert_true(sbx_stdio_open(&o, on_ready, &r, &s, &err) < 0);
	assert_string_equal(err.text, "unknown STDIO scheme gopher");
	assert_int_equal(r.calls, 0);
	o = options("", "/nonexistent-dir/x", "");
	assert_true(sbx_stdio_open(&o, on_ready, &r, &s, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent-dir/x"));
	(void)snprintf(fifo_uri, sizeof(fifo_uri), "fifo://%s", out_path);
	o = options("", fifo_uri, "");
	out = reader_of(out_path);
	s = open_now(&o);
	assert_true(sbx_stdio_fds(s)[1] >= 0);
	sbx_stdio_free(s);
	(void)hk_close(out);
	o = options(NULL, NULL, NULL);
	s = open_now(&o);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sbx_stdio_fds(s)[i], -1);
	sbx_stdio_free(s);
}

static void test_a_terminal(void **state)
{
	struct sbx_stdio_opts o = options(in_path, out_path, "");
	int out = reader_of(out_path), client, master, slave;
	struct termios raw;
	struct winsize w = { 0 };
	struct sbx_stdio *s;
	char big[8000], buf[16000];
	size_t got = 0;

	(void)state;
	o.terminal = true;
	s = open_now(&o);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sbx_stdio_fds(s)[i], -1);
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
	sbx_stdio_launched(s, &master, (uid_t)-1, (gid_t)-1);
	assert_int_equal(master, -1);
	assert_int_equal(sbx_stdio_resize(s, 132, 43), 0);
	assert_int_equal(ioctl(slave, TIOCGWINSZ, &w), 0);
	assert_int_equal(w.ws_col, 132);
	assert_int_equal(w.ws_row, 43);

	client = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(write(client, "typed", 5), 5);
	turn(20);
	assert_int_equal(read(slave, buf, sizeof(buf)), 5);

	/* The slave is closed and opened again while the process lives: no end. */
	{
		char *name = ttyname(slave);
		char path[64];

		(void)snprintf(path, sizeof(path), "%s", name);
		(void)hk_close(slave);
		turn(20);
		slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
		assert_true(slave >= 0);
	}
	memset(big, 'x', sizeof(big));
	assert_int_equal(hk_set_nonblock(slave, true), 0);
	for (size_t sent = 0; sent < sizeof(big);) {
		ssize_t n = write(slave, big + sent, sizeof(big) - sent);

		if (n > 0)
			sent += (size_t)n;
		turn(1);
	}
	(void)hk_close(slave);
	sbx_stdio_exited(s);
	for (int i = 0; i < 300; i++) {
		ssize_t n = read(out, buf, sizeof(buf));

		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
		turn(1);
	}
	assert_int_equal(got, sizeof(big));
	assert_true(at_eof(out));
	(void)hk_close(client);
	(void)hk_close(out);
	sbx_stdio_free(s);
}

static void test_a_logging_binary(void **state)
{
	char script[100], uri[200], result[100], text[200];
	struct sbx_stdio_opts o;
	struct sbx_stdio *s;
	int drained = 0;
	hk_autofd fd = -1;

	(void)state;
	(void)snprintf(script, sizeof(script), "%s/logger", top);
	(void)snprintf(result, sizeof(result), "%s/logged", top);
	fd = open(script, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	(void)dprintf(fd, "#!/bin/sh\ntrap '' TERM\nexec 5>&-\n"
		"{ echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"; /bin/cat <&3; /bin/cat <&4; } >%s\n", result);
	fd = hk_close(fd);
	(void)snprintf(uri, sizeof(uri), "binary://%s?one=1&two&one=3&b%%20c=d", script);
	o = options("", uri, uri);
	s = open_now(&o);
	assert_int_equal(write(sbx_stdio_fds(s)[1], "out\n", 4), 4);
	assert_int_equal(write(sbx_stdio_fds(s)[2], "err\n", 4), 4);
	launched(s);
	sbx_stdio_exited(s);
	sbx_stdio_drain(s, 1000, on_drained, &drained);
	for (int i = 0; i < 200 && drained == 0; i++)
		turn(10);
	assert_int_equal(drained, 1);
	sbx_stdio_free(s);
	assert_true(hk_list_is_empty(&reaper.children)); /* nothing is left of it */
	assert_true(hk_read_file_at(AT_FDCWD, result, text, sizeof(text)) > 0);
	assert_string_equal(text, "c1 ns1 one 1 two  b c d\nout\nerr");
}

static void write_script(const char *path, const char *text)
{
	hk_autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
}

/* A slow logger has the time to read all that was written; one that does not end at the end of its input is told to. */
static void test_a_logging_binary_reads_to_the_end(void **state)
{
	char script[100], uri[140], text[400], big[20000];
	const uint64_t begin = hk_now_ns();
	struct sbx_stdio_opts o;
	struct sbx_stdio *s;
	struct stat st;
	int drained = 0;

	(void)state;
	(void)snprintf(script, sizeof(script), "%s/slow", top);
	(void)snprintf(text, sizeof(text), "#!/bin/sh\nexec 5>&-\n/bin/sleep 0.3\n/bin/dd bs=1000 <&3 >%s/slow.log 2>/dev/null\n"
		"trap 'echo term >%s/slow.term; exit' TERM\nwhile :; do /bin/sleep 0.05; done\n", top, top);
	write_script(script, text);
	(void)snprintf(uri, sizeof(uri), "binary://%s", script);
	o = options("", uri, uri);
	s = open_now(&o);
	memset(big, 'x', sizeof(big));
	assert_int_equal(write(sbx_stdio_fds(s)[1], big, sizeof(big)), sizeof(big));
	launched(s);
	sbx_stdio_exited(s);
	sbx_stdio_drain(s, 1000, on_drained, &drained);
	for (int i = 0; i < 500 && drained == 0; i++)
		turn(10);
	assert_int_equal(drained, 1);
	assert_true(hk_now_ns() - begin < 5000000000ULL); /* SIGTERM, not the 12 s of SIGKILL */
	sbx_stdio_free(s);
	(void)snprintf(text, sizeof(text), "%s/slow.log", top);
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_size, sizeof(big));
	(void)snprintf(text, sizeof(text), "%s/slow.term", top);
	assert_int_equal(stat(text, &st), 0);
}

/* One stream into the logger's first pipe; its second is there and stays empty. A logger that dies takes nothing with it. */
static void test_a_terminal_with_a_logging_binary(void **state)
{
	for (int dies = 0; dies < 2; dies++) {
		char script[100], uri[140], text[400];
		int drained = 0, master, slave;
		struct sbx_stdio_opts o;
		struct sbx_stdio *s;

		(void)state;
		(void)snprintf(script, sizeof(script), "%s/tty-logger", top);
		(void)snprintf(text, sizeof(text), "#!/bin/sh\nexec 5>&-\n%s\n{ /bin/cat <&3; echo; /bin/cat <&4; echo end; } >%s/tty.log\n",
			dies ? "exit 1" : ":", top);
		write_script(script, text);
		(void)snprintf(uri, sizeof(uri), "binary://%s", script);
		o = options(in_path, uri, "");
		o.terminal = true;
		s = open_now(&o);
		for (int i = 0; i < 3; i++)
			assert_int_equal(sbx_stdio_fds(s)[i], -1);
		assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
		sbx_stdio_launched(s, &master, (uid_t)-1, (gid_t)-1);
		turn(dies ? 100 : 1);
		for (int i = 0; i < 50; i++) {
			assert_int_equal(write(slave, "some words", 10), 10);
			turn(1);
		}
		(void)hk_close(slave);
		sbx_stdio_exited(s);
		sbx_stdio_drain(s, 1000, on_drained, &drained);
		for (int i = 0; i < 200 && drained == 0; i++)
			turn(10);
		assert_int_equal(drained, 1);
		sbx_stdio_free(s);
		(void)snprintf(text, sizeof(text), "%s/tty.log", top);
		if (!dies) {
			struct stat st;

			assert_int_equal(stat(text, &st), 0);
			assert_int_equal(st.st_size, 500 + 1 + 4);
		}
	}
}

static void test_a_logging_binary_that_fails(void **state)
{
	struct sbx_stdio_opts o = options("", "binary-v2:///bin/false", "");
	struct sbx_stdio *s = NULL;
	struct result r = { 0 };
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(sbx_stdio_open(&o, on_ready, &r, &s, &err), 0);
	for (int i = 0; i < 200 && r.calls == 0; i++)
		turn(10);
	assert_true(r.failed);
	assert_string_equal(r.err.text, "logging binary did not call ready");
	sbx_stdio_free(s);
	for (int i = 0; i < 200 && !hk_list_is_empty(&reaper.children); i++)
		turn(10);
	needs_shared_vfork(); /* by which a failed execve is told */
	o.paths[1] = "binary:///nonexistent/logger";
	assert_true(sbx_stdio_open(&o, on_ready, &r, &s, &err) < 0);
	assert_non_null(strstr(err.text, "/nonexistent/logger"));
}

/* The logger is chosen by stdout's scheme; one on stderr alone would take both streams over. */
static void test_a_logger_on_stderr_alone(void **state)
{
	struct sbx_stdio_opts o = options("", out_path, "binary:///bin/true");
	struct sbx_stdio *s = NULL;
	struct result r = { 0 };
	struct hk_err err = { 0 };
	int out = reader_of(out_path);

	(void)state;
	assert_true(sbx_stdio_open(&o, on_ready, &r, &s, &err) < 0);
	assert_non_null(strstr(err.text, "stderr"));
	assert_int_equal(r.calls, 0);
	assert_true(hk_list_is_empty(&reaper.children));
	(void)hk_close(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_schemes),
		cmocka_unit_test(test_a_terminal),
		cmocka_unit_test(test_a_logging_binary),
		cmocka_unit_test(test_a_logging_binary_reads_to_the_end),
		cmocka_unit_test(test_a_terminal_with_a_logging_binary),
		cmocka_unit_test(test_a_logging_binary_that_fails),
		cmocka_unit_test(test_a_logger_on_stderr_alone),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
