/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers, their sessions and their timers. What travels in the sessions is in peers_origin.c (streams we send)
 * and peers_taker.c (streams we take).
 */
#include "dataplane/stream/peers_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct hg_lane_ops peers_lane_ops = {
    .batch_next = hg_peers_batch_next,
    .batch_bytes = hg_peers_batch_bytes,
    .batch_gone = hg_peers_batch_gone,
    .batch_acked = hg_peers_batch_acked,
    .batch_received = hg_peers_batch_received,
    .control_received = hg_peers_control_received,
};

struct hg_peers *hg_peers_init(const struct hg_peers_config *config)
{
    hg_assert(config->streams_max <= HG_WIRE_ALIASES_MAX && config->peers_max <= HG_PEERS_MAX);
    struct hg_peers *peers = calloc(1, sizeof(*peers));
    hg_assert(peers != NULL);
    peers->config = *config;
    for (uint32_t i = 0; i < config->peers_max; i++) {
        struct hg_peer *peer = &peers->table[i];
        peer->peers = peers;
        peer->index = i;
        peer->current = -1;
        peer->next = -1;
    }
    return peers;
}

static void counters_add(struct hg_lane_stats *to, const struct hg_lane_stats *stats)
{
#define HG_X(name, text) to->name += stats->name;
    HG_LANE_COUNTERS(HG_X)
#undef HG_X
}

static void session_close(struct hg_peer_session *session)
{
    if (!session->live)
        return;
    counters_add(&session->peer->ended, hg_lane_stats(session->lane));
    hg_esp_sa_wipe(session->sa_tx);
    hg_esp_sa_wipe(session->sa_rx);
    session->live = false;
    session->end_ns = 0;
}

static void peer_memory_give_back(struct hg_peer *peer)
{
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        free(peer->sessions[i].memory);
        peer->sessions[i].memory = NULL;
    }
    free(peer->streams);
    peer->streams = NULL;
}

void hg_peers_free(struct hg_peers *peers)
{
    for (uint32_t i = 0; i < peers->count; i++) {
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++)
            session_close(&peers->table[i].sessions[j]);
        peer_memory_give_back(&peers->table[i]);
    }
    free(peers);
}

static struct hg_lane_config session_lane_config(const struct hg_peer *peer,
                                                 const struct hg_peer_session *session)
{
    struct hg_lane_config config;
    memset(&config, 0, sizeof(config));
    config.ops = &peers_lane_ops;
    config.ctx = (void *)(uintptr_t)session;
    config.key_generation = session->generation;
    config.mtu_bytes = peer->mtu_bytes;
    config.path_mtu_bytes = peer->path_mtu_bytes;
    config.rate_bytes_per_s = peer->rate_bytes_per_s;
    config.receive_bytes_max = peer->receive_bytes_max;
    config.packets_in_flight_max = peer->peers->config.packets_in_flight_max;
    return config;
}

static bool peer_memory_take(struct hg_peer *peer)
{
    const struct hg_peers_config *config = &peer->peers->config;
    peer->streams = calloc(config->streams_max, sizeof(peer->streams[0]));
    bool all = peer->streams != NULL;
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        struct hg_peer_session *session = &peer->sessions[i];
        session->peer = peer;
        struct hg_lane_config lane = session_lane_config(peer, session);
        uint64_t sa_bytes = hg_align_up(hg_esp_sa_bytes(), HG_CACHE_LINE_BYTES);
        uint64_t bytes = 2 * sa_bytes + hg_align_up(hg_lane_bytes(&lane), HG_CACHE_LINE_BYTES);
        session->memory = aligned_alloc(HG_CACHE_LINE_BYTES, bytes);
        all &= session->memory != NULL;
    }
    if (!all)
        peer_memory_give_back(peer);
    return all;
}

