/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/lane.h"
#include "dataplane/transport/cc_constants.h"
#include "dataplane/transport/cc_share.h"
#include "dataplane/transport/lane_state.h"
#include <errno.h>

static uint64_t lane_receive_bytes(const struct hg_lane_config *config)
{
    uint64_t bytes = hg_max_u64(config->receive_bytes_max, HG_LANE_RECEIVE_BYTES_MIN);
    return bytes - bytes % HG_WIRE_BLOCK_BYTES;
}

/* Small batches fill packets several at a time, and repairs hold their places longer than one round trip. */
static uint32_t lane_outbox_count(const struct hg_lane_config *config)
{
    return (uint32_t)hg_min_u64(2ull * config->packets_in_flight_max, HG_LANE_LIMIT_PACKETS_IN_FLIGHT);
}

/* Parity's memory is there whether FEC is on or not, since either may change: it isn't touched before it is.
 */
static uint32_t lane_inner_bytes(const struct hg_lane_config *config)
{
    return HG_WIRE_INNER_BYTES(config->mtu_bytes);
}

uint64_t hg_lane_bytes(const struct hg_lane_config *config)
{
    return hg_align_up(sizeof(struct hg_lane), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_sent_memory_bytes(config->packets_in_flight_max), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_outbox_memory_bytes(lane_outbox_count(config)), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_control_memory_bytes(), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_reassembly_memory_bytes(lane_receive_bytes(config)), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_fec_encode_memory_bytes(lane_inner_bytes(config)), HG_CACHE_LINE_BYTES) +
           hg_align_up(hg_fec_decode_memory_bytes(lane_inner_bytes(config)), HG_CACHE_LINE_BYTES);
}

struct hg_lane *hg_lane_init(void *memory, const struct hg_lane_config *config, uint64_t now_ns)
{
    hg_assert(memory != NULL && (uintptr_t)memory % HG_CACHE_LINE_BYTES == 0);
    hg_assert(config->ops != NULL && config->ops->batch_next != NULL && config->ops->batch_bytes != NULL);
    hg_assert(config->ops->batch_acked != NULL && config->ops->batch_received != NULL);
    hg_assert(config->ops->control_received != NULL);
    hg_assert(config->packets_in_flight_max >= HG_LANE_PACKETS_IN_FLIGHT_MIN);
    hg_assert(config->packets_in_flight_max <= HG_LANE_LIMIT_PACKETS_IN_FLIGHT);
    hg_assert((config->packets_in_flight_max & (config->packets_in_flight_max - 1)) == 0);
    hg_assert(config->mtu_bytes >= HG_LANE_MTU_BYTES_MIN && config->mtu_bytes <= HG_LANE_MTU_BYTES_MAX);
    struct hg_lane *lane = memory;
    memset(lane, 0, sizeof(*lane));
    lane->ops = config->ops;
    lane->ctx = config->ctx;
    lane->config = *config;
    lane->now_ns = now_ns;
    lane->heard_ns = now_ns;
    lane->ping_ns = now_ns;
    hg_pmtu_init(&lane->pmtu, config->mtu_bytes, config->path_mtu_bytes, now_ns);
    lane->inner_bytes_max = hg_lane_inner_bytes(lane, hg_pmtu_bytes(&lane->pmtu));

    uint8_t *at = (uint8_t *)memory + hg_align_up(sizeof(*lane), HG_CACHE_LINE_BYTES);
    hg_sent_init(&lane->sent, at, config->packets_in_flight_max);
    at += hg_align_up(hg_sent_memory_bytes(config->packets_in_flight_max), HG_CACHE_LINE_BYTES);
    hg_outbox_init(&lane->outbox, at, lane_outbox_count(config));
    at += hg_align_up(hg_outbox_memory_bytes(lane_outbox_count(config)), HG_CACHE_LINE_BYTES);
    hg_control_init(&lane->control, at);
    at += hg_align_up(hg_control_memory_bytes(), HG_CACHE_LINE_BYTES);
    hg_reassembly_init(&lane->reassembly, at, lane_receive_bytes(config));
    hg_credit_init(&lane->credit, hg_min_u64(HG_LANE_CREDIT_BYTES_MIN, lane_receive_bytes(config)),
                   lane_receive_bytes(config), now_ns);
    at += hg_align_up(hg_reassembly_memory_bytes(lane_receive_bytes(config)), HG_CACHE_LINE_BYTES);
    hg_fec_code_init(&lane->fec_code);
    hg_fec_encode_init(&lane->fec_encode, at, &lane->fec_code, lane_inner_bytes(config));
    at += hg_align_up(hg_fec_encode_memory_bytes(lane_inner_bytes(config)), HG_CACHE_LINE_BYTES);
    hg_fec_decode_init(&lane->fec_decode, at, &lane->fec_code, lane_inner_bytes(config));
    hg_fec_rule_init(&lane->fec_rule, config->fec, now_ns);
    lane->fec_tail_ns = HG_TIME_NEVER;
    hg_loss_init(&lane->loss);
    hg_ecn_set(&lane->ecn, config->ecn, 0);
    hg_delivery_init(&lane->delivery, now_ns);
    hg_cc_init(&lane->cc, config->congestion, config->rate_bytes_per_s, config->mtu_bytes, &lane->loss,
               now_ns);
    hg_pacer_init(&lane->pacer, lane->cc.rate_bytes_per_s, config->mtu_bytes, now_ns);
    hg_ack_init(&lane->ack);
    return lane;
}

