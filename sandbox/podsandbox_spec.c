/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox/podsandbox_spec.c — PodSandboxConfig to the config.json of the process that holds the pod's namespaces. It goes the way of every other
 * container: the engine joins or makes the namespaces, writes maps, hostname and sysctls, and refuses what does not fit. The process itself
 * gets next to nothing: an empty read-only root, no capability, a user of its own, and the five system calls it makes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/str.h"
#include "oci/base/text.h"
#include "sandbox/podsandbox_priv.h"

enum { NOBODY = 65535, SHARES = 2, HOSTNAME_SIZE = 256 }; /* user and shares of containerd's pause container */

void sandbox_why(const struct sbx_sandbox_config *c, char *buf, size_t size)
{
	const struct {
		bool is_held;
		const char *name;
	} all[] = {
		{ c->net != SBX_NS_NODE, "network" }, { c->net != SBX_NS_NODE, "uts" }, { c->ipc != SBX_NS_NODE, "ipc" },
		{ c->pid != SBX_NS_NODE, "pid" }, { c->has_userns, "user" },
	};
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < HK_ARRAY_SIZE(all); i++) {
		int n = all[i].is_held ? hk_fmt(buf + at, size - at, "%s%s", at ? " " : "", all[i].name) : 0;

		at += n > 0 ? (size_t)n : 0;
	}
}

int sandbox_userns_open(const struct sbx_sandbox_config *c, int *ret_fd, struct hk_err *err)
{
	hk_autofd netns = -1, owner = -1;
	struct stat ours, theirs;

	*ret_fd = -1;
	if (!c->has_userns || c->net == SBX_NS_NODE || !c->netns_path[0])
		return 0;
	netns = open(c->netns_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (netns < 0)
		return hk_fail(err, HK_INVALID, errno, "network namespace %s", c->netns_path);
	owner = ioctl(netns, NS_GET_USERNS);
	if (owner < 0 || fstat(owner, &theirs) < 0 || stat("/proc/self/ns/user", &ours) < 0)
		return hk_fail(err, HK_INVALID, errno, "owner of network namespace %s", c->netns_path);
	if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev)
		*ret_fd = hk_take_fd(&owner);
	return 0;
}

uint32_t sandbox_root_of(const struct sbx_sandbox_config *c, const struct oci_idmaps *maps)
{
	for (size_t i = 0; c->has_userns && i < maps->n; i++)
		if (maps->v[i].container_id == 0)
			return maps->v[i].host_id;
	return 0;
}

/* ---- the document ---- */

static void put_namespace(struct hk_text *t, const char *type, const char *path)
{
	hk_text_put(t, ",{\"type\":");
	hk_text_json(t, type);
	if (path && *path)
		hk_text_json_field(t, "path", path);
	hk_text_put(t, "}");
}

static void put_namespaces(struct hk_text *t, const struct sbx_sandbox_config *c, int userns_fd)
{
	char path[32] = "";

	hk_text_put(t, "\"namespaces\":[{\"type\":\"mount\"}");
	if (c->net != SBX_NS_NODE) {
		put_namespace(t, "network", c->netns_path);
		put_namespace(t, "uts", NULL);
	}
	if (c->ipc != SBX_NS_NODE)
		put_namespace(t, "ipc", NULL);
	/*
	 * Also where the containers have their own: containerd gives the sandbox's to whichever container asks for the pod's, whatever the pod
	 * said, and that must never be the node's.
	 */
	if (c->pid != SBX_NS_NODE)
		put_namespace(t, "pid", NULL);
	if (c->has_userns) {
		if (userns_fd >= 0)
			(void)hk_fmt(path, sizeof(path), "/proc/self/fd/%d", userns_fd);
		put_namespace(t, "user", path);
	}
	hk_text_put(t, "]");
}

static void put_maps(struct hk_text *t, const char *name, const struct oci_idmaps *maps)
{
	hk_text_fmt(t, ",\"%s\":[", name);
	for (size_t i = 0; i < maps->n; i++)
		hk_text_fmt(t, "%s{\"containerID\":%u,\"hostID\":%u,\"size\":%u}", i ? "," : "", maps->v[i].container_id,
		    maps->v[i].host_id, maps->v[i].size);
	hk_text_put(t, "]");
}

static bool is_mapped(const struct oci_idmaps *maps, uint32_t id)
{
	for (size_t i = 0; i < maps->n; i++)
		if (id >= maps->v[i].container_id && id - maps->v[i].container_id < maps->v[i].size)
			return true;
	return false;
}

static void put_sysctl(struct hk_text *t, const char *key, const char *value, const char **separator)
{
	hk_text_put(t, *separator);
	hk_text_json(t, key);
	hk_text_put(t, ":");
	hk_text_json(t, value);
	*separator = ",";
}

