/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/spec_linux.h — mounts, hooks and the parts of `linux` but resources. Part of oci/spec.h; see there for ownership.
 */
#pragma once
#include "oci/spec_process.h"

struct oci_idmap {
	uint32_t container_id, host_id, size;
};
struct oci_idmaps {
	struct oci_idmap *v;
	size_t n;
};

/* ---- mounts ---- */
struct oci_mount {
	const char *destination; /* absolute, inside the rootfs */
	const char *type, *source; /* may be NULL */
	struct oci_strv options;
	struct oci_idmaps uid_mappings, gid_mappings;
};

/* ---- hooks ---- */
struct oci_hook {
	const char *path;
	struct oci_strv args, env;
	bool has_timeout;
	uint32_t timeout_s;
};
enum oci_hook_kind {
	OCI_HOOK_PRESTART, OCI_HOOK_CREATE_RUNTIME, OCI_HOOK_CREATE_CONTAINER,
	OCI_HOOK_START_CONTAINER, OCI_HOOK_POSTSTART, OCI_HOOK_POSTSTOP, OCI_N_HOOK_KINDS
};
struct oci_hooks {
	struct oci_hook *v;
	size_t n;
};

/* ---- linux ---- */
enum oci_ns { OCI_NS_USER, OCI_NS_CGROUP, OCI_NS_IPC, OCI_NS_UTS, OCI_NS_NET, OCI_NS_PID, OCI_NS_MNT, OCI_NS_TIME, OCI_N_NS };
struct oci_namespace {
	bool is_set;
	const char *path; /* NULL = new */
};
struct oci_device {
	char type; /* 'c', 'b', 'p' ('u' is read as 'c') */
	const char *path;
	int64_t major, minor;
	bool has_mode;
	uint32_t mode, uid, gid;
};
enum oci_propagation { OCI_PROP_NONE, OCI_PROP_PRIVATE, OCI_PROP_SLAVE, OCI_PROP_SHARED, OCI_PROP_UNBINDABLE };
struct oci_net_device {
	const char *host_name, *name; /* name NULL = keep */
};
struct oci_memory_policy {
	bool is_set;
	uint32_t mode;  /* MPOL_* */
	uint32_t flags; /* MPOL_F_* */
	const char *nodes;
};
struct oci_intel_rdt {
	bool is_set;
	const char *clos_id, *l3_cache_schema, *mem_bw_schema;
	struct oci_strv schemata;
	bool enable_monitoring;
};

/* ---- linux.seccomp ---- */
struct oci_seccomp_arg {
	uint32_t index;
	uint64_t value, value_two;
	int op; /* enum scmp_compare */
};
struct oci_seccomp_rule {
	struct oci_strv names;
	uint32_t action; /* SCMP_ACT_* with errno folded in */
	struct oci_seccomp_arg *args;
	size_t n_args;
};
struct oci_seccomp {
	bool is_set;
	uint32_t default_action; /* SCMP_ACT_*, errno folded in */
	uint32_t *archs;         /* SCMP_ARCH_* */
	size_t n_archs;
	bool has_flags;
	uint32_t flags; /* SECCOMP_FILTER_FLAG_* (TSYNC accepted and dropped) */
	struct oci_seccomp_rule *rules;
	size_t n_rules;
	const char *listener_path, *listener_metadata;
};
