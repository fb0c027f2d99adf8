/* SPDX-License-Identifier: Apache-2.0
 *
 * ESP both ways. First byte even: the rest is a packet from the network, and cannot open, as nobody sealed
 * it. Odd: the rest is text, cut into pieces by its own bytes; what was sealed opens to the same bytes once,
 * and never when changed.
 */
#include "dataplane/security/esp.h"
#include <stdlib.h>

#define INNER_MAX  16384u
#define PIECES_MAX 8u

static const uint8_t key[HG_ESP_KEY_BYTES] = {1, 2, 3};
static const uint8_t salt[HG_ESP_SALT_BYTES] = {4, 5, 6};
static uint8_t memory[2][8192] HG_CACHE_ALIGNED;
static uint8_t packet[INNER_MAX + HG_ESP_OVERHEAD_BYTES], inner[INNER_MAX + HG_ESP_OVERHEAD_BYTES];

static void foreign(struct hg_esp_sa *rx, const uint8_t *data, uint32_t bytes)
{
    uint32_t inner_bytes;
    uint64_t number;
    hg_assert(hg_esp_open(rx, data, bytes, inner, &inner_bytes, &number) != HG_ESP_OK);
    /* Again with the right SPI, to get as far as the cipher. */
    memcpy(packet, data, bytes);
    if (bytes >= 4)
        memcpy(packet, (const uint8_t[]){0, 0, 4, 0}, 4);
    enum hg_esp_reason reason = hg_esp_open(rx, packet, bytes, inner, &inner_bytes, &number);
    hg_assert(reason == HG_ESP_SHORT || reason == HG_ESP_REPLAY || reason == HG_ESP_ICV);
}

static void sealed(struct hg_esp_sa *tx, struct hg_esp_sa *rx, const uint8_t *text, uint32_t bytes)
{
    struct iovec pieces[PIECES_MAX];
    uint32_t count = 0, at = 0, inner_bytes;
    uint64_t number;
    while (count + 1 < PIECES_MAX && at < bytes) {
        uint32_t n = (uint32_t)text[at] * (text[at] % 3 == 0 ? 16 : 1);
        n = n < bytes - at ? n : bytes - at;
        pieces[count++] = (struct iovec){(void *)(uintptr_t)(text + at), n};
        at += n;
    }
    pieces[count++] = (struct iovec){(void *)(uintptr_t)(text + at), bytes - at};
    uint32_t esp_bytes = hg_esp_seal(tx, pieces, count, packet, sizeof(packet));
    hg_assert(esp_bytes >= bytes + 34 && esp_bytes <= bytes + HG_ESP_OVERHEAD_BYTES && esp_bytes % 4 == 0);

    uint32_t flip = bytes == 0 ? 0 : text[bytes - 1] * 37u % (esp_bytes * 8);
    packet[flip / 8] ^= (uint8_t)(1 << flip % 8);
    hg_assert(hg_esp_open(rx, packet, esp_bytes, inner, &inner_bytes, &number) != HG_ESP_OK);
    packet[flip / 8] ^= (uint8_t)(1 << flip % 8);
    hg_assert(hg_esp_open(rx, packet, esp_bytes, inner, &inner_bytes, &number) == HG_ESP_OK);
    hg_assert(inner_bytes == bytes && memcmp(inner, text, bytes) == 0);
    hg_assert(hg_esp_open(rx, packet, esp_bytes, inner, &inner_bytes, &number) == HG_ESP_REPLAY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    hg_assert(hg_esp_sa_bytes() <= sizeof(memory[0]));
    if (bytes == 0 || bytes > INNER_MAX)
        return 0;
    struct hg_esp_sa *tx = hg_esp_sa_init(memory[0], 1024, key, salt);
    struct hg_esp_sa *rx = hg_esp_sa_init(memory[1], 1024, key, salt);
    if (data[0] % 2 == 0)
        foreign(rx, data + 1, (uint32_t)bytes - 1);
    else
        sealed(tx, rx, data + 1, (uint32_t)bytes - 1);
    return 0;
}
