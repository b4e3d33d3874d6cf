/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_load.c — flags and rules of linux.seccomp, and the one system call that puts a filter on the caller, with and
 * without a listener.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/seccomp.h"
#include "oci/spec_linux.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

uint32_t oci_seccomp_flags(const struct oci_seccomp *s)
{
	/*
	 * TSYNC means nothing in a process of one thread. Without the key at all, runc and crun allow speculation;
	 * an empty list does not.
	 */
	uint32_t flags = s->has_flags ? s->flags & ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC : SECCOMP_FILTER_FLAG_SPEC_ALLOW;

	/* The kernel refuses it without a listener, where it means nothing. */
	return oci_seccomp_has_notify(s) ? flags : flags & ~(uint32_t)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
}

bool oci_seccomp_has_notify(const struct oci_seccomp *s)
{
	bool has = (s->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;

	for (size_t i = 0; !has && i < s->n_rules; i++)
		has = (s->rules[i].action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;
	return s->is_set && has;
}

int oci_seccomp_check(const struct oci_seccomp *s, struct hk_err *err)
{
	const char *text = NULL;

	if (!s->is_set)
		return 0;
	if (oci_seccomp_has_notify(s) && !s->listener_path)
		text = "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY is used";
	else if (s->listener_metadata && !s->listener_path)
		text = "linux.seccomp.listenerMetadata: needs listenerPath";
	else if (oci_seccomp_has_notify(s) && s->listener_path[0] != '/') /* else it is ignored */
		text = "linux.seccomp.listenerPath: not an absolute path";
	return text ? hk_fail_text(err, HK_INVALID, EINVAL, "%s", text) : 0;
}

int oci_bpf_load(const struct oci_bpf *bpf, uint32_t flags, struct hk_err *err)
{
	struct sock_fprog prog = { .len = (unsigned short)bpf->n, .filter = bpf->insns };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) == 0)
		return 0;
	/* A flag that this kernel does not know costs a log line or some speed, never strictness. */
	if (errno == EINVAL && flags && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0)
		return 0;
	return hk_fail(err, HK_INTERNAL, errno, "load the seccomp filter of %zu instructions", bpf->n);
}

int oci_bpf_load_listener(const struct oci_bpf *bpf, uint32_t flags, int *ret_fd, struct hk_err *err)
{
	struct sock_fprog prog = { .len = (unsigned short)bpf->n, .filter = bpf->insns };
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);

	if (fd >= 0) {
		*ret_fd = (int)fd;
		return 0;
	}
	/* EBUSY: one listener a process, and whoever started the shim has put one on it. */
	return hk_fail(err, HK_INTERNAL, errno, "load the seccomp filter of %zu instructions with a listener%s", bpf->n,
	    errno == EBUSY ? " (there is one already)" : "");
}
