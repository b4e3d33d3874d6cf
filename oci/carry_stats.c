/* SPDX-License-Identifier: Apache-2.0 */
/* oci/carry_stats.c — the last counters of an ended container over an upgrade, by the lists of oci/cgroup_stats.h. */
#include <errno.h>
#include <stdlib.h>

#include "oci/base/record.h"
#include "oci/base/str.h"
#include "oci/oci.h"

/* A limit of "none" is the largest number, which is -1 in a record. */
#define SAVE(field) hk_record_num(to, #field, (int64_t)s->field);
#define SAVE2(field, key) SAVE(field)
#define SAVE_TOTAL(field, key) SAVE(total_##field)
#define LOAD(field) s->field = (uint64_t)hk_value_num_or(from, #field, 0);
#define LOAD2(field, key) LOAD(field)
#define LOAD_TOTAL(field, key) LOAD(total_##field)

enum { PSI_SCALE = 100 }; /* as the kernel prints it */

static void save_psi_line(struct hk_record *to, const char *name, const struct oci_psi_line *l)
{
	hk_record_begin(to, name);
	hk_record_num(to, "avg10", (int64_t)(l->avg10 * PSI_SCALE + 0.5));
	hk_record_num(to, "avg60", (int64_t)(l->avg60 * PSI_SCALE + 0.5));
	hk_record_num(to, "avg300", (int64_t)(l->avg300 * PSI_SCALE + 0.5));
	hk_record_num(to, "total", (int64_t)l->total);
	hk_record_end(to);
}

static void save_psi(struct hk_record *to, const struct oci_psi *p)
{
	if (p->is_set)
		save_psi_line(to, "psi_some", &p->some);
	if (p->is_set && p->has_full)
		save_psi_line(to, "psi_full", &p->full);
}

static bool load_psi_line(const struct hk_value *in, const char *name, struct oci_psi_line *l)
{
	const struct hk_value *v = hk_value_get(in, name);

	if (!v)
		return false;
	l->avg10 = (double)hk_value_num_or(v, "avg10", 0) / PSI_SCALE;
	l->avg60 = (double)hk_value_num_or(v, "avg60", 0) / PSI_SCALE;
	l->avg300 = (double)hk_value_num_or(v, "avg300", 0) / PSI_SCALE;
	l->total = (uint64_t)hk_value_num_or(v, "total", 0);
	return true;
}

static void load_psi(const struct hk_value *in, struct oci_psi *p)
{
	p->is_set = load_psi_line(in, "psi_some", &p->some);
	p->has_full = load_psi_line(in, "psi_full", &p->full);
}

/* ---- v2 ---- */

static void save_v2(struct hk_record *to, const struct oci_stats_v2 *all)
{
	hk_record_begin(to, "cpu");
	{
		const __typeof__(all->cpu) *s = &all->cpu;

		OCI_V2_CPU_STAT(SAVE)
		save_psi(to, &s->psi);
	}
	hk_record_end(to);
	hk_record_begin(to, "memory");
	{
		const __typeof__(all->memory) *s = &all->memory;

		OCI_V2_MEMORY_STAT(SAVE)
		OCI_V2_MEMORY_FILES(SAVE2)
		save_psi(to, &s->psi);
	}
	hk_record_end(to);
	hk_record_begin(to, "memory_events");
	{
		const __typeof__(all->memory_events) *s = &all->memory_events;

		OCI_V2_MEMORY_EVENTS(SAVE)
	}
	hk_record_bool(to, "is_set", all->has_memory_events);
	hk_record_end(to);
	hk_record_bool(to, "has_io", all->has_io);
	for (size_t i = 0; i < all->n_io; i++) {
		const struct oci_io_stat *s = &all->io[i];

		hk_record_begin(to, "io");
		SAVE(major) SAVE(minor) SAVE(rbytes) SAVE(wbytes) SAVE(rios) SAVE(wios)
		hk_record_end(to);
	}
	save_psi(to, &all->io_psi);
}

