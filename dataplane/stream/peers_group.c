/* SPDX-License-Identifier: Apache-2.0
 *
 * What a fail-over asks of other nodes, and what this one answers: a seal that is answered with the tails of
 * the group's streams, and a copy that sends what it has as if it were the writer. Whoever asks asks again
 * until it knows enough, so nothing here is kept over a session.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"

#include <errno.h>

static bool is_member(const struct hg_peer *peer, uint32_t group)
{
    return hg_streams_peer_counts(peer->peers->config.streams, group, peer->index);
}

static bool in_group(struct hg_streams *streams, uint32_t slot, uint32_t group)
{
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    return s->kind != 0 && !s->ended && s->group == group;
}

/* Counted by name, and as a frame that applied to nothing. */
static void refuse(struct hg_peer_session *session, enum hg_group_reason reason)
{
    hg_streams_group_refused(session->peer->peers->config.streams, reason);
    hg_lane_control_refused(session->lane);
}

/* ---- answers that came, for the control plane ---- */

static bool answer_put(struct hg_peers *peers, uint64_t node, const struct hg_wire_group_tail *frame)
{
    if (peers->answer_head - peers->answer_tail == HG_PEERS_ANSWERS_MAX)
        return false;
    struct hg_control_tail *answer = &peers->answers[peers->answer_head++ % HG_PEERS_ANSWERS_MAX];
    memset(answer, 0, sizeof(*answer));
    answer->node = node;
    answer->epoch = frame->epoch;
    answer->epoch_promised = frame->epoch_promised;
    answer->stream = frame->stream;
    answer->lsn_end = frame->lsn_end;
    memcpy(answer->chain, frame->chain, sizeof(answer->chain));
    memcpy(answer->log_uuid, frame->log_uuid, sizeof(answer->log_uuid));
    answer->group = (uint16_t)frame->group;
    answer->streams = frame->streams;
    answer->log = frame->log;
    answer->logs = frame->logs;
    answer->unknown = frame->unknown;
    answer->epoch_count = frame->epoch_count;
    answer->corrupt = frame->corrupt;
    answer->corrupt_first = frame->corrupt_first;
    answer->corrupt_end = frame->corrupt_end;
    answer->lsn_floor = frame->lsn_floor;
    for (uint32_t i = 0; i < frame->epoch_count; i++)
        answer->epochs[i] =
            (struct hg_epoch_start){.epoch = frame->epochs[i].epoch, .lsn = frame->epochs[i].lsn};
    return true;
}

bool hg_peers_group_answer(struct hg_peers *peers, struct hg_control_tail *answer)
{
    if (peers->answer_tail == peers->answer_head)
        return false;
    *answer = peers->answers[peers->answer_tail++ % HG_PEERS_ANSWERS_MAX];
    return true;
}

void hg_peers_tail_received(struct hg_peer_session *session, const struct hg_wire_group_tail *frame)
{
    struct hg_peer *peer = session->peer;
    if (frame->epoch_promised > HG_EPOCH_MAX) { /* whoever asked would look for a higher one */
        refuse(session, HG_GROUP_seal_limit);
        return;
    }
    /* Not more is believed than that it said so: who decides asks for what it needs. */
    if (frame->epoch_count > HG_WIRE_EPOCH_STARTS_MAX || frame->group >= HG_GROUPS_MAX ||
        frame->log >= frame->logs || frame->logs > HG_WIRE_WORKERS_MAX ||
        (frame->stream == 0 && frame->lsn_floor != 0) || !is_member(peer, frame->group) ||
        !answer_put(peer->peers, peer->head->node, frame))
        hg_lane_control_refused(session->lane);
}

/* ---- answering ---- */

static void tail_begin(struct hg_peers *peers, uint32_t group, uint64_t epoch,
                       struct hg_wire_group_tail *frame)
{
    memset(frame, 0, sizeof(*frame));
    frame->control.type = HG_WIRE_GROUP_TAIL;
    frame->control.bytes = sizeof(*frame);
    frame->control.alias = HG_WIRE_ALIASES_MAX + group;
    frame->group = group;
    frame->epoch = epoch;
    frame->epoch_promised = hg_group_fence(hg_streams_group(peers->config.streams, group));
    memcpy(frame->log_uuid, hg_log_uuid(peers->config.log), sizeof(frame->log_uuid));
    frame->log = peers->config.worker;
    frame->logs = peers->config.workers == 0 ? 1 : peers->config.workers;
}

