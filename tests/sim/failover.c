/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/failover.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "tests/sim/members.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <stdlib.h>

#define NODES             3u
#define NODES_MANY        5u
#define FIVE_SALT         UINT64_C(0x9c)
#define SEGMENTS          48u
#define POLL_NS_MIN       (5 * HG_NS_PER_MS)
#define POLL_NS_MAX       (100 * HG_NS_PER_MS)
#define ACTIONS_MAX       64u /* of one poll, as the shell has it */
#define FRAMES_TURN       64u
#define SYSTEM_IDENTIFIER UINT64_C(7300000000000000000)
#define LSN_UNIT_BYTES    (16u << 20)
#define VARIANT_MASK      0xffu

static int letter_of(const struct sim_node *node)
{
    return (int)('A' + node->index);
}

/* ---- the plan ---- */

/* A quarter of the regions whose members stay have five. Drawn beside all else, which it must not reshuffle.
 */
static bool draws_five(const struct sim_plan *plan)
{
    struct hg_random random;
    hg_sim_plan_random(plan, FIVE_SALT, &random);
    return !hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_MEMBERS) && hg_random_chance(&random, 1, 4);
}

void hg_sim_plan_failover_sizes(struct sim_plan *plan, struct hg_random *random)
{
    plan->quorum_regions = 1;
    bool is_five = draws_five(plan);
    plan->quorum_n = plan->node_count = is_five ? NODES_MANY : NODES;
    plan->quorum_w = plan->quorum_n / 2 + 1;
    plan->origins = 1;
    plan->flow_count = (uint32_t)hg_random_between(random, 1, 3);
    plan->safety_ns = hg_random_between(random, 4 * HG_NS_PER_S, 14 * HG_NS_PER_S);
    if (hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_MEMBERS)) {
        plan->members_n = NODES;
        plan->quorum_n = plan->node_count = NODES + (uint32_t)hg_random_between(random, 1, 2);
    }
    plan->segment_bytes = hg_align_up(hg_max_u64(plan->segment_bytes, 1u << 20), HG_LOG_BLOCK_BYTES);
}

/* The node hears nobody, or is heard by nobody, or both. */
static void plan_cut(struct sim_plan *plan, struct hg_random *random, uint64_t time_ns, uint32_t node)
{
    uint64_t ns = hg_random_between(random, 50 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    uint64_t ways = hg_random_between(random, 1, 3);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        if (i == node)
            continue;
        for (uint32_t way = 0; way < 2; way++) {
            if ((ways >> way & 1) == 0)
                continue;
            struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, way == 0 ? node : i);
            fault->other = way == 0 ? i : node;
            fault->a = ns;
        }
    }
}

static void plan_order(struct sim_plan *plan, enum sim_failover_order what, uint64_t time_ns, uint32_t node)
{
    hg_sim_plan_fault(plan, SIM_FAULT_OPERATE, time_ns, node)->a = what;
}

/* Of five members one or two more are gone when the writer is: those that are left are just enough, or not.
 */
static void plan_more_gone(struct sim_plan *plan, struct hg_random *random, uint64_t time_ns, uint32_t writer)
{
    for (uint64_t i = hg_random_below(random, 3); i > 0 && plan->classes != 0; i--) {
        uint32_t node = (writer + (uint32_t)hg_random_between(random, 1, NODES_MANY - 1)) % NODES_MANY;
        if (hg_random_chance(random, 1, 2)) {
            plan_cut(plan, random, time_ns, node);
            continue;
        }
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_KILL, time_ns, node);
        fault->a = hg_random_between(random, 1, 40);
        fault->b = hg_random_between(random, HG_NS_PER_MS, 3 * HG_NS_PER_S);
    }
}

