/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `members`: the members of the region's quorum change under load. The metastore is a record in
 * memory; control planes read it now and then, sometimes not for a while, sometimes an old one, and give what
 * they read to their dataplanes. The one whose node writes drives the change (controlplane/members.c).
 */
#include "tests/sim/members.h"
#include "controlplane/members.h"
#include "dataplane/stream/quorum.h"
#include "tests/sim/failover.h"

#define POLL_NS_MIN (5 * HG_NS_PER_MS)
#define POLL_NS_MAX (400 * HG_NS_PER_MS)
#define GROUP       1u /* of all streams */
#define WRITER      0u
#define SPARES_MAX  2u

static int letter_of(uint32_t node)
{
    return (int)('A' + node);
}

bool hg_sim_is_members(const struct sim_world *world)
{
    return hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_MEMBERS);
}

/* ---- the plan ---- */

static void order_add(struct sim_plan *plan, enum hg_members_order what, uint64_t time_ns, uint32_t node,
                      uint32_t node_new)
{
    struct sim_order *order = &plan->orders[plan->order_count++];
    order->time_ns = time_ns;
    order->what = what;
    order->node = node + 1;
    order->node_new = node_new + 1;
}

void hg_sim_plan_members_sizes(struct sim_plan *plan, struct hg_random *random)
{
    plan->quorum_w = 2;
    plan->members_n = 3;
    plan->quorum_n = 3 + (uint32_t)hg_random_between(random, 1, SPARES_MAX);
    plan->node_count = plan->quorum_n + 1;
    plan->flow_count = (uint32_t)hg_min_u64(plan->flow_count, 2);
    plan->origins = 1;
}

/* A member is replaced by a spare node; where there are two of these, the other one is added before or after,
 * or takes another one's place. Often the one that goes is dead by then. */
void hg_sim_plan_members_orders(struct sim_plan *plan, struct hg_random *random, bool all_live)
{
    uint32_t gone = (uint32_t)hg_random_between(random, 1, 2), spare = plan->members_n;
    uint64_t time_ns = hg_random_between(random, plan->safety_ns / 16, plan->safety_ns / 2);
    bool add_first = spare + 1 < plan->quorum_n && hg_random_chance(random, 1, 3);
    if (add_first)
        order_add(plan, HG_MEMBERS_ADD, time_ns, spare + 1, 0);
    if (hg_random_chance(random, 1, 4))
        order_add(plan, HG_MEMBERS_LEARNER, time_ns, spare, 0);
    order_add(plan, HG_MEMBERS_REPLACE, time_ns, gone, spare);
    uint64_t later_ns = hg_random_between(random, time_ns, plan->safety_ns);
    if (spare + 1 < plan->quorum_n && !add_first)
        order_add(plan, HG_MEMBERS_REPLACE, later_ns, 3 - gone, spare + 1);
    else if (hg_random_chance(random, 1, 2))
        order_add(plan, add_first ? HG_MEMBERS_REMOVE : HG_MEMBERS_REPLACE, later_ns, 3 - gone, gone);
    if (!hg_random_chance(random, 1, 2) || plan->classes == 0 || all_live)
        return;
    struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_KILL, time_ns / 2, gone);
    fault->a = 1;
    fault->b = hg_random_between(random, plan->safety_ns, plan->safety_ns + 5 * HG_NS_PER_S);
}

void hg_sim_plan_members(struct sim_plan *plan, struct hg_random *random)
{
    plan->safety_ns = hg_random_between(random, HG_NS_PER_S, 6 * HG_NS_PER_S);
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = WRITER;
        flow->bytes = hg_min_u64(flow->bytes, 64u << 10);
        flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 512);
        flow->burst_frames_max = (uint32_t)hg_min_u64(flow->burst_frames_max, 4);
        flow->interval_ns = hg_random_between(random, HG_NS_PER_MS, 20 * HG_NS_PER_MS);
    }
    bool is_small = hg_random_chance(random, 1, 3); /* then nobody is gone for long: its log waits for all */
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].region = i == plan->quorum_n;
        if (is_small)
            continue;
        plan->nodes[i].segment_count = 48;
        plan->nodes[i].segment_bytes = plan->segment_bytes =
            hg_align_up(hg_max_u64(plan->segment_bytes, 1u << 20), HG_LOG_BLOCK_BYTES);
    }
    hg_sim_plan_members_orders(plan, random, is_small);
    for (uint32_t i = plan->members_n; i < plan->quorum_n; i++) /* a spare one that lags behind */
        if (hg_random_chance(random, 1, 2)) {
            struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_CUT, 1, WRITER);
            fault->other = i;
            fault->a = hg_random_between(random, HG_NS_PER_MS, plan->safety_ns);
        }
}