/* [*first, *end) grows by what write `write` has of the stream: as its batches say, else as the index does.
 */
static void corrupt_widen(struct hg_peers *peers, uint32_t slot, const struct hg_log_heal_write *write,
                          uint64_t *first, uint64_t *end)
{
    struct hg_streams *streams = peers->config.streams;
    uint64_t write_first = 0, write_end = 0;
    bool has =
        !write->is_ranged && hg_streams_range_in(streams, slot, write->sequence, &write_first, &write_end);
    for (uint32_t i = 0; write->is_ranged && i < write->range_count; i++)
        if (write->ranges[i].stream == hg_streams_at(streams, slot)->stream) {
            write_first = write->ranges[i].lsn_first;
            write_end = hg_min_u64(write->ranges[i].lsn_end, hg_streams_at(streams, slot)->lsn_durable);
            has = write_first < write_end;
        }
    if (!has)
        return;
    *first = *end == 0 ? write_first : hg_min_u64(*first, write_first);
    *end = hg_max_u64(*end, write_end);
}

/* What of the stream can't all be read here. False: all can. */
static bool corrupt_range(struct hg_peers *peers, uint32_t slot, uint64_t *first, uint64_t *end)
{
    const struct hg_stream_state *s = hg_streams_at(peers->config.streams, slot);
    const struct hg_log_heal *heal = hg_log_heal_of(peers->config.log);
    *first = *end = 0;
    if (s->lsn_durable == 0)
        return false;
    for (uint32_t i = 0; i < heal->count; i++)
        corrupt_widen(peers, slot, &heal->writes[i], first, end);
    if (heal->untracked > 0) { /* which writes these are is not known: any stream may lack something */
        *first = s->lsn_begin;
        *end = s->lsn_durable;
    }
    return *end > 0;
}

static void tail_of(struct hg_peers *peers, uint32_t slot, struct hg_wire_group_tail *frame)
{
    const struct hg_stream_state *s = hg_streams_at(peers->config.streams, slot);
    struct hg_history history;
    frame->control.alias = slot;
    frame->stream = s->stream;
    frame->lsn_end = s->lsn_durable;
    memcpy(frame->chain, s->chain_durable, sizeof(frame->chain));
    frame->unknown = s->tail_unknown;
    frame->lsn_floor = hg_streams_committed_known(s);
    hg_streams_history_durable(s, &history);
    frame->epoch_count = (uint8_t)history.count;
    for (uint32_t i = 0; i < history.count; i++) {
        frame->epochs[i].epoch = history.starts[i].epoch;
        frame->epochs[i].lsn = history.starts[i].lsn;
    }
    uint64_t first, end;
    if (!corrupt_range(peers, slot, &first, &end))
        return;
    frame->corrupt = 1;
    frame->corrupt_first = first;
    frame->corrupt_end = end;
}

/* To who asked: a peer, or this node's control plane. */
static bool tail_send(struct hg_peers *peers, struct hg_peer *peer, const struct hg_wire_group_tail *frame)
{
    if (peer == NULL)
        return answer_put(peers, 0, frame);
    return hg_lane_control_send(peer->sessions[peer->current].lane, &frame->control) == 0;
}

