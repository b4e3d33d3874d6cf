/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/netlink.h — rtnetlink, as much as moving a device takes: one request at a time on a blocking socket, for a helper
 * process. Private to oci/.
 */
#pragma once
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

enum { OCI_NL_REQUEST_MAX = 1024, OCI_NL_TEXT_MAX = 128 };

struct oci_nl {
	int fd; /* owned; of the network namespace it was opened in, for ever */
	uint32_t seq;
	char text[OCI_NL_TEXT_MAX]; /* what the kernel says of the last failure, or "" */
};

struct oci_nl_request {
	_Alignas(struct nlmsghdr) char buf[OCI_NL_REQUEST_MAX];
};

/* What the macros of linux/netlink.h do, for const. */
static inline const void *oci_nl_body(const struct nlmsghdr *m)
{
	return (const char *)m + NLMSG_HDRLEN;
}
static inline const void *oci_nl_value(const struct rtattr *a)
{
	return (const char *)a + RTA_LENGTH(0);
}

int oci_nl_open(struct oci_nl *ret);
void oci_nl_close(struct oci_nl *nl);

/* A request of `type` whose fixed part is body. NLM_F_REQUEST is set. */
void oci_nl_begin(struct oci_nl_request *r, uint16_t type, uint16_t flags, const void *body, size_t len);
/* Appends; -EMSGSIZE. */
int oci_nl_attr(struct oci_nl_request *r, uint16_t type, const void *data, size_t len);

/* Each message of the answer, but for its end; a negative value ends the call with it. */
typedef int oci_nl_fn(void *arg, const struct nlmsghdr *m);
/*
 * Sends and reads until the acknowledgement (NLM_F_ACK) or the dump's end. 0 or -errno; -EAGAIN: a dump was disturbed.
 * fn may be NULL.
 */
int oci_nl_call(struct oci_nl *nl, struct oci_nl_request *r, oci_nl_fn *fn, void *arg);

/* The attributes behind the fixed part of m, by type; NULL where there is none. */
void oci_nl_attrs(const struct nlmsghdr *m, size_t body_len, const struct rtattr *ret[], size_t n);
