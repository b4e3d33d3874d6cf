/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/container.c — oci_create, oci_start and what a container remembers. config.json comes in and is parsed, checked
 * and kept as a spec until the program runs; what later execs and the removal need is copied into the small struct
 * oci_container.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup_systemd.h"
#include "oci/criu.h"
#include "oci/creds.h"
#include "oci/env.h"
#include "oci/exec_defaults.h"
#include "oci/launch.h"
#include "oci/lsm.h"
#include "oci/namespaces.h"
#include "oci/notify.h"
#include "oci/pod_mounts.h"
#include "oci/rdt.h"
#include "oci/reaper.h"
#include "oci/remove.h"
#include "oci/unit.h"

enum { NULL_MAJOR = 1, NULL_MINOR = 3 };

/* ---- the job ---- */

static int open_null(int flags, int *ret_fd, struct hk_err *err)
{
	hk_autofd fd = open("/dev/null", flags | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "open /dev/null");
	/* It will be bound over files of containers: the true one or none (CVE-2025-31133). */
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(NULL_MAJOR, NULL_MINOR))
		return hk_fail_text(err, HK_INTERNAL, ENODEV, "/dev/null of the host is not the null device");
	*ret_fd = hk_take_fd(&fd);
	return 0;
}

struct oci_job *oci_job_new(struct oci_container *c)
{
	struct oci_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->c = c;
	j->s.cgroup = c->cgroup;
	j->s.id = c->id;
	j->s.bundle = c->bundle;
	j->s.in_userns = c->in_userns;
	j->s.no_new_keyring = c->no_new_keyring;
	j->s.sync_fd = j->s.rootfs_fd = j->s.proc_fd = j->s.devnull_fd = j->s.host_mnt_fd = -1;
	j->s.console_master = j->s.console_slave = j->s.at = -1;
	j->null_fd = j->init_pidfd = j->tree_fd = -1;
	for (int i = 0; i < OCI_N_NS; i++)
		j->ns_fds[i] = -1;
	return j;
}

void oci_job_free(struct oci_job *j)
{
	if (!j)
		return;
	oci_ns_close_paths(j->ns_fds);
	(void)hk_close(j->null_fd);
	(void)hk_close(j->tree_fd);
	(void)hk_close(j->s.devnull_fd);
	(void)hk_close(j->s.host_mnt_fd);
	if (j->s.spec)
		free((void *)(uintptr_t)j->s.rootfs);
	free(j->s.srcs);
	free(j->bpf.insns);
	hk_arena_done(&j->arena);
	free(j);
}

int oci_job_stdio(struct oci_job *j, bool terminal, const int stdio[3], struct hk_err *err)
{
	bool needs_null = false;

	j->s.terminal = terminal;
	for (int i = 0; i < 3; i++) {
		j->s.stdio[i] = terminal ? -1 : stdio[i];
		needs_null |= !terminal && stdio[i] < 0;
	}
	return needs_null ? open_null(O_RDWR, &j->null_fd, err) : 0;
}

static int job_of_create(
    struct oci_container *c, const struct oci_create_opts *o, struct oci_job **ret, struct hk_err *err)
{
	const struct oci_spec *s = c->spec;
	struct oci_job *j = oci_job_new(c);
	char *rootfs = NULL;
	int r;

