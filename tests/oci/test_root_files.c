/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/test_root_files.c — the file tree that containerd's ordinary container gets, made by the real steps and
 * read back from the kernel from inside; again with the newer calls answering ENOSYS; binds; rootfs mounts. More in
 * test_root_files_ns.c, the attacks in test_root_files_attack.c. (with: files_helpers.c)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/magic.h>
#include <sys/syscall.h>

#include "tests/oci/files_helpers.h"

static void check_default(struct scene *sc)
{
	struct stat st;
	char cwd[64];

	CHECK(fs_type("/proc") == PROC_SUPER_MAGIC && has_flags(sc, "/proc", "nosuid,noexec,nodev,rw"));
	CHECK(fs_type("/dev") == TMPFS_MAGIC && has_flags(sc, "/dev", "nosuid,!noexec,!nodev,!relatime,!noatime"));
	CHECK(mount_text_has(sc, "/dev", "size=65536k,mode=755"));
	CHECK(fs_type("/dev/pts") == DEVPTS_SUPER_MAGIC && mount_text_has(sc, "/dev/pts", "gid=5,mode=620,ptmxmode=666"));
	CHECK(fs_type("/dev/shm") == TMPFS_MAGIC && has_flags(sc, "/dev/shm", "nosuid,noexec,nodev,relatime"));
	CHECK(stat("/dev/shm", &st) == 0 && (st.st_mode & 07777) == 01777);
	CHECK(mount_text_has(sc, "/dev/mqueue", "|mqueue mqueue"));
	CHECK(fs_type("/sys") == SYSFS_MAGIC && has_flags(sc, "/sys", "ro,nosuid,noexec,nodev"));
	CHECK(fs_type("/run") == TMPFS_MAGIC);
	CHECK(is_link("/proc/self", "1")); /* of our own pid namespace */
	check_devices();
	check_masks(sc);
	CHECK(has_flags(sc, "/", "ro"));
	CHECK(mkdir("/new", 0755) < 0 && errno == EROFS);
	CHECK(stat("/srv/work", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0755);
	CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
	CHECK(stat("/tmp", &st) < 0); /* the host's names are gone */
	CHECK(!strstr(read_all("/proc/self/mountinfo"), "shared:"));
}

static void test_default(void **state)
{
	struct scene sc = { .w = *state, .check = check_default };

	add_default(&sc);
	run_scene(&sc);
}

/* The same tree, by other ways. */
static void test_default_without_new_calls(void **state)
{
	static const int sets[][8] = {
		{ SYS_openat2, -1 },
		{ SYS_mount_setattr, -1 },
		{ SYS_fsopen, -1 },
		{ SYS_open_tree, -1 },
		{ SYS_move_mount, -1 },
		{ SYS_openat2, SYS_mount_setattr, SYS_fsopen, SYS_open_tree, SYS_move_mount, SYS_fsmount, -1 },
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(sets); i++) {
		struct scene sc = { .w = *state, .check = check_default, .absent = sets[i] };

		add_default(&sc);
		run_scene(&sc);
	}
}

/* ---- binds ---- */

static struct oci_mount bind_mounts[] = {
	{ .destination = "/proc", .type = "proc", .source = "proc", .options = WORDS("nosuid", "noexec", "nodev") },
	{ .destination = "/vol/dir", .type = "bind", .source = "vol", .options = WORDS("rbind", "rw", "nosuid") },
	{ .destination = "/vol/ro", .type = "bind", .source = "vol", .options = WORDS("rbind", "rprivate", "ro") },
	{ .destination = "/vol/file", .type = "none", .source = "vol/file", .options = WORDS("bind", "ro", "noexec") },
	{ .destination = "/vol/null", .type = "bind", .source = "/dev/null", .options = WORDS("bind") },
	{ .destination = "/vol/again", .type = "bind", .source = "vol", .options = WORDS("bind") },
	{ .destination = "/vol/again", .type = "bind", .source = "", .options = WORDS("remount", "bind", "ro", "nodev") },
	{ .destination = "/ro", .type = "tmpfs", .source = "tmpfs", .options = WORDS("ro", "nosuid", "size=1m") },
	{ .destination = "/ro/in", .type = "bind", .source = "vol", .options = WORDS("bind") },
	{ .destination = "/etc", .type = "tmpfs", .source = "tmpfs", .options = WORDS("tmpcopyup", "nodev") },
};

static void check_binds(struct scene *sc)
{
	hk_autofree char *text = NULL;
	struct stat st;

	CHECK(has_flags(sc, "/vol/dir", "rw,nosuid"));
	CHECK(mkdir("/vol/dir/made", 0755) == 0 && rmdir("/vol/dir/made") == 0);
	CHECK(has_flags(sc, "/vol/ro", "ro"));
	CHECK(mkdir("/vol/ro/made", 0755) < 0 && errno == EROFS);
	CHECK(has_flags(sc, "/vol/file", "ro,noexec"));
	CHECK((text = read_all("/vol/file")) && strcmp(text, "volume") == 0);
	CHECK(is_char("/vol/null", 1, 3, 0666));
	CHECK(has_flags(sc, "/vol/again", "ro,nodev"));
	CHECK(has_flags(sc, "/ro", "ro,nosuid"));
	CHECK(access("/ro/in/file", F_OK) == 0); /* its place was made while the tmpfs was still writable */
	CHECK(fs_type("/etc") == TMPFS_MAGIC && has_flags(sc, "/etc", "nodev"));
	CHECK(stat("/etc/image", &st) == 0 && st.st_size == 5 && (st.st_mode & 07777) == 0640 && st.st_uid == 7);
	CHECK(stat("/etc", &st) == 0 && (st.st_mode & 07777) == 0711); /* a tmpfs takes the mode of what it covers */
	CHECK(is_link("/etc/link", "image"));
}

static void test_binds(void **state)
{
	static const int no_tree[] = { SYS_open_tree, SYS_mount_setattr, -1 };
	struct world *w = *state;
	char path[160];

	make_dir(w->bundle, "vol");
	make_file(w->bundle, "vol/file", "volume");
	(void)snprintf(path, sizeof(path), "%s/etc", w->rootfs);
	assert_int_equal(chmod(path, 0711), 0);
	(void)snprintf(path, sizeof(path), "%s/etc/link", w->rootfs);
	assert_int_equal(symlink("image", path), 0);
	(void)snprintf(path, sizeof(path), "%s/etc/image", w->rootfs);
	assert_int_equal(chown(path, 7, 8), 0);
	assert_int_equal(chmod(path, 0640), 0);
	for (int i = 0; i < 2; i++) {
		struct scene sc = { .w = w, .check = check_binds, .absent = i ? no_tree : NULL };

		sc.spec.mounts = bind_mounts;
		sc.spec.n_mounts = HK_ARRAY_SIZE(bind_mounts);
		run_scene(&sc);
	}
}

static void submount(struct scene *sc)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/vol/sub", sc->w->bundle);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	CHECK(mount("sub", path, "tmpfs", 0, NULL) == 0);
}

