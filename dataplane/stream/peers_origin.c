/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams that originate here, as a peer gets them: opening, walking the log for it, and proving at the first
 * batch that what it has is what we have.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "dataplane/stream/tail.h"

#include <errno.h>
#include <stdio.h>

/* Whether the stream goes to this worker of the node. A fill of nothing is one, too: what the copy has goes.
 */
static bool stream_wanted(const struct hg_peer *peer, uint32_t slot)
{
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    bool is_writer = s->origin_local && (s->peers_mask & (UINT64_C(1) << peer->index)) != 0 &&
                     !hg_peers_is_filled(peer->peers, slot, s->epoch);
    bool is_asked =
        s->lsn_durable != 0 || hg_streams_tail(peer->peers->config.streams, s) != HG_STREAMS_TAIL_KNOWN;
    return s->configured && ((is_writer && is_asked) || hg_peers_fills(peer, slot)) &&
           peer->head->stream_worker[slot] == peer->worker_remote;
}

static void stream_open_send(struct hg_peer *peer, uint32_t slot)
{
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    struct hg_wire_stream_open open;
    memset(&open, 0, sizeof(open));
    open.control.type = HG_WIRE_STREAM_OPEN;
    open.control.bytes = sizeof(open);
    open.control.alias = slot;
    open.control.opening = peer->streams[slot].opening;
    open.stream = s->stream;
    open.incarnation = s->incarnation;
    open.group = s->group;
    open.epoch = peer->streams[slot].epoch = hg_peers_epoch_sent(peer, slot);
    open.lsn_begin = s->lsn_begin;
    peer->streams[slot].is_question = s->lsn_begin == 0;
    open.lsn_durable = s->lsn_durable;
    open.system_identifier = s->system_identifier;
    open.kind = s->kind;
    open.region = s->region;
    open.lsn_unit_bytes = s->lsn_unit_bytes;
    open.generation = hg_streams_members_generation(peer->peers->config.streams, s->group);
    memcpy(open.name, s->name, sizeof(open.name));
    /* A full control table is a reason to wait for the retry, not an error. */
    (void)hg_lane_control_send(peer->sessions[peer->current].lane, &open.control);
}

static uint32_t close_reason(const struct hg_peer_stream *ps)
{
    if (ps->moved)
        return HG_WIRE_MOVED;
    switch (ps->state) {
    case HG_PEER_STREAM_DIVERGED:
        return HG_WIRE_CLOSED_DIVERGED;
    case HG_PEER_STREAM_GAP:
        return HG_WIRE_CLOSED_GAP;
    default:
        return HG_WIRE_CLOSED_WITHDRAWN;
    }
}

static void stream_close_send(struct hg_peer *peer, uint32_t slot)
{
    struct hg_wire_stream_close close;
    memset(&close, 0, sizeof(close));
    close.control.type = HG_WIRE_STREAM_CLOSE;
    close.control.bytes = sizeof(close);
    close.control.alias = slot;
    close.control.opening = (uint8_t)(peer->streams[slot].opening - 1); /* it is over */
    close.reason = close_reason(&peer->streams[slot]);
    peer->streams[slot].close_unsent =
        hg_lane_control_send(peer->sessions[peer->current].lane, &close.control) != 0;
}

/* Nothing of it is sent any more; the next opening has another number. */
static void stream_stop(struct hg_peer *peer, uint32_t slot, enum hg_peer_stream_state state)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    hg_peers_hold_end(peer, slot);
    ps->state = (uint8_t)state;
    ps->opening++;
    ps->verified = 0;
    ps->cut_due = false;
    ps->lsn_claimed = 0;
    ps->lsn_needed = 0;
    hg_lane_alias_forget(peer->sessions[peer->current].lane, slot);
}

/* Both sides free what is under way. */
static void stream_give_up(struct hg_peer *peer, uint32_t slot, enum hg_peer_stream_state state)
{
    stream_stop(peer, slot, state);
    stream_close_send(peer, slot);
}

/* It was opened to ask where the peer ends, and has entries since: opened anew it is told where they begin.
 */
static bool is_answered(const struct hg_peer *peer, uint32_t slot)
{
    return peer->streams[slot].is_question &&
           hg_streams_at(peer->peers->config.streams, slot)->lsn_begin != 0;
}

