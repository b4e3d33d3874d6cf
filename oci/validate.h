/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/validate.h — the rules of a spec that look at more than one field. Private to oci/; oci_spec_validate of
 * oci/spec.h runs all. Errors are HK_INVALID with the JSON path, but for what this engine does not do:
 * HK_UNSUPPORTED.
 */
#pragma once
#include <stddef.h>

struct hk_err;
struct oci_idmaps;
struct oci_mount;
struct oci_process;
struct oci_spec;

/* The rules of one process, in create and exec alike. */
int oci_process_validate(const struct oci_process *p, struct hk_err *err);
/* validate_ns.c — namespaces, id mappings, time offsets, hostname, network devices. */
int oci_validate_namespaces(const struct oci_spec *s, struct hk_err *err);
/* validate_mounts.c — mounts, masked and read-only paths. */
int oci_validate_mounts(const struct oci_spec *s, struct hk_err *err);
/* sysctl_rules.c — keys and the namespaces they need. */
int oci_validate_sysctl(const struct oci_spec *s, struct hk_err *err);

/*
 * May m be mounted on `destination` (absolute; ".", ".." and doubled slashes are taken out lexically)? At validation
 * for the path as given; again by the one who mounts, for the path it resolved to inside the rootfs. -EINVAL with a
 * text that does not name the mount.
 */
int oci_mount_check_proc(const char *destination, const struct oci_mount *m, struct hk_err *err);

/*
 * "net/ipv4/ip_forward" for "net.ipv4.ip_forward" and "net/ipv4/ip_forward". The first separator decides: in
 * "net/ipv4/conf/eth0.1/x" and "net.ipv4.conf.eth0/1.x" the other one belongs to the name. -EINVAL: an empty, "." or
 * ".." component; -ENAMETOOLONG.
 */
int oci_sysctl_path(const char *key, char *path, size_t size);
