/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/cluster.h"
#include "controlplane/metastore.h"
#include "dataplane/stream/seal.h"
#include "tests/sim/failover.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENTS_CLUSTER 48u
#define RETRY_NS         (50 * HG_NS_PER_MS)
#define AFTER_HEAL_NS    (100 * HG_NS_PER_MS)
#define EPOCH_WRONG      1000u /* above all that are ever taken */

/* ---- the plan ---- */

void hg_sim_plan_cluster_sizes(struct sim_plan *plan, struct hg_random *random)
{
    static const uint32_t shapes[][2] = {{2, 3}, {2, 3}, {3, 1}, {2, 1}}; /* regions, nodes in each */
    uint64_t shape = hg_random_below(random, HG_COUNT(shapes));
    plan->quorum_regions = shapes[shape][1] > 1 ? shapes[shape][0] : 0;
    plan->quorum_n = shapes[shape][1] > 1 ? shapes[shape][1] : 0;
    plan->quorum_w = plan->quorum_n == 0 ? 0 : hg_random_chance(random, 1, 4) ? 3 : 2;
    plan->node_count = shapes[shape][0] * shapes[shape][1];
    plan->flow_count = (uint32_t)hg_random_between(random, 1, 4);
    plan->origins = 1;
    plan->safety_ns = hg_random_between(random, HG_NS_PER_S, 6 * HG_NS_PER_S);
    plan->segment_bytes = hg_align_up(hg_max_u64(plan->segment_bytes, 1u << 20), HG_LOG_BLOCK_BYTES);
}

static void cut(struct sim_plan *plan, uint64_t time_ns, uint32_t from, uint32_t to, uint64_t ns)
{
    struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, from);
    fault->other = to;
    fault->a = ns;
}

enum shape { ISOLATE, SPLIT, BRIDGE, RING, ONE_WAY, FLAPPING, SWIZZLE, SHAPES };

/* Whether the shape lets nothing pass from `a` to `b`; `sides` has a bit a node, `one` is a node. */
static bool is_cut(enum shape shape, const struct sim_plan *plan, uint32_t sides, uint32_t one, uint32_t a,
                   uint32_t b)
{
    bool across = ((sides >> a ^ sides >> b) & 1) != 0;
    uint32_t apart = (a + plan->node_count - b) % plan->node_count;
    switch (shape) {
    case ISOLATE:
        return a == one || b == one;
    case SPLIT:
        return across;
    case BRIDGE:
        return across && a != one && b != one;
    case RING:
        return apart != 1 && apart != plan->node_count - 1;
    case ONE_WAY:
        return across && (sides >> a & 1) != 0;
    default:
        return false;
    }
}

/* Links of one node after the other go, and come back in another order. */
static void plan_swizzle(struct sim_plan *plan, struct hg_random *random, uint64_t time_ns, uint64_t ns)
{
    for (uint32_t i = 0; i < plan->node_count; i++) {
        if (hg_random_chance(random, 1, 2))
            continue;
        uint64_t begin_ns = time_ns + hg_random_below(random, ns), end_ns = hg_random_below(random, ns);
        for (uint32_t j = 0; j < plan->node_count; j++)
            if (j != i) {
                cut(plan, begin_ns, i, j, end_ns);
                cut(plan, begin_ns, j, i, end_ns);
            }
    }
}

static void plan_flapping(struct sim_plan *plan, struct hg_random *random, uint64_t time_ns, uint64_t ns)
{
    uint32_t one = (uint32_t)hg_random_below(random, plan->node_count);
    uint64_t turn_ns = hg_random_between(random, HG_NS_PER_MS, 300 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (i != one) {
            struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_FLAP, time_ns, one);
            fault->other = i;
            fault->a = ns;
            fault->b = turn_ns;
        }
}

