/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/idmap.h — id-mapped mounts: a user namespace that exists for its maps alone, and a detached tree that gets them.
 * Private to oci/.
 */
#pragma once
#include <stdbool.h>

#include "oci/spec.h"

struct hk_err;

struct oci_idmap_cache { /* the namespace of the maps used last: volumes of a pod mostly have the same */
	const struct oci_idmaps *uid, *gid; /* borrowed */
	int userns_fd; /* owned */
};
#define OCI_IDMAP_CACHE_INIT { .userns_fd = -1 }
void oci_idmap_cache_done(struct oci_idmap_cache *c);

/* A descriptor of a user namespace with these maps; it lives as long as the descriptor. */
int oci_idmap_userns_open(const struct oci_idmaps *uid, const struct oci_idmaps *gid, int *ret_fd, struct hk_err *err);
/* The container's own user namespace, by path or by maps. HK_INVALID when it has none. */
int oci_idmap_container_userns(const struct oci_spec *spec, int *ret_fd, struct hk_err *err);
/* Gives the detached tree of mount `m` its mappings: those of the mount, else the container's. */
int oci_idmap_mount(const struct oci_spec *spec, const struct oci_mount *m, bool is_recursive, int tree_fd,
    struct oci_idmap_cache *cache, struct hk_err *err);
/* -errno alone. */
int oci_idmap_set(int tree_fd, int userns_fd, bool is_recursive);
