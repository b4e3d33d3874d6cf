/* SPDX-License-Identifier: Apache-2.0 */
/* The state tables, cell by cell against a list of what may happen: what is not listed must be refused and change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "sandbox/state.h"

struct way {
	int from, event, to;
};

/* A container: init's life. */
static const struct way ct_ways[] = {
	{ CT_CREATING, CE_CREATED, CT_CREATED },
	{ CT_CREATED, CE_START, CT_STARTING },
	{ CT_CREATED, CE_INIT_DEAD, CT_STOPPING }, /* killed before it was ever started */
	{ CT_CREATED, CE_EXEC, CT_CREATED },
	{ CT_CREATED, CE_EXEC_START, CT_CREATED },
	{ CT_CREATED, CE_UPDATE, CT_CREATED },
	{ CT_STARTING, CE_STARTED, CT_RUNNING },
	{ CT_STARTING, CE_START_FAILED, CT_CREATED },
	{ CT_STARTING, CE_EXEC, CT_STARTING },
	{ CT_STARTING, CE_EXEC_START, CT_STARTING },
	{ CT_STARTING, CE_UPDATE, CT_STARTING }, /* no CE_INIT_DEAD: start is told before exit */
	{ CT_RUNNING, CE_PAUSE, CT_PAUSING },
	{ CT_RUNNING, CE_INIT_DEAD, CT_STOPPING },
	{ CT_RUNNING, CE_EXEC, CT_RUNNING },
	{ CT_RUNNING, CE_EXEC_START, CT_RUNNING },
	{ CT_RUNNING, CE_UPDATE, CT_RUNNING },
	{ CT_RUNNING, CE_CHECKPOINT, CT_RUNNING },
	{ CT_PAUSING, CE_PAUSED, CT_PAUSED },
	{ CT_PAUSING, CE_PAUSE_FAILED, CT_RUNNING },
	{ CT_PAUSING, CE_INIT_DEAD, CT_STOPPING },
	{ CT_PAUSING, CE_UPDATE, CT_PAUSING },
	{ CT_PAUSED, CE_RESUME, CT_RESUMING },
	{ CT_PAUSED, CE_INIT_DEAD, CT_STOPPING },
	{ CT_PAUSED, CE_UPDATE, CT_PAUSED },
	{ CT_PAUSED, CE_CHECKPOINT, CT_PAUSED },
	{ CT_RESUMING, CE_RESUMED, CT_RUNNING },
	{ CT_RESUMING, CE_RESUME_FAILED, CT_PAUSED },
	{ CT_RESUMING, CE_INIT_DEAD, CT_STOPPING },
	{ CT_RESUMING, CE_UPDATE, CT_RESUMING },
	{ CT_STOPPING, CE_STOPPED, CT_STOPPED },
	{ CT_STOPPED, CE_DELETE, CT_DELETING },
	{ CT_DELETING, CE_DELETE_FAILED, CT_STOPPED },
};

static const struct way proc_ways[] = {
	{ PROC_NEW, PE_START, PROC_STARTING },     { PROC_NEW, PE_DELETE, PROC_DELETING },
	{ PROC_STARTING, PE_RUNS, PROC_RUNNING },  { PROC_STARTING, PE_FAILED, PROC_NEW },
	{ PROC_RUNNING, PE_DIED, PROC_DEAD },      { PROC_DEAD, PE_TELL, PROC_TOLD },
	{ PROC_TOLD, PE_DELETE, PROC_DELETING },
};

/* A sandbox without a pause image. */
static const struct way sb_ways[] = {
	{ SB_CREATED, SE_START, SB_STARTING },     { SB_CREATED, SE_STOP, SB_STOPPING },
	{ SB_STARTING, SE_STARTED, SB_READY },     { SB_STARTING, SE_START_FAILED, SB_CREATED }, /* no SE_DEAD: start is told before exit */
	{ SB_READY, SE_STOP, SB_STOPPING },        { SB_READY, SE_DEAD, SB_STOPPING },
	{ SB_STOPPING, SE_DEAD, SB_STOPPING },     { SB_STOPPING, SE_GONE, SB_STOPPED },
	{ SB_STOPPED, SE_REMOVE, SB_REMOVING },
};

static int expected(const struct way *v, size_t n, int from, int event)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].from == from && v[i].event == event)
			return v[i].to;
	return -1;
}

static void check_refusal(const struct hk_err *err)
{
	assert_int_equal(err->kind, HK_BAD_STATE);
	assert_true(err->code > 0);
	assert_non_null(strchr(err->text, ' '));
	assert_null(strchr(err->text, '%'));
}

