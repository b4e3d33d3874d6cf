/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/carry.h — a container over the execve of the shim by another version of itself (oci/base/record.h): what an exec, a start and the removal
 * need later. Part of oci/oci.h. Its processes and their pidfds are the caller's, and so to be carried by it.
 */
#pragma once

struct hk_err;
struct hk_record;
struct hk_value;
struct oci_container;
struct oci_engine;
struct oci_stats;

/* What is under way and cannot be carried, in words; NULL: nothing. It ends by itself, so ask again. */
const char *oci_container_busy(const struct oci_container *c);
/* Writes into the record that is open. Only when it is not busy. */
int oci_container_save(const struct oci_container *c, struct hk_record *to, struct hk_err *err);
/*
 * Takes the descriptors named in `from`, once the whole has succeeded; reads config.json again where hooks or a start are still to come. A failure leaves
 * descriptors and processes as they are.
 */
int oci_container_load(const struct oci_engine *e, const struct hk_value *from, struct oci_container **ret, struct hk_err *err);

/* Of an ended container: all but v1's block devices and RDMA. */
void oci_stats_save(const struct oci_stats *s, struct hk_record *to);
int oci_stats_load(const struct hk_value *from, struct oci_stats *ret);
