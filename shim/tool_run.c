/* SPDX-License-Identifier: Apache-2.0 */
/* shim/tool_run.c — see tool_run.h. */
#include "shim/tool_run.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/child.h"
#include "oci/base/fd.h"

enum { OUTPUT_MAX = 4 << 20, NOT_RUN = 127 };
#define NODE_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* A chroot may have no /dev/null. */
static void child(const struct tool_run *r, int out)
{
	if (r->mount_ns > 0 && (setns(r->mount_ns, CLONE_NEWNS) < 0 || setenv("PATH", NODE_PATH, 1) < 0))
		_exit(NOT_RUN);
	if (dup2(out, STDOUT_FILENO) < 0 || dup2(r->drop_stderr ? memfd_create("stderr", MFD_CLOEXEC) : out, STDERR_FILENO) < 0)
		_exit(NOT_RUN);
	(void)execvp(r->argv[0], (char *const *)(uintptr_t)r->argv);
	_exit(NOT_RUN);
}

int tool_run(const struct tool_run *r, char **ret)
{
	hk_autofree char *text = malloc(OUTPUT_MAX);
	hk_autofd in = -1, out = -1;
	struct hk_exit x;
	ssize_t n;
	int p[2];
	pid_t pid;

	if (!text)
		return -ENOMEM;
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	in = p[0];
	out = p[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child(r, out);
	out = hk_close(out);
	n = hk_read_all(in, text, OUTPUT_MAX);
	in = hk_close(in); /* one that prints without end gets SIGPIPE */
	if (hk_wait_blocking(pid, &x) < 0 || n < 0)
		return n < 0 ? (int)n : -ECHILD;
	if (x.status == NOT_RUN && n == 0)
		return -ENOENT;
	*ret = hk_take_ptr(text);
	return x.status;
}
