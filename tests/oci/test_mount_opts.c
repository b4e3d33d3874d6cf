/* SPDX-License-Identifier: Apache-2.0 */
/* Option words to flags: every word by itself, words that answer each other, data, and what a bind refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/mount_opts.h"

#define A(x) MOUNT_ATTR_##x
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

/* "a|b|c" as a vector of its own in the arena: a comma may be part of a word. */
static struct oci_strv split(struct hk_arena *arena, const char *words)
{
	struct oci_strv v = { .v = hk_arena_array(arena, strlen(words) + 2, sizeof(char *)) };
	char *copy = hk_arena_strdup(arena, words), *save = NULL;

	assert_true(v.v && copy);
	for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
		v.v[v.n++] = w;
	return v;
}

static int parse(
    struct hk_arena *arena, const char *type, const char *words, struct oci_mount_flags *ret, struct hk_err *err)
{
	struct oci_strv v = split(arena, words);

	return oci_mount_opts_parse(type, &v, arena, ret, err);
}

struct flag_case {
	const char *words;
	uint64_t set, clr, rec_set, rec_clr;
	unsigned long ms_set, ms_clr;
};
#define ATIMES ((unsigned long)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME))
#define ATIMES_BUT(x) (ATIMES & ~(unsigned long)(x))

