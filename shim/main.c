/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/main.c — argv to one command: `start`, `delete`, -info, -v, or (no action) the server that `start` spawns. Exit status 2 is a wrong
 * command line, as of every Go program; 1 a failure told on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "husk_version.h"
#include "oci/base/err.h"
#include "shim/cmd.h"

/* With 0, 1 or 2 closed the next file opened would take its number, and an answer or an error go into it. */
static int fill_std_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
			return 1;
	return 0;
}

static int run(const struct shim_flags *f)
{
	if (f->help) {
		(void)fputs(shim_usage, stderr);
		return 0;
	}
	if (f->version) {
		(void)printf(SHIM_PROGRAM ":\n  Version:  %s\n  Revision: %s\n\n", HUSK_VERSION, HUSK_REVISION);
		return 0;
	}
	if (f->info)
		return shim_cmd_info();
	if (!f->ns[0]) {
		(void)fputs(SHIM_PROGRAM ": shim namespace cannot be empty\n", stderr);
		return 1;
	}
	if (strcmp(f->action, "start") == 0)
		return shim_cmd_start(f);
	if (strcmp(f->action, "delete") == 0)
		return shim_cmd_delete(f);
	if (!f->action[0])
		return shim_cmd_serve(f);
	(void)fprintf(stderr, SHIM_PROGRAM ": unknown action \"%s\"\n", f->action);
	return 1;
}

int main(int argc, char **argv)
{
	struct hk_err err = { 0 };
	struct shim_flags flags;
	int status;

	const int r = shim_flags_parse(argc, argv, &flags, &err);

	/* One that takes another's place has its descriptors, and must not fail before it can go back to it. */
	if ((r < 0 || !flags.resume[0]) && fill_std_fds() != 0) {
		(void)fprintf(stderr, SHIM_PROGRAM ": open /dev/null: %s\n", hk_errno_name(errno));
		return 1;
	}
	if (r < 0) {
		(void)fprintf(stderr, "%s\n%s", err.text, shim_usage);
		return 2;
	}
	status = run(&flags);
	if (fflush(stdout) != 0)
		return 1;
	return status;
}
