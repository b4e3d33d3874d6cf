/* SPDX-License-Identifier: Apache-2.0 */
/* The rings of a shim's history: order, what is forgotten, what is cut. */
#include "shim/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sandbox/sandbox.h"

struct seen {
	uint32_t seq[200], pid[200];
	bool is_error[200];
	int n;
};

static void see(void *arg, const struct history_event *ev, const struct history_error *e)
{
	struct seen *s = arg;

	s->seq[s->n] = ev ? ev->head.seq : e->head.seq;
	s->pid[s->n] = ev ? ev->pid : 0;
	s->is_error[s->n++] = e != NULL;
}

static void event(struct shim_history *h, uint32_t pid)
{
	shim_history_event(h, &(struct sbx_event){ .type = SBX_EV_EXIT, .id = "a1", .exec_id = "", .pid = pid, .exit_status = 137 });
}

static void error(struct shim_history *h)
{
	shim_history_error(h, &(struct history_failure){ "Start", "a1", "", "cannot start" });
}

static void test_order(void **state)
{
	struct shim_history h = { 0 };
	struct seen s = { .n = 0 };

	(void)state;
	event(&h, 1);
	error(&h);
	error(&h);
	event(&h, 4);
	shim_history_each(&h, 0, see, &s);
	assert_int_equal(s.n, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(s.seq[i], i + 1);
	assert_false(s.is_error[0]);
	assert_true(s.is_error[1] && s.is_error[2]);
	assert_int_equal(s.pid[3], 4);
	s.n = 0;
	shim_history_each(&h, 3, see, &s);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.seq[0], 4);
	s.n = 0;
	shim_history_each(&h, 4, see, &s);
	assert_int_equal(s.n, 0);
}

/* A thousand events forget the oldest ones, never an error, and the other way round. */
static void test_rings_are_apart(void **state)
{
	struct shim_history h = { 0 };
	struct seen s = { .n = 0 };

	(void)state;
	error(&h);
	for (uint32_t i = 0; i < 1000; i++)
		event(&h, i + 1);
	shim_history_each(&h, 0, see, &s);
	assert_int_equal(s.n, HISTORY_EVENTS + 1);
	assert_true(s.is_error[0]);
	assert_int_equal(s.pid[1], 1000 - HISTORY_EVENTS + 1);
	assert_int_equal(s.pid[s.n - 1], 1000);
	for (int i = 0; i < 100; i++)
		error(&h);
	s.n = 0;
	shim_history_each(&h, 0, see, &s);
	assert_int_equal(s.n, HISTORY_EVENTS + HISTORY_ERRORS);
}

static void test_what_is_kept(void **state)
{
	struct shim_history h = { 0 };
	char id[100], text[1000];

	(void)state;
	memset(id, 'i', sizeof(id) - 1);
	memset(text, 't', sizeof(text) - 1);
	id[sizeof(id) - 1] = text[sizeof(text) - 1] = '\0';
	shim_history_error(&h, &(struct history_failure){ "Create", id, id, text });
	assert_int_equal(strlen(h.errors[0].head.id), HISTORY_ID_SIZE - 1);
	assert_int_equal(strlen(h.errors[0].head.exec_id), HISTORY_EXEC_ID_SIZE - 1);
	assert_int_equal(strlen(h.errors[0].text), HISTORY_TEXT_SIZE - 1);
	assert_string_equal(h.errors[0].method, "Create");
	event(&h, 7);
	assert_int_equal(h.events[0].head.status, 137);
	assert_string_equal(shim_history_name(h.events[0].head.type), "exit");
	assert_string_equal(shim_history_name(200), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_rings_are_apart),
		cmocka_unit_test(test_what_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
