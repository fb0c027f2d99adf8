/* SPDX-License-Identifier: Apache-2.0
 *
 * From (scenario, seed) to a plan. Every purpose draws from a generator of its own, so that a change to one
 * does not reshuffle the others.
 */
#include "dataplane/transport/pmtu.h"
#include "tests/sim/atlas.h"
#include "tests/sim/bottleneck.h"
#include "tests/sim/cluster.h"
#include "tests/sim/core.h"
#include "tests/sim/failover.h"
#include "tests/sim/gray.h"
#include "tests/sim/horizon.h"
#include "tests/sim/members.h"

#define PPM                1000000u
#define MOVES_MAX          12u
#define MOVE_STEPS_MAX     40u
#define MOVE_DEAF_NS       (100 * HG_NS_PER_MS)
#define SEGMENT_BYTES_RING (5u << 20) /* three origins do not fill such logs */
#define SEGMENTS_HOSTILE   32u        /* what a liar never confirms does not fill these */
#define SEGMENTS_QUORUM    48u
#define BESIDES_SALT       UINT64_C(0x70605)
#define SIM_FOREVER_NS     (HG_TIME_NEVER / 2)

static bool is_flagged(const struct sim_plan *plan, enum sim_scenario_flag flag)
{
    return (hg_sim_scenario_at(plan->scenario)->flags & flag) != 0;
}

/* ---- drawing ---- */

static uint64_t log_uniform(struct hg_random *random, uint64_t low, uint64_t high)
{
    hg_assert(low > 0 && low <= high);
    uint32_t octaves = 0;
    while (octaves < 63 && low << (octaves + 1) <= high && low << (octaves + 1) > low << octaves)
        octaves++;
    uint64_t base = low << hg_random_below(random, octaves + 1);
    uint64_t value = hg_random_between(random, base, base * 2 - 1);
    return hg_min_u64(value, high);
}

static bool on(const struct sim_plan *plan, enum sim_class class)
{
    return (plan->classes & (1u << class)) != 0;
}

static uint32_t ppm_if(const struct sim_plan *plan, struct hg_random *random, enum sim_class class,
                       uint32_t low, uint32_t high)
{
    uint32_t value = (uint32_t)log_uniform(random, low, high);
    return on(plan, class) ? value : 0;
}

static void plan_classes(struct sim_plan *plan, struct hg_random *random)
{
    const struct sim_scenario *scenario = hg_sim_scenario_at(plan->scenario);
    uint64_t mode = hg_random_below(random, 10);
    uint32_t single = (uint32_t)hg_random_below(random, SIM_CLASS_COUNT);
    for (uint32_t i = 0; i < SIM_CLASS_COUNT; i++) {
        bool chosen = hg_random_chance(random, 1, 2);
        if (mode == 0)
            chosen = false;
        else if (mode == 1)
            chosen = i == single;
        if (chosen)
            plan->classes |= 1u << i;
    }
    plan->classes &= scenario->classes;
    if (mode != 0)
        plan->classes |= scenario->always;
}

static void plan_link_harm(struct sim_plan *plan, struct sim_link_plan *link, struct hg_random *random)
{
    link->replay_ppm = ppm_if(plan, random, SIM_CLASS_REPLAY, PPM / 10000, PPM / 100);
    link->corrupt_ppm = ppm_if(plan, random, SIM_CLASS_CORRUPT, PPM / 10000, PPM / 10);
    link->truncate_ppm = ppm_if(plan, random, SIM_CLASS_TRUNCATE, PPM / 10000, PPM / 20);
    uint64_t rate = log_uniform(random, 500000, 200000000);
    link->queue_ns = log_uniform(random, HG_NS_PER_MS, 200 * HG_NS_PER_MS);
    link->rate_bytes_per_s = on(plan, SIM_CLASS_QUEUE) ? rate : 0;
}

static void plan_link(struct sim_plan *plan, struct sim_link_plan *link, struct hg_random *random)
{
    link->path_count = 1;
    link->delay_ns = log_uniform(random, 10 * HG_NS_PER_US, 150 * HG_NS_PER_MS);
    uint64_t jitter = log_uniform(random, HG_NS_PER_US, 50 * HG_NS_PER_MS);
    link->jitter_ns = on(plan, SIM_CLASS_JITTER) ? jitter : 0;
    link->loss_ppm = ppm_if(plan, random, SIM_CLASS_LOSS, PPM / 10000, PPM / 5);
    link->burst_ppm = ppm_if(plan, random, SIM_CLASS_BURST, PPM / 100000, PPM / 200);
    link->burst_packets = (uint32_t)log_uniform(random, 2, 200);
    link->duplicate_ppm = ppm_if(plan, random, SIM_CLASS_DUPLICATE, PPM / 10000, PPM / 5);
    plan_link_harm(plan, link, random);
}

static void plan_clock(const struct sim_plan *plan, struct sim_node_plan *node, struct hg_random *random)
{
    int32_t drift = (int32_t)hg_random_below(random, 1001) - 500;
    int64_t offset = (int64_t)hg_random_below(random, 20 * HG_NS_PER_S) - (int64_t)(10 * HG_NS_PER_S);
    node->drift_ppm = on(plan, SIM_CLASS_CLOCK) ? drift : 0;
    node->realtime_offset_ns = on(plan, SIM_CLASS_CLOCK) ? offset : 0;
}

