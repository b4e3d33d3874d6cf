/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_systemd.h — the systemd cgroup driver: a container's cgroup is a unit of systemd's, which makes and ends it. Private to oci/.
 *
 * The bus is spoken by husk-systemd, a program of its own (oci/systemd_main.c), so that libsystemd is never in the shim's memory: run once
 * for a create, an update and a delete, never for anything else. Order of a create: the set-up process exists and waits (a scope is born
 * around a process), the unit is started with its pid, oci_cgroup_adopt writes what is left, the process goes on.
 */
#pragma once
#include "oci/cgroup.h"
#include "oci/helper.h"

struct oci_kvs;

enum { OCI_UNIT_TIMEOUT_MS = 40000 };

/* Refuses, before anything exists: without systemd, without husk-systemd. */
int oci_unit_check(struct hk_err *err);

struct oci_unit_start {
	const char *id;
	pid_t pid; /* as systemd sees it: husk and systemd share a pid namespace */
	const struct oci_resources *resources;
	const struct oci_kvs *annotations;
};
/*
 * StartTransientUnit and its end, then fn. HK_EXISTS: there is a unit of this name, somebody else's: neither it nor its cgroup may be touched.
 * After any other error a unit may exist all the same: oci_unit_stop.
 */
int oci_unit_start(const struct oci_engine *e, const struct oci_cgroup *cg, const struct oci_unit_start *o, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err);
/*
 * Before an update: what one property holds and two files do (quota and period), or the other way round, is completed from what is in
 * force; the quota is rounded as systemd keeps it.
 */
void oci_unit_settle(const struct oci_cgroup *cg, struct oci_resources *r);
/* The properties of what `r` names (settled); call after oci_cgroup_update, which may refuse. */
int oci_unit_update(const struct oci_engine *e, const struct oci_cgroup *cg, const struct oci_resources *r, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err);
/* StopUnit and ResetFailedUnit; a unit that is gone is success. Call when its processes are dead: systemd would give them 90 s. */
int oci_unit_stop(const struct oci_engine *e, const struct oci_cgroup *cg, oci_helper_fn *fn, void *arg, struct oci_helper **ret,
    struct hk_err *err);
/*
 * For `delete`: the same for the unit whose cgroup has this path, waiting. Success also where the path is no unit's or nobody can ask:
 * its cgroup is empty, so systemd ends it by itself.
 */
int oci_unit_stop_path(const char *cgroup_path, uint32_t timeout_ms, struct hk_err *err);
