/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/esp.h"
#include "dataplane/security/esp_sa.h"
#include "dataplane/security/limits.h"
#include "dataplane/transport/wire.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

#define IV_BYTES          8u
#define NONCE_BYTES       12u
#define AAD_BYTES         12u
#define TRAILER_BYTES_MAX 5u
#define PACKET_BYTES_MIN  (HG_ESP_HEADER_BYTES + 4u + HG_ESP_ICV_BYTES)
#define INNER_BYTES_MAX   65535u
/* Up to here copying the pieces together and one call beats a call a piece (18 ns against 66 ns at 1438
 * bytes); above, only the ragged edges are copied. */
#define GATHER_BYTES_MAX   2048u
#define GATHER_PIECE_BYTES 512u

static_assert(HG_ESP_HEADER_BYTES == 4 + 4 + IV_BYTES, "SPI, low sequence number, IV");
static_assert(HG_ESP_OVERHEAD_BYTES == HG_ESP_HEADER_BYTES + TRAILER_BYTES_MAX + HG_ESP_ICV_BYTES,
              "overhead");
static_assert(offsetof(struct hg_esp_sa, key) == 0, "IPsec-MB wants its key aligned");

/* Made once and never freed; only its function pointers are used, so threads share it. */
static IMB_MGR *cipher;

/* A manager that passed its own tests, or NULL and why in *reason. */
static IMB_MGR *cipher_make(int *reason)
{
    IMB_MGR *mgr = alloc_mb_mgr(0);
    if (mgr == NULL) {
        *reason = imb_get_errno(NULL);
        return NULL;
    }
    init_mb_mgr_auto(mgr, NULL);
    *reason = imb_get_errno(mgr);
    bool tested = (mgr->features & IMB_FEATURE_SELF_TEST) != 0;
    if (*reason == 0 && tested && (mgr->features & IMB_FEATURE_SELF_TEST_PASS) == 0)
        *reason = IMB_ERR_SELFTEST;
    if (*reason == 0)
        return mgr;
    free_mb_mgr(mgr);
    return NULL;
}

int hg_esp_start(char *error, size_t error_bytes)
{
    if (__atomic_load_n(&cipher, __ATOMIC_ACQUIRE) != NULL)
        return 0;
    int reason = 0;
    IMB_MGR *made = cipher_make(&reason), *none = NULL;
    if (made == NULL) {
        snprintf(error, error_bytes,
                 "IPsec-MB, which does the link's AES-GCM, cannot start: %s; check the libipsec-mb1 package "
                 "and that "
                 "this CPU has AES-NI and PCLMULQDQ",
                 imb_get_strerror(reason));
        return -ENOTSUP;
    }
    if (!__atomic_compare_exchange_n(&cipher, &none, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        free_mb_mgr(made); /* another thread was first */
    return 0;
}

const char *hg_esp_reason_text(enum hg_esp_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_ESP_REASONS(HG_X)
#undef HG_X
    };
    hg_assert((unsigned)reason < HG_COUNT(texts));
    return texts[reason];
}

static void store_be32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof(value));
}

static void store_be64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t load_be32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return __builtin_bswap32(value);
}

static void aad_make(uint8_t aad[AAD_BYTES], uint32_t spi, uint64_t number)
{
    store_be32(aad, spi);
    store_be64(aad + 4, number);
}

