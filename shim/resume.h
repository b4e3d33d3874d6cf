/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/resume.h — the side that comes in a live upgrade: reads what shim/upgrade.c has written into memory, and answers for it. As a rehearsal, in a child,
 * it says whether it could; for good, it goes back to the program that has left when it cannot.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/base/arena.h"

struct hk_err;
struct hk_value;
struct shim_flags;
struct shim_listener;

#define SHIM_RESUME_OK "ok"

/* Descriptors that a program is executed with: the state, the program that it can go back to; verdict -1: for good, else a rehearsal that writes there. */
struct shim_resume_fds {
	int state, exe, verdict;
};
/* Executes `image` under the name `path`, as the server of the same group. Returns -errno. */
int shim_resume_exec(int image, const char *path, const struct shim_flags *f, const struct shim_resume_fds *fds);

struct shim_resume {
	const struct shim_flags *flags;
	int state;   /* owned */
	int exe;     /* borrowed from the state's own descriptors */
	int verdict; /* owned; of a rehearsal (-rehearse) */
	char *text;  /* a mapping of our own of it */
	size_t len;
	struct hk_arena arena;
	const struct hk_value *top;
};
/* By the flags -resume and -rehearse. Every descriptor named in it is close-on-exec again. */
int shim_resume_open(const struct shim_flags *f, struct shim_resume *ret, struct hk_err *err);
/* Tells the verdict (err NULL: it could) and ends the process. */
_Noreturn void shim_resume_say(const struct shim_resume *r, const struct hk_err *err);
/* Executes the program that has left, which tells *why to who asked; returns when that fails too, or when it is itself what failed. After a failed open too. */
void shim_resume_back(const struct shim_resume *r, const struct hk_err *why);
/* Nothing can fail any more: calls are made again, whoever asked is answered, requests are heard. */
void shim_resume_finish(struct shim_resume *r, struct shim_listener *l);
