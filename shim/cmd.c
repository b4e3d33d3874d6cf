/* SPDX-License-Identifier: Apache-2.0 */
/* shim/cmd.c — what the commands share. */
#include "shim/cmd.h"

#include <stdio.h>
#include <string.h>

#include "oci/base/err.h"
#include "oci/base/str.h"

void shim_state_dir(const char *grpc_address, char ret[SHIM_STATE_DIR_SIZE])
{
	uint8_t digest[32];
	char hex[65];

	hk_sha256(grpc_address, strlen(grpc_address), digest);
	hk_hex(digest, sizeof(digest), hex);
	(void)hk_fmt(ret, SHIM_STATE_DIR_SIZE, SHIM_RUN_DIR "/%.16s", hex);
}

int shim_cmd_fail(const struct hk_err *err)
{
	(void)fprintf(stderr, SHIM_PROGRAM ": %s\n", err->text);
	return 1;
}
