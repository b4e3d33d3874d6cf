/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/namespaces.c — the one table of namespace kinds; opening, checking and joining them; clone3 and setns live here
 * and nowhere else. Runs partly in the shim (open, maps) and partly in the set-up child (join). See namespaces(7),
 * user_namespaces(7), time_namespaces(7).
 */
#include "oci/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

enum { MAP_FILE_MAX = 64 << 10 }; /* 340 lines of three numbers */

static const struct {
	int flag;
	const char *name; /* runtime-spec */
	const char *file; /* below /proc/<pid>/ns */
} kinds[OCI_N_NS] = {
	[OCI_NS_USER] = { CLONE_NEWUSER, "user", "user" },
	[OCI_NS_CGROUP] = { CLONE_NEWCGROUP, "cgroup", "cgroup" },
	[OCI_NS_IPC] = { CLONE_NEWIPC, "ipc", "ipc" },
	[OCI_NS_UTS] = { CLONE_NEWUTS, "uts", "uts" },
	[OCI_NS_NET] = { CLONE_NEWNET, "network", "net" },
	[OCI_NS_PID] = { CLONE_NEWPID, "pid", "pid_for_children" },
	[OCI_NS_MNT] = { CLONE_NEWNS, "mount", "mnt" },
	[OCI_NS_TIME] = { CLONE_NEWTIME, "time", "time_for_children" },
};

uint64_t oci_ns_flag(enum oci_ns ns)
{
	return (uint64_t)(unsigned)kinds[ns].flag;
}

bool oci_ns_is_known(enum oci_ns ns)
{
	char path[64];

	(void)hk_fmt(path, sizeof(path), "/proc/self/ns/%s", kinds[ns].file);
	return access(path, F_OK) == 0 || errno != ENOENT;
}

uint64_t oci_ns_new_mask(const struct oci_spec *s)
{
	uint64_t mask = 0;

	for (int i = 0; i < OCI_N_NS; i++)
		if (s->ns[i].is_set && !s->ns[i].path)
			mask |= oci_ns_flag((enum oci_ns)i);
	return mask;
}

uint64_t oci_ns_path_mask(const struct oci_spec *s)
{
	uint64_t mask = 0;

	for (int i = 0; i < OCI_N_NS; i++)
		if (s->ns[i].is_set && s->ns[i].path)
			mask |= oci_ns_flag((enum oci_ns)i);
	return mask;
}

bool oci_ns_needs_middle(const struct oci_spec *s)
{
	return s->ns[OCI_NS_USER].is_set || s->ns[OCI_NS_TIME].is_set ||
	       (s->ns[OCI_NS_PID].is_set && s->ns[OCI_NS_PID].path);
}

static const char *kind_name(int flag)
{
	for (int i = 0; i < OCI_N_NS; i++)
		if (kinds[i].flag == flag)
			return kinds[i].name;
	return "unknown";
}

/* O_NONBLOCK: a FIFO at that path must not stop the loop. */
static int open_path(enum oci_ns ns, const char *path, int *ret_fd, struct hk_err *err)
{
	hk_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int type;

	if (fd < 0)
		return hk_fail(err, HK_INVALID, errno, "%s namespace %s", kinds[ns].name, path);
	type = ioctl(fd, NS_GET_NSTYPE);
	if (type < 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "%s namespace %s: not a namespace", kinds[ns].name, path);
	if (type != kinds[ns].flag)
		return hk_fail_text(err, HK_INVALID, EINVAL, "%s namespace %s: is a %s namespace", kinds[ns].name, path,
		    kind_name(type));
	*ret_fd = hk_take_fd(&fd);
	return 0;
}

int oci_ns_open_paths(const struct oci_spec *s, int ret_fds[OCI_N_NS], struct hk_err *err)
{
	for (int i = 0; i < OCI_N_NS; i++)
		ret_fds[i] = -1;
	for (int i = 0; i < OCI_N_NS; i++) {
		int r;

		if (!s->ns[i].is_set || !s->ns[i].path)
			continue;
		r = open_path((enum oci_ns)i, s->ns[i].path, &ret_fds[i], err);
		if (r < 0) {
			oci_ns_close_paths(ret_fds);
			return r;
		}
	}
	return 0;
}

void oci_ns_close_paths(int fds[OCI_N_NS])
{
	for (int i = 0; i < OCI_N_NS; i++)
		fds[i] = hk_close(fds[i]);
}

static int join_one(enum oci_ns ns, int fd, struct hk_err *err)
{
	if (setns(fd, kinds[ns].flag) == 0)
		return 0;
	/* ENOMEM comes from a pid namespace whose first process is gone. */
	return hk_fail(err, HK_INTERNAL, errno, "join %s namespace", kinds[ns].name);
}

