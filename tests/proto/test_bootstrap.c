/* SPDX-License-Identifier: Apache-2.0 */
/* Stdin of `start` in all its forms, byte by byte, and the three answers. */
#include "proto/bootstrap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/names.h"
#include "proto/options.h"

#define RUNC_ANY(value_len, value) "\x0a\x1a" TYPE_RUNC_OPTIONS "\x12" value_len value

struct row {
	const char *name;
	const char *bytes;
	size_t len;
	const char *id;
	int r;
	enum boot_form form;
	const char *type_url;
	size_t options_len;
};
#define ROW(n, b, i, ...) { .name = (n), .bytes = (b), .len = sizeof(b) - 1, .id = (i), __VA_ARGS__ }
static const struct row rows[] = {
	ROW("nothing", "", "c1", .form = BOOT_NONE, .type_url = ""),
	ROW("runc options with only systemd_cgroup", RUNC_ANY("\x02", "\x48\x01"), "c1",
	    .form = BOOT_OPTIONS, .type_url = TYPE_RUNC_OPTIONS, .options_len = 2),
	ROW("runc options, empty value", "\x0a\x1a" TYPE_RUNC_OPTIONS, "c1",
	    .form = BOOT_OPTIONS, .type_url = TYPE_RUNC_OPTIONS, .options_len = 0),
	ROW("runc options with bytes over 0x7f", RUNC_ANY("\x04", "\x20\xa0\x8d\x06"), "c1",
	    .form = BOOT_OPTIONS, .type_url = TYPE_RUNC_OPTIONS, .options_len = 4),
	ROW("toml options", "\x0a\x19" TYPE_RUNTIME_OPTIONS "\x12\x09\x1a\x07" "a = 'b'", "c1",
	    .form = BOOT_OPTIONS, .type_url = TYPE_RUNTIME_OPTIONS, .options_len = 9),
	ROW("params, id only", "\x0a\x02" "c1", "c1", .form = BOOT_PARAMS, .type_url = ""),
	ROW("params, id and namespace", "\x0a\x02" "c1\x12\x02ns", "c1", .form = BOOT_PARAMS, .type_url = ""),
	ROW("params for another id, with a version", "\x0a\x02" "c2\x12\x02ns\x22\x05" "2.3.4", "c1",
	    .form = BOOT_PARAMS, .type_url = ""),
	ROW("params without id, ttrpc address", "\x2a\x02/t", "c1", .form = BOOT_PARAMS, .type_url = ""),
	ROW("params without id, grpc address", "\x32\x02/g", "c1", .form = BOOT_PARAMS, .type_url = ""),
	ROW("params with options", "\x0a\x02" "c1\x42\x22\x0a\x20" RUNC_ANY("\x02", "\x48\x01"), "c1",
	    .form = BOOT_PARAMS, .type_url = TYPE_RUNC_OPTIONS, .options_len = 2),
	ROW("params, first extension is not options",
	    "\x0a\x02" "c1\x42\x05\x0a\x03\x0a\x01x\x42\x22\x0a\x20" RUNC_ANY("\x02", "\x48\x01"), "c1",
	    .form = BOOT_PARAMS, .type_url = TYPE_RUNC_OPTIONS, .options_len = 2),
	ROW("params, empty extension", "\x0a\x02" "c1\x42\x00", "c1", .form = BOOT_PARAMS, .type_url = ""),
	ROW("params with a field of the future", "\x0a\x02" "c1\xa2\x06\x02\xff\xfe", "c1",
	    .form = BOOT_PARAMS, .type_url = ""),
	ROW("params, no -id to compare with", "\x0a\x02" "c1\x12\x02ns", "", .form = BOOT_OPTIONS, .type_url = "c1",
	    .options_len = 2),
	ROW("text", "hello", "c1", .r = -EBADMSG),
	ROW("cut short", "\x0a\x19" "contai", "c1", .r = -EBADMSG),
	ROW("params without any mark", "\x12\x02ns", "c1", .r = -EBADMSG),
};

