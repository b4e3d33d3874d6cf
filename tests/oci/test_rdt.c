/* SPDX-License-Identifier: Apache-2.0 */
/* resctrl groups in a tree that imitates the file system: what is made, compared, refused, entered and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/rdt.h"
#include "oci/spec.h"

enum { PATH_SIZE = 256 };

static char root[] = "/tmp/husk-test-rdt-XXXXXX";
static int mkdir_errno;   /* what the kernel says to a mkdir; 0 = nothing against it */
static int n_good_mkdirs; /* before that */

static void put(const char *dir, const char *file, const char *text)
{
	char path[PATH_SIZE];
	int fd;

	assert_true(snprintf(path, sizeof(path), "%s/%s", dir, file) < (int)sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(hk_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(close(fd), 0);
}

/* The kernel fills a new directory by itself. */
static int make(const char *path, mode_t mode)
{
	char sub[PATH_SIZE + 16];

	if (mkdir_errno && n_good_mkdirs-- == 0) {
		errno = mkdir_errno;
		mkdir_errno = n_good_mkdirs = 0;
		return -1;
	}
	if (mkdir(path, mode) < 0)
		return -1;
	put(path, "tasks", "");
	if (strstr(path, "/mon_groups/"))
		return 0;
	put(path, "schemata", "");
	(void)snprintf(sub, sizeof(sub), "%s/mon_groups", path);
	return mkdir(sub, 0755);
}

static int drop(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -1;
	return hk_rm_rf(AT_FDCWD, path);
}

static const struct oci_rdt_fs fs = { .root = root, .make = make, .remove = drop };

static const char *text_of(const char *file)
{
	static char text[1024];
	char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", root, file);
	return hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0 ? NULL : text;
}

static bool is_there(const char *name)
{
	char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	return access(path, F_OK) == 0;
}

static struct oci_rdt *created(const struct oci_intel_rdt *spec)
{
	struct oci_rdt *r = NULL;
	struct hk_err err = { 0 };

	if (oci_rdt_create(&fs, spec, "c1", &r, &err) < 0)
		fail_msg("%s", err.text);
	return r;
}

static void refused(const struct oci_intel_rdt *spec, enum hk_kind kind, const char *text)
{
	struct oci_rdt *r = NULL;
	struct hk_err err = { 0 };
	int rc = oci_rdt_create(&fs, spec, "c1", &r, &err);

	assert_true(rc < 0 && rc == -err.code);
	assert_null(r);
	assert_string_equal(err.text, text);
	assert_int_equal(err.kind, kind);
	assert_false(is_there("c1"));
}

static void done(struct oci_rdt *r)
{
	oci_rdt_remove(r);
	oci_rdt_remove(r); /* harmless */
	oci_rdt_free(r);
}

/* ---- the tests ---- */

static void group_of_the_container(void **state)
{
	struct oci_rdt *r = created(&(struct oci_intel_rdt){ .is_set = true, .l3_cache_schema = "L3:0=f" });
	char pid[16];

	(void)state;
	assert_string_equal(text_of("c1/schemata"), "L3:0=f");
	assert_int_equal(oci_rdt_enter(r, false, NULL), 0);
	(void)snprintf(pid, sizeof(pid), "%d", getpid());
	assert_string_equal(text_of("c1/tasks"), pid);
	done(r);
	assert_false(is_there("c1"));
}

/* Each schema by a write of its own, in the spec's order: of a regular file the last and longest one stays. */
static void schemata_come_in_order(void **state)
{
	static const char *lines[] = { "L2:0=f;1=f;2=f", "L3:0=3;1=3;2=3;3=3", NULL };
	struct oci_rdt *r = created(&(struct oci_intel_rdt){ .is_set = true,
	    .l3_cache_schema = "L3:0=f",
	    .mem_bw_schema = "MB:0=10",
	    .schemata = { .v = lines, .n = 2 } });

	(void)state;
	assert_string_equal(text_of("c1/schemata"), lines[1]);
	done(r);
}

static void named_class_outlives_the_container(void **state)
{
	static const struct oci_intel_rdt gold = { .is_set = true, .clos_id = "gold", .mem_bw_schema = "MB:0=10;1=070" };
	struct oci_rdt *r = created(&gold);

	(void)state;
	done(r);
	assert_true(is_there("gold"));
	assert_string_equal(text_of("gold/schemata"), "MB:0=10;1=070");
	/* What the kernel reads back. */
	put(root, "gold/schemata", "    L3:0=00f;1=0ff\n    MB:0=10;1=80\n");
	refused(&gold, HK_INVALID, "linux.intelRdt: closID \"gold\" exists, and its schemata are not \"MB:0=10;1=070\"");
	put(root, "gold/schemata", "    L3:0=00f;1=0ff\n    MB:0= 10;1= 70\n");
	done(created(&gold));
	done(created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .l3_cache_schema = "L3:1=FF;0=f" }));
	refused(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .l3_cache_schema = "L3:1=ff;2=f" }, HK_INVALID,
	    "linux.intelRdt: closID \"gold\" exists, and its schemata are not \"L3:1=ff;2=f\"");
	refused(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .l3_cache_schema = "L2:0=f" }, HK_INVALID,
	    "linux.intelRdt: closID \"gold\" exists, and its schemata are not \"L2:0=f\"");
	refused(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .l3_cache_schema = "nonsense" }, HK_INVALID,
	    "linux.intelRdt: closID \"gold\" exists, and its schemata are not \"nonsense\"");
	assert_true(is_there("gold"));
}

