/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery of what a recovery left finds the same (I16). A process that dies before it wrote anything of its
 * own leaves the log as recovery made it, also when power goes in the middle of it. And where several nodes
 * are to have the same streams, every one of them recovers the same ones, to the end (I18).
 */
#include "tests/sim/core.h"
#include "tests/sim/scenario.h"

void hg_sim_check_recovered(struct sim_node *node, struct sim_worker *worker)
{
    struct sim_world *world = node->world;
    const struct hg_log *log = worker->worker->log;
    struct sim_recovered *last = &worker->recovered;
    uint64_t next = hg_log_next_sequence(log);
    bool again = last->known && last->is_untouched;
    world->sometimes[SIM_recoveries_again] += again;
    if (again && next != last->next_sequence)
        hg_sim_violation(
            world, "recovered_other",
            "node %c recovered its log up to write %llu, wrote nothing, and now recovers it to %llu",
            (int)('A' + node->index), (unsigned long long)last->next_sequence, (unsigned long long)next);
    last->known = true;
    last->is_untouched = true;
    last->next_sequence = next;
}

void hg_sim_check_touched(struct sim_worker *worker)
{
    struct sim_recovered *last = &worker->recovered;
    if (last->known && last->is_untouched)
        last->is_untouched = hg_log_next_sequence(worker->worker->log) == last->next_sequence;
}

void hg_sim_check_recovered_void(struct sim_worker *worker)
{
    worker->recovered.known = false;
}

/* ---- the end of the run ---- */

bool hg_sim_recover_all(struct sim_world *world)
{
    uint32_t flags = hg_sim_scenario_at(world->plan->scenario)->flags;
    uint32_t kinds =
        SIM_SCENARIO_QUORUM | SIM_SCENARIO_CLUSTER | SIM_SCENARIO_FAILOVER | SIM_SCENARIO_HORIZON;
    if (!world->whole || (flags & kinds) == 0)
        return false;
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        if (hg_sim_is_core(world, i))
            hg_sim_node_die(&world->nodes[i], false, 0);
    return true;
}

bool hg_sim_recovered_all(struct sim_world *world)
{
    bool all = true;
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        for (uint32_t j = 0; j < world->plan->flow_count && hg_sim_is_core(world, i); j++)
            all &= world->nodes[i].is_up && hg_sim_worker_of(&world->nodes[i], &world->flows[j]) != NULL;
    return all;
}

void hg_sim_check_recovered_alike(struct sim_world *world, struct sim_flow *flow)
{
    const struct hg_stream_state *first = NULL;
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        if (!hg_sim_is_required(world, flow, i) || !hg_sim_is_core(world, flow->plan->origin))
            continue;
        struct hg_streams *streams = hg_sim_worker_of(&world->nodes[i], flow)->worker->streams;
        const struct hg_stream_state *s =
            hg_streams_at(streams, (uint32_t)hg_streams_find(streams, flow->stream));
        first = first == NULL ? s : first;
        if (s->lsn_durable != first->lsn_durable ||
            memcmp(s->chain_durable, first->chain_durable, sizeof(s->chain_durable)) != 0)
            hg_sim_violation(
                world, "recovered_unlike",
                "s%u is recovered to %llu on node %c, and to %llu elsewhere, or with another chain",
                flow->index, (unsigned long long)s->lsn_durable, (int)('A' + i),
                (unsigned long long)first->lsn_durable);
        world->sometimes[SIM_recovered_alike] += s != first;
    }
}
