/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/stuck.c — which processes of a cgroup no signal reaches, and where in the kernel they are: state D of /proc/PID/stat (a file system that
 * does not answer, a frozen ancestor), and /proc/PID/wchan. For the texts of a kill or a removal that fails.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"

enum { MAX_NAMED = 3 };

/* "pid 42 (cat) is in state D at request_wait_answer": false when it is not. */
static bool describe(pid_t pid, char *buf, size_t size)
{
	char path[64], stat[512], wchan[64];
	char *name, *end;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (hk_read_file_at(AT_FDCWD, path, stat, sizeof(stat)) < 0)
		return false;
	name = strchr(stat, '(');
	end = strrchr(stat, ')'); /* the name may hold any bytes */
	if (!name || !end || strncmp(end, ") D", 3) != 0)
		return false;
	end[1] = '\0';
	(void)hk_fmt(path, sizeof(path), "/proc/%d/wchan", (int)pid);
	if (hk_read_file_at(AT_FDCWD, path, wchan, sizeof(wchan)) <= 0)
		(void)hk_fmt(wchan, sizeof(wchan), "an unknown place");
	return hk_fmt(buf, size, "pid %d %s is in state D at %s", (int)pid, name, wchan) > 0;
}

bool oci_cgroup_stuck(const struct oci_cgroup *cg, char *buf, size_t size)
{
	hk_autofree pid_t *pids = NULL;
	size_t n = 0, named = 0, len = 0;

	if (!cg || oci_cgroup_pids(cg, &pids, &n) < 0)
		return false;
	for (size_t i = 0; i < n && named < MAX_NAMED; i++) {
		char one[160];
		int r;

		if (!describe(pids[i], one, sizeof(one)))
			continue;
		r = hk_fmt(buf + len, size - len, "%s%s", named ? ", " : "", one);
		if (r < 0) {
			buf[len] = '\0'; /* what fits */
			break;
		}
		len += (size_t)r;
		named++;
	}
	return named > 0;
}
