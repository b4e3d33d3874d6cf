/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/reaper.h — the annotation husk.io/init=true: husk-init as PID 1 of the container, for a program that does not reap what is left to it.
 * Private to oci/.
 */
#pragma once
struct hk_err;
struct oci_spec;

#define OCI_REAPER_PATH "/dev/husk-init"

/* Binds husk-init into the container and sets s->process.has_reaper, if the annotation asks for it. */
int oci_reaper_add(struct oci_spec *s, struct hk_err *err);