	if (!j)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "job");
	*ret = j; /* the caller frees it on failure too */
	j->process = &s->process;
	j->s.spec = s;
	j->s.rootfs_mounts = o->rootfs;
	j->s.n_rootfs_mounts = o->n_rootfs;
	j->s.no_pivot = o->no_pivot;
	j->s.host_uid = c->host_uid;
	j->s.host_gid = c->host_gid;
	j->clone_mask = oci_ns_new_mask(s) & ~(oci_ns_flag(OCI_NS_USER) | oci_ns_flag(OCI_NS_TIME));
	j->needs_middle = oci_ns_needs_middle(s);
	j->nnp = s->process.no_new_privileges;
	j->caps = c->caps; /* a spec that names none gets none, as with runc: never the shim's own */
	j->apparmor_profile = s->process.apparmor_profile;
	j->selinux_label = s->process.selinux_label;
	j->s.srcs = calloc(s->n_mounts + 1, sizeof(*j->s.srcs));
	r = s->root_path[0] == '/' ? asprintf(&rootfs, "%s", s->root_path)
				   : asprintf(&rootfs, "%s/%s", o->bundle, s->root_path);
	if (r < 0 || !j->s.srcs)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "job");
	j->s.rootfs = rootfs;
	/* What the mounts go on is the shim's to make (containerd usually has); it may be there already. */
	if (o->n_rootfs > 0 && mkdir(rootfs, 0711) < 0 && errno != EEXIST)
		return hk_fail(err, HK_INTERNAL, errno, "make %s", rootfs);
	for (size_t i = 0; i < s->n_mounts; i++)
		j->s.srcs[i].tree_fd = -1;
	if (!s->ns[OCI_NS_MNT].is_set) {
		j->clone_mask |= oci_ns_flag(OCI_NS_MNT); /* for the set-up alone: oci_rootfs_leave */
		j->s.host_mnt_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (j->s.host_mnt_fd < 0)
			return hk_fail(err, HK_INTERNAL, errno, "open /proc/self/ns/mnt");
	}
	r = oci_job_stdio(j, o->terminal, o->stdio, err);
	if (r == 0)
		r = open_null(O_PATH, &j->s.devnull_fd, err);
	return r < 0 ? r : oci_ns_open_paths(s, j->ns_fds, err);
}

/* ---- the container ---- */

static uint32_t host_id(const struct oci_idmaps *maps, uint32_t id)
{
	for (size_t i = 0; i < maps->n; i++) {
		const struct oci_idmap *m = &maps->v[i];

		if (id >= m->container_id && id - m->container_id < m->size)
			return m->host_id + (id - m->container_id);
	}
	return id;
}

static int copy_annotations(struct oci_container *c, struct hk_err *err)
{
	const struct oci_kvs *kvs = &c->spec->annotations;
	size_t size = 1;
	char *p;

	for (size_t i = 0; i < kvs->n; i++)
		size += strlen(kvs->v[i].key) + strlen(kvs->v[i].value) + 2;
	p = c->annotations = malloc(size);
	if (!p)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "annotations");
	for (size_t i = 0; i < kvs->n; i++) {
		p = stpcpy(p, kvs->v[i].key) + 1;
		p = stpcpy(p, kvs->v[i].value) + 1;
	}
	*p = 0; /* no key is empty: the end */
	return 0;
}

static int copy_string(const char *from, char **ret, struct hk_err *err)
{
	if (!from)
		return 0;
	*ret = strdup(from);
	return *ret ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "container");
}

static int remember_agent(struct oci_container *c, struct hk_err *err)
{
	const struct oci_spec *s = c->spec;
	int r = copy_string(s->version, &c->version, err);

	if (r == 0)
		r = copy_string(s->seccomp.listener_path, &c->listener_path, err);
	return r < 0 ? r : copy_string(s->seccomp.listener_metadata, &c->listener_metadata, err);
}

