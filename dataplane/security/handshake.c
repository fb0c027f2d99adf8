/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/handshake.h"
#include "dataplane/transport/wire.h"
#include <openssl/crypto.h>

#define MESSAGE_BYTES ((uint32_t)sizeof(struct hg_handshake_message))
#define MACED_BYTES   offsetof(struct hg_handshake_message, mac)
#define KEYED_BYTES   (HG_ESP_KEY_BYTES + HG_ESP_SALT_BYTES)
#define SPI_RESERVED  255u /* RFC 4303 */

static_assert(sizeof(struct hg_handshake_message) <= HG_HANDSHAKE_BYTES_MAX, "out buffer");

enum direction {
    INITIATOR_TO_RESPONDER,
    RESPONDER_TO_INITIATOR,
};

/* ---- keys and MACs ---- */

static bool equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    return CRYPTO_memcmp(a, b, bytes) == 0;
}

static bool local_is_lower(const struct hg_handshake *hs)
{
    return hs->config.node_local < hs->config.node_remote;
}

/* MAC of `last` over the `before_count` messages before it and its own bytes up to the MAC. */
static bool mac_make(const struct hg_handshake *hs, const struct hg_handshake_message *const *before,
                     uint32_t before_count, const struct hg_handshake_message *last,
                     uint8_t mac[HG_MAC_BYTES])
{
    uint8_t transcript[3 * sizeof(struct hg_handshake_message)];
    size_t bytes = 0;
    hg_assert(before_count <= 2);
    for (uint32_t i = 0; i < before_count; i++, bytes += MESSAGE_BYTES)
        memcpy(transcript + bytes, before[i], MESSAGE_BYTES);
    memcpy(transcript + bytes, last, MACED_BYTES);
    bytes += MACED_BYTES;
    return hg_hmac_sha256(hs->mac_key, sizeof(hs->mac_key), transcript, bytes, mac);
}

static bool mac_check(struct hg_handshake *hs, const struct hg_handshake_message *const *before,
                      uint32_t before_count, const struct hg_handshake_message *last)
{
    uint8_t mac[HG_MAC_BYTES];
    bool made = mac_make(hs, before, before_count, last, mac);
    bool good = made && equal(mac, last->mac, sizeof(mac));
    OPENSSL_cleanse(mac, sizeof(mac));
    if (!made)
        hs->counters.drop_crypto++;
    else if (!good)
        hs->counters.drop_mac++;
    return good;
}

/* With which the lanes began that go on under the keys of this exchange, or begin with them. */
static uint32_t lane_generation_of(const struct hg_handshake_message *hello,
                                   const struct hg_handshake_message *reply)
{
    bool go_on = hello->lane_generation != 0 && hello->lane_generation == reply->lane_generation;
    return go_on ? reply->lane_generation : reply->generation;
}

struct key_info {
    char label[16];
    uint64_t boot_initiator;
    uint64_t boot_responder;
    uint32_t direction; /* enum direction */
    uint32_t lane;      /* sending worker | receiving worker << 8 */
    uint32_t lane_generation;
    uint32_t reserved;
};
static_assert(sizeof(struct key_info) == 48, "HKDF info");

static bool key_derive(const struct hg_handshake *hs, const struct hg_handshake_message *hello,
                       const struct hg_handshake_message *reply, enum direction direction, uint32_t lane,
                       uint8_t key[HG_ESP_KEY_BYTES], uint8_t salt[HG_ESP_SALT_BYTES])
{
    uint8_t nonces[2 * HG_HANDSHAKE_NONCE_BYTES], keyed[KEYED_BYTES];
    struct key_info info = {.label = "heliograph esp2",
                            .boot_initiator = hello->boot,
                            .boot_responder = reply->boot,
                            .direction = direction,
                            .lane = lane,
                            .lane_generation = lane_generation_of(hello, reply)};
    memcpy(nonces, hello->nonce, HG_HANDSHAKE_NONCE_BYTES);
    memcpy(nonces + HG_HANDSHAKE_NONCE_BYTES, reply->nonce, HG_HANDSHAKE_NONCE_BYTES);
    bool good = hg_hkdf_sha256(hs->config.psk, sizeof(hs->config.psk), nonces, sizeof(nonces), &info,
                               sizeof(info), keyed, sizeof(keyed));
    memcpy(key, keyed, HG_ESP_KEY_BYTES);
    memcpy(salt, keyed + HG_ESP_KEY_BYTES, HG_ESP_SALT_BYTES);
    OPENSSL_cleanse(keyed, sizeof(keyed));
    return good;
}

