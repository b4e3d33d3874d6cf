/* SPDX-License-Identifier: Apache-2.0 */
/* shim/dump.h — SIGUSR1: all that the shim knows of itself, a line each, into the log. */
#pragma once

struct node_service;

/* Containers, processes, calls without an answer, queued events, the last events and failures, descriptors. */
void shim_dump(const struct node_service *n);