int oci_ns_join(const int fds[OCI_N_NS], struct hk_err *err)
{
	bool again[OCI_N_NS] = { false };
	int r;

	for (int i = OCI_NS_USER + 1; i < OCI_N_NS; i++) {
		if (fds[i] < 0)
			continue;
		r = join_one((enum oci_ns)i, fds[i], err);
		if (r == -EPERM && fds[OCI_NS_USER] >= 0)
			again[i] = true;
		else if (r < 0)
			return r;
	}
	if (fds[OCI_NS_USER] < 0)
		return 0;
	r = join_one(OCI_NS_USER, fds[OCI_NS_USER], err);
	if (r == 0)
		r = oci_ns_become_root(err);
	for (int i = OCI_NS_USER + 1; r == 0 && i < OCI_N_NS; i++)
		if (again[i])
			r = join_one((enum oci_ns)i, fds[i], err);
	return r;
}

/*
 * The way of kernels before 5.8. All files are opened before the first setns, since joining the mount namespace
 * hides them.
 */
static int join_by_files(pid_t pid, uint64_t mask, struct hk_err *err)
{
	int fds[OCI_N_NS], r = 0;
	char path[64];

	for (int i = 0; i < OCI_N_NS; i++)
		fds[i] = -1;
	for (int i = 0; r == 0 && i < OCI_N_NS; i++) {
		if (!(mask & oci_ns_flag((enum oci_ns)i)))
			continue;
		(void)hk_fmt(path, sizeof(path), "/proc/%d/ns/%s", pid, kinds[i].file);
		r = open_path((enum oci_ns)i, path, &fds[i], err);
	}
	if (r == 0)
		r = oci_ns_join(fds, err);
	oci_ns_close_paths(fds);
	return r;
}

int oci_ns_join_process(int pidfd, pid_t pid, uint64_t mask, struct hk_err *err)
{
	if (setns(pidfd, (int)mask) < 0) {
		if (errno == ESRCH)
			return hk_fail_text(err, HK_BAD_STATE, ESRCH, "the container's init has ended");
		if (errno != EINVAL && errno != EBADF)
			return hk_fail(err, HK_INTERNAL, errno, "join the container's namespaces");
		return join_by_files(pid, mask, err);
	}
	return (mask & CLONE_NEWUSER) ? oci_ns_become_root(err) : 0;
}

int oci_ns_return(int mnt_fd, struct hk_err *err)
{
	return join_one(OCI_NS_MNT, mnt_fd, err);
}

