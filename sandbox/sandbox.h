/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/sandbox.h — a pod: containers, their processes, stdio, states, exits and events. The only header of sandbox/ that shim/ sees.
 *
 * Requests are plain structs, borrowed for the call unless said otherwise. A request that takes time ends in its struct sbx_done, which
 * runs exactly once: from the loop, before the call returns, or (HK_UNAVAILABLE) within sbx_pod_free. Nothing blocks. Kinds of errors:
 * HK_NOT_FOUND unknown container or exec id ("container not created", "process does not exist <id>"), HK_EXISTS id taken, HK_BAD_STATE wrong
 * moment, HK_INVALID bad input. Texts follow shim-protocol: clients match on some of them. Pids are of the shim's pid namespace.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "oci/oci.h"
#include "sandbox/podsandbox.h"

struct hk_err;
struct sbx_pod;

enum sbx_status { SBX_UNKNOWN, SBX_CREATED, SBX_RUNNING, SBX_STOPPED, SBX_PAUSED, SBX_PAUSING }; /* = task.Status */

/* ---- events, in the order containerd must see them; told through opts.on_event the moment they become facts ---- */
enum sbx_event_type {
	SBX_EV_CREATE, SBX_EV_START, SBX_EV_EXIT, SBX_EV_DELETE, SBX_EV_OOM, SBX_EV_EXEC_ADDED, SBX_EV_EXEC_STARTED, SBX_EV_PAUSED, SBX_EV_RESUMED
};
/* Which limit made the kernel kill for memory: the container's cgroup's (or of one below it), the pod's right above it, or one that pods share, or none. */
enum sbx_limit { SBX_LIMIT_UNKNOWN, SBX_LIMIT_CONTAINER, SBX_LIMIT_POD, SBX_LIMIT_NODE };
const char *sbx_limit_name(enum sbx_limit limit); /* "container"; "" = unknown */
struct sbx_event {
	enum sbx_event_type type;
	const char *id;      /* container */
	const char *exec_id; /* exec, or "" for the init */
	uint32_t pid, exit_status;
	struct timespec exited_at;
	const char *checkpoint; /* from here to n_rootfs SBX_EV_CREATE only; "" = none */
	const char *bundle, *stdin_path, *stdout_path, *stderr_path;
	bool terminal;
	const struct oci_rootfs_mount *rootfs;
	size_t n_rootfs;
	enum sbx_limit limit; /* SBX_EV_OOM only, to the end */
	const char *limit_cgroup; /* so many bytes of it; 0 = no cgroup's, the machine had no memory left */
	size_t limit_cgroup_len;
};
typedef void sbx_event_fn(void *arg, const struct sbx_event *ev);

struct sbx_pod_opts {
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	const char *run_dir;   /* of the node, such as /run/husk: the seccomp cache */
	const char *state_dir; /* of one daemon's pods: state files below <state_dir>/<namespace>/<group> */
	const char *ns, *group; /* containerd namespace; group id of this shim */
	const char *socket, *shim_cgroup; /* for the state file: our socket path; our own cgroup, NULL or "" = none */
	sbx_event_fn *on_event;
	void (*in_child)(void *arg); /* struct oci_engine's; NULL = nothing to do */
	void *arg;
};
int sbx_pod_new(const struct sbx_pod_opts *o, struct sbx_pod **ret, struct hk_err *err);
/* By `start`, while the server begins: the state file of sbx_pod_new, which makes it if this could not; and away with it if there was no server. */
void sbx_pod_record(const struct sbx_pod_opts *o, pid_t server);
void sbx_pod_unrecord(const struct sbx_pod_opts *o, pid_t server);
/* Removes the pod's state directory, unless there are containers, a sandbox, or a successor whose directory it is by now. For the end alone. */
void sbx_pod_forget(struct sbx_pod *p);
void sbx_pod_free(struct sbx_pod *p); /* forgets, and frees memory and fds; containers keep running */
void sbx_pod_expect(struct sbx_pod *p, const char *bundle); /* is soon to be created: what can be is done before (oci_draft_new). NULL: no longer */
size_t sbx_pod_count(const struct sbx_pod *p); /* containers, of any state; a sandbox is none: sbx_has_sandbox */
struct sbx_reply {
	uint32_t pid, exit_status;
	struct timespec exited_at;
	const char *detail; /* beside an error: more than its text has room for (CRIU's log); NULL or "" otherwise */
	struct timespec started_at; /* StartSandbox only */
};
typedef void sbx_done_fn(void *arg, const struct sbx_reply *reply, const struct hk_err *err);
struct sbx_done {
	sbx_done_fn *fn;
	void *arg;
};