static void check_recursive(struct scene *sc)
{
	CHECK(has_flags(sc, "/a", "ro,nosuid") && has_flags(sc, "/a/sub", "ro,nosuid"));
	CHECK(has_flags(sc, "/b", "ro") && has_flags(sc, "/b/sub", "rw"));
	CHECK(access("/c/sub", F_OK) == 0 && !has_flags(sc, "/c/sub", ""));
}

static void test_recursive_flags(void **state)
{
	struct oci_mount mounts[] = {
		{ .destination = "/a", .type = "bind", .source = "vol", .options = WORDS("rbind", "rro", "rnosuid") },
		{ .destination = "/b", .type = "bind", .source = "vol", .options = WORDS("rbind", "ro") },
		{ .destination = "/c", .type = "bind", .source = "vol", .options = WORDS("bind") },
	};
	static const int no_setattr[] = { SYS_mount_setattr, -1 };
	struct world *w = *state;
	struct scene sc = { .w = w, .check = check_recursive, .before = submount };
	struct scene old = { .w = w, .before = submount, .absent = no_setattr, .expect = -ENOSYS, .expect_text = "on /a" };

	make_dir(w->bundle, "vol");
	sc.spec.mounts = old.spec.mounts = mounts;
	sc.spec.n_mounts = old.spec.n_mounts = HK_ARRAY_SIZE(mounts);
	run_scene(&sc);
	run_scene(&old);
}

