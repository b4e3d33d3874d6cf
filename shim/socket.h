/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/socket.h — the socket of a group of containers: which group a container is in, where that group's socket lies, whether a
 * shim answers on it, and making it. The path alone decides who serves a group, so all changes to it happen under a lock.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;

#define SHIM_SOCKET_DIR "/run/containerd/s"
#define SHIM_SOCKET_SCHEME "unix://"
enum { SHIM_GROUP_MAX = 77, SHIM_SOCKET_PATH_MAX = 108 /* sun_path, with a NUL */ };

/*
 * The group of the container whose bundle this is: by the annotations of its config.json, else its own id. A bundle without
 * config.json (a sandbox of containerd's shim sandboxer) is its own group. HK_INVALID for a group that cannot be a file name.
 */
int shim_group_read(const char *bundle, const char *id, char ret[SHIM_GROUP_MAX], struct hk_err *err);

/* <dir>/<hex sha256 of grpc_address/ns/group>; dir "" or NULL = SHIM_SOCKET_DIR. */
int shim_socket_path(const char *dir, const char *const names[3], char ret[SHIM_SOCKET_PATH_MAX], struct hk_err *err);

/*
 * Exclusive over all processes, by flock on <path>.lock; waits at most timeout_ms. The file is removed by the unlock,
 * which takes *take_fd.
 */
int shim_socket_lock(const char *path, int timeout_ms, int *ret_fd, struct hk_err *err);
void shim_socket_unlock(const char *path, int *take_fd);

/* Under the lock, after hk_socket_look found nobody: removes what a dead shim left. Refuses anything that is no socket. Missing is fine. */
int shim_socket_remove_stale(const char *path, struct hk_err *err);
/* Binds and listens: mode 0600, non-blocking. */
int shim_socket_listen(const char *path, int *ret_fd, struct hk_err *err);