void hg_peers_open_streams(struct hg_peer *peer, uint64_t now_ns)
{
    uint32_t count = hg_streams_count(peer->peers->config.streams);
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++) {
        struct hg_peer_stream *ps = &peer->streams[slot];
        bool is_open = ps->state == HG_PEER_STREAM_OPENING || ps->state == HG_PEER_STREAM_STREAMING;
        bool is_wanted = stream_wanted(peer, slot);
        if (ps->close_unsent)
            stream_close_send(peer, slot);
        if (is_open && (!is_wanted || is_answered(peer, slot)))
            stream_give_up(peer, slot, HG_PEER_STREAM_CLOSED);
        if (!is_wanted)
            continue;
        if (ps->close_unsent) /* it would be taken for one of the new opening */
            continue;
        /* What was told went, as its room was needed: it may be on its way still, to who would begin there.
         */
        ps->horizon_due |=
            ps->horizon_offered != 0 && ps->horizon_offered < hg_log_tail_sequence(peer->peers->config.log);
        if (ps->state == HG_PEER_STREAM_GAP && ps->horizon_due)
            hg_peers_horizon_send(peer, slot);
        bool waits = ps->state == HG_PEER_STREAM_OPENING || ps->state == HG_PEER_STREAM_REFUSED ||
                     ps->state == HG_PEER_STREAM_GAP;
        bool due = ps->state == HG_PEER_STREAM_CLOSED || (waits && now_ns >= ps->retry_ns);
        if (!due)
            continue;
        ps->moved = false;
        ps->state = HG_PEER_STREAM_OPENING;
        ps->retry_ns = now_ns + HG_PEER_OPEN_RETRY_NS;
        stream_open_send(peer, slot);
    }
}

void hg_peers_stream_gone(struct hg_peers *peers, uint32_t slot)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        struct hg_peer_stream *ps = peer->current < 0 ? NULL : &peer->streams[slot];
        if (ps == NULL || (ps->state != HG_PEER_STREAM_OPENING && ps->state != HG_PEER_STREAM_STREAMING))
            continue;
        ps->moved = true;
        stream_give_up(peer, slot, HG_PEER_STREAM_CLOSED);
    }
}

void hg_peers_members_new(struct hg_peers *peers, uint32_t group)
{
    const struct hg_streams *streams = peers->config.streams;
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        uint32_t count = peer->current < 0 ? 0 : hg_streams_count(streams);
        for (uint32_t slot = 0; slot < count && slot < peers->config.streams_max; slot++)
            if (hg_streams_at(peers->config.streams, slot)->group == group &&
                peer->streams[slot].state == HG_PEER_STREAM_REFUSED)
                peer->streams[slot].retry_ns = 0;
        hg_peers_members_ask(peer, group);
    }
}

/* CLOSE says that it comes again; it does, with the next tick. */
void hg_peers_stream_epoch(struct hg_peers *peers, uint32_t slot)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer))
        if (peer->current >= 0 && peer->streams[slot].state == HG_PEER_STREAM_REFUSED)
            peer->streams[slot].retry_ns = 0;
        else if (peer->current >= 0 && peer->streams[slot].state == HG_PEER_STREAM_DIVERGED)
            peer->streams[slot].state = HG_PEER_STREAM_CLOSED; /* it can be cut under another epoch */
    hg_peers_stream_gone(peers, slot);
}

static void stream_diverged(struct hg_peer *peer, uint32_t slot, uint64_t lsn_there)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    if (ps->epoch < hg_group_fence(hg_streams_group(peer->peers->config.streams, s->group))) {
        /* Our epoch is over, and one of the two follows a newer writer: that is no fault of a history. */
        stream_give_up(peer, slot, HG_PEER_STREAM_REFUSED);
        ps->retry_ns = peer->peers->now_ns + HG_PEER_REFUSED_RETRY_NS;
        return;
    }
    hg_streams_peer_restated(peer->peers->config.streams, slot, peer->index, 0, s->copy_peer[peer->index],
                             false);
    stream_give_up(peer, slot, HG_PEER_STREAM_DIVERGED);
    hg_event_put(peer->peers->config.events, HG_EVENT_stream_diverged, s->name, lsn_there, s->lsn_durable);
}

