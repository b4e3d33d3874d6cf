/* SPDX-License-Identifier: Apache-2.0 */
/* The state files, and what `delete` concludes from them about a shim that lives or is dead. */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "sandbox/sandbox.h"
#include "sandbox/store.h"

static char top[] = "/tmp/husk-store-XXXXXX";
static char state_dir[64]; /* below top: the last pod of a daemon takes it along */

static void write_text(const char *dir, const char *name, const char *text)
{
	hk_autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(hk_write_file_atomic(fd, name, text, strlen(text), 0600), 0);
}

static void test_round_trip(void **state)
{
	hk_autofree char *dir = store_dir(state_dir, "ns1", "group-1");
	const struct store_record r = { .id = "c1", .bundle = "/b/c 1", .cgroup = "/default/c1", .pid = getpid() };
	struct store_record got;
	struct store_shim shim;
	struct stat st;
	int fd;

	(void)state;
	assert_non_null(dir);
	assert_int_equal(store_write_shim(dir, 42, "/run/x.sock", NULL), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(store_write_container(dir, &r), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(store_read_shim(fd, &shim), 0);
	assert_int_equal(shim.pid, 42);
	assert_string_equal(shim.socket, "/run/x.sock");
	store_shim_done(&shim);
	assert_int_equal(store_read_container(fd, "c1", &got), 0);
	assert_string_equal(got.id, "c1");
	assert_string_equal(got.bundle, "/b/c 1");
	assert_string_equal(got.cgroup, "/default/c1");
	assert_int_equal(got.pid, getpid());
	assert_int_equal(got.start_time, store_start_time(getpid()));
	assert_true(got.start_time > 0);
	store_record_done(&got);
	assert_int_equal(store_read_container(fd, "c2", &got), -ENOENT);

	/* A directory with a container in it stays, its shim's file too. */
	store_remove_dir(dir);
	assert_int_equal(store_read_shim(fd, &shim), 0);
	assert_string_equal(shim.socket, "/run/x.sock");
	store_shim_done(&shim);
	store_remove_container(dir, "c1");
	store_remove_dir(dir);
	assert_int_equal(access(state_dir, F_OK), -1);
	(void)hk_close(fd);
}

static void test_what_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"husk 99\nid c1\nbundle /b\ncgroup /c\npid 1\nstart_time 1\n",
		"husk 1\nid c2\nbundle /b\ncgroup /c\npid 1\nstart_time 1\n", /* another's */
		"husk 1\nid c1\nbundle /b\ncgroup /c\npid -1\nstart_time 1\n",
		"husk 1\nid c1\nbundle /b\ncgroup /c\npid 99999999999\nstart_time 1\n",
		"husk 1\nid c1\nbundle /b\ncgroup /c\npid 1\n",
		"husk 1\nid c1\npid 1\nstart_time 1\n",
	};
	hk_autofree char *dir = store_dir(state_dir, "ns1", "g");
	struct store_record got;
	hk_autofd fd = -1;

	(void)state;
	assert_int_equal(store_write_shim(dir, 1, "/s", NULL), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		write_text(dir, "c1", bad[i]);
		assert_int_equal(store_read_container(fd, "c1", &got), -EPROTO);
	}
	/* A pid of another boot names nobody. */
	write_text(dir, "c1", "husk 1\nid c1\nbundle /b\ncgroup /c\npid 1\nstart_time 1\nboot x\n");
	assert_int_equal(store_read_container(fd, "c1", &got), 0);
	assert_int_equal(got.pid, 0);
	store_record_done(&got);
	/* Lines that a newer version may add are passed over. */
	write_text(dir, "c1", "husk 1\nid c1\nbundle /b\nfuture x\ncgroup /c\npid 1\nstart_time 1\n");
	assert_int_equal(store_read_container(fd, "c1", &got), 0);
	assert_int_equal(got.pid, 1);
	store_record_done(&got);
	assert_int_equal(store_read_container(fd, "../g/c1", &got), -EPROTO);
	store_remove_container(dir, "c1");
	store_remove_dir(dir);
}

