/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole documents as runc and containerd write them, every member once, cut-off documents, and the three smaller
 * documents.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "oci/spec.h"
#include "tests/oci/spec_helpers.h"

#define BIT(cap) (UINT64_C(1) << (cap))

static void test_runc_spec(void **state)
{
	size_t len;
	hk_autofree char *text = load("runc_spec.json", &len);
	struct oci_spec *s = parse_ok(text);
	const struct oci_process *p = &s->process;

	(void)state;
	assert_int_equal(oci_spec_validate(s, NULL), 0);
	assert_string_equal(s->version, "1.0.2-dev");
	assert_string_equal(s->root_path, "rootfs");
	assert_true(s->root_readonly);
	assert_string_equal(s->hostname, "runc");
	assert_true(s->has_process && p->terminal);
	assert_int_equal(p->args.n, 1);
	assert_string_equal(p->args.v[0], "sh");
	assert_null(p->args.v[1]);
	assert_string_equal(p->env.v[1], "TERM=xterm");
	assert_true(p->has_capabilities);
	assert_true(p->caps[OCI_CAP_BOUNDING] == (BIT(CAP_AUDIT_WRITE) | BIT(CAP_KILL) | BIT(CAP_NET_BIND_SERVICE)));
	assert_true(p->caps[OCI_CAP_INHERITABLE] == 0);
	assert_true(p->caps[OCI_CAP_AMBIENT] == p->caps[OCI_CAP_BOUNDING]);
	assert_true(p->has_no_new_privileges && p->no_new_privileges);
	assert_false(p->has_oom_score_adj || p->has_umask);
	assert_int_equal(p->n_rlimits, 1);
	assert_int_equal(p->rlimits[0].resource, RLIMIT_NOFILE);
	assert_int_equal(p->rlimits[0].hard, 1024);
	assert_int_equal(s->n_mounts, 7);
	assert_string_equal(s->mounts[2].destination, "/dev/pts");
	assert_string_equal(s->mounts[2].options.v[5], "gid=5");
	assert_null(s->mounts[2].options.v[6]);
	assert_true(s->ns[OCI_NS_CGROUP].is_set && !s->ns[OCI_NS_CGROUP].path && !s->ns[OCI_NS_USER].is_set);
	assert_int_equal(s->resources.n_devices, 1);
	assert_false(s->resources.devices[0].allow);
	assert_int_equal(s->resources.devices[0].type, 'a');
	assert_int_equal(s->resources.devices[0].major, -1);
	assert_int_equal(s->masked_paths.n, 10);
	assert_int_equal(s->readonly_paths.n, 5);
	assert_false(s->seccomp.is_set);
	assert_null(s->cgroups_path);
	oci_spec_free(s);
}