static size_t count(const struct hk_value *in, const char *name)
{
	size_t n = 0;

	for (const struct hk_value *v = hk_value_get(in, name); v; v = hk_value_next(v))
		n++;
	return n;
}

static int load_io(const struct hk_value *in, struct oci_stats_v2 *all)
{
	const size_t n = count(in, "io");

	all->io = n ? calloc(n, sizeof(*all->io)) : NULL;
	if (n && !all->io)
		return -ENOMEM;
	for (const struct hk_value *from = hk_value_get(in, "io"); from; from = hk_value_next(from)) {
		struct oci_io_stat *s = &all->io[all->n_io++];

		LOAD(major) LOAD(minor) LOAD(rbytes) LOAD(wbytes) LOAD(rios) LOAD(wios)
	}
	return 0;
}

static int load_v2(const struct hk_value *in, struct oci_stats_v2 *all)
{
	const struct hk_value *from = hk_value_need(in, "cpu");

	if (from) {
		__typeof__(all->cpu) *s = &all->cpu;

		OCI_V2_CPU_STAT(LOAD)
		load_psi(from, &s->psi);
	}
	from = hk_value_need(in, "memory");
	if (from) {
		__typeof__(all->memory) *s = &all->memory;

		OCI_V2_MEMORY_STAT(LOAD)
		OCI_V2_MEMORY_FILES(LOAD2)
		load_psi(from, &s->psi);
	}
	from = hk_value_need(in, "memory_events");
	if (from) {
		__typeof__(all->memory_events) *s = &all->memory_events;

		OCI_V2_MEMORY_EVENTS(LOAD)
		all->has_memory_events = hk_value_bool(from, "is_set");
	}
	all->has_io = hk_value_bool(in, "has_io");
	load_psi(in, &all->io_psi);
	return load_io(in, all);
}

/* ---- v1 ---- */

static void save_entry(struct hk_record *to, const char *name, const struct oci_memory_entry *s)
{
	hk_record_begin(to, name);
	SAVE(limit) SAVE(usage) SAVE(max) SAVE(failcnt)
	hk_record_end(to);
}

static bool load_entry(const struct hk_value *in, const char *name, struct oci_memory_entry *s)
{
	const struct hk_value *from = hk_value_get(in, name);

	if (from) {
		LOAD(limit) LOAD(usage) LOAD(max) LOAD(failcnt)
	}
	return from != NULL;
}

static void save_v1(struct hk_record *to, const struct oci_stats_v1 *all)
{
	hk_record_begin(to, "cpu");
	{
		const __typeof__(all->cpu) *s = &all->cpu;

		SAVE(total) SAVE(kernel) SAVE(user) SAVE(periods) SAVE(throttled_periods) SAVE(throttled_time)
		SAVE(has_usage) SAVE(has_throttling)
	}
	hk_record_end(to);
	hk_record_begin(to, "memory");
	{
		const __typeof__(all->memory) *s = &all->memory;

		OCI_V1_MEMORY_STAT(SAVE2)
		OCI_V1_MEMORY_STAT(SAVE_TOTAL)
		SAVE(hierarchical_memory_limit) SAVE(hierarchical_swap_limit)
		save_entry(to, "usage_of", &s->usage);
		if (s->has_swap)
			save_entry(to, "swap_of", &s->swap);
		if (s->has_kernel)
			save_entry(to, "kernel_of", &s->kernel);
		if (s->has_kernel_tcp)
			save_entry(to, "kernel_tcp_of", &s->kernel_tcp);
	}
	hk_record_end(to);
	if (!all->has_oom_control)
		return;
	hk_record_begin(to, "oom_control");
	{
		const __typeof__(all->oom_control) *s = &all->oom_control;

		SAVE(oom_kill_disable) SAVE(under_oom) SAVE(oom_kill)
	}
	hk_record_end(to);
}

