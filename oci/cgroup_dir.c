/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_dir.c — one cgroup directory to read from and write to, opened when first needed; its errors name file and value.
 */
#include "oci/cgroup_priv.h"

#include <errno.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

void cg_dir_init(struct cg_dir *d, const struct cg_hier *h, const char *path)
{
	*d = (struct cg_dir){ .mount = h ? h->mount : "", .path = path, .fd = -1, .is_absent = !h, .no_prefix = h && h->no_prefix };
}

void cg_dir_done(struct cg_dir *d)
{
	d->fd = hk_close(d->fd);
}

int cg_dir_fd(struct cg_dir *d)
{
	const struct cg_hier h = { .mount = (char *)(uintptr_t)d->mount };

	if (d->is_absent)
		return -ENOENT;
	if (d->fd < 0) {
		int fd = cg_open_leaf(&h, d->path);

		if (fd < 0)
			return fd;
		d->fd = fd;
	}
	return d->fd;
}

static const char *file_name(const struct cg_dir *d, const char *file)
{
	const char *dot = strchr(file, '.');

	return d->no_prefix && dot && !hk_has_prefix(file, "cgroup.") ? dot + 1 : file;
}

int cg_dir_write(struct cg_dir *d, const char *file, const char *value)
{
	int fd = cg_dir_fd(d);

	return fd < 0 ? fd : hk_write_file_at(fd, file_name(d, file), value);
}

ssize_t cg_read(struct cg_dir *d, const char *file, char *buf, size_t size)
{
	int fd = cg_dir_fd(d);

	return fd < 0 ? fd : hk_read_file_at(fd, file_name(d, file), buf, size);
}

int cg_read_u64(struct cg_dir *d, const char *file, uint64_t *ret)
{
	char buf[64];
	ssize_t n = cg_read(d, file, buf, sizeof(buf));

	if (n < 0)
		return (int)n;
	if (strcmp(buf, "max") == 0) {
		*ret = UINT64_MAX;
		return 0;
	}
	return hk_parse_u64(buf, ret);
}

/* What the text of a refused memory limit needs most. */
static bool memory_in_use(struct cg_dir *d, const char *file, uint64_t *ret)
{
	return hk_has_prefix(file, "memory.") &&
	    (cg_read_u64(d, "memory.usage_in_bytes", ret) == 0 || cg_read_u64(d, "memory.current", ret) == 0);
}

int cg_write_failed(struct cg_dir *d, const char *file, const char *value, int r, struct hk_err *err)
{
	uint64_t usage;

	if (d->is_absent)
		return hk_fail_text(err, HK_UNSUPPORTED, -r, "this host has no cgroup controller for %s, wanted %s", file, value);
	switch (-r) {
	case EBUSY:
		if (memory_in_use(d, file, &usage))
			return hk_fail(err, HK_INVALID, -r, "write %s to %s%s/%s (%llu bytes are in use)", value, d->mount, d->path,
			    file, (unsigned long long)usage);
		break;
	case EINVAL:
	case ERANGE:
		return hk_fail(err, HK_INVALID, -r, "write %s to %s%s/%s", value, d->mount, d->path, file);
	case ENOENT:
	case EOPNOTSUPP:
		return hk_fail(err, HK_UNSUPPORTED, -r, "write %s to %s%s/%s", value, d->mount, d->path, file);
	default:
		break;
	}
	return hk_fail(err, HK_INTERNAL, -r, "write %s to %s%s/%s", value, d->mount, d->path, file);
}

int cg_write(struct cg_dir *d, const char *file, const char *value, struct hk_err *err)
{
	int r = cg_dir_write(d, file, value);

	return r < 0 ? cg_write_failed(d, file, value, r, err) : 0;
}

int cg_write_i64(struct cg_dir *d, const char *file, int64_t value, struct hk_err *err)
{
	char buf[32];

	(void)hk_fmt(buf, sizeof(buf), "%lld", (long long)value);
	return cg_write(d, file, buf, err);
}

int cg_write_u64(struct cg_dir *d, const char *file, uint64_t value, struct hk_err *err)
{
	char buf[32];

	(void)hk_fmt(buf, sizeof(buf), "%llu", (unsigned long long)value);
	return cg_write(d, file, buf, err);
}
