/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers, their sessions and their timers. What travels in the sessions is in peers_origin.c (streams we send)
 * and peers_taker.c (streams we take).
 */
#include "dataplane/stream/peers_internal.h"
#include "dataplane/transport/cc.h"
#include "dataplane/transport/fec_rule.h"
#include "dataplane/transport/pmtu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static_assert((int)HG_CONFIG_CONGESTION_FIXED == (int)HG_CC_FIXED &&
                  (int)HG_CONFIG_CONGESTION_CUBIC == (int)HG_CC_CUBIC &&
                  (int)HG_CONFIG_CONGESTION_BBR == (int)HG_CC_BBR,
              "the control plane's numbers of controllers");

static_assert((int)HG_CONFIG_FEC_OFF == (int)HG_FEC_OFF && (int)HG_CONFIG_FEC_AUTO == (int)HG_FEC_AUTO &&
                  HG_CONFIG_FEC_PARITIES_MAX == HG_WIRE_FEC_PARITY_MAX,
              "the control plane's numbers of parity");

static_assert(HG_CONTROL_REKEY_PACKETS_MIN == HG_KEY_PACKETS_SOFT_MIN &&
                  HG_CONTROL_REKEY_PACKETS_MAX == HG_KEY_PACKETS_SOFT_MAX &&
                  HG_CONTROL_REKEY_BYTES_MIN == HG_KEY_BYTES_SOFT_MIN &&
                  HG_CONTROL_REKEY_BYTES_MAX == HG_KEY_BYTES_SOFT_MAX &&
                  HG_CONTROL_REKEY_SECONDS_MIN * HG_NS_PER_S == HG_KEY_AGE_NS_SOFT_MIN &&
                  HG_CONTROL_REKEY_SECONDS_MAX * HG_NS_PER_S == HG_KEY_AGE_NS_SOFT_MAX,
              "an operator chooses from what the keys allow");

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
    peers->trial = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(hg_esp_sa_bytes(), HG_CACHE_LINE_BYTES));
    hg_assert(peers->trial != NULL);
    for (uint32_t i = 0; i < config->peers_max; i++) {
        struct hg_peer *peer = &peers->table[i];
        peer->peers = peers;
        peer->head = peer;
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
    hg_keyring_wipe(&session->keyring);
    session->live = false;
    session->end_ns = 0;
}

static void lane_keys_wipe(struct hg_peer *head)
{
    if (head->lane_keys != NULL)
        explicit_bzero(head->lane_keys, HG_WIRE_WORKERS_MAX * sizeof(head->lane_keys[0]));
}

static void peer_memory_give_back(struct hg_peer *peer)
{
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        free(peer->sessions[i].memory);
        peer->sessions[i].memory = NULL;
    }
    peer->peers->receive_bytes_taken -= peer->receive_bytes_taken;
    peer->receive_bytes_taken = 0;
    lane_keys_wipe(peer);
    free(peer->lane_keys);
    free(peer->stream_worker);
    free(peer->streams);
    peer->lane_keys = NULL;
    peer->stream_worker = NULL;
    peer->streams = NULL;
    peer->peers->session_last = NULL;
}

/* All that belongs to the session that carries data goes with it: aliases and positions are of a lane. */
static void session_current_end(struct hg_peer *peer)
{
    if (peer->current >= 0) {
        peer->spi_replaced = hg_keyring_spi(&peer->sessions[peer->current].keyring);
        session_close(&peer->sessions[peer->current]);
    }
    peer->current = -1;
    if (peer->streams != NULL)
        memset(peer->streams, 0, peer->peers->config.streams_max * sizeof(peer->streams[0]));
    memset(peer->aliases, 0, sizeof(peer->aliases));
    for (uint32_t i = 0; i < HG_WIRE_ALIASES_MAX; i++)
        peer->aliases[i].slot = -1;
    peer->alias_end = 0;
    peer->read_corrupt = false; /* tried again: the device may have been at fault */
    peer->waiting_count = 0;
    peer->cursor.sequence = 0;
    peer->cursor_held.sequence = 0;
    peer->held_count = peer->returning_count = 0;
    peer->held_due = false;
    peer->sequence_needed = 0;
    peer->offer_due = false;
    peer->cuts_due = false;
    peer->repair_due = false;
    peer->repair_cursor.sequence = 0;
    peer->cut_walk = (struct hg_stream_walk){.from = 0};
}