/* Fail-overs one after the other, most to another node; often what makes one order them came just before. */
static void plan_orders(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t writer = plan->flows[0].origin,
             members = plan->members_n != 0 ? plan->members_n : plan->quorum_n;
    uint64_t time_ns = hg_random_between(random, 50 * HG_NS_PER_MS, HG_NS_PER_S);
    while (time_ns < plan->safety_ns) {
        uint32_t next = (writer + (uint32_t)hg_random_between(random, 0, 5) % members) % plan->node_count;
        uint64_t before_ns = hg_random_between(random, HG_NS_PER_MS, 400 * HG_NS_PER_MS);
        bool cut = hg_random_chance(random, 1, 2), dies = hg_random_chance(random, 1, 5);
        bool races = hg_random_chance(random, 1, 4), ends = hg_random_chance(random, 1, 4);
        uint64_t after_ns = hg_random_between(random, HG_NS_PER_MS, 1500 * HG_NS_PER_MS);
        if (plan->classes == 0)
            cut = dies = false;
        if (cut)
            plan_cut(plan, random, time_ns - hg_min_u64(time_ns, before_ns), writer);
        if (plan->quorum_n == NODES_MANY && plan->members_n == 0)
            plan_more_gone(plan, random, time_ns, writer);
        plan_order(plan, SIM_FAILOVER_ORDER, time_ns, next);
        if (races)
            plan_order(plan, SIM_FAILOVER_ORDER, time_ns + after_ns / 4, (next + 1) % plan->node_count);
        if (ends)
            plan_order(plan, SIM_FAILOVER_KILL, time_ns + after_ns, next);
        if (dies) {
            struct sim_fault *fault = hg_sim_plan_fault(
                plan, hg_random_chance(random, 1, 2) ? SIM_FAULT_POWER : SIM_FAULT_KILL, time_ns, writer);
            fault->a = hg_random_between(random, 1, 40);
            fault->b = hg_random_between(random, HG_NS_PER_MS, 3 * HG_NS_PER_S);
        }
        writer = next;
        time_ns += hg_random_between(random, 300 * HG_NS_PER_MS, 4 * HG_NS_PER_S);
    }
}

static void plan_metastore(struct sim_plan *plan, struct hg_random *random)
{
    for (uint64_t i = hg_random_below(random, 4); i > 0; i--) {
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, SIM_FAULT_METASTORE, hg_random_below(random, plan->safety_ns), 0);
        fault->a = hg_random_between(random, 10 * HG_NS_PER_MS, 2 * HG_NS_PER_S);
        fault->b = hg_random_between(random, 0, SIM_METASTORE_SLOW);
    }
}

/* As many members as acknowledge come back with older images of their disks while the others are cut off, and
 * one of them becomes the writer: what was acknowledged is in those others alone, and their writer's history
 * parts below that. They must not be cut there. */
static void plan_old_disks(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t n = plan->quorum_n, first = (uint32_t)hg_random_below(random, n), others = n - plan->quorum_w;
    uint64_t image_ns = hg_random_between(random, plan->safety_ns / 8, plan->safety_ns / 3);
    uint64_t old_ns = hg_random_between(random, plan->safety_ns / 2, plan->safety_ns - HG_NS_PER_S);
    for (uint32_t i = 0; i < n; i++) {
        if ((i + n - first) % n < others)
            continue;
        hg_sim_plan_fault(plan, SIM_FAULT_SNAPSHOT, image_ns, i)->b = HG_NS_PER_MS;
        hg_sim_plan_fault(plan, SIM_FAULT_ROLLBACK, old_ns, i)->b = HG_NS_PER_MS;
        for (uint32_t j = 0; j < 2 * others; j++) {
            uint32_t other = (first + j / 2) % n;
            struct sim_fault *fault =
                hg_sim_plan_fault(plan, SIM_FAULT_CUT, old_ns - 1, j % 2 == 0 ? i : other);
            fault->other = j % 2 == 0 ? other : i;
            fault->a = plan->safety_ns;
        }
    }
    plan_order(plan, SIM_FAILOVER_ORDER, old_ns + 100 * HG_NS_PER_MS, (first + others) % n);
}

static void plan_lost_disk(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t node = (uint32_t)hg_random_below(random, plan->quorum_n);
    uint64_t time_ns = hg_random_between(random, plan->safety_ns / 4, plan->safety_ns - 1);
    hg_sim_plan_fault(plan, SIM_FAULT_BLANK, time_ns, node)->b =
        hg_random_between(random, HG_NS_PER_MS, 2 * HG_NS_PER_S);
}

