/* SPDX-License-Identifier: Apache-2.0
 *
 * What is committed: counted at the origin, told to the other nodes of its region, given elsewhere.
 */
#include "dataplane/stream/streams_internal.h"

#include <stdio.h>

static bool is_ours(const struct hg_streams *streams, uint32_t slot, uint32_t group)
{
    const struct hg_stream_state *s = &streams->table[slot];
    return s->configured && s->origin_local && s->group == group;
}

bool hg_streams_copy_counts(const struct hg_streams *streams, const struct hg_stream_state *s, uint32_t peer)
{
    return !streams->copies[s->group].is_unknown &&
           hg_copies_counts(&streams->copies[s->group].of, streams->peer_nodes[peer], s->copy_peer[peer]);
}

static bool own_counts(const struct hg_streams *streams, uint32_t group)
{
    return hg_copies_counts(&streams->copies[group].of, streams->node,
                            hg_copies_id(hg_log_uuid(streams->log)));
}

/* What this node has itself. A log that was made anew has no part in what its former one had a part in. */
static uint64_t end_own(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    return own_counts(streams, s->group) ? s->lsn_durable : 0;
}

/* A copy that lacks where our epoch begins has not followed us yet. */
static uint64_t end_followed(const struct hg_stream_state *s, uint32_t peer)
{
    struct hg_epoch_start last = hg_history_last(&s->history);
    bool follows = last.epoch <= HG_EPOCH_FIRST || s->lsn_counted[peer] >= last.lsn;
    return follows ? s->lsn_counted[peer] : 0;
}

static uint64_t end_counted(const struct hg_streams *streams, const struct hg_stream_state *s, uint32_t peer)
{
    return hg_streams_copy_counts(streams, s, peer) ? end_followed(s, peer) : 0;
}

/* The w-th largest end among this node and the peers that get the stream, as the command file has it. */
static uint64_t committed_by_file(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    uint64_t ends[HG_STREAMS_PEERS_MAX + 1]; /* the largest first */
    uint32_t count = 0;
    if (streams->quorum_w == 1)
        return s->lsn_durable;
    ends[count++] = end_own(streams, s);
    for (uint64_t left = streams->quorum_members & s->peers_mask; left != 0; left &= left - 1) {
        uint64_t end = end_counted(streams, s, (uint32_t)__builtin_ctzll(left));
        uint32_t at = count++;
        for (; at > 0 && ends[at - 1] < end; at--)
            ends[at] = ends[at - 1];
        ends[at] = end;
    }
    return streams->quorum_w <= count ? ends[streams->quorum_w - 1] : 0;
}

/* A peer's word counts where it gets the stream, is a voter here, and knows that it is one. */
static uint64_t committed_by_members(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    const struct hg_streams_voters *voters = &streams->voters[s->group];
    struct hg_members_end ends[HG_STREAMS_PEERS_MAX + 1];
    struct hg_members members = voters->members;
    uint32_t count = 1;
    uint64_t counted = voters->counted & s->peers_mask & s->voters_there;
    ends[0] = (struct hg_members_end){.node = voters->self, .end = end_own(streams, s)};
#ifdef HG_SEEDED_BUG_COUNT_LEARNER
    counted = s->peers_mask;
    for (uint32_t i = 0; i < members.learner_count && members.set.count < HG_MEMBERS_MAX; i++)
        members.set.nodes[members.set.count++] = members.learners[i];
#endif
#ifdef HG_SEEDED_BUG_JOINT_ONE_MAJORITY
    if (members.phase == HG_MEMBERS_JOINT)
        members.set = members.other;
    members.phase = HG_MEMBERS_STABLE;
#endif
    for (; counted != 0; counted &= counted - 1) {
        uint32_t peer = (uint32_t)__builtin_ctzll(counted);
        ends[count++] =
            (struct hg_members_end){.node = voters->nodes[peer], .end = end_counted(streams, s, peer)};
    }
    return hg_members_committed(&members, ends, count);
}

static uint64_t committed_counted(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    if (s->epoch < streams->copies[s->group].epoch_given)
        return 0;
    if (streams->voters[s->group].members.generation != 0)
        return committed_by_members(streams, s);
    /* Its members were something else than the command file says, and nobody has told what since. */
    return hg_log_members_wanted(streams->log, s->group) != 0 ? 0 : committed_by_file(streams, s);
}

static uint64_t committed_now(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    if (s->region != streams->config.region)
        return s->lsn_durable; /* its origin sent it: nothing leaves its region before it is committed */
    if (!s->origin_local)
        return hg_min_u64(s->lsn_committed_told, s->lsn_durable);
    return committed_counted(streams, s);
}

