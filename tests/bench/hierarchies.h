/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/hierarchies.h — one cgroup's directories in all hierarchies of the host, and the quick way into them. */
#pragma once
#include <stdbool.h>

enum { HIERARCHIES_MAX = 16 };

struct hierarchies {
	char dirs[HIERARCHIES_MAX][256];
	int n;
};

/* Where a cgroup of that name is or would be; 0, or -1 and errno. */
int hierarchies_find(struct hierarchies *h, const char *name);
/* The caller goes into v1's, by `tasks` (oci/cgroup.c says why), and on request into v2's. What refuses is left out: v1's cpuset, having no cpus yet. */
void hierarchies_enter(const struct hierarchies *h, bool with_v2);
