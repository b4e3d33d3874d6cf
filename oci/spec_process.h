/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/spec_process.h — `process` of config.json and process.json. Part of oci/spec.h; see there for ownership.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct oci_strv {
	const char **v; /* n entries, then NULL: fit for execve */
	size_t n;
};
struct oci_kv {
	const char *key, *value;
};
struct oci_kvs {
	struct oci_kv *v;
	size_t n;
};
/* ---- process ---- */
enum oci_cap_set { OCI_CAP_BOUNDING, OCI_CAP_EFFECTIVE, OCI_CAP_INHERITABLE, OCI_CAP_PERMITTED, OCI_CAP_AMBIENT, OCI_N_CAP_SETS };
struct oci_rlimit {
	int resource; /* RLIMIT_* */
	uint64_t soft, hard;
};
struct oci_scheduler {
	bool is_set;
	uint32_t policy; /* SCHED_* */
	int32_t nice, priority;
	uint64_t flags; /* SCHED_FLAG_* */
	uint64_t runtime, deadline, period; /* ns */
};
struct oci_process {
	bool terminal;
	bool has_reaper; /* husk-init runs it (oci/reaper.h) */
	uint16_t console_rows, console_cols; /* 0 = not given */
	uint32_t uid, gid;
	bool has_umask;
	uint32_t umask;
	uint32_t *additional_gids;
	size_t n_additional_gids;
	struct oci_strv args, env;
	const char *cwd;
	bool has_capabilities; /* false: inherit (exec) or leave as the runtime's own (create), as runc does */
	uint64_t caps[OCI_N_CAP_SETS]; /* bit n = capability n; names this kernel does not know are left out */
	bool has_no_new_privileges;
	bool no_new_privileges;
	struct oci_rlimit *rlimits;
	size_t n_rlimits;
	bool has_oom_score_adj;
	int oom_score_adj;
	const char *apparmor_profile, *selinux_label;
	struct oci_scheduler scheduler;
	bool has_io_priority;
	int io_priority_class; /* IOPRIO_CLASS_* */
	int io_priority;
	const char *exec_cpu_affinity_initial, *exec_cpu_affinity_final; /* cpu lists */
};
