/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/cc.h"
#include "dataplane/transport/cc_constants.h"

enum cubic_phase { SLOW_START, CONSERVATIVE, AVOIDANCE };

struct cubic {
    uint64_t rate_max; /* 0: no limit */
    uint64_t ssthresh;
    uint64_t w_max;
    uint64_t w_est;       /* what Reno's window would be */
    uint64_t cwnd_prior;  /* before the last congestion event */
    uint64_t epoch_ns;    /* congestion avoidance began; 0: with the next ack */
    uint64_t limited_ns;  /* when we last were short of data: that time doesn't count */
    uint64_t k_ms;        /* until the window is w_max again */
    uint64_t even_ns;     /* the last step towards the other lanes' windows */
    uint64_t recovery_ns; /* packets sent until then belong to the last congestion event */
    /* HyStart++ */
    uint64_t round_end; /* delivered bytes */
    uint64_t rtt_last_ns;
    uint64_t rtt_now_ns;
    uint64_t rtt_base_ns; /* when conservative slow start began */
    uint32_t rtt_count;
    uint32_t css_rounds;
    enum cubic_phase phase;
};
static_assert(sizeof(struct cubic) <= sizeof(((struct hg_cc *)0)->state), "state of cubic");

static struct cubic *cubic_of(struct hg_cc *cc)
{
    return (struct cubic *)cc->state;
}

static uint64_t cwnd_least(const struct hg_cc *cc)
{
    return (uint64_t)HG_CC_CWND_PACKETS_MIN * cc->packet_bytes;
}

/* Where a flow's window grows by packets, a lane's grows by its part of them. */
static uint64_t cubic_packet(const struct hg_cc *cc)
{
    return hg_cc_part(cc, cc->packet_bytes);
}

/* The largest integer whose cube is at most n; below 2^21. */
static uint64_t cube_root(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 20; bit > 0; bit >>= 1) {
        uint64_t with = root | bit;
        root = with * with * with <= n ? with : root;
    }
    return root;
}

static void cubic_pace(struct hg_cc *cc, const struct hg_loss *loss)
{
    struct cubic *c = cubic_of(cc);
    uint64_t gain = c->phase == AVOIDANCE ? HG_CUBIC_PACING : HG_CUBIC_PACING_SLOW_START;
    uint64_t rtt_ns = loss->rtt_latest_ns == 0 ? HG_BBR_RTT_FIRST_NS : loss->srtt_ns;
    uint64_t rate = hg_delivery_rate(cc->cwnd_bytes * gain / HG_CC_PER_MILLE, rtt_ns);
    rate = hg_max_u64(rate, HG_BBR_RATE_BYTES_PER_S_MIN);
    cc->rate_bytes_per_s = c->rate_max == 0 ? rate : hg_min_u64(rate, hg_cc_part(cc, c->rate_max));
}

static void hystart_round(struct cubic *c, const struct hg_delivery *delivery)
{
    if (delivery->delivered_bytes < c->round_end) {
        return;
    }
    c->rtt_last_ns = c->rtt_now_ns;
    c->rtt_now_ns = 0;
    c->rtt_count = 0;
    if (c->phase == CONSERVATIVE && ++c->css_rounds >= HG_HYSTART_CSS_ROUNDS) {
        c->phase = AVOIDANCE;
    }
}

static void hystart_sample(struct cubic *c, uint64_t rtt_ns)
{
    if (rtt_ns == 0) {
        return;
    }
    c->rtt_now_ns = c->rtt_now_ns == 0 ? rtt_ns : hg_min_u64(c->rtt_now_ns, rtt_ns);
    if (++c->rtt_count < HG_HYSTART_SAMPLES || c->rtt_last_ns == 0) {
        return;
    }
    uint64_t threshold_ns = hg_max_u64(c->rtt_last_ns / HG_HYSTART_RTT_DIVISOR, HG_HYSTART_RTT_NS_MIN);
    threshold_ns = hg_min_u64(threshold_ns, HG_HYSTART_RTT_NS_MAX);
    if (c->phase == SLOW_START && c->rtt_now_ns >= c->rtt_last_ns + threshold_ns) {
        c->phase = CONSERVATIVE;
        c->rtt_base_ns = c->rtt_now_ns;
        c->css_rounds = 0;
    } else if (c->phase == CONSERVATIVE && c->rtt_now_ns < c->rtt_base_ns) {
        c->phase = SLOW_START;
    }
}

static void epoch_begin(struct hg_cc *cc, uint64_t now_ns)
{
    struct cubic *c = cubic_of(cc);
    c->epoch_ns = now_ns;
    c->w_est = cc->cwnd_bytes;
    if (c->w_max <= cc->cwnd_bytes) {
        c->w_max = cc->cwnd_bytes;
        c->k_ms = 0;
        return;
    }
    /* K = cbrt((W_max - cwnd) / C) in seconds, C = 0.4 packets/s^3 */
    uint64_t packets = (c->w_max - cc->cwnd_bytes) / cubic_packet(cc);
    c->k_ms = cube_root(hg_min_u64(packets, UINT32_MAX) * UINT64_C(2500000000));
}