void hg_sim_plan_failover(struct sim_plan *plan, struct hg_random *random)
{
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].region = 0;
        plan->nodes[i].segment_count = SEGMENTS;
        plan->nodes[i].segment_bytes = plan->segment_bytes;
        for (uint32_t j = 0; j < plan->node_count; j++) { /* of one region */
            struct sim_link_plan *link = &plan->links[i][j];
            link->delay_ns = hg_min_u64(link->delay_ns, 5 * HG_NS_PER_MS);
            link->jitter_ns = hg_min_u64(link->jitter_ns, 5 * HG_NS_PER_MS);
        }
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = 0;
        flow->bytes = 192u << 10;
        flow->frame_bytes_max = (uint32_t)hg_min_u64(flow->frame_bytes_max, 512);
        flow->burst_frames_max = (uint32_t)hg_min_u64(flow->burst_frames_max, 4);
        flow->interval_ns = hg_random_between(random, 5 * HG_NS_PER_MS, 60 * HG_NS_PER_MS);
    }
    plan_orders(plan, random);
    plan_metastore(plan, random);
    if (plan->members_n != 0)
        hg_sim_plan_members_orders(plan, random, false);
    else if (plan->classes != 0 && hg_random_chance(random, 1, 5))
        plan_old_disks(plan, random);
    else if (plan->classes != 0 && hg_random_chance(random, 1, 3))
        plan_lost_disk(plan, random);
}

/* It is cut off from some or all, and dies, at other times than they. Who is deposed may go on reaching it.
 */
void hg_sim_plan_failover_outside(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t outside = plan->node_count - 1;
    plan->nodes[outside].region = 1;
    plan->nodes[outside].segment_count = SEGMENTS;
    for (uint64_t i = hg_random_below(random, 4); i > 0 && plan->classes != 0; i--) {
        uint64_t time_ns = hg_random_below(random, plan->safety_ns);
        uint32_t node = (uint32_t)hg_random_below(random, outside);
        if (hg_random_chance(random, 1, 2)) {
            plan_cut(plan, random, time_ns, outside);
            continue;
        }
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, node);
        fault->other = outside;
        fault->a = hg_random_between(random, 50 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    }
    for (uint64_t i = hg_random_below(random, 3); i > 0 && plan->classes != 0; i--) {
        bool power = hg_random_chance(random, 1, 2);
        uint64_t time_ns = hg_random_below(random, plan->safety_ns);
        struct sim_fault *fault =
            hg_sim_plan_fault(plan, power ? SIM_FAULT_POWER : SIM_FAULT_KILL, time_ns, outside);
        fault->a = hg_random_between(random, 1, 40);
        fault->b = hg_random_between(random, HG_NS_PER_MS, 3 * HG_NS_PER_S);
    }
}

/* ---- making ---- */

struct sim_failover *hg_sim_failover_make(const struct sim_world *world)
{
    struct sim_failover *failover = calloc(1, sizeof(*failover));
    hg_assert(failover != NULL);
    failover->store = hg_metastore_memory_open();
    hg_random_init(&failover->random, hg_sim_random_seed(world, 41, 0));
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        failover->controls[i] = calloc(1, sizeof(*failover->controls[i]));
        hg_assert(failover->controls[i] != NULL);
    }
    failover->epochs[HG_EPOCH_FIRST].given = failover->epochs[HG_EPOCH_FIRST].begun = 1;
    failover->epochs[HG_EPOCH_FIRST].opened = true;
    return failover;
}

void hg_sim_failover_free(struct sim_failover *failover)
{
    if (failover == NULL)
        return;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        free(failover->controls[i]);
    failover->store->close(failover->store);
    free(failover);
}

/* By which its control plane waits: it may drift. */
static uint64_t local_ns(const struct sim_node *node)
{
    return hg_sim_local_ns(node, node->world->now_ns);
}

/* All of the machine: nobody reaches its control plane, and its clock stands. */
static bool is_asleep(const struct sim_node *node)
{
    return node->world->now_ns < node->grant.suspended_until_ns && !node->world->healed;
}

static struct sim_control *control_of(struct sim_node *node)
{
    return node->world->failover->controls[node->index];
}

static void poll_later(struct sim_node *node)
{
    struct sim_world *world = node->world;
    uint64_t after_ns = hg_random_between(&world->failover->random, POLL_NS_MIN, POLL_NS_MAX);
    hg_sim_event_put(world, world->now_ns + after_ns, SIM_EVENT_AGENT, node->index, 0, NULL);
}

