/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_passwd.c — the home in an image's /etc/passwd. The input: the uid's lowest byte, the size of the buffer, the file. */
#include <string.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/env.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_made;
	struct fuzz_in in = { data, size };
	const uid_t uid = fuzz_byte(&in);
	const size_t room = 2 + (size_t)fuzz_byte(&in);
	hk_autofree char *home = malloc(room);
	const int root = fuzz_dir();

	FUZZ_CHECK(home);
	if (!is_made)
		FUZZ_CHECK(mkdirat(root, "etc", 0700) == 0);
	is_made = true;
	fuzz_file(root, "etc/passwd", in.p ? (const void *)in.p : "", in.len);
	memset(home, 'x', room);
	oci_env_home(root, uid, home, room);
	FUZZ_CHECK(memchr(home, '\0', room));
	FUZZ_CHECK(home[0] == '/' && !strpbrk(home, ":\n"));
	return 0;
}
