/* SPDX-License-Identifier: Apache-2.0
 *
 * Write grants: each node's control plane, with the production rules of renewal (controlplane/grant.h),
 * before a metastore that takes its time, fails and is away; and a client that has every stream's position
 * page. What the metastore committed is known here, so it is known until when a node may tell anybody
 * anything.
 */
#include "tests/sim/failover.h"
#include "tests/sim/scenario.h"

#include "dataplane/stream/grants.h"
#include "dataplane/stream/seal.h"
#include "drivers/client/heliograph.h"

#include <stdlib.h>

#define TICK_NS (10 * HG_NS_PER_MS)
#define PAGE_SLOW_NS                                                                                         \
    (20 * HG_NS_PER_MS) /* a lapsed grant shows on the page within two of a worker's ticks                   \
                         */
#define RING_BYTES     HG_CLIENT_RING_BYTES_MIN
#define STREAM_GROUP   1u /* of all streams of the simulator */
#define EPOCH          1u
#define ASKED_MAX_NS   (300 * HG_NS_PER_MS)
#define METASTORE_ODDS 16 /* one question of so many fails, or takes seconds */

static bool is_used(const struct sim_node *node)
{
    return hg_sim_scenario_has(node->world->plan->scenario, SIM_SCENARIO_GRANTS) || node->plan->grant_ms != 0;
}

/* ---- time as the node has it ---- */

/* Pauses end when all is healed, and no clock goes back. */
static uint64_t until_heal(const struct sim_world *world, uint64_t ns)
{
    return hg_min_u64(ns, world->plan->safety_ns - world->now_ns);
}

static void told_check_all(struct sim_node *node, bool is_turn_over);

uint64_t hg_sim_boottime_read(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    if (grant->freeze_reads > 0 && --grant->freeze_reads == 0 && !node->world->healed) {
        told_check_all(node, false); /* what was told in this turn was told before it stood still */
        grant->frozen_ns += until_heal(node->world, grant->freeze_ns);
        node->world->sometimes[SIM_frozen_in_a_turn]++;
    }
    return hg_sim_boottime_ns(node, node->world->now_ns + grant->frozen_ns);
}

/* The process stood still in the middle of this step: nothing more happens to it until then. */
void hg_sim_grant_step_over(struct sim_node *node)
{
    if (node->grant.frozen_ns == 0)
        return;
    node->paused_ns = hg_max_u64(node->paused_ns, node->world->now_ns + node->grant.frozen_ns);
    node->grant.frozen_ns = 0;
}

void hg_sim_grant_strike(struct sim_node *node, const struct sim_fault *fault)
{
    struct sim_world *world = node->world;
    struct sim_grant *grant = &node->grant;
    uint64_t begin_ns = hg_max_u64(world->now_ns, grant->suspended_until_ns),
             end_ns = world->now_ns + until_heal(world, fault->a);
    switch (fault->kind) {
    case SIM_FAULT_SUSPEND:
        node->paused_ns = hg_max_u64(node->paused_ns, end_ns);
        world->sometimes[SIM_suspends]++;
        if (end_ns <= begin_ns)
            return;
        grant->suspended_ns += hg_sim_boottime_ns(node, end_ns) - hg_sim_boottime_ns(node, begin_ns);
        grant->suspended_until_ns = end_ns;
        return;
    case SIM_FAULT_FREEZE:
        grant->freeze_reads = fault->b;
        grant->freeze_ns = fault->a;
        return;
    case SIM_FAULT_CONTROL:
        grant->control_down_ns = hg_max_u64(grant->control_down_ns, end_ns);
        grant->control_dies = true;
        world->sometimes[SIM_control_planes_killed]++;
        return;
    default:
        hg_assert(!"a fault of an unknown kind");
    }
}

/* ---- the control plane and its metastore ---- */

void hg_sim_grant_begin(struct sim_node *node)
{
    if (!is_used(node))
        return;
    hg_random_init(&node->grant.random, hg_sim_random_seed(node->world, 40, node->index));
    hg_granting_init(&node->grant.granting, node->plan->grant_ms);
    hg_sim_event_put(node->world, TICK_NS, SIM_EVENT_GRANT, node->index, 0, NULL);
}

