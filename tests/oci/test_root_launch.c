/* SPDX-License-Identifier: Apache-2.0 */
/* create, start, exec, kill and remove on this kernel, through oci/oci.h alone: what runs, what is refused, and that nothing is left. (with: box.c) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/oci/box.h"

#define PROCESS(args) "{\"args\":[" args "],\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}"
#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define SLEEPER SH("echo up; exec sleep 1000")

static struct box *running(const char *id, const struct config *cf)
{
	struct box *b = box_new(id, cf);

	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s: %s", id, b->err.text);
	assert_string_equal(box_line(b), "up\n");
	return b;
}

static int run_to_end(struct box *b)
{
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s: %s", b->id, b->err.text);
	return box_wait(b);
}

static void exit_codes_arrive(void **state)
{
	static const struct {
		const char *args;
		int status;
	} cases[] = { { "\"true\"", 0 }, { SH("exit 7"), 7 }, { SH("exit 255"), 255 }, { SH("kill -9 $$"), 0 } };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		struct box *b = box_new("exits", &(struct config){ .args = cases[i].args });

		/* The last: pid 1 of a namespace ignores a SIGKILL from inside. */
		assert_int_equal(run_to_end(b), cases[i].status);
		assert_true(oci_container_has_private_pidns(b->c));
		box_free(b);
	}
}

static void kill_arrives(void **state)
{
	struct box *b = running("killed", &(struct config){ .args = SLEEPER });

	(void)state;
	assert_int_equal(hk_child_kill(&b->init, SIGKILL), 0);
	assert_int_equal(box_wait(b), 128 + SIGKILL);
	box_free(b);
}

static void process_is_as_configured(void **state)
{
	struct box *b = box_new("shape",
	    &(struct config){
		.args = SH("id -u; id -G; pwd; echo $HOME; umask; ulimit -n; hostname; grep -E "
			   "'^(Cap|NoNew|SigBlk|SigIgn)' /proc/self/status; "
			   "ls /proc/self/fd"),
		.process =
		    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":77,\"hard\":88}],\"noNewPrivileges\":true,",
		.root = "\"hostname\":\"boxname\",",
	    });

	(void)state;
	assert_int_equal(run_to_end(b), 0);
	assert_string_equal(box_text(b),
	    "0\n0\n/\n/root\n0022\n77\nboxname\n"
	    "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	    "CapInh:\t0000000000000000\nCapPrm:\t00000000000400e1\nCapEff:\t00000000000400e1\n"
	    "CapBnd:\t00000000000400e1\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"
	    "0\n1\n2\n3\n"); /* 3 is ls' own */
	box_free(b);
}

