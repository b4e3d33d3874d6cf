/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_mountinfo.c — the host's hierarchies from mountinfo, and a container's cgroup on such a host. The input: cgroupsPath, a
 * newline, the id, a newline, the text of mountinfo.
 */
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/cgroup_priv.h"
#include "tests/fuzz/fuzz.h"

/* cg_host_parse opens <mount>/cgroup.controllers of a v2 mount: nothing of this machine shall be met. */
static void blind(char *text)
{
	for (char *p = text; (p = strstr(p, "/sys/")); p++)
		p[1] = 'S';
	for (char *p = text; (p = strstr(p, "/proc/")); p++)
		p[1] = 'P';
}

static void check_path(const char *path)
{
	FUZZ_CHECK(path[0] == '/' && path[1] && !strstr(path, "//") && !strchr(path, '\n'));
	for (const char *p = path; (p = strstr(p, "/.")); p++)
		FUZZ_CHECK(p[2] && p[2] != '/' && !(p[2] == '.' && (!p[3] || p[3] == '/')));
	FUZZ_CHECK(path[strlen(path) - 1] != '/');
}

static void check_host(const struct cg_host *host)
{
	char buf[PATH_MAX];

	FUZZ_CHECK(host->n <= CG_MAX_HIERARCHIES);
	for (size_t i = 0; i < host->n; i++) {
		FUZZ_CHECK(host->h[i].mount && host->h[i].root && memchr(host->h[i].dev, '\0', sizeof(host->h[i].dev)));
		for (size_t k = 0; k < i; k++)
			FUZZ_CHECK(strcmp(host->h[i].dev, host->h[k].dev) != 0);
		(void)cg_abs(&host->h[i], "/a/b", buf);
	}
	for (unsigned int ctl = 0; ctl < CG_N_CTLS; ctl++) {
		const struct cg_hier *h = cg_host_find(host, (enum cg_ctl)ctl);

		FUZZ_CHECK(!h || (h->ctls & CG_BIT(ctl)));
	}
	FUZZ_CHECK(host->mode == OCI_CGROUP_LEGACY || cg_host_v2(host));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	hk_autofree char *cgroups_path = fuzz_word(&in, '\n'), *id = fuzz_word(&in, '\n'), *text = fuzz_rest(&in),
			 *path = NULL;
	struct cg_host host;
	struct hk_err err = { 0 };
	int r = cg_resolve_path(cgroups_path, id ? id : "x", &path, &err);

	if (r < 0)
		fuzz_check_err(r, &err);
	else
		check_path(path);
	blind(text);
	if (cg_host_parse(text, &host) == 0) {
		check_host(&host);
		cg_host_done(&host);
	}
	(void)cg_v2_ctls(text);
	return 0;
}
