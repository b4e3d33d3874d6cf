/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_toml.c — runtime options of every type. The input: a byte for the type, the text of the TOML table (types 0 and 1, wrapped
 * into their message here) or the bytes of the message.
 */
#include <errno.h>
#include <string.h>

#include "proto/envelope.h"
#include "proto/names.h"
#include "proto/options.h"
#include "proto/options.pb-c.h"
#include "tests/fuzz/fuzz.h"

static void check_string(const char *s)
{
	FUZZ_CHECK(!s || strlen(s) > 0); /* "" is "not given" */
}

static void decode(const char *type, const uint8_t *value, size_t len)
{
	struct rt_options_reason reason = { "" };
	struct rt_options o;
	int r = rt_options_decode(&o, type, value, len, &reason);

	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EOPNOTSUPP);
	FUZZ_CHECK(memchr(reason.text, '\0', sizeof(reason.text)));
	if (r < 0) {
		FUZZ_CHECK(reason.text[0]);
		return;
	}
	check_string(o.shim_cgroup);
	check_string(o.binary_name);
	check_string(o.root);
	check_string(o.criu_image_path);
	check_string(o.criu_work_path);
	check_string(o.task_api_address);
	check_string(o.config_path);
	rt_options_done(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = { TYPE_RUNTIME_OPTIONS, TYPE_CRI_RUNTIME_OPTIONS,
		("type.googleapis.com/" TYPE_RUNC_OPTIONS), TYPE_LINUX_CREATE_OPTIONS, TYPE_RUNC_OPTIONS,
		TYPE_RUNTIME_OPTIONS, "", "x" };
	struct fuzz_in in = { data, size };
	const unsigned int type = fuzz_byte(&in) % 8;
	size_t len = in.len;
	uint8_t *bytes = fuzz_bytes(&in, &len), *packed;
	Husk__Options__RuntimeOptions m;

	if (type < 2) {
		husk__options__runtime_options__init(&m);
		m.config_body.data = bytes;
		m.config_body.len = len;
		FUZZ_CHECK(ttrpc_pack(&m.base, &packed, &len) == 0);
		free(bytes);
		bytes = packed;
	}
	decode(types[type], bytes, len);
	free(bytes);
	return 0;
}
