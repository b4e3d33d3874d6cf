/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/child.c — what a create's child does, as tables of steps in the order of the runtime-spec: I alone where one
 * clone makes all namespaces, M then I where a pid, time or user namespace needs a process in between. In comes the
 * job, by the clone's copy of the shim's memory; out go messages (oci/sync.h) and, at the end, the container's
 * program.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/files.h"
#include "oci/launch.h"
#include "oci/namespaces.h"
#include "oci/process.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/*
 * Non-dumpable before anything is joined: nobody in a shared pid or user namespace may trace us or walk our fds, exe
 * and memory, which is a copy of the shim's (CVE-2016-9962, CVE-2019-5736). The shim's death ends a half-made
 * container.
 */
static int step_spawn(struct oci_job *j, struct hk_err *err)
{
	(void)j;
	if (!hk_is_broken(HK_DEFENCE_DUMPABLE) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "become non-dumpable");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set the parent-death signal");
	(void)prctl(PR_SET_NAME, "husk:init", 0, 0, 0);
	(void)umask(0); /* modes are written as the spec has them */
	return 0;
}

static int step_join(struct oci_job *j, struct hk_err *err)
{
	int r = oci_ns_join(j->ns_fds, err);

	oci_ns_close_paths(j->ns_fds);
	return r;
}

/* Best effort, and only we have the right to (see oci_creds_own_stdio): FIFOs and pipes, never a device of the host that a client named. */
static void own_stdio(const struct oci_job *j)
{
	struct stat st;

	for (int i = 0; i < 3; i++)
		if (j->s.stdio[i] >= 0 && fstat(j->s.stdio[i], &st) == 0 && S_ISFIFO(st.st_mode))
			(void)!fchown(j->s.stdio[i], j->s.host_uid, (gid_t)-1);
}

/*
 * M: a new user namespace, with a new time namespace below it; the shim writes the maps and offsets while we wait, or
 * looks at those of a user namespace that was joined.
 */
static int step_userns(struct oci_job *j, struct hk_err *err)
{
	uint64_t mask = oci_ns_new_mask(j->s.spec) & (CLONE_NEWUSER | CLONE_NEWTIME);
	bool is_checked = j->s.spec->ns[OCI_NS_USER].path && j->s.spec->uid_mappings.n > 0;
	int r;

	if (!mask && !is_checked)
		return 0;
	if ((mask & CLONE_NEWUSER) && j->s.host_uid != 0 && !j->s.terminal)
		own_stdio(j);
	if (mask && unshare((int)mask) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "unshare %s namespace", mask & CLONE_NEWUSER ? "user" : "time");
	r = oci_sync_send(j->s.sync_fd, OCI_MSG_WANT_MAP, 0, -1);
	if (r == 0)
		r = oci_sync_expect(j->s.sync_fd, OCI_MSG_DONE);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "wait for id maps");
	return (mask & CLONE_NEWUSER) ? oci_ns_become_root(err) : 0;
}

static void run_init(struct oci_job *j);

/* M's last step: the final process is a child of the shim itself, and its pid is in the page before it runs. */
static int step_fork(struct oci_job *j, struct hk_err *err)
{
	struct oci_clone c = { .flags = j->clone_mask | CLONE_PARENT, .cgroup_fd = -1, .ret_tid = &j->page->final_pid };
	pid_t pid = oci_clone(&c);

	if (pid == -ENOMEM && j->ns_fds[OCI_NS_PID] == -1 && j->s.spec->ns[OCI_NS_PID].path)
		return hk_fail_text(err, HK_BAD_STATE, ENOMEM, "pid namespace %s: its first process has ended",
		    j->s.spec->ns[OCI_NS_PID].path);
	if (pid < 0)
		return hk_fail(
		    err, HK_INTERNAL, -pid, "clone the init with namespaces %#llx", (unsigned long long)j->clone_mask);
	if (pid > 0)
		_exit(0);
	run_init(j);
	return -EIO;
}

static int step_network(struct oci_job *j, struct hk_err *err)
{
	int r;

	if (j->late_netns && unshare(CLONE_NEWNET) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "unshare network namespace");
	r = (oci_ns_new_mask(j->s.spec) & CLONE_NEWNET) ? oci_ns_loopback_up(err) : 0;

	if (r < 0 || j->s.spec->n_net_devices == 0)
		return r;
	r = oci_sync_send(j->s.sync_fd, OCI_MSG_WANT_NET, 0, -1);
	if (r == 0)
		r = oci_sync_expect(j->s.sync_fd, OCI_MSG_DONE);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "wait for network devices") : 0;
}

static int step_hostname(struct oci_job *j, struct hk_err *err)
{
	const struct oci_spec *s = j->s.spec;

	if (s->hostname && *s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set hostname \"%s\"", s->hostname);
	if (s->domainname && *s->domainname && setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set domainname \"%s\"", s->domainname);
	return 0;
}