static void plan_node(struct sim_plan *plan, struct sim_node_plan *node, struct hg_random *random)
{
    uint64_t write_bytes = plan->write_payload_bytes + HG_LOG_BLOCK_BYTES;
    node->write_ns_min = log_uniform(random, 5 * HG_NS_PER_US, 200 * HG_NS_PER_US);
    node->write_ns_max = node->write_ns_min * log_uniform(random, 1, 32);
    node->read_ns_min = log_uniform(random, 5 * HG_NS_PER_US, 200 * HG_NS_PER_US);
    node->read_ns_max = node->read_ns_min * log_uniform(random, 1, 32);
    node->flush_ns_min = log_uniform(random, 5 * HG_NS_PER_US, 1000 * HG_NS_PER_US);
    node->flush_ns_max = node->flush_ns_min * log_uniform(random, 1, 32);
    node->disk_depth = (uint32_t)log_uniform(random, 32, 256);
    node->segment_count = (uint32_t)hg_random_between(random, HG_LOG_SEGMENTS_MIN, 16);
    node->segment_bytes = plan->segment_bytes;
    node->arena_bytes = hg_align_up(hg_log_arena_bytes_min(plan->write_payload_bytes) +
                                        write_bytes * hg_random_below(random, 12),
                                    HG_LOG_BLOCK_BYTES);
    node->rate_bytes_per_s = log_uniform(random, 1000000, 500000000);
    node->receive_bytes = log_uniform(random, 1u << 20, 3u << 20);
    node->packets_in_flight = 1u << hg_random_between(random, 6, 11);
    plan_clock(plan, node, random);
    node->clock_offset_ns = log_uniform(random, HG_NS_PER_S, UINT64_C(1) << 50);
    node->port_refuse_ppm = ppm_if(plan, random, SIM_CLASS_PORT, PPM / 1000, PPM / 4);
    uint32_t queue = (uint32_t)log_uniform(random, 16, 1000);
    node->port_receive_max = on(plan, SIM_CLASS_PORT) ? queue : 1000;
}

/* Half of the nodes find their rate with bbr. Half of those that find it have a limit besides. */
static void plan_congestion(struct sim_node_plan *node, struct hg_random *random)
{
    static const uint32_t kinds[] = {HG_CONFIG_CONGESTION_BBR, HG_CONFIG_CONGESTION_BBR,
                                     HG_CONFIG_CONGESTION_CUBIC, HG_CONFIG_CONGESTION_FIXED};
    node->congestion = kinds[hg_random_below(random, HG_COUNT(kinds))];
    bool limited = hg_random_chance(random, 1, 2);
    if (node->congestion != HG_CONFIG_CONGESTION_FIXED && !limited)
        node->rate_bytes_per_s = 0;
}

/* Half of the nodes decide by themselves, a quarter sends no parity. */
static void plan_fec(struct sim_node_plan *node, struct hg_random *random)
{
    uint64_t draw = hg_random_below(random, 4);
    uint32_t parities = (uint32_t)hg_random_between(random, 1, HG_CONFIG_FEC_PARITIES_MAX);
    node->fec = draw < 2 ? HG_CONFIG_FEC_AUTO : draw == 2 ? HG_CONFIG_FEC_OFF : parities;
}

/* Three nodes of four mark their packets; half of the queues mark before they drop. */
static void plan_ecn(struct sim_plan *plan, struct hg_random *random)
{
    plan->ecn_honest = true;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].ecn = hg_random_chance(random, 3, 4) ? HG_CONFIG_ECN_ON : HG_CONFIG_ECN_OFF;
        for (uint32_t j = 0; j < plan->node_count; j++) {
            struct sim_link_plan *link = &plan->links[i][j];
            uint64_t mark_ns = hg_random_between(random, 1, link->queue_ns);
            link->mark_ns = hg_random_chance(random, 1, 2) ? mark_ns : 0;
        }
    }
}

/* Queues that are full now and then; half of the links do something else to the codepoint, from the start or
 * some time on. */
static void plan_ecn_scenario(struct sim_plan *plan, struct hg_random *random)
{
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].ecn = HG_CONFIG_ECN_ON;
        for (uint32_t j = 0; j < plan->node_count; j++) {
            struct sim_link_plan *link = &plan->links[i][j];
            link->rate_bytes_per_s = hg_min_u64(link->rate_bytes_per_s, 20000000);
            link->mark_ns = hg_random_between(random, 1, link->queue_ns);
            uint64_t path = hg_random_below(random, 2 * (uint64_t)SIM_ECN_PATH_COUNT);
            uint64_t from_ns = hg_random_below(random, plan->safety_ns);
            link->ecn_from_ns = hg_random_chance(random, 1, 2) ? from_ns : 0;
            link->ecn_path =
                plan->classes != 0 && path < SIM_ECN_PATH_COUNT ? (enum sim_ecn_path)path : SIM_ECN_KEPT;
            plan->ecn_honest &= i == j || link->ecn_path <= SIM_ECN_HIDES || link->ecn_path == SIM_ECN_DROPS;
        }
    }
}

/* Paths where a repair takes long, and disks that take no time beside it. Half of the seeds commit one small
 * frame now and then, so that each one's time says what a loss costs. */
static void plan_fec_scenario(struct sim_plan *plan, struct hg_random *random)
{
    plan->node_count = 2;
    plan->origins = 1;
    plan->light = hg_random_chance(random, 1, 2);
    plan->safety_ns = (plan->light ? 10 : 2) * HG_NS_PER_S;
    uint64_t delay_ns = log_uniform(random, 15 * HG_NS_PER_MS, 100 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        struct sim_node_plan *node = &plan->nodes[i];
        struct sim_link_plan *link = &plan->links[i][1 - i];
        node->fec = HG_CONFIG_FEC_AUTO;
        /* On such a path cubic's window is a few packets: commits wait for it, whatever is lost. */
        if (plan->light && node->congestion == HG_CONFIG_CONGESTION_CUBIC)
            node->congestion = HG_CONFIG_CONGESTION_BBR;
        node->write_ns_max = node->write_ns_min;
        node->flush_ns_max = node->flush_ns_min;
        node->packets_in_flight = 1024;
        node->receive_bytes = 3u << 20;
        node->rate_bytes_per_s = hg_max_u64(node->rate_bytes_per_s, 10000000);
        link->delay_ns = delay_ns;
        link->loss_ppm = link->loss_ppm == 0 ? 0 : (uint32_t)log_uniform(random, PPM / 1000, PPM / 30);
        link->burst_ppm = link->burst_ppm == 0 ? 0 : (uint32_t)log_uniform(random, PPM / 1000, PPM / 100);
        link->burst_packets = (uint32_t)hg_random_between(random, 2, 6);
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = 0;
        if (plan->light) {
            flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 4096);
            flow->burst_frames_max = 1;
            flow->interval_ns = log_uniform(random, 10 * HG_NS_PER_MS, 100 * HG_NS_PER_MS);
        }
    }
}

