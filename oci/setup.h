/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/setup.h — what the set-up child carries from step to step. Private to oci/.
 *
 * Two processes may share the work (oci/child.c): M, only where a pid, time or user namespace needs a middle process, and I, the init.
 * "Prepare" steps run with the host's root privileges (in M, or in I when there is no M); "attach" steps run in I inside all of the
 * container's namespaces. All fds here are CLOEXEC and belong to the child; -1 = not open. Children end by _exit or execve, so nobody
 * frees. Steps set `at` to the index they work on (which mount, device, rlimit), for the report.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "oci/base/arena.h"
#include "oci/mount_opts.h"
#include "oci/oci.h"

struct oci_mount_src { /* oci/mounts.c; one per spec->mounts entry */
	int tree_fd;    /* detached tree (bind sources), -1: made at attach time; afterwards kept open where oci_rootfs_finish needs it */
	struct oci_mount_flags flags;
};

struct oci_setup {
	const struct oci_spec *spec;
	const char *id, *bundle;
	const char *rootfs; /* absolute host path of root.path */
	const struct oci_rootfs_mount *rootfs_mounts;
	size_t n_rootfs_mounts;
	struct oci_cgroup *cgroup;
	bool no_pivot, no_new_keyring, terminal;
	bool is_chrooted; /* the shim's root, and so the set-up's up to the pivot, is not its mount namespace's */
	bool in_userns; /* I runs in a user namespace other than the host's: mknod is EPERM, devices are binds */
	uid_t host_uid; /* process.user as host ids */
	gid_t host_gid;

	int sync_fd;      /* oci/sync.h */
	int stdio[3];
	int rootfs_fd;    /* O_PATH of the container's root: a mount of its own after oci_rootfs_prepare */
	int proc_fd;      /* our own, unmasked procfs of the final pid namespace (oci/procfs.c); never reached by a path in the container */
	bool proc_is_fresh; /* proc_fd is an instance of its own, not the host's: fit to be the container's /proc */
	int host_mnt_fd;  /* the mount namespace to go back to: the spec has none of its own. -1 otherwise */
	int devnull_fd;   /* O_PATH of the host's /dev/null, verified to be 1:3 */
	struct oci_mount_src *srcs; /* spec->n_mounts entries, made and filled by oci_rootfs_prepare */
	struct hk_arena arena;      /* of the steps; ends with the process */
	int console_master, console_slave;
	int at;
};
