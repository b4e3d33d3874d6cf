/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/timing.h — where the time of a launch goes, told at debug level in one line: what the shim did before the clone, and each step of the
 * child. Without that level nobody reads a clock. Private to oci/.
 */
#pragma once
#include <stdint.h>

struct oci_launch;
struct oci_page;

enum oci_mark { /* the shim's, in this order */
	OCI_MARK_BEGIN,
	OCI_MARK_PARSED, /* config.json read and checked, files opened */
	OCI_MARK_CGROUP, /* made and limited */
	OCI_MARK_CLONED,
	OCI_MARK_CREATED, /* the child waits for start; of an exec: its program runs */
	OCI_MARK_GO,
	OCI_MARK_RUNS,
	OCI_N_MARKS
};
struct oci_times {
	uint64_t at_ns[OCI_N_MARKS]; /* 0 = not timed */
};

void oci_timing_mark(struct oci_times *t, enum oci_mark mark);
/* In the child: what passed since the last call counts for `step`. */
void oci_timing_step(struct oci_page *page, unsigned step);
void oci_timing_tell(const struct oci_launch *l);