/* The question is on its way: when it is committed, if it is, and when the answer is back. */
static void ask(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    struct sim_world *world = node->world;
    uint64_t there_ns = hg_random_below(&grant->random, ASKED_MAX_NS),
             back_ns = hg_random_below(&grant->random, ASKED_MAX_NS);
    bool fails = hg_random_below(&grant->random, METASTORE_ODDS) == 0;
    bool hangs = hg_random_below(&grant->random, METASTORE_ODDS) == 0;
    if (world->healed)
        fails = hangs = false;
    hg_granting_ask(&grant->granting, hg_sim_boottime_ns(node, world->now_ns));
    /* A write whose answer is lost counts all the same, for whoever waits for its end. */
    grant->promised_ns =
        hg_max_u64(grant->promised_ns, world->now_ns + there_ns + node->plan->grant_ms * HG_NS_PER_MS);
    grant->fails = fails;
    grant->answer_ns =
        world->now_ns + (there_ns + back_ns) / (world->healed ? 8 : 1) + (hangs ? 3 * HG_NS_PER_S : 0);
}

static void answered(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    uint64_t boottime_ns = hg_sim_boottime_ns(node, node->world->now_ns);
    grant->answer_ns = 0;
    if (grant->fails) {
        hg_granting_failed(&grant->granting, boottime_ns);
        return;
    }
    hg_granting_committed(&grant->granting, EPOCH);
    grant->page_ns = grant->granting.deadline_ns;
    grant->page_epoch = EPOCH;
}

/* Returns when it is to look again. */
static uint64_t look(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_grant *grant = &node->grant;
    uint64_t again_ns = world->now_ns + TICK_NS;
    bool down = world->now_ns < grant->control_down_ns && !world->healed;
    if (grant->control_dies) { /* the next one knows nothing; what is on the page stands */
        hg_granting_init(&grant->granting, node->plan->grant_ms);
        grant->answer_ns = 0;
        grant->control_dies = false;
    }
    if (world->now_ns < node->paused_ns)
        return node->paused_ns + 1;
    if (!down && grant->answer_ns != 0) {
        if (world->now_ns < grant->answer_ns)
            return hg_min_u64(again_ns, grant->answer_ns);
        answered(node);
    } else if (!down && node->is_up &&
               hg_granting_due(&grant->granting, hg_sim_boottime_ns(node, world->now_ns))) {
        ask(node);
    }
    return again_ns;
}

void hg_sim_grant_event(struct sim_node *node)
{
    struct sim_world *world = node->world;
    const struct sim_grant *grant = &node->grant;
    uint64_t tick_ns = world->now_ns + TICK_NS;
    uint64_t again_ns =
        world->failover != NULL ? hg_min_u64(tick_ns, hg_sim_failover_granting(node)) : look(node);
    hg_sim_event_put(world, again_ns, SIM_EVENT_GRANT, node->index, 0, NULL);
    if (grant->page_ns != grant->given_ns && node->is_up && world->now_ns >= node->paused_ns)
        hg_sim_node_step(node);
}

/* As housekeeping does it. */
static void page_give(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    struct hg_letter letter;
    if (grant->page_ns == grant->given_ns || !hg_placement_known(&node->placement))
        return;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_GRANT;
    letter.number = STREAM_GROUP;
    letter.number2 = grant->page_epoch;
    letter.body.deadline_ns = grant->page_ns;
    for (uint32_t i = 0; i < node->worker_count; i++)
        hg_assert(hg_mailbox_put(&node->workers[i].inbox, &letter));
    grant->given_ns = grant->page_ns;
}

/* ---- what clients are told ---- */

void hg_sim_grant_boot(struct sim_node *node)
{
    node->grant.given_ns = 0;
    node->grant.frozen_ns = 0;
    node->grant.client_open = false;
    memset(node->grant.told, 0, sizeof(node->grant.told));
}

static bool is_writer(const struct sim_node *node, const struct sim_flow *flow)
{
    return node->world->failover != NULL ? hg_sim_failover_lets_write(node, flow)
                                         : flow->plan->origin == node->index;
}

