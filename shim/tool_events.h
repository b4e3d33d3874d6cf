/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_events.h — one event of a shim's history as a line or as an object; `pod` NULL: all of one pod. */
#pragma once
#include "proto/node.pb-c.h"

struct json;

void tool_print_event(const Husk__Node__Event *e, const char *pod);
void tool_json_event(struct json *j, const Husk__Node__Event *e, const char *pod);
