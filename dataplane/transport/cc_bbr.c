/* SPDX-License-Identifier: Apache-2.0
 *
 * BBRv3: draft-ietf-ccwg-bbr; the functions follow its sections. Where we differ, docs/wire-format.md says
 * why: losses (bbr_loss_limit), what confirms the least round trip, no packet conservation.
 */
#include "dataplane/transport/cc.h"
#include "dataplane/transport/cc_constants.h"

enum bbr_phase { STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT };
enum bbr_acks { ACKS_INIT, ACKS_REFILLING, ACKS_STARTING, ACKS_FEEDBACK, ACKS_STOPPING };

struct bbr {
    uint64_t rate_max; /* 0: no limit */
    uint64_t random;
    /* the model */
    uint64_t max_bw[2]; /* of this cycle and the one before */
    uint64_t bw;        /* what is used of it */
    uint64_t bw_lo, bw_latest;
    uint64_t inflight_hi, inflight_lo, inflight_latest; /* UINT64_MAX: unknown */
    uint64_t min_rtt_ns, min_rtt_stamp_ns;
    uint64_t probe_rtt_min_ns, probe_rtt_stamp_ns;
    uint64_t extra_acked[2], extra_interval_ns, extra_delivered;
    uint64_t full_bw;
    /* rounds, in delivered bytes */
    uint64_t round_end, loss_round_end, round_count, rounds_since_probe, extra_rounds;
    /* losses of the round, and the path's own */
    uint64_t round_lost, round_acked, round_rtt_ns, round_runs;
    uint64_t up_srtt_ns; /* when we began to push */
    uint64_t floor_lost, floor_all, floor_rounds, floor_runs;
    uint64_t whole; /* what all lanes to the peer found, as told; 0: not known */
    uint64_t
        given_end; /* in delivered bytes: samples of packets sent before are of a rate that was given up */
    uint64_t lost_ordinal; /* of the packet that was lost last: the next one goes on with its run */
    /* the cycle */
    uint64_t cycle_ns, wait_ns, up_rounds, probe_rtt_done_ns, cwnd_prior;
    uint32_t full_bw_count, lossy_rounds;
    uint8_t phase, acks;
    bool full_bw_reached, full_bw_now, round_start, loss_round_start, queue, queue_empty, probe_samples;
    bool probe_rtt_expired, probe_rtt_round_done, idle_restart, restore, round_marked;
};
static_assert(sizeof(struct bbr) <= sizeof(((struct hg_cc *)0)->state), "state of bbr");

static struct bbr *bbr_of(struct hg_cc *cc)
{
    return (struct bbr *)cc->state;
}

static uint64_t share(uint64_t of, uint64_t per_mille)
{
    return of > UINT64_MAX / 4096 ? of / HG_CC_PER_MILLE * per_mille : of * per_mille / HG_CC_PER_MILLE;
}

static uint64_t max_bw(const struct bbr *b)
{
    return hg_max_u64(b->max_bw[0], b->max_bw[1]);
}

static uint64_t cwnd_least(const struct hg_cc *cc)
{
    return (uint64_t)HG_BBR_CWND_PACKETS_MIN * cc->packet_bytes;
}

static bool probing_bw(const struct bbr *b)
{
    return b->phase >= DOWN && b->phase <= UP;
}

static uint64_t bbr_random(struct bbr *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* ---- in flight ---- */

/* gain * bw * min_rtt */
static uint64_t bbr_bdp(const struct hg_cc *cc, uint64_t bw, uint64_t gain)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    if (b->min_rtt_ns == UINT64_MAX) {
        return (uint64_t)HG_CC_CWND_PACKETS * cc->packet_bytes;
    }
    return share(hg_delivery_bytes(bw, b->min_rtt_ns), gain);
}

/* With what bursts and late acks need on top. */
static uint64_t bbr_inflight(const struct hg_cc *cc, uint64_t bw, uint64_t gain)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    uint64_t inflight = bbr_bdp(cc, bw, gain);
    inflight += hg_delivery_bytes(bw, HG_BBR_HOST_NS);
    uint64_t quantum = hg_min_u64(bw / HG_CC_PER_MILLE, (uint64_t)HG_BBR_QUANTUM_PACKETS * cc->packet_bytes);
    inflight = hg_max_u64(inflight, 3 * hg_max_u64(quantum, 2ull * cc->packet_bytes));
    inflight = hg_max_u64(inflight, cwnd_least(cc));
    return b->phase == UP ? inflight + 2ull * cc->packet_bytes : inflight;
}

