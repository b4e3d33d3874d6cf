/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/view.h — what people may see of pods: from inside the shim (view.c), and from outside by the state files of a node (groups.c). Public,
 * beside sandbox.h. Nothing here changes anything.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "sandbox/sandbox.h"

struct oci_container;
struct sbx_pod;

/* What people may ask about a container's init or an exec; an init comes before its execs, a sandbox without a pause image before all. Borrowed for the call. */
struct sbx_view {
	const char *id, *exec_id; /* exec_id NULL: the init */
	const char *bundle, *state, *waits_for; /* waits_for "": nothing */
	uint32_t pid, exit_status, n_waiters;
	uint64_t oom_kills;               /* of the container */
	enum sbx_limit oom_limit;         /* of the last one: whose limit; and so much of the path of its cgroup is where that is */
	size_t oom_limit_cgroup_len;
	uint64_t dropped_bytes; /* of its output: sbx_stdio_spill */
	const struct oci_container *oci; /* of the container; NULL while it is being made */
};
typedef void sbx_view_fn(void *arg, const struct sbx_view *v);
void sbx_each(const struct sbx_pod *p, sbx_view_fn *fn, void *arg);

/* For tools: a pod by its state files. Strings are borrowed for the call. */
struct sbx_group {
	const char *daemon, *ns, *group, *socket; /* daemon: hash of its address */
	uint32_t pid; /* of its shim, which may be dead */
	size_t n_containers;
	void *containers; /* private: sbx_group_container */
};
typedef void sbx_group_fn(void *arg, const struct sbx_group *g);
int sbx_groups_each(const char *run_dir, sbx_group_fn *fn, void *arg);
/* The id; *ret_pid is its init's, 0 once that is gone. */
const char *sbx_group_container(const struct sbx_group *g, size_t i, uint32_t *ret_pid);
