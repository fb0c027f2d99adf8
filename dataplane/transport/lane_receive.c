/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/lane.h"
#include "dataplane/transport/lane_state.h"
#include <errno.h>

/* ---- frames' shapes ---- */

/* Whole size of an ack frame whose ranges stay above packet number 0; 0: it isn't one. */
static uint32_t ack_shape(const uint8_t *at, uint32_t left)
{
    struct hg_wire_ack ack;
    if (left < sizeof(ack)) {
        return 0;
    }
    memcpy(&ack, at, sizeof(ack));
    uint32_t bytes = sizeof(ack) + (ack.range_count - 1u) * sizeof(struct hg_wire_ack_range);
    if (ack.range_count == 0 || ack.range_count > HG_WIRE_ACK_RANGES_MAX || bytes > left) {
        return 0;
    }
    if (ack.first_count == 0 || ack.first_count > ack.largest) {
        return 0;
    }
    uint64_t below = ack.largest - ack.first_count;
    for (uint32_t i = 1; i < ack.range_count; i++) {
        struct hg_wire_ack_range range;
        memcpy(&range, at + sizeof(ack) + (i - 1) * sizeof(range), sizeof(range));
        uint64_t span = (uint64_t)range.gap + range.count;
        if (range.gap == 0 || range.count == 0 || span > below) {
            return 0;
        }
        below -= span;
    }
    return bytes;
}

/* Numbers that fall, down to 1 at least. */
static uint32_t recovered_shape(const uint8_t *at, uint32_t left)
{
    struct hg_wire_recovered head;
    if (left < sizeof(head)) {
        return 0;
    }
    memcpy(&head, at, sizeof(head));
    uint32_t bytes = (uint32_t)(sizeof(head) + head.count * sizeof(uint64_t));
    if (head.count == 0 || head.count > HG_WIRE_RECOVERED_MAX || head.reserved != 0 || bytes > left) {
        return 0;
    }
    uint64_t above = UINT64_MAX;
    for (uint32_t i = 0; i < head.count; i++) {
        uint64_t number;
        memcpy(&number, at + sizeof(head) + i * sizeof(number), sizeof(number));
        if (number == 0 || number >= above) {
            return 0;
        }
        above = number;
    }
    return bytes;
}

/* The packet of a parity: that frame and no other. */
static bool parity_parse(const uint8_t *at, uint32_t bytes)
{
    struct hg_wire_parity parity;
    if (bytes < sizeof(parity)) {
        return false;
    }
    memcpy(&parity, at, sizeof(parity));
    return parity.type == HG_WIRE_PARITY && parity.reserved == 0 &&
           parity.bytes > sizeof(struct hg_wire_fec_symbol) && parity.bytes == bytes - sizeof(parity);
}

static uint32_t data_shape(const uint8_t *at, uint32_t left)
{
    struct hg_wire_data data;
    if (left < sizeof(data)) {
        return 0;
    }
    memcpy(&data, at, sizeof(data));
    if (data.bytes > left - sizeof(data) || !hg_reassembly_valid(&data)) {
        return 0;
    }
    return (uint32_t)sizeof(data) + data.bytes;
}

static uint32_t control_shape(const uint8_t *at, uint32_t left)
{
    struct hg_wire_control control;
    if (left < sizeof(control)) {
        return 0;
    }
    memcpy(&control, at, sizeof(control));
    return control.bytes <= left && hg_control_valid(&control) ? control.bytes : 0;
}

/* Size of the frame at `at`, of which `left` >= 1 bytes are there; 0: it doesn't parse. */
static uint32_t frame_shape(const uint8_t *at, uint32_t left)
{
    switch (at[0]) {
    case HG_WIRE_PADDING:
    case HG_WIRE_PING:
        return 1;
    case HG_WIRE_DATA:
        return data_shape(at, left);
    case HG_WIRE_ACK:
        return ack_shape(at, left);
    case HG_WIRE_RECOVERED:
        return recovered_shape(at, left);
    default:
        return at[0] >= HG_WIRE_CONTROL_FIRST && at[0] <= HG_WIRE_CONTROL_LAST ? control_shape(at, left) : 0;
    }
}

static bool frames_parse(const uint8_t *at, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t frame_bytes = frame_shape(at, bytes);
        if (frame_bytes == 0) {
            return false;
        }
        at += frame_bytes;
        bytes -= frame_bytes;
    }
    return true;
}

