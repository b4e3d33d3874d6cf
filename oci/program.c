/* SPDX-License-Identifier: Apache-2.0 */
/* oci/program.c — finds the programs that are installed along with the shim. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/oci.h"

/*
 * Where this program lies. A server runs from a detached mount, which has no name, or on an old kernel from a copy in memory: its argv[0] is whole for
 * that reason (shim/spawn.c).
 */
static int own_dir(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n > 0)
		buf[n] = '\0';
	if ((n <= 1 || hk_has_prefix(buf, "/memfd:")) && hk_fmt(buf, size, "%s", program_invocation_name) < 0)
		return -ENAMETOOLONG;
	slash = strrchr(buf, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

/* Tests lie beside the build's bin. */
int oci_program_find(const char *name, char *buf, size_t size, struct hk_err *err)
{
	static const char *const places[] = { "", "/../libexec/husk", "/../bin" };
	char dir[PATH_MAX];
	int r = own_dir(dir, sizeof(dir));

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "find the directory of this program");
	for (size_t i = 0; i < HK_ARRAY_SIZE(places); i++)
		if (hk_fmt(buf, size, "%s%s/%s", dir, places[i], name) >= 0 && access(buf, X_OK) == 0)
			return 0;
	return hk_fail_text(err, HK_UNSUPPORTED, ENOENT,
	    "the program %s, which is neither in %s nor in %s/../libexec/husk, is needed", name, dir, dir);
}
