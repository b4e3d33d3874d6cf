/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/seccomp_cache.c — compiled filters, shared by all pods of the node: <run_dir>/seccomp/<sha256 of the profile>, a
 * header and the program. A filter is the wall around a container, so a file is believed only if nobody but root can
 * have written it: directory and file are root's, not reachable by links, of the right mode, and the body's hash is
 * the header's. A bad file is replaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/seccomp.h"
#include "oci/spec_linux.h"

enum { HASH_LEN = 32, FORMAT = 2, DIR_MODE = 0700, FILE_MODE = 0400 };
static const char magic[8] = "huskbpf";

struct header {
	char magic[8];
	uint32_t format, n; /* n instructions follow */
	uint8_t hash[HASH_LEN];
};

/* ---- the key ---- */

struct sink { /* a growing byte string */
	uint8_t *v;
	size_t n, room;
	bool failed;
};

static void put(struct sink *s, const void *p, size_t len)
{
	if (s->n + len > s->room) {
		size_t room = (s->n + len) * 2;
		uint8_t *v = realloc(s->v, room);

		if (!v) {
			s->failed = true;
			return;
		}
		s->v = v;
		s->room = room;
	}
	memcpy(s->v + s->n, p, len);
	s->n += len;
}

static void put_u64(struct sink *s, uint64_t v)
{
	put(s, &v, sizeof(v));
}

/* Length first: no two different profiles may have the same bytes. */
static void put_str(struct sink *s, const char *str)
{
	size_t len = strlen(str);

	put_u64(s, len);
	put(s, str, len);
}

static void put_rule(struct sink *k, const struct oci_seccomp_rule *r)
{
	put_u64(k, r->action);
	put_u64(k, r->names.n);
	for (size_t i = 0; i < r->names.n; i++)
		put_str(k, r->names.v[i]);
	put_u64(k, r->n_args);
	for (size_t i = 0; i < r->n_args; i++) {
		put_u64(k, r->args[i].index);
		put_u64(k, r->args[i].value);
		put_u64(k, r->args[i].value_two);
		put_u64(k, (uint64_t)(unsigned)r->args[i].op);
	}
}

int oci_seccomp_key(const struct oci_seccomp *s, char key[65])
{
	const struct scmp_version *lib = seccomp_version();
	struct sink k = { 0 };
	uint8_t hash[HASH_LEN];

	put_u64(&k, FORMAT); /* raised whenever the preamble or the layout changes */
	put_u64(&k, lib ? lib->major : 0);
	put_u64(&k, lib ? lib->minor : 0);
	put_u64(&k, lib ? lib->micro : 0);
	put_u64(&k, seccomp_arch_native());
	put_u64(&k, s->default_action);
	put_u64(&k, s->n_archs);
	for (size_t i = 0; i < s->n_archs; i++)
		put_u64(&k, s->archs[i]);
	put_u64(&k, s->n_rules);
	for (size_t i = 0; i < s->n_rules; i++)
		put_rule(&k, &s->rules[i]);
	if (!k.failed) {
		hk_sha256(k.v, k.n, hash);
		hk_hex(hash, sizeof(hash), key);
	}
	free(k.v);
	return k.failed ? -ENOMEM : 0;
}

/* ---- the files ---- */

static bool is_ours(const struct stat *st)
{
	return st->st_uid == geteuid() && (st->st_mode & 0077) == 0;
}

