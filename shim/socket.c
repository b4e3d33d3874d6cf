/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/socket.c — group, path, lock and liveness of a group's socket (shim-protocol: start). A dead shim is told by connect(2)
 * alone, never by a pid: pids come again. The lock file lives only as long as somebody holds or awaits it.
 */
#include "shim/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "oci/oci.h"

enum { BACKLOG = 128, LOCK_RETRY_NS = 2000000 };

int shim_group_read(const char *bundle, const char *id, char ret[SHIM_GROUP_MAX], struct hk_err *err)
{
	/* The order of the runc shim: nerdctl and moby group by the first, CRI by the second. */
	static const char *const keys[] = { "io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id" };
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_kvs annotations;
	const char *group = NULL;
	int r;

	r = oci_annotations_read(bundle, &arena, &annotations, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < HK_ARRAY_SIZE(keys) && (!group || !group[0]); i++)
		group = oci_kvs_get(&annotations, keys[i]);
	if (!group || !group[0])
		group = id;
	if (!hk_is_valid_id(group))
		return hk_fail_text(err, HK_INVALID, EINVAL, "group \"%s\" is not a valid id", group);
	return hk_fmt(ret, SHIM_GROUP_MAX, "%s", group) < 0 ? -ENAMETOOLONG : 0;
}

/* Drops empty and "." components, as Go's filepath.Join does, so that "/run//x.sock" and "/run/x.sock" are one daemon. */
static void clean(char *path)
{
	char *out = path;

	for (const char *in = path; *in;) {
		size_t len;

		if (*in == '/') {
			if (out == path ? in == path : out[-1] != '/')
				*out++ = '/';
			in++;
			continue;
		}
		len = strcspn(in, "/");
		if (len == 1 && in[0] == '.') {
			in++;
			continue;
		}
		memmove(out, in, len);
		out += len;
		in += len;
	}
	*out = '\0';
}

int shim_socket_path(const char *dir, const char *const names[3], char ret[SHIM_SOCKET_PATH_MAX], struct hk_err *err)
{
	char joined[4096 + 256];
	uint8_t hash[32];
	char hex[2 * sizeof(hash) + 1];
	int len;

	len = hk_fmt(joined, sizeof(joined), "%s/%s/%s", names[0], names[1], names[2]);
	if (len < 0)
		return hk_fail_text(err, HK_INVALID, ENAMETOOLONG, "containerd address %.80s... is too long", names[0]);
	clean(joined);
	/* Join leaves an empty first element out, with its slash. */
	len = names[0][0] ? 0 : 1;
	hk_sha256(joined + len, strlen(joined + len), hash);
	hk_hex(hash, sizeof(hash), hex);
	dir = dir && dir[0] ? dir : SHIM_SOCKET_DIR;
	if (dir[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "socket directory %s is not absolute", dir);
	len = hk_fmt(joined, sizeof(joined), "%s/%s", dir, hex);
	if (len > 0)
		clean(joined);
	if (len < 0 || strlen(joined) >= SHIM_SOCKET_PATH_MAX)
		return hk_fail_text(err, HK_INVALID, ENAMETOOLONG, "socket directory %s is longer than a socket's path allows", dir);
	(void)hk_fmt(ret, SHIM_SOCKET_PATH_MAX, "%s", joined);
	return 0;
}

static int lock_path(const char *path, char *ret, size_t size)
{
	return hk_fmt(ret, size, "%s.lock", path) < 0 ? -ENAMETOOLONG : 0;
}

/* The lock is void when its holder removed the file meanwhile: the next one would lock another file of that name. */
static bool is_current(int fd, const char *name)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && stat(name, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

int shim_socket_lock(const char *path, int timeout_ms, int *ret_fd, struct hk_err *err)
{
	uint64_t end = hk_now_ns() + (uint64_t)timeout_ms * 1000000;
	const struct timespec pause = { .tv_nsec = LOCK_RETRY_NS };
	char name[SHIM_SOCKET_PATH_MAX + 8];

	if (lock_path(path, name, sizeof(name)) < 0)
		return hk_fail_text(err, HK_INVALID, ENAMETOOLONG, "socket path %s is too long", path);
	for (;;) {
		hk_autofd fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return hk_fail(err, HK_INTERNAL, errno, "open lock %s", name);
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			if (is_current(fd, name)) {
				*ret_fd = hk_take_fd(&fd);
				return 0;
			}
			continue;
		}
		if (errno != EWOULDBLOCK && errno != EINTR)
			return hk_fail(err, HK_INTERNAL, errno, "lock %s", name);
		if (hk_now_ns() >= end)
			return hk_fail_text(err, HK_DEADLINE, ETIMEDOUT, "lock %s is held by another process", name);
		(void)nanosleep(&pause, NULL);
	}
}

void shim_socket_unlock(const char *path, int *take_fd)
{
	hk_autofd fd = hk_take_fd(take_fd);
	char name[SHIM_SOCKET_PATH_MAX + 8];

	if (fd >= 0 && lock_path(path, name, sizeof(name)) == 0)
		(void)unlink(name);
}

static void fill_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	(void)hk_fmt(ret->sun_path, sizeof(ret->sun_path), "%s", path);
}

int shim_socket_remove_stale(const char *path, struct hk_err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : hk_fail(err, HK_INTERNAL, errno, "stat %s", path);
	if (!S_ISSOCK(st.st_mode))
		return hk_fail_text(err, HK_INTERNAL, EEXIST, "%s is not a socket", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return hk_fail(err, HK_INTERNAL, errno, "remove stale socket %s", path);
	return 0;
}

int shim_socket_listen(const char *path, int *ret_fd, struct hk_err *err)
{
	hk_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	mode_t mask;
	int r;

	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "make socket");
	fill_address(path, &address);
	/* The mode is right from the first moment; there is no window for another user to connect in. */
	mask = umask(0177);
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "bind %s", path);
	if (chmod(path, 0600) < 0 || listen(fd, BACKLOG) < 0) {
		r = hk_fail(err, HK_INTERNAL, errno, "listen on %s", path);
		(void)unlink(path);
		return r;
	}
	*ret_fd = hk_take_fd(&fd);
	return 0;
}
