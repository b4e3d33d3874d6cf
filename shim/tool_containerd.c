/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_containerd.c — see tool_containerd.h. TOML is read for the few keys that decide, at the top of a file, line by line; whether the
 * whole is right is for containerd to say (`config dump`), which reads drop-ins and all.
 */
#include "shim/tool_containerd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "shim/tool_run.h"

enum { CONFIG_MAX = 1 << 20 };

struct place {
	const char *mark;   /* a file or directory that tells the distribution */
	const char *config; /* what its containerd reads */
	bool is_k3s;
};
static const struct place places[] = {
	{ "/var/lib/rancher/k3s/agent/etc/containerd", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", true },
	{ "/var/lib/rancher/rke2/agent/etc/containerd", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml", true },
	{ "/etc/k0s", "/etc/k0s/containerd.toml", false },
	{ "/etc/containerd", "/etc/containerd/config.toml", false },
};

/* "containerd github.com/containerd/containerd v2.1.9 abc", "containerd containerd.io 1.7.24 …": the first word that is a version. */
static void parse_version(const char *text, struct tool_containerd *ret)
{
	for (const char *at = text; *at; at += strcspn(at, " \n") + (at[strcspn(at, " \n")] != '\0')) {
		const char *v = *at == 'v' ? at + 1 : at;
		char *end;
		unsigned long major, minor;

		if (*v < '0' || *v > '9')
			continue;
		major = strtoul(v, &end, 10);
		if (*end != '.' || end[1] < '0' || end[1] > '9')
			continue;
		minor = strtoul(end + 1, &end, 10);
		ret->major = (unsigned int)major;
		ret->minor = (unsigned int)minor;
		(void)hk_fmt(ret->version, sizeof(ret->version), "%.*s", (int)(strcspn(v, " \n") > 60 ? 60 : strcspn(v, " \n")), v);
		return;
	}
}

/* The value after "key =" of a line before the first table; NULL when there is none. */
static const char *top_value(const char *toml, const char *key)
{
	const size_t n = strlen(key);

	for (const char *line = toml; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		const char *at = line + strspn(line, " \t");

		if (*at == '[')
			return NULL;
		if (strncmp(at, key, n) != 0)
			continue;
		at += n + strspn(at + n, " \t");
		if (*at == '=')
			return at + 1 + strspn(at + 1, " \t");
	}
	return NULL;
}

static void read_config(struct tool_containerd *ret)
{
	hk_autofree char *text = NULL;
	size_t len;
	const char *v;

	if (hk_read_file_alloc(AT_FDCWD, ret->config, CONFIG_MAX, &text, &len) < 0)
		return;
	v = top_value(text, "version");
	ret->config_version = v && *v >= '1' && *v <= '9' ? (unsigned int)(*v - '0') : 1;
	v = top_value(text, "imports");
	if (v) {
		const char *end = strchr(v, ']'), *conf_d = strstr(v, CONTAINERD_CONF_D "/*.toml");

		ret->imports_conf_d = conf_d && end && conf_d < end;
	}
}

bool tool_config_has_husk(const char *toml)
{
	return strstr(toml, "runtimes.husk]") || strstr(toml, "runtimes.'husk']") || strstr(toml, "runtimes.\"husk\"]");
}

char *tool_containerd_dump(const struct tool_containerd *c, bool *ret_ok)
{
	const char *const with_file[] = { c->program, "--config", c->config, "config", "dump", NULL };
	const char *const without[] = { c->program, "config", "default", NULL }; /* 1.x refuses to dump a file that is not there */
	struct tool_run run = { .argv = access(c->config, F_OK) == 0 ? with_file : without, .drop_stderr = true };
	char *text = NULL;

	*ret_ok = tool_run(&run, &text) == 0;
	if (*ret_ok)
		return text;
	free(text);
	text = NULL;
	run.drop_stderr = false; /* the reason */
	(void)tool_run(&run, &text);
	return text;
}

bool tool_containerd_find(struct tool_containerd *ret)
{
	static const char *const programs[] = { "containerd", "/usr/local/bin/containerd", "/var/lib/rancher/k3s/data/current/bin/containerd",
		"/var/lib/rancher/rke2/bin/containerd", "/var/lib/k0s/bin/containerd" };
	bool is_accepted;

	*ret = (struct tool_containerd){ 0 };
	for (size_t i = 0; i < HK_ARRAY_SIZE(programs) && !ret->version[0]; i++) {
		const char *const argv[] = { programs[i], "--version", NULL };
		const struct tool_run run = { .argv = argv };
		hk_autofree char *text = NULL;

		if (tool_run(&run, &text) != 0)
			continue;
		parse_version(text, ret);
		if (ret->version[0])
			(void)hk_fmt(ret->program, sizeof(ret->program), "%s", programs[i]);
	}
	if (!ret->version[0])
		return false;
	(void)hk_fmt(ret->config, sizeof(ret->config), "/etc/containerd/config.toml");
	for (size_t i = 0; i < HK_ARRAY_SIZE(places); i++) {
		if (access(places[i].mark, F_OK) < 0)
			continue;
		(void)hk_fmt(ret->config, sizeof(ret->config), "%s", places[i].config);
		ret->is_k3s = places[i].is_k3s;
		break;
	}
	read_config(ret);
	ret->dump = tool_containerd_dump(ret, &is_accepted);
	if (!is_accepted) {
		free(ret->dump);
		ret->dump = NULL;
	}
	return true;
}

void tool_containerd_done(struct tool_containerd *c)
{
	free(c->dump);
	c->dump = NULL;
}
