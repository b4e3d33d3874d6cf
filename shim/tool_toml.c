/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_toml.c — see tool_toml.h. */
#include "shim/tool_toml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN "# husk install: begin (made by the program of that name; edits in here are lost)\n"
#define BEGIN_MARK "# husk install: begin"
#define END "# husk install: end\n"

static const char tables_v2[] = "# husk for containerd 1.6, 1.7 and every later one whose configuration is of version 2.\n"
				"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.husk]\n"
				"  runtime_type = \"io.containerd.husk.v2\"\n"
				"  pod_annotations = [\"husk.io/*\"]\n";
static const char tables_v3[] = "# husk for containerd 2.x with a configuration of version 3 or later.\n"
				"[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.husk]\n"
				"  runtime_type = \"io.containerd.husk.v2\"\n"
				"  pod_annotations = [\"husk.io/*\"]\n";

const char *toml_tables(unsigned int config_version)
{
	return config_version == 2 ? tables_v2 : tables_v3;
}

/* The start of the line that begins with `mark`; NULL when there is none. */
static const char *find_line(const char *text, const char *mark)
{
	for (const char *at = strstr(text, mark); at; at = strstr(at + 1, mark))
		if (at == text || at[-1] == '\n')
			return at;
	return NULL;
}

char *toml_without_block(const char *text)
{
	const char *begin = find_line(text, BEGIN_MARK);
	const char *end = begin ? find_line(begin, END) : NULL;
	char *ret = NULL;

	if (!end)
		return strdup(text);
	/* The newline in front of it came with it: an empty line, or the end of a last line that had none. */
	if (begin > text)
		begin--;
	return asprintf(&ret, "%.*s%s", (int)(begin - text), text, end + strlen(END)) < 0 ? NULL : ret;
}

char *toml_with_block(const char *text, const char *tables)
{
	char *rest = toml_without_block(text);
	char *ret = NULL;

	if (!rest)
		return NULL;
	if (asprintf(&ret, "%s%s" BEGIN "%s" END, rest, rest[0] ? "\n" : "", tables) < 0)
		ret = NULL;
	free(rest);
	return ret;
}

char *toml_section(const char *text, const char *head)
{
	const size_t n = strlen(head) - 1; /* without the bracket: the tables below begin with the same */
	const char *begin = strstr(text, head);
	const char *end = begin;

	while (end && *end) {
		const char *line = end + strspn(end, " \t");

		if (*line == '[' && strncmp(line, head, n) != 0)
			break;
		end += strcspn(end, "\n") + (end[strcspn(end, "\n")] == '\n');
	}
	return begin ? strndup(begin, (size_t)(end - begin)) : strdup("");
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == '\0'))
			return true;
	return false;
}

bool toml_keeps_lines(const char *before, const char *after, const char **ret_line)
{
	for (const char *at = before; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		if (strncmp(at, "imports", strlen("imports")) == 0 || has_line(after, at, strcspn(at, "\n")))
			continue;
		*ret_line = at;
		return false;
	}
	return true;
}
