/* SPDX-License-Identifier: Apache-2.0 */
/* CPU and node lists, and limits that need no privilege; each applied in a child and read back from the kernel there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/limits.h"

static void lists_are_read_strictly(void **state)
{
	static const struct {
		const char *list;
		int r;
		unsigned long bits;
	} cases[] = {
		{ "0", 0, 1 },
		{ "0-3,7", 0, 0x8f },
		{ "63", 0, 1UL << 63 },
		{ "", 0, 0 },
		{ "5-5", 0, 0x20 },
		{ "64", -ERANGE, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "3-1", -EINVAL, 0 },
		{ "1,", -EINVAL, 0 },
		{ ",1", -EINVAL, 0 },
		{ "1-", -EINVAL, 0 },
		{ "a", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1--2", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		unsigned long bits = 0;
		int r = oci_parse_list(cases[i].list, &bits, 64);

		if (r != cases[i].r || (r == 0 && bits != cases[i].bits))
			fail_msg("\"%s\": %d %#lx", cases[i].list, r, bits);
	}
}

/* Runs fn in a child, so that its limits are not ours; fn's number is the result. */
static int in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int lower_nofile(void)
{
	struct oci_rlimit v[] = { { RLIMIT_NOFILE, 33, 44 }, { RLIMIT_CORE, 0, 0 } };
	struct oci_process p = { .rlimits = v, .n_rlimits = 2 };
	struct rlimit l;
	int at = 7;

	if (oci_rlimits_apply(0, &p, &at, NULL) < 0 || getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 1;
	return l.rlim_cur == 33 && l.rlim_max == 44 && at == -1 ? 0 : 2;
}

static int soft_above_hard(void)
{
	struct oci_rlimit v[] = { { RLIMIT_CORE, 0, 0 }, { RLIMIT_NOFILE, 44, 33 } };
	struct oci_process p = { .rlimits = v, .n_rlimits = 2 };
	struct hk_err err = { 0 };
	int at = -1;

	return oci_rlimits_apply(0, &p, &at, &err) == -EINVAL && at == 1 && err.kind == HK_INVALID &&
		       strcmp(err.text, "set rlimit 7 to 44:33: EINVAL") == 0
		   ? 0
		   : 1;
}

static void rlimits_are_set_or_named(void **state)
{
	(void)state;
	assert_int_equal(in_child(lower_nofile), 0);
	assert_int_equal(in_child(soft_above_hard), 0);
}

/* The shim may be pinned; its containers are not. */
static int unpin(void)
{
	cpu_set_t before, one, after;
	struct hk_err err = { 0 };

	if (sched_getaffinity(0, sizeof(before), &before) < 0)
		return 1;
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0 || oci_affinity_apply(NULL, &err) < 0)
		return 2;
	if (sched_getaffinity(0, sizeof(after), &after) < 0 || CPU_COUNT(&after) < CPU_COUNT(&before))
		return 3;
	if (oci_affinity_apply("0-", &err) != -EINVAL || oci_affinity_apply("8191", &err) >= 0)
		return 4;
	return 0;
}

static void affinity_is_given_back(void **state)
{
	(void)state;
	assert_int_equal(in_child(unpin), 0);
}

static int be_nice(void)
{
	struct oci_process p = { .scheduler = { .is_set = true, .policy = SCHED_BATCH, .nice = 5 } }, bad = p;
	struct hk_err err = { 0 };

	bad.scheduler.policy = 99;
	if (oci_sched_apply(&p, &err) < 0 || sched_getscheduler(0) != SCHED_BATCH || getpriority(PRIO_PROCESS, 0) != 5)
		return 1;
	return oci_sched_apply(&bad, &err) == -EINVAL ? 0 : 2;
}

static void scheduler_is_set(void **state)
{
	(void)state;
	assert_int_equal(in_child(be_nice), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_read_strictly),
		cmocka_unit_test(rlimits_are_set_or_named),
		cmocka_unit_test(affinity_is_given_back),
		cmocka_unit_test(scheduler_is_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