/* Nodes A and B are honest, C lies. Streams that go to it wait in the log for what it may never confirm, as
 * for a peer that is gone: then logs hold all there is. Half of the seeds give it none, and have small logs.
 */
static void plan_hostile(struct sim_plan *plan, struct hg_random *random)
{
    struct sim_node_plan *liar = &plan->nodes[SIM_NODES_FEW - 1];
    uint64_t kinds = hg_random_between(random, 1, 3);
    bool all = hg_random_chance(random, 1, 2);
    for (uint64_t i = 0; i < kinds; i++)
        liar->lies |= 1u << hg_random_below(random, SIM_LIES);
    liar->lies = all ? (1u << SIM_LIES) - 1 : liar->lies;
    liar->lies_burst = (uint32_t)log_uniform(random, 1, 64);
    liar->lie_gap_ns = log_uniform(random, HG_NS_PER_MS, 50 * HG_NS_PER_MS);
    liar->lies_rekey = hg_random_chance(random, 1, 2);
    liar->shunned = hg_random_chance(random, 1, 2);
    plan->safety_ns = log_uniform(random, HG_NS_PER_S / 2, 3 * HG_NS_PER_S);
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = i == 0 ? SIM_NODES_FEW - 1 : liar->shunned ? 0 : (i - 1) % 2;
        flow->bytes = liar->shunned ? flow->bytes : hg_min_u64(flow->bytes, 256u << 10);
    }
    for (uint32_t i = 0; i < plan->node_count; i++) {
        struct sim_node_plan *node = &plan->nodes[i];
        uint32_t workers = (uint32_t)hg_random_between(random, 1, 2);
        node->workers = node->workers_after = liar->shunned ? 1 : workers;
        node->steers = hg_random_chance(random, 1, 2);
        if (liar->shunned)
            continue;
        node->segment_count = SEGMENTS_HOSTILE;
        node->segment_bytes = plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, SEGMENT_BYTES_RING), HG_LOG_BLOCK_BYTES);
    }
}

static void plan_flow(struct sim_plan *plan, struct sim_flow_plan *flow, uint32_t index,
                      struct hg_random *random)
{
    uint32_t room = plan->write_payload_bytes - 1024;
    bool idle = is_flagged(plan, SIM_SCENARIO_IDLE);
    flow->origin = index == 0 ? 0 : (uint32_t)hg_random_below(random, plan->origins);
    flow->physical = hg_random_chance(random, 1, 2);
    flow->compresses = hg_random_chance(random, 1, 2);
    flow->consumer = hg_random_chance(random, 1, 2);
    flow->frame_bytes_max = (uint32_t)hg_min_u64(log_uniform(random, 16, 64u << 10), room / 2);
    flow->burst_frames_max = (uint32_t)log_uniform(random, 1, 200);
    flow->interval_ns = log_uniform(random, 20 * HG_NS_PER_US, 50 * HG_NS_PER_MS);
    flow->bytes = log_uniform(random, 16u << 10, 2u << 20);
    flow->lsn_start = flow->physical ? (UINT64_C(1) + hg_random_below(random, 1u << 20)) << 24 : 1;
    if (idle) {
        flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 512);
        flow->burst_frames_max = 1;
        flow->interval_ns = log_uniform(random, 20 * HG_NS_PER_MS, 500 * HG_NS_PER_MS);
    }
}

/* ---- faults ---- */

struct sim_fault *hg_sim_plan_fault(struct sim_plan *plan, enum sim_fault_kind kind, uint64_t time_ns,
                                    uint32_t node)
{
    static struct sim_fault spare;
    struct sim_fault *fault =
        plan->fault_count < SIM_FAULTS_MAX ? &plan->faults[plan->fault_count++] : &spare;
    memset(fault, 0, sizeof(*fault));
    fault->kind = kind;
    fault->time_ns = time_ns;
    fault->node = node;
    return fault;
}

static struct sim_fault *fault_random(struct sim_plan *plan, enum sim_fault_kind kind,
                                      struct hg_random *random)
{
    return hg_sim_plan_fault(plan, kind, hg_random_below(random, plan->safety_ns),
                             (uint32_t)hg_random_below(random, plan->node_count));
}

static void plan_deaths(struct sim_plan *plan, struct hg_random *random, enum sim_fault_kind kind)
{
    uint64_t count = log_uniform(random, 1, 12);
    for (uint64_t i = 0; i < count; i++) {
        struct sim_fault *fault = fault_random(plan, kind, random);
        fault->a = log_uniform(random, 1, 64);
        if (hg_random_chance(random, 1, 4))
            fault->a |= UINT64_C(1) << 63;
        fault->b = log_uniform(random, HG_NS_PER_US, 2 * HG_NS_PER_S);
        /* Again soon after it is back: recovery itself is hit. */
        uint64_t again = hg_random_chance(random, 1, 3) ? hg_random_between(random, 1, 4) : 0;
        uint64_t time_ns = fault->time_ns, restart_ns = fault->b;
        uint32_t node = fault->node;
        for (uint64_t j = 0; j < again; j++) {
            time_ns += restart_ns + log_uniform(random, HG_NS_PER_US, 5 * HG_NS_PER_MS);
            fault = hg_sim_plan_fault(plan, kind, time_ns, node);
            fault->a = log_uniform(random, 1, 16);
            fault->b = restart_ns = log_uniform(random, HG_NS_PER_US, 100 * HG_NS_PER_MS);
        }
    }
    if (kind == SIM_FAULT_POWER && hg_random_chance(random, 1, 2))
        fault_random(plan, SIM_FAULT_POWER_ALL, random)->b = log_uniform(random, HG_NS_PER_US, HG_NS_PER_S);
}

