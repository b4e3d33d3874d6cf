/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-cgroups N NAME — what any runtime's cgroup takes at the least, without limits: N times a directory made in every hierarchy, entered by a
 * child, and removed. Prints the three times of each, in nanoseconds.
 */
#include <dirent.h>
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

enum { HIERARCHIES_MAX = 16 };

static char dirs[HIERARCHIES_MAX][256];
static int n_dirs;

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

static void find(const char *name)
{
	static const char top[] = "/sys/fs/cgroup";
	struct dirent *e;
	DIR *d = opendir(top);

	check(d != NULL, top);
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0)
		(void)snprintf(dirs[n_dirs++], sizeof(dirs[0]), "%s/%.100s", top, name);
	else
		while (n_dirs < HIERARCHIES_MAX && (e = readdir(d)))
			if (e->d_type == DT_DIR && e->d_name[0] != '.')
				(void)snprintf(
				    dirs[n_dirs++], sizeof(dirs[0]), "%s/%.64s/%.100s", top, e->d_name, name);
	(void)closedir(d);
}

/* The quick ways in (oci/cgroup.c): born in v2's, and into v1's by `tasks`. v1's cpuset refuses, having no cpus yet; the call is made. */
static void enter(void)
{
	char file[320];

	for (int i = 0; i < n_dirs; i++) {
		int fd;

		(void)snprintf(file, sizeof(file), "%.255s/tasks", dirs[i]);
		fd = open(file, O_WRONLY | O_CLOEXEC);
		(void)!(fd >= 0 && write(fd, "0", 1));
		(void)close(fd);
	}
}

static pid_t born_in_v2(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	char file[320];
	int fd = -1;
	pid_t pid;

	for (int i = 0; fd < 0 && i < n_dirs; i++) {
		(void)snprintf(file, sizeof(file), "%.255s/cgroup.events", dirs[i]);
		if (access(file, F_OK) == 0)
			fd = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
	find(argv[2]);
	for (; n > 0; n--) {
		uint64_t t[4];
		pid_t pid;

		t[0] = now_ns();
		for (int i = 0; i < n_dirs; i++)
			check(mkdir(dirs[i], 0755) == 0, dirs[i]);
		t[1] = now_ns();
		pid = born_in_v2();
		if (pid == 0) {
			enter();
			_exit(0);
		}
		check(waitpid(pid, NULL, 0) == pid, "child");
		t[2] = now_ns();
		for (int i = 0; i < n_dirs; i++)
			check(rmdir(dirs[i]) == 0, dirs[i]);
		t[3] = now_ns();
		for (int i = 0; i < 3; i++)
			printf("%llu%c", (unsigned long long)(t[i + 1] - t[i]), i < 2 ? ' ' : '\n');
	}
	return 0;
}
