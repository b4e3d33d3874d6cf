/* SPDX-License-Identifier: Apache-2.0 */
/* shim/input.h — what containerd may or may not have written to our stdin. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Everything up to the end of fd, malloc'ed (never NULL on success). A closed or missing stdin, a terminal and /dev/null are nothing; a pipe that
 * nobody closes is read until it has been silent for a second. -EFBIG over 4 MiB.
 */
int shim_input_read(int fd, uint8_t **ret, size_t *ret_len);
