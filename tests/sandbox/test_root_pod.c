/* SPDX-License-Identifier: Apache-2.0 */
/* Pods on this kernel, by the engine: what containers and execs do, in which order it is told, and that nothing is left of them. */
#include "tests/sandbox/root_helpers.h"

#include <sys/wait.h>

/* ---- tests ---- */

static void fast_exit_output_200_times(void **state)
{
	size_t fds = 0;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct bundle b = { .id = "fast", .args = SH("echo out; echo err >&2; exit 3") };
		char out_path[128], err_path[128], text[64];
		struct answer a, wait;
		int out, err;

		(void)fifo("out", out_path, &out);
		(void)fifo("err", err_path, &err);
		create(&b, "", out_path, err_path, &a);
		succeeded(&a);
		sbx_wait(world.pod, "fast", "", -1, to(&wait));
		sbx_start(world.pod, "fast", "", to(&a));
		succeeded(&a);
		succeeded(&wait);
		assert_int_equal(wait.reply.exit_status, 3);
		assert_int_equal(read_to_eof(out, text, sizeof(text)), 4);
		assert_string_equal(text, "out\n");
		assert_int_equal(read_to_eof(err, text, sizeof(text)), 4);
		assert_string_equal(text, "err\n");
		assert_int_equal(status_of("fast", ""), SBX_STOPPED);
		sbx_delete(world.pod, "fast", "", to(&a));
		succeeded(&a);
		assert_int_equal(a.reply.exit_status, 3);
		assert_events("create fast;start fast;exit fast 3;delete fast;");
		(void)hk_close(out);
		(void)hk_close(err);
		if (i == 0)
			fds = count_fds();
	}
	assert_int_equal(count_fds(), fds);
	assert_no_cgroup("fast");
	assert_int_equal(sbx_pod_count(world.pod), 0);
}

static void a_pod_shares_its_namespaces(void **state)
{
	struct bundle sandbox = { .id = "sandbox", .args = SLEEP }, b = { .id = "app", .args = SH("cat; echo end") };
	char ns[512], out_path[128], in_path[128], text[64], a_link[64], b_link[64], path[64];
	static const char *const kinds[] = { "net", "ipc", "uts", "pid", "mnt" };
	uint32_t first = run(&sandbox, ""), second;
	struct answer a, wait;
	struct hk_err err;
	int out, in;

	(void)state;
	(void)snprintf(ns, sizeof(ns), "{\"type\":\"mount\"},{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/proc/%u/ns/net\"},"
		"{\"type\":\"ipc\",\"path\":\"/proc/%u/ns/ipc\"},{\"type\":\"uts\",\"path\":\"/proc/%u/ns/uts\"}", first, first, first);
	b.namespaces = ns;
	(void)fifo("in", in_path, NULL);
	create(&b, in_path, fifo("out", out_path, &out), "", &a);
	succeeded(&a);
	second = a.reply.pid;
	assert_int_equal(sbx_init_pid(world.pod, "app"), second);
	assert_int_equal(sbx_init_pid(world.pod, "nobody"), 0);
	sbx_start(world.pod, "app", "", to(&a));
	succeeded(&a);
	for (size_t i = 0; i < HK_ARRAY_SIZE(kinds); i++) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/%u/ns/%s", first, kinds[i]);
		n = readlink(path, a_link, sizeof(a_link) - 1);
		assert_true(n > 0);
		a_link[n] = '\0';
		(void)snprintf(path, sizeof(path), "/proc/%u/ns/%s", second, kinds[i]);
		n = readlink(path, b_link, sizeof(b_link) - 1);
		assert_true(n > 0);
		b_link[n] = '\0';
		if (i < 3)
			assert_string_equal(a_link, b_link);
		else
			assert_string_not_equal(a_link, b_link);
	}
	in = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(write(in, "hello\n", 6), 6);
	(void)hk_close(in);
	sbx_wait(world.pod, "app", "", -1, to(&wait));
	turn(50);
	assert_int_equal(wait.calls, 0); /* the keeper holds stdin open */
	assert_int_equal(sbx_close_stdin(world.pod, "app", "", &err), 0);
	succeeded(&wait);
	assert_int_equal(read_to_eof(out, text, sizeof(text)), 10);
	assert_string_equal(text, "hello\nend\n");
	sbx_delete(world.pod, "app", "", to(&a));
	succeeded(&a);
	assert_int_equal(status_of("sandbox", ""), SBX_RUNNING);
	kill_and_delete("sandbox");
	assert_events("create sandbox;start sandbox;create app;start app;exit app 0;delete app;exit sandbox 137;delete sandbox;");
	(void)hk_close(out);
}