static void test_cri_container(void **state)
{
	size_t len;
	hk_autofree char *text = load("cri_container.json", &len);
	struct oci_spec *s = parse_ok(text);
	const struct oci_seccomp *sc = &s->seccomp;

	(void)state;
	assert_int_equal(oci_spec_validate(s, NULL), 0);
	assert_int_equal(s->process.n_additional_gids, 2);
	assert_int_equal(s->process.additional_gids[1], 2000);
	assert_true(s->process.has_oom_score_adj);
	assert_int_equal(s->process.oom_score_adj, 985);
	assert_string_equal(s->process.env.v[5], "GREETING=h\xc3\xa9llo \"world\"");
	assert_string_equal(s->process.apparmor_profile, "cri-containerd.apparmor.d");
	assert_string_equal(s->ns[OCI_NS_NET].path, "/proc/4242/ns/net");
	assert_null(s->ns[OCI_NS_MNT].path);
	assert_string_equal(oci_kvs_get(&s->annotations, "io.kubernetes.cri.container-type"), "container");
	assert_null(oci_kvs_get(&s->annotations, "io.kubernetes.cri.container"));
	assert_int_equal(s->resources.memory.swap.v, 134217728);
	assert_false(s->resources.memory.reservation.is_set);
	assert_int_equal(s->resources.cpu.quota.v, 50000);
	assert_true(s->resources.pids_limit.is_set);
	assert_int_equal(s->resources.pids_limit.v, -1);
	assert_int_equal(s->resources.unified.n, 2);
	assert_string_equal(s->resources.unified.v[0].key, "memory.low"); /* sorted */
	assert_true(sc->is_set && !sc->has_flags);
	assert_int_equal(sc->flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	assert_int_equal(sc->default_action, SCMP_ACT_ERRNO(EPERM));
	assert_int_equal(sc->n_archs, 3);
	assert_int_equal(sc->archs[2], SCMP_ARCH_X32);
	assert_true(sc->rules[0].names.n > 350);
	assert_int_equal(sc->rules[0].action, SCMP_ACT_ALLOW);
	assert_int_equal(sc->rules[6].args[0].value, UINT32_MAX);
	assert_int_equal(sc->rules[6].args[0].op, SCMP_CMP_EQ);
	assert_int_equal(sc->rules[sc->n_rules - 1].action, SCMP_ACT_ERRNO(38));
	oci_spec_free(s);
}

static void test_process_members(void **state)
{
	struct oci_spec *s = parse_ok(DOC_PROCESS(
	    "\"consoleSize\":{\"height\":24,\"width\":80},\"user\":{\"uid\":4294967294,\"gid\":7,\"umask\":63,"
	    "\"username\":\"x\"},"
	    "\"env\":[],\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"CAP_FROM_THE_FUTURE\",\"cap_kill\",\"CHOWN\","
	    "\"3\",\"CAP_BPF\"],"
	    "\"ambient\":null},\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":18446744073709551615},"
	    "{\"type\":\"RLIMIT_RTTIME\",\"soft\":18446744073709551615,\"hard\":18446744073709551615}],\"oomScoreAdj\":"
	    "-1000,"
	    "\"scheduler\":{\"policy\":\"SCHED_DEADLINE\",\"flags\":[\"SCHED_FLAG_RECLAIM\",\"SCHED_FLAG_RESET_ON_"
	    "FORK\"],"
	    "\"runtime\":10,\"deadline\":20,\"period\":30},\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":"
	    "4},"
	    "\"execCPUAffinity\":{\"initial\":\"0-1\",\"final\":\"7\"},\"selinuxLabel\":\"a:b:c\",\"apparmorProfile\":"
	    "\"\","
	    "\"noNewPrivileges\":false,\"unknown\":{\"a\":[]}"));
	const struct oci_process *p = &s->process;

	(void)state;
	assert_int_equal(oci_spec_validate(s, NULL), 0);
	assert_int_equal(p->console_rows, 24);
	assert_int_equal(p->console_cols, 80);
	assert_true(p->uid == UINT32_MAX - 1 && p->gid == 7);
	assert_true(p->has_umask && p->umask == 077);
	assert_int_equal(p->env.n, 0);
	assert_true(p->caps[OCI_CAP_BOUNDING] == (BIT(CAP_CHOWN) | BIT(CAP_BPF)));
	assert_true(p->rlimits[0].hard == RLIM_INFINITY && p->rlimits[0].soft == 0);
	assert_int_equal(p->rlimits[1].resource, RLIMIT_RTTIME);
	assert_int_equal(p->oom_score_adj, -1000);
	assert_true(
	    p->scheduler.is_set && p->scheduler.policy == 6 && p->scheduler.flags == 3 && p->scheduler.deadline == 20);
	assert_true(p->has_io_priority && p->io_priority_class == 2 && p->io_priority == 4);
	assert_string_equal(p->exec_cpu_affinity_final, "7");
	assert_string_equal(p->selinux_label, "a:b:c");
	assert_null(p->apparmor_profile);
	assert_true(p->has_no_new_privileges && !p->no_new_privileges);
	oci_spec_free(s);
}

