/* SPDX-License-Identifier: Apache-2.0 */
/* oci/exec_defaults.c — the part of a container's process that its execs have too, unless they say otherwise. */
#include "oci/exec_defaults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/record.h"

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

/* ---- an upgrade ---- */

static void save_scheduler(const struct oci_scheduler *s, struct hk_record *to)
{
	if (!s->is_set)
		return;
	hk_record_begin(to, "scheduler");
	hk_record_num(to, "policy", s->policy);
	hk_record_num(to, "nice", s->nice);
	hk_record_num(to, "priority", s->priority);
	hk_record_num(to, "flags", (int64_t)s->flags);
	hk_record_num(to, "runtime", (int64_t)s->runtime);
	hk_record_num(to, "deadline", (int64_t)s->deadline);
	hk_record_num(to, "period", (int64_t)s->period);
	hk_record_end(to);
}

void oci_exec_defaults_save(const struct oci_exec_defaults *d, struct hk_record *to)
{
	if (!d)
		return;
	hk_record_begin(to, "exec_defaults");
	if (d->has_umask)
		hk_record_num(to, "umask", d->umask);
	if (d->has_oom_score_adj)
		hk_record_num(to, "oom_score_adj", d->oom_score_adj);
	if (d->has_io_priority) {
		hk_record_num(to, "io_priority_class", d->io_priority_class);
		hk_record_num(to, "io_priority", d->io_priority);
	}
	save_scheduler(&d->scheduler, to);
	hk_record_str(to, "affinity_initial", d->affinity_initial);
	hk_record_str(to, "affinity_final", d->affinity_final);
	for (size_t i = 0; i < d->n_rlimits; i++) {
		hk_record_begin(to, "rlimit");
		hk_record_num(to, "resource", d->rlimits[i].resource);
		hk_record_num(to, "soft", (int64_t)d->rlimits[i].soft);
		hk_record_num(to, "hard", (int64_t)d->rlimits[i].hard);
		hk_record_end(to);
	}
	hk_record_end(to);
}

static struct oci_scheduler load_scheduler(const struct hk_value *from)
{
	if (!from)
		return (struct oci_scheduler){ .is_set = false };
	return (struct oci_scheduler){ .is_set = true, .policy = (uint32_t)hk_value_num(from, "policy"), .nice = (int32_t)hk_value_num(from, "nice"),
		.priority = (int32_t)hk_value_num(from, "priority"), .flags = (uint64_t)hk_value_num(from, "flags"),
		.runtime = (uint64_t)hk_value_num(from, "runtime"), .deadline = (uint64_t)hk_value_num(from, "deadline"),
		.period = (uint64_t)hk_value_num(from, "period") };
}

int oci_exec_defaults_load(const struct hk_value *from, struct oci_exec_defaults **ret)
{
	hk_autofree struct oci_rlimit *rlimits = NULL;
	struct oci_process p = { 0 };

	if (!from)
		return 0;
	p.has_umask = hk_value_get(from, "umask") != NULL;
	p.umask = (uint32_t)hk_value_num_or(from, "umask", 0);
	p.has_oom_score_adj = hk_value_get(from, "oom_score_adj") != NULL;
	p.oom_score_adj = (int)hk_value_num_or(from, "oom_score_adj", 0);
	p.has_io_priority = hk_value_get(from, "io_priority") != NULL;
	p.io_priority_class = (int)hk_value_num_or(from, "io_priority_class", 0);
	p.io_priority = (int)hk_value_num_or(from, "io_priority", 0);
	p.scheduler = load_scheduler(hk_value_get(from, "scheduler"));
	p.exec_cpu_affinity_initial = hk_value_str_or(from, "affinity_initial", NULL);
	p.exec_cpu_affinity_final = hk_value_str_or(from, "affinity_final", NULL);
	for (const struct hk_value *v = hk_value_get(from, "rlimit"); v; v = hk_value_next(v)) {
		struct oci_rlimit *more = reallocarray(rlimits, p.n_rlimits + 1, sizeof(*rlimits));

		if (!more)
			return -ENOMEM;
		rlimits = p.rlimits = more;
		rlimits[p.n_rlimits++] = (struct oci_rlimit){ .resource = (int)hk_value_num(v, "resource"), .soft = (uint64_t)hk_value_num(v, "soft"),
			.hard = (uint64_t)hk_value_num(v, "hard") };
	}
	return oci_exec_defaults_keep(&p, ret, NULL);
}