static void lane_close(struct hg_peer *lane)
{
    session_current_end(lane);
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
        session_close(&lane->sessions[i]);
    peer_memory_give_back(lane);
    lane->next = -1;
}

/* All but the head. */
static void lanes_forget(struct hg_peer *head)
{
    while (head->lane_next != NULL) {
        struct hg_peer *lane = head->lane_next;
        head->lane_next = lane->lane_next;
        lane_close(lane);
        counters_add(&head->ended, &lane->ended);
        free(lane);
    }
    head->lanes_wanted = 0;
}

void hg_peers_free(struct hg_peers *peers)
{
    for (uint32_t i = 0; i < peers->count; i++) {
        lanes_forget(&peers->table[i]);
        lane_close(&peers->table[i]);
    }
    free(peers->trial);
    free(peers);
}

/* As many packets as the rate puts on the way. */
static uint32_t packets_in_flight(const struct hg_peer *head)
{
    uint32_t given = head->peers->config.packets_in_flight_max, packets = HG_PEER_PACKETS_IN_FLIGHT_MIN;
    if (given != 0)
        return given;
    uint64_t rate = head->rate_bytes_per_s;
    uint64_t wanted = rate / (HG_NS_PER_S / HG_PEER_FLIGHT_NS) / HG_PMTU_BASE_BYTES;
    while (packets < HG_PEER_PACKETS_IN_FLIGHT_MAX && packets < wanted)
        packets *= 2;
    return rate == 0 ? HG_PEER_PACKETS_IN_FLIGHT_ANY : packets;
}

static struct hg_lane_config session_lane_config(const struct hg_peer *peer,
                                                 const struct hg_peer_session *session)
{
    struct hg_lane_config config;
    memset(&config, 0, sizeof(config));
    config.ops = &peers_lane_ops;
    config.ctx = (void *)(uintptr_t)session;
    config.mtu_bytes = peer->head->mtu_bytes;
    config.family = peer->head->address.family;
    config.path_mtu_bytes = peer->path_mtu_bytes;
    config.rate_bytes_per_s = peer->head->rate_bytes_per_s;
    config.congestion = peer->head->congestion;
    config.fec = peer->head->fec;
    config.ecn = peer->head->ecn;
    config.receive_bytes_max = peer->head->receive_bytes_max;
    config.packets_in_flight_max = peer->head->packets_in_flight_max;
    return config;
}

/* All lanes together give no more than the node has for them. Both sessions count: after a peer's restart the
 * one has memory that the other used. */
static bool receive_bytes_take(struct hg_peer *peer)
{
    struct hg_peers *peers = peer->peers;
    uint64_t total = peers->config.receive_bytes_total,
             bytes = HG_PEER_SESSIONS * peer->head->receive_bytes_max;
    if (total != 0 && bytes > total - peers->receive_bytes_taken) {
        hg_event_put(peers->config.events, HG_EVENT_lane_refused, peer->lane_name, bytes >> 20,
                     (total - peers->receive_bytes_taken) >> 20);
        return false;
    }
    peers->receive_bytes_taken += bytes;
    peer->receive_bytes_taken = bytes;
    return true;
}

static bool peer_memory_take(struct hg_peer *peer)
{
    const struct hg_peers_config *config = &peer->peers->config;
    peer->streams = calloc(config->streams_max, sizeof(peer->streams[0]));
    bool all = peer->streams != NULL && receive_bytes_take(peer);
    if (peer == peer->head) {
        peer->stream_worker = calloc(config->streams_max, sizeof(peer->stream_worker[0]));
        peer->lane_keys = calloc(HG_WIRE_WORKERS_MAX, sizeof(peer->lane_keys[0]));
        all &= peer->stream_worker != NULL && peer->lane_keys != NULL;
    }
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        struct hg_peer_session *session = &peer->sessions[i];
        session->peer = peer;
        struct hg_lane_config lane = session_lane_config(peer, session);
        uint64_t bytes = hg_keyring_bytes() + hg_align_up(hg_lane_bytes(&lane), HG_CACHE_LINE_BYTES);
        session->memory = aligned_alloc(HG_CACHE_LINE_BYTES, bytes);
        all &= session->memory != NULL;
    }
    if (!all)
        peer_memory_give_back(peer);
    return all;
}