/* CRI sends the class alone: it is the node's. */
static void class_without_a_schema_must_exist(void **state)
{
	struct oci_rdt *r;

	(void)state;
	refused(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "none" }, HK_INVALID,
	    "linux.intelRdt: closID \"none\" without a schema must exist: ENOENT");
	r = created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold" });
	assert_int_equal(oci_rdt_enter(r, false, NULL), 0);
	assert_int_equal(strtol(text_of("gold/tasks"), NULL, 10), getpid());
	done(r);
	assert_true(is_there("gold"));
	r = created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "/" });
	assert_int_equal(oci_rdt_enter(r, false, NULL), 0);
	assert_int_equal(strtol(text_of("tasks"), NULL, 10), getpid());
	done(r);
	assert_true(is_there("tasks"));
}

static void monitoring_group_is_the_containers(void **state)
{
	struct oci_rdt *r = created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .enable_monitoring = true });

	(void)state;
	assert_int_equal(oci_rdt_enter(r, false, NULL), 0);
	assert_int_equal(strtol(text_of("gold/mon_groups/c1/tasks"), NULL, 10), getpid());
	done(r);
	assert_false(is_there("gold/mon_groups/c1"));
	assert_true(is_there("gold"));
}

static void failures_leave_nothing(void **state)
{
	static const struct oci_intel_rdt own = { .is_set = true, .l3_cache_schema = "L3:0=f" };
	char text[300];

	(void)state;
	mkdir_errno = ENOSPC;
	(void)snprintf(text, sizeof(text), "linux.intelRdt: make %s/c1 (no group is left): ENOSPC", root);
	refused(&own, HK_EXHAUSTED, text);
	put(root, "info/last_cmd_status", "Mask f00 has non-consecutive 1-bits\n");
	mkdir_errno = EINVAL;
	(void)snprintf(text, sizeof(text), "linux.intelRdt: make %s/c1 (Mask f00 has non-consecutive 1-bits): EINVAL", root);
	refused(&own, HK_INTERNAL, text);
	put(root, "info/last_cmd_status", "ok\n");
	mkdir_errno = EINVAL;
	(void)snprintf(text, sizeof(text), "linux.intelRdt: make %s/c1: EINVAL", root);
	refused(&own, HK_INTERNAL, text);
	/* The class is made, then the monitoring group is not: a class by its name goes as well, nobody has joined it. */
	mkdir_errno = ENOSPC;
	n_good_mkdirs = 1;
	(void)snprintf(text, sizeof(text), "linux.intelRdt: make %s/new/mon_groups/c1 (no group is left): ENOSPC", root);
	refused(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "new", .l3_cache_schema = "L3:0=f", .enable_monitoring = true },
	    HK_EXHAUSTED, text);
	assert_false(is_there("new"));
	assert_int_equal(mkdir_errno, 0);
}

static void exec_does_without_a_lost_group(void **state)
{
	struct oci_rdt *r = created(&(struct oci_intel_rdt){ .is_set = true });
	struct hk_err err = { 0 };
	char path[PATH_SIZE];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/c1", root);
	assert_int_equal(drop(path), 0);
	assert_int_equal(oci_rdt_enter(r, true, NULL), 0);
	assert_int_equal(oci_rdt_enter(r, false, &err), -ENOENT);
	assert_non_null(strstr(err.text, "c1/tasks: ENOENT"));
	done(r);
}

static void dead_shims_groups_are_found(void **state)
{
	(void)state;
	oci_rdt_free(created(&(struct oci_intel_rdt){ .is_set = true }));
	oci_rdt_free(created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "gold", .enable_monitoring = true }));
	oci_rdt_free(created(&(struct oci_intel_rdt){ .is_set = true, .clos_id = "/", .enable_monitoring = true }));
	assert_true(is_there("c1") && is_there("gold/mon_groups/c1") && is_there("mon_groups/c1"));
	oci_rdt_cleanup(&fs, "../c1"); /* not an id */
	oci_rdt_cleanup(&fs, "c2");
	assert_true(is_there("c1") && is_there("gold/mon_groups/c1") && is_there("mon_groups/c1"));
	oci_rdt_cleanup(&fs, "c1");
	assert_false(is_there("c1") || is_there("gold/mon_groups/c1") || is_there("mon_groups/c1"));
	assert_true(is_there("gold"));
}

static int setup(void **state)
{
	char path[PATH_SIZE];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	put(root, "tasks", "");
	put(root, "schemata", "    L3:0=fff\n");
	(void)snprintf(path, sizeof(path), "%s/mon_groups", root);
	if (mkdir(path, 0755) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/info", root);
	return mkdir(path, 0755);
}

static int teardown(void **state)
{
	(void)state;
	return hk_rm_rf(AT_FDCWD, root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(group_of_the_container),
		cmocka_unit_test(schemata_come_in_order),
		cmocka_unit_test(named_class_outlives_the_container),
		cmocka_unit_test(class_without_a_schema_must_exist),
		cmocka_unit_test(monitoring_group_is_the_containers),
		cmocka_unit_test(failures_leave_nothing),
		cmocka_unit_test(exec_does_without_a_lost_group),
		cmocka_unit_test(dead_shims_groups_are_found),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
