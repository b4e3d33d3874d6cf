/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/needs.h — what an emulator of another processor (contrib/arm64.sh: qemu-user) may not hand on to the kernel. A test that is about
 * such a thing says so first and is skipped where it is missing; on a kernel of ours nothing is.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static inline void needs(bool is_there, const char *what)
{
	if (is_there)
		return;
	print_message("SKIP: no %s here\n", what);
	skip();
}

static inline void needs_openat2(void)
{
	needs(syscall(SYS_openat2, -1, "", NULL, 0) >= 0 || errno != ENOSYS, "openat2");
}

static inline void needs_mount_setattr(void)
{
	needs(syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) >= 0 || errno != ENOSYS, "mount_setattr");
}

static inline void needs_subreaper(void)
{
	needs(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 || errno != EINVAL, "PR_SET_CHILD_SUBREAPER");
}

/* A child of vfork(2) that writes to its parent's memory. */
static inline void needs_shared_vfork(void)
{
	static volatile bool is_shared;

	if (vfork() == 0) {
		is_shared = true;
		_exit(0);
	}
	needs(is_shared, "memory shared by vfork");
}