/* What a peer gets that has no `credit`: no more than leaves room for some more of them. */
static uint64_t receive_bytes_standard(const struct hg_peers_config *config)
{
    if (config->receive_bytes_default != 0)
        return config->receive_bytes_default;
    if (config->receive_bytes_total == 0)
        return HG_PEER_RECEIVE_BYTES_DEFAULT;
    uint64_t share = config->receive_bytes_total / HG_PEER_SESSIONS / HG_PEER_RECEIVE_SHARES;
    return hg_max_u64(HG_LANE_CREDIT_BYTES_MIN, hg_min_u64(share, HG_PEER_RECEIVE_BYTES_DEFAULT));
}

/* Credit is memory: fixed from here on, so that a later change can't outgrow what was taken. */
static int peer_begin(struct hg_peer *peer, uint64_t receive_bytes_max, uint64_t now_ns)
{
    peer->receive_bytes_max =
        receive_bytes_max != 0 ? receive_bytes_max : receive_bytes_standard(&peer->peers->config);
    if (peer->receive_bytes_max > HG_PEER_RECEIVE_BYTES_MAX)
        return -EINVAL;
    peer->packets_in_flight_max = packets_in_flight(peer);
    if (!peer_memory_take(peer))
        return -ENOMEM;
    peer->used = true;
    peer->removed = false;
    peer->workers_remote = 0;
    peer->state = HG_PEER_HANDSHAKE;
    peer->state_since_ns = now_ns;
    return 0;
}

static void lane_name(struct hg_peer *lane)
{
    const struct hg_peers_config *config = &lane->peers->config;
    if (config->workers <= 1 && lane->head->workers_remote <= 1)
        snprintf(lane->lane_name, sizeof(lane->lane_name), "%s", lane->head->name);
    else
        snprintf(lane->lane_name, sizeof(lane->lane_name), "%.*s %u-%u", HG_NAME_BYTES - 9, lane->head->name,
                 config->worker, lane->worker_remote);
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
    lane_name(peer);
    memcpy(peer->mac, config->mac, sizeof(peer->mac));
    peer->address = config->address;
    peer->rate_bytes_per_s = config->rate_bytes_per_s;
    peer->congestion = (uint8_t)config->congestion;
    if (config->fec > HG_WIRE_FEC_PARITY_MAX && config->fec != HG_FEC_AUTO)
        return -EINVAL;
    peer->fec = (uint8_t)config->fec;
    peer->ecn = config->ecn == HG_CONFIG_ECN_ON;
    if (mtu_bytes < HG_PEER_MTU_BYTES_MIN || mtu_bytes > HG_PEER_MTU_BYTES_MAX)
        return -EINVAL;
    peer->mtu_bytes = mtu_bytes;
    peer->key_limits =
        hg_key_limits_make(config->rekey_packets, config->rekey_bytes, config->rekey_seconds * HG_NS_PER_S);
    int rc = peer->used ? 0 : peer_begin(peer, config->receive_bytes_max, now_ns);
    if (rc != 0)
        return rc;
    for (struct hg_peer *lane = peer; lane != NULL; lane = lane->lane_next)
        for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
            if (lane->sessions[i].live) {
                hg_lane_rate_set(lane->sessions[i].lane, peer->congestion, peer->rate_bytes_per_s);
                hg_lane_fec_set(lane->sessions[i].lane, peer->fec);
                hg_lane_ecn_set(lane->sessions[i].lane, peer->ecn);
                lane->sessions[i].keyring.limits = peer->key_limits;
            }
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
    lanes_forget(peer);
    lane_close(peer);
    peer->spi_replaced = 0;
    hg_streams_peer_gone(peer->peers->config.streams, peer->index);
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

struct hg_peer *hg_peers_next(struct hg_peers *peers, const struct hg_peer *lane)
{
    if (lane != NULL && lane->lane_next != NULL)
        return lane->lane_next;
    uint32_t index = lane == NULL ? 0 : lane->index + 1;
    return index < peers->count ? &peers->table[index] : NULL;
}

/* ---- lanes and their keys ---- */

static struct hg_peer *lane_find(struct hg_peer *head, uint32_t worker)
{
    struct hg_peer *lane = head;
    while (lane != NULL && lane->worker_remote != worker)
        lane = lane->lane_next;
    return lane;
}

const struct hg_peer *hg_peers_lane_of(const struct hg_peer *head, uint32_t slot)
{
    const struct hg_peer *lane = head;
    while (lane != NULL && (!head->used || lane->worker_remote != head->stream_worker[slot]))
        lane = lane->lane_next;
    return lane;
}

static void session_begin(struct hg_peer *peer, const struct hg_handshake_keys *keys, uint64_t now_ns)
{
    /* A waiting session is replaced; the current one stays. */
    int32_t i = peer->next >= 0 ? peer->next : (peer->current == 0 ? 1 : 0);
    struct hg_peer_session *session = &peer->sessions[i];
    session_close(session);
    session->generation = keys->lane_generation;
    session->worker_remote = keys->worker_remote;
    session->boot_remote = keys->boot_remote;
    session->since_ns = now_ns;
    uint8_t *memory = session->memory;
    hg_keyring_init(&session->keyring, memory, &peer->head->key_limits);
    hg_keyring_add(&session->keyring, keys, 0, now_ns);
    struct hg_lane_config config = session_lane_config(peer, session);
    session->lane = hg_lane_init(memory + hg_keyring_bytes(), &config, now_ns);
    session->live = true;
    peer->next = i;
    peer->handshakes_count++;
    hg_lane_ping(session->lane); /* so that the other side sees a packet under the new keys */
    hg_event_put(peer->peers->config.events, HG_EVENT_peer_keys, peer->lane_name, keys->generation, 0);
}

/* The session's lane goes on under newer keys. Without it here there is nothing that could: the other side is
 * to begin a new one too. */
static void session_renew(struct hg_peer *peer, const struct hg_handshake_keys *keys, uint64_t now_ns)
{
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        struct hg_peer_session *session = &peer->sessions[i];
        if (!session->live || session->end_ns != 0 || session->generation != keys->lane_generation ||
            session->boot_remote != keys->boot_remote)
            continue;
        hg_keyring_add(&session->keyring, keys, hg_lane_number_received(session->lane), now_ns);
        peer->handshakes_count++;
        hg_event_put(peer->peers->config.events, HG_EVENT_peer_keys, peer->lane_name, keys->generation, 0);
        return;
    }
    peer->peers->config.rekey(peer->peers->config.ctx, peer->index, HG_REKEY_NEW_LANES);
}