/* ---- acks ---- */

/* What was in a packet is there: nothing of it is sent again. */
static void lane_packet_acked(struct hg_lane *lane, const struct hg_sent_packet *packet)
{
    for (uint32_t i = 0; i < packet->fragment_count; i++) {
        const struct hg_sent_fragment *fragment = &packet->fragments[i];
        const struct hg_outbox_batch *whole =
            hg_outbox_acked(&lane->outbox, fragment->ordinal, fragment->unit_first, fragment->unit_count);
        if (whole != NULL) {
            struct hg_lane_batch batch = whole->batch;
            hg_outbox_close(&lane->outbox, fragment->ordinal);
            lane->ops->batch_acked(lane->ctx, &batch);
        }
    }
    for (uint32_t i = 0; i < packet->control_count; i++) {
        hg_control_acked(&lane->control, packet->controls[i].index, packet->controls[i].version);
    }
}

/* Takes the packets in [first, last] as arrived. Returns their bytes. */
static uint64_t lane_range_acked(struct hg_lane *lane, uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;
    uint64_t packets = 0;
    struct hg_sent_packet *packet;
    while (first <= last && (packet = hg_sent_tracked(&lane->sent, first, last)) != NULL) {
        if (packet->state == HG_SENT_LOST) {
            lane->stats.packets_spurious++;
            hg_loss_spurious(&lane->loss, packet->number);
            if (lane->fec_rule.mode != HG_FEC_OFF) {
                hg_fec_rule_spurious(&lane->fec_rule);
            }
        } else {
            packets++;
        }
        bytes += packet->bytes;
        first = packet->number + 1;
        hg_ecn_acked(&lane->ecn, packet->number, packet->marked);
        hg_delivery_acked(&lane->delivery, packet, hg_sent_sample(&lane->sent, packet), lane->now_ns);
        (void)hg_pmtu_arrived(&lane->pmtu, packet->number, packet->bytes, lane->now_ns);
        hg_sent_acked(&lane->sent, packet);
        lane_packet_acked(lane, packet);
    }
    if (lane->fec_rule.mode != HG_FEC_OFF) {
        hg_fec_rule_arrived(&lane->fec_rule, packets);
    }
    return bytes;
}

/* Parity gave the peer what these packets had. They are lost all the same: to loss detection, so to
 * congestion control, and to the rule that says how much parity there is. */
static void lane_recovered_received(struct hg_lane *lane, const uint8_t *at)
{
    struct hg_wire_recovered head;
    memcpy(&head, at, sizeof(head));
    for (uint32_t i = 0; i < head.count; i++) {
        uint64_t number;
        memcpy(&number, at + sizeof(head) + i * sizeof(number), sizeof(number));
        if (number > lane->sent.number_last) {
            lane->stats.drop_ack++;
            continue;
        }
        struct hg_sent_packet *packet = hg_sent_tracked(&lane->sent, number, number);
        if (packet != NULL && packet->fragment_count + packet->control_count > 0) {
            lane->stats.fec_recovered_there++;
            lane_packet_acked(lane, packet);
            packet->fragment_count = 0;
            packet->control_count = 0;
        }
    }
}

/* The counts of an ack whose ranges were taken. Marks of one that acknowledged nothing new wait for the next.
 */
static void lane_ecn_counts(struct hg_lane *lane, const struct hg_wire_ack *ack, uint64_t packet_number)
{
    const struct hg_ecn_told told = {.packet_number = packet_number,
                                     .largest = ack->largest,
                                     .number_last = lane->sent.number_last,
                                     .ce = ack->ecn_ce,
                                     .ect = ack->ecn_ect};
    uint64_t marked_before = lane->ecn.marked_count;
    hg_ecn_counts(&lane->ecn, &told);
    if (lane->ecn.marked_count > marked_before) {
        lane->stats.ecn_marked_there += lane->ecn.marked_count - marked_before;
        lane->ecn_marked_ns = lane->now_ns;
    }
}

