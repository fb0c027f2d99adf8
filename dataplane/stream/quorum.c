/* SPDX-License-Identifier: Apache-2.0
 *
 * What is committed: counted at the origin, told to the other nodes of its region, given elsewhere.
 */
#include "dataplane/stream/streams_internal.h"

/* The w-th largest end among this node and the members that get the stream. */
static uint64_t committed_counted(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    uint64_t ends[HG_STREAMS_PEERS_MAX + 1]; /* the largest first */
    uint32_t count = 1;
    ends[0] = s->lsn_durable;
    for (uint64_t left = streams->quorum_members & s->peers_mask; left != 0; left &= left - 1) {
        uint64_t end = s->lsn_counted[__builtin_ctzll(left)];
        uint32_t at = count++;
        for (; at > 0 && ends[at - 1] < end; at--)
            ends[at] = ends[at - 1];
        ends[at] = end;
    }
    return streams->quorum_w <= count ? ends[streams->quorum_w - 1] : 0;
}

static uint64_t committed_now(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    if (s->region != streams->config.region)
        return s->lsn_durable; /* its origin sent it: nothing leaves its region before it is committed */
    if (!s->origin_local)
        return hg_min_u64(s->lsn_committed_told, s->lsn_durable);
    return streams->quorum_w == 1 ? s->lsn_durable : committed_counted(streams, s);
}

void hg_streams_committed_move(struct hg_streams *streams, struct hg_stream_state *s)
{
#ifndef HG_SEEDED_BUG_COMMIT_AT_RECOVERY
    uint64_t lsn = s->origin_known ? committed_now(streams, s) : 0;
#else
    uint64_t lsn = s->origin_known ? committed_now(streams, s) : s->lsn_durable;
#endif
    if (lsn <= s->lsn_committed)
        return;
    hg_assert(lsn <= s->lsn_durable);
    s->lsn_committed = lsn;
    s->committed_ns = 0;
    hg_streams_moved(streams, s);
}

void hg_streams_quorum_set(struct hg_streams *streams, uint64_t members, uint32_t w)
{
    hg_assert(w > 0);
    streams->quorum_members = members;
    streams->quorum_w = w;
    for (uint32_t slot = 0; slot < streams->count; slot++)
        hg_streams_committed_move(streams, &streams->table[slot]);
}

uint64_t hg_streams_quorum_members(const struct hg_streams *streams)
{
    return streams->quorum_members;
}

void hg_streams_peer_restated(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    s->lsn_counted[peer] = hg_min_u64(s->lsn_counted[peer], lsn);
}

void hg_streams_peer_gone(struct hg_streams *streams, uint32_t peer)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        hg_streams_peer_restated(streams, slot, peer, 0);
}

void hg_streams_committed_told(struct hg_streams *streams, uint32_t slot, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    s->lsn_committed_told = hg_max_u64(s->lsn_committed_told, lsn);
    hg_streams_committed_move(streams, s);
}

static void stream_watch(struct hg_streams *streams, struct hg_stream_state *s, uint64_t now_ns)
{
    bool waits = s->lsn_committed < s->lsn_durable;
    if (!waits || s->committed_ns == 0)
        s->committed_ns = now_ns;
    bool lost = waits && now_ns - s->committed_ns >= HG_STREAMS_QUORUM_QUIET_NS;
    if (lost && !s->quorum_lost)
        hg_event_put(streams->config.events, HG_EVENT_stream_quorum_lost, s->name, s->lsn_committed,
                     s->lsn_durable);
    if (s->quorum_lost && !lost)
        hg_event_put(streams->config.events, HG_EVENT_stream_quorum_back, s->name, s->lsn_committed, 0);
    s->quorum_lost = lost;
}

void hg_streams_quorum_watch(struct hg_streams *streams, uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->configured && s->origin_local)
            stream_watch(streams, s, now_ns);
    }
}
