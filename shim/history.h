/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/history.h — the last 64 events and the last 8 failures of a shim, for people: `husk why`, `husk events`, SIGUSR1. Fixed size, since a
 * pod's memory is its price; a long id keeps its first bytes, which is what ctr and crictl show.
 */
#pragma once
#include <stdint.h>

struct hk_record;
struct hk_value;
struct sbx_event;

enum { HISTORY_EVENTS = 64, HISTORY_ERRORS = 8, HISTORY_ID_SIZE = 14, HISTORY_EXEC_ID_SIZE = 10, HISTORY_TEXT_SIZE = 128 };

/* Both rings and their numbers together are a page. */
struct history_head {
	uint32_t seq;
	uint32_t at_s; /* CLOCK_REALTIME */
	uint16_t at_ms;
	uint8_t type;   /* enum sbx_event_type */
	uint8_t status; /* of an exit; of SBX_EV_OOM: enum sbx_limit */
	char id[HISTORY_ID_SIZE], exec_id[HISTORY_EXEC_ID_SIZE];
};
struct history_event {
	struct history_head head;
	uint32_t pid;
};
struct history_error {
	struct history_head head;
	const char *method; /* static storage */
	char text[HISTORY_TEXT_SIZE];
};
/* Zero-initialised. Both rings share the numbers, which begin with 1. */
struct shim_history {
	uint32_t last_seq;
	struct history_event events[HISTORY_EVENTS];
	struct history_error errors[HISTORY_ERRORS];
	uint32_t n_events, n_errors; /* ever */
};

/* A failed request. `ids` and `text` are cut to what fits. */
struct history_failure {
	const char *method, *id, *exec_id, *text;
};
void shim_history_event(struct shim_history *h, const struct sbx_event *ev);
void shim_history_error(struct shim_history *h, const struct history_failure *f);
/* Both rings by number, those later than `after`. */
typedef void history_fn(void *arg, const struct history_event *ev, const struct history_error *e); /* one of them is NULL */
void shim_history_each(const struct shim_history *h, uint32_t after, history_fn *fn, void *arg);
/* Over an upgrade. A method that this version has not is told as "?". */
void shim_history_save(const struct shim_history *h, struct hk_record *to);
void shim_history_load(struct shim_history *h, const struct hk_value *from);
/* "start", "exit", "oom"... */
const char *shim_history_name(uint8_t type);
