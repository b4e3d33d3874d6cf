/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/test_root_files_attack.c — images and neighbours that try to have the engine mount, make or write something
 * where it should not: each known way is tried, and what it would have reached is looked at. (with: files_helpers.c)
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/sysmacros.h>

#include "tests/oci/files_helpers.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

static const struct oci_mount proc_mount = { .destination = "/proc", .type = "proc", .source = "proc" };

static void make_link(const struct world *w, const char *target, const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", w->rootfs, name);
	assert_int_equal(symlink(target, path), 0);
}

/* What attacks aim at: a directory of the host beside the bundle, with one file. */
static void make_outside(const struct world *w)
{
	make_dir(w->dir, "outside");
	make_file(w->dir, "outside/file", "host");
}

static void assert_outside_untouched(const struct world *w)
{
	char path[160];
	hk_autofree char *text = NULL;
	size_t n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/outside", w->dir);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n++;
	assert_int_equal(closedir(d), 0);
	assert_int_equal(n, 3);
	(void)snprintf(path, sizeof(path), "%s/outside/file", w->dir);
	text = read_all(path);
	assert_non_null(text);
	assert_string_equal(text, "host");
}

static bool is_null(const char *path)
{
	return is_char(path, 1, 3, 0666);
}

/* CVE-2026-41579, CVE-2026-47766: /dev is a link out of the root. */
static void check_dev_link(struct scene *sc)
{
	(void)sc;
	CHECK(is_null("/outside/null") && is_null("/dev/null"));
}

static void test_dev_is_a_link(void **state)
{
	static const char *const targets[] = { "../../outside", "/../../../outside", "/outside" };
	struct world *w = *state;

	make_outside(w);
	for (size_t i = 0; i < HK_ARRAY_SIZE(targets); i++) {
		struct scene sc = { .w = w, .check = check_dev_link };
		char path[160];

		make_link(w, targets[i], "dev");
		run_scene(&sc);
		assert_outside_untouched(w);
		(void)snprintf(path, sizeof(path), "%s/dev", w->rootfs);
		assert_int_equal(unlink(path), 0);
	}
}

/* CVE-2019-19921, CVE-2023-27561: /proc or /sys is a link. */
static void test_proc_is_a_link(void **state)
{
	struct oci_mount mounts[] = { proc_mount, { .destination = "/sys", .type = "sysfs", .source = "sysfs" } };
	struct world *w = *state;

	make_link(w, "etc", "proc");
	make_link(w, "/nowhere", "sys");
	for (size_t i = 0; i < HK_ARRAY_SIZE(mounts); i++) {
		struct scene sc = { .w = w, .expect = -ENOTDIR, .expect_text = mounts[i].destination };

		sc.spec.mounts = &mounts[i];
		sc.spec.n_mounts = 1;
		run_scene(&sc);
	}
}

static void check_dest_links(struct scene *sc)
{
	char line[2048];

	CHECK(find_mount(sc, "/outside", line, sizeof(line)) && strstr(line, "one"));
	CHECK(find_mount(sc, "/made/later", line, sizeof(line)) && strstr(line, "two"));
	CHECK(find_mount(sc, "/outside/bind", line, sizeof(line)));
}

static void test_destination_is_a_link(void **state)
{
	struct oci_mount mounts[] = {
		proc_mount,
		{ .destination = "/out", .type = "tmpfs", .source = "one" },
		{ .destination = "/dangling", .type = "tmpfs", .source = "two" },
		{ .destination = "/out/bind", .type = "bind", .source = "/dev/null", .options = WORDS("bind") },
	};
	struct world *w = *state;
	struct scene sc = { .w = w, .check = check_dest_links };

	make_outside(w);
	make_link(w, "../../../../../../outside", "out");
	make_link(w, "/made/later", "dangling");
	sc.spec.mounts = mounts;
	sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
	run_scene(&sc);
	assert_outside_untouched(w);
}

