/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/oom_level.c — whose limit a kill for memory was about: the container's own, that of a cgroup above it (the pod's, or one that pods of
 * the node share), or nobody's: the machine had none left. v2 counts how often a cgroup's own limit was hit (memory.events.local); v1 tells the
 * eventfds of that cgroup and of all below it, so its own hits are those that its parent has not heard of. Neither says which kill came of a hit,
 * only that it came first: each cgroup above the containers is watched, and a kill belongs to the latest hit of the last moments.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/record.h"
#include "sandbox/carry_priv.h"
#include "sandbox/pod.h"

/* Above MAX_UP a hit is the node's anyway. RECENT: from the hit to our look. */
enum { MAX_UP = 8, RECENT_MS = 5000, NS_PER_MS = 1000000 };

struct oom_level {
	struct hk_list node;
	struct sbx_pod *pod;
	char *path; /* owned; "" is the root, which has a limit only where it is not the machine's own */
	unsigned n_members;
	bool is_blind; /* it cannot be watched: nothing is known of it */
	int fd;	       /* owned */
	struct hk_source src;
	uint64_t heard; /* so far */
	struct oom_hits own;
};

static const char *path_of(const struct sbx_container *c)
{
	return oci_cgroup_path(oci_container_cgroup(c->oci));
}

static size_t above(const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len > 0 ? len - 1 : 0;
}

static struct oom_level *level_find(const struct sbx_pod *p, const char *path, size_t len)
{
	hk_list_for(n, &p->oom_levels) {
		struct oom_level *l = hk_container_of(n, struct oom_level, node);

		if (strncmp(l->path, path, len) == 0 && l->path[len] == '\0')
			return l;
	}
	return NULL;
}

/* What a cgroup heard counts as its own but for what came from above. */
static void count_own(struct oom_hits *own, uint64_t heard, const struct oom_level *parent, bool is_v1)
{
	const int64_t n = (int64_t)heard - (int64_t)(is_v1 && parent ? parent->heard : 0);

	if (n <= own->n)
		return;
	own->n = n;
	own->last_ns = hk_now_ns();
}

static bool is_v1(const struct oom_level *l)
{
	return l->src.events & EPOLLIN;
}

static void hear(struct oom_level *l)
{
	if (l->fd >= 0 && oci_cgroup_limit_hits(l->fd, l->src.events, &l->heard) < 0)
		hk_source_del(l->pod->loop, &l->src);
}

/* v1 tells from the top down: who is read from the bottom up never takes a parent's hit for his own. The list is in that order. */
static void look(struct sbx_pod *p)
{
	hk_list_for(n, &p->oom_levels)
		hear(hk_container_of(n, struct oom_level, node));
	hk_list_for(n, &p->oom_levels) {
		struct oom_level *l = hk_container_of(n, struct oom_level, node);

		count_own(&l->own, l->heard, *l->path ? level_find(p, l->path, above(l->path, strlen(l->path))) : NULL, is_v1(l));
	}
}

static void on_hit(void *owner, uint32_t events)
{
	struct oom_level *l = owner;

	(void)events;
	look(l->pod);
}

static void level_free(struct oom_level *l)
{
	hk_list_remove(&l->node);
	hk_source_del(l->pod->loop, &l->src);
	(void)hk_close(l->fd);
	free(l->path);
	free(l);
}

static void insert(struct oom_level *l)
{
	hk_list_for(n, &l->pod->oom_levels) {
		if (strlen(hk_container_of(n, struct oom_level, node)->path) < strlen(l->path)) {
			hk_list_append(n, &l->node); /* before it */
			return;
		}
	}
	hk_list_append(&l->pod->oom_levels, &l->node);
}

static struct oom_level *level_new(struct sbx_container *c, size_t len)
{
	struct oom_level *l = calloc(1, sizeof(*l));
	uint32_t events;
	int r;

	if (!l)
		return NULL;
	l->pod = c->pod;
	l->fd = -1;
	hk_source_init(&l->src, HK_PASS_IO, on_hit, l);
	l->path = strndup(path_of(c), len);
	if (!l->path) {
		free(l);
		return NULL;
	}
	insert(l);
	r = oci_cgroup_limit_open(oci_container_cgroup(c->oci), len, &l->fd, &events);
	if (r == 0) {
		r = hk_source_add(c->pod->loop, &l->src, l->fd, events);
		if (r < 0)
			l->fd = hk_close(l->fd);
	}
	l->is_blind = r < 0 && !(r == -ENOENT && len == 0);
	return l;
}

void oom_level_heard(struct sbx_container *c, uint64_t heard)
{
	look(c->pod);
	count_own(&c->oom_own, heard, level_find(c->pod, path_of(c), above(path_of(c), strlen(path_of(c)))), c->oom_src.events & EPOLLIN);
}