uint32_t hg_handshake_spi(uint32_t spi, uint8_t worker_sending, uint8_t worker_receiving)
{
    hg_assert(spi % HG_HANDSHAKE_SPI_LANES == 0 && worker_sending < HG_WIRE_WORKERS_MAX &&
              worker_receiving < HG_WIRE_WORKERS_MAX);
    return spi | worker_sending | (uint32_t)worker_receiving * HG_WIRE_WORKERS_MAX;
}
static_assert(HG_HANDSHAKE_SPI_LANES == HG_WIRE_WORKERS_MAX * HG_WIRE_WORKERS_MAX, "an SPI a lane");

/* The SA pair of a lane after a finished exchange, seen from the initiator or the responder. */
static bool keys_derive(const struct hg_handshake *hs, const struct hg_handshake_message *hello,
                        const struct hg_handshake_message *reply, bool initiator, uint8_t worker_local,
                        uint8_t worker_remote, struct hg_handshake_keys *keys)
{
    const struct hg_handshake_message *local = initiator ? hello : reply;
    const struct hg_handshake_message *remote = initiator ? reply : hello;
    enum direction tx = initiator ? INITIATOR_TO_RESPONDER : RESPONDER_TO_INITIATOR;
    enum direction rx = initiator ? RESPONDER_TO_INITIATOR : INITIATOR_TO_RESPONDER;

    memset(keys, 0, sizeof(*keys));
    keys->boot_remote = remote->boot;
    keys->generation = reply->generation;
    keys->lane_generation = lane_generation_of(hello, reply);
    keys->workers_remote = remote->workers;
    keys->worker_local = worker_local;
    keys->worker_remote = worker_remote;
    keys->spi_tx = hg_handshake_spi(remote->spi, worker_local, worker_remote);
    keys->spi_rx = hg_handshake_spi(local->spi, worker_remote, worker_local);
    uint32_t lane_tx = worker_local | (uint32_t)worker_remote << 8;
    uint32_t lane_rx = worker_remote | (uint32_t)worker_local << 8;
    if (key_derive(hs, hello, reply, tx, lane_tx, keys->key_tx, keys->salt_tx) &&
        key_derive(hs, hello, reply, rx, lane_rx, keys->key_rx, keys->salt_rx))
        return true;
    OPENSSL_cleanse(keys, sizeof(*keys));
    return false;
}

/* ---- building messages ---- */

/* The lowest generation from `least` on that an initiator with the lower or the higher node id may use: even
 * or odd, so that two exchanges begun from either side never share one and both sides agree which of them is
 * the later. */
static uint32_t generation_from(uint32_t least, bool initiator_lower)
{
    hg_assert(least <= HG_HANDSHAKE_GENERATION_MAX + 1);
    least = least == 0 ? 1 : least;
    return (least % 2 == 0) == initiator_lower ? least : least + 1;
}

static bool generation_valid(uint32_t generation, bool initiator_lower)
{
    return generation > 0 && generation <= HG_HANDSHAKE_GENERATION_MAX &&
           (generation % 2 == 0) == initiator_lower;
}

static uint32_t spi_choose(struct hg_handshake *hs, hg_handshake_random random64, void *random_ctx)
{
    if (hs->spi_next == 0)
        hs->spi_next = (uint32_t)random64(random_ctx) | 1;
    uint32_t spi;
    do {
        spi = hs->spi_next++ * HG_HANDSHAKE_SPI_LANES;
        if (hs->config.spi_top != 0)
            spi = (uint32_t)hs->config.spi_top << 24 | (spi & 0xffffff);
    } while (spi <= SPI_RESERVED);
    return spi;
}

