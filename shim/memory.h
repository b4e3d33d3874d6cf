/* SPDX-License-Identifier: Apache-2.0 */
/* shim/memory.h — what a create or a big request once needed goes back to the kernel: the shim stays for the pod's whole life. */
#pragma once

/* Once, before the first large allocation. */
void shim_memory_init(void);
/* From a shallow place (a timer): frees the unused heap, and the stack pages below that deeper calls have touched. */
void shim_memory_release(void);
