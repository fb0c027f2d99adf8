/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams that a peer originates, as we take them: answering where we stand, appending, reporting what is
 * durable.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"

#include <errno.h>
#include <stdio.h>

static void answer_send(struct hg_peer_session *session, uint32_t alias, uint8_t opening, uint16_t status,
                        uint32_t worker, const struct hg_stream_state *s)
{
    struct hg_wire_stream_answer answer;
    memset(&answer, 0, sizeof(answer));
    answer.control.type = HG_WIRE_STREAM_ANSWER;
    answer.control.bytes = sizeof(answer);
    answer.control.alias = alias;
    answer.control.opening = opening;
    answer.status = status;
    answer.worker = (uint16_t)worker;
    if (s != NULL) {
        const struct hg_streams *streams = session->peer->peers->config.streams;
        memcpy(answer.log_uuid, hg_log_uuid(session->peer->peers->config.log), sizeof(answer.log_uuid));
        answer.generation = hg_streams_members_durable(streams, s->group);
        answer.flags = (hg_streams_is_voter(streams, s->group) ? HG_WIRE_ANSWER_VOTER : 0) |
                       (s->tail_unknown ? HG_WIRE_ANSWER_UNKNOWN : 0);
        answer.incarnation = s->incarnation;
        answer.lsn_durable = s->lsn_durable;
        answer.epoch = s->epoch;
        memcpy(answer.chain, s->chain_durable, sizeof(answer.chain));
    }
    (void)hg_lane_control_send(session->lane, &answer.control);
}

/* This worker's own answer. */
static void answer_own(struct hg_peer_session *session, const struct hg_wire_stream_open *open,
                       uint16_t status, const struct hg_stream_state *s)
{
    answer_send(session, open->control.alias, open->control.opening, status,
                session->peer->peers->config.worker, s);
}

void hg_peers_answer_send(struct hg_peer_session *session, uint32_t alias, uint16_t status,
                          const struct hg_stream_state *s)
{
    answer_send(session, alias, session->peer->aliases[alias].opening, status,
                session->peer->peers->config.worker, s);
}

/* The other worker here that owns the stream, -1 = none. */
static int32_t stream_elsewhere(const struct hg_peer *peer, uint64_t stream, int32_t slot)
{
    const struct hg_peers_config *config = &peer->peers->config;
    bool here = slot >= 0 && hg_streams_at(config->streams, (uint32_t)slot)->configured;
    if (here || config->stream_worker == NULL)
        return -1;
    int32_t worker = config->stream_worker(config->ctx, stream);
    return worker == config->worker ? -1 : worker;
}

static uint16_t open_check(struct hg_peer *peer, const struct hg_wire_stream_open *open, int32_t slot)
{
    if (slot < 0)
        return HG_WIRE_REFUSED_UNKNOWN;
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, (uint32_t)slot);
    /* Only its origin sends a stream: the keys of any other region or node are no leave to write into it. */
    if (!s->configured || s->kind != open->kind || s->region != open->region ||
        s->region != peer->head->region)
        return HG_WIRE_REFUSED_UNKNOWN;
    const struct hg_group *group = hg_streams_group(peer->peers->config.streams, s->group);
    /* First: who wrote before is told that its epoch is over, not that nobody knows the stream. */
    if (open->epoch < hg_group_fence(group))
        return HG_WIRE_REFUSED_EPOCH;
    /* Likewise who filled this copy, and comes again when another one does or when it is a writer's. */
    if (!hg_peers_is_fill(peer->peers, (uint32_t)slot, peer->head->node, open->epoch) &&
        (hg_peers_is_filled(peer->peers, (uint32_t)slot, open->epoch) ||
         !hg_streams_writer_may(s, peer->head->node, open->epoch)))
        return hg_streams_writer_is_configured(s, open->epoch) ? HG_WIRE_REFUSED_UNKNOWN
                                                               : HG_WIRE_REFUSED_EPOCH;
    if (hg_group_replicate(group, open->epoch, s->epoch, s->epoch) != HG_GROUP_OK)
        return HG_WIRE_REFUSED_EPOCH;
    if (hg_streams_writer_check(peer->peers->config.streams, s->group, s->region, open->generation,
                                peer->head->node) != HG_GROUP_OK)
        return HG_WIRE_REFUSED_MEMBERS;
    return HG_WIRE_OK;
}

