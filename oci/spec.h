/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/spec.h — config.json and process.json as plain structs (runtime-spec 1.3, linux). Part of oci/oci.h.
 *
 * Everything hangs on one arena: strings and arrays are borrowed from it, NULL / n == 0 where the document has none.
 * `has_*` tells "given" where zero is a value of its own. After oci_spec_validate() the spec is const: nobody patches it.
 */
#pragma once
#include "oci/base/arena.h"
#include "oci/spec_linux.h"
#include "oci/spec_process.h"
#include "oci/spec_resources.h"

struct hk_err;

struct oci_spec {
	struct hk_arena arena; /* owns all below */
	const char *version;
	const char *root_path; /* as given; relative to the bundle */
	bool root_readonly;
	const char *hostname, *domainname;
	bool has_process;
	struct oci_process process;
	struct oci_mount *mounts;
	size_t n_mounts;
	struct oci_hooks hooks[OCI_N_HOOK_KINDS];
	struct oci_kvs annotations;

	struct oci_namespace ns[OCI_N_NS];
	struct oci_idmaps uid_mappings, gid_mappings;
	struct oci_opt_i64 time_boottime_s, time_boottime_ns, time_monotonic_s, time_monotonic_ns;
	struct oci_device *devices;
	size_t n_devices;
	struct oci_kvs sysctl;
	const char *cgroups_path;
	struct oci_resources resources;
	enum oci_propagation rootfs_propagation;
	bool rootfs_propagation_recursive;
	struct oci_seccomp seccomp;
	struct oci_strv masked_paths, readonly_paths;
	const char *mount_label;
	struct oci_intel_rdt intel_rdt;
	bool has_personality;
	uint32_t personality; /* PER_* */
	struct oci_memory_policy memory_policy;
	struct oci_net_device *net_devices;
	size_t n_net_devices;
};

/*
 * Each parses a JSON text (need not be NUL-terminated). Unknown fields are ignored, unknown enum values and wrong types are
 * HK_INVALID with the JSON path in the text ("linux.seccomp.syscalls[3].action: unknown value ..."). Depth, size and element
 * counts are bounded. *ret is heap-allocated; free with oci_spec_free (accepts NULL).
 */
int oci_spec_parse(const char *json, size_t len, struct oci_spec **ret, struct hk_err *err);
/* The text of <bundle>/config.json, for oci_spec_parse; heap. 0 or -errno. */
int oci_config_read(const char *bundle, char **ret, size_t *ret_len);
void oci_spec_free(struct oci_spec *s);
/* Cross-field rules of a container that shall be created (oci/validate.c lists them). */
int oci_spec_validate(const struct oci_spec *s, struct hk_err *err);
/* process.json of an exec; strings live in `arena`. */
int oci_process_parse(const char *json, size_t len, struct hk_arena *arena, struct oci_process *ret, struct hk_err *err);
/* LinuxResources of Task.Update; strings live in `arena`. */
int oci_resources_parse(const char *json, size_t len, struct hk_arena *arena, struct oci_resources *ret, struct hk_err *err);
/* Only the annotations of <bundle>/config.json (the `start` command's needs); *ret lives in `arena`. A missing file: n = 0. */
int oci_annotations_read(const char *bundle, struct hk_arena *arena, struct oci_kvs *ret, struct hk_err *err);
/* Only its linux.cgroupsPath, in the same way; NULL: it says none. */
int oci_cgroups_path_read(const char *bundle, struct hk_arena *arena, const char **ret, struct hk_err *err);
/* The value of `key`, or NULL. */
const char *oci_kvs_get(const struct oci_kvs *kvs, const char *key);
