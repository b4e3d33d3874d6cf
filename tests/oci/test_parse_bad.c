/* SPDX-License-Identifier: Apache-2.0 */
/* Input that must be refused while parsing: each with the JSON path and the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "tests/oci/spec_helpers.h"

#define NS(type_path) "\"namespaces\":[{\"type\":\"mount\"}," type_path "]"
#define SECCOMP(members) DOC_LINUX(MOUNT_NS ",\"seccomp\":{" members "}")
#define RULE(members)                                                                                                \
	SECCOMP("\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\"}" \
		"," members "]")
#define ARG(members) RULE("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{" members "}]}")
#define RES(members) DOC_LINUX(MOUNT_NS ",\"resources\":{" members "}")
#define DEV(members) DOC_LINUX(MOUNT_NS ",\"devices\":[{" members "}]")

static const struct bad_case top_level[] = {
	{ "{}", "ociVersion: missing" },
	{ "{\"ociVersion\":1}", "ociVersion: expected a string, got a number" },
	{ "{\"ociVersion\":null}", "ociVersion: missing" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{}}", "root.path: missing" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":[]}", "root: expected an object, got an array" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\\u0000b\"}}", "root.path: contains a NUL byte" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\",\"readonly\":1}}",
	    "root.readonly: expected a boolean, got a number" },
	{ DOC_ROOT("\"hostname\":{}"), "hostname: expected a string, got an object" },
	{ DOC_ROOT("\"annotations\":{\"a.b/c\":1}"), "annotations[\"a.b/c\"]: expected a string, got a number" },
	{ DOC_ROOT("\"annotations\":{\"a\\u0000b\":\"\"}"), "annotations[\"a?b\"]: key contains a NUL byte" },
	{ DOC_ROOT("\"annotations\":[]"), "annotations: expected an object, got an array" },
	{ DOC_ROOT("\"mounts\":{}"), "mounts: expected an array, got an object" },
	{ DOC_ROOT("\"mounts\":[null]"), "mounts[0]: expected an object, got null" },
	{ DOC_ROOT("\"mounts\":[{\"destination\":\"/a\"},{}]"), "mounts[1].destination: missing" },
	{ DOC_ROOT("\"mounts\":[{\"destination\":\"\"}]"), "mounts[0].destination: empty path" },
	{ DOC_ROOT("\"mounts\":[{\"destination\":\"/a\",\"options\":[\"ro\",1]}]"),
	    "mounts[0].options[1]: expected a string, got a number" },
	{ DOC_ROOT("\"mounts\":[{\"destination\":\"/a\",\"options\":\"ro\"}]"),
	    "mounts[0].options: expected an array, got a string" },
	{ DOC_ROOT("\"mounts\":[{\"destination\":\"/a\",\"uidMappings\":[{\"containerID\":0,\"size\":1}]}]"),
	    "mounts[0].uidMappings[0].hostID: missing" },
	{ DOC_ROOT("\"hooks\":{\"prestart\":{}}"), "hooks.prestart: expected an array, got an object" },
	{ DOC_ROOT("\"hooks\":{\"poststop\":[{}]}"), "hooks.poststop[0].path: missing" },
	{ DOC_ROOT("\"hooks\":{\"poststop\":[{\"path\":\"bin/x\"}]}"),
	    "hooks.poststop[0].path: not an absolute path \"bin/x\"" },
	{ DOC_ROOT("\"hooks\":{\"poststop\":[{\"path\":\"/x\",\"timeout\":0}]}"),
	    "hooks.poststop[0].timeout: must be greater than zero" },
	{ DOC_ROOT("\"hooks\":{\"poststop\":[{\"path\":\"/x\",\"timeout\":-1}]}"),
	    "hooks.poststop[0].timeout: -1 is out of range" },
};

static const struct bad_case process[] = {
	{ DOC_ROOT("\"x\":1") "x", "JSON line 1 column " },
	{ "{\"ociVersion\":\"1.0.0\",\"process\":{\"args\":[\"a\"]}}", "process.cwd: missing" },
	{ "{\"ociVersion\":\"1.0.0\",\"process\":[]}", "process: expected an object, got an array" },
	{ DOC_PROCESS("\"terminal\":\"yes\""), "process.terminal: expected a boolean, got a string" },
	{ DOC_PROCESS("\"consoleSize\":{\"height\":65536}"), "process.consoleSize.height: 65536 is out of range" },
	{ DOC_PROCESS("\"consoleSize\":{\"width\":-1}"), "process.consoleSize.width: -1 is out of range" },
	{ DOC_PROCESS("\"user\":{\"uid\":4294967295}"), "process.user.uid: 4294967295 is out of range" },
	{ DOC_PROCESS("\"user\":{\"uid\":-1}"), "process.user.uid: -1 is out of range" },
	{ DOC_PROCESS("\"user\":{\"gid\":\"0\"}"), "process.user.gid: expected a number, got a string" },
	{ DOC_PROCESS("\"user\":{\"gid\":1.5}"), "process.user.gid: expected an integer, got 1.5" },
	{ DOC_PROCESS("\"user\":{\"gid\":1e2}"), "process.user.gid: expected an integer, got 1e2" },
	{ DOC_PROCESS("\"user\":{\"umask\":512}"), "process.user.umask: 512 is out of range" },
	{ DOC_PROCESS("\"user\":{\"additionalGids\":[1,4294967295]}"),
	    "process.user.additionalGids[1]: 4294967295 is out of range" },
	{ DOC_PROCESS("\"env\":[\"A=\\u0000\"]"), "process.env[0]: contains a NUL byte" },
	{ DOC_PROCESS("\"capabilities\":[]"), "process.capabilities: expected an object, got an array" },
	{ DOC_PROCESS("\"capabilities\":{\"bounding\":[\"CAP_KILL\",7]}"),
	    "process.capabilities.bounding[1]: expected a string, got a number" },
	{ DOC_PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]"),
	    "process.rlimits[0].type: unknown value \"RLIMIT_X\"" },
	{ DOC_PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"hard\":1}]"), "process.rlimits[0].soft: missing" },
	{ DOC_PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":2,\"hard\":1}]"),
	    "process.rlimits[0]: soft limit is above the hard limit" },
	{ DOC_PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":1,\"hard\":18446744073709551616}]"),
	    "process.rlimits[0].hard: 18446744073709551616 is out of range" },
	{ DOC_PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":1,\"hard\":1},{\"type\":\"RLIMIT_AS\",\"soft\":1,"
		      "\"hard\":1}]"),
	    "process.rlimits[1].type: given twice: \"RLIMIT_AS\"" },
	{ DOC_PROCESS("\"oomScoreAdj\":1001"), "process.oomScoreAdj: 1001 is out of range" },
	{ DOC_PROCESS("\"scheduler\":{}"), "process.scheduler.policy: missing" },
	{ DOC_PROCESS("\"scheduler\":{\"policy\":\"SCHED_FAST\"}"),
	    "process.scheduler.policy: unknown value \"SCHED_FAST\"" },
	{ DOC_PROCESS("\"scheduler\":{\"policy\":\"SCHED_RR\",\"flags\":[\"X\"]}"),
	    "process.scheduler.flags[0]: unknown value \"X\"" },
	{ DOC_PROCESS("\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":8}"),
	    "process.ioPriority.priority: 8 is out of range" },
	{ DOC_PROCESS("\"ioPriority\":{\"class\":\"BE\"}"), "process.ioPriority.class: unknown value \"BE\"" },
};

static const struct bad_case linux_part[] = {
	{ DOC_LINUX(NS("{\"type\":\"mount\"}")), "linux.namespaces[1].type: namespace given twice: \"mount\"" },
	{ DOC_LINUX(NS("{\"type\":\"net\"}")), "linux.namespaces[1].type: unknown value \"net\"" },
	{ DOC_LINUX(NS("{\"path\":\"/x\"}")), "linux.namespaces[1].type: missing" },
	{ DOC_LINUX(NS("{\"type\":\"pid\",\"path\":\"proc/1/ns/pid\"}")),
	    "linux.namespaces[1].path: not an absolute path \"proc/1/ns/pid\"" },
	{ DOC_LINUX(NS("3")), "linux.namespaces[1]: expected an object, got a number" },
	{ DOC_LINUX("\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":0}]"),
	    "linux.uidMappings[0]: invalid range (containerID 0, hostID 0, size 0)" },
	{ DOC_LINUX("\"gidMappings\":[{\"containerID\":1,\"hostID\":0,\"size\":4294967295}]"),
	    "linux.gidMappings[0]: invalid range (containerID 1, hostID 0, size 4294967295)" },
	{ DOC_LINUX("\"uidMappings\":[{\"containerID\":4294967296,\"hostID\":0,\"size\":1}]"),
	    "linux.uidMappings[0].containerID: 4294967296 is out of range" },
	{ DOC_LINUX("\"timeOffsets\":{\"realtime\":{}}"), "linux.timeOffsets.realtime: unknown clock" },
	{ DOC_LINUX("\"timeOffsets\":{\"boottime\":{\"nanosecs\":1000000000}}"),
	    "linux.timeOffsets.boottime.nanosecs: 1000000000 is out of range" },
	{ DOC_LINUX("\"timeOffsets\":{\"boottime\":{\"secs\":9223372036854775808}}"),
	    "linux.timeOffsets.boottime.secs: 9223372036854775808 is out of range" },
	{ DEV("\"type\":\"x\",\"path\":\"/dev/x\""), "linux.devices[0].type: unknown value \"x\"" },
	{ DEV("\"type\":\"c\",\"path\":\"dev/x\""), "linux.devices[0].path: not an absolute path \"dev/x\"" },
	{ DEV("\"type\":\"c\",\"path\":\"/dev/x\",\"minor\":1"), "linux.devices[0].major: missing" },
	{ DEV("\"type\":\"b\",\"path\":\"/dev/x\",\"major\":1"), "linux.devices[0].minor: missing" },
	{ DEV("\"type\":\"b\",\"path\":\"/dev/x\",\"major\":4096,\"minor\":0"),
	    "linux.devices[0].major: 4096 is out of range" },
	{ DEV("\"type\":\"p\",\"path\":\"/p\",\"uid\":4294967295"),
	    "linux.devices[0].uid: 4294967295 is out of range" },
	{ DOC_LINUX("\"sysctl\":{\"net.core.somaxconn\":1}"),
	    "linux.sysctl[\"net.core.somaxconn\"]: expected a string, got a number" },
	{ DOC_LINUX("\"cgroupsPath\":7"), "linux.cgroupsPath: expected a string, got a number" },
	{ DOC_LINUX("\"rootfsPropagation\":\"rwhatever\""), "linux.rootfsPropagation: unknown value \"rwhatever\"" },
	{ DOC_LINUX("\"maskedPaths\":[\"/a\",\"b\"]"), "linux.maskedPaths[1]: not an absolute path \"b\"" },
	{ DOC_LINUX("\"readonlyPaths\":[\"\"]"), "linux.readonlyPaths[0]: not an absolute path \"\"" },
	{ DOC_LINUX("\"personality\":{\"domain\":\"BSD\"}"), "linux.personality.domain: unknown value \"BSD\"" },
	{ DOC_LINUX("\"personality\":{}"), "linux.personality.domain: missing" },
	{ DOC_LINUX("\"memoryPolicy\":{\"mode\":\"MPOL_X\"}"), "linux.memoryPolicy.mode: unknown value \"MPOL_X\"" },
	{ DOC_LINUX("\"netDevices\":{\"a/b\":{}}"), "linux.netDevices[\"a/b\"]: not the name of a network interface" },
	{ DOC_LINUX("\"netDevices\":{\"sixteen-letters-\":{}}"),
	    "linux.netDevices.sixteen-letters-: not the name of a network interface" },
	{ DOC_LINUX("\"netDevices\":{\"a\":{\"name\":\"..\"}}"),
	    "linux.netDevices.a.name: not the name of a network interface: \"..\"" },
	{ DOC_LINUX("\"intelRdt\":{\"enableMonitoring\":1}"),
	    "linux.intelRdt.enableMonitoring: expected a boolean, got a number" },
};

static const struct bad_case seccomp[] = {
	{ SECCOMP(""), "linux.seccomp.defaultAction: missing" },
	{ SECCOMP("\"defaultAction\":\"ALLOW\""), "linux.seccomp.defaultAction: unknown value \"ALLOW\"" },
	{ SECCOMP("\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1"),
	    "linux.seccomp.defaultErrnoRet: action SCMP_ACT_ALLOW takes no errno" },
	{ SECCOMP("\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096"),
	    "linux.seccomp.defaultErrnoRet: 4096 is out of range" },
	{ SECCOMP("\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_VAX\"]"),
	    "linux.seccomp.architectures[0]: unknown value \"SCMP_ARCH_VAX\"" },
	{ SECCOMP("\"defaultAction\":\"SCMP_ACT_ERRNO\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\",\"X\"]"),
	    "linux.seccomp.flags[1]: unknown value \"X\"" },
	{ RULE("{\"action\":\"SCMP_ACT_LOG\"}"), "linux.seccomp.syscalls[1].names: missing" },
	{ RULE("{\"names\":[],\"action\":\"SCMP_ACT_LOG\"}"),
	    "linux.seccomp.syscalls[1].names: must name at least one system call" },
	{ RULE("{\"names\":[\"a\"]}"), "linux.seccomp.syscalls[1].action: missing" },
	{ RULE("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_EAT\"}"),
	    "linux.seccomp.syscalls[1].action: unknown value \"SCMP_ACT_EAT\"" },
	{ RULE("{\"names\":[\"a\"],\"action\":1}"),
	    "linux.seccomp.syscalls[1].action: expected a string, got a number" },
	{ RULE("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_TRAP\",\"errnoRet\":1}"),
	    "linux.seccomp.syscalls[1].errnoRet: action SCMP_ACT_TRAP takes no errno" },
	{ ARG("\"index\":6,\"value\":0,\"op\":\"SCMP_CMP_EQ\""),
	    "linux.seccomp.syscalls[1].args[0].index: 6 is out of range" },
	{ ARG("\"index\":0,\"value\":0,\"op\":\"==\""), "linux.seccomp.syscalls[1].args[0].op: unknown value \"==\"" },
	{ ARG("\"index\":0,\"op\":\"SCMP_CMP_EQ\""), "linux.seccomp.syscalls[1].args[0].value: missing" },
	{ ARG("\"index\":0,\"value\":-1,\"op\":\"SCMP_CMP_EQ\""),
	    "linux.seccomp.syscalls[1].args[0].value: -1 is out of range" },
};

static const struct bad_case resources[] = {
	{ RES("\"devices\":[{}]"), "linux.resources.devices[0].allow: missing" },
	{ RES("\"devices\":[{\"allow\":true,\"type\":\"c\"}]"), "linux.resources.devices[0].access: missing" },
	{ RES("\"devices\":[{\"allow\":true,\"type\":\"u\",\"access\":\"r\"}]"),
	    "linux.resources.devices[0].type: unknown value \"u\"" },
	{ RES("\"devices\":[{\"allow\":true,\"access\":\"rx\"}]"),
	    "linux.resources.devices[0].access: unknown access \"rx\"" },
	{ RES("\"memory\":{\"limit\":\"1Mi\"}"), "linux.resources.memory.limit: expected a number, got a string" },
	{ RES("\"memory\":{\"limit\":9223372036854775808}"),
	    "linux.resources.memory.limit: 9223372036854775808 is out of range" },
	{ RES("\"memory\":{\"swappiness\":201}"), "linux.resources.memory.swappiness: 201 is out of range" },
	{ RES("\"memory\":{\"disableOOMKiller\":0}"),
	    "linux.resources.memory.disableOOMKiller: expected a boolean, got a number" },
	{ RES("\"cpu\":{\"shares\":-1}"), "linux.resources.cpu.shares: -1 is out of range" },
	{ RES("\"cpu\":{\"idle\":2}"), "linux.resources.cpu.idle: 2 is out of range" },
	{ RES("\"cpu\":{\"cpus\":\"0-3\\n\"}"), "linux.resources.cpu.cpus: not a list of numbers: \"0-3?\"" },
	{ RES("\"pids\":{\"limit\":1.0}"), "linux.resources.pids.limit: expected an integer, got 1.0" },
	{ RES("\"blockIO\":{\"weight\":65536}"), "linux.resources.blockIO.weight: 65536 is out of range" },
	{ RES("\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":0}]}"),
	    "linux.resources.blockIO.throttleReadBpsDevice[0].rate: missing" },
	{ RES("\"blockIO\":{\"weightDevice\":[{\"minor\":0}]}"),
	    "linux.resources.blockIO.weightDevice[0].major: missing" },
	{ RES("\"hugepageLimits\":[{\"pageSize\":\"2M\",\"limit\":1}]"),
	    "linux.resources.hugepageLimits[0].pageSize: not a page size like \"2MB\": \"2M\"" },
	{ RES("\"hugepageLimits\":[{\"pageSize\":\"../2MB\",\"limit\":1}]"),
	    "linux.resources.hugepageLimits[0].pageSize: not a page size like \"2MB\": \"../2MB\"" },
	{ RES("\"network\":{\"priorities\":[{\"name\":\"a b\",\"priority\":1}]}"),
	    "linux.resources.network.priorities[0].name: invalid name \"a b\"" },
	{ RES("\"network\":{\"classID\":4294967296}"), "linux.resources.network.classID: 4294967296 is out of range" },
	{ RES("\"rdma\":{\"mlx 5\":{}}"), "linux.resources.rdma[\"mlx 5\"]: invalid device name" },
	{ RES("\"unified\":{\"cgroup.procs\":\"1\"}"),
	    "linux.resources.unified[\"cgroup.procs\"]: not a file of a cgroup controller" },
	{ RES("\"unified\":{\"../memory.max\":\"1\"}"),
	    "linux.resources.unified[\"../memory.max\"]: not a file of a cgroup controller" },
	{ RES("\"unified\":{\"memory\":\"1\"}"), "linux.resources.unified.memory: not a file of a cgroup controller" },
	{ RES("\"unified\":{\"memory.max\":1}"),
	    "linux.resources.unified[\"memory.max\"]: expected a string, got a number" },
};

static void check(const struct bad_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct oci_spec *s = NULL;
		struct hk_err err = { 0 };

		if (parse_exact(cases[i].json, strlen(cases[i].json), &s, &err) != -EINVAL)
			fail_msg("accepted: %s", cases[i].json);
		assert_null(s);
		assert_int_equal(err.kind, HK_INVALID);
		if (strncmp(err.text, cases[i].text, strlen(cases[i].text)) != 0)
			fail_msg("%s\n  got  %s\n  want %s", cases[i].json, err.text, cases[i].text);
	}
}

#define TEST(name, table)                           \
	static void name(void **state)              \
	{                                           \
		(void)state;                        \
		check(table, HK_ARRAY_SIZE(table)); \
	}
TEST(test_top_level, top_level)
TEST(test_process, process)
TEST(test_linux, linux_part)
TEST(test_seccomp, seccomp)
TEST(test_resources, resources)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_top_level),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_linux),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_resources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
