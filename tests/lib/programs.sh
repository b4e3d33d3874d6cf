#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# programs.sh PROGRAM...: all of them, quietly; what failed is shown.
status=0
for program; do
	if ! said=$("$program" 2>&1); then
		echo "--- $program"
		echo "$said" | grep -v -E '^\[ +(RUN|OK) '
		status=1
	fi
done
exit $status
