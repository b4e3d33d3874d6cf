/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/exec_defaults.h — what an exec has of its container's process where its own process.json says nothing, as with runc: umask, rlimits,
 * OOM score, scheduler, I/O priority and CPUs. (Capabilities, labels and no_new_privs: exec.c.)
 */
#pragma once

#include "oci/base/err.h"
#include "oci/spec_process.h"

struct hk_record;
struct hk_value;
struct oci_exec_defaults; /* one block of the heap */

/* *ret is the caller's to free(); NULL where p sets none of it. */
int oci_exec_defaults_keep(const struct oci_process *p, struct oci_exec_defaults **ret, struct hk_err *err);
/* d may be NULL. What is put into p is d's. */
void oci_exec_defaults_fill(const struct oci_exec_defaults *d, struct oci_process *p);
/* Over an upgrade (oci/carry.h). NULL is nothing, and so read. */
void oci_exec_defaults_save(const struct oci_exec_defaults *d, struct hk_record *to);
int oci_exec_defaults_load(const struct hk_value *from, struct oci_exec_defaults **ret);