static uint64_t bbr_headroom(const struct hg_cc *cc)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    if (b->inflight_hi == UINT64_MAX) {
        return UINT64_MAX;
    }
    return hg_max_u64(share(b->inflight_hi, HG_BBR_HEADROOM), cwnd_least(cc));
}

/* ---- losses ---- */

static uint64_t square_root(uint64_t n)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
        uint64_t with = root | bit;
        root = with * with <= n ? with : root;
    }
    return root;
}

static bool bbr_floor_known(const struct hg_cc *cc)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    return b->floor_all >= (uint64_t)HG_BBR_FLOOR_PACKETS_MIN * cc->packet_bytes;
}

/* The share that the path loses by itself, per mille. */
static uint64_t bbr_floor(const struct bbr *b)
{
    return hg_min_u64(b->floor_lost * HG_CC_PER_MILLE / hg_max_u64(b->floor_all, 1), HG_BBR_FLOOR_MAX);
}

/* Bytes that the path loses at once, when it loses some by itself: of runs whose lengths have a geometric
 * distribution, the mean square over the mean. */
static uint64_t bbr_floor_run(const struct hg_cc *cc)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    uint64_t mean = b->floor_lost / hg_max_u64(b->floor_runs, 1);
    return hg_max_u64(2 * mean, 2ull * cc->packet_bytes) - cc->packet_bytes;
}

/* How much of `bytes` the path may lose before that says it is full: its own share, the draft's 2 %, and two
 * to four standard deviations of such a count of runs: a path with short round trips has fifty of them a
 * second, and without a queue chance is the likelier cause. While its own share isn't known, or the path has
 * not been full yet (two bursts in the small rounds of startup say nothing), one without a queue is given the
 * benefit of the doubt. */
static uint64_t bbr_loss_limit(const struct hg_cc *cc, uint64_t bytes)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    bool known = bbr_floor_known(cc) && (b->full_bw_reached || b->queue);
    uint64_t own = known ? bbr_floor(b) : b->queue ? 0 : HG_BBR_FLOOR_MAX;
    uint64_t expected = share(bytes, own + HG_BBR_LOSS_THRESHOLD);
    uint64_t deviations = b->queue ? HG_BBR_LOSS_DEVIATIONS_QUEUE : HG_BBR_LOSS_DEVIATIONS;
    return expected + deviations * square_root(expected * bbr_floor_run(cc));
}

static bool bbr_too_high(const struct hg_cc *cc, uint64_t lost_bytes, uint64_t in_flight_bytes)
{
    return lost_bytes > bbr_loss_limit(cc, in_flight_bytes);
}

/* What is lost while nothing stands in a queue and we don't push is the path's own. */
static void bbr_floor_learn(struct hg_cc *cc)
{
    struct bbr *b = bbr_of(cc);
    bool pushing = b->phase == UP || b->phase == REFILL || (b->phase == STARTUP && b->full_bw_count > 0);
    if (b->queue || b->round_marked || pushing || b->phase == DRAIN) {
        return;
    }
    uint64_t all = b->round_lost + b->round_acked;
    if (b->phase == STARTUP && b->round_lost > share(all, HG_BBR_FLOOR_MAX)) {
        return;
    }
    b->floor_lost += hg_min_u64(b->round_lost, share(all, HG_BBR_FLOOR_MAX));
    b->floor_all += all;
    b->floor_runs += b->round_runs;
    if (++b->floor_rounds >= HG_BBR_FLOOR_ROUNDS) {
        b->floor_rounds = HG_BBR_FLOOR_ROUNDS / 2;
        b->floor_lost /= 2;
        b->floor_all /= 2;
        b->floor_runs /= 2;
    }
}

/* ---- phases ---- */

static void bbr_round_begin(struct bbr *b, const struct hg_delivery *delivery)
{
    b->round_end = delivery->delivered_bytes;
}

static void bbr_full_bw_reset(struct bbr *b, uint64_t rate)
{
    b->full_bw = rate;
    b->full_bw_count = 0;
    b->full_bw_now = false;
}

static void bbr_lower_bounds_reset(struct bbr *b)
{
    b->bw_lo = UINT64_MAX;
    b->inflight_lo = UINT64_MAX;
}

