/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/podsandbox_files.c — hostname, hosts, resolv.conf and /dev/shm of a pod without a pause image, below the group's state directory,
 * from where they are bound into every container. containerd's own directory for them is no place: at its restart it removes those
 * for which it has no pause container. /dev/shm is one mount in the host's table, as containerd makes it, since a mount
 * that is attached nowhere could be cloned for the next container only by kernels from 6.15 on.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/base/text.h"
#include "sandbox/podsandbox_priv.h"

#define POD "/.pod"
#define SHM_OPTIONS "mode=1777,size=65536k" /* containerd's size */
#define DEFAULT_HOSTS "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
enum { FILE_LIMIT = 1 << 20, HOSTNAME_SIZE = 256 };

static const char *const names[] = { "hostname", "hosts", "resolv.conf" };

/* Owned by the container's root, which may write the files as it may with a pause container. */
static int write_text(int dirfd, const char *name, const struct sbx_sandbox_config *c, const char *text, size_t len)
{
	hk_autofd fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	int r;

	if (fd < 0)
		return -errno;
	r = hk_write_full(fd, text, len);
	if (r == 0 && (fchmod(fd, 0644) < 0 || fchown(fd, sandbox_root_of(c, &c->uids), sandbox_root_of(c, &c->gids)) < 0))
		r = -errno;
	return r;
}

/* The host's file, or the default where it has none. */
static int copy_file(int dirfd, const char *name, const struct sbx_sandbox_config *c, const char *path, const char *otherwise)
{
	hk_autofree char *text = NULL;
	size_t len;
	int r = hk_read_file_alloc(AT_FDCWD, path, FILE_LIMIT, &text, &len);

	if (r == -ENOENT)
		return write_text(dirfd, name, c, otherwise, strlen(otherwise));
	return r < 0 ? r : write_text(dirfd, name, c, text, len);
}

static void put_line(struct hk_text *t, const char *word, const struct oci_strv *v)
{
	if (v->n == 0)
		return;
	hk_text_put(t, word);
	for (size_t i = 0; i < v->n; i++)
		hk_text_fmt(t, " %s", v->v[i]);
	hk_text_put(t, "\n");
}

static int write_resolv_conf(int dirfd, const struct sbx_sandbox_config *c)
{
	hk_auto(hk_text_done) struct hk_text t = { 0 };

	put_line(&t, "search", &c->dns_searches);
	for (size_t i = 0; i < c->dns_servers.n; i++)
		hk_text_fmt(&t, "nameserver %s\n", c->dns_servers.v[i]);
	put_line(&t, "options", &c->dns_options);
	if (t.failed)
		return -ENOMEM;
	return t.n > 0 ? write_text(dirfd, "resolv.conf", c, t.v, t.n) : copy_file(dirfd, "resolv.conf", c, "/etc/resolv.conf", "");
}

static int write_hostname(int dirfd, const struct sbx_sandbox_config *c)
{
	char own[HOSTNAME_SIZE] = "", text[HOSTNAME_SIZE + 1];
	int len;

	if (!c->hostname[0] && gethostname(own, sizeof(own) - 1) < 0)
		return -errno;
	len = hk_fmt(text, sizeof(text), "%s\n", c->hostname[0] ? c->hostname : own);
	return len < 0 ? len : write_text(dirfd, "hostname", c, text, (size_t)len);
}

static int mount_shm(const char *pod, int dirfd, const struct sbx_sandbox_config *c)
{
	char path[PATH_MAX];

	if (mkdirat(dirfd, "shm", 0700) < 0)
		return -errno;
	if (hk_fmt(path, sizeof(path), "%s/shm", pod) < 0)
		return -ENAMETOOLONG;
	if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SHM_OPTIONS) < 0)
		return -errno;
	return chown(path, sandbox_root_of(c, &c->uids), sandbox_root_of(c, &c->gids)) < 0 ? -errno : 0;
}

static int make_all(const char *pod, const struct sbx_sandbox_config *c, const char **ret_what)
{
	hk_autofd dirfd = -1;
	int r;

	*ret_what = "";
	if (mkdir(pod, 0700) < 0)
		return -errno;
	dirfd = open(pod, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dirfd < 0)
		return -errno;
	*ret_what = "/hostname";
	r = write_hostname(dirfd, c);
	if (r < 0)
		return r;
	*ret_what = "/hosts";
	r = copy_file(dirfd, "hosts", c, "/etc/hosts", DEFAULT_HOSTS);
	if (r < 0)
		return r;
	*ret_what = "/resolv.conf";
	r = write_resolv_conf(dirfd, c);
	if (r < 0 || c->ipc == SBX_NS_NODE)
		return r;
	*ret_what = "/shm";
	return mount_shm(pod, dirfd, c);
}

int sandbox_files_make(const char *dir, const struct sbx_sandbox_config *c, struct hk_err *err)
{
	char pod[PATH_MAX];
	const char *what;
	int r;

	if (hk_fmt(pod, sizeof(pod), "%s" POD, dir) < 0)
		return hk_fail(err, HK_INTERNAL, ENAMETOOLONG, "%s" POD, dir);
	r = make_all(pod, c, &what);
	if (r == 0)
		return 0;
	sandbox_files_remove(dir);
	return hk_fail(err, HK_INTERNAL, -r, "make %s%s", pod, what);
}

void sandbox_files_unmount(const char *dir)
{
	char path[PATH_MAX];

	/* EINVAL: nothing is mounted there. Lazily, since a container that is just ending may hold it. */
	if (hk_fmt(path, sizeof(path), "%s" POD "/shm", dir) >= 0)
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

void sandbox_files_remove(const char *dir)
{
	char path[PATH_MAX];
	hk_autofd fd = hk_fmt(path, sizeof(path), "%s" POD, dir) < 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	sandbox_files_unmount(dir);
	for (size_t i = 0; i < HK_ARRAY_SIZE(names); i++)
		(void)unlinkat(fd, names[i], 0);
	(void)unlinkat(fd, "shm", AT_REMOVEDIR);
	(void)rmdir(path);
}

int sandbox_files_mounts(const char *dir, bool has_shm, struct hk_arena *arena, struct oci_pod_mount ret[SANDBOX_MOUNTS_MAX])
{
	int n = 0;

	for (size_t i = 0; i < HK_ARRAY_SIZE(names); i++, n++)
		ret[n] = (struct oci_pod_mount){ .destination = hk_arena_printf(arena, "/etc/%s", names[i]),
			.source = hk_arena_printf(arena, "%s" POD "/%s", dir, names[i]), .follows_root = true };
	if (has_shm)
		ret[n++] = (struct oci_pod_mount){ .destination = "/dev/shm", .source = hk_arena_printf(arena, "%s" POD "/shm", dir) };
	for (int i = 0; i < n; i++)
		if (!ret[i].destination || !ret[i].source)
			return -ENOMEM;
	return n;
}
