/* SPDX-License-Identifier: Apache-2.0
 *
 * How a copy joins a writer of a newer epoch than it has: between OPEN and ANSWER the histories are compared.
 * dataplane/stream/follow.h has the order and the reasons. Both sides: the copy (join_), which tells its
 * history and waits for the common point, and the writer (cut_), which finds it and its chain in its own log.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/follow.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "drivers/ipc/epoch_fork.h"

#include <errno.h>

static_assert(HG_WIRE_EPOCH_STARTS_MAX == HG_EPOCH_STARTS_MAX, "a whole history in a frame");

/* ---- the copy ---- */

bool hg_peers_join_is_due(const struct hg_stream_state *s, uint64_t epoch)
{
    struct hg_history history;
    hg_streams_history_durable(s, &history);
    return epoch > HG_EPOCH_FIRST && hg_history_last(&history).epoch < epoch;
}

static void history_send(struct hg_peer_session *session, uint32_t alias)
{
    const struct hg_peer_alias *pa = &session->peer->aliases[alias];
    const struct hg_stream_state *s =
        hg_streams_at(session->peer->peers->config.streams, (uint32_t)pa->join.slot);
    struct hg_wire_stream_history frame;
    struct hg_history history;
    memset(&frame, 0, sizeof(frame));
    frame.control.type = HG_WIRE_STREAM_HISTORY;
    frame.control.bytes = sizeof(frame);
    frame.control.alias = alias;
    frame.control.opening = pa->opening;
    frame.epoch = pa->join.epoch;
    frame.lsn_begin = s->lsn_begin;
    frame.lsn_end = s->lsn_durable;
    memcpy(frame.chain, s->chain_durable, sizeof(frame.chain));
    hg_streams_history_durable(s, &history);
    frame.epoch_count = history.count;
    for (uint32_t i = 0; i < history.count; i++) {
        frame.epochs[i].epoch = history.starts[i].epoch;
        frame.epochs[i].lsn = history.starts[i].lsn;
    }
    /* No place: the writer's next OPEN asks for it again. */
    (void)hg_lane_control_send(session->lane, &frame.control);
}

void hg_peers_join_begin(struct hg_peer_session *session, const struct hg_wire_stream_open *open,
                         uint32_t slot)
{
    struct hg_peer *peer = session->peer;
    uint32_t alias = open->control.alias;
    struct hg_peer_alias *pa = &peer->aliases[alias];
    pa->opening = open->control.opening;
    peer->alias_end = (uint32_t)hg_max_u64(peer->alias_end, alias + 1);
    if (pa->join.state == HG_PEER_JOIN_CUTTING && pa->join.slot == slot && pa->join.epoch == open->epoch)
        return; /* it is on its way */
    memset(&pa->join, 0, sizeof(pa->join));
    pa->join.state = HG_PEER_JOIN_COMPARING;
    pa->join.slot = slot;
    pa->join.epoch = open->epoch;
    pa->join.lsn_begin = open->lsn_begin;
    history_send(session, alias);
}

static void join_refuse(struct hg_peer_session *session, uint32_t alias, uint16_t status)
{
    struct hg_peer_alias *pa = &session->peer->aliases[alias];
    pa->join.state = HG_PEER_JOIN_NONE;
    hg_peers_answer_send(session, alias, status, NULL);
}

/* The histories part where this copy can't be cut. */
static void join_refuse_history(struct hg_peer_session *session, uint32_t alias)
{
    const struct hg_peers_config *config = &session->peer->peers->config;
    const struct hg_peer_join *join = &session->peer->aliases[alias].join;
    const struct hg_stream_state *s = hg_streams_at(config->streams, join->slot);
    hg_event_put(config->events, HG_EVENT_stream_not_cut, s->name, s->lsn_durable, join->lsn);
    join_refuse(session, alias, HG_WIRE_REFUSED_HISTORY);
}

