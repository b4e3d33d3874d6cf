/* SPDX-License-Identifier: Apache-2.0 */
/* Rules between the members of a spec: what is refused, with which words, and what looks odd and is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "oci/validate.h"
#include "tests/oci/spec_helpers.h"

#define NS(more) "\"namespaces\":[{\"type\":\"mount\"}" more "]"
#define NS_USER NS(",{\"type\":\"user\"}")
#define MAP(container, host, size) "{\"containerID\":" #container ",\"hostID\":" #host ",\"size\":" #size "}"
#define MAPS(uids, gids) "\"uidMappings\":[" uids "],\"gidMappings\":[" gids "]"
#define SYSCTL(ns, key) DOC_LINUX(ns ",\"sysctl\":{\"" key "\":\"1\"}")
#define MOUNT(members) DOC_ROOT("\"mounts\":[{" members "}]")
#define BIND(dst, src) \
	MOUNT("\"destination\":\"" dst "\",\"source\":\"" src "\",\"type\":\"bind\",\"options\":[\"rbind\"]")
#define SCHED(members) DOC_PROCESS("\"scheduler\":{" members "}")
#define VERSION(v) "{\"ociVersion\":\"" v "\",\"root\":{\"path\":\"r\"},\"linux\":{" MOUNT_NS "}}"

static const char *const good[] = {
	/* config-linux.md: without SCMP_ACT_NOTIFY the path is ignored. */
	DOC_LINUX(MOUNT_NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"run/l\"}"),
	DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"closID\":\"gold\"}"),
	DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"closID\":\"/\",\"memBwSchema\":\"MB:0=10\"}"),
	DOC_LINUX(NS(",{\"type\":\"network\"}") ",\"netDevices\":{\"a\":{\"name\":\"n%d\"},\"b\":{\"name\":\"n%d\"}}"),
	VERSION("1.0.0"),
	VERSION("1.0.0-rc5-dev"),
	VERSION("1.3.0+dev"),
	VERSION("1.99.0"),
	DOC_LINUX(NS_USER "," MAPS(MAP(0, 1000, 10), MAP(0, 1000, 5) "," MAP(5, 3000, 5))),
	/* CRI: the pod's user namespace by path, and its mappings. */
	DOC_LINUX(NS(",{\"type\":\"user\",\"path\":\"/proc/9/ns/user\"}") "," MAPS(MAP(0, 1000, 10), MAP(0, 1000, 10))),
	DOC_LINUX(NS(",{\"type\":\"user\",\"path\":\"/proc/9/ns/user\"}")),
	DOC_PROCESS_LINUX(
	    "\"hostname\":\"h\",\"domainname\":\"d\",", "", NS(",{\"type\":\"uts\",\"path\":\"/proc/9/ns/uts\"}")),
	DOC_LINUX(NS(",{\"type\":\"time\"}") ",\"timeOffsets\":{\"boottime\":{\"secs\":-1}}"),
	SYSCTL(NS(",{\"type\":\"network\"}"), "net.ipv4.ip_unprivileged_port_start"),
	SYSCTL(NS(",{\"type\":\"network\"}"), "net/ipv4/conf/eth0.100/forwarding"),
	SYSCTL(NS(",{\"type\":\"ipc\"}"), "kernel.shm_rmid_forced"),
	SYSCTL(NS(",{\"type\":\"ipc\"}"), "fs.mqueue.msg_max"),
	SYSCTL(NS(",{\"type\":\"uts\"}"), "kernel.domainname"),
	MOUNT("\"destination\":\"/proc/\",\"type\":\"proc\",\"source\":\"proc\""),
	BIND("/proc", "/proc"),
	BIND("/proc/cpuinfo", "/var/lib/lxcfs/proc/cpuinfo"),
	BIND("/./proc//sys/../uptime", "/x"),
	BIND("/process", "/x"),
	BIND("/a/../b", "/x"),
	MOUNT("\"destination\":\"/a\",\"source\":\"/x\",\"options\":[\"bind\"]"),
	SCHED("\"policy\":\"SCHED_FIFO\",\"priority\":99"),
	SCHED("\"policy\":\"SCHED_BATCH\",\"nice\":19"),
	SCHED("\"policy\":\"SCHED_DEADLINE\",\"runtime\":1,\"deadline\":1"),
	DOC_LINUX(MOUNT_NS ",\"cgroupsPath\":\"/a/..b/c..\""),
	DOC_PROCESS("\"env\":[\"A=\",\"B==\"]"),
	/* config-linux.md: a namespace that is not listed is the runtime's. */
	DOC_LINUX("\"namespaces\":[{\"type\":\"pid\"}]"),
	"{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"}}",
};

