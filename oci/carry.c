/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/carry.c — a container as a record and back. Where hooks or the start are still to come the document is read again; the rest is in the
 * small struct already. A container that waits for its start has a set-up child at the other end of a socket, and shares a page of memory
 * with it, which is reached by its name in /proc/self/map_files.
 *
 * Nothing is freed when loading fails: whoever loads goes back to the image that has saved, by another execve.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/exec_defaults.h"
#include "oci/launch.h"
#include "oci/rdt.h"

HK_RECORD_WHOLE(struct oci_container, 328);

const char *oci_container_busy(const struct oci_container *c)
{
	if (c->removal)
		return "its cgroup is being removed";
	if (c->update)
		return "its limits are being changed";
	if (c->dump)
		return "it is being checkpointed";
	if (c->restore)
		return "it waits to be restored from a checkpoint";
	hk_list_for(n, &c->launches) {
		const struct oci_launch *l = hk_container_of(n, struct oci_launch, node);

		if (l != c->init || l->state != LS_CREATED || l->notify || l->hooks || l->helper || (l->first.pid != 0 && !l->first.is_dead))
			return "a process of it is being set up";
	}
	return NULL;
}

/* ---- cgroup ---- */

static void save_cgroup(const struct oci_cgroup *cg, struct hk_record *to)
{
	hk_record_begin(to, "cgroup");
	hk_record_str(to, "path", cg->path);
	hk_record_str(to, "unit", cg->unit.name);
	hk_record_str(to, "slice", cg->unit.slice);
	hk_record_fd(to, "v2", cg->v2_fd);
	hk_record_end(to);
}

