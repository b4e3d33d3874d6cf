/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz.c — see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

static struct {
	char path[64];
	int fd;
} dir = { .fd = -1 };

uint8_t fuzz_byte(struct fuzz_in *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->p++;
}

uint8_t *fuzz_bytes(struct fuzz_in *in, size_t *len)
{
	uint8_t *copy;

	if (*len > in->len)
		*len = in->len;
	copy = malloc(*len);
	FUZZ_CHECK(copy || *len == 0);
	if (*len)
		memcpy(copy, in->p, *len);
	in->p += *len;
	in->len -= *len;
	return copy;
}

static char *text(struct fuzz_in *in, size_t len)
{
	char *s = malloc(len + 1);

	FUZZ_CHECK(s);
	if (len)
		memcpy(s, in->p, len);
	s[len] = '\0';
	in->p += len;
	in->len -= len;
	return s;
}

char *fuzz_word(struct fuzz_in *in, char end)
{
	const uint8_t *at = in->len ? memchr(in->p, end, in->len) : NULL;
	char *s;

	if (in->len == 0)
		return NULL;
	s = text(in, at ? (size_t)(at - in->p) : in->len);
	if (at)
		(void)fuzz_byte(in);
	return s;
}

char *fuzz_rest(struct fuzz_in *in)
{
	return text(in, in->len);
}

bool fuzz_is_utf8(const void *bytes, size_t len)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len;) {
		const uint8_t c = p[i++];
		const unsigned int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : 4;
		uint32_t v = more ? c & (0x3fU >> more) : c;

		if (more == 4)
			return false;
		for (unsigned int k = 0; k < more; k++) {
			if (i >= len || p[i] >> 6 != 2)
				return false;
			v = v << 6 | (p[i++] & 0x3f);
		}
		if (v < least[more] || v > 0x10ffff || v >> 11 == 0x1b)
			return false;
	}
	return true;
}

void fuzz_check_err(int r, const struct hk_err *err)
{
	FUZZ_CHECK(r < 0);
	FUZZ_CHECK(err->code == -r);
	FUZZ_CHECK(err->kind <= HK_UNAVAILABLE);
	FUZZ_CHECK(err->text[0] != '\0');
	FUZZ_CHECK(memchr(err->text, '\0', sizeof(err->text)));
}

static void remove_dir(void)
{
	dir.fd = hk_close(dir.fd);
	(void)hk_rm_rf(AT_FDCWD, dir.path);
}

int fuzz_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (dir.fd >= 0)
		return dir.fd;
	FUZZ_CHECK(hk_fmt(dir.path, sizeof(dir.path), "%.40s/husk-fuzz.XXXXXX", tmp && *tmp ? tmp : "/tmp") > 0);
	FUZZ_CHECK(mkdtemp(dir.path));
	dir.fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(dir.fd >= 0);
	FUZZ_CHECK(atexit(remove_dir) == 0);
	return dir.fd;
}

void fuzz_file(int dirfd, const char *name, const void *bytes, size_t len)
{
	hk_autofd fd = -1;

	if (!bytes) {
		(void)unlinkat(dirfd, name, 0);
		return;
	}
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(hk_write_full(fd, bytes, len) == 0);
}
