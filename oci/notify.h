/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/notify.h — SCMP_ACT_NOTIFY: the listener of a filter on its way from the set-up child to the agent behind
 * linux.seccomp.listenerPath. Private to oci/.
 */
#pragma once

struct hk_err;
struct oci_job;
struct oci_launch;
struct oci_notify;

enum { OCI_NOTIFY_TIMEOUT_MS = 5000 }; /* connect, take, send: all of it */

/* Before anything is made: is there a socket at all? */
int oci_notify_check(const char *path, struct hk_err *err);

/*
 * The child: WANT_AGENT, then the filter. Between seccomp(2) and the return there is no system call: any of them may be
 * one that waits for the agent, who has the listener only when this returns.
 */
int oci_notify_load(struct oci_job *j, struct hk_err *err);

/* The shim, at WANT_AGENT: connects, answers DONE, takes the listener and sends it. A failure fails the launch. */
void oci_notify_begin(struct oci_launch *l);
/* Accepts NULL. */
void oci_notify_abort(struct oci_notify *n);
