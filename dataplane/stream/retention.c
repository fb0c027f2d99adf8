/* SPDX-License-Identifier: Apache-2.0
 *
 * Who still needs what, what is kept though nobody does, and what the log may therefore forget.
 */
#include "dataplane/stream/streams_internal.h"
#include "dataplane/stream/tail.h"

#include <stdio.h>

void hg_streams_peer_durable(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    /* A peer can't have what is not durable here: a batch leaves only then. */
    if (lsn > s->lsn_durable)
        return;
    if (lsn > s->lsn_peer[peer]) {
        s->lsn_peer[peer] = lsn;
        s->lsn_peer_told[peer] = hg_max_u64(s->lsn_peer_told[peer], lsn);
        hg_streams_moved(streams, s);
    }
    if (lsn > s->lsn_counted[peer]) {
        s->lsn_counted[peer] = lsn;
        hg_streams_committed_move(streams, s);
    }
}

void hg_streams_peer_passed(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t sequence)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    s->sequence_peer[peer] = hg_max_u64(s->sequence_peer[peer], sequence);
}

static void peer_falls_back(struct hg_stream_state *s, uint32_t peer, uint64_t lsn, uint64_t sequence)
{
    s->lsn_peer[peer] = hg_min_u64(s->lsn_peer[peer], lsn);
    s->sequence_peer[peer] = hg_min_u64(s->sequence_peer[peer], sequence);
}

void hg_streams_peer_begins(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    if (lsn < s->lsn_peer[peer])
        peer_falls_back(s, peer, lsn, hg_streams_sequence_of(streams, slot, lsn));
}

void hg_streams_peer_lacks(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                           uint64_t sequence)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    peer_falls_back(s, peer, lsn, sequence);
    struct hg_retention_peer *p = &streams->retention.peers[peer];
    bool is_there = p->offered >= hg_log_tail_sequence(streams->log);
    p->offered = is_there ? hg_min_u64(p->offered, sequence) : sequence;
}

uint64_t hg_streams_peer_needs(const struct hg_streams *streams, uint32_t slot, uint32_t peer)
{
    const struct hg_stream_state *s = &streams->table[slot];
    hg_assert(slot < streams->count && peer < HG_STREAMS_PEERS_MAX);
    return hg_max_u64(hg_streams_sequence_of(streams, slot, s->lsn_peer[peer]), s->sequence_peer[peer]);
}

/* Oldest write that a peer still needs of this stream. */
static uint64_t stream_needed_by(const struct hg_streams *streams, uint32_t slot, uint32_t peer)
{
    const struct hg_stream_state *s = &streams->table[slot];
    bool wanted = s->configured && s->origin_local && (s->peers_mask & (UINT64_C(1) << peer)) != 0;
    return wanted ? hg_streams_peer_needs(streams, slot, peer) : UINT64_MAX;
}

static void stream_marks_trim(struct hg_stream_state *s)
{
    uint64_t lsn = s->lsn_durable;
    for (uint64_t peers = s->origin_local ? s->peers_mask : 0; peers != 0; peers &= peers - 1)
        lsn = hg_min_u64(lsn, s->lsn_peer[__builtin_ctzll(peers)]);
    hg_marks_trim(&s->marks, lsn);
}

/* ---- limits ---- */

/* The oldest write within `limit`, 0 = all are. Rounded towards holding more: to a segment, to what is known
 * of when writes were made. */
static uint64_t limit_sequence(const struct hg_streams *streams, const struct hg_retention_limit *limit,
                               uint64_t now_ns)
{
    uint64_t by_bytes = limit->bytes != 0 ? hg_log_sequence_behind(streams->log, limit->bytes) : 0;
    uint64_t by_time = limit->ns != 0 && now_ns > limit->ns
                           ? hg_index_find(&streams->retention.times, now_ns - limit->ns)
                           : 0;
    return hg_max_u64(by_bytes, by_time);
}