static void stream_gap(struct hg_peer *peer, uint32_t slot, uint64_t lsn, uint64_t lsn_oldest)
{
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    struct hg_peer_stream *ps = &peer->streams[slot];
    stream_give_up(peer, slot, HG_PEER_STREAM_GAP);
    /* Asked again now and then: it may begin anew meanwhile. */
    ps->retry_ns = peer->peers->now_ns + HG_PEER_REFUSED_RETRY_NS;
    ps->horizon_due = true;
    if (ps->lsn_gap == lsn)
        return;
    ps->lsn_gap = lsn;
    hg_event_put(peer->peers->config.events, HG_EVENT_stream_gap, s->name, lsn, lsn_oldest);
}

void hg_peers_cut_impossible(struct hg_peer *peer, uint32_t slot, uint64_t lsn, int rc)
{
    struct hg_streams *streams = peer->peers->config.streams;
    uint64_t lsn_oldest = hg_streams_lsn_oldest(streams, slot);
    if (rc == -EBADMSG)
        hg_event_put(peer->peers->config.events, HG_EVENT_read_corrupt, peer->name,
                     peer->cut_walk.cursor.sequence, 0);
    else if (lsn < lsn_oldest)
        stream_gap(peer, slot, lsn, lsn_oldest);
    else
        stream_diverged(peer, slot, lsn);
}

/* Trimmed under us: the cursor goes on at the tail, and each stream that lacks what was below says so by
 * name, also one of which no batch follows. */
static void cursor_trimmed(struct hg_peer *peer, struct hg_cursor *cursor)
{
    const struct hg_streams *streams = peer->peers->config.streams;
    uint32_t count = hg_streams_count(streams);
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++) {
        const struct hg_peer_stream *ps = &peer->streams[slot];
        uint64_t lsn_oldest = hg_streams_lsn_oldest(streams, slot);
        if (ps->state == HG_PEER_STREAM_STREAMING && !ps->is_question && ps->lsn_next < lsn_oldest)
            stream_gap(peer, slot, ps->lsn_next, lsn_oldest);
    }
    cursor->sequence = hg_log_tail_sequence(peer->peers->config.log);
    cursor->offset = 0;
}

static void cursor_rewind(struct hg_peer *peer, uint64_t sequence)
{
    sequence = hg_max_u64(sequence, 1);
    /* Within the same write the cursor may stand behind the first batch that is wanted now. */
    if (peer->cursor.sequence != 0 && peer->cursor.sequence < sequence)
        return;
    peer->cursor.sequence = sequence;
    peer->cursor.offset = 0;
}

static void committed_send(struct hg_peer *peer, uint32_t slot)
{
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_wire_stream_committed committed;
    if (ps->state != HG_PEER_STREAM_STREAMING || s->region != peer->head->region ||
        s->lsn_committed <= ps->lsn_committed_told || !hg_streams_may_tell(peer->peers->config.streams, s))
        return;
    memset(&committed, 0, sizeof(committed));
    committed.control.type = HG_WIRE_STREAM_COMMITTED;
    committed.control.bytes = sizeof(committed);
    committed.control.alias = slot;
    committed.lsn_committed = s->lsn_committed;
    if (hg_lane_control_send(peer->sessions[peer->current].lane, &committed.control) == 0)
        ps->lsn_committed_told = s->lsn_committed;
}

void hg_peers_report_committed(struct hg_peer *peer)
{
    struct hg_streams *streams = peer->peers->config.streams;
    uint32_t count = hg_streams_count(streams);
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++)
        if (hg_streams_is_told(streams, slot, peer->index))
            committed_send(peer, slot);
}

void hg_peers_committed_moved(struct hg_peers *peers)
{
    uint32_t count;
    const uint32_t *changed = hg_streams_changed(peers->config.streams, &count);
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer))
        for (uint32_t i = 0; i < count && peer->current >= 0; i++) {
            if (!hg_streams_at(peers->config.streams, changed[i])->origin_local)
                continue;
            if (hg_streams_is_told(peers->config.streams, changed[i], peer->index))
                committed_send(peer, changed[i]);
            hg_peers_held_committed(peer, changed[i]);
        }
}

