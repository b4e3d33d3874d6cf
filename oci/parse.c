/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/parse.c — config.json's top level (root, mounts, hooks, annotations) into struct oci_spec, and the three other
 * documents. In: JSON text; out: structs that live in one arena. Types, ranges and words are checked here, what
 * depends on more than one field in oci/validate.c. runtime-spec 1.3, config.md.
 */
#include "oci/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/validate.h"

/* ---- mounts ---- */

static int parse_idmap(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_idmap, container_id, "containerID", oci_dec_u32),
		OCI_FIELD_REQ(struct oci_idmap, host_id, "hostID", oci_dec_u32),
		OCI_FIELD_REQ(struct oci_idmap, size, "size", oci_dec_u32),
	};
	struct oci_idmap *m = dst;
	int r = oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), m);

	if (r < 0)
		return r;
	/* The last id is the kernel's "no id" (-1), so a range may end at the one before. */
	if (m->size == 0 || m->container_id > UINT32_MAX - m->size || m->host_id > UINT32_MAX - m->size)
		return oci_json_fail(v, d->err, "invalid range (containerID %u, hostID %u, size %u)", m->container_id,
		    m->host_id, m->size);
	return 0;
}

int oci_parse_idmaps(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_idmaps *maps = dst;

	return oci_dec_array(d, v, parse_idmap, sizeof(*maps->v), (void **)&maps->v, &maps->n);
}

/* config.md "Mounts": a relative destination is deprecated and means relative to "/". */
static int parse_destination(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	const char *s;
	int r = oci_dec_str(d, v, &s);

	if (r < 0)
		return r;
	if (!*s)
		return oci_json_fail(v, d->err, "empty path");
	if (*s != '/') {
		s = hk_arena_printf(d->arena, "/%s", s);
		if (!s)
			return oci_dec_no_memory(d);
	}
	if (strlen(s) >= PATH_MAX)
		return oci_json_fail(v, d->err, "path is too long");
	*(const char **)dst = s;
	return 0;
}

static int parse_mount(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_mount, destination, "destination", parse_destination),
		OCI_FIELD(struct oci_mount, type, "type", oci_dec_opt_str),
		OCI_FIELD(struct oci_mount, source, "source", oci_dec_opt_str),
		OCI_FIELD(struct oci_mount, options, "options", oci_dec_strv),
		OCI_FIELD(struct oci_mount, uid_mappings, "uidMappings", oci_parse_idmaps),
		OCI_FIELD(struct oci_mount, gid_mappings, "gidMappings", oci_parse_idmaps),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_mounts(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;

	return oci_dec_array(d, v, parse_mount, sizeof(*s->mounts), (void **)&s->mounts, &s->n_mounts);
}

/* ---- hooks ---- */

static int parse_hook_path(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	int r = oci_dec_str(d, v, dst);

	if (r == 0 && **(const char **)dst != '/')
		return oci_json_fail_word(v, d->err, "not an absolute path");
	return r;
}

static int parse_hook_timeout(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_hook *h = dst;
	uint64_t n;
	int r = oci_dec_u64_in(d, v, INT32_MAX, &n);

	if (r < 0)
		return r;
	if (n == 0)
		return oci_json_fail(v, d->err, "must be greater than zero");
	h->has_timeout = true;
	h->timeout_s = (uint32_t)n;
	return 0;
}

static int parse_hook(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_hook, path, "path", parse_hook_path),
		OCI_FIELD(struct oci_hook, args, "args", oci_dec_strv),
		OCI_FIELD(struct oci_hook, env, "env", oci_dec_strv),
		OCI_FIELD_SELF("timeout", parse_hook_timeout),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_hook_list(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_hooks *h = dst;

	return oci_dec_array(d, v, parse_hook, sizeof(*h->v), (void **)&h->v, &h->n);
}

/* clang-format off */
#define HOOKS(kind, key_) [kind] = { \
	.key = (key_), .fn = parse_hook_list, .offset = offsetof(struct oci_spec, hooks) + (kind) * sizeof(struct oci_hooks) }
/* clang-format on */
static const struct oci_field hook_fields[OCI_N_HOOK_KINDS] = {
	HOOKS(OCI_HOOK_PRESTART, "prestart"),
	HOOKS(OCI_HOOK_CREATE_RUNTIME, "createRuntime"),
	HOOKS(OCI_HOOK_CREATE_CONTAINER, "createContainer"),
	HOOKS(OCI_HOOK_START_CONTAINER, "startContainer"),
	HOOKS(OCI_HOOK_POSTSTART, "poststart"),
	HOOKS(OCI_HOOK_POSTSTOP, "poststop"),
};

const char *oci_hook_word(int kind)
{
	return hook_fields[kind].key;
}

static int parse_hooks(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	return oci_dec_object(d, v, hook_fields, HK_ARRAY_SIZE(hook_fields), dst);
}

/* ---- top level ---- */

static int parse_root(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_spec, root_path, "path", oci_dec_str),
		OCI_FIELD(struct oci_spec, root_readonly, "readonly", oci_dec_bool),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_spec_process(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	struct oci_spec *s = dst;

	s->has_process = true;
	return oci_parse_process(d, v, &s->process);
}