/* Credit is memory: fixed from here on, so that a later change can't outgrow what was taken. */
static int peer_begin(struct hg_peer *peer, uint64_t receive_bytes_max, uint64_t now_ns)
{
    uint64_t standard = peer->peers->config.receive_bytes_default;
    peer->receive_bytes_max = receive_bytes_max != 0 ? receive_bytes_max
                              : standard != 0        ? standard
                                                     : HG_PEER_RECEIVE_BYTES_DEFAULT;
    if (peer->receive_bytes_max > HG_PEER_RECEIVE_BYTES_MAX)
        return -EINVAL;
    if (!peer_memory_take(peer))
        return -ENOMEM;
    peer->used = true;
    peer->removed = false;
    peer->state = HG_PEER_HANDSHAKE;
    peer->state_since_ns = now_ns;
    return 0;
}

int hg_peers_configure(struct hg_peers *peers, const struct hg_config_peer *config, uint32_t mtu_bytes,
                       uint64_t now_ns)
{
    int32_t index = hg_peers_find(peers, config->node);
    if (index < 0 && peers->count == peers->config.peers_max)
        return -ENOSPC;
    if (index < 0)
        index = (int32_t)peers->count++;
    struct hg_peer *peer = &peers->table[index];
    peer->configuration = peers->configuration;
    snprintf(peer->name, sizeof(peer->name), "%.*s", HG_NAME_BYTES - 1, config->name);
    peer->node = config->node;
    peer->region = config->region;
    memcpy(peer->mac, config->mac, sizeof(peer->mac));
    peer->address = config->address;
    peer->rate_bytes_per_s = config->rate_bytes_per_s;
    if (mtu_bytes < HG_PEER_MTU_BYTES_MIN || mtu_bytes > HG_PEER_MTU_BYTES_MAX)
        return -EINVAL;
    peer->mtu_bytes = mtu_bytes;
    int rc = peer->used ? 0 : peer_begin(peer, config->receive_bytes_max, now_ns);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
        if (peer->sessions[i].live)
            hg_lane_rate_set(peer->sessions[i].lane, peer->rate_bytes_per_s);
    return index;
}

void hg_peers_totals(const struct hg_peer *peer, struct hg_lane_stats *totals)
{
    memset(totals, 0, sizeof(*totals));
    if (peer->current >= 0)
        *totals = *hg_lane_stats(peer->sessions[peer->current].lane);
    if (peer->next >= 0)
        counters_add(totals, hg_lane_stats(peer->sessions[peer->next].lane));
    counters_add(totals, &peer->ended);
}

static void peer_state_set(struct hg_peer *peer, uint32_t state, uint64_t now_ns)
{
    peer->state = state;
    peer->state_since_ns = now_ns;
}

static void peer_remove(struct hg_peer *peer, uint64_t now_ns)
{
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
        session_close(&peer->sessions[i]);
    peer_memory_give_back(peer);
    peer->current = -1;
    peer->next = -1;
    peer->spi_replaced = 0;
    peer->used = false;
    peer->removed = true;
    peer_state_set(peer, HG_PEER_REMOVED, now_ns);
    hg_event_put(peer->peers->config.events, HG_EVENT_peer_removed, peer->name, 0, 0);
}

void hg_peers_configure_begin(struct hg_peers *peers)
{
    peers->configuration++;
}

void hg_peers_configure_end(struct hg_peers *peers, uint64_t now_ns)
{
    for (uint32_t i = 0; i < peers->count; i++) {
        struct hg_peer *peer = &peers->table[i];
        if (peer->configuration != peers->configuration && !peer->removed)
            peer_remove(peer, now_ns);
    }
}

int32_t hg_peers_find(const struct hg_peers *peers, uint64_t node)
{
    for (uint32_t i = 0; i < peers->count; i++)
        if (peers->table[i].node == node)
            return (int32_t)i;
    return -1;
}

struct hg_peer *hg_peers_at(struct hg_peers *peers, uint32_t index)
{
    hg_assert(index < peers->count);
    return &peers->table[index];
}

uint32_t hg_peers_count(const struct hg_peers *peers)
{
    return peers->count;
}