static int remember(struct oci_container *c, const struct oci_create_opts *o, struct hk_err *err)
{
	const struct oci_spec *s = c->spec;
	const struct oci_process *p = &s->process;
	char *nodes = NULL;
	int r;

	oci_container_trace(c, o->traceparent);
	memcpy(c->caps, p->caps, sizeof(c->caps));
	if (!s->ns[OCI_NS_USER].is_set) /* root of a new user namespace has all of them */
		oci_caps_limit(c->caps);
	c->no_new_privs = p->no_new_privileges;
	c->no_new_keyring = o->no_new_keyring;
	c->ns_mask = oci_ns_new_mask(s) | oci_ns_path_mask(s);
	c->in_userns = s->ns[OCI_NS_USER].is_set;
	c->has_private_pidns = s->ns[OCI_NS_PID].is_set && !s->ns[OCI_NS_PID].path;
	c->host_uid = c->in_userns ? host_id(&s->uid_mappings, p->uid) : p->uid;
	c->host_gid = c->in_userns ? host_id(&s->gid_mappings, p->gid) : p->gid;
	c->has_personality = s->has_personality;
	c->personality = s->personality;
	c->memory_policy = s->memory_policy;
	c->memory_policy.nodes = NULL;
	c->seccomp.flags = oci_seccomp_flags(&s->seccomp);
	r = copy_string(s->memory_policy.nodes, &nodes, err);
	c->memory_policy.nodes = nodes;
	if (r == 0)
		r = oci_exec_defaults_keep(p, &c->exec_defaults, err);
	if (r == 0)
		r = copy_string(p->apparmor_profile, &c->apparmor_profile, err);
	if (r == 0)
		r = copy_string(p->selinux_label, &c->selinux_label, err);
	if (r == 0 && oci_seccomp_has_notify(&s->seccomp))
		r = remember_agent(c, err);
	return r < 0 ? r : copy_annotations(c, err);
}

/* Parsed, completed by what the pod adds, checked. */
static int take_spec(struct oci_container *c, const struct oci_create_opts *o, const char *json, size_t len, struct hk_err *err)
{
	int r;

	c->spec = oci_draft_take(o->draft, json, len);
	r = c->spec ? 0 : oci_spec_parse(json, len, &c->spec, err);

	if (r == 0 && o->pod)
		r = oci_pod_mounts_add(c->spec, o->pod->mounts, o->pod->n_mounts, err);
	if (r == 0)
		r = oci_reaper_add(c->spec, err);
	return r < 0 ? r : oci_spec_validate(c->spec, err);
}

static int read_spec(struct oci_container *c, const struct oci_create_opts *o, struct hk_err *err)
{
	hk_autofree char *json = NULL;
	size_t len;
	int r;

	if (o->pod && o->pod->config_json)
		return take_spec(c, o, o->pod->config_json, o->pod->config_json_len, err);

	r = oci_config_read(c->bundle, &json, &len);
	if (r < 0)
		return hk_fail(err, r == -ENOENT ? HK_NOT_FOUND : HK_INTERNAL, -r, "read %s/config.json", c->bundle);
	r = take_spec(c, o, json, len, err);
	return r < 0 ? hk_wrap(err, "%s/config.json", c->bundle) : 0;
}

int oci_container_read_spec(struct oci_container *c, struct hk_err *err)
{
	return read_spec(c, &(const struct oci_create_opts){ 0 }, err);
}

/* All that can be refused before anything exists. */
static int check_spec(const struct oci_container *c, struct hk_err *err)
{
	const struct oci_spec *s = c->spec;
	int r;

	r = oci_env_check(&s->process.env, err);
	if (r == 0)
		r = oci_lsm_check(s->process.apparmor_profile, s->process.selinux_label, err);
	if (r == 0 && oci_seccomp_has_notify(&s->seccomp))
		r = oci_notify_check(s->seccomp.listener_path, err);
	return r;
}

/* A cached filter is taken now; a missing or mistrusted one is compiled anew by the launch. */
static int find_filter(struct oci_container *c, struct oci_draft *d, struct oci_job *j, struct hk_err *err)
{
	char key[65];
	int r;

	if (!c->spec->seccomp.is_set || oci_draft_take_filter(d, &c->seccomp.fd, &j->bpf))
		return 0;
	r = oci_seccomp_key(&c->spec->seccomp, key);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "linux.seccomp");
	(void)oci_seccomp_cache_open(c->engine->run_dir, key, &c->seccomp.fd, &j->bpf);
	return 0;
}

int oci_container_make_cgroup(struct oci_container *c, struct hk_err *err)
{
	int r = oci_cgroup_create(c->cgroup, &c->spec->resources, err);

	if (r < 0)
		return r;
	r = oci_cgroup_give(c->cgroup, c->spec, c->host_uid, err);
	if (r < 0)
		(void)oci_cgroup_remove(c->cgroup, NULL);
	return r;
}

