/* SPDX-License-Identifier: Apache-2.0 */
/* tests/attack/nss_attack.c — libnss_attack.so.2 of a hostile image: loading it is enough. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
	int fd = open("/tmp/loaded", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd >= 0)
		(void)close(fd);
}
