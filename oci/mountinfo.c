/* SPDX-License-Identifier: Apache-2.0 */
/* oci/mountinfo.c — see mountinfo.h. */
#include "oci/mountinfo.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "oci/base/str.h"

/* Blanks, newlines and backslashes are written as \ooo. */
static char *unescape(char *s)
{
	char *from = s, *to = s;

	while (*from) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
		    from[3] <= '7') {
			*to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
	return s;
}

static bool number(const char *s, int *ret)
{
	uint64_t v;

	if (!s || hk_parse_u64(s, &v) < 0 || v > INT_MAX)
		return false;
	*ret = (int)v;
	return true;
}

bool oci_mountinfo_line(char *line, struct oci_mountinfo *ret)
{
	char *tail = strstr(line, " - "), *save = NULL, *head[5], *end[3];

	if (!tail)
		return false;
	*tail = '\0';
	for (size_t i = 0; i < 5; i++) {
		head[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (!head[i])
			return false;
	}
	/* By hand: a source may be empty. */
	tail += strlen(" - ");
	for (size_t i = 0; i < 3; i++) {
		end[i] = tail;
		tail += strcspn(tail, i < 2 ? " \n" : "\n");
		if (*tail)
			*tail++ = '\0';
	}
	if (!number(head[0], &ret->id) || !number(head[1], &ret->parent))
		return false;
	ret->dev = head[2];
	ret->root = unescape(head[3]);
	ret->target = unescape(head[4]);
	ret->type = unescape(end[0]);
	ret->source = unescape(end[1]);
	ret->super_options = end[2];
	return true;
}

bool oci_mountinfo_next(char **pos, struct oci_mountinfo *ret)
{
	while (*pos && **pos) {
		char *line = *pos, *nl = strchr(line, '\n');

		*pos = nl ? nl + 1 : NULL;
		if (nl)
			*nl = '\0';
		if (oci_mountinfo_line(line, ret))
			return true;
	}
	return false;
}
