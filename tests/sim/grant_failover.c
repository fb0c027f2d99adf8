/* SPDX-License-Identifier: Apache-2.0
 *
 * Write grants in scenario `failover`, in half of its seeds: each member's control plane asks for a grant
 * where the production rules say so (controlplane/grant_groups.h), by the production's write of the record
 * that drivers of fail-overs write too (hg_metastore_grant): a renewal that was on its way when a fail-over
 * took its epoch finds that out. Whoever was told something by a node, was told it before the metastore said
 * that a newer epoch of another node is open.
 */
#include "controlplane/grant_groups.h"
#include "dataplane/stream/seal.h"
#include "tests/sim/failover.h"
#include "tests/sim/scenario.h"

#include <errno.h>

#define GRANTS_SALT   UINT64_C(0x6772616e7473)
#define SHORT_MS_MAX  1500u
#define LONG_MS_MIN   2000u
#define LONG_MS_MAX   5000u
#define DRIFT_PPM     HG_CONTROL_GRANT_DRIFT_PPM
#define BEFORE_NS_MAX (300 * HG_NS_PER_MS)
#define ASKED_NS_MAX  (300 * HG_NS_PER_MS)
#define LATE_NS_MAX   (2 * HG_NS_PER_S)
#define LOST_ODDS     16u /* one answer of so many is lost */

/* ---- the plan ---- */

/* Just before another one is told to write, who writes sleeps, as a machine or in the middle of a turn, or
 * its device does: what it took under its grant is durable when that is over. Mostly it hears nobody for a
 * while when it wakes, and its grant is over by then. Or it is awake, and hears nobody. */
static void plan_sleep(struct sim_plan *plan, struct hg_random *random, uint32_t writer, uint64_t order_ns)
{
    static const enum sim_fault_kind kinds[] = {SIM_FAULT_SUSPEND, SIM_FAULT_FREEZE, SIM_FAULT_DISK_STALL};
    uint64_t kind = hg_random_below(random, HG_COUNT(kinds) + 2), reads = hg_random_between(random, 1, 40);
    bool is_awake = kind >= HG_COUNT(kinds), is_alone = is_awake || hg_random_chance(random, 2, 3);
    uint64_t time_ns = order_ns - hg_min_u64(order_ns, hg_random_below(random, BEFORE_NS_MAX));
    uint64_t grant_ns = plan->nodes[writer].grant_ms * HG_NS_PER_MS;
    uint64_t ns = hg_random_between(random, is_alone ? grant_ns : 50 * HG_NS_PER_MS, grant_ns + HG_NS_PER_S);
    if (!is_awake) {
        struct sim_fault *fault = hg_sim_plan_fault(plan, kinds[kind], time_ns, writer);
        fault->a = ns;
        fault->b = kinds[kind] == SIM_FAULT_FREEZE ? reads : 0;
    }
    ns += hg_random_between(random, HG_NS_PER_MS, HG_NS_PER_S);
    if (is_alone)
        hg_sim_plan_alone(plan, writer, time_ns, ns);
}

static void plan_sleeps(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t writer = plan->flows[0].origin, count = plan->fault_count;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_fault order = plan->faults[i];
        if (order.kind != SIM_FAULT_OPERATE || order.a != SIM_FAILOVER_ORDER)
            continue;
        if (hg_random_chance(random, 3, 4))
            plan_sleep(plan, random, writer, order.time_ns);
        writer = order.node;
    }
}

/* Drawn beside all else. A third of the grants are over before a fail-over could be done, others last longer.
 * Clocks keep to their bound, by which grants are safe. */
void hg_sim_plan_failover_grants(struct sim_plan *plan)
{
    struct hg_random random;
    hg_sim_plan_random(plan, GRANTS_SALT, &random);
    if (!hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_FAILOVER) ||
        hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_MEMBERS) || hg_random_chance(&random, 1, 2))
        return;
    bool is_long = hg_random_chance(&random, 2, 3), is_alike = hg_random_chance(&random, 1, 2);
    uint64_t min_ms = is_long ? LONG_MS_MIN : HG_CONTROL_GRANT_MS_MIN,
             max_ms = is_long ? LONG_MS_MAX : SHORT_MS_MAX;
    for (uint32_t i = 0; i < plan->quorum_n; i++) {
        uint32_t ms = (uint32_t)hg_random_between(&random, min_ms, max_ms);
        plan->nodes[i].grant_ms = is_alike && i > 0 ? plan->nodes[0].grant_ms : ms;
        plan->nodes[i].drift_ppm = (int32_t)hg_random_below(&random, 2 * DRIFT_PPM + 1) - (int32_t)DRIFT_PPM;
    }
    if (plan->classes != 0)
        plan_sleeps(plan, &random);
}

