/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/lane.h"
#include "dataplane/transport/lane_state.h"

#define UNITS_SPLIT_MIN   4u  /* a run isn't cut to less than this just to fill a packet up */
#define READS_WAITING_MAX 32u /* batches that one build passes over because they're being read */
#define PROBES_MAX        2u
#define HEADER_BYTES      ((uint32_t)sizeof(struct hg_wire_header))
#define PLACE_BYTES       ((uint32_t)sizeof(struct hg_wire_fec))
#define REPEATS_RING_DIVISOR                                                                                 \
    4u /* of the ring of sent packets: spanned by more in flight, acks aren't repeated */
#define ACK_RIDES_PACKETS 8u /* an ack rides along in spare room when it tells of this many packets */

/* The packet that is being put together. */
struct lane_draft {
    struct hg_lane_packet *packet;
    struct hg_sent_packet *sent;
    struct hg_wire_fec place; /* in a group, when it is grouped */
    bool grouped;
    uint32_t scratch_bytes;
    bool scratch_open; /* the last piece ends where the scratch's used part ends */
    bool eliciting;
    bool paced; /* the pacer let it go */
};

/* ---- losing ---- */

static void lane_contents_due(struct hg_lane *lane, const struct hg_sent_packet *packet)
{
    for (uint32_t i = 0; i < packet->fragment_count; i++) {
        const struct hg_sent_fragment *fragment = &packet->fragments[i];
        hg_outbox_lost(&lane->outbox, fragment->ordinal, fragment->unit_first, fragment->unit_count);
    }
    for (uint32_t i = 0; i < packet->control_count; i++) {
        hg_control_lost(&lane->control, packet->controls[i].index, packet->controls[i].version);
    }
}

uint32_t hg_lane_packet_lost(struct hg_lane *lane, struct hg_sent_packet *packet)
{
    lane_contents_due(lane, packet);
    hg_sent_lost(&lane->sent, packet);
    if (hg_pmtu_lost(&lane->pmtu, packet->number, packet->bytes, lane->now_ns)) {
        lane->stats.pmtu_probes_lost++;
        return 0;
    }
    lane->stats.packets_lost++;
    const struct hg_sent_sample *sample = hg_sent_sample(&lane->sent, packet);
    hg_delivery_lost(&lane->delivery, packet->bytes);
    if (lane->fec_rule.mode != HG_FEC_OFF) {
        bool marked = lane->ecn_marked_ns != 0 && lane->now_ns <= lane->ecn_marked_ns + lane->loss.srtt_ns;
        hg_fec_rule_lost(&lane->fec_rule, sample->ordinal,
                         marked || hg_fec_rule_queued(lane->loss.rtt_latest_ns, lane->loss.rtt_min_ns));
    }
    const struct hg_cc_loss lost = {.now_ns = lane->now_ns,
                                    .sent_ns = packet->sent_ns,
                                    .bytes = packet->bytes,
                                    .sample = sample,
                                    .delivery = &lane->delivery,
                                    .loss = &lane->loss};
    lane->cc.ops->on_lost(&lane->cc, &lost);
    if (hg_loss_persistent(&lane->loss, packet->sent_ns, sample->ordinal)) {
        lane->stats.congestion_persistent++;
        lane->cc.ops->on_persistent(&lane->cc, lane->now_ns);
    }
    return packet->bytes;
}

uint64_t hg_lane_losses(struct hg_lane *lane)
{
    uint64_t bytes = 0;
    struct hg_sent_packet *packet;
    while ((packet = hg_loss_next(&lane->loss, &lane->sent, lane->now_ns)) != NULL) {
        bytes += hg_lane_packet_lost(lane, packet);
    }
    if (bytes > 0) {
        hg_lane_congestion_follow(lane);
    }
    return bytes;
}

/* Loss by time, or a probe timeout: the oldest packets' contents go out once more, without being declared
 * lost. */
