/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/process.c — the steps that turn a set-up child into the container's program, for an init and for an exec alike:
 * session, stdio, scheduling, label, filter, rights, working directory, lookup, execve. Runs after clone in the child:
 * no stdio, no return into the shim's stack, only _exit. The order of the steps is the table's of the caller
 * (oci/child.c, oci/exec.c).
 */
#include "oci/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/creds.h"
#include "oci/env.h"
#include "oci/files.h"
#include "oci/launch.h"
#include "oci/limits.h"
#include "oci/lsm.h"
#include "oci/notify.h"
#include "oci/path.h"
#include "oci/rdt.h"
#include "oci/reaper.h"

enum {
	OCI_REAPER_MAX_ARGS = 4096,
	EXIT_SETUP = 1,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	DEFAULT_UMASK = 0022,
	NULL_MAJOR = 1,
	NULL_MINOR = 3
};

void oci_rows_fail(struct oci_job *j, const struct hk_err *err)
{
	unsigned step = j->page->step;

	j->page->index = j->s.at;
	oci_sync_set_failed(&j->page->failed, step, j->s.at, err);
	oci_sync_fail(j->s.sync_fd, step, j->s.at, err);
	if (step != OCI_STEP_EXEC && step != OCI_STEP_LOOKUP)
		_exit(EXIT_SETUP);
	_exit(err->code == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE); /* as shells tell it */
}

void oci_rows_run(struct oci_job *j, const struct oci_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct hk_err err = { 0 };
		int r;

		j->s.at = -1;
		j->page->step = (uint16_t)rows[i].step;
		r = rows[i].fn ? rows[i].fn(j, &err) : rows[i].file_fn(&j->s, &err);
		oci_timing_step(j->page, rows[i].step);
		if (r == 0)
			continue;
		if (err.code == 0)
			(void)hk_fail(&err, HK_INTERNAL, r < 0 ? -r : EIO, "%s", oci_step_name(rows[i].step));
		oci_rows_fail(j, &err);
	}
}

int oci_step_session(struct oci_job *j, struct hk_err *err)
{
	(void)j;
	if (setsid() < 0)
		return hk_fail(err, HK_INTERNAL, errno, "setsid");
	return 0;
}

int oci_step_affinity(struct oci_job *j, struct hk_err *err)
{
	const char *initial = j->is_exec ? j->process->exec_cpu_affinity_initial : NULL;

	return initial ? oci_affinity_apply(initial, err) : 0;
}

static int enter_tree(const struct oci_job *j, struct hk_err *err)
{
	int r = j->tree_fd < 0 ? 0 : hk_write_file_at(j->tree_fd, "tasks", "0"); /* v1: waits for nobody */

	if (r == -ENOENT)
		r = hk_write_file_at(j->tree_fd, "cgroup.procs", "0");
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "enter the exec's own cgroup") : 0;
}

/* Where somebody else makes it: systemd, or the shim meanwhile. */
static int await_cgroup(const struct oci_job *j, struct hk_err *err)
{
	bool is_unit = !j->is_exec && oci_cgroup_is_unit(j->c->cgroup);
	int r = is_unit ? oci_sync_send(j->s.sync_fd, OCI_MSG_WANT_SCOPE, 0, -1) : 0;

	if (r == 0 && (is_unit || j->is_cgroup_begun))
		r = oci_sync_expect(j->s.sync_fd, is_unit ? OCI_MSG_DONE : OCI_MSG_MADE);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "wait for %s", is_unit ? "systemd" : "the cgroup") : 0;
}

int oci_step_cgroup(struct oci_job *j, struct hk_err *err)
{
	int r = j->enters_cgroup ? await_cgroup(j, err) : 0;

	if (r < 0 || !j->enters_cgroup)
		return r;
	/* A scope of systemd's has us in it by now; a slice of its has not. */
	if (j->holds_cgroup)
		r = oci_cgroup_enter_held(j->c->cgroup, j->cgroup_fds, j->is_in_v2, err);
	else
		r = oci_cgroup_enter(j->c->cgroup, j->init_pid, j->is_in_v2, err);
	if (r < 0)
		return r;
	j->enters_cgroup = false;
	/* The root of a cgroup namespace is where its maker is at that moment: so only now. */
	if (j->late_cgroupns && unshare(CLONE_NEWCGROUP) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "unshare cgroup namespace");
	return enter_tree(j, err);
}

int oci_step_rdt(struct oci_job *j, struct hk_err *err)
{
	return j->c->rdt ? oci_rdt_enter(j->c->rdt, j->is_exec, err) : 0;
}

int oci_step_oom_score(struct oci_job *j, struct hk_err *err)
{
	return oci_oom_score_apply(j->process, err);
}

