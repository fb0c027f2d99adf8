/* SPDX-License-Identifier: Apache-2.0
 *
 * What a corrupt write of the log lacks is asked for from peers, a window of a batch at a time, one peer
 * after the other, and put together in the log's memory, which proves it before it counts
 * (dataplane/wal/log_heal.h). And the other side: a batch by its identity, to peers that may have its stream.
 * Ticks bound the rate; who asks asks again, so nothing here is kept over a session.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"

#include <errno.h>
#include <stdio.h>

#define CHUNKS HG_WIRE_REPAIR_CHUNKS

const char *hg_peers_heal_name(enum hg_peers_heal_reason reason)
{
    static const char *const names[] = {
#define HG_X(name, text) #name,
        HG_PEERS_HEAL_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_PEERS_HEAL_COUNT ? names[reason] : "unknown";
}

const struct hg_peers_heal *hg_peers_heal_of(const struct hg_peers *peers)
{
    return &peers->heal;
}

static void count(struct hg_peers *peers, enum hg_peers_heal_reason reason)
{
    peers->heal.counts[reason]++;
}

/* ---- asking ---- */

static uint32_t window_bytes(const struct hg_peers_heal *heal)
{
    return (uint32_t)hg_min_u64(heal->want.bytes - heal->offset, CHUNKS * HG_WIRE_REPAIR_BYTES);
}

static uint64_t window_all(const struct hg_peers_heal *heal)
{
    uint32_t chunks = (window_bytes(heal) + HG_WIRE_REPAIR_BYTES - 1) / HG_WIRE_REPAIR_BYTES;
    return chunks == 64 ? UINT64_MAX : (UINT64_C(1) << chunks) - 1;
}

/* On all lanes to the node that are up: the worker there that has the stream answers. */
static bool ask_send(struct hg_peers *peers)
{
    struct hg_peers_heal *heal = &peers->heal;
    struct hg_wire_log_repair_ask ask;
    bool sent = false;
    memset(&ask, 0, sizeof(ask));
    ask.control.type = HG_WIRE_LOG_REPAIR_ASK;
    ask.control.bytes = sizeof(ask);
    ask.stream = heal->want.stream;
    ask.epoch = heal->want.epoch;
    ask.lsn_end = heal->want.lsn_end;
    memcpy(ask.chain, heal->want.chain, sizeof(ask.chain));
    ask.incarnation = heal->want.incarnation;
    ask.batch_bytes = heal->want.is_header ? 0 : heal->want.bytes;
    ask.offset = heal->offset;
    ask.bytes = window_bytes(heal);
    for (struct hg_peer *lane = &peers->table[heal->peer]; lane != NULL; lane = lane->lane_next)
        sent |= lane->current >= 0 && !lane->head->removed &&
                hg_lane_control_send(lane->sessions[lane->current].lane, &ask.control) == 0;
    if (sent)
        count(peers, HG_PEERS_HEAL_asked);
    heal->deadline_ns = peers->now_ns + HG_PEERS_HEAL_WAIT_NS;
    return sent;
}

/* Another peer, from the beginning of the batch: what one gave is not mixed with what others give. After the
 * last it is given up until the log wants it again. */
static void next_peer(struct hg_peers *peers)
{
    struct hg_peers_heal *heal = &peers->heal;
    heal->offset = 0;
    heal->got = 0;
    heal->tries = 0;
    for (heal->peer++; heal->peer < peers->count; heal->peer++)
        if (ask_send(peers))
            return;
    heal->is_asking = false;
    hg_log_heal_give_up(peers->config.log);
}

static bool is_wanted(const struct hg_log_heal_want *a, const struct hg_log_heal_want *b)
{
    return a->sequence == b->sequence && a->stream == b->stream && a->lsn_end == b->lsn_end &&
           a->bytes == b->bytes && a->is_header == b->is_header &&
           memcmp(a->chain, b->chain, sizeof(a->chain)) == 0;
}