static void execs_and_their_end(void **state)
{
	struct bundle b = { .id = "c1", .args = SLEEP };
	char out_path[128], text[64];
	struct answer a, wait;
	size_t fds;
	int out;

	(void)state;
	(void)run(&b, "");
	fds = count_fds();
	for (int i = 0; i < 50; i++) {
		add_exec("c1", "e1", EXEC(SH("echo from exec; exit 5")), "", fifo("out", out_path, &out));
		assert_int_equal(status_of("c1", "e1"), SBX_CREATED);
		sbx_wait(world.pod, "c1", "e1", -1, to(&wait));
		sbx_start(world.pod, "c1", "e1", to(&a));
		succeeded(&a);
		succeeded(&wait);
		assert_int_equal(wait.reply.exit_status, 5);
		assert_int_equal(read_to_eof(out, text, sizeof(text)), 10);
		assert_string_equal(text, "from exec\n");
		sbx_delete(world.pod, "c1", "e1", to(&a));
		succeeded(&a);
		(void)hk_close(out);
		if (i == 0)
			assert_events("create c1;start c1;exec-added c1/e1;exec-started c1/e1;exit c1/e1 5;");
		else
			assert_events("exec-added c1/e1;exec-started c1/e1;exit c1/e1 5;");
	}
	assert_int_equal(count_fds(), fds);
	/* What cannot start: the error, a released Wait, a Delete, the id again. */
	add_exec("c1", "bad", EXEC("\"/nonexistent\""), "", "");
	sbx_wait(world.pod, "c1", "bad", -1, to(&wait));
	sbx_start(world.pod, "c1", "bad", to(&a));
	answered(&a);
	assert_true(a.failed);
	assert_non_null(strstr(a.err.text, "/nonexistent"));
	succeeded(&wait);
	assert_int_equal(wait.reply.exited_at.tv_sec, 0);
	assert_int_equal(status_of("c1", "bad"), SBX_CREATED);
	sbx_delete(world.pod, "c1", "bad", to(&a));
	succeeded(&a);
	assert_events("exec-added c1/bad;");
	assert_int_equal(count_fds(), fds);
	kill_and_delete("c1");
	world.n_events = 0;
	world.events[0] = '\0';
}

static void the_exits_of_execs_come_before_the_inits(void **state)
{
	struct bundle b = { .id = "c1", .args = SLEEP };
	struct answer a, wait, wait2;
	struct sbx_pid *pids;
	struct hk_err err;
	size_t n;

	(void)state;
	(void)run(&b, "");
	add_exec("c1", "e1", EXEC(SLEEP), "", "");
	add_exec("c1", "e2", EXEC(SLEEP), "", "");
	sbx_start(world.pod, "c1", "e1", to(&a));
	succeeded(&a);
	sbx_start(world.pod, "c1", "e2", to(&a));
	succeeded(&a);
	for (int i = 0;; i++) { /* the process that set the last exec up may live a moment longer */
		assert_int_equal(sbx_pids(world.pod, "c1", &pids, &n, &err), 0);
		if (n <= 3 || i == 200)
			break;
		free(pids);
		turn(1);
	}
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++)
		assert_true(pids[i].pid == (pid_t)sbx_init_pid(world.pod, "c1") ? !pids[i].exec_id : pids[i].exec_id != NULL);
	free(pids);
	world.n_events = 0;
	sbx_wait(world.pod, "c1", "", -1, to(&wait));
	sbx_wait(world.pod, "c1", "", -1, to(&wait2));
	assert_int_equal(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err), 0);
	succeeded(&wait);
	succeeded(&wait2);
	assert_non_null(strstr(world.events, "exit c1/e1 137;"));
	assert_non_null(strstr(world.events, "exit c1/e2 137;"));
	assert_true(hk_has_suffix(world.events, "exit c1 137;"));
	assert_true(sbx_kill(world.pod, "c1", "", SIGKILL, false, &err) < 0);
	assert_int_equal(err.kind, HK_NOT_FOUND);
	assert_string_equal(err.text, "process already finished");
	sbx_start(world.pod, "c1", "e1", to(&a));
	refused(&a, HK_BAD_STATE, "container c1 init process is not running");
	/* The stopped one still has a pid, and Delete drops its execs. */
	assert_int_equal(sbx_pids(world.pod, "c1", &pids, &n, &err), 0);
	assert_int_equal(n, 1);
	free(pids);
	sbx_delete(world.pod, "c1", "", to(&a));
	succeeded(&a);
	sbx_delete(world.pod, "c1", "", to(&a));
	refused(&a, HK_NOT_FOUND, "container not created");
	world.n_events = 0;
	world.events[0] = '\0';
	assert_no_cgroup("c1");
}

