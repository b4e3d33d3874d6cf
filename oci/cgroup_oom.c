/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_oom.c — the kernel's word that it killed a process of a container for memory: the counter, and what tells that it has changed.
 */
#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"

static int open_v1(int dirfd, int *ret_fd)
{
	hk_autofd control = openat(dirfd, "memory.oom_control", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	hk_autofd event = -1;
	char line[48];
	int r;

	if (control < 0)
		return -errno;
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event < 0)
		return -errno;
	(void)hk_fmt(line, sizeof(line), "%d %d", event, control);
	r = hk_write_file_at(dirfd, "cgroup.event_control", line);
	if (r < 0)
		return r;
	*ret_fd = hk_take_fd(&event);
	return 0;
}

static int open_v2(int dirfd, const char *file, int *ret_fd)
{
	int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int open_events(const struct oci_cgroup *cg, const char *path, const char *v2_file, int *ret_fd, uint32_t *ret_events)
{
	const struct cg_hier *h = cg_host_find(cg->host, CG_MEMORY);
	hk_autofd dir = h ? cg_open_leaf(h, path) : -ENOENT;
	int fd = -1, r;

	if (dir < 0)
		return dir;
	r = h->is_v2 ? open_v2(dir, v2_file, &fd) : open_v1(dir, &fd);
	if (r < 0)
		return r;
	*ret_fd = fd;
	*ret_events = h->is_v2 ? EPOLLPRI : EPOLLIN;
	return 0;
}

int oci_cgroup_oom_open(const struct oci_cgroup *cg, int *ret_fd, uint32_t *ret_events)
{
	return open_events(cg, cg->path, "memory.events", ret_fd, ret_events);
}

int oci_cgroup_limit_open(const struct oci_cgroup *cg, size_t len, int *ret_fd, uint32_t *ret_events)
{
	char path[PATH_MAX];

	if (hk_fmt(path, sizeof(path), "%.*s", (int)len, cg->path) < 0)
		return -ENAMETOOLONG;
	return open_events(cg, path, "memory.events.local", ret_fd, ret_events);
}

int oci_cgroup_limit_hits(int fd, uint32_t events, uint64_t *hits)
{
	char buf[512];
	uint64_t n = 0;
	const ssize_t r = events & EPOLLIN ? read(fd, &n, sizeof(n)) : pread(fd, buf, sizeof(buf) - 1, 0);

	if (r < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*hits += n;
	if (events & EPOLLIN)
		return 0;
	buf[r] = '\0';
	(void)hk_flat_key_u64(buf, "oom", hits);
	return 0;
}

static int counts_of(const struct cg_hier *h, const char *path, struct oci_oom *ret)
{
	struct oci_oom found = { 0 };
	struct cg_dir d;
	char buf[512];
	ssize_t n;

	cg_dir_init(&d, h, path);
	n = cg_read(&d, h && h->is_v2 ? "memory.events" : "memory.oom_control", buf, sizeof(buf));
	cg_dir_done(&d);
	if (n < 0)
		return (int)n;
	if (!hk_flat_key_u64(buf, "oom_kill", &found.kills))
		return -ENOENT;
	(void)hk_flat_key_u64(buf, "oom", &found.hits);
	*ret = found;
	return 0;
}

int oci_cgroup_oom_count(const struct oci_cgroup *cg, struct oci_oom *ret)
{
	return counts_of(cg_host_find(cg->host, CG_MEMORY), cg->path, ret);
}

/* The root counts nothing. */
static int path_above(const struct oci_cgroup *cg, char *buf, size_t size)
{
	const char *slash = strrchr(cg->path, '/');

	if (!cg->unit.name || !slash || slash == cg->path)
		return -ENOENT;
	return hk_fmt(buf, size, "%.*s", (int)(slash - cg->path), cg->path) < 0 ? -ENAMETOOLONG : 0;
}

int oci_cgroup_oom_count_above(const struct oci_cgroup *cg, struct oci_oom *ret)
{
	const struct cg_hier *h = cg_host_find(cg->host, CG_MEMORY);
	char path[PATH_MAX];
	int r = h && h->is_v2 ? path_above(cg, path, sizeof(path)) : -ENOENT;

	return r < 0 ? r : counts_of(h, path, ret);
}

int oci_cgroup_oom_open_above(const struct oci_cgroup *cg, int *ret_fd)
{
	const struct cg_hier *h = cg_host_find(cg->host, CG_MEMORY);
	char path[PATH_MAX];
	int r = h && h->is_v2 ? path_above(cg, path, sizeof(path)) : -ENOENT;
	hk_autofd dir = r < 0 ? r : cg_open_leaf(h, path);

	return dir < 0 ? dir : open_v2(dir, "memory.events", ret_fd);
}