static void open_refused_count(struct hg_peers *peers, uint16_t status)
{
    if (status == HG_WIRE_REFUSED_MEMBERS) /* counted by its reason, with the group */
        return;
    hg_assert(status < HG_PEERS_OPENS_REFUSED);
    peers->opens_refused[status]++;
}

const uint64_t *hg_peers_opens_refused(const struct hg_peers *peers)
{
    return peers->opens_refused;
}

static void alias_close(struct hg_peer_session *session, uint32_t alias)
{
    hg_lane_alias_close(session->lane, alias);
    session->peer->aliases[alias].slot = -1;
}

/* Whether this opening is not over. A newer one ends those before it. */
static bool opening_goes_on(struct hg_peer_session *session, const struct hg_wire_control *control)
{
    struct hg_peer_alias *pa = &session->peer->aliases[control->alias];
    if (hg_peers_opening_is_over(pa, control->opening)) {
        hg_lane_control_refused(session->lane);
        return false;
    }
    if (pa->opening != control->opening) { /* a REFUSE of that one is nobody's any more */
        pa->refuse_unsent = false;
        pa->join.state = HG_PEER_JOIN_NONE;
    }
    pa->opening_min = control->opening;
    if (pa->slot >= 0 && pa->opening != control->opening)
        alias_close(session, control->alias);
    return true;
}

/* What this copy is to the group is answered when the device has it. */
static bool is_generation_due(const struct hg_streams *streams, uint32_t group)
{
    return hg_streams_members_generation(streams, group) != hg_streams_members_durable(streams, group);
}

/* Opens the alias at the stream's end: a join of it is over, also where a repeated OPEN saw that first.
 * False: the lane has no place for it. */
static bool alias_begin(struct hg_peer_session *session, uint32_t alias, uint32_t slot, uint64_t epoch,
                        uint8_t opening, uint64_t lsn_begin)
{
    struct hg_peer *peer = session->peer;
    const struct hg_stream_state *s = hg_streams_at(peer->peers->config.streams, slot);
    if (hg_lane_alias_open(session->lane, alias, s->lsn_begin != 0 ? s->lsn_sealed : lsn_begin) != 0) {
        open_refused_count(peer->peers, HG_WIRE_REFUSED_LIMIT);
        return false;
    }
    peer->aliases[alias].join.state = HG_PEER_JOIN_NONE;
    peer->aliases[alias].slot = (int32_t)slot;
    peer->aliases[alias].epoch = epoch;
    peer->aliases[alias].opening = opening;
    peer->alias_end = (uint32_t)hg_max_u64(peer->alias_end, alias + 1);
    peer->aliases[alias].lsn_reported = s->lsn_durable;
    return true;
}

void hg_peers_join_end(struct hg_peer_session *session, uint32_t alias)
{
    struct hg_peer_alias *pa = &session->peer->aliases[alias];
    const struct hg_stream_state *s = hg_streams_at(session->peer->peers->config.streams, pa->join.slot);
    pa->join.state = HG_PEER_JOIN_NONE;
    bool opened = alias_begin(session, alias, pa->join.slot, pa->join.epoch, pa->opening, pa->join.lsn_begin);
    hg_peers_answer_send(session, alias, opened ? HG_WIRE_OK : HG_WIRE_REFUSED_LIMIT, opened ? s : NULL);
}

/* Promises the sender's epoch. Unless it only fills this copy, it is the writer from now on. */
static enum hg_group_reason writer_follow(struct hg_peer *peer, const struct hg_wire_stream_open *open,
                                          uint32_t slot)
{
    struct hg_streams *streams = peer->peers->config.streams;
    enum hg_group_reason reason =
        hg_streams_follow(streams, hg_streams_at(streams, slot)->group, open->epoch);
    if (reason == HG_GROUP_OK && !hg_peers_is_fill(peer->peers, slot, peer->head->node, open->epoch))
        hg_streams_writer_set(streams, slot, peer->head->node, open->epoch);
    return reason;
}

