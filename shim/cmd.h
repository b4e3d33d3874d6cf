/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/cmd.h — what argv can ask for. Each command runs in a process of its own and returns its exit status; texts for people go
 * to stderr and only on failure, since containerd takes stderr of `start` for a part of the answer.
 */
#pragma once

#include "shim/flags.h"

#define SHIM_RUNTIME_NAME "io.containerd.husk.v2"
#define SHIM_PROGRAM "containerd-shim-husk-v2"
/* State files and the seccomp cache. Root-only. */
#define SHIM_RUN_DIR "/run/husk"
enum { SHIM_STATE_DIR_SIZE = sizeof(SHIM_RUN_DIR) + 1 + 16 }; /* with the NUL */
/* SHIM_RUN_DIR/<16 hex digits of the daemon's address>: two daemons of a node may use the same namespace and ids. */
void shim_state_dir(const char *grpc_address, char ret[SHIM_STATE_DIR_SIZE]);
/* The fds a server is born with, next to /dev/null as 0 to 2. */
enum { SHIM_FD_LISTENER = 3, SHIM_FD_READY = 4, SHIM_FD_IMAGE = 5 };

struct hk_err;

int shim_cmd_start(const struct shim_flags *f);
int shim_cmd_delete(const struct shim_flags *f);
int shim_cmd_info(void);
int shim_cmd_serve(const struct shim_flags *f);

/* Prints "<program>: <text>" on stderr and returns 1. */
int shim_cmd_fail(const struct hk_err *err);
