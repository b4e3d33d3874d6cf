/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/exec.c — one more process in a running container. The shim clones M into the container's cgroup; M joins the
 * namespaces of the init behind its pidfd and, where the pid namespace is another, clones the final process as the
 * shim's own child. process.json replaces the container's process wholly; what it leaves open (capabilities, labels,
 * no_new_privs, and exec_defaults.c) is the container's, as is the filter.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/str.h"
#include "oci/creds.h"
#include "oci/env.h"
#include "oci/exec_defaults.h"
#include "oci/files.h"
#include "oci/launch.h"
#include "oci/limits.h"
#include "oci/lsm.h"
#include "oci/namespaces.h"
#include "oci/process.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum { PROCESS_ARENA_LIMIT = 16 << 20 };

/* ---- the child ---- */

/*
 * Non-dumpable before the first setns: the container's processes share our pid and user namespace from then on, and
 * our memory is a copy of the shim's (CVE-2016-9962). What lies in the shim's files and not in the container's is read
 * now.
 */
static int step_spawn(struct oci_job *j, struct hk_err *err)
{
	int r;

	if (!hk_is_broken(HK_DEFENCE_DUMPABLE) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "become non-dumpable");
	if (j->c->seccomp.fd >= 0) {
		r = oci_seccomp_cache_read(j->c->seccomp.fd, &j->bpf);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "read the seccomp filter");
	}
	/*
	 * Only out here we may raise hard limits; with no user namespace in between the turn comes later, behind
	 * our own needs.
	 */
	return j->c->in_userns ? oci_rlimits_apply(0, j->process, &j->s.at, err) : 0;
}

static int step_join(struct oci_job *j, struct hk_err *err)
{
	char path[32];

	if (!(j->c->ns_mask & CLONE_NEWNS)) { /* its root is in no namespace: by the init's, our own unreaped child's */
		(void)hk_fmt(path, sizeof(path), "/proc/%d/root", j->init_pid);
		j->s.rootfs_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (j->s.rootfs_fd < 0)
			return hk_fail(err, HK_INTERNAL, errno, "open the container's root");
	}
	return j->c->ns_mask ? oci_ns_join_process(j->init_pidfd, j->init_pid, j->c->ns_mask, err) : 0;
}

static int step_fork(struct oci_job *j, struct hk_err *err)
{
	struct oci_clone c = { .flags = CLONE_PARENT, .cgroup_fd = -1, .ret_tid = &j->page->final_pid };
	pid_t pid;

	if (!j->needs_middle)
		return 0;
	pid = oci_clone(&c);
	if (pid == -ENOMEM) /* its pid namespace takes no more processes: the first one is gone */
		return hk_fail_text(err, HK_BAD_STATE, ESRCH, "the container's init has ended");
	if (pid < 0)
		return hk_fail(err, HK_INTERNAL, -pid, "clone the process");
	if (pid > 0)
		_exit(0);
	return 0;
}