void hg_streams_committed_move(struct hg_streams *streams, struct hg_stream_state *s)
{
#ifndef HG_SEEDED_BUG_COMMIT_AT_RECOVERY
    uint64_t lsn = s->origin_known ? committed_now(streams, s) : 0;
#else
    uint64_t lsn = s->origin_known ? committed_now(streams, s) : s->lsn_durable;
#endif
    if (lsn <= s->lsn_committed || !hg_streams_may_tell(streams, s))
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

bool hg_streams_peer_counts(const struct hg_streams *streams, uint32_t group, uint32_t peer)
{
    const struct hg_streams_voters *voters = &streams->voters[group];
    uint64_t peers = voters->members.generation != 0 ? voters->counted : streams->quorum_members;
    return (peers >> peer & 1) != 0;
}

bool hg_streams_group_has_quorum(const struct hg_streams *streams, uint32_t group)
{
    return streams->quorum_w > 1 || streams->voters[group].members.generation != 0 ||
           hg_log_members_wanted(streams->log, group) != 0;
}

bool hg_streams_has_quorum(const struct hg_streams *streams)
{
    bool found = streams->quorum_w > 1;
    for (uint32_t group = 0; group < HG_GROUPS_MAX && !found; group++)
        found = streams->voters[group].members.generation != 0;
    return found;
}

bool hg_streams_members_set(struct hg_streams *streams, uint32_t group,
                            const struct hg_streams_voters *wanted, bool *is_new)
{
    hg_assert(group < HG_GROUPS_MAX);
    struct hg_streams_voters *voters = &streams->voters[group];
    uint32_t kept = hg_log_members_wanted(streams->log, group);
    bool is_other = voters->members.generation == wanted->members.generation &&
                    memcmp(&voters->members, &wanted->members, sizeof(wanted->members)) != 0;
    *is_new = false;
    if (wanted->members.generation < kept) {
        streams->group_counts[HG_GROUP_config_generation]++;
        return false;
    }
    if (hg_members_check(&wanted->members) != HG_MEMBERS_OK || is_other) {
        streams->group_counts[HG_GROUP_config_members]++;
        return false;
    }
    *is_new = wanted->members.generation > voters->members.generation;
    *voters = *wanted;
    hg_log_members_keep(streams->log, group, (uint32_t)wanted->members.generation);
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->group != group)
            continue;
        s->lsn_settle = *is_new ? s->lsn_durable : s->lsn_settle;
        hg_streams_committed_move(streams, s);
    }
    return true;
}

void hg_streams_nodes_set(struct hg_streams *streams, uint64_t self,
                          const uint64_t nodes[HG_STREAMS_PEERS_MAX])
{
    streams->node = self;
    memcpy(streams->peer_nodes, nodes, sizeof(streams->peer_nodes));
}

static void suspect_look(struct hg_streams *streams, uint32_t group)
{
    bool is_suspect = streams->copies[group].is_unknown ||
                      streams->copies[group].epoch_given > HG_EPOCH_FIRST || !own_counts(streams, group);
    if (streams->copies[group].is_suspect == is_suspect)
        return;
    streams->copies[group].is_suspect = is_suspect;
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (streams->table[slot].group == group)
            hg_streams_moved(streams, &streams->table[slot]);
}

void hg_streams_epoch_given(struct hg_streams *streams, uint32_t group, uint64_t epoch)
{
    hg_assert(group < HG_GROUPS_MAX);
    streams->copies[group].epoch_given = hg_max_u64(streams->copies[group].epoch_given, epoch);
    suspect_look(streams, group);
}

bool hg_streams_is_unnamed(const struct hg_streams *streams, uint32_t group)
{
    bool writes = false;
    hg_assert(group < HG_GROUPS_MAX);
    if (!streams->copies[group].is_suspect || streams->groups[group].epoch_wanted > HG_EPOCH_FIRST)
        return false;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        if (s->kind == 0 || s->ended || s->group != group || s->region != streams->config.region)
            continue;
        if (s->lsn_sealed != 0)
            return false;
        writes |= s->origin_local;
    }
    return writes;
}

void hg_streams_copies_set(struct hg_streams *streams, uint32_t group, const struct hg_copies *copies,
                           bool is_unknown)
{
    hg_assert(group < HG_GROUPS_MAX && hg_copies_check(copies));
    streams->copies[group].of = *copies;
    streams->copies[group].is_unknown = is_unknown;
    suspect_look(streams, group);
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (streams->table[slot].group == group)
            hg_streams_committed_move(streams, &streams->table[slot]);
}

uint64_t hg_streams_members_generation(const struct hg_streams *streams, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return streams->voters[group].members.generation;
}

uint64_t hg_streams_members_durable(const struct hg_streams *streams, uint32_t group)
{
    return hg_min_u64(hg_streams_members_generation(streams, group),
                      hg_log_members_kept(streams->log, group));
}

const struct hg_members *hg_streams_members(const struct hg_streams *streams, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return &streams->voters[group].members;
}

bool hg_streams_members_synced(const struct hg_streams *streams, uint32_t group)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (is_ours(streams, slot, group) &&
            committed_counted(streams, &streams->table[slot]) < streams->table[slot].lsn_settle)
            return false;
    return true;
}

static bool is_given(const struct hg_stream_state *s, uint32_t peer)
{
    return (s->peers_mask >> peer & 1) != 0;
}