static void group_answer(struct hg_peers *peers, struct hg_peer *peer, struct hg_peer_asked *asked,
                         uint32_t group)
{
    struct hg_streams *streams = peers->config.streams;
    uint64_t epoch = asked->epoch[group];
    uint32_t count = 0;
    struct hg_wire_group_tail frame;
    bool refuses = hg_group_fence(hg_streams_group(streams, group)) > epoch;
#ifdef HG_SEEDED_BUG_READ_WITHOUT_FENCE
    bool is_due = peer != NULL;
#else
    bool is_due = false;
#endif
    if (!refuses && !is_due && !hg_streams_group_sealed(streams, group, epoch))
        return; /* on its way to the device */
    tail_begin(peers, group, epoch, &frame);
    for (uint32_t slot = 0; slot < hg_streams_count(streams); slot++)
        count += in_group(streams, slot, group);
    frame.streams = (uint16_t)count;
    if ((refuses || count == 0) && !tail_send(peers, peer, &frame))
        return;
    for (uint32_t slot = asked->slot_next[group]; !refuses && slot < hg_streams_count(streams); slot++) {
        asked->slot_next[group] = (uint16_t)slot;
        if (!in_group(streams, slot, group))
            continue;
        tail_begin(peers, group, epoch, &frame);
        frame.streams = (uint16_t)count;
        tail_of(peers, slot, &frame);
        if (!tail_send(peers, peer, &frame))
            return; /* the rest in a turn that has room */
    }
    asked->groups &= ~(UINT64_C(1) << group);
}

/* True while something is left. */
static bool asked_answer(struct hg_peers *peers, struct hg_peer *peer, struct hg_peer_asked *asked)
{
    for (uint64_t left = asked->groups; left != 0; left &= left - 1)
        group_answer(peers, peer, asked, (uint32_t)__builtin_ctzll(left));
    return asked->groups != 0;
}

void hg_peers_groups_turn(struct hg_peers *peers)
{
    if (!peers->asked_due)
        return;
    peers->asked_due = asked_answer(peers, NULL, &peers->asked);
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer))
        peers->asked_due |= peer->current >= 0 && asked_answer(peers, peer, &peer->asked);
}

/* A read that decides about a tail fences by itself, whatever was answered before: what is asked for is
 * promised, or refused. */
static void ask_take(struct hg_peers *peers, struct hg_peer_asked *asked, uint32_t group, uint64_t epoch)
{
    struct hg_streams *streams = peers->config.streams;
#ifdef HG_SEEDED_BUG_READ_WITHOUT_FENCE
    bool fences = asked == &peers->asked;
#else
    bool fences = true;
#endif
    if (fences && !hg_group_may_answer(hg_streams_group(streams, group), epoch) &&
        hg_streams_group_seal(streams, group, epoch) != HG_GROUP_OK &&
        hg_group_fence(hg_streams_group(streams, group)) <= epoch)
        return; /* counted under its name; that it has streams of several regions is not the asker's to mend
                 */
    asked->groups |= UINT64_C(1) << group;
    asked->epoch[group] = epoch;
    asked->slot_next[group] = 0;
    peers->asked_due = true;
}

void hg_peers_seal_received(struct hg_peer_session *session, const struct hg_wire_group_seal *seal)
{
    struct hg_peer *peer = session->peer;
    if (seal->group >= HG_GROUPS_MAX || seal->epoch == 0 || seal->epoch > HG_EPOCH_MAX) {
        refuse(session, HG_GROUP_seal_limit);
        return;
    }
    if (!is_member(peer, seal->group)) {
        refuse(session, HG_GROUP_seal_stranger);
        return;
    }
    ask_take(peer->peers, &peer->asked, seal->group, seal->epoch);
}

/* ---- asking ---- */

/* The lanes of this worker to the node: between them, those of all workers here end at all workers there. */
static void ask_send(struct hg_peers *peers, struct hg_peer *head, const struct hg_wire_control *frame)
{
    uint32_t workers = peers->config.workers == 0 ? 1 : peers->config.workers;
    for (uint32_t worker = peers->config.worker; worker < head->workers_remote; worker += workers) {
        struct hg_peer *lane = head;
        while (lane != NULL && lane->worker_remote != worker)
            lane = lane->lane_next;
        if (lane == NULL)
            head->lanes_wanted |= UINT64_C(1) << worker;
        else if (lane->current >= 0)
            (void)hg_lane_control_send(lane->sessions[lane->current].lane, frame);
    }
}

