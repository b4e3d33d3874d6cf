/* SPDX-License-Identifier: Apache-2.0 */
/* shim/memory.c — malloc's limits, and the release of dead pages. Worth some 30 KiB a pod. */
#include "shim/memory.h"

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	BIG_BLOCK = 64 << 10,
	STACK_DEPTH = 256 << 10, /* nothing of ours goes deeper */
	STACK_KEEP = 512,        /* bytes below this frame, for the callee, which is a bare system call */
};

void shim_memory_init(void)
{
	/*
	 * What is large is mapped, and goes back when it is freed. Unset, glibc would move the threshold up to the first such block freed
	 * (a request of 4 MiB) and from then on keep that much.
	 */
	(void)mallopt(M_MMAP_THRESHOLD, BIG_BLOCK);
	(void)mallopt(M_TRIM_THRESHOLD, BIG_BLOCK);
}

void shim_memory_release(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t end = ((uintptr_t)__builtin_frame_address(0) - STACK_KEEP) & ~(page - 1);

	(void)malloc_trim(0);
	/*
	 * Below the stack pointer are only dead frames; the pages read as zero when they are touched again. The part that the stack has never
	 * grown to is not mapped: ENOMEM, after the rest was done (madvise(2)). Nothing else is ever mapped that close to a stack.
	 */
	(void)madvise((void *)(end - STACK_DEPTH), STACK_DEPTH, MADV_DONTNEED);
}
