/* SPDX-License-Identifier: Apache-2.0 */
/* shim/crash.h — the last words of a shim that dies of its own fault: one line of the log, from the signal's handler, then the death itself. */
#pragma once

struct shim_history;

/* After every disposition was set to its default. The history is borrowed for ever; NULL = none. */
void shim_crash_init(const struct shim_history *h);