static int open_dir(const char *run_dir, bool make, int *ret_fd)
{
	hk_autofd run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = -1;
	struct stat st;

	if (run < 0)
		return -errno;
	if (make && mkdirat(run, "seccomp", DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	dir = openat(run, "seccomp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return errno == ELOOP || errno == ENOTDIR ? -EPERM : -errno;
	if (!is_ours(&st))
		return -EPERM;
	*ret_fd = hk_take_fd(&dir);
	return 0;
}

int oci_seccomp_cache_read(int fd, struct oci_bpf *ret)
{
	hk_autofree struct sock_filter *insns = NULL;
	struct header h;
	ssize_t n = pread(fd, &h, sizeof(h), 0);

	if (n != sizeof(h) || memcmp(h.magic, magic, sizeof(magic)) != 0 || h.format != FORMAT || h.n == 0 ||
	    h.n > OCI_BPF_MAX)
		return n < 0 ? -errno : -EBADMSG;
	insns = calloc(h.n, sizeof(*insns));
	if (!insns)
		return -ENOMEM;
	n = pread(fd, insns, h.n * sizeof(*insns), sizeof(h));
	if (n != (ssize_t)(h.n * sizeof(*insns)))
		return n < 0 ? -errno : -EBADMSG;
	ret->insns = hk_take_ptr(insns);
	ret->n = h.n;
	return 0;
}

static int verify(int fd, struct oci_bpf *ret)
{
	struct oci_bpf bpf = { 0 };
	uint8_t hash[HASH_LEN];
	struct header h;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !is_ours(&st) || st.st_nlink != 1)
		return -EPERM;
	r = oci_seccomp_cache_read(fd, &bpf);
	if (r < 0)
		return r;
	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || st.st_size != (off_t)(sizeof(h) + bpf.n * sizeof(*bpf.insns)))
		r = -EBADMSG;
	hk_sha256(bpf.insns, bpf.n * sizeof(*bpf.insns), hash);
	if (r == 0 && memcmp(hash, h.hash, sizeof(hash)) != 0)
		r = -EBADMSG;
	if (r < 0)
		free(bpf.insns);
	else
		*ret = bpf;
	return r;
}

int oci_seccomp_cache_open(const char *run_dir, const char *key, int *ret_fd, struct oci_bpf *ret)
{
	hk_autofd dir = -1, fd = -1;
	int r = open_dir(run_dir, false, &dir);

	if (r < 0)
		return r;
	/* Not blocking on a FIFO, not following a link: whatever lies there. */
	fd = openat(dir, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP ? -EPERM : -errno;
	r = verify(fd, ret);
	if (r == 0)
		*ret_fd = hk_take_fd(&fd);
	return r;
}

int oci_seccomp_cache_find(const char *run_dir, const struct oci_seccomp *s, int *ret_fd, struct oci_bpf *ret)
{
	char key[65];
	int r = oci_seccomp_key(s, key);

	return r < 0 ? r : oci_seccomp_cache_open(run_dir, key, ret_fd, ret);
}

/* O_EXCL under a name of this process, then rename: readers see a whole file or none, and two writers do no harm. */
int oci_seccomp_cache_write(const char *run_dir, const char *key, const struct oci_bpf *bpf, struct hk_err *err)
{
	struct header h = { .format = FORMAT, .n = (uint32_t)bpf->n };
	size_t len = bpf->n * sizeof(*bpf->insns);
	hk_autofd dir = -1, fd = -1;
	char tmp[96];
	int r = hk_mkdir_p(AT_FDCWD, run_dir, DIR_MODE);

	if (r == 0)
		r = open_dir(run_dir, true, &dir);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "open the seccomp cache in %s", run_dir);
	memcpy(h.magic, magic, sizeof(magic));
	hk_sha256(bpf->insns, len, h.hash);
	(void)hk_fmt(tmp, sizeof(tmp), ".%.64s.%d", key, getpid());
	(void)unlinkat(dir, tmp, 0); /* of a process of the same number that died in here */
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return hk_fail(err, HK_INTERNAL, errno, "create seccomp cache file %s/seccomp/%s", run_dir, tmp);
	r = hk_write_full(fd, &h, sizeof(h));
	if (r == 0)
		r = hk_write_full(fd, bpf->insns, len);
	if (r == 0 && renameat(dir, tmp, dir, key) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir, tmp, 0);
		return hk_fail(err, HK_INTERNAL, -r, "write seccomp cache file %s/seccomp/%s", run_dir, key);
	}
	return 0;
}