/* The oldest write that is to stay by `keep`, UINT64_MAX = none need. */
static uint64_t keep_sequence(const struct hg_streams *streams, const struct hg_retention_limit *keep,
                              uint64_t by_bytes, uint64_t now_ns)
{
    uint64_t sequence = keep->bytes != 0 ? by_bytes : UINT64_MAX;
    if (keep->ns != 0) /* what was there when the process began counts as new */
        sequence = hg_min_u64(
            sequence, now_ns > keep->ns ? hg_index_find(&streams->retention.times, now_ns - keep->ns) : 0);
    return sequence;
}

static uint64_t stream_kept(const struct hg_streams *streams, const struct hg_stream_state *s,
                            uint64_t now_ns)
{
    if (s->index.count == 0 || (s->keep.bytes == 0 && s->keep.ns == 0))
        return UINT64_MAX;
    uint64_t sequence = keep_sequence(streams, &s->keep, hg_index_behind(&s->index, s->keep.bytes), now_ns);
    return s->sequence_last < sequence ? UINT64_MAX : hg_max_u64(sequence, s->index.entries[0].sequence);
}

uint64_t hg_streams_peer_kept_from(const struct hg_streams *streams, uint32_t peer, uint64_t now_ns)
{
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    const struct hg_retention_peer *p = &streams->retention.peers[peer];
    uint64_t limit = limit_sequence(streams, &p->limit, now_ns);
    uint64_t tail = hg_log_tail_sequence(streams->log);
    return hg_max_u64(p->offered >= tail ? hg_min_u64(limit, p->offered) : limit, tail);
}

void hg_streams_log_keep(struct hg_streams *streams, const struct hg_retention_limit *keep)
{
    streams->retention.keep = *keep;
}

void hg_streams_peer_limit(struct hg_streams *streams, uint32_t peer, const char *name,
                           const struct hg_retention_limit *limit)
{
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    struct hg_retention_peer *p = &streams->retention.peers[peer];
    p->limit = *limit;
    snprintf(p->name, sizeof(p->name), "%.*s", HG_NAME_BYTES - 1, name);
}

/* ---- holders ---- */

/* Keeps those that hold most, in order. */
static void holder_add(struct hg_streams *streams, const struct hg_holder *holder)
{
    struct hg_retention *r = &streams->retention;
    uint32_t at = r->holder_count;
    while (at > 0 && r->holders[at - 1].sequence > holder->sequence)
        at--;
    if (at == HG_RETENTION_HOLDERS_MAX)
        return;
    uint32_t last = (uint32_t)hg_min_u64(r->holder_count, HG_RETENTION_HOLDERS_MAX - 1);
    memmove(&r->holders[at + 1], &r->holders[at], (last - at) * sizeof(r->holders[0]));
    r->holders[at] = *holder;
    r->holder_count = last + 1;
}

/* How long the write has been there at least. */
static uint64_t age_of(const struct hg_streams *streams, uint64_t sequence, uint64_t now_ns)
{
    uint64_t after_ns = hg_index_lsn_after(&streams->retention.times, sequence);
    return after_ns == 0 ? 0 : now_ns - after_ns;
}

static void let_go_tell(struct hg_streams *streams, enum hg_holder_kind kind, const char *name,
                        uint64_t bytes, bool let_go)
{
    char subject[HG_EVENT_SUBJECT_BYTES];
    snprintf(subject, sizeof(subject), "log %u: %s %.31s", streams->config.worker, hg_holder_text(kind),
             name);
    streams->retention.let_go_count += let_go;
    hg_event_put(streams->config.events, let_go ? HG_EVENT_holder_let_go : HG_EVENT_holder_back, subject,
                 bytes >> 20, 0);
}

/* The oldest write with something that waits for its quorum, of a stream that the peer gets: nobody may ever
 * have it but us, so no limit lets go of it. */
