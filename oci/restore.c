/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/restore.c — a container whose init comes out of a checkpoint. Create makes its cgroup and mounts its rootfs on the host, where
 * containerd adds what the checkpoint had changed; Start lets CRIU make the processes, in that cgroup, as children of the shim.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_systemd.h"
#include "oci/criu.h"
#include "oci/launch.h"
#include "oci/mount_fs.h"
#include "oci/rootfs.h"

#define PID_FILE "restored.pid"
enum { MOUNT_TIMEOUT_MS = 60000 };

struct oci_restore {
	struct oci_container *c;
	struct oci_job *job;       /* owned until the rootfs is mounted */
	const char *checkpoint;    /* the caller's, until the rootfs is mounted */
	struct oci_helper *helper; /* compiles, mounts or is criu */
	struct oci_helper *unit;   /* asks systemd */
	struct hk_hold hold;
	pid_t whoever;             /* what is held */
	int gate;                  /* owned; a byte in it lets criu begin */
	char *pid_file;
	oci_launch_fn *fn;
	void *arg;
};

struct restore_work { /* borrowed by the helper, which is a copy of the shim */
	struct oci_restore *r;
	const struct oci_restore_opts *o;
	int gate;
};

static struct oci_restore *restore_new(struct oci_container *c, oci_launch_fn *fn, void *arg)
{
	struct oci_restore *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct oci_restore){ .c = c, .gate = -1, .fn = fn, .arg = arg };
	c->restore = r;
	return r;
}

void oci_restore_abort(struct oci_restore *r)
{
	if (!r)
		return;
	oci_helper_abort(r->helper);
	oci_helper_abort(r->unit);
	hk_reaper_release(&r->hold);
	oci_job_free(r->job);
	(void)hk_close(r->gate);
	free(r->pid_file);
	r->c->restore = NULL;
	free(r);
}

static void finish(struct oci_restore *r, struct oci_launched *got, const struct hk_err *err)
{
	oci_launch_fn *fn = r->fn;
	void *arg = r->arg;
	const struct hk_err copy = err ? *err : (struct hk_err){ 0 };

	oci_restore_abort(r);
	fn(arg, err ? NULL : got, err ? &copy : NULL);
}

/* ---- create ---- */

/* In a helper: the tree is made in a mount namespace of its own, as for any container, and only the result is put on the host. */
static int mount_rootfs(void *arg, struct hk_err *err)
{
	struct oci_restore *r = arg;
	struct oci_setup *s = &r->job->s;
	struct hk_arena arena = { 0 };
	struct oci_criu_image image = { .mounts = NULL };
	int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int rc = oci_criu_image_read(r->checkpoint, &arena, &image, err);

	if (rc < 0 || s->n_rootfs_mounts == 0)
		return rc;
	if (host < 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "mount namespace for the rootfs");
	rc = oci_rootfs_mounts_open(s, err);
	if (rc < 0)
		return rc;
	if (setns(host, CLONE_NEWNS) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "return to the host's mounts");
	if (move_mount(s->rootfs_fd, "", AT_FDCWD, s->rootfs, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "mount the rootfs on %s", s->rootfs);
	return 0;
}

static void on_mounted(void *arg, const struct hk_err *err)
{
	struct oci_restore *r = arg;
	struct oci_launched none = { .pidfd = -1, .console_fd = -1 };

	r->helper = NULL;
	if (err) /* the caller frees the container, and knows nothing of the cgroup */
		(void)oci_cgroup_remove(r->c->cgroup, NULL);
	else if (r->job->s.n_rootfs_mounts > 0)
		r->c->host_rootfs = strdup(r->job->s.rootfs);
	finish(r, &none, err);
}

static int begin_mount(struct oci_restore *r, struct hk_err *err)
{
	const struct oci_helper_job job = {
		.comm = "husk-mount", .what = "mounting the rootfs", .timeout_ms = MOUNT_TIMEOUT_MS, .work = mount_rootfs, .arg = r
	};

	return oci_helper_run(r->c->engine, &job, on_mounted, r, &r->helper, err);
}

/* For the execs to come; the restored processes have theirs from the checkpoint. */
static int take_filter(struct oci_container *c, struct hk_err *err)
{
	struct oci_bpf bpf = { NULL, 0 };
	int r = oci_seccomp_cache_find(c->engine->run_dir, &c->spec->seccomp, &c->seccomp.fd, &bpf);

	free(bpf.insns);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "read the compiled seccomp filter") : 0;
}