static int step_cgroup(struct oci_job *j, struct hk_err *err)
{
	return j->is_cgroup_begun ? 0 : oci_step_cgroup(j, err);
}

/* Where it is made meanwhile it is waited for as late as can be; earlier only if it is to be mounted. */
static int step_cgroup_seen(struct oci_job *j, struct hk_err *err)
{
	const struct oci_spec *s = j->s.spec;

	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct oci_mount *m = &s->mounts[i];

		if ((m->type && hk_has_prefix(m->type, "cgroup")) || (m->source && hk_has_prefix(m->source, "/sys/fs/cgroup")))
			return oci_step_cgroup(j, err);
	}
	return 0;
}

static int step_cgroup_hold(struct oci_job *j, struct hk_err *err)
{
	j->holds_cgroup = j->enters_cgroup;
	return j->enters_cgroup ? oci_cgroup_hold(j->c->cgroup, j->cgroup_fds, j->is_in_v2, err) : 0;
}

static int step_hooks(struct oci_job *j, struct hk_err *err)
{
	const struct oci_spec *s = j->s.spec;
	int r;

	if (s->hooks[OCI_HOOK_PRESTART].n == 0 && s->hooks[OCI_HOOK_CREATE_RUNTIME].n == 0)
		return 0;
	r = oci_sync_send(j->s.sync_fd, OCI_MSG_WANT_HOOKS, 0, -1);
	if (r == 0)
		r = oci_sync_expect(j->s.sync_fd, OCI_MSG_DONE);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "wait for the runtime's hooks") : 0;
}

static int run_hooks(
    struct oci_job *j, enum oci_hook_kind kind, const char *name, const char *status, struct hk_err *err)
{
	const struct oci_spec *s = j->s.spec;
	struct oci_hook_state state = {
		.version = s->version,
		.id = j->s.id,
		.status = status,
		.bundle = j->s.bundle,
		.pid = getpid(), /* as the container sees it */
		.annotations = &s->annotations,
		.traceparent = j->c->traceparent,
	};

	if (s->hooks[kind].n == 0)
		return 0;
	return oci_hooks_run_here(&s->hooks[kind], name, &state, kind == OCI_HOOK_START_CONTAINER ? j->env : NULL, err);
}

static int step_hooks_create(struct oci_job *j, struct hk_err *err)
{
	if (j->s.spec->hooks[OCI_HOOK_CREATE_CONTAINER].n > 0 && fchdir(j->s.rootfs_fd) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "enter the rootfs for createContainer hooks");
	return run_hooks(j, OCI_HOOK_CREATE_CONTAINER, "createContainer", "creating", err);
}

static int step_hooks_start(struct oci_job *j, struct hk_err *err)
{
	return run_hooks(j, OCI_HOOK_START_CONTAINER, "startContainer", "created", err);
}

static int step_console(struct oci_job *j, struct hk_err *err)
{
	return j->s.terminal ? oci_console_create(&j->s, err) : 0;
}

static void close_from(int first)
{
	enum { HIGHEST_FD = 1 << 16 }; /* as in hk_cloexec_from */

	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return;
	for (int fd = first; fd < HIGHEST_FD; fd++)
		(void)close(fd);
}

/*
 * The wait may be long. Copies of the shim's other fds are given back before it, lest a pipe of a neighbour never
 * ends; nothing but the socket is needed any more.
 */
static int step_gate(struct oci_job *j, struct hk_err *err)
{
	enum { GATE_FD = STDERR_FILENO + 1 };
	int r;

	if (j->s.sync_fd != GATE_FD) {
		if (dup3(j->s.sync_fd, GATE_FD, O_CLOEXEC) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "move the socket");
		j->s.sync_fd = GATE_FD;
	}
	if (!hk_is_broken(HK_DEFENCE_CLOSE_FDS))
		close_from(GATE_FD + 1);
	r = oci_sync_send(j->s.sync_fd, OCI_MSG_CREATED, 0, -1);
	if (r == 0)
		r = oci_sync_expect(j->s.sync_fd, OCI_MSG_GO);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "wait for start");
	if (!j->s.spec->has_process)
		return hk_fail_text(err, HK_INVALID, EINVAL, "process: config.json has none to start");
	return 0;
}

