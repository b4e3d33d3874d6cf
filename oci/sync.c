/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/sync.c — the set-up protocol of oci/sync.h: packing, checking, step names, the shared page. Both sides use only
 * these calls on the socket. The shim trusts nothing that arrives: size, version, type and text are checked, since the
 * sender may be a half-broken child.
 */
#include "oci/sync.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"

_Static_assert(sizeof(struct oci_msg) == OCI_MSG_SIZE, "fixed message size");

#define OCI_STEP_NAME(id, name) [OCI_STEP_##id] = name,
static const char *const step_names[OCI_N_STEPS] = { OCI_STEPS(OCI_STEP_NAME) };
#undef OCI_STEP_NAME

const char *oci_step_name(unsigned step)
{
	return step < OCI_N_STEPS ? step_names[step] : "unknown";
}

struct oci_page *oci_page_new(void)
{
	void *p = mmap(NULL, sizeof(struct oci_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct oci_page *oci_page_map(int fd)
{
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct oci_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void oci_page_free(struct oci_page *p)
{
	if (p)
		(void)munmap(p, sizeof(*p));
}

int oci_sync_send(int sock, enum oci_msg_type type, int32_t value, int fd)
{
	struct oci_msg m = { .version = OCI_MSG_VERSION, .type = (uint16_t)type, .value = value, .index = -1 };

	/* Twelve small messages fit into any socket buffer: a full one means that the peer is not reading at all. */
	return hk_send_fds(sock, &m, sizeof(m), &fd, fd >= 0 ? 1 : 0, 0);
}

void oci_sync_set_failed(struct oci_msg *ret, unsigned step, int index, const struct hk_err *err)
{
	struct oci_msg m = {
		.version = OCI_MSG_VERSION,
		.type = OCI_MSG_FAILED,
		.step = (uint16_t)step,
		.kind = (uint16_t)err->kind,
		.value = err->code,
		.index = index,
	};
	size_t n = strnlen(err->text, sizeof(err->text));

	if (n >= sizeof(m.text))
		n = sizeof(m.text) - 1;
	memcpy(m.text, err->text, n);
	*ret = m;
}

void oci_sync_fail(int sock, unsigned step, int index, const struct hk_err *err)
{
	struct oci_msg m;

	oci_sync_set_failed(&m, step, index, err);
	(void)hk_send_fds(sock, &m, sizeof(m), NULL, 0, 0); /* if the shim is gone, nobody asks */
}

int oci_sync_recv(int sock, struct oci_msg *ret, int *ret_fd, int flags)
{
	struct oci_msg m;
	size_t n_fds = 0;
	hk_autofd fd = -1;
	ssize_t n = hk_recv_fds(sock, &m, sizeof(m), &fd, 1, &n_fds, flags);

	if (n == -ECONNRESET) /* died with unread messages in its queue */
		n = 0;
	if (n <= 0)
		return (int)n;
	if (n != sizeof(m) || m.version != OCI_MSG_VERSION || m.type < 1 || m.type >= OCI_N_MSGS)
		return -EPROTO;
	if (!memchr(m.text, 0, sizeof(m.text)) || m.step >= OCI_N_STEPS)
		return -EPROTO;
	*ret = m;
	*ret_fd = hk_take_fd(&fd);
	return 1;
}

int oci_sync_expect(int sock, enum oci_msg_type type)
{
	struct oci_msg m;
	hk_autofd fd = -1;
	int r = oci_sync_recv(sock, &m, &fd, 0);

	if (r < 0)
		return r;
	if (r == 0)
		return -EPIPE;
	return m.type == type ? 0 : -EPROTO;
}

void oci_sync_to_err(const struct oci_msg *m, struct hk_err *err)
{
	size_t n = strnlen(m->text, sizeof(m->text));

	if (n >= sizeof(err->text))
		n = sizeof(err->text) - 1;
	err->code = m->value > 0 ? m->value : EIO;
	err->kind = m->kind <= HK_UNAVAILABLE ? (enum hk_kind)m->kind : HK_INTERNAL;
	err->step = oci_step_name(m->step);
	memcpy(err->text, m->text, n);
	err->text[n] = 0;
}