/* The stream is one that this copy takes: opens its alias where it ends here, and answers. False as below. */
static bool open_take(struct hg_peer_session *session, const struct hg_wire_stream_open *open, uint32_t slot)
{
    struct hg_peer *peer = session->peer;
    struct hg_streams *streams = peer->peers->config.streams;
    uint32_t alias = open->control.alias;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    /* An answer that was lost lets an opening be repeated under the epoch that its sender has by now. */
    const struct hg_peer_alias *pa = &peer->aliases[alias];
    if (pa->slot >= 0 && (pa->slot != (int32_t)slot || pa->epoch != open->epoch))
        alias_close(session, alias);
    /* The origin proves our chain where our answer says we end; what is not durable yet would go unproved,
     * and after a rollback there it may be bytes that the origin no longer has. */
    if (peer->aliases[alias].slot < 0 && s->lsn_durable != s->lsn_sealed)
        return false;
    /* Nor do we tell of an epoch whose record is not durable yet; but the log has it, and a join that passed
     * it over would put another writer's older batches behind it. */
    if (hg_streams_is_adopting(s))
        return false;
    if (peer->aliases[alias].slot < 0 && hg_peers_join_is_due(s, open->epoch)) {
        hg_peers_join_begin(session, open, slot);
        return true;
    }
    if (peer->aliases[alias].slot < 0 &&
        !alias_begin(session, alias, slot, open->epoch, open->control.opening, open->lsn_begin)) {
        answer_own(session, open, HG_WIRE_REFUSED_LIMIT, NULL);
        return true;
    }
    /* And others may have sent of it meanwhile: it goes on where the answer says. */
    if (s->lsn_begin != 0 && s->lsn_durable == s->lsn_sealed)
        (void)hg_lane_alias_open(session->lane, alias, s->lsn_sealed);
    answer_own(session, open, HG_WIRE_OK, s);
    return true;
}

/* Returns false when it must be tried again: the log has no room to record whose stream this is, or batches
 * of it from before are not durable yet, or the beginning of an epoch. */
static bool open_handle(struct hg_peer_session *session, const struct hg_wire_stream_open *open)
{
    struct hg_peer *peer = session->peer;
    struct hg_streams *streams = peer->peers->config.streams;
    uint32_t alias = open->control.alias;
    if (alias >= HG_WIRE_ALIASES_MAX) {
        open_refused_count(peer->peers, HG_WIRE_REFUSED_LIMIT);
        answer_own(session, open, HG_WIRE_REFUSED_LIMIT, NULL);
        return true;
    }
    if (!opening_goes_on(session, &open->control))
        return true;
    int32_t slot = hg_streams_find(streams, open->stream);
    int32_t elsewhere = stream_elsewhere(peer, open->stream, slot);
    if (elsewhere >= 0) {
        answer_send(session, alias, open->control.opening, HG_WIRE_ELSEWHERE, (uint32_t)elsewhere, NULL);
        return true;
    }
    uint16_t status = open_check(peer, open, slot);
    if (status == HG_WIRE_REFUSED_UNKNOWN) {
        char name[HG_NAME_BYTES];
        snprintf(name, sizeof(name), "%.*s", HG_NAME_BYTES - 1, open->name);
        hg_event_put(peer->peers->config.events, HG_EVENT_stream_not_here, name, open->stream, 0);
    }
    if (status == HG_WIRE_OK && (hg_streams_at(streams, (uint32_t)slot)->moving ||
                                 is_generation_due(streams, hg_streams_at(streams, (uint32_t)slot)->group)))
        return false;
    if (status == HG_WIRE_OK) {
        enum hg_group_reason reason = writer_follow(peer, open, (uint32_t)slot);
        if (reason == HG_GROUP_WOULD_BLOCK)
            return false;
        if (reason != HG_GROUP_OK)
            status = HG_WIRE_REFUSED_EPOCH;
    }
    if (status == HG_WIRE_OK) {
        int rc = hg_streams_adopt(streams, (uint32_t)slot, open->system_identifier, open->incarnation,
                                  open->lsn_unit_bytes);
        if (rc == -EAGAIN)
            return false;
        if (rc != 0)
            status = rc == -ESTALE ? HG_WIRE_REFUSED_INCARNATION : HG_WIRE_REFUSED_SYSTEM;
    }
    if (status != HG_WIRE_OK) {
        open_refused_count(peer->peers, status);
        answer_own(session, open, status, NULL);
        return true;
    }
    return open_take(session, open, (uint32_t)slot);
}

void hg_peers_open_received(struct hg_peer_session *session, const struct hg_wire_stream_open *open)
{
    struct hg_peer *peer = session->peer;
    if (open_handle(session, open))
        return;
    uint32_t i = 0;
    while (i < peer->waiting_count && peer->waiting[i].control.alias != open->control.alias)
        i++;
    if (i == HG_PEER_OPENS_WAITING) { /* offered again by its origin */
        hg_lane_control_refused(session->lane);
        return;
    }
    peer->waiting[i] = *open;
    peer->waiting_count = (uint32_t)hg_max_u64(peer->waiting_count, i + 1);
}

