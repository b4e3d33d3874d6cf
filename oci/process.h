/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/process.h — the steps that an init and an exec have in common, in the order their tables list them, and the
 * runner of such a table. Private to oci/.
 */
#pragma once
#include <stddef.h>

#include "oci/sync.h"

struct hk_err;
struct oci_job;
struct oci_setup;

struct oci_row { /* exactly one of the two functions */
	enum oci_step step;
	int (*fn)(struct oci_job *j, struct hk_err *err);
	int (*file_fn)(struct oci_setup *s, struct hk_err *err); /* oci/files.h */
};

/* Runs the rows in order; the first failure is told to the shim and ends the process. */
void oci_rows_run(struct oci_job *j, const struct oci_row *rows, size_t n);
/* Tells the failure of the current step and exits. */
_Noreturn void oci_rows_fail(struct oci_job *j, const struct hk_err *err);

int oci_step_session(struct oci_job *j, struct hk_err *err);
int oci_step_affinity(struct oci_job *j, struct hk_err *err);
int oci_step_cgroup(struct oci_job *j, struct hk_err *err);
int oci_step_rdt(struct oci_job *j, struct hk_err *err);
int oci_step_oom_score(struct oci_job *j, struct hk_err *err);
int oci_step_keyring(struct oci_job *j, struct hk_err *err);
int oci_step_stdio(struct oci_job *j, struct hk_err *err);
int oci_step_sched(struct oci_job *j, struct hk_err *err);
int oci_step_lsm(struct oci_job *j, struct hk_err *err);
int oci_step_rlimits(struct oci_job *j, struct hk_err *err);
/* Loads the filter if its turn is now: before the capabilities go, or with no_new_privs last. */
int oci_step_seccomp_privileged(struct oci_job *j, struct hk_err *err);
int oci_step_env(struct oci_job *j, struct hk_err *err);
/* The first try, with the shim's rights. */
int oci_step_cwd_early(struct oci_job *j, struct hk_err *err);
int oci_step_creds(struct oci_job *j, struct hk_err *err);
int oci_step_cwd(struct oci_job *j, struct hk_err *err);
int oci_step_lookup(struct oci_job *j, struct hk_err *err);
/* Last filter, fds, execve; returns only an error. */
int oci_step_exec(struct oci_job *j, struct hk_err *err);