/* A shim killed in the middle of a write leaves its temporary file; one that is at it right now keeps its. */
static void test_abandoned_files_go(void **state)
{
	hk_autofree char *dir = store_dir(state_dir, "ns1", "g");
	char mine[64], dead[64];
	const pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)snprintf(mine, sizeof(mine), "c1.%d~", (int)getpid());
	(void)snprintf(dead, sizeof(dead), "c.1.%d~", (int)pid);
	assert_int_equal(store_write_shim(dir, 1, "/s", NULL), 0);
	write_text(dir, mine, "x");
	write_text(dir, dead, "x");
	store_remove_dir(dir);
	assert_int_equal(access(dir, F_OK), 0);
	store_remove_container(dir, mine);
	store_remove_dir(dir);
	assert_int_equal(access(state_dir, F_OK), -1);
}

/* Pods come while others go, and with the last of them the directories above. */
static void test_a_pod_comes_while_the_last_one_goes(void **state)
{
	hk_autofree char *a = store_dir(state_dir, "ns1", "a"), *b = store_dir(state_dir, "ns1", "b");
	const pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	for (int i = 0; i < 300; i++) {
		if (store_write_shim(pid == 0 ? a : b, 1, "/s", NULL) < 0) {
			if (pid == 0)
				_exit(1);
			fail_msg("round %d", i);
		}
		store_remove_dir(pid == 0 ? a : b);
	}
	if (pid == 0)
		_exit(0);
	{
		int status = -1;

		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(access(state_dir, F_OK), -1);
}

static void test_strange_group_names(void **state)
{
	hk_autofree char *odd = store_dir(state_dir, "ns1", "../../etc");
	hk_autofree char *other = store_dir(state_dir, "ns1", "../../etd");

	(void)state;
	assert_null(strstr(odd, ".."));
	assert_string_not_equal(odd, other);
}

static int listen_on(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void test_cleanup_leaves_a_live_shim_alone(void **state)
{
	hk_autofree char *dir = store_dir(state_dir, "ns1", "pod");
	const struct store_record r = { .id = "c1", .bundle = "/nowhere/c1", .cgroup = "/husk-test/never", .pid = getpid() };
	char sock[200];
	struct sbx_reply reply;
	struct hk_err err;
	int fd;

	(void)state;
	(void)snprintf(sock, sizeof(sock), "%s/s", top);
	fd = listen_on(sock);
	assert_int_equal(store_write_shim(dir, getpid(), sock, NULL), 0);
	assert_int_equal(store_write_container(dir, &r), 0);
	/* The pid in the file is ours: were this one taken for dead, the test would not return. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sbx_cleanup(state_dir, "ns1", "c1", "/nowhere/c1", &reply, &err), 0);
		assert_int_equal(reply.pid, getpid());
		assert_int_equal(reply.exit_status, 137);
	}
	assert_int_equal(sbx_cleanup(state_dir, "ns1", "pod", "/nowhere/pod", &reply, &err), 0);
	assert_int_equal(reply.pid, 0);
	assert_int_equal(access(sock, F_OK), 0);
	store_remove_container(dir, "c1");
	store_remove_dir(dir);
	(void)hk_close(fd);
	(void)unlink(sock);
}

static void test_cleanup_of_what_nobody_knows(void **state)
{
	struct sbx_reply reply = { .pid = 7 };
	struct hk_err err;

	(void)state;
	assert_int_equal(sbx_cleanup(state_dir, "ns1", "unknown", "/nowhere", &reply, &err), 0);
	assert_int_equal(reply.pid, 0);
	assert_int_equal(sbx_cleanup(state_dir, "no-such-ns", "unknown", "/nowhere", &reply, &err), 0);
	assert_true(sbx_cleanup(state_dir, "ns1", "../../etc", "/nowhere", &reply, &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_true(sbx_cleanup(state_dir, "..", "x", "/nowhere", &reply, &err) < 0);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(top))
		return -1;
	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", top);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return hk_rm_rf(AT_FDCWD, top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_abandoned_files_go),
		cmocka_unit_test(test_a_pod_comes_while_the_last_one_goes),
		cmocka_unit_test(test_strange_group_names),
		cmocka_unit_test(test_cleanup_leaves_a_live_shim_alone),
		cmocka_unit_test(test_cleanup_of_what_nobody_knows),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
