/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/loss.h"
#include "dataplane/transport/ack.h"
#include "dataplane/transport/cc_constants.h"

void hg_loss_init(struct hg_loss *loss)
{
    memset(loss, 0, sizeof(*loss));
    loss->srtt_ns = HG_LOSS_RTT_INITIAL_NS;
    loss->rttvar_ns = HG_LOSS_RTT_INITIAL_NS / 2;
    loss->time_ns = HG_TIME_NEVER;
    loss->threshold_packets = HG_LOSS_THRESHOLD_PACKETS;
}

void hg_loss_rtt(struct hg_loss *loss, uint64_t rtt_ns, uint64_t ack_delay_ns)
{
    rtt_ns = hg_max_u64(rtt_ns, 1);
    if (loss->rtt_latest_ns == 0) {
        loss->rtt_latest_ns = rtt_ns;
        loss->rtt_min_ns = rtt_ns;
        loss->srtt_ns = rtt_ns;
        loss->rttvar_ns = rtt_ns / 2;
        return;
    }
    loss->rtt_latest_ns = rtt_ns;
    loss->rtt_min_ns = hg_min_u64(loss->rtt_min_ns, rtt_ns);
    ack_delay_ns = hg_min_u64(ack_delay_ns, HG_ACK_DELAY_MAX_NS);
    uint64_t adjusted_ns = rtt_ns >= loss->rtt_min_ns + ack_delay_ns ? rtt_ns - ack_delay_ns : rtt_ns;
    uint64_t variation_ns =
        loss->srtt_ns > adjusted_ns ? loss->srtt_ns - adjusted_ns : adjusted_ns - loss->srtt_ns;
    loss->rttvar_ns = (3 * loss->rttvar_ns + variation_ns) / 4;
    loss->srtt_ns = (7 * loss->srtt_ns + adjusted_ns) / 8;
}

void hg_loss_spurious(struct hg_loss *loss, uint64_t number)
{
    hg_assert(number <= loss->number_acked_largest);
    uint64_t distance = loss->number_acked_largest - number + 1;
    uint64_t raised = hg_max_u64(loss->threshold_packets, distance);
    loss->threshold_packets = (uint32_t)hg_min_u64(raised, HG_LOSS_THRESHOLD_PACKETS_MAX);
    loss->rounds_calm = 0;
}

void hg_loss_round(struct hg_loss *loss, uint64_t number_sent_last)
{
    if (loss->number_acked_largest < loss->round_end) {
        return;
    }
    loss->round_end = number_sent_last + 1;
    if (loss->threshold_packets == HG_LOSS_THRESHOLD_PACKETS || ++loss->rounds_calm < HG_LOSS_CALM_ROUNDS) {
        return;
    }
    loss->rounds_calm = 0;
    loss->threshold_packets =
        HG_LOSS_THRESHOLD_PACKETS + (loss->threshold_packets - HG_LOSS_THRESHOLD_PACKETS) / 2;
}

/* 9/8 of the round trip. */
static uint64_t loss_delay_ns(const struct hg_loss *loss)
{
    uint64_t rtt_ns = hg_max_u64(loss->srtt_ns, loss->rtt_latest_ns);
    return hg_max_u64(rtt_ns + rtt_ns / 8, HG_LOSS_GRANULARITY_NS);
}

struct hg_sent_packet *hg_loss_next(struct hg_loss *loss, struct hg_sent *sent, uint64_t now_ns)
{
    loss->time_ns = HG_TIME_NEVER;
    if (loss->number_acked_largest == 0) {
        return NULL;
    }
    /* Numbers and times of sending rise together: when the oldest isn't lost, none is. */
    struct hg_sent_packet *packet = hg_sent_in_flight(sent, 0, loss->number_acked_largest);
    if (packet == NULL) {
        return NULL;
    }
    uint64_t lost_ns = packet->sent_ns + loss_delay_ns(loss);
    if (loss->number_acked_largest - packet->number >= loss->threshold_packets || lost_ns <= now_ns) {
        return packet;
    }
    loss->time_ns = lost_ns;
    return NULL;
}

bool hg_loss_persistent(struct hg_loss *loss, uint64_t sent_ns, uint32_t ordinal)
{
    if (loss->rtt_latest_ns == 0 || loss->run_first_ns == 0 || ordinal != loss->run_ordinal + 1) {
        loss->run_first_ns = sent_ns;
        loss->run_told = false;
    }
    loss->run_ordinal = ordinal;
    if (loss->run_told || sent_ns < loss->run_first_ns + HG_CC_PERSISTENT_PTOS * hg_loss_pto_ns(loss)) {
        return false;
    }
    loss->run_told = true;
    return true;
}

uint64_t hg_loss_pto_ns(const struct hg_loss *loss)
{
    return loss->srtt_ns + hg_max_u64(4 * loss->rttvar_ns, HG_LOSS_GRANULARITY_NS) +
           hg_ack_delay_ns(loss->srtt_ns);
}

uint64_t hg_loss_backoff_ns(const struct hg_loss *loss, uint32_t count)
{
    uint64_t pto_ns = hg_loss_pto_ns(loss);
    uint64_t max_ns = hg_max_u64(pto_ns, HG_LOSS_PROBE_INTERVAL_MAX_NS);
    uint32_t doublings = (uint32_t)hg_min_u64(count / HG_LOSS_PROBES_DOUBLE, HG_LOSS_PROBE_DOUBLINGS_MAX);
    return hg_min_u64(pto_ns << doublings, max_ns);
}

uint64_t hg_loss_probe_interval_ns(const struct hg_loss *loss)
{
    return hg_loss_backoff_ns(loss, loss->probe_count);
}

uint64_t hg_loss_deadline_ns(const struct hg_loss *loss, const struct hg_sent *sent)
{
    if (loss->time_ns != HG_TIME_NEVER) {
        return loss->time_ns;
    }
    if (sent->packets_in_flight == 0) {
        return HG_TIME_NEVER;
    }
    return loss->probe_from_ns + hg_loss_probe_interval_ns(loss);
}