static struct hg_peer *lane_make(struct hg_peer *head, uint32_t worker, uint64_t now_ns)
{
    struct hg_peer *lane = calloc(1, sizeof(*lane));
    if (lane == NULL)
        return NULL;
    lane->peers = head->peers;
    lane->head = head;
    lane->index = head->index;
    lane->worker_remote = (uint8_t)worker;
    memcpy(lane->name, head->name, sizeof(lane->name));
    lane->node = head->node;
    lane->region = head->region;
    lane->path_mtu_bytes = head->path_mtu_bytes;
    lane->current = lane->next = -1;
    lane_name(lane);
    if (!peer_memory_take(lane)) {
        free(lane);
        return NULL;
    }
    lane->used = true;
    lane->state = HG_PEER_HANDSHAKE;
    lane->state_since_ns = now_ns;
    lane->lane_next = head->lane_next;
    head->lane_next = lane;
    return lane;
}

struct hg_peer *hg_peers_lane_open(struct hg_peer *head, uint32_t worker, uint64_t now_ns)
{
    hg_assert(head == head->head);
    if (!head->used || worker >= head->workers_remote)
        return NULL;
    struct hg_peer *lane = lane_find(head, worker);
    if (lane == NULL)
        lane = lane_make(head, worker, now_ns);
    if (lane != NULL && head->lane_keys[worker].generation != 0) {
        session_begin(lane, &head->lane_keys[worker], now_ns);
        explicit_bzero(&head->lane_keys[worker], sizeof(head->lane_keys[worker]));
    }
    return lane;
}

/* The node began anew with another number of workers: its former lanes lead nowhere. */
static void workers_remote_set(struct hg_peer *head, uint8_t workers)
{
    if (head->workers_remote == workers)
        return;
    lanes_forget(head);
    lane_keys_wipe(head);
    head->workers_remote = workers;
    head->worker_remote = head->peers->config.worker % workers;
    memset(head->stream_worker, head->worker_remote, head->peers->config.streams_max);
    lane_name(head);
}

