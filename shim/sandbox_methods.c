/* SPDX-License-Identifier: Apache-2.0 */
/* shim/sandbox_methods.c — the table of the Sandbox service: method name, request message, handler. */
#include "proto/sandbox.pb-c.h"
#include "shim/sandbox_svc.h"

#define SANDBOX_ROW(name, fn, message) { #name, &husk__sandbox__##message##__descriptor, fn },
const struct ttrpc_method sandbox_methods[SANDBOX_N_METHODS] = { SANDBOX_METHODS(SANDBOX_ROW) };
