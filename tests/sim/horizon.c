/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/horizon.h"
#include "tests/sim/scenario.h"

#define ORIGIN       0u
#define LEFT_BEHIND  1u
#define SEGMENTS     64u /* of the log that lacks something: it holds all that it gets */
#define SEGMENTS_MIN 9u  /* producers of a smaller one are pushed back before anybody is let go of */
#define LOOK_NS_MIN  (20 * HG_NS_PER_MS)
#define LOOK_NS_MAX  (600 * HG_NS_PER_MS)

/* ---- the plan ---- */

void hg_sim_plan_horizon_sizes(struct sim_plan *plan, struct hg_random *random)
{
    plan->node_count = hg_random_chance(random, 1, 3) ? 3 : 2;
    plan->origins = 1;
    plan->flow_count = (uint32_t)hg_random_between(random, 1, 3);
    plan->safety_ns = hg_random_between(random, 3 * HG_NS_PER_S, 9 * HG_NS_PER_S);
    plan->write_payload_bytes =
        (uint32_t)hg_align_up(hg_random_between(random, 8u << 10, 16u << 10), HG_LOG_BLOCK_BYTES);
    plan->segment_bytes = (plan->write_payload_bytes + HG_LOG_BLOCK_BYTES) * hg_random_between(random, 4, 6);
}

/* It hears nobody and is heard by nobody, or it is dead. */
static void plan_away(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t time_ns = hg_random_between(random, 50 * HG_NS_PER_MS, HG_NS_PER_S);
    uint64_t ns = hg_random_between(random, plan->safety_ns / 3, plan->safety_ns);
    if (hg_random_chance(random, 1, 3)) {
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_KILL, time_ns, LEFT_BEHIND);
        fault->a = 1;
        fault->b = ns;
        return;
    }
    for (uint32_t i = 0; i < 2 * plan->node_count; i++) {
        uint32_t other = i / 2;
        if (other == LEFT_BEHIND)
            continue;
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, i % 2 == 0 ? LEFT_BEHIND : other);
        fault->other = i % 2 == 0 ? other : LEFT_BEHIND;
        fault->a = ns;
    }
}

/* What is produced meanwhile is some of the origin's log over, often twice. */
void hg_sim_plan_horizon(struct sim_plan *plan, struct hg_random *random)
{
    struct sim_node_plan *origin = &plan->nodes[ORIGIN], *behind = &plan->nodes[LEFT_BEHIND];
    origin->segment_count = (uint32_t)hg_random_between(random, SEGMENTS_MIN, 14);
    behind->segment_count = SEGMENTS;
    behind->drop_behind_bytes = hg_random_between(random, 1, 2 * plan->segment_bytes);
    uint64_t log_bytes = origin->segment_count * plan->segment_bytes, frame_bytes = 200;
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = ORIGIN;
        flow->compresses = false;
        flow->frame_bytes_max = (uint32_t)hg_random_between(random, 2u << 10, 6u << 10);
        flow->burst_frames_max = (uint32_t)hg_random_between(random, 1, 40);
        flow->bytes = log_bytes * hg_random_between(random, 2, 3) / plan->flow_count;
        flow->interval_ns = plan->safety_ns * frame_bytes * flow->burst_frames_max / 2 / flow->bytes;
    }
    plan_away(plan, random);
    if (hg_random_chance(random, 1, 3))
        plan_away(plan, random);
}

bool hg_sim_is_left_behind(const struct sim_node *node)
{
    return node->plan->drop_behind_bytes != 0;
}

/* ---- the operator ---- */

static void look_later(struct sim_node *node)
{
    uint64_t after_ns = hg_random_between(&node->horizon.random, LOOK_NS_MIN, LOOK_NS_MAX);
    hg_sim_event_put(node->world, node->world->now_ns + after_ns, SIM_EVENT_OPERATOR, node->index, 0, NULL);
}

void hg_sim_horizon_begin(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        hg_random_init(&node->horizon.random, hg_sim_random_seed(world, 42, i));
        node->horizon.asked_flow = SIM_FLOWS_MAX;
        if (hg_sim_is_left_behind(node))
            look_later(node);
    }
}

void hg_sim_horizon_boot(struct sim_node *node)
{
    node->horizon.asked_flow = SIM_FLOWS_MAX; /* nobody answers; the log says whether it was done */
}

/* Its process, or its machine, ends on the way, now and then. */
static void death_plan(struct sim_node *node)
{
    struct hg_random *random = &node->horizon.random;
    uint32_t deaths = 1u << SIM_CLASS_KILL | 1u << SIM_CLASS_POWER;
    bool dies = hg_random_chance(random, 1, 2), power = hg_random_chance(random, 1, 3);
    uint64_t steps = hg_random_between(random, 1, 4);
    if (!dies || node->world->healed || (node->world->plan->classes & deaths) == 0)
        return;
    node->steps_fuse = steps;
    node->fuse_power = power;
    node->fuse_restart_ns = 10 * HG_NS_PER_MS;
}

static void order(struct sim_node *node, struct sim_flow *flow)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STREAM_ADOPT;
    snprintf(letter.body.name, sizeof(letter.body.name), "s%u", flow->index);
    if (!hg_mailbox_put(&node->workers[0].inbox, &letter))
        return;
    death_plan(node);
    node->horizon.asked_flow = flow->index;
    flow->places[node->index].is_adopting = true;
    hg_sim_trace(node->world, "node %c is ordered to begin s%u anew", (int)('A' + node->index), flow->index);
    hg_sim_node_step(node);
}