static void test_every_cell_of_a_container(void **state)
{
	(void)state;
	for (int s = 0; s < CT_N_STATES; s++) {
		for (int e = 0; e < CT_N_EVENTS; e++) {
			const int to = expected(ct_ways, HK_ARRAY_SIZE(ct_ways), s, e);
			struct hk_err err = { 0 };
			enum ct_state now = (enum ct_state)s;
			const int r = ct_step(&now, (enum ct_event)e, &err);

			if (to >= 0) {
				assert_int_equal(r, 0);
				assert_int_equal(now, to);
				continue;
			}
			assert_true(r < 0);
			assert_int_equal(now, s);
			check_refusal(&err);
		}
	}
}

static void test_every_cell_of_a_process(void **state)
{
	(void)state;
	for (int s = 0; s < PROC_N_STATES; s++) {
		for (int e = 0; e < PROC_N_EVENTS; e++) {
			const int to = expected(proc_ways, HK_ARRAY_SIZE(proc_ways), s, e);
			struct hk_err err = { 0 };
			enum proc_state now = (enum proc_state)s;
			const int r = proc_step(&now, (enum proc_event)e, &err);

			if (to >= 0) {
				assert_int_equal(r, 0);
				assert_int_equal(now, to);
				continue;
			}
			assert_true(r < 0);
			assert_int_equal(now, s);
			check_refusal(&err);
		}
	}
}

static void test_every_cell_of_a_sandbox(void **state)
{
	(void)state;
	for (int s = 0; s < SB_N_STATES; s++) {
		for (int e = 0; e < SB_N_EVENTS; e++) {
			const int to = expected(sb_ways, HK_ARRAY_SIZE(sb_ways), s, e);
			struct hk_err err = { 0 };
			enum sb_state now = (enum sb_state)s;
			const int r = sb_step(&now, (enum sb_event)e, &err);

			if (to >= 0) {
				assert_int_equal(r, 0);
				assert_int_equal(now, to);
				continue;
			}
			assert_true(r < 0);
			assert_int_equal(now, s);
			check_refusal(&err);
		}
	}
}

static void test_words_that_clients_match_on(void **state)
{
	static const struct {
		enum ct_state s;
		enum ct_event e;
		const char *text;
	} cases[] = {
		{ CT_RUNNING, CE_START, "cannot start a running process" },
		{ CT_STARTING, CE_START, "cannot start a running process" },
		{ CT_PAUSED, CE_START, "cannot start a running process" },
		{ CT_STOPPED, CE_START, "cannot start a stopped process" },
		{ CT_RUNNING, CE_DELETE, "cannot delete a running process" },
		{ CT_PAUSED, CE_DELETE, "cannot delete a running process" },
		{ CT_CREATED, CE_PAUSE, "cannot pause task in created state" },
		{ CT_CREATED, CE_RESUME, "cannot resume task in created state" },
		{ CT_RUNNING, CE_RESUME, "cannot resume a running process" },
		{ CT_STOPPED, CE_PAUSE, "cannot pause a stopped container" },
		{ CT_PAUSED, CE_PAUSE, "cannot pause a paused container" },
		{ CT_STOPPED, CE_UPDATE, "cannot update a stopped container" },
		{ CT_PAUSED, CE_EXEC, "cannot exec in a paused state" },
		{ CT_STOPPED, CE_EXEC, "cannot exec in a stopped state" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		enum ct_state now = cases[i].s;
		struct hk_err err = { 0 };

		assert_true(ct_step(&now, cases[i].e, &err) < 0);
		assert_string_equal(err.text, cases[i].text);
	}
}

static void test_every_path_leads_to_stopped(void **state)
{
	(void)state;
	/* From each state, an init's death and the end of its execs must be able to come. */
	for (int s = CT_CREATED; s <= CT_RESUMING; s++) {
		enum ct_state now = (enum ct_state)s;

		if (now == CT_STARTING)
			assert_int_equal(ct_step(&now, CE_STARTED, NULL), 0);
		assert_int_equal(ct_step(&now, CE_INIT_DEAD, NULL), 0);
		assert_int_equal(ct_status(now), SBX_RUNNING); /* until its exit is told */
		assert_int_equal(ct_step(&now, CE_STOPPED, NULL), 0);
		assert_int_equal(ct_status(now), SBX_STOPPED);
		assert_int_equal(ct_step(&now, CE_DELETE, NULL), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell_of_a_container),
		cmocka_unit_test(test_every_cell_of_a_process),
		cmocka_unit_test(test_every_cell_of_a_sandbox),
		cmocka_unit_test(test_words_that_clients_match_on),
		cmocka_unit_test(test_every_path_leads_to_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
