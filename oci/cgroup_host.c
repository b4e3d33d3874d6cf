/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_host.c — which cgroup hierarchies this machine has and which controller lives in which: mountinfo in, struct cg_host out. Where all of cgroup v2
 * is at its usual place mountinfo is not read: a node has thousands of mounts, and that takes milliseconds.
 * The answer is kept for the life of the process: hierarchies do not move while a node runs containers.
 */
#include "oci/cgroup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

static const struct {
	const char *v1, *v2;
} ctl_names[CG_N_CTLS] = {
	[CG_CPU] = { "cpu", "cpu" },
	[CG_CPUACCT] = { "cpuacct", NULL },
	[CG_CPUSET] = { "cpuset", "cpuset" },
	[CG_MEMORY] = { "memory", "memory" },
	[CG_DEVICES] = { "devices", NULL },
	[CG_FREEZER] = { "freezer", NULL },
	[CG_IO] = { "blkio", "io" },
	[CG_PIDS] = { "pids", "pids" },
	[CG_HUGETLB] = { "hugetlb", "hugetlb" },
	[CG_NET_CLS] = { "net_cls", NULL },
	[CG_NET_PRIO] = { "net_prio", NULL },
	[CG_RDMA] = { "rdma", "rdma" },
};

const char *cg_v2_ctl_name(enum cg_ctl ctl)
{
	return ctl_names[ctl].v2;
}

/* Words of `list` between any of `seps` that name controllers. */
static uint32_t ctls_of(const char *list, const char *seps, bool is_v2)
{
	uint32_t ctls = 0;

	while (*(list += strspn(list, seps))) {
		size_t len = strcspn(list, seps);

		for (unsigned int i = 0; i < CG_N_CTLS; i++) {
			const char *name = is_v2 ? ctl_names[i].v2 : ctl_names[i].v1;

			if (name && strlen(name) == len && memcmp(name, list, len) == 0)
				ctls |= CG_BIT(i);
		}
		list += len;
	}
	return ctls;
}

uint32_t cg_v2_ctls(const char *words)
{
	return ctls_of(words, " \n", true);
}

static uint32_t read_v2_ctls(const char *mount)
{
	char path[PATH_MAX], buf[512];

	if (hk_fmt(path, sizeof(path), "%s/cgroup.controllers", mount) < 0 || hk_read_file_at(AT_FDCWD, path, buf, sizeof(buf)) < 0)
		return 0;
	return cg_v2_ctls(buf);
}

/* mountinfo writes blank, tab, newline and backslash as \ooo (proc_pid_mountinfo(5)). In place. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

struct mount_line {
	char *dev, *root, *mount, *type, *super;
};

/* Cuts one line in place; false when it is not of mountinfo's form. */
static bool cut_line(char *line, struct mount_line *m)
{
	char *save = NULL, *word = strtok_r(line, " ", &save);

	for (int i = 0; word && i < 2; i++)
		word = strtok_r(NULL, " ", &save);
	m->dev = word;
	m->root = strtok_r(NULL, " ", &save);
	m->mount = strtok_r(NULL, " ", &save);
	do
		word = strtok_r(NULL, " ", &save);
	while (word && strcmp(word, "-") != 0);
	m->type = strtok_r(NULL, " ", &save);
	(void)strtok_r(NULL, " ", &save); /* source */
	m->super = strtok_r(NULL, " ", &save);
	if (!m->dev || !m->root || !m->mount || !m->type || !m->super)
		return false;
	unescape(m->root);
	unescape(m->mount);
	return true;
}

static bool has_word(const char *list, const char *word, bool is_prefix)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strspn(p, ",")) {
		size_t len = strcspn(p, ",");

		if ((len == n || (is_prefix && len > n)) && memcmp(p, word, n) == 0)
			return true;
		p += len;
	}
	return false;
}

/* Mounted again it is the same hierarchy (same device): "/" as root shows all of it, and the first mount is the usual place. */
static int add(struct cg_host *host, const struct mount_line *m, bool is_v2)
{
	struct cg_hier h = { .is_v2 = is_v2, .ctls = is_v2 ? 0 : ctls_of(m->super, ",", false) };
	struct cg_hier *slot = NULL;

	/* A v1 hierarchy without a controller or a name is one somebody is just taking apart. */
	if (!is_v2 && h.ctls == 0 && !has_word(m->super, "name=", true) && !has_word(m->super, "perf_event", false))
		return 0;
	h.no_prefix = !is_v2 && has_word(m->super, "noprefix", false);
	for (size_t i = 0; i < host->n; i++) {
		if (strcmp(host->h[i].dev, m->dev) == 0)
			slot = &host->h[i];
	}
	if (slot && (strcmp(slot->root, "/") == 0 || strcmp(m->root, "/") != 0))
		return 0;
	if (!slot && host->n == CG_MAX_HIERARCHIES)
		return -E2BIG;
	if (hk_fmt(h.dev, sizeof(h.dev), "%s", m->dev) < 0)
		return -EINVAL;
	h.mount = strdup(m->mount);
	h.root = strdup(m->root);
	if (!h.mount || !h.root) {
		free(h.mount);
		free(h.root);
		return -ENOMEM;
	}
	if (slot) {
		free(slot->mount);
		free(slot->root);
	} else {
		slot = &host->h[host->n++];
	}
	*slot = h;
	return 0;
}