static const struct bad_case bad[] = {
	{ VERSION("2.0.0"), "ociVersion: \"2.0.0\" is not a version 1.x.y" },
	{ VERSION("1.0"), "ociVersion: \"1.0\" is not a version 1.x.y" },
	{ VERSION("1..0"), "ociVersion: " },
	{ VERSION("1.0.0x"), "ociVersion: " },
	{ VERSION(""), "ociVersion: " },
	{ "{\"ociVersion\":\"1.0.0\",\"linux\":{" MOUNT_NS "}}", "root.path: missing or empty" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"\"},\"linux\":{" MOUNT_NS "}}",
	    "root.path: missing or empty" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\"}}",
	    "process.args: missing or empty" },
	{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"\",\"args\":[\"a\"]}}",
	    "process.cwd: \"\" is not an absolute path" },
	{ DOC_PROCESS("\"env\":[\"A=1\",\"B\"]"), "process.env[1]: \"B\" is not NAME=VALUE" },
	{ DOC_PROCESS("\"env\":[\"=1\"]"), "process.env[0]: \"=1\" is not NAME=VALUE" },
	{ SCHED("\"policy\":\"SCHED_FIFO\""), "process.scheduler.priority: 0 is not in 1..99 of this policy" },
	{ SCHED("\"policy\":\"SCHED_OTHER\",\"priority\":1"),
	    "process.scheduler.priority: 1 is not in 0..0 of this policy" },
	{ SCHED("\"policy\":\"SCHED_OTHER\",\"nice\":20"), "process.scheduler.nice: 20 is not in -20..19" },
	{ SCHED("\"policy\":\"SCHED_OTHER\",\"runtime\":1"),
	    "process.scheduler: runtime, deadline and period are for SCHED_DEADLINE" },
	{ SCHED("\"policy\":\"SCHED_DEADLINE\",\"runtime\":2,\"deadline\":1"), "process.scheduler: not 0 < runtime" },

	{ DOC_LINUX("\"namespaces\":[{\"type\":\"user\"}]," MAPS(MAP(0, 1, 1), MAP(0, 1, 1))),
	    "linux.namespaces: the mount namespace is missing, which a user namespace needs" },
	{ DOC_LINUX(MOUNT_NS "," MAPS(MAP(0, 0, 1), "")), "linux.uidMappings: needs the user namespace" },
	{ DOC_LINUX(MOUNT_NS "," MAPS("", MAP(0, 0, 1))), "linux.gidMappings: needs the user namespace" },
	{ DOC_LINUX(NS_USER), "linux.uidMappings: missing, and the user namespace is new" },
	{ DOC_LINUX(NS_USER "," MAPS(MAP(0, 1, 1), "")), "linux.gidMappings: missing, and the user namespace is new" },
	{ DOC_LINUX(NS_USER "," MAPS(MAP(0, 100, 10) "," MAP(9, 200, 10), MAP(0, 1, 1))),
	    "linux.uidMappings[1]: overlaps with [0]" },
	{ DOC_LINUX(NS_USER "," MAPS(MAP(0, 1, 1), MAP(0, 100, 10) "," MAP(10, 109, 1))),
	    "linux.gidMappings[1]: overlaps with [0]" },
	{ DOC_LINUX(NS_USER "," MAPS(MAP(1, 1, 1), MAP(0, 1, 1))),
	    "linux.uidMappings: no mapping for user 0 of the container" },
	{ DOC_PROCESS_LINUX("", "\"user\":{\"uid\":10},", NS_USER "," MAPS(MAP(0, 1, 10), MAP(0, 1, 10))),
	    "process.user.uid: 10 is not in linux.uidMappings" },
	{ DOC_PROCESS_LINUX(
	      "", "\"user\":{\"additionalGids\":[9,10]},", NS_USER "," MAPS(MAP(0, 1, 10), MAP(0, 1, 10))),
	    "process.user.additionalGids[1]: 10 is not in linux.gidMappings" },
	{ DOC_ROOT("\"hostname\":\"h\""), "hostname: needs the uts namespace" },
	{ DOC_ROOT("\"domainname\":\"h\""), "domainname: needs the uts namespace" },
	{ DOC_PROCESS_LINUX("\"hostname\":\"0123456789012345678901234567890123456789012345678901234567890123x\",", "",
	      NS(",{\"type\":\"uts\"}")),
	    "hostname: longer than 64 bytes" },
	{ DOC_LINUX(MOUNT_NS ",\"timeOffsets\":{\"boottime\":{}}"), "linux.timeOffsets: needs the time namespace" },
	{ DOC_LINUX(NS(",{\"type\":\"time\",\"path\":\"/x\"}") ",\"timeOffsets\":{\"monotonic\":{\"secs\":1}}"),
	    "linux.timeOffsets: cannot be set in a time namespace that is joined" },
	{ DOC_LINUX(MOUNT_NS ",\"netDevices\":{\"e\":{}}"),
	    "linux.netDevices: needs a network namespace that is not the host's" },
	{ DOC_LINUX(NS(",{\"type\":\"network\",\"path\":\"/proc/self/ns/net\"}") ",\"netDevices\":{\"e\":{}}"),
	    "linux.netDevices: needs a network namespace that is not the host's" },
	{ DOC_LINUX(NS(",{\"type\":\"network\"}") ",\"netDevices\":{\"a\":{\"name\":\"b\"},\"b\":{}}"),
	    "linux.netDevices[\"b\"]: the same name in the container as \"a\"" },
	{ DOC_LINUX(NS(",{\"type\":\"network\"}") ",\"netDevices\":{\"a\":{\"name\":\"b%d%d\"}}"),
	    "linux.netDevices[\"a\"].name: \"b%d%d\" is not a name nor a template with one %d" },
	{ DOC_LINUX(NS(",{\"type\":\"network\"}") ",\"netDevices\":{\"a\":{\"name\":\"100%\"}}"),
	    "linux.netDevices[\"a\"].name: \"100%\" is not a name nor a template with one %d" },

	{ SYSCTL(MOUNT_NS, "net.core.somaxconn"), "linux.sysctl[\"net.core.somaxconn\"]: needs the network namespace" },
	{ SYSCTL(NS(",{\"type\":\"network\",\"path\":\"/proc/self/ns/net\"}"), "net.core.somaxconn"),
	    "linux.sysctl[\"net.core.somaxconn\"]: not allowed in the host's network namespace" },
	{ SYSCTL(NS(",{\"type\":\"network\",\"path\":\"/proc/0/ns/net\"}"), "net.core.somaxconn"),
	    "network namespace /proc/0/ns/net: ENOENT" },
	{ SYSCTL(MOUNT_NS, "kernel.sem"), "linux.sysctl[\"kernel.sem\"]: needs the ipc namespace" },
	{ SYSCTL(MOUNT_NS, "user.max_user_namespaces"),
	    "linux.sysctl[\"user.max_user_namespaces\"]: needs the user namespace" },
	{ SYSCTL(NS(",{\"type\":\"uts\"}"), "kernel.hostname"),
	    "linux.sysctl[\"kernel.hostname\"]: not in a namespace of the container" },
	{ SYSCTL(MOUNT_NS, "vm.swappiness"), "linux.sysctl[\"vm.swappiness\"]: not in a namespace of the container" },
	{ SYSCTL(NS(",{\"type\":\"network\"}"), "net"), "linux.sysctl[\"net\"]: not in a namespace of the container" },
	{ SYSCTL(NS(",{\"type\":\"network\"}"), "net/../kernel/core_pattern"),
	    "linux.sysctl[\"net/../kernel/core_pattern\"]: not a sysctl key" },
	{ SYSCTL(NS(",{\"type\":\"network\"}"), "net..core"), "linux.sysctl[\"net..core\"]: not a sysctl key" },
	{ SYSCTL(MOUNT_NS, ""), "linux.sysctl[\"\"]: not a sysctl key" },

	{ BIND("/", "/x"), "mounts[0] on /: destination is the root of the container" },
	{ BIND("/a/..", "/x"), "mounts[0] on /a/..: destination is the root of the container" },
	{ BIND("/proc", "/x"), "mounts[0] on /proc: only a proc file system may be mounted on /proc" },
	{ BIND("/proc", "/proc/self"), "mounts[0] on /proc: only a proc file system may be mounted on /proc" },
	{ BIND("/proc/self/attr", "/x"), "mounts[0] on /proc/self/attr: /proc/self/attr: inside /proc" },
	{ BIND("/x/../proc/sys", "/x"), "mounts[0] on /x/../proc/sys: /proc/sys: inside /proc" },
	{ MOUNT("\"destination\":\"/proc/scsi\",\"type\":\"tmpfs\""),
	    "mounts[0] on /proc/scsi: /proc/scsi: inside /proc" },
	{ MOUNT("\"destination\":\"/a\",\"type\":\"bind\",\"options\":[\"bind\"]"),
	    "mounts[0] on /a: a bind mount needs a source" },
	{ MOUNT("\"destination\":\"/a\",\"source\":\"x\""), "mounts[0] on /a: type is missing" },
	{ MOUNT("\"destination\":\"/a\",\"source\":\"/x\",\"options\":[\"bind\",\"nosiud\"]"),
	    "mounts[0] on /a: option \"nosiud\" is not one of a bind mount" },
	{ MOUNT("\"destination\":\"/a\",\"source\":\"/x\",\"options\":[\"bind\"],\"uidMappings\":[" MAP(0, 1, 1) "]"),
	    "mounts[0] on /a: uidMappings and gidMappings need each other" },
	{ MOUNT("\"destination\":\"/a\",\"source\":\"/x\",\"options\":[\"bind\",\"ridmap\"]"),
	    "mounts[0] on /a: option idmap needs mappings or the user namespace" },

	{ DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"closID\":\"..\"}"),
	    "linux.intelRdt.closID: \"..\" is not a directory's name" },
	{ DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"closID\":\"a/b\"}"),
	    "linux.intelRdt.closID: \"a/b\" is not a directory's name" },
	{ DOC_LINUX(MOUNT_NS ",\"cgroupsPath\":\"/a/../../b\""), "linux.cgroupsPath: \"/a/../../b\" contains \"..\"" },
	{ DOC_LINUX(MOUNT_NS ",\"cgroupsPath\":\"..\""), "linux.cgroupsPath: \"..\" contains \"..\"" },
	{ DOC_LINUX(MOUNT_NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"a\"],"
			     "\"action\":\"SCMP_ACT_NOTIFY\"}]}"),
	    "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY is used" },
	{ DOC_LINUX(MOUNT_NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerMetadata\":\"x\"}"),
	    "linux.seccomp.listenerMetadata: needs listenerPath" },
	{ DOC_LINUX(MOUNT_NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_NOTIFY\",\"listenerPath\":\"run/l\"}"),
	    "linux.seccomp.listenerPath: not an absolute path" },
	{ DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"memBwSchema\":\"L3:0=f\"}"),
	    "linux.intelRdt.memBwSchema: not one line that begins with \"MB:\"" },
	{ DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"l3CacheSchema\":\"L3:0=f\\nMB:0=1\"}"),
	    "linux.intelRdt.l3CacheSchema: more than one line" },
	{ DOC_LINUX(MOUNT_NS ",\"intelRdt\":{\"closID\":\"/\",\"schemata\":[\"L3:0=f\",\"MB:0=1\\n\"]}"),
	    "linux.intelRdt.schemata[1]: more than one line" },
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(good); i++) {
		struct oci_spec *s = parse_ok(good[i]);
		struct hk_err err = { 0 };

		if (oci_spec_validate(s, &err) != 0)
			fail_msg("%s\n  got %s", good[i], err.text);
		oci_spec_free(s);
	}
}

