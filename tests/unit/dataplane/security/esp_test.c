/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/esp.h"
#include "dataplane/security/esp_sa.h"
#include "dataplane/security/limits.h"
#include <CUnit/Basic.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define INNER_MAX  9300
#define PACKET_MAX (INNER_MAX + HG_ESP_OVERHEAD_BYTES)
#define SPI        0x12345678u

static const uint8_t key[HG_ESP_KEY_BYTES] = "the key has thirty-two bytes: ok";
static const uint8_t salt[HG_ESP_SALT_BYTES] = {0xca, 0xfe, 0xba, 0xbe};
static uint8_t plain[INNER_MAX], packet[PACKET_MAX], inner[PACKET_MAX], other[PACKET_MAX];
static struct hg_esp_sa sa_tx HG_CACHE_ALIGNED, sa_rx HG_CACHE_ALIGNED;
static struct hg_esp_sa *tx, *rx;
static EVP_CIPHER_CTX *evp;

static void fresh(void)
{
    CU_ASSERT_FATAL(hg_esp_sa_bytes() >= sizeof(sa_tx));
    tx = hg_esp_sa_init(&sa_tx, SPI, key, salt);
    rx = hg_esp_sa_init(&sa_rx, SPI, key, salt);
}

static void be32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void be64(uint8_t *at, uint64_t v)
{
    be32(at, (uint32_t)(v >> 32));
    be32(at + 4, (uint32_t)v);
}

/* RFC 4106 by OpenSSL, from the RFC and nothing of ours. Returns the packet's bytes. */
static uint32_t evp_seal(uint64_t number, const uint8_t *text, uint32_t text_bytes, uint8_t *to)
{
    uint8_t nonce[12], aad[12];
    int n;
    memcpy(nonce, salt, 4);
    be64(nonce + 4, number);
    be32(aad, SPI);
    be64(aad + 4, number);
    be32(to, SPI);
    be32(to + 4, (uint32_t)number);
    be64(to + 8, number);
    CU_ASSERT_EQUAL_FATAL(EVP_EncryptInit_ex(evp, EVP_aes_256_gcm(), NULL, key, nonce), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_EncryptUpdate(evp, NULL, &n, aad, 12), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_EncryptUpdate(evp, to + 16, &n, text, (int)text_bytes), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_EncryptFinal_ex(evp, to + 16 + n, &n), 1);
    CU_ASSERT_EQUAL_FATAL(EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_GCM_GET_TAG, 16, to + 16 + text_bytes), 1);
    return 16 + text_bytes + 16;
}

/* True if OpenSSL finds the packet authentic; leaves the text, trailer and all, in `to`. */
static bool evp_open(uint64_t number, uint8_t *from, uint32_t bytes, uint8_t *to)
{
    uint8_t nonce[12], aad[12], header[16];
    int n;
    memcpy(nonce, salt, 4);
    be64(nonce + 4, number);
    be32(aad, SPI);
    be64(aad + 4, number);
    be32(header, SPI);
    be32(header + 4, (uint32_t)number);
    be64(header + 8, number);
    if (memcmp(header, from, sizeof(header)) != 0)
        return false;
    return EVP_DecryptInit_ex(evp, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_DecryptUpdate(evp, NULL, &n, aad, 12) == 1 &&
           EVP_DecryptUpdate(evp, to, &n, from + 16, (int)bytes - 32) == 1 &&
           EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_GCM_SET_TAG, 16, from + bytes - 16) == 1 &&
           EVP_DecryptFinal_ex(evp, to + n, &n) == 1;
}

/* The GCM specification's test cases 13 to 16, which NIST took over, through the key schedule that an SA
 * holds. */
