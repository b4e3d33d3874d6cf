/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/cmd_info.c — `-info`: containerd 2.x asks what this runtime can do before it lets a pod use user namespaces or read-only mounts.
 * In: runtime options on stdin or nothing. Out: containerd.types.RuntimeInfo on stdout. Needs no bundle, namespace or environment.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/oci.h"
#include "proto/bootstrap.h"
#include "shim/cmd.h"
#include "shim/input.h"

static int print(const struct boot_input *in, struct hk_err *err)
{
	struct boot_info info = { .name = SHIM_RUNTIME_NAME, .version = HUSK_VERSION, .revision = HUSK_REVISION,
		.options_type_url = in->options_type_url, .options_value = in->options_value, .options_len = in->options_len };
	hk_autofree char *features = NULL;
	hk_autofree uint8_t *bytes = NULL;
	size_t len;
	int r;

	r = oci_features_json(&features, &len, err);
	if (r < 0)
		return r;
	info.features_json = features;
	r = boot_info_encode(&info, &bytes, &len);
	if (r == 0)
		r = hk_write_full(STDOUT_FILENO, bytes, len);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "answer on stdout") : 0;
}

int shim_cmd_info(void)
{
	hk_autofree uint8_t *bytes = NULL;
	struct hk_err err = { 0 };
	struct boot_input in;
	size_t len;
	int r;

	r = shim_input_read(STDIN_FILENO, &bytes, &len);
	if (r < 0)
		r = hk_fail(&err, HK_INTERNAL, -r, "read stdin");
	else if ((r = boot_input_parse(&in, bytes, len, "")) < 0)
		r = hk_fail_text(&err, HK_INVALID, -r, "stdin is not runtime options");
	else {
		r = print(&in, &err);
		boot_input_done(&in);
	}
	return r < 0 ? shim_cmd_fail(&err) : 0;
}
