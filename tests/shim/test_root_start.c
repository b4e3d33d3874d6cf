/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/test_root_start.c — `start` as each containerd calls it: dialects on stdin, what comes out byte for byte, one server a group
 * however many ask, and failures that leave nothing.
 * with: start_env.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/envelope.h"
#include "proto/frame.h"
#include "proto/names.h"
#include "tests/shim/start_env.h"

enum { N_CONCURRENT = 20, SOCKET_DIR_MAX = 42 };

/* ---- dialects ---- */

static void no_options(void **state)
{
	static const enum start_input inputs[] = { INPUT_BYTES, INPUT_CLOSED, INPUT_OPEN };
	struct start_env *e = *state;
	char text[200], path[120];
	struct stat st;
	pid_t pid = 0;

	for (size_t i = 0; i < HK_ARRAY_SIZE(inputs); i++) {
		struct start_command c = { .id = "a1", .action = "start", .input = inputs[i] };

		start_run(e, &c);
		start_assert_bare(e, &c, "a1");
		assert_true(i == 0 || pid == start_server_pid(e, c.out, TTRPC_SERVICE_TASK_V2));
		pid = start_server_pid(e, c.out, TTRPC_SERVICE_TASK_V3);
		assert_int_equal(lstat(c.out + 7, &st), 0);
		assert_int_equal(st.st_mode, S_IFSOCK | 0600);
		(void)snprintf(path, sizeof(path), "%s/address", e->bundle);
		assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
		assert_string_equal(text, c.out);
	}
}

/* The two kinds of options as they come from containerd up to 2.2; both would parse as BootstrapParams. */
static void options_any(void **state)
{
	static const char systemd[] = "\x0a\x1a" "containerd.runc.v1.Options\x12\x02\x48\x01";
	static const char user[] = "\x0a\x1a" "containerd.runc.v1.Options\x12\x04\x20\xa0\x8d\x06";
	static const char toml[] = "\x0a\x19" "runtimeoptions.v1.Options\x12\x19\x1a\x17" "SystemdCgroup = false\n\n";
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = { { systemd, sizeof(systemd) - 1 }, { user, sizeof(user) - 1 }, { toml, sizeof(toml) - 1 } };
	struct start_env *e = *state;

	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct start_command c = { .id = "a2", .action = "start", .bytes = rows[i].bytes, .len = rows[i].len };

		start_run(e, &c);
		start_assert_bare(e, &c, "a2");
		assert_true(start_server_pid(e, c.out, TTRPC_SERVICE_TASK_V3) > 0);
	}
}

static void assert_result(const struct start_command *c, int version, const char *address)
{
	Husk__Bootstrap__BootstrapResult *m;

	assert_string_equal(c->err, "");
	assert_int_equal(c->status, 0);
	m = husk__bootstrap__bootstrap_result__unpack(NULL, (size_t)c->n_out, (const uint8_t *)c->out);
	assert_non_null(m);
	assert_int_equal(m->version, version);
	assert_string_equal(m->address, address);
	assert_string_equal(m->protocol, "ttrpc");
	husk__bootstrap__bootstrap_result__free_unpacked(m, NULL);
}

static bool proc_has(pid_t pid, const char *file, const char *word)
{
	char path[64];
	hk_autofree char *text = NULL;
	size_t len;

	(void)hk_fmt(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, path, 1 << 20, &text, &len), 0);
	return memmem(text, len, word, strlen(word) + 1) != NULL;
}

