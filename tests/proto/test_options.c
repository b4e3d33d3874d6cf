/* SPDX-License-Identifier: Apache-2.0 */
/* Runtime options: runc's message, CRI's TOML text, and what is refused. */
#include "proto/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/options.pb-c.h"

static void test_runc_fields(void **state)
{
	/* every field, numbers as containerd has them; 8 is reserved, 14 is of the future */
	static const char bytes[] = "\x08\x01\x10\x01\x1a\x02sc\x20\xa0\x8d\x06\x28\xa1\x8d\x06\x32\x02" "bn\x3a\x02rt"
		"\x42\x02xx\x48\x01\x52\x02ip\x5a\x02wp\x62\x02ta\x68\x03\x72\x04\xff\xfe\x80\x81";
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(rt_options_decode(&o, TYPE_RUNC_OPTIONS, (const uint8_t *)bytes, sizeof(bytes) - 1, &why), 0);
	assert_true(o.no_pivot_root);
	assert_true(o.no_new_keyring);
	assert_string_equal(o.shim_cgroup, "sc");
	assert_int_equal(o.io_uid, 100000);
	assert_int_equal(o.io_gid, 100001);
	assert_string_equal(o.binary_name, "bn");
	assert_string_equal(o.root, "rt");
	assert_true(o.systemd_cgroup);
	assert_string_equal(o.criu_image_path, "ip");
	assert_string_equal(o.criu_work_path, "wp");
	assert_string_equal(o.task_api_address, "ta");
	assert_int_equal(o.task_api_version, 3);
	rt_options_done(&o);
}

/* What `ctr run --uidmap` of containerd 1.6 sends for husk: runc's options of before shim v2, with other field numbers. */
static void test_linux_create_options(void **state)
{
	static const char bytes[] = "\x08\x01\x10\x01\x32\x02ns\x3a\x02" "cm\x40\x01\x4a\x02sc\x50\xa0\x8d\x06\x58\xa1\x8d\x06\x62\x02wp\x6a\x02ip";
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(
	    rt_options_decode(&o, "containerd.linux.runc.CreateOptions", (const uint8_t *)bytes, sizeof(bytes) - 1, &why), 0);
	assert_true(o.no_pivot_root);
	assert_true(o.no_new_keyring);
	assert_string_equal(o.shim_cgroup, "sc");
	assert_int_equal(o.io_uid, 100000);
	assert_int_equal(o.io_gid, 100001);
	assert_string_equal(o.criu_work_path, "wp");
	assert_string_equal(o.criu_image_path, "ip");
	assert_false(o.systemd_cgroup);
	rt_options_done(&o);
	assert_int_equal(rt_options_decode(&o, "containerd.linux.runc.CreateOptions", (const uint8_t *)"\x4a\x7f", 2, &why), -EBADMSG);
}

static void test_runc_empty_and_prefixed(void **state)
{
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(rt_options_decode(&o, "type.googleapis.com/" TYPE_RUNC_OPTIONS, NULL, 0, &why), 0);
	assert_false(o.systemd_cgroup);
	assert_null(o.root);
	rt_options_done(&o);
	assert_int_equal(rt_options_decode(&o, "", NULL, 0, &why), 0);
	assert_null(o.binary_name);
	rt_options_done(&o);
}

static void test_refused(void **state)
{
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(rt_options_decode(&o, "a.b.C", NULL, 0, &why), -EOPNOTSUPP);
	assert_string_equal(why.text, "unknown options type a.b.C");
	assert_int_equal(rt_options_decode(&o, "", (const uint8_t *)"x", 1, &why), -EOPNOTSUPP);
	assert_int_equal(rt_options_decode(&o, TYPE_RUNC_OPTIONS, (const uint8_t *)"\x1a\x7f", 2, &why), -EBADMSG);
	assert_string_equal(why.text, "not a containerd.runc.v1.Options message");
	assert_int_equal(rt_options_decode(&o, TYPE_RUNTIME_OPTIONS, (const uint8_t *)"\x1a\x7f", 2, &why), -EBADMSG);
	assert_string_equal(why.text, "not a runtimeoptions.v1.Options message");
}