/* CVE-2019-16884, CVE-2025-52881: something over /proc, or over a file in it. */
static void test_mount_over_proc(void **state)
{
	struct {
		struct oci_mount m;
		int error;
	} cases[] = {
		{ { .destination = "/proc", .type = "tmpfs", .source = "t" }, -EPERM },
		{ { .destination = "//proc/./", .type = "tmpfs", .source = "t" }, -EPERM },
		{ { .destination = "/aka", .type = "tmpfs", .source = "t" }, -EPERM },
		{ { .destination = "/etc/../proc/sys", .type = "tmpfs", .source = "t" }, -EPERM },
		{ { .destination = "/proc/self/attr", .type = "tmpfs", .source = "t" }, -EPERM },
		{ { .destination = "/proc", .type = "bind", .source = "vol", .options = WORDS("rbind") }, -EPERM },
		{ { .destination = "/proc/sys/kernel/hostname", .type = "bind", .source = "/dev/null", .options = WORDS("bind") }, -EPERM },
		{ { .destination = "/proc/self/root", .type = "tmpfs", .source = "t" }, -ELOOP },
		{ { .destination = "/proc", .type = "bind", .source = "/proc", .options = WORDS("rbind") }, 0 },
		{ { .destination = "/proc/uptime", .type = "bind", .source = "/dev/null", .options = WORDS("bind") }, 0 },
		{ { .destination = "/proc", .type = "proc", .source = "proc" }, 0 },
		{ { .destination = "/procession", .type = "tmpfs", .source = "t" }, 0 },
	};
	struct world *w = *state;

	make_dir(w->bundle, "vol");
	make_link(w, "proc", "aka");
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		struct oci_mount mounts[] = { proc_mount, cases[i].m };
		struct scene sc = { .w = w, .expect = cases[i].error, .expect_text = cases[i].m.destination };

		sc.spec.mounts = mounts;
		sc.spec.n_mounts = 2;
		run_scene(&sc);
	}
}

/* CVE-2025-31133: the image's /dev/null leads to what a mask hides. */
static void check_mask_null(struct scene *sc)
{
	char line[2048];

	CHECK(is_null("/etc/image") && is_null("/dev/null"));
	CHECK(find_mount(sc, "/etc/image", line, sizeof(line)) && strstr(line, "/null"));
}

static void test_mask_with_false_null(void **state)
{
	struct oci_mount mounts[] = { proc_mount };
	struct world *w = *state;
	struct scene sc = { .w = w, .check = check_mask_null };
	hk_autofree char *before = read_all("/proc/sys/kernel/core_pattern"), *after = NULL;

	make_dir(w->rootfs, "dev");
	make_link(w, "/proc/sys/kernel/core_pattern", "dev/null");
	sc.spec.mounts = mounts;
	sc.spec.n_mounts = 1;
	sc.spec.masked_paths = (struct oci_strv)WORDS("/etc/image");
	run_scene(&sc);
	after = read_all("/proc/sys/kernel/core_pattern");
	assert_string_equal(before, after);
}

/* CVE-2025-52565: the terminal's names belong to the image. */
static void check_console(struct scene *sc)
{
	hk_autofree char *text = read_all("/etc/image");
	struct stat st;

	(void)sc;
	CHECK(text && strcmp(text, "image") == 0);
	CHECK(lstat("/dev/console", &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 136);
	CHECK(lstat("/outside-console", &st) < 0);
}

static void test_console_is_a_link(void **state)
{
	struct oci_mount mounts[] = { proc_mount,
		{ .destination = "/dev/pts", .type = "devpts", .source = "devpts", .options = WORDS("newinstance", "ptmxmode=0666") } };
	static const char *const targets[] = { "/etc/image", "/outside-console", "/proc/sys/kernel/core_pattern" };
	struct world *w = *state;
	char path[160];

	make_dir(w->rootfs, "dev");
	(void)snprintf(path, sizeof(path), "%s/dev/console", w->rootfs);
	for (size_t i = 0; i < HK_ARRAY_SIZE(targets); i++) {
		struct scene sc = { .w = w, .check = check_console };

		(void)unlink(path);
		make_link(w, targets[i], "dev/console");
		sc.spec.mounts = mounts;
		sc.spec.n_mounts = 2;
		sc.s.terminal = true;
		run_scene(&sc);
	}
}

static void test_false_ptmx(void **state)
{
	struct world *w = *state;
	struct scene sc = { .w = w, .expect = -ENOENT, .expect_text = "/dev/pts/ptmx" };
	char path[160];

	sc.s.terminal = true;
	run_scene(&sc); /* no devpts at all */
	make_dir(w->rootfs, "dev/pts");
	(void)snprintf(path, sizeof(path), "%s/dev/pts/ptmx", w->rootfs);
	assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(5, 2)), 0); /* a ptmx, but of the host's devpts */
	sc.expect = -ENOTTY;
	run_scene(&sc);
	assert_int_equal(unlink(path), 0);
	make_link(w, "/etc/image", "dev/pts/ptmx");
	run_scene(&sc);
}

