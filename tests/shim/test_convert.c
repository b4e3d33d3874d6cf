/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/shim/test_convert.c — requests as containerd sends them become sandbox/'s structs; replies and errors become the bytes it expects.
 * with: exchange.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"
#include "oci/oci.h"
#include "proto/names.h"
#include "proto/options.pb-c.h"
#include "proto/task.pb-c.h"
#include "shim/convert.h"
#include "shim/task.h"
#include "tests/shim/exchange.h"

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* ---- requests ---- */

/* Every method's message: the id is its field 1; a string as field 2 is an exec id in most and something else in two. */
static void ids(void **state)
{
	static const char bytes[] = "\x0a\x01" "a\x12\x01" "e";
	static const struct {
		const char *method;
		size_t len; /* of bytes that suit the message */
		const char *exec_id;
	} rows[] = {
		{ "Create", 6, "" }, { "Start", 6, "e" }, { "State", 6, "e" }, { "Delete", 6, "e" }, { "Exec", 6, "e" },
		{ "Kill", 6, "e" }, { "Wait", 6, "e" }, { "Connect", 3, "" }, { "Shutdown", 3, "" }, { "Pids", 3, "" },
		{ "CloseIO", 6, "e" }, { "ResizePty", 6, "e" }, { "Pause", 3, "" }, { "Resume", 3, "" }, { "Stats", 3, "" },
		{ "Update", 3, "" }, { "Checkpoint", 6, "" },
	};
	size_t n_found = 0;

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++)
		for (size_t k = 0; k < TASK_N_METHODS; k++) {
			ProtobufCMessage *m;

			if (strcmp(task_methods[k].name, rows[i].method) != 0)
				continue;
			m = ttrpc_unpack(task_methods[k].request, (const uint8_t *)bytes, rows[i].len);
			assert_non_null(m);
			assert_string_equal(convert_ids(m).id, "a");
			assert_string_equal(convert_ids(m).exec_id, rows[i].exec_id);
			protobuf_c_message_free_unpacked(m, NULL);
			m = ttrpc_unpack(task_methods[k].request, NULL, 0);
			assert_non_null(m);
			assert_string_equal(convert_ids(m).id, "");
			assert_string_equal(convert_ids(m).exec_id, "");
			protobuf_c_message_free_unpacked(m, NULL);
			assert_non_null(task_methods[k].fn);
			n_found++;
		}
	/* Each once, under the name that containerd calls. */
	assert_int_equal(n_found, TASK_N_METHODS);
	assert_int_equal(HK_ARRAY_SIZE(rows), TASK_N_METHODS);
}

static void create(void **state)
{
	char *words0[] = { str("lowerdir=/l"), str("upperdir=/u") };
	Husk__Types__Mount m0, m1;
	Husk__Types__Mount *mounts[] = { &m0, &m1 };
	Husk__Options__RuncOptions options;
	Husk__Task__CreateTaskRequest t;
	hk_autofree uint8_t *bytes = NULL;
	struct convert_create c;
	struct hk_err err;
	Husk__Types__Any any;

	(void)state;
	husk__types__mount__init(&m0);
	m0.type = str("overlay");
	m0.source = str("overlay");
	m0.n_options = 2;
	m0.options = words0;
	husk__types__mount__init(&m1);
	m1.type = str("bind");
	m1.source = str("/src");
	m1.target = str("sub");
	husk__options__runc_options__init(&options);
	options.no_pivot_root = 1;
	options.no_new_keyring = 1;
	options.io_uid = 100000;
	options.io_gid = 0;
	husk__types__any__init(&any);
	any.type_url = str(TYPE_RUNC_OPTIONS);
	assert_int_equal(ttrpc_pack(&options.base, &bytes, &any.value.len), 0);
	any.value.data = bytes;
	husk__task__create_task_request__init(&t);
	t.id = str("c1");
	t.bundle = str("/b");
	t.n_rootfs = 2;
	t.rootfs = mounts;
	t.terminal = 1;
	t.stdin = str("/i");
	t.stdout = str("/o");
	t.checkpoint = str("/cp");
	t.options = &any;

	assert_int_equal(convert_create(&t.base, &c, &err), 0);
	assert_string_equal(c.request.id, "c1");
	assert_string_equal(c.request.bundle, "/b");
	assert_int_equal(c.request.n_rootfs, 2);
	assert_string_equal(c.request.rootfs[0].type, "overlay");
	assert_int_equal(c.request.rootfs[0].options.n, 2);
	assert_string_equal(c.request.rootfs[0].options.v[1], "upperdir=/u");
	assert_null(c.request.rootfs[0].options.v[2]);
	assert_string_equal(c.request.rootfs[1].target, "sub");
	assert_int_equal(c.request.rootfs[1].options.n, 0);
	assert_null(c.request.rootfs[1].options.v[0]);
	assert_true(c.request.terminal);
	assert_string_equal(c.request.stdin_path, "/i");
	assert_string_equal(c.request.stdout_path, "/o");
	assert_string_equal(c.request.stderr_path, "");
	assert_string_equal(c.request.checkpoint, "/cp");
	assert_true(c.request.no_pivot && c.request.no_new_keyring && c.request.has_io_owner);
	assert_int_equal(c.request.io_uid, 100000);
	assert_int_equal(c.request.io_gid, 0);
	convert_create_done(&c);
}

