/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/carry.c — the pod, its containers and their processes as records, and back. States have words of their own here, since a number would mean
 * what the other version's enum says; a state without a word is one that is passed through within a moment, and is waited for.
 */
#include "sandbox/carry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/record.h"
#include "oci/base/str.h"
#include "sandbox/carry_priv.h"
#include "sandbox/podsandbox_priv.h"
#include "sandbox/store.h"

HK_RECORD_WHOLE(struct sbx_container, 832);
HK_RECORD_WHOLE(struct sbx_process, 424);

static const char *const ct_words[CT_N_STATES] = { [CT_CREATED] = "created", [CT_RUNNING] = "running", [CT_PAUSED] = "paused",
	[CT_STOPPING] = "stopping", [CT_STOPPED] = "stopped" };
static const char *const proc_words[PROC_N_STATES] = { [PROC_NEW] = "new", [PROC_RUNNING] = "running", [PROC_DEAD] = "dead", [PROC_TOLD] = "told" };
static const char *const path_names[3] = { "stdin", "stdout", "stderr" };

/* The index, or 0 and the error. */
static int word_of(const struct hk_value *from, const char *const *words, int n)
{
	const char *state = hk_value_str(from, "state");

	for (int i = 0; i < n; i++)
		if (words[i] && strcmp(words[i], state) == 0)
			return i;
	hk_value_wrong(from, "state", "is unknown");
	return 0;
}

/* ---- small things ---- */

void carry_timer(struct hk_record *to, const char *name, const struct hk_timer *t)
{
	if (hk_timer_is_armed(t))
		hk_record_num(to, name, (int64_t)hk_timer_left_ms(t));
}

bool carry_time_left(const struct hk_value *from, const char *name, uint64_t *ret_ms)
{
	const int64_t left = hk_value_num_or(from, name, -1);

	if (left >= 0)
		*ret_ms = (uint64_t)left;
	return left >= 0;
}

void carry_exit(struct hk_record *to, const struct hk_exit *x)
{
	hk_record_num(to, "exit_status", x->status);
	hk_record_bool(to, "was_signaled", x->was_signaled);
	hk_record_num(to, "exited_s", x->at.tv_sec);
	hk_record_num(to, "exited_ns", x->at.tv_nsec);
}

void carry_read_exit(const struct hk_value *from, struct hk_exit *ret)
{
	ret->status = (int)hk_value_num(from, "exit_status");
	ret->was_signaled = hk_value_bool(from, "was_signaled");
	ret->at.tv_sec = (time_t)hk_value_num(from, "exited_s");
	ret->at.tv_nsec = (long)hk_value_num(from, "exited_ns");
}

void carry_child(struct hk_record *to, const struct hk_child *c)
{
	if (c->pid == 0)
		return;
	hk_record_begin(to, "child");
	hk_record_num(to, "pid", c->pid);
	hk_record_fd(to, "pidfd", c->pidfd);
	hk_record_bool(to, "is_dead", c->is_dead);
	hk_record_end(to);
}

int carry_read_child(struct hk_reaper *r, const struct hk_value *from, struct hk_child *c, hk_child_fn *fn, void *owner)
{
	const struct hk_child_was was = { .pid = (pid_t)hk_value_num(from, "pid"), .pidfd = hk_value_fd(from, "pidfd"),
		.is_dead = hk_value_bool(from, "is_dead") };

	return hk_value_check(from, NULL) < 0 ? 0 : hk_child_take_over(r, c, &was, fn, owner);
}

