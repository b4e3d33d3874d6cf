/* SPDX-License-Identifier: Apache-2.0 */
/* Files, descriptors, directory trees and the log line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/log.h"
#include "tests/lib/needs.h"

struct place {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return -1;
	(void)snprintf(p->path, sizeof(p->path), "/tmp/husk-fd-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return p->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	(void)hk_close(p->fd);
	(void)hk_rm_rf(AT_FDCWD, p->path);
	free(p);
	return 0;
}

static void test_whole_files(void **state)
{
	struct place *p = *state;
	hk_autofree char *all = NULL;
	struct stat st;
	char buf[16];
	size_t len = 0;

	assert_int_equal(hk_write_file_atomic(p->fd, "f", "hello\n", 6, 0640), 0);
	assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(hk_read_file_at(p->fd, "f", buf, sizeof(buf)), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(hk_read_file_at(p->fd, "f", buf, 6), -EFBIG);
	assert_int_equal(hk_read_file_at(p->fd, "f", buf, 7), 5);
	assert_int_equal(hk_read_file_at(p->fd, "gone", buf, sizeof(buf)), -ENOENT);
	assert_int_equal(hk_read_file_alloc(p->fd, "f", 5, &all, &len), -EFBIG);
	assert_int_equal(hk_read_file_alloc(p->fd, "f", 6, &all, &len), 0);
	assert_int_equal(len, 6);
	assert_string_equal(all, "hello\n");
	assert_int_equal(hk_write_file_at(p->fd, "gone", "x"), -ENOENT); /* never creates */
	assert_int_equal(symlinkat("f", p->fd, "link"), 0);
	assert_int_equal(hk_write_file_at(p->fd, "link", "x"), -ELOOP);
}

/* Reads `size` bytes through a pipe, which like a file of procfs has no size to go by. */
static void read_sizeless(size_t size, size_t limit)
{
	static char bytes[16384];
	hk_autofree char *back = NULL;
	char path[64];
	size_t len = 0;
	int pair[2], r;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)('a' + i % 26);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_int_equal(hk_write_full(pair[1], bytes, size), 0);
	pair[1] = hk_close(pair[1]);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pair[0]);
	r = hk_read_file_alloc(AT_FDCWD, path, limit, &back, &len);
	(void)hk_close(pair[0]);
	if (size > limit) {
		assert_int_equal(r, -EFBIG);
		assert_null(back);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(len, size);
	assert_memory_equal(back, bytes, size);
	assert_int_equal(back[size], 0);
}

static void test_files_without_a_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 10000 };
	struct place *p = *state;
	hk_autofree char *all = NULL, *none = NULL;
	size_t len = 1;

	for (size_t i = 0; i < HK_ARRAY_SIZE(sizes); i++) {
		read_sizeless(sizes[i], 10000);
		read_sizeless(sizes[i], sizes[i]);
		if (sizes[i] > 0)
			read_sizeless(sizes[i], sizes[i] - 1);
	}
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, "/proc/self/status", 1 << 20, &all, &len), 0);
	assert_non_null(strstr(all, "\nPid:\t"));
	/* A FIFO in a file's place is empty, and nobody waits for its writer. */
	assert_int_equal(mkfifoat(p->fd, "fifo", 0600), 0);
	assert_int_equal(hk_read_file_alloc(p->fd, "fifo", 10, &none, &len), 0);
	assert_int_equal(len, 0);
}

