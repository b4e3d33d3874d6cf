/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/creds.c — from the shim's root to the container's user. Runs in the set-up child, inside its user namespace. See
 * capabilities(7): the bounding set needs CAP_SETPCAP, so it goes first; PR_SET_KEEPCAPS carries the permitted set
 * over the change of uid; ambient capabilities must be permitted and inheritable before they are raised.
 */
#include "oci/creds.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "oci/base/breakable.h"
#include "oci/base/err.h"
#include "oci/base/log.h"

enum { MAX_CAPS = 64, MEM_DEVICES = 1, NULL_MINOR = 3 };

int oci_creds_no_new_privs(struct hk_err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "set no_new_privs");
	return 0;
}

/* Asking the kernel for the last capability by its EINVAL saves reading cap_last_cap. */
static int drop_bounding(uint64_t keep, struct hk_err *err)
{
	for (int cap = 0; cap < MAX_CAPS; cap++) {
		if (keep & (1ULL << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			return 0;
		return hk_fail(err, HK_INTERNAL, errno, "drop capability %d from the bounding set", cap);
	}
	return 0;
}

void oci_caps_limit(uint64_t *caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint64_t own, cut = 0;

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	own = data[0].permitted | (uint64_t)data[1].permitted << 32;
	for (int i = 0; i < OCI_N_CAP_SETS; i++) {
		cut |= caps[i] & ~own;
		caps[i] &= own;
	}
	for (int cap = 0; cap < MAX_CAPS; cap++)
		if (cut & (1ULL << cap))
			log_warn("capability that husk itself does not have cannot be granted", LOG_INT("capability", cap));
}

static int set_ids(const struct oci_process *p, struct hk_err *err)
{
	/*
	 * Also with an empty list: the shim's own groups must never be the container's (CVE-2022-2989). EPERM for
	 * an empty list only where the user namespace has setgroups denied, and then there are none.
	 */
	if (!hk_is_broken(HK_DEFENCE_GROUPS) && setgroups(p->n_additional_gids, p->additional_gids) < 0 &&
	    (errno != EPERM || p->n_additional_gids > 0))
		return hk_fail(err, errno == EINVAL ? HK_INVALID : HK_INTERNAL, errno, "set %zu additional groups%s",
		    p->n_additional_gids, errno == EINVAL ? " (one is not mapped)" : "");
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return hk_fail(err, errno == EINVAL ? HK_INVALID : HK_INTERNAL, errno, "set gid %u%s", p->gid,
		    errno == EINVAL ? " (not mapped in the user namespace)" : "");
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return hk_fail(err, errno == EINVAL ? HK_INVALID : HK_INTERNAL, errno, "set uid %u%s", p->uid,
		    errno == EINVAL ? " (not mapped in the user namespace)" : "");
	return 0;
}

static int set_caps(const uint64_t *caps, struct hk_err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint64_t inheritable = caps[OCI_CAP_INHERITABLE];

	if (hk_is_broken(HK_DEFENCE_INHERITABLE))
		inheritable = hk_naive_inheritable();
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = (uint32_t)(caps[OCI_CAP_EFFECTIVE] >> (32 * i));
		data[i].permitted = (uint32_t)(caps[OCI_CAP_PERMITTED] >> (32 * i));
		/*
		 * Exactly what was asked: inheritable capabilities by default reach any binary with file
		 * capabilities (CVE-2022-29162).
		 */
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return hk_fail(err, HK_INTERNAL, errno,
		    "set capabilities permitted %#llx effective %#llx inheritable %#llx",
		    (unsigned long long)caps[OCI_CAP_PERMITTED], (unsigned long long)caps[OCI_CAP_EFFECTIVE],
		    (unsigned long long)caps[OCI_CAP_INHERITABLE]);
	if (caps[OCI_CAP_INHERITABLE] == 0 || hk_is_broken(HK_DEFENCE_INHERITABLE))
		return 0; /* then the kernel has emptied the ambient set */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "clear ambient capabilities");
	for (int cap = 0; cap < MAX_CAPS; cap++) {
		/* What is not permitted and inheritable cannot be ambient: left out with a blind eye, as runc does. */
		if (!(caps[OCI_CAP_AMBIENT] & caps[OCI_CAP_PERMITTED] & caps[OCI_CAP_INHERITABLE] & (1ULL << cap)))
			continue;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "raise ambient capability %d", cap);
	}
	return 0;
}

int oci_creds_apply(const struct oci_process *p, const uint64_t *caps, struct hk_err *err)
{
	bool keep = caps && p->uid != 0;
	int r;

	if (caps) {
		r = drop_bounding(caps[OCI_CAP_BOUNDING], err);
		if (r < 0)
			return r;
	}
	if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "keep capabilities");
	r = set_ids(p, err);
	if (r < 0 || !caps)
		return r;
	r = set_caps(caps, err);
	if (r == 0 && keep && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "stop keeping capabilities");
	return r;
}

int oci_creds_own_stdio(uid_t uid, struct hk_err *err)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0)
			return hk_fail(err, HK_INTERNAL, errno, "fstat stdio %d", fd);
		if (st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(MEM_DEVICES, NULL_MINOR)))
			continue;
		/*
		 * Not every file can be given away (a read-only mount, an unmapped owner): the fd itself works all
		 * the same.
		 */
		if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS &&
		    errno != ENOSYS)
			return hk_fail(err, HK_INTERNAL, errno, "give stdio %d to uid %u", fd, uid);
	}
	return 0;
}