static void client_open(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    uint64_t bytes = hg_client_memory_bytes(RING_BYTES, RING_BYTES);
    if (grant->memory == NULL)
        grant->memory = aligned_alloc(HG_CLIENT_PAGE_BYTES, bytes);
    hg_assert(grant->memory != NULL);
    memset(grant->memory, 0, bytes);
    hg_client_ring_init(&grant->ring, grant->memory, RING_BYTES, RING_BYTES, 5, 1);
    hg_assert(hg_client_view_init(&grant->view, grant->memory, bytes) == 0);
    grant->client = hg_clients_open(node->workers[0].worker->clients, &grant->ring, 0, "sim", 1, 0);
    hg_assert(grant->client >= 0);
    grant->client_open = true;
    grant->client_epoch = hg_streams_group(node->workers[0].worker->streams, STREAM_GROUP)->epoch_open;
}

/* Whoever wrote under an older epoch is told of nothing any more: a producer of the new one is another
 * client. */
static void client_renew(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    struct hg_worker *worker = node->workers[0].worker;
    if (!grant->client_open ||
        grant->client_epoch == hg_streams_group(worker->streams, STREAM_GROUP)->epoch_open ||
        !is_writer(node, &node->world->flows[0]))
        return;
    hg_clients_close(worker->clients, (uint32_t)grant->client);
    grant->client_open = false;
    memset(grant->told, 0, sizeof(grant->told));
}

/* A producer, so it comes in only under a grant. */
static void flow_attach(struct sim_node *node, struct sim_flow *flow)
{
    struct hg_client_attach attach = {.request = 1, .flags = HG_CLIENT_ATTACH_APPEND};
    struct hg_client_answer answer;
    struct sim_told *told = &node->grant.told[flow->index];
    memset(&answer, 0, sizeof(answer));
    snprintf(attach.name, sizeof(attach.name), "s%u", flow->index);
    (void)hg_clients_attach(node->workers[0].worker->clients, (uint32_t)node->grant.client, &attach, &answer);
    told->attached = answer.code == 0;
    told->slot = answer.slot;
    if (answer.code == 0)
        hg_client_view_slot_attach(&node->grant.view, answer.slot, answer.attachment);
}

/* In the middle of a turn the page may still say what it said before a pause: who was not running published
 * nothing. */
static void told_check(struct sim_node *node, struct sim_flow *flow, uint64_t time_ns, bool is_turn_over)
{
    struct sim_world *world = node->world;
    struct sim_grant *grant = &node->grant;
    struct sim_told *told = &grant->told[flow->index];
    struct hg_client_position position;
    const struct hg_stream_state *s =
        hg_streams_at(node->workers[0].worker->streams,
                      (uint32_t)hg_streams_find(node->workers[0].worker->streams, flow->stream));
    if (!hg_client_view_position_get(&grant->view, told->slot, &position))
        return;
    bool moved = position.lsn_durable > told->durable || position.lsn_committed > told->committed ||
                 (s->lsn_committed > told->committed_here && is_writer(node, flow));
    for (uint32_t i = 0; i < HG_CLIENT_REGIONS; i++) {
        moved |= position.lsn_durable_region[i] > told->region[i];
        told->region[i] = position.lsn_durable_region[i];
    }
    if (moved && time_ns > grant->promised_ns)
        hg_sim_violation(
            world, "told_without_grant",
            "node %c told of s%u up to %llu (committed %llu) at %llu ns, its grant ended at %llu ns",
            (int)('A' + node->index), flow->index, (unsigned long long)position.lsn_durable,
            (unsigned long long)position.lsn_committed, (unsigned long long)time_ns,
            (unsigned long long)grant->promised_ns);
    if (moved && world->failover != NULL)
        hg_sim_check_told(node, flow, time_ns);
    if (position.writable && is_turn_over && grant->frozen_ns == 0 &&
        time_ns > grant->promised_ns + PAGE_SLOW_NS)
        hg_sim_violation(world, "writable_without_grant", "node %c offers s%u to producers at %llu ns",
                         (int)('A' + node->index), flow->index, (unsigned long long)time_ns);
    world->sometimes[SIM_minorities_without_grant] +=
        !position.writable && world->plan->quorum_n != 0 && s->lsn_committed < s->lsn_durable;
    world->sometimes[SIM_acks_held_back] += s->lsn_durable > position.lsn_durable;
    world->sometimes[SIM_deposed_acks_held_back] +=
        s->lsn_durable > position.lsn_durable && time_ns > grant->promised_ns && is_writer(node, flow) &&
        world->failover != NULL && hg_sim_failover_is_deposed(node);
    told->durable = position.lsn_durable;
    told->committed = position.lsn_committed;
    told->committed_here = s->lsn_committed;
}

