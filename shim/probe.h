/* SPDX-License-Identifier: Apache-2.0 */
/* shim/probe.h — what a running shim speaks; `start` must not promise version 3 in the name of an older shim of the group. */
#pragma once

/* Asks the shim behind the connection `fd` whether it serves Task v3: returns 3 or 2. No answer within a second counts as 3. */
int shim_probe_version(int fd);
