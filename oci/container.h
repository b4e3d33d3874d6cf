/* SPDX-License-Identifier: Apache-2.0 */
/* oci/container.h — what a container remembers from its create to its removal. Private to oci/. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/base/list.h"
#include "oci/hooks.h"
#include "oci/oci.h"
#include "oci/seccomp.h"

struct oci_launch;

struct oci_container { /* heap; what an exec and the removal need of the spec, and no more */
	const struct oci_engine *engine;
	char *id, *bundle;
	char traceparent[OCI_TRACEPARENT_SIZE]; /* of the request at work, for hooks; "" = none */
	struct oci_cgroup *cgroup;
	struct oci_rdt *rdt;        /* NULL: linux.intelRdt is not set */
	struct oci_spec *spec;      /* until the start is done; longer only for poststop hooks */
	struct oci_launch *init;    /* from oci_create to the end of oci_start */
	struct hk_list launches;    /* every launch under way, the init's included */
	struct oci_removal *removal; /* while oci_remove runs */
	struct oci_update *update;   /* while oci_update runs */
	struct oci_dump *dump;       /* while oci_checkpoint runs */
	struct oci_restore *restore; /* while oci_create or oci_restore of a checkpoint runs */
	char *annotations;          /* key \0 value \0 ... \0 */
	char *apparmor_profile, *selinux_label;
	char *version, *listener_path, *listener_metadata; /* of linux.seccomp; path NULL = no SCMP_ACT_NOTIFY */
	struct oci_seccomp_file seccomp; /* the verified, compiled filter; fd -1 = none */
	uint64_t caps[OCI_N_CAP_SETS];
	uint64_t ns_mask; /* CLONE_NEW* that differ from the shim's */
	uid_t host_uid;
	gid_t host_gid;
	pid_t init_pid;
	uint32_t personality;
	struct oci_memory_policy memory_policy; /* owns its nodes */
	struct oci_exec_defaults *exec_defaults; /* owned; NULL = none */
	char *host_rootfs;      /* a restore's, to be unmounted at the end; NULL = not on the host */
	bool has_personality, no_new_privs, no_new_keyring, in_userns, has_private_pidns;
};

/* The spec of a document with these bytes, which becomes the caller's; NULL = not drafted. d may be NULL. */
struct oci_spec *oci_draft_take(struct oci_draft *d, const char *json, size_t len);
/* After that, of the same spec; false = look for it. */
bool oci_draft_take_filter(struct oci_draft *d, int *ret_fd, struct oci_bpf *ret);
/* After the start nobody needs the spec, unless poststop hooks wait for the end. */
void oci_container_drop_spec(struct oci_container *c);
/* Runs the poststop hooks; -ENOENT when there are none. */
int oci_container_poststop(struct oci_container *c, oci_hook_fn *fn, void *arg, struct oci_hook_run **ret);
/* config.json once more, after an upgrade: for hooks and a start that are still to come. */
int oci_container_read_spec(struct oci_container *c, struct hk_err *err);
/* Makes the cgroup, limits it, gives it to its owner. On failure nothing is left, or (begun) oci_cgroup_undo is the caller's to call. */
int oci_container_make_cgroup(struct oci_container *c, struct hk_err *err);
