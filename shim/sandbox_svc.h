/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/sandbox_svc.h — the service containerd.runtime.sandbox.v1.Sandbox, on the same socket as the Task service and with the same context
 * (struct task_service). containerd calls it where a runtime is configured with `sandboxer = "shim"`.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "proto/dispatch.h"

/* name in the protocol, handler, request message in C */
#define SANDBOX_METHODS(X)                                               \
	X(CreateSandbox, sandbox_create, create_sandbox_request)         \
	X(StartSandbox, sandbox_start, start_sandbox_request)            \
	X(Platform, sandbox_platform, platform_request)                  \
	X(StopSandbox, sandbox_stop, stop_sandbox_request)               \
	X(WaitSandbox, sandbox_wait, wait_sandbox_request)               \
	X(SandboxStatus, sandbox_status, sandbox_status_request)         \
	X(PingSandbox, sandbox_ping, ping_request)                       \
	X(ShutdownSandbox, sandbox_shutdown, shutdown_sandbox_request)   \
	X(SandboxMetrics, sandbox_metrics, sandbox_metrics_request)

#define SANDBOX_HANDLER(name, fn, message) void fn(void *ctx, struct ttrpc_call *call, const ProtobufCMessage *request);
SANDBOX_METHODS(SANDBOX_HANDLER)
#undef SANDBOX_HANDLER

enum { SANDBOX_N_METHODS = 9 };
extern const struct ttrpc_method sandbox_methods[SANDBOX_N_METHODS];
