/* SPDX-License-Identifier: Apache-2.0 */
/* shim/history.c — see history.h. */
#include "shim/history.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "oci/base/record.h"
#include "oci/base/str.h"
#include "sandbox/sandbox.h"
#include "shim/sandbox_svc.h"
#include "shim/task.h"

_Static_assert(sizeof(struct shim_history) <= 4096, "the history of a pod is a page");

static void copy(char *ret, size_t size, const char *s)
{
	(void)hk_fmt(ret, size, "%.*s", (int)size - 1, s ? s : "");
}

static struct history_head head_of(struct shim_history *h, const char *id, const char *exec_id)
{
	struct history_head head = { .seq = ++h->last_seq };
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	head.at_s = (uint32_t)now.tv_sec;
	head.at_ms = (uint16_t)(now.tv_nsec / 1000000);
	copy(head.id, sizeof(head.id), id);
	copy(head.exec_id, sizeof(head.exec_id), exec_id);
	return head;
}

void shim_history_event(struct shim_history *h, const struct sbx_event *ev)
{
	struct history_event *e = &h->events[h->n_events++ % HISTORY_EVENTS];

	*e = (struct history_event){ .head = head_of(h, ev->id, ev->exec_id), .pid = ev->pid };
	e->head.type = (uint8_t)ev->type;
	e->head.status = (uint8_t)(ev->type == SBX_EV_OOM ? ev->limit : ev->exit_status);
}

void shim_history_error(struct shim_history *h, const struct history_failure *f)
{
	struct history_error *e = &h->errors[h->n_errors++ % HISTORY_ERRORS];

	*e = (struct history_error){ .head = head_of(h, f->id, f->exec_id), .method = f->method };
	copy(e->text, sizeof(e->text), f->text);
}

static uint32_t first_of(uint32_t n, uint32_t size)
{
	return n > size ? n - size : 0;
}

void shim_history_each(const struct shim_history *h, uint32_t after, history_fn *fn, void *arg)
{
	uint32_t i = first_of(h->n_events, HISTORY_EVENTS), k = first_of(h->n_errors, HISTORY_ERRORS);

	while (i < h->n_events || k < h->n_errors) {
		const struct history_event *ev = i < h->n_events ? &h->events[i % HISTORY_EVENTS] : NULL;
		const struct history_error *e = k < h->n_errors ? &h->errors[k % HISTORY_ERRORS] : NULL;
		const bool is_event = ev && (!e || ev->head.seq < e->head.seq);
		const uint32_t seq = is_event ? ev->head.seq : e->head.seq;

		if (is_event)
			i++;
		else
			k++;
		if (seq > after)
			fn(arg, is_event ? ev : NULL, is_event ? NULL : e);
	}
}

/* ---- an upgrade ---- */

static void save_one(void *arg, const struct history_event *ev, const struct history_error *e)
{
	const struct history_head *head = ev ? &ev->head : &e->head;
	struct hk_record *to = arg;

	hk_record_begin(to, ev ? "past_event" : "past_error");
	hk_record_num(to, "seq", head->seq);
	hk_record_num(to, "at_s", head->at_s);
	hk_record_num(to, "at_ms", head->at_ms);
	hk_record_num(to, "status", head->status);
	hk_record_str(to, "id", head->id);
	hk_record_str(to, "exec_id", head->exec_id);
	if (ev) {
		hk_record_str(to, "what", shim_history_name(head->type));
		hk_record_num(to, "pid", ev->pid);
	} else {
		hk_record_str(to, "method", e->method);
		hk_record_str(to, "text", e->text);
	}
	hk_record_end(to);
}

void shim_history_save(const struct shim_history *h, struct hk_record *to)
{
	hk_record_num(to, "last_seq", h->last_seq);
	shim_history_each(h, 0, save_one, to);
}

static struct history_head load_head(const struct hk_value *from)
{
	struct history_head head = { .seq = (uint32_t)hk_value_num(from, "seq"), .at_s = (uint32_t)hk_value_num(from, "at_s"),
		.at_ms = (uint16_t)hk_value_num(from, "at_ms"), .status = (uint8_t)hk_value_num(from, "status") };

	copy(head.id, sizeof(head.id), hk_value_str(from, "id"));
	copy(head.exec_id, sizeof(head.exec_id), hk_value_str(from, "exec_id"));
	return head;
}

static uint8_t type_of(const char *what)
{
	for (uint8_t i = SBX_EV_CREATE; i <= SBX_EV_RESUMED; i++)
		if (hk_streq(shim_history_name(i), what))
			return i;
	return UINT8_MAX;
}

/* The history keeps pointers to names that live for ever. */
static const char *method_of(const char *name)
{
	for (size_t i = 0; i < TASK_N_METHODS; i++)
		if (hk_streq(task_methods[i].name, name))
			return task_methods[i].name;
	for (size_t i = 0; i < SANDBOX_N_METHODS; i++)
		if (hk_streq(sandbox_methods[i].name, name))
			return sandbox_methods[i].name;
	return "?";
}

void shim_history_load(struct shim_history *h, const struct hk_value *from)
{
	for (const struct hk_value *v = hk_value_get(from, "past_event"); v; v = hk_value_next(v)) {
		struct history_event *e = &h->events[h->n_events++ % HISTORY_EVENTS];

		*e = (struct history_event){ .head = load_head(v), .pid = (uint32_t)hk_value_num(v, "pid") };
		e->head.type = type_of(hk_value_str(v, "what"));
	}
	for (const struct hk_value *v = hk_value_get(from, "past_error"); v; v = hk_value_next(v)) {
		struct history_error *e = &h->errors[h->n_errors++ % HISTORY_ERRORS];

		*e = (struct history_error){ .head = load_head(v), .method = method_of(hk_value_str(v, "method")) };
		copy(e->text, sizeof(e->text), hk_value_str(v, "text"));
	}
	h->last_seq = (uint32_t)hk_value_num(from, "last_seq");
}

const char *shim_history_name(uint8_t type)
{
	static const char *const names[] = {
		[SBX_EV_CREATE] = "create", [SBX_EV_START] = "start", [SBX_EV_EXIT] = "exit", [SBX_EV_DELETE] = "delete", [SBX_EV_OOM] = "oom",
		[SBX_EV_EXEC_ADDED] = "exec-added", [SBX_EV_EXEC_STARTED] = "exec-started", [SBX_EV_PAUSED] = "paused",
		[SBX_EV_RESUMED] = "resumed",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}
