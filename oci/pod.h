/* SPDX-License-Identifier: Apache-2.0 */
/* oci/pod.h — what a pod gives to its containers, and what comes with the shim. Part of oci/oci.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hk_err;

/* What the pod gives to each of its containers: bound read-write, or read-only if root.readonly is set and follows_root. */
struct oci_pod_mount {
	const char *destination, *source;
	bool follows_root;
};

struct oci_pod_part {
	const struct oci_pod_mount *mounts; /* made unless the spec mounts there itself; its own default for /dev/shm gives way */
	size_t n_mounts;
	const char *config_json; /* instead of <bundle>/config.json; may be NULL */
	size_t config_json_len;
};

/*
 * The path of a program that is installed along with this one (husk-init, husk-systemd): beside it in a build, below libexec where both are
 * installed. HK_UNSUPPORTED with both places in the text.
 */
int oci_program_find(const char *name, char *buf, size_t size, struct hk_err *err);
/* The OCI features document for `-info`: malloc'ed JSON. */
int oci_features_json(char **ret, size_t *ret_len, struct hk_err *err);