/* All but generation, echo and MAC. */
static void message_begin(struct hg_handshake *hs, enum hg_handshake_type type, hg_handshake_random random64,
                          void *random_ctx, struct hg_handshake_message *message)
{
    memset(message, 0, sizeof(*message));
    message->magic = HG_HANDSHAKE_MAGIC;
    message->version = HG_HANDSHAKE_VERSION;
    message->type = (uint8_t)type;
    message->bytes = MESSAGE_BYTES;
    message->cluster = hs->config.cluster;
    message->node_from = hs->config.node_local;
    message->node_to = hs->config.node_remote;
    message->boot = hs->config.boot_local;
    message->workers = hs->config.workers_local;
    message->lane_generation = hs->lane_generation;
    message->spi = spi_choose(hs, random64, random_ctx);
    for (uint32_t i = 0; i < HG_HANDSHAKE_NONCE_BYTES; i += sizeof(uint64_t)) {
        uint64_t word = random64(random_ctx);
        memcpy(message->nonce + i, &word, sizeof(word));
    }
}

static int message_send(const struct hg_handshake_message *message, uint8_t *out, uint32_t *out_bytes)
{
    memcpy(out, message, sizeof(*message));
    *out_bytes = MESSAGE_BYTES;
    return HG_HANDSHAKE_SEND;
}

/* ---- rate limits ---- */

static bool bucket_take(uint64_t *bucket_ns, uint64_t now_ns)
{
    if (*bucket_ns > now_ns + (HG_HANDSHAKE_ANSWER_BURST - 1) * HG_HANDSHAKE_ANSWER_GAP_NS)
        return false;
    *bucket_ns = hg_max_u64(*bucket_ns, now_ns) + HG_HANDSHAKE_ANSWER_GAP_NS;
    return true;
}

/* ---- receiving ---- */

/* What can be judged without a key. */
static bool message_parse(struct hg_handshake *hs, const uint8_t *from, uint32_t bytes,
                          struct hg_handshake_message *message)
{
    static const uint8_t zeros[HG_HANDSHAKE_NONCE_BYTES];
    if (bytes != MESSAGE_BYTES) {
        hs->counters.drop_malformed++;
        return false;
    }
    memcpy(message, from, sizeof(*message));
    bool good = message->magic == HG_HANDSHAKE_MAGIC && message->version == HG_HANDSHAKE_VERSION &&
                message->type >= HG_HANDSHAKE_HELLO && message->type <= HG_HANDSHAKE_CONFIRM &&
                message->bytes == MESSAGE_BYTES && message->spi > SPI_RESERVED &&
                message->spi % HG_HANDSHAKE_SPI_LANES == 0 && message->workers >= 1 &&
                message->workers <= HG_WIRE_WORKERS_MAX &&
                memcmp(message->reserved, zeros, sizeof(message->reserved)) == 0;
    if (good && message->type == HG_HANDSHAKE_HELLO)
        good = memcmp(message->nonce_echo, zeros, sizeof(zeros)) == 0;
    if (!good) {
        hs->counters.drop_malformed++;
        return false;
    }
    if (message->cluster != hs->config.cluster) {
        hs->counters.drop_cluster++;
        return false;
    }
    if (message->node_from != hs->config.node_remote || message->node_to != hs->config.node_local) {
        hs->counters.drop_node++;
        return false;
    }
    bool initiator_local = message->type == HG_HANDSHAKE_REPLY;
    if (!generation_valid(message->generation, initiator_local == local_is_lower(hs))) {
        hs->counters.drop_malformed++;
        return false;
    }
    return true;
}

/* The peer's life of that boot has answered what we asked after all before it had. One that is known already
 * lived all the while, and so did whoever answered in between. True: that was not known. */