static void bbr_down(struct hg_cc *cc, const struct hg_delivery *delivery, uint64_t now_ns)
{
    struct bbr *b = bbr_of(cc);
    if (b->phase == UP) {
        cc->congestion = now_ns; /* for other lanes: there is no more to be found */
    }
    b->bw_latest = 0;
    b->inflight_latest = 0;
    b->rounds_since_probe = bbr_random(b) & 1;
    b->wait_ns = HG_BBR_PROBE_WAIT_NS + bbr_random(b) % HG_NS_PER_S;
    b->cycle_ns = now_ns;
    b->acks = ACKS_STOPPING;
    b->phase = DOWN;
    bbr_round_begin(b, delivery);
}

static void bbr_refill(struct bbr *b, const struct hg_delivery *delivery)
{
    bbr_lower_bounds_reset(b);
    b->up_rounds = 0;
    b->acks = ACKS_REFILLING;
    b->phase = REFILL;
    bbr_round_begin(b, delivery);
}

static void bbr_up(struct bbr *b, const struct hg_cc_ack *ack)
{
    b->acks = ACKS_STARTING;
    b->phase = UP;
    b->cycle_ns = ack->now_ns;
    b->up_srtt_ns = ack->loss->srtt_ns;
    bbr_full_bw_reset(b, ack->sample.rate_bytes_per_s);
    bbr_round_begin(b, ack->delivery);
}

/* What was found, all of it, times scale / HG_CC_SHARE_WHOLE. */
static void bbr_scale(struct hg_cc *cc, uint64_t scale, uint64_t sent_bytes)
{
    struct bbr *b = bbr_of(cc);
    uint64_t *const found[] = {&b->max_bw[0], &b->max_bw[1],   &b->bw,          &b->bw_lo,
                               &b->full_bw,   &b->inflight_hi, &b->inflight_lo, &b->cwnd_prior};
    for (uint32_t i = 0; i < HG_COUNT(found); i++) {
        if (*found[i] < UINT64_MAX / (2 * HG_CC_SHARE_WHOLE)) { /* else unknown */
            *found[i] = *found[i] * scale / HG_CC_SHARE_WHOLE;
        }
    }
    if (scale < HG_CC_SHARE_WHOLE) {
        b->given_end = sent_bytes;
    }
}

/* Half of the way to the lane's part: what one lane gives another takes at the same time. */
static void bbr_even(struct hg_cc *cc, uint64_t sent_bytes)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    if (b->whole == 0) {
        return;
    }
    uint64_t part = hg_cc_part(cc, b->whole) * HG_CC_SHARE_WHOLE / hg_max_u64(max_bw(b), 1);
    part = hg_max_u64(hg_min_u64(part, 2 * HG_CC_SHARE_WHOLE), HG_CC_SHARE_WHOLE / 2);
    bbr_scale(cc, (HG_CC_SHARE_WHOLE + part) / 2, sent_bytes);
}

/* Lanes to one peer push at the same times, which follow from their clock alone: as one flow does. Each by
 * itself would push against the others, and find the more the more of them there are. */
static bool bbr_time_of_all(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    uint64_t packets = bbr_bdp(cc, b->whole != 0 ? b->whole : b->bw, HG_CC_PER_MILLE) / cc->packet_bytes;
    uint64_t rounds = hg_max_u64(hg_min_u64(packets, HG_BBR_PROBE_WAIT_ROUNDS_MAX), 1);
    uint64_t wait_ns = hg_min_u64(rounds * ack->loss->srtt_ns, HG_BBR_PROBE_WAIT_NS + HG_NS_PER_S / 2);
    /* The nearest power of two, so that lanes agree on it whose round trips are not quite the same. */
    uint64_t period_bit = 63 - (uint64_t)__builtin_clzll(wait_ns + wait_ns / 2 + 1);
    if (ack->now_ns >> period_bit == b->cycle_ns >> period_bit) {
        return false;
    }
    bbr_even(cc, ack->delivery->delivered_bytes + ack->in_flight_bytes);
    return true;
}

static bool bbr_time_to_probe(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    uint64_t rounds =
        hg_min_u64(bbr_bdp(cc, b->bw, HG_CC_PER_MILLE) / cc->packet_bytes, HG_BBR_PROBE_WAIT_ROUNDS_MAX);
    bool due = ack->now_ns > b->cycle_ns + b->wait_ns || b->rounds_since_probe >= hg_max_u64(rounds, 1);
    if (cc->others_count > 0 ? bbr_time_of_all(cc, ack) : due) {
        bbr_refill(b, ack->delivery);
        return true;
    }
    return false;
}