static void test_fds_travel_and_surplus_is_closed(void **state)
{
	int pair[2], got[1], sent[3];
	size_t n = 0;
	char byte;
	int before, after;

	(void)state;
	assert_int_equal(hk_socketpair(pair), 0);
	for (int i = 0; i < 3; i++)
		assert_true((sent[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	assert_int_equal(hk_send_fds(pair[0], "m", 1, sent, 3, 0), 0);
	for (int i = 0; i < 3; i++)
		(void)hk_close(sent[i]);
	before = dup(pair[0]);
	assert_int_equal(hk_recv_fds(pair[1], &byte, 1, got, 1, &n, 0), 1);
	assert_int_equal(n, 1);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	(void)hk_close(got[0]);
	after = dup(pair[0]);
	assert_int_equal(after, before + 1 > got[0] ? got[0] : before + 1); /* the two surplus fds are free again */
	(void)hk_close(after);
	(void)hk_close(before);
	assert_int_equal(hk_send_fds(pair[0], "m", 1, sent, 9, 0), -EINVAL);
	/* A datagram longer than asked for is refused, and its fd with it. */
	before = dup(pair[0]);
	assert_int_equal(hk_send_fds(pair[0], "long", 4, pair, 1, 0), 0);
	assert_int_equal(hk_recv_fds(pair[1], &byte, 1, got, 1, &n, 0), -EMSGSIZE);
	after = dup(pair[0]);
	assert_int_equal(after, before + 1);
	(void)hk_close(after);
	(void)hk_close(before);
	(void)hk_close(pair[0]);
	assert_int_equal(hk_recv_fds(pair[1], &byte, 1, got, 1, &n, 0), 0); /* EOF */
	(void)hk_close(pair[1]);
}

static void test_trees(void **state)
{
	struct place *p = *state;

	assert_int_equal(hk_mkdir_p(p->fd, "a/b/c", 0700), 0);
	assert_int_equal(hk_mkdir_p(p->fd, "a/b/c", 0700), 0);
	assert_int_equal(hk_write_file_atomic(p->fd, "a/b/c/f", "x", 1, 0600), 0);
	assert_int_equal(hk_mkdir_p(p->fd, "a/b/c/f", 0700), -ENOTDIR);
	assert_int_equal(hk_write_file_atomic(p->fd, "kept", "x", 1, 0600), 0);
	assert_int_equal(symlinkat("../kept", p->fd, "a/link"), 0);
	assert_int_equal(symlinkat("..", p->fd, "a/dirlink"), 0);
	assert_int_equal(hk_rm_rf(p->fd, "a"), 0);
	assert_int_equal(faccessat(p->fd, "a", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(faccessat(p->fd, "kept", F_OK, 0), 0);
	assert_int_equal(hk_rm_rf(p->fd, "a"), 0); /* gone is fine */
	assert_int_equal(hk_rm_rf(p->fd, "a/b/c"), 0);
	assert_int_equal(hk_mkdir_p(p->fd, "d/e", 0700), 0);
	assert_int_equal(hk_rm_rf(p->fd, "d/.."), -EINVAL);
	assert_int_equal(hk_rm_rf(p->fd, "."), -EINVAL);
	assert_int_equal(symlinkat("d", p->fd, "to_d"), 0);
	assert_int_equal(hk_rm_rf(p->fd, "to_d/"), 0); /* the link, not what it points to */
	assert_int_equal(faccessat(p->fd, "d/e", F_OK, 0), 0);
	assert_int_equal(hk_rm_rf(p->fd, "d/e/"), 0);
	assert_int_equal(faccessat(p->fd, "d/e", F_OK, 0), -1);
}

static void test_rm_rf_stops_at_a_mount(void **state)
{
	struct place *p = *state;
	char source[96], target[96];

	if (geteuid() != 0)
		skip();
	needs_openat2(); /* without it a mount shows by EBUSY only */
	assert_int_equal(hk_mkdir_p(p->fd, "source", 0700), 0);
	assert_int_equal(hk_mkdir_p(p->fd, "tree/mnt", 0700), 0);
	assert_int_equal(hk_write_file_atomic(p->fd, "source/precious", "x", 1, 0600), 0);
	(void)snprintf(source, sizeof(source), "%s/source", p->path);
	(void)snprintf(target, sizeof(target), "%s/tree/mnt", p->path);
	assert_int_equal(mount(source, target, NULL, MS_BIND, NULL), 0);
	assert_int_equal(hk_rm_rf(p->fd, "tree"), -EXDEV);
	assert_int_equal(hk_rm_rf(p->fd, "tree/mnt"), -EXDEV); /* nor what is mounted on the path itself */
	assert_int_equal(hk_rm_rf(AT_FDCWD, target), -EXDEV);
	assert_int_equal(umount2(target, MNT_DETACH), 0);
	assert_int_equal(faccessat(p->fd, "source/precious", F_OK, 0), 0);
}

static void test_cloexec_from(void **state)
{
	int fd = open("/dev/null", O_RDONLY); /* NOLINT(android-cloexec-open): what the call shall mend */

	(void)state;
	assert_true(fd >= 0);
	assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(hk_cloexec_from(3), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	(void)hk_close(fd);
}

/* A shim is dead when nobody listens; not when one cannot look. */
static void test_socket_look(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/husk-look-XXXXXX";
	struct rlimit limit, none;
	int fd, conn = -1;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	assert_int_equal(hk_socket_look(addr.sun_path, &conn), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(hk_socket_look(addr.sun_path, NULL), 0); /* it does not listen yet */
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(hk_socket_look(addr.sun_path, &conn), 1);
	assert_true(conn >= 0);
	assert_int_equal(hk_socket_look(addr.sun_path, NULL), 1); /* its backlog is full */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(hk_socket_look(addr.sun_path, NULL), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	(void)hk_close(conn);
	(void)hk_close(fd);
	assert_int_equal(hk_socket_look(addr.sun_path, NULL), 0); /* a file that outlived its owner */
	assert_int_equal(unlink(addr.sun_path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_log_lines(void **state)
{
	char line[4096], longer[5000];
	int p[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	hk_log_init(p[1], HK_LOG_INFO);
	log_debug("not shown");
	log_info("two words", LOG_STR("id", "a1"), LOG_INT("pid", -42), LOG_STR("err", "say \"no\"\n\x01"), LOG_STR("step", ""));
	n = read(p[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_memory_equal(line, "time=\"20", 8);
	assert_non_null(strstr(line, "Z\" level=info msg=\"two words\" id=a1 pid=-42 err=\"say \\\"no\\\"\\n\\x01\" step=\"\"\n"));
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	log_error(longer);
	n = read(p[0], line, sizeof(line) - 1);
	assert_true(n > 0 && n <= 2048);
	assert_memory_equal(line + n - 3, "y\"\n", 3); /* cut, but a whole line with its quotes closed */
	/* Control characters at the very end of the room: an escape is never cut in two. */
	for (size_t tail = 0; tail < 8; tail++) {
		memset(longer, '\001', sizeof(longer) - 1);
		memset(longer, 'y', 1900 + tail);
		log_error(longer, LOG_STR("id", "a1"));
		n = read(p[0], line, sizeof(line) - 1);
		assert_true(n > 2040 && n <= 2048);
		assert_memory_equal(line + n - 6, "\\x01\"\n", 6);
	}
	hk_log_init(-1, HK_LOG_DEBUG);
	log_error("nowhere to go");
	(void)hk_close(p[0]);
	(void)hk_close(p[1]);
}

static void test_full_log_drops_and_counts(void **state)
{
	char line[4096];
	int p[2], written = 0;
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	hk_log_init(p[1], HK_LOG_INFO);
	while (write(p[1], line, sizeof(line)) > 0)
		written++;
	assert_true(written > 0);
	for (int i = 0; i < 3; i++)
		log_warn("lost");
	while (read(p[0], line, sizeof(line)) > 0)
		;
	log_warn("kept");
	n = read(p[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_non_null(strstr(line, "level=warning msg=kept dropped=3\n"));
	hk_log_init(-1, HK_LOG_INFO);
	(void)hk_close(p[0]);
	(void)hk_close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files_without_a_size, setup, teardown),
		cmocka_unit_test(test_fds_travel_and_surplus_is_closed),
		cmocka_unit_test_setup_teardown(test_trees, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rm_rf_stops_at_a_mount, setup, teardown),
		cmocka_unit_test(test_cloexec_from),
		cmocka_unit_test(test_socket_look),
		cmocka_unit_test(test_log_lines),
		cmocka_unit_test(test_full_log_drops_and_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
