/* SPDX-License-Identifier: Apache-2.0 */
/* Orders, states and failures of a pod, by a fake engine (with: fake_engine.c), without root. */
#include "tests/sandbox/script_helpers.h"

#include "sandbox/view.h"

static struct sbx_state state_of(const char *id, const char *exec_id)
{
	struct sbx_state s;
	struct hk_err err;

	assert_int_equal(sbx_state(world.pod, id, exec_id, &s, &err), 0);
	return s;
}

static void start_is_told_before_an_exit_that_was_faster(void **state)
{
	struct answer a, start, wait;

	(void)state;
	fake.start_ms = 800; /* far from the 40 below, also on a busy machine */
	create("c1", "exit 9", "", &a);
	succeeded(&a);
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	sbx_start(world.pod, "c1", "", to(&start));
	turn(40); /* dead by now */
	assert_events("create c1;");
	assert_int_equal(wait.calls, 0);
	assert_int_equal(state_of("c1", "").status, SBX_CREATED);
	succeeded(&start);
	succeeded(&wait);
	assert_int_equal(wait.reply.exit_status, 9);
	assert_events("start c1;exit c1 9;");
	/* Answers go on until Delete. */
	sbx_wait(world.pod, "c1", "", 0, to(&wait));
	succeeded(&wait);
	assert_int_equal(wait.reply.exit_status, 9);
	assert_true(state_of("c1", "").exited_at.tv_sec > 0);
	delete("c1");
	assert_events("delete c1;");
}

static void execs_are_told_before_the_init(void **state)
{
	struct answer a, wait;
	struct hk_err err;
	const char *last;

	(void)state;
	run("c1", "exec sleep 1000");
	for (int i = 0; i < 20; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		assert_int_equal(add_exec("c1", id, "exec sleep 1000", "", &err), 0);
		sbx_start(world.pod, "c1", id, to(&a));
		succeeded(&a);
	}
	/* One more is under way while the init dies: it is told, and its end is too. */
	fake.launch_ms = 400;
	assert_int_equal(add_exec("c1", "late", "exec sleep 1000", "", &err), 0);
	sbx_start(world.pod, "c1", "late", to(&a));
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err), 0);
	for (int i = 0; i < 300 && sbx_kill(world.pod, "c1", "", 0, false, &err) == 0; i++)
		turn(1);
	assert_int_equal(wait.calls, 0);
	assert_true(sbx_kill(world.pod, "c1", "", SIGTERM, false, &err) < 0);
	assert_int_equal(err.kind, HK_NOT_FOUND);
	assert_true(add_exec("c1", "too-late", "true", "", &err) < 0);
	assert_int_equal(err.kind, HK_BAD_STATE);
	succeeded(&wait);
	last = strstr(world.events, "exit c1 137;");
	assert_non_null(last);
	assert_string_equal(last, "exit c1 137;");
	for (int i = 0; i < 21; i++) {
		char line[40];

		(void)snprintf(line, sizeof(line), i < 20 ? "exit c1/e%d 137;" : "exit c1/late 137;", i);
		assert_non_null(strstr(world.events, line));
		assert_null(strstr(strstr(world.events, line) + 1, line)); /* exactly once */
	}
	assert_true(strstr(world.events, "exec-started c1/late;") < strstr(world.events, "exit c1/late 137;"));
	delete("c1");
	world.n_events = 0;
}

static void an_exec_that_waits_for_readers_is_refused_when_the_init_dies(void **state)
{
	char path[128];
	struct answer a, wait;
	struct hk_err err;

	(void)state;
	run("c1", "exec sleep 1000");
	assert_int_equal(add_exec("c1", "e1", "true", fifo("nobody", path, NULL), &err), 0);
	sbx_wait(world.pod, "c1", "e1", -1, to(&wait));
	sbx_start(world.pod, "c1", "e1", to(&a));
	turn(20);
	assert_int_equal(a.calls, 0);
	sbx_delete(world.pod, "c1", "e1", to(&wait));
	refused(&wait, HK_BAD_STATE, "cannot delete a running process");
	assert_int_equal(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err), 0);
	refused(&a, HK_BAD_STATE, "container c1 init process is not running");
	turn(10);
	assert_events("create c1;start c1;exec-added c1/e1;exit c1 137;");
	delete("c1");
	assert_events("delete c1;");
}

