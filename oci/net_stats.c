/* SPDX-License-Identifier: Apache-2.0 */
/* oci/net_stats.c — what went through the interfaces of a container's network namespace, as /proc/PID/net/dev has it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/launch.h"

enum { DEV_MAX = 1 << 20, RX_FIELDS = 8, N_FIELDS = 16, MAX_INTERFACES = 4096 };

/* "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop ..." */
static bool read_line(char *line, struct oci_net_stat *ret)
{
	char *colon = strrchr(line, ':'), *save = NULL;
	uint64_t v[N_FIELDS];

	line += strspn(line, " ");
	if (!colon || colon == line || (size_t)(colon - line) >= sizeof(ret->name))
		return false;
	*colon = '\0';
	for (int i = 0; i < N_FIELDS; i++) {
		const char *word = strtok_r(i == 0 ? colon + 1 : NULL, " ", &save);

		if (!word || hk_parse_u64(word, &v[i]) < 0)
			return false;
	}
	*ret = (struct oci_net_stat){
		.rx_bytes = v[0], .rx_packets = v[1], .rx_errors = v[2], .rx_dropped = v[3],
		.tx_bytes = v[RX_FIELDS], .tx_packets = v[RX_FIELDS + 1], .tx_errors = v[RX_FIELDS + 2], .tx_dropped = v[RX_FIELDS + 3],
	};
	memcpy(ret->name, line, strlen(line) + 1);
	return true;
}

int oci_net_stats_parse(char *text, struct oci_stats *s)
{
	size_t n_lines = 0;
	char *save = NULL;

	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n_lines++;
	n_lines = n_lines < MAX_INTERFACES ? n_lines : MAX_INTERFACES;
	s->net = calloc(n_lines + 1, sizeof(*s->net));
	if (!s->net)
		return -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line && s->n_net < n_lines; line = strtok_r(NULL, "\n", &save))
		s->n_net += read_line(line, &s->net[s->n_net]); /* two lines are headings */
	return 0;
}

int oci_container_net_stats(const struct oci_container *c, struct oci_stats *s)
{
	hk_autofree char *text = NULL;
	char path[64];
	size_t len;
	int r;

	if (!(c->ns_mask & CLONE_NEWNET) || c->init_pid <= 0)
		return 0; /* the host's interfaces are not its */
	(void)hk_fmt(path, sizeof(path), "/proc/%d/net/dev", (int)c->init_pid);
	r = hk_read_file_alloc(AT_FDCWD, path, DEV_MAX, &text, &len);
	return r < 0 ? r : oci_net_stats_parse(text, s);
}
