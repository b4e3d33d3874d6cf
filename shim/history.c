/* SPDX-License-Identifier: Apache-2.0 */
/* shim/history.c — see history.h. */
#include "shim/history.h"

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "oci/base/str.h"
#include "sandbox/sandbox.h"

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

const char *shim_history_name(uint8_t type)
{
	static const char *const names[] = {
		[SBX_EV_CREATE] = "create", [SBX_EV_START] = "start", [SBX_EV_EXIT] = "exit", [SBX_EV_DELETE] = "delete", [SBX_EV_OOM] = "oom",
		[SBX_EV_EXEC_ADDED] = "exec-added", [SBX_EV_EXEC_STARTED] = "exec-started", [SBX_EV_PAUSED] = "paused",
		[SBX_EV_RESUMED] = "resumed",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}
