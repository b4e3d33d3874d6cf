/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/limits.c — applies what the spec says about scheduling and limits, by one system call each. Runs in the set-up
 * child, but for the rlimits of an init in a user namespace, which the shim sets by pid: raising a hard limit takes
 * CAP_SYS_RESOURCE in the first one.
 */
#include "oci/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

enum {
	MAX_CPUS = 8192,
	MAX_NODES = 1024,
	BITS = sizeof(unsigned long) * CHAR_BIT,
	IOPRIO_WHO_SELF = 1,
	IOPRIO_SHIFT = 13
};

struct sched_attrs { /* struct sched_attr of linux/sched/types.h, first version (48 bytes) */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

int oci_rlimits_apply(pid_t pid, const struct oci_process *p, int *ret_at, struct hk_err *err)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const struct oci_rlimit *l = &p->rlimits[i];
		struct rlimit64 v = { .rlim_cur = l->soft, .rlim_max = l->hard };

		*ret_at = (int)i;
		if (prlimit64(pid, (enum __rlimit_resource)l->resource, &v, NULL) < 0)
			return hk_fail(err, errno == EINVAL ? HK_INVALID : HK_INTERNAL, errno,
			    "set rlimit %d to %llu:%llu", l->resource, (unsigned long long)l->soft,
			    (unsigned long long)l->hard);
	}
	*ret_at = -1;
	return 0;
}

int oci_sched_apply(const struct oci_process *p, struct hk_err *err)
{
	const struct oci_scheduler *s = &p->scheduler;

	if (s->is_set) {
		struct sched_attrs a = {
			.size = sizeof(a),
			.policy = s->policy,
			.flags = s->flags,
			.nice = s->nice,
			.priority = (uint32_t)s->priority,
			.runtime = s->runtime,
			.deadline = s->deadline,
			.period = s->period,
		};

		if (syscall(SYS_sched_setattr, 0, &a, 0) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "sched_setattr policy %u%s", s->policy,
			    errno == EPERM ? " (a deadline policy needs all CPUs of its root domain)" : "");
	}
	if (p->has_io_priority) {
		int value = (p->io_priority_class << IOPRIO_SHIFT) | p->io_priority;

		if (syscall(SYS_ioprio_set, IOPRIO_WHO_SELF, 0, value) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "ioprio_set class %d priority %d", p->io_priority_class,
			    p->io_priority);
	}
	return 0;
}

int oci_oom_score_apply(const struct oci_process *p, struct hk_err *err)
{
	char text[16];
	int r;

	if (!p->has_oom_score_adj)
		return 0;
	(void)hk_fmt(text, sizeof(text), "%d", p->oom_score_adj);
	r = hk_write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write %s to oom_score_adj", text) : 0;
}

/* One number at the start of *s; moves *s behind it. */
static int list_number(const char **s, size_t n_bits, size_t *ret)
{
	size_t v = 0;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (size_t)(**s - '0');
		if (v >= n_bits)
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

int oci_parse_list(const char *list, unsigned long *bits, size_t n_bits)
{
	memset(bits, 0, n_bits / CHAR_BIT);
	while (*list) {
		size_t from, to;
		int r = list_number(&list, n_bits, &from);

		to = from;
		if (r == 0 && *list == '-') {
			list++;
			r = list_number(&list, n_bits, &to);
		}
		if (r < 0)
			return r;
		if (to < from || (*list && *list != ','))
			return -EINVAL;
		for (size_t i = from; i <= to; i++)
			bits[i / BITS] |= 1UL << (i % BITS);
		if (*list == ',' && !*++list)
			return -EINVAL;
	}
	return 0;
}

int oci_cpu_list_check(const char *list)
{
	unsigned long bits[MAX_CPUS / BITS];

	return oci_parse_list(list, bits, MAX_CPUS);
}

int oci_affinity_apply(const char *list, struct hk_err *err)
{
	unsigned long bits[MAX_CPUS / BITS];
	int r;

	memset(bits, 0xff, sizeof(bits));
	if (list) {
		r = oci_parse_list(list, bits, MAX_CPUS);
		if (r < 0)
			return hk_fail(err, HK_INVALID, -r, "process.execCPUAffinity \"%s\"", list);
	}
	if (syscall(SYS_sched_setaffinity, 0, sizeof(bits), bits) < 0 && list)
		return hk_fail(err, HK_INTERNAL, errno, "run on CPUs %s", list);
	return 0; /* "all CPUs" can only fail where affinity is not ours to change: then it was not ours to leak either */
}

int oci_personality_apply(uint32_t value, struct hk_err *err)
{
	if (personality(value) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "personality %#x", value);
	return 0;
}

int oci_mempolicy_apply(const struct oci_memory_policy *m, struct hk_err *err)
{
	unsigned long bits[MAX_NODES / BITS] = { 0 };
	bool any = false;
	int r;

	if (!m->is_set)
		return 0;
	if (m->nodes && *m->nodes) {
		r = oci_parse_list(m->nodes, bits, MAX_NODES);
		if (r < 0)
			return hk_fail(err, HK_INVALID, -r, "linux.memoryPolicy.nodes \"%s\"", m->nodes);
		any = true;
	}
	/* The kernel reads maxnode - 1 bits: one more than there are. */
	if (syscall(SYS_set_mempolicy, (int)(m->mode | m->flags), any ? bits : NULL, any ? MAX_NODES + 1 : 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set_mempolicy mode %u flags %#x", m->mode, m->flags);
	return 0;
}