static uint64_t peer_uncommitted(const struct hg_streams *streams, uint32_t peer)
{
    uint64_t sequence = UINT64_MAX;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        if (s->configured && s->origin_local && (s->peers_mask & (UINT64_C(1) << peer)) != 0 &&
            s->lsn_committed < s->lsn_durable)
            sequence = hg_min_u64(sequence, hg_streams_sequence_of(streams, slot, s->lsn_committed));
    }
    return sequence;
}

/* The peer lacks what the log has no more, of a stream that it gets. */
static bool is_behind_horizon(const struct hg_streams *streams, uint32_t peer)
{
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        uint64_t lsn_oldest = hg_streams_lsn_oldest(streams, slot);
        if (s->configured && s->origin_local && (s->peers_mask & (UINT64_C(1) << peer)) != 0 &&
            s->lsn_peer[peer] < lsn_oldest && lsn_oldest > s->lsn_begin)
            return true;
    }
    return false;
}

/* What was offered to the peer as a horizon stays while there is room for it, whatever the peer may hold:
 * until it began there and has come within its limit. UINT64_MAX = nothing was. */
static uint64_t offer_kept(struct hg_streams *streams, uint32_t peer, const struct hg_holder *holder)
{
    struct hg_retention_peer *p = &streams->retention.peers[peer];
    if (p->offered < hg_log_tail_sequence(streams->log) ||
        (!holder->let_go && !is_behind_horizon(streams, peer)))
        p->offered = 0;
    return p->offered != 0 ? hg_max_u64(p->offered, holder->sequence) : UINT64_MAX;
}

/* What the log must keep for the peer; *kept: what is to stay while there is room. */
static uint64_t peer_hold(struct hg_streams *streams, uint32_t peer, uint64_t now_ns, uint64_t *kept)
{
    struct hg_retention_peer *p = &streams->retention.peers[peer];
    struct hg_holder holder = {.kind = HG_HOLDER_PEER, .index = peer, .sequence = UINT64_MAX};
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        uint64_t needed = stream_needed_by(streams, slot, peer);
        if (needed >= holder.sequence)
            continue;
        holder.sequence = needed;
        holder.slot = slot;
    }
    uint64_t limit = hg_min_u64(limit_sequence(streams, &p->limit, now_ns), peer_uncommitted(streams, peer));
    holder.let_go = holder.sequence < limit;
    holder.bytes = hg_log_bytes_from(streams->log, holder.sequence);
    holder.age_ns = age_of(streams, holder.sequence, now_ns);
    if (holder.let_go != p->let_go)
        let_go_tell(streams, HG_HOLDER_PEER, p->name, holder.bytes, holder.let_go);
    p->let_go = holder.let_go;
    *kept = hg_min_u64(*kept, offer_kept(streams, peer, &holder));
    if (holder.bytes > 0)
        holder_add(streams, &holder);
    return hg_max_u64(holder.sequence, limit);
}

/* The log may go on without the consumer when it has on its device that it did: else the next process would
 * take what is missing for what the consumer had passed. */
static bool consumer_let_go(struct hg_streams *streams, struct hg_consumer_state *c, bool let_go,
                            uint64_t bytes)
{
    struct hg_local_record record;
    if (let_go == c->let_go)
        return c->let_go && c->let_go_sequence <= hg_log_durable_sequence(streams->log);
    c->let_go = let_go;
    hg_streams_record_of_consumer(streams, c, &record);
    uint64_t sequence = hg_log_append_records(streams->log, &record, 1);
    if (sequence == 0) {
        c->let_go = !let_go;
        return false;
    }
    c->let_go_sequence = sequence;
    let_go_tell(streams, HG_HOLDER_CONSUMER, c->name, bytes, let_go);
    return false;
}

