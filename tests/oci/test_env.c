/* SPDX-License-Identifier: Apache-2.0 */
/* Environment, HOME and program lookup, with the wording that clients of containerd match on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/env.h"

static char dir[] = "/tmp/husk-test-env-XXXXXX";
static int dir_fd = -1;

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 || mkdirat(dir_fd, "etc", 0755) < 0 || mkdirat(dir_fd, "bin", 0755) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	dir_fd = hk_close(dir_fd);
	return hk_rm_rf(AT_FDCWD, dir);
}

static void write_passwd(const char *text)
{
	int fd;

	(void)unlinkat(dir_fd, "etc/passwd", 0);
	fd = openat(dir_fd, "etc/passwd", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	(void)hk_close(fd);
}

static void last_value_wins_in_first_place(void **state)
{
	const char *v[] = { "A=1", "PATH=/x", "A=2", "AB=3", "A=", "HOME=/h", NULL };
	struct oci_strv env = { v, 6 };
	hk_autofree char **out = oci_env_build(&env, "/root");

	(void)state;
	assert_string_equal(out[0], "A=");
	assert_string_equal(out[1], "PATH=/x");
	assert_string_equal(out[2], "AB=3");
	assert_string_equal(out[3], "HOME=/h");
	assert_null(out[4]);
}

static void home_is_added_when_missing_or_empty(void **state)
{
	const char *v[] = { "HOME=", "B=1", NULL };
	struct oci_strv env = { v, 2 }, none = { NULL, 0 };
	hk_autofree char **out = oci_env_build(&env, "/root");
	hk_autofree char **alone = oci_env_build(&none, "/");

	(void)state;
	assert_string_equal(out[0], "HOME=/root");
	assert_string_equal(out[1], "B=1");
	assert_null(out[2]);
	free(out[0]);
	assert_string_equal(alone[0], "HOME=/");
	assert_null(alone[1]);
	free(alone[0]);
}

/* Kubernetes puts seven variables for each service of the namespace into every container. */
static void many_variables_take_no_time(void **state)
{
	enum { N = 100000 };
	const char **v = calloc(N + 1, sizeof(*v));
	char *text = calloc(N, 16), **out;
	struct oci_strv env = { v, N };

	(void)state;
	assert_true(v && text);
	for (int i = 0; i < N; i++) {
		(void)snprintf(text + (size_t)i * 16, 16, "V%d=%d", i % (N / 2), i % 10);
		v[i] = text + (size_t)i * 16;
	}
	out = oci_env_build(&env, NULL);
	assert_non_null(out);
	assert_non_null(out[N / 2 - 1]);
	assert_null(out[N / 2]);
	free(out);
	free(v);
	free(text);
}

static void entries_need_a_name(void **state)
{
	const char *good[] = { "A=", "B==", NULL }, *no_eq[] = { "A=1", "FOO", NULL }, *no_name[] = { "=x", NULL };
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(oci_env_check(&(struct oci_strv){ good, 2 }, &err), 0);
	assert_int_equal(oci_env_check(&(struct oci_strv){ no_eq, 2 }, &err), -EINVAL);
	assert_string_equal(err.text, "process.env[1]: \"FOO\" is not NAME=value");
	assert_int_equal(err.kind, HK_INVALID);
	assert_int_equal(oci_env_check(&(struct oci_strv){ no_name, 1 }, &err), -EINVAL);
}

static void get_finds_whole_names(void **state)
{
	const char *v[] = { "PATHS=1", "PATH=/a", "PATH=/b", NULL };

	(void)state;
	assert_string_equal(oci_env_get(v, "PATH"), "/b");
	assert_null(oci_env_get(v, "PAT"));
	assert_null(oci_env_get(NULL, "PATH"));
}