static void failures_of_an_exec(void **state)
{
	struct answer a, wait;
	struct hk_err err;

	(void)state;
	run("c1", "exec sleep 1000");
	assert_true(add_exec("c1", "e1", "?", "", &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_true(add_exec("c1", "../e1", "true", "", &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_true(add_exec("nobody", "e1", "true", "", &err) < 0);
	assert_int_equal(err.kind, HK_NOT_FOUND);
	fake.exec_error = "exec: \"foo\": executable file not found in $PATH";
	for (int i = 0; i < 3; i++) {
		assert_int_equal(add_exec("c1", "e1", "foo", "", &err), 0);
		assert_true(add_exec("c1", "e1", "foo", "", &err) < 0);
		assert_int_equal(err.kind, HK_EXISTS);
		assert_true(sbx_kill(world.pod, "c1", "e1", SIGTERM, false, &err) < 0);
		assert_string_equal(err.text, "process not created");
		sbx_wait(world.pod, "c1", "e1", -1, to(&wait));
		sbx_start(world.pod, "c1", "e1", to(&a));
		answered(&a);
		assert_string_equal(a.err.text, fake.exec_error);
		succeeded(&wait);
		assert_int_equal(wait.reply.exit_status, 0);
		assert_int_equal(wait.reply.exited_at.tv_sec, 0);
		assert_int_equal(state_of("c1", "e1").status, SBX_CREATED);
		sbx_delete(world.pod, "c1", "e1", to(&a));
		succeeded(&a);
		sbx_delete(world.pod, "c1", "e1", to(&a));
		refused(&a, HK_NOT_FOUND, "process does not exist e1");
	}
	kill_and_delete("c1");
	world.n_events = 0;
}

/* By default the output of what an exec left behind goes on until Delete; an annotation ends it earlier. */
static void what_an_exec_left_behind(void **state)
{
	char path[128], text[16];
	struct answer a, wait;
	struct hk_err err;
	int out;

	(void)state;
	run("c1", "exec sleep 1000");
	for (int i = 0; i < 2; i++) {
		fake.exec_linger = i ? "0" : NULL;
		assert_int_equal(add_exec("c1", "e1", "sleep 1000 & echo up", fifo("out", path, &out), &err), 0);
		sbx_wait(world.pod, "c1", "e1", -1, to(&wait));
		sbx_start(world.pod, "c1", "e1", to(&a));
		succeeded(&wait);
		turn(50);
		assert_int_equal(read(out, text, sizeof(text)), 3);
		assert_int_equal(read(out, text, sizeof(text)), i ? 0 : -1);
		sbx_delete(world.pod, "c1", "e1", to(&a));
		turn(20);
		assert_int_equal(a.calls, i); /* without the annotation it has a second */
		succeeded(&a);
		assert_int_equal(read(out, text, sizeof(text)), 0);
		(void)hk_close(out);
	}
	kill_and_delete("c1");
	turn(20);
	hk_reaper_sweep(&world.reaper);
}

static void a_wait_with_a_deadline(void **state)
{
	struct answer a, b;

	(void)state;
	run("c1", "exec sleep 1000");
	sbx_wait(world.pod, "c1", "", 30, to(&a));
	sbx_wait(world.pod, "c1", "", -1, to(&b));
	answered(&a);
	assert_int_equal(a.err.kind, HK_DEADLINE);
	assert_int_equal(b.calls, 0);
	sbx_wait(world.pod, "nobody", "", -1, to(&a));
	refused(&a, HK_NOT_FOUND, "container not created");
	kill_and_delete("c1");
	succeeded(&b);
	world.n_events = 0;
}

static void ids_and_failures_of_create(void **state)
{
	static const char *const bad[] = { "", "..", "../x", "a/b", ".x", "-x", "a b" };
	struct answer a, b;

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		sbx_create(world.pod, &(struct sbx_create){ .id = bad[i], .bundle = "/b" }, to(&a));
		answered(&a);
		assert_int_equal(a.err.kind, HK_INVALID);
	}
	sbx_create(world.pod, &(struct sbx_create){ .id = "c1", .bundle = "relative" }, to(&a));
	answered(&a);
	assert_int_equal(a.err.kind, HK_INVALID);
	sbx_create(world.pod, &(struct sbx_create){ .id = "c1", .bundle = "/nonexistent" }, to(&a));
	answered(&a);
	assert_true(a.failed);
	sbx_create(world.pod, &(struct sbx_create){ .id = "c1", .bundle = "/b", .checkpoint = "c" }, to(&a));
	answered(&a);
	assert_int_equal(a.err.kind, HK_INVALID);
	sbx_create(world.pod, &(struct sbx_create){ .id = "c1", .bundle = "/b", .checkpoint = "/c", .terminal = true }, to(&a));
	answered(&a);
	assert_int_equal(a.err.kind, HK_UNSUPPORTED);
	fake.create_error = "mount proc on /proc: EPERM";
	create("c1", "true", "", &a);
	create("c1", "true", "", &b); /* taken, even though it is not there yet */
	answered(&b);
	assert_int_equal(b.err.kind, HK_EXISTS);
	answered(&a);
	assert_string_equal(a.err.text, fake.create_error);
	assert_int_equal(sbx_pod_count(world.pod), 0);
	assert_int_equal(fake.n_alive, 0);
	fake.create_error = NULL;
	run("c1", "exit 0");
	create("c1", "true", "", &b);
	answered(&b);
	assert_int_equal(b.err.kind, HK_EXISTS);
	sbx_wait(world.pod, "c1", "", -1, to(&a));
	succeeded(&a);
	delete("c1");
	assert_events("create c1;start c1;exit c1 0;delete c1;");
}

static void a_start_that_fails(void **state)
{
	struct answer a, wait;

	(void)state;
	create("c1", "true", "", &a);
	succeeded(&a);
	fake.start_error = "exec: EACCES";
	sbx_start(world.pod, "c1", "", to(&a));
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	sbx_start(world.pod, "c1", "", to(&(struct answer){ 0 }));
	answered(&a);
	assert_string_equal(a.err.text, "exec: EACCES");
	assert_int_equal(wait.calls, 0);
	delete("c1"); /* from created */
	succeeded(&wait);
	assert_events("create c1;exit c1 137;delete c1;");
}

static void a_delete_that_comes_while_creating(void **state)
{
	struct answer a, d1, d2;

	(void)state;
	fake.launch_ms = 40;
	create("c1", "true", "", &a);
	sbx_delete(world.pod, "c1", "", to(&d1));
	sbx_delete(world.pod, "c1", "", to(&d2));
	assert_int_equal(d1.calls, 0);
	assert_int_equal(sbx_init_pid(world.pod, "c1"), 0);
	succeeded(&a);
	succeeded(&d1);
	succeeded(&d2);
	assert_events("create c1;exit c1 137;delete c1;");
	assert_int_equal(fake.n_alive, 0);
	fake.create_error = "no";
	create("c1", "true", "", &a);
	sbx_delete(world.pod, "c1", "", to(&d1));
	answered(&a);
	assert_true(a.failed);
	answered(&d1);
	assert_int_equal(d1.err.kind, HK_NOT_FOUND);
	assert_events("");
}

static void a_removal_that_fails_can_be_tried_again(void **state)
{
	struct answer a, b, wait;

	(void)state;
	run("c1", "exit 4");
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	succeeded(&wait);
	fake.remove_failures = 1;
	fake.remove_ms = 20;
	sbx_delete(world.pod, "c1", "", to(&a));
	sbx_delete(world.pod, "c1", "", to(&b));
	answered(&a);
	assert_true(a.failed);
	answered(&b);
	assert_true(b.failed);
	assert_int_equal(state_of("c1", "").status, SBX_STOPPED);
	sbx_delete(world.pod, "c1", "", to(&a));
	succeeded(&a);
	assert_int_equal(a.reply.exit_status, 4);
	assert_events("create c1;start c1;exit c1 4;delete c1;");
}

static void pausing(void **state)
{
	struct answer a, b;
	struct hk_err err;

	(void)state;
	create("c1", "exec sleep 1000", "", &a);
	succeeded(&a);
	sbx_pause(world.pod, "c1", to(&a));
	refused(&a, HK_BAD_STATE, "cannot pause task in created state");
	sbx_start(world.pod, "c1", "", to(&a));
	succeeded(&a);
	fake.freeze_looks = 4;
	sbx_pause(world.pod, "c1", to(&a));
	assert_int_equal(a.calls, 0);
	assert_int_equal(state_of("c1", "").status, SBX_PAUSING);
	sbx_pause(world.pod, "c1", to(&b));
	answered(&b);
	assert_int_equal(b.err.kind, HK_BAD_STATE);
	succeeded(&a);
	assert_int_equal(state_of("c1", "").status, SBX_PAUSED);
	sbx_resume(world.pod, "c1", to(&a));
	succeeded(&a);
	/* One that never freezes, and an init that ends meanwhile. */
	fake.freeze_looks = -1;
	sbx_pause(world.pod, "c1", to(&a));
	turn(20);
	assert_int_equal(a.calls, 0);
	assert_int_equal(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err), 0);
	answered(&a);
	assert_int_equal(a.err.kind, HK_BAD_STATE);
	turn(10);
	delete("c1");
	assert_events("create c1;start c1;paused c1;resumed c1;exit c1 137;delete c1;");
}

static void updating(void **state)
{
	static const char json[] = "{\"pids\":{\"limit\":5}}";
	const struct hk_err refusal = { .code = EIO, .kind = HK_INTERNAL, .text = "systemd says no" };
	struct answer a;

	(void)state;
	create("c1", "exec sleep 1000", "", &a);
	succeeded(&a);
	sbx_update(world.pod, "c1", "", 0, to(&a));
	refused(&a, HK_INVALID, "update of c1 without resources");
	sbx_update(world.pod, "c2", json, strlen(json), to(&a));
	answered(&a);
	assert_int_equal(a.err.kind, HK_NOT_FOUND);
	sbx_update(world.pod, "c1", json, strlen(json), to(&a));
	assert_int_equal(a.calls, 1); /* files alone: at once */
	succeeded(&a);
	/* Where systemd is told too, the answer is its answer. */
	fake.updates_later = true;
	sbx_update(world.pod, "c1", json, strlen(json), to(&a));
	turn(5);
	assert_int_equal(a.calls, 0);
	fake.update_fn(fake.update_arg, NULL);
	succeeded(&a);
	sbx_update(world.pod, "c1", json, strlen(json), to(&a));
	fake.update_fn(fake.update_arg, &refusal);
	refused(&a, HK_INTERNAL, "systemd says no");
	/* A container that goes meanwhile takes the request along. */
	sbx_update(world.pod, "c1", json, strlen(json), to(&a));
	delete("c1");
	answered(&a);
	assert_int_equal(a.err.kind, HK_NOT_FOUND);
}

static void oom_before_exit(void **state)
{
	struct answer wait;
	struct hk_err err;

	(void)state;
	fake.oom_kills = 3; /* the cgroup's past */
	run("c1", "exec sleep 1000");
	fake.oom_kills = 5;
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err), 0);
	succeeded(&wait);
	assert_events("create c1;start c1;oom c1;exit c1 137;");
	delete("c1");
	run("c2", "exit 0");
	sbx_wait(world.pod, "c2", "", -1, to(&wait));
	succeeded(&wait);
	delete("c2");
	assert_events("delete c1;create c2;start c2;exit c2 0;delete c2;");
}

