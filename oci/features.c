/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/features.c — what this engine reads and does, as JSON. In: the tables of the parsers, so that nothing is named
 * here that they do not know, and a few probes of the kernel where the document may tell them (seccomp, id-mapped
 * mounts). Out: malloc'ed text.
 */
#include "oci/features.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/mount_opts.h"
#include "oci/namespaces.h"
#include "oci/parse.h"
#include "oci/seccomp.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* Puts commas where they belong; all that is written is words of our own, which need no escapes. */
struct writer {
	FILE *f;
	bool needs_comma;
};

static void begin(struct writer *w, const char *key, char bracket)
{
	if (w->needs_comma)
		(void)fputc(',', w->f);
	if (key)
		(void)fprintf(w->f, "\"%s\":", key);
	(void)fputc(bracket, w->f);
	w->needs_comma = false;
}

static void end(struct writer *w, char bracket)
{
	(void)fputc(bracket, w->f);
	w->needs_comma = true;
}

static void put_word(struct writer *w, const char *word)
{
	(void)fprintf(w->f, "%s\"%s\"", w->needs_comma ? "," : "", word);
	w->needs_comma = true;
}

static void put_string(struct writer *w, const char *key, const char *value)
{
	(void)fprintf(w->f, "%s\"%s\":\"%s\"", w->needs_comma ? "," : "", key, value);
	w->needs_comma = true;
}

static void put_bool(struct writer *w, const char *key, bool value)
{
	(void)fprintf(w->f, "%s\"%s\":%s", w->needs_comma ? "," : "", key, value ? "true" : "false");
	w->needs_comma = true;
}

/* Most features are an object with this one member. */
static void put_enabled(struct writer *w, const char *key, bool value)
{
	begin(w, key, '{');
	put_bool(w, "enabled", value);
	end(w, '}');
}

/* ---- probes ---- */

static bool has_mount_setattr(void)
{
	return !(syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno == ENOSYS);
}

/* A kernel may be built without one; user namespaces may be there and forbidden. */
static bool has_namespace(enum oci_ns ns)
{
	char text[24];
	uint64_t max;

	if (ns == OCI_NS_USER && hk_read_file_at(AT_FDCWD, "/proc/sys/user/max_user_namespaces", text, sizeof(text)) > 0 &&
	    hk_parse_u64(text, &max) == 0 && max == 0)
		return false;
	return oci_ns_is_known(ns);
}

/* Which of the two the kernel has, mounted or not; where it cannot be asked, what the engine can do. */
static bool has_filesystem(const char *line)
{
	hk_autofree char *text = NULL;
	size_t len;

	return hk_read_file_alloc(AT_FDCWD, "/proc/filesystems", 1 << 16, &text, &len) < 0 || strstr(text, line);
}

/* seccomp(2): EOPNOTSUPP is a plain no; other failures tell nothing about the action. */
static bool has_action(uint32_t action)
{
	uint32_t a = action;

	return !(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &a) < 0 && errno == EOPNOTSUPP);
}

/* Loading a filter from nowhere: the flags are looked at first (EINVAL), then the pointer (EFAULT). */
static bool has_flag(uint64_t flag)
{
	if (flag == SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) { /* a flag of listeners */
		if (!has_action(SCMP_ACT_NOTIFY))
			return false;
		flag |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	}
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, NULL) < 0 && errno == EFAULT;
}

/* ---- parts ---- */

/* Kubernetes promises recursively read-only mounts by the word "rro" here. */
static void put_mount_options(struct writer *w)
{
	const bool can_all = has_mount_setattr();
	const char *word;

	begin(w, "mountOptions", '[');
	for (size_t i = 0; (word = oci_mount_opts_word(i)); i++)
		if (can_all || !oci_mount_opts_needs_setattr(i))
			put_word(w, word);
	end(w, ']');
}

static void put_capabilities(struct writer *w)
{
	begin(w, "capabilities", '[');
	for (cap_value_t cap = 0; cap <= CAP_LAST_CAP; cap++) {
		char *name = cap_to_name(cap);

		for (char *p = name; p && *p; p++)
			*p = (char)toupper((unsigned char)*p);
		if (name && strncmp(name, "CAP_", 4) == 0)
			put_word(w, name);
		(void)cap_free(name);
	}
	end(w, ']');
}

