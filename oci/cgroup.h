/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup.h — a container's place in the cgroup trees: unified (v2), legacy (v1) or hybrid; made by us, or by systemd.
 *
 * One struct oci_cgroup names the same path in every hierarchy of the host. It holds one dirfd, of the v2 hierarchy, and none of v1's
 * (directories are opened when needed). Calls work on a cgroup that this process or an earlier one made. Files that vanish while
 * a cgroup dies answer ENODEV or ENOENT: both mean "gone". No call waits for the kernel: what takes time is asked again.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/spec_resources.h"

struct hk_err;
struct oci_cgroup;
struct oci_spec;
struct oci_stats;

enum oci_cgroup_mode { OCI_CGROUP_LEGACY, OCI_CGROUP_HYBRID, OCI_CGROUP_UNIFIED };

/* How this host has its cgroups mounted: statfs of /sys/fs/cgroup, then mountinfo. Cached after the first call. */
enum oci_cgroup_mode oci_cgroup_host_mode(void);

/*
 * Resolves linux.cgroupsPath (may be NULL: "/husk/<id>") to a path; makes nothing. `..` that leaves the root is HK_INVALID. The form
 * slice:prefix:name chooses the systemd driver (oci/cgroup_systemd.h): the path is where systemd will put the unit. *ret is heap;
 * oci_cgroup_free.
 */
int oci_cgroup_open(const char *cgroups_path, const char *id, struct oci_cgroup **ret, struct hk_err *err);
void oci_cgroup_free(struct oci_cgroup *cg);
/* The resolved path, such as "/default/a1": what the state file keeps and oci_cgroup_open takes again. Borrowed. */
const char *oci_cgroup_path(const struct oci_cgroup *cg);

/*
 * Makes the directories (and what is missing above them), enables controllers, refuses a frozen or populated leaf, writes all limits and
 * the device rules (runtime defaults appended). On failure what this call made is gone again.
 */
int oci_cgroup_create(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err);
/*
 * On a host with v1 hierarchies, where making them all takes as long as the rest of a create: makes what a process can be born in (v2's part,
 * oci_cgroup_clone_fd), so that oci_cgroup_create can make the rest beside its first steps; 0 = call that first, 1 = begun. When that fails then, the caller
 * waits for the end of the process and calls oci_cgroup_undo, which removes what was made by this object and nothing else.
 */
int oci_cgroup_begin(struct oci_cgroup *cg, struct hk_err *err);
void oci_cgroup_undo(struct oci_cgroup *cg);
/* A unit of systemd's: oci_cgroup_adopt in place of oci_cgroup_create. */
bool oci_cgroup_is_unit(const struct oci_cgroup *cg);
/*
 * After systemd has made the unit: takes its directory, writes all limits and the device rules. On failure the unit is as systemd made it,
 * and the caller ends it.
 */
int oci_cgroup_adopt(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err);
/*
 * Gives the cgroup to `host_uid` where the spec asks for a v2 cgroup that its container manages itself (user and cgroup namespaces, mounted
 * writable); nothing otherwise. After create, before the first process.
 */
int oci_cgroup_give(const struct oci_cgroup *cg, const struct oci_spec *s, uid_t host_uid, struct hk_err *err);
/* Task.Update: writes only what `r` names, in an order the kernel accepts whether growing or shrinking. Device rules are left alone. */
int oci_cgroup_update(struct oci_cgroup *cg, const struct oci_resources *r, struct hk_err *err);

/* For clone3's CLONE_INTO_CGROUP: a borrowed dirfd of the v2 hierarchy, -1 where there is none. */
int oci_cgroup_clone_fd(const struct oci_cgroup *cg);
/* Then there is nothing else to enter. */
bool oci_cgroup_is_v2_alone(const struct oci_cgroup *cg);
/*
 * Moves the calling process into every hierarchy (v2: into the leaf; if that is EBUSY because the container delegated below it, into the
 * cgroup of `init_pid`, 0 = none; not at all if it was born there). Runs in the set-up child, in the host's mount namespace, before it
 * forks again. The caller has one thread.
 */
int oci_cgroup_enter(const struct oci_cgroup *cg, pid_t init_pid, bool is_in_v2, struct hk_err *err);
/* The same from a mount namespace that has lost the host's: holds the hierarchies while they are seen, and lets go of them on the way in. */
enum { OCI_CGROUP_HOLD_MAX = 24 };
int oci_cgroup_hold(const struct oci_cgroup *cg, int ret_fds[OCI_CGROUP_HOLD_MAX], bool is_in_v2, struct hk_err *err);
int oci_cgroup_enter_held(const struct oci_cgroup *cg, int fds[OCI_CGROUP_HOLD_MAX], bool is_in_v2, struct hk_err *err);