void hg_peers_keys(struct hg_peers *peers, uint32_t index, const struct hg_handshake_keys *keys,
                   uint64_t now_ns)
{
    struct hg_peer *peer = hg_peers_at(peers, index);
    if (!peer->used)
        return;
    uint64_t sa_bytes = hg_align_up(hg_esp_sa_bytes(), HG_CACHE_LINE_BYTES);
    /* A waiting session is replaced; the current one stays. */
    int32_t i = peer->next >= 0 ? peer->next : (peer->current == 0 ? 1 : 0);
    struct hg_peer_session *session = &peer->sessions[i];
    session_close(session);
    session->generation = keys->generation;
    session->boot_remote = keys->boot_remote;
    session->since_ns = now_ns;
    uint8_t *memory = session->memory;
    session->sa_tx = hg_esp_sa_init(memory, keys->spi_tx, keys->key_tx, keys->salt_tx);
    session->sa_rx = hg_esp_sa_init(memory + sa_bytes, keys->spi_rx, keys->key_rx, keys->salt_rx);
    struct hg_lane_config config = session_lane_config(peer, session);
    session->lane = hg_lane_init(memory + 2 * sa_bytes, &config, now_ns);
    session->live = true;
    peer->next = i;
    peer->handshakes_count++;
    hg_lane_ping(session->lane); /* so that the other side sees a packet under the new keys */
    hg_event_put(peers->config.events, HG_EVENT_peer_keys, peer->name, keys->generation, 0);
}

void hg_peers_key_changed(struct hg_peers *peers, uint32_t index, uint64_t now_ns)
{
    struct hg_peer *peer = hg_peers_at(peers, index);
    if (peer->next >= 0)
        session_close(&peer->sessions[peer->next]);
    peer->next = -1;
    if (peer->current >= 0)
        peer->sessions[peer->current].end_ns = now_ns + HG_PEER_KEY_GRACE_NS;
    hg_event_put(peers->config.events, HG_EVENT_peer_key_changed, peer->name,
                 peer->current >= 0 ? HG_PEER_KEY_GRACE_NS / HG_NS_PER_S : 0, 0);
}

struct hg_peer_session *hg_peers_session_of_spi(struct hg_peers *peers, uint32_t spi)
{
    for (uint32_t i = 0; i < peers->count; i++)
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++) {
            struct hg_peer_session *session = &peers->table[i].sessions[j];
            if (session->live && hg_esp_sa_spi(session->sa_rx) == spi)
                return session;
        }
    return NULL;
}

static void session_promote(struct hg_peer_session *session, uint64_t now_ns)
{
    struct hg_peer *peer = session->peer;
    if (peer->current >= 0) {
        peer->spi_replaced = hg_esp_sa_spi(peer->sessions[peer->current].sa_rx);
        session_close(&peer->sessions[peer->current]);
    }
    peer->current = peer->next;
    peer->next = -1;
    memset(peer->streams, 0, peer->peers->config.streams_max * sizeof(peer->streams[0]));
    memset(peer->aliases, 0, sizeof(peer->aliases));
    for (uint32_t i = 0; i < HG_WIRE_ALIASES_MAX; i++)
        peer->aliases[i].slot = -1;
    peer->alias_end = 0;
    peer->read_corrupt = false; /* tried again: the device may have been at fault */
    peer->waiting_count = 0;
    peer->cursor.sequence = 0;
    peer->sequence_needed = 0;
    peer->offer_due = false;
    peer->pinged_ns = now_ns;
    if (peer->state != HG_PEER_UP)
        hg_event_put(peer->peers->config.events, HG_EVENT_peer_up, peer->name, session->generation, 0);
    peer_state_set(peer, HG_PEER_UP, now_ns);
    hg_peers_open_streams(peer, now_ns);
}