static uint64_t consumer_hold(struct hg_streams *streams, uint32_t index, uint64_t now_ns)
{
    struct hg_consumer_state *c = &streams->consumers[index];
    uint64_t needed = hg_streams_sequence_of(streams, c->slot, c->lsn);
    uint64_t limit = limit_sequence(streams, &c->limit, now_ns);
    bool gone = c->lsn < hg_streams_lsn_oldest(streams, c->slot) || streams->table[c->slot].anew_pending;
    struct hg_holder holder = {.kind = HG_HOLDER_CONSUMER,
                               .index = index,
                               .slot = c->slot,
                               .sequence = needed,
                               .bytes = hg_log_bytes_from(streams->log, needed),
                               .age_ns = age_of(streams, needed, now_ns)};
    /* Until it was configured again nobody knows its limit. */
    bool let_go = needed < limit || (c->let_go && (gone || !streams->configuration_whole));
    holder.let_go = consumer_let_go(streams, c, let_go, holder.bytes);
    if (holder.bytes > 0)
        holder_add(streams, &holder);
    if (!holder.let_go)
        return needed;
    return gone ? UINT64_MAX : hg_max_u64(needed, limit);
}

/* Streams that nobody has said anything of yet. */
static uint64_t unconfigured_hold(struct hg_streams *streams, uint64_t now_ns)
{
    for (uint32_t slot = 0; slot < streams->count && !streams->configuration_whole; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        if (s->configured || s->lsn_begin == 0)
            continue;
        uint64_t tail = hg_log_tail_sequence(streams->log);
        struct hg_holder holder = {.kind = HG_HOLDER_UNCONFIGURED,
                                   .slot = slot,
                                   .sequence = tail,
                                   .bytes = hg_log_bytes_from(streams->log, tail),
                                   .age_ns = age_of(streams, tail, now_ns)};
        if (holder.bytes > 0)
            holder_add(streams, &holder);
        return tail;
    }
    return UINT64_MAX;
}

static const char *holder_name(const struct hg_streams *streams, const struct hg_holder *holder)
{
    switch (holder->kind) {
    case HG_HOLDER_PEER:
        return streams->retention.peers[holder->index].name;
    case HG_HOLDER_CONSUMER:
        return streams->consumers[holder->index].name;
    default:
        return streams->table[holder->slot].name;
    }
}

void hg_streams_holder_text(const struct hg_streams *streams, const struct hg_holder *holder, char *text,
                            size_t text_bytes)
{
    snprintf(text, text_bytes, "%s %.31s", hg_holder_text(holder->kind), holder_name(streams, holder));
}

/* ---- the budget ---- */

/* Who holds it really: who was let go of does not. */
static const struct hg_holder *holder_first(const struct hg_streams *streams)
{
    const struct hg_retention *r = &streams->retention;
    for (uint32_t i = 0; i < r->holder_count; i++)
        if (!r->holders[i].let_go)
            return &r->holders[i];
    return NULL;
}

static void holder_event(struct hg_streams *streams, enum hg_event_type type, uint64_t a, uint64_t b)
{
    char subject[HG_EVENT_SUBJECT_BYTES], who[HG_EVENT_SUBJECT_BYTES] = "nobody";
    const struct hg_holder *holder = holder_first(streams);
    if (holder != NULL)
        hg_streams_holder_text(streams, holder, who, sizeof(who));
    snprintf(subject, sizeof(subject), "log %u: %.38s", streams->config.worker, who);
    hg_event_put(streams->config.events, type, subject, a, b);
}

