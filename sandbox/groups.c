/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/groups.c — every pod of the node by its state files, <run_dir>/<daemon>/<namespace>/<group>/, whether its shim lives or not. */
#include "sandbox/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "sandbox/store.h"

enum { MAX_CONTAINERS = 1024 };

struct walk {
	sbx_group_fn *fn;
	void *arg;
	struct sbx_group group;
};
typedef void dir_fn(struct walk *w, int dirfd, const char *name);

/* Calls fn for each directory, or each file, below dirfd. */
static void each_entry(struct walk *w, int dirfd, bool want_directories, dir_fn *fn)
{
	const int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	hk_autodir d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		hk_close(fd);
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		hk_autofd sub = -1;

		if (!hk_is_valid_id(e->d_name))
			continue;
		sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if ((sub >= 0) == want_directories)
			fn(w, want_directories ? sub : dirfd, e->d_name);
	}
}

static void on_container(struct walk *w, int dirfd, const char *name)
{
	struct store_record *records = w->group.containers;

	if (w->group.n_containers < MAX_CONTAINERS && store_read_container(dirfd, name, &records[w->group.n_containers]) == 0)
		w->group.n_containers++;
}

static void on_group(struct walk *w, int dirfd, const char *name)
{
	struct store_shim shim;

	if (store_read_shim(dirfd, &shim) < 0)
		return; /* the seccomp cache, or half made */
	w->group.group = name;
	w->group.socket = shim.socket;
	w->group.pid = (uint32_t)shim.pid;
	w->group.n_containers = 0;
	each_entry(w, dirfd, false, on_container);
	w->fn(w->arg, &w->group);
	for (size_t i = 0; i < w->group.n_containers; i++)
		store_record_done(&((struct store_record *)w->group.containers)[i]);
	store_shim_done(&shim);
}

static void on_namespace(struct walk *w, int dirfd, const char *name)
{
	w->group.ns = name;
	each_entry(w, dirfd, true, on_group);
}

static void on_daemon(struct walk *w, int dirfd, const char *name)
{
	w->group.daemon = name;
	each_entry(w, dirfd, true, on_namespace);
}

const char *sbx_group_container(const struct sbx_group *g, size_t i, uint32_t *ret_pid)
{
	const struct store_record *r = &((const struct store_record *)g->containers)[i];

	*ret_pid = r->pid > 0 && store_start_time(r->pid) == r->start_time ? (uint32_t)r->pid : 0;
	return r->id;
}

int sbx_groups_each(const char *run_dir, sbx_group_fn *fn, void *arg)
{
	hk_autofree struct store_record *records = calloc(MAX_CONTAINERS, sizeof(*records));
	struct walk w = { .fn = fn, .arg = arg, .group = { .containers = records } };
	hk_autofd dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!records)
		return -ENOMEM;
	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	each_entry(&w, dir, true, on_daemon);
	return 0;
}
