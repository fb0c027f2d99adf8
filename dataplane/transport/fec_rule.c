/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/fec_rule.h"

#define PPB       UINT64_C(1000000000)
#define ONE       (UINT64_C(1) << 28) /* probabilities are parts of it: what is multiplied fits 64 bits */
#define LOOK_NS   (100 * HG_NS_PER_MS)
#define BURST_MAX 64u

const char *hg_fec_reason_text(enum hg_fec_reason reason)
{
    static const char *const texts[] = {[HG_FEC_ON] = "on",
                                        [HG_FEC_OFF_MODE] = "off",
                                        [HG_FEC_OFF_RTT] = "off: near",
                                        [HG_FEC_OFF_CLEAN] = "off: clean",
                                        [HG_FEC_OFF_QUEUE] = "off: queue",
                                        [HG_FEC_OFF_BACKLOG] = "off: backlog"};
    static_assert(HG_COUNT(texts) == HG_FEC_REASON_COUNT, "a word for each");
    hg_assert(reason < HG_FEC_REASON_COUNT);
    return texts[reason];
}

void hg_fec_rule_init(struct hg_fec_rule *rule, uint8_t mode, uint64_t now_ns)
{
    hg_assert(mode <= HG_WIRE_FEC_PARITY_MAX || mode == HG_FEC_AUTO);
    memset(rule, 0, sizeof(*rule));
    rule->mode = mode;
    rule->window_ns = now_ns;
    rule->depth_dense = 1;
    rule->burst_packets = 1;
    rule->tail_ppb = PPB;
}

void hg_fec_rule_arrived(struct hg_fec_rule *rule, uint64_t packets)
{
    rule->now.packets += packets;
    rule->memory.packets += packets;
}

void hg_fec_rule_lost(struct hg_fec_rule *rule, uint32_t ordinal, bool queued)
{
    bool begins = ordinal != rule->lost_ordinal + 1 || rule->memory.lost == 0;
    struct hg_fec_window *windows[] = {&rule->now, &rule->memory};
    for (uint32_t i = 0; i < HG_COUNT(windows); i++) {
        windows[i]->packets++;
        windows[i]->lost++;
        windows[i]->bursts += begins || windows[i]->bursts == 0;
        windows[i]->queued += queued;
    }
    rule->lost_ordinal = ordinal;
}

void hg_fec_rule_spurious(struct hg_fec_rule *rule)
{
    rule->now.lost -= rule->now.lost > 0;
    rule->memory.lost -= rule->memory.lost > 0;
}

/* More than `allowed` of n independent events of probability q_ppb each, in parts of ONE. */
static uint64_t tail_of(uint32_t n, uint64_t q_ppb, uint32_t allowed)
{
    if (q_ppb >= PPB) {
        return allowed < n ? ONE : 0;
    }
    uint64_t term = ONE; /* none of them */
    for (uint32_t i = 0; i < n; i++) {
        term = term * (PPB - q_ppb) / PPB;
    }
    uint64_t below = 0;
    for (uint32_t i = 0; i <= allowed && i <= n; i++) {
        below += term;
        term = term * (n - i) * q_ppb / ((i + 1) * (PPB - q_ppb));
    }
    return below >= ONE ? 0 : ONE - below;
}

uint64_t hg_fec_residual_ppm(uint32_t k, uint32_t m, uint64_t loss_ppb, uint32_t burst, uint32_t depth)
{
    hg_assert(k >= 1 && k + m <= HG_WIRE_FEC_SOURCES_MAX + HG_WIRE_FEC_PARITY_MAX && burst >= 1 &&
              depth >= 1);
    /* A burst begins at a packet with loss / burst; min(burst, depth) of the groups get a share of it. */
    uint64_t hit_ppb = loss_ppb / burst * hg_min_u64(burst, depth);
    uint32_t cost = (burst + depth - 1) / depth;
    uint64_t failing = tail_of(k + m, hg_min_u64(hit_ppb, PPB), m / cost);
    return failing * 1000000 / ONE;
}

static uint32_t least_parities(uint32_t k, uint64_t loss_ppb, uint32_t burst, uint32_t depth, uint32_t max)
{
    uint32_t m = 0;
    while (m < max && hg_fec_residual_ppm(k, m, loss_ppb, burst, depth) >= HG_FEC_RESIDUAL_PPM) {
        m++;
    }
    return m;
}

static uint64_t share_ppb(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : hg_min_u64(part, whole) * PPB / whole;
}