/* Beside the init's first steps, unless somebody else looks at it there (hooks), or it talks to us before: a middle process, network devices. */
static bool may_begin_early(const struct oci_container *c, const struct oci_job *j)
{
	for (int i = 0; i < OCI_N_HOOK_KINDS; i++)
		if (c->spec->hooks[i].n > 0)
			return false;
	return !j->needs_middle && c->spec->n_net_devices == 0;
}

static int create_with_cgroup(
    struct oci_container *c, struct oci_job **take_job, oci_launch_fn *fn, void *arg, struct hk_err *err)
{
	struct oci_job *j = *take_job;
	bool is_begun;
	int r;

	if (oci_cgroup_is_unit(c->cgroup)) { /* made around its first process (oci/unit.c) */
		r = oci_unit_check(err);
		if (r < 0)
			return hk_wrap(err, "cgroupsPath \"%.300s\"", c->spec->cgroups_path);
		return oci_launch_begin(c, take_job, fn, arg, err);
	}
	r = may_begin_early(c, j) ? oci_cgroup_begin(c->cgroup, err) : 0;
	j->is_cgroup_begun = is_begun = r > 0;
	if (r == 0)
		r = oci_container_make_cgroup(c, err);
	if (r < 0)
		return r;
	oci_timing_mark(&j->times, OCI_MARK_CGROUP);
	r = oci_launch_begin(c, take_job, fn, arg, err);
	if (r < 0)
		is_begun ? oci_cgroup_undo(c->cgroup) : (void)oci_cgroup_remove(c->cgroup, NULL); /* empty: no child was made */
	return r;
}

static int create_rdt(struct oci_container *c, struct hk_err *err)
{
	struct oci_rdt_fs fs = { .root = c->engine->resctrl, .make = mkdir, .remove = rmdir };
	char root[PATH_MAX];

	if (!c->spec->intel_rdt.is_set)
		return 0;
	if (!fs.root && oci_rdt_find(root, sizeof(root), &fs) < 0)
		return hk_fail_text(err, HK_UNSUPPORTED, ENOENT, "linux.intelRdt: no resctrl file system is mounted");
	return oci_rdt_create(&fs, &c->spec->intel_rdt, c->id, &c->rdt, err);
}

int oci_create(const struct oci_engine *e, const struct oci_create_opts *o, oci_launch_fn *fn, void *arg,
    struct oci_container **ret, struct hk_err *err)
{
	struct oci_container *c;
	struct oci_create_opts own = *o;
	struct oci_times times = { 0 };
	struct oci_job *j = NULL;
	int r;

