/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-cgroups N NAME — what any runtime's cgroup takes at the least, without limits: N times a directory made in every hierarchy, entered by a
 * child, and removed. Prints the three times of each, in nanoseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/hierarchies.h"

static struct hierarchies h;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-cgroups: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static pid_t born_in_v2(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	char file[320];
	int fd = -1;
	pid_t pid;

	for (int i = 0; fd < 0 && i < h.n; i++) {
		(void)snprintf(file, sizeof(file), "%.255s/cgroup.events", h.dirs[i]);
		if (access(file, F_OK) == 0)
			fd = open(h.dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd >= 0) {
		a.flags = CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)(unsigned)fd;
	}
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	(void)close(fd);
	return pid;
}

int main(int argc, char **argv)
{
	long n = argc == 3 ? strtol(argv[1], NULL, 10) : 0;

	check(n > 0, "usage: bench-cgroups N NAME");
	check(hierarchies_find(&h, argv[2]) == 0, argv[2]);
	for (; n > 0; n--) {
		uint64_t t[4];
		pid_t pid;

		t[0] = now_ns();
		for (int i = 0; i < h.n; i++)
			check(mkdir(h.dirs[i], 0755) == 0, h.dirs[i]);
		t[1] = now_ns();
		pid = born_in_v2();
		if (pid == 0) {
			hierarchies_enter(&h, false); /* born in v2's */
			_exit(0);
		}
		check(waitpid(pid, NULL, 0) == pid, "child");
		t[2] = now_ns();
		for (int i = 0; i < h.n; i++)
			check(rmdir(h.dirs[i]) == 0, h.dirs[i]);
		t[3] = now_ns();
		for (int i = 0; i < 3; i++)
			printf("%llu%c", (unsigned long long)(t[i + 1] - t[i]), i < 2 ? ' ' : '\n');
	}
	return 0;
}
