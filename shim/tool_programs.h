/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_programs.h — husk's own programs, from where this one lies to where containerd finds them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;

enum { PROGRAMS_MAX = 4 };
struct program {
	int fd;          /* owned; the one to install */
	char target[320];
};
struct programs {
	struct program v[PROGRAMS_MAX];
	size_t n;
	bool is_in_place; /* we are a package's: it put them where they belong */
};
/* Beside /proc/self/exe, or below ../libexec/husk. `is_other_root`: they go to another machine's root, in any case. */
int programs_find(const char *prefix, bool is_other_root, struct programs *ret, struct hk_err *err);
/* Says what it does; with is_dry, what it would do. */
int programs_install(const struct programs *p, bool is_dry, struct hk_err *err);
int programs_remove(const struct programs *p, bool is_dry, struct hk_err *err);
void programs_done(struct programs *p);
