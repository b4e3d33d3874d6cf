/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/sysctl_rules.c — which sysctls belong to a container: those of a namespace it has for itself or shares with its
 * pod, and none of the host's. In: linux.sysctl and linux.namespaces; out: yes or an error that says which namespace
 * is missing.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/parse.h"
#include "oci/validate.h"

/*
 * Keys as paths; "*" ends a prefix. ipc_namespaces(7), uts_namespaces(7), network_namespaces(7), user_namespaces(7).
 * kernel/hostname is not among them: the spec has a field of its own for it, and the two could differ.
 */
static const struct {
	const char *key;
	enum oci_ns ns;
} rules[] = {
	{ "fs/mqueue/*", OCI_NS_IPC },
	{ "kernel/domainname", OCI_NS_UTS },
	{ "kernel/msg*", OCI_NS_IPC },
	{ "kernel/sem*", OCI_NS_IPC },
	{ "kernel/shm*", OCI_NS_IPC },
	{ "net/*", OCI_NS_NET },
	{ "user/*", OCI_NS_USER },
};

static bool is_match(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] != '*')
		return strcmp(pattern, path) == 0;
	return strncmp(pattern, path, len - 1) == 0;
}

int oci_sysctl_path(const char *key, char *path, size_t size)
{
	bool is_dotted = key[strcspn(key, "./")] == '.';
	size_t len = strlen(key), start = 0;

	if (len >= size)
		return -ENAMETOOLONG;
	for (size_t i = 0; i <= len; i++) {
		char c = key[i];

		if (is_dotted && (c == '.' || c == '/'))
			c = c == '.' ? '/' : '.';
		path[i] = c;
		if (c != '/' && c != '\0')
			continue;
		if (i == start || (i - start <= 2 && strncmp(path + start, "..", i - start) == 0))
			return -EINVAL;
		start = i + 1;
	}
	return 0;
}

static int check_net(const struct oci_spec *s, const char *key, struct hk_err *err)
{
	struct stat theirs, ours;
	const char *path = s->ns[OCI_NS_NET].path;

	if (!path)
		return 0;
	if (stat(path, &theirs) < 0)
		return hk_fail(err, HK_INVALID, errno, "network namespace %.300s", path);
	if (stat("/proc/self/ns/net", &ours) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stat /proc/self/ns/net");
	/* nsfs: device and inode tell the namespace, whatever the path. */
	if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
		return hk_fail_text(err, HK_INVALID, EINVAL,
		    "linux.sysctl[\"%.100s\"]: not allowed in the host's network namespace", key);
	return 0;
}

static int check_key(const struct oci_spec *s, const char *key, struct hk_err *err)
{
	char path[PATH_MAX];

	if (oci_sysctl_path(key, path, sizeof(path)) < 0)
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.sysctl[\"%.100s\"]: not a sysctl key", key);
	for (size_t i = 0; i < HK_ARRAY_SIZE(rules); i++) {
		if (!is_match(rules[i].key, path))
			continue;
		if (!s->ns[rules[i].ns].is_set)
			return hk_fail_text(err, HK_INVALID, EINVAL, "linux.sysctl[\"%.100s\"]: needs the %s namespace",
			    key, oci_ns_word((int)rules[i].ns));
		return rules[i].ns == OCI_NS_NET ? check_net(s, key, err) : 0;
	}
	return hk_fail_text(
	    err, HK_INVALID, EINVAL, "linux.sysctl[\"%.100s\"]: not in a namespace of the container", key);
}

int oci_validate_sysctl(const struct oci_spec *s, struct hk_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->sysctl.n; i++)
		r = check_key(s, s->sysctl.v[i].key, err);
	return r;
}
