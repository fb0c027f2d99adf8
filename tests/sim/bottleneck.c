/* SPDX-License-Identifier: Apache-2.0
 *
 * The scenario `bottleneck`: one or two origins send all they can to one receiver, through one link with a
 * rate and a queue. What they make of it is measured over the last part of the safety phase, seconds after
 * anything changed, and judged when that phase ends.
 */
#include "tests/sim/bottleneck.h"

#define PER_MILLE         1000u
#define PPM               1000000u
#define SAFETY_NS         (21 * HG_NS_PER_S)
#define CHANGE_NS         (3 * HG_NS_PER_S)
#define MEASURE_NS        (9 * HG_NS_PER_S)
#define RATE_LEAST        UINT64_C(400000)
#define RATE_MOST         UINT64_C(1200000)
#define RTT_LEAST_NS      (20 * HG_NS_PER_MS)
#define QUEUE_PACKETS_MIN UINT64_C(8)
#define RTT_MOST_NS       (100 * HG_NS_PER_MS)
/* A log holds all that two origins write, else a full one holds back who has no part in the link. */
#define SEGMENTS 36u

/* What is promised: a share of the rate that the link has in the end, a mean queue in round trips, and each
 * origin's share where there are two; over twelve seconds, which are some cycles of bbr's even behind a queue
 * of eight round trips: over four, one pair of 40 is still giving up the rate of before. */
#define USED_LEAST_BBR    850u
#define USED_LEAST_CUBIC  800u
#define QUEUE_MOST_BBR    2500u
#define QUEUE_MOST_NS     (10 * HG_NS_PER_MS)
#define QUEUE_PACKETS     9u /* of each, on slow links: bbr's least window of 3 x 2, 2 to probe, parity */
#define SHARE_LEAST       150u
#define SHARE_LEAST_SHORT 30u  /* with queues of less than SHARE_QUEUE: they drop before they tell */
#define SHARE_QUEUE       500u /* of a round trip */

static uint64_t between_log(struct hg_random *random, uint64_t low, uint64_t high)
{
    uint64_t octave = low << hg_random_below(random, 64 - (uint32_t)__builtin_clzll(high / low));
    return hg_min_u64(hg_random_between(random, octave, octave * 2 - 1), high);
}

static void plan_node(struct sim_plan *plan, struct sim_node_plan *node, uint32_t congestion)
{
    node->write_ns_min = node->read_ns_min = 20 * HG_NS_PER_US;
    node->write_ns_max = node->read_ns_max = 100 * HG_NS_PER_US;
    node->flush_ns_min = 100 * HG_NS_PER_US;
    node->flush_ns_max = HG_NS_PER_MS;
    node->segment_count = SEGMENTS;
    node->segment_bytes = plan->segment_bytes;
    node->rate_bytes_per_s = 0;
    node->congestion = congestion;
    node->receive_bytes = 16u << 20;
    node->packets_in_flight = 1u << 13;
}

static void plan_changes(struct sim_plan *plan, struct hg_random *random, uint64_t rtt_ns)
{
    struct sim_bottleneck_plan *b = &plan->bottleneck;
    bool drops = hg_random_chance(random, 1, 2), lengthens = hg_random_chance(random, 1, 4);
    for (uint32_t from = 0; from < plan->origins; from++) {
        if (drops) {
            struct sim_fault *fault = &plan->faults[plan->fault_count++];
            *fault = (struct sim_fault){.time_ns = CHANGE_NS,
                                        .kind = SIM_FAULT_RATE,
                                        .node = from,
                                        .other = b->to,
                                        .a = b->rate_bytes_per_s / 2};
        }
        if (lengthens) {
            struct sim_fault *fault = &plan->faults[plan->fault_count++];
            *fault = (struct sim_fault){
                .time_ns = CHANGE_NS, .kind = SIM_FAULT_PATH, .node = from, .other = b->to, .a = rtt_ns / 2};
        }
    }
    b->rtt_ns = lengthens ? rtt_ns + rtt_ns / 2 : rtt_ns;
    b->rate_bytes_per_s = drops ? b->rate_bytes_per_s / 2 : b->rate_bytes_per_s;
}

