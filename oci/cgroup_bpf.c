/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/cgroup_bpf.c — device rules in, a BPF_PROG_TYPE_CGROUP_DEVICE program on a cgroup out. Nothing is pinned and no fd is kept: the
 * program lives as long as the cgroup.
 */
#include "oci/cgroup_bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/cgroup_calc.h"

/* Registers of the program: the context comes in R1, the answer leaves in R0. */
enum { ANSWER = BPF_REG_0, CTX = BPF_REG_1, TYPE = BPF_REG_2, ACCESS = BPF_REG_3, MAJOR = BPF_REG_4, MINOR = BPF_REG_5, TMP = BPF_REG_6 };
enum { MAX_INSNS_PER_RULE = 8, N_HEAD = 6, N_TAIL = 2, MAX_INSNS = 1000000, MAX_ATTACHED = 64 };

struct out {
	struct bpf_insn *v;
	size_t n;
};

static void emit(struct out *o, unsigned int code, unsigned int dst, unsigned int src, int imm)
{
	o->v[o->n++] = (struct bpf_insn){ .code = (__u8)code, .dst_reg = dst & 15, .src_reg = src & 15, .imm = imm };
}

static void emit_load(struct out *o, unsigned int dst, size_t offset)
{
	emit(o, BPF_LDX | BPF_MEM | BPF_W, dst, CTX, 0);
	o->v[o->n - 1].off = (__s16)offset;
}

/* 32-bit compares: a 64-bit one would sign-extend the constant. The jump goes to the next rule; its length is filled in at the end. */
static void emit_skip_unless(struct out *o, unsigned int reg, uint32_t value)
{
	emit(o, BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, (int)value);
}

static void emit_exit(struct out *o, int answer)
{
	emit(o, BPF_ALU64 | BPF_MOV | BPF_K, ANSWER, 0, answer);
	emit(o, BPF_JMP | BPF_EXIT, 0, 0, 0);
}

static int access_bits(const struct oci_dev_rule *r)
{
	return (r->mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (r->read ? BPF_DEVCG_ACC_READ : 0) | (r->write ? BPF_DEVCG_ACC_WRITE : 0);
}

/* ACCESS holds the bits nobody has decided yet. An allow takes its bits off, and none left is "yes"; a deny that finds one is "no". */
static void emit_rule(struct out *o, const struct oci_dev_rule *r)
{
	size_t first = o->n;
	int bits = access_bits(r);

	if (r->type != 'a')
		emit_skip_unless(o, TYPE, r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (r->major >= 0)
		emit_skip_unless(o, MAJOR, (uint32_t)r->major);
	if (r->minor >= 0)
		emit_skip_unless(o, MINOR, (uint32_t)r->minor);
	if (r->allow) {
		emit(o, BPF_ALU | BPF_AND | BPF_K, ACCESS, 0, ~bits & 7);
		emit_skip_unless(o, ACCESS, 0);
	} else {
		emit(o, BPF_ALU | BPF_MOV | BPF_X, TMP, ACCESS, 0);
		emit(o, BPF_ALU | BPF_AND | BPF_K, TMP, 0, bits);
		emit(o, BPF_JMP32 | BPF_JEQ | BPF_K, TMP, 0, 0);
	}
	emit_exit(o, r->allow);
	for (size_t i = first; i < o->n; i++) {
		if (BPF_CLASS(o->v[i].code) == BPF_JMP32)
			o->v[i].off = (__s16)(o->n - i - 1);
	}
}

int cg_bpf_generate(const struct oci_dev_rule *v, size_t n, struct bpf_insn **ret, size_t *ret_n)
{
	hk_autofree struct bpf_insn *insns = NULL;
	struct out o;
	size_t i;

	if (n > (MAX_INSNS - N_HEAD - N_TAIL) / MAX_INSNS_PER_RULE)
		return -E2BIG;
	insns = calloc(N_HEAD + N_TAIL + n * MAX_INSNS_PER_RULE, sizeof(*insns));
	if (!insns)
		return -ENOMEM;
	o = (struct out){ .v = insns };
	emit_load(&o, TYPE, offsetof(struct bpf_cgroup_dev_ctx, access_type));
	emit(&o, BPF_ALU | BPF_MOV | BPF_X, ACCESS, TYPE, 0);
	emit(&o, BPF_ALU | BPF_AND | BPF_K, TYPE, 0, 0xffff);
	emit(&o, BPF_ALU | BPF_RSH | BPF_K, ACCESS, 0, 16);
	emit_load(&o, MAJOR, offsetof(struct bpf_cgroup_dev_ctx, major));
	emit_load(&o, MINOR, offsetof(struct bpf_cgroup_dev_ctx, minor));
	for (i = n; i > 0 && !cg_device_is_all(&v[i - 1]); i--)
		emit_rule(&o, &v[i - 1]);
	/* A rule for everything ends the search: code behind it would be dead, which the verifier refuses. */
	emit_exit(&o, i > 0 && v[i - 1].allow);
	*ret_n = o.n;
	*ret = hk_take_ptr(insns);
	return 0;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	long r;

	do
		r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));
	while (r < 0 && errno == EAGAIN);
	return r < 0 ? -errno : (int)r;
}

