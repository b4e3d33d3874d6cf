/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_containerd.h — which containerd is on this node and how it is configured. Read only. */
#pragma once
#include <stdbool.h>

struct tool_containerd {
	char program[64];  /* "containerd", or a distribution's own; "" = none */
	char version[64];  /* "1.7.24" */
	unsigned int major, minor;
	char config[256];  /* the file it reads */
	unsigned int config_version; /* of that file; 0 = there is none */
	bool is_k3s;       /* its file is made anew from a template at each start */
	bool imports_conf_d; /* that file names conf.d in its imports; no version reads it unasked, whatever `config default` shows */
	char *dump;        /* owned; `containerd config dump`, NULL when it fails */
};
#define CONTAINERD_CONF_D "/etc/containerd/conf.d"
/* False: no containerd here. */
bool tool_containerd_find(struct tool_containerd *ret);
/* Of a missing file the defaults. Heap; *ret_ok false: containerd refuses its configuration, and the text says why. NULL: it cannot be run. */
char *tool_containerd_dump(const struct tool_containerd *c, bool *ret_ok);
void tool_containerd_done(struct tool_containerd *c);
/* The text of [plugins.….runtimes.husk] in a dump or a configuration. */
bool tool_config_has_husk(const char *toml);