/* Options in each form, and what is wrong with the bad ones. */
static void create_options(void **state)
{
	static const struct {
		const char *type;
		const char *toml; /* of runtimeoptions; NULL = the bytes below */
		const char *bytes;
		int r;
		const char *text;
		bool no_pivot;
	} rows[] = {
		{ NULL, NULL, "", 0, NULL, false },
		{ TYPE_RUNC_OPTIONS, NULL, "", 0, NULL, false },
		{ "type.googleapis.com/" TYPE_RUNC_OPTIONS, NULL, "\x08\x01", 0, NULL, true },
		{ TYPE_RUNTIME_OPTIONS, "SystemdCgroup = false\nNoPivotRoot = true\n", NULL, 0, NULL, true },
		{ TYPE_RUNTIME_OPTIONS, "NoPivotRoot = 7\n", NULL, -EINVAL, "options: ", false },
		{ TYPE_RUNC_OPTIONS, NULL, "\x0a", -EINVAL, "options: ", false },
		{ "foo.Bar", NULL, "", -EINVAL, "options of unknown type \"foo.Bar\"", false },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		Husk__Options__RuntimeOptions toml;
		Husk__Task__CreateTaskRequest t;
		hk_autofree uint8_t *bytes = NULL;
		struct convert_create c;
		Husk__Types__Any any;
		struct hk_err err;

		husk__types__any__init(&any);
		husk__options__runtime_options__init(&toml);
		any.type_url = str(rows[i].type ? rows[i].type : "");
		if (rows[i].toml) {
			toml.config_body.data = (uint8_t *)str(rows[i].toml);
			toml.config_body.len = strlen(rows[i].toml);
			assert_int_equal(ttrpc_pack(&toml.base, &bytes, &any.value.len), 0);
			any.value.data = bytes;
		} else {
			any.value.data = (uint8_t *)str(rows[i].bytes);
			any.value.len = strlen(rows[i].bytes);
		}
		husk__task__create_task_request__init(&t);
		t.options = rows[i].type ? &any : NULL;
		assert_int_equal(convert_create(&t.base, &c, &err), rows[i].r);
		if (rows[i].r < 0) {
			assert_int_equal(err.kind, HK_INVALID);
			assert_memory_equal(err.text, rows[i].text, strlen(rows[i].text));
			continue;
		}
		assert_int_equal(c.request.no_pivot, rows[i].no_pivot);
		assert_false(c.request.has_io_owner);
		convert_create_done(&c);
	}
}

static void exec_and_update(void **state)
{
	static const char json[] = "{\"args\":[]}";
	Husk__Task__ExecProcessRequest e;
	Husk__Task__UpdateTaskRequest u;
	Husk__Types__Any any;
	struct sbx_exec x;
	size_t len = 1;

	(void)state;
	husk__task__exec_process_request__init(&e);
	e.id = str("a");
	e.exec_id = str("e");
	x = convert_exec(&e.base);
	assert_int_equal(x.spec_json_len, 0);
	assert_string_equal(x.stdin_path, "");
	husk__types__any__init(&any);
	any.value.data = (uint8_t *)str(json);
	any.value.len = sizeof(json) - 1;
	e.spec = &any;
	e.terminal = 1;
	x = convert_exec(&e.base);
	assert_true(x.terminal);
	assert_int_equal(x.spec_json_len, sizeof(json) - 1);
	assert_memory_equal(x.spec_json, json, sizeof(json) - 1);

	husk__task__update_task_request__init(&u);
	assert_null(convert_resources(&u.base, &len));
	assert_int_equal(len, 0);
	u.resources = &any;
	assert_ptr_equal(convert_resources(&u.base, &len), json);
	assert_int_equal(len, sizeof(json) - 1);
}

