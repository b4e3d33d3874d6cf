/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_proc.h — what /proc says of a process. Everything is 0 or "" for one that is gone. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tool_memory { /* bytes */
	uint64_t anonymous, pss, rss; /* anonymous: with what is swapped out of it */
};
struct tool_memory tool_memory_of(uint32_t pid);
struct tool_process {
	char name[64], state, wchan[64], stack[128]; /* stack: the innermost frames, for root and kernels that tell */
	uint64_t age_s;
};
bool tool_process_of(uint32_t pid, struct tool_process *ret);
/* A process of that name (comm), 0 when none runs. */
uint32_t tool_find_process(const char *name);