void hg_peers_keys(struct hg_peers *peers, uint32_t index, const struct hg_handshake_keys *keys,
                   uint64_t now_ns)
{
    struct hg_peer *head = hg_peers_at(peers, index);
    hg_assert(keys->worker_remote < keys->workers_remote && keys->workers_remote <= HG_WIRE_WORKERS_MAX);
    hg_assert(keys->worker_local == peers->config.worker);
    if (!head->used)
        return;
    workers_remote_set(head, keys->workers_remote);
    struct hg_peer *lane = lane_find(head, keys->worker_remote);
    if (lane != NULL && keys->lane_generation != keys->generation)
        session_renew(lane, keys, now_ns);
    else if (lane != NULL)
        session_begin(lane, keys, now_ns);
    else
        head->lane_keys[keys->worker_remote] = *keys;
}

void hg_peers_key_changed(struct hg_peers *peers, uint32_t index, uint64_t now_ns)
{
    struct hg_peer *head = hg_peers_at(peers, index);
    bool lasts = false;
    for (struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next) {
        if (lane->next >= 0)
            session_close(&lane->sessions[lane->next]);
        lane->next = -1;
        if (lane->current >= 0) {
            lane->sessions[lane->current].end_ns = now_ns + HG_PEER_KEY_GRACE_NS;
            hg_keyring_waiting_wipe(&lane->sessions[lane->current].keyring);
        }
        lasts |= lane->current >= 0;
    }
    lane_keys_wipe(head);
    hg_event_put(peers->config.events, HG_EVENT_peer_key_changed, head->name,
                 lasts ? HG_PEER_KEY_GRACE_NS / HG_NS_PER_S : 0, 0);
}

void hg_peers_cloned(struct hg_peers *peers, uint32_t index, uint64_t now_ns)
{
    struct hg_peer *head = hg_peers_at(peers, index);
    if (!head->used)
        return;
    for (struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next) {
        session_current_end(lane);
        if (lane->next >= 0)
            session_close(&lane->sessions[lane->next]);
        lane->next = -1;
        peer_state_set(lane, HG_PEER_CLONED, now_ns);
    }
    lane_keys_wipe(head);
    hg_streams_peer_gone(peers->config.streams, index);
    if (peers->config.worker == 0)
        hg_event_put(peers->config.events, HG_EVENT_peer_cloned, head->name, 0, 0);
}

static bool session_has_spi(const struct hg_peer_session *session, uint32_t spi, uint32_t *place)
{
    int32_t found = session->live ? hg_keyring_find(&session->keyring, spi) : -1;
    *place = (uint32_t)found;
    return found >= 0;
}

struct hg_peer_session *hg_peers_session_of_spi(struct hg_peers *peers, uint32_t spi, uint32_t *place)
{
    struct hg_peer_session *last = peers->session_last;
    if (last != NULL && session_has_spi(last, spi, place))
        return last;
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane))
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++) {
            struct hg_peer_session *session = &lane->sessions[j];
            if (session_has_spi(session, spi, place)) {
                peers->session_last = session;
                return session;
            }
        }
    return NULL;
}

static enum hg_esp_reason packet_try(struct hg_peers *peers, const struct hg_handshake_keys *keys,
                                     const uint8_t *esp, uint32_t bytes, uint8_t *scratch)
{
    uint32_t inner_bytes;
    uint64_t number;
    struct hg_esp_sa *sa = hg_esp_sa_init(peers->trial, keys->spi_rx, keys->key_rx, keys->salt_rx);
    enum hg_esp_reason reason = hg_esp_open(sa, esp, bytes, scratch, &inner_bytes, &number);
    hg_esp_sa_wipe(sa);
    return reason;
}

struct hg_peer_session *hg_peers_lane_first(struct hg_peers *peers, const uint8_t *esp, uint32_t bytes,
                                            uint8_t *scratch, uint64_t now_ns, enum hg_esp_reason *reason)
{
    uint32_t spi = hg_esp_spi(esp, bytes);
    uint32_t worker = spi % HG_WIRE_WORKERS_MAX; /* who sends */
    *reason = HG_ESP_SPI;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct hg_peer *head = &peers->table[i];
        const struct hg_handshake_keys *keys = head->used ? &head->lane_keys[worker] : NULL;
        if (keys == NULL || keys->generation == 0 || keys->spi_rx != spi)
            continue;
        enum hg_esp_reason tried = packet_try(peers, keys, esp, bytes, scratch);
        struct hg_peer *lane = tried == HG_ESP_OK ? hg_peers_lane_open(head, worker, now_ns) : NULL;
        *reason = tried == HG_ESP_OK ? HG_ESP_SPI : tried; /* without memory it is of no lane */
        return lane == NULL ? NULL : &lane->sessions[lane->next];
    }
    return NULL;
}