static int parse_spec(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = {
		OCI_FIELD_REQ(struct oci_spec, version, "ociVersion", oci_dec_str),
		OCI_FIELD_SELF("process", parse_spec_process),
		OCI_FIELD_SELF("root", parse_root),
		OCI_FIELD(struct oci_spec, hostname, "hostname", oci_dec_opt_str),
		OCI_FIELD(struct oci_spec, domainname, "domainname", oci_dec_opt_str),
		OCI_FIELD_SELF("mounts", parse_mounts),
		OCI_FIELD_SELF("hooks", parse_hooks),
		OCI_FIELD(struct oci_spec, annotations, "annotations", oci_dec_kvs),
		OCI_FIELD_SELF("linux", oci_parse_linux),
	};

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* ---- documents ---- */

int oci_parse_document(const char *json, size_t len, const struct oci_json_opts *opts, struct hk_arena *arena,
    oci_dec_fn *fn, void *dst, struct hk_err *err)
{
	/* The tree is gone after this call; only what fn copied to `arena` stays. */
	hk_auto(hk_arena_done) struct hk_arena tree = { .limit_bytes = OCI_JSON_ARENA_BYTES };
	const struct oci_dec d = { .arena = arena, .err = err };
	const struct oci_json *root;
	int r;

	if (arena->limit_bytes == 0)
		arena->limit_bytes = OCI_JSON_ARENA_BYTES;
	r = oci_json_parse(json, len, opts, &tree, &root, err);
	return r < 0 ? r : fn(&d, root, dst);
}

int oci_config_read(const char *bundle, char **ret, size_t *ret_len)
{
	char path[PATH_MAX];
	int r = hk_fmt(path, sizeof(path), "%s/config.json", bundle);

	return r < 0 ? r : hk_read_file_alloc(AT_FDCWD, path, OCI_JSON_MAX_BYTES, ret, ret_len);
}

int oci_spec_parse(const char *json, size_t len, struct oci_spec **ret, struct hk_err *err)
{
	struct oci_spec *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "parse config.json");
	r = oci_parse_document(json, len, NULL, &s->arena, parse_spec, s, err);
	if (r < 0) {
		oci_spec_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void oci_spec_free(struct oci_spec *s)
{
	if (!s)
		return;
	hk_arena_done(&s->arena);
	free(s);
}

int oci_process_parse(const char *json, size_t len, struct hk_arena *arena, struct oci_process *ret, struct hk_err *err)
{
	static const struct oci_json_opts opts = { .root_name = "process" };
	struct oci_process p = { 0 };
	int r = oci_parse_document(json, len, &opts, arena, oci_parse_process, &p, err);

	if (r == 0)
		r = oci_process_validate(&p, err);
	if (r == 0)
		*ret = p;
	return r;
}

int oci_resources_parse(
    const char *json, size_t len, struct hk_arena *arena, struct oci_resources *ret, struct hk_err *err)
{
	static const struct oci_json_opts opts = { .root_name = "resources" };
	struct oci_resources res = { 0 };
	int r = oci_parse_document(json, len, &opts, arena, oci_parse_resources, &res, err);

	if (r == 0)
		*ret = res;
	return r;
}

/* ---- annotations ---- */

static int parse_only_annotations(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = { { .key = "annotations", .fn = oci_dec_kvs } };

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

/* One member of it, by whoever knows that one; dst stays as it is where there is no file. */
static int read_part(const char *bundle, struct hk_arena *arena, const struct oci_json_opts *opts, oci_dec_fn *fn, void *dst, struct hk_err *err)
{
	hk_autofree char *text = NULL;
	char path[PATH_MAX];
	size_t len = 0;
	int r = hk_fmt(path, sizeof(path), "%s/config.json", bundle);

	if (r < 0)
		return hk_fail(err, HK_INVALID, -r, "path of bundle %.100s", bundle);
	r = hk_read_file_alloc(AT_FDCWD, path, OCI_JSON_MAX_BYTES, &text, &len);
	if (r < 0 && r != -ENOENT)
		return hk_fail(err, HK_INTERNAL, -r, "read %.300s", path);
	if (r == 0)
		r = oci_parse_document(text, len, opts, arena, fn, dst, err);
	return r < 0 && r != -ENOENT ? hk_wrap(err, "%.300s", path) : 0;
}

int oci_annotations_read(const char *bundle, struct hk_arena *arena, struct oci_kvs *ret, struct hk_err *err)
{
	static const struct oci_json_opts opts = { .only = "annotations" };
	struct oci_kvs kvs = { 0 };
	int r = read_part(bundle, arena, &opts, parse_only_annotations, &kvs, err);

	if (r == 0)
		*ret = kvs;
	return r;
}

/* ---- linux.cgroupsPath ---- */

static int parse_cgroups_path(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = { { .key = "cgroupsPath", .fn = oci_dec_opt_str } };

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

static int parse_only_linux(const struct oci_dec *d, const struct oci_json *v, void *dst)
{
	static const struct oci_field fields[] = { { .key = "linux", .fn = parse_cgroups_path } };

	return oci_dec_object(d, v, fields, HK_ARRAY_SIZE(fields), dst);
}

int oci_cgroups_path_read(const char *bundle, struct hk_arena *arena, const char **ret, struct hk_err *err)
{
	static const struct oci_json_opts opts = { .only = "linux" };
	const char *path = NULL;
	int r = read_part(bundle, arena, &opts, parse_only_linux, &path, err);

	if (r == 0)
		*ret = path;
	return r;
}

const char *oci_kvs_get(const struct oci_kvs *kvs, const char *key)
{
	for (size_t i = 0; i < kvs->n; i++) {
		if (strcmp(kvs->v[i].key, key) == 0)
			return kvs->v[i].value;
	}
	return NULL;
}