static bool tag_equal(const uint8_t *a, const uint8_t *b)
{
    uint64_t x[2], y[2];
    static_assert(sizeof(x) == HG_ESP_ICV_BYTES, "ICV");
    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

uint64_t hg_esp_sa_bytes(void)
{
    return hg_align_up(sizeof(struct hg_esp_sa), HG_CACHE_LINE_BYTES);
}

struct hg_esp_sa *hg_esp_sa_init(void *memory, uint32_t spi, const uint8_t key[HG_ESP_KEY_BYTES],
                                 const uint8_t salt[HG_ESP_SALT_BYTES])
{
    char error[256];
    hg_assert(memory != NULL && (uintptr_t)memory % HG_CACHE_LINE_BYTES == 0);
    hg_assert(spi > 255); /* 0..255 are reserved by RFC 4303 */
    int rc = hg_esp_start(error, sizeof(error));
    hg_assert(rc == 0);

    struct hg_esp_sa *sa = memory;
    memset(sa, 0, sizeof(*sa));
    IMB_AES256_GCM_PRE(cipher, key, &sa->key);
    memcpy(sa->salt, salt, sizeof(sa->salt));
    sa->spi = spi;
    sa->number_next = 1;
    hg_replay_init(&sa->replay);
    return sa;
}

void hg_esp_sa_wipe(struct hg_esp_sa *sa)
{
    OPENSSL_cleanse(sa, sizeof(*sa));
}

uint32_t hg_esp_sa_spi(const struct hg_esp_sa *sa)
{
    return sa->spi;
}

uint64_t hg_esp_next_number(const struct hg_esp_sa *sa)
{
    return sa->number_next;
}

void hg_esp_next_number_set(struct hg_esp_sa *sa, uint64_t number)
{
    hg_assert(number >= sa->number_next);
    sa->number_next = number;
}

uint64_t hg_esp_packets(const struct hg_esp_sa *sa)
{
    return sa->packets;
}

uint64_t hg_esp_sealed_bytes(const struct hg_esp_sa *sa)
{
    return sa->bytes;
}

uint64_t hg_esp_failures(const struct hg_esp_sa *sa)
{
    return sa->failures;
}

bool hg_esp_may_seal(const struct hg_esp_sa *sa)
{
    return sa->packets < HG_KEY_PACKETS_HARD_MAX &&
           sa->bytes <= HG_KEY_BYTES_HARD_MAX - INNER_BYTES_MAX - TRAILER_BYTES_MAX;
}

void hg_esp_number_received_set(struct hg_esp_sa *sa, uint64_t number)
{
    hg_assert(sa->replay.top == 0);
    sa->replay.top = number;
}

uint32_t hg_esp_spi(const uint8_t *esp, uint32_t esp_bytes)
{
    return esp_bytes < PACKET_BYTES_MIN ? 0 : load_be32(esp);
}

/* Padding 1, 2, 3, its length, the next header: RFC 4303 2.4. Returns its bytes. */
static uint32_t trailer_make(uint8_t trailer[TRAILER_BYTES_MAX], uint64_t inner_bytes)
{
    uint32_t pad_bytes = (uint32_t)(-(inner_bytes + 2) & 3);
    for (uint32_t i = 0; i < pad_bytes; i++)
        trailer[i] = (uint8_t)(i + 1);
    trailer[pad_bytes] = (uint8_t)pad_bytes;
    trailer[pad_bytes + 1] = HG_WIRE_ESP_NEXT_HEADER;
    return pad_bytes + 2;
}

static void seal_gathered(struct hg_esp_sa *sa, const struct iovec *pieces, uint32_t piece_count,
                          uint8_t *text, const uint8_t *trailer, uint32_t trailer_bytes, const uint8_t *nonce,
                          const uint8_t *aad)
{
    uint32_t put = 0;
    for (uint32_t i = 0; i < piece_count; i++) {
        if (pieces[i].iov_len != 0)
            memcpy(text + put, pieces[i].iov_base, pieces[i].iov_len);
        put += (uint32_t)pieces[i].iov_len;
    }
    memcpy(text + put, trailer, trailer_bytes);
    put += trailer_bytes;
    IMB_AES256_GCM_ENC(cipher, &sa->key, &sa->context, text, text, put, nonce, aad, AAD_BYTES, text + put,
                       HG_ESP_ICV_BYTES);
}

/* Long pieces are encrypted on their way into the packet; what is short or does not fill a cipher block is
 * copied first, so that every update but the last is whole blocks. */
static void seal_scattered(struct hg_esp_sa *sa, const struct iovec *pieces, uint32_t piece_count,
                           uint8_t *text, const uint8_t *trailer, uint32_t trailer_bytes,
                           const uint8_t *nonce, const uint8_t *aad)
{
    uint32_t put = 0, done = 0;
    IMB_AES256_GCM_INIT(cipher, &sa->key, &sa->context, nonce, aad, AAD_BYTES);
    for (uint32_t i = 0; i < piece_count; i++) {
        const uint8_t *from = pieces[i].iov_base;
        uint32_t left = (uint32_t)pieces[i].iov_len;
        if (left >= GATHER_PIECE_BYTES) {
            uint32_t head = -put & 15;
            memcpy(text + put, from, head);
            put += head;
            if (put > done)
                IMB_AES256_GCM_ENC_UPDATE(cipher, &sa->key, &sa->context, text + done, text + done,
                                          put - done);
            uint32_t blocks_bytes = (left - head) & ~15u;
            IMB_AES256_GCM_ENC_UPDATE(cipher, &sa->key, &sa->context, text + put, from + head, blocks_bytes);
            put += blocks_bytes;
            done = put;
            from += head + blocks_bytes;
            left -= head + blocks_bytes;
        }
        if (left != 0)
            memcpy(text + put, from, left);
        put += left;
    }
    memcpy(text + put, trailer, trailer_bytes);
    put += trailer_bytes;
    hg_assert(done % 16 == 0 && put > done);
    IMB_AES256_GCM_ENC_UPDATE(cipher, &sa->key, &sa->context, text + done, text + done, put - done);
    IMB_AES256_GCM_ENC_FINALIZE(cipher, &sa->key, &sa->context, text + put, HG_ESP_ICV_BYTES);
}

uint32_t hg_esp_seal(struct hg_esp_sa *sa, const struct iovec *pieces, uint32_t piece_count, uint8_t *esp,
                     uint32_t esp_bytes_max)
{
    uint64_t inner_bytes = 0;
    for (uint32_t i = 0; i < piece_count; i++) {
        hg_assert(pieces[i].iov_len <= INNER_BYTES_MAX);
        inner_bytes += pieces[i].iov_len;
    }
    if (sa->packets >= HG_KEY_PACKETS_HARD_MAX)
        return 0;
    sa->packets++;
    uint64_t number = sa->number_next++;
#ifdef HG_SEEDED_BUG_REUSE_PACKET_NUMBER
    if (number % 64 == 0)
        number--;
#endif
    uint8_t trailer[TRAILER_BYTES_MAX];
    uint32_t trailer_bytes = trailer_make(trailer, inner_bytes);
    uint64_t text_bytes = inner_bytes + trailer_bytes;
    uint64_t total_bytes = HG_ESP_HEADER_BYTES + text_bytes + HG_ESP_ICV_BYTES;
    if (inner_bytes > INNER_BYTES_MAX || total_bytes > esp_bytes_max)
        return 0;
    if (text_bytes > HG_KEY_BYTES_HARD_MAX - sa->bytes)
        return 0;
    sa->bytes += text_bytes;

    uint8_t nonce[NONCE_BYTES], aad[AAD_BYTES];
    memcpy(nonce, sa->salt, HG_ESP_SALT_BYTES);
    store_be64(nonce + HG_ESP_SALT_BYTES, number);
    aad_make(aad, sa->spi, number);
    store_be32(esp, sa->spi);
    store_be32(esp + 4, (uint32_t)number);
    store_be64(esp + 8, number);

    uint8_t *text = esp + HG_ESP_HEADER_BYTES;
    if (text_bytes <= GATHER_BYTES_MAX)
        seal_gathered(sa, pieces, piece_count, text, trailer, trailer_bytes, nonce, aad);
    else
        seal_scattered(sa, pieces, piece_count, text, trailer, trailer_bytes, nonce, aad);
    return (uint32_t)total_bytes;
}

/* Inner bytes of an authentic plaintext, or -1 when its trailer is not one that we would write. */
static int64_t trailer_strip(const uint8_t *text, uint32_t text_bytes)
{
    uint32_t pad_bytes = text[text_bytes - 2];
    if (text[text_bytes - 1] != HG_WIRE_ESP_NEXT_HEADER || pad_bytes > text_bytes - 2)
        return -1;
    uint32_t inner_bytes = text_bytes - 2 - pad_bytes;
    for (uint32_t i = 0; i < pad_bytes; i++) {
        if (text[inner_bytes + i] != (uint8_t)(i + 1))
            return -1;
    }
    return inner_bytes;
}

enum hg_esp_reason hg_esp_open(struct hg_esp_sa *sa, const uint8_t *esp, uint32_t esp_bytes, uint8_t *inner,
                               uint32_t *inner_bytes, uint64_t *packet_number)
{
    if (esp_bytes < PACKET_BYTES_MIN || esp_bytes % 4 != 0)
        return HG_ESP_SHORT;
    if (load_be32(esp) != sa->spi)
        return HG_ESP_SPI;
    uint64_t number = hg_replay_extend(&sa->replay, load_be32(esp + 4));
    if (!hg_replay_fresh(&sa->replay, number))
        return HG_ESP_REPLAY;
    if (sa->failures >= HG_KEY_FAILURES_HARD_MAX)
        return HG_ESP_EXHAUSTED;

    uint8_t nonce[NONCE_BYTES], aad[AAD_BYTES], tag[HG_ESP_ICV_BYTES];
    memcpy(nonce, sa->salt, HG_ESP_SALT_BYTES);
    memcpy(nonce + HG_ESP_SALT_BYTES, esp + 8, IV_BYTES); /* RFC 4106: the IV is the sender's to choose */
    aad_make(aad, sa->spi, number);
    uint32_t text_bytes = esp_bytes - HG_ESP_HEADER_BYTES - HG_ESP_ICV_BYTES;
    IMB_AES256_GCM_DEC(cipher, &sa->key, &sa->context, inner, esp + HG_ESP_HEADER_BYTES, text_bytes, nonce,
                       aad, AAD_BYTES, tag, HG_ESP_ICV_BYTES);
    if (!tag_equal(tag, esp + esp_bytes - HG_ESP_ICV_BYTES)) {
        OPENSSL_cleanse(inner, text_bytes);
        OPENSSL_cleanse(tag, sizeof(tag)); /* of a forged packet it is the tag that would have passed */
        sa->failures++;
        return HG_ESP_ICV;
    }
    hg_replay_mark(&sa->replay, number);
    int64_t stripped = trailer_strip(inner, text_bytes);
    if (stripped < 0) {
        OPENSSL_cleanse(inner, text_bytes);
        return HG_ESP_TRAILER;
    }
    *inner_bytes = (uint32_t)stripped;
    *packet_number = number;
    return HG_ESP_OK;
}
