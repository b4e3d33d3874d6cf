/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/attack/tracer.c — tracer PID: tries every system call that reaches into another process, and prints those that work. Static: it runs
 * in an image that has nothing but busybox.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* EFAULT: the permission was given, only the address is none of the other's. */
static void report(const char *what, long r)
{
	if (r >= 0 || errno == EFAULT)
		(void)printf("stolen by %s\n", what);
}

int main(int argc, char **argv)
{
	pid_t pid = argc == 2 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	char byte = 0;
	struct iovec here = { .iov_base = &byte, .iov_len = 1 }, there = { .iov_base = main, .iov_len = 1 };
	int pidfd;

	if (pid <= 0)
		return 2;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return 1;
	report("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
	report("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0));
	report("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0));
	report("PTRACE_SEIZE", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	(void)puts("tried");
	return 0;
}