static void on_compiled(void *arg, const struct hk_err *err)
{
	struct oci_restore *r = arg;
	struct hk_err mine;

	r->helper = NULL;
	if (!err && (take_filter(r->c, &mine) < 0 || begin_mount(r, &mine) < 0))
		err = &mine;
	if (!err)
		return;
	(void)oci_cgroup_remove(r->c->cgroup, NULL);
	finish(r, NULL, err);
}

static int make_cgroup(struct oci_container *c, struct hk_err *err)
{
	int r;

	if (oci_cgroup_is_unit(c->cgroup)) /* made around criu, when it begins */
		return oci_unit_check(err);
	r = oci_cgroup_create(c->cgroup, &c->spec->resources, err);
	return r < 0 ? r : oci_cgroup_give(c->cgroup, c->spec, c->host_uid, err);
}

int oci_restore_prepare(struct oci_container *c, const struct oci_restoring *o, struct hk_err *err)
{
	struct oci_criu_args criu = { .program = NULL };
	struct oci_restore *r;
	int rc = oci_criu_find(&criu, err);

	hk_arena_done(&criu.arena);
	if (rc < 0)
		return rc;
	r = restore_new(c, o->fn, o->arg);
	if (!r)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "restore");
	r->checkpoint = o->checkpoint;
	r->job = hk_take_ptr(*o->take_job);
	rc = make_cgroup(c, err);
	if (rc == 0 && c->spec->seccomp.is_set && c->seccomp.fd < 0)
		rc = oci_seccomp_compile(c->engine, &c->spec->seccomp, on_compiled, r, &r->helper, err);
	else if (rc == 0)
		rc = begin_mount(r, err);
	if (rc == 0)
		return 0;
	if (!oci_cgroup_is_unit(c->cgroup))
		(void)oci_cgroup_remove(c->cgroup, NULL);
	oci_restore_abort(r);
	return rc;
}

/* ---- start ---- */

static int inherit(struct oci_criu_args *a, int fd, const char *key, struct hk_err *err)
{
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open %s", key);
	if (fcntl(fd, F_SETFD, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "hand %s to criu", key);
	oci_criu_arg(a, "--inherit-fd");
	oci_criu_arg(a, "fd[%d]:%s", fd, key);
	return 0;
}

static int stdio_args(struct oci_criu_args *a, const struct oci_criu_image *m, const int stdio[3], struct hk_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < 3; i++) {
		bool is_known = !m->stdio[i];

		for (int k = 0; k < i; k++)
			is_known |= hk_streq(m->stdio[k], m->stdio[i]); /* stdout and stderr may be one */
		if (!is_known)
			r = inherit(a, stdio[i] >= 0 ? stdio[i] : open("/dev/null", O_RDWR | O_CLOEXEC), m->stdio[i], err);
	}
	return r;
}

/* What the checkpoint left out is given again by descriptor; what it has inside, though this container shall share it, is replaced. */
static int namespace_args(struct oci_criu_args *a, const struct oci_criu_image *m, const struct oci_spec *s, struct hk_err *err)
{
	static const struct {
		enum oci_ns ns;
		unsigned bit;
		const char *name, *key;
	} v[] = {
		{ OCI_NS_NET, OCI_CRIU_NET, "net", "extRootNetNS" },
		{ OCI_NS_PID, OCI_CRIU_PID, "pid", "extRootPidNS" },
		{ OCI_NS_IPC, 0, "ipc", NULL },
		{ OCI_NS_UTS, 0, "uts", NULL },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < HK_ARRAY_SIZE(v); i++) {
		const struct oci_namespace *ns = &s->ns[v[i].ns];

		if (!ns->is_set || !ns->path)
			continue;
		if (m->joined & v[i].bit) {
			r = inherit(a, open(ns->path, O_RDONLY | O_CLOEXEC), v[i].key, err);
		} else {
			oci_criu_arg(a, "--join-ns");
			oci_criu_arg(a, "%s:%s", v[i].name, ns->path);
		}
	}
	return r;
}