static void test_linux_members(void **state)
{
	struct oci_spec *s = parse_ok(DOC_LINUX(
	    "\"namespaces\":[{\"type\":\"mount\",\"path\":\"\"},{\"type\":\"user\"},{\"type\":\"time\"}],"
	    "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"
	    "\"gidMappings\":[{\"containerID\":0,\"hostID\":4294901759,\"size\":65536}],"
	    "\"timeOffsets\":{\"monotonic\":{\"secs\":-5,\"nanosecs\":999999999},\"boottime\":{\"secs\":172800}},"
	    "\"devices\":[{\"type\":\"u\",\"path\":\"/dev/"
	    "x\",\"major\":10,\"minor\":229,\"fileMode\":8630,\"uid\":1,\"gid\":2},"
	    "{\"type\":\"p\",\"path\":\"/run/"
	    "p\"}],\"rootfsPropagation\":\"rslave\",\"cgroupsPath\":\"system.slice:cri:x\","
	    "\"mountLabel\":\"l\",\"personality\":{\"domain\":\"LINUX32\",\"flags\":[\"X\"]},"
	    "\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"flags\":[\"MPOL_F_STATIC_NODES\"],\"nodes\":\"0-1\"},"
	    "\"intelRdt\":{\"closID\":\"guaranteed\",\"schemata\":[\"L3:0=f\"],\"enableMonitoring\":true},"
	    "\"netDevices\":{\"eth1\":{\"name\":\"net0\"},\"eth0\":{}},\"sysctl\":{\"net.core.somaxconn\":\"1\"}"));

	(void)state;
	assert_true(s->ns[OCI_NS_MNT].is_set && !s->ns[OCI_NS_MNT].path);
	assert_int_equal(s->gid_mappings.v[0].host_id, 4294901759);
	assert_int_equal(s->time_monotonic_s.v, -5);
	assert_int_equal(s->time_monotonic_ns.v, 999999999);
	assert_true(s->time_boottime_ns.is_set && s->time_boottime_ns.v == 0);
	assert_int_equal(s->devices[0].type, 'c');
	assert_true(s->devices[0].has_mode && s->devices[0].mode == 0666); /* 8630 = S_IFCHR | 0666 */
	assert_int_equal(s->devices[1].type, 'p');
	assert_false(s->devices[1].has_mode);
	assert_true(s->rootfs_propagation == OCI_PROP_SLAVE && s->rootfs_propagation_recursive);
	assert_string_equal(s->cgroups_path, "system.slice:cri:x");
	assert_true(s->has_personality && s->personality == 8);
	assert_true(s->memory_policy.is_set && s->memory_policy.mode == MPOL_BIND &&
		    s->memory_policy.flags == MPOL_F_STATIC_NODES);
	assert_true(s->intel_rdt.is_set && s->intel_rdt.enable_monitoring && s->intel_rdt.schemata.n == 1);
	assert_int_equal(s->n_net_devices, 2);
	assert_string_equal(s->net_devices[0].host_name, "eth0");
	assert_null(s->net_devices[0].name);
	assert_string_equal(s->net_devices[1].name, "net0");
	oci_spec_free(s);
}

