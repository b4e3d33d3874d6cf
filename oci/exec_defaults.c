/* SPDX-License-Identifier: Apache-2.0 */
/* oci/exec_defaults.c — the part of a container's process that its execs have too, unless they say otherwise. */
#include "oci/exec_defaults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct oci_exec_defaults {
	bool has_umask, has_oom_score_adj, has_io_priority;
	uint32_t umask;
	int oom_score_adj, io_priority_class, io_priority;
	struct oci_scheduler scheduler;
	const char *affinity_initial, *affinity_final;
	size_t n_rlimits;
	struct oci_rlimit rlimits[]; /* then the texts of the two */
};

static size_t size_of(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static const char *put(char **at, const char *text)
{
	const size_t size = size_of(text);
	char *copy = *at;

	if (!text)
		return NULL;
	memcpy(copy, text, size);
	*at += size;
	return copy;
}

int oci_exec_defaults_keep(const struct oci_process *p, struct oci_exec_defaults **ret, struct hk_err *err)
{
	const char *initial = p->exec_cpu_affinity_initial, *final = p->exec_cpu_affinity_final;
	const size_t rlimits = p->n_rlimits * sizeof(*p->rlimits);
	struct oci_exec_defaults *d;
	char *texts;

	*ret = NULL;
	if (!p->has_umask && !p->has_oom_score_adj && !p->has_io_priority && !p->scheduler.is_set && !p->n_rlimits && !initial && !final)
		return 0;
	d = malloc(sizeof(*d) + rlimits + size_of(initial) + size_of(final));
	if (!d)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "container");
	*d = (struct oci_exec_defaults){
		.has_umask = p->has_umask,
		.has_oom_score_adj = p->has_oom_score_adj,
		.has_io_priority = p->has_io_priority,
		.umask = p->umask,
		.oom_score_adj = p->oom_score_adj,
		.io_priority_class = p->io_priority_class,
		.io_priority = p->io_priority,
		.scheduler = p->scheduler,
		.n_rlimits = p->n_rlimits,
	};
	if (rlimits)
		memcpy(d->rlimits, p->rlimits, rlimits);
	texts = (char *)(d->rlimits + d->n_rlimits);
	d->affinity_initial = put(&texts, initial);
	d->affinity_final = put(&texts, final);
	*ret = d;
	return 0;
}

void oci_exec_defaults_fill(const struct oci_exec_defaults *d, struct oci_process *p)
{
	if (!d)
		return;
	if (!p->has_umask && d->has_umask) {
		p->has_umask = true;
		p->umask = d->umask;
	}
	if (!p->has_oom_score_adj && d->has_oom_score_adj) {
		p->has_oom_score_adj = true;
		p->oom_score_adj = d->oom_score_adj;
	}
	if (!p->has_io_priority && d->has_io_priority) {
		p->has_io_priority = true;
		p->io_priority_class = d->io_priority_class;
		p->io_priority = d->io_priority;
	}
	if (!p->scheduler.is_set)
		p->scheduler = d->scheduler;
	if (p->n_rlimits == 0) {
		p->rlimits = (struct oci_rlimit *)(uintptr_t)d->rlimits;
		p->n_rlimits = d->n_rlimits;
	}
	if (!p->exec_cpu_affinity_initial && !p->exec_cpu_affinity_final) {
		p->exec_cpu_affinity_initial = d->affinity_initial;
		p->exec_cpu_affinity_final = d->affinity_final;
	}
}
