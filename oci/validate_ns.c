/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/validate_ns.c — namespaces and what depends on them: id mappings, the process's ids, time offsets, host and
 * domain name, network devices. Some are rules of the kernel told early, with the member's name in place of an
 * EINVAL.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/parse.h"
#include "oci/validate.h"

enum {
	MAX_MAPS = 340,        /* user_namespaces(7), since Linux 4.15 */
	MAX_NET_DEVICES = 256, /* our own: they are compared each with each, in the loop that must not block */
};

static int fail(struct hk_err *err, const char *text)
{
	return hk_fail_text(err, HK_INVALID, EINVAL, "%s", text);
}

static bool is_overlap(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size)
{
	return (uint64_t)a < (uint64_t)b + b_size && (uint64_t)b < (uint64_t)a + a_size;
}

static int check_maps(const struct oci_idmaps *maps, const char *name, struct hk_err *err)
{
	if (maps->n > MAX_MAPS)
		return hk_fail_text(
		    err, HK_INVALID, EINVAL, "linux.%s: %zu mappings, the kernel takes %d", name, maps->n, MAX_MAPS);
	for (size_t i = 0; i < maps->n; i++) {
		for (size_t j = 0; j < i; j++) {
			const struct oci_idmap *a = &maps->v[i], *b = &maps->v[j];

			if (is_overlap(a->container_id, a->size, b->container_id, b->size) ||
			    is_overlap(a->host_id, a->size, b->host_id, b->size))
				return hk_fail_text(
				    err, HK_INVALID, EINVAL, "linux.%s[%zu]: overlaps with [%zu]", name, i, j);
		}
	}
	return 0;
}

static bool is_mapped(const struct oci_idmaps *maps, uint32_t id)
{
	for (size_t i = 0; i < maps->n; i++) {
		if (id >= maps->v[i].container_id && id - maps->v[i].container_id < maps->v[i].size)
			return true;
	}
	return false;
}

static int check_process_ids(const struct oci_spec *s, struct hk_err *err)
{
	const struct oci_process *p = &s->process;

	/* The set-up is done as the container's root. */
	if (!is_mapped(&s->uid_mappings, 0))
		return fail(err, "linux.uidMappings: no mapping for user 0 of the container");
	if (!is_mapped(&s->gid_mappings, 0))
		return fail(err, "linux.gidMappings: no mapping for group 0 of the container");
	if (!s->has_process)
		return 0;
	if (!is_mapped(&s->uid_mappings, p->uid))
		return hk_fail_text(
		    err, HK_INVALID, EINVAL, "process.user.uid: %u is not in linux.uidMappings", p->uid);
	if (!is_mapped(&s->gid_mappings, p->gid))
		return hk_fail_text(
		    err, HK_INVALID, EINVAL, "process.user.gid: %u is not in linux.gidMappings", p->gid);
	for (size_t i = 0; i < p->n_additional_gids; i++) {
		if (!is_mapped(&s->gid_mappings, p->additional_gids[i]))
			return hk_fail_text(err, HK_INVALID, EINVAL,
			    "process.user.additionalGids[%zu]: %u is not in linux.gidMappings", i,
			    p->additional_gids[i]);
	}
	return 0;
}

/*
 * CRI sends the mappings with the path of the pod's user namespace too: they must be that namespace's, which the join
 * shows.
 */
static int check_userns(const struct oci_spec *s, struct hk_err *err)
{
	const struct oci_namespace *user = &s->ns[OCI_NS_USER];
	bool has_uids = s->uid_mappings.n > 0, has_gids = s->gid_mappings.n > 0;
	int r;

	if (!user->is_set) {
		if (has_uids || has_gids)
			return hk_fail_text(err, HK_INVALID, EINVAL, "linux.%s: needs the user namespace",
			    has_uids ? "uidMappings" : "gidMappings");
		return 0;
	}
	if (has_uids != has_gids || (!has_uids && !user->path))
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.%s: missing, and the user namespace is %s",
		    has_uids ? "gidMappings" : "uidMappings", user->path ? "given with the other one" : "new");
	r = check_maps(&s->uid_mappings, "uidMappings", err);
	if (r == 0)
		r = check_maps(&s->gid_mappings, "gidMappings", err);
	if (r == 0 && has_uids)
		r = check_process_ids(s, err);
	return r;
}