static void test_known_answers(void)
{
    static const struct {
        const char *key, *iv, *aad, *text, *cipher, *tag;
    } cases[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
         "d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
         "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
         "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
         "b094dac5d93471bdec1a502270e3cc6c"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
         "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
         "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
         "76fc6ece0f4e1768cddf8853bb2d551b"},
    };
    IMB_MGR *mgr = alloc_mb_mgr(0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mgr);
    init_mb_mgr_auto(mgr, NULL);
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        uint8_t k[32], iv[12], aad[32], text[64], want[64], tag_want[16], got[64], tag[16];
        size_t n, aad_bytes = 0, text_bytes = 0;
        CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(k, sizeof(k), &n, cases[i].key, 0));
        CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(iv, sizeof(iv), &n, cases[i].iv, 0));
        CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(tag_want, sizeof(tag_want), &n, cases[i].tag, 0));
        if (cases[i].aad[0] != '\0')
            CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(aad, sizeof(aad), &aad_bytes, cases[i].aad, 0));
        if (cases[i].text[0] != '\0') {
            CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(text, sizeof(text), &text_bytes, cases[i].text, 0));
            CU_ASSERT_FATAL(OPENSSL_hexstr2buf_ex(want, sizeof(want), &n, cases[i].cipher, 0));
        }
        struct hg_esp_sa *sa = hg_esp_sa_init(&sa_tx, SPI, k, salt);
        IMB_AES256_GCM_ENC(mgr, &sa->key, &sa->context, got, text, text_bytes, iv, aad, aad_bytes, tag, 16);
        CU_ASSERT_EQUAL(memcmp(got, want, text_bytes), 0);
        CU_ASSERT_EQUAL(memcmp(tag, tag_want, 16), 0);
        IMB_AES256_GCM_DEC(mgr, &sa->key, &sa->context, got, want, text_bytes, iv, aad, aad_bytes, tag, 16);
        CU_ASSERT_EQUAL(memcmp(got, text, text_bytes), 0);
        CU_ASSERT_EQUAL(memcmp(tag, tag_want, 16), 0);
    }
    free_mb_mgr(mgr);
}

/* Seals, lets OpenSSL open it, checks the trailer by RFC 4303, opens it ourselves. */
static void round_trip(const struct iovec *pieces, uint32_t piece_count, uint32_t bytes)
{
    uint64_t number = hg_esp_next_number(tx), number_got = 0;
    uint32_t pad = (4 - (bytes + 2) % 4) % 4, bytes_got = 0;
    packet[32 + bytes + pad + 2] = 0xee;
    uint32_t esp_bytes = hg_esp_seal(tx, pieces, piece_count, packet, PACKET_MAX);
    CU_ASSERT_EQUAL_FATAL(esp_bytes, 32 + bytes + pad + 2);
    CU_ASSERT_EQUAL(packet[esp_bytes], 0xee);
    CU_ASSERT_FATAL(evp_open(number, packet, esp_bytes, other));
    CU_ASSERT_EQUAL_FATAL(memcmp(other, plain, bytes), 0);
    for (uint32_t i = 0; i < pad; i++)
        CU_ASSERT_EQUAL(other[bytes + i], i + 1);
    CU_ASSERT_EQUAL(other[bytes + pad], pad);
    CU_ASSERT_EQUAL(other[bytes + pad + 1], 253);

    CU_ASSERT_EQUAL(hg_esp_spi(packet, esp_bytes), SPI);
    CU_ASSERT_EQUAL_FATAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_OK);
    CU_ASSERT_EQUAL(number_got, number);
    CU_ASSERT_EQUAL_FATAL(bytes_got, bytes);
    CU_ASSERT_EQUAL_FATAL(memcmp(inner, plain, bytes), 0);
}

static void test_every_split(void)
{
    fresh();
    for (uint32_t bytes = 0; bytes <= 200; bytes++) {
        for (uint32_t cut = 0; cut <= bytes; cut++) {
            struct iovec pieces[] = {{plain, cut}, {plain + cut, bytes - cut}};
            round_trip(pieces, 2, bytes);
        }
        struct iovec whole = {plain, bytes};
        round_trip(&whole, 1, bytes);
    }
    round_trip(NULL, 0, 0);
}