void oom_level_join(struct sbx_container *c)
{
	size_t len = strlen(path_of(c));

	for (int up = 0; len > 0 && up < MAX_UP; up++) {
		struct oom_level *l;

		len = above(path_of(c), len);
		l = level_find(c->pod, path_of(c), len);
		if (!l)
			l = level_new(c, len);
		if (!l)
			return;
		l->n_members++;
		c->n_oom_levels++;
	}
	c->oom_own.n = INT64_MIN;
	oom_level_heard(c, c->oom.hits);
	c->oom_own.last_ns = 0; /* what was before is nobody's */
	hk_list_for(n, &c->pod->oom_levels) {
		struct oom_level *l = hk_container_of(n, struct oom_level, node);

		if (l->n_members == 1)
			l->own.last_ns = 0;
	}
}

void oom_level_leave(struct sbx_container *c)
{
	size_t len = c->n_oom_levels ? strlen(path_of(c)) : 0;

	for (; c->n_oom_levels; c->n_oom_levels--) {
		struct oom_level *l;

		len = above(path_of(c), len);
		l = level_find(c->pod, path_of(c), len);
		if (l && --l->n_members == 0)
			level_free(l);
	}
}

int64_t oom_level_hits_above(const struct sbx_container *c)
{
	const struct oom_level *l = level_find(c->pod, path_of(c), above(path_of(c), strlen(path_of(c))));

	look(c->pod);
	return l ? l->own.n : 0;
}

void oom_level_judge(struct sbx_container *c)
{
	size_t len = strlen(path_of(c));
	uint64_t best_ns = c->oom_own.last_ns;
	bool is_blind = c->oom_fd < 0 || c->n_oom_levels == 0;

	look(c->pod);
	c->oom_limit = SBX_LIMIT_CONTAINER;
	c->oom_limit_len = len;
	for (unsigned up = 0; up < c->n_oom_levels; up++) {
		const struct oom_level *l;

		len = above(path_of(c), len);
		l = level_find(c->pod, path_of(c), len);
		is_blind |= l->is_blind;
		if (l->own.last_ns <= best_ns) /* of equals the nearest */
			continue;
		best_ns = l->own.last_ns;
		c->oom_limit = up == 0 && len > 0 ? SBX_LIMIT_POD : SBX_LIMIT_NODE;
		c->oom_limit_len = len;
	}
	if (best_ns != 0 && hk_now_ns() - best_ns < (uint64_t)RECENT_MS * NS_PER_MS)
		return;
	c->oom_limit = is_blind ? SBX_LIMIT_UNKNOWN : SBX_LIMIT_NODE;
	c->oom_limit_len = 0;
}

/* ---- an upgrade ---- */

void oom_levels_save(const struct sbx_pod *p, struct hk_record *to)
{
	hk_list_for(n, &p->oom_levels) {
		const struct oom_level *l = hk_container_of(n, struct oom_level, node);

		hk_record_begin(to, "oom_level");
		hk_record_str(to, "path", l->path);
		hk_record_num(to, "members", l->n_members);
		hk_record_bool(to, "is_blind", l->is_blind);
		hk_record_fd(to, "fd", l->fd);
		hk_record_num(to, "events", l->src.events);
		hk_record_bool(to, "is_heard", l->src.fd >= 0);
		hk_record_num(to, "heard", (int64_t)l->heard);
		hk_record_num(to, "own", l->own.n);
		hk_record_num(to, "own_last_ns", (int64_t)l->own.last_ns);
		hk_record_end(to);
	}
}

static int level_load(struct sbx_pod *p, const struct hk_value *v)
{
	struct oom_level *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->pod = p;
	hk_source_init(&l->src, HK_PASS_IO, on_hit, l);
	hk_list_append(&p->oom_levels, &l->node); /* written in the list's order */
	l->path = strdup(hk_value_str(v, "path"));
	l->n_members = (unsigned)hk_value_num(v, "members");
	l->is_blind = hk_value_bool(v, "is_blind");
	l->fd = hk_value_fd_or(v, "fd");
	l->heard = (uint64_t)hk_value_num_or(v, "heard", 0);
	l->own = (struct oom_hits){ .n = hk_value_num_or(v, "own", 0), .last_ns = (uint64_t)hk_value_num_or(v, "own_last_ns", 0) };
	if (!l->path)
		return -ENOMEM;
	if (l->fd < 0 || !hk_value_bool(v, "is_heard"))
		return 0;
	return hk_source_add(p->loop, &l->src, l->fd, (uint32_t)hk_value_num(v, "events"));
}

int oom_levels_load(struct sbx_pod *p, const struct hk_value *from)
{
	int r = 0;

	for (const struct hk_value *v = hk_value_get(from, "oom_level"); r == 0 && v; v = hk_value_next(v))
		r = level_load(p, v);
	return r;
}
