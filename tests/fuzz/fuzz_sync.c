/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_sync.c — what a half-broken set-up child may send to the shim: the input is one datagram, padded to a message's size by zeros. */
#include "oci/sync.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/err.h"
#include "oci/base/fd.h"
#include "tests/fuzz/fuzz.h"

static void receive(int sock)
{
	struct oci_msg m;
	struct hk_err err;
	int fd = -1;
	int r = oci_sync_recv(sock, &m, &fd, MSG_DONTWAIT);

	FUZZ_CHECK(fd == -1);
	FUZZ_CHECK(r == 1 || r == 0 || r == -EPROTO || r == -EMSGSIZE);
	if (r < 1)
		return;
	FUZZ_CHECK(m.version == OCI_MSG_VERSION && m.type >= 1 && m.type < OCI_N_MSGS && m.step < OCI_N_STEPS);
	FUZZ_CHECK(oci_step_name(m.step));
	oci_sync_to_err(&m, &err);
	FUZZ_CHECK(err.code > 0 && err.kind <= HK_UNAVAILABLE && memchr(err.text, '\0', sizeof(err.text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char msg[OCI_MSG_SIZE] = { 0 };
	hk_autofd a = -1, b = -1;
	int pair[2];

	FUZZ_CHECK(hk_socketpair(pair) == 0);
	a = pair[0];
	b = pair[1];
	if (size)
		memcpy(msg, data, size < sizeof(msg) ? size : sizeof(msg));
	FUZZ_CHECK(hk_send_fds(a, msg, sizeof(msg), NULL, 0, 0) == 0);
	receive(b);
	if (size > 0 && size < 16384) {
		FUZZ_CHECK(hk_send_fds(a, data, size, NULL, 0, 0) == 0); /* as it is: too short or too long */
		receive(b);
	}
	return 0;
}
