/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_containerd.h — which containerd is on this node and how it is configured. Read only. */
#pragma once
#include <stdbool.h>

struct tool_containerd {
	char program[64];  /* "containerd", or a distribution's own; "" = none */
	char version[64];  /* "1.7.24" */
	unsigned int major, minor;
	char config[256];  /* the file it reads, inside the root */
	unsigned int config_version; /* of that file; 0 = there is none */
	bool is_k3s;       /* its file is made anew from a template at each start */
	bool has_imports, imports_conf_d; /* of that file */
	char *dump;        /* owned; `containerd config dump`, NULL when it fails */
};
/* root "" = this machine. False: no containerd there. */
bool tool_containerd_find(const char *root, struct tool_containerd *ret);
/* Heap; NULL when containerd refuses its configuration. */
char *tool_containerd_dump(const char *root, const struct tool_containerd *c);
void tool_containerd_done(struct tool_containerd *c);
/* The text of [plugins.….runtimes.husk] in a dump or a configuration. */
bool tool_config_has_husk(const char *toml);