/* ---- control planes ---- */

static void poll_later(struct sim_world *world, uint32_t node)
{
    uint64_t after_ns = hg_random_between(&world->members.random, POLL_NS_MIN, POLL_NS_MAX);
    hg_sim_event_put(world, world->now_ns + after_ns, SIM_EVENT_MEMBERS, node, 0, NULL);
}

static void config_set(struct sim_node *node, const struct hg_members *members)
{
    node->config->group_count = 1;
    node->config->groups[0].group = GROUP;
    node->config->groups[0].members = *members;
}

void hg_sim_members_begin(struct sim_world *world)
{
    struct hg_members *record = &world->members.record;
    hg_random_init(&world->members.random, hg_sim_random_seed(world, 40, 0));
    memset(record, 0, sizeof(*record));
    record->generation = 1;
    record->set.w = world->plan->quorum_w;
    for (uint32_t i = 0; i < world->plan->members_n; i++)
        record->set.nodes[record->set.count++] = i + 1;
    hg_assert(hg_members_check(record) == HG_MEMBERS_OK);
    if (world->failover != NULL)
        hg_sim_failover_members_put(world);
    for (uint32_t i = 0; i < world->plan->quorum_n; i++) {
        config_set(&world->nodes[i], record);
        poll_later(world, i);
    }
}

static bool writes(struct sim_node *node)
{
    return node->world->failover != NULL ? hg_sim_failover_is_written_by(node) : node->index == WRITER;
}

static void record_set(struct sim_node *node, const struct hg_members *next)
{
    struct sim_world *world = node->world;
    struct hg_members *record = &world->members.record;
    enum hg_members_reason reason = hg_members_change(record, next);
    if (reason != HG_MEMBERS_OK)
        hg_sim_violation(world, "members_step", "from generation %llu to %llu: %s",
                         (unsigned long long)record->generation, (unsigned long long)next->generation,
                         hg_members_reason_text(reason));
    world->members.before = *record;
    *record = *next;
    if (world->failover != NULL)
        hg_sim_failover_members_put(world);
    world->sometimes[SIM_members_joint] += next->phase == HG_MEMBERS_JOINT;
    world->sometimes[SIM_members_changed] +=
        next->phase == HG_MEMBERS_STABLE && world->members.before.phase == HG_MEMBERS_JOINT;
    world->sometimes[SIM_members_changed_by_another] += next->phase == HG_MEMBERS_STABLE &&
                                                        world->members.before.phase == HG_MEMBERS_JOINT &&
                                                        world->members.joint_by != node->index;
    if (next->phase == HG_MEMBERS_JOINT)
        world->members.joint_by = node->index;
    hg_sim_trace(world, "members: generation %llu phase %u", (unsigned long long)next->generation,
                 next->phase);
    hg_sim_check_members(world);
}

/* What is ordered next is begun when nothing is under way. One that can't be is passed over. */
static void order_begin(struct sim_node *node)
{
    struct sim_world *world = node->world;
    const struct sim_plan *plan = world->plan;
    struct hg_members next;
    while (world->members.order_next < plan->order_count) {
        const struct sim_order *order = &plan->orders[world->members.order_next];
        if (world->now_ns < order->time_ns && !world->healed)
            return;
        world->members.order_next++;
        bool goes = order->what == HG_MEMBERS_REMOVE || order->what == HG_MEMBERS_REPLACE;
        if (goes && order->node == node->index + 1)
            continue; /* who writes is refused to go */
        if (hg_members_order(&world->members.record, order->what, order->node, order->node_new, &next) ==
            HG_MEMBERS_OK) {
            record_set(node, &next);
            return;
        }
    }
}

static void order_cancel(struct sim_node *node)
{
    struct hg_members next;
    enum hg_members_reason reason =
        hg_members_order(&node->world->members.record, HG_MEMBERS_CANCEL, 0, 0, &next);
    hg_assert(reason == HG_MEMBERS_OK);
    node->world->sometimes[SIM_members_cancelled]++;
    record_set(node, &next);
}

static void drive(struct sim_node *node)
{
    struct sim_world *world = node->world;
    const struct hg_streams *streams = node->workers[0].worker->streams;
    struct hg_members_facts facts = {.node = node->index + 1,
                                     .generation = hg_streams_members_durable(streams, GROUP),
                                     .is_synced = hg_streams_members_synced(streams, GROUP)};
    struct hg_members next;
    for (uint32_t peer = 0; peer < node->config->peer_count; peer++) {
        uint64_t id = node->config->peers[peer].node;
        if (hg_streams_members_caught_up(streams, GROUP, peer))
            hg_members_caught_up(&facts, &world->members.record, id);
    }
    enum hg_members_verdict verdict = hg_members_next(&world->members.record, &facts, &next);
    world->sometimes[SIM_members_awaited] +=
        verdict == HG_MEMBERS_CATCHES_UP || verdict == HG_MEMBERS_SYNCING;
    if (verdict == HG_MEMBERS_STEP)
        record_set(node, &next);
    else if (verdict == HG_MEMBERS_WRITER_GOES && world->healed)
        order_cancel(node); /* as an operator would */
    else if (verdict == HG_MEMBERS_DONE)
        order_begin(node);
}

