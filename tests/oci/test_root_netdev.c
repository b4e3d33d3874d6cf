/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.netDevices: veth pairs of the test's own network namespace, moved into containers with what they carry; and what cannot be moved.
 * (with: box.c)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <sched.h>

#include "oci/netlink.h"
#include "tests/oci/box.h"

#define SH(script) "\"sh\",\"-c\",\"" script "\""
#define DEVICES(members) "\"netDevices\":{" members "},"
#define SHOW "busybox ip -o link show; busybox ip -o addr show; echo up; exec sleep 1000"
#define USER_MAPS                                                              \
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]," \
	"\"gidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}],"

/* busybox ip ARGS, in the test's namespace. */
static void ip(const char *args)
{
	char copy[256], *argv[24] = { (char *)(uintptr_t) "busybox", (char *)(uintptr_t) "ip" }, *save = NULL;
	size_t n = 2;
	int status = -1;
	pid_t pid;

	(void)snprintf(copy, sizeof(copy), "%s", args);
	for (char *w = strtok_r(copy, " ", &save); w && n < HK_ARRAY_SIZE(argv) - 1; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execv("/bin/busybox", argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fail_msg("ip %s: status %d", args, status);
}

/* An address with an end: a DHCP client's, say. */
static void add_leased(const char *dev, const char *text)
{
	struct ifaddrmsg body = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = if_nametoindex(dev) };
	struct ifa_cacheinfo life = { .ifa_prefered = 1000, .ifa_valid = 1000 };
	struct oci_nl_request r;
	struct in_addr addr;
	struct oci_nl nl;

	assert_int_equal(inet_pton(AF_INET, text, &addr), 1);
	assert_int_equal(oci_nl_open(&nl), 0);
	oci_nl_begin(&r, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	assert_int_equal(oci_nl_attr(&r, IFA_LOCAL, &addr, sizeof(addr)), 0);
	assert_int_equal(oci_nl_attr(&r, IFA_ADDRESS, &addr, sizeof(addr)), 0);
	assert_int_equal(oci_nl_attr(&r, IFA_CACHEINFO, &life, sizeof(life)), 0);
	assert_int_equal(oci_nl_call(&nl, &r, NULL, NULL), 0);
	oci_nl_close(&nl);
}

/* What stands for the host in each test; what is left in it goes with it. */
static int fresh_host(void **state)
{
	(void)state;
	return unshare(CLONE_NEWNET);
}

static struct box *shown(const char *id, const struct config *cf)
{
	struct box *b = box_new(id, cf);

	if (box_create(b, false) < 0 || box_start(b) < 0)
		fail_msg("%s: %s", id, b->err.text);
	b->text[0] = 0;
	while (!strstr(b->text, "up\n") || b->text[strlen(b->text) - 1] != '\n') {
		size_t have = strlen(b->text);
		ssize_t n = read(b->out[0], b->text + have, sizeof(b->text) - 1 - have);

		assert_true(n > 0);
		b->text[have + (size_t)n] = 0;
	}
	return b;
}

static void assert_shows(const struct box *b, const char *part)
{
	if (!strstr(b->text, part))
		fail_msg("\"%s\" is not in:\n%s", part, b->text);
}

static void assert_lacks(const struct box *b, const char *part)
{
	if (strstr(b->text, part))
		fail_msg("\"%s\" is in:\n%s", part, b->text);
}

static void device_arrives_whole(void **state)
{
	static const struct config configs[] = {
		{ .args = SH(SHOW), .linux_ = DEVICES("\"va\":{\"name\":\"net0\"}") },
		{ .args = SH(SHOW),
		    .linux_ = USER_MAPS DEVICES("\"va\":{\"name\":\"net0\"}"),
		    .namespaces = NS_NEW "{\"type\":\"user\"}," },
	};

	(void)state;
	for (size_t i = 0; i < HK_ARRAY_SIZE(configs); i++) {
		struct box *b;

		assert_int_equal(fresh_host(state), 0);
		ip("link add va type veth");
		ip("link set va mtu 1400 address 02:00:00:00:00:07");
		ip("addr add 10.9.0.1/24 brd + dev va");
		ip("addr add 10.9.0.3/24 dev va");
		ip("addr add 10.9.1.1 peer 10.9.1.2 dev va");
		ip("addr add 10.9.2.1/24 dev va scope link");
		ip("addr add fd00::5/64 dev va");
		ip("link set va up");
		add_leased("va", "10.9.3.1");
		b = shown("moved", &configs[i]);
		assert_int_equal(if_nametoindex("va"), 0);
		assert_shows(b, "net0@");
		assert_shows(b, ",UP");
		assert_shows(b, "mtu 1400");
		assert_shows(b, "02:00:00:00:00:07");
		assert_shows(b, "inet 10.9.0.1/24 brd 10.9.0.255 scope global net0");
		assert_shows(b, "inet 10.9.0.3/24 scope global secondary net0");
		assert_shows(b, "inet 10.9.1.1 peer 10.9.1.2/32 scope global net0");
		assert_shows(b, "inet6 fd00::5/64 scope global");
		assert_lacks(b, "10.9.2.1");
		assert_lacks(b, "10.9.3.1");
		box_free(b);
	}
}

static void names_are_kept_or_made_up(void **state)
{
	struct box *b;

	(void)state;
	for (int i = 0; i < 3; i++)
		ip("link add type veth"); /* veth0 to veth5 */
	b = shown("moved",
	    &(struct config){ .args = SH(SHOW),
		.linux_ = DEVICES("\"veth0\":{},\"veth2\":{\"name\":\"n%d\"},\"veth4\":{\"name\":\"n%d\"}") });
	assert_shows(b, " veth0@");
	assert_shows(b, " n0@");
	assert_shows(b, " n1@");
	assert_lacks(b, " n2@");
	assert_int_equal(if_nametoindex("veth2"), 0);
	assert_int_not_equal(if_nametoindex("veth5"), 0);
	box_free(b);
}

/* The second container's device may not take a name that the pod has; a free one it may. */
static void shared_namespace_has_one_of_a_name(void **state)
{
	char ns[128];
	struct box *a, *b;

	(void)state;
	ip("link add type veth");
	ip("link add type veth");
	a = shown("moved", &(struct config){ .args = SH(SHOW), .linux_ = DEVICES("\"veth0\":{\"name\":\"net0\"}") });
	(void)snprintf(ns, sizeof(ns), "{\"type\":\"network\",\"path\":\"/proc/%d/ns/net\"},", a->init.pid);
	b = box_new("refused",
	    &(struct config){ .args = SH(SHOW), .linux_ = DEVICES("\"veth2\":{\"name\":\"net0\"}"), .namespaces = ns });
	assert_int_equal(box_create(b, false), -EEXIST);
	assert_int_equal(b->err.kind, HK_INVALID);
	assert_string_equal(
	    b->err.text, "linux.netDevices[\"veth2\"]: the container has a network interface \"net0\" already: EEXIST");
	assert_int_not_equal(if_nametoindex("veth2"), 0); /* still the host's */
	assert_false(cgroup_exists(b));
	box_free(b);
	b = shown("refused",
	    &(struct config){ .args = SH(SHOW), .linux_ = DEVICES("\"veth2\":{\"name\":\"net1\"}"), .namespaces = ns });
	assert_shows(b, " net0@");
	assert_shows(b, " net1@");
	box_free(b);
	box_free(a);
}

static void what_cannot_be_moved_is_named(void **state)
{
	static const struct {
		const char *devices, *text;
		int code;
	} cases[] = {
		{ DEVICES("\"none\":{}"), "linux.netDevices[\"none\"]: no such network interface on the host: ENODEV", ENODEV },
		{ DEVICES("\"br0\":{}"), "linux.netDevices[\"br0\"]: move to the container's network namespace", EINVAL },
		{ DEVICES("\"br0\":{\"name\":\"lo\"}"),
		    "linux.netDevices[\"br0\"]: the container has a network interface \"lo\" already: EEXIST", EEXIST },
	};

	(void)state;
	ip("link add br0 type bridge");
	for (size_t i = 0; i < HK_ARRAY_SIZE(cases); i++) {
		struct box *b = box_new("refused", &(struct config){ .args = SH(SHOW), .linux_ = cases[i].devices });

		assert_int_equal(box_create(b, false), -cases[i].code);
		if (strncmp(b->err.text, cases[i].text, strlen(cases[i].text)) != 0)
			fail_msg("%s", b->err.text);
		assert_false(cgroup_exists(b));
		assert_int_not_equal(if_nametoindex("br0"), 0);
		box_free(b);
	}
}

static void host_network_is_refused(void **state)
{
	struct box *b = box_new("refused",
	    &(struct config){ .args = "\"true\"", .linux_ = DEVICES("\"lo\":{}"), .namespaces = "{\"type\":\"pid\"}," });

	(void)state;
	assert_int_equal(box_create(b, false), -EINVAL);
	assert_non_null(strstr(b->err.text, "linux.netDevices: needs a network namespace that is not the host's"));
	box_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(device_arrives_whole, fresh_host),
		cmocka_unit_test_setup(names_are_kept_or_made_up, fresh_host),
		cmocka_unit_test_setup(shared_namespace_has_one_of_a_name, fresh_host),
		cmocka_unit_test_setup(what_cannot_be_moved_is_named, fresh_host),
		cmocka_unit_test_setup(host_network_is_refused, fresh_host),
		cmocka_unit_test(nobody_is_left),
	};

	if (geteuid() != 0 || access("/bin/busybox", X_OK) != 0) {
		fprintf(stderr, "needs root and busybox-static\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, launch_setup, launch_teardown);
}
