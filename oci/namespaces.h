/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/namespaces.h — which namespaces are made and which are joined, clone3, and what a fresh namespace needs. Private
 * to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/spec.h"

struct hk_err;

/* This kernel has namespaces of that kind. */
bool oci_ns_is_known(enum oci_ns ns);
/* CLONE_NEW* of one kind. */
uint64_t oci_ns_flag(enum oci_ns ns);
/* The kinds that the spec wants new / that it joins by path, as CLONE_NEW* masks. */
uint64_t oci_ns_new_mask(const struct oci_spec *s);
uint64_t oci_ns_path_mask(const struct oci_spec *s);
/*
 * True when the init cannot be cloned in one step: a pid or time namespace counts only for children, and maps of a
 * user namespace are written while its first process waits with the host's mounts prepared.
 */
bool oci_ns_needs_middle(const struct oci_spec *s);

/* Opens every path of the spec, before anything is joined, and checks the type of each. Unused entries become -1. */
int oci_ns_open_paths(const struct oci_spec *s, int ret_fds[OCI_N_NS], struct hk_err *err);
void oci_ns_close_paths(int fds[OCI_N_NS]);

/*
 * In the child: joins all of fds. A user namespace comes after the others; those that it owns are tried again behind
 * it, and root inside it is taken on.
 */
int oci_ns_join(const int fds[OCI_N_NS], struct hk_err *err);
/*
 * In the child, for exec: every namespace of `mask` of the process behind pidfd at once; by /proc/<pid>/ns where
 * the kernel cannot.
 */
int oci_ns_join_process(int pidfd, pid_t pid, uint64_t mask, struct hk_err *err);
/* In the child: back to a mount namespace that it had before; root and cwd are that one's then (setns(2)). */
int oci_ns_return(int mnt_fd, struct hk_err *err);
/* After a user namespace is made or joined: uid 0, gid 0, no groups. */
int oci_ns_become_root(struct hk_err *err);

/*
 * In the shim: uid_map, gid_map and timens_offsets of the waiting process, each by one write. The maps of a user
 * namespace that it joined are compared with the spec's, if that has some.
 */
int oci_ns_settle_maps(pid_t pid, const struct oci_spec *s, struct hk_err *err);

/* lo up, in a new network namespace. */
int oci_ns_loopback_up(struct hk_err *err);

struct oci_clone {
	uint64_t flags;      /* CLONE_* without CLONE_PIDFD, CLONE_INTO_CGROUP, CLONE_PARENT_SETTID: those follow from the fields */
	int cgroup_fd;       /* -1 = the caller's cgroup */
	int *ret_pidfd;      /* may be NULL; untouched in the child and on failure */
	volatile pid_t *ret_tid; /* written by the kernel before the child runs; may be NULL */
	int exit_signal;
};
/* fork semantics: 0 in the child, the pid in the parent, -errno. */
pid_t oci_clone(const struct oci_clone *c);
