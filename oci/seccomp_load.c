/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_load.c — flags of linux.seccomp, what this build takes, and the one system call that puts a filter on
 * the caller.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/seccomp.h"
#include "oci/spec_linux.h"

uint32_t oci_seccomp_flags(const struct oci_seccomp *s)
{
	/*
	 * TSYNC means nothing in a process of one thread. Without the key at all, runc and crun allow speculation;
	 * an empty list does not.
	 */
	return s->has_flags ? s->flags & ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC : SECCOMP_FILTER_FLAG_SPEC_ALLOW;
}

int oci_seccomp_check(const struct oci_seccomp *s, struct hk_err *err)
{
	if (s->default_action == SECCOMP_RET_USER_NOTIF)
		return hk_fail_text(
		    err, HK_INVALID, EINVAL, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default");
	for (size_t i = 0; i < s->n_rules; i++)
		if ((s->rules[i].action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
			return hk_fail_text(err, HK_UNSUPPORTED, ENOTSUP,
			    "linux.seccomp.syscalls[%zu]: SCMP_ACT_NOTIFY needs a listener, which husk does not serve",
			    i);
	if (s->listener_path && *s->listener_path)
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.seccomp.listenerPath: no rule has SCMP_ACT_NOTIFY");
	return 0;
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
