/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_stats_v1.c — reads the stat files of the cgroup v1 controllers into struct oci_stats, one directory at a time.
 * Which files stand for which field follows containerd's own reader, so that its users see the numbers they know.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"

static void read_throttling(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "cpu.stat");

	if (!text)
		return;
	s->has_cpu = s->v1.cpu.has_throttling = true;
	(void)hk_flat_key_u64(text, "nr_periods", &s->v1.cpu.periods);
	(void)hk_flat_key_u64(text, "nr_throttled", &s->v1.cpu.throttled_periods);
	(void)hk_flat_key_u64(text, "throttled_time", &s->v1.cpu.throttled_time);
}

static int read_per_cpu(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "cpuacct.usage_percpu");
	char *save = NULL;

	for (char *word = text ? strtok_r(text, " \n", &save) : NULL; word; word = strtok_r(NULL, " \n", &save)) {
		uint64_t ns;
		uint64_t *v;

		if (hk_parse_u64(word, &ns) < 0)
			continue;
		v = reallocarray(s->v1.cpu.per_cpu, s->v1.cpu.n_per_cpu + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->v1.cpu.per_cpu = v;
		s->v1.cpu.per_cpu[s->v1.cpu.n_per_cpu++] = ns;
	}
	return 0;
}

static int read_cpuacct(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "cpuacct.stat");
	long hz = sysconf(_SC_CLK_TCK);
	uint64_t ns_per_tick = 1000000000ULL / (hz > 0 ? (uint64_t)hz : 100);

	if (cg_stat_u64(dirfd, "cpuacct.usage", &s->v1.cpu.total) < 0)
		return 0;
	s->has_cpu = s->v1.cpu.has_usage = true;
	if (text && hk_flat_key_u64(text, "user", &s->v1.cpu.user))
		s->v1.cpu.user *= ns_per_tick;
	if (text && hk_flat_key_u64(text, "system", &s->v1.cpu.kernel))
		s->v1.cpu.kernel *= ns_per_tick;
	return read_per_cpu(dirfd, s);
}

/* memory.<kind>limit_in_bytes and its three companions. */
static bool read_entry(int dirfd, const char *kind, struct oci_memory_entry *e)
{
	const struct {
		const char *what;
		uint64_t *ret;
	} files[] = { { "usage_in_bytes", &e->usage }, { "limit_in_bytes", &e->limit }, { "max_usage_in_bytes", &e->max }, { "failcnt", &e->failcnt } };
	char file[64];

	for (size_t i = 0; i < HK_ARRAY_SIZE(files); i++) {
		(void)hk_fmt(file, sizeof(file), "memory.%s%s", kind, files[i].what);
		if (cg_stat_u64(dirfd, file, files[i].ret) < 0 && i == 0)
			return false;
	}
	return true;
}

static void read_memory(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "memory.stat");
	hk_autofree char *oom = cg_stat_text(dirfd, "memory.oom_control");

	if (text) {
		s->has_memory = true;
#define READ(name, key) (void)hk_flat_key_u64(text, key, &s->v1.memory.name);
		OCI_V1_MEMORY_STAT(READ)
#undef READ
#define READ(name, key) (void)hk_flat_key_u64(text, "total_" key, &s->v1.memory.total_##name);
		OCI_V1_MEMORY_STAT(READ)
#undef READ
		(void)hk_flat_key_u64(text, "hierarchical_memory_limit", &s->v1.memory.hierarchical_memory_limit);
		(void)hk_flat_key_u64(text, "hierarchical_memsw_limit", &s->v1.memory.hierarchical_swap_limit);
		(void)read_entry(dirfd, "", &s->v1.memory.usage);
		s->v1.memory.has_swap = read_entry(dirfd, "memsw.", &s->v1.memory.swap);
		s->v1.memory.has_kernel = read_entry(dirfd, "kmem.", &s->v1.memory.kernel);
		s->v1.memory.has_kernel_tcp = read_entry(dirfd, "kmem.tcp.", &s->v1.memory.kernel_tcp);
	}
	if (oom) {
		s->v1.has_oom_control = true;
		(void)hk_flat_key_u64(oom, "oom_kill_disable", &s->v1.oom_control.oom_kill_disable);
		(void)hk_flat_key_u64(oom, "under_oom", &s->v1.oom_control.under_oom);
		(void)hk_flat_key_u64(oom, "oom_kill", &s->v1.oom_control.oom_kill);
	}
}

