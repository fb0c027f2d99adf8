/* SPDX-License-Identifier: Apache-2.0
 *
 * Hostile bytes at the handshake. The input is a list of {kind, length, bytes}: raw bytes; or edits (offset,
 * value) to the last true message of one of two real sides, with the MAC made good again or not; or time
 * passing. Neither side may break, answer with more than it got, or finish an exchange in which the MAC was
 * not good.
 */
#include "dataplane/security/handshake.h"

static uint64_t counter;

static uint64_t random_counter(void *ctx)
{
    return ++*(uint64_t *)ctx * UINT64_C(0x9e3779b97f4a7c15);
}

static struct hg_handshake sides[2];
static uint8_t last[2][HG_HANDSHAKE_BYTES_MAX]; /* the last message sent to each side */
static uint32_t last_bytes[2];
static uint64_t now_ns;

static void sides_init(void)
{
    counter = 0;
    now_ns = HG_NS_PER_S;
    memset(last, 0, sizeof(last));
    memset(last_bytes, 0, sizeof(last_bytes));
    for (uint32_t i = 0; i < 2; i++) {
        struct hg_handshake_config config = {.cluster = 1,
                                             .node_local = 1 + i,
                                             .node_remote = 2 - i,
                                             .boot_local = 100 + i,
                                             .workers_local = 1};
        hg_handshake_init(&sides[i], &config, now_ns);
    }
}

static void receive(uint32_t to, const uint8_t *message, uint32_t bytes)
{
    uint8_t out[HG_HANDSHAKE_BYTES_MAX];
    uint32_t out_bytes;
    struct hg_handshake_keys keys;
    int events = hg_handshake_receive(&sides[to], message, bytes, now_ns, random_counter, &counter, out,
                                      &out_bytes, &keys);
    if (events & HG_HANDSHAKE_ESTABLISHED)
        hg_assert(keys.generation > 0 && keys.spi_rx > 255 && keys.spi_tx > 255 && keys.workers_remote >= 1);
    if (events & HG_HANDSHAKE_SEND) {
        hg_assert(out_bytes <= bytes);
        memcpy(last[1 - to], out, out_bytes);
        last_bytes[1 - to] = out_bytes;
    }
}

static void pass(uint64_t span_ns)
{
    now_ns += span_ns;
    for (uint32_t i = 0; i < 2; i++) {
        while (hg_handshake_deadline_ns(&sides[i]) <= now_ns) {
            int events = hg_handshake_tick(&sides[i], now_ns, random_counter, &counter, last[1 - i],
                                           &last_bytes[1 - i]);
            hg_assert((events & ~HG_HANDSHAKE_SEND) == 0);
        }
    }
}

/* A peer with the key that does not keep to the rules can make any HELLO. */
static void mac_mend(const struct hg_handshake *hs, uint8_t *message)
{
    uint8_t mac[HG_MAC_BYTES];
    size_t maced_bytes = offsetof(struct hg_handshake_message, mac);
    if (hg_hmac_sha256(hs->mac_key, sizeof(hs->mac_key), message, maced_bytes, mac))
        memcpy(message + maced_bytes, mac, sizeof(mac));
}

static void edited(uint32_t to, const uint8_t *edits, uint32_t bytes, bool mend)
{
    uint8_t message[HG_HANDSHAKE_BYTES_MAX];
    memcpy(message, last[to], sizeof(message));
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        message[edits[i]] = edits[i + 1];
    if (mend)
        mac_mend(&sides[to], message);
    receive(to, message, last_bytes[to]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    sides_init();
    pass(0);
    for (size_t at = 0; at + 2 <= bytes;) {
        uint8_t kind = data[at], want = data[at + 1];
        at += 2;
        uint32_t to = kind >> 7;
        uint32_t take = (uint32_t)(want < bytes - at ? want : bytes - at);
        switch (kind % 5) {
        case 0:
            receive(to, data + at, take);
            at += take;
            break;
        case 1:
        case 2:
            edited(to, data + at, take, kind % 5 == 2);
            at += take;
            break;
        case 3:
            pass(want * 20 * HG_NS_PER_MS);
            break;
        default:
            hg_handshake_spi_unknown(&sides[to], now_ns);
            break;
        }
    }
    return 0;
}
