/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/criu.h — the program criu, which dumps and restores process trees: its argument list, its log, and what a container has that lies
 * outside of it. All but the log is the business of the helper that becomes criu. Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "oci/base/arena.h"
#include "oci/oci.h"

struct hk_err;
struct oci_cgroup;
struct oci_spec;

enum { OCI_CRIU_TIMEOUT_MS = 600000 }; /* the memory of the largest containers goes through a disk */

/* ---- criu.c ---- */
struct oci_criu_args {
	struct hk_arena arena;
	const char *program; /* absolute; owned by the arena */
	const char **v;
	size_t n, cap;
	bool is_short_of_memory;
};
/* In PATH; HK_UNSUPPORTED when it is not there. */
int oci_criu_find(struct oci_criu_args *a, struct hk_err *err);
void oci_criu_arg(struct oci_criu_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* execve; stdout and stderr, and with them CRIU's log, go into a new file. Returns with an error only. */
int oci_criu_exec(const struct oci_criu_args *a, const char *log_path, struct hk_err *err);
/* Makes the directory of the images or of the log. */
int oci_criu_mkdir(const char *path, struct hk_err *err);

/* ---- criu_image.c ---- */
enum { OCI_CRIU_NET = 1, OCI_CRIU_PID = 2, OCI_CRIU_IPC = 4, OCI_CRIU_UTS = 8 };
enum oci_criu_from { OCI_CRIU_BIND, OCI_CRIU_DEV, OCI_CRIU_CGROUP };
struct oci_criu_mount { /* a mount that belongs to somebody else: CRIU keeps its name, and is told at the restore where to take it from */
	enum oci_criu_from from;
	const char *target; /* inside the container */
	const char *what;   /* BIND: destination of config.json's mount; DEV: name in the host's /dev; CGROUP: of the hierarchy */
	const char *rest;   /* BIND: what lies below that destination */
};
struct oci_criu_image { /* strings are the arena's */
	struct oci_criu_mount *mounts;
	size_t n_mounts, cap_mounts;
	const char *stdio[3]; /* CRIU's names of descriptors that lead out, NULL = inside */
	unsigned joined;      /* OCI_CRIU_*: namespaces that were joined by path */
};
int oci_criu_collect(pid_t init, const struct oci_spec *spec, struct hk_arena *a, struct oci_criu_image *ret, struct hk_err *err);
/* Beside CRIU's own images. */
int oci_criu_image_write(const char *dir, const struct oci_criu_image *m, struct hk_err *err);
int oci_criu_image_read(const char *dir, struct hk_arena *a, struct oci_criu_image *ret, struct hk_err *err);

/* ---- a dump or a restore under way ---- */
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