static void ask_turn(struct hg_peers *peers)
{
    struct hg_peers_heal *heal = &peers->heal;
    struct hg_log_heal_want want;
    if (!hg_log_heal_wants(peers->config.log, &want)) {
        heal->is_asking = false;
        return;
    }
    if (!heal->is_asking || !is_wanted(&want, &heal->want)) {
        heal->want = want;
        heal->is_asking = true;
        heal->peer = UINT32_MAX; /* the next is the first */
        next_peer(peers);
        return;
    }
    if (peers->now_ns < heal->deadline_ns)
        return;
    count(peers, HG_PEERS_HEAL_timeout);
    if (++heal->tries >= HG_PEERS_HEAL_TRIES || !ask_send(peers))
        next_peer(peers);
}

static void window_done(struct hg_peers *peers)
{
    struct hg_peers_heal *heal = &peers->heal;
    heal->offset += window_bytes(heal);
    heal->got = 0;
    heal->tries = 0;
    if (heal->offset < heal->want.bytes) {
        if (!ask_send(peers))
            next_peer(peers);
        return;
    }
    if (hg_log_heal_filled(peers->config.log)) {
        count(peers, HG_PEERS_HEAL_taken);
        heal->is_asking = false;
        return;
    }
    count(peers, HG_PEERS_HEAL_not_verified);
    next_peer(peers);
}

void hg_peers_repair_data_received(struct hg_peer_session *session,
                                   const struct hg_wire_log_repair_data *data)
{
    struct hg_peers *peers = session->peer->peers;
    struct hg_peers_heal *heal = &peers->heal;
    struct hg_log_heal_want want;
    bool is_of = heal->is_asking && hg_log_heal_wants(peers->config.log, &want) &&
                 is_wanted(&want, &heal->want) && session->peer->index == heal->peer &&
                 data->stream == want.stream && data->lsn_end == want.lsn_end &&
                 memcmp(data->chain, want.chain, sizeof(want.chain)) == 0;
    if (is_of && data->status != HG_WIRE_REPAIR_OK) {
        count(peers,
              data->status == HG_WIRE_REPAIR_CORRUPT ? HG_PEERS_HEAL_corrupt_there : HG_PEERS_HEAL_not_there);
        next_peer(peers);
        return;
    }
    uint32_t window = is_of ? window_bytes(heal) : 0, chunk = data->offset - heal->offset;
    if (!is_of || data->offset < heal->offset || chunk >= window || chunk % HG_WIRE_REPAIR_BYTES != 0 ||
        data->bytes != hg_min_u64(window - chunk, HG_WIRE_REPAIR_BYTES)) {
        count(peers, HG_PEERS_HEAL_stray);
        hg_lane_control_refused(session->lane);
        return;
    }
    hg_log_heal_fill(peers->config.log, data->offset, data->data, data->bytes);
    heal->got |= UINT64_C(1) << chunk / HG_WIRE_REPAIR_BYTES;
    if (heal->got == window_all(heal))
        window_done(peers);
}

/* ---- answering ---- */

/* Who writes the stream, who gets it, and who is in its quorum. The chain says that it had the batch. */
static bool may_have(const struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (s->origin_local && (s->peers_mask & UINT64_C(1) << peer->index) != 0)
        return true;
    if (!s->origin_local &&
        (s->origin_node == peer->head->node || (s->origin_node == 0 && s->region == peer->head->region)))
        return true;
    return hg_streams_peer_counts(streams, s->group, peer->index);
}

/* Of a whole batch, or the header of one whose size is not known. */
static bool sizes_are_right(const struct hg_wire_log_repair_ask *ask)
{
    if (ask->batch_bytes == 0)
        return ask->offset == 0 && ask->bytes == sizeof(struct hg_batch_header);
    return ask->batch_bytes <= HG_BATCH_BYTES_MAX && ask->bytes != 0 &&
           ask->bytes <= CHUNKS * HG_WIRE_REPAIR_BYTES && ask->offset < ask->batch_bytes &&
           ask->bytes <= ask->batch_bytes - ask->offset && ask->offset % HG_WIRE_REPAIR_BYTES == 0;
}