struct sbx_create {
	const char *id, *bundle;
	const struct oci_rootfs_mount *rootfs;
	size_t n_rootfs;
	bool terminal;
	const char *stdin_path, *stdout_path, *stderr_path; /* "" = none */
	const char *checkpoint;     /* directory of images that Start restores the init from; NULL or "" = none */
	const char *criu_work_path; /* of that; NULL or "": below the bundle */
	bool no_pivot, no_new_keyring;
	bool has_io_owner; /* runc Options io_uid/io_gid, host ids */
	uid_t io_uid;
	gid_t io_gid;
	const char *traceparent;
};
struct sbx_checkpoint {
	const char *path; /* where the images go */
	bool exit;        /* the container ends with it */
	bool open_tcp, external_unix_sockets, file_locks;
	struct oci_strv empty_namespaces;
	const char *cgroups_mode, *work_path; /* NULL or "": the usual */
};
struct sbx_exec {
	const char *id, *exec_id;
	bool terminal;
	const char *stdin_path, *stdout_path, *stderr_path;
	const char *spec_json;
	size_t spec_json_len;
};
struct sbx_state {
	const char *id; /* of the process: exec id or container id; strings are borrowed from the pod, use at once */
	const char *bundle, *stdin_path, *stdout_path, *stderr_path;
	uint32_t pid;
	enum sbx_status status;
	bool terminal;
	uint32_t exit_status;
	struct timespec exited_at; /* zero while running */
};
struct sbx_pid {
	pid_t pid;
	const char *exec_id; /* NULL when the process is not an exec's leader */
};

/* The trace context (W3C) of a request that follows: of the container's hooks from now on. Create has it in its struct. */
void sbx_trace(struct sbx_pod *p, const char *id, const char *traceparent);
/* Everywhere: exec_id "" or NULL = the init. */
void sbx_create(struct sbx_pod *p, const struct sbx_create *r, struct sbx_done done);
void sbx_start(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_done done);
int sbx_exec(struct sbx_pod *p, const struct sbx_exec *r, struct hk_err *err);
void sbx_wait(struct sbx_pod *p, const char *id, const char *exec_id, int64_t timeout_ms, struct sbx_done done); /* < 0 = for ever; else HK_DEADLINE */
int sbx_state(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_state *ret, struct hk_err *err);
int sbx_kill(struct sbx_pod *p, const char *id, const char *exec_id, int sig, bool all, struct hk_err *err);
void sbx_delete(struct sbx_pod *p, const char *id, const char *exec_id, struct sbx_done done);
void sbx_pause(struct sbx_pod *p, const char *id, struct sbx_done done);
void sbx_resume(struct sbx_pod *p, const char *id, struct sbx_done done);
/* *ret: heap array (caller frees); a stopped container answers its init's pid (shim-protocol 3.11). */
int sbx_pids(struct sbx_pod *p, const char *id, struct sbx_pid **ret, size_t *ret_n, struct hk_err *err);
int sbx_close_stdin(struct sbx_pod *p, const char *id, const char *exec_id, struct hk_err *err);
int sbx_resize(struct sbx_pod *p, const char *id, const char *exec_id, uint16_t cols, uint16_t rows, struct hk_err *err);
uint32_t sbx_init_pid(struct sbx_pod *p, const char *id); /* 0 for an unknown one; never fails (Task.Connect), stays after the exit */
/* Done when the images are there; HK_UNSUPPORTED without the program criu. Failures come with detail. */
void sbx_checkpoint(struct sbx_pod *p, const char *id, const struct sbx_checkpoint *r, struct sbx_done done);
void sbx_update(struct sbx_pod *p, const char *id, const char *json, size_t len, struct sbx_done done); /* LinuxResources, borrowed; len 0: HK_INVALID */
/* *ret is *buf, which the caller ends with oci_stats_done in any case, or the pod's; use at once. HK_NOT_FOUND: unknown, or its cgroup is gone. */
int sbx_stats(struct sbx_pod *p, const char *id, struct oci_stats *buf, const struct oci_stats **ret, struct hk_err *err);

/*
 * For the `delete` command, in a process of its own, blocking, idempotent and silent. Reads the state files of <state_dir>/<ns>: if the shim that
 * owns `id` still listens, removes nothing of its siblings and nothing of a container that lives; if it is dead, kills every process of the
 * whole group, removes cgroups, mounts and state files. *ret is the reply to print (pid of the init, 137, now; zeroes when unknown).
 */
int sbx_cleanup(const char *state_dir, const char *ns, const char *id, const char *bundle, struct sbx_reply *ret, struct hk_err *err);