static void lane_timers(struct hg_lane *lane)
{
    if (lane->now_ns < hg_loss_deadline_ns(&lane->loss, &lane->sent)) {
        return;
    }
    if (lane->loss.time_ns != HG_TIME_NEVER) {
        (void)hg_lane_losses(lane);
        uint32_t ordinal = lane->outbox.due_first;
        if (hg_outbox_due(&lane->outbox, &ordinal) || hg_control_next(&lane->control) != HG_CONTROL_NONE ||
            lane->now_ns < hg_loss_deadline_ns(&lane->loss, &lane->sent)) {
            lane->loss.probe_from_ns = lane->now_ns; /* as what goes out now or soon will */
            return;
        }
    }
    lane->stats.probes_sent++;
    lane->loss.probe_count++;
    lane->loss.probe_from_ns = lane->now_ns;
    hg_ecn_timeout(&lane->ecn, lane->loss.probe_count, lane->sent.number_last);
    lane->probes_due = lane->loss.probe_count > 1 ? PROBES_MAX : 1;
    uint64_t after = 0;
    for (uint32_t i = 0; i < lane->probes_due; i++) {
        const struct hg_sent_packet *packet = hg_sent_in_flight(&lane->sent, after, lane->sent.number_last);
        if (packet == NULL) {
            break;
        }
        hg_pmtu_timeout(&lane->pmtu, lane->loss.probe_count, packet->bytes);
        lane_contents_due(lane, packet);
        after = packet->number;
    }
}

/* ---- putting a packet together ---- */

static uint32_t draft_room(const struct hg_lane *lane, const struct lane_draft *draft)
{
    return lane->inner_bytes_max - draft->packet->bytes;
}

/* Begins a packet. The scratch has room for a place in a group between its first byte and the header, so that
 * the header can move down when the packet turns out to have one. */
static void draft_begin(struct hg_lane *lane, struct lane_draft *draft)
{
    struct hg_lane_packet *packet = draft->packet;
    draft->scratch_bytes = PLACE_BYTES + HEADER_BYTES;
    draft->scratch_open = true;
    packet->pieces[0] = (struct iovec){.iov_base = lane->scratch + PLACE_BYTES, .iov_len = HEADER_BYTES};
    packet->piece_count = 1;
    packet->bytes = HEADER_BYTES;
}

/* Header and place, now that both are known. */
static void draft_head(struct hg_lane *lane, struct lane_draft *draft)
{
    struct hg_wire_header header = {.version = HG_WIRE_VERSION,
                                    .flags = draft->grouped ? HG_WIRE_FLAG_FEC : 0};
    uint8_t *at = lane->scratch + PLACE_BYTES;
    if (draft->grouped) {
        at = lane->scratch;
        memcpy(at + HEADER_BYTES, &draft->place, PLACE_BYTES);
        draft->packet->pieces[0].iov_base = at;
        draft->packet->pieces[0].iov_len += PLACE_BYTES;
        draft->packet->bytes += PLACE_BYTES;
    }
    memcpy(at, &header, HEADER_BYTES);
}

/* Room in the scratch that goes into the packet next. */
static uint8_t *draft_scratch(struct hg_lane *lane, struct lane_draft *draft, uint32_t bytes)
{
    hg_assert(draft->scratch_bytes + bytes <= sizeof(lane->scratch));
    uint8_t *at = lane->scratch + draft->scratch_bytes;
    struct hg_lane_packet *packet = draft->packet;
    if (draft->scratch_open) {
        packet->pieces[packet->piece_count - 1].iov_len += bytes;
    } else {
        hg_assert(packet->piece_count < HG_LANE_PIECES_MAX);
        packet->pieces[packet->piece_count++] = (struct iovec){.iov_base = at, .iov_len = bytes};
        draft->scratch_open = true;
    }
    draft->scratch_bytes += bytes;
    packet->bytes += bytes;
    return at;
}

/* As many ranges as the packet has room for. One that rides and would be cut short is better told whole,
 * later. */
