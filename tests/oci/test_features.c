/* SPDX-License-Identifier: Apache-2.0 */
/* The features document: well formed, and each word in it is one that the parsers take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/json.h"
#include "oci/mount_opts.h"
#include "oci/oci.h"
#include "tests/oci/spec_helpers.h"
#include "tests/lib/needs.h"

struct document {
	struct hk_arena arena;
	char *text;
	const struct oci_json *root;
};

static int setup(void **state)
{
	struct document *d = calloc(1, sizeof(*d));
	size_t len = 0;

	if (!d)
		return -1;
	*state = d;
	if (oci_features_json(&d->text, &len, NULL) < 0 || strlen(d->text) != len)
		return -1;
	return oci_json_parse(d->text, len, NULL, &d->arena, &d->root, NULL);
}

static int teardown(void **state)
{
	struct document *d = *state;

	hk_arena_done(&d->arena);
	free(d->text);
	free(d);
	return 0;
}

/* "linux.seccomp.actions" */
static const struct oci_json *at(const struct document *d, const char *path)
{
	const struct oci_json *v = d->root;
	char *copy = strdup(path), *save = NULL;

	for (char *key = strtok_r(copy, ".", &save); key && v; key = strtok_r(NULL, ".", &save))
		v = oci_json_get(v, key);
	free(copy);
	if (!v)
		fail_msg("%s is not in the document", path);
	return v;
}

static bool has_word(const struct oci_json *array, const char *word)
{
	for (const struct oci_json *v = array->first; v; v = v->next) {
		if (oci_json_is_word(v, word))
			return true;
	}
	return false;
}

/* Everything containerd looks at, and the promises of this engine. */
static void test_content(void **state)
{
	static const char *const words[][2] = {
		{ "hooks", "prestart" },
		{ "hooks", "createRuntime" },
		{ "hooks", "createContainer" },
		{ "hooks", "startContainer" },
		{ "hooks", "poststart" },
		{ "hooks", "poststop" },
		{ "mountOptions", "rro" },
		{ "mountOptions", "idmap" },
		{ "mountOptions", "ridmap" },
		{ "mountOptions", "rbind" },
		{ "linux.namespaces", "user" },
		{ "linux.namespaces", "time" },
		{ "linux.namespaces", "cgroup" },
		{ "linux.capabilities", "CAP_CHOWN" },
		{ "linux.capabilities", "CAP_CHECKPOINT_RESTORE" },
		{ "linux.seccomp.actions", "SCMP_ACT_ALLOW" },
		{ "linux.seccomp.actions", "SCMP_ACT_KILL_PROCESS" },
		{ "linux.seccomp.actions", "SCMP_ACT_NOTIFY" },
		{ "linux.seccomp.operators", "SCMP_CMP_MASKED_EQ" },
		{ "linux.seccomp.archs", "SCMP_ARCH_X86_64" },
		{ "linux.seccomp.knownFlags", "SECCOMP_FILTER_FLAG_SPEC_ALLOW" },
		{ "linux.memoryPolicy.modes", "MPOL_BIND" },
		{ "linux.memoryPolicy.flags", "MPOL_F_STATIC_NODES" },
	};
	static const struct {
		const char *path;
		bool value;
	} bools[] = {
		{ "linux.cgroup.v1", true },
		{ "linux.cgroup.v2", true },
		{ "linux.cgroup.systemd", true },
		{ "linux.seccomp.enabled", true },
		{ "linux.apparmor.enabled", true },
		{ "linux.selinux.enabled", true },
		{ "linux.intelRdt.enabled", true },
		{ "linux.intelRdt.schemata", true },
		{ "linux.intelRdt.monitoring", true },
		{ "linux.netDevices.enabled", true },
	};
	const struct document *d = *state;

	needs_mount_setattr(); /* rro and its kin are told only where they work */
	assert_true(oci_json_is_word(at(d, "ociVersionMin"), "1.0.0"));
	assert_true(oci_json_is_word(at(d, "ociVersionMax"), "1.3.0"));
	for (size_t i = 0; i < HK_ARRAY_SIZE(words); i++) {
		if (!has_word(at(d, words[i][0]), words[i][1]))
			fail_msg("%s lacks %s", words[i][0], words[i][1]);
	}
	assert_false(has_word(at(d, "mountOptions"), "acl"));
	assert_int_equal(at(d, "linux.namespaces")->n, OCI_N_NS);
	assert_int_equal(at(d, "hooks")->n, OCI_N_HOOK_KINDS);
	for (size_t i = 0; i < HK_ARRAY_SIZE(bools); i++)
		assert_int_equal(at(d, bools[i].path)->boolean, bools[i].value);
	assert_int_equal(at(d, "linux.mountExtensions.idmap.enabled")->type, OCI_JSON_BOOL);
}

