/* SPDX-License-Identifier: Apache-2.0 */
/* oci/remove.h — the removal under way of a container (oci_remove of oci/oci.h). Private to oci/. */
#pragma once
struct oci_removal;

/* Forgets it without callback. Accepts NULL. */
void oci_removal_abort(struct oci_removal *r);
