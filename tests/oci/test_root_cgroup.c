/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_root_cgroup.c — cgroups on the kernel this runs on: made with limits, entered, frozen, killed, measured, removed. Each expectation
 * is read back from the kernel's files. Values are looked up where the host has the controller, v1 or v2.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/cgroup_priv.h"
#include "oci/cgroup_stats.h"

#define SET(value) { .is_set = true, .v = (value) }
#define MiB (1024 * 1024)

static struct oci_cgroup *open_ok(const char *path)
{
	struct oci_cgroup *cg = NULL;
	struct hk_err err = { 0 };

	if (oci_cgroup_open(path, "t1", &cg, &err) < 0)
		fail_msg("%s", err.text);
	return cg;
}

static struct oci_cgroup *create_ok(const char *path, const struct oci_resources *r)
{
	struct oci_cgroup *cg = open_ok(path);
	struct hk_err err = { 0 };

	if (oci_cgroup_create(cg, r, &err) < 0)
		fail_msg("%s", err.text);
	return cg;
}

static void remove_ok(struct oci_cgroup *cg)
{
	struct hk_err err = { 0 };
	int r = -EBUSY;

	for (int i = 0; i < 500 && r == -EBUSY; i++) {
		r = oci_cgroup_remove(cg, &err);
		if (r == -EBUSY)
			usleep(2000);
	}
	if (r < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < cg->host->n; i++)
		assert_int_equal(cg_open_leaf(&cg->host->h[i], oci_cgroup_path(cg)), -ENOENT);
	oci_cgroup_free(cg);
}

/* The file's text in the controller's hierarchy; v1's name, or v2's. */
static void read_ctl(const struct oci_cgroup *cg, enum cg_ctl ctl, const char *v1, const char *v2, char buf[256])
{
	const struct cg_hier *h = cg_host_find(cg_host_get(), ctl);
	struct cg_dir d;
	ssize_t n;

	assert_non_null(h);
	cg_dir_init(&d, h, oci_cgroup_path(cg));
	n = cg_read(&d, h->is_v2 ? v2 : v1, buf, 256);
	cg_dir_done(&d);
	if (n < 0)
		fail_msg("read %s: %s", h->is_v2 ? v2 : v1, hk_errno_name((int)-n));
}

static bool is_v1(enum cg_ctl ctl)
{
	const struct cg_hier *h = cg_host_find(cg_host_get(), ctl);

	return h && !h->is_v2;
}