static const struct flag_case flag_cases[] = {
	{ "defaults", 0, 0, 0, 0, 0, 0 },
	{ "ro", A(RDONLY), 0, 0, 0, MS_RDONLY, 0 },
	{ "rw", 0, A(RDONLY), 0, 0, 0, MS_RDONLY },
	{ "nosuid", A(NOSUID), 0, 0, 0, MS_NOSUID, 0 },
	{ "suid", 0, A(NOSUID), 0, 0, 0, MS_NOSUID },
	{ "nodev", A(NODEV), 0, 0, 0, MS_NODEV, 0 },
	{ "dev", 0, A(NODEV), 0, 0, 0, MS_NODEV },
	{ "noexec", A(NOEXEC), 0, 0, 0, MS_NOEXEC, 0 },
	{ "exec", 0, A(NOEXEC), 0, 0, 0, MS_NOEXEC },
	{ "nodiratime", A(NODIRATIME), 0, 0, 0, MS_NODIRATIME, 0 },
	{ "diratime", 0, A(NODIRATIME), 0, 0, 0, MS_NODIRATIME },
	{ "nosymfollow", A(NOSYMFOLLOW), 0, 0, 0, MS_NOSYMFOLLOW, 0 },
	{ "symfollow", 0, A(NOSYMFOLLOW), 0, 0, 0, MS_NOSYMFOLLOW },
	{ "noatime", A(NOATIME), A(_ATIME), 0, 0, MS_NOATIME, ATIMES_BUT(MS_NOATIME) },
	{ "relatime", 0, A(_ATIME), 0, 0, MS_RELATIME, ATIMES_BUT(MS_RELATIME) },
	{ "strictatime", A(STRICTATIME), A(_ATIME), 0, 0, MS_STRICTATIME, ATIMES_BUT(MS_STRICTATIME) },
	{ "atime", 0, A(_ATIME), 0, 0, 0, ATIMES },
	{ "nostrictatime", 0, A(_ATIME), 0, 0, 0, ATIMES },
	{ "norelatime", 0, 0, 0, 0, 0, 0 },
	{ "rro", 0, 0, A(RDONLY), 0, 0, 0 },
	{ "rrw", 0, 0, 0, A(RDONLY), 0, 0 },
	{ "rnosuid", 0, 0, A(NOSUID), 0, 0, 0 },
	{ "rsuid", 0, 0, 0, A(NOSUID), 0, 0 },
	{ "rnodev", 0, 0, A(NODEV), 0, 0, 0 },
	{ "rdev", 0, 0, 0, A(NODEV), 0, 0 },
	{ "rnoexec", 0, 0, A(NOEXEC), 0, 0, 0 },
	{ "rexec", 0, 0, 0, A(NOEXEC), 0, 0 },
	{ "rnodiratime", 0, 0, A(NODIRATIME), 0, 0, 0 },
	{ "rdiratime", 0, 0, 0, A(NODIRATIME), 0, 0 },
	{ "rnosymfollow", 0, 0, A(NOSYMFOLLOW), 0, 0, 0 },
	{ "rsymfollow", 0, 0, 0, A(NOSYMFOLLOW), 0, 0 },
	{ "rnoatime", 0, 0, A(NOATIME), A(_ATIME), 0, 0 },
	{ "rrelatime", 0, 0, 0, A(_ATIME), 0, 0 },
	{ "rstrictatime", 0, 0, A(STRICTATIME), A(_ATIME), 0, 0 },
	{ "ratime", 0, 0, 0, A(_ATIME), 0, 0 },
	{ "rnostrictatime", 0, 0, 0, A(_ATIME), 0, 0 },
	{ "rnorelatime", 0, 0, 0, 0, 0, 0 },
	{ "sync", 0, 0, 0, 0, MS_SYNCHRONOUS, 0 },
	{ "async", 0, 0, 0, 0, 0, MS_SYNCHRONOUS },
	{ "dirsync", 0, 0, 0, 0, MS_DIRSYNC, 0 },
	{ "lazytime", 0, 0, 0, 0, 1UL << 25, 0 },
	{ "nolazytime", 0, 0, 0, 0, 0, 1UL << 25 },
	{ "iversion", 0, 0, 0, 0, MS_I_VERSION, 0 },
	{ "noiversion", 0, 0, 0, 0, 0, MS_I_VERSION },
	{ "mand", 0, 0, 0, 0, MS_MANDLOCK, 0 },
	{ "nomand", 0, 0, 0, 0, 0, MS_MANDLOCK },
	{ "silent", 0, 0, 0, 0, MS_SILENT, 0 },
	{ "loud", 0, 0, 0, 0, 0, MS_SILENT },
	{ "bind", 0, 0, 0, 0, MS_BIND, 0 },
	{ "rbind", 0, 0, 0, 0, MS_BIND | MS_REC, 0 },
	{ "remount", 0, 0, 0, 0, MS_REMOUNT, 0 },
	{ "idmap", 0, 0, 0, 0, 0, 0 },
	{ "ridmap", 0, 0, 0, 0, 0, 0 },
	{ "tmpcopyup", 0, 0, 0, 0, 0, 0 },
	{ "private", 0, 0, 0, 0, 0, 0 },
	{ "rprivate", 0, 0, 0, 0, 0, 0 },
	{ "shared", 0, 0, 0, 0, 0, 0 },
	{ "rshared", 0, 0, 0, 0, 0, 0 },
	{ "slave", 0, 0, 0, 0, 0, 0 },
	{ "rslave", 0, 0, 0, 0, 0, 0 },
	{ "unbindable", 0, 0, 0, 0, 0, 0 },
	{ "runbindable", 0, 0, 0, 0, 0, 0 },
};