static void refuse_send(struct hg_peer_session *session, uint32_t alias, enum hg_wire_status reason)
{
    struct hg_wire_stream_close refuse;
    memset(&refuse, 0, sizeof(refuse));
    refuse.control.type = HG_WIRE_STREAM_REFUSE;
    refuse.control.bytes = sizeof(refuse);
    refuse.control.alias = alias;
    refuse.control.opening = session->peer->aliases[alias].opening;
    refuse.reason = reason;
    session->peer->aliases[alias].refuse_reason = (uint8_t)reason;
    session->peer->aliases[alias].refuse_unsent = hg_lane_control_send(session->lane, &refuse.control) != 0;
}

void hg_peers_members_ask(struct hg_peer *peer, uint32_t group)
{
    for (uint32_t alias = 0; alias < peer->alias_end; alias++) {
        int32_t slot = peer->aliases[alias].slot;
        if (slot < 0 || hg_streams_at(peer->peers->config.streams, (uint32_t)slot)->group != group)
            continue;
        alias_close(&peer->sessions[peer->current], alias);
        refuse_send(&peer->sessions[peer->current], alias, HG_WIRE_REFUSED_MEMBERS);
    }
}

/* No more of the stream is taken from the peer, on this lane. */
static void peer_refuse(struct hg_peer *peer, uint32_t slot, enum hg_wire_status reason)
{
    for (uint32_t alias = 0; peer->current >= 0 && alias < peer->alias_end; alias++) {
        if (peer->aliases[alias].slot != (int32_t)slot)
            continue;
        alias_close(&peer->sessions[peer->current], alias);
        refuse_send(&peer->sessions[peer->current], alias, reason);
    }
}

/* Its writer opens it again. */
static void joins_end(struct hg_peer *peer, uint32_t slot)
{
    for (uint32_t alias = 0; alias < peer->alias_end; alias++)
        if (peer->aliases[alias].join.state != HG_PEER_JOIN_NONE && peer->aliases[alias].join.slot == slot)
            peer->aliases[alias].join.state = HG_PEER_JOIN_NONE;
}

void hg_peers_fill_only(struct hg_peers *peers, uint32_t slot, uint64_t node)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        if (peer->head->node == node)
            continue;
        joins_end(peer, slot);
        peer_refuse(peer, slot, HG_WIRE_REFUSED_EPOCH);
    }
}

bool hg_peers_is_taking(struct hg_peers *peers, uint32_t slot)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer))
        for (uint32_t alias = 0; peer->current >= 0 && alias < peer->alias_end; alias++)
            if (peer->aliases[alias].slot == (int32_t)slot)
                return true;
    return false;
}

/* No more of the stream is taken from anybody. A join would end in what is taken no more: cut it, or take of
 * it. */
static void stream_leave(struct hg_peers *peers, uint32_t slot, enum hg_wire_status reason)
{
    for (struct hg_peer *peer = hg_peers_next(peers, NULL); peer != NULL; peer = hg_peers_next(peers, peer)) {
        joins_end(peer, slot);
        peer_refuse(peer, slot, reason);
    }
}

void hg_peers_stream_leave(struct hg_peers *peers, uint32_t slot)
{
    stream_leave(peers, slot, HG_WIRE_MOVED);
}

void hg_peers_stream_begun(struct hg_peers *peers, uint32_t slot)
{
    peers->fills[slot] = (struct hg_peers_fill){0};
    stream_leave(peers, slot, HG_WIRE_REFUSED_EPOCH);
}

