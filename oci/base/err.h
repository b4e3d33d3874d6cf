/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/base/err.h — an error is a value: what failed, on which object, why.
 *
 * Facts are set where they are known (hk_fail), context is put in front at most once a layer (hk_wrap), and only
 * shim/ logs it, when it answers the request. Functions return 0 or -errno; `err` is written on failure only and may be NULL.
 */
#pragma once

enum hk_kind {
	HK_INTERNAL,    /* the kernel or the machine said no */
	HK_INVALID,     /* the caller's input is wrong */
	HK_NOT_FOUND,   /* no such container, process, file the caller named */
	HK_EXISTS,      /* the id is taken */
	HK_BAD_STATE,   /* right call, wrong moment */
	HK_UNSUPPORTED, /* this build or kernel cannot do it */
	HK_EXHAUSTED,   /* a limit of husk's own is reached */
	HK_DEADLINE,    /* did not finish in time */
	HK_UNAVAILABLE, /* the server is going away */
};

struct hk_err {
	int code; /* errno value, > 0 once set */
	enum hk_kind kind;
	const char *step; /* of the set-up, where it failed there: static; NULL = elsewhere */
	char text[1000];
};

/* Sets *err to the formatted text followed by ": ENAME" of `code`; returns -code. `code` must be > 0. */
int hk_fail(struct hk_err *err, enum hk_kind kind, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* As hk_fail, but the text stands alone: for wording that clients match on, or where errno adds nothing. */
int hk_fail_text(struct hk_err *err, enum hk_kind kind, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Puts "<formatted>: " in front of err->text; keeps kind and code; returns -err->code (or -EIO if err is NULL). */
int hk_wrap(struct hk_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "EPERM" for 1; "E<number>" for one without a name. Static storage or a thread-local buffer: use at once. */
const char *hk_errno_name(int code);