static void bbr_inflight_too_high(struct hg_cc *cc, const struct hg_delivery *delivery, uint64_t in_flight,
                                  bool limited, uint64_t now_ns)
{
    struct bbr *b = bbr_of(cc);
    b->probe_samples = false;
    if (!limited) {
        uint64_t target = hg_min_u64(bbr_bdp(cc, b->bw, HG_CC_PER_MILLE), cc->cwnd_bytes);
        b->inflight_hi = hg_max_u64(in_flight, share(target, HG_BBR_BETA));
    }
    if (b->phase == UP) {
        bbr_down(cc, delivery, now_ns);
    }
}

/* The window holds us back at its upper bound. */
static bool bbr_at_bound(const struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    return hg_delivery_is_cwnd_limited(ack->delivery) && cc->cwnd_bytes >= b->inflight_hi;
}

/* Then the bound may rise, faster with every round. */
static void bbr_raise_inflight_hi(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    if (!bbr_at_bound(cc, ack)) {
        return;
    }
    uint64_t growth = (uint64_t)cc->packet_bytes << hg_min_u64(b->up_rounds, 20);
    b->inflight_hi += hg_max_u64(ack->acked_bytes * growth / cc->cwnd_bytes, 1);
}

static void bbr_upper_bounds(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    const struct hg_delivery_sample *sample = &ack->sample;
    if (b->acks == ACKS_STARTING && b->round_start) {
        b->acks = ACKS_FEEDBACK;
    } else if (b->acks == ACKS_STOPPING && b->round_start) {
        b->probe_samples = false;
        b->acks = ACKS_INIT;
        if (probing_bw(b) && !sample->limited) {
            b->max_bw[1] = b->max_bw[0];
            b->max_bw[0] = 0;
        }
    }
    if (b->inflight_hi == UINT64_MAX || ack->marked_count > 0 ||
        bbr_too_high(cc, sample->lost_bytes, sample->in_flight_bytes)) {
        return;
    }
    b->inflight_hi = hg_max_u64(b->inflight_hi, sample->in_flight_bytes);
    if (b->phase == UP) {
        b->up_rounds += b->round_start;
        bbr_raise_inflight_hi(cc, ack);
    }
}

/* Our pushing alone made a queue of this share of the path: more would only make more of it. */
static bool bbr_up_queues(const struct bbr *b, const struct hg_loss *loss)
{
    uint64_t queue_ns = hg_max_u64(b->min_rtt_ns / HG_BBR_UP_QUEUE_DIVISOR, HG_BBR_QUEUE_NS_MIN);
    return loss->srtt_ns > b->up_srtt_ns + queue_ns;
}

static void bbr_cycle(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    if (!b->full_bw_reached) {
        return;
    }
    if (b->phase == UP && bbr_at_bound(cc, ack)) {
        bbr_full_bw_reset(b, ack->sample.rate_bytes_per_s); /* what the bound forbids is no plateau */
    }
    bbr_upper_bounds(cc, ack);
    switch (b->phase) {
    case DOWN:
        if (!bbr_time_to_probe(cc, ack) && ack->in_flight_bytes <= bbr_headroom(cc) &&
            ack->in_flight_bytes <= bbr_inflight(cc, max_bw(b), HG_CC_PER_MILLE)) {
            b->phase = CRUISE;
        }
        break;
    case CRUISE:
        (void)bbr_time_to_probe(cc, ack);
        break;
    case REFILL:
        if (b->round_start) {
            b->probe_samples = true;
            bbr_up(b, ack);
        }
        break;
    case UP:
        if (b->full_bw_now || bbr_up_queues(b, ack->loss)) {
            bbr_down(cc, ack->delivery, ack->now_ns);
        }
        break;
    default:
        break;
    }
}

