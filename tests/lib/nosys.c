/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nosys — runs a command on an older kernel, as far as system calls go:
 *   nosys CALL[,CALL...] COMMAND...
 * Each CALL is ENOSYS for the command and all its children, by a seccomp filter. "setns-pidfd" is setns(2) of more than one namespace at
 * once, which only a pidfd can do: EINVAL, as before Linux 5.8. "all" is every call that husk has another way for. HUSK_NOSYS tells the
 * command what it does not have.
 */
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALL "clone3,openat2,open_tree,fsopen,move_mount,mount_setattr,close_range,setns-pidfd,faccessat2,pidfd_getfd"

static int add_setns(scmp_filter_ctx ctx)
{
	static const scmp_datum_t others[] = { CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWCGROUP };
	int r = 0;

	/* Every container has a mount namespace, so a set that is one with another in it is all there is. */
	for (size_t i = 0; r == 0 && i < sizeof(others) / sizeof(*others); i++) {
		scmp_datum_t pair = others[i] | CLONE_NEWNS;

		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(setns), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, pair, pair));
	}
	return r;
}

static int add(scmp_filter_ctx ctx, const char *name)
{
	int nr;

	if (strcmp(name, "setns-pidfd") == 0)
		return add_setns(ctx);
	nr = seccomp_syscall_resolve_name(name);
	if (nr == __NR_SCMP_ERROR)
		return -EINVAL;
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), nr, 0);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	char list[512];
	int r;

	if (argc < 3 || !ctx) {
		fprintf(stderr, "usage: nosys CALL[,CALL...] COMMAND...\n");
		return 2;
	}
	/* Root's: setuid programs behind it go on to work. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	(void)snprintf(list, sizeof(list), "%s", strcmp(argv[1], "all") == 0 ? ALL : argv[1]);
	(void)setenv("HUSK_NOSYS", list, 1);
	for (char *save = NULL, *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		r = add(ctx, name);
		if (r < 0) {
			fprintf(stderr, "nosys: %s: %s\n", name, strerror(-r));
			return 2;
		}
	}
	r = seccomp_load(ctx);
	if (r < 0) {
		fprintf(stderr, "nosys: load the filter: %s\n", strerror(-r));
		return 2;
	}
	(void)execvp(argv[2], argv + 2);
	fprintf(stderr, "nosys: %s: %s\n", argv[2], strerror(errno));
	return 2;
}
