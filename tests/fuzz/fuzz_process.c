/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_process.c — process.json of an exec, and the environment made of it. */
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/env.h"
#include "oci/limits.h"
#include "oci/spec.h"
#include "tests/fuzz/fuzz.h"

enum { N_CPUS = 1024, MAX_ENV = 4096 }; /* check_env is quadratic */

static void check_env(const struct oci_process *p)
{
	hk_autofree char *home_entry = NULL;
	char **env = oci_env_build(&p->env, "/home/x");
	const char *home = NULL;
	size_t n = 0;

	FUZZ_CHECK(env);
	for (; env[n]; n++) {
		bool is_borrowed = false;

		FUZZ_CHECK(strchr(env[n], '=') > env[n]);
		for (size_t i = 0; i < p->env.n && !is_borrowed; i++)
			is_borrowed = p->env.v[i] == env[n];
		if (!is_borrowed) {
			FUZZ_CHECK(!home_entry); /* HOME at most */
			home_entry = env[n];
		}
	}
	FUZZ_CHECK(n <= p->env.n + 1);
	home = oci_env_get((const char *const *)env, "HOME");
	FUZZ_CHECK(home && *home);
	free(env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned long cpus[N_CPUS / 8 / sizeof(unsigned long)];
	struct hk_arena arena = { 0 };
	struct oci_process p = { 0 };
	struct hk_err err = { 0 };
	int r = oci_process_parse((const char *)data, size, &arena, &p, &err);

	if (r < 0) {
		fuzz_check_err(r, &err);
	} else {
		FUZZ_CHECK(p.args.n > 0 && p.args.v && !p.args.v[p.args.n]);
		FUZZ_CHECK(p.cwd && p.cwd[0] == '/');
		if (oci_env_check(&p.env, &err) == 0 && p.env.n <= MAX_ENV)
			check_env(&p);
		if (p.exec_cpu_affinity_initial)
			(void)oci_parse_list(p.exec_cpu_affinity_initial, cpus, N_CPUS);
	}
	hk_arena_done(&arena);
	return 0;
}
