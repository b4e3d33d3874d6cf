/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/test_root_server.c — what kind of process `start` leaves behind, and `delete` beside a live, a dead and no server.
 * with: start_env.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "proto/names.h"
#include "proto/task.pb-c.h"
#include "tests/shim/start_env.h"

static bool proc_has(pid_t pid, const char *file, const char *word)
{
	char path[64];
	hk_autofree char *text = NULL;
	size_t len;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, path, 1 << 20, &text, &len), 0);
	return memmem(text, len, word, strlen(word) + 1) != NULL;
}

/* ---- the server ---- */

static void server_process(void **state)
{
	struct start_env *e = *state;
	struct start_command c = { .id = "proc", .action = "start" };
	char path[64], text[4096], target[256];
	int64_t mine, its;
	pid_t pid;

	start_run(e, &c);
	pid = start_server_pid(e, c.out, TTRPC_SERVICE_TASK_V3);
	assert_int_equal(getsid(pid), pid);
	assert_int_equal(getpgid(pid), pid);
	for (int fd = 0; fd <= 2; fd++) {
		ssize_t n;

		(void)hk_fmt(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		assert_true(n > 0);
		target[n] = '\0';
		assert_string_equal(target, "/dev/null");
	}
	(void)hk_fmt(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "Name:\thusk-shim\n"));
	assert_non_null(strstr(text, "\nThreads:\t1\n"));
	assert_true(hk_read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", text, sizeof(text)) > 0);
	assert_int_equal(hk_parse_i64(text, &mine), 0);
	(void)hk_fmt(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
	assert_int_equal(hk_parse_i64(text, &its), 0);
	assert_int_equal(its, mine < 1000 ? mine + 1 : 1000);
	assert_true(proc_has(pid, "cmdline", e->shim));
	/* The image cannot be written through the process; a kernel without the calls runs the plain file, which is busy. */
	(void)hk_fmt(path, sizeof(path), "/proc/%d/exe", (int)pid);
	assert_int_equal(open(path, O_WRONLY | O_CLOEXEC), -1);
	assert_true(errno == EROFS || errno == ETXTBSY);
	start_end_server(pid, SIGTERM);
	assert_int_equal(access(c.out + 7, F_OK), -1);
}

/* containerd waits for the end of the pipe, not of the process. */
static void pipe_ends(void **state)
{
	struct start_env *e = *state;
	char script[2 * PATH_MAX];
	struct start_command c = { .script = script };

	(void)snprintf(script, sizeof(script), "timeout 5 sh -c '%s -namespace husk-test -address %s -id pipe start | cat'", e->shim,
	    e->address);
	start_run(e, &c);
	start_assert_bare(e, &c, "pipe");
	assert_true(start_server_pid(e, c.out, TTRPC_SERVICE_TASK_V3) > 0);
}

/* ---- delete ---- */

static void assert_deleted(const struct start_command *c)
{
	Husk__Task__DeleteResponse *m;

	assert_string_equal(c->err, "");
	assert_int_equal(c->status, 0);
	m = husk__task__delete_response__unpack(NULL, (size_t)c->n_out, (const uint8_t *)c->out);
	assert_non_null(m);
	husk__task__delete_response__free_unpacked(m, NULL);
}

static void delete_twice_and_without_bundle(void **state)
{
	struct start_env *e = *state;
	struct start_command start = { .id = "del", .action = "start" };
	char flag[128];
	pid_t pid;

	start_run(e, &start);
	pid = start_server_pid(e, start.out, TTRPC_SERVICE_TASK_V3);
	(void)snprintf(flag, sizeof(flag), "-bundle=%s", e->bundle);
	/* While the shim lives, its socket stays. */
	for (int i = 0; i < 2; i++) {
		struct start_command c = { .id = "del", .action = "delete", .extra = flag };

		start_run(e, &c);
		assert_deleted(&c);
		assert_int_equal(access(start.out + 7, F_OK), 0);
		assert_false(start_is_gone(pid));
	}
	start_end_server(pid, SIGKILL);
	for (int i = 0; i < 3; i++) {
		struct start_command c = { .id = "del", .action = "delete", .extra = flag, .cwd = i == 2 ? "/" : NULL };

		start_run(e, &c);
		assert_deleted(&c);
		assert_int_equal(access(start.out + 7, F_OK), -1);
		(void)hk_rm_rf(AT_FDCWD, e->bundle);
		assert_int_equal(i == 2 ? 0 : mkdir(e->bundle, 0700), 0);
	}
}

/* The bundle is already gone, so its address file cannot help. */
static void delete_in_a_removed_directory(void **state)
{
	struct start_env *e = *state;
	char script[2 * PATH_MAX];
	struct start_command c = { .script = script };

	(void)snprintf(script, sizeof(script), "rmdir %s && exec %s -namespace husk-test -address %s -id gone delete", e->bundle, e->shim,
	    e->address);
	start_run(e, &c);
	assert_deleted(&c);
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, start_setup, start_teardown)
	const struct CMUnitTest tests[] = {
		ROW(server_process),
		ROW(pipe_ends),
		ROW(delete_twice_and_without_bundle),
		ROW(delete_in_a_removed_directory),
	};

	if (geteuid() != 0)
		return 77;
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