static void bbr_startup(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    const struct hg_delivery_sample *sample = &ack->sample;
    /* Where a queue stood for a round trip the path was full, whatever we lacked in between. */
    bool limited = sample->limited && !b->queue;
    if (!b->full_bw_now && !limited && sample->rate_bytes_per_s != 0) {
        if (sample->rate_bytes_per_s >= share(b->full_bw, HG_BBR_FULL_BW_GROWTH)) {
            bbr_full_bw_reset(b, sample->rate_bytes_per_s);
        } else if (b->round_start) {
            b->full_bw_now = ++b->full_bw_count >= HG_BBR_FULL_BW_ROUNDS;
            b->full_bw_reached |= b->full_bw_now;
        }
    }
    /* Two rounds in a row: the rate of the first is still that of the slower round before it. Rounds that
     * lacked data, or credit because of what was lost, count: else a path that is flooded stays it. */
    if (b->phase == STARTUP && b->loss_round_start) {
        bool lossy = b->round_runs >= HG_BBR_STARTUP_LOSSES &&
                     bbr_too_high(cc, b->round_lost, b->round_lost + b->round_acked);
        b->lossy_rounds = lossy || b->round_marked ? b->lossy_rounds + 1 : 0;
    }
    if (b->phase == STARTUP && b->lossy_rounds >= HG_BBR_STARTUP_LOSSY_ROUNDS) {
        b->full_bw_reached = true;
        b->inflight_hi = hg_max_u64(bbr_bdp(cc, max_bw(b), HG_CC_PER_MILLE), b->inflight_latest);
    }
    if (b->phase == STARTUP && b->full_bw_reached) {
        b->phase = DRAIN;
    }
    if (b->phase == DRAIN && ack->in_flight_bytes <= bbr_inflight(cc, max_bw(b), HG_CC_PER_MILLE)) {
        bbr_down(cc, ack->delivery, ack->now_ns);
    }
}

/* ---- round trip ---- */

static void bbr_min_rtt(struct bbr *b, const struct hg_cc_ack *ack)
{
    uint64_t rtt_ns = ack->rtt_ns, now_ns = ack->now_ns;
    b->probe_rtt_expired = now_ns > b->probe_rtt_stamp_ns + HG_BBR_PROBE_RTT_NS;
    if (rtt_ns != 0 && (rtt_ns < b->probe_rtt_min_ns || b->probe_rtt_expired)) {
        b->probe_rtt_min_ns = rtt_ns;
        b->probe_rtt_stamp_ns = now_ns;
    } else if (rtt_ns != 0 && rtt_ns - b->probe_rtt_min_ns <= hg_max_u64(rtt_ns / HG_BBR_RTT_CONFIRM_DIVISOR,
                                                                         HG_BBR_RTT_CONFIRM_NS_MIN)) {
        b->probe_rtt_stamp_ns = now_ns;
    }
    if (b->probe_rtt_min_ns < b->min_rtt_ns || now_ns > b->min_rtt_stamp_ns + HG_BBR_MIN_RTT_NS) {
        b->min_rtt_ns = b->probe_rtt_min_ns;
        b->min_rtt_stamp_ns = b->probe_rtt_stamp_ns;
    }
}

static void bbr_probe_rtt_end(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    b->probe_rtt_stamp_ns = ack->now_ns;
    cc->cwnd_bytes = hg_max_u64(cc->cwnd_bytes, b->cwnd_prior);
    bbr_lower_bounds_reset(b);
    if (b->full_bw_reached) {
        bbr_down(cc, ack->delivery, ack->now_ns);
        b->phase = CRUISE;
    } else {
        b->phase = STARTUP;
    }
}

static uint64_t bbr_probe_rtt_cwnd(const struct hg_cc *cc)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    return hg_max_u64(bbr_bdp(cc, b->bw, HG_BBR_PROBE_RTT_CWND), cwnd_least(cc));
}

static void bbr_probe_rtt(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    if (b->phase != PROBE_RTT && b->probe_rtt_expired && !b->idle_restart) {
        b->phase = PROBE_RTT;
        b->cwnd_prior = cc->cwnd_bytes;
        b->probe_rtt_done_ns = 0;
        b->acks = ACKS_STOPPING;
        bbr_round_begin(b, ack->delivery);
    }
    b->idle_restart = false;
    if (b->phase != PROBE_RTT) {
        return;
    }
    if (b->probe_rtt_done_ns == 0) {
        if (ack->in_flight_bytes <= bbr_probe_rtt_cwnd(cc)) {
            b->probe_rtt_done_ns = ack->now_ns + HG_BBR_PROBE_RTT_STAY_NS;
            b->probe_rtt_round_done = false;
            bbr_round_begin(b, ack->delivery);
        }
        return;
    }
    b->probe_rtt_round_done |= b->round_start;
    if (b->probe_rtt_round_done && ack->now_ns > b->probe_rtt_done_ns) {
        bbr_probe_rtt_end(cc, ack);
    }
}

/* ---- the model ---- */

