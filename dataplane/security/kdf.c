/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/kdf.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

bool hg_hmac_sha256(const void *key, size_t key_bytes, const void *data, size_t data_bytes,
                    uint8_t out[HG_MAC_BYTES])
{
    unsigned int bytes = 0;
    hg_assert(key_bytes <= INT32_MAX);
    if (HMAC(EVP_sha256(), key, (int)key_bytes, data, data_bytes, out, &bytes) != NULL &&
        bytes == HG_MAC_BYTES)
        return true;
    OPENSSL_cleanse(out, HG_MAC_BYTES);
    return false;
}

static OSSL_PARAM octets(const char *name, const void *bytes, size_t count)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)bytes, count);
}

bool hg_hkdf_sha256(const void *secret, size_t secret_bytes, const void *salt, size_t salt_bytes,
                    const void *info, size_t info_bytes, uint8_t *out, size_t out_bytes)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        octets(OSSL_KDF_PARAM_KEY, secret, secret_bytes),
        octets(OSSL_KDF_PARAM_SALT, salt, salt_bytes),
        octets(OSSL_KDF_PARAM_INFO, info, info_bytes),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    bool good = context != NULL && EVP_KDF_derive(context, out, out_bytes, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    if (!good)
        OPENSSL_cleanse(out, out_bytes);
    return good;
}