static void bad_input_is_told_clearly(void **state)
{
	static const struct {
		struct config cf;
		enum hk_kind kind;
		const char *text;
	} bad[] = {
		{ { .args = "\"nonexistent\"" }, HK_INTERNAL,
		    "exec: \"nonexistent\": executable file not found in $PATH" },
		{ { .args = "\"/no/such\"" }, HK_INTERNAL,
		    "exec: \"/no/such\": stat /no/such: no such file or directory" },
		{ { .args = "\"/etc/passwd\"" }, HK_INTERNAL, "exec: \"/etc/passwd\": permission denied" },
		{ { .args = "\"/etc\"" }, HK_INTERNAL, "exec: \"/etc\": is a directory" },
		{ { .args = "\"true\"", .rootfs = "/no/such/rootfs" }, HK_INVALID, "/no/such/rootfs" },
		{ { .args = "\"true\"", .namespaces = "{\"type\":\"network\",\"path\":\"/no/such/ns\"}," }, HK_INVALID,
		    "network namespace /no/such/ns: ENOENT" },
		{ { .args = "\"true\"", .namespaces = "{\"type\":\"network\",\"path\":\"/proc/self/ns/uts\"}," },
		    HK_INVALID, "network namespace /proc/self/ns/uts: is a uts namespace" },
		{ { .args = "\"true\"", .namespaces = "{\"type\":\"ipc\",\"path\":\"/etc/passwd\"}," }, HK_INVALID,
		    "ipc namespace /etc/passwd: not a namespace" },
		{ { .args = "\"true\"", .process = "\"apparmorProfile\":\"none-such\"," }, HK_UNSUPPORTED,
		    "process.apparmorProfile \"none-such\"" },
		{ { .args = "" }, HK_INVALID, "process.args" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		struct box *b = box_new("bad", &bad[i].cf);

		if (strstr(bad[i].text, "apparmor") && access("/sys/module/apparmor/parameters/enabled", F_OK) == 0) {
			box_free(b);
			continue;
		}
		if (box_create(b, false) == 0)
			fail_msg("case %zu was taken", i);
		if (!strstr(b->err.text, bad[i].text) || b->err.kind != bad[i].kind)
			fail_msg("case %zu: kind %d: %s", i, b->err.kind, b->err.text);
		assert_false(cgroup_exists(b)); /* already when it is told */
		box_free(b);
	}
}

static void bad_bundles_are_refused(void **state)
{
	struct box *b = box_new("bundle", &(struct config){ .args = "\"true\"" });
	static const char *const ids[] = { "..", "a/b", "", ".hidden", "-x", "a b" };
	struct oci_create_opts o = { .bundle = b->dir, .stdio = { -1, -1, -1 } };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(ids); i++) {
		o.id = ids[i];
		assert_int_equal(oci_create(&engine, &o, on_created, b, &b->c, &b->err), -EINVAL);
		assert_int_equal(b->err.kind, HK_INVALID);
	}
	write_text(b->dir, "config.json", "{\"ociVersion\":");
	assert_true(box_create(b, false) < 0);
	assert_int_equal(b->err.kind, HK_INVALID);
	write_text(b->dir, "config.json", "{}");
	assert_true(box_create(b, false) < 0);
	assert_int_equal(b->err.kind, HK_INVALID);
	o.id = "x";
	o.bundle = "/no/such/bundle";
	assert_int_equal(oci_create(&engine, &o, on_created, b, &b->c, &b->err), -ENOENT);
	assert_int_equal(b->err.kind, HK_NOT_FOUND);
	assert_string_equal(b->err.text, "read /no/such/bundle/config.json: ENOENT");
	box_free(b);
}

/* The kernel refuses it only at execve: create is fine, start tells, the exit follows. */
static void start_tells_what_execve_says(void **state)
{
	struct box *b = box_new("noexec", &(struct config){ .args = "\"/tmp/script\"" });
	char dir[256];

	(void)state;
	(void)snprintf(dir, sizeof(dir), "%s/rootfs/tmp", base);
	write_text(dir, "script", "no interpreter line\n");
	(void)snprintf(dir, sizeof(dir), "%s/rootfs/tmp/script", base);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(box_start(b), -ENOEXEC);
	assert_string_equal(b->err.text, "exec /tmp/script: exec format error");
	assert_int_equal(box_wait(b), 126);
	box_free(b);
	assert_int_equal(unlink(dir), 0);
}

static void killed_while_created(void **state)
{
	struct box *b = box_new("created", &(struct config){ .args = "\"true\"" });

	(void)state;
	assert_int_equal(box_create(b, false), 0);
	assert_int_equal(box_exec(b, PROCESS("\"true\""), false), 0); /* runc allows it as well */
	assert_int_equal(box_wait_extra(b), 0);
	box_kill(b);
	assert_int_equal(b->status, 128 + SIGKILL);
	assert_true(box_start(b) < 0);
	assert_int_equal(b->err.kind, HK_BAD_STATE);
	box_free(b);
}

