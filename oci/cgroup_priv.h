/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_priv.h — what the cgroup files share: the host's hierarchies, one directory to write into, the walk over a subtree.
 * Nothing outside oci/cgroup*.c (and their tests) includes it.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/cgroup.h"
#include "oci/cgroup_unit.h"

struct hk_err;

enum { CG_MAX_HIERARCHIES = OCI_CGROUP_HOLD_MAX };
#define CG_DEFAULT_BASE "/husk"

/* Order = bit number; cg_ctl_names in cgroup_host.c follows it. Names are v1's, but CG_IO is "blkio" there and "io" on v2. */
enum cg_ctl {
	CG_CPU,
	CG_CPUACCT,
	CG_CPUSET,
	CG_MEMORY,
	CG_DEVICES,
	CG_FREEZER,
	CG_IO,
	CG_PIDS,
	CG_HUGETLB,
	CG_NET_CLS,
	CG_NET_PRIO,
	CG_RDMA,
	CG_N_CTLS
};
#define CG_BIT(ctl) (1U << (ctl))

struct cg_hier {
	char *mount;   /* owned; where it is mounted, such as /sys/fs/cgroup/memory */
	char *root;    /* owned; which cgroup the mount shows, "/" but in a nested host */
	char dev[16];  /* "0:37": mounts with the same one are the same hierarchy */
	uint32_t ctls; /* CG_BIT of the controllers living here; v2: those of the root's cgroup.controllers */
	bool is_v2;
	bool no_prefix; /* v1 mounted with noprefix: "shares", not "cpu.shares" */
};
struct cg_host {
	enum oci_cgroup_mode mode;
	size_t n;
	struct cg_hier h[CG_MAX_HIERARCHIES];
};

const struct cg_host *cg_host_get(void); /* the machine's, read once per process; NULL + errno when it cannot be read */
bool cg_host_whole_v2(const char *mount, struct cg_host *ret); /* of a machine with all of cgroup v2 there, and nothing else that counts */
/* From the text of a mountinfo file; hierarchies mounted twice count once, at the mount that shows the most. v2 controllers are read. */
int cg_host_parse(const char *mountinfo, struct cg_host *ret);
void cg_host_done(struct cg_host *h);
/* The hierarchy that has the controller, v1 or v2; NULL when none. */
const struct cg_hier *cg_host_find(const struct cg_host *h, enum cg_ctl ctl);
const struct cg_hier *cg_host_v2(const struct cg_host *h);

struct oci_cgroup {
	const struct cg_host *host; /* borrowed */
	char *path;                 /* owned; "/a/b", no dots, no double slash */
	struct cg_unit unit;        /* owned; name NULL = the cgroupfs driver */
	int v2_fd;                  /* owned; the leaf of the v2 hierarchy once it exists */
	/* By hierarchy: 1 + the length of `path` that was there before oci_cgroup_create; 0 = this object made nothing there. */
	uint16_t made_from[CG_MAX_HIERARCHIES];
	bool is_begun; /* by oci_cgroup_begin: a process may be in it before it is whole */
};
/* oci_cgroup_open on a host of the caller's choice. */
int cg_open_on(const struct cg_host *host, const char *cgroups_path, const char *id, struct oci_cgroup **ret, struct hk_err *err);
/* cgroupsPath -> clean path (cgroup.h says which rules). `ret` is heap. */
int cg_resolve_path(const char *cgroups_path, const char *id, char **ret, struct hk_err *err);

/* One cgroup directory, opened at the first use. */
struct cg_dir {
	const char *mount; /* "" in tests */
	const char *path;
	int fd;         /* owned; -1 = not opened yet */
	bool is_absent; /* no such controller on this host: every access is ENOENT, told as such */
	bool no_prefix;
};
void cg_dir_init(struct cg_dir *d, const struct cg_hier *h, const char *path); /* h NULL: is_absent */
void cg_dir_done(struct cg_dir *d);
/* The fd or -errno. */
int cg_dir_fd(struct cg_dir *d);
int cg_dir_write(struct cg_dir *d, const char *file, const char *value); /* -errno alone */
/* cg_dir_write that explains: "write <value> to <dir>/<file>". */
int cg_write(struct cg_dir *d, const char *file, const char *value, struct hk_err *err);
int cg_write_i64(struct cg_dir *d, const char *file, int64_t value, struct hk_err *err);
int cg_write_u64(struct cg_dir *d, const char *file, uint64_t value, struct hk_err *err);
/* The error text of a write that gave -errno `r`. */
int cg_write_failed(struct cg_dir *d, const char *file, const char *value, int r, struct hk_err *err);
ssize_t cg_read(struct cg_dir *d, const char *file, char *buf, size_t size);
int cg_read_u64(struct cg_dir *d, const char *file, uint64_t *ret); /* "max" is UINT64_MAX */