/* What the ack told, for congestion control. */
static void lane_ack_congestion(struct hg_lane *lane, uint64_t acked_bytes, uint64_t lost_bytes,
                                uint64_t rtt_ns)
{
    const struct hg_cc_ack ack = {.now_ns = lane->now_ns,
                                  .acked_bytes = acked_bytes,
                                  .lost_bytes = lost_bytes,
                                  .in_flight_bytes = lane->sent.bytes_in_flight,
                                  .rtt_ns = rtt_ns,
                                  .marked_count = lane->ecn.marked_count,
                                  .newest_sent_ns = lane->delivery.newest_sent_ns,
                                  .sample = hg_delivery_sample(&lane->delivery, lane->loss.rtt_min_ns),
                                  .delivery = &lane->delivery,
                                  .loss = &lane->loss};
    if (ack.sample.rate_bytes_per_s != 0) {
        lane->delivery_rate = ack.sample.rate_bytes_per_s;
    }
    lane->ecn.marked_count = 0;
    lane->cc.ops->on_acked(&lane->cc, &ack);
    hg_lane_congestion_follow(lane);
}

static void lane_ack_received(struct hg_lane *lane, const uint8_t *at, uint64_t packet_number)
{
    struct hg_wire_ack ack;
    memcpy(&ack, at, sizeof(ack));
    if (ack.largest > lane->sent.number_last) {
        lane->stats.drop_ack++;
        return;
    }
    lane->stats.acks_received++;
    lane->ring_full = false;
    if (packet_number > lane->credit_number) {
        lane->credit_number = packet_number;
        lane->credit_bytes = ack.credit_bytes;
    }
    lane->loss.number_acked_largest = hg_max_u64(lane->loss.number_acked_largest, ack.largest);
    bool ecn_failed = hg_ecn_failed(&lane->ecn);
    const struct hg_sent_packet *largest = hg_sent_tracked(&lane->sent, ack.largest, ack.largest);
    uint64_t rtt_ns = 0;
    if (largest != NULL) {
        rtt_ns = hg_max_u64(lane->now_ns - largest->sent_ns, 1);
        hg_loss_rtt(&lane->loss, lane->now_ns - largest->sent_ns, ack.delay_8us * 8 * HG_NS_PER_US);
    }
    uint64_t below = ack.largest - ack.first_count;
    uint64_t bytes = lane_range_acked(lane, below + 1, ack.largest);
    for (uint32_t i = 1; i < ack.range_count; i++) {
        struct hg_wire_ack_range range;
        memcpy(&range, at + sizeof(ack) + (i - 1) * sizeof(range), sizeof(range));
        uint64_t last = below - range.gap;
        below = last - range.count;
        bytes += lane_range_acked(lane, below + 1, last);
    }
    lane_ecn_counts(lane, &ack, packet_number);
    lane->stats.ecn_failed += hg_ecn_failed(&lane->ecn) && !ecn_failed;
    if (bytes > 0) {
        lane->loss.probe_count = 0;
        lane->probes_due = 0;
        hg_loss_round(&lane->loss, lane->sent.number_last);
    }
    uint64_t lost_bytes = hg_lane_losses(lane);
    if (bytes > 0) {
        lane_ack_congestion(lane, bytes, lost_bytes, rtt_ns);
    }
}

/* ---- data and control ---- */

/* Offers what is whole and next in order, until nothing is or the owner has no room. */
static void lane_deliver(struct hg_lane *lane, uint32_t alias)
{
    struct hg_reassembly_offer offer;
    int rc;
    while ((rc = hg_reassembly_offer(&lane->reassembly, alias, &offer)) != -EAGAIN) {
        if (rc == 0) {
            rc = lane->ops->batch_received(lane->ctx, alias, offer.data, offer.bytes);
            if (rc == -EAGAIN) {
                hg_reassembly_wait(&lane->reassembly, alias);
                return;
            }
        } else {
            lane->stats.drop_mismatch++;
        }
        if (rc != 0) {
            lane->stats.refused++;
            hg_lane_alias_close(lane, alias);
            return;
        }
        hg_reassembly_taken(&lane->reassembly, &offer);
        uint64_t rtt_ns = lane->loss.rtt_latest_ns != 0 ? lane->loss.srtt_ns : 0;
        hg_credit_taken(&lane->credit, HG_WIRE_CREDIT_BYTES(offer.bytes), rtt_ns, lane->durable_ns,
                        lane->now_ns);
        hg_lane_credit_freed(lane);
    }
}

void hg_lane_offer(struct hg_lane *lane)
{
    uint32_t index = 0;
    uint32_t alias = 0;
    while (hg_reassembly_waiting(&lane->reassembly, &index, &alias)) {
        lane_deliver(lane, alias);
    }
}