/* "8:0 Read 4096" or "8:0 4096"; "Total 8192" is no entry. */
static bool blkio_line(char *line, struct oci_blkio_entry *e)
{
	char *words[4], *save = NULL;
	size_t n = 0;

	*e = (struct oci_blkio_entry){ 0 };
	for (char *w = strtok_r(line, " :", &save); w; w = strtok_r(NULL, " :", &save)) {
		if (n == HK_ARRAY_SIZE(words))
			return false;
		words[n++] = w;
	}
	if (n < 3 || hk_parse_u64(words[0], &e->major) < 0 || hk_parse_u64(words[1], &e->minor) < 0)
		return false;
	return (n == 3 || hk_fmt(e->op, sizeof(e->op), "%s", words[2]) >= 0) && hk_parse_u64(words[n - 1], &e->value) == 0;
}

/* Finds "major minor blocks name" in the text of /proc/partitions. */
static void device_name(const char *partitions, struct oci_blkio_entry *e)
{
	const char *line = partitions;

	while (line && *line) {
		char *end;
		unsigned long long major = strtoull(line, &end, 10), minor = strtoull(end, &end, 10);

		(void)strtoull(end, &end, 10);
		end += strspn(end, " ");
		if (major == e->major && minor == e->minor && *end && *end != '\n') {
			if (hk_fmt(e->device, sizeof(e->device), "/dev/%.*s", (int)strcspn(end, "\n"), end) < 0)
				e->device[0] = '\0';
			return;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
}

static int read_blkio_file(int dirfd, const char *file, const char *partitions, struct oci_blkio_list *ret)
{
	hk_autofree char *text = cg_stat_text(dirfd, file);
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		struct oci_blkio_entry e;
		struct oci_blkio_entry *v;

		if (!blkio_line(line, &e))
			continue;
		if (partitions)
			device_name(partitions, &e);
		v = reallocarray(ret->v, ret->n + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		ret->v = v;
		ret->v[ret->n++] = e;
	}
	return 0;
}

/* The CFQ files where a kernel still has them and they count something, else BFQ's, else the throttling layer's. */
static int read_blkio(int dirfd, struct oci_stats *s)
{
	static const char *const sets[][OCI_N_BLKIO] = {
		{ "blkio.io_service_bytes_recursive", "blkio.io_serviced_recursive", "blkio.io_queued_recursive",
		    "blkio.io_service_time_recursive", "blkio.io_wait_time_recursive", "blkio.io_merged_recursive",
		    "blkio.time_recursive", "blkio.sectors_recursive" },
		{ "blkio.bfq.io_service_bytes_recursive", "blkio.bfq.io_serviced_recursive" },
		{ "blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced" },
	};
	hk_autofree char *partitions = cg_stat_text(AT_FDCWD, "/proc/partitions");

	s->v1.has_blkio = true;
	for (size_t set = 0; set < HK_ARRAY_SIZE(sets); set++) {
		size_t n = 0;

		for (size_t i = 0; i < OCI_N_BLKIO; i++) {
			int r = sets[set][i] ? read_blkio_file(dirfd, sets[set][i], partitions, &s->v1.blkio[i]) : 0;

			if (r < 0)
				return r;
			n += s->v1.blkio[i].n;
		}
		if (n > 0)
			break;
	}
	return 0;
}

int cg_stats_v1(enum cg_ctl ctl, int dirfd, struct oci_stats *s)
{
	switch (ctl) {
	case CG_CPU:
		read_throttling(dirfd, s);
		return 0;
	case CG_CPUACCT:
		return read_cpuacct(dirfd, s);
	case CG_MEMORY:
		read_memory(dirfd, s);
		return 0;
	case CG_IO:
		return read_blkio(dirfd, s);
	case CG_PIDS:
		cg_stats_pids(dirfd, s);
		return 0;
	case CG_RDMA:
		return cg_stats_rdma(dirfd, s);
	case CG_CPUSET:
	case CG_DEVICES:
	case CG_FREEZER:
	case CG_HUGETLB: /* may live on either side: cg_stats_hugetlb */
	case CG_NET_CLS:
	case CG_NET_PRIO:
	case CG_N_CTLS:
		break;
	}
	return 0;
}