static void plan_cuts(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t count = log_uniform(random, 1, 6);
    for (uint64_t i = 0; i < count; i++) {
        struct sim_fault *fault = fault_random(plan, SIM_FAULT_CUT, random);
        fault->other =
            (fault->node + 1 + (uint32_t)hg_random_below(random, plan->node_count - 1)) % plan->node_count;
        fault->a = log_uniform(random, HG_NS_PER_MS, 10 * HG_NS_PER_S);
        if (hg_random_chance(random, 1, 2)) { /* both ways */
            struct sim_fault *back = hg_sim_plan_fault(plan, SIM_FAULT_CUT, fault->time_ns, fault->other);
            back->other = fault->node;
            back->a = fault->a;
        }
    }
}

static void plan_disk(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t stalls = log_uniform(random, 1, 4), errors = log_uniform(random, 1, 4),
             shorts = log_uniform(random, 1, 6);
    for (uint64_t i = 0; i < stalls && on(plan, SIM_CLASS_DISK_STALL); i++)
        fault_random(plan, SIM_FAULT_DISK_STALL, random)->a =
            log_uniform(random, HG_NS_PER_MS, 10 * HG_NS_PER_S);
    for (uint64_t i = 0; i < errors && on(plan, SIM_CLASS_DISK_ERROR); i++) {
        enum sim_fault_kind kind =
            hg_random_chance(random, 1, 2) ? SIM_FAULT_DISK_WRITE : SIM_FAULT_DISK_FLUSH;
        fault_random(plan, kind, random)->a = log_uniform(random, 1, 32);
    }
    for (uint64_t i = 0; i < shorts && on(plan, SIM_CLASS_DISK_SHORT); i++) {
        struct sim_fault *fault = fault_random(plan, SIM_FAULT_DISK_SHORT, random);
        fault->a = log_uniform(random, 1, 32);
        fault->b = hg_random_below(random, 4);
    }
}

/* A device that errs once and reads the next time: in recovery, under a peer that catches up, under a reader.
 */
static void plan_reads(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t count = log_uniform(random, 1, 8);
    for (uint64_t i = 0; i < count && on(plan, SIM_CLASS_DISK_ERROR); i++)
        fault_random(plan, SIM_FAULT_DISK_READ, random)->a = log_uniform(random, 1, 64);
}

static void plan_jumps(struct sim_plan *plan, struct hg_random *random, uint64_t jumps)
{
    for (uint64_t i = 0; i < jumps; i++) {
        struct sim_fault *fault = fault_random(plan, SIM_FAULT_CLOCK_JUMP, random);
        uint64_t size = log_uniform(random, HG_NS_PER_US, 100 * HG_NS_PER_S);
        fault->a = hg_random_chance(random, 1, 2) ? size : (uint64_t)(-(int64_t)size);
    }
}

static void plan_small(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t jumps = log_uniform(random, 1, 4), pauses = log_uniform(random, 1, 4);
    plan_jumps(plan, random, on(plan, SIM_CLASS_CLOCK) ? jumps : 0);
    for (uint64_t i = 0; i < pauses && on(plan, SIM_CLASS_PAUSE); i++)
        fault_random(plan, SIM_FAULT_PAUSE, random)->a = log_uniform(random, HG_NS_PER_MS, 8 * HG_NS_PER_S);
}

/* Each direction of each link by itself; some narrow twice, the second time less or more. */
static void plan_narrow(struct sim_plan *plan, struct hg_random *random)
{
    plan->mtu_bytes = hg_random_chance(random, 1, 2) ? 1500 : (uint32_t)hg_random_between(random, 1300, 9000);
    for (uint32_t from = 0; from < plan->node_count; from++)
        for (uint32_t to = 0; to < plan->node_count; to++) {
            uint64_t count = from == to ? 0 : hg_random_below(random, 3);
            uint64_t time_ns = hg_random_chance(random, 1, 2) ? 0 : hg_random_below(random, plan->safety_ns);
            for (uint64_t i = 0; i < count; i++) {
                struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_NARROW, time_ns, from);
                fault->other = to;
                fault->a = hg_random_chance(random, 1, 2)
                               ? log_uniform(random, 100 * HG_NS_PER_MS, plan->safety_ns)
                               : SIM_FOREVER_NS;
                fault->b = hg_random_between(random, HG_PMTU_BASE_BYTES, plan->mtu_bytes);
                time_ns += hg_random_below(random, plan->safety_ns);
            }
        }
}

/* Each direction by itself: how many paths its packets take, which of them change, when it flaps. */
static void plan_paths_of(struct sim_plan *plan, struct hg_random *random, uint32_t from, uint32_t to)
{
    struct sim_link_plan *link = &plan->links[from][to];
    link->path_count = (uint32_t)hg_random_between(random, 1, SIM_PATHS_MAX);
    for (uint32_t path = 1; path < SIM_PATHS_MAX; path++)
        link->path_delay_ns[path] = log_uniform(random, HG_NS_PER_US, 50 * HG_NS_PER_MS);
    for (uint64_t i = hg_random_below(random, 4); i > 0; i--) {
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_PATH, hg_random_below(random, plan->safety_ns), from);
        fault->other = to;
        fault->a = log_uniform(random, HG_NS_PER_US, 200 * HG_NS_PER_MS);
        fault->b = hg_random_below(random, link->path_count);
    }
    for (uint64_t i = hg_random_below(random, 3); i > 0; i--) {
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_FLAP, hg_random_below(random, plan->safety_ns), from);
        fault->other = to;
        fault->a = log_uniform(random, 10 * HG_NS_PER_MS, 10 * HG_NS_PER_S);
        fault->b = log_uniform(random, 100 * HG_NS_PER_US, HG_NS_PER_S);
    }
}