static void bootstrap_params(void **state)
{
	struct start_env *e = *state;
	char dir[SOCKET_DIR_MAX + 1] = "", want[160];
	uint8_t bytes[1024];
	struct start_command c = { .id = "a3", .action = "start", .bytes = bytes };
	pid_t pid;

	/* The longest that containerd allows. */
	assert_true(hk_fmt(dir, sizeof(dir), "%s/", e->dir) > 0);
	memset(dir + strlen(dir), 's', SOCKET_DIR_MAX - strlen(dir));
	c.len = start_params(e, "a3", dir, "/nowhere/ttrpc.sock", bytes);
	start_expected_address(e, dir, "a3", want, sizeof(want));
	for (int i = 0; i < 2; i++) {
		start_run(e, &c);
		assert_result(&c, 3, want);
	}
	pid = start_server_pid(e, want, TTRPC_SERVICE_TASK_V3);
	assert_true(proc_has(pid, "environ", "TTRPC_ADDRESS=/nowhere/ttrpc.sock"));
	assert_true(proc_has(pid, "cmdline", "-debug"));
	start_end_server(pid, SIGTERM);
	assert_int_equal(access(want + 7, F_OK), -1);
}

/* ---- groups ---- */

static void groups(void **state)
{
	static const char *const keys[] = { "io.kubernetes.cri.sandbox-id", "io.containerd.runc.v2.group" };
	struct start_env *e = *state;

	for (size_t i = 0; i < HK_ARRAY_SIZE(keys); i++) {
		char other[128], group[16], text[200], path[160];
		struct start_command first = { .action = "start" }, second = { .id = "other", .action = "start", .cwd = other };
		pid_t pid;

		(void)snprintf(group, sizeof(group), "pod%zu", i);
		(void)snprintf(other, sizeof(other), "%s/other", e->dir);
		first.id = group;
		start_write_config(e->bundle, keys[i], group);
		start_write_config(other, keys[i], group);
		start_run(e, &first);
		start_assert_bare(e, &first, group);
		pid = start_server_pid(e, first.out, TTRPC_SERVICE_TASK_V3);
		start_run(e, &second);
		start_assert_bare(e, &second, group);
		assert_int_equal(start_server_pid(e, second.out, TTRPC_SERVICE_TASK_V3), pid);
		(void)snprintf(path, sizeof(path), "%s/address", other);
		assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) > 0);
		assert_string_equal(text, first.out);
	}
}

/* With a dead server's socket in the way, which is the harder beginning. */
static void concurrent(void **state)
{
	struct start_env *e = *state;
	struct start_command c[N_CONCURRENT], first = { .id = "many", .action = "start" };
	struct start_running r[N_CONCURRENT];
	pid_t pid;

	start_run(e, &first);
	start_assert_bare(e, &first, "many");
	pid = start_server_pid(e, first.out, TTRPC_SERVICE_TASK_V3);
	start_end_server(pid, SIGKILL);
	assert_int_equal(access(first.out + 7, F_OK), 0);
	for (size_t i = 0; i < N_CONCURRENT; i++) {
		c[i] = (struct start_command){ .id = "many", .action = "start" };
		r[i] = start_launch(e, &c[i]);
	}
	(void)alarm(60);
	for (size_t i = 0; i < N_CONCURRENT; i++) {
		start_finish(&c[i], &r[i]);
		start_assert_bare(e, &c[i], "many");
		assert_true(start_server_pid(e, c[i].out, TTRPC_SERVICE_TASK_V3) > 0);
	}
	(void)alarm(0);
	/* The dead one and one more. */
	assert_int_equal(e->n_servers, 2);
	assert_int_equal(start_count_servers("many"), 1);
}

/* Somebody else's shim of the same group that knows only Task v2: version 3 must not be promised. */
static pid_t fake_old_shim(const char *address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	hk_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	assert_true(hk_fmt(un.sun_path, sizeof(un.sun_path), "%s", address + 7) > 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 8), 0);
	pid = fork();
	assert_true(pid >= 0);
	while (pid == 0) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		struct ttrpc_buf *answer;
		uint8_t bytes[1024];

		if (conn < 0)
			_exit(0);
		if (read(conn, bytes, sizeof(bytes)) > 0 &&
		    ttrpc_response_encode_error(TTRPC_UNIMPLEMENTED, "service containerd.task.v3.Task", 1, &answer) == 0)
			(void)hk_write_full(conn, answer->data, answer->len);
		(void)close(conn);
	}
	return pid;
}