static void put_seccomp_words(struct writer *w, const char *key, enum oci_seccomp_words list, bool is_probed)
{
	const struct oci_word *word;

	begin(w, key, '[');
	for (size_t i = 0; (word = oci_seccomp_word(list, i)); i++) {
		if (list == OCI_SECCOMP_ACTIONS && !has_action((uint32_t)word->value))
			continue;
		if (!is_probed || has_flag(word->value))
			put_word(w, word->word);
	}
	end(w, ']');
}

static void put_seccomp(struct writer *w)
{
	begin(w, "seccomp", '{');
	put_bool(w, "enabled", true);
	put_seccomp_words(w, "actions", OCI_SECCOMP_ACTIONS, false);
	put_seccomp_words(w, "operators", OCI_SECCOMP_OPERATORS, false);
	put_seccomp_words(w, "archs", OCI_SECCOMP_ARCHS, false);
	put_seccomp_words(w, "knownFlags", OCI_SECCOMP_FLAGS, false);
	put_seccomp_words(w, "supportedFlags", OCI_SECCOMP_FLAGS, true);
	end(w, '}');
}

static void put_memory_policy(struct writer *w)
{
	const struct oci_word *word;

	begin(w, "memoryPolicy", '{');
	begin(w, "modes", '[');
	for (size_t i = 0; (word = oci_mpol_mode(i)); i++)
		put_word(w, word->word);
	end(w, ']');
	begin(w, "flags", '[');
	for (size_t i = 0; (word = oci_mpol_flag(i)); i++)
		put_word(w, word->word);
	end(w, ']');
	end(w, '}');
}

static void put_linux(struct writer *w)
{
	begin(w, "linux", '{');
	begin(w, "namespaces", '[');
	for (int ns = 0; ns < OCI_N_NS; ns++)
		if (has_namespace((enum oci_ns)ns))
			put_word(w, oci_ns_word(ns));
	end(w, ']');
	put_capabilities(w);
	begin(w, "cgroup", '{');
	put_bool(w, "v1", has_filesystem("\tcgroup\n"));
	put_bool(w, "v2", has_filesystem("\tcgroup2\n"));
	put_bool(w, "systemd", true);
	put_bool(w, "systemdUser", false);
	put_bool(w, "rdma", true);
	end(w, '}');
	put_seccomp(w);
	put_enabled(w, "apparmor", true);
	put_enabled(w, "selinux", true);
	begin(w, "intelRdt", '{');
	put_bool(w, "enabled", true);
	put_bool(w, "schemata", true);
	put_bool(w, "monitoring", true);
	end(w, '}');
	put_memory_policy(w);
	begin(w, "mountExtensions", '{');
	put_enabled(w, "idmap", has_mount_setattr());
	end(w, '}');
	put_enabled(w, "netDevices", true);
	end(w, '}');
}

static void put_annotations(struct writer *w)
{
	const struct scmp_version *v = seccomp_version();
	char text[48];

	if (!v)
		return;
	(void)snprintf(text, sizeof(text), "%u.%u.%u", v->major, v->minor, v->micro);
	begin(w, "annotations", '{');
	put_string(w, "io.github.seccomp.libseccomp.version", text);
	end(w, '}');
}

static void put_document(struct writer *w)
{
	begin(w, NULL, '{');
	put_string(w, "ociVersionMin", OCI_VERSION_MIN);
	put_string(w, "ociVersionMax", OCI_VERSION_MAX);
	begin(w, "hooks", '[');
	for (int kind = 0; kind < OCI_N_HOOK_KINDS; kind++)
		put_word(w, oci_hook_word(kind));
	end(w, ']');
	put_mount_options(w);
	put_linux(w);
	put_annotations(w);
	end(w, '}');
}

int oci_features_json(char **ret, size_t *ret_len, struct hk_err *err)
{
	hk_autofree char *text = NULL;
	size_t len = 0;
	struct writer w = { .f = open_memstream(&text, &len) };
	bool is_bad;

	if (!w.f)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "features document");
	put_document(&w);
	is_bad = ferror(w.f) != 0;
	if (fclose(w.f) != 0 || is_bad)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "features document");
	*ret = hk_take_ptr(text);
	*ret_len = len;
	return 0;
}
