/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams that may not leave their region yet must not hold up those that may. The lane's cursor passes over
 * them; each remembers where its next batch is. When that is committed, a second cursor walks the log again,
 * from the first such place to where the lane's cursor stands, for all streams that may leave by then; those
 * that become free behind it wait for its next walk. So memory is one place a stream, and what many streams
 * waited for is read once or twice, not once for each.
 */
#include "dataplane/stream/peers_internal.h"

static int cursor_compare(const struct hg_cursor *a, const struct hg_cursor *b)
{
    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

void hg_peers_hold_end(struct hg_peer *peer, uint32_t slot)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    peer->held_count -= ps->held == HG_PEER_STREAM_HELD;
    peer->returning_count -= ps->held == HG_PEER_STREAM_RETURNS;
    ps->held = HG_PEER_STREAM_NOT_HELD;
}

void hg_peers_hold(struct hg_peer *peer, uint32_t slot, const struct hg_cursor *at,
                   const struct hg_batch_header *header)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    hg_peers_hold_end(peer, slot);
    ps->held = HG_PEER_STREAM_HELD;
    ps->held_at = (struct hg_cursor){.sequence = at->sequence, .offset = at->offset};
    ps->held_lsn_end = header->lsn_end;
    peer->held_count++;
}

static bool may_leave(const struct hg_peer *peer, uint32_t slot)
{
    const struct hg_peer_stream *ps = &peer->streams[slot];
    return ps->held == HG_PEER_STREAM_HELD &&
           ps->held_lsn_end <= hg_streams_at(peer->peers->config.streams, slot)->lsn_committed;
}

static void returns(struct hg_peer *peer, uint32_t slot)
{
    hg_peers_hold_end(peer, slot);
    peer->streams[slot].held = HG_PEER_STREAM_RETURNS;
    peer->returning_count++;
}

void hg_peers_held_committed(struct hg_peer *peer, uint32_t slot)
{
    if (peer->held_count == 0 || slot >= peer->peers->config.streams_max || !may_leave(peer, slot))
        return;
    if (peer->cursor_held.sequence != 0 &&
        cursor_compare(&peer->streams[slot].held_at, &peer->cursor_held) >= 0)
        returns(peer, slot);
    else
        peer->held_due = true;
}

static void walk_begin(struct hg_peer *peer)
{
    uint32_t count = hg_streams_count(peer->peers->config.streams);
    peer->held_due = false;
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++) {
        if (!may_leave(peer, slot))
            continue;
        const struct hg_cursor *at = &peer->streams[slot].held_at;
        if (peer->cursor_held.sequence == 0 || cursor_compare(at, &peer->cursor_held) < 0)
            peer->cursor_held = *at;
        returns(peer, slot);
    }
}

/* The lane's cursor has all of them again. It may have gone back meanwhile: what it meets a second time has
 * left. */
static void walk_end(struct hg_peer *peer)
{
    uint32_t count = hg_streams_count(peer->peers->config.streams);
    for (uint32_t slot = 0; peer->returning_count > 0 && slot < count; slot++)
        if (peer->streams[slot].held == HG_PEER_STREAM_RETURNS)
            hg_peers_hold_end(peer, slot);
    peer->cursor_held.sequence = 0;
}

bool hg_peers_held_walks(struct hg_peer *peer)
{
    bool meets = peer->cursor_held.sequence != 0 &&
                 (peer->returning_count == 0 || cursor_compare(&peer->cursor_held, &peer->cursor) >= 0);
    if (meets)
        walk_end(peer);
    if (peer->cursor_held.sequence == 0 && peer->held_due)
        walk_begin(peer);
    return peer->cursor_held.sequence != 0;
}

uint64_t hg_peers_sequence_next(const struct hg_peer *peer, uint32_t slot)
{
    const struct hg_peer_stream *ps = &peer->streams[slot];
    if (ps->held == HG_PEER_STREAM_HELD)
        return ps->held_at.sequence;
    /* The lane's cursor may have gone back behind the second one. */
    return ps->held == HG_PEER_STREAM_RETURNS ? hg_min_u64(peer->cursor_held.sequence, peer->cursor.sequence)
                                              : peer->cursor.sequence;
}
