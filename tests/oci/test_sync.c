/* SPDX-License-Identifier: Apache-2.0 */
/* The set-up protocol: what arrives whole is taken, everything else is refused, EOF is never a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/sync.h"

static int pair[2];

static int setup(void **state)
{
	(void)state;
	return hk_socketpair(pair);
}

static int teardown(void **state)
{
	(void)state;
	pair[0] = hk_close(pair[0]);
	pair[1] = hk_close(pair[1]);
	return 0;
}

static void error_travels_whole(void **state)
{
	struct hk_err in = { 0 }, out = { 0 };
	struct oci_msg m;
	int fd = -1;

	(void)state;
	(void)hk_fail(&in, HK_INVALID, EPERM, "mount proc on /proc");
	oci_sync_fail(pair[1], OCI_STEP_MOUNTS, 3, &in);
	assert_int_equal(oci_sync_recv(pair[0], &m, &fd, 0), 1);
	assert_int_equal(m.type, OCI_MSG_FAILED);
	assert_int_equal(m.step, OCI_STEP_MOUNTS);
	assert_int_equal(m.index, 3);
	oci_sync_to_err(&m, &out);
	assert_string_equal(out.text, "mount proc on /proc: EPERM");
	assert_int_equal(out.code, EPERM);
	assert_int_equal(out.kind, HK_INVALID);
	assert_int_equal(fd, -1);
}

static void longest_error_fits(void **state)
{
	struct hk_err in = { .code = EIO, .kind = HK_INTERNAL }, out = { 0 };
	struct oci_msg m;
	int fd = -1;

	(void)state;
	memset(in.text, 'x', sizeof(in.text) - 1);
	oci_sync_fail(pair[1], OCI_STEP_EXEC, -1, &in);
	assert_int_equal(oci_sync_recv(pair[0], &m, &fd, 0), 1);
	oci_sync_to_err(&m, &out);
	assert_string_equal(out.text, in.text);
}

static void fd_travels(void **state)
{
	struct oci_msg m;
	int fd = -1;

	(void)state;
	assert_int_equal(oci_sync_send(pair[1], OCI_MSG_FDS, OCI_FDS_CONSOLE, STDIN_FILENO), 0);
	assert_int_equal(oci_sync_recv(pair[0], &m, &fd, 0), 1);
	assert_int_equal(m.value, OCI_FDS_CONSOLE);
	assert_true(fd > STDERR_FILENO);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	(void)hk_close(fd);
}

static void nothing_is_again_and_end_is_end(void **state)
{
	struct oci_msg m;
	int fd = -1;

	(void)state;
	assert_int_equal(oci_sync_recv(pair[0], &m, &fd, MSG_DONTWAIT), -EAGAIN);
	pair[1] = hk_close(pair[1]);
	assert_int_equal(oci_sync_recv(pair[0], &m, &fd, 0), 0);
	assert_int_equal(oci_sync_expect(pair[0], OCI_MSG_GO), -EPIPE);
	(void)signal(SIGPIPE, SIG_DFL); /* must not be raised */
	assert_int_equal(oci_sync_send(pair[0], OCI_MSG_GO, 0, -1), -EPIPE);
}

static void bad_messages_are_refused(void **state)
{
	static const struct {
		uint16_t version, type, step;
		size_t len;
		char fill;
	} bad[] = {
		{ 2, OCI_MSG_GO, 0, OCI_MSG_SIZE, 0 },      /* version */
		{ OCI_MSG_VERSION, 0, 0, OCI_MSG_SIZE, 0 }, /* types below and above */
		{ OCI_MSG_VERSION, OCI_N_MSGS, 0, OCI_MSG_SIZE, 0 },
		{ OCI_MSG_VERSION, OCI_MSG_FAILED, OCI_N_STEPS, OCI_MSG_SIZE, 0 },
		{ OCI_MSG_VERSION, OCI_MSG_GO, 0, OCI_MSG_SIZE - 1, 0 }, /* size */
		{ OCI_MSG_VERSION, OCI_MSG_GO, 0, 1, 0 },
		{ OCI_MSG_VERSION, OCI_MSG_FAILED, 0, OCI_MSG_SIZE, 'x' }, /* text without an end */
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		struct oci_msg m = { .version = bad[i].version, .type = bad[i].type, .step = bad[i].step }, got;
		int fd = -1;

		memset(m.text, bad[i].fill, sizeof(m.text));
		assert_int_equal(send(pair[1], &m, bad[i].len, 0), (int)bad[i].len);
		if (oci_sync_recv(pair[0], &got, &fd, 0) != -EPROTO)
			fail_msg("bad message %zu was taken", i);
	}
}

static void only_the_expected_passes(void **state)
{
	(void)state;
	assert_int_equal(oci_sync_send(pair[1], OCI_MSG_DONE, 0, -1), 0);
	assert_int_equal(oci_sync_expect(pair[0], OCI_MSG_GO), -EPROTO);
	assert_int_equal(oci_sync_send(pair[1], OCI_MSG_GO, 0, STDIN_FILENO), 0);
	assert_int_equal(
	    oci_sync_expect(pair[0], OCI_MSG_GO), 0); /* and the unasked fd is closed: the leak check sees it */
}

static void every_step_has_a_name(void **state)
{
	(void)state;
	for (unsigned i = 0; i < OCI_N_STEPS; i++)
		assert_true(strlen(oci_step_name(i)) > 3);
	assert_string_equal(oci_step_name(OCI_STEP_EXEC), "exec");
	assert_string_equal(oci_step_name(OCI_N_STEPS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(error_travels_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(longest_error_fits, setup, teardown),
		cmocka_unit_test_setup_teardown(fd_travels, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_again_and_end_is_end, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_messages_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_expected_passes, setup, teardown),
		cmocka_unit_test(every_step_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