static void bbr_rounds(struct bbr *b, const struct hg_cc_ack *ack)
{
    b->round_start = ack->sample.prior_bytes >= b->round_end;
    if (b->round_start) {
        b->round_end = ack->delivery->delivered_bytes;
        b->round_count++;
        b->rounds_since_probe++;
    }
    b->loss_round_start = ack->sample.prior_bytes >= b->loss_round_end;
    if (b->loss_round_start) {
        b->loss_round_end = ack->delivery->delivered_bytes;
    }
}

static void bbr_lower_bounds(struct hg_cc *cc)
{
    struct bbr *b = bbr_of(cc);
    bool probing = b->phase == STARTUP || b->phase == REFILL || b->phase == UP;
    bool lossy = bbr_too_high(cc, b->round_lost, b->round_lost + b->round_acked);
    if (probing || (!lossy && !b->round_marked)) {
        return;
    }
    uint64_t beta = lossy ? HG_BBR_BETA : HG_BBR_BETA_ECN;
    if (b->bw_lo == UINT64_MAX) {
        b->bw_lo = max_bw(b);
    }
    if (b->inflight_lo == UINT64_MAX) {
        b->inflight_lo = cc->cwnd_bytes;
    }
    b->bw_lo = hg_max_u64(b->bw_latest, share(b->bw_lo, beta));
    b->inflight_lo = hg_max_u64(b->inflight_latest, share(b->inflight_lo, beta));
}

static void bbr_congestion_signals(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    const struct hg_delivery_sample *sample = &ack->sample;
    b->bw_latest = hg_max_u64(b->bw_latest, sample->rate_bytes_per_s);
    b->inflight_latest = hg_max_u64(b->inflight_latest, sample->bytes);
    bool is_ours = sample->prior_bytes >= b->given_end;
    if (is_ours && (sample->rate_bytes_per_s >= max_bw(b) || !sample->limited)) {
        b->max_bw[0] = hg_max_u64(b->max_bw[0], sample->rate_bytes_per_s);
    }
    b->round_acked += ack->acked_bytes;
    b->round_marked |= ack->marked_count > 0;
    if (ack->rtt_ns != 0) {
        b->round_rtt_ns = hg_min_u64(b->round_rtt_ns, ack->rtt_ns);
    }
    if (!b->loss_round_start) {
        return;
    }
    uint64_t margin_ns = hg_max_u64(b->min_rtt_ns / HG_BBR_QUEUE_RTT_DIVISOR, HG_BBR_QUEUE_NS_MIN);
    b->queue = b->round_rtt_ns != UINT64_MAX && b->min_rtt_ns != UINT64_MAX &&
               b->round_rtt_ns > b->min_rtt_ns + margin_ns;
    b->queue_empty = b->round_rtt_ns <= b->min_rtt_ns + HG_BBR_HOST_NS;
    bbr_floor_learn(cc);
    bbr_lower_bounds(cc);
}

static void bbr_round_forget(struct bbr *b, const struct hg_cc_ack *ack)
{
    if (!b->loss_round_start) {
        return;
    }
    b->bw_latest = ack->sample.rate_bytes_per_s;
    b->inflight_latest = ack->sample.bytes;
    b->round_lost = 0;
    b->round_runs = 0;
    b->round_acked = 0;
    b->round_rtt_ns = UINT64_MAX;
    b->round_marked = false;
}

/* Acks that come in bunches: how much more than bw x time was acknowledged at once, of late. */
static void bbr_aggregation(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    uint64_t interval_ns = ack->now_ns - hg_min_u64(b->extra_interval_ns, ack->now_ns);
    uint64_t expected = hg_delivery_bytes(b->bw, interval_ns);
    if (b->extra_delivered <= expected) {
        b->extra_delivered = 0;
        b->extra_interval_ns = ack->now_ns;
        expected = 0;
    }
    b->extra_delivered += ack->acked_bytes;
    uint64_t extra =
        hg_min_u64(b->extra_delivered - hg_min_u64(expected, b->extra_delivered), cc->cwnd_bytes);
    b->extra_rounds += b->round_start;
    if (b->extra_rounds >= HG_BBR_EXTRA_ACKED_ROUNDS || !b->full_bw_reached) {
        b->extra_rounds = 0;
        b->extra_acked[1] = b->full_bw_reached ? b->extra_acked[0] : 0;
        b->extra_acked[0] = 0;
    }
    b->extra_acked[0] = hg_max_u64(b->extra_acked[0], extra);
}

/* ---- what is written for the lane ---- */

