/* SPDX-License-Identifier: Apache-2.0
 *
 * Behind the horizon: a peer lacks what our log no longer has. It is told where that begins.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/horizon.h"
#include "dataplane/stream/peers_internal.h"

#include <errno.h>

/* Whether the stream as it is now was where the record has it, under that epoch. A table of before a cut may
 * tell of what was cut off, though what took its place goes further, or of an epoch that was taken back: what
 * is remembered of cuts says neither, and is forgotten before the table is. */
static bool is_of_history(const struct hg_history *history, const struct hg_local_record *record)
{
    uint32_t next = 0;
    while (next < history->count && history->starts[next].epoch <= record->epoch)
        next++;
    bool is_known = next == 0 || history->starts[next - 1].epoch == record->epoch; /* or older than all */
    return is_known && (next == history->count || record->lsn <= history->starts[next].lsn);
}

/* Whether a stream can go on from where the table in write `sequence` has it. What is not committed is not
 * told: a copy that begins anew there counts for all that is before. */
static bool is_usable(const struct hg_peer *peer, uint32_t slot, uint64_t sequence,
                      const struct hg_local_record *record)
{
    const struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    return record->lsn >= hg_streams_lsn_oldest(streams, slot) && record->lsn <= s->lsn_committed &&
           is_of_history(&s->history, record) && !hg_stream_batch_is_cut(s, sequence, record->lsn - 1);
}

static void horizon_send(struct hg_peer *peer, uint32_t slot, const struct hg_local_record *record)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_wire_stream_horizon horizon;
    memset(&horizon, 0, sizeof(horizon));
    horizon.control.type = HG_WIRE_STREAM_HORIZON;
    horizon.control.bytes = sizeof(horizon);
    horizon.control.alias = slot;
    horizon.control.opening = ps->opening;
    horizon.stream = record->stream;
    horizon.lsn_begin = record->lsn_begin;
    horizon.lsn = record->lsn;
    horizon.epoch = record->epoch;
    horizon.epoch_known = record->epoch_known;
    horizon.epoch_lsn = record->epoch_lsn;
    horizon.incarnation = record->incarnation;
    memcpy(horizon.chain, record->chain, sizeof(horizon.chain));
    ps->horizon_due = hg_lane_control_send(peer->sessions[peer->current].lane, &horizon.control) != 0;
}

/* The oldest table that the log may keep for the peer: one that its limit lets go of would be gone when the
 * peer comes back. One table each time, until one is found that will do. */
void hg_peers_horizon_send(struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    struct hg_log *log = peer->peers->config.log;
    struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_local_record record;
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint64_t kept = hg_streams_peer_kept_from(streams, peer->index, peer->peers->now_ns);
    uint64_t sequence = hg_max_u64(ps->horizon_sequence, hg_log_segment_first(log, kept));
    int rc = hg_log_at(log, sequence, &payload, &payload_bytes);
    if (rc == 0)
        return; /* being read: asked again in the next tick */
    ps->horizon_sequence = 0;
    if (rc == 1 && hg_horizon_find(payload, payload_bytes, hg_streams_at(streams, slot)->stream, &record) &&
        is_usable(peer, slot, sequence, &record)) {
        hg_streams_peer_lacks(streams, slot, peer->index, record.lsn, sequence);
        ps->horizon_offered = sequence;
        horizon_send(peer, slot, &record);
        return;
    }
    uint64_t next = hg_log_segment_last(log, sequence) + 1;
    ps->horizon_due = rc != -ERANGE && next <= hg_log_durable_sequence(log);
    if (ps->horizon_due)
        ps->horizon_sequence = next;
}

/* It names the opening that comes next: one that is open already, or over, was told before that. */
static bool is_late(const struct hg_peer *peer, const struct hg_wire_control *control)
{
    const struct hg_peer_alias *pa = &peer->aliases[control->alias];
    return hg_peers_opening_is_over(pa, control->opening) ||
           (pa->slot >= 0 && pa->opening == control->opening);
}

void hg_peers_horizon_received(struct hg_peer_session *session, const struct hg_wire_stream_horizon *horizon)
{
    struct hg_peer *peer = session->peer;
    struct hg_streams *streams = peer->peers->config.streams;
    int32_t slot = hg_streams_find(streams, horizon->stream);
    const struct hg_stream_state *s = slot < 0 ? NULL : hg_streams_at(streams, (uint32_t)slot);
    /* As for STREAM_OPEN: only its origin speaks for a stream. */
    if (s == NULL || !s->configured || s->origin_local || s->region != peer->head->region ||
        (s->origin_node != 0 && s->origin_node != peer->head->node) || s->moving ||
        (s->incarnation != 0 && s->incarnation != horizon->incarnation) || horizon->lsn_begin == 0 ||
        horizon->lsn_begin > horizon->lsn || horizon->control.alias >= HG_WIRE_ALIASES_MAX ||
        is_late(peer, &horizon->control)) {
        hg_lane_control_refused(session->lane);
        return;
    }
    hg_streams_horizon_told(streams, (uint32_t)slot, peer->index, peer->worker_remote, horizon);
}

/* It would ask by itself, but only after a while, in which its log may go on. */
static void horizon_passed(struct hg_peers *peers, const struct hg_stream_horizon *horizon)
{
    struct hg_peer *peer = NULL;
    struct hg_wire_stream_close refuse;
    while ((peer = hg_peers_next(peers, peer)) != NULL)
        if (peer->index == horizon->peer && peer->worker_remote == horizon->worker && peer->current >= 0)
            break;
    if (peer == NULL)
        return;
    memset(&refuse, 0, sizeof(refuse));
    refuse.control.type = HG_WIRE_STREAM_REFUSE;
    refuse.control.bytes = sizeof(refuse);
    refuse.control.alias = horizon->alias;
    refuse.control.opening = horizon->opening;
    refuse.reason = HG_WIRE_MOVED;
    (void)hg_lane_control_send(peer->sessions[peer->current].lane, &refuse.control);
}

void hg_peers_stream_anew(struct hg_peers *peers, uint32_t slot)
{
    struct hg_stream_horizon horizon = hg_streams_at(peers->config.streams, slot)->horizon;
    hg_streams_anew_end(peers->config.streams, slot);
    horizon_passed(peers, &horizon);
}
