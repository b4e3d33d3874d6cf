/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters are judged by running them: a small interpreter of classic BPF answers for a system call of a given architecture and number. The
 * cache is judged by what it refuses to believe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/seccomp.h"
#include "oci/spec_linux.h"

enum { X32 = 0x40000000, YOUNG = 5000 };
#define ERRNO(e) (SECCOMP_RET_ERRNO | (e))

/* The instructions that seccomp takes (kernel/seccomp.c, seccomp_check_filter). 0 = the program is broken. */
static uint32_t run(const struct oci_bpf *p, uint32_t arch, uint32_t nr, uint64_t arg0)
{
	struct seccomp_data d = { .nr = (int)nr, .arch = arch, .args = { arg0 } };
	uint32_t a = 0, x = 0, mem[16] = { 0 };

	for (size_t pc = 0; pc < p->n; pc++) {
		const struct sock_filter *i = &p->insns[pc];
		uint32_t k = i->k, operand = BPF_SRC(i->code) == BPF_X ? x : k;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(k + 4 <= sizeof(d));
			memcpy(&a, (const char *)&d + k, 4);
			break;
		case BPF_LD | BPF_IMM: a = k; break;
		case BPF_LD | BPF_MEM: a = mem[k % 16]; break;
		case BPF_LDX | BPF_MEM: x = mem[k % 16]; break;
		case BPF_ST: mem[k % 16] = a; break;
		case BPF_STX: mem[k % 16] = x; break;
		case BPF_MISC | BPF_TAX: x = a; break;
		case BPF_MISC | BPF_TXA: a = x; break;
		case BPF_ALU | BPF_AND | BPF_K: a &= k; break;
		case BPF_JMP | BPF_JA: pc += k; break;
		case BPF_JMP | BPF_JEQ | BPF_K: case BPF_JMP | BPF_JEQ | BPF_X: pc += a == operand ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JGT | BPF_K: case BPF_JMP | BPF_JGT | BPF_X: pc += a > operand ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JGE | BPF_K: case BPF_JMP | BPF_JGE | BPF_X: pc += a >= operand ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JSET | BPF_K: case BPF_JMP | BPF_JSET | BPF_X: pc += a & operand ? i->jt : i->jf; break;
		case BPF_RET | BPF_K: return k;
		default: fail_msg("instruction %zu: code %#x", pc, i->code);
		}
	}
	return 0;
}

static uint32_t call(const struct oci_bpf *p, uint32_t arch, const char *name)
{
	int nr = seccomp_syscall_resolve_name_arch(arch, name);

	assert_true(nr >= 0);
	return run(p, arch == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : arch, (uint32_t)nr, 0);
}

/* About the size of containerd's default: every call of x86_64 up to `last` but the named ones. */
static size_t all_names(const char **v, size_t max, uint32_t last)
{
	static const char *const but[] = { "mount", "ptrace", "reboot", "kexec_load", "clone3", "personality" };
	size_t n = 0;

	for (uint32_t nr = 0; nr <= last && n < max; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, (int)nr);
		bool out = !name;

		for (size_t i = 0; !out && i < HK_ARRAY_SIZE(but); i++)
			out = strcmp(but[i], name) == 0;
		if (out)
			free(name);
		else
			v[n++] = name;
	}
	return n;
}

struct fixture {
	const char *names[512], *clone3[1], *personality[1];
	uint32_t archs[3];
	struct oci_seccomp_arg arg;
	struct oci_seccomp_rule rules[3];
	struct oci_seccomp s;
	struct oci_bpf bpf;
};

