/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_proc.c — see tool_proc.h. */
#include "shim/tool_proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"

enum { TEXT_SIZE = 4096, START_TIME_FIELD = 22, STACK_FRAMES = 3 };

static ssize_t read_proc(uint32_t pid, const char *name, char *text, size_t size)
{
	char path[64];

	text[0] = '\0';
	if (pid == 0 || hk_fmt(path, sizeof(path), "/proc/%u/%s", pid, name) < 0)
		return -1;
	return hk_read_file_at(AT_FDCWD, path, text, size);
}

/* "Key:   123 kB" in bytes. */
static uint64_t kib_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	uint64_t v = 0;

	for (at = at ? at + strlen(key) : ""; *at == ' ' || *at == ':'; at++)
		;
	for (; *at >= '0' && *at <= '9'; at++)
		v = v * 10 + (uint64_t)(*at - '0');
	return v << 10;
}

struct tool_memory tool_memory_of(uint32_t pid)
{
	struct tool_memory m = { 0 };
	char text[TEXT_SIZE];

	if (read_proc(pid, "smaps_rollup", text, sizeof(text)) <= 0)
		return m;
	m.rss = kib_of(text, "\nRss");
	m.pss = kib_of(text, "\nPss");
	m.anonymous = kib_of(text, "\nAnonymous") + kib_of(text, "\nSwap");
	return m;
}

static uint64_t age_of(const char *after_name)
{
	const char *at = after_name;
	char number[32];
	struct timespec now;
	uint64_t ticks;

	for (int field = 2; at && field < START_TIME_FIELD; field++)
		at = strchr(at + 1, ' ');
	if (!at || hk_fmt(number, sizeof(number), "%.*s", (int)strcspn(at + 1, " "), at + 1) < 0 || hk_parse_u64(number, &ticks) < 0)
		return 0;
	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	ticks /= (uint64_t)sysconf(_SC_CLK_TCK);
	return (uint64_t)now.tv_sec > ticks ? (uint64_t)now.tv_sec - ticks : 0;
}

/* "[<0>] nfs_wait_bit_killable+0x1c/0x90" a line: the names of the first few. */
static void frames(const char *text, char *ret, size_t size)
{
	size_t used = 0;

	ret[0] = '\0';
	for (int i = 0; i < STACK_FRAMES && *text; i++) {
		const char *name = strchr(text, ' ');
		const size_t line = strcspn(text, "\n");
		int n;

		if (!name || name > text + line)
			return;
		n = hk_fmt(ret + used, size - used, "%s%.*s", i ? " < " : "", (int)strcspn(name + 1, "+\n"), name + 1);
		if (n < 0)
			return;
		used += (size_t)n;
		text += line + (text[line] == '\n');
	}
}

bool tool_process_of(uint32_t pid, struct tool_process *ret)
{
	char text[TEXT_SIZE];
	char *open, *close;

	*ret = (struct tool_process){ 0 };
	if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (!open || !close || close < open || close[1] != ' ')
		return false;
	(void)hk_fmt(ret->name, sizeof(ret->name), "%.*s", (int)(close - open) - 1, open + 1);
	ret->state = close[2];
	ret->age_s = age_of(close);
	(void)read_proc(pid, "wchan", ret->wchan, sizeof(ret->wchan));
	if (hk_streq(ret->wchan, "0"))
		ret->wchan[0] = '\0';
	if (read_proc(pid, "stack", text, sizeof(text)) > 0)
		frames(text, ret->stack, sizeof(ret->stack));
	return true;
}

uint32_t tool_find_process(const char *name)
{
	hk_autodir d = opendir("/proc");

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		char comm[64];
		uint64_t pid;

		if (hk_parse_u64(e->d_name, &pid) == 0 && read_proc((uint32_t)pid, "comm", comm, sizeof(comm)) > 0 && hk_streq(comm, name))
			return (uint32_t)pid;
	}
	return 0;
}
