/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/exchange.h"

#include <openssl/crypto.h>

void hg_exchange_init(struct hg_exchange *exchange, struct hg_clock *clock,
                      struct hg_mailbox *const *to_workers, uint32_t workers)
{
    hg_assert(workers >= 1 && workers <= HG_WIRE_WORKERS_MAX);
    memset(exchange, 0, sizeof(*exchange));
    exchange->clock = clock;
    exchange->workers = workers;
    for (uint32_t i = 0; i < workers; i++)
        exchange->to_workers[i] = to_workers[i];
}

void hg_exchange_wipe(struct hg_exchange *exchange)
{
    for (uint32_t i = 0; i < HG_CONTROL_PEERS_MAX; i++)
        if (exchange->used[i])
            hg_handshake_wipe(&exchange->handshakes[i]);
    memset(exchange->used, 0, sizeof(exchange->used));
}

/* To every worker, or to none. */
static bool letter_to_all(struct hg_exchange *exchange, const struct hg_letter *letter)
{
    for (uint32_t i = 0; i < exchange->workers; i++)
        if (hg_mailbox_count(exchange->to_workers[i]) == HG_MAILBOX_LETTERS)
            return false;
    for (uint32_t i = 0; i < exchange->workers; i++)
        hg_assert(hg_mailbox_put(exchange->to_workers[i], letter)); /* we alone write to it */
    return true;
}

static void cloned_tell(struct hg_exchange *exchange, uint32_t peer)
{
    struct hg_letter letter;
    if (!exchange->cloned_due[peer])
        return;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PEER_CLONED;
    letter.peer = peer;
    exchange->cloned_due[peer] = !letter_to_all(exchange, &letter);
}

bool hg_exchange_peer(struct hg_exchange *exchange, uint32_t peer, const struct hg_handshake_config *config,
                      uint64_t now_ns)
{
    hg_assert(peer < HG_CONTROL_PEERS_MAX);
    if (exchange->used[peer]) {
        struct hg_letter changed;
        if (CRYPTO_memcmp(exchange->handshakes[peer].config.psk, config->psk, sizeof(config->psk)) == 0)
            return true;
        cloned_tell(exchange, peer); /* with the new key nobody would know any more that it was two */
        if (exchange->cloned_due[peer])
            return false;
        memset(&changed, 0, sizeof(changed));
        changed.type = HG_LETTER_KEY_CHANGED;
        changed.peer = peer;
        if (!letter_to_all(exchange, &changed))
            return false;
        hg_handshake_wipe(&exchange->handshakes[peer]);
    }
    exchange->used[peer] = true;
    exchange->cloned_due[peer] = false;
    exchange->peer_count = (uint32_t)hg_max_u64(exchange->peer_count, peer + 1);
    struct hg_handshake_config own = *config;
    own.workers_local = (uint8_t)exchange->workers;
    own.spi_top = (uint8_t)(peer + 1); /* SPIs of different peers never collide */
    hg_handshake_init(&exchange->handshakes[peer], &own, now_ns);
    OPENSSL_cleanse(&own, sizeof(own));
    return true;
}

void hg_exchange_peer_end(struct hg_exchange *exchange, uint32_t peer)
{
    hg_assert(peer < HG_CONTROL_PEERS_MAX);
    if (exchange->used[peer])
        hg_handshake_wipe(&exchange->handshakes[peer]);
    exchange->used[peer] = false;
}

static uint64_t exchange_random(void *ctx)
{
    struct hg_exchange *exchange = ctx;
    return exchange->clock->random_u64(exchange->clock);
}

/* The keys of all lanes between a worker here and the peer's. */
static bool keys_send(struct hg_exchange *exchange, uint32_t peer, uint32_t worker, uint32_t workers_remote)
{
    struct hg_letter letter;
    bool sent = true;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_KEYS;
    letter.peer = peer;
    for (uint32_t i = 0; i < workers_remote && sent; i++)
        sent = hg_handshake_lane_keys(&exchange->handshakes[peer], (uint8_t)worker, (uint8_t)i,
                                      &letter.body.keys) &&
               hg_mailbox_put(exchange->to_workers[worker], &letter);
    OPENSSL_cleanse(&letter, sizeof(letter));
    return sent;
}

