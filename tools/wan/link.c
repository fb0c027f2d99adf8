/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/link.h"

#define JITTER_KNOT_NS_MIN HG_NS_PER_MS

__extension__ typedef unsigned __int128 hg_u128;

/* SplitMix64's mix: a sequence when its argument goes up by a constant, and a hash. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* Number `offered_count` of a kind's sequence. */
static uint64_t draw(const struct hg_wan_link *link, enum hg_wan_draw kind)
{
    return mix(link->draw_seed[kind] + link->offered_count * UINT64_C(0x9e3779b97f4a7c15));
}

/* Evenly one of 0 ... count - 1. */
static uint64_t one_of(uint64_t random, uint64_t count)
{
    return (uint64_t)(((hg_u128)random * count) >> 64);
}

/* numerator / denominator of 2^64, at most 2^64 - 1. */
static uint64_t chance(uint64_t numerator, uint64_t denominator)
{
    if (numerator >= denominator)
        return UINT64_MAX;
    return (uint64_t)(((hg_u128)numerator << 64) / denominator);
}

/* UINT64_MAX is certainty. */
static bool hits(uint64_t random, uint64_t chance_of)
{
    return chance_of == UINT64_MAX || random < chance_of;
}

/* What is wrong with the impairments that come and go together. */
static const char *companion_problem(const struct hg_wan_impairment *impairment)
{
    bool paths = impairment->path_count > 1;
    if (impairment->reorder_ppb != 0 && impairment->late_ns == 0)
        return "a 'late' time together with the reorder";
    if (impairment->late_ns != 0 && impairment->reorder_ppb == 0)
        return "a reorder together with the 'late' time";
    if (impairment->path_count > HG_WAN_PATHS_MAX)
        return "at most 8 paths";
    if (paths && impairment->skew_ns == 0)
        return "a skew together with the paths";
    if (!paths && impairment->skew_ns != 0)
        return "2 paths or more together with the skew";
    if (!paths && impairment->path_by_flow)
        return "2 paths or more together with the spread";
    if (impairment->late_ns > HG_WAN_DELAY_NS_MAX)
        return "a 'late' time of at most 60s";
    if (paths && impairment->skew_ns > HG_WAN_DELAY_NS_MAX / (impairment->path_count - 1))
        return "paths of at most 60s more";
    return NULL;
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
    if (impairment->rate_bits == 0 && (impairment->ecn_bytes != 0 || impairment->ecn_ns != 0))
        return "a rate together with the ecn";
    if (impairment->ecn_bytes > HG_WAN_QUEUE_BYTES_MAX || impairment->ecn_ns > HG_WAN_DELAY_NS_MAX)
        return "an ecn of at most 1 TiB or 60s";
    if (impairment->reorder_ppb > HG_WAN_LOSS_ALL_PPB || impairment->duplicate_ppb > HG_WAN_LOSS_ALL_PPB ||
        impairment->corrupt_ppb > HG_WAN_LOSS_ALL_PPB)
        return "a share of at most 100%";
    if (impairment->mtu_bytes != 0 &&
        (impairment->mtu_bytes < HG_WAN_MTU_BYTES_MIN || impairment->mtu_bytes > HG_WAN_MTU_BYTES_MAX))
        return "an mtu of 68 to 9198 bytes";
    return companion_problem(impairment);
}

