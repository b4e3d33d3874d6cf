/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/oci/test_path.c — names that try to leave the root, resolved by openat2 and by the walk that stands in for it:
 * both must give the same object or the same error.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/path.h"
#include "oci/path_walk.h"
#include "tests/lib/needs.h"

struct tree {
	char dir[64];
	int top, root; /* <dir> and <dir>/root */
};

static void put_file(int dirfd, const char *path)
{
	hk_autofd fd = openat(dirfd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
}

static int set_up(void **state)
{
	static const char *const dirs[] = { "root", "outside", "root/a", "root/a/b", "root/a/b/c", "root/etc" };
	static const struct {
		const char *target, *name;
	} links[] = {
		{ "/a", "root/abs" },
		{ "a/b", "root/rel" },
		{ "../../../../../../outside", "root/up" },
		{ "../../../outside", "root/a/b/up" },
		{ "/made/later", "root/dangling" },
		{ "made/too/", "root/a/dangling_rel" },
		{ "loop2", "root/loop1" },
		{ "loop1", "root/loop2" },
		{ "a/b/file", "root/tofile" },
		{ "abs/b/../b/./file", "root/chain" },
		{ "..", "root/a/parent" },
	};
	struct tree *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	memcpy(t->dir, "/tmp/husk-path-XXXXXX", sizeof("/tmp/husk-path-XXXXXX"));
	assert_non_null(mkdtemp(t->dir));
	t->top = open(t->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->top >= 0);
	for (size_t i = 0; i < HK_ARRAY_SIZE(dirs); i++)
		assert_int_equal(mkdirat(t->top, dirs[i], 0755), 0);
	put_file(t->top, "outside/secret");
	put_file(t->top, "root/a/b/file");
	for (size_t i = 0; i < HK_ARRAY_SIZE(links); i++)
		assert_int_equal(symlinkat(links[i].target, t->top, links[i].name), 0);
	t->root = openat(t->top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->root >= 0);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct tree *t = *state;

	hk_close(t->root);
	hk_close(t->top);
	assert_int_equal(hk_rm_rf(AT_FDCWD, t->dir), 0);
	free(t);
	return 0;
}

typedef int open_fn(int rootfd, const char *path, int flags, int *ret_fd);

static int open_by_walk(int rootfd, const char *path, int flags, int *ret_fd)
{
	return oci_walk(rootfd, path, &(struct oci_walk_opts){ .open_flags = flags }, ret_fd);
}

static open_fn *const ways[] = { oci_path_open_in, open_by_walk };

static void assert_same_object(int a, int b)
{
	struct stat sa, sb;

	assert_int_equal(fstat(a, &sa), 0);
	assert_int_equal(fstat(b, &sb), 0);
	assert_int_equal(sa.st_dev, sb.st_dev);
	assert_int_equal(sa.st_ino, sb.st_ino);
}

static void test_open_stays_below_root(void **state)
{
	static const struct {
		const char *path;
		int flags;
		const char *is; /* the object it must be, from root/; NULL: error */
		int error;
	} cases[] = {
		{ "/", O_PATH, ".", 0 },
		{ "", O_PATH, ".", 0 },
		{ "..", O_PATH, ".", 0 },
		{ "/../../..", O_PATH, ".", 0 },
		{ "a/b/file", O_PATH, "a/b/file", 0 },
		{ "/a//b/./file", O_PATH, "a/b/file", 0 },
		{ "a/b/../../a", O_PATH, "a", 0 },
		{ "abs/b", O_PATH | O_DIRECTORY, "a/b", 0 },
		{ "/rel/", O_PATH, "a/b", 0 },
		{ "rel/../../..", O_PATH, ".", 0 },
		{ "chain", O_RDONLY, "a/b/file", 0 },
		{ "tofile", O_PATH, "a/b/file", 0 },
		{ "a/parent/a", O_PATH, "a", 0 },
		{ "up", O_PATH, NULL, -ENOENT },
		{ "up/secret", O_PATH, NULL, -ENOENT },
		{ "a/b/up/secret", O_PATH, NULL, -ENOENT },
		{ "../outside/secret", O_PATH, NULL, -ENOENT },
		{ "dangling", O_PATH, NULL, -ENOENT },
		{ "loop1", O_PATH, NULL, -ELOOP },
		{ "tofile/x", O_PATH, NULL, -ENOTDIR },
		{ "a/b/file/", O_PATH, NULL, -ENOTDIR },
		{ "a/b/file", O_PATH | O_DIRECTORY, NULL, -ENOTDIR },
		{ "abs", O_PATH | O_NOFOLLOW | O_DIRECTORY, NULL, -ENOTDIR },
		{ "nothing/below", O_PATH, NULL, -ENOENT },
	};
	const struct tree *t = *state;

	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		for (size_t w = 0; w < HK_ARRAY_SIZE(ways); w++) {
			hk_autofd fd = -1, want = -1;
			int r = ways[w](t->root, cases[i].path, cases[i].flags, &fd);

			if (r != cases[i].error)
				fail_msg("\"%s\" by way %zu: %d, not %d", cases[i].path, w, r, cases[i].error);
			if (r < 0)
				continue;
			want = openat(t->root, cases[i].is, O_PATH | O_CLOEXEC);
			assert_true(want >= 0);
			assert_same_object(fd, want);
			assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		}
	}
}

