/* SPDX-License-Identifier: Apache-2.0 */
/* shim/image.c — see image.h. */
#include "shim/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/breakable.h"
#include "shim/cmd.h"

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
enum { COPY_BYTES = 1 << 24 };

static int new_memfd(void)
{
	int fd = memfd_create(SHIM_PROGRAM, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	/* Kernels before 6.3 do not know the flag, later ones may refuse to run what was made without it (vm.memfd_noexec). */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(SHIM_PROGRAM, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static int open_copy(const char *path, int *ret)
{
	hk_autofd in = open(path, O_RDONLY | O_CLOEXEC);
	hk_autofd out = in < 0 ? -1 : new_memfd();
	ssize_t n = 0;

	if (out < 0)
		return -errno;
	do
		n = sendfile(out, in, NULL, COPY_BYTES);
	while (n > 0);
	if (n < 0 || fcntl(out, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	*ret = hk_take_fd(&out);
	return 0;
}

int shim_image_open(const char *path, int *ret_fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	hk_autofd fd = -1;

	if (hk_is_broken(HK_DEFENCE_READONLY_IMAGE)) {
		*ret_fd = open(path, O_PATH | O_CLOEXEC);
		return *ret_fd < 0 ? -errno : 0;
	}
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0 || syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return open_copy(path, ret_fd);
	*ret_fd = hk_take_fd(&fd);
	return 0;
}
