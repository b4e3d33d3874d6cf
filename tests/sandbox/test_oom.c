/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/sandbox/test_oom.c — kills for memory in cgroups that systemd has removed before the shim could look: told from the slice's counter,
 * and only to whom they belong. By a fake engine (with: fake_engine.c), without root.
 */
#include "tests/sandbox/script_helpers.h"

enum { C1 = 1, C2 = 2 };

static int set_up(void **state)
{
	fake = (struct fake){ .has_slice = true, .slice_kills = 40 }; /* the slice has a past */
	world.n_events = 0;
	world.events[0] = '\0';
	return world_set_up(state);
}

static void ends(const char *id)
{
	struct answer wait;
	struct hk_err err;

	sbx_wait(world.pod, id, "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, id, "", SIGKILL, false, &err), 0);
	succeeded(&wait);
}

/* An exec that was killed makes the shim look. */
static void look(const char *id)
{
	struct answer a, wait;
	struct hk_err err;

	assert_int_equal(add_exec(id, "e", "kill -9 $$", "", &err), 0);
	sbx_wait(world.pod, id, "e", -1, to(&wait));
	sbx_start(world.pod, id, "e", to(&a));
	succeeded(&a);
	succeeded(&wait);
	sbx_delete(world.pod, id, "e", to(&a));
	succeeded(&a);
}

static void gone_before_the_look(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	fake.oom[C1].error = -ENODEV;
	fake.slice_kills++;
	ends("c1");
	assert_events("create c1;start c1;oom c1;exit c1 137;");
	delete("c1");
}

static void gone_without_a_kill(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	fake.oom[C1].error = -ENOENT;
	ends("c1");
	assert_events("create c1;start c1;exit c1 137;");
	delete("c1");
}

/* The kill is c2's, whose counter is still there; whichever of the two ends first. */
static void a_kill_beside_it(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	run("c2", "exec sleep 1000");
	fake.slice_kills++;
	fake.oom[C2].kills = 1;
	fake.oom[C1].error = -ENODEV;
	ends("c1");
	assert_events("create c1;start c1;create c2;start c2;oom c2;exit c1 137;");
	fake.oom[C2].error = -ENODEV;
	ends("c2");
	assert_events("exit c2 137;");
	delete("c1");
	delete("c2");
}

static void one_kill_each(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	run("c2", "exec sleep 1000");
	fake.slice_kills += 2;
	fake.oom[C2].kills = 1;
	fake.oom[C1].error = -ENODEV;
	ends("c1");
	assert_events("create c1;start c1;create c2;start c2;oom c2;oom c1;exit c1 137;");
	ends("c2");
	assert_events("exit c2 137;");
	delete("c1");
	delete("c2");
}

/* Kills in other services of the slice, seen while our counters could be read, are nobody's here. */
static void kills_of_strangers(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	run("c2", "exec sleep 1000");
	fake.slice_kills += 5;
	look("c2");
	fake.oom[C1].error = -ENODEV;
	ends("c1");
	assert_events("create c1;start c1;create c2;start c2;exec-added c2/e;exec-started c2/e;exit c2/e 137;exit c1 137;");
	/* And after the end of c1 none is its. */
	fake.slice_kills++;
	look("c2");
	assert_events("exec-added c2/e;exec-started c2/e;exit c2/e 137;");
	ends("c2");
	delete("c1");
	delete("c2");
}

/* A counter that could not be read for want of an fd is not a cgroup that is gone. */
static void unreadable_for_a_moment(void **state)
{
	(void)state;
	run("c1", "exec sleep 1000");
	fake.oom[C1].error = -EMFILE;
	look("c1");
	fake.oom[C1].error = -ENODEV;
	fake.slice_kills++;
	ends("c1");
	assert_events("create c1;start c1;exec-added c1/e;exec-started c1/e;exit c1/e 137;oom c1;exit c1 137;");
	delete("c1");
}

/* Of a set-up process: it is watched by then, and what kills it is the Create's business. */
static void a_kill_while_it_is_created(void **state)
{
	struct answer a;

	(void)state;
	run("c2", "exec sleep 1000");
	fake.is_early = true;
	fake.launch_ms = 500;
	create("c1", "exec sleep 1000", "", &a);
	fake.launch_ms = 0;
	look("c2");
	fake.oom[C1].kills = 1;
	fake.slice_kills++;
	look("c2");
	assert_events("create c2;start c2;exec-added c2/e;exec-started c2/e;exit c2/e 137;exec-added c2/e;exec-started c2/e;exit c2/e 137;");
	succeeded(&a);
	fake.oom[C1].kills = 2; /* and one of what it is for */
	fake.slice_kills++;
	ends("c1");
	assert_events("create c1;oom c1;exit c1 137;");
	delete("c1");
	kill_and_delete("c2");
}

/* ---- whose limit it was ---- */

static void killed_at(const char *whose)
{
	char told[80];

	fake.oom[C1].kills++;
	look("c1");
	(void)snprintf(told, sizeof(told), ";oom c1 %s;", whose);
	if (!strstr(world.events, told))
		fail_msg("%s is not in %s", told, world.events);
	assert_null(strstr(strstr(world.events, told) + 1, ";oom"));
	world.n_events = 0;
}

/* v2 counts hits, each cgroup its own. */
static void each_limit_of_v2(void **state)
{
	(void)state;
	fake.limits = LIMITS_V2;
	fake.limit_hits[1] = fake.limit_hits[2] = fake.oom[C1].hits = 7; /* the past */
	run("c1", "exec sleep 1000");
	assert_events("create c1;start c1;");
	killed_at("node"); /* no limit: the machine's memory */
	fake.oom[C1].hits++;
	killed_at("container /node/pod/container");
	fake.limit_hits[2]++;
	killed_at("pod /node/pod");
	fake.limit_hits[1]++;
	killed_at("node /node");
	fake.oom[C1].hits++; /* the latest hit counts */
	killed_at("container /node/pod/container");
	ends("c1");
	delete("c1");
}

static void hears(int depth)
{
	const uint64_t one = 1;

	for (; depth <= 3; depth++)
		assert_int_equal(write(fake.limit_fd[depth], &one, sizeof(one)), sizeof(one));
}

/* v1 tells a cgroup and all that are below it. */
static void each_limit_of_v1(void **state)
{
	(void)state;
	fake.limits = LIMITS_V1;
	run("c1", "exec sleep 1000");
	assert_events("create c1;start c1;");
	killed_at("node");
	hears(3);
	killed_at("container /node/pod/container");
	hears(2);
	killed_at("pod /node/pod");
	hears(1);
	killed_at("node /node");
	ends("c1");
	delete("c1");
}

/* The counters have gone with the cgroup; those above remain. */
static void the_limit_of_what_is_gone(void **state)
{
	(void)state;
	fake.limits = LIMITS_V2;
	run("c1", "exec sleep 1000");
	run("c2", "exec sleep 1000");
	assert_events("create c1;start c1;create c2;start c2;");
	fake.slice_kills++;
	fake.slice_hits++;
	fake.oom[C1].error = -ENODEV;
	ends("c1");
	assert_events("oom c1 container /node/pod/container;exit c1 137;");
	fake.slice_kills++;
	fake.slice_hits++;
	fake.limit_hits[2]++;
	fake.oom[C2].error = -ENODEV;
	ends("c2");
	assert_events("oom c2 pod /node/pod;exit c2 137;");
	delete("c1");
	delete("c2");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
	const struct CMUnitTest tests[] = {
		T(gone_before_the_look),
		T(gone_without_a_kill),
		T(a_kill_beside_it),
		T(one_kill_each),
		T(kills_of_strangers),
		T(a_kill_while_it_is_created),
		T(unreadable_for_a_moment),
		T(each_limit_of_v2),
		T(each_limit_of_v1),
		T(the_limit_of_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