int oci_step_keyring(struct oci_job *j, struct hk_err *err)
{
	return j->c->no_new_keyring ? 0 : oci_keyring_join(j->s.proc_fd, j->c->id, j->selinux_label, err);
}

/*
 * The container's own null device where it has a true one, since a path of the host means nothing in there; else
 * the host's.
 */
static int null_stdio(struct oci_job *j)
{
	hk_autofd fd = -1;
	struct stat st;

	if (oci_path_open_in(
		j->s.rootfs_fd, "dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, &fd) == 0 &&
	    fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(NULL_MAJOR, NULL_MINOR) &&
	    fcntl(fd, F_SETFL, O_RDWR) == 0) {
		(void)hk_close(j->null_fd);
		j->null_fd = hk_take_fd(&fd);
	}
	return j->null_fd;
}

static int place_stdio(struct oci_job *j, struct hk_err *err)
{
	int null_fd = j->null_fd >= 0 ? null_stdio(j) : -1;
	int from[3];

	for (int i = 0; i < 3; i++) {
		from[i] = j->s.stdio[i] >= 0 ? j->s.stdio[i] : null_fd;
		if (from[i] <= STDERR_FILENO) /* would be overwritten before its turn, or stay CLOEXEC */
			from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		if (from[i] < 0)
			return hk_fail(err, HK_INTERNAL, errno, "duplicate stdio %d", i);
	}
	for (int i = 0; i < 3; i++)
		if (dup2(from[i], i) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "dup2 stdio %d", i);
	return 0;
}

int oci_step_stdio(struct oci_job *j, struct hk_err *err)
{
	const struct oci_process *p = j->process;
	int r;

	if (!j->s.terminal) {
		r = place_stdio(j, err);
	} else {
		r = oci_sync_send(j->s.sync_fd, OCI_MSG_FDS, OCI_FDS_CONSOLE, j->s.console_master);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "send the console");
		j->s.console_master = hk_close(j->s.console_master);
		r = oci_tty_adopt(j->s.console_slave, p->console_rows, p->console_cols, err);
	}
	return r == 0 && p->uid != 0 ? oci_creds_own_stdio(p->uid, err) : r;
}

int oci_step_sched(struct oci_job *j, struct hk_err *err)
{
	const struct oci_process *p = j->process;
	int r;

	(void)umask(p->has_umask ? (mode_t)p->umask : DEFAULT_UMASK);
	r = oci_affinity_apply(j->is_exec ? p->exec_cpu_affinity_final : NULL, err);
	if (r == 0)
		r = oci_sched_apply(p, err);
	if (r == 0 && j->c->has_personality)
		r = oci_personality_apply(j->c->personality, err);
	if (r == 0)
		r = oci_mempolicy_apply(&j->c->memory_policy, err);
	return r;
}

int oci_step_lsm(struct oci_job *j, struct hk_err *err)
{
	int r = oci_lsm_apply(j->s.proc_fd, j->apparmor_profile, j->selinux_label, err);

	/* Not one fd to a procfs may be there when the container's code, a hook included, begins to run. */
	j->s.proc_fd = hk_close(j->s.proc_fd);
	return r;
}

/*
 * As late as CAP_SYS_RESOURCE allows. In a user namespace hard limits cannot be raised at all: see on_created
 * (create) and step_spawn (exec).
 */
int oci_step_rlimits(struct oci_job *j, struct hk_err *err)
{
	return j->c->in_userns ? 0 : oci_rlimits_apply(0, j->process, &j->s.at, err);
}

static int load_filter(struct oci_job *j, struct hk_err *err)
{
	return j->c->listener_path ? oci_notify_load(j, err) : oci_bpf_load(&j->bpf, j->c->seccomp.flags, err);
}

int oci_step_seccomp_privileged(struct oci_job *j, struct hk_err *err)
{
	if (j->nnp || !j->bpf.insns)
		return 0;
	return load_filter(j, err);
}

int oci_step_env(struct oci_job *j, struct hk_err *err)
{
	const struct oci_process *p = j->process;
	const char *home = oci_env_get(p->env.v, "HOME");
	char buf[1024];

	if (!home || !*home) {
		oci_env_home(j->s.rootfs_fd, p->uid, buf, sizeof(buf));
		home = buf;
	}
	j->env = oci_env_build(&p->env, home);
	/*
	 * The last name looked up from outside. From here no directory is open that a cwd of /proc/self/fd/N could
	 * lead to.
	 */
	j->s.rootfs_fd = hk_close(j->s.rootfs_fd);
	return j->env ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "build the environment");
}