void hg_sim_failover_begin(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->quorum_n; i++)
        poll_later(&world->nodes[i]);
}

static void driver_start(struct sim_node *node)
{
    struct sim_control *control = control_of(node);
    struct hg_failover_config config;
    if (hg_failover_is_under_way(&control->core))
        return;
    memset(&config, 0, sizeof(config));
    config.key = hg_sim_failover_key;
    config.node = node->index + 1;
    config.n = node->world->plan->quorum_n;
    config.w = (uint32_t)hg_max_u64(node->world->plan->quorum_w, config.n / 2 + 1);
    for (uint32_t i = 0; i < config.n; i++)
        config.members[config.member_count++] = i + 1;
    hg_assert(hg_failover_config_check(&config) == NULL);
    hg_failover_start(&control->core, &config, local_ns(node));
}

/* The node, or else the next one, that is a member now and stays one. */
static struct sim_node *member_of(struct sim_world *world, uint32_t node)
{
    uint32_t at = node;
    for (uint32_t i = 0; hg_sim_is_members(world) && i < world->plan->node_count; i++) {
        at = (node + i) % world->plan->node_count;
        if (hg_members_set_has(&world->members.record.set, at + 1))
            break;
    }
    return &world->nodes[at];
}

void hg_sim_failover_operate(struct sim_world *world, const struct sim_fault *fault)
{
    struct sim_node *node = &world->nodes[fault->node];
    if (fault->kind == SIM_FAULT_METASTORE) {
        world->failover->away_until_ns = world->now_ns + fault->a;
        world->failover->fault = (uint32_t)fault->b;
    } else if (fault->a == SIM_FAILOVER_KILL) {
        uint32_t asked = control_of(node)->asked; /* its dataplane goes on */
        memset(control_of(node), 0, sizeof(*control_of(node)));
        control_of(node)->asked = asked;
        control_of(node)->asked_before = true;
        control_of(node)->looks = true;
        hg_sim_failover_grant_forget(node, false);
    } else if (!is_asleep(member_of(world, fault->node))) {
        driver_start(member_of(world, fault->node));
    }
}

void hg_sim_failover_die(struct sim_node *node, bool power)
{
    if (!power || hg_sim_is_outside(node))
        return;
    memset(control_of(node), 0, sizeof(*control_of(node)));
    control_of(node)->looks = true;
    hg_sim_copies_forget(node);
    hg_sim_failover_grant_forget(node, true);
}

void hg_sim_failover_disk(struct sim_node *node, bool is_old)
{
    struct sim_failover *failover = node->world->failover;
    failover->is_beyond |= is_old;
    failover->is_lost = true;
    memset(&failover->nodes[node->index], 0, sizeof(failover->nodes[node->index]));
    for (uint32_t i = 0; i < node->world->plan->flow_count; i++)
        node->world->flows[i].places[node->index].committed_ever = 0;
}

bool hg_sim_failover_spares_disk(struct sim_world *world)
{
    struct hg_metastore_record record;
    (void)world->failover->store->read(world->failover->store, &hg_sim_failover_key, &record);
    return record.copies.count == world->plan->quorum_n && !world->failover->is_lost;
}

void hg_sim_failover_boot(struct sim_node *node)
{
    control_of(node)->asked = 0; /* whoever was asked is gone */
    control_of(node)->asked_before = false;
    for (uint32_t i = 0; i < node->world->plan->flow_count; i++)
        node->world->failover->producers[node->index][i].is_open = false;
}

/* ---- what a driver wants done ---- */

static bool is_running(const struct sim_node *node)
{
    return hg_sim_is_running(node) && hg_placement_known(&node->placement);
}

static bool order_give(struct sim_node *node, enum hg_letter_type type,
                       const struct hg_failover_action *action)
{
    struct hg_letter letter;
    if (!is_running(node))
        return false;
    memset(&letter, 0, sizeof(letter));
    letter.type = type;
    letter.number = SIM_FAILOVER_GROUP;
    letter.number2 = action->epoch;
    letter.body.target.node = action->node == node->index + 1 ? 0 : action->node;
    letter.body.target.stream = action->stream;
    return hg_mailbox_put(&node->workers[0].inbox, &letter);
}

