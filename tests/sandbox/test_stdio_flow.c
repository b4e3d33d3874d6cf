/* SPDX-License-Identifier: Apache-2.0 */
/* Stdio under load and at rest: slow and absent clients lose nothing, an idle process wakes nobody, and bad targets are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "sandbox/stdio.h"

enum { OTHER_UID = 12345, BULK = 4 << 20, TTY_BULK = 65536 };

static char top[] = "/tmp/husk-stdio-XXXXXX";
static char in_path[64], out_path[64], err_path[64], file_path[64];
static struct hk_loop loop;
static struct hk_reaper reaper;

static void on_ready(void *arg, const struct hk_err *err)
{
	*(int *)arg += err ? 100 : 1;
}

static void on_drained(void *arg)
{
	(*(int *)arg)++;
}

static struct sbx_stdio_opts options(const char *in, const char *out, const char *err)
{
	return (struct sbx_stdio_opts){
		.loop = &loop, .reaper = &reaper, .paths = { in, out, err }, .ns = "ns1", .id = "c1", .reader_wait_ms = 300
	};
}

static struct sbx_stdio *open_now(const struct sbx_stdio_opts *o)
{
	struct sbx_stdio *s = NULL;
	struct hk_err err = { 0 };
	int ready = 0;

	assert_int_equal(sbx_stdio_open(o, on_ready, &ready, &s, &err), 0);
	for (int i = 0; i < 100 && ready == 0; i++)
		assert_int_equal(hk_loop_once(&loop, 10), 0);
	assert_int_equal(ready, 1);
	return s;
}

static struct sbx_stdio *open_exec(const char *in, const char *out, const char *err)
{
	struct sbx_stdio_opts o = options(in, out, err);

	o.is_exec = true;
	return open_now(&o);
}

static void turn(int ms)
{
	const uint64_t end = hk_now_ns() + (uint64_t)ms * 1000000;

	do {
		assert_int_equal(hk_loop_once(&loop, 1), 0);
	} while (hk_now_ns() < end);
}

/* How often the loop wakes up in `ms`: a turn that waits the whole rest counts once. */
static int wakeups(int ms)
{
	const uint64_t end = hk_now_ns() + (uint64_t)ms * 1000000;
	int n = 0;

	for (uint64_t now = hk_now_ns(); now < end; now = hk_now_ns(), n++)
		assert_int_equal(hk_loop_once(&loop, (int)((end - now) / 1000000) + 1), 0);
	return n;
}

/* Once all that has just been done has arrived, for which a busy machine takes its time. */
static bool is_at_rest(void)
{
	for (int i = 0; i < 100 && wakeups(20) > 1; i++)
		;
	return wakeups(80) <= 1;
}

