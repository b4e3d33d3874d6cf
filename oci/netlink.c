/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/netlink.c — requests and answers of netlink(7) and rtnetlink(7), by hand. In comes a request built here, out go
 * the kernel's messages, one at a time, and its verdict with the text it gives since Linux 4.12 (extended
 * acknowledgements).
 */
#include "oci/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/str.h"

enum { ANSWER_MAX = 32768 }; /* the most that one message of a dump is made of */

int oci_nl_open(struct oci_nl *ret)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
	hk_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int on = 1;

	if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)); /* the request is not sent back */
	*ret = (struct oci_nl){ .fd = hk_take_fd(&fd) };
	return 0;
}

void oci_nl_close(struct oci_nl *nl)
{
	nl->fd = hk_close(nl->fd);
}

static struct nlmsghdr *header(struct oci_nl_request *r)
{
	return (struct nlmsghdr *)(void *)r->buf;
}

void oci_nl_begin(struct oci_nl_request *r, uint16_t type, uint16_t flags, const void *body, size_t len)
{
	memset(r, 0, sizeof(*r));
	*header(r) = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)NLMSG_LENGTH(len),
		.nlmsg_type = type,
		.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
	};
	memcpy(r->buf + NLMSG_HDRLEN, body, len);
}

int oci_nl_attr(struct oci_nl_request *r, uint16_t type, const void *data, size_t len)
{
	struct nlmsghdr *h = header(r);
	size_t at = NLMSG_ALIGN(h->nlmsg_len);
	struct rtattr a = { .rta_len = (unsigned short)RTA_LENGTH(len), .rta_type = type };

	if (at + RTA_SPACE(len) > sizeof(r->buf))
		return -EMSGSIZE;
	memcpy(r->buf + at, &a, sizeof(a));
	memcpy(r->buf + at + RTA_LENGTH(0), data, len);
	h->nlmsg_len = (uint32_t)(at + RTA_LENGTH(len));
	return 0;
}

static void attrs_from(const char *at, size_t left, const struct rtattr *ret[], size_t n)
{
	memset((void *)ret, 0, n * sizeof(*ret));
	while (left >= sizeof(struct rtattr)) {
		const struct rtattr *a = (const struct rtattr *)(const void *)at;
		size_t step = RTA_ALIGN(a->rta_len);

		if (a->rta_len < sizeof(*a) || a->rta_len > left)
			return;
		if ((a->rta_type & NLA_TYPE_MASK) < n)
			ret[a->rta_type & NLA_TYPE_MASK] = a;
		if (step >= left)
			return;
		at += step;
		left -= step;
	}
}

void oci_nl_attrs(const struct nlmsghdr *m, size_t body_len, const struct rtattr *ret[], size_t n)
{
	size_t skip = NLMSG_SPACE(body_len);

	attrs_from((const char *)m + skip, m->nlmsg_len > skip ? m->nlmsg_len - skip : 0, ret, n);
}

/* The verdict; it ends a request. */
static int verdict(struct oci_nl *nl, const struct nlmsghdr *m)
{
	const struct nlmsgerr *e = oci_nl_body(m);
	const struct rtattr *attrs[NLMSGERR_ATTR_MSG + 1];
	const struct rtattr *text;

	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*e)))
		return -EBADMSG;
	if (e->error == 0 || !(m->nlmsg_flags & NLM_F_ACK_TLVS) || !(m->nlmsg_flags & NLM_F_CAPPED))
		return e->error;
	oci_nl_attrs(m, sizeof(*e), attrs, HK_ARRAY_SIZE(attrs));
	text = attrs[NLMSGERR_ATTR_MSG];
	if (text)
		(void)hk_fmt(nl->text, sizeof(nl->text), "%.*s", (int)RTA_PAYLOAD(text), (const char *)oci_nl_value(text));
	return e->error;
}

/* One datagram. 1: more is to come. */
static int read_some(struct oci_nl *nl, oci_nl_fn *fn, void *arg)
{
	_Alignas(struct nlmsghdr) char buf[ANSWER_MAX];
	ssize_t got = recv(nl->fd, buf, sizeof(buf), MSG_TRUNC);
	int r;

	if (got < 0)
		return errno == EINTR ? 1 : -errno;
	if ((size_t)got > sizeof(buf))
		return -EMSGSIZE;
	for (size_t at = 0; at + sizeof(struct nlmsghdr) <= (size_t)got;) {
		const struct nlmsghdr *m = (const struct nlmsghdr *)(const void *)(buf + at);

		if (m->nlmsg_len < sizeof(*m) || m->nlmsg_len > (size_t)got - at)
			return -EBADMSG;
		at += NLMSG_ALIGN(m->nlmsg_len);
		if (m->nlmsg_seq != nl->seq)
			continue;
		if (m->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EAGAIN;
		if (m->nlmsg_type == NLMSG_ERROR)
			return verdict(nl, m);
		if (m->nlmsg_type == NLMSG_DONE)
			return 0;
		r = fn ? fn(arg, m) : 0;
		if (r < 0)
			return r;
	}
	return 1;
}

int oci_nl_call(struct oci_nl *nl, struct oci_nl_request *r, oci_nl_fn *fn, void *arg)
{
	struct nlmsghdr *h = header(r);
	int rc;

	nl->text[0] = '\0';
	h->nlmsg_seq = ++nl->seq; /* what is left of an earlier answer has another number */
	if (send(nl->fd, h, h->nlmsg_len, 0) < 0)
		return -errno;
	do {
		rc = read_some(nl, fn, arg);
	} while (rc == 1);
	return rc;
}