static void load_v1(const struct hk_value *in, struct oci_stats_v1 *all)
{
	const struct hk_value *from = hk_value_need(in, "cpu");

	if (from) {
		__typeof__(all->cpu) *s = &all->cpu;

		LOAD(total) LOAD(kernel) LOAD(user) LOAD(periods) LOAD(throttled_periods) LOAD(throttled_time)
		LOAD(has_usage) LOAD(has_throttling)
	}
	from = hk_value_need(in, "memory");
	if (from) {
		__typeof__(all->memory) *s = &all->memory;

		OCI_V1_MEMORY_STAT(LOAD2)
		OCI_V1_MEMORY_STAT(LOAD_TOTAL)
		LOAD(hierarchical_memory_limit) LOAD(hierarchical_swap_limit)
		(void)load_entry(from, "usage_of", &s->usage);
		s->has_swap = load_entry(from, "swap_of", &s->swap);
		s->has_kernel = load_entry(from, "kernel_of", &s->kernel);
		s->has_kernel_tcp = load_entry(from, "kernel_tcp_of", &s->kernel_tcp);
	}
	from = hk_value_get(in, "oom_control");
	all->has_oom_control = from != NULL;
	if (from) {
		__typeof__(all->oom_control) *s = &all->oom_control;

		LOAD(oom_kill_disable) LOAD(under_oom) LOAD(oom_kill)
	}
}

/* ---- both ---- */

void oci_stats_save(const struct oci_stats *s, struct hk_record *to)
{
	SAVE(is_v1) SAVE(has_pids) SAVE(has_cpu) SAVE(has_memory) SAVE(pids_current) SAVE(pids_limit)
	for (size_t i = 0; i < s->n_hugetlb; i++) {
		const struct oci_hugetlb_stat *h = &s->hugetlb[i];

		hk_record_begin(to, "hugetlb");
		hk_record_str(to, "pagesize", h->pagesize);
		hk_record_num(to, "current", (int64_t)h->current);
		hk_record_num(to, "max", (int64_t)h->max);
		hk_record_num(to, "failcnt", (int64_t)h->failcnt);
		hk_record_end(to);
	}
	if (s->is_v1)
		save_v1(to, &s->v1);
	else
		save_v2(to, &s->v2);
}

static int load_hugetlb(const struct hk_value *in, struct oci_stats *s)
{
	const size_t n = count(in, "hugetlb");

	s->hugetlb = n ? calloc(n, sizeof(*s->hugetlb)) : NULL;
	if (n && !s->hugetlb)
		return -ENOMEM;
	for (const struct hk_value *from = hk_value_get(in, "hugetlb"); from; from = hk_value_next(from)) {
		struct oci_hugetlb_stat *h = &s->hugetlb[s->n_hugetlb++];

		if (hk_fmt(h->pagesize, sizeof(h->pagesize), "%s", hk_value_str(from, "pagesize")) < 0)
			hk_value_wrong(from, "pagesize", "is too long");
		h->current = (uint64_t)hk_value_num_or(from, "current", 0);
		h->max = (uint64_t)hk_value_num_or(from, "max", 0);
		h->failcnt = (uint64_t)hk_value_num_or(from, "failcnt", 0);
	}
	return 0;
}

int oci_stats_load(const struct hk_value *from, struct oci_stats *ret)
{
	struct oci_stats *s = ret;
	int r;

	*s = (struct oci_stats){ .is_v1 = hk_value_bool(from, "is_v1") };
	s->has_pids = hk_value_bool(from, "has_pids");
	s->has_cpu = hk_value_bool(from, "has_cpu");
	s->has_memory = hk_value_bool(from, "has_memory");
	LOAD(pids_current) LOAD(pids_limit)
	r = load_hugetlb(from, s);
	if (r == 0 && s->is_v1)
		load_v1(from, &s->v1);
	else if (r == 0)
		r = load_v2(from, &s->v2);
	if (r < 0)
		oci_stats_done(s);
	return r;
}
