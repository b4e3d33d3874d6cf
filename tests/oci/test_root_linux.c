/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members of `linux` that hold for every process of a container, seen from an init and from an exec: resctrl groups, the memory policy, and
 * a user namespace that is joined. (with: box.c)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/syscall.h>

#include "oci/rdt.h"
#include "tests/oci/box.h"

#define PROCESS(args) "{\"args\":[" args "],\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"user\":{\"uid\":0,\"gid\":0}}"
#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define MAPS(host, size)                                                                \
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":" host ",\"size\":" size "}]," \
	"\"gidMappings\":[{\"containerID\":0,\"hostID\":" host ",\"size\":" size "}],"

static struct box *running(const char *id, const struct config *cf)
{
	struct box *b = box_new(id, cf);

	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s: %s", id, b->err.text);
	assert_string_equal(box_line(b), "up\n");
	return b;
}

#define UP SH("echo up; exec sleep 1000")

static void exec_ok(struct box *b, const char *json)
{
	if (box_exec(b, json, false) < 0)
		fail_msg("%s", b->err.text);
	assert_int_equal(box_wait_extra(b), 0);
}

/* ---- resctrl ---- */

static const char *tasks_of(const char *dir)
{
	static char text[64];
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/tasks", dir);
	assert_true(hk_read_file_at(AT_FDCWD, path, text, sizeof(text)) >= 0);
	write_text(dir, "tasks", "");
	return text;
}

static void both_enter_their_class(void **state)
{
	char root[200], gold[210];
	struct box *b;

	(void)state;
	(void)snprintf(root, sizeof(root), "%s/resctrl", base);
	(void)snprintf(gold, sizeof(gold), "%s/gold", root);
	assert_int_equal(mkdir(root, 0755), 0);
	assert_int_equal(mkdir(gold, 0755), 0);
	write_text(gold, "tasks", "");
	engine.resctrl = root;
	b = running("rdt", &(struct config){ .args = UP, .linux_ = "\"intelRdt\":{\"closID\":\"gold\"}," });
	assert_string_equal(tasks_of(gold), "1"); /* in its own pid namespace, which is where the kernel looks */
	exec_ok(b, PROCESS("\"true\""));
	assert_true(strtol(tasks_of(gold), NULL, 10) > 1);
	box_free(b);
	assert_int_equal(access(gold, F_OK), 0);

	b = box_new("rdt", &(struct config){ .args = UP, .linux_ = "\"intelRdt\":{\"closID\":\"silver\"}," });
	assert_int_equal(box_create(b, false), -ENOENT);
	assert_string_equal(b->err.text, "linux.intelRdt: closID \"silver\" without a schema must exist: ENOENT");
	assert_false(cgroup_exists(b));
	box_free(b);
	engine.resctrl = NULL;
}

static void no_resctrl_is_told(void **state)
{
	char root[256];
	struct oci_rdt_fs fs;
	struct box *b;

	(void)state;
	if (oci_rdt_find(root, sizeof(root), &fs) == 0)
		skip();
	b = box_new("rdt", &(struct config){ .args = UP, .linux_ = "\"intelRdt\":{\"closID\":\"gold\"}," });
	assert_int_equal(box_create(b, false), -ENOENT);
	assert_int_equal(b->err.kind, HK_UNSUPPORTED);
	assert_string_equal(b->err.text, "linux.intelRdt: no resctrl file system is mounted");
	assert_false(cgroup_exists(b));
	box_free(b);
}

/* ---- memory policy ---- */

static void both_have_the_memory_policy(void **state)
{
	struct box *b;

	(void)state;
	if (syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) < 0)
		skip(); /* a kernel without NUMA */
	b = box_new("numa",
	    &(struct config){ .args = SH("cut -d' ' -f2 /proc/self/numa_maps | sort -u; echo up; exec sleep 1000"),
		.linux_ = "\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"nodes\":\"0\"}," });
	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s", b->err.text);
	for (b->text[0] = 0; !strstr(b->text, "up\n");) {
		size_t have = strlen(b->text);
		ssize_t n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have);

		assert_true(n > 0);
		b->text[have + (size_t)n] = 0;
	}
	assert_string_equal(b->text, "bind:0\nup\n");
	exec_ok(b, PROCESS(SH("cut -d' ' -f2 /proc/self/numa_maps | sort -u")));
	assert_string_equal(box_text(b), "bind:0\n");
	box_free(b);
}

/* ---- user namespace ---- */

static void maps_of_a_joined_namespace_are_compared(void **state)
{
	static const struct {
		const char *maps, *text;
	} cases[] = {
		{ MAPS("100000", "65536"), NULL },
		{ "", NULL },
		{ MAPS("200000", "65536"), "linux.uidMappings: not those of %s: the user namespace has \"         0     100000      65536\" in its uid_map" },
		{ MAPS("100000", "1000"), "linux.uidMappings: not those of %s: the user namespace has \"         0     100000      65536\" in its uid_map" },
		{ "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
		  "\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536},{\"containerID\":70000,\"hostID\":1,\"size\":1}],",
		    "linux.gidMappings: not those of %s: the user namespace has 1 of these 2 mappings" },
	};
	struct box *a = running("owner",
	    &(struct config){ .args = UP, .linux_ = MAPS("100000", "65536"), .namespaces = NS_NEW "{\"type\":\"user\"}," });

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		char ns[256], path[64], want[512];
		const char *mark = cases[i].text ? strstr(cases[i].text, "%s") : NULL;
		struct box *b;

		(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", a->init.pid);
		(void)snprintf(ns, sizeof(ns), NS_NEW "{\"type\":\"user\",\"path\":\"%s\"},", path);
		b = box_new("joiner", &(struct config){ .args = UP, .linux_ = cases[i].maps, .namespaces = ns });
		if (!mark) {
			if (box_create(b, false) < 0 || box_start(b) < 0)
				fail_msg("case %zu: %s", i, b->err.text);
		} else {
			(void)snprintf(want, sizeof(want), "%.*s%s%s", (int)(mark - cases[i].text), cases[i].text, path, mark + 2);
			assert_int_equal(box_create(b, false), -EINVAL);
			assert_string_equal(b->err.text, want);
			assert_int_equal(b->err.kind, HK_INVALID);
			assert_false(cgroup_exists(b));
		}
		box_free(b);
	}
	box_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_enter_their_class),
		cmocka_unit_test(no_resctrl_is_told),
		cmocka_unit_test(both_have_the_memory_policy),
		cmocka_unit_test(maps_of_a_joined_namespace_are_compared),
		cmocka_unit_test(nobody_is_left),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
		fprintf(stderr, "needs root and busybox-static\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
