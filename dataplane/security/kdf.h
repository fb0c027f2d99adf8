/* SPDX-License-Identifier: Apache-2.0
 *
 * HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869) by OpenSSL. Any thread; allocates, so never on the packet
 * path.
 */
#ifndef HG_SECURITY_KDF_H
#define HG_SECURITY_KDF_H

#include "drivers/platform/platform.h"

#define HG_MAC_BYTES 32

/* Both return false, and wipe `out`, when OpenSSL cannot: no memory, or its providers are missing. */
bool hg_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t data_bytes,
                    uint8_t out[HG_MAC_BYTES]);
bool hg_hkdf_sha256(const void *secret, size_t secret_bytes, const void *salt, size_t salt_bytes,
                    const void *info, size_t info_bytes, uint8_t *out, size_t out_bytes);

#endif