static struct fixture *make(uint32_t default_action)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct hk_err err = { 0 };
	size_t n;

	assert_non_null(f);
	n = all_names(f->names, HK_ARRAY_SIZE(f->names) - 1, 446);
	assert_true(n > 300);
	f->names[n++] = "no_such_call_anywhere";
	f->clone3[0] = "clone3";
	f->personality[0] = "personality";
	f->arg = (struct oci_seccomp_arg){ .index = 0, .value = 8, .op = SCMP_CMP_EQ };
	f->rules[0] = (struct oci_seccomp_rule){ .names = { f->names, n }, .action = SCMP_ACT_ALLOW };
	f->rules[1] = (struct oci_seccomp_rule){ .names = { f->clone3, 1 }, .action = SCMP_ACT_ERRNO(ENOSYS) };
	f->rules[2] = (struct oci_seccomp_rule){ .names = { f->personality, 1 }, .action = SCMP_ACT_ALLOW, .args = &f->arg, .n_args = 1 };
	f->archs[0] = SCMP_ARCH_X86_64;
	f->archs[1] = SCMP_ARCH_X86;
	f->archs[2] = SCMP_ARCH_X32;
	f->s = (struct oci_seccomp){
		.is_set = true, .default_action = default_action, .archs = f->archs, .n_archs = 3, .rules = f->rules, .n_rules = 3
	};
	if (oci_seccomp_build(&f->s, &f->bpf, &err) < 0)
		fail_msg("%s", err.text);
	return f;
}

static void drop(struct fixture *f)
{
	for (size_t i = 0; f->names[i] && strcmp(f->names[i], "no_such_call_anywhere") != 0; i++)
		free((void *)(uintptr_t)f->names[i]);
	free(f->bpf.insns);
	free(f);
}

static void skip_elsewhere(void)
{
	if (seccomp_arch_native() != SCMP_ARCH_X86_64)
		skip();
}

static void profile_allows_and_denies(void **state)
{
	struct fixture *f;

	(void)state;
	skip_elsewhere();
	f = make(SCMP_ACT_ERRNO(EPERM));
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86_64, "read"), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86_64, "openat2"), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86, "read"), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X32, "read"), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86_64, "mount"), ERRNO(EPERM));
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86, "mount"), ERRNO(EPERM));
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X32, "ptrace"), ERRNO(EPERM));
	assert_int_equal(call(&f->bpf, SCMP_ARCH_X86_64, "clone3"), ERRNO(ENOSYS));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, 135, 8), SECCOMP_RET_ALLOW); /* personality by its argument */
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, 135, 9), ERRNO(EPERM));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_AARCH64, 63, 0) & SECCOMP_RET_ACTION_FULL, SECCOMP_RET_KILL_THREAD);
	drop(f);
}

static void younger_calls_do_not_exist(void **state)
{
	struct fixture *f;
	int last;

	(void)state;
	skip_elsewhere();
	f = make(SCMP_ACT_ERRNO(EPERM));
	last = 446;
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, (uint32_t)last, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, (uint32_t)last + 1, 0), ERRNO(ENOSYS));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, YOUNG, 0), ERRNO(ENOSYS));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_I386, YOUNG, 0), ERRNO(ENOSYS));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, X32 + YOUNG, 0), ERRNO(ENOSYS));
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, X32 + 400, 0), ERRNO(EPERM)); /* below x32's highest, not in the profile */
	drop(f);
	f = make(SCMP_ACT_KILL_PROCESS);
	assert_int_equal(run(&f->bpf, AUDIT_ARCH_X86_64, YOUNG, 0), ERRNO(ENOSYS));
	drop(f);
}

