/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/pod_mounts.h — what a pod without a pause image gives to each container (/etc/hosts, /dev/shm, ...), put into the spec before it is
 * checked. Private to oci/.
 */
#pragma once
#include <stddef.h>

struct hk_err;
struct oci_pod_mount;
struct oci_spec;

int oci_pod_mounts_add(struct oci_spec *s, const struct oci_pod_mount *v, size_t n, struct hk_err *err);
/* One bind of a file or directory of the host, appended; options borrowed, ending with NULL. */
int oci_pod_mount_append(struct oci_spec *s, const char *destination, const char *source, const char *const *options, struct hk_err *err);