static void draft_ack(struct hg_lane *lane, struct lane_draft *draft, bool rides)
{
    uint8_t frame[HG_ACK_FRAME_BYTES_MAX];
    uint32_t left = draft_room(lane, draft) - (uint32_t)sizeof(struct hg_wire_ack);
    uint32_t ranges_max =
        (uint32_t)hg_min_u64(1 + left / sizeof(struct hg_wire_ack_range), HG_WIRE_ACK_RANGES_MAX);
    uint32_t bytes = hg_ack_write(&lane->ack, ranges_max, lane->now_ns, frame);
    struct hg_wire_ack head;
    memcpy(&head, frame, sizeof(head));
    if (rides && head.range_count == ranges_max && ranges_max < HG_WIRE_ACK_RANGES_MAX) {
        return;
    }
    hg_ack_told(&lane->ack, lane->now_ns);
    head.credit_bytes = hg_lane_credit_given(lane);
    head.ecn_ce = lane->ecn_seen.ce;
    head.ecn_ect = lane->ecn_seen.ect;
    lane->credit_told_bytes = head.credit_bytes;
    memcpy(frame, &head, sizeof(head));
    memcpy(draft_scratch(lane, draft, bytes), frame, bytes);
    lane->stats.acks_sent++;
    if (lane->recovered.count > 0 && draft_room(lane, draft) >= HG_RECOVERED_FRAME_BYTES_MAX) {
        uint8_t told[HG_RECOVERED_FRAME_BYTES_MAX];
        bytes = hg_recovered_write(&lane->recovered, told);
        memcpy(draft_scratch(lane, draft, bytes), told, bytes);
    }
}

/* An ack that isn't due yet, in what is left of a packet that goes out anyway. */
static void draft_ack_rides(struct hg_lane *lane, struct lane_draft *draft)
{
    if (draft->eliciting && lane->ack.pending_count >= ACK_RIDES_PACKETS &&
        draft_room(lane, draft) >= sizeof(struct hg_wire_ack) + sizeof(struct hg_wire_ack_range)) {
        draft_ack(lane, draft, true);
    }
}

static void draft_controls(struct hg_lane *lane, struct lane_draft *draft)
{
    struct hg_sent_packet *sent = draft->sent;
    uint16_t index;
    while (sent->control_count < HG_SENT_CONTROLS_MAX &&
           (index = hg_control_next(&lane->control)) != HG_CONTROL_NONE) {
        const struct hg_control_frame *frame = &lane->control.frames[index];
        if (frame->size_bytes > draft_room(lane, draft)) {
            break;
        }
        memcpy(draft_scratch(lane, draft, frame->size_bytes), frame->bytes, frame->size_bytes);
        uint16_t version = hg_control_sent(&lane->control, index);
        sent->controls[sent->control_count++] = (struct hg_sent_control){.index = index, .version = version};
        draft->eliciting = true;
    }
}

enum lane_fragment { FRAGMENT_PUT, FRAGMENT_READING, FRAGMENT_FULL, FRAGMENT_GONE };