/* A dataplane begins nothing under older members than those that the epoch was taken with. */
static bool members_known(const struct sim_node *node)
{
    return is_running(node) &&
           hg_streams_members_durable(node->workers[0].worker->streams, SIM_FAILOVER_GROUP) >=
               node->world->failover->controls[node->index]->core.record.members.generation;
}

bool hg_sim_failover_is_faulty(const struct sim_world *world)
{
    return world->now_ns < world->failover->away_until_ns && !world->healed;
}

/* The store's answer takes its time, and may be lost: nobody asks it anything else meanwhile. */
static void store_do(struct sim_node *node, const struct hg_failover_action *action)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    struct sim_control *control = control_of(node);
    struct hg_metastore_record found = {0};
    bool is_faulty = hg_sim_failover_is_faulty(world);
    bool is_slow = is_faulty && failover->fault == SIM_METASTORE_SLOW,
         swaps = action->what != HG_FAILOVER_DO_READ;
    int rc = -ETIMEDOUT;
    if (control->store.waits)
        return;
    if (!is_faulty || failover->fault != SIM_METASTORE_AWAY)
        rc = swaps ? failover->store->swap(failover->store, &hg_sim_failover_key, action->revision,
                                           &action->wanted, &found)
                   : failover->store->read(failover->store, &hg_sim_failover_key, &found);
    if (rc == 0 && swaps)
        hg_sim_check_record(world, &found);
    if (is_faulty && failover->fault == SIM_METASTORE_LATE) {
        world->sometimes[SIM_metastore_writes_unanswered] += rc == 0 && swaps;
        rc = -ETIMEDOUT;
        memset(&found, 0, sizeof(found));
    }
    world->sometimes[SIM_metastore_answers_late] += is_slow;
    control->store.waits = true;
    control->store.rc = rc;
    control->store.found = found;
    control->store.time_ns =
        world->now_ns +
        (is_slow ? hg_random_between(&failover->random, HG_NS_PER_MS, 2 * HG_NS_PER_S) : HG_NS_PER_MS);
}

static void said_count(uint64_t *sometimes, const struct hg_failover *core, const char *name)
{
    bool is_done = strcmp(name, "group_failed_over") == 0;
    sometimes[SIM_failovers_done] += is_done;
    sometimes[SIM_failovers_of_five] += is_done && core->config.n == NODES_MANY;
    sometimes[SIM_failovers_while_joint] += is_done && core->record.members.phase == HG_MEMBERS_JOINT;
    sometimes[SIM_failovers_lost] += strcmp(name, "group_failover_lost") == 0;
    sometimes[SIM_failovers_blocked] += strcmp(name, "recovery_blocked") == 0;
}

static void act(struct sim_node *node, const struct hg_failover_action *action)
{
    struct sim_control *control = control_of(node);
    bool releases = action->what == HG_FAILOVER_DO_RELEASE;
    switch (action->what) {
    case HG_FAILOVER_DO_READ:
    case HG_FAILOVER_DO_SWAP:
        store_do(node, action);
        break;
    case HG_FAILOVER_DO_ASK:
        (void)order_give(node, HG_LETTER_GROUP_ASK, action);
        break;
    case HG_FAILOVER_DO_FILL:
        node->world->sometimes[SIM_copies_filled] += order_give(node, HG_LETTER_GROUP_FILL, action);
        break;
    case HG_FAILOVER_DO_BEGIN:
    case HG_FAILOVER_DO_RELEASE:
        if (control->asked == 0 && members_known(node) &&
            order_give(node, releases ? HG_LETTER_GROUP_RELEASE : HG_LETTER_GROUP_BEGIN, action))
            control->asked = releases ? HG_LETTER_GROUP_RELEASE : HG_LETTER_GROUP_BEGIN;
        break;
    case HG_FAILOVER_DO_SAY:
        hg_sim_trace(node->world, "node %c control %s: %s", letter_of(node), action->name, action->text);
        said_count(node->world->sometimes, &control->core, action->name);
        break;
    }
}

/* ---- polls ---- */

static bool is_any_under_way(const struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        if (hg_failover_is_under_way(&world->failover->controls[i]->core))
            return true;
    return false;
}

