/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_stats.c — reads the stat files of cgroup v2, and those that v1 shares with it, into struct oci_stats.
 * Files come and go with kernel options and with the container: what is missing or says nonsense is left at zero, never an error.
 */
#include "oci/cgroup_stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_calc.h"
#include "oci/cgroup_priv.h"

enum { MAX_STAT_FILE = 1 << 20 };

int cg_stat_u64(int dirfd, const char *file, uint64_t *ret)
{
	char buf[64];
	ssize_t n = hk_read_file_at(dirfd, file, buf, sizeof(buf));

	if (n < 0)
		return (int)n;
	if (strcmp(buf, "max") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	return hk_parse_u64(buf, ret);
}

char *cg_stat_text(int dirfd, const char *file)
{
	char *text;
	size_t len;

	return hk_read_file_alloc(dirfd, file, MAX_STAT_FILE, &text, &len) < 0 ? NULL : text;
}

void cg_stats_pids(int dirfd, struct oci_stats *s)
{
	s->has_pids = cg_stat_u64(dirfd, "pids.current", &s->pids_current) == 0;
	if (s->has_pids && cg_stat_u64(dirfd, "pids.max", &s->pids_limit) == 0 && s->is_v1 && s->pids_limit == UINT64_MAX)
		s->pids_limit = 0;
}

/* "some avg10=0.12 avg60=0.00 avg300=0.00 total=4711": two decimals always, so no locale comes in. */
static double psi_number(const char *s)
{
	double v = 0, scale = 1;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (*s - '0');
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++) {
			v = v * 10 + (*s - '0');
			scale *= 10;
		}
	}
	return v / scale;
}

static void psi_line(char *line, struct oci_psi_line *ret)
{
	for (char *save = NULL, *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		uint64_t total;

		if (hk_has_prefix(word, "avg10="))
			ret->avg10 = psi_number(word + strlen("avg10="));
		else if (hk_has_prefix(word, "avg60="))
			ret->avg60 = psi_number(word + strlen("avg60="));
		else if (hk_has_prefix(word, "avg300="))
			ret->avg300 = psi_number(word + strlen("avg300="));
		else if (hk_has_prefix(word, "total=") && hk_parse_u64(word + strlen("total="), &total) == 0)
			ret->total = total;
	}
}

static void read_psi(int dirfd, const char *file, struct oci_psi *ret)
{
	hk_autofree char *text = cg_stat_text(dirfd, file); /* EOPNOTSUPP where PSI is switched off */
	char *save = NULL;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		if (hk_has_prefix(line, "some ")) {
			psi_line(line, &ret->some);
			ret->is_set = true;
		} else if (hk_has_prefix(line, "full ")) {
			psi_line(line, &ret->full);
			ret->has_full = true;
		}
	}
}

static void read_cpu(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "cpu.stat");

	s->has_cpu = text != NULL;
	if (!text)
		return;
#define READ(name) (void)hk_flat_key_u64(text, #name, &s->v2.cpu.name);
	OCI_V2_CPU_STAT(READ)
#undef READ
	read_psi(dirfd, "cpu.pressure", &s->v2.cpu.psi);
}

/* 5.9 split the counter by kind of page; the message still has one field. */
static void sum_split(const char *text, const char *anon, const char *file, uint64_t *ret)
{
	uint64_t a = 0, f = 0;

	if (*ret == 0 && hk_flat_key_u64(text, anon, &a) && hk_flat_key_u64(text, file, &f))
		*ret = a + f;
}

static void read_memory(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "memory.stat");
	hk_autofree char *events = cg_stat_text(dirfd, "memory.events");

	s->has_memory = text != NULL;
	if (text) {
#define READ(name) (void)hk_flat_key_u64(text, #name, &s->v2.memory.name);
		OCI_V2_MEMORY_STAT(READ)
#undef READ
#define READ(name, file) (void)cg_stat_u64(dirfd, file, &s->v2.memory.name);
		OCI_V2_MEMORY_FILES(READ)
#undef READ
		sum_split(text, "workingset_refault_anon", "workingset_refault_file", &s->v2.memory.workingset_refault);
		sum_split(text, "workingset_activate_anon", "workingset_activate_file", &s->v2.memory.workingset_activate);
		read_psi(dirfd, "memory.pressure", &s->v2.memory.psi);
	}
	s->v2.has_memory_events = events != NULL;
	if (!events)
		return;
#define READ(name) (void)hk_flat_key_u64(events, #name, &s->v2.memory_events.name);
	OCI_V2_MEMORY_EVENTS(READ)
#undef READ
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0"; false for a device without a counter, which the kernel also lists. */
static bool io_line(char *line, struct oci_io_stat *ret)
{
	char *save = NULL, *word = strtok_r(line, " ", &save);
	char *colon = word ? strchr(word, ':') : NULL;
	struct oci_io_stat st = { 0 };
	bool has_any = false;

	if (!colon)
		return false;
	*colon = '\0';
	if (hk_parse_u64(word, &st.major) < 0 || hk_parse_u64(colon + 1, &st.minor) < 0)
		return false;
	for (word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *value = strchr(word, '=');
		uint64_t v;

		if (!value)
			continue;
		*value++ = '\0';
		has_any = true;
		if (hk_parse_u64(value, &v) < 0)
			continue;
		if (strcmp(word, "rbytes") == 0)
			st.rbytes = v;
		else if (strcmp(word, "wbytes") == 0)
			st.wbytes = v;
		else if (strcmp(word, "rios") == 0)
			st.rios = v;
		else if (strcmp(word, "wios") == 0)
			st.wios = v;
	}
	if (has_any)
		*ret = st;
	return has_any;
}

