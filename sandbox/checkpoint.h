/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/checkpoint.h — what the life of a container calls of sandbox/checkpoint.c. Private to sandbox/. */
#pragma once
#include "sandbox/pod.h"

/* Answers a checkpoint under way with *err, if there is one; or drops it unanswered. */
void checkpoint_abandon(struct sbx_container *c, const struct hk_err *err);
void checkpoint_forget(struct sbx_container *c);

/* Keeps what Start needs of a Create with a checkpoint; -ENOMEM. Nothing without one. */
int restore_remember(struct sbx_container *c, const struct sbx_create *r);
/* NULL: its init is an ordinary one, or is restored already. */
const char *restore_image(const struct sbx_container *c);
void restore_forget(struct sbx_container *c);
/* In the place of oci_start; the end is told to c->start. */
int restore_start(struct sbx_container *c, struct hk_err *err);
/* A signal to, or the deletion of, an init that has not come yet: it never will, and its exit is told. */
void restore_give_up(struct sbx_container *c, int sig);