static void told_check_all(struct sim_node *node, bool is_turn_over)
{
    const struct sim_world *world = node->world;
    for (uint32_t i = 0; node->grant.client_open && i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &node->world->flows[i];
        if (node->grant.told[i].attached && hg_sim_worker_of(node, flow) != NULL)
            told_check(node, flow, world->now_ns + node->grant.frozen_ns, is_turn_over);
    }
}

void hg_sim_grant_turn(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_worker *worker = node->workers[0].worker;
    if (!is_used(node))
        return;
    page_give(node);
    if (worker->state != HG_WORKER_RUNNING)
        return;
    if (world->failover != NULL)
        client_renew(node);
    if (!node->grant.client_open)
        client_open(node);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        if (!node->grant.told[i].attached && is_writer(node, flow) && hg_sim_worker_of(node, flow) != NULL)
            flow_attach(node, flow);
    }
    told_check_all(node, true);
}

void hg_sim_grant_free(struct sim_node *node)
{
    free(node->grant.memory);
}

/* ---- the plan ---- */

static uint64_t log_uniform(struct hg_random *random, uint64_t low, uint32_t octaves)
{
    uint64_t base = low << hg_random_below(random, octaves);
    return hg_random_between(random, base, 2 * base - 1);
}

static void fault_add(struct sim_plan *plan, struct hg_random *random, enum sim_fault_kind kind, uint64_t a,
                      uint64_t b)
{
    uint64_t time_ns = hg_random_below(random, plan->safety_ns);
    uint32_t node = (uint32_t)hg_random_below(random, plan->node_count);
    if (plan->fault_count == SIM_FAULTS_MAX)
        return;
    plan->faults[plan->fault_count++] =
        (struct sim_fault){.time_ns = time_ns, .kind = kind, .node = node, .a = a, .b = b};
}

void hg_sim_plan_alone(struct sim_plan *plan, uint32_t node, uint64_t time_ns, uint64_t ns)
{
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t way = 0; i != node && way < 2; way++) {
            struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, way == 0 ? node : i);
            fault->other = way == 0 ? i : node;
            fault->a = ns;
        }
}

/* The writer is alone for longer than its grant: neither the other nodes nor the metastore hear of it. */
static void plan_writer_alone(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t time_ns = hg_random_below(random, plan->safety_ns / 2);
    uint64_t ns = hg_random_between(random, HG_NS_PER_S / 2, 4 * HG_NS_PER_S);
    hg_sim_plan_fault(plan, SIM_FAULT_CONTROL, time_ns, 0)->a = ns;
    hg_sim_plan_alone(plan, 0, time_ns, ns);
}

/* Streams that go on through the whole phase, one worker a node, clocks within their bound; every kind of
 * pause. */
void hg_sim_grant_plan(struct sim_plan *plan, struct hg_random *random)
{
    if (!hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_GRANTS))
        return;
    plan->safety_ns = log_uniform(random, 2 * HG_NS_PER_S, 2);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].grant_ms = (uint32_t)hg_min_u64(log_uniform(random, HG_CONTROL_GRANT_MS_MIN, 2), 1500);
        plan->nodes[i].drift_ppm = (int32_t)hg_random_below(random, 401) - 200;
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->interval_ns = log_uniform(random, HG_NS_PER_MS, 4);
        flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 512);
        flow->burst_frames_max = (uint32_t)hg_min_u64(flow->burst_frames_max, 8);
    }
    if (plan->classes == 0)
        return;
    if (hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_QUORUM) && hg_random_chance(random, 1, 2))
        plan_writer_alone(plan, random);
    for (uint64_t i = hg_random_below(random, 4); i > 0; i--)
        fault_add(plan, random, SIM_FAULT_SUSPEND, log_uniform(random, 10 * HG_NS_PER_MS, 8), 0);
    for (uint64_t i = hg_random_below(random, 6); i > 0; i--) {
        uint64_t reads = hg_random_between(random, 1, 40);
        fault_add(plan, random, SIM_FAULT_FREEZE, log_uniform(random, 10 * HG_NS_PER_MS, 8), reads);
    }
    for (uint64_t i = hg_random_below(random, 4); i > 0; i--)
        fault_add(plan, random, SIM_FAULT_CONTROL, log_uniform(random, 10 * HG_NS_PER_MS, 8), 0);
}