int hg_peers_group_ask(struct hg_peers *peers, uint64_t node, uint32_t group, uint64_t epoch)
{
    struct hg_wire_group_seal seal;
    if (group >= HG_GROUPS_MAX || epoch == 0 || epoch > HG_EPOCH_MAX)
        return -EINVAL;
    if (node == 0) {
        ask_take(peers, &peers->asked, group, epoch);
        return 0;
    }
    int32_t index = hg_peers_find(peers, node);
    if (index < 0)
        return -ENOENT;
    memset(&seal, 0, sizeof(seal));
    seal.control.type = HG_WIRE_GROUP_SEAL;
    seal.control.bytes = sizeof(seal);
    seal.control.alias = group;
    seal.epoch = epoch;
    seal.group = group;
    ask_send(peers, hg_peers_at(peers, (uint32_t)index), &seal.control);
    return 0;
}

/* ---- filling ---- */

int hg_peers_fill_ask(struct hg_peers *peers, uint64_t node, uint64_t stream, uint64_t epoch)
{
    struct hg_wire_stream_fill fill;
    int32_t slot = hg_streams_find(peers->config.streams, stream), index = hg_peers_find(peers, node);
    if (index < 0)
        return -ENOENT;
    if (slot >= 0) {
        peers->fills[slot] = (struct hg_peers_fill){.node = node, .epoch = epoch};
        if (hg_peers_is_filled(peers, (uint32_t)slot, epoch))
            hg_peers_fill_only(peers, (uint32_t)slot, node);
    }
    memset(&fill, 0, sizeof(fill));
    fill.control.type = HG_WIRE_STREAM_FILL;
    fill.control.bytes = sizeof(fill);
    fill.control.alias = (uint32_t)(stream % HG_WIRE_ALIASES_MAX);
    fill.stream = stream;
    fill.epoch = epoch;
    /* Any worker there may own it: each is told, by whoever of ours has the lane, and one has it. */
    ask_send(peers, hg_peers_at(peers, (uint32_t)index), &fill.control);
    return 0;
}

bool hg_peers_is_filled(const struct hg_peers *peers, uint32_t slot, uint64_t epoch)
{
    struct hg_streams *streams = peers->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    const struct hg_group *group = hg_streams_group(streams, s->group);
    uint64_t fill = peers->fills[slot].epoch;
    return fill != 0 && epoch <= fill && group->epoch_promised == fill && group->epoch_begun < fill &&
           hg_history_last(&s->history).epoch < fill;
}

bool hg_peers_is_fill(const struct hg_peers *peers, uint32_t slot, uint64_t node, uint64_t epoch)
{
    return peers->fills[slot].node == node && peers->fills[slot].epoch == epoch &&
           hg_peers_is_filled(peers, slot, epoch);
}

void hg_peers_fill_received(struct hg_peer_session *session, const struct hg_wire_stream_fill *fill)
{
    struct hg_peer *peer = session->peer;
    struct hg_streams *streams = peer->peers->config.streams;
    int32_t slot = hg_streams_find(streams, fill->stream);
    if (slot < 0 || !hg_streams_at(streams, (uint32_t)slot)->configured) { /* another worker of ours has it */
        hg_lane_control_refused(session->lane);
        return;
    }
    if (!is_member(peer, hg_streams_at(streams, (uint32_t)slot)->group)) {
        refuse(session, HG_GROUP_seal_stranger);
        return;
    }
    enum hg_group_reason reason =
        hg_group_read(hg_streams_group(streams, hg_streams_at(streams, (uint32_t)slot)->group), fill->epoch);
    if (reason != HG_GROUP_OK) {
        refuse(session, reason);
        return;
    }
    if (peer->head->fill_epoch[slot] == fill->epoch)
        return; /* asked again */
    peer->head->fill_epoch[slot] = fill->epoch;
    hg_peers_stream_epoch(peer->peers, (uint32_t)slot);
}

bool hg_peers_fills(const struct hg_peer *peer, uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    uint64_t epoch = peer->head->fill_epoch[slot];
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    return epoch != 0 && hg_group_read(hg_streams_group(streams, s->group), epoch) == HG_GROUP_OK &&
           hg_history_last(&s->history).epoch < epoch;
}

uint64_t hg_peers_epoch_sent(const struct hg_peer *peer, uint32_t slot)
{
    return hg_peers_fills(peer, slot) ? peer->head->fill_epoch[slot]
                                      : hg_streams_at(peer->peers->config.streams, slot)->epoch;
}
