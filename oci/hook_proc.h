/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hook_proc.h — one hook's process: how it starts, what it may say, how its failure reads. Private to
 * oci/hooks*.c.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "oci/hooks.h"

struct hk_exit;

struct oci_hook_proc {
	pid_t pid;
	int pidfd;     /* owned */
	int in, out;   /* owned, non-blocking: its stdin, its stdout and stderr; -1 when closed */
	char *state;   /* owned; what is still to be written from `written` on */
	size_t len, written;
	char tail[OCI_HOOK_TAIL]; /* the last bytes it wrote; a ring, n_out bytes so far */
	size_t n_out;
};

/* Clones and executes. env NULL in the hook: `env`, which may be NULL too (an empty one). cwd NULL: the caller's. */
int oci_hook_spawn(struct oci_hook_proc *p, const struct oci_hook *h, const struct oci_hook_state *state, char *const *env,
    const char *cwd, struct hk_err *err);
/* Writes what fits; closes stdin when all is written or the hook has closed it, which is no error. */
void oci_hook_feed(struct oci_hook_proc *p);
/* Reads what is there; closes at EOF. */
void oci_hook_drain(struct oci_hook_proc *p);
/* SIGKILL to its process group: what it has started must not outlive it. */
void oci_hook_kill(const struct oci_hook_proc *p);
void oci_hook_close(struct oci_hook_proc *p);
/* "createRuntime hook[1] /usr/bin/x: exit status 3: its last words" */
int oci_hook_fail(const struct oci_hook_proc *p, const char *kind, size_t index, const char *path, const char *why, struct hk_err *err);
/* "exit status 3", "killed by signal 9"; buf is 32 bytes. */
const char *oci_hook_why(int status, bool was_signaled, char buf[32]);
