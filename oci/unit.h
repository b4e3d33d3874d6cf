/* SPDX-License-Identifier: Apache-2.0 */
/* oci/unit.h — systemd's part in a launch and in an update. Private to oci/. */
#pragma once

struct oci_launch;
struct oci_update;

/* The set-up process of the launch waits for its unit (OCI_MSG_WANT_SCOPE): has it made, then lets the process go on. */
void oci_unit_begin(struct oci_launch *l);
/* Ends an update without its callback. Accepts NULL. */
void oci_update_abort(struct oci_update *u);