/* The window moves on, the estimates are made anew, and what follows from them. */
static void rule_look(struct hg_fec_rule *rule, uint64_t now_ns)
{
    rule->looked_ns = now_ns;
    if (rule->memory.packets >= HG_FEC_MEMORY_PACKETS) {
        rule->memory.packets /= 2;
        rule->memory.lost /= 2;
        rule->memory.bursts /= 2;
        rule->memory.queued /= 2;
    }
    struct hg_fec_window both = {.packets = rule->now.packets + rule->before.packets,
                                 .lost = rule->now.lost + rule->before.lost,
                                 .bursts = rule->now.bursts + rule->before.bursts};
    /* One loss more than were seen: what was never seen isn't impossible. */
    uint64_t memory_ppb = share_ppb(rule->memory.lost + 1, rule->memory.packets + 1);
    bool recent = both.packets >= HG_FEC_WINDOW_PACKETS_MIN;
    const struct hg_fec_window *seen = recent ? &both : &rule->memory;
    rule->loss_ppb = recent ? share_ppb(both.lost, both.packets) : memory_ppb;
    rule->tail_ppb = hg_max_u64(rule->loss_ppb, memory_ppb);
    /* Bursts are about as often longer as shorter than the mean: twice it, where there are any. */
    uint64_t mean_x2 = seen->bursts == 0 ? 2 : (2 * seen->lost + seen->bursts / 2) / seen->bursts;
    rule->burst_packets = (uint32_t)hg_min_u64(mean_x2 <= 2 ? 1 : mean_x2 - 1, BURST_MAX);
    rule->depth_dense = (uint32_t)hg_min_u64(rule->burst_packets, HG_WIRE_FEC_DEPTH_MAX);
    rule->parities_full = least_parities(HG_WIRE_FEC_SOURCES_MAX, rule->loss_ppb, rule->burst_packets,
                                         rule->depth_dense, HG_WIRE_FEC_SOURCES_MAX / HG_FEC_SHARE_MAX);
    if (now_ns - rule->window_ns >= HG_FEC_WINDOW_NS) {
        rule->window_ns = now_ns;
        rule->before = rule->now;
        memset(&rule->now, 0, sizeof(rule->now));
    }
}

static enum hg_fec_reason rule_reason(const struct hg_fec_rule *rule, uint64_t rtt_ns, bool backlog)
{
    const struct hg_fec_window *now = &rule->now, *before = &rule->before;
    if (rtt_ns < HG_FEC_RTT_NS_MIN) {
        return HG_FEC_OFF_RTT;
    }
    if (rule->tail_ppb < HG_FEC_LOSS_PPB_MIN) {
        return HG_FEC_OFF_CLEAN;
    }
    if (2 * (now->queued + before->queued) > now->lost + before->lost) {
        return HG_FEC_OFF_QUEUE;
    }
    return backlog ? HG_FEC_OFF_BACKLOG : HG_FEC_ON;
}

struct hg_fec_plan hg_fec_rule_plan(struct hg_fec_rule *rule, uint64_t rtt_ns, bool backlog, bool dense,
                                    uint64_t now_ns)
{
    struct hg_fec_plan plan = {.reason = HG_FEC_OFF_MODE, .depth = 1};
    if (rule->mode == HG_FEC_OFF) {
        return plan;
    }
    if (rule->looked_ns == 0 || now_ns - rule->looked_ns >= LOOK_NS) {
        rule_look(rule, now_ns);
    }
    if (rule->mode == HG_FEC_AUTO) {
        plan.reason = rule_reason(rule, rtt_ns, backlog);
        if (plan.reason != HG_FEC_ON) {
            return plan;
        }
        plan.parities_full = rule->parities_full;
        plan.rows = (uint32_t)hg_max_u64(rule->parities_full, HG_FEC_TAIL_MAX);
    } else {
        uint32_t share = HG_WIRE_FEC_SOURCES_MAX / HG_FEC_SHARE_MAX;
        plan.reason = HG_FEC_ON;
        plan.parities_full = backlog ? (uint32_t)hg_min_u64(rule->mode, share) : rule->mode;
        plan.rows = plan.parities_full;
    }
    plan.depth = dense ? rule->depth_dense : 1;
    return plan;
}

uint32_t hg_fec_rule_tail(const struct hg_fec_rule *rule, uint32_t sources)
{
    if (rule->mode != HG_FEC_AUTO) {
        return rule->mode;
    }
    uint32_t least = least_parities(sources, rule->tail_ppb, rule->burst_packets, 1, HG_FEC_TAIL_MAX);
    return (uint32_t)hg_max_u64(least, 1);
}
