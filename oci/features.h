/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/features.h — the features document of the runtime-spec (features.md); oci_features_json of oci/oci.h makes it.
 * Private to oci/. containerd reads it through `-info`: "rro" in mountOptions and mountExtensions.idmap decide what
 * CRI offers to Kubernetes.
 */
#pragma once
#include "oci/oci.h"

/* What the spec accepts in ociVersion; the document has no field newer than the maximum. */
#define OCI_VERSION_MIN "1.0.0"
#define OCI_VERSION_MAX "1.3.0"