static bool life_proved(struct hg_handshake *hs, uint64_t boot, uint64_t now_ns)
{
    bool known_cloned = hs->cloned, is_silence = now_ns - hs->proved_ns > HG_HANDSHAKE_ROLL_CALL_NS_MAX;
    uint32_t at = 0;
    hs->proved_ns = now_ns;
    while (at < hs->life_count && hs->lives[at] != boot)
        at++;
    if (at == 0 && hs->life_count > 0) {
        hs->alone_since_ns = is_silence ? now_ns : hs->alone_since_ns;
        if (!hs->life_is_back && now_ns - hs->alone_since_ns >= HG_HANDSHAKE_ALONE_NS)
            hs->cloned = false;
        return false;
    }
    hs->alone_since_ns = now_ns;
    hs->life_is_back = at < hs->life_count;
    if (!hs->life_is_back) {
        hs->life_count = (uint32_t)hg_min_u64(hs->life_count + 1, HG_HANDSHAKE_LIVES_MAX);
        at = hs->life_count - 1; /* the oldest is forgotten */
    }
    memmove(&hs->lives[1], &hs->lives[0], at * sizeof(hs->lives[0]));
    hs->lives[0] = boot;
    hs->cloned |= hs->life_is_back;
    return hs->cloned && !known_cloned;
}

/* What a finished exchange is to the caller. While the peer is cloned it is a roll call and no more: what the
 * next yields begins new lanes. */
static int exchange_events(struct hg_handshake *hs, uint64_t boot, bool is_fresh, uint64_t now_ns)
{
    bool found = is_fresh && life_proved(hs, boot, now_ns);
    if (!hs->cloned)
        return HG_HANDSHAKE_ESTABLISHED;
    hs->counters.drop_cloned++;
    hs->lane_generation = 0;
    hs->hello_due_ns = now_ns + HG_HANDSHAKE_ROLL_CALL_NS;
    return found ? HG_HANDSHAKE_CLONED : HG_HANDSHAKE_NOTHING;
}

/* The exchange of these two becomes the SA pairs in use. */
static void exchange_finish(struct hg_handshake *hs, const struct hg_handshake_message *hello,
                            const struct hg_handshake_message *reply, bool initiator, uint64_t now_ns)
{
    hg_assert(reply->generation > hs->generation);
    hs->generation = reply->generation;
    hs->lane_generation = lane_generation_of(hello, reply);
    hs->established_ns = now_ns;
    hs->done_initiator = initiator;
    hs->done_responder = !initiator;
    hs->done_hello = *hello;
    hs->done_reply = *reply;
    hs->confirm_repeats_left = initiator ? HG_HANDSHAKE_CONFIRM_REPEATS : 0;
    hs->confirm_retry_ns = HG_HANDSHAKE_RETRY_NS;
    hs->confirm_due_ns = now_ns + HG_HANDSHAKE_RETRY_NS;
    hs->hello_pending = false;
    hs->hello_due_ns = HG_TIME_NEVER;
    hs->hello_yielded = false;
    if (hs->answer_pending && hs->answer_reply.generation <= hs->generation)
        hs->answer_pending = false;
    hs->answer_overtaken = true;
    hs->counters.established++;
}

static bool reply_make(struct hg_handshake *hs, const struct hg_handshake_message *hello,
                       hg_handshake_random random64, void *random_ctx, struct hg_handshake_message *reply)
{
    uint32_t least = hs->generation + 1;
    least = hello->generation > least ? hello->generation : least;
    message_begin(hs, HG_HANDSHAKE_REPLY, random64, random_ctx, reply);
    reply->generation = generation_from(least, !local_is_lower(hs));
    memcpy(reply->nonce_echo, hello->nonce, sizeof(reply->nonce_echo));
    const struct hg_handshake_message *before[] = {hello};
    return mac_make(hs, before, 1, reply, reply->mac);
}

