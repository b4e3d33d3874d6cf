/* SPDX-License-Identifier: Apache-2.0 */
/* shim/convert_sandbox.h — as shim/convert.h, for the messages of the Sandbox service. */
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "shim/convert.h"

struct convert_sandbox {
	struct sbx_sandbox_config config;
	struct hk_arena arena; /* owned: lists and joined strings */
	void *message;         /* owned; PodSandboxConfig */
};
/* HK_INVALID for options that are no PodSandboxConfig. End with convert_sandbox_done on success. */
int convert_sandbox(const ProtobufCMessage *m, struct convert_sandbox *ret, struct hk_err *err);
void convert_sandbox_done(struct convert_sandbox *c);
bool convert_is_verbose(const ProtobufCMessage *m);

void convert_reply_sandbox_started(struct ttrpc_call *call, const struct sbx_reply *r);
/* machine as in uname(2). */
void convert_reply_platform(struct ttrpc_call *call, const char *machine);
void convert_reply_sandbox_waited(struct ttrpc_call *call, const struct sbx_reply *r);
void convert_reply_sandbox_status(struct ttrpc_call *call, const struct sbx_sandbox_status *s, bool verbose);
void convert_reply_sandbox_metrics(struct ttrpc_call *call, const char *id, const struct oci_stats *s);