/* Puts the first due run of a batch into the packet, or as much of it as fits. */
static enum lane_fragment draft_fragment(struct hg_lane *lane, struct lane_draft *draft, uint32_t ordinal)
{
    struct hg_outbox_batch *batch = hg_outbox_find(&lane->outbox, ordinal);
    hg_assert(batch != NULL);
    uint32_t room = draft_room(lane, draft) - (uint32_t)sizeof(struct hg_wire_data);
    uint32_t first = 0;
    uint32_t units = hg_outbox_run(&lane->outbox, batch, room / HG_WIRE_UNIT_BYTES + 1, &first);
    uint32_t offset = first * HG_WIRE_UNIT_BYTES;
    uint32_t bytes = (uint32_t)hg_min_u64(units * HG_WIRE_UNIT_BYTES, batch->batch.bytes - offset);
    if (bytes > room) {
        units = room / HG_WIRE_UNIT_BYTES;
        bytes = units * HG_WIRE_UNIT_BYTES;
        if (units == 0 || (units < UNITS_SPLIT_MIN && draft->eliciting)) {
            return FRAGMENT_FULL;
        }
    }
    /* Acks may be lost while the peer's word that all of it is durable came through. */
    if (first < batch->unit_sent_end && lane->ops->batch_gone != NULL &&
        lane->ops->batch_gone(lane->ctx, &batch->batch)) {
        hg_outbox_close(&lane->outbox, ordinal);
        return FRAGMENT_GONE;
    }
    const uint8_t *data = lane->ops->batch_bytes(lane->ctx, &batch->batch);
    if (data == NULL) {
        lane->stats.read_stalls += batch->reading ? 0 : 1;
        batch->reading = true;
        return FRAGMENT_READING;
    }
    batch->reading = false;
    struct hg_wire_data frame =
        hg_wire_data_make(batch->batch.alias, batch->batch.lsn_first, batch->batch.bytes, offset, bytes);
    memcpy(draft_scratch(lane, draft, sizeof(frame)), &frame, sizeof(frame));
    struct hg_lane_packet *packet = draft->packet;
    packet->pieces[packet->piece_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)(data + offset), .iov_len = bytes};
    packet->bytes += bytes;
    draft->scratch_open = false;
    draft->eliciting = true;
    draft->sent->fragments[draft->sent->fragment_count++] = (struct hg_sent_fragment){
        .ordinal = ordinal, .unit_first = (uint16_t)first, .unit_count = (uint16_t)units};

    uint32_t sent_end = batch->unit_sent_end;
    uint32_t fresh = hg_outbox_sent(&lane->outbox, ordinal, first, units);
    uint64_t fresh_bytes = hg_min_u64((uint64_t)fresh * HG_WIRE_UNIT_BYTES, bytes);
    lane->stats.data_bytes_sent += fresh_bytes;
    lane->stats.data_bytes_resent += bytes - fresh_bytes;
    lane->stats.batches_sent += sent_end < batch->unit_count && batch->unit_sent_end == batch->unit_count;
    return FRAGMENT_PUT;
}

static void lane_credit_stalls(struct hg_lane *lane)
{
    /* Before the first ack nobody knows the credit: that is no stall. */
    lane->stats.credit_stalls += lane->credit_stalled || lane->credit_number == 0 ? 0 : 1;
    lane->credit_stalled = true;
}

bool hg_lane_credit_has(struct hg_lane *lane, uint32_t bytes, uint64_t reserve_bytes)
{
    if (hg_lane_credit_left(lane) >= HG_WIRE_CREDIT_BYTES(bytes) + reserve_bytes) {
        return true;
    }
    lane->credit_short = true;
    lane_credit_stalls(lane);
    return false;
}

/* Admits the owner's next batch, as far as credit goes. */
static bool lane_admit(struct hg_lane *lane)
{
    if (!hg_outbox_has_room(&lane->outbox)) {
        return false;
    }
    uint64_t left = hg_lane_credit_left(lane);
    if (left > 0 && !lane->held_is_set) {
        lane->credit_short = false;
        if (!lane->ops->batch_next(lane->ctx, &lane->held)) {
            return false;
        }
        hg_assert(lane->held.bytes >= sizeof(struct hg_batch_header) &&
                  lane->held.bytes <= HG_BATCH_BYTES_MAX);
        hg_assert(lane->held.bytes % HG_BATCH_ALIGN_BYTES == 0);
        lane->held_is_set = true;
    }
    if (hg_lane_credit_blocked(lane)) {
        lane_credit_stalls(lane);
        return false;
    }
    (void)hg_outbox_add(&lane->outbox, &lane->held);
    lane->held_is_set = false;
    lane->credit_stalled = false;
    lane->credit_asked_count = 0;
    return true;
}