static int hello_receive(struct hg_handshake *hs, const struct hg_handshake_message *hello, uint64_t now_ns,
                         hg_handshake_random random64, void *random_ctx, uint8_t *out, uint32_t *out_bytes)
{
    if (!mac_check(hs, NULL, 0, hello))
        return HG_HANDSHAKE_NOTHING;
    if (hs->done_responder && memcmp(hello->nonce, hs->done_reply.nonce_echo, sizeof(hello->nonce)) == 0) {
        hs->counters.drop_stale++;
        return HG_HANDSHAKE_NOTHING;
    }
    if (hs->hello_pending && local_is_lower(hs)) {
        /* The peer is there, so ask again soon. */
        hs->counters.drop_collision++;
        hs->hello_due_ns = hg_min_u64(hs->hello_due_ns, hs->hello_last_ns + HG_HANDSHAKE_HELLO_GAP_NS);
        return HG_HANDSHAKE_NOTHING;
    }
    if (!bucket_take(&hs->reply_bucket_ns, now_ns)) {
        hs->counters.drop_rate++;
        return HG_HANDSHAKE_NOTHING;
    }
    if (hs->answer_pending && memcmp(hello, &hs->answer_hello, sizeof(*hello)) == 0) {
        hs->counters.repeats_received++;
        hs->counters.repeats_sent++;
    } else {
        struct hg_handshake_message reply;
        if (!reply_make(hs, hello, random64, random_ctx, &reply)) {
            hs->counters.drop_crypto++;
            return HG_HANDSHAKE_NOTHING;
        }
        hs->answer_pending = true;
        hs->answer_overtaken = false;
        hs->answer_begun_ns = now_ns;
        hs->answer_hello = *hello;
        hs->answer_reply = reply;
    }
    hs->answer_deadline_ns = now_ns + HG_HANDSHAKE_PENDING_NS;
    if (hs->hello_due_ns != HG_TIME_NEVER && !hs->hello_yielded) {
        hs->hello_yielded = true; /* once, or replays could keep us silent for ever */
        hs->hello_due_ns = hg_max_u64(hs->hello_due_ns, now_ns + HG_HANDSHAKE_YIELD_NS);
    }
    return message_send(&hs->answer_reply, out, out_bytes);
}

/* A REPLY to the exchange we finished: the peer may have lost our CONFIRM. */
static int reply_again(struct hg_handshake *hs, const struct hg_handshake_message *reply, uint64_t now_ns,
                       uint8_t *out, uint32_t *out_bytes)
{
    if (!hs->done_initiator ||
        !equal((const uint8_t *)reply, (const uint8_t *)&hs->done_reply, sizeof(*reply))) {
        hs->counters.drop_stale++;
        return HG_HANDSHAKE_NOTHING;
    }
    hs->counters.repeats_received++;
    if (!bucket_take(&hs->confirm_bucket_ns, now_ns)) {
        hs->counters.drop_rate++;
        return HG_HANDSHAKE_NOTHING;
    }
    hs->counters.repeats_sent++;
    return message_send(&hs->done_confirm, out, out_bytes);
}

static bool confirm_make(struct hg_handshake *hs, const struct hg_handshake_message *hello,
                         const struct hg_handshake_message *reply, struct hg_handshake_message *confirm)
{
    *confirm = *hello;
    confirm->type = HG_HANDSHAKE_CONFIRM;
    confirm->generation = reply->generation;
    memcpy(confirm->nonce_echo, reply->nonce, sizeof(confirm->nonce_echo));
    const struct hg_handshake_message *before[] = {hello, reply};
    return mac_make(hs, before, 2, confirm, confirm->mac);
}