static const struct flag_case sequences[] = {
	{ "ro|rw", 0, A(RDONLY), 0, 0, 0, MS_RDONLY },
	{ "rw|ro", A(RDONLY), 0, 0, 0, MS_RDONLY, 0 },
	{ "nosuid|suid|nosuid", A(NOSUID), 0, 0, 0, MS_NOSUID, 0 },
	{ "noatime|relatime", 0, A(_ATIME), 0, 0, MS_RELATIME, ATIMES_BUT(MS_RELATIME) },
	{ "relatime|strictatime|noatime", A(NOATIME), A(_ATIME), 0, 0, MS_NOATIME, ATIMES_BUT(MS_NOATIME) },
	{ "noatime|atime", 0, A(_ATIME), 0, 0, 0, ATIMES },
	{ "strictatime|atime", A(STRICTATIME), A(_ATIME), 0, 0, MS_STRICTATIME, ATIMES_BUT(MS_STRICTATIME) },
	{ "strictatime|nostrictatime", 0, A(_ATIME), 0, 0, 0, ATIMES },
	{ "noatime|nostrictatime", A(NOATIME), A(_ATIME), 0, 0, MS_NOATIME, ATIMES_BUT(MS_NOATIME) },
	{ "relatime|norelatime", 0, A(_ATIME), 0, 0, MS_RELATIME, ATIMES_BUT(MS_RELATIME) },
	{ "noatime|nodiratime", A(NOATIME) | A(NODIRATIME), A(_ATIME), 0, 0, MS_NOATIME | MS_NODIRATIME,
	    ATIMES_BUT(MS_NOATIME) },
	{ "rnoatime|rstrictatime", 0, 0, A(STRICTATIME), A(_ATIME), 0, 0 },
	{ "rro|ro|rrw", A(RDONLY), 0, 0, A(RDONLY), MS_RDONLY, 0 },
	{ "sync|async", 0, 0, 0, 0, 0, MS_SYNCHRONOUS },
	{ "rbind|rprivate|ro|nosuid", A(RDONLY) | A(NOSUID), 0, 0, 0, MS_BIND | MS_REC | MS_RDONLY | MS_NOSUID, 0 },
	{ "bind|remount|ro", A(RDONLY), 0, 0, 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0 },
	{ "rbind|bind", 0, 0, 0, 0, MS_BIND, 0 },
	{ "", 0, 0, 0, 0, 0, 0 },
};

static void check_flags(const struct flag_case *c)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f;
	struct hk_err err = { 0 };

	if (parse(&arena, "tmpfs", c->words, &f, &err) < 0)
		fail_msg("%s: %s", c->words, err.text);
	if (f.attr_set != c->set || f.attr_clr != c->clr || f.rec_attr_set != c->rec_set ||
	    f.rec_attr_clr != c->rec_clr)
		fail_msg("%s: attributes %#lx %#lx, recursive %#lx %#lx", c->words, (unsigned long)f.attr_set,
		    (unsigned long)f.attr_clr, (unsigned long)f.rec_attr_set, (unsigned long)f.rec_attr_clr);
	if (f.ms_set != c->ms_set || f.ms_clr != c->ms_clr)
		fail_msg("%s: MS_ %#lx, cleared %#lx", c->words, f.ms_set, f.ms_clr);
	assert_int_equal(f.data.n, 0);
	assert_null(f.data_str);
}

static void test_flags(void **state)
{
	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(flag_cases); i++)
		check_flags(&flag_cases[i]);
	for (size_t i = 0; i < HK_ARRAY_SIZE(sequences); i++)
		check_flags(&sequences[i]);
}

/* The table is in order (it is searched by halves), and the cases above leave no word of it out. */
static void test_table(void **state)
{
	size_t n = 0;

	(void)state;
	for (const char *word; (word = oci_mount_opts_word(n)); n++) {
		bool is_tested = false;

		if (n > 0)
			assert_true(strcmp(oci_mount_opts_word(n - 1), word) < 0);
		for (size_t i = 0; i < HK_ARRAY_SIZE(flag_cases); i++)
			is_tested = is_tested || strcmp(flag_cases[i].words, word) == 0;
		if (!is_tested)
			fail_msg("no case for %s", word);
	}
	assert_int_equal(n, HK_ARRAY_SIZE(flag_cases));
	assert_null(oci_mount_opts_word(n + 1));
}

static void test_switches(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f;

	(void)state;
	assert_int_equal(parse(&arena, NULL, "rbind|ridmap", &f, NULL), 0);
	assert_true(f.bind && f.rbind && f.idmap && f.ridmap && !f.remount && !f.tmpcopyup);
	assert_int_equal(parse(&arena, "tmpfs", "idmap|tmpcopyup|remount", &f, NULL), 0);
	assert_true(!f.bind && f.idmap && !f.ridmap && f.remount && f.tmpcopyup);
	/* The type says bind and no option does. */
	assert_int_equal(parse(&arena, "bind", "ro", &f, NULL), 0);
	assert_true(f.bind && !f.rbind && f.ms_set == (MS_BIND | MS_RDONLY));
	assert_int_equal(parse(&arena, "rbind", "", &f, NULL), 0);
	assert_true(f.bind && f.rbind);
	assert_int_equal(parse(&arena, "bind", "rbind", &f, NULL), 0);
	assert_true(f.rbind);
}