static void stream_start(struct hg_peer *peer, uint32_t slot, const struct hg_wire_stream_answer *answer)
{
    struct hg_streams *streams = peer->peers->config.streams;
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    struct hg_peer_stream *ps = &peer->streams[slot];
    uint64_t lsn = answer->lsn_durable != 0 ? answer->lsn_durable : s->lsn_begin;
    hg_streams_peer_restated(streams, slot, peer->index, answer->lsn_durable, hg_copies_id(answer->log_uuid),
                             (answer->flags & HG_WIRE_ANSWER_VOTER) != 0);
    hg_streams_tail_said(streams, slot, peer->index, answer->lsn_durable,
                         (answer->flags & HG_WIRE_ANSWER_UNKNOWN) != 0);
    if (is_answered(peer, slot)) {
        stream_give_up(peer, slot, HG_PEER_STREAM_CLOSED);
        return;
    }
    /* A batch leaves only when it is durable here, so nobody can be ahead of us with our own bytes. */
#ifndef HG_SEEDED_BUG_SKIP_CHAIN_CHECK
    bool foreign =
        lsn > s->lsn_durable || (lsn == s->lsn_durable && answer->lsn_durable != 0 &&
                                 memcmp(answer->chain, s->chain_durable, sizeof(answer->chain)) != 0);
    if (foreign) {
        stream_diverged(peer, slot, lsn);
        return;
    }
#endif
    uint64_t lsn_oldest = hg_streams_lsn_oldest(streams, slot);
    if (lsn < lsn_oldest) { /* said now: an idle stream has no batch that would show the hole */
        stream_gap(peer, slot, lsn, lsn_oldest);
        return;
    }
    hg_streams_peer_begins(streams, slot, peer->index, answer->lsn_durable);
    uint64_t lsn_claimed = hg_max_u64(ps->lsn_claimed, answer->lsn_durable), epoch = ps->epoch;
    bool is_question = ps->is_question;
    hg_peers_hold_end(peer, slot);
    memset(ps, 0, sizeof(*ps));
    ps->epoch = epoch;
    ps->is_question = is_question;
    ps->opening = answer->control.opening;
    ps->state = HG_PEER_STREAM_STREAMING;
    ps->lsn_next = lsn;
    if (answer->lsn_durable != 0)
        memcpy(ps->chain, answer->chain, sizeof(ps->chain));
    ps->verified = lsn == s->lsn_durable;
    hg_peers_claim(peer, slot, lsn_claimed);
    committed_send(peer, slot);
    cursor_rewind(peer, hg_streams_sequence_of(streams, slot, lsn));
    hg_event_put(peer->peers->config.events, HG_EVENT_stream_streaming, s->name, lsn, 0);
}

/* Another worker of the node owns it: the stream goes on the lane to that one, in the next tick at the
 * latest. */
static void stream_elsewhere(struct hg_peer *peer, uint32_t slot, uint32_t worker)
{
    struct hg_peer *head = peer->head;
    if (worker >= head->workers_remote || worker == peer->worker_remote)
        return; /* asked again */
    stream_stop(peer, slot, HG_PEER_STREAM_CLOSED);
    head->stream_worker[slot] = (uint8_t)worker;
    head->lanes_wanted |= UINT64_C(1) << worker;
    struct hg_peer *lane = hg_peers_lane_open(head, worker, peer->peers->now_ns);
    if (lane != NULL && lane->current >= 0)
        hg_peers_open_streams(lane, peer->peers->now_ns);
}

void hg_peers_answer_received(struct hg_peer_session *session, const struct hg_wire_stream_answer *answer)
{
    struct hg_peer *peer = session->peer;
    uint32_t slot = answer->control.alias;
    if (slot >= hg_streams_count(peer->peers->config.streams) ||
        peer->streams[slot].state != HG_PEER_STREAM_OPENING ||
        peer->streams[slot].opening != answer->control.opening) {
        hg_lane_control_refused(session->lane); /* repeated, or to an OPEN we no longer stand by */
        return;
    }
    if (answer->status == HG_WIRE_OK) {
        stream_start(peer, slot, answer);
        return;
    }
    if (answer->status == HG_WIRE_ELSEWHERE) {
        stream_elsewhere(peer, slot, answer->worker);
        return;
    }
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    if (answer->status == HG_WIRE_REFUSED_HISTORY) {
        stream_diverged(peer, slot, peer->streams[slot].cut.lsn);
        return;
    }
    peer->streams[slot].state = HG_PEER_STREAM_REFUSED;
    peer->streams[slot].retry_ns += HG_PEER_REFUSED_RETRY_NS;
    hg_event_put(peer->peers->config.events, HG_EVENT_stream_refused, s->name, answer->status, 0);
}