static int open_fd(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int child_copy(const struct sbx_stdio *s, int i)
{
	int fd = fcntl(sbx_stdio_fds(s)[i], F_DUPFD_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void launch(struct sbx_stdio *s, uid_t uid)
{
	int none = -1;

	sbx_stdio_launched(s, &none, uid, (gid_t)-1);
}

static bool at_eof(int fd)
{
	char c;

	return read(fd, &c, 1) == 0;
}

/* A byte of the stream at place `at`: its period is no power of two, so a lost, doubled or swapped page shows. */
static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 31 % 251);
}

/* One write of at most `chunk`; counts in *sent. */
static void feed(int fd, size_t *sent, size_t total, size_t chunk)
{
	unsigned char buf[8192];
	size_t len = chunk < total - *sent ? chunk : total - *sent;
	ssize_t n;

	assert_true(len <= sizeof(buf));
	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(*sent + i);
	n = len > 0 ? write(fd, buf, len) : 0;
	assert_true(n >= 0 || errno == EAGAIN);
	*sent += n > 0 ? (size_t)n : 0;
}

/* One read of at most `chunk`, compared; counts in *got. False at EOF. */
static bool take(int fd, size_t *got, size_t chunk)
{
	unsigned char buf[8192];
	ssize_t n = read(fd, buf, chunk < sizeof(buf) ? chunk : sizeof(buf));

	assert_true(n >= 0 || errno == EAGAIN);
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(buf[i], pattern(*got + (size_t)i));
	*got += n > 0 ? (size_t)n : 0;
	return n != 0;
}

static struct sbx_stdio *open_terminal(int *ret_slave, bool is_exec)
{
	struct sbx_stdio_opts o = options(in_path, out_path, "");
	struct termios raw;
	struct sbx_stdio *s;
	int master;

	o.terminal = true;
	o.is_exec = is_exec;
	s = open_now(&o);
	assert_int_equal(openpty(&master, ret_slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(*ret_slave, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
	assert_int_equal(hk_set_nonblock(*ret_slave, true), 0);
	sbx_stdio_launched(s, &master, (uid_t)-1, (gid_t)-1);
	assert_int_equal(master, -1);
	return s;
}

/* ---- load ---- */

static void test_two_clients_in_a_row_get_all_of_an_exec(void **state)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), p;
	bool has_exited = false, has_changed = false;

	(void)state;
	s = open_exec("", out_path, "");
	p = child_copy(s, 1);
	launch(s, (uid_t)-1);
	assert_int_equal(hk_set_nonblock(p, true), 0);
	for (int i = 0; got < BULK; i++) {
		feed(p, &sent, BULK, 8192);
		if (sent == BULK && !has_exited) {
			has_exited = true;
			(void)hk_close(p);
			sbx_stdio_exited(s);
		}
		assert_int_equal(hk_loop_once(&loop, 0), 0);
		if (!has_changed && got > BULK / 2) { /* containerd restarts in the middle */
			has_changed = true;
			(void)hk_close(out);
			for (int k = 0; k < 50; k++) {
				feed(p, &sent, BULK, 8192);
				assert_int_equal(hk_loop_once(&loop, 0), 0);
			}
			assert_true(wakeups(50) <= 2); /* everything is full: nobody spins */
			out = open_fd(out_path, O_RDONLY);
		}
		if (i % 2)
			assert_true(take(out, &got, 7001));
	}
	assert_true(has_changed);
	assert_int_equal(sent, BULK);
	turn(20);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_many_small_writes_with_no_client(void **state)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), p;

	(void)state;
	s = open_exec("", out_path, "");
	p = child_copy(s, 1);
	launch(s, (uid_t)-1);
	(void)hk_close(out);
	while (sent < 500) { /* more buffers than a FIFO has room for, of a byte each */
		feed(p, &sent, 500, 1);
		assert_int_equal(hk_loop_once(&loop, 0), 0);
	}
	(void)hk_close(p);
	sbx_stdio_exited(s);
	assert_true(wakeups(60) <= 2);
	out = open_fd(out_path, O_RDONLY);
	while (got < 500) {
		assert_true(take(out, &got, 100));
		turn(1);
	}
	for (int i = 0; i < 500 && !at_eof(out); i++)
		turn(10);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_an_exec_keeps_stdin_over_clients(void **state)
{
	struct sbx_stdio *s = open_exec(in_path, "", "");
	int p = child_copy(s, 0), client;
	char buf[16];

	(void)state;
	launch(s, (uid_t)-1);
	assert_int_equal(hk_set_nonblock(p, true), 0);
	for (int i = 0; i < 3; i++) { /* attaches, types, detaches */
		client = open_fd(in_path, O_WRONLY);
		assert_int_equal(write(client, "text", 4), 4);
		(void)hk_close(client);
		turn(5);
		assert_int_equal(read(p, buf, sizeof(buf)), 4);
		assert_int_equal(read(p, buf, sizeof(buf)), -1);
		assert_int_equal(errno, EAGAIN);
	}
	sbx_stdio_close_stdin(s);
	for (int i = 0; i < 500 && !at_eof(p); i++)
		turn(10);
	assert_true(at_eof(p));
	(void)hk_close(p);
	sbx_stdio_free(s);
}

static void check_terminal_output(bool is_exec)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), slave;

	s = open_terminal(&slave, is_exec);
	for (int i = 0; sent < TTY_BULK; i++) {
		feed(slave, &sent, TTY_BULK, 4000);
		assert_int_equal(hk_loop_once(&loop, 1), 0);
		if (i % 4 == 0)
			assert_true(take(out, &got, 1000));
	}
	(void)hk_close(slave);
	sbx_stdio_exited(s);
	for (int i = 0; i < 3000 && take(out, &got, 1000); i++)
		assert_int_equal(hk_loop_once(&loop, 1), 0);
	assert_int_equal(got, TTY_BULK);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_a_terminal_loses_nothing_at_the_exit(void **state)
{
	(void)state;
	check_terminal_output(false);
	check_terminal_output(true);
}

/*
 * Until the FIFO, the buffer and the terminal are full. A worker of the kernel's moves the bytes of a terminal, on a busy machine with pauses: the
 * FIFO says when it has, what is written from then on stays behind it.
 */
static void fill(int slave, size_t *sent)
{
	int into = open_fd(out_path, O_RDWR);
	struct pollfd p = { .fd = into, .events = POLLOUT };
	size_t before;

	for (int i = 0; i < 20000 && poll(&p, 1, 0) == 1; i++) {
		feed(slave, sent, BULK, 4000);
		turn(1);
	}
	assert_int_equal(poll(&p, 1, 0), 0);
	for (int quiet = 0; quiet < 20; quiet = *sent > before ? 0 : quiet + 1) {
		before = *sent;
		feed(slave, sent, BULK, 4000);
		turn(3);
	}
	(void)hk_close(into);
}

static void check_absent_client(bool is_exec)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), slave;

	s = open_terminal(&slave, is_exec);
	(void)hk_close(out);
	fill(slave, &sent);
	assert_true(sent >= TTY_BULK);
	assert_true(sent < BULK);
	assert_true(wakeups(60) <= 2);
	(void)hk_close(slave);
	sbx_stdio_exited(s);
	turn(150);
	assert_true(wakeups(300) <= 8); /* the terminal's end is no spin either */
	out = open_fd(out_path, O_RDONLY);
	for (int i = 0; i < 3000 && take(out, &got, 3000); i++)
		assert_int_equal(hk_loop_once(&loop, 1), 0);
	assert_int_equal(got, sent);
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void check_last_words(bool is_exec)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), slave, drained = 0;

	s = open_terminal(&slave, is_exec);
	(void)hk_close(out);
	feed(slave, &sent, 50, 50);
	(void)hk_close(slave);
	sbx_stdio_exited(s);
	turn(50);
	out = open_fd(out_path, O_RDONLY);
	sbx_stdio_drain(s, 5000, on_drained, &drained);
	assert_int_equal(drained, 1); /* all is in the FIFO: a Delete need not wait */
	assert_true(take(out, &got, 100));
	assert_int_equal(got, 50);
	turn(150);
	assert_true(at_eof(out));
	sbx_stdio_free(s);
	(void)hk_close(out);
}