/* W_cubic(t) = C (t - K)^3 + W_max, with RFC 9438 4.2's bounds on what one round trip may make of it. */
static uint64_t cubic_target(struct hg_cc *cc, uint64_t t_ms)
{
    const struct cubic *c = cubic_of(cc);
    bool beyond = t_ms >= c->k_ms;
    uint64_t span = hg_min_u64(beyond ? t_ms - c->k_ms : c->k_ms - t_ms, HG_CUBIC_TIME_MS_MAX);
    uint64_t grown = span * span * span / UINT64_C(2500000000) * cubic_packet(cc);
    uint64_t target = beyond ? c->w_max + grown : c->w_max - hg_min_u64(grown, c->w_max);
    uint64_t most = cc->cwnd_bytes * HG_CUBIC_TARGET_MAX / HG_CC_PER_MILLE;
    return hg_max_u64(hg_min_u64(target, most), cc->cwnd_bytes);
}

static void cubic_avoid(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct cubic *c = cubic_of(cc);
    if (c->epoch_ns == 0) {
        epoch_begin(cc, ack->now_ns);
    }
    uint64_t t_ms = (ack->now_ns - c->epoch_ns + ack->loss->srtt_ns) / HG_NS_PER_MS;
    uint64_t alpha = c->w_est >= c->cwnd_prior ? HG_CC_PER_MILLE : HG_CUBIC_ALPHA;
    c->w_est += ack->acked_bytes * cubic_packet(cc) / cc->cwnd_bytes * alpha / HG_CC_PER_MILLE;
    uint64_t target = cubic_target(cc, t_ms);
    uint64_t gained = (target - cc->cwnd_bytes) * ack->acked_bytes / cc->cwnd_bytes;
    cc->cwnd_bytes = hg_max_u64(cc->cwnd_bytes + gained, c->w_est);
}

static void cubic_on_sent(struct hg_cc *cc, const struct hg_cc_sent *sent)
{
    struct cubic *c = cubic_of(cc);
    if (sent->delivery->delivered_bytes >= c->round_end) {
        hystart_round(c, sent->delivery);
        c->round_end = sent->delivery->delivered_bytes + sent->in_flight_bytes + sent->bytes;
    }
}

static void cubic_reduce(struct hg_cc *cc, uint64_t beta, uint64_t now_ns)
{
    struct cubic *c = cubic_of(cc);
    c->recovery_ns = now_ns;
    c->cwnd_prior = cc->cwnd_bytes;
    bool smaller = cc->cwnd_bytes < c->w_max; /* fast convergence, RFC 9438 4.7 */
    c->w_max = smaller ? cc->cwnd_bytes * (HG_CC_PER_MILLE + beta) / (2 * HG_CC_PER_MILLE) : cc->cwnd_bytes;
    cc->cwnd_bytes = hg_max_u64(cc->cwnd_bytes * beta / HG_CC_PER_MILLE, cwnd_least(cc));
    c->ssthresh = cc->cwnd_bytes;
    c->epoch_ns = 0;
    c->phase = AVOIDANCE;
}

/* One for all that was sent before it. */
static void cubic_congestion(struct hg_cc *cc, uint64_t beta, uint64_t sent_ns, uint64_t now_ns)
{
    if (sent_ns <= cubic_of(cc)->recovery_ns) {
        return;
    }
    cubic_reduce(cc, beta, now_ns);
    cc->congestion = (now_ns & ~HG_CC_CONGESTION_MASK) | beta;
}

static void cubic_on_acked(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct cubic *c = cubic_of(cc);
    hystart_sample(c, ack->rtt_ns);
    if (ack->marked_count > 0) {
        uint64_t beta = c->phase == AVOIDANCE ? HG_CUBIC_BETA_ECN : HG_CUBIC_BETA;
        cubic_congestion(cc, beta, ack->newest_sent_ns, ack->now_ns);
    }
    if (!hg_delivery_is_cwnd_limited(ack->delivery)) {
        /* RFC 9438 5.8: the window doesn't grow unused, and its clock stands still. */
        if (c->epoch_ns != 0 && c->limited_ns != 0) {
            c->epoch_ns += ack->now_ns - c->limited_ns;
        }
        c->limited_ns = ack->now_ns;
        cubic_pace(cc, ack->loss);
        return;
    }
    c->limited_ns = 0;
    if (c->phase != AVOIDANCE && cc->cwnd_bytes < c->ssthresh) {
        uint64_t divisor = c->phase == CONSERVATIVE ? HG_HYSTART_CSS_DIVISOR : 1;
        cc->cwnd_bytes += ack->acked_bytes / divisor;
    } else {
        c->phase = AVOIDANCE;
        cubic_avoid(cc, ack);
    }
    cubic_pace(cc, ack->loss);
}