static void plan_paths(struct sim_plan *plan, struct hg_random *random)
{
    for (uint32_t from = 0; from < plan->node_count; from++)
        for (uint32_t to = 0; to < plan->node_count; to++)
            if (from != to)
                plan_paths_of(plan, random, from, to);
}

static void plan_special(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t half = plan->safety_ns / 2;
    if (is_flagged(plan, SIM_SCENARIO_ROLLBACK)) {
        uint32_t node =
            hg_random_chance(random, 3, 4) ? 0 : (uint32_t)hg_random_below(random, plan->node_count);
        hg_sim_plan_fault(plan, SIM_FAULT_SNAPSHOT, hg_random_below(random, half), node)->b = HG_NS_PER_MS;
        hg_sim_plan_fault(plan, SIM_FAULT_ROLLBACK, half + hg_random_below(random, half), node)->b =
            log_uniform(random, HG_NS_PER_MS, HG_NS_PER_S);
    }
    if (is_flagged(plan, SIM_SCENARIO_ROT)) {
        struct sim_fault *fault = fault_random(plan, SIM_FAULT_ROT, random);
        fault->a = hg_random_u64(random);
        fault->b = HG_NS_PER_MS;
    }
    if (is_flagged(plan, SIM_SCENARIO_NARROW))
        plan_narrow(plan, random);
    if (is_flagged(plan, SIM_SCENARIO_PATHS))
        plan_paths(plan, random);
    if (is_flagged(plan, SIM_SCENARIO_LONG_CUT))
        for (uint32_t i = 0; i < (plan->origins == 1 ? 1 : plan->flow_count); i++)
            plan->flows[i].bytes = log_uniform(random, 2u << 20, 5u << 20);
    if (is_flagged(plan, SIM_SCENARIO_LONG_CUT))
        for (uint32_t other = 1; other < plan->node_count; other++) {
            struct sim_fault *fault =
                hg_sim_plan_fault(plan, SIM_FAULT_CUT, hg_random_below(random, half), 0);
            fault->other = other;
            fault->a = log_uniform(random, 5 * HG_NS_PER_S, 120 * HG_NS_PER_S);
            hg_sim_plan_fault(plan, SIM_FAULT_CUT, fault->time_ns, other)->a = fault->a;
        }
}

static void plan_faults(struct sim_plan *plan, struct hg_random *random)
{
    struct hg_random kill, power, cut, disk, small, special, reads;
    hg_random_fork(random, 1, &kill);
    hg_random_fork(random, 2, &power);
    hg_random_fork(random, 3, &cut);
    hg_random_fork(random, 4, &disk);
    hg_random_fork(random, 5, &small);
    hg_random_fork(random, 6, &special);
    hg_random_fork(random, 7, &reads);
    plan_special(plan, &special);
    if (on(plan, SIM_CLASS_KILL))
        plan_deaths(plan, &kill, SIM_FAULT_KILL);
    if (on(plan, SIM_CLASS_POWER))
        plan_deaths(plan, &power, SIM_FAULT_POWER);
    if (on(plan, SIM_CLASS_CUT))
        plan_cuts(plan, &cut);
    plan_disk(plan, &disk);
    plan_small(plan, &small);
    plan_reads(plan, &reads);
}

/* Several logs that are full of what several others have to take need more room than any log keeps: so only
 * one node fills them, or none is ever full. */
static void plan_workers(struct sim_plan *plan, struct hg_random *random)
{
    bool many = is_flagged(plan, SIM_SCENARIO_WORKERS);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        struct sim_node_plan *node = &plan->nodes[i];
        uint32_t workers = (uint32_t)hg_random_between(random, 1, SIM_WORKERS_MAX);
        uint32_t after = (uint32_t)hg_random_between(random, workers, SIM_WORKERS_MAX);
        bool changes = hg_random_chance(random, 1, 4), steers = hg_random_chance(random, 1, 2);
        node->workers = many ? workers : 1;
        node->workers_after = many && changes ? after : node->workers;
        node->steers = !many || steers;
        if (many && plan->origins > 1)
            node->segment_bytes = plan->segment_bytes =
                hg_align_up(hg_max_u64(plan->segment_bytes, SEGMENT_BYTES_RING), HG_LOG_BLOCK_BYTES);
    }
}

/* Streams move while everything else goes on, some of them back and forth. Now and then the process dies in
 * the middle of it, or a peer that must have everything can't be heard. */
static void plan_moves(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t moves = (uint32_t)hg_random_between(random, 0, MOVES_MAX);
    for (uint32_t i = 0; i < moves; i++) {
        uint32_t node = (uint32_t)hg_random_between(random, 0, plan->node_count - 1);
        uint64_t time_ns = hg_random_between(random, 0, plan->safety_ns);
        bool dies = hg_random_chance(random, 1, 4), power = hg_random_chance(random, 1, 2);
        bool is_deaf = hg_random_chance(random, 1, 8);
        uint64_t steps = hg_random_between(random, 1, MOVE_STEPS_MAX);
        uint64_t restart_ns = log_uniform(random, HG_NS_PER_MS, HG_NS_PER_S);
        struct sim_fault *move = hg_sim_plan_fault(plan, SIM_FAULT_MOVE, time_ns, node);
        move->a = hg_random_between(random, 0, plan->flow_count - 1);
        move->b = hg_random_between(random, 0, SIM_WORKERS_MAX - 1);
        if (dies) {
            struct sim_fault *death =
                hg_sim_plan_fault(plan, power ? SIM_FAULT_POWER : SIM_FAULT_KILL, time_ns + 1, node);
            death->a = steps;
            death->b = restart_ns;
        } else if (is_deaf) {
            struct sim_fault *cut =
                hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns > MOVE_DEAF_NS ? time_ns - MOVE_DEAF_NS : 0,
                                  (node + 1) % plan->node_count);
            cut->other = node;
            cut->a = 2 * HG_MOVE_LEAVE_NS_MAX;
        }
    }
}