static void draft_data(struct hg_lane *lane, struct lane_draft *draft)
{
    uint32_t ordinal = lane->outbox.due_first;
    uint32_t reading = 0;
    while (draft->sent->fragment_count < HG_SENT_FRAGMENTS_MAX && reading < READS_WAITING_MAX &&
           draft->packet->piece_count + 3 <= HG_LANE_PIECES_MAX &&
           draft_room(lane, draft) >= sizeof(struct hg_wire_data) + HG_WIRE_UNIT_BYTES) {
        if (!hg_outbox_due(&lane->outbox, &ordinal) && !lane_admit(lane)) {
            lane->starved = true;
            break;
        }
        enum lane_fragment result = draft_fragment(lane, draft, ordinal);
        if (result == FRAGMENT_FULL) {
            break;
        }
        if (result == FRAGMENT_READING) {
            ordinal++;
            reading++;
            lane->starved = reading == READS_WAITING_MAX;
        }
    }
}

/* ---- parity ---- */

static void lane_fec_close(struct hg_lane *lane, struct hg_fec_encode_group *group, uint32_t parities)
{
    hg_fec_encode_close(&lane->fec_encode, group, (uint32_t)hg_min_u64(parities, group->rows));
    lane->stats.fec_groups += parities > 0;
    if (lane->fec_encode.open_count == 0) {
        lane->fec_tail_ns = HG_TIME_NEVER;
    }
}

/* What the next packet may do with parity. Nothing but this branch is done for a lane without it. */
static void lane_fec_plan(struct hg_lane *lane)
{
    if (lane->fec_rule.mode == HG_FEC_OFF) {
        return;
    }
    uint64_t rtt_ns = lane->loss.rtt_latest_ns != 0 ? lane->loss.srtt_ns : 0;
    bool backlog = !hg_delivery_is_limited(&lane->delivery);
    bool dense = lane->fec_encode.filled > 0;
    lane->fec_plan = hg_fec_rule_plan(&lane->fec_rule, rtt_ns, backlog, dense, lane->now_ns);
    if (lane->fec_plan.rows == 0 && lane->fec_encode.open_count > 0) {
        hg_fec_encode_drop(&lane->fec_encode);
        lane->fec_tail_ns = HG_TIME_NEVER;
    }
}

/* The packet joins a group, if it has anything that would be sent again. */
static void draft_protect(struct hg_lane *lane, struct lane_draft *draft, uint64_t number)
{
    if (draft->sent->fragment_count + draft->sent->control_count == 0 ||
        !hg_fec_encode_place(&lane->fec_encode, lane->fec_plan.rows, lane->fec_plan.depth, lane->now_ns,
                             &draft->place)) {
        return;
    }
    draft->grouped = true;
    if (lane->fec_tail_ns == HG_TIME_NEVER) {
        lane->fec_tail_ns = lane->now_ns + HG_FEC_TAIL_WAIT_NS;
    }
    struct iovec frames[HG_LANE_PIECES_MAX];
    const struct hg_lane_packet *packet = draft->packet;
    memcpy(frames, packet->pieces, packet->piece_count * sizeof(frames[0]));
    frames[0].iov_base = (uint8_t *)frames[0].iov_base + HEADER_BYTES;
    frames[0].iov_len -= HEADER_BYTES;
    hg_fec_encode_add(&lane->fec_encode, frames, packet->piece_count, packet->bytes - HEADER_BYTES, number);
    struct hg_fec_encode_group *full = hg_fec_encode_full(&lane->fec_encode);
    if (full != NULL) {
        lane_fec_close(lane, full, lane->fec_plan.parities_full);
    }
}

