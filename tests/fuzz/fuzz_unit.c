/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_unit.c — what a pod may say to systemd: cgroupsPath of the form slice:prefix:name, and annotations org.systemd.property.*.
 * The input: the path, a newline, the property's name, a newline, its value, a newline, the text of cpu.max.
 */
#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_unit.h"
#include "tests/fuzz/fuzz.h"

/* Where the container goes is a path of plain names, and what says so is a unit that a crash's `delete` knows again. */
static void check_path(const char *path)
{
	hk_auto(cg_unit_done) struct cg_unit u = { 0 };
	hk_autofree char *where = NULL;
	struct hk_err err = { 0 };
	int r;

	if (!cg_is_unit_form(path))
		return;
	r = cg_unit_parse(path, &u, &where, &err);
	if (r < 0) {
		fuzz_check_err(r, &err);
		FUZZ_CHECK(!u.name && !u.slice && !where);
		return;
	}
	FUZZ_CHECK(where[0] == '/' && !strstr(where, "//") && !strstr(where, "/../") && !strstr(where, "/./"));
	FUZZ_CHECK(cg_is_unit_path(where) && hk_has_suffix(where, u.name));
	for (const char *s = where; *s; s++)
		FUZZ_CHECK(isalnum((unsigned char)*s) || strchr("/:-_.\\", *s));
}

/* "NAME SIGNATURE VALUE", and never a name that moves the container or touches another unit. */
static void check_annotation(const char *name, const char *value)
{
	static const char *const never[] = { "Slice ", "PIDs ", "Requires ", "Conflicts ", "OnFailure ", "Delegate ", "MemoryMax ", "DeviceAllow " };
	hk_auto(cg_props_done) struct cg_props props = { 0 };
	hk_autofree char *key = malloc(strlen(name) + sizeof("org.systemd.property."));
	struct hk_err err = { 0 };
	struct oci_kv kv = { .key = key, .value = value };
	int r;

	FUZZ_CHECK(key);
	stpcpy(stpcpy(key, "org.systemd.property."), name);
	r = cg_props_annotations(&props, &(const struct oci_kvs){ .v = &kv, .n = 1 }, &err);
	if (r < 0) {
		fuzz_check_err(r, &err);
		return;
	}
	FUZZ_CHECK(props.n == 1 && props.v && !props.v[1]);
	FUZZ_CHECK(strspn(props.v[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == strcspn(props.v[0], " "));
	for (size_t i = 0; i < HK_ARRAY_SIZE(never); i++)
		FUZZ_CHECK(!hk_has_prefix(props.v[0], never[i]));
}

static void check_cpu(const char *current)
{
	struct oci_resources r = { .cpu.period.is_set = true };

	cg_unit_settle_cpu(&r, current);
	FUZZ_CHECK(r.cpu.quota.is_set && r.cpu.period.is_set && r.cpu.period.v != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[PATH_MAX];
	struct fuzz_in in = { data, size };
	hk_autofree char *path = fuzz_word(&in, '\n');
	hk_autofree char *name = fuzz_word(&in, '\n');
	hk_autofree char *value = fuzz_word(&in, '\n');
	hk_autofree char *current = fuzz_rest(&in);

	if (path) {
		check_path(path);
		if (cg_slice_path(path, dir) == 0)
			FUZZ_CHECK(!dir[0] || (dir[0] == '/' && hk_has_suffix(dir, path)));
	}
	if (name && value)
		check_annotation(name, value);
	if (current)
		check_cpu(current);
	return 0;
}