static enum hg_group_reason join_cut(struct hg_peer_session *session, uint32_t alias)
{
    const struct hg_peers *peers = session->peer->peers;
    const struct hg_peer_join *join = &session->peer->aliases[alias].join;
    struct hg_cut_point point = {.epoch = join->epoch, .lsn = join->lsn, .epoch_common = join->epoch_common};
    memcpy(point.chain, join->chain, sizeof(point.chain));
    return hg_streams_cut(peers->config.streams, join->slot, &point, peers->now_ns);
}

/* Everything that is left to do, as far as it can be done now. */
static void join_advance(struct hg_peer_session *session, uint32_t alias)
{
    struct hg_streams *streams = session->peer->peers->config.streams;
    const struct hg_peer_join *join = &session->peer->aliases[alias].join;
    const struct hg_stream_state *s = hg_streams_at(streams, join->slot);
    enum hg_group_reason reason = hg_streams_follow(streams, s->group, join->epoch);
    if (reason == HG_GROUP_WOULD_BLOCK || s->lsn_durable != s->lsn_sealed)
        return;
    if (reason != HG_GROUP_OK) {
        join_refuse(session, alias, HG_WIRE_REFUSED_EPOCH);
        return;
    }
    reason = join_cut(session, alias);
    if (reason == HG_GROUP_OK && memcmp(join->chain, s->chain_durable, sizeof(join->chain)) != 0) {
        reason = HG_GROUP_truncate_history;
        hg_streams_group_refused(streams, reason);
    }
    if (reason != HG_GROUP_OK && reason != HG_GROUP_WOULD_BLOCK)
        join_refuse_history(session, alias);
    if (reason != HG_GROUP_OK || hg_streams_is_cutting(streams, join->slot))
        return;
    if (join->lsn_epoch != HG_WIRE_EPOCH_NOT_BEGUN)
        hg_streams_adopt_epoch(streams, join->slot, join->epoch, join->lsn_epoch);
    if (!hg_streams_is_adopting(s))
        hg_peers_join_end(session, alias);
}

void hg_peers_joins_advance(struct hg_peer *peer)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    for (uint32_t alias = 0; alias < peer->alias_end; alias++)
        if (peer->aliases[alias].join.state == HG_PEER_JOIN_CUTTING)
            join_advance(session, alias);
}

void hg_peers_cut_received(struct hg_peer_session *session, const struct hg_wire_stream_cut *cut)
{
    struct hg_peer *peer = session->peer;
    uint32_t alias = cut->control.alias;
    struct hg_peer_join *join = alias < HG_WIRE_ALIASES_MAX ? &peer->aliases[alias].join : NULL;
    if (join == NULL || join->state != HG_PEER_JOIN_COMPARING ||
        peer->aliases[alias].opening != cut->control.opening || join->epoch != cut->epoch ||
        cut->lsn_epoch < cut->lsn) {
        hg_lane_control_refused(session->lane); /* repeated, or to what we no longer stand by */
        return;
    }
    join->state = HG_PEER_JOIN_CUTTING;
    join->lsn = cut->lsn;
    join->epoch_common = cut->epoch_common;
    join->lsn_epoch = cut->lsn_epoch;
    memcpy(join->chain, cut->chain, sizeof(join->chain));
    join_advance(session, alias);
}

/* ---- the writer ---- */