static int mount_arg(struct oci_criu_args *a, const struct oci_container *c, const struct oci_criu_mount *m, struct hk_err *err)
{
	const struct oci_spec *s = c->spec;
	const char *source = NULL;

	oci_criu_arg(a, "--external");
	switch (m->from) {
	case OCI_CRIU_DEV:
		oci_criu_arg(a, "mnt[%s]:/dev%s", m->target, m->what);
		return 0;
	case OCI_CRIU_CGROUP:
		oci_criu_arg(a, "mnt[%s]:/sys/fs/cgroup/%s%s", m->target, m->what, oci_cgroup_path(c->cgroup));
		return 0;
	case OCI_CRIU_BIND:
		break;
	}
	for (size_t i = 0; i < s->n_mounts; i++)
		if (hk_streq(s->mounts[i].destination, m->what))
			source = s->mounts[i].source;
	if (!source)
		return hk_fail_text(err, HK_INVALID, ENOENT, "the checkpoint has a bind mount on %s, config.json has none", m->what);
	oci_criu_arg(a, "mnt[%s]:%s%s%s%s", m->target, source[0] == '/' ? "" : c->bundle, source[0] == '/' ? "" : "/", source, m->rest);
	return 0;
}

/* root.path has to be a mount of a namespace that nobody else sees: criu pivots to it. */
static int enter_rootfs(const char *rootfs, struct hk_err *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "mount namespace for criu");
	if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "bind rootfs %s", rootfs);
	return 0;
}

static int fill_args(struct oci_criu_args *a, const struct restore_work *w, const char *rootfs, struct hk_err *err)
{
	/*
	 * The images say whether there is any of what the last line's options allow. CRIU's newer way with mounts copies the sharing of a
	 * volume's source, and can do so only where that is a mount itself: else EINVAL, with / shared, as systemd has it (CRIU issue 2023).
	 */
	static const char *const fixed[] = { "criu", "restore", "--restore-detached", "--restore-sibling", "-v4", "--manage-cgroups=ignore",
		"--mntns-compat-mode", "--skip-file-rwx-check", "--tcp-established", "--ext-unix-sk", "--file-locks" };
	const struct oci_container *c = w->r->c;
	struct oci_criu_image image = { .mounts = NULL };
	int r = oci_criu_image_read(w->o->image_dir, &a->arena, &image, err);

	for (size_t i = 0; i < HK_ARRAY_SIZE(fixed); i++)
		oci_criu_arg(a, "%s", fixed[i]);
	oci_criu_arg(a, "--images-dir");
	oci_criu_arg(a, "%s", w->o->image_dir);
	oci_criu_arg(a, "--work-dir");
	oci_criu_arg(a, "%s", w->o->work_dir);
	oci_criu_arg(a, "--pidfile");
	oci_criu_arg(a, "%s", w->r->pid_file);
	oci_criu_arg(a, "--root");
	oci_criu_arg(a, "%s", rootfs);
	for (size_t i = 0; r == 0 && i < image.n_mounts; i++)
		r = mount_arg(a, c, &image.mounts[i], err);
	if (r == 0)
		r = stdio_args(a, &image, w->o->stdio, err);
	return r < 0 ? r : namespace_args(a, &image, c->spec, err);
}

/* In a helper; ends in execve. */
static int run_criu(void *arg, struct hk_err *err)
{
	const struct restore_work *w = arg;
	const struct oci_container *c = w->r->c;
	struct oci_criu_args a = { .program = NULL };
	char *rootfs = NULL, *log = NULL;
	char byte;
	int r;

	if (read(w->gate, &byte, 1) != 1)
		return hk_fail_text(err, HK_UNAVAILABLE, ECANCELED, "the restore was given up");
	r = c->spec->root_path[0] == '/' ? asprintf(&rootfs, "%s", c->spec->root_path)
					 : asprintf(&rootfs, "%s/%s", c->bundle, c->spec->root_path);
	if (r < 0 || asprintf(&log, "%s/" OCI_CRIU_RESTORE_LOG, w->o->work_dir) < 0)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "restore");
	r = oci_criu_find(&a, err);
	if (r == 0)
		r = oci_criu_mkdir(w->o->work_dir, err);
	if (r == 0)
		r = fill_args(&a, w, rootfs, err);
	if (r == 0)
		r = enter_rootfs(rootfs, err);
	(void)unlink(w->r->pid_file);
	if (r == 0)
		r = oci_cgroup_enter(c->cgroup, 0, false, err);
	return r < 0 ? r : oci_criu_exec(&a, log, err);
}