static void test_link_itself(void **state)
{
	const struct tree *t = *state;

	for (size_t w = 0; w < HK_ARRAY_SIZE(ways); w++) {
		hk_autofd fd = -1;
		struct stat st;

		assert_int_equal(ways[w](t->root, "abs", O_PATH | O_NOFOLLOW, &fd), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(S_ISLNK(st.st_mode));
	}
}

static void test_magic_links_refused(void **state)
{
	static const char *const paths[] = { "/proc/self/root", "/proc/self/cwd/x", "/proc/self/exe", "/proc/self/fd/0", "/proc/self/ns/mnt" };
	hk_autofd root = -1;

	(void)state;
	needs_openat2(); /* and an emulator answers for /proc/self by itself */
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < HK_ARRAY_SIZE(paths); i++) {
		for (size_t w = 0; w < HK_ARRAY_SIZE(ways); w++) {
			hk_autofd fd = -1;
			int r = ways[w](root, paths[i], O_PATH, &fd);

			if (r != -ELOOP)
				fail_msg("%s by way %zu: %d", paths[i], w, r);
		}
	}
	for (size_t w = 0; w < HK_ARRAY_SIZE(ways); w++) { /* a procfs link that is plain text is a link */
		hk_autofd fd = -1;

		assert_int_equal(ways[w](root, "/proc/mounts", O_RDONLY, &fd), 0);
	}
}

static void assert_mode(int fd, mode_t type, mode_t mode)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & S_IFMT, type);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void test_mkdir(void **state)
{
	const struct tree *t = *state;
	hk_autofd fd = -1, again = -1, want = -1;

	assert_int_equal(oci_path_mkdir_in(t->root, "/x/y/z", 0750, &fd), 0);
	assert_mode(fd, S_IFDIR, 0750);
	assert_int_equal(oci_path_mkdir_in(t->root, "x/y/z/", 0700, &again), 0);
	assert_same_object(fd, again);
	assert_mode(fd, S_IFDIR, 0750);
	fd = hk_close(fd);

	/* Through links, and through links to nowhere, to where they point in the root. */
	assert_int_equal(oci_path_mkdir_in(t->root, "abs/b/new", 0755, &fd), 0);
	want = openat(t->root, "a/b/new", O_PATH | O_CLOEXEC);
	assert_same_object(fd, want);
	fd = hk_close(fd);
	want = hk_close(want);
	assert_int_equal(oci_path_mkdir_in(t->root, "dangling/deep", 0755, &fd), 0);
	want = openat(t->root, "made/later/deep", O_PATH | O_CLOEXEC);
	assert_same_object(fd, want);
	fd = hk_close(fd);
	assert_int_equal(oci_path_mkdir_in(t->root, "a/dangling_rel", 0755, &fd), 0);
	want = hk_close(want);
	want = openat(t->root, "a/made/too", O_PATH | O_CLOEXEC);
	assert_same_object(fd, want);
	fd = hk_close(fd);

	/* What points outside is made inside. */
	assert_int_equal(oci_path_mkdir_in(t->root, "up/evil", 0755, &fd), 0);
	assert_int_equal(faccessat(t->root, "outside/evil", F_OK, 0), 0);
	assert_int_equal(faccessat(t->top, "outside/evil", F_OK, 0), -1);

	assert_int_equal(oci_path_mkdir_in(t->root, "a/b/file/x", 0755, &again), -ENOTDIR);
	assert_int_equal(oci_path_mkdir_in(t->root, "loop1/x", 0755, &again), -ELOOP);
}