/* False: there was no room for it, so the packet must not be acknowledged. */
static bool lane_data_received(struct hg_lane *lane, const uint8_t *at)
{
    struct hg_wire_data data;
    memcpy(&data, at, sizeof(data));
    uint32_t bytes_new = 0;
    enum hg_reassembly_result result =
        hg_reassembly_add(&lane->reassembly, &data, at + sizeof(data), &bytes_new);
    switch (result) {
    case HG_REASSEMBLY_FULL:
        lane->stats.drop_credit++;
        return false;
    case HG_REASSEMBLY_ALIAS:
        lane->stats.drop_alias++;
        return true;
    case HG_REASSEMBLY_MISMATCH:
        lane->stats.drop_mismatch++;
        break;
    case HG_REASSEMBLY_COMPLETED:
        lane->stats.batches_received++;
        break;
    case HG_REASSEMBLY_TAKEN:
        break;
    }
    lane->stats.data_bytes_received += bytes_new;
    lane->stats.data_bytes_duplicate += data.bytes - bytes_new;
    if (result == HG_REASSEMBLY_COMPLETED && !hg_reassembly_waits(&lane->reassembly, data.alias)) {
        lane_deliver(lane, data.alias);
    }
    return true;
}

static void lane_control_received(struct hg_lane *lane, const uint8_t *at)
{
    uint8_t frame[HG_WIRE_CONTROL_BYTES_MAX] __attribute__((aligned(8)));
    struct hg_wire_control control;
    memcpy(&control, at, sizeof(control));
    if (control.bytes != hg_wire_control_bytes(control.type)) {
        lane->stats.drop_control++;
        return;
    }
    memcpy(frame, at, control.bytes);
    lane->ops->control_received(lane->ctx, (const struct hg_wire_control *)frame);
}

/* ---- packets ---- */

/* A packet that parses. */
struct lane_packet {
    const uint8_t *frames;
    uint32_t frames_bytes;
    bool grouped; /* has a place in a group that parity covers */
    bool parity;  /* holds parity instead of frames */
    struct hg_wire_fec place;
};

/* What follows the header: the place in a group, if the flags say so, and frames. */
static bool packet_parse(const uint8_t *at, uint32_t bytes, uint8_t flags, struct lane_packet *packet)
{
    *packet = (struct lane_packet){.frames = at, .frames_bytes = bytes};
    if (flags == 0) {
        return frames_parse(at, bytes);
    }
    if (flags != HG_WIRE_FLAG_FEC || bytes < sizeof(packet->place)) {
        return false;
    }
    memcpy(&packet->place, at, sizeof(packet->place));
    packet->frames += sizeof(packet->place);
    packet->frames_bytes -= (uint32_t)sizeof(packet->place);
    packet->grouped = true;
    packet->parity = hg_fec_place_is_parity(&packet->place);
    return hg_fec_place_valid(&packet->place) &&
           (packet->parity ? parity_parse(packet->frames, packet->frames_bytes)
                           : frames_parse(packet->frames, packet->frames_bytes));
}

/* Checks header and frames; false: the reason is counted. */
static bool lane_header(struct hg_lane *lane, const uint8_t *inner, uint32_t bytes,
                        struct lane_packet *packet)
{
    struct hg_wire_header header;
    if (bytes < sizeof(header)) {
        lane->stats.drop_malformed++;
        return false;
    }
    memcpy(&header, inner, sizeof(header));
    if (header.version != HG_WIRE_VERSION) {
        lane->stats.drop_version++;
        return false;
    }
    bool parses =
        packet_parse(inner + sizeof(header), bytes - (uint32_t)sizeof(header), header.flags, packet);
    lane->stats.drop_malformed += !parses;
    return parses;
}

/* Takes frames that parse. Returns false when there was no room for some, so that the packet must not be
 * acknowledged. */
static bool lane_frames(struct hg_lane *lane, const uint8_t *at, uint32_t left, uint64_t packet_number,
                        bool *eliciting)
{
    bool kept = true;
    while (left > 0) {
        uint32_t frame_bytes = frame_shape(at, left);
        hg_assert(frame_bytes > 0 && frame_bytes <= left);
        switch (at[0]) {
        case HG_WIRE_PADDING:
            break;
        case HG_WIRE_PING:
            *eliciting = true;
            break;
        case HG_WIRE_DATA:
            *eliciting = true;
            kept &= lane_data_received(lane, at);
            break;
        case HG_WIRE_ACK:
            lane_ack_received(lane, at, packet_number);
            break;
        case HG_WIRE_RECOVERED:
            lane_recovered_received(lane, at);
            break;
        default:
            *eliciting = true;
            lane_control_received(lane, at);
            break;
        }
        at += frame_bytes;
        left -= frame_bytes;
    }
    return kept;
}