static int check_time(const struct oci_spec *s, struct hk_err *err)
{
	const struct oci_namespace *ns = &s->ns[OCI_NS_TIME];

	if (!s->time_boottime_s.is_set && !s->time_monotonic_s.is_set)
		return 0;
	if (!ns->is_set)
		return fail(err, "linux.timeOffsets: needs the time namespace");
	if (ns->path) /* the offsets are fixed once a process is in it, time_namespaces(7) */
		return fail(err, "linux.timeOffsets: cannot be set in a time namespace that is joined");
	return 0;
}

static bool is_host_net(const char *path)
{
	struct stat theirs, ours;

	/* A path that cannot be opened is told when it is joined. */
	return stat(path, &theirs) == 0 && stat("/proc/self/ns/net", &ours) == 0 && theirs.st_dev == ours.st_dev &&
	       theirs.st_ino == ours.st_ino;
}

static int check_net_devices(const struct oci_spec *s, struct hk_err *err)
{
	const struct oci_namespace *ns = &s->ns[OCI_NS_NET];

	if (s->n_net_devices == 0)
		return 0;
	if (!ns->is_set || (ns->path && is_host_net(ns->path)))
		return fail(err, "linux.netDevices: needs a network namespace that is not the host's");
	if (s->n_net_devices > MAX_NET_DEVICES)
		return hk_fail_text(err, HK_INVALID, E2BIG, "linux.netDevices: %zu devices, at most %d are taken",
		    s->n_net_devices, MAX_NET_DEVICES);
	for (size_t i = 0; i < s->n_net_devices; i++) {
		const struct oci_net_device *a = &s->net_devices[i];
		const char *percent = a->name ? strchr(a->name, '%') : NULL;

		/* One "%d" makes it a template, of which the kernel makes a free name. */
		if (percent && (percent[1] != 'd' || strchr(percent + 1, '%')))
			return hk_fail_text(err, HK_INVALID, EINVAL,
			    "linux.netDevices[\"%s\"].name: \"%s\" is not a name nor a template with one %%d",
			    a->host_name, a->name);
		for (size_t j = 0; j < i && !percent; j++) {
			const struct oci_net_device *b = &s->net_devices[j];

			if (strcmp(a->name ? a->name : a->host_name, b->name ? b->name : b->host_name) == 0)
				return hk_fail_text(err, HK_INVALID, EINVAL,
				    "linux.netDevices[\"%s\"]: the same name in the container as \"%s\"", a->host_name,
				    b->host_name);
		}
	}
	return 0;
}

static int check_names(const struct oci_spec *s, struct hk_err *err)
{
	enum { UTS_NAME_MAX = 64 }; /* __NEW_UTS_LEN */
	const struct {
		const char *member, *value;
	} names[] = { { "hostname", s->hostname }, { "domainname", s->domainname } };

	for (size_t i = 0; i < 2; i++) {
		if (!names[i].value)
			continue;
		if (!s->ns[OCI_NS_UTS].is_set)
			return hk_fail_text(err, HK_INVALID, EINVAL, "%s: needs the uts namespace", names[i].member);
		if (strlen(names[i].value) > UTS_NAME_MAX)
			return hk_fail_text(
			    err, HK_INVALID, EINVAL, "%s: longer than %d bytes", names[i].member, UTS_NAME_MAX);
	}
	return 0;
}

int oci_validate_namespaces(const struct oci_spec *s, struct hk_err *err)
{
	int r;

	/* Root of a user namespace has no say in the host's mount namespace, not even to return to it. */
	if (!s->ns[OCI_NS_MNT].is_set && s->ns[OCI_NS_USER].is_set)
		return fail(err, "linux.namespaces: the mount namespace is missing, which a user namespace needs");
	r = check_userns(s, err);
	if (r == 0)
		r = check_time(s, err);
	if (r == 0)
		r = check_names(s, err);
	if (r == 0)
		r = check_net_devices(s, err);
	return r;
}