static void test_a_terminal_whose_client_is_away(void **state)
{
	(void)state;
	for (int is_exec = 0; is_exec < 2; is_exec++) {
		check_absent_client(is_exec);
		check_last_words(is_exec);
	}
}

static void test_drained_is_told_when_the_last_copy_ends(void **state)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), slave, drained = 0;

	(void)state;
	s = open_terminal(&slave, true);
	fill(slave, &sent); /* nobody reads: some of it is still in the terminal at the exit */
	(void)hk_close(slave);
	sbx_stdio_exited(s);
	sbx_stdio_drain(s, 5000, on_drained, &drained);
	assert_int_equal(drained, 0);
	for (int i = 0; i < 200 && drained == 0; i++) {
		assert_true(take(out, &got, 3000));
		turn(1);
	}
	assert_int_equal(drained, 1);
	assert_true(got < sent); /* told before the client has read it all, and well before the deadline */
	sbx_stdio_free(s);
	while (take(out, &got, 3000))
		;
	assert_int_equal(got, sent);
	(void)hk_close(out);
}

static void test_a_big_paste_into_a_slow_terminal(void **state)
{
	struct sbx_stdio *s;
	size_t sent = 0, got = 0;
	int out = open_fd(out_path, O_RDONLY), client, slave;

	(void)state;
	s = open_terminal(&slave, false);
	client = open_fd(in_path, O_WRONLY);
	for (int i = 0; got < 4 * TTY_BULK; i++) {
		feed(client, &sent, 4 * TTY_BULK, 8192);
		assert_int_equal(hk_loop_once(&loop, 1), 0);
		if (i % 3 == 0)
			assert_true(take(slave, &got, 3000));
		assert_true(i < 20000);
	}
	assert_int_equal(got, sent);
	(void)hk_close(client);
	(void)hk_close(slave);
	(void)hk_close(out);
	sbx_stdio_free(s);
}

/* ---- rest ---- */

static void test_an_idle_process_wakes_nobody(void **state)
{
	struct sbx_stdio_opts o = options(in_path, out_path, err_path);
	int out = open_fd(out_path, O_RDONLY), err = open_fd(err_path, O_RDONLY), client = -1, p[3], slave;
	struct sbx_stdio *s;

	(void)state;
	for (int kind = 0; kind < 2; kind++) { /* init, exec */
		o.is_exec = kind == 1;
		s = open_now(&o);
		for (int i = 0; i < 3; i++)
			p[i] = child_copy(s, i);
		launch(s, (uid_t)-1);
		client = open_fd(in_path, O_WRONLY);
		assert_true(is_at_rest());
		(void)hk_close(client);
		assert_true(wakeups(80) <= 2);
		(void)hk_close(p[0]);
		sbx_stdio_close_stdin(s);
		assert_true(is_at_rest());
		(void)hk_close(p[1]);
		(void)hk_close(p[2]);
		assert_true(is_at_rest()); /* both outputs at their end, the process not yet */
		sbx_stdio_exited(s);
		assert_true(at_eof(out));
		assert_true(at_eof(err));
		sbx_stdio_free(s);
	}
	s = open_terminal(&slave, false);
	assert_true(is_at_rest());
	(void)hk_close(slave); /* a master without a slave says EPOLLHUP all the time */
	turn(10);
	assert_true(wakeups(100) <= 12);
	sbx_stdio_close_stdin(s);
	turn(10);
	assert_true(wakeups(100) <= 12);
	sbx_stdio_free(s);
	(void)hk_close(out);
	(void)hk_close(err);
}

