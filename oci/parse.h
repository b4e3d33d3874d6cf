/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse.h — what the parse files share. Private to oci/.
 * Readers (see oci/decode.h) write to the struct in their comment, which is zeroed before.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/decode.h"
#include "oci/spec.h"

int oci_parse_process(const struct oci_dec *d, const struct oci_json *v, void *dst);   /* struct oci_process */
int oci_parse_linux(const struct oci_dec *d, const struct oci_json *v, void *dst);     /* struct oci_spec */
int oci_parse_resources(const struct oci_dec *d, const struct oci_json *v, void *dst); /* struct oci_resources */
int oci_parse_seccomp(const struct oci_dec *d, const struct oci_json *v, void *dst);   /* struct oci_seccomp */
int oci_parse_idmaps(const struct oci_dec *d, const struct oci_json *v, void *dst);    /* struct oci_idmaps */

/*
 * One document: parses the text and hands its root to fn. `arena` is given the 64 MiB limit unless it has one. On
 * failure what was taken from the arena stays there until the caller's hk_arena_done.
 */
int oci_parse_document(const char *json, size_t len, const struct oci_json_opts *opts, struct hk_arena *arena,
    oci_dec_fn *fn, void *dst, struct hk_err *err);

/* The words the seccomp parser knows, for the features document, in alphabetical order; NULL past the end. */
enum oci_seccomp_words { OCI_SECCOMP_ACTIONS, OCI_SECCOMP_OPERATORS, OCI_SECCOMP_ARCHS, OCI_SECCOMP_FLAGS };
const struct oci_word *oci_seccomp_word(enum oci_seccomp_words list, size_t i);
const struct oci_word *oci_mpol_mode(size_t i);
const struct oci_word *oci_mpol_flag(size_t i);
/* Namespace type as in the document ("network"), of enum oci_ns. */
const char *oci_ns_word(int ns);
/* Hook member ("createRuntime"), of enum oci_hook_kind. */
const char *oci_hook_word(int kind);