/* Puts each word of the list where a config.json has it, and parses that. */
static void check_words(const struct document *d, const char *path, const char *fmt)
{
	const struct oci_json *list = at(d, path);

	assert_int_equal(list->type, OCI_JSON_ARRAY);
	assert_true(list->n > 0);
	for (const struct oci_json *v = list->first; v; v = v->next) {
		char word[64], text[512];

		(void)snprintf(word, sizeof(word), "%.*s", (int)v->n, v->text);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(text, sizeof(text), fmt, word);
#pragma GCC diagnostic pop
		oci_spec_free(parse_ok(text));
	}
}

static void test_words_are_known(void **state)
{
#define HEAD "{\"ociVersion\":\"1.0.0\","
#define SECCOMP HEAD "\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\","
	const struct document *d = *state;

	check_words(d, "hooks", HEAD "\"hooks\":{\"%s\":[{\"path\":\"/x\"}]}}");
	check_words(d, "linux.namespaces", HEAD "\"linux\":{\"namespaces\":[{\"type\":\"%s\"}]}}");
	check_words(d, "linux.seccomp.actions", SECCOMP "\"syscalls\":[{\"names\":[\"x\"],\"action\":\"%s\"}]}}}");
	check_words(d, "linux.seccomp.operators",
	    SECCOMP "\"syscalls\":[{\"names\":[\"x\"],\"action\":\"SCMP_ACT_ALLOW\","
		    "\"args\":[{\"index\":0,\"value\":0,\"op\":\"%s\"}]}]}}}");
	check_words(d, "linux.seccomp.archs", SECCOMP "\"architectures\":[\"%s\"]}}}");
	check_words(d, "linux.seccomp.knownFlags", SECCOMP "\"flags\":[\"%s\"]}}}");
	check_words(d, "linux.memoryPolicy.modes", HEAD "\"linux\":{\"memoryPolicy\":{\"mode\":\"%s\"}}}");
	check_words(d, "linux.memoryPolicy.flags",
	    HEAD "\"linux\":{\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"flags\":[\"%s\"]}}}");
}

static void test_supported_flags_are_known(void **state)
{
	const struct document *d = *state;
	const struct oci_json *known = at(d, "linux.seccomp.knownFlags");

	for (const struct oci_json *v = at(d, "linux.seccomp.supportedFlags")->first; v; v = v->next) {
		char word[64];

		(void)snprintf(word, sizeof(word), "%.*s", (int)v->n, v->text);
		assert_true(has_word(known, word));
	}
}

/* Each capability the document names sets exactly one bit where the kernel has it too, and none of them two. */
static void test_capabilities(void **state)
{
	const struct document *d = *state;
	uint64_t all = 0;

	for (const struct oci_json *v = at(d, "linux.capabilities")->first; v; v = v->next) {
		char text[256];
		struct oci_spec *s;
		uint64_t bits;

		(void)snprintf(text, sizeof(text),
		    HEAD "\"process\":{\"cwd\":\"/\",\"capabilities\":{\"bounding\":[\"%.*s\"]}}}", (int)v->n, v->text);
		s = parse_ok(text);
		bits = s->process.caps[OCI_CAP_BOUNDING];
		assert_int_equal(bits & (bits - 1), 0);
		assert_int_equal(bits & all, 0);
		all |= bits;
		oci_spec_free(s);
	}
	assert_true(all & 1);
}

static void test_mount_options_are_the_table(void **state)
{
	const struct oci_json *v = at(*state, "mountOptions")->first;
	size_t i = 0;

	needs_mount_setattr();
	for (; v; v = v->next, i++)
		assert_true(oci_json_is_word(v, oci_mount_opts_word(i)));
	assert_null(oci_mount_opts_word(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_words_are_known),
		cmocka_unit_test(test_supported_flags_are_known),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_mount_options_are_the_table),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
