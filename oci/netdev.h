/* SPDX-License-Identifier: Apache-2.0 */
/* oci/netdev.h — linux.netDevices: devices of the host moved into the container's network namespace. Private to oci/. */
#pragma once
#include <sys/types.h>

#include "oci/helper.h"

struct oci_spec;

enum { OCI_NETDEV_TIMEOUT_MS = 30000 };

/*
 * Moves all of them into the network namespace of `pid`, in a helper: the kernel may keep it waiting for other users of
 * its lock.
 */
int oci_netdev_run(const struct oci_engine *e, const struct oci_spec *s, pid_t pid, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err);