/* ---- errors ---- */

static void codes(void **state)
{
	static const struct {
		enum hk_kind kind;
		enum ttrpc_code code;
	} rows[] = {
		{ HK_INTERNAL, TTRPC_UNKNOWN },
		{ HK_INVALID, TTRPC_INVALID_ARGUMENT },
		{ HK_NOT_FOUND, TTRPC_NOT_FOUND },
		{ HK_EXISTS, TTRPC_ALREADY_EXISTS },
		{ HK_BAD_STATE, TTRPC_FAILED_PRECONDITION },
		{ HK_UNSUPPORTED, TTRPC_UNIMPLEMENTED },
		{ HK_EXHAUSTED, TTRPC_RESOURCE_EXHAUSTED },
		{ HK_DEADLINE, TTRPC_DEADLINE_EXCEEDED },
		{ HK_UNAVAILABLE, TTRPC_UNAVAILABLE },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		assert_int_equal(convert_code(rows[i].kind, "Checkpoint"), rows[i].code);
		/* These two must never say Unimplemented, the second not NotFound either; nothing else differs. */
		assert_int_equal(convert_code(rows[i].kind, "Connect"),
		    rows[i].kind == HK_UNSUPPORTED ? TTRPC_UNKNOWN : rows[i].code);
		assert_int_equal(convert_code(rows[i].kind, "Create"),
		    rows[i].kind == HK_UNSUPPORTED || rows[i].kind == HK_NOT_FOUND ? TTRPC_UNKNOWN : rows[i].code);
	}
}

static void texts(void **state)
{
	static const struct {
		enum hk_kind kind;
		const char *text, *prefix, *want;
	} rows[] = {
		{ HK_INTERNAL, "mount proc: EPERM", "OCI runtime create failed", "OCI runtime create failed: mount proc: EPERM" },
		{ HK_INVALID, "root.path: missing", "OCI runtime create failed", "OCI runtime create failed: root.path: missing" },
		{ HK_UNSUPPORTED, "no", "OCI runtime create failed", "OCI runtime create failed: no" },
		{ HK_INTERNAL, "x", NULL, "x" },
		{ HK_NOT_FOUND, "container not created", NULL, "container not created: not found" },
		{ HK_NOT_FOUND, "process already finished: not found", NULL, "process already finished: not found" },
		{ HK_NOT_FOUND, "process does not exist e", "OCI runtime exec failed", "process does not exist e: not found" },
		{ HK_EXISTS, "task a", "OCI runtime create failed", "task a: already exists" },
		{ HK_EXISTS, "a: already exists", NULL, "a: already exists" },
		{ HK_NOT_FOUND, "read /b/config.json: ENOENT", "OCI runtime create failed",
		    "OCI runtime create failed: read /b/config.json: ENOENT" },
		{ HK_BAD_STATE, "container a init process is not running", "OCI runtime exec failed",
		    "container a init process is not running" },
		{ HK_UNAVAILABLE, "shim is shutting down", "OCI runtime create failed", "shim is shutting down" },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(rows); i++) {
		struct hk_err err;
		char text[1100];

		(void)hk_fail_text(&err, rows[i].kind, EIO, "%s", rows[i].text);
		convert_text(&err, hk_streq(rows[i].prefix, "OCI runtime create failed") ? "Create" : "Start", rows[i].prefix, text,
		    sizeof(text));
		assert_string_equal(text, rows[i].want);
	}
}

static void reply_failure(struct ttrpc_call *call, const void *arg)
{
	convert_fail(call, arg, "OCI runtime create failed", NULL);
}

