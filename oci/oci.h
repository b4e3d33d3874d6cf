/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/oci.h — the engine's public header: a validated spec becomes a process in its namespaces, cgroup and mounts.
 *
 * One struct oci_container per container; the caller (sandbox/) owns it and owns the processes it is handed (pid + pidfd): the engine
 * does not watch them after a launch is done. Everything that takes time goes through the loop and ends in a callback that runs
 * exactly once, never before the call that started it has returned. Pids are of the shim's pid namespace. Times are ms.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/cgroup.h"
#include "oci/cgroup_stats.h"
#include "oci/pod.h"
#include "oci/spec.h"

struct hk_err;
struct hk_loop;
struct hk_reaper;

enum { OCI_LAUNCH_TIMEOUT_MS = 120000 }; /* one create or exec, hooks' own timeouts excluded */

struct oci_engine { /* shared by all containers of a process; filled by the caller */
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	const char *run_dir; /* root-only directory for the seccomp cache, such as /run/husk */
	const char *resctrl; /* NULL: where it is mounted. A tree made for a test otherwise */
	/*
	 * Runs first in each child that works on as a copy of us: closes what must end with us. A child may hang in a file system, where SIGKILL does not
	 * reach it, and outlive us with all that it has open. May be NULL.
	 */
	void (*in_child)(void *arg);
	void *in_child_arg;
};

/* Task.Create's rootfs mounts; target is relative to the rootfs, NULL or "" = the rootfs itself. */
struct oci_rootfs_mount {
	const char *type, *source, *target;
	struct oci_strv options;
};

struct oci_container;

/*
 * <bundle>/config.json read and parsed, and its filter found below run_dir (struct oci_engine), ahead of an oci_create that is to come, which does so
 * itself if the file's bytes are others by then. NULL: nothing is gained; what is wrong with the document is oci_create's to tell. _free accepts NULL.
 */
struct oci_draft;
struct oci_draft *oci_draft_new(const char *bundle, const char *run_dir);
void oci_draft_free(struct oci_draft *d);

struct oci_create_opts {
	const char *id, *bundle;               /* bundle is absolute */
	struct oci_draft *draft;               /* borrowed for the call, of use once; NULL = none */
	const struct oci_pod_part *pod;        /* borrowed for the call; NULL = nothing */
	const struct oci_rootfs_mount *rootfs; /* borrowed until the callback */
	size_t n_rootfs;
	bool terminal;      /* wins over process.terminal */
	int stdio[3];       /* borrowed; -1 = /dev/null. Ignored when terminal */
	bool no_pivot, no_new_keyring; /* runc Options 1 and 2 */
	const char *traceparent;       /* for hooks' environment, may be NULL */
	/*
	 * Directory of the checkpoint that the init will come out of, borrowed until the callback; NULL = none. Cgroup and, on the host, rootfs are
	 * made, but no process: the callback gets pid 0. oci_restore then takes the place of oci_start. Hooks of creation and start do not run.
	 */
	const char *checkpoint;
	/* Told when config.json has been read (oci_container_annotation): may set other stdio, or refuse. May be NULL; arg is the callback's. */
	int (*on_spec)(void *arg, const struct oci_container *c, int stdio[3], struct hk_err *err);
	/* Told before anything is made, with what oci_cleanup needs if we die from here on; may refuse. May be NULL; arg is the callback's. */
	int (*on_cgroup)(void *arg, const char *cgroup_path, struct hk_err *err);
};

/* What a finished launch hands over. All fds become the callback's. */
struct oci_launched {
	pid_t pid;
	int pidfd;
	int console_fd; /* pty master (blocking mode as opened), -1 without terminal */
};
/* err == NULL: done, *l is filled. Else: nothing is left of the process, its mounts and (create) its cgroup. */
typedef void oci_launch_fn(void *arg, const struct oci_launched *l, const struct hk_err *err);