int hg_peers_batch_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    struct hg_peer_session *session = ctx;
    struct hg_peer *peer = session->peer;
    hg_assert(alias < HG_WIRE_ALIASES_MAX);
    int32_t slot = peer->aliases[alias].slot;
    if (slot < 0)
        return -ENOENT;
    struct hg_streams *streams = peer->peers->config.streams;
    enum hg_sealed_reason reason = hg_streams_append_sealed(
        streams, (uint32_t)slot, peer->aliases[alias].epoch, batch, bytes, peer->peers->now_ns);
    if (reason == HG_SEALED_OK) {
        peer->aliases[alias].gap_told = false;
        hg_lane_durable_set(session->lane, hg_log_durable_p99_ns(peer->peers->config.log));
        return 0;
    }
    if (reason == HG_SEALED_WOULD_BLOCK)
        return -EAGAIN;
    const struct hg_stream_state *s = hg_streams_at(streams, (uint32_t)slot);
    peer->aliases[alias].slot = -1;
    refuse_send(session, alias, reason == HG_SEALED_EPOCH ? HG_WIRE_REFUSED_EPOCH : HG_WIRE_REFUSED_BATCH);
    hg_event_put(peer->peers->config.events, HG_EVENT_stream_refused_batch, s->name, s->lsn_sealed, reason);
    return -EBADMSG;
}

void hg_peers_close_received(struct hg_peer_session *session, const struct hg_wire_stream_close *close)
{
    uint32_t alias = close->control.alias;
    struct hg_peer *peer = session->peer;
    if (alias >= HG_WIRE_ALIASES_MAX) {
        hg_lane_control_refused(session->lane);
        return;
    }
    if (!opening_goes_on(session, &close->control))
        return;
    peer->aliases[alias].opening_min++;
    peer->aliases[alias].join.state = HG_PEER_JOIN_NONE;
    if (peer->aliases[alias].slot < 0) { /* it overtook its OPEN, or was refused */
        hg_lane_control_refused(session->lane);
        return;
    }
    const struct hg_stream_state *s =
        hg_streams_at(peer->peers->config.streams, (uint32_t)peer->aliases[alias].slot);
    bool gap_again = close->reason == HG_WIRE_CLOSED_GAP && peer->aliases[alias].gap_told;
    peer->aliases[alias].gap_told = close->reason == HG_WIRE_CLOSED_GAP;
    /* One without an entry was offered only to ask where it ends here (tail.h). */
    bool was_question = close->reason == HG_WIRE_CLOSED_WITHDRAWN && s->lsn_durable == 0;
    if (close->reason != HG_WIRE_MOVED && !gap_again && !was_question) /* the others come again */
        hg_event_put(peer->peers->config.events, HG_EVENT_stream_closed, s->name, close->reason, 0);
    alias_close(session, alias);
}

void hg_peers_report_durable(struct hg_peer *peer)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    struct hg_streams *streams = peer->peers->config.streams;
    for (uint32_t alias = 0; alias < peer->alias_end; alias++) {
        struct hg_peer_alias *pa = &peer->aliases[alias];
        if (pa->slot < 0)
            continue;
        const struct hg_stream_state *s = hg_streams_at(streams, (uint32_t)pa->slot);
        /* A writer whose epoch is over would count what another one wrote here as its own. */
        bool is_over = pa->epoch < hg_group_fence(hg_streams_group(streams, s->group));
        if (is_over || s->lsn_durable <= pa->lsn_reported || hg_streams_is_adopting(s))
            continue;
        struct hg_wire_stream_durable durable;
        memset(&durable, 0, sizeof(durable));
        durable.control.type = HG_WIRE_STREAM_DURABLE;
        durable.control.bytes = sizeof(durable);
        durable.control.alias = alias;
        durable.control.opening = pa->opening;
        durable.lsn_durable = s->lsn_durable;
        if (hg_lane_control_send(session->lane, &durable.control) != 0)
            return;
        pa->lsn_reported = s->lsn_durable;
    }
}

/* What found no place in the lane or in the log when it was due. */
void hg_peers_retry(struct hg_peer *peer)
{
    struct hg_peer_session *session = &peer->sessions[peer->current];
    for (uint32_t alias = 0; alias < peer->alias_end; alias++)
        if (peer->aliases[alias].refuse_unsent)
            refuse_send(session, alias, peer->aliases[alias].refuse_reason);
    if (peer->offer_due)
        hg_lane_offer(session->lane);
    peer->offer_due = false;
    hg_peers_report_durable(peer);
    hg_peers_joins_advance(peer);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < peer->waiting_count; i++)
        if (!open_handle(session, &peer->waiting[i]))
            peer->waiting[kept++] = peer->waiting[i];
    peer->waiting_count = kept;
}