bool hg_peers_spi_replaced(struct hg_peers *peers, uint32_t index, uint32_t spi)
{
    for (const struct hg_peer *lane = hg_peers_at(peers, index); lane != NULL; lane = lane->lane_next) {
        if (lane->spi_replaced == spi)
            return true;
        for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
            if (lane->sessions[i].live && lane->sessions[i].keyring.spi_replaced == spi)
                return true;
    }
    return false;
}

static void peer_up_tell(struct hg_peer *peer, const struct hg_peer_session *session)
{
    hg_event_put(peer->peers->config.events, HG_EVENT_peer_up, peer->lane_name, session->generation, 0);
    hg_log_heal_again(peer->peers->config.log);
}

static void session_promote(struct hg_peer_session *session, uint64_t now_ns)
{
    struct hg_peer *peer = session->peer;
    session_current_end(peer);
    peer->current = peer->next;
    peer->next = -1;
    peer->pinged_ns = now_ns;
    if (peer->state != HG_PEER_UP)
        peer_up_tell(peer, session);
    peer_state_set(peer, HG_PEER_UP, now_ns);
    hg_peers_open_streams(peer, now_ns);
}

void hg_peers_receive(struct hg_peer_session *session, uint32_t place, const uint8_t *inner, uint32_t bytes,
                      uint64_t packet_number, enum hg_ecn_codepoint ecn, uint64_t now_ns)
{
    struct hg_peer *peer = session->peer;
    peer->peers->now_ns = now_ns;
    if (peer->next >= 0 && session == &peer->sessions[peer->next])
        session_promote(session, now_ns);
    if (hg_keyring_opened(&session->keyring, place, hg_lane_linger_ns(session->lane), now_ns)) {
        peer->renewals_count++;
        hg_lane_ping(session->lane); /* so that the other side soon has a packet under the new keys */
    }
    hg_lane_receive(session->lane, inner, bytes, packet_number, ecn, now_ns);
}

void hg_peers_log_moved(struct hg_peers *peers, uint64_t now_ns)
{
    peers->now_ns = now_ns;
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        if (peer->current < 0)
            continue;
        hg_lane_offer(peer->sessions[peer->current].lane);
        hg_peers_report_durable(peer);
        hg_peers_cuts_advance(peer);
    }
}

/* What a lane finds out about its path outlives it: the next one begins there. */
static void peer_path_mtu(struct hg_peer *peer, const struct hg_lane_stats *stats)
{
    uint32_t mtu_bytes = peer->head->mtu_bytes;
    uint64_t before = peer->path_mtu_bytes != 0 ? peer->path_mtu_bytes : mtu_bytes;
    if (stats->path_mtu_bytes == before)
        return;
    bool narrow = stats->path_mtu_bytes < mtu_bytes;
    peer->path_mtu_bytes = narrow ? (uint32_t)stats->path_mtu_bytes : 0;
    hg_event_put(peer->peers->config.events, narrow ? HG_EVENT_path_narrow : HG_EVENT_path_wide,
                 peer->lane_name, stats->path_mtu_bytes, mtu_bytes);
}

/* The circuit breaker of a fixed rate: said when it opens and when it has closed, not at each step. */
static void peer_rate_reduced(struct hg_peer *peer, const struct hg_lane_stats *stats)
{
    if (stats->rate_reduced == peer->rate_reduced)
        return;
    peer->rate_reduced = stats->rate_reduced;
    hg_event_put(peer->peers->config.events,
                 peer->rate_reduced ? HG_EVENT_path_overrun : HG_EVENT_path_overrun_over, peer->lane_name,
                 stats->pacing_bytes_per_s, peer->head->rate_bytes_per_s);
}

/* Said once each time that a lane ends the marking of its packets by itself. */
static void peer_ecn_over(struct hg_peer *peer, const struct hg_lane_stats *stats)
{
    if (stats->ecn_over && !peer->ecn_over)
        hg_event_put(peer->peers->config.events, HG_EVENT_path_ecn_over, peer->lane_name, stats->ecn_sent,
                     stats->ecn_marked_there);
    peer->ecn_over = stats->ecn_over;
}