/* Node that the metastore names and whose group is not open as it says; -1 = none. */
static int32_t node_behind(struct sim_world *world)
{
    struct hg_metastore_record record;
    (void)world->failover->store->read(world->failover->store, &hg_sim_failover_key, &record);
    uint32_t index = record.state == HG_METASTORE_NONE ? 0 : (uint32_t)record.node - 1;
    const struct sim_node *node = &world->nodes[index];
    if (!is_running(node))
        return (int32_t)index;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    bool is_open = !hg_group_is_sealed(group) &&
                   group->epoch_open == hg_max_u64(record.epoch, HG_EPOCH_FIRST) &&
                   record.state != HG_METASTORE_SEALING &&
                   !hg_streams_is_unnamed(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    return is_open ? -1 : (int32_t)index;
}

/* As the shell does after a start (controlplane/failover_run.c). */
static void left_look(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    struct hg_metastore_record record;
    if (!control_of(node)->looks || !is_running(node) ||
        (world->now_ns < failover->away_until_ns && !world->healed))
        return;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    control_of(node)->looks = false;
    (void)failover->store->read(failover->store, &hg_sim_failover_key, &record);
    if (!hg_failover_is_left(&record, node->index + 1, group->epoch_promised, !hg_group_is_sealed(group)))
        return;
    hg_sim_trace(world, "node %c goes on with the fail-over of epoch %llu", letter_of(node),
                 (unsigned long long)record.epoch);
    world->sometimes[SIM_failovers_resumed]++;
    driver_start(node);
}

/* A driver that waits to be of the members again: its operator orders another one. */
static void left_members(struct sim_node *node)
{
    struct hg_failover *core = &control_of(node)->core;
    if (node->world->healed && hg_sim_is_members(node->world) && core->step == HG_FAILOVER_READ &&
        !hg_members_set_has(&node->world->members.record.set, node->index + 1))
        memset(core, 0, sizeof(*core));
}

void hg_sim_failover_poll(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_control *control = control_of(node);
    struct hg_failover_action action;
    poll_later(node);
    if (is_asleep(node))
        return;
    if (control->store.waits && world->now_ns >= control->store.time_ns) {
        control->store.waits = false;
        hg_failover_record(&control->core, control->store.rc, &control->store.found, local_ns(node));
    }
    left_look(node);
    left_members(node);
    if (is_running(node) && (world->now_ns >= world->failover->away_until_ns || world->healed))
        hg_sim_copies_poll(node, &hg_sim_failover_key);
    if (world->healed && is_running(node) && !is_any_under_way(world) &&
        node_behind(world) == (int32_t)node->index)
        driver_start(node); /* as an operator would */
    for (uint32_t i = 0; i < ACTIONS_MAX && hg_failover_next(&control->core, local_ns(node), &action); i++)
        act(node, &action);
    hg_sim_check_choice(node, &control->core);
    world->sometimes[SIM_failovers_awaited_grant] +=
        control->core.step == HG_FAILOVER_ADOPT && strstr(control->core.reason, "write grant") != NULL;
    if (node->is_up)
        hg_sim_node_step(node);
}

void hg_sim_failover_ordered(struct sim_node *node, const struct hg_letter *letter)
{
    struct sim_control *control = control_of(node);
    struct hg_failover *core = &control->core;
    bool releases = control->asked == HG_LETTER_GROUP_RELEASE, is_before = control->asked_before;
    hg_sim_trace(node->world, "node %c answers: %d %s", letter_of(node), letter->code, letter->body.text);
    control->asked = 0;
    control->asked_before = false;
    if (is_before)
        return;
    if (letter->code == 0 && releases)
        hg_failover_released(core, core->epoch, local_ns(node));
    else if (letter->code == -EPERM)
        hg_failover_refused(core, core->config.node, core->epoch, 0, local_ns(node));
}

void hg_sim_failover_tail(struct sim_node *node, const struct hg_control_tail *tail)
{
    struct sim_control *control = control_of(node);
    struct hg_failover_answer answer;
    uint64_t from = tail->node == 0 ? node->index + 1 : tail->node, now_ns = local_ns(node);
    if (tail->epoch_promised > tail->epoch) {
        hg_failover_refused(&control->core, from, tail->epoch, tail->epoch_promised, now_ns);
        return;
    }
    hg_failover_answer_of(tail, &answer);
    answer.node = from;
    snprintf(answer.name, sizeof(answer.name), "%llu", (unsigned long long)tail->stream);
    hg_failover_answer(&control->core, &answer, now_ns);
}

/* So many copies of a stream end in a torn write, or are on a disk that was replaced, that nobody can know
 * what was acknowledged. */
static bool is_undecidable(struct sim_world *world)
{
    struct hg_metastore_record record;
    (void)world->failover->store->read(world->failover->store, &hg_sim_failover_key, &record);
    const struct sim_plan *plan = world->plan;
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        uint64_t known[SIM_NODES_MAX];
        uint32_t count = 0;
        for (uint32_t j = 0; j < plan->quorum_n; j++) {
            struct sim_worker *worker = &world->nodes[j].workers[0];
            int32_t slot = hg_streams_find(worker->worker->streams, world->flows[i].stream);
            if (slot >= 0 && !hg_streams_at(worker->worker->streams, (uint32_t)slot)->tail_unknown &&
                hg_sim_copy_counts(&world->nodes[j], &record))
                known[count++] = j + 1;
        }
        if (record.members.generation != 0 ? !hg_members_sealed_by(&record.members, known, count)
                                           : count < plan->quorum_n - plan->quorum_w + 1)
            return true;
    }
    return false;
}

