/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/options.h — runtime options: an Any of containerd.runc.v1.Options or of runtimeoptions.v1.Options (whose body
 * is the TOML text of containerd's `options` table) becomes one plain struct.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings are owned; NULL = not given. */
struct rt_options {
	bool no_pivot_root;
	bool no_new_keyring;
	bool systemd_cgroup;
	uint32_t io_uid; /* 0 = not given: it is what runc's message can say */
	uint32_t io_gid;
	uint32_t task_api_version;
	char *shim_cgroup;
	char *binary_name;
	char *root;
	char *criu_image_path;
	char *criu_work_path;
	char *task_api_address;
	char *config_path; /* of runtimeoptions: a file instead of a body; not read here */
};
/* Why an options value was refused, for the error text: "SystemdCgroup: not a boolean". */
struct rt_options_reason {
	char text[120];
};

/*
 * An empty type_url with an empty value is no options at all (a zero struct). -EBADMSG: the value is malformed.
 * -EOPNOTSUPP: another type. On success the caller ends with rt_options_done.
 */
int rt_options_decode(struct rt_options *ret, const char *type_url, const uint8_t *value, size_t len,
    struct rt_options_reason *ret_reason);
void rt_options_done(struct rt_options *o);

/* The message name of a type URL: without "type.googleapis.com/", which containerd leaves out and others write. */
const char *rt_type_name(const char *type_url);