static void check(const struct bad_case *cases, size_t n, enum hk_kind kind)
{
	for (size_t i = 0; i < n; i++) {
		struct oci_spec *s = parse_ok(cases[i].json);
		struct hk_err err = { 0 };

		if (oci_spec_validate(s, &err) >= 0)
			fail_msg("accepted: %s", cases[i].json);
		if (strncmp(err.text, cases[i].text, strlen(cases[i].text)) != 0 || err.kind != kind)
			fail_msg("%s\n  got  %s (kind %d)\n  want %s", cases[i].json, err.text, (int)err.kind,
			    cases[i].text);
		oci_spec_free(s);
	}
}

static void test_bad(void **state)
{
	(void)state;
	check(bad, HK_ARRAY_SIZE(bad), HK_INVALID);
}

static void test_sysctl_path(void **state)
{
	static const struct {
		const char *key, *path; /* NULL: -EINVAL */
	} cases[] = {
		{ "net.ipv4.ip_forward", "net/ipv4/ip_forward" },
		{ "net/ipv4/ip_forward", "net/ipv4/ip_forward" },
		{ "net.ipv4.conf.eth0/1.x", "net/ipv4/conf/eth0.1/x" },
		{ "net/ipv4/conf/eth0.1/x", "net/ipv4/conf/eth0.1/x" },
		{ "single", "single" },
		{ "", NULL },
		{ ".", NULL },
		{ "/", NULL },
		{ "a.", NULL },
		{ ".a", NULL },
		{ "a/../b", NULL },
		{ "a/./b", NULL },
		{ "a.//.b", NULL },
		{ "a./.b", NULL },
		{ "a/..", NULL },
	};
	char path[64];

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		int r = oci_sysctl_path(cases[i].key, path, sizeof(path));

		if (r != (cases[i].path ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].key, r);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
	}
	assert_int_equal(oci_sysctl_path("net.core.somaxconn", path, 18), -ENAMETOOLONG);
	assert_int_equal(oci_sysctl_path("net.core.somaxconn", path, 19), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_sysctl_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
