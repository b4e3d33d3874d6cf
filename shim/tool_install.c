/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_install.c — `husk install`: programs by rename (a running one is never written to: ETXTBSY), then husk's tables into containerd's
 * configuration, then the proof: `containerd config dump` must show husk and must have lost no line; else the old files come back.
 *
 * In C, so that a node needs nothing but this static program and its image can be empty. Where the tables go: a drop-in below conf.d where the
 * main file imports that; a block in the main file where it does not, and for containerd 1.x, which replaces a plugin's whole section by an
 * imported one; on k3s a drop-in or a template, from which the main file is made at each start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "sandbox/view.h"
#include "shim/tool.h"
#include "shim/tool_containerd.h"
#include "shim/tool_programs.h"
#include "shim/tool_run.h"
#include "shim/tool_toml.h"

#define DROP_IN "50-husk.toml"
enum { CONFIG_MAX = 1 << 20, PATH_SIZE = 512 };

/* One file of the configuration: what it was and what it shall be; text NULL = no such file. */
struct change {
	char path[PATH_SIZE];
	char *before, *after; /* owned */
	bool is_template;     /* containerd does not read it itself */
};

static void change_done(struct change *c)
{
	free(c->before);
	free(c->after);
}

static int read_before(struct change *c, struct hk_err *err)
{
	size_t len;
	const int r = hk_read_file_alloc(AT_FDCWD, c->path, CONFIG_MAX, &c->before, &len);

	return r < 0 && r != -ENOENT ? hk_fail(err, HK_INTERNAL, -r, "read %s", c->path) : 0;
}

static int put(const char *path, const char *text, struct hk_err *err)
{
	char dir[PATH_SIZE];
	struct stat st;
	int r;

	if (!text) {
		if (unlink(path) < 0 && errno != ENOENT)
			return hk_fail(err, HK_INTERNAL, errno, "remove %s", path);
		return 0;
	}
	(void)hk_fmt(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	r = hk_mkdir_p(AT_FDCWD, dir, 0755);
	if (r == 0)
		r = hk_write_file_atomic(AT_FDCWD, path, text, strlen(text), stat(path, &st) == 0 ? st.st_mode & 0777 : 0644);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "write %s", path) : 0;
}

/* ---- where the tables go ---- */

static char *drop_in_text(unsigned int version)
{
	char *text = NULL;

	return asprintf(&text, "version = %u\n%s", version == 2 ? 2 : 3, toml_tables(version)) < 0 ? NULL : text;
}

static int plan_k3s(const struct tool_containerd *c, bool is_uninstall, struct change *ret, struct hk_err *err)
{
	const char *name = c->major < 2 ? "config.toml" : "config-v3.toml";
	const unsigned int version = c->major < 2 ? 2 : 3;
	char dir[PATH_SIZE], drop_ins[PATH_SIZE];

	(void)hk_fmt(dir, sizeof(dir), "%.*s", (int)(strrchr(c->config, '/') - c->config), c->config);
	(void)hk_fmt(drop_ins, sizeof(drop_ins), "%.300s/%s.d", dir, name);
	ret->is_template = true;
	if (access(drop_ins, F_OK) == 0) { /* of k3s 1.33 and later; it makes the directory itself */
		(void)hk_fmt(ret->path, sizeof(ret->path), "%.400s/" DROP_IN, drop_ins);
		if (read_before(ret, err) < 0)
			return -err->code;
		ret->after = is_uninstall ? NULL : drop_in_text(version);
		return is_uninstall || ret->after ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "make %s", ret->path);
	}
	(void)hk_fmt(ret->path, sizeof(ret->path), "%.300s/%s.tmpl", dir, name);
	if (read_before(ret, err) < 0)
		return -err->code;
	ret->after = is_uninstall ? toml_without_block(ret->before ? ret->before : "")
				  : toml_with_block(ret->before ? ret->before : "{{ template \"base\" . }}\n", toml_tables(version));
	return ret->after ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "make %s", ret->path);
}

static int plan_drop_in(const struct tool_containerd *c, bool is_uninstall, struct change *ret, struct hk_err *err)
{
	(void)hk_fmt(ret->path, sizeof(ret->path), CONTAINERD_CONF_D "/" DROP_IN);
	if (read_before(ret, err) < 0)
		return -err->code;
	ret->after = is_uninstall ? NULL : drop_in_text(c->config_version);
	return is_uninstall || ret->after ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "make %s", ret->path);
}

