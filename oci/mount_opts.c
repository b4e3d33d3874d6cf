/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/mount_opts.c — the one table from mount option word to effect. In: words as of fstab(5) and the runtime-spec's
 * recursive ones; out: struct oci_mount_flags. Words that are not in the table are data for the file system (`acl`
 * too: only some have it).
 */
#include "oci/mount_opts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"

#ifndef MS_NOSYMFOLLOW /* Linux 5.10 */
#define MS_NOSYMFOLLOW 256
#endif
#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1UL << 25)
#endif
#define MS_ATIMES ((unsigned long)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME))

enum effect {
	NOTHING,
	SET,        /* attr and ms on */
	CLEAR,      /* attr and ms off */
	ATIME,      /* choose a way of access times */
	NO_ATIME,   /* leave that way for the kernel's default, relatime */
	SUPERBLOCK, /* ms on (or off, when negative) and a word for fsconfig */
	PROPAGATE,
	BIND,
	REMOUNT,
	IDMAP,
	TMPCOPYUP,
};

enum slot { SLOT_SYNC, SLOT_DIRSYNC, SLOT_LAZYTIME, SLOT_MAND, N_SLOTS, SLOT_NONE = N_SLOTS };

struct option {
	const char *word;
	enum effect effect;
	bool is_recursive; /* SET, CLEAR, ATIME, NO_ATIME: of the tree; BIND, IDMAP: the r form */
	bool is_negative;  /* SUPERBLOCK */
	enum slot slot;    /* SUPERBLOCK: words of one slot replace each other */
	uint64_t attr;     /* MOUNT_ATTR_* */
	unsigned long ms;  /* MS_* */
};

/* clang-format off */
#define ON(w, a, m) { .word = (w), .effect = SET, .attr = (a), .ms = (m) }
#define OFF(w, a, m) { .word = (w), .effect = CLEAR, .attr = (a), .ms = (m) }
#define TIME(w, a, m) { .word = (w), .effect = ATIME, .attr = (a), .ms = (m) }
#define NO_TIME(w, a, m) { .word = (w), .effect = NO_ATIME, .attr = (a), .ms = (m) }
#define R_ON(w, a) { .word = (w), .effect = SET, .is_recursive = true, .attr = (a) }
#define R_OFF(w, a) { .word = (w), .effect = CLEAR, .is_recursive = true, .attr = (a) }
#define R_TIME(w, a) { .word = (w), .effect = ATIME, .is_recursive = true, .attr = (a) }
#define R_NO_TIME(w, a) { .word = (w), .effect = NO_ATIME, .is_recursive = true, .attr = (a) }
#define SB_ON(w, s, m) { .word = (w), .effect = SUPERBLOCK, .slot = (s), .ms = (m) }
#define SB_OFF(w, s, m) { .word = (w), .effect = SUPERBLOCK, .is_negative = true, .slot = (s), .ms = (m) }
#define PROP(w, m) { .word = (w), .effect = PROPAGATE, .ms = (m) }
#define DO(w, e) { .word = (w), .effect = (e) }
#define R_DO(w, e) { .word = (w), .effect = (e), .is_recursive = true }
/* clang-format on */