/* Some keys only one side wants to renew. Where there are several workers, every other seed has it too. */
static void plan_rekey(struct sim_plan *plan, struct hg_random *random)
{
    bool rekey = is_flagged(plan, SIM_SCENARIO_REKEY);
    bool besides = is_flagged(plan, SIM_SCENARIO_WORKERS) && hg_random_chance(random, 1, 2);
    for (uint32_t i = 0; i < plan->node_count && (rekey || besides); i++) {
        struct sim_node_plan *node = &plan->nodes[i];
        node->rekey_packets = i > 0 && hg_random_chance(random, 1, 4) ? 0 : log_uniform(random, 256, 1023);
        node->rekey_seconds = hg_random_chance(random, 1, 2) ? 1 : 0;
    }
    if (!rekey)
        return;
    plan->safety_ns = hg_max_u64(plan->safety_ns, 2 * HG_NS_PER_S);
    for (uint32_t i = 0; i < plan->flow_count; i++) { /* enough for many keys */
        plan->flows[i].bytes = log_uniform(random, 1u << 20, 8u << 20);
        plan->flows[i].interval_ns = log_uniform(random, 20 * HG_NS_PER_US, 2 * HG_NS_PER_MS);
    }
}

/* Region 0 has three nodes, in a quarter of the seeds five, and one other node is region 1. Streams originate
 * at the first node, some at another one of the region or in region 1. */
static void plan_quorum_sizes(struct sim_plan *plan, struct hg_random *random)
{
    if (is_flagged(plan, SIM_SCENARIO_MEMBERS)) {
        hg_sim_plan_members_sizes(plan, random);
        return;
    }
    bool all = hg_random_chance(random, 1, 4) && !is_flagged(plan, SIM_SCENARIO_ATLAS);
    plan->quorum_n = hg_random_chance(random, 1, 4) && !is_flagged(plan, SIM_SCENARIO_ATLAS) ? 5 : 3;
    plan->quorum_regions = 1;
    plan->quorum_w = all ? (uint32_t)hg_random_between(random, plan->quorum_n / 2 + 1, plan->quorum_n)
                         : plan->quorum_n / 2 + 1;
    plan->node_count = plan->quorum_n + 1;
    plan->flow_count = (uint32_t)hg_min_u64(plan->flow_count, 3);
    plan->origins = 1;
}

/* So many members are gone for seconds that those that are left are no quorum, while producers go on. */
static void plan_quorum_outage(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t time_ns = hg_random_between(random, HG_NS_PER_MS, HG_NS_PER_S);
    plan->safety_ns = 10 * HG_NS_PER_S;
    plan->flows[0].bytes = 64u << 10;
    plan->flows[0].frame_bytes_max = (uint32_t)hg_min_u64(plan->flows[0].frame_bytes_max, 1024);
    plan->flows[0].burst_frames_max = (uint32_t)hg_min_u64(plan->flows[0].burst_frames_max, 4);
    plan->flows[0].interval_ns = log_uniform(random, 20 * HG_NS_PER_MS, 100 * HG_NS_PER_MS);
    for (uint32_t i = 0; i <= plan->quorum_n - plan->quorum_w; i++) {
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_KILL, time_ns, plan->quorum_n - 1 - i);
        fault->a = 1;
        fault->b = hg_random_between(random, 4 * HG_NS_PER_S, 7 * HG_NS_PER_S);
    }
}

/* Where the quorum can spare one, a member that originates nothing loses its disk in half of the seeds. Then,
 * and where several nodes are origins, logs hold all there is: nobody confirms for a disk that is gone. */
static void plan_quorum_of_region(struct sim_plan *plan, struct hg_random *random)
{
    bool is_lost = hg_random_chance(random, 1, 2) && plan->classes != 0 && plan->quorum_w < plan->quorum_n;
    uint32_t last = plan->quorum_n;
    bool is_large = is_lost;
    plan->safety_ns = log_uniform(random, HG_NS_PER_S / 2, 8 * HG_NS_PER_S);
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        uint64_t draw = i == 0 ? 0 : hg_random_below(random, 8);
        flow->origin = draw < 6 ? 0 : draw == 6 ? 1 : last;
        flow->bytes = hg_min_u64(flow->bytes, 96u << 10);
        is_large |= flow->origin != 0;
    }
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].region = i == last;
        if (!is_large)
            continue;
        plan->nodes[i].segment_count = SEGMENTS_QUORUM;
        plan->nodes[i].segment_bytes = plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, 1u << 20), HG_LOG_BLOCK_BYTES);
    }
    if (hg_random_chance(random, 1, 4) && plan->classes != 0)
        plan_quorum_outage(plan, random);
    if (!is_lost)
        return;
    plan->blank_node = (uint32_t)hg_random_between(random, 2, plan->quorum_n - 1);
    uint64_t time_ns = hg_random_between(random, plan->safety_ns / 8, plan->safety_ns - 1);
    hg_sim_plan_fault(plan, SIM_FAULT_BLANK, time_ns, plan->blank_node)->b =
        log_uniform(random, HG_NS_PER_MS, 5 * HG_NS_PER_S);
}

/* In a third of the seeds one of several streams of the first node lacks its quorum to the end. */
static void plan_held(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t flow = (uint32_t)hg_random_below(random, plan->flow_count);
    bool others = false;
    for (uint32_t i = 0; i < plan->flow_count; i++)
        others |= i != flow && plan->flows[i].origin == 0;
    if (!hg_random_chance(random, 1, 3) || !others || plan->flows[flow].origin != 0)
        return;
    plan->held_flow = flow;
    for (uint32_t i = 0; i < plan->node_count; i++) { /* its log keeps all that is not sent */
        plan->nodes[i].segment_count = SEGMENTS_QUORUM;
        plan->nodes[i].segment_bytes = plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, 1u << 20), HG_LOG_BLOCK_BYTES);
    }
}

