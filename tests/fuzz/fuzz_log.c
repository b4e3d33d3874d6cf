/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_log.c — values in log lines. The input's words, each ended by a NUL, are values, the first one the message. Whatever they are,
 * out comes one line of at most 2 KiB whose quotes are closed, without a control character and without half a character in it.
 */
#include "oci/base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_VALUES = 6, LINE_MAX_BYTES = 2048 };

static void check_line(const char *line, ssize_t len)
{
	bool is_quoted = false;

	FUZZ_CHECK(len > 0 && len <= LINE_MAX_BYTES && line[len - 1] == '\n');
	for (ssize_t i = 0; i < len - 1; i++) {
		const unsigned char c = (unsigned char)line[i];

		FUZZ_CHECK(c >= 0x20 && c != 0x7f);
		if (is_quoted && c == '\\')
			i++;
		else if (c == '"')
			is_quoted = !is_quoted;
	}
	FUZZ_CHECK(!is_quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	hk_autofree char *msg = fuzz_word(&in, '\0');
	char *values[MAX_VALUES];
	struct hk_kv kv[MAX_VALUES];
	char line[LINE_MAX_BYTES + 2];
	hk_autofd fd = memfd_create("line", MFD_CLOEXEC);
	ssize_t len;
	int n = 0;

	FUZZ_CHECK(fd >= 0);
	while (n < MAX_VALUES && (values[n] = fuzz_word(&in, '\0'))) {
		kv[n] = n % 3 == 2 ? LOG_INT("pid", values[n][0]) : LOG_STR("err", values[n]);
		n++;
	}
	hk_log_init(fd, HK_LOG_DEBUG);
	hk_log(HK_LOG_DEBUG, msg ? msg : "", kv, n);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
	len = hk_read_all(fd, line, sizeof(line));
	check_line(line, len);
	FUZZ_CHECK(!fuzz_is_utf8(data, size) || fuzz_is_utf8(line, (size_t)len)); /* no character is cut in two */
	hk_log_init(-1, HK_LOG_INFO);
	for (int i = 0; i < n; i++)
		free(values[i]);
	return 0;
}
