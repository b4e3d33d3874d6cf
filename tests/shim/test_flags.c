/* SPDX-License-Identifier: Apache-2.0 */
/* tests/shim/test_flags.c — command lines as containerd writes them, and every way to write a flag wrongly, against Go's answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "shim/flags.h"

enum { MAX_WORDS = 16 };

/* Splits at blanks; "''" stands for an empty word. */
static int parse(const char *line, char *buf, size_t size, struct shim_flags *ret, struct hk_err *err)
{
	char *argv[MAX_WORDS + 1] = { 0 };
	char *save = NULL;
	int argc = 0;

	assert_true(strlen(line) < size);
	memcpy(buf, line, strlen(line) + 1);
	for (char *w = strtok_r(buf, " ", &save); w && argc < MAX_WORDS; w = strtok_r(NULL, " ", &save))
		argv[argc++] = strcmp(w, "''") == 0 ? w + 2 : w;
	return shim_flags_parse(argc, argv, ret, err);
}

static void containerd_lines(void **state)
{
	static const char *const lines[] = {
		"shim -namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -debug start",
		"shim --namespace=k8s.io --address=/run/c.sock -publish-binary=/usr/bin/containerd --id a1 --debug=true start",
		"shim -debug=1 -namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id=a1 start delete -x",
		"shim -debug -namespace k8s.io -id a1 -address /run/c.sock -publish-binary /usr/bin/containerd -- start",
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(lines); i++) {
		struct shim_flags f;
		struct hk_err err;
		char buf[256];

		assert_int_equal(parse(lines[i], buf, sizeof(buf), &f, &err), 0);
		assert_string_equal(f.ns, "k8s.io");
		assert_string_equal(f.id, "a1");
		assert_string_equal(f.address, "/run/c.sock");
		assert_string_equal(f.publish_binary, "/usr/bin/containerd");
		assert_string_equal(f.action, "start");
		assert_string_equal(f.bundle, "");
		assert_true(f.debug);
		assert_false(f.info || f.version || f.help);
	}
}

static void server_and_delete_lines(void **state)
{
	struct shim_flags f;
	struct hk_err err;
	char buf[256];

	(void)state;
	assert_int_equal(parse("shim -namespace n -id a -address s -group g -bundle /b", buf, sizeof(buf), &f, &err), 0);
	assert_string_equal(f.action, "");
	assert_string_equal(f.group, "g");
	assert_string_equal(f.bundle, "/b");
	assert_false(f.debug);
	assert_int_equal(parse("shim -namespace n -address s -bundle /b -id a -debug=false delete", buf, sizeof(buf), &f, &err), 0);
	assert_string_equal(f.action, "delete");
	assert_false(f.debug);
	/* A value may be empty, and may look like a flag. */
	assert_int_equal(parse("shim -namespace '' -id -x start", buf, sizeof(buf), &f, &err), 0);
	assert_string_equal(f.ns, "");
	assert_string_equal(f.id, "-x");
	/* A lone dash is a word, not a flag. */
	assert_int_equal(parse("shim -info -", buf, sizeof(buf), &f, &err), 0);
	assert_true(f.info);
	assert_string_equal(f.action, "-");
	assert_int_equal(parse("shim -v", buf, sizeof(buf), &f, &err), 0);
	assert_true(f.version);
	assert_int_equal(parse("shim --version", buf, sizeof(buf), &f, &err), 0);
	assert_true(f.version);
	assert_int_equal(parse("shim -help", buf, sizeof(buf), &f, &err), 0);
	assert_true(f.help);
	/* A boolean never takes the next word. */
	assert_int_equal(parse("shim -debug false", buf, sizeof(buf), &f, &err), 0);
	assert_true(f.debug);
	assert_string_equal(f.action, "false");
}

static void wrong_lines(void **state)
{
	static const struct {
		const char *line, *text;
	} rows[] = {
		{ "shim -nope start", "flag provided but not defined: -nope" },
		{ "shim --nope=1 start", "flag provided but not defined: -nope" },
		{ "shim -id", "flag needs an argument: -id" },
		{ "shim ---id a", "bad flag syntax: ---id" },
		{ "shim -=a", "bad flag syntax: -=a" },
		{ "shim --=a", "bad flag syntax: --=a" },
		{ "shim -debug=maybe", "invalid boolean value \"maybe\" for -debug" },
		{ "shim -i a", "flag provided but not defined: -i" },
		{ "shim -idx a", "flag provided but not defined: -idx" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct shim_flags f = { .ns = "untouched" };
		struct hk_err err;
		char buf[256];

		assert_int_equal(parse(rows[i].line, buf, sizeof(buf), &f, &err), -EINVAL);
		assert_string_equal(err.text, rows[i].text);
		assert_int_equal(err.kind, HK_INVALID);
		assert_string_equal(f.ns, "untouched");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containerd_lines),
		cmocka_unit_test(server_and_delete_lines),
		cmocka_unit_test(wrong_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