static void killed_amid_the_set_up(void **state)
{
	struct box *b = box_new("midway",
	    &(struct config){ .args = "\"true\"",
		.root = "\"hooks\":{\"prestart\":[{\"path\":\"/bin/sleep\",\"args\":[\"sleep\",\"100\"]}]}," });
	pid_t *pids = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(box_create_begin(b, false), 0);
	for (int i = 0; i < 100 && !b->done; i++)
		assert_int_equal(hk_loop_once(&loop, 5), 0); /* now it waits for the hook */
	assert_false(b->done);
	assert_int_equal(oci_cgroup_pids(oci_container_cgroup(b->c), &pids, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(kill(pids[0], SIGKILL), 0);
	free(pids);
	turn_until(&b->done);
	assert_string_equal(b->err.text, "the set-up process died in step \"runtime hooks\"");
	box_free(b);
	hk_reaper_sweep(&reaper); /* the aborted hook is a child that nobody watches any more */
}

static void terminal_is_a_terminal(void **state)
{
	struct box *b = box_new(
	    "tty", &(struct config){
		       .args = SH("tty; [ -t 0 ] && [ -t 2 ] && echo yes; stty size; ls -l /dev/console | cut -c1"),
		       .process = "\"terminal\":true,\"consoleSize\":{\"height\":33,\"width\":101}," });
	char text[512] = "";
	size_t have = 0;
	ssize_t n;

	(void)state;
	if (box_create(b, true) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	assert_true(b->console >= 0);
	while ((n = read(b->console, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)n;
	text[have] = 0;
	assert_string_equal(text, "/dev/pts/0\r\nyes\r\n33 101\r\nc\r\n");
	assert_int_equal(box_wait(b), 0);
	box_free(b);
}

static void second_container_joins_the_first(void **state)
{
	static const char *const kinds[] = { "net", "ipc", "uts", "pid", "mnt" };
	struct box *a = running("pod", &(struct config){ .args = SLEEPER, .root = "\"hostname\":\"podname\"," }), *b;
	char ns[1024], want[1024] = "", link[64], got[64];
	const char *text;

	(void)state;
	(void)snprintf(ns, sizeof(ns),
	    "{\"type\":\"network\",\"path\":\"/proc/%d/ns/net\"},{\"type\":\"ipc\",\"path\":\"/proc/%d/ns/ipc\"},"
	    "{\"type\":\"uts\",\"path\":\"/proc/%d/ns/uts\"},{\"type\":\"pid\",\"path\":\"/proc/%d/ns/pid\"},",
	    a->init.pid, a->init.pid, a->init.pid, a->init.pid);
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(link, sizeof(link), "/proc/%d/ns/%s", a->init.pid, kinds[i]);
		ssize_t n = readlink(link, got, sizeof(got) - 1);

		assert_true(n > 0);
		got[n] = 0;
		(void)snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s\n", got);
	}
	b = box_new("member",
	    &(struct config){
		.args = SH("cd /proc/self/ns; for k in net ipc uts pid; do readlink $k; done; "
			   "hostname; readlink /proc/1/ns/mnt | cmp -s - /dev/null; [ $$ -gt 1 ] && echo other"),
		.namespaces = ns });
	assert_int_equal(run_to_end(b), 0);
	assert_false(oci_container_has_private_pidns(b->c));
	text = box_text(b);
	assert_true(strncmp(text, want, strlen(want)) == 0);
	assert_string_equal(text + strlen(want), "podname\nother\n");
	box_free(b);
	box_free(a);
}

static void exec_runs_beside_the_init(void **state)
{
	struct box *b = running("exec", &(struct config){ .args = SLEEPER });

	(void)state;
	assert_int_equal(box_exec(b, PROCESS(SH("echo $$; hostname; exit 3")), false), 0);
	assert_int_equal(box_wait_extra(b), 3);
	assert_string_not_equal(box_text(b), "1\n");

	assert_int_equal(box_exec(b,
			     "{\"args\":[\"sh\",\"-c\",\"id -u; echo $HOME $X; pwd; umask; ls /proc/self/fd; grep "
			     "CapEff /proc/self/status\"],"
			     "\"cwd\":\"/tmp\",\"env\":[\"PATH=/bin\",\"X=y\"],\"user\":{\"uid\":1000,\"gid\":1000}}",
			     false),
	    0);
	assert_int_equal(box_wait_extra(b), 0);
	assert_string_equal(box_text(b), "1000\n/home/user y\n/tmp\n0022\n0\n1\n2\n3\nCapEff:\t0000000000000000\n");

	/* A program that does not exist harms nobody. */
	assert_int_equal(box_exec(b, PROCESS("\"nonexistent\""), false), -ENOENT);
	assert_string_equal(b->err.text, "exec: \"nonexistent\": executable file not found in $PATH");
	assert_int_equal(
	    box_exec(b,
		"{\"args\":[\"true\"],\"cwd\":\"/no/such\",\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
		false),
	    -ENOENT);
	assert_int_equal(box_exec(b, "{\"args\":", false), -EINVAL);
	assert_false(b->exited);

	assert_int_equal(box_exec(b, PROCESS("\"tty\""), true), 0);
	{
		char text[64] = "";
		size_t have = 0;

		while (!strchr(text, '\n')) {
			ssize_t n = read(b->console, text + have, sizeof(text) - 1 - have);

			assert_true(n > 0);
			have += (size_t)n;
		}
		assert_string_equal(text, "/dev/pts/0\r\n");
	}
	assert_int_equal(box_wait_extra(b), 0);
	box_free(b);
}

/* A process's own fds, and not one of the shim's: no way back out by /proc/self/fd (CVE-2024-21626). */
static void cwd_outside_of_the_root_is_refused(void **state)
{
	struct box *b = running("cwd", &(struct config){ .args = SLEEPER });
	int leak = open("/etc", O_RDONLY | O_DIRECTORY); /* not close-on-exec, on purpose */
	char json[256];

	(void)state;
	for (int fd = 3; fd < 40; fd++) {
		(void)snprintf(json, sizeof(json),
		    "{\"args\":[\"true\"],\"cwd\":\"/proc/self/fd/%d\",\"env\":[\"PATH=/"
		    "bin\"],\"user\":{\"uid\":0,\"gid\":0}}",
		    fd);
		assert_true(box_exec(b, json, false) < 0);
	}
	(void)hk_close(leak);
	box_free(b);
}

/* The shim's own child by CLONE_PARENT, dead before the loop has told anybody of it: the sweep for orphans must not take it. */
static void exec_that_ends_at_once_keeps_its_exit(void **state)
{
	static const char *const namespaces[] = { NULL, "{\"type\":\"uts\"},{\"type\":\"ipc\"}," }; /* with and without a pid namespace */

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(namespaces); i++) {
		struct box *b = running("fast", &(struct config){ .args = SLEEPER, .namespaces = namespaces[i] });

		assert_int_equal(box_exec_begin(b, PROCESS(SH("exit 7")), false), 0);
		for (int ms = 0; ms < 300; ms++) {
			hk_reaper_sweep(&reaper);
			(void)usleep(1000);
		}
		turn_until(&b->done);
		assert_string_equal(b->err.text, "");
		assert_int_equal(box_wait_extra(b), 7);
		box_free(b);
	}
}

static void paused_container_takes_no_exec(void **state)
{
	struct box *b = running("paused", &(struct config){ .args = SLEEPER });
	struct oci_cgroup *cg = oci_container_cgroup(b->c);

	(void)state;
	assert_int_equal(oci_cgroup_freeze(cg, true, &b->err), 0);
	for (int i = 0; i < 200 && oci_cgroup_frozen(cg) != 1; i++)
		(void)usleep(5000);
	assert_int_equal(oci_cgroup_frozen(cg), 1);
	assert_true(box_exec(b, PROCESS("\"true\""), false) < 0);
	assert_int_equal(b->err.kind, HK_BAD_STATE);
	assert_int_equal(oci_cgroup_freeze(cg, false, &b->err), 0);
	for (int i = 0; i < 200 && oci_cgroup_frozen(cg) != 0; i++)
		(void)usleep(5000);
	assert_int_equal(box_exec(b, PROCESS("\"true\""), false), 0);
	assert_int_equal(box_wait_extra(b), 0);
	box_free(b);
}

static void filter_holds_for_init_and_exec(void **state)
{
	struct config cf = { .args = SH("mkdir /tmp/x; grep Seccomp: /proc/self/status; echo up; exec sleep 1000"),
		.linux_ = "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\","
			  "\"mkdirat\"],"
			  "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":12}]}," };

	(void)state;
	for (int round = 0; round < 4; round++) { /* compiled, then from the cache; with and without no_new_privs */
		struct box *b;

		cf.process = round % 2 ? "\"noNewPrivileges\":true," : "";
		b = box_new("filter", &cf);
		if (box_create(b, false) < 0 || box_start(b) < 0)
			fail_msg("%s", b->err.text);
		while (!strstr(b->text, "up\n")) {
			size_t have = strlen(b->text);
			ssize_t n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have);

			assert_true(n > 0);
			b->text[have + (size_t)n] = 0;
		}
		assert_string_equal(
		    b->text, "mkdir: can't create directory '/tmp/x': Cannot allocate memory\nSeccomp:\t2\nup\n");
		assert_int_equal(box_exec(b, PROCESS(SH("mkdir /tmp/x; grep Seccomp: /proc/self/status")), false), 0);
		assert_int_equal(box_wait_extra(b), 0);
		assert_string_equal(
		    box_text(b), "mkdir: can't create directory '/tmp/x': Cannot allocate memory\nSeccomp:\t2\n");
		box_free(b);
	}
}

