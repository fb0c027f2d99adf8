/* SPDX-License-Identifier: Apache-2.0
 *
 * ESP in UDP: RFC 4303 with extended sequence numbers, AES-256-GCM as RFC 4106 (16 octet ICV, 8 octet
 * explicit IV = the 64-bit sequence number, AAD = SPI || ESN). Out of place: the cipher's pass is the copy
 * into the packet. An SA is one direction, owned by one worker.
 */
#ifndef HG_SECURITY_ESP_H
#define HG_SECURITY_ESP_H

#include "drivers/platform/platform.h"
#include <sys/uio.h>

#define HG_ESP_KEY_BYTES      32
#define HG_ESP_SALT_BYTES     4
#define HG_ESP_HEADER_BYTES   16 /* SPI, low sequence number, IV */
#define HG_ESP_ICV_BYTES      16
#define HG_ESP_OVERHEAD_BYTES (HG_ESP_HEADER_BYTES + 3 + 2 + HG_ESP_ICV_BYTES) /* at most: padding 0..3 */
#define HG_ESP_REPLAY_PACKETS 8192

#define HG_ESP_REASONS(X)                                                                                    \
    X(OK, "fine")                                                                                            \
    X(SHORT, "shorter than an ESP packet or not of whole 4-byte words")                                      \
    X(SPI, "of an unknown SPI")                                                                              \
    X(REPLAY, "seen before or older than the replay window")                                                 \
    X(ICV, "that fail authentication")                                                                       \
    X(TRAILER, "whose padding or next header is wrong")                                                      \
    X(EXHAUSTED, "refused because the key is used up")
enum hg_esp_reason {
#define HG_X(name, text) HG_ESP_##name,
    HG_ESP_REASONS(HG_X)
#undef HG_X
        HG_ESP_REASON_COUNT
};
const char *hg_esp_reason_text(enum hg_esp_reason reason);

/* Starts the process-wide cipher; any thread, any number of times, after the first it only reads. Call it
 * before the first hg_esp_sa_init, which asserts that it worked. -ENOTSUP with a text for people in `error`.
 */
int hg_esp_start(char *error, size_t error_bytes);

struct hg_esp_sa;
uint64_t hg_esp_sa_bytes(void); /* 64-byte aligned memory for one SA */
/* The same for either direction; key and salt are copied, the caller wipes its own. spi > 255 (RFC 4303). */
struct hg_esp_sa *hg_esp_sa_init(void *memory, uint32_t spi, const uint8_t key[HG_ESP_KEY_BYTES],
                                 const uint8_t salt[HG_ESP_SALT_BYTES]);
void hg_esp_sa_wipe(struct hg_esp_sa *sa);
uint32_t hg_esp_sa_spi(const struct hg_esp_sa *sa);

/* Sending: the packet number (= ESN) that the next seal will use, from 1. It may be raised, never lowered:
 * keys that follow each other on one lane go on with its numbers. */
uint64_t hg_esp_next_number(const struct hg_esp_sa *sa);
void hg_esp_next_number_set(struct hg_esp_sa *sa, uint64_t number);
/* Encrypts the pieces, in order, into `esp` (at the SPI) and uses up one number, whatever comes of it.
 * Returns the ESP bytes written, or 0 when the key is used up or esp_bytes_max is too small. */
uint32_t hg_esp_seal(struct hg_esp_sa *sa, const struct iovec *pieces, uint32_t piece_count, uint8_t *esp,
                     uint32_t esp_bytes_max);
/* What the key was used for, as dataplane/security/limits.h counts it. */
uint64_t hg_esp_packets(const struct hg_esp_sa *sa); /* sealed, or tried to */
uint64_t hg_esp_sealed_bytes(const struct hg_esp_sa *sa);
uint64_t hg_esp_failures(const struct hg_esp_sa *sa); /* opens that failed authentication */
/* False: any seal would be refused for a hard limit. */
bool hg_esp_may_seal(const struct hg_esp_sa *sa);

/* Receiving: the largest number that came under the keys before this one. The window begins there: what is
 * within it or above can come, what is older is a replay. Before the first open. */
void hg_esp_number_received_set(struct hg_esp_sa *sa, uint64_t number);
/* Receiving: checks replay, authenticates in constant time, decrypts into `inner` (esp_bytes long at least),
 * strips the trailer, marks the number as seen. *inner_bytes and *packet_number are set on HG_ESP_OK only; on
 * failure `inner` holds nothing of the plaintext. */
enum hg_esp_reason hg_esp_open(struct hg_esp_sa *sa, const uint8_t *esp, uint32_t esp_bytes, uint8_t *inner,
                               uint32_t *inner_bytes, uint64_t *packet_number);

/* SPI of an ESP packet, host order; 0 when too short. */
uint32_t hg_esp_spi(const uint8_t *esp, uint32_t esp_bytes);

#endif
