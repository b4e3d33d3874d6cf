/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_bpf.h — cgroup v2 has no devices controller: a BPF program on the cgroup decides each open and mknod.
 * Made from an ordered rule list where, for each access bit asked, the last rule that matches has the say; nothing matches = denied.
 */
#pragma once
#include <stddef.h>

#include "oci/spec_resources.h"

struct bpf_insn;
struct hk_err;

/* Rules -> program. *ret is heap (caller frees). 0, -ENOMEM, -E2BIG (more than the verifier takes). */
int cg_bpf_generate(const struct oci_dev_rule *v, size_t n, struct bpf_insn **ret, size_t *ret_n);

/*
 * Loads the program and puts it on the cgroup; one that is there already is replaced, in one step where the kernel can (5.6), else by
 * adding the new one before the old goes: never is the cgroup without.
 */
int cg_bpf_attach(int cgroup_fd, const struct bpf_insn *insns, size_t n, struct hk_err *err);
/* spec rules + defaults -> generate -> attach. That it fails is no error for a list that allows all. */
int cg_bpf_apply(int cgroup_fd, const struct oci_dev_rule *v, size_t n, struct hk_err *err);
