/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/kdf.h"
#include <CUnit/Basic.h>
#include <openssl/crypto.h>

struct octets {
    uint8_t at[128];
    size_t count;
};

static struct octets hex(const char *text)
{
    struct octets octets = {.count = 0};
    int rc = OPENSSL_hexstr2buf_ex(octets.at, sizeof(octets.at), &octets.count, text, '\0');
    CU_ASSERT_EQUAL_FATAL(rc, 1);
    return octets;
}

/* RFC 5869 A.1, A.2, A.3 */
static void test_hkdf_rfc5869(void)
{
    static const struct {
        const char *secret, *salt, *info, *out;
    } cases[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303"
         "13233343"
         "5363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
         "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909"
         "19293949"
         "5969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
         "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e"
         "1e2e3e4e"
         "5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3"
         "275600c2"
         "f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct octets secret = hex(cases[i].secret), want = hex(cases[i].out);
        struct octets salt = {.count = 0}, info = {.count = 0};
        if (cases[i].salt[0] != '\0') {
            salt = hex(cases[i].salt);
            info = hex(cases[i].info);
        }
        uint8_t out[128];
        CU_ASSERT(hg_hkdf_sha256(secret.at, secret.count, salt.at, salt.count, info.at, info.count, out,
                                 want.count));
        CU_ASSERT_EQUAL(memcmp(out, want.at, want.count), 0);
    }
}

/* RFC 4231 2, 3 and 7 */
static void test_hmac_rfc4231(void)
{
    uint8_t mac[HG_MAC_BYTES], key[131];
    struct octets want = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CU_ASSERT(hg_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac));
    CU_ASSERT_EQUAL(memcmp(mac, want.at, sizeof(mac)), 0);

    uint8_t data[50];
    memset(key, 0xaa, sizeof(key));
    memset(data, 0xdd, sizeof(data));
    want = hex("773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    CU_ASSERT(hg_hmac_sha256(key, 20, data, sizeof(data), mac));
    CU_ASSERT_EQUAL(memcmp(mac, want.at, sizeof(mac)), 0);

    static const char longer[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    want = hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    CU_ASSERT(hg_hmac_sha256(key, sizeof(key), longer, sizeof(longer) - 1, mac));
    CU_ASSERT_EQUAL(memcmp(mac, want.at, sizeof(mac)), 0);
}

/* More than HKDF can give is refused and leaves no bytes. */
static void test_failure_wipes(void)
{
    static uint8_t out[256 * 32];
    memset(out, 0x5a, sizeof(out));
    CU_ASSERT_FALSE(hg_hkdf_sha256("k", 1, "s", 1, "i", 1, out, 255 * 32 + 1));
    for (size_t i = 0; i < 255 * 32 + 1; i++)
        CU_ASSERT_EQUAL_FATAL(out[i], 0);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("kdf", NULL, NULL);
    CU_ADD_TEST(suite, test_hkdf_rfc5869);
    CU_ADD_TEST(suite, test_hmac_rfc4231);
    CU_ADD_TEST(suite, test_failure_wipes);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
