/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_bootstrap.c — stdin of `start`: which of the forms it has, and the runtime options in it. The input: the -id argument, a
 * newline, the bytes.
 */
#include <errno.h>
#include <string.h>

#include "proto/bootstrap.h"
#include "proto/options.h"
#include "tests/fuzz/fuzz.h"

static void check_options(const char *type_url, const uint8_t *value, size_t len)
{
	struct rt_options_reason reason = { "" };
	struct rt_options o;
	int r = rt_options_decode(&o, type_url, value, len, &reason);

	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EOPNOTSUPP);
	FUZZ_CHECK(memchr(reason.text, '\0', sizeof(reason.text)));
	if (r == 0)
		rt_options_done(&o);
	else
		FUZZ_CHECK(reason.text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	char *id = fuzz_word(&in, '\n');
	size_t len = in.len;
	uint8_t *bytes = fuzz_bytes(&in, &len);
	struct boot_input b;
	int r = boot_input_parse(&b, bytes, len, id ? id : "");

	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r == 0) {
		FUZZ_CHECK((b.form == BOOT_NONE) == (len == 0));
		FUZZ_CHECK(b.instance_id && b.ns && b.containerd_version && b.ttrpc_address && b.grpc_address &&
			   b.containerd_binary && b.socket_dir);
		FUZZ_CHECK(b.options_type_url && (b.options_value || b.options_len == 0));
		FUZZ_CHECK(b.form != BOOT_OPTIONS || b.options_type_url[0] != '\0');
		check_options(b.options_type_url, b.options_value, b.options_len);
		boot_input_done(&b);
	}
	free(bytes);
	free(id);
	return 0;
}