/* Host privileges, host mounts: a process outside of a new user namespace, be it M or I. */
static const struct oci_row prepare_rows[] = {
	{ OCI_STEP_ROOTFS_PREPARE, NULL, oci_rootfs_prepare },
	{ OCI_STEP_MOUNTS_PREPARE, NULL, oci_mounts_prepare },
};
static const struct oci_row first_rows[] = {
	{ OCI_STEP_SPAWN, step_spawn, NULL },
	{ OCI_STEP_CGROUP, step_cgroup, NULL },
	{ OCI_STEP_RDT, oci_step_rdt, NULL },
	{ OCI_STEP_OOM_SCORE, oci_step_oom_score, NULL },
};
static const struct oci_row middle_rows[] = {
	{ OCI_STEP_JOIN_NS, step_join, NULL },
	{ OCI_STEP_USERNS, step_userns, NULL },
	{ OCI_STEP_FORK, step_fork, NULL },
};
static const struct oci_row own_rows[] = {
	{ OCI_STEP_SESSION, oci_step_session, NULL },
	{ OCI_STEP_NETWORK, step_network, NULL },
	{ OCI_STEP_HOSTNAME, step_hostname, NULL },
};
static const struct oci_row init_rows[] = {
	{ OCI_STEP_ROOTFS, NULL, oci_rootfs_attach },
	{ OCI_STEP_PROCFS, NULL,
	    oci_procfs_open }, /* before any mask: a user namespace may mount proc only while a whole one is seen */
	{ OCI_STEP_KEYRING, oci_step_keyring, NULL }, /* its label goes by that procfs */
	{ OCI_STEP_CGROUP, step_cgroup_seen, NULL },
	{ OCI_STEP_MOUNTS, NULL, oci_mounts_attach },
	{ OCI_STEP_DEVICES, NULL, oci_devices_create },
	{ OCI_STEP_CONSOLE, step_console, NULL },
	{ OCI_STEP_MAKE_CWD, NULL, oci_rootfs_make_cwd },
	{ OCI_STEP_HOOKS, step_hooks, NULL },
	{ OCI_STEP_HOOKS_CREATE, step_hooks_create, NULL },
	{ OCI_STEP_CGROUP, step_cgroup_hold, NULL }, /* the host's file systems are lost from here */
	{ OCI_STEP_PIVOT, NULL, oci_rootfs_pivot },
	{ OCI_STEP_SYSCTL, NULL, oci_sysctl_write }, /* before /proc/sys becomes read-only */
	{ OCI_STEP_MASKS, NULL, oci_masks_apply },
	{ OCI_STEP_ROOTFS_FINISH, NULL, oci_rootfs_finish },
	{ OCI_STEP_HOST_MOUNTS, NULL, oci_rootfs_leave },
	{ OCI_STEP_CGROUP, oci_step_cgroup, NULL },
	{ OCI_STEP_STDIO, oci_step_stdio, NULL },
	{ OCI_STEP_SCHED, oci_step_sched, NULL },
	{ OCI_STEP_LSM, oci_step_lsm, NULL },
	{ OCI_STEP_ENV, oci_step_env, NULL },
	{ OCI_STEP_RLIMITS, oci_step_rlimits, NULL },
	{ OCI_STEP_CWD, oci_step_cwd_early, NULL },
	{ OCI_STEP_SECCOMP, oci_step_seccomp_privileged, NULL }, /* takes CAP_SYS_ADMIN unless no_new_privs is set */
	{ OCI_STEP_CREDS, oci_step_creds, NULL },
	{ OCI_STEP_CWD, oci_step_cwd, NULL },
	{ OCI_STEP_LOOKUP, oci_step_lookup, NULL },
	{ OCI_STEP_GATE, step_gate, NULL },
	{ OCI_STEP_HOOKS_START, step_hooks_start, NULL },
	{ OCI_STEP_EXEC, oci_step_exec, NULL },
};

static void run_init(struct oci_job *j)
{
	if (j->needs_middle) {
		static const struct oci_row again[] = { { OCI_STEP_SPAWN, step_spawn, NULL } };

		oci_rows_run(j, again, HK_ARRAY_SIZE(again)); /* neither survives the change of ids in M */
	}
	oci_rows_run(j, own_rows, HK_ARRAY_SIZE(own_rows));
	if (!j->s.in_userns)
		oci_rows_run(j, prepare_rows, HK_ARRAY_SIZE(prepare_rows));
	oci_rows_run(j, init_rows, HK_ARRAY_SIZE(init_rows));
}

void oci_child_create(struct oci_job *j)
{
	oci_rows_run(j, first_rows, HK_ARRAY_SIZE(first_rows));
	if (j->needs_middle) {
		if (j->s.in_userns)
			oci_rows_run(j, prepare_rows, HK_ARRAY_SIZE(prepare_rows));
		oci_rows_run(j, middle_rows, HK_ARRAY_SIZE(middle_rows));
	} else {
		static const struct oci_row join[] = { { OCI_STEP_JOIN_NS, step_join, NULL } };

		oci_rows_run(j, join, HK_ARRAY_SIZE(join));
		run_init(j);
	}
	_exit(EXIT_FAILURE);
}