static void permissive_profile_stays_permissive(void **state)
{
	const char *names[] = { "mount", NULL };
	struct oci_seccomp_rule rule = { .names = { names, 1 }, .action = SCMP_ACT_ERRNO(EACCES) };
	struct oci_seccomp s = { .is_set = true, .default_action = SCMP_ACT_ALLOW, .rules = &rule, .n_rules = 1 };
	struct oci_bpf bpf = { 0 };
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(oci_seccomp_build(&s, &bpf, &err), 0);
	assert_int_equal(run(&bpf, seccomp_arch_native(), YOUNG, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(call(&bpf, seccomp_arch_native(), "mount"), ERRNO(EACCES));
	free(bpf.insns);
}

static void same_argument_twice_is_either(void **state)
{
	const char *names[] = { "socket", NULL };
	struct oci_seccomp_arg args[] = { { 0, 1, 0, SCMP_CMP_EQ }, { 0, 2, 0, SCMP_CMP_EQ } };
	struct oci_seccomp_rule rule = { .names = { names, 1 }, .action = SCMP_ACT_ERRNO(EACCES), .args = args, .n_args = 2 };
	struct oci_seccomp s = { .is_set = true, .default_action = SCMP_ACT_ALLOW, .rules = &rule, .n_rules = 1 };
	struct oci_bpf bpf = { 0 };
	struct hk_err err = { 0 };
	uint32_t nr;

	(void)state;
	assert_int_equal(oci_seccomp_build(&s, &bpf, &err), 0);
	nr = (uint32_t)seccomp_syscall_resolve_name("socket");
	assert_int_equal(run(&bpf, seccomp_arch_native(), nr, 1), ERRNO(EACCES));
	assert_int_equal(run(&bpf, seccomp_arch_native(), nr, 2), ERRNO(EACCES));
	assert_int_equal(run(&bpf, seccomp_arch_native(), nr, 3), SECCOMP_RET_ALLOW);
	free(bpf.insns);
}

static void key_follows_the_content(void **state)
{
	const char *a[] = { "read", "write", NULL }, *b[] = { "readwrite", NULL };
	struct oci_seccomp_rule ra = { .names = { a, 2 }, .action = SCMP_ACT_ALLOW }, rb = { .names = { b, 1 }, .action = SCMP_ACT_ALLOW };
	struct oci_seccomp sa = { .default_action = SCMP_ACT_KILL, .rules = &ra, .n_rules = 1 }, sb = sa, sc = sa;
	char ka[65], kb[65], kc[65];

	(void)state;
	sb.rules = &rb;
	assert_int_equal(oci_seccomp_key(&sa, ka), 0);
	assert_int_equal(oci_seccomp_key(&sb, kb), 0);
	assert_int_equal(oci_seccomp_key(&sc, kc), 0);
	assert_string_equal(ka, kc);
	assert_string_not_equal(ka, kb);
	sc.default_action = SCMP_ACT_ALLOW;
	assert_int_equal(oci_seccomp_key(&sc, kc), 0);
	assert_string_not_equal(ka, kc);
	assert_int_equal(strlen(ka), 64);
}

/* ---- folding, against libseccomp's own program ---- */

static uint32_t rolled;

static uint32_t roll(uint32_t below)
{
	rolled = rolled * 1664525U + 1013904223U;
	return (rolled >> 8) % below;
}

/* A profile of `n` runs of calls by chance, as tables of calls grow; every fourth run with one or two conditions. */
static scmp_filter_ctx random_profile(uint32_t n)
{
	static const uint32_t actions[] = { SCMP_ACT_ERRNO(EPERM), SCMP_ACT_ALLOW, SCMP_ACT_KILL_PROCESS, SCMP_ACT_LOG };
	static const enum scmp_compare ops[] = { SCMP_CMP_EQ, SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_GE, SCMP_CMP_MASKED_EQ };
	scmp_filter_ctx ctx = seccomp_init(actions[roll(4)]);

	assert_non_null(ctx);
	assert_int_equal(seccomp_arch_add(ctx, SCMP_ARCH_X86), 0);
	if (roll(2))
		assert_int_equal(seccomp_arch_add(ctx, SCMP_ARCH_X32), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct scmp_arg_cmp args[2];
		unsigned n_args = roll(4) ? 0 : 1 + roll(2);
		uint32_t action = actions[roll(4)], first = roll(400), last = first + roll(n_args ? 2 : 30);

		for (unsigned k = 0; k < n_args; k++)
			args[k] = SCMP_CMP64(k, ops[roll(5)], roll(8), roll(8));
		for (uint32_t nr = first; nr <= last; nr++) /* may contradict an earlier one */
			(void)seccomp_rule_add_array(ctx, action, (int)nr, n_args, args);
	}
	return ctx;
}

static struct oci_bpf exported(scmp_filter_ctx ctx)
{
	struct oci_bpf bpf = { .insns = calloc(OCI_BPF_MAX, sizeof(struct sock_filter)) };
	int fd = memfd_create("filter", MFD_CLOEXEC);
	ssize_t n;

	assert_non_null(bpf.insns);
	assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
	n = pread(fd, bpf.insns, OCI_BPF_MAX * sizeof(*bpf.insns), 0);
	assert_true(n > 0);
	bpf.n = (size_t)n / sizeof(*bpf.insns);
	(void)close(fd);
	return bpf;
}

static void same_verdicts(const struct oci_bpf *a, const struct oci_bpf *b, uint32_t nr)
{
	static const uint32_t archs[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0 };

	for (size_t i = 0; i < HK_ARRAY_SIZE(archs); i++)
		for (uint64_t arg = 0; arg < 9; arg++)
			if (run(a, archs[i], nr, arg) != run(b, archs[i], nr, arg))
				fail_msg("architecture %#x, number %u, argument %llu", archs[i], nr, (unsigned long long)arg);
}

static void folded_is_the_same(void **state)
{
	size_t n_plain = 0, n_folded = 0;

	(void)state;
	skip_elsewhere();
	for (rolled = 1; rolled != 0 && rolled < 40; rolled++) {
		uint32_t seed = rolled;
		scmp_filter_ctx ctx = random_profile(5 + seed);
		struct oci_bpf plain = exported(ctx), folded = exported(ctx);

		assert_int_equal(oci_seccomp_fold(&folded), 0);
		n_plain += plain.n;
		n_folded += folded.n;
		for (uint32_t nr = 0; nr < 500; nr++) {
			same_verdicts(&plain, &folded, nr);
			same_verdicts(&plain, &folded, X32 + nr);
			same_verdicts(&plain, &folded, X32 - 1 - nr);
			same_verdicts(&plain, &folded, UINT32_MAX - nr);
		}
		seccomp_release(ctx);
		free(plain.insns);
		free(folded.insns);
		rolled = seed;
	}
	assert_true(n_folded < n_plain / 2);
}

static void the_default_profile_is_short(void **state)
{
	struct fixture *f;

	(void)state;
	skip_elsewhere();
	f = make(SCMP_ACT_ERRNO(EPERM));
	assert_in_range(f->bpf.n, 20, 300); /* libseccomp: more than 1,000 */
	drop(f);
}

static void what_is_not_understood_stays(void **state)
{
	struct sock_filter odd[] = { { .code = BPF_LD | BPF_W | BPF_ABS }, { .code = BPF_ALU | BPF_AND | BPF_K, .k = 1 },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .k = 1, .jf = 1 }, { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW },
		{ .code = BPF_RET | BPF_K, .k = SECCOMP_RET_KILL } };
	struct sock_filter was[HK_ARRAY_SIZE(odd)];
	struct oci_bpf bpf = { odd, HK_ARRAY_SIZE(odd) };

	(void)state;
	memcpy(was, odd, sizeof(odd));
	assert_int_equal(oci_seccomp_fold(&bpf), 0);
	assert_int_equal(bpf.n, HK_ARRAY_SIZE(odd));
	assert_memory_equal(odd, was, sizeof(odd));
}

/* ---- the cache ---- */

static char run_dir[64], path[256];
static const char key[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static struct sock_filter insns[2] = { { .code = BPF_LD | BPF_W | BPF_ABS }, { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW } };

static int cache_setup(void **state)
{
	struct oci_bpf bpf = { insns, 2 };

	(void)state;
	(void)snprintf(run_dir, sizeof(run_dir), "/tmp/husk-test-seccomp-XXXXXX");
	if (!mkdtemp(run_dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/seccomp/%s", run_dir, key);
	return oci_seccomp_cache_write(run_dir, key, &bpf, NULL);
}

static int cache_teardown(void **state)
{
	(void)state;
	return hk_rm_rf(AT_FDCWD, run_dir);
}

static int try_open(void)
{
	struct oci_bpf bpf = { 0 };
	int fd = -1, r = oci_seccomp_cache_open(run_dir, key, &fd, &bpf);

	if (r == 0) {
		struct oci_bpf again = { 0 };

		assert_int_equal(bpf.n, 2);
		assert_memory_equal(bpf.insns, insns, sizeof(insns));
		assert_int_equal(oci_seccomp_cache_read(fd, &again), 0);
		assert_memory_equal(again.insns, insns, sizeof(insns));
		free(again.insns);
	} else {
		assert_int_equal(fd, -1);
		assert_null(bpf.insns);
	}
	free(bpf.insns);
	(void)hk_close(fd);
	return r;
}

static void poke(off_t at, char c)
{
	int fd;

	assert_int_equal(chmod(path, 0600), 0);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	(void)hk_close(fd);
}

static void good_file_is_believed(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(try_open(), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	*strrchr(path, '/') = 0;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void missing_file_is_missing(void **state)
{
	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(try_open(), -ENOENT);
}

static void tampered_file_is_refused(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	poke(st.st_size - 1, 0x55); /* the verdict itself */
	assert_int_equal(try_open(), -EBADMSG);
	assert_int_equal(truncate(path, st.st_size - 8), 0);
	assert_int_equal(try_open(), -EBADMSG);
	assert_int_equal(truncate(path, 10), 0);
	assert_int_equal(try_open(), -EBADMSG);
}

static void longer_file_is_refused(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	poke(st.st_size, 1);
	assert_int_equal(try_open(), -EBADMSG);
}

static void wrong_mode_or_owner_is_refused(void **state)
{
	(void)state;
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(try_open(), -EPERM);
	assert_int_equal(chmod(path, 0602), 0);
	assert_int_equal(try_open(), -EPERM);
	if (geteuid() == 0) {
		assert_int_equal(chmod(path, 0600), 0);
		assert_int_equal(chown(path, 1234, 0), 0);
		assert_int_equal(try_open(), -EPERM);
	}
}

static void links_and_other_files_are_refused(void **state)
{
	char other[512];

	(void)state;
	(void)snprintf(other, sizeof(other), "%s.other", path);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(try_open(), -EPERM); /* a second name: somebody may hold it */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(try_open(), -EPERM);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(try_open(), -EPERM); /* and does not block */
}

static void open_directory_is_refused(void **state)
{
	struct oci_bpf bpf = { insns, 2 };
	struct hk_err err = { 0 };
	char dir[128], moved[160];

	(void)state;
	(void)snprintf(dir, sizeof(dir), "%s/seccomp", run_dir);
	(void)snprintf(moved, sizeof(moved), "%s.moved", dir);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(try_open(), -EPERM);
	assert_int_equal(oci_seccomp_cache_write(run_dir, key, &bpf, &err), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(rename(dir, moved), 0);
	assert_int_equal(symlink(moved, dir), 0);
	assert_int_equal(try_open(), -EPERM);
}

static void bad_file_is_replaced(void **state)
{
	struct oci_bpf bpf = { insns, 2 };

	(void)state;
	poke(0, 'X');
	assert_int_equal(try_open(), -EBADMSG);
	assert_int_equal(oci_seccomp_cache_write(run_dir, key, &bpf, NULL), 0);
	assert_int_equal(try_open(), 0);
}

#define CACHE_TEST(f) cmocka_unit_test_setup_teardown(f, cache_setup, cache_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(profile_allows_and_denies),
		cmocka_unit_test(younger_calls_do_not_exist),
		cmocka_unit_test(permissive_profile_stays_permissive),
		cmocka_unit_test(same_argument_twice_is_either),
		cmocka_unit_test(folded_is_the_same),
		cmocka_unit_test(the_default_profile_is_short),
		cmocka_unit_test(what_is_not_understood_stays),
		cmocka_unit_test(key_follows_the_content),
		CACHE_TEST(good_file_is_believed),
		CACHE_TEST(missing_file_is_missing),
		CACHE_TEST(tampered_file_is_refused),
		CACHE_TEST(longer_file_is_refused),
		CACHE_TEST(wrong_mode_or_owner_is_refused),
		CACHE_TEST(links_and_other_files_are_refused),
		CACHE_TEST(open_directory_is_refused),
		CACHE_TEST(bad_file_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
