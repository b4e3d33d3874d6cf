/* SPDX-License-Identifier: Apache-2.0 */
/* oci/checkpoint.h — a dump or a restore by CRIU under way (oci_checkpoint and oci_restore of oci/oci.h). Private to oci/. */
#pragma once
#include <stddef.h>

#include "oci/oci.h"

struct hk_err;
struct oci_dump;
struct oci_job;
struct oci_restore;

/* checkpoint.c: ends it without callback; CRIU is killed and lets go of what it held. Accepts NULL. */
void oci_dump_abort(struct oci_dump *d);

/* restore.c: the second half of oci_create for a container that will be restored. Takes *take_job. fn gets pid 0. */
struct oci_restoring {
	const char *checkpoint; /* borrowed until the callback */
	struct oci_job **take_job;
	oci_launch_fn *fn;
	void *arg;
};
int oci_restore_prepare(struct oci_container *c, const struct oci_restoring *o, struct hk_err *err);
/* Ends preparation or restore without callback. Accepts NULL. */
void oci_restore_abort(struct oci_restore *r);