/* Enters the cgroup and waits; with_grandchild: a second process, forked inside. */
static pid_t spawn_inside(const struct oci_cgroup *cg, bool with_grandchild)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		if (with_grandchild && fork() < 0)
			_exit(2);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	for (int i = 0; i < (with_grandchild ? 2 : 1); i++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_and_reap(struct oci_cgroup *cg, pid_t pid)
{
	struct hk_err err = { 0 };
	int status;

	if (oci_cgroup_signal_all(cg, SIGKILL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	for (int i = 0; i < 1000 && !oci_cgroup_is_empty(cg); i++)
		usleep(1000);
	assert_true(oci_cgroup_is_empty(cg));
}

static void test_limits(void **state)
{
	struct oci_dev_rule deny = { .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true };
	struct oci_resources r = {
		.devices = &deny,
		.n_devices = 1,
		.memory = { .limit = SET(64 * MiB), .swap = SET(64 * MiB), .reservation = SET(32 * MiB) },
		.cpu = { .shares = SET(512), .quota = SET(50000), .period = SET(100000), .cpus = "0" },
		.pids_limit = SET(77),
	};
	struct oci_cgroup *cg = create_ok("/husk-test/limits", &r);
	char buf[256];

	(void)state;
	read_ctl(cg, CG_MEMORY, "memory.limit_in_bytes", "memory.max", buf);
	assert_string_equal(buf, "67108864");
	read_ctl(cg, CG_MEMORY, "memory.soft_limit_in_bytes", "memory.low", buf);
	assert_string_equal(buf, "33554432");
	read_ctl(cg, CG_PIDS, "pids.max", "pids.max", buf);
	assert_string_equal(buf, "77");
	read_ctl(cg, CG_CPU, "cpu.shares", "cpu.weight", buf);
	assert_string_equal(buf, is_v1(CG_CPU) ? "512" : "59");
	read_ctl(cg, CG_CPU, "cpu.cfs_quota_us", "cpu.max", buf);
	assert_string_equal(buf, is_v1(CG_CPU) ? "50000" : "50000 100000");
	read_ctl(cg, CG_CPUSET, "cpuset.cpus", "cpuset.cpus", buf);
	assert_string_equal(buf, "0");
	if (is_v1(CG_CPUSET)) { /* from above, or no process could enter */
		read_ctl(cg, CG_CPUSET, "cpuset.mems", "cpuset.mems", buf);
		assert_string_not_equal(buf, "");
	}
	if (is_v1(CG_DEVICES)) {
		read_ctl(cg, CG_DEVICES, "devices.list", "", buf);
		assert_null(strstr(buf, "a *:* rwm"));
		assert_non_null(strstr(buf, "c 1:3 rwm"));
		assert_non_null(strstr(buf, "c *:* m"));
		assert_non_null(strstr(buf, "c 10:200 rwm"));
	}
	remove_ok(cg);
}

static void update_ok(struct oci_cgroup *cg, const struct oci_resources *r)
{
	struct hk_err err = { 0 };

	if (oci_cgroup_update(cg, r, &err) < 0)
		fail_msg("%s", err.text);
}

static void test_update(void **state)
{
	struct oci_resources first = { .memory = { .limit = SET(64 * MiB), .swap = SET(96 * MiB) },
		.cpu = { .quota = SET(50000), .period = SET(100000) }, .pids_limit = SET(10) };
	struct oci_resources grow = { .memory = { .limit = SET(256 * MiB), .swap = SET(256 * MiB) }, .cpu = { .quota = SET(200000) } };
	struct oci_resources shrink = { .memory = { .limit = SET(32 * MiB), .swap = SET(32 * MiB) },
		.cpu = { .quota = SET(1000), .period = SET(10000) } };
	struct oci_resources none = { .memory = { .limit = SET(-1) }, .cpu = { .quota = SET(-1) }, .pids_limit = SET(-1) };
	struct oci_cgroup *cg = create_ok("/husk-test/update", &first);
	char buf[256];

	(void)state;
	update_ok(cg, &grow);
	read_ctl(cg, CG_MEMORY, "memory.limit_in_bytes", "memory.max", buf);
	assert_string_equal(buf, "268435456");
	read_ctl(cg, CG_PIDS, "pids.max", "pids.max", buf);
	assert_string_equal(buf, "10"); /* not named, not touched */
	read_ctl(cg, CG_CPU, "cpu.cfs_quota_us", "cpu.max", buf);
	assert_string_equal(buf, is_v1(CG_CPU) ? "200000" : "200000 100000");
	update_ok(cg, &shrink);
	read_ctl(cg, CG_MEMORY, "memory.limit_in_bytes", "memory.max", buf);
	assert_string_equal(buf, "33554432");
	read_ctl(cg, CG_CPU, "cpu.cfs_quota_us", "cpu.max", buf);
	assert_string_equal(buf, is_v1(CG_CPU) ? "1000" : "1000 10000");
	update_ok(cg, &none);
	read_ctl(cg, CG_PIDS, "pids.max", "pids.max", buf);
	assert_string_equal(buf, "max");
	read_ctl(cg, CG_MEMORY, "memory.limit_in_bytes", "memory.max", buf);
	assert_string_not_equal(buf, "33554432");
	remove_ok(cg);
}

/* A limit below what is in use is refused, and both old limits stay. */
static void test_update_below_usage(void **state)
{
	struct oci_resources r = { .memory = { .limit = SET(64 * MiB), .swap = SET(64 * MiB) } };
	struct oci_resources tiny = { .memory = { .limit = SET(1 * MiB), .swap = SET(1 * MiB), .check_before_update = SET(1) } };
	struct oci_cgroup *cg = create_ok("/husk-test/usage", &r);
	struct hk_err err = { 0 };
	char buf[256];
	int ready[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char *p;

		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		p = malloc(16 * MiB);
		if (!p)
			_exit(1);
		memset(p, 1, 16 * MiB);
		(void)!write(ready[1], p, 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], buf, 1), 1);
	close(ready[0]);
	assert_int_equal(oci_cgroup_update(cg, &tiny, &err), -EBUSY);
	assert_int_equal(err.kind, HK_INVALID);
	assert_non_null(strstr(err.text, "in use"));
	read_ctl(cg, CG_MEMORY, "memory.limit_in_bytes", "memory.max", buf);
	assert_string_equal(buf, "67108864");
	if (is_v1(CG_MEMORY)) {
		read_ctl(cg, CG_MEMORY, "memory.memsw.limit_in_bytes", "", buf);
		assert_string_equal(buf, "67108864");
	}
	assert_int_equal(oci_cgroup_signal_all(cg, SIGKILL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	remove_ok(cg);
}

static void test_pids_and_kill(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test/kill", &r);
	hk_autofree pid_t *pids = NULL;
	size_t n = 0;
	pid_t pid;

	(void)state;
	assert_true(oci_cgroup_is_empty(cg));
	pid = spawn_inside(cg, true);
	assert_false(oci_cgroup_is_empty(cg));
	assert_int_equal(oci_cgroup_pids(cg, &pids, &n), 0);
	assert_int_equal(n, 2);
	assert_true(pids[0] < pids[1]);
	assert_int_equal(pids[0], pid);
	assert_int_equal(oci_cgroup_remove(cg, NULL), -EBUSY);
	kill_and_reap(cg, pid);
	remove_ok(cg);
}

static void wait_frozen(const struct oci_cgroup *cg, int wanted)
{
	int r = -1;

	for (int i = 0; i < 2000; i++) {
		r = oci_cgroup_frozen(cg);
		if (r == wanted)
			return;
		usleep(1000);
	}
	fail_msg("frozen is %d, wanted %d", r, wanted);
}

static void test_freeze(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test/freeze", &r);
	struct oci_cgroup *below = open_ok("/husk-test/freeze/below");
	struct hk_err err = { 0 };
	pid_t pid = spawn_inside(cg, true);

	(void)state;
	assert_int_equal(oci_cgroup_frozen(cg), 0);
	assert_int_equal(oci_cgroup_freeze(cg, true, NULL), 0);
	wait_frozen(cg, 1);
	/* A child of a frozen cgroup would never say it is ready. */
	assert_int_equal(oci_cgroup_create(below, &r, &err), -EBUSY);
	assert_int_equal(err.kind, HK_BAD_STATE);
	assert_non_null(strstr(err.text, "frozen"));
	for (size_t i = 0; i < cg->host->n; i++)
		assert_int_equal(cg_open_leaf(&cg->host->h[i], "/husk-test/freeze/below"), -ENOENT);
	assert_int_equal(oci_cgroup_freeze(cg, false, NULL), 0);
	wait_frozen(cg, 0);
	assert_int_equal(oci_cgroup_freeze(cg, true, NULL), 0);
	wait_frozen(cg, 1);
	kill_and_reap(cg, pid); /* frozen as it is */
	oci_cgroup_free(below);
	remove_ok(cg);
}

/* The way without cgroup.kill, as if the host had no v2 side; against a fork bomb it takes rounds, but ends. */
static void test_kill_without_v2(void **state)
{
	struct cg_host host = *cg_host_get();
	struct oci_cgroup *cg = NULL;
	struct oci_resources r = { .pids_limit = SET(40) };
	hk_autofree pid_t *pids = NULL;
	pid_t pid;
	size_t n = 0;

	(void)state;
	if (host.mode == OCI_CGROUP_UNIFIED)
		skip();
	for (size_t i = 0; i < host.n; i++) {
		if (!host.h[i].is_v2)
			host.h[n++] = host.h[i];
	}
	host.n = n;
	host.mode = OCI_CGROUP_LEGACY;
	assert_int_equal(cg_open_on(&host, "/husk-test/v1only", "x", &cg, NULL), 0);
	assert_int_equal(oci_cgroup_create(cg, &r, NULL), 0);
	pid = fork();
	if (pid == 0) { /* forks as fast as the limit lets it; each child does the same */
		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		for (;;)
			(void)!fork();
	}
	for (int i = 0; i < 1000 && (oci_cgroup_pids(cg, &pids, &n) < 0 || n < 10); i++) {
		free(hk_take_ptr(pids));
		usleep(1000);
	}
	assert_true(n >= 10);
	for (int i = 0; i < 1000 && !oci_cgroup_is_empty(cg); i++) {
		assert_int_equal(oci_cgroup_signal_all(cg, SIGKILL, NULL), 0);
		usleep(1000);
	}
	assert_true(oci_cgroup_is_empty(cg));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	remove_ok(cg);
}

static void test_existing(void **state)
{
	struct oci_resources limited = { .pids_limit = SET(5) }, r = { 0 }, bad = { .cpu = { .cpus = "none" } };
	struct oci_cgroup *a = create_ok("/husk-test/existing", &limited), *b, *c;
	struct hk_err err = { 0 };
	char buf[256];
	pid_t pid;

	(void)state;
	/* Left by a crash, with a frozen state and a limit: the new one has neither. */
	assert_int_equal(oci_cgroup_freeze(a, true, NULL), 0);
	b = create_ok("/husk-test/existing", &r);
	read_ctl(b, CG_PIDS, "pids.max", "pids.max", buf);
	assert_string_equal(buf, "max");
	assert_int_equal(oci_cgroup_frozen(b), 0);
	pid = spawn_inside(b, false);
	c = open_ok("/husk-test/existing");
	assert_int_equal(oci_cgroup_create(c, &r, &err), -EBUSY);
	assert_int_equal(err.kind, HK_BAD_STATE);
	assert_false(oci_cgroup_is_empty(b)); /* unharmed */
	kill_and_reap(b, pid);
	oci_cgroup_free(c);
	remove_ok(b);
	/* A value the kernel refuses: told with the file, and nothing is left. */
	c = open_ok("/husk-test/refused/deeper");
	assert_true(oci_cgroup_create(c, &bad, &err) < 0);
	assert_int_equal(err.kind, HK_INVALID);
	assert_non_null(strstr(err.text, "cpuset.cpus"));
	for (size_t i = 0; i < c->host->n; i++)
		assert_int_equal(cg_open_leaf(&c->host->h[i], "/husk-test/refused"), -ENOENT);
	oci_cgroup_free(c);
	remove_ok(a);
}

/* What the container made below its own cgroup goes with it. */
static void test_remove_nested(void **state)
{
	struct oci_resources r = { 0 };
	struct oci_cgroup *cg = create_ok("/husk-test/nested", &r);
	char path[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < cg->host->n; i++) {
		static const char *const below[] = { "/a", "/a/b", "/a/b/c", "/d", "/d/e" };

		for (size_t k = 0; k < HK_ARRAY_SIZE(below); k++) {
			(void)hk_fmt(path, sizeof(path), "%s/husk-test/nested%s", cg->host->h[i].mount, below[k]);
			assert_int_equal(mkdir(path, 0755), 0);
		}
	}
	assert_true(oci_cgroup_is_empty(cg));
	remove_ok(cg);
}

static void test_gone(void **state)
{
	struct oci_cgroup *cg = open_ok("/husk-test/never-made");
	hk_autofree pid_t *pids = NULL;
	struct oci_stats s = { 0 };
	struct hk_err err = { 0 };
	struct oci_oom kills;
	size_t n = 1;

	(void)state;
	assert_true(oci_cgroup_is_empty(cg));
	assert_int_equal(oci_cgroup_pids(cg, &pids, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(oci_cgroup_signal_all(cg, SIGKILL, &err), 0);
	assert_int_equal(oci_cgroup_signal_all(cg, SIGTERM, &err), 0);
	assert_int_equal(oci_cgroup_oom_count(cg, &kills), -ENOENT);
	assert_int_equal(oci_cgroup_stats(cg, &s, &err), -ENOENT);
	assert_int_equal(err.kind, HK_NOT_FOUND);
	assert_int_equal(oci_cgroup_remove(cg, NULL), 0);
	oci_cgroup_free(cg);
}

static void test_oom(void **state)
{
	struct oci_resources r = { .memory = { .limit = SET(16 * MiB), .swap = SET(16 * MiB) } };
	struct oci_cgroup *cg = create_ok("/husk-test/oom", &r);
	struct oci_oom before = { .kills = 99 }, after = { 0 };
	uint32_t events = 0;
	struct pollfd p = { .fd = -1 };
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(oci_cgroup_oom_open(cg, &p.fd, &events), 0);
	assert_int_equal(oci_cgroup_oom_count(cg, &before), 0);
	assert_int_equal(before.kills, 0);
	pid = fork();
	if (pid == 0) {
		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		for (;;) {
			char *m = malloc(MiB);

			if (m)
				memset(m, 1, MiB);
		}
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	p.events = (short)events; /* EPOLLIN and EPOLLPRI have poll's values */
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(oci_cgroup_oom_count(cg, &after), 0);
	assert_true(after.kills >= 1);
	close(p.fd);
	remove_ok(cg);
}

static void test_stats(void **state)
{
	struct oci_resources r = { .memory = { .limit = SET(64 * MiB) }, .pids_limit = SET(9) };
	struct oci_cgroup *cg = create_ok("/husk-test/stats", &r);
	struct oci_stats s = { 0 };
	struct hk_err err = { 0 };
	pid_t pid = spawn_inside(cg, true);

	(void)state;
	if (oci_cgroup_stats(cg, &s, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(s.is_v1, oci_cgroup_host_mode() != OCI_CGROUP_UNIFIED);
	assert_true(s.has_pids && s.has_cpu && s.has_memory);
	assert_int_equal(s.pids_current, 2);
	assert_int_equal(s.pids_limit, 9);
	if (s.is_v1) {
		assert_int_equal(s.v1.memory.usage.limit, 64 * MiB);
		assert_true(s.v1.memory.usage.usage > 0);
		assert_true(s.v1.cpu.total > 0);
		assert_true(s.v1.cpu.n_per_cpu >= 1);
		assert_true(s.v1.has_oom_control);
	} else {
		assert_int_equal(s.v2.memory.usage_limit, 64 * MiB);
		assert_true(s.v2.memory.usage > 0);
		assert_true(s.v2.cpu.usage_usec > 0);
	}
	oci_stats_done(&s);
	kill_and_reap(cg, pid);
	remove_ok(cg);
}

static int try_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

/* The rules as the kernel sees them, by opening and making nodes from inside. */
static void test_devices(void **state)
{
	struct oci_dev_rule rules[] = {
		{ .type = 'a', .major = -1, .minor = -1, .read = true, .write = true, .mknod = true },
		{ .allow = true, .type = 'c', .major = 1, .minor = 11, .read = true },
	};
	struct oci_resources r = { .devices = rules, .n_devices = 1 }, with_kmsg = { .devices = rules, .n_devices = 2 };
	struct oci_cgroup *cg = create_ok("/husk-test/devices", &r), *cg2 = create_ok("/husk-test/devices2", &with_kmsg);
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		if (oci_cgroup_enter(cg, 0, false, NULL) < 0)
			_exit(1);
		if (try_open("/dev/null") != 0 || try_open("/dev/urandom") != 0)
			_exit(2);
		if (try_open("/dev/kmsg") != EPERM)
			_exit(3);
		if (oci_cgroup_enter(cg2, 0, false, NULL) < 0)
			_exit(4);
		_exit(try_open("/dev/kmsg") == 0 ? 0 : 5);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	remove_ok(cg);
	remove_ok(cg2);
}

/* Controllers that live on the v2 side of a hybrid host are switched on along the path when something is asked of them. */
static void test_hybrid_hugetlb(void **state)
{
	struct oci_hugepage page = { .page_size = "2MB", .limit = 4 * MiB };
	struct oci_resources r = { .hugepages = &page, .n_hugepages = 1 };
	const struct cg_hier *h = cg_host_find(cg_host_get(), CG_HUGETLB);
	struct oci_cgroup *cg;
	struct oci_stats s = { 0 };
	char before[256], buf[256];
	struct cg_dir root;

	(void)state;
	if (!h || !h->is_v2 || access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) < 0)
		skip();
	cg_dir_init(&root, h, "/");
	assert_true(cg_read(&root, "cgroup.subtree_control", before, sizeof(before)) >= 0);
	cg = create_ok("/husk-test/huge", &r);
	read_ctl(cg, CG_HUGETLB, "", "hugetlb.2MB.max", buf);
	assert_string_equal(buf, "4194304");
	assert_int_equal(oci_cgroup_stats(cg, &s, NULL), 0);
	assert_true(s.n_hugetlb >= 1);
	oci_stats_done(&s);
	remove_ok(cg);
	if (!strstr(before, "hugetlb"))
		assert_int_equal(cg_dir_write(&root, "cgroup.subtree_control", "-hugetlb"), 0);
	cg_dir_done(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_update_below_usage),
		cmocka_unit_test(test_pids_and_kill),
		cmocka_unit_test(test_freeze),
		cmocka_unit_test(test_kill_without_v2),
		cmocka_unit_test(test_existing),
		cmocka_unit_test(test_remove_nested),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_oom),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_hybrid_hugetlb),
	};

	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