static int reply_receive(struct hg_handshake *hs, const struct hg_handshake_message *reply, uint64_t now_ns,
                         uint8_t *out, uint32_t *out_bytes, struct hg_handshake_keys *keys)
{
    if (!hs->hello_pending || memcmp(reply->nonce_echo, hs->hello.nonce, sizeof(hs->hello.nonce)) != 0)
        return reply_again(hs, reply, now_ns, out, out_bytes);
    const struct hg_handshake_message *before[] = {&hs->hello};
    if (!mac_check(hs, before, 1, reply))
        return HG_HANDSHAKE_NOTHING;
    if (reply->generation < hs->hello.generation) {
        hs->counters.drop_malformed++;
        return HG_HANDSHAKE_NOTHING;
    }
    struct hg_handshake_message confirm;
    struct hg_handshake_keys derived;
    if (!confirm_make(hs, &hs->hello, reply, &confirm) ||
        !keys_derive(hs, &hs->hello, reply, true, 0, 0, &derived)) {
        hs->counters.drop_crypto++;
        return HG_HANDSHAKE_NOTHING;
    }
    hs->done_confirm = confirm;
    struct hg_handshake_message hello = hs->hello;
    exchange_finish(hs, &hello, reply, true, now_ns);
    *keys = derived;
    OPENSSL_cleanse(&derived, sizeof(derived));
    /* Our HELLO was made after the last exchange was finished, always: that took the one before away. */
    return message_send(&hs->done_confirm, out, out_bytes) | exchange_events(hs, reply->boot, true, now_ns);
}

/* True when `confirm` names both nonces of the exchange of `reply`, which we sent. */
static bool confirm_of(const struct hg_handshake_message *confirm, const struct hg_handshake_message *reply)
{
    return memcmp(confirm->nonce, reply->nonce_echo, sizeof(confirm->nonce)) == 0 &&
           memcmp(confirm->nonce_echo, reply->nonce, sizeof(confirm->nonce_echo)) == 0;
}

static int confirm_receive(struct hg_handshake *hs, const struct hg_handshake_message *confirm,
                           uint64_t now_ns, struct hg_handshake_keys *keys)
{
    if (!hs->answer_pending || !confirm_of(confirm, &hs->answer_reply)) {
        if (hs->done_responder && confirm_of(confirm, &hs->done_reply))
            hs->counters.repeats_received++;
        else
            hs->counters.drop_stale++;
        return HG_HANDSHAKE_NOTHING;
    }
    const struct hg_handshake_message *hello = &hs->answer_hello, *reply = &hs->answer_reply;
    const struct hg_handshake_message *before[] = {hello, reply};
    if (!mac_check(hs, before, 2, confirm))
        return HG_HANDSHAKE_NOTHING;
    if (confirm->boot != hello->boot || confirm->spi != hello->spi || confirm->workers != hello->workers ||
        confirm->lane_generation != hello->lane_generation || confirm->generation != reply->generation) {
        hs->counters.drop_malformed++;
        return HG_HANDSHAKE_NOTHING;
    }
    hg_assert(reply->generation > hs->generation); /* exchange_finish forgets answers that are overtaken */
    struct hg_handshake_keys derived;
    if (!keys_derive(hs, hello, reply, false, 0, 0, &derived)) {
        hs->counters.drop_crypto++;
        return HG_HANDSHAKE_NOTHING;
    }
    struct hg_handshake_message begun = *hello, finished = *reply;
    bool is_fresh = !hs->answer_overtaken;
    exchange_finish(hs, &begun, &finished, false, now_ns);
    hs->answer_pending = false;
    *keys = derived;
    OPENSSL_cleanse(&derived, sizeof(derived));
    int events = exchange_events(hs, begun.boot, is_fresh, now_ns);
    if (!is_fresh && !hs->cloned && begun.boot != hs->lives[0]) /* a life that is gone, or one of two */
        hs->hello_due_ns = now_ns + HG_HANDSHAKE_HELLO_GAP_NS;
    return events;
}

int hg_handshake_receive(struct hg_handshake *hs, const uint8_t *message, uint32_t bytes, uint64_t now_ns,
                         hg_handshake_random random64, void *random_ctx, uint8_t *out, uint32_t *out_bytes,
                         struct hg_handshake_keys *keys)
{
    struct hg_handshake_message parsed;
    *out_bytes = 0;
    if (!message_parse(hs, message, bytes, &parsed))
        return HG_HANDSHAKE_NOTHING;
    switch ((enum hg_handshake_type)parsed.type) {
    case HG_HANDSHAKE_HELLO:
        return hello_receive(hs, &parsed, now_ns, random64, random_ctx, out, out_bytes);
    case HG_HANDSHAKE_REPLY:
        return reply_receive(hs, &parsed, now_ns, out, out_bytes, keys);
    case HG_HANDSHAKE_CONFIRM:
        return confirm_receive(hs, &parsed, now_ns, keys);
    }
    return HG_HANDSHAKE_NOTHING;
}