static int read_io(int dirfd, struct oci_stats *s)
{
	hk_autofree char *text = cg_stat_text(dirfd, "io.stat");
	char *save = NULL;

	s->v2.has_io = text != NULL;
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		struct oci_io_stat st;
		struct oci_io_stat *v;

		if (!io_line(line, &st))
			continue;
		v = reallocarray(s->v2.io, s->v2.n_io + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->v2.io = v;
		s->v2.io[s->v2.n_io++] = st;
	}
	if (text)
		read_psi(dirfd, "io.pressure", &s->v2.io_psi);
	return 0;
}

int cg_stats_v2(int dirfd, struct oci_stats *s)
{
	cg_stats_pids(dirfd, s);
	read_cpu(dirfd, s);
	read_memory(dirfd, s);
	return read_io(dirfd, s);
}

static uint32_t rdma_number(const char *s)
{
	uint64_t v;

	if (strcmp(s, "max") == 0)
		return UINT32_MAX;
	return hk_parse_u64(s, &v) == 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

/* "mlx5_1 hca_handle=3 hca_object=max" */
static bool rdma_line(char *line, struct oci_rdma_stat *ret)
{
	char *save = NULL, *word = strtok_r(line, " ", &save);

	*ret = (struct oci_rdma_stat){ 0 };
	if (!word || hk_fmt(ret->device, sizeof(ret->device), "%s", word) < 0)
		return false;
	for (word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (hk_has_prefix(word, "hca_handle="))
			ret->hca_handles = rdma_number(word + strlen("hca_handle="));
		else if (hk_has_prefix(word, "hca_object="))
			ret->hca_objects = rdma_number(word + strlen("hca_object="));
	}
	return true;
}

static int read_rdma(int dirfd, const char *file, struct oci_rdma_stats *ret, bool *ret_has)
{
	hk_autofree char *text = cg_stat_text(dirfd, file);
	char *save = NULL;

	if (text)
		*ret_has = true;
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		struct oci_rdma_stat st;
		struct oci_rdma_stat *v;

		if (!rdma_line(line, &st))
			continue;
		v = reallocarray(ret->v, ret->n + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		ret->v = v;
		ret->v[ret->n++] = st;
	}
	return 0;
}

int cg_stats_rdma(int dirfd, struct oci_stats *s)
{
	int r = read_rdma(dirfd, "rdma.current", &s->rdma_current, &s->has_rdma);

	return r < 0 ? r : read_rdma(dirfd, "rdma.max", &s->rdma_limit, &s->has_rdma);
}

static bool hugetlb_one(int dirfd, bool is_v2, const char *size, struct oci_hugetlb_stat *ret)
{
	hk_autofree char *events = NULL;
	char file[80];

	*ret = (struct oci_hugetlb_stat){ 0 };
	if (hk_fmt(ret->pagesize, sizeof(ret->pagesize), "%s", size) < 0 ||
	    cg_hugetlb_file(size, is_v2 ? "current" : "usage_in_bytes", file, sizeof(file)) < 0 ||
	    cg_stat_u64(dirfd, file, &ret->current) < 0)
		return false;
	(void)cg_hugetlb_file(size, is_v2 ? "max" : "max_usage_in_bytes", file, sizeof(file));
	(void)cg_stat_u64(dirfd, file, &ret->max);
	(void)cg_hugetlb_file(size, is_v2 ? "events" : "failcnt", file, sizeof(file));
	if (is_v2) {
		events = cg_stat_text(dirfd, file);
		if (events)
			(void)hk_flat_key_u64(events, "max", &ret->failcnt);
	} else {
		(void)cg_stat_u64(dirfd, file, &ret->failcnt);
	}
	return true;
}

int cg_stats_hugetlb(int dirfd, bool is_v2, const char *sizes_dir, struct oci_stats *s)
{
	hk_autodir dir = opendir(sizes_dir);

	for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
		struct oci_hugetlb_stat *v;
		struct oci_hugetlb_stat st;
		char name[32], digits[32];
		uint64_t kb;

		if (!hk_has_prefix(e->d_name, "hugepages-") || !hk_has_suffix(e->d_name, "kB"))
			continue;
		if (hk_fmt(digits, sizeof(digits), "%.*s", (int)strspn(e->d_name + strlen("hugepages-"), "0123456789"),
			e->d_name + strlen("hugepages-")) < 0 || hk_parse_u64(digits, &kb) < 0 ||
		    cg_hugetlb_name(kb, name, sizeof(name)) < 0 || !hugetlb_one(dirfd, is_v2, name, &st))
			continue;
		v = reallocarray(s->hugetlb, s->n_hugetlb + 1, sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->hugetlb = v;
		s->hugetlb[s->n_hugetlb++] = st;
	}
	return 0;
}

void oci_stats_done(struct oci_stats *s)
{
	free(s->rdma_current.v);
	free(s->rdma_limit.v);
	free(s->hugetlb);
	free(s->net);
	if (s->is_v1) {
		free(s->v1.cpu.per_cpu);
		for (size_t i = 0; i < OCI_N_BLKIO; i++)
			free(s->v1.blkio[i].v);
	} else {
		free(s->v2.io);
	}
	*s = (struct oci_stats){ 0 };
}