void hg_peers_refuse_received(struct hg_peer_session *session, const struct hg_wire_stream_close *refuse)
{
    struct hg_peer *peer = session->peer;
    uint32_t slot = refuse->control.alias;
    /* Asked again they say who has it now, when it is settled, or what they are to its group. */
    bool moved = refuse->reason == HG_WIRE_MOVED || refuse->reason == HG_WIRE_REFUSED_MEMBERS;
    if (slot >= hg_streams_count(peer->peers->config.streams) ||
        peer->streams[slot].opening != refuse->control.opening ||
        (peer->streams[slot].state != HG_PEER_STREAM_STREAMING &&
         !(moved && (peer->streams[slot].state == HG_PEER_STREAM_OPENING ||
                     peer->streams[slot].state == HG_PEER_STREAM_GAP)))) {
        hg_lane_control_refused(session->lane);
        return;
    }
    if (moved) {
        bool streamed = peer->streams[slot].state == HG_PEER_STREAM_STREAMING ||
                        peer->streams[slot].state == HG_PEER_STREAM_GAP; /* it begins anew */
        stream_stop(peer, slot, HG_PEER_STREAM_CLOSED);
        if (streamed) /* else in the next tick: it takes them two to make us busy */
            hg_peers_open_streams(peer, peer->peers->now_ns);
        return;
    }
    if (refuse->reason == HG_WIRE_REFUSED_EPOCH) { /* it was sealed; our epoch may become a newer one */
        stream_stop(peer, slot, HG_PEER_STREAM_REFUSED);
        peer->streams[slot].retry_ns = peer->peers->now_ns + HG_PEER_REFUSED_RETRY_NS;
        hg_event_put(peer->peers->config.events, HG_EVENT_stream_refused,
                     hg_streams_at(peer->peers->config.streams, slot)->name, refuse->reason, 0);
        return;
    }
    /* The other side refused a batch that follows from its own tail as we know it: histories differ. */
    stream_diverged(peer, slot, peer->streams[slot].lsn_next);
}

/* The peer says that everything below lsn is durable there. It counts only where its chain was proved to be
 * ours. */
void hg_peers_claim(struct hg_peer *peer, uint32_t slot, uint64_t lsn)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    if (ps->state == HG_PEER_STREAM_OPENING) /* it overtook the answer, and will not be said again */
        ps->lsn_claimed = hg_max_u64(ps->lsn_claimed, lsn);
    if (ps->state != HG_PEER_STREAM_STREAMING)
        return;
    /* It can't have what is not durable here. Remembered, the claim would count for all that is to come. */
    if (lsn > hg_streams_at(peer->peers->config.streams, slot)->lsn_durable) {
        stream_diverged(peer, slot, lsn);
        return;
    }
    ps->lsn_claimed = hg_max_u64(ps->lsn_claimed, lsn);
    /* Under a newer epoch it is opened anew: it has to follow that first. */
    bool is_current = ps->epoch == hg_streams_at(peer->peers->config.streams, slot)->epoch;
    if (ps->verified && is_current)
        hg_streams_peer_durable(peer->peers->config.streams, slot, peer->index,
                                hg_min_u64(ps->lsn_claimed, ps->lsn_next));
}

static void stream_needed_send(struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    struct hg_peer_stream *ps = &peer->streams[slot];
    struct hg_wire_stream_needed needed;
    uint64_t lsn = hg_streams_lsn_after(streams, slot, peer->sequence_needed);
    if (ps->state != HG_PEER_STREAM_STREAMING || lsn <= ps->lsn_needed ||
        lsn <= hg_streams_at(streams, slot)->lsn_peer[peer->index])
        return;
    memset(&needed, 0, sizeof(needed));
    needed.control.type = HG_WIRE_STREAM_NEEDED;
    needed.control.bytes = sizeof(needed);
    needed.control.alias = slot;
    needed.lsn_needed = lsn;
    if (hg_lane_control_send(peer->sessions[peer->current].lane, &needed.control) == 0)
        ps->lsn_needed = lsn;
}

