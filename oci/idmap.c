/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/idmap.c — maps of ids for mounts (mount_setattr(2), MOUNT_ATTR_IDMAP).
 *
 * The kernel takes maps only in the form of a user namespace, and a namespace only comes with a process: a helper child
 * is born in a new one, opens it and its own /proc directory into the table of descriptors it shares with us, and is
 * killed once the maps are written. Nothing depends on its pid number: we may be in another pid namespace than the
 * /proc we see.
 */
#include "oci/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/namespaces.h"

struct helper_fds {
	int proc_dir, userns;
};

void oci_idmap_cache_done(struct oci_idmap_cache *c)
{
	c->userns_fd = hk_close(c->userns_fd);
}

/* The helper: tells two descriptor numbers (or an errno as a negative number) and waits to be killed. */
static void helper_run(int sock) __attribute__((noreturn));
static void helper_run(int sock)
{
	struct helper_fds f = { .proc_dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC), .userns = -1 };
	char c;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* nobody else would end it */
	if (f.proc_dir >= 0)
		f.userns = openat(f.proc_dir, "ns/user", O_RDONLY | O_CLOEXEC);
	if (f.userns < 0)
		f.userns = -errno;
	if (write(sock, &f, sizeof(f)) == (ssize_t)sizeof(f))
		(void)!read(sock, &c, 1);
	_exit(0);
}

static int write_map(int proc_dir, const char *file, const struct oci_idmaps *maps)
{
	size_t size = maps->n * 36 + 1, len = 0;
	hk_autofree char *text = malloc(size);

	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < maps->n; i++) {
		int r = hk_fmt(text + len, size - len, "%" PRIu32 " %" PRIu32 " %" PRIu32 "\n", maps->v[i].container_id,
		    maps->v[i].host_id, maps->v[i].size);

		if (r < 0)
			return r;
		len += (size_t)r;
	}
	text[len] = '\0';
	return hk_write_file_at(proc_dir, file, text);
}

static int take_userns(int sock, const struct oci_idmaps *uid, const struct oci_idmaps *gid, int *ret_fd)
{
	struct helper_fds f;
	hk_autofd proc_dir = -1, userns = -1;
	ssize_t n = read(sock, &f, sizeof(f));
	int r;

	if (n != (ssize_t)sizeof(f))
		return n < 0 ? -errno : -EPIPE;
	proc_dir = f.proc_dir;
	if (f.userns < 0)
		return f.userns;
	userns = f.userns;
	r = write_map(proc_dir, "uid_map", uid);
	if (r >= 0)
		r = write_map(proc_dir, "gid_map", gid);
	if (r < 0)
		return r;
	*ret_fd = hk_take_fd(&userns);
	return 0;
}

int oci_idmap_userns_open(const struct oci_idmaps *uid, const struct oci_idmaps *gid, int *ret_fd, struct hk_err *err)
{
	struct oci_clone c = { .flags = CLONE_NEWUSER | CLONE_FILES, .cgroup_fd = -1, .exit_signal = SIGCHLD };
	int sv[2];
	pid_t pid;
	int r;

	if (uid->n == 0 || gid->n == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "id mappings of a mount need both users and groups");
	r = hk_socketpair(sv);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "socket pair for id mappings");
	pid = oci_clone(&c);
	if (pid == 0)
		helper_run(sv[1]);
	r = pid < 0 ? pid : take_userns(sv[0], uid, gid, ret_fd);
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)hk_wait_blocking(pid, NULL);
	}
	hk_close(sv[0]);
	hk_close(sv[1]);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "make user namespace for id mappings") : 0;
}

int oci_idmap_container_userns(const struct oci_spec *spec, int *ret_fd, struct hk_err *err)
{
	const struct oci_namespace *ns = &spec->ns[OCI_NS_USER];

	if (!ns->is_set)
		return hk_fail_text(err, HK_INVALID, EINVAL, "idmap without mappings, and the container has no user namespace");
	if (ns->path) {
		int fd = open(ns->path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return hk_fail(err, HK_INTERNAL, errno, "open user namespace %s", ns->path);
		*ret_fd = fd;
		return 0;
	}
	return oci_idmap_userns_open(&spec->uid_mappings, &spec->gid_mappings, ret_fd, err);
}

int oci_idmap_set(int tree_fd, int userns_fd, bool is_recursive)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns_fd };

	if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | (is_recursive ? AT_RECURSIVE : 0U), &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

static bool is_same(const struct oci_idmaps *a, const struct oci_idmaps *b)
{
	return a && b && a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

static int cached_userns(const struct oci_spec *spec, const struct oci_mount *m, struct oci_idmap_cache *c, struct hk_err *err)
{
	int r;

	if (c->userns_fd >= 0 && is_same(c->uid, &m->uid_mappings) && is_same(c->gid, &m->gid_mappings))
		return 0;
	c->userns_fd = hk_close(c->userns_fd);
	c->uid = &m->uid_mappings;
	c->gid = &m->gid_mappings;
	if (m->uid_mappings.n == 0 && m->gid_mappings.n == 0)
		r = oci_idmap_container_userns(spec, &c->userns_fd, err);
	else
		r = oci_idmap_userns_open(&m->uid_mappings, &m->gid_mappings, &c->userns_fd, err);
	return r < 0 ? hk_wrap(err, "mount bind %s on %s", m->source ? m->source : "", m->destination) : 0;
}

int oci_idmap_mount(const struct oci_spec *spec, const struct oci_mount *m, bool is_recursive, int tree_fd,
    struct oci_idmap_cache *cache, struct hk_err *err)
{
	const char *why = "";
	int r = cached_userns(spec, m, cache, err);

	if (r < 0)
		return r;
	r = oci_idmap_set(tree_fd, cache->userns_fd, is_recursive);
	if (r >= 0)
		return 0;
	/* mount_setattr(2): what each errno means here is no matter of the maps. */
	if (r == -EINVAL)
		why = ": its file system does not support that";
	else if (r == -EPERM)
		why = ": it is mapped already, or its file system belongs to another user namespace";
	else if (r == -ENOSYS)
		why = ": the kernel has no mount_setattr (Linux 5.12)";
	return hk_fail(err, r == -ENOSYS || r == -EINVAL ? HK_UNSUPPORTED : HK_INTERNAL, -r, "map ids of %s for %s%s",
	    m->source ? m->source : "", m->destination, why);
}