int oci_ns_become_root(struct hk_err *err)
{
	if (setresgid(0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "setresgid 0 in the user namespace");
	/* EPERM: the namespace has setgroups denied, then nobody in it can have groups. */
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return hk_fail(err, HK_INTERNAL, errno, "setgroups in the user namespace");
	if (setresuid(0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "setresuid 0 in the user namespace");
	return 0;
}

/* user_namespaces(7): one write, less than a page. */
static int write_map(int dirfd, const char *file, const struct oci_idmaps *maps, struct hk_err *err)
{
	char text[4096];
	size_t at = 0;
	int r;

	for (size_t i = 0; i < maps->n; i++) {
		const struct oci_idmap *m = &maps->v[i];

		r = hk_fmt(text + at, sizeof(text) - at, "%u %u %u\n", m->container_id, m->host_id, m->size);
		if (r < 0)
			return hk_fail_text(err, HK_INVALID, E2BIG, "%s: too many id mappings", file);
		at += (size_t)r;
	}
	if (at == 0)
		return 0;
	r = hk_write_file_at(dirfd, file, text);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write %s", file) : 0;
}

static int write_offsets(int dirfd, const struct oci_spec *s, struct hk_err *err)
{
	char text[128];
	int r;

	if (!s->ns[OCI_NS_TIME].is_set || s->ns[OCI_NS_TIME].path)
		return 0;
	if (!s->time_monotonic_s.is_set && !s->time_monotonic_ns.is_set && !s->time_boottime_s.is_set &&
	    !s->time_boottime_ns.is_set)
		return 0;
	(void)hk_fmt(text, sizeof(text), "monotonic %lld %lld\nboottime %lld %lld\n", (long long)s->time_monotonic_s.v,
	    (long long)s->time_monotonic_ns.v, (long long)s->time_boottime_s.v, (long long)s->time_boottime_ns.v);
	r = hk_write_file_at(dirfd, "timens_offsets", text);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write timens_offsets") : 0;
}

static bool has_map(const struct oci_idmaps *maps, const struct oci_idmap *m)
{
	for (size_t i = 0; i < maps->n; i++)
		if (maps->v[i].container_id == m->container_id && maps->v[i].host_id == m->host_id &&
		    maps->v[i].size == m->size)
			return true;
	return false;
}

/*
 * A namespace that is joined has its maps, and CRI sends them along: other ones would change who owns what the set-up
 * makes. Opened by us, the file speaks of our own ids, however deep the namespace is.
 */
static int check_map(int dirfd, const char *file, const struct oci_idmaps *maps, struct hk_err *err)
{
	hk_autofree char *text = NULL;
	size_t len, n = 0;
	int r = hk_read_file_alloc(dirfd, file, MAP_FILE_MAX, &text, &len);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read %s of the user namespace", file);
	for (const char *line = text; *line; n++) {
		struct oci_idmap m;

		if (sscanf(line, "%u %u %u", &m.container_id, &m.host_id, &m.size) != 3 || !has_map(maps, &m))
			return hk_fail_text(err, HK_INVALID, EINVAL, "the user namespace has \"%.*s\" in its %s",
			    (int)strcspn(line, "\n"), line, file);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	if (n != maps->n)
		return hk_fail_text(err, HK_INVALID, EINVAL, "the user namespace has %zu of these %zu mappings", n, maps->n);
	return 0;
}

static int settle_maps(int dirfd, const struct oci_spec *s, struct hk_err *err)
{
	const struct oci_namespace *user = &s->ns[OCI_NS_USER];
	int (*settle)(int, const char *, const struct oci_idmaps *, struct hk_err *) = user->path ? check_map : write_map;
	int r;

	if (!user->is_set || s->uid_mappings.n == 0)
		return 0;
	r = settle(dirfd, "uid_map", &s->uid_mappings, err);
	if (r < 0)
		return user->path ? hk_wrap(err, "linux.uidMappings: not those of %s", user->path) : r;
	r = settle(dirfd, "gid_map", &s->gid_mappings, err);
	return r < 0 && user->path ? hk_wrap(err, "linux.gidMappings: not those of %s", user->path) : r;
}

int oci_ns_settle_maps(pid_t pid, const struct oci_spec *s, struct hk_err *err)
{
	char path[32];
	hk_autofd dirfd = -1;
	int r;

	(void)hk_fmt(path, sizeof(path), "/proc/%d", pid);
	/* The process is our own unreaped child: the number cannot have been given to another. */
	dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s", path);
	r = settle_maps(dirfd, s, err);
	return r < 0 ? r : write_offsets(dirfd, s, err);
}

int oci_ns_loopback_up(struct hk_err *err)
{
	hk_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };

	if (fd < 0) /* a kernel without IPv4 still takes interface ioctls on any socket */
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "socket for lo");
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set lo up");
	return 0;
}

/* What clone3 does by a flag: nobody's handlers run in the child. */
static void clear_handlers(void)
{
	for (int sig = 1; sig < _NSIG; sig++) {
		struct sigaction a;

		if (sigaction(sig, NULL, &a) == 0 && a.sa_handler != SIG_IGN && a.sa_handler != SIG_DFL)
			(void)signal(sig, SIG_DFL);
	}
}

/*
 * By clone(2): kernels before 5.5, and filters that hide clone3 since they cannot read its argument. One pointer serves for a pidfd and for a
 * pid there, and nobody asks for both; a cgroup it does not know.
 */
static pid_t clone_classic(const struct oci_clone *c, int *pidfd)
{
	unsigned long flags = (unsigned long)c->flags | (unsigned)c->exit_signal;
	uintptr_t out = c->ret_pidfd ? (uintptr_t)pidfd : (uintptr_t)c->ret_tid;
	long pid;

	if (c->cgroup_fd >= 0 || (c->ret_pidfd && c->ret_tid))
		return -ENOSYS;
	if (out)
		flags |= c->ret_pidfd ? CLONE_PIDFD : CLONE_PARENT_SETTID;
#ifdef __s390x__
	pid = syscall(SYS_clone, NULL, flags, out, NULL, NULL);
#else
	pid = syscall(SYS_clone, flags, NULL, out, NULL, NULL);
#endif
	if (pid == 0)
		clear_handlers();
	return pid < 0 ? -errno : (pid_t)pid;
}

pid_t oci_clone(const struct oci_clone *c)
{
	struct clone_args a = { .flags = c->flags | CLONE_CLEAR_SIGHAND,
		.exit_signal = (uint64_t)(unsigned)c->exit_signal };
	int pidfd = -1; /* the kernel writes the number of one that it then takes back, where the cgroup has no room or is gone */
	long pid;

	if (c->ret_pidfd) {
		a.flags |= CLONE_PIDFD;
		a.pidfd = (uint64_t)(uintptr_t)&pidfd;
	}
	if (c->ret_tid) {
		a.flags |= CLONE_PARENT_SETTID;
		a.parent_tid = (uint64_t)(uintptr_t)c->ret_tid;
	}
	if (c->cgroup_fd >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)(unsigned)c->cgroup_fd;
	}
	pid = syscall(SYS_clone3, &a, sizeof(a));
	if (pid < 0)
		pid = -errno;
	if (pid == -ENOSYS || pid == -EPERM)
		pid = c->cgroup_fd >= 0 ? -ENOSYS : clone_classic(c, &pidfd);
	if (pid > 0 && c->ret_pidfd)
		*c->ret_pidfd = pidfd;
	return (pid_t)pid;
}