/* All that was sent of the stream is durable there: what the peer lacks lies where its cursor stands, or
 * behind. */
static void stream_passed(const struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_peer_stream *ps = &peer->streams[slot];
    if (ps->state == HG_PEER_STREAM_STREAMING && !ps->is_question && peer->cursor.sequence != 0 &&
        ps->lsn_next <= hg_streams_at(streams, slot)->lsn_peer[peer->index])
        hg_streams_peer_passed(streams, slot, peer->index, hg_peers_sequence_next(peer, slot));
}

void hg_peers_need(struct hg_peer *peer)
{
    struct hg_streams *streams = peer->peers->config.streams;
    const struct hg_log *log = peer->peers->config.log;
    uint32_t count = hg_streams_count(streams);
    uint64_t sequence = hg_log_next_sequence(log);
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++) {
        if (!stream_wanted(peer, slot))
            continue;
        stream_passed(peer, slot);
        sequence = hg_min_u64(sequence, hg_streams_peer_needs(streams, slot, peer->index));
    }
    peer->sequence_needed = hg_log_segment_last(log, sequence);
    if (!hg_log_is_scarce(log))
        return;
    for (uint32_t slot = 0; slot < count && slot < peer->peers->config.streams_max; slot++)
        if (stream_wanted(peer, slot))
            stream_needed_send(peer, slot);
}

/* Whether this batch is the next one of its stream for this peer; if so the stream moves past it. */
static bool stream_take(struct hg_peer *peer, uint32_t slot, const struct hg_batch_header *header)
{
    struct hg_peer_stream *ps = &peer->streams[slot];
    if (ps->state != HG_PEER_STREAM_STREAMING || header->lsn_end <= ps->lsn_next)
        return false;
    if (is_answered(peer, slot)) {
        stream_give_up(peer, slot, HG_PEER_STREAM_CLOSED);
        return false;
    }
    if (header->lsn_first > ps->lsn_next) {
        stream_gap(peer, slot, ps->lsn_next, header->lsn_first);
        return false;
    }
#ifndef HG_SEEDED_BUG_SKIP_CHAIN_CHECK
    if (header->lsn_first < ps->lsn_next ||
        memcmp(header->chain_previous, ps->chain, sizeof(ps->chain)) != 0) {
        stream_diverged(peer, slot, ps->lsn_next);
        return false;
    }
#endif
    /* A peer's word on what we don't know to be durable would look like another history. */
    hg_assert(header->lsn_end <= hg_streams_at(peer->peers->config.streams, slot)->lsn_durable);
    ps->verified = 1;
    ps->lsn_next = header->lsn_end;
    memcpy(ps->chain, header->chain, sizeof(ps->chain));
    hg_peers_claim(peer, slot, 0);
    return true;
}

/* What is not committed stays in its region. */
static bool batch_may_leave(const struct hg_peer *peer, uint32_t slot, const struct hg_batch_header *header)
{
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    const struct hg_peer_stream *ps = &peer->streams[slot];
#ifdef HG_SEEDED_BUG_SHIP_BEFORE_COMMIT
    return true;
#endif
    return s->region == peer->head->region || header->lsn_end <= s->lsn_committed ||
           ps->state != HG_PEER_STREAM_STREAMING || header->lsn_end <= ps->lsn_next;
}

/* Whether the cursor gives this batch to the lane. One that may not leave yet holds its stream back. */
static bool batch_given(struct hg_peer *peer, const struct hg_cursor *at,
                        const struct hg_batch_header *header, bool held, int32_t slot)
{
    if (slot < 0 ||
        hg_streams_batch_is_cut(peer->peers->config.streams, (uint32_t)slot, at->sequence, header) ||
        peer->streams[slot].held != (held ? HG_PEER_STREAM_RETURNS : HG_PEER_STREAM_NOT_HELD))
        return false;
    if (batch_may_leave(peer, (uint32_t)slot, header))
        return stream_take(peer, (uint32_t)slot, header);
    hg_peers_hold(peer, (uint32_t)slot, at, header);
    return false;
}

