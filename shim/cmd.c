/* SPDX-License-Identifier: Apache-2.0 */
/* shim/cmd.c — what the commands share. */
#include "shim/cmd.h"

#include <stdio.h>

#include "oci/base/err.h"

int shim_cmd_fail(const struct hk_err *err)
{
	(void)fprintf(stderr, SHIM_PROGRAM ": %s\n", err->text);
	return 1;
}
