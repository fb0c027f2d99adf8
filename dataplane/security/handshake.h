/* SPDX-License-Identifier: Apache-2.0
 *
 * The three-message pre-shared-key exchange of one peer (architecture 8): HELLO, REPLY, CONFIRM over a clear
 * UDP channel; every message carries HMAC-SHA256 over the transcript so far. Keys and salts are
 * HKDF-SHA256(pre-shared key, both nonces, both boot ids, direction, lane), so no key is ever used by two
 * boots. The receiver of a lane allocates its SPI. Pure state machine; runs on the housekeeping thread (in
 * the simulator, on the node).
 */
#ifndef HG_SECURITY_HANDSHAKE_H
#define HG_SECURITY_HANDSHAKE_H

#include "dataplane/security/esp.h"

#define HG_HANDSHAKE_BYTES_MAX    256
#define HG_HANDSHAKE_PSK_BYTES    32
#define HG_HANDSHAKE_RETRY_NS     (250 * HG_NS_PER_MS) /* doubling to */
#define HG_HANDSHAKE_RETRY_NS_MAX (2 * HG_NS_PER_S)
#define HG_HANDSHAKE_HELLO_GAP_NS (100 * HG_NS_PER_MS) /* at most one HELLO prompted by an unknown SPI */

#define HG_HANDSHAKE_COUNTERS(X)                                                                             \
    X(hellos_sent, "handshakes begun")                                                                       \
    X(established, "handshakes completed")                                                                   \
    X(drop_malformed, "handshake messages that do not parse")                                                \
    X(drop_cluster, "handshake messages of another cluster")                                                 \
    X(drop_node, "handshake messages of another node than this address should be")                           \
    X(drop_mac,                                                                                              \
      "handshake messages whose MAC does not match: is the pre-shared key the same on both sides?")          \
    X(drop_stale, "handshake messages of an exchange that is over")                                          \
    X(drop_rate, "handshake messages beyond the rate limit")
struct hg_handshake_counters {
#define HG_X(name, text) uint64_t name;
    HG_HANDSHAKE_COUNTERS(HG_X)
#undef HG_X
};

struct hg_handshake_config {
    uint64_t cluster;
    uint64_t node_local; /* ids from the command file; unequal */
    uint64_t node_remote;
    uint64_t boot_local; /* random, new at every start of the process */
    uint8_t workers_local;
    uint8_t psk[HG_HANDSHAKE_PSK_BYTES];
};

/* What an exchange yields: one SA pair (lane 0,0; further lanes derive from the same master). */
struct hg_handshake_keys {
    uint64_t boot_remote;
    uint32_t generation; /* of the SA pair: the same on both sides */
    uint8_t workers_remote;
    uint32_t spi_tx; /* chosen by the remote side */
    uint32_t spi_rx; /* chosen by us */
    uint8_t key_tx[HG_ESP_KEY_BYTES];
    uint8_t key_rx[HG_ESP_KEY_BYTES];
    uint8_t salt_tx[HG_ESP_SALT_BYTES];
    uint8_t salt_rx[HG_ESP_SALT_BYTES];
};

struct hg_handshake {
    struct hg_handshake_config config;
    struct hg_handshake_counters counters;
    uint32_t state; /* enum in handshake.c */
    uint32_t spi_rx_next;
    uint64_t deadline_ns;
    uint64_t retry_ns;
    uint64_t hello_last_ns;
    uint64_t boot_remote;
    uint64_t node_remote;
    uint32_t spi_local;
    uint32_t spi_remote;
    uint32_t generation;
    uint8_t workers_remote;
    uint8_t nonce_local[32];
    uint8_t nonce_remote[32];
    uint8_t transcript[2 * HG_HANDSHAKE_BYTES_MAX];
    uint32_t transcript_bytes;
    uint8_t message[HG_HANDSHAKE_BYTES_MAX]; /* the last one sent, for retries */
    uint32_t message_bytes;
};

/* `random64` gives unpredictable bits (struct hg_clock's); called at start and per exchange only. */
typedef uint64_t (*hg_handshake_random)(void *ctx);

void hg_handshake_init(struct hg_handshake *hs, const struct hg_handshake_config *config, uint64_t now_ns);
void hg_handshake_wipe(struct hg_handshake *hs);

enum hg_handshake_event {
    HG_HANDSHAKE_NOTHING,
    HG_HANDSHAKE_SEND = 1, /* bit: out/out_bytes hold a message to send */
    HG_HANDSHAKE_ESTABLISHED =
        2, /* bit: keys are set; the old SA pair stays until a packet opens under the new */
};

/* Each returns a set of hg_handshake_event bits. `out` has HG_HANDSHAKE_BYTES_MAX bytes. */
int hg_handshake_receive(struct hg_handshake *hs, const uint8_t *message, uint32_t bytes, uint64_t now_ns,
                         hg_handshake_random random64, void *random_ctx, uint8_t *out, uint32_t *out_bytes,
                         struct hg_handshake_keys *keys);
/* Timers: begins, retries. */
int hg_handshake_tick(struct hg_handshake *hs, uint64_t now_ns, hg_handshake_random random64,
                      void *random_ctx, uint8_t *out, uint32_t *out_bytes);
/* A packet of an unknown SPI came from this peer, or the key is nearly used up: begin anew, rate limited. */
void hg_handshake_restart(struct hg_handshake *hs, uint64_t now_ns);
uint64_t hg_handshake_deadline_ns(const struct hg_handshake *hs);

#endif
