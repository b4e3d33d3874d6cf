/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/podsandbox.h — a pod's sandbox without a pause image (containerd's `sandboxer = "shim"`). Part of sandbox/sandbox.h; see there for
 * struct sbx_done, kinds of errors and lifetimes.
 *
 * Namespaces, files and /dev/shm of the pod are made here and given to every container. A process, husk-init, holds the namespaces
 * where there are any: the daemon names them to the containers as /proc/PID/ns/..., and so needs a live pid that is in them.
 * A pod that shares network, IPC and pids with the node has nothing to hold: there the pid is the shim's own.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "oci/oci.h"

struct hk_err;
struct sbx_done;
struct sbx_pod;

/* runtime.v1.NamespaceMode. */
enum sbx_ns_mode { SBX_NS_POD, SBX_NS_CONTAINER, SBX_NS_NODE, SBX_NS_TARGET };

struct sbx_sandbox_config { /* of CreateSandbox and its PodSandboxConfig; borrowed for the call */
	const char *id, *bundle;
	const char *netns_path;   /* "" = one of our own, unless net is SBX_NS_NODE */
	const char *hostname;     /* "" = the node's name */
	const char *cgroup_parent, *selinux_label; /* "" = none */
	enum sbx_ns_mode net, pid, ipc;
	bool has_userns;
	struct oci_idmaps uids, gids; /* with has_userns */
	struct oci_kvs sysctls;
	struct oci_strv dns_servers, dns_searches, dns_options; /* all empty = the node's resolv.conf */
};

struct sbx_sandbox_status {
	const char *id; /* borrowed from the pod, use at once */
	bool is_ready;
	uint32_t pid;             /* 0 unless ready */
	bool has_process;         /* husk-init is there, or was; else the shim's own pid stands for it */
	const char *why;          /* what it holds, in words; "" without a process */
	struct timespec created_at, exited_at; /* zero = not yet */
};

/* One a shim: HK_EXISTS otherwise. Makes the pod's files. */
int sbx_sandbox_create(struct sbx_pod *p, const struct sbx_sandbox_config *c, struct hk_err *err);
/* Reply: the pid. After a failure it may be started again. */
void sbx_sandbox_start(struct sbx_pod *p, const char *id, struct sbx_done done);
/* Ends the sandbox's process and kills what is left of the containers. Done, also again, once its exit is told and its cgroup is gone. */
void sbx_sandbox_stop(struct sbx_pod *p, const char *id, struct sbx_done done);
/* Answered with the exit, never before it. */
void sbx_sandbox_wait(struct sbx_pod *p, const char *id, struct sbx_done done);
/* Stop, then every container, file and mount of the pod. Success also for an id that nobody knows. */
void sbx_sandbox_shutdown(struct sbx_pod *p, const char *id, struct sbx_done done);
int sbx_sandbox_status(struct sbx_pod *p, const char *id, struct sbx_sandbox_status *ret, struct hk_err *err);
/* The pod's cgroup if the config named one, else the sandbox's own; *ret is heap, oci_cgroup_free. */
int sbx_sandbox_cgroup(struct sbx_pod *p, const char *id, struct oci_cgroup **ret, struct hk_err *err);
/* The shim has gone into a cgroup of its own: for the state file. */
int sbx_pod_note_cgroup(struct sbx_pod *p, const char *shim_cgroup);
/* A sandbox was created and not yet shut down. */
bool sbx_has_sandbox(const struct sbx_pod *p);