static int decode_toml(struct rt_options *o, const char *text, struct rt_options_reason *why)
{
	Husk__Options__RuntimeOptions m;
	uint8_t *bytes;
	size_t len;
	int r;

	husk__options__runtime_options__init(&m);
	m.config_body.data = (uint8_t *)(uintptr_t)text;
	m.config_body.len = strlen(text);
	assert_int_equal(ttrpc_pack(&m.base, &bytes, &len), 0);
	r = rt_options_decode(o, TYPE_RUNTIME_OPTIONS, bytes, len, why);
	free(bytes);
	return r;
}

static void test_toml(void **state)
{
	static const char text[] = "# written by containerd\r\n"
		"BinaryName = \"/opt/\\\"x\\\"\\\\y\"\n"
		"  SystemdCgroup = true   # the usual\n"
		"\"NoPivotRoot\"=true\n"
		"NoNewKeyring = false\n"
		"Root = '/run/a\\b'\n"
		"ShimCgroup = \"\"\n"
		"IoUid = 4294967295\n"
		"IoGid = 7\n"
		"CriuPath = [1, 2]\n"
		"Future = { a = \"b\" }\n"
		"\n"
		"[debug]\n"
		"SystemdCgroup = false\n"
		"IoGid = \"no\"";
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(decode_toml(&o, text, &why), 0);
	assert_string_equal(o.binary_name, "/opt/\"x\"\\y");
	assert_true(o.systemd_cgroup);
	assert_true(o.no_pivot_root);
	assert_false(o.no_new_keyring);
	assert_string_equal(o.root, "/run/a\\b");
	assert_null(o.shim_cgroup);
	assert_int_equal(o.io_uid, UINT32_MAX);
	assert_int_equal(o.io_gid, 7);
	rt_options_done(&o);
}

static void test_toml_last_key_wins_without_a_leak(void **state)
{
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(decode_toml(&o, "Root = \"/a\"\nRoot = \"/b\"", &why), 0);
	assert_string_equal(o.root, "/b");
	rt_options_done(&o);
	assert_int_equal(decode_toml(&o, "", &why), 0);
	rt_options_done(&o);
}

static void test_toml_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "SystemdCgroup = yes", "SystemdCgroup: not a boolean" },
		{ "SystemdCgroup = true false", "SystemdCgroup: not a boolean" },
		{ "SystemdCgroup =", "SystemdCgroup: not a boolean" },
		{ "SystemdCgroup = \"true\"", "SystemdCgroup: not a boolean" },
		{ "IoUid = -1", "IoUid: not a number" },
		{ "IoUid = 4294967296", "IoUid: out of range" },
		{ "IoUid = 99999999999999999999999", "IoUid: out of range" },
		{ "IoGid = 1k", "IoGid: not a number" },
		{ "Root = /run", "Root: not a string" },
		{ "Root = \"/run", "Root: a string without an end" },
		{ "Root = \"/run\\\"", "Root: a string without an end" },
		{ "Root = \"/run\" x", "Root: a string without an end" },
		{ "Root = \"\\u0041\"", "Root: a string with an escape that is not supported" },
		{ "Root = \"\\", "Root: a string with an escape that is not supported" },
		{ "Root = \"a\"\nIoUid = x", "IoUid: not a number" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rt_options_reason why = { "" };
		struct rt_options o;

		assert_int_equal(decode_toml(&o, rows[i].text, &why), -EBADMSG);
		assert_string_equal(why.text, rows[i].why);
	}
}

static void test_config_path(void **state)
{
	static const char bytes[] = "\x0a\x01t\x12\x06/a.tml";
	struct rt_options_reason why;
	struct rt_options o;

	(void)state;
	assert_int_equal(rt_options_decode(&o, TYPE_CRI_RUNTIME_OPTIONS, (const uint8_t *)bytes, sizeof(bytes) - 1, &why), 0);
	assert_string_equal(o.config_path, "/a.tml");
	rt_options_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runc_fields),
		cmocka_unit_test(test_linux_create_options),
		cmocka_unit_test(test_runc_empty_and_prefixed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_toml),
		cmocka_unit_test(test_toml_last_key_wins_without_a_leak),
		cmocka_unit_test(test_toml_refused),
		cmocka_unit_test(test_config_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
