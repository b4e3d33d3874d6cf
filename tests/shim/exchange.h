/* SPDX-License-Identifier: Apache-2.0 */
/* tests/shim/exchange.h — one ttrpc session whose only method answers with the converter under test, and what came back. */
#pragma once
#include "proto/dispatch.h"

struct convert_exchange {
	void (*reply)(struct ttrpc_call *call, const void *arg);
	const void *arg;
	/* results */
	enum ttrpc_code code;
	char text[1200];
	uint8_t *payload; /* owned */
	size_t len;
	int n_answers;
};

/* Calls the method once; it must be answered exactly once. */
void convert_run(struct convert_exchange *x, const char *method);
void convert_exchange_done(struct convert_exchange *x);