static void test_random_splits(void)
{
    unsigned short state[3] = {7, 8, 9};
    fresh();
    for (int i = 0; i < 6000; i++) {
        uint32_t bytes = (uint32_t)nrand48(state) % (i % 3 == 0 ? 2200 : 9001), at = 0, count = 0;
        struct iovec pieces[16];
        while (count < 15 && at < bytes) {
            uint32_t span = nrand48(state) % 2 == 0 ? 64 : 2000;
            uint32_t n = (uint32_t)nrand48(state) % span;
            n = n < bytes - at ? n : bytes - at;
            pieces[count++] = (struct iovec){plain + at, n};
            at += n;
        }
        pieces[count++] = (struct iovec){plain + at, bytes - at};
        round_trip(pieces, count, bytes);
    }
}

/* Every size and every alignment of a long piece behind a header, around where the way of encrypting changes.
 */
static void test_scatter_edges(void)
{
    fresh();
    for (uint32_t head = 0; head <= 50; head++) {
        for (uint32_t body = 1960; body <= 2120; body += 1 + head % 3) {
            struct iovec pieces[] = {{plain, head}, {plain + head, body}, {plain + head + body, 3}};
            round_trip(pieces, 3, head + body + 3);
        }
    }
    for (uint32_t body = 500; body <= 530; body++) {
        struct iovec pieces[] = {{plain, 1900}, {plain + 1900, body}, {plain + 1900 + body, body}};
        round_trip(pieces, 3, 1900 + 2 * body);
    }
}

static void test_open_from_openssl(void)
{
    static const uint64_t numbers[] = {1,
                                       2,
                                       100,
                                       9000,
                                       UINT32_MAX - 5,
                                       UINT32_MAX,
                                       UINT64_C(1) << 32,
                                       (UINT64_C(1) << 32) + 1,
                                       (UINT64_C(3) << 31) + 9};
    fresh();
    for (size_t i = 0; i < HG_COUNT(numbers); i++) {
        uint32_t bytes = (uint32_t)i * 4 + 2;
        uint8_t text[64];
        memcpy(text, plain, bytes);
        text[bytes] = 0;
        text[bytes + 1] = 253;
        uint32_t esp_bytes = evp_seal(numbers[i], text, bytes + 2, packet), bytes_got;
        uint64_t number_got;
        CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_OK);
        CU_ASSERT_EQUAL(number_got, numbers[i]);
        CU_ASSERT_EQUAL(bytes_got, bytes);
        CU_ASSERT_EQUAL(memcmp(inner, plain, bytes), 0);
        CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_REPLAY);
    }
}

/* Authentic, but not a trailer of ours: more padding than text, another pattern, another protocol. */
static void test_trailer(void)
{
    static const struct {
        uint8_t text[8];
        enum hg_esp_reason reason;
        uint32_t bytes;
    } cases[] = {
        {{9, 9, 9, 9, 9, 9, 0, 253}, HG_ESP_OK, 6},      {{9, 9, 9, 9, 9, 1, 1, 253}, HG_ESP_OK, 5},
        {{1, 2, 3, 4, 5, 6, 6, 253}, HG_ESP_OK, 0},      {{9, 9, 9, 9, 9, 2, 1, 253}, HG_ESP_TRAILER, 0},
        {{1, 2, 3, 4, 5, 6, 7, 253}, HG_ESP_TRAILER, 0}, {{1, 2, 3, 4, 5, 6, 255, 253}, HG_ESP_TRAILER, 0},
        {{9, 9, 9, 9, 9, 9, 0, 4}, HG_ESP_TRAILER, 0},   {{9, 9, 9, 9, 9, 9, 0, 59}, HG_ESP_TRAILER, 0},
    };
    static const uint8_t zeros[8];
    fresh();
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        uint32_t esp_bytes = evp_seal(i + 1, cases[i].text, 8, packet), bytes_got = 77;
        uint64_t number_got = 77;
        memset(inner, 0x55, 8);
        enum hg_esp_reason reason = hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got);
        CU_ASSERT_EQUAL(reason, cases[i].reason);
        if (reason == HG_ESP_OK) {
            CU_ASSERT_EQUAL(bytes_got, cases[i].bytes);
        } else {
            CU_ASSERT_EQUAL(memcmp(inner, zeros, 8), 0);
            CU_ASSERT_EQUAL(bytes_got, 77);
            CU_ASSERT_EQUAL(number_got, 77);
            CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got),
                            HG_ESP_REPLAY);
        }
    }
}