static void plan_partition(struct sim_plan *plan, struct hg_random *random)
{
    enum shape shape = (enum shape)hg_random_below(random, SHAPES);
    uint64_t time_ns = hg_random_below(random, plan->safety_ns);
    uint64_t ns = hg_random_between(random, 10 * HG_NS_PER_MS, 4 * HG_NS_PER_S);
    uint32_t sides = (uint32_t)hg_random_u64(random),
             one = (uint32_t)hg_random_below(random, plan->node_count);
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t j = 0; j < plan->node_count; j++)
            if (i != j && is_cut(shape, plan, sides, one, i, j))
                cut(plan, time_ns, i, j, ns);
    if (shape == FLAPPING)
        plan_flapping(plan, random, time_ns, ns);
    if (shape == SWIZZLE)
        plan_swizzle(plan, random, time_ns, ns);
}

/* A writer that its region can't hear for so long that its quorum is lost. */
static void plan_outage(struct sim_plan *plan, struct hg_random *random)
{
    uint64_t time_ns = hg_random_between(random, HG_NS_PER_MS, HG_NS_PER_S);
    uint64_t ns = hg_random_between(random, 5 * HG_NS_PER_S, 7 * HG_NS_PER_S);
    struct sim_flow_plan *flow = &plan->flows[0];
    plan->safety_ns = 9 * HG_NS_PER_S;
    flow->bytes = 64u << 10;
    flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 1024);
    flow->burst_frames_max = (uint32_t)hg_min_u64(flow->burst_frames_max, 4);
    flow->interval_ns = hg_random_between(random, 20 * HG_NS_PER_MS, 100 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (i != flow->origin) {
            cut(plan, time_ns, flow->origin, i, ns);
            cut(plan, time_ns, i, flow->origin, ns);
        }
}

static void plan_operators(struct sim_plan *plan, struct hg_random *random)
{
    for (uint64_t i = hg_random_between(random, 1, 6); i > 0; i--) {
        bool wrong = hg_random_chance(random, 1, 4);
        uint32_t node = hg_random_chance(random, 2, 3)
                            ? plan->flows[hg_random_below(random, plan->flow_count)].origin
                            : (uint32_t)hg_random_below(random, plan->node_count);
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_OPERATE, hg_random_below(random, plan->safety_ns), node);
        fault->a = wrong ? hg_random_between(random, 1, SIM_OPERATION_COUNT - 1) : SIM_OPERATE_RENEW;
        fault->b = hg_random_between(random, HG_NS_PER_US, 200 * HG_NS_PER_MS);
        if (hg_random_chance(random, 1, 3)) { /* somebody else, at the same time */
            fault = hg_sim_plan_fault(plan, SIM_FAULT_OPERATE, fault->time_ns, (node + 1) % plan->node_count);
            fault->b = hg_random_between(random, HG_NS_PER_US, 200 * HG_NS_PER_MS);
        }
    }
    for (uint64_t i = hg_random_below(random, 4); i > 0; i--) {
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_METASTORE, hg_random_below(random, plan->safety_ns), 0);
        fault->a = hg_random_between(random, 10 * HG_NS_PER_MS, 2 * HG_NS_PER_S);
        fault->b = hg_random_below(random, SIM_METASTORE_FAULT_COUNT);
    }
}

/* Devices that hang for a minute, that cancel what was queued, that read wrong once; processors that are
 * slow. */
static void plan_gray(struct sim_plan *plan, struct hg_random *random)
{
    for (uint64_t i = hg_random_below(random, 3); i > 0; i--) {
        uint32_t node = (uint32_t)hg_random_below(random, plan->node_count);
        uint64_t time_ns = hg_random_below(random, plan->safety_ns);
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_SLOW, time_ns, node);
        fault->a = hg_random_between(random, 10 * HG_NS_PER_MS, 2 * HG_NS_PER_S);
        fault->b = hg_random_between(random, HG_NS_PER_US, 20 * HG_NS_PER_MS);
    }
    for (uint64_t i = hg_random_below(random, 3); i > 0; i--) {
        uint32_t node = (uint32_t)hg_random_below(random, plan->node_count);
        uint64_t time_ns = hg_random_below(random, plan->safety_ns);
        static const enum sim_fault_kind kinds[] = {SIM_FAULT_DISK_WRITE, SIM_FAULT_DISK_FLUSH,
                                                    SIM_FAULT_DISK_STALL, SIM_FAULT_DISK_READ};
        enum sim_fault_kind kind = kinds[hg_random_below(random, HG_COUNT(kinds))];
        bool stalls = kind == SIM_FAULT_DISK_STALL;
        struct sim_fault *fault = hg_sim_plan_fault(plan, kind, time_ns, node);
        fault->a = stalls ? hg_random_between(random, HG_NS_PER_MS, 60 * HG_NS_PER_S)
                          : hg_random_between(random, 1, 32);
        fault->b = stalls ? 0 : ECANCELED;
    }
}

