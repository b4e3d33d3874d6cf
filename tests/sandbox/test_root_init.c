/* SPDX-License-Identifier: Apache-2.0 */
/* husk-init as PID 1 of a pid namespace: it reaps whom it never knew, sleeps, and ends on SIGTERM and SIGINT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

#define PROGRAM HUSK_BIN_DIR "/husk-init"

/* Starts husk-init; returns when it is past execve and waits. */
static pid_t start(void)
{
	char path[64], text[256] = "";
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)execl(PROGRAM, "husk-init", (char *)NULL);
		_exit(127);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/wchan", (int)pid);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		if (hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0 && strcmp(text, "husk-init") == 0) {
			(void)snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
			(void)hk_read_file_at(AT_FDCWD, path, text, sizeof(text));
			if (strtol(text, NULL, 10) == SYS_rt_sigtimedwait)
				return pid;
		}
		(void)usleep(1000);
	}
	fail_msg("husk-init does not wait for signals");
	return -1;
}

static int status_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void ends_on_term_and_int(void **state)
{
	static const int sigs[] = { SIGTERM, SIGINT };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(sigs); i++) {
		pid_t pid = start();

		assert_int_equal(kill(pid, SIGUSR1), 0); /* nobody's business */
		assert_int_equal(kill(pid, SIGHUP), 0);
		(void)usleep(20000);
		assert_int_equal(kill(pid, 0), 0);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
		assert_int_equal(kill(pid, sigs[i]), 0);
		assert_int_equal(status_of(pid), 0);
	}
}

/* In the namespace: 20 orphans, which end at once or a little later. */
static void make_orphans(int ns_fd)
{
	pid_t middle;

	if (setns(ns_fd, CLONE_NEWPID) < 0)
		_exit(1);
	middle = fork();
	if (middle < 0)
		_exit(2);
	if (middle == 0) {
		for (int i = 0; i < 20; i++) {
			if (fork() == 0) {
				(void)usleep((useconds_t)i * 2000);
				_exit(i);
			}
		}
		_exit(0); /* its children are PID 1's now */
	}
	(void)waitpid(middle, NULL, 0);
	_exit(0);
}

static int children_of(pid_t pid)
{
	char path[64], text[4096];
	int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	if (hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0)
		return -1;
	for (const char *p = text; *p; p++)
		n += *p == ' ' || p[1] == '\0';
	return n;
}

static void reaps_orphans(void **state)
{
	pid_t pid = start(), helper;
	char path[64];
	hk_autofd ns = -1;
	int most = 0;

	(void)state;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ns >= 0);
	for (int round = 0; round < 3; round++) {
		helper = fork();
		assert_true(helper >= 0);
		if (helper == 0)
			make_orphans(ns);
		assert_int_equal(status_of(helper), 0);
		for (int i = 0; i < 1000; i++) {
			const int n = children_of(pid);

			assert_true(n >= 0);
			most = n > most ? n : most;
			if (n == 0 && i > 50)
				break;
			(void)usleep(1000);
		}
		assert_int_equal(children_of(pid), 0);
	}
	assert_true(most > 0); /* there was something to reap */
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(status_of(pid), 0);
}

static void is_small_and_idle(void **state)
{
	struct stat st;
	char path[64], text[4096];
	uint64_t before, after;
	pid_t pid;

	(void)state;
	assert_int_equal(stat(PROGRAM, &st), 0);
	assert_true(st.st_size < 16384);
	pid = start();
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
	assert_non_null(strstr(text, "voluntary_ctxt_switches:"));
	before = strtoul(strstr(text, "voluntary_ctxt_switches:") + 24, NULL, 10);
	(void)usleep(200000);
	assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
	after = strtoul(strstr(text, "voluntary_ctxt_switches:") + 24, NULL, 10);
	assert_int_equal(after, before); /* no timer wakes it */
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(status_of(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_on_term_and_int),
		cmocka_unit_test(reaps_orphans),
		cmocka_unit_test(is_small_and_idle),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: a pid namespace needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
