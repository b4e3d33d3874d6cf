/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_mount_opts.c — mount option words. The input: the type, a newline, the words, each ended by a comma. */
#include <string.h>
#include <sys/mount.h>

#include "oci/base/arena.h"
#include "oci/base/err.h"
#include "oci/mount_opts.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_WORDS = 64 };

static void check(const struct oci_mount_flags *f, size_t n_words)
{
	const uint64_t ways = MOUNT_ATTR__ATIME;
	size_t bytes = 0;

	FUZZ_CHECK(!(f->attr_set & f->attr_clr & ~ways) && !(f->rec_attr_set & f->rec_attr_clr & ~ways));
	FUZZ_CHECK(!(f->attr_set & ways) || (f->attr_clr & ways) == ways);
	FUZZ_CHECK(!(f->rec_attr_set & ways) || (f->rec_attr_clr & ways) == ways);
	FUZZ_CHECK((f->attr_set & ways) != ways); /* one of three values */
	FUZZ_CHECK(!(f->ms_set & f->ms_clr));
	FUZZ_CHECK(f->n_sb_words <= 4 && f->n_propagation <= n_words && f->data.n <= n_words);
	FUZZ_CHECK(!f->rbind || f->bind);
	FUZZ_CHECK(!f->ridmap || f->idmap);
	FUZZ_CHECK(!f->bind || (f->data.n == 0 && (f->ms_set & MS_BIND)));
	FUZZ_CHECK((f->data.n == 0) == !f->data_str);
	for (size_t i = 0; i < f->data.n; i++)
		bytes += strlen(f->data.v[i]) + 1;
	FUZZ_CHECK(!f->data_str || strlen(f->data_str) + 1 == bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	char *type = fuzz_word(&in, '\n');
	char *words[MAX_WORDS + 1] = { NULL };
	struct oci_strv v = { .v = (const char **)(uintptr_t)words };
	struct hk_arena arena = { 0 };
	struct oci_mount_flags f;
	struct hk_err err = { 0 };
	int r;

	while (v.n < MAX_WORDS && (words[v.n] = fuzz_word(&in, ',')))
		v.n++;
	r = oci_mount_opts_parse(type && *type ? type : NULL, &v, &arena, &f, &err);
	if (r < 0)
		fuzz_check_err(r, &err);
	else
		check(&f, v.n);
	hk_arena_done(&arena);
	for (size_t i = 0; i < v.n; i++)
		free(words[i]);
	free(type);
	return 0;
}