/*
 * containerd 1.x takes the first runtime that a file names for the whole list, so its own default must be named beside ours if the file does
 * not do that: as the dump shows it, which is what it is now.
 */
static char *block_tables(const struct tool_containerd *c, const char *file, unsigned int version)
{
	static const char runc[] = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]";
	const bool needs_runc = c->major < 2 && c->dump && !strstr(file, ".containerd.runtimes.");
	hk_autofree char *section = needs_runc ? toml_section(c->dump, runc) : strdup("");
	char *ret = NULL;

	if (!section || asprintf(&ret, "%s%s%s", toml_tables(version), section[0] ? "# The default, as it was before a runtime was named here.\n" : "", section) < 0)
		return NULL;
	return ret;
}

static int plan_block(const struct tool_containerd *c, bool is_uninstall, struct change *ret, struct hk_err *err)
{
	hk_autofree char *rest = NULL, *tables = NULL;
	const unsigned int version = c->config_version ? c->config_version : c->major < 2 ? 2 : 3;

	(void)hk_fmt(ret->path, sizeof(ret->path), "%s", c->config);
	if (read_before(ret, err) < 0)
		return -err->code;
	rest = toml_without_block(ret->before ? ret->before : "");
	if (!rest)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "read %s", c->config);
	if (is_uninstall) {
		/* A file that install made has nothing but the version besides. */
		ret->after = strcmp(rest, "version = 2\n") == 0 || strcmp(rest, "version = 3\n") == 0 ? NULL : hk_take_ptr(rest);
		return 0;
	}
	if (ret->before && version < 2)
		return hk_fail_text(err, HK_UNSUPPORTED, EINVAL,
		    "%s is of version 1, in which husk cannot be named: make it version 2 (`containerd config migrate` prints it)", c->config);
	if (tool_config_has_husk(rest)) {
		ret->after = strdup(ret->before); /* by hand: it is the owner's */
		return ret->after ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "read %s", c->config);
	}
	if (!ret->before) {
		free(rest);
		rest = strdup(version == 2 ? "version = 2\n" : "version = 3\n");
	}
	tables = rest ? block_tables(c, rest, version) : NULL;
	ret->after = tables ? toml_with_block(rest, tables) : NULL;
	return ret->after ? 0 : hk_fail(err, HK_INTERNAL, ENOMEM, "make %s", c->config);
}

static int plan(const struct tool_containerd *c, bool is_uninstall, struct change *ret, struct hk_err *err)
{
	if (c->is_k3s)
		return plan_k3s(c, is_uninstall, ret, err);
	if (c->imports_conf_d && c->major >= 2)
		return plan_drop_in(c, is_uninstall, ret, err);
	return plan_block(c, is_uninstall, ret, err);
}

/* ---- doing it ---- */

/* The new configuration as containerd reads it, beside the one before. */
static int verify(const struct tool_containerd *c, bool is_uninstall, struct hk_err *err)
{
	hk_autofree char *before = toml_without_block(c->dump);
	const char *lost;
	bool is_accepted;
	hk_autofree char *after = tool_containerd_dump(c, &is_accepted);

	if (!after || !before)
		return hk_fail(err, HK_INTERNAL, ENOMEM, "verify");
	if (!is_accepted)
		return hk_fail_text(err, HK_INTERNAL, EINVAL, "containerd refuses the new configuration: %.600s", after);
	if (is_uninstall)
		return 0;
	if (!tool_config_has_husk(after))
		return hk_fail_text(err, HK_INTERNAL, EINVAL, "containerd does not see husk in the new configuration");
	if (!toml_keeps_lines(before, after, &lost))
		return hk_fail_text(err, HK_INTERNAL, EINVAL, "the new configuration would lose a line: %.*s", (int)strcspn(lost, "\n"), lost);
	return 0;
}

static int apply(const struct tool_options *o, const struct tool_containerd *c, const struct change *ch, struct hk_err *err)
{
	const bool is_same = hk_streq(ch->before, ch->after);
	struct hk_err ignored;
	int r;

	(void)printf("%s %s%s\n", is_same ? "unchanged" : !ch->after ? "remove   " : ch->before ? "change   " : "write    ", ch->path,
	    o->dry_run && !is_same && ch->after ? ":" : "");
	if (o->dry_run && !is_same && ch->after)
		(void)printf("%s", ch->after);
	if (is_same || o->dry_run)
		return 0;
	r = put(ch->path, ch->after, err);
	if (r == 0 && !ch->is_template)
		r = verify(c, o->uninstall, err);
	if (r < 0) {
		(void)put(ch->path, ch->before, &ignored);
		return hk_wrap(err, "%s is as it was", ch->path);
	}
	return 0;
}

