/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-floor — what the kernel alone takes for a pod and for an exec: the bare calls, nothing parsed, checked, reported or shared.
 *   bench-floor pod  N ROOTFS FILTER   N times: six namespaces, nine mounts, pivot_root, the filter, execve, exit
 *   bench-floor keep N ROOTFS FILTER   the same, but each stays until stdin ends; the time is that of its execve
 *   bench-floor exec N ROOTFS FILTER   N times in one such pod: setns by pidfd, two forks, the filter, execve, exit
 * FILTER: the program as an array of struct sock_filter, "-" = none. Prints one line a time, in nanoseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ALL_NS = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
	INSNS_MAX = 4096
};

static struct sock_filter insns[INSNS_MAX];
static struct sock_fprog filter = { .filter = insns };
static const char *rootfs;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-floor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void read_filter(const char *path)
{
	int fd = path[0] == '-' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, insns, sizeof(insns));

	check(path[0] == '-' || n > 0, path);
	filter.len = (unsigned short)((size_t)n / sizeof(insns[0]));
	if (fd >= 0)
		(void)close(fd);
}

static _Noreturn void become(const char *what)
{
	char name[] = "payload", *argv[] = { name, (char *)(uintptr_t)what, NULL }, *env[] = { NULL };

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	check(filter.len == 0 ||
		  syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0,
	    "seccomp");
	(void)execve("/bin/payload", argv, env);
	check(0, "execve");
	_exit(1);
}

static _Noreturn void pod_child(const char *what)
{
	const unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;

	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private");
	check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) == 0 && chdir(rootfs) == 0, rootfs);
	check(mount("proc", "proc", "proc", quiet, NULL) == 0, "proc");
	check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k") == 0, "dev");
	check(mkdir("dev/pts", 0755) == 0 && mkdir("dev/shm", 01777) == 0 && mkdir("dev/mqueue", 01777) == 0, "mkdir");
	check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620,gid=5") == 0,
	    "devpts");
	check(mount("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k") == 0, "shm");
	check(mount("mqueue", "dev/mqueue", "mqueue", quiet, NULL) == 0, "mqueue");
	check(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, NULL) == 0, "sysfs");
	check(
	    mount("tmpfs", "run", "tmpfs", MS_NOSUID | MS_STRICTATIME | MS_NODEV, "mode=755,size=65536k") == 0, "run");
	check(syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "pivot_root");
	become(what);
}

/* ret_gate: readable at its end when the program runs. */
static pid_t pod(const char *what, int *ret_pidfd, int *ret_gate)
{
	int gate[2] = { -1, -1 };
	struct clone_args a = {
		.flags = ALL_NS | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)ret_pidfd, .exit_signal = SIGCHLD
	};
	pid_t pid;

	check(!ret_gate || pipe2(gate, O_CLOEXEC) == 0, "pipe");
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	check(pid >= 0, "clone3");
	if (pid == 0) {
		check(!ret_gate || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0, "die with the parent");
		pod_child(what);
	}
	if (ret_gate) {
		(void)close(gate[1]);
		*ret_gate = gate[0];
	}
	return pid;
}

static pid_t kept_pod(int *ret_pidfd)
{
	int gate;
	char byte;
	pid_t pid = pod("pause", ret_pidfd, &gate);

	check(read(gate, &byte, 1) == 0, "wait for execve");
	(void)close(gate);
	return pid;
}

static void reap(pid_t pid, const char *what)
{
	siginfo_t si = { 0 };

	check(waitid(P_PID, (id_t)pid, &si, WEXITED | __WALL) == 0 && (si.si_status == 0 || si.si_status == SIGKILL),
	    what);
}

/* The first fork joins; the second, its sibling by CLONE_PARENT, is in the pid namespace and runs the program. */
static void exec_once(int pidfd)
{
	pid_t first = fork();

	check(first >= 0, "fork");
	if (first == 0) {
		long second;

		check(setns(pidfd, ALL_NS) == 0, "setns");
		second = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, 0);
		check(second >= 0, "second fork");
		if (second == 0)
			become("true");
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		siginfo_t si = { 0 };

		check(waitid(P_ALL, 0, &si, WEXITED | __WALL) == 0 && si.si_status == 0, "exec");
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[1] : "";
	bool is_exec = strcmp(what, "exec") == 0, is_kept = strcmp(what, "keep") == 0;
	long n = argc > 3 ? strtol(argv[2], NULL, 10) : 0;
	char byte;
	int pidfd = -1;

	check(argc == 5 && n > 0, "usage: bench-floor pod|keep|exec N ROOTFS FILTER");
	rootfs = argv[3];
	read_filter(argv[4]);
	if (is_exec)
		(void)kept_pod(&pidfd);
	for (long i = 0; i < n; i++) {
		uint64_t t0 = now_ns();

		if (is_exec) {
			exec_once(pidfd);
		} else if (is_kept) {
			(void)kept_pod(&pidfd);
		} else {
			reap(pod("true", &pidfd, NULL), "pod");
			(void)close(pidfd);
		}
		printf("%llu\n", (unsigned long long)(now_ns() - t0));
	}
	(void)fflush(stdout);
	while (is_kept && read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0; /* those that stay die with us */
}