/* CVE-2024-21626: a working directory behind a descriptor of the engine. */
static void leak_root(struct scene *sc)
{
	(void)sc;
	CHECK(dup2(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), 60) == 60);
}

static void test_cwd_by_descriptor(void **state)
{
	struct oci_mount mounts[] = { proc_mount };
	struct scene sc = { .w = *state, .before = leak_root, .expect = -ELOOP, .expect_text = "make working directory" };

	sc.spec.mounts = mounts;
	sc.spec.n_mounts = 1;
	sc.spec.has_process = true;
	sc.spec.process.cwd = "/proc/self/fd/60/tmp";
	run_scene(&sc);
	sc.spec.process.cwd = "/proc/self/cwd";
	run_scene(&sc);
	sc.spec.process.cwd = "/proc/self/fd/61";
	sc.expect = -ENOENT;
	run_scene(&sc);
}

/*
 * CVE-2021-30465, CVE-2024-45310: a neighbour swaps the destination for a link while it is being resolved, made and
 * mounted on.
 */
static void swap_until_killed(const struct world *w) __attribute__((noreturn));
static void swap_until_killed(const struct world *w)
{
	int dir = open(w->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)renameat2(dir, "volume", dir, "evil", RENAME_EXCHANGE);
}

static void check_race(struct scene *sc)
{
	hk_autofree char *info = read_all("/proc/self/mountinfo");
	size_t n = 0;

	(void)sc;
	CHECK(info);
	for (const char *p = info; (p = strstr(p, " raced ")); p++)
		n++;
	CHECK(n == 2);
}

static void test_destination_race(void **state)
{
	static const int no_openat2[] = { SYS_openat2, -1 };
	struct oci_mount mounts[] = {
		{ .destination = "/volume", .type = "tmpfs", .source = "raced" },
		{ .destination = "/volume/made/on/the/way", .type = "tmpfs", .source = "raced" },
		proc_mount,
	};
	struct world *w = *state;
	pid_t swapper;

	make_outside(w);
	make_dir(w->rootfs, "volume");
	make_link(w, "../../outside", "evil");
	swapper = fork();
	if (swapper == 0)
		swap_until_killed(w);
	assert_true(swapper > 0);
	for (int i = 0; i < 200; i++) {
		struct scene sc = { .w = w, .check = check_race, .absent = i % 2 ? no_openat2 : NULL };

		sc.spec.mounts = mounts;
		sc.spec.n_mounts = HK_ARRAY_SIZE(mounts);
		run_scene(&sc);
	}
	assert_int_equal(kill(swapper, SIGKILL), 0);
	assert_int_equal(waitpid(swapper, NULL, 0), swapper);
	assert_outside_untouched(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dev_is_a_link, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_proc_is_a_link, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_destination_is_a_link, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_mount_over_proc, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_mask_with_false_null, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_console_is_a_link, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_false_ptmx, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_cwd_by_descriptor, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_destination_race, world_set_up, world_tear_down),
	};

	if (geteuid() != 0) {
		(void)puts("needs root: skipped");
		return 77;
	}
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