static void budget_watch(struct hg_streams *streams, uint64_t needed, uint64_t now_ns)
{
    struct hg_retention *r = &streams->retention;
    struct hg_log_stats stats;
    hg_log_stats_get(streams->log, &stats);
    r->capacity_bytes = (uint64_t)(stats.segment_count - stats.segments_kept) * stats.segment_bytes;
    r->held_bytes = hg_min_u64(hg_log_bytes_from(streams->log, needed), r->capacity_bytes);
    hg_budget_sample(&r->budget, now_ns, hg_log_appended_bytes(streams->log));
    r->full_ns = hg_budget_full_ns(&r->budget, r->held_bytes, r->capacity_bytes);
    uint32_t level = hg_budget_level(r->level, r->held_bytes, r->capacity_bytes);
    uint32_t before = r->level;
    r->level = level;
    if (level > before)
        r->alarm_count++;
    if (level > before)
        holder_event(streams, HG_EVENT_log_held, level,
                     r->full_ns == HG_TIME_NEVER ? 0 : r->full_ns / HG_NS_PER_S + 1);
    else if (level == 0 && before != 0)
        holder_event(streams, HG_EVENT_log_held_over, r->held_bytes * 100 / r->capacity_bytes, 0);
}

/* Peers' batches find no room, and not for a moment only. */
static void refusal_watch(struct hg_streams *streams, uint64_t now_ns)
{
    struct hg_retention *r = &streams->retention;
    struct hg_log_stats stats;
    uint64_t refused = streams->sealed_full_count;
    bool quiet = refused == r->refused_seen;
    r->refused_seen = refused;
    if (!quiet)
        r->refused_ns = now_ns;
    if (quiet && now_ns - r->refused_ns < HG_RETENTION_REFUSED_NS)
        return; /* they come again when their origin sends them again */
    if (quiet)
        r->refused_since_ns = 0;
    else if (r->refused_since_ns == 0)
        r->refused_since_ns = now_ns;
    bool tell = r->refused_since_ns != 0 && now_ns - r->refused_since_ns >= HG_RETENTION_REFUSED_NS;
    if (tell == r->refused_told)
        return;
    r->refused_told = tell;
    hg_log_stats_get(streams->log, &stats);
    holder_event(streams, tell ? HG_EVENT_log_refuses_peers : HG_EVENT_log_takes_peers, stats.segments_free,
                 refused);
}

const struct hg_retention *hg_streams_retention(const struct hg_streams *streams)
{
    return &streams->retention;
}

void hg_streams_retain(struct hg_streams *streams, uint64_t now_ns)
{
    struct hg_retention *r = &streams->retention;
    hg_streams_end_save(streams);
    hg_streams_consumers_save(streams, now_ns);
    hg_streams_quorum_watch(streams, now_ns);
    hg_streams_tails_watch(streams, now_ns);
    hg_index_trim(&r->times, hg_log_tail_sequence(streams->log));
    hg_index_add(&r->times, now_ns, hg_log_append_sequence(streams->log), 0);
    r->holder_count = 0;
    uint64_t needed = hg_log_durable_sequence(streams->log) + 1, kept = UINT64_MAX, peers = 0;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->configured && s->origin_local && s->lsn_begin != 0)
            peers |= s->peers_mask;
        kept = hg_min_u64(kept, stream_kept(streams, s, now_ns));
        stream_marks_trim(s);
    }
    needed = hg_min_u64(needed, unconfigured_hold(streams, now_ns));
    for (; peers != 0; peers &= peers - 1)
        needed = hg_min_u64(needed, peer_hold(streams, (uint32_t)__builtin_ctzll(peers), now_ns, &kept));
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++)
        if (streams->consumers[i].used)
            needed = hg_min_u64(needed, consumer_hold(streams, i, now_ns));
    kept = hg_min_u64(
        kept, keep_sequence(streams, &r->keep, hg_log_sequence_behind(streams->log, r->keep.bytes), now_ns));
    hg_log_keep(streams->log, kept);
    /* What a removed consumer held stays until the removal is durable: after a crash it would be there again,
     * and be moved over what is gone. What is needed besides since is held all the same. */
    if (streams->consumer_removed_sequence <= hg_log_durable_sequence(streams->log))
        r->released = needed;
    else
        r->released = hg_min_u64(r->released, needed);
    hg_log_release(streams->log, r->released);
    budget_watch(streams, needed, now_ns);
    refusal_watch(streams, now_ns);
}
