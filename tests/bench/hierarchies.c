/* SPDX-License-Identifier: Apache-2.0 */
/* tests/bench/hierarchies.c — see hierarchies.h. */
#include "tests/bench/hierarchies.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int hierarchies_find(struct hierarchies *h, const char *name)
{
	static const char top[] = "/sys/fs/cgroup";
	struct dirent *e;
	DIR *d = opendir(top);

	if (!d)
		return -1;
	h->n = 0;
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0)
		(void)snprintf(h->dirs[h->n++], sizeof(h->dirs[0]), "%s/%.100s", top, name);
	else
		while (h->n < HIERARCHIES_MAX && (e = readdir(d)))
			if (e->d_type == DT_DIR && e->d_name[0] != '.')
				(void)snprintf(h->dirs[h->n++], sizeof(h->dirs[0]), "%s/%.64s/%.100s", top, e->d_name, name);
	(void)closedir(d);
	return 0;
}

void hierarchies_enter(const struct hierarchies *h, bool with_v2)
{
	char file[320];

	for (int i = 0; i < h->n; i++) {
		int fd;

		(void)snprintf(file, sizeof(file), "%.255s/tasks", h->dirs[i]);
		fd = open(file, O_WRONLY | O_CLOEXEC);
		if (fd < 0 && with_v2) {
			(void)snprintf(file, sizeof(file), "%.255s/cgroup.procs", h->dirs[i]);
			fd = open(file, O_WRONLY | O_CLOEXEC);
		}
		(void)!(fd >= 0 && write(fd, "0", 1));
		(void)close(fd);
	}
}
