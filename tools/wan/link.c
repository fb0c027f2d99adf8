/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/link.h"

#define JITTER_KNOT_NS_MIN HG_NS_PER_MS

__extension__ typedef unsigned __int128 hg_u128;

/* SplitMix64: one addition and a mix, any state will do, and the mix alone serves as a hash. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static uint64_t random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*state);
}

/* numerator / denominator of 2^64, at most 2^64 - 1. */
static uint64_t chance(uint64_t numerator, uint64_t denominator)
{
    if (numerator >= denominator)
        return UINT64_MAX;
    return (uint64_t)(((hg_u128)numerator << 64) / denominator);
}

const char *hg_wan_impairment_problem(const struct hg_wan_impairment *impairment)
{
    uint64_t loss = impairment->loss_ppb;
    uint64_t burst = impairment->burst_count;
    if (impairment->delay_ns > HG_WAN_DELAY_NS_MAX)
        return "a delay of at most 60s";
    if (impairment->jitter_ns > impairment->delay_ns)
        return "a jitter no longer than the delay, since it goes both ways";
    if (loss > HG_WAN_LOSS_ALL_PPB)
        return "a loss of at most 100%";
    if (burst > HG_WAN_BURST_FRAMES_MAX)
        return "a burst of at most 100000 frames";
    if (burst > 0 && loss == 0)
        return "a loss together with the burst";
    /* The good state must last a frame: enter = loss / (burst * (1 - loss)) <= 1. */
    if (burst > 1 && loss > burst * (HG_WAN_LOSS_ALL_PPB - loss))
        return "a loss that bursts of this length can make up: at most burst / (burst + 1)";
    if (impairment->rate_bits != 0 &&
        (impairment->rate_bits < HG_WAN_RATE_BITS_MIN || impairment->rate_bits > HG_WAN_RATE_BITS_MAX))
        return "a rate of 1k to 1000g bits per second";
    if (impairment->queue_bytes != 0 && impairment->rate_bits == 0)
        return "a rate together with the queue";
    if (impairment->queue_bytes > HG_WAN_QUEUE_BYTES_MAX)
        return "a queue of at most 1 TiB";
    return NULL;
}

void hg_wan_link_seed(struct hg_wan_link *link, uint64_t seed)
{
    link->loss_random = mix(seed ^ UINT64_C(0x6c6f7373));
    link->wander_seed = mix(seed ^ UINT64_C(0x6a6974746572));
    link->losing = false;
}

void hg_wan_link_set(struct hg_wan_link *link, const struct hg_wan_impairment *impairment)
{
    hg_assert(hg_wan_impairment_problem(impairment) == NULL);
    link->impairment = *impairment;
    if (link->impairment.rate_bits != 0 && link->impairment.queue_bytes == 0)
        link->impairment.queue_bytes = HG_WAN_QUEUE_BYTES_NORMAL;
    uint64_t loss = impairment->loss_ppb;
    uint64_t burst = impairment->burst_count;
    link->losing = false;
    if (burst > 1) {
        link->loss_enter = chance(loss, burst * (HG_WAN_LOSS_ALL_PPB - loss));
        link->loss_leave = chance(1, burst);
    } else {
        link->loss_enter = chance(loss, HG_WAN_LOSS_ALL_PPB);
        link->loss_leave = 0;
    }
    /* Between two knots the delay changes by at most 2 * jitter in 4 * jitter of time: frames come closer
     * together or drift apart by half, and never change places. */
    link->wander_knot_ns = hg_max_u64(4 * impairment->jitter_ns, JITTER_KNOT_NS_MIN);
    link->busy_fraction = 0;
    if (impairment->rate_bits == 0)
        link->busy_until_ns = 0;
}

void hg_wan_link_init(struct hg_wan_link *link, uint64_t seed)
{
    struct hg_wan_impairment none = {0};
    memset(link, 0, sizeof(*link));
    hg_wan_link_seed(link, seed);
    hg_wan_link_set(link, &none);
}

/* One draw a frame, whatever else happens to it. */
static bool loss_draw(struct hg_wan_link *link)
{
    const struct hg_wan_impairment *impairment = &link->impairment;
    uint64_t random = random_next(&link->loss_random);
    if (impairment->loss_ppb == 0)
        return false;
    if (impairment->burst_count <= 1)
        return impairment->loss_ppb == HG_WAN_LOSS_ALL_PPB || random < link->loss_enter;
    if (link->losing)
        link->losing = random >= link->loss_leave;
    else
        link->losing = random < link->loss_enter;
    return link->losing;
}

/* The delay at a knot: delay - jitter to delay + jitter, evenly. */
static uint64_t delay_at_knot_ns(const struct hg_wan_link *link, uint64_t knot)
{
    uint64_t span_ns = 2 * link->impairment.jitter_ns + 1;
    uint64_t offset_ns = (uint64_t)(((hg_u128)mix(link->wander_seed + mix(knot)) * span_ns) >> 64);
    return link->impairment.delay_ns - link->impairment.jitter_ns + offset_ns;
}

static uint64_t delay_ns(const struct hg_wan_link *link, uint64_t at_ns)
{
    if (link->impairment.jitter_ns == 0)
        return link->impairment.delay_ns;
    uint64_t knot = at_ns / link->wander_knot_ns;
    uint64_t into_ns = at_ns % link->wander_knot_ns;
    uint64_t left = delay_at_knot_ns(link, knot);
    uint64_t right = delay_at_knot_ns(link, knot + 1);
    hg_u128 sum = (hg_u128)left * (link->wander_knot_ns - into_ns) + (hg_u128)right * into_ns;
    return (uint64_t)(sum / link->wander_knot_ns);
}

/* Puts the frame behind what the transmitter still has to send; false when the queue has no room for it. An
 * idle transmitter takes any frame. */
static bool transmitter_take(struct hg_wan_link *link, uint64_t now_ns, uint32_t bytes)
{
    uint64_t rate = link->impairment.rate_bits;
    if (link->busy_until_ns > now_ns) {
        hg_u128 waiting_bytes = (hg_u128)(link->busy_until_ns - now_ns) * rate / (8 * HG_NS_PER_S);
        if (waiting_bytes + bytes > link->impairment.queue_bytes)
            return false;
    } else {
        link->busy_until_ns = now_ns;
        link->busy_fraction = 0;
    }
    uint64_t work = (uint64_t)bytes * 8 * HG_NS_PER_S + link->busy_fraction;
    link->busy_until_ns += work / rate;
    link->busy_fraction = work % rate;
    return true;
}

enum hg_wan_fate hg_wan_link_offer(struct hg_wan_link *link, uint64_t now_ns, uint32_t bytes,
                                   uint64_t *due_ns)
{
    bool lost = loss_draw(link);
    uint64_t sent_ns = now_ns;
    if (link->cut)
        return HG_WAN_FATE_CUT;
    if (link->impairment.rate_bits != 0) {
        if (!transmitter_take(link, now_ns, bytes))
            return HG_WAN_FATE_QUEUE_FULL;
        sent_ns = link->busy_until_ns;
    }
    if (lost)
        return HG_WAN_FATE_LOST;
    /* A delay made shorter while frames are under way must not let new ones overtake them. */
    link->due_last_ns = hg_max_u64(link->due_last_ns, sent_ns + delay_ns(link, sent_ns));
    *due_ns = link->due_last_ns;
    return HG_WAN_FATE_ARRIVES;
}
