/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_run.h — runs a program of the node and takes what it prints. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct tool_run {
	const char *const *argv; /* argv[0] is looked up on PATH */
	bool drop_stderr;
	int mount_ns;            /* > 0: borrowed; the mount namespace to run it in */
};
/* The exit status (128 + signal when killed), or -errno. *ret: stdout and stderr, heap, NUL-terminated. */
int tool_run(const struct tool_run *r, char **ret);
