/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_owner.c — a container's cgroup given to its user, as the runtime-spec's section "Cgroup ownership" says.
 *
 * On v2 alone, for a container with user and cgroup namespaces of its own that mounts its cgroup writable: systemd in a
 * container cannot make cgroups otherwise. The directory and the files of /sys/kernel/cgroup/delegate change owner; the
 * limits stay root's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/cgroup.h"
#include "oci/spec.h"

#define DELEGATE_FILE "/sys/kernel/cgroup/delegate" /* since 4.15; the names below are what it held then */
#define DELEGATE_DEFAULT "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n"

static bool is_writable_cgroup(const struct oci_mount *m)
{
	bool readonly = false;

	if (!m->destination || !hk_streq(m->destination, "/sys/fs/cgroup"))
		return false;
	if (!m->type || !(hk_streq(m->type, "cgroup") || hk_streq(m->type, "cgroup2")))
		return false;
	for (size_t i = 0; i < m->options.n; i++) {
		if (hk_streq(m->options.v[i], "ro") || hk_streq(m->options.v[i], "rro"))
			readonly = true;
		else if (hk_streq(m->options.v[i], "rw"))
			readonly = false;
	}
	return !readonly;
}

static bool is_wanted(const struct oci_spec *s)
{
	bool found = false;

	if (!s->has_process || !s->ns[OCI_NS_USER].is_set || !s->ns[OCI_NS_CGROUP].is_set || s->ns[OCI_NS_CGROUP].path)
		return false;
	for (size_t i = 0; i < s->n_mounts; i++)
		if (s->mounts[i].destination && hk_streq(s->mounts[i].destination, "/sys/fs/cgroup"))
			found = is_writable_cgroup(&s->mounts[i]); /* the last one is what is seen */
	return found;
}

static int give(int dirfd, const char *name, uid_t uid)
{
	if (fchownat(dirfd, name, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0 && errno != ENOENT)
		return -errno;
	return 0; /* a file of a newer or older kernel than the list */
}

int oci_cgroup_give(const struct oci_cgroup *cg, const struct oci_spec *s, uid_t host_uid, struct hk_err *err)
{
	int dirfd = oci_cgroup_clone_fd(cg);
	hk_autofree char *names = NULL;
	char *save = NULL;
	size_t len;
	int r;

	if (dirfd < 0 || !oci_cgroup_is_v2_alone(cg) || !is_wanted(s))
		return 0;
	r = hk_read_file_alloc(AT_FDCWD, DELEGATE_FILE, 1 << 16, &names, &len);
	if (r == -ENOENT)
		names = strdup(DELEGATE_DEFAULT);
	else if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "read %s", DELEGATE_FILE);
	if (!names)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "cgroup owner");
	r = give(dirfd, "", host_uid);
	for (char *n = strtok_r(names, "\n", &save); n && r >= 0; n = strtok_r(NULL, "\n", &save))
		if (!strchr(n, '/'))
			r = give(dirfd, n, host_uid);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "give cgroup %s to user %u", oci_cgroup_path(cg), (unsigned)host_uid) : 0;
}