int carry_read_copy(const struct hk_value *from, const char *name, char **ret)
{
	const char *s = hk_value_str_or(from, name, NULL);

	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

/* ---- busy ---- */

static const char *process_busy(const struct sbx_process *proc)
{
	if (proc->is_opening)
		return "it waits for readers of its stdio";
	if (proc->start.fn || !proc_words[proc->state])
		return proc->state == PROC_DELETING ? "it is being deleted" : "it is being started";
	return stdio_busy(proc->io);
}

static const char *container_busy(const struct sbx_container *c)
{
	const char *why;

	if (c->restore)
		return "it was created from a checkpoint and is not restored yet";
	if (!ct_words[c->state] || c->creating || c->start.fn || c->freeze_done.fn)
		return c->state == CT_DELETING ? "it is being deleted" : c->state == CT_CREATING ? "it is being created" : "it is being started, paused or resumed";
	if (c->checkpointing)
		return "it is being checkpointed";
	if (c->update_done.fn)
		return "its limits are being changed";
	why = oci_container_busy(c->oci);
	return why ? why : process_busy(&c->init);
}

bool sbx_busy(const struct sbx_pod *p, char *buf, size_t size)
{
	const char *why = sandbox_busy(p);

	if (why) {
		(void)hk_fmt(buf, size, "sandbox: %s", why);
		return true;
	}
	hk_list_for(n, &p->containers) {
		const struct sbx_container *c = hk_container_of(n, struct sbx_container, node);

		why = container_busy(c);
		if (why) {
			(void)hk_fmt(buf, size, "container %.80s: %s", c->id, why);
			return true;
		}
		hk_list_for(e, &c->execs) {
			const struct sbx_process *proc = hk_container_of(e, struct sbx_process, node);

			why = process_busy(proc);
			if (!why)
				continue;
			(void)hk_fmt(buf, size, "exec %.80s of container %.80s: %s", proc->exec_id, c->id, why);
			return true;
		}
	}
	return false;
}

/* ---- saving ---- */

static void save_process(const struct sbx_process *proc, struct hk_record *to)
{
	hk_record_str(to, "state", proc_words[proc->state]);
	for (int i = 0; i < 3; i++)
		hk_record_str(to, path_names[i], proc->paths[i]);
	hk_record_bool(to, "terminal", proc->terminal);
	hk_record_bool(to, "is_failed", proc->is_failed);
	hk_record_bool(to, "is_stdin_closed", proc->is_stdin_closed);
	hk_record_num(to, "pid", proc->pid);
	if (proc->state >= PROC_DEAD)
		carry_exit(to, &proc->x);
	carry_child(to, &proc->child);
	hk_record_num(to, "killed_ns", (int64_t)proc->killed_ns);
	hk_record_num(to, "end_signal", proc->end_signal);
	carry_timer(to, "stuck", &proc->stuck);
	stdio_save(proc->io, to);
}

static void save_exec(const struct sbx_process *proc, struct hk_record *to)
{
	hk_record_begin(to, "exec");
	hk_record_str(to, "id", proc->exec_id);
	hk_record_bytes(to, "spec", proc->spec_json, proc->spec_json_len); /* gone once it runs */
	save_process(proc, to);
	carry_timer(to, "linger", &proc->linger);
	hk_record_bool(to, "has_tree", proc->has_tree);
	carry_timer(to, "tree_timer", &proc->tree_timer);
	hk_record_num(to, "tree_until_ns", (int64_t)proc->tree_until_ns);
	hk_record_num(to, "tree_delay_ms", proc->tree_delay_ms);
	hk_record_end(to);
}

static int save_container(const struct sbx_container *c, struct hk_record *to, struct hk_err *err)
{
	int r;

	hk_record_begin(to, "container");
	hk_record_str(to, "id", c->id);
	hk_record_str(to, "bundle", c->bundle);
	hk_record_str(to, "state", ct_words[c->state]);
	carry_timer(to, "kill_timer", &c->kill_timer);
	hk_record_num(to, "kill_until_ns", (int64_t)c->kill_until_ns);
	hk_record_num(to, "kill_delay_ms", c->kill_delay_ms);
	oom_save(c, to);
	if (c->stats) {
		hk_record_begin(to, "stats");
		oci_stats_save(c->stats, to);
		hk_record_end(to);
	}
	hk_record_begin(to, "engine");
	r = oci_container_save(c->oci, to, err);
	hk_record_end(to);
	hk_record_begin(to, "init");
	save_process(&c->init, to);
	hk_record_end(to);
	hk_list_for(n, &c->execs)
		save_exec(hk_container_of(n, struct sbx_process, node), to);
	hk_record_end(to);
	return r;
}

int sbx_pod_save(const struct sbx_pod *p, struct hk_record *to, struct hk_err *err)
{
	int r = p->sandbox ? sandbox_save(p->sandbox, to, err) : 0;

	oom_slices_save(p, to);
	oom_levels_save(p, to);
	for (struct hk_list *n = p->containers.next; r == 0 && n != &p->containers; n = n->next)
		r = save_container(hk_container_of(n, struct sbx_container, node), to, err);
	return r;
}

/* ---- loading ---- */

/* All but what its owner must do: the child and the timers of an exec. */
static int load_process(struct sbx_process *proc, const struct hk_value *from)
{
	const char *const paths[3] = { hk_value_str(from, path_names[0]), hk_value_str(from, path_names[1]), hk_value_str(from, path_names[2]) };
	uint64_t left_ms;

	proc->state = (enum proc_state)word_of(from, proc_words, PROC_N_STATES);
	proc->is_failed = hk_value_bool(from, "is_failed");
	proc->is_stdin_closed = hk_value_bool(from, "is_stdin_closed");
	proc->pid = (uint32_t)hk_value_num(from, "pid");
	if (proc->state >= PROC_DEAD)
		carry_read_exit(from, &proc->x);
	proc->killed_ns = (uint64_t)hk_value_num_or(from, "killed_ns", 0);
	proc->end_signal = (int)hk_value_num_or(from, "end_signal", 0);
	if (carry_time_left(from, "stuck", &left_ms))
		kill_take_over(proc, left_ms);
	if (process_set_paths(proc, paths, hk_value_bool(from, "terminal")) < 0)
		return -ENOMEM;
	return stdio_load(proc->c->pod, from, &proc->io);
}

static int load_exec(struct sbx_container *c, const struct hk_value *from)
{
	const struct hk_value *child = hk_value_get(from, "child");
	struct sbx_process *proc = calloc(1, sizeof(*proc));
	const char *spec;
	int r;

	if (!proc)
		return -ENOMEM;
	process_init(proc, c);
	hk_list_append(&c->execs, &proc->node);
	proc->exec_id = strdup(hk_value_str(from, "id"));
	spec = hk_value_bytes(from, "spec", &proc->spec_json_len);
	proc->spec_json = spec ? calloc(1, proc->spec_json_len + 1) : NULL;
	if (!proc->exec_id || (spec && !proc->spec_json))
		return -ENOMEM;
	if (spec)
		memcpy(proc->spec_json, spec, proc->spec_json_len);
	r = load_process(proc, from);
	if (r == 0 && child)
		r = exec_take_over(proc, child);
	proc->has_tree = hk_value_bool(from, "has_tree");
	proc->tree_until_ns = (uint64_t)hk_value_num_or(from, "tree_until_ns", 0);
	proc->tree_delay_ms = (unsigned)hk_value_num_or(from, "tree_delay_ms", 1);
	exec_take_over_timers(proc, from);
	if (proc->state == PROC_NEW && !spec)
		hk_value_wrong(from, "spec", "is missing");
	return r;
}

static int load_parts(struct sbx_container *c, const struct hk_value *from, struct hk_err *err)
{
	const struct hk_value *init = hk_value_need(from, "init"), *child = init ? hk_value_get(init, "child") : NULL;
	const struct hk_value *stats = hk_value_get(from, "stats"), *engine = hk_value_need(from, "engine");
	int r = hk_value_check(from, err);

	if (r == 0)
		r = oci_container_load(&c->pod->engine, engine, &c->oci, err);
	if (r < 0)
		return r;
	c->stats = stats ? calloc(1, sizeof(*c->stats)) : NULL;
	if (stats)
		r = c->stats ? oci_stats_load(stats, c->stats) : -ENOMEM;
	if (r == 0)
		r = load_process(&c->init, init);
	if (r == 0 && child)
		r = container_take_over(c, child);
	for (const struct hk_value *e = hk_value_get(from, "exec"); r == 0 && e; e = hk_value_next(e))
		r = load_exec(c, e);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "take container %s over", c->id) : 0;
}

