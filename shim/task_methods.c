/* SPDX-License-Identifier: Apache-2.0 */
/* shim/task_methods.c — the table of the Task service: method name, request message, handler. */
#include "proto/task.pb-c.h"
#include "shim/task.h"

#define TASK_ROW(name, fn, message) { #name, &husk__task__##message##__descriptor, fn },
const struct ttrpc_method task_methods[TASK_N_METHODS] = { TASK_METHODS(TASK_ROW) };
