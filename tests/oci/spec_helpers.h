/* SPDX-License-Identifier: Apache-2.0 */
/* tests/oci/spec_helpers.h — documents for the tests of the config parsers. Include after cmocka.h. */
#pragma once
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/spec.h"

/* The smallest container, with room for more members of the root, of `process` and of `linux`. */
#define DOC_PROCESS_LINUX(root, process, linux)                                                                            \
	"{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"rootfs\"}," root "\"process\":{" process                           \
	"\"args\":[\"sh\"],\"cwd\":\"/\"},\"linux\":{" linux "}}"
#define MOUNT_NS "\"namespaces\":[{\"type\":\"mount\"}]"
#define DOC_ROOT(root) DOC_PROCESS_LINUX(root ",", "", MOUNT_NS)
#define DOC_PROCESS(process) DOC_PROCESS_LINUX("", process ",", MOUNT_NS)
#define DOC_LINUX(linux) DOC_PROCESS_LINUX("", "", linux)

struct bad_case {
	const char *json;
	const char *text; /* what the error must be */
};

static inline char *load(const char *name, size_t *ret_len)
{
	char path[512], *text = NULL;

	(void)snprintf(path, sizeof(path), "%s/tests/oci/data/%s", HUSK_SOURCE_DIR, name);
	assert_int_equal(hk_read_file_alloc(AT_FDCWD, path, 1 << 20, &text, ret_len), 0);
	return text;
}

static inline struct oci_spec *parse_ok(const char *json)
{
	struct oci_spec *s = NULL;
	struct hk_err err = { 0 };

	if (oci_spec_parse(json, strlen(json), &s, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	return s;
}

/* Copied to the heap without a NUL, so that ASan sees a read past the end. */
static inline int parse_exact(const char *json, size_t len, struct oci_spec **ret, struct hk_err *err)
{
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, json, len);
	r = oci_spec_parse(copy, len, ret, err);
	free(copy);
	return r;
}
