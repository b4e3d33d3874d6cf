/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/podsandbox_priv.h — the sandbox's record, its document and its files. Private to sandbox/podsandbox*.c and container_create.c. */
#pragma once
#include <stddef.h>

#include "sandbox/pod.h"

struct hk_value;

enum { SANDBOX_MOUNTS_MAX = 4 };

struct sbx_podsandbox { /* heap; pod.sandbox */
	struct sbx_pod *pod;
	enum sb_state state;
	char *id, *bundle, *cgroup_parent;
	char *config; /* config.json of its process, until it has started; NULL = none is needed */
	size_t config_len;
	char *why;    /* what the process holds; "" */
	bool has_process, has_shm, is_removing, is_told;
	int userns_fd; /* owned; the owner of the network namespace that was given to us, -1 = none */
	struct oci_rootfs_mount rootfs; /* of its process: an empty tmpfs; options end in rootfs_options */
	const char *rootfs_options[6];
	char rootfs_owner[2][24];
	struct oci_container *oci; /* of its process, from the start until its cgroup is gone */
	struct hk_child child;
	uint32_t pid;
	struct timespec created_at;
	struct hk_exit x; /* once is_told */
	struct sbx_done start;
	struct hk_list waiters, stops, shutdowns; /* struct sbx_call */
	struct hk_timer kill_timer;
};

/* ---- podsandbox.c ---- */
/* For carry_podsandbox.c: a record without anything in it; its rootfs from rootfs_owner; its process. */
struct sbx_podsandbox *sandbox_blank(struct sbx_pod *p);
void sandbox_set_rootfs(struct sbx_podsandbox *b);
int sandbox_take_over(struct sbx_podsandbox *b, const struct hk_value *child);
/* A container has left the pod. May free the sandbox. */
void sandbox_container_gone(struct sbx_pod *p);
/* The pod itself goes, processes and files stay. */
void sandbox_abandon(struct sbx_pod *p, const struct hk_err *err);

/* ---- podsandbox_spec.c ---- */
/* The words for what a process must hold; "" = nothing, no process is needed. */
void sandbox_why(const struct sbx_sandbox_config *c, char *buf, size_t size);
/*
 * The owner of the network namespace at c->netns_path, if that is not ours: containerd makes the pod's network namespace below a user namespace
 * with the pod's maps, and root of another one with the same maps would have no rights in it. -1 = ours, or none was given.
 */
int sandbox_userns_open(const struct sbx_sandbox_config *c, int *ret_fd, struct hk_err *err);
/* config.json for husk-init at `program`. Heap. */
int sandbox_spec(const struct sbx_sandbox_config *c, const char *program, int userns_fd, char **ret, size_t *ret_len, struct hk_err *err);

/* What the container's id 0 is on the host. */
uint32_t sandbox_root_of(const struct sbx_sandbox_config *c, const struct oci_idmaps *maps);

/* ---- podsandbox_files.c: <group's directory>/.pod/ ---- */
int sandbox_files_make(const char *dir, const struct sbx_sandbox_config *c, struct hk_err *err);
void sandbox_files_unmount(const char *dir);
/* Also those of a dead shim; a missing directory is fine. */
void sandbox_files_remove(const char *dir);
/* What every container gets; strings live in the arena. The count, or -ENOMEM. */
int sandbox_files_mounts(const char *dir, bool has_shm, struct hk_arena *arena, struct oci_pod_mount ret[SANDBOX_MOUNTS_MAX]);