void hg_sim_plan_cluster(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t size = (uint32_t)hg_max_u64(plan->quorum_n, 1), regions = plan->node_count / size;
    uint32_t origins[SIM_NODES_MAX];
    bool faults = plan->classes != 0;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].region = i / size;
        plan->nodes[i].segment_count = SEGMENTS_CLUSTER;
        plan->nodes[i].segment_bytes = plan->segment_bytes;
    }
    for (uint32_t i = 0; i < regions; i++)
        origins[i] = i * size + (uint32_t)hg_random_below(random, size);
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        plan->flows[i].origin = origins[i == 0 ? 0 : hg_random_below(random, regions)];
        plan->flows[i].bytes = hg_min_u64(plan->flows[i].bytes, 128u << 10);
    }
    for (uint64_t i = hg_random_below(random, 3); i > 0 && faults; i--)
        plan_partition(plan, random);
    if (faults && plan->quorum_n != 0 && hg_random_chance(random, 1, 6))
        plan_outage(plan, random);
    plan_operators(plan, random);
    if (faults && hg_random_chance(random, 1, 2))
        plan_gray(plan, random);
}

/* ---- agents ---- */

struct sim_cluster *hg_sim_cluster_make(void)
{
    struct sim_cluster *cluster = calloc(1, sizeof(*cluster));
    hg_assert(cluster != NULL);
    cluster->store = hg_metastore_memory_open();
    return cluster;
}

void hg_sim_cluster_free(struct sim_cluster *cluster)
{
    if (cluster == NULL)
        return;
    cluster->store->close(cluster->store);
    free(cluster);
}

uint32_t hg_sim_group_of(const struct sim_plan *plan, uint32_t region)
{
    return hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_CLUSTER) ? region + 1 : 1;
}

static struct hg_metastore_key key_of(const struct sim_node *node)
{
    return (struct hg_metastore_key){
        .cluster = SIM_CLUSTER, .region = node->plan->region, .group = node->plan->region + 1};
}

static bool is_origin(const struct sim_node *node)
{
    const struct sim_plan *plan = node->world->plan;
    for (uint32_t i = 0; i < plan->flow_count; i++)
        if (plan->flows[i].origin == node->index)
            return true;
    return false;
}

static void agent_wake(struct sim_node *node, uint64_t after_ns)
{
    struct sim_agent *agent = &node->world->cluster->agents[node->index];
    hg_sim_event_put(node->world, node->world->now_ns + after_ns, SIM_EVENT_AGENT, node->index,
                     ++agent->generation, NULL);
}

static void agent_go(struct sim_node *node, enum sim_agent_step step)
{
    struct sim_agent *agent = &node->world->cluster->agents[node->index];
    agent->step = step;
    agent->waits = false;
    if (step != SIM_AGENT_IDLE)
        agent_wake(node, agent->gap_ns);
    else if (node->world->healed)
        agent_wake(node, AFTER_HEAL_NS); /* what others sealed meanwhile is opened */
}

static void agent_begin(struct sim_node *node, enum sim_operation operation, uint64_t gap_ns)
{
    struct sim_agent *agent = &node->world->cluster->agents[node->index];
    if (agent->step != SIM_AGENT_IDLE)
        return; /* one at a time, as its control plane has it */
    agent->operation = operation;
    agent->gap_ns = gap_ns;
    agent->epoch = 0;
    agent_go(node, SIM_AGENT_TAKE);
}