void hg_wan_link_seed(struct hg_wan_link *link, uint64_t seed)
{
    link->draw_seed[HG_WAN_DRAW_LOSS] = mix(seed ^ UINT64_C(0x6c6f7373));
    for (uint64_t kind = HG_WAN_DRAW_LOSS + 1; kind < HG_WAN_DRAWS; kind++)
        link->draw_seed[kind] = mix(mix(seed + kind) ^ UINT64_C(0x64726177));
    link->offered_count = 0;
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
    link->reorder_chance = chance(impairment->reorder_ppb, HG_WAN_LOSS_ALL_PPB);
    link->duplicate_chance = chance(impairment->duplicate_ppb, HG_WAN_LOSS_ALL_PPB);
    link->corrupt_chance = chance(impairment->corrupt_ppb, HG_WAN_LOSS_ALL_PPB);
    link->plain = link->reorder_chance == 0 && link->duplicate_chance == 0 && link->corrupt_chance == 0 &&
                  impairment->path_count <= 1;
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

static bool loss_draw(struct hg_wan_link *link)
{
    const struct hg_wan_impairment *impairment = &link->impairment;
    if (impairment->loss_ppb == 0)
        return false;
    uint64_t random = draw(link, HG_WAN_DRAW_LOSS);
    if (impairment->burst_count <= 1)
        return hits(random, link->loss_enter);
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
    uint64_t offset_ns = one_of(mix(link->wander_seed + mix(knot)), span_ns);
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

static bool queue_above(const struct hg_wan_impairment *impairment, uint64_t waiting_ns,
                        hg_u128 waiting_bytes)
{
    return (impairment->ecn_bytes != 0 && waiting_bytes > impairment->ecn_bytes) ||
           (impairment->ecn_ns != 0 && waiting_ns > impairment->ecn_ns);
}

/* Puts the frame behind what the transmitter still has to send; false when the queue has no room for it. An
 * idle transmitter takes any frame. */
static bool transmitter_take(struct hg_wan_link *link, uint64_t now_ns, uint32_t bytes, bool *mark)
{
    uint64_t rate = link->impairment.rate_bits;
    *mark = false;
    if (link->busy_until_ns > now_ns) {
        hg_u128 waiting_bytes = (hg_u128)(link->busy_until_ns - now_ns) * rate / (8 * HG_NS_PER_S);
        if (waiting_bytes + bytes > link->impairment.queue_bytes)
            return false;
        *mark = queue_above(&link->impairment, link->busy_until_ns - now_ns, waiting_bytes);
    } else {
        link->busy_until_ns = now_ns;
        link->busy_fraction = 0;
    }
    uint64_t work = (uint64_t)bytes * 8 * HG_NS_PER_S + link->busy_fraction;
    link->busy_until_ns += work / rate;
    link->busy_fraction = work % rate;
    return true;
}

/* Draws what happens to a frame on the line; returns the time it takes longer than the delay. */
static uint64_t adventures(struct hg_wan_link *link, const struct hg_wan_offer *frame,
                           struct hg_wan_arrival *arrival)
{
    const struct hg_wan_impairment *impairment = &link->impairment;
    uint64_t path = 0;
    if (impairment->path_count > 1) {
        uint64_t random = impairment->path_by_flow ? mix(link->draw_seed[HG_WAN_DRAW_PATH] + frame->flow)
                                                   : draw(link, HG_WAN_DRAW_PATH);
        path = one_of(random, impairment->path_count);
    }
    arrival->detour = path != 0;
    arrival->late = hits(draw(link, HG_WAN_DRAW_REORDER), link->reorder_chance);
    arrival->duplicate = hits(draw(link, HG_WAN_DRAW_DUPLICATE), link->duplicate_chance);
    arrival->corrupt = hits(draw(link, HG_WAN_DRAW_CORRUPT), link->corrupt_chance);
    if (arrival->corrupt)
        arrival->corrupt_random = draw(link, HG_WAN_DRAW_CORRUPT_BITS);
    arrival->track = (uint32_t)(2 * path + arrival->late);
    return path * impairment->skew_ns + (arrival->late ? impairment->late_ns : 0);
}

enum hg_wan_fate hg_wan_link_offer(struct hg_wan_link *link, uint64_t now_ns,
                                   const struct hg_wan_offer *frame, struct hg_wan_arrival *arrival)
{
    uint64_t sent_ns = now_ns;
    bool mark = false;
    link->offered_count++;
    bool lost =
        loss_draw(link); /* before all else: a run of losses counts frames, whatever happens to them */
    if (link->cut)
        return HG_WAN_FATE_CUT;
    if (link->impairment.mtu_bytes != 0 && frame->payload_bytes > link->impairment.mtu_bytes)
        return HG_WAN_FATE_OVER_MTU;
    if (link->impairment.rate_bits != 0) {
        if (!transmitter_take(link, now_ns, frame->bytes, &mark))
            return HG_WAN_FATE_QUEUE_FULL;
        sent_ns = link->busy_until_ns;
    }
    if (lost)
        return HG_WAN_FATE_LOST;
    memset(arrival, 0, sizeof(*arrival));
    arrival->mark = mark;
    uint64_t due_ns = sent_ns + delay_ns(link, sent_ns);
    if (!link->plain)
        due_ns += adventures(link, frame, arrival);
    /* A delay made shorter while frames are under way must not let new ones overtake them. */
    uint64_t *last_ns = &link->due_last_ns[arrival->track];
    *last_ns = hg_max_u64(*last_ns, due_ns);
    arrival->due_ns = *last_ns;
    return HG_WAN_FATE_ARRIVES;
}