/* ---- the control plane ---- */

/* The store as it was read when the question left: what is written is judged by what is there by then. */
struct earlier {
    struct hg_metastore store;
    struct hg_metastore *behind;
    const struct hg_metastore_record *seen;
    uint32_t swaps;
};

static int earlier_read(struct hg_metastore *store, const struct hg_metastore_key *key,
                        struct hg_metastore_record *found)
{
    (void)key;
    *found = *((struct earlier *)store)->seen;
    return 0;
}

static int earlier_swap(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t revision,
                        const struct hg_metastore_record *wanted, struct hg_metastore_record *found)
{
    struct earlier *earlier = (struct earlier *)store;
    earlier->swaps++;
    return earlier->behind->swap(earlier->behind, key, revision, wanted, found);
}

static struct sim_asking *asking_of(const struct sim_node *node)
{
    return &node->world->failover->askings[node->index];
}

/* By the status page, as granting.c has it. */
static bool is_wanted(const struct sim_node *node, bool *may_make)
{
    static struct hg_control_status status;
    hg_worker_status(node->workers[0].worker, &status);
    *may_make = hg_grant_may_make(node->config, &status, SIM_FAILOVER_GROUP);
    return (hg_grant_groups(node->config, &status) >> SIM_FAILOVER_GROUP & 1) != 0;
}

static void ask(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_granting *granting = &node->grant.granting;
    struct sim_asking *asking = asking_of(node);
    hg_granting_ask(granting, hg_sim_boottime_ns(node, world->now_ns));
    (void)world->failover->store->read(world->failover->store, &hg_sim_failover_key, &asking->seen);
    asking->held_ns = granting->asked_ns - granting->since_ns;
    asking->step = SIM_ASKING_WRITE;
    asking->time_ns = world->now_ns + hg_random_below(&node->grant.random, ASKED_NS_MAX);
}

/* The question came to the metastore. */
static void write_do(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    struct sim_asking *asking = asking_of(node);
    struct earlier earlier = {.store = {.read = earlier_read, .swap = earlier_swap},
                              .behind = failover->store,
                              .seen = &asking->seen};
    struct hg_metastore_record record;
    char text[HG_METASTORE_TEXT_BYTES];
    bool is_faulty = hg_sim_failover_is_faulty(world),
         is_lost = hg_random_below(&node->grant.random, LOST_ODDS) == 0 && !world->healed;
    uint64_t back_ns = hg_random_below(&node->grant.random, ASKED_NS_MAX),
             late_ns = hg_random_below(&node->grant.random, LATE_NS_MAX);
    bool is_late = is_faulty && failover->fault == SIM_METASTORE_SLOW;
    asking->rc = -ETIMEDOUT;
    if (!is_faulty || failover->fault != SIM_METASTORE_AWAY)
        asking->rc =
            hg_metastore_grant(&earlier.store, &hg_sim_failover_key, node->index + 1, node->plan->grant_ms,
                               asking->held_ns, asking->may_make, &record, text);
    if (asking->rc == 0) { /* counts for whoever waits for its end, though its answer be lost */
        hg_sim_check_record(world, &record);
        asking->epoch = record.epoch;
        node->grant.promised_ns =
            hg_max_u64(node->grant.promised_ns, world->now_ns + node->plan->grant_ms * HG_NS_PER_MS);
    }
    world->sometimes[SIM_renewals_raced] += asking->rc == -EPERM && earlier.swaps > 0;
    if (is_lost || (is_faulty && failover->fault == SIM_METASTORE_LATE))
        asking->rc = -ETIMEDOUT;
    asking->step = asking->is_orphan ? SIM_ASKING_NOTHING : SIM_ASKING_ANSWER;
    asking->is_orphan = false;
    asking->time_ns = world->now_ns + back_ns + (is_late ? late_ns : 0);
}

static void answered(struct sim_node *node)
{
    struct sim_grant *grant = &node->grant;
    struct sim_asking *asking = asking_of(node);
    asking->step = SIM_ASKING_NOTHING;
    hg_granting_answered(&grant->granting, asking->rc, asking->epoch,
                         hg_sim_boottime_ns(node, node->world->now_ns));
    if (asking->rc != 0)
        return;
    node->world->sometimes[SIM_new_writers_granted] +=
        grant->page_epoch != asking->epoch && asking->epoch > HG_FAILOVER_EPOCH_FIRST;
    grant->page_ns = grant->granting.deadline_ns;
    grant->page_epoch = asking->epoch;
}

