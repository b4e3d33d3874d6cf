/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/reaper.c — see reaper.h. The program is looked up as ever, so that a missing one fails the start and not the container; what is executed
 * then is husk-init, with the program's path and arguments as its own (oci/process.c). It lies below /dev, which is a file system of the
 * runtime's and not the image's, and nobody in there can write it: the mount is read-only.
 */
#include "oci/reaper.h"

#include <errno.h>
#include <limits.h>

#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/oci.h"
#include "oci/pod_mounts.h"

#define ANNOTATION "husk.io/init"

int oci_reaper_add(struct oci_spec *s, struct hk_err *err)
{
	static const char *const options[] = { "bind", "rprivate", "ro", "nosuid", "nodev", NULL };
	const char *wanted = oci_kvs_get(&s->annotations, ANNOTATION);
	char path[PATH_MAX];

	if (!wanted || hk_streq(wanted, "false"))
		return 0;
	if (!hk_streq(wanted, "true"))
		return hk_fail_text(err, HK_INVALID, EINVAL, "annotation " ANNOTATION ": \"%.80s\" is neither true nor false", wanted);
	/* In a pid namespace that it joins the container's program is not PID 1, and the one who is reaps. */
	if (!s->ns[OCI_NS_PID].is_set || s->ns[OCI_NS_PID].path)
		return 0;
	if (oci_program_find("husk-init", path, sizeof(path), err) < 0)
		return hk_wrap(err, "annotation " ANNOTATION);
	s->process.has_reaper = true;
	return oci_pod_mount_append(s, OCI_REAPER_PATH, path, options, err);
}