static void test_propagation(void **state)
{
	static const unsigned long want[] = { MS_SLAVE | MS_REC, MS_SHARED, MS_PRIVATE, MS_UNBINDABLE | MS_REC };
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f;

	(void)state;
	assert_int_equal(parse(&arena, NULL, "rslave|bind|shared|ro|private|runbindable", &f, NULL), 0);
	assert_int_equal(f.n_propagation, 4);
	assert_memory_equal(f.propagation, want, sizeof(want));
	assert_int_equal(f.ms_set, MS_BIND | MS_RDONLY);
}

static void test_superblock(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f;

	(void)state;
	assert_int_equal(parse(&arena, "ext4", "sync|nomand|lazytime|dirsync|async|mand|ro|silent", &f, NULL), 0);
	assert_int_equal(f.n_sb_words, 4);
	assert_string_equal(f.sb_words[0], "async");
	assert_string_equal(f.sb_words[1], "dirsync");
	assert_string_equal(f.sb_words[2], "lazytime");
	assert_string_equal(f.sb_words[3], "mand");
	assert_true(f.sb_readonly);
	assert_int_equal(parse(&arena, "ext4", "ro|rw", &f, NULL), 0);
	assert_true(!f.sb_readonly && f.n_sb_words == 0);
	assert_int_equal(parse(&arena, "overlay", "ro", &f, NULL), 0);
	assert_true(f.sb_readonly);
	assert_int_equal(parse(&arena, "sysfs", "ro", &f, NULL), 0);
	assert_false(f.sb_readonly);
	assert_int_equal(parse(&arena, "none", "bind|ro", &f, NULL), 0);
	assert_false(f.sb_readonly);
}

static void test_data(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f;

	(void)state;
	assert_int_equal(
	    parse(&arena, "tmpfs", "nosuid|mode=755|acl|size=65536k|x-remark|X-mount.mkdir=1|ro=1|RO", &f, NULL), 0);
	assert_int_equal(f.data.n, 5);
	assert_string_equal(f.data.v[1], "acl");
	assert_null(f.data.v[5]);
	assert_string_equal(f.data_str, "mode=755,acl,size=65536k,ro=1,RO");
	assert_int_equal(f.attr_set, A(NOSUID));
}

/* runtime-tools' `mounts` gives "mode=755" with binds, which mount(2) reads past; a bare word can only be a flag misspelt. */
static void test_bind_reads_past_data(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_mount_flags f = { .ms_set = 12345 };
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(parse(&arena, NULL, "nosiud|rbind", &f, &err), -EINVAL);
	assert_int_equal(err.kind, HK_INVALID);
	assert_string_equal(err.text, "option \"nosiud\" is not one of a bind mount");
	assert_int_equal(f.ms_set, 12345);
	assert_int_equal(parse(&arena, "bind", "mode=755|nosuid", &f, &err), 0);
	assert_int_equal(f.data.n, 0);
	assert_null(f.data_str);
	assert_int_equal(f.attr_set, A(NOSUID));
	assert_int_equal(parse(&arena, "bind", "x-anything", &f, &err), 0);
}

static void test_no_memory(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { .limit_bytes = 1 }, words = { 0 };
	struct oci_strv v = split(&words, "mode=755");
	struct oci_mount_flags f;
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(oci_mount_opts_parse("tmpfs", &v, &arena, &f, &err), -ENOMEM);
	assert_int_equal(err.kind, HK_EXHAUSTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_propagation),
		cmocka_unit_test(test_superblock),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_bind_reads_past_data),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
