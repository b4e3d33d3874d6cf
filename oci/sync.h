/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/sync.h — what the shim and a set-up child say to each other. Private to oci/.
 *
 * One SOCK_SEQPACKET pair per launch, fixed-size messages, fds by SCM_RIGHTS; both ends CLOEXEC, so that execve is an EOF. Beside it one
 * shared page: the step at work (known even of a child that was killed) and the pid of the final process, which the kernel writes
 * there itself (CLONE_PARENT_SETTID) so that no death of the middle process can lose it. Who says what, and who waits:
 *
 *   message     step          from  waits         what travels
 *   WANT_SCOPE  CGROUP        M, I  M, I for DONE -                  only with the systemd driver: S has the unit made around the sender
 *   WANT_MAP    USERNS        M     M for DONE    -                  S writes or compares uid_map, gid_map, timens_offsets of M
 *   FDS         STDIO         I     nobody        one fd; value: enum oci_fds_what
 *   WANT_NET    NETWORK       I     I for DONE    -                  only when linux.netDevices has any
 *   WANT_AGENT  SECCOMP,EXEC  I     I for DONE    -                  only with SCMP_ACT_NOTIFY; then by the page (oci/notify.c)
 *   WANT_HOOKS  HOOKS         I     I for DONE    -                  only when prestart or createRuntime hooks exist
 *   CREATED     GATE          I     I for GO      -                  create only: all is done but execve
 *   FAILED      any           M, I  nobody        kind, value = errno, index, text; the sender exits
 *   DONE        -             S     -             -                  answers every WANT_*
 *   MADE        CGROUP        S     I             -                  only where the cgroup is made meanwhile (oci_cgroup_begin); unasked, so that nobody waits who need not
 *   GO          -             S     -             -                  Task.Start
 *   EOF                       M, I                success if and only if the page says EXEC and no failure; else that, or "died in step ..."
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct hk_err;

#define OCI_STEPS(X)                                        \
	X(SPAWN, "start of the set-up process")             \
	X(AFFINITY, "initial CPU affinity")                 \
	X(CGROUP, "enter cgroup")                           \
	X(RDT, "enter resctrl groups")                      \
	X(OOM_SCORE, "oom_score_adj")                       \
	X(JOIN_NS, "join namespaces")                       \
	X(USERNS, "enter user namespace")                   \
	X(FORK, "clone the final process")                  \
	X(SESSION, "new session")                           \
	X(KEYRING, "session keyring")                       \
	X(NETWORK, "network devices")                       \
	X(HOSTNAME, "hostname")                             \
	X(ROOTFS_PREPARE, "prepare rootfs")                 \
	X(MOUNTS_PREPARE, "prepare mounts")                 \
	X(ROOTFS, "attach rootfs")                          \
	X(PROCFS, "open private procfs")                    \
	X(MOUNTS, "mounts")                                 \
	X(DEVICES, "devices")                               \
	X(CONSOLE, "console")                               \
	X(MAKE_CWD, "make cwd")                             \
	X(HOOKS, "runtime hooks")                           \
	X(HOOKS_CREATE, "createContainer hooks")            \
	X(PIVOT, "pivot root")                              \
	X(SYSCTL, "sysctl")                                 \
	X(MASKS, "masked and read-only paths")              \
	X(ROOTFS_FINISH, "finish rootfs")                   \
	X(HOST_MOUNTS, "return to the host's mount namespace") \
	X(STDIO, "stdio")                                   \
	X(SCHED, "scheduling")                              \
	X(RLIMITS, "rlimits")                               \
	X(LSM, "security label")                            \
	X(SECCOMP, "load seccomp filter")                   \
	X(ENV, "environment")                               \
	X(CREDS, "user, groups and capabilities")           \
	X(CWD, "working directory")                         \
	X(LOOKUP, "look up the program")                    \
	X(GATE, "wait for start")                           \
	X(HOOKS_START, "startContainer hooks")              \
	X(EXEC, "exec")

#define OCI_STEP_ENUM(id, name) OCI_STEP_##id,
enum oci_step { OCI_STEPS(OCI_STEP_ENUM) OCI_N_STEPS };
#undef OCI_STEP_ENUM

enum oci_msg_type {
	OCI_MSG_WANT_SCOPE = 1,
	OCI_MSG_WANT_MAP,
	OCI_MSG_FDS,
	OCI_MSG_WANT_NET,
	OCI_MSG_WANT_HOOKS,
	OCI_MSG_WANT_AGENT,
	OCI_MSG_CREATED,
	OCI_MSG_FAILED,
	OCI_MSG_DONE,
	OCI_MSG_GO,
	OCI_MSG_MADE,
	OCI_N_MSGS
};
enum oci_fds_what { OCI_FDS_CONSOLE };
enum { OCI_MSG_VERSION = 1, OCI_MSG_SIZE = 1024 };

struct oci_msg { /* always exactly OCI_MSG_SIZE bytes */
	uint16_t version, type;
	uint16_t step, kind;
	int32_t value, index; /* index: which mount, device or rlimit; -1 if none */
	char text[OCI_MSG_SIZE - 16];
};

struct oci_page { /* MAP_SHARED; written by the child, read by the shim */
	volatile uint16_t step;
	volatile int32_t index;
	volatile pid_t final_pid; /* in the shim's pid namespace; 0 until the middle process has cloned it */
	int32_t listener;         /* the seccomp listener's number in the child; 0 until it is there. Atomic, as the next */
	bool is_listener_sent;    /* the shim's answer */
	struct oci_msg failed;    /* FAILED once more: the container's filter may not let it be sent. Type 0: nothing has failed */
	uint64_t step_from_ns;    /* oci/timing.h; 0 = nothing is timed */
	uint32_t step_ns[OCI_N_STEPS];
};

const char *oci_step_name(unsigned step);
/* A zeroed page, or NULL; unmap with oci_page_free. */
struct oci_page *oci_page_new(void);
void oci_page_free(struct oci_page *p);
/* The same page in another image of the shim, by a descriptor of it; NULL: it cannot be mapped. */
struct oci_page *oci_page_map(int fd);

/* One message with at most one fd (-1 = none). 0 or -errno; EPIPE when the other side is gone. */
int oci_sync_send(int sock, enum oci_msg_type type, int32_t value, int fd);
void oci_sync_set_failed(struct oci_msg *ret, unsigned step, int index, const struct hk_err *err);
/* FAILED with all that *err tells. Never raises SIGPIPE. */
void oci_sync_fail(int sock, unsigned step, int index, const struct hk_err *err);
/*
 * Receives one message and checks size, version, type and the text's end. 1 = a message, 0 = EOF, -EAGAIN, -EPROTO for
 * anything else. *ret_fd is the fd that came along or -1.
 */
int oci_sync_recv(int sock, struct oci_msg *ret, int *ret_fd, int flags);
/* The child's side: waits for exactly `type`. -EPIPE when the shim is gone, -EPROTO for another message. */
int oci_sync_expect(int sock, enum oci_msg_type type);
/* FAILED back into an error. */
void oci_sync_to_err(const struct oci_msg *m, struct hk_err *err);