static int load(const struct bpf_insn *insns, size_t n)
{
	union bpf_attr attr;
	struct rlimit old, none = { RLIM_INFINITY, RLIM_INFINITY };
	int fd;

	memset(&attr, 0, sizeof(attr)); /* the kernel wants the padding zero too */
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.expected_attach_type = BPF_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = (uint32_t)n;
	attr.license = (uintptr_t) "Apache-2.0";
	memcpy(attr.prog_name, "husk_devices", sizeof("husk_devices"));
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd != -EPERM || getrlimit(RLIMIT_MEMLOCK, &old) < 0 || setrlimit(RLIMIT_MEMLOCK, &none) < 0)
		return fd;
	/* Before 5.11 programs count as locked memory of this process. */
	fd = bpf(BPF_PROG_LOAD, &attr);
	(void)setrlimit(RLIMIT_MEMLOCK, &old);
	return fd;
}

static int query(int cgroup_fd, uint32_t ids[MAX_ATTACHED], uint32_t *ret_n)
{
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)cgroup_fd;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uintptr_t)ids;
	attr.query.prog_cnt = MAX_ATTACHED;
	r = bpf(BPF_PROG_QUERY, &attr);
	if (r == 0)
		*ret_n = attr.query.prog_cnt;
	return r;
}

static int fd_of_id(uint32_t id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

/* old_fd -1: beside what is there. */
static int attach(int cgroup_fd, int prog_fd, int old_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)prog_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (old_fd >= 0) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)old_fd;
	}
	return bpf(BPF_PROG_ATTACH, &attr);
}

static int detach(int cgroup_fd, int prog_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)prog_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	return bpf(BPF_PROG_DETACH, &attr);
}

/* Only the programs this file has put there: systemd's own, say, stay. */
static bool is_ours(int prog_fd)
{
	union bpf_attr attr;
	struct bpf_prog_info info;

	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (uint32_t)prog_fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 && strncmp(info.name, "husk_devices", sizeof(info.name)) == 0;
}

int cg_bpf_attach(int cgroup_fd, const struct bpf_insn *insns, size_t n, struct hk_err *err)
{
	uint32_t ids[MAX_ATTACHED] = { 0 }, n_ids = 0;
	bool is_in = false;
	hk_autofd prog = load(insns, n);
	int r;

	if (prog < 0)
		return hk_fail(err, HK_INTERNAL, -prog, "load the device filter (bpf)");
	r = query(cgroup_fd, ids, &n_ids);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "list the device filters of the cgroup (bpf)");
	for (uint32_t i = 0; i < n_ids; i++) {
		hk_autofd old = fd_of_id(ids[i]);

		if (old < 0 || !is_ours(old))
			continue;
		if (!is_in && attach(cgroup_fd, prog, old) == 0) {
			is_in = true;
			continue;
		}
		r = is_in ? 0 : attach(cgroup_fd, prog, -1);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "attach the device filter (bpf)");
		is_in = true;
		r = detach(cgroup_fd, old);
		if (r < 0)
			return hk_fail(err, HK_INTERNAL, -r, "detach the old device filter (bpf)");
	}
	r = is_in ? 0 : attach(cgroup_fd, prog, -1);
	return r < 0 ? hk_fail(err, HK_INTERNAL, -r, "attach the device filter (bpf)") : 0;
}

int cg_bpf_apply(int cgroup_fd, const struct oci_dev_rule *v, size_t n, struct hk_err *err)
{
	hk_autofree struct oci_dev_rule *rules = NULL;
	hk_autofree struct bpf_insn *insns = NULL;
	size_t n_rules = 0, n_insns = 0, bad = 0;
	int r = cg_device_rules(v, n, &rules, &n_rules, &bad);

	if (r == -EINVAL)
		return hk_fail_text(err, HK_INVALID, EINVAL, "linux.resources.devices[%zu] is not a valid rule", bad);
	if (r == 0)
		r = cg_bpf_generate(rules, n_rules, &insns, &n_insns);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "device rules");
	r = cg_bpf_attach(cgroup_fd, insns, n_insns, err);
	/* Where BPF is refused (a user namespace without it) a filter that forbids nothing is no loss. */
	return r < 0 && n_rules == 1 && rules[0].allow ? 0 : r;
}