static uint64_t bbr_pacing_gain(const struct bbr *b)
{
    static const uint16_t gains[] = {
        [STARTUP] = HG_BBR_STARTUP_PACING, [DRAIN] = HG_BBR_DRAIN_PACING,   [DOWN] = HG_BBR_DOWN_PACING,
        [CRUISE] = HG_BBR_CRUISE_PACING,   [REFILL] = HG_BBR_CRUISE_PACING, [UP] = HG_BBR_UP_PACING,
        [PROBE_RTT] = HG_BBR_CRUISE_PACING};
    return gains[b->phase];
}

static void bbr_pace(struct hg_cc *cc, uint64_t gain)
{
    struct bbr *b = bbr_of(cc);
    /* The margin is there to drain a queue. */
    uint64_t margin = b->full_bw_reached && b->queue_empty ? 0 : HG_BBR_PACING_MARGIN;
    uint64_t rate = share(share(b->bw, gain), HG_CC_PER_MILLE - margin);
    /* The largest sample is one of a round that lost less than others: where a queue stands, that is its
     * cause. */
    if (b->full_bw_reached && bbr_floor_known(cc) && !b->queue) {
        rate = share(rate, HG_CC_PER_MILLE * HG_CC_PER_MILLE / (HG_CC_PER_MILLE - bbr_floor(b)));
    }
    if (rate == 0 || (!b->full_bw_reached && rate <= cc->rate_bytes_per_s)) {
        return;
    }
    rate = hg_max_u64(rate, HG_BBR_RATE_BYTES_PER_S_MIN);
    cc->rate_bytes_per_s = b->rate_max == 0 ? rate : hg_min_u64(rate, hg_cc_part(cc, b->rate_max));
}

static void bbr_window(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    uint64_t gain = b->phase == STARTUP ? HG_BBR_STARTUP_CWND : b->phase == UP ? HG_BBR_UP_CWND : HG_BBR_CWND;
    uint64_t most = bbr_inflight(cc, b->bw, gain) + hg_max_u64(b->extra_acked[0], b->extra_acked[1]);
    uint64_t cwnd = cc->cwnd_bytes;
    if (b->restore) {
        cwnd = hg_max_u64(cwnd, b->cwnd_prior);
        b->restore = false;
    }
    if (b->full_bw_reached) {
        cwnd = hg_min_u64(cwnd + ack->acked_bytes, most);
    } else if (cwnd < most ||
               ack->delivery->delivered_bytes < (uint64_t)HG_CC_CWND_PACKETS * cc->packet_bytes) {
        cwnd += ack->acked_bytes;
    }
    uint64_t cap = UINT64_MAX;
    if (probing_bw(b) && b->phase != CRUISE) {
        cap = b->inflight_hi;
    } else if (b->phase == CRUISE || b->phase == PROBE_RTT) {
        cap = bbr_headroom(cc);
    }
    cap = hg_min_u64(cap, b->inflight_lo);
    if (b->phase == PROBE_RTT) {
        cap = hg_min_u64(cap, bbr_probe_rtt_cwnd(cc));
    }
    cc->cwnd_bytes = hg_max_u64(hg_min_u64(cwnd, cap), cwnd_least(cc));
}

/* ---- events ---- */

static void bbr_on_sent(struct hg_cc *cc, const struct hg_cc_sent *sent)
{
    struct bbr *b = bbr_of(cc);
    if (sent->in_flight_bytes != 0 || !hg_delivery_is_limited(sent->delivery)) {
        return;
    }
    /* Idle until now: go on at the known rate, without a burst. */
    b->idle_restart = true;
    b->extra_interval_ns = sent->now_ns;
    b->extra_delivered = 0;
    if (probing_bw(b)) {
        bbr_pace(cc, HG_BBR_CRUISE_PACING);
    }
}

static void bbr_on_acked(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct bbr *b = bbr_of(cc);
    bbr_rounds(b, ack);
    if (ack->marked_count > 0 && b->probe_samples) {
        bbr_inflight_too_high(cc, ack->delivery, ack->sample.in_flight_bytes, ack->sample.limited,
                              ack->now_ns);
    }
    bbr_congestion_signals(cc, ack);
    bbr_aggregation(cc, ack);
    bbr_startup(cc, ack);
    bbr_cycle(cc, ack);
    bbr_min_rtt(b, ack);
    bbr_probe_rtt(cc, ack);
    bbr_round_forget(b, ack);
    b->bw = hg_min_u64(max_bw(b), b->bw_lo);
    bbr_pace(cc, bbr_pacing_gain(b));
    bbr_window(cc, ack);
}