/* The longest text still arrives, with its class at the end, and without a payload. */
static void long_failure(void **state)
{
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_failure };
	struct hk_err err;

	(void)state;
	(void)hk_fail_text(&err, HK_INTERNAL, EIO, "%*s", (int)sizeof(err.text) - 1, "end");
	x.arg = &err;
	convert_run(&x, "Create");
	assert_int_equal(x.code, TTRPC_UNKNOWN);
	assert_int_equal(x.len, 0);
	assert_string_equal(x.text + strlen(x.text) - 3, "end");
	assert_memory_equal(x.text, "OCI runtime create failed: ", 27);
}

/* ---- replies ---- */

static void reply_state(struct ttrpc_call *call, const void *arg)
{
	convert_reply_state(call, arg);
}

static void state_reply(void **state)
{
	struct sbx_state s = { .id = "e1", .bundle = "/b", .stdin_path = "/i", .stdout_path = "/o", .stderr_path = NULL, .pid = 7,
		.status = SBX_PAUSING, .terminal = true };
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_state, .arg = &s };
	hk_auto(convert_exchange_done) struct convert_exchange stopped = { .reply = reply_state, .arg = &s };
	Husk__Task__StateResponse *m;

	(void)state;
	convert_run(&x, "State");
	m = husk__task__state_response__unpack(NULL, x.len, x.payload);
	assert_non_null(m);
	assert_string_equal(m->id, "e1");
	assert_string_equal(m->exec_id, "");
	assert_string_equal(m->stdout, "/o");
	assert_string_equal(m->stderr, "");
	assert_int_equal(m->status, HUSK__TASK__STATUS__PAUSING);
	assert_true(m->terminal);
	assert_null(m->exited_at);
	husk__task__state_response__free_unpacked(m, NULL);

	s.status = SBX_STOPPED;
	s.exit_status = 137;
	s.exited_at = (struct timespec){ 5, 6 };
	convert_run(&stopped, "State");
	m = husk__task__state_response__unpack(NULL, stopped.len, stopped.payload);
	assert_non_null(m);
	assert_int_equal(m->status, HUSK__TASK__STATUS__STOPPED);
	assert_int_equal(m->exit_status, 137);
	assert_int_equal(m->exited_at->seconds, 5);
	assert_int_equal(m->exited_at->nanos, 6);
	husk__task__state_response__free_unpacked(m, NULL);
}

static const struct sbx_pid some_pids[] = { { 10, NULL }, { 11, "exec-1" },
	{ 12, "1234567890123456789012345678901234567890123456789012345678901234567890123456" } };

static void reply_pids(struct ttrpc_call *call, const void *arg)
{
	(void)arg;
	convert_reply_pids(call, some_pids, HK_ARRAY_SIZE(some_pids));
}

static void reply_no_pids(struct ttrpc_call *call, const void *arg)
{
	(void)arg;
	convert_reply_pids(call, NULL, 0);
}

static void pids_reply(void **state)
{
	hk_auto(convert_exchange_done) struct convert_exchange x = { .reply = reply_pids };
	hk_auto(convert_exchange_done) struct convert_exchange none = { .reply = reply_no_pids };
	Husk__Task__PidsResponse *m;

	(void)state;
	convert_run(&x, "Pids");
	m = husk__task__pids_response__unpack(NULL, x.len, x.payload);
	assert_non_null(m);
	assert_int_equal(m->n_processes, 3);
	for (size_t i = 0; i < 3; i++) {
		const Husk__Types__Any *info = m->processes[i]->info;
		Husk__Options__ProcessDetails *d;

		assert_int_equal(m->processes[i]->pid, some_pids[i].pid);
		if (!some_pids[i].exec_id) {
			assert_null(info);
			continue;
		}
		assert_string_equal(info->type_url, TYPE_RUNC_PROCESS_DETAILS);
		d = husk__options__process_details__unpack(NULL, info->value.len, info->value.data);
		assert_non_null(d);
		assert_string_equal(d->exec_id, some_pids[i].exec_id);
		husk__options__process_details__free_unpacked(d, NULL);
	}
	husk__task__pids_response__free_unpacked(m, NULL);
	convert_run(&none, "Pids");
	assert_int_equal(none.code, TTRPC_OK);
	assert_int_equal(none.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids),
		cmocka_unit_test(create),
		cmocka_unit_test(create_options),
		cmocka_unit_test(exec_and_update),
		cmocka_unit_test(codes),
		cmocka_unit_test(texts),
		cmocka_unit_test(long_failure),
		cmocka_unit_test(state_reply),
		cmocka_unit_test(pids_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