static uint32_t draft_finish(struct hg_lane *lane, struct lane_draft *draft, uint64_t number)
{
    struct hg_lane_packet *packet = draft->packet;
    if (lane->fec_plan.rows > 0) {
        draft_protect(lane, draft, number);
    }
    draft_head(lane, draft);
    uint32_t ip_bytes = hg_lane_ip_bytes(packet->bytes) + hg_lane_ip_more_bytes(lane);
    hg_assert(ip_bytes <= lane->config.mtu_bytes);
    if (draft->paced) {
        hg_pacer_sent(&lane->pacer, ip_bytes, lane->now_ns);
    } else {
        hg_pacer_sent_unasked(&lane->pacer, ip_bytes, lane->now_ns);
    }
    lane->stats.packets_sent++;
    packet->ecn = draft->eliciting ? (uint8_t)hg_ecn_mark(&lane->ecn) : HG_ECN_NOT_ECT;
    if (!draft->eliciting) {
        hg_sent_skip(&lane->sent, number);
        return packet->bytes;
    }
    const struct hg_cc_sent sent = {.now_ns = lane->now_ns,
                                    .bytes = ip_bytes,
                                    .in_flight_bytes = lane->sent.bytes_in_flight,
                                    .delivery = &lane->delivery};
    lane->cc.ops->on_sent(&lane->cc, &sent);
    hg_lane_congestion_follow(lane);
    hg_delivery_sent(&lane->delivery, hg_sent_sample(&lane->sent, draft->sent), ip_bytes,
                     lane->sent.bytes_in_flight, lane->now_ns);
    if (packet->ecn == HG_ECN_ECT0) {
        draft->sent->marked = true;
        hg_ecn_sent(&lane->ecn);
        lane->stats.ecn_sent++;
    }
    hg_sent_commit(&lane->sent, draft->sent, ip_bytes, lane->now_ns);
    lane->loss.probe_from_ns = lane->now_ns;
    lane->ping_ns = lane->now_ns + hg_loss_backoff_ns(&lane->loss, lane->credit_asked_count);
    lane->ping_due = false;
    if (lane->probes_due > 0) {
        lane->probes_due--;
    }
    return packet->bytes;
}

/* Nothing but size: whether a packet like this passes. Neither window nor rate holds it back, it is one. */
static uint32_t draft_pmtu_probe(struct hg_lane *lane, struct lane_draft *draft, uint32_t bytes,
                                 uint64_t number)
{
    static const uint8_t padding[HG_LANE_MTU_BYTES_MAX];
    struct hg_lane_packet *packet = draft->packet;
    *draft_scratch(lane, draft, 1) = HG_WIRE_PING;
    draft->eliciting = true;
    uint32_t left = hg_lane_inner_bytes(lane, bytes) - packet->bytes;
    packet->pieces[packet->piece_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)padding, .iov_len = left};
    packet->bytes += left;
    hg_pmtu_probe_sent(&lane->pmtu, number);
    lane->stats.pmtu_probes_sent++;
    return draft_finish(lane, draft, number);
}

/* The next parity that waits, alone in its packet. 0: none, or none that the path still carries. */
static uint32_t draft_parity(struct hg_lane *lane, struct lane_draft *draft, uint64_t number)
{
    struct hg_lane_packet *packet = draft->packet;
    struct hg_fec_parity parity;
    uint32_t room = hg_lane_inner_bytes(lane, hg_pmtu_bytes(&lane->pmtu)) - packet->bytes;
    do {
        if (!hg_fec_encode_take(&lane->fec_encode, &parity)) {
            return 0;
        }
    } while (PLACE_BYTES + sizeof(struct hg_wire_parity) + parity.bytes > room);
    const struct hg_wire_parity frame = {.type = HG_WIRE_PARITY, .bytes = (uint16_t)parity.bytes};
    memcpy(draft_scratch(lane, draft, sizeof(frame)), &frame, sizeof(frame));
    packet->pieces[packet->piece_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)parity.symbol, .iov_len = parity.bytes};
    packet->bytes += parity.bytes;
    draft->scratch_open = false;
    draft->eliciting = true;
    draft->place = parity.place;
    draft->grouped = true;
    lane->stats.fec_parity_sent++;
    return draft_finish(lane, draft, number);
}