/* mount + path; -ENAMETOOLONG. buf has PATH_MAX bytes. */
int cg_abs(const struct cg_hier *h, const char *path, char *buf);
/* The directory of `path` in h: no links, no way out of the hierarchy. Fd or -errno. */
int cg_open_leaf(const struct cg_hier *h, const char *path);

struct cg_pids {
	pid_t *v; /* owned */
	size_t n, cap;
};
/* Adds the pids of dirfd and all below; what vanishes meanwhile is left out. */
int cg_tree_pids(int dirfd, struct cg_pids *pids);
int cg_pids_add(struct cg_pids *pids, pid_t pid);
void cg_pids_sort(struct cg_pids *pids); /* ascending, no doubles */
void cg_pids_done(struct cg_pids *pids);
/* 1 when a process lives in dirfd or below, 0 when none, -errno. */
int cg_tree_populated(int dirfd, bool is_v2);
/* Removes all cgroups below dirfd, not dirfd itself. -EBUSY when one has processes. */
int cg_tree_clear(int dirfd);
/* Makes what is missing of mount+path: 0 and in *ret_kept_len how much of `path` was there, or -EEXIST when the leaf was there already. */
int cg_tree_make(const struct cg_hier *h, const char *path, size_t *ret_kept_len);
/* The leaf and all below. -EBUSY as above; missing is success. */
int cg_tree_remove(const struct cg_hier *h, const char *path);
/* After the leaf: the parents that husk made (in any process) and that are empty. */
void cg_tree_remove_parents(const struct cg_hier *h, const char *path);
/* Removes the components of `path` longer than kept_len, deepest first; stops at one that is in use. */
void cg_tree_unmake(const struct cg_hier *h, const char *path, size_t kept_len);

/* What `r` names of one controller into its v1 directory. */
int cg_v1_write(enum cg_ctl ctl, struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);
/* A new v1 cpuset has no cpus and no mems, and takes no process: fills it (and empty ancestors) from above. */
int cg_v1_cpuset_inherit(const struct cg_hier *h, const char *path, struct hk_err *err);
/* The same for v2. */
int cg_v2_write(enum cg_ctl ctl, struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);
/* memory.checkBeforeUpdate: refuses before anything is written. */
int cg_v2_check_memory(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);
int cg_v2_write_unified(struct cg_dir *d, const struct oci_resources *r, struct hk_err *err);
/* The directory above the leaf `path` if it gives all of `ctls` to its children; else -1. */
int cg_v2_open_ready(const struct cg_hier *h, const char *path, uint32_t ctls);
/* Enables the controllers of `ctls` for the leaf in every ancestor; one that cannot be had is left out. */
int cg_v2_enable(const struct cg_hier *h, const char *path, uint32_t ctls, struct hk_err *err);
const char *cg_v2_ctl_name(enum cg_ctl ctl); /* NULL: not a v2 controller */
uint32_t cg_v2_ctls(const char *words);      /* the text of a cgroup.controllers file as bits */

struct oci_stats;
struct oci_stats_v1;
/* Readers of cgroup_stats*.c, each for one directory. What is not there stays as it was; only -ENOMEM fails. */
int cg_stats_v2(int dirfd, struct oci_stats *s);
int cg_stats_v1(enum cg_ctl ctl, int dirfd, struct oci_stats *s);
int cg_stats_hugetlb(int dirfd, bool is_v2, const char *sizes_dir, struct oci_stats *s); /* sizes_dir: /sys/kernel/mm/hugepages */
int cg_stats_rdma(int dirfd, struct oci_stats *s);
void cg_stats_pids(int dirfd, struct oci_stats *s);
int cg_stat_u64(int dirfd, const char *file, uint64_t *ret); /* "max" is UINT64_MAX; *ret untouched on failure */
char *cg_stat_text(int dirfd, const char *file);              /* heap; NULL when there is none */
