/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/cleanup.c — the `delete` command's work, in a process of its own. containerd runs it after every teardown and after a crash, in the
 * same words: so it does nothing while the shim lives, and ends the whole group when it is dead (containerd calls it for one
 * container of a pod only, and the others would run on for ever).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/loop.h"
#include "oci/base/str.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/sandbox.h"
#include "sandbox/store.h"

#define SOCKET_PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)
/* containerd kills `delete` after 5 s. */
enum { TIMEOUT_MS = 4000, LEAST_MS = 100, KILLED = 128 + SIGKILL };
enum { CLOSING_TRIES = 100, CLOSING_NS = 2000000 };

static void kill_init(const struct store_record *rec)
{
	hk_autofd pidfd = rec->pid > 0 ? (int)syscall(SYS_pidfd_open, rec->pid, 0) : -1;

	/* Opened first, compared second: from here on the pidfd and the number mean the same process. */
	if (pidfd >= 0 && rec->start_time != 0 && store_start_time(rec->pid) == rec->start_time)
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static int clean_container(const char *dir, const struct store_record *rec, uint64_t until_ns, struct hk_err *err)
{
	const uint64_t now = hk_now_ns();
	const uint64_t left_ms = now < until_ns ? (until_ns - now) / 1000000 : 0;
	char rootfs[PATH_MAX];
	int r;

	r = hk_fmt(rootfs, sizeof(rootfs), "%s/rootfs", rec->bundle);
	r = oci_cleanup(rec->cgroup, rec->id, r < 0 ? NULL : rootfs, left_ms < LEAST_MS ? LEAST_MS : (int)left_ms, err);
	if (r == 0)
		store_remove_container(dir, rec->id);
	return r;
}

/* All at once, so that what takes long to die does so while the others are seen to. */
static void kill_group(DIR *d)
{
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		struct store_record rec;

		if (store_read_container(dirfd(d), e->d_name, &rec) < 0)
			continue;
		kill_init(&rec);
		store_record_done(&rec);
	}
	rewinddir(d);
}

/* Where the shim itself was, and perhaps a helper of it still is. */
static void clean_shim_cgroup(const char *dir)
{
	hk_autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct store_shim shim;

	if (fd < 0 || store_read_shim(fd, &shim) < 0)
		return;
	if (shim.cgroup && shim.cgroup[0])
		(void)oci_cleanup(shim.cgroup, "shim", NULL, LEAST_MS, NULL);
	store_shim_done(&shim);
}

/* Every container of a dead shim. The first error is told, the others are cleaned all the same. */
static int clean_group(const char *dir, struct hk_err *err)
{
	const uint64_t until_ns = hk_now_ns() + TIMEOUT_MS * 1000000ULL;
	hk_autodir d = opendir(dir);
	struct hk_err one;
	int r = 0;

	if (d)
		kill_group(d);
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		struct store_record rec;

		if (store_read_container(dirfd(d), e->d_name, &rec) < 0)
			continue;
		if (clean_container(dir, &rec, until_ns, &one) < 0 && r == 0) {
			if (err)
				*err = one;
			r = -one.code;
		}
		store_record_done(&rec);
	}
	if (r == 0) {
		sandbox_files_remove(dir);
		clean_shim_cgroup(dir);
		store_remove_dir(dir);
	}
	return r;
}

static void fill_reply(const struct store_record *rec, struct sbx_reply *ret)
{
	ret->pid = (uint32_t)rec->pid;
	ret->exit_status = KILLED;
	(void)clock_gettime(CLOCK_REALTIME, &ret->exited_at);
}

/* <state_dir>/<ns>/<group> of the group that knows the id; false: none does. */
static bool find_group(const char *ns_dir, const char *id, char *dir, size_t size, struct store_record *ret)
{
	hk_autodir d = opendir(ns_dir);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		hk_autofd fd = -1;

		if (e->d_name[0] == '.' || hk_fmt(dir, size, "%s/%s", ns_dir, e->d_name) < 0)
			continue;
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && store_read_container(fd, id, ret) == 0)
			return true;
	}
	return false;
}

