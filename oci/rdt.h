/* SPDX-License-Identifier: Apache-2.0 */
/* oci/rdt.h — linux.intelRdt: a class of service, and a monitoring group, of the resctrl file system. Private to oci/. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct hk_err;
struct oci_intel_rdt;
struct oci_rdt;
struct hk_record;
struct hk_value;

struct oci_rdt_fs {
	const char *root;
	/* mkdir(2) and rmdir(2): there, they make and take a directory with all its files. */
	int (*make)(const char *path, mode_t mode);
	int (*remove)(const char *path);
};

/* Where resctrl is mounted, of the form above: -ENOENT when it is nowhere. */
int oci_rdt_find(char *buf, size_t size, struct oci_rdt_fs *ret);
/*
 * Makes or checks what the spec names for container `id`, and writes schemata. *ret is the caller's. On error nothing is
 * left.
 */
int oci_rdt_create(const struct oci_rdt_fs *fs, const struct oci_intel_rdt *spec, const char *id, struct oci_rdt **ret,
    struct hk_err *err);
/* The calling process, and what it will clone, into the groups. A group that is gone meanwhile is skipped for an exec. */
int oci_rdt_enter(const struct oci_rdt *r, bool is_exec, struct hk_err *err);
/* Removes the directories that are the container's. Accepts NULL; a second time is harmless. */
void oci_rdt_remove(const struct oci_rdt *r);
void oci_rdt_free(struct oci_rdt *r);
/* Over an upgrade (oci/carry.h). NULL is nothing, and so read. */
void oci_rdt_save(const struct oci_rdt *r, struct hk_record *to);
int oci_rdt_load(const struct hk_value *from, struct oci_rdt **ret);
/* The same by the id alone, after a dead shim. */
void oci_rdt_cleanup(const struct oci_rdt_fs *fs, const char *id);
