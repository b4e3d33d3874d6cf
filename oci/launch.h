/* SPDX-License-Identifier: Apache-2.0 */
/* oci/launch.h — a launch (the shim's side of a create or an exec) and the job of its child. Private to oci/. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/base/child.h"
#include "oci/base/err.h"
#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "oci/cgroup.h"
#include "oci/container.h"
#include "oci/helper.h"
#include "oci/hooks.h"
#include "oci/oci.h"
#include "oci/seccomp.h"
#include "oci/setup.h"
#include "oci/sync.h"
#include "oci/timing.h"

struct oci_launch;

/* The child's whole knowledge; built before the clone, borrowed by the child until execve. */
struct oci_job {
	struct oci_setup s;
	const struct oci_container *c;
	const struct oci_process *process;
	struct oci_page *page;
	struct hk_arena arena; /* exec: owns process */
	int ns_fds[OCI_N_NS];  /* create: joined by path */
	uint64_t clone_mask;   /* create: CLONE_NEW* that the last clone makes */
	bool needs_middle;     /* pid, time or user namespace: M clones I */
	bool enters_cgroup;    /* not born there: the first process writes itself in */
	bool is_in_v2;         /* born in the v2 part of a hybrid host's: only v1's are to be entered */
	bool is_cgroup_begun;  /* made while we work: entered as late as can be, by cgroup_fds once they are held */
	bool holds_cgroup;
	int cgroup_fds[OCI_CGROUP_HOLD_MAX];
	bool late_cgroupns;    /* then its cgroup namespace comes after that */
	bool late_netns;       /* made by the init itself, beside the cgroup */
	int tree_fd;           /* exec: owned; the cgroup of its own inside the container's, -1 = none */
	bool is_exec;
	int init_pidfd;        /* exec: borrowed from the caller */
	pid_t init_pid;
	int null_fd;           /* the host's /dev/null for stdio that is not given, -1 = not needed */
	bool nnp, in_cwd;
	const uint64_t *caps;  /* NULL = as the kernel has it */
	const char *apparmor_profile, *selinux_label;
	struct oci_bpf bpf;    /* owned */
	char **env;
	struct oci_times times; /* so far */
	char exe[4096];
};

enum launch_state {
	LS_COMPILING,  /* the seccomp profile, in a child of its own */
	LS_SETTING_UP, /* the child works through its steps */
	LS_SCOPE,      /* it waits for systemd to make its unit */
	LS_HOOKS,      /* it waits for prestart and createRuntime hooks */
	LS_CREATED,    /* it waits for oci_start; the process is the caller's by now */
	LS_STARTING,   /* GO is sent, execve is near */
	LS_POSTSTART,  /* hooks again */
	LS_FAILING,    /* killing, reaping, removing what was made */
	LS_LINGERING,  /* told, but the middle process is not reaped yet */
	LS_N_STATES
};

struct oci_launch {
	struct hk_list node;
	struct oci_container *c;
	enum launch_state state;
	bool is_cgroup_begun; /* and not whole: only what of it is ours may be removed */
	bool is_cgroup_early; /* it is whole, while the init still works */
	bool is_exec, is_hooked; /* hooked: create reached its hooks, so a failure runs poststop */
	bool is_unit_ours; /* systemd was asked for it, and did not say that it is another's */
	struct oci_job *job;     /* NULL once the child has its copy */
	struct oci_page *page;
	int sock;                /* owned */
	struct hk_source src;
	struct hk_timer timer;   /* the deadline; while failing: the next try to remove the cgroup */
	uint64_t fail_by_ns;     /* removal gives up */
	uint32_t retry_ms;
	struct hk_child first, final; /* watched only where we reap them: M always, I when the launch fails */
	struct hk_hold hold_first, hold_final; /* until the final process is the caller's */
	pid_t first_pid;
	int first_pidfd; /* owned until watched or handed over */
	int console_fd;  /* owned until handed over */
	struct oci_hook_run *hooks;
	struct oci_helper *helper; /* compiles the filter; asks systemd; moves network devices */
	struct oci_notify *notify;
	oci_launch_fn *fn;
	oci_done_fn *started;
	void *arg;
	struct oci_times times;
	struct hk_err err;
};

/* child.c, exec.c: the steps from the first instruction to execve. Never return. */
_Noreturn void oci_child_create(struct oci_job *j);
_Noreturn void oci_child_exec(struct oci_job *j);

/* carry.c's: an init that waits for its start (sock -1: it has ended). Takes both on success. */
int oci_launch_resume(struct oci_container *c, int sock, struct oci_page *page);
/* launch.c. Takes *take_job (heap). On error the job is freed and nothing is left; else fn runs once, later. */
int oci_launch_begin(struct oci_container *c, struct oci_job **take_job, oci_launch_fn *fn, void *arg, struct hk_err *err);
int oci_launch_start(struct oci_launch *l, oci_done_fn *fn, void *arg, struct hk_err *err);

/* teardown.c. Fails the launch: takes everything apart, then tells the caller, never from within the caller's own call. */
void oci_launch_fail(struct oci_launch *l, const struct hk_err *err);
/* The same with the child's current step in the text. */
void oci_launch_fail_step(struct oci_launch *l, enum hk_kind kind, int code, const char *what);
/* Closes the socket; frees it, at once or (end) when its middle process is reaped; tells oci_start's caller and ends. */
void oci_launch_close(struct oci_launch *l);
void oci_launch_free(struct oci_launch *l);
void oci_launch_end(struct oci_launch *l);
void oci_launch_started(struct oci_launch *l, const struct hk_err *err);
/* Ends it without callback, kills the half-made processes. */
void oci_launch_abort(struct oci_launch *l);
void oci_launch_first_exit(void *owner, const struct hk_exit *x);
void oci_launch_timer(void *owner);
int oci_pidfd_open(pid_t pid);
void oci_pidfd_kill(int pidfd);

/* container.c */
struct oci_job *oci_job_new(struct oci_container *c);
void oci_job_free(struct oci_job *j);
/* Where the three come from; opens the host's null device if one is missing. */
int oci_job_stdio(struct oci_job *j, bool terminal, const int stdio[3], struct hk_err *err);
