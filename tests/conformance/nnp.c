/* SPDX-License-Identifier: Apache-2.0 */
/* tests/conformance/nnp.c — set-user-id root in critest's image "nonewprivs": tells as whom it runs. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("Effective uid: %d\n", (int)geteuid()) < 0;
}
