/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/netdev.c — config-linux.md "Network Devices": each device goes by name from the shim's network namespace into the
 * container's, renamed on the way, gets back the permanent global addresses that the kernel takes from it, and is set
 * up. It is never moved back: the end of the namespace returns a physical device and destroys a virtual one. Runs in a
 * helper with the shim's rights, since nobody inside of a user namespace may take a device of the host.
 */
#include "oci/netdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "oci/netlink.h"
#include "oci/spec.h"

enum {
	MAX_TEMPLATE = 4096, /* numbers tried for a name with %d */
	DUMP_TRIES = 10,
	ADDR_ATTRS = IFA_RT_PRIORITY + 1,
	KEPT_FLAGS = IFA_F_NOPREFIXROUTE | IFA_F_NODAD
};

struct addresses {
	int index; /* of the device */
	struct oci_nl_request *v;
	size_t n;
};

struct move {
	struct oci_nl host, inside;
	int ns_fd;
};

/* ---- what is there ---- */

static int on_link(void *arg, const struct nlmsghdr *m)
{
	const struct ifinfomsg *i = oci_nl_body(m);

	if (m->nlmsg_type == RTM_NEWLINK && m->nlmsg_len >= NLMSG_LENGTH(sizeof(*i)))
		*(int *)arg = i->ifi_index;
	return 0;
}

/* -ENODEV: there is none of this name. */
static int find_link(struct oci_nl *nl, const char *name, int *ret_index)
{
	struct ifinfomsg body = { .ifi_family = AF_UNSPEC };
	struct oci_nl_request r;
	int index = 0, rc;

	oci_nl_begin(&r, RTM_GETLINK, NLM_F_ACK, &body, sizeof(body));
	rc = oci_nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	if (rc == 0)
		rc = oci_nl_call(nl, &r, on_link, &index);
	if (rc < 0)
		return rc;
	if (index == 0)
		return -ENODEV;
	*ret_index = index;
	return 0;
}

/* The request that will make the same address again, but for the index, which is another one then. */
static int keep_address(struct addresses *a, const struct ifaddrmsg *m, const struct rtattr *attrs[ADDR_ATTRS])
{
	static const uint16_t kept[] = { IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_RT_PRIORITY };
	struct ifaddrmsg body = {
		.ifa_family = m->ifa_family, .ifa_prefixlen = m->ifa_prefixlen, .ifa_scope = m->ifa_scope
	};
	struct oci_nl_request *v = reallocarray(a->v, a->n + 1, sizeof(*v));
	uint32_t flags = m->ifa_flags;
	int rc = 0;

	if (!v)
		return -ENOMEM;
	a->v = v;
	if (attrs[IFA_FLAGS] && RTA_PAYLOAD(attrs[IFA_FLAGS]) == sizeof(flags))
		memcpy(&flags, oci_nl_value(attrs[IFA_FLAGS]), sizeof(flags));
	if (!(flags & IFA_F_PERMANENT)) /* leased, or made by a router's word: it means nothing elsewhere */
		return 0;
	flags &= KEPT_FLAGS;
	oci_nl_begin(&v[a->n], RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	for (size_t i = 0; rc == 0 && i < HK_ARRAY_SIZE(kept); i++)
		if (attrs[kept[i]])
			rc = oci_nl_attr(&v[a->n], kept[i], oci_nl_value(attrs[kept[i]]), RTA_PAYLOAD(attrs[kept[i]]));
	if (rc == 0 && flags)
		rc = oci_nl_attr(&v[a->n], IFA_FLAGS, &flags, sizeof(flags));
	if (rc == 0)
		a->n++;
	return rc;
}

static int on_address(void *arg, const struct nlmsghdr *m)
{
	const struct ifaddrmsg *i = oci_nl_body(m);
	const struct rtattr *attrs[ADDR_ATTRS];
	struct addresses *a = arg;

	if (m->nlmsg_type != RTM_NEWADDR || m->nlmsg_len < NLMSG_LENGTH(sizeof(*i)) || (int)i->ifa_index != a->index ||
	    i->ifa_scope != RT_SCOPE_UNIVERSE)
		return 0;
	oci_nl_attrs(m, sizeof(*i), attrs, HK_ARRAY_SIZE(attrs));
	return keep_address(a, i, attrs);
}

static int read_addresses(struct oci_nl *nl, struct addresses *a)
{
	struct ifaddrmsg body = { .ifa_family = AF_UNSPEC };
	struct oci_nl_request r;
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < DUMP_TRIES; i++) {
		a->n = 0;
		oci_nl_begin(&r, RTM_GETADDR, NLM_F_DUMP, &body, sizeof(body));
		rc = oci_nl_call(nl, &r, on_address, a);
	}
	return rc;
}

static void addresses_done(struct addresses *a)
{
	free(a->v);
}

/* ---- the move ---- */

static int fail_nl(struct hk_err *err, int code, const struct oci_nl *nl, const char *what)
{
	return hk_fail(err, HK_INTERNAL, -code, "%s%s%s%s", what, *nl->text ? " (" : "", nl->text, *nl->text ? ")" : "");
}

/*
 * The name inside. The kernel fills in a %d too, but does not tell what it chose; and a clash that it finds half way
 * leaves the device inside under its old name.
 */