bool hg_streams_copies_caught_up(const struct hg_streams *streams, uint32_t group, uint32_t peer)
{
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        const struct hg_stream_state *s = &streams->table[slot];
        /* One without an entry is not even opened. */
        if (is_ours(streams, slot, group) && is_given(s, peer) && s->lsn_durable != 0 &&
            (s->copy_peer[peer] == 0 || end_followed(s, peer) < s->lsn_settle))
            return false;
    }
    return true;
}

bool hg_streams_members_caught_up(const struct hg_streams *streams, uint32_t group, uint32_t peer)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        if (is_ours(streams, slot, group) && !is_given(&streams->table[slot], peer))
            return false;
    return hg_streams_copies_caught_up(streams, group, peer);
}

bool hg_streams_is_voter(const struct hg_streams *streams, uint32_t group)
{
    const struct hg_streams_voters *voters = &streams->voters[group];
    hg_assert(group < HG_GROUPS_MAX);
    return voters->members.generation != 0 && hg_members_is_voter(&voters->members, voters->self);
}

enum hg_group_reason hg_streams_writer_check(struct hg_streams *streams, uint32_t group, uint16_t region,
                                             uint64_t generation, uint64_t node)
{
    const struct hg_streams_voters *voters = &streams->voters[group];
    enum hg_group_reason reason = HG_GROUP_OK;
    hg_assert(group < HG_GROUPS_MAX);
    if (region != streams->config.region) /* who keeps its copies is that region's own affair */
        return HG_GROUP_OK;
    if (generation < hg_log_members_wanted(streams->log, group))
        reason = HG_GROUP_writer_generation;
    else if (generation == voters->members.generation && generation != 0 &&
             !hg_members_is_voter(&voters->members, node))
        reason = HG_GROUP_writer_stranger;
    streams->group_counts[reason] += reason != HG_GROUP_OK;
    return reason;
}

bool hg_streams_is_told(const struct hg_streams *streams, uint32_t slot, uint32_t peer)
{
    const struct hg_stream_state *s = &streams->table[slot];
    bool has_members = streams->voters[s->group].members.generation != 0;
    uint64_t told = has_members ? s->peers_mask : streams->quorum_members;
    return (told & UINT64_C(1) << peer) != 0;
}

void hg_streams_peer_restated(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                              uint64_t copy, bool is_voter)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    hg_assert(peer < HG_STREAMS_PEERS_MAX);
    s->lsn_counted[peer] = s->copy_peer[peer] == copy ? hg_min_u64(s->lsn_counted[peer], lsn) : 0;
    if (s->copy_peer[peer] != copy) { /* what the former one had a part in may be in nobody's count now */
        s->lsn_settle = s->lsn_durable;
        s->tail_said &= ~(UINT64_C(1) << peer);
    }
    s->copy_peer[peer] = copy;
    s->voters_there &= ~(UINT64_C(1) << peer);
    s->voters_there |= (uint64_t)is_voter << peer;
    hg_streams_committed_move(streams, s);
}

void hg_streams_peer_gone(struct hg_streams *streams, uint32_t peer)
{
    for (uint32_t slot = 0; slot < streams->count; slot++)
        hg_streams_peer_restated(streams, slot, peer, 0, 0, false);
}

uint64_t hg_streams_committed_known(const struct hg_stream_state *s)
{
    return hg_max_u64(hg_streams_floor(s), s->lsn_committed_told);
}

void hg_streams_committed_told(struct hg_streams *streams, uint32_t slot, uint64_t lsn)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    s->lsn_committed_told = hg_max_u64(s->lsn_committed_told, lsn);
    hg_streams_committed_move(streams, s);
}

static void stream_watch(struct hg_streams *streams, struct hg_stream_state *s, uint64_t now_ns)
{
    bool waits =
        s->lsn_committed < s->lsn_durable && hg_streams_may_append(streams, s); /* else for a grant */
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

static void unnamed_watch(struct hg_streams *streams, uint32_t group, uint64_t now_ns)
{
    char subject[12];
    bool is_unnamed = hg_streams_is_unnamed(streams, group);
    if (!is_unnamed || streams->copies[group].since_ns == 0)
        streams->copies[group].since_ns = now_ns;
    bool is_long = is_unnamed && now_ns - streams->copies[group].since_ns >= HG_STREAMS_QUORUM_QUIET_NS;
    if (is_long && !streams->copies[group].is_told) {
        snprintf(subject, sizeof(subject), "%u", group);
        hg_event_put(streams->config.events, HG_EVENT_group_unnamed, subject, 0, 0);
    }
    streams->copies[group].is_told = is_long;
}

void hg_streams_quorum_watch(struct hg_streams *streams, uint64_t now_ns)
{
    for (uint32_t group = 0; group < HG_GROUPS_MAX; group++)
        if (streams->copies[group].is_suspect || streams->copies[group].is_told)
            unnamed_watch(streams, group, now_ns);
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->configured && s->origin_local)
            stream_watch(streams, s, now_ns);
    }
}