bool hg_handshake_lane_keys(struct hg_handshake *hs, uint8_t worker_local, uint8_t worker_remote,
                            struct hg_handshake_keys *keys)
{
    hg_assert(hs->done_initiator || hs->done_responder);
    uint8_t workers_remote = hs->done_initiator ? hs->done_reply.workers : hs->done_hello.workers;
    hg_assert(worker_local < hs->config.workers_local && worker_remote < workers_remote);
    if (keys_derive(hs, &hs->done_hello, &hs->done_reply, hs->done_initiator, worker_local, worker_remote,
                    keys))
        return true;
    hs->counters.drop_crypto++;
    return false;
}

/* ---- timers ---- */

void hg_handshake_init(struct hg_handshake *hs, const struct hg_handshake_config *config, uint64_t now_ns)
{
    static const char label[] = "heliograph handshake mac 1";
    hg_assert(config->node_local != config->node_remote);
    hg_assert(config->workers_local >= 1 && config->workers_local <= HG_WIRE_WORKERS_MAX);
    memset(hs, 0, sizeof(*hs));
    hs->config = *config;
    hs->hello_due_ns = now_ns;
    hs->retry_ns = HG_HANDSHAKE_RETRY_NS;
    hs->restart_gap_ns = HG_HANDSHAKE_HELLO_GAP_NS;
    bool derived = hg_hkdf_sha256(config->psk, sizeof(config->psk), &config->cluster, sizeof(config->cluster),
                                  label, sizeof(label) - 1, hs->mac_key, sizeof(hs->mac_key));
    hg_assert(derived); /* nothing was received yet: OpenSSL has no memory or no providers */
}

void hg_handshake_wipe(struct hg_handshake *hs)
{
    OPENSSL_cleanse(hs, sizeof(*hs));
}

static int hello_send(struct hg_handshake *hs, uint64_t now_ns, hg_handshake_random random64,
                      void *random_ctx, uint8_t *out, uint32_t *out_bytes)
{
    if (hs->hello_pending) {
        hs->counters.repeats_sent++;
        hs->retry_ns = hg_min_u64(2 * hs->retry_ns, HG_HANDSHAKE_RETRY_NS_MAX);
    } else {
        struct hg_handshake_message hello;
        message_begin(hs, HG_HANDSHAKE_HELLO, random64, random_ctx, &hello);
        hello.generation = generation_from(hs->generation + 1, local_is_lower(hs));
        hs->retry_ns = HG_HANDSHAKE_RETRY_NS;
        if (!mac_make(hs, NULL, 0, &hello, hello.mac)) {
            hs->counters.drop_crypto++;
            hs->hello_due_ns = now_ns + HG_HANDSHAKE_RETRY_NS_MAX;
            return HG_HANDSHAKE_NOTHING;
        }
        hs->hello = hello;
        hs->hello_pending = true;
        hs->counters.hellos_sent++;
    }
    hs->hello_yielded = false;
    hs->hello_last_ns = now_ns;
    hs->hello_due_ns = now_ns + hs->retry_ns;
    return message_send(&hs->hello, out, out_bytes);
}

int hg_handshake_tick(struct hg_handshake *hs, uint64_t now_ns, hg_handshake_random random64,
                      void *random_ctx, uint8_t *out, uint32_t *out_bytes)
{
    *out_bytes = 0;
    if (hs->answer_pending && now_ns >= hs->answer_deadline_ns) {
        hs->answer_pending = false;
        hs->counters.expired++;
    }
    if (hs->confirm_repeats_left > 0 && now_ns >= hs->confirm_due_ns) {
        hs->confirm_repeats_left--;
        hs->confirm_retry_ns *= 2;
        hs->confirm_due_ns = now_ns + hs->confirm_retry_ns;
        hs->counters.repeats_sent++;
        return message_send(&hs->done_confirm, out, out_bytes);
    }
    if (now_ns >= hs->hello_due_ns)
        return hello_send(hs, now_ns, random64, random_ctx, out, out_bytes);
    return HG_HANDSHAKE_NOTHING;
}