static void test_mkfile(void **state)
{
	const struct tree *t = *state;
	hk_autofd fd = -1, want = -1;

	assert_int_equal(oci_path_mkfile_in(t->root, "/p/q/file", 0640, &fd), 0);
	assert_mode(fd, S_IFREG, 0640);
	fd = hk_close(fd);
	assert_int_equal(oci_path_mkfile_in(t->root, "dangling", 0644, &fd), 0);
	want = openat(t->root, "made/later", O_PATH | O_CLOEXEC);
	assert_same_object(fd, want);
	assert_mode(fd, S_IFREG, 0644);
	fd = hk_close(fd);
	assert_int_equal(oci_path_mkfile_in(t->root, "a/b", 0644, &fd), 0); /* something is there: not a file, and not our matter */
	assert_mode(fd, S_IFDIR, 0755);
	fd = hk_close(fd);
	assert_int_equal(oci_path_mkfile_in(t->root, "up", 0644, &fd), 0);
	assert_int_equal(faccessat(t->root, "outside", F_OK, 0), 0);
	assert_mode(fd, S_IFREG, 0644);
}

static void test_parent(void **state)
{
	static const char *const bad[] = { "/", "", "a/..", "a/.", "..", "a/" };
	const struct tree *t = *state;
	hk_autofd fd = -1, want = -1;
	const char *name = NULL;

	assert_int_equal(oci_path_parent_in(t->root, "/abs/b/some", 0755, &fd, &name), 0);
	assert_string_equal(name, "some");
	want = openat(t->root, "a/b", O_PATH | O_CLOEXEC);
	assert_same_object(fd, want);
	fd = hk_close(fd);
	assert_int_equal(oci_path_parent_in(t->root, "alone", 0755, &fd, &name), 0);
	assert_string_equal(name, "alone");
	assert_same_object(fd, t->root);
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		hk_autofd none = -1;

		assert_int_equal(oci_path_parent_in(t->root, bad[i], 0755, &none, &name), -EINVAL);
		assert_int_equal(none, -1);
	}
}

static void test_limits(void **state)
{
	const struct tree *t = *state;
	char path[3000], name[400];
	hk_autofd fd = -1;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t w = 0; w < HK_ARRAY_SIZE(ways); w++)
		assert_int_equal(ways[w](t->root, name, O_PATH, &fd), -ENAMETOOLONG);
	for (size_t i = 0; i + 2 < sizeof(path); i += 2)
		memcpy(path + i, "d/", 3);
	assert_int_equal(oci_path_mkdir_in(t->root, path, 0755, &fd), -ENAMETOOLONG);
	assert_int_equal(fd, -1);
	for (size_t len = sizeof(path) - 1; len-- > 0;) { /* what it made before it gave up, deeper than hk_rm_rf goes */
		path[len] = '\0';
		(void)unlinkat(t->root, path, AT_REMOVEDIR);
	}
	assert_int_equal(faccessat(t->root, "d", F_OK, 0), -1);
}

static void test_reopen(void **state)
{
	const struct tree *t = *state;
	hk_autofd file = -1, again = -1, proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), third = -1;
	char c;

	assert_int_equal(oci_path_open_in(t->root, "tofile", O_PATH, &file), 0);
	assert_int_equal(oci_path_reopen(-1, file, O_RDONLY, &again), 0);
	assert_int_equal(read(again, &c, 1), 0);
	assert_int_equal(oci_path_reopen(proc, file, O_WRONLY, &third), 0);
	assert_int_equal(write(third, "x", 1), 1);
	assert_same_object(file, third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_stays_below_root, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link_itself, set_up, tear_down),
		cmocka_unit_test(test_magic_links_refused),
		cmocka_unit_test_setup_teardown(test_mkdir, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mkfile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reopen, set_up, tear_down),
	};

	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