static void test_bad_mounts(void **state)
{
	struct {
		struct oci_mount m;
		int error;
		const char *text;
	} cases[] = {
		{ { .destination = "/data", .type = "bind", .source = "/no/such/source", .options = WORDS("rbind") }, -ENOENT,
		    "mount bind /no/such/source on /data: ENOENT" },
		{ { .destination = "/x", .type = "nosuchfs", .source = "x" }, -ENODEV, "mount nosuchfs on /x: ENODEV" },
		{ { .destination = "/t", .type = "tmpfs", .source = "t", .options = WORDS("nonsense=1") }, -EINVAL, "nonsense" },
		{ { .destination = "//.", .type = "tmpfs", .source = "t" }, -EINVAL, "mount on /" },
		{ { .destination = "/x" }, -EINVAL, "no type" },
		{ { .destination = "/etc/image/x", .type = "tmpfs", .source = "t" }, -ENOTDIR, "/etc/image/x" },
		{ { .destination = "/etc/image", .type = "bind", .source = "/etc", .options = WORDS("bind") }, -ENOTDIR,
		    "mount bind /etc on /etc/image" },
		{ { .destination = "/i", .type = "bind", .source = "/etc", .options = WORDS("bind", "idmap") }, -EINVAL, "user namespace" },
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		struct scene sc = { .w = *state, .expect = cases[i].error, .expect_text = cases[i].text };

		sc.spec.mounts = &cases[i].m;
		sc.spec.n_mounts = 1;
		run_scene(&sc);
	}
}

/* ---- rootfs ---- */

static void test_missing_rootfs(void **state)
{
	struct world *w = *state;
	struct scene sc = { .w = w, .expect = -ENOENT, .expect_text = "/no/such/rootfs" };
	struct scene file = { .w = w, .expect = -ENOTDIR, .expect_text = "etc/image" };
	char path[160];

	sc.s.rootfs = "/no/such/rootfs";
	run_scene(&sc);
	(void)snprintf(path, sizeof(path), "%s/etc/image", w->rootfs);
	file.s.rootfs = path;
	run_scene(&file);
}

enum { N_LAYERS = 80 }; /* more than a page of options, and less than that relative to their directory */

/* A tmpfs that only the child has, for an overlay's directories (an overlay on an overlay may be refused). */
static void overlay_dirs(struct scene *sc)
{
	char path[160];

	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	(void)snprintf(path, sizeof(path), "%s/ov", sc->w->dir);
	CHECK(mkdir(path, 0755) == 0 || errno == EEXIST);
	CHECK(mount("ov", path, "tmpfs", 0, NULL) == 0 && chdir(path) == 0);
	CHECK(mkdir("up", 0755) == 0 && mkdir("work", 0755) == 0 && mkdir("extra", 0755) == 0);
	for (int i = 0; i < N_LAYERS; i++) {
		(void)snprintf(path, sizeof(path), "layer-as-long-as-a-snapshotter-has-%02d", i);
		CHECK(mkdir(path, 0755) == 0 && chdir(path) == 0);
		(void)snprintf(path, sizeof(path), "file%d", i);
		CHECK(mkdir(path, 0755) == 0 && chdir("..") == 0);
	}
}

static void check_overlay(struct scene *sc)
{
	struct stat st;

	CHECK(mount_text_has(sc, "/", "|overlay overlay"));
	CHECK(stat("/file0", &st) == 0 && stat("/file79", &st) == 0);
	CHECK(mkdir("/written", 0755) == 0);
	if (sc->s.n_rootfs_mounts > 1)
		CHECK(fs_type("/extra/dir") == TMPFS_MAGIC && has_flags(sc, "/extra/dir", "ro"));
}