void hg_sim_operate(struct sim_world *world, const struct sim_fault *fault)
{
    if (world->failover != NULL) {
        hg_sim_failover_operate(world, fault);
        return;
    }
    if (fault->kind == SIM_FAULT_METASTORE) {
        world->cluster->away_until_ns = world->now_ns + fault->a;
        world->cluster->fault = (enum sim_metastore_fault)fault->b;
        return;
    }
    agent_begin(&world->nodes[fault->node], (enum sim_operation)fault->a, fault->b);
}

/* A call of the store: 0 or -errno, -ETIMEDOUT also when it was done. */
static int store_do(struct sim_node *node, bool begins, uint64_t epoch, char text[HG_METASTORE_TEXT_BYTES])
{
    struct sim_cluster *cluster = node->world->cluster;
    struct hg_metastore_key key = key_of(node);
    bool is_away = node->world->now_ns < cluster->away_until_ns && !node->world->healed;
    if (is_away && cluster->fault == SIM_METASTORE_AWAY)
        return -ETIMEDOUT;
    int rc = begins ? hg_metastore_begin(cluster->store, &key, epoch, node->index + 1, text)
                    : hg_metastore_seal(cluster->store, &key, epoch, node->index + 1, text);
    if (rc == 0 && begins)
        cluster->epoch_opened[node->plan->region] =
            hg_max_u64(cluster->epoch_opened[node->plan->region], epoch);
    node->world->sometimes[SIM_metastore_writes_unanswered] += is_away && rc == 0;
    return is_away ? -ETIMEDOUT : rc;
}

static void agent_take(struct sim_node *node, struct sim_agent *agent)
{
    struct sim_cluster *cluster = node->world->cluster;
    struct hg_metastore_key key = key_of(node);
    struct hg_metastore_record found;
    char text[HG_METASTORE_TEXT_BYTES];
    if (agent->operation == SIM_OPERATE_UNSEALED || agent->operation == SIM_OPERATE_OLD) {
        agent->epoch = agent->operation == SIM_OPERATE_OLD ? 1 : EPOCH_WRONG;
        agent_go(node, agent->operation == SIM_OPERATE_OLD ? SIM_AGENT_SEAL : SIM_AGENT_OPEN);
        return;
    }
    if (agent->epoch == 0) {
        (void)cluster->store->read(cluster->store, &key, &found);
        agent->epoch = hg_max_u64(found.epoch, 1) + 1;
    }
    int rc = store_do(node, false, agent->epoch, text);
    if (rc == -EEXIST) {
        node->world->sometimes[SIM_epochs_taken_by_others]++;
        agent->epoch = 0;
    }
    if (rc == 0)
        agent_go(node, SIM_AGENT_SEAL);
    else
        agent_wake(node, RETRY_NS);
}