/* Nobody listens any more, also not somebody who is dying. */
static bool is_closed(const char *socket_path)
{
	const struct timespec pause = { .tv_nsec = CLOSING_NS };

	for (int i = 0; i < CLOSING_TRIES; i++) {
		if (hk_socket_look(socket_path, NULL) == 0)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return false;
}

/*
 * containerd calls us when its connection breaks, and a process that is killed lets go of its descriptors, all at once, before it is dead for
 * others to see.
 */
static bool is_leaving(pid_t pid)
{
	char path[64];
	hk_autodir d = NULL;
	int n = 0;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	return d && n <= 2; /* "." and ".." */
}

/* *ret_has_process: and the process that is said to listen there is none that ends. */
static int look_at_shim(int dirfd, char *socket_path, size_t size, bool *ret_has_process)
{
	struct store_shim shim;
	int r = store_read_shim(dirfd, &shim);

	if (r < 0) /* none was ever written, or it is no file of ours; else nobody can tell */
		return r == -ENOENT || r == -EPROTO ? 0 : r;
	r = hk_socket_look(shim.socket, NULL);
	*ret_has_process = store_is_running(shim.pid) && !is_leaving(shim.pid);
	(void)hk_fmt(socket_path, size, "%s", shim.socket);
	store_shim_done(&shim);
	return r;
}

/*
 * A socket file outlives its owner, and a pid file may name somebody else by now: a connection tells. Not a connection alone: a child that was being
 * set up dies with its shim, but has the socket open until it does, which is when containerd calls us, and on a busy machine or in a file system that
 * hangs that takes a while. So without the process of the state file there is time for a successor to write its own, and then nobody lives.
 */
static int shim_is_alive(const char *dir, char *socket_path, size_t size)
{
	const struct timespec pause = { .tv_nsec = CLOSING_NS };
	hk_autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool has_process = false;
	int r = 1;

	socket_path[0] = '\0';
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; r > 0 && i < CLOSING_TRIES; i++) {
		r = look_at_shim(fd, socket_path, size, &has_process);
		if (has_process)
			return r;
		if (r > 0)
			(void)nanosleep(&pause, NULL);
	}
	return r < 0 ? r : 0;
}

/* The whole group of a dead shim; its socket last, and only if no new shim has taken the place meanwhile. */
static int clean_dead(const char *dir, struct hk_err *err)
{
	char socket_path[SOCKET_PATH_SIZE];
	int r = shim_is_alive(dir, socket_path, sizeof(socket_path));

	if (r != 0)
		return r > 0 ? 0 : hk_fail(err, HK_INTERNAL, -r, "look whether the shim of %s lives", dir);
	r = clean_group(dir, err);
	if (r == 0 && socket_path[0] && is_closed(socket_path))
		(void)unlink(socket_path);
	return r;
}

int sbx_cleanup(const char *state_dir, const char *ns, const char *id, const char *bundle, struct sbx_reply *ret, struct hk_err *err)
{
	char ns_dir[PATH_MAX], dir[PATH_MAX];
	struct store_record rec;

	(void)bundle; /* the state file knows it, and a hand-written one shall not have us unmount anything */
	memset(ret, 0, sizeof(*ret));
	if (!hk_is_valid_id(ns) || !hk_is_valid_id(id) || hk_fmt(ns_dir, sizeof(ns_dir), "%s/%s", state_dir, ns) < 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "\"%.100s\" in \"%.100s\" is no container", id, ns);
	if (find_group(ns_dir, id, dir, sizeof(dir), &rec)) {
		fill_reply(&rec, ret);
		store_record_done(&rec);
		return clean_dead(dir, err);
	}
	/* The sandbox itself may be long deleted while its shim died later: its group has its name. */
	if (hk_fmt(dir, sizeof(dir), "%s/%s", ns_dir, id) < 0 || access(dir, F_OK) < 0)
		return 0;
	return clean_dead(dir, err);
}
