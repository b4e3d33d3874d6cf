/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim/tool_toml.h — husk's tables in a configuration of containerd's, as text. They stand in a block between two comments, so that they can be
 * found again, renewed and removed, and nothing else of the file is touched.
 */
#pragma once
#include <stdbool.h>

/* The tables for a file of this version (2, or 3 and later), without a version line: contrib/containerd/husk-v*.toml. */
const char *toml_tables(unsigned int config_version);
/* The table whose head is this line, with the tables below it, out of a dump. Heap; "" when it is not there. */
char *toml_section(const char *text, const char *head);
/* `text` with the block of these tables at its end, an older block removed. Heap; NULL without memory. */
char *toml_with_block(const char *text, const char *tables);
/* `text` without the block. Heap. */
char *toml_without_block(const char *text);
/* Every line of `before` is in `after` too, in any order; "imports" lines aside. What is lost: *ret_line, inside before. */
bool toml_keeps_lines(const char *before, const char *after, const char **ret_line);