/* Asks for freeze or thaw and returns; -EAGAIN never. Then poll oci_cgroup_frozen: 1 frozen, 0 not, -errno. */
int oci_cgroup_freeze(struct oci_cgroup *cg, bool frozen, struct hk_err *err);
int oci_cgroup_frozen(const struct oci_cgroup *cg);
/* Refuses (HK_BAD_STATE) when the cgroup stands still, be it for an ancestor's freeze: what is born in it would never say a word. */
int oci_cgroup_check_thawed(const struct oci_cgroup *cg, struct hk_err *err);
/* The directory where that is done; buf has PATH_MAX bytes. -ENOENT on a host without a freezer. */
int oci_cgroup_freezer_path(const struct oci_cgroup *cg, char *buf);

/*
 * Sends SIGKILL to every process below the cgroup, frozen or not (cgroup.kill, else freeze, signal each, thaw). One round: a fork bomb on
 * v1 may need another, so call until oci_cgroup_is_empty. Other signals: one pass over the pids. A cgroup that is gone is success.
 */
int oci_cgroup_signal_all(struct oci_cgroup *cg, int sig, struct hk_err *err);
/* No live process in the whole subtree, in no hierarchy; true also when the cgroup does not exist. */
bool oci_cgroup_is_empty(const struct oci_cgroup *cg);
/* Every pid of the subtree, in this process' pid namespace, sorted, without doubles: heap array (caller frees). Gone: n = 0. */
int oci_cgroup_pids(const struct oci_cgroup *cg, pid_t **ret, size_t *ret_n);
/* Names up to three processes that no signal reaches, and where they are; false when there is none. */
bool oci_cgroup_stuck(const struct oci_cgroup *cg, char *buf, size_t size);
/* One try to remove the leaf and all below it, depth first; -EBUSY: ask again a little later. Missing is success. Parents that
 * husk made (in whatever process) go when they are empty; those that were there before, such as kubelet's, are not touched. */
int oci_cgroup_remove(struct oci_cgroup *cg, struct hk_err *err);

/*
 * A cgroup inside this one for one exec (`name`, a valid id) and all that it starts: on v2, or in v1's freezer hierarchy (HK_UNSUPPORTED
 * where there is neither). *ret_fd is the caller's: what enters writes itself into its tasks or cgroup.procs, after oci_cgroup_enter.
 */
int oci_cgroup_sub_make(const struct oci_cgroup *cg, const char *name, int *ret_fd, struct hk_err *err);
/* One round: kills whoever is in it, removes it. -EBUSY: ask again a little later. Missing is success. */
int oci_cgroup_sub_end(const struct oci_cgroup *cg, const char *name);

/*
 * OOM. *ret_fd (owned by the caller) is memory.events on v2: watch EPOLLPRI, pread at 0 after each event; on v1 an eventfd registered
 * with cgroup.event_control: watch EPOLLIN, read 8 bytes. *ret_events says which. -ENOENT without a memory controller.
 */
int oci_cgroup_oom_open(const struct oci_cgroup *cg, int *ret_fd, uint32_t *ret_events);
/* Counted since the cgroup was made, v2 with all below it. -ENOENT when there is no such counter. */
struct oci_oom {
	uint64_t kills;
	uint64_t hits; /* of a limit in it, with nothing left to reclaim; v1 does not count them */
};
int oci_cgroup_oom_count(const struct oci_cgroup *cg, struct oci_oom *ret);
/*
 * Those of the slice that a unit is in, and its memory.events: v2 counts a kill in every cgroup above too, and these outlive
 * the unit's, which systemd removes as soon as the last process has ended. -ENOENT: no unit, or the root, which counts nothing.
 */
int oci_cgroup_oom_count_above(const struct oci_cgroup *cg, struct oci_oom *ret);
int oci_cgroup_oom_open_above(const struct oci_cgroup *cg, int *ret_fd);
/*
 * The limit of the ancestor that the first `len` bytes of oci_cgroup_path name (0: the root). *ret_fd and *ret_events as oci_cgroup_oom_open: memory.events.local
 * on v2; v1's eventfd also hears of the ancestor's own ancestors.
 */
int oci_cgroup_limit_open(const struct oci_cgroup *cg, size_t len, int *ret_fd, uint32_t *ret_events);
/* How often that was; of an eventfd: so much more than *hits was. Quietens the event, also of oci_cgroup_oom_open. -errno: the cgroup is gone. */
int oci_cgroup_limit_hits(int fd, uint32_t events, uint64_t *hits);

/* Everything Task.Stats reports; absent files leave their fields zero and their has_ flag false. oci/cgroup_stats.h has the struct. */
int oci_cgroup_stats(const struct oci_cgroup *cg, struct oci_stats *ret, struct hk_err *err);
