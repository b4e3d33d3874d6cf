/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/lsm.h — AppArmor profile and SELinux label that the kernel takes on at the next execve, and the session keyring.
 * Private to oci/.
 */
#pragma once
struct hk_err;

/* In the shim, before anything is made: is what the spec asks for there at all? Empty or NULL asks for nothing. */
int oci_lsm_check(const char *apparmor_profile, const char *selinux_label, struct hk_err *err);
/* In the task that will call execve, through its own unmasked procfs (oci_setup.proc_fd). */
int oci_lsm_apply(int proc_fd, const char *apparmor_profile, const char *selinux_label, struct hk_err *err);
/*
 * A session keyring of its own, named after the container, so that it shares no keys with the host; labelled under
 * SELinux, through proc_fd as above (-1 will do without a label).
 */
int oci_keyring_join(int proc_fd, const char *id, const char *selinux_label, struct hk_err *err);
