/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/core.h"

#include "dataplane/stream/tail.h"
#include "tests/sim/scenario.h"

#define SEGMENTS      48u /* they hold all there is: nobody confirms for the rest */
#define SEGMENT_BYTES (1u << 20)
#define BYTES_MORE    (8u << 10)

static bool is_origin(const struct sim_plan *plan, uint32_t node)
{
    for (uint32_t i = 0; i < plan->flow_count; i++)
        if (plan->flows[i].origin == node)
            return true;
    return false;
}

/* The first stream's origin and its region are in it, other regions in half of the cases. Where there is a
 * quorum, so many members, by chance, but those that originate something before the others; a node whose disk
 * was lost last, for what it needs may be forgotten. */
static void plan_region(struct sim_plan *plan, uint32_t region, struct hg_random *random)
{
    uint32_t first = plan->flows[0].origin, order[SIM_NODES_MAX], count = 0;
    bool is_in = hg_random_chance(random, 1, 2) || region == plan->nodes[first].region;
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].region == region)
            order[count++] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)hg_random_below(random, i), node = order[i - 1];
        order[i - 1] = order[other];
        order[other] = node;
    }
    uint32_t left = !is_in ? 0 : hg_sim_has_quorum(plan, region) ? plan->quorum_w : count;
    for (uint32_t pass = 0; pass < 3; pass++)
        for (uint32_t i = 0; i < count; i++) {
            uint32_t turn = is_origin(plan, order[i]) ? 0 : order[i] == plan->blank_node ? 2 : 1;
            if (turn != pass)
                continue;
            bool dies = hg_random_chance(random, 1, 2);
            plan->nodes[order[i]].rest = left > 0 ? SIM_REST_NONE : dies ? SIM_REST_DEAD : SIM_REST_CUT_OFF;
            left -= left > 0;
        }
}

void hg_sim_plan_core(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t kinds = SIM_SCENARIO_QUORUM | SIM_SCENARIO_CLUSTER,
             flags = hg_sim_scenario_at(plan->scenario)->flags;
    if ((flags & kinds) == 0 || (flags & (SIM_SCENARIO_MEMBERS | SIM_SCENARIO_ATLAS)) != 0 ||
        plan->classes == 0 || hg_random_chance(random, 1, 2))
        return;
    for (uint32_t region = 0; region < plan->node_count; region++)
        plan_region(plan, region, random);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].segment_count = SEGMENTS;
        plan->nodes[i].segment_bytes = plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, SEGMENT_BYTES), HG_LOG_BLOCK_BYTES);
    }
}

bool hg_sim_is_core(const struct sim_world *world, uint32_t node)
{
    return world->plan->nodes[node].rest == SIM_REST_NONE;
}

bool hg_sim_is_gone(const struct sim_node *node)
{
    return node->world->healed && node->plan->rest == SIM_REST_DEAD;
}

bool hg_sim_core_lacks_origin(const struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        if (!hg_sim_is_core(world, world->plan->flows[i].origin))
            return true;
    return false;
}

bool hg_sim_core_left_to_people(const struct sim_world *world, const struct hg_streams *streams,
                                const struct hg_stream_state *s, uint32_t origin)
{
    uint32_t outside = 0;
    if (!world->healed || hg_streams_tail(streams, s) != HG_STREAMS_TAIL_WAITS)
        return false;
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        uint32_t peer = i < origin ? i : i - 1;
        if (i == origin || world->plan->nodes[i].region != world->plan->nodes[origin].region)
            continue;
        if (hg_sim_is_core(world, i) && (s->tail_said >> peer & 1) == 0)
            return false;
        outside += !hg_sim_is_core(world, i);
    }
    return outside > 0;
}

/* What was produced may be everywhere by now: the core has to commit something itself. */
static void produce_more(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        world->flows[i].bytes_produced -= hg_min_u64(world->flows[i].bytes_produced, BYTES_MORE);
}

void hg_sim_core_heal(struct sim_world *world)
{
    bool any = false;
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        if (hg_sim_is_core(world, i))
            continue;
        bool dies = world->plan->nodes[i].rest == SIM_REST_DEAD;
        any = true;
        hg_sim_trace(world, "node %c is %s for ever", (int)('A' + i), dies ? "dead" : "cut off");
        world->sometimes[dies ? SIM_rest_dead : SIM_rest_cut_off]++;
        if (dies)
            hg_sim_node_die(&world->nodes[i], false, 0);
        for (uint32_t j = 0; j < world->plan->node_count; j++)
            if (hg_sim_is_core(world, j))
                world->links[i][j].cut_until_ns = world->links[j][i].cut_until_ns = HG_TIME_NEVER;
    }
    if (any)
        produce_more(world);
}
