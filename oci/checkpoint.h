/* SPDX-License-Identifier: Apache-2.0 */
/* oci/checkpoint.h — containers dumped and restored by the program criu, in a process of its own. Part of oci/oci.h. */
#pragma once
#include <stddef.h>

#include "oci/oci.h"

#define OCI_CRIU_DUMP_LOG "dump.log"
#define OCI_CRIU_RESTORE_LOG "restore.log"
enum { OCI_CRIU_LOG_LINES = 20 };

struct oci_checkpoint_opts { /* borrowed for the call */
	const char *image_dir, *work_dir; /* absolute, made where missing; work_dir: CRIU's log and statistics */
	bool leave_running, open_tcp, external_unix_sockets, file_locks;
	struct oci_strv empty_namespaces;
	const char *cgroups_mode; /* NULL or "": CRIU's own */
};
/* The container runs or is paused. HK_UNSUPPORTED, before anything is done, where there is no criu. One at a time. */
int oci_checkpoint(struct oci_container *c, const struct oci_checkpoint_opts *o, oci_done_fn *fn, void *arg, struct hk_err *err);

struct oci_restore_opts { /* borrowed for the call */
	const char *image_dir, *work_dir;
	int stdio[3]; /* as in oci_create_opts */
};
/* Of a container created with `checkpoint`. After a failure nothing of it runs, and it may be tried again. */
int oci_restore(struct oci_container *c, const struct oci_restore_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err);
/* The last lines of such a log, "" when there is none. */
void oci_criu_log(const char *path, char *buf, size_t size);