static void plan_quorum(struct sim_plan *plan, struct hg_random *random, struct hg_random *held)
{
    if (is_flagged(plan, SIM_SCENARIO_MEMBERS)) {
        hg_sim_plan_members(plan, random);
        return;
    }
    if (is_flagged(plan, SIM_SCENARIO_ATLAS)) {
        hg_sim_plan_atlas(plan, random);
        return;
    }
    plan_quorum_of_region(plan, random);
    plan_held(plan, held);
}

static void plan_region_sizes(struct sim_plan *plan, struct hg_random *quorum, struct hg_random *cluster)
{
    if (is_flagged(plan, SIM_SCENARIO_QUORUM))
        plan_quorum_sizes(plan, quorum);
    if (is_flagged(plan, SIM_SCENARIO_CLUSTER))
        hg_sim_plan_cluster_sizes(plan, cluster);
    if (is_flagged(plan, SIM_SCENARIO_FAILOVER))
        hg_sim_plan_failover_sizes(plan, cluster);
    if (is_flagged(plan, SIM_SCENARIO_HORIZON))
        hg_sim_plan_horizon_sizes(plan, cluster);
}

static void plan_regions(struct sim_plan *plan, struct hg_random *quorum, struct hg_random *held,
                         struct hg_random *cluster)
{
    if (is_flagged(plan, SIM_SCENARIO_GRAY))
        hg_sim_plan_gray(plan, cluster);
    if (is_flagged(plan, SIM_SCENARIO_QUORUM))
        plan_quorum(plan, quorum, held);
    if (is_flagged(plan, SIM_SCENARIO_CLUSTER))
        hg_sim_plan_cluster(plan, cluster);
    if (is_flagged(plan, SIM_SCENARIO_FAILOVER))
        hg_sim_plan_failover(plan, cluster);
    if (is_flagged(plan, SIM_SCENARIO_HORIZON))
        hg_sim_plan_horizon(plan, cluster);
}

static void plan_sizes(struct sim_plan *plan, struct hg_random *sizes, struct hg_random *bottleneck)
{
    plan->blank_node = SIM_NODES_MAX;
    plan->held_flow = SIM_FLOWS_MAX;
    plan->node_count = hg_random_chance(sizes, 1, 8) || is_flagged(plan, SIM_SCENARIO_HOSTILE) ? 3 : 2;
    plan->flow_count = (uint32_t)log_uniform(sizes, 1, SIM_FLOWS_MAX);
    plan->safety_ns = log_uniform(sizes, 100 * HG_NS_PER_MS, 10 * HG_NS_PER_S);
    plan->mtu_bytes = hg_random_chance(sizes, 3, 4) ? 1500 : (uint32_t)log_uniform(sizes, 576, 9000);
    plan->write_payload_bytes =
        (uint32_t)hg_align_up(log_uniform(sizes, 8u << 10, 128u << 10), HG_LOG_BLOCK_BYTES);
    /* Logs are so small that they are full all the time. Two full logs get each other out of that; three need
     * more room than any log keeps (architecture.md, Two full logs). */
    plan->origins = hg_random_chance(sizes, 1, 2) ? 1 : plan->node_count;
    bool is_filled = is_flagged(plan, SIM_SCENARIO_LONG_CUT) && plan->origins > 1;
    if (plan->origins > 2 && (is_filled || hg_random_chance(sizes, 1, 2)))
        plan->origins = 2;
    if (is_flagged(plan, SIM_SCENARIO_BOTTLENECK)) {
        plan->origins = plan->flow_count = (uint32_t)hg_random_between(bottleneck, 1, 2);
        plan->node_count = plan->origins + 1;
        plan->write_payload_bytes = 64u << 10;
    }
    plan->segment_bytes = (plan->write_payload_bytes + HG_LOG_BLOCK_BYTES) * log_uniform(sizes, 4, 16);
    if (plan->origins > 2)
        plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, SEGMENT_BYTES_RING), HG_LOG_BLOCK_BYTES);
}

/* Half of the disks make each write durable by itself, where disks are what seeds are about: not where it is
 * time, or room in full logs. */
static void plan_dsync(struct sim_plan *plan, struct hg_random *root)
{
    struct hg_random random;
    hg_random_fork(root, 26, &random);
    if ((hg_sim_scenario_at(plan->scenario)->classes & 1u << SIM_CLASS_POWER) == 0 ||
        is_flagged(plan, SIM_SCENARIO_LONG_CUT) || is_flagged(plan, SIM_SCENARIO_REKEY))
        return;
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan->nodes[i].disk_dsync = hg_random_chance(&random, 1, 2);
}

/* One more node: what was drawn of the others stays what it was. */
static void plan_node_more(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t last = plan->node_count++;
    struct sim_node_plan *node = &plan->nodes[last];
    plan_node(plan, node, random);
    plan_congestion(node, random);
    plan_fec(node, random);
    node->ecn = hg_random_chance(random, 3, 4) ? HG_CONFIG_ECN_ON : HG_CONFIG_ECN_OFF;
    node->workers = node->workers_after = 1;
    node->steers = true;
    node->disk_dsync = hg_random_chance(random, 1, 2);
    for (uint32_t i = 0; i < last; i++) {
        plan_link(plan, &plan->links[i][last], random);
        plan_link(plan, &plan->links[last][i], random);
    }
}

/* Half of the regions whose writers change have another region beside them. */
static void plan_outside(struct sim_plan *plan, struct hg_random *root)
{
    struct hg_random random;
    hg_random_fork(root, 28, &random);
    if (!is_flagged(plan, SIM_SCENARIO_FAILOVER) || hg_random_chance(&random, 1, 2))
        return;
    plan_node_more(plan, &random);
    hg_sim_plan_failover_outside(plan, &random);
}

void hg_sim_plan_random(const struct sim_plan *plan, uint64_t salt, struct hg_random *random)
{
    hg_random_init(random, plan->seed * UINT64_C(0x9e3779b97f4a7c15) + salt);
}