static void container_without_a_keeper_is_cleaned(void **state)
{
	struct box *b = running("orphan", &(struct config){ .args = SLEEPER });
	char path[128];
	struct hk_err err;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s", oci_cgroup_path(oci_container_cgroup(b->c)));
	oci_container_free(b->c); /* touches nothing of the kernel's */
	b->c = NULL;
	assert_true(cgroup_exists(b));
	if (oci_cleanup(path, b->id, b->dir, 5000, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(cgroup_exists(b));
	assert_int_equal(box_wait(b), 128 + SIGKILL);
	assert_int_equal(oci_cleanup(path, b->id, "/no/such", 5000, &err), 0); /* again, and with nothing there */
	box_free(b);
}

static void create_can_be_given_up(void **state)
{
	struct box *b = box_new("giveup", &(struct config){ .args = "\"true\"" });
	struct hk_err err;
	char path[128];

	(void)state;
	assert_int_equal(box_create_begin(b, false), 0);
	(void)snprintf(path, sizeof(path), "%s", oci_cgroup_path(oci_container_cgroup(b->c)));
	oci_container_free(b->c);
	b->c = NULL;
	assert_int_equal(oci_cleanup(path, b->id, NULL, 5000, &err), 0);
	hk_reaper_sweep(&reaper);
	assert_false(b->done);
	box_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_codes_arrive),
		cmocka_unit_test(kill_arrives),
		cmocka_unit_test(process_is_as_configured),
		cmocka_unit_test(bad_input_is_told_clearly),
		cmocka_unit_test(bad_bundles_are_refused),
		cmocka_unit_test(start_tells_what_execve_says),
		cmocka_unit_test(killed_while_created),
		cmocka_unit_test(killed_amid_the_set_up),
		cmocka_unit_test(terminal_is_a_terminal),
		cmocka_unit_test(second_container_joins_the_first),
		cmocka_unit_test(exec_runs_beside_the_init),
		cmocka_unit_test(cwd_outside_of_the_root_is_refused),
		cmocka_unit_test(exec_that_ends_at_once_keeps_its_exit),
		cmocka_unit_test(paused_container_takes_no_exec),
		cmocka_unit_test(filter_holds_for_init_and_exec),
		cmocka_unit_test(container_without_a_keeper_is_cleaned),
		cmocka_unit_test(create_can_be_given_up),
		cmocka_unit_test(nobody_is_left),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
		fprintf(stderr, "needs root and busybox-static\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