/* A full mailbox loses a message as the network might; the handshake's retry repairs both alike. Keys are
 * different: without them this side would think itself established, so it begins anew. */
static void exchange_act(struct hg_exchange *exchange, uint32_t peer, int events, const struct hg_letter *out,
                         const struct hg_handshake_keys *keys, uint64_t now_ns)
{
    bool sent = true;
    exchange->cloned_due[peer] |= (events & HG_HANDSHAKE_CLONED) != 0;
    cloned_tell(exchange, peer);
    for (uint32_t i = 0; i < exchange->workers && sent && events & HG_HANDSHAKE_ESTABLISHED; i++)
        sent = keys_send(exchange, peer, i, keys->workers_remote);
    if (!sent) {
        if (keys->lane_generation == keys->generation)
            hg_handshake_lanes_end(&exchange->handshakes[peer]); /* not every worker has them */
        hg_handshake_restart(&exchange->handshakes[peer], now_ns);
    }
    if (events & HG_HANDSHAKE_SEND)
        (void)hg_mailbox_put(exchange->to_workers[0], out);
}

static void rekey_asked(struct hg_handshake *handshake, enum hg_rekey why, uint64_t now_ns)
{
    switch (why) {
    case HG_REKEY_SILENT:
        hg_handshake_restart(handshake, now_ns);
        break;
    case HG_REKEY_NEW_LANES:
        hg_handshake_lanes_end(handshake);
        hg_handshake_rekey(handshake, now_ns);
        break;
    case HG_REKEY_USED:
        hg_handshake_rekey(handshake, now_ns);
        break;
    }
}

void hg_exchange_letter(struct hg_exchange *exchange, const struct hg_letter *letter, uint64_t now_ns)
{
    struct hg_handshake_keys keys;
    struct hg_letter out;
    if (letter->peer >= exchange->peer_count || !exchange->used[letter->peer])
        return;
    struct hg_handshake *handshake = &exchange->handshakes[letter->peer];
    if (letter->type == HG_LETTER_REKEY) {
        rekey_asked(handshake, (enum hg_rekey)letter->number, now_ns);
        return;
    }
    if (letter->type == HG_LETTER_SPI_UNKNOWN) {
        hg_handshake_spi_unknown(handshake, now_ns);
        return;
    }
    hg_assert(letter->type == HG_LETTER_HANDSHAKE_IN);
    memset(&out, 0, sizeof(out));
    out.type = HG_LETTER_HANDSHAKE_OUT;
    out.peer = letter->peer;
    int events = hg_handshake_receive(handshake, letter->body.handshake.data, letter->body.handshake.bytes,
                                      now_ns, exchange_random, exchange, out.body.handshake.data,
                                      &out.body.handshake.bytes, &keys);
    exchange_act(exchange, letter->peer, events, &out, &keys, now_ns);
    OPENSSL_cleanse(&keys, sizeof(keys));
}

uint64_t hg_exchange_tick(struct hg_exchange *exchange, uint64_t now_ns)
{
    uint64_t deadline_ns = HG_TIME_NEVER;
    for (uint32_t peer = 0; peer < exchange->peer_count; peer++) {
        struct hg_handshake *handshake = &exchange->handshakes[peer];
        struct hg_letter out;
        if (!exchange->used[peer])
            continue;
        cloned_tell(exchange, peer);
        for (uint32_t i = 0; i < HG_EXCHANGE_MESSAGES_TICK && hg_handshake_deadline_ns(handshake) <= now_ns;
             i++) {
            memset(&out, 0, sizeof(out));
            out.type = HG_LETTER_HANDSHAKE_OUT;
            out.peer = peer;
            int events = hg_handshake_tick(handshake, now_ns, exchange_random, exchange,
                                           out.body.handshake.data, &out.body.handshake.bytes);
            exchange_act(exchange, peer, events, &out, NULL, now_ns);
        }
        deadline_ns = hg_min_u64(deadline_ns, hg_handshake_deadline_ns(handshake));
    }
    return deadline_ns;
}