bool hg_sim_failover_is_blocked(struct sim_world *world)
{
    bool says = false;
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        const struct hg_failover *core = &world->failover->controls[i]->core;
        says |= core->step == HG_FAILOVER_SEAL && core->blocked[0] != '\0';
    }
    return says && is_undecidable(world);
}

void hg_sim_failover_members_put(struct sim_world *world)
{
    struct hg_metastore *store = world->failover->store;
    struct hg_metastore_record record, found;
    (void)store->read(store, &hg_sim_failover_key, &record);
    struct hg_metastore_record wanted = record;
    if (record.state == HG_METASTORE_NONE) { /* never sealed: open from its beginning */
        wanted.epoch = HG_EPOCH_FIRST;
        wanted.node = 1;
        wanted.state = HG_METASTORE_OPEN;
    }
    wanted.members = world->members.record;
    int rc = store->swap(store, &hg_sim_failover_key, record.revision, &wanted, &found);
    hg_assert(rc == 0);
    hg_sim_check_record(world, &found);
}

bool hg_sim_failover_is_written_by(struct sim_node *node)
{
    struct hg_metastore *store = node->world->failover->store;
    struct hg_metastore_record record;
    (void)store->read(store, &hg_sim_failover_key, &record);
    return record.state == HG_METASTORE_OPEN && record.node == node->index + 1;
}

bool hg_sim_failover_log_is_anew(struct sim_node *node)
{
    struct hg_metastore *store = node->world->failover->store;
    struct hg_metastore_record record;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    (void)store->read(store, &hg_sim_failover_key, &record);
    return hg_failover_log_is_anew(&record, node->index + 1, group->epoch_promised);
}

bool hg_sim_failover_complete(struct sim_world *world, char *text, size_t text_bytes)
{
    int32_t behind = node_behind(world);
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        const struct hg_failover *core = &world->failover->controls[i]->core;
        if (!hg_failover_is_under_way(core))
            continue;
        snprintf(text, text_bytes, "the fail-over of node %c under epoch %llu is at %s: %s", (int)('A' + i),
                 (unsigned long long)core->epoch, hg_failover_step_name(core->step), core->reason);
        return false;
    }
    struct hg_metastore_record record;
    (void)world->failover->store->read(world->failover->store, &hg_sim_failover_key, &record);
    if (behind >= 0) {
        snprintf(text, text_bytes, "node %c does not write, which the metastore names", (int)('A' + behind));
        return false;
    }
    if (record.state == HG_METASTORE_OPEN &&
        !hg_sim_failover_is_granted(&world->nodes[record.node - 1], &record)) {
        snprintf(text, text_bytes, "node %c has no write grant for epoch %llu", (int)('A' + record.node - 1),
                 (unsigned long long)record.epoch);
        return false;
    }
    return true;
}

/* ---- producers ---- */

