/* SPDX-License-Identifier: Apache-2.0 */
/* Parents that husk made for a cgroup go with its last child, also when their maker was killed half-way; those of others stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "oci/base/str.h"
#include "oci/cgroup_priv.h"

#define TOP "/husk-test-parents"
#define MAKING "trusted.husk.making.husk-test-parents"

static const struct cg_hier *hier(void)
{
	const struct cg_host *host = cg_host_get();

	assert_non_null(host);
	return &host->h[0];
}

static const char *at(const char *path, char buf[PATH_MAX])
{
	assert_int_equal(cg_abs(hier(), path, buf), 0);
	return buf;
}

static bool exists(const char *path)
{
	char buf[PATH_MAX];

	return access(at(path, buf), F_OK) == 0;
}

static void made_and_removed(void **state)
{
	char buf[PATH_MAX];
	size_t kept = 99;

	(void)state;
	assert_int_equal(cg_tree_make(hier(), TOP "/a/leaf", &kept), 0);
	assert_int_equal(kept, 0);
	assert_int_equal(getxattr(hier()->mount, MAKING, NULL, 0), -1); /* only while it is made */
	assert_true(getxattr(at(TOP "/a", buf), "trusted.husk.made", NULL, 0) > 0);
	assert_int_equal(cg_tree_make(hier(), TOP "/a/leaf", &kept), -EEXIST);
	assert_int_equal(cg_tree_remove(hier(), TOP "/a/leaf"), 0);
	cg_tree_remove_parents(hier(), TOP "/a/leaf");
	assert_false(exists(TOP));
}

/* Killed as the kernel came back from mkdir: only the directory above knows whose it is, and what was to be below is not there. */
static void maker_was_killed(void **state)
{
	char buf[PATH_MAX];

	(void)state;
	assert_int_equal(setxattr(hier()->mount, MAKING, "1", 1, 0), 0);
	assert_int_equal(mkdir(at(TOP, buf), 0755), 0);
	assert_int_equal(cg_tree_remove(hier(), TOP "/a/leaf"), 0);
	cg_tree_remove_parents(hier(), TOP "/a/leaf");
	assert_false(exists(TOP));
	assert_int_equal(getxattr(hier()->mount, MAKING, NULL, 0), -1);
	/* Or just before it: the mark must not outlive the removal and make us owners of somebody's directory of that name. */
	assert_int_equal(setxattr(hier()->mount, MAKING, "1", 1, 0), 0);
	cg_tree_remove_parents(hier(), TOP "/a/leaf");
	assert_int_equal(getxattr(hier()->mount, MAKING, NULL, 0), -1);
}

static void foreign_parents_stay(void **state)
{
	char buf[PATH_MAX];
	size_t kept = 99;

	(void)state;
	assert_int_equal(mkdir(at(TOP, buf), 0755), 0);
	assert_int_equal(cg_tree_make(hier(), TOP "/a/leaf", &kept), 0);
	assert_int_equal(kept, strlen(TOP));
	assert_int_equal(cg_tree_remove(hier(), TOP "/a/leaf"), 0);
	cg_tree_remove_parents(hier(), TOP "/a/leaf");
	assert_false(exists(TOP "/a"));
	assert_true(exists(TOP));
	assert_int_equal(rmdir(at(TOP, buf)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_and_removed),
		cmocka_unit_test(maker_was_killed),
		cmocka_unit_test(foreign_parents_stay),
	};

	if (geteuid() != 0 || !cg_host_get() || cg_host_get()->n == 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
