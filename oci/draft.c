/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/draft.c — what a Create needs and can be had before it is asked for, while `start` still answers and the daemon connects: config.json
 * parsed, its compiled filter verified, the host's cgroup hierarchies known. What was parsed is used only if the file has the same bytes then, so
 * that nobody can tell but by the clock.
 */
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/cgroup.h"
#include "oci/container.h"
#include "oci/oci.h"

struct oci_draft {
	char *json; /* owned */
	size_t len;
	struct oci_spec *spec; /* owned; NULL once it is taken */
	int filter; /* owned until it is taken; the verified cache file, -1 = none */
	struct oci_bpf bpf; /* its program */
};

struct oci_draft *oci_draft_new(const char *bundle, const char *run_dir)
{
	struct oci_draft *d = calloc(1, sizeof(*d));
	struct hk_err err; /* Create will tell it */

	if (!d)
		return NULL;
	d->filter = -1;
	if (oci_config_read(bundle, &d->json, &d->len) < 0 || oci_spec_parse(d->json, d->len, &d->spec, &err) < 0) {
		oci_draft_free(d);
		return NULL;
	}
	if (d->spec->seccomp.is_set) /* what is not there, or not to be trusted, is the launch's to compile */
		(void)oci_seccomp_cache_find(run_dir, &d->spec->seccomp, &d->filter, &d->bpf);
	(void)oci_cgroup_host_mode(); /* looked up once; a node with many mounts takes milliseconds for it */
	return d;
}

struct oci_spec *oci_draft_take(struct oci_draft *d, const char *json, size_t len)
{
	return d && d->len == len && memcmp(d->json, json, len) == 0 ? hk_take_ptr(d->spec) : NULL;
}

bool oci_draft_take_filter(struct oci_draft *d, int *ret_fd, struct oci_bpf *ret)
{
	if (!d || d->spec || d->filter < 0)
		return false;
	*ret_fd = hk_take_fd(&d->filter);
	*ret = d->bpf;
	d->bpf = (struct oci_bpf){ 0 };
	return true;
}

void oci_draft_free(struct oci_draft *d)
{
	if (!d)
		return;
	oci_spec_free(d->spec);
	(void)hk_close(d->filter);
	free(d->bpf.insns);
	free(d->json);
	free(d);
}