static void cubic_on_lost(struct hg_cc *cc, const struct hg_cc_loss *loss)
{
    cubic_congestion(cc, HG_CUBIC_BETA, loss->sent_ns, loss->now_ns);
    cubic_pace(cc, loss->loss);
}

/* As after a retransmission timeout: slow start up to the window that was reduced. */
static void cubic_on_persistent(struct hg_cc *cc, uint64_t now_ns)
{
    struct cubic *c = cubic_of(cc);
    cc->cwnd_bytes = cwnd_least(cc);
    c->phase = SLOW_START;
    c->rtt_last_ns = 0;
    c->epoch_ns = 0;
    c->recovery_ns = now_ns;
}

/* ---- other lanes to the peer ---- */

static void cubic_scale(struct hg_cc *cc, uint64_t scale)
{
    struct cubic *c = cubic_of(cc);
    uint64_t *const windows[] = {&cc->cwnd_bytes, &c->ssthresh, &c->w_max, &c->w_est, &c->cwnd_prior};
    for (uint32_t i = 0; i < HG_COUNT(windows); i++) {
        if (*windows[i] != UINT64_MAX) {
            *windows[i] = hg_max_u64(*windows[i] * scale / HG_CC_SHARE_WHOLE, cwnd_least(cc));
        }
    }
}

/* A step towards the lane's part, once in a round trip; the lanes' steps add up to nothing. */
static void cubic_even(struct hg_cc *cc, const struct hg_cc_told *told)
{
    struct cubic *c = cubic_of(cc);
    if (told->whole == 0 || c->phase != AVOIDANCE || told->now_ns < c->even_ns + told->loss->srtt_ns) {
        return;
    }
    c->even_ns = told->now_ns;
    uint64_t part = hg_cc_part(cc, told->whole) * HG_CC_SHARE_WHOLE / cc->cwnd_bytes;
    part = hg_max_u64(hg_min_u64(part, HG_CC_SHARE_WHOLE * 2), HG_CC_SHARE_WHOLE / 2);
    cubic_scale(cc,
                HG_CC_SHARE_WHOLE + part / HG_CUBIC_EVEN_DIVISOR - HG_CC_SHARE_WHOLE / HG_CUBIC_EVEN_DIVISOR);
}

/* Slow start up to what the others left, or, from the beginning, to the part of what they found. */
static void cubic_rise(struct hg_cc *cc, const struct hg_cc_told *told)
{
    struct cubic *c = cubic_of(cc);
    uint64_t target = hg_max_u64(told->target, cwnd_least(cc));
    if (c->ssthresh == UINT64_MAX) {
        c->ssthresh = target;
        c->w_max = target;
    } else if (told->rises && c->phase == AVOIDANCE && target > cc->cwnd_bytes) {
        c->w_max = hg_max_u64(c->w_max, target);
        c->ssthresh = target;
        c->phase = SLOW_START;
        c->rtt_last_ns = 0;
        c->epoch_ns = 0;
    }
}

/* A flow takes the loss of any of its packets for all of them, so a lane takes that of another lane. */
static void cubic_on_told(struct hg_cc *cc, const struct hg_cc_told *told)
{
    const struct cubic *c = cubic_of(cc);
    cc->weight = (uint32_t)told->weight;
    if (told->scale < HG_CC_SHARE_WHOLE) {
        cubic_scale(cc, told->scale);
    }
    cubic_even(cc, told);
    if (told->target != 0) {
        cubic_rise(cc, told);
    }
    uint64_t same_ns = told->loss->srtt_ns + HG_CUBIC_TOLD_LATE_NS;
    if (told->congestion > c->recovery_ns + same_ns) {
        cubic_reduce(cc, told->congestion & HG_CC_CONGESTION_MASK, told->now_ns);
    }
    cubic_pace(cc, told->loss);
}

static uint64_t cubic_estimate(const struct hg_cc *cc)
{
    return ((const struct cubic *)cc->state)->ssthresh == UINT64_MAX ? 0 : cc->cwnd_bytes;
}

static const char *cubic_state(const struct hg_cc *cc)
{
    static const char *const names[] = {"slow-start", "conservative", "avoidance"};
    return names[((const struct cubic *)cc->state)->phase];
}

static const struct hg_cc_ops cubic_ops = {
    .name = "cubic",
    .on_sent = cubic_on_sent,
    .on_acked = cubic_on_acked,
    .on_lost = cubic_on_lost,
    .on_persistent = cubic_on_persistent,
    .on_told = cubic_on_told,
    .estimate = cubic_estimate,
    .state = cubic_state,
};

void hg_cc_cubic_init(struct hg_cc *cc, uint64_t rate_max_bytes_per_s, const struct hg_loss *loss)
{
    struct cubic *c = cubic_of(cc);
    cc->ops = &cubic_ops;
    c->rate_max = rate_max_bytes_per_s;
    c->ssthresh = UINT64_MAX;
    cc->cwnd_bytes = (uint64_t)HG_CC_CWND_PACKETS * cc->packet_bytes;
    cubic_pace(cc, loss);
}