static int copy(const struct hk_value *from, const char *name, char **ret)
{
	const char *s = hk_value_str_or(from, name, NULL);

	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

static int load_cgroup(const struct hk_value *from, struct oci_cgroup **ret)
{
	const struct cg_host *host = cg_host_get();
	struct oci_cgroup *cg = host ? calloc(1, sizeof(*cg)) : NULL;

	if (!cg)
		return -ENOMEM;
	cg->host = host;
	cg->v2_fd = hk_value_fd_or(from, "v2");
	if (hk_value_str(from, "path")[0] != '/')
		hk_value_wrong(from, "path", "is not absolute");
	if (copy(from, "path", &cg->path) < 0 || copy(from, "unit", &cg->unit.name) < 0 || copy(from, "slice", &cg->unit.slice) < 0)
		return -ENOMEM;
	*ret = cg;
	return 0;
}

/* ---- the launch of an init that waits for its start ---- */

/* The mapping by its address: a file that can be mapped again. */
static int open_page(const struct oci_page *p)
{
	const uintptr_t from = (uintptr_t)p, size = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t to = from + ((sizeof(*p) + size - 1) & ~(size - 1));
	char path[64];
	int fd;

	(void)hk_fmt(path, sizeof(path), "/proc/self/map_files/%" PRIxPTR "-%" PRIxPTR, from, to);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int save_launch(const struct oci_launch *l, struct hk_record *to, struct hk_err *err)
{
	int page = open_page(l->page);

	if (page < 0)
		return hk_fail(err, HK_INTERNAL, -page, "open the memory that %s shares with the init that waits for its start", l->c->id);
	hk_record_begin(to, "launch");
	hk_record_fd(to, "sock", l->sock);
	hk_record_own_fd(to, "page", &page);
	hk_record_end(to);
	return 0;
}

static int load_launch(struct oci_container *c, const struct hk_value *from)
{
	struct oci_page *page = oci_page_map(hk_value_fd(from, "page"));

	if (!page)
		return -ENOMEM;
	return oci_launch_resume(c, hk_value_fd_or(from, "sock"), page);
}

/* ---- the container ---- */

static size_t annotations_size(const char *kvs)
{
	const char *p = kvs;

	while (p && *p)
		p += strlen(p) + 1;
	return p ? (size_t)(p - kvs) + 1 : 0;
}

static void save_identity(const struct oci_container *c, struct hk_record *to)
{
	hk_record_begin(to, "caps");
	for (int i = 0; i < OCI_N_CAP_SETS; i++)
		hk_record_num(to, "set", (int64_t)c->caps[i]);
	hk_record_end(to);
	hk_record_num(to, "namespaces", (int64_t)c->ns_mask);
	hk_record_num(to, "uid", c->host_uid);
	hk_record_num(to, "gid", c->host_gid);
	hk_record_num(to, "init_pid", c->init_pid);
	hk_record_bool(to, "has_personality", c->has_personality);
	hk_record_num(to, "personality", c->personality);
	hk_record_bool(to, "no_new_privileges", c->no_new_privs);
	hk_record_bool(to, "no_new_keyring", c->no_new_keyring);
	hk_record_bool(to, "in_userns", c->in_userns);
	hk_record_bool(to, "has_private_pidns", c->has_private_pidns);
	hk_record_str(to, "apparmor", c->apparmor_profile);
	hk_record_str(to, "selinux", c->selinux_label);
	if (!c->memory_policy.is_set)
		return;
	hk_record_begin(to, "memory_policy");
	hk_record_num(to, "mode", c->memory_policy.mode);
	hk_record_num(to, "flags", c->memory_policy.flags);
	hk_record_str(to, "nodes", c->memory_policy.nodes);
	hk_record_end(to);
}

static int load_policy(struct oci_container *c, const struct hk_value *from)
{
	char *nodes = NULL;

	if (!from)
		return 0;
	if (copy(from, "nodes", &nodes) < 0)
		return -ENOMEM;
	c->memory_policy = (struct oci_memory_policy){ .is_set = true, .mode = (uint32_t)hk_value_num(from, "mode"),
		.flags = (uint32_t)hk_value_num(from, "flags"), .nodes = nodes };
	return 0;
}

static int load_identity(struct oci_container *c, const struct hk_value *from)
{
	const struct hk_value *caps = hk_value_need(from, "caps"), *set = caps ? hk_value_get(caps, "set") : NULL;

	for (int i = 0; i < OCI_N_CAP_SETS; i++, set = set ? hk_value_next(set) : NULL)
		if (set)
			c->caps[i] = (uint64_t)hk_value_num_of(set);
		else if (caps)
			hk_value_wrong(caps, "set", "is missing");
	c->ns_mask = (uint64_t)hk_value_num(from, "namespaces");
	c->host_uid = (uid_t)hk_value_num(from, "uid");
	c->host_gid = (gid_t)hk_value_num(from, "gid");
	c->init_pid = (pid_t)hk_value_num(from, "init_pid");
	c->has_personality = hk_value_bool(from, "has_personality");
	c->personality = (uint32_t)hk_value_num(from, "personality");
	c->no_new_privs = hk_value_bool(from, "no_new_privileges");
	c->no_new_keyring = hk_value_bool(from, "no_new_keyring");
	c->in_userns = hk_value_bool(from, "in_userns");
	c->has_private_pidns = hk_value_bool(from, "has_private_pidns");
	if (copy(from, "apparmor", &c->apparmor_profile) < 0 || copy(from, "selinux", &c->selinux_label) < 0)
		return -ENOMEM;
	return load_policy(c, hk_value_get(from, "memory_policy"));
}

int oci_container_save(const struct oci_container *c, struct hk_record *to, struct hk_err *err)
{
	hk_record_str(to, "id", c->id);
	hk_record_str(to, "bundle", c->bundle);
	hk_record_str(to, "traceparent", c->traceparent);
	hk_record_bool(to, "needs_spec", c->spec != NULL);
	hk_record_bytes(to, "annotations", c->annotations, annotations_size(c->annotations));
	hk_record_str(to, "host_rootfs", c->host_rootfs);
	hk_record_str(to, "spec_version", c->version);
	hk_record_str(to, "listener_path", c->listener_path);
	hk_record_str(to, "listener_metadata", c->listener_metadata);
	hk_record_fd(to, "seccomp", c->seccomp.fd);
	hk_record_num(to, "seccomp_flags", c->seccomp.flags);
	save_identity(c, to);
	save_cgroup(c->cgroup, to);
	oci_rdt_save(c->rdt, to);
	oci_exec_defaults_save(c->exec_defaults, to);
	return c->init ? save_launch(c->init, to, err) : 0;
}

/* Cut to whole pairs: oci_container_annotation goes from one NUL to the next. */
static int load_annotations(struct oci_container *c, const struct hk_value *from)
{
	size_t len, n = 0;
	const char *kvs = hk_value_bytes(from, "annotations", &len);

	if (!kvs)
		return 0;
	c->annotations = malloc(len + 1);
	if (!c->annotations)
		return -ENOMEM;
	memcpy(c->annotations, kvs, len);
	c->annotations[len] = '\0';
	for (size_t i = 0; i < len; i++)
		n += kvs[i] == '\0';
	if (n % 2 == 0 || kvs[len - 1] != '\0')
		hk_value_wrong(from, "annotations", "are not pairs");
	return 0;
}

static int load_strings(struct oci_container *c, const struct hk_value *from)
{
	c->id = strdup(hk_value_str(from, "id"));
	c->bundle = strdup(hk_value_str(from, "bundle"));
	oci_container_trace(c, hk_value_str_or(from, "traceparent", ""));
	if (!c->id || !c->bundle || copy(from, "host_rootfs", &c->host_rootfs) < 0 || copy(from, "spec_version", &c->version) < 0 ||
	    copy(from, "listener_path", &c->listener_path) < 0 || copy(from, "listener_metadata", &c->listener_metadata) < 0)
		return -ENOMEM;
	return load_annotations(c, from);
}

static int load(struct oci_container *c, const struct hk_value *from)
{
	const struct hk_value *cgroup = hk_value_need(from, "cgroup");
	int r = load_strings(c, from);

	c->seccomp.fd = hk_value_fd_or(from, "seccomp");
	c->seccomp.flags = (uint32_t)hk_value_num_or(from, "seccomp_flags", 0);
	if (r == 0)
		r = load_identity(c, from);
	if (r == 0 && cgroup)
		r = load_cgroup(cgroup, &c->cgroup);
	if (r == 0)
		r = oci_rdt_load(hk_value_get(from, "rdt"), &c->rdt);
	if (r == 0)
		r = oci_exec_defaults_load(hk_value_get(from, "exec_defaults"), &c->exec_defaults);
	return r;
}

int oci_container_load(const struct oci_engine *e, const struct hk_value *from, struct oci_container **ret, struct hk_err *err)
{
	const struct hk_value *launch = hk_value_get(from, "launch");
	struct oci_container *c = calloc(1, sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	if (c) {
		c->engine = e;
		hk_list_init(&c->launches);
		r = load(c, from);
	}
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "take container %s over", hk_value_str_or(from, "id", ""));
	r = hk_value_check(from, err);
	if (r == 0 && hk_value_bool(from, "needs_spec"))
		r = oci_container_read_spec(c, err);
	if (r < 0)
		return r;
	if (launch)
		r = load_launch(c, launch);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "take the start of %s over", c->id);
	*ret = c;
	return 0;
}
