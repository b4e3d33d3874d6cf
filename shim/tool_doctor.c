/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_doctor.c — `husk doctor`: what this kernel, this containerd and this installation let husk do, what will not work, and how to mend it.
 * A probe asks the kernel itself (ENOSYS, EOPNOTSUPP), never a version number. Exit status 1 when something is broken, 0 with warnings only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "shim/cmd.h"
#include "shim/tool.h"
#include "shim/tool_containerd.h"
#include "shim/tool_proc.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
enum { CGROUP2_MAGIC = 0x63677270, TEXT_SIZE = 4096 };
enum verdict { OK, WARN, BROKEN };

struct doctor {
	bool as_json;
	struct json j;
	unsigned int n[3];
};
struct finding {
	const char *what, *found, *mend; /* mend "": nothing to do */
	enum verdict verdict;
};

static void tell(struct doctor *d, const struct finding *f)
{
	static const char *const words[] = { "ok", "warning", "broken" };
	static const char *const marks[] = { "ok  ", "warn", "FAIL" };

	d->n[f->verdict]++;
	if (d->as_json) {
		json_begin(&d->j, NULL, '{');
		json_str(&d->j, "check", f->what);
		json_str(&d->j, "verdict", words[f->verdict]);
		json_str(&d->j, "found", f->found);
		json_str(&d->j, "mend", f->verdict == OK ? "" : f->mend);
		json_end(&d->j, '}');
		return;
	}
	(void)printf("%s  %-22s %s\n", marks[f->verdict], f->what, f->found);
	if (f->verdict != OK && f->mend[0])
		(void)printf("      %-22s -> %s\n", "", f->mend);
}

/* ---- the kernel ---- */

static bool has_call(long r)
{
	return r >= 0 || errno != ENOSYS;
}

static bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

struct probe {
	const char *what, *lost, *mend;
	bool is_there;
	enum verdict otherwise;
};

static void check_calls(struct doctor *d)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC };
	const int root = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));
	const bool has_openat2 = has_call(root);
	const struct probe probes[] = {
		{ "openat2", "paths in an image cannot be resolved safely", "a kernel of 5.10 or later", has_openat2, BROKEN },
		{ "pidfd_open", "processes cannot be watched", "a kernel of 5.10 or later", has_call(syscall(SYS_pidfd_open, -1, 0)), BROKEN },
		{ "clone3", "no birth inside a cgroup", "a kernel of 5.10 or later", has_call(syscall(SYS_clone3, NULL, 0)), BROKEN },
		{ "close_range", "a walk of /proc/self/fd is used", "a kernel of 5.9 or later", has_call(syscall(SYS_close_range, ~0U, 0U, ~0U)), WARN },
		{ "fsopen, open_tree", "mount(2) is used", "a kernel of 5.2 or later", has_call(syscall(SYS_fsopen, NULL, 0)), WARN },
		{ "mount_setattr", "no id-mapped and no recursively read-only mounts, so no hostUsers: false", "a kernel of 5.12 or later",
		    has_call(syscall(SYS_mount_setattr, -1, NULL, 0, NULL, 0)), WARN },
		{ "seccomp", "profiles cannot be loaded", "CONFIG_SECCOMP_FILTER", file_exists("/proc/sys/kernel/seccomp/actions_avail"), BROKEN },
		{ "user namespaces", "no hostUsers: false", "CONFIG_USER_NS, user.max_user_namespaces > 0", file_exists("/proc/self/ns/user"), WARN },
		{ "time namespaces", "configurations with one are refused", "CONFIG_TIME_NS (5.6)", file_exists("/proc/self/ns/time"), WARN },
		{ "pressure (PSI)", "no pressure in stats", "CONFIG_PSI, boot with psi=1", file_exists("/proc/pressure/memory"), WARN },
	};

	if (root >= 0)
		hk_close(root);
	for (size_t i = 0; i < HK_ARRAY_SIZE(probes); i++) {
		const struct probe *p = &probes[i];

		tell(d, &(struct finding){ p->what, p->is_there ? "there" : p->lost, p->mend, p->is_there ? OK : p->otherwise });
	}
}