static void test_resources_members(void **state)
{
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	static const char text[] =
	    "{\"devices\":[{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":-1,\"access\":\"mr\"},{\"allow\":true}]"
	    ","
	    "\"memory\":{\"limit\":-1,\"kernelTCP\":5,\"swappiness\":60,\"disableOOMKiller\":true,"
	    "\"checkBeforeUpdate\":false},"
	    "\"cpu\":{\"shares\":18446744073709551615,\"realtimeRuntime\":-1,\"idle\":1,\"cpus\":\"0-3,8\",\"mems\":"
	    "\"\"},"
	    "\"pids\":{\"limit\":0},\"blockIO\":{\"weight\":10,\"leafWeight\":1000,\"weightDevice\":[{\"major\":8,"
	    "\"minor\":0,\"leafWeight\":3}],"
	    "\"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":16,\"rate\":0}]},"
	    "\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":9223372036854771712}],\"network\":{\"classID\":0,"
	    "\"priorities\":[{\"name\":\"eth0\",\"priority\":7}]},\"rdma\":{\"mlx5_1\":{\"hcaObjects\":0},\"mlx5_0\":{"
	    "\"hcaHandles\":3}},"
	    "\"unified\":{\"io.max\":\"8:0 rbps=1\\n8:16 rbps=2\",\"cpu.weight\":\"50\"}}";
	struct oci_resources r;
	struct hk_err err = { 0 };

	(void)state;
	if (oci_resources_parse(text, sizeof(text) - 1, &arena, &r, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(r.devices[0].read && !r.devices[0].write && r.devices[0].mknod && r.devices[0].minor == -1);
	assert_true(r.devices[1].allow && r.devices[1].type == 'a' && r.devices[1].write && r.devices[1].major == -1);
	assert_true(
	    r.memory.limit.is_set && r.memory.limit.v == -1 && r.memory.kernel_tcp.v == 5 && !r.memory.kernel.is_set);
	assert_true(r.memory.disable_oom_killer.v == 1 && r.memory.check_before_update.is_set &&
		    r.memory.check_before_update.v == 0);
	assert_true(r.cpu.shares.v == UINT64_MAX && r.cpu.realtime_runtime.v == -1 && r.cpu.idle.v == 1 &&
		    !r.cpu.period.is_set);
	assert_string_equal(r.cpu.cpus, "0-3,8");
	assert_null(r.cpu.mems);
	assert_true(r.pids_limit.is_set && r.pids_limit.v == 0);
	assert_true(r.block_io.weight.v == 10 && r.block_io.leaf_weight.v == 1000);
	assert_true(r.block_io.weight_device.v[0].has_leaf && !r.block_io.weight_device.v[0].has_rate);
	assert_true(r.block_io.write_iops.v[0].has_rate && r.block_io.write_iops.v[0].minor == 16 &&
		    r.block_io.read_bps.n == 0);
	assert_string_equal(r.hugepages[0].page_size, "2MB");
	assert_true(r.has_class_id && r.class_id == 0);
	assert_string_equal(oci_kvs_get(&r.net_priorities, "eth0"), "7");
	assert_true(r.n_rdma == 2 && r.rdma[0].has_handles && !r.rdma[0].has_objects && r.rdma[1].has_objects);
	assert_string_equal(r.rdma[0].device, "mlx5_0");
	assert_string_equal(r.unified.v[0].key, "cpu.weight");
	assert_string_equal(r.unified.v[1].value, "8:0 rbps=1\n8:16 rbps=2");
}

static void test_seccomp_members(void **state)
{
	struct oci_spec *s = parse_ok(DOC_LINUX(MOUNT_NS
	    ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,\"flags\":[\"SECCOMP_FILTER_"
	    "FLAG_TSYNC\"],"
	    "\"architectures\":[\"SCMP_ARCH_X86\",\"SCMP_ARCH_X86\",\"SCMP_ARCH_LOONGARCH64\",\"SCMP_ARCH_AARCH64\"],"
	    "\"listenerPath\":\"/run/l\",\"listenerMetadata\":\"m\",\"syscalls\":["
	    "{\"names\":[\"a\",\"b\"],\"action\":\"SCMP_ACT_TRACE\",\"errnoRet\":65535},"
	    "{\"names\":[\"c\"],\"action\":\"SCMP_ACT_TRACE\"},{\"names\":[\"d\"],\"action\":\"SCMP_ACT_KILL\"},"
	    "{\"names\":[\"e\"],\"action\":\"SCMP_ACT_NOTIFY\",\"args\":[{\"index\":5,\"value\":18446744073709551615,"
	    "\"valueTwo\":1,"
	    "\"op\":\"SCMP_CMP_MASKED_EQ\"},{\"index\":0,\"value\":0,\"op\":\"SCMP_CMP_GT\"}]}]}"));
	struct oci_spec *none =
	    parse_ok(DOC_LINUX(MOUNT_NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[]}"));
	const struct oci_seccomp *sc = &s->seccomp;

	(void)state;
	assert_int_equal(sc->default_action, SCMP_ACT_ERRNO(38));
	assert_true(sc->has_flags && sc->flags == 0);
	assert_true(none->seccomp.has_flags && none->seccomp.flags == 0);
	assert_int_equal(sc->archs[0], SCMP_ARCH_X86);
	assert_int_equal(sc->archs[sc->n_archs - 1], SCMP_ARCH_AARCH64);
	assert_int_equal(sc->rules[0].action, SCMP_ACT_TRACE(65535));
	assert_int_equal(sc->rules[1].action, SCMP_ACT_TRACE(EPERM));
	assert_int_equal(sc->rules[2].action, SCMP_ACT_KILL_THREAD);
	assert_int_equal(sc->rules[3].n_args, 2);
	assert_true(sc->rules[3].args[0].value == UINT64_MAX && sc->rules[3].args[0].value_two == 1);
	assert_int_equal(sc->rules[3].args[0].op, SCMP_CMP_MASKED_EQ);
	assert_string_equal(sc->listener_metadata, "m");
	oci_spec_free(s);
	oci_spec_free(none);
}

static void test_hooks_and_root(void **state)
{
	struct oci_spec *s = parse_ok(DOC_ROOT(
	    "\"domainname\":\"d\",\"hooks\":{\"prestart\":[{\"path\":\"/bin/"
	    "a\",\"args\":[\"a\",\"b\"],\"env\":[\"K=V\"],\"timeout\":3}],"
	    "\"createRuntime\":[],\"createContainer\":null,\"poststop\":[{\"path\":\"/bin/b\"},{\"path\":\"/bin/c\"}]},"
	    "\"mounts\":[{\"destination\":\"etc/x\",\"source\":\"/x\",\"type\":\"\",\"options\":[\"bind\"],"
	    "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":1}]}],"
	    "\"annotations\":{\"b\":\"1\",\"a\":\"2\",\"b\":\"3\",\"\":\"4\"}"));

	(void)state;
	assert_int_equal(s->hooks[OCI_HOOK_PRESTART].n, 1);
	assert_true(s->hooks[OCI_HOOK_PRESTART].v[0].has_timeout && s->hooks[OCI_HOOK_PRESTART].v[0].timeout_s == 3);
	assert_string_equal(s->hooks[OCI_HOOK_PRESTART].v[0].env.v[0], "K=V");
	assert_int_equal(s->hooks[OCI_HOOK_POSTSTOP].n, 2);
	assert_int_equal(s->hooks[OCI_HOOK_CREATE_RUNTIME].n + s->hooks[OCI_HOOK_CREATE_CONTAINER].n, 0);
	assert_string_equal(s->mounts[0].destination, "/etc/x"); /* relative means relative to the root */
	assert_null(s->mounts[0].type);
	assert_int_equal(s->mounts[0].uid_mappings.v[0].host_id, 1);
	assert_int_equal(s->annotations.n, 3);
	assert_string_equal(oci_kvs_get(&s->annotations, "b"), "3");
	assert_string_equal(oci_kvs_get(&s->annotations, ""), "4");
	oci_spec_free(s);
}

