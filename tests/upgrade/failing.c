/* SPDX-License-Identifier: Apache-2.0 */
/* tests/upgrade/failing.c — a shim whose rehearsal goes well, and which then fails in the last step of taking a state over, when everything else is its own. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct hk_value;
struct shim_events;

int __real_shim_events_load(struct shim_events *e, const struct hk_value *from);
int __wrap_shim_events_load(struct shim_events *e, const struct hk_value *from);

int __wrap_shim_events_load(struct shim_events *e, const struct hk_value *from)
{
	static const char rehearse[] = "-rehearse";
	char words[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, words, sizeof(words));

	if (fd >= 0)
		(void)close(fd);
	if (n > 0 && memmem(words, (size_t)n, rehearse, sizeof(rehearse)))
		return __real_shim_events_load(e, from);
	return -ENOMEM;
}