	oci_timing_mark(&times, OCI_MARK_BEGIN);
	if (!hk_is_valid_id(o->id))
		return hk_fail_text(err, HK_INVALID, EINVAL, "invalid container id \"%.80s\"", o->id);
	c = calloc(1, sizeof(*c));
	if (!c)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "container");
	c->engine = e;
	c->seccomp.fd = -1;
	hk_list_init(&c->launches);
	c->id = strdup(o->id);
	c->bundle = strdup(o->bundle);
	r = c->id && c->bundle ? read_spec(c, o, err) : hk_fail(err, HK_INTERNAL, ENOMEM, "container");
	if (r == 0)
		r = check_spec(c, err);
	if (r == 0)
		r = remember(c, o, err);
	if (r == 0 && o->on_spec)
		r = o->on_spec(arg, c, own.stdio, err);
	if (r == 0)
		r = oci_cgroup_open(c->spec->cgroups_path, c->id, &c->cgroup, err);
	if (r == 0)
		r = job_of_create(c, &own, &j, err);
	if (r == 0)
		r = find_filter(c, o->draft, j, err);
	if (r == 0 && o->on_cgroup)
		r = o->on_cgroup(arg, oci_cgroup_path(c->cgroup), err);
	if (r == 0)
		r = create_rdt(c, err);
	oci_timing_mark(&times, OCI_MARK_PARSED);
	if (j)
		j->times = times;
	if (r == 0 && o->checkpoint)
		r = oci_restore_prepare(c, &(struct oci_restoring){ o->checkpoint, &j, fn, arg }, err);
	else if (r == 0)
		r = create_with_cgroup(c, &j, fn, arg, err);
	if (r < 0) {
		oci_rdt_remove(c->rdt);
		oci_job_free(j);
		oci_container_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

pid_t oci_container_early_pid(const struct oci_container *c)
{
	const struct oci_launch *l = c->init;

	return l && l->state == LS_SETTING_UP && l->is_cgroup_early ? l->first_pid : 0; /* without a middle process: the init */
}

int oci_start(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err)
{
	return oci_launch_start(c->init, fn, arg, err);
}

void oci_container_drop_spec(struct oci_container *c)
{
	if (c->spec && c->spec->hooks[OCI_HOOK_POSTSTOP].n > 0)
		return;
	oci_spec_free(c->spec);
	c->spec = NULL;
}

int oci_container_poststop(struct oci_container *c, oci_hook_fn *fn, void *arg, struct oci_hook_run **ret)
{
	const struct oci_spec *s = c->spec;

	if (!s || s->hooks[OCI_HOOK_POSTSTOP].n == 0)
		return -ENOENT;
	struct oci_hook_state state = { .version = s->version,
		.id = c->id,
		.status = "stopped",
		.bundle = c->bundle,
		.annotations = &s->annotations,
		.traceparent = c->traceparent };
	struct oci_hook_job job = {
		.lists = { &s->hooks[OCI_HOOK_POSTSTOP] }, .kind = { "poststop" }, .state = &state, .keeps_going = true
	};

	return oci_hooks_run(c, &job, fn, arg, ret, NULL);
}

void oci_container_trace(struct oci_container *c, const char *traceparent)
{
	static const char dashes[] = { 2, 35, 52 };
	size_t len = traceparent ? strspn(traceparent, "0123456789abcdef-") : 0;

	c->traceparent[0] = '\0';
	if (len != sizeof(c->traceparent) - 1 || traceparent[len])
		return;
	for (size_t i = 0; i < sizeof(dashes); i++)
		if (traceparent[(int)dashes[i]] != '-')
			return;
	memcpy(c->traceparent, traceparent, sizeof(c->traceparent));
}

struct oci_cgroup *oci_container_cgroup(const struct oci_container *c)
{
	return c->cgroup;
}

bool oci_container_has_private_pidns(const struct oci_container *c)
{
	return c->has_private_pidns;
}

uid_t oci_container_host_uid(const struct oci_container *c)
{
	return c->host_uid;
}

gid_t oci_container_host_gid(const struct oci_container *c)
{
	return c->host_gid;
}

const char *oci_container_annotation(const struct oci_container *c, const char *key)
{
	for (const char *p = c->annotations; p && *p;) {
		const char *value = p + strlen(p) + 1;

		if (strcmp(p, key) == 0)
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}

void oci_container_free(struct oci_container *c)
{
	if (!c)
		return;
	hk_list_for_safe(n, next, &c->launches)
		oci_launch_abort(hk_container_of(n, struct oci_launch, node));
	oci_removal_abort(c->removal);
	oci_update_abort(c->update);
	oci_dump_abort(c->dump);
	oci_restore_abort(c->restore);
	oci_spec_free(c->spec);
	oci_cgroup_free(c->cgroup);
	oci_rdt_free(c->rdt);
	(void)hk_close(c->seccomp.fd);
	free(c->id);
	free(c->bundle);
	free(c->host_rootfs);
	free(c->annotations);
	free(c->exec_defaults);
	free(c->apparmor_profile);
	free(c->selinux_label);
	free((void *)(uintptr_t)c->memory_policy.nodes);
	free(c->version);
	free(c->listener_path);
	free(c->listener_metadata);
	free(c);
}