static void peer_tick_keys(struct hg_peer *peer, uint64_t now_ns)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    const struct hg_keyring *ring = &session->keyring;
    const struct hg_peers_config *config = &peer->peers->config;
    hg_keyring_tick(&session->keyring, now_ns);
    bool used_up = !hg_keyring_may_seal(ring, now_ns);
    if (used_up && !peer->key_used_up_told)
        hg_event_put(config->events, HG_EVENT_peer_key_used_up, peer->lane_name, hg_keyring_generation(ring),
                     0);
    peer->key_used_up_told = used_up;
    /* Keys that were just agreed on are on their way into use: others would take their place. */
    bool settling = peer->next >= 0 && now_ns - peer->sessions[peer->next].since_ns < HG_PEER_SILENT_NS;
    bool used = hg_keyring_wants_rekey(ring, now_ns);
    if (settling || (!used && peer->state != HG_PEER_DOWN))
        return;
    /* Again and again: an ask may be lost on its way. */
    uint32_t generation = ring->places[ring->newest].generation;
    if (now_ns - peer->rekey_asked_ns < HG_PEER_REKEY_NS &&
        (!used || peer->rekey_asked_generation == generation))
        return;
    peer->rekey_asked_ns = now_ns;
    peer->rekey_asked_generation = generation;
    config->rekey(config->ctx, peer->index, used ? HG_REKEY_USED : HG_REKEY_SILENT);
}

static void peer_tick_session(struct hg_peer *peer, uint64_t now_ns)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    uint64_t heard_ns = hg_max_u64(hg_lane_heard_ns(session->lane), session->since_ns);
    uint64_t silent_ns = now_ns > heard_ns ? now_ns - heard_ns : 0;
    if (silent_ns >= HG_PEER_SILENT_NS && peer->state == HG_PEER_UP) {
        peer_state_set(peer, HG_PEER_DOWN, now_ns);
        hg_event_put(peer->peers->config.events, HG_EVENT_peer_down, peer->lane_name,
                     silent_ns / HG_NS_PER_MS, 0);
    } else if (silent_ns < HG_PEER_SILENT_NS && peer->state == HG_PEER_DOWN) {
        peer_state_set(peer, HG_PEER_UP, now_ns);
        peer_up_tell(peer, session);
    }
    if (now_ns - peer->pinged_ns >= HG_PEER_PING_NS) {
        peer->pinged_ns = now_ns;
        hg_lane_ping(session->lane);
    }
    peer_tick_keys(peer, now_ns);
    peer_path_mtu(peer, hg_lane_stats(session->lane));
    peer_rate_reduced(peer, hg_lane_stats(session->lane));
    peer_ecn_over(peer, hg_lane_stats(session->lane));
    hg_peers_open_streams(peer, now_ns);
    hg_peers_need(peer);
    hg_peers_retry(peer);
    hg_peers_cuts_advance(peer);
    hg_peers_report_committed(peer);
}

/* Streams of ours are owned by workers there to whom there was no memory or no key for a lane. */
static void lanes_wanted(struct hg_peer *head, uint64_t now_ns)
{
    for (uint32_t worker = 0; worker < head->workers_remote; worker++)
        if (head->lanes_wanted & (UINT64_C(1) << worker) && hg_peers_lane_open(head, worker, now_ns) != NULL)
            head->lanes_wanted &= ~(UINT64_C(1) << worker);
}

void hg_peers_tick(struct hg_peers *peers, uint64_t now_ns)
{
    peers->now_ns = now_ns;
    for (uint32_t i = 0; i < peers->count; i++)
        if (peers->table[i].lanes_wanted != 0)
            lanes_wanted(&peers->table[i], now_ns);
    for (uint32_t i = 0; i < peers->count; i++)
        hg_peers_share(&peers->table[i], now_ns);
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        uint64_t end_ns = peer->current >= 0 ? peer->sessions[peer->current].end_ns : 0;
        if (end_ns != 0 && now_ns >= end_ns) {
            session_current_end(peer);
            peer_state_set(peer, HG_PEER_HANDSHAKE, now_ns);
            hg_event_put(peers->config.events, HG_EVENT_peer_key_over, peer->lane_name, 0, 0);
        }
        if (peer->current >= 0)
            peer_tick_session(peer, now_ns);
    }
    hg_peers_heal_turn(peers);
}