static enum oci_cgroup_mode mode_of(const struct cg_host *host)
{
	bool has_v2 = cg_host_v2(host) != NULL;

	for (size_t i = 0; i < host->n; i++) {
		if (!host->h[i].is_v2 && host->h[i].ctls != 0)
			return has_v2 ? OCI_CGROUP_HYBRID : OCI_CGROUP_LEGACY;
	}
	return has_v2 ? OCI_CGROUP_UNIFIED : OCI_CGROUP_LEGACY;
}

int cg_host_parse(const char *mountinfo, struct cg_host *ret)
{
	hk_auto(cg_host_done) struct cg_host host = { 0 };
	hk_autofree char *text = strdup(mountinfo);
	char *save = NULL;
	int r = text ? 0 : -ENOMEM;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line && r == 0; line = strtok_r(NULL, "\n", &save)) {
		struct mount_line m;

		if (!strstr(line, " - cgroup") || !cut_line(line, &m))
			continue;
		if (strcmp(m.type, "cgroup") == 0)
			r = add(&host, &m, false);
		else if (strcmp(m.type, "cgroup2") == 0)
			r = add(&host, &m, true);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < host.n; i++) {
		if (host.h[i].is_v2)
			host.h[i].ctls = read_v2_ctls(host.h[i].mount);
	}
	host.mode = mode_of(&host);
	*ret = host;
	host.n = 0; /* moved out */
	return 0;
}

void cg_host_done(struct cg_host *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->h[i].mount);
		free(h->h[i].root);
	}
	h->n = 0;
}

const struct cg_hier *cg_host_find(const struct cg_host *h, enum cg_ctl ctl)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->h[i].ctls & CG_BIT(ctl))
			return &h->h[i];
	}
	return NULL;
}

const struct cg_hier *cg_host_v2(const struct cg_host *h)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->h[i].is_v2)
			return &h->h[i];
	}
	return NULL;
}

/* A unified host that has cgroup v1 hierarchies mounted elsewhere by hand (some do, for net_cls) is still a unified one. */
static void keep_unified(struct cg_host *host)
{
	struct statfs fs;
	size_t n = 0;

	if (statfs("/sys/fs/cgroup", &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		return;
	for (size_t i = 0; i < host->n; i++) {
		if (host->h[i].is_v2) {
			host->h[n++] = host->h[i];
		} else {
			free(host->h[i].mount);
			free(host->h[i].root);
		}
	}
	host->n = n;
	host->mode = OCI_CGROUP_UNIFIED;
}

bool cg_host_whole_v2(const char *mount, struct cg_host *ret)
{
	enum { ROOT_INO = 1 }; /* of every hierarchy; what a cgroup namespace or a bind shows of one begins with another */
	struct cg_hier h = { .is_v2 = true };
	struct statfs fs;
	struct stat st;

	if (statfs(mount, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC || stat(mount, &st) < 0 || st.st_ino != ROOT_INO)
		return false;
	if (hk_fmt(h.dev, sizeof(h.dev), "%u:%u", major(st.st_dev), minor(st.st_dev)) < 0)
		return false;
	h.ctls = read_v2_ctls(mount);
	h.mount = strdup(mount);
	h.root = strdup("/");
	*ret = (struct cg_host){ .mode = OCI_CGROUP_UNIFIED, .n = 1, .h = { h } };
	if (h.mount && h.root)
		return true;
	cg_host_done(ret);
	return false;
}

static int host_by_mountinfo(struct cg_host *ret)
{
	hk_autofree char *text = NULL;
	size_t len;
	int r = hk_read_file_alloc(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &text, &len);

	if (r == 0)
		r = cg_host_parse(text, ret);
	if (r == 0)
		keep_unified(ret);
	return r;
}

const struct cg_host *cg_host_get(void)
{
	/* A probed fact about the machine, not state: written once, before the first cgroup is opened. */
	static struct cg_host *cached;

	if (!cached) {
		hk_autofree struct cg_host *host = calloc(1, sizeof(*host));
		int r = host ? 0 : -ENOMEM;

		if (host && !cg_host_whole_v2("/sys/fs/cgroup", host))
			r = host_by_mountinfo(host);
		if (r < 0) {
			errno = -r;
			return NULL;
		}
		cached = hk_take_ptr(host);
	}
	return cached;
}

enum oci_cgroup_mode oci_cgroup_host_mode(void)
{
	const struct cg_host *host = cg_host_get();

	return host ? host->mode : OCI_CGROUP_LEGACY;
}