void hg_sim_plan_bottleneck(struct sim_plan *plan, struct hg_random *random)
{
    struct sim_bottleneck_plan *b = &plan->bottleneck;
    plan->mtu_bytes = 1500;
    uint64_t rate = between_log(random, RATE_LEAST, RATE_MOST);
    uint64_t rtt_ns = between_log(random, RTT_LEAST_NS, RTT_MOST_NS);
    bool cubic = hg_random_chance(random, 1, 4);
    uint32_t loss_ppm = (uint32_t)between_log(random, 100, PPM / 100);
    bool loses = hg_random_chance(random, 1, 2) && !cubic, bursts = hg_random_chance(random, 1, 2);
    *b = (struct sim_bottleneck_plan){.used = true, .to = plan->origins, .rate_bytes_per_s = rate};
    b->is_bbr = !cubic;
    b->queue_ns = hg_max_u64(between_log(random, rtt_ns / 10, rtt_ns * 8),
                             QUEUE_PACKETS_MIN * plan->mtu_bytes * HG_NS_PER_S / rate);
    plan->safety_ns = SAFETY_NS;
    plan->segment_bytes = UINT64_C(32) * (plan->write_payload_bytes + HG_LOG_BLOCK_BYTES);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan_node(plan, &plan->nodes[i], cubic ? HG_CONFIG_CONGESTION_CUBIC : HG_CONFIG_CONGESTION_BBR);
        for (uint32_t j = 0; j < plan->node_count; j++) {
            struct sim_link_plan *link = &plan->links[i][j];
            bool is_it = j == b->to && i != j;
            *link = (struct sim_link_plan){.path_count = 1, .delay_ns = rtt_ns / 2};
            link->rate_bytes_per_s = is_it ? rate : 0;
            link->queue_ns = b->queue_ns;
            link->loss_ppm = is_it && loses && !bursts ? loss_ppm : 0;
            link->burst_ppm = is_it && loses && bursts ? loss_ppm / 4 : 0;
            link->burst_packets = 7;
        }
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = i;
        flow->compresses = flow->consumer = false;
        flow->frame_bytes_max = (plan->write_payload_bytes - 1024) / 2;
        flow->burst_frames_max = 64;
        flow->interval_ns = HG_NS_PER_MS;
        flow->bytes = rate * (SAFETY_NS / HG_NS_PER_S) * 5 / 4;
    }
    plan_changes(plan, random, rtt_ns);
}

void hg_sim_bottleneck_carries(struct sim_world *world, uint32_t from, uint32_t to, uint32_t bytes,
                               uint64_t queued_ns)
{
    const struct sim_bottleneck_plan *plan = &world->plan->bottleneck;
    if (!plan->used || to != plan->to || world->now_ns < MEASURE_NS)
        return;
    world->bottleneck.carried_bytes[from] += bytes;
    world->bottleneck.queued_ns += queued_ns;
    world->bottleneck.packets++;
}

void hg_sim_bottleneck_check(struct sim_world *world)
{
    const struct sim_bottleneck_plan *plan = &world->plan->bottleneck;
    if (!plan->used)
        return;
    uint64_t all = 0, least = UINT64_MAX;
    for (uint32_t i = 0; i < world->plan->origins; i++) {
        all += world->bottleneck.carried_bytes[i];
        least = hg_min_u64(least, world->bottleneck.carried_bytes[i]);
    }
    uint64_t most = plan->rate_bytes_per_s * ((SAFETY_NS - MEASURE_NS) / HG_NS_PER_S);
    uint64_t used = all * PER_MILLE / most;
    uint64_t queue_ns = world->bottleneck.queued_ns / hg_max_u64(world->bottleneck.packets, 1);
    uint64_t share = least * PER_MILLE / hg_max_u64(all, 1);
    hg_sim_trace(world,
                 "bottleneck: used %llu per mille, queue %llu of %llu us, round trip %llu us, share %llu",
                 (unsigned long long)used, (unsigned long long)queue_ns / 1000,
                 (unsigned long long)plan->queue_ns / 1000, (unsigned long long)plan->rtt_ns / 1000,
                 (unsigned long long)share);
    if (used < (plan->is_bbr ? USED_LEAST_BBR : USED_LEAST_CUBIC))
        hg_sim_violation(world, "goodput", "the link was used to %llu per mille of its rate",
                         (unsigned long long)used);
    uint64_t windows_bytes = (uint64_t)QUEUE_PACKETS * world->plan->origins * world->plan->mtu_bytes;
    uint64_t queue_most_ns = hg_max_u64(plan->rtt_ns * QUEUE_MOST_BBR / PER_MILLE + QUEUE_MOST_NS,
                                        windows_bytes * HG_NS_PER_S / plan->rate_bytes_per_s);
    if (plan->is_bbr && queue_ns > queue_most_ns)
        hg_sim_violation(world, "queue", "packets waited %llu us in the mean, the round trip is %llu us",
                         (unsigned long long)queue_ns / 1000, (unsigned long long)plan->rtt_ns / 1000);
    bool is_short = plan->queue_ns < plan->rtt_ns * SHARE_QUEUE / PER_MILLE;
    if (world->plan->origins > 1 && share < (is_short ? SHARE_LEAST_SHORT : SHARE_LEAST))
        hg_sim_violation(world, "fairness", "one of two origins got %llu per mille of what was carried",
                         (unsigned long long)share);
}
