/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/lsm.c — security labels for execve. They are written through a procfs that the child made for itself: a
 * container's own /proc may be a tmpfs or have something mounted over attr/ (CVE-2019-16884, CVE-2019-19921,
 * CVE-2025-52881). The attribute is per thread and has to be opened by the very task that executes.
 */
#include "oci/lsm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

#define SELINUXFS_MAGIC 0xf97cff8cUL

static bool is_given(const char *s)
{
	return s && *s;
}

static bool has_apparmor(void)
{
	char text[8];

	return hk_read_file_at(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", text, sizeof(text)) > 0 &&
	       text[0] == 'Y';
}

static bool has_selinux(void)
{
	struct statfs st;

	return statfs("/sys/fs/selinux", &st) == 0 && (unsigned long)st.f_type == SELINUXFS_MAGIC;
}

int oci_lsm_check(const char *apparmor_profile, const char *selinux_label, struct hk_err *err)
{
	if (is_given(apparmor_profile) && !has_apparmor())
		return hk_fail_text(err, HK_UNSUPPORTED, ENOTSUP,
		    "process.apparmorProfile \"%s\": AppArmor is not enabled on this host", apparmor_profile);
	if (is_given(selinux_label) && !has_selinux())
		return hk_fail_text(err, HK_UNSUPPORTED, ENOTSUP,
		    "process.selinuxLabel \"%s\": SELinux is not enabled on this host", selinux_label);
	return 0;
}

/*
 * No mount on the way (CVE-2025-52881): where a user namespace allows no instance of our own, proc_fd may be one that
 * has mounts below it.
 */
static int write_one(int proc_fd, const char *file, const char *value)
{
	struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	hk_autofd fd = (int)syscall(SYS_openat2, proc_fd, file, &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* filtered away */
		return hk_write_file_at(proc_fd, file, value);
	return fd < 0 ? -errno : hk_write_once(fd, value, strlen(value));
}

static int write_attr(int proc_fd, const char *const *files, const char *value)
{
	int r = -ENOENT;

	if (hk_is_broken(HK_DEFENCE_OWN_PROCFS))
		proc_fd = hk_naive_procfs();
	for (; *files && r == -ENOENT; files++)
		r = write_one(proc_fd, *files, value);
	return r;
}

int oci_lsm_apply(int proc_fd, const char *apparmor_profile, const char *selinux_label, struct hk_err *err)
{
	/* The first is there since 5.1, and is the only one where another module owns attr/exec. */
	static const char *const apparmor_files[] = { "thread-self/attr/apparmor/exec", "thread-self/attr/exec", NULL };
	static const char *const selinux_files[] = { "thread-self/attr/selinux/exec", "thread-self/attr/exec", NULL };
	char text[512];
	int r;

	if (is_given(apparmor_profile)) {
		r = hk_fmt(text, sizeof(text), "exec %s", apparmor_profile);
		if (r >= 0)
			r = write_attr(proc_fd, apparmor_files, text);
		if (r < 0) /* ENOENT also means that no profile of that name is loaded */
			return hk_fail(err, HK_INTERNAL, -r, "apply AppArmor profile \"%s\"", apparmor_profile);
	}
	if (is_given(selinux_label)) {
		r = write_attr(proc_fd, selinux_files, selinux_label);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "apply SELinux label \"%s\"", selinux_label);
	}
	return 0;
}

int oci_keyring_join(int proc_fd, const char *id, const char *selinux_label, struct hk_err *err)
{
	static const char *const keycreate[] = { "thread-self/attr/keycreate", NULL };
	/* Its user may search it: so an exec finds the container's keyring by name instead of making one more. */
	enum { POSSESSOR_ALL = 0x3f000000, USER_VIEW_READ_SEARCH_LINK = 0x001b0000 };
	char name[96];
	long ring;
	int r;

	if (is_given(selinux_label)) {
		r = write_attr(proc_fd, keycreate, selinux_label);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "label the session keyring \"%s\"", selinux_label);
	}
	(void)hk_fmt(name, sizeof(name), "_ses.%s", id);
	ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);
	if (ring < 0 && errno != ENOSYS) /* a kernel without keys has none to share */
		return hk_fail(err, HK_INTERNAL, errno, "join session keyring %s", name);
	if (ring > 0)
		(void)syscall(SYS_keyctl, KEYCTL_SETPERM, ring, POSSESSOR_ALL | USER_VIEW_READ_SEARCH_LINK);
	if (is_given(selinux_label))
		(void)write_attr(proc_fd, keycreate, "\n");
	return 0;
}
