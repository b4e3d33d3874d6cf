/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/limits.h — how much and how fast: rlimits, scheduler, I/O priority, OOM score, CPU affinity, personality, NUMA
 * policy. Private to oci/.
 */
#pragma once
#include <sys/types.h>

#include "oci/spec.h"

struct hk_err;

/* prlimit(2) of every entry; pid 0 = the caller. *ret_at is the entry at work. */
int oci_rlimits_apply(pid_t pid, const struct oci_process *p, int *ret_at, struct hk_err *err);
/* scheduler and ioPriority of the caller; needs the host's privileges. */
int oci_sched_apply(const struct oci_process *p, struct hk_err *err);
/* Writes the caller's own score by /proc of the host: before the mount namespace is left and the ids change. */
int oci_oom_score_apply(const struct oci_process *p, struct hk_err *err);
/*
 * The caller runs on the CPUs of `list` ("0-3,7"), or on all that its cpuset allows for NULL: the shim's own mask
 * never leaks.
 */
int oci_affinity_apply(const char *list, struct hk_err *err);
/* -EINVAL, -ERANGE: what oci_affinity_apply would refuse before it asks the kernel. */
int oci_cpu_list_check(const char *list);
int oci_personality_apply(uint32_t personality, struct hk_err *err);
int oci_mempolicy_apply(const struct oci_memory_policy *m, struct hk_err *err);
/* "0-3,7" into a bitmap of n_bits; -EINVAL, -ERANGE. */
int oci_parse_list(const char *list, unsigned long *bits, size_t n_bits);