uint64_t hg_sim_failover_granting(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_asking *asking = asking_of(node);
    if (asking->step == SIM_ASKING_WRITE && world->now_ns >= asking->time_ns)
        write_do(node);
    bool sleeps = world->now_ns < node->grant.suspended_until_ns && !world->healed;
    if (!sleeps && asking->step == SIM_ASKING_ANSWER && world->now_ns >= asking->time_ns)
        answered(node);
    bool beats = hg_sim_is_running(node) && hg_placement_known(&node->placement) &&
                 world->now_ns >= node->paused_ns; /* its dataplane's heart */
    if (asking->step == SIM_ASKING_NOTHING && !sleeps && beats &&
        hg_granting_due(&node->grant.granting, hg_sim_boottime_ns(node, world->now_ns)) &&
        is_wanted(node, &asking->may_make))
        ask(node);
    bool waits = asking->step != SIM_ASKING_NOTHING && asking->time_ns > world->now_ns;
    return waits ? asking->time_ns : HG_TIME_NEVER;
}

void hg_sim_failover_grant_forget(struct sim_node *node, bool power)
{
    struct sim_asking *asking = asking_of(node);
    if (node->plan->grant_ms == 0)
        return;
    hg_granting_init(&node->grant.granting, node->plan->grant_ms);
    asking->is_orphan = asking->step == SIM_ASKING_WRITE;
    if (!asking->is_orphan)
        asking->step = SIM_ASKING_NOTHING;
    if (power)
        node->grant.page_ns = 0;
}

bool hg_sim_failover_is_granted(const struct sim_node *node, const struct hg_metastore_record *record)
{
    const struct sim_grant *grant = &node->grant;
    return node->plan->grant_ms == 0 || (grant->page_epoch == record->epoch && grant->page_ns != 0);
}

/* ---- what clients are told ---- */

bool hg_sim_failover_lets_write(const struct sim_node *node, const struct sim_flow *flow)
{
    struct hg_streams *streams = node->workers[0].worker->streams;
    int32_t slot = hg_streams_find(streams, flow->stream);
    return slot >= 0 && hg_streams_at(streams, (uint32_t)slot)->origin_local &&
           !hg_group_is_sealed(hg_streams_group(streams, SIM_FAILOVER_GROUP));
}

bool hg_sim_failover_is_deposed(const struct sim_node *node)
{
    const struct sim_failover *failover = node->world->failover;
    for (uint64_t epoch = node->grant.client_epoch + 1; epoch < SIM_FAILOVER_EPOCHS; epoch++)
        if (failover->epochs[epoch].given != 0 && failover->epochs[epoch].given != node->index + 1)
            return true;
    return false;
}

void hg_sim_check_told(struct sim_node *node, const struct sim_flow *flow, uint64_t time_ns)
{
    struct sim_failover *failover = node->world->failover;
    struct sim_asking *asking = asking_of(node);
    uint64_t told_epoch = node->grant.client_epoch;
    for (uint64_t epoch = told_epoch + 1; epoch < SIM_FAILOVER_EPOCHS; epoch++)
        if (failover->epochs[epoch].opened && failover->epochs[epoch].given != node->index + 1 &&
            failover->epochs[epoch].opened_ns <= time_ns)
            hg_sim_violation(
                node->world, "told_after_opened",
                "node %c tells its clients of s%u under epoch %llu, and epoch %llu of node %c is open",
                (int)('A' + node->index), flow->index, (unsigned long long)told_epoch,
                (unsigned long long)epoch, (int)('@' + failover->epochs[epoch].given));
    asking->told_ns = hg_max_u64(asking->told_ns, time_ns);
    asking->told_epoch = told_epoch;
}

/* Who stood still in the middle of a turn, told it later than that turn began. */
void hg_sim_check_told_before(struct sim_world *world, const struct hg_metastore_record *record)
{
    for (uint32_t i = 0; i < world->plan->quorum_n; i++) {
        const struct sim_asking *asking = &world->failover->askings[i];
        if (i + 1 != record->node && asking->told_epoch < record->epoch && asking->told_ns > world->now_ns)
            hg_sim_violation(
                world, "told_after_opened",
                "epoch %llu of node %c is open, and node %c tells its clients under epoch %llu at %llu ns",
                (unsigned long long)record->epoch, (int)('@' + record->node), (int)('A' + i),
                (unsigned long long)asking->told_epoch, (unsigned long long)asking->told_ns);
    }
}