static void bbr_on_lost(struct hg_cc *cc, const struct hg_cc_loss *loss)
{
    struct bbr *b = bbr_of(cc);
    b->round_lost += loss->bytes;
    b->round_runs += loss->sample->ordinal != b->lost_ordinal + 1;
    b->lost_ordinal = loss->sample->ordinal;
    if (!b->probe_samples) {
        return;
    }
    uint64_t in_flight = loss->sample->in_flight_bytes;
    uint32_t lost = (uint32_t)loss->delivery->lost_bytes - loss->sample->lost_bytes;
    if (bbr_too_high(cc, lost, in_flight)) {
        bbr_inflight_too_high(cc, loss->delivery, in_flight - hg_min_u64(lost, in_flight),
                              loss->sample->limited, loss->now_ns);
    }
}

static void bbr_on_persistent(struct hg_cc *cc, uint64_t now_ns)
{
    struct bbr *b = bbr_of(cc);
    if (!b->restore) {
        b->cwnd_prior = cc->cwnd_bytes;
    }
    b->restore = true;
    cc->cwnd_bytes = cwnd_least(cc);
}

static void bbr_on_told(struct hg_cc *cc, const struct hg_cc_told *told)
{
    struct bbr *b = bbr_of(cc);
    cc->weight = (uint32_t)told->weight;
    b->whole = told->whole;
    if (told->scale < HG_CC_SHARE_WHOLE) {
        bbr_scale(cc, told->scale, told->delivery->delivered_bytes + told->in_flight_bytes);
    }
    if (told->rises && (b->phase == DOWN || b->phase == CRUISE)) {
        bbr_refill(b, told->delivery);
    }
    /* A flow stops pushing where any of its packets says so. */
    if (told->congestion != 0 && (b->phase == UP || b->phase == REFILL)) {
        uint64_t own = cc->congestion;
        bbr_down(cc, told->delivery, told->now_ns);
        cc->congestion = own;
    }
    if (told->target != 0 && b->phase == STARTUP && max_bw(b) >= told->target) {
        b->full_bw_reached = true;
        b->phase = DRAIN;
    }
}

static uint64_t bbr_estimate(const struct hg_cc *cc)
{
    const struct bbr *b = (const struct bbr *)cc->state;
    return b->full_bw_reached ? max_bw(b) : 0;
}

static const char *bbr_state(const struct hg_cc *cc)
{
    static const char *const names[] = {[STARTUP] = "startup",        [DRAIN] = "drain",
                                        [DOWN] = "probe-bw-down",     [CRUISE] = "probe-bw-cruise",
                                        [REFILL] = "probe-bw-refill", [UP] = "probe-bw-up",
                                        [PROBE_RTT] = "probe-rtt"};
    return names[((const struct bbr *)cc->state)->phase];
}

static const struct hg_cc_ops bbr_ops = {
    .name = "bbr",
    .on_sent = bbr_on_sent,
    .on_acked = bbr_on_acked,
    .on_lost = bbr_on_lost,
    .on_persistent = bbr_on_persistent,
    .on_told = bbr_on_told,
    .estimate = bbr_estimate,
    .state = bbr_state,
};

void hg_cc_bbr_init(struct hg_cc *cc, uint64_t rate_max_bytes_per_s, const struct hg_loss *loss,
                    uint64_t now_ns)
{
    struct bbr *b = bbr_of(cc);
    cc->ops = &bbr_ops;
    b->rate_max = rate_max_bytes_per_s;
    b->random = now_ns | 1;
    b->min_rtt_ns = loss->rtt_latest_ns == 0 ? UINT64_MAX : loss->rtt_min_ns;
    b->probe_rtt_min_ns = b->min_rtt_ns;
    b->min_rtt_stamp_ns = now_ns;
    b->probe_rtt_stamp_ns = now_ns;
    b->inflight_hi = UINT64_MAX;
    b->round_rtt_ns = UINT64_MAX;
    bbr_lower_bounds_reset(b);
    cc->cwnd_bytes = (uint64_t)HG_CC_CWND_PACKETS * cc->packet_bytes;
    uint64_t rtt_ns = loss->rtt_latest_ns == 0 ? HG_BBR_RTT_FIRST_NS : loss->srtt_ns;
    b->bw = hg_delivery_rate(cc->cwnd_bytes, rtt_ns);
    bbr_pace(cc, HG_BBR_STARTUP_PACING);
    b->extra_interval_ns = now_ns;
}
