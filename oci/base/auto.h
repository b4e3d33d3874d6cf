/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/auto.h — ownership by scope. A variable marked hk_auto* gives its resource back when the scope ends;
 * hk_take_* moves it out. The empty fd is -1.
 */
#pragma once
#include <dirent.h>
#include <stdlib.h>

/* Closes fd if >= 0, keeps errno, never retries EINTR, aborts on EBADF (a double close is a bug). Returns -1. */
int hk_close(int fd);

static inline void hk_close_p(int *fd)
{
	*fd = hk_close(*fd);
}
static inline int hk_take_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}
static inline void hk_free_p(void *p)
{
	free(*(void **)p);
}
static inline void hk_closedir_p(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define hk_autofd __attribute__((cleanup(hk_close_p))) int
#define hk_autofree __attribute__((cleanup(hk_free_p)))
#define hk_autodir __attribute__((cleanup(hk_closedir_p))) DIR *
/* hk_auto(hk_err_done) struct x v; — calls fn(&v) at the end of the scope. */
#define hk_auto(fn) __attribute__((cleanup(fn)))
#define hk_take_ptr(p)                        \
	({                                    \
		__typeof__(p) *pp_ = &(p);    \
		__typeof__(p) v_ = *pp_;      \
		*pp_ = NULL;                  \
		v_;                           \
	})
#define HK_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