void hg_peers_receive(struct hg_peer_session *session, const uint8_t *inner, uint32_t bytes,
                      uint64_t packet_number, uint64_t now_ns)
{
    struct hg_peer *peer = session->peer;
    peer->peers->now_ns = now_ns;
    if (peer->next >= 0 && session == &peer->sessions[peer->next])
        session_promote(session, now_ns);
    hg_lane_receive(session->lane, inner, bytes, packet_number, now_ns);
}

void hg_peers_log_moved(struct hg_peers *peers, uint64_t now_ns)
{
    peers->now_ns = now_ns;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct hg_peer *peer = &peers->table[i];
        if (peer->current < 0)
            continue;
        hg_lane_offer(peer->sessions[peer->current].lane);
        hg_peers_report_durable(peer);
    }
}

/* What a lane finds out about its path outlives it: the next one begins there. */
static void peer_path_mtu(struct hg_peer *peer, const struct hg_lane_stats *stats)
{
    uint64_t before = peer->path_mtu_bytes != 0 ? peer->path_mtu_bytes : peer->mtu_bytes;
    if (stats->path_mtu_bytes == before)
        return;
    bool narrow = stats->path_mtu_bytes < peer->mtu_bytes;
    peer->path_mtu_bytes = narrow ? (uint32_t)stats->path_mtu_bytes : 0;
    hg_event_put(peer->peers->config.events, narrow ? HG_EVENT_path_narrow : HG_EVENT_path_wide, peer->name,
                 stats->path_mtu_bytes, peer->mtu_bytes);
}

static void peer_tick_session(struct hg_peer *peer, uint64_t now_ns)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    uint64_t heard_ns = hg_max_u64(hg_lane_heard_ns(session->lane), session->since_ns);
    uint64_t silent_ns = now_ns > heard_ns ? now_ns - heard_ns : 0;
    if (silent_ns >= HG_PEER_SILENT_NS && peer->state == HG_PEER_UP) {
        peer_state_set(peer, HG_PEER_DOWN, now_ns);
        hg_event_put(peer->peers->config.events, HG_EVENT_peer_down, peer->name, silent_ns / HG_NS_PER_MS, 0);
    } else if (silent_ns < HG_PEER_SILENT_NS && peer->state == HG_PEER_DOWN) {
        peer_state_set(peer, HG_PEER_UP, now_ns);
        hg_event_put(peer->peers->config.events, HG_EVENT_peer_up, peer->name, session->generation, 0);
    }
    if (now_ns - peer->pinged_ns >= HG_PEER_PING_NS) {
        peer->pinged_ns = now_ns;
        hg_lane_ping(session->lane);
    }
    /* Keys that were just agreed on are on their way into use: others would take their place. */
    bool settling = peer->next >= 0 && now_ns - peer->sessions[peer->next].since_ns < HG_PEER_SILENT_NS;
    bool wants_keys = !settling && (peer->state == HG_PEER_DOWN || hg_esp_wants_rekey(session->sa_tx));
    if (wants_keys && now_ns - peer->rekey_asked_ns >= HG_PEER_REKEY_NS) {
        peer->rekey_asked_ns = now_ns; /* again and again: an ask may be lost on its way */
        peer->peers->config.rekey(peer->peers->config.ctx, peer->index);
    }
    peer_path_mtu(peer, hg_lane_stats(session->lane));
    hg_peers_open_streams(peer, now_ns);
    hg_peers_need(peer);
    hg_peers_retry(peer);
}

void hg_peers_tick(struct hg_peers *peers, uint64_t now_ns)
{
    peers->now_ns = now_ns;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct hg_peer *peer = &peers->table[i];
        uint64_t end_ns = peer->current >= 0 ? peer->sessions[peer->current].end_ns : 0;
        if (end_ns != 0 && now_ns >= end_ns) {
            session_close(&peer->sessions[peer->current]);
            peer->current = -1;
            peer_state_set(peer, HG_PEER_HANDSHAKE, now_ns);
            hg_event_put(peers->config.events, HG_EVENT_peer_key_over, peer->name, 0, 0);
        }
        if (peer->current >= 0)
            peer_tick_session(peer, now_ns);
    }
}
