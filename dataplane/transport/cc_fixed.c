/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/cc.h"
#include "dataplane/transport/cc_constants.h"

struct fixed {
    uint64_t rate_wanted;
    uint64_t rtt_min_ns;
    /* the round that is going on */
    uint64_t round_ns;
    uint64_t round_rtt_ns; /* least; 0: none yet */
    uint64_t round_acked;
    uint64_t round_lost;
    uint64_t round_marked; /* a marked packet counts as the largest one */
    uint32_t rounds_bad;   /* in a row */
    uint32_t rounds_good;
};
static_assert(sizeof(struct fixed) <= sizeof(((struct hg_cc *)0)->state), "state of fixed");

static struct fixed *fixed_of(struct hg_cc *cc)
{
    return (struct fixed *)cc->state;
}

static void fixed_window(struct hg_cc *cc, const struct hg_loss *loss)
{
    if (cc->rate_bytes_per_s == 0) {
        cc->cwnd_bytes = UINT64_MAX;
        return;
    }
    uint64_t span_ns = 2 * (loss->srtt_ns + 4 * loss->rttvar_ns);
    cc->cwnd_bytes = hg_max_u64(hg_delivery_bytes(cc->rate_bytes_per_s, span_ns), HG_CC_FIXED_CWND_BYTES_MIN);
}

static void fixed_open(struct hg_cc *cc)
{
    struct fixed *f = fixed_of(cc);
    uint64_t least = hg_max_u64(f->rate_wanted / HG_CC_BREAKER_DIVISOR_MAX, 1);
    cc->alarms += cc->rate_bytes_per_s > least;
    cc->rate_bytes_per_s = hg_max_u64(cc->rate_bytes_per_s / 2, least);
    cc->reduced = cc->rate_bytes_per_s < f->rate_wanted;
    f->rounds_bad = 0;
    f->rounds_good = 0;
}

static void fixed_round_end(struct hg_cc *cc)
{
    struct fixed *f = fixed_of(cc);
    uint64_t all = f->round_acked + f->round_lost;
    bool enough = all >= (uint64_t)HG_CC_BREAKER_PACKETS_MIN * cc->packet_bytes;
    bool loss = enough && (f->round_lost + f->round_marked) * HG_CC_PER_MILLE > all * HG_CC_BREAKER_LOSS;
    bool queue = f->round_rtt_ns > HG_CC_BREAKER_RTT_FACTOR * f->rtt_min_ns &&
                 f->round_rtt_ns > f->rtt_min_ns + HG_CC_BREAKER_QUEUE_NS;
    if (loss || queue) {
        f->rounds_good = 0;
        if (++f->rounds_bad >= HG_CC_BREAKER_ROUNDS) {
            fixed_open(cc);
        }
        return;
    }
    f->rounds_bad = 0;
    if (cc->rate_bytes_per_s < f->rate_wanted && ++f->rounds_good >= HG_CC_BREAKER_ROUNDS) {
        f->rounds_good = 0;
        uint64_t rate = cc->rate_bytes_per_s * HG_CC_BREAKER_STEP / HG_CC_PER_MILLE + 1;
        cc->rate_bytes_per_s = hg_min_u64(rate, f->rate_wanted);
        cc->reduced = cc->rate_bytes_per_s < f->rate_wanted;
    }
}

static void fixed_on_sent(struct hg_cc *cc, const struct hg_cc_sent *sent)
{
    struct fixed *f = fixed_of(cc);
    if (f->round_ns == 0 || sent->in_flight_bytes == 0) {
        f->round_ns = sent->now_ns;
    }
}

static void fixed_on_acked(struct hg_cc *cc, const struct hg_cc_ack *ack)
{
    struct fixed *f = fixed_of(cc);
    f->round_acked += ack->acked_bytes;
    f->round_marked += hg_min_u64(ack->marked_count * cc->packet_bytes, ack->acked_bytes);
    if (ack->rtt_ns != 0) {
        f->rtt_min_ns = f->rtt_min_ns == 0 ? ack->rtt_ns : hg_min_u64(f->rtt_min_ns, ack->rtt_ns);
        f->round_rtt_ns = f->round_rtt_ns == 0 ? ack->rtt_ns : hg_min_u64(f->round_rtt_ns, ack->rtt_ns);
    }
    uint64_t round_ns = hg_max_u64(ack->loss->srtt_ns, HG_CC_BREAKER_ROUND_NS);
    if (f->rate_wanted != 0 && ack->now_ns >= f->round_ns + round_ns) {
        fixed_round_end(cc);
        f->round_ns = ack->now_ns;
        f->round_rtt_ns = 0;
        f->round_acked = 0;
        f->round_lost = 0;
        f->round_marked = 0;
    }
    fixed_window(cc, ack->loss);
}

static void fixed_on_lost(struct hg_cc *cc, const struct hg_cc_loss *loss)
{
    fixed_of(cc)->round_lost += loss->bytes;
}

static void fixed_on_persistent(struct hg_cc *cc, uint64_t now_ns)
{
    if (fixed_of(cc)->rate_wanted != 0) {
        fixed_open(cc);
    }
}

static const char *fixed_state(const struct hg_cc *cc)
{
    const struct fixed *f = (const struct fixed *)cc->state;
    return cc->reduced ? "reduced" : f->rate_wanted == 0 ? "unlimited" : "steady";
}

static const struct hg_cc_ops fixed_ops = {
    .name = "fixed",
    .on_sent = fixed_on_sent,
    .on_acked = fixed_on_acked,
    .on_lost = fixed_on_lost,
    .on_persistent = fixed_on_persistent,
    .state = fixed_state,
};

void hg_cc_fixed_init(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss)
{
    cc->ops = &fixed_ops;
    cc->rate_bytes_per_s = rate_bytes_per_s;
    fixed_of(cc)->rate_wanted = rate_bytes_per_s;
    fixed_window(cc, loss);
}

void hg_cc_fixed_rate_set(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss)
{
    struct fixed *f = fixed_of(cc);
    hg_assert(cc->ops == &fixed_ops);
    if (f->rate_wanted == rate_bytes_per_s) {
        return;
    }
    uint64_t before = f->rate_wanted;
    unsigned __int128 rate = (unsigned __int128)cc->rate_bytes_per_s * rate_bytes_per_s;
    f->rate_wanted = rate_bytes_per_s;
    cc->rate_bytes_per_s = before == 0 || !cc->reduced ? rate_bytes_per_s : (uint64_t)(rate / before);
    cc->reduced = cc->rate_bytes_per_s < rate_bytes_per_s;
    fixed_window(cc, loss);
}
