/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/pod.h — the objects of a pod and how they call each other. Private to sandbox/.
 *
 * The pod owns its containers, a container its init and execs, a process its pidfd, stdio and waiters. Pointers upwards never own. A
 * container leaves the list only in container_free(), which runs after its last callback.
 */
#pragma once
#include "oci/base/arena.h"
#include "oci/base/child.h"
#include "oci/base/list.h"
#include "oci/base/loop.h"
#include "sandbox/process.h"
#include "sandbox/sandbox.h"
#include "sandbox/state.h"

struct sbx_podsandbox;

struct sbx_pod {
	struct hk_loop *loop;
	struct hk_reaper *reaper;
	struct oci_engine engine;
	char *run_dir, *ns, *socket;
	char *dir; /* <state_dir>/<ns>/<group>: one state file a container (sandbox/store.h) */
	sbx_event_fn *on_event;
	void *arg;
	struct hk_list containers;
	struct hk_list oom_slices; /* oom_slice.c */
	struct hk_list oom_levels; /* oom_level.c */
	struct oci_draft *draft; /* owned; of the first container's document, NULL = none (any more) */
	struct sbx_podsandbox *sandbox; /* owned; NULL = a pause container is the sandbox, or there is none yet */
};

/* Of a limit: how often it was hit, and when that was last seen to have grown; 0 = never. */
struct oom_hits {
	int64_t n;
	uint64_t last_ns;
};

struct sbx_container {
	struct hk_list node;
	struct sbx_pod *pod;
	enum ct_state state;
	char *id, *bundle;
	struct oci_container *oci;
	struct sbx_process init;
	struct hk_list execs;
	struct sbx_checkpointing *checkpointing; /* checkpoint.c: owned; CRIU dumps it */
	struct sbx_restore *restore;   /* checkpoint.c: owned; its init is still in a checkpoint */
	struct sbx_creating *creating; /* container_create.c; only while state is CT_CREATING */
	struct sbx_done start;
	struct sbx_done update_done; /* sandbox.c: systemd is being told */
	struct oci_stats *stats; /* stats.c: owned; the last ones, where they would be lost with the cgroup */
	/* freeze.c */
	struct hk_timer freeze_timer;
	struct sbx_done freeze_done;
	uint64_t freeze_until_ns;
	unsigned freeze_delay_ms;
	bool freeze_want;
	/* oom.c */
	bool is_oom_watched, is_oom_lost;
	struct oom_slice *oom_slice; /* NULL: only husk removes the cgroup */
	int oom_fd; /* owned */
	struct hk_source oom_src;
	struct hk_timer oom_timer;
	struct oci_oom oom;  /* as last seen */
	/* oom_level.c */
	uint64_t oom_heard; /* by its eventfd, v1 */
	struct oom_hits oom_own;
	unsigned n_oom_levels;
	enum sbx_limit oom_limit; /* of its last kill */
	size_t oom_limit_len;	  /* so much of its cgroup's path is where that limit is; 0 = no cgroup's */
	/* container.c: the init is dead, others of its cgroup are not yet */
	struct hk_timer kill_timer;
	uint64_t kill_until_ns;
	unsigned kill_delay_ms;
};

/* ---- sandbox.c ---- */
/* A container that Create has finished; NULL + *err NOT_FOUND. */
struct sbx_container *pod_find(struct sbx_pod *p, const char *id, struct hk_err *err);
/* Also one that is still being created. */
struct sbx_container *pod_find_any(struct sbx_pod *p, const char *id);
/* exec_id "" or NULL = the init. */
struct sbx_process *pod_find_process(struct sbx_pod *p, const char *id, const char *exec_id, struct hk_err *err);
void pod_tell(struct sbx_container *c, enum sbx_event_type type, const struct sbx_process *proc);
/* Queues done on the list; false: out of memory, and done has been told so. */
bool calls_add(struct hk_list *calls, struct sbx_done done);
void calls_answer(struct hk_list *calls, const struct sbx_reply *reply, const struct hk_err *err);
void done_fail(struct sbx_done done, const struct hk_err *err);

/* ---- container.c ---- */
struct sbx_container *container_new(struct sbx_pod *p, const char *id, const char *bundle);
void container_free(struct sbx_container *c);
/* Looks whether the container can go on towards its end: the init dead, started or never to start, no exec running. Safe to call at any time. */
void container_settle(struct sbx_container *c);
void container_start(struct sbx_container *c, struct sbx_done done);
/* Writes the state file that `delete` reads after our death. */
void container_remember(const struct sbx_container *c, const char *cgroup);
/* The same, for one who can still refuse: 0 or -errno. */
int container_record(const struct sbx_container *c, const char *cgroup, pid_t pid);
/* The init has a pid: begins to watch for its death. */
int container_watch_init(struct sbx_container *c, const struct oci_launched *l, struct hk_err *err);
/* Answers what is under way with *err: the pod itself goes, its processes stay. */
void container_abandon(struct sbx_container *c, const struct hk_err *err);
/* container_create.c: the same for a Create under way, if there is one. */
void create_abandon(struct sbx_container *c, const struct hk_err *err);

/* ---- container_delete.c ---- */
void container_delete(struct sbx_container *c, struct sbx_done done);
/* The container has just stopped, or its creation is over: goes on with a Delete that waits for that. */
void container_delete_next(struct sbx_container *c);

/* ---- stats.c ---- */
/* The init has just ended. */
void stats_keep(struct sbx_container *c);
void stats_drop(struct sbx_container *c);

/* ---- freeze.c ---- */
void freeze_init(struct sbx_container *c);
/* The init died: whatever was frozen thaws, a Pause or Resume under way is told. */
void freeze_abandon(struct sbx_container *c);

/* ---- oom.c ---- */
void oom_init(struct sbx_container *c);
void oom_watch(struct sbx_container *c);
/* Tells SBX_EV_OOM if the counter has grown since the last look. */
void oom_look(struct sbx_container *c);
void oom_unwatch(struct sbx_container *c);
/* The container's own counters; adds what is new to *grown. -ENOENT, -ENODEV: they are gone. */
int oom_look_own(struct sbx_container *c, struct oci_oom *grown);
/* There was a kill, for whatever limit it was: SBX_EV_OOM. */
void oom_tell(struct sbx_container *c);

/* ---- oom_slice.c ---- */
/* After oom_level_join. c->oom_slice stays NULL where no cgroup above counts (oci_cgroup_oom_count_above). */
void oom_slice_join(struct sbx_container *c);
void oom_slice_leave(struct sbx_container *c);
void oom_slice_settle(struct oom_slice *s);

/* ---- oom_level.c ---- */
/* After the container's own watch has begun. */
void oom_level_join(struct sbx_container *c);
void oom_level_leave(struct sbx_container *c);
/* The hits that the container's cgroup counts, v1: that its eventfd has told of. */
void oom_level_heard(struct sbx_container *c, uint64_t heard);
/* Of the limit right above it. */
int64_t oom_level_hits_above(const struct sbx_container *c);
/* There was a kill just now: fills c->oom_limit and c->oom_limit_len, as far as the counters tell. */
void oom_level_judge(struct sbx_container *c);