static void a_shared_pid_namespace_is_emptied(void **state)
{
	struct bundle b = { .id = "shared", .args = SH("sleep 1000 & sleep 1000 & exec sleep 1000"), .namespaces = SHARED_PID_NS };
	char out_path[128], text[16];
	struct answer a, wait;
	struct hk_err err;
	int out;

	(void)state;
	(void)run(&b, fifo("out", out_path, &out));
	add_exec("shared", "e1", EXEC(SLEEP), "", "");
	sbx_start(world.pod, "shared", "e1", to(&a));
	succeeded(&a);
	sbx_wait(world.pod, "shared", "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, "shared", "", SIGTERM, false, &err), 0);
	succeeded(&wait);
	assert_int_equal(wait.reply.exit_status, 143);
	assert_int_equal(read_to_eof(out, text, sizeof(text)), 0); /* the background children held it */
	sbx_delete(world.pod, "shared", "", to(&a));
	succeeded(&a);
	assert_events("create shared;start shared;exec-added shared/e1;exec-started shared/e1;exit shared/e1 137;exit shared 143;delete shared;");
	(void)hk_close(out);
	hk_reaper_sweep(&world.reaper);
}

static void pause_and_resume(void **state)
{
	struct bundle b = { .id = "paused", .args = SLEEP };
	struct sbx_exec e = { .id = "paused", .exec_id = "e2", .spec_json = EXEC(SLEEP), .spec_json_len = strlen(EXEC(SLEEP)) };
	struct answer a, wait;
	struct hk_err err;

	(void)state;
	(void)run(&b, "");
	add_exec("paused", "e1", EXEC(SLEEP), "", "");
	sbx_start(world.pod, "paused", "e1", to(&a));
	succeeded(&a);
	sbx_resume(world.pod, "paused", to(&a));
	refused(&a, HK_BAD_STATE, "cannot resume a running process");
	sbx_pause(world.pod, "paused", to(&a));
	succeeded(&a);
	assert_int_equal(status_of("paused", ""), SBX_PAUSED);
	assert_int_equal(status_of("paused", "e1"), SBX_PAUSED);
	assert_true(sbx_exec(world.pod, &e, &err) < 0);
	assert_string_equal(err.text, "cannot exec in a paused state");
	sbx_delete(world.pod, "paused", "", to(&a));
	refused(&a, HK_BAD_STATE, "cannot delete a running process");
	sbx_resume(world.pod, "paused", to(&a));
	succeeded(&a);
	assert_int_equal(status_of("paused", ""), SBX_RUNNING);
	sbx_pause(world.pod, "paused", to(&a));
	succeeded(&a);
	/* A kill takes effect in a frozen container too. */
	sbx_wait(world.pod, "paused", "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, "paused", "", SIGKILL, false, &err), 0);
	succeeded(&wait);
	assert_int_equal(status_of("paused", ""), SBX_STOPPED);
	sbx_delete(world.pod, "paused", "", to(&a));
	succeeded(&a);
	assert_events("create paused;start paused;exec-added paused/e1;exec-started paused/e1;paused paused;resumed paused;paused paused;"
		      "exit paused/e1 137;exit paused 137;delete paused;");
}

static void created_and_never_started(void **state)
{
	struct bundle b = { .id = "never", .args = SLEEP };
	struct answer a, del, wait;
	struct hk_err err;

	(void)state;
	create(&b, "", "", "", &a);
	succeeded(&a);
	assert_int_equal(status_of("never", ""), SBX_CREATED);
	sbx_wait(world.pod, "never", "", -1, to(&wait));
	sbx_delete(world.pod, "never", "", to(&a));
	sbx_delete(world.pod, "never", "", to(&del)); /* waits for the same end */
	succeeded(&a);
	succeeded(&del);
	succeeded(&wait);
	assert_events("create never;exit never 137;delete never;");
	create(&b, "", "", "", &a);
	succeeded(&a);
	sbx_wait(world.pod, "never", "", -1, to(&wait));
	assert_int_equal(sbx_kill(world.pod, "never", "", SIGKILL, false, &err), 0);
	succeeded(&wait);
	sbx_start(world.pod, "never", "", to(&a));
	refused(&a, HK_BAD_STATE, "cannot start a stopped process");
	sbx_delete(world.pod, "never", "", to(&a));
	succeeded(&a);
	assert_events("create never;exit never 137;delete never;");
}

static void a_failed_create_leaves_nothing(void **state)
{
	struct bundle b = { .id = "broken", .args = "\"/nonexistent\"" };
	const size_t fds = count_fds();
	char out_path[128], text[16];
	struct answer a;
	int out;

	(void)state;
	for (int i = 0; i < 20; i++) {
		create(&b, "", fifo("out", out_path, &out), "", &a);
		answered(&a);
		if (!a.failed) { /* the program is looked up at the start at the latest */
			sbx_start(world.pod, "broken", "", to(&a));
			answered(&a);
			assert_true(a.failed);
			kill_and_delete("broken");
		}
		assert_non_null(strstr(a.err.text, "nonexistent"));
		(void)read_to_eof(out, text, sizeof(text));
		(void)hk_close(out);
		assert_int_equal(sbx_pod_count(world.pod), 0);
		assert_int_equal(count_fds(), fds);
		assert_no_cgroup("broken");
	}
	world.n_events = 0;
	world.events[0] = '\0';
}

static void a_terminal(void **state)
{
	struct bundle b = { .id = "tty", .args = SH("stty size; read line; echo got $line"), .terminal = true };
	char in_path[128], out_path[128], text[256];
	struct answer a, wait;
	struct hk_err err;
	int in, out;

	(void)state;
	(void)fifo("in", in_path, NULL);
	create(&b, in_path, fifo("out", out_path, &out), "", &a);
	succeeded(&a);
	assert_int_equal(sbx_resize(world.pod, "tty", "", 111, 22, &err), 0);
	sbx_wait(world.pod, "tty", "", -1, to(&wait));
	sbx_start(world.pod, "tty", "", to(&a));
	succeeded(&a);
	in = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(write(in, "word\n", 5), 5);
	succeeded(&wait);
	assert_int_equal(wait.reply.exit_status, 0);
	(void)read_to_eof(out, text, sizeof(text));
	assert_non_null(strstr(text, "22 111"));
	assert_non_null(strstr(text, "got word\r\n"));
	assert_int_equal(sbx_resize(world.pod, "tty", "", 1, 1, &err), 0);
	sbx_delete(world.pod, "tty", "", to(&a));
	succeeded(&a);
	(void)hk_close(in);
	(void)hk_close(out);
	assert_events("create tty;start tty;exit tty 0;delete tty;");
}

static void a_background_child_of_an_exec(void **state)
{
	struct bundle b = { .id = "bg", .args = SLEEP };
	char out_path[128], text[64];
	struct answer a, wait;
	uint64_t begin;
	int out;

	(void)state;
	(void)run(&b, "");
	add_exec("bg", "e1", EXEC(SH("sleep 1000 & echo up")), "", fifo("out", out_path, &out));
	sbx_wait(world.pod, "bg", "e1", -1, to(&wait));
	sbx_start(world.pod, "bg", "e1", to(&a));
	succeeded(&a);
	begin = hk_now_ns();
	succeeded(&wait);
	assert_true(hk_now_ns() - begin < 500000000ULL);
	sbx_delete(world.pod, "bg", "e1", to(&a));
	turn(100);
	assert_int_equal(a.calls, 0);
	succeeded(&a); /* after a second */
	assert_int_equal(read_to_eof(out, text, sizeof(text)), 3);
	(void)hk_close(out);
	kill_and_delete("bg");
	world.n_events = 0;
	world.events[0] = '\0';
}

static void oom_is_told_before_the_exit(void **state)
{
	struct bundle b = { .id = "oom", .args = SH("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"),
		.resources = "\"memory\":{\"limit\":8388608,\"swap\":8388608}" };
	struct bundle b2 = { .id = "oom2", .args = SLEEP, .resources = "\"memory\":{\"limit\":8388608,\"swap\":8388608}" };
	struct answer a, wait;

	(void)state;
	for (int i = 0; i < 20; i++) {
		create(&b, "", "", "", &a);
		succeeded(&a);
		sbx_wait(world.pod, "oom", "", -1, to(&wait));
		sbx_start(world.pod, "oom", "", to(&a));
		succeeded(&a);
		succeeded(&wait);
		assert_int_equal(wait.reply.exit_status, 137);
		sbx_delete(world.pod, "oom", "", to(&a));
		succeeded(&a);
		assert_events("create oom;start oom;oom oom container /husk-test-pod/oom;exit oom 137;delete oom;");
	}
	/* An exec's, which the init survives; told once, and not again at the init's own end. */
	(void)run(&b2, "");
	add_exec("oom2", "e1", EXEC(SH("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")), "", "");
	sbx_wait(world.pod, "oom2", "e1", -1, to(&wait));
	sbx_start(world.pod, "oom2", "e1", to(&a));
	succeeded(&a);
	succeeded(&wait);
	kill_and_delete("oom2");
	assert_events("create oom2;start oom2;exec-added oom2/e1;exec-started oom2/e1;oom oom2 container /husk-test-pod/oom2;exit oom2/e1 137;exit oom2 137;delete oom2;");
}

/* The shim is killed: its children live on; `delete` finds and ends them all by the state files. */
static void cleanup_after_a_dead_shim(void **state)
{
	struct bundle b = { .id = "orphan", .args = SLEEP }, b2 = { .id = "orphan2", .args = SH("sleep 1000 & sleep 1000") };
	struct sbx_reply reply;
	struct hk_err err = { 0 };
	char path[160];
	uint32_t pid;
	int status;
	pid_t shim;

	(void)state;
	sbx_pod_free(world.pod);
	shim = fork();
	assert_true(shim >= 0);
	if (shim == 0) {
		if (hk_loop_init(&world.loop) < 0)
			_exit(9);
		hk_reaper_init(&world.reaper, &world.loop);
		pod_open();
		(void)run(&b, "");
		(void)run(&b2, "");
		_exit(0); /* as a crash: nothing is tidied up */
	}
	assert_int_equal(waitpid(shim, &status, 0), shim);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sbx_cleanup(world.run_dir, "test", "orphan", world.top, &reply, &err), 0);
		hk_reaper_sweep(&world.reaper); /* they came to us, the subreaper */
		if (i == 0) {
			pid = reply.pid;
			assert_true(pid > 0);
			assert_int_equal(reply.exit_status, 137);
			assert_int_equal(kill((pid_t)pid, 0), -1);
		} else {
			assert_int_equal(reply.pid, 0);
		}
	}
	assert_no_cgroup("orphan");
	assert_no_cgroup("orphan2");
	(void)snprintf(path, sizeof(path), "%s/test", world.run_dir);
	assert_int_equal(access(path, F_OK), -1);
	pod_open();
}

