/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/init.c — husk-init: the pause process. It sleeps, reaps orphans (as PID 1 of a shared pid namespace it is their parent) and ends with
 * 0 on SIGTERM or SIGINT. No timers, no options, no libc: a freestanding static program of a few KiB, so that a pod's pause costs
 * a handful of pages. Built with -static -nostdlib -ffreestanding; entry is _start.
 */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

enum { SIG_INT = 2, SIG_TERM = 15, SIG_CHLD = 17, SIG_BLOCK_HOW = 0, WAIT_NOHANG = 1, ERR_INTR = 4 };

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

__attribute__((noreturn, used)) static void run(void)
{
	const uint64_t set = bit(SIG_INT) | bit(SIG_TERM) | bit(SIG_CHLD);

	/* Blocked before the first wait: as PID 1 we would never see an unhandled SIGTERM, and between two waits none may be lost. */
	(void)call4(__NR_rt_sigprocmask, SIG_BLOCK_HOW, (long)&set, 0, sizeof(set));
	for (;;) {
		long sig = call4(__NR_rt_sigtimedwait, (long)&set, 0, 0, sizeof(set));

		if (sig == SIG_TERM || sig == SIG_INT)
			break;
		/* One SIGCHLD may stand for many; -EINTR may stand for none. */
		while (call4(__NR_wait4, -1, 0, WAIT_NOHANG, 0) > 0)
			;
	}
	for (;;)
		(void)call4(__NR_exit_group, 0, 0, 0, 0);
}

/* The kernel's entry: no return address, the stack aligned to 16 bytes as the ABI wants it at a call. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall run\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tb run\n");
#endif