static void test_overlay(void **state)
{
	static const int no_fsopen[] = { SYS_fsopen, -1 };
	static const int none[] = { SYS_fsopen, SYS_open_tree, SYS_move_mount, -1 };
	static const int *const absent[] = { NULL, no_fsopen, none };
	struct world *w = *state;
	char lower[8192] = "lowerdir=", upper[200], work[200], extra[200];
	struct oci_rootfs_mount mounts[] = {
		{ .type = "overlay", .source = "overlay", .options = WORDS(lower, upper, work, "index=off") },
		{ .type = "bind", .source = extra, .target = "/extra/dir", .options = WORDS("rbind", "ro") },
	};

	for (size_t i = 0; i < N_LAYERS; i++) {
		size_t len = strlen(lower);

		(void)snprintf(lower + len, sizeof(lower) - len, "%s%s/ov/layer-as-long-as-a-snapshotter-has-%02d",
		    i ? ":" : "", w->dir, (int)i);
	}
	(void)snprintf(upper, sizeof(upper), "upperdir=%s/ov/up", w->dir);
	(void)snprintf(work, sizeof(work), "workdir=%s/ov/work", w->dir);
	(void)snprintf(extra, sizeof(extra), "%s/ov/extra", w->dir);
	for (size_t i = 0; i < HK_ARRAY_SIZE(absent); i++) {
		for (size_t n = 1; n <= 2; n++) {
			struct scene sc = { .w = w, .before = overlay_dirs, .check = check_overlay, .absent = absent[i] };

			if (n == 2 && absent[i] == none)
				continue; /* a bind's flags need its tree */
			sc.s.rootfs_mounts = mounts;
			sc.s.n_rootfs_mounts = n;
			run_scene(&sc);
		}
	}
}

static void check_bind_root(struct scene *sc)
{
	CHECK(has_flags(sc, "/", "ro"));
	CHECK(access("/inner", F_OK) == 0 && access("/etc/image", F_OK) < 0);
}

static void test_bind_root(void **state)
{
	struct world *w = *state;
	char source[160];
	struct oci_rootfs_mount m = { .type = "bind", .source = source, .options = WORDS("rbind", "ro") };
	struct scene sc = { .w = w, .check = check_bind_root };
	struct scene bad = { .w = w, .expect = -ENOENT, .expect_text = "mount rootfs bind /no/such" };

	make_dir(w->dir, "other");
	make_dir(w->dir, "other/inner");
	make_dir(w->dir, "other/dev");
	(void)snprintf(source, sizeof(source), "%s/other", w->dir);
	sc.spec.mounts = &default_mounts[1]; /* /dev */
	sc.spec.n_mounts = 1;
	sc.s.rootfs_mounts = bad.s.rootfs_mounts = &m;
	sc.s.n_rootfs_mounts = bad.s.n_rootfs_mounts = 1;
	run_scene(&sc);
	m.source = "/no/such";
	run_scene(&bad);
}

static void check_no_pivot(struct scene *sc)
{
	hk_autofree char *info = NULL;

	(void)sc;
	CHECK(access("/etc/image", F_OK) == 0 && access("/tmp", F_OK) < 0);
	CHECK((info = read_all("/proc/self/mountinfo")) && strstr(info, " / /proc "));
}

static void test_no_pivot(void **state)
{
	struct scene sc = { .w = *state, .check = check_no_pivot };

	sc.spec.mounts = default_mounts;
	sc.spec.n_mounts = 2;
	sc.s.no_pivot = true;
	run_scene(&sc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_default, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_default_without_new_calls, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_binds, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_recursive_flags, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_bad_mounts, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_missing_rootfs, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_overlay, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_bind_root, world_set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(test_no_pivot, world_set_up, world_tear_down),
	};

	if (geteuid() != 0) {
		(void)puts("needs root: skipped");
		return 77;
	}
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
