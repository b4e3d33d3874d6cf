/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_root_cgroup_v2.c — the unified way on any host that has the v2 tree mounted, also beside v1: the tests look at that hierarchy alone,
 * as if the others were not there. Device filters are tried on real device nodes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/cgroup_bpf.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"
#include "oci/namespaces.h"

static struct cg_host only_v2;

static struct oci_cgroup *create_ok(const char *path, const struct oci_resources *r)
{
	struct oci_cgroup *cg = NULL;
	struct hk_err err = { 0 };

	assert_int_equal(cg_open_on(&only_v2, path, "x", &cg, &err), 0);
	assert_int_equal(oci_cgroup_clone_fd(cg), -1);
	if (oci_cgroup_create(cg, r, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(oci_cgroup_clone_fd(cg) >= 0);
	return cg;
}

static void remove_ok(struct oci_cgroup *cg)
{
	int r = -EBUSY;

	for (int i = 0; i < 500 && r == -EBUSY; i++) {
		r = oci_cgroup_remove(cg, NULL);
		if (r == -EBUSY)
			usleep(2000);
	}
	assert_int_equal(r, 0);
	assert_int_equal(oci_cgroup_clone_fd(cg), -1);
	oci_cgroup_free(cg);
}

/* Born inside, as the shim makes its inits. */
static pid_t clone_into(const struct oci_cgroup *cg)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD,
		.cgroup = (uint32_t)oci_cgroup_clone_fd(cg) };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	assert_true(pid >= 0);
	if (pid == 0) {
		for (;;)
			pause();
	}
	return pid;
}

