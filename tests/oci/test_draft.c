/* SPDX-License-Identifier: Apache-2.0 */
/* A document parsed ahead of its Create: of use for the same bytes, once; never in the way of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "oci/container.h"
#include "tests/oci/spec_helpers.h"

static const char document[] = "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"cwd\":\"/\",\"args\":[\"true\"]}}";

struct bundle {
	char dir[32], file[64];
};

static void write_document(const struct bundle *b, const char *text)
{
	FILE *f = fopen(b->file, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int make(void **state)
{
	static struct bundle b;

	(void)snprintf(b.dir, sizeof(b.dir), "/tmp/husk-draft-XXXXXX");
	assert_non_null(mkdtemp(b.dir));
	(void)snprintf(b.file, sizeof(b.file), "%s/config.json", b.dir);
	*state = &b;
	return 0;
}

static int unmake(void **state)
{
	struct bundle *b = *state;

	(void)unlink(b->file);
	return rmdir(b->dir);
}

static void the_same_bytes_once(void **state)
{
	struct bundle *b = *state;
	struct oci_draft *d;
	struct oci_spec *s;

	write_document(b, document);
	d = oci_draft_new(b->dir, b->dir);
	assert_non_null(d);
	s = oci_draft_take(d, document, sizeof(document) - 1);
	assert_non_null(s);
	assert_string_equal(s->process.args.v[0], "true");
	assert_null(oci_draft_take(d, document, sizeof(document) - 1));
	oci_draft_free(d);
	assert_string_equal(s->root_path, "rootfs"); /* it is the taker's */
	oci_spec_free(s);
}

static void other_bytes(void **state)
{
	struct bundle *b = *state;
	char other[sizeof(document)];
	struct oci_draft *d;

	write_document(b, document);
	d = oci_draft_new(b->dir, b->dir);
	memcpy(other, document, sizeof(other));
	memcpy(strstr(other, "true"), "fals", 4);
	assert_null(oci_draft_take(d, other, sizeof(other) - 1));
	assert_null(oci_draft_take(d, document, sizeof(document) - 2));
	assert_null(oci_draft_take(d, "", 0));
	oci_draft_free(d); /* with what nobody took */
}

static void nothing_to_be_had(void **state)
{
	struct bundle *b = *state;

	assert_null(oci_draft_new(b->dir, b->dir)); /* there is no document */
	write_document(b, "{\"ociVersion\":");
	assert_null(oci_draft_new(b->dir, b->dir));
	assert_null(oci_draft_take(NULL, document, sizeof(document) - 1));
	oci_draft_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_same_bytes_once, make, unmake),
		cmocka_unit_test_setup_teardown(other_bytes, make, unmake),
		cmocka_unit_test_setup_teardown(nothing_to_be_had, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
