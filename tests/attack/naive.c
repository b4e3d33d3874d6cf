/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/attack/naive.c — what HUSK_BREAK names, and how runtimes did things before each attack was known. Linked with the objects that
 * are compiled with HUSK_BREAKABLE; no program that is installed has any of it.
 */
#include "oci/base/breakable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool hk_is_broken(enum hk_defence d)
{
#define NAME(id, name) [HK_DEFENCE_##id] = name,
	static const char *const names[HK_N_DEFENCES] = { HK_DEFENCES(NAME) };
#undef NAME
	const char *wanted = getenv("HUSK_BREAK");

	return wanted && strcmp(wanted, names[d]) == 0;
}

static void make_dirs(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(path, 0755);
		*p = '/';
	}
	(void)mkdir(path, 0755);
}

int hk_naive_open(int rootfd, const char *path, int flags, bool makes_dirs, int *ret_fd)
{
	char name[PATH_MAX], root[PATH_MAX];
	ssize_t n;
	int fd;

	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", rootfd);
	n = readlink(name, root, sizeof(root) - 1);
	if (n < 0)
		n = 0; /* no procfs at /proc: after the pivot, where the root is "/" */
	root[n] = '\0';
	if (snprintf(name, sizeof(name), "%s/%s", root, path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	if (makes_dirs)
		make_dirs(name);
	fd = open(name, flags | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int hk_naive_pts(int rootfd, int master, int *ret_fd)
{
	unsigned number;
	char name[32];

	if (ioctl(master, TIOCGPTN, &number) < 0)
		return -errno;
	(void)snprintf(name, sizeof(name), "/dev/pts/%u", number);
	return hk_naive_open(rootfd, name, O_PATH, false, ret_fd);
}

unsigned hk_naive_id(const char *text, unsigned len)
{
	char buf[64];

	(void)snprintf(buf, sizeof(buf), "%.*s", (int)len, text);
	return (unsigned)strtoull(buf, NULL, 10);
}

void hk_naive_home(unsigned uid, char *buf, unsigned size)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		(void)snprintf(buf, size, "%s", pw->pw_dir);
}

int hk_naive_procfs(void)
{
	return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

unsigned long long hk_naive_inheritable(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return data[0].inheritable | (unsigned long long)data[1].inheritable << 32;
}