static void test_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct boot_input in;
		int r = boot_input_parse(&in, (const uint8_t *)row->bytes, row->len, row->id);

		if (r != row->r || (r == 0 && in.form != row->form))
			fail_msg("%s: result %d form %d", row->name, r, r == 0 ? (int)in.form : -1);
		if (r < 0)
			continue;
		assert_string_equal(in.options_type_url, row->type_url);
		assert_int_equal(in.options_len, row->options_len);
		boot_input_done(&in);
	}
}

static void test_options_in_both_forms_decode(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rt_options_reason why;
		struct boot_input in;
		struct rt_options o;

		if (rows[i].r < 0 || !strstr(rows[i].name, "systemd_cgroup"))
			continue;
		assert_int_equal(boot_input_parse(&in, (const uint8_t *)rows[i].bytes, rows[i].len, "c1"), 0);
		assert_int_equal(rt_options_decode(&o, in.options_type_url, in.options_value, in.options_len, &why), 0);
		assert_true(o.systemd_cgroup);
		rt_options_done(&o);
		boot_input_done(&in);
	}
}

static void test_params_fields(void **state)
{
	static const char bytes[] = "\x0a\x02" "c1\x12\x06k8s.io\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x05" "2.3.4"
		"\x2a\x03/tt\x32\x03/gr\x3a\x03/bi\x4a\x03/sd";
	struct boot_input in;

	(void)state;
	assert_int_equal(boot_input_parse(&in, (const uint8_t *)bytes, sizeof(bytes) - 1, "c1"), 0);
	assert_int_equal(in.form, BOOT_PARAMS);
	assert_string_equal(in.instance_id, "c1");
	assert_string_equal(in.ns, "k8s.io");
	assert_int_equal(in.log_level, BOOT_LEVEL_DEBUG);
	assert_string_equal(in.containerd_version, "2.3.4");
	assert_string_equal(in.ttrpc_address, "/tt");
	assert_string_equal(in.grpc_address, "/gr");
	assert_string_equal(in.containerd_binary, "/bi");
	assert_string_equal(in.socket_dir, "/sd");
	boot_input_done(&in);
}

static void assert_bytes(uint8_t *take_bytes, size_t len, const char *want, size_t want_len)
{
	assert_int_equal(len, want_len);
	assert_memory_equal(take_bytes, want, want_len);
	free(take_bytes);
}

static void test_result(void **state)
{
	static const char want[] = "\x08\x03\x12\x0bunix:///s/a\x1a\x05ttrpc";
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(boot_result_encode(3, "unix:///s/a", "ttrpc", &bytes, &len), 0);
	assert_bytes(bytes, len, want, sizeof(want) - 1);
}

static void test_delete(void **state)
{
	static const char want[] = "\x08\xac\x02\x10\x89\x01\x1a\x06\x08\x80\x94\xeb\xdc\x03";
	const struct boot_exit x = { .pid = 300, .exit_status = 137, .exited_sec = 1000000000 };
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(boot_delete_encode(&x, &bytes, &len), 0);
	assert_bytes(bytes, len, want, sizeof(want) - 1);
}

static void test_info(void **state)
{
	static const char want[] = "\x0a\x01n\x12\x06\x0a\x01v\x12\x01r"
		"\x22\x49\x0a\x43" TYPE_OCI_FEATURES "\x12\x02{}";
	static const char with_all[] = "\x0a\x01n\x12\x06\x0a\x01v\x12\x01r\x1a\x06\x0a\x01t\x12\x01o"
		"\x22\x49\x0a\x43" TYPE_OCI_FEATURES "\x12\x02{}"
		"\x2a\x2b\x0a\x22" "containerd.io/runtime-allow-mounts\x12\x05" "erofs";
	struct boot_info info = { .name = "n", .version = "v", .revision = "r", .features_json = "{}", .options_type_url = "" };
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(boot_info_encode(&info, &bytes, &len), 0);
	assert_bytes(bytes, len, want, sizeof(want) - 1);
	info.options_type_url = "t";
	info.options_value = (const uint8_t *)"o";
	info.options_len = 1;
	info.allow_mounts = "erofs";
	assert_int_equal(boot_info_encode(&info, &bytes, &len), 0);
	assert_bytes(bytes, len, with_all, sizeof(with_all) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_options_in_both_forms_decode),
		cmocka_unit_test(test_params_fields),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