/* ---- targets ---- */

static uid_t owner_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_uid;
}

static void test_only_a_fifo_changes_its_owner(void **state)
{
	struct sbx_stdio_opts o = options(in_path, out_path, file_path);
	struct sbx_stdio *s;
	int out, fd;

	(void)state;
	if (getuid() != 0)
		skip();
	fd = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)hk_close(fd);
	out = open_fd(out_path, O_RDONLY);
	s = open_now(&o);
	launch(s, OTHER_UID);
	assert_int_equal(owner_of(in_path), OTHER_UID);
	assert_int_equal(owner_of(out_path), OTHER_UID);
	/* A file stands for what else a client may name: /dev/null in a container user's hands would be everybody's trouble. */
	assert_int_equal(owner_of(file_path), 0);
	sbx_stdio_free(s);
	assert_int_equal(chown(in_path, 0, 0), 0);
	assert_int_equal(chown(out_path, 0, 0), 0);
	assert_int_equal(unlink(file_path), 0);
	(void)hk_close(out);
}

static void test_a_missing_path_is_an_error_and_stays_missing(void **state)
{
	struct sbx_stdio_opts o = options("", file_path, "");
	struct sbx_stdio *s = NULL;
	struct hk_err err = { 0 };
	int ready = 0;

	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		o.terminal = kind == 1;
		assert_int_equal(sbx_stdio_open(&o, on_ready, &ready, &s, &err), -ENOENT);
		assert_non_null(strstr(err.text, file_path));
		assert_non_null(strstr(err.text, "ENOENT"));
		assert_int_equal(ready, 0);
		assert_int_equal(access(file_path, F_OK), -1);
	}
}

static void test_a_plain_file_is_appended_to(void **state)
{
	struct sbx_stdio_opts o = options("", file_path, file_path);
	struct sbx_stdio *s;
	char text[16];
	int fd = open(file_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old ", 4), 4);
	(void)hk_close(fd);
	s = open_now(&o);
	assert_int_equal(write(sbx_stdio_fds(s)[2], "new", 3), 3);
	sbx_stdio_free(s);
	assert_int_equal(hk_read_file_at(AT_FDCWD, file_path, text, sizeof(text)), 7);
	assert_string_equal(text, "old new");
	assert_int_equal(unlink(file_path), 0);
}

static int set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(top))
		return -1;
	(void)snprintf(in_path, sizeof(in_path), "%s/in", top);
	(void)snprintf(out_path, sizeof(out_path), "%s/out", top);
	(void)snprintf(err_path, sizeof(err_path), "%s/err", top);
	(void)snprintf(file_path, sizeof(file_path), "%s/file", top);
	if (mkfifo(in_path, 0700) < 0 || mkfifo(out_path, 0700) < 0 || mkfifo(err_path, 0700) < 0 || hk_loop_init(&loop) < 0)
		return -1;
	hk_reaper_init(&reaper, &loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hk_loop_done(&loop);
	return hk_rm_rf(AT_FDCWD, top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_clients_in_a_row_get_all_of_an_exec),
		cmocka_unit_test(test_many_small_writes_with_no_client),
		cmocka_unit_test(test_an_exec_keeps_stdin_over_clients),
		cmocka_unit_test(test_a_terminal_loses_nothing_at_the_exit),
		cmocka_unit_test(test_a_terminal_whose_client_is_away),
		cmocka_unit_test(test_drained_is_told_when_the_last_copy_ends),
		cmocka_unit_test(test_a_big_paste_into_a_slow_terminal),
		cmocka_unit_test(test_an_idle_process_wakes_nobody),
		cmocka_unit_test(test_only_a_fifo_changes_its_owner),
		cmocka_unit_test(test_a_missing_path_is_an_error_and_stays_missing),
		cmocka_unit_test(test_a_plain_file_is_appended_to),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