uint64_t hg_lane_deadline_ns(const struct hg_lane *lane)
{
    bool room = !lane->ring_full;
    bool queued = lane->ping_due || hg_control_next(&lane->control) != HG_CONTROL_NONE;
    uint64_t pmtu_ns = room ? hg_pmtu_deadline_ns(&lane->pmtu) : HG_TIME_NEVER;
    if (lane->probes_due > 0 || (room && queued) || pmtu_ns <= lane->now_ns) {
        return lane->now_ns;
    }
    uint64_t deadline_ns = hg_min_u64(hg_lane_ack_ns(lane), pmtu_ns);
    deadline_ns = hg_min_u64(deadline_ns, lane->ack.repeat_ns);
    deadline_ns = hg_min_u64(deadline_ns, hg_loss_deadline_ns(&lane->loss, &lane->sent));
    if (lane->fec_tail_ns >
        lane->now_ns) { /* later: the build found the lane busy, which ends with an event */
        deadline_ns = hg_min_u64(deadline_ns, lane->fec_tail_ns);
    }
    if (lane->paced) {
        deadline_ns = hg_min_u64(deadline_ns, hg_pacer_ready_ns(&lane->pacer));
    }
    if (hg_lane_credit_blocked(lane) && lane->sent.packets_in_flight == 0) {
        deadline_ns = hg_min_u64(deadline_ns, lane->ping_ns);
    }
    return deadline_ns;
}

int hg_lane_control_send(struct hg_lane *lane, const struct hg_wire_control *frame)
{
    return hg_control_queue(&lane->control, frame);
}

void hg_lane_credit_freed(struct hg_lane *lane)
{
    uint64_t credit = hg_lane_credit_given(lane);
    if (credit > lane->credit_told_bytes && credit - lane->credit_told_bytes >= lane->credit.bytes / 8) {
        hg_ack_request(&lane->ack, lane->now_ns);
    }
}

int hg_lane_alias_open(struct hg_lane *lane, uint32_t alias, uint64_t lsn_next)
{
    int rc = hg_reassembly_open(&lane->reassembly, alias, lsn_next);
    if (rc != 0) {
        return rc;
    }
    hg_lane_credit_freed(lane);
    struct hg_reassembly_offer offer;
    if (hg_reassembly_offer(&lane->reassembly, alias, &offer) != -EAGAIN) {
        hg_reassembly_wait(&lane->reassembly, alias); /* it is here already: for hg_lane_offer */
    }
    return 0;
}

void hg_lane_alias_close(struct hg_lane *lane, uint32_t alias)
{
    hg_reassembly_close(&lane->reassembly, alias);
    hg_lane_credit_freed(lane);
}

void hg_lane_alias_forget(struct hg_lane *lane, uint32_t alias)
{
    if (lane->held_is_set && lane->held.alias == alias) {
        lane->held_is_set = false;
    }
    uint32_t head = lane->outbox.head;
    for (uint32_t ordinal = lane->outbox.tail; ordinal != head; ordinal++) {
        const struct hg_outbox_batch *batch = hg_outbox_find(&lane->outbox, ordinal);
        if (batch != NULL && batch->batch.alias == alias) {
            hg_outbox_close(&lane->outbox, ordinal);
        }
    }
}

void hg_lane_rate_set(struct hg_lane *lane, uint8_t congestion, uint64_t rate_bytes_per_s)
{
    if (lane->config.congestion == congestion && lane->config.rate_bytes_per_s == rate_bytes_per_s) {
        return;
    }
    lane->config.congestion = congestion;
    lane->config.rate_bytes_per_s = rate_bytes_per_s;
    hg_cc_init(&lane->cc, congestion, rate_bytes_per_s, lane->config.mtu_bytes, &lane->loss, lane->now_ns);
    hg_lane_congestion_follow(lane);
}

void hg_lane_fec_set(struct hg_lane *lane, uint8_t fec)
{
    if (lane->config.fec == fec) {
        return;
    }
    lane->config.fec = fec;
    hg_fec_encode_drop(&lane->fec_encode);
    hg_fec_rule_init(&lane->fec_rule, fec, lane->now_ns);
    lane->fec_plan.rows = 0;
    lane->fec_tail_ns = HG_TIME_NEVER;
}

void hg_lane_ecn_set(struct hg_lane *lane, bool ecn)
{
    if (lane->config.ecn != ecn) {
        lane->config.ecn = ecn;
        hg_ecn_set(&lane->ecn, ecn, lane->sent.number_last);
    }
}