static void home_comes_from_passwd(void **state)
{
	static const struct {
		const char *text;
		uid_t uid;
		const char *home;
	} cases[] = {
		{ "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n", 1000, "/home/u" },
		{ "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u", 1000, "/home/u" }, /* no shell, no newline */
		{ "root:x:0:0:root:/root:/bin/sh\n", 7, "/" },
		{ "bad\n::::\nu:x:abc:0::/x:/y\nu:x:7:0::relative:/y\nv:x:7:0::/v:\n", 7, "/v" },
		{ "", 0, "/" },
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		write_passwd(cases[i].text);
		oci_env_home(dir_fd, cases[i].uid, buf, sizeof(buf));
		assert_string_equal(buf, cases[i].home);
	}
}

/* An image decides what lies there. */
static void hostile_passwd_is_no_home(void **state)
{
	char buf[64];

	(void)state;
	(void)unlinkat(dir_fd, "etc/passwd", 0);
	oci_env_home(dir_fd, 0, buf, sizeof(buf));
	assert_string_equal(buf, "/"); /* missing */
	assert_int_equal(mkfifoat(dir_fd, "etc/passwd", 0644), 0);
	oci_env_home(dir_fd, 0, buf, sizeof(buf));
	assert_string_equal(buf, "/"); /* would block */
	assert_int_equal(unlinkat(dir_fd, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", dir_fd, "etc/passwd"), 0);
	oci_env_home(dir_fd, 0, buf, sizeof(buf));
	assert_string_equal(buf, "/"); /* the host's, or a loop */
	write_passwd(
	    "root:x:0:0:root:/root/very/long/directory/name/that/does/not/fit/into/the/buffer/of/this/test:/bin/sh\n");
	oci_env_home(dir_fd, 0, buf, sizeof(buf));
	assert_string_equal(buf, "/");
}

static void lookup_words_its_errors_as_go_does(void **state)
{
	char buf[4096], path[128];
	struct hk_err err = { 0 };
	int fd;

	(void)state;
	fd = openat(dir_fd, "bin/tool", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	(void)hk_close(fd);
	fd = openat(dir_fd, "bin/data", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	(void)hk_close(fd);
	(void)snprintf(path, sizeof(path), "/nowhere::%s/bin", dir);
	assert_int_equal(oci_lookup("tool", path, buf, sizeof(buf), &err), 0);
	assert_string_equal(strrchr(buf, '/'), "/tool");
	assert_int_equal(oci_lookup(buf, NULL, buf + 2048, 2048, &err), 0);

	assert_int_equal(oci_lookup("foo", path, buf, sizeof(buf), &err), -ENOENT);
	assert_string_equal(err.text, "exec: \"foo\": executable file not found in $PATH");
	assert_int_equal(oci_lookup("data", path, buf, sizeof(buf), &err), -ENOENT);
	assert_int_equal(oci_lookup("tool", NULL, buf, sizeof(buf), &err), -ENOENT);
	assert_int_equal(oci_lookup("", path, buf, sizeof(buf), &err), -ENOENT);
	assert_int_equal(oci_lookup("/no/such", path, buf, sizeof(buf), &err), -ENOENT);
	assert_string_equal(err.text, "exec: \"/no/such\": stat /no/such: no such file or directory");
	assert_int_equal(oci_lookup("/proc", path, buf, sizeof(buf), &err), -EISDIR);
	assert_string_equal(err.text, "exec: \"/proc\": is a directory");
	assert_int_equal(oci_lookup("/proc/self/maps", path, buf, sizeof(buf), &err), -EACCES);
	assert_string_equal(err.text, "exec: \"/proc/self/maps\": permission denied");
	assert_int_equal(oci_exec_fail("/bin/x", ENOEXEC, &err), -ENOEXEC);
	assert_string_equal(err.text, "exec /bin/x: exec format error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_value_wins_in_first_place),
		cmocka_unit_test(home_is_added_when_missing_or_empty),
		cmocka_unit_test(many_variables_take_no_time),
		cmocka_unit_test(entries_need_a_name),
		cmocka_unit_test(get_finds_whole_names),
		cmocka_unit_test(home_comes_from_passwd),
		cmocka_unit_test(hostile_passwd_is_no_home),
		cmocka_unit_test(lookup_words_its_errors_as_go_does),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