/* Parity is for room that nothing else wants: the last quarter of the window is for data. */
static bool lane_tail_fits(const struct hg_lane *lane, const struct hg_fec_encode_group *group,
                           uint32_t parities)
{
    uint64_t packet_bytes = hg_lane_ip_bytes(HG_WIRE_FEC_BYTES + HEADER_BYTES + group->symbol_bytes) +
                            hg_lane_ip_more_bytes(lane);
    uint64_t in_flight_bytes = lane->sent.bytes_in_flight + parities * packet_bytes;
    return lane->fec_rule.mode != HG_FEC_AUTO ||
           in_flight_bytes <= lane->cc.cwnd_bytes - lane->cc.cwnd_bytes / 4;
}

/* The lane ran dry: what is open gets its parity now. An ack that is in the packet already goes first. */
static uint32_t draft_tail_parity(struct hg_lane *lane, struct lane_draft *draft, uint64_t number)
{
    struct hg_fec_encode_group *group = NULL;
    while ((group = hg_fec_encode_open(&lane->fec_encode, group)) != NULL) {
        uint32_t parities = hg_fec_rule_tail(&lane->fec_rule, group->sources);
        lane_fec_close(lane, group, lane_tail_fits(lane, group, parities) ? parities : 0);
    }
    lane->fec_encode.filled = 0;
    lane->fec_tail_ns = HG_TIME_NEVER;
    return draft->packet->bytes == HEADER_BYTES ? draft_parity(lane, draft, number) : 0;
}

/* Whether data may go out by window, rate and room; remembers when only the rate forbids it. */
static bool lane_may_send_data(struct hg_lane *lane, uint64_t number)
{
    lane->paced = false;
    if (hg_sent_is_taken(&lane->sent, number + HG_LANE_CONTROL_PACKETS)) {
        return false;
    }
    uint64_t in_flight = lane->sent.bytes_in_flight + lane->config.mtu_bytes;
    if (in_flight > lane->cc.cwnd_bytes) {
        hg_delivery_cwnd_limited(&lane->delivery, lane->sent.bytes_in_flight);
        return false;
    }
    if (!hg_pacer_ready(&lane->pacer, lane->now_ns)) {
        lane->paced = true;
        return false;
    }
    return true;
}

/* A repeat takes a number as every packet does, so a place in the ring: not while packets in flight need it.
 */
static bool lane_ack_due(struct hg_lane *lane, uint64_t number)
{
    if (lane->ack.repeat_ns <= lane->now_ns && lane->sent.packets_in_flight > 0 &&
        number - lane->sent.number_oldest > lane->sent.count / REPEATS_RING_DIVISOR) {
        hg_ack_repeats_drop(&lane->ack);
    }
    return lane->ack.repeat_ns <= lane->now_ns ||
           (lane->ack.deadline_ns <= lane->now_ns && hg_lane_ack_ns(lane) <= lane->now_ns);
}

