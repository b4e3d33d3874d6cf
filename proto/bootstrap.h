/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto/bootstrap.h — the bytes on stdin and stdout of `start`, `delete` and `-info`, as plain structs.
 *
 * Stdin of `start` is BootstrapParams (containerd 2.3+), a bare Any of runtime options (older) or nothing. Both
 * messages begin with a string in field 1 and often parse as each other, so the form is told by meaning:
 * BootstrapParams names our own id in field 1, or has one of the fields 4 to 6, which an Any has not.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum boot_form { BOOT_NONE, BOOT_OPTIONS, BOOT_PARAMS };
enum boot_level { BOOT_LEVEL_DEBUG = -4, BOOT_LEVEL_INFO = 0, BOOT_LEVEL_WARN = 4, BOOT_LEVEL_ERROR = 8 };

/* Pointers are never NULL (but options_value when options_len is 0) and live until boot_input_done. */
struct boot_input {
	enum boot_form form;
	/* form BOOT_PARAMS, else "" and 0 */
	const char *instance_id;
	const char *ns;
	const char *containerd_version;
	const char *ttrpc_address;
	const char *grpc_address;
	const char *containerd_binary;
	const char *socket_dir;
	int32_t log_level; /* by value: at or below BOOT_LEVEL_DEBUG means debug */
	/* the runtime options' Any: stdin itself, or the first extension that is a known options type; "" = none */
	const char *options_type_url;
	const uint8_t *options_value;
	size_t options_len;
	void *unpacked;
};

/* `id` is the -id argument. 0, or -EBADMSG for bytes that are neither. Nothing at all is BOOT_NONE. */
int boot_input_parse(struct boot_input *ret, const uint8_t *bytes, size_t len, const char *id);
void boot_input_done(struct boot_input *in);

/* The encoders return malloc'ed bytes: 0 or -ENOMEM. */
int boot_result_encode(int32_t version, const char *address, const char *protocol, uint8_t **ret, size_t *ret_len);

struct boot_exit {
	uint32_t pid;
	uint32_t exit_status;
	int64_t exited_sec; /* CLOCK_REALTIME */
	int32_t exited_nsec;
};
/* task DeleteResponse, the answer of `delete`. */
int boot_delete_encode(const struct boot_exit *x, uint8_t **ret, size_t *ret_len);

struct boot_info {
	const char *name; /* io.containerd.husk.v2 */
	const char *version;
	const char *revision;
	/* the OCI features document; without a `linux` object in it containerd 2.x crashes */
	const char *features_json;
	/* echoed options, "" and NULL for none */
	const char *options_type_url;
	const uint8_t *options_value;
	size_t options_len;
	/* one annotation, or NULL: containerd.io/runtime-allow-mounts */
	const char *allow_mounts;
};
/* containerd.types.RuntimeInfo, the answer of `-info`. */
int boot_info_encode(const struct boot_info *info, uint8_t **ret, size_t *ret_len);
