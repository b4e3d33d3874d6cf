/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/carry_priv.h — what sandbox/carry.c asks of each noun: is it in the middle of something (in words, NULL = no), write it, take it over. Private
 * to sandbox/. A load answers 0 or -errno; what a record lacks is told by hk_value_check.
 */
#pragma once
#include "sandbox/pod.h"

struct hk_record;
struct hk_value;
struct logger;
struct sbx_stdio;

/* ---- carry.c: small things that all have ---- */
void carry_timer(struct hk_record *to, const char *name, const struct hk_timer *t);
/* The milliseconds that are left, as it was saved; false: it did not run. */
bool carry_time_left(const struct hk_value *from, const char *name, uint64_t *ret_ms);
void carry_exit(struct hk_record *to, const struct hk_exit *x);
void carry_read_exit(const struct hk_value *from, struct hk_exit *ret);
/* A pidfd with its pid, dead or alive. */
void carry_child(struct hk_record *to, const struct hk_child *c);
int carry_read_child(struct hk_reaper *r, const struct hk_value *from, struct hk_child *c, hk_child_fn *fn, void *owner);
/* strdup of a string that may be absent (NULL). */
int carry_read_copy(const struct hk_value *from, const char *name, char **ret);

/* ---- carry_stdio.c ---- */
const char *stdio_busy(const struct sbx_stdio *s);
void stdio_save(const struct sbx_stdio *s, struct hk_record *to);
int stdio_load(const struct sbx_pod *p, const struct hk_value *from, struct sbx_stdio **ret);
/* logger.c */
const char *logger_busy(const struct logger *l);
void logger_save(const struct logger *l, struct hk_record *to);
int logger_load(const struct sbx_pod *p, const struct hk_value *from, struct logger **ret);

struct sbx_pod *pod_new(const struct sbx_pod_opts *o); /* sandbox.c: without its state file; NULL: no memory */
/* ---- what else has timers and children of its own ---- */
int container_take_over(struct sbx_container *c, const struct hk_value *child); /* container.c: its init */
int exec_take_over(struct sbx_process *proc, const struct hk_value *child);     /* exec.c */
void exec_take_over_timers(struct sbx_process *proc, const struct hk_value *from);
void kill_take_over(struct sbx_process *proc, uint64_t left_ms); /* kill.c */
/* oom.c, oom_slice.c, oom_level.c: counters, and what counts; a container is loaded after the cgroups above it. */
void oom_save(const struct sbx_container *c, struct hk_record *to);
int oom_load(struct sbx_container *c, const struct hk_value *from);
void oom_slices_save(const struct sbx_pod *p, struct hk_record *to);
int oom_slices_load(struct sbx_pod *p, const struct hk_value *from);
/* The slice that the container was in. */
struct oom_slice *oom_slice_of(const struct sbx_container *c);
void oom_levels_save(const struct sbx_pod *p, struct hk_record *to);
int oom_levels_load(struct sbx_pod *p, const struct hk_value *from);

/* ---- carry_podsandbox.c ---- */
const char *sandbox_busy(const struct sbx_pod *p);
int sandbox_save(const struct sbx_podsandbox *b, struct hk_record *to, struct hk_err *err);
/* from NULL: there was none. */
int sandbox_load(struct sbx_pod *p, const struct hk_value *from, struct hk_err *err);
