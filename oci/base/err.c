/* SPDX-License-Identifier: Apache-2.0 */
/* oci/base/err.c — see err.h. Text that does not fit is cut, never lost: the kind and the code always arrive. */
#include "oci/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *hk_errno_name(int code)
{
	static _Thread_local char unknown[24];
	const char *name = strerrorname_np(code);

	if (name)
		return name;
	(void)snprintf(unknown, sizeof(unknown), "E%d", code);
	return unknown;
}

static void set_head(struct hk_err *err, enum hk_kind kind, int code)
{
	err->kind = kind;
	err->step = NULL;
	err->code = code > 0 ? code : EIO;
}

int hk_fail(struct hk_err *err, enum hk_kind kind, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (!err)
		return -(code > 0 ? code : EIO);
	set_head(err, kind, code);
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	(void)snprintf(err->text + len, sizeof(err->text) - len, ": %s", hk_errno_name(err->code));
	return -err->code;
}

int hk_fail_text(struct hk_err *err, enum hk_kind kind, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -(code > 0 ? code : EIO);
	set_head(err, kind, code);
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -err->code;
}

int hk_wrap(struct hk_err *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;
	size_t len;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = strlen(text);
	if (len + 2 < sizeof(text)) {
		size_t n = strnlen(err->text, sizeof(text) - len - 3);

		memcpy(text + len, ": ", 2);
		memcpy(text + len + 2, err->text, n);
		text[len + 2 + n] = '\0';
	}
	memcpy(err->text, text, sizeof(text));
	return -err->code;
}
