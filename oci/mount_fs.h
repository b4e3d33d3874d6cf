/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_fs.h — the mount calls by descriptor: a tree is made detached, gets its attributes, and is attached to a
 * directory or file that was resolved before. Mechanism: -errno only. Private to oci/.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OCI_FSCONFIG_MAX = 255 }; /* longest string that fsconfig(2) takes */

struct oci_fs {
	const char *type, *source;  /* source may be NULL */
	const char *const *sb_words; /* superblock flags and data options, each "word" or "key=value" */
	size_t n_sb_words;
	const char *const *data;    /* the file system's own options, "word" or "key=value" */
	size_t n_data;
	const char *extra[2];       /* options that the caller adds itself, such as "mode=755"; NULL = none */
	const char *omit_prefix;    /* an option that is left out, such as "gid=" for devpts; NULL = none */
	uint64_t attrs;             /* MOUNT_ATTR_* of the new mount */
	unsigned long ms_flags;     /* the same and the superblock's as MS_*, for mount(2) */
	bool sb_readonly;           /* the superblock is to be read-only, not the mount alone */
};
struct oci_fs_log { /* what the file system itself said; "" when nothing */
	char text[200];
};

/*
 * True when `r` may mean that the kernel (or a filter around us) does not have the call: mount(2) is tried, whose
 * answer counts.
 */
bool oci_mount_is_absent(int r);

/*
 * A new superblock as a detached mount. -ENOSYS: this one goes by mount(2) alone (an option longer than
 * OCI_FSCONFIG_MAX, no fsopen).
 */
int oci_fs_open(const struct oci_fs *f, int *ret_tree_fd, struct oci_fs_log *log);
/* mount(2) on the object behind dst_fd. */
int oci_fs_mount_on(const struct oci_fs *f, int procfd, int dst_fd);
/*
 * oci_fs_open and attach, or oci_fs_mount_on. *ret_tree_fd is an O_PATH fd of the new mount's root; -1 after mount(2),
 * which gives none and whose mount no descriptor of before leads to: the caller resolves the name again if it needs
 * one.
 */
int oci_fs_attach(const struct oci_fs *f, int dst_fd, int *ret_tree_fd, struct oci_fs_log *log);

/* A detached copy of the mount at `path` (with "" of dirfd itself). Flags: AT_RECURSIVE, AT_SYMLINK_NOFOLLOW. */
int oci_tree_clone(int dirfd, const char *path, unsigned flags, int *ret_tree_fd);
/* Puts a detached tree on dst_fd (O_PATH, of our own mount namespace). tree_fd then names the attached mount. */
int oci_tree_attach(int tree_fd, int dst_fd);
/*
 * A bind of the object behind src_fd on dst_fd: clone and attach, or mount(2). *ret_tree_fd (may be NULL) as of
 * oci_fs_attach.
 */
int oci_tree_bind(int procfd, int src_fd, int dst_fd, bool recursive, int *ret_tree_fd);
/* mount_setattr(2) as it is: -ENOSYS before Linux 5.12. For detached trees, which no remount can reach. */
int oci_tree_setattr_only(int fd, uint64_t set, uint64_t clr, bool recursive);
/*
 * Sets and clears MOUNT_ATTR_* of the mount(s) behind fd; without mount_setattr (before 5.12) by a remount of the one
 * mount, when not recursive and the mount is attached (-EOPNOTSUPP otherwise).
 */
int oci_tree_setattr(int procfd, int fd, uint64_t set, uint64_t clr, bool recursive);
/* MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with MS_REC, of the mount behind fd. */
int oci_tree_propagate(int procfd, int fd, unsigned long ms_flag);
/* A superblock's remount, with the mount's flags, of the mount behind fd. */
int oci_tree_remount(int procfd, int fd, unsigned long ms_flags, const char *data);

/* MOUNT_ATTR_* as MS_*. */
unsigned long oci_attrs_to_ms(uint64_t attrs);