/* The metastore says that this node writes. */
static bool is_named(struct sim_node *node)
{
    struct hg_metastore_record record;
    (void)node->world->failover->store->read(node->world->failover->store, &hg_sim_failover_key, &record);
    return (record.state == HG_METASTORE_NONE ? 1 : record.node) == node->index + 1;
}

/* False: not now. */
static bool producer_open(struct sim_node *node, struct sim_flow *flow, uint32_t slot)
{
    struct hg_streams *streams = node->workers[0].worker->streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (!s->configured || !s->origin_local || hg_group_is_sealed(hg_streams_group(streams, s->group)))
        return false;
    if (hg_streams_is_unnamed(streams, s->group)) {
        node->world->sometimes[SIM_empty_logs_kept_from_writing]++;
        return false;
    }
    if (flow->plan->physical) {
        int rc = hg_streams_adopt(streams, slot, SYSTEM_IDENTIFIER + flow->index, 1, LSN_UNIT_BYTES);
        if (rc == -EAGAIN)
            return false;
        if (rc != 0)
            hg_sim_violation(node->world, "adopt", "stream s%u refuses its own producer: %d", flow->index,
                             rc);
    }
    uint64_t end = s->lsn_sealed != 0 ? s->lsn_sealed : flow->plan->lsn_start;
    node->world->failover->producers[node->index][flow->index].is_open = true;
    node->world->failover->producers[node->index][flow->index].lsn_next = end;
    node->world->failover->producers[node->index][flow->index].epoch = s->epoch;
    hg_sim_client_attached_epochs(node, flow, s, end, node_behind(node->world) < 0 && is_named(node));
    hg_sim_trace(node->world, "producer of s%u resumes on node %c at %llu, epoch %llu", flow->index,
                 letter_of(node), (unsigned long long)end, (unsigned long long)s->epoch);
    return true;
}

static bool producer_append(struct sim_node *node, struct sim_flow *flow, uint32_t slot)
{
    struct sim_world *world = node->world;
    struct hg_worker *worker = node->workers[0].worker;
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    uint64_t *next = &world->failover->producers[node->index][flow->index].lsn_next;
    struct hg_frame frame;
    bool any = false;
    for (uint32_t i = 0; i < FRAMES_TURN && *next < flow->lsn_produced; i++) {
        hg_sim_frame(world, flow, (uint32_t)s->epoch & VARIANT_MASK, *next, &frame, world->frame_memory);
        frame.transaction_id |= hg_sim_client_mark(flow);
        enum hg_append_reason reason = hg_streams_append(worker->streams, slot, &frame, worker->now_ns);
        if (reason == HG_APPEND_WOULD_BLOCK)
            return any;
        if (reason == HG_APPEND_GRANT && node->plan->grant_ms != 0) {
            world->sometimes[SIM_appends_without_grant]++;
            return any;
        }
        if (reason == HG_APPEND_SEALED || reason == HG_APPEND_NOT_ORIGIN || reason == HG_APPEND_UNNAMED) {
            world->failover->producers[node->index][flow->index].is_open = false;
            return any;
        }
        if (reason != HG_APPEND_OK)
            hg_sim_violation(world, "append",
                             "stream s%u on node %c at %llu, epoch %llu: reason %u, LSN %llu", flow->index,
                             letter_of(node), (unsigned long long)*next, (unsigned long long)s->epoch, reason,
                             (unsigned long long)frame.lsn);
        hg_sim_check_writer(node, flow, s->epoch);
        hg_sim_client_appended(node, flow, &frame);
        *next += frame.span;
        any = true;
    }
    return any;
}

bool hg_sim_failover_append(struct sim_node *node)
{
    struct sim_world *world = node->world;
    bool any = false;
    if (!is_running(node))
        return false;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        int32_t slot = hg_streams_find(node->workers[0].worker->streams, flow->stream);
        if (slot < 0)
            continue;
        bool *is_open = &world->failover->producers[node->index][i].is_open;
        *is_open = *is_open && world->failover->producers[node->index][i].epoch ==
                                   hg_streams_at(node->workers[0].worker->streams, (uint32_t)slot)->epoch;
        if (!*is_open && !producer_open(node, flow, (uint32_t)slot))
            continue;
        any |= producer_append(node, flow, (uint32_t)slot);
    }
    return any;
}