/* Half of the regions have faults that their scenarios once lacked: clocks that drift, differ and jump, by
 * which nothing may be decided, and links that replay, damage, queue and lose what passes. Drawn beside the
 * rest, with a salt by which the kept seeds keep their plans. Write grants have clocks of their own. */
static void plan_besides(struct sim_plan *plan)
{
    static const enum sim_class besides[] = {SIM_CLASS_CLOCK,    SIM_CLASS_REPLAY, SIM_CLASS_CORRUPT,
                                             SIM_CLASS_TRUNCATE, SIM_CLASS_QUEUE,  SIM_CLASS_CUT};
    const struct sim_scenario *scenario = hg_sim_scenario_at(plan->scenario);
    uint32_t added = 0, regions = SIM_SCENARIO_QUORUM | SIM_SCENARIO_CLUSTER | SIM_SCENARIO_FAILOVER;
    struct hg_random random;
    hg_sim_plan_random(plan, BESIDES_SALT, &random);
    if (hg_random_chance(&random, 1, 2) || (scenario->flags & regions) == 0 || plan->classes == 0)
        return;
    for (uint32_t i = 0; i < HG_COUNT(besides); i++)
        added |= hg_random_chance(&random, 1, 2) ? 1u << besides[i] : 0;
    added &= ~scenario->classes;
    plan->classes |= added;
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t j = 0; j < plan->node_count; j++)
            plan_link_harm(plan, &plan->links[i][j], &random);
    if ((added & 1u << SIM_CLASS_CUT) != 0)
        plan_cuts(plan, &random);
    for (uint32_t i = 0; i < plan->node_count && plan->nodes[i].grant_ms == 0; i++)
        plan_clock(plan, &plan->nodes[i], &random);
    plan_jumps(plan, &random, (added & 1u << SIM_CLASS_CLOCK) != 0 ? log_uniform(&random, 1, 4) : 0);
}

/* What came later than the rest, and must not reshuffle it. */
static void plan_last(struct sim_plan *plan, struct hg_random *root)
{
    struct hg_random core;
    plan_dsync(plan, root);
    hg_random_fork(root, 27, &core);
    hg_sim_plan_core(plan, &core);
    plan_outside(plan, root);
    plan_besides(plan);
    hg_sim_plan_newest(plan);
    hg_sim_plan_failover_grants(plan);
}

void hg_sim_plan_make(struct sim_plan *plan, uint32_t scenario, uint64_t seed)
{
    struct hg_random root, classes, sizes, nodes, links, flows, faults, congestion, workers, rekey, fec, ecn;
    struct hg_random hostile, bottleneck, moves, quorum, held, grants, cluster;
    memset(plan, 0, sizeof(*plan));
    plan->seed = seed;
    plan->scenario = scenario;
    hg_random_init(&root, seed * UINT64_C(0x9e3779b97f4a7c15) + scenario);
    hg_random_fork(&root, 1, &classes);
    hg_random_fork(&root, 2, &sizes);
    hg_random_fork(&root, 3, &nodes);
    hg_random_fork(&root, 4, &links);
    hg_random_fork(&root, 5, &flows);
    hg_random_fork(&root, 6, &faults);
    hg_random_fork(&root, 7, &congestion);
    hg_random_fork(&root, 8, &workers);
    hg_random_fork(&root, 9, &rekey);
    hg_random_fork(&root, 10, &fec);
    hg_random_fork(&root, 11, &ecn);
    hg_random_fork(&root, 12, &hostile);
    hg_random_fork(&root, 13, &bottleneck);
    hg_random_fork(&root, 14, &moves);
    hg_random_fork(&root, 15, &quorum);
    hg_random_fork(&root, 16, &held);
    hg_random_fork(&root, 17, &cluster);
    hg_random_fork(&root, 24, &grants);
    plan_classes(plan, &classes);
    plan_sizes(plan, &sizes, &bottleneck);
    plan_region_sizes(plan, &quorum, &cluster);
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan->nodes[i].region = i;
    bool is_filled = is_flagged(plan, SIM_SCENARIO_LONG_CUT) && plan->origins > 1;
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan_node(plan, &plan->nodes[i], &nodes);
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t j = 0; j < plan->node_count; j++)
            plan_link(plan, &plan->links[i][j], &links);
    if (is_filled)
        plan->flow_count = (uint32_t)hg_max_u64(plan->flow_count, 4);
    if (is_flagged(plan, SIM_SCENARIO_WORKERS))
        plan->flow_count = (uint32_t)hg_max_u64(plan->flow_count, 2);
    if (is_flagged(plan, SIM_SCENARIO_HOSTILE))
        plan->flow_count = (uint32_t)hg_max_u64(plan->flow_count, 3);
    for (uint32_t i = 0; i < plan->flow_count; i++)
        plan_flow(plan, &plan->flows[i], i, &flows);
    if (is_filled)
        for (uint32_t i = 0; i < plan->flow_count; i++)
            plan->flows[i].origin = i % 2; /* both logs are filled, by several streams each */
    plan_rekey(plan, &rekey);
    plan_faults(plan, &faults);
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan_congestion(&plan->nodes[i], &congestion);
    plan_workers(plan, &workers);
    if (is_flagged(plan, SIM_SCENARIO_WORKERS))
        plan_moves(plan, &moves);
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan_fec(&plan->nodes[i], &fec);
    if (is_flagged(plan, SIM_SCENARIO_FEC))
        plan_fec_scenario(plan, &fec);
    plan_ecn(plan, &ecn);
    if (is_flagged(plan, SIM_SCENARIO_ECN))
        plan_ecn_scenario(plan, &ecn);
    if (is_flagged(plan, SIM_SCENARIO_HOSTILE))
        plan_hostile(plan, &hostile);
    if (is_flagged(plan, SIM_SCENARIO_BOTTLENECK))
        hg_sim_plan_bottleneck(plan, &bottleneck);
    plan_regions(plan, &quorum, &held, &cluster);
    hg_sim_grant_plan(plan, &grants);
    plan_last(plan, &root);
}
