/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_config.c — config.json: parsed, validated, and what a launch then works out of it without touching the machine. */
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/cgroup_priv.h"
#include "oci/mount_opts.h"
#include "oci/seccomp.h"
#include "oci/spec.h"
#include "oci/validate.h"
#include "tests/fuzz/fuzz.h"

static void check_mount(const struct oci_mount *m, struct hk_arena *arena)
{
	struct oci_mount_flags f;
	struct hk_err err;

	FUZZ_CHECK(m->destination && m->destination[0] == '/');
	FUZZ_CHECK(oci_mount_opts_parse(m->type, &m->options, arena, &f, &err) == 0); /* validation saw them */
	FUZZ_CHECK(!(f.attr_set & f.attr_clr & ~(uint64_t)MOUNT_ATTR__ATIME));
	(void)oci_mount_check_proc(m->destination, m, &err);
}

/* No component that leads anywhere but down. */
static void check_sysctl(const char *key)
{
	char path[PATH_MAX];
	size_t n;

	FUZZ_CHECK(oci_sysctl_path(key, path, sizeof(path)) == 0);
	for (const char *p = path;; p += n + 1) {
		n = strcspn(p, "/");
		FUZZ_CHECK(n > 0 && !(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.'));
		if (p[n] == '\0')
			break;
	}
}

static void use(const struct oci_spec *s)
{
	struct hk_arena arena = { 0 };
	struct hk_err err;
	char key[65], *cgroup;

	for (size_t i = 0; i < s->n_mounts; i++)
		check_mount(&s->mounts[i], &arena);
	for (size_t i = 0; i < s->sysctl.n; i++)
		check_sysctl(s->sysctl.v[i].key);
	if (cg_resolve_path(s->cgroups_path, "id", &cgroup, &err) == 0) {
		FUZZ_CHECK(cgroup[0] == '/' && cgroup[1] != '\0');
		free(cgroup);
	}
	if (s->seccomp.is_set && oci_seccomp_check(&s->seccomp, &err) == 0) {
		FUZZ_CHECK(oci_seccomp_key(&s->seccomp, key) == 0);
		FUZZ_CHECK(strlen(key) == 64);
	}
	hk_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_spec *spec = NULL;
	struct hk_err err = { 0 };
	int r = oci_spec_parse((const char *)data, size, &spec, &err);

	if (r == 0) {
		r = oci_spec_validate(spec, &err);
		if (r == 0)
			use(spec);
	} else {
		FUZZ_CHECK(!spec);
	}
	if (r != 0)
		fuzz_check_err(r, &err);
	oci_spec_free(spec);
	return 0;
}
