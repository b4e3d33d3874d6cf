/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_resources.c — LinuxResources of Task.Update and of config.json: parsed, then turned into device rules, their BPF program and
 * the writes of each controller of v1 and v2, into a directory of ordinary files.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "oci/base/arena.h"
#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/cgroup_bpf.h"
#include "oci/cgroup_calc.h"
#include "oci/cgroup_priv.h"
#include "oci/spec.h"
#include "tests/fuzz/fuzz.h"

static const char *const files[] = { "cpu.max", "cpu.weight", "cpu.max.burst", "cpu.idle", "cpu.shares",
	"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.rt_period_us", "cpu.rt_runtime_us",
	"cpuset.cpus", "cpuset.mems", "memory.max", "memory.low", "memory.high", "memory.swap.max", "memory.current",
	"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
	"memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "memory.swappiness", "memory.oom_control",
	"memory.use_hierarchy", "pids.max", "io.weight", "io.bfq.weight", "io.max", "blkio.weight", "blkio.bfq.weight",
	"blkio.leaf_weight", "blkio.weight_device", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
	"blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device", "hugetlb.2MB.max",
	"hugetlb.2MB.limit_in_bytes", "rdma.max", "net_cls.classid", "net_prio.ifpriomap", "devices.allow",
	"devices.deny" };

static void check_devices(const struct oci_resources *r)
{
	hk_autofree struct oci_dev_rule *rules = NULL;
	hk_autofree struct bpf_insn *insns = NULL;
	size_t n = 0, n_insns = 0, bad = SIZE_MAX;
	char line[64];
	int res = cg_device_rules(r->devices, r->n_devices, &rules, &n, &bad);

	FUZZ_CHECK(res == 0 || (res == -EINVAL && bad < r->n_devices));
	if (res < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		(void)cg_device_line(&rules[i], rules[i].type, line, sizeof(line));
		(void)cg_device_is_all(&rules[i]);
	}
	FUZZ_CHECK(cg_device_v1_conflict(rules, n) < (long)n);
	res = cg_bpf_generate(rules, n, &insns, &n_insns);
	FUZZ_CHECK(res == -E2BIG || (res == 0 && insns && n_insns > 0));
}

static void write_one(enum cg_ctl ctl, bool is_v2, struct cg_dir *d, const struct oci_resources *r)
{
	struct hk_err err = { 0 };
	int res = (is_v2 ? cg_v2_write : cg_v1_write)(ctl, d, r, &err);

	if (res < 0)
		fuzz_check_err(res, &err);
	res = is_v2 && ctl == CG_MEMORY ? cg_v2_check_memory(d, r, &err) : 0;
	if (res < 0)
		fuzz_check_err(res, &err);
}

static void write_all(const struct oci_resources *r)
{
	struct cg_dir d = { .mount = "", .path = "/x", .fd = fuzz_dir() };
	struct hk_err err = { 0 };
	int res = cg_v2_write_unified(&d, r, &err);

	if (res < 0)
		fuzz_check_err(res, &err);
	for (unsigned int ctl = 0; ctl < CG_N_CTLS; ctl++) {
		write_one((enum cg_ctl)ctl, false, &d, r);
		if (cg_v2_ctl_name((enum cg_ctl)ctl))
			write_one((enum cg_ctl)ctl, true, &d, r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_laid_out;
	struct hk_arena arena = { 0 };
	struct oci_resources r = { 0 };
	struct hk_err err = { 0 };
	int res;

	for (size_t i = 0; !is_laid_out && i < HK_ARRAY_SIZE(files); i++)
		fuzz_file(fuzz_dir(), files[i], "0\n", 2);
	is_laid_out = true;
	res = oci_resources_parse((const char *)data, size, &arena, &r, &err);
	if (res < 0) {
		fuzz_check_err(res, &err);
	} else {
		check_devices(&r);
		write_all(&r);
	}
	hk_arena_done(&arena);
	return 0;
}