static bool has_sysctl(const struct sbx_sandbox_config *c, const char *key)
{
	for (size_t i = 0; i < c->sysctls.n; i++)
		if (hk_streq(c->sysctls.v[i].key, key))
			return true;
	return false;
}

static void put_sysctls(struct hk_text *t, const struct sbx_sandbox_config *c)
{
	/* What containerd 2 gives to a pod with a network of its own, if the pod does not say otherwise. */
	static const struct {
		const char *key, *value;
		bool in_userns; /* group ids up to 2147483647 have no place in a map */
	} defaults[] = {
		{ "net.ipv4.ip_unprivileged_port_start", "0", true },
		{ "net.ipv4.ping_group_range", "0 2147483647", false },
	};
	const char *separator = "";

	hk_text_put(t, ",\"sysctl\":{");
	for (size_t i = 0; i < c->sysctls.n; i++)
		put_sysctl(t, c->sysctls.v[i].key, c->sysctls.v[i].value, &separator);
	for (size_t i = 0; c->net != SBX_NS_NODE && i < HK_ARRAY_SIZE(defaults); i++)
		if (!has_sysctl(c, defaults[i].key) && (!c->has_userns || defaults[i].in_userns))
			put_sysctl(t, defaults[i].key, defaults[i].value, &separator);
	hk_text_put(t, "}");
}

/* As CRI makes the path of a container from its parent: "slice:prefix:name" below a slice, which chooses the systemd driver. */
static void put_cgroup(struct hk_text *t, const struct sbx_sandbox_config *c)
{
	const char *slash = strrchr(c->cgroup_parent, '/');
	const char *base = slash ? slash + 1 : c->cgroup_parent;
	hk_auto(hk_text_done) struct hk_text path = { 0 };

	if (hk_has_suffix(base, ".slice"))
		hk_text_fmt(&path, "%s:cri-containerd:%s", base, c->id);
	else if (c->cgroup_parent[0])
		hk_text_fmt(&path, "%s/%s", c->cgroup_parent, c->id);
	else
		hk_text_fmt(&path, "/k8s.io/%s", c->id);
	if (path.failed)
		t->failed = true;
	else
		hk_text_json_field(t, "cgroupsPath", path.v);
}

static void put_process(struct hk_text *t, const struct sbx_sandbox_config *c)
{
	const bool has_nobody = !c->has_userns || (is_mapped(&c->uids, NOBODY) && is_mapped(&c->gids, NOBODY));
	const int id = has_nobody ? NOBODY : 0;

	hk_text_fmt(t, "\"process\":{\"args\":[\"/husk-init\"],\"cwd\":\"/\",\"noNewPrivileges\":true,\"user\":{\"uid\":%d,\"gid\":%d}", id, id);
	if (c->selinux_label[0])
		hk_text_json_field(t, "selinuxLabel", c->selinux_label);
	hk_text_put(t, "}");
}

static void put_hostname(struct hk_text *t, const struct sbx_sandbox_config *c)
{
	char own[HOSTNAME_SIZE] = "";

	if (c->net == SBX_NS_NODE)
		return;
	(void)gethostname(own, sizeof(own) - 1);
	hk_text_json_field(t, "hostname", c->hostname[0] ? c->hostname : own);
}

int sandbox_spec(const struct sbx_sandbox_config *c, const char *program, int userns_fd, char **ret, size_t *ret_len, struct hk_err *err)
{
	struct hk_text t = { 0 };

	hk_text_put(&t, "{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"rootfs\",\"readonly\":true}");
	put_hostname(&t, c);
	hk_text_put(&t, ",\"mounts\":[{\"destination\":\"/husk-init\",\"type\":\"bind\",\"options\":[\"bind\",\"ro\",\"nosuid\",\"nodev\"]");
	hk_text_json_field(&t, "source", program);
	hk_text_put(&t, "}],");
	put_process(&t, c);
	hk_text_put(&t, ",\"linux\":{");
	put_namespaces(&t, c, userns_fd);
	if (c->has_userns) {
		put_maps(&t, "uidMappings", &c->uids);
		put_maps(&t, "gidMappings", &c->gids);
	}
	put_sysctls(&t, c);
	put_cgroup(&t, c);
	hk_text_fmt(&t, ",\"resources\":{\"cpu\":{\"shares\":%d},\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]}", SHARES);
	hk_text_put(&t,
	    ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{\"action\":\"SCMP_ACT_ALLOW\",\"names\":"
	    "[\"execve\",\"rt_sigprocmask\",\"rt_sigtimedwait\",\"wait4\",\"exit_group\"]}]}}}");
	return hk_text_take(&t, ret, ret_len) < 0 ? hk_fail(err, HK_INTERNAL, ENOMEM, "document of sandbox %s", c->id) : 0;
}