void hg_peers_repair_ask_received(struct hg_peer_session *session, const struct hg_wire_log_repair_ask *ask)
{
    struct hg_peer *peer = session->peer;
    struct hg_peers *peers = peer->peers;
    int32_t slot = hg_streams_find(peers->config.streams, ask->stream);
    if (slot < 0 || hg_streams_at(peers->config.streams, (uint32_t)slot)->ended) {
        hg_lane_control_refused(session->lane); /* another worker of ours has it */
        return;
    }
    bool is_bad = ask->lsn_end == 0 || !sizes_are_right(ask);
    if (is_bad || !may_have(peer, (uint32_t)slot)) {
        count(peers, is_bad ? HG_PEERS_HEAL_ask_limit : HG_PEERS_HEAL_stranger);
        hg_lane_control_refused(session->lane);
        return;
    }
    bool is_same = peer->repair.stream == ask->stream && peer->repair.lsn_end == ask->lsn_end &&
                   peer->repair_cursor.sequence != 0;
    peer->repair = *ask;
    peer->repair_slot = (uint32_t)slot;
    peer->repair_due = true;
    if (is_same)
        return; /* the cursor stands there, or on its way */
    peer->repair_cursor.sequence =
        hg_max_u64(hg_streams_sequence_of(peers->config.streams, (uint32_t)slot, ask->lsn_end - 1), 1);
    peer->repair_cursor.offset = 0;
    peer->repair_salvages = peer->repair_met_corrupt = false;
}

static void data_send(struct hg_peer *peer, uint16_t status, uint32_t offset, const uint8_t *from)
{
    const struct hg_wire_log_repair_ask *ask = &peer->repair;
    struct hg_wire_log_repair_data data;
    memset(&data, 0, sizeof(data));
    data.control.type = HG_WIRE_LOG_REPAIR_DATA;
    data.control.bytes = sizeof(data);
    data.control.alias = offset / HG_WIRE_REPAIR_BYTES % CHUNKS;
    data.stream = ask->stream;
    data.lsn_end = ask->lsn_end;
    memcpy(data.chain, ask->chain, sizeof(data.chain));
    data.offset = offset;
    data.status = status;
    if (from != NULL) {
        data.bytes = (uint16_t)hg_min_u64(ask->offset + ask->bytes - offset, HG_WIRE_REPAIR_BYTES);
        memcpy(data.data, from + offset, data.bytes);
    }
    (void)hg_lane_control_send(peer->sessions[peer->current].lane, &data.control); /* asked again else */
}

static void refuse(struct hg_peer *peer, uint16_t status)
{
    data_send(peer, status, peer->repair.offset, NULL);
    peer->repair_due = false;
    peer->repair_cursor.sequence = 0;
    count(peer->peers, HG_PEERS_HEAL_refused);
}

static bool is_asked(const struct hg_peer *peer, const struct hg_batch_header *header)
{
    const struct hg_wire_log_repair_ask *ask = &peer->repair;
    return (header->flags & HG_BATCH_LOCAL) == 0 && header->stream == ask->stream &&
           header->lsn_end == ask->lsn_end && memcmp(header->chain, ask->chain, sizeof(ask->chain)) == 0 &&
           (ask->batch_bytes == 0 || hg_batch_bytes(header) == ask->batch_bytes) &&
           header->incarnation == ask->incarnation && (ask->epoch == 0 || header->epoch == ask->epoch);
}

/* The log's checksums vouch for what is read from it, and the batch's own once more. */
static void batch_give(struct hg_peer *peer, const struct hg_batch_header *header)
{
    const struct hg_wire_log_repair_ask *ask = &peer->repair;
    if (!is_asked(peer, header) || hg_batch_verify(header, hg_batch_bytes(header)) != HG_BATCH_REASON_OK) {
        refuse(peer, HG_WIRE_REPAIR_ABSENT);
        return;
    }
    for (uint32_t at = 0; at < ask->bytes; at += HG_WIRE_REPAIR_BYTES)
        data_send(peer, HG_WIRE_REPAIR_OK, ask->offset + at, (const uint8_t *)header);
    peer->repair_due = false;
    count(peer->peers, HG_PEERS_HEAL_given);
}

static bool is_cut(const struct hg_peer *peer, const struct hg_batch_header *header)
{
    return hg_streams_batch_is_cut(peer->peers->config.streams, peer->repair_slot,
                                   peer->repair_cursor.sequence, header);
}

/* Of a write that is corrupt each batch is given that is whole all the same: who asks lacks another one of
 * it, perhaps. False: this turn is over. */