/* Of a member given twice the first leaves no trace, not even in parts of it that the second does not mention. */
static void test_duplicate_members(void **state)
{
	struct oci_spec *s = parse_ok(
	    "{\"ociVersion\":\"0\",\"ociVersion\":\"1.0.0\",\"process\":{\"args\":[1],\"cwd\":5,\"terminal\":true},"
	    "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"mounts\":7,\"mounts\":null}");

	(void)state;
	assert_string_equal(s->version, "1.0.0");
	assert_false(s->process.terminal);
	assert_int_equal(s->process.args.n, 1);
	assert_int_equal(s->n_mounts, 0);
	oci_spec_free(s);
}

/* Every prefix of a document is refused, and read no further than its end (ASan). */
static void test_truncated(void **state)
{
	static const char *const files[] = { "runc_spec.json", "cri_container.json" };

	(void)state;
	for (size_t k = 0; k < HK_ARRAY_SIZE(files); k++) {
		size_t len;
		hk_autofree char *text = load(files[k], &len);

		while (len > 0 && text[len - 1] != '}')
			len--;
		for (size_t n = 0; n < len; n++) {
			struct oci_spec *s = NULL;
			struct hk_err err = { 0 };

			if (parse_exact(text, n, &s, &err) != -EINVAL)
				fail_msg("%s: the first %zu bytes were accepted", files[k], n);
			assert_null(s);
			assert_int_equal(err.kind, HK_INVALID);
		}
	}
}

/* One byte wrong: whatever comes of it, nothing crashes and nothing is left behind. */
static void test_damaged(void **state)
{
	size_t len, accepted = 0, refused = 0;
	hk_autofree char *text = load("cri_container.json", &len);

	(void)state;
	for (size_t n = 0; n < len; n++) {
		static const char bytes[] = { 0, '"', '}', ']', '-', '\\', (char)0xe2 };
		char was = text[n];
		struct oci_spec *s = NULL;
		struct hk_err err = { 0 };

		text[n] = bytes[n % sizeof(bytes)];
		if (parse_exact(text, len, &s, &err) == 0) {
			accepted++;
			(void)oci_spec_validate(s, &err);
		} else {
			refused++;
			assert_true(err.text[0] != '\0' && !strchr(err.text, '\n'));
		}
		oci_spec_free(s);
		text[n] = was;
	}
	assert_true(accepted > 0 && refused > len / 2);
}

