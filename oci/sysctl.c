/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/sysctl.c — linux.sysctl, written through the private procfs.
 *
 * In: key and value strings of the spec. Only what belongs to a namespace of the container is written: anything else
 * would change the host. Keys are a.b.c or a/b/c; the first separator decides, so that an interface name with a dot can
 * be told (net/ipv4/conf/eth0.1/x).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/files.h"
#include "oci/setup.h"

/*
 * Keys (or prefixes that end in a slash) and the namespace that holds them; ipc_namespaces(7), uts_namespaces(7),
 * network_namespaces(7).
 */
static const struct {
	const char *key;
	enum oci_ns ns;
} allowed[] = {
	{ "kernel/msgmax", OCI_NS_IPC },
	{ "kernel/msgmnb", OCI_NS_IPC },
	{ "kernel/msgmni", OCI_NS_IPC },
	{ "kernel/sem", OCI_NS_IPC },
	{ "kernel/shmall", OCI_NS_IPC },
	{ "kernel/shmmax", OCI_NS_IPC },
	{ "kernel/shmmni", OCI_NS_IPC },
	{ "kernel/shm_rmid_forced", OCI_NS_IPC },
	{ "kernel/msg_next_id", OCI_NS_IPC },
	{ "kernel/sem_next_id", OCI_NS_IPC },
	{ "kernel/shm_next_id", OCI_NS_IPC },
	{ "fs/mqueue/", OCI_NS_IPC },
	{ "net/", OCI_NS_NET },
	{ "kernel/domainname", OCI_NS_UTS },
	{ "user/", OCI_NS_USER },
};

/* "sys/" and the key with slashes. -EINVAL for an empty or dotted component: "..", which would leave /proc/sys. */
static int key_to_path(const char *key, char *path, size_t size)
{
	size_t sep = strcspn(key, "./");
	bool is_dotted = key[sep] == '.';
	int len = hk_fmt(path, size, "sys/%s", key);

	if (len < 0)
		return len;
	for (char *p = path + strlen("sys/"); is_dotted && *p; p++) {
		if (*p == '.')
			*p = '/';
		else if (*p == '/')
			*p = '.';
	}
	for (const char *p = path; *p; p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return -EINVAL;
		p += n;
	}
	return path[len - 1] == '/' ? -EINVAL : 0;
}

static bool is_allowed(const struct oci_spec *spec, const char *path)
{
	const char *key = path + strlen("sys/");

	for (size_t i = 0; i < HK_ARRAY_SIZE(allowed); i++) {
		const char *a = allowed[i].key;

		if (hk_has_suffix(a, "/") ? hk_has_prefix(key, a) : hk_streq(key, a))
			return spec->ns[allowed[i].ns].is_set;
	}
	return false;
}

/* No mount and no link on the way (CVE-2025-52881): all of it is our own procfs. */
static int open_sysctl(int proc_fd, const char *path)
{
	struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, proc_fd, path, &how, sizeof(how));

	/*
	 * Filtered away: the instance is detached, or was checked to be procfs; nothing but sysctl entries is below
	 * sys/.
	 */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(proc_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : (int)fd;
}

static int write_one(const struct oci_setup *s, const struct oci_kv *kv, struct hk_err *err)
{
	char path[PATH_MAX];
	hk_autofd fd = -1;
	int r = key_to_path(kv->key, path, sizeof(path));

	if (r < 0)
		return hk_fail(err, HK_INVALID, -r, "sysctl \"%s\"", kv->key);
	if (!is_allowed(s->spec, path))
		return hk_fail_text(err, HK_INVALID, EPERM,
		    "sysctl \"%s\" is not in a separate kernel namespace of the container", kv->key);
	r = open_sysctl(hk_is_broken(HK_DEFENCE_OWN_PROCFS) ? hk_naive_procfs() : s->proc_fd, path);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open sysctl %s", kv->key);
	fd = r;
	r = hk_write_once(fd, kv->value, strlen(kv->value));
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "write \"%s\" to sysctl %s", kv->value, kv->key);
	return 0;
}

int oci_sysctl_write(struct oci_setup *s, struct hk_err *err)
{
	for (size_t i = 0; i < s->spec->sysctl.n; i++) {
		int r;

		s->at = (int)i;
		r = write_one(s, &s->spec->sysctl.v[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}
