/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/helper.h — work that is too long, too hungry or too blocking for the shim, done by a short-lived child of it.
 * Private to oci/.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>

struct hk_err;
struct oci_engine;
struct oci_helper;

/* In the child, with a copy of the shim's memory. 0 or -errno with *err. */
typedef int oci_helper_work_fn(void *arg, struct hk_err *err);
/* In the shim, once, from the loop; the handle is gone by then. */
typedef void oci_helper_fn(void *arg, const struct hk_err *err);

struct oci_helper_job { /* borrowed for the call of oci_helper_run; the names are literals */
	const char *comm; /* of the process */
	const char *what; /* for errors: "compiling the seccomp profile" */
	uint32_t timeout_ms;
	oci_helper_work_fn *work;
	void *arg;
	/* Instead of work: a program and its arguments, run without environment. It tells an error as the child does, on this fd. */
	const char *const *argv;
};
enum { OCI_HELPER_SOCK = 3 };

/* First in every child: e->in_child. */
void oci_engine_in_child(const struct oci_engine *e);
int oci_helper_run(const struct oci_engine *e, const struct oci_helper_job *job, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err);
/* Of the child; it may be dead by now. */
pid_t oci_helper_pid(const struct oci_helper *h);
/* Kills it; fn does not run. Accepts NULL. */
void oci_helper_abort(struct oci_helper *h);