static void count_pod(void *arg, const struct sbx_group *g)
{
	(void)g;
	++*(unsigned int *)arg;
}

/* What containerd needs to clean up after a pod is the program that goes. */
static int refuse_with_pods(const struct tool_options *o, struct hk_err *err)
{
	unsigned int n = 0;

	(void)sbx_groups_each(o->run_dir, count_pod, &n);
	if (n == 0)
		return 0;
	return hk_fail_text(err, HK_BAD_STATE, EBUSY, "uninstall: %u pod%s of husk's on this node, and containerd needs its program to end them: drain the node first",
	    n, n == 1 ? "" : "s");
}

static int restart(const struct tool_options *o, const struct tool_containerd *c, int host_ns, struct hk_err *err)
{
	const char *unit = !c->is_k3s ? "containerd" : strstr(c->config, "rke2") ? "rke2-agent" : "k3s";
	const char *const argv[] = { "systemctl", "restart", unit, NULL };
	const struct tool_run run = { .argv = argv, .mount_ns = host_ns };
	hk_autofree char *text = NULL;
	int r;

	if (!o->restart || o->dry_run) {
		(void)printf("then      systemctl restart %s\n", unit);
		return 0;
	}
	r = tool_run(&run, &text);
	if (r != 0)
		return hk_fail_text(err, HK_INTERNAL, EIO, "restart %s: %.300s", unit, text && text[0] ? text : "systemctl cannot be run");
	(void)printf("restarted %s\n", unit);
	return 0;
}

static void count_group(void *arg, const struct sbx_group *g)
{
	(void)g;
	++*(size_t *)arg;
}

static void tell_of_running(const struct tool_options *o)
{
	size_t n = 0;

	if (sbx_groups_each(o->run_dir, count_group, &n) == 0 && n > 0)
		(void)printf("running   %zu pod%s: their shims keep the program they began with until `husk upgrade --all`\n", n, n == 1 ? "" : "s");
}

static int run(const struct tool_options *o, struct programs *p, int host_ns, struct hk_err *err)
{
	hk_auto(tool_containerd_done) struct tool_containerd c = { 0 };
	hk_auto(change_done) struct change ch = { .path = "" };
	int r = 0;

	/* From here on every path is the node's, its links included. */
	if (o->root[0] && (chroot(o->root) < 0 || chdir("/") < 0))
		return hk_fail(err, HK_INVALID, errno, "enter %s", o->root);
	if (!tool_containerd_find(&c))
		return hk_fail_text(err, HK_NOT_FOUND, ENOENT, "no containerd is installed here (looked on PATH and where k3s, rke2 and k0s have theirs)");
	if (!c.dump && !c.is_k3s && !o->uninstall)
		return hk_fail_text(err, HK_BAD_STATE, EINVAL, "containerd refuses its configuration as it is: `%s config dump` tells why", c.program);
	(void)printf("found     containerd %s, %s%s\n", c.version, c.config, c.config_version ? "" : " (not there: its defaults)");
	if (o->uninstall)
		r = refuse_with_pods(o, err);
	if (r == 0)
		r = plan(&c, o->uninstall, &ch, err);
	if (r == 0 && !o->uninstall)
		r = programs_install(p, o->dry_run, err);
	if (r == 0)
		r = apply(o, &c, &ch, err);
	if (r == 0 && !o->uninstall)
		tell_of_running(o);
	if (r == 0 && o->uninstall)
		r = programs_remove(p, o->dry_run, err);
	if (r == 0)
		r = restart(o, &c, host_ns, err);
	return r;
}

int tool_install(const struct tool_options *o)
{
	hk_auto(programs_done) struct programs p = { .n = 0 };
	hk_autofd host_ns = -1;
	struct hk_err err;

	if (geteuid() != 0) {
		(void)hk_fail_text(&err, HK_INVALID, EACCES, "install: run this as root");
		return tool_fail(&err);
	}
	/* Before the root changes: where we are, and where the node's own processes are. */
	if (programs_find(o->prefix, o->root[0] != '\0', &p, &err) < 0)
		return tool_fail(&err);
	if (o->root[0])
		host_ns = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (run(o, &p, host_ns, &err) < 0) {
		(void)hk_wrap(&err, "install");
		return tool_fail(&err);
	}
	return 0;
}