/* A packet that parity gave. Its number is below one that arrived and is never acknowledged, only told as
 * recovered: so whatever the peer made of it reaches no further than a packet that did arrive. */
static void lane_recovered_packet(struct hg_lane *lane, const struct hg_fec_recovered *recovered)
{
    if (hg_ack_seen(&lane->ack, recovered->number)) {
        lane->stats.drop_duplicate++;
        return;
    }
    if (!frames_parse(recovered->frames, recovered->frames_bytes)) {
        lane->stats.drop_malformed++;
        return;
    }
    lane->stats.fec_recovered++;
    bool eliciting = false;
    if (lane_frames(lane, recovered->frames, recovered->frames_bytes, recovered->number, &eliciting)) {
        hg_recovered_record(&lane->recovered, recovered->number);
        hg_ack_request(&lane->ack, lane->now_ns);
    }
}

/* A packet of a group, as it arrived. */
static void lane_group_received(struct hg_lane *lane, const struct lane_packet *packet,
                                uint64_t packet_number)
{
    struct hg_fec_decode *decode = &lane->fec_decode;
    enum hg_fec_decode_result result;
    if (packet->parity) {
        uint32_t head_bytes = sizeof(struct hg_wire_parity);
        lane->stats.fec_parity_received++;
        result = hg_fec_decode_parity(decode, &packet->place, packet_number, packet->frames + head_bytes,
                                      packet->frames_bytes - head_bytes);
    } else {
        result =
            hg_fec_decode_source(decode, &packet->place, packet_number, packet->frames, packet->frames_bytes);
    }
    lane->stats.drop_fec += result == HG_FEC_MISMATCH || result == HG_FEC_LARGE;
    lane->stats.drop_fec_old += result == HG_FEC_OLD && packet->parity;
    lane->stats.fec_unrecoverable = decode->groups_lost;
    lane->stats.fec_crowded = decode->groups_crowded;
    struct hg_fec_recovered recovered;
    while (hg_fec_decode_next(decode, &recovered)) {
        lane_recovered_packet(lane, &recovered);
    }
}

/* Counted if and only if it is acknowledged. Who sent it should soon know that it was marked; but acks that a
 * path marks must not ask for acks. */
static void lane_ecn_seen(struct hg_lane *lane, enum hg_ecn_codepoint ecn, bool eliciting)
{
    hg_ecn_seen(&lane->ecn_seen, ecn);
    lane->stats.ecn_remarked += ecn == HG_ECN_ECT1;
    if (ecn == HG_ECN_CE) {
        lane->stats.ecn_marked++;
    }
    if (ecn == HG_ECN_CE && eliciting) {
        hg_ack_request(&lane->ack, lane->now_ns);
    }
}

void hg_lane_receive(struct hg_lane *lane, const uint8_t *inner, uint32_t bytes, uint64_t packet_number,
                     enum hg_ecn_codepoint ecn, uint64_t now_ns)
{
    lane->now_ns = hg_max_u64(lane->now_ns, now_ns);
    struct lane_packet packet;
    if (!lane_header(lane, inner, bytes, &packet)) {
        return;
    }
    if (hg_ack_seen(&lane->ack, packet_number)) {
        lane->stats.drop_duplicate++;
        return;
    }
    lane->stats.packets_received++;
    lane->heard_ns = lane->now_ns;
    bool eliciting = packet.parity;
    bool kept =
        packet.parity || lane_frames(lane, packet.frames, packet.frames_bytes, packet_number, &eliciting);
    if (kept) {
        uint64_t rtt_ns = lane->loss.rtt_latest_ns != 0 ? lane->loss.srtt_ns : 0;
        hg_ack_record(&lane->ack, packet_number, eliciting, rtt_ns, lane->now_ns);
        lane_ecn_seen(lane, ecn, eliciting);
    }
    if (packet.grouped) {
        lane_group_received(lane, &packet, packet_number);
    }
}