/*
 * Reads and validates <bundle>/config.json, makes the cgroup, clones and sets up the init up to the last step before execve.
 * An error return means the callback never runs; *ret is set on success only and belongs to the caller (oci_container_free).
 * When the callback reports an error the container is good for oci_container_free only.
 */
int oci_create(const struct oci_engine *e, const struct oci_create_opts *o, oci_launch_fn *fn, void *arg,
    struct oci_container **ret, struct hk_err *err);

/* Between oci_create and its callback: the init's pid if its cgroup is whole already, 0 = the callback tells both. */
pid_t oci_container_early_pid(const struct oci_container *c);

/* Lets the init run startContainer hooks and execve; the callback (l == NULL) runs when execve has happened or failed, poststart hooks included. */
typedef void oci_done_fn(void *arg, const struct hk_err *err);
int oci_start(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err);

struct oci_exec_opts {
	const char *process_json; /* OCI process document; borrowed for the call */
	size_t process_json_len;
	bool terminal;
	int stdio[3];      /* as in oci_create_opts */
	const char *tree;  /* not NULL: it and all it starts live in a cgroup of that name (oci_cgroup_sub_end ends them, also after a failure) */
	int init_pidfd;    /* borrowed; the live init whose namespaces are joined */
	pid_t init_pid;
};
/* Runs one more process in the container; the callback runs when its execve has happened (l->pid may be dead already) or failed. */
int oci_exec(struct oci_container *c, const struct oci_exec_opts *o, oci_launch_fn *fn, void *arg, struct hk_err *err);
/* Bad input is told at Task.Exec, before anything runs: parses and forgets. */
int oci_exec_check(const char *process_json, size_t len, struct hk_err *err);

/* The W3C trace context that hooks get as TRACEPARENT from now on. What is none (also NULL) means none. */
enum { OCI_TRACEPARENT_SIZE = 56 }; /* 00-<32 hex>-<16 hex>-<2 hex>, with the NUL */
void oci_container_trace(struct oci_container *c, const char *traceparent);

/* Borrowed; NULL before the cgroup was made. */
struct oci_cgroup *oci_container_cgroup(const struct oci_container *c);
/* The init's death ends every process of the container: it has a pid namespace of its own. */
bool oci_container_has_private_pidns(const struct oci_container *c);
/* config.json said process.terminal / process.user mapped to host ids: who may reopen /dev/stdout. */
uid_t oci_container_host_uid(const struct oci_container *c);
gid_t oci_container_host_gid(const struct oci_container *c);
/* NULL when config.json has none of that name. Valid until oci_container_free. */
const char *oci_container_annotation(const struct oci_container *c, const char *key);

/*
 * Task.Update: files first, which may refuse, then systemd where the cgroup is a unit of its. 0: done, fn never runs; 1: fn will; one at a
 * time. `r` is borrowed for the call.
 */
int oci_update(struct oci_container *c, const struct oci_resources *r, oci_done_fn *fn, void *arg, struct hk_err *err);

/*
 * After the init is dead: runs poststop hooks, removes the cgroup (killing what is left in it, with retries). The callback runs when all is
 * gone, or with the error after OCI_REMOVE_TIMEOUT_MS; it may be called again then.
 */
enum { OCI_REMOVE_TIMEOUT_MS = 10000 };
int oci_remove(struct oci_container *c, oci_done_fn *fn, void *arg, struct hk_err *err);
/* Aborts a pending launch or removal without callback, closes all fds, frees. Accepts NULL. Does not touch the kernel's objects. */
void oci_container_free(struct oci_container *c);

/*
 * For `delete` after a dead shim: kills every process below the cgroup path (as saved from oci_cgroup_path), removes the cgroup, waits up to
 * timeout_ms. Blocking: not for the server. Also unmounts whatever is mounted on or below `rootfs` (may be NULL).
 */
int oci_cleanup(const char *cgroup_path, const char *id, const char *rootfs, int timeout_ms, struct hk_err *err);

#include "oci/carry.h" /* the rest of it */
#include "oci/cgroup_shim.h"
#include "oci/checkpoint.h"