uint32_t hg_lane_build(struct hg_lane *lane, uint64_t number, uint64_t now_ns, struct hg_lane_packet *packet)
{
    hg_assert(number > lane->sent.number_last);
    lane->now_ns = hg_max_u64(lane->now_ns, now_ns);
    lane->starved = false;
    lane_timers(lane);
    if (hg_lane_credit_blocked(lane) && lane->sent.packets_in_flight == 0 && lane->now_ns >= lane->ping_ns) {
        lane->ping_due = true;
        lane->credit_asked_count++;
    }
    bool probe = lane->probes_due > 0;
    bool room = hg_sent_has_room(&lane->sent, number);
    lane->ring_full = !room;
    lane->paced = false;
    bool may_send_data = (room || probe) && lane_may_send_data(lane, number);
    bool ack_due = lane_ack_due(lane, number); /* knows whether it can ride on data soon */
    if (!ack_due && !probe && !room) {
        return 0;
    }
    struct hg_sent_packet *in_way;
    while ((in_way = hg_sent_in_way(&lane->sent, number)) != NULL) {
        (void)hg_lane_packet_lost(lane, in_way);
    }
    struct lane_draft draft = {.packet = packet, .sent = hg_sent_draft(&lane->sent, number)};
    draft_begin(lane, &draft);
    uint32_t pmtu_probe_bytes = room ? hg_pmtu_probe_due(&lane->pmtu, lane->now_ns) : 0;
    if (pmtu_probe_bytes > 0) {
        return draft_pmtu_probe(lane, &draft, pmtu_probe_bytes, number);
    }
    lane_fec_plan(lane);
    bool parity = room && !probe && hg_fec_encode_due(&lane->fec_encode) && may_send_data;
    draft.paced = may_send_data;
    if (parity && !hg_lane_control_waits(lane)) {
        uint32_t parity_bytes = draft_parity(lane, &draft, number);
        if (parity_bytes > 0) {
            return parity_bytes;
        }
        parity = false; /* none that fits: else it comes right after the control frames of this packet */
    }
    lane->inner_bytes_max = hg_lane_inner_bytes(lane, hg_pmtu_bytes(&lane->pmtu)) -
                            (lane->fec_plan.rows > 0 ? (uint32_t)HG_WIRE_FEC_BYTES : 0);
    if (ack_due) {
        draft_ack(lane, &draft, false);
    }
    if (room || probe) {
        draft_controls(lane, &draft);
        if (!parity && (may_send_data || probe)) {
            draft_data(lane, &draft);
        }
        if (!draft.eliciting && (probe || lane->ping_due)) {
            *draft_scratch(lane, &draft, 1) = HG_WIRE_PING;
            draft.eliciting = true;
        }
        draft_ack_rides(lane, &draft);
    }
    uint32_t bytes = 0;
    if (lane->starved && !draft.eliciting && lane->fec_tail_ns <= lane->now_ns) {
        bytes = draft_tail_parity(lane, &draft, number);
    }
    if (bytes == 0 && packet->bytes > HEADER_BYTES) {
        bytes = draft_finish(lane, &draft, number);
    }
    if (lane->starved) {
        hg_delivery_limited(&lane->delivery, lane->sent.bytes_in_flight);
    }
    return bytes;
}

bool hg_lane_control_waits(const struct hg_lane *lane)
{
    return hg_control_next(&lane->control) != HG_CONTROL_NONE && !lane->ring_full;
}

uint32_t hg_lane_build_control(struct hg_lane *lane, uint64_t number, uint64_t now_ns,
                               struct hg_lane_packet *packet)
{
    hg_assert(number > lane->sent.number_last);
    lane->now_ns = hg_max_u64(lane->now_ns, now_ns);
    if (!hg_lane_control_waits(lane) || !hg_sent_has_room(&lane->sent, number)) {
        return 0;
    }
    struct hg_sent_packet *in_way = hg_sent_in_way(&lane->sent, number);
    hg_assert(in_way == NULL);
    struct lane_draft draft = {.packet = packet, .sent = hg_sent_draft(&lane->sent, number)};
    draft_begin(lane, &draft);
    lane_fec_plan(lane);
    lane->inner_bytes_max = hg_lane_inner_bytes(lane, hg_pmtu_bytes(&lane->pmtu)) -
                            (lane->fec_plan.rows > 0 ? (uint32_t)HG_WIRE_FEC_BYTES : 0);
    draft_controls(lane, &draft);
    return draft_finish(lane, &draft, number);
}

uint32_t hg_lane_build_empty(struct hg_lane *lane, uint64_t number, uint64_t now_ns,
                             struct hg_lane_packet *packet)
{
    hg_assert(number > lane->sent.number_last);
    lane->now_ns = hg_max_u64(lane->now_ns, now_ns);
    if (!hg_sent_has_room(&lane->sent, number)) {
        return 0;
    }
    struct hg_sent_packet *in_way = hg_sent_in_way(&lane->sent, number);
    hg_assert(in_way == NULL);
    struct lane_draft draft = {.packet = packet, .sent = hg_sent_draft(&lane->sent, number)};
    draft_begin(lane, &draft);
    *draft_scratch(lane, &draft, 1) = HG_WIRE_PADDING;
    return draft_finish(lane, &draft, number);
}