int oci_step_creds(struct oci_job *j, struct hk_err *err)
{
	int r = j->nnp ? oci_creds_no_new_privs(err) : 0;

	if (r == 0)
		r = oci_creds_apply(j->process, j->caps, err);
	/*
	 * The change of ids clears both: a shim that dies must still take a half-made init along, and nobody may
	 * look into it. An exec waits for nobody and needs no such signal.
	 */
	if (r == 0 && !j->is_exec && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set the parent-death signal");
	if (r == 0 && !hk_is_broken(HK_DEFENCE_DUMPABLE) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stay non-dumpable");
	return r;
}

/*
 * The kernel says "(unreachable)/..." for a directory outside of the root: a cwd such as /proc/self/fd/7 with a leaked
 * host directory would be a way out (CVE-2024-21626). glibc's getcwd would turn that into ENOENT.
 */
static int enter_cwd(struct oci_job *j, struct hk_err *err)
{
	char buf[4096];
	long n;

	if (chdir(j->process->cwd) < 0)
		return hk_fail(err, HK_INVALID, errno, "chdir to process.cwd %s", j->process->cwd);
	n = syscall(SYS_getcwd, buf, sizeof(buf));
	if (n < 0)
		return hk_fail(err, HK_INTERNAL, errno, "getcwd in process.cwd %s", j->process->cwd);
	if ((n < 2 || buf[0] != '/') && !hk_is_broken(HK_DEFENCE_CWD_INSIDE))
		return hk_fail_text(
		    err, HK_INVALID, EPERM, "process.cwd %s is outside of the container's root", j->process->cwd);
	j->in_cwd = true;
	return 0;
}

/* As root, and before a filter that may forbid the very calls; where root may not go (NFS), its user perhaps may: later. */
int oci_step_cwd_early(struct oci_job *j, struct hk_err *err)
{
	int r = j->process->cwd ? enter_cwd(j, err) : 0; /* no process: the root, where we are */

	return r == -EACCES ? 0 : r;
}

int oci_step_cwd(struct oci_job *j, struct hk_err *err)
{
	return j->in_cwd || !j->process->cwd ? 0 : enter_cwd(j, err);
}

int oci_step_lookup(struct oci_job *j, struct hk_err *err)
{
	const char *path = oci_env_get((const char *const *)j->env, "PATH");

	if (j->process->args.n == 0) /* nothing to run is start's error, not create's (runtime.md, "Start") */
		return 0;
	return oci_lookup(j->process->args.v[0], path, j->exe, sizeof(j->exe), err);
}

/* husk-init PATH ARGV...: nothing is allocated, the filter may be loaded by now. */
static int exec_reaper(struct oci_job *j, struct hk_err *err)
{
	const struct oci_strv *args = &j->process->args;
	const char *argv[OCI_REAPER_MAX_ARGS + 3] = { "husk-init", j->exe };

	if (args->n > OCI_REAPER_MAX_ARGS)
		return hk_fail_text(err, HK_INVALID, E2BIG, "process.args: more than %d with husk-init", OCI_REAPER_MAX_ARGS);
	memcpy(argv + 2, args->v, args->n * sizeof(*argv));
	(void)execve(OCI_REAPER_PATH, (char *const *)(uintptr_t)argv, j->env);
	return oci_exec_fail(OCI_REAPER_PATH, errno, err);
}

int oci_step_exec(struct oci_job *j, struct hk_err *err)
{
	sigset_t none;
	int r;

	sigemptyset(&none);
	(void)signal(SIGPIPE, SIG_DFL); /* ignored while hooks ran, and what is ignored survives execve */
	/* With the uid unchanged the kernel has not cleared it, and the container outlives the shim. */
	if (!j->is_exec && prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "clear the parent-death signal");
	/*
	 * 0, 1 and 2 are all that crosses execve, ever (CVE-2024-21626): sockets, dirfds and the seccomp file end
	 * here.
	 */
	r = hk_is_broken(HK_DEFENCE_CLOSE_FDS) ? 0 : hk_cloexec_from(STDERR_FILENO + 1);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "mark fds close-on-exec");
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (j->nnp && j->bpf.insns) {
		j->page->step = OCI_STEP_SECCOMP;
		r = load_filter(j, err);
		if (r < 0)
			return r;
	}
	oci_timing_step(j->page, OCI_STEP_SECCOMP);
	j->page->step = OCI_STEP_EXEC; /* from here EOF means that the program runs */
	if (j->process->has_reaper)
		return exec_reaper(j, err);
	(void)execve(j->exe, (char *const *)(uintptr_t)j->process->args.v, j->env);
	return oci_exec_fail(j->exe, errno, err);
}
