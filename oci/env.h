/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/env.h — the program's environment and the program itself: merge of env, HOME, PATH lookup. Private to oci/.
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

#include "oci/spec_process.h"

struct hk_err;

/* Every entry is NAME=value with a name. Told before anything runs. */
int oci_env_check(const struct oci_strv *env, struct hk_err *err);
/*
 * A NULL-terminated, malloc'ed array of borrowed strings: of equal names the last value wins, in the first one's
 * place. Without a HOME, or with an empty one, `home` is appended as HOME=<home> (malloc'ed). NULL when out of memory.
 */
char **oci_env_build(const struct oci_strv *env, const char *home);
/* The value of `name` in a built environment or an oci_strv's v; NULL when absent. */
const char *oci_env_get(const char *const *env, const char *name);
/*
 * The home of uid from <rootfd>/etc/passwd into buf; "/" when there is none. Reads a regular file only, at most 1
 * MiB.
 */
void oci_env_home(int rootfd, uid_t uid, char *buf, size_t size);

/*
 * Finds args[0] as execvp would with `path` (NULL = no PATH), in the caller's root, as the caller's user. The path to
 * execute goes to buf. The error is worded as Go's exec.LookPath does, which clients of containerd match on: exec:
 * "x": executable file not found in $PATH.
 */
int oci_lookup(const char *arg0, const char *path, char *buf, size_t size, struct hk_err *err);
/* "exec /x: permission denied", in the same wording. */
int oci_exec_fail(const char *path, int code, struct hk_err *err);
