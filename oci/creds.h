/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/creds.h — who the process is: user, groups, capability sets, no_new_privs. Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/spec_process.h"

struct hk_err;

/*
 * Takes what we do not have ourselves out of the sets (OCI_N_CAP_SETS of them) and warns: config.md asks not to fail for it. Not for a
 * process of a user namespace, which gets all of them with it.
 */
void oci_caps_limit(uint64_t *caps);
/* PR_SET_NO_NEW_PRIVS. */
int oci_creds_no_new_privs(struct hk_err *err);
/*
 * Bounding set, groups, gid, uid, then permitted, effective, inheritable and ambient sets, in the only order the
 * kernel allows. `caps` is NULL to leave the sets to the kernel's own rules for the change of uid. After it the caller
 * has the container's rights.
 */
int oci_creds_apply(const struct oci_process *p, const uint64_t *caps, struct hk_err *err);
/*
 * Gives fds 0 to 2 to the user, so that programs may reopen /dev/stdout; devices that are everybody's (/dev/null)
 * stay as they are.
 */
int oci_creds_own_stdio(uid_t uid, struct hk_err *err);
