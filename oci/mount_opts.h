/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_opts.h — a mount's option words as flags for the kernel, by one table. Private to oci/.
 *
 * For the mount API: attr_set/attr_clr (fsmount, mount_setattr), rec_* (mount_setattr with AT_RECURSIVE), sb_words
 * (fsconfig SET_FLAG) and data (fsconfig strings). For mount(2): ms_set and data_str. Later words win over earlier
 * ones.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/spec_process.h"

struct hk_arena;
struct hk_err;

struct oci_mount_flags {
	/*
	 * MOUNT_ATTR_* asked for and asked away; no bit is in both, but that attr_clr has all of MOUNT_ATTR__ATIME
	 * when a way of access times was chosen (attr_set then has it; relatime is 0). A bit in neither: not
	 * mentioned.
	 */
	uint64_t attr_set, attr_clr;
	uint64_t rec_attr_set, rec_attr_clr; /* rro, rnosuid …: this mount and all below */

	/* MS_* of all words but the r* ones and propagation; MS_BIND, MS_REC and MS_REMOUNT are included. */
	unsigned long ms_set, ms_clr;

	/* Superblock flags, only for a new superblock: "sync", "dirsync", "lazytime", "mand" and their opposites. */
	const char *sb_words[4];
	size_t n_sb_words;
	/* "ro" on a type whose superblock the container has for itself: the file system is to be read-only too. */
	bool sb_readonly;

	bool bind, rbind; /* rbind implies bind */
	bool remount;
	bool idmap, ridmap; /* ridmap implies idmap */
	bool tmpcopyup;

	/* MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE, perhaps with MS_REC, in the order they were given. */
	const unsigned long *propagation;
	size_t n_propagation;

	struct oci_strv data; /* the file system's own words, in order */
	const char *data_str; /* joined by commas; NULL when there are none */
};

/*
 * `type` may be NULL (bind). *ret borrows from `options` and `arena`. Fails (HK_INVALID) on words that a bind mount
 * cannot have: the kernel would drop them silently, and with them what a misspelt "nosuid" was meant to do.
 */
int oci_mount_opts_parse(const char *type, const struct oci_strv *options, struct hk_arena *arena,
    struct oci_mount_flags *ret, struct hk_err *err);

/* All words of the table in alphabetical order, for the features document; NULL past the end. */
const char *oci_mount_opts_word(size_t i);
/* The word is of no use on a kernel without mount_setattr(2): what is recursive, and id maps. */
bool oci_mount_opts_needs_setattr(size_t i);