static bool salvage(struct hg_peer *peer)
{
    struct hg_log *log = peer->peers->config.log;
    const struct hg_batch_header *header;
    uint32_t at = 0;
    int rc = hg_log_salvage_at(log, peer->repair_cursor.sequence);
    if (rc == 0)
        return false; /* being read */
    while (rc > 0 && (header = hg_log_salvage_next(log, &at)) != NULL)
        if (is_asked(peer, header) && !is_cut(peer, header)) {
            batch_give(peer, header);
            count(peer->peers, HG_PEERS_HEAL_salvaged);
            return false;
        }
    peer->repair_salvages = false;
    peer->repair_met_corrupt = true;
    peer->repair_cursor.sequence++;
    peer->repair_cursor.offset = 0;
    return true;
}

static void not_found(struct hg_peer *peer)
{
    refuse(peer, peer->repair_met_corrupt ? HG_WIRE_REPAIR_CORRUPT : HG_WIRE_REPAIR_ABSENT);
}

static void answer_turn(struct hg_peer *peer)
{
    const struct hg_batch_header *header;
    for (uint32_t budget = HG_PEER_NEXT_BUDGET; budget > 0; budget--) {
        if (peer->repair_salvages) {
            if (!salvage(peer))
                return;
            continue;
        }
        int rc = hg_cursor_peek(&peer->repair_cursor, peer->peers->config.log, &header);
        if (rc == 0 && peer->repair_cursor.sequence <= hg_log_durable_sequence(peer->peers->config.log))
            return; /* being read */
        if (rc == -EBADMSG) {
            peer->repair_salvages = true;
            continue;
        }
        bool is_of = rc > 0 && (header->flags & HG_BATCH_LOCAL) == 0 &&
                     header->stream == peer->repair.stream && !is_cut(peer, header);
        if (rc <= 0 || (is_of && header->lsn_end > peer->repair.lsn_end)) {
            not_found(peer);
            return;
        }
        if (is_of && header->lsn_end == peer->repair.lsn_end) {
            batch_give(peer, header);
            return;
        }
        hg_cursor_advance(&peer->repair_cursor, header);
    }
}

/* ---- both ---- */

/* Readers that stopped at what is to be had now go on; streams that had a gap there are opened anew. */
static void readers_go_on(struct hg_peers *peers)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        peer->read_corrupt = false;
        uint32_t streams = peer->current < 0 ? 0 : hg_streams_count(peers->config.streams);
        for (uint32_t slot = 0; slot < streams && slot < peers->config.streams_max; slot++)
            if (peer->streams[slot].state == HG_PEER_STREAM_GAP)
                peer->streams[slot].state = HG_PEER_STREAM_CLOSED;
    }
}

static void repaired(struct hg_peers *peers)
{
    const struct hg_log_heal *log = hg_log_heal_of(peers->config.log);
    char name[16];
    snprintf(name, sizeof(name), "%u", peers->config.worker);
    hg_event_put(peers->config.events, HG_EVENT_repaired, name, log->repaired_sequence,
                 hg_log_heal_left(peers->config.log));
}

/* Said once for each try that failed for another reason than that nobody is there yet. */
static void not_repaired(struct hg_peers *peers, enum hg_log_heal_reason reason)
{
    char name[HG_EVENT_SUBJECT_BYTES];
    snprintf(name, sizeof(name), "%u", peers->config.worker);
    hg_event_put(peers->config.events, HG_EVENT_not_repaired, name,
                 hg_log_heal_of(peers->config.log)->sequence, reason);
}

void hg_peers_heal_turn(struct hg_peers *peers)
{
    const struct hg_log_heal *log = hg_log_heal_of(peers->config.log);
    for (uint32_t reason = 0; reason < HG_LOG_HEAL_COUNT; reason++) {
        if (log->counts[reason] == peers->heal.told[reason])
            continue;
        peers->heal.told[reason] = log->counts[reason];
        if (reason == HG_LOG_HEAL_repaired)
            repaired(peers);
        if (reason == HG_LOG_HEAL_repaired || reason == HG_LOG_HEAL_whole)
            readers_go_on(peers);
        else
            not_repaired(peers, (enum hg_log_heal_reason)reason);
    }
    ask_turn(peers);
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer))
        if (peer->repair_due && peer->current >= 0)
            answer_turn(peer);
}