static void durable_received(struct hg_peer_session *session, const struct hg_wire_stream_durable *durable)
{
    struct hg_peer *peer = session->peer;
    uint32_t slot = durable->control.alias;
    if (slot >= hg_streams_count(peer->peers->config.streams) ||
        (peer->streams[slot].state != HG_PEER_STREAM_OPENING &&
         peer->streams[slot].state != HG_PEER_STREAM_STREAMING) ||
        peer->streams[slot].opening !=
            durable->control.opening) { /* what it said then may be cut off since */
        hg_lane_control_refused(session->lane);
        return;
    }
    hg_peers_claim(peer, slot, durable->lsn_durable);
}

/* The lane is in the middle of a packet: what waits is offered by the next tick. */
static void needed_received(struct hg_peer_session *session, const struct hg_wire_stream_needed *needed)
{
    struct hg_peer *peer = session->peer;
    uint32_t alias = needed->control.alias;
    if (alias >= HG_WIRE_ALIASES_MAX || peer->aliases[alias].slot < 0) {
        hg_lane_control_refused(session->lane);
        return;
    }
    struct hg_stream_state *s =
        hg_streams_at(peer->peers->config.streams, (uint32_t)peer->aliases[alias].slot);
    s->lsn_needed = hg_max_u64(s->lsn_needed, needed->lsn_needed);
    peer->offer_due = true;
}

static void committed_received(struct hg_peer_session *session,
                               const struct hg_wire_stream_committed *committed)
{
    struct hg_peer *peer = session->peer;
    uint32_t alias = committed->control.alias;
    if (alias >= HG_WIRE_ALIASES_MAX || peer->aliases[alias].slot < 0) {
        hg_lane_control_refused(session->lane);
        return;
    }
    hg_streams_committed_told(peer->peers->config.streams, (uint32_t)peer->aliases[alias].slot,
                              committed->lsn_committed);
}

void hg_peers_control_received(void *ctx, const struct hg_wire_control *frame)
{
    struct hg_peer_session *session = ctx;
    union {
        struct hg_wire_control control;
        struct hg_wire_stream_open open;
        struct hg_wire_stream_answer answer;
        struct hg_wire_stream_durable durable;
        struct hg_wire_stream_close close;
        struct hg_wire_stream_needed needed;
        struct hg_wire_stream_committed committed;
        struct hg_wire_stream_history history;
        struct hg_wire_stream_cut cut;
        struct hg_wire_group_seal seal;
        struct hg_wire_group_tail tail;
        struct hg_wire_stream_fill fill;
        struct hg_wire_stream_horizon horizon;
        struct hg_wire_log_repair_ask repair_ask;
        struct hg_wire_log_repair_data repair_data;
    } copy;
    if (frame->bytes != hg_wire_control_bytes(frame->type))
        return; /* the lane counts frames of an unknown type or size */
    memcpy(&copy, frame, frame->bytes);
    switch (frame->type) {
    case HG_WIRE_STREAM_OPEN:
        hg_peers_open_received(session, &copy.open);
        break;
    case HG_WIRE_STREAM_ANSWER:
        hg_peers_answer_received(session, &copy.answer);
        break;
    case HG_WIRE_STREAM_DURABLE:
        durable_received(session, &copy.durable);
        break;
    case HG_WIRE_STREAM_HORIZON:
        hg_peers_horizon_received(session, &copy.horizon);
        break;
    case HG_WIRE_STREAM_CLOSE:
        hg_peers_close_received(session, &copy.close);
        break;
    case HG_WIRE_STREAM_NEEDED:
        needed_received(session, &copy.needed);
        break;
    case HG_WIRE_STREAM_COMMITTED:
        committed_received(session, &copy.committed);
        break;
    case HG_WIRE_STREAM_HISTORY:
        hg_peers_history_received(session, &copy.history);
        break;
    case HG_WIRE_STREAM_CUT:
        hg_peers_cut_received(session, &copy.cut);
        break;
    case HG_WIRE_GROUP_SEAL:
        hg_peers_seal_received(session, &copy.seal);
        break;
    case HG_WIRE_GROUP_TAIL:
        hg_peers_tail_received(session, &copy.tail);
        break;
    case HG_WIRE_STREAM_FILL:
        hg_peers_fill_received(session, &copy.fill);
        break;
    case HG_WIRE_LOG_REPAIR_ASK:
        hg_peers_repair_ask_received(session, &copy.repair_ask);
        break;
    case HG_WIRE_LOG_REPAIR_DATA:
        hg_peers_repair_data_received(session, &copy.repair_data);
        break;
    default:
        hg_peers_refuse_received(session, &copy.close);
    }
}
