/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup_path.c — cgroupsPath forms, and what is made of a host's mountinfo. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/cgroup_priv.h"
#include "tests/lib/needs.h"

static void test_good_paths(void **state)
{
	static const struct {
		const char *given, *wanted;
	} rows[] = {
		{ NULL, "/husk/c1" },
		{ "", "/husk/c1" },
		{ "/default/a1", "/default/a1" },
		{ "/default//a1/", "/default/a1" },
		{ "/default/./a1/.", "/default/a1" },
		{ "/default/x/../a1", "/default/a1" },
		{ "/a/b/../../c", "/c" },
		{ "a/b", "/husk/a/b" },
		{ "a/../b", "/husk/b" },
		{ "/kubepods/burstable/pod1/0123", "/kubepods/burstable/pod1/0123" },
		{ "/has:colons:inside", "/has:colons:inside" },
		{ "one:colon", "/husk/one:colon" },
		{ "a-b.slice:cri-containerd:a1", "/a.slice/a-b.slice/cri-containerd-a1.scope" },
		{ ":husk:a1", "/system.slice/husk-a1.scope" },
		{ "/..a/b..", "/..a/b.." },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct hk_err err = { 0 };
		char *path = NULL;

		if (cg_resolve_path(rows[i].given, "c1", &path, &err) < 0)
			fail_msg("%s: %s", rows[i].given, err.text);
		assert_string_equal(path, rows[i].wanted);
		free(path);
	}
}

static void test_bad_paths(void **state)
{
	static const struct {
		const char *given;
		enum hk_kind kind;
		const char *text;
	} rows[] = {
		{ "/", HK_INVALID, "no cgroup below the root" },
		{ "//./", HK_INVALID, "no cgroup below the root" },
		{ "/a/..", HK_INVALID, "no cgroup below the root" },
		{ ".", HK_INVALID, "no cgroup below the root" },
		{ "/..", HK_INVALID, "leaves the cgroup root" },
		{ "/a/../../etc", HK_INVALID, "leaves the cgroup root" },
		{ "../other", HK_INVALID, "leaves the cgroup root" },
		{ "a/../../other", HK_INVALID, "leaves the cgroup root" },
		{ "/a\nb", HK_INVALID, "line break" },
		{ "system:husk:a1", HK_INVALID, "is no slice" },
	};
	char *path = NULL, big[PATH_MAX + 10];
	struct hk_err err = { 0 };

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		assert_true(cg_resolve_path(rows[i].given, "c1", &path, &err) < 0);
		assert_null(path);
		assert_int_equal(err.kind, rows[i].kind);
		if (!strstr(err.text, rows[i].text))
			fail_msg("%s: %s", rows[i].given, err.text);
	}
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	big[0] = '/';
	assert_int_equal(cg_resolve_path(big, "c1", &path, &err), -ENAMETOOLONG); /* one long name */
	for (size_t i = 0; i < sizeof(big) - 1; i += 100)
		big[i] = '/';
	assert_int_equal(cg_resolve_path(big, "c1", &path, &err), -ENAMETOOLONG); /* many short ones */
}

static const char hybrid[] =
    "23 1 8:1 / / rw - ext4 /dev/root rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/with\\040blank rw,relatime shared:6 master:1 - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,noprefix\n"
    "35 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "36 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    "90 23 0:30 /docker/x /var/lib/r/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    "91 23 0:99 / /mnt/cgroupish rw - cgroupfs x rw\n"
    "garbage\n";

static void test_hybrid(void **state)
{
	hk_auto(cg_host_done) struct cg_host h = { 0 };
	const struct cg_hier *m;

	(void)state;
	assert_int_equal(cg_host_parse(hybrid, &h), 0);
	assert_int_equal(h.mode, OCI_CGROUP_HYBRID);
	assert_int_equal(h.n, 5);
	m = cg_host_find(&h, CG_MEMORY);
	assert_non_null(m);
	assert_string_equal(m->mount, "/sys/fs/cgroup/with blank");
	assert_true(cg_host_find(&h, CG_CPU) == cg_host_find(&h, CG_CPUACCT));
	assert_true(cg_host_find(&h, CG_CPUSET)->no_prefix);
	assert_false(m->no_prefix);
	assert_null(cg_host_find(&h, CG_PIDS));
	assert_string_equal(cg_host_v2(&h)->mount, "/sys/fs/cgroup/unified");
}

static void test_modes(void **state)
{
	hk_auto(cg_host_done) struct cg_host legacy = { 0 }, nested = { 0 }, none = { 0 };

	(void)state;
	assert_int_equal(cg_host_parse("1 2 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n"
				       "1 2 0:30 / /c/systemd rw - cgroup cgroup rw,name=systemd\n", &legacy), 0);
	assert_int_equal(legacy.mode, OCI_CGROUP_LEGACY);
	assert_null(cg_host_v2(&legacy));
	/* A host that is itself a container: only its part is mounted first, the whole later. */
	assert_int_equal(cg_host_parse("1 2 0:29 /docker/abc /part rw - cgroup2 cgroup2 rw\n"
				       "1 2 0:29 / /whole rw - cgroup2 cgroup2 rw\n", &nested), 0);
	assert_int_equal(nested.n, 1);
	assert_string_equal(nested.h[0].mount, "/whole");
	assert_int_equal(nested.mode, OCI_CGROUP_UNIFIED);
	assert_int_equal(cg_host_parse("", &none), 0);
	assert_int_equal(none.n, 0);
}

/* A link put where a cgroup is expected leads nowhere. */
static void test_no_links(void **state)
{
	char base[] = "/tmp/husk-cgXXXXXX", path[PATH_MAX];
	const struct cg_hier h = { .mount = base };
	int fd;

	(void)state;
	needs_openat2();
	assert_non_null(mkdtemp(base));
	(void)hk_fmt(path, sizeof(path), "%s/real", base);
	assert_int_equal(mkdir(path, 0755), 0);
	(void)hk_fmt(path, sizeof(path), "%s/link", base);
	assert_int_equal(symlink("real", path), 0);
	fd = cg_open_leaf(&h, "/real");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(cg_open_leaf(&h, "/link"), -ELOOP);
	assert_int_equal(cg_open_leaf(&h, "/link/deeper"), -ELOOP);
	assert_int_equal(hk_rm_rf(AT_FDCWD, base), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_paths),
		cmocka_unit_test(test_bad_paths),
		cmocka_unit_test(test_hybrid),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_no_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
