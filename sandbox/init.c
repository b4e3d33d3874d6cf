/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/init.c — husk-init, a process that reaps. Freestanding and static, no libc, no timers, no options: a few KiB.
 *
 *   husk-init                 the pause process, and what holds a pod's namespaces where there is no pause image. It sleeps, reaps orphans (as
 *                             PID 1 of a shared pid namespace it is their parent) and ends with 0 on SIGTERM or SIGINT.
 *   husk-init PATH ARGV...    PID 1 of a container (annotation husk.io/init): runs PATH, hands signals on to it, reaps whatever is left to it,
 *                             and ends with the program's status, by which the kernel ends the rest.
 */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SIG_INT = 2, SIG_TERM = 15, SIG_CHLD = 17, SIG_TTIN = 21, SIG_TTOU = 22, SIG_KILLED = 128,
	SIG_BLOCK_HOW = 0, SIG_SETMASK_HOW = 2, WAIT_NOHANG = 1, TIOC_SPGRP = 0x5410,
	ERR_NOENT = -2, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127
};

static long call4(long n, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return r;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#else
#error "husk-init knows x86_64 and aarch64"
#endif
}

static uint64_t bit(int sig)
{
	return (uint64_t)1 << (sig - 1);
}

__attribute__((noreturn)) static void leave(long status)
{
	for (;;)
		(void)call4(__NR_exit_group, status, 0, 0, 0);
}

static void block(uint64_t set)
{
	(void)call4(__NR_rt_sigprocmask, SIG_BLOCK_HOW, (long)&set, 0, sizeof(set));
}

static long wait_signal(const uint64_t *set)
{
	return call4(__NR_rt_sigtimedwait, (long)set, 0, 0, sizeof(*set));
}

/* One SIGCHLD may stand for many, an interrupted wait for none. True once `child` is among the dead. */
static int reap(long child, int *ret_status)
{
	int status, found = 0;
	long pid;

	while ((pid = call4(__NR_wait4, -1, (long)&status, WAIT_NOHANG, 0)) > 0) {
		if (pid == child) {
			*ret_status = status;
			found = 1;
		}
	}
	return found;
}

__attribute__((noreturn)) static void pause_loop(void)
{
	const uint64_t set = bit(SIG_INT) | bit(SIG_TERM) | bit(SIG_CHLD);
	int status;

	/* Blocked before the first wait: as PID 1 we would never see an unhandled SIGTERM, and between two waits none may be lost. */
	block(set);
	for (;;) {
		long sig = wait_signal(&set);

		if (sig == SIG_TERM || sig == SIG_INT)
			leave(0);
		(void)reap(-1, &status);
	}
}

/* A group of its own, in the foreground of the terminal if there is one: what is typed there is for the program, not for us. */
__attribute__((noreturn)) static void execute(char **argv, char **envp)
{
	const uint64_t none = 0;
	const int group = (int)call4(__NR_getpid, 0, 0, 0, 0);
	long r;

	(void)call4(__NR_setpgid, 0, 0, 0, 0);
	(void)call4(__NR_ioctl, 0, TIOC_SPGRP, (long)&group, 0); /* SIGTTOU is blocked */
	(void)call4(__NR_rt_sigprocmask, SIG_SETMASK_HOW, (long)&none, 0, sizeof(none));
	r = call4(__NR_execve, (long)argv[0], (long)(argv + 1), (long)envp, 0);
	leave(r == ERR_NOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

__attribute__((noreturn)) static void run_program(char **argv, char **envp)
{
	const uint64_t all = ~(uint64_t)0; /* the kernel leaves out SIGKILL and SIGSTOP */
	int status = 0;
	long child;

	block(all);
	child = call4(__NR_clone, SIG_CHLD, 0, 0, 0);
	if (child == 0)
		execute(argv, envp);
	if (child < 0)
		leave(EXIT_NOT_EXECUTABLE);
	for (;;) {
		long sig = wait_signal(&all);

		if (reap(child, &status))
			leave((status & 0x7f) == 0 ? (status >> 8) & 0xff : SIG_KILLED + (status & 0x7f));
		/* The last two tell us that we are in the background: so we shall be. */
		if (sig > 0 && sig != SIG_CHLD && sig != SIG_TTIN && sig != SIG_TTOU)
			(void)call4(__NR_kill, child, sig, 0, 0);
	}
}

/* The stack as the kernel leaves it: argc, argv, NULL, envp, NULL. */
__attribute__((noreturn, used)) static void run(long *stack)
{
	const long argc = stack[0];
	char **argv = (char **)(stack + 1);

	if (argc > 2)
		run_program(argv + 1, argv + argc + 1);
	pause_loop();
}

/* The kernel's entry: no return address, the stack aligned to 16 bytes as the ABI wants it at a call. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tb run\n");
#endif