/* Our own unreaped child, so the number that criu wrote is still its. */
static int take_process(const struct oci_restore *r, struct oci_launched *ret, struct hk_err *err)
{
	char text[32];
	uint64_t pid = 0;
	ssize_t n = hk_read_file_at(AT_FDCWD, r->pid_file, text, sizeof(text));

	if (n < 0 || hk_parse_u64(text, &pid) < 0 || pid == 0 || pid > INT32_MAX)
		return hk_fail_text(err, HK_INTERNAL, EPROTO, "criu restore: no pid in %s", r->pid_file);
	ret->pid = (pid_t)pid;
	ret->pidfd = oci_pidfd_open(ret->pid);
	return ret->pidfd < 0 ? hk_fail(err, HK_INTERNAL, -ret->pidfd, "the restored process") : 0;
}

static void on_restored(void *arg, const struct hk_err *err)
{
	struct oci_restore *r = arg;
	struct oci_launched got = { .pidfd = -1, .console_fd = -1 };
	struct hk_err mine;

	r->helper = NULL;
	if (!err && take_process(r, &got, &mine) < 0)
		err = &mine;
	if (err) { /* half a tree may stand */
		(void)oci_cgroup_signal_all(r->c->cgroup, SIGKILL, NULL);
	} else {
		r->c->init_pid = got.pid;
		oci_container_drop_spec(r->c);
	}
	finish(r, &got, err);
}

static void open_gate(struct oci_restore *r)
{
	(void)hk_write_once(r->gate, "", 1); /* a criu that is gone is told by its end */
	r->gate = hk_close(r->gate);
}

static void on_unit(void *arg, const struct hk_err *err)
{
	struct oci_restore *r = arg;
	struct hk_err mine;

	r->unit = NULL;
	if (!err && oci_cgroup_adopt(r->c->cgroup, &r->c->spec->resources, &mine) < 0)
		err = &mine;
	if (err)
		finish(r, NULL, err);
	else
		open_gate(r);
}

static int begin_criu(struct oci_restore *r, struct hk_err *err)
{
	const struct oci_container *c = r->c;
	const struct oci_unit_start unit = {
		.id = c->id, .pid = oci_helper_pid(r->helper), .resources = &c->spec->resources, .annotations = &c->spec->annotations
	};

	/* Between its birth and the moment it is watched a restored process is a child that nobody knows. */
	r->whoever = HK_HOLD_WHOEVER;
	hk_reaper_hold(c->engine->reaper, &r->hold, &r->whoever);
	if (oci_cgroup_is_unit(c->cgroup))
		return oci_unit_start(c->engine, c->cgroup, &unit, on_unit, r, &r->unit, err);
	open_gate(r);
	return 0;
}

int oci_restore(struct oci_container *c, const struct oci_restore_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	struct restore_work w = { .o = o };
	const struct oci_helper_job job = {
		.comm = "husk-criu", .what = "criu restore", .timeout_ms = OCI_CRIU_TIMEOUT_MS, .work = run_criu, .arg = &w
	};
	hk_autofd gate = -1;
	int pair[2], rc;

	if (c->restore || !c->spec)
		return hk_fail_text(err, HK_BAD_STATE, EALREADY, "cannot restore a running process");
	w.r = restore_new(c, fn, arg);
	if (!w.r)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "restore");
	if (asprintf(&w.r->pid_file, "%s/" PID_FILE, o->work_dir) < 0)
		w.r->pid_file = NULL;
	if (!w.r->pid_file || pipe2(pair, O_CLOEXEC) < 0) {
		oci_restore_abort(w.r);
		return hk_fail(err, HK_INTERNAL, errno, "restore");
	}
	w.gate = gate = pair[0];
	w.r->gate = pair[1];
	rc = oci_helper_run(c->engine, &job, on_restored, w.r, &w.r->helper, err);
	if (rc == 0)
		rc = begin_criu(w.r, err);
	if (rc < 0)
		oci_restore_abort(w.r);
	return rc;
}
