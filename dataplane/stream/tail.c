/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/tail.h"
#include "dataplane/stream/streams_internal.h"

enum hg_streams_tail hg_streams_tail(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    if (!s->tail_unknown || !s->origin_local || s->kind == 0 ||
        !hg_streams_group_has_quorum(streams, s->group))
        return HG_STREAMS_TAIL_KNOWN;
    for (uint64_t more = s->tail_more; more != 0; more &= more - 1) /* learners were never counted on */
        if (hg_streams_peer_counts(streams, s->group, (uint32_t)__builtin_ctzll(more)))
            return HG_STREAMS_TAIL_LOST;
    return HG_STREAMS_TAIL_WAITS;
}

/* Of these peers those whose logs count. */
static uint64_t counting(const struct hg_streams *streams, const struct hg_stream_state *s, uint64_t peers)
{
    uint64_t found = 0;
    for (; peers != 0; peers &= peers - 1)
        if (hg_streams_copy_counts(streams, s, (uint32_t)__builtin_ctzll(peers)))
            found |= peers & -peers;
    return found;
}

static bool is_proved_by_file(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    uint64_t others = streams->quorum_members & s->peers_mask;
    uint32_t n = (uint32_t)__builtin_popcountll(others) + 1;
    uint64_t said = counting(streams, s, others & s->tail_said);
    return streams->quorum_w <= n &&
           (said == others ||
            (uint32_t)__builtin_popcountll(said & ~s->tail_vague) >= n - streams->quorum_w + 1);
}

static uint32_t nodes_of(const struct hg_streams_voters *voters, uint64_t peers, uint64_t *nodes)
{
    uint32_t count = 0;
    for (; peers != 0; peers &= peers - 1)
        nodes[count++] = voters->nodes[__builtin_ctzll(peers)];
    return count;
}

static bool is_proved_by_members(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    const struct hg_streams_voters *voters = &streams->voters[s->group];
    const struct hg_members *members = &voters->members;
    uint64_t said = counting(streams, s, voters->counted & s->peers_mask & s->tail_said);
    uint64_t nodes[HG_STREAMS_PEERS_MAX + 1];
    uint32_t count = nodes_of(voters, said & ~s->tail_vague, nodes);
    if (hg_members_sealed_by(members, nodes, count))
        return true;
    count = nodes_of(voters, said, nodes);
    nodes[count++] = voters->self; /* all others */
    return hg_members_all_of(members, nodes, count);
}

static bool is_proved(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    if (streams->voters[s->group].members.generation != 0)
        return is_proved_by_members(streams, s);
    return hg_log_members_wanted(streams->log, s->group) == 0 && is_proved_by_file(streams, s);
}

/* What is appended from now on lies behind the record in the log. */
static void tail_settle(struct hg_streams *streams, struct hg_stream_state *s)
{
    struct hg_local_record record;
    if (hg_streams_tail(streams, s) != HG_STREAMS_TAIL_WAITS || !is_proved(streams, s))
        return;
    hg_streams_record_of_stream(s, &record);
    record.tail_unknown = 0;
    if (hg_log_append_records(streams->log, &record, 1) == 0)
        return; /* tried again by the watch */
    s->tail_unknown = false;
    hg_streams_moved(streams, s);
    hg_event_put(streams->config.events, HG_EVENT_stream_tail_known, s->name, s->lsn_durable, 0);
}

void hg_streams_tail_said(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                          bool is_unknown)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    uint64_t bit = UINT64_C(1) << peer;
    if (!s->tail_unknown || !s->origin_local)
        return;
    if (lsn > s->lsn_durable) {
        s->tail_more |= bit;
        s->tail_lsn_more = hg_max_u64(s->tail_lsn_more, lsn);
        hg_streams_moved(streams, s);
        return;
    }
    s->tail_said |= bit;
    s->tail_vague &= ~bit;
    s->tail_vague |= is_unknown ? bit : 0;
    tail_settle(streams, s);
}

static void tail_tell(struct hg_streams *streams, struct hg_stream_state *s, uint64_t now_ns)
{
    enum hg_streams_tail tail = hg_streams_tail(streams, s);
    if (tail == HG_STREAMS_TAIL_KNOWN || s->tail_since_ns == 0)
        s->tail_since_ns = now_ns;
    bool is_long = now_ns - s->tail_since_ns >= HG_STREAMS_QUORUM_QUIET_NS;
    if (tail == HG_STREAMS_TAIL_LOST && s->tail_told != tail)
        hg_event_put(streams->config.events, HG_EVENT_stream_tail_lost, s->name, s->tail_lsn_more,
                     s->lsn_durable);
    else if (tail == HG_STREAMS_TAIL_WAITS && s->tail_told != tail && is_long)
        hg_event_put(streams->config.events, HG_EVENT_stream_tail_unknown, s->name, s->lsn_durable, 0);
    else if (tail == HG_STREAMS_TAIL_WAITS && s->tail_told != tail)
        return;
    s->tail_told = (uint8_t)tail;
}

void hg_streams_tails_watch(struct hg_streams *streams, uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (!s->tail_unknown || !s->configured)
            continue;
        tail_settle(streams, s);
        tail_tell(streams, s, now_ns);
    }
}
