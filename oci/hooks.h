/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/hooks.h — lifecycle hooks: on the loop for those of the runtime's namespace, blocking for those that the set-up
 * child runs. Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "oci/spec.h"

struct hk_err;
struct oci_container;
struct oci_hook_run;

enum { OCI_HOOK_TAIL = 4096, OCI_HOOK_LISTS = 2 };

struct oci_hook_state { /* the state document on a hook's stdin */
	const char *version, *id, *status, *bundle;
	pid_t pid; /* 0 = none */
	const struct oci_kvs *annotations;
	const char *traceparent; /* not in the document but in the environment, as TRACEPARENT; NULL or "" = none */
};

struct oci_hook_job {
	const struct oci_hooks *lists[OCI_HOOK_LISTS]; /* run in order; NULL = none. Borrowed until fn */
	const char *kind[OCI_HOOK_LISTS];              /* for the error: "prestart" */
	const struct oci_hook_state *state;            /* borrowed for the call */
	bool keeps_going; /* poststop: failures are dropped */
};

struct oci_process_state { /* runtime-spec "Container Process State", for a seccomp agent */
	pid_t pid;
	const char *metadata; /* may be NULL */
	const struct oci_hook_state *state;
};

/* malloc'ed JSON text. */
int oci_hook_state_json(const struct oci_hook_state *s, char **ret, size_t *ret_len);
int oci_process_state_json(const struct oci_process_state *p, char **ret, size_t *ret_len);

/* Runs them one after the other; fn runs once from the loop, after which the handle is gone. */
typedef void oci_hook_fn(void *arg, const struct hk_err *err);
int oci_hooks_run(const struct oci_container *c, const struct oci_hook_job *job, oci_hook_fn *fn, void *arg, struct oci_hook_run **ret,
    struct hk_err *err);
/* Kills the hook at work, with its process group; fn does not run. */
void oci_hooks_abort(struct oci_hook_run *run);

/* In the set-up child: waits for each. env NULL in a hook means `env`. */
int oci_hooks_run_here(const struct oci_hooks *hooks, const char *kind, const struct oci_hook_state *state, char *const *env,
    struct hk_err *err);
