/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/names.h — service names and type URLs as containerd writes them. Type URLs have no host part: several places in
 * containerd compare them as whole strings.
 */
#pragma once

#define TTRPC_SERVICE_TASK_V2 "containerd.task.v2.Task"
#define TTRPC_SERVICE_TASK_V3 "containerd.task.v3.Task"
#define TTRPC_SERVICE_SANDBOX "containerd.runtime.sandbox.v1.Sandbox"
#define TTRPC_SERVICE_NODE "husk.node.Node" /* our own: shim/node.h */
#define TTRPC_SERVICE_EVENTS "containerd.services.events.ttrpc.v1.Events"

#define TYPE_RUNC_OPTIONS "containerd.runc.v1.Options"
#define TYPE_LINUX_CREATE_OPTIONS "containerd.linux.runc.CreateOptions"
#define TYPE_RUNC_CHECKPOINT "containerd.runc.v1.CheckpointOptions"
#define TYPE_RUNC_PROCESS_DETAILS "containerd.runc.v1.ProcessDetails"
#define TYPE_RUNTIME_OPTIONS "runtimeoptions.v1.Options"
#define TYPE_CRI_RUNTIME_OPTIONS "cri.runtimeoptions.v1.Options" /* its name before containerd 1.6 */
#define TYPE_OCI_PROCESS "types.containerd.io/opencontainers/runtime-spec/1/Process"
#define TYPE_OCI_RESOURCES "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
#define TYPE_OCI_FEATURES "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
#define TYPE_POD_SANDBOX_CONFIG "runtime.v1.PodSandboxConfig"
#define TYPE_CGROUP1_METRICS "io.containerd.cgroups.v1.Metrics"
#define TYPE_CGROUP2_METRICS "io.containerd.cgroups.v2.Metrics"