/* False: to be tried again. */
static bool cut_send(struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    const struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_wire_stream_cut frame;
    struct hg_history history;
    memset(&frame, 0, sizeof(frame));
    if (peer->cut_slot != slot)
        peer->cut_walk = (struct hg_stream_walk){.from = 0};
    peer->cut_slot = slot;
    int rc = hg_streams_chain_at(streams, slot, ps->cut.lsn, &peer->cut_walk, frame.chain);
    if (rc == 0)
        return false;
    if (rc < 0)
        hg_peers_cut_impossible(peer, slot, ps->cut.lsn, rc);
    peer->cut_walk = (struct hg_stream_walk){.from = 0};
    if (rc < 0)
        return true;
    hg_streams_history_durable(s, &history);
    frame.control.type = HG_WIRE_STREAM_CUT;
    frame.control.bytes = sizeof(frame);
    frame.control.alias = slot;
    frame.control.opening = ps->opening;
    frame.epoch = hg_peers_epoch_sent(peer, slot);
    frame.lsn = ps->cut.lsn;
    frame.epoch_common = ps->cut.epoch;
    frame.lsn_epoch = hg_history_last(&history).epoch == frame.epoch ? hg_history_last(&history).lsn
                                                                     : HG_WIRE_EPOCH_NOT_BEGUN;
    (void)hg_lane_control_send(peer->sessions[peer->current].lane, &frame.control);
    return true;
}

void hg_peers_cuts_advance(struct hg_peer *peer)
{
    bool left = false;
    if (!peer->cuts_due || peer->current < 0)
        return;
    uint32_t count = hg_streams_count(peer->peers->config.streams);
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max && !left; slot++) {
        struct hg_peer_stream *ps = &peer->streams[slot];
        if (ps->cut_due && ps->state == HG_PEER_STREAM_OPENING && !cut_send(peer, slot))
            left = true; /* one after the other: they share a cursor */
        else
            ps->cut_due = false;
    }
    peer->cuts_due = left;
}

/* Members are cut so that the epoch's beginning is on w of them; before that is so, and it is released,
 * another fail-over may yet go on with what they lost. The others are spared that: they are asked again with
 * the next opening. */
static bool cut_is_decided(const struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    return hg_peers_fills(peer, slot) || hg_streams_peer_counts(streams, s->group, peer->index) ||
           hg_streams_group(streams, s->group)->epoch_open >= s->epoch;
}

void hg_peers_history_received(struct hg_peer_session *session, const struct hg_wire_stream_history *frame)
{
    struct hg_peer *peer = session->peer;
    uint32_t slot = frame->control.alias;
    struct hg_epoch_start theirs[HG_EPOCH_STARTS_MAX];
    struct hg_history history;
    if (slot >= hg_streams_count(peer->peers->config.streams) ||
        peer->streams[slot].state != HG_PEER_STREAM_OPENING ||
        peer->streams[slot].opening != frame->control.opening || frame->epoch_count > HG_EPOCH_STARTS_MAX ||
        frame->epoch != hg_peers_epoch_sent(peer, slot)) {
        hg_lane_control_refused(session->lane);
        return;
    }
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    for (uint32_t i = 0; i < frame->epoch_count; i++)
        theirs[i] = (struct hg_epoch_start){.epoch = frame->epochs[i].epoch, .lsn = frame->epochs[i].lsn};
    hg_streams_history_durable(s, &history);
    struct hg_epoch_copy here = {history.starts, history.count, s->lsn_begin, s->lsn_durable};
    struct hg_epoch_copy there = {theirs, frame->epoch_count, frame->lsn_begin, frame->lsn_end};
    struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_epoch_start common;
    /* We were asked to fill a copy that got further since, or lost our log since: it must not be cut to us.
     */
    if (hg_history_last(&history).epoch != frame->epoch && hg_epoch_is_later(&there, &here)) {
        hg_streams_group_refused(peer->peers->config.streams, HG_GROUP_fill_behind);
        return;
    }
    if (!hg_epoch_common(&here, &there, &common)) {
        hg_peers_cut_impossible(peer, slot, frame->lsn_end, -ENOENT);
        return;
    }
    if ((ps->cut_due && ps->cut.lsn == common.lsn && ps->cut.epoch == common.epoch) || /* being looked for */
        !cut_is_decided(peer, slot))
        return;
    ps->cut = common;
    ps->cut_due = peer->cuts_due = true;
    if (peer->cut_slot == slot)
        peer->cut_walk = (struct hg_stream_walk){.from = 0};
    hg_peers_cuts_advance(peer);
}