/* What a test that failed has left would fail the next run too. */
static void remove_leftovers(void)
{
	static const char *const ids[] = { "fast", "sandbox", "app", "c1", "shared", "paused", "never", "broken", "tty", "bg", "oom", "oom2",
		"orphan", "orphan2" };
	char path[64];

	for (size_t i = 0; i < HK_ARRAY_SIZE(ids); i++) {
		(void)snprintf(path, sizeof(path), "/husk-test-pod/%s", ids[i]);
		(void)oci_cleanup(path, ids[i], NULL, 2000, NULL);
	}
}

static int tear_down(void **state)
{
	const int r = world_tear_down(state);

	remove_leftovers();
	hk_reaper_sweep(&world.reaper);
	return r;
}

static int set_up(void **state)
{
	char rootfs[128];

	remove_leftovers();
	if (world_set_up(state) != 0)
		return -1;
	(void)snprintf(rootfs, sizeof(rootfs), "%s/rootfs", world.top);
	copy_busybox(rootfs);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fast_exit_output_200_times),
		cmocka_unit_test(a_pod_shares_its_namespaces),
		cmocka_unit_test(execs_and_their_end),
		cmocka_unit_test(the_exits_of_execs_come_before_the_inits),
		cmocka_unit_test(a_shared_pid_namespace_is_emptied),
		cmocka_unit_test(pause_and_resume),
		cmocka_unit_test(created_and_never_started),
		cmocka_unit_test(a_failed_create_leaves_nothing),
		cmocka_unit_test(a_terminal),
		cmocka_unit_test(a_background_child_of_an_exec),
		cmocka_unit_test(oom_is_told_before_the_exit),
		cmocka_unit_test(cleanup_after_a_dead_shim),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) < 0) {
		(void)fprintf(stderr, "skipped: needs root and /bin/busybox (package busybox-static)\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
