/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/pod_mounts.c — see pod_mounts.h. containerd writes these mounts itself when it has made a pause container; with the sandbox left to the
 * shim it writes none of them, and its default for /dev/shm, a tmpfs for each container, stays in the spec.
 */
#include "oci/pod_mounts.h"

#include <errno.h>
#include <string.h>

#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/oci.h"

#define SHM "/dev/shm"

static struct oci_mount *find(const struct oci_spec *s, const char *destination)
{
	for (size_t i = s->n_mounts; i > 0; i--) {
		const char *d = s->mounts[i - 1].destination;
		const size_t n = strlen(destination);

		/* One slash too many at the end is the same place. */
		if (strncmp(d, destination, n) == 0 && strspn(d + n, "/") == strlen(d + n))
			return &s->mounts[i - 1];
	}
	return NULL;
}

static const char **copy_options(struct oci_spec *s, const char *const *options, size_t *ret_n)
{
	size_t n = 0;
	const char **v;

	while (options[n])
		n++;
	v = hk_arena_array(&s->arena, n + 1, sizeof(*v));
	for (size_t i = 0; v && i < n; i++) {
		v[i] = hk_arena_strdup(&s->arena, options[i]);
		if (!v[i])
			return NULL;
	}
	*ret_n = n;
	return v;
}

static int fill(struct oci_spec *s, struct oci_mount *m, const char *destination, const char *source, const char *const *options)
{
	struct oci_mount to = { .type = "bind" };

	to.destination = hk_arena_strdup(&s->arena, destination);
	to.source = hk_arena_strdup(&s->arena, source);
	to.options.v = copy_options(s, options, &to.options.n);
	if (!to.destination || !to.source || !to.options.v)
		return -ENOMEM;
	*m = to;
	return 0;
}

int oci_pod_mount_append(struct oci_spec *s, const char *destination, const char *source, const char *const *options, struct hk_err *err)
{
	struct oci_mount *v = hk_arena_array(&s->arena, s->n_mounts + 1, sizeof(*v));

	if (!v)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "mount %s", destination);
	if (s->n_mounts > 0)
		memcpy(v, s->mounts, s->n_mounts * sizeof(*v));
	if (fill(s, &v[s->n_mounts], destination, source, options) < 0)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "mount %s", destination);
	s->mounts = v;
	s->n_mounts++;
	return 0;
}

int oci_pod_mounts_add(struct oci_spec *s, const struct oci_pod_mount *v, size_t n, struct hk_err *err)
{
	static const char *const writable[] = { "rbind", "rprivate", "rw", NULL };
	static const char *const read_only[] = { "rbind", "rprivate", "ro", NULL };

	for (size_t i = 0; i < n; i++) {
		const char *const *options = v[i].follows_root && s->root_readonly ? read_only : writable;
		struct oci_mount *own = find(s, v[i].destination);
		int r = 0;

		if (!own)
			r = oci_pod_mount_append(s, v[i].destination, v[i].source, options, err);
		else if (hk_streq(v[i].destination, SHM) && hk_streq(own->type, "tmpfs") && hk_streq(own->source, "shm"))
			r = fill(s, own, v[i].destination, v[i].source, options); /* where it stood: behind /dev */
		if (r < 0)
			return own ? hk_fail(err, HK_INTERNAL, ENOMEM, "mount %s", v[i].destination) : r;
	}
	return 0;
}