static void test_huge_array(void **state)
{
	enum { N = 100000 };
	char *text = malloc(N * 8 + 256), *p = text;
	struct oci_spec *s;

	(void)state;
	assert_non_null(text);
	p = stpcpy(p, "{\"ociVersion\":\"1.0.0\",\"process\":{\"cwd\":\"/\",\"args\":[\"a\"");
	for (int i = 1; i < N; i++)
		p = stpcpy(p, ",\"b\"");
	(void)stpcpy(p, "]}}");
	s = parse_ok(text);
	assert_int_equal(s->process.args.n, N);
	assert_string_equal(s->process.args.v[N - 1], "b");
	assert_null(s->process.args.v[N]);
	oci_spec_free(s);
	free(text);
}

static void test_process_document(void **state)
{
	static const char good[] = "{\"args\":[\"id\"],\"cwd\":\"/tmp\",\"env\":[\"A=b\"],\"user\":{\"uid\":5}}";
	static const struct bad_case bad[] = {
		{ "{\"args\":[\"id\"]}", "process.cwd: missing" },
		{ "{\"args\":[],\"cwd\":\"/\"}", "process.args: missing or empty" },
		{ "{\"args\":[\"id\"],\"cwd\":\"tmp\"}", "process.cwd: \"tmp\" is not an absolute path" },
		{ "{\"args\":[\"id\"],\"cwd\":\"/\",\"env\":[\"A=b\",\"C\"]}",
		    "process.env[1]: \"C\" is not NAME=VALUE" },
		{ "{\"args\":[\"id\",2],\"cwd\":\"/\"}", "process.args[1]: expected a string, got a number" },
		{ "[]", "JSON line 1 column 2: expected an object" },
	};
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct oci_process p;
	struct hk_err err = { 0 };

	(void)state;
	assert_int_equal(oci_process_parse(good, sizeof(good) - 1, &arena, &p, &err), 0);
	assert_int_equal(p.uid, 5);
	assert_string_equal(p.cwd, "/tmp");
	assert_false(p.has_capabilities);
	for (size_t i = 0; i < HK_ARRAY_SIZE(bad); i++) {
		memset(&p, 0x5a, sizeof(p));
		assert_int_equal(oci_process_parse(bad[i].json, strlen(bad[i].json), &arena, &p, &err), -EINVAL);
		assert_string_equal(err.text, bad[i].text);
		assert_int_equal(p.uid, 0x5a5a5a5a); /* outputs are written on success only */
	}
}

static void test_annotations(void **state)
{
	char dir[] = "/tmp/husk-annotations-XXXXXX", path[64];
	hk_auto(hk_arena_done) struct hk_arena arena = { 0 };
	struct hk_err err = { 0 };
	struct oci_kvs kvs = { .n = 9 };
	size_t len;
	hk_autofree char *text = load("cri_container.json", &len);

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_int_equal(oci_annotations_read(dir, &arena, &kvs, &err), 0);
	assert_int_equal(kvs.n, 0); /* a missing file has none */

	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, text, len, 0600), 0);
	assert_int_equal(oci_annotations_read(dir, &arena, &kvs, &err), 0);
	assert_int_equal(kvs.n, 7);
	assert_string_equal(oci_kvs_get(&kvs, "io.kubernetes.cri.sandbox-name"), "web-0");

	/* Wrong elsewhere is no business of this call, wrong JSON is. */
	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, "{\"process\":3}", 13, 0600), 0);
	assert_int_equal(oci_annotations_read(dir, &arena, &kvs, &err), 0);
	assert_int_equal(kvs.n, 0);
	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, "{\"annotations\":{\"a\":1}}", 23, 0600), 0);
	assert_int_equal(oci_annotations_read(dir, &arena, &kvs, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/config.json: annotations.a: expected a string, got a number"));
	assert_int_equal(hk_write_file_atomic(AT_FDCWD, path, "{\"annotations\":", 15, 0600), 0);
	assert_int_equal(oci_annotations_read(dir, &arena, &kvs, &err), -EINVAL);
	assert_int_equal(err.kind, HK_INVALID);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(oci_annotations_read(dir, &arena, &kvs, &err) < 0);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runc_spec),
		cmocka_unit_test(test_cri_container),
		cmocka_unit_test(test_process_members),
		cmocka_unit_test(test_linux_members),
		cmocka_unit_test(test_resources_members),
		cmocka_unit_test(test_seccomp_members),
		cmocka_unit_test(test_hooks_and_root),
		cmocka_unit_test(test_duplicate_members),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_huge_array),
		cmocka_unit_test(test_process_document),
		cmocka_unit_test(test_annotations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
