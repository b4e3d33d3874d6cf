/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_compile.c — runs oci_seccomp_build in a helper, so that neither its time nor its memory is the shim's.
 * The program comes back through the cache file.
 */
#include "oci/base/err.h"
#include "oci/helper.h"
#include "oci/oci.h"
#include "oci/seccomp.h"

struct work {
	const struct oci_engine *engine;
	const struct oci_seccomp *seccomp;
};

static int compile(void *arg, struct hk_err *err)
{
	const struct work *w = arg;
	struct oci_bpf bpf = { 0 };
	char key[65];
	int r = oci_seccomp_build(w->seccomp, &bpf, err);

	if (r < 0)
		return r;
	r = oci_seccomp_key(w->seccomp, key);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "linux.seccomp")
		     : oci_seccomp_cache_write(w->engine->run_dir, key, &bpf, err);
}

int oci_seccomp_compile(const struct oci_engine *e, const struct oci_seccomp *s, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err)
{
	struct work w = { .engine = e, .seccomp = s };
	struct oci_helper_job job = {
		.comm = "husk:seccomp",
		.what = "compiling the seccomp profile",
		.timeout_ms = OCI_SECCOMP_TIMEOUT_MS,
		.work = compile,
		.arg = &w,
	};

	return oci_helper_run(e, &job, fn, arg, ret, err);
}
