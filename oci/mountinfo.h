/* SPDX-License-Identifier: Apache-2.0 */
/* oci/mountinfo.h — one line of /proc/PID/mountinfo as fields (proc_pid_mountinfo(5)). Private to oci/. */
#pragma once
#include <stdbool.h>

struct oci_mountinfo { /* strings point into the line, \ooo undone */
	int id, parent;
	const char *dev;           /* "254:0" */
	const char *root, *target; /* within its file system; where it is mounted */
	const char *type, *source, *super_options;
};

/* Takes one line apart, in place; false for what is no such line. */
bool oci_mountinfo_line(char *line, struct oci_mountinfo *ret);
/* The whole text, in place: the next line, *pos moving on; false at the end. Lines that cannot be read are passed over. */
bool oci_mountinfo_next(char **pos, struct oci_mountinfo *ret);
