/* SPDX-License-Identifier: Apache-2.0 */
/* The change of user and capabilities, applied in a child and read back from the kernel there. Needs root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/creds.h"

#define BIT(cap) (1ULL << (cap))

struct result {
	unsigned long long inh, prm, eff, bnd, amb;
	uid_t uid;
	gid_t gid;
	int n_groups, code, nnp;
	gid_t groups[8];
};

static unsigned long long status_hex(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 16) : ~0ULL;
}

static void child(const struct oci_process *p, const uint64_t *caps, struct result *x)
{
	char text[8192];
	gid_t dirty[] = { 777, 778 };

	if (setgroups(2, dirty) < 0) /* as if the shim had groups of its own */
		return;
	x->code = p->no_new_privileges ? oci_creds_no_new_privs(NULL) : 0;
	if (x->code == 0)
		x->code = oci_creds_apply(p, caps, NULL);
	if (hk_read_file_at(AT_FDCWD, "/proc/self/status", text, sizeof(text)) < 0)
		return;
	x->inh = status_hex(text, "CapInh:\t");
	x->prm = status_hex(text, "CapPrm:\t");
	x->eff = status_hex(text, "CapEff:\t");
	x->bnd = status_hex(text, "CapBnd:\t");
	x->amb = status_hex(text, "CapAmb:\t");
	x->nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	x->uid = geteuid();
	x->gid = getegid();
	x->n_groups = getgroups(8, x->groups);
}

static struct result apply(const struct oci_process *p, const uint64_t *caps)
{
	struct result x = { .code = 1 };
	int pipefd[2];
	pid_t pid;

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		child(p, caps, &x);
		_exit(hk_write_full(pipefd[1], &x, sizeof(x)) < 0);
	}
	assert_true(pid > 0);
	assert_int_equal(read(pipefd[0], &x, sizeof(x)), sizeof(x));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)hk_close(pipefd[0]);
	(void)hk_close(pipefd[1]);
	return x;
}

static void root_keeps_what_is_listed(void **state)
{
	uint64_t set = BIT(CAP_CHOWN) | BIT(CAP_KILL);
	uint64_t caps[OCI_N_CAP_SETS] = {
		[OCI_CAP_BOUNDING] = set, [OCI_CAP_EFFECTIVE] = set, [OCI_CAP_PERMITTED] = set
	};
	struct oci_process p = { .uid = 0, .gid = 0 };
	struct result x = apply(&p, caps);

	(void)state;
	assert_int_equal(x.code, 0);
	assert_int_equal(x.prm, set);
	assert_int_equal(x.eff, set);
	assert_int_equal(x.bnd, set);
	assert_int_equal(x.inh, 0); /* CVE-2022-29162 */
	assert_int_equal(x.amb, 0);
	assert_int_equal(x.n_groups, 0); /* the shim's own are gone although none was asked for */
	assert_int_equal(x.nnp, 0);
}

static void user_keeps_what_is_listed(void **state)
{
	uint64_t set = BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_KILL), amb = BIT(CAP_NET_BIND_SERVICE);
	uint64_t caps[OCI_N_CAP_SETS] = { [OCI_CAP_BOUNDING] = set,
		[OCI_CAP_EFFECTIVE] = set,
		[OCI_CAP_PERMITTED] = set,
		[OCI_CAP_INHERITABLE] = amb,
		[OCI_CAP_AMBIENT] = set /* more than is inheritable: the rest is left out */ };
	uint32_t groups[] = { 10, 20, 30 };
	struct oci_process p = {
		.uid = 1000, .gid = 1001, .additional_gids = groups, .n_additional_gids = 3, .no_new_privileges = true
	};
	struct result x = apply(&p, caps);

	(void)state;
	assert_int_equal(x.code, 0);
	assert_int_equal(x.uid, 1000);
	assert_int_equal(x.gid, 1001);
	assert_int_equal(x.n_groups, 3);
	assert_memory_equal(x.groups, groups, sizeof(groups));
	assert_int_equal(x.prm, set);
	assert_int_equal(x.eff, set);
	assert_int_equal(x.inh, amb);
	assert_int_equal(x.amb, amb);
	assert_int_equal(x.nnp, 1);
}

static void user_without_a_list_has_none(void **state)
{
	struct oci_process p = { .uid = 1000, .gid = 1000 };
	struct result x = apply(&p, NULL);

	(void)state;
	assert_int_equal(x.code, 0);
	assert_int_equal(x.prm, 0);
	assert_int_equal(x.eff, 0);
}

static void more_than_there_is_cannot_be_had(void **state)
{
	uint64_t caps[OCI_N_CAP_SETS] = { [OCI_CAP_EFFECTIVE] = BIT(CAP_KILL) }; /* effective, not permitted */
	struct oci_process p = { .uid = 0 };

	(void)state;
	assert_int_equal(apply(&p, caps).code, -EPERM);
}

static void stdio_goes_to_the_user(void **state)
{
	int pipefd[2], status;
	struct stat st;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (dup2(null_fd, 0) < 0 || dup2(pipefd[1], 1) < 0 || dup2(pipefd[1], 2) < 0 ||
		    oci_creds_own_stdio(1234, NULL) < 0)
			_exit(1);
		_exit(fstat(0, &st) < 0 || st.st_uid == 1234); /* everybody's null device stays root's */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(fstat(pipefd[1], &st), 0);
	assert_int_equal(st.st_uid, 1234);
	(void)hk_close(pipefd[0]);
	(void)hk_close(pipefd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_keeps_what_is_listed),
		cmocka_unit_test(user_keeps_what_is_listed),
		cmocka_unit_test(user_without_a_list_has_none),
		cmocka_unit_test(more_than_there_is_cannot_be_had),
		cmocka_unit_test(stdio_goes_to_the_user),
	};

	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