/* As one who reads 'show streams' now and then, and not always does something about it. */
void hg_sim_horizon_operator(struct sim_node *node)
{
    struct sim_world *world = node->world;
    look_later(node);
    bool acts = hg_random_chance(&node->horizon.random, 1, 3) || world->healed;
    if (!acts || !hg_sim_is_running(node) || !hg_placement_known(&node->placement) ||
        node->config_pending > 0)
        return;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct hg_streams *streams = node->workers[0].worker->streams;
        int32_t slot = hg_streams_find(streams, world->flows[i].stream);
        if (slot < 0 || node->horizon.asked_flow != SIM_FLOWS_MAX)
            continue;
        const struct hg_stream_state *s = hg_streams_at(streams, (uint32_t)slot);
        if (s->horizon.lsn > s->lsn_sealed)
            order(node, &world->flows[i]);
        if (!node->is_up)
            return;
    }
}

void hg_sim_horizon_answer(struct sim_node *node, const struct hg_letter *letter)
{
    struct sim_world *world = node->world;
    hg_sim_trace(world, "node %c answers: %d %s", (int)('A' + node->index), letter->code, letter->body.text);
    if (node->horizon.asked_flow == SIM_FLOWS_MAX)
        hg_sim_violation(world, "order", "node %c answers an order that nobody gave",
                         (int)('A' + node->index));
    struct sim_place *place = &world->flows[node->horizon.asked_flow].places[node->index];
    node->horizon.asked_flow = SIM_FLOWS_MAX;
    if (letter->code == 0 && place->is_adopting)
        hg_sim_violation(world, "order", "node %c says that a stream begins anew, and it did not",
                         (int)('A' + node->index));
    place->is_adopting = false;
    world->sometimes[SIM_adopts_refused] += letter->code != 0;
}

/* ---- checks ---- */

static void begun_anew(struct sim_node *node, struct sim_flow *flow, uint64_t lsn)
{
    struct sim_place *place = &flow->places[node->index];
    hg_sim_trace(node->world, "node %c has s%u from %llu on", (int)('A' + node->index), flow->index,
                 (unsigned long long)lsn);
    place->anew_lsn = lsn;
    place->is_adopting = false;
    place->horizon_lsn = 0;
}

/* The process that was ordered is gone: its log has the beginning, or it has not. */
static void order_look(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_place *place = &flow->places[node->index];
    if (!place->is_adopting || node->horizon.asked_flow == flow->index)
        return;
    if (s->lsn_durable < place->horizon_lsn) {
        place->is_adopting = false;
        return;
    }
    node->world->sometimes[SIM_adopts_found_after_restart]++;
    begun_anew(node, flow, place->horizon_lsn);
}

void hg_sim_check_horizon(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    struct sim_place *place = &flow->places[node->index];
    if (!hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_HORIZON))
        return;
    if (s->lsn_durable > flow->plan->lsn_start)
        hg_sim_check_chain(world, flow, node->index, s->lsn_durable, s->chain_durable);
    if (!hg_sim_is_left_behind(node) || node->workers[0].worker->state != HG_WORKER_RUNNING)
        return;
    order_look(node, flow, s);
    if (s->horizon.lsn != 0 && s->lsn_sealed >= s->horizon.lsn)
        hg_sim_violation(world, "skipped",
                         "node %c lacks s%u up to %llu, has it to %llu, and nobody had it begin anew",
                         (int)('A' + node->index), flow->index, (unsigned long long)s->horizon.lsn,
                         (unsigned long long)s->lsn_sealed);
    /* What was told is withdrawn by what its origin sends after all; a hole in that is for readers to find.
     */
    if (!place->is_adopting || s->horizon.lsn != 0)
        place->horizon_lsn = s->horizon.lsn;
}

bool hg_sim_is_begun_anew(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header)
{
    const struct sim_place *place = &flow->places[node->index];
    if (place->anew_lsn == 0 || header->lsn_first != place->anew_lsn)
        return false;
    (void)hg_sim_check_chain(node->world, flow, node->index, header->lsn_first, header->chain_previous);
    node->world->sometimes[SIM_reads_from_a_horizon]++;
    return true;
}

bool hg_sim_check_horizon_event(struct sim_node *node, const struct hg_event *event, uint32_t flow)
{
    struct sim_world *world = node->world;
    if (!hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_HORIZON))
        return false;
    switch (event->type) {
    case HG_EVENT_holder_let_go:
        world->sometimes[SIM_holders_let_go]++;
        return true;
    case HG_EVENT_holder_back:
        world->sometimes[SIM_holders_back]++;
        return true;
    case HG_EVENT_stream_gap: /* needed, and where the log begins */
        world->sometimes[SIM_streams_gap]++;
        return node->index == ORIGIN && event->a < event->b && flow < world->plan->flow_count;
    case HG_EVENT_stream_behind:
        return hg_sim_is_left_behind(node) && event->a < event->b && flow < world->plan->flow_count;
    case HG_EVENT_stream_closed:
        return hg_sim_is_left_behind(node) && event->a == HG_WIRE_CLOSED_GAP;
    case HG_EVENT_stream_anew:
        if (!hg_sim_is_left_behind(node) || flow >= world->plan->flow_count || event->a >= event->b ||
            !world->flows[flow].places[node->index].is_adopting ||
            event->b != world->flows[flow].places[node->index].horizon_lsn)
            return false;
        world->sometimes[SIM_streams_begun_anew]++;
        world->sometimes[SIM_streams_begun_anew_twice] +=
            world->flows[flow].places[node->index].anew_lsn != 0;
        begun_anew(node, &world->flows[flow], event->b);
        return true;
    default:
        return false;
    }
}