static int choose_name(struct oci_nl *inside, const char *want, char name[IFNAMSIZ], struct hk_err *err)
{
	const char *d = strstr(want, "%d");
	int index, r;

	for (int i = 0; i < (d ? MAX_TEMPLATE : 1); i++) {
		r = d ? hk_fmt(name, IFNAMSIZ, "%.*s%d%s", (int)(d - want), want, i, d + 2) : hk_fmt(name, IFNAMSIZ, "%s", want);
		if (r < 0)
			break;
		r = find_link(inside, name, &index);
		if (r == -ENODEV)
			return 0;
		if (r < 0)
			return fail_nl(err, r, inside, "look for the name in the container");
	}
	return hk_fail(err, HK_INVALID, EEXIST, "the container has a network interface \"%s\" already", want);
}

static int change_namespace(struct move *m, int index, const char *name, struct hk_err *err)
{
	struct ifinfomsg body = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct oci_nl_request r;
	uint32_t fd = (uint32_t)m->ns_fd;
	int rc;

	/* One request for both, as the old name may be another's in there. The kernel sets the device down by itself. */
	oci_nl_begin(&r, RTM_NEWLINK, NLM_F_ACK, &body, sizeof(body));
	rc = oci_nl_attr(&r, IFLA_NET_NS_FD, &fd, sizeof(fd));
	if (rc == 0)
		rc = oci_nl_attr(&r, IFLA_IFNAME, name, strlen(name) + 1);
	if (rc == 0)
		rc = oci_nl_call(&m->host, &r, NULL, NULL);
	return rc < 0 ? fail_nl(err, rc, &m->host, "move to the container's network namespace") : 0;
}

static int restore_addresses(struct move *m, struct addresses *a, int index, struct hk_err *err)
{
	for (size_t i = 0; i < a->n; i++) {
		struct ifaddrmsg *body = NLMSG_DATA((struct nlmsghdr *)(void *)a->v[i].buf);
		int rc;

		body->ifa_index = (uint32_t)index;
		rc = oci_nl_call(&m->inside, &a->v[i], NULL, NULL);
		if (rc < 0 && rc != -EEXIST)
			return fail_nl(err, rc, &m->inside, "add its addresses in the container");
	}
	return 0;
}

static int set_up(struct move *m, int index, struct hk_err *err)
{
	struct ifinfomsg body = { .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct oci_nl_request r;
	int rc;

	oci_nl_begin(&r, RTM_NEWLINK, NLM_F_ACK, &body, sizeof(body));
	rc = oci_nl_call(&m->inside, &r, NULL, NULL);
	return rc < 0 ? fail_nl(err, rc, &m->inside, "set up in the container") : 0;
}

static int move_one(struct move *m, const struct oci_net_device *d, struct hk_err *err)
{
	hk_auto(addresses_done) struct addresses a = { 0 };
	char name[IFNAMSIZ];
	int index, r = find_link(&m->host, d->host_name, &a.index);

	if (r == -ENODEV)
		return hk_fail(err, HK_INVALID, ENODEV, "no such network interface on the host");
	if (r < 0)
		return fail_nl(err, r, &m->host, "look for it on the host");
	/* Before all else: the addresses of IPv6 are gone as soon as it is down. */
	r = read_addresses(&m->host, &a);
	if (r < 0)
		return fail_nl(err, r, &m->host, "read its addresses");
	r = choose_name(&m->inside, d->name ? d->name : d->host_name, name, err);
	if (r == 0)
		r = change_namespace(m, a.index, name, err);
	if (r < 0)
		return r;
	r = find_link(&m->inside, name, &index);
	if (r < 0)
		return fail_nl(err, r, &m->inside, "find it in the container");
	r = restore_addresses(m, &a, index, err);
	return r < 0 ? r : set_up(m, index, err);
}

/* ---- the helper ---- */

struct work {
	const struct oci_spec *spec;
	pid_t pid;
};

static int move_all(void *arg, struct hk_err *err)
{
	const struct work *w = arg;
	struct move m = { .host = { .fd = -1 }, .inside = { .fd = -1 } };
	char path[64];
	int r = oci_nl_open(&m.host);

	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "linux.netDevices: open netlink");
	(void)hk_fmt(path, sizeof(path), "/proc/%d/ns/net", w->pid); /* our parent's unreaped child */
	m.ns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (m.ns_fd < 0 || setns(m.ns_fd, CLONE_NEWNET) < 0)
		return hk_fail(err, HK_INTERNAL, errno, "linux.netDevices: enter %s", path);
	r = oci_nl_open(&m.inside);
	if (r < 0)
		return hk_fail(err, HK_INTERNAL, -r, "linux.netDevices: open netlink in the container");
	for (size_t i = 0; i < w->spec->n_net_devices; i++)
		if (move_one(&m, &w->spec->net_devices[i], err) < 0)
			return hk_wrap(err, "linux.netDevices[\"%s\"]", w->spec->net_devices[i].host_name);
	return 0;
}

int oci_netdev_run(const struct oci_engine *e, const struct oci_spec *s, pid_t pid, oci_helper_fn *fn, void *arg,
    struct oci_helper **ret, struct hk_err *err)
{
	struct work w = { .spec = s, .pid = pid };
	struct oci_helper_job job = {
		.comm = "husk:net",
		.what = "moving network devices",
		.timeout_ms = OCI_NETDEV_TIMEOUT_MS,
		.work = move_all,
		.arg = &w,
	};

	return oci_helper_run(e, &job, fn, arg, ret, err);
}