static int load_container(struct sbx_pod *p, const struct hk_value *from, struct hk_err *err)
{
	struct sbx_container *c = container_new(p, hk_value_str(from, "id"), hk_value_str(from, "bundle"));
	uint64_t left_ms;
	int r;

	if (!c)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "take a container over");
	c->state = (enum ct_state)word_of(from, ct_words, CT_N_STATES);
	c->freeze_want = c->state == CT_PAUSED;
	c->kill_until_ns = (uint64_t)hk_value_num_or(from, "kill_until_ns", 0);
	c->kill_delay_ms = (unsigned)hk_value_num_or(from, "kill_delay_ms", 1);
	if (carry_time_left(from, "kill_timer", &left_ms))
		hk_timer_set(p->loop, &c->kill_timer, left_ms);
	r = load_parts(c, from, err);
	if (r < 0)
		return r;
	r = oom_load(c, from);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "watch the memory of %s", c->id) : 0;
}

int sbx_pod_load(const struct sbx_pod_opts *o, const struct hk_value *from, struct sbx_pod **ret, struct hk_err *err)
{
	struct sbx_pod *p = pod_new(o);
	int r;

	if (!p)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "pod %s", o->group);
	r = sandbox_load(p, hk_value_get(from, "sandbox"), err);
	if (r == 0 && (oom_slices_load(p, from) < 0 || oom_levels_load(p, from) < 0))
		r = hk_fail(err, HK_INTERNAL, ENOMEM, "watch the memory of pod %s", o->group);
	for (const struct hk_value *c = hk_value_get(from, "container"); r == 0 && c; c = hk_value_next(c))
		r = load_container(p, c, err);
	if (r == 0)
		r = hk_value_check(from, err);
	if (r == 0)
		*ret = p;
	return r;
}