/* When the next HELLO may go, gap_ns after the last exchange; an exchange that we answered may save it. */
static uint64_t hello_from_ns(const struct hg_handshake *hs, uint64_t gap_ns, uint64_t now_ns)
{
    uint64_t answered_ns = hs->answer_pending ? hs->answer_begun_ns + HG_HANDSHAKE_OVERTAKE_NS : 0;
    uint64_t begun_ns = hs->hello_pending ? hs->hello_last_ns : hs->established_ns;
    return hg_max_u64(hg_max_u64(now_ns, begun_ns + gap_ns), answered_ns);
}

void hg_handshake_restart(struct hg_handshake *hs, uint64_t now_ns)
{
    if (hs->hello_pending) {
        uint64_t again_ns = hello_from_ns(hs, HG_HANDSHAKE_HELLO_GAP_NS, 0);
        hs->hello_due_ns = hg_min_u64(hs->hello_due_ns, again_ns);
        return;
    }
    if (hs->hello_due_ns != HG_TIME_NEVER)
        return;
    /* Anyone can send a packet of an unknown SPI: let it renew keys ever more rarely. */
    bool quiet = hs->restart_last_ns == 0 || now_ns - hs->restart_last_ns > 2 * HG_HANDSHAKE_HELLO_GAP_NS_MAX;
    hs->restart_gap_ns =
        quiet ? HG_HANDSHAKE_HELLO_GAP_NS : hg_min_u64(2 * hs->restart_gap_ns, HG_HANDSHAKE_HELLO_GAP_NS_MAX);
    hs->restart_last_ns = now_ns;
    hs->hello_due_ns = hello_from_ns(hs, hs->restart_gap_ns, now_ns);
}

void hg_handshake_rekey(struct hg_handshake *hs, uint64_t now_ns)
{
    if (hs->hello_pending || hs->hello_yielded)
        return; /* it is under way, or the peer's own is */
    hs->hello_due_ns = hg_min_u64(hs->hello_due_ns, hello_from_ns(hs, HG_HANDSHAKE_HELLO_GAP_NS, now_ns));
}

void hg_handshake_lanes_end(struct hg_handshake *hs)
{
    hs->lane_generation = 0;
    hs->answer_pending = false; /* what is under way named the lanes */
    if (hs->hello_pending)
        hs->hello_due_ns = hs->hello_last_ns + HG_HANDSHAKE_HELLO_GAP_NS;
    hs->hello_pending = false;
}

void hg_handshake_spi_unknown(struct hg_handshake *hs, uint64_t now_ns)
{
    if (hs->generation == 0 || now_ns >= hs->established_ns + HG_HANDSHAKE_SETTLE_NS)
        hg_handshake_restart(hs, now_ns);
}

uint64_t hg_handshake_deadline_ns(const struct hg_handshake *hs)
{
    uint64_t deadline_ns = hs->hello_due_ns;
    if (hs->confirm_repeats_left > 0)
        deadline_ns = hg_min_u64(deadline_ns, hs->confirm_due_ns);
    if (hs->answer_pending)
        deadline_ns = hg_min_u64(deadline_ns, hs->answer_deadline_ns);
    return deadline_ns;
}

bool hg_handshake_established(const struct hg_handshake *hs)
{
    return hs->generation != 0;
}

bool hg_handshake_cloned(const struct hg_handshake *hs)
{
    return hs->cloned;
}

const char *hg_handshake_state_text(const struct hg_handshake *hs)
{
    if (hs->cloned)
        return "refused: two processes have the peer's identity";
    if (hs->generation != 0)
        return hs->hello_pending ? "established, asking for new keys" : "established";
    if (hs->answer_pending)
        return "waiting for the peer to confirm";
    return hs->hello_pending ? "waiting for the peer to answer" : "about to begin";
}