void hg_lane_congestion_follow(struct hg_lane *lane)
{
    lane->stats.congestion_alarms += lane->cc.alarms;
    lane->cc.alarms = 0;
    if (lane->pacer.rate_bytes_per_s != lane->cc.rate_bytes_per_s) {
        hg_pacer_rate_set(&lane->pacer, lane->cc.rate_bytes_per_s, lane->now_ns);
    }
}

void hg_lane_share_set(struct hg_lane *lane, uint64_t rate_bytes_per_s)
{
    if (lane->config.congestion != HG_CC_FIXED || lane->config.rate_bytes_per_s == 0) {
        return;
    }
    lane->cc.weight = (uint32_t)(rate_bytes_per_s * HG_CC_SHARE_WHOLE / lane->config.rate_bytes_per_s);
    hg_cc_fixed_rate_set(&lane->cc, rate_bytes_per_s, &lane->loss);
    hg_lane_congestion_follow(lane);
}

void hg_lane_share_view(const struct hg_lane *lane, uint64_t now_ns, struct hg_cc_share_view *view)
{
    const struct hg_cc *cc = &lane->cc;
    uint64_t estimate = cc->ops->estimate == NULL ? 0 : cc->ops->estimate(cc);
    bool is_window = lane->config.congestion == HG_CC_CUBIC;
    *view = (struct hg_cc_share_view){
        .now_ns = now_ns,
        .estimate = estimate,
        .estimate_bytes_per_s = is_window ? hg_delivery_rate(estimate, lane->loss.srtt_ns) : estimate,
        .delivered_bytes = lane->delivery.delivered_bytes,
        .srtt_ns = lane->loss.srtt_ns,
        .congestion = cc->congestion,
        .limited = hg_delivery_is_limited(&lane->delivery),
        .kind = lane->config.congestion,
    };
}

void hg_lane_share_tell(struct hg_lane *lane, const struct hg_cc_told *told)
{
    struct hg_cc *cc = &lane->cc;
    bool alone = told->others_count == 0 && cc->others_count == 0 && cc->weight == HG_CC_SHARE_WHOLE;
    if (cc->ops->on_told == NULL || alone) {
        return;
    }
    struct hg_cc_told complete = *told;
    complete.in_flight_bytes = lane->sent.bytes_in_flight;
    complete.delivery = &lane->delivery;
    complete.loss = &lane->loss;
    cc->others_count = told->others_count;
    cc->ops->on_told(cc, &complete);
    hg_lane_congestion_follow(lane);
}

const struct hg_lane_stats *hg_lane_stats(struct hg_lane *lane)
{
    lane->stats.bytes_in_flight = lane->sent.bytes_in_flight;
    lane->stats.srtt_ns = lane->loss.rtt_latest_ns != 0 ? lane->loss.srtt_ns : 0;
    lane->stats.rttvar_ns = lane->loss.rtt_latest_ns != 0 ? lane->loss.rttvar_ns : 0;
    lane->stats.rtt_min_ns = lane->loss.rtt_min_ns;
    lane->stats.cwnd_bytes = lane->cc.cwnd_bytes;
    lane->stats.pacing_bytes_per_s = lane->cc.rate_bytes_per_s;
    lane->stats.delivery_bytes_per_s = lane->delivery_rate;
    lane->stats.share_per_mille = lane->cc.weight * HG_CC_PER_MILLE / HG_CC_SHARE_WHOLE;
    lane->stats.rate_reduced = lane->cc.reduced;
    lane->stats.congestion = lane->cc.ops->name;
    lane->stats.congestion_state = lane->cc.ops->state(&lane->cc);
    if (lane->pmtu.state == HG_PMTU_SETTLED) {
        lane->stats.path_mtu_bytes = lane->pmtu.bytes;
    }
    lane->stats.ecn = hg_ecn_state_text(lane->ecn.state);
    lane->stats.ecn_over = hg_ecn_failed(&lane->ecn);
    lane->stats.fec = hg_fec_reason_text(lane->fec_plan.reason);
    lane->stats.loss_ppb = lane->fec_rule.mode == HG_FEC_OFF ? 0 : lane->fec_rule.loss_ppb;
    lane->stats.credit_bytes_left = hg_lane_credit_left(lane);
    lane->stats.credit_bytes_given = lane->credit.bytes;
    return &lane->stats;
}

void hg_lane_durable_set(struct hg_lane *lane, uint64_t durable_ns)
{
    lane->durable_ns = durable_ns;
}

uint64_t hg_lane_heard_ns(const struct hg_lane *lane)
{
    return lane->heard_ns;
}

void hg_lane_control_refused(struct hg_lane *lane)
{
    lane->stats.drop_control_state++;
}

uint64_t hg_lane_number_received(const struct hg_lane *lane)
{
    return lane->ack.largest;
}

uint64_t hg_lane_linger_ns(const struct hg_lane *lane)
{
    return 3 * hg_loss_pto_ns(&lane->loss);
}

void hg_lane_ping(struct hg_lane *lane)
{
    lane->ping_due = true;
}
