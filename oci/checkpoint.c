/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/checkpoint.c — Task.Checkpoint: CRIU dumps the process tree of the init into images. All work is a helper's, which becomes criu: it may
 * take minutes, and the shim answers everything else meanwhile.
 */
#include "oci/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/criu.h"
#include "oci/launch.h"

struct oci_dump {
	struct oci_container *c;
	struct oci_helper *helper;
	oci_done_fn *fn;
	void *arg;
};

struct dump_work { /* borrowed by the helper, which is a copy of the shim */
	const struct oci_container *c;
	const struct oci_checkpoint_opts *o;
};

static int read_spec(const struct oci_container *c, struct oci_spec **ret, struct hk_err *err)
{
	hk_autofree char *json = NULL;
	size_t len;
	int r = oci_config_read(c->bundle, &json, &len);

	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "read %s/config.json", c->bundle) : oci_spec_parse(json, len, ret, err);
}

static void namespace_arg(struct oci_criu_args *a, pid_t init, const char *ns, const char *name)
{
	char path[64];
	struct stat st;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/ns/%s", (int)init, ns);
	if (stat(path, &st) < 0)
		return;
	oci_criu_arg(a, "--external");
	oci_criu_arg(a, "%s[%llu]:%s", ns, (unsigned long long)st.st_ino, name);
}

static void outside_args(struct oci_criu_args *a, pid_t init, const struct oci_criu_image *m)
{
	for (size_t i = 0; i < m->n_mounts; i++) {
		oci_criu_arg(a, "--external");
		oci_criu_arg(a, "mnt[%s]:%s", m->mounts[i].target, m->mounts[i].target);
	}
	for (int i = 0; i < 3; i++) {
		if (m->stdio[i] && hk_has_prefix(m->stdio[i], "file[")) {
			oci_criu_arg(a, "--external");
			oci_criu_arg(a, "%s", m->stdio[i]);
		}
	}
	if (m->joined & OCI_CRIU_NET)
		namespace_arg(a, init, "net", "extRootNetNS");
	if (m->joined & OCI_CRIU_PID)
		namespace_arg(a, init, "pid", "extRootPidNS");
}

static void option_args(struct oci_criu_args *a, const struct oci_checkpoint_opts *o)
{
	if (o->leave_running)
		oci_criu_arg(a, "--leave-running");
	if (o->open_tcp)
		oci_criu_arg(a, "--tcp-established");
	if (o->external_unix_sockets)
		oci_criu_arg(a, "--ext-unix-sk");
	if (o->file_locks)
		oci_criu_arg(a, "--file-locks");
	if (o->cgroups_mode && *o->cgroups_mode)
		oci_criu_arg(a, "--manage-cgroups=%s", o->cgroups_mode);
	for (size_t i = 0; i < o->empty_namespaces.n; i++) {
		oci_criu_arg(a, "--empty-ns");
		/* The OCI name and CRIU's. */
		oci_criu_arg(a, "%s", hk_streq(o->empty_namespaces.v[i], "network") ? "net" : o->empty_namespaces.v[i]);
	}
}

/* Ends in execve. */
static int work(void *arg, struct hk_err *err)
{
	const struct dump_work *w = arg;
	const struct oci_checkpoint_opts *o = w->o;
	struct oci_criu_image image = { .mounts = NULL };
	struct oci_criu_args a = { .program = NULL };
	struct oci_spec *spec = NULL;
	char path[PATH_MAX];
	int r = oci_criu_find(&a, err);

	if (r == 0)
		r = read_spec(w->c, &spec, err);
	if (r == 0)
		r = oci_criu_mkdir(o->image_dir, err);
	if (r == 0)
		r = oci_criu_mkdir(o->work_dir, err);
	if (r == 0)
		r = oci_criu_collect(w->c->init_pid, spec, &a.arena, &image, err);
	if (r == 0)
		r = oci_criu_image_write(o->image_dir, &image, err);
	if (r < 0)
		return r;
	oci_criu_arg(&a, "criu");
	oci_criu_arg(&a, "dump");
	oci_criu_arg(&a, "--tree");
	oci_criu_arg(&a, "%d", (int)w->c->init_pid);
	oci_criu_arg(&a, "--images-dir");
	oci_criu_arg(&a, "%s", o->image_dir);
	oci_criu_arg(&a, "--work-dir");
	oci_criu_arg(&a, "%s", o->work_dir);
	oci_criu_arg(&a, "-v4");
	/* A container that is paused already, as containerd does before, can be seized in no other way. */
	if (oci_cgroup_freezer_path(w->c->cgroup, path) == 0) {
		oci_criu_arg(&a, "--freeze-cgroup");
		oci_criu_arg(&a, "%s", path);
	}
	/* Binds of the host's mounts may be slaves of these. */
	oci_criu_arg(&a, "--enable-external-sharing");
	oci_criu_arg(&a, "--enable-external-masters");
	option_args(&a, o);
	outside_args(&a, w->c->init_pid, &image);
	r = hk_fmt(path, sizeof(path), "%s/" OCI_CRIU_DUMP_LOG, o->work_dir);
	return r < 0 ? hk_fail(err, HK_INVALID, -r, "work directory of CRIU") : oci_criu_exec(&a, path, err);
}

static void on_dumped(void *arg, const struct hk_err *err)
{
	struct oci_dump *d = arg;
	oci_done_fn *fn = d->fn;
	void *fn_arg = d->arg;

	d->helper = NULL;
	oci_dump_abort(d);
	fn(fn_arg, err);
}

static int check(const struct oci_container *c, const struct oci_checkpoint_opts *o, struct hk_err *err)
{
	static const char *const modes[] = { "", "ignore", "none", "props", "soft", "full", "strict" };
	struct oci_criu_args a = { .program = NULL };
	bool known = !o->cgroups_mode;
	int r;

	for (size_t i = 0; i < HK_ARRAY_SIZE(modes); i++)
		known |= hk_streq(o->cgroups_mode, modes[i]);
	if (!known)
		return hk_fail_text(err, HK_INVALID, EINVAL, "cgroups mode \"%.40s\" is not known", o->cgroups_mode);
	if (!o->image_dir || o->image_dir[0] != '/')
		return hk_fail_text(err, HK_INVALID, EINVAL, "checkpoint path \"%.200s\" is not absolute", o->image_dir ? o->image_dir : "");
	if (c->dump)
		return hk_fail_text(err, HK_BAD_STATE, EALREADY, "a checkpoint of the container is under way already");
	r = oci_criu_find(&a, err);
	hk_arena_done(&a.arena);
	return r;
}

int oci_checkpoint(struct oci_container *c, const struct oci_checkpoint_opts *o, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	struct dump_work w = { .c = c, .o = o };
	const struct oci_helper_job job = {
		.comm = "husk-criu", .what = "criu dump", .timeout_ms = OCI_CRIU_TIMEOUT_MS, .work = work, .arg = &w
	};
	struct oci_dump *d;
	int r = check(c, o, err);

	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "checkpoint");
	*d = (struct oci_dump){ .c = c, .fn = fn, .arg = arg };
	c->dump = d;
	r = oci_helper_run(c->engine, &job, on_dumped, d, &d->helper, err);
	if (r < 0)
		oci_dump_abort(d);
	return r;
}

void oci_dump_abort(struct oci_dump *d)
{
	if (!d)
		return;
	oci_helper_abort(d->helper);
	d->c->dump = NULL;
	free(d);
}
