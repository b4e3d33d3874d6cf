/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_flags.c — the shim's command line; every line of the input is one word. */
#include "shim/flags.h"

#include "oci/base/err.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_WORDS = 24 };

/* "" or a part of one of the words. */
static bool is_borrowed(const char *s, char *const *argv, int argc)
{
	if (s && *s == '\0')
		return true;
	for (int i = 1; i < argc; i++)
		for (const char *p = argv[i]; *p; p++)
			if (p == s)
				return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char name[] = "shim";
	struct fuzz_in in = { data, size };
	char *argv[MAX_WORDS + 1] = { name };
	struct shim_flags f;
	struct hk_err err = { 0 };
	int argc = 1, r;

	while (argc < MAX_WORDS && (argv[argc] = fuzz_word(&in, '\n')))
		argc++;
	argv[argc] = NULL;
	r = shim_flags_parse(argc, argv, &f, &err);
	if (r < 0) {
		fuzz_check_err(r, &err);
	} else {
		const char *const strings[] = { f.ns, f.id, f.address, f.bundle, f.action, f.group, f.publish_binary,
			f.socket, f.debug_socket };

		for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
			FUZZ_CHECK(is_borrowed(strings[i], argv, argc));
	}
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	return 0;
}