static void signals(void **state)
{
	struct hk_err err;

	(void)state;
	run("c1", "exec sleep 1000");
	assert_int_equal(sbx_kill(world.pod, "c1", "", 0, false, &err), 0);
	assert_true(sbx_kill(world.pod, "c1", "", 65, false, &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_true(sbx_kill(world.pod, "c1", "", -1, true, &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_true(sbx_kill(world.pod, "nobody", "", 9, false, &err) < 0);
	assert_string_equal(err.text, "container not created");
	assert_true(sbx_kill(world.pod, "c1", "nobody", 9, false, &err) < 0);
	assert_string_equal(err.text, "process does not exist nobody");
	kill_and_delete("c1");
	world.n_events = 0;
}

static void what_the_init_left_is_killed(void **state)
{
	char path[128], text[8];
	struct answer a, wait;
	int out;

	(void)state;
	create("c1", "sleep 1000 & sleep 1000 & exit 1", fifo("out", path, &out), &a);
	succeeded(&a);
	sbx_start(world.pod, "c1", "", to(&a));
	succeeded(&a);
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	succeeded(&wait);
	assert_int_equal(read_to_eof(out, text, sizeof(text)), 0); /* the sleepers held it */
	assert_true(fake.n_signal_all > 0);
	delete("c1");
	(void)hk_close(out);
	turn(20);
	hk_reaper_sweep(&world.reaper);
	world.n_events = 0;
}

static void on_view(void *arg, const struct sbx_view *v)
{
	(void)v;
	++*(int *)arg;
}

/* A crash of the daemon's connection is nothing to a pod; the end of the shim frees all and kills nobody. */
static void the_pod_is_freed_under_running_containers(void **state)
{
	struct answer a, w, c, s, e;
	struct sbx_reply reply;
	struct hk_err err;
	int n_views = 0;
	uint32_t pid;

	(void)state;
	run("c1", "exec sleep 1000");
	pid = sbx_init_pid(world.pod, "c1");
	assert_int_equal(add_exec("c1", "e1", "exec sleep 1000", "", &err), 0);
	sbx_start(world.pod, "c1", "e1", to(&a));
	succeeded(&a);
	sbx_wait(world.pod, "c1", "", 10000, to(&w));
	fake.launch_ms = fake.start_ms = 10000;
	create("c3", "true", "", &c);
	assert_int_equal(add_exec("c1", "e2", "true", "", &err), 0);
	sbx_start(world.pod, "c1", "e2", to(&e));
	fake.freeze_looks = -1;
	sbx_pause(world.pod, "c1", to(&s));
	sbx_each(world.pod, on_view, &n_views);
	assert_int_equal(n_views, 4); /* two containers, one of them being made, and two execs */
	sbx_pod_free(world.pod);
	refused(&w, HK_UNAVAILABLE, "the shim is going away");
	refused(&c, HK_UNAVAILABLE, "the shim is going away");
	refused(&e, HK_UNAVAILABLE, "the shim is going away");
	refused(&s, HK_UNAVAILABLE, "the shim is going away");
	assert_int_equal(fake.n_alive, 0);
	assert_int_equal(kill((pid_t)pid, 0), 0);
	assert_int_equal(kill((pid_t)a.reply.pid, SIGKILL), 0);
	/* What `delete` makes of it. */
	assert_int_equal(sbx_cleanup(world.run_dir, "test", "c1", "/b", &reply, &err), 0);
	assert_int_equal(reply.pid, pid);
	for (int i = 0; i < 500 && kill((pid_t)pid, 0) == 0; i++) {
		turn(1);
		hk_reaper_sweep(&world.reaper);
	}
	assert_int_equal(kill((pid_t)pid, 0), -1);
	pod_open();
	world.n_events = 0;
}

static int reset(void **state)
{
	(void)state;
	fake = (struct fake){ 0 };
	world.n_events = 0;
	world.events[0] = '\0';
	return 0;
}

#define T(f) cmocka_unit_test_setup(f, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(start_is_told_before_an_exit_that_was_faster),
		T(execs_are_told_before_the_init),
		T(an_exec_that_waits_for_readers_is_refused_when_the_init_dies),
		T(failures_of_an_exec),
		T(what_an_exec_left_behind),
		T(a_wait_with_a_deadline),
		T(ids_and_failures_of_create),
		T(a_start_that_fails),
		T(a_delete_that_comes_while_creating),
		T(a_removal_that_fails_can_be_tried_again),
		T(pausing), T(updating),
		T(oom_before_exit),
		T(signals),
		T(what_the_init_left_is_killed),
		T(the_pod_is_freed_under_running_containers),
	};

	return cmocka_run_group_tests(tests, world_set_up, world_tear_down);
}