/* The root of the container: where the mount namespace put us, if there is one. */
static int step_root(struct oci_job *j, struct hk_err *err)
{
	if (j->s.rootfs_fd >= 0 && (fchdir(j->s.rootfs_fd) < 0 || chroot(".") < 0))
		return hk_fail(err, HK_INTERNAL, errno, "enter the container's root");
	(void)hk_close(j->s.rootfs_fd);
	j->s.rootfs_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (j->s.rootfs_fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open the container's root");
	return j->s.terminal ? oci_tty_open(j->s.rootfs_fd, &j->s.console_master, &j->s.console_slave, err) : 0;
}

static int step_procfs(struct oci_job *j, struct hk_err *err)
{
	bool wanted = (j->apparmor_profile && *j->apparmor_profile) || (j->selinux_label && *j->selinux_label);

	return wanted ? oci_procfs_open(&j->s, err) : 0;
}

static const struct oci_row rows[] = {
	{ OCI_STEP_SPAWN, step_spawn, NULL },
	{ OCI_STEP_AFFINITY, oci_step_affinity, NULL },
	{ OCI_STEP_CGROUP, oci_step_cgroup, NULL },
	{ OCI_STEP_RDT, oci_step_rdt, NULL },
	{ OCI_STEP_OOM_SCORE, oci_step_oom_score, NULL },
	{ OCI_STEP_JOIN_NS, step_join, NULL },
	{ OCI_STEP_FORK, step_fork, NULL },
	{ OCI_STEP_SESSION, oci_step_session, NULL },
	{ OCI_STEP_ROOTFS, step_root, NULL },
	{ OCI_STEP_PROCFS, step_procfs, NULL },
	{ OCI_STEP_KEYRING, oci_step_keyring, NULL }, /* its label goes by our own procfs, not the container's */
	{ OCI_STEP_STDIO, oci_step_stdio, NULL },
	{ OCI_STEP_SCHED, oci_step_sched, NULL },
	{ OCI_STEP_LSM, oci_step_lsm, NULL },
	{ OCI_STEP_ENV, oci_step_env, NULL },
	{ OCI_STEP_RLIMITS, oci_step_rlimits, NULL },
	{ OCI_STEP_CWD, oci_step_cwd_early, NULL },
	{ OCI_STEP_SECCOMP, oci_step_seccomp_privileged, NULL },
	{ OCI_STEP_CREDS, oci_step_creds, NULL },
	{ OCI_STEP_CWD, oci_step_cwd, NULL },
	{ OCI_STEP_LOOKUP, oci_step_lookup, NULL },
	{ OCI_STEP_EXEC, oci_step_exec, NULL },
};

void oci_child_exec(struct oci_job *j)
{
	oci_rows_run(j, rows, HK_ARRAY_SIZE(rows));
	_exit(EXIT_FAILURE);
}

/* ---- the shim ---- */

static int parse(const char *json, size_t len, struct hk_arena *arena, struct oci_process *ret, struct hk_err *err)
{
	int r;

	arena->limit_bytes = PROCESS_ARENA_LIMIT;
	r = oci_process_parse(json, len, arena, ret, err);
	if (r < 0)
		return r;
	if (ret->args.n == 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "process.args: a program is needed");
	if (!ret->cwd || ret->cwd[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "process.cwd: an absolute path is needed");
	return oci_env_check(&ret->env, err);
}

int oci_exec_check(const char *process_json, size_t len, struct hk_err *err)
{
	struct hk_arena arena = { 0 };
	struct oci_process p = { 0 };
	int r = parse(process_json, len, &arena, &p, err);

	if (r == 0)
		r = oci_lsm_check(p.apparmor_profile, p.selinux_label, err);
	hk_arena_done(&arena);
	return r;
}

static int fill(struct oci_job *j, const struct oci_exec_opts *o, struct hk_err *err)
{
	const struct oci_container *c = j->c;
	struct oci_process *p = hk_arena_alloc(&j->arena, sizeof(*p));
	int r = p ? parse(o->process_json, o->process_json_len, &j->arena, p, err)
		  : hk_fail(err, HK_INTERNAL, ENOMEM, "exec");

	if (r < 0)
		return r;
	j->process = p;
	j->is_exec = true;
	j->needs_middle = (c->ns_mask & CLONE_NEWPID) != 0;
	j->init_pidfd = o->init_pidfd;
	j->init_pid = o->init_pid;
	if (!c->in_userns)
		oci_caps_limit(p->caps);
	j->nnp = p->has_no_new_privileges ? p->no_new_privileges : c->no_new_privs;
	oci_exec_defaults_fill(c->exec_defaults, p);
	j->caps = p->has_capabilities ? p->caps : c->caps;
	j->apparmor_profile = p->apparmor_profile ? p->apparmor_profile : c->apparmor_profile;
	j->selinux_label = p->selinux_label ? p->selinux_label : c->selinux_label;
	r = oci_lsm_check(j->apparmor_profile, j->selinux_label, err);
	return r < 0 ? r : oci_job_stdio(j, o->terminal, o->stdio, err);
}

int oci_exec(struct oci_container *c, const struct oci_exec_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	struct oci_job *j;
	int r;

	/* It would join and then stand still for ever, before it can tell anything. */
	if (oci_cgroup_frozen(c->cgroup) == 1)
		return hk_fail_text(err, HK_BAD_STATE, EBUSY, "cannot exec in a paused container");
	r = oci_cgroup_check_thawed(c->cgroup, err);
	if (r < 0)
		return r;
	j = oci_job_new(c);
	if (!j)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "exec");
	oci_timing_mark(&j->times, OCI_MARK_BEGIN);
	r = fill(j, o, err);
	oci_timing_mark(&j->times, OCI_MARK_PARSED);
	if (r == 0 && o->tree)
		r = oci_cgroup_sub_make(c->cgroup, o->tree, &j->tree_fd, err);
	if (r == 0)
		return oci_launch_begin(c, &j, fn, arg, err);
	oci_job_free(j);
	return r;
}
