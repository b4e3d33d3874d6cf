/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_unit.h — the systemd driver as data: the names of a unit and the properties it gets. Pure, no bus, no file; oci/cgroup_systemd.c
 * hands what is computed here to husk-systemd. Private to oci/cgroup*.c.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "oci/spec_resources.h"

struct hk_err;

struct cg_unit {
	char *name;  /* owned; "cri-containerd-a1.scope", or a slice */
	char *slice; /* owned; the slice a scope is in, "-.slice" is the root */
};

/* The form slice:prefix:name, which says that systemd shall make the cgroup. */
bool cg_is_unit_form(const char *cgroups_path);
/* "a-b.slice" -> "/a.slice/a-b.slice", "-.slice" -> "". -EINVAL for what is no slice's name; buf has PATH_MAX bytes. */
int cg_slice_path(const char *slice, char *buf);
/* The unit of slice:prefix:name (NULL: not wanted) and where systemd puts its cgroup; *ret_path is heap. */
int cg_unit_parse(const char *cgroups_path, struct cg_unit *ret, char **ret_path, struct hk_err *err);
void cg_unit_done(struct cg_unit *u);
/* A path that systemd gives to a scope or a slice. */
bool cg_is_unit_path(const char *path);

/*
 * What husk-systemd takes, one string a property: "NAME[@VERSION] SIGNATURE VALUE", the signature being D-Bus's. Below systemd VERSION
 * the property is left out. A name that is added again replaces the earlier one.
 */
struct cg_props {
	char **v; /* owned, NULL at the end: fit to follow in an argv */
	size_t n;
};
void cg_props_done(struct cg_props *p);
int cg_props_add(struct cg_props *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cg_props_add_quota(struct cg_props *p, int64_t quota, uint64_t period);

/* A scope holds `pid`; a slice holds nothing yet. */
int cg_props_unit(struct cg_props *p, const struct cg_unit *u, const char *id, pid_t pid, struct hk_err *err);
/* has_bfq: the kernel has io.bfq.weight, which gets the weight before io.weight does; a property must say what its file says. */
int cg_props_resources(struct cg_props *p, const struct oci_resources *r, bool has_bfq, struct hk_err *err);
/*
 * The same on a host with v1 hierarchies, in the properties of their time, which systemd takes until 255. With devices: there systemd writes
 * the whole device list whenever it writes at all, so it must have it.
 */
int cg_props_resources_v1(struct cg_props *p, const struct oci_resources *r, struct hk_err *err);
int cg_props_devices_v1(struct cg_props *p, const struct oci_resources *r, struct hk_err *err);
/* The annotations org.systemd.property.NAME, of the names that decide neither where the container is nor what it may use. */
int cg_props_annotations(struct cg_props *p, const struct oci_kvs *annotations, struct hk_err *err);

/*
 * systemd keeps the quota as whole percents of a second: rounds cpu.quota of *r up to what it will write (but none below the kernel's least,
 * which is to be refused), and fills in the half (quota or period) that is not named from `current`, the text of cpu.max (NULL: the kernel's
 * defaults), as the property needs both.
 */
void cg_unit_settle_cpu(struct oci_resources *r, const char *current);
