/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/oom_slice.c — kills in cgroups that are gone before anybody has looked. systemd removes a scope when its last process has ended,
 * and may be quicker than the shim; the counter goes with it. The slice's counter stays, and counts what is below: what it has more
 * than the containers that can still be read is the share of those that cannot. For that it is looked at, with all the pod's
 * containers in it, whenever it or one of them has changed: kills of other pods and services are so taken out of the sum at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/record.h"
#include "sandbox/carry_priv.h"
#include "sandbox/pod.h"

enum { MAX_ROUNDS = 4 };

struct oom_slice {
	struct hk_list node;
	struct sbx_pod *pod;
	char *path;	/* of the slice: a container's without its last component */
	unsigned n_members;
	struct oci_oom oom; /* of the whole slice, when all its containers were last looked at */
	int64_t own_hits;   /* of the slice's own limit, of those */
	int fd;
	struct hk_source src;
};

static size_t slice_len(const struct sbx_container *c)
{
	const char *path = oci_cgroup_path(oci_container_cgroup(c->oci)), *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

/* true: one or more are gone. */
static bool look_at_members(struct oom_slice *s, struct oci_oom *grown)
{
	bool has_lost = false;

	hk_list_for(n, &s->pod->containers) {
		struct sbx_container *c = hk_container_of(n, struct sbx_container, node);
		int r = c->oom_slice == s && c->is_oom_watched ? oom_look_own(c, grown) : 0;

		if (r == -ENOENT || r == -ENODEV) /* not for want of an fd */
			c->is_oom_lost = has_lost = true;
	}
	return has_lost;
}

static const struct sbx_container *member_of(const struct oom_slice *s)
{
	hk_list_for(n, &s->pod->containers) {
		const struct sbx_container *c = hk_container_of(n, struct sbx_container, node);

		if (c->oom_slice == s)
			return c;
	}
	return NULL;
}

static int read_counts(const struct oom_slice *s, struct oci_oom *ret)
{
	const struct sbx_container *c = member_of(s);

	return c ? oci_cgroup_oom_count_above(oci_container_cgroup(c->oci), ret) : -ENOENT;
}

/* What is gone has had its last kill: told now or never; is_hit: its limit was hit. Whose it was is not to be known where several go in one moment. */
static void settle_lost(struct oom_slice *s, bool is_killed, bool is_hit)
{
	hk_list_for(n, &s->pod->containers) {
		struct sbx_container *c = hk_container_of(n, struct sbx_container, node);

		if (c->oom_slice != s || !c->is_oom_lost || !c->is_oom_watched)
			continue;
		c->is_oom_watched = false;
		if (!is_killed)
			continue;
		c->oom.kills++; /* for Task.Stats */
		if (is_hit)
			oom_level_heard(c, c->oom.hits + 1);
		oom_tell(c);
	}
}

/*
 * The kernel counts from the bottom up. So the slice is read before and after the containers, again while the two differ: equal,
 * nothing happened in between.
 */
void oom_slice_settle(struct oom_slice *s)
{
	struct oci_oom before, after, grown = { 0 };
	const struct sbx_container *any = member_of(s);
	int64_t own_hits = s->own_hits;
	bool has_lost;
	int r = read_counts(s, &after);

	for (int i = 0;; i++) {
		before = r < 0 ? s->oom : after;
		has_lost = look_at_members(s, &grown);
		if (r == 0)
			r = read_counts(s, &after);
		if (r < 0 || (before.kills == after.kills && before.hits == after.hits) || i == MAX_ROUNDS)
			break;
	}
	if (any)
		own_hits = oom_level_hits_above(any);
	if (has_lost)
		settle_lost(s, r == 0 && after.kills > s->oom.kills + grown.kills,
		    r == 0 && after.hits > s->oom.hits + grown.hits + (uint64_t)(own_hits - s->own_hits));
	s->own_hits = own_hits;
	if (r == 0)
		s->oom = has_lost ? after : before; /* kills after the look are left for the next one */
}

static void on_event(void *owner, uint32_t events)
{
	struct oom_slice *s = owner;
	char text[512];

	(void)events;
	if (pread(s->fd, text, sizeof(text), 0) < 0 && errno != EINTR)
		hk_source_del(s->pod->loop, &s->src);
	oom_slice_settle(s);
}

static void slice_free(struct oom_slice *s)
{
	hk_list_remove(&s->node);
	hk_source_del(s->pod->loop, &s->src);
	(void)hk_close(s->fd);
	free(s->path);
	free(s);
}

static struct oom_slice *slice_find(struct sbx_pod *p, const char *path, size_t len)
{
	hk_list_for(n, &p->oom_slices) {
		struct oom_slice *s = hk_container_of(n, struct oom_slice, node);

		if (strncmp(s->path, path, len) == 0 && s->path[len] == '\0')
			return s;
	}
	return NULL;
}

static struct oom_slice *slice_new(const struct sbx_container *c, const char *path, size_t len)
{
	struct oom_slice *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pod = c->pod;
	s->fd = -1;
	hk_source_init(&s->src, HK_PASS_IO, on_event, s);
	hk_list_append(&c->pod->oom_slices, &s->node);
	s->path = strndup(path, len);
	if (!s->path || oci_cgroup_oom_open_above(oci_container_cgroup(c->oci), &s->fd) < 0 ||
	    hk_source_add(c->pod->loop, &s->src, s->fd, EPOLLPRI) < 0) {
		slice_free(s);
		return NULL;
	}
	return s;
}

void oom_slices_save(const struct sbx_pod *p, struct hk_record *to)
{
	hk_list_for(n, &p->oom_slices) {
		const struct oom_slice *s = hk_container_of(n, struct oom_slice, node);

		hk_record_begin(to, "oom_slice");
		hk_record_str(to, "path", s->path);
		hk_record_num(to, "members", s->n_members);
		hk_record_num(to, "kills", (int64_t)s->oom.kills);
		hk_record_num(to, "hits", (int64_t)s->oom.hits);
		hk_record_num(to, "own_hits", s->own_hits);
		hk_record_fd(to, "fd", s->fd);
		hk_record_bool(to, "is_heard", s->src.fd >= 0);
		hk_record_end(to);
	}
}

static int slice_load(struct sbx_pod *p, const struct hk_value *v)
{
	struct oom_slice *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->pod = p;
	hk_source_init(&s->src, HK_PASS_IO, on_event, s);
	hk_list_append(&p->oom_slices, &s->node);
	s->path = strdup(hk_value_str(v, "path"));
	s->n_members = (unsigned)hk_value_num(v, "members");
	s->oom = (struct oci_oom){ .kills = (uint64_t)hk_value_num(v, "kills"), .hits = (uint64_t)hk_value_num_or(v, "hits", 0) };
	s->own_hits = hk_value_num_or(v, "own_hits", 0);
	s->fd = hk_value_fd_or(v, "fd");
	if (!s->path)
		return -ENOMEM;
	return s->fd >= 0 && hk_value_bool(v, "is_heard") ? hk_source_add(p->loop, &s->src, s->fd, EPOLLPRI) : 0;
}

int oom_slices_load(struct sbx_pod *p, const struct hk_value *from)
{
	int r = 0;

	for (const struct hk_value *v = hk_value_get(from, "oom_slice"); r == 0 && v; v = hk_value_next(v))
		r = slice_load(p, v);
	return r;
}

struct oom_slice *oom_slice_of(const struct sbx_container *c)
{
	return slice_find(c->pod, oci_cgroup_path(oci_container_cgroup(c->oci)), slice_len(c));
}

void oom_slice_join(struct sbx_container *c)
{
	const char *path = oci_cgroup_path(oci_container_cgroup(c->oci));
	size_t len = slice_len(c);
	struct oom_slice *s = slice_find(c->pod, path, len);
	struct oci_oom now;

	if (oci_cgroup_oom_count_above(oci_container_cgroup(c->oci), &now) < 0)
		return;
	if (s) {
		oom_slice_settle(s);
	} else {
		s = slice_new(c, path, len);
		if (!s)
			return;
		s->oom = now;
		s->own_hits = oom_level_hits_above(c);
	}
	s->n_members++;
	c->oom_slice = s;
}

void oom_slice_leave(struct sbx_container *c)
{
	struct oom_slice *s = hk_take_ptr(c->oom_slice);

	if (s && --s->n_members == 0)
		slice_free(s);
}
