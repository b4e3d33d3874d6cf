/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_shim.h — a cgroup for the shim itself beside those of its containers, so that the kernel counts it to the pod. A leaf of its own, since v2
 * allows no process where there are cgroups with controllers below; of v1 in the hierarchies that count memory, CPU and processes. Part of oci/oci.h.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;

/* Its path, from the cgroupsPath in <bundle>/config.json. HK_INVALID where that says none, or has no pod's cgroup above it. */
int oci_shim_cgroup_path(const char *bundle, const char *group, char *buf, size_t size, struct hk_err *err);
/* The same in a pod's cgroup that is known by itself: a pod without a pause image. */
int oci_shim_cgroup_in(const char *pod, const char *group, char *buf, size_t size, struct hk_err *err);
/* Makes it and moves the calling process there; a failure leaves nothing of it. */
int oci_shim_cgroup_enter(const char *path, struct hk_err *err);
/* Where this process is, if that is such a cgroup: false otherwise. */
bool oci_shim_cgroup_find(const char *group, char *buf, size_t size);
/* Back to the roots, and removes it with those above it that husk has made and nobody needs any more. Best effort: `delete` comes after. */
void oci_shim_cgroup_leave(const char *path);
