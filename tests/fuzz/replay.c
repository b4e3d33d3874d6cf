/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/replay.c — main() of a fuzz target in an ordinary build: every file named, and every file of a directory named, is one input.
 * The name is printed before the input runs, so that the last one printed is the one that failed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/base/auto.h"
#include "oci/base/fd.h"
#include "oci/base/str.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_MAX = 16 << 20 };

static int compare(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_input(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static size_t run_file(const char *path)
{
	hk_autofree char *text = NULL;
	hk_autofree uint8_t *exact = NULL;
	size_t len;

	(void)printf("%s\n", path);
	(void)fflush(stdout);
	if (hk_read_file_alloc(AT_FDCWD, path, INPUT_MAX, &text, &len) < 0) {
		(void)fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	/* Of exactly its size, so that a sanitizer sees the first byte read past it. */
	exact = malloc(len);
	if (len)
		memcpy(exact, text, len);
	(void)LLVMFuzzerTestOneInput(exact, len);
	return 1;
}

static size_t run(const char *path)
{
	struct dirent **names;
	struct stat st;
	size_t n = 0;
	int count;

	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return run_file(path);
	count = scandir(path, &names, is_input, compare);
	for (int i = 0; i < count; i++) {
		char file[4096];

		if (hk_fmt(file, sizeof(file), "%s/%s", path, names[i]->d_name) > 0)
			n += run_file(file);
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return n;
}

int main(int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		n += run(argv[i]);
	(void)printf("%zu inputs\n", n);
	return n == 0; /* an empty corpus is a mistake */
}