static void test_flipped_bits(void)
{
    static const uint32_t sizes[] = {0, 1, 2, 13, 16, 64, 250, 1438};
    static uint8_t zeros[PACKET_MAX];
    fresh();
    for (size_t s = 0; s < HG_COUNT(sizes); s++) {
        struct iovec piece = {plain, sizes[s]};
        uint32_t esp_bytes = hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), text_bytes = esp_bytes - 32;
        uint32_t bytes_got = 99;
        uint64_t number_got = 99;
        for (uint32_t bit = 0; bit < esp_bytes * 8; bit++) {
            memset(inner, 0xa5, text_bytes);
            packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
            enum hg_esp_reason reason = hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got);
            packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (bit < 32) {
                CU_ASSERT_EQUAL_FATAL(reason, HG_ESP_SPI);
            } else if (bit < 64) {
                CU_ASSERT_FATAL(reason == HG_ESP_ICV || reason == HG_ESP_REPLAY);
            } else {
                CU_ASSERT_EQUAL_FATAL(reason, HG_ESP_ICV);
                CU_ASSERT_EQUAL_FATAL(memcmp(inner, zeros, text_bytes), 0);
            }
        }
        CU_ASSERT_EQUAL(bytes_got, 99);
        CU_ASSERT_EQUAL(number_got, 99);
        CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_OK);
        CU_ASSERT_EQUAL(bytes_got, sizes[s]);
    }
}

static void test_short(void)
{
    uint32_t bytes_got;
    uint64_t number_got;
    fresh();
    struct iovec piece = {plain, 10};
    uint32_t esp_bytes = hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX);
    for (uint32_t n = 0; n < esp_bytes; n++) {
        enum hg_esp_reason reason = hg_esp_open(rx, packet, n, inner, &bytes_got, &number_got);
        CU_ASSERT_EQUAL(reason, n < 36 || n % 4 != 0 ? HG_ESP_SHORT : HG_ESP_ICV);
        CU_ASSERT_EQUAL(hg_esp_spi(packet, n), n < 36 ? 0 : SPI);
    }
    for (int reason = 0; reason < HG_ESP_REASON_COUNT; reason++)
        CU_ASSERT(strlen(hg_esp_reason_text((enum hg_esp_reason)reason)) > 3);
}

/* Keys that follow others on a lane: numbers go on, and so does the window. */
static void test_numbers_go_on(void)
{
    static const uint64_t starts[] = {
        1, 8192, 8193, UINT32_MAX - 10ull, UINT32_MAX, UINT64_C(1) << 32, 77777777777ull};
    struct iovec piece = {plain, 40};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        static uint8_t packets[32][256];
        uint32_t sizes[32], bytes_got;
        uint64_t number_got;
        fresh();
        hg_esp_number_received_set(rx, starts[i]); /* the last under the keys before */
        hg_esp_next_number_set(tx, starts[i] > 8 ? starts[i] - 8 : 1);
        for (uint32_t j = 0; j < 32; j++)
            sizes[j] = hg_esp_seal(tx, &piece, 1, packets[j], sizeof(packets[j]));
        for (uint32_t j = 32; j-- > 0;) /* the last first: the others come late */
            CU_ASSERT_EQUAL(hg_esp_open(rx, packets[j], sizes[j], inner, &bytes_got, &number_got), HG_ESP_OK);
        for (uint32_t j = 0; j < 32; j++)
            CU_ASSERT_EQUAL(hg_esp_open(rx, packets[j], sizes[j], inner, &bytes_got, &number_got),
                            HG_ESP_REPLAY);
        hg_esp_next_number_set(tx, starts[i] + 9000); /* as much was sent and lost under the former ones */
        sizes[0] = hg_esp_seal(tx, &piece, 1, packets[0], sizeof(packets[0]));
        CU_ASSERT_EQUAL(hg_esp_open(rx, packets[0], sizes[0], inner, &bytes_got, &number_got), HG_ESP_OK);
        CU_ASSERT_EQUAL(number_got, starts[i] + 9000);
    }
}