static void check_kernel(struct doctor *d)
{
	char filesystems[TEXT_SIZE] = "", found[300];
	struct utsname u;

	(void)uname(&u);
	(void)hk_fmt(found, sizeof(found), "%s %s, %s", u.sysname, u.release, u.machine);
	tell(d, &(struct finding){ "kernel", found, "", OK });
	check_calls(d);
	(void)hk_read_file_at(AT_FDCWD, "/proc/filesystems", filesystems, sizeof(filesystems));
	tell(d, &(struct finding){ "overlay", strstr(filesystems, "\toverlay") ? "there" : "not loaded: the overlayfs snapshotter will fail",
		"modprobe overlay, or another snapshotter", strstr(filesystems, "\toverlay") ? OK : WARN });
	tell(d, &(struct finding){ "AppArmor",
		file_exists("/sys/kernel/security/apparmor") || file_exists("/sys/module/apparmor") ? "there" : "not here: profiles in pods are refused",
		"boot with apparmor=1, or leave profiles out", OK });
}

/* ---- cgroups ---- */

static void check_cgroups(struct doctor *d)
{
	char controllers[512] = "", found[700];
	struct statfs fs;
	static const char *const wanted[] = { "cpu", "memory", "pids", "cpuset", "io" };

	if (statfs("/sys/fs/cgroup", &fs) < 0) {
		tell(d, &(struct finding){ "cgroups", "/sys/fs/cgroup is not there", "mount cgroup2 on it", BROKEN });
		return;
	}
	if (fs.f_type != CGROUP2_MAGIC) {
		(void)hk_fmt(found, sizeof(found), "version 1%s", file_exists("/sys/fs/cgroup/unified/cgroup.procs") ? " with a version 2 tree (hybrid)" : "");
		tell(d, &(struct finding){ "cgroups", found,
			"works; kernels and Kubernetes are leaving version 1: boot with systemd.unified_cgroup_hierarchy=1", OK });
		return;
	}
	tell(d, &(struct finding){ "cgroups", "version 2", "", OK });
	(void)hk_read_file_at(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", controllers, sizeof(controllers));
	for (size_t i = 0; i < HK_ARRAY_SIZE(wanted); i++) {
		if (strstr(controllers, wanted[i]))
			continue;
		(void)hk_fmt(found, sizeof(found), "controller %s is not there: limits of that kind fail", wanted[i]);
		tell(d, &(struct finding){ "cgroups", found, "boot without cgroup_disable=, or delegate it to this container", WARN });
	}
}

/* As the shim looks for it: beside itself, or below libexec. */
static bool find_helper(const char *shim, char *ret, size_t size)
{
	static const char *const places[] = { "", "../libexec/husk/" };
	const char *slash = strrchr(shim, '/');

	for (size_t i = 0; slash && i < HK_ARRAY_SIZE(places); i++)
		if (hk_fmt(ret, size, "%.*s%shusk-systemd", (int)(slash - shim) + 1, shim, places[i]) > 0 && file_exists(ret))
			return true;
	return false;
}

static void check_systemd(struct doctor *d, const char *shim)
{
	char path[700];
	bool is_there;

	if (!file_exists("/run/systemd/system") || !shim[0])
		return;
	is_there = find_helper(shim, path, sizeof(path));
	tell(d, &(struct finding){ "systemd driver", is_there ? path : "husk-systemd is not beside the shim: cgroupsPath slice:prefix:name is refused",
		"install it there (it is built where libsystemd-dev is), or set SystemdCgroup = false and kubelet's cgroupDriver: cgroupfs",
		is_there ? OK : WARN });
}

/* ---- containerd ---- */

static bool is_on_path(const char *path, char *ret, size_t size)
{
	for (const char *at = path; at && *at; at += strcspn(at, ":") + (at[strcspn(at, ":")] == ':'))
		if (hk_fmt(ret, size, "%.*s/" SHIM_PROGRAM, (int)strcspn(at, ":"), at) > 0 && access(ret, X_OK) == 0)
			return true;
	return false;
}

/* The daemon looks on the PATH it was started with, which is not this shell's. */
static void check_program(struct doctor *d, char *found, size_t size)
{
	char path[64], environment[TEXT_SIZE * 8];
	const uint32_t daemon = tool_find_process("containerd");
	const char *search = getenv("PATH");
	ssize_t n = -1;

	if (daemon && hk_fmt(path, sizeof(path), "/proc/%u/environ", daemon) > 0)
		n = hk_read_file_at(AT_FDCWD, path, environment, sizeof(environment));
	for (const char *at = environment; n > 0 && at < environment + n; at += strlen(at) + 1)
		if (hk_has_prefix(at, "PATH="))
			search = at + strlen("PATH=");
	if (daemon && n < 0) {
		tell(d, &(struct finding){ "shim", "the PATH of the running containerd cannot be read", "run this as root", WARN });
		return;
	}
	if (is_on_path(search, found, size)) {
		tell(d, &(struct finding){ "shim", found, "", OK });
		return;
	}
	found[0] = '\0';
	tell(d, &(struct finding){ "shim", daemon ? SHIM_PROGRAM " is not on the PATH of the running containerd" : SHIM_PROGRAM " is not on PATH",
		"husk install, or set runtime_path to where it is", BROKEN });
}

static void check_config(struct doctor *d, const struct tool_containerd *c)
{
	char found[600];

	if (!c->dump) {
		(void)hk_fmt(found, sizeof(found), "containerd refuses %s", c->config);
		tell(d, &(struct finding){ "configuration", found, "containerd config dump tells why", BROKEN });
		return;
	}
	(void)hk_fmt(found, sizeof(found), c->config_version ? "%s, version %u" : "no %s: containerd's defaults", c->config, c->config_version);
	tell(d, &(struct finding){ "configuration", found, "a file of version 2 or 3: `containerd config migrate`", c->config_version == 1 ? WARN : OK });
	if (strstr(c->dump, "disabled_plugins = [\"cri\"]") || strstr(c->dump, "disabled_plugins = ['cri']"))
		tell(d, &(struct finding){ "CRI", "the cri plugin is disabled, as Docker's package does it: kubelet has no runtime",
			"take \"cri\" out of disabled_plugins", WARN });
	else
		tell(d, &(struct finding){ "runtime husk", tool_config_has_husk(c->dump) ? "configured for CRI" : "not in CRI's runtimes: a RuntimeClass cannot choose it",
			"husk install, then restart containerd", tool_config_has_husk(c->dump) ? OK : WARN });
	if (c->major < 2)
		tell(d, &(struct finding){ "containerd 1.x", "no user namespaces for pods, no sandboxer = \"shim\"", "containerd 2.1 or later", OK });
}

static void check_containerd(struct doctor *d)
{
	hk_auto(tool_containerd_done) struct tool_containerd c = { 0 };
	char found[200];

	if (!tool_containerd_find(&c)) {
		tell(d, &(struct finding){ "containerd", "not on PATH", "apt install containerd", WARN });
		return;
	}
	(void)hk_fmt(found, sizeof(found), "%s%s", c.version, tool_find_process("containerd") ? ", running" : ", not running");
	tell(d, &(struct finding){ "containerd", found, "1.6 or later", c.major == 1 && c.minor < 6 ? BROKEN : OK });
	check_config(d, &c);
}

/* ---- pods ---- */

static void check_pods(struct doctor *d, const struct tool_options *o)
{
	hk_auto(tool_shims_done) struct tool_shims l = { 0 };
	unsigned int n_dead = 0, n_mute = 0, n_old = 0;
	struct hk_err err;
	char found[300];

	if (tool_shims_get(o, &l, &err) < 0) {
		tell(d, &(struct finding){ "pods", err.text, "", WARN });
		return;
	}
	for (size_t i = 0; i < l.n; i++) {
		const struct tool_shim *s = &l.v[i];

		n_dead += s->is_dead;
		n_mute += !s->is_dead && !s->state;
		n_old += s->state && (!hk_streq(s->state->version, HUSK_VERSION) || !hk_streq(s->state->revision, HUSK_REVISION));
	}
	(void)hk_fmt(found, sizeof(found), "%zu here, %u with a dead shim, %u that do not answer, %u of another version than this tool", l.n, n_dead,
	    n_mute, n_old);
	tell(d, &(struct finding){ "pods", found,
		n_dead ? "restart containerd: it cleans up after dead shims" : n_mute ? "husk why POD" : "husk upgrade --all",
		n_dead || n_mute || n_old ? WARN : OK });
}

int tool_doctor(const struct tool_options *o)
{
	struct doctor d = { .as_json = o->json, .j = { .f = stdout } };
	char shim[600] = "";

	if (o->json)
		json_begin(&d.j, NULL, '[');
	if (geteuid() != 0)
		tell(&d, &(struct finding){ "user", "not root: what only root may see is left out or looks broken", "run this as root", WARN });
	check_kernel(&d);
	check_cgroups(&d);
	check_containerd(&d);
	check_program(&d, shim, sizeof(shim));
	check_systemd(&d, shim);
	check_pods(&d, o);
	if (o->json) {
		json_end(&d.j, ']');
		(void)fputc('\n', stdout);
	} else {
		(void)printf("%u in order, %u warning%s, %u broken\n", d.n[OK], d.n[WARN], d.n[WARN] == 1 ? "" : "s", d.n[BROKEN]);
	}
	return d.n[BROKEN] ? 1 : 0;
}