static bool is_running(const struct sim_node *node)
{
    return hg_sim_is_running(node) && node->config_pending == 0 && !node->config_refused &&
           hg_placement_known(&node->placement);
}

void hg_sim_members_poll(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_random *random = &world->members.random;
    bool blind = hg_random_chance(random, 1, 6), old = hg_random_chance(random, 1, 8);
    poll_later(world, node->index);
    blind |= world->failover != NULL && world->now_ns < world->failover->away_until_ns;
    if ((blind && !world->healed) || !is_running(node) || world->now_ns < node->paused_ns)
        return;
    old = old && !world->healed && world->members.before.generation != 0;
    const struct hg_members *known = old ? &world->members.before : &world->members.record;
    world->sometimes[SIM_members_old_refused] +=
        known->generation < hg_streams_members_generation(node->workers[0].worker->streams, GROUP);
    if (known->generation != node->config->groups[0].members.generation) {
        config_set(node, known);
        hg_sim_config_apply(node);
        hg_sim_node_step(node);
    } else if (writes(node)) {
        drive(node);
    }
}

/* ---- checks ---- */

uint64_t hg_sim_members_committed(const struct sim_world *world, const struct sim_flow *flow)
{
    uint64_t committed = flow->places[WRITER].committed_ever;
    for (uint32_t i = 0; world->failover != NULL && i < world->plan->node_count; i++)
        committed = hg_max_u64(committed, flow->places[i].committed_ever);
    return committed;
}

void hg_sim_check_members(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        const struct sim_flow *flow = &world->flows[i];
        uint64_t committed = hg_sim_members_committed(world, flow), lacking[SIM_NODES_MAX];
        uint32_t count = 0;
        for (uint32_t node = 0; node < world->plan->quorum_n; node++)
            if (flow->places[node].durable_floor < committed)
                lacking[count++] = node + 1;
        if (hg_members_sealed_by(&world->members.record, lacking, count))
            hg_sim_violation(world, "commit_can_be_lost",
                             "s%u is committed to %llu, and of the members of generation %llu enough to seal "
                             "lack some of it",
                             flow->index, (unsigned long long)committed,
                             (unsigned long long)world->members.record.generation);
    }
}

void hg_sim_check_members_place(struct sim_node *node, const struct sim_flow *flow,
                                const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    const struct sim_place *place = &flow->places[node->index];
    uint64_t committed = hg_sim_members_committed(world, flow);
    const struct hg_streams *streams = node->workers[0].worker->streams;
    uint64_t generation = hg_streams_members_generation(streams, GROUP);
    if (node->plan->region != 0 && s->lsn_durable > committed)
        hg_sim_violation(world, "left_before_commit",
                         "node %c of another region has s%u to %llu, which is committed to %llu",
                         letter_of(node->index), flow->index, (unsigned long long)s->lsn_durable,
                         (unsigned long long)committed);
    if (place->read_end > committed)
        hg_sim_violation(world, "read_before_commit",
                         "a reader on node %c has s%u to %llu, which is committed to %llu",
                         letter_of(node->index), flow->index, (unsigned long long)place->read_end,
                         (unsigned long long)committed);
    if (generation != 0 && generation < world->members.generations[node->index])
        hg_sim_violation(world, "generation_falls", "node %c counts by generation %llu, it had %llu",
                         letter_of(node->index), (unsigned long long)generation,
                         (unsigned long long)world->members.generations[node->index]);
    if (generation != 0 && hg_streams_members_durable(streams, GROUP) == generation)
        world->members.generations[node->index] = generation;
}

bool hg_sim_members_counts(const struct sim_world *world, uint32_t node)
{
    return node >= world->plan->quorum_n || hg_members_has(&world->members.record, node + 1);
}

bool hg_sim_members_complete(const struct sim_world *world, char *text, size_t text_bytes)
{
    const struct hg_members *record = &world->members.record;
    if (record->phase == HG_MEMBERS_STABLE && world->members.order_next == world->plan->order_count)
        return true;
    snprintf(text, text_bytes, "the members are of generation %llu in phase %u, %u of %u orders were begun",
             (unsigned long long)record->generation, record->phase, world->members.order_next,
             world->plan->order_count);
    return false;
}