static void kill_and_reap(struct oci_cgroup *cg, pid_t pid)
{
	int status;

	assert_int_equal(oci_cgroup_signal_all(cg, SIGKILL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (int i = 0; i < 1000 && !oci_cgroup_is_empty(cg); i++)
		usleep(1000);
	assert_true(oci_cgroup_is_empty(cg));
}

static int try_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void test_life(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test-v2/life", &r), *again = NULL, *below = NULL;
	hk_autofree pid_t *pids = NULL;
	struct oci_stats s = { 0 };
	struct hk_err err = { 0 };
	size_t n = 0;
	pid_t pid;
	int status;

	(void)state;
	pid = clone_into(cg);
	assert_false(oci_cgroup_is_empty(cg));
	assert_int_equal(oci_cgroup_pids(cg, &pids, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(pids[0], pid);
	assert_int_equal(cg_open_on(&only_v2, "/husk-test-v2/life", "x", &again, NULL), 0); /* as after a restart */
	assert_true(oci_cgroup_clone_fd(again) >= 0);
	assert_int_equal(oci_cgroup_create(again, &r, &err), -EBUSY);
	assert_non_null(strstr(err.text, "has processes"));
	oci_cgroup_free(again);
	assert_int_equal(oci_cgroup_freeze(cg, true, NULL), 0);
	for (int i = 0; i < 1000 && oci_cgroup_frozen(cg) != 1; i++)
		usleep(1000);
	assert_int_equal(oci_cgroup_frozen(cg), 1);
	assert_int_equal(cg_open_on(&only_v2, "/husk-test-v2/life/below", "x", &below, NULL), 0);
	assert_int_equal(oci_cgroup_create(below, &r, &err), -EBUSY);
	assert_non_null(strstr(err.text, "frozen"));
	oci_cgroup_free(below);
	assert_int_equal(oci_cgroup_freeze(cg, false, NULL), 0);
	assert_int_equal(oci_cgroup_frozen(cg), 0);
	assert_int_equal(oci_cgroup_signal_all(cg, SIGSTOP, NULL), 0); /* any other signal: one by one */
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(oci_cgroup_freeze(cg, true, NULL), 0);
	kill_and_reap(cg, pid);
	assert_int_equal(oci_cgroup_stats(cg, &s, &err), 0);
	assert_false(s.is_v1);
	assert_true(s.has_cpu);
	oci_stats_done(&s);
	remove_ok(cg);
}

/* A container that enabled a controller below itself has an inner cgroup no process may enter: an exec goes where the init is. */
static void test_enter_delegated(void **state)
{
	struct oci_resources r = { 0 };
	const struct cg_hier *v2 = &only_v2.h[0];
	struct oci_cgroup *cg;
	char path[PATH_MAX];
	struct cg_dir leaf;
	pid_t init, exec;
	int status;

	(void)state;
	if (!(v2->ctls & CG_BIT(CG_HUGETLB)))
		skip();
	cg = create_ok("/husk-test-v2/delegated", &r); /* on a unified host all controllers are on */
	cg_dir_init(&leaf, v2, oci_cgroup_path(cg));
	init = clone_into(cg);
	(void)hk_fmt(path, sizeof(path), "%s%s/init.scope", v2->mount, oci_cgroup_path(cg));
	assert_int_equal(mkdir(path, 0755), 0);
	(void)hk_fmt(path, sizeof(path), "%d", (int)init);
	assert_int_equal(cg_dir_write(&leaf, "init.scope/cgroup.procs", path), 0);
	assert_int_equal(cg_dir_write(&leaf, "cgroup.subtree_control", "+hugetlb"), 0);
	exec = fork();
	if (exec == 0) {
		hk_autofree char *text = NULL;
		size_t len;

		if (oci_cgroup_enter(cg, 0, false, NULL) != -EBUSY) /* nobody to follow */
			_exit(1);
		if (oci_cgroup_enter(cg, getpid(), false, NULL) != -EBUSY) /* a process elsewhere is not followed */
			_exit(2);
		if (oci_cgroup_enter(cg, init, false, NULL) < 0)
			_exit(3);
		if (hk_read_file_alloc(AT_FDCWD, "/proc/self/cgroup", 1 << 16, &text, &len) < 0)
			_exit(4);
		_exit(strstr(text, "/husk-test-v2/delegated/init.scope\n") ? 0 : 5);
	}
	assert_int_equal(waitpid(exec, &status, 0), exec);
	assert_int_equal(status, 0);
	kill_and_reap(cg, init);
	cg_dir_done(&leaf);
	remove_ok(cg);
}

static void test_devices(void **state)
{
	struct oci_dev_rule rules[] = {
		{ .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true },
		{ .allow = true, .type = 'c', .major = 1, .minor = 11, .read = true },
	};
	struct oci_resources r = { .devices = rules, .n_devices = 2 };
	struct oci_cgroup *cg = create_ok("/husk-test-v2/devices", &r);
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		if (try_open("/dev/kmsg") != 0 || try_open("/dev/null") != 0)
			_exit(2);
		_exit(open("/dev/kmsg", O_WRONLY | O_CLOEXEC) < 0 && errno == EPERM ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	remove_ok(cg);
}

/* v2's filter program, on the v2 tree any host has since 4.15: loads, decides, is replaced. */
static void test_bpf(void **state)
{
	struct oci_dev_rule kmsg = { .allow = true, .type = 'c', .major = 1, .minor = 11, .read = true };
	const struct cg_hier *v2 = &only_v2.h[0];
	char path[PATH_MAX], procs[PATH_MAX];
	hk_autofd fd = -1;
	struct hk_err err = { 0 };
	size_t kept;

	(void)state;
	assert_int_equal(cg_tree_make(v2, "/husk-test-bpf", &kept), 0);
	assert_int_equal(cg_abs(v2, "/husk-test-bpf", path), 0);
	assert_true(hk_fmt(procs, sizeof(procs), "%s/cgroup.procs", path) > 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t n = 0; n < 3; n++) { /* defaults; with kmsg; defaults again */
		pid_t pid;
		int status;

		if (cg_bpf_apply(fd, &kmsg, n == 1, &err) < 0)
			fail_msg("%s", err.text);
		pid = fork();
		if (pid == 0) {
			char node[] = "/dev/husk-test-node"; /* /tmp may be a mount with nodev */

			if (hk_write_file_at(AT_FDCWD, procs, "0") < 0)
				_exit(1);
			if (try_open("/dev/null") != 0 || try_open("/dev/urandom") != 0)
				_exit(2);
			if (try_open("/dev/kmsg") != (n == 1 ? 0 : EPERM))
				_exit(3);
			unlink(node);
			if (mknod(node, S_IFCHR | 0600, makedev(10, 229)) < 0) /* any may be made ... */
				_exit(4);
			status = try_open(node); /* ... and not be opened */
			unlink(node);
			_exit(status == EPERM ? 0 : 5);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(cg_tree_remove(v2, "/husk-test-bpf"), 0);
}

/* A program that opens devices all the time sees no moment in which it may not, nor one in which it may do more. */
static void test_bpf_replaced_in_use(void **state)
{
	enum { TURNS = 2000 };
	const struct cg_hier *v2 = &only_v2.h[0];
	struct oci_dev_rule random = { .allow = true, .type = 'c', .major = 1, .minor = 8, .read = true };
	char path[PATH_MAX], procs[PATH_MAX];
	hk_autofd fd = -1;
	struct hk_err err = { 0 };
	int status, ready[2];
	size_t kept;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(cg_tree_make(v2, "/husk-test-bpf", &kept), 0);
	assert_int_equal(cg_abs(v2, "/husk-test-bpf", path), 0);
	assert_true(hk_fmt(procs, sizeof(procs), "%s/cgroup.procs", path) > 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(cg_bpf_apply(fd, &random, 0, &err), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		if (hk_write_file_at(AT_FDCWD, procs, "0") < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		while (getppid() != 1) { /* killed by then */
			if (try_open("/dev/null") != 0)
				_exit(2);
			if (try_open("/dev/kmsg") != EPERM)
				_exit(3);
		}
		_exit(4);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	for (int i = 0; i < TURNS; i++)
		assert_int_equal(cg_bpf_apply(fd, &random, (size_t)(i % 2), &err), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	(void)close(ready[0]);
	(void)close(ready[1]);
	assert_int_equal(cg_tree_remove(v2, "/husk-test-bpf"), 0);
}

/* A unified host has its controllers on in the root; another finds its own setting again. */
static int root_setting(void **state)
{
	static bool was_on;
	struct cg_dir root;
	char buf[256];
	int r = 0;

	cg_dir_init(&root, &only_v2.h[0], "/");
	if (!*state) {
		was_on = cg_read(&root, "cgroup.subtree_control", buf, sizeof(buf)) < 0 || strstr(buf, "hugetlb");
		*state = &was_on;
	} else if (!was_on) {
		r = cg_dir_write(&root, "cgroup.subtree_control", "-hugetlb");
	}
	cg_dir_done(&root);
	return r;
}

/* A cgroup inside the container's for one exec: born there, ended whole and alone, children in cgroups of its own making included. */
static void test_an_execs_own(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test-v2/exec", &r);
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
	pid_t init = clone_into(cg), pids[3];
	char path[PATH_MAX + 64];
	struct hk_err err = { 0 };
	int fd = -1, status, rc = -EBUSY;
	bool populated;

	(void)state;
	assert_true(oci_cgroup_sub_make(cg, "../e", &fd, &err) < 0);
	assert_int_equal(oci_cgroup_sub_end(cg, "e1"), 0); /* there is none */
	assert_int_equal(oci_cgroup_sub_make(cg, "e1", &fd, &err), 0);
	args.cgroup = (uint32_t)fd;
	for (int i = 0; i < 3; i++) {
		pids[i] = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		assert_true(pids[i] >= 0);
		while (pids[i] == 0)
			pause();
	}
	assert_int_equal(mkdirat(fd, "deeper", 0755), 0);
	assert_int_equal(hk_fmt(path, sizeof(path), "%d", (int)pids[2]) > 0, 1);
	assert_int_equal(hk_write_file_at(fd, "deeper/cgroup.procs", path), 0);
	close(fd);
	for (int i = 0; i < 1000 && rc == -EBUSY; i++) {
		rc = oci_cgroup_sub_end(cg, "e1");
		for (int k = 0; k < 3; k++)
			if (pids[k] > 0 && waitpid(pids[k], &status, WNOHANG) == pids[k])
				pids[k] = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : -1;
		usleep(1000);
	}
	assert_int_equal(rc, 0);
	for (int k = 0; k < 3; k++)
		assert_int_equal(pids[k], 0);
	assert_int_equal(hk_fmt(path, sizeof(path), "%s/husk-test-v2/exec/husk-exec-e1", only_v2.h[0].mount) > 0, 1);
	assert_int_equal(access(path, F_OK), -1);
	populated = !oci_cgroup_is_empty(cg);
	assert_true(populated); /* the init was not touched */
	assert_int_equal(kill(init, 0), 0);
	kill_and_reap(cg, init);
	remove_ok(cg);
}

/* Removed under the descriptor that a process was to be born by, as systemd removes its scopes: an error, and no pidfd to close. */
static void test_born_in_a_removed_one(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test-v2/removed", &r);
	int pidfd = -1;
	struct oci_clone c = { .cgroup_fd = dup(oci_cgroup_clone_fd(cg)), .ret_pidfd = &pidfd, .exit_signal = SIGCHLD };
	pid_t pid;

	(void)state;
	remove_ok(cg);
	pid = oci_clone(&c);
	if (pid == 0)
		_exit(0);
	assert_int_equal(pid, -ENOENT);
	assert_int_equal(pidfd, -1);
	close(c.cgroup_fd);
}

/* v2 freezes in an interruptible sleep: who is frozen there dies of SIGKILL, so nobody is named. (State D: tests/e2e/test_exits.py.) */
static void test_the_frozen_are_not_stuck(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test-v2/stuck", &r);
	pid_t pid = clone_into(cg);
	char text[200];

	(void)state;
	assert_false(oci_cgroup_stuck(cg, text, sizeof(text)));
	assert_int_equal(oci_cgroup_freeze(cg, true, NULL), 0);
	for (int i = 0; i < 5000 && oci_cgroup_frozen(cg) != 1; i++)
		usleep(1000);
	assert_int_equal(oci_cgroup_frozen(cg), 1);
	assert_false(oci_cgroup_stuck(cg, text, sizeof(text)));
	kill_and_reap(cg, pid);
	remove_ok(cg);
}

/* Of one of two that are let go at once; what it answers is its exit status. */
static pid_t create_when_told(const char *path, const struct oci_resources *r, const int gate[2])
{
	pid_t pid = fork();
	struct oci_cgroup *cg = NULL;
	struct hk_err err = { 0 };
	char c;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	close(gate[1]);
	if (cg_open_on(&only_v2, path, "x", &cg, &err) < 0 || read(gate[0], &c, 1) != 0)
		_exit(2);
	if (oci_cgroup_create(cg, r, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		_exit(1);
	}
	_exit(0);
}

/* The first two below a new parent: one makes it and enables the controllers, the other comes while the kernel is at it. */
static void test_two_below_a_new_parent(void **state)
{
	static const char *const paths[] = { "/husk-test-v2/new/one", "/husk-test-v2/new/two" };
	struct oci_hugepage page = { .page_size = (char *)(uintptr_t)"2MB", .limit = 2 << 20 };
	struct oci_resources r = { 0 };

	(void)state;
	if (only_v2.h[0].ctls & CG_BIT(CG_HUGETLB)) {
		r.hugepages = &page;
		r.n_hugepages = 1;
	}
	if (only_v2.h[0].ctls & CG_BIT(CG_CPU))
		r.cpu.shares = (struct oci_opt_u64){ .is_set = true, .v = 512 };
	if (only_v2.h[0].ctls & CG_BIT(CG_PIDS))
		r.pids_limit = (struct oci_opt_i64){ .is_set = true, .v = 100 };
	for (int i = 0; i < 200; i++) {
		int gate[2], failed = 0;
		pid_t pids[2];

		assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
		for (int k = 0; k < 2; k++)
			pids[k] = create_when_told(paths[k], &r, gate);
		close(gate[0]);
		close(gate[1]);
		for (int k = 0; k < 2; k++) {
			int status;

			assert_int_equal(waitpid(pids[k], &status, 0), pids[k]);
			failed += status != 0;
		}
		for (int k = 0; k < 2; k++) {
			struct oci_cgroup *cg = NULL;

			assert_int_equal(cg_open_on(&only_v2, paths[k], "x", &cg, NULL), 0);
			assert_int_equal(oci_cgroup_remove(cg, NULL), 0);
			oci_cgroup_free(cg);
		}
		if (failed)
			fail_msg("round %d: %d of 2 failed", i, failed);
	}
}

/* What the mount alone tells is what mountinfo says of it; a part of a hierarchy, another file system and nothing are not taken for the whole. */
static void test_known_without_mountinfo(void **state)
{
	const struct cg_hier *want;
	hk_auto(cg_host_done) struct cg_host host = { 0 }, by_text = { 0 };
	hk_autofree char *text = NULL;
	char below[PATH_MAX];
	struct stat st;
	size_t len;

	(void)state;
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, "/proc/self/mountinfo", 1 << 24, &text, &len), 0);
	assert_int_equal(cg_host_parse(text, &by_text), 0);
	want = cg_host_v2(&by_text);
	assert_non_null(want);
	(void)snprintf(below, sizeof(below), "%s/husk-test-part", want->mount);
	assert_int_equal(mkdir(below, 0755), 0);
	assert_false(cg_host_whole_v2(below, &(struct cg_host){ 0 }));
	assert_int_equal(rmdir(below), 0);
	assert_false(cg_host_whole_v2("/proc", &(struct cg_host){ 0 }));
	assert_false(cg_host_whole_v2("/nowhere", &(struct cg_host){ 0 }));
	assert_int_equal(stat(want->mount, &st), 0);
	assert_int_equal(cg_host_whole_v2(want->mount, &host), st.st_ino == 1); /* else this machine is a container with a cgroup namespace */
	if (host.n == 0)
		return;
	assert_int_equal(host.mode, OCI_CGROUP_UNIFIED);
	assert_int_equal(host.n, 1);
	assert_true(host.h[0].is_v2);
	assert_string_equal(host.h[0].mount, want->mount);
	assert_string_equal(host.h[0].root, want->root);
	assert_string_equal(host.h[0].root, "/");
	assert_string_equal(host.h[0].dev, want->dev);
	assert_int_equal(host.h[0].ctls, want->ctls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_enter_delegated),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_bpf),
		cmocka_unit_test(test_bpf_replaced_in_use),
		cmocka_unit_test(test_an_execs_own),
		cmocka_unit_test(test_born_in_a_removed_one),
		cmocka_unit_test(test_the_frozen_are_not_stuck),
		cmocka_unit_test(test_two_below_a_new_parent),
		cmocka_unit_test(test_known_without_mountinfo),
	};

	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	if (!cg_host_get() || !cg_host_v2(cg_host_get())) {
		puts("needs a mounted cgroup v2 tree");
		return 77;
	}
	only_v2 = (struct cg_host){ .mode = OCI_CGROUP_UNIFIED, .n = 1, .h = { *cg_host_v2(cg_host_get()) } };
	return cmocka_run_group_tests(tests, root_setting, root_setting);
}
