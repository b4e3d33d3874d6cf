/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_store.c — the state files that `delete` reads after a dead shim; another version, or a full disk, may have written them. */
#include <errno.h>
#include <string.h>

#include "sandbox/store.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int dir = fuzz_dir();
	struct store_record rec;
	struct store_shim shim;
	int r;

	fuzz_file(dir, "c1", size ? (const void *)data : "", size);
	fuzz_file(dir, ".shim", size ? (const void *)data : "", size);
	r = store_read_container(dir, "c1", &rec);
	FUZZ_CHECK(r == 0 || r == -EPROTO || r == -EFBIG);
	if (r == 0) {
		FUZZ_CHECK(strcmp(rec.id, "c1") == 0 && rec.bundle && rec.cgroup && rec.pid >= 0);
		FUZZ_CHECK(!strchr(rec.bundle, '\n') && !strchr(rec.cgroup, '\n'));
		store_record_done(&rec);
	}
	r = store_read_shim(dir, &shim);
	FUZZ_CHECK(r == 0 || r == -EPROTO || r == -EFBIG);
	if (r == 0) {
		FUZZ_CHECK(shim.socket && shim.pid >= 0);
		store_shim_done(&shim);
	}
	return 0;
}