static void older_shim(void **state)
{
	struct start_env *e = *state;
	char dir[80], want[160];
	uint8_t bytes[1024];
	struct start_command c = { .id = "old", .action = "start", .bytes = bytes };
	pid_t pid;

	(void)snprintf(dir, sizeof(dir), "%s/s", e->dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	start_expected_address(e, dir, "old", want, sizeof(want));
	pid = fake_old_shim(want);
	c.len = start_params(e, "old", dir, "", bytes);
	start_run(e, &c);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	assert_result(&c, 2, want);
	assert_int_equal(start_count_servers("old"), 0);
}

/* ---- failures ---- */

static void assert_failed(const struct start_command *c, int status, const char *text)
{
	assert_int_equal(c->status, status);
	assert_int_equal(c->n_out, 0);
	assert_non_null(strstr(c->err, text));
}

static void failures(void **state)
{
	struct start_env *e = *state;
	static const struct {
		const char *id, *extra, *stdin_bytes, *text;
		int status;
	} rows[] = {
		{ "a/../b", NULL, "", "\"a/../b\" is not a valid id", 1 },
		{ "..", NULL, "", "not a valid id", 1 },
		{ "", NULL, "", "\"\" is not a valid id", 1 },
		{ "bad", "-nope", "", "flag provided but not defined: -nope", 2 },
		{ "bad", "-namespace=", "", "namespace cannot be empty", 1 },
		{ "bad", "-namespace=a/b", "", "\"a/b\" is not a valid name", 1 },
		{ "bad", NULL, "\xff\xff\xff", "stdin is neither", 1 },
	};
	char want[160];

	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct start_command c = { .id = rows[i].id, .action = "start", .extra = rows[i].extra, .bytes = rows[i].stdin_bytes,
			.len = strlen(rows[i].stdin_bytes) };

		start_run(e, &c);
		assert_failed(&c, rows[i].status, rows[i].text);
	}
	/* The server itself dies before it serves: said, and no socket stays. */
	(void)setenv("TTRPC_ADDRESS", "/a/socket/path/that/is/longer/than/the/kernel/can/take/in/a/sockaddr_un/which/has/room/for/one/"
	    "hundred/and/eight", 1);
	for (int i = 0; i < 2; i++) {
		struct start_command c = { .id = "dies", .action = "start" };

		start_run(e, &c);
		assert_failed(&c, 1, "TTRPC_ADDRESS");
		start_expected_address(e, "/run/containerd/s", "dies", want, sizeof(want));
		assert_int_equal(access(want + 7, F_OK), -1);
		assert_int_equal(start_count_servers("dies"), 0);
	}
	(void)unsetenv("TTRPC_ADDRESS");
}

static void bad_bundles(void **state)
{
	struct start_env *e = *state;
	struct start_command c = { .id = "bad", .action = "start" };
	char path[160];

	start_write_config(e->bundle, "io.containerd.runc.v2.group", "../../etc");
	start_run(e, &c);
	assert_failed(&c, 1, "group \"../../etc\" is not a valid id");
	(void)snprintf(path, sizeof(path), "%s/config.json", e->bundle);
	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, "{\"annotations\":", 15, 0600), 0);
	start_run(e, &c);
	assert_failed(&c, 1, "config.json");
	assert_int_equal(start_count_servers("bad"), 0);
}

static void long_socket_dir(void **state)
{
	struct start_env *e = *state;
	uint8_t bytes[1024];
	struct start_command c = { .id = "long", .action = "start", .bytes = bytes };

	c.len = start_params(e, "long", "/tmp/a-directory-that-leaves-too-little-room-for-the-hash", "", bytes);
	start_run(e, &c);
	assert_failed(&c, 1, "longer than a socket's path allows");
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, start_setup, start_teardown)
	const struct CMUnitTest tests[] = {
		ROW(no_options),
		ROW(options_any),
		ROW(bootstrap_params),
		ROW(groups),
		ROW(concurrent),
		ROW(older_shim),
		ROW(failures),
		ROW(bad_bundles),
		ROW(long_socket_dir),
	};

	if (geteuid() != 0)
		return 77;
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
