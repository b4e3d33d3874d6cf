/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp.h — linux.seccomp as BPF: compiled once per node, kept in a root-only cache, loaded by the child.
 * Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/helper.h"

struct oci_seccomp;
struct sock_filter;

enum { OCI_BPF_MAX = 4096, OCI_SECCOMP_TIMEOUT_MS = 30000 }; /* BPF_MAXINSNS */

struct oci_bpf {
	struct sock_filter *insns; /* heap */
	size_t n;
};
struct oci_seccomp_file {
	int fd; /* owned; a verified cache file, -1 = no filter */
	uint32_t flags;
};

/* SECCOMP_FILTER_FLAG_* of the spec; SPEC_ALLOW when it says nothing. */
uint32_t oci_seccomp_flags(const struct oci_seccomp *s);
/* An action of the profile asks an agent: the filter is loaded with a listener (oci/notify.h). */
bool oci_seccomp_has_notify(const struct oci_seccomp *s);
/* The rules between its members. */
int oci_seccomp_check(const struct oci_seccomp *s, struct hk_err *err);

/* ---- seccomp_cache.c ---- */
/* The name of s's cache file: sha256 of a canonical form of all that the program depends on; 65 bytes. */
int oci_seccomp_key(const struct oci_seccomp *s, char key[65]);
/*
 * Opens and verifies run_dir/seccomp/<key>. *ret_fd and *ret are the caller's. -ENOENT: not there; -EPERM,
 * -EBADMSG: not to be trusted.
 */
int oci_seccomp_cache_open(const char *run_dir, const char *key, int *ret_fd, struct oci_bpf *ret);
/* The same by the profile. */
int oci_seccomp_cache_find(const char *run_dir, const struct oci_seccomp *s, int *ret_fd, struct oci_bpf *ret);
int oci_seccomp_cache_write(const char *run_dir, const char *key, const struct oci_bpf *bpf, struct hk_err *err);
/* The program of an already verified file. */
int oci_seccomp_cache_read(int fd, struct oci_bpf *ret);

/* ---- seccomp.c ---- */
/* libseccomp's program with the ENOSYS preamble. Slow and hungry: only in a short-lived child. */
int oci_seccomp_build(const struct oci_seccomp *s, struct oci_bpf *ret, struct hk_err *err);

/* ---- seccomp_fold.c ---- */
/* The same verdicts by fewer instructions, in place; a program of a shape that it does not know stays. -ENOMEM. */
int oci_seccomp_fold(struct oci_bpf *bpf);

/* ---- seccomp_load.c ---- */
int oci_bpf_load(const struct oci_bpf *bpf, uint32_t flags, struct hk_err *err);
/* The same with a listener: *ret_fd is close-on-exec and the caller's. Nothing is called behind seccomp(2). */
int oci_bpf_load_listener(const struct oci_bpf *bpf, uint32_t flags, int *ret_fd, struct hk_err *err);

/*
 * Compiles into the cache in a child; fn runs once from the loop, after which the handle is gone. The spec is
 * borrowed for the call.
 */
int oci_seccomp_compile(const struct oci_engine *e, const struct oci_seccomp *s, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err);
