/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/fdcheck.c — linked into every C test: fails the program if it ends with more open fds than it began with.
 * Only the process that started as the test is judged; children it forks end by _exit.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fds_at_start;
static pid_t test_pid;

static int count_fds(int print)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (!d)
		return -1;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		char link[64], target[256];
		ssize_t len;

		if (e->d_name[0] == '.' || strtol(e->d_name, NULL, 10) == dirfd(d))
			continue;
		n++;
		if (!print)
			continue;
		(void)snprintf(link, sizeof(link), "/proc/self/fd/%.20s", e->d_name);
		len = readlink(link, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		(void)fprintf(stderr, "  fd %s -> %s\n", e->d_name, target);
	}
	(void)closedir(d);
	return n;
}

__attribute__((constructor)) static void fdcheck_begin(void)
{
	test_pid = getpid();
	fds_at_start = count_fds(0);
}

__attribute__((destructor)) static void fdcheck_end(void)
{
	if (getpid() != test_pid || count_fds(0) <= fds_at_start)
		return;
	(void)fprintf(stderr, "the test began with %d open fds and ends with more:\n", fds_at_start);
	(void)count_fds(1);
	_exit(98);
}
