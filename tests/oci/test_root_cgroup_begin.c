/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_root_cgroup_begin.c — a cgroup that is made beside its first process, on the kernel this runs on: what is there at which moment, what a
 * failure leaves and takes, and the way in from where the host's file systems are not seen. On v2 alone nothing begins early.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/cgroup.h"
#include "oci/cgroup_priv.h"

static const char path[] = "/husk-test-begun/leaf";

static struct oci_cgroup *open_ok(void)
{
	struct oci_cgroup *cg = NULL;
	struct hk_err err = { 0 };

	if (oci_cgroup_open(path, "t1", &cg, &err) < 0)
		fail_msg("%s", err.text);
	return cg;
}

static bool exists(const struct oci_cgroup *cg, size_t i)
{
	hk_autofd fd = cg_open_leaf(&cg->host->h[i], path);

	return fd >= 0;
}

static struct oci_cgroup *begin_or_skip(void)
{
	struct oci_cgroup *cg = open_ok();
	struct hk_err err = { 0 };
	int r = oci_cgroup_begin(cg, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	assert_int_equal(r, cg->host->mode != OCI_CGROUP_UNIFIED);
	if (r == 0) {
		oci_cgroup_free(cg);
		skip();
	}
	for (size_t i = 0; i < cg->host->n; i++)
		assert_int_equal(exists(cg, i), cg->host->h[i].is_v2);
	return cg;
}

/* With a root of its own that has nothing in it. */
static pid_t enter_from_nowhere(const struct oci_cgroup *cg)
{
	char dir[] = "/tmp/husk-test-begun-XXXXXX";
	int fds[OCI_CGROUP_HOLD_MAX], ready[2], status;
	struct hk_err err = { 0 };
	char byte;
	pid_t pid;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (oci_cgroup_hold(cg, fds, false, &err) < 0 || chroot(dir) < 0 || chdir("/") < 0 ||
		    access("/sys", F_OK) == 0 || oci_cgroup_enter_held(cg, fds, false, &err) < 0)
			_exit(1);
		for (size_t i = 0; i < cg->host->n; i++)
			if (fds[i] != -1)
				_exit(2);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		(void)waitpid(pid, &status, 0);
		fail_msg("child: status %d", status);
	}
	close(ready[0]);
	assert_int_equal(rmdir(dir), 0);
	return pid;
}

static void made_whole_and_entered(void **state)
{
	struct oci_cgroup *cg = begin_or_skip();
	struct oci_resources r = { 0 };
	struct hk_err err = { 0 };
	int status;
	pid_t pid;

	(void)state;
	if (oci_cgroup_create(cg, &r, &err) < 0)
		fail_msg("%s", err.text);
	pid = enter_from_nowhere(cg);
	for (size_t i = 0; i < cg->host->n; i++) {
		hk_auto(cg_pids_done) struct cg_pids pids = { 0 };
		hk_autofd fd = cg_open_leaf(&cg->host->h[i], path);

		assert_int_equal(cg_tree_pids(fd, &pids), 0);
		assert_int_equal(pids.n, 1);
		assert_int_equal(pids.v[0], pid);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	while (oci_cgroup_remove(cg, &err) == -EBUSY)
		usleep(2000);
	oci_cgroup_free(cg);
}

/* Neither what was there before in one hierarchy, nor more of the rest than this object has made. */
static void undone_alone(void **state)
{
	struct oci_cgroup *other = open_ok(), *cg;
	struct oci_resources bad = { .cpu.cpus = "4000" };
	struct hk_err err = { 0 };
	size_t kept = 0, theirs = 0;

	(void)state;
	while (theirs < other->host->n && other->host->h[theirs].is_v2)
		theirs++;
	if (theirs == other->host->n) {
		oci_cgroup_free(other);
		skip();
	}
	assert_int_equal(cg_tree_make(&other->host->h[theirs], "/husk-test-begun/neighbour", &kept), 0);
	cg = begin_or_skip();
	assert_true(oci_cgroup_create(cg, &bad, &err) < 0);
	assert_non_null(strstr(err.text, "cpuset.cpus"));
	for (size_t i = 0; i < cg->host->n; i++) /* a process may be in it: not yet */
		assert_true(exists(cg, i));
	oci_cgroup_undo(cg);
	for (size_t i = 0; i < cg->host->n; i++) {
		hk_autofd above = cg_open_leaf(&cg->host->h[i], "/husk-test-begun");

		assert_false(exists(cg, i));
		assert_int_equal(above >= 0, i == theirs);
	}
	oci_cgroup_free(cg);
	cg_tree_unmake(&other->host->h[theirs], "/husk-test-begun/neighbour", kept);
	oci_cgroup_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_whole_and_entered),
		cmocka_unit_test(undone_alone),
	};

	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