/* In alphabetical order: it is searched by halves, and printed. */
static const struct option options_table[] = {
	SB_OFF("async", SLOT_SYNC, MS_SYNCHRONOUS),
	NO_TIME("atime", MOUNT_ATTR_NOATIME, MS_NOATIME),
	DO("bind", BIND),
	DO("defaults", NOTHING),
	OFF("dev", MOUNT_ATTR_NODEV, MS_NODEV),
	OFF("diratime", MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
	SB_ON("dirsync", SLOT_DIRSYNC, MS_DIRSYNC),
	OFF("exec", MOUNT_ATTR_NOEXEC, MS_NOEXEC),
	DO("idmap", IDMAP),
	SB_ON("iversion", SLOT_NONE, MS_I_VERSION),
	SB_ON("lazytime", SLOT_LAZYTIME, MS_LAZYTIME),
	SB_OFF("loud", SLOT_NONE, MS_SILENT),
	SB_ON("mand", SLOT_MAND, MS_MANDLOCK),
	TIME("noatime", MOUNT_ATTR_NOATIME, MS_NOATIME),
	ON("nodev", MOUNT_ATTR_NODEV, MS_NODEV),
	ON("nodiratime", MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
	ON("noexec", MOUNT_ATTR_NOEXEC, MS_NOEXEC),
	SB_OFF("noiversion", SLOT_NONE, MS_I_VERSION),
	SB_OFF("nolazytime", SLOT_LAZYTIME, MS_LAZYTIME),
	SB_OFF("nomand", SLOT_MAND, MS_MANDLOCK),
	NO_TIME("norelatime", MOUNT_ATTR_RELATIME, MS_RELATIME),
	NO_TIME("nostrictatime", MOUNT_ATTR_STRICTATIME, MS_STRICTATIME),
	ON("nosuid", MOUNT_ATTR_NOSUID, MS_NOSUID),
	ON("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
	PROP("private", MS_PRIVATE),
	R_NO_TIME("ratime", MOUNT_ATTR_NOATIME),
	R_DO("rbind", BIND),
	R_OFF("rdev", MOUNT_ATTR_NODEV),
	R_OFF("rdiratime", MOUNT_ATTR_NODIRATIME),
	TIME("relatime", MOUNT_ATTR_RELATIME, MS_RELATIME),
	DO("remount", REMOUNT),
	R_OFF("rexec", MOUNT_ATTR_NOEXEC),
	R_DO("ridmap", IDMAP),
	R_TIME("rnoatime", MOUNT_ATTR_NOATIME),
	R_ON("rnodev", MOUNT_ATTR_NODEV),
	R_ON("rnodiratime", MOUNT_ATTR_NODIRATIME),
	R_ON("rnoexec", MOUNT_ATTR_NOEXEC),
	R_NO_TIME("rnorelatime", MOUNT_ATTR_RELATIME),
	R_NO_TIME("rnostrictatime", MOUNT_ATTR_STRICTATIME),
	R_ON("rnosuid", MOUNT_ATTR_NOSUID),
	R_ON("rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW),
	ON("ro", MOUNT_ATTR_RDONLY, MS_RDONLY),
	PROP("rprivate", MS_PRIVATE | MS_REC),
	R_TIME("rrelatime", MOUNT_ATTR_RELATIME),
	R_ON("rro", MOUNT_ATTR_RDONLY),
	R_OFF("rrw", MOUNT_ATTR_RDONLY),
	PROP("rshared", MS_SHARED | MS_REC),
	PROP("rslave", MS_SLAVE | MS_REC),
	R_TIME("rstrictatime", MOUNT_ATTR_STRICTATIME),
	R_OFF("rsuid", MOUNT_ATTR_NOSUID),
	R_OFF("rsymfollow", MOUNT_ATTR_NOSYMFOLLOW),
	PROP("runbindable", MS_UNBINDABLE | MS_REC),
	OFF("rw", MOUNT_ATTR_RDONLY, MS_RDONLY),
	PROP("shared", MS_SHARED),
	SB_ON("silent", SLOT_NONE, MS_SILENT),
	PROP("slave", MS_SLAVE),
	TIME("strictatime", MOUNT_ATTR_STRICTATIME, MS_STRICTATIME),
	OFF("suid", MOUNT_ATTR_NOSUID, MS_NOSUID),
	OFF("symfollow", MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
	SB_ON("sync", SLOT_SYNC, MS_SYNCHRONOUS),
	DO("tmpcopyup", TMPCOPYUP),
	PROP("unbindable", MS_UNBINDABLE),
};

const char *oci_mount_opts_word(size_t i)
{
	return i < HK_ARRAY_SIZE(options_table) ? options_table[i].word : NULL;
}

bool oci_mount_opts_needs_setattr(size_t i)
{
	return options_table[i].effect == IDMAP || (options_table[i].is_recursive && options_table[i].effect != BIND);
}

static int compare_word(const void *word, const void *option)
{
	return strcmp(word, ((const struct option *)option)->word);
}

/* While the words are read; the caller's struct is filled at the end. */
struct reader {
	struct oci_mount_flags f;
	const char *slots[N_SLOTS];
	unsigned long *propagation;
	const char **data;
	size_t data_bytes;
};

static void switch_bits(uint64_t *on, uint64_t *off, uint64_t bits, bool is_on)
{
	*(is_on ? on : off) |= bits;
	*(is_on ? off : on) &= ~bits;
}

static void switch_ms(struct oci_mount_flags *f, unsigned long bits, bool is_on)
{
	*(is_on ? &f->ms_set : &f->ms_clr) |= bits;
	*(is_on ? &f->ms_clr : &f->ms_set) &= ~bits;
}

/* The way of access times is one of three values, not bits: relatime is 0 (mount_setattr(2)). */
static void choose_atime(struct oci_mount_flags *f, const struct option *o)
{
	uint64_t *set = o->is_recursive ? &f->rec_attr_set : &f->attr_set;
	uint64_t *clr = o->is_recursive ? &f->rec_attr_clr : &f->attr_clr;

	*clr |= MOUNT_ATTR__ATIME;
	*set = (*set & ~(uint64_t)MOUNT_ATTR__ATIME) | o->attr;
	if (!o->is_recursive) {
		switch_ms(f, MS_ATIMES, false);
		switch_ms(f, o->ms, true);
	}
}

/*
 * "atime" takes back noatime only: a strictatime before it stays. Away from relatime there is nothing to go to: it is
 * the default.
 */
static void leave_atime(struct oci_mount_flags *f, const struct option *o)
{
	uint64_t set = o->is_recursive ? f->rec_attr_set : f->attr_set;
	uint64_t clr = o->is_recursive ? f->rec_attr_clr : f->attr_clr;
	struct option relatime = { .is_recursive = o->is_recursive, .attr = MOUNT_ATTR_RELATIME };

	if (o->attr == MOUNT_ATTR_RELATIME)
		return;
	if (!(clr & MOUNT_ATTR__ATIME) || (set & MOUNT_ATTR__ATIME) == o->attr)
		choose_atime(f, &relatime);
}

static void apply(struct reader *r, const struct option *o)
{
	struct oci_mount_flags *f = &r->f;
	bool is_on = o->effect == SET;

	switch (o->effect) {
	case NOTHING:
		break;
	case SET:
	case CLEAR:
		if (o->is_recursive)
			switch_bits(&f->rec_attr_set, &f->rec_attr_clr, o->attr, is_on);
		else
			switch_bits(&f->attr_set, &f->attr_clr, o->attr, is_on);
		if (!o->is_recursive)
			switch_ms(f, o->ms, is_on);
		break;
	case ATIME:
		choose_atime(f, o);
		break;
	case NO_ATIME:
		leave_atime(f, o);
		break;
	case SUPERBLOCK:
		switch_ms(f, o->ms, !o->is_negative);
		if (o->slot != SLOT_NONE)
			r->slots[o->slot] = o->word;
		break;
	case PROPAGATE:
		r->propagation[f->n_propagation++] = o->ms;
		break;
	case BIND:
		f->bind = true;
		f->rbind = o->is_recursive; /* the later of bind and rbind */
		break;
	case REMOUNT:
		f->remount = true;
		break;
	case IDMAP:
		f->idmap = true;
		f->ridmap = o->is_recursive;
		break;
	case TMPCOPYUP:
		f->tmpcopyup = true;
		break;
	}
}

/* The superblock of these is shared with others or has nothing to write back: a read-only mount says all there is. */
static bool has_own_superblock(const char *type)
{
	static const char *const virtual[] = {
		"binfmt_misc",
		"bpf",
		"cgroup",
		"cgroup2",
		"configfs",
		"debugfs",
		"devpts",
		"devtmpfs",
		"efivarfs",
		"fusectl",
		"hugetlbfs",
		"mqueue",
		"proc",
		"pstore",
		"ramfs",
		"securityfs",
		"sysfs",
		"tmpfs",
		"tracefs",
	};

	for (size_t i = 0; i < HK_ARRAY_SIZE(virtual); i++) {
		if (hk_streq(type, virtual[i]))
			return false;
	}
	return type != NULL;
}

static int join_data(struct reader *r, struct hk_arena *arena)
{
	struct oci_mount_flags *f = &r->f;
	char *s, *at;

	f->data.v = r->data;
	if (f->data.n == 0)
		return 0;
	s = at = hk_arena_alloc(arena, r->data_bytes);
	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i < f->data.n; i++) {
		size_t len = strlen(f->data.v[i]);

		if (i > 0)
			*at++ = ',';
		memcpy(at, f->data.v[i], len);
		at += len;
	}
	f->data_str = s; /* arena memory is zeroed */
	return 0;
}

/*
 * A file system's data ("mode=755") says nothing to a mount that is there already, and mount(2) has always read past it. A bare word that
 * nobody knows is a flag misspelt: "nosiud" must not be lost in silence.
 */
static int check_bind_data(struct reader *r, struct hk_err *err)
{
	for (size_t i = 0; i < r->f.data.n; i++)
		if (!strchr(r->data[i], '='))
			return hk_fail_text(err, HK_INVALID, EINVAL, "option \"%.100s\" is not one of a bind mount", r->data[i]);
	r->f.data.n = 0;
	return 0;
}

static int finish(struct reader *r, const char *type, struct hk_arena *arena, struct hk_err *err)
{
	struct oci_mount_flags *f = &r->f;

	if (!f->bind && (hk_streq(type, "bind") || hk_streq(type, "rbind"))) {
		f->bind = true;
		f->rbind = hk_streq(type, "rbind");
	}
	if (f->bind && check_bind_data(r, err) < 0)
		return -EINVAL;
	if (f->bind)
		f->ms_set |= MS_BIND | (f->rbind ? MS_REC : 0UL);
	if (f->remount)
		f->ms_set |= MS_REMOUNT;
	for (size_t i = 0; i < N_SLOTS; i++) {
		if (r->slots[i])
			f->sb_words[f->n_sb_words++] = r->slots[i];
	}
	f->sb_readonly = (f->attr_set & MOUNT_ATTR_RDONLY) && !f->bind && has_own_superblock(type);
	f->propagation = r->propagation;
	if (join_data(r, arena) < 0)
		return hk_fail(err, HK_EXHAUSTED, ENOMEM, "mount options");
	return 0;
}

int oci_mount_opts_parse(const char *type, const struct oci_strv *options, struct hk_arena *arena,
    struct oci_mount_flags *ret, struct hk_err *err)
{
	struct reader reader = { .f = { .bind = false } };
	int r;

	reader.propagation = hk_arena_array(arena, options->n + 1, sizeof(*reader.propagation));
	reader.data = hk_arena_array(arena, options->n + 1, sizeof(*reader.data));
	if (!reader.propagation || !reader.data)
		return hk_fail(err, HK_EXHAUSTED, ENOMEM, "mount options");
	for (size_t i = 0; i < options->n; i++) {
		const char *word = options->v[i];
		const struct option *o =
		    bsearch(word, options_table, HK_ARRAY_SIZE(options_table), sizeof(*options_table), compare_word);

		if (o) {
			apply(&reader, o);
		} else if (*word && !hk_has_prefix(word, "x-") && !hk_has_prefix(word, "X-")) {
			/* mount(8): options with that prefix are remarks for other programs. */
			reader.data[reader.f.data.n++] = word;
			reader.data_bytes += strlen(word) + 1;
		}
	}
	r = finish(&reader, type, arena, err);
	if (r == 0)
		*ret = reader.f;
	return r;
}
