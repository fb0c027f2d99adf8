/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants of a region's quorum. The simulator knows what is on each disk.
 */
#include "tests/sim/members.h"

static int letter_of(uint32_t node)
{
    return (int)('A' + node);
}

uint64_t hg_sim_end_of_w(const struct sim_world *world, const struct sim_flow *flow, uint32_t w, bool now)
{
    const struct sim_plan *plan = world->plan;
    uint64_t ends[SIM_NODES_MAX] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const struct sim_place *place = &flow->places[i];
        uint64_t end = now ? place->durable_floor : place->durable_ever;
        if (plan->nodes[i].region != plan->nodes[flow->plan->origin].region)
            continue;
        uint32_t at = count++;
        for (; at > 0 && ends[at - 1] < end; at--)
            ends[at] = ends[at - 1];
        ends[at] = end;
    }
    return w == 0 ? UINT64_MAX : ends[w - 1];
}

uint64_t hg_sim_committed(const struct sim_world *world, const struct sim_flow *flow)
{
    return hg_sim_end_of_w(world, flow, world->plan->quorum_w, false);
}

static void sometimes(struct sim_world *world, const struct sim_node *node, const struct sim_flow *flow,
                      const struct hg_stream_state *s)
{
    const struct sim_place *place = &flow->places[node->index];
    bool rises = s->lsn_committed > place->committed_told;
    if (!s->origin_local) {
        world->sometimes[SIM_commits_told_ahead] += s->lsn_committed_told > s->lsn_durable;
        return;
    }
    world->sometimes[SIM_commits_awaited] += s->lsn_committed < s->lsn_durable;
    world->sometimes[SIM_commits_counted_anew] +=
        rises && place->committed_told == 0 && node->boots_count > 1;
    world->sometimes[SIM_commits_without_a_member] +=
        rises && hg_sim_end_of_w(world, flow, world->plan->quorum_n, true) < s->lsn_committed;
}

void hg_sim_check_committed(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    const struct sim_plan *plan = world->plan;
    struct sim_place *place = &flow->places[node->index];
    if (plan->quorum_n == 0)
        return;
    if (s->lsn_committed < place->committed_told || s->lsn_committed > s->lsn_durable)
        hg_sim_violation(world, "committed_shrinks",
                         "node %c has s%u durable to %llu and committed to %llu, it had said %llu",
                         letter_of(node->index), flow->index, (unsigned long long)s->lsn_durable,
                         (unsigned long long)s->lsn_committed, (unsigned long long)place->committed_told);
    uint32_t region = plan->nodes[flow->plan->origin].region;
    if (hg_sim_is_members(world)) {
        bool rises = s->lsn_committed > place->committed_ever;
        world->sometimes[SIM_commits_awaited] += s->origin_local && s->lsn_committed < s->lsn_durable;
        place->committed_ever = hg_max_u64(place->committed_ever, s->lsn_committed);
        if (rises && s->origin_local)
            hg_sim_check_members(world);
        hg_sim_check_members_place(node, flow, s);
    } else if (hg_sim_has_quorum(plan, region)) {
        uint64_t committed = hg_sim_committed(world, flow);
        bool is_lost = plan->blank_node != SIM_NODES_MAX;
        if (s->lsn_committed > committed ||
            s->lsn_committed > hg_sim_end_of_w(world, flow, plan->quorum_w - is_lost, true))
            hg_sim_violation(world, "committed_too_early",
                             "node %c believes s%u committed to %llu, the %u-th of its region's disks has it "
                             "to %llu",
                             letter_of(node->index), flow->index, (unsigned long long)s->lsn_committed,
                             plan->quorum_w, (unsigned long long)committed);
        if (node->plan->region != region && s->lsn_durable > committed)
            hg_sim_violation(world, "left_before_commit",
                             "node %c of another region has s%u to %llu, which is committed to %llu",
                             letter_of(node->index), flow->index, (unsigned long long)s->lsn_durable,
                             (unsigned long long)committed);
        if (node->plan->region == region)
            sometimes(world, node, flow, s);
        if (place->read_end > committed)
            hg_sim_violation(world, "read_before_commit",
                             "a reader on node %c has s%u to %llu, which is committed to %llu",
                             letter_of(node->index), flow->index, (unsigned long long)place->read_end,
                             (unsigned long long)committed);
    }
    place->committed_told = s->lsn_committed;
    place->committed_ever = hg_max_u64(place->committed_ever, s->lsn_committed);
    if (node->index == plan->blank_node && place->rolled_back && s->lsn_durable == flow->lsn_produced &&
        world->healed)
        world->sometimes[SIM_disks_filled_again]++;
}

bool hg_sim_check_quorum_event(struct sim_node *node, const struct hg_event *event, uint32_t flow)
{
    struct sim_world *world = node->world;
    const struct sim_plan *plan = world->plan;
    switch (event->type) {
    case HG_EVENT_stream_refused: /* by members that know of newer ones; offered again */
        return hg_sim_is_members(world) && event->a == HG_WIRE_REFUSED_MEMBERS;
    case HG_EVENT_stream_quorum_lost:
        world->sometimes[SIM_quorums_lost]++;
        return true;
    case HG_EVENT_stream_quorum_back:
        world->sometimes[SIM_quorums_back]++;
        return true;
    case HG_EVENT_stream_tail_known: /* never stream_tail_lost: a torn write was never flushed */
        world->sometimes[SIM_torn_tails_of_writers]++;
        return true;
    case HG_EVENT_stream_tail_unknown:
        world->sometimes[SIM_torn_tails_unknown_for_long]++;
        return true;
    case HG_EVENT_stream_gap: /* the log has forgotten what the new disk needs */
    case HG_EVENT_stream_behind:
    case HG_EVENT_stream_closed:
        if (plan->blank_node == SIM_NODES_MAX || flow >= plan->flow_count ||
            !world->flows[flow].places[plan->blank_node].rolled_back ||
            (event->type != HG_EVENT_stream_gap && node->index != plan->blank_node))
            return false;
        world->flows[flow].gap_told[plan->blank_node] = true;
        return true;
    default:
        return false;
    }
}