static void agent_order(struct sim_node *node, struct sim_agent *agent, enum hg_letter_type type)
{
    struct hg_letter letter;
    if (!node->is_up || node->workers[0].worker->state != HG_WORKER_RUNNING ||
        !hg_placement_known(&node->placement)) {
        agent_wake(node, RETRY_NS);
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = type;
    letter.number = hg_sim_group_of(node->world->plan, node->plan->region);
    letter.number2 = agent->epoch;
    agent->waits = hg_mailbox_put(&node->workers[0].inbox, &letter);
    hg_sim_trace(node->world, "node %c is ordered to %s epoch %llu", (int)('A' + node->index),
                 type == HG_LETTER_GROUP_SEAL ? "seal under" : "open", (unsigned long long)agent->epoch);
    if (agent->waits)
        hg_sim_node_step(node);
    else
        agent_wake(node, RETRY_NS);
}

static void agent_publish(struct sim_node *node, struct sim_agent *agent)
{
    char text[HG_METASTORE_TEXT_BYTES];
    int rc = is_origin(node) ? store_do(node, true, agent->epoch, text) : -EPERM;
    if (rc == 0)
        agent_go(node, SIM_AGENT_OPEN);
    else if (rc == -ETIMEDOUT)
        agent_wake(node, RETRY_NS);
    else
        agent_go(node, SIM_AGENT_IDLE); /* somebody else's, or only the writer opens */
}

void hg_sim_agent_step(struct sim_world *world, uint32_t index, uint64_t generation)
{
    struct sim_node *node = &world->nodes[index];
    struct sim_agent *agent = &world->cluster->agents[index];
    if (generation != agent->generation || agent->waits)
        return;
    switch (agent->step) {
    case SIM_AGENT_IDLE:
        if (world->healed)
            hg_sim_cluster_heal(world);
        break;
    case SIM_AGENT_TAKE:
        agent_take(node, agent);
        break;
    case SIM_AGENT_SEAL:
        agent_order(node, agent, HG_LETTER_GROUP_SEAL);
        break;
    case SIM_AGENT_BEGIN:
        agent_publish(node, agent);
        break;
    case SIM_AGENT_OPEN:
        agent_order(node, agent, HG_LETTER_GROUP_OPEN);
        break;
    }
}

void hg_sim_agent_answer(struct sim_node *node, const struct hg_letter *letter)
{
    struct sim_world *world = node->world;
    struct sim_agent *agent = &world->cluster->agents[node->index];
    bool was_seal = agent->step == SIM_AGENT_SEAL, right = agent->operation == SIM_OPERATE_RENEW;
    hg_sim_trace(world, "node %c answers: %d %s", (int)('A' + node->index), letter->code, letter->body.text);
    agent->waits = false;
    if (letter->code == 0 && !right)
        hg_sim_violation(world, "order", "node %c %s epoch %llu, which it must refuse",
                         (int)('A' + node->index), was_seal ? "seals under" : "opens",
                         (unsigned long long)agent->epoch);
    world->sometimes[SIM_orders_refused] += letter->code != 0 && letter->code != -EAGAIN;
    if (letter->code == -EAGAIN) {
        agent_wake(node, RETRY_NS);
    } else if (letter->code != 0) {
        agent_go(node, SIM_AGENT_IDLE);
    } else if (was_seal) {
        world->sometimes[SIM_groups_sealed]++;
        hg_sim_check_sealed(node, agent->epoch);
        agent_go(node, SIM_AGENT_BEGIN);
    } else {
        world->sometimes[SIM_groups_opened]++;
        world->cluster->nodes[node->index].sealed_epoch = 0;
        agent_go(node, SIM_AGENT_IDLE);
    }
}

void hg_sim_agent_boot(struct sim_node *node)
{
    struct sim_agent *agent = &node->world->cluster->agents[node->index];
    if (!agent->waits)
        return;
    agent->waits = false;
    agent_wake(node, RETRY_NS);
}

/* The newest epoch that a member of the region promised. */
static uint64_t promised_in(const struct sim_world *world, uint32_t region)
{
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        if (world->plan->nodes[i].region == region)
            epoch = hg_max_u64(epoch, world->cluster->nodes[i].epoch_promised);
    return epoch;
}

void hg_sim_cluster_heal(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        const struct sim_agent *agent = &world->cluster->agents[i];
        if (!is_origin(node) || agent->step != SIM_AGENT_IDLE)
            continue;
        const struct hg_group *group =
            !node->is_up ? NULL
                         : hg_streams_group(node->workers[0].worker->streams,
                                            hg_sim_group_of(world->plan, node->plan->region));
        bool is_behind = group == NULL || hg_group_is_sealed(group) ||
                         hg_max_u64(group->epoch_open, 1) < promised_in(world, node->plan->region);
        if (is_behind)
            agent_begin(node, SIM_OPERATE_RENEW, HG_NS_PER_MS);
        else if (world->now_ns - world->plan->safety_ns < HG_NS_PER_S)
            agent_wake(node, AFTER_HEAL_NS);
    }
}
