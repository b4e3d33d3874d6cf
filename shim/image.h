/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/image.h — a program as a file that nobody can write, to be run by execveat: a detached, read-only clone of its mount. A container that gets hold of
 * the server's /proc/PID/exe (CVE-2019-5736) finds a file system it cannot write, now or after our end, and its text is shared by all pods.
 * A kernel before 5.12 gets a sealed copy in memory instead.
 */
#pragma once

/* path: "/proc/self/exe", or that of a descriptor below /proc/self/fd. O_CLOEXEC. 0 or -errno. */
int shim_image_open(const char *path, int *ret_fd);