/* The next batch at one of the lane's cursors that it wants. */
static bool cursor_next(struct hg_peer_session *session, bool held, uint32_t *budget,
                        struct hg_lane_batch *batch)
{
    struct hg_peer *peer = session->peer;
    struct hg_log *log = peer->peers->config.log;
    struct hg_cursor *cursor = held ? &peer->cursor_held : &peer->cursor;
    for (; *budget > 0 && (!held || hg_peers_held_walks(peer)); --*budget) {
        const struct hg_batch_header *header;
        int rc = hg_cursor_peek(cursor, log, &header);
        if (rc == -ENOENT) {
            cursor_trimmed(peer, cursor);
            continue;
        }
        if (rc == -EBADMSG) {
            peer->read_corrupt = true;
            hg_event_put(peer->peers->config.events, HG_EVENT_read_corrupt, peer->name, cursor->sequence, 0);
        }
        if (rc <= 0)
            return false;
        struct hg_cursor here = *cursor;
        if (here.sequence > peer->sequence_needed &&
            !hg_lane_credit_has(session->lane, hg_batch_bytes(header), HG_PEER_RESERVE_BYTES))
            return false;
        int32_t slot = header->flags & HG_BATCH_LOCAL
                           ? -1
                           : hg_streams_find(peer->peers->config.streams, header->stream);
        hg_cursor_advance(cursor, header);
        if (!batch_given(peer, &here, header, held, slot))
            continue;
        batch->alias = (uint32_t)slot;
        batch->bytes = hg_batch_bytes(header);
        batch->lsn_first = header->lsn_first;
        batch->lsn_end = header->lsn_end;
        batch->sequence = here.sequence;
        batch->offset = here.offset;
        return true;
    }
    return false;
}

bool hg_peers_batch_next(void *ctx, struct hg_lane_batch *batch)
{
    struct hg_peer_session *session = ctx;
    struct hg_peer *peer = session->peer;
    uint32_t budget = HG_PEER_NEXT_BUDGET;
    if (peer->current < 0 || session != &peer->sessions[peer->current] || peer->cursor.sequence == 0 ||
        peer->read_corrupt)
        return false;
    bool held = peer->held_first;
    bool found = cursor_next(session, held, &budget, batch);
    if (!found && !peer->read_corrupt) {
        held = !held;
        found = cursor_next(session, held, &budget, batch);
    }
    peer->held_first = !held;
    return found;
}

/* What was promised to the lane can't be read any more: it must not wait for it, or other streams wait too.
 */
static void batch_lost(struct hg_peer *peer, const struct hg_lane_batch *batch, int rc)
{
    if (rc == -EBADMSG) {
        /* It is corrupt and not gone: opened again, the lane waits there until the log has mended it. */
        hg_event_put(peer->peers->config.events, HG_EVENT_read_corrupt, peer->name, batch->sequence, 0);
        peer->streams[batch->alias].moved = true;
        stream_give_up(peer, batch->alias, HG_PEER_STREAM_CLOSED);
        return;
    }
    uint64_t lsn_oldest = hg_streams_lsn_oldest(peer->peers->config.streams, batch->alias);
    stream_gap(peer, batch->alias, batch->lsn_first, hg_max_u64(lsn_oldest, batch->lsn_end));
}

const uint8_t *hg_peers_batch_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    const struct hg_peer_session *session = ctx;
    const uint8_t *payload;
    uint32_t payload_bytes;
    int rc = hg_log_at(session->peer->peers->config.log, batch->sequence, &payload, &payload_bytes);
    if (rc < 0)
        batch_lost(session->peer, batch, rc);
    if (rc != 1)
        return NULL;
    hg_assert((uint64_t)batch->offset + batch->bytes <= payload_bytes);
    return payload + batch->offset;
}

bool hg_peers_batch_gone(void *ctx, const struct hg_lane_batch *batch)
{
    const struct hg_peer_session *session = ctx;
    const struct hg_peer_stream *ps = &session->peer->streams[batch->alias];
    return ps->state == HG_PEER_STREAM_STREAMING && ps->verified && batch->lsn_end <= ps->lsn_claimed;
}

void hg_peers_batch_acked(void *ctx, const struct hg_lane_batch *batch)
{
    /* Received is not durable: nothing moves before the peer says so. */
    (void)ctx;
    (void)batch;
}
