/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/carry.h — a pod over the execve of the shim by another version of itself (oci/base/record.h). Public, beside sandbox.h. Requests that wait
 * (Wait, WaitSandbox, Delete) are not in it: they are the caller's, to be made again.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;
struct hk_record;
struct hk_value;
struct sbx_pod;
struct sbx_pod_opts;

/* Something is under way that cannot be carried: what, in words. It ends by itself, so ask again. */
bool sbx_busy(const struct sbx_pod *p, char *buf, size_t size);
/* Writes into the record that is open; only when it is not busy. Changes nothing. */
int sbx_pod_save(const struct sbx_pod *p, struct hk_record *to, struct hk_err *err);
/*
 * sbx_pod_new from a record. Calls nobody and writes no file: exits, kills and output that have come meanwhile are told by the loop. After a failure the
 * process must end, by execve at best: nothing is freed, no process and no descriptor is touched.
 */
int sbx_pod_load(const struct sbx_pod_opts *o, const struct hk_value *from, struct sbx_pod **ret, struct hk_err *err);