static int number_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_numbers_unique(void)
{
    enum { COUNT = 100000 };
    static uint64_t numbers[COUNT];
    fresh();
    struct iovec piece = {plain, 40};
    for (int i = 0; i < COUNT; i++) {
        /* A seal that fails uses up its number too. */
        uint32_t esp_bytes = hg_esp_seal(tx, &piece, 1, packet, i % 1000 == 999 ? 75 : PACKET_MAX);
        CU_ASSERT_EQUAL_FATAL(esp_bytes == 0, i % 1000 == 999);
        numbers[i] = (uint64_t)i + 1;
        if (esp_bytes != 0) {
            memcpy(&numbers[i], packet + 8, 8);
            numbers[i] = __builtin_bswap64(numbers[i]);
        }
    }
    qsort(numbers, COUNT, sizeof(numbers[0]), number_order);
    for (int i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL_FATAL(numbers[i], (uint64_t)i + 1);
    CU_ASSERT_EQUAL(hg_esp_next_number(tx), COUNT + 1);
}

static void test_exhausted(void)
{
    struct iovec piece = {plain, 98}; /* 100 with the trailer */
    fresh();
    hg_esp_next_number_set(tx, UINT64_C(1) << 40); /* numbers say nothing of what a key was used for */
    CU_ASSERT_NOT_EQUAL(hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), 0);
    CU_ASSERT_EQUAL(hg_esp_packets(tx), 1);
    CU_ASSERT_EQUAL(hg_esp_sealed_bytes(tx), 100);
    tx->packets = HG_KEY_PACKETS_HARD_MAX - 1;
    CU_ASSERT(hg_esp_may_seal(tx));
    CU_ASSERT_NOT_EQUAL(hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), 0);
    CU_ASSERT_FALSE(hg_esp_may_seal(tx));
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), 0);

    fresh();
    tx->bytes = HG_KEY_BYTES_HARD_MAX - 199;
    CU_ASSERT_FALSE(hg_esp_may_seal(tx)); /* the largest packet has no room */
    CU_ASSERT_NOT_EQUAL(hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), 0);
    CU_ASSERT_EQUAL(hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), 0);
    tx->bytes = HG_KEY_BYTES_HARD_MAX - (1u << 16) - 100;
    CU_ASSERT(hg_esp_may_seal(tx));

    fresh();
    uint32_t esp_bytes = hg_esp_seal(tx, &piece, 1, packet, PACKET_MAX), bytes_got;
    uint64_t number_got;
    rx->failures = HG_KEY_FAILURES_HARD_MAX - 1;
    packet[20] ^= 1;
    CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_ICV);
    packet[20] ^= 1;
    CU_ASSERT_EQUAL(hg_esp_open(rx, packet, esp_bytes, inner, &bytes_got, &number_got), HG_ESP_EXHAUSTED);
    CU_ASSERT_EQUAL(hg_esp_failures(rx), HG_KEY_FAILURES_HARD_MAX);

    static const uint8_t zeros[sizeof(sa_tx)];
    hg_esp_sa_wipe(rx);
    CU_ASSERT_EQUAL(memcmp(&sa_rx, zeros, sizeof(sa_rx)), 0);
}

int main(void)
{
    unsigned short state[3] = {4, 5, 6};
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)nrand48(state);
    evp = EVP_CIPHER_CTX_new();
    if (evp == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("esp", NULL, NULL);
    CU_ADD_TEST(suite, test_known_answers);
    CU_ADD_TEST(suite, test_every_split);
    CU_ADD_TEST(suite, test_random_splits);
    CU_ADD_TEST(suite, test_scatter_edges);
    CU_ADD_TEST(suite, test_open_from_openssl);
    CU_ADD_TEST(suite, test_trailer);
    CU_ADD_TEST(suite, test_flipped_bits);
    CU_ADD_TEST(suite, test_short);
    CU_ADD_TEST(suite, test_numbers_unique);
    CU_ADD_TEST(suite, test_exhausted);
    CU_ADD_TEST(suite, test_numbers_go_on);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    EVP_CIPHER_CTX_free(evp);
    return failures != 0;
}
