/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/gray.h"
#include "tests/sim/scenario.h"

#define BLOCKS_ASTRAY_MAX 4096u

void hg_sim_plan_gray(struct sim_plan *plan, struct hg_random *random)
{
    static const enum sim_fault_kind kinds[] = {SIM_FAULT_DISK_LOSE, SIM_FAULT_DISK_MISPLACE,
                                                SIM_FAULT_DISK_MISREAD, SIM_FAULT_DISK_MISREAD};
    bool reads_only = hg_random_chance(random, 1, 2);
    for (uint64_t i = hg_random_between(random, 1, 4); i > 0 && plan->classes != 0; i--) {
        uint64_t time_ns = hg_random_below(random, plan->safety_ns);
        uint32_t node = (uint32_t)hg_random_below(random, plan->node_count);
        uint64_t kind = hg_random_below(random, HG_COUNT(kinds));
        uint64_t nth = hg_random_between(random, 1, 32);
        uint64_t blocks = hg_random_between(random, 1, BLOCKS_ASTRAY_MAX);
        bool is_bit = hg_random_chance(random, 1, 2);
        kind = reads_only ? HG_COUNT(kinds) - 1 : kind;
        struct sim_fault *fault = hg_sim_plan_fault(plan, kinds[kind], time_ns, node);
        fault->a = nth;
        fault->b = is_bit && kinds[kind] == SIM_FAULT_DISK_MISREAD ? 0 : blocks;
        if (kinds[kind] != SIM_FAULT_DISK_MISREAD)
            continue;
        fault = hg_sim_plan_fault(plan, SIM_FAULT_KILL, time_ns + 1, node); /* recovery reads */
        fault->a = 1;
        fault->b = HG_NS_PER_MS;
    }
}

void hg_sim_gray_strike(struct sim_node *node, const struct sim_fault *fault)
{
    struct hg_disk *disk = node->workers[0].disk;
    if (fault->kind == SIM_FAULT_DISK_LOSE)
        hg_disk_sim_lose_write(disk, fault->a);
    else if (fault->kind == SIM_FAULT_DISK_MISPLACE)
        hg_disk_sim_misplace_write(disk, fault->a, fault->b);
    else
        hg_disk_sim_wrong_read(disk, fault->a, fault->b);
}

static void stats_of(const struct sim_node *node, struct hg_disk_sim_stats *stats)
{
    hg_disk_sim_stats_get(node->workers[0].disk, stats);
}

bool hg_sim_is_damaged(const struct sim_node *node)
{
    struct hg_disk_sim_stats stats;
    stats_of(node, &stats);
    return stats.writes_lost > 0;
}

bool hg_sim_was_misread(const struct sim_node *node)
{
    struct hg_disk_sim_stats stats;
    stats_of(node, &stats);
    return stats.reads_wrong > 0;
}

bool hg_sim_is_marked(const struct sim_node *node)
{
    bool any = false;
    for (uint32_t i = 0; node->is_up && i < node->worker_count; i++)
        any |= hg_log_heal_left(node->workers[i].worker->log) > 0;
    return any && hg_sim_scenario_has(node->world->plan->scenario, SIM_SCENARIO_ROT);
}

bool hg_sim_check_gray_event(const struct sim_node *node, const struct hg_event *event)
{
    const struct sim_world *world = node->world;
    bool any = false;
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        any |= hg_sim_is_damaged(&world->nodes[i]);
    switch (event->type) {
    case HG_EVENT_read_corrupt:
    case HG_EVENT_scrub_corrupt:
    case HG_EVENT_repaired:
    case HG_EVENT_not_repaired:
        return any || hg_sim_was_misread(node);
    case HG_EVENT_stream_gap: /* what a peer needs can't be read any more; the peer is told */
    case HG_EVENT_stream_behind:
    case HG_EVENT_stream_closed:
        return any;
    default:
        return false;
    }
}
